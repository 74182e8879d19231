"""Linear, Identity, Flatten."""

import math

from minigrad import checks
from minigrad.engine.tensor import Tensor
from minigrad.nn import functional as F
from minigrad.nn import init
from minigrad.nn.module import Module, Parameter, zeros


class Linear(Module):
    """y = x Wᵀ + b over the last axis: (…, in_features) -> (…, out_features).

    `weight` is (out_features, in_features), `bias` (out_features,); both start uniform in ±1/√in_features.

    >>> import minigrad as mg
    >>> mg.nn.Linear(3, 5)(mg.zeros(2, 4, 3)).shape
    (2, 4, 5)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, device=None, dtype=None):
        in_features = checks.whole("Linear", "in_features", in_features)
        out_features = checks.whole("Linear", "out_features", out_features)
        bias = checks.flag("Linear", "bias", bias)
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(zeros(out_features, in_features, dtype=dtype, device=device))
        self.bias = Parameter(zeros(out_features, dtype=dtype, device=device)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """PyTorch's start: He et al. 2015 with a = √5, that is uniform in ±1/√in_features."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        init.uniform_bias_(self.bias, self.weight)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Identity(Module):
    """y = x. It takes any arguments and ignores them, so that it can stand in for another layer.

    >>> import minigrad as mg
    >>> mg.nn.Identity()(mg.ones(2)).tolist()
    [1.0, 1.0]
    """

    def __init__(self, *args, **kwargs):
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input


class Flatten(Module):
    """Joins the axes from `start_dim` to `end_dim`: (N, C, H, W) -> (N, C·H·W).

    >>> import minigrad as mg
    >>> mg.nn.Flatten()(mg.zeros(2, 3, 4)).shape
    (2, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        return checks.tensor("Flatten", "input", input).flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
