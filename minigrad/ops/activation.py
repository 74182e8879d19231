"""Activation functions."""

import math

from minigrad.dtypes import HALVES
from minigrad.engine.operation import elementwise
from minigrad.ops.wide import wide

__all__ = [
    "relu", "normal_cdf", "exact_gelu", "tanh_gelu", "silu", "leaky_relu", "elu", "softplus", "log_sigmoid",
    "bce_with_logits", "weighted_bce_with_logits", "smooth_l1",
]  # fmt: skip

SQRT_HALF = math.sqrt(0.5)
INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)
SQRT_2_BY_PI = math.sqrt(2 / math.pi)


@elementwise
def relu(xp, a):
    """max(a, 0); the gradient at 0 is 0."""
    return xp.maximum(a, 0)


relu.defvjp(lambda ops, g, y: ops.where(y <= 0, 0.0, g))


@elementwise(floats=True)
@wide
def normal_cdf(xp, a):
    """Φ(a) = (1 + erf(a/√2)) / 2, the normal distribution function."""
    return xp.erf(a * SQRT_HALF) * 0.5 + 0.5


normal_cdf.defvjp(lambda ops, g, a: g * ops.exp(a * a * -0.5) * INV_SQRT_2PI)


@elementwise(floats=True)
@wide
def exact_gelu(xp, a):
    """a·Φ(a), the definition of `gelu`."""
    return a * normal_cdf.forward(xp, a)


exact_gelu.defvjp(lambda ops, g, a: g * (ops.normal_cdf(a) + a * (ops.exp(a * a * -0.5) * INV_SQRT_2PI)))


@elementwise(floats=True)
@wide
def tanh_gelu(xp, a):
    """½·a·(1 + tanh(√(2/π)·(a + 0.044715·a³)))."""
    return 0.5 * a * (1 + xp.tanh((a + 0.044715 * a * a * a) * SQRT_2_BY_PI))


tanh_gelu.defvjp(lambda ops, g, a, a_dtype: g * _tanh_gelu_slope(ops, a, a_dtype))


def _tanh_gelu_slope(xp, a, dtype):
    if dtype in HALVES:
        return xp.cast(_tanh_gelu_slope(xp, xp.cast(a, dtype="float32"), "float32"), dtype=dtype)
    t = xp.tanh((a + 0.044715 * a * a * a) * SQRT_2_BY_PI)
    return 0.5 * (1 + t) + 0.5 * a * (1 - t * t) * ((1 + 3 * 0.044715 * a * a) * SQRT_2_BY_PI)


@elementwise(floats=True)
@wide
def silu(xp, a):
    """a·σ(a), also called swish. Elfwing et al. 2017, arXiv 1702.03118."""
    return a * xp.sigmoid(a)


silu.defvjp(lambda ops, g, a: g * _silu_slope(ops.sigmoid(a), a))


def _silu_slope(s, a):
    return s * (1 + a * (1 - s))


@elementwise
def leaky_relu(xp, a, *, slope):
    """a where a > 0, slope·a elsewhere."""
    return xp.where(a > 0, a, a * slope)


leaky_relu.defvjp(lambda ops, g, a, slope: ops.where(a > 0, g, g * slope))


@elementwise(floats=True)
@wide
def elu(xp, a, *, alpha):
    """a where a > 0, alpha·(eᵃ - 1) elsewhere. Clevert et al. 2015, arXiv 1511.07289."""
    return xp.where(a > 0, a, xp.expm1(xp.minimum(a, 0)) * alpha)


elu.defvjp(lambda ops, g, a, alpha: ops.where(a > 0, g, g * alpha * ops.exp(ops.where(a >= 0, 0.0, a))))


@elementwise(floats=True)
@wide
def softplus(xp, a, *, beta, threshold):
    """log(1 + e^(beta·a)) / beta; a itself where beta·a > threshold."""
    z = a * beta
    return xp.where(z > threshold, a, xp.log1p(xp.exp(xp.minimum(z, threshold))) / beta)


softplus.defvjp(lambda ops, g, a, beta, threshold: ops.where(a * beta > threshold, g, g * ops.sigmoid(a * beta)))


@elementwise(floats=True)
@wide
def log_sigmoid(xp, a):
    """log σ(a) = min(a, 0) - log(1 + e^-|a|), without overflow."""
    return xp.minimum(a, 0) - xp.log1p(xp.exp(-xp.abs(a)))


log_sigmoid.defvjp(lambda ops, g, a: g * ops.sigmoid(-a))


@elementwise(floats=True)
@wide
def bce_with_logits(xp, a, target):
    """-(target·log σ(a) + (1 - target)·log(1 - σ(a))), with log(1 - σ(a)) = log σ(a) - a."""
    return (1 - target) * a - log_sigmoid.forward(xp, a)


bce_with_logits.defvjp(lambda ops, g, a, target: g * (ops.sigmoid(a) - target), lambda ops, g, a: -g * a)


@elementwise(floats=True)
@wide
def weighted_bce_with_logits(xp, a, target, weight):
    """-(weight·target·log σ(a) + (1 - target)·log(1 - σ(a)))."""
    return (1 - target) * a - (target * (weight - 1) + 1) * log_sigmoid.forward(xp, a)


weighted_bce_with_logits.defvjp(
    lambda ops, g, a, target, weight: g * ((target * weight + 1 - target) * ops.sigmoid(a) - target * weight),
    lambda ops, g, a, weight: g * ((1 - weight) * ops.log_sigmoid(a) - a),
    lambda ops, g, a, target: -g * target * ops.log_sigmoid(a),
)


@elementwise
@wide
def smooth_l1(xp, a, *, beta):
    """½·a²/beta where |a| < beta, else |a| - ½·beta; beta > 0. Girshick 2015, arXiv 1504.08083."""
    size = xp.abs(a)
    return xp.where(size < beta, size * size * (0.5 / beta), size - 0.5 * beta)


smooth_l1.defvjp(lambda ops, g, a, beta: g * _smooth_sign(ops, a, beta))


def _smooth_sign(xp, a, beta):
    """a/beta, and the sign of a beyond ±beta; what isn't chosen is 0, lest a second derivative find ∞·0 there."""
    far = xp.abs(a) >= beta
    return xp.where(far, xp.sign(a), xp.where(far, 0.0, a) / beta)
