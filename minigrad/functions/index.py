"""Reading and adding elements by their positions along dimensions."""

import numpy as np

from minigrad import ops
from minigrad.engine.tensor import Tensor, _tensor
from minigrad.functions.arguments import _boolean, _dim, _dims, _integer, along, renamed, told
from minigrad.functions.arguments import tensor as checked  # `one_hot` has a parameter of that name
from minigrad.functions.choice import where
from minigrad.functions.getitem import getitem, kind, position, positions, setitem
from minigrad.messages import describe

__all__ = [
    "getitem", "setitem", "narrow", "select", "index_select", "masked_select", "gather", "take_along_dim",
    "scatter_add", "index_add", "one_hot", "embedding", "diagonal",
]  # fmt: skip


def _along(who: str, input: Tensor, dim: int | None, axis: int | None) -> int:
    """The dimension that a function of a tensor with dimensions is asked to go along."""
    if not input.ndim:
        given = renamed(who, "dim", dim, "axis", axis)
        raise IndexError(f"{who}: a tensor without dimensions has no dimension {told(given)} to take from")
    return along(who, dim, axis, input.ndim)


def narrow(
    input: Tensor,
    dim: int | None = None,
    start: int | Tensor | None = None,
    length: int | None = None,
    *,
    axis: int | None = None,
) -> Tensor:
    """`length` elements from `start` on along one dimension: (…, n, …) → (…, length, …).

    Args:
        dim: the dimension (under numpy's name: `axis`).
        start: a whole number, or a tensor of one; negative ones count from the end.

    Raises:
        IndexError: when there is no such dimension, or the elements aren't all in it. TypeError: for numbers that aren't whole.

    >>> mg.narrow(mg.arange(5), 0, 1, 3)
    tensor([1, 2, 3])
    """
    dim = _along("narrow", checked("narrow", "input", input), dim, axis)
    if isinstance(start, Tensor) and (start.ndim or kind(start) != "i"):
        raise TypeError(f"narrow: start is an integer or a tensor of one without dimensions, got {describe(start)}")
    first, count = _integer(start, "start", "narrow"), _integer(length, "length", "narrow")
    first = first + input.shape[dim] if first < 0 else first
    if not 0 <= first <= first + count <= input.shape[dim]:
        raise IndexError(f"narrow: {first} … {first + count} lies outside dimension {dim} of shape {input.shape}")
    return ops.getitem(input, index=(slice(None),) * dim + (slice(first, first + count),))


def select(input: Tensor, dim: int | None = None, index: int | None = None, *, axis: int | None = None) -> Tensor:
    """The slice at one position of a dimension, without the dimension: (…, n, …) → (…, …).

    Args:
        dim: the dimension (under numpy's name: `axis`).
        index: the position; negative ones count from the end.

    Raises:
        IndexError: when there is no such dimension or position.

    >>> mg.select(mg.tensor([[1, 2], [3, 4]]), 1, 0)
    tensor([1, 3])
    """
    dim = _along("select", checked("select", "input", input), dim, axis)
    place = position(_integer(index, "position", "select"), input.shape[dim], dim, "select")
    return ops.getitem(input, index=(slice(None),) * dim + (place,))


def index_select(
    input: Tensor, dim: int | None = None, index: Tensor | None = None, *, axis: int | None = None
) -> Tensor:
    """The slices at the positions of an integer vector: (…, n, …) and (k,) → (…, k, …).

    Args:
        dim: the dimension (under numpy's name: `axis`).
        index: the positions; on MLX they aren't checked.

    Raises:
        IndexError: when there is no such dimension or position, or the positions are no vector of integers.

    >>> mg.index_select(mg.tensor([[1, 2], [3, 4]]), 1, mg.tensor([1, 1]))
    tensor([[2, 2],
            [4, 4]])
    """
    who, whole = "index_select", checked("index_select", "input", input)
    places, dim = checked(who, "index", index), along(who, dim, axis, input.ndim)
    if places.ndim > 1:
        raise IndexError(f"index_select takes a vector of positions, got shape {places.shape}; use gather or indexing")
    whole, places = (t if t.ndim else ops.reshape(t, shape=(1,)) for t in (whole, places))
    y = ops.getitem(whole, index=(slice(None),) * dim + (positions(places, whole, dim, who),))
    return y if input.ndim else ops.reshape(y, shape=())


