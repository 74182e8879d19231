"""The feed-forward network of PVT v2 in one kernel: linear, depthwise 3×3 convolution, GELU, linear.

Some images at a time, so that the hidden maps, 8 times as large as the input in the first stages, stay near the processor.
Kept for the derivative are the convolution's input, GELU's slope and GELU's output; in inference nothing.
"""

import numpy as np

from minigrad.backend import numpy_depthwise as depthwise
from minigrad.backend.numpy_gelu import BLOCK, gelu_block
from minigrad.backend.numpy_gemm import column_sums, linear_into, row_blocks, transposed_product
from minigrad.backend.numpy_threads import parallel

HIDDEN = 1 << 20  # numbers of the hidden maps at a time, unless a single image has more
PLAIN = (1, 1)


def _groups(n: int, numbers: int) -> list[slice]:
    step = max(1, HIDDEN // max(numbers, 1))
    return [slice(i, min(n, i + step)) for i in range(0, n, step)]


def conv_mlp(x, w1, b1, taps, b, w2, b2, *, size, relu, save):
    """Tokens (N, H·W, C) → (N, H·W, O); weights as in `minigrad.ops.fused.conv_mlp`."""
    if x.dtype not in (np.float32, np.float64) or not x.size:
        return None
    n, length, hidden = len(x), x.shape[1], w1.shape[0]
    kernel = taps.shape[2:]
    padding = (kernel[0] // 2, kernel[1] // 2)
    wide = depthwise.taps_of(taps)
    x = np.ascontiguousarray(x)
    out = np.empty((n, length, w2.shape[0]), x.dtype)
    groups = _groups(n, length * hidden)
    kept = [np.empty((n, length, hidden), x.dtype) for _ in range(3)] if save else None

    def work(i):
        images = groups[i]
        count = images.stop - images.start
        if kept is None:
            first, second = np.empty((2, count, length, hidden), x.dtype)
            slope = None
        else:
            first, slope, second = (a[images] for a in kept)
        linear_into(x[images].reshape(-1, x.shape[2]), w1.T, b1, first.reshape(-1, hidden))
        if relu:
            np.maximum(first, 0, out=first)
        maps = second.reshape(count, *size, hidden)

        def activate(k, start, stop):
            block = maps[k, start:stop].reshape(-1)
            slopes = None if slope is None else slope.reshape(maps.shape)[k, start:stop].reshape(-1)
            for j in range(0, block.size, BLOCK):
                part = block[j : j + BLOCK]
                gelu_block(part, part, None if slopes is None else slopes[j : j + BLOCK])

        depthwise.correlate(first.reshape(maps.shape), wide, b, maps, padding, PLAIN, PLAIN, activate)
        linear_into(second.reshape(-1, hidden), w2.T, b2, out[images].reshape(-1, w2.shape[0]))

    with np.errstate(over="ignore", invalid="ignore"):
        parallel(work, len(groups))
    return out, kept


def conv_mlp_vjp(g, saved, x, w1, b1, taps, b, w2, b2, *, size, relu):
    """Back through the four steps, some images at a time; sums over the images are added up in their order."""
    first, slope, second = saved
    n, length, hidden = first.shape
    x, g = np.ascontiguousarray(x), np.ascontiguousarray(g)
    kernel = taps.shape[2:]
    padding = (kernel[0] // 2, kernel[1] // 2)
    wide = depthwise.taps_of(taps)
    dx = np.empty_like(x)
    groups = _groups(n, length * hidden)

    def work(i):
        images = groups[i]
        count = images.stop - images.start
        rows_x, rows_g = x[images].reshape(-1, x.shape[2]), g[images].reshape(-1, g.shape[2])
        grads = [None, None, None, None, transposed_product(rows_g, second[images].reshape(-1, hidden)), None]
        grads[5] = None if b2 is None else column_sums(rows_g)
        inner = np.empty((rows_g.shape[0], hidden), g.dtype)  # first the gradient of the convolution's output
        slopes = slope[images].reshape(inner.shape)
        blocks = row_blocks(inner.shape[0], hidden)

        def through_gelu(j):
            part = inner[blocks[j]]
            np.matmul(rows_g[blocks[j]], w2, out=part)
            part *= slopes[blocks[j]]

        parallel(through_gelu, len(blocks))
        maps = inner.reshape(count, *size, hidden)
        inputs = first[images].reshape(maps.shape)
        grads[3] = None if b is None else column_sums(inner)
        grads[2] = depthwise.correlate_taps(inputs, maps, kernel, padding, PLAIN, PLAIN)
        back = depthwise.scattered(maps, wide, size, padding, PLAIN, PLAIN)
        if relu:
            back[inputs <= 0] = 0
        inner = back.reshape(-1, hidden)
        grads[0] = transposed_product(inner, rows_x)
        grads[1] = None if b1 is None else column_sums(inner)
        linear_into(inner, w1, None, dx[images].reshape(-1, dx.shape[2]))
        return grads

    results = parallel(work, len(groups))
    sums = results[0]
    for grads in results[1:]:
        for total, part in zip(sums, grads, strict=True):
            if total is not None:
                total += part
    dw1, db1, dtaps, db, dw2, db2 = sums
    return dx, dw1, db1, dtaps.transpose(2, 0, 1)[:, None], db, dw2, db2
