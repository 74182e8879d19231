"""Optimisers' arithmetic in blocks that stay in the cache, operation by operation that of `minigrad.optim`."""

import numpy as np

from minigrad.backend.numpy_threads import parallel, scratch
from minigrad.kernels.registry import kernel

BLOCK = 1 << 15
PART = 1 << 17  # numbers that one thread takes at a time


@kernel("adam", "cpu")
def adam(p, g, m, v, *, lr, betas, correction, root, eps, decay, decoupled):
    """New arrays of a parameter and its two moments, see `minigrad.optim.Adam`; the given ones are only read."""
    beta1, beta2 = betas
    rate = -(lr / correction)
    new = np.empty(p.shape, p.dtype), np.empty(p.shape, p.dtype), np.empty(p.shape, p.dtype)
    flat = [a.reshape(-1) for a in (p, g, m, v, *new)]
    multiply, add = np.multiply, np.add

    def run(p, g, m, v, out, mean, square):
        other = scratch(p.size, p.dtype)
        if decay and not decoupled:
            multiply(p, decay, other)
            g = add(g, other)
        np.subtract(g, m, mean)
        multiply(mean, 1 - beta1 if beta1 > 0.5 else -(1 - (1 - beta1)), mean)
        add(mean, m if beta1 > 0.5 else g, mean)
        multiply(g, 1 - beta2, square)
        multiply(square, g, square)
        multiply(v, beta2, other)
        add(square, other, square)
        multiply(mean, rate, out)
        np.sqrt(square, other)
        np.divide(other, root, other)
        add(other, eps, other)
        np.divide(out, other, out)
        if decay and decoupled:
            p = multiply(p, 1 - lr * decay, other)
        add(out, p, out)

    def work(part):
        for start in range(part * PART, min(p.size, (part + 1) * PART), BLOCK):
            run(*(a[start : start + BLOCK] for a in flat))

    if p.size <= BLOCK:
        run(*flat)
    else:
        parallel(work, -(-p.size // PART))
    return new
