"""Losses as modules. `reduction` is "mean", "sum" or "none"; x is the prediction, t the target."""

from minigrad import checks
from minigrad.engine.tensor import Tensor
from minigrad.nn import functional as F
from minigrad.nn.module import Buffer, Module


class _Loss(Module):
    def __init__(self, reduction: str):
        self.reduction = checks.choice(type(self).__name__, "reduction", reduction, ("mean", "sum", "none"))


class CrossEntropyLoss(_Loss):
    """-log softmax(x)[t]: logits (N, C) or (N, C, d…) and class indices (N,) or (N, d…), or probabilities like x.

    Args:
        weight: (C,), each class's factor; "mean" then divides by the sum of the weights that counted.
        ignore_index: targets of this value count for nothing.
        label_smoothing: ε in 0…1; the target is then (1 - ε)·t + ε/C (Szegedy et al. 2016).

    >>> import minigrad as mg
    >>> round(mg.nn.CrossEntropyLoss()(mg.zeros(2, 4), mg.tensor([0, 3])).item(), 4)
    1.3863
    """

    def __init__(
        self, weight=None, *, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
    ):  # fmt: skip
        super().__init__(reduction)
        self.weight = None if weight is None else Buffer(weight)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            input, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )  # fmt: skip


class NLLLoss(_Loss):
    """-x[t] for log-probabilities x: (N, C) or (N, C, d…) with class indices (N,) or (N, d…).

    >>> import minigrad as mg
    >>> mg.nn.NLLLoss()(mg.tensor([[-1.0, -2.0]]), mg.tensor([1])).item()
    2.0
    """

    def __init__(self, weight=None, *, ignore_index: int = -100, reduction: str = "mean"):
        super().__init__(reduction)
        self.weight = None if weight is None else Buffer(weight)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(input, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class MSELoss(_Loss):
    """(x - t)².

    >>> import minigrad as mg
    >>> mg.nn.MSELoss()(mg.tensor([1.0, 2.0]), mg.tensor([1.0, 4.0])).item()
    2.0
    """

    def __init__(self, *, reduction: str = "mean"):
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """|x - t|.

    >>> import minigrad as mg
    >>> mg.nn.L1Loss()(mg.tensor([1.0, 2.0]), mg.tensor([1.0, 4.0])).item()
    1.0
    """

    def __init__(self, *, reduction: str = "mean"):
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """(x - t)²/(2·beta) where |x - t| < beta, else |x - t| - beta/2 (Girshick 2015).

    >>> import minigrad as mg
    >>> mg.nn.SmoothL1Loss()(mg.tensor([3.0]), mg.tensor([0.0])).item()
    2.5
    """

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0):
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class BCEWithLogitsLoss(_Loss):
    """-(t·log σ(x) + (1 - t)·log(1 - σ(x))), computed without overflow; x and t of one shape.

    Args:
        weight: a factor for each element, broadcast to x.
        pos_weight: a factor for the term with t, broadcast to x.

    >>> import minigrad as mg
    >>> round(mg.nn.BCEWithLogitsLoss()(mg.zeros(3), mg.ones(3)).item(), 4)
    0.6931
    """

    def __init__(self, weight=None, *, reduction: str = "mean", pos_weight=None):
        super().__init__(reduction)
        self.weight = None if weight is None else Buffer(weight)
        self.pos_weight = None if pos_weight is None else Buffer(pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            input, target, weight=self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )
