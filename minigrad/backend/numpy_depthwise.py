"""Depthwise convolution of channels-last images, a few rows at a time so that what is worked on stays in the cache.

`einsum` multiplies and adds in one pass where two ufuncs take two. It walks pixel by pixel in runs of C channels; several
neighbouring pixels are made one run, with the taps repeated, because short runs cost more than their arithmetic.
"""

import functools
import math

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minigrad.backend.numpy_threads import parallel

BLOCK = 1 << 16  # numbers of the image worked on at a time
RUN = 1 << 12  # numbers in one run of einsum
PARTS = 4  # pieces that an image is cut into


def taps_of(w):
    """Weights (C, 1, kh, kw) as (kh, kw, C)."""
    return np.ascontiguousarray(w[:, 0].transpose(1, 2, 0))


@functools.lru_cache(maxsize=256)
def pixels_of(width: int, channels: int) -> int:
    """How many neighbouring pixels make a run: the largest divisor of the width that stays within `RUN` numbers."""
    return max((p for p in range(1, width + 1) if width % p == 0 and p * channels <= RUN), default=1)


def windows(image, rows: int, width: int, kernel, stride, dilation, pixels: int):
    """(rows, width / pixels, kh, kw, pixels·C) view of a padded image (h, w, C): what every run of `pixels` outputs sees."""
    row, pixel, channel = image.strides
    shape = (rows, width // pixels, *kernel, pixels * image.shape[2])
    strides = (row * stride[0], pixel * stride[1] * pixels, row * dilation[0], pixel * dilation[1], channel)
    return as_strided(image, shape, strides, writeable=False)


def padded(image, padding):
    """Zeros around an image (h, w, C); the image itself where there is nothing to add."""
    (ph, pw), (h, w, c) = padding, image.shape
    if ph == pw == 0:
        return image
    out = np.zeros((h + 2 * ph, w + 2 * pw, c), image.dtype)
    out[ph : ph + h, pw : pw + w] = image
    return out


def row_parts(rows: int) -> list[slice]:
    """The pieces of an image that threads share out, the same whatever their number."""
    step = max(1, math.ceil(rows / PARTS))
    return [slice(i, min(rows, i + step)) for i in range(0, rows, step)]


def correlate_image(image, taps, bias, out, stride, dilation, after=None) -> None:
    """out[i, j] = bias + Σ taps[u, v]·image[i·s + u·d, j·s + v·d] for a padded image; `out` (oh, ow, C) contiguous.

    `after(rows)` is called when a slice of the rows is done and still in the cache.
    """
    (kh, kw, channels), (height, width) = taps.shape, out.shape[:2]
    pixels = pixels_of(width, channels) if stride[1] == 1 else 1
    wide = np.ascontiguousarray(np.broadcast_to(taps[:, :, None], (kh, kw, pixels, channels)))
    wide = wide.reshape(kh, kw, pixels * channels)
    view = windows(image, height, width, (kh, kw), stride, dilation, pixels)
    runs = out.reshape(height, width // pixels, pixels * channels)
    step = max(1, BLOCK // (width * channels))
    parts = row_parts(height)

    def work(part):
        for first in range(parts[part].start, parts[part].stop, step):
            rows = slice(first, min(parts[part].stop, first + step))
            np.einsum("ijuvc,uvc->ijc", view[rows], wide, out=runs[rows])
            if bias is not None:
                out[rows] += bias
            if after is not None:
                after(rows)

    parallel(work, len(parts))


def correlate_image_taps(image, g, kernel, stride, dilation):
    """Σ over i, j of g[i, j]·image[i·s + u·d, j·s + v·d] for a padded image: (kh, kw, C)."""
    view = windows(image, g.shape[0], g.shape[1], kernel, stride, dilation, 1)
    parts = row_parts(len(g))
    return sum(parallel(lambda part: np.einsum("ijuvc,ijc->uvc", view[parts[part]], g[parts[part]]), len(parts)))


def correlate(x, taps, bias, out, padding, stride, dilation) -> None:
    """out[n, i, j] = bias + Σ taps[u, v]·x[n, i·s + u·d - p, j·s + v·d - p]; x and out (N, h, w, C), out contiguous."""
    if out.size:
        parallel(lambda k: correlate_image(padded(x[k], padding), taps, bias, out[k], stride, dilation), len(x))


def correlate_taps(x, g, kernel, padding, stride, dilation):
    """Σ over n, i, j of g[n, i, j]·x[n, i·s + u·d - p, j·s + v·d - p]: (kh, kw, C), the derivative of `correlate` by its taps."""
    total = np.zeros((*kernel, g.shape[3]), g.dtype)
    if g.size:
        for part in parallel(
            lambda k: correlate_image_taps(padded(x[k], padding), g[k], kernel, stride, dilation), len(x)
        ):
            total += part
    return total


def scattered(g, taps, size, padding, stride, dilation):
    """The derivative of `correlate` by its image, of height and width `size`: (N, *size, C)."""
    (kh, kw), (ph, pw) = taps.shape[:2], padding
    dx = np.empty((len(g), *size, g.shape[3]), g.dtype)
    reach = (dilation[0] * (kh - 1), dilation[1] * (kw - 1))
    if stride == (1, 1) and ph <= reach[0] and pw <= reach[1]:
        correlate(g, taps[::-1, ::-1], None, dx, (reach[0] - ph, reach[1] - pw), stride, dilation)
        return dx
    if not g.size:
        return np.zeros_like(dx)
    oh, ow = g.shape[1:3]

    def work(k):
        image = np.zeros((size[0] + 2 * ph, size[1] + 2 * pw, g.shape[3]), g.dtype)
        for u, v in np.ndindex(kh, kw):
            rows = slice(u * dilation[0], u * dilation[0] + stride[0] * (oh - 1) + 1, stride[0])
            columns = slice(v * dilation[1], v * dilation[1] + stride[1] * (ow - 1) + 1, stride[1])
            image[rows, columns] += g[k] * taps[u, v]
        dx[k] = image[ph : ph + size[0], pw : pw + size[1]]

    parallel(work, len(g))
    return dx
