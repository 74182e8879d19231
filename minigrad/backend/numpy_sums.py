"""Sums in numpy whose rounding error hardly grows with the number of terms.

numpy adds pairwise along the axis that is innermost in memory, and one number after the other along every other axis: its sum of
20 million float32 ones over the first axis of a matrix is 16,777,216. Here at most `TERMS` numbers along another axis are added in
float32, by BLAS as a product with ones, which takes less time than numpy's sum; their sums are added in float64 and rounded once.
float16 is summed in float32 and rounded once. Sums of float64 are numpy's own.
"""

import math
from typing import Any

import numpy as np

TERMS = 16  # terms that may be added in any order: they lose 15·2⁻²⁴ = 9e-7 of the sum of their sizes at most
FEW = 64  # numbers whose cumulative sums are numpy's own
SMALL = 1 << 12  # numbers that are added in float64 at once
NARROW = 32  # numbers in a row of which BLAS adds more rows in less time than numpy
ROW = 512  # products of one row that BLAS adds up at a time
FLOAT16, FLOAT32, FLOAT64 = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)
ONES, WIDE_ONES = np.ones(TERMS, FLOAT32), np.ones(SMALL)
_reduce: Any = np.add.reduce
_accumulate: Any = np.add.accumulate


# The most numbers of a dtype for which numpy's own sum will do; any number where a dtype isn't named.
_AS_NUMPY = {np.dtype(c): math.inf for c in np.typecodes["All"] + "?"} | {FLOAT32: TERMS, FLOAT16: -1}


def total(a, axis=None, keepdims=False):
    """Σ over an axis, a tuple of axes, or all (None). In float32 it differs from the exact sum by less than 1e-6·Σ|a|; float16 is
    summed in float32 and rounded once."""
    if a.size <= _AS_NUMPY[a.dtype]:
        return _reduce(a, axis, None, None, keepdims)
    if a.dtype == FLOAT16:
        return total(a.astype(FLOAT32), axis, keepdims).astype(FLOAT16)
    ndim, shape, flags = a.ndim, a.shape, a.flags
    if axis.__class__ is tuple:
        axes = axis if len(axis) == 1 and axis[0] >= 0 else sorted([i % ndim for i in axis])
    else:
        axes = range(ndim) if axis is None else (axis % ndim,)
    first, end, kept = axes[0], axes[-1] + 1, ndim - len(axes)
    if flags.forc and not kept:
        return _reduce(a, axis, None, None, keepdims)
    if not flags.c_contiguous or end - first != len(axes):
        return _in_order(a, axes, keepdims)
    if end == ndim or (terms := math.prod(shape[first:end])) <= TERMS or a.size == terms:
        return _reduce(a, axis, None, None, keepdims)
    y = columns(a if ndim == 2 else a.reshape(*shape[:first], terms, -1))
    if keepdims:
        return y.reshape(shape[:first] + (1,) * len(axes) + shape[end:])
    return y if y.ndim == kept else y.reshape(shape[:first] + shape[end:])


def columns(a):
    """Σ over the rows of float32 matrices (…, M, N): (…, N)."""
    if a.size <= SMALL:
        return _in_float64(a).astype(FLOAT32)
    *lead, rows, width = a.shape
    if rows <= TERMS:
        return _reduce(a, -2)
    row, step = a.strides[-2:]
    if row < 0:
        a, row = a[..., ::-1, :], -row
    if step != a.itemsize:
        a, row = np.ascontiguousarray(a), width * a.itemsize
    blocks, rest = divmod(rows, TERMS)
    whole = a[..., : rows - rest, :] if rest else a
    if row == width * a.itemsize:  # rows that follow each other make long ones
        sums = _dot(ONES, whole.reshape(*lead, TERMS, blocks * width)).reshape(*lead, blocks, width)
    else:
        sums = ONES @ whole.reshape(*lead, blocks, TERMS, width)
    y = _in_float64(sums)
    if rest:
        y += _reduce(a[..., rows - rest :, :], -2)
    return y.astype(FLOAT32)


def _in_float64(a):
    """Σ over the rows of matrices, in float64."""
    if a.size > SMALL and a.shape[-1] > NARROW:
        return _reduce(a, -2, FLOAT64)
    n = a.shape[-2]
    return _dot(WIDE_ONES[:n] if n <= SMALL else np.ones(n), a.astype(FLOAT64))


