"""Data sets: labelled images by index, as numpy arrays.

An image is an array (H, W) (grey) or (channels, H, W); its label is an int. `Dataset.batch` fetches many at once.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minigrad import checks
from minigrad.callers import warn
from minigrad.data.images.reading import MAX_PIXELS, ImageError, find_images, read_image


class Dataset:
    """Base class: define `__len__` and `__getitem__(index) -> (image, label)`, and `batch` where that is quicker.

    Attributes:
        classes: the names of the classes; label k means `classes[k]`.
    """

    classes: list[str] = []

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define __len__")

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__")

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The images (N, ...) and labels (N,) int64 at `indices`.

        Raises:
            ValueError: when the images differ in shape.
        """
        return stack([self[int(i)] for i in indices])


def checked_dataset(who: str, dataset: object) -> Any:
    """The data set, if it is one: an object with `batch` and a length."""
    if isinstance(dataset, type) or not (hasattr(dataset, "batch") and hasattr(dataset, "__len__")):
        raise checks.wrong(who, "dataset", "a data set, with batch() and len()", dataset, "subclass mg.data.Dataset")
    return dataset


def _at(dataset: Dataset, index: object) -> int:
    """A position in a data set.

    Raises:
        IndexError: where there is none.
    """
    at = checks.whole(type(dataset).__name__, "the index", index)
    if not -len(dataset) <= at < len(dataset):
        raise IndexError(f"{type(dataset).__name__}: there is no item {at} in a data set of {len(dataset)}")
    return at


def _positions(dataset: Dataset, indices: object) -> np.ndarray:
    """Positions in a data set as an array."""
    who = type(dataset).__name__
    array = checks.array(who, "indices", indices, "a list or an array of whole numbers")
    if array.ndim != 1 or array.dtype.kind not in "iu" and array.size:
        raise TypeError(
            f"{who}: indices must be a list or an array of whole numbers, got {array.dtype} of shape {array.shape}"
        )
    if array.size and not -len(dataset) <= array.min() <= array.max() < len(dataset):
        raise IndexError(f"{who}: a data set of {len(dataset)} has no items {array.min()} to {array.max()}")
    return array.astype(np.int64)


