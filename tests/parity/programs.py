"""Random programs for minigrad and PyTorch: written from a number, run in either library, compared, made shorter, printed.

A program is a list of `Line`s: an action out of the tables below, the names of its operands and results, and constants. The
same functions of the tables run in both libraries, and their source is what is printed, with the names put in.

What is kept out of the programs, because the libraries differ there on purpose or because nothing is promised:

- Writing: a leaf that is changed is a new array here, in PyTorch the same memory. So what was computed from a leaf is used no
  more when it has changed (but for two lines that must raise, or must not), and no result is written at all.
- `.grad` after `backward(create_graph=True)` is used before the next `backward`, or dropped: PyTorch adds to it in place.
- Which operations save something for backward: walked again after a backward that freed them are only steps that surely save
  nothing in either library (sums, views, negation), and, to raise, those that surely do in both (everything `scaled`).
- `grad` of an intermediate result that has a hook which changes the gradient, together with other inputs: PyTorch gives
  the gradient before the hook where the walk goes on below it, and after it where it ends there.
- Whether a gradient of a gradient is None or zeros where it is zero everywhere; whether a gradient requires one where its
  derivative is zero everywhere. So gradients are used in sums with a leaf, and hooks on second walks give zeros for zeros.
- Calls with all zeros of hooks in a second walk, for the same reason.
- Hooks, `retain_grad`, and batch normalisation in training inside a checkpoint: what runs there twice is nobody's promise.
- `requires_grad_` of a leaf between a checkpoint that uses it and its backward: PyTorch refuses what it computes again.
- What was computed from a leaf before its `requires_grad_()`: second derivatives reach the leaf in PyTorch, which saves the tensor;
  here its array is saved.
- Ties and sharp bends on 16 bits, where rounding decides.
- Third derivatives through layer and batch normalisation: PyTorch's differ from finite differences.
- Hooks on one output of several: PyTorch calls them with None where only others have a gradient.
- `grad` of one output of several, where there are hooks on the way to another: PyTorch goes by operations, and calls them.
- Views of a leaf that are made under no_grad, or before the leaf's requires_grad_(): they require a gradient in PyTorch.
- `x -= …` for a leaf that requires no gradient: that gives a new tensor here.
"""

import ast
import functools
import warnings
from collections import ChainMap, defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import test_graphs
import torch
from torch.utils.checkpoint import checkpoint as torch_checkpoint

import minigrad as mg

torch_checkpoint(
    torch.tanh, torch.zeros(1), use_reentrant=False
)  # the first sets environment variables, which no test shall


class Line(NamedTuple):
    """`names = action(operands, options)`; a block has its lines in `body`. `scaled`: the result is divided by its size."""

    action: str
    names: tuple = ()
    operands: tuple = ()
    options: dict = {}
    body: tuple = ()
    scaled: bool = False
    raises: bool = False


class Setting(NamedTuple):
    """Where and in what the programs run."""

    device: str
    high: str  # their dtype
    low: str  # a narrower one, cast to on the way
    tolerance: float
    low_tolerance: float
    nudge: float  # inputs are changed by this much to see how much of a difference is rounding


