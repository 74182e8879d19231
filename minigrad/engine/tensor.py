"""Tensor: an array, its gradient, and its place on the tape. Its operators and methods are in `minigrad.functions.methods`."""

import builtins
import math
import threading
import warnings
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad import backend as _backend
from minigrad.backend import tracing
from minigrad.dtypes import ALIASES, ALL, PYTHON, DType, bool_, fitted, float32, limits, overflow, promote
from minigrad.dtypes import dtype as _dtype


class _Devices(threading.local):
    """The devices of the `with mg.device(…)` blocks that a thread is in."""

    def __init__(self) -> None:
        self.entered: list[str] = []


_devices = _Devices()
_default = ["cpu"]  # outside of such blocks, in every thread


def set_default_device(name: str) -> None:
    """The device of tensors made without `device=` from now on: "cpu", "mlx" or "gpu". Inside `with mg.device(…)` it holds until
    the block ends."""
    (_devices.entered or _default)[-1] = _backend.get(name).name


def get_default_device() -> str:
    """The device of tensors made without `device=`."""
    return (_devices.entered or _default)[-1]


class device:
    """Context manager: tensors that this thread makes inside without `device=` are on this device.

    >>> import minigrad as mg
    >>> with mg.device("cpu"):
    ...     print(mg.zeros(2).device)
    cpu
    """

    def __init__(self, name: str):
        self.name = _backend.get(name).name

    def __enter__(self):
        _devices.entered.append(self.name)
        return self

    def __exit__(self, *exc):
        _devices.entered.pop()

    def __repr__(self) -> str:
        return f"device({self.name!r})"


