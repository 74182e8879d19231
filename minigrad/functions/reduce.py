"""Reductions over dimensions, softmax, cumulative sums. `dim` is None for all, one dimension, or a tuple of them.

The operations take `dim` as a tuple of non-negative numbers; the functions accept PyTorch's spellings, and numpy's names `axis` for
`dim` and `keepdims` for `keepdim`. In the formulas x is an element of `input`.
"""

import builtins
import math
from collections.abc import Callable
from typing import Any, overload

from minigrad import ops
from minigrad.dtypes import dtype as as_dtype
from minigrad.engine.operation import Op
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import Dims, DTypeLike, _dim, _dims, _floating, number, renamed, tensor
from minigrad.functions.elementwise import where
from minigrad.functions.index import take_along_dim
from minigrad.functions.join import cat
from minigrad.ops.reduce import narrowed, widened

__all__ = [
    "sum", "mean", "var", "std", "prod", "cumsum", "amax", "amin", "argmax", "argmin", "max", "min", "any", "all",
    "logsumexp", "softmax", "log_softmax", "layer_norm",
]  # fmt: skip


def _reduced(who: str, input: Tensor, dim: Any, keepdim: bool, axis: Any, keepdims: bool | None) -> tuple[Any, bool]:
    """`dim` and `keepdim` under whichever of their names they were given, after a check of `input`."""
    tensor(who, "input", input)
    if axis is not None:
        dim = renamed(who, "dim", dim, "axis", axis)
    if keepdims is not None:
        keepdim = renamed(who, "keepdim", keepdim, "keepdims", keepdims)
    return dim, keepdim


def _along(who: str, input: Tensor, dim: int | None, axis: int | None) -> int:
    """The one dimension, under whichever of its names it was given, counted from the front."""
    tensor(who, "input", input)
    dim = renamed(who, "dim", dim, "axis", axis)
    if dim is None:
        raise TypeError(f"{who}: dim is missing; say along which dimension, as in dim=-1")
    return _dim(dim, input.ndim, who)


# --- sums and means ---------------------------------------------------------------------------------------------------
def sum(
    input: Tensor,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    axis: Dims = None,
    keepdims: bool | None = None,
    dtype: DTypeLike | None = None,
) -> Tensor:
    """Σ of the elements over `dim` (all by default).

    Args:
        dim: a dimension or several, or None for all; also called `axis`.
        keepdim: whether the result keeps `dim` with length 1; also called `keepdims`.
        dtype: in which to sum. By default booleans and whole numbers are summed in int64.

    Shape: any; the result lacks `dim`, or has it with length 1.

    Raises:
        TypeError: if `input` is not a tensor; if both names of a parameter are given.
        IndexError, ValueError: if `input` has no such dimension; if one is named twice.

    The operation (minigrad/ops/reduce.py):

        @op
        def sum(xp, a, *, dim, keepdim):
            return xp.sum(a, axis=dim, keepdims=keepdim)

        sum.defvjp(lambda xp, g, a_shape, dim, keepdim: _spread(xp, g, a_shape, dim, keepdim))

    >>> mg.sum(mg.tensor([[1, 2], [3, 4]]), dim=0)
    tensor([4, 6])
    """
    dim, keepdim = _reduced("sum", input, dim, keepdim, axis, keepdims)
    return ops.sum(_summable(input, dtype), dim=_dims(dim, input.ndim, "sum"), keepdim=keepdim)