# --- what a line can do --------------------------------------------------------------------------------------------------
# Of a function's parameters m is the library, f its functional module, t the run's tools; x, y, z are tensors of shape (3, 4),
# w is (4, 4), b and c (4,), i an image (2, 3, 4, 4), k a kernel (3, 3, 3, 3), a anything.
PLAIN = {  # saves nothing for backward
    "minus": lambda m, f, t, x: -x,
    "less one": lambda m, f, t, x: 1 - x,
    "plus": lambda m, f, t, x, y: x + y,
    "difference": lambda m, f, t, x, y: x - y,
    "itself twice": lambda m, f, t, x: x + x,
    "with its mean": lambda m, f, t, x: x + x.mean(0, keepdim=True),
    "without its mean": lambda m, f, t, x: x - x.mean(),
    "turned": lambda m, f, t, x: x.t().reshape(2, 6).t().reshape(3, 4),
    "permuted": lambda m, f, t, x: x.reshape(3, 2, 2).permute(0, 2, 1).reshape(3, 4),
    "joined": lambda m, f, t, x, y: m.cat([x, y], 0).reshape(2, 3, 4).sum(0),
    "row plus": lambda m, f, t, x, b: x + b,
}
LAYOUTS = {
    "half": lambda m, f, t, x: x * 0.5,
    "strided": lambda m, f, t, x: x.repeat(2, 2)[::2, ::2],
    "last of a stack": lambda m, f, t, x, y: m.stack([x, y], -1)[..., 1],
    "columns first": lambda m, f, t, x: m.cat([x.t(), x.t()], 1)[:, 1:4].t(),
    "first row": lambda m, f, t, x: x[:1].expand(3, 4),
    "first column": lambda m, f, t, x: x[:, :1].expand(3, 4),
    "transposed product": lambda m, f, t, x, y: (x.t() @ y).t()[1:] + (y @ x.t()).t().mean(),
    "transposed sums": lambda m, f, t, x: x.t().sum(0).expand(4, 3).t() * x,
    "transposed softmax": lambda m, f, t, x: m.softmax(x.t(), 0).t(),
    "transposed norm": lambda m, f, t, x: f.layer_norm(x.t(), (3,)).t(),
    "row of an image": lambda m, f, t, i: i[1, :, 2],
    "column of an image": lambda m, f, t, i: i[0, :, :, 1],
    "pooled image": lambda m, f, t, i: f.adaptive_avg_pool2d(i, 2).reshape(2, 3, 4).mean(0),
}
IMAGES = {
    "image": lambda m, f, t, x: x.expand(2, 4, 3, 4).permute(0, 2, 1, 3),
    "image of two": lambda m, f, t, x, y: m.stack([x, y])[:, :, None].expand(2, 3, 4, 4) * 0.5,
    "channels last": lambda m, f, t, i: i.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
    "conv": lambda m, f, t, i, k: f.conv2d(i, k, padding=1),
    "conv of channels last": lambda m, f, t, i, k: f.conv2d(
        i.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2), k, padding=1
    ),
    "conv with its own weight": lambda m, f, t, k: f.conv2d(k, k, padding=1)[:2][:, :, [0, 1, 2, 0]][..., [0, 1, 2, 0]],
    "depthwise": lambda m, f, t, i, k: f.conv2d(i, k[:, :1], padding=1, groups=3),
    "transposed conv": lambda m, f, t, i, k: f.conv_transpose2d(i, k, padding=1),
    "pool": lambda m, f, t, i: f.avg_pool2d(i, 3, 1, 1),
    "max pool": lambda m, f, t, i: f.max_pool2d(i, 3, 1, 1),
    # (+ 0 * b: PyTorch 2.13 crashes where a channels-last image needs no gradient and the weights do.)
    "image norm": lambda m, f, t, i, b: f.group_norm(i + 0 * b[0], 3, b[:3], b[1:]),
    "batch norm of an image": lambda m, f, t, i, b: f.batch_norm(i, None, None, b[:3], b[:3], training=True),
    "image and mirror": lambda m, f, t, i: i * m.flip(i, (2, 3)),
    "bilinear": lambda m, f, t, i: f.interpolate(i, (4, 4), mode="bilinear", align_corners=False) + i,
}
SHARED = {  # operations of several inputs that share their history
    "attention of itself": lambda m, f, t, x: f.scaled_dot_product_attention(x, x, x),
    "attention to another": lambda m, f, t, x, y: f.scaled_dot_product_attention(x, y, y),
    "attention of functions": lambda m, f, t, x: f.scaled_dot_product_attention(x, m.tanh(x), x * 0.5),
    "attention of views": lambda m, f, t, x: f.scaled_dot_product_attention(x, x.flip(0), x[:, :2].repeat(1, 2)),
    "attention of queries that are keys": lambda m, f, t, x, y: f.scaled_dot_product_attention(x, x, y, scale=0.9),
    "attention, heads": lambda m, f, t, x: f.scaled_dot_product_attention(*[x.reshape(3, 2, 2).transpose(0, 1)] * 3).sum(0).repeat(1, 2),
    "attention, causal": lambda m, f, t, x: f.scaled_dot_product_attention(x, x, x, is_causal=True),
    "attention, masked": lambda m, f, t, x: f.scaled_dot_product_attention(x, x, x, attn_mask=m.tril(m.ones((3, 3))).bool()),
    "attention, own bias": lambda m, f, t, x, y: f.scaled_dot_product_attention(x, y, x, attn_mask=x @ y.t()),
    "norm with its own weight": lambda m, f, t, x: f.layer_norm(x, (4,), x[0], x[1]),
    "norm, wide": lambda m, f, t, x: f.layer_norm(x, (4,), x[0], x[1], eps=0.5),
    "norm of a weight": lambda m, f, t, b, c: f.layer_norm((b * b).expand(3, 4), (4,), b, c),
    "norm of weights": lambda m, f, t, w, b: f.layer_norm(w * w, (4,), w[0], b)[:3],
    "norm with weight and bias": lambda m, f, t, x, b: f.layer_norm(x * b, (4,), b, b),
    "groups with their own weight": lambda m, f, t, x: f.group_norm(x.t()[None], 2, x[0], x[1])[0].t(),
    "batch norm with its own weight": lambda m, f, t, x: f.batch_norm(x, None, None, x[0], x[1], training=True),
    "batch norm, evaluation": lambda m, f, t, x, b: f.batch_norm(x * b, b.detach(), (b * b).detach() + 1, b, b),
    "linear with a row": lambda m, f, t, x, w: f.linear(x, w, w[0]),
    "linear of itself": lambda m, f, t, x: f.linear(x, m.cat([x, x[:1]]), x[2]),
    "linear twice": lambda m, f, t, x, w, b: f.linear(f.gelu(f.linear(x, w, b)), w, b),
    "linear and back": lambda m, f, t, x, w, b: f.linear(m.tanh(f.linear(x, w, b)), w.t()),
    "linear of its weight": lambda m, f, t, w: f.linear(w[:3], w, w[3]),
    "tied embedding": lambda m, f, t, x, w: f.linear(f.embedding(m.argmax(x.detach() + test_graphs.ramp(m).to(x.dtype), 1), w), w) + x,
    "tied head": lambda m, f, t, w: f.cross_entropy(f.linear(f.embedding(m.arange(3), w), w), m.arange(3)) * w[:3],
    "gelu and back": lambda m, f, t, x: f.gelu(x) * x,
    "gelu twice": lambda m, f, t, x: f.gelu(f.gelu(x)),
    "smooth classes": lambda m, f, t, x: f.cross_entropy(x * x, m.arange(3), label_smoothing=0.1, reduction="none")[:, None] * x,
    "smooth mean": lambda m, f, t, x: x * f.cross_entropy(x, m.arange(3), label_smoothing=0.2),
    "own probabilities": lambda m, f, t, x: x + f.cross_entropy(x, m.softmax(x, 1)),
    "own classes weighted": lambda m, f, t, x, b: x * f.cross_entropy(x, m.arange(3), weight=b.detach().abs() + 0.5),
    "normalized": lambda m, f, t, x: f.normalize(x, dim=1) * x,
    "cosines": lambda m, f, t, x, y: f.normalize(x, dim=1) @ f.normalize(y, dim=1).t() @ x,
    "squares": lambda m, f, t, x: x * f.mse_loss(x, x * x),
    "distances": lambda m, f, t, x: x * f.l1_loss(x, m.tanh(x) + 0.1),
    "smooth distances": lambda m, f, t, x, y: x + f.smooth_l1_loss(x, x * y, beta=0.5),
    "own sigmoid": lambda m, f, t, x: x + f.binary_cross_entropy_with_logits(x, m.sigmoid(x)),
    "own weights": lambda m, f, t, x: x * f.binary_cross_entropy_with_logits(x, m.sigmoid(x), pos_weight=x[0].detach() ** 2 + 0.5),
    "likelihood": lambda m, f, t, x: x * f.nll_loss(m.log_softmax(x, 1), m.arange(3)),
    "where of itself": lambda m, f, t, x, y: m.where(x > 0.0137, x * y, x),
    "product of itself": lambda m, f, t, x: x @ x.t() @ x,
    "scattered into itself": lambda m, f, t, x: m.scatter_add(x, 0, m.zeros_like(x).long(), x * x),
}  # fmt: skip
CASTS = {
    "low": lambda m, f, t, x: x.to(t.low),
    "up": lambda m, f, t, x: x.to(t.high),
}
MIXED = {  # of 16 bits and more
    "low and high": lambda m, f, t, x, y: x * y,
    "low plus high": lambda m, f, t, x, y: x + y,
}
MODULES = {
    "Linear": lambda m, f, t, *, seed: t.filled(m.nn.Linear(4, 4), seed),
    "feed-forward": lambda m, f, t, *, seed: t.filled(m.nn.Sequential(m.nn.Linear(4, 6), m.nn.GELU(), m.nn.Linear(6, 4)), seed),
    "norm first": lambda m, f, t, *, seed: t.filled(m.nn.Sequential(m.nn.LayerNorm(4), m.nn.Linear(4, 4, bias=False)), seed),
    "BatchNorm": lambda m, f, t, *, seed: t.filled(m.nn.BatchNorm1d(4), seed),
    "BatchNorm, evaluation": lambda m, f, t, *, seed: t.filled(m.nn.BatchNorm1d(4), seed).eval(),
    "attention": lambda m, f, t, *, seed: t.filled(m.nn.MultiheadAttention(4, 2, batch_first=True), seed),
    "image network": lambda m, f, t, *, seed: t.filled(
        m.nn.Sequential(m.nn.Conv2d(3, 3, 3, padding=1), m.nn.GroupNorm(3, 3), m.nn.SiLU()), seed
    ),
}  # fmt: skip
CALLS = {
    "call": lambda m, f, t, block, x: block(x),
    "residual": lambda m, f, t, block, x: x + block(x),
    "attend": lambda m, f, t, block, x, y: block(x[None], y[None], y[None], need_weights=False)[0][0],
    "call with an image": lambda m, f, t, block, i: block(i),
}
HOOKS = {  # the first give zeros for zeros
    "look": lambda m, f, t, a, *, name: a.register_hook(lambda g: t.note(name, g)),
    "scale": lambda m, f, t, a, *, name: a.register_hook(lambda g: t.seen(name, g) * 2.0),
    "clip": lambda m, f, t, a, *, name: a.register_hook(lambda g: m.clamp(t.seen(name, g), -0.31, 0.29)),
    "cut": lambda m, f, t, a, *, name: a.register_hook(lambda g: t.seen(name, g).detach() * 1.5),
    "same": lambda m, f, t, a, *, name: a.register_hook(lambda g: t.seen(name, g)),
    "replace": lambda m, f, t, a, *, name: a.register_hook(lambda g: t.seen(name, g) * 0 + 0.3),
    "use itself": lambda m, f, t, a, *, name: a.register_hook(lambda g: t.seen(name, g) + a.detach() * 0.1),
    "use the tape": lambda m, f, t, a, *, name: a.register_hook(lambda g: t.seen(name, g) * a),
    "shape": lambda m, f, t, a, *, name: a.register_hook(lambda g: t.seen(name, g)[:1]),
    "broadcast": lambda m, f, t, a, *, name: a.register_hook(lambda g: t.seen(name, g).sum()),
    "dtype": lambda m, f, t, a, *, name: a.register_hook(lambda g: t.seen(name, g).to(t.low)),
    "number": lambda m, f, t, a, *, name: a.register_hook(lambda g: 2.0),
}
WRONG, LOOKING, BENT = (
    ("shape", "broadcast", "dtype", "number"),
    ("look", "same"),
    ("replace", "use itself", "use the tape"),
)
WALKS = {
    "backward": lambda m, f, t, a, *, retain_graph, create_graph: a.backward(retain_graph=retain_graph, create_graph=create_graph),
    "backward with a gradient": lambda m, f, t, a, g, *, retain_graph, create_graph: a.backward(
        g, retain_graph=retain_graph, create_graph=create_graph
    ),
    "backward of two": lambda m, f, t, a, x, g, *, retain_graph, create_graph: m.autograd.backward(
        [a, x], [None, g], retain_graph=retain_graph, create_graph=create_graph
    ),
    "grad": lambda m, f, t, a, *xs, retain_graph, create_graph, allow_unused: t.grad(
        a, [*xs], retain_graph=retain_graph, create_graph=create_graph, allow_unused=allow_unused
    ),
    "grad of several": lambda m, f, t, a, x, g, *xs, retain_graph, create_graph, allow_unused: t.grad(
        [a, x], [*xs], [None, g], retain_graph=retain_graph, create_graph=create_graph, allow_unused=allow_unused
    ),
}  # fmt: skip
OTHERS = {
    "leaf": lambda m, f, t, *, shape, seed, requires_grad: t.leaf(shape, seed, requires_grad),
    "detach": lambda m, f, t, a: a.detach(),
    "two": lambda m, f, t, x, y: m.unbind(m.stack([x, y]), 0),
    "halves": lambda m, f, t, x, y: m.split(m.cat([x, y], 1), 4, 1),
    "total": lambda m, f, t, *xs: t.total(*xs),
    "squared": lambda m, f, t, a: (a * a).mean(),
    "loss": lambda m, f, t, x, y: f.mse_loss(x, y),
    "classes": lambda m, f, t, x: f.cross_entropy(x, m.arange(3), label_smoothing=0.1),
    "parameter": lambda m, f, t, block, *, index: list(block.parameters())[index],
    "mixed": lambda m, f, t, g, a: t.mixed(g, a),
    "inner step": lambda m, f, t, g, a: t.stepped(g, a),
    "from .grad": lambda m, f, t, a: t.mixed(a.grad, a),
    "retain": lambda m, f, t, a: a.retain_grad(),
    "unhook": lambda m, f, t, h: t.remove(h),
    "toggle": lambda m, f, t, a, *, value: a.requires_grad_(value),
    "drop": lambda m, f, t, a: setattr(a, "grad", None),
    "descend": lambda m, f, t, *xs, rate: t.descend(rate, *xs),
    "SGD": lambda m, f, t, *xs: m.optim.SGD(t.parameters(*xs), lr=0.1, momentum=0.9, weight_decay=0.01),
    "Adam": lambda m, f, t, *xs: m.optim.Adam(t.parameters(*xs), lr=0.05),
    "step": lambda m, f, t, o: o.step(),
    "zero_grad": lambda m, f, t, o: o.zero_grad(),
    "times a leaf": lambda m, f, t, x, a: (x * a).sum(),
    "plus a leaf": lambda m, f, t, x, a: (x + a * 0.5).sum(),
}


