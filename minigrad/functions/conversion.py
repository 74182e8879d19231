"""What Tensor has to tell its values and to change its device and dtype."""

import builtins
import math
from typing import Any

import numpy as np

from minigrad import ops
from minigrad.backend import NAMES
from minigrad.backend import get as get_backend
from minigrad.dtypes import ALIASES, ALL, float32
from minigrad.dtypes import dtype as as_dtype
from minigrad.engine.tensor import Tensor, _new


class Conversion:
    """Methods of `Tensor`, see `minigrad.functions.methods`."""

    __slots__ = ()

    def size(self: Any, dim: int | None = None):
        """The shape, or the length of one dimension."""
        return self.shape if dim is None else self.shape[dim]

    def numel(self: Any) -> int:
        """Number of elements."""
        return math.prod(self._data.shape)

    def dim(self: Any) -> int:
        """Number of dimensions."""
        return self.ndim

    def is_floating_point(self: Any) -> builtins.bool:
        return self.dtype.is_floating_point

    def __len__(self: Any) -> int:
        if not self.ndim:
            raise TypeError("a tensor without dimensions has no len()")
        return self.shape[0]

    # --- values out -----------------------------------------------------------------------------------------------
    def numpy(self: Any) -> np.ndarray:
        """The values as a read-only numpy array: a view on the CPU, a copy from MLX (bfloat16 comes as float32)."""
        view = self._backend.to_numpy(self.data).view()
        view.flags.writeable = False
        return view

    def item(self: Any):
        """The value of a tensor with one element, as a Python number."""
        if self.numel() != 1:
            raise ValueError(
                f"item() needs a tensor with one element, this one has shape {self.shape}; index it, or use tolist()"
            )
        return self._backend.to_numpy(self.data).item()

    def tolist(self: Any):
        """Nested lists of Python numbers."""
        return self._backend.to_numpy(self.data).tolist()

    def __array__(self: Any, dtype=None, copy=None) -> np.ndarray:
        array = self._backend.to_numpy(self.data)
        return np.array(array, dtype=dtype, copy=True if copy is None else copy)

    def __dlpack__(self: Any, **kwargs):
        return self.data.__dlpack__(**kwargs)

    def __dlpack_device__(self: Any):
        return self._data.__dlpack_device__()

    def __float__(self: Any) -> float:
        return float(self.item())

    def __int__(self: Any) -> int:
        return int(self.item())

    def __index__(self: Any) -> int:
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
        array = self._backend.to_numpy(self.data)
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
    def to(self: Any, *targets, device: str | None = None, dtype=None) -> Tensor:
        """On another device and/or in another dtype: `x.to("mlx")`, `x.to(mg.float16)`, `x.to("mlx", mg.float16)`. Differentiable.

        Raises:
            TypeError, BackendError: for a dtype or device that doesn't exist; a device that lacks the tensor's dtype.
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

    def astype(self: Any, dtype) -> Tensor:
        """In another dtype; differentiable between floating point types. The tensor itself when it already has it."""
        target = as_dtype(dtype)
        return self if target is self.dtype else ops.cast(self, dtype=target.name)

    def cpu(self: Any) -> Tensor:
        return self.to("cpu")

    def float(self: Any) -> Tensor:
        return self.astype("float32")

    def double(self: Any) -> Tensor:
        return self.astype("float64")

    def half(self: Any) -> Tensor:
        return self.astype("float16")

    def bfloat16(self: Any) -> Tensor:
        return self.astype("bfloat16")

    def int(self: Any) -> Tensor:
        return self.astype("int32")

    def long(self: Any) -> Tensor:
        return self.astype("int64")

    def bool(self: Any) -> Tensor:
        return self.astype("bool")

    def __copy__(self: Any):
        return self.__deepcopy__({})

    def __deepcopy__(self: Any, memo):
        if self._edge is not None:
            raise RuntimeError("only leaf tensors can be copied by the copy module; use .detach() or .clone()")
        out = _new(type(self))
        out._data, out._backend, out._edge, out._hooks = self.data, self._backend, None, None
        out._requires_grad, out._grad = self._requires_grad, None if self._grad is None else self._grad.detach()
        memo[id(self)] = out
        return out

    def __reduce__(self: Any):
        raise TypeError("tensors are not pickled (a pickle can execute code); use mg.save and mg.load, or .numpy()")
