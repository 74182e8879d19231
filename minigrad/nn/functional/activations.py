"""Activation functions: (…) → (…), each element by itself."""

from minigrad import ops
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import number, tensor, told

__all__ = ["gelu", "silu", "leaky_relu", "elu", "selu", "softplus", "logsigmoid"]

SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x·Φ(x) with Φ the normal distribution function. Hendrycks & Gimpel 2016, arXiv 1606.08415.

    Shape: any; the result has the same.

    Args:
        approximate: "none" for the exact function, "tanh" for ½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))).

    Raises:
        ValueError: for another `approximate`.

    The operation (minigrad/ops/fused.py):

        @fused
        def gelu(x):
            return exact_gelu(x)

    >>> mg.nn.functional.gelu(mg.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.1587,  0.    ,  0.8413])
    """
    tensor("gelu", "input", input)
    if approximate == "none":
        return ops.gelu(input)
    if approximate == "tanh":
        return ops.tanh_gelu(input)
    raise ValueError(f"gelu: approximate is 'none' or 'tanh', not {told(approximate)}")


def silu(input: Tensor) -> Tensor:
    """x·σ(x), also called swish. Elfwing et al. 2017, arXiv 1702.03118.

    Shape: any; the result has the same.

    Raises:
        TypeError: for anything but a tensor.

    The operation (minigrad/ops/activation.py):

        @elementwise(floats=True)
        @wide
        def silu(xp, a):
            return a * xp.sigmoid(a)

        silu.defvjp(lambda ops, g, a: g * _silu_slope(ops.sigmoid(a), a))

    >>> mg.nn.functional.silu(mg.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.2689,  0.    ,  0.7311])
    """
    return ops.silu(input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where x > 0, negative_slope·x elsewhere.

    Shape: any; the result has the same.

    Raises:
        TypeError: for anything but a tensor, or a slope that is no number.

    The operation (minigrad/ops/activation.py):

        @elementwise
        def leaky_relu(xp, a, *, slope):
            return xp.where(a > 0, a, a * slope)

        leaky_relu.defvjp(lambda ops, g, a, slope: ops.where(a > 0, g, g * slope))

    >>> mg.nn.functional.leaky_relu(mg.tensor([-1.0, 1.0]), 0.5)
    tensor([-0.5,  1. ])
    """
    return ops.leaky_relu(input, slope=number("leaky_relu", "negative_slope", negative_slope))


def elu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x > 0, alpha·(eˣ - 1) elsewhere. Clevert et al. 2015, arXiv 1511.07289.

    Shape: any; the result has the same.

    Raises:
        TypeError: for anything but a tensor, or an alpha that is no number.

    The operation (minigrad/ops/activation.py):

        @elementwise(floats=True)
        @wide
        def elu(xp, a, *, alpha):
            return xp.where(a > 0, a, xp.expm1(xp.minimum(a, 0)) * alpha)

        elu.defvjp(lambda ops, g, a, alpha: ops.where(a > 0, g, g * alpha * ops.exp(ops.where(a >= 0, 0.0, a))))

    >>> mg.nn.functional.elu(mg.tensor([-1.0, 1.0]))
    tensor([-0.6321,  1.    ])
    """
    return ops.elu(input, alpha=number("elu", "alpha", alpha))


def selu(input: Tensor) -> Tensor:
    """λ·elu(x, α) with α = 1.6733 and λ = 1.0507, which keep mean 0 and variance 1 from layer to layer. Klambauer et al. 2017,
    arXiv 1706.02515.

    Shape: any; the result has the same.

    Raises:
        TypeError: for anything but a tensor.

    >>> mg.nn.functional.selu(mg.tensor([-1.0, 1.0]))
    tensor([-1.1113,  1.0507])
    """
    return ops.elu(tensor("selu", "input", input), alpha=SELU_ALPHA) * SELU_SCALE


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + e^(beta·x)) / beta, and x itself where beta·x > threshold.

    Shape: any; the result has the same.

    Raises:
        TypeError: for anything but a tensor, or options that are no numbers.

    The operation (minigrad/ops/activation.py):

        @elementwise(floats=True)
        @wide
        def softplus(xp, a, *, beta, threshold):
            z = a * beta
            return xp.where(z > threshold, a, xp.log1p(xp.exp(xp.minimum(z, threshold))) / beta)

        softplus.defvjp(lambda ops, g, a, beta, threshold: ops.where(a * beta > threshold, g, g * ops.sigmoid(a * beta)))

    >>> mg.nn.functional.softplus(mg.tensor([0.0, 30.0]))
    tensor([ 0.6931, 30.    ])
    """
    scale, limit = number("softplus", "beta", beta), number("softplus", "threshold", threshold)
    return ops.softplus(input, beta=scale, threshold=limit)


def logsigmoid(input: Tensor) -> Tensor:
    """log σ(x) = min(x, 0) - log(1 + e^-|x|), which doesn't overflow.

    Shape: any; the result has the same.

    Raises:
        TypeError: for anything but a tensor.

    >>> mg.nn.functional.logsigmoid(mg.tensor([-100.0, 0.0]))
    tensor([-100.    ,   -0.6931])
    """
    return ops.log_sigmoid(tensor("logsigmoid", "input", input))
