"""Sums, products and what is made of them, over dimensions: `dim` is None for all, one dimension, or a tuple of them.

The operations take `dim` as a tuple of non-negative numbers; the functions accept PyTorch's spellings, and numpy's names `axis` for
`dim` and `keepdims` for `keepdim`. In the formulas x is an element of `input`.
"""

import builtins
import math

from minigrad import ops
from minigrad.checks import whole
from minigrad.dtypes import dtype as as_dtype
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import (
    Dims,
    DTypeLike,
    _dim,
    _floating,
    along,
    number,
    reduced,
    reduced_to_one,
    tensor,
)
from minigrad.functions.choice import where
from minigrad.functions.join import cat
from minigrad.ops.reduce import narrowed, widened

__all__ = ["sum", "mean", "var", "std", "prod", "cumsum", "any", "all"]


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

        sum.defvjp(lambda ops, g, a_shape, dim, keepdim: _spread(ops, g, a_shape, dim, keepdim))

    >>> mg.sum(mg.tensor([[1, 2], [3, 4]]), dim=0)
    tensor([4, 6])
    """
    dims, keepdim = reduced("sum", input, dim, keepdim, axis, keepdims)
    return ops.sum(_summable(input, dtype), dim=dims, keepdim=keepdim)


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
            lambda ops, g, a_shape, a_dtype, dim, keepdim: _spread(
                ops, _divided(ops, g, _count(a_shape, dim), a_dtype), a_shape, dim, keepdim
            )
        )

    >>> mg.mean(mg.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=1, keepdims=True)
    tensor([[1.5],
            [3.5]])
    """
    dims, keepdim = reduced("mean", input, dim, keepdim, axis, keepdims)
    input = input if dtype is None else input.astype(dtype)
    if not input.is_floating_point():
        raise TypeError(
            f"mean needs a floating point tensor, got {input.dtype.name}; use .float().mean() or mean(dtype=mg.float32)"
        )
    return ops.mean(input, dim=dims, keepdim=keepdim)


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
    dims, keepdim = reduced(who, input, dim, keepdim, axis, keepdims)
    _floating(who, input)
    if correction is None:
        correction = 1 if unbiased is None else whole(who, "unbiased", unbiased)
    number(who, "correction", correction)
    wide = widened(input)
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
    dim, keepdim = reduced_to_one("prod", input, dim, keepdim, axis, keepdims)
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

        cumsum.defvjp(lambda ops, g, dim, reverse: ops.cumsum(g, dim=dim, reverse=not reverse))

    >>> mg.cumsum(mg.tensor([1, 2, 3]), dim=0)
    tensor([1, 3, 6])
    """
    dim = along("cumsum", dim, axis, tensor("cumsum", "input", input).ndim)
    return ops.cumsum(_summable(input, dtype), dim=dim, reverse=False)


# --- truth ------------------------------------------------------------------------------------------------------------
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
    dims, keepdim = reduced("any", input, dim, keepdim, axis, keepdims)
    return ops.any(input, dim=dims, keepdim=keepdim)


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
    dims, keepdim = reduced("all", input, dim, keepdim, axis, keepdims)
    return ops.all(input, dim=dims, keepdim=keepdim)
