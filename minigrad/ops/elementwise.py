"""Elementwise operations, each with its derivative beside it.

Dtype promotion and broadcasting are the engine's: forward functions see arrays of one dtype, VJPs return gradients of the
output's shape.
"""

import builtins
import math

from minigrad.dtypes import bool_, fitted, plain
from minigrad.engine.operation import elementwise
from minigrad.engine.tensor import Tensor
from minigrad.ops.wide import wide


@elementwise
def zeros_like(xp, a):
    """Zeros of a's shape, dtype and layout: the gradient of a step function, whatever arrives there (∞·0 would be NaN)."""
    return xp.zeros_like(a)


# --- arithmetic -------------------------------------------------------------------------------------------------------
@elementwise
def add(xp, a, b):
    return xp.add(a, b)


add.defvjp(lambda xp, g: g, lambda xp, g: g)


@add.call_form
def add(input, other, *, alpha=1):
    """input + alpha·other, with broadcasting."""
    return add.op(input, other if alpha == 1 else mul(other, alpha))


@elementwise
def sub(xp, a, b):
    return xp.subtract(a, b)


sub.defvjp(lambda xp, g: g, lambda xp, g: -g)


@sub.call_form
def sub(input, other, *, alpha=1):
    """input - alpha·other, with broadcasting."""
    return sub.op(input, other if alpha == 1 else mul(other, alpha))


@elementwise
def mul(xp, a, b):
    """a·b, with broadcasting."""
    return xp.multiply(a, b)


mul.defvjp(lambda xp, g, b: g * b, lambda xp, g, a: g * a)


@elementwise(floats=True)
def div(xp, a, b):
    return xp.divide(a, b)


div.defvjp(lambda xp, g, b: g / b, lambda xp, g, y, b: -g * (y / b))


@div.call_form
def div(input, other, *, rounding_mode=None):
    """input / other, with broadcasting; integers divide in float32. `rounding_mode`: None, "floor" or "trunc"."""
    if rounding_mode is None:
        return div.op(input, other)
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode == "trunc":
        return trunc_divide(input, other)
    raise ValueError(f"rounding_mode is None, 'floor' or 'trunc', not {rounding_mode!r}")


@elementwise
def floor_divide(xp, a, b):
    """⌊a / b⌋; no gradient passes."""
    return xp.floor_divide(a, b)


floor_divide.defvjp(lambda xp, g: xp.zeros_like(g), lambda xp, g: xp.zeros_like(g))


@elementwise
def trunc_divide(xp, a, b):
    """a / b rounded towards zero; no gradient passes."""
    quotient = xp.divide(a, b)
    return xp.where(quotient < 0, xp.ceil(quotient), xp.floor(quotient)).astype(
        a.dtype if hasattr(a, "dtype") else b.dtype
    )


trunc_divide.defvjp(lambda xp, g: xp.zeros_like(g), lambda xp, g: xp.zeros_like(g))


@elementwise
def remainder(xp, a, b):
    """a - b·⌊a / b⌋: the remainder with the divisor's sign, as Python's %."""
    return xp.remainder(a, b)


remainder.defvjp(lambda xp, g: g, lambda xp, g, a, b: -g * xp.floor_divide(a, b))


@elementwise
def pow(xp, a, b):
    return xp.power(a, b)


pow.defvjp(
    lambda xp, g, a, b: _times_slope(xp, g, a, b),
    lambda xp, g, a, b, y: _times_log(xp, g, a, b, y),
)


def _times_slope(xp, g, a, b):
    """g·b·aᵇ⁻¹, 0 for b = 0 at every base, in every order, for an exponent that may be a number."""
    if isinstance(b, int | float):
        return g * (b * xp.pow(a, b - 1)) if b else xp.zeros_like(g)
    nothing = b == 0
    return xp.where(nothing, 0.0, g * (b * xp.pow(a, xp.where(nothing, 1.0, b) - 1)))


def _times_log(xp, g, a, b, y):
    """g·aᵇ·log a, 0 at a = 0 where b ≥ 0, for a base that may be a number."""
    if isinstance(a, int | float):
        if a == 0:
            return g * xp.where(b >= 0, 0.0, -y)
        return g * (y * (math.log(a) if a > 0 else math.nan))
    nothing = (a == 0) & (b >= 0)
    return g * xp.where(nothing, 0.0, y * xp.log(xp.where(nothing, 1.0, a)))


@pow.call_form
def pow(input, exponent):
    """input ** exponent, with broadcasting. The gradient by a zero base's exponent is 0."""
    exponent = plain(exponent)
    if isinstance(input, Tensor) and input.is_floating_point():
        if isinstance(exponent, int | float) and exponent == 2:
            return square(input)
        if isinstance(exponent, float) and exponent == 0.5:
            return sqrt(input)
    if _is_whole(input) and _is_whole(exponent):
        return _whole_power(input, exponent)
    return pow.op(input, exponent)


