"""A trained classifier and what it needs to look at an image file: weights, class names, preprocessing."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

import minigrad as mg
from minigrad.data import DataLoader, ImageError, read_image
from minigrad.models import create_model
from minigrad.nn import functional as F
from minigrad.serialize import CheckpointError, load_arrays
from minigrad.training.checkpoint import WEIGHTS, RunFolderError
from minigrad.training.config import TrainConfig
from minigrad.training.tasks import Preprocessing, Task, load_task

MIN_CONTRAST = 25  # between paper and ink, of 255
FAINT = 0.2  # of the darkest ink: less doesn't count for the bounding box
THIN = 0.2  # mean of the bitmap below which strokes are widened; the scans have 0.31


@dataclass(frozen=True)
class Prediction:
    """Class probabilities of one image, (classes,), and what was done to it that one may want to know."""

    probabilities: np.ndarray
    note: str = ""


class Classifier:
    """A model with its class names and preprocessing: what `model.safetensors` of a run folder holds.

    >>> classifier = Classifier.load("runs/mine")                                # doctest: +SKIP
    >>> classifier.classes[classifier.predict("seven.png").probabilities.argmax()]  # doctest: +SKIP
    '7'
    """

    def __init__(
        self,
        name: str,
        fields: Mapping[str, Any],
        classes: list[str],
        preprocessing: Preprocessing,
        data: str,
        device: str,
    ):
        self.name, self.fields, self.classes, self.preprocessing, self.data = name, fields, classes, preprocessing, data
        self.device = device
        self.model = create_model(name, **fields).to(device)

    @classmethod
    def create(cls, config: TrainConfig, task: Task) -> "Classifier":
        """An untrained one for a training run."""
        fields = {
            "num_classes": len(task.classes),
            "in_channels": task.preprocessing.channels,
            "img_size": task.preprocessing.size,
            "drop_path_rate": config.drop_path,
        }
        return cls(config.model, fields, task.classes, task.preprocessing, config.data, config.device)

    @classmethod
    def load(cls, path: str | PathLike, device: str = "cpu") -> "Classifier":
        """From a run folder (its best weights) or a `model.safetensors`.

        Raises:
            RunFolderError: for a folder without weights. FileNotFoundError: when there is nothing at `path`.
            CheckpointError: for a file that is damaged or wasn't written by a training run.
        """
        path = Path(path)
        if path.is_dir():
            if not (path / WEIGHTS).is_file():
                raise RunFolderError(f"{path} holds no trained model: it has no {WEIGHTS}")
            path = path / WEIGHTS
        arrays, metadata = load_arrays(path)
        try:
            about = json.loads(metadata["classifier"])
            preprocessing = Preprocessing.from_dict(about["preprocessing"])
            classifier = cls(about["model"], about["fields"], about["classes"], preprocessing, about["data"], device)
        except (KeyError, TypeError, json.JSONDecodeError):
            raise CheckpointError(f"{path} doesn't say what model it is of; give one that training wrote") from None
        try:
            classifier.model.load_state_dict(arrays)
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}") from None
        classifier.model.eval()
        return classifier

    def save(self, path: str | PathLike, **numbers: float) -> None:
        """Write weights, classes and preprocessing as one safetensors file; `numbers` are noted beside them."""
        about = {
            "model": self.name,
            "fields": self.fields,
            "classes": self.classes,
            "preprocessing": asdict(self.preprocessing),
            "data": self.data,
            **numbers,
        }
        mg.save(path, self.model.state_dict(), metadata={"classifier": json.dumps(about)})

    def batches(self, part: str, batch_size: int = 256, data: str | None = None) -> DataLoader:
        """A part ("train", "val" or "test") of the data that it was trained on, or of a folder `data` with its classes.

        Raises:
            FileNotFoundError: when the data isn't there. ValueError: when it has no such part, or other classes.
        """
        data = self.data if data is None else data
        task = load_task(data, self.preprocessing.size)
        if task.classes != self.classes:
            now, then = ", ".join(task.classes), ", ".join(self.classes)
            raise ValueError(f"{data} has the classes {now}, but the model was trained on {then}")
        return task.batches(part, batch_size, self.device)

    def predict(self, path: str | PathLike) -> Prediction:
        """The class probabilities of one image file.

        Raises:
            ImageError: when the file is no image, or (for digits) shows nothing. FileNotFoundError: when there is none.
        """
        if self.preprocessing.kind == "digits":
            image, inverted = digit_scan(read_image(path, "L")[0], str(path))
            note = "bright background: inverted" if inverted else ""
        else:
            image, note = read_image(path, "RGB", self.preprocessing.size), ""
        batch = self.preprocessing.transform()(image.reshape(1, -1, *image.shape[-2:]), None)
        with mg.no_grad():
            logits = self.model(mg.tensor(batch, device=self.device))
            return Prediction(F.softmax(logits, dim=-1).numpy()[0], note)


def digit_scan(pixels: np.ndarray, name: str = "the image") -> tuple[np.ndarray, bool]:
    """A picture of a digit in the form of the training scans: 8 × 8 values from 0 (paper) to 16 (ink).

    The scans were made from bitmaps of 32 × 32 that the digit fills from top to bottom, by counting the ink in each
    block of 4 × 4. So: the brightness of the border is the paper, and whether the rest is mostly darker or brighter
    tells the ink; the ink's bounding box is scaled to a height of 32 (or a width of 32, for what is wider than high)
    and its centre of mass put in the middle; a thin pen's strokes are widened; then the blocks are averaged.

    Args:
        pixels: (H, W), grey.
        name: for the error.

    Returns:
        The scan, float32 (8, 8), and whether the background was the brighter side.

    Raises:
        ImageError: when all pixels are about as bright as the border.
    """
    grey = pixels.astype(np.float32)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    paper = float(np.median(border))
    darker, brighter = paper - float(grey.min()), float(grey.max()) - paper
    if max(darker, brighter) < MIN_CONTRAST:
        raise ImageError(f"{name} shows no digit: all of it is about as bright as its border")
    inverted = darker > brighter
    ink = np.clip((paper - grey if inverted else grey - paper) / max(darker, brighter), 0, 1)
    rows, columns = (np.flatnonzero((ink > FAINT).any(axis=axis)) for axis in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = ink.shape
    scale = 32 / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    box = Image.fromarray(ink).resize(size, Image.Resampling.BILINEAR)
    across = np.asarray(box).sum(axis=0)
    middle = (across * (np.arange(size[0]) + 0.5)).sum() / across.sum()
    frame = Image.new("F", (32, 32))
    frame.paste(box, (int(np.clip(round(16 - middle), 0, 32 - size[0])), (32 - size[1]) // 2))
    bitmap = np.asarray(frame) / np.asarray(frame).max()
    while bitmap.mean() < THIN:
        bitmap = np.asarray(Image.fromarray(bitmap).filter(ImageFilter.MaxFilter(3)))
    return 16 * bitmap.reshape(8, 4, 8, 4).mean(axis=(1, 3)), inverted