def mean(
    input: Tensor,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    axis: Dims = None,
    keepdims: bool | None = None,
    dtype: DTypeLike | None = None,
) -> Tensor:
    """(Σ x) / n, the arithmetic mean of the n elements over `dim` (all by default); NaN of none.

    Args:
        dim: a dimension or several, or None for all; also called `axis`.
        keepdim: whether the result keeps `dim` with length 1; also called `keepdims`.
        dtype: in which to compute; that of `input` by default.

    Shape: any; the result lacks `dim`, or has it with length 1.

    Raises:
        TypeError: if `input` is not a floating point tensor and `dtype` not given; if both names of a parameter are given.
        IndexError, ValueError: if `input` has no such dimension; if one is named twice.

    The operation (minigrad/ops/reduce.py):

        @op
        def mean(xp, a, *, dim, keepdim):
            return xp.mean(a, axis=dim, keepdims=keepdim)

        mean.defvjp(
            lambda xp, g, a_shape, a_dtype, dim, keepdim: _spread(
                xp, _divided(xp, g, _count(a_shape, dim), a_dtype), a_shape, dim, keepdim
            )
        )

    >>> mg.mean(mg.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=1, keepdims=True)
    tensor([[1.5],
            [3.5]])
    """
    dim, keepdim = _reduced("mean", input, dim, keepdim, axis, keepdims)
    input = input if dtype is None else input.astype(dtype)
    if not input.is_floating_point():
        raise TypeError(
            f"mean needs a floating point tensor, got {input.dtype.name}; use .float().mean() or mean(dtype=mg.float32)"
        )
    return ops.mean(input, dim=_dims(dim, input.ndim, "mean"), keepdim=keepdim)


def _summable(a: Tensor, dtype: DTypeLike | None) -> Tensor:
    """PyTorch sums booleans and small integers in int64."""
    if dtype is not None:
        return a.astype(as_dtype(dtype))
    return a if a.is_floating_point() else a.astype("int64")


def var(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    axis: Dims = None,
    keepdims: bool | None = None,
    correction: int | None = None,
) -> Tensor:
    """Σ (x - mean)² / max(0, n - correction) of the n elements over `dim` (all by default).

    Args:
        dim: a dimension or several, or None for all; also called `axis`.
        keepdim: whether the result keeps `dim` with length 1; also called `keepdims`.
        correction: 1 by default; `unbiased=False` is another way to say 0. A boolean in the place of `dim` is `unbiased`.

    Shape: any; the result lacks `dim`, or has it with length 1.

    Raises:
        TypeError: if `input` is not a floating point tensor; if both names of a parameter are given.
        IndexError, ValueError: if `input` has no such dimension; if one is named twice.

    >>> mg.var(mg.tensor([[1.0, 2.0], [3.0, 6.0]]), dim=1)
    tensor([0.5, 4.5])
    """
    return _variance("var", input, dim, unbiased, keepdim, axis, keepdims, correction)


def _variance(
    who: str,
    input: Tensor,
    dim: Dims,
    unbiased: bool | None,
    keepdim: bool,
    axis: Dims,
    keepdims: bool | None,
    correction: int | None,
) -> Tensor:
    if isinstance(dim, bool):  # var(unbiased)
        dim, unbiased = None, dim
    dim, keepdim = _reduced(who, input, dim, keepdim, axis, keepdims)
    _floating(who, input)
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    number(who, "correction", correction)
    wide = widened(input)
    dims = _dims(dim, input.ndim, who)
    n = math.prod(input.shape[i] for i in dims)
    deviation = wide - mean(wide, dims, True) if dims else wide - wide
    total = sum(deviation * deviation, dims, keepdim) if dims else deviation * deviation
    free = builtins.max(0, n - correction)
    out = total * (1 / free) if free else total * math.nan if n == 0 or not total.numel() else total / (total * 0)
    return narrowed(out, input.dtype) if wide is not input else out


def std(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    axis: Dims = None,
    keepdims: bool | None = None,
    correction: int | None = None,
) -> Tensor:
    """√var, the standard deviation of the elements over `dim` (all by default); where it is 0 the gradient is 0.

    Args:
        dim: a dimension or several, or None for all; also called `axis`.
        keepdim: whether the result keeps `dim` with length 1; also called `keepdims`.
        correction: 1 by default; `unbiased=False` is another way to say 0. A boolean in the place of `dim` is `unbiased`.

    Shape: any; the result lacks `dim`, or has it with length 1.

    Raises:
        TypeError: if `input` is not a floating point tensor; if both names of a parameter are given.
        IndexError, ValueError: if `input` has no such dimension; if one is named twice.

    >>> mg.std(mg.tensor([1.0, 3.0, 5.0]))
    tensor(2.)
    """
    v = _variance("std", widened(tensor("std", "input", input)), dim, unbiased, keepdim, axis, keepdims, correction)
    return narrowed(where(v == 0, v, ops.sqrt(where(v == 0, 1.0, v))), input.dtype)


