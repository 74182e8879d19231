"""`minigrad eval`."""

import argparse

from minigrad.cli.errors import UsageError
from minigrad.training import Classifier, evaluate
from minigrad.training.metrics import checked

TEXT = "count how well a trained model does on a part of its data"
EXAMPLES = """examples:
  python -m minigrad eval runs/digits-20250101-120000
  python -m minigrad eval runs/digits-20250101-120000/model.safetensors --split val"""


def options(sub: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    sub.add_argument("path", metavar="RUN", help="a run folder, or its model.safetensors")
    sub.add_argument("--split", choices=("train", "val", "test"), default="test", help="default: test")
    sub.add_argument("--data", metavar="FOLDER", default=None, help="images to use (default: those it was trained on)")
    sub.add_argument("--batch-size", type=int, default=256, metavar="N", help="images at a time (default: 256)")
    sub.add_argument("--device", default="cpu", help="cpu, mlx or gpu (default: cpu)")


def run(path: str, split: str, data: str | None, batch_size: int, device: str) -> int:
    """Evaluates, prints the accuracy and loss, returns the exit status."""
    if batch_size < 1:
        raise UsageError(f"--batch-size must be at least 1, got {batch_size}")
    classifier = Classifier.load(path, device)
    found = checked(evaluate(classifier.model, classifier.batches(split, batch_size, data)), path)
    right = f"{found.correct} of {len(found.labels)}"
    print(f"{split} accuracy {100 * found.accuracy:.2f} % ({right}), loss {found.loss:.4f}")
    return 0
