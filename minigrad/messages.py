"""What the engine says when an operation can't work on what it was given."""

import math

import numpy as np

from minigrad.dtypes import LARGEST, DType, fitted, limits, uint8

ARITHMETIC = {"add", "sub", "mul", "div", "floor_divide", "remainder"}
COMPARISONS = {"eq", "ne", "lt", "le", "gt", "ge"}


def number_beside(op, value: int, common: DType):
    """A whole number beside tensors of a dtype. One that no element can be compares as infinity does, in float32, which
    has every integer on its side of it; elsewhere it is refused."""
    if (
        op.own
        and op.name in COMPARISONS
        and (common.category < 2 and not within(value, common) or abs(value) > 2**1023)
    ):
        return math.inf if value > 0 else -math.inf
    number = fitted(value, common, op.name)
    return value if number == value and abs(value) < 2**63 else number


def beyond(op, t) -> bool:
    """Whether it is a number between the largest of float16 and the largest of float32, in arithmetic."""
    return (
        op.own
        and op.name in ARITHMETIC
        and t.__class__ in (int, float)
        and LARGEST["float16"] < abs(t) <= LARGEST["float32"]
    )


def within(value: int, kind: DType) -> bool:
    low, high = limits(kind)
    return (0 if kind is uint8 else low) <= value <= high


def explained(op, error: Exception, inputs, static) -> Exception:
    """The array library's complaint in one sentence with the operation's name and the inputs' shapes."""
    given = ", ".join(describe(t) for t in inputs)
    if not any(hasattr(t, "_edge") for t in inputs):
        return TypeError(f"{op.name}: expected a tensor, got {given}; use mg.tensor(…)")
    kind = next((k for k in (TypeError, IndexError) if isinstance(error, k)), ValueError)
    if op.elementwise:
        try:
            np.broadcast_shapes(*(t.shape for t in inputs if hasattr(t, "_edge")))
        except ValueError:
            return ValueError(
                f"{op.name}: the shapes of {given} don't broadcast together; make their trailing sizes equal or 1"
            )
        if any(hasattr(t, "_edge") and t.dtype == "bool" for t in inputs):
            return TypeError(f"{op.name}: {given} can't be computed with; use ~, &, |, ^ for booleans, or .int()")
    options = "".join(f", {k}={v!r}"[:60] for k, v in static.items() if isinstance(v, int | float | tuple | str))
    return kind(f"{op.name}: can't work on {given}{options}: {str(error).strip().rstrip('.')}")


def describe(t) -> str:
    if hasattr(t, "_edge"):
        return f"{t.dtype.name} {t.shape}"
    return repr(t) if isinstance(t, int | float) else type(t).__name__


def devices(inputs) -> str:
    return ", ".join(t.device for t in inputs if hasattr(t, "_edge"))