def prod(
    input: Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    axis: int | None = None,
    keepdims: bool | None = None,
    dtype: DTypeLike | None = None,
) -> Tensor:
    """Π of the elements over one dimension, or all.

    The two halves are multiplied until one element is left, so that zeros need no special case in the derivative.

    Args:
        dim: the dimension, or None for all; also called `axis`.
        keepdim: whether the result keeps `dim` with length 1; also called `keepdims`.
        dtype: in which to multiply. By default booleans and whole numbers are multiplied in int64.

    Shape: any; the result lacks `dim`, or has it with length 1.

    Raises:
        TypeError: if `input` is not a tensor; if both names of a parameter are given.
        IndexError: if `input` has no such dimension.

    >>> mg.prod(mg.tensor([[1, 2], [3, 4]]), dim=0)
    tensor([3, 8])
    """
    dim, keepdim = _reduced("prod", input, dim, keepdim, axis, keepdims)
    a = _summable(input, dtype)
    if (wide := widened(a)) is not a:
        return narrowed(prod(wide, dim, keepdim), a.dtype)
    if dim is None:
        out = prod(a.reshape(-1), 0)
        return out.reshape((1,) * input.ndim) if keepdim else out
    dim = _dim(dim, a.ndim, "prod")
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


def cumsum(input: Tensor, dim: int | None = None, *, axis: int | None = None, dtype: DTypeLike | None = None) -> Tensor:
    """yᵢ = x₀ + … + xᵢ along `dim`.

    Args:
        dim: the dimension, which must be given; also called `axis`.
        dtype: in which to sum. By default booleans and whole numbers are summed in int64.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor; if `dim` is given under both names or none.
        IndexError: if `input` has no such dimension.

    The operation (minigrad/ops/reduce.py):

        @op
        def cumsum(xp, a, *, dim, reverse):
            if not a.ndim:
                return a
            if not reverse:
                return xp.cumsum(a, axis=dim)
            back = (slice(None),) * dim + (slice(None, None, -1),)
            return xp.cumsum(a[back], axis=dim)[back]

        cumsum.defvjp(lambda xp, g, dim, reverse: xp.cumsum(g, dim=dim, reverse=not reverse))

    >>> mg.cumsum(mg.tensor([1, 2, 3]), dim=0)
    tensor([1, 3, 6])
    """
    dim = _along("cumsum", input, dim, axis)
    return ops.cumsum(_summable(input, dtype), dim=dim, reverse=False)


# --- extremes ---------------------------------------------------------------------------------------------------------
def amax(
    input: Tensor,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    axis: Dims = None,
    keepdims: bool | None = None,
) -> Tensor:
    """The largest element over `dim` (all by default); equal ones share the gradient evenly. NaN wins.

    Args:
        dim: a dimension or several, or None for all; also called `axis`.
        keepdim: whether the result keeps `dim` with length 1; also called `keepdims`.

    Shape: any; the result lacks `dim`, or has it with length 1.

    Raises:
        TypeError: if `input` is not a tensor; if both names of a parameter are given.
        IndexError, ValueError: if `input` has no such dimension, or no elements in it; if one is named twice.

    The operation (minigrad/ops/reduce.py):

        @op
        def amax(xp, a, *, dim, keepdim):
            return xp.max(a, axis=dim, keepdims=keepdim)

        amax.defvjp(lambda xp, g, a, y, a_shape, a_dtype, dim, keepdim: _shared(xp, g, a, y, a_shape, a_dtype, dim, keepdim))

    >>> mg.amax(mg.tensor([[1.0, 2.0], [4.0, 3.0]]), dim=1)
    tensor([2., 4.])
    """
    dim, keepdim = _reduced("amax", input, dim, keepdim, axis, keepdims)
    return ops.amax(_some(input, dim, "amax"), dim=_dims(dim, input.ndim, "amax"), keepdim=keepdim)


