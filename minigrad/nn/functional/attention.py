"""Attention with PyTorch's signature; `minigrad.functions.attention` has what it is made of."""

import math
from typing import Literal, overload

import numpy as np

from minigrad import ops
from minigrad.autograd.autocast import is_autocast_enabled
from minigrad.engine.tensor import Tensor
from minigrad.functions import attention
from minigrad.functions.arguments import number, tensor
from minigrad.nn.functional import noise
from minigrad.ops.reduce import widened

__all__ = ["scaled_dot_product_attention"]


@overload
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    need_weights: Literal[False] = False,
) -> Tensor: ...


@overload
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    need_weights: Literal[True],
) -> tuple[Tensor, Tensor]: ...


@overload
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    need_weights: bool = False,
) -> Tensor | tuple[Tensor, Tensor]: ...


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    need_weights: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """softmax(q·kᵀ·scale + mask)·v: (…, L, E), (…, S, E), (…, S, D) → (…, L, D). Vaswani et al. 2017, arXiv 1706.03762. Outside of
    `autocast` 16-bit tensors are computed with in float32.

    Args:
        attn_mask: of a shape that broadcasts to (…, L, S): a boolean one is true where a key may be seen, a floating point one is
            added to the logits. A query that sees no key gets zeros.
        dropout_p: the probability with which each attention weight is dropped; give 0 in evaluation.
        is_causal: whether each query sees only the keys up to its own position. Goes without a mask.
        scale: 1/√E by default.
        enable_gqa: whether the heads (third dimension from the end) of key and value are repeated to the query's number.
        need_weights: whether the result is (output, weights of shape (…, L, S)).

    Raises:
        ValueError: when the shapes don't fit, or options don't go together.
        TypeError: when the dtypes differ, or aren't floating point.

    >>> F = mg.nn.functional
    >>> F.scaled_dot_product_attention(mg.zeros(1, 2), mg.ones(4, 2), mg.arange(4).float().reshape(4, 1))
    tensor([[1.5]])
    """
    attention.check(query, key, value)
    if (
        query.ndim < 2
        or key.ndim < 2
        or value.ndim < 2
        or query.shape[-1] != key.shape[-1]
        or key.shape[-2] != value.shape[-2]
    ):
        raise ValueError(
            f"scaled_dot_product_attention: query {query.shape}, key {key.shape} and value {value.shape} don't fit; "
            "query and key must end in the same size, key and value have the same length"
        )
    if attn_mask is not None:
        tensor("scaled_dot_product_attention", "attn_mask", attn_mask)
        if attn_mask.dtype != "bool" and not attn_mask.is_floating_point():
            raise TypeError(
                f"scaled_dot_product_attention: attn_mask must be boolean (true where a key is seen) or floating point (added to "
                f"the logits), got {attn_mask.dtype.name}; compare it, as in mask != 0"
            )
        if is_causal:
            raise ValueError("scaled_dot_product_attention: give attn_mask or is_causal, not both")
    dropout_p = number("scaled_dot_product_attention", "dropout_p", dropout_p)
    if scale is not None:
        scale = number("scaled_dot_product_attention", "scale", scale)
    if enable_gqa:
        key, value = (_repeated(t, query.shape[-3] if query.ndim > 2 else 1) for t in (key, value))
    if widened(query) is not query and not is_autocast_enabled():  # logits may be larger than float16 holds
        q, k, v = widened(query), widened(key), widened(value)
        mask = None if attn_mask is None else widened(attn_mask)
        if not need_weights:
            return scaled_dot_product_attention(q, k, v, mask, dropout_p, is_causal, scale).astype(query.dtype)
        y, weights = scaled_dot_product_attention(q, k, v, mask, dropout_p, is_causal, scale, need_weights=True)
        return y.astype(query.dtype), weights.astype(query.dtype)
    if attn_mask is None and dropout_p == 0 and not is_causal and not need_weights:
        return ops.attention(
            query, key, value, scale=1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else scale
        )
    dropped = None
    if dropout_p != 0:
        lead = np.broadcast_shapes(query.shape[:-2], key.shape[:-2])
        shape = (*lead, query.shape[-2], key.shape[-2])
        dropped = noise.keep_mask(query, shape, dropout_p, "scaled_dot_product_attention")
    y, weights = attention.attend(query, key, value, attn_mask, dropped, is_causal, scale)
    return (y, weights) if need_weights else y


def _repeated(t: Tensor, heads: int) -> Tensor:
    """(…, H, L, E) with every head repeated `heads`/H times."""
    if t.ndim < 3 or heads % t.shape[-3]:
        raise ValueError(
            f"scaled_dot_product_attention: {heads} query heads are no multiple of those of shape {t.shape}"
        )
    *lead, own, length, size = t.shape
    return t.unsqueeze(-3).expand(*lead, own, heads // own, length, size).reshape(*lead, heads, length, size)
