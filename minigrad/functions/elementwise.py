"""Functions of each element by itself: arithmetic, powers, exponentials, rounding, choice. Shapes are broadcast together."""

from typing import Any

from minigrad import ops
from minigrad.dtypes import fitted, plain
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import _boolean

__all__ = [
    "add", "sub", "mul", "div", "floor_divide", "remainder", "pow", "neg", "abs", "sign", "square", "sqrt",
    "rsqrt", "reciprocal", "exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "sigmoid", "erf", "floor", "ceil",
    "round", "maximum", "minimum", "clamp", "where", "masked_fill", "subtract", "multiply", "divide", "negative",
    "absolute", "clip",
]  # fmt: skip


def add(input: Tensor | float, other: Tensor | float, *, alpha: float = 1) -> Tensor:
    """input + alpha·other, with broadcasting."""
    return ops.add(input, other if alpha == 1 else ops.mul(other, alpha))


def sub(input: Tensor | float, other: Tensor | float, *, alpha: float = 1) -> Tensor:
    """input - alpha·other, with broadcasting."""
    return ops.sub(input, other if alpha == 1 else ops.mul(other, alpha))


def mul(input: Tensor | float, other: Tensor | float) -> Tensor:
    """a·b, with broadcasting."""
    return ops.mul(input, other)


def div(input: Tensor | float, other: Tensor | float, *, rounding_mode: str | None = None) -> Tensor:
    """input / other, with broadcasting; integers divide in float32. `rounding_mode`: None, "floor" or "trunc"."""
    if rounding_mode is None:
        return ops.div(input, other)
    if rounding_mode == "floor":
        return ops.floor_divide(input, other)
    if rounding_mode == "trunc":
        return ops.trunc_divide(input, other)
    raise ValueError(f"rounding_mode is None, 'floor' or 'trunc', not {rounding_mode!r}")


def floor_divide(input: Tensor | float, other: Tensor | float) -> Tensor:
    """⌊a / b⌋; no gradient passes."""
    return ops.floor_divide(input, other)


def remainder(input: Tensor | float, other: Tensor | float) -> Tensor:
    """a - b·⌊a / b⌋: the remainder with the divisor's sign, as Python's %."""
    return ops.remainder(input, other)


def pow(input: Tensor | float, exponent: Tensor | float) -> Tensor:
    """input ** exponent, with broadcasting. The gradient by a zero base's exponent is 0."""
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
    """-a."""
    return ops.neg(input)


def abs(input: Tensor) -> Tensor:
    """|a|; the gradient at 0 is 0."""
    return ops.abs(input)


def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1 (0 for NaN); no gradient passes."""
    return ops.sign(input)


def square(input: Tensor) -> Tensor:
    """a²."""
    return ops.square(input)


def sqrt(input: Tensor) -> Tensor:
    """√a."""
    return ops.sqrt(input)


def rsqrt(input: Tensor) -> Tensor:
    """1/√a."""
    return ops.rsqrt(input)


def reciprocal(input: Tensor) -> Tensor:
    """1/a."""
    return ops.reciprocal(input)


# --- exponentials, logarithms, trigonometry ---------------------------------------------------------------------------
def exp(input: Tensor) -> Tensor:
    """eᵃ."""
    return ops.exp(input)


def expm1(input: Tensor) -> Tensor:
    """eᵃ - 1, accurate near 0."""
    return ops.expm1(input)


def log(input: Tensor) -> Tensor:
    """Natural logarithm."""
    return ops.log(input)


def log1p(input: Tensor) -> Tensor:
    """log(1 + a), accurate near 0."""
    return ops.log1p(input)


def sin(input: Tensor) -> Tensor:
    """sin a."""
    return ops.sin(input)


def cos(input: Tensor) -> Tensor:
    """cos a."""
    return ops.cos(input)


def tanh(input: Tensor) -> Tensor:
    """tanh a."""
    return ops.tanh(input)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + e⁻ᵃ)."""
    return ops.sigmoid(input)


def erf(input: Tensor) -> Tensor:
    """2/√π ∫₀ᵃ exp(-t²) dt."""
    return ops.erf(input)


# --- rounding and choice ----------------------------------------------------------------------------------------------
def floor(input: Tensor) -> Tensor:
    """The largest whole number ≤ a; no gradient passes."""
    return ops.floor(input)


def ceil(input: Tensor) -> Tensor:
    """The smallest whole number ≥ a; no gradient passes."""
    return ops.ceil(input)


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest number of so many decimals (whole tens, hundreds, … where negative), halves to even; no gradient passes."""
    return ops.round(input) if decimals == 0 else ops.rounded(input, decimals=decimals)


def maximum(input: Tensor | float, other: Tensor | float) -> Tensor:
    """The larger of a and b; where they are equal each gets half of the gradient. NaN wins."""
    return ops.maximum(input, other)


def minimum(input: Tensor | float, other: Tensor | float) -> Tensor:
    """The smaller of a and b; where they are equal each gets half of the gradient. NaN wins."""
    return ops.minimum(input, other)


def clamp(input: Tensor, min: Tensor | float | None = None, max: Tensor | float | None = None) -> Tensor:
    """input limited to [min, max] (numbers or tensors); NaN anywhere gives NaN. The gradient passes to input where
    min ≤ input ≤ max, elsewhere to the bound that is the result (max where min > max).

    Raises:
        ValueError: when neither min nor max is given.
    """
    if min is None and max is None:
        raise ValueError("clamp needs min, max or both")
    min, max = plain(min), plain(max)
    if max is None:
        return ops.clamp_min(input, min)
    return ops.clamp_max(input, max) if min is None else ops.clamp(input, min, max)


def where(condition: Tensor, input: Tensor | float, other: Tensor | float) -> Tensor:
    """input where the boolean condition is true, other elsewhere; the three are broadcast together."""
    condition = _boolean(condition, "condition")
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        input = Tensor(input, device=condition.device)
    return ops.where(condition, input, other)


def masked_fill(input: Tensor, mask: Tensor, value: Tensor | float) -> Tensor:
    """input, in its own dtype, with `value` (a number, or a tensor without dimensions) where the boolean mask is true."""
    if isinstance(value, Tensor):
        if value.ndim:
            raise ValueError(f"value must be a number or have no dimensions, got shape {value.shape}; use mg.where")
        value = value.astype(input.dtype)
    elif isinstance(value := plain(value), int | float):
        value = fitted(value, input.dtype, "masked_fill", finite=True)
    return where(_boolean(mask, "mask"), value, input)


subtract = sub
multiply = mul
divide = div
negative = neg
absolute = abs
clip = clamp