def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """All windows of `size` elements along a dimension, `step` apart, as a new last dimension: (…, n, …) → (…, k, …, size) with
    k = ⌊(n - size) / step⌋ + 1. This is `Tensor.unfold`; `F.unfold` is of images.

    Raises:
        IndexError: when there is no such dimension. ValueError: when no window fits.

    >>> mg.arange(5).unfold(0, 3, 2)
    tensor([[0, 1, 2],
            [2, 3, 4]])
    """
    x = checked("unfold", "input", input)
    x = x if x.ndim else ops.reshape(x, shape=(1,))
    dim = _dims(dimension, x.ndim, "unfold")[0]
    size, step = _integer(size, "window size", "unfold"), _integer(step, "step", "unfold")
    count = (x.shape[dim] - size) // step + 1 if step > 0 <= size <= x.shape[dim] else 0
    if count < 1:
        raise ValueError(f"unfold: windows of {size}, {step} apart, don't fit dimension {dim} of shape {input.shape}")
    places = x.backend.asarray(np.arange(count)[:, None] * step + np.arange(size))
    windows = ops.windows(x, index=(slice(None),) * dim + (places,), step=step)
    if not input.ndim:
        return ops.reshape(windows, shape=(size,))
    return ops.permute(windows, dims=tuple([d for d in range(windows.ndim) if d != dim + 1] + [dim + 1]))


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the boolean mask is true, both broadcast together, as a vector: (…), (…) → (k,).

    Raises:
        TypeError: when the mask isn't boolean. ValueError: when the shapes don't broadcast together.

    >>> mg.masked_select(mg.tensor([1, 2, 3]), mg.tensor([True, False, True]))
    tensor([1, 3])
    """
    checked("masked_select", "input", input)
    _boolean(mask, "mask", "masked_select")
    shape = _together("masked_select", input.shape, mask.shape) or (1,)
    return getitem(ops.broadcast_to(input, shape=shape), ops.broadcast_to(mask, shape=shape))


def _together(who: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that shapes have when broadcast together."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(
            f"{who}: the shapes {' and '.join(map(str, shapes))} don't broadcast together; make their sizes equal or 1"
        ) from None


# --- along one dimension ----------------------------------------------------------------------------------------------
def _grid(index: Tensor, dim: int) -> list:
    """An index array's own positions in every other dimension, for reading along `dim`."""
    xp, shape = index.backend, index.shape
    grid = []
    for i, n in enumerate(shape):
        counts = xp.asarray(np.arange(n).reshape([-1 if j == i else 1 for j in range(len(shape))]))
        grid.append(None if i == dim else counts)
    return grid


def gather(input: Tensor, dim: int | None = None, index: Tensor | None = None, *, axis: int | None = None) -> Tensor:
    """An element for each entry of `index`: y[i][j][k] = x[index[i][j][k]][j][k] for dimension 0, x[i][index[i][j][k]][k] for 1.

    Shape: x and the index of as many dimensions → that of the index.

    Args:
        dim: the dimension (under numpy's name: `axis`).
        index: integers, with as many dimensions as the tensor and nowhere larger but along `dim`; y has its shape. On MLX
            the positions aren't checked.

    Raises:
        IndexError: when there is no such dimension or position. ValueError: when the shapes don't fit.

    >>> mg.gather(mg.tensor([[1, 2], [3, 4]]), 1, mg.tensor([[0], [1]]))
    tensor([[1],
            [4]])
    """
    checked("gather", "input", input)
    return _gathered("gather", input, renamed("gather", "dim", dim, "axis", axis), checked("gather", "index", index))


