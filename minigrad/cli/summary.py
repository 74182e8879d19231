"""`minigrad summary`."""

import argparse

from minigrad import models, visual
from minigrad.cli.errors import UsageError
from minigrad.visual.watch import input_shape_of

TEXT = "a model's layers, their output shapes, parameters, MACs, and the memory of training"
EXAMPLES = """examples:
  python -m minigrad summary pvt_v2_b0
  python -m minigrad summary pvt_v2_b2_li --image-size 384 --depth 1
  python -m minigrad summary pvt_v2_b0 --memory --batch-size 8 --depth 2"""


def options(sub: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    sub.add_argument("model", metavar="MODEL", help=f"one of {', '.join(models.list_models())}")
    sub.add_argument(
        "--image-size", type=int, default=None, metavar="N", help="side of the image (default: the model's)"
    )
    sub.add_argument("--depth", type=int, default=None, metavar="N", help="levels of modules to show (default: all)")
    sub.add_argument("--memory", action="store_true", default=False, help="also where a training step's memory goes")
    sub.add_argument("--batch-size", type=int, default=1, metavar="N", help="images in the batch (default: 1)")


def run(model: str, image_size: int | None, depth: int | None, memory: bool, batch_size: int) -> int:
    """Prints the summary, returns the exit status."""
    if depth is not None and depth < 0:
        raise UsageError(f"--depth must be at least 0, got {depth}")
    if batch_size < 1:
        raise UsageError(f"--batch-size must be at least 1, got {batch_size}")
    built = build(model, image_size)
    print(visual.summary(built, (batch_size, *input_shape_of(built, None)[1:]), depth, memory))
    return 0


def build(name: str, image_size: int | None) -> models.PVT_V2:
    """A named model, for images of a given size."""
    if name not in models.list_models():
        raise UsageError(f"there is no model {name!r}; choose one of {', '.join(models.list_models())}")
    return models.create_model(name, img_size=image_size)
