"""Normalisation: all compute (x - mean)/√(var + eps) · weight + bias and differ in what the mean is taken over."""

from typing import Any

from minigrad import checks
from minigrad.engine.inplace import assign
from minigrad.engine.tensor import Tensor
from minigrad.nn import functional as F
from minigrad.nn import init
from minigrad.nn.module import Buffer, Module, Parameter, zeros


class _Norm(Module):
    """Weight of ones and bias of zeros, or None."""

    def _make(self, shape: tuple[int, ...], affine: bool, bias: bool, device, dtype) -> None:
        affine, bias = (checks.flag(type(self).__name__, *each) for each in (("affine", affine), ("bias", bias)))
        self.weight = Parameter(zeros(*shape, dtype=dtype, device=device)) if affine else None
        self.bias = Parameter(zeros(*shape, dtype=dtype, device=device)) if affine and bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)


class LayerNorm(_Norm):
    """Normalises over the last axes, whose sizes `normalized_shape` are, each row by itself (Ba et al. 2016).

    (…, *normalized_shape) -> the same. `weight` and `bias` have `normalized_shape`.

    >>> import minigrad as mg
    >>> x = mg.nn.LayerNorm(4)(mg.tensor([[1.0, 2.0, 3.0, 4.0]]))
    >>> round(x.mean().item(), 6), round(x.var(correction=0).item(), 3)
    (0.0, 1.0)
    """

    def __init__(
        self, normalized_shape, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True, device=None,
        dtype=None,
    ):  # fmt: skip
        self.normalized_shape = checks.sizes("LayerNorm", "normalized_shape", normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self._make(self.normalized_shape, elementwise_affine, bias, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        bias = self.bias is not None
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, bias={bias}"


class GroupNorm(_Norm):
    """Normalises over each of `num_groups` groups of channels together with the axes behind them (Wu & He 2018).

    (N, C, …) -> the same. `weight` and `bias` are (C,).

    >>> import minigrad as mg
    >>> mg.nn.GroupNorm(2, 6)(mg.randn(3, 6, 4, 4)).shape
    (3, 6, 4, 4)
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, device=None, dtype=None,
        *, bias: bool = True,
    ):  # fmt: skip
        num_groups = checks.whole("GroupNorm", "num_groups", num_groups)
        num_channels = checks.whole("GroupNorm", "num_channels", num_channels)
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(f"GroupNorm: num_channels={num_channels} must be divisible by num_groups={num_groups}")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self._make((num_channels,), affine, bias, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        bias = self.bias is not None
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, bias={bias}"


class _BatchNorm(_Norm):
    ranks: tuple[int, ...]
    running_mean: Any  # these three are Buffers, or None without running statistics
    running_var: Any
    num_batches_tracked: Any

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device=None, dtype=None, *, bias: bool = True,
    ):  # fmt: skip
        num_features = checks.whole(type(self).__name__, "num_features", num_features)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self._make((num_features,), affine, bias, device, dtype)
        self.running_mean = self.running_var = self.num_batches_tracked = None
        if track_running_stats:
            self.running_mean = Buffer(zeros(num_features, dtype=dtype, device=device))
            self.running_var = Buffer(zeros(num_features, dtype=dtype, device=device))
            self.num_batches_tracked = Buffer(Tensor(0, dtype="int64", device=device))
            self.reset_running_stats()

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, no batches seen."""
        if self.track_running_stats and self.running_mean is not None:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            init.zeros_(self.num_batches_tracked)

    def forward(self, input: Tensor) -> Tensor:
        if checks.tensor(type(self).__name__, "input", input).ndim not in self.ranks:
            raise ValueError(
                f"{type(self).__name__} takes {' or '.join(map(str, self.ranks))} dimensions, got shape {input.shape}"
            )
        momentum = 0.0 if self.momentum is None else self.momentum
        moving = self.training and self.track_running_stats
        if moving and self.num_batches_tracked is not None:
            assign(self.num_batches_tracked, (self.num_batches_tracked + 1).array)
            if self.momentum is None:  # the plain average of all batches
                wide = self.running_mean is not None and self.running_mean.dtype == "float64"
                momentum = 1 / self.num_batches_tracked.astype("float64" if wide else "float32")
        mean, var = self.running_mean, self.running_var
        use_batch = self.training or mean is None and var is None
        if (
            self.training and not self.track_running_stats
        ):  # those that are there stay as they are, and serve in evaluation
            mean = var = None
        return F.batch_norm(input, mean, var, self.weight, self.bias, use_batch, momentum, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """`BatchNorm2d` for (N, C) and (N, C, L)."""

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Normalises each channel over the batch and the map (Ioffe & Szegedy 2015): (N, C, H, W) -> the same.

    In training with the batch's mean and biased variance; they also move the running ones (with the unbiased variance):
    running = (1 - momentum)·running + momentum·batch. In evaluation with the running ones.

    Args:
        momentum: a number, or None for the plain average over all batches seen.
        affine: whether there are `weight` and `bias`, each (C,).
        track_running_stats: if False, the layer has no running statistics, and the batch's own are used in evaluation too. Set to
            False later, training leaves the running ones as they are, and evaluation uses them.

    >>> import minigrad as mg
    >>> layer = mg.nn.BatchNorm2d(3)
    >>> layer(mg.randn(4, 3, 8, 8)).shape, layer.num_batches_tracked.item()
    ((4, 3, 8, 8), 1)
    """

    ranks = (4,)
