"""Attention."""

import math

from minigrad import ops
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import _floating, _same_dtype
from minigrad.functions.elementwise import where
from minigrad.functions.linalg import matmul
from minigrad.functions.reduce import softmax

__all__ = ["scaled_dot_product_attention"]


def check(query: Tensor, key: Tensor, value: Tensor) -> None:
    """Raises a TypeError for tensors that attention can't be computed of."""
    kind = query.dtype
    if kind is not key.dtype or kind is not value.dtype or not kind.is_floating_point:
        _same_dtype("scaled_dot_product_attention", query, key, value)
        _floating("scaled_dot_product_attention", query)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """softmax(q·kᵀ·scale + mask)·v and the attention weights: (…, L, E), (…, S, E), (…, S, D) → (…, L, D), (…, L, S).

    `attn_mask` is added, or, if boolean, hides the keys where it is false; `is_causal` hides keys after the query.
    `dropout_mask` multiplies the weights. The scale is 1/√E by default. Vaswani et al. 2017, arXiv 1706.03762.
    """
    check(query, key, value)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    if attn_mask is None and not is_causal:
        weights = ops.attention_weights(query, key, scale=scale)
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
