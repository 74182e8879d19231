"""`minigrad predict`."""

import argparse
import csv
import glob
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from minigrad.cli.errors import UsageError, one_line, plain
from minigrad.data.images.reading import find_images
from minigrad.files import atomic_write_text
from minigrad.training import Classifier

TEXT = "say what images show, with probabilities"
EXAMPLES = """examples:
  python -m minigrad predict runs/digits-20250101-120000 seven.png
  python -m minigrad predict OpenGVLab/pvt_v2_b0 photos/ 'more/*.jpg' --top-k 3
  python -m minigrad predict pvt_v2_b2.pth photos/ --csv answers.csv
  python -m minigrad predict timm/pvt_v2_b0.in1k cat.jpg --attention where.png

MODEL is a run folder; a folder or file that models.from_pretrained reads (Hugging Face's, timm's, the original's); or a
name on the Hugging Face hub (extra: hub). Pictures are prepared as the checkpoint says. Files that can't be read are
named and passed over; the exit status is then 2, and 0 when all went well."""
MOST_DRAWN = 16
LONGEST_NAME = 48  # in the table


def options(sub: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    sub.add_argument("path", metavar="MODEL", help="a run folder, a checkpoint, or a name on the hub")
    sub.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="image files, folders (with all below them), or patterns such as '*.jpg'",
    )
    sub.add_argument("--top-k", type=int, default=5, metavar="K", help="how many classes to name (default: 5)")
    sub.add_argument(
        "--json", dest="as_json", action="store_true", default=False, help="print a JSON list, not a table"
    )
    sub.add_argument(
        "--csv",
        dest="csv_path",
        default=None,
        metavar="FILE",
        help="write a CSV file; - prints it instead of the table",
    )
    sub.add_argument(
        "--attention",
        default=None,
        metavar="PNG",
        help=f"draw the attention of every stage over the images, {MOST_DRAWN} at most",
    )
    sub.add_argument("--batch-size", type=int, default=16, metavar="N", help="images at a time (default: 16)")
    sub.add_argument(
        "--local-files-only", action="store_true", default=False, help="use the hub's cache, download nothing"
    )
    sub.add_argument("--device", default="cpu", help="cpu, mlx or gpu (default: cpu)")


def run(
    path: str,
    images: list[str],
    top_k: int,
    as_json: bool,
    csv_path: str | None,
    attention: str | None,
    batch_size: int,
    local_files_only: bool,
    device: str,
) -> int:
    """Images that can't be read are named on standard error and make the exit status 2."""
    for name, value in (("--top-k", top_k), ("--batch-size", batch_size)):
        if value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}")
    if as_json and csv_path == "-":
        raise UsageError("--json and --csv - would both print; give --csv a file, or leave one out")
    if attention is not None and Path(attention).suffix.lower() != ".png":
        raise UsageError(f"--attention draws a PNG: give a file that ends in .png, not {attention}")
    for target in (csv_path, attention):  # told before the work, not after it
        if target not in (None, "-") and not Path(target).absolute().parent.is_dir():
            raise UsageError(f"can't write {target}: there is no folder {Path(target).parent}")
    names = list(_expand(images))
    if attention is not None and len(names) > MOST_DRAWN:
        raise UsageError(f"--attention draws {MOST_DRAWN} images at most, not {len(names)}")
    classifier, rows, drawn = Classifier.from_pretrained(path, device, local_files_only), list[dict[str, Any]](), []
    table = None if as_json or csv_path == "-" else Table(names)
    quiet = len(names) <= batch_size or not sys.stderr.isatty() or (table is not None and sys.stdout.isatty())
    with tqdm(total=len(names), unit=" images", disable=quiet, leave=False, dynamic_ncols=True) as bar:
        for batch in _batches(classifier, names, batch_size, bar):
            ready = [(row, pixels) for row, pixels in batch if pixels is not None]
            for (row, pixels), chances in zip(ready, _probabilities(classifier, ready), strict=True):
                row["top"] = _best(classifier, chances, top_k)
                if attention is not None:
                    drawn.append((row, pixels))
            for row, _ in batch:
                rows.append(row)
                if table is not None and "top" in row:
                    with tqdm.external_write_mode(sys.stdout):
                        table.show(row)
            bar.update(len(batch))
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    if csv_path == "-":
        print(_csv(rows), end="")
    elif csv_path is not None:
        atomic_write_text(csv_path, _csv(rows))
    if attention is not None and drawn:
        _draw(classifier, drawn, attention)
    return 2 if any("error" in row for row in rows) else 0


