"""Joining tensors and taking them apart."""

from collections.abc import Sequence

from minigrad import ops
from minigrad.dtypes import promote
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import FIRST, dim_or_axis, dimension, integer, whole_numbers
from minigrad.functions.arguments import tensor as checked  # `split` has a parameter of that name

__all__ = ["cat", "stack", "split", "chunk", "unbind", "concat"]


def cat(tensors: Sequence[Tensor], dim: int = FIRST, *, axis: int | None = None) -> Tensor:
    """Tensors one after the other along a dimension: (…, n₁, …), (…, n₂, …), … → (…, n₁ + n₂ + …, …). Their dtypes are
    promoted.

    Args:
        tensors: at least one, equal in all other dimensions. Those of shape (0,) are left out.
        dim: the dimension (under numpy's name: `axis`).

    Raises:
        TypeError: for anything but a list of tensors. ValueError: when their shapes differ elsewhere.
        IndexError: when there is no such dimension.

    @@ minigrad/ops/join.py cat

    >>> import minigrad as mg
    >>> mg.cat([mg.tensor([1, 2]), mg.tensor([3])])
    tensor([1, 2, 3])
    """
    promoted = _promoted(tensors, "cat")
    given = [t for t in promoted if t.shape != (0,)] or promoted[:1]
    dim = dimension("cat", dim_or_axis("cat", dim, axis), given[0].ndim)
    if len({(t.ndim, t.shape[:dim] + t.shape[dim + 1 :]) for t in given}) > 1 or not given[0].ndim:
        raise ValueError(
            f"cat: tensors of shapes {', '.join(str(t.shape) for t in given)} can't be joined along dimension {dim}; they "
            "must agree in all others"
        )
    return ops.cat(*given, dim=dim)


def stack(tensors: Sequence[Tensor], dim: int = FIRST, *, axis: int | None = None) -> Tensor:
    """k tensors of one shape along a new dimension: (a, b), … → (k, a, b) for 0. Their dtypes are promoted.

    Args:
        tensors: at least one.
        dim: the new dimension (under numpy's name: `axis`).

    Raises:
        TypeError: for anything but a list of tensors. ValueError: when the shapes differ.
        IndexError: when the result has no such dimension.

    @@ minigrad/ops/join.py stack

    >>> import minigrad as mg
    >>> mg.stack([mg.tensor([1, 2]), mg.tensor([3, 4])], 1)
    tensor([[1, 3],
            [2, 4]])
    """
    given = _promoted(tensors, "stack")
    if len({t.shape for t in given}) > 1:
        raise ValueError(
            f"stack: the shapes {', '.join(str(t.shape) for t in given)} differ; tensors are stacked that have one shape"
        )
    return ops.stack(*given, dim=dimension("stack", dim_or_axis("stack", dim, axis), given[0].ndim + 1))


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

    @@ minigrad/ops/join.py split

    >>> import minigrad as mg
    >>> mg.split(mg.arange(3), 2)
    (tensor([0, 1]), tensor([2]))
    """
    shape = checked("split", "tensor", tensor).shape
    if not shape:
        raise IndexError("split: a tensor without dimensions, of shape (), can't be split")
    dim, lengths = dimension("split", dim, len(shape)), split_size_or_sections
    n = shape[dim]
    if isinstance(lengths, tuple | list):
        pieces = whole_numbers("split", lengths)
    else:
        size = integer("split", "the piece size", lengths)
        if size <= 0 and not (size == 0 == n):
            raise ValueError(f"split: the piece size must be positive, got {size}")
        pieces = tuple([min(size, n - i) for i in range(0, n, max(size, 1))]) or (0,)
    if sum(pieces) != n or any(size < 0 for size in pieces):
        raise ValueError(f"split: sizes {pieces} don't add up to {n}, the length of dimension {dim} of {shape}")
    return ops.split(tensor, sizes=pieces, dim=dim)


def chunk(input: Tensor, chunks: int, dim: int = FIRST, *, axis: int | None = None) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of length ⌈n / chunks⌉ along a dimension of length n; the last may be shorter.

    Args:
        dim: the dimension (under numpy's name: `axis`).

    Raises:
        IndexError: when there is no such dimension. ValueError: when `chunks` isn't positive.

    >>> import minigrad as mg
    >>> mg.chunk(mg.arange(5), 2)
    (tensor([0, 1, 2]), tensor([3, 4]))
    """
    shape = checked("chunk", "input", input).shape
    if integer("chunk", "the number of pieces", chunks) <= 0:
        raise ValueError(f"chunk: the number of pieces must be positive, got {chunks}")
    if not shape:
        raise IndexError("chunk: a tensor without dimensions, of shape (), can't be split")
    dim = dimension("chunk", dim_or_axis("chunk", dim, axis), len(shape))
    if shape[dim] == 0:
        return split(input, [0] * chunks, dim)
    return split(input, -(-shape[dim] // chunks), dim)


def unbind(input: Tensor, dim: int = FIRST, *, axis: int | None = None) -> tuple[Tensor, ...]:
    """The slices along a dimension, without it: (…, n, …) → n tensors of shape (…, …).

    Args:
        dim: the dimension (under numpy's name: `axis`).

    Raises:
        IndexError: when there is no such dimension.

    @@ minigrad/ops/join.py unbind

    >>> import minigrad as mg
    >>> mg.unbind(mg.tensor([[1, 2], [3, 4]]))
    (tensor([1, 2]), tensor([3, 4]))
    """
    ndim = checked("unbind", "input", input).ndim
    if not ndim:
        raise IndexError("unbind: a tensor without dimensions, of shape (), has no slices")
    return ops.unbind(input, dim=dimension("unbind", dim_or_axis("unbind", dim, axis), ndim))


concat = cat
