"""The command line: `python -m minigrad train | eval | predict | summary | info`.

Exit status: 0 when it worked, 1 when training had to stop, 2 for a mistake in what was asked for, 130 after Ctrl-C. A
mistake is one line on standard error; `--debug` or MINIGRAD_DEBUG=1 shows the traceback too.
"""

import argparse
import json
import os
import platform
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib import metadata
from typing import Any, NoReturn

import numpy as np

import minigrad as mg
from minigrad import backend, models
from minigrad.training import Classifier, TrainConfig, TrainingError, evaluate, resume, train

EXAMPLES = {
    "train": """examples:
  python -m minigrad train                                   PVT v2 on the handwritten digits, on the CPU
  python -m minigrad train --device mlx --output runs/mlx    the same with MLX, into a folder of your choice
  python -m minigrad train --data photos --model pvt_v2_b0 --image-size 64
                                                             your own images: photos/cat/1.jpg, photos/dog/2.png, ...
  python -m minigrad train --resume runs/mlx                 go on where that run was stopped""",
    "eval": """examples:
  python -m minigrad eval runs/digits-20250101-120000
  python -m minigrad eval runs/digits-20250101-120000/model.safetensors --split val""",
    "predict": """examples:
  python -m minigrad predict runs/digits-20250101-120000 seven.png
  python -m minigrad predict runs/digits-20250101-120000 *.jpg --top-k 3 --json""",
    "summary": """examples:
  python -m minigrad summary pvt_v2_b0
  python -m minigrad summary pvt_v2_b2_li --image-size 384 --depth 1""",
    "info": """example:
  python -m minigrad info""",
}


class UsageError(Exception):
    """The command line can't be understood."""


class Parser(argparse.ArgumentParser):
    """argparse with one-line errors."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    >>> main(["info"])  # doctest: +SKIP
    0
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            options = vars(_parser().parse_args(arguments))
            options.pop("debug", None)
            status: int = options.pop("run")(**options)
            sys.stdout.flush()
            return status
    except SystemExit as stop:  # argparse, after --help and --version
        return int(stop.code or 0)
    except KeyboardInterrupt as stop:
        print(f"\nminigrad: {stop or 'stopped'}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output, head perhaps, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (UsageError, ValueError, OSError, backend.BackendError, TrainingError) as error:
        if "--debug" in arguments or os.environ.get("MINIGRAD_DEBUG", "0") not in ("", "0"):
            traceback.print_exc()
        print(f"minigrad: error: {_one_line(error)}", file=sys.stderr)
        return 1 if isinstance(error, TrainingError) else 2


def _parser() -> Parser:
    parser = Parser(prog="minigrad", description="Train and use PVT v2. Each command has its own --help.")
    parser.add_argument("--version", action="version", version=f"minigrad {mg.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run, text: str) -> Parser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=EXAMPLES[name],
            formatter_class=argparse.RawDescriptionHelpFormatter,
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
        )
        sub.set_defaults(run=run)
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return sub

    _train_options(command("train", run_train, "train a classifier: by default a small PVT v2 on handwritten digits"))

    sub = command("eval", run_eval, "count how well a trained model does on a part of its data")
    sub.add_argument("path", metavar="RUN", help="a run folder, or its model.safetensors")
    sub.add_argument("--split", choices=("train", "val", "test"), default="test", help="default: test")
    sub.add_argument("--data", metavar="FOLDER", default=None, help="images to use (default: those it was trained on)")
    sub.add_argument("--batch-size", type=int, default=256, metavar="N", help="images at a time (default: 256)")
    sub.add_argument("--device", default="cpu", help="cpu, mlx or gpu (default: cpu)")

    sub = command("predict", run_predict, "say what images show, with probabilities")
    sub.add_argument("path", metavar="RUN", help="a run folder, or its model.safetensors")
    sub.add_argument("images", metavar="IMAGE", nargs="+", help="image files of any common format")
    sub.add_argument("--top-k", type=int, default=5, metavar="K", help="how many classes to name (default: 5)")
    sub.add_argument("--json", dest="as_json", action="store_true", default=False, help="print a JSON list")
    sub.add_argument("--device", default="cpu", help="cpu, mlx or gpu (default: cpu)")

    sub = command("summary", run_summary, "a model's layers, their output shapes, parameters and MACs")
    sub.add_argument("model", metavar="MODEL", help=f"one of {', '.join(models.list_models())}")
    sub.add_argument(
        "--image-size", type=int, default=None, metavar="N", help="side of the image (default: the model's)"
    )
    sub.add_argument("--depth", type=int, default=None, metavar="N", help="levels of modules to show (default: all)")

    command("info", run_info, "versions, devices and threads, for a bug report")
    return parser


def _train_options(sub: Parser) -> None:
    default = TrainConfig()

    def option(name: str, text: str, kind: type = str, metavar: str | None = None) -> None:
        value = getattr(default, name)
        shown = text if value is None else f"{text} (default: {value})"
        sub.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=metavar, help=shown)

    option("model", f"one of {', '.join(models.list_models())}", metavar="NAME")
    option("data", "digits, or a folder of class folders with images", metavar="FOLDER")
    option("image_size", "side of the images in pixels (default: 32 for digits and pvt_v2_tiny, else 224)", int, "N")
    option("epochs", "passes over the training part", int, "N")
    option("batch_size", "images in a step", int, "N")
    option("lr", "peak learning rate of AdamW", float)
    option("weight_decay", "on matrices only", float, "X")
    option("warmup", "share of all steps in which the learning rate rises", float, "X")
    option("label_smoothing", "share of the target spread over all classes", float, "X")
    option("drop_path", "stochastic depth in the last block", float, "X")
    option("clip", "largest norm of the gradient, 0 for none", float, "X")
    option("shift", "training images move by up to X pixels", float, "X")
    option("rotate", "training images turn by up to X degrees", float, "X")
    option("zoom", "training images grow or shrink by up to a factor 1 + X", float, "X")
    sub.add_argument("--flip", action="store_true", help="mirror training images half of the time")
    option("seed", "of weights, order and every random choice", int, "N")
    option("device", "cpu, mlx or gpu", metavar="NAME")
    option("threads", "threads of numpy's matrix products", int, "N")
    option("workers", "threads that read and prepare batches ahead", int, "N")
    option("output", "run folder (default: runs/<data>-<time>)", metavar="FOLDER")
    sub.add_argument("--resume", metavar="RUN", help="go on with a stopped run, with its own settings")
    sub.add_argument("--quiet", action="store_true", help="print only the result")


def run_train(quiet: bool = False, **settings) -> int:
    """`minigrad train`."""
    resume_from = settings.pop("resume", None)
    if resume_from is not None:
        if settings:
            given = ", ".join(f"--{name.replace('_', '-')}" for name in settings)
            raise UsageError(f"--resume goes on with the run's own settings; leave out {given}")
        result = resume(resume_from, quiet=quiet)
    else:
        result = train(TrainConfig(**settings), quiet=quiet)
    print(result)
    return 0


def run_eval(path: str, split: str, data: str | None, batch_size: int, device: str) -> int:
    """`minigrad eval`."""
    if batch_size < 1:
        raise UsageError(f"--batch-size must be at least 1, got {batch_size}")
    classifier = Classifier.load(path, device)
    found = evaluate(classifier.model, classifier.batches(split, batch_size, data))
    right = f"{found.correct} of {len(found.labels)}"
    print(f"{split} accuracy {100 * found.accuracy:.2f} % ({right}), loss {found.loss:.4f}")
    return 0


def run_predict(path: str, images: list[str], top_k: int, as_json: bool, device: str) -> int:
    """`minigrad predict`: images that can't be read are named on standard error and make the exit status 2."""
    if top_k < 1:
        raise UsageError(f"--top-k must be at least 1, got {top_k}")
    classifier, rows, status = Classifier.load(path, device), list[dict[str, Any]](), 0
    for image in images:
        try:
            prediction = classifier.predict(image)
        except (ValueError, OSError) as error:
            print(f"minigrad: error: {_one_line(error)}", file=sys.stderr)
            status = 2
            rows.append({"image": image, "error": _one_line(error)})
            continue
        best = np.argsort(-prediction.probabilities, kind="stable")[:top_k]
        chances = [round(float(p), 6) for p in prediction.probabilities[best]]
        top = [{"class": classifier.classes[i], "probability": p} for i, p in zip(best, chances, strict=True)]
        rows.append({"image": image, "top": top, "note": prediction.note})
        if not as_json:
            print(f"{image}" + (f"  ({prediction.note})" if prediction.note else ""))
            width = max(len(row["class"]) for row in top)
            for row in top:
                print(f"  {row['class']:<{width}}  {100 * row['probability']:6.2f} %")
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    return status


