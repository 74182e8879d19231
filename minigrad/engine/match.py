"""What comes into an operation: dtypes brought together, and errors told in one sentence."""

import math

import numpy as np

from minigrad.dtypes import ALL, LARGEST, DType, fitted, float32, int64, limits, promote, uint8
from minigrad.engine.tensor import Tensor


def matched(op, inputs):
    """Inputs of an elementwise operation cast to their common dtype (PyTorch's table), or None when they already fit."""
    if not any(isinstance(t, Tensor) for t in inputs):
        raise TypeError(
            f"{op.name}: expected a tensor, got {', '.join(type(t).__name__ for t in inputs)}; use mg.tensor(…)"
        )
    best: list[DType | None] = [None, None, None]  # of tensors with dimensions, of 0-dimensional ones, of numbers
    changed = False
    inputs = list(inputs)
    for i, t in enumerate(inputs[op.promote_from :], op.promote_from):
        if isinstance(t, Tensor):
            level, kind = (0 if t._data.ndim else 1), t.dtype
        elif t.__class__ is float or t.__class__ is int or t.__class__ is bool:
            level, kind = 2, ALL["bool"] if isinstance(t, bool) else int64 if isinstance(t, int) else float32
        elif hasattr(t, "item") and getattr(t, "ndim", None) == 0:  # a numpy number
            inputs[i], changed = t.item(), True
            return matched(op, inputs) or inputs
        else:
            raise TypeError(
                f"{op.name}: expected a tensor or a number, got {type(t).__name__}; wrap it with mg.tensor(…)"
            )
        best[level] = kind if best[level] is None else promote(best[level], kind)
    common: DType | None = None
    for seen in best:
        if seen is not None and (common is None or seen.category > common.category):
            common = seen
    if common is None:
        return None
    if op.floats and not common.is_floating_point:
        common = float32
    if common.name == "float16" and op.own and op.name in ARITHMETIC and any(_beyond(t) for t in inputs):
        return Widened(t.float() if isinstance(t, Tensor) else t for t in inputs)
    for i, t in enumerate(inputs[op.promote_from :], op.promote_from):
        if isinstance(t, Tensor):
            if t.dtype is not common:
                inputs[i], changed = t.astype(common), True
        elif t.__class__ is int and not 0 <= t < 128 and (number := _number(op, t, common)) is not t:
            inputs[i] = number
            return matched(op, inputs) or inputs
    return inputs if changed else None


class Widened(list):
    """Inputs in float32 of an operation whose result is to be float16: beside a number that float16 can't hold, as PyTorch
    computes x · 65536."""


ARITHMETIC = {"add", "sub", "mul", "div", "floor_divide", "remainder"}
COMPARISONS = {"eq", "ne", "lt", "le", "gt", "ge"}


def _number(op, value: int, common: DType):
    """A whole number beside tensors of a dtype. One that no element can be compares as infinity does, in float32, which
    has every integer on its side of it; elsewhere it is refused."""
    if (
        op.own
        and op.name in COMPARISONS
        and (common.category < 2 and not _within(value, common) or abs(value) > 2**1023)
    ):
        return math.inf if value > 0 else -math.inf
    number = fitted(value, common, op.name)
    return value if number == value and abs(value) < 2**63 else number


def _beyond(t) -> bool:
    """Whether it is a number between the largest of float16 and the largest of float32."""
    return t.__class__ in (int, float) and LARGEST["float16"] < abs(t) <= LARGEST["float32"]


def _within(value: int, kind: DType) -> bool:
    low, high = limits(kind)
    return (0 if kind is uint8 else low) <= value <= high


def explained(op, error: Exception, inputs, static) -> Exception:
    """The array library's complaint in one sentence with the operation's name and the inputs' shapes."""
    given = ", ".join(describe(t) for t in inputs)
    if not any(isinstance(t, Tensor) for t in inputs):
        return TypeError(f"{op.name}: expected a tensor, got {given}; use mg.tensor(…)")
    kind = next((k for k in (TypeError, IndexError) if isinstance(error, k)), ValueError)
    if op.elementwise:
        try:
            np.broadcast_shapes(*(t.shape for t in inputs if isinstance(t, Tensor)))
        except ValueError:
            return ValueError(
                f"{op.name}: the shapes of {given} don't broadcast together; make their trailing sizes equal or 1"
            )
        if any(isinstance(t, Tensor) and t.dtype == "bool" for t in inputs):
            return TypeError(f"{op.name}: {given} can't be computed with; use ~, &, |, ^ for booleans, or .int()")
    options = "".join(f", {k}={v!r}"[:60] for k, v in static.items() if isinstance(v, int | float | tuple | str))
    return kind(f"{op.name}: can't work on {given}{options}: {str(error).strip().rstrip('.')}")


def describe(t) -> str:
    if isinstance(t, Tensor):
        return f"{t.dtype.name} {t.shape}"
    return repr(t) if isinstance(t, int | float) else type(t).__name__


def devices(inputs) -> str:
    return ", ".join(t.device for t in inputs if isinstance(t, Tensor))
