"""Pictures of a training run: its curves, the confusion matrix, and a grid of images with what the model said.

Each function returns a matplotlib `Figure` and, given a path, writes it as a PNG. pyplot is never imported, so nobody's
backend, open figures or style are touched.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad import checks
from minigrad.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRAIN, VALIDATION, MISTAKE, QUIET = "#2a6fbb", "#e07b28", "#c22f2f", "#666666"


def training_curves(
    metrics: str | PathLike | Iterable[Mapping[str, Any]], path: str | PathLike | None = None
) -> "Figure":
    """Loss, accuracy and learning rate over the epochs; the epoch with the lowest validation loss is marked.

    Args:
        metrics: a run's `metrics.csv`, or its rows: mappings with `epoch`, `train_loss`, `val_loss`, `train_accuracy`,
            `val_accuracy` (between 0 and 1) and `lr`.
        path: where to write a PNG.

    Raises:
        ValueError: when there are no rows, or a column is missing. ImportError: without matplotlib.
    """
    source = "the rows"
    if isinstance(metrics, str | PathLike):
        source = str(metrics)
        try:
            with Path(metrics).open(newline="", encoding="utf-8") as file:
                rows: list = list(csv.DictReader(file))
        except (UnicodeDecodeError, csv.Error):
            raise ValueError(f"can't draw training curves: {source} is no table of comma-separated values") from None
    else:
        rows = checks.entries("training_curves", "metrics", metrics, "a path or rows as dicts", Mapping)
    if not rows:
        raise ValueError(f"there is nothing to draw: {source} has no epochs")
    names = ("epoch", "train_loss", "val_loss", "train_accuracy", "val_accuracy", "lr")
    missing = [name for name in names if name not in rows[0]]
    if missing:
        raise ValueError(f"can't draw training curves: {source} has no column {', '.join(missing)}")
    epoch, train_loss, val_loss, train_acc, val_acc, lr = (np.array([float(row[n]) for row in rows]) for n in names)

    figure = _figure(11.5, 3.6)
    axes = figure.subplots(1, 3)
    marker = "o" if len(rows) < 40 else None
    for axis, train, val, title in (
        (axes[0], train_loss, val_loss, "Loss"),
        (axes[1], 100 * train_acc, 100 * val_acc, "Accuracy (%)"),
    ):
        axis.plot(epoch, train, color=TRAIN, marker=marker, markersize=3, label="training")
        axis.plot(epoch, val, color=VALIDATION, marker=marker, markersize=3, label="validation")
        axis.set_title(title)
        axis.legend(frameon=False)
    best = int(val_loss.argmin())
    for axis, value, text, down in ((axes[0], val_loss, "{:.3f}", 26), (axes[1], 100 * val_acc, "{:.1f} %", -26)):
        axis.annotate(
            f"epoch {epoch[best]:.0f}: {text.format(value[best])}",
            (epoch[best], value[best]),
            xytext=(0, down),
            textcoords="offset points",
            ha="right" if best > len(rows) / 2 else "left",
            color=VALIDATION,
            arrowprops={"arrowstyle": "-", "color": VALIDATION},
        )
    axes[2].plot(epoch, lr, color=QUIET, marker=marker, markersize=3)
    axes[2].set_title("Learning rate")
    axes[2].ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    for axis in axes:
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.25)
        axis.set_xlim(0.5, max(epoch[-1], 2) + 0.5)
        axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axis.spines[["top", "right"]].set_visible(False)
    return _finish(figure, path)


def confusion_matrix(
    counts: np.ndarray, classes: Sequence[str], path: str | PathLike | None = None, title: str | None = None
) -> "Figure":
    """How often class i (a row) was taken for class j (a column).

    Args:
        counts: integer array (classes, classes), as `Evaluation.confusion`.
        classes: the class names in order.
        path: where to write a PNG.
        title: above the picture; None says how many images are right.

    Raises:
        ValueError: when `counts` isn't a square with one row a class. ImportError: without matplotlib.
    """
    counts = checks.array("confusion_matrix", "counts", counts, "an array (classes, classes)")
    classes = checks.entries("confusion_matrix", "classes", classes, "a list of names", str)
    n = len(classes)
    if counts.shape != (n, n):
        raise ValueError(f"a confusion matrix of {n} classes has shape ({n}, {n}), got {counts.shape}")
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(max(4.2, 0.5 * n + 1.8), 14)
    figure = _figure(side + 0.7, side)
    axis = figure.subplots()
    image = axis.imshow(100 * share, cmap="Blues", vmin=0, vmax=100)
    step = -(-n // 40)
    ticks = range(0, n, step)
    long = max(len(classes[i]) for i in ticks) > 3
    axis.set_xticks(ticks, [classes[i] for i in ticks], rotation=45 if long else 0, ha="right" if long else "center")
    axis.set_yticks(ticks, [classes[i] for i in ticks])
    if n <= 30:
        for i, j in np.argwhere(counts):
            axis.text(j, i, counts[i, j], ha="center", va="center", color="white" if share[i, j] > 0.5 else "black")
    axis.set_xlabel("predicted class")
    axis.set_ylabel("true class")
    right, total = int(np.trace(counts)), int(counts.sum())
    axis.set_title(f"{right} of {total} right" if title is None else title)
    bar = figure.colorbar(image, ax=axis, fraction=0.046, pad=0.03)
    bar.set_label("share of the true class (%)")
    bar.outline.set_visible(False)
    return _finish(figure, path)


def prediction_grid(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    path: str | PathLike | None = None,
    columns: int = 8,
    rows: int = 5,
) -> "Figure":
    """Images with their true and predicted classes: the mistakes first, then the least certain.

    Args:
        images: (N, C, H, W) with one or three channels, in any range (each image is stretched to its own).
        labels: (N,) the true classes.
        probabilities: (N, classes).
        classes: the class names in order.
        path: where to write a PNG.
        columns, rows: size of the grid; images beyond it are left out.

    Raises:
        ValueError: when the arrays don't belong together. ImportError: without matplotlib.
    """
    who = "prediction_grid"
    images, labels, probabilities = (
        checks.array(who, name, value)
        for name, value in (("images", images), ("labels", labels), ("probabilities", probabilities))
    )
    classes = checks.entries(who, "classes", classes, "a list of names", str)
    for name, value in (("columns", columns), ("rows", rows)):
        if checks.whole(who, name, value) < 1:
            raise ValueError(f"{who}: {name} must be at least 1, got {value}")
    n = labels.size
    if labels.ndim != 1 or images.ndim != 4 or len(images) != n or probabilities.shape != (n, len(classes)) or not n:
        raise ValueError(
            f"expected images (N, C, H, W), labels (N,) and probabilities (N, {len(classes)}), "
            f"got {images.shape}, {labels.shape} and {probabilities.shape}"
        )
    if labels.dtype.kind not in "iu" or not 0 <= labels.min() <= labels.max() < len(classes):
        raise ValueError(f"{who}: labels must be class numbers from 0 to {len(classes) - 1}")
    predicted, certainty = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = predicted != labels
    # Mistakes come with the surest first, right answers with the least sure first.
    order = np.lexsort((np.where(wrong, -certainty, certainty), ~wrong))[: columns * rows]
    columns = min(columns, len(order))
    rows = -(-len(order) // columns)
    figure = _figure(max(1.28 * columns, 4), 1.5 * rows + 0.7)
    for axis, i in zip(figure.subplots(rows, columns, squeeze=False).flat, order, strict=False):
        low, high = images[i].min(), images[i].max()
        pixels = (images[i] - low) / max(high - low, 1e-12)
        axis.imshow(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0), cmap="gray", interpolation="nearest")
        said = f"{_short(classes[predicted[i]])}  {100 * certainty[i]:.0f} %"
        if wrong[i]:
            axis.set_title(f"{said}\ntrue: {_short(classes[labels[i]])}", fontsize=8.5, color=MISTAKE, linespacing=1.1)
        else:
            axis.set_title(said, fontsize=8.5, color="black")
        for side in axis.spines.values():
            side.set(color=MISTAKE if wrong[i] else "#bbbbbb", linewidth=1.8 if wrong[i] else 0.8)
    for axis in figure.axes:
        axis.set_xticks([])
        axis.set_yticks([])
    for axis in figure.axes[len(order) :]:
        axis.set_visible(False)
    shown = f"{len(order)} of {n} images" if len(order) < n else f"{n} images"
    mistakes = f"{wrong.sum()} mistake{'' if wrong.sum() == 1 else 's'}"
    figure.suptitle(f"{shown}: {mistakes} (red), then the least certain", fontsize=10.5)
    return _finish(figure, path)


def _short(name: str) -> str:
    return name if len(name) <= 12 else name[:11] + "…"


def _figure(width: float, height: float) -> "Figure":
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("pictures need matplotlib; install it with: pip install 'minigrad[plots]'") from None
    return Figure(figsize=(width, height), dpi=144, layout="compressed")


def _finish(figure: "Figure", path: str | PathLike | None) -> "Figure":
    if path is not None:
        checks.path("a picture", "path", path)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", bbox_inches="tight", pad_inches=0.12)
        atomic_write(path, buffer.getvalue())
    return figure
