"""x[index]: reading and writing elements by numbers, slices and arrays, as numpy does."""

import operator
from collections.abc import Sequence
from types import EllipsisType
from typing import Any

import numpy as np

from minigrad import messages, ops
from minigrad.backend import layout, of_array, tracing
from minigrad.dtypes import fitted
from minigrad.engine import inplace
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
            return a[(*index, ...)]  # of a single element, too, an array that shares the memory

        getitem.defvjp(lambda ops, g, a_shape, index: ops.scatter(g, shape=a_shape, index=index))

    >>> mg.getitem(mg.arange(4), slice(1, 3))
    tensor([1, 2])
    """
    shape, index = _index(tensor("getitem", "input", input), at)
    return ops.getitem(input if shape == input.shape else ops.reshape(input, shape=shape), index=index)


def _index(input: Tensor, index: Any) -> tuple[tuple, tuple]:
    """The input's shape with the index's new dimensions in it, and for each dimension an int, a slice or a raw array of
    integers: None is a slice of a new dimension of length 1, a lone True or False its element or nothing."""
    if index.__class__ is int and input.ndim:  # the most frequent one
        return input.shape, (position(index, input.shape[0], 0),)
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
    raw = p.array
    if kind(p) != "i":
        raise IndexError(f"{who and who + ': '}positions must be integers, got {p.dtype.name}; use .long()")
    xp, length = input.backend, input.shape[dim]
    if p.backend.eager and raw.size and (raw.min() < -length or raw.max() >= length):
        position(int(raw.max() if raw.max() >= length else raw.min()), length, dim, who)
    raw = xp.asarray(raw if p.backend is xp else p.numpy())
    raw = xp.astype(raw, "int64")
    return xp.where(raw < 0, raw + length, raw)


def setitem(input: Tensor, at: Any, values: Any) -> None:
    """x[at] = values: puts a tensor with these values at these places into x's place. Differentiable by both.

    Shape: any; `values` broadcast to the shape of x[at].

    Args:
        at: an index as for `getitem`.
        values: a tensor, a number, or what a tensor can be made of, of a shape that broadcasts to that of x[at].

    Raises:
        RuntimeError: for a leaf that requires a gradient while operations are recorded, and others that can't be written (see
            `Tensor.add_`). IndexError: for an index that doesn't fit. ValueError: for values of another shape.

    >>> x = mg.zeros(3)
    >>> mg.setitem(x, 0, 5.0)
    >>> x
    tensor([5., 0., 0.])
    """
    t, xp = tensor("setitem", "input", input), input.backend
    if overlaps(t):
        _set_part(t, at, values)
        return
    recorded = inplace.check(t, values)
    if isinstance(at, Tensor) and at.dtype == "bool" and at.shape == t.shape and _single(values) and not xp.eager:
        value = ops.reshape(values_like("setitem", t, values, ()), shape=())
        with inplace.WRITING:  # without a read by the host
            inplace.write(t, ops.where(at.to(t.device), ops.broadcast_to(value, shape=t.shape), t))
        return
    shape, places = _index(t, at)
    try:
        with inplace.WRITING:
            if recorded:
                x = t if shape == t.shape else ops.reshape(t, shape=shape)
                reuse = x is t and not (t._ties and t._ties.steps) and inplace.writable(t)
                value = values_like("setitem", t, values, x._data[places].shape)
                y = ops.update(x, value, index=places, reuse=reuse)
                inplace.write(t, y if x is t else ops.reshape(y, shape=t.shape))
                return
            own = inplace.writable(t)  # asked before `array` holds what may be a view of t
            array = values if isinstance(values, int | float) else _trimmed(t, shape, places, values).array
            array = fitted(array, t.dtype, "setitem") if isinstance(values, int | float) else array
            tracing.write(t)
            if own:
                xp.reshape(t._data, shape)[places] = array
            else:
                inplace.set_array(t, xp.reshape(xp.set_at(xp.reshape(t._data, shape), places, array), t.shape))
    except ValueError:
        raise ValueError(
            f"can't assign values of shape {getattr(values, 'shape', ())} to items of shape {getitem(input, at).shape}, in a tensor of "
            f"shape {input.shape}; give values that broadcast to the items"
        ) from None


def overlaps(t: Tensor) -> bool:
    """Whether several of its elements are one number in memory, as after `expand`."""
    steps = () if t._ties is None else t._ties.steps
    if all([op.put is not None for op, _ in steps]):  # what such operations show is there once
        return False
    return layout.repeats(*t._ties.layout())


def distinct(t: Tensor) -> Tensor:
    """A view that shows once what `t` repeats along dimensions (`expand`); t itself where it repeats nothing."""
    found = None if t._ties is None else t._ties.layout()
    if found is None or all(stride or n == 1 for n, stride in zip(*found, strict=True)):
        return t
    return ops.getitem(t, index=tuple([slice(None) if stride else slice(0, 1) for stride in found[1]]))


def overwrite(t: Tensor, value: Tensor) -> Tensor:
    """Puts values of the tensor's shape into its place; the old ones count no more."""
    return inplace.write(t, ops.replaced(t, value.to(t.device).astype(t.dtype)))


def _set_part(t: Tensor, at: Any, values: Any) -> None:
    """t[at] = values for a tensor whose elements share memory: what is shown of it elsewhere, too, changes with the view t[at]."""
    inplace.check(t, values)
    shape, places = _index(t, at)
    if not all(isinstance(p, int | slice) for p in places):
        raise messages.written_overlap("x[i] = v", t)
    part = ops.getitem(t if shape == t.shape else ops.reshape(t, shape=shape), index=places)
    part = distinct(part) if _single(values) else part
    if overlaps(part):
        raise messages.written_overlap("x[i] = v", part)
    overwrite(part, values_like("setitem", part, values, part.shape))


def _single(values: Any) -> bool:
    return not isinstance(values, Tensor | np.ndarray | list | tuple) or getattr(values, "shape", None) == ()


def _values(who: str, t: Tensor, values: Any) -> Tensor:
    """What is to be written to a tensor, on its device and in its dtype."""
    if isinstance(values, Tensor):
        return values.to(t.device).astype(t.dtype)
    values = fitted(values, t.dtype, who) if isinstance(values, int | float) else values
    return Tensor(values, dtype=t.dtype, device=t.device)


def _trimmed(t: Tensor, shape: tuple, places: tuple, values: Any) -> Tensor:
    """The same; dimensions of length 1 in front, which array libraries don't all leave out, are left out."""
    value = _values("setitem", t, values)
    if not value.ndim or value.shape[0] != 1:
        return value
    return values_like("setitem", t, value, t._backend.reshape(t._data, shape)[places].shape)


def values_like(who: str, t: Tensor, values: Any, shape: Sequence[int]) -> Tensor:
    """The same in this shape, which it must broadcast to; dimensions of length 1 in front are left out."""
    value, shape = _values(who, t, values), tuple(shape)
    while value.ndim > len(shape) and value.shape[0] == 1:
        value = ops.reshape(value, shape=value.shape[1:])
    try:
        return value if value.shape == shape else ops.broadcast_to(value, shape=shape)
    except (ValueError, RuntimeError):
        raise ValueError(f"{who}: values of shape {value.shape} don't fit the places, of shape {shape}") from None
