"""Functions of each element by itself: arithmetic, powers, exponentials, rounding, choice. Shapes are broadcast together.

In the formulas a is an element of `input` and b the element of `other` at its place.
"""

from typing import Any

from minigrad import ops
from minigrad.dtypes import fitted, plain
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import _boolean, tensor, tensor_or_number, told

__all__ = [
    "add", "sub", "mul", "div", "floor_divide", "remainder", "pow", "neg", "abs", "sign", "square", "sqrt",
    "rsqrt", "reciprocal", "exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "sigmoid", "erf", "floor", "ceil",
    "round", "maximum", "minimum", "clamp", "where", "masked_fill", "subtract", "multiply", "divide", "negative",
    "absolute", "clip",
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

        add.defvjp(lambda xp, g: g, lambda xp, g: g)

    >>> mg.add(mg.tensor([1.0, 2.0]), 10.0, alpha=0.5)
    tensor([6., 7.])
    """
    if alpha == 1:
        return ops.add(input, other)
    return ops.add(input, tensor_or_number("add", "other", other) * tensor_or_number("add", "alpha", alpha))


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

        sub.defvjp(lambda xp, g: g, lambda xp, g: -g)

    >>> mg.sub(mg.tensor([1.0, 2.0]), mg.tensor([[1.0], [2.0]]))
    tensor([[ 0.,  1.],
            [-1.,  0.]])
    """
    if alpha == 1:
        return ops.sub(input, other)
    return ops.sub(input, tensor_or_number("sub", "other", other) * tensor_or_number("sub", "alpha", alpha))


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

        mul.defvjp(lambda xp, g, b: g * b, lambda xp, g, a: g * a)

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

        div.defvjp(lambda xp, g, b: g / b, lambda xp, g, y, b: -g * (y / b))

    >>> mg.div(mg.tensor([7, -7]), 2)
    tensor([ 3.5, -3.5])
    >>> mg.div(mg.tensor([7, -7]), 2, rounding_mode="trunc")
    tensor([ 3, -3])
    """
    if rounding_mode is None:
        return ops.div(input, other)
    input, other = tensor_or_number("div", "input", input), tensor_or_number("div", "other", other)
    if rounding_mode == "floor":
        return ops.floor_divide(input, other)
    if rounding_mode == "trunc":
        return ops.trunc_divide(input, other)
    raise ValueError(f"div: rounding_mode is None, 'floor' or 'trunc', not {told(rounding_mode)}")


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

        floor_divide.defvjp(lambda xp, g: xp.zeros_like(g), lambda xp, g: xp.zeros_like(g))

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

        remainder.defvjp(lambda xp, g: g, lambda xp, g, a, b: -g * xp.floor_divide(a, b))

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
            lambda xp, g, a, b: _times_slope(xp, g, a, b),
            lambda xp, g, a, b, y: _times_log(xp, g, a, b, y),
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

        neg.defvjp(lambda xp, g: -g)

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

        abs.defvjp(lambda xp, g, a: g * xp.sign(a))

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

        sign.defvjp(lambda xp, g: xp.zeros_like(g))

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

        square.defvjp(lambda xp, g, a: 2 * g * a)

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

        sqrt.defvjp(lambda xp, g, y: g / (2 * y))

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

        rsqrt.defvjp(lambda xp, g, y: -0.5 * g * y * y * y)

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

        reciprocal.defvjp(lambda xp, g, y: -g * y * y)

    >>> mg.reciprocal(mg.tensor([4.0, 0.5]))
    tensor([0.25, 2.  ])
    """
    return ops.reciprocal(input)


# --- exponentials, logarithms, trigonometry ---------------------------------------------------------------------------
def exp(input: Tensor) -> Tensor:
    """eᵃ. Whole numbers give float32.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise(floats=True)
        def exp(xp, a):
            return xp.exp(a)

        exp.defvjp(lambda xp, g, y: g * y)

    >>> mg.exp(mg.tensor([0.0, 1.0]))
    tensor([1.    , 2.7183])
    """
    return ops.exp(input)


def expm1(input: Tensor) -> Tensor:
    """eᵃ - 1, accurate near 0. Whole numbers give float32.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise(floats=True)
        def expm1(xp, a):
            return xp.expm1(a)

        expm1.defvjp(lambda xp, g, y: g * (y + 1))

    >>> mg.expm1(mg.tensor([0.0, 1.0]))
    tensor([0.    , 1.7183])
    """
    return ops.expm1(input)


def log(input: Tensor) -> Tensor:
    """log a, the natural logarithm; -∞ for 0, NaN for a < 0. Whole numbers give float32.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise(floats=True)
        def log(xp, a):
            return xp.log(a)

        log.defvjp(lambda xp, g, a: g / a)

    >>> mg.log(mg.tensor([1.0, 10.0]))
    tensor([0.    , 2.3026])
    """
    return ops.log(input)


def log1p(input: Tensor) -> Tensor:
    """log(1 + a), accurate near 0. Whole numbers give float32.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise(floats=True)
        def log1p(xp, a):
            return xp.log1p(a)

        log1p.defvjp(lambda xp, g, a: g / (a + 1))

    >>> mg.log1p(mg.tensor([0.0, 1.0]))
    tensor([0.    , 0.6931])
    """
    return ops.log1p(input)


def sin(input: Tensor) -> Tensor:
    """sin a, of an angle in radians. Whole numbers give float32.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise(floats=True)
        def sin(xp, a):
            return xp.sin(a)

        sin.defvjp(lambda xp, g, a: g * xp.cos(a))

    >>> mg.sin(mg.tensor([0.0, 1.0]))
    tensor([0.    , 0.8415])
    """
    return ops.sin(input)


def cos(input: Tensor) -> Tensor:
    """cos a, of an angle in radians. Whole numbers give float32.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise(floats=True)
        def cos(xp, a):
            return xp.cos(a)

        cos.defvjp(lambda xp, g, a: -g * xp.sin(a))

    >>> mg.cos(mg.tensor([0.0, 1.0]))
    tensor([1.    , 0.5403])
    """
    return ops.cos(input)


def tanh(input: Tensor) -> Tensor:
    """tanh a = (eᵃ - e⁻ᵃ) / (eᵃ + e⁻ᵃ). Whole numbers give float32.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise(floats=True)
        def tanh(xp, a):
            return xp.tanh(a)

        tanh.defvjp(lambda xp, g, y: g * (1 - y * y))

    >>> mg.tanh(mg.tensor([0.0, 1.0]))
    tensor([0.    , 0.7616])
    """
    return ops.tanh(input)


def sigmoid(input: Tensor) -> Tensor:
    """σ(a) = 1 / (1 + e⁻ᵃ). Whole numbers give float32.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise(floats=True)
        @wide
        def sigmoid(xp, a):
            return xp.sigmoid(a)

        sigmoid.defvjp(lambda xp, g, y: g * y * (1 - y))

    >>> mg.sigmoid(mg.tensor([0.0, 1.0]))
    tensor([0.5   , 0.7311])
    """
    return ops.sigmoid(input)


def erf(input: Tensor) -> Tensor:
    """erf a = 2/√π ∫₀ᵃ exp(-t²) dt. Whole numbers give float32.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise(floats=True)
        def erf(xp, a):
            return xp.erf(a)

        erf.defvjp(lambda xp, g, a: g * xp.exp(-a * a) * (2 / math.sqrt(math.pi)))

    >>> mg.erf(mg.tensor([0.0, 1.0]))
    tensor([0.    , 0.8427])
    """
    return ops.erf(input)


# --- rounding and choice ----------------------------------------------------------------------------------------------
def floor(input: Tensor) -> Tensor:
    """⌊a⌋, the largest whole number ≤ a; no gradient passes.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise
        def floor(xp, a):
            return xp.floor(a)

        floor.defvjp(lambda xp, g: xp.zeros_like(g))

    >>> mg.floor(mg.tensor([1.5, -1.5]))
    tensor([ 1., -2.])
    """
    return ops.floor(input)


def ceil(input: Tensor) -> Tensor:
    """⌈a⌉, the smallest whole number ≥ a; no gradient passes.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise
        def ceil(xp, a):
            return xp.ceil(a)

        ceil.defvjp(lambda xp, g: xp.zeros_like(g))

    >>> mg.ceil(mg.tensor([1.5, -1.5]))
    tensor([ 2., -1.])
    """
    return ops.ceil(input)


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The number nearest to a that has so many decimals, halves to even; no gradient passes.

    Args:
        decimals: negative for whole tens, hundreds, …

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise
        def round(xp, a):
            return xp.round(a)

        round.defvjp(lambda xp, g: xp.zeros_like(g))

    >>> mg.round(mg.tensor([0.5, 1.5, 1.26]), decimals=1)
    tensor([0.5, 1.5, 1.3])
    """
    return ops.round(input) if decimals == 0 else ops.rounded(input, decimals=decimals)


def maximum(input: Tensor | float, other: Tensor | float) -> Tensor:
    """max(a, b); where they are equal each gets half of the gradient. NaN wins.

    Shapes: any two that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if neither argument is a tensor, or one is neither a tensor nor a number.
        ValueError: if the shapes don't broadcast together.
        BackendError: if they are on different devices.

    The operation (minigrad/ops/elementwise.py):

        @elementwise
        def maximum(xp, a, b):
            return xp.maximum(a, b)

        maximum.defvjp(lambda xp, g, a, b: _share(xp, g, a, b), lambda xp, g, a, b: _share(xp, g, b, a))

    >>> mg.maximum(mg.tensor([1.0, 4.0]), mg.tensor([3.0, 2.0]))
    tensor([3., 4.])
    """
    return ops.maximum(input, other)


def minimum(input: Tensor | float, other: Tensor | float) -> Tensor:
    """min(a, b); where they are equal each gets half of the gradient. NaN wins.

    Shapes: any two that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if neither argument is a tensor, or one is neither a tensor nor a number.
        ValueError: if the shapes don't broadcast together.
        BackendError: if they are on different devices.

    The operation (minigrad/ops/elementwise.py):

        @elementwise
        def minimum(xp, a, b):
            return xp.minimum(a, b)

        minimum.defvjp(lambda xp, g, a, b: _share(xp, g, b, a), lambda xp, g, a, b: _share(xp, g, a, b))

    >>> mg.minimum(mg.tensor([1.0, 4.0]), mg.tensor([3.0, 2.0]))
    tensor([1., 2.])
    """
    return ops.minimum(input, other)


def clamp(input: Tensor, min: Tensor | float | None = None, max: Tensor | float | None = None) -> Tensor:
    """min(max(a, min), max): `input` limited to [min, max]; NaN anywhere gives NaN.

    The gradient passes to `input` where min ≤ a ≤ max, elsewhere to the bound that is the result (max where min > max).

    Shapes: that of `input`, and with `min` or `max` in tensors the shape to which all broadcast together.

    Raises:
        TypeError: if `input` is not a tensor, or a bound is neither a tensor nor a number.
        ValueError: when neither min nor max is given, or the shapes don't broadcast together.

    The operation (minigrad/ops/elementwise.py):

        @elementwise
        def clamp(xp, a, min, max):
            return xp.minimum(xp.maximum(a, min), max)

        clamp.defvjp(
            lambda xp, g, a, min, max: xp.where((a >= min) & (a <= max), g, 0.0),
            lambda xp, g, a, min, max: xp.where((a < min) & (min < max), g, 0.0),
            lambda xp, g, a, min, max: xp.where((a > max) | (max < min), g, 0.0),
        )

    >>> mg.clamp(mg.tensor([-2.0, 0.5, 2.0]), -1, 1)
    tensor([-1. ,  0.5,  1. ])
    """
    if min is None and max is None:
        raise ValueError("clamp: expected min, max or both, got neither; give at least one")
    input = tensor("clamp", "input", input)
    min = None if min is None else tensor_or_number("clamp", "min", min)
    max = None if max is None else tensor_or_number("clamp", "max", max)
    if max is None:
        return ops.clamp_min(input, min)
    return ops.clamp_max(input, max) if min is None else ops.clamp(input, min, max)


def where(condition: Tensor, input: Tensor | float, other: Tensor | float) -> Tensor:
    """a where the boolean `condition` is true, b elsewhere.

    Shapes: any three that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if `condition` is not a boolean tensor, or `input` or `other` neither a tensor nor a number.
        ValueError: if the shapes don't broadcast together.

    The operation (minigrad/ops/elementwise.py):

        @elementwise(promote_from=1)
        def where(xp, condition, a, b):
            return xp.where(condition, a, b)

        where.defvjp(
            None,
            lambda xp, g, condition: xp.where(condition, g, 0.0),
            lambda xp, g, condition: xp.where(condition, 0.0, g),
        )

    >>> x = mg.tensor([1.0, -2.0])
    >>> mg.where(x > 0, x, 0.0)
    tensor([1., 0.])
    """
    condition = _boolean(condition, "condition", "where")
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        input = Tensor(tensor_or_number("where", "input", input), device=condition.device)
    return ops.where(condition, input, other)


def masked_fill(input: Tensor, mask: Tensor, value: Tensor | float) -> Tensor:
    """`value` where the boolean `mask` is true, a elsewhere; in the dtype of `input`.

    Shapes: `input` and `mask` broadcast together; `value` is a number, or a tensor without dimensions.

    Raises:
        TypeError: if `input` is not a tensor, `mask` not a boolean tensor, or `value` neither a tensor nor a number.
        ValueError: if `value` has dimensions, or the shapes don't broadcast together.
        OverflowError: if the dtype of `input` can't hold `value`.

    >>> mg.masked_fill(mg.tensor([1.0, 2.0]), mg.tensor([True, False]), 0.0)
    tensor([0., 2.])
    """
    input, value = tensor("masked_fill", "input", input), tensor_or_number("masked_fill", "value", value)
    if not isinstance(value, Tensor):
        value = fitted(value, input.dtype, "masked_fill", finite=True)
    elif value.ndim:
        raise ValueError(
            f"masked_fill: value must be a number or have no dimensions, got shape {value.shape}; use mg.where"
        )
    else:
        value = value.astype(input.dtype)
    return where(_boolean(mask, "mask", "masked_fill"), value, input)


subtract = sub
multiply = mul
divide = div
negative = neg
absolute = abs
clip = clamp
