"""Multi-head attention."""

import math

from minigrad import checks
from minigrad.engine.tensor import Tensor
from minigrad.functions import cat
from minigrad.nn import functional as F
from minigrad.nn import init
from minigrad.nn.linear import Linear
from minigrad.nn.module import Module, Parameter, zeros


class MultiheadAttention(Module):
    """softmax(q kᵀ/√d + mask) v for each of `num_heads` heads of d = embed_dim/num_heads channels, where q, k and v are
    linear in query, key and value; the heads side by side go through `out_proj` (Vaswani et al. 2017).

    Query (L, N, E), key (S, N, kdim), value (S, N, vdim), or the batch first with `batch_first`, or without the batch
    axis -> (output like the query, weights (N, L, S) or None).

    Args:
        dropout: probability with which a weight is dropped in training.
        bias: whether the projections have biases.
        add_bias_kv: learn one more key and value, appended to the sequence.
        add_zero_attn: append a key and value of zeros.
        kdim, vdim: channels of key and value, embed_dim if None.

    >>> import minigrad as mg
    >>> attention = mg.nn.MultiheadAttention(8, 2, batch_first=True)
    >>> x = mg.randn(3, 5, 8)
    >>> y, weights = attention(x, x, x)
    >>> y.shape, weights.shape
    ((3, 5, 8), (3, 5, 5))
    """

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, add_bias_kv: bool = False,
        add_zero_attn: bool = False, kdim: int | None = None, vdim: int | None = None, batch_first: bool = False,
        device=None, dtype=None,
    ):  # fmt: skip
        embed_dim = checks.whole("MultiheadAttention", "embed_dim", embed_dim)
        num_heads = checks.whole("MultiheadAttention", "num_heads", num_heads)
        bias = checks.flag("MultiheadAttention", "bias", bias)
        if embed_dim <= 0 or num_heads <= 0 or embed_dim % num_heads:
            raise ValueError(
                f"MultiheadAttention: embed_dim={embed_dim} must be a positive multiple of num_heads={num_heads}"
            )
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.kdim = embed_dim if kdim is None else checks.whole("MultiheadAttention", "kdim", kdim)
        self.vdim = embed_dim if vdim is None else checks.whole("MultiheadAttention", "vdim", vdim)
        self.add_zero_attn, self.batch_first = add_zero_attn, batch_first

        def parameter(*shape: int) -> Parameter:
            return Parameter(zeros(*shape, dtype=dtype, device=device))

        self.in_proj_weight = self.q_proj_weight = self.k_proj_weight = self.v_proj_weight = None
        if self.kdim == self.vdim == embed_dim:
            self.in_proj_weight = parameter(3 * embed_dim, embed_dim)
        else:
            self.q_proj_weight = parameter(embed_dim, embed_dim)
            self.k_proj_weight = parameter(embed_dim, self.kdim)
            self.v_proj_weight = parameter(embed_dim, self.vdim)
        self.in_proj_bias = parameter(3 * embed_dim) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, device, dtype)
        self.bias_k = parameter(1, 1, embed_dim) if add_bias_kv else None
        self.bias_v = parameter(1, 1, embed_dim) if add_bias_kv else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot for the weights of q, k and v (and the learned key and value), zeros for the biases."""
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None and self.out_proj.bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        if self.bias_k is not None and self.bias_v is not None:
            init.xavier_normal_(self.bias_k)
            init.xavier_normal_(self.bias_v)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None,
        need_weights: bool = True, attn_mask: Tensor | None = None, average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """Attention of `query` over `key` and `value`.

        Args:
            key_padding_mask: (N, S) or (S,); True hides a key, a number is added to its scores.
            need_weights: return the weights; without them the fused attention is used.
            attn_mask: (L, S) or (N·num_heads, L, S); True hides, a number is added.
            average_attn_weights: the mean over the heads instead of (N, num_heads, L, S).
            is_causal: says that `attn_mask` is the causal one; it has to be given all the same.
        """
        for name, given in (("query", query), ("key", key), ("value", value)):
            checks.tensor("MultiheadAttention", name, given)
        for name, mask in (("key_padding_mask", key_padding_mask), ("attn_mask", attn_mask)):
            if mask is not None:
                checks.tensor("MultiheadAttention", name, mask)
        if is_causal and attn_mask is None:
            raise ValueError(
                "MultiheadAttention: is_causal describes attn_mask, which is missing; pass the causal mask too"
            )
        if query.ndim not in (2, 3) or not query.ndim == key.ndim == value.ndim:
            shapes = f"{query.shape}, {key.shape}, {value.shape}"
            raise ValueError(
                f"MultiheadAttention: query, key and value must all have 2 or all have 3 dimensions, got {shapes}"
            )
        batched = query.ndim == 3
        q, k, v = self._project(*(self._batch_first(x) for x in (query, key, value)))
        mask = self._mask(q, k, attn_mask, key_padding_mask)
        k, v, mask = self._append(k, v, mask)
        q, k, v = (x.reshape(x.shape[0], x.shape[1], self.num_heads, -1).transpose(1, 2) for x in (q, k, v))

        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = (q * math.sqrt(1 / q.shape[-1])) @ k.transpose(-2, -1)
            weights = F.softmax(scores if mask is None else scores + mask, dim=-1)
            weights = F.dropout(weights, dropout, self.training)
            out = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        out = self.out_proj(out.transpose(1, 2).flatten(2))
        if not batched:
            return out.squeeze(0), None if weights is None else weights.squeeze(0)
        return out if self.batch_first else out.transpose(0, 1), weights

    def _batch_first(self, x: Tensor) -> Tensor:
        if x.ndim == 2:
            return x.unsqueeze(0)
        return x if self.batch_first else x.transpose(0, 1)

    def _project(self, query, key, value):
        biases: tuple = (None, None, None) if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        weights: tuple = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        if self.in_proj_weight is not None:
            weights = self.in_proj_weight.chunk(3)
        return [F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]

    def _mask(self, q, k, attn_mask, key_padding_mask):
        """One additive mask that broadcasts to (N, num_heads, L, S), or None."""
        n, length, sources = q.shape[0], q.shape[1], k.shape[1]
        mask = None
        if attn_mask is not None:
            if attn_mask.shape not in ((length, sources), (n * self.num_heads, length, sources)):
                raise ValueError(
                    f"MultiheadAttention: attn_mask must have shape {(length, sources)} or "
                    f"{(n * self.num_heads, length, sources)}, got {attn_mask.shape}"
                )
            mask = _additive(attn_mask, q)
            mask = (
                mask.reshape(n, self.num_heads, length, sources)
                if mask.ndim == 3
                else mask.reshape(1, 1, length, sources)
            )
        if key_padding_mask is not None:
            if key_padding_mask.shape not in ((n, sources), (sources,)[: n == 1]):
                raise ValueError(
                    f"MultiheadAttention: key_padding_mask must have shape {(n, sources)}, got {key_padding_mask.shape}"
                )
            padding = _additive(key_padding_mask, q).reshape(n, 1, 1, sources)
            mask = padding if mask is None else mask + padding
        return mask

    def _append(self, k, v, mask):
        """The learned key and value and the zeros at the end of the sequence; nothing hides them."""
        extra = 0
        if self.bias_k is not None and self.bias_v is not None:
            shape = (k.shape[0], 1, self.embed_dim)
            k, v = cat([k, self.bias_k.expand(*shape)], 1), cat([v, self.bias_v.expand(*shape)], 1)
            extra += 1
        if self.add_zero_attn:
            nothing = zeros(k.shape[0], 1, self.embed_dim, dtype=k.dtype, device=k.device)
            k, v = cat([k, nothing], 1), cat([v, nothing], 1)
            extra += 1
        return k, v, mask if mask is None or not extra else F.pad(mask, (0, extra))


def _additive(mask, like):
    """0 and -inf in place of False and True; a mask of numbers stays."""
    if mask.dtype.name != "bool":
        return mask
    return zeros(*mask.shape, dtype=like.dtype, device=like.device).masked_fill(mask, float("-inf"))
