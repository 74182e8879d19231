"""PVTv2 written directly on mlx.nn, for the benchmark: with MLX's layers as they are, or with the kernels that minigrad uses."""

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_map


def _padded(x, p: int):
    return mx.pad(x, ((0, 0), (p, p), (p, p), (0, 0)))


def _shifted(x, h: int, w: int):
    """The nine shifted images of a padded one, each (N, h, w, C)."""
    return [x[:, u : u + h, v : v + w] for u in range(3) for v in range(3)]


def _taps(weight):
    """(C, 3, 3, 1) → (9, C)."""
    return mx.contiguous(weight.reshape(-1, 9).T)


@mx.custom_function
def depthwise(x, weight, bias):
    """Depthwise 3×3 convolution, stride 1, zero padding, as nine shifted products: (N, H, W, C), (C, 3, 3, 1) → (N, H, W, C)."""
    _, h, w, _ = x.shape
    taps, y = _taps(weight), bias
    for i, a in enumerate(_shifted(_padded(x, 1), h, w)):
        y = y + a * taps[i]
    return y


@depthwise.vjp
def _depthwise_vjp(primals, g, _):
    x, weight, _ = primals
    _, h, w, _ = x.shape
    taps = _taps(weight)[::-1]
    dx = None
    for i, a in enumerate(_shifted(_padded(g, 1), h, w)):
        dx = a * taps[i] if dx is None else dx + a * taps[i]
    dw = mx.stack([(a * g).sum((0, 1, 2)) for a in _shifted(_padded(x, 1), h, w)], 1)
    return dx, dw.reshape(weight.shape), g.sum((0, 1, 2))


class Depthwise(nn.Conv2d):
    """The depthwise convolution as nine shifted products."""

    def __call__(self, x):
        return depthwise(x, self.weight, self.bias)


@mx.custom_function
def strided(x, weight):
    """A 3×3 convolution of stride 2 and padding 1."""
    return mx.conv2d(x, weight, stride=2, padding=1)


@strided.vjp
def _strided_vjp(primals, g, _):
    x, weight = primals
    (n, h, w, o), c = g.shape, x.shape[-1]
    parts = (g.reshape(-1, o) @ weight.reshape(o, -1)).reshape(n, h, w, 3, 3, c)
    dx = mx.zeros((n, x.shape[1] + 2, x.shape[2] + 2, c))
    for u in range(3):
        for v in range(3):
            dx = dx.at[:, u : u + 2 * h - 1 : 2, v : v + 2 * w - 1 : 2].add(parts[:, :, :, u, v])
    dw = mx.vjp(lambda weight: mx.conv2d(x, weight, stride=2, padding=1), [weight], [g])[1][0]
    return dx[:, 1:-1, 1:-1], dw


class Strided(nn.Conv2d):
    """MLX's own, with one matrix product and nine additions for the image's gradient."""

    def __call__(self, x):
        return strided(x, self.weight) + self.bias


