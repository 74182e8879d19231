"""`minigrad convert`."""

import argparse
from pathlib import Path

from minigrad import models
from minigrad.cli.errors import UsageError
from minigrad.interop.hub import locate

TEXT = "rewrite a checkpoint in the layout of Hugging Face, timm or the original code"
EXAMPLES = """examples:
  python -m minigrad convert pvt_v2_b2.pth b2-hf --to hf                 the original's file for transformers
  python -m minigrad convert OpenGVLab/pvt_v2_b0 b0-timm --to timm       from the Hugging Face hub (extra: hub)
  python -m minigrad convert runs/digits-20250101-120000 digits-hf --to hf
  python -m minigrad convert weights.safetensors out --to original --config config.json

SOURCE is a folder, a file (.safetensors, .pth, .bin, *.index.json) or a name on the hub; its layout is recognised. How
pictures are prepared goes along, where it says so."""


def options(sub: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    sub.add_argument("source", metavar="SOURCE", help="what to read")
    sub.add_argument("target", metavar="TARGET_FOLDER", help="the folder to make")
    sub.add_argument("--to", choices=("hf", "timm", "original"), required=True, help="the layout to write")
    sub.add_argument(
        "--num-classes",
        type=int,
        default=None,
        metavar="N",
        help="a new, untrained classifier; 0 for none (default: keep it)",
    )
    sub.add_argument("--config", default=None, metavar="FILE", help="the configuration (JSON), where SOURCE has none")
    sub.add_argument(
        "--local-files-only", action="store_true", default=False, help="use the hub's cache, download nothing"
    )


def run(source: str, target: str, to: str, num_classes: int | None, config: str | None, local_files_only: bool) -> int:
    """Converts, says what was written, returns the exit status."""
    if num_classes is not None and num_classes < 0:
        raise UsageError(f"--num-classes must be at least 0, got {num_classes}")
    if Path(target).exists() and not Path(target).is_dir():
        raise UsageError(f"{target} is a file; give a folder")
    if Path(target).exists() and any(Path(target).iterdir()):
        raise UsageError(f"the folder {target} isn't empty; give another")
    path = locate(source, local_files_only=local_files_only)
    model = models.from_pretrained(path, config=config, num_classes=num_classes)
    taken = model.config.in_channels, *model.config.image_shape
    processor = models.ImageProcessor.of_checkpoint(path, *taken, strict=False) if taken[0] in (1, 3) else None
    folder = models.save_pretrained(model, target, layout=to, image_processor=processor)
    count = sum(p.numel() for p in model.parameters())
    print(f"{folder}: PVT v2 with {count:,} parameters, {model.config.num_classes or 'no'} classes")
    return 0
