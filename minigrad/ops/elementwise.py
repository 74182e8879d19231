"""Elementwise operations, each with its derivative beside it.

Dtype promotion and broadcasting are the engine's: forward functions see arrays of one dtype, VJPs return gradients of the
output's shape.
"""

import builtins
import math

from minigrad.engine.operation import elementwise
from minigrad.ops.wide import wide

__all__ = [
    "zeros_like", "add", "replaced", "sub", "mul", "div", "floor_divide", "trunc_divide", "remainder", "pow", "neg", "abs",
    "sign", "square", "sqrt", "rsqrt", "reciprocal", "exp", "expm1", "log", "log1p", "sin", "cos", "tanh",
    "sigmoid", "erf", "floor", "ceil", "round", "rounded", "maximum", "minimum", "clamp_min", "clamp_max", "clamp",
    "where",
]  # fmt: skip


@elementwise
def zeros_like(xp, a):
    """Zeros of a's shape, dtype and layout: the gradient of a step function, whatever arrives there (∞·0 would be NaN)."""
    return xp.zeros_like(a)


# --- arithmetic -------------------------------------------------------------------------------------------------------
@elementwise
def add(xp, a, b):
    return xp.add(a, b)


add.defvjp(lambda ops, g: g, lambda ops, g: g)


@elementwise
def replaced(xp, a, b):
    """b in the place of a, which counts no more."""
    return b


replaced.defvjp(lambda ops, g: ops.zeros_like(g), lambda ops, g: g)


@elementwise
def sub(xp, a, b):
    return xp.subtract(a, b)


sub.defvjp(lambda ops, g: g, lambda ops, g: -g)


@elementwise
def mul(xp, a, b):
    """a·b, with broadcasting."""
    return xp.multiply(a, b)


mul.defvjp(lambda ops, g, b: g * b, lambda ops, g, a: g * a)


@elementwise(floats=True)
def div(xp, a, b):
    return xp.divide(a, b)


div.defvjp(lambda ops, g, b: g / b, lambda ops, g, y, b: -g * (y / b))


@elementwise
def floor_divide(xp, a, b):
    """⌊a / b⌋; no gradient passes."""
    return xp.floor_divide(a, b)


floor_divide.defvjp(lambda ops, g: ops.zeros_like(g), lambda ops, g: ops.zeros_like(g))


@elementwise
def trunc_divide(xp, a, b):
    """a / b rounded towards zero; no gradient passes."""
    quotient = xp.divide(a, b)
    return xp.where(quotient < 0, xp.ceil(quotient), xp.floor(quotient)).astype(
        a.dtype if hasattr(a, "dtype") else b.dtype
    )


trunc_divide.defvjp(lambda ops, g: ops.zeros_like(g), lambda ops, g: ops.zeros_like(g))


@elementwise
def remainder(xp, a, b):
    """a - b·⌊a / b⌋: the remainder with the divisor's sign, as Python's %."""
    return xp.remainder(a, b)


remainder.defvjp(lambda ops, g: g, lambda ops, g, a, b: -g * ops.floor_divide(a, b))


@elementwise
def pow(xp, a, b):
    return xp.power(a, b)


