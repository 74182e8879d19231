"""What writes cost: loops that fill or change a matrix row by row, beside PyTorch.

    python benchmarks/inplace.py [--rows 1000] [--turns 9]

The libraries take turns in one process; medians of the turns, and the median of each turn's ratio to PyTorch. On MLX, whose arrays
are not written in place, the same loops are timed without PyTorch beside them.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg


def fill(rows: Any, x: Any) -> None:
    for i in range(len(x)):
        x[i] = rows[i]


def fill_number(rows: Any, x: Any) -> None:
    for i in range(len(x)):
        x[i] = 1.5


def add_to_views(rows: Any, x: Any) -> None:
    for row in x:
        row += 1


def from_the_row_before(rows: Any, x: Any) -> None:
    for i in range(1, len(x)):
        x[i] = x[i - 1] * 1.001


def in_place(rows: Any, x: Any) -> None:
    for _ in range(100):
        x.mul_(1.001).add_(rows, alpha=0.1)


LOOPS: dict[str, tuple[Callable, bool]] = {
    "x[i] = rows[i]": (fill, False),
    "x[i] = rows[i], with gradients": (fill, True),
    "x[i] = 1.5": (fill_number, False),
    "for row in x: row += 1": (add_to_views, False),
    "x[i] = x[i - 1] * 1.001": (from_the_row_before, False),
    "100 times x.mul_(c).add_(rows)": (in_place, False),
}


def seconds(loop: Callable, make: Callable, gradients: bool, finish: Callable = lambda x: None) -> float:
    rows, x = make(gradients)
    start = time.perf_counter()
    loop(rows, x)
    finish(x)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1000, help="rows and columns of the matrix (default 1000)")
    parser.add_argument("--turns", type=int, default=9, help="measurements of each library (default 9)")
    options = parser.parse_args()
    n = options.rows
    values = np.random.default_rng(0).standard_normal((n, n)).astype(np.float32)

    def ours(gradients: bool, device: str = "cpu"):
        return mg.tensor(values, requires_grad=gradients, device=device), mg.zeros(n, n, device=device)

    try:
        import torch
    except ImportError:
        torch = None
    else:
        torch.set_num_threads(1)

    def theirs(gradients: bool):
        return torch.tensor(values, requires_grad=gradients), torch.zeros(n, n)

    print(f"{'numpy backend':34}{'ms':>10}{'PyTorch ms':>12}{'ratio':>8}")
    for name, (loop, gradients) in LOOPS.items():
        mine, other = [], []
        for _ in range(options.turns):
            mine.append(seconds(loop, ours, gradients))
            if torch is not None:
                other.append(seconds(loop, theirs, gradients))
        text = f"{name:34}{statistics.median(mine) * 1e3:10.1f}"
        if other:
            ratio = statistics.median(a / b for a, b in zip(mine, other, strict=True))
            text += f"{statistics.median(other) * 1e3:12.1f}{ratio:8.2f}"
        print(text)
    try:
        mg.backend.get("mlx")
    except mg.backend.BackendError:
        return
    print(f"\n{'MLX backend, computed at the end':34}{'ms':>10}")
    for name, (loop, gradients) in LOOPS.items():
        took = [seconds(loop, lambda g: ours(g, "mlx"), gradients, lambda x: x.sum().item()) for _ in range(3)]
        print(f"{name:34}{statistics.median(took) * 1e3:10.1f}")


if __name__ == "__main__":
    main()