def graph_step(function, count):
    return (lambda m, f, t, x: function(m, f, x)) if count == 1 else (lambda m, f, t, x, y: function(m, f, x, y))


TAKEN = ((1, test_graphs.UNARY), (2, test_graphs.BINARY))
GRAPHS = {f"graph {name}": graph_step(step, n) for n, table in TAKEN for name, step in table.items()}
ACTIONS: dict = {}
for table in (GRAPHS, PLAIN, LAYOUTS, IMAGES, SHARED, CASTS, MIXED, MODULES, CALLS, HOOKS, WALKS, OTHERS):
    assert not ACTIONS.keys() & table.keys(), ACTIONS.keys() & table.keys()
    ACTIONS |= table
SMOOTH = {  # steps that 16 bits can be put through
    *(f"graph {n}" for n in (
        "neg", "square", "tanh", "sin", "cos", "sigmoid", "erf", "softmax", "log_softmax", "centre", "flip", "roll", "index", "slices",
        "transposed", "pad", "detach", "repeat", "expand", "narrow", "sums", "add", "sub", "mul", "rows", "mse", "gelu", "silu",
        "none and ellipsis",
    )),
    *PLAIN, "strided", "last of a stack", "first row", "transposed product", "transposed softmax", "attention of itself",
    "attention to another", "attention of functions", "attention, causal", "attention, masked", "gelu and back", "gelu twice",
    "norm, wide", "smooth mean", "own probabilities", "squares", "own sigmoid", "likelihood", "product of itself",
}  # fmt: skip
SHAPES = {"x": (3, 4), "w": (4, 4), "b": (4,), "i": (2, 3, 4, 4), "k": (3, 3, 3, 3)}
KINDS = {"x": "x", "y": "x", "z": "x", "w": "w", "b": "b", "c": "b", "i": "i", "k": "k"}


