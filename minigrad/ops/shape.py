"""Operations that move elements about without changing them: views, padding, and the change of dtype or device."""

import functools
import math

from minigrad import backend
from minigrad.dtypes import ALL
from minigrad.engine.modes import is_grad_enabled, no_grad
from minigrad.engine.operation import Node, Op, elementwise, op
from minigrad.engine.tensor import _tensor

__all__ = [
    "cast", "to_device", "clone", "reshape", "permute", "mT", "broadcast_to", "sum_to", "flip", "roll",
    "pad_zeros", "tril", "triu",
]  # fmt: skip


# --- dtype and device -------------------------------------------------------------------------------------------------
class _Cast(Op):
    """Whole numbers and booleans have no gradient, so a cast to them isn't recorded."""

    def __call__(self, a, *, dtype):
        if ALL[dtype].is_floating_point:
            return super().__call__(a, dtype=dtype)
        with no_grad():
            return super().__call__(a, dtype=dtype)


@functools.partial(_Cast, elementwise=True)
def cast(xp, a, *, dtype):
    """a in another dtype."""
    return xp.astype(a, dtype)


cast.defvjp(lambda ops, g, a_dtype: ops.cast(g, dtype=a_dtype))


class _ToDevice(Op):
    """The same values in another array library; the gradient goes back the same way."""

    def __call__(self, a, *, device, source=None):
        target = backend.get(device)
        static = {"device": target.name, "source": a.device}
        array = self.forward(a._backend, a.array, **static)
        if not (a._requires_grad and is_grad_enabled()):
            return _tensor(array, target)
        plan, record = self.plan(1, 1), (array, array, target, static)
        return _tensor(array, target, Node(self, target, plan, [a._edge or a], plan.save(record)))


@functools.partial(_ToDevice, elementwise=True)
def to_device(xp, a, *, device, source=None):
    """a on another device."""
    return backend.get(device).asarray(xp.to_numpy(a))


to_device.defvjp(lambda ops, g, source, device: ops.to_device(g, device=source, source=device))


@elementwise
def clone(xp, a):
    """The same values in a tensor of their own (they may share the array: one that two tensors hold is never written)."""
    return a


clone.defvjp(lambda ops, g: g)


# --- views ------------------------------------------------------------------------------------------------------------
@op
def reshape(xp, a, *, shape):
    return xp.reshape(a, shape)


reshape.defvjp(lambda ops, g, a_shape: ops.reshape(g, shape=a_shape))


def _reshaped(sizes, strides, shape):
    """Each dimension of the new shape must be a part of a run: of dimensions that lie one after the other in memory."""
    total = math.prod(sizes)
    shape = tuple([total // max(1, -math.prod(shape)) if n == -1 else n for n in shape])
    if not total:
        return shape, tuple([math.prod(shape[i + 1 :]) for i in range(len(shape))])
    runs: list[tuple[int, int]] = []  # (length, stride), the last dimensions first
    for n, stride in zip(reversed(sizes), reversed(strides), strict=True):
        if n != 1 and runs and stride == runs[-1][0] * runs[-1][1]:
            runs[-1] = (runs[-1][0] * n, runs[-1][1])
        elif n != 1:
            runs.append((n, stride))
    found, used = [], 1  # how much of the run is used
    for n in reversed(shape):
        length, stride = runs[0] if runs else (1, 1)
        if length % (used * n):
            return None
        found.append(used * stride)
        used *= n
        if runs and used == length:
            del runs[0]
            used = 1
    return shape, tuple(reversed(found))


def needs_copy(ties, shape) -> bool:
    """Whether a reshaping of a tensor with such ties is no view: its elements don't lie in the order that it takes."""
    if ties is None or not ties.steps:
        return False
    sizes, strides = ties.layout()
    return _reshaped(sizes, strides, shape) is None


reshape.defview(_reshaped, lambda ops, base, part, shape: ops.reshape(part, shape=tuple(base.shape)), needs_copy)


@op
def permute(xp, a, *, dims):
    return xp.transpose(a, dims)


def _inverse(dims):
    return tuple(sorted(range(len(dims)), key=dims.__getitem__))


permute.defvjp(lambda ops, g, dims: ops.permute(g, dims=_inverse(dims)))
permute.defview(
    lambda sizes, strides, dims: (tuple([sizes[i] for i in dims]), tuple([strides[i] for i in dims])),
    lambda ops, base, part, dims: ops.permute(part, dims=_inverse(dims)),
)


@op
def mT(xp, a):
    """The last two dimensions exchanged."""
    return xp.swapaxes(a, -1, -2)


mT.defvjp(lambda ops, g: ops.mT(g))
mT.defview(
    lambda sizes, strides: ((*sizes[:-2], sizes[-1], sizes[-2]), (*strides[:-2], strides[-1], strides[-2])),
    lambda ops, base, part: ops.mT(part),
)


@op
def broadcast_to(xp, a, *, shape):
    return xp.broadcast_to(a, shape)


@op
def sum_to(xp, a, *, shape):
    """Sums what `broadcast_to` repeats: the derivative of broadcasting."""
    lead = a.ndim - len(shape)
    dims = tuple(i for i, n in enumerate(a.shape) if i < lead or (shape[i - lead] == 1 and n != 1))
    return xp.reshape(xp.sum(a, axis=dims), shape) if dims else a


def _repeated(sizes, strides, shape):
    """A dimension that is new, or was 1, has stride 0."""
    lead = len(shape) - len(sizes)
    kept = [stride if n == m else 0 for n, m, stride in zip(sizes, shape[lead:], strides, strict=True)]
    return tuple(shape), (0,) * lead + tuple(kept)


broadcast_to.defvjp(lambda ops, g, a_shape: ops.sum_to(g, shape=a_shape))
broadcast_to.defview(_repeated)
sum_to.defvjp(lambda ops, g, a_shape: ops.broadcast_to(ops.reshape(g, shape=_lead(g, a_shape)), shape=a_shape))


def _lead(g, shape):
    """g's shape with as many dimensions as `shape`."""
    return (1,) * (len(shape) - len(g.shape)) + tuple(g.shape)


# --- order, padding, triangles ----------------------------------------------------------------------------------------
@op
def flip(xp, a, *, dims):
    return a[tuple(slice(None, None, -1) if i in dims else slice(None) for i in range(a.ndim))]


flip.defvjp(lambda ops, g, dims: ops.flip(g, dims=dims))


@op
def roll(xp, a, *, shifts, dims):
    return xp.roll(a, shifts, axis=dims)


roll.defvjp(lambda ops, g, shifts, dims: ops.roll(g, shifts=tuple(-s for s in shifts), dims=dims))


@op
def pad_zeros(xp, a, *, widths):
    """Zeros around a: (before, after) for every dimension."""
    return xp.pad(a, widths)


def _crop(shape, widths):
    return tuple(slice(before, before + n) for n, (before, _) in zip(shape, widths, strict=True))


pad_zeros.defvjp(lambda ops, g, a_shape, widths: ops.getitem(g, index=_crop(a_shape, widths)))


@op
def tril(xp, a, *, diagonal):
    return xp.tril(a, diagonal)


tril.defvjp(lambda ops, g, diagonal: ops.tril(g, diagonal=diagonal))


@op
def triu(xp, a, *, diagonal):
    return xp.triu(a, diagonal)


triu.defvjp(lambda ops, g, diagonal: ops.triu(g, diagonal=diagonal))
