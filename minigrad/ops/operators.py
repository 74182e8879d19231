"""What Python's operators mean for tensors: each calls the operation of that name."""

import builtins
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad import ops
from minigrad.engine.modes import is_grad_enabled
from minigrad.engine.tensor import Tensor
from minigrad.ops import elementwise
from minigrad.ops.index import getitem, setitem

add, sub, mul, div = elementwise.add.op, elementwise.sub.op, elementwise.mul, elementwise.div.op
_binary: Any = type(
    add
).__call__  # called so, an operation is entered without a detour through the interpreter's call slot


class Operators:
    """The operators of `Tensor`, which receives these methods below."""

    __slots__ = ("_data",) if TYPE_CHECKING else ()

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __add__(self, other):
        return _binary(add, self, other)

    __radd__ = __add__

    def __sub__(self, other):
        return _binary(sub, self, other)

    def __rsub__(self, other):
        return _binary(sub, other, self)

    def __mul__(self, other):
        return _binary(mul, self, other)

    __rmul__ = __mul__

    def __truediv__(self, other):
        return _binary(div, self, other)

    def __rtruediv__(self, other):
        return _binary(div, other, self)

    def __floordiv__(self, other):
        return ops.floor_divide(self, other)

    def __rfloordiv__(self, other):
        return ops.floor_divide(other, self)

    def __mod__(self, other):
        return ops.remainder(self, other)

    def __rmod__(self, other):
        return ops.remainder(other, self)

    def __pow__(self, other):
        return ops.pow(self, other)

    def __rpow__(self, other):
        return ops.pow(other, self)

    def __matmul__(self, other):
        return ops.matmul(self, other)

    def __rmatmul__(self, other):
        return ops.matmul(other, self)

    def __neg__(self):
        return ops.neg(self)

    def __pos__(self):
        return self

    def __abs__(self):
        return ops.abs(self)

    def __eq__(self, other):
        return ops.eq(self, other) if _comparable(other) else NotImplemented

    def __ne__(self, other):
        return ops.ne(self, other) if _comparable(other) else NotImplemented

    def __lt__(self, other):
        return ops.lt(self, other)

    def __le__(self, other):
        return ops.le(self, other)

    def __gt__(self, other):
        return ops.gt(self, other)

    def __ge__(self, other):
        return ops.ge(self, other)

    def __and__(self, other):
        return ops.bitwise_and(self, other)

    __rand__ = __and__

    def __or__(self, other):
        return ops.bitwise_or(self, other)

    __ror__ = __or__

    def __xor__(self, other):
        return ops.bitwise_xor(self, other)

    __rxor__ = __xor__

    def __invert__(self):
        return ops.bitwise_not(self)

    def __lshift__(self, other):
        return ops.bitwise_left_shift(self, other)

    def __rlshift__(self, other):
        return ops.bitwise_left_shift(other, self)

    def __rshift__(self, other):
        return ops.bitwise_right_shift(self, other)

    def __rrshift__(self, other):
        return ops.bitwise_right_shift(other, self)

    def __getitem__(self, index):
        return getitem(self, index)

    def __setitem__(self, index, value) -> None:
        setitem(self, index, value)

    def __iter__(self):
        if not self.ndim:
            raise TypeError("a tensor without dimensions can't be iterated over")
        return iter(ops.unbind(self))

    def _augment(self, result):
        """`x += y`: rebinds the data of a leaf under no_grad; elsewhere makes a new tensor, as arrays are never written."""
        if self._edge is not None or not self._requires_grad:
            return result
        if is_grad_enabled():
            raise RuntimeError(
                "an augmented assignment would change a leaf that requires a gradient; do it inside mg.no_grad()"
            )
        if result.shape != self.shape:
            raise ValueError(f"an augmented assignment can't change the shape {self.shape} of a leaf to {result.shape}")
        self.data = result.astype(self.dtype)._data
        return self

    def __iadd__(self, other):
        return self._augment(self + other)

    def __isub__(self, other):
        return self._augment(self - other)

    def __imul__(self, other):
        return self._augment(self * other)

    def __itruediv__(self, other):
        return self._augment(self / other)

    def __ifloordiv__(self, other):
        return self._augment(self // other)

    def __imod__(self, other):
        return self._augment(self % other)

    def __ipow__(self, other):
        return self._augment(self**other)


def _comparable(other) -> builtins.bool:
    return isinstance(other, Tensor | builtins.int | builtins.float | np.number | np.bool_)


for _name, _method in list(vars(Operators).items()):
    if callable(_method):
        setattr(Tensor, _name, _method)
