"""The largest and the smallest elements over dimensions, and their positions.

`dim` is also called `axis`, and `keepdim` `keepdims`, as in numpy.
"""

import builtins
from collections.abc import Callable, Sequence
from typing import Any, overload

from minigrad import ops
from minigrad.engine.operation import Op
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import Dims, _dim, _dims, reduced, reduced_to_one
from minigrad.functions.index import take_along_dim

__all__ = ["amax", "amin", "argmax", "argmin", "max", "min"]


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

        amax.defvjp(lambda ops, g, a, y, a_shape, a_dtype, dim, keepdim: _shared(ops, g, a, y, a_shape, a_dtype, dim, keepdim))

    >>> mg.amax(mg.tensor([[1.0, 2.0], [4.0, 3.0]]), dim=1)
    tensor([2., 4.])
    """
    dims, keepdim = reduced("amax", input, dim, keepdim, axis, keepdims)
    return ops.amax(_some("amax", input, dims), dim=dims, keepdim=keepdim)


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

        amin.defvjp(lambda ops, g, a, y, a_shape, a_dtype, dim, keepdim: _shared(ops, g, a, y, a_shape, a_dtype, dim, keepdim))

    >>> mg.amin(mg.tensor([[1.0, 2.0], [4.0, 3.0]]), dim=1)
    tensor([1., 3.])
    """
    dims, keepdim = reduced("amin", input, dim, keepdim, axis, keepdims)
    return ops.amin(_some("amin", input, dims), dim=dims, keepdim=keepdim)


def _some(who: str, input: Tensor, dims: Sequence[int]) -> Tensor:
    """The input, if it has elements over the dimensions."""
    if builtins.any(input.shape[i] == 0 for i in dims):
        raise IndexError(
            f"{who} of no elements is undefined: shape {input.shape}, dimensions {tuple(dims)}; give a dimension with a length"
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
    dim, keepdim = reduced_to_one("argmax", input, dim, keepdim, axis, keepdims)
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
    dim, keepdim = reduced_to_one("argmin", input, dim, keepdim, axis, keepdims)
    return _arg("argmin", ops.argmin, input, dim, keepdim)


def _arg(who: str, operation: Op, input: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    _some(who, input, _dims(dim, input.ndim, who))
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
    at, keepdim = reduced_to_one("max", input, dim, keepdim, axis, keepdims)
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
    at, keepdim = reduced_to_one("min", input, dim, keepdim, axis, keepdims)
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
