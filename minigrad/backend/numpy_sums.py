"""Sums in numpy whose rounding error doesn't grow with the number of terms.

numpy adds pairwise along the axis that is innermost in memory, and one number after the other along every other axis: its sum of
20 million float32 ones over the first axis of a matrix is 16,777,216. Here at most `TERMS` numbers are added in float32, by BLAS as
a product with ones, which takes less time than numpy's sum; their sums are added in float64 and rounded once. float16 is summed in
float32 and rounded once. Sums of float64 are numpy's own.

The worst case: each rounding loses 2⁻²⁴ of the sum of sizes at most. A term is rounded `TERMS` - 1 = 14 times in float32, once when
the sum in float64 becomes float32, and once more when a mean is divided: 16·2⁻²⁴ = 9.54e-7. numpy's own sum serves where it rounds
no term more often, see `_roundings`.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.backend.array import Array

TERMS = 15  # terms that may be added in any order: each is rounded 14 times at most
SMALL = 1 << 12  # numbers that are added in float64 at once
LONG = 1000  # numbers of a row that BLAS adds row by row
CACHED = 1 << 22  # numbers that a cache may hold: more are read one after the other
NARROW = 32  # numbers in a row of which BLAS adds more rows in less time than numpy
ALONE = (
    400_000  # numbers of a matrix that OpenBLAS adds on one thread; threads wait for each other where cores are busy
)
STEPS = 8  # numbers of a block of cumulative sums
ROW = 512  # products of one row that BLAS adds up at a time
FLOAT16, FLOAT32, FLOAT64 = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)
ONES, WIDE_ONES = [np.ones(n, FLOAT32) for n in range(TERMS + 1)], np.ones(SMALL)
_reduce: Any = np.add.reduce
_accumulate: Any = np.add.accumulate
_dot, _matmul = np.ndarray.dot, np.matmul


# The most numbers of a dtype for which numpy's own sum will do; any number where a dtype isn't named.
_AS_NUMPY = {np.dtype(c): math.inf for c in np.typecodes["All"] + "?"} | {FLOAT32: TERMS, FLOAT16: -1}


def total(a, axis=None, keepdims=False) -> Array:
    """Σ over an axis, a tuple of axes, or all (None). In float32 it differs from the exact sum by less than 1e-6·Σ|a|; float16 is
    summed in float32 and rounded once."""
    most = _AS_NUMPY[a.dtype]
    if a.size <= most:
        return _reduce(a, axis, None, None, keepdims)
    if most < 0:
        return total(a.astype(FLOAT32), axis, keepdims).astype(FLOAT16)
    return _in_order(a.shape, a.strides, axis, keepdims)(a)


def columns(a):
    """Σ over the rows of float32 matrices (…, M, N): (…, N)."""
    return _columns(a.shape, a.strides)(a).astype(FLOAT32, copy=False)


@functools.cache
def _roundings(n):
    """How often numpy rounds a term of a sum of n numbers at most: it has eight sums of every eighth number, adds these up and
    then the numbers that are left over; of more than 128 numbers it adds two halves."""
    if n <= 128:
        return n // 8 + 2 + n % 8 if n >= 8 else max(n - 1, 0)
    half = n // 16 * 8
    return 1 + max(_roundings(half), _roundings(n - half))


@functools.lru_cache(4096)
def _rows(shape, strides) -> Callable:
    """What sums arrays of one layout over their last axis, in float32 or, not yet rounded, float64."""
    *lead, width = shape
    if strides[-1] != 4:  # BLAS adds no numbers that are apart; numpy's sums of 576 are rounded 14 times
        lengths = [width // 576 * 576] if width >= 576 else []
        while left := width - sum(lengths):
            lengths.append(next(n for n in range(left, 0, -1) if _roundings(n) < TERMS))
        ends = list(itertools.accumulate(lengths))
        cuts = [(slice(e - n, e), (*lead, -1, min(n, 576))) for n, e in zip(lengths, ends, strict=True)]
        parts = lambda a: [_reduce(a[..., i].reshape(cut), -1) for i, cut in cuts]  # noqa: E731
        return lambda a: _reduce(np.concatenate(parts(a), -1), -1, FLOAT64)
    cached = math.prod(shape) <= CACHED
    terms = 8 if width >= NARROW * 8 and lead and not (cached and width >= LONG) else TERMS  # BLAS adds rows of 8 best
    if terms == TERMS:
        terms = next((t for t in range(TERMS, 8, -1) if width % t == 0), TERMS)
    blocks, left = divmod(width, terms)
    ones, count, rest = ONES[terms], blocks * terms, ONES[left]
    if width >= LONG and (not lead or cached):  # a row is read as 15 shorter ones, which are added
        product, stacked = _matmul if count <= ALONE else _in_pieces, (*lead, terms, blocks)
        sums = lambda a: _reduce(product(ones, a[..., :count].reshape(stacked)), -1, FLOAT64)  # noqa: E731
    elif terms > 8 and lead:  # one product of the same terms of all rows takes less time than one of each row
        pieces = [slice(i, i + ALONE // terms) for i in range(0, lead[-1], ALONE // terms)]

        def sums(a):
            y = np.empty((*lead[:-1], blocks, lead[-1]), FLOAT32)
            a = a[..., :count].reshape(*lead, blocks, terms).swapaxes(-2, -3)
            for piece in pieces:
                _matmul(a[..., piece, :], ones, y[..., piece])
            return _matmul(WIDE_ONES[:blocks], y)

    else:
        stacked = (*lead, blocks, terms)
        sums = lambda a: _reduce(_matmul(a[..., :count].reshape(stacked), ones), -1, FLOAT64)  # noqa: E731
    return (lambda a: sums(a) + _matmul(a[..., count:], rest)) if left else sums


@functools.lru_cache(4096)
def _columns(shape, strides) -> Callable:
    """What sums the rows of matrices of one layout, in float32 or, not yet rounded, float64."""
    *lead, rows, width = shape
    row, step = strides[-2:]
    size, times = math.prod(shape), _matmul if lead else _dot
    if (
        size <= SMALL or step != 4 and TERMS < rows <= SMALL and size <= 4 * SMALL
    ):  # BLAS adds no numbers that are apart
        return lambda a, ones=WIDE_ONES[:rows]: times(ones, a)
    if rows <= TERMS:
        return lambda a: _reduce(a, -2)
    parts = [t for t in range(TERMS, 1, -1) if rows % t == 0]
    twice = [t for t in parts if t + rows // t <= TERMS + 1]  # the sums of blocks, too, may be added in float32
    least = (
        TERMS // 2 if size <= 32 * SMALL else TERMS - 1
    )  # where rows left over cost more than the sums of shorter blocks
    terms = twice[0] if twice else parts[0] if parts and parts[0] >= least else TERMS
    blocks, left = divmod(rows, terms)
    few, last = (..., slice(rows - left), slice(None)), (..., slice(rows - left, None), slice(None))
    ones, left_ones = ONES[terms], ONES[left]
    product, left_product = [times if n * width <= ALONE else _in_pieces for n in (terms * blocks, left)]
    rest = (lambda a: a[..., -1, :]) if left == 1 else lambda a: left_product(left_ones, a[last])
    if blocks == 1:
        return lambda a: product(ones, a[few]) + rest(a)
    one_row, sums, cut = (*lead, terms, blocks * width), (*lead, blocks, width), (*lead, blocks, terms, width)
    first = (lambda a: ones @ a.reshape(cut)) if step == 4 else lambda a: _reduce(a.reshape(cut), -2)
    if step == 4 and row == 4 * width:  # rows that follow each other make long ones
        first = lambda a: product(ones, a.reshape(one_row)).reshape(sums)  # noqa: E731
    if twice:
        return lambda a: (times if blocks * width <= ALONE else _in_pieces)(ONES[blocks], first(a))
    wide_ones = WIDE_ONES[:blocks] if blocks <= SMALL and (width <= NARROW or math.prod(sums) <= 4 * SMALL) else None
    second = (lambda y: _reduce(y, -2, FLOAT64)) if wide_ones is None else lambda y: times(wide_ones, y)
    if not left:
        return lambda a: second(first(a))
    return lambda a: second(first(a[few])) + rest(a)


def _in_pieces(ones, a):
    """ones·a of wide matrices, `ALONE` numbers at a time."""
    *lead, terms, width = a.shape
    length = ALONE // terms
    y, count = np.empty((*lead, width), FLOAT32), width // length * length
    pieces = a[..., :count].reshape(*lead, terms, -1, length).swapaxes(-3, -2)
    _matmul(ones, pieces, out=y[..., :count].reshape(*lead, -1, length))
    if count < width:
        _matmul(ones, a[..., count:], out=y[..., count:])
    return y


def running(a, axis) -> Array:
    """The sums of the first 1, 2, … numbers along an axis: float32 to within 1e-6 of the sum of their sizes; float16 is added up in
    float32 and rounded."""
    if a.dtype == FLOAT32 and a.shape[axis] > TERMS:
        axis %= a.ndim
        beside = math.prod(a.shape[axis + 1 :])
        if a.size <= 4 * SMALL or 1 < beside < NARROW or beside == 1 and a.shape[axis] < LONG:
            y = a.astype(FLOAT64)
            return _accumulate(y, axis, None, y).astype(FLOAT32)
        return _in_steps(a, axis)
    if a.dtype == FLOAT16:
        return running(a.astype(FLOAT32), axis).astype(FLOAT16)
    return _accumulate(a, axis)


def _in_steps(a, axis):
    """numpy adds one number after the other, each of which waits for the sum before: so it adds the second numbers of all blocks of
    `STEPS` at once, then the third ones. What comes before a block is added up in float64. A term is rounded 7 + 1 + 1 times."""
    before, n = (slice(None),) * axis, a.shape[axis]
    blocks, left = divmod(n, STEPS)
    whole, cut = (*before, slice(n - left)), (*a.shape[:axis], blocks, STEPS, *a.shape[axis + 1 :])
    out = np.empty(a.shape, FLOAT32)
    terms, sums = a[whole].reshape(cut), out[whole].reshape(cut)
    places = [(*before, slice(None), i) for i in range(STEPS)]
    sums[places[0]] = terms[places[0]]
    for i in range(1, STEPS):
        np.add(sums[places[i - 1]], terms[places[i]], out=sums[places[i]])
    ends = sums[places[-1]].astype(FLOAT64)
    _accumulate(ends, axis, None, ends)
    past, later = ends[(*before, slice(blocks - 1))].astype(FLOAT32), sums[(*before, slice(1, None))]
    for place in places:
        later[place] += past
    if left:
        rest = a[(*before, slice(n - left, n))].astype(FLOAT64)
        out[(*before, slice(n - left, n))] = (
            _accumulate(rest, axis, None, rest) + ends[(*before, slice(blocks - 1, None))]
        )
    return out


def scatter(shape, index, g):
    """Zeros of `shape` with g added at `index`, an array at least among its entries. Many numbers are added in float64, so that it
    doesn't matter how many meet in one place."""
    if g.dtype not in (FLOAT16, FLOAT32) or g.size <= TERMS and g.dtype == FLOAT32:
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


