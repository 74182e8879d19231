"""The elements in another order, or with zeros among them."""

from collections.abc import Sequence

from minigrad import ops
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import _dim, _integer, _sizes, tensor, told

__all__ = ["flip", "roll", "pad_zeros", "tril", "triu"]


def flip(input: Tensor, *axes: int | Sequence[int], dims: int | Sequence[int] = ()) -> Tensor:
    """The order of the elements reversed along dimensions: yᵢ = x₍ₙ₋₁₋ᵢ₎. (…) → (…).

    Args:
        axes: the dimensions, as separate numbers or as one sequence.
        dims: the same by name.

    Raises:
        IndexError: when there is no such dimension.

    The operation (minigrad/ops/shape.py):

        @op
        def flip(xp, a, *, dims):
            return a[tuple(slice(None, None, -1) if i in dims else slice(None) for i in range(a.ndim))]

        flip.defvjp(lambda ops, g, dims: ops.flip(g, dims=dims))

    >>> mg.flip(mg.arange(3), 0)
    tensor([2, 1, 0])
    """
    ndim = tensor("flip", "input", input).ndim
    return ops.flip(input, dims=tuple([_dim(d, ndim, "flip") for d in _sizes(axes or (dims,), "flip")]))


def roll(input: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Tensor:
    """Elements moved by `shifts` places along dimensions, coming in again at the other end: y₍ᵢ₊ₛ₎ = xᵢ. (…) → (…).

    Args:
        shifts: a number of places for each dimension.
        dims: the dimensions; without them the elements move in flattened order.

    Raises:
        IndexError: when there is no such dimension. ValueError: when the numbers of shifts and dimensions differ.

    The operation (minigrad/ops/shape.py):

        @op
        def roll(xp, a, *, shifts, dims):
            return xp.roll(a, shifts, axis=dims)

        roll.defvjp(lambda ops, g, shifts, dims: ops.roll(g, shifts=tuple(-s for s in shifts), dims=dims))

    >>> mg.roll(mg.arange(4), 1)
    tensor([3, 0, 1, 2])
    """
    input, places = tensor("roll", "input", input), _sizes((shifts,), "roll")
    named = () if dims is None else _sizes((dims,), "roll")
    if not places:
        raise ValueError("roll: no shifts given; say by how many places the elements move")
    if not named:
        flat = ops.reshape(input, shape=(input.numel(),))
        return ops.reshape(ops.roll(flat, shifts=places[:1], dims=(0,)), shape=input.shape)
    if not input.ndim:
        raise IndexError(f"roll: a tensor without dimensions has no dimension {named[0]}; leave dims out")
    if len(named) != len(places):
        raise ValueError(f"roll: {len(places)} shifts for {len(named)} dimensions; give one for each")
    return ops.roll(input, shifts=places, dims=tuple([_dim(d, input.ndim, "roll") for d in named]))


def pad_zeros(input: Tensor, *, widths: tuple[tuple[int, int], ...]) -> Tensor:
    """Zeros around the elements: `widths` has (before, after) for every dimension, (…, n, …) → (…, before + n + after, …).

    Raises:
        ValueError: when there isn't one pair for each dimension.

    The operation (minigrad/ops/shape.py):

        @op
        def pad_zeros(xp, a, *, widths):
            return xp.pad(a, widths)

        pad_zeros.defvjp(lambda ops, g, a_shape, widths: ops.getitem(g, index=_crop(a_shape, widths)))

    >>> mg.pad_zeros(mg.tensor([1, 2]), widths=((1, 2),))
    tensor([0, 1, 2, 0, 0])
    """
    ndim = tensor("pad_zeros", "input", input).ndim
    pairs = isinstance(widths, tuple | list) and all(isinstance(w, tuple | list) and len(w) == 2 for w in widths)
    if not pairs or len(widths) != ndim or any(_integer(n, "width", "pad_zeros") < 0 for w in widths for n in w):
        raise ValueError(
            f"pad_zeros: expected a pair (before, after) of numbers ≥ 0 for each of {ndim} dimensions, got {told(widths)}"
        )
    return ops.pad_zeros(input, widths=tuple([tuple(w) for w in widths]))


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle of matrices: yᵢⱼ = xᵢⱼ where j - i ≤ `diagonal`, 0 elsewhere. (…, M, N) → (…, M, N).

    Raises:
        ValueError: for fewer than two dimensions.

    The operation (minigrad/ops/shape.py):

        @op
        def tril(xp, a, *, diagonal):
            return xp.tril(a, diagonal)

        tril.defvjp(lambda ops, g, diagonal: ops.tril(g, diagonal=diagonal))

    >>> mg.tril(mg.ones(2, 2))
    tensor([[1., 0.],
            [1., 1.]])
    """
    return ops.tril(_matrices(input, "tril"), diagonal=_integer(diagonal, "diagonal", "tril"))


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle of matrices: yᵢⱼ = xᵢⱼ where j - i ≥ `diagonal`, 0 elsewhere. (…, M, N) → (…, M, N).

    Raises:
        ValueError: for fewer than two dimensions.

    The operation (minigrad/ops/shape.py):

        @op
        def triu(xp, a, *, diagonal):
            return xp.triu(a, diagonal)

        triu.defvjp(lambda ops, g, diagonal: ops.triu(g, diagonal=diagonal))

    >>> mg.triu(mg.ones(2, 2))
    tensor([[1., 1.],
            [0., 1.]])
    """
    return ops.triu(_matrices(input, "triu"), diagonal=_integer(diagonal, "diagonal", "triu"))


def _matrices(input: Tensor, who: str) -> Tensor:
    if tensor(who, "input", input).ndim < 2:
        raise ValueError(f"{who} needs at least 2 dimensions, got shape {input.shape}")
    return input
