"""Arithmetic and powers of each element by itself. Shapes are broadcast together.

In the formulas a is an element of `input` and b the element of `other` at its place.
"""

from typing import Any

from minigrad import ops
from minigrad.checks import choice
from minigrad.dtypes import plain
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import tensor_or_number
from minigrad.functions.choice import clamp, where

__all__ = [
    "add", "sub", "mul", "div", "floor_divide", "remainder", "pow", "neg", "abs", "sign", "square", "sqrt", "rsqrt",
    "reciprocal", "subtract", "multiply", "divide", "negative", "absolute",
]  # fmt: skip


def add(input: Tensor | float, other: Tensor | float, *, alpha: float = 1) -> Tensor:
    """a + alpha·b, with broadcasting.

    Shapes: any two that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if neither argument is a tensor, or one is neither a tensor nor a number.
        ValueError: if the shapes don't broadcast together.
        BackendError: if they are on different devices.

    The operation (minigrad/ops/elementwise.py):

        @elementwise
        def add(xp, a, b):
            return xp.add(a, b)

        add.defvjp(lambda ops, g: g, lambda ops, g: g)

    >>> mg.add(mg.tensor([1.0, 2.0]), 10.0, alpha=0.5)
    tensor([6., 7.])
    """
    factor = alpha if alpha.__class__ is int else tensor_or_number("add", "alpha", alpha)
    if factor == 1:
        return ops.add(input, other)
    return ops.add(input, tensor_or_number("add", "other", other) * factor)


def sub(input: Tensor | float, other: Tensor | float, *, alpha: float = 1) -> Tensor:
    """a - alpha·b, with broadcasting.

    Shapes: any two that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if neither argument is a tensor, or one is neither a tensor nor a number.
        ValueError: if the shapes don't broadcast together.
        BackendError: if they are on different devices.

    The operation (minigrad/ops/elementwise.py):

        @elementwise
        def sub(xp, a, b):
            return xp.subtract(a, b)

        sub.defvjp(lambda ops, g: g, lambda ops, g: -g)

    >>> mg.sub(mg.tensor([1.0, 2.0]), mg.tensor([[1.0], [2.0]]))
    tensor([[ 0.,  1.],
            [-1.,  0.]])
    """
    factor = alpha if alpha.__class__ is int else tensor_or_number("sub", "alpha", alpha)
    if factor == 1:
        return ops.sub(input, other)
    return ops.sub(input, tensor_or_number("sub", "other", other) * factor)


def mul(input: Tensor | float, other: Tensor | float) -> Tensor:
    """a·b, with broadcasting.

    Shapes: any two that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if neither argument is a tensor, or one is neither a tensor nor a number.
        ValueError: if the shapes don't broadcast together.
        BackendError: if they are on different devices.

    The operation (minigrad/ops/elementwise.py):

        @elementwise
        def mul(xp, a, b):
            return xp.multiply(a, b)

        mul.defvjp(lambda ops, g, b: g * b, lambda ops, g, a: g * a)

    >>> mg.mul(mg.tensor([1.0, 2.0]), 3.0)
    tensor([3., 6.])
    """
    return ops.mul(input, other)


def div(input: Tensor | float, other: Tensor | float, *, rounding_mode: str | None = None) -> Tensor:
    """a / b; whole numbers are divided in float32.

    Args:
        rounding_mode: None; "floor" for ⌊a / b⌋ and "trunc" for a / b rounded towards 0, through which no gradient passes.

    Shapes: any two that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if neither argument is a tensor, or one is neither a tensor nor a number.
        ValueError: if the shapes don't broadcast together, or `rounding_mode` is none of these.
        BackendError: if they are on different devices.

    The operation (minigrad/ops/elementwise.py):

        @elementwise(floats=True)
        def div(xp, a, b):
            return xp.divide(a, b)

        div.defvjp(lambda ops, g, b: g / b, lambda ops, g, y, b: -g * (y / b))

    >>> mg.div(mg.tensor([7, -7]), 2)
    tensor([ 3.5, -3.5])
    >>> mg.div(mg.tensor([7, -7]), 2, rounding_mode="trunc")
    tensor([ 3, -3])
    """
    if rounding_mode is None:
        return ops.div(input, other)
    choice("div", "rounding_mode", rounding_mode, (None, "floor", "trunc"))
    input, other = tensor_or_number("div", "input", input), tensor_or_number("div", "other", other)
    return ops.floor_divide(input, other) if rounding_mode == "floor" else ops.trunc_divide(input, other)


def floor_divide(input: Tensor | float, other: Tensor | float) -> Tensor:
    """⌊a / b⌋; no gradient passes.

    Shapes: any two that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if neither argument is a tensor, or one is neither a tensor nor a number.
        ValueError: if the shapes don't broadcast together.
        BackendError: if they are on different devices.

    The operation (minigrad/ops/elementwise.py):

        @elementwise
        def floor_divide(xp, a, b):
            return xp.floor_divide(a, b)

        floor_divide.defvjp(lambda ops, g: ops.zeros_like(g), lambda ops, g: ops.zeros_like(g))

    >>> mg.floor_divide(mg.tensor([7, -7]), 2)
    tensor([ 3, -4])
    """
    return ops.floor_divide(input, other)


