"""Normalisation."""

import math
from collections.abc import Sequence

from minigrad import ops
from minigrad.autograd import no_grad
from minigrad.dtypes import DType, promote
from minigrad.engine.inplace import assign
from minigrad.engine.tensor import Tensor
from minigrad.functions import amax, amin, sum, where
from minigrad.functions.arguments import _floating, _integer, _same_device, number, tensor, tensor_or_number
from minigrad.ops.reduce import narrowed, widened

__all__ = ["group_norm", "batch_norm", "normalize"]


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / √(var + eps)·weight + bias, mean and (biased) variance over each group of channels of each sample: (N, C, …) →
    (N, C, …). Wu & He 2018, arXiv 1803.08494.

    Args:
        num_groups: how many groups the C channels are cut into.
        weight, bias: (C,), a number for each channel.

    Raises:
        ValueError: when the shapes don't fit. TypeError: when the input isn't floating point.

    >>> mg.nn.functional.group_norm(mg.tensor([[1.0, 3.0, 4.0, 8.0]]), 2)
    tensor([[-1.,  1., -1.,  1.]])
    """
    shape = tensor("group_norm", "input", input).shape
    groups = _integer(num_groups, "number of groups", "group_norm")
    if len(shape) < 2 or groups < 1 or shape[1] % groups:
        raise ValueError(f"group_norm: the channels of shape {shape} can't be split into {groups} equal groups")
    _floating("group_norm", input)
    _check_channels("group_norm", input, weight=weight, bias=bias)
    inner = input.numel() // (shape[0] * groups) if input.numel() else 0
    grouped = ops.reshape(widened(input), shape=(shape[0], groups, inner))
    y = ops.reshape(ops.layer_norm(grouped, None, None, axes=(2,), eps=number("group_norm", "eps", eps)), shape=shape)
    return _affine(y, weight, bias, input.dtype)


def _check_channels(who: str, input: Tensor, **parameters: Tensor | None) -> None:
    """What has one number a channel must be a tensor of so many, on the input's device."""
    for name, p in parameters.items():
        if p is not None:
            if tensor(who, name, p).numel() != input.shape[1]:
                raise ValueError(
                    f"{who}: {name} has shape {p.shape}, expected ({input.shape[1]},): one number a channel"
                )
            _same_device(who, input, p)


def _affine(y: Tensor, weight: Tensor | None, bias: Tensor | None, dtype: DType) -> Tensor:
    """weight·y + bias, one number a channel, of an input of `dtype` that was widened."""
    shape = (1, y.shape[1]) + (1,) * (y.ndim - 2)
    for p in (weight, bias):
        dtype = dtype if p is None else promote(dtype, p.dtype)
    y = y if weight is None else y * ops.reshape(widened(weight), shape=shape)
    return narrowed(y if bias is None else y + ops.reshape(widened(bias), shape=shape), dtype)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / √(var + eps)·weight + bias, one mean and variance for each channel: (N, C, …) → (N, C, …). Ioffe & Szegedy
    2015, arXiv 1502.03167.

    Args:
        running_mean, running_var: (C,), the statistics that are used in evaluation; without them the batch's are. In training
            their data become (1 - momentum)·old + momentum·batch, with the unbiased variance.
        weight, bias: (C,), a number for each channel.
        training: whether the batch's statistics are used.

    Raises:
        ValueError: when the shapes don't fit, or training has a single value a channel.

    >>> mg.nn.functional.batch_norm(mg.tensor([[1.0], [3.0]]), None, None, training=True)
    tensor([[-1.],
            [ 1.]])
    """
    if tensor("batch_norm", "input", input).ndim < 2:
        if input.numel():
            raise ValueError(f"batch_norm: expected (N, C, …), got shape {input.shape}")
        return ops.clone(input)
    _check_channels("batch_norm", input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    eps = number("batch_norm", "eps", eps)
    momentum = tensor_or_number("batch_norm", "momentum", momentum)
    if (running_mean is None) != (running_var is None):
        raise ValueError("batch_norm: give both of running_mean and running_var, or None for both")
    dims, dtype, input = (0, *range(2, input.ndim)), input.dtype, widened(input)
    count = math.prod(input.shape[d] for d in dims)
    if training or running_mean is None or running_var is None:
        if training and count == 1:
            raise ValueError(
                f"batch_norm: training needs more than one value a channel, got shape {input.shape}; use eval() or a larger batch"
            )
        _floating("batch_norm", input)
        m = ops.mean(input, dim=dims, keepdim=True)
        centred = input - m
        v = ops.mean(centred * centred, dim=dims, keepdim=True)
        if running_mean is not None and running_var is not None and count:
            with no_grad():
                for running, batch in ((running_mean, m), (running_var, v * (count / (count - 1)))):
                    assign(
                        running, (running * (1 - momentum) + batch.reshape(-1).astype(running.dtype) * momentum).array
                    )
    else:
        shape = (1, input.shape[1]) + (1,) * (input.ndim - 2)
        centred, v = input - ops.reshape(running_mean, shape=shape), ops.reshape(running_var, shape=shape)
    return _affine(centred * ops.rsqrt(v + eps), weight, bias, dtype)


def normalize(input: Tensor, p: float = 2.0, dim: int | Sequence[int] = 1, eps: float = 1e-12) -> Tensor:
    """x / max(‖x‖ₚ, eps) along `dim`: (…) → (…). 16-bit numbers are computed in float32.

    Where the norm is below eps its gradient is 0, so that x's is g/eps.

    Args:
        p: ‖x‖ₚ = (Σ |x|ᵖ)^(1/p); the largest or smallest |x| for ∞ and -∞, the number of those that aren't 0 for 0.

    Raises:
        IndexError: when there is no such dimension.

    >>> mg.nn.functional.normalize(mg.tensor([[3.0, 4.0]]))
    tensor([[0.6, 0.8]])
    """
    wide = widened(tensor("normalize", "input", input))
    return narrowed(
        wide / ops.clamp_min(_norm(wide, number("normalize", "p", p), dim), number("normalize", "eps", eps)),
        input.dtype,
    )


def _norm(x: Tensor, p: float, dim: int | Sequence[int]) -> Tensor:
    """‖x‖_p along `dim`, which stays with length 1. Where x is 0 its derivatives are 0, of every order."""
    if p in (math.inf, -math.inf):
        return (amax if p > 0 else amin)(ops.abs(x), dim, True)
    if p == 0:
        return sum((x != 0).astype(x.dtype), dim, True)
    if p == 1:
        return sum(ops.abs(x), dim, True)
    total = sum(ops.square(x) if p == 2 else _root(ops.abs(x), p), dim, True)
    return _root(total, 1 / p)


def _root(x: Tensor, exponent: float) -> Tensor:
    """x ** exponent for x ≥ 0, with 0 and no gradient at 0, where for exponents below 1 the slope is infinite."""
    if exponent < 0:
        return x**exponent
    nothing = x == 0
    return where(nothing, 0.0, where(nothing, 1.0, x) ** exponent)
