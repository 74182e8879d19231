"""Reductions over dimensions, softmax, cumulative sums. `dim` is None for all, one dimension, or a tuple of them.

The operations take `dim` as a tuple of non-negative numbers; their call forms accept PyTorch's spellings.
"""

import builtins
import math

from minigrad.dtypes import bfloat16, float16
from minigrad.dtypes import dtype as as_dtype
from minigrad.engine.modes import AUTOCAST, state
from minigrad.engine.operation import op
from minigrad.ops import elementwise
from minigrad.ops.elementwise import sqrt, where
from minigrad.ops.index import take_along_dim
from minigrad.ops.join import cat
from minigrad.ops.shape import _dim, _dims

HALVES = ("float16", "bfloat16")


def _kept(shape, dim):
    """The shape with the reduced dimensions as 1."""
    return tuple(1 if i in dim else n for i, n in enumerate(shape))


def _spread(xp, g, shape, dim, keepdim):
    """A reduced gradient repeated over the reduced dimensions."""
    return xp.broadcast_to(g if keepdim else xp.reshape(g, shape=_kept(shape, dim)), shape=shape)


def _summable(a, dtype):
    """PyTorch sums booleans and small integers in int64."""
    if dtype is not None:
        return a.astype(as_dtype(dtype))
    return a if a.is_floating_point() else a.astype("int64")


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


sum.defvjp(lambda xp, g, a_shape, dim, keepdim: _spread(xp, g, a_shape, dim, keepdim))


@sum.call_form
def sum(input, dim=None, keepdim=False, *, dtype=None):
    """Σ of the elements over `dim` (all by default). Booleans and integers are summed in int64."""
    return sum.op(_summable(input, dtype), dim=_dims(dim, input.ndim), keepdim=keepdim)


@op
def mean(xp, a, *, dim, keepdim):
    return xp.mean(a, axis=dim, keepdims=keepdim)


mean.defvjp(
    lambda xp, g, a_shape, a_dtype, dim, keepdim: _spread(
        xp, _divided(xp, g, _count(a_shape, dim), a_dtype), a_shape, dim, keepdim
    )
)


def _divided(xp, g, count, dtype):
    """g / count; 16 bits hold neither large counts nor their reciprocals."""
    if dtype in HALVES:
        return xp.cast(xp.cast(g, dtype="float32") * (1 / count), dtype=dtype)
    return g * (1 / count)


def _count(shape, dim):
    return builtins.max(math.prod(shape[i] for i in dim), 1)


@mean.call_form
def mean(input, dim=None, keepdim=False, *, dtype=None):
    """Arithmetic mean over `dim` (all by default); floating point only."""
    input = input if dtype is None else input.astype(dtype)
    if not input.is_floating_point():
        raise TypeError(
            f"mean needs a floating point tensor, got {input.dtype.name}; use .float().mean() or mean(dtype=mg.float32)"
        )
    return mean.op(input, dim=_dims(dim, input.ndim), keepdim=keepdim)


