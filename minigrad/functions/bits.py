"""The bits of whole numbers; without a derivative.

In the formulas a is an element of `input` and b the element of `other` at its place.
"""

from minigrad import ops
from minigrad.engine.tensor import Tensor

__all__ = ["bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "bitwise_left_shift", "bitwise_right_shift"]


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
