"""The same elements in another dtype or on another device, or with a place of their own on the tape."""

from minigrad import ops
from minigrad.backend import layout
from minigrad.dtypes import dtype as as_dtype
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import DTypeLike, tensor

__all__ = ["cast", "to_device", "clone", "contiguous"]


def cast(input: Tensor, *, dtype: DTypeLike) -> Tensor:
    """The elements in another dtype: (…) → (…). The gradient is cast back.

    Raises:
        TypeError: for a dtype that doesn't exist, or that the tensor's device lacks.

    The operation (minigrad/ops/shape.py):

        @functools.partial(_Cast, elementwise=True)
        def cast(xp, a, *, dtype):
            return xp.astype(a, dtype)

        cast.defvjp(lambda ops, g, a_dtype: ops.cast(g, dtype=a_dtype))

    >>> mg.cast(mg.tensor([1.5, -1.5]), dtype="int64")
    tensor([ 1, -1])
    """
    return ops.cast(input, dtype=as_dtype(dtype).name)


def to_device(input: Tensor, *, device: str) -> Tensor:
    """The same elements on another device: (…) → (…). The gradient goes back to the input's device.

    Raises:
        BackendError: for a device that doesn't exist here.

    The operation (minigrad/ops/shape.py):

        @functools.partial(_ToDevice, elementwise=True)
        def to_device(xp, a, *, device, source=None):
            return backend.get(device).asarray(xp.to_numpy(a))

        to_device.defvjp(lambda ops, g, source, device: ops.to_device(g, device=source, source=device))

    >>> mg.to_device(mg.ones(2), device="cpu").device
    'cpu'
    """
    return ops.to_device(tensor("to_device", "input", input), device=device)


def clone(input: Tensor) -> Tensor:
    """y = x, with a place of its own on the tape: (…) → (…). Both share the array until one of them is written.

    Raises:
        TypeError: for anything but a tensor.

    The operation (minigrad/ops/shape.py):

        @elementwise
        def clone(xp, a):
            return a

        clone.defvjp(lambda ops, g: g)

    >>> mg.clone(mg.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """
    return ops.clone(input)


def contiguous(input: Tensor) -> Tensor:
    """x itself where its elements lie one after the other, else a copy that shares no memory with it: (…) → (…). A view that is
    turned, or leaves elements out, or repeats some, is copied; results of operations count as in order.

    Raises:
        TypeError: for anything but a tensor.

    >>> mg.contiguous(mg.ones(2, 3).t()).shape
    (3, 2)
    """
    of = tensor("contiguous", "input", input)._ties
    found = None if of is None else of.layout()
    if found is None or not input.numel():
        return input
    needed = zip(*found, layout.in_order(input.shape)[1], strict=True)
    return input if all(n == 1 or stride == other for n, stride, other in needed) else ops.clone(input)
