"""Pooling of (N, C, H, W) images, and the matrices of resizing.

Average pooling is a sum over windows, and its derivative the transposed sum: each is the other's. Max pooling reads the
positions of the maxima, so its derivative is indexing's.
"""

import math

import numpy as np

from minigrad.dtypes import HALVES
from minigrad.engine.operation import op
from minigrad.kernels.windows import along, count_windows, element

__all__ = ["window_sum", "window_sum_input", "window_argmax"]

LARGE = 16  # rows or columns of a window


def _along(axis, k, size, stride):
    """The rows (axis 0) or columns (axis 1) number k of all windows."""
    return (slice(None),) * (2 + axis) + (along(k, size[axis], stride[axis]),)


@op
def window_sum(xp, a, *, kernel, stride, padding):
    """Σ over each window of the zero-padded image: down its columns first, then along its rows, which takes kh + kw additions
    instead of kh·kw; large windows that are tiles are sums over axes."""
    size, dtype = count_windows(a.shape[2:], kernel, stride, padding, (1, 1)), xp.dtype_name(a)
    a = xp.astype(a, "float32") if dtype in HALVES else a
    a = xp.pad(a, ((0, 0), (0, 0), *padding)) if any(map(any, padding)) else a
    if kernel == stride and max(kernel) > LARGE and min(size) > 0:
        tiles = a[:, :, : size[0] * kernel[0], : size[1] * kernel[1]]
        tiles = xp.reshape(tiles, (*a.shape[:2], size[0], kernel[0], size[1], kernel[1]))
        return xp.astype(xp.sum(tiles, axis=(3, 5)), dtype)
    for axis in (0, 1):
        places = [_along(axis, k, size, stride) for k in range(kernel[axis])]
        y = a[places[0]]
        for place in places[1:]:
            y = y + a[place]
        a = y
    return xp.astype(a, dtype)


@op
def window_sum_input(xp, g, *, size, kernel, stride, padding):
    """Every g added to all places of its window in an image of `size`."""
    (top, bottom), (left, right) = padding
    dtype = xp.dtype_name(g)
    g = xp.astype(g, "float32") if dtype in HALVES else g
    places = g.shape[2:]
    for axis, length in ((1, size[1] + left + right), (0, size[0] + top + bottom)):
        out = xp.zeros((*g.shape[:2], g.shape[2] if axis else length, length if axis else g.shape[3]), g.dtype)
        for k in range(kernel[axis]):
            out = xp.add_at(out, _along(axis, k, places, stride), g)
        g = out
    return xp.astype(g[:, :, top : top + size[0], left : left + size[1]], dtype)


window_sum.defvjp(
    lambda ops, g, a_shape, kernel, stride, padding: ops.window_sum_input(
        g, size=a_shape[2:], kernel=kernel, stride=stride, padding=padding
    )
)
window_sum_input.defvjp(
    lambda ops, h, kernel, stride, padding: ops.window_sum(h, kernel=kernel, stride=stride, padding=padding)
)


@op
def window_argmax(xp, a, *, kernel, stride, padding, dilation):
    """For each window the position of its (first) maximum, as row·W + column of the unpadded image."""
    size = count_windows(a.shape[2:], kernel, stride, padding, dilation)
    if any(map(any, padding)):  # the padding is below everything: shift up, pad with zeros, shift back would overflow
        inside = xp.pad(xp.ones(a.shape, dtype=xp.dtype("bool")), ((0, 0), (0, 0), *padding))
        a = xp.where(inside, xp.pad(a, ((0, 0), (0, 0), *padding)), -math.inf)
    (top, _), (left, right) = padding
    best = xp.argmax(xp.stack([a[:, :, *element(at, size, stride, dilation)] for at in np.ndindex(*kernel)]), axis=0)
    best = xp.astype(best, "int64")
    rows = _place(xp, best // kernel[1], np.arange(size[0])[:, None] * stride[0] - top, dilation[0])
    columns = _place(xp, best % kernel[1], np.arange(size[1]) * stride[1] - left, dilation[1])
    return rows * (a.shape[3] - left - right) + columns


def _place(xp, step, start, dilation):
    """Where a step of a window that begins at `start` leads; from the padding (nothing but -∞ there) to the first inside."""
    place = xp.asarray(start) + step * dilation
    return xp.where(place < 0, xp.asarray(start % dilation), place)


# --- resizing, which is linear along each axis: y = A·x·Bᵀ ------------------------------------------------------------
def bilinear(n: int, m: int, ratio: float, *, align_corners: bool = False, antialias: bool = False) -> np.ndarray:
    """The matrix (m, n), float64, that scales a row of n pixels to m. Its rows sum to 1. Pixels are squares whose centres lie at
    half numbers: output pixel i looks at the input position (i + ½)·ratio - ½.

    Args:
        ratio: input pixels to one of the output.
        align_corners: read at i·ratio instead, so that corners fall on corners.
        antialias: where the row shrinks, take the mean of all pixels, weighted by a triangle `ratio` wide on each side; else the
            two pixels around a position are mixed.

    >>> bilinear(2, 4, 0.5).tolist()
    [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    """
    if antialias:
        centres = (np.arange(m)[:, None] + 0.5) * ratio - 0.5
        a = np.maximum(1 - np.abs(np.arange(n) - centres) / max(ratio, 1.0), 0)
        return a / a.sum(1, keepdims=True)
    at = np.arange(m) * ratio if align_corners else np.maximum((np.arange(m) + 0.5) * ratio - 0.5, 0)
    low = np.minimum(at.astype(np.int64), n - 1)
    high, part = np.minimum(low + 1, n - 1), at - low
    a = np.zeros((m, n))
    np.add.at(a, (np.arange(m), low), 1 - part)
    np.add.at(a, (np.arange(m), high), part)
    return a
