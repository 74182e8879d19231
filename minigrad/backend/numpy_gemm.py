"""Matrix products of tall matrices, rows at a time: what follows a product (a bias, a sum) finds its rows in the cache."""

import functools
from collections.abc import Callable

import numpy as np

from minigrad.backend import numpy_sums
from minigrad.backend.numpy_threads import free_threads, parallel

BLOCK = 1 << 18  # numbers of the larger matrix in one block of rows
WORTH = 1 << 24  # multiplications for which another thread is worth waking; about 0.2 ms
ROWS = 32  # of a product that are worth a part of their own
FLOAT16 = np.dtype(np.float16)


def in_float32(function: Callable) -> Callable[..., np.ndarray]:
    """`function`, with products of float16 computed in float32, for which there is BLAS, and rounded once."""

    @functools.wraps(function)
    def computed(*arrays, **static):
        if arrays[0].dtype != FLOAT16:
            return function(*arrays, **static)
        return function(*[a if a is None else a.astype(np.float32) for a in arrays], **static).astype(FLOAT16)

    return computed


def shares(multiplications: int) -> int:
    """How many parts work should have at least, as much as so many multiplications of a matrix product, so that every thread that
    it pays to wake has one; one within work that is being shared out already."""
    return max(1, min(free_threads(), multiplications // WORTH))


def product_shares(rows: int, w) -> int:
    """The same for the product of a matrix of so many rows with `w`, which is packed anew for each part."""
    return min(shares(rows * w.size), max(1, rows // ROWS))


def row_blocks(rows: int, columns: int, block: int = BLOCK, least: int = 1) -> list[slice]:
    """Blocks of rows of a matrix of nearly equal size, `least` of them or more."""
    count = max(-(-rows // max(1, block // max(columns, 1))), least)
    step = max(1, -(-rows // max(count, 1)))
    return [slice(i, min(rows, i + step)) for i in range(0, rows, step)]


def linear_into(x, w, b, out) -> None:
    """out = x·w + b for x (M, K), w (K, N), b (N,) or None; out (M, N) contiguous in its rows."""
    blocks = row_blocks(x.shape[0], max(w.shape), least=product_shares(x.shape[0], w))

    def work(i):
        part = out[blocks[i]]
        np.matmul(x[blocks[i]], w, out=part)
        if b is not None:
            part += b

    parallel(work, len(blocks))


def linear(x, w, b) -> np.ndarray:
    """x·w + b for matrices x (M, K), w (K, N), and b (N,) or None."""
    if max(x.size, x.shape[0] * w.shape[1]) <= BLOCK and product_shares(x.shape[0], w) == 1:
        y = x @ w
        if b is not None:
            y += b
        return y
    out = np.empty((x.shape[0], w.shape[1]), x.dtype)
    linear_into(x, w, b, out)
    return out


def transposed_product(a, b) -> np.ndarray:
    """aᵀ·b for a (M, K), b (M, N): (K, N). Threads share the rows of large matrices, whose parts are summed in their order, or where
    these are fewer than columns, the columns of the wider one."""
    (m, k), n = a.shape, b.shape[1]
    least = shares(m * k * n)
    blocks = row_blocks(m, max(k, n), 8 * BLOCK, least if m > max(k, n) else 1)
    if len(blocks) > 1:
        parts = parallel(lambda i: a[blocks[i]].T @ b[blocks[i]], len(blocks))
        for part in parts[1:]:
            parts[0] += part
        return parts[0]
    if least == 1:
        return a.T @ b
    out = np.empty((k, n), a.dtype)
    cuts = [(c, slice(0, n)) if k > n else (slice(0, k), c) for c in row_blocks(max(k, n), 1, max(k, n), least)]
    parallel(lambda i: np.matmul(a[:, cuts[i][0]].T, b[:, cuts[i][1]], out=out[cuts[i]]), len(cuts))
    return out


def column_sums(a):
    """Σ over the rows of a matrix (M, N): (N,), as products with ones, which BLAS computes at the memory's speed."""
    return numpy_sums.columns(a) if a.dtype == np.float32 else np.ones(a.shape[0], a.dtype) @ a