class Reduction(nn.Conv2d):
    """A convolution whose kernel is its stride: one matrix product of its patches."""

    def __call__(self, x):
        n, h, w, c = x.shape
        o, k, _, _ = self.weight.shape
        x = x[:, : h // k * k, : w // k * k].reshape(n, h // k, k, w // k, k, c).transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(n, h // k, w // k, k * k * c) @ self.weight.reshape(o, -1).T + self.bias


class Embed(nn.Module):
    def __init__(self, channels, dim, kernel, stride, twin):
        super().__init__()
        self.proj = (Strided if twin and kernel == 3 else nn.Conv2d)(
            channels, dim, kernel, stride=stride, padding=kernel // 2
        )
        self.norm = nn.LayerNorm(dim, eps=1e-5)

    def __call__(self, x):
        return self.norm(self.proj(x))


class Attention(nn.Module):
    def __init__(self, dim, heads, sr, bias, twin):
        super().__init__()
        self.heads, self.sr_ratio, self.scale = heads, sr, (dim // heads) ** -0.5
        self.q, self.kv, self.proj = nn.Linear(dim, dim, bias), nn.Linear(dim, 2 * dim, bias), nn.Linear(dim, dim)
        if sr > 1:
            self.sr = (Reduction if twin else nn.Conv2d)(dim, dim, sr, stride=sr)
            self.norm = nn.LayerNorm(dim, eps=1e-5)

    def __call__(self, x):
        n, h, w, c = x.shape
        q = self.q(x).reshape(n, h * w, self.heads, -1).transpose(0, 2, 1, 3)
        if self.sr_ratio > 1:
            x = self.norm(self.sr(x))
        kv = self.kv(x).reshape(n, -1, 2, self.heads, c // self.heads)
        k, v = (kv[:, :, i].transpose(0, 2, 1, 3) for i in (0, 1))
        weights = mx.softmax((q * self.scale) @ k.transpose(0, 1, 3, 2), axis=-1)
        return self.proj((weights @ v).transpose(0, 2, 1, 3).reshape(n, h, w, c))


class MLP(nn.Module):
    def __init__(self, dim, hidden, twin):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.dwconv = (Depthwise if twin else nn.Conv2d)(hidden, hidden, 3, padding=1, groups=hidden)

    def __call__(self, x):
        return self.fc2(nn.gelu(self.dwconv(self.fc1(x))))


class Block(nn.Module):
    def __init__(self, dim, heads, sr, ratio, bias, twin):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn, self.mlp = Attention(dim, heads, sr, bias, twin), MLP(dim, int(dim * ratio), twin)

    def __call__(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Stage(nn.Module):
    def __init__(self, config, i, twin):
        super().__init__()
        dim = config.embed_dims[i]
        if i:
            self.downsample = Embed(config.embed_dims[i - 1], dim, config.patch_sizes[i], config.strides[i], twin)
        sizes = (dim, config.num_heads[i], config.sr_ratios[i], config.mlp_ratios[i], config.qkv_bias, twin)
        self.blocks = [Block(*sizes) for _ in range(config.depths[i])]
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def __call__(self, x):
        if "downsample" in self:
            x = self.downsample(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class PVT(nn.Module):
    """PVTv2 without linear attention, dropout and stochastic depth, on (N, H, W, 3) images."""

    def __init__(self, config, twin: bool):
        super().__init__()
        self.patch_embed = Embed(
            config.in_channels, config.embed_dims[0], config.patch_sizes[0], config.strides[0], twin
        )
        self.stages = [Stage(config, i, twin) for i in range(config.num_stages)]
        self.head = nn.Linear(config.embed_dims[-1], config.num_classes)

    def __call__(self, x):
        x = self.patch_embed(x)
        for stage in self.stages:
            x = stage(x)
        return self.head(x.mean((1, 2)))


def native_model(config, weights: dict[str, np.ndarray], twin: bool) -> PVT:
    """The model with minigrad's weights."""
    model = PVT(config, twin)
    ours = [(name, mx.array(a.transpose(0, 2, 3, 1) if a.ndim == 4 else a)) for name, a in weights.items()]
    model.load_weights([(name, mx.contiguous(a)) for name, a in ours])
    return model


def in_16_bits(model, low):
    """Loss and gradients of float32 parameters, everything but the loss computed in `low`; in float16 with a loss scale that
    stays as it is."""
    scale = 1024.0 if low == mx.float16 else 1.0

    def objective(parameters, x, y):
        model.update(tree_map(lambda a: a.astype(low), parameters))
        logits = model(x.astype(low)).astype(mx.float32)
        return nn.losses.cross_entropy(logits, y, reduction="mean") * scale

    def value_and_grad(x, y):
        parameters = model.trainable_parameters()
        loss, grads = mx.value_and_grad(objective)(parameters, x, y)
        model.update(parameters)
        return loss / scale, tree_map(lambda g: g / scale, grads)

    return value_and_grad


def native_step(config, weights: dict[str, np.ndarray], twin: bool, compiled: bool, low=None):
    """A function of images (N, H, W, 3) and labels that takes a training step and returns the loss, not yet computed."""
    model = native_model(config, weights, twin)
    optimizer = optim.AdamW(learning_rate=1e-3, weight_decay=0.05, bias_correction=True)
    optimizer.init(model.trainable_parameters())
    state = [model.state, optimizer.state]
    mx.eval(state)
    if low is None:
        value_and_grad = nn.value_and_grad(model, lambda x, y: nn.losses.cross_entropy(model(x), y, reduction="mean"))
    else:
        value_and_grad = in_16_bits(model, low)

    def step(x, y):
        loss, grads = value_and_grad(x, y)
        optimizer.update(model, grads)
        return loss

    run = mx.compile(step, inputs=state, outputs=state) if compiled else step

    def once(x, y):
        loss = run(x, y)
        mx.async_eval(loss, state)
        return loss

    return once


def native_forward(config, weights: dict[str, np.ndarray], low=None):
    """A compiled function of images (N, H, W, 3) that gives the logits; the weights are kept in `low`."""
    model = native_model(config, weights, twin=False)
    if low is not None:
        model.set_dtype(low)
    mx.eval(model.parameters())
    return mx.compile(lambda x: model(x if low is None else x.astype(low)), inputs=[model.state])
