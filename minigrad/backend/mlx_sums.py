"""Sums in MLX whose rounding error hardly grows with the number of terms, and 16-bit numbers summed in float32.

MLX's CPU device adds one number after the other. Here a sum of many terms is taken over blocks of one of its axes, and the blocks'
sums are summed in the same way. Metal's kernels add in parallel, so that only very long sums are taken in blocks there.
"""

import math

import mlx.core as mx
import numpy as np

FEW = 64  # terms that may be added one after the other: 64 equal numbers lose 9.8e-7 of their sum at most
LONG = 1 << 20  # terms that a GPU's kernels add well enough
SHORT = 256  # numbers of a cumulative sum for which blocks wouldn't pay
TERMS = 32  # so many of one block
WIDTH = 64  # numbers of a block's sum at least: MLX adds rows at full width only
HALVES = (mx.float16, mx.bfloat16)


def wide(a):
    """16-bit floating-point numbers as float32, anything else as it is."""
    return a.astype(mx.float32) if a.dtype in HALVES else a


def total(a, axis=None, keepdims=False):
    """Σ over an axis, a tuple of axes, or all (None); 16-bit numbers are summed in float32 and rounded once."""
    if not a.size:  # mx.sum of no numbers may never return on the CPU (0.32.4)
        return mx.zeros(np.empty(a.shape, bool).any(axis, keepdims=keepdims).shape, a.dtype)
    if a.dtype == mx.float32:
        return _float32(a, axis, keepdims)
    if a.dtype in HALVES:
        return _float32(a.astype(mx.float32), axis, keepdims).astype(a.dtype)
    return mx.sum(a, axis, keepdims=keepdims)


def mean(a, axis=None, keepdims=False):
    """Σ / n, likewise."""
    if not a.size:
        return mx.full(np.empty(a.shape, bool).any(axis, keepdims=keepdims).shape, math.nan, a.dtype)
    y = _float32(wide(a), axis, keepdims)
    return (y / (a.size // y.size)).astype(a.dtype)


def running(a, axis):
    """The sums of the first 1, 2, … numbers along an axis, likewise. Up to `SHORT` float32 numbers MLX adds one after the other, at
    a loss of less than 4e-6 of their sum."""
    if a.dtype != mx.float32:
        return running(a.astype(mx.float32), axis).astype(a.dtype) if a.dtype in HALVES else mx.cumsum(a, axis=axis)
    axis, n = axis % a.ndim, a.shape[axis]
    if n <= SHORT:
        return mx.cumsum(a, axis=axis)
    before = (slice(None),) * axis
    length = next((k for k in range(2 * FEW, FEW // 2, -1) if n % k == 0), FEW)
    count = n // length * length
    whole = a if count == n else a[(*before, slice(0, count))]
    parts = mx.cumsum(mx.unflatten(whole, axis, (-1, length)), axis=axis + 1)
    past = running(parts[(*before, slice(None), slice(length - 1, length))], axis)
    shifted = mx.pad(past[(*before, slice(0, -1))], [(int(i == axis), 0) for i in range(a.ndim + 1)])
    y = mx.flatten(parts + shifted, axis, axis + 1)
    if count == n:
        return y
    rest = mx.cumsum(a[(*before, slice(count, n))], axis=axis) + past[(*before, -1)]
    return mx.concatenate([y, rest], axis)


def _float32(a, axis, keepdims):
    shape = a.shape
    axes = range(a.ndim) if axis is None else axis if axis.__class__ in (tuple, list) else (axis,)
    terms = math.prod([shape[i] for i in axes])
    if terms <= FEW or terms <= LONG and mx.default_device().type == mx.DeviceType.gpu:
        return mx.sum(a, axis, keepdims=keepdims)
    axes, few = [i % a.ndim for i in axes], FEW
    a = mx.contiguous(a)  # blocks of a view are added many times as slowly; what is contiguous isn't copied
    while math.prod([a.shape[i] for i in axes]) > few:
        i = max(axes, key=a.shape.__getitem__)
        a = mx.sum(a, i, keepdims=True) if a.shape[i] <= few else _over_blocks(a, i)
        few = TERMS  # for sums, whose errors add to those of what they are of
    return mx.sum(a, axes, keepdims=keepdims)


def _over_blocks(a, i):
    """The sums over blocks of axis i, in its place."""
    n = a.shape[i]
    most = min(TERMS, math.isqrt(n))
    terms = next((t for t in range(most, most // 2, -1) if n % t == 0), most)
    along = max(1, min(n // terms, WIDTH // max(1, math.prod(a.shape[i + 1 :]))))
    blocks = n // (terms * along)
    count = blocks * terms * along
    before = (slice(None),) * i
    whole = a if count == n else a[(*before, slice(0, count))]
    y = mx.flatten(mx.sum(mx.unflatten(whole, i, (blocks, terms, along)), i + 1), i, i + 1)
    if count == n:
        return y
    rest = a[(*before, slice(count, n))]
    return mx.concatenate([y, rest if n - count < terms else _over_blocks(rest, i)], i)
