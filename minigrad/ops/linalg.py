"""Matrix products."""

import math

from minigrad.engine.operation import op

__all__ = ["matmul", "linear", "linear_weight"]


@op
def matmul(xp, a, b):
    return xp.matmul(a, b)


matmul.defvjp(
    lambda ops, g, b, a_shape: ops.sum_to(ops.matmul(g, ops.mT(b)), shape=a_shape),
    lambda ops, g, a, b_shape: ops.sum_to(ops.matmul(ops.mT(a), g), shape=b_shape),
)


@op
def linear(xp, x, w, b):
    y = xp.linear(_rows(xp, x), xp.transpose(w), b)
    return xp.reshape(y, (*x.shape[:-1], w.shape[0]))


def _rows(xp, a):
    """a as a matrix: its last dimension, and all others in one."""
    return a if a.ndim == 2 else xp.reshape(a, (math.prod(a.shape[:-1]), a.shape[-1]))


@op
def linear_weight(xp, g, x):
    """Σ over rows of g (…, O) and x (…, K): (O, K), the derivative of `linear` by its weight."""
    return xp.transposed_product(_rows(xp, g), _rows(xp, x))


linear.defvjp(
    lambda ops, g, w: ops.linear(g, ops.mT(w), None),
    lambda ops, g, x: ops.linear_weight(g, x),
    lambda ops, g, x_shape: ops.sum(g, dim=tuple(range(len(x_shape) - 1)), keepdim=False),
)
linear_weight.defvjp(lambda ops, g, x: ops.linear(x, g, None), lambda ops, h, g: ops.linear(g, ops.mT(h), None))
