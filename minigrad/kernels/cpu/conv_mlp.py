"""The feed-forward network of PVT v2 in one kernel: linear, depthwise convolution, GELU, linear.

Some images at a time, in inference also some rows, so that the hidden maps, 8 times as large as the input in the first stages,
stay near the processor.
Maps that are convolved are written with zeros around them by the pass that makes them. Kept for the derivative are the
convolution's padded input, GELU's slope and GELU's output; in inference nothing.
"""

import numpy as np

from minigrad.backend.numpy_gemm import BLOCK as GEMM_BLOCK
from minigrad.backend.numpy_gemm import column_sums, linear_into, product_shares, row_blocks, shares, transposed_product
from minigrad.backend.numpy_threads import parallel, scratch
from minigrad.kernels.cpu import depthwise
from minigrad.kernels.cpu.gelu import BLOCK, gelu_block

HIDDEN = 1 << 20  # numbers of a hidden map at a time in training, or those of one image, if they are more
BAND = 1 << 19  # numbers of a hidden map at a time in inference
PLAIN = (1, 1)


def _groups(x, hidden: int) -> list[slice]:
    """Some images at a time."""
    return row_blocks(len(x), x.shape[1] * hidden, HIDDEN, min(len(x), shares(2 * x.size * hidden)))


def _bordered(shape, above: int, below: int, beside: int, dtype):
    """An empty map (N, H, W, C) within a larger one that has zeros around it: (the larger, the map)."""
    n, h, w, c = shape
    large = np.empty((n, above + h + below, w + 2 * beside, c), dtype)
    large[:, :above], large[:, above + h :], large[:, :, :beside], large[:, :, beside + w :] = 0, 0, 0, 0
    return large, large[:, above : above + h, beside : beside + w]


def _product_into(x, w, maps, finish) -> None:
    """finish(x·w, piece), some images or rows of the maps (N, H, W, C) at a time; x (N, H·W, K)."""
    n, height, width, channels = maps.shape
    parts = depthwise.pieces(n, height, width * channels, GEMM_BLOCK, product_shares(n * height * width, w))

    def work(i):
        images, rows = piece = parts[i]
        part = x[images, rows.start * width : rows.stop * width]
        product = scratch(part.shape[0] * part.shape[1] * channels, x.dtype)
        np.matmul(part.reshape(-1, x.shape[2]), w, out=product.reshape(-1, channels))
        finish(product.reshape(len(part), -1, width, channels), piece)

    parallel(work, len(parts))


def _fit(x, w1, b1, taps, b, w2, b2, size) -> bool:
    """Whether the kernel takes these; what doesn't fit together is left to the definition, which says so."""
    if x.dtype not in (np.float32, np.float64) or (x.ndim, w1.ndim, taps.ndim, w2.ndim, len(size)) != (3, 2, 4, 2, 2):
        return False
    hidden, out = len(w1), len(w2)
    biases = ((b1, hidden), (b, hidden), (b2, out))
    return (
        x.shape[1] == size[0] * size[1]
        and min(size) > 0
        and len(x) * x.shape[2] * hidden * out > 0
        and (w1.shape[1], w2.shape[1], taps.shape[:2]) == (x.shape[2], hidden, (hidden, 1))
        and taps.shape[2] % 2 == taps.shape[3] % 2 == 1
        and all(bias is None or bias.shape == (n,) for bias, n in biases)
    )


