"""What users may give for tensors, dimensions, shapes and sizes: checked, and brought into the one form that operations take.

`who` is the name of the public function, with which every error begins.
"""

import operator
from collections.abc import Iterable, Sequence
from typing import Any

from minigrad import checks
from minigrad.autograd.autocast import CASTABLE, is_autocast_enabled
from minigrad.backend import BackendError
from minigrad.checks import number, told
from minigrad.dtypes import DType, bool_, plain
from minigrad.engine.tensor import Tensor

MOST_DIMENSIONS = 64  # numpy's limit, and PyTorch's

DTypeLike = DType | str
Dims = int | Sequence[int] | None  # None: all
Pair = int | Sequence[int]  # of height and width


# --- tensors and numbers ----------------------------------------------------------------------------------------------
def tensor(who: str, parameter: str, value: object) -> Tensor:
    """The value, if it is a tensor.

    Raises:
        TypeError: if it is none.
    """
    return checks.tensor(who, parameter, value)


def tensors(who: str, parameter: str, values: object) -> list[Tensor]:
    """The values of an iterable in a list, if they are tensors.

    Raises:
        TypeError: if it is no iterable of tensors.
    """
    if isinstance(values, Iterable) and not isinstance(values, Tensor | str):
        found = list(values)
        for value in found:
            if not isinstance(value, Tensor):
                raise checks.wrong(who, parameter, "tensors", value, checks.remedy(value))
        return found
    raise checks.wrong(who, parameter, "a sequence of tensors", values)


def tensor_or_number(who: str, parameter: str, value: object) -> Tensor | int | float:
    """The value, if it is a tensor; else as `number`.

    Raises:
        TypeError: if it is neither.
    """
    if isinstance(value, Tensor):
        return value
    value = plain(value)
    if isinstance(value, int | float):
        return value
    raise checks.wrong(who, parameter, "a tensor or a number", value, checks.remedy(value))


def _boolean(mask: Tensor, what: str, who: str = "") -> Tensor:
    mask = tensor(who, what, mask)
    if mask.dtype is not bool_:
        raise TypeError(f"{_of(who)}the {what} must be boolean, got {mask.dtype.name}; compare it, as in x != 0")
    return mask


def _same_dtype(name: str, *tensors: Tensor) -> None:
    for t in tensors:
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}: expected tensors, got {type(t).__name__}; use mg.tensor(…)")
    kinds = {t.dtype.name for t in tensors}
    if len(kinds) > 1 and not (is_autocast_enabled() and kinds <= CASTABLE):
        raise TypeError(
            f"{name}: the inputs' dtypes differ ({', '.join(t.dtype.name for t in tensors)}); cast one with .astype"
        )


def _same_device(who: str, *tensors: Tensor) -> None:
    for t in tensors:
        if t.backend is not tensors[0].backend:
            devices = ", ".join(t.device for t in tensors)
            raise BackendError(f"{who}: inputs on different devices ({devices}); move one with .to(device)")


def _floating(name: str, tensor: Tensor) -> None:
    if not tensor.is_floating_point():
        raise TypeError(f"{name}: needs a floating point tensor, got {tensor.dtype.name}; use .float()")


# --- dimensions, sizes, positions -------------------------------------------------------------------------------------
def _of(who: str) -> str:
    return f"{who}: " if who else ""


def _integer(value: Any, what: str, who: str = "") -> int:
    try:
        return value if value.__class__ is int else int(operator.index(value))  # True becomes 1
    except TypeError:
        given = repr(value) if isinstance(value, str | float) else type(value).__name__
        raise TypeError(f"{_of(who)}a {what} must be an integer, got {given}") from None


def _dim(dim: Any, ndim: int, who: str = "") -> int:
    """A dimension counted from the front; negative ones count from the back.

    Raises:
        IndexError: when there is no such dimension.
        TypeError: when it is no integer.
    """
    dim, ndim = _integer(dim, "dimension", who), max(ndim, 1)
    if not -ndim <= dim < ndim:
        raise IndexError(
            f"{_of(who)}there is no dimension {dim} in a tensor of {ndim}; it lies from {-ndim} to {ndim - 1}"
        )
    return dim % ndim


