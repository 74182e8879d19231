"""The tensors that belong to modules: parameters, which train, and buffers, which don't."""

from minigrad.engine.inplace import share
from minigrad.engine.tensor import Tensor


class Parameter(Tensor):
    """A leaf tensor that a module trains.

    Args:
        data: a Tensor, array, list or number. With a Tensor it shares the memory, but not the history.
        requires_grad: whether backward gives it a gradient.
    """

    def __init__(self, data, requires_grad: bool = True):
        super().__init__(data, requires_grad=requires_grad)
        if isinstance(data, Tensor):
            share(self, data)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class Buffer(Tensor):
    """A tensor that belongs to a module's state and isn't trained, such as a running mean.

    Args:
        data: a Tensor, array, list or number.
        persistent: whether it is part of the `state_dict`; otherwise it only moves with its module.
    """

    carried = True  # or a lazy backend would keep the graphs of all earlier batches for it

    def __init__(self, data, *, persistent: bool = True):
        super().__init__(data)
        self.persistent = persistent

    def __deepcopy__(self, memo: dict) -> "Buffer":
        out = super().__deepcopy__(memo)
        out.persistent = self.persistent
        return out

    def _replaced(self, tensor: Tensor) -> "Buffer":
        """The buffer that a tensor, which keeps its history, makes in this one's place."""
        out = Buffer(tensor.detach(), persistent=self.persistent)
        out._requires_grad, out._edge = tensor._requires_grad, tensor._edge
        self._backend.carry(out)
        return out
