"""`minigrad predict`."""

import argparse
import json
import sys
from typing import Any

import numpy as np

from minigrad.cli.errors import UsageError, one_line
from minigrad.training import Classifier

TEXT = "say what images show, with probabilities"
EXAMPLES = """examples:
  python -m minigrad predict runs/digits-20250101-120000 seven.png
  python -m minigrad predict runs/digits-20250101-120000 *.jpg --top-k 3 --json"""


def options(sub: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    sub.add_argument("path", metavar="RUN", help="a run folder, or its model.safetensors")
    sub.add_argument("images", metavar="IMAGE", nargs="+", help="image files of any common format")
    sub.add_argument("--top-k", type=int, default=5, metavar="K", help="how many classes to name (default: 5)")
    sub.add_argument("--json", dest="as_json", action="store_true", default=False, help="print a JSON list")
    sub.add_argument("--device", default="cpu", help="cpu, mlx or gpu (default: cpu)")


def run(path: str, images: list[str], top_k: int, as_json: bool, device: str) -> int:
    """Images that can't be read are named on standard error and make the exit status 2."""
    if top_k < 1:
        raise UsageError(f"--top-k must be at least 1, got {top_k}")
    classifier, rows, status = Classifier.load(path, device), list[dict[str, Any]](), 0
    for image in images:
        try:
            prediction = classifier.predict(image)
        except (ValueError, OSError) as error:
            print(f"minigrad: error: {one_line(error)}", file=sys.stderr)
            status = 2
            rows.append({"image": image, "error": one_line(error)})
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
