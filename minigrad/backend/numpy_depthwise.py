"""Depthwise convolution of channels-last images, a few rows at a time so that what is worked on stays in the cache.

`einsum` multiplies and adds in one pass where two ufuncs take two. It walks pixel by pixel in runs of C channels; several
neighbouring pixels are made one run, with the taps repeated, because short runs cost more than their arithmetic.
"""

import functools
import math

import numpy as np

from minigrad.backend.numpy_threads import parallel

BLOCK = 1 << 16  # numbers of the image worked on at a time
RUN = 1 << 12  # numbers in one run of einsum
PARTS = 8  # pieces that a batch is cut into at least, where it is large enough to be shared out


def taps_of(w):
    """Weights (C, 1, kh, kw) as (kh, kw, C)."""
    return np.ascontiguousarray(w[:, 0].transpose(1, 2, 0))


@functools.lru_cache(maxsize=256)
def pixels_of(width: int, channels: int) -> int:
    """How many neighbouring pixels make a run: the largest divisor of the width that stays within `RUN` numbers."""
    return max((p for p in range(1, width + 1) if width % p == 0 and p * channels <= RUN), default=1)


class Windows:
    """What `rows` output rows at a time see of images (h, w, C): windows on a buffer that holds the image's rows with zeros
    around them and is filled again for every block of rows."""

    def __init__(self, rows: int, width: int, image, kernel, padding, stride, dilation, pixels: int):
        self.image, self.padding, self.stride = image, padding, stride
        self.reach = dilation[0] * (kernel[0] - 1) + 1  # rows of the image that one output row sees
        _, w, c = image.shape
        self.buffer = np.zeros(((rows - 1) * stride[0] + self.reach, w + 2 * padding[1], c), image.dtype)
        row, pixel, channel = self.buffer.strides
        shape = (rows, width // pixels, *kernel, pixels * c)
        strides = (row * stride[0], pixel * stride[1] * pixels, row * dilation[0], pixel * dilation[1], channel)
        self.view = np.ndarray(shape, image.dtype, self.buffer, strides=strides)  # as_strided takes 20 µs

    def of(self, first: int, last: int):
        """For output rows first … last - 1: (rows, width / pixels, kh, kw, pixels·C)."""
        (ph, pw), (h, w, _) = self.padding, self.image.shape
        start = first * self.stride[0] - ph  # of the rows wanted, in the image; it may lie before or after it
        stop = start + (last - first - 1) * self.stride[0] + self.reach
        top, bottom = min(max(-start, 0), stop - start), max(stop - max(start, h), 0)
        part = self.buffer[: stop - start]
        part[:top], part[len(part) - bottom :] = 0, 0
        part[top : len(part) - bottom, pw : pw + w] = self.image[start + top : stop - bottom]
        return self.view[: last - first]


def row_parts(images: int, rows: int) -> list:
    """(image, first row, row after the last) of the pieces that threads share out, the same whatever their number."""
    pieces = min(max(rows, 1), max(1, PARTS // max(images, 1)))
    step = math.ceil(rows / pieces)
    return [(k, i, min(rows, i + step)) for k in range(images) for i in range(0, rows, max(step, 1))]


def correlate(x, taps, bias, out, padding, stride, dilation, after=None) -> None:
    """out[n, i, j] = bias + Σ taps[u, v]·x[n, i·s + u·d - p, j·s + v·d - p]; x and out (N, h, w, C), out contiguous.

    `after(n, first, last)` is called when rows first … last - 1 of image n are done and still in the cache.
    """
    (kh, kw, channels), (height, width) = taps.shape, out.shape[1:3]
    if not out.size:
        return
    pixels = pixels_of(width, channels) if stride[1] == 1 else 1
    wide = np.ascontiguousarray(np.broadcast_to(taps[:, :, None], (kh, kw, pixels, channels)))
    wide = wide.reshape(kh, kw, pixels * channels)
    step = min(height, max(1, BLOCK // (width * channels)))
    pieces = row_parts(len(x), height)

    def work(piece):
        k, start, stop = pieces[piece]
        windows = Windows(step, width, x[k], (kh, kw), padding, stride, dilation, pixels)
        runs = out[k].reshape(height, width // pixels, pixels * channels)
        for first in range(start, stop, step):
            last = min(stop, first + step)
            np.einsum("ijuvc,uvc->ijc", windows.of(first, last), wide, out=runs[first:last])
            if bias is not None:
                out[k, first:last] += bias
            if after is not None:
                after(k, first, last)

    parallel(work, len(pieces))


def correlate_taps(x, g, kernel, padding, stride, dilation):
    """Σ over n, i, j of g[n, i, j]·x[n, i·s + u·d - p, j·s + v·d - p]: (kh, kw, C), the derivative of `correlate` by its taps."""
    height, width, channels = g.shape[1:]
    total = np.zeros((*kernel, channels), g.dtype)
    if not g.size:
        return total
    step = min(height, max(1, BLOCK // (width * channels)))
    pieces = row_parts(len(x), height)

    def work(piece):
        k, start, stop = pieces[piece]
        windows = Windows(step, width, x[k], kernel, padding, stride, dilation, 1)
        result = np.zeros((*kernel, channels), g.dtype)
        for first in range(start, stop, step):
            last = min(stop, first + step)
            result += np.einsum("ijuvc,ijc->uvc", windows.of(first, last), g[k, first:last])
        return result

    for result in parallel(work, len(pieces)):
        total += result
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
        padded = np.zeros((size[0] + 2 * ph, size[1] + 2 * pw, g.shape[3]), g.dtype)
        for u, v in np.ndindex(kh, kw):
            rows = slice(u * dilation[0], u * dilation[0] + stride[0] * (oh - 1) + 1, stride[0])
            columns = slice(v * dilation[1], v * dilation[1] + stride[1] * (ow - 1) + 1, stride[1])
            padded[rows, columns] += g[k] * taps[u, v]
        dx[k] = padded[ph : ph + size[0], pw : pw + size[1]]

    parallel(work, len(g))
    return dx
