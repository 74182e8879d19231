"""Matrix products of tall matrices, rows at a time: what follows a product (a bias, a sum) finds its rows in the cache."""

import numpy as np

from minigrad.backend.numpy_threads import parallel

BLOCK = 1 << 18  # numbers of the larger matrix in one block of rows


def row_blocks(rows: int, columns: int, block: int = BLOCK) -> list[slice]:
    """Blocks of rows of a matrix, the same whatever the number of threads."""
    step = max(1, block // max(columns, 1))
    count = -(-rows // step)
    step = max(1, -(-rows // max(count, 1)))  # of nearly equal size
    return [slice(i, min(rows, i + step)) for i in range(0, rows, step)]


def linear_into(x, w, b, out) -> None:
    """out = x·w + b for x (M, K), w (K, N), b (N,) or None; out (M, N) contiguous in its rows."""
    blocks = row_blocks(x.shape[0], max(w.shape))

    def work(i):
        part = out[blocks[i]]
        np.matmul(x[blocks[i]], w, out=part)
        if b is not None:
            part += b

    parallel(work, len(blocks))


def linear(x, w, b):
    """x·w + b for matrices x (M, K), w (K, N), and b (N,) or None."""
    if max(x.size, x.shape[0] * w.shape[1]) <= BLOCK:
        y = x @ w
        if b is not None:
            y += b
        return y
    out = np.empty((x.shape[0], w.shape[1]), x.dtype)
    linear_into(x, w, b, out)
    return out


def transposed_product(a, b):
    """aᵀ·b for a (M, K), b (M, N) with many rows M: (K, N), summed over blocks of rows in their order."""
    blocks = row_blocks(a.shape[0], max(a.shape[1], b.shape[1]), 8 * BLOCK)
    if len(blocks) < 2:
        return a.T @ b
    parts = parallel(lambda i: a[blocks[i]].T @ b[blocks[i]], len(blocks))
    for part in parts[1:]:
        parts[0] += part
    return parts[0]


def column_sums(a):
    """Σ over the rows of a matrix (M, N): (N,), as a product with ones, which BLAS does at the memory's speed."""
    return np.ones(a.shape[0], a.dtype) @ a
