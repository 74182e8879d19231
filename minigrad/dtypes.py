"""Data types, and the one promotion table of both backends.

A `DType` is a name with a category (bool < integer < floating point) and a size. Which result two operands give follows
PyTorch's rule: the higher category wins; inside a category tensors with dimensions beat zero-dimensional ones, which beat
Python numbers; then the wider type wins. numpy's own table differs (float32 with int64 gives float64 there).
"""

import math
import sys
from collections.abc import Iterable
from functools import cache

import numpy as np


class DType:
    """A data type such as `mg.float32`. Compares equal to its name: `x.dtype == "float32"`."""

    __slots__ = ("name", "category", "itemsize")

    def __init__(self, name: str, category: int, itemsize: int):
        self.name, self.category, self.itemsize = name, category, itemsize

    @property
    def is_floating_point(self) -> bool:
        """Whether it is one of float16, bfloat16, float32, float64."""
        return self.category == 2

    def __repr__(self) -> str:
        return f"minigrad.{self.name}"

    def __eq__(self, other: object) -> bool:
        return self is other or self.name == other

    def __hash__(self) -> int:
        return hash(self.name)

    def __reduce__(self):
        return dtype, (self.name,)


bool_ = DType("bool", 0, 1)
uint8 = DType("uint8", 1, 1)
int8 = DType("int8", 1, 1)
int16 = DType("int16", 1, 2)
int32 = DType("int32", 1, 4)
int64 = DType("int64", 1, 8)
float16 = DType("float16", 2, 2)
bfloat16 = DType("bfloat16", 2, 2)
float32 = DType("float32", 2, 4)
float64 = DType("float64", 2, 8)

ALL = {d.name: d for d in (bool_, uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64)}
ALIASES = {"float": "float32", "double": "float64", "half": "float16", "int": "int32", "long": "int64"}
PYTHON = {bool: bool_, int: int64, float: float32}


def dtype(spec) -> DType:
    """The `DType` meant by a DType, a name ("float32"), a Python type (float means float32, int means int64) or a numpy dtype.

    Raises:
        TypeError: when nothing of that name exists.
    """
    if isinstance(spec, DType):
        return spec
    if isinstance(spec, type) and spec in PYTHON:
        return PYTHON[spec]
    name = spec if isinstance(spec, str) else str(getattr(spec, "name", None) or getattr(spec, "__name__", spec))
    name = ALIASES.get(name, name)
    if name in ALL:
        return ALL[name]
    given = repr(spec) if isinstance(spec, str | type | np.dtype) else f"given by a {type(spec).__name__}"
    raise TypeError(f"there is no dtype {given}; minigrad has {', '.join(ALL)}")


def plain(value):
    """A numpy number as a Python one; anything else as it is. Beside an array of float32, np.float64 would make float64 of it."""
    return value.item() if isinstance(value, np.generic) else value


@cache
def limits(kind: DType) -> tuple[int, int]:
    """The smallest and the largest number that an integer dtype takes. uint8 takes the whole numbers -255 … -1 as well, as in
    PyTorch: they are what they are modulo 256."""
    top = 2 ** (8 * kind.itemsize - (kind is not uint8)) - 1
    return (-top, top) if kind is uint8 else (-top - 1, top)


def fitted(value, kind: DType, who: str, finite: bool = False):
    """A Python number as one that `kind` holds: a bool, an int (a float is cut to one) or a float.

    Args:
        who: the function that was called, for the message.
        finite: also refuse a finite number beyond the largest of `kind`, as which it would be infinite.

    Raises:
        OverflowError: when it can't be held: whole numbers out of range, infinities and NaN as integers.
    """
    if kind.category == 0:
        return value != 0
    if kind.category == 2:
        top = LARGEST[kind.name]
        try:
            number = float(value)
        except OverflowError:
            raise overflow(value, kind, who) from None
        if finite and top < abs(number) < math.inf:
            raise overflow(value, kind, who)
        return number
    low, high = limits(kind)
    low = 0 if kind is uint8 and isinstance(value, float) else low
    if not low <= value <= high:
        raise overflow(value, kind, who)
    return int(value) % 256 if kind is uint8 else int(value)


def overflow(value, kind: DType, who: str) -> OverflowError:
    """The error of a number that a dtype can't hold."""
    if kind.category == 2:
        low, high = -LARGEST[kind.name], LARGEST[kind.name]
    else:
        low, high = (0, 255) if kind is uint8 else limits(kind)
    return OverflowError(
        f"{who}: {_written(value)} doesn't fit {kind.name}, which holds {_written(low)} … {_written(high)}; give another number "
        "or a wider dtype"
    )


def _written(number) -> str:
    if isinstance(number, float):
        return f"{number:.6g}"
    return f"{number:_}" if abs(number) < 10**40 else f"a whole number of {number.bit_length()} bits"


# The largest finite numbers.
LARGEST = {
    "float16": 65504.0, "bfloat16": 2.0**128 - 2.0**120, "float32": 2.0**128 - 2.0**104, "float64": sys.float_info.max
}  # fmt: skip


@cache
def promote(a: DType, b: DType) -> DType:
    """The smallest dtype that holds both: `promote(int64, float16) is float16`, `promote(uint8, int8) is int16`."""
    if a.category != b.category:
        return a if a.category > b.category else b
    if a.itemsize != b.itemsize:
        return a if a.itemsize > b.itemsize else b
    if a is b:
        return a
    return float32 if a.category == 2 else int16  # float16 with bfloat16; uint8 with int8


HALVES = frozenset(["float16", "bfloat16"])  # names of the 16-bit floating point dtypes


def common(kinds: Iterable[tuple[int, DType]]) -> DType:
    """The dtype in which an elementwise operation computes, PyTorch's rule: `kinds` are pairs of a rank and a dtype, of rank 0 for
    tensors with dimensions, 1 for tensors without, 2 for Python numbers. Those of one rank decide among themselves (`promote`);
    a later rank counts only where it is of a higher category (boolean, whole, floating point)."""
    best: dict[int, DType] = {}
    for rank, kind in kinds:
        best[rank] = promote(best[rank], kind) if rank in best else kind
    return max((best[rank] for rank in sorted(best)), key=lambda kind: kind.category)


ARITHMETIC = {"add", "sub", "mul", "div", "floor_divide", "remainder"}
COMPARISONS = {"eq", "ne", "lt", "le", "gt", "ge"}


def beside(op, number, kind: DType):
    """A Python number beside tensors of a dtype in an operation. A whole number that no element can be compares as infinity does, in
    float32, which has every integer on its side of it; elsewhere it is refused.

    Raises:
        OverflowError: for a whole number that the dtype can't hold.
    """
    if number.__class__ is not int or 0 <= number < 128:
        return number
    if op.own and op.name in COMPARISONS:
        low, high = limits(kind) if kind.category == 1 else (-1, 1)
        low = 0 if kind is uint8 else low
        if kind.category < 2 and not low <= number <= high or abs(number) > 2**1023:
            return math.inf if number > 0 else -math.inf
    held = fitted(number, kind, op.name)
    return number if held == number and abs(number) < 2**63 else held


def beyond(op, number) -> bool:
    """Whether arithmetic of float16 with this number is done in float32 and rounded: one that float16 can't hold, as in x · 65536."""
    wide = number.__class__ in (int, float) and LARGEST["float16"] < abs(number) <= LARGEST["float32"]
    return wide and op.own and op.name in ARITHMETIC