def run_summary(model: str, image_size: int | None, depth: int | None) -> int:
    """`minigrad summary`."""
    if depth is not None and depth < 0:
        raise UsageError(f"--depth must be at least 0, got {depth}")
    if model not in models.list_models():
        raise UsageError(f"there is no model {model!r}; choose one of {', '.join(models.list_models())}")
    given = {} if image_size is None else {"img_size": image_size}
    print(mg.visual.summary(models.create_model(model, **given), depth=depth))
    return 0


def run_info() -> int:
    """`minigrad info`."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    limits = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
    print(f"minigrad    {mg.__version__}")
    print(f"python      {platform.python_version()} on {platform.platform()} ({platform.machine()})")
    print(f"numpy       {np.__version__}, BLAS {blas.get('name', 'unknown')} {blas.get('version', '')}".rstrip())
    print(f"threads     {cores} cores" + "".join(f", {limit}" for limit in limits))
    print("device cpu  numpy")
    try:
        where = "the GPU" if backend.get("mlx").has_gpu() else "the CPU (it finds no GPU here)"
        print(f"device mlx  MLX {metadata.version('mlx')} on {where}")
    except backend.BackendError as error:
        print(f"device mlx  {_one_line(error)}")
    for name, package in (("pillow", "pillow"), ("safetensors", "safetensors"), ("matplotlib", "matplotlib")):
        try:
            print(f"{name:<11} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            print(f"{name:<11} not installed")
    print(f"models      {', '.join(models.list_models())}")
    return 0


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    print(f"minigrad: warning: {_one_line(message)}", file=sys.stderr)


def _one_line(error) -> str:
    return "; ".join(part.strip() for part in str(error).splitlines() if part.strip()) or type(error).__name__
