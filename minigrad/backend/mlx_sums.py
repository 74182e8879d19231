"""Sums in MLX whose rounding error doesn't grow with the number of terms, and 16-bit numbers summed in float32.

MLX's CPU device adds one number after the other. Here it adds blocks of up to `TERMS` terms of one axis, whose sums are added in
float64, and arrays of which blocks would be slow to read in float64 at once. Metal has no float64, but its kernels add in parallel,
so that only very long sums are taken in blocks there.

The worst case on the CPU device: each rounding loses 2⁻²⁴ of the sum of sizes at most. A term is rounded `TERMS` - 1 = 14 times in a
block, or 15 times in two sums in float32, once when the sum in float64 becomes float32, and once more when a mean is divided:
16·2⁻²⁴ = 9.54e-7. Arrays of three dimensions and more than `MEDIUM` numbers, or matrices of more than `LARGE`, have blocks of `BLOCK`
terms, and so 66·2⁻²⁴ = 3.9e-6 where 1 comes first in a block and is followed by halves of its last digit: shorter blocks of an array
whose order in memory isn't known take up to 20 times as long as MLX's own sum, and to widen it takes twice its memory.
"""

import functools
import math
from collections.abc import Callable

import mlx.core as mx
import numpy as np

TERMS = 15  # terms that may be added one after the other: each is rounded 14 times at most
BLOCK = 64  # the same in large arrays, see above, and where a GPU adds in parallel
LONG, SHORT = 1 << 20, 256  # terms that a GPU's kernels add well enough, and cumulatively
SMALL = 1 << 14  # numbers of an array that is widened as a whole
MEDIUM = 1 << 17  # the same where blocks are slow to read, see `_widened`; more have long blocks, see `_most`
LARGE = 1 << 22  # numbers of a matrix that has short blocks
WIDENED = 1 << 15  # the same for cumulative sums
HALVES = (mx.float16, mx.bfloat16)


def wide(a):
    """16-bit floating-point numbers as float32, anything else as it is."""
    return a.astype(mx.float32) if a.dtype in HALVES else a


def total(a, axis=None, keepdims=False, rows=False):
    """Σ over an axis, a tuple of axes, or all (None); 16-bit numbers are summed in float32 and rounded once. For
    `rows` see `mean`."""
    return _steps(a.shape, a.dtype, tuple(axis) if axis.__class__ is list else axis, keepdims, rows, _on_cpu())(a)


