"""What sums in 16 bits: calls that read alike in minigrad and in PyTorch, for the tests against float64 and against PyTorch.

A case is a name, a function of the library (`mg` or `torch`), its functions (`F`) and the inputs, the inputs' shapes, and how
its numbers are made. Bounds are in units in the last place (ulps) of the 16-bit result.
"""

import numpy as np

BITS = {"float16": (10, -24), "bfloat16": (7, -133)}  # of the fraction; the exponent of the smallest number


def rounded(a, dtype: str):
    """float64 numbers rounded to a 16-bit dtype."""
    a = np.asarray(a, np.float64)
    step = spacing(a, dtype)
    with np.errstate(over="ignore"):
        return a.astype(np.float16).astype(np.float64) if dtype == "float16" else np.round(a / step) * step


def spacing(a, dtype: str):
    """One unit in the last place of numbers of a 16-bit dtype."""
    bits, least = BITS[dtype]
    _, exponent = np.frexp(np.abs(np.asarray(a, np.float64)))
    return np.exp2(np.maximum(exponent - 1.0 - bits, least))


def offset(rng, shape):
    return 0.1 + 0.05 * rng.normal(size=shape)


def normal(rng, shape):
    return rng.normal(size=shape)


def equal(rng, shape):
    return np.full(shape, 1.5)


def near_one(rng, shape):
    return rng.uniform(0.9, 1.1, shape)


def zeros(rng, shape):
    return np.zeros(shape)


def classes(t, x, n, count):
    return (t.arange(n, device=x.device) % count).long() if count > 1 else t.zeros(n, device=x.device).long()


