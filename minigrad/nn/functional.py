"""The functions behind the layers, under PyTorch's names and signatures."""

import math
from types import FunctionType as _FunctionType
from typing import TYPE_CHECKING as _TYPE_CHECKING

import numpy as np

from minigrad import ops as _ops
from minigrad import random
from minigrad.autograd import no_grad
from minigrad.autograd.autocast import is_autocast_enabled as _is_autocast_enabled
from minigrad.autograd.guard import guarded as _guarded
from minigrad.dtypes import plain as _plain
from minigrad.dtypes import promote as _promote
from minigrad.engine.tensor import Tensor, _tensor
from minigrad.functions import (  # noqa: F401  (those not used below are public here as in PyTorch)
    adaptive_avg_pool2d,
    amax,
    amin,
    avg_pool2d,
    conv1d,
    conv2d,
    conv_transpose2d,
    gather,
    interpolate,
    linear,
    log_softmax,
    max_pool2d,
    mean,
    one_hot,
    relu,
    rsqrt,
    sigmoid,
    softmax,
    sum,
    tanh,
    where,
)
from minigrad.functions import index as _index
from minigrad.functions import pool as _pool
from minigrad.functions.attention import check as _check_attention
from minigrad.functions.attention import scaled_dot_product_attention as _attention
from minigrad.functions.reduce import layer_norm as _layer_norm
from minigrad.ops.reduce import narrowed as _narrowed
from minigrad.ops.reduce import widened as _widened

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


# --- activations ------------------------------------------------------------------------------------------------------
def gelu(input, approximate="none"):
    """x·Φ(x), exactly; with approximate="tanh" 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))). arXiv 1606.08415."""
    if approximate == "none":
        return _ops.gelu(input)
    if approximate == "tanh":
        return _ops.tanh_gelu(input)
    raise ValueError(f"gelu: approximate is 'none' or 'tanh', not {approximate!r}")


def silu(input):
    """x·σ(x), also called swish. arXiv 1702.03118."""
    return _ops.silu(input)


def leaky_relu(input, negative_slope=0.01):
    """x where x > 0, negative_slope·x elsewhere."""
    return _ops.leaky_relu(input, slope=negative_slope)


def elu(input, alpha=1.0):
    """x where x > 0, alpha·(eˣ - 1) elsewhere. arXiv 1511.07289."""
    return _ops.elu(input, alpha=alpha)


def selu(input):
    """λ·elu(x, α) with the constants of Klambauer et al. 2017, arXiv 1706.02515."""
    return elu(input, _SELU_ALPHA) * _SELU_SCALE


def softplus(input, beta=1.0, threshold=20.0):
    """log(1 + e^(beta·x)) / beta, x itself where beta·x > threshold."""
    return _ops.softplus(input, beta=beta, threshold=threshold)


def logsigmoid(input):
    """log σ(x), computed without overflow."""
    return _ops.log_sigmoid(input)


# --- normalisation ----------------------------------------------------------------------------------------------------
def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    """(x - mean) / √(var + eps)·weight + bias over the last dimensions, `normalized_shape`. arXiv 1607.06450."""
    shape = tuple(normalized_shape) if isinstance(normalized_shape, tuple | list) else (normalized_shape,)
    if not shape or input.shape[input.ndim - len(shape) :] != shape or len(shape) > input.ndim:
        raise ValueError(f"layer_norm: the input of shape {input.shape} must end in normalized_shape {shape}")
    for name, p in (("weight", weight), ("bias", bias)):
        if p is not None and p.shape != shape:
            raise ValueError(f"layer_norm: {name} has shape {p.shape}, expected normalized_shape {shape}")
    return _layer_norm(input, weight, bias, axes=tuple(range(input.ndim - len(shape), input.ndim)), eps=eps)


