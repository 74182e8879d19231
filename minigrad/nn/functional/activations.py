"""Activation functions: (…) → (…), each element by itself."""

from minigrad import ops
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import tensor

__all__ = ["silu", "selu", "logsigmoid"]

SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


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


def logsigmoid(input: Tensor) -> Tensor:
    """log σ(x) = min(x, 0) - log(1 + e^-|x|), which doesn't overflow.

    Shape: any; the result has the same.

    Raises:
        TypeError: for anything but a tensor.

    >>> mg.nn.functional.logsigmoid(mg.tensor([-100.0, 0.0]))
    tensor([-100.    ,   -0.6931])
    """
    return ops.log_sigmoid(tensor("logsigmoid", "input", input))
