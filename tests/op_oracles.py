"""Operations written a second time, in plain numpy, by their textbook formulas: what the op table holds values to.

Slow, obvious code on purpose, under PyTorch's argument names.
"""

import math

import numpy as np

erf = np.vectorize(math.erf, otypes=[float])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, dim=-1):
    e = np.exp(x - np.max(x, axis=dim, keepdims=True, initial=-1e30))
    return e / e.sum(axis=dim, keepdims=True)


def reduced(function):
    """numpy's reduction under PyTorch's argument names."""
    return lambda x, dim=None, keepdim=False: function(x, axis=dim, keepdims=keepdim)


def spread(function):
    """numpy's var or std under PyTorch's argument names."""
    return lambda x, dim=None, correction=1, unbiased=None, keepdim=False: function(
        x, axis=dim, ddof=correction if unbiased is None else int(unbiased), keepdims=keepdim
    )


def extreme(values, places):
    """max or min along a dimension, with the positions."""

    def both(x, dim, keepdim=False):
        return values(x, axis=dim, keepdims=keepdim), places(x, axis=dim, keepdims=keepdim)

    return both


def logsumexp(x, dim, keepdim=False):
    return np.log(np.exp(x).sum(axis=dim, keepdims=keepdim))


def elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * (np.exp(x) - 1))


def selu(x):
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


def gelu(x, approximate="none"):
    if approximate == "none":
        return 0.5 * x * (1 + erf(x / math.sqrt(2)))
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def softplus(x, beta=1.0, threshold=20.0):
    return np.where(x * beta > threshold, x, np.log(1 + np.exp(x * beta)) / beta)


# --- indexing ---------------------------------------------------------------------------------------------------------


def scatter_add(x, dim, index, src):
    out = x.copy()
    for place in np.ndindex(index.shape):
        at = list(place)
        at[dim] = index[place]
        out[tuple(at)] += src[place]
    return out


def index_add(x, dim, index, source, alpha=1):
    out = x.copy()
    for i, k in enumerate(index):
        at = (slice(None),) * (dim % x.ndim)
        out[(*at, k)] += alpha * source[(*at, i)]
    return out


def pad(x, pad, mode="constant", value=0.0):
    widths = [(0, 0)] * (x.ndim - len(pad) // 2) + [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]
    x = x[tuple(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape, widths, strict=True))]
    return np.pad(x, [(max(a, 0), max(b, 0)) for a, b in widths], constant_values=value or 0.0)


# --- images -----------------------------------------------------------------------------------------------------------


def pair(v):
    return (v, v) if isinstance(v, int) else tuple(v)


