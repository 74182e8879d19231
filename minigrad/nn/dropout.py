"""Layers that drop at random in training and do nothing in evaluation."""

from minigrad import checks
from minigrad.engine.tensor import Tensor
from minigrad.nn import functional as F
from minigrad.nn.module import Module


class Dropout(Module):
    """Sets each element to 0 with probability p and multiplies the others by 1/(1 - p) (Srivastava et al. 2014).

    With `inplace=True` the result takes the input's place, and the input is returned.

    >>> import minigrad as mg
    >>> mg.nn.Dropout(0.5).eval()(mg.ones(3)).tolist()
    [1.0, 1.0, 1.0]
    """

    def __init__(self, p: float = 0.5, inplace: bool = False):
        if not 0 <= checks.number("Dropout", "p", p) <= 1:
            raise ValueError(f"Dropout: p must lie between 0 and 1, got {p}")
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class DropPath(Module):
    """Stochastic depth (Huang et al. 2016): sets each *sample* to 0 with probability p, the others times 1/(1 - p).

    It stands at the end of a residual branch: x + drop_path(branch(x)). Any shape with the batch first.

    >>> import minigrad as mg
    >>> mg.nn.DropPath(0.1).eval()(mg.ones(2, 2)).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """

    def __init__(self, drop_prob: float = 0.0):
        if not 0 <= checks.number("DropPath", "drop_prob", drop_prob) <= 1:
            raise ValueError(f"DropPath: drop_prob must lie between 0 and 1, got {drop_prob}")
        self.drop_prob = drop_prob

    def forward(self, input: Tensor) -> Tensor:
        return F.drop_path(input, self.drop_prob, self.training)

    def extra_repr(self) -> str:
        return f"drop_prob={self.drop_prob:0.3f}"
