"""Attention, of which `minigrad.nn.functional.scaled_dot_product_attention` is made."""

import math

from minigrad import ops
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import _floating, _same_dtype, tensor
from minigrad.functions.choice import where
from minigrad.functions.linalg import matmul
from minigrad.functions.normalization import softmax

__all__: list[str] = []


def check(query: Tensor, key: Tensor, value: Tensor) -> None:
    """Raises a TypeError for tensors that attention can't be computed of."""
    for name, t in (("query", query), ("key", key), ("value", value)):
        tensor("scaled_dot_product_attention", name, t)
    kind = query.dtype
    if kind is not key.dtype or kind is not value.dtype or not kind.is_floating_point:
        _same_dtype("scaled_dot_product_attention", query, key, value)
        _floating("scaled_dot_product_attention", query)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """softmax(q·kᵀ·scale + mask)·v and the attention weights: (…, L, E), (…, S, E), (…, S, D) → (…, L, D), (…, L, S).

    Vaswani et al. 2017, arXiv 1706.03762. `minigrad.nn.functional.scaled_dot_product_attention` has PyTorch's signature.

    Args:
        attn_mask: of a shape that broadcasts to (…, L, S). A boolean one hides the keys where it is false, another is added.
        dropout_mask: multiplies the weights.
        is_causal: hides from each query the keys after it.
        scale: 1/√E by default.

    Raises:
        TypeError: when the dtypes differ, or aren't floating point. ValueError: when the shapes don't fit.

    >>> y, weights = attend(mg.zeros(1, 2), mg.ones(4, 2), mg.ones(4, 3))
    >>> y, weights
    (tensor([[1., 1., 1.]]), tensor([[0.25, 0.25, 0.25, 0.25]]))
    """
    check(query, key, value)
    if query.ndim < 2 or key.ndim < 2 or value.ndim < 2:
        raise ValueError(
            f"scaled_dot_product_attention: query {query.shape}, key {key.shape} and value {value.shape} need at least 2 dimensions"
        )
    for name, mask in (("attn_mask", attn_mask), ("dropout_mask", dropout_mask)):
        if mask is not None:
            tensor("scaled_dot_product_attention", name, mask)
    scale = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else scale
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
