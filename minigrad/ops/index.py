"""Indexing.

`getitem` and `scatter` are each other's derivative: one reads positions, the other adds into zeros at them, positions
named twice receiving the sum.
"""

from minigrad.engine.operation import op

__all__ = ["getitem", "scatter"]


@op
def getitem(xp, a, *, index):
    return a[index]


@op
def scatter(xp, g, *, shape, index):
    """Zeros of `shape` with g added at `index`."""
    return xp.scatter(shape, index, g)


getitem.defvjp(lambda ops, g, a_shape, index: ops.scatter(g, shape=a_shape, index=index))
scatter.defvjp(lambda ops, g, index: ops.getitem(g, index=index))
