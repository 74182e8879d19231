"""What the engine costs beside the arithmetic: microseconds an operation on tiny arrays.

A chain of tanh, multiply, add, subtract on 8x8 float32 arrays, forward and backward, in every library that is installed:
minigrad, PyTorch, HIPS autograd, tinygrad, and bare numpy (forward only, no gradients). The libraries take turns in one
process; medians of the turns, and the median of each turn's ratio to PyTorch, which a busy machine disturbs less.

    python benchmarks/overhead.py [--length 25] [--turns 200] [--without-fast]

`--without-fast` measures a copy of minigrad from which engine/fast.py, the short ways for small arrays, is deleted.
"""

import argparse
import importlib.util
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def chain(tanh, x, b, length):
    for _ in range(length):
        x = tanh(x)
        x = x * b
        x = x + b
        x = x - b
    return x


def minigrad_turn(x, b, length):
    import minigrad as mg

    leaf, other = mg.tensor(x, requires_grad=True), mg.tensor(b)

    def turn():
        leaf.grad = None
        chain(mg.tanh, leaf, other, length).sum().backward()
        return leaf.grad.numpy()

    return turn


def torch_turn(x, b, length):
    import torch

    torch.set_num_threads(1)
    leaf, other = torch.tensor(x, requires_grad=True), torch.tensor(b)

    def turn():
        leaf.grad = None
        chain(torch.tanh, leaf, other, length).sum().backward()
        return leaf.grad.numpy()

    return turn


def autograd_turn(x, b, length):
    import autograd
    import autograd.numpy as anp

    gradient = autograd.grad(lambda x: anp.sum(chain(anp.tanh, x, b, length)))
    return lambda: gradient(x)


def tinygrad_turn(x, b, length):
    from tinygrad import Tensor

    def turn():
        leaf = Tensor(x)
        return chain(Tensor.tanh, leaf, Tensor(b), length).sum().gradient(leaf)[0].numpy()

    return turn


def numpy_turn(x, b, length):
    return lambda: chain(np.tanh, x, b, length)


LIBRARIES = {
    "PyTorch": torch_turn,
    "minigrad": minigrad_turn,
    "HIPS autograd": autograd_turn,
    "tinygrad": tinygrad_turn,
    "numpy, forward only": numpy_turn,
}


def delete_fast(folder: Path) -> None:
    """Makes `import minigrad` take a copy in the folder, without engine/fast.py."""
    package = Path(importlib.util.find_spec("minigrad").origin).parent
    shutil.copytree(package, folder / "minigrad", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "minigrad" / "engine" / "fast.py").unlink()
    sys.path.insert(0, str(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--length", type=int, default=25, help="rounds of the four operations (default 25)")
    parser.add_argument("--turns", type=int, default=200, help="measurements of each library (default 200)")
    parser.add_argument(
        "--without-fast", action="store_true", help="delete engine/fast.py from a copy, and measure that"
    )
    options = parser.parse_args()
    if options.without_fast:
        with tempfile.TemporaryDirectory() as folder:
            delete_fast(Path(folder))
            measure(options)
    else:
        measure(options)


def measure(options: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)
    x, b = (rng.standard_normal((8, 8)).astype(np.float32) for _ in range(2))
    turns = {}
    for name, make in LIBRARIES.items():
        try:
            turns[name] = make(x, b, options.length)
            first = turns[name]()
        except (ImportError, RuntimeError) as error:  # tinygrad needs clang
            print(f"{name} can't be run: {error}")
            turns.pop(name, None)
            continue
        expected = turns["minigrad"]() if "minigrad" in turns and "forward" not in name else first
        if not np.allclose(first, expected, rtol=1e-3, atol=1e-6):
            print(f"{name} is left out: its gradient differs, {first.flat[:3]} instead of {expected.flat[:3]}")
            turns.pop(name)
    slow = {name for name in turns if name == "tinygrad"}  # compiles kernels: a few turns are enough
    times: dict[str, list[float]] = {name: [] for name in turns}
    for turn in range(options.turns):
        for name, run in turns.items():
            if name in slow and turn >= 5:
                continue
            start = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - start) / (4 * options.length) * 1e6)
    print(f"{'':22}{'µs/operation':>14}{'fastest':>10}{'× PyTorch':>12}")
    for name, values in times.items():
        ratio = ""
        if "PyTorch" in times:
            ratio = f"{statistics.median(a / t for a, t in zip(values, times['PyTorch'], strict=False)):.2f}"
        print(f"{name:22}{statistics.median(values):14.2f}{min(values):10.2f}{ratio:>12}")


if __name__ == "__main__":
    main()
