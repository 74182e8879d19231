"""What Tensor has of the functions: its operators and its methods, all in this one place."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from minigrad import functions, ops
from minigrad.engine.modes import is_grad_enabled
from minigrad.engine.tensor import Tensor
from minigrad.functions import index
from minigrad.functions.conversion import Conversion
from minigrad.functions.tape import Tape
from minigrad.functions.writes import Writes

Operand = Tensor | float

_add, _sub, _mul, _div = ops.add, ops.sub, ops.mul, ops.div
# Called so, an operation is entered without a detour through the interpreter's call slot.
_binary: Any = type(_mul).__call__


class Methods(Conversion, Tape, Writes):
    """The operators and methods of `Tensor`, which receives them below; a type checker sees it as Tensor's base class."""

    __slots__ = ()

    # --- operators ----------------------------------------------------------------------------------------------------
    def __add__(self, other: Operand) -> Tensor:
        return _binary(_add, self, other)

    __radd__ = __add__

    def __sub__(self, other: Operand) -> Tensor:
        return _binary(_sub, self, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return _binary(_sub, other, self)

    def __mul__(self, other: Operand) -> Tensor:
        return _binary(_mul, self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Operand) -> Tensor:
        return _binary(_div, self, other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return _binary(_div, other, self)

    def __floordiv__(self, other: Operand) -> Tensor:
        return ops.floor_divide(self, other)

    def __rfloordiv__(self, other: Operand) -> Tensor:
        return ops.floor_divide(other, self)

    def __mod__(self, other: Operand) -> Tensor:
        return ops.remainder(self, other)

    def __rmod__(self, other: Operand) -> Tensor:
        return ops.remainder(other, self)

    def __pow__(self: Any, other: Operand) -> Tensor:
        return functions.pow(self, other)

    def __rpow__(self: Any, other: Operand) -> Tensor:
        return functions.pow(other, self)

    def __matmul__(self: Any, other: Tensor) -> Tensor:
        return functions.matmul(self, other)

    def __rmatmul__(self: Any, other: Tensor) -> Tensor:
        return functions.matmul(other, self)

    def __neg__(self) -> Tensor:
        return ops.neg(self)

    def __pos__(self: Any) -> Tensor:
        return self

    def __abs__(self) -> Tensor:
        return ops.abs(self)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return ops.eq(self, other) if _comparable(other) else NotImplemented

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return ops.ne(self, other) if _comparable(other) else NotImplemented

    def __lt__(self, other: Operand) -> Tensor:
        return ops.lt(self, other)

    def __le__(self, other: Operand) -> Tensor:
        return ops.le(self, other)

    def __gt__(self, other: Operand) -> Tensor:
        return ops.gt(self, other)

    def __ge__(self, other: Operand) -> Tensor:
        return ops.ge(self, other)

    def __and__(self, other: Operand) -> Tensor:
        return ops.bitwise_and(self, other)

    __rand__ = __and__

    def __or__(self, other: Operand) -> Tensor:
        return ops.bitwise_or(self, other)

    __ror__ = __or__

    def __xor__(self, other: Operand) -> Tensor:
        return ops.bitwise_xor(self, other)

    __rxor__ = __xor__

    def __invert__(self) -> Tensor:
        return ops.bitwise_not(self)

    def __lshift__(self, other: Operand) -> Tensor:
        return ops.bitwise_left_shift(self, other)

    def __rlshift__(self, other: Operand) -> Tensor:
        return ops.bitwise_left_shift(other, self)

    def __rshift__(self, other: Operand) -> Tensor:
        return ops.bitwise_right_shift(self, other)

    def __rrshift__(self, other: Operand) -> Tensor:
        return ops.bitwise_right_shift(other, self)

    def __getitem__(self: Any, at: Any) -> Tensor:
        return index.getitem(self, at)

    def __iter__(self: Any) -> Iterator[Tensor]:
        if not self.ndim:
            raise TypeError("a tensor without dimensions can't be iterated over")
        if self._requires_grad and is_grad_enabled():
            return iter(functions.unbind(self))  # one node for all
        return _rows(self)

    # --- each element by itself --------------------------------------------------------------------------------------
    add = functions.add
    sub = subtract = functions.sub
    mul = multiply = functions.mul
    div = divide = functions.div
    floor_divide = functions.floor_divide
    remainder = functions.remainder
    pow = functions.pow
    neg = negative = functions.neg
    abs = absolute = functions.abs
    sign = functions.sign
    square = functions.square
    sqrt = functions.sqrt
    rsqrt = functions.rsqrt
    reciprocal = functions.reciprocal
    exp = functions.exp
    expm1 = functions.expm1
    log = functions.log
    log1p = functions.log1p
    sin = functions.sin
    cos = functions.cos
    tanh = functions.tanh
    sigmoid = functions.sigmoid
    erf = functions.erf
    floor = functions.floor
    ceil = functions.ceil
    round = functions.round
    maximum = functions.maximum
    minimum = functions.minimum
    clamp = clip = functions.clamp
    masked_fill = functions.masked_fill
    relu = functions.relu

    def where(self: Any, condition: Tensor, other: Tensor | float) -> Tensor:
        """The elements where the boolean condition is true, `other` elsewhere."""
        return functions.where(condition, self, other)

    # --- comparison, logic, bits -------------------------------------------------------------------------------------
    eq = functions.eq
    ne = not_equal = functions.ne
    lt = less = functions.lt
    le = functions.le
    gt = greater = functions.gt
    ge = functions.ge
    logical_and = functions.logical_and
    logical_or = functions.logical_or
    logical_not = functions.logical_not
    isnan = functions.isnan
    isinf = functions.isinf
    isfinite = functions.isfinite
    bitwise_and = functions.bitwise_and
    bitwise_or = functions.bitwise_or
    bitwise_xor = functions.bitwise_xor
    bitwise_not = functions.bitwise_not
    bitwise_left_shift = functions.bitwise_left_shift
    bitwise_right_shift = functions.bitwise_right_shift

    # --- reductions --------------------------------------------------------------------------------------------------
    sum = functions.sum
    mean = functions.mean
    var = functions.var
    std = functions.std
    prod = functions.prod
    cumsum = functions.cumsum
    amax = functions.amax
    amin = functions.amin
    argmax = functions.argmax
    argmin = functions.argmin
    max = functions.max
    min = functions.min
    any = functions.any
    all = functions.all
    logsumexp = functions.logsumexp
    softmax = functions.softmax
    log_softmax = functions.log_softmax

    # --- shape -------------------------------------------------------------------------------------------------------
    clone = functions.clone
    contiguous = functions.contiguous
    reshape = functions.reshape
    view = functions.view
    view_as = functions.view_as
    flatten = functions.flatten
    unflatten = functions.unflatten
    permute = functions.permute
    transpose = functions.transpose
    swapaxes = functions.swapaxes
    t = functions.t
    squeeze = functions.squeeze
    unsqueeze = functions.unsqueeze
    broadcast_to = functions.broadcast_to
    expand = functions.expand
    expand_as = functions.expand_as
    repeat = functions.repeat
    flip = functions.flip
    roll = functions.roll
    tril = functions.tril
    triu = functions.triu

    # --- joining and taking apart ------------------------------------------------------------------------------------
    split = functions.split
    chunk = functions.chunk
    unbind = functions.unbind

    # --- indexing ----------------------------------------------------------------------------------------------------
    narrow = functions.narrow
    select = functions.select
    index_select = functions.index_select
    masked_select = functions.masked_select
    gather = functions.gather
    take_along_dim = functions.take_along_dim
    scatter_add = functions.scatter_add
    index_add = functions.index_add
    diagonal = functions.diagonal
    unfold = index.unfold  # PyTorch's function of this name is another one, F.unfold

    # --- matrix products ---------------------------------------------------------------------------------------------
    matmul = functions.matmul
    mm = functions.mm
    bmm = functions.bmm
    mv = functions.mv
    dot = functions.dot
    outer = functions.outer
    addmm = functions.addmm

    # --- transposes ---------------------------------------------------------------------------------------------------
    @property
    def T(self: Any) -> Tensor:
        """The dimensions reversed."""
        return ops.permute(self, dims=tuple(reversed(range(self.ndim))))

    @property
    def mT(self: Any) -> Tensor:
        """The last two dimensions exchanged."""
        return functions.transpose(self, -2, -1)


def _rows(t: Tensor) -> Iterator[Tensor]:
    """The parts of a tensor along its first dimension, each made when it is asked for: a write to one renews those that live."""
    for i in range(t.shape[0]):
        row = ops.getitem(t, index=(i,))
        row._ties.manner = row._ties.manner or "several"
        yield row


def _comparable(other: object) -> bool:
    return isinstance(other, Tensor | int | float | np.number | np.bool_)


for _name, _method in (vars(Conversion) | vars(Tape) | vars(Writes) | vars(Methods)).items():
    if callable(_method) or isinstance(_method, property):
        setattr(Tensor, _name, _method)