# name, function, shapes, numbers, ulps allowed in the value, in the gradients
CASES = [
    ("sum", lambda t, F, x: x.sum(), [(30000,)], offset, 1, 1),
    ("sum, leading", lambda t, F, x: x.sum(0), [(30000, 2)], offset, 1, 1),
    ("sum, inner", lambda t, F, x: x.sum((0, 2)), [(40, 3, 500)], offset, 1, 1),
    ("mean of many", lambda t, F, x: x.mean(), [(300, 300)], equal, 1, 1),
    ("mean, leading", lambda t, F, x: x.mean(0), [(70000, 2)], offset, 1, 1),
    ("mean over tokens", lambda t, F, x: x.mean(1), [(2, 3136, 4)], offset, 1, 1),
    ("var", lambda t, F, x: x.var(0), [(5000, 2)], normal, 2, 2),
    ("std", lambda t, F, x: x.std(0), [(5000, 2)], normal, 2, 2),
    ("prod", lambda t, F, x: x.prod(), [(60,)], near_one, 1, 2),
    ("cumsum", lambda t, F, x: x.cumsum(0), [(5000, 2)], offset, 1, 1),
    ("cumsum along rows", lambda t, F, x: x.cumsum(1), [(2, 7000)], offset, 1, 1),
    ("softmax", lambda t, F, x: t.softmax(x, -1), [(2, 70000)], normal, 1, 2),
    ("softmax, leading", lambda t, F, x: t.softmax(x, 0), [(5000, 2)], normal, 1, 2),
    ("log_softmax", lambda t, F, x: t.log_softmax(x, -1), [(2, 70000)], normal, 1, 2),
    ("logsumexp", lambda t, F, x: t.logsumexp(x, -1), [(2, 70000)], zeros, 1, 4),
    ("normalize", lambda t, F, x: F.normalize(x, dim=1), [(2, 70000)], normal, 1, 3),
    ("normalize, p=3", lambda t, F, x: F.normalize(x, p=3.0, dim=0), [(5000, 2)], normal, 2, 3),
    ("amax of equals", lambda t, F, x: x.amax(1), [(2, 3001)], equal, 0, 1),
    ("amin of many equals", lambda t, F, x: x.amin(), [(70000,)], equal, 0, 1),
    ("avg_pool2d", lambda t, F, x: F.avg_pool2d(x, 50), [(1, 2, 100, 100)], offset, 1, 1),
    ("avg_pool2d, overlapping", lambda t, F, x: F.avg_pool2d(x, 9, 1, 4), [(1, 2, 20, 20)], offset, 2, 2),
    ("avg_pool2d, large sums", lambda t, F, x: F.avg_pool2d(x * 1000, 16), [(1, 2, 32, 32)], equal, 1, 2),
    ("adaptive_avg_pool2d", lambda t, F, x: F.adaptive_avg_pool2d(x, 1), [(2, 3, 60, 61)], offset, 1, 1),
    ("adaptive_avg_pool2d, uneven", lambda t, F, x: F.adaptive_avg_pool2d(x, (3, 4)), [(1, 2, 70, 31)], offset, 1, 1),
    ("interpolate", lambda t, F, x: F.interpolate(x, size=(31, 37), mode="bilinear"), [(1, 2, 9, 7)], offset, 1, 2),
    ("antialiasing", lambda t, F, x: F.interpolate(x, (3, 2), mode="bilinear", antialias=True), [(1, 2, 60, 70)], offset, 1, 1),
    ("interpolate, nearest", lambda t, F, x: F.interpolate(x, size=(90, 80)), [(1, 2, 3, 2)], offset, 0, 1),
    ("layer_norm", lambda t, F, x, w, b: F.layer_norm(x, (64,), w, b), [(1000, 64), (64,), (64,)], offset, 2, 3),
    ("layer_norm, long", lambda t, F, x: F.layer_norm(x, (70000,)), [(2, 70000)], normal, 2, 3),
    ("group_norm", lambda t, F, x, w, b: F.group_norm(x, 2, w, b), [(2, 4, 50, 50), (4,), (4,)], offset, 2, 3),
    ("batch_norm", lambda t, F, x, w, b: F.batch_norm(x, None, None, w, b, training=True), [(40, 3, 20, 20), (3,), (3,)], offset, 2, 3),
    ("broadcasting", lambda t, F, x, b: x + b, [(9000, 2), (2,)], offset, 1, 1),
    ("broadcasting a number", lambda t, F, x, b: x + b, [(9000, 2), ()], offset, 1, 1),
    ("matmul", lambda t, F, x, y: x @ y, [(3, 5000), (5000, 4)], offset, 1, 1),
    ("matmul's batch", lambda t, F, x, y: x @ y, [(900, 2, 3), (3, 4)], offset, 1, 1),
    ("dot", lambda t, F, x, y: t.dot(x, y), [(9000,), (9000,)], offset, 1, 1),
    ("einsum", lambda t, F, x, y: t.einsum("bij,bjk->bik", x, y), [(2, 3, 900), (2, 900, 2)], offset, 1, 1),
    ("einsum of one", lambda t, F, x: t.einsum("ij->j", x), [(9000, 2)], offset, 1, 1),
    ("linear", lambda t, F, x, w, b: F.linear(x, w, b), [(900, 70), (3, 70), (3,)], offset, 1, 1),
    ("conv2d", lambda t, F, x, w, b: F.conv2d(x, w, b, padding=1), [(2, 20, 30, 30), (4, 20, 3, 3), (4,)], offset, 1, 2),
    ("conv2d, stride", lambda t, F, x, w, b: F.conv2d(x, w, b, stride=2, padding=3), [(2, 3, 30, 30), (40, 3, 7, 7), (40,)], offset, 1, 2),
    ("conv2d, patches", lambda t, F, x, w, b: F.conv2d(x, w, b, stride=4), [(2, 3, 32, 32), (8, 3, 4, 4), (8,)], offset, 1, 2),
    ("conv2d, depthwise", lambda t, F, x, w, b: F.conv2d(x, w, b, padding=3, groups=4), [(2, 4, 30, 30), (4, 1, 7, 7), (4,)], offset, 1, 2),
    ("conv2d, depthwise, stride", lambda t, F, x, w, b: F.conv2d(x, w, b, 2, 2, 1, 4), [(2, 4, 30, 30), (4, 1, 5, 5), (4,)], offset, 1, 2),
    ("conv_transpose2d", lambda t, F, x, w: F.conv_transpose2d(x, w, stride=2), [(2, 20, 9, 9), (20, 3, 4, 4)], offset, 1, 2),
    ("mse_loss", lambda t, F, x, y: F.mse_loss(x, y), [(300, 300), (300, 300)], normal, 2, 2),
    ("l1_loss", lambda t, F, x, y: F.l1_loss(x, y), [(300, 300), (300, 300)], normal, 2, 2),
    ("smooth_l1_loss", lambda t, F, x, y: F.smooth_l1_loss(x, y), [(300, 300), (300, 300)], normal, 2, 3),
    ("bce with logits", lambda t, F, x: F.binary_cross_entropy_with_logits(x, x.detach() * 0 + 1), [(300, 300)], normal, 3, 4),
    ("cross_entropy", lambda t, F, x: F.cross_entropy(x, classes(t, x, 70000, 3)), [(70000, 3)], normal, 2, 3),
    ("cross_entropy, 2d", lambda t, F, x: F.cross_entropy(x, classes(t, x, 70000, 3).view(1, 280, 250)), [(1, 3, 280, 250)], normal, 2, 3),
    ("cross_entropy, weights", lambda t, F, x, w: F.cross_entropy(x, classes(t, x, 9000, 3), w.detach()), [(9000, 3), (3,)], normal, 8, 8),
    ("cross_entropy, probabilities", lambda t, F, x: F.cross_entropy(x, x.detach() * 0 + 0.25), [(70000, 4)], normal, 3, 4),
    ("cross_entropy, smoothing", lambda t, F, x: F.cross_entropy(x, classes(t, x, 3, 5), label_smoothing=0.5), [(3, 20000)], normal, 3, 4),
    ("nll_loss", lambda t, F, x: F.nll_loss(x, classes(t, x, 70000, 3)), [(70000, 3)], normal, 2, 2),
    ("embedding", lambda t, F, w: F.embedding(classes(t, w, 3000, 1), w), [(5, 2)], offset, 0, 1),
    ("index_select", lambda t, F, x: t.index_select(x, 1, classes(t, x, 3000, 2)), [(2, 5)], offset, 0, 1),
    ("gather", lambda t, F, x: t.gather(x, 0, classes(t, x, 6000, 2).reshape(3000, 2)), [(5, 2)], offset, 0, 1),
    ("scatter_add", lambda t, F, x, y: t.scatter_add(x, 0, classes(t, x, 6000, 2).reshape(3000, 2), y), [(5, 2), (3000, 2)], offset, 2, 1),
    ("index_add", lambda t, F, x, y: t.index_add(x, 0, classes(t, x, 3000, 1), y), [(5, 2), (3000, 2)], offset, 2, 1),
    ("repeat", lambda t, F, x: x.repeat(3000, 1), [(1, 2)], offset, 0, 1),
    ("max_pool2d, overlapping", lambda t, F, x: F.max_pool2d(x, 21, 1), [(1, 1, 60, 60)], offset, 0, 1),
]  # fmt: skip
