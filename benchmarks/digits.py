"""A training step of the digits job beside PyTorch: the same small PVT v2, batch, loss, clipping and optimiser.

The model is the preset `pvt_v2_tiny` on 32×32 images in batches of 64: cross-entropy with smoothing 0.1, gradients clipped to
norm 1, AdamW with weight decay on matrices only. Both libraries start from the same weights and take turns in one process.

    python benchmarks/digits.py [--batch 64] [--turns 31] [--threads 1]
"""

import argparse
import statistics
import time
from pathlib import Path

import common
import numpy as np

import minigrad as mg
from minigrad import models
from minigrad.nn import functional as F

SHAPE = dict(
    embed_dims=(16, 32, 64, 128),
    depths=(1, 1, 1, 1),
    num_heads=(1, 2, 4, 8),
    sr_ratios=(2, 1, 1, 1),
    mlp_ratios=(4,) * 4,
)


def groups(model, ndim) -> list[dict]:
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if ndim(p) > 1], "weight_decay": 0.05},
        {"params": [p for p in parameters if ndim(p) <= 1], "weight_decay": 0.0},
    ]


def torch_step(images, labels):
    """(step, weights) of timm's model, whose last stage is given stride 1 as in the preset."""
    import torch

    common.timm_model("pvt_v2_b0")
    from timm.models.pvt_v2 import PyramidVisionTransformerV2

    model = PyramidVisionTransformerV2(num_classes=10, **SHAPE)
    model.stages[3].downsample.proj.stride = (1, 1)
    optimizer = torch.optim.AdamW(groups(model, lambda p: p.ndim), lr=1e-3)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)

    def step():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y, label_smoothing=0.1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step, {k: v.numpy().copy() for k, v in model.state_dict().items()}


def minigrad_step(images, labels, weights):
    model = models.create_model("pvt_v2_tiny", num_classes=10)
    model.load_state_dict({k: mg.tensor(v) for k, v in weights.items()})
    optimizer = mg.optim.AdamW(groups(model, lambda p: p.ndim), lr=1e-3)
    x, y = mg.tensor(images), mg.tensor(labels)

    def step():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y, label_smoothing=0.1)
        loss.backward()
        mg.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--turns", type=int, default=31)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write results/digits.md")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    mg.set_num_threads(options.threads)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((options.batch, 3, 32, 32), dtype=np.float32)
    labels = rng.integers(0, 10, options.batch)
    theirs, weights = torch_step(images, labels)
    ours = minigrad_step(images, labels, weights)
    for _ in range(3):  # they do the same thing
        np.testing.assert_allclose(ours(), theirs(), rtol=1e-3)
    lines = ["| clock | minigrad, ms | PyTorch, ms | ratio |", "| --- | --- | --- | --- |"]
    for clock in (time.perf_counter, time.process_time):
        times = common.alternate({"minigrad": ours, "torch": theirs}, options.turns, clock)
        found = {name: statistics.median(t) * 1e3 for name, t in times.items()}
        lines.append(
            f"| {'wall' if clock is time.perf_counter else 'processor'} | {found['minigrad']:.1f} | {found['torch']:.1f} | "
            f"**{common.ratio(times, 'minigrad', 'torch'):.2f}** |"
        )
    text = "\n".join([f"{options.threads} thread(s). {common.machine()}", "", *lines])
    print(text)
    if options.write:
        results = Path(__file__).parent / "results"
        results.mkdir(exist_ok=True)
        (results / "digits.md").write_text(text + "\n")


if __name__ == "__main__":
    main()
