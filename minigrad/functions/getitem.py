"""x[index]: reading and writing elements by numbers, slices and arrays, as numpy does."""

import operator
from types import EllipsisType
from typing import Any

import numpy as np

from minigrad import ops
from minigrad.backend import of_array
from minigrad.dtypes import fitted
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import tensor

__all__ = ["getitem", "setitem"]


def getitem(input: Tensor, at: Any) -> Tensor:
    """x[at], with everything that numpy accepts: numbers, slices, None, Ellipsis, arrays of integers or booleans.

    Shape: (n₁, n₂, …) → as numpy gives it: a number takes its dimension away, a slice shortens it, None adds one of length 1.

    On MLX a boolean array costs one read by the host, as the result's size depends on its values.

    Raises:
        IndexError: for a position or a number of dimensions that isn't there, or an index of another kind.

    The operation (minigrad/ops/index.py):

        @op
        def getitem(xp, a, *, index):
            return a[index]

        getitem.defvjp(lambda ops, g, a_shape, index: ops.scatter(g, shape=a_shape, index=index))

    >>> mg.getitem(mg.arange(4), slice(1, 3))
    tensor([1, 2])
    """
    shape, index = _index(tensor("getitem", "input", input), at)
    return ops.getitem(input if shape == input.shape else ops.reshape(input, shape=shape), index=index)


def _index(input: Tensor, index: Any) -> tuple[tuple, tuple]:
    """The input's shape with the index's new dimensions in it, and for each dimension an int, a slice or a raw array of
    integers: None is a slice of a new dimension of length 1, a lone True or False its element or nothing."""
    xp = input.backend
    parts = index if isinstance(index, tuple) else (index,)
    parts = tuple(_listed(p) if isinstance(p, list | range) else p for p in parts)
    given = sum(_span(p) for p in parts)
    if given > input.ndim:
        raise IndexError(f"too many indices: {given} for a tensor of {input.ndim} dimensions, shape {input.shape}")
    if sum(p is Ellipsis for p in parts) > 1:
        raise IndexError("an index can have only one ellipsis (...)")
    if not any(p is Ellipsis for p in parts):
        parts = (*parts, Ellipsis)
    out: list = []
    new: list[int] = []
    for p in parts:
        dim = len(out) - len(new)
        if p is None:
            new.append(len(out))
            out.append(slice(None))
        elif isinstance(p, slice):
            out.append(_slice(p))
        elif isinstance(p, EllipsisType):
            out.extend([slice(None)] * (input.ndim - given))
        elif not _span(p):
            new.append(len(out))
            out.append(xp.asarray(np.zeros(int(bool(p)), np.int64)))
        elif isinstance(p, int | np.integer) or (isinstance(p, Tensor | np.ndarray) and p.ndim == 0 and kind(p) == "i"):
            out.append(position(operator.index(p if isinstance(p, int) else int(p)), input.shape[dim], dim))
        elif isinstance(p, Tensor | np.ndarray | input.backend.array_type):
            out.extend(_array(p, input, dim, xp))
        else:
            raise IndexError(
                f"an index is a number, slice, None, ... or an array of integers or booleans, not {type(p).__name__}"
            )
    # Beside arrays a number is an array too: numpy's rule, not MLX's.
    if not all(isinstance(p, int | slice) for p in out):
        out = [xp.asarray(np.int64(p)) if isinstance(p, int) else p for p in out]
    rest = iter(input.shape)
    return tuple(1 if i in new else next(rest) for i in range(len(out))), tuple(out)


def _listed(p: list | range) -> np.ndarray:
    array = np.asarray(p)
    return array if array.size else array.astype(np.int64)


def _span(p: Any) -> int:
    """How many dimensions one entry of an index takes."""
    if p is None or p is Ellipsis or isinstance(p, bool | np.bool_):
        return 0
    return p.ndim if isinstance(p, Tensor | np.ndarray) and kind(p) == "b" else 1