def amin(
    input: Tensor,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    axis: Dims = None,
    keepdims: bool | None = None,
) -> Tensor:
    """The smallest element over `dim` (all by default); equal ones share the gradient evenly. NaN wins.

    Args:
        dim: a dimension or several, or None for all; also called `axis`.
        keepdim: whether the result keeps `dim` with length 1; also called `keepdims`.

    Shape: any; the result lacks `dim`, or has it with length 1.

    Raises:
        TypeError: if `input` is not a tensor; if both names of a parameter are given.
        IndexError, ValueError: if `input` has no such dimension, or no elements in it; if one is named twice.

    The operation (minigrad/ops/reduce.py):

        @op
        def amin(xp, a, *, dim, keepdim):
            return xp.min(a, axis=dim, keepdims=keepdim)

        amin.defvjp(lambda xp, g, a, y, a_shape, a_dtype, dim, keepdim: _shared(xp, g, a, y, a_shape, a_dtype, dim, keepdim))

    >>> mg.amin(mg.tensor([[1.0, 2.0], [4.0, 3.0]]), dim=1)
    tensor([1., 3.])
    """
    dim, keepdim = _reduced("amin", input, dim, keepdim, axis, keepdims)
    return ops.amin(_some(input, dim, "amin"), dim=_dims(dim, input.ndim, "amin"), keepdim=keepdim)


def _some(input: Tensor, dim: Dims, who: str) -> Tensor:
    if builtins.any(input.shape[i] == 0 for i in _dims(dim, input.ndim, who)):
        raise IndexError(
            f"{who} of no elements is undefined: shape {input.shape}, dim {dim}; give a dimension with a length"
        )
    return input


def argmax(
    input: Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    axis: int | None = None,
    keepdims: bool | None = None,
) -> Tensor:
    """Position (int64) of the first largest element along `dim`, or in the flattened tensor. NaN wins.

    Args:
        dim: the dimension, or None for all; also called `axis`.
        keepdim: whether the result keeps `dim` with length 1; also called `keepdims`.

    Shape: any; the result lacks `dim`, or has it with length 1.

    Raises:
        TypeError: if `input` is not a tensor; if both names of a parameter are given.
        IndexError: if `input` has no such dimension, or no elements in it.

    The operation (minigrad/ops/reduce.py):

        @op
        def argmax(xp, a, *, dim, keepdim):
            return xp.astype(xp.argmax(a, axis=dim, keepdims=keepdim), "int64")

    >>> mg.argmax(mg.tensor([[1.0, 2.0], [4.0, 3.0]]), dim=1)
    tensor([1, 0])
    """
    dim, keepdim = _reduced("argmax", input, dim, keepdim, axis, keepdims)
    return _arg("argmax", ops.argmax, input, dim, keepdim)


def argmin(
    input: Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    axis: int | None = None,
    keepdims: bool | None = None,
) -> Tensor:
    """Position (int64) of the first smallest element along `dim`, or in the flattened tensor. NaN wins.

    Args:
        dim: the dimension, or None for all; also called `axis`.
        keepdim: whether the result keeps `dim` with length 1; also called `keepdims`.

    Shape: any; the result lacks `dim`, or has it with length 1.

    Raises:
        TypeError: if `input` is not a tensor; if both names of a parameter are given.
        IndexError: if `input` has no such dimension, or no elements in it.

    The operation (minigrad/ops/reduce.py):

        @op
        def argmin(xp, a, *, dim, keepdim):
            return xp.astype(xp.argmin(a, axis=dim, keepdims=keepdim), "int64")

    >>> mg.argmin(mg.tensor([[1.0, 2.0], [4.0, 3.0]]), dim=1)
    tensor([0, 1])
    """
    dim, keepdim = _reduced("argmin", input, dim, keepdim, axis, keepdims)
    return _arg("argmin", ops.argmin, input, dim, keepdim)


