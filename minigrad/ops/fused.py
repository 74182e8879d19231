"""Fused operations: definitions in tensor operations, which a backend may override with faster kernels."""

import functools
import math

from minigrad.dtypes import promote
from minigrad.engine.tensor import Tensor
from minigrad.kernels.fused import fused
from minigrad.ops.activation import exact_gelu
from minigrad.ops.activation import relu as relu_
from minigrad.ops.conv import conv2d
from minigrad.ops.elementwise import rsqrt, where
from minigrad.ops.index import gather
from minigrad.ops.linalg import linear, matmul
from minigrad.ops.reduce import log_softmax, mean, softmax, sum, widened


@fused
def layer_norm(x, weight, bias, *, axes, eps):
    """y = (x - mean) / √(var + eps) · weight + bias, mean and (biased) variance over `axes`, the last ones. Ba et al. 2016,
    arXiv 1607.06450."""
    if (wide := widened(x)) is not x:
        given = [t for t in (weight, bias) if t is not None]
        dtype = functools.reduce(promote, [t.dtype for t in given], x.dtype)
        return layer_norm(
            wide, *(None if t is None else widened(t) for t in (weight, bias)), axes=axes, eps=eps
        ).astype(dtype)
    centred = x - mean(x, axes, True)
    y = centred * rsqrt(mean(centred * centred, axes, True) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@fused
def gelu(x):
    """x·Φ(x) with Φ the normal distribution function, exactly (by erf). Hendrycks & Gimpel 2016, arXiv 1606.08415."""
    return exact_gelu(x)


@fused(integers=(1,))
def cross_entropy(x, classes, *, ignore_index, smoothing):
    """-Σ_c q_c·log softmax(x)_c of each row, with q = (1 - smoothing)·[c is its class] + smoothing/C, and 0 where the class is
    `ignore_index`: (N, C), (N,) → (N,). Szegedy et al. 2016, arXiv 1512.00567."""
    if (wide := widened(x)) is not x:
        return cross_entropy(wide, classes, ignore_index=ignore_index, smoothing=smoothing).astype(x.dtype)
    logp, counts = log_softmax(x, -1), classes != ignore_index
    losses = -gather(logp, 1, where(counts, classes, 0).reshape(-1, 1)).reshape(-1)
    if smoothing:
        losses = losses * (1 - smoothing) - sum(logp, 1) * (smoothing / x.shape[1])
    return where(counts, losses, 0.0)


@fused(parts=True)
def conv_mlp(x, w1, b1, taps, b, w2, b2, *, size, relu):
    """The feed-forward network of PVT v2, w2·gelu(taps ∗ (w1·x + b1) + b) + b2: (N, H·W, C) → (N, H·W, O).

    `taps`, (hidden, 1, kh, kw) with kh and kw odd, are convolved with the hidden map of `size` (H, W), channel by channel
    and zero-padded to the same size; with `relu` a ReLU stands before that. Wang et al. 2022, arXiv 2106.13797.
    """
    n, length, hidden = x.shape[0], x.shape[1], w1.shape[0]
    h = linear(x, w1, b1)
    h = relu_(h) if relu else h
    image = h.permute(0, 2, 1).reshape(n, hidden, *size)
    image = conv2d(image, taps, b, padding=(taps.shape[2] // 2, taps.shape[3] // 2), groups=hidden)
    return linear(gelu(image.reshape(n, hidden, length).permute(0, 2, 1)), w2, b2)


@fused(parts=True)
def attention(q, k, v, *, scale):
    """softmax(q·kᵀ·scale)·v: (…, L, E), (…, S, E), (…, S, D) → (…, L, D). Vaswani et al. 2017, arXiv 1706.03762."""
    return matmul(softmax(matmul(q * scale, k.mT), -1), v)


@fused(parts=True)
def attention_weights(q, k, *, scale):
    """softmax(q·kᵀ·scale): (…, L, E), (…, S, E) → (…, L, S)."""
    return softmax(matmul(q * scale, k.mT), -1)


def scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_mask=None, is_causal=False, scale=None):
    """softmax(q·kᵀ·scale + mask)·v and the attention weights: (…, L, E), (…, S, E), (…, S, D) → (…, L, D), (…, L, S).

    `attn_mask` is added, or, if boolean, hides the keys where it is false; `is_causal` hides keys after the query.
    `dropout_mask` multiplies the weights. The scale is 1/√E by default. Vaswani et al. 2017, arXiv 1706.03762.
    """
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    if attn_mask is None and not is_causal:
        weights = attention_weights(query, key, scale=scale)
        return matmul(weights if dropout_mask is None else weights * dropout_mask, value), weights
    logits = matmul(query * scale, key.mT)
    if is_causal:
        length, keys = query.shape[-2], key.shape[-2]
        logits = where(Tensor(query.backend.tril(query.backend.ones((length, keys)))).bool(), logits, -math.inf)
    if attn_mask is None:
        weights = softmax(logits, -1)
    else:
        logits = where(attn_mask, logits, -math.inf) if attn_mask.dtype == "bool" else logits + attn_mask
        blind = (logits == -math.inf).all(-1, True)  # a query that sees no key gets zeros
        weights = where(blind, 0.0, softmax(where(blind, 0.0, logits), -1))
    used = weights if dropout_mask is None else weights * dropout_mask
    return matmul(used, value), weights
