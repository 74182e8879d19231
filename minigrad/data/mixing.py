"""Mixing the images of a batch pairwise, with labels to match.

Both take numpy arrays, images (N, channels, H, W) and labels (N,), and return new images and soft labels (N, classes)
in float32, whose rows sum to 1; `cross_entropy` takes those as they are. Each image is mixed with another one of the
batch, by a random permutation; one share λ is drawn for the whole batch.

>>> import functools, minigrad as mg
>>> mix = functools.partial(mg.data.mixup, num_classes=10, alpha=0.2)
>>> images, labels = next(iter(mg.data.DataLoader(mg.data.Digits("train"), batch_size=32, mix=mix)))
>>> labels.shape
(32, 10)
"""

import numpy as np

from minigrad import checks


def mixup(
    images: np.ndarray, labels: np.ndarray, rng: np.random.Generator, *, num_classes: int, alpha: float = 0.8
) -> tuple[np.ndarray, np.ndarray]:
    """x̃ = λ x_i + (1 - λ) x_j and ỹ = λ y_i + (1 - λ) y_j with λ ~ Beta(α, α) and one-hot y.

    H. Zhang, M. Cisse, Y. N. Dauphin, D. Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018,
    arXiv:1710.09412.

    Raises:
        ValueError: when a label is not below `num_classes`.
    """
    images, labels = _checked("mixup", images, labels, rng, num_classes, alpha)
    share = np.float32(rng.beta(alpha, alpha))
    partner = rng.permutation(len(images))
    images = images.astype(np.float32, copy=False)
    return share * images + (1 - share) * images[partner], _soft(labels, partner, share, num_classes)


def cutmix(
    images: np.ndarray, labels: np.ndarray, rng: np.random.Generator, *, num_classes: int, alpha: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """x̃ = x_i with a box of x_j in it; the labels are mixed by the areas.

    With λ ~ Beta(α, α) the box has height H·√(1-λ) and width W·√(1-λ) around a uniformly drawn centre and is clipped at
    the border; then λ = 1 - (clipped box)/(H·W), and ỹ = λ y_i + (1 - λ) y_j.

    S. Yun, D. Han, S. J. Oh, S. Chun, J. Choe, Y. Yoo, "CutMix: Regularization Strategy to Train Strong Classifiers
    with Localizable Features", ICCV 2019, arXiv:1905.04899.

    Raises:
        ValueError: when a label is not below `num_classes`.
    """
    images, labels = _checked("cutmix", images, labels, rng, num_classes, alpha)
    height, width = images.shape[-2:]
    side = np.sqrt(1 - rng.beta(alpha, alpha))
    partner = rng.permutation(len(images))
    rows, columns = (_interval(n, int(n * side), rng) for n in (height, width))
    mixed = images.copy()
    mixed[..., rows, columns] = images[partner][..., rows, columns]
    box = (rows.stop - rows.start) * (columns.stop - columns.start)
    return mixed, _soft(labels, partner, np.float32(1 - box / (height * width)), num_classes)


def _checked(who: str, images, labels, rng, num_classes, alpha) -> tuple[np.ndarray, np.ndarray]:
    images, labels = checks.array(who, "images", images), checks.array(who, "labels", labels)
    if images.ndim < 3 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{who}: images (N, channels, H, W) and labels (N,) were expected, got {images.shape} and {labels.shape}"
        )
    if labels.dtype.kind not in "iu" and labels.size:
        raise TypeError(f"{who}: labels must be whole numbers, got an array of {labels.dtype}")
    checks.instance(who, "rng", rng, np.random.Generator, "a generator", "use np.random.default_rng(seed)")
    checks.whole(who, "num_classes", num_classes)
    if not checks.number(who, "alpha", alpha) > 0:
        raise ValueError(f"{who}: alpha must be greater than 0, got {alpha}")
    return images, labels


def _interval(n: int, length: int, rng: np.random.Generator) -> slice:
    start = int(rng.integers(n)) - length // 2
    return slice(max(start, 0), min(start + length, n))


def _soft(labels: np.ndarray, partner: np.ndarray, share: np.float32, num_classes: int) -> np.ndarray:
    if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(f"labels from {labels.min()} to {labels.max()} don't fit num_classes={num_classes}")
    one_hot = np.eye(num_classes, dtype=np.float32)[labels]
    return share * one_hot + (1 - share) * one_hot[partner]
