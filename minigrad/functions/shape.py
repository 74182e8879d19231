"""The same elements in another shape: views, and what repeats them."""

import math
from collections.abc import Sequence

from minigrad import ops
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import Dims, _dim, _dims, _sizes, along, renamed, tensor
from minigrad.ops.shape import needs_copy

__all__ = [
    "reshape", "view", "view_as", "flatten", "unflatten", "permute", "transpose", "swapaxes", "t", "squeeze", "unsqueeze",
    "broadcast_to", "expand", "expand_as", "repeat",
]  # fmt: skip


def reshape(input: Tensor, *sizes: int | Sequence[int], shape: int | Sequence[int] = ()) -> Tensor:
    """The same elements in the same order in another shape: (n₁, …) → `sizes`, whose product is the same.

    Args:
        sizes: the new shape, as separate numbers or as one sequence; one of them may be -1, and is computed.
        shape: the same by name.

    Raises:
        ValueError: when the elements don't fit into the shape.

    The operation (minigrad/ops/shape.py):

        @op
        def reshape(xp, a, *, shape):
            return xp.reshape(a, shape)

        reshape.defvjp(lambda ops, g, a_shape: ops.reshape(g, shape=a_shape))

    >>> mg.reshape(mg.arange(6), 2, -1)
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    return ops.reshape(input, shape=_fitting("reshape", input, sizes or (shape,)))


def _fitting(who: str, input: Tensor, given: Sequence) -> tuple[int, ...]:
    """The shape that is asked for, with the size that -1 stands for, if the elements of `input` fit into it."""
    input, shape = tensor(who, "input", input), _sizes(given, who)
    known = math.prod([n for n in shape if n != -1])
    total = input.numel()
    if (
        shape.count(-1) > 1
        or any(n < -1 for n in shape)
        or (total != known if -1 not in shape else not known or total % known)
    ):
        raise ValueError(
            f"{who}: {total} elements of shape {input.shape} don't fit into {shape}; the products must be equal"
        )
    return tuple([total // known if n == -1 else n for n in shape])


def _reshaped(who: str, input: Tensor, shape: Sequence) -> Tensor:
    """`reshape` on behalf of the function `who`."""
    return ops.reshape(input, shape=_fitting(who, input, shape))


def view(input: Tensor, *shape: int | Sequence[int]) -> Tensor:
    """As `reshape`, but never a copy: (n₁, …) → `shape`, whose product is the same.

    Raises:
        ValueError: when the elements don't fit into the shape. RuntimeError: when they lie in memory in such a way that `reshape`
            would copy them, as those of `x.t()` do.

    >>> mg.view(mg.arange(4), 2, 2).shape
    (2, 2)
    """
    return _viewed("view", input, shape)


def _viewed(who: str, input: Tensor, given: Sequence) -> Tensor:
    shape = _fitting(who, input, given)
    if needs_copy(input._ties, shape):
        raise RuntimeError(
            f"{who}: a view of shape {input.shape} that was turned or cut can't be seen as {shape} without a copy; write reshape, "
            f"which copies"
        )
    return ops.reshape(input, shape=shape)


def view_as(input: Tensor, other: Tensor) -> Tensor:
    """The elements in the shape of another tensor, `other`: (n₁, …), (m₁, …) → (m₁, …).

    Raises:
        ValueError: when the tensors have different numbers of elements. RuntimeError: as `view`.

    >>> mg.view_as(mg.arange(4), mg.ones(2, 2)).shape
    (2, 2)
    """
    return _viewed("view_as", input, (tensor("view_as", "other", other).shape,))


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions start_dim … end_dim merged into one: (a, b, c, d) → (a, b·c, d) for 1 and 2.

    Raises:
        IndexError: when there is no such dimension. ValueError: when `start_dim` comes after `end_dim`.

    >>> mg.flatten(mg.ones(2, 3, 4), 1).shape
    (2, 12)
    """
    shape = tensor("flatten", "input", input).shape
    first, last = _dim(start_dim, len(shape), "flatten"), _dim(end_dim, len(shape), "flatten")
    if first > last:
        raise ValueError(
            f"flatten: start_dim {start_dim} comes after end_dim {end_dim} in shape {shape}; exchange them"
        )
    shape = shape or (1,)
    merged = math.prod(shape[first : last + 1])
    if input.ndim and first == last:
        return input
    return ops.reshape(input, shape=(*shape[:first], merged, *shape[last + 1 :]))


