"""Operations of several inputs whose inputs share their history: one tensor twice, one computed from another, both from a third,
one a view of the other. Each input's derivative is with the others held fixed, and the sum of all is the gradient."""

import itertools
import math
import sys
from typing import NamedTuple

import numpy as np
import pytest

import minigrad as mg
from minigrad.autograd import REGISTRY, checkpoint, gradcheck, gradgradcheck
from minigrad.functions.attention import attend
from minigrad.kernels.fused import Fused
from minigrad.models.pvt_v2.conv_mlp import conv_mlp_
from minigrad.nn import functional as F
from minigrad.ops import fused


class Row(NamedTuple):
    """A function of tensors of these shapes. `name` is an operation's, or a loss's; `what` says which of its ways."""

    name: str
    what: str
    function: object
    shapes: tuple


ROWS: list[Row] = []


def row(name, function, *shapes, what=""):
    ROWS.append(Row(name, what, function, shapes))


def classes(n):
    return mg.arange(n) % 3


# --- fused operations: called bare, as the layers call them
row("layer_norm", lambda x, w, b: fused.layer_norm(x, w, b, axes=(1,), eps=0.1), (3, 4), (4,), (4,))
row("layer_norm", lambda x, w: fused.layer_norm(x, w, None, axes=(1, 2), eps=0.1), (2, 3, 4), (3, 4), what="two axes")
row("layer_norm", lambda x: fused.layer_norm(x, None, None, axes=(1,), eps=0.1), (3, 4), what="bare")
row("gelu", lambda x: fused.gelu(x), (3, 4))
row("gelu", lambda x, y: fused.gelu(x) * fused.gelu(y), (3, 4), (3, 4), what="two")
row("cross_entropy", lambda x: fused.cross_entropy(x, classes(4), ignore_index=1, smoothing=0.0), (4, 3))
row(
    "cross_entropy",
    lambda x: fused.cross_entropy(x, classes(4), ignore_index=-100, smoothing=0.2),
    (4, 3),
    what="smooth",
)
MLP = (1, 6, 2), (3, 2), (3,), (3, 1, 3, 3), (3,), (2, 3), (2,)
for relu in (False, True):
    row(
        "conv_mlp",
        lambda *ts, relu=relu: conv_mlp_(*ts, size=(2, 3), relu=relu),
        *MLP,
        what="relu" if relu else "",
    )
row("attention", lambda q, k, v: fused.attention(q, k, v, scale=0.7), *[(2, 3, 4)] * 3)
row("attention", lambda q, k, v: fused.attention(q, k, v, scale=0.7), (2, 3, 4), (2, 5, 4), (2, 5, 2), what="lengths")
row("attention_weights", lambda q, k: fused.attention_weights(q, k, scale=0.7), *[(2, 3, 4)] * 2)

# --- other operations of several inputs, and the losses
ATTENTION = [(2, 3, 4)] * 3
row("linear", F.linear, (3, 4), (4, 4), (4,))
row("sdpa", F.scaled_dot_product_attention, *ATTENTION)
row("sdpa", lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), *ATTENTION, what="causal")
HIDDEN = np.array([[True, False, True], [False, False, False], [True, True, True]])
row(
    "sdpa",
    lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mg.tensor(HIDDEN)),
    *ATTENTION,
    what="hidden",
)
row(
    "sdpa",
    lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, attn_mask=m),
    *ATTENTION,
    (2, 3, 3),
    what="added mask",
)


def dropped(q, k, v, mask=None):
    keep = mg.tensor([[2.0, 0, 0], [0, 2, 2], [2, 0, 2]]).to(q.dtype)
    return attend(q, k, v, attn_mask=mask, dropout_mask=keep)


