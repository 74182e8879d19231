"""Activation functions; `minigrad.nn.functional` has more, and PyTorch's spellings of their options."""

from minigrad import ops
from minigrad.engine.tensor import Tensor

__all__ = ["relu", "leaky_relu", "elu", "softplus", "gelu"]


def relu(input: Tensor) -> Tensor:
    """max(a, 0); the gradient at 0 is 0."""
    return ops.relu(input)


def leaky_relu(input: Tensor, *, slope: float) -> Tensor:
    """a where a > 0, slope·a elsewhere."""
    return ops.leaky_relu(input, slope=slope)


def elu(input: Tensor, *, alpha: float) -> Tensor:
    """a where a > 0, alpha·(eᵃ - 1) elsewhere. Clevert et al. 2015, arXiv 1511.07289."""
    return ops.elu(input, alpha=alpha)


def softplus(input: Tensor, *, beta: float, threshold: float) -> Tensor:
    """log(1 + e^(beta·a)) / beta; a itself where beta·a > threshold."""
    return ops.softplus(input, beta=beta, threshold=threshold)


def gelu(input: Tensor) -> Tensor:
    """x·Φ(x) with Φ the normal distribution function, exactly (by erf). Hendrycks & Gimpel 2016, arXiv 1606.08415."""
    return ops.gelu(input)
