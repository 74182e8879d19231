"""MLX overrides of fused operations: (output, saved) forward, and the first-order derivative from what was saved.

On the GPU MLX has kernels for layer norm; on its CPU device they are written out here in float32, with two numbers a row kept.
"""

import math

import mlx.core as mx

from minigrad.backend import mlx_sums
from minigrad.kernels.registry import kernel

SQRT_HALF, INV_SQRT_2PI = math.sqrt(0.5), 1 / math.sqrt(2 * math.pi)


def _on_cpu() -> bool:
    return mx.default_device().type == mx.DeviceType.cpu


@kernel("layer_norm", "mlx")
def layer_norm(x, weight, bias, *, axes, eps, save):
    """For norms over the last axis of something."""
    if len(axes) != 1 or not x.size:
        return None
    if not _on_cpu():
        return mx.fast.layer_norm(x, weight, bias, eps), ()
    dtype = x.dtype
    x, weight, bias = (None if a is None else mlx_sums.wide(a) for a in (x, weight, bias))
    mean = mlx_sums.mean(x, -1, True, rows=True)
    y = x - mean
    rstd = mx.rsqrt(mlx_sums.mean(y * y, -1, True, rows=True) + eps)
    y = y * rstd
    y = y if weight is None else y * weight
    y = y if bias is None else y + bias
    return y.astype(dtype), (mean, rstd)


@layer_norm.defvjp
def layer_norm_vjp(g, saved, x, weight, bias, *, axes, eps):
    """dx = rstd·(gw - mean(gw) - x̂·mean(gw·x̂)) with gw = g·weight; dweight = Σ g·x̂; dbias = Σ g."""
    if saved:
        mean, rstd = saved
        dtype = x.dtype
        g, x, weight = (None if a is None else mlx_sums.wide(a) for a in (g, x, weight))
        normal = (x - mean) * rstd
        rows = tuple(range(x.ndim - 1))
        gw = g if weight is None else g * weight
        dx = (
            gw - mlx_sums.mean(gw, -1, True, rows=True) - normal * mlx_sums.mean(gw * normal, -1, True, rows=True)
        ) * rstd
        sums = (None if a is None else mlx_sums.total(b, rows) for a, b in ((weight, g * normal), (bias, g)))
        return tuple(None if a is None else a.astype(dtype) for a in (dx, *sums))
    given = [a for a in (x, weight, bias) if a is not None]

    def forward(*arrays):
        rest = iter(arrays)
        return mx.fast.layer_norm(*(None if a is None else next(rest) for a in (x, weight, bias)), eps)

    grads = iter(mx.vjp(forward, given, [g])[1])
    return tuple(None if a is None else next(grads) for a in (x, weight, bias))


@kernel("gelu", "mlx")
def gelu(x, *, save):
    """Keeps Φ(x). Sums up in float32: far below 0 the two terms of 1 + erf cancel."""
    cdf = (mx.erf(x.astype(mx.float32) * SQRT_HALF) * 0.5 + 0.5).astype(x.dtype)
    return x * cdf, (cdf,)


@gelu.defvjp
def gelu_vjp(g, saved, x):
    """g·(Φ(x) + x·φ(x))."""
    return (g * (saved[0] + x * mx.exp(x * x * -0.5) * INV_SQRT_2PI),)


@kernel("cross_entropy", "mlx")
def cross_entropy(x, classes, *, ignore_index, smoothing, save):
    """MLX's kernel, in float32, on logits less their largest: it subtracts the class's logit from the log of the sum, of which
    nothing is left where logits are huge."""
    if not x.size:
        return None
    counts = classes != ignore_index
    chosen = mx.where(counts, classes, 0)
    wide = x.astype(mx.float32)
    wide = wide - mx.max(wide, -1, keepdims=True)
    losses = mx.fast.cross_entropy(wide, chosen)
    if smoothing:
        losses = losses * (1 - smoothing) + (mx.logsumexp(wide, -1) - mlx_sums.mean(wide, -1, rows=True)) * smoothing
    return mx.where(counts, losses, 0).astype(x.dtype), (counts, chosen)


@cross_entropy.defvjp
def cross_entropy_vjp(g, saved, x, classes, *, ignore_index, smoothing):
    """g·(softmax(x) - q)."""
    counts, chosen = saved
    q = (mx.arange(x.shape[1]) == chosen[:, None]) * (1 - smoothing) + smoothing / x.shape[1]
    dx = (mx.softmax(mlx_sums.wide(x), axis=-1) - q) * mx.where(counts, g, 0)[:, None]
    return dx.astype(x.dtype), None


@kernel("attention", "mlx")
def attention(q, k, v, *, scale, save):
    """Keeps the weights: after PVT's spatial reduction the keys are few. MLX's kernel, where nothing is kept."""
    if not (q.size and k.size and v.size):
        return None
    if not save and q.ndim == k.ndim == v.ndim == 4 and q.shape[-1] == v.shape[-1] and q.shape[:2] == k.shape[:2]:
        return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale), ()
    weights = mx.softmax((q * scale) @ mx.swapaxes(k, -1, -2), axis=-1, precise=True)
    return weights @ v, (weights,)


@attention.defvjp
def attention_vjp(g, saved, q, k, v, *, scale):
    """dv = Pᵀ·g; dS = P·(dP - Σ dP·P) with dP = g·vᵀ; dq = scale·dS·k, dk = scale·dSᵀ·q."""
    (p,) = saved
    dp, wide = mlx_sums.wide(g @ mx.swapaxes(v, -1, -2)), mlx_sums.wide(p)
    ds = (wide * (dp - mlx_sums.total(dp * wide, -1, True, rows=True))).astype(p.dtype)
    dq, dk, dv = (ds @ k) * scale, mx.swapaxes(ds, -1, -2) @ (q * scale), mx.swapaxes(p, -1, -2) @ g
    return tuple(_fit(d, a) for d, a in ((dq, q), (dk, k), (dv, v)))


def _fit(d, a):
    """Summed over the leading axes along which `a` was broadcast."""
    if d.shape == a.shape:
        return d
    lead = d.ndim - a.ndim
    axes = [i for i in range(d.ndim) if i < lead or a.shape[i - lead] == 1 != d.shape[i]]
    return mlx_sums.total(d, axes, True).reshape(a.shape)
