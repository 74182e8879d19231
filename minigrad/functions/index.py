"""Indexing: reading and (functionally) writing elements by position."""

import operator
from types import EllipsisType
from typing import Any

import numpy as np

from minigrad import ops
from minigrad.backend import of_array
from minigrad.dtypes import fitted
from minigrad.engine.tensor import Tensor, _tensor
from minigrad.functions.arguments import _boolean, _dim, _dims, _integer
from minigrad.functions.elementwise import where
from minigrad.functions.shape import reshape
from minigrad.messages import describe

__all__ = [
    "getitem", "setitem", "narrow", "select", "index_select", "masked_select", "gather", "take_along_dim",
    "scatter_add", "index_add", "one_hot", "embedding", "diagonal",
]  # fmt: skip


def getitem(input: Tensor, at: Any) -> Tensor:
    """input[at] with everything that numpy accepts: numbers, slices, None, Ellipsis, integer and boolean arrays.

    On MLX a boolean array costs one read by the host, as the result's size depends on its values.
    """
    shape, index = _index(input, at)
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
        elif isinstance(p, int | np.integer) or (
            isinstance(p, Tensor | np.ndarray) and p.ndim == 0 and _kind(p) == "i"
        ):
            out.append(_position(operator.index(p.item() if not isinstance(p, int) else p), input.shape[dim], dim))
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
    return p.ndim if isinstance(p, Tensor | np.ndarray) and _kind(p) == "b" else 1


def _kind(p: Any) -> str:
    name = p.dtype.name if isinstance(p, Tensor) else np.asarray(p).dtype.name
    return "b" if name == "bool" else "i" if "int" in name else "f"


def _slice(p: slice) -> slice:
    return slice(*(None if v is None else operator.index(v) for v in (p.start, p.stop, p.step)))


def _position(i: int, length: int, dim: int) -> int:
    if not -length <= i < length:
        raise IndexError(f"index {i} is out of range for dimension {dim} of length {length}")
    return i % length


def _array(p: Any, input: Tensor, dim: int, xp: Any) -> list:
    """An integer array as a raw array of non-negative positions; a boolean one as the positions of its true elements."""
    kind = _kind(p)
    if kind == "f":
        raise IndexError(f"an index array must hold integers or booleans, not {p.dtype}; use .long()")
    if kind == "b":
        mask = np.asarray(p)
        if mask.shape != input.shape[dim : dim + mask.ndim]:
            raise IndexError(
                f"a boolean index of shape {mask.shape} doesn't match the dimensions {input.shape[dim:]} that it indexes"
            )
        return [xp.asarray(positions, "int64") for positions in np.nonzero(mask)]
    return [_positions(p if isinstance(p, Tensor) else Tensor(p, device=of_array(p).name), input, dim)]


def _positions(p: Tensor, input: Tensor, dim: int) -> Any:
    """A tensor of integer positions along a dimension as a raw array on the input's backend; negative ones count from the end.

    On the CPU they are checked; on MLX a check would have to wait for the device, so positions outside are undefined there.
    """
    raw = p.data
    if _kind(p) != "i":
        raise IndexError(f"positions must be integers, got {p.dtype.name}; use .long()")
    xp, length = input.backend, input.shape[dim]
    if isinstance(raw, np.ndarray) and raw.size and (raw.min() < -length or raw.max() >= length):
        worst = raw.max() if raw.max() >= length else raw.min()
        raise IndexError(f"index {worst} is out of range for dimension {dim} of length {length}")
    raw = xp.asarray(raw if p.backend is xp else p.numpy())
    raw = xp.astype(raw, "int64")
    return xp.where(raw < 0, raw + length, raw)


def setitem(input: Tensor, at: Any, values: Any) -> None:
    """input[at] = values on a tensor without history: its data is replaced by a changed copy."""
    if input.requires_grad:
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
    shape, where = _index(input, at)
    try:
        input.data = xp.reshape(xp.set_at(xp.reshape(input.data, shape), where, values), input.shape)
    except ValueError as error:
        raise ValueError(
            f"can't assign shape {getattr(values, 'shape', ())} to items of a tensor of shape {input.shape}: {error}"
        ) from None


