"""Sums in MLX whose rounding error hardly grows with the number of terms, and 16-bit numbers summed in float32.

MLX's CPU device adds one number after the other. Here it adds blocks of up to `FEW` terms of one axis, whose sums are added in
float64, and small arrays in float64 at once. Metal has no float64, but its kernels add in parallel, so that only very long sums
are taken in blocks there.
"""

import functools
import math

import mlx.core as mx
import numpy as np

FEW = 64  # terms that may be added one after the other: 64 equal numbers lose 9.8e-7 of their sum at most
LONG, SHORT = 1 << 20, 256  # terms that a GPU's kernels add well enough, and cumulatively
SMALL = 1 << 13  # numbers of an array that is widened as a whole
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
    return mx.sum(a, axis, keepdims)


def mean(a, axis=None, keepdims=False, rows=False):
    """Σ / n, likewise. `rows` is for the last axis of what probably lies row by row in memory: twice as quick there, slow elsewhere."""
    if not a.size:
        return mx.full(np.empty(a.shape, bool).any(axis, keepdims=keepdims).shape, math.nan, a.dtype)
    y = _float32(wide(a), axis, keepdims, rows)
    return (y / (a.size // y.size)).astype(a.dtype)


def running(a, axis):
    """The sums of the first 1, 2, … numbers along an axis, likewise."""
    if a.dtype != mx.float32:
        return running(a.astype(mx.float32), axis).astype(a.dtype) if a.dtype in HALVES else mx.cumsum(a, axis=axis)
    axis, n, cpu = axis % a.ndim, a.shape[axis], _on_cpu()
    if n <= (FEW if cpu else SHORT):
        return mx.cumsum(a, axis=axis)
    if cpu and a.size <= 4 * SMALL:
        return in_float64(mx.cumsum, a, axis)
    before, block = (slice(None),) * axis, _block(n)
    count = n // block * block
    whole = a if count == n else a[(*before, slice(count))]
    parts = mx.cumsum(mx.unflatten(whole, axis, (-1, block)), axis=axis + 1)
    ends = parts[(*before, slice(None), slice(block - 1, block))]
    past = in_float64(mx.cumsum, ends, axis, inclusive=False) if cpu else mx.cumsum(ends, axis=axis, inclusive=False)
    y = mx.flatten(parts + past, axis, axis + 1)
    if count == n:
        return y
    rest = mx.cumsum(a[(*before, slice(count, n))], axis=axis) + (past + ends)[(*before, -1)]
    return mx.concatenate([y, rest], axis)


def _float32(a, axis, keepdims, rows=False):
    cpu = _on_cpu()
    steps = _steps(a.shape, tuple(axis) if axis.__class__ is list else axis, rows, cpu)
    if steps is None:
        return mx.sum(a, axis, keepdims)
    if not steps:
        return in_float64(mx.sum, a, axis, keepdims)
    axes, order, i, (count, block, left), inner, outer, few = steps
    if rows or a.ndim <= 2:
        a = mx.contiguous(a, allow_col_major=not rows)  # gaps are many times as slow; a transposed matrix isn't copied
    if order:
        a = mx.transpose(a, order)
    if not left:
        y = mx.sum(mx.unflatten(a, i, (count, block)), inner)
    else:
        whole, rest = mx.split(a, [count * block], i)
        y = [mx.sum(mx.unflatten(n, i, (-1, t)), inner) for n, t in ((whole, block), (rest, left))]
        y = mx.concatenate(y, i)
    y = mx.sum(y, outer) if few else in_float64(mx.sum, y, outer) if cpu else _float32(y, outer, False)
    return mx.expand_dims(y, axes) if keepdims else y


@functools.lru_cache(1024)
def _steps(shape, axis, rows, cpu):
    """How an array is summed. None: by MLX; (): in float64; else (axes, how it is transposed before, an axis that is taken apart,
    into (whole blocks, length, numbers left), axes whose sums are taken then, axes of these sums, and whether these are few)."""
    ndim = len(shape)
    axes = sorted({i % ndim for i in (range(ndim) if axis is None else axis if axis.__class__ is tuple else (axis,))})
    terms = math.prod([shape[i] for i in axes])
    if terms <= (FEW if cpu else LONG):
        return None
    if cpu and math.prod(shape) <= SMALL:
        return ()
    # Every b-th number is of one sum where the layout is known, so that these are read at full width.
    if len(axes) == 1 and (rows or ndim == 1) and not terms % _block(terms):
        block = _block(terms)
        return axes, None, axes[0], (block, terms // block, 0), axes[0], axes[0], block + terms // block <= FEW + 1
    # Else in this order, in which MLX reads what is contiguous, transposed or channels-last about as fast as for a plain sum.
    others = [i for i in range(ndim) if i not in axes]
    if not others and ndim > 1 and terms > FEW * shape[1]:
        others = [1]  # what may be channels comes last
    last = [i for i in others if i > axes[-1]] or others[-1:]
    order = [i for i in others if i not in last] + [i for i in axes if i not in others] + last
    first, end = len(others) - len(last), ndim - len(last)
    i, beside = end - 1, 1
    while i > first and beside * shape[order[i]] <= FEW // 4:
        beside *= shape[order[i]]
        i -= 1
    n = shape[order[i]]
    block = min(n, _block(n, beside))
    inner = [i + 1, *range(i + 2, end + 1)]
    outer = [*range(first, i + 1), *([i + 1] if len(axes) == ndim and others else [])]
    few = block * beside + math.ceil(n / block) * (terms // (n * beside)) <= FEW + 1
    return axes, order if order != list(range(ndim)) else None, i, (n // block, block, n % block), inner, outer, few


def in_float64(function, a, axis, *flags, **options):
    """mx.sum or mx.cumsum of a widened, and rounded: for the CPU alone."""
    return function(a.astype(mx.float64), axis, *flags, **options).astype(mx.float32)


def _on_cpu():
    return mx.default_device() == mx.cpu


@functools.lru_cache(1024)
def _block(n, terms=1):
    """How many of n are added with `terms` beside them: as many as may be of those by which n can be divided, best where few enough
    sums are left."""
    most = FEW // terms
    some = [t for t in range(most, most // 3, -1) if t * terms + math.ceil(n / t) <= FEW + 1]
    return next((t for t in some or range(most, most // 3, -1) if n % t == 0), some[0] if some else most)
