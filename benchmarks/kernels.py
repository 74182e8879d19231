"""The CPU backend's kernels beside PyTorch's and beside what numpy can do at all, in the first stage of PVTv2-b0.

Forward runs without gradients; forward and backward make the gradients of all inputs. Both libraries take turns in one
process. The bound is the larger of two times: the numbers that must be read and written at the speed of numpy's copy of an
array larger than the caches, and the multiply-adds at the speed of numpy's product of two 1024×1024 matrices.

    python benchmarks/kernels.py [--batch 8] [--turns 9] [--threads 1] [--write]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import common
import numpy as np

import minigrad as mg
from minigrad.nn import functional as F

RESULTS = Path(__file__).parent / "results"


@dataclass
class Kernel:
    """`ours` and `torch` take the arrays as tensors. `numbers` are read or written and `products` made in the forward; a
    backward reads and writes twice as many, and makes twice as many."""

    name: str
    shapes: list
    ours: Callable
    torch: Callable
    numbers: int
    products: int = 0


def kernels(n: int) -> list[Kernel]:
    """Tokens (n, 56·56, 32), hidden maps of 256 channels, keys of a 7×7 grid."""
    from torch.nn import functional as T

    length, dim, hidden, keys = 3136, 32, 256, 49
    size = (56, 56)
    tokens, wide = n * length * dim, n * length * hidden

    def image(x):  # channels-last, as it comes from tokens
        return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], *size)

    def torch_mlp(x, w1, b1, taps, b, w2, b2):
        h = T.conv2d(image(T.linear(x, w1, b1)), taps, b, padding=1, groups=hidden)
        return T.linear(T.gelu(h.flatten(2).transpose(1, 2)), w2, b2)

    def ours_mlp(*tensors):
        return F.conv_mlp(*tensors, size=size, relu=False)

    heads = [(n, 1, length, dim), (n, 1, keys, dim), (n, 1, keys, dim)]
    mlp = [(n, length, dim), (hidden, dim), (hidden,), (hidden, 1, 3, 3), (hidden,), (dim, hidden), (dim,)]
    conv = n * 224 * 224 * 3 + tokens
    return [
        Kernel("GELU", [(n, length, hidden)], F.gelu, T.gelu, 2 * wide),
        Kernel(
            "depthwise 3×3", [(n, length, hidden), (hidden, 1, 3, 3), (hidden,)],
            lambda x, w, b: F.conv2d(image(x), w, b, padding=1, groups=hidden),
            lambda x, w, b: T.conv2d(image(x), w, b, padding=1, groups=hidden), 2 * wide,
        ),
        Kernel("linear 32 → 256", [(n, length, dim), (hidden, dim), (hidden,)], F.linear, T.linear,
               tokens + wide, dim * wide),
        Kernel("linear 256 → 32", [(n, length, hidden), (dim, hidden), (dim,)], F.linear, T.linear,
               tokens + wide, dim * wide),
        Kernel("layer norm", [(n, length, dim), (dim,), (dim,)], lambda x, w, b: F.layer_norm(x, (dim,), w, b),
               lambda x, w, b: T.layer_norm(x, (dim,), w, b), 2 * tokens),
        Kernel("attention, 49 keys", heads, F.scaled_dot_product_attention, T.scaled_dot_product_attention,
               2 * tokens, 2 * tokens * keys),
        Kernel("7×7 stride 4 convolution", [(n, 3, 224, 224), (dim, 3, 7, 7), (dim,)],
               lambda x, w, b: F.conv2d(x, w, b, 4, 3), lambda x, w, b: T.conv2d(x, w, b, 4, 3), conv, tokens * 147),
        Kernel("8×8 stride 8 convolution", [(n, length, dim), (dim, dim, 8, 8), (dim,)],
               lambda x, w, b: F.conv2d(image(x), w, b, 8), lambda x, w, b: T.conv2d(image(x), w, b, 8),
               tokens, tokens * dim),
        Kernel("feed-forward network", mlp, ours_mlp, torch_mlp, 2 * tokens, 2 * dim * wide + 9 * wide),
    ]  # fmt: skip


def limits() -> tuple[float, float]:
    """Numbers a second that a copy reads and writes, multiply-adds a second of a matrix product (float32)."""
    source, target = np.ones((2, 1 << 25), np.float32)
    a = np.ones((1024, 1024), np.float32)
    times = common.alternate({"copy": lambda: np.copyto(target, source), "product": lambda: a @ a}, 7)
    return 2 * source.size / statistics.median(times["copy"]), 1024**3 / statistics.median(times["product"])


def runs(kernel: Kernel) -> dict:
    """{"forward": {library: run}, "forward and backward": {library: run}}, each run without arguments."""
    import torch

    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape, dtype=np.float32) for shape in kernel.shapes]
    ours = [mg.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]

    def ours_forward():
        with mg.no_grad():
            return kernel.ours(*ours)

    def their_forward():
        with torch.no_grad():
            return kernel.torch(*theirs)

    value, expected = ours_forward().numpy(), their_forward().numpy()
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    g = rng.standard_normal(value.shape, dtype=np.float32)
    ours_g, their_g = mg.tensor(g), torch.tensor(g)
    return {
        "forward": {"minigrad": ours_forward, "torch": their_forward},
        "forward and backward": {
            "minigrad": lambda: mg.grad(kernel.ours(*ours), ours, ours_g),
            "torch": lambda: torch.autograd.grad(kernel.torch(*theirs), theirs, their_g),
        },
    }


def table(rows: list[dict]) -> str:
    lines = [
        "| kernel | | minigrad, ms | PyTorch, ms | ratio | bound, ms | minigrad / bound |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for r in rows:
        lines.append(
            f"| {r['kernel']} | {r['what']} | {r['minigrad'] * 1e3:.2f} | {r['torch'] * 1e3:.2f} | **{r['ratio']:.2f}** | "
            f"{r['bound'] * 1e3:.2f} | {r['minigrad'] / r['bound']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write results/kernels.json and .md")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    mg.set_num_threads(options.threads)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    speed, products = limits()
    rows = []
    for kernel in kernels(options.batch):
        for what, pair in runs(kernel).items():
            times = common.alternate(pair, options.turns, clock)
            share = 1 if what == "forward" else 3
            bound = share * max(kernel.numbers / speed, kernel.products / products)
            row = {
                "kernel": kernel.name,
                "what": what,
                "bound": bound,
                "ratio": common.ratio(times, "minigrad", "torch"),
            }
            rows.append(row | {name: statistics.median(t) for name, t in times.items()})
            print(table(rows).splitlines()[-1], flush=True)
    limit = f"copy {speed * 4 / 1e9:.1f} GB/s, matrix product {products / 1e9:.0f} G multiply-adds/s, {options.threads} thread(s)"
    print(f"\n{common.machine()}; {limit}\n\n{table(rows)}")
    if options.write:
        RESULTS.mkdir(exist_ok=True)
        found = {"machine": common.machine(), "limits": limit, "rows": rows}
        (RESULTS / "kernels.json").write_text(json.dumps(found, indent=1) + "\n")
        (RESULTS / "kernels.md").write_text(f"{common.machine()}; {limit}\n\n{table(rows)}\n")


if __name__ == "__main__":
    main()