def _gathered(who: str, input: Tensor, dim: int | None, index: Tensor) -> Tensor:
    """`gather` on behalf of the function `who`."""
    dim = _dim(dim, input.ndim, who)
    if not (input.ndim and index.ndim and index.numel()):  # numbers count as vectors of one
        x = input if input.ndim else ops.reshape(input, shape=(1,))
        if not index.numel():
            x = ops.getitem(ops.reshape(x, shape=(x.numel(),)), index=(slice(0, 0),))
        else:
            x = _gathered(who, x, dim, ops.reshape(index, shape=(index.numel(),)))
        return ops.reshape(x, shape=index.shape)
    if index.ndim != input.ndim:
        raise ValueError(f"{who}: index has {index.ndim} dimensions, the tensor {input.ndim}; they must be equal")
    if any(n > m for i, (n, m) in enumerate(zip(index.shape, input.shape, strict=True)) if i != dim):
        raise ValueError(f"{who}: index of shape {index.shape} is larger than {input.shape} apart from dimension {dim}")
    grid = _grid(index, dim)
    grid[dim] = positions(index, input, dim, who)
    return ops.getitem(input, index=tuple(grid))


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None, *, axis: int | None = None) -> Tensor:
    """As `gather`, with the other dimensions broadcast together; without a dimension from the flattened tensor.

    Shape: (…, n, …), (…, k, …) → (…, k, …).

    Args:
        indices: integers, with as many dimensions as the tensor. On MLX the positions aren't checked.
        dim: the dimension (under numpy's name: `axis`).

    Raises:
        IndexError: when there is no such dimension or position. ValueError: when the shapes don't fit.

    >>> x = mg.tensor([[3, 1], [2, 4]])
    >>> mg.take_along_dim(x, x.argmax(1, keepdim=True), 1)
    tensor([[3],
            [4]])
    """
    who = "take_along_dim"
    places, dim = checked(who, "indices", indices), renamed(who, "dim", dim, "axis", axis)
    if dim is None:
        flat = ops.reshape(checked(who, "input", input), shape=(input.numel(),))
        return _gathered(who, flat, 0, ops.reshape(places, shape=(places.numel(),)))
    dim = _dim(dim, checked(who, "input", input).ndim, who)
    if places.ndim != input.ndim:
        raise ValueError(
            f"take_along_dim: indices have {places.ndim} dimensions, the tensor {input.ndim}; they must be equal"
        )
    if not input.ndim:
        return _gathered(who, input, dim, places)
    others = [(*shape[:dim], 1, *shape[dim + 1 :]) for shape in (input.shape, places.shape)]
    common = _together(who, *others)
    x, places = (ops.broadcast_to(t, shape=(*common[:dim], t.shape[dim], *common[dim + 1 :])) for t in (input, places))
    return _gathered(who, x, dim, places)


def scatter_add(
    input: Tensor,
    dim: int | None = None,
    index: Tensor | None = None,
    src: Tensor | None = None,
    *,
    axis: int | None = None,
) -> Tensor:
    """x with every src[i][j][k] added at [index[i][j][k]][j][k] for dimension 0, and so on; what comes to one place is summed.

    Shape: x, an index and a `src` of as many dimensions → that of x.

    Args:
        dim: the dimension (under numpy's name: `axis`).
        index: integers, with as many dimensions as the tensor and nowhere larger than `src`. On MLX the positions aren't
            checked.
        src: what is added, in the tensor's dtype.

    Raises:
        IndexError: when there is no such dimension or position. ValueError: when the shapes don't fit.
        TypeError: when the dtypes differ.

    >>> mg.scatter_add(mg.zeros(3), 0, mg.tensor([0, 2, 2]), mg.tensor([1.0, 2.0, 3.0]))
    tensor([1., 0., 5.])
    """
    who = "scatter_add"
    x, places, added = checked(who, "input", input), checked(who, "index", index), checked(who, "src", src)
    dim = along(who, dim, axis, x.ndim)
    if not input.ndim:
        x, places, added = (ops.reshape(t, shape=(t.numel(),)) for t in (x, places, added))
    if places.ndim != x.ndim or added.ndim != x.ndim:
        raise ValueError(f"scatter_add: dimensions differ: tensor {x.shape}, index {places.shape}, src {added.shape}")
    if added.dtype is not x.dtype:
        raise TypeError(f"scatter_add: the tensor is {x.dtype.name}, src {added.dtype.name}; cast it with .astype")
    if any(n > m for n, m in zip(places.shape, added.shape, strict=True)):
        raise ValueError(f"scatter_add: index of shape {places.shape} is larger than src of shape {added.shape}")
    grid = _grid(places, dim)
    grid[dim] = positions(places, x, dim, who)
    part = ops.getitem(added, index=tuple(slice(0, n) for n in places.shape))
    y = x + ops.scatter(part, shape=x.shape, index=tuple(grid))
    return y if input.ndim else ops.reshape(y, shape=())


