"""`minigrad train`."""

import argparse

from minigrad import distributed, models
from minigrad.cli.errors import UsageError, plain
from minigrad.training import TrainConfig, resume, train

TEXT = "train a classifier: by default a small PVT v2 on handwritten digits"
EXAMPLES = """examples:
  python -m minigrad train                                   PVT v2 on the handwritten digits, on the CPU
  python -m minigrad train --device mlx --output runs/mlx    the same with MLX, into a folder of your choice
  python -m minigrad train --data photos --model pvt_v2_b0 --image-size 64
                                                             your own images: photos/cat/1.jpg, photos/dog/2.png, ...
  python -m minigrad train --data photos --model pvt_v2_b0 --weights OpenGVLab/pvt_v2_b0 --lr 1e-4
                                                             fine-tuning: from the weights trained on ImageNet
  python -m minigrad train --resume runs/mlx                 go on where that run was stopped
  mlx.launch -n 2 -- python -m minigrad train --device mlx   two processes, or machines, together: docs/mlx.md"""


def options(sub: argparse.ArgumentParser) -> None:
    default = TrainConfig()

    def option(name: str, text: str, kind: type = str, metavar: str | None = None) -> None:
        value = getattr(default, name)
        shown = text if value is None else f"{text} (default: {value})"
        sub.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=metavar, help=shown)

    option("model", f"one of {', '.join(models.list_models())}", metavar="NAME")
    option("data", "digits, or a folder of class folders with images", metavar="FOLDER")
    option(
        "weights", "a checkpoint to start from: a run folder, a file, a name on the Hugging Face hub", metavar="PATH"
    )
    option("image_size", "side of the images in pixels (default: 32 for digits and pvt_v2_tiny, else 224)", int, "N")
    option("epochs", "passes over the training part", int, "N")
    option("batch_size", "images in a step, of all processes together", int, "N")
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
    option("amp", "mixed precision: off, float16, bfloat16, or auto: what the device computes quickly", metavar="NAME")
    option("accumulate", "batches whose gradients make one update together", int, "N")
    text = "compute activations again in backward: less memory, a third more time"
    sub.add_argument("--recompute", action="store_true", help=text)
    option("memory_limit", "GB that MLX may use, 0 for what the machine can spare", float, "GB")
    text = "with MLX, run the training step operation by operation"
    sub.add_argument("--no-compile", dest="compile", action="store_false", help=text)
    option("threads", "threads of the CPU backend's kernels", int, "N")
    option("workers", "threads that read and prepare batches ahead", int, "N")
    option("output", "run folder (default: runs/<data>-<time>)", metavar="FOLDER")
    sub.add_argument("--resume", metavar="RUN", help="go on with a stopped run, with its own settings")
    sub.add_argument("--quiet", action="store_true", help="print only the result")


def run(quiet: bool = False, **settings) -> int:
    """Trains, prints the result, returns the exit status."""
    resume_from = settings.pop("resume", None)
    if resume_from is not None:
        if settings:
            given = ", ".join(f"--{name.replace('_', '-')}" for name in settings)
            raise UsageError(f"--resume goes on with the run's own settings; leave out {given}")
        result = resume(resume_from, quiet=quiet)
    else:
        result = train(TrainConfig(**settings), quiet=quiet)
    if distributed.get_rank() == 0:
        print(*map(plain, str(result).split("\n")), sep="\n")
    return 0