def _expand(arguments: list[str]) -> Iterator[str]:
    """The files that the arguments name. A folder or pattern without images stands for itself, and is reported later."""
    for argument in arguments:
        found = [argument]
        if Path(argument).is_dir():
            found = [str(path) for path in find_images(argument)]
        elif not Path(argument).exists() and glob.has_magic(argument):
            found = sorted(name for name in glob.glob(argument, recursive=True) if Path(name).is_file())
        yield from found or [argument]


def _batches(
    classifier: Classifier, names: list[str], size: int, bar: tqdm
) -> Iterator[list[tuple[dict[str, Any], Any]]]:
    """Rows with prepared pixels, or None for what can't be read; those of a batch have one shape."""
    batch: list[tuple[dict[str, Any], Any]] = []
    for name in names:
        row, pixels = {"image": name}, None
        try:
            if not Path(name).exists() and glob.has_magic(name):
                raise FileNotFoundError(f"no file matches {name}")
            if Path(name).is_dir():
                raise FileNotFoundError(f"the folder {name} has no images")
            pixels, row["note"] = classifier.prepare(name)
        except (ValueError, OSError) as error:
            row["error"] = one_line(error)
            with bar.external_write_mode(sys.stderr):
                print(f"minigrad: error: {row['error']}", file=sys.stderr)
        shapes = {other.shape for _, other in batch if other is not None}
        if len(batch) == size or (pixels is not None and shapes - {pixels.shape}):
            yield batch
            batch = []
        batch.append((row, pixels))
    yield batch


def _probabilities(classifier: Classifier, ready: list[tuple[dict[str, Any], np.ndarray]]) -> np.ndarray:
    return classifier.probabilities(np.stack([pixels for _, pixels in ready])) if ready else np.empty((0, 0))


def _best(classifier: Classifier, chances: np.ndarray, count: int) -> list[dict[str, Any]]:
    """The most probable classes, the first first."""
    order = np.argsort(-chances, kind="stable")[:count]
    return [
        {"class": classifier.classes[i], "index": int(i), "probability": round(float(chances[i]), 6)} for i in order
    ]


class Table:
    """Prints a line for each class of each image, under a header."""

    def __init__(self, names: list[str]):
        self.width = max(5, min(LONGEST_NAME, max(map(len, names))))
        self.begun = False

    def show(self, row: dict[str, Any]) -> None:
        """The lines of one image."""
        if not self.begun:
            print(f"{'image':<{self.width}}  {'chance':>8}  class")
            self.begun = True
        name, note = plain(_short(row["image"], self.width)), f"  ({row['note']})" if row["note"] else ""
        for entry in row["top"]:
            print(f"{name:<{self.width}}  {100 * entry['probability']:6.2f} %  {plain(entry['class'])}{note}")
            name = note = ""


def _short(name: str, width: int) -> str:
    return name if len(name) <= width else "…" + name[1 - width :]


def _csv(rows: list[dict[str, Any]]) -> str:
    """A line for each class of each image, and one for each image that can't be read."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("image", "rank", "class", "index", "probability", "note", "error"))
    for row in rows:
        if "error" in row:
            writer.writerow((row["image"], "", "", "", "", "", row["error"]))
        for rank, entry in enumerate(row.get("top", ()), 1):
            writer.writerow((row["image"], rank, entry["class"], entry["index"], entry["probability"], row["note"], ""))
    return out.getvalue()


def _draw(classifier: Classifier, drawn: list[tuple[dict[str, Any], np.ndarray]], path: str) -> None:
    """The picture of `--attention`: a row an image. Their inputs may differ in size."""
    from minigrad import tensor
    from minigrad.visual.attention import attention_overlay

    titles = [plain(f"{_short(Path(row['image']).name, 20)}: {row['top'][0]['class'][:20]}") for row, _ in drawn]
    inputs = [tensor(pixels[None], device=classifier.device) for _, pixels in drawn]
    attention_overlay(classifier.model, inputs, classifier.processor, titles=titles, path=path)