def index_add(
    input: Tensor,
    dim: int | None = None,
    index: Tensor | None = None,
    source: Tensor | None = None,
    *,
    alpha: float = 1,
    axis: int | None = None,
) -> Tensor:
    """x with alpha times the slices of `source` added at the positions of an integer vector: (…, n, …), (k,), (…, k, …) →
    (…, n, …).

    Args:
        dim: the dimension (under numpy's name: `axis`).
        index: the positions; on MLX they aren't checked.
        source: the slices, in the tensor's dtype.

    Raises:
        IndexError: when there is no such dimension or position. ValueError: when the shapes don't fit.
        TypeError: when the dtypes differ.

    >>> mg.index_add(mg.zeros(3), 0, mg.tensor([0, 0]), mg.tensor([1.0, 2.0]))
    tensor([3., 0., 0.])
    """
    who = "index_add"
    x, places, added = checked(who, "input", input), checked(who, "index", index), checked(who, "source", source)
    dim = along(who, dim, axis, x.ndim)
    expected = tuple(places.numel() if i == dim else n for i, n in enumerate(x.shape))
    if places.ndim > 1 or added.shape != expected:
        raise ValueError(
            f"index_add: {places.shape} positions along dimension {dim} of shape {x.shape} need a source of shape "
            f"{expected}, got {added.shape}"
        )
    if added.dtype is not x.dtype:
        raise TypeError(f"index_add: the tensor is {x.dtype.name}, the source {added.dtype.name}; cast it with .astype")
    if not x.ndim:
        x, added = (ops.reshape(t, shape=(1,)) for t in (x, added))
    places = places if places.ndim else ops.reshape(places, shape=(1,))
    at = (slice(None),) * dim + (positions(places, x, dim, who),)
    y = x + ops.scatter(added * alpha, shape=x.shape, index=at)
    return y if input.ndim else ops.reshape(y, shape=())


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """A 1 at each number's place, 0 elsewhere: (…) integers → (…, num_classes).

    Args:
        num_classes: how many there are; -1 means one more than the largest number.

    Raises:
        TypeError: when the numbers aren't integers. ValueError: for a number outside 0 … num_classes - 1 (on MLX unchecked).

    >>> mg.one_hot(mg.tensor([0, 2]))
    tensor([[1, 0, 0],
            [0, 0, 1]])
    """
    if checked("one_hot", "tensor", tensor).is_floating_point() or tensor.dtype == "bool":
        raise TypeError(f"one_hot needs integers, got {tensor.dtype.name}; use .long()")
    count = _integer(num_classes, "number of classes", "one_hot")
    if count == -1 or tensor.backend.eager:
        values = tensor.numpy()
        top = int(values.max()) + 1 if values.size else 0
        count = top if count == -1 else count
        if values.size and values.min() < 0 or top > count:
            raise ValueError(f"one_hot: values lie from {values.min()} to {top - 1}, outside 0 … {count - 1}")
    classes = _tensor(tensor.backend.arange(count), tensor.backend)
    return ops.eq(ops.reshape(tensor, shape=(*tensor.shape, 1)), classes.long()).long()


def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Rows of a table: y[…] = weight[x[…]], (…) integers and (V, D) → (…, D).

    Args:
        padding_idx: the number of a row that gets no gradient.

    Raises:
        ValueError: when the weight is no matrix. IndexError: for positions that aren't integers or not there (on MLX unchecked).

    >>> mg.nn.functional.embedding(mg.tensor([1, 1]), mg.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[3., 4.],
            [3., 4.]])
    """
    checked("embedding", "input", input)
    if checked("embedding", "weight", weight).ndim != 2:
        raise ValueError(f"embedding: the weight has one row an entry, (V, D); got shape {weight.shape}")
    if padding_idx is not None:
        row = _integer(padding_idx, "row number", "embedding") % max(weight.shape[0], 1)
        keep = one_hot(Tensor([row], device=weight.device), weight.shape[0])
        weight = where(ops.reshape(keep, shape=(-1, 1)) != 0, weight.detach(), weight)
    return ops.getitem(weight, index=(positions(input, weight, 0, "embedding"),))


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The elements on a diagonal of two dimensions as a last one: (…, M, N) → (…, k), xᵢ,ᵢ₊ₒ for the offset o.

    Raises:
        IndexError: when there is no such dimension. ValueError: when both are the same.

    The operation (minigrad/ops/index.py):

        @op
        def diagonal(xp, a, *, offset):
            return a[_on_diagonal(xp, a.shape, offset)]

        diagonal.defvjp(lambda ops, g, a_shape, offset: ops.put_diagonal(g, shape=a_shape, offset=offset))

    >>> mg.diagonal(mg.tensor([[1, 2], [3, 4]]))
    tensor([1, 4])
    """
    ndim = checked("diagonal", "input", input).ndim
    if ndim < 2:
        raise IndexError(f"diagonal: needs at least 2 dimensions, got shape {input.shape}")
    a, b = _dims((dim1, dim2), ndim, "diagonal")
    offset = _integer(offset, "diagonal", "diagonal")
    rest = [i for i in range(ndim) if i not in (a, b)]
    x = ops.permute(input, dims=(*rest, a, b))
    return ops.diagonal(x, offset=offset)
