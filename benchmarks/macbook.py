"""How quick PVTv2 is on this Mac: one command whose table can be sent back.

    python benchmarks/macbook.py            # meant to take 5 to 10 minutes; Ctrl-C prints what was measured so far
    python benchmarks/macbook.py --only train --models pvt_v2_b0 --sizes 224 --seconds 10

First it checks that the GPU computes what numpy computes (`macbook_checks.py`). Then it times training steps (forward,
cross-entropy, backward, AdamW, reading the loss) and inference of PVTv2-b0, b1 and b2 at 224 and 256 pixels in float32, and with
products in float16 and bfloat16 (`mg.autocast`, with `GradScaler` for float16), compiled by `mg.compile`; beside the same
models written on mlx.nn and compiled, and timm's on PyTorch's MPS where both are installed. Then the forms of the depthwise
convolution, and what memory training takes. The libraries take turns in one process; times are medians, ratios medians of the
turns' ratios. What would not fit into the memory is left out, with the reason. Plug the Mac in, and close what else computes.
The table names neither you nor the machine.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import common
from macbook_report import Progress, Report, machine, reason

HERE = Path(__file__).parent
MODELS = ("pvt_v2_b0", "pvt_v2_b1", "pvt_v2_b2")
PARTS = ("checks", "train", "infer", "depthwise", "memory")
PRECISIONS = {"fp32": None, "fp16": "float16", "bf16": "bfloat16"}
MACS = ((8, 2 / 3), (16, 2 / 3), (64, 3 / 4))  # GiB of memory, and the share that macOS recommends for the GPU
COMPARED = (
    "In 16 bits mlx.nn's model computes everything but the loss in them, from float32 weights in training and 16-bit ones in "
    "inference; minigrad and PyTorch under autocast, from float32 weights."
)
SPARE = 1.1  # times the forecast: mlx.nn's model took 0.96 of it on the CPU device, and both keep their weights


# --- checks -----------------------------------------------------------------------------------------------------------
def check(options: argparse.Namespace, report: Report, progress: Progress) -> int:
    """Runs `macbook_checks.py`, in a process of its own: a kernel that fails may end it. The number of failures."""
    head, failures, last = ["check", "largest difference", "at most", ""], 0, ""
    command = [sys.executable, str(HERE / "macbook_checks.py"), *(["--quick"] if options.quick else [])]
    progress("checks: the device beside numpy")
    progress.clear()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for text in process.stdout or ():
            try:
                told = json.loads(text)
            except ValueError:
                last = text.strip() or last
                continue
            passed = "error" not in told and told["found"] <= told["most"]
            failures += not passed
            result = "pass" if passed else f"FAIL {told.get('error', '')}".strip()
            show = f"{told['found']:.1e}" if "found" in told else ""
            print(f"{result[:4]}  {told['name']}: {show or told['error']} (at most {told['most']:g})", flush=True)
            report.add("Checks", head, [told["name"], show, f"{told['most']:g}", result])
    if process.returncode:
        failures += 1
        report.add("Checks", head, [f"the process ended with status {process.returncode}", "", "", f"FAIL {last}"])
        print(f"FAIL  the process of the checks ended with status {process.returncode}: {last}")
    return failures


# --- whole models -----------------------------------------------------------------------------------------------------
def models(
    what: str, options: argparse.Namespace, report: Report, progress: Progress, torch_device: str | None
) -> None:
    """Training steps or inference of every model, size and precision."""
    import macbook_jobs as jobs

    title = {"train": "Training steps", "infer": "Inference"}[what]
    batch = options.batch if what == "train" else options.infer_batch
    head = ["model", "side", "products", "batch"]
    for library in libraries(torch_device):
        head += [f"{library}, ms", "images/s"] + (["peak, GB"] if library != "PyTorch" else [])
    head += [f"minigrad / {library}" for library in libraries(torch_device)[1:]]
    for name in options.models:
        for size in options.sizes:
            for precision in options.precisions:
                progress(f"{title.lower()}: {name} at {size}, {precision}, batch {batch}")
                row = [name, size, precision, batch]
                try:
                    cells = setting(what, name, size, PRECISIONS[precision], batch, options, torch_device)
                except Exception as error:  # the next setting may still work
                    cells = [f"failed: {reason(error)}"]
                report.add(title, head, row + cells)
                jobs.empty_caches(torch_device)


def libraries(torch_device: str | None) -> list[str]:
    return ["minigrad", "mlx.nn"] + (["PyTorch"] if torch_device else [])


def setting(what: str, name: str, size: int, low: str | None, batch: int, options, torch_device: str | None) -> list:
    """The row's numbers, or why there are none."""
    import macbook_jobs as jobs
    import mlx.core as mx

    import minigrad as mg
    from minigrad.training.memory import MARGIN, need

    images, labels = jobs.data(batch, size)
    shown = libraries(torch_device)
    weights = jobs.initial_weights(name)
    before = mx.get_active_memory()
    ours = jobs.Minigrad(name, weights, low)
    if what == "train":
        ours.model.train()
        forecast, info = need(ours, batch, images.shape[1:], "mlx"), mg.memory_info("mlx")
        assert forecast is not None and info is not None
        if SPARE * forecast.of(batch) > info.limit:
            most = forecast.most(MARGIN * info.limit / SPARE)
            wanted = f"needs about {forecast.of(batch) / 1e9:.1f} GB, and {info.limit / 1e9:.1f} may be used"
            return [f"left out: {wanted}" + (f"; --batch {most} would fit" if most else "")]
        if 2 * forecast.of(batch) > info.limit:
            torch_device = None  # which keeps its own memory beside MLX's
    makers = {"minigrad": lambda: ours, "mlx.nn": lambda: jobs.Native(name, weights, low)}
    if torch_device:
        makers["PyTorch"] = lambda: jobs.Torch(name, low, torch_device)
    runs, peaks = {}, {}
    for library, make in makers.items():
        if library != "minigrad":
            before = mx.get_active_memory()
        runs[library] = make().training(images, labels) if what == "train" else make().inference(images)
        for _ in range(3):  # the first makes the optimiser's state, the second is traced
            runs[library]()
        mx.reset_peak_memory()
        runs[library]()
        peaks[library] = (mx.get_peak_memory() - before) / 1e9
    times = common.take_turns(runs, options.seconds, 1 if options.quick else 5)
    wall = {library: [turn[0] for turn in turns] for library, turns in times.items()}
    cells: list = []
    for library in shown:
        seconds = statistics.median(wall[library]) if library in wall else None
        cells += ["left out", ""] if seconds is None else [1e3 * seconds, batch / seconds]
        cells += [peaks[library]] if library != "PyTorch" else []
    ratios = [f"**{common.ratio(wall, 'minigrad', library):.2f}**" if library in wall else "" for library in shown[1:]]
    return cells + ratios