def parameters(action: str) -> list[str]:
    code = ACTIONS[action].__code__
    return [p for p in code.co_varnames[: code.co_argcount] if p not in ("m", "f", "t")]


# --- running ---------------------------------------------------------------------------------------------------------------
class Tools:
    """What the two libraries name differently, helpers of the programs, and the log of a run."""

    def __init__(self, setting, nudge: float = 0.0):
        self.setting, self.nudge, self.log, self.place = setting, nudge, [], 0
        self.low, self.high = getattr(self.m, setting.low), getattr(self.m, setting.high)

    def leaf(self, shape, seed, requires_grad):
        return self.m.tensor(self.numbers(shape, seed), requires_grad=requires_grad)

    def numbers(self, shape, seed):
        values = np.random.default_rng(seed).standard_normal(shape)
        if self.nudge:
            values *= 1 + self.nudge * np.random.default_rng(seed + 1).standard_normal(shape)
        return values.astype(self.setting.high)

    def filled(self, module, seed):
        state = {}
        for k, (name, p) in enumerate(module.state_dict().items()):
            if "num_batches" in name:
                state[name] = p
            else:
                values = self.numbers(tuple(p.shape), seed + k) * 0.5
                state[name] = self.m.tensor(np.abs(values) + 0.5 if "var" in name else values)
        module = module.to(self.high)
        module.load_state_dict(state)
        return module

    def scaled(self, y):
        return y / (1 + y.detach().abs().max())

    def total(self, *xs):
        return sum((x * (n + 1)).sum() for n, x in enumerate(xs))

    def mixed(self, g, a):
        return a * 0.5 if g is None else g + a * 0.5

    def stepped(self, g, a):
        return a * 1 if g is None else a - 0.1 * g

    def descend(self, rate, *xs):
        with self.m.no_grad():
            for x in self.parameters(*xs):
                if x.grad is not None:
                    x -= rate * x.grad

    def parameters(self, *xs):
        return [p for x in xs for p in (x.parameters() if hasattr(x, "parameters") else [x])]

    def note(self, name, g):
        if g is not None:
            self.log.append((self.place, "hook", name, self.kept(g), False))

    def seen(self, name, g):
        self.note(name, g)
        return g


