"""Joining tensors and taking them apart."""

import itertools
from collections.abc import Iterable, Sequence

from minigrad import ops
from minigrad.dtypes import promote
from minigrad.engine.inplace import viewed
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import _dim, _integer, _sizes, along
from minigrad.functions.arguments import tensor as checked  # `split` has a parameter of that name

__all__ = ["cat", "concat", "stack", "split", "chunk", "unbind"]


def cat(tensors: Sequence[Tensor], dim: int | None = None, *, axis: int | None = None) -> Tensor:
    """Tensors one after the other along a dimension: (…, n₁, …), (…, n₂, …), … → (…, n₁ + n₂ + …, …). Their dtypes are
    promoted.

    Args:
        tensors: at least one, equal in all other dimensions. Those of shape (0,) are left out.
        dim: the dimension, 0 by default (under numpy's name: `axis`).

    Raises:
        TypeError: for anything but a list of tensors. ValueError: when their shapes differ elsewhere.
        IndexError: when there is no such dimension.

    The operation (minigrad/ops/join.py):

        @op
        def cat(xp, *tensors, dim):
            return xp.concatenate(tensors, axis=dim)

        cat.defvjp(lambda ops, g, i, tensors_shape, dim: ops.getitem(g, index=_part(tensors_shape, i, dim)))

    >>> mg.cat([mg.tensor([1, 2]), mg.tensor([3])])
    tensor([1, 2, 3])
    """
    given, place = _joinable("cat", tensors, dim, axis)
    return ops.cat(*given, dim=place)


def concat(tensors: Sequence[Tensor], dim: int | None = None, *, axis: int | None = None) -> Tensor:
    """As `cat`, under another of its names: (…, n₁, …), (…, n₂, …), … → (…, n₁ + n₂ + …, …).

    Args:
        tensors: at least one, equal in all other dimensions. Those of shape (0,) are left out.
        dim: the dimension, 0 by default (under numpy's name: `axis`).

    Raises:
        TypeError: for anything but a list of tensors. ValueError: when their shapes differ elsewhere.
        IndexError: when there is no such dimension.

    >>> mg.concat([mg.tensor([1, 2]), mg.tensor([3])])
    tensor([1, 2, 3])
    """
    given, place = _joinable("concat", tensors, dim, axis)
    return ops.cat(*given, dim=place)


def _joinable(who: str, tensors: Sequence[Tensor], dim: int | None, axis: int | None) -> tuple[list[Tensor], int]:
    """The tensors that make up the result, and the dimension."""
    promoted = _promoted(tensors, who)
    given = [t for t in promoted if t.shape != (0,)] or promoted[:1]
    place = along(who, dim, axis, given[0].ndim, 0)
    if len({(t.ndim, t.shape[:place] + t.shape[place + 1 :]) for t in given}) > 1 or not given[0].ndim:
        raise ValueError(
            f"{who}: tensors of shapes {', '.join(str(t.shape) for t in given)} can't be joined along dimension {place}; they "
            "must agree in all others"
        )
    return given, place


def stack(tensors: Sequence[Tensor], dim: int | None = None, *, axis: int | None = None) -> Tensor:
    """k tensors of one shape along a new dimension: (a, b), … → (k, a, b) for 0. Their dtypes are promoted.

    Args:
        tensors: at least one.
        dim: the new dimension, 0 by default (under numpy's name: `axis`).

    Raises:
        TypeError: for anything but a list of tensors. ValueError: when the shapes differ.
        IndexError: when the result has no such dimension.

    The operation (minigrad/ops/join.py):

        @op
        def stack(xp, *tensors, dim):
            return xp.stack(tensors, axis=dim)

        stack.defvjp(lambda ops, g, i, dim: ops.getitem(g, index=(slice(None),) * dim + (i,)))

    >>> mg.stack([mg.tensor([1, 2]), mg.tensor([3, 4])], 1)
    tensor([[1, 3],
            [2, 4]])
    """
    given = _promoted(tensors, "stack")
    if len({t.shape for t in given}) > 1:
        raise ValueError(
            f"stack: the shapes {', '.join(str(t.shape) for t in given)} differ; tensors are stacked that have one shape"
        )
    return ops.stack(*given, dim=along("stack", dim, axis, given[0].ndim + 1, 0))


def _promoted(tensors: Sequence[Tensor], who: str) -> list[Tensor]:
    """The tensors in their common dtype."""
    given = list(tensors) if hasattr(tensors, "__iter__") and not isinstance(tensors, Tensor) else []
    if not given or not all(isinstance(t, Tensor) for t in given):
        came = [type(t).__name__ for t in given] if isinstance(tensors, tuple | list) else type(tensors).__name__
        raise TypeError(f"{who}: expected a list of at least one tensor, got {came}")
    dtype = given[0].dtype
    for t in given[1:]:
        dtype = promote(dtype, t.dtype)
    return [t.astype(dtype) for t in given]


