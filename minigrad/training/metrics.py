"""Counting how well a classifier or segmenter does: running means, a confusion matrix, IoU, and a whole evaluation."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from minigrad import checks, nn
from minigrad.engine.tensor import Tensor
from minigrad.nn import functional as F
from minigrad.nn.utils import evaluation
from minigrad.serialize import CheckpointError


@dataclass
class Running:
    """Mean loss and accuracy over the images seen so far.

    >>> running = Running()
    >>> running.add(loss=2.0, correct=1, count=4)
    >>> running.loss, running.accuracy
    (2.0, 0.25)
    """

    total: float = 0.0
    correct: int = 0
    count: int = 0

    def add(self, loss: float, correct: int, count: int) -> None:
        """Count a batch of `count` images with the mean loss `loss`, `correct` of them right."""
        self.total += loss * count
        self.correct += correct
        self.count += count

    @property
    def loss(self) -> float:
        """Mean loss of an image."""
        return self.total / max(self.count, 1)

    @property
    def accuracy(self) -> float:
        """Share of the images whose most probable class is the right one."""
        return self.correct / max(self.count, 1)


@dataclass
class Evaluation:
    """What a model makes of a part of the data: mean cross-entropy, and each image's label and class probabilities.

    Shapes: `labels` (N,) int64, `probabilities` (N, classes) float32.
    """

    loss: float
    labels: np.ndarray
    probabilities: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class of each image, (N,)."""
        return self.probabilities.argmax(axis=1)

    @property
    def correct(self) -> int:
        """Number of images that are classified rightly."""
        return int((self.predicted == self.labels).sum())

    @property
    def accuracy(self) -> float:
        """Share of the images that are classified rightly."""
        return self.correct / max(len(self.labels), 1)

    @property
    def confusion(self) -> np.ndarray:
        """Counts of (true class, predicted class), (classes, classes) int64."""
        return confusion_counts(self.labels, self.predicted, self.probabilities.shape[1])


def checked(found: Evaluation, source: object) -> Evaluation:
    """An evaluation, if its loss is finite; else counting right answers would tell nothing.

    Args:
        source: what the weights come from, as the error names it.

    Raises:
        CheckpointError: when it isn't.
    """
    if not math.isfinite(found.loss):
        raise CheckpointError(f"{source}: the loss with these weights is {found.loss}: they are too large, or damaged")
    return found


def confusion_counts(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """How often an image of class i was taken for class j: an int64 array of shape (classes, classes).

    >>> confusion_counts(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    who, expected = "confusion_counts", "an array of class numbers"
    labels, predicted = (
        checks.array(who, name, value, expected) for name, value in (("labels", labels), ("predicted", predicted))
    )
    classes = checks.whole(who, "classes", classes)
    if labels.ndim != 1 or labels.shape != predicted.shape:
        raise ValueError(f"{who}: labels and predicted must be (N,), got {labels.shape} and {predicted.shape}")
    for name, found in (("labels", labels), ("predicted", predicted)):
        if found.size and (found.dtype.kind not in "iu" or not 0 <= found.min() <= found.max() < classes):
            raise ValueError(f"{who}: {name} must be class numbers from 0 to {classes - 1}")
    labels, predicted = labels.astype(np.int64), predicted.astype(np.int64)
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """Each class's intersection over union, TP / (TP + FP + FN), of counts (true class, predicted class): (classes,) float64,
    NaN for a class that is neither in the truth nor predicted. Everingham et al. 2015, "The Pascal Visual Object Classes
    Challenge: A Retrospective".

    >>> class_iou(np.array([[6, 2, 0], [0, 2, 0], [0, 0, 0]])).tolist()
    [0.75, 0.5, nan]
    """
    confusion = checks.array("class_iou", "confusion", confusion)
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1]:
        raise ValueError(f"class_iou: confusion must be (classes, classes), got shape {confusion.shape}")
    both = np.diag(confusion).astype(np.float64)
    either = confusion.sum(0) + confusion.sum(1) - both
    return np.divide(both, either, out=np.full_like(both, np.nan), where=either > 0)


def mean_iou(confusion: np.ndarray) -> float:
    """The mean of `class_iou` over the classes that occur, background included: mIoU. NaN when nothing was counted.

    >>> mean_iou(np.array([[6, 2, 0], [0, 2, 0], [0, 0, 0]]))
    0.625
    """
    shares = class_iou(confusion)
    shares = shares[~np.isnan(shares)]
    return float(shares.mean()) if len(shares) else float("nan")


def evaluate(model: nn.Module, batches: Iterable) -> Evaluation:
    """Run a model over `batches` of (images (N, C, H, W), labels (N,)) in evaluation mode and without gradients.

    The model's training flags are put back afterwards. Loss is the plain cross-entropy, without label smoothing.

    Raises:
        ValueError: when there are no batches.
    """
    checks.instance("evaluate", "model", model, nn.Module, "a module")
    if isinstance(batches, type) or not hasattr(batches, "__iter__"):
        raise checks.wrong("evaluate", "batches", "an iterable of (images, labels)", batches)
    running, labels, probabilities = Running(), [], []

    def read(loss, target, shares) -> None:
        running.add(loss.item(), 0, len(target))
        labels.append(target.numpy())
        probabilities.append(shares.numpy())

    before = None
    with evaluation(model):
        for batch in batches:
            if not isinstance(batch, tuple | list) or len(batch) != 2 or not all(isinstance(t, Tensor) for t in batch):
                raise checks.wrong("evaluate", "each batch", "a pair of tensors (images, labels)", batch)
            images, target = batch
            logits = model(images)
            results = (F.cross_entropy(logits, target), target, F.softmax(logits, dim=-1))
            logits.backend.start([t.array for t in results])
            if before is not None:
                read(*before)  # while the device works on this batch
            before = results
        if before is not None:
            read(*before)
    if not labels:
        raise ValueError("there is nothing to evaluate: this part of the data holds no images")
    return Evaluation(running.loss, np.concatenate(labels).astype(np.int64), np.concatenate(probabilities))
