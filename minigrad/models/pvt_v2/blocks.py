"""Pyramid Vision Transformer v2 (Wang et al. 2022, "PVT v2: Improved Baselines with Pyramid Vision Transformer",
Computational Visual Media 8, arXiv 2106.13797).

An image becomes tokens by overlapping patches; four stages of transformer blocks halve the map between them. Attention is
made affordable by reducing the keys and values: by a strided convolution, or (linear) by averaging them to 7×7. The
feed-forward networks hold a depthwise 3×3 convolution, whose zero padding also tells tokens where they are, so that there
are no position embeddings and any image size goes.

Tokens are (N, H·W, C); a map (N, C, H, W) is a view of them, used around convolutions only.
"""

import math
from collections.abc import Callable
from functools import partial

from minigrad import nn
from minigrad.autograd import checkpoint
from minigrad.engine.tensor import Tensor
from minigrad.kernels.fused import at_once
from minigrad.models.pvt_v2.config import POOL, PVTV2Config
from minigrad.models.pvt_v2.conv_mlp import as_one
from minigrad.nn import functional as F
from minigrad.nn import init

Size = tuple[int, int]


def to_map(tokens: Tensor, size: Size) -> Tensor:
    """(N, H·W, C) → (N, C, H, W), a view."""
    n, _, c = tokens.shape
    return tokens.transpose(1, 2).reshape(n, c, *size)


def to_tokens(image: Tensor) -> Tensor:
    """(N, C, H, W) → (N, H·W, C), a view where the memory is channels-last."""
    return image.flatten(2).transpose(1, 2)


class OverlapPatchEmbed(nn.Module):
    """norm(conv(image)) as tokens: a strided convolution whose kernel is larger than its stride."""

    def __init__(self, in_channels: int, dim: int, patch_size: int, stride: int, norm) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, patch_size, stride=stride, padding=patch_size // 2)
        self.norm = norm(dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Size]:
        x = self.proj(x)
        return self.norm(to_tokens(x)), (x.shape[2], x.shape[3])