class Ours(Tools):
    m, f = mg, mg.nn.functional
    grad, checkpoint, tensor = staticmethod(mg.grad), staticmethod(mg.autograd.checkpoint), mg.Tensor

    def remove(self, handle):
        handle()

    def kept(self, t):
        return t.detach().clone()

    def around(self):
        return mg.device(self.setting.device)


class Theirs(Tools):
    m, f, tensor = torch, torch.nn.functional, torch.Tensor
    grad = staticmethod(torch.autograd.grad)
    checkpoint = staticmethod(functools.partial(torch_checkpoint, use_reentrant=False))

    def remove(self, handle):
        handle.remove()

    def kept(self, t):
        return t.detach().clone()

    def around(self):
        from torch.nn.attention import SDPBackend, sdpa_kernel

        return sdpa_kernel(SDPBackend.MATH)  # the other kernels have no second derivative


def execute(lines, tools: Tools):
    """Runs the lines; returns (log, error)."""
    scope: ChainMap = ChainMap({})
    watched: dict = {}  # tensors and modules whose .grad is compared after each walk
    with warnings.catch_warnings(), tools.around():
        warnings.simplefilter("ignore")
        for place, line in enumerate(lines):
            tools.place = place
            try:
                _run(line, scope, tools, watched, False)
                if line.action in WALKS or line.action == "drop":
                    _gradients(tools, watched, place)
            except Exception as error:
                tools.log = [entry for entry in tools.log if entry[0] < place]
                tools.log.append((place, "raised", type(error).__name__, None, False))
                return tools.log, error
        for name, t in watched.items():
            if not isinstance(t, tools.tensor):
                for key, buffer in t.named_buffers():
                    if "num_batches" not in key:
                        tools.log.append((len(lines), "buffer", f"{name}.{key}", tools.kept(buffer), False))
    return tools.log, None


def _gradients(tools, watched, place):
    for name, t in watched.items():
        pairs = [(name, t)] if isinstance(t, tools.tensor) else [(f"{name}.{n}", p) for n, p in t.named_parameters()]
        for key, p in pairs:
            tools.log.append((place, "grad", key, None if p.grad is None else tools.kept(p.grad), False))


