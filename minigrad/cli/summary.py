"""`minigrad summary`."""

import argparse

from minigrad import models, visual
from minigrad.cli.errors import UsageError

TEXT = "a model's layers, their output shapes, parameters and MACs"
EXAMPLES = """examples:
  python -m minigrad summary pvt_v2_b0
  python -m minigrad summary pvt_v2_b2_li --image-size 384 --depth 1"""


def options(sub: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    sub.add_argument("model", metavar="MODEL", help=f"one of {', '.join(models.list_models())}")
    sub.add_argument(
        "--image-size", type=int, default=None, metavar="N", help="side of the image (default: the model's)"
    )
    sub.add_argument("--depth", type=int, default=None, metavar="N", help="levels of modules to show (default: all)")


def run(model: str, image_size: int | None, depth: int | None) -> int:
    """Prints the summary, returns the exit status."""
    if depth is not None and depth < 0:
        raise UsageError(f"--depth must be at least 0, got {depth}")
    print(visual.summary(build(model, image_size), depth=depth))
    return 0


def build(name: str, image_size: int | None) -> models.PVT_V2:
    """A named model, for images of a given size."""
    if name not in models.list_models():
        raise UsageError(f"there is no model {name!r}; choose one of {', '.join(models.list_models())}")
    return models.create_model(name, img_size=image_size)
