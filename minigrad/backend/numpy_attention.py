"""softmax(q·kᵀ·scale)·v without masks, some queries at a time, with the weights stored keys first.

Keys first, because numpy reduces over the first axis at full width, and a pyramid has few keys and many queries.
"""

import numpy as np

from minigrad.backend.numpy_threads import parallel

QUERIES = 1 << 17  # numbers of the weights (keys × queries) at a time


def _parts(shape, keys: int) -> list[tuple[slice, slice, slice]]:
    """(images, heads, queries) of the pieces of work: whole images where they are small, else queries of one head."""
    n, heads, length = shape
    if (count := QUERIES // max(keys * length * heads, 1)) > 0:
        whole = slice(0, heads), slice(0, length)
        return [(slice(i, min(n, i + count)), *whole) for i in range(0, n, count)]
    step = max(1, QUERIES // max(keys, 1))
    step = -(-length // -(-length // step))  # of nearly equal size
    cuts = [slice(a, min(length, a + step)) for a in range(0, length, step)]
    return [(slice(i, i + 1), slice(h, h + 1), cut) for i in range(n) for h in range(heads) for cut in cuts]


def _tokens(shape, dtype):
    """An empty (n, heads, length, size) whose memory is that of tokens, (n, length, heads·size)."""
    n, heads, length, size = shape
    return np.empty((n, length, heads, size), dtype).transpose(0, 2, 1, 3)


def attention(q, k, v, *, scale, save):
    """(…, L, E), (…, S, E), (…, S, D) → (…, L, D), equal leading dimensions; keeps the weights, (…, S, L)."""
    lead = q.shape[:-2]
    if q.dtype not in (np.float32, np.float64) or not lead == k.shape[:-2] == v.shape[:-2] or q.ndim > 4:
        return None
    if not q.size or not k.size or not v.size:
        return None
    q, k, v = (a.reshape((1,) * (4 - a.ndim) + a.shape) for a in (q, k, v))
    n, heads, length, _ = q.shape
    keys, size = v.shape[2:]
    out = _tokens((n, heads, length, size), q.dtype)
    weights = np.empty((n, heads, keys, length), q.dtype) if save else None
    parts = _parts(q.shape[:3], keys)
    scaled = k * q.dtype.type(scale)

    def work(part):
        images, heads, queries = piece = parts[part]
        pair = images, heads
        p = scaled[pair] @ q[piece].mT
        p -= p.max(-2, keepdims=True)
        np.exp(p, p)
        total = p.sum(-2, keepdims=True)
        if weights is not None:
            np.divide(p, total, weights[images, heads, :, queries])
            np.matmul(weights[images, heads, :, queries].mT, v[pair], out=out[piece])
        else:
            np.divide(p.mT @ v[pair], total.mT, out[piece])

    parallel(work, len(parts))
    return out.reshape(*lead, length, size) if len(lead) != 2 else out, weights


def attention_vjp(g, weights, q, k, v, *, scale):
    """dv = pᵀ·g;  ds = p·(dp - Σ p·dp) with dp = g·vᵀ;  dq = ds·k·scale;  dk = dsᵀ·q·scale."""
    shapes = q.shape, k.shape, v.shape
    q, k, v, g = (a.reshape((1,) * (4 - a.ndim) + a.shape) for a in (q, k, v, g))
    keys = k.shape[2]
    parts = _parts(q.shape[:3], keys)
    dq = _tokens(q.shape, q.dtype)
    dk, dv = _tokens(k.shape, k.dtype), _tokens(v.shape, v.dtype)
    scaled = k * q.dtype.type(scale)

    def work(part):
        images, heads, queries = piece = parts[part]
        pair = images, heads
        rows, p = g[piece], weights[images, heads, :, queries]
        slope = v[pair] @ rows.mT
        slope *= p
        slope -= p * slope.sum(-2, keepdims=True)
        np.matmul(slope.mT, scaled[pair], out=dq[piece])
        return slope @ q[piece], p @ rows

    for (images, heads, queries), (part_k, part_v) in zip(parts, parallel(work, len(parts)), strict=True):
        if queries.start:
            dk[images, heads] += part_k
            dv[images, heads] += part_v
        else:
            dk[images, heads], dv[images, heads] = part_k, part_v
    dk *= q.dtype.type(scale)
    return tuple(d.reshape(shape) for d, shape in zip((dq, dk, dv), shapes, strict=True))
