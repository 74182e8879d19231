"""Activation functions; `minigrad.nn.functional` has more, and PyTorch's spellings of their options.

In the formulas a is an element of `input`.
"""

from minigrad import ops
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import number

__all__ = ["relu", "leaky_relu", "elu", "softplus", "gelu"]


def relu(input: Tensor) -> Tensor:
    """max(a, 0); the gradient at 0 is 0.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/activation.py):

        @elementwise
        def relu(xp, a):
            return xp.maximum(a, 0)

        relu.defvjp(lambda ops, g, y: ops.where(y <= 0, 0.0, g))

    >>> mg.relu(mg.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return ops.relu(input)


def leaky_relu(input: Tensor, *, slope: float) -> Tensor:
    """a where a > 0, slope·a elsewhere.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor, or an option no number.

    The operation (minigrad/ops/activation.py):

        @elementwise
        def leaky_relu(xp, a, *, slope):
            return xp.where(a > 0, a, a * slope)

        leaky_relu.defvjp(lambda ops, g, a, slope: ops.where(a > 0, g, g * slope))

    >>> mg.leaky_relu(mg.tensor([-1.0, 2.0]), slope=0.1)
    tensor([-0.1,  2. ])
    """
    return ops.leaky_relu(input, slope=number("leaky_relu", "slope", slope))


def elu(input: Tensor, *, alpha: float) -> Tensor:
    """a where a > 0, alpha·(eᵃ - 1) elsewhere. Clevert et al. 2015, arXiv 1511.07289.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor, or an option no number.

    The operation (minigrad/ops/activation.py):

        @elementwise(floats=True)
        @wide
        def elu(xp, a, *, alpha):
            return xp.where(a > 0, a, xp.expm1(xp.minimum(a, 0)) * alpha)

        elu.defvjp(lambda ops, g, a, alpha: ops.where(a > 0, g, g * alpha * ops.exp(ops.where(a >= 0, 0.0, a))))

    >>> mg.elu(mg.tensor([-1.0, 2.0]), alpha=1.0)
    tensor([-0.6321,  2.    ])
    """
    return ops.elu(input, alpha=number("elu", "alpha", alpha))


def softplus(input: Tensor, *, beta: float, threshold: float) -> Tensor:
    """log(1 + e^(beta·a)) / beta; a itself where beta·a > threshold.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor, or an option no number.

    The operation (minigrad/ops/activation.py):

        @elementwise(floats=True)
        @wide
        def softplus(xp, a, *, beta, threshold):
            z = a * beta
            return xp.where(z > threshold, a, xp.log1p(xp.exp(xp.minimum(z, threshold))) / beta)

        softplus.defvjp(lambda ops, g, a, beta, threshold: ops.where(a * beta > threshold, g, g * ops.sigmoid(a * beta)))

    >>> mg.softplus(mg.tensor([0.0, 30.0]), beta=1.0, threshold=20.0)
    tensor([ 0.6931, 30.    ])
    """
    beta, threshold = number("softplus", "beta", beta), number("softplus", "threshold", threshold)
    return ops.softplus(input, beta=beta, threshold=threshold)


def gelu(input: Tensor) -> Tensor:
    """a·Φ(a) with Φ the normal distribution function, exactly (by erf). Hendrycks & Gimpel 2016, arXiv 1606.08415.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/fused.py):

        @fused
        def gelu(x):
            return exact_gelu(x)

    >>> mg.gelu(mg.tensor([-1.0, 2.0]))
    tensor([-0.1587,  1.9545])
    """
    return ops.gelu(input)
