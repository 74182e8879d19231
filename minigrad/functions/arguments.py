"""What users may give for dimensions, shapes and sizes, brought into the one form that operations take."""

import operator
from collections.abc import Sequence
from typing import Any

from minigrad.autograd.autocast import CASTABLE, is_autocast_enabled
from minigrad.dtypes import DType, bool_, plain
from minigrad.engine.tensor import Tensor

MOST_DIMENSIONS = 64  # numpy's limit, and PyTorch's

DTypeLike = DType | str
Dims = int | Sequence[int] | None  # None: all
Pair = int | Sequence[int]  # of height and width


def _integer(value: Any, what: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        given = repr(value) if isinstance(value, str | float) else type(value).__name__
        raise TypeError(f"a {what} must be an integer, got {given}") from None


def _dim(dim: int, ndim: int) -> int:
    """A dimension counted from the front; negative ones count from the back.

    Raises:
        IndexError: when there is no such dimension.
    """
    dim, ndim = _integer(dim, "dimension"), max(ndim, 1)
    if not -ndim <= dim < ndim:
        raise IndexError(f"there is no dimension {dim} in a tensor of {ndim}; it lies from {-ndim} to {ndim - 1}")
    return dim % ndim


def _dims(dim: Dims, ndim: int) -> tuple[int, ...]:
    """A tuple of distinct dimensions; None or () means all."""
    if dim is None or (isinstance(dim, tuple | list) and not dim):
        return tuple(range(ndim))
    dims = tuple(_dim(d, ndim) for d in (dim if isinstance(dim, tuple | list) else (dim,)))
    if len(set(dims)) != len(dims):
        raise ValueError(f"a dimension appears twice in dim={dim}; name each once")
    return dims if ndim else ()


def _sizes(shape: Sequence) -> tuple[int, ...]:
    """A shape given as separate numbers or as one sequence."""
    if len(shape) == 1 and isinstance(shape[0], tuple | list):
        shape = shape[0]
    sizes = tuple(_integer(n, "size") for n in shape)
    if len(sizes) > MOST_DIMENSIONS:
        raise ValueError(f"a tensor has at most {MOST_DIMENSIONS} dimensions, got {len(sizes)}")
    return sizes


def _pair(value: Any, name: str) -> tuple[int, int]:
    """An int or two of them as two."""
    pair = tuple(map(plain, value if isinstance(value, tuple | list) else (value, value)))
    if len(pair) == 1:
        pair = pair * 2
    if len(pair) != 2 or not all(isinstance(v, int) for v in pair):
        raise ValueError(f"{name} must be a whole number or two of them, got {value!r}")
    return pair  # type: ignore[return-value]


def _boolean(mask: Tensor, what: str) -> Tensor:
    if mask.dtype is not bool_:
        raise TypeError(f"the {what} must be boolean, got {mask.dtype.name}; compare it, as in x != 0")
    return mask.to()


def _same_dtype(name: str, *tensors: Tensor) -> None:
    for t in tensors:
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}: expected tensors, got {type(t).__name__}; use mg.tensor(…)")
    kinds = {t.dtype.name for t in tensors}
    if len(kinds) > 1 and not (is_autocast_enabled() and kinds <= CASTABLE):
        raise TypeError(
            f"{name}: the inputs' dtypes differ ({', '.join(t.dtype.name for t in tensors)}); cast one with .astype"
        )


def _floating(name: str, tensor: Tensor) -> None:
    if not tensor.is_floating_point():
        raise TypeError(f"{name}: needs a floating point tensor, got {tensor.dtype.name}; use .float()")
