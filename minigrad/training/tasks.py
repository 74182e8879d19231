"""What a run learns: the three parts of its data, the classes, and how an image becomes a model's input."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minigrad import checks
from minigrad.data import DataLoader, Dataset, Digits, ImageFolder, Subset
from minigrad.data import transforms as T
from minigrad.data.images import ImageProcessor
from minigrad.data.images.digits import ScanProcessor
from minigrad.training.augment import RandomAffine
from minigrad.training.config import TrainConfig

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Task:
    """Data for training, validation and test ("test" is missing where a folder has none), classes, preprocessing."""

    parts: Mapping[str, Dataset]
    classes: list[str]
    preprocessing: ImageProcessor

    def batches(
        self, part: str, batch_size: int, device: str | None = None, workers: int = 0, share: tuple[int, int] = (0, 1)
    ) -> DataLoader:
        """A part's images in order, without augmentation; of each batch the share that process i of n looks at.

        Raises:
            ValueError: when there is no such part.
        """
        if checks.text("batches", "part", part) not in self.parts:
            raise ValueError(f"this data has no {part!r} part, only {', '.join(map(repr, self.parts))}")
        transform = T.Compose([self.preprocessing.sized, _normalized(self.preprocessing)])
        return DataLoader(
            self.parts[part], batch_size, transform=transform, device=device, num_workers=workers, part=share
        )

    def training_batches(self, config: TrainConfig, share: tuple[int, int] = (0, 1)) -> DataLoader:
        """The training part, shuffled and augmented as `config` says; an incomplete last batch is left out. The images are pixels:
        `preprocessing.normalized` makes the model's input of them, on its device. Photos that are only mirrored stay bytes on the
        way there, a quarter of what floats take."""
        augmentations: list[T.Transform] = []
        if config.shift or config.rotate or config.zoom:
            augmentations.append(RandomAffine(config.shift, config.rotate, config.zoom))
        if config.flip:
            augmentations.append(T.RandomHorizontalFlip())
        return DataLoader(
            self.parts["train"],
            config.batch_size,
            shuffle=True,
            drop_last=len(self.parts["train"]) >= config.batch_size,
            seed=config.seed,
            transform=T.Compose([self.preprocessing.sized, *augmentations]),
            device=config.device,
            num_workers=config.workers,
            keep_bytes=True,
            part=share,
        )


def _normalized(processor: ImageProcessor) -> T.Transform:
    """Normalisation as a transform."""
    return lambda images, rng: processor.normalized(images)


def load_task(data: str, size: int) -> Task:
    """The task behind `TrainConfig.array`: "digits", or a folder of images. Unreadable ones are skipped with a warning.

    A folder that has `train/` and `val/` (and maybe `test/`), each with one folder a class, is taken as it is.
    Otherwise it holds the class folders itself, and of each class, in an order that depends only on the number of
    images, 64 % are for training, 16 % for validation and 20 % for the test, at least one each.

    Raises:
        FileNotFoundError: for a folder without images in class folders.
        ValueError: when the parts differ in their classes, or there are too few classes or images.
    """
    size = checks.whole("load_task", "size", size)
    if checks.path("load_task", "data", data) == "digits":
        digits = {part: Digits(part) for part in PARTS}
        scans = ScanProcessor(size=size, rescale_factor=1 / 16, image_mean=(Digits.mean,), image_std=(Digits.std,))
        return Task(digits, digits["train"].classes, scans)

    root, parts = Path(data), dict[str, Dataset]()
    if (root / "train").is_dir() and (root / "val").is_dir():
        for part in PARTS:
            if (root / part).is_dir():
                parts[part] = ImageFolder(root / part, size=size, on_error="skip")
        classes = parts["train"].classes
        for part, folder in parts.items():
            if folder.classes != classes:
                odd = ", ".join(sorted(set(folder.classes) ^ set(classes)))
                raise ValueError(f"{root / 'train'} and {root / part} must have the same classes; only one has {odd}")
    else:
        everything = ImageFolder(root, size=size, on_error="skip")
        classes = everything.classes
        parts = {part: Subset(everything, indices) for part, indices in zip(PARTS, _split(everything), strict=True)}
    if len(classes) < 2:
        raise ValueError(f"{root} has one class folder, {classes[0]!r}; a classifier needs two or more")
    return Task(parts, classes, ImageProcessor(size={"shortest_edge": size}, do_center_crop=True, crop_size=size))


def classes_of(data: str) -> list[str]:
    """The classes of `load_task`'s data, of which no image is looked for: a folder may be as large as a disk.

    Raises:
        OSError: for a folder that isn't there, or can't be listed.
    """
    if checks.path("classes_of", "data", data) == "digits":
        return [str(k) for k in range(10)]
    root = Path(data)
    if (root / "train").is_dir() and (root / "val").is_dir():
        root = root / "train"
    return sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _split(folder: ImageFolder) -> list[np.ndarray]:
    """Indices of the training, validation and test images, class by class."""
    parts: list[list[np.ndarray]] = [[], [], []]
    for k, name in enumerate(folder.classes):
        indices = np.flatnonzero(folder.labels == k)
        n = len(indices)
        if n < 3:
            raise ValueError(f"class {name!r} has {n} images; training, validation and test need one each, so three")
        indices = np.random.default_rng(n).permutation(indices)
        test, val = max(1, round(0.2 * n)), max(1, round(0.16 * n))
        for part, chosen in zip(parts, np.split(indices, [n - test - val, n - test]), strict=True):
            part.append(chosen)
    return [np.sort(np.concatenate(chosen)) for chosen in parts]
