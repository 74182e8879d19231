"""Activation functions; `minigrad.nn.functional` has these and more. With `inplace=True` the result takes the input's
place, as in `Tensor.add_`, and the input is returned.

In the formulas a is an element of `input`.
"""

from minigrad import ops
from minigrad.checks import choice
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import number, tensor
from minigrad.functions.writes import put

__all__ = ["relu", "leaky_relu", "elu", "softplus", "gelu"]


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(a, 0); the gradient at 0 is 0.

    Shape: any; the result has the same.

    Args:
        inplace: puts the result into the input's place, and returns the input.

    Raises:
        TypeError: if `input` is not a tensor. RuntimeError: in place, for a tensor that can't be written.

    The operation (minigrad/ops/activation.py):

        @elementwise
        def relu(xp, a):
            return xp.maximum(a, 0)

        relu.defvjp(lambda ops, g, y: ops.where(y <= 0, 0.0, g))

    >>> mg.relu(mg.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return put("relu", input, ops.relu(input)) if inplace else ops.relu(input)


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

    >>> mg.gelu(mg.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.1587,  0.    ,  0.8413])
    """
    tensor("gelu", "input", input)
    return (
        ops.gelu(input)
        if choice("gelu", "approximate", approximate, ("none", "tanh")) == "none"
        else ops.tanh_gelu(input)
    )


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, negative_slope·x elsewhere.

    Shape: any; the result has the same.

    Args:
        inplace: puts the result into the input's place, and returns the input.

    Raises:
        TypeError: for anything but a tensor, or a slope that is no number. RuntimeError: in place, for a tensor that can't be
            written.

    The operation (minigrad/ops/activation.py):

        @elementwise
        def leaky_relu(xp, a, *, slope):
            return xp.where(a > 0, a, a * slope)

        leaky_relu.defvjp(lambda ops, g, a, slope: ops.where(a > 0, g, g * slope))

    >>> mg.leaky_relu(mg.tensor([-1.0, 1.0]), 0.5)
    tensor([-0.5,  1. ])
    """
    result = ops.leaky_relu(input, slope=number("leaky_relu", "negative_slope", negative_slope))
    return put("leaky_relu", input, result) if inplace else result


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, alpha·(eˣ - 1) elsewhere. Clevert et al. 2015, arXiv 1511.07289.

    Shape: any; the result has the same.

    Args:
        inplace: puts the result into the input's place, and returns the input.

    Raises:
        TypeError: for anything but a tensor, or an alpha that is no number. RuntimeError: in place, for a tensor that can't be
            written.

    The operation (minigrad/ops/activation.py):

        @elementwise(floats=True)
        @wide
        def elu(xp, a, *, alpha):
            return xp.where(a > 0, a, xp.expm1(xp.minimum(a, 0)) * alpha)

        elu.defvjp(lambda ops, g, a, alpha: ops.where(a > 0, g, g * alpha * ops.exp(ops.where(a >= 0, 0.0, a))))

    >>> mg.elu(mg.tensor([-1.0, 1.0]))
    tensor([-0.6321,  1.    ])
    """
    result = ops.elu(input, alpha=number("elu", "alpha", alpha))
    return put("elu", input, result) if inplace else result


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

    >>> mg.softplus(mg.tensor([0.0, 30.0]))
    tensor([ 0.6931, 30.    ])
    """
    scale, limit = number("softplus", "beta", beta), number("softplus", "threshold", threshold)
    return ops.softplus(input, beta=scale, threshold=limit)