def narrow(input: Tensor, dim: int, start: int | Tensor, length: int) -> Tensor:
    """`length` elements from `start` on along one dimension."""
    if not input.ndim:
        raise IndexError(f"narrow: a tensor without dimensions has no dimension {dim} to take from")
    dim = _dim(dim, input.ndim)
    if isinstance(start, Tensor) and (start.ndim or _kind(start) != "i"):
        raise TypeError(f"narrow: start is an integer or a tensor of one without dimensions, got {describe(start)}")
    start, length = _integer(start, "start"), _integer(length, "length")
    start = start + input.shape[dim] if start < 0 else start
    if not 0 <= start <= start + length <= input.shape[dim]:
        raise IndexError(f"narrow: {start} … {start + length} lies outside dimension {dim} of shape {input.shape}")
    return ops.getitem(input, index=(slice(None),) * dim + (slice(start, start + length),))


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The slice at one position of a dimension, without the dimension."""
    if not input.ndim:
        raise IndexError(f"select: a tensor without dimensions has no dimension {dim} to take from")
    dim = _dim(dim, input.ndim)
    return ops.getitem(input, index=(slice(None),) * dim + (_position(index, input.shape[dim], dim),))


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices at the positions of an integer vector along `dim`."""
    if not input.ndim:
        return reshape(index_select(reshape(input, 1), dim, index), ())
    dim = _dim(dim, input.ndim)
    index = index if index.ndim else index.reshape(1)
    if index.ndim != 1:
        raise IndexError(f"index_select takes a vector of positions, got shape {index.shape}; use gather or indexing")
    return ops.getitem(input, index=(slice(None),) * dim + (_positions(index, input, dim),))


def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """All windows of `size` elements along a dimension, `step` apart, as a new last dimension."""
    if not input.ndim:
        input = reshape(input, 1)
        return unfold(input, dimension, size, step).reshape(size)
    dim = _dim(dimension, input.ndim)
    count = (input.shape[dim] - size) // step + 1 if step > 0 <= size <= input.shape[dim] else 0
    if count < 1:
        raise ValueError(f"unfold: windows of {size}, {step} apart, don't fit dimension {dim} of shape {input.shape}")
    places = input.backend.asarray(np.arange(count)[:, None] * step + np.arange(size))
    windows = ops.getitem(input, index=(slice(None),) * dim + (places,))
    return windows.permute([d for d in range(windows.ndim) if d != dim + 1] + [dim + 1])


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the boolean mask is true, both broadcast together, as a vector."""
    _boolean(mask, "mask")
    shape = np.broadcast_shapes(input.shape, mask.shape) or (1,)
    return getitem(input.broadcast_to(shape), mask.broadcast_to(shape))


# --- along one dimension ----------------------------------------------------------------------------------------------
def _grid(index: Tensor, dim: int) -> list:
    """An index array's own positions in every other dimension, for reading along `dim`."""
    xp, shape = index.backend, index.shape
    grid = []
    for i, n in enumerate(shape):
        counts = xp.asarray(np.arange(n).reshape([-1 if j == i else 1 for j in range(len(shape))]))
        grid.append(None if i == dim else counts)
    return grid


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """y[i][j][k] = input[index[i][j][k]][j][k] for dim 0, and so on: an element for each entry of `index`."""
    dim = _dim(dim, input.ndim)
    if not input.ndim:
        return reshape(gather(reshape(input, 1), 0, reshape(index, -1)), index.shape)
    if not index.numel():
        return reshape(input.reshape(-1)[:0], index.shape)
    if not index.ndim:
        return reshape(gather(input, dim, reshape(index, 1)), ())
    if index.ndim != input.ndim:
        raise ValueError(f"gather: index has {index.ndim} dimensions, the tensor {input.ndim}; they must be equal")
    if any(n > m for i, (n, m) in enumerate(zip(index.shape, input.shape, strict=True)) if i != dim):
        raise ValueError(
            f"gather: index of shape {index.shape} is larger than {input.shape} apart from dimension {dim}"
        )
    grid = _grid(index, dim)
    grid[dim] = _positions(index, input, dim)
    return ops.getitem(input, index=tuple(grid))


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """As `gather`, with the other dimensions broadcast; without `dim` from the flattened tensor."""
    if dim is None:
        return gather(input.reshape(-1), 0, indices.reshape(-1))
    dim = _dim(dim, input.ndim)
    if indices.ndim != input.ndim:
        raise ValueError(
            f"take_along_dim: indices have {indices.ndim} dimensions, the tensor {input.ndim}; they must be equal"
        )
    shapes = [list(input.shape), list(indices.shape)]
    shapes[0][dim] = shapes[1][dim] = 1
    common = list(np.broadcast_shapes(*shapes))
    common[dim] = input.shape[dim]
    input = input.broadcast_to(tuple(common))
    common[dim] = indices.shape[dim]
    return gather(input, dim, indices.broadcast_to(tuple(common)))


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """input with every src[i][j][k] added at [index[i][j][k]][j][k] for dim 0, and so on; repeated positions sum up."""
    dim = _dim(dim, input.ndim)
    if not input.ndim:
        return reshape(scatter_add(reshape(input, 1), 0, reshape(index, -1), reshape(src, -1)), ())
    if index.ndim != input.ndim or src.ndim != input.ndim:
        raise ValueError(f"scatter_add: dimensions differ: tensor {input.shape}, index {index.shape}, src {src.shape}")
    if src.dtype is not input.dtype:
        raise TypeError(f"scatter_add: the tensor is {input.dtype.name}, src {src.dtype.name}; cast it with .astype")
    if any(n > m for n, m in zip(index.shape, src.shape, strict=True)):
        raise ValueError(f"scatter_add: index of shape {index.shape} is larger than src of shape {src.shape}")
    grid = _grid(index, dim)
    grid[dim] = _positions(index, input, dim)
    part = ops.getitem(src, index=tuple(slice(0, n) for n in index.shape))
    return input + ops.scatter(part, shape=input.shape, index=tuple(grid))


