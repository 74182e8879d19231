"""What Tensor has to tell its values and to change its device and dtype."""

import builtins
import copy
import math
from typing import Any, NoReturn, TypeVar, Union, overload

import numpy as np

from minigrad import ops
from minigrad.backend import NAMES
from minigrad.backend import get as get_backend
from minigrad.dtypes import ALIASES, ALL, float32
from minigrad.dtypes import dtype as as_dtype
from minigrad.engine.tensor import Tensor, _new
from minigrad.functions.arguments import DTypeLike, _dim

T = TypeVar("T")
Numbers = Union[int, float, list["Numbers"]]  # noqa: UP007  (what nests needs the quotes)


class Conversion:
    """Methods of `Tensor`, see `minigrad.functions.methods`."""

    __slots__ = ()

    @overload
    def size(self: Any, dim: None = None) -> tuple[builtins.int, ...]: ...

    @overload
    def size(self: Any, dim: builtins.int) -> builtins.int: ...

    def size(self: Any, dim: builtins.int | None = None) -> builtins.int | tuple[builtins.int, ...]:
        """The shape, or the length of one dimension.

        Raises:
            IndexError: when there is no such dimension. TypeError: when `dim` is no integer.

        >>> x = mg.zeros(2, 3)
        >>> x.size(), x.size(-1)
        ((2, 3), 3)
        """
        if dim is None:
            return self.shape
        at = _dim(dim, self.ndim, "size")
        if not self.ndim:
            raise IndexError(f"size: a tensor without dimensions has no dimension {dim}")
        return self.shape[at]

    def numel(self: Any) -> builtins.int:
        """Number of elements: the product of the shape.

        >>> mg.zeros(2, 3).numel()
        6
        """
        return math.prod(self._data.shape)

    def dim(self: Any) -> builtins.int:
        """Number of dimensions: the length of the shape.

        >>> mg.zeros(2, 3).dim()
        2
        """
        return self.ndim

    def is_floating_point(self: Any) -> builtins.bool:
        """Whether the dtype is one of float16, bfloat16, float32, float64.

        >>> mg.zeros(2).is_floating_point(), mg.arange(2).is_floating_point()
        (True, False)
        """
        return self.dtype.is_floating_point

    def __len__(self: Any) -> builtins.int:
        if not self.ndim:
            raise TypeError("a tensor without dimensions has no len()")
        return self.shape[0]

    # --- values out -----------------------------------------------------------------------------------------------
    def numpy(self: Any) -> np.ndarray:
        """The values as a read-only numpy array of the same shape: a view on the CPU, a copy from MLX (bfloat16 comes as float32).

        >>> mg.tensor([1.0, 2.0]).numpy()
        array([1., 2.], dtype=float32)
        """
        view = self._backend.to_numpy(self.array).view()
        view.flags.writeable = False
        return view

    def item(self: Any) -> builtins.int | builtins.float:
        """The value of a tensor with one element, as a Python number or boolean.

        Raises:
            ValueError: for a tensor with more elements, or none.

        >>> mg.tensor([2.5]).item()
        2.5
        """
        if self.numel() != 1:
            raise ValueError(
                f"item() needs a tensor with one element, this one has shape {self.shape}; index it, or use tolist()"
            )
        return self._backend.to_numpy(self.array).item()

    def tolist(self: Any) -> Numbers:
        """Nested lists of Python numbers, as deep as the tensor has dimensions; without any, a number.

        >>> mg.tensor([[1, 2], [3, 4]]).tolist()
        [[1, 2], [3, 4]]
        """
        return self._backend.to_numpy(self.array).tolist()

    def __array__(self: Any, dtype: Any = None, copy: builtins.bool | None = None) -> np.ndarray:
        array = self._backend.to_numpy(self.array)
        return np.array(array, dtype=dtype, copy=True if copy is None else copy)

    def __dlpack__(self: Any, **kwargs: Any) -> Any:
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self: Any) -> tuple[builtins.int, builtins.int]:
        return self._data.__dlpack_device__()

    def __float__(self: Any) -> builtins.float:
        return builtins.float(self.item())

    def __int__(self: Any) -> builtins.int:
        return int(self.item())

    def __index__(self: Any) -> builtins.int:
        if self.dtype.is_floating_point:
            raise TypeError(f"only an integer tensor can be an index, this one is {self.dtype.name}")
        return int(self.item())

    def __bool__(self: Any) -> builtins.bool:
        if self.numel() != 1:
            raise ValueError(f"the truth of a tensor of shape {self.shape} is ambiguous; use .any() or .all()")
        return builtins.bool(self.item())

    def __format__(self: Any, spec: str) -> str:
        return format(self.item(), spec) if spec and not self.ndim else format(str(self), spec)

    def __repr__(self: Any) -> str:
        array = self._backend.to_numpy(self.array)
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

    # --- device and dtype -----------------------------------------------------------------------------------------
    def to(
        self: Any, *targets: Tensor | DTypeLike | type, device: str | None = None, dtype: DTypeLike | type | None = None
    ) -> Tensor:
        """On another device and/or in another dtype: `x.to("mlx")`, `x.to(mg.float16)`, `x.to("mlx", mg.float16)`. Differentiable.

        Args:
            targets: devices and dtypes in any order, or a tensor that has both. The tensor itself comes back where it has them.

        Raises:
            TypeError, BackendError: for a dtype or device that doesn't exist; a device that lacks the tensor's dtype.

        >>> mg.tensor([1.5, -1.5]).to(mg.int64)
        tensor([ 1, -1])
        """
        for target in targets:
            if isinstance(target, Tensor):
                device, dtype = target.device, target.dtype
            elif isinstance(target, str) and (target in NAMES or target not in ALL | ALIASES):
                device = target
            else:
                dtype = target
        if device is None:
            return self if dtype is None else self.astype(dtype)
        xp, out = get_backend(device), self
        if xp is not self._backend:
            if dtype is not None and self.dtype.name not in xp.dtypes:  # cast on the side that has both
                out = out.astype(dtype if as_dtype(dtype).name in self._backend.dtypes else float32)
            out = ops.to_device(out, device=device)
        return out if dtype is None else out.astype(dtype)

    def astype(self: Any, dtype: DTypeLike | type) -> Tensor:
        """In another dtype; differentiable between floating point types. The tensor itself when it already has it.

        Raises:
            TypeError: for a dtype that doesn't exist, or that the device lacks.

        >>> mg.tensor([1.5, -1.5]).astype("int64")
        tensor([ 1, -1])
        """
        target = as_dtype(dtype)
        return self if target is self.dtype else ops.cast(self, dtype=target.name)

    def cpu(self: Any) -> Tensor:
        """On the device "cpu", as `to("cpu")`.

        >>> mg.ones(2).cpu().device
        'cpu'
        """
        return self.to("cpu")

    def float(self: Any) -> Tensor:
        """In dtype float32, as `astype("float32")`.

        >>> mg.tensor([1, 2]).float().dtype
        minigrad.float32
        """
        return self.astype("float32")

    def double(self: Any) -> Tensor:
        """In dtype float64, as `astype("float64")`.

        >>> mg.tensor([1, 2]).double().dtype
        minigrad.float64
        """
        return self.astype("float64")

    def half(self: Any) -> Tensor:
        """In dtype float16, as `astype("float16")`.

        >>> mg.tensor([1, 2]).half().dtype
        minigrad.float16
        """
        return self.astype("float16")

    def bfloat16(self: Any) -> Tensor:
        """In dtype bfloat16, as `astype("bfloat16")`, on a device that has it.

        >>> mg.tensor([1, 2]).bfloat16()  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        TypeError: cast: ... the CPU backend has no bfloat16; use float32, or device 'mlx' for bfloat16
        """
        return self.astype("bfloat16")

    def int(self: Any) -> Tensor:
        """In dtype int32, as `astype("int32")`.

        >>> mg.tensor([1, 2]).int().dtype
        minigrad.int32
        """
        return self.astype("int32")

    def long(self: Any) -> Tensor:
        """In dtype int64, as `astype("int64")`.

        >>> mg.tensor([1, 2]).long().dtype
        minigrad.int64
        """
        return self.astype("int64")

    def bool(self: Any) -> Tensor:
        """In dtype bool, as `astype("bool")`: whether each element is not zero.

        >>> mg.tensor([0.0, 0.5]).bool().tolist()
        [False, True]
        """
        return self.astype("bool")

    def __copy__(self: T) -> T:
        return copy.deepcopy(self)

    def __deepcopy__(self: T, memo: dict) -> T:
        given: Any = self
        if given._edge is not None:
            raise RuntimeError("only leaf tensors can be copied by the copy module; use .detach() or .clone()")
        out: Any = _new(type(self))
        out._data, out._backend, out._edge, out._hooks, out._ties = given.array, given._backend, None, None, None
        out._requires_grad, out._grad = (
            given._requires_grad,
            None if given._grad is None else given._grad.detach().clone(),
        )
        memo[id(self)] = out
        return out

    def __reduce__(self: Any) -> NoReturn:
        raise TypeError("tensors are not pickled (a pickle can execute code); use mg.save and mg.load, or .numpy()")
