"""Comparison and logic (booleans), and the bits of whole numbers; without a derivative.

In the formulas a is an element of `input` and b the element of `other` at its place.
"""

from minigrad import ops
from minigrad.engine.tensor import Tensor

__all__ = [
    "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_not", "isnan", "isinf", "isfinite",
    "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "bitwise_left_shift", "bitwise_right_shift",
    "not_equal", "less", "greater",
]  # fmt: skip


def eq(input: Tensor | float, other: Tensor | float) -> Tensor:
    """Whether a = b; booleans.

    Shapes: any two that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if neither argument is a tensor, or one is neither a tensor nor a number.
        ValueError: if the shapes don't broadcast together.
        BackendError: if they are on different devices.

    The operation (minigrad/ops/compare.py):

        @elementwise
        def eq(xp, a, b):
            return xp.equal(a, b)

    >>> mg.eq(mg.tensor([1, 2, 3]), 2).tolist()
    [False, True, False]
    """
    return ops.eq(input, other)


def ne(input: Tensor | float, other: Tensor | float) -> Tensor:
    """Whether a ≠ b; booleans.

    Shapes: any two that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if neither argument is a tensor, or one is neither a tensor nor a number.
        ValueError: if the shapes don't broadcast together.
        BackendError: if they are on different devices.

    The operation (minigrad/ops/compare.py):

        @elementwise
        def ne(xp, a, b):
            return xp.not_equal(a, b)

    >>> mg.ne(mg.tensor([1, 2, 3]), 2).tolist()
    [True, False, True]
    """
    return ops.ne(input, other)


def lt(input: Tensor | float, other: Tensor | float) -> Tensor:
    """Whether a < b; booleans.

    Shapes: any two that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if neither argument is a tensor, or one is neither a tensor nor a number.
        ValueError: if the shapes don't broadcast together.
        BackendError: if they are on different devices.

    The operation (minigrad/ops/compare.py):

        @elementwise
        def lt(xp, a, b):
            return xp.less(a, b)

    >>> mg.lt(mg.tensor([1, 2, 3]), 2).tolist()
    [True, False, False]
    """
    return ops.lt(input, other)


def le(input: Tensor | float, other: Tensor | float) -> Tensor:
    """Whether a ≤ b; booleans.

    Shapes: any two that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if neither argument is a tensor, or one is neither a tensor nor a number.
        ValueError: if the shapes don't broadcast together.
        BackendError: if they are on different devices.

    The operation (minigrad/ops/compare.py):

        @elementwise
        def le(xp, a, b):
            return xp.less_equal(a, b)

    >>> mg.le(mg.tensor([1, 2, 3]), 2).tolist()
    [True, True, False]
    """
    return ops.le(input, other)


def gt(input: Tensor | float, other: Tensor | float) -> Tensor:
    """Whether a > b; booleans.

    Shapes: any two that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if neither argument is a tensor, or one is neither a tensor nor a number.
        ValueError: if the shapes don't broadcast together.
        BackendError: if they are on different devices.

    The operation (minigrad/ops/compare.py):

        @elementwise
        def gt(xp, a, b):
            return xp.greater(a, b)

    >>> mg.gt(mg.tensor([1, 2, 3]), 2).tolist()
    [False, False, True]
    """
    return ops.gt(input, other)


def ge(input: Tensor | float, other: Tensor | float) -> Tensor:
    """Whether a ≥ b; booleans.

    Shapes: any two that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if neither argument is a tensor, or one is neither a tensor nor a number.
        ValueError: if the shapes don't broadcast together.
        BackendError: if they are on different devices.

    The operation (minigrad/ops/compare.py):

        @elementwise
        def ge(xp, a, b):
            return xp.greater_equal(a, b)

    >>> mg.ge(mg.tensor([1, 2, 3]), 2).tolist()
    [False, True, True]
    """
    return ops.ge(input, other)


# --- logic ------------------------------------------------------------------------------------------------------------
def logical_and(input: Tensor | float, other: Tensor | float) -> Tensor:
    """Whether a and b are both true (not zero); booleans.

    Shapes: any two that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if neither argument is a tensor, or one is neither a tensor nor a number.
        ValueError: if the shapes don't broadcast together.
        BackendError: if they are on different devices.

    The operation (minigrad/ops/compare.py):

        @elementwise
        def logical_and(xp, a, b):
            return xp.logical_and(a, b)

    >>> mg.logical_and(mg.tensor([0, 1, 2]), True).tolist()
    [False, True, True]
    """
    return ops.logical_and(input, other)


def logical_or(input: Tensor | float, other: Tensor | float) -> Tensor:
    """Whether a or b or both are true (not zero); booleans.

    Shapes: any two that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if neither argument is a tensor, or one is neither a tensor nor a number.
        ValueError: if the shapes don't broadcast together.
        BackendError: if they are on different devices.

    The operation (minigrad/ops/compare.py):

        @elementwise
        def logical_or(xp, a, b):
            return xp.logical_or(a, b)

    >>> mg.logical_or(mg.tensor([0, 1, 2]), False).tolist()
    [False, True, True]
    """
    return ops.logical_or(input, other)


def logical_not(input: Tensor) -> Tensor:
    """Whether a is false (zero); booleans.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/compare.py):

        @elementwise
        def logical_not(xp, a):
            return xp.logical_not(a)

    >>> mg.logical_not(mg.tensor([0, 1, 2])).tolist()
    [True, False, False]
    """
    return ops.logical_not(input)


