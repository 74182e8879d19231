"""Reductions over dimensions, softmax, cumulative sums. `dim` is a number or a tuple of numbers, none negative."""

import builtins
import math

from minigrad.dtypes import HALVES, bfloat16, float16
from minigrad.engine.modes import AUTOCAST, state
from minigrad.engine.operation import op

__all__ = [
    "sum", "mean", "cumsum", "amax", "amin", "argmax", "argmin", "any", "all", "logsumexp", "softmax",
    "log_softmax",
]  # fmt: skip


def _kept(shape, dim):
    """The shape with the reduced dimensions as 1."""
    return tuple(1 if i in dim else n for i, n in enumerate(shape))


def _spread(xp, g, shape, dim, keepdim):
    """A reduced gradient repeated over the reduced dimensions."""
    return xp.broadcast_to(g if keepdim else xp.reshape(g, shape=_kept(shape, dim)), shape=shape)


def widened(input):
    """16-bit floating point numbers as float32, in which sums and statistics of them are computed: they would end at 2,048 ones
    (float16) or 256 (bfloat16), and squares overflow at 256 (float16) or keep two digits (bfloat16)."""
    return input.astype("float32") if input.dtype in (float16, bfloat16) else input


def narrowed(result, dtype):
    """What was computed of `widened` numbers, in their dtype again; within `autocast` it stays in float32."""
    return result if state.mode & AUTOCAST else result.astype(dtype)


# --- sums and means ---------------------------------------------------------------------------------------------------
@op
def sum(xp, a, *, dim, keepdim):
    return xp.sum(a, axis=dim, keepdims=keepdim)


sum.defvjp(lambda ops, g, a_shape, dim, keepdim: _spread(ops, g, a_shape, dim, keepdim))


@op
def mean(xp, a, *, dim, keepdim):
    return xp.mean(a, axis=dim, keepdims=keepdim)


mean.defvjp(
    lambda ops, g, a_shape, a_dtype, dim, keepdim: _spread(
        ops, _divided(ops, g, _count(a_shape, dim), a_dtype), a_shape, dim, keepdim
    )
)


def _divided(xp, g, count, dtype):
    """g / count; 16 bits hold neither large counts nor their reciprocals."""
    if dtype in HALVES:
        return xp.cast(xp.cast(g, dtype="float32") * (1 / count), dtype=dtype)
    return g * (1 / count)


def _count(shape, dim):
    return builtins.max(math.prod(shape[i] for i in dim), 1)


@op
def cumsum(xp, a, *, dim, reverse):
    if not a.ndim:
        return a
    if not reverse:
        return xp.cumsum(a, axis=dim)
    back = (slice(None),) * dim + (slice(None, None, -1),)
    return xp.cumsum(a[back], axis=dim)[back]


cumsum.defvjp(lambda ops, g, dim, reverse: ops.cumsum(g, dim=dim, reverse=not reverse))


# --- extremes ---------------------------------------------------------------------------------------------------------
@op
def amax(xp, a, *, dim, keepdim):
    return xp.max(a, axis=dim, keepdims=keepdim)


@op
def amin(xp, a, *, dim, keepdim):
    return xp.min(a, axis=dim, keepdims=keepdim)


def _shared(xp, g, a, y, a_shape, a_dtype, dim, keepdim):
    """The gradient shared evenly among the elements that equal the extreme; no others see it, be it infinite or NaN."""
    top = _spread(xp, y, a_shape, dim, keepdim)
    hit = (a == top) | ((a != a) & (top != top))  # a NaN is the extreme where there is one
    dtype = "float32" if a_dtype in HALVES else a_dtype
    count = xp.sum(xp.cast(hit, dtype=dtype), dim=dim, keepdim=keepdim)
    share = xp.cast(xp.cast(g, dtype=dtype) / count, dtype=a_dtype)
    return xp.where(hit, _spread(xp, share, a_shape, dim, keepdim), 0.0)


amax.defvjp(lambda ops, g, a, y, a_shape, a_dtype, dim, keepdim: _shared(ops, g, a, y, a_shape, a_dtype, dim, keepdim))
amin.defvjp(lambda ops, g, a, y, a_shape, a_dtype, dim, keepdim: _shared(ops, g, a, y, a_shape, a_dtype, dim, keepdim))


@op
def argmax(xp, a, *, dim, keepdim):
    return xp.astype(xp.argmax(a, axis=dim, keepdims=keepdim), "int64")


@op
def argmin(xp, a, *, dim, keepdim):
    return xp.astype(xp.argmin(a, axis=dim, keepdims=keepdim), "int64")


@op
def any(xp, a, *, dim, keepdim):
    return xp.any(a, axis=dim, keepdims=keepdim)


@op
def all(xp, a, *, dim, keepdim):
    return xp.all(a, axis=dim, keepdims=keepdim)


# --- softmax ----------------------------------------------------------------------------------------------------------
@op
def logsumexp(xp, a, *, dim, keepdim):
    top = xp.max(a, axis=dim, keepdims=True) if a.size else xp.sum(a, axis=dim, keepdims=True) - math.inf
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    out = xp.log(xp.sum(xp.exp(a - top), axis=dim, keepdims=True)) + top
    return out if keepdim else xp.squeeze(out, axis=dim)


logsumexp.defvjp(
    lambda ops, g, a, y, a_shape, dim, keepdim: (
        _spread(ops, g, a_shape, dim, keepdim) * ops.exp(a - _spread(ops, y, a_shape, dim, keepdim))
    )
)


@op
def softmax(xp, a, *, dim):
    if not a.size:
        return a
    y = xp.exp(a - xp.max(a, axis=dim, keepdims=True))
    return y / xp.sum(y, axis=dim, keepdims=True)


softmax.defvjp(lambda ops, g, y, dim: y * (g - ops.sum(g * y, dim=(dim,), keepdim=True)))


@op
def log_softmax(xp, a, *, dim):
    if not a.size:
        return a
    a = a - xp.max(a, axis=dim, keepdims=True)
    return a - xp.log(xp.sum(xp.exp(a), axis=dim, keepdims=True))


log_softmax.defvjp(lambda ops, g, y, dim: g - ops.exp(y) * ops.sum(g, dim=(dim,), keepdim=True))
