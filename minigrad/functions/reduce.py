"""Reductions over dimensions, softmax, cumulative sums. `dim` is None for all, one dimension, or a tuple of them.

The operations take `dim` as a tuple of non-negative numbers; the functions accept PyTorch's spellings.
"""

import builtins
import math
from collections.abc import Callable
from typing import Any, overload

from minigrad import ops
from minigrad.dtypes import dtype as as_dtype
from minigrad.engine.operation import Op
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import Dims, DTypeLike, _dim, _dims, _floating
from minigrad.functions.elementwise import where
from minigrad.functions.index import take_along_dim
from minigrad.functions.join import cat
from minigrad.ops.reduce import narrowed, widened

__all__ = [
    "sum", "mean", "var", "std", "prod", "cumsum", "amax", "amin", "argmax", "argmin", "max", "min", "any", "all",
    "logsumexp", "softmax", "log_softmax", "layer_norm",
]  # fmt: skip


# --- sums and means ---------------------------------------------------------------------------------------------------
def sum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DTypeLike | None = None) -> Tensor:
    """Σ of the elements over `dim` (all by default). Booleans and integers are summed in int64."""
    return ops.sum(_summable(input, dtype), dim=_dims(dim, input.ndim), keepdim=keepdim)


def mean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DTypeLike | None = None) -> Tensor:
    """Arithmetic mean over `dim` (all by default); floating point only."""
    input = input if dtype is None else input.astype(dtype)
    if not input.is_floating_point():
        raise TypeError(
            f"mean needs a floating point tensor, got {input.dtype.name}; use .float().mean() or mean(dtype=mg.float32)"
        )
    return ops.mean(input, dim=_dims(dim, input.ndim), keepdim=keepdim)


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
    correction: int | None = None,
) -> Tensor:
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


def std(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: int | None = None,
) -> Tensor:
    """√var; where it is 0 the gradient is 0."""
    v = var(widened(input), dim, unbiased, keepdim, correction=correction)
    return narrowed(where(v == 0, v, ops.sqrt(where(v == 0, 1.0, v))), input.dtype)


def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: DTypeLike | None = None) -> Tensor:
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


def cumsum(input: Tensor, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
    """yᵢ = x₀ + … + xᵢ along `dim`."""
    return ops.cumsum(_summable(input, dtype), dim=_dim(dim, input.ndim), reverse=False)


# --- extremes ---------------------------------------------------------------------------------------------------------
def amax(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The largest element over `dim`; equal ones share the gradient evenly."""
    return ops.amax(_some(input, dim, "amax"), dim=_dims(dim, input.ndim), keepdim=keepdim)


def amin(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The smallest element over `dim`; equal ones share the gradient evenly."""
    return ops.amin(_some(input, dim, "amin"), dim=_dims(dim, input.ndim), keepdim=keepdim)


def _some(input: Tensor, dim: Dims, name: str) -> Tensor:
    if builtins.any(input.shape[i] == 0 for i in _dims(dim, input.ndim)):
        raise IndexError(
            f"{name} of no elements is undefined: shape {input.shape}, dim {dim}; give a dimension with a length"
        )
    return input


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Position of the (first) largest element along `dim`, or in the flattened tensor."""
    return _arg(ops.argmax, input, dim, keepdim)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Position of the (first) smallest element along `dim`, or in the flattened tensor."""
    return _arg(ops.argmin, input, dim, keepdim)


def _arg(operation: Op, input: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    _some(input, dim, operation.name)
    if dim is None:
        out = operation(input.reshape(-1), dim=0, keepdim=False)
        return out.reshape((1,) * input.ndim) if keepdim else out
    if not input.ndim:
        _dim(dim, 0)
        return operation(input.reshape(1), dim=0, keepdim=False)
    return operation(input, dim=_dim(dim, input.ndim), keepdim=keepdim)


@overload
def max(input: Tensor, dim: None = None, keepdim: bool = False) -> Tensor: ...


@overload
def max(input: Tensor, dim: Tensor) -> Tensor: ...


@overload
def max(input: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]: ...


def max(input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False):
    """The largest element; with `dim` (values, indices) along it; with a tensor in its place the elementwise maximum."""
    return _extreme(input, dim, keepdim, amax, argmax, ops.maximum)


@overload
def min(input: Tensor, dim: None = None, keepdim: bool = False) -> Tensor: ...


@overload
def min(input: Tensor, dim: Tensor) -> Tensor: ...


@overload
def min(input: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]: ...


def min(input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False):
    """The smallest element; with `dim` (values, indices) along it; with a tensor in its place the elementwise minimum."""
    return _extreme(input, dim, keepdim, amin, argmin, ops.minimum)


def _extreme(input: Tensor, dim: Any, keepdim: bool, full: Callable, arg: Callable, pairwise: Op) -> Any:
    if dim is None:
        return full(input)
    if hasattr(dim, "backend"):
        return pairwise(input.to(), dim)
    if not input.ndim:
        _dim(dim, 0)
        return input, arg(input)
    where = arg(input, dim, True)
    values = take_along_dim(input, where, dim)
    return (values, where) if keepdim else (values.squeeze(dim), where.squeeze(dim))


def any(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether some element is true (not zero) over `dim`."""
    return ops.any(input, dim=_dims(dim, input.ndim), keepdim=keepdim)


def all(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether every element is true (not zero) over `dim`."""
    return ops.all(input, dim=_dims(dim, input.ndim), keepdim=keepdim)


# --- softmax and norm -------------------------------------------------------------------------------------------------
def logsumexp(input: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    """log Σ exp(x) over `dim`, without overflow."""
    input = input if input.is_floating_point() else input.float()
    return narrowed(ops.logsumexp(widened(input), dim=_dims(dim, input.ndim), keepdim=keepdim), input.dtype)


def softmax(input: Tensor, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
    """yᵢ = exp(xᵢ) / Σⱼ exp(xⱼ) along `dim`."""
    return _row(ops.softmax, input, dim, dtype)


def log_softmax(input: Tensor, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
    """log softmax(x) along `dim`, without underflow."""
    return _row(ops.log_softmax, input, dim, dtype)


def _row(operation: Op, input: Tensor, dim: int, dtype: DTypeLike | None) -> Tensor:
    """Applies a softmax along one dimension; tensors without dimensions count as one element."""
    input = input.astype(dtype) if dtype is not None else input if input.is_floating_point() else input.float()
    if (wide := widened(input)) is not input:
        return narrowed(_row(operation, wide, dim, None), input.dtype)
    dim = _dim(dim, input.ndim)
    if not input.ndim:
        return operation(input.reshape(1), dim=0).reshape(())
    return operation(input, dim=dim) if input.numel() else input


def layer_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, *, axes: tuple[int, ...], eps: float
) -> Tensor:
    """y = (x - mean) / √(var + eps) · weight + bias, mean and (biased) variance over `axes`, the last ones. Ba et al. 2016,
    arXiv 1607.06450."""
    _floating("layer_norm", input)
    return ops.layer_norm(input, weight, bias, axes=axes, eps=eps)
