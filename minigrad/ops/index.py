"""Indexing.

`getitem` and `scatter` are each other's derivative: one reads positions, the other adds into zeros at them, positions
named twice receiving the sum.
"""

import numpy as np

from minigrad.engine.operation import op

__all__ = ["getitem", "scatter", "update", "erase", "diagonal", "put_diagonal", "windows"]


@op
def getitem(xp, a, *, index):
    return a[(*index, ...)]  # of a single element, too, an array that shares the memory


@op
def scatter(xp, g, *, shape, index):
    """Zeros of `shape` with g added at `index`."""
    return xp.scatter(shape, index, g)


getitem.defvjp(lambda ops, g, a_shape, index: ops.scatter(g, shape=a_shape, index=index))
scatter.defvjp(lambda ops, g, index: ops.getitem(g, index=index))


# --- writing ----------------------------------------------------------------------------------------------------------
@op
def update(xp, a, b, *, index, reuse=False):
    """a with b at `index`, in a's own memory if that may be written."""
    if reuse:
        a[index] = b
        return a
    return xp.set_at(a, index, b)


@op
def erase(xp, a, *, index):
    """a with zeros at `index`."""
    return xp.set_at(a, index, 0)


update.defvjp(lambda ops, g, index: ops.erase(g, index=index), lambda ops, g, index: ops.getitem(g, index=index))
erase.defvjp(lambda ops, g, index: ops.erase(g, index=index))


def _part(sizes, strides, index):
    """What numbers and slices show."""
    rest, found = len(index), []
    for p, n, stride in zip(index, sizes, strides, strict=False):
        if isinstance(p, slice):
            span = range(n)[p]
            found.append((len(span), span.step * stride))
    return (*[n for n, _ in found], *sizes[rest:]), (*[stride for _, stride in found], *strides[rest:])


def _has_arrays(ties, index):
    return any([p.__class__ is not int and p.__class__ is not slice for p in index])


getitem.defview(_part, lambda ops, base, part, index: ops.update(base, part, index=index), _has_arrays)


# --- other views ------------------------------------------------------------------------------------------------------
@op
def diagonal(xp, a, *, offset):
    """The elements a[…, i, i + offset]."""
    return a[_on_diagonal(xp, a.shape, offset)]


@op
def put_diagonal(xp, g, *, shape, offset):
    """Zeros of `shape` with g on a diagonal of the last two dimensions."""
    return xp.scatter(shape, _on_diagonal(xp, shape, offset), g)


def _on_diagonal(xp, shape, offset):
    rows = np.arange(_length(shape, offset)) - min(offset, 0)
    return (*[slice(None)] * (len(shape) - 2), xp.asarray(rows), xp.asarray(rows + offset))


def _length(shape, offset):
    return max(0, min(shape[-2] + min(offset, 0), shape[-1] - max(offset, 0)))


diagonal.defvjp(lambda ops, g, a_shape, offset: ops.put_diagonal(g, shape=a_shape, offset=offset))
put_diagonal.defvjp(lambda ops, g, offset: ops.diagonal(g, offset=offset))
diagonal.defview(
    lambda sizes, strides, offset: ((*sizes[:-2], _length(sizes, offset)), (*strides[:-2], strides[-2] + strides[-1]))
)


@op
def windows(xp, a, *, index, step):
    """a[index], of which the last is a matrix of positions, a window of neighbours in each row, `step` apart."""
    return a[index]


def _windows(sizes, strides, index, step):
    dim, (count, size) = len(index) - 1, index[-1].shape
    apart = step * strides[dim]
    return (*sizes[:dim], count, size, *sizes[dim + 1 :]), (*strides[:dim], apart, *strides[dim:])


windows.defvjp(lambda ops, g, a_shape, index: ops.scatter(g, shape=a_shape, index=index))
windows.defview(_windows)
