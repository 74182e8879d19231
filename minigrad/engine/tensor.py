"""Tensor: an array, its gradient, and its edge on the tape. Its operators and methods are in `minigrad.functions.methods`."""

from typing import TYPE_CHECKING, Any

from minigrad import messages, values
from minigrad.backend import Array, Backend, tracing
from minigrad.dtypes import ALL, DType

if TYPE_CHECKING:
    from minigrad.engine.operation import Node
    from minigrad.functions.methods import Methods
else:
    Methods = object  # functions/methods.py gives Tensor its operators and methods, when the functions exist


class Tensor(Methods):
    """An n-dimensional array with automatic differentiation.

    Args:
        data: a number, nested lists, a numpy or MLX array, or a tensor. Arrays from outside are copied. Python floats
            become float32; numpy arrays keep their dtype.
        dtype: a `mg.float32`-like dtype, a name, or None for the data's own.
        device: "cpu", "mlx", "gpu", or None for the data's own (MLX arrays) or the default device.
        requires_grad: whether `backward` shall fill in `.grad`; floating point only.

    >>> import minigrad as mg
    >>> x = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """

    _data: Any  # the raw array
    _backend: Any  # its library, `xp`
    _edge: Any  # the node that made it, None for a leaf
    _grad: Any
    _ties: Any  # how it hangs on a memory that views share (inplace.py), None without views

    __slots__ = ("_data", "_backend", "_requires_grad", "_edge", "_hooks", "_grad", "_ties", "__weakref__")
    carried = False  # True for an nn.Buffer: a lazy backend computes its new array with the optimiser's next step
    __array_ufunc__ = None  # array + tensor comes to Tensor.__radd__ instead of being taken apart by numpy

    def __init__(self, data, dtype=None, device: str | None = None, requires_grad: bool = False):
        self._data, self._backend = values.raw_array(data, dtype, device)
        self._edge = self._hooks = self._grad = self._ties = None
        self._requires_grad = False
        if requires_grad:
            self.requires_grad_()

    @property
    def array(self) -> Array:
        """The raw array (numpy or MLX), which must not be written."""
        tracing.read((self,))
        return self._data

    @property
    def data(self) -> "Tensor":
        """The same values off the tape, as `detach()`: what is written to the one changes the other."""
        return inplace.share(_tensor(None, self._backend), self)

    @data.setter
    def data(self, value) -> None:
        messages.check_data(self, value)
        tracing.write(self, "place", value)
        if isinstance(value, Tensor):
            inplace.share(self, value)
        else:
            self._data = value if self._backend.owns(value) else Tensor(value, device=self.device)._data
            self._ties = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._data.shape)

    @property
    def ndim(self) -> int:
        return self._data.ndim

    @property
    def dtype(self) -> DType:
        return ALL[self._backend.dtype_name(self._data)]

    @property
    def device(self) -> str:
        return self._backend.name

    @property
    def backend(self) -> Backend:
        """The array library's functions, as operations see them (`minigrad.backend`)."""
        return self._backend

    @property
    def is_leaf(self) -> bool:
        """Whether it is not the result of a recorded operation."""
        return self._edge is None

    @property
    def grad(self) -> "Tensor | None":
        """The sum of what backward calls computed for this leaf, or for a result of operations after `retain_grad()`."""
        if self._grad is None and self._edge is not None:
            messages.no_gradient_kept(self)
        return self._grad

    @grad.setter
    def grad(self, value: "Tensor | None") -> None:
        if value is not None:
            messages.check_grad(self, value)
        self._grad = value

    @property
    def grad_fn(self) -> "Node | None":
        """The node of the tape that made this tensor, or None for a leaf."""
        return self._edge

    def backward(
        self, gradient: "Tensor | None" = None, retain_graph: bool | None = None, create_graph: bool = False
    ) -> None:
        """Computes the gradient of this tensor (times `gradient`, if given); adds it to `.grad` of every leaf that requires one."""
        tape.backward([self], None if gradient is None else [gradient], retain_graph, create_graph)


_new = object.__new__


def _tensor(array, xp, edge=None) -> Tensor:
    """A tensor around a raw array, without a check: how the engine makes its results."""
    t = _new(Tensor)
    t._data, t._backend, t._edge = array, xp, edge
    t._requires_grad = edge is not None
    t._hooks = t._grad = t._ties = None
    return t


from minigrad.engine import backward as tape  # noqa: E402
from minigrad.engine import inplace  # noqa: E402
