"""Operations that move elements about without changing them: views, joins, padding, and the change of dtype or device."""

import functools
import math
import operator

from minigrad import backend
from minigrad.engine.modes import is_grad_enabled
from minigrad.engine.operation import Node, Op, elementwise, op
from minigrad.engine.tensor import _tensor

MOST_DIMENSIONS = 64  # numpy's limit, and PyTorch's


def _integer(value, what: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        given = repr(value) if isinstance(value, str | float) else type(value).__name__
        raise TypeError(f"a {what} must be an integer, got {given}") from None


def _dim(dim: int, ndim: int) -> int:
    """A dimension counted from the front; negative ones count from the back.

    Raises:
        IndexError: when there is no such dimension.
    """
    dim, ndim = _integer(dim, "dimension"), max(ndim, 1)
    if not -ndim <= dim < ndim:
        raise IndexError(f"there is no dimension {dim} in a tensor of {ndim}; it lies from {-ndim} to {ndim - 1}")
    return dim % ndim


def _dims(dim, ndim: int) -> tuple[int, ...]:
    """A tuple of distinct dimensions; None or () means all."""
    if dim is None or (isinstance(dim, tuple | list) and not dim):
        return tuple(range(ndim))
    dims = tuple(_dim(d, ndim) for d in (dim if isinstance(dim, tuple | list) else (dim,)))
    if len(set(dims)) != len(dims):
        raise ValueError(f"a dimension appears twice in dim={dim}; name each once")
    return dims if ndim else ()


def _sizes(shape) -> tuple[int, ...]:
    """A shape given as separate numbers or as one sequence."""
    if len(shape) == 1 and isinstance(shape[0], tuple | list):
        shape = shape[0]
    sizes = tuple(_integer(n, "size") for n in shape)
    if len(sizes) > MOST_DIMENSIONS:
        raise ValueError(f"a tensor has at most {MOST_DIMENSIONS} dimensions, got {len(sizes)}")
    return sizes


# --- dtype and device -------------------------------------------------------------------------------------------------
@elementwise
def cast(xp, a, *, dtype):
    """a in another dtype."""
    return xp.astype(a, dtype)


cast.defvjp(lambda xp, g, a_dtype: xp.cast(g, dtype=a_dtype))


class _ToDevice(Op):
    """The same values in another array library; the gradient goes back the same way."""

    def __call__(self, a, *, device, source=None):
        target = backend.get(device)
        static = {"device": target.name, "source": a.device}
        array = self.forward(a._backend, a._data, **static)
        if not (a._requires_grad and is_grad_enabled()):
            return _tensor(array, target)
        plan, record = self.plan(1, 1), (array, array, target, static)
        return _tensor(array, target, Node(self, target, plan, [a._edge or a], [pick(record) for pick in plan.picks]))


@functools.partial(_ToDevice, elementwise=True)
def to_device(xp, a, *, device, source=None):
    """a on another device."""
    return backend.get(device).asarray(xp.to_numpy(a))


to_device.defvjp(lambda xp, g, source, device: xp.to_device(g, device=source, source=device))


@elementwise
def clone(xp, a):
    """The same values with a place of their own on the tape (arrays are never written, so they may be shared)."""
    return a


clone.defvjp(lambda xp, g: g)


def contiguous(input):
    """The tensor itself: memory layout is the engine's affair here."""
    return input.to()


# --- views ------------------------------------------------------------------------------------------------------------
@op
def reshape(xp, a, *, shape):
    return xp.reshape(a, shape)


reshape.defvjp(lambda xp, g, a_shape: xp.reshape(g, shape=a_shape))


@reshape.call_form
def reshape(input, *sizes, shape=()):
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
    return reshape.op(input, shape=tuple(total // known if n == -1 else n for n in sizes))


def view(input, *shape):
    """As `reshape`."""
    return reshape(input, *shape)


def view_as(input, other):
    """In the shape of another tensor."""
    return reshape(input, other.size())


def flatten(input, start_dim=0, end_dim=-1):
    """Dimensions start_dim … end_dim merged into one."""
    first, last = _dim(start_dim, input.ndim), _dim(end_dim, input.ndim)
    if first > last:
        raise ValueError(
            f"flatten: start_dim {start_dim} comes after end_dim {end_dim} in shape {input.shape}; exchange them"
        )
    shape = input.shape or (1,)
    return reshape(input, (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


def unflatten(input, dim, sizes):
    """One dimension split into several; one size may be -1."""
    dim = _dim(dim, input.ndim)
    inner = [input.shape[dim] // max(-math.prod(sizes), 1) if n == -1 else n for n in sizes]
    return reshape(input, (*input.shape[:dim], *inner, *input.shape[dim + 1 :]))


@op
def permute(xp, a, *, dims):
    return xp.transpose(a, dims)


permute.defvjp(lambda xp, g, dims: xp.permute(g, dims=tuple(sorted(range(len(dims)), key=dims.__getitem__))))


@permute.call_form
def permute(input, *axes, dims=()):
    """The dimensions in another order."""
    dims = _sizes(axes or (dims,))
    order = tuple(_dim(d, input.ndim) for d in dims)
    if sorted(order) != list(range(input.ndim)):
        raise ValueError(f"permute: {dims} doesn't name each dimension of shape {input.shape} once")
    return permute.op(input, dims=order)


def transpose(input, dim0, dim1):
    """Two dimensions exchanged."""
    order = list(range(input.ndim))
    if order:
        a, b = _dim(dim0, input.ndim), _dim(dim1, input.ndim)
        order[a], order[b] = order[b], order[a]
    return permute.op(input, dims=tuple(order))


def t(input):
    """The transpose of a matrix (vectors and numbers stay as they are)."""
    if input.ndim > 2:
        raise ValueError(f"t() needs at most 2 dimensions, got shape {input.shape}; use transpose or permute")
    return transpose(input, 0, -1)


@op
def mT(xp, a):
    """The last two dimensions exchanged."""
    return xp.swapaxes(a, -1, -2)


mT.defvjp(lambda xp, g: xp.mT(g))


def squeeze(input, dim=None):
    """Without the dimensions of length 1 (all of them, or those named)."""
    dims = _dims(dim, input.ndim) if dim != () else ()
    return reshape.op(input, shape=tuple(n for i, n in enumerate(input.shape) if i not in dims or n != 1))


def unsqueeze(input, dim):
    """With a new dimension of length 1 at `dim`."""
    dim = _dim(dim, input.ndim + 1)
    return reshape.op(input, shape=(*input.shape[:dim], 1, *input.shape[dim:]))


@op
def broadcast_to(xp, a, *, shape):
    return xp.broadcast_to(a, shape)


@op
def sum_to(xp, a, *, shape):
    """Sums what `broadcast_to` repeats: the derivative of broadcasting."""
    lead = a.ndim - len(shape)
    dims = tuple(i for i, n in enumerate(a.shape) if i < lead or (shape[i - lead] == 1 and n != 1))
    return xp.reshape(xp.sum(a, axis=dims), shape) if dims else a


broadcast_to.defvjp(lambda xp, g, a_shape: xp.sum_to(g, shape=a_shape))
sum_to.defvjp(lambda xp, g, a_shape: xp.broadcast_to(xp.reshape(g, shape=_lead(g, a_shape)), shape=a_shape))


def _lead(g, shape):
    """g's shape with as many dimensions as `shape`."""
    return (1,) * (len(shape) - len(g.shape)) + tuple(g.shape)


@broadcast_to.call_form
def broadcast_to(input, shape):
    """Dimensions of length 1 (and missing leading ones) repeated to `shape`, without copying."""
    return broadcast_to.op(input, shape=_sizes((shape,)))


def expand(input, *shape):
    """As `broadcast_to`; a size of -1 keeps the length."""
    shape = _sizes(shape)
    lead = len(shape) - input.ndim
    sizes = tuple(input.shape[i - lead] if n == -1 and i >= lead else n for i, n in enumerate(shape))
    return broadcast_to.op(input, shape=sizes)


def expand_as(input, other):
    """Broadcast to the shape of another tensor."""
    return expand(input, other.size())


def repeat(input, *sizes):
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
@op
def flip(xp, a, *, dims):
    return a[tuple(slice(None, None, -1) if i in dims else slice(None) for i in range(a.ndim))]


flip.defvjp(lambda xp, g, dims: xp.flip(g, dims=dims))


@flip.call_form
def flip(input, *axes, dims=()):
    """The order of the elements reversed along the dimensions."""
    return flip.op(input, dims=tuple(_dim(d, input.ndim) for d in _sizes(axes or (dims,))))


@op
def roll(xp, a, *, shifts, dims):
    return xp.roll(a, shifts, axis=dims)


roll.defvjp(lambda xp, g, shifts, dims: xp.roll(g, shifts=tuple(-s for s in shifts), dims=dims))


@roll.call_form
def roll(input, shifts, dims=None):
    """Elements shifted by `shifts`, coming in again at the other end; without `dims` in the flattened order."""
    shifts, dims = _sizes((shifts,)), () if dims is None else _sizes((dims,))
    if not shifts:
        raise ValueError("roll: no shifts given; say by how many places the elements move")
    if not dims:
        return reshape(roll.op(reshape(input, -1), shifts=shifts[:1], dims=(0,)), input.shape)
    if not input.ndim:
        raise IndexError(f"roll: a tensor without dimensions has no dimension {dims[0]}; leave dims out")
    dims = tuple(_dim(d, input.ndim) for d in dims)
    if len(dims) != len(shifts):
        raise ValueError(f"roll: {len(shifts)} shifts for {len(dims)} dimensions; give one for each")
    return roll.op(input, shifts=shifts, dims=dims)


@op
def pad_zeros(xp, a, *, widths):
    """Zeros around a: (before, after) for every dimension."""
    return xp.pad(a, widths)


def _crop(shape, widths):
    return tuple(slice(before, before + n) for n, (before, _) in zip(shape, widths, strict=True))


pad_zeros.defvjp(lambda xp, g, a_shape, widths: xp.getitem(g, index=_crop(a_shape, widths)))


@op
def tril(xp, a, *, diagonal):
    return xp.tril(a, diagonal)


tril.defvjp(lambda xp, g, diagonal: xp.tril(g, diagonal=diagonal))


@tril.call_form
def tril(input, diagonal=0):
    """The lower triangle of matrices, zeros above diagonal number `diagonal`."""
    return tril.op(_matrices(input, "tril"), diagonal=diagonal)


@op
def triu(xp, a, *, diagonal):
    return xp.triu(a, diagonal)


triu.defvjp(lambda xp, g, diagonal: xp.triu(g, diagonal=diagonal))


@triu.call_form
def triu(input, diagonal=0):
    """The upper triangle of matrices, zeros below diagonal number `diagonal`."""
    return triu.op(_matrices(input, "triu"), diagonal=diagonal)


def _matrices(input, name):
    if input.ndim < 2:
        raise ValueError(f"{name} needs at least 2 dimensions, got shape {input.shape}")
    return input
