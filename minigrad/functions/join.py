"""Joining tensors and taking them apart."""

from collections.abc import Sequence

from minigrad import ops
from minigrad.dtypes import promote
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import _dim, _sizes

__all__ = ["cat", "stack", "split", "chunk", "unbind", "concat"]


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors joined along an existing dimension; dtypes are promoted."""
    tensors = _promoted(tensors, "cat")
    tensors = [t for t in tensors if t.shape != (0,)] or tensors[:1]
    dim = _dim(dim, tensors[0].ndim)
    if len({(t.ndim, t.shape[:dim] + t.shape[dim + 1 :]) for t in tensors}) > 1 or not tensors[0].ndim:
        raise ValueError(
            f"cat: tensors of shapes {', '.join(str(t.shape) for t in tensors)} can't be joined along dimension {dim}; they "
            "must agree in all others"
        )
    return ops.cat(*tensors, dim=dim)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape joined along a new dimension."""
    tensors = _promoted(tensors, "stack")
    if len({t.shape for t in tensors}) > 1:
        raise ValueError(
            f"stack: the shapes {', '.join(str(t.shape) for t in tensors)} differ; tensors are stacked that have one shape"
        )
    return ops.stack(*tensors, dim=_dim(dim, tensors[0].ndim + 1))


def _promoted(tensors: Sequence[Tensor], name: str) -> list[Tensor]:
    given, tensors = tensors, list(tensors) if hasattr(tensors, "__iter__") and not isinstance(tensors, Tensor) else []
    if not tensors or not all(isinstance(t, Tensor) for t in tensors):
        came = [type(t).__name__ for t in tensors] if isinstance(given, tuple | list) else type(given).__name__
        raise TypeError(f"{name}: expected a list of at least one tensor, got {came}")
    dtype = tensors[0].dtype
    for t in tensors[1:]:
        dtype = promote(dtype, t.dtype)
    return [t.astype(dtype) for t in tensors]


def split(tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of one size (the last may be smaller), or of the sizes given, along `dim`."""
    dim, sizes = _dim(dim, tensor.ndim), split_size_or_sections
    n = tensor.shape[dim]
    if not isinstance(sizes, tuple | list):
        sizes = _sizes((sizes,))[0]
        if sizes <= 0 and not (sizes == 0 == n):
            raise ValueError(f"split: the piece size must be positive, got {sizes}")
        sizes = [min(sizes, n - i) for i in range(0, n, max(sizes, 1))] or [0]
    if sum(sizes) != n or any(s < 0 for s in sizes):
        raise ValueError(
            f"split: sizes {tuple(sizes)} don't add up to {n}, the length of dimension {dim} of {tensor.shape}"
        )
    return ops.split(tensor, sizes=tuple(sizes), dim=dim)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of equal length (the last may be smaller)."""
    if chunks <= 0:
        raise ValueError(f"chunk: the number of pieces must be positive, got {chunks}")
    n = input.shape[_dim(dim, input.ndim)]
    if n == 0:
        return split(input, [0] * chunks, dim)
    return split(input, -(-n // chunks), dim)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along `dim`, without it."""
    if not input.ndim:
        raise IndexError("unbind: a tensor without dimensions, of shape (), has no slices")
    return ops.unbind(input, dim=_dim(dim, input.ndim))


concat = cat