# --- memory ----------------------------------------------------------------------------------------------------------
def memory(options: argparse.Namespace, report: Report, progress: Progress) -> None:
    """What a training step will need, with and without recomputation, and the largest batches of Macs of three sizes."""
    import macbook_jobs as jobs

    from minigrad.backend import mlx_device
    from minigrad.training.memory import MARGIN, need

    size, gib = options.sizes[0], 1 << 30
    limits = [mlx_device.default_limits(total * gib, int(share * total * gib))[0] for total, share in MACS]
    head = ["model", "side", "products", "activations", "GB besides images", "MB an image"]
    head += [f"largest batch, {total} GB" for total, _ in MACS]
    for name in options.models:
        for precision in [p for p in ("fp32", "fp16") if p in options.precisions]:
            for recompute in (False, True):
                kept = "recomputed" if recompute else "kept"
                progress(f"memory of a training step: {name} at {size}, {precision}, activations {kept}")
                job = jobs.Minigrad(name, jobs.initial_weights(name), PRECISIONS[precision])
                job.model.train()
                job.model.set_grad_checkpointing(recompute)
                forecast = need(job, 32, (3, size, size), "mlx")
                assert forecast is not None
                most = [forecast.most(MARGIN * limit) for limit in limits]
                row = [name, size, precision, kept, forecast.fixed / 1e9, forecast.each / 1e6, *most]
                report.add("Memory of a training step, foretold from a few images", head, row)
                del job
                jobs.empty_caches(None)


