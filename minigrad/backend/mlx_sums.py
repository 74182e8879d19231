"""Sums in MLX whose rounding error hardly grows with the number of terms, and 16-bit numbers summed in float32.

MLX's CPU device adds one number after the other. Here a sum of many terms is taken over blocks of one of its axes, and the blocks'
sums are summed in the same way. Metal's kernels add in parallel, so that only very long sums are taken in blocks there.
"""

import functools
import math

import mlx.core as mx
import numpy as np

FEW = 64  # terms that may be added one after the other: 64 equal numbers lose 9.8e-7 of their sum at most
LONG = 1 << 20  # terms that a GPU's kernels add well enough
SHORT = 256  # numbers of a cumulative sum for which blocks wouldn't pay
TERMS = 32  # so many of one block
SMALL = 2048  # numbers of an array whose layout doesn't matter
HALVES = (mx.float16, mx.bfloat16)


def wide(a):
    """16-bit floating-point numbers as float32, anything else as it is."""
    return a.astype(mx.float32) if a.dtype in HALVES else a


def total(a, axis=None, keepdims=False, rows=False):
    """Σ over an axis, a tuple of axes, or all (None); 16-bit numbers are summed in float32 and rounded once. For
    `rows` see `mean`."""
    if not a.size:  # mx.sum of no numbers may never return on the CPU (0.32.4)
        return mx.zeros(np.empty(a.shape, bool).any(axis, keepdims=keepdims).shape, a.dtype)
    if a.dtype == mx.float32:
        return _float32(a, axis, keepdims, rows)
    if a.dtype in HALVES:
        return _float32(a.astype(mx.float32), axis, keepdims, rows).astype(a.dtype)
    return mx.sum(a, axis, keepdims=keepdims)


def mean(a, axis=None, keepdims=False, rows=False):
    """Σ / n, likewise. `rows` is for the last axis of what probably lies row by row in memory: twice as quick there, slow elsewhere."""
    if not a.size:
        return mx.full(np.empty(a.shape, bool).any(axis, keepdims=keepdims).shape, math.nan, a.dtype)
    y = _float32(wide(a), axis, keepdims, rows)
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


def _float32(a, axis, keepdims, rows):
    shape, ndim = a.shape, a.ndim
    axes = range(ndim) if axis is None else axis if axis.__class__ in (tuple, list) else (axis,)
    terms = math.prod([shape[i] for i in axes])
    if terms <= FEW or terms <= LONG and mx.default_device().type == mx.DeviceType.gpu:
        return mx.sum(a, axis, keepdims=keepdims)
    if len(axes) == 1 and (rows or ndim == 1 or a.size <= SMALL):
        i, block = axes[0] % ndim, _block(terms, min(TERMS, math.isqrt(terms)))
        if terms % block == 0:
            if a.size > SMALL:
                a = mx.contiguous(a)
            a = mx.sum(mx.unflatten(a, i, (block, -1)), i, keepdims=not keepdims)
            i = i if keepdims else (i, i + 1)
            few = terms <= TERMS * block
            return mx.sum(a, i, keepdims=keepdims) if few else _float32(a, i, keepdims, rows)
    axes = sorted([i % ndim for i in axes])
    kept = [n for i, n in enumerate(shape) if i not in axes]
    if ndim <= 2:
        a = mx.contiguous(a, allow_col_major=True)  # gaps are many times as slow; a transposed matrix isn't copied
    if ndim > 1:
        a = _over_blocks(a, axes)
        terms = a.size // math.prod(kept)
    before, after = kept[:-1], kept[-1:]
    k, all_before = len(before), (slice(None),) * len(before)
    while terms > TERMS:  # contiguous by now: every b-th is of one sum, so that they are read at full width
        a = a.reshape(*before, terms, *after)
        t = _block(terms, TERMS)
        b, left = divmod(terms, t)
        whole = a[(*all_before, slice(t * b))] if left else a
        y = mx.sum(mx.unflatten(whole, k, (t, b)), k)
        a = mx.concatenate([y, a[(*all_before, slice(t * b, terms))]], k) if left else y
        terms = b + left
    y = mx.sum(a, list(range(k, a.ndim - len(after))), keepdims=True)
    return y.reshape([1 if i in axes else n for i, n in enumerate(shape)] if keepdims else kept)


def _over_blocks(a, axes):
    """Sums of up to `TERMS` terms of axes of an array of two or more, as (other axes, sums…, last other axis). The layout of a lazy
    array isn't known: in this order MLX reads what is contiguous, transposed or channels-last about as fast as for a plain sum."""
    if len(axes) == a.ndim:
        axes = [0, *range(2, a.ndim)]  # what may be channels comes later
    others = [i for i in range(a.ndim) if i not in axes]
    order = [*others[:-1], *axes, others[-1]]
    if order != list(range(a.ndim)):
        a = mx.transpose(a, order)
    i = end = a.ndim - 1
    first, terms = end - len(axes), 1
    while i > first and terms * a.shape[i - 1] <= FEW:
        i -= 1
        terms *= a.shape[i]
    whole, n = list(range(i, end)), a.shape[i - 1]
    block = _block(n, TERMS // terms) if i > first and terms <= TERMS // 2 else 1
    if block == 1 or whole and n % block:
        return mx.sum(a, whole, keepdims=True)
    i -= 1
    if n % block == 0:
        return mx.sum(mx.unflatten(a, i, (-1, block)), [i + 1, *(j + 1 for j in whole)], keepdims=True)
    before, count = (slice(None),) * i, n // block * block
    y = mx.sum(mx.unflatten(a[(*before, slice(count))], i, (-1, block)), i + 1)
    return mx.concatenate([y, a[(*before, slice(count, n))]], i)


@functools.lru_cache(1024)
def _block(n, most):
    """How many of n terms make a block, so that few sums and numbers beside them are left, none of these if possible."""
    return min(range(most, 1, -1), key=lambda t: n // t + n % t + (TERMS // 2 if n % t else 0))
