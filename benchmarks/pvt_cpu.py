"""PVTv2 on the CPU: minigrad beside PyTorch with timm, forward and training step, time and peak memory.

Both have the same weights and images, and their logits are compared first. They take turns in one process with the same
number of threads; the ratio is the median of the turns' ratios. A training step is forward, cross-entropy, backward, AdamW.
Peak memory is that of a process of its own for each library, imports and weights included.

    python benchmarks/pvt_cpu.py [--models pvt_v2_b0,pvt_v2_b2] [--batches 1,8] [--threads 1,2] [--turns 9] [--write]
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import common
import numpy as np

import minigrad as mg
from minigrad import models
from minigrad.nn import functional as F

RESULTS = Path(__file__).parent / "results"


def images(batch: int, size: int):
    rng = np.random.default_rng(0)
    return rng.standard_normal((batch, 3, size, size), dtype=np.float32), rng.integers(0, 1000, batch)


def minigrad_runs(name: str, batch: int, size: int, weights: dict | None = None):
    """(forward, training step), each a function without arguments; forward returns the logits as a numpy array."""
    model = models.create_model(name)
    if weights is not None:
        model.load_state_dict({k: mg.tensor(v) for k, v in weights.items()})
    x, labels = (mg.tensor(a) for a in images(batch, size))
    optimizer = mg.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)

    def forward():
        model.eval()
        with mg.no_grad():
            return model(x).numpy()

    def train():
        model.train()
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return forward, train


def torch_runs(name: str, batch: int, size: int):
    """(forward, training step, weights) of PyTorch and timm."""
    import torch

    model = common.timm_model(name)
    x, labels = (torch.from_numpy(a) for a in images(batch, size))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)

    def forward():
        model.eval()
        with torch.no_grad():
            return model(x).numpy()

    def train():
        model.train()
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return forward, train, {k: v.numpy().copy() for k, v in model.state_dict().items()}


def set_threads(n: int) -> None:
    import torch

    torch.set_num_threads(n)
    mg.set_num_threads(n)


def memory(library: str, what: str, name: str, batch: int, size: int) -> int:
    """Peak memory in bytes of three runs in a process of its own."""
    arguments = ["--one", library, what, "--models", name, "--batches", str(batch), "--size", str(size)]
    return int(common.own_process(__file__, *arguments))


def one(library: str, what: str, name: str, batch: int, size: int) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    runs = minigrad_runs(name, batch, size) if library == "minigrad" else torch_runs(name, batch, size)
    for _ in range(3):
        runs[what == "train"]()
    print(common.peak_memory())


def measure(name: str, batch: int, size: int, what: str, threads: int, turns: int) -> dict:
    forward, train, weights = torch_runs(name, batch, size)
    mine, my_train = minigrad_runs(name, batch, size, weights)
    set_threads(threads)
    np.testing.assert_allclose(mine(), forward(), atol=2e-4)  # they compute the same thing
    runs = {"minigrad": mine, "torch": forward} if what == "forward" else {"minigrad": my_train, "torch": train}
    times = common.alternate(runs, turns)
    row = {"model": name, "batch": batch, "size": size, "what": what, "threads": threads}
    for library in runs:
        row[library] = statistics.median(times[library])
    row["ratio"] = common.ratio(times, "minigrad", "torch")
    if threads == 1:  # processor time, which other processes disturb less
        times = common.alternate(runs, turns, time.process_time)
        row["cpu_ratio"] = common.ratio(times, "minigrad", "torch")
    return row


def table(rows: list[dict]) -> str:
    lines = [
        "| model | batch | | threads | minigrad, s | PyTorch + timm, s | ratio | ratio of CPU time | peak memory, MB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for r in rows:
        peak = f"{r['memory'][0] / 1e6:.0f} / {r['memory'][1] / 1e6:.0f}" if "memory" in r else ""
        cpu = f"{r['cpu_ratio']:.2f}" if "cpu_ratio" in r else ""
        lines.append(
            f"| {r['model']} | {r['batch']} | {r['what']} | {r['threads']} | {r['minigrad']:.3f} | {r['torch']:.3f} | "
            f"**{r['ratio']:.2f}** | {cpu} | {peak} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="pvt_v2_b0", help="comma-separated (default pvt_v2_b0)")
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--what", default="forward,train")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--no-memory", action="store_true", help="leave out the peak memory")
    parser.add_argument("--write", action="store_true", help="write results/pvt_cpu.json and .md")
    parser.add_argument("--one", nargs=2, metavar=("LIBRARY", "WHAT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    batches = [int(b) for b in options.batches.split(",")]
    if options.one:
        one(*options.one, options.models, batches[0], options.size)
        return
    rows = []
    for name in options.models.split(","):
        for batch in batches:
            for what in options.what.split(","):
                peaks = None
                if not options.no_memory:
                    peaks = [memory(library, what, name, batch, options.size) for library in ("minigrad", "torch")]
                for threads in map(int, options.threads.split(",")):
                    row = measure(name, batch, options.size, what, threads, options.turns)
                    if peaks:
                        row["memory"] = peaks
                    rows.append(row)
                    print(table(rows).splitlines()[-1], flush=True)
    print(f"\n{common.machine()}\n\n{table(rows)}")
    if options.write:
        write(rows)


def write(rows: list[dict]) -> None:
    """Puts the rows into the results; those of other models, batches and threads that are there already stay."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "pvt_cpu.json"
    kept = json.loads(path.read_text())["rows"] if path.exists() else []
    names = ("model", "batch", "size", "what", "threads")
    merged = {tuple(row[name] for name in names): row for row in kept + rows}
    rows = [merged[key] for key in sorted(merged)]
    path.write_text(json.dumps({"machine": common.machine(), "rows": rows}, indent=1) + "\n")
    (RESULTS / "pvt_cpu.md").write_text(f"{common.machine()}\n\n{table(rows)}\n")


if __name__ == "__main__":
    main()
