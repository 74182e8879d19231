"""Random expression graphs, made by hypothesis, in minigrad and in PyTorch: values and gradients."""

import math

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st

import minigrad as mg
from minigrad.nn import functional as F


def ramp(m):
    """Small different numbers, so that rounding decides no ties."""
    return m.arange(12).reshape(3, 4) * 0.0137


# each takes the library, its functional module, and tensors of shape (3, 4)
UNARY = {
    "neg": lambda m, f, x: -x,
    "square": lambda m, f, x: x**2,
    "cube": lambda m, f, x: x**3.0,
    "abs": lambda m, f, x: m.abs(x),
    "exp": lambda m, f, x: m.exp(m.clamp(x, max=2.0)),
    "log": lambda m, f, x: m.log(m.abs(x) + 0.5),
    "log1p": lambda m, f, x: m.log1p(m.abs(x)),
    "expm1": lambda m, f, x: m.expm1(m.clamp(x, max=2.0)),
    "sqrt": lambda m, f, x: m.sqrt(x * x + 0.3),
    "rsqrt": lambda m, f, x: m.rsqrt(x * x + 0.3),
    "reciprocal": lambda m, f, x: m.reciprocal(x * x + 1),
    "sin": lambda m, f, x: m.sin(x),
    "cos": lambda m, f, x: m.cos(x),
    "tanh": lambda m, f, x: m.tanh(x),
    "sigmoid": lambda m, f, x: m.sigmoid(x),
    "erf": lambda m, f, x: m.erf(x),
    "relu": lambda m, f, x: f.relu(x),
    "gelu": lambda m, f, x: f.gelu(x),
    "gelu tanh": lambda m, f, x: f.gelu(x, approximate="tanh"),
    "silu": lambda m, f, x: f.silu(x),
    "elu": lambda m, f, x: f.elu(x),
    "selu": lambda m, f, x: f.selu(x),
    "leaky_relu": lambda m, f, x: f.leaky_relu(x, 0.1),
    "softplus": lambda m, f, x: f.softplus(x),
    "softmax": lambda m, f, x: m.softmax(x, -1),
    "log_softmax": lambda m, f, x: m.log_softmax(x, 0),
    "cumsum": lambda m, f, x: m.cumsum(x, 1),
    "logsumexp": lambda m, f, x: x - m.logsumexp(x, 1, keepdim=True),
    "centre": lambda m, f, x: x - x.mean(0, keepdim=True),
    "scale": lambda m, f, x: x / (x.std(1, keepdim=True) + 1),
    "var": lambda m, f, x: x + m.var(x),
    "amax": lambda m, f, x: x - m.amax(x, 1, keepdim=True),
    "max": lambda m, f, x: x + m.max(x, 0)[0],
    "prod": lambda m, f, x: x + m.prod(m.tanh(x), 1, keepdim=True),
    "layer_norm": lambda m, f, x: f.layer_norm(x, (4,)),
    "flip": lambda m, f, x: m.flip(x, (0, 1)),
    "roll": lambda m, f, x: m.roll(x, 1, 1),
    "index": lambda m, f, x: x[[2, 0, 0]],
    "slices": lambda m, f, x: m.cat([x[1:], x[:1]], 0),
    "transposed": lambda m, f, x: x.t().reshape(3, 4),
    "split": lambda m, f, x: m.cat(m.split(x, [1, 3], 1)[::-1], 1),
    "unbind": lambda m, f, x: m.stack(m.unbind(x, 0)[::-1], 0),
    "tril": lambda m, f, x: m.tril(x) + m.triu(x, 2),
    "pad": lambda m, f, x: f.pad(x, (1, -1)),
    "detach": lambda m, f, x: x.detach() * x,
    "pool": lambda m, f, x: f.avg_pool2d(x[None, None], 3, 1, 1)[0, 0],
    "max_pool": lambda m, f, x: f.max_pool2d(x[None, None], 3, 1, 1)[0, 0],
    "conv": lambda m, f, x: f.conv2d(x[None, None], m.tanh(x[:, :3])[None, None], padding=1)[0, 0],
    "conv_transpose": lambda m, f, x: f.conv_transpose2d(x[None, None], m.tanh(x[:, :3])[None, None], padding=1)[0, 0],
    "adaptive": lambda m, f, x: f.adaptive_avg_pool2d(x[None], (2, 3)).reshape(-1)[:4] + x,
    "bilinear": lambda m, f, x: f.interpolate(x[None, None], (3, 4), mode="bilinear", align_corners=False)[0, 0],
    "nearest": lambda m, f, x: f.interpolate(x[None, None], scale_factor=2)[0, 0, 1:4, 2:6],
    "unfold": lambda m, f, x: f.unfold(x[None, None], 2)[0].mean(1) + x,
    "group_norm": lambda m, f, x: f.group_norm(x[None, :, :], 3)[0],
    "batch_norm": lambda m, f, x: f.batch_norm(x, None, None, training=True),
    "masked_fill": lambda m, f, x: x.masked_fill(x > 0.7, 0.25),
    "clamp": lambda m, f, x: m.clamp(x, -0.8, 0.9),
    "repeat": lambda m, f, x: x[:, :2].repeat(1, 2),
    "expand": lambda m, f, x: x[:1].expand(3, 4) * x,
    "chunk": lambda m, f, x: m.cat(m.chunk(x, 2, 1)[::-1], 1),
    "narrow": lambda m, f, x: m.cat([m.narrow(x, 1, 2, 2), m.narrow(x, 1, 0, 2)], 1),
    "select": lambda m, f, x: x - m.select(x, 0, 1),
    "none and ellipsis": lambda m, f, x: x[..., None, 1:3].sum(2) + x,
    "amin": lambda m, f, x: x * m.amin(x),
    "min": lambda m, f, x: x + m.min(x, 1, keepdim=True)[0],
    "std": lambda m, f, x: x - m.std(x, 0, correction=0),
    "sign": lambda m, f, x: m.sign(x) * x,
    "sums": lambda m, f, x: x + x.sum() - m.einsum("ij->", x),
    "trace": lambda m, f, x: x + m.einsum("ii", x[:, :3]),
    "t, mv, dot, outer": lambda m, f, x: m.outer(m.mv(x, x[0]), x[1]) + m.dot(x[0], x[2]),
    "round": lambda m, f, x: x + m.round(x),
}
BINARY = {
    "add": lambda m, f, x, y: x + y,
    "sub": lambda m, f, x, y: x - y,
    "mul": lambda m, f, x, y: x * y,
    "div": lambda m, f, x, y: x / (y * y + 1),
    "pow": lambda m, f, x, y: (m.abs(x) + 0.5) ** m.tanh(y),
    "maximum": lambda m, f, x, y: m.maximum(x, y + 0.0137),
    "minimum": lambda m, f, x, y: m.minimum(x, y + 0.0137),
    "where": lambda m, f, x, y: m.where(x > y + 0.0137, x, y * 2),
    "matmul": lambda m, f, x, y: x @ y.t() @ x * 0.1,
    "linear": lambda m, f, x, y: f.linear(x, m.cat([y, y[:1]], 0)),
    "einsum": lambda m, f, x, y: m.einsum("ij,kj,kl->il", x, m.tanh(y), m.tanh(x)),
    "rows": lambda m, f, x, y: x + y.mean(1, keepdim=True),
    "columns": lambda m, f, x, y: x * y.sum(0).tanh(),
    "attention": lambda m, f, x, y: f.scaled_dot_product_attention(x[None], y[None], m.tanh(y)[None])[0],
    "mse": lambda m, f, x, y: x + f.mse_loss(x, y),
    "gather": lambda m, f, x, y: m.gather(x, 1, m.argmax(y + ramp(m), 1, keepdim=True)) + y,
    "take_along": lambda m, f, x, y: m.take_along_dim(x, m.argmin(y + ramp(m), 0, keepdim=True), 0) * y,
    "scatter_add": lambda m, f, x, y: m.scatter_add(x, 0, m.argmax(y + ramp(m), 0, keepdim=True).expand(3, 4), y),
    "index_select": lambda m, f, x, y: m.index_select(x, 0, m.argmax(y + ramp(m), 0)[:3] % 3),
    "embedding": lambda m, f, x, y: f.embedding(m.argmax(y + ramp(m), 0)[:3], x),
    "masked": lambda m, f, x, y: x + x[y > 0.0137].sum(),
    "cross_entropy": lambda m, f, x, y: x + f.cross_entropy(x, m.argmax(y + ramp(m), 1), label_smoothing=0.1),
    "soft targets": lambda m, f, x, y: x + f.cross_entropy(x, m.softmax(y, 1), reduction="none")[:, None],
    "nll": lambda m, f, x, y: x - f.nll_loss(m.log_softmax(x, 1), m.argmax(y + ramp(m), 1), reduction="sum"),
    "bce": lambda m, f, x, y: f.binary_cross_entropy_with_logits(x, m.sigmoid(y), reduction="none"),
    "l1": lambda m, f, x, y: x * f.l1_loss(x, y),
    "bmm": lambda m, f, x, y: m.bmm(x[None], y.t()[None])[0] @ x,
    "addmm": lambda m, f, x, y: m.addmm(x, x @ y.t(), y, alpha=0.3),
    "affine norm": lambda m, f, x, y: f.layer_norm(x, (4,), y[0], y[1]),
    "logical": lambda m, f, x, y: m.where((x > 0.0137) & ~(y > 0.0137), x, y),
    "causal": lambda m, f, x, y: f.scaled_dot_product_attention(x[None], y[None], x[None], is_causal=True, scale=0.7)[
        0
    ],
    "smooth_l1": lambda m, f, x, y: x + f.smooth_l1_loss(x, y, reduction="none"),
}
STEPS = [(name, 1) for name in UNARY] + [(name, 2) for name in BINARY]