pow.defvjp(
    lambda ops, g, a, b: _times_slope(ops, g, a, b),
    lambda ops, g, a, b, y: _times_log(ops, g, a, b, y),
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


@elementwise
def neg(xp, a):
    """-a."""
    return xp.negative(a)


neg.defvjp(lambda ops, g: -g)


@elementwise
def abs(xp, a):
    """|a|; the gradient at 0 is 0."""
    return xp.abs(a)


abs.defvjp(lambda ops, g, a: g * ops.sign(a))


@elementwise
def sign(xp, a):
    """-1, 0 or 1 (0 for NaN); no gradient passes."""
    return xp.sign(a)


sign.defvjp(lambda ops, g: ops.zeros_like(g))


@elementwise
def square(xp, a):
    """a²."""
    return xp.square(a)


square.defvjp(lambda ops, g, a: 2 * g * a)


@elementwise(floats=True)
def sqrt(xp, a):
    """√a."""
    return xp.sqrt(a)


sqrt.defvjp(lambda ops, g, y: g / (2 * y))


@elementwise(floats=True)
def rsqrt(xp, a):
    """1/√a."""
    return xp.rsqrt(a)


rsqrt.defvjp(lambda ops, g, y: -0.5 * g * y * y * y)


@elementwise(floats=True)
def reciprocal(xp, a):
    """1/a."""
    return 1 / a


reciprocal.defvjp(lambda ops, g, y: -g * y * y)


# --- exponentials, logarithms, trigonometry ---------------------------------------------------------------------------
@elementwise(floats=True)
def exp(xp, a):
    """eᵃ."""
    return xp.exp(a)


exp.defvjp(lambda ops, g, y: g * y)


@elementwise(floats=True)
def expm1(xp, a):
    """eᵃ - 1, accurate near 0."""
    return xp.expm1(a)


expm1.defvjp(lambda ops, g, y: g * (y + 1))


@elementwise(floats=True)
def log(xp, a):
    """Natural logarithm."""
    return xp.log(a)


log.defvjp(lambda ops, g, a: g / a)


@elementwise(floats=True)
def log1p(xp, a):
    """log(1 + a), accurate near 0."""
    return xp.log1p(a)


log1p.defvjp(lambda ops, g, a: g / (a + 1))


@elementwise(floats=True)
def sin(xp, a):
    """sin a."""
    return xp.sin(a)


sin.defvjp(lambda ops, g, a: g * ops.cos(a))


@elementwise(floats=True)
def cos(xp, a):
    """cos a."""
    return xp.cos(a)


cos.defvjp(lambda ops, g, a: -g * ops.sin(a))


@elementwise(floats=True)
def tanh(xp, a):
    """tanh a."""
    return xp.tanh(a)


tanh.defvjp(lambda ops, g, y: g * (1.0 - y * y))


@elementwise(floats=True)
@wide
def sigmoid(xp, a):
    """1 / (1 + e⁻ᵃ)."""
    return xp.sigmoid(a)


sigmoid.defvjp(lambda ops, g, y: g * y * (1.0 - y))


@elementwise(floats=True)
def erf(xp, a):
    """2/√π ∫₀ᵃ exp(-t²) dt."""
    return xp.erf(a)


erf.defvjp(lambda ops, g, a: g * ops.exp(-a * a) * (2 / math.sqrt(math.pi)))


@elementwise
def floor(xp, a):
    """The largest whole number ≤ a; no gradient passes."""
    return xp.floor(a)


floor.defvjp(lambda ops, g: ops.zeros_like(g))


@elementwise
def ceil(xp, a):
    """The smallest whole number ≥ a; no gradient passes."""
    return xp.ceil(a)


ceil.defvjp(lambda ops, g: ops.zeros_like(g))


@elementwise
def round(xp, a):
    """The nearest whole number, halves to even; no gradient passes."""
    return xp.round(a)


round.defvjp(lambda ops, g: ops.zeros_like(g))


@elementwise(floats=True)
@wide
def rounded(xp, a, *, decimals):
    """The nearest number of so many decimals, halves to even; no gradient passes."""
    scale = 10.0 ** builtins.abs(decimals)
    return xp.round(a * scale) / scale if decimals > 0 else xp.round(a / scale) * scale


rounded.defvjp(lambda ops, g: ops.zeros_like(g))


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


maximum.defvjp(lambda ops, g, a, b: _share(ops, g, a, b), lambda ops, g, a, b: _share(ops, g, b, a))
minimum.defvjp(lambda ops, g, a, b: _share(ops, g, b, a), lambda ops, g, a, b: _share(ops, g, a, b))


@elementwise
def clamp_min(xp, a, min):
    """max(a, min); where they are equal a gets the gradient. NaN wins, and passes no gradient."""
    return xp.maximum(a, min)


clamp_min.defvjp(
    lambda ops, g, a, min: ops.where(a >= min, g, 0.0),
    lambda ops, g, a, min: ops.where(a < min, g, 0.0),
)


@elementwise
def clamp_max(xp, a, max):
    """min(a, max); where they are equal a gets the gradient. NaN wins, and passes no gradient."""
    return xp.minimum(a, max)


clamp_max.defvjp(
    lambda ops, g, a, max: ops.where(a <= max, g, 0.0),
    lambda ops, g, a, max: ops.where(a > max, g, 0.0),
)


@elementwise
def clamp(xp, a, min, max):
    return xp.minimum(xp.maximum(a, min), max)


clamp.defvjp(
    lambda ops, g, a, min, max: ops.where((a >= min) & (a <= max), g, 0.0),
    lambda ops, g, a, min, max: ops.where((a < min) & (min < max), g, 0.0),
    lambda ops, g, a, min, max: ops.where((a > max) | (max < min), g, 0.0),
)


@elementwise(promote_from=1)
def where(xp, condition, a, b):
    return xp.where(condition, a, b)


where.defvjp(
    None,
    lambda ops, g, condition: ops.where(condition, g, 0.0),
    lambda ops, g, condition: ops.where(condition, 0.0, g),
)