def _run(line: Line, scope, tools: Tools, watched, inside: bool) -> None:
    """One line; its results go into `scope`. A line with an operand that is missing is left out, with its results."""
    if any(scope.get(name) is None for name in line.operands if line.action not in ("mixed", "inner step")):
        return
    log = tools.log
    if line.body:
        _block(line, scope, tools, watched, inside)
        return
    results = ACTIONS[line.action](tools.m, tools.f, tools, *(scope.get(n) for n in line.operands), **line.options)
    if line.scaled:
        results = tools.scaled(results)
    if line.action in ("leaf", "parameter", "retain") or line.action in MODULES:
        name = (line.names or line.operands)[0]
        watched[name] = results if line.names else scope[name]
    if not isinstance(results, tuple | list):
        results = (results,)
    for name, value in zip(line.names, results, strict=bool(line.names)):
        scope[name] = value
        if not inside and value is None:
            log.append((tools.place, "grad", name, None, False))
        elif not inside and isinstance(value, tools.tensor):
            kind = "grad" if line.action in WALKS else "value"
            log.append((tools.place, kind, name, tools.kept(value), kind == "value" and value.requires_grad))


def _block(line: Line, scope, tools: Tools, watched, inside: bool) -> None:
    mode = getattr(tools.m, line.options["mode"]) if "mode" in line.options else None

    def run(lines, scope):
        for each in lines:
            _run(each, scope, tools, watched, inside or line.action == "checkpoint")

    if line.action == "with":
        with mode():
            run(line.body, scope)
    elif line.action == "decorated":
        mode()(run)(line.body, scope)
    elif line.action == "generator":

        @mode()
        def parts():
            for each in line.body:
                run([each], scope)
                yield

        for _ in parts():
            tools.log.append((tools.place, "mode", "", None, tools.m.is_grad_enabled()))
    else:

        def part(*values):
            inner = scope.new_child(dict(zip(line.operands, values, strict=True)))
            run(line.body, inner)
            found = tuple(inner[name] for name in line.options["returns"])
            return found if len(found) > 1 else found[0]

        if any(_missing(line.body, scope)):
            return
        results = tools.checkpoint(part, *(scope[name] for name in line.operands))
        for name, value in zip(line.names, results if len(line.names) > 1 else (results,), strict=True):
            scope[name] = value
            if not inside:
                tools.log.append((tools.place, "value", name, tools.kept(value), value.requires_grad))


def _missing(body, scope):
    """Names that a body needs and doesn't find."""
    made: set = set()
    for line in body:
        yield from (n for n in line.operands if n not in made and scope.get(n) is None)
        if line.body and line.action != "checkpoint":
            yield from _missing(line.body, ChainMap(dict.fromkeys(made, 1), scope))
        made |= _made(line)


def _made(line: Line) -> set:
    """The names that are there after a line."""
    return {*line.names}.union(*(_made(each) for each in line.body if line.action != "checkpoint"))


# --- comparing -------------------------------------------------------------------------------------------------------------
def difference(lines, setting):
    """None, or (what differs, a sentence)."""
    ours, theirs = Ours(setting), Theirs(setting)
    (a, our_error), (b, their_error) = execute(lines, ours), execute(lines, theirs)
    found = _compare(lines, a, b, setting, None)
    if found and found[0] in ("value", "grad", "hook") and setting.nudge:
        # how much of it is rounding: PyTorch with inputs changed by a rounding
        nudged = execute(lines, Theirs(setting, setting.nudge))[0]
        found = _compare(lines, a, b, setting, nudged)
    if found is None and b and b[-1][1] == "raised" and not lines[b[-1][0]].raises:
        return "program", f"line {b[-1][0]} raises in both: {their_error}"
    if found and found[0] == "raised":
        return "raised", f"{found[1]}; minigrad: {our_error!r}; PyTorch: {their_error!r}"
    return found


def _numbers(t):
    return None if t is None else t.double().numpy() if isinstance(t, torch.Tensor) else t.numpy().astype(np.float64)