def _arg(who: str, operation: Op, input: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    _some(input, dim, who)
    if dim is None:
        out = operation(input.reshape(-1), dim=0, keepdim=False)
        return out.reshape((1,) * input.ndim) if keepdim else out
    if not input.ndim:
        _dim(dim, 0, who)
        return operation(input.reshape(1), dim=0, keepdim=False)
    return operation(input, dim=_dim(dim, input.ndim, who), keepdim=keepdim)


@overload
def max(input: Tensor, dim: None = None, keepdim: bool = False) -> Tensor: ...


@overload
def max(input: Tensor, dim: Tensor) -> Tensor: ...


@overload
def max(input: Tensor, dim: int, keepdim: bool = False, *, keepdims: bool | None = None) -> tuple[Tensor, Tensor]: ...


@overload
def max(
    input: Tensor, dim: None = None, keepdim: bool = False, *, axis: int, keepdims: bool | None = None
) -> tuple[Tensor, Tensor]: ...


def max(
    input: Tensor,
    dim: int | Tensor | None = None,
    keepdim: bool = False,
    *,
    axis: int | None = None,
    keepdims: bool | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """The largest element; with `dim` a tuple (values, indices) along it; with a tensor in its place the elementwise maximum.
    NaN wins.

    Args:
        dim: the dimension, or None for all; also called `axis`.
        keepdim: whether the result keeps `dim` with length 1; also called `keepdims`.

    Shape: any; the result lacks `dim`, or has it with length 1.

    Raises:
        TypeError: if `input` is not a tensor, or `dim` neither a number nor a tensor; if both names of a parameter are given.
        IndexError: if `input` has no such dimension, or no elements in it.

    >>> x = mg.tensor([[1.0, 2.0], [4.0, 3.0]])
    >>> mg.max(x), mg.max(x, dim=1)
    (tensor(4.), (tensor([2., 4.]), tensor([1, 0])))
    """
    at, keepdim = _reduced("max", input, dim, keepdim, axis, keepdims)
    return _extreme("max", ops.argmax, amax, ops.maximum, input, at, keepdim)


@overload
def min(input: Tensor, dim: None = None, keepdim: bool = False) -> Tensor: ...


@overload
def min(input: Tensor, dim: Tensor) -> Tensor: ...


@overload
def min(input: Tensor, dim: int, keepdim: bool = False, *, keepdims: bool | None = None) -> tuple[Tensor, Tensor]: ...


@overload
def min(
    input: Tensor, dim: None = None, keepdim: bool = False, *, axis: int, keepdims: bool | None = None
) -> tuple[Tensor, Tensor]: ...


def min(
    input: Tensor,
    dim: int | Tensor | None = None,
    keepdim: bool = False,
    *,
    axis: int | None = None,
    keepdims: bool | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """The smallest element; with `dim` a tuple (values, indices) along it; with a tensor in its place the elementwise minimum.
    NaN wins.

    Args:
        dim: the dimension, or None for all; also called `axis`.
        keepdim: whether the result keeps `dim` with length 1; also called `keepdims`.

    Shape: any; the result lacks `dim`, or has it with length 1.

    Raises:
        TypeError: if `input` is not a tensor, or `dim` neither a number nor a tensor; if both names of a parameter are given.
        IndexError: if `input` has no such dimension, or no elements in it.

    >>> x = mg.tensor([[1.0, 2.0], [4.0, 3.0]])
    >>> mg.min(x), mg.min(x, dim=1)
    (tensor(1.), (tensor([1., 3.]), tensor([0, 1])))
    """
    at, keepdim = _reduced("min", input, dim, keepdim, axis, keepdims)
    return _extreme("min", ops.argmin, amin, ops.minimum, input, at, keepdim)


def _extreme(
    who: str, arg: Op, full: Callable[[Tensor], Tensor], pairwise: Op, input: Tensor, dim: Any, keepdim: bool
) -> Any:
    if dim is None:
        return full(input)
    if isinstance(dim, Tensor):
        return pairwise(input, dim)
    if not input.ndim:
        return input, _arg(who, arg, input, dim, False)
    where = _arg(who, arg, input, dim, True)
    values = take_along_dim(input, where, dim)
    return (values, where) if keepdim else (values.squeeze(dim), where.squeeze(dim))


def any(
    input: Tensor,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    axis: Dims = None,
    keepdims: bool | None = None,
) -> Tensor:
    """Whether some element over `dim` (all by default) is true (not zero); a boolean.

    Args:
        dim: a dimension or several, or None for all; also called `axis`.
        keepdim: whether the result keeps `dim` with length 1; also called `keepdims`.

    Shape: any; the result lacks `dim`, or has it with length 1.

    Raises:
        TypeError: if `input` is not a tensor; if both names of a parameter are given.
        IndexError, ValueError: if `input` has no such dimension; if one is named twice.

    The operation (minigrad/ops/reduce.py):

        @op
        def any(xp, a, *, dim, keepdim):
            return xp.any(a, axis=dim, keepdims=keepdim)

    >>> mg.any(mg.tensor([[0, 1], [2, 3]]), dim=1).tolist()
    [True, True]
    """
    dim, keepdim = _reduced("any", input, dim, keepdim, axis, keepdims)
    return ops.any(input, dim=_dims(dim, input.ndim, "any"), keepdim=keepdim)


def all(
    input: Tensor,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    axis: Dims = None,
    keepdims: bool | None = None,
) -> Tensor:
    """Whether every element over `dim` (all by default) is true (not zero); a boolean.

    Args:
        dim: a dimension or several, or None for all; also called `axis`.
        keepdim: whether the result keeps `dim` with length 1; also called `keepdims`.

    Shape: any; the result lacks `dim`, or has it with length 1.

    Raises:
        TypeError: if `input` is not a tensor; if both names of a parameter are given.
        IndexError, ValueError: if `input` has no such dimension; if one is named twice.

    The operation (minigrad/ops/reduce.py):

        @op
        def all(xp, a, *, dim, keepdim):
            return xp.all(a, axis=dim, keepdims=keepdim)

    >>> mg.all(mg.tensor([[0, 1], [2, 3]]), dim=1).tolist()
    [False, True]
    """
    dim, keepdim = _reduced("all", input, dim, keepdim, axis, keepdims)
    return ops.all(input, dim=_dims(dim, input.ndim, "all"), keepdim=keepdim)


# --- softmax and norm -------------------------------------------------------------------------------------------------
def logsumexp(
    input: Tensor,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    axis: Dims = None,
    keepdims: bool | None = None,
) -> Tensor:
    """log Σ eˣ of the elements over `dim` (all by default), without overflow; -∞ of none.

    Args:
        dim: a dimension or several, or None for all; also called `axis`.
        keepdim: whether the result keeps `dim` with length 1; also called `keepdims`.

    Shape: any; the result lacks `dim`, or has it with length 1.

    Raises:
        TypeError: if `input` is not a tensor; if both names of a parameter are given.
        IndexError, ValueError: if `input` has no such dimension; if one is named twice.

    The operation (minigrad/ops/reduce.py):

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

    >>> mg.logsumexp(mg.tensor([[0.0, 0.0], [0.0, 1.0]]), dim=1)
    tensor([0.6931, 1.3133])
    """
    dim, keepdim = _reduced("logsumexp", input, dim, keepdim, axis, keepdims)
    input = input if input.is_floating_point() else input.float()
    return narrowed(
        ops.logsumexp(widened(input), dim=_dims(dim, input.ndim, "logsumexp"), keepdim=keepdim), input.dtype
    )


def softmax(
    input: Tensor, dim: int | None = None, *, axis: int | None = None, dtype: DTypeLike | None = None
) -> Tensor:
    """yᵢ = exp(xᵢ) / Σⱼ exp(xⱼ) along `dim`.

    Args:
        dim: the dimension, which must be given; also called `axis`.
        dtype: in which to compute; that of `input` by default, and float32 for whole numbers.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor; if `dim` is given under both names or none.
        IndexError: if `input` has no such dimension.

    The operation (minigrad/ops/reduce.py):

        @op
        def softmax(xp, a, *, dim):
            if not a.size:
                return a
            y = xp.exp(a - xp.max(a, axis=dim, keepdims=True))
            return y / xp.sum(y, axis=dim, keepdims=True)

        softmax.defvjp(lambda xp, g, y, dim: y * (g - xp.sum(g * y, dim=(dim,), keepdim=True)))

    >>> mg.softmax(mg.tensor([0.0, 1.0]), dim=-1)
    tensor([0.2689, 0.7311])
    """
    return _row(ops.softmax, input, _along("softmax", input, dim, axis), dtype)


def log_softmax(
    input: Tensor, dim: int | None = None, *, axis: int | None = None, dtype: DTypeLike | None = None
) -> Tensor:
    """yᵢ = xᵢ - log Σⱼ exp(xⱼ), the logarithm of softmax along `dim`, without underflow.

    Args:
        dim: the dimension, which must be given; also called `axis`.
        dtype: in which to compute; that of `input` by default, and float32 for whole numbers.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor; if `dim` is given under both names or none.
        IndexError: if `input` has no such dimension.

    The operation (minigrad/ops/reduce.py):

        @op
        def log_softmax(xp, a, *, dim):
            if not a.size:
                return a
            a = a - xp.max(a, axis=dim, keepdims=True)
            return a - xp.log(xp.sum(xp.exp(a), axis=dim, keepdims=True))

        log_softmax.defvjp(lambda xp, g, y, dim: g - xp.exp(y) * xp.sum(g, dim=(dim,), keepdim=True))

    >>> mg.log_softmax(mg.tensor([0.0, 1.0]), dim=-1)
    tensor([-1.3133, -0.3133])
    """
    return _row(ops.log_softmax, input, _along("log_softmax", input, dim, axis), dtype)


def _row(operation: Op, input: Tensor, dim: int, dtype: DTypeLike | None) -> Tensor:
    """Applies a softmax along one dimension; tensors without dimensions count as one element."""
    input = input.astype(dtype) if dtype is not None else input if input.is_floating_point() else input.float()
    if (wide := widened(input)) is not input:
        return narrowed(_row(operation, wide, dim, None), input.dtype)
    if not input.ndim:
        return operation(input.reshape(1), dim=0).reshape(())
    return operation(input, dim=dim) if input.numel() else input


def layer_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, *, axes: tuple[int, ...], eps: float
) -> Tensor:
    """(x - mean) / √(var + eps) · weight + bias, mean and (biased) variance over `axes`. Ba et al. 2016, arXiv 1607.06450.

    `minigrad.nn.functional.layer_norm` takes the shape that is normalised, as PyTorch does, and checks more.

    Args:
        axes: the last dimensions, counted from the front.

    Shapes: `input` (…, *S), `weight` and `bias` S or None → (…, *S), with S the lengths of `axes`.

    Raises:
        TypeError: if `input` is not a floating point tensor, or `weight` or `bias` neither a tensor nor None.

    The operation (minigrad/ops/fused.py):

        @fused
        def layer_norm(x, weight, bias, *, axes, eps):
            if (wide := widened(x)) is not x:
                given = [t for t in (weight, bias) if t is not None]
                dtype = functools.reduce(promote, [t.dtype for t in given], x.dtype)
                return layer_norm(
                    wide, *(None if t is None else widened(t) for t in (weight, bias)), axes=axes, eps=eps
                ).astype(dtype)
            centred = x - mean(x, dim=axes, keepdim=True)
            y = centred * rsqrt(mean(centred * centred, dim=axes, keepdim=True) + eps)
            y = y if weight is None else y * weight
            return y if bias is None else y + bias

    >>> mg.layer_norm(mg.tensor([[1.0, 3.0], [2.0, 8.0]]), None, None, axes=(1,), eps=0.0)
    tensor([[-1.,  1.],
            [-1.,  1.]])
    """
    _floating("layer_norm", tensor("layer_norm", "input", input))
    return ops.layer_norm(input, weight, bias, axes=axes, eps=eps)
