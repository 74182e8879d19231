"""Activation functions."""

import math

from minigrad.autograd.pointwise import elementwise

SQRT_HALF = math.sqrt(0.5)
INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


@elementwise
def relu(xp, a):
    """max(a, 0); the gradient at 0 is 0."""
    return xp.maximum(a, 0)


relu.defvjp(lambda xp, g, y: xp.where(y <= 0, 0.0, g))


@elementwise(floats=True)
def normal_cdf(xp, a):
    """Φ(a) = (1 + erf(a/√2)) / 2, the normal distribution function."""
    return xp.erf(a * SQRT_HALF) * 0.5 + 0.5


normal_cdf.defvjp(lambda xp, g, a: g * xp.exp(a * a * -0.5) * INV_SQRT_2PI)


@elementwise
def leaky_relu(xp, a, *, slope):
    """a where a > 0, slope·a elsewhere."""
    return xp.where(a > 0, a, a * slope)


leaky_relu.defvjp(lambda xp, g, a, slope: xp.where(a > 0, g, g * slope))


@elementwise(floats=True)
def elu(xp, a, *, alpha):
    """a where a > 0, alpha·(eᵃ - 1) elsewhere. Clevert et al. 2015, arXiv 1511.07289."""
    return xp.where(a > 0, a, xp.expm1(xp.minimum(a, 0)) * alpha)


elu.defvjp(lambda xp, g, a, alpha: xp.where(a <= 0, g * alpha * xp.exp(xp.where(a <= 0, a, 0.0)), g))


@elementwise(floats=True)
def softplus(xp, a, *, beta, threshold):
    """log(1 + e^(beta·a)) / beta; a itself where beta·a > threshold."""
    z = a * beta
    return xp.where(z > threshold, a, xp.log1p(xp.exp(xp.minimum(z, threshold))) / beta)


softplus.defvjp(lambda xp, g, a, beta, threshold: xp.where(a * beta > threshold, g, g * xp.sigmoid(a * beta)))


@elementwise(floats=True)
def log_sigmoid(xp, a):
    """log σ(a) = min(a, 0) - log(1 + e^-|a|), without overflow."""
    return xp.minimum(a, 0) - xp.log1p(xp.exp(-xp.abs(a)))


log_sigmoid.defvjp(lambda xp, g, a: g * xp.sigmoid(-a))


@elementwise(floats=True)
def bce_with_logits(xp, a, target, weight):
    """-(weight·target·log σ(a) + (1 - target)·log(1 - σ(a))), with log(1 - σ(a)) as log σ(a) - a."""
    return (1 - target) * a - (target * (weight - 1) + 1) * log_sigmoid.forward(xp, a)


bce_with_logits.defvjp(
    lambda xp, g, a, target, weight: g * ((target * (weight - 1) + 1) * xp.sigmoid(a) - target * weight),
    lambda xp, g, a, weight: g * _by_target(xp, a, weight),
    lambda xp, g, a, target: -g * target * xp.log_sigmoid(a),
)


def _by_target(xp, a, weight):
    """-a - (weight - 1)·log σ(a): at weight 1 exactly -a."""
    if isinstance(weight, int | float) and weight == 1:
        return -a
    return (1 - weight) * xp.log_sigmoid(a) - a


@elementwise
def smooth_l1(xp, a, *, beta):
    """½·a²/beta where |a| < beta, else |a| - ½·beta; beta > 0. Girshick 2015, arXiv 1504.08083."""
    size = xp.abs(a)
    return xp.where(size < beta, size * size * (0.5 / beta), size - 0.5 * beta)


smooth_l1.defvjp(lambda xp, g, a, beta: g * xp.clamp(a / beta, -1.0, 1.0))
