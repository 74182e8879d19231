"""Matrices that scale a row of pixels: bilinear resizing is linear along each axis, y = A·x·Bᵀ.

Pixels are squares whose centres lie at half numbers: output pixel i looks at the input position (i + ½)·ratio - ½.
"""

import numpy as np


def bilinear(n: int, m: int, ratio: float, *, align_corners: bool = False, antialias: bool = False) -> np.ndarray:
    """The matrix (m, n), float64, that makes m pixels of n. Its rows sum to 1.

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
