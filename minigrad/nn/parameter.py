"""The tensors that belong to modules: parameters, which train, and buffers, which don't."""

from minigrad.backend import tracing
from minigrad.engine.tensor import Tensor


class Parameter(Tensor):
    """A leaf tensor that a module trains.

    Args:
        data: a Tensor, array, list or number; a Tensor's history is left behind.
        requires_grad: whether backward gives it a gradient.
    """

    def __init__(self, data, requires_grad: bool = True):
        super().__init__(data, requires_grad=requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class Buffer(Tensor):
    """A tensor that belongs to a module's state and isn't trained, such as a running mean.

    Args:
        data: a Tensor, array, list or number.
        persistent: whether it is part of the `state_dict`; otherwise it only moves with its module.
    """

    def __init__(self, data, *, persistent: bool = True):
        super().__init__(data)
        self.persistent = persistent

    def __deepcopy__(self, memo: dict) -> "Buffer":
        out = super().__deepcopy__(memo)
        out.persistent = self.persistent
        return out

    @property
    def data(self):
        """The raw array, as of any tensor. What replaces it is computed with the next step of an optimiser, so that a
        lazy backend doesn't keep the graphs of all earlier batches for it."""
        return self._data

    @data.setter
    def data(self, value) -> None:
        tracing.require(self, f"a buffer of shape {self.shape}")
        Tensor.data.fset(self, value)  # type: ignore[attr-defined]
        self._backend.carry(self)

    def _replaced(self, tensor: Tensor) -> "Buffer":
        """The buffer that a tensor, which keeps its history, makes in this one's place."""
        out = Buffer(tensor.detach(), persistent=self.persistent)
        out._requires_grad, out._edge = tensor._requires_grad, tensor._edge
        self._backend.carry(out)
        return out

    def _augment(self, result):
        """`buffer += x` changes the buffer's values; the module keeps it."""
        if result._requires_grad or result.shape != self.shape:
            return result
        self.data = result.astype(self.dtype)._data
        return self
