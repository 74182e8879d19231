"""Operations that move elements about without changing them: views, padding, and the change of dtype or device."""

import functools

from minigrad import backend
from minigrad.engine.modes import is_grad_enabled
from minigrad.engine.operation import Node, Op, elementwise, op
from minigrad.engine.tensor import _tensor

__all__ = [
    "cast", "to_device", "clone", "reshape", "permute", "mT", "broadcast_to", "sum_to", "flip", "roll",
    "pad_zeros", "tril", "triu",
]  # fmt: skip


# --- dtype and device -------------------------------------------------------------------------------------------------
@elementwise
def cast(xp, a, *, dtype):
    """a in another dtype."""
    return xp.astype(a, dtype)


cast.defvjp(lambda ops, g, a_dtype: ops.cast(g, dtype=a_dtype))


class _ToDevice(Op):
    """The same values in another array library; the gradient goes back the same way."""

    def __call__(self, a, *, device, source=None):
        target = backend.get(device)
        static = {"device": target.name, "source": a.device}
        array = self.forward(a._backend, a.data, **static)
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
    """The same values with a place of their own on the tape (arrays are never written, so they may be shared)."""
    return a


clone.defvjp(lambda ops, g: g)


# --- views ------------------------------------------------------------------------------------------------------------
@op
def reshape(xp, a, *, shape):
    return xp.reshape(a, shape)


reshape.defvjp(lambda ops, g, a_shape: ops.reshape(g, shape=a_shape))


@op
def permute(xp, a, *, dims):
    return xp.transpose(a, dims)


permute.defvjp(lambda ops, g, dims: ops.permute(g, dims=tuple(sorted(range(len(dims)), key=dims.__getitem__))))


@op
def mT(xp, a):
    """The last two dimensions exchanged."""
    return xp.swapaxes(a, -1, -2)


mT.defvjp(lambda ops, g: ops.mT(g))


@op
def broadcast_to(xp, a, *, shape):
    return xp.broadcast_to(a, shape)


@op
def sum_to(xp, a, *, shape):
    """Sums what `broadcast_to` repeats: the derivative of broadcasting."""
    lead = a.ndim - len(shape)
    dims = tuple(i for i, n in enumerate(a.shape) if i < lead or (shape[i - lead] == 1 and n != 1))
    return xp.reshape(xp.sum(a, axis=dims), shape) if dims else a


broadcast_to.defvjp(lambda ops, g, a_shape: ops.sum_to(g, shape=a_shape))
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
