"""softmax(q·kᵀ·scale), and its product with v, without masks, some queries at a time, the weights stored keys first.

Keys first, because numpy reduces over the first axis at full width, and a pyramid has few keys and many queries.
"""

import numpy as np

from minigrad.backend.numpy_gemm import row_blocks, shares
from minigrad.backend.numpy_sums import total as sum_over
from minigrad.backend.numpy_threads import parallel
from minigrad.kernels.registry import kernel

QUERIES = 1 << 17  # numbers of the weights (keys × queries) at a time
NUMBER = 128  # multiplications of a matrix product that take as long as what is done for one weight


def _parts(shape, keys: int) -> list[tuple[slice, slice, slice]]:
    """(images, heads, queries) of the pieces of work: whole images where they are small (but heads of them where an image alone
    shall employ several threads), else queries of one head."""
    n, heads, length = shape
    if (count := QUERIES // max(keys * length * heads, 1)) > 0:
        least = shares(NUMBER * n * heads * length * keys)
        images = row_blocks(n, 1, count, min(n, least))
        cuts = row_blocks(heads, 1, heads, min(heads, -(-least // max(len(images), 1))))
        return [(i, h, slice(0, length)) for i in images for h in cuts]
    step = max(1, QUERIES // max(keys, 1))
    step = -(-length // -(-length // step))  # of nearly equal size
    cuts = [slice(a, min(length, a + step)) for a in range(0, length, step)]
    return [(slice(i, i + 1), slice(h, h + 1), cut) for i in range(n) for h in range(heads) for cut in cuts]


def _tokens(shape, dtype):
    """An empty (n, heads, length, size) whose memory is that of tokens, (n, length, heads·size)."""
    n, heads, length, size = shape
    return np.empty((n, length, heads, size), dtype).transpose(0, 2, 1, 3)


def _four(*arrays):
    """The arrays with 4 dimensions, of which the first may be new."""
    return [a.reshape((1,) * (4 - a.ndim) + a.shape) for a in arrays]


def _fit(*arrays) -> bool:
    """Whether the kernels take these."""
    q = arrays[0]
    alike = all(a.shape[:-2] == q.shape[:-2] and a.size for a in arrays)
    return alike and q.dtype in (np.float32, np.float64) and 2 <= q.ndim <= 4


def _exponentials(q, k):
    """e^(k·qᵀ - its maximum over the keys), and its sum over them: (…, S, L), (…, 1, L)."""
    p = k @ q.mT
    p -= p.max(-2, keepdims=True)
    np.exp(p, p)
    return p, sum_over(p, p.ndim - 2, True)


@kernel("attention", "cpu")
def attention(q, k, v, *, scale, save):
    """(…, L, E), (…, S, E), (…, S, D) → (…, L, D), equal leading dimensions; keeps the weights, (…, S, L)."""
    if not _fit(q, k, v):
        return None
    lead = q.shape[:-2]
    q, k, v = _four(q, k, v)
    n, heads, length, _ = q.shape
    keys, size = v.shape[2:]
    out = _tokens((n, heads, length, size), q.dtype)
    weights = np.empty((n, heads, keys, length), q.dtype) if save else None
    parts = _parts(q.shape[:3], keys)
    scaled = k * q.dtype.type(scale)

    def work(part):
        images, heads, queries = piece = parts[part]
        pair = images, heads
        p, total = _exponentials(q[piece], scaled[pair])
        if weights is not None:
            np.divide(p, total, weights[images, heads, :, queries])
            np.matmul(weights[images, heads, :, queries].mT, v[pair], out=out[piece])
        else:
            np.divide(p.mT @ v[pair], total.mT, out[piece])

    parallel(work, len(parts))
    return out.reshape(*lead, length, size) if len(lead) != 2 else out, weights


@kernel("attention_weights", "cpu")
def attention_weights(q, k, *, scale, save):
    """(…, L, E), (…, S, E) → (…, L, S), a view of (…, S, L): one array of this size is made, and nothing beside it."""
    if not _fit(q, k):
        return None
    lead = q.shape[:-2]
    q, k = _four(q, k)
    weights = np.empty((*q.shape[:2], k.shape[2], q.shape[2]), q.dtype)
    parts = _parts(q.shape[:3], k.shape[2])
    scaled = k * q.dtype.type(scale)

    def work(part):
        images, heads, queries = piece = parts[part]
        p, total = _exponentials(q[piece], scaled[images, heads])
        np.divide(p, total, weights[images, heads, :, queries])

    parallel(work, len(parts))
    y = weights.mT
    return y.reshape(*lead, *y.shape[2:]) if len(lead) != 2 else y, weights


@attention.defvjp
def attention_vjp(g, weights, q, k, v, *, scale):
    """dv = pᵀ·g; dq and dk by way of dp = g·vᵀ."""
    shape = v.shape
    v, g = _four(v, g)
    dv = _tokens(v.shape, v.dtype)

    def slope(piece, p):
        return v[piece[:2]] @ g[piece].mT, p @ g[piece]

    return *_weights_vjp(slope, weights, q, k, scale, dv), dv.reshape(shape)


@attention_weights.defvjp
def attention_weights_vjp(g, weights, q, k, *, scale):
    """dq and dk from dp = g."""
    (g,) = _four(g)
    return _weights_vjp(lambda piece, p: (g[piece].mT.copy(), None), weights, q, k, scale, None)


def _weights_vjp(slope_of, weights, q, k, scale, dv):
    """dq = ds·k·scale, dk = dsᵀ·q·scale with ds = p·(dp - Σ p·dp). `slope_of(piece, p)` gives a fresh dp, keys first, and the
    piece's part of dv, where there is one."""
    shapes = q.shape, k.shape
    q, k = _four(q, k)
    parts = _parts(q.shape[:3], k.shape[2])
    dq, dk = _tokens(q.shape, q.dtype), _tokens(k.shape, k.dtype)
    scaled = k * q.dtype.type(scale)

    def work(part):
        images, heads, queries = piece = parts[part]
        p = weights[images, heads, :, queries]
        slope, part_v = slope_of(piece, p)
        slope *= p
        slope -= p * sum_over(slope, slope.ndim - 2, True)
        np.matmul(slope.mT, scaled[images, heads], out=dq[piece])
        return slope @ q[piece], part_v

    for (images, heads, queries), results in zip(parts, parallel(work, len(parts)), strict=True):
        for total, result in zip((dk, dv), results, strict=True):
            if total is not None and queries.start:
                total[images, heads] += result
            elif total is not None:
                total[images, heads] = result
    dk *= q.dtype.type(scale)
    return dq.reshape(shapes[0]), dk.reshape(shapes[1])