def _dims(dim: Dims, ndim: int, who: str = "") -> tuple[int, ...]:
    """A tuple of distinct dimensions; None or () means all."""
    if dim is None or (isinstance(dim, tuple | list) and not dim):
        return tuple(range(ndim))
    dims = tuple(_dim(d, ndim, who) for d in (dim if isinstance(dim, tuple | list) else (dim,)))
    if len(set(dims)) != len(dims):
        raise ValueError(f"{_of(who)}a dimension appears twice in dim={dim}; name each once")
    return dims if ndim else ()


def _sizes(shape: Sequence, who: str = "") -> tuple[int, ...]:
    """A shape given as separate numbers or as one sequence."""
    if len(shape) == 1 and isinstance(shape[0], tuple | list):
        shape = shape[0]
    sizes = tuple(_integer(n, "size", who) for n in shape)
    if len(sizes) > MOST_DIMENSIONS:
        raise ValueError(f"{_of(who)}a tensor has at most {MOST_DIMENSIONS} dimensions, got {len(sizes)}")
    return sizes


def _pair(value: Any, name: str, who: str = "") -> tuple[int, int]:
    """An int or two of them as two."""
    pair = tuple(map(plain, value if isinstance(value, tuple | list) else (value, value)))
    if len(pair) == 1:
        pair = pair * 2
    if len(pair) != 2 or not all(isinstance(v, int) for v in pair):
        raise ValueError(f"{_of(who)}{name} must be a whole number or two of them, got {told(value)}")
    return int(pair[0]), int(pair[1])  # True becomes 1


# --- numpy's names for dim and keepdim --------------------------------------------------------------------------------
def renamed(who: str, name: str, value: Any, other: str, alias: Any) -> Any:
    """What was given for a parameter under one of its two names, PyTorch's or numpy's: `renamed("sum", "dim", dim, "axis", axis)`.

    None, and for `keepdim` False, count as not given.

    Raises:
        TypeError: when both are given.
    """
    if alias is None:
        return value
    if value is None or value is False:
        return alias
    raise TypeError(f"{who}: {name} and {other} are two names of one parameter; give only one of them")


def along(who: str, dim: Any, axis: Any, ndim: int, default: int | None = None) -> int:
    """The one dimension that a function goes along, under whichever of its names it was given, counted from the front.

    Raises:
        TypeError: when both names are given, or none and there is no default.
        IndexError: when there is no such dimension.
    """
    dim = renamed(who, "dim", dim, "axis", axis)
    if dim is None and default is None:
        raise TypeError(f"{who}: dim is missing; say along which dimension, as in dim=-1")
    return _dim(default if dim is None else dim, ndim, who)


def reduced(
    who: str, input: Tensor, dim: Dims, keepdim: Any, axis: Dims, keepdims: Any
) -> tuple[tuple[int, ...], bool]:
    """What a reduction goes over, as a tuple of dimensions counted from the front, and `keepdim`, under whichever of their names they
    were given, after a check of `input`.

    Raises:
        TypeError: as `reduced_to_one`. IndexError, ValueError: when there is no such dimension; when one is named twice.
    """
    dim, keepdim = reduced_to_one(who, input, dim, keepdim, axis, keepdims)
    return _dims(dim, input.ndim, who), keepdim


def reduced_to_one(who: str, input: Tensor, dim: Any, keepdim: Any, axis: Any, keepdims: Any) -> tuple[Any, bool]:
    """As `reduced`, with `dim` as it was given: for a reduction over one dimension or all.

    Raises:
        TypeError: when both names of one are given, `input` is no tensor, or `keepdim` neither True nor False.
    """
    tensor(who, "input", input)
    if axis is not None:
        dim = renamed(who, "dim", dim, "axis", axis)
    if keepdims is not None:
        keepdim = renamed(who, "keepdim", keepdim, "keepdims", keepdims)
    if keepdim.__class__ is not bool:
        keepdim = bool(number(who, "keepdim", keepdim))
    return dim, keepdim
