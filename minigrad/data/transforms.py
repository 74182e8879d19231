"""Transforms of batches of images, in numpy.

A transform is called as `transform(images, rng)` with images of shape (..., H, W): a batch (N, channels, H, W), or one
image. The random ones draw for each image of a batch from the `numpy.random.Generator` that they are given (the loader
makes it from its seed, the epoch and the batch's number); the others ignore it. None of them writes into its input.
"""

from collections.abc import Callable, Sequence

import numpy as np

from minigrad import checks
from minigrad.ops import pool

Transform = Callable[[np.ndarray, np.random.Generator | None], np.ndarray]


class Compose:
    """One transform after the other.

    >>> import numpy as np
    >>> from minigrad.data import transforms as T
    >>> T.Compose([T.Resize(32), T.ToFloat(16), T.Normalize(0.3, 0.4)])(np.zeros((5, 1, 8, 8), np.uint8)).shape
    (5, 1, 32, 32)
    """

    def __init__(self, transforms: Sequence[Transform]):
        self.transforms = checks.entries("Compose", "transforms", transforms, "a list of transforms")
        for transform in self.transforms:
            checks.function("Compose", "each transform", transform)

    def __call__(self, images: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        for transform in self.transforms:
            images = transform(images, rng)
        return images

    def __repr__(self) -> str:
        return "\n    ".join([f"{type(self).__name__}([", *(f"{t!r}," for t in self.transforms)]) + "\n])"


class _Transform:
    """Shows a transform with its arguments."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


class ToFloat(_Transform):
    """float32, divided by `maximum`: pixels of 0 … maximum become 0 … 1."""

    def __init__(self, maximum: float = 255):
        self.maximum = checks.number("ToFloat", "maximum", maximum)

    def __call__(self, images: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        return _pixels(self, images).astype(np.float32) / np.float32(self.maximum)


class Normalize(_Transform):
    """(x - mean) / std in float32; mean and std are numbers, or one for each channel (axis -3)."""

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]):
        for name, values in (("mean", mean), ("std", std)):
            for value in values if isinstance(values, Sequence | np.ndarray) and np.ndim(values) else [values]:
                checks.number("Normalize", name, value)
        self.mean, self.std = mean, std

    def __call__(self, images: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        _pixels(self, images)
        mean, std = (np.asarray(v, np.float32) for v in (self.mean, self.std))
        if mean.ndim:
            mean = mean[:, None, None]
        if std.ndim:
            std = std[:, None, None]
        return (images.astype(np.float32) - mean) / std


class Resize(_Transform):
    """Bilinear scaling to (height, width), a number for both, in float32.

    Pixels are squares whose centres lie at half numbers (`align_corners=False`): output pixel i looks at the input
    position (i + 1/2) · scale - 1/2, scale = input/output, and mixes the neighbours with the weights
    max(0, 1 - |distance| / width). When enlarging, width is 1. When shrinking it is `scale` with `antialias` (every
    input pixel counts), 1 without.
    """

    def __init__(self, size: int | tuple[int, int], antialias: bool = True):
        self.size, self.antialias = _pair(size), antialias

    def __call__(self, images: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        rows, columns = (self._weights(n, m) for n, m in zip(_pixels(self, images).shape[-2:], self.size, strict=True))
        return rows @ images.astype(np.float32) @ columns.T

    def _weights(self, n: int, m: int) -> np.ndarray:
        """The matrix (m, n) that scales a row of n pixels to m."""
        return pool.bilinear(n, m, n / m, antialias=self.antialias).astype(np.float32)


class CenterCrop(_Transform):
    """The central (height, width), a number for both.

    Raises:
        ValueError: when the images are smaller.
    """

    def __init__(self, size: int | tuple[int, int]):
        self.size = _pair(size)

    def __call__(self, images: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        (top, left), (height, width) = (room // 2 for room in _room(_pixels(self, images), self.size)), self.size
        return images[..., top : top + height, left : left + width]


class RandomCrop(_Transform):
    """A random (height, width) of each image, after `padding` pixels of `fill` were added on each side.

    Raises:
        ValueError: when the padded images are smaller.
    """

    def __init__(self, size: int | tuple[int, int], padding: int = 0, fill: float = 0):
        self.size, self.padding = _pair(size), checks.whole("RandomCrop", "padding", padding)
        self.fill = checks.number("RandomCrop", "fill", fill)

    def __call__(self, images: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        rng = _drawn(self, images, rng)
        batch = _batch(images)
        p, (height, width) = self.padding, self.size
        batch = np.pad(batch, ((0, 0), (0, 0), (p, p), (p, p)), constant_values=self.fill)
        n = len(batch)
        top, left = (rng.integers(0, room + 1, (n, 1, 1, 1)) for room in _room(batch, self.size))
        image, channel = np.arange(n).reshape(n, 1, 1, 1), np.arange(batch.shape[1]).reshape(-1, 1, 1)
        cut = batch[image, channel, top + np.arange(height).reshape(-1, 1), left + np.arange(width)]
        return cut.reshape(*images.shape[:-2], height, width)


class RandomShift(_Transform):
    """Each image moved by up to `pixels` along both axes; what comes in is `fill`."""

    def __init__(self, pixels: int, fill: float = 0):
        self.pixels = checks.whole("RandomShift", "pixels", pixels)
        self.fill = checks.number("RandomShift", "fill", fill)

    def __call__(self, images: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        rng = _drawn(self, images, rng)
        return RandomCrop(images.shape[-2:], padding=self.pixels, fill=self.fill)(images, rng)


class RandomHorizontalFlip(_Transform):
    """Each image mirrored left to right with probability `p`."""

    def __init__(self, p: float = 0.5):
        self.p = checks.number("RandomHorizontalFlip", "p", p)

    def __call__(self, images: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        rng = _drawn(self, images, rng)
        batch = _batch(images)
        flip = rng.random((len(batch), 1, 1, 1)) < self.p
        return np.where(flip, batch[..., ::-1], batch).reshape(images.shape)


def _pair(size: int | tuple[int, ...]) -> tuple[int, int]:
    sizes = checks.sizes("a transform", "size", size)
    if len(sizes) > 2 or not sizes:
        raise ValueError(f"a size must be a positive number or two of them (height, width), got {size!r}")
    height, width = sizes[0], sizes[-1]
    if height < 1 or width < 1:
        raise ValueError(f"a size must be a positive number or two of them (height, width), got {size!r}")
    return height, width


def _batch(images: np.ndarray) -> np.ndarray:
    """As (N, channels, H, W); what has fewer axes is one image."""
    return images if images.ndim == 4 else images.reshape(1, -1, *images.shape[-2:])


def _room(images: np.ndarray, size: tuple[int, int]) -> tuple[int, int]:
    """By how much the images are higher and wider than `size`."""
    (h, w), (height, width) = images.shape[-2:], size
    if h < height or w < width:
        raise ValueError(f"images of {h} x {w} pixels can't be cropped to {height} x {width}; resize or pad them first")
    return h - height, w - width


def _pixels(transform: _Transform, images: object) -> np.ndarray:
    """The images, if they are an array (..., H, W)."""
    who, remedy = type(transform).__name__, "use .numpy()" if checks.is_tensor(images) else ""
    array = checks.instance(who, "images", images, np.ndarray, "a numpy array (..., H, W)", remedy)
    if array.ndim < 2 or array.dtype.kind not in "biuf":
        raise ValueError(
            f"{who}: images must be numbers in an array (..., H, W), got {array.dtype} of shape {array.shape}"
        )
    return array


def _drawn(transform: _Transform, images: object, rng: object) -> np.random.Generator:
    """The generator of a transform that draws at random."""
    _pixels(transform, images)
    if isinstance(rng, np.random.Generator):
        return rng
    who = type(transform).__name__
    came = "" if rng is None else f", got {checks.kind(rng)}"
    raise TypeError(f"{who} draws at random: call it with np.random.default_rng(seed) as well{came}")
