"""Depthwise convolution of channels-last images, a few rows at a time so that what is worked on stays in the cache.

`einsum` multiplies and adds in one pass where two ufuncs take two. It walks pixel by pixel in runs of C channels; several
neighbouring pixels are made one run, with the taps repeated, because short runs cost more than their arithmetic.
"""

import functools

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minigrad.backend.numpy_gemm import shares
from minigrad.backend.numpy_threads import parallel
from minigrad.kernels.windows import element

BLOCK = 1 << 17  # numbers of the image worked on at a time
RUN = 1 << 13  # numbers in one run of einsum
SLOW = 16  # times as long as in a matrix product einsum's multiplications take


def taps_of(w):
    """Weights (C, 1, kh, kw) as (kh, kw, C)."""
    return np.ascontiguousarray(w[:, 0].transpose(1, 2, 0))


@functools.lru_cache(maxsize=256)
def pixels_of(width: int, channels: int) -> int:
    """How many neighbouring pixels make a run: the largest divisor of the width that stays within `RUN` numbers."""
    return max((p for p in range(1, width + 1) if width % p == 0 and p * channels <= RUN), default=1)


def windows(images, rows: int, width: int, kernel, stride, dilation, pixels: int):
    """(N, rows, width / pixels, kh, kw, pixels·C) view of padded images (N, h, w, C): what every run of `pixels` outputs sees."""
    image, row, pixel, channel = images.strides
    shape = (len(images), rows, width // pixels, *kernel, pixels * images.shape[3])
    strides = (image, row * stride[0], pixel * stride[1] * pixels, row * dilation[0], pixel * dilation[1], channel)
    return as_strided(images, shape, strides, writeable=False)


def padded(images, padding):
    """Zeros around images (N, h, w, C); the images themselves where there is nothing to add."""
    (ph, pw), (n, h, w, c) = padding, images.shape
    if ph == pw == 0:
        return images
    out = np.zeros((n, h + 2 * ph, w + 2 * pw, c), images.dtype)
    out[:, ph : ph + h, pw : pw + w] = images
    return out


def pieces(n: int, height: int, numbers: int, block: int, least: int = 1) -> list[tuple[slice, slice]]:
    """(images, rows) of pieces of `block` numbers at the most, where a row has `numbers`: whole images where they are small,
    else rows of one; `least` of them or more, if there are so many rows."""
    step = max(1, min(block // max(numbers, 1), -(-n * height // least)))
    if step >= height:
        step //= max(height, 1)
        return [(slice(i, min(n, i + step)), slice(0, height)) for i in range(0, n, step)]
    step = -(-height // -(-height // step))  # of nearly equal size
    return [(slice(k, k + 1), slice(i, min(height, i + step))) for k in range(n) for i in range(0, height, step)]


def correlate(images, taps, bias, out, stride, dilation, after=None) -> None:
    """out[n, i, j] = bias + Σ taps[u, v]·image[n, i·s + u·d, j·s + v·d] for padded images; `out` (N, oh, ow, C) contiguous.

    `after(images, rows)` is called with the slices of a piece when it is done and still in the cache.
    """
    (kh, kw, channels), (n, height, width) = taps.shape, out.shape[:3]
    if not out.size:
        return
    pixels = pixels_of(width, channels) if stride[1] == 1 else 1
    wide = np.ascontiguousarray(np.broadcast_to(taps[:, :, None], (kh, kw, pixels, channels)))
    wide = wide.reshape(kh, kw, pixels * channels)
    view = windows(images, height, width, (kh, kw), stride, dilation, pixels)
    runs = out.reshape(n, height, width // pixels, pixels * channels)
    parts = pieces(n, height, width * channels, BLOCK, shares(SLOW * out.size * kh * kw))

    def work(part):
        piece = parts[part]
        np.einsum("nijuvc,uvc->nijc", view[piece], wide, out=runs[piece])
        if bias is not None:
            out[piece] += bias
        if after is not None:
            after(*piece)

    parallel(work, len(parts))


def correlate_taps(images, g, kernel, stride, dilation):
    """Σ over n, i, j of g[n, i, j]·image[n, i·s + u·d, j·s + v·d] for padded images: (kh, kw, C), the derivative of `correlate`
    by its taps."""
    total = np.zeros((*kernel, g.shape[3]), g.dtype)
    if not g.size:
        return total
    view = windows(images, g.shape[1], g.shape[2], kernel, stride, dilation, 1)
    parts = pieces(len(g), g.shape[1], g.shape[2] * g.shape[3], BLOCK)
    for result in parallel(lambda i: np.einsum("nijuvc,nijc->uvc", view[parts[i]], g[parts[i]]), len(parts)):
        total += result
    return total


def scattered(g, taps, size, padding, stride, dilation):
    """The derivative of `correlate` by its images, before their padding, of height and width `size`: (N, *size, C)."""
    (kh, kw), (ph, pw) = taps.shape[:2], padding
    dx = np.empty((len(g), *size, g.shape[3]), g.dtype)
    reach = (dilation[0] * (kh - 1), dilation[1] * (kw - 1))
    if stride == (1, 1) and ph <= reach[0] and pw <= reach[1]:
        correlate(padded(g, (reach[0] - ph, reach[1] - pw)), taps[::-1, ::-1], None, dx, stride, dilation)
        return dx
    if not g.size:
        return np.zeros_like(dx)

    def work(k):
        image = np.zeros((size[0] + 2 * ph, size[1] + 2 * pw, g.shape[3]), g.dtype)
        for u, v in np.ndindex(kh, kw):
            image[element((u, v), g.shape[1:3], stride, dilation)] += g[k] * taps[u, v]
        dx[k] = image[ph : ph + size[0], pw : pw + size[1]]

    parallel(work, len(g))
    return dx
