"""Fused operations: definitions in tensor operations, which a backend may override with faster kernels."""

import functools

import numpy as np

from minigrad.dtypes import promote
from minigrad.kernels.fused import fused
from minigrad.ops.activation import exact_gelu
from minigrad.ops.elementwise import rsqrt, where
from minigrad.ops.index import getitem
from minigrad.ops.linalg import matmul
from minigrad.ops.reduce import log_softmax, mean, narrowed, softmax, sum, widened
from minigrad.ops.shape import mT

__all__ = ["layer_norm", "gelu", "cross_entropy", "attention", "attention_weights"]


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
    centred = x - mean(x, dim=axes, keepdim=True)
    y = centred * rsqrt(mean(centred * centred, dim=axes, keepdim=True) + eps)
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
    logp, counts = log_softmax(x, dim=1), classes != ignore_index
    rows = x.backend.asarray(np.arange(x.shape[0]))
    losses = -getitem(logp, index=(rows, where(counts, classes, 0).long().array))
    if smoothing:
        losses = losses * (1 - smoothing) - sum(logp, dim=(1,), keepdim=False) * (smoothing / x.shape[1])
    return where(counts, losses, 0.0)


@fused(parts=True)
def attention(q, k, v, *, scale):
    """softmax(q·kᵀ·scale)·v: (…, L, E), (…, S, E), (…, S, D) → (…, L, D). Vaswani et al. 2017, arXiv 1706.03762."""
    return matmul(_softmax(matmul(q * scale, mT(k))), v)


@fused(parts=True)
def attention_weights(q, k, *, scale):
    """softmax(q·kᵀ·scale): (…, L, E), (…, S, E) → (…, L, S)."""
    return _softmax(matmul(q * scale, mT(k)))


def _softmax(x):
    """softmax along the last dimension, of 16-bit numbers in float32."""
    return narrowed(softmax(widened(x), dim=x.ndim - 1), x.dtype)