def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    """Normalises each sample over groups of channels: (N, C, …). Wu & He 2018, arXiv 1803.08494."""
    if input.ndim < 2 or num_groups < 1 or input.shape[1] % num_groups:
        raise ValueError(
            f"group_norm: the channels of shape {input.shape} can't be split into {num_groups} equal groups"
        )
    n, wide = input.shape[0], _widened(input)
    grouped = wide.reshape(n, num_groups, -1) if input.numel() else wide.reshape(n, num_groups, 0)
    y = _layer_norm(grouped, None, None, axes=(2,), eps=eps).reshape(input.shape)
    return _affine(y, weight, bias, input.dtype)


def _affine(y, weight, bias, dtype):
    """weight·y + bias, one number a channel, of an input of `dtype` that was widened."""
    shape = (1, -1) + (1,) * (y.ndim - 2)
    for p in (weight, bias):
        dtype = dtype if p is None else _promote(dtype, p.dtype)
    y = y if weight is None else y * _widened(weight).reshape(shape)
    return _narrowed(y if bias is None else y + _widened(bias).reshape(shape), dtype)


def batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """Normalises each channel of (N, C, …) by the batch's mean and variance in training, by the running ones otherwise.

    In training the running tensors' data become (1 - momentum)·old + momentum·batch (the variance unbiased). Ioffe &
    Szegedy 2015, arXiv 1502.03167.
    """
    if input.ndim < 2:
        if input.numel():
            raise ValueError(f"batch_norm: expected (N, C, …), got shape {input.shape}")
        return _ops.clone(input)
    if (running_mean is None) != (running_var is None):
        raise ValueError("batch_norm: give both of running_mean and running_var, or None for both")
    dims, dtype, input = (0, *range(2, input.ndim)), input.dtype, _widened(input)
    count = math.prod(input.shape[d] for d in dims)
    if training or running_mean is None:
        if training and count == 1:
            raise ValueError(
                f"batch_norm: training needs more than one value a channel, got shape {input.shape}; use eval() or a larger batch"
            )
        m = mean(input, dims, True)
        centred = input - m
        v = mean(centred * centred, dims, True)
        if running_mean is not None and count:
            with no_grad():
                for running, batch in ((running_mean, m), (running_var, v * (count / (count - 1)))):
                    running.data = (running * (1 - momentum) + batch.reshape(-1).astype(running.dtype) * momentum).data
    else:
        shape = (1, -1) + (1,) * (input.ndim - 2)
        centred, v = input - running_mean.reshape(shape), running_var.reshape(shape)
    return _affine(centred * rsqrt(v + eps), weight, bias, dtype)


# --- random ones ------------------------------------------------------------------------------------------------------
def _keep_mask(input, shape, p, name):
    """1/(1-p) with probability 1-p, else 0, in the input's dtype."""
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: the probability must lie in [0, 1], got {p}")
    xp, p = input.backend, _plain(p)
    if p == 1:
        return _tensor(xp.zeros(shape, dtype=input.data.dtype), xp)
    u = random.default.device_uniform(xp, shape, "float32", [input.data])
    return _tensor(xp.astype(u >= p, input.dtype.name) * (1 / (1 - p)), xp)


def dropout(input, p=0.5, training=True):
    """Zeroes elements with probability p and scales the rest by 1/(1-p); the identity when not training. arXiv 1207.0580."""
    if not training or p == 0:
        return input.to()  # itself
    return input * _keep_mask(input, input.shape, p, "dropout")


def drop_path(input, p=0.0, training=True):
    """Zeroes whole samples with probability p and scales the rest by 1/(1-p): stochastic depth for a residual branch.
    Huang et al. 2016, arXiv 1603.09382."""
    if not training or p == 0:
        return input.to()
    return input * _keep_mask(input, (input.shape[0],) + (1,) * (input.ndim - 1), p, "drop_path")