def mean(a, axis=None, keepdims=False, rows=False):
    """Σ / n, likewise. `rows` is for the last axis of what probably lies row by row in memory: twice as quick there, slow elsewhere."""
    if not a.size:
        return mx.full(np.empty(a.shape, bool).any(axis, keepdims=keepdims).shape, math.nan, a.dtype)
    y = total(wide(a), axis, keepdims, rows)
    return (y / (a.size // y.size)).astype(a.dtype)


def running(a, axis):
    """The sums of the first 1, 2, … numbers along an axis, likewise."""
    if a.dtype != mx.float32:
        return running(a.astype(mx.float32), axis).astype(a.dtype) if a.dtype in HALVES else mx.cumsum(a, axis=axis)
    axis, n, cpu = axis % a.ndim, a.shape[axis], _on_cpu()
    most = _most(a.shape) - 1 if cpu else BLOCK
    if n <= (most + 1 if cpu else SHORT):
        return mx.cumsum(a, axis=axis)
    before, block = (slice(None),) * axis, _block(n, most)
    if cpu and a.size <= (WIDENED if n % block == 0 else 4 * WIDENED):
        return in_float64(mx.cumsum, a, axis)
    count = n // block * block
    whole = a if count == n else a[(*before, slice(count))]
    parts = mx.cumsum(mx.unflatten(whole, axis, (-1, block)), axis=axis + 1)
    ends = parts[(*before, slice(None), slice(block - 1, block))]
    few = not cpu or block + count // block <= most + 3
    past = mx.cumsum(ends, axis=axis, inclusive=False) if few else in_float64(mx.cumsum, ends, axis, inclusive=False)
    y = mx.flatten(parts + past, axis, axis + 1)
    if count == n:
        return y
    rest = mx.cumsum(a[(*before, slice(count, n))], axis=axis) + (past + ends)[(*before, -1)]
    return mx.concatenate([y, rest], axis)


@functools.lru_cache(1024)
def _steps(shape, dtype, axis, keepdims, rows, cpu) -> Callable:
    """What sums arrays of one shape."""
    if 0 in shape:  # mx.sum of no numbers may never return on the CPU (0.32.4)
        out = np.empty(shape, bool).any(axis, keepdims=keepdims).shape
        return lambda a: mx.zeros(out, dtype)
    ndim = len(shape)
    axes = sorted({i % ndim for i in (range(ndim) if axis is None else axis if axis.__class__ is tuple else (axis,))})
    terms = math.prod([shape[i] for i in axes])
    most = _most(shape) if cpu else BLOCK
    few = terms <= (most if cpu else LONG)
    if cpu and not few and dtype in (mx.float32, *HALVES) and not rows and _widened(shape, axes):
        return lambda a: in_float64(mx.sum, a, axis, keepdims)
    if dtype in HALVES:
        in_float32 = _steps(shape, mx.float32, axis, keepdims, rows, cpu)
        return lambda a: in_float32(a.astype(mx.float32)).astype(dtype)
    if few or dtype != mx.float32:
        return lambda a: mx.sum(a, axis, keepdims)
    i, (count, block, left), order, inner, outer, few = _blocks(shape, axes, terms, rows, most)

    def sums(a, count, block):
        a = mx.unflatten(a, i, (count, block))
        return mx.sum(a if order is None else mx.transpose(a, order), inner)

    def run(a):
        if rows or ndim <= 2:  # gaps are many times as slow; a transposed matrix isn't copied
            a = mx.contiguous(a, allow_col_major=not rows)
        if not left:
            y = sums(a, count, block)
        else:
            whole, rest = mx.split(a, [count * block], i)
            y = mx.concatenate([sums(whole, count, block), sums(rest, 1, left)], order.index(i))
        y = mx.sum(y, outer) if few else in_float64(mx.sum, y, outer) if cpu else total(y, outer)
        return mx.expand_dims(y, axes) if keepdims else y

    return run


def _most(shape):
    """How many terms the CPU device adds one after the other, see the module's text."""
    size, ndim = math.prod(shape), len(shape)
    return TERMS if size <= MEDIUM or ndim == 1 or ndim == 2 and size <= LARGE else BLOCK


def _widened(shape, axes):
    """Whether blocks of an array in float32 would take longer to read than all of it to widen."""
    size, ndim = math.prod(shape), len(shape)
    if size <= SMALL or size > MEDIUM or ndim == 1:
        return size <= SMALL
    return axes == [ndim - 1] != [1] or ndim == len(axes) and (ndim > 2 or min(shape) <= TERMS)


def _blocks(shape, axes, terms, rows, most):
    """How sums are taken in blocks: (an axis that is taken apart, into (blocks, length, numbers left), how the array is transposed
    then, axes of a block, axes of these sums, and whether these are few)."""
    ndim = len(shape)
    if len(axes) == 1 and (rows or ndim == 1) and not terms % (block := _block(terms, most, least=most // 3)):
        # Every b-th number is of one sum where the layout is known, so that these are read at full width.
        (i,) = axes
        return i, (block, terms // block, 0), None, i, i, block + terms // block <= most + 2
    # Else MLX is to read what is contiguous, transposed or channels-last about as fast as for a plain sum.
    full: list = []  # axes that are in one block as a whole
    i, beside = min(ndim, 3) - 2, 1
    if i in axes and shape[i] >= 8:  # rows, or what may be channels, go first
        before, last = list(range(i)), list(range(i + 1, ndim))
    else:
        others = [j for j in range(ndim) if j not in axes]
        if not others and ndim > 1 and terms > 64 * shape[1]:
            others = [1]  # what may be channels comes last
        last = [j for j in others if j > axes[-1]] or others[-1:]
        *more, i = [j for j in axes if j not in others]
        while more and beside * shape[i] <= most // 4:
            full, beside, i = [i, *full], beside * shape[i], more.pop()
        before = [j for j in others if j not in last] + more
    n = shape[i]
    block = min(n, _block(n, most, beside, most // 2 if math.prod(shape) <= MEDIUM else None))
    few = block * beside + math.ceil(n / block) * (terms // (n * beside)) <= most + 2
    head, within, tail = ([j + (j > i) for j in some] for some in ([*before, i], full, last))
    within.insert(0, i + 1)
    order = [*head, *within, *tail] if full else [*head, *tail, *within]  # one axis is read best as the last one
    outer = [k for k, j in enumerate([*before, i, *last]) if j in axes]
    return i, (n // block, block, n % block), order, [order.index(j) for j in within], outer, few


def in_float64(function, a, axis, *flags, **options):
    """mx.sum or mx.cumsum of a widened, and rounded: for the CPU alone."""
    return function(a.astype(mx.float64), axis, *flags, **options).astype(a.dtype)


def _on_cpu():
    return mx.default_device() == mx.cpu


@functools.lru_cache(1024)
def _block(n, most, terms=1, least=None):
    """How many of n are added with `terms` beside them, `most` in all: as many as may be of those by which n can be divided, unless
    these are few; best where few enough sums are left."""
    longest = most // terms
    some = [t for t in range(longest, 1, -1) if t * terms + math.ceil(n / t) <= most + 2]
    lengths = some or range(longest, least or longest * 2 // 3, -1)
    return next((t for t in lengths if n % t == 0), some[0] if some else longest)