def kind(p: Any) -> str:
    name = p.dtype.name if isinstance(p, Tensor) else np.asarray(p).dtype.name
    return "b" if name == "bool" else "i" if "int" in name else "f"


def _slice(p: slice) -> slice:
    return slice(*(None if v is None else operator.index(v) for v in (p.start, p.stop, p.step)))


def position(i: int, length: int, dim: int, who: str = "") -> int:
    if not -length <= i < length:
        raise IndexError(f"{who and who + ': '}index {i} is out of range for dimension {dim} of length {length}")
    return i % length


def _array(p: Any, input: Tensor, dim: int, xp: Any) -> list:
    """An integer array as a raw array of non-negative positions; a boolean one as the positions of its true elements."""
    what = kind(p)
    if what == "f":
        raise IndexError(f"an index array must hold integers or booleans, not {p.dtype}; use .long()")
    if what == "b":
        mask = np.asarray(p)
        if mask.shape != input.shape[dim : dim + mask.ndim]:
            raise IndexError(
                f"a boolean index of shape {mask.shape} doesn't match the dimensions {input.shape[dim:]} that it indexes"
            )
        return [xp.asarray(positions, "int64") for positions in np.nonzero(mask)]
    if not isinstance(p, Tensor):
        home = of_array(p)
        p = Tensor(p, device=None if home is None else home.name)
    return [positions(p, input, dim)]


def positions(p: Tensor, input: Tensor, dim: int, who: str = "") -> Any:
    """A tensor of integer positions along a dimension as a raw array on the input's backend; negative ones count from the end.
    Errors name the function `who`.

    On the CPU they are checked; on MLX a check would have to wait for the device, so positions outside are undefined there.
    """
    raw = p.data
    if kind(p) != "i":
        raise IndexError(f"{who and who + ': '}positions must be integers, got {p.dtype.name}; use .long()")
    xp, length = input.backend, input.shape[dim]
    if isinstance(raw, np.ndarray) and raw.size and (raw.min() < -length or raw.max() >= length):
        position(int(raw.max() if raw.max() >= length else raw.min()), length, dim, who)
    raw = xp.asarray(raw if p.backend is xp else p.numpy())
    raw = xp.astype(raw, "int64")
    return xp.where(raw < 0, raw + length, raw)


def setitem(input: Tensor, at: Any, values: Any) -> None:
    """x[at] = values, on a tensor without history: its data is replaced by a changed copy.

    Shape: any; `values` broadcast to the shape of x[at].

    Args:
        at: an index as for `getitem`.
        values: a tensor, a number, or what a tensor can be made of, of a shape that broadcasts to that of x[at].

    Raises:
        RuntimeError: when one of the tensors requires a gradient. IndexError: for an index that doesn't fit.
        ValueError: for values of another shape.

    >>> x = mg.zeros(3)
    >>> mg.setitem(x, 0, 5.0)
    >>> x
    tensor([5., 0., 0.])
    """
    if tensor("setitem", "input", input).requires_grad:
        raise RuntimeError(
            "can't assign to items of a tensor that requires a gradient; use mg.where(mask, new, old) instead"
        )
    if isinstance(values, Tensor) and values.requires_grad:
        raise RuntimeError(
            "can't assign a tensor that requires a gradient into another; use mg.where, mg.cat or mg.stack instead"
        )
    xp = input.backend
    if isinstance(values, Tensor):
        values = values.to(input.device).astype(input.dtype).data
    elif isinstance(values, int | float):
        values = fitted(values, input.dtype, "setitem")
    else:
        values = Tensor(values, dtype=input.dtype, device=input.device).data
    shape, places = _index(input, at)
    try:
        input.data = xp.reshape(xp.set_at(xp.reshape(input.data, shape), places, values), input.shape)
    except ValueError:
        raise ValueError(
            f"can't assign values of shape {getattr(values, 'shape', ())} to items of shape {getitem(input, at).shape}, in a tensor of "
            f"shape {input.shape}; give values that broadcast to the items"
        ) from None