def scaled_dot_product_attention(
    query,
    key,
    value,
    attn_mask=None,
    dropout_p=0.0,
    is_causal=False,
    scale=None,
    enable_gqa=False,
    *,
    need_weights=False,
):
    """softmax(q·kᵀ·scale + mask)·v; (…, L, E), (…, S, E), (…, S, D) → (…, L, D). arXiv 1706.03762. Outside of `autocast` 16-bit
    tensors are computed with in float32.

    A boolean mask is true where a key may be seen; another is added to the logits. `dropout_p` drops attention weights
    (call it with 0 in evaluation). With enable_gqa the heads (third dimension from the end) of key and value are repeated to
    the query's number. With need_weights the result is (output, weights of shape (…, L, S)).
    """
    if query.ndim < 2 or query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ValueError(
            f"scaled_dot_product_attention: query {query.shape}, key {key.shape} and value {value.shape} don't fit; "
            "query and key must end in the same size, key and value have the same length"
        )
    if attn_mask is not None and attn_mask.dtype != "bool" and not attn_mask.is_floating_point():
        raise TypeError(
            f"scaled_dot_product_attention: attn_mask must be boolean (true where a key is seen) or floating point (added to the "
            f"logits), got {attn_mask.dtype.name}; compare it, as in mask != 0"
        )
    if is_causal and attn_mask is not None:
        raise ValueError("scaled_dot_product_attention: give attn_mask or is_causal, not both")
    if enable_gqa:
        key, value = (_repeated(t, query.shape[-3]) for t in (key, value))
    if _widened(query) is not query and not _is_autocast_enabled():  # logits may be larger than float16 holds
        q, k, v = _widened(query), _widened(key), _widened(value)
        mask = None if attn_mask is None else _widened(attn_mask)
        result = scaled_dot_product_attention(q, k, v, mask, dropout_p, is_causal, scale, need_weights=need_weights)
        return tuple(t.astype(query.dtype) for t in result) if need_weights else result.astype(query.dtype)
    if attn_mask is None and dropout_p == 0 and not is_causal and not need_weights:
        _check_attention(query, key, value)
        return _ops.attention(query, key, value, scale=1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    mask = None
    if dropout_p > 0:
        lead = np.broadcast_shapes(query.shape[:-2], key.shape[:-2])
        shape = (*lead, query.shape[-2], key.shape[-2])
        mask = _keep_mask(query, shape, dropout_p, "scaled_dot_product_attention")
    out, weights = _attention(query, key, value, attn_mask, mask, is_causal, scale)
    return (out, weights) if need_weights else out


def _repeated(t, heads):
    """(…, H, L, E) with every head repeated `heads`/H times."""
    if t.ndim < 3 or heads % t.shape[-3]:
        raise ValueError(
            f"scaled_dot_product_attention: {heads} query heads are no multiple of those of shape {t.shape}"
        )
    *lead, own, length, size = t.shape
    return t.unsqueeze(-3).expand(*lead, own, heads // own, length, size).reshape(*lead, heads, length, size)


# --- lookup and padding -----------------------------------------------------------------------------------------------
def embedding(input, weight, padding_idx=None):
    """Rows of weight (V, D) at integer positions (…) → (…, D); row `padding_idx` gets no gradient."""
    return _index.embedding(input, weight, padding_idx)


def pad(input, pad, mode="constant", value=None):
    """Pads the last dimensions by (before, after) pairs, the last dimension first; negative widths crop.

    `mode` says with what: "constant" (`value`, 0 by default), "replicate" (the border), "reflect" (mirrored at the border),
    "circular" (from the other side).
    """
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ValueError(
            f"pad: {len(pad)} widths for {input.ndim} dimensions; give a (before, after) pair for each of the last ones"
        )
    widths = [(0, 0)] * (input.ndim - len(pad) // 2) + [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]
    if mode != "constant":
        return _pad_from(input, widths, mode)
    for dim, (before, after) in enumerate(widths):
        if min(before, after) < 0:
            cut = max(-before, 0)
            input = _index.narrow(input, dim, cut, input.shape[dim] - cut - max(-after, 0))
    widths = [(max(before, 0), max(after, 0)) for before, after in widths]
    if not any(map(any, widths)):
        return _ops.clone(input)
    out = _ops.pad_zeros(input, widths=tuple(widths))
    if value:
        xp = input.backend
        inside = _tensor(xp.pad(xp.ones(input.shape, dtype=xp.dtype("bool")), tuple(widths)), xp)
        out = where(inside, out, value if input.is_floating_point() else int(value))
    return out


def _pad_from(input, widths, mode):
    """`pad` with the tensor's own elements: each dimension read at the places that its padding stands for."""
    if mode not in ("replicate", "reflect", "circular"):
        raise ValueError(f"pad: mode is 'constant', 'replicate', 'reflect' or 'circular', not {mode!r}")
    for dim, (before, after) in enumerate(widths):
        if not (before or after):
            continue
        n = input.shape[dim]
        most = {"reflect": n - 1, "circular": n}.get(mode, math.inf)
        if not n or max(before, after) > most or n + before + after < 0:
            raise ValueError(
                f"pad: mode {mode!r} can't pad dimension {dim} of shape {input.shape} by {(before, after)}"
            )
        grow, places = (max(before, 0), max(after, 0)), np.arange(n)
        if mode == "circular":  # goes round what is left after cropping; the others see the whole
            places = np.pad(places[max(-before, 0) : n - max(-after, 0)], grow, "wrap")
        else:
            places = np.pad(places, grow, "edge" if mode == "replicate" else "reflect")
            places = places[max(-before, 0) : len(places) - max(-after, 0)]
        input = _index.index_select(input, dim, Tensor(places, device=input.device))
    return input


# --- losses -----------------------------------------------------------------------------------------------------------
def _reduce(loss, reduction):
    if reduction == "mean":
        return mean(loss)
    if reduction == "sum":
        return sum(loss)
    if reduction == "none":
        return loss
    raise ValueError(f"reduction is 'mean', 'sum' or 'none', not {reduction!r}")


def _in_float32(loss, input, target, **options):
    """A loss of 16-bit tensors computed in float32 and rounded once, or None for other dtypes: a mean of many has gradients so
    small that 16 bits don't hold what they are computed from."""
    if _is_autocast_enabled() or _widened(input) is input:
        return None
    dtype, wide = _promote(input.dtype, target.dtype), {}
    for name, option in options.items():
        wide[name] = _widened(option) if isinstance(option, Tensor) else option
        dtype = _promote(dtype, option.dtype) if isinstance(option, Tensor) else dtype
    return loss(_widened(input), _widened(target), **wide).astype(dtype)


def _ratio(losses, weights):
    """Σ losses / Σ weights; 16 bits would hold neither sum."""
    return _narrowed(sum(_widened(losses)) / sum(_widened(weights)), losses.dtype)


def _class_first(input, target, name):
    """Logits as (rows, C) and class numbers as int64 (rows,), with the shape that a loss without reduction has."""
    dim = 0 if input.ndim == 1 else 1
    if input.ndim == 0 or target.shape != input.shape[:dim] + input.shape[dim + 1 :]:
        raise ValueError(
            f"{name}: class numbers for an input of shape {input.shape} (classes in dimension {dim}) can't have shape {target.shape}"
        )
    rows = input.permute(*[d for d in range(input.ndim) if d != dim], dim).reshape(-1, input.shape[dim])
    if not target.is_floating_point() and target.dtype != "bool":
        target = target.long()  # a small integer type can't be compared with every ignore_index
    return rows, target.reshape(-1), target.shape


def nll_loss(input, target, weight=None, ignore_index=-100, reduction="mean"):
    """-weight[t]·input[t] for log-probabilities (N, C, …) and class numbers (N, …); the mean is by the weights' sum."""
    rows, classes, shape = _class_first(input, target, "nll_loss")
    losses, weights = _pick(rows, classes, weight, ignore_index)
    if reduction == "mean":
        return _ratio(losses, weights)
    return sum(losses) if reduction == "sum" else _reduce(losses.reshape(shape), reduction)


def _check_classes(classes, count, weight, ignore_index):
    """Raises when class numbers aren't whole, or, where that can be seen without waiting, outside 0 … count - 1."""
    if classes.is_floating_point() or classes.dtype == "bool":
        raise TypeError(
            f"class numbers must be integers, got {classes.dtype.name}; use .long(), or probabilities of the input's shape"
        )
    if weight is not None and weight.size() != (count,):
        raise ValueError(f"the weight of the classes has shape {weight.shape}, expected ({count},): one number a class")
    if classes.backend.eager:
        numbers = classes.numpy()
        numbers = numbers[numbers != ignore_index]
        if numbers.size and (numbers.max() >= count or numbers.min() < 0):
            raise IndexError(
                f"a class number lies outside 0 … {count - 1}: they run from {numbers.min()} to {numbers.max()}"
            )


def _pick(rows, classes, weight, ignore_index):
    """(-w·log p at the class, w) for every row; both 0 where the class is ignored."""
    _check_classes(classes, rows.shape[1], weight, ignore_index)
    counts = classes != ignore_index
    safe = where(counts, classes, 0)
    picked = gather(rows, 1, safe.reshape(-1, 1)).reshape(-1)
    weights = counts.astype(rows.dtype) if weight is None else where(counts, weight[safe], 0.0)
    return where(counts, -picked, 0.0) * weights, weights


def cross_entropy(input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """-Σ_c w_c·q_c·log softmax(x)_c for logits (N, C, …), or (C,), and targets: class numbers (N, …) or probabilities of the
    input's shape. With label_smoothing ε, q = (1 - ε)·target + ε/C. arXiv 1512.00567.

    The mean is over the samples' weights for class numbers (those equal to ignore_index count nothing), over the samples
    for probabilities.
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must lie in [0, 1], got {label_smoothing}")
    dim = 0 if input.ndim == 1 else 1
    if weight is None and not target.is_floating_point():
        rows, classes, shape = _class_first(input, target, "cross_entropy")
        _check_classes(classes, rows.shape[1], None, ignore_index)
        rows = rows if rows.is_floating_point() else rows.float()
        losses = _ops.cross_entropy(rows, classes, ignore_index=ignore_index, smoothing=label_smoothing)
        if reduction == "mean":
            return _ratio(losses, (classes != ignore_index).astype(losses.dtype))
        return _reduce(losses if reduction == "sum" else losses.reshape(shape), reduction)
    if (wide := _widened(input)) is not input:
        dtype = input.dtype
        for t in (target, weight):
            dtype = _promote(dtype, t.dtype) if t is not None and t.is_floating_point() else dtype
        weight = None if weight is None else _widened(weight)
        loss = cross_entropy(wide, _widened(target), weight, ignore_index, reduction, label_smoothing)
        return _narrowed(loss, dtype)
    logp = log_softmax(input, dim)
    n = input.shape[dim]
    if target.is_floating_point():
        if target.shape != input.shape:
            raise ValueError(
                f"cross_entropy: probabilities must have the input's shape {input.shape}, got {target.shape}"
            )
        q = target * (1 - label_smoothing) + label_smoothing / n
        if weight is not None:
            q = q * weight.reshape([-1 if d == dim else 1 for d in range(input.ndim)])
        losses = -sum(logp * q, dim)
        return sum(losses) / (input.numel() / n) if reduction == "mean" else _reduce(losses, reduction)
    rows, classes, shape = _class_first(logp, target, "cross_entropy")
    losses, weights = _pick(rows, classes, weight, ignore_index)
    if label_smoothing:
        smooth = -sum(rows if weight is None else rows * weight, 1)
        smooth = where(classes != ignore_index, smooth, 0.0)
        losses = losses * (1 - label_smoothing) + smooth * (label_smoothing / n)
    if reduction == "mean":
        return _ratio(losses, weights)
    return _reduce(losses if reduction == "sum" else losses.reshape(shape), reduction)


def _pairwise(name, input, target):
    if input.shape != target.shape:
        raise ValueError(f"{name}: input {input.shape} and target {target.shape} must have the same shape")


def mse_loss(input, target, reduction="mean"):
    """(x - y)²."""
    _pairwise("mse_loss", input, target)
    if (loss := _in_float32(mse_loss, input, target, reduction=reduction)) is not None:
        return loss
    return _reduce(_ops.square(input - target), reduction)


def l1_loss(input, target, reduction="mean"):
    """|x - y|."""
    _pairwise("l1_loss", input, target)
    if (loss := _in_float32(l1_loss, input, target, reduction=reduction)) is not None:
        return loss
    return _reduce(_ops.abs(input - target), reduction)


def smooth_l1_loss(input, target, reduction="mean", beta=1.0):
    """½·d²/beta where |d| < beta, else |d| - ½·beta, for d = x - y. arXiv 1504.08083."""
    _pairwise("smooth_l1_loss", input, target)
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: beta must not be negative, got {beta}")
    if (loss := _in_float32(smooth_l1_loss, input, target, reduction=reduction, beta=beta)) is not None:
        return loss
    difference = input - target
    return _reduce(_ops.smooth_l1(difference, beta=beta) if beta else _ops.abs(difference), reduction)


def binary_cross_entropy_with_logits(input, target, weight=None, reduction="mean", pos_weight=None):
    """-(pos_weight·y·log σ(x) + (1 - y)·log(1 - σ(x))), computed without overflow."""
    _pairwise("binary_cross_entropy_with_logits", input, target)
    names = {"weight": weight, "pos_weight": pos_weight}
    wide = _in_float32(binary_cross_entropy_with_logits, input, target, reduction=reduction, **names)
    if wide is not None:
        return wide
    if pos_weight is None:
        loss = _ops.bce_with_logits(input, target)
    else:
        loss = _ops.weighted_bce_with_logits(input, target, pos_weight)
    return _reduce(loss if weight is None else loss * weight, reduction)


def normalize(input, p=2.0, dim=1, eps=1e-12):
    """x / max(‖x‖_p, eps) along `dim`, computed in float32 for 16-bit numbers. Where the norm is below eps its gradient is 0,
    so that x's is g/eps."""
    wide = _widened(input)
    return _narrowed(wide / _ops.clamp_min(_norm(wide, _plain(p), dim), eps), input.dtype)


def _norm(x, p, dim):
    """‖x‖_p along `dim`, which stays with length 1. Where x is 0 its derivatives are 0, of every order."""
    if p in (math.inf, -math.inf):
        return (amax if p > 0 else amin)(_ops.abs(x), dim, True)
    if p == 0:
        return sum((x != 0).astype(x.dtype), dim, True)
    if p == 1:
        return sum(_ops.abs(x), dim, True)
    total = sum(_ops.square(x) if p == 2 else _root(_ops.abs(x), p), dim, True)
    return _root(total, 1 / p)


def _root(x, exponent):
    """x ** exponent for x ≥ 0, with 0 and no gradient at 0, where for exponents below 1 the slope is infinite."""
    if exponent < 0:
        return x**exponent
    nothing = x == 0
    return where(nothing, 0.0, where(nothing, 1.0, x) ** exponent)


for _name, _function in list(globals().items()):
    if isinstance(_function, _FunctionType) and not _name.startswith("_") and _function.__module__ == __name__:
        globals()[_name] = _guarded(_function, __name__)
unfold = _guarded(_pool.unfold, __name__)  # of images; `Tensor.unfold` is another one


if _TYPE_CHECKING:
    pass
else:

    def __getattr__(name: str):
        """`conv_mlp` is PVT's and stands in the model's room; version 0.1 had it here."""
        if name == "conv_mlp":
            from minigrad.models.conv_mlp import conv_mlp

            return conv_mlp
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