def _compare(lines, a, b, setting, nudged):
    loose = any(line.action in ("mixed", "inner step", "from .grad") for line in lines)
    noisy = any(line.action == "low" for line in _all(lines))
    tolerance = setting.low_tolerance if noisy else setting.tolerance

    def sort(log):
        plain, hooks = [], defaultdict(list)
        for entry in log:
            if entry[1] == "hook":
                if not loose or np.abs(_numbers(entry[3])).max(initial=0) > tolerance:
                    hooks[entry[0], entry[2].partition(".")[0]].append(entry)
            else:
                plain.append(entry)
        return plain, hooks

    plain, hooks = zip(*(sort(log) for log in (a, b, nudged or ())), strict=True)
    for x, y in zip(plain[0], plain[1], strict=False):
        if x[1] != y[1] and "raised" in (x[1], y[1]):
            return "raised", f"line {min(x[0], y[0])}"
        if x[:2] != y[:2] or x[1] != "raised" and x[2] != y[2]:
            return "order", f"{x[:3]} where PyTorch has {y[:3]}"
    if len(plain[0]) != len(plain[1]):
        ends = [log[-1] for log in plain[:2] if log and log[-1][1] == "raised"]
        return ("raised", f"line {ends[0][0]}") if ends else ("order", "one run is longer")
    pairs = [*zip(plain[0], plain[1], plain[2] or [None] * len(plain[0]), strict=False)]
    for key in hooks[0] | hooks[1]:
        x, y = hooks[0].get(key, []), hooks[1].get(key, [])
        if [e[2] for e in x] != [e[2] for e in y]:
            return "calls", f"line {key[0]}: hooks called: {[e[2] for e in x]}, by PyTorch {[e[2] for e in y]}"
        pairs += zip(x, y, hooks[2].get(key) or [None] * len(x), strict=False)
    for x, y, z in sorted(pairs, key=lambda pair: pair[0][0]):
        what, name = x[1], f"line {x[0]}: {x[1]} of {x[2]}"
        if x[4] != y[4]:
            return "flag", f"{name}: requires_grad (or the mode) is {x[4]}, in PyTorch {y[4]}"
        if x[3] is None or y[3] is None:
            other = _numbers(y[3] if x[3] is None else x[3])
            if other is not None and not (loose and np.abs(other).max(initial=0) <= tolerance):
                return "none", f"{name}: {'None' if x[3] is None else x[3]}, in PyTorch {y[3]}"
            continue
        if x[3].dtype.name != str(y[3].dtype)[6:]:
            return "dtype", f"{name}: {x[3].dtype}, in PyTorch {y[3].dtype}"
        mine, other = _numbers(x[3]), _numbers(y[3])
        if mine.shape != other.shape:
            return "shape", f"{name}: {mine.shape}, in PyTorch {other.shape}"
        size = max(1.0, np.abs(other).max(initial=0)) if np.isfinite(other).all() else 1.0
        allowed = tolerance * (size + np.abs(other))
        if nudged is not None and z is not None and z[3] is not None and z[2] == x[2]:
            allowed = allowed + 30 * np.abs(_numbers(z[3]) - other).max(initial=0)
        if not (np.abs(mine - other) <= allowed).all() and not np.array_equal(mine, other, equal_nan=True):
            return what, f"{name}:\n{mine}\nin PyTorch\n{other}"
    return None


def _all(lines):
    for line in lines:
        yield line
        yield from _all(line.body)


# --- shorter, and printed ----------------------------------------------------------------------------------------------------
def shortened(lines, setting):
    """The program without what its failure doesn't need."""
    what = difference(lines, setting)[0]

    def fails(candidate):
        found = difference(candidate, setting)
        return found is not None and found[0] == what

    before = None
    while before != len(list(_all(lines))):
        before = len(list(_all(lines)))
        for k in reversed(range(len(lines))):
            if k >= len(lines):
                continue
            line, rest = lines[k], [*lines[:k], *lines[k + 1 :]]
            candidates = [
                _clean(rest),
                *([rename(rest, line.names[0], o) for o in line.operands] if len(line.names) == 1 else []),
            ]
            if line.body:
                candidates.append([*lines[:k], *line.body, *lines[k + 1 :]])
                candidates += [[*lines[:k], line._replace(body=line.body[:j] + line.body[j + 1 :]), *lines[k + 1 :]]
                               for j in range(len(line.body)) if len(line.body) > 1]  # fmt: skip
            if line.scaled:
                candidates.append([*lines[:k], line._replace(scaled=False), *lines[k + 1 :]])
            for candidate in candidates:
                if fails(candidate):
                    lines = candidate
                    break
    return lines


def rename(lines, old, new):
    swap = lambda names: tuple(new if n == old else n for n in names)  # noqa: E731
    return [
        line._replace(
            operands=swap(line.operands), body=tuple(rename(line.body, old, new)),
            options={k: swap(v) if k == "returns" else v for k, v in line.options.items()},
        )
        for line in lines
    ]  # fmt: skip


def _clean(lines):
    """Without the lines whose operands nobody makes any more."""
    made: set = set()
    result = []
    for line in lines:
        if all(n in made for n in line.operands) and not list(
            _missing(line.body, dict.fromkeys(made, 1) | dict.fromkeys(line.operands, 1))
        ):
            result.append(line)
            made |= _made(line)
    return result


@functools.cache
def _sources() -> dict:
    """The expressions of the tables."""
    found: dict = {}
    for path, prefix in ((test_graphs.__file__, "graph "), (__file__, "")):
        for node in ast.walk(ast.parse(Path(path).read_text())):
            if isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    if isinstance(key, ast.Constant) and isinstance(value, ast.Lambda):
                        found[prefix + str(key.value)] = value
    return found


