"""The loader: a data set as batches of tensors."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from minigrad import checks
from minigrad.data.datasets import Dataset, checked_dataset
from minigrad.data.transforms import Transform
from minigrad.engine.tensor import Tensor

Mix = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


class DataLoader:
    """Iterates over a data set in batches (images, labels) of tensors on a device.

    Images are float32 (N, channels, H, W), labels int64 (N,), or what `mix` makes of them. Order and augmentation
    depend on (seed, epoch) alone, not on the device, on num_workers or on what ran before. Each iteration is one epoch,
    and the next one is the following epoch; `set_epoch` chooses.

    Args:
        dataset: images (H, W) or (channels, H, W) with labels.
        batch_size: images in a batch; the last one is smaller unless `drop_last`.
        shuffle: a new order each epoch.
        drop_last: leave an incomplete last batch out.
        seed: of order and augmentation.
        transform: called as transform(images, rng) on numpy batches (N, channels, H, W), as in `data.transforms`.
        mix: called as mix(images, labels, rng) after it, such as `mixup` or `cutmix`.
        device: of the tensors; None is the default device.
        num_workers: threads that prepare batches ahead (in numpy; tensors are made in the thread that iterates). They
            pay where images are read from files.
        part: (i, n): of each batch only the i-th of n parts, for process i of n that train together.
        keep_bytes: leave uint8 images uint8, for a training step that makes floats of them on the device.

    Raises:
        ValueError: when batch_size is below 1 or num_workers below 0.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 64,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        transform: Transform | None = None,
        mix: Mix | None = None,
        device: str | None = None,
        num_workers: int = 0,
        keep_bytes: bool = False,
        part: tuple[int, int] = (0, 1),
    ):
        checked_dataset("DataLoader", dataset)
        for name, value in (("batch_size", batch_size), ("num_workers", num_workers), ("seed", seed)):
            checks.whole("DataLoader", name, value)
        for name, function in (("transform", transform), ("mix", mix)):
            if function is not None:
                checks.function("DataLoader", name, function)
        if len(checks.sizes("DataLoader", "part", part)) != 2 or not 0 <= part[0] < part[1]:
            raise ValueError(f"DataLoader: part must be (i, n) with i below n, got {part}")
        if batch_size < 1 or num_workers < 0:
            raise ValueError(f"need batch_size >= 1 and num_workers >= 0, got {batch_size} and {num_workers}")
        self.dataset, self.batch_size, self.shuffle, self.drop_last = dataset, batch_size, shuffle, drop_last
        self.seed, self.transform, self.mix, self.device, self.num_workers = seed, transform, mix, device, num_workers
        self.keep_bytes, self.part = keep_bytes, part
        self.epoch, self.first_batch = 0, 0

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """The next iteration is this epoch, from its batch number `first_batch` on (to resume in the middle of one)."""
        self.epoch = checks.whole("DataLoader.set_epoch", "epoch", epoch)
        self.first_batch = checks.whole("DataLoader.set_epoch", "first_batch", first_batch)

    def __len__(self) -> int:
        """The number of batches in a whole epoch."""
        rest = 0 if self.drop_last else self.batch_size - 1
        return (len(self.dataset) + rest) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch, first = self.epoch, self.first_batch
        self.set_epoch(epoch + 1)
        count = len(self.dataset)
        order = np.random.default_rng([self.seed, epoch]).permutation(count) if self.shuffle else np.arange(count)
        for images, labels in self._arrays(order, epoch, range(first, len(self))):
            if not len(labels) and self.part[1] > 1 and self.shuffle:
                raise ValueError(f"none of the images of process {self.part[0]} in a batch can be read; remove them")
            if len(labels):  # none is left where a data set skips unreadable files and a batch had no other
                yield Tensor(images, device=self.device), Tensor(labels, device=self.device)

    def _arrays(self, order: np.ndarray, epoch: int, numbers: range) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if not self.num_workers:
            yield from (self._batch(order, epoch, number) for number in numbers)
            return
        with ThreadPoolExecutor(self.num_workers) as pool:
            pending: deque[Future] = deque()
            for number in numbers:
                pending.append(pool.submit(self._batch, order, epoch, number))
                if len(pending) > 2 * self.num_workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

    def _batch(self, order: np.ndarray, epoch: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        places = order[number * self.batch_size : (number + 1) * self.batch_size]
        part, parts = self.part
        images, labels = self.dataset.batch(np.array_split(places, parts)[part])
        if not len(labels):
            return images, labels
        if images.ndim == 3:
            images = images[:, None]
        if images.ndim != 4:
            raise ValueError(f"images of a batch must be (N, H, W) or (N, channels, H, W), got shape {images.shape}")
        rng = np.random.default_rng([self.seed, epoch, number, *([part] if parts > 1 else [])])
        if self.transform is not None:
            images = self.transform(images, rng)
        if self.mix is not None:
            images, labels = self.mix(images, labels, rng)
        if self.keep_bytes and images.dtype == np.uint8:
            return images, labels
        return images.astype(np.float32, copy=False), labels