def var(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """Σ (x - mean)² / max(0, n - correction) over `dim`; correction 1 (unbiased) by default."""
    if isinstance(dim, bool):  # var(unbiased)
        dim, unbiased = None, dim
    correction = correction if correction is not None else 1 if unbiased is None else int(unbiased)
    if (wide := widened(input)) is not input:
        return narrowed(var(wide, dim, None, keepdim, correction=correction), input.dtype)
    dims = _dims(dim, input.ndim)
    n = math.prod(input.shape[i] for i in dims)
    deviation = input - mean(input, dims, True) if dims else input - input
    total = sum((deviation * deviation), dims, keepdim) if dims else deviation * deviation
    free = builtins.max(0, n - correction)
    return total * (1 / free) if free else total * math.nan if n == 0 or not total.numel() else total / (total * 0)


def std(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """√var; where it is 0 the gradient is 0."""
    v = var(widened(input), dim, unbiased, keepdim, correction=correction)
    return narrowed(where(v == 0, v, sqrt(where(v == 0, 1.0, v))), input.dtype)


def prod(input, dim=None, keepdim=False, *, dtype=None):
    """Π of the elements over one dimension, or all. Halves are multiplied pairwise, so that zeros need no special case in
    the derivative."""
    a = _summable(input, dtype)
    if (wide := widened(a)) is not a:
        return narrowed(prod(wide, dim, keepdim), a.dtype)
    if dim is None:
        out = prod(a.reshape(-1), 0)
        return out.reshape((1,) * input.ndim) if keepdim else out
    dim = _dim(dim, a.ndim)
    if not a.ndim:
        return a
    n = a.shape[dim]
    if n == 0:
        a, n = sum(a, dim, True) + 1, 1
    while n > 1:
        half = n // 2
        pairs = a.narrow(dim, 0, half) * a.narrow(dim, half, half)
        if n % 2:
            pairs = cat([pairs, a.narrow(dim, n - 1, 1)], dim)
        a, n = pairs, half + n % 2
    return a if keepdim else a.squeeze(dim)


@op
def cumsum(xp, a, *, dim, reverse):
    if not a.ndim:
        return a
    if not reverse:
        return xp.cumsum(a, axis=dim)
    back = (slice(None),) * dim + (slice(None, None, -1),)
    return xp.cumsum(a[back], axis=dim)[back]


cumsum.defvjp(lambda xp, g, dim, reverse: xp.cumsum(g, dim=dim, reverse=not reverse))


@cumsum.call_form
def cumsum(input, dim, *, dtype=None):
    """yᵢ = x₀ + … + xᵢ along `dim`."""
    return cumsum.op(_summable(input, dtype), dim=_dim(dim, input.ndim), reverse=False)


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


amax.defvjp(lambda xp, g, a, y, a_shape, a_dtype, dim, keepdim: _shared(xp, g, a, y, a_shape, a_dtype, dim, keepdim))
amin.defvjp(lambda xp, g, a, y, a_shape, a_dtype, dim, keepdim: _shared(xp, g, a, y, a_shape, a_dtype, dim, keepdim))


@amax.call_form
def amax(input, dim=None, keepdim=False):
    """The largest element over `dim`; equal ones share the gradient evenly."""
    return amax.op(_some(input, dim, "amax"), dim=_dims(dim, input.ndim), keepdim=keepdim)


@amin.call_form
def amin(input, dim=None, keepdim=False):
    """The smallest element over `dim`; equal ones share the gradient evenly."""
    return amin.op(_some(input, dim, "amin"), dim=_dims(dim, input.ndim), keepdim=keepdim)


def _some(input, dim, name):
    if builtins.any(input.shape[i] == 0 for i in _dims(dim, input.ndim)):
        raise IndexError(
            f"{name} of no elements is undefined: shape {input.shape}, dim {dim}; give a dimension with a length"
        )
    return input


@op
def argmax(xp, a, *, dim, keepdim):
    return xp.astype(xp.argmax(a, axis=dim, keepdims=keepdim), "int64")


@op
def argmin(xp, a, *, dim, keepdim):
    return xp.astype(xp.argmin(a, axis=dim, keepdims=keepdim), "int64")


def _arg(operation, input, dim, keepdim):
    _some(input, dim, operation.name)
    if dim is None:
        out = operation(input.reshape(-1), dim=0, keepdim=False)
        return out.reshape((1,) * input.ndim) if keepdim else out
    if not input.ndim:
        _dim(dim, 0)
        return operation(input.reshape(1), dim=0, keepdim=False)
    return operation(input, dim=_dim(dim, input.ndim), keepdim=keepdim)


@argmax.call_form
def argmax(input, dim=None, keepdim=False):
    """Position of the (first) largest element along `dim`, or in the flattened tensor."""
    return _arg(argmax.op, input, dim, keepdim)


@argmin.call_form
def argmin(input, dim=None, keepdim=False):
    """Position of the (first) smallest element along `dim`, or in the flattened tensor."""
    return _arg(argmin.op, input, dim, keepdim)


def max(input, dim=None, keepdim=False):
    """The largest element; with `dim` (values, indices) along it; with a tensor in its place the elementwise maximum."""
    return _extreme(input, dim, keepdim, amax, argmax, "maximum")


def min(input, dim=None, keepdim=False):
    """The smallest element; with `dim` (values, indices) along it; with a tensor in its place the elementwise minimum."""
    return _extreme(input, dim, keepdim, amin, argmin, "minimum")


def _extreme(input, dim, keepdim, full, arg, pairwise):
    if dim is None:
        return full(input)
    if hasattr(dim, "backend"):
        return getattr(elementwise, pairwise)(input.to(), dim)
    if not input.ndim:
        _dim(dim, 0)
        return input, arg(input)
    where = arg(input, dim, True)
    values = take_along_dim(input, where, dim)
    return (values, where) if keepdim else (values.squeeze(dim), where.squeeze(dim))


@op
def any(xp, a, *, dim, keepdim):
    return xp.any(a, axis=dim, keepdims=keepdim)


@any.call_form
def any(input, dim=None, keepdim=False):
    """Whether some element is true (not zero) over `dim`."""
    return any.op(input, dim=_dims(dim, input.ndim), keepdim=keepdim)


@op
def all(xp, a, *, dim, keepdim):
    return xp.all(a, axis=dim, keepdims=keepdim)


@all.call_form
def all(input, dim=None, keepdim=False):
    """Whether every element is true (not zero) over `dim`."""
    return all.op(input, dim=_dims(dim, input.ndim), keepdim=keepdim)


# --- softmax ----------------------------------------------------------------------------------------------------------
@op
def logsumexp(xp, a, *, dim, keepdim):
    top = xp.max(a, axis=dim, keepdims=True) if a.size else xp.sum(a, axis=dim, keepdims=True) - math.inf
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    out = xp.log(xp.sum(xp.exp(a - top), axis=dim, keepdims=True)) + top
    return out if keepdim else xp.squeeze(out, axis=dim)


logsumexp.defvjp(
    lambda xp, g, a, y, a_shape, dim, keepdim: (
        _spread(xp, g, a_shape, dim, keepdim) * xp.exp(a - _spread(xp, y, a_shape, dim, keepdim))
    )
)


@logsumexp.call_form
def logsumexp(input, dim, keepdim=False):
    """log Σ exp(x) over `dim`, without overflow."""
    input = input if input.is_floating_point() else input.float()
    return narrowed(logsumexp.op(widened(input), dim=_dims(dim, input.ndim), keepdim=keepdim), input.dtype)


@op
def softmax(xp, a, *, dim):
    y = xp.exp(a - xp.max(a, axis=dim, keepdims=True))
    return y / xp.sum(y, axis=dim, keepdims=True)


softmax.defvjp(lambda xp, g, y, dim: y * (g - xp.sum(g * y, dim=(dim,), keepdim=True)))


@softmax.call_form
def softmax(input, dim, *, dtype=None):
    """yᵢ = exp(xᵢ) / Σⱼ exp(xⱼ) along `dim`."""
    return _row(softmax.op, input, dim, dtype)


@op
def log_softmax(xp, a, *, dim):
    a = a - xp.max(a, axis=dim, keepdims=True)
    return a - xp.log(xp.sum(xp.exp(a), axis=dim, keepdims=True))


log_softmax.defvjp(lambda xp, g, y, dim: g - xp.exp(y) * xp.sum(g, dim=(dim,), keepdim=True))


@log_softmax.call_form
def log_softmax(input, dim, *, dtype=None):
    """log softmax(x) along `dim`, without underflow."""
    return _row(log_softmax.op, input, dim, dtype)


def _row(operation, input, dim, dtype):
    """Applies a softmax along one dimension; tensors without dimensions count as one element."""
    input = input.astype(dtype) if dtype is not None else input if input.is_floating_point() else input.float()
    if (wide := widened(input)) is not input:
        return narrowed(_row(operation, wide, dim, None), input.dtype)
    dim = _dim(dim, input.ndim)
    if not input.ndim:
        return operation(input.reshape(1), dim=0).reshape(())
    return operation(input, dim=dim) if input.numel() else input