def conv_mlp(x, w1, b1, taps, b, w2, b2, *, size, relu, save):
    """Tokens (N, H·W, C) → (N, H·W, O); weights as in `minigrad.models.pvt_v2.conv_mlp`."""
    if not _fit(x, w1, b1, taps, b, w2, b2, size):
        return None
    n, length, hidden, (height, width) = len(x), x.shape[1], w1.shape[0], size
    ph, pw = taps.shape[2] // 2, taps.shape[3] // 2
    taps = depthwise.taps_of(taps)
    x = np.ascontiguousarray(x)
    out = np.empty((n, length, w2.shape[0]), x.dtype)
    shape = (n, *size, hidden)
    kept = [_bordered(shape, ph, ph, pw, x.dtype)[0], *(np.empty(shape, x.dtype) for _ in range(2))] if save else None
    if save:
        parts = [(images, slice(0, height)) for images in _groups(x, hidden)]
    else:  # also rows of one image: what they see of their neighbours is computed twice
        parts = depthwise.pieces(n, height, width * hidden, BAND, min(n * height, shares(2 * x.size * hidden)))
    first_bias = x.dtype.type(0) if b1 is None else b1

    def work(i):
        images, rows = parts[i]
        top, bottom = max(rows.start - ph, 0), min(rows.stop + ph, height)
        above, below = top - rows.start + ph, rows.stop + ph - bottom
        if kept is None:
            count = images.stop - images.start
            large, first = _bordered((count, bottom - top, width, hidden), above, below, pw, x.dtype)
            slope, second = None, np.empty((count, rows.stop - rows.start, width, hidden), x.dtype)
        else:
            large, slope, second = (a[images] for a in kept)
            first = large[:, ph : ph + height, pw : pw + width]

        def finish(product, piece):
            np.add(product, first_bias, first[piece])
            if relu:
                np.maximum(first[piece], 0, out=first[piece])

        _product_into(x[images, top * width : bottom * width], w1.T, first, finish)

        def activate(*piece):
            block = second[piece].reshape(-1)
            slopes = None if slope is None else slope[piece].reshape(-1)
            for j in range(0, block.size, BLOCK):
                one = block[j : j + BLOCK]
                gelu_block(one, one, None if slopes is None else slopes[j : j + BLOCK])

        depthwise.correlate(large, taps, b, second, PLAIN, PLAIN, activate)
        result = out[images, rows.start * width : rows.stop * width]
        linear_into(second.reshape(-1, hidden), w2.T, b2, result.reshape(-1, w2.shape[0]))

    with np.errstate(over="ignore", invalid="ignore"):
        parallel(work, len(parts))
    return out, kept


def conv_mlp_vjp(g, saved, x, w1, b1, taps, b, w2, b2, *, size, relu):
    """Back through the four steps, some images at a time; sums over the images are added up in their order."""
    large, slope, second = saved
    hidden = second.shape[3]
    x, g = np.ascontiguousarray(x), np.ascontiguousarray(g)
    kernel = taps.shape[2:]
    padding = (kernel[0] // 2, kernel[1] // 2)
    flipped = depthwise.taps_of(taps)[::-1, ::-1]
    dx = np.empty_like(x)
    groups = _groups(x, hidden)

    def work(i):
        images = groups[i]
        rows_x, rows_g = x[images].reshape(-1, x.shape[2]), g[images].reshape(-1, g.shape[2])
        dw2 = transposed_product(rows_g, second[images].reshape(-1, hidden))
        outer, inner = _bordered(
            second[images].shape, padding[0], *padding, g.dtype
        )  # the convolution's output's gradient
        slopes, inputs = slope[images], large[images]

        def through_gelu(product, piece):
            np.multiply(product, slopes[piece], inner[piece])

        _product_into(g[images], w2, inner, through_gelu)
        back = np.empty(inner.shape, g.dtype)
        dtaps = depthwise.correlate_taps(inputs, inner, kernel, PLAIN, PLAIN)
        depthwise.correlate(outer, flipped, None, back, PLAIN, PLAIN)
        if relu:
            h, w = padding
            back[inputs[:, h : h + size[0], w : w + size[1]] <= 0] = 0
        rows = back.reshape(-1, hidden)
        linear_into(rows, w1, None, dx[images].reshape(-1, dx.shape[2]))
        return [
            transposed_product(rows, rows_x),
            None if b1 is None else column_sums(rows),
            dtaps,
            None if b is None else column_sums(outer.reshape(-1, hidden)),
            dw2,
            None if b2 is None else column_sums(rows_g),
        ]

    results = parallel(work, len(groups))
    sums = results[0]
    for grads in results[1:]:
        for total, part in zip(sums, grads, strict=True):
            if total is not None:
                total += part
    dw1, db1, dtaps, db, dw2, db2 = sums
    return dx, dw1, db1, dtaps.transpose(2, 0, 1)[:, None], db, dw2, db2
