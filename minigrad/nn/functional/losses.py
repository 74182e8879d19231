"""Losses. x is the prediction, t the target; `reduction` makes one number of the losses: "mean", "sum", or "none"."""

import functools
from collections.abc import Callable

from minigrad import ops
from minigrad.autograd.autocast import is_autocast_enabled
from minigrad.checks import choice
from minigrad.dtypes import DType, promote
from minigrad.engine.tensor import Tensor
from minigrad.functions import gather, log_softmax, mean, sum, where
from minigrad.functions.arguments import _floating, _integer, _same_device, number, tensor
from minigrad.ops.reduce import narrowed, widened

__all__ = ["cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "binary_cross_entropy_with_logits"]
REDUCTIONS = ("mean", "sum", "none")


def _reduce(who: str, loss: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        _floating(who, loss)
        return mean(loss)
    return sum(loss) if reduction == "sum" else loss


# --- classes ----------------------------------------------------------------------------------------------------------
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-Σ over c of w[c]·q[c]·log softmax(x)[c], with q[c] = (1 - ε)·(1 for the target's class, 0 for others) + ε/C.

    Shape: logits (N, C, …) and class numbers (N, …) → losses (N, …), or (C,) and () → (); reduced to (). In place of class numbers,
    targets may be probabilities of the logits' shape, which stand for 1 and 0. Label smoothing: Szegedy et al. 2016, arXiv 1512.00567.

    Args:
        weight: (C,), each class's factor w; 1 by default.
        ignore_index: targets of this class number count for nothing.
        reduction: "mean" divides the losses' sum by the sum of the targets' weights, for probabilities by their number.
        label_smoothing: ε, between 0 and 1.

    Raises:
        ValueError: when the shapes don't fit. TypeError: for booleans. IndexError: for a class number outside 0 … C - 1 (on MLX
            its loss is NaN).

    The operation (minigrad/ops/fused.py):

        @fused(integers=(1,))
        def cross_entropy(x, classes, *, ignore_index, smoothing):
            if (wide := widened(x)) is not x:
                return cross_entropy(wide, classes, ignore_index=ignore_index, smoothing=smoothing).astype(x.dtype)
            logp, counts = log_softmax(x, dim=1), classes != ignore_index
            rows = x.backend.asarray(np.arange(x.shape[0]))
            losses = -getitem(logp, index=(rows, where(counts, classes, 0).long().array))
            if smoothing:
                losses = losses * (1 - smoothing) - sum(logp, dim=(1,), keepdim=False) * (smoothing / x.shape[1])
            return where(counts, losses, 0.0)

    >>> mg.nn.functional.cross_entropy(mg.tensor([[2.0, 0.0], [0.0, 0.0]]), mg.tensor([0, 1]), reduction="none")
    tensor([0.1269, 0.6931])
    """
    who = "cross_entropy"
    tensor(who, "input", input), tensor(who, "target", target), choice(who, "reduction", reduction, REDUCTIONS)
    if weight is not None:
        tensor(who, "weight", weight)
    if not 0 <= number(who, "label_smoothing", label_smoothing) <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must lie in [0, 1], got {label_smoothing}")
    dim = 0 if input.ndim == 1 else 1
    if weight is None and not target.is_floating_point():
        rows, classes, shape = _class_first(who, input, target)
        check_classes(who, classes, rows.shape[1], None, ignore_index)
        rows = rows if rows.is_floating_point() else rows.float()
        losses = ops.cross_entropy(rows, classes, ignore_index=ignore_index, smoothing=label_smoothing)
        losses = marked(losses, classes, rows.shape[1], ignore_index)
        if reduction == "mean":
            return _ratio(losses, (classes != ignore_index).astype(losses.dtype))
        return _reduce(who, losses if reduction == "sum" else losses.reshape(shape), reduction)
    if (wide := widened(input)) is not input:
        floats = [t.dtype for t in (target, weight) if t is not None and t.is_floating_point()]
        weight = None if weight is None else widened(weight)
        loss = cross_entropy(wide, widened(target), weight, ignore_index, reduction, label_smoothing)
        return narrowed(loss, functools.reduce(promote, floats, input.dtype))
    if target.is_floating_point():
        return _soft_cross_entropy(input, target, weight, reduction, label_smoothing)
    logp, n = log_softmax(input, dim), input.shape[dim] if input.ndim else 1
    rows, classes, shape = _class_first(who, logp, target)
    losses, weights = _pick(who, rows, classes, weight, ignore_index)
    if label_smoothing:
        smooth = -sum(rows if weight is None else rows * weight, 1)
        smooth = where(classes != ignore_index, smooth, 0.0)
        losses = losses * (1 - label_smoothing) + smooth * (label_smoothing / n)
    if reduction == "mean":
        return _ratio(losses, weights)
    return _reduce(who, losses if reduction == "sum" else losses.reshape(shape), reduction)


def _soft_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float
) -> Tensor:
    """`cross_entropy` with probabilities as targets."""
    if target.shape != input.shape or not input.ndim:
        raise ValueError(f"cross_entropy: probabilities must have the input's shape {input.shape}, got {target.shape}")
    dim = 0 if input.ndim == 1 else 1
    n = input.shape[dim]
    q = target * (1 - smoothing) + smoothing / max(n, 1)
    if weight is not None:
        _check_weight("cross_entropy", weight, n)
        q = q * weight.reshape([-1 if d == dim else 1 for d in range(input.ndim)])
    losses = -sum(log_softmax(input, dim) * q, dim)
    if reduction == "mean":
        return sum(losses) / (input.numel() / max(n, 1))
    return _reduce("cross_entropy", losses, reduction)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-w[t]·x[t], of log-probabilities x and class numbers t.

    Shape: (N, C, …) and (N, …) → losses (N, …), or (C,) and () → (); reduced to ().

    Args:
        weight: (C,), each class's factor w; 1 by default.
        ignore_index: targets of this class number count for nothing.
        reduction: "mean" divides the losses' sum by the sum of the targets' weights.

    Raises:
        ValueError: when the shapes don't fit. TypeError: when the class numbers aren't whole. IndexError: for a class number
            outside 0 … C - 1 (on MLX its loss is NaN).

    >>> mg.nn.functional.nll_loss(mg.tensor([[-1.0, -2.0]]), mg.tensor([1]))
    tensor(2.)
    """
    who = "nll_loss"
    tensor(who, "input", input), tensor(who, "target", target), choice(who, "reduction", reduction, REDUCTIONS)
    if weight is not None:
        tensor(who, "weight", weight)
    rows, classes, shape = _class_first(who, input, target)
    losses, weights = _pick(who, rows, classes, weight, ignore_index)
    if reduction == "mean":
        return _ratio(losses, weights)
    return sum(losses) if reduction == "sum" else _reduce(who, losses.reshape(shape), reduction)


def _class_first(who: str, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Logits as (rows, C) and class numbers as int64 (rows,), with the shape that a loss without reduction has."""
    _same_device(who, input, target)
    dim = 0 if input.ndim == 1 else 1
    if input.ndim == 0 or target.shape != input.shape[:dim] + input.shape[dim + 1 :]:
        raise ValueError(
            f"{who}: class numbers for an input of shape {input.shape} (classes in dimension {dim}) can't have shape {target.shape}"
        )
    rows = input.permute(*[d for d in range(input.ndim) if d != dim], dim).reshape(-1, input.shape[dim])
    if not target.is_floating_point() and target.dtype != "bool":
        target = target.long()  # a small integer type can't be compared with every ignore_index
    return rows, target.reshape(-1), target.shape


def check_classes(who: str, classes: Tensor, count: int, weight: Tensor | None, ignore_index: int) -> None:
    """Raises when class numbers aren't whole, or, where that can be seen without waiting, outside 0 … count - 1."""
    _integer(ignore_index, "class number to ignore", who)
    if classes.is_floating_point() or classes.dtype == "bool":
        raise TypeError(
            f"{who}: class numbers must be integers, got {classes.dtype.name}; use .long(), or probabilities of the input's shape"
        )
    if weight is not None:
        _check_weight(who, weight, count)
    if classes.backend.eager:
        numbers = classes.numpy()
        numbers = numbers[numbers != ignore_index]
        if numbers.size and (numbers.max() >= count or numbers.min() < 0):
            raise IndexError(
                f"{who}: a class number lies outside 0 … {count - 1}: they run from {numbers.min()} to {numbers.max()}"
            )


def marked(losses: Tensor, classes: Tensor, count: int, ignore_index: int) -> Tensor:
    """The losses, NaN where a class number lies outside 0 … count - 1 and that couldn't be seen without waiting."""
    if classes.backend.eager:
        return losses
    known = ((classes >= 0) & (classes < count)) | (classes == ignore_index)
    return where(known, losses, float("nan"))


def _check_weight(who: str, weight: Tensor, count: int) -> None:
    if weight.shape != (count,):
        raise ValueError(
            f"{who}: the weight of the classes has shape {weight.shape}, expected ({count},): one number a class"
        )


def _pick(who: str, rows: Tensor, classes: Tensor, weight: Tensor | None, ignore_index: int) -> tuple[Tensor, Tensor]:
    """(-w·log p at the class, w) for every row; both 0 where the class is ignored."""
    check_classes(who, classes, rows.shape[1], weight, ignore_index)
    counts = classes != ignore_index
    safe = where(counts, classes, 0)
    picked = gather(rows, 1, safe.reshape(-1, 1)).reshape(-1)
    weights = counts.astype(rows.dtype) if weight is None else where(counts, weight[safe], 0.0)
    return marked(where(counts, -picked, 0.0) * weights, classes, rows.shape[1], ignore_index), weights


def _ratio(losses: Tensor, weights: Tensor) -> Tensor:
    """Σ losses / Σ weights; 16 bits would hold neither sum."""
    return narrowed(sum(widened(losses)) / sum(widened(weights)), losses.dtype)


# --- pairs of numbers -------------------------------------------------------------------------------------------------
def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """(x - t)².

    Shape: (…), (…) → losses (…), reduced to ().

    Raises:
        ValueError: when the shapes differ.

    >>> mg.nn.functional.mse_loss(mg.tensor([1.0, 2.0]), mg.tensor([1.0, 4.0]))
    tensor(2.)
    """
    _pairwise("mse_loss", input, target, reduction)
    return _in_float32(_mse, reduction, input, target)


def _mse(reduction: str, x: Tensor, t: Tensor) -> Tensor:
    return _reduce("mse_loss", ops.square(x - t), reduction)


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """|x - t|.

    Shape: (…), (…) → losses (…), reduced to ().

    Raises:
        ValueError: when the shapes differ.

    >>> mg.nn.functional.l1_loss(mg.tensor([1.0, 2.0]), mg.tensor([1.0, 4.0]))
    tensor(1.)
    """
    _pairwise("l1_loss", input, target, reduction)
    return _in_float32(_l1, reduction, input, target)


def _l1(reduction: str, x: Tensor, t: Tensor) -> Tensor:
    return _reduce("l1_loss", ops.abs(x - t), reduction)


def smooth_l1_loss(input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """½·d²/beta where |d| < beta, else |d| - ½·beta, for d = x - t. Girshick 2015, arXiv 1504.08083.

    Shape: (…), (…) → losses (…), reduced to ().

    Raises:
        ValueError: when the shapes differ, or beta is negative.

    >>> mg.nn.functional.smooth_l1_loss(mg.tensor([3.0, 0.5]), mg.tensor([0.0, 0.0]), reduction="none")
    tensor([2.5  , 0.125])
    """
    _pairwise("smooth_l1_loss", input, target, reduction)
    if number("smooth_l1_loss", "beta", beta) < 0:
        raise ValueError(f"smooth_l1_loss: beta must not be negative, got {beta}")

    def smooth_l1(reduction: str, x: Tensor, t: Tensor) -> Tensor:
        losses = ops.smooth_l1(x - t, beta=beta) if beta else ops.abs(x - t)
        return _reduce("smooth_l1_loss", losses, reduction)

    return _in_float32(smooth_l1, reduction, input, target)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """-w·(p·t·log σ(x) + (1 - t)·log(1 - σ(x))), which doesn't overflow.

    Shape: (…), (…) → losses (…), reduced to ().

    Args:
        weight, pos_weight: the factors w and p, which are broadcast to x; 1 by default.

    Raises:
        ValueError: when the shapes don't fit.

    >>> mg.nn.functional.binary_cross_entropy_with_logits(mg.tensor([0.0, 2.0]), mg.tensor([1.0, 1.0]), reduction="none")
    tensor([0.6931, 0.1269])
    """
    who = "binary_cross_entropy_with_logits"
    _pairwise(who, input, target, reduction)
    for name, factor in (("weight", weight), ("pos_weight", pos_weight)):
        if factor is not None:
            tensor(who, name, factor)
    return _in_float32(_binary, reduction, input, target, weight, pos_weight)


def _binary(reduction: str, x: Tensor, t: Tensor, weight: Tensor | None, pos_weight: Tensor | None) -> Tensor:
    losses = ops.bce_with_logits(x, t) if pos_weight is None else ops.weighted_bce_with_logits(x, t, pos_weight)
    losses = losses if weight is None else losses * weight
    return _reduce("binary_cross_entropy_with_logits", losses, reduction)


def _pairwise(who: str, input: Tensor, target: Tensor, reduction: str) -> None:
    choice(who, "reduction", reduction, REDUCTIONS)
    if tensor(who, "input", input).shape != tensor(who, "target", target).shape:
        raise ValueError(f"{who}: input {input.shape} and target {target.shape} must have the same shape")
    _same_device(who, input, target)


def _in_float32(loss: Callable[..., Tensor], reduction: str, *tensors: Tensor | None) -> Tensor:
    """loss(reduction, *tensors), of 16-bit tensors computed in float32 and rounded once: a mean of many has gradients so small that
    16 bits don't hold what they are computed from."""
    if is_autocast_enabled() or widened(tensors[0]) is tensors[0]:
        return loss(reduction, *tensors)
    kinds: list[DType] = [t.dtype for t in tensors if t is not None]
    y = loss(reduction, *(None if t is None else widened(t) for t in tensors))
    return y.astype(functools.reduce(promote, kinds))
