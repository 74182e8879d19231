"""How the CPU backend's time and memory grow with the image and with the batch, beside PyTorch with timm.

Forward passes without gradients, each library taking turns; peak memory in processes of their own. The slope is that of a
line through log(time) against log(pixels): 1 is linear. With linear attention (b2_li) the work grows with the pixels.

    python benchmarks/scaling.py [--model pvt_v2_b2_li] [--sizes 224,448,896] [--batches 1,2,4,8] [--turns 3] [--write]
"""

import argparse
import json
import math
import statistics
from pathlib import Path

import common
import numpy as np
import pvt_cpu

RESULTS = Path(__file__).parent / "results"


def measure(model: str, batch: int, size: int, turns: int) -> dict:
    theirs, _, weights = pvt_cpu.torch_runs(model, batch, size)
    ours, _ = pvt_cpu.minigrad_runs(model, batch, size, weights)
    times = common.alternate({"minigrad": ours, "torch": theirs}, turns)
    row = {"batch": batch, "size": size, "ratio": common.ratio(times, "minigrad", "torch")}
    row |= {name: statistics.median(t) for name, t in times.items()}
    row["memory"] = [pvt_cpu.memory(library, "forward", model, batch, size) for library in ("minigrad", "torch")]
    return row


def slope(rows: list[dict], library: str, along: str) -> float:
    x = [row["size"] ** 2 if along == "size" else row["batch"] for row in rows]
    if len(set(x)) < 2:
        return math.nan
    return float(np.polyfit(np.log(x), np.log([row[library] for row in rows]), 1)[0])


def table(rows: list[dict]) -> str:
    lines = [
        "| images | size | minigrad, s | PyTorch + timm, s | ratio | peak memory, MB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for r in rows:
        peak = f"{r['memory'][0] / 1e6:.0f} / {r['memory'][1] / 1e6:.0f}"
        lines.append(
            f"| {r['batch']} | {r['size']} | {r['minigrad']:.3f} | {r['torch']:.3f} | **{r['ratio']:.2f}** | {peak} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="pvt_v2_b2_li")
    parser.add_argument("--sizes", default="224,448,896", help="at one image (default 224,448,896)")
    parser.add_argument("--batches", default="1,2,4,8", help="at 224 pixels (default 1,2,4,8)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write results/scaling.json and .md")
    options = parser.parse_args()
    pvt_cpu.set_threads(options.threads)
    by_size = [measure(options.model, 1, int(size), options.turns) for size in options.sizes.split(",")]
    by_batch = [measure(options.model, int(n), 224, options.turns) for n in options.batches.split(",")]
    slopes = "; ".join(
        f"slope of time along the {name}: minigrad {slope(rows, 'minigrad', along):.2f}, PyTorch {slope(rows, 'torch', along):.2f}"
        for name, along, rows in (("pixels", "size", by_size), ("batch", "batch", by_batch))
    )
    text = f"{options.model}, forward, {options.threads} thread(s). {common.machine()}\n\n{table(by_size + by_batch)}\n\n{slopes}"
    print(text)
    if options.write:
        RESULTS.mkdir(exist_ok=True)
        found = {
            "machine": common.machine(),
            "model": options.model,
            "sizes": by_size,
            "batches": by_batch,
            "slopes": slopes,
        }
        (RESULTS / "scaling.json").write_text(json.dumps(found, indent=1) + "\n")
        (RESULTS / "scaling.md").write_text(text + "\n")


if __name__ == "__main__":
    main()