def _is_whole(x) -> bool:
    return isinstance(x, int) if not isinstance(x, Tensor) else not x.is_floating_point() and x.dtype != "bool"


def _whole_power(base, exponent):
    """Powers of whole numbers; a negative exponent in a tensor gives 1/base rounded towards 0."""
    if not isinstance(exponent, Tensor):
        if exponent < 0:
            raise ValueError(f"pow: whole numbers have no power {exponent} among whole numbers; use .float() first")
        return pow.op(base, exponent)
    sign = 1 - 2 * remainder(exponent, 2)
    base = base if isinstance(base, Tensor) else Tensor(base, dtype=exponent.dtype, device=exponent.device)
    inverse = where(base == 1, 1, where(base == -1, sign, 0))
    return where(exponent < 0, inverse, pow.op(base, clamp(exponent, min=0)))


@elementwise
def neg(xp, a):
    """-a."""
    return xp.negative(a)


neg.defvjp(lambda xp, g: -g)


@elementwise
def abs(xp, a):
    """|a|; the gradient at 0 is 0."""
    return xp.abs(a)


abs.defvjp(lambda xp, g, a: g * xp.sign(a))


@elementwise
def sign(xp, a):
    """-1, 0 or 1 (0 for NaN); no gradient passes."""
    return xp.sign(a)


sign.defvjp(lambda xp, g: xp.zeros_like(g))


@elementwise
def square(xp, a):
    """a²."""
    return xp.square(a)


square.defvjp(lambda xp, g, a: 2 * g * a)


@elementwise(floats=True)
def sqrt(xp, a):
    """√a."""
    return xp.sqrt(a)


sqrt.defvjp(lambda xp, g, y: g / (2 * y))


@elementwise(floats=True)
def rsqrt(xp, a):
    """1/√a."""
    return xp.rsqrt(a)


rsqrt.defvjp(lambda xp, g, y: -0.5 * g * y * y * y)


@elementwise(floats=True)
def reciprocal(xp, a):
    """1/a."""
    return 1 / a


reciprocal.defvjp(lambda xp, g, y: -g * y * y)


# --- exponentials, logarithms, trigonometry ---------------------------------------------------------------------------
@elementwise(floats=True)
def exp(xp, a):
    """eᵃ."""
    return xp.exp(a)


exp.defvjp(lambda xp, g, y: g * y)


@elementwise(floats=True)
def expm1(xp, a):
    """eᵃ - 1, accurate near 0."""
    return xp.expm1(a)


expm1.defvjp(lambda xp, g, y: g * (y + 1))


@elementwise(floats=True)
def log(xp, a):
    """Natural logarithm."""
    return xp.log(a)


log.defvjp(lambda xp, g, a: g / a)


@elementwise(floats=True)
def log1p(xp, a):
    """log(1 + a), accurate near 0."""
    return xp.log1p(a)


log1p.defvjp(lambda xp, g, a: g / (a + 1))


@elementwise(floats=True)
def sin(xp, a):
    """sin a."""
    return xp.sin(a)


sin.defvjp(lambda xp, g, a: g * xp.cos(a))


@elementwise(floats=True)
def cos(xp, a):
    """cos a."""
    return xp.cos(a)


cos.defvjp(lambda xp, g, a: -g * xp.sin(a))


@elementwise(floats=True)
def tanh(xp, a):
    """tanh a."""
    return xp.tanh(a)


tanh.defvjp(lambda xp, g, y: g * (1 - y * y))


@elementwise(floats=True)
@wide
def sigmoid(xp, a):
    """1 / (1 + e⁻ᵃ)."""
    return xp.sigmoid(a)


sigmoid.defvjp(lambda xp, g, y: g * y * (1 - y))


@elementwise(floats=True)
def erf(xp, a):
    """2/√π ∫₀ᵃ exp(-t²) dt."""
    return xp.erf(a)


erf.defvjp(lambda xp, g, a: g * xp.exp(-a * a) * (2 / math.sqrt(math.pi)))


@elementwise
def floor(xp, a):
    """The largest whole number ≤ a; no gradient passes."""
    return xp.floor(a)


floor.defvjp(lambda xp, g: xp.zeros_like(g))


@elementwise
def ceil(xp, a):
    """The smallest whole number ≥ a; no gradient passes."""
    return xp.ceil(a)


ceil.defvjp(lambda xp, g: xp.zeros_like(g))


