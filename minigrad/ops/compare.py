"""Comparison and logic (booleans), and the bits of whole numbers; without a derivative."""

from minigrad.dtypes import ALL, bool_, fitted
from minigrad.engine.operation import elementwise

__all__ = [
    "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_not", "isnan", "isinf", "isfinite",
    "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "bitwise_left_shift", "bitwise_right_shift",
]  # fmt: skip


@elementwise
def eq(xp, a, b):
    """a = b, elementwise."""
    return xp.equal(a, b)


@elementwise
def ne(xp, a, b):
    """a ≠ b, elementwise."""
    return xp.not_equal(a, b)


@elementwise
def lt(xp, a, b):
    """a < b, elementwise."""
    return xp.less(a, b)


@elementwise
def le(xp, a, b):
    """a ≤ b, elementwise."""
    return xp.less_equal(a, b)


@elementwise
def gt(xp, a, b):
    """a > b, elementwise."""
    return xp.greater(a, b)


@elementwise
def ge(xp, a, b):
    """a ≥ b, elementwise."""
    return xp.greater_equal(a, b)


@elementwise
def logical_and(xp, a, b):
    """Both true (not zero)."""
    return xp.logical_and(a, b)


@elementwise
def logical_or(xp, a, b):
    """At least one true (not zero)."""
    return xp.logical_or(a, b)


@elementwise
def logical_not(xp, a):
    """Not true (zero)."""
    return xp.logical_not(a)


@elementwise
def isnan(xp, a):
    """Whether it is not a number."""
    return xp.isnan(a)


@elementwise
def isinf(xp, a):
    """Whether it is +∞ or -∞."""
    return xp.isinf(a)


@elementwise
def isfinite(xp, a):
    """Whether it is neither infinite nor NaN."""
    return xp.isfinite(a)


# --- bits -------------------------------------------------------------------------------------------------------------
def _whole(xp, *operands):
    """The operands as arrays of one dtype without fractions; -1 is 255 for uint8.

    Raises:
        TypeError: for floating point numbers. OverflowError: for a Python number that the dtype can't hold.
    """
    dtype = ALL[next(xp.dtype_name(a) for a in operands if hasattr(a, "dtype"))]
    if dtype.is_floating_point:
        raise TypeError("only integers and booleans have bits; use .long() first")
    return [a if hasattr(a, "dtype") else xp.asarray(fitted(a, dtype, "bits"), dtype.name) for a in operands]


@elementwise
def bitwise_and(xp, a, b):
    """The bits that are set in both integers; for booleans a and b."""
    return xp.bitwise_and(*_whole(xp, a, b))


@elementwise
def bitwise_or(xp, a, b):
    """The bits that are set in one of the integers at least; for booleans a or b."""
    return xp.bitwise_or(*_whole(xp, a, b))


@elementwise
def bitwise_xor(xp, a, b):
    """The bits that are set in exactly one of the integers; for booleans a ≠ b."""
    return xp.bitwise_xor(*_whole(xp, a, b))


@elementwise
def bitwise_not(xp, a):
    """The bits that are not set: -a - 1, and for uint8 255 - a; for booleans not a."""
    return xp.bitwise_invert(*_whole(xp, a))


def _shiftable(xp, a, b):
    """The integers, their count of bits, and where the shift b is one of 0 … bits - 1."""
    a, b = _whole(xp, a, b)
    dtype = ALL[xp.dtype_name(a)]
    if dtype is bool_:
        raise TypeError("booleans can't be shifted")
    count = 8 * dtype.itemsize
    return a, b, count, (b >= 0) & (b < count)


@elementwise
def bitwise_left_shift(xp, a, b):
    """a·2ᵇ without the bits that leave the integer; 0 where b is negative or no less than the number of bits."""
    a, b, _, inside = _shiftable(xp, a, b)
    zero = xp.zeros_like(b)
    return xp.where(inside, xp.left_shift(a, xp.where(inside, b, zero)), zero)


@elementwise
def bitwise_right_shift(xp, a, b):
    """⌊a / 2ᵇ⌋; 0, or -1 for negative a, where b is negative or no less than the number of bits."""
    a, b, count, inside = _shiftable(xp, a, b)
    zero = xp.zeros_like(b)
    most = xp.right_shift(a, zero + (count - 1))  # of a signed integer its sign; one more step empties uint8 too
    return xp.where(inside, xp.right_shift(a, xp.where(inside, b, zero)), xp.right_shift(most, zero + 1))