row("sdpa", dropped, *ATTENTION, what="dropout and weights")
row("sdpa", dropped, *ATTENTION, (2, 3, 3), what="dropout and added mask")
row("mse_loss", F.mse_loss, (3, 4), (3, 4))
row("l1_loss", F.l1_loss, (3, 4), (3, 4))
row("smooth_l1_loss", lambda x, y: F.smooth_l1_loss(x, y, beta=0.7), (3, 4), (3, 4))
row("bce", F.binary_cross_entropy_with_logits, (3, 4), (3, 4))
row("bce", lambda x, y, w, p: F.binary_cross_entropy_with_logits(x, y, w, pos_weight=p, reduction="none"), (3, 4), (3, 4), (3, 4), (4,),
    what="weights")  # fmt: skip
row("nll_loss", lambda x, y: F.nll_loss(x * y, classes(3), reduction="sum"), (3, 4), (3, 4))
row(
    "cross_entropy",
    lambda x, w: F.cross_entropy(x, classes(4), weight=w, label_smoothing=0.1),
    (4, 3),
    (3,),
    what="weights of classes",
)
row("cross_entropy", lambda x, y: F.cross_entropy(x, y, label_smoothing=0.1), (4, 3), (4, 3), what="probabilities")
row(
    "cross_entropy",
    lambda x, y, w: F.cross_entropy(x, y, weight=w),
    (4, 3),
    (4, 3),
    (3,),
    what="weighted probabilities",
)
row("normalize", lambda x, y: F.normalize(x, dim=1) * F.normalize(y, dim=0), (3, 4), (3, 4))
row("batch_norm", lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, eps=0.1), (3, 4), (4,), (4,))
row(
    "batch_norm",
    lambda x, w, b: F.batch_norm(x, mg.zeros(4).to(x.dtype), mg.ones(4).to(x.dtype), w, b),
    (3, 4),
    (4,),
    (4,),
    what="evaluation",
)
row("group_norm", lambda x, w, b: F.group_norm(x, 2, w, b, eps=0.1), (2, 4, 3), (4,), (4,))


def name_of(row):
    return row.name + (f" ({row.what})" if row.what else "")