@elementwise
def round(xp, a):
    """The nearest whole number, halves to even; no gradient passes."""
    return xp.round(a)


round.defvjp(lambda xp, g: xp.zeros_like(g))


@elementwise(floats=True)
@wide
def rounded(xp, a, *, decimals):
    """The nearest number of so many decimals, halves to even; no gradient passes."""
    scale = 10.0 ** builtins.abs(decimals)
    return xp.round(a * scale) / scale if decimals > 0 else xp.round(a / scale) * scale


rounded.defvjp(lambda xp, g: xp.zeros_like(g))


@round.call_form
def round(input, *, decimals=0):
    """The nearest number of so many decimals (whole tens, hundreds, … where negative), halves to even; no gradient passes."""
    return round.op(input) if decimals == 0 else rounded(input, decimals=decimals)


# --- choice -----------------------------------------------------------------------------------------------------------
@elementwise
def maximum(xp, a, b):
    """The larger of a and b; where they are equal each gets half of the gradient. NaN wins."""
    return xp.maximum(a, b)


@elementwise
def minimum(xp, a, b):
    """The smaller of a and b; where they are equal each gets half of the gradient. NaN wins."""
    return xp.minimum(a, b)


def _share(xp, g, mine, other):
    """g where `mine` is the result (or either is NaN), half of it where both are."""
    return xp.where(mine == other, 0.5 * g, xp.where(mine < other, 0.0, g))


maximum.defvjp(lambda xp, g, a, b: _share(xp, g, a, b), lambda xp, g, a, b: _share(xp, g, b, a))
minimum.defvjp(lambda xp, g, a, b: _share(xp, g, b, a), lambda xp, g, a, b: _share(xp, g, a, b))


@elementwise
def clamp_min(xp, a, min):
    """max(a, min); where they are equal a gets the gradient. NaN wins, and passes no gradient."""
    return xp.maximum(a, min)


clamp_min.defvjp(
    lambda xp, g, a, min: xp.where(a >= min, g, 0.0),
    lambda xp, g, a, min: xp.where(a < min, g, 0.0),
)


@elementwise
def clamp_max(xp, a, max):
    """min(a, max); where they are equal a gets the gradient. NaN wins, and passes no gradient."""
    return xp.minimum(a, max)


clamp_max.defvjp(
    lambda xp, g, a, max: xp.where(a <= max, g, 0.0),
    lambda xp, g, a, max: xp.where(a > max, g, 0.0),
)


@elementwise
def clamp(xp, a, min, max):
    return xp.minimum(xp.maximum(a, min), max)


clamp.defvjp(
    lambda xp, g, a, min, max: xp.where((a >= min) & (a <= max), g, 0.0),
    lambda xp, g, a, min, max: xp.where((a < min) & (min < max), g, 0.0),
    lambda xp, g, a, min, max: xp.where((a > max) | (max < min), g, 0.0),
)


@clamp.call_form
def clamp(input, min=None, max=None):
    """input limited to [min, max] (numbers or tensors); NaN anywhere gives NaN. The gradient passes to input where
    min ≤ input ≤ max, elsewhere to the bound that is the result (max where min > max).

    Raises:
        ValueError: when neither min nor max is given.
    """
    if min is None and max is None:
        raise ValueError("clamp needs min, max or both")
    min, max = plain(min), plain(max)
    if max is None:
        return clamp_min(input, min)
    return clamp_max(input, max) if min is None else clamp.op(input, min, max)


@elementwise(promote_from=1)
def where(xp, condition, a, b):
    return xp.where(condition, a, b)


where.defvjp(
    None,
    lambda xp, g, condition: xp.where(condition, g, 0.0),
    lambda xp, g, condition: xp.where(condition, 0.0, g),
)


@where.call_form
def where(condition, input, other):
    """input where the boolean condition is true, other elsewhere; the three are broadcast together."""
    condition = _boolean(condition, "condition")
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        input = Tensor(input, device=condition.device)
    return where.op(condition, input, other)


def masked_fill(input, mask, value):
    """input, in its own dtype, with `value` (a number, or a tensor without dimensions) where the boolean mask is true."""
    if isinstance(value, Tensor):
        if value.ndim:
            raise ValueError(f"value must be a number or have no dimensions, got shape {value.shape}; use mg.where")
        value = value.astype(input.dtype)
    elif isinstance(value := plain(value), int | float):
        value = fitted(value, input.dtype, "masked_fill", finite=True)
    return where(_boolean(mask, "mask"), value, input)


def _boolean(mask, what):
    if mask.dtype is not bool_:
        raise TypeError(f"the {what} must be boolean, got {mask.dtype.name}; compare it, as in x != 0")
    return mask.to()
