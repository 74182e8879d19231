"""A trained classifier and what it needs to look at an image file: weights, class names, preprocessing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from minigrad import checks, nn
from minigrad.creation import tensor
from minigrad.data import DataLoader
from minigrad.data.images import ImageProcessor
from minigrad.data.images.digits import ScanProcessor, of_run, to_run
from minigrad.engine.modes import no_grad
from minigrad.interop.hub import locate
from minigrad.interop.reading import find_weights
from minigrad.interop.run_note import RunNote, damaged
from minigrad.models import PVT_V2, PVTV2Config, create_model, from_pretrained
from minigrad.models.checkpoints.loading import load_run
from minigrad.models.pvt_v2.variants import variant_config
from minigrad.nn import functional as F
from minigrad.serialize import CheckpointError, save
from minigrad.training.config import TrainConfig
from minigrad.training.run_folder import weights_in
from minigrad.training.tasks import Task, classes_of, load_task


@dataclass(frozen=True)
class Prediction:
    """Class probabilities of one image, (classes,), and what was done to it that one may want to know."""

    probabilities: np.ndarray
    note: str = ""


class Classifier:
    """A model with its class names and preprocessing: what `model.safetensors` of a run folder holds, or a checkpoint.

    >>> classifier = Classifier.load("runs/mine")                                # doctest: +SKIP
    >>> classifier.classes[classifier.predict("seven.png").probabilities.argmax()]  # doctest: +SKIP
    '7'

    Attributes:
        model: in evaluation mode, when it was loaded.
        classes: their names in order.
        preprocessing: what prepares pictures.
        processor: the same; None for models of the scans of digits, whose pictures become scans first.
    """

    def __init__(
        self,
        model: PVT_V2,
        classes: list[str],
        preprocessing: ImageProcessor,
        device: str,
        name: str = "",
        fields: Mapping[str, Any] | None = None,
        data: str = "",
    ):
        checks.instance("Classifier", "model", model, nn.Module, "a model")
        checks.entries("Classifier", "classes", classes, "a list of names", str)
        checks.instance("Classifier", "preprocessing", preprocessing, ImageProcessor, "an ImageProcessor")
        self.model, self.classes, self.preprocessing, self.device = model.to(device), classes, preprocessing, device
        self.name, self.fields, self.data = name, dict(fields or {}), data
        self.processor = None if isinstance(preprocessing, ScanProcessor) else preprocessing

    @classmethod
    def create(cls, config: TrainConfig, task: Task) -> "Classifier":
        """An untrained one for a training run, or one with the weights that it starts from.

        Raises:
            FileNotFoundError, HubError, CheckpointError: as `models.from_pretrained`, also where the weights are another variant's.
        """
        checks.instance("Classifier.create", "config", config, TrainConfig, "a TrainConfig")
        checks.instance("Classifier.create", "task", task, Task, "a Task, as load_task gives")
        fields: dict[str, Any] = {
            "num_classes": len(task.classes),
            "in_channels": task.preprocessing.channels,
            "img_size": config.size,
            "drop_path_rate": config.drop_path,
        }
        if config.weights is None:
            model = create_model(config.model, **fields)
        else:
            model = from_pretrained(config.weights, config=variant_config(config.model, **fields))
        made = cls(model, task.classes, task.preprocessing, config.device, config.model, fields, config.data)
        made._note({}).metadata()  # tells now what `save` couldn't write
        return made

    @classmethod
    def load(cls, path: str | PathLike, device: str = "cpu") -> "Classifier":
        """From a run folder (its best weights) or a `model.safetensors` that training wrote.

        Raises:
            RunFolderError: for a folder without weights. FileNotFoundError: when there is nothing at `path`.
            CheckpointError: for a file that is damaged or wasn't written by a training run.
        """
        path = weights_in(Path(checks.path("Classifier.load", "path", path)))
        model, note = load_run(path)
        try:
            preprocessing = of_run(note.preprocessing)
            _check_pictures(preprocessing, model.config)
        except ValueError as error:
            raise damaged(path, error) from None
        return cls(model, note.classes, preprocessing, device, note.model, note.fields, note.data)

    @classmethod
    def from_pretrained(
        cls, source: str | PathLike, device: str = "cpu", local_files_only: bool = False
    ) -> "Classifier":
        """From anything that holds a classifier: a run (see `load`), or what `models.from_pretrained` reads: a folder, a file, a
        name on the Hugging Face hub. Pictures are prepared as the checkpoint says; where it says nothing, with a warning, as for
        the published weights of its layout. Classes without names are numbered.

        Raises:
            ValueError: when the checkpoint has no classifier.
            FileNotFoundError, HubError, CheckpointError, ValueError: as `models.from_pretrained`.
        """
        path = locate(source, local_files_only=local_files_only)
        file = find_weights(path) if path.is_dir() else path
        if RunNote.of_file(file) is not None:
            return cls.load(file, device)
        model = from_pretrained(path)
        count = model.config.num_classes
        if not count:
            raise ValueError(f"{source} is an encoder without a classifier, so it can't name what images show")
        processor = ImageProcessor.of_checkpoint(path, model.config.in_channels, *model.config.image_shape)
        names = getattr(model, "id2label", None) or {}
        return cls(model, [names.get(i, str(i)) for i in range(count)], processor, device)

    def save(self, path: str | PathLike, **numbers: float) -> None:
        """Write weights, classes and preprocessing as one safetensors file; `numbers` are noted beside them.

        Raises:
            ValueError: for what `load` would refuse: numbers that aren't finite, or pictures of another size than the model's.
        """
        checks.path("Classifier.save", "path", path)
        for name, value in numbers.items():
            checks.number("Classifier.save", name, value)
        if isinstance(self.model, PVT_V2):
            _check_pictures(self.preprocessing, self.model.config)
        save(path, self.model.state_dict(), metadata=self._note(numbers).metadata())

    def _note(self, numbers: Mapping[str, float]) -> RunNote:
        return RunNote(
            self.name, dict(self.fields), self.classes, to_run(self.preprocessing), str(self.data), dict(numbers)
        )

    def batches(self, part: str, batch_size: int = 256, data: str | None = None) -> DataLoader:
        """A part ("train", "val" or "test") of the data that it was trained on, or of a folder `data` with its classes.

        Raises:
            FileNotFoundError: when the data isn't there. ValueError: when it has no such part, or other classes.
        """
        if not self.data:
            raise ValueError("this model comes from a checkpoint, not from a training run, and has no data of its own")
        data = str(self.data if data is None else checks.path("Classifier.batches", "data", data))
        if (data == "digits" or Path(data).is_dir()) and (found := classes_of(data)) != self.classes:
            now, then = (", ".join(classes)[:200] for classes in (found, self.classes))
            raise ValueError(f"{data} has the classes {now}, but the model was trained on {then}")
        task = replace(load_task(data, self.model.config.image_shape[0]), preprocessing=self.preprocessing)
        return task.batches(part, batch_size, self.device)

    def prepare(self, image) -> tuple[np.ndarray, str]:
        """One picture (a path, a Pillow image or an array) as the model takes it, (C, H, W), and a note of what was done to it.

        Raises:
            ImageError: when it is no image, or (for digits) shows nothing. FileNotFoundError: when there is none.
        """
        return self.preprocessing.prepare(image)

    def probabilities(self, batch: np.ndarray) -> np.ndarray:
        """(N, C, H, W) of prepared pictures → (N, classes).

        Raises:
            ValueError: when they aren't finite.
        """
        with no_grad():
            batch = checks.array("Classifier.probabilities", "batch", batch, "an array (N, C, H, W)")
            found = F.softmax(self.model(tensor(batch, device=self.device)), dim=-1).numpy()
        if not np.isfinite(found).all():
            raise ValueError("the model's probabilities are no finite numbers: its weights are too large, or damaged")
        return found

    def predict(self, image) -> Prediction:
        """The class probabilities of one picture (see `prepare`).

        Raises:
            ImageError: when it is no image, or (for digits) shows nothing. FileNotFoundError: when there is none.
        """
        pixels, note = self.prepare(image)
        return Prediction(self.probabilities(pixels[None])[0], note)


def take_weights(classifier: Classifier, path: Path) -> None:
    """Gives a classifier the weights that its `save` wrote.

    Raises:
        FileNotFoundError, CheckpointError: as `Classifier.load`; also for another model's weights, or of other classes.
    """
    model, note = load_run(path)
    if (note.model, note.classes) != (classifier.name, classifier.classes):
        raise CheckpointError(f"{path} is of another run: a {note.model} of {len(note.classes)} classes")
    try:
        classifier.model.load_state_dict(model.state_dict())
    except ValueError as error:
        raise CheckpointError(f"{path}: {' '.join(str(error).split())[:900]}") from None


def _check_pictures(processor: ImageProcessor, config: PVTV2Config) -> None:
    """Raises ValueError where pictures become another input than the model was trained on."""
    size, shape = processor.output_size, config.image_shape
    if size is None and processor.do_resize and (side := processor.size["shortest_edge"]) != min(shape):
        size = side, side
    if processor.channels != config.in_channels or size is not None and size != shape:
        made = f"{processor.channels} channels" + (f" of {size[0]} × {size[1]} pixels" if size else "")
        raise ValueError(f"pictures become {made}, and its model takes {config.in_channels} of {shape[0]} × {shape[1]}")