def fitted(t, shape):
    """Elements of t in another shape: a view where t has enough of them."""
    n = math.prod(shape)
    flat = t.reshape(-1)
    return (flat[-n:] if n <= t.numel() else flat.repeat(-(-n // t.numel()))[:n]).reshape(shape)


SHARES = {  # of leaves (a, b, c): a third, and what the two inputs are
    "same": lambda a, b: (a, a) if a.shape == b.shape else (a, fitted(a, b.shape)),
    "function": lambda a, b: (a, fitted((a * 0.9).sin() + 0.1, b.shape)),
    "function back": lambda a, b: (fitted((b * 0.9).sin() + 0.1, a.shape), b),
    "third": lambda a, b: (fitted((a * 1.1).cos(), a.shape), fitted((a * 0.8).tanh() * 1.3 + 0.2, b.shape)),
    "view": lambda a, b: (a, fitted(a, b.shape)) if a.numel() >= b.numel() else (fitted(b, a.shape), b),
    "views": lambda a, b: (fitted(a * 1, a.shape[::-1]).permute(*reversed(range(a.ndim))), fitted(a.reshape(-1).flip(0), b.shape)),
}  # fmt: skip


def leaves(shapes, seed=0, dtype="float64", device="cpu"):
    rng = np.random.default_rng(seed)
    return [mg.tensor(rng.standard_normal(s).astype(dtype), device=device, requires_grad=True) for s in shapes]


def pairs(row):
    return list(itertools.combinations(range(len(row.shapes)), 2))


def cases(row, few=False):
    """Every way of every pair; of many, or where a few do, each fifth, which meets all ways and all pairs."""
    every = list(itertools.product(SHARES, pairs(row)))
    return every[:: 5 if few or len(every) > 36 else 1] if len(every) > 6 else every


def sharing(row, share, i, j, through=None):
    """The row's function of leaves, with the inputs i and j sharing their history."""

    def f(*given):
        inputs = list(given)
        inputs[i], inputs[j] = SHARES[share](given[i], given[j])
        return row.function(*inputs) if through is None else through(row.function, inputs, (i, j))

    return f


def kept(function, inputs, _):
    return checkpoint(function, *inputs)


def closed_over(function, inputs, pair):
    """A checkpoint with one of the two inputs given, and the other known from outside."""

    def part(given):
        return function(*(given if k == pair[0] else t for k, t in enumerate(inputs)))

    return checkpoint(part, inputs[pair[0]])


THROUGH = {"plain": None, "checkpoint": kept, "closure": closed_over}
SHARED = [r for r in ROWS if len(r.shapes) > 1]


def test_every_fused_operation_has_a_row(monkeypatch):
    """They are enumerated: a new one needs a row, which calls it."""
    called: set = set()
    call = Fused.__call__
    monkeypatch.setattr(
        Fused, "__call__", lambda self, *inputs, **static: called.add(self.name) or call(self, *inputs, **static)
    )
    for name in [name for name, op in REGISTRY.items() if isinstance(op, Fused) and op.own]:
        called.clear()
        for r in (r for r in ROWS if r.name == name):
            r.function(*leaves(r.shapes))
        assert name in called, f"no row of ROWS calls {name}"


@pytest.mark.parametrize("through", THROUGH)
@pytest.mark.parametrize("row", SHARED, ids=name_of)
def test_two_orders_against_finite_differences(row, through):
    """Plain backward and create_graph are held to differences by `gradcheck`, the gradient's own derivative by
    `gradgradcheck`."""
    for share, (i, j) in cases(row, few=through != "plain"):
        f = sharing(row, share, i, j, THROUGH[through])
        ts = leaves(row.shapes, seed=len(row.shapes))
        assert gradcheck(f, ts, atol=1e-7, rtol=1e-6), (share, i, j)
        assert gradgradcheck(f, ts, atol=1e-6, rtol=1e-5), (share, i, j)


@pytest.mark.parametrize("row", [r for r in ROWS if len(r.shapes) > 1], ids=name_of)
def test_all_inputs_of_one_tensor(row):
    """Not two but all inputs share, the case of `attention(x, x, x)`."""

    def f(x):
        return row.function(*(fitted(x, shape) if x.shape != shape else x for shape in row.shapes))

    x = leaves([max(row.shapes, key=math.prod)], seed=5)
    assert gradcheck(f, x, atol=1e-7, rtol=1e-6) and gradgradcheck(f, x, atol=1e-6, rtol=1e-5)


def orders(f, ts):
    """The value, gradients of both walks and by `backward`, and gradients of a function of them."""
    y = total(f(*ts))
    plain = mg.grad(y, ts, retain_graph=True, allow_unused=True)
    y.backward(retain_graph=True)
    first = mg.grad(y, ts, create_graph=True, allow_unused=True)
    penalty = sum((g * g).sum() for g in first if g is not None) + sum((t * t).sum() for t in ts)
    second = mg.grad(penalty, ts, allow_unused=True)
    return [y, *plain, *(t.grad for t in ts), *first, *second]


def total(y):
    ys = [y] if isinstance(y, mg.Tensor) else y
    return sum((t * mg.arange(1, t.numel() + 1, device=t.device).reshape(t.shape).sin()).sum() for t in ys)


@pytest.mark.parametrize("row", SHARED, ids=name_of)
def test_mlx_agrees_with_numpy(row):
    pytest.importorskip("mlx.core", exc_type=ImportError)
    for share, (i, j) in itertools.product(("same", "third"), pairs(row)):
        f = sharing(row, share, i, j)
        expected = orders(f, leaves(row.shapes, seed=1))
        with mg.device("mlx"):
            found = orders(f, leaves(row.shapes, seed=1, dtype="float32", device="mlx"))
        for place, (x, y) in enumerate(zip(found, expected, strict=True)):
            assert (x is None) == (y is None), (share, i, j, place)
            if x is not None:
                scale = max(1.0, np.abs(y.numpy()).max())
                np.testing.assert_allclose(x.detach().numpy(), y.detach().numpy(), rtol=1e-4, atol=5e-5 * scale)


# --- what a walk does once -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("create_graph", [False, True], ids=["plain", "create_graph"])
@pytest.mark.parametrize("through", ["plain", "checkpoint"])
@pytest.mark.parametrize("row", SHARED, ids=name_of)
def test_hooks_and_retain_grad_see_the_whole_gradient_once(row, through, create_graph, device):
    """On an intermediate tensor that is all the inputs, and on the leaf behind it."""
    (x,) = leaves(
        [max(row.shapes, key=math.prod)], seed=2, dtype="float64" if device == "cpu" else "float32", device=device
    )

    def inputs(t):
        return [t if t.shape == shape else fitted(t, shape) for shape in row.shapes]

    with mg.device(device):
        h = (x * 1).requires_grad_()
        (expected,) = mg.grad(total(row.function(*inputs(h))), h)
        h, calls = x * 1, []
        h.register_hook(lambda g: calls.append(("h", g)))
        x.register_hook(lambda g: calls.append(("x", g)))
        h.retain_grad()
        y = row.function(*inputs(h)) if through == "plain" else checkpoint(row.function, *inputs(h))
        total(y).backward(create_graph=create_graph)
    assert [name for name, _ in calls] == ["h", "x"]
    scale = max(1.0, np.abs(expected.numpy()).max())
    for g in (calls[0][1], calls[1][1], h.grad, x.grad):
        np.testing.assert_allclose(g.detach().numpy(), expected.numpy(), rtol=1e-9 if device == "cpu" else 1e-4,
                                   atol=(1e-9 if device == "cpu" else 1e-4) * scale)  # fmt: skip


# --- what a walk costs ---------------------------------------------------------------------------------------------------------
def work(walk) -> tuple[int, int]:
    """Operations executed, and lines of the engine that ran, while `walk()` runs: counts, not seconds."""
    operations, lines, before = [], [0], sys.gettrace()

    def inside(frame, event, argument):
        lines[0] += event == "line"
        return inside

    def tracer(frame, event, argument):
        return inside if f"minigrad{'/'}autograd" in frame.f_code.co_filename.replace("\\", "/") else None

    with mg.autograd.observe(lambda name, *_: operations.append(name)):
        sys.settrace(tracer)
        try:
            walk()
        finally:
            sys.settrace(before)
    return len(operations), lines[0]


CHAINS = {
    "layer_norm": lambda x: F.layer_norm(x, (4,)),
    "layer_norm of its own rows": lambda x: F.layer_norm(x, (4,), x[0], x[1], eps=0.5),
    "gelu": lambda x: F.gelu(x) * x,
    "attention of itself": lambda x: F.scaled_dot_product_attention(x, x, x),
    "checkpoint": lambda x: checkpoint(lambda x: F.layer_norm(x, (4,), x[0], x[1], eps=0.5), x),
    "checkpoint over a closure": lambda x: checkpoint(lambda y: F.scaled_dot_product_attention(x, y, x), x * 1),
}


@pytest.mark.parametrize("create_graph", [False, True], ids=["plain", "create_graph"])
@pytest.mark.parametrize("chain", CHAINS)
def test_the_cost_of_a_walk_is_linear_in_depth(chain, create_graph):
    counts = []
    for depth in (25, 50, 100):
        (x,) = leaves([(3, 4)])
        y = x
        for _ in range(depth):
            y = CHAINS[chain](y)
        counts.append(work(lambda y=y, x=x: mg.grad(y.sum(), x, create_graph=create_graph)))
    for first, second, third in zip(*counts, strict=True):
        assert third - second <= 2.1 * (second - first) + 50, counts
