"""Where a training step of PVTv2 on the CPU goes: processor time by kind of work, one thread.

The kernels' functions are timed from outside, each without those that it calls itself, over whole training steps (forward,
cross-entropy, backward, AdamW); the shares are of the step's processor time, and medians over the steps.

    python benchmarks/step_profile.py [--model pvt_v2_b0] [--batch 8] [--size 224] [--steps 9] [--write]
"""

import argparse
import functools
import json
import statistics
import time
from collections import Counter
from pathlib import Path

import minigrad as mg  # before numpy: it chooses BLAS kernels
from minigrad.backend.numpy_backend import NumpyBackend
from minigrad.kernels import KERNELS
from minigrad.kernels.cpu import conv, conv_mlp, depthwise

import common  # isort: skip
import pvt_cpu  # isort: skip

RESULTS = Path(__file__).parent / "results"
PRODUCTS, DEPTHWISE, GELU = "matrix products, their biases and sums", "depthwise 3×3", "GELU"
WINDOWS, REST = "convolution windows: gathered, added back", "borders and buffers of the feed-forward network"
OTHER = "the rest: residual sums, copies, loss, the engine"
KINDS = {
    PRODUCTS: [
        (NumpyBackend, "linear transposed_product matmul"),
        (conv_mlp, "_product_into linear_into transposed_product column_sums"),
        (conv, "linear_into transposed_product"),
    ],
    DEPTHWISE: [(depthwise, "correlate correlate_taps scattered")],
    GELU: [(conv_mlp, "gelu_block"), (KERNELS, "gelu")],
    "layer norm": [(KERNELS, "layer_norm")],
    "attention": [(KERNELS, "attention")],
    WINDOWS: [(KERNELS, "conv2d conv2d_input conv2d_weight")],
    REST: [(KERNELS, "conv_mlp")],
    "AdamW": [(KERNELS, "adam")],
}


class Clock:
    """Processor time by kind of work; what a timed function calls that is timed itself doesn't count for it."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.stack = [OTHER]
        self.since = time.process_time()

    def turn(self) -> None:
        now = time.process_time()
        self.seconds[self.stack[-1]] += now - self.since
        self.since = now

    def timed(self, kind: str, function):
        @functools.wraps(function)
        def run(*args, **kwargs):
            self.turn()
            self.stack.append(kind)
            try:
                return function(*args, **kwargs)
            finally:
                self.turn()
                self.stack.pop()

        return run

    def product_into(self, function):
        """The feed-forward network's products, of which each block goes through GELU's slope in backward."""

        def run(x, w, maps, finish):
            through = finish.__name__ == "through_gelu"
            return function(x, w, maps, self.timed(GELU, finish) if through else finish)

        return self.timed(PRODUCTS, run)

    def install(self) -> None:
        for kind, places in KINDS.items():
            for home, names in places:
                for name in names.split():
                    if home is KERNELS:
                        found = KERNELS[name, "cpu"]
                        found.forward = self.timed(kind, found.forward)
                        found.vjp = found.vjp and self.timed(kind, found.vjp)
                        continue
                    function = getattr(NumpyBackend(), name) if home is NumpyBackend else getattr(home, name)
                    timed = self.product_into(function) if name == "_product_into" else self.timed(kind, function)
                    setattr(home, name, staticmethod(timed) if home is NumpyBackend else timed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="pvt_v2_b0")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--write", action="store_true", help="write results/step_profile.json and .md")
    options = parser.parse_args()
    mg.set_num_threads(1)
    _, train = pvt_cpu.minigrad_runs(options.model, options.batch, options.size)
    clock = Clock()
    clock.install()
    steps = []
    for _ in range(options.steps + 1):
        clock.turn()
        clock.seconds.clear()
        train()
        clock.turn()
        steps.append(clock.seconds.copy())
    totals = [sum(step.values()) for step in steps[1:]]
    rows = {}
    for kind in (*KINDS, OTHER):
        share = statistics.median(step[kind] / total for step, total in zip(steps[1:], totals, strict=True))
        rows[kind] = {"share": share, "seconds": statistics.median(step[kind] for step in steps[1:])}
    lines = [
        f"{options.model}, batch {options.batch}, {statistics.median(totals):.2f} s of processor time. {common.machine()}",
        "",
    ]
    lines += ["| part | ms | share |", "| --- | --- | --- |"]
    for kind, row in sorted(rows.items(), key=lambda item: -item[1]["share"]):
        lines.append(f"| {kind} | {row['seconds'] * 1e3:.0f} | {row['share'] * 100:.0f} % |")
    print("\n".join(lines))
    if options.write:
        RESULTS.mkdir(exist_ok=True)
        found = {
            "machine": common.machine(),
            "model": options.model,
            "batch": options.batch,
            "size": options.size,
            "seconds": statistics.median(totals),
            "parts": rows,
        }
        (RESULTS / "step_profile.json").write_text(json.dumps(found, indent=1) + "\n")
        (RESULTS / "step_profile.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
