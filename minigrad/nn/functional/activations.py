"""Activation functions: (…) → (…), each element by itself.

With `inplace=True`, and under a name that ends in `_`, the result takes the input's place, as in `Tensor.add_`.
"""

from minigrad import functions, ops
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import tensor
from minigrad.functions.writes import put

__all__ = ["relu_", "leaky_relu_", "elu_", "silu", "selu", "selu_", "logsigmoid"]

SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def relu_(input: Tensor) -> Tensor:
    """`relu` in the input's place: x ← max(x, 0).

    Shape: any.

    Raises:
        RuntimeError: for a tensor that can't be written.

    >>> mg.nn.functional.relu_(mg.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return put("relu_", input, functions.relu(tensor("relu_", "input", input)))


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """`leaky_relu` in the input's place.

    Shape: any.

    Raises:
        RuntimeError: for a tensor that can't be written.

    >>> mg.nn.functional.leaky_relu_(mg.tensor([-1.0, 1.0]), 0.5)
    tensor([-0.5,  1. ])
    """
    return put("leaky_relu_", input, functions.leaky_relu(tensor("leaky_relu_", "input", input), negative_slope))


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`elu` in the input's place.

    Shape: any.

    Raises:
        RuntimeError: for a tensor that can't be written.

    >>> mg.nn.functional.elu_(mg.tensor([-1.0, 1.0]))
    tensor([-0.6321,  1.    ])
    """
    return put("elu_", input, functions.elu(tensor("elu_", "input", input), alpha))


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x·σ(x), also called swish. Elfwing et al. 2017, arXiv 1702.03118.

    Shape: any; the result has the same.

    Args:
        inplace: puts the result into the input's place, and returns the input.

    Raises:
        TypeError: for anything but a tensor. RuntimeError: in place, for a tensor that can't be written.

    The operation (minigrad/ops/activation.py):

        @elementwise(floats=True)
        @wide
        def silu(xp, a):
            return a * xp.sigmoid(a)

        silu.defvjp(lambda ops, g, a: g * _silu_slope(ops.sigmoid(a), a))

    >>> mg.nn.functional.silu(mg.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.2689,  0.    ,  0.7311])
    """
    return put("silu", input, ops.silu(input)) if inplace else ops.silu(input)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """λ·elu(x, α) with α = 1.6733 and λ = 1.0507, which keep mean 0 and variance 1 from layer to layer. Klambauer et al. 2017,
    arXiv 1706.02515.

    Shape: any; the result has the same.

    Args:
        inplace: puts the result into the input's place, and returns the input.

    Raises:
        TypeError: for anything but a tensor. RuntimeError: in place, for a tensor that can't be written.

    >>> mg.nn.functional.selu(mg.tensor([-1.0, 1.0]))
    tensor([-1.1113,  1.0507])
    """
    result = ops.elu(tensor("selu", "input", input), alpha=SELU_ALPHA) * SELU_SCALE
    return put("selu", input, result) if inplace else result


def selu_(input: Tensor) -> Tensor:
    """`selu` in the input's place.

    Shape: any.

    Raises:
        RuntimeError: for a tensor that can't be written.

    >>> mg.nn.functional.selu_(mg.tensor([-1.0, 1.0]))
    tensor([-1.1113,  1.0507])
    """
    return put("selu_", input, selu(tensor("selu_", "input", input)))


def logsigmoid(input: Tensor) -> Tensor:
    """log σ(x) = min(x, 0) - log(1 + e^-|x|), which doesn't overflow.

    Shape: any; the result has the same.

    Raises:
        TypeError: for anything but a tensor.

    >>> mg.nn.functional.logsigmoid(mg.tensor([-100.0, 0.0]))
    tensor([-100.    ,   -0.6931])
    """
    return ops.log_sigmoid(tensor("logsigmoid", "input", input))