class Attention(nn.Module):
    """softmax(q·kᵀ·scale)·v with keys and values from a reduced map.

    Spatial reduction: k, v from norm(conv(x)), kernel = stride = sr_ratio. Linear: from gelu(norm(conv₁ₓ₁(pool₇ₓ₇(x)))).
    """

    def __init__(self, config: PVTV2Config, stage: int, norm) -> None:
        super().__init__()
        dim = config.embed_dims[stage]
        self.num_heads, self.sr_ratio, self.linear = config.num_heads[stage], config.sr_ratios[stage], config.linear
        self.scale = (dim // self.num_heads) ** -0.5 if config.qk_scale is None else config.qk_scale
        self.q = nn.Linear(dim, dim, bias=config.qkv_bias)
        self.kv = nn.Linear(dim, 2 * dim, bias=config.qkv_bias)
        self.attn_drop = config.attn_drop_rate
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(config.drop_rate)
        if self.linear:
            self.pool = nn.AdaptiveAvgPool2d(POOL)
            self.sr = nn.Conv2d(dim, dim, 1)
            self.norm = norm(dim)
            self.act = nn.GELU()
        elif self.sr_ratio > 1:
            self.sr = nn.Conv2d(dim, dim, self.sr_ratio, stride=self.sr_ratio)
            self.norm = norm(dim)

    def reduced(self, x: Tensor, size: Size) -> Tensor:
        """The tokens that keys and values come from: (N, keys, C)."""
        if self.linear:
            return self.act(self.norm(to_tokens(self.sr(self.pool(to_map(x, size))))))
        if self.sr_ratio > 1:
            return self.norm(to_tokens(self.sr(to_map(x, size))))
        return x

    def forward(self, x: Tensor, size: Size, attentions: list | None = None) -> Tensor:
        n, length, dim = x.shape
        heads = (self.num_heads, dim // self.num_heads)
        q = self.q(x).reshape(n, length, *heads).permute(0, 2, 1, 3)
        reduced = self.reduced(x, size)
        k, v = self.kv(reduced).reshape(n, reduced.shape[1], 2, *heads).permute(2, 0, 3, 1, 4).unbind(0)
        drop = self.attn_drop if self.training else 0.0
        if attentions is None:
            out = F.scaled_dot_product_attention(q, k, v, dropout_p=drop, scale=self.scale)
        else:
            out, weights = F.scaled_dot_product_attention(q, k, v, dropout_p=drop, scale=self.scale, need_weights=True)
            attentions.append(weights)
        return self.proj_drop(self.proj(out.transpose(1, 2).reshape(n, length, dim)))


class ConvMLP(nn.Module):
    """fc2(act(dwconv(fc1(x)))); with linear attention a ReLU stands between fc1 and the depthwise convolution."""

    def __init__(self, config: PVTV2Config, stage: int) -> None:
        super().__init__()
        dim = config.embed_dims[stage]
        hidden = int(dim * config.mlp_ratios[stage])
        self.fc1 = nn.Linear(dim, hidden)
        self.relu = nn.ReLU() if config.linear else nn.Identity()
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.act = ACTIVATION_LAYERS[config.hidden_act]()
        self.fc2 = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(config.drop_rate)

    @at_once(as_one)
    def forward(self, x: Tensor, size: Size) -> Tensor:
        x = self.relu(self.fc1(x))
        x = to_tokens(self.dwconv(to_map(x, size)))
        x = self.drop(self.act(x))
        return self.drop(self.fc2(x))


ACTIVATION_LAYERS: dict[str, Callable] = {
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "selu": nn.SELU,
    "silu": nn.SiLU,
    "gelu_new": lambda: nn.GELU(approximate="tanh"),
    "gelu_pytorch_tanh": lambda: nn.GELU(approximate="tanh"),
}


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); each branch may be dropped as a whole (stochastic depth)."""

    def __init__(self, config: PVTV2Config, stage: int, drop_path: float, norm, embed_norm) -> None:
        super().__init__()
        dim = config.embed_dims[stage]
        self.norm1 = norm(dim)
        self.attn = Attention(config, stage, embed_norm)
        self.drop_path = nn.DropPath(drop_path) if drop_path else nn.Identity()
        self.norm2 = norm(dim)
        self.mlp = ConvMLP(config, stage)

    def forward(self, x: Tensor, size: Size, attentions: list | None = None) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), size, attentions))
        return x + self.drop_path(self.mlp(self.norm2(x), size))


class Stage(nn.Module):
    """Patch embedding of the map before (stages after the first), blocks, norm: map in, map out."""

    def __init__(self, config: PVTV2Config, stage: int, drop_paths: list[float], norm, embed_norm) -> None:
        super().__init__()
        self.downsample = make_embed(config, stage, embed_norm) if stage else None
        self.blocks = nn.ModuleList([Block(config, stage, rate, norm, embed_norm) for rate in drop_paths])
        self.norm = norm(config.embed_dims[stage])
        self.grad_checkpointing = False

    def forward(self, x: Tensor, size: Size, attentions: list | None = None) -> Tensor:
        """Tokens and their map's size for the first stage, else the map before and None → (N, C, H, W)."""
        if self.downsample is not None:
            x, size = self.downsample(x)
        for block in self.blocks:
            if self.grad_checkpointing and attentions is None:  # attention maps that are handed out are kept anyway
                x = checkpoint(partial(block, size=size), x)
            else:
                x = block(x, size, attentions)
        return to_map(self.norm(x), size)


def make_embed(config: PVTV2Config, stage: int, norm) -> OverlapPatchEmbed:
    channels = config.embed_dims[stage - 1] if stage else config.in_channels
    return OverlapPatchEmbed(channels, config.embed_dims[stage], config.patch_sizes[stage], config.strides[stage], norm)


def init_weights(module: nn.Module, std: float) -> None:
    """Linear: truncated normal of the given deviation. Convolution: normal of deviation √(2 / (kh·kw·out/groups)). Biases 0."""
    if isinstance(module, nn.Linear):
        init.trunc_normal_(module.weight, std=std)
    elif isinstance(module, nn.Conv2d):
        out, _, kh, kw = module.weight.shape
        init.normal_(module.weight, 0.0, math.sqrt(2 / (kh * kw * out / module.groups)))
    if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
        init.zeros_(module.bias)