class _Put(ast.NodeTransformer):
    def __init__(self, names: dict, rest: tuple, options: dict):
        self.names, self.rest, self.options = names, rest, options

    def visit_Name(self, node):
        if node.id in self.options:
            return ast.Constant(self.options[node.id])
        return ast.Name(self.names.get(node.id, node.id))

    def visit_Attribute(self, node):
        if isinstance(node.value, ast.Name) and node.value.id == "t":
            return ast.Name(node.attr)
        if isinstance(node.value, ast.Name) and node.value.id == "test_graphs":
            return ast.Name(node.attr)
        return self.generic_visit(node)

    def visit_Starred(self, node):
        return (
            [ast.Name(n) for n in self.rest]
            if isinstance(node.value, ast.Name) and node.value.id == "xs"
            else self.generic_visit(node)
        )


def _text(line: Line) -> str:
    node = _sources()[line.action]
    given = [a.arg for a in node.args.args if a.arg not in ("m", "f", "t")]
    put = _Put(dict(zip(given, line.operands, strict=False)), line.operands[len(given) :], line.options)
    text = ast.unparse(ast.fix_missing_locations(put.visit(ast.parse(ast.unparse(node.body), mode="eval"))))
    text = f"scaled({text})" if line.scaled else text
    return (
        f"{', '.join(line.names)}{',' if line.action.startswith('grad') and len(line.names) == 1 and line.action in WALKS else ''} = {text}"
        if line.names
        else text
    )


def printed(lines, indent="") -> str:
    """The program as Python, which runs after either of the preludes."""
    out = []
    for line in lines:
        mark = "  # must raise" if line.raises else ""
        if not line.body:
            out.append(f"{indent}{_text(line)}{mark}")
            continue
        inner = printed(line.body, indent + "    ")
        if line.action == "with":
            out.append(f"{indent}with m.{line.options['mode']}():\n{inner}")
            continue
        made = ", ".join(name for each in line.body for name in each.names)
        given = ", ".join(line.operands)
        if line.action == "checkpoint":
            out.append(f"{indent}def part({given}):\n{inner}\n{indent}    return {', '.join(line.options['returns'])}")
            out.append(f"{indent}{', '.join(line.names)} = checkpoint(part, {given})")
        elif line.action == "decorated":
            out.append(
                f"{indent}@m.{line.options['mode']}()\n{indent}def part():\n{inner}\n{indent}    return {made}\n{indent}{made} = part()"
            )
        else:
            steps = "\n".join(
                f"{printed([each], indent + '    ')}\n{indent}    yield {', '.join(each.names)}" for each in line.body
            )
            names = ", ".join(f"({', '.join(e.names)})" if len(e.names) != 1 else e.names[0] for e in line.body)
            names += "," * (len(line.body) == 1)
            out.append(f"{indent}@m.{line.options['mode']}()\n{indent}def parts():\n{steps}\n{indent}{names} = parts()")
    return "\n".join(out)


HELPERS = """
low, high = getattr(m, "{low}"), getattr(m, "{high}")
numbers = lambda shape, seed: np.random.default_rng(seed).standard_normal(shape).astype("{high}")
leaf = lambda shape, seed, requires_grad: m.tensor(numbers(shape, seed), requires_grad=requires_grad)
scaled = lambda y: y / (1 + y.detach().abs().max())
ramp = lambda m: m.arange(12).reshape(3, 4) * 0.0137
total = lambda *xs: sum((x * (n + 1)).sum() for n, x in enumerate(xs))
mixed = lambda g, a: a * 0.5 if g is None else g + a * 0.5
stepped = lambda g, a: a * 1 if g is None else a - 0.1 * g
parameters = lambda *xs: [p for x in xs for p in (x.parameters() if hasattr(x, "parameters") else [x])]
note = lambda name, g: print(name, g)
seen = lambda name, g: (note(name, g), g)[1]


def descend(rate, *xs):
    with m.no_grad():
        for x in parameters(*xs):
            if x.grad is not None:
                x -= rate * x.grad


def filled(module, seed):
    state = {{}}
    for k, (name, p) in enumerate(module.state_dict().items()):
        values = numbers(tuple(p.shape), seed + k) * 0.5 if "num_batches" not in name else None
        state[name] = p if values is None else m.tensor(np.abs(values) + 0.5 if "var" in name else values)
    module = module.to(high)
    module.load_state_dict(state)
    return module

"""
PRELUDES = (
    """# minigrad:
import numpy as np
import minigrad as m
from minigrad.nn import functional as f
m.set_default_device("{device}")
grad, checkpoint, remove = m.grad, m.autograd.checkpoint, lambda h: h()
""",
    """# PyTorch:
import functools
import numpy as np
import torch as m
from torch.nn import functional as f
from torch.utils.checkpoint import checkpoint
grad, checkpoint, remove = m.autograd.grad, functools.partial(checkpoint, use_reentrant=False), lambda h: h.remove()
m.nn.attention.sdpa_kernel(m.nn.attention.SDPBackend.MATH).__enter__()
""",
)


def report(lines, setting) -> str:
    options = {"low": setting.low, "high": setting.high, "device": setting.device}
    preludes = [p.format(**options) for p in PRELUDES]
    return "\n".join([*preludes, "# both:" + HELPERS.format(**options), printed(lines)])
