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


cast.defvjp(lambda xp, g, a_dtype: xp.cast(g, dtype=a_dtype))


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


to_device.defvjp(lambda xp, g, source, device: xp.to_device(g, device=source, source=device))


@elementwise
def clone(xp, a):
    """The same values with a place of their own on the tape (arrays are never written, so they may be shared)."""
    return a


clone.defvjp(lambda xp, g: g)


# --- views ------------------------------------------------------------------------------------------------------------
@op
def reshape(xp, a, *, shape):
    return xp.reshape(a, shape)


reshape.defvjp(lambda xp, g, a_shape: xp.reshape(g, shape=a_shape))


@op
def permute(xp, a, *, dims):
    return xp.transpose(a, dims)


permute.defvjp(lambda xp, g, dims: xp.permute(g, dims=tuple(sorted(range(len(dims)), key=dims.__getitem__))))


@op
def mT(xp, a):
    """The last two dimensions exchanged."""
    return xp.swapaxes(a, -1, -2)


mT.defvjp(lambda xp, g: xp.mT(g))


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


# --- order, padding, triangles ----------------------------------------------------------------------------------------
@op
def flip(xp, a, *, dims):
    return a[tuple(slice(None, None, -1) if i in dims else slice(None) for i in range(a.ndim))]


flip.defvjp(lambda xp, g, dims: xp.flip(g, dims=dims))


@op
def roll(xp, a, *, shifts, dims):
    return xp.roll(a, shifts, axis=dims)


roll.defvjp(lambda xp, g, shifts, dims: xp.roll(g, shifts=tuple(-s for s in shifts), dims=dims))


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


@op
def triu(xp, a, *, diagonal):
    return xp.triu(a, diagonal)


triu.defvjp(lambda xp, g, diagonal: xp.triu(g, diagonal=diagonal))
