"""Data types, and the one promotion table of both backends.

A `DType` is a name with a category (bool < integer < floating point) and a size. Which result two operands give follows
PyTorch's rule: the higher category wins; inside a category tensors with dimensions beat zero-dimensional ones, which beat
Python numbers; then the wider type wins. numpy's own table differs (float32 with int64 gives float64 there).
"""

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
    raise TypeError(f"there is no dtype {spec!r}; minigrad has {', '.join(ALL)}")


def plain(value):
    """A numpy number as a Python one; anything else as it is. Beside an array of float32, np.float64 would make float64 of it."""
    return value.item() if isinstance(value, np.generic) else value


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
