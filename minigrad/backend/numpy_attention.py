"""softmax(q·kᵀ·scale)·v without masks, some queries at a time, with the weights stored keys first.

Keys first, because numpy reduces over the first axis at full width, and a pyramid has few keys and many queries.
"""

import numpy as np

from minigrad.backend.numpy_threads import parallel

QUERIES = 1 << 17  # numbers of the weights (keys × queries) at a time


def _parts(shape, keys: int) -> list:
    """(image, head, queries) of the pieces of work."""
    n, heads, length = shape
    step = max(1, QUERIES // max(keys, 1))
    count = -(-length // step)
    step = -(-length // count)
    return [
        (i, h, slice(a, min(length, a + step))) for i in range(n) for h in range(heads) for a in range(0, length, step)
    ]


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
        i, h, queries = parts[part]
        p = scaled[i, h] @ q[i, h, queries].T
        p -= p.max(0)
        np.exp(p, p)
        total = p.sum(0)
        if weights is not None:
            np.divide(p, total, weights[i, h, :, queries])
            np.matmul(weights[i, h, :, queries].T, v[i, h], out=out[i, h, queries])
        else:
            o = p.T @ v[i, h]
            np.divide(o, total[:, None], out[i, h, queries])

    parallel(work, len(parts))
    return out.reshape(*lead, length, size) if len(lead) != 2 else out, weights


def attention_vjp(g, weights, q, k, v, *, scale):
    """dv = pᵀ·g;  ds = p·(dp - Σ p·dp) with dp = g·vᵀ;  dq = ds·k·scale;  dk = dsᵀ·q·scale."""
    shapes = q.shape, k.shape, v.shape
    q, k, v, g = (a.reshape((1,) * (4 - a.ndim) + a.shape) for a in (q, k, v, g))
    n, heads, length, _ = q.shape
    keys = k.shape[2]
    parts = _parts(q.shape[:3], keys)
    dq = _tokens(q.shape, q.dtype)
    dk, dv = _tokens(k.shape, k.dtype), _tokens(v.shape, v.dtype)
    scaled = k * q.dtype.type(scale)

    def work(part):
        i, h, queries = parts[part]
        rows, p = g[i, h, queries], weights[i, h, :, queries]
        slope = v[i, h] @ rows.T
        slope *= p
        slope -= p * slope.sum(0)
        np.matmul(slope.T, scaled[i, h], out=dq[i, h, queries])
        return slope @ q[i, h, queries], p @ rows

    seen = set()
    for (i, h, _), (part_k, part_v) in zip(parts, parallel(work, len(parts)), strict=True):
        if (i, h) in seen:
            dk[i, h] += part_k
            dv[i, h] += part_v
        else:
            dk[i, h], dv[i, h] = part_k, part_v
            seen.add((i, h))
    dk *= q.dtype.type(scale)
    return tuple(d.reshape(shape) for d, shape in zip((dq, dk, dv), shapes, strict=True))
