"""Activations: elementwise functions (and softmax, over one axis), any shape -> the same shape.

With `inplace=True` the result takes the input's place, and the input is returned.
"""

from typing import Any

from minigrad import checks
from minigrad.engine.tensor import Tensor
from minigrad.nn import functional as F
from minigrad.nn.module import Module


class _Inplace(Module):
    def __init__(self, inplace: bool = False):
        self.inplace = inplace

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class ReLU(_Inplace):
    """max(x, 0).

    >>> import minigrad as mg
    >>> mg.nn.ReLU()(mg.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(input, self.inplace)


class SiLU(_Inplace):
    """x · sigmoid(x), also called swish (Elfwing et al. 2017).

    >>> import minigrad as mg
    >>> mg.nn.SiLU()(mg.tensor([0.0])).tolist()
    [0.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.silu(input, self.inplace)


class SELU(_Inplace):
    """1.0507·(x if x > 0 else 1.67326·(eˣ - 1)): keeps mean 0, variance 1 in deep stacks (Klambauer et al. 2017).

    >>> import minigrad as mg
    >>> round(mg.nn.SELU()(mg.tensor([1.0])).item(), 4)
    1.0507
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.selu(input, self.inplace)


class GELU(Module):
    """x · Φ(x), Φ the normal distribution function (Hendrycks & Gimpel 2016).

    Args:
        approximate: "none" computes Φ by erf; "tanh" by ½(1 + tanh(√(2/π)(x + 0.044715x³))).

    >>> import minigrad as mg
    >>> round(mg.nn.GELU()(mg.tensor([1.0])).item(), 4)
    0.8413
    """

    def __init__(self, approximate: str = "none"):
        self.approximate = checks.choice("GELU", "approximate", approximate, ("none", "tanh"))

    def forward(self, input: Tensor) -> Tensor:
        return F.gelu(input, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class LeakyReLU(_Inplace):
    """x if x > 0 else negative_slope · x.

    >>> import minigrad as mg
    >>> mg.nn.LeakyReLU(0.5)(mg.tensor([-1.0, 2.0])).tolist()
    [-0.5, 2.0]
    """

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        super().__init__(inplace)
        self.negative_slope = negative_slope

    def forward(self, input: Tensor) -> Tensor:
        return F.leaky_relu(input, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")


class ELU(_Inplace):
    """x if x > 0 else alpha·(eˣ - 1) (Clevert et al. 2015).

    >>> import minigrad as mg
    >>> mg.nn.ELU()(mg.tensor([0.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        super().__init__(inplace)
        self.alpha = alpha

    def forward(self, input: Tensor) -> Tensor:
        return F.elu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class Softplus(Module):
    """log(1 + e^(beta·x))/beta, and x itself where beta·x > threshold.

    >>> import minigrad as mg
    >>> round(mg.nn.Softplus()(mg.tensor([0.0])).item(), 4)
    0.6931
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0):
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Tensor) -> Tensor:
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Sigmoid(Module):
    """1/(1 + e⁻ˣ).

    >>> import minigrad as mg
    >>> mg.nn.Sigmoid()(mg.tensor([0.0])).tolist()
    [0.5]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.sigmoid(input)


class Tanh(Module):
    """(eˣ - e⁻ˣ)/(eˣ + e⁻ˣ).

    >>> import minigrad as mg
    >>> mg.nn.Tanh()(mg.tensor([0.0])).tolist()
    [0.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.tanh(input)


class Softmax(Module):
    """e^x / Σ e^x over the axis `dim`.

    >>> import minigrad as mg
    >>> mg.nn.Softmax(dim=-1)(mg.zeros(1, 4)).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    def __init__(self, dim: int | None = None):
        self.dim: Any = dim  # None is refused when it is called

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, dim=self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """x - log Σ e^x over the axis `dim`.

    >>> import minigrad as mg
    >>> mg.nn.LogSoftmax(dim=-1)(mg.zeros(1, 1)).tolist()
    [[0.0]]
    """

    def __init__(self, dim: int | None = None):
        self.dim: Any = dim  # None is refused when it is called

    def forward(self, input: Tensor) -> Tensor:
        return F.log_softmax(input, dim=self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