def remainder(input: Tensor | float, other: Tensor | float) -> Tensor:
    """a - b·⌊a / b⌋: the remainder with the divisor's sign, as Python's %.

    Shapes: any two that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if neither argument is a tensor, or one is neither a tensor nor a number.
        ValueError: if the shapes don't broadcast together.
        BackendError: if they are on different devices.

    The operation (minigrad/ops/elementwise.py):

        @elementwise
        def remainder(xp, a, b):
            return xp.remainder(a, b)

        remainder.defvjp(lambda ops, g: g, lambda ops, g, a, b: -g * ops.floor_divide(a, b))

    >>> mg.remainder(mg.tensor([7, -7]), 3)
    tensor([1, 2])
    """
    return ops.remainder(input, other)


def pow(input: Tensor | float, exponent: Tensor | float) -> Tensor:
    """a to the power of b, with b of `exponent`. The gradient by the exponent of a base 0 is 0.

    Of whole numbers a negative exponent in a tensor gives 1/a rounded towards 0.

    Shapes: any two that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if neither argument is a tensor, or one is neither a tensor nor a number.
        ValueError: if the shapes don't broadcast together, or the exponent of whole numbers is a negative number.
        BackendError: if they are on different devices.

    The operation (minigrad/ops/elementwise.py):

        @elementwise
        def pow(xp, a, b):
            return xp.power(a, b)

        pow.defvjp(
            lambda ops, g, a, b: _times_slope(ops, g, a, b),
            lambda ops, g, a, b, y: _times_log(ops, g, a, b, y),
        )

    >>> mg.pow(mg.tensor([1.0, 2.0, 3.0]), 2)
    tensor([1., 4., 9.])
    """
    exponent = plain(exponent)
    if isinstance(input, Tensor) and input.is_floating_point():
        if isinstance(exponent, int | float) and exponent == 2:
            return ops.square(input)
        if isinstance(exponent, float) and exponent == 0.5:
            return ops.sqrt(input)
    if _is_whole(input) and _is_whole(exponent):
        return _whole_power(input, exponent)
    return ops.pow(input, exponent)


def _is_whole(x: Tensor | float) -> bool:
    return isinstance(x, int) if not isinstance(x, Tensor) else not x.is_floating_point() and x.dtype != "bool"


def _whole_power(base: Any, exponent: Any) -> Tensor:
    """Powers of whole numbers; a negative exponent in a tensor gives 1/base rounded towards 0."""
    if not isinstance(exponent, Tensor):
        if exponent < 0:
            raise ValueError(f"pow: whole numbers have no power {exponent} among whole numbers; use .float() first")
        return ops.pow(base, exponent)
    sign = 1 - 2 * ops.remainder(exponent, 2)
    base = base if isinstance(base, Tensor) else Tensor(base, dtype=exponent.dtype, device=exponent.device)
    inverse = where(base == 1, 1, where(base == -1, sign, 0))
    return where(exponent < 0, inverse, ops.pow(base, clamp(exponent, min=0)))


def neg(input: Tensor) -> Tensor:
    """-a, the negative of a.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor, or a boolean one.

    The operation (minigrad/ops/elementwise.py):

        @elementwise
        def neg(xp, a):
            return xp.negative(a)

        neg.defvjp(lambda ops, g: -g)

    >>> mg.neg(mg.tensor([1.0, -2.0]))
    tensor([-1.,  2.])
    """
    return ops.neg(input)


def abs(input: Tensor) -> Tensor:
    """|a|; the gradient at 0 is 0.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise
        def abs(xp, a):
            return xp.abs(a)

        abs.defvjp(lambda ops, g, a: g * ops.sign(a))

    >>> mg.abs(mg.tensor([1.0, -2.0]))
    tensor([1., 2.])
    """
    return ops.abs(input)


def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1 by the sign of a (0 for NaN); no gradient passes.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise
        def sign(xp, a):
            return xp.sign(a)

        sign.defvjp(lambda ops, g: ops.zeros_like(g))

    >>> mg.sign(mg.tensor([0.5, 0.0, -2.0]))
    tensor([ 1.,  0., -1.])
    """
    return ops.sign(input)


def square(input: Tensor) -> Tensor:
    """a², the square of a.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise
        def square(xp, a):
            return xp.square(a)

        square.defvjp(lambda ops, g, a: 2 * g * a)

    >>> mg.square(mg.tensor([1.0, -2.0]))
    tensor([1., 4.])
    """
    return ops.square(input)


def sqrt(input: Tensor) -> Tensor:
    """√a; NaN for a < 0. Whole numbers give float32.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise(floats=True)
        def sqrt(xp, a):
            return xp.sqrt(a)

        sqrt.defvjp(lambda ops, g, y: g / (2 * y))

    >>> mg.sqrt(mg.tensor([4.0, 9.0]))
    tensor([2., 3.])
    """
    return ops.sqrt(input)


def rsqrt(input: Tensor) -> Tensor:
    """1/√a; ∞ for 0, NaN for a < 0. Whole numbers give float32.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise(floats=True)
        def rsqrt(xp, a):
            return xp.rsqrt(a)

        rsqrt.defvjp(lambda ops, g, y: -0.5 * g * y * y * y)

    >>> mg.rsqrt(mg.tensor([4.0, 0.25]))
    tensor([0.5, 2. ])
    """
    return ops.rsqrt(input)


def reciprocal(input: Tensor) -> Tensor:
    """1/a; ±∞ for ±0. Whole numbers give float32.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise(floats=True)
        def reciprocal(xp, a):
            return 1 / a

        reciprocal.defvjp(lambda ops, g, y: -g * y * y)

    >>> mg.reciprocal(mg.tensor([4.0, 0.5]))
    tensor([0.25, 2.  ])
    """
    return ops.reciprocal(input)


subtract = sub
multiply = mul
divide = div
negative = neg
absolute = abs