def split(tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces along a dimension: (…, n, …) → (…, n₁, …), (…, n₂, …), … with n₁ + n₂ + … = n.

    Args:
        split_size_or_sections: the length of every piece (the last may be shorter), or a list of the lengths.
        dim: the dimension.

    Raises:
        IndexError: when there is no such dimension. ValueError: when the lengths don't add up to n, or aren't positive.

    The operation (minigrad/ops/join.py):

        @op
        def split(xp, a, *, sizes, dim):
            parts, start = [], 0
            for n in sizes:
                parts.append(a[(slice(None),) * dim + (slice(start, start + n),)])
                start += n
            return tuple(parts)

        split.defvjp(lambda ops, g, dim: ops.cat(*g, dim=dim))

    >>> mg.split(mg.arange(3), 2)
    (tensor([0, 1]), tensor([2]))
    """
    shape = checked("split", "tensor", tensor).shape
    if not shape:
        raise IndexError("split: a tensor without dimensions, of shape (), can't be split")
    dim, lengths = _dim(dim, len(shape), "split"), split_size_or_sections
    n = shape[dim]
    if isinstance(lengths, tuple | list):
        pieces = _sizes((lengths,), "split")
    else:
        size = _integer(lengths, "piece size", "split")
        if size <= 0 and not (size == 0 == n):
            raise ValueError(f"split: the piece size must be positive, got {size}")
        pieces = tuple([min(size, n - i) for i in range(0, n, max(size, 1))]) or (0,)
    if sum(pieces) != n or any(size < 0 for size in pieces):
        raise ValueError(f"split: sizes {pieces} don't add up to {n}, the length of dimension {dim} of {shape}")
    ends = list(itertools.accumulate(pieces))
    return _views(
        tensor,
        ops.split(tensor, sizes=pieces, dim=dim),
        dim,
        [slice(e - n, e) for n, e in zip(pieces, ends, strict=True)],
    )


def chunk(input: Tensor, chunks: int, dim: int | None = None, *, axis: int | None = None) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of length ⌈n / chunks⌉ along a dimension of length n; the last may be shorter.

    Shape: (…, n, …) → (…, ⌈n / chunks⌉, …), …

    Args:
        dim: the dimension, 0 by default (under numpy's name: `axis`).

    Raises:
        IndexError: when there is no such dimension. ValueError: when `chunks` isn't positive.

    >>> mg.chunk(mg.arange(5), 2)
    (tensor([0, 1, 2]), tensor([3, 4]))
    """
    shape = checked("chunk", "input", input).shape
    if _integer(chunks, "number of pieces", "chunk") <= 0:
        raise ValueError(f"chunk: the number of pieces must be positive, got {chunks}")
    if not shape:
        raise IndexError("chunk: a tensor without dimensions, of shape (), can't be split")
    dim = along("chunk", dim, axis, len(shape), 0)
    if shape[dim] == 0:
        return split(input, [0] * chunks, dim)
    return split(input, -(-shape[dim] // chunks), dim)


def unbind(input: Tensor, dim: int | None = None, *, axis: int | None = None) -> tuple[Tensor, ...]:
    """The slices along a dimension, without it: (…, n, …) → n tensors of shape (…, …).

    Args:
        dim: the dimension, 0 by default (under numpy's name: `axis`).

    Raises:
        IndexError: when there is no such dimension.

    The operation (minigrad/ops/join.py):

        @op
        def unbind(xp, a, *, dim):
            return tuple(a[(slice(None),) * dim + (i,)] for i in range(a.shape[dim]))

        unbind.defvjp(lambda ops, g, dim: ops.stack(*g, dim=dim))

    >>> mg.unbind(mg.tensor([[1, 2], [3, 4]]))
    (tensor([1, 2]), tensor([3, 4]))
    """
    ndim = checked("unbind", "input", input).ndim
    if not ndim:
        raise IndexError("unbind: a tensor without dimensions, of shape (), has no slices")
    dim = along("unbind", dim, axis, ndim, 0)
    return _views(input, ops.unbind(input, dim=dim), dim, range(input.shape[dim]))


def _views(input: Tensor, parts: tuple[Tensor, ...], dim: int, places: Iterable[int | slice]) -> tuple[Tensor, ...]:
    """Parts of a tensor along a dimension as views of it."""
    for part, place in zip(parts, places, strict=True):
        viewed(input, part, ops.getitem, {"index": (slice(None),) * dim + (place,)}, "several")
    return parts
