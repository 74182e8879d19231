"""Optimisers' arithmetic in blocks that stay in the cache, operation by operation that of `minigrad.optim`."""

import numpy as np

from minigrad.backend.numpy_threads import parallel, scratch
from minigrad.kernels.registry import kernel

BLOCK = 1 << 15
PART = 1 << 17  # numbers that one thread takes at a time
SMALL = 1 << 12  # arrays below this aren't worth the blocks


@kernel("adam", "cpu")
def adam(p, g, m, v, v_max=None, *, lr, betas, correction, root, eps, weight_decay, decoupled):
    """New arrays of a parameter, its two moments and, with `v_max`, the largest second one; see `adam` in `minigrad.optim.adam`. The
    given ones are only read."""
    if p.size < SMALL:
        return None
    beta1, beta2 = betas
    rate = -(lr / correction)
    old = (p, g, m, v) if v_max is None else (p, g, m, v, v_max)
    new = [np.empty(p.shape, p.dtype) for _ in old[1:]]
    multiply, add = np.multiply, np.add

    def run(p, g, m, v, out, mean, square, before=None, largest=None):
        other = scratch(p.size, p.dtype).reshape(p.shape)
        if weight_decay and not decoupled:
            multiply(p, weight_decay, other)
            g = add(g, other)
        np.subtract(g, m, mean)
        multiply(mean, 1 - beta1 if beta1 > 0.5 else -(1 - (1 - beta1)), mean)
        add(mean, m if beta1 > 0.5 else g, mean)
        multiply(g, 1 - beta2, square)
        multiply(square, g, square)
        multiply(v, beta2, other)
        add(square, other, square)
        if before is not None:
            square = np.maximum(before, square, out=largest)
        multiply(mean, rate, out)
        np.sqrt(square, other)
        np.divide(other, root, other)
        add(other, eps, other)
        np.divide(out, other, out)
        if weight_decay and decoupled:
            p = multiply(p, 1 - lr * weight_decay, other)
        add(out, p, out)

    in_blocks(run, (p, g, m, v, *new[:3], *old[4:], *new[3:]))
    return new


@kernel("sgd", "cpu")
def sgd(p, g, b, *, lr, momentum, dampening, weight_decay, nesterov):
    """New arrays of a parameter and of its momentum buffer (None without momentum), see `sgd` in `minigrad.optim.sgd`; the given ones
    are only read."""
    if p.size < SMALL:
        return None
    new = np.empty(p.shape, p.dtype)
    multiply, add = np.multiply, np.add

    def run(p, g, out, before=None, buffer=None):
        if weight_decay:
            g = add(g, multiply(p, weight_decay, out), scratch(p.size, p.dtype).reshape(p.shape))
        if buffer is not None:
            multiply(before, momentum, buffer)
            add(buffer, multiply(g, 1 - dampening, out) if dampening else g, buffer)
            g = add(g, multiply(buffer, momentum, out), out) if nesterov else buffer
        multiply(g, -lr, out)
        add(out, p, out)

    if not momentum:
        in_blocks(run, (p, g, new))
        return new, None
    buffer = np.empty(p.shape, p.dtype)
    in_blocks(run, (p, g, new, b, buffer))
    return new, buffer


def in_blocks(run, arrays):
    """Calls `run` with the arrays, large ones in flat blocks, one after the other, on several threads."""
    size = arrays[0].size
    if size <= BLOCK:
        run(*arrays)
        return
    flat = [a.reshape(-1) for a in arrays]

    def work(part):
        for start in range(part * PART, min(size, (part + 1) * PART), BLOCK):
            run(*[a[start : start + BLOCK] for a in flat])

    parallel(work, -(-size // PART))
