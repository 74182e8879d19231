"""Where the windows of convolutions and poolings lie: for the definitions and the kernels of every backend.

A window's element k, of window i along an axis, is the padded image's place i·stride + k·dilation.
"""

import numpy as np


def count_windows(size, kernel, stride, padding, dilation):
    """How many windows lie along each axis of an image of `size` padded by (before, after) pairs:
    ⌊(size + before + after - dilation·(kernel - 1) - 1) / stride⌋ + 1."""
    return tuple(
        (n + sum(p) - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    )


def out_size(size, kernel, stride, padding, dilation):
    """A convolution's output height and width; `padding` is the same before and after."""
    return count_windows(size, kernel, stride, [(p, p) for p in padding], dilation)


NOTHING = slice(0, 0)


def along(k, count, stride, dilation=1):
    """The slice of one axis that element k of each of `count` windows reads.

    >>> list(range(9))[along(1, 3, stride=2, dilation=3)]
    [3, 5, 7]
    """
    return slice(k * dilation, k * dilation + stride * (count - 1) + 1, stride) if count else NOTHING


def element(position, counts, stride, dilation):
    """The slices of rows and columns that the element at `position` of every window reads: the image shifted by it."""
    (u, v), (rows, columns), (down, right), (tall, wide) = position, counts, stride, dilation
    return along(u, rows, down, tall), along(v, columns, right, wide)


def places_of(kernel, counts, stride, dilation):
    """Rows (kh, 1, H', 1) and columns (1, kw, 1, W') that all windows of a padded image read."""
    rows, columns = (
        np.arange(k)[:, None] * d + np.arange(n) * s
        for k, n, s, d in zip(kernel, counts, stride, dilation, strict=True)
    )
    return rows[:, None, :, None], columns[None, :, None, :]