def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """input with the slices of `source` added at the positions of an integer vector along `dim`."""
    dim = _dim(dim, input.ndim)
    expected = tuple(index.numel() if i == dim else n for i, n in enumerate(input.shape))
    if index.ndim > 1 or source.shape != expected:
        raise ValueError(
            f"index_add: {index.shape} positions along dimension {dim} of shape {input.shape} need a source of shape "
            f"{expected}, got {source.shape}"
        )
    if source.dtype is not input.dtype:
        raise TypeError(
            f"index_add: the tensor is {input.dtype.name}, the source {source.dtype.name}; cast it with .astype"
        )
    if not input.ndim:
        return reshape(index_add(reshape(input, 1), 0, reshape(index, 1), reshape(source, 1), alpha=alpha), ())
    index = index if index.ndim else reshape(index, 1)
    where = (slice(None),) * dim + (_positions(index, input, dim),)
    return input + ops.scatter(source * alpha, shape=input.shape, index=where)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """(…) integers → (…, num_classes) with a 1 at the number's place; the classes are counted when num_classes is -1."""
    if tensor.is_floating_point() or tensor.dtype == "bool":
        raise TypeError(f"one_hot needs integers, got {tensor.dtype.name}; use .long()")
    if num_classes == -1 or tensor.backend.eager:
        values = tensor.numpy()
        top = int(values.max()) + 1 if values.size else 0
        num_classes = top if num_classes == -1 else num_classes
        if values.size and values.min() < 0 or top > num_classes:
            raise ValueError(f"one_hot: values lie from {values.min()} to {top - 1}, outside 0 … {num_classes - 1}")
    classes = _tensor(tensor.backend.arange(operator.index(num_classes)), tensor.backend)
    return ops.eq(tensor.reshape((*tensor.shape, 1)), classes.long()).long()


def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Rows of `weight` (V, D) at the positions `input` (…) → (…, D). Row `padding_idx` gets no gradient."""
    if weight.ndim != 2:
        raise ValueError(f"embedding: the weight has one row an entry, (V, D); got shape {weight.shape}")
    if padding_idx is not None:
        keep = one_hot(Tensor([padding_idx % weight.shape[0]], device=weight.device), weight.shape[0])[0].reshape(-1, 1)
        weight = where(keep != 0, weight.detach(), weight)
    return ops.getitem(weight, index=(_positions(input, weight, 0),))


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The elements on a diagonal of two dimensions, as a last dimension."""
    a, b = _dims((dim1, dim2), input.ndim)
    rest = [i for i in range(input.ndim) if i not in (a, b)]
    x = input.permute(*rest, a, b)
    n = max(0, min(x.shape[-2] + min(offset, 0), x.shape[-1] - max(offset, 0)))
    rows = input.backend.asarray(np.arange(n) - min(offset, 0))
    columns = input.backend.asarray(np.arange(n) + max(offset, 0))
    return ops.getitem(x, index=(slice(None),) * len(rest) + (rows, columns))
