"""The digits job beside PyTorch: the same small PVT v2, batch, loss, clipping, optimiser and schedule.

The model is the preset `pvt_v2_tiny` on 32×32 images in batches of 64: cross-entropy with smoothing 0.1, gradients clipped to
norm 1, AdamW with weight decay on matrices only. Both libraries take turns in one process: first in steps from the same weights,
then in whole jobs, where minigrad runs `minigrad.training.train` as it is (run folder, pictures), and PyTorch a plain loop over the same
augmented batches, with validation after each epoch, the weights of the best one kept, and the test at the end.

    python benchmarks/digits.py [--batch 64] [--turns 31] [--threads 1] [--epochs 40] [--jobs 1]
"""

import argparse
import math
import statistics
import tempfile
import time
from pathlib import Path

import common
import numpy as np

import minigrad as mg
from minigrad import models
from minigrad.nn import functional as F
from minigrad.training import TrainConfig, train
from minigrad.training.tasks import load_task

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


def torch_model(**options):
    """timm's model, whose last stage is given stride 1 as in the preset, and AdamW."""
    import torch

    common.timm_model("pvt_v2_b0")
    from timm.models.pvt_v2 import PyramidVisionTransformerV2

    model = PyramidVisionTransformerV2(num_classes=10, **SHAPE, **options)
    model.stages[3].downsample.proj.stride = (1, 1)
    return model, torch.optim.AdamW(groups(model, lambda p: p.ndim), lr=1e-3)


def torch_step(images, labels):
    """(step, weights) of timm's model."""
    import torch

    model, optimizer = torch_model()
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


def torch_job(config: TrainConfig) -> float:
    """What `minigrad.training.train` does, in PyTorch but for the data; the accuracy on the test part."""
    import torch

    torch.manual_seed(config.seed)
    task = load_task("digits", 32)
    model, optimizer = torch_model(in_chans=1)
    batches = task.training_batches(config)
    steps = config.epochs * len(batches)
    warmup = round(config.warmup * steps)

    def rate(step):
        rest = (step - warmup) / max(1, steps - warmup)
        return (step + 1) / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * rest))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)

    def evaluate(part):
        model.eval()
        loss = right = count = 0.0
        with torch.no_grad():
            for images, labels in task.batches(part, 256, "cpu"):
                y = torch.tensor(labels.numpy())
                logits = model(torch.tensor(images.numpy()))
                loss += torch.nn.functional.cross_entropy(logits, y, reduction="sum").item()
                right, count = right + (logits.argmax(1) == y).sum().item(), count + len(y)
        return loss / count, right / count

    best, kept = math.inf, None
    for epoch in range(config.epochs):
        model.train()
        batches.set_epoch(epoch)
        for images, labels in batches:
            x, y = (torch.tensor(t.numpy()) for t in (task.preprocessing.normalized(images), labels))
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x), y, label_smoothing=config.label_smoothing)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            schedule.step()
            loss.item()
        found = evaluate("val")[0]
        if found < best:
            best, kept = found, {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept)
    return evaluate("test")[1]


def jobs(epochs: int, turns: int, threads: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of whole jobs that took turns, and the accuracies of the last ones."""
    times: dict[str, list[float]] = {"minigrad": [], "torch": []}
    accuracy: dict[str, float] = {}
    for turn in range(turns):
        with tempfile.TemporaryDirectory() as folder:
            config = TrainConfig(epochs=epochs, threads=threads, seed=turn, output=f"{folder}/run")
            start = time.perf_counter()
            accuracy["minigrad"] = train(config, quiet=True).accuracy
            middle = time.perf_counter()
            accuracy["torch"] = torch_job(config)
            times["minigrad"].append(middle - start)
            times["torch"].append(time.perf_counter() - middle)
    return times, accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--turns", type=int, default=31)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=40, help="of a whole job")
    parser.add_argument("--jobs", type=int, default=1, help="whole jobs of each library")
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
    lines = ["| | clock | minigrad | PyTorch | ratio |", "| --- | --- | --- | --- | --- |"]
    for clock, name in ((time.perf_counter, "wall"), (time.process_time, "processor")):
        times = common.alternate({"minigrad": ours, "torch": theirs}, options.turns, clock)
        lines.append(row("a step", name, times, 1e3, "ms"))
    if options.jobs:
        times, accuracy = jobs(options.epochs, options.jobs, options.threads)
        lines.append(row(f"{options.epochs} epochs", "wall", times, 1, "s"))
        print("test accuracy of the last jobs:", ", ".join(f"{k} {v:.1%}" for k, v in accuracy.items()))
    text = "\n".join([f"{options.threads} thread(s). {common.machine()}", "", *lines])
    print(text)
    if options.write:
        results = Path(__file__).parent / "results"
        results.mkdir(exist_ok=True)
        (results / "digits.md").write_text(text + "\n")


def row(what: str, clock: str, times: dict[str, list[float]], scale: float, unit: str) -> str:
    ours, theirs = (statistics.median(times[name]) * scale for name in ("minigrad", "torch"))
    return f"| {what} | {clock} | {ours:.1f} {unit} | {theirs:.1f} {unit} | **{common.ratio(times, 'minigrad', 'torch'):.2f}** |"


if __name__ == "__main__":
    main()
