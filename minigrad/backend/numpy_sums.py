"""Sums in numpy whose rounding error hardly grows with the number of terms.

numpy adds pairwise along the axis that is innermost in memory, and one number after the other along every other axis: its sum of
20 million float32 ones over the first axis of a matrix is 16,777,216. Here a sum of many terms over such an axis is taken over
blocks of `TERMS` rows, and the blocks' sums are summed in the same way; short rows that follow each other in memory are added as
long ones, which numpy does many times as fast. float16 is summed in float32 and rounded once. Sums of float64 are numpy's own.
"""

import itertools
import math
from typing import Any

import numpy as np

FEW = 64  # terms that may be added one after the other: 64 equal numbers lose 9.8e-7 of their sum at most
TERMS = 16  # so many where sums are summed again
WIDTH = 1024  # numbers of a block's sum at a time, which stay in the nearest cache
PART = 1 << 14  # numbers of a cumulative sum at a time
ROW = 512  # products of one row that BLAS adds up at a time
SMALL = 1 << 12  # numbers for which another way to add them than numpy's own wouldn't pay
FLOAT16, FLOAT32, FLOAT64 = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)
ONES = np.ones(2 * TERMS, np.float32)
_reduce: Any = np.add.reduce


# The most numbers of a dtype for which numpy's own sum will do; any number where a dtype isn't named.
_AS_NUMPY = {np.dtype(c): math.inf for c in np.typecodes["All"] + "?"} | {FLOAT32: FEW, FLOAT16: -1}


