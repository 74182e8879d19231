"""numpy overrides of fused operations: (outputs, saved) forward, and the first-order derivative from what was saved."""

import math

import numpy as np

from minigrad.backend.numpy_gemm import column_sums, row_blocks
from minigrad.backend.numpy_sums import products, total, weighted
from minigrad.backend.numpy_threads import parallel
from minigrad.kernels.registry import kernel

BLOCK = 1 << 17  # numbers of a matrix worked on at a time


@kernel("layer_norm", "cpu")
def layer_norm(x, weight, bias, *, axes, eps, save):
    """y = (x - mean)·rstd·weight + bias over the last axes; saves mean and rstd, one number a row."""
    if x.dtype not in (np.float32, np.float64):
        return None
    rows = _rows(x, axes)
    y = np.empty(rows.shape, x.dtype)
    mean, rstd = np.empty((2, rows.shape[0], 1), x.dtype)
    ones = np.ones((rows.shape[1], 1), x.dtype)
    blocks = row_blocks(rows.shape[0], rows.shape[1], BLOCK)
    gain, shift = (None if a is None else a.reshape(-1) for a in (weight, bias))

    def work(i):
        part, out, deviation = rows[blocks[i]], y[blocks[i]], rstd[blocks[i]]
        # Not a product with 1/n, whose rounding a row of equal numbers would show.
        np.divide(products(part, ones), rows.shape[1], mean[blocks[i]])
        np.subtract(part, mean[blocks[i]], out)
        np.divide(products(np.square(out), ones), rows.shape[1], deviation)
        deviation += eps
        np.sqrt(deviation, deviation)
        np.divide(1, deviation, deviation)
        out *= deviation
        if gain is not None:
            out *= gain
        if shift is not None:
            out += shift

    parallel(work, len(blocks))
    return y.reshape(x.shape), (mean, rstd)


@layer_norm.defvjp
def layer_norm_vjp(g, saved, x, weight, bias, *, axes, eps):
    """dx = rstd·(gw - mean(gw) - c·rstd²·mean(gw·c)) with gw = g·weight, c = x - mean; dweight = Σ g·c·rstd; dbias = Σ g.

    c isn't multiplied by rstd, number by number: the sums are, which has the same effect.
    """
    mean, rstd = saved
    rows, g = _rows(x, axes), _rows(g, axes)
    dx = np.empty(rows.shape, x.dtype)
    blocks = row_blocks(rows.shape[0], rows.shape[1], BLOCK)
    gain = None if weight is None else weight.reshape(-1)
    share = np.full((rows.shape[1], 1), 1 / max(rows.shape[1], 1), x.dtype)  # a product with it is a mean, weighted
    if gain is not None:
        share *= gain[:, None]

    def work(i):
        part, out, deviation = g[blocks[i]], dx[blocks[i]], rstd[blocks[i]]
        centred = rows[blocks[i]] - mean[blocks[i]]
        product = np.multiply(part, centred, out)
        dweight = None if gain is None else weighted(deviation[:, 0], product)
        slope = products(product, share)
        slope *= deviation
        slope *= deviation
        centred *= slope
        centred += products(part, share)
        np.subtract(part if gain is None else np.multiply(part, gain, out), centred, out)
        out *= deviation
        return dweight, None if bias is None else column_sums(part)

    sums = list(zip(*parallel(work, len(blocks)), strict=True)) or [(None,), (None,)]
    dweight, dbias = (
        None if like is None else (total(np.array(parts), 0) if blocks else np.zeros_like(like)).reshape(like.shape)
        for like, parts in zip((weight, bias), sums, strict=True)
    )
    return dx.reshape(x.shape), dweight, dbias


def _rows(x, axes):
    """x as a matrix with a row for each mean."""
    first = x.ndim - len(axes)
    return x.reshape(math.prod(x.shape[:first]), math.prod(x.shape[first:]))