def conv2d(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    if x.ndim == 3:
        return conv2d(x[None], w, b, stride, padding, dilation, groups)[0]
    (s, t), (d, e), (o, c, kh, kw) = pair(stride), pair(dilation), w.shape
    if padding == "same":
        total = (d * (kh - 1), e * (kw - 1))
        x = np.pad(x, ((0, 0), (0, 0), *((n // 2, n - n // 2) for n in total)))
    elif padding != "valid":
        p, q = pair(padding)
        x = np.pad(x, ((0, 0), (0, 0), (p, p), (q, q)))
    rows, columns = (x.shape[2] - d * (kh - 1) - 1) // s + 1, (x.shape[3] - e * (kw - 1) - 1) // t + 1
    y = np.zeros((x.shape[0], o, rows, columns))
    for i, j, u, v, k in np.ndindex(rows, columns, kh, kw, o):
        first = k // (o // groups) * c
        y[:, k, i, j] += x[:, first : first + c, i * s + u * d, j * t + v * e] @ w[k, :, u, v]
    return y if b is None else y + b[:, None, None]


def conv_transpose2d(x, w, b=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    if x.ndim == 3:
        return conv_transpose2d(x[None], w, b, stride, padding, output_padding, groups, dilation)[0]
    (s, t), (p, q), (d, e), extra = pair(stride), pair(padding), pair(dilation), pair(output_padding)
    (n, c, h, width), (_, o, kh, kw) = x.shape, w.shape
    y = np.zeros(
        (n, o * groups, (h - 1) * s + d * (kh - 1) + 1 + extra[0], (width - 1) * t + e * (kw - 1) + 1 + extra[1])
    )
    for k, i, j, u, v in np.ndindex(c, h, width, kh, kw):
        first = k // (c // groups) * o
        y[:, first : first + o, i * s + u * d, j * t + v * e] += np.outer(x[:, k, i, j], w[k, :, u, v])
    y = y[:, :, p : y.shape[2] - p, q : y.shape[3] - q]
    return y if b is None else y + b[:, None, None]


def _adjoint(linear, g, shape):
    """The transpose of a linear map of arrays of `shape`, one element at a time."""
    units = np.eye(math.prod(shape)).reshape(-1, *shape)
    return np.array([(linear(unit) * g).sum() for unit in units]).reshape(shape)


def conv1d(x, w, b, stride, padding, groups):
    return conv2d(x[:, :, None], w[:, :, None], b, stride=(1, stride), padding=(0, padding), groups=groups)[:, :, 0]


def unfold(x, kernel):
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel, (2, 3)).transpose(0, 1, 4, 5, 2, 3)
    return windows.reshape(x.shape[0], x.shape[1] * math.prod(kernel), -1)


def conv2d_input(g, w, size, **geometry):
    y = conv_transpose2d(g, w, **geometry)
    assert y.shape[2:] == size
    return y


def conv2d_weight(g, x, kernel, groups, **geometry):
    return _adjoint(lambda w: conv2d(x, w, groups=groups, **geometry), g, (g.shape[1], x.shape[1] // groups, *kernel))


def window_sum_input(g, size, kernel, stride, padding):
    before = tuple(a for a, _ in padding)
    return _adjoint(lambda x: avg_pool2d(x, kernel, stride, before, divisor_override=1), g, (*g.shape[:2], *size))


def _windows(x, kernel_size, stride, padding, ceil_mode, dilation=1):
    """(output shape, and for every output place the rows and columns of the unpadded image under its window, with the
    number of places of the padded image under it)."""
    axes = []
    stride = kernel_size if stride is None else stride
    for n, k, s, p, d in zip(x.shape[-2:], *map(pair, (kernel_size, stride, padding, dilation)), strict=True):
        starts = [i * s - p for i in range(10**3)]
        # with ceil_mode the last window may run over the end, but must start before the right padding
        reach = d * (k - 1) - (s - 1 if ceil_mode else 0)
        starts = [a for a in starts if a == -p or (a + reach < n + p and a < n)]
        axes.append([([a + d * u for u in range(k) if 0 <= a + d * u < n], min(a + k, n + p) - a) for a in starts])
    return axes


def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    rows, columns = _windows(x, kernel_size, stride, padding, ceil_mode)
    y = np.zeros((*x.shape[:-2], len(rows), len(columns)))
    for i, (r, across) in enumerate(rows):
        for j, (c, down) in enumerate(columns):
            count = divisor_override or (across * down if count_include_pad else len(r) * len(c))
            y[..., i, j] = x[..., r, :][..., c].sum((-2, -1)) / count
    return y


def max_pool2d_with_positions(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=True):
    rows, columns = _windows(x, kernel_size, stride, padding, ceil_mode, dilation)
    y = np.zeros((*x.shape[:-2], len(rows), len(columns)))
    places, where = np.arange(x.shape[-2] * x.shape[-1]).reshape(x.shape[-2:]), y.astype(np.int64)
    for i, (r, _) in enumerate(rows):
        for j, (c, _) in enumerate(columns):
            window = x[..., r, :][..., c].reshape(*x.shape[:-2], len(r) * len(c))
            y[..., i, j], where[..., i, j] = window.max(-1), places[r][:, c].ravel()[window.argmax(-1)]
    return y, where


def max_pool2d(*args, **options):
    return max_pool2d_with_positions(*args, **options)[0]


def adaptive_avg_pool2d(x, output_size):
    h, w = (n if m is None else m for m, n in zip(pair(output_size), x.shape[-2:], strict=True))
    y = np.zeros((*x.shape[:-2], h, w))
    for i, j in np.ndindex(h, w):
        r = slice(math.floor(i * x.shape[-2] / h), math.ceil((i + 1) * x.shape[-2] / h))
        c = slice(math.floor(j * x.shape[-1] / w), math.ceil((j + 1) * x.shape[-1] / w))
        y[..., i, j] = x[..., r, c].mean((-2, -1))
    return y


def interpolate(x, size=None, scale_factor=None, mode="nearest", align_corners=None):
    scales = pair(scale_factor) if isinstance(scale_factor, int | tuple) else (scale_factor,) * 2
    h, w = pair(size) if size else (math.floor(n * s) for n, s in zip(x.shape[2:], scales, strict=True))
    y = np.zeros((*x.shape[:2], h, w))
    for i, j in np.ndindex(h, w):
        places = []
        for k, n, m, s in zip((i, j), x.shape[2:], (h, w), scales, strict=True):
            ratio = 1 / s if s else n / m
            if mode == "nearest":
                places.append([(min(math.floor(k * ratio), n - 1), 1.0)])
            else:
                at = k * (n - 1) / max(m - 1, 1) if align_corners else max((k + 0.5) * ratio - 0.5, 0)
                low = min(math.floor(at), n - 1)
                places.append([(low, 1 - at + low), (min(low + 1, n - 1), at - low)])
        y[:, :, i, j] = sum(x[:, :, r, c] * a * b for r, a in places[0] for c, b in places[1])
    return y


# --- normalisation, attention, losses ---------------------------------------------------------------------------------


def normalised(x, axes, eps):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def layer_norm(x, shape, weight=1.0, bias=0.0, eps=1e-5):
    weight, bias = 1.0 if weight is None else weight, 0.0 if bias is None else bias
    return normalised(x, tuple(range(-1 if isinstance(shape, int) else -len(shape), 0)), eps) * weight + bias


def _channels(v, x, default):
    return default if v is None else np.reshape(v, (-1,) + (1,) * (x.ndim - 2))


def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5):
    grouped = x.reshape(x.shape[0], num_groups, math.prod(x.shape[1:]) // num_groups)
    y = normalised(grouped, (2,), eps).reshape(x.shape)
    return y * _channels(weight, x, 1.0) + _channels(bias, x, 0.0)


def batch_norm(x, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    if training or mean is None:
        y = normalised(x, (0, *range(2, x.ndim)), eps)
    else:
        y = (x - _channels(mean, x, 0)) / np.sqrt(_channels(var, x, 1) + eps)
    return y * _channels(weight, x, 1.0) + _channels(bias, x, 0.0)


def kept(shape, p):
    """The mask of a dropout in the table's tests, where every random draw is the same."""
    return (np.random.default_rng(0).random(shape, np.float32) >= p) / (1 - p)


def attention(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None):
    logits = q @ np.swapaxes(k, -1, -2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if is_causal:
        attn_mask = np.tril(np.ones(logits.shape[-2:], bool))
    if attn_mask is not None:
        logits = np.where(attn_mask, logits, -np.inf) if attn_mask.dtype == bool else logits + attn_mask
    return softmax(logits) * kept(logits.shape, dropout_p) @ v


def conv_mlp(x, w1, b1, taps, b, w2, b2, size, relu):
    h = x @ w1.T + (0 if b1 is None else b1)
    h = np.maximum(h, 0) if relu else h
    image = np.swapaxes(h, 1, 2).reshape(len(x), len(taps), *size)
    image = conv2d(image, taps, b, padding=tuple(n // 2 for n in taps.shape[2:]), groups=len(taps))
    return gelu(np.swapaxes(image.reshape(len(x), len(taps), x.shape[1]), 1, 2)) @ w2.T + (0 if b2 is None else b2)


def reduce(losses, reduction):
    return {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction](losses)


def nll_loss(x, target, weight=None, ignore_index=-100, reduction="mean"):
    weight = np.ones(x.shape[1 if x.ndim > 1 else 0]) if weight is None else weight
    losses, weights = np.zeros(target.shape), np.zeros(target.shape)
    for place in np.ndindex(target.shape):
        t = target[place]
        if t != ignore_index:
            losses[place], weights[place] = -weight[t] * x[(*place[:1], t, *place[1:])], weight[t]
    return losses.sum() / weights.sum() if reduction == "mean" else reduce(losses, reduction)


def cross_entropy(x, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    dim = 0 if x.ndim == 1 else 1
    classes = x.shape[dim]
    logp = x - logsumexp(x, dim, True)
    column = np.ones(classes) if weight is None else weight
    column = column.reshape((-1,) + (1,) * (x.ndim - 1 - dim))
    if target.dtype.kind == "f":
        losses = -(column * logp * (target * (1 - label_smoothing) + label_smoothing / classes)).sum(dim)
        return losses.sum() / (x.size / classes) if reduction == "mean" else reduce(losses, reduction)
    counted = target != ignore_index
    hard = nll_loss(logp, target, weight, ignore_index, "none")
    smooth = -(column * logp).sum(dim) * counted / classes
    losses = (1 - label_smoothing) * hard + label_smoothing * smooth
    total = (np.ones(classes) if weight is None else weight)[np.where(counted, target, 0)] * counted
    return losses.sum() / total.sum() if reduction == "mean" else reduce(losses, reduction)


def smooth_l1_loss(x, y, reduction="mean", beta=1.0):
    d = np.abs(x - y)
    return reduce(np.where(d < beta, d * d / (2 * beta or 1), d - beta / 2), reduction)


def bce_with_logits(x, y, weight=1.0, reduction="mean", pos_weight=1.0):
    losses = -(pos_weight * y * np.log(sigmoid(x)) + (1 - y) * np.log(1 - sigmoid(x)))
    return reduce(losses * (1.0 if weight is None else weight), reduction)