if TYPE_CHECKING:
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

    _data: Any
    _backend: Any
    _edge: Any
    _grad: Any

    __slots__ = ("_data", "_backend", "_requires_grad", "_edge", "_hooks", "_grad", "__weakref__")
    __array_ufunc__ = None  # array + tensor comes to Tensor.__radd__ instead of being taken apart by numpy

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, data, dtype=None, device: str | None = None, requires_grad: builtins.bool = False):
        name = None if dtype is None else _dtype(dtype).name
        if isinstance(data, Tensor):
            xp, array = data._backend, data._data
        else:
            found = _backend.of_array(data)
            if found is None:
                xp = _backend.get(device or get_default_device())
                array, name = _from_python(data, name, xp)
            elif found.name == "cpu":
                xp, array = _backend.get(device or get_default_device()), _from_numpy(data)
            else:
                xp, array = found, data
        target = xp if device is None else _backend.get(device)
        if not isinstance(array, np.ndarray) and (target is not xp or not xp.owns(array)):
            array = xp.to_numpy(array)
        if not isinstance(array, target.array_type) or not target.owns(array):
            array = _supported(array, name, target)
        self._data = array if name is None else target.astype(array, name)
        self._backend, self._edge, self._hooks, self._grad = target, None, None, None
        self._requires_grad = False
        if requires_grad:
            self.requires_grad_()

    # --- what it is -----------------------------------------------------------------------------------------------
    @property
    def data(self):
        """The raw array (numpy or MLX). Don't write into it; assign a new one, or a tensor of any device, on leaves only."""
        return self._data

    @data.setter
    def data(self, value) -> None:
        if self._edge is not None:
            raise RuntimeError(
                "`.data` can be assigned on leaf tensors only; this one is the result of an operation (use .detach())"
            )
        if tracing.state.active:
            tracing.state.write(self)
        if isinstance(value, Tensor):
            self._data, self._backend = value._data, value._backend
        elif isinstance(value, self._backend.array_type):
            self._data = value if self._backend.owns(value) else Tensor(value, device=self.device)._data
        else:
            raise TypeError(
                f"`.data` of a tensor on {self.device!r} takes a {self._backend.array_type.__name__} or a tensor, "
                f"got {type(value).__name__}"
            )

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
    def backend(self):
        """The array library's functions, as operations see them (`minigrad.backend`)."""
        return self._backend

    @property
    def is_leaf(self) -> builtins.bool:
        """Whether it is not the result of a recorded operation."""
        return self._edge is None

    @property
    def requires_grad(self) -> builtins.bool:
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: builtins.bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, value: builtins.bool = True) -> "Tensor":
        """Switches recording of operations on this leaf on or off, and returns it."""
        if value and not self.dtype.is_floating_point:
            raise RuntimeError(
                f"only floating point tensors can require a gradient, this one is {self.dtype.name}; use .float()"
            )
        if not value and self._edge is not None:
            raise RuntimeError(
                "requires_grad can be switched off on leaf tensors only; use .detach() on the result of an operation"
            )
        if tracing.state.active and self._requires_grad != value:
            tracing.state.write(self)
        self._requires_grad = builtins.bool(value)
        return self

    @property
    def grad(self) -> "Tensor | None":
        """What backward has added up: the gradient by this leaf, or by a result of operations after `retain_grad()`."""
        if self._grad is None and self._edge is not None and not autograd.retains_grad(self):
            warnings.warn(
                "`.grad` of the result of an operation is None: backward keeps the gradients of leaves only; call retain_grad() "
                "on it before backward",
                stacklevel=2,
            )
        return self._grad

    @grad.setter
    def grad(self, value: "Tensor | None") -> None:
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(f"`.grad` takes a tensor or None, got {type(value).__name__}; use mg.tensor(…)")
        self._grad = value

    @property
    def grad_fn(self):
        """The node of the tape that made this tensor, or None for a leaf."""
        edge = self._edge
        return edge[0] if edge.__class__ is tuple else edge

    def size(self, dim: int | None = None):
        """The shape, or the length of one dimension."""
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self._data.shape)

    def dim(self) -> int:
        """Number of dimensions."""
        return self.ndim

    def is_floating_point(self) -> builtins.bool:
        return self.dtype.is_floating_point

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("a tensor without dimensions has no len()")
        return self.shape[0]

    # --- values out -----------------------------------------------------------------------------------------------
    def numpy(self) -> np.ndarray:
        """The values as a read-only numpy array: a view on the CPU, a copy from MLX (bfloat16 comes as float32)."""
        view = self._backend.to_numpy(self._data).view()
        view.flags.writeable = False
        return view

    def item(self):
        """The value of a tensor with one element, as a Python number."""
        if self.numel() != 1:
            raise ValueError(
                f"item() needs a tensor with one element, this one has shape {self.shape}; index it, or use tolist()"
            )
        return self._backend.to_numpy(self._data).item()

    def tolist(self):
        """Nested lists of Python numbers."""
        return self._backend.to_numpy(self._data).tolist()

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        array = self._backend.to_numpy(self._data)
        return np.array(array, dtype=dtype, copy=True if copy is None else copy)

    def __dlpack__(self, **kwargs):
        return self._data.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self._data.__dlpack_device__()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.is_floating_point:
            raise TypeError(f"only an integer tensor can be an index, this one is {self.dtype.name}")
        return int(self.item())

    def __bool__(self) -> builtins.bool:
        if self.numel() != 1:
            raise ValueError(f"the truth of a tensor of shape {self.shape} is ambiguous; use .any() or .all()")
        return builtins.bool(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and not self.ndim else format(str(self), spec)

    def __repr__(self) -> str:
        array = self._backend.to_numpy(self._data)
        text = np.array2string(array, separator=", ", prefix="tensor(", threshold=1000, precision=4)
        if not array.size and array.ndim > 1:
            text += f", size={self.shape}"
        notes = [] if self.dtype in (float32, ALL["int64"], ALL["bool"]) else [f"dtype={self.dtype!r}"]
        notes += [f"device={self.device!r}"] if self.device != "cpu" else []
        notes += (
            [f"grad_fn=<{self.grad_fn.op.name}>"]
            if self._edge
            else ["requires_grad=True"]
            if self._requires_grad
            else []
        )
        return f"tensor({', '.join([text, *notes])})"

    # --- the tape -------------------------------------------------------------------------------------------------
    def backward(
        self,
        gradient: "Tensor | None" = None,
        retain_graph: builtins.bool | None = None,
        create_graph: builtins.bool = False,
    ):
        """Adds to `.grad` of every leaf that requires one the gradient of this tensor (times `gradient`, if given)."""
        autograd.backward([self], None if gradient is None else [gradient], retain_graph, create_graph)

    def detach(self) -> "Tensor":
        """The same values, off the tape."""
        return _tensor(self._data, self._backend)

    def retain_grad(self) -> None:
        """Makes backward fill in `.grad` although this is no leaf."""
        if not self._requires_grad:
            raise RuntimeError(
                "retain_grad() needs a tensor that requires a gradient; call requires_grad_() on it first"
            )
        if self._edge is not None:
            autograd.retain_grad(self)

    def register_hook(self, hook):
        """Calls `hook(gradient)` during backward; a returned tensor replaces the gradient. Returns a function that removes it."""
        return autograd.add_hook(self, hook)

    # --- device and dtype -----------------------------------------------------------------------------------------
    def to(self, *targets, device: str | None = None, dtype=None) -> "Tensor":
        """On another device and/or in another dtype: `x.to("mlx")`, `x.to(mg.float16)`, `x.to("mlx", mg.float16)`. Differentiable.

        Raises:
            TypeError, BackendError: for a dtype or device that doesn't exist; a device that lacks the tensor's dtype.
        """
        for target in targets:
            if isinstance(target, Tensor):
                device, dtype = target.device, target.dtype
            elif isinstance(target, str) and (target in _backend.NAMES or target not in ALL | ALIASES):
                device = target
            else:
                dtype = target
        if device is None:
            return self if dtype is None else self.astype(dtype)
        xp, out = _backend.get(device), self
        if xp is not self._backend:
            if dtype is not None and self.dtype.name not in xp.dtypes:  # cast on the side that has both
                out = out.astype(dtype if _dtype(dtype).name in self._backend.dtypes else float32)
            out = ops.to_device(out, device=device)
        return out if dtype is None else out.astype(dtype)

    def astype(self, dtype) -> "Tensor":
        """In another dtype; differentiable between floating point types. The tensor itself when it already has it."""
        target = _dtype(dtype)
        return self if target is self.dtype else ops.cast(self, dtype=target.name)

    def cpu(self) -> "Tensor":
        return self.to("cpu")

    def float(self) -> "Tensor":
        return self.astype("float32")

    def double(self) -> "Tensor":
        return self.astype("float64")

    def half(self) -> "Tensor":
        return self.astype("float16")

    def bfloat16(self) -> "Tensor":
        return self.astype("bfloat16")

    def int(self) -> "Tensor":
        return self.astype("int32")

    def long(self) -> "Tensor":
        return self.astype("int64")

    def bool(self) -> "Tensor":
        return self.astype("bool")

    def __copy__(self):
        return self.__deepcopy__({})

    def __deepcopy__(self, memo):
        if self._edge is not None:
            raise RuntimeError("only leaf tensors can be copied by the copy module; use .detach() or .clone()")
        out = _new(type(self))
        out._data, out._backend, out._edge, out._hooks = self._data, self._backend, None, None
        out._requires_grad, out._grad = self._requires_grad, None if self._grad is None else self._grad.detach()
        memo[id(self)] = out
        return out

    def __reduce__(self):
        raise TypeError("tensors are not pickled (a pickle can execute code); use mg.save and mg.load, or .numpy()")


_new = object.__new__


def _tensor(array, xp, edge=None) -> Tensor:
    """A tensor around a raw array, without a check: how the engine makes its results."""
    t = _new(Tensor)
    t._data = array
    t._backend = xp
    t._edge = edge
    t._requires_grad = edge is not None
    t._hooks = None
    t._grad = None
    return t


def _from_python(data, name: str | None, xp) -> tuple[np.ndarray, str]:
    """Numbers and nested lists (also of tensors and arrays) as a numpy array, and the name of the dtype: `name`, or the one
    that holds all that is in them. Python's floats count as float32 and its whole numbers as int64, on every platform."""
    kinds: set = set()
    values = _plain(data if isinstance(data, list | tuple) else [data], kinds)
    found = reduce(promote, [PYTHON.get(kind, kind) for kind in kinds]) if kinds else float32
    kind = ALL[name] if name is not None else found
    if name is None and found is ALL["bfloat16"] and found.name not in xp.dtypes:
        kind = float32
    floats = found.is_floating_point or kind.is_floating_point or kind is bool_ is not found
    via = "float64" if floats else "bool" if found is bool_ else "int64"
    try:
        array = np.asarray(values if isinstance(data, list | tuple) else values[0], via)
    except OverflowError:
        raise overflow(_largest(values), ALL[via] if kind is bool_ else kind, "tensor") from None
    except ValueError as error:
        raise ValueError(f"can't make a tensor of the nested lists: their lengths differ ({error})") from None
    if kind.category == 1 and name is not None and array.size:
        for extreme in (array.min(), array.max()):
            fitted(extreme.item(), kind, "tensor")
    return array, kind.name


NUMBERS = set(PYTHON)


def _plain(data, kinds: set):
    """Nested lists with tensors and whatever has an array as numpy arrays; the types of the numbers in them and the dtypes of
    all else are added to `kinds`."""
    types = set(map(type, data))
    if types <= NUMBERS:
        kinds |= types
        return data
    out: list = []
    for x in data:
        if isinstance(x, list | tuple):
            out.append(_plain(x, kinds))
        elif type(x) in NUMBERS:
            kinds.add(type(x))
            out.append(x)
        elif isinstance(x, Tensor):
            kinds.add(x.dtype)
            out.append(x.numpy())
        else:
            value, kind = _from_other(x)
            kinds.add(kind)
            out.append(value)
    return out


def _from_other(x) -> tuple[Any, DType]:
    """What is no number of Python's, no list and no tensor, as something that numpy takes, and its dtype."""
    if isinstance(x, np.uint16 | np.uint32 | np.uint64):
        return x.item(), ALL["int64"]
    array = _from_numpy(x if isinstance(x, np.ndarray) else np.asarray(x))
    if array.dtype.kind not in "bfiu":
        raise TypeError(
            f"can't make a tensor of {type(x).__name__} (numpy sees {array.dtype}); give numbers or arrays of numbers"
        )
    if isinstance(x, builtins.int | range):
        return array, ALL["int64"]
    kind = _nearest(array)
    return array, float32 if kind.name == "float64" and not hasattr(x, "dtype") else kind


def _largest(values) -> builtins.int:
    """The whole number that is furthest from 0 in nested lists."""
    parts = [_largest(v) if isinstance(v, list | tuple) else v for v in values]
    return max((v for v in parts if isinstance(v, builtins.int)), key=abs, default=0)


def _from_numpy(array: np.ndarray) -> np.ndarray:
    """A copy of an array, or of one of a subclass, as a plain one in the machine's byte order."""
    if array.__class__ is not np.ndarray and np.ma.is_masked(array):  # numpy loads its `ma` when it is first asked for
        raise TypeError(
            "a tensor can't have masked elements; give array.filled(value), or the mask as a tensor of its own"
        )
    return np.array(array, array.dtype.newbyteorder("="), order="C")


def _nearest(array: np.ndarray) -> DType:
    """An array's dtype, or int64 for the unsigned ones that minigrad lacks."""
    name = array.dtype.name
    if name in ("uint16", "uint32", "uint64"):
        if array.size and array.max() > limits(ALL["int64"])[1]:
            raise overflow(array.max().item(), ALL["int64"], "tensor")
        return ALL["int64"]
    if name not in ALL:
        raise TypeError(f"there is no {array.dtype} in minigrad; convert the array first (has {', '.join(ALL)})")
    return ALL[name]


def _supported(array, name: str | None, xp):
    """A numpy array on a backend, with the dtypes that minigrad lacks refused or brought to the nearest."""
    if array.dtype.kind == "u" and name not in (None, "int64"):
        return xp.asarray(array, name)  # floats hold what is too large for int64
    kind = _nearest(array)
    return xp.asarray(array, name or kind.name)


from minigrad import autograd, ops  # noqa: E402  (they need Tensor)