def total(a, axis=None, keepdims=False):
    """Σ over an axis, a tuple of axes, or all (None). In float32 it differs from the exact sum by less than 1e-6·Σ|a|; float16 is
    summed in float32 and rounded once."""
    if a.size <= _AS_NUMPY[a.dtype]:
        return _reduce(a, axis, None, None, keepdims)
    if a.dtype == FLOAT16:
        return total(a.astype(FLOAT32), axis, keepdims).astype(FLOAT16)
    flags, shape, size = a.flags, a.shape, a.size
    axes = axis if axis.__class__ is tuple else tuple(range(a.ndim)) if axis is None else (axis,)
    terms = 1
    for i in axes:
        terms *= shape[i]
    dense = flags.forc
    if dense and terms == size or terms <= FEW and (dense or 0 not in a.strides):  # 0: one number, repeated
        return _reduce(a, axis, None, None, keepdims)
    ndim = a.ndim
    if flags.c_contiguous:
        axes = tuple([i % ndim for i in axes])
        along, i = 1, ndim - 1  # how many terms follow each other in memory
        while i in axes:
            along *= shape[i]
            i -= 1
        if terms <= FEW * along:
            return _reduce(a, axis, None, None, keepdims)
        if max(axes) == len(axes) - 1:  # the outermost axes
            y = columns(a.reshape(terms, size // terms))
            return y.reshape((1,) * len(axes) + shape[len(axes) :] if keepdims else shape[len(axes) :])
    if size <= SMALL:
        return _reduce(a, axis, FLOAT64, None, keepdims).astype(FLOAT32)
    return _in_order(a, tuple([i % ndim for i in axes]), keepdims)


def columns(a):
    """Σ over the rows of float32 matrices (…, M, N): (…, N)."""
    *lead, rows, width = a.shape
    if rows < 2 * TERMS:
        return _reduce(a, -2)
    if a.strides[-2] == width * a.itemsize:  # rows that follow each other make long ones
        merged = max(1, min(WIDTH // width, rows // TERMS))
        blocks = rows // (TERMS * merged)
        count = blocks * TERMS * merged
        sums = _reduce(a[..., :count, :].reshape(*lead, blocks, TERMS, merged * width), -2)
    else:  # BLAS adds rows that are apart in less time
        merged, blocks = 1, rows // (2 * TERMS)
        count = blocks * 2 * TERMS
        sums = ONES @ a[..., :count, :].reshape(*lead, blocks, 2 * TERMS, width)
    y = columns(sums.reshape(*lead, blocks * merged, width))
    return y if count == rows else y + columns(a[..., count:, :])


def running(a, axis):
    """The sums of the first 1, 2, … numbers along an axis: of float32 added up in float64, of float16 in float32, and rounded."""
    if a.dtype == FLOAT16:
        return running(a.astype(FLOAT32), axis).astype(FLOAT16)
    n = a.shape[axis]
    if a.dtype != FLOAT32 or n <= FEW:
        return np.add.accumulate(a, axis)
    if a.size <= SMALL:
        return np.add.accumulate(a, axis, FLOAT64).astype(FLOAT32)
    # Some numbers at a time, which stay in the cache in their twofold width.
    axis, shape = axis % a.ndim, a.shape
    lead, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    step, rows = max(1, PART // inner), max(1, PART // (n * inner))
    axis, sizes = int(lead > 1), [k for k in (lead, n, inner) if k > 1]
    a, out = np.ascontiguousarray(a).reshape(sizes), np.empty(sizes, FLOAT32)
    for i in range(0, lead, rows):
        past = 0.0
        for j in range(0, n, step):
            place = (slice(i, i + rows), slice(j, j + step))[1 - axis :]
            part = a[place].astype(FLOAT64)
            part[(slice(None),) * axis + (0,)] += past
            np.add.accumulate(part, axis, out=part)
            out[place] = part
            past = part[(slice(None),) * axis + (-1,)]
    return out.reshape(shape)


def scatter(shape, index, g):
    """Zeros of `shape` with g added at `index`, an array at least among its entries. Many numbers are added in float64, so that it
    doesn't matter how many meet in one place."""
    if g.dtype not in (FLOAT16, FLOAT32) or g.size <= FEW and g.dtype == FLOAT32:
        return _added(shape, index, g, g.dtype)
    if math.prod(shape) <= 4 * g.size:
        return _added(shape, index, g, FLOAT64).astype(g.dtype)
    arrays = [i for i, p in enumerate(index) if isinstance(p, np.ndarray)]
    if len(arrays) > 1 or any(p != slice(None) for i, p in enumerate(index) if i not in arrays):
        return _added(shape, index, g, FLOAT32).astype(g.dtype, copy=False)
    # Few places of many along one axis: those that occur are summed, and put into their places.
    (axis,) = arrays
    places, number = np.unique(index[axis], return_inverse=True)
    before, rest = index[:axis], index[axis + 1 :]
    sums = _added((*shape[:axis], len(places), *shape[axis + 1 :]), (*before, number, *rest), g, FLOAT64)
    out = np.zeros(shape, g.dtype)
    out[(*before, places, *rest)] = sums
    return out


def _added(shape, index, g, dtype):
    out = np.zeros(shape, dtype)
    np.add.at(out, index, g.astype(dtype, copy=False))
    return out


def weighted(w, a):
    """w·a, Σᵢ wᵢ·aᵢ over the rows of a matrix: (M,), (M, N) → (N,)."""
    rows, width = a.shape
    blocks = rows // TERMS
    if blocks < 2:
        return w @ a
    count = blocks * TERMS
    parts = w[:count].reshape(blocks, 1, TERMS) @ a[:count].reshape(blocks, TERMS, width)
    y = total(parts.reshape(blocks, width), 0)
    return y if count == rows else y + w[count:] @ a[count:]


def products(a, w):
    """a·w for the rows of a matrix and one column, (M, K), (K, 1) → (M, 1). BLAS adds the products of long rows less exactly."""
    rows, length = a.shape
    blocks = length // ROW
    if blocks < 2:
        return a @ w
    count = blocks * ROW
    parts = a[:, :count].reshape(rows, blocks, 1, ROW) @ w[:count].reshape(blocks, ROW, 1)
    y = _reduce(parts.reshape(rows, blocks), 1, None, None, True)
    return y if count == length else y + a[:, count:] @ w[count:]


def _in_order(a, axes, keepdims):
    """The sum over any axes of any array: they are sorted by their place in memory, and those of one kind that follow each other
    become one; then the innermost is summed first."""
    factor, shape = 1, a.shape
    for i in axes:
        if a.strides[i] <= 0 and a.shape[i] > 1:
            before = (slice(None),) * i
            if a.strides[i]:
                a = a[(*before, slice(None, None, -1))]
            else:  # one number, repeated
                factor *= a.shape[i]
                a = a[(*before, slice(0, 1))]
    order = sorted(range(a.ndim), key=[-abs(s) for s in a.strides].__getitem__)
    lengths: list[int] = []
    reduced: list[bool] = []
    outer = None
    for i in order:
        n, stride, gone = a.shape[i], a.strides[i], i in axes
        if n == 1:
            continue
        if lengths and gone is reduced[-1] and outer == n * stride:
            lengths[-1] *= n
        else:
            lengths.append(n)
            reduced.append(gone)
        outer = stride
    y = a.transpose(order).reshape(lengths)
    places = [i for i, gone in enumerate(reduced) if gone]
    if math.prod([lengths[i] for i in places if i < len(lengths) - 1]) <= FEW:
        y = _reduce(y, tuple(places))
    else:
        if reduced[-2:] == [True, True]:  # rows that don't follow each other: their sum first
            places[-2:] = places[-1], places[-2]
        for i in reversed(places):
            y = _over(y, min(i, y.ndim - 1))
    if factor > 1:
        y = y * FLOAT32.type(factor)
    kept = [i for i in order if i not in axes]
    y = y.reshape([shape[i] for i in kept])
    if any(i > j for i, j in itertools.pairwise(kept)):
        y = y.transpose(sorted(range(len(kept)), key=kept.__getitem__))
    if keepdims:
        return y.reshape([1 if i in axes else n for i, n in enumerate(shape)])
    return y


def _over(a, i):
    """Σ over axis i of an array whose axes lie in memory in their order."""
    n, inner = a.shape[i], a.ndim - 1 - i
    if n <= TERMS or not inner:
        return _reduce(a, i)
    if inner == 1 and a.strides[-1] == a.itemsize:
        return columns(a)
    before = (slice(None),) * i
    blocks = n // TERMS
    whole = a[(*before, slice(0, blocks * TERMS))].reshape(*a.shape[:i], blocks, TERMS, *a.shape[i + 1 :])
    y = _over(_reduce(whole, i + 1), i)
    return y + _reduce(a[(*before, slice(blocks * TERMS, n))], i) if n % TERMS else y
