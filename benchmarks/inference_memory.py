"""Memory of inference on numpy: the whole process at one image size, and what attention takes as images grow.

The process's peak is its largest resident size, imports and weights included, in a process of its own for each model and size.
Attention's is the peak of the arrays that the first stage's first attention makes beyond its input, by `tracemalloc`.

    python benchmarks/inference_memory.py [--models pvt_v2_b0,pvt_v2_b2,pvt_v2_b2_li] [--size 1024] [--sides 256,512,1024] [--write]
"""

import argparse
import json
import time
import tracemalloc
from pathlib import Path

import minigrad as mg  # before numpy: it chooses BLAS kernels
from minigrad import models

import common  # isort: skip

RESULTS = Path(__file__).parent / "results"


def image(side: int):
    return mg.randn(1, 3, side, side)


def process_peak(name: str, side: int) -> dict:
    """Megabytes of this process before and after one forward pass, and its seconds."""
    model = models.create_model(name).eval()
    x = image(side)
    before = common.peak_memory()
    start = time.perf_counter()
    with mg.no_grad():
        model(x)
    return {
        "before": before / 1e6,
        "peak": common.peak_memory() / 1e6,
        "seconds": time.perf_counter() - start,
    }


def attention_peak(name: str, side: int, kept: bool) -> float:
    """Megabytes that the attention of the largest map takes beyond its input, without or with its weights as a result."""
    model = models.create_model(name, depths=(1, 1, 1, 1)).eval()
    attention = model.stages[0].blocks[0].attn
    with mg.no_grad():
        tokens, size = model.patch_embed(image(side))
        attention(tokens, size)
        tracemalloc.start()
        attention(tokens, size, [] if kept else None)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", default="pvt_v2_b0,pvt_v2_b2,pvt_v2_b2_li")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--sides", default="256,512,1024")
    parser.add_argument("--write", action="store_true", help="keep the numbers in benchmarks/results")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(process_peak(given.one, given.size)))
        return
    names, sides = given.models.split(","), [int(s) for s in given.sides.split(",")]
    found: dict = {"machine": common.machine(), "process": {}, "attention": {}}
    print(found["machine"])
    print(
        f"\n| forward, one image, {given.size}×{given.size} | MB before | peak MB | seconds |\n| --- | --- | --- | --- |"
    )
    for name in names:
        got = json.loads(common.own_process(__file__, "--one", name, "--size", str(given.size)))
        found["process"][name] = got
        print(f"| {name} | {got['before']:.0f} | {got['peak']:.0f} | {got['seconds']:.1f} |")
    titles = [f"{side}×{side}" for side in sides]
    for kept, what in ((False, "attention of stage 1"), (True, "the same with its weights handed out")):
        print(f"\n| {what}, MB (× the size before) | {' | '.join(titles)} |\n{'| --- ' * (len(sides) + 1)}|")
        for name in names:
            peaks = [attention_peak(name, side, kept) for side in sides]
            found["attention"].setdefault(what, {})[name] = dict(zip(titles, peaks, strict=True))
            cells = [f"{peaks[0]:.1f}", *(f"{b:.1f} ({b / a:.2f})" for a, b in zip(peaks, peaks[1:], strict=False))]
            print(f"| {name} | {' | '.join(cells)} |")
    if given.write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "inference_memory.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