def stack(items: list[tuple[np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (image, label) as one array of images (N, ...) and one of labels (N,) int64."""
    shapes = {np.shape(image) for image, _ in items}
    if len(shapes) > 1:
        raise ValueError(f"images of a batch differ in shape: {sorted(shapes)}; give them one size, as with size=224")
    images = np.stack([image for image, _ in items]) if items else np.empty((0,))
    return images, np.array([label for _, label in items], np.int64)


class ArrayDataset(Dataset):
    """Images and labels that are in memory.

    Args:
        images: (N, H, W) or (N, channels, H, W), a numpy array or a Tensor.
        labels: (N,) whole numbers from 0.
        classes: names of the classes (default: "0", "1", …).

    Raises:
        ValueError: when the lengths differ or labels aren't class numbers.
    """

    def __init__(self, images, labels, classes: Sequence[str] | None = None):
        self.images, self.labels = checks.array("ArrayDataset", "images", images), np.asarray(labels)
        if self.labels.ndim != 1 or len(self.images) != len(self.labels):
            raise ValueError(
                f"images and labels must be (N, ...) and (N,), got {self.images.shape} and {self.labels.shape}"
            )
        numbers = self.labels.dtype.kind in "iu"
        low, high = (self.labels.min(), self.labels.max()) if numbers and len(self.labels) else (0, -1)
        if not numbers and len(self.labels) or low < 0:
            came = f"{self.labels.dtype}, {low} to {high}" if numbers else self.labels.dtype
            raise ValueError(f"labels must be whole numbers from 0, got {came}")
        self.labels = self.labels.astype(np.int64)
        if classes is None:
            self.classes = [str(k) for k in range(high + 1)]
        else:
            self.classes = checks.entries("ArrayDataset", "classes", classes, "a list of names", str)
        if high >= len(self.classes):
            raise ValueError(f"there are labels up to {high}, but only {len(self.classes)} classes")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        at = _at(self, index)
        return self.images[at], int(self.labels[at])

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        at = _positions(self, indices)
        return self.images[at], self.labels[at]


class Subset(Dataset):
    """The items of another data set at `indices`, in that order.

    Raises:
        IndexError: when an index is out of range.
    """

    def __init__(self, dataset: Dataset, indices: Sequence[int] | np.ndarray):
        self.dataset, self.classes = checked_dataset("Subset", dataset), list(getattr(dataset, "classes", ()))
        found = checks.array("Subset", "indices", indices)
        if found.ndim != 1 or found.dtype.kind not in "iu" and found.size:
            raise TypeError(
                f"Subset: indices must be a list of whole numbers, got {found.dtype} of shape {found.shape}"
            )
        self.indices = found.astype(np.int64)
        if self.indices.size and not 0 <= self.indices.min() <= self.indices.max() < len(dataset):
            raise IndexError(f"a data set of {len(dataset)} has no items {self.indices.min()} to {self.indices.max()}")

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.dataset[int(self.indices[_at(self, index)])]

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.dataset.batch(self.indices[_positions(self, indices)])


class Digits(ArrayDataset):
    """1,797 handwritten digits, 8 × 8 pixels of 0 (paper) to 16 (ink), which are part of the package.

    The division is fixed and stratified by class: 20 % for the test, and of the rest about one eighth for validation
    (1,259 / 179 / 359 images). It is drawn at random from all images, so the same writers are in all three parts:
    the accuracy is that on further digits by known hands.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998,
    doi:10.24432/C50P49, CC BY 4.0; its test part.

    Args:
        split: "train", "val", "test" or "all".

    Attributes:
        images: uint8 (N, 8, 8).
        labels: int64 (N,).
        mean, std: of the training images divided by 16, for `transforms.Normalize`.

    >>> import minigrad as mg
    >>> image, label = mg.data.Digits("test")[0]
    >>> image.shape, image.dtype
    ((8, 8), dtype('uint8'))
    """

    SPLITS = ("train", "val", "test")
    mean, std = 0.3057, 0.3763

    def __init__(self, split: str = "train"):
        checks.choice("Digits", "split", split, (*self.SPLITS, "all"))
        with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as file:
            images, labels, parts = file["images"], file["labels"], file["split"]
        chosen = slice(None) if split == "all" else parts == self.SPLITS.index(split)
        super().__init__(images[chosen], labels[chosen], classes=[str(k) for k in range(10)])


class ImageFolder(Dataset):
    """Images in one folder for each class, `root/<class>/**/<image>`, read from the disk when they are asked for.

    Classes are the names of root's folders in alphabetical order. Which files count as images is seen from their
    suffixes; names that begin with a dot are passed over.

    Args:
        root: the folder of folders.
        size: scale each image's shorter side to this and cut out the central square; None keeps the images as they are
            (a batch needs images of one size).
        mode: "RGB" or "L" (grey).
        on_error: what `batch` does with a file that can't be read: "raise", or "skip" it with a warning (the batch is
            smaller then).
        max_pixels: larger images count as unreadable.

    Raises:
        FileNotFoundError: when root is no folder or has no images in class folders.
        ImageError: (from `[index]`, and `batch` with on_error="raise") for a file that isn't a readable image.

    Attributes:
        files: the paths. labels: int64 (N,).
    """

    def __init__(
        self,
        root: str | os.PathLike,
        size: int | None = None,
        mode: str = "RGB",
        on_error: str = "raise",
        max_pixels: int = MAX_PIXELS,
    ):
        checks.choice("ImageFolder", "on_error", on_error, ("raise", "skip"))
        root = Path(checks.path("ImageFolder", "root", root))
        if size is not None:
            checks.whole("ImageFolder", "size", size)
        if not root.is_dir():
            raise FileNotFoundError(f"there is no folder {root}")
        folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        self.classes = [folder.name for folder in folders]
        found = [(path, k) for k, folder in enumerate(folders) for path in find_images(folder)]
        if not found:
            raise FileNotFoundError(f"{root} has no images in folders of its own; expected {root}/<class>/<image>.png")
        self.files = [path for path, _ in found]
        self.labels = np.array([k for _, k in found], np.int64)
        self.size, self.mode, self.on_error, self.max_pixels = size, mode, on_error, max_pixels

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        at = _at(self, index)
        return read_image(self.files[at], self.mode, self.size, self.max_pixels), int(self.labels[at])

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        items = []
        for i in _positions(self, indices):
            try:
                items.append(self[int(i)])
            except ImageError as error:
                if self.on_error == "raise":
                    raise
                warn(f"skipped: {error}")
        return stack(items)
