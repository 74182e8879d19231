"""GELU and its derivative in blocks that stay in the cache.

float32: Φ(x) = (1 + tanh(x·q(x²))) / 2 with q of degree 6, a least-maximum fit of x·Φ(x) to 8e-8 (before rounding) which needs
no clipping: beyond |x| = 5 the argument of tanh only grows. float64: by `erf`.
"""

import math

import numpy as np

from minigrad.backend.numpy_erf import erf
from minigrad.backend.numpy_threads import parallel, scratch
from minigrad.kernels.registry import kernel

BLOCK = 1 << 17
PART = 1 << 18  # numbers that one thread takes at a time
SQRT_HALF = math.sqrt(0.5)
INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)
LOG_INV_SQRT_2PI = math.log(INV_SQRT_2PI)
Q32 = (  # lowest power first
    0.7978841859101968,
    0.03633427904336001,
    -3.311399284067402e-05,
    -5.524492021021963e-05,
    3.969450685903509e-06,
    -1.3343752931746103e-07,
    1.804971891483163e-09,
)


def cdf(x, square, out) -> None:
    """Φ(x) into `out`, for a float32 block and its square."""
    multiply, add = np.multiply, np.add
    multiply(square, Q32[-1], out)
    for c in Q32[-2:0:-1]:
        add(out, c, out)
        multiply(out, square, out)
    add(out, Q32[0], out)
    multiply(out, x, out)
    np.tanh(out, out)
    multiply(out, 0.5, out)
    add(out, 0.5, out)


def gelu_block(x, y, slope=None) -> None:
    """x·Φ(x) into y, and, where it is given, Φ(x) + x·φ(x) into slope. Flat contiguous arrays; y may be x itself."""
    if x.dtype != np.float32:
        phi = erf(x * SQRT_HALF) * 0.5 + 0.5
        if slope is not None:
            np.add(phi, x * np.exp(x * x * -0.5) * INV_SQRT_2PI, slope)
        np.multiply(x, phi, y)
        return
    square, phi = scratch(2 * x.size, x.dtype).reshape(2, -1)
    np.multiply(x, x, square)
    cdf(x, square, phi)
    if slope is not None:
        square *= -0.5
        square += LOG_INV_SQRT_2PI
        np.exp(square, square)
        square *= x
        np.add(phi, square, slope)
    np.multiply(x, phi, y)


def _over(run, like, *others) -> None:
    """run(block, …) on flat blocks of the arrays, all cut alike; `like` is fresh, so that its flat form is a view."""
    order = np.argsort([-s for s in like.strides], kind="stable")
    flat = [a.transpose(order).reshape(-1) for a in (like, *others)]

    def work(i):
        for start in range(i * PART, min(like.size, (i + 1) * PART), BLOCK):
            run(*(a[start : start + BLOCK] for a in flat))

    with np.errstate(over="ignore", invalid="ignore"):  # squares of numbers beyond 1e19, whose Φ is 0 or 1 all the same
        parallel(work, -(-like.size // PART))


@kernel("gelu", "cpu")
def gelu(x, *, save):
    """y = x·Φ(x); keeps nothing but x, and works the derivative out again."""
    if x.dtype not in (np.float32, np.float64):
        return None
    y = np.empty_like(x)
    _over(lambda y, x: gelu_block(x, y), y, x)
    return y, None


@gelu.defvjp
def gelu_vjp(g, saved, x):
    """g·(Φ(x) + x·φ(x))."""
    dx = np.empty_like(x)

    def run(dx, x, g):
        gelu_block(x, np.empty_like(x), dx)
        dx *= g

    _over(run, dx, x, g)
    return (dx,)
