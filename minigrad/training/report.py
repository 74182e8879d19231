"""The end of a run: the one evaluation on the test part, its pictures, and the words that say where everything is."""

import math
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from minigrad import checks
from minigrad.data import Digits, Subset
from minigrad.engine.tensor import Tensor
from minigrad.files import atomic_write
from minigrad.interop import entries
from minigrad.serialize import CheckpointError
from minigrad.training import run_folder
from minigrad.training.inference import Classifier
from minigrad.training.metrics import Evaluation, checked, evaluate
from minigrad.training.stop import python
from minigrad.training.tasks import Task
from minigrad.visual import confusion_matrix, prediction_grid, training_curves

SHOWN = 2000  # images that are kept for the picture of predictions
SAMPLE = "sample.png"


@dataclass(frozen=True)
class TrainResult:
    """How a run ended: where it is, its best epoch by validation loss, and that epoch's weights on the test part.

    `part` is "test", or "val" where a folder of images has no test part. `sample` is an image to try `predict` with,
    in the folder or with a whole path.
    `str()` of it is what `python -m minigrad train` prints at the end.

    Raises:
        ValueError: for what can't be a result, such as an accuracy that is NaN or another than the images say.
    """

    folder: Path
    part: str
    accuracy: float
    loss: float
    correct: int
    images: int
    best_epoch: int
    val_loss: float
    val_accuracy: float
    seconds: float
    files: Sequence[str]
    sample: str
    note: str = ""

    def __post_init__(self) -> None:
        if self.part not in ("test", "val"):
            raise ValueError(f"part must be 'test' or 'val', got {entries.told(self.part)}")
        entries.whole("correct", self.correct, 0, entries.whole("images", self.images, 1))
        if entries.number("accuracy", self.accuracy, 0, 1) != self.correct / self.images:
            raise ValueError(f"accuracy is {self.accuracy}, but {self.correct} of {self.images} images are right")
        entries.number("val_accuracy", self.val_accuracy, 0, 1)
        for name, least in (("loss", -math.inf), ("val_loss", -math.inf), ("seconds", 0)):
            entries.number(name, getattr(self, name), least)
        entries.whole("best_epoch", self.best_epoch, 1)
        entries.texts("files", self.files)
        for name in ("sample", "note"):
            entries.text(name, getattr(self, name))

    def __str__(self) -> str:
        run, sample = shlex.quote(str(self.folder)), shlex.quote(str(self.folder / self.sample))
        return "\n".join(
            [
                f"{self.part + ' accuracy':<14} {100 * self.accuracy:.2f} % ({self.correct} of {self.images}), "
                f"loss {self.loss:.4f}",
                f"weights        of epoch {self.best_epoch}, the best in validation (loss {self.val_loss:.4f}, "
                f"accuracy {100 * self.val_accuracy:.2f} %)",
                f"training time  {self.seconds:.1f} s",
                f"run folder     {self.folder}: {', '.join(self.files)}",
                *([f"note           {self.note}"] if self.note else []),
                f"predict with   {python()} -m minigrad predict {run} {sample}",
            ]
        )

    def to_dict(self) -> dict[str, object]:
        """Everything but the folder, for JSON."""
        return {name: value for name, value in asdict(self).items() if name != "folder"}

    def save(self) -> None:
        """Write `result.json`."""
        run_folder.save_result(self.folder, self.to_dict())

    @classmethod
    def load(cls, folder: str | PathLike) -> "TrainResult":
        """From a finished run's folder.

        Raises:
            FileNotFoundError: when it has no result. CheckpointError: when that is damaged.
        """
        folder = Path(checks.path("TrainResult.load", "folder", folder))
        try:
            known = [f.name for f in fields(cls) if f.name != "folder"]
            return cls(folder=folder, **entries.only("it", run_folder.load_result(folder), known, optional=("note",)))
        except CheckpointError:
            raise
        except ValueError as error:
            raise CheckpointError(f"{folder / run_folder.RESULT} is damaged: {error}") from None


def report(
    folder: Path, classifier: Classifier, task: Task, part: str, batches: Iterable, history: list[dict], best: dict
) -> TrainResult:
    """Evaluate the classifier on `batches` of the task's `part`, draw pictures and write `result.json`."""
    shown: list[np.ndarray] = []
    found = checked(evaluate(classifier.model, _keeping(batches, shown)), folder / run_folder.WEIGHTS)
    note, pictures = "", []
    try:
        pictures = _pictures(folder, task, found, shown, history)
    except ImportError as error:
        note = str(error)
    result = TrainResult(
        folder=folder,
        part=part,
        accuracy=found.accuracy,
        loss=found.loss,
        correct=found.correct,
        images=len(found.labels),
        best_epoch=best["epoch"],
        val_loss=best["val_loss"],
        val_accuracy=best["val_accuracy"],
        seconds=sum(row["seconds"] for row in history),
        files=(*run_folder.FILES, *pictures),
        sample=_sample(folder, task, part),
        note=note,
    )
    result.save()
    return result


def _keeping(batches: Iterable, shown: list[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches; the first images stay in `shown`."""
    for images, labels in batches:
        if sum(map(len, shown)) < SHOWN:
            shown.append(images.numpy())
        yield images, labels


def _pictures(folder: Path, task: Task, found: Evaluation, shown: list[np.ndarray], history: list[dict]) -> list[str]:
    training_curves(history, folder / "curves.png")
    confusion_matrix(found.confusion, task.classes, folder / "confusion.png")
    images = task.preprocessing.pixels(np.concatenate(shown))
    n = len(images)
    prediction_grid(images, found.labels[:n], found.probabilities[:n], task.classes, folder / "predictions.png")
    return ["curves.png", "confusion.png", "predictions.png"]


def _sample(folder: Path, task: Task, part: str) -> str:
    """The path of an image to predict: of a folder the first; of the digits one is written for it, dark on white."""
    dataset: Any = task.parts[part]
    if isinstance(dataset, Digits):
        pixels = Image.fromarray(255 - (dataset.images[0].astype(np.float32) * 255 / 16).astype(np.uint8))
        picture = Image.new("L", (320, 320), 255)
        picture.paste(pixels.resize((256, 256), Image.Resampling.BICUBIC), (32, 32))
        atomic_write(folder / SAMPLE, lambda file: picture.save(file, "PNG"))
        return SAMPLE
    first = 0
    if isinstance(dataset, Subset):
        dataset, first = dataset.dataset, dataset.indices[0]
    return str(dataset.files[first].resolve())