def isnan(input: Tensor) -> Tensor:
    """Whether a is not a number; booleans.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/compare.py):

        @elementwise
        def isnan(xp, a):
            return xp.isnan(a)

    >>> mg.isnan(mg.tensor([1.0, float("inf"), float("nan")])).tolist()
    [False, False, True]
    """
    return ops.isnan(input)


def isinf(input: Tensor) -> Tensor:
    """Whether a is +∞ or -∞; booleans.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/compare.py):

        @elementwise
        def isinf(xp, a):
            return xp.isinf(a)

    >>> mg.isinf(mg.tensor([1.0, float("inf"), float("nan")])).tolist()
    [False, True, False]
    """
    return ops.isinf(input)


def isfinite(input: Tensor) -> Tensor:
    """Whether a is neither infinite nor NaN; booleans.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/compare.py):

        @elementwise
        def isfinite(xp, a):
            return xp.isfinite(a)

    >>> mg.isfinite(mg.tensor([1.0, float("inf"), float("nan")])).tolist()
    [True, False, False]
    """
    return ops.isfinite(input)


# --- bits -------------------------------------------------------------------------------------------------------------
def bitwise_and(input: Tensor | float, other: Tensor | float) -> Tensor:
    """The bits that are set in both integers a and b; for booleans a and b.

    Shapes: any two that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if neither argument is a tensor, or one is neither a tensor nor a number; for floating point numbers.
        ValueError: if the shapes don't broadcast together.
        BackendError: if they are on different devices.

    The operation (minigrad/ops/compare.py):

        @elementwise
        def bitwise_and(xp, a, b):
            return xp.bitwise_and(*_whole(xp, a, b))

    >>> mg.bitwise_and(mg.tensor([5, 6]), 3)
    tensor([1, 2])
    """
    return ops.bitwise_and(input, other)


def bitwise_or(input: Tensor | float, other: Tensor | float) -> Tensor:
    """The bits that are set in a or b or both; for booleans a or b.

    Shapes: any two that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if neither argument is a tensor, or one is neither a tensor nor a number; for floating point numbers.
        ValueError: if the shapes don't broadcast together.
        BackendError: if they are on different devices.

    The operation (minigrad/ops/compare.py):

        @elementwise
        def bitwise_or(xp, a, b):
            return xp.bitwise_or(*_whole(xp, a, b))

    >>> mg.bitwise_or(mg.tensor([5, 6]), 3)
    tensor([7, 7])
    """
    return ops.bitwise_or(input, other)


def bitwise_xor(input: Tensor | float, other: Tensor | float) -> Tensor:
    """The bits that are set in exactly one of the integers a and b; for booleans a ≠ b.

    Shapes: any two that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if neither argument is a tensor, or one is neither a tensor nor a number; for floating point numbers.
        ValueError: if the shapes don't broadcast together.
        BackendError: if they are on different devices.

    The operation (minigrad/ops/compare.py):

        @elementwise
        def bitwise_xor(xp, a, b):
            return xp.bitwise_xor(*_whole(xp, a, b))

    >>> mg.bitwise_xor(mg.tensor([5, 6]), 3)
    tensor([6, 5])
    """
    return ops.bitwise_xor(input, other)


def bitwise_not(input: Tensor) -> Tensor:
    """The bits that are not set: -a - 1, and for uint8 255 - a; for booleans not a.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor, or one of floating point numbers.

    The operation (minigrad/ops/compare.py):

        @elementwise
        def bitwise_not(xp, a):
            return xp.bitwise_invert(*_whole(xp, a))

    >>> mg.bitwise_not(mg.tensor([5, -1]))
    tensor([-6,  0])
    """
    return ops.bitwise_not(input)


def bitwise_left_shift(input: Tensor | float, other: Tensor | float) -> Tensor:
    """a·2ᵇ without the bits that leave the integer; 0 where b is negative or no less than the number of bits.

    Shapes: any two that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if neither argument is a tensor, or one is neither a tensor nor a number; for floating point numbers and booleans.
        ValueError: if the shapes don't broadcast together.
        BackendError: if they are on different devices.

    The operation (minigrad/ops/compare.py):

        @elementwise
        def bitwise_left_shift(xp, a, b):
            a, b, _, inside = _shiftable(xp, a, b)
            zero = xp.zeros_like(b)
            return xp.where(inside, xp.left_shift(a, xp.where(inside, b, zero)), zero)

    >>> mg.bitwise_left_shift(mg.tensor([1, 3]), 2)
    tensor([ 4, 12])
    """
    return ops.bitwise_left_shift(input, other)


def bitwise_right_shift(input: Tensor | float, other: Tensor | float) -> Tensor:
    """⌊a / 2ᵇ⌋; 0, or -1 for negative a, where b is negative or no less than the number of bits.

    Shapes: any two that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if neither argument is a tensor, or one is neither a tensor nor a number; for floating point numbers and booleans.
        ValueError: if the shapes don't broadcast together.
        BackendError: if they are on different devices.

    The operation (minigrad/ops/compare.py):

        @elementwise
        def bitwise_right_shift(xp, a, b):
            a, b, count, inside = _shiftable(xp, a, b)
            zero = xp.zeros_like(b)
            most = xp.right_shift(a, zero + (count - 1))  # of a signed integer its sign; one more step empties uint8 too
            return xp.where(inside, xp.right_shift(a, xp.where(inside, b, zero)), xp.right_shift(most, zero + 1))

    >>> mg.bitwise_right_shift(mg.tensor([4, -3]), 1)
    tensor([ 2, -2])
    """
    return ops.bitwise_right_shift(input, other)


not_equal = ne
less = lt
greater = gt
