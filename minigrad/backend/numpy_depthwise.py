"""Depthwise convolution of channels-last images, a few rows at a time so that what is worked on stays in the cache.

`einsum` multiplies and adds in one pass where two ufuncs take two. It walks pixel by pixel in runs of C channels; several
neighbouring pixels are made one run, with the taps repeated, because short runs cost more than their arithmetic.
"""

import math

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minigrad.backend.numpy_threads import parallel

BLOCK = 1 << 16  # numbers of the image worked on at a time
RUN = 1 << 12  # numbers in one run of einsum
PARTS = 8  # pieces that a batch is cut into at least, where it is large enough to be shared out


def taps_of(w):
    """Weights (C, 1, kh, kw) as (kh, kw, C)."""
    return np.ascontiguousarray(w[:, 0].transpose(1, 2, 0))


def repeated(taps, width: int, stride: int):
    """Taps for runs of several pixels of a row: (kh, kw, pixels·C)."""
    kh, kw, c = taps.shape
    pixels = 1
    if stride == 1 and c:
        pixels = max(p for p in range(1, max(width, 1) + 1) if width % p == 0 and (p == 1 or p * c <= RUN))
    return np.ascontiguousarray(np.broadcast_to(taps[:, :, None], (kh, kw, pixels, c))).reshape(kh, kw, pixels * c)


def windows(image, rows: int, width: int, kernel, run: int, stride, dilation):
    """(rows, width·C / run, kh, kw, run) view of a padded image (h, w, C): what each run sees at each kernel position."""
    h, w, c = image.strides
    pixels = run // max(image.shape[2], 1)
    shape = (rows, width // pixels, *kernel, run)
    strides = (h * stride[0], w * stride[1] * pixels, h * dilation[0], w * dilation[1], c)
    return as_strided(image, shape, strides, writeable=False)


class Padded:
    """Rows of an image with zeros around them, in one buffer that is filled again for every block of rows."""

    def __init__(self, rows: int, width: int, channels: int, padding, dtype):
        self.padding, self.width = padding, width
        self.buffer = np.zeros((rows, width + 2 * padding[1], channels), dtype)

    def fill(self, image, first: int, count: int):
        """Rows first … first + count - 1 of the padded image, as a view of the buffer."""
        ph, pw = self.padding
        top = min(max(ph - first, 0), count)  # rows of the padding above and below the image
        bottom = min(max(first + count - ph - image.shape[0], 0), count - top)
        part = self.buffer[:count]
        part[:top], part[count - bottom :] = 0, 0
        part[top : count - bottom, pw : pw + self.width] = image[first + top - ph : first + count - bottom - ph]
        return part


def row_parts(images: int, rows: int) -> list:
    """(image, first row, row after the last) of the pieces that threads share out, the same whatever their number."""
    pieces = min(max(rows, 1), max(1, PARTS // max(images, 1)))
    step = math.ceil(rows / pieces)
    return [(k, i, min(rows, i + step)) for k in range(images) for i in range(0, rows, max(step, 1))]


def correlate(x, taps, bias, out, padding, stride, dilation, after=None) -> None:
    """out[n, i, j] = bias + Σ taps[u, v]·x[n, i·s + u·d - p, j·s + v·d - p]; x and out (N, h, w, C), out contiguous.

    `after(n, first, last)` is called when rows first … last - 1 of image n are done and still in the cache.
    """
    kernel, (height, width, channels) = taps.shape[:2], out.shape[1:]
    if not out.size:
        return
    wide = repeated(taps, width, stride[1])
    step = max(1, BLOCK // (width * channels))
    reach = dilation[0] * (kernel[0] - 1) + 1
    bare = padding == (0, 0)
    pieces = row_parts(len(x), height)

    def work(piece):
        k, start, stop = pieces[piece]
        padded = None if bare else Padded((step - 1) * stride[0] + reach, x.shape[2], channels, padding, x.dtype)
        for first in range(start, stop, step):
            last = min(stop, first + step)
            top, count = first * stride[0], (last - first - 1) * stride[0] + reach
            part = x[k, top : top + count] if padded is None else padded.fill(x[k], top, count)
            view = windows(part, last - first, width, kernel, wide.shape[2], stride, dilation)
            block = out[k, first:last]
            np.einsum("ijuvc,uvc->ijc", view, wide, out=block.reshape(view.shape[0], view.shape[1], -1))
            if bias is not None:
                block += bias
            if after is not None:
                after(k, first, last)

    parallel(work, len(pieces))


def correlate_taps(x, g, kernel, padding, stride, dilation):
    """Σ over n, i, j of g[n, i, j]·x[n, i·s + u·d - p, j·s + v·d - p]: (kh, kw, C), the derivative of `correlate` by its taps."""
    height, width, channels = g.shape[1:]
    total = np.zeros((*kernel, channels), g.dtype)
    if not g.size:
        return total
    step = max(1, BLOCK // (width * channels))
    reach = dilation[0] * (kernel[0] - 1) + 1
    bare = padding == (0, 0)
    pieces = row_parts(len(x), height)

    def work(piece):
        k, start, stop = pieces[piece]
        padded = None if bare else Padded((step - 1) * stride[0] + reach, x.shape[2], channels, padding, x.dtype)
        result = np.zeros((*kernel, channels), g.dtype)
        for first in range(start, stop, step):
            last = min(stop, first + step)
            top, count = first * stride[0], (last - first - 1) * stride[0] + reach
            part = x[k, top : top + count] if padded is None else padded.fill(x[k], top, count)
            view = windows(part, last - first, width, kernel, channels, stride, dilation)
            result += np.einsum("ijuvc,ijc->uvc", view, g[k, first:last])
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