def unflatten(
    input: Tensor, dim: int | None = None, sizes: Sequence[int] | None = None, *, axis: int | None = None
) -> Tensor:
    """One dimension split into several: (…, a·b, …) → (…, a, b, …), the reverse of `flatten`.

    Args:
        dim: the dimension (under numpy's name: `axis`).
        sizes: the lengths of the parts; one of them may be -1, and is computed.

    Raises:
        IndexError: when there is no such dimension. ValueError: when the product of the sizes isn't its length.

    >>> mg.unflatten(mg.ones(2, 12), 1, (3, -1)).shape
    (2, 3, 4)
    """
    shape = tensor("unflatten", "input", input).shape
    dim = along("unflatten", dim, axis, len(shape))
    parts = _sizes((sizes,), "unflatten")
    n = (shape or (1,))[dim]
    parts = tuple([n // max(-math.prod(parts), 1) if part == -1 else part for part in parts])
    return _reshaped("unflatten", input, ((*shape[:dim], *parts, *shape[dim + 1 :]),))


def permute(input: Tensor, *axes: int | Sequence[int], dims: int | Sequence[int] = ()) -> Tensor:
    """The dimensions in another order: (n₀, n₁, …) → (n_dims[0], n_dims[1], …).

    Args:
        axes: the dimensions, each once, as separate numbers or as one sequence.
        dims: the same by name.

    Raises:
        ValueError: when the dimensions aren't named once each.

    The operation (minigrad/ops/shape.py):

        @op
        def permute(xp, a, *, dims):
            return xp.transpose(a, dims)

        permute.defvjp(lambda ops, g, dims: ops.permute(g, dims=_inverse(dims)))

    >>> mg.permute(mg.ones(2, 3, 4), 2, 0, 1).shape
    (4, 2, 3)
    """
    ndim = tensor("permute", "input", input).ndim
    given = _sizes(axes or (dims,), "permute")
    order = tuple([_dim(d, ndim, "permute") for d in given])
    if sorted(order) != list(range(ndim)):
        raise ValueError(f"permute: {given} doesn't name each dimension of shape {input.shape} once")
    return ops.permute(input, dims=order)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions exchanged: (…, a, …, b, …) → (…, b, …, a, …).

    Raises:
        IndexError: when there is no such dimension.

    >>> mg.transpose(mg.ones(2, 3, 4), 0, -1).shape
    (4, 3, 2)
    """
    return _exchanged("transpose", input, dim0, dim1)


def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """As `transpose`, under numpy's name: (…, a, …, b, …) → (…, b, …, a, …).

    Raises:
        IndexError: when there is no such dimension.

    >>> mg.swapaxes(mg.ones(2, 3, 4), 0, -1).shape
    (4, 3, 2)
    """
    return _exchanged("swapaxes", input, axis0, axis1)


def _exchanged(who: str, input: Tensor, first: int, second: int) -> Tensor:
    ndim = tensor(who, "input", input).ndim
    order = list(range(ndim))
    a, b = _dim(first, ndim, who), _dim(second, ndim, who)
    if order:
        order[a], order[b] = order[b], order[a]
    return ops.permute(input, dims=tuple(order))


def t(input: Tensor) -> Tensor:
    """The transpose of a matrix: (M, N) → (N, M). Vectors and numbers stay as they are.

    Raises:
        ValueError: for more than two dimensions.

    >>> mg.t(mg.ones(2, 3)).shape
    (3, 2)
    """
    ndim = tensor("t", "input", input).ndim
    if ndim > 2:
        raise ValueError(f"t() needs at most 2 dimensions, got shape {input.shape}; use transpose or permute")
    return ops.permute(input, dims=(1, 0) if ndim == 2 else tuple(range(ndim)))


def squeeze(input: Tensor, dim: Dims = None, *, axis: Dims = None) -> Tensor:
    """Without dimensions of length 1: (…, 1, …) → (…, …). A dimension of another length stays.

    Args:
        dim: the dimension, or several; None means all (under numpy's name: `axis`).

    Raises:
        IndexError: when there is no such dimension.

    >>> mg.squeeze(mg.ones(1, 2, 1)).shape, mg.squeeze(mg.ones(1, 2, 1), 0).shape
    ((2,), (2, 1))
    """
    shape = tensor("squeeze", "input", input).shape
    named = renamed("squeeze", "dim", dim, "axis", axis)
    dims = () if isinstance(named, tuple) and not named else _dims(named, len(shape), "squeeze")
    return ops.reshape(input, shape=tuple([n for i, n in enumerate(shape) if i not in dims or n != 1]))


def unsqueeze(input: Tensor, dim: int | None = None, *, axis: int | None = None) -> Tensor:
    """With a new dimension of length 1 at `dim` (under numpy's name: `axis`): (a, b) → (a, 1, b) for 1.

    Raises:
        IndexError: when the result has no such dimension.

    >>> mg.unsqueeze(mg.ones(2, 3), -1).shape
    (2, 3, 1)
    """
    shape = tensor("unsqueeze", "input", input).shape
    dim = along("unsqueeze", dim, axis, len(shape) + 1)
    return ops.reshape(input, shape=(*shape[:dim], 1, *shape[dim:]))


def broadcast_to(input: Tensor, shape: int | Sequence[int]) -> Tensor:
    """Dimensions of length 1, and missing leading ones, repeated to `shape` without copying: (3, 1) → (2, 3, 4).

    Raises:
        ValueError: when another dimension would have to change.

    The operation (minigrad/ops/shape.py):

        @op
        def broadcast_to(xp, a, *, shape):
            return xp.broadcast_to(a, shape)

        broadcast_to.defvjp(lambda ops, g, a_shape: ops.sum_to(g, shape=a_shape))

    >>> mg.broadcast_to(mg.tensor([1, 2]), (2, 2))
    tensor([[1, 2],
            [1, 2]])
    """
    wanted = _sizes((shape,), "broadcast_to")
    try:
        return ops.broadcast_to(tensor("broadcast_to", "input", input), shape=wanted)
    except ValueError:
        raise _unfit("broadcast_to", input, wanted) from None


def _unfit(who: str, input: Tensor, wanted: tuple[int, ...]) -> ValueError:
    return ValueError(
        f"{who}: shape {input.shape} can't become {wanted}; dimensions of length 1 are repeated and leading ones added, the others stay"
    )


def expand(input: Tensor, *shape: int | Sequence[int]) -> Tensor:
    """As `broadcast_to`, with -1 for a dimension that keeps its length: (3, 1) → (3, 4) for (-1, 4).

    Raises:
        ValueError: when another dimension would have to change.

    >>> mg.expand(mg.ones(3, 1), -1, 4).shape
    (3, 4)
    """
    return _expanded("expand", input, shape)


def _expanded(who: str, input: Tensor, shape: Sequence) -> Tensor:
    own, wanted = tensor(who, "input", input).shape, _sizes(shape, who)
    lead = len(wanted) - len(own)
    wanted = tuple([own[i - lead] if n == -1 and i >= lead else n for i, n in enumerate(wanted)])
    try:
        return ops.broadcast_to(input, shape=wanted)
    except ValueError:
        raise _unfit(who, input, wanted) from None


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """Broadcast to the shape of another tensor, `other`: (3, 1), (2, 3, 4) → (2, 3, 4).

    Raises:
        ValueError: when the shapes don't allow it.

    >>> mg.expand_as(mg.ones(3, 1), mg.ones(2, 3, 4)).shape
    (2, 3, 4)
    """
    return _expanded("expand_as", input, (tensor("expand_as", "other", other).shape,))


def repeat(input: Tensor, *sizes: int | Sequence[int]) -> Tensor:
    """The tensor tiled sizes[i] times along dimension i: (a, b) → (sizes[0]·a, sizes[1]·b). More sizes than dimensions make
    leading dimensions.

    Raises:
        ValueError: for fewer sizes than dimensions.

    >>> mg.repeat(mg.tensor([1, 2]), 2, 2)
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """
    own, counts = tensor("repeat", "input", input).shape, _sizes(sizes, "repeat")
    if len(counts) < len(own):
        raise ValueError(f"repeat: {len(counts)} counts for {len(own)} dimensions; give one for each")
    shape = (1,) * (len(counts) - len(own)) + own
    ones = [n for size in shape for n in (1, size)]
    pairs = [n for pair in zip(counts, shape, strict=True) for n in pair]
    tiled = _expanded("repeat", ops.reshape(input, shape=tuple(ones)), (pairs,))
    result = _reshaped("repeat", tiled, ([r * n for r, n in zip(counts, shape, strict=True)],))
    return result if result._ties is None else ops.clone(result)  # counts of 1 copy, too
