"""Comparison and logic: booleans, without a derivative.

In the formulas a is an element of `input` and b the element of `other` at its place.
"""

from minigrad import ops
from minigrad.engine.tensor import Tensor

__all__ = [
    "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_not", "isnan", "isinf", "isfinite",
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


not_equal = ne
less = lt
greater = gt