# --- the command ------------------------------------------------------------------------------------------------------
def listed(known=None, kind=str):
    """A parser of values separated by commas."""

    def parse(text: str) -> list:
        values = [kind(value.strip()) for value in text.split(",") if value.strip()]
        wrong = [value for value in values if known is not None and value not in known]
        if wrong or not values:
            told = ", ".join(map(str, wrong)) or "nothing"
            raise argparse.ArgumentTypeError(f"{told}; choose among {', '.join(known or ('names',))}")
        return values

    return parse


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=listed(PARTS), default=list(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--models", type=listed(), default=list(MODELS), help=f"default {','.join(MODELS)}")
    parser.add_argument("--sizes", type=listed(kind=int), default=[224, 256], help="sides in pixels, default 224,256")
    parser.add_argument("--precisions", type=listed(PRECISIONS), default=list(PRECISIONS), help="of fp32,fp16,bf16")
    parser.add_argument("--batch", type=int, default=16, help="images in a training step, default 16")
    parser.add_argument("--infer-batch", type=int, default=32, help="images at once in inference, default 32")
    parser.add_argument("--seconds", type=float, default=4, help="of taking turns, for each row; default 4")
    devices = ("auto", "off", "mps", "cuda", "cpu")
    parser.add_argument("--torch", default="auto", choices=devices, help="PyTorch's device")
    parser.add_argument("--output", type=Path, help="the file for the table, default macbook-CHIP.md in this folder")
    parser.add_argument("--quick", action="store_true", help="a tiny model and one turn: whether all of it runs")
    options = parser.parse_args(arguments)
    if options.quick:
        options.models, options.sizes, options.seconds = ["pvt_v2_tiny"], [32], 0
        options.batch = options.infer_batch = 1
    return options


def main(arguments: list[str] | None = None) -> int:
    """Measures, prints and writes the table; the exit status: 1 where a check failed, 130 after Ctrl-C."""
    options = parse(arguments)
    try:
        import macbook_depthwise
        from macbook_jobs import torch_device
    except ImportError as error:
        sys.exit(f"macbook.py needs minigrad with MLX ({error}): pip install -e . in the clone, on a Mac for arm64")

    chip, about = machine(options)
    device, sentence = torch_device("off" if options.quick and options.torch == "auto" else options.torch)
    output = options.output or Path(f"macbook-{re.sub(r'[^a-z0-9]+', '-', chip.lower()).strip('-') or 'unknown'}.md")
    report, status = Report([*about, sentence, COMPARED], output), 0
    print("\n".join(report.about), flush=True)
    rows = len(options.models) * len(options.sizes) * len(options.precisions)
    kept = 2 * len(options.models) * len({"fp32", "fp16"} & set(options.precisions))
    count = {"checks": 1, "train": rows, "infer": rows, "depthwise": macbook_depthwise.rows(options), "memory": kept}
    progress = Progress(sum(count[part] for part in options.only))
    try:
        for part in (part for part in PARTS if part in options.only):
            try:
                if part == "checks":
                    status = int(check(options, report, progress) > 0)
                elif part == "depthwise":
                    macbook_depthwise.measure(options, report, progress)
                elif part == "memory":
                    memory(options, report, progress)
                else:
                    models(part, options, report, progress, device)
            except Exception as error:  # the next part may still work
                report.notes.append(f"the part {part} failed: {reason(error)}")
                status = 1
    except KeyboardInterrupt:
        report.notes.append("stopped by Ctrl-C: what follows is a part")
        status = 130
    progress.clear()
    print(f"\n{report}")
    try:
        output.write_text(str(report), encoding="utf-8")
        print(f"Written to {output.resolve()}; please send it back.")
    except OSError as error:
        print(f"Can't write {output} ({error}); please send back what stands above.")
    return status


if __name__ == "__main__":
    sys.exit(main())
