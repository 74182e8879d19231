"""Comparison and logic (booleans), and the bits of whole numbers; without a derivative."""

from minigrad import ops
from minigrad.engine.tensor import Tensor

__all__ = [
    "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_not", "isnan", "isinf", "isfinite",
    "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "bitwise_left_shift", "bitwise_right_shift",
    "not_equal", "less", "greater",
]  # fmt: skip


def eq(input: Tensor | float, other: Tensor | float) -> Tensor:
    """a = b, elementwise."""
    return ops.eq(input, other)


def ne(input: Tensor | float, other: Tensor | float) -> Tensor:
    """a ≠ b, elementwise."""
    return ops.ne(input, other)


def lt(input: Tensor | float, other: Tensor | float) -> Tensor:
    """a < b, elementwise."""
    return ops.lt(input, other)


def le(input: Tensor | float, other: Tensor | float) -> Tensor:
    """a ≤ b, elementwise."""
    return ops.le(input, other)


def gt(input: Tensor | float, other: Tensor | float) -> Tensor:
    """a > b, elementwise."""
    return ops.gt(input, other)


def ge(input: Tensor | float, other: Tensor | float) -> Tensor:
    """a ≥ b, elementwise."""
    return ops.ge(input, other)


# --- logic ------------------------------------------------------------------------------------------------------------
def logical_and(input: Tensor | float, other: Tensor | float) -> Tensor:
    """Both true (not zero)."""
    return ops.logical_and(input, other)


def logical_or(input: Tensor | float, other: Tensor | float) -> Tensor:
    """At least one true (not zero)."""
    return ops.logical_or(input, other)


def logical_not(input: Tensor) -> Tensor:
    """Not true (zero)."""
    return ops.logical_not(input)


def isnan(input: Tensor) -> Tensor:
    """Whether it is not a number."""
    return ops.isnan(input)


def isinf(input: Tensor) -> Tensor:
    """Whether it is +∞ or -∞."""
    return ops.isinf(input)


def isfinite(input: Tensor) -> Tensor:
    """Whether it is neither infinite nor NaN."""
    return ops.isfinite(input)


# --- bits -------------------------------------------------------------------------------------------------------------
def bitwise_and(input: Tensor | float, other: Tensor | float) -> Tensor:
    """The bits that are set in both integers; for booleans a and b."""
    return ops.bitwise_and(input, other)


def bitwise_or(input: Tensor | float, other: Tensor | float) -> Tensor:
    """The bits that are set in one of the integers at least; for booleans a or b."""
    return ops.bitwise_or(input, other)


def bitwise_xor(input: Tensor | float, other: Tensor | float) -> Tensor:
    """The bits that are set in exactly one of the integers; for booleans a ≠ b."""
    return ops.bitwise_xor(input, other)


def bitwise_not(input: Tensor) -> Tensor:
    """The bits that are not set: -a - 1, and for uint8 255 - a; for booleans not a."""
    return ops.bitwise_not(input)


def bitwise_left_shift(input: Tensor | float, other: Tensor | float) -> Tensor:
    """a·2ᵇ without the bits that leave the integer; 0 where b is negative or no less than the number of bits."""
    return ops.bitwise_left_shift(input, other)


def bitwise_right_shift(input: Tensor | float, other: Tensor | float) -> Tensor:
    """⌊a / 2ᵇ⌋; 0, or -1 for negative a, where b is negative or no less than the number of bits."""
    return ops.bitwise_right_shift(input, other)


not_equal = ne
less = lt
greater = gt
