"""A training step of PVTv2-b0 on MLX: minigrad beside the same model written directly on mlx.nn (`mlx_pvt.py`).

Four ways to write it natively (MLX's layers as they are or minigrad's kernels; compiled or not) and two with minigrad
(compiled or not), with the same weights and images: their losses are compared first. They take turns in one process, two
steps each, of which the second counts; a ratio is the median of the turns' ratios. A step is forward, cross-entropy, backward,
AdamW, and reading the loss.

On Linux MLX's CPU device multiplies matrices with a reference BLAS; where OpenBLAS is found (Debian: libopenblas0-pthread), the
program starts itself again with it.

    python benchmarks/mlx_native.py [--settings 2x64,8x224,1x32] [--seconds 30] [--threads 1] [--write]
"""

import argparse
import glob
import json
import os
import statistics
import sys
from pathlib import Path

import common

RESULTS = Path(__file__).parent / "results"
BLAS = ("/usr/lib/*/openblas-pthread/libopenblas.so.0", "/usr/lib/*/libopenblas.so.0", "/usr/lib64/libopenblas.so.0")


def with_openblas(threads: int) -> str:
    """Starts the program again with OpenBLAS in front of MLX's own BLAS, if that is needed and possible; says what is used."""
    if sys.platform != "linux":
        return "MLX's own matrix products"
    path = next((found for pattern in BLAS for found in sorted(glob.glob(pattern))), None)
    if path is None:
        return (
            "the reference BLAS in MLX's wheel: OpenBLAS isn't installed (Debian: apt-get install libopenblas0-pthread)"
        )
    if os.environ.get("LD_PRELOAD") != path:
        environment = {"LD_PRELOAD": path, "OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **environment})
    return f"OpenBLAS ({path}), {threads} thread{'s' if threads > 1 else ''}"


def training_step(model, optimizer, compiled: bool):
    """A function of images (N, 3, H, W) and labels (N,) that takes a step and returns the loss, not yet computed."""
    import minigrad as mg
    from minigrad.nn import functional as F

    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return mg.compile(step, state=[model, optimizer]) if compiled else step


def minigrad_step(weights, compiled: bool):
    import minigrad as mg

    model = mg.models.create_model("pvt_v2_b0").to("mlx")
    model.load_state_dict({name: mg.tensor(a, device="mlx") for name, a in weights.items()})
    optimizer = mg.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)

    run = training_step(model, optimizer, compiled)
    return lambda x, y: run(mg.tensor(x), mg.tensor(y))


def runs(batch: int, size: int) -> dict:
    """name -> a function that takes a step and returns the loss."""
    import mlx.core as mx
    import numpy as np
    from mlx_pvt import native_step

    import minigrad as mg  # before the first computation: it chooses MLX's order of evaluation, for all that are compared

    mg.manual_seed(0)
    model = mg.models.create_model("pvt_v2_b0")
    weights = {name: t.numpy() for name, t in model.state_dict().items()}
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, 3, size, size), dtype=np.float32)
    nchw, nhwc = mx.array(images), mx.contiguous(mx.array(images.transpose(0, 2, 3, 1)))
    labels = mx.array(rng.integers(0, 1000, batch))
    mx.eval(nchw, nhwc, labels)

    def turn(step, x):
        def run():
            loss = float(step(x, labels).item())
            mx.synchronize()  # the update may still be under way
            return loss

        return run

    found = {}
    for twin in (False, True):
        for compiled in (False, True):
            name = f"native {'twin' if twin else 'plain'}, {'compiled' if compiled else 'eager'}"
            found[name] = turn(native_step(model.config, weights, twin, compiled), nhwc)
    for compiled in (False, True):
        found[f"minigrad, {'compiled' if compiled else 'eager'}"] = turn(minigrad_step(weights, compiled), nchw)
    return found


PAIRS = [  # a ratio, and what it shall be at most
    ("minigrad, compiled", "native plain, compiled", 1.0),
    ("minigrad, compiled", "native twin, compiled", 1.05),
    ("minigrad, eager", "native plain, eager", None),
    ("minigrad, eager", "native twin, eager", 1.05),
]


def measure(batch: int, size: int, seconds: float) -> dict:
    """Takes turns for so many seconds."""
    import mlx.core as mx

    functions = runs(batch, size)
    losses = {name: [run() for _ in range(3)] for name, run in functions.items()}
    first = losses["native plain, eager"]
    difference = {name: max(abs(a - b) for a, b in zip(found, first, strict=True)) for name, found in losses.items()}
    peak: dict = {name: [] for name in functions}
    for _ in range(5):  # it depends on how far ahead of the computation the next arrays are made
        for name, run in functions.items():
            mx.clear_cache()
            before = mx.get_active_memory()
            mx.reset_peak_memory()
            run()
            peak[name].append((mx.get_peak_memory() - before) / 1e6)
    times = common.take_turns(functions, seconds)
    wall, cpu = ({name: [turn[i] for turn in turns] for name, turns in times.items()} for i in (0, 1))

    def ratio(times, a, b):
        return statistics.median(x / y for x, y in zip(times[a], times[b], strict=True))

    return {
        "batch": batch,
        "size": size,
        "turns": len(next(iter(wall.values()))),
        "ms": {name: 1e3 * statistics.median(times) for name, times in wall.items()},
        "cpu_ms": {name: 1e3 * statistics.median(times) for name, times in cpu.items()},
        "peak_mb": {name: statistics.median(found) for name, found in peak.items()},
        "loss_difference": difference,
        "ratios": {f"{a} / {b}": [ratio(wall, a, b), ratio(cpu, a, b), goal] for a, b, goal in PAIRS},
    }


def report(found: dict) -> None:
    print(f"\nB={found['batch']} at {found['size']}×{found['size']}, {found['turns']} turns")
    print(f"{'':28} {'ms':>9} {'cpu ms':>9} {'peak MB':>9}  loss differs by")
    for name, ms in found["ms"].items():
        numbers = f"{ms:9.2f} {found['cpu_ms'][name]:9.2f} {found['peak_mb'][name]:9.1f}"
        print(f"{name:28} {numbers}  {found['loss_difference'][name]:.1e}")
    for name, (wall, cpu, goal) in found["ratios"].items():
        print(f"{name:52} {wall:.3f} (cpu time {cpu:.3f})" + ("" if goal is None else f"   goal {goal}"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", default="2x64,8x224,1x32", help="batch × side, separated by commas")
    parser.add_argument("--seconds", type=float, default=30, help="of taking turns, for each setting")
    parser.add_argument("--threads", type=int, default=1, help="of OpenBLAS")
    parser.add_argument("--write", action="store_true", help="into benchmarks/results/mlx_native.json")
    options = parser.parse_args()
    blas = with_openblas(options.threads)
    print(blas)
    results = []
    for setting in options.settings.split(","):
        batch, size = map(int, setting.split("x"))
        results.append(measure(batch, size, options.seconds))
        report(results[-1])
    if options.write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "mlx_native.json").write_text(json.dumps({"blas": blas, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