@functools.lru_cache(4096)
def _in_order(shape, strides, axis, keepdims) -> Callable:
    """What sums arrays of one layout over any axes: these are sorted by their place in memory, and summed from the innermost
    outwards."""
    ndim, size = len(shape), math.prod(shape)
    axes = tuple([i % ndim for i in (range(ndim) if axis is None else axis if axis.__class__ is tuple else (axis,))])
    kept = tuple([1 if i in axes else n for i, n in enumerate(shape)])
    out = kept if keepdims else tuple([n for i, n in enumerate(shape) if i not in axes])
    if math.prod([shape[i] for i in axes]) <= TERMS:
        return lambda a: _reduce(a, axes, None, None, keepdims)
    repeated = [i for i in range(ndim) if shape[i] > 1 and not strides[i]]
    if repeated and (size > SMALL or set(repeated) <= set(axes)):  # what lies there once is summed, and multiplied
        once = tuple([slice(1 if i in repeated else None) for i in range(ndim)])
        times = FLOAT32.type(math.prod([shape[i] for i in axes if i in repeated]))
        if set(repeated) <= set(axes):
            return lambda a: total(a[once], axes, keepdims) * times
        return lambda a: np.full(kept, total(a[once], axes, True) * times).reshape(out)
    if min(strides) < 0 and size > SMALL:
        forwards = tuple([slice(None, None, -1 if s < 0 else 1) for s in strides])
        backwards = tuple([s for i, s in enumerate(forwards) if keepdims or i not in axes])
        return lambda a: total(a[forwards], axes, keepdims)[backwards]
    order = sorted(range(ndim), key=lambda i: abs(strides[i]) if shape[i] > 1 else math.inf, reverse=True)
    inner, steps = [shape[i] for i in order], [strides[i] for i in order]
    places = [i for i, j in enumerate(order) if j in axes and shape[j] > 1]
    end = places.pop() + 1
    first = end - 1
    while places and places[-1] == first - 1 and steps[first - 1] == inner[first] * steps[first]:
        first = places.pop()
    others, outer, length = [order[i] for i in places], tuple(places), math.prod(inner[first:end])
    if end == ndim and _roundings(length) + math.prod([shape[i] for i in others]) <= TERMS + 1:
        return lambda a: _reduce(a, axes, None, None, keepdims)
    if size <= (4 if length < size else 2) * SMALL and (others or end == ndim):
        return lambda a: _reduce(a, axes, FLOAT64, None, keepdims).astype(FLOAT32)
    if end == ndim:  # one after the other in memory: each of `others` is put beside these
        rows, sums = (*inner[:first], length), _rows((*inner[:first], length), (*steps[:first], steps[-1]))
    else:
        rows = (*inner[:first], length, math.prod(inner[end:]))
        sums = _columns(rows, (*steps[:first], steps[end - 1], steps[-1]))
    back = [i for i in sorted(range(ndim), key=order.__getitem__)]
    summed = (*inner[:first], *[1] * (end - first), *inner[end:])
    moved = [i for i in order if i not in axes and shape[i] > 1] != [
        i for i in range(ndim) if i not in axes and shape[i] > 1
    ]

    def sum_in_order(a):
        y = sums((a if order == sorted(order) else a.transpose(order)).reshape(rows))
        if outer or moved:
            y = y.reshape(summed)
            y = (_reduce(y, outer, FLOAT64, None, True) if outer else y).transpose(back)
        return y.reshape(out).astype(FLOAT32, copy=False)

    if ndim == 2 and not keepdims and len(axes) == 1:  # the commonest
        if order == [0, 1]:
            return lambda a: sums(a).astype(FLOAT32, copy=False)
        return lambda a: sums(a.T).astype(FLOAT32, copy=False)
    return sum_in_order
