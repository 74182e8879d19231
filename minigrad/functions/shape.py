"""Functions that move elements about without changing them: views, padding, and the change of dtype or device."""

import math
from collections.abc import Sequence

from minigrad import ops
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import Dims, DTypeLike, _dim, _dims, _sizes

__all__ = [
    "cast", "to_device", "clone", "contiguous", "reshape", "view", "view_as", "flatten", "unflatten", "permute",
    "transpose", "t", "squeeze", "unsqueeze", "broadcast_to", "expand", "expand_as", "repeat", "flip", "roll",
    "pad_zeros", "tril", "triu", "swapaxes",
]  # fmt: skip


# --- dtype and device -------------------------------------------------------------------------------------------------
def cast(input: Tensor, *, dtype: DTypeLike) -> Tensor:
    """a in another dtype."""
    return ops.cast(input, dtype=dtype)


def to_device(input: Tensor, *, device: str) -> Tensor:
    """a on another device."""
    return ops.to_device(input, device=device)


def clone(input: Tensor) -> Tensor:
    """The same values with a place of their own on the tape (arrays are never written, so they may be shared)."""
    return ops.clone(input)


def contiguous(input: Tensor) -> Tensor:
    """The tensor itself: memory layout is the engine's affair here."""
    return input.to()


# --- views ------------------------------------------------------------------------------------------------------------
def reshape(input: Tensor, *sizes: int | Sequence[int], shape: int | Sequence[int] = ()) -> Tensor:
    """The elements, in order, in another shape; one size may be -1."""
    sizes = _sizes(sizes or (shape,))
    known = math.prod(n for n in sizes if n != -1)
    total = input.numel()
    if (
        sizes.count(-1) > 1
        or any(n < -1 for n in sizes)
        or (total != known if -1 not in sizes else not known or total % known)
    ):
        raise ValueError(
            f"reshape: {total} elements of shape {input.shape} don't fit into {sizes}; the products must be equal"
        )
    return ops.reshape(input, shape=tuple(total // known if n == -1 else n for n in sizes))


def view(input: Tensor, *shape: int | Sequence[int]) -> Tensor:
    """As `reshape`."""
    return reshape(input, *shape)


def view_as(input: Tensor, other: Tensor) -> Tensor:
    """In the shape of another tensor."""
    return reshape(input, other.size())


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions start_dim … end_dim merged into one."""
    first, last = _dim(start_dim, input.ndim), _dim(end_dim, input.ndim)
    if first > last:
        raise ValueError(
            f"flatten: start_dim {start_dim} comes after end_dim {end_dim} in shape {input.shape}; exchange them"
        )
    shape = input.shape or (1,)
    return reshape(input, (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """One dimension split into several; one size may be -1."""
    dim = _dim(dim, input.ndim)
    inner = [input.shape[dim] // max(-math.prod(sizes), 1) if n == -1 else n for n in sizes]
    return reshape(input, (*input.shape[:dim], *inner, *input.shape[dim + 1 :]))


def permute(input: Tensor, *axes: int | Sequence[int], dims: int | Sequence[int] = ()) -> Tensor:
    """The dimensions in another order."""
    dims = _sizes(axes or (dims,))
    order = tuple(_dim(d, input.ndim) for d in dims)
    if sorted(order) != list(range(input.ndim)):
        raise ValueError(f"permute: {dims} doesn't name each dimension of shape {input.shape} once")
    return ops.permute(input, dims=order)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions exchanged."""
    order = list(range(input.ndim))
    if order:
        a, b = _dim(dim0, input.ndim), _dim(dim1, input.ndim)
        order[a], order[b] = order[b], order[a]
    return ops.permute(input, dims=tuple(order))


def t(input: Tensor) -> Tensor:
    """The transpose of a matrix (vectors and numbers stay as they are)."""
    if input.ndim > 2:
        raise ValueError(f"t() needs at most 2 dimensions, got shape {input.shape}; use transpose or permute")
    return transpose(input, 0, -1)


def squeeze(input: Tensor, dim: Dims = None) -> Tensor:
    """Without the dimensions of length 1 (all of them, or those named)."""
    dims = _dims(dim, input.ndim) if dim != () else ()
    return ops.reshape(input, shape=tuple(n for i, n in enumerate(input.shape) if i not in dims or n != 1))


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a new dimension of length 1 at `dim`."""
    dim = _dim(dim, input.ndim + 1)
    return ops.reshape(input, shape=(*input.shape[:dim], 1, *input.shape[dim:]))


def broadcast_to(input: Tensor, shape: int | Sequence[int]) -> Tensor:
    """Dimensions of length 1 (and missing leading ones) repeated to `shape`, without copying."""
    return ops.broadcast_to(input, shape=_sizes((shape,)))


def expand(input: Tensor, *shape: int | Sequence[int]) -> Tensor:
    """As `broadcast_to`; a size of -1 keeps the length."""
    shape = _sizes(shape)
    lead = len(shape) - input.ndim
    sizes = tuple(input.shape[i - lead] if n == -1 and i >= lead else n for i, n in enumerate(shape))
    return ops.broadcast_to(input, shape=sizes)


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """Broadcast to the shape of another tensor."""
    return expand(input, other.size())


def repeat(input: Tensor, *sizes: int | Sequence[int]) -> Tensor:
    """The tensor tiled `sizes[i]` times along dimension i."""
    sizes = _sizes(sizes)
    if len(sizes) < input.ndim:
        raise ValueError(f"repeat: {len(sizes)} counts for {input.ndim} dimensions; give one for each")
    shape = (1,) * (len(sizes) - input.ndim) + input.shape
    pairs = [n for pair in zip(sizes, shape, strict=True) for n in pair]
    ones = [n for size in shape for n in (1, size)]
    out = reshape(broadcast_to(reshape(input, ones), pairs), [r * n for r, n in zip(sizes, shape, strict=True)])
    return out


# --- order, padding, triangles ----------------------------------------------------------------------------------------
def flip(input: Tensor, *axes: int | Sequence[int], dims: int | Sequence[int] = ()) -> Tensor:
    """The order of the elements reversed along the dimensions."""
    return ops.flip(input, dims=tuple(_dim(d, input.ndim) for d in _sizes(axes or (dims,))))


def roll(input: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Tensor:
    """Elements shifted by `shifts`, coming in again at the other end; without `dims` in the flattened order."""
    shifts, dims = _sizes((shifts,)), () if dims is None else _sizes((dims,))
    if not shifts:
        raise ValueError("roll: no shifts given; say by how many places the elements move")
    if not dims:
        return reshape(ops.roll(reshape(input, -1), shifts=shifts[:1], dims=(0,)), input.shape)
    if not input.ndim:
        raise IndexError(f"roll: a tensor without dimensions has no dimension {dims[0]}; leave dims out")
    dims = tuple(_dim(d, input.ndim) for d in dims)
    if len(dims) != len(shifts):
        raise ValueError(f"roll: {len(shifts)} shifts for {len(dims)} dimensions; give one for each")
    return ops.roll(input, shifts=shifts, dims=dims)


def pad_zeros(input: Tensor, *, widths: tuple[tuple[int, int], ...]) -> Tensor:
    """Zeros around a: (before, after) for every dimension."""
    return ops.pad_zeros(input, widths=widths)


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle of matrices, zeros above diagonal number `diagonal`."""
    return ops.tril(_matrices(input, "tril"), diagonal=diagonal)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle of matrices, zeros below diagonal number `diagonal`."""
    return ops.triu(_matrices(input, "triu"), diagonal=diagonal)


def _matrices(input: Tensor, name: str) -> Tensor:
    if input.ndim < 2:
        raise ValueError(f"{name} needs at least 2 dimensions, got shape {input.shape}")
    return input


swapaxes = transpose