def _dot(v, a):
    return v.dot(a) if a.ndim == 2 else v @ a


def running(a, axis):
    """The sums of the first 1, 2, … numbers along an axis: of float32 added up in float64, of float16 in float32, and rounded."""
    if a.size <= FEW and a.dtype != FLOAT16:
        return _accumulate(a, axis)
    if a.dtype == FLOAT16:
        return running(a.astype(FLOAT32), axis).astype(FLOAT16)
    if a.dtype != FLOAT32 or a.shape[axis] <= TERMS:
        return _accumulate(a, axis)
    return _running(a, axis % a.ndim).astype(FLOAT32, copy=False)


def _running(a, axis):
    """numpy adds one number after the other, each of which waits for the sum before: so sums of pairs are made first, of which
    the running sums are taken in the same way, and are every second of those of a."""
    n = a.shape[axis]
    if a.size <= SMALL or n <= TERMS:
        return _accumulate(a, axis, FLOAT64)

    def part(x, *limits):
        return x[(slice(None),) * axis + (slice(*limits),)]

    out = np.empty(a.shape, a.dtype)
    pairs = _running(np.add(part(a, 0, n // 2 * 2, 2), part(a, 1, n, 2), dtype=FLOAT64), axis)
    part(out, 1, n, 2)[...] = pairs
    part(out, 1)[...] = part(a, 1)
    np.add(part(pairs, (n - 1) // 2), part(a, 2, n, 2), out=part(out, 2, n, 2), casting="same_kind")
    return out


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
    """The sum over any axes of any array: they are sorted by their place in memory, and summed from the innermost outwards."""
    ndim, shape, strides = a.ndim, a.shape, a.strides
    if math.prod([shape[i] for i in axes]) <= TERMS:
        return _reduce(a, tuple(axes), None, None, keepdims)
    if ndim == 2 and len(axes) == 1:
        y = a.T if axes[0] else a
        if strides[0] and strides[1] and (a.size <= SMALL or y.strides[1] == a.itemsize):
            return columns(y).reshape([1 if i in axes else n for i, n in enumerate(shape)]) if keepdims else columns(y)
    usual = min(strides) > 0
    if not usual:  # numbers that lie backwards, and one number that is repeated
        a = a[tuple([slice(None, None, -1) if s < 0 else slice(None if s else 1) for s in strides])]
    order = sorted(range(ndim), key=[-abs(s) if n > 1 else -math.inf for s, n in zip(a.strides, a.shape)].__getitem__)
    y = a.transpose(order)
    y = _sorted(y, [i for i, j in enumerate(order) if j in axes])
    y = y.transpose(sorted(range(ndim), key=order.__getitem__))
    if not usual:
        y = y[tuple([slice(None, None, -1 if s < 0 and i not in axes else 1) for i, s in enumerate(strides)])]
        y = y * FLOAT32.type(math.prod([n for i, n in enumerate(shape) if not strides[i] and i in axes]))
        y = np.broadcast_to(y, [1 if i in axes else n for i, n in enumerate(shape)])
    return y if keepdims else y.reshape([n for i, n in enumerate(shape) if i not in axes])


def _sorted(a, axes):
    """Σ over axes, which are kept, of an array whose axes lie in memory in their order."""
    end = axes[-1] + 1
    first = max(i for i in range(end) if i - 1 not in axes)
    if a.flags.c_contiguous and first == axes[0]:
        return total(a, tuple(axes), True)
    if end < a.ndim:
        shape = a.shape
        y = columns(a.reshape(*shape[:first], math.prod(shape[first:end]), -1))
        y = y.reshape(shape[:first] + (1,) * (end - first) + shape[end:])
    else:
        if not a[(0,) * first].flags.c_contiguous:  # rows that are apart
            first = end - 1
        if math.prod([a.shape[i] for i in axes if i < first]) <= TERMS:
            first = 0
        y = _reduce(a, tuple([i for i in axes if i >= first]), None, None, True)
    rest = [i for i in axes if i < first]
    return total(y, tuple(rest), True) if rest else y