@st.composite
def graphs(draw):
    """Two inputs, then 3 to 12 steps, each of any earlier results (shared nodes and diamonds come by themselves)."""
    steps = []
    for n in range(2, 2 + draw(st.integers(3, 12))):
        name, arity = draw(st.sampled_from(STEPS))
        steps.append((name, [draw(st.integers(max(0, n - 4), n - 1)) for _ in range(arity)]))
    return draw(st.integers(0, 2**32 - 1)), steps


def evaluate(library, functional, inputs, steps):
    results = list(inputs)
    for name, operands in steps:
        step = (UNARY if len(operands) == 1 else BINARY)[name]
        y = step(library, functional, *(results[i] for i in operands))
        results.append(y / (1 + y.detach().abs().max()))  # keeps deep graphs in range
    return sum((r * (i + 1)).sum() for i, r in enumerate(results[2:]))


def test_random_graphs(samples, seed):
    @hypothesis_seed(seed)
    @settings(max_examples=samples(400), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(graphs())
    def agree(graph):
        start, steps = graph
        arrays = np.random.default_rng(start).standard_normal((2, 3, 4))
        ours = [mg.tensor(a, requires_grad=True) for a in arrays]
        theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
        a, b = evaluate(mg, F, ours, steps), evaluate(torch, torch.nn.functional, theirs, steps)
        assert math.isclose(a.item(), b.item(), rel_tol=1e-9, abs_tol=1e-9)
        if not b.requires_grad:
            assert not a.requires_grad
            return
        a.backward()
        b.backward()
        for x, y in zip(ours, theirs, strict=True):
            assert (x.grad is None) == (y.grad is None)
            if y.grad is not None:
                scale = max(1.0, y.grad.abs().max().item())
                np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-8, atol=1e-8 * scale)

    agree()
