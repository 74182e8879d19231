"""Fused operations: a definition in tensor operations, which a backend may override with a faster kernel.

The definition is the documentation and the truth. A backend that has a method of the operation's name, returning
(output, saved) or None when it declines, and one called `<name>_vjp` returning a gradient for each input, is used in
ordinary training; `create_graph`, and backends without the methods, use the definition, from the saved inputs. The method is
told whether a derivative may follow (`save`); if not, it needn't keep anything.
"""

import functools

import numpy as np

from minigrad.autograd.autocast import cast_inputs
from minigrad.dtypes import plain, promote
from minigrad.engine import backward as walk
from minigrad.engine.modes import AUTOCAST, WATCH, enable_grad, is_grad_enabled, state
from minigrad.engine.operation import Node, Op, alias, input_tensor, note
from minigrad.engine.tensor import _tensor
from minigrad.ops import activation
from minigrad.ops.activation import exact_gelu
from minigrad.ops.conv import conv2d
from minigrad.ops.elementwise import rsqrt, where
from minigrad.ops.index import getitem
from minigrad.ops.linalg import linear, matmul
from minigrad.ops.reduce import log_softmax, mean, narrowed, softmax, sum, widened
from minigrad.ops.shape import mT, permute, reshape

__all__ = ["layer_norm", "gelu", "cross_entropy", "conv_mlp", "attention", "attention_weights"]


class _Plan:
    """The positions of the inputs that a node of a fused operation gives gradients of; it keeps all inputs."""

    __slots__ = ("positions",)
    keeps = True

    def __init__(self, positions: tuple[int, ...]):
        self.positions = positions


class Fused(Op):
    """An operation with a definition on tensors and optional kernels in the backends. One with `parts` runs as its
    definition while somebody observes operations: whoever counts or draws them wants to see the parts. Kernels are for
    inputs of one dtype; those at the positions `integers` are left out of that."""

    def __init__(self, definition, parts: bool = False, integers: tuple[int, ...] = ()):
        super().__init__(definition)
        self.definition, self.parts, self.integers = definition, parts, integers

    def __call__(self, *inputs, **static):
        static = {name: plain(value) for name, value in static.items()}
        if state.mode & AUTOCAST and self.own:
            inputs = cast_inputs(self.name, inputs)
        try:
            kinds = {
                (t._backend.name, t._data.dtype)
                for k, t in enumerate(inputs)
                if t is not None and k not in self.integers
            }
            xp = inputs[0]._backend
        except AttributeError:
            came = ", ".join(type(t).__name__ for t in inputs)
            raise TypeError(f"{self.name}: expected tensors, got {came}; use mg.tensor(…)") from None
        kernel = getattr(type(xp), self.name, None) if self.own else None
        if kernel is None or len(kinds) > 1:
            return self.definition(*inputs, **static)
        if self.parts and state.mode & WATCH:
            return self.definition(*inputs, **static)
        arrays: list = [None if t is None else t._data for t in inputs]
        wanted = (
            tuple([k for k, t in enumerate(inputs) if t is not None and t._requires_grad]) if is_grad_enabled() else ()
        )
        result = getattr(xp, self.name)(*arrays, save=bool(wanted), **static)
        if result is None:
            return self.definition(*inputs, **static)
        y, saved = result
        out = _tensor(y, xp)
        if wanted:
            plan = self.plans.get(wanted)
            if plan is None:
                plan = self.plans[wanted] = _Plan(wanted)
            node = Node()
            node.op, node.xp, node.plan, node.special = self, xp, plan, True
            node.saved = (arrays, saved, static)
            node.edges = [inputs[k]._edge or inputs[k] for k in wanted]
            node.leaves = [(t, t._data) for t in (inputs[k] for k in wanted) if t._edge is None]
            node.inputs = [(arrays[k].shape, arrays[k].dtype) for k in wanted]
            note(node)
            out._requires_grad, out._edge = True, node
        for callback in state.observers:
            callback(self.name, inputs, out, static)
        return out

    def on_arrays(self, xp):
        def raw(*arrays, **static):
            return self(*(None if a is None else _tensor(a, xp) for a in arrays), **static)._data

        return raw

    def pull(self, node, g, create_graph):
        """With `create_graph`, the derivative of the definition by copies of the inputs: each input's with the others held fixed,
        also where one is computed from another. The copies hang on the tape, so that every higher order reaches the inputs."""
        arrays, saved, static = node.saved
        positions = node.plan.positions
        if not create_graph:
            grads = getattr(node.xp, self.name + "_vjp")(g, saved, *arrays, **static)
            return self.fitted(node, node.xp, [grads[k] for k in positions], False)
        places = {k: i for i, k in enumerate(positions)}
        with enable_grad():
            inputs = [None if a is None else input_tensor(a, node, places.get(k)) for k, a in enumerate(arrays)]
            copies = {k: alias(inputs[k]) for k in positions}
            y = self.definition(*(copies.get(k, t) for k, t in enumerate(inputs)), **static)
        return walk.partial(y, list(copies.values()), g)


def fused(definition=None, /, **options):
    """Decorator that makes a `Fused` operation of its definition."""
    return functools.partial(Fused, **options) if definition is None else Fused(definition)


@fused
def layer_norm(x, weight, bias, *, axes, eps):
    """y = (x - mean) / √(var + eps) · weight + bias, mean and (biased) variance over `axes`, the last ones. Ba et al. 2016,
    arXiv 1607.06450."""
    if (wide := widened(x)) is not x:
        given = [t for t in (weight, bias) if t is not None]
        dtype = functools.reduce(promote, [t.dtype for t in given], x.dtype)
        return layer_norm(
            wide, *(None if t is None else widened(t) for t in (weight, bias)), axes=axes, eps=eps
        ).astype(dtype)
    centred = x - mean(x, dim=axes, keepdim=True)
    y = centred * rsqrt(mean(centred * centred, dim=axes, keepdim=True) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@fused
def gelu(x):
    """x·Φ(x) with Φ the normal distribution function, exactly (by erf). Hendrycks & Gimpel 2016, arXiv 1606.08415."""
    return exact_gelu(x)


@fused(integers=(1,))
def cross_entropy(x, classes, *, ignore_index, smoothing):
    """-Σ_c q_c·log softmax(x)_c of each row, with q = (1 - smoothing)·[c is its class] + smoothing/C, and 0 where the class is
    `ignore_index`: (N, C), (N,) → (N,). Szegedy et al. 2016, arXiv 1512.00567."""
    if (wide := widened(x)) is not x:
        return cross_entropy(wide, classes, ignore_index=ignore_index, smoothing=smoothing).astype(x.dtype)
    logp, counts = log_softmax(x, dim=1), classes != ignore_index
    rows = x.backend.asarray(np.arange(x.shape[0]))
    losses = -getitem(logp, index=(rows, where(counts, classes, 0).long().data))
    if smoothing:
        losses = losses * (1 - smoothing) - sum(logp, dim=(1,), keepdim=False) * (smoothing / x.shape[1])
    return where(counts, losses, 0.0)


@fused(parts=True)
def conv_mlp(x, w1, b1, taps, b, w2, b2, *, size, relu):
    """The feed-forward network of PVT v2, w2·gelu(taps ∗ (w1·x + b1) + b) + b2: (N, H·W, C) → (N, H·W, O).

    `taps`, (hidden, 1, kh, kw) with kh and kw odd, are convolved with the hidden map of `size` (H, W), channel by channel
    and zero-padded to the same size; with `relu` a ReLU stands before that. Wang et al. 2022, arXiv 2106.13797.
    """
    (n, length), (hidden, _, kh, kw) = x.shape[:2], taps.shape
    h = linear(x, w1, b1)
    h = activation.relu(h) if relu else h
    image = reshape(permute(h, dims=(0, 2, 1)), shape=(n, hidden, *size))
    image = conv2d(image, taps, b, stride=(1, 1), padding=(kh // 2, kw // 2), dilation=(1, 1), groups=hidden)
    return linear(gelu(permute(reshape(image, shape=(n, hidden, length)), dims=(0, 2, 1))), w2, b2)


@fused(parts=True)
def attention(q, k, v, *, scale):
    """softmax(q·kᵀ·scale)·v: (…, L, E), (…, S, E), (…, S, D) → (…, L, D). Vaswani et al. 2017, arXiv 1706.03762."""
    return matmul(_softmax(matmul(q * scale, mT(k))), v)


@fused(parts=True)
def attention_weights(q, k, *, scale):
    """softmax(q·kᵀ·scale): (…, L, E), (…, S, E) → (…, L, S)."""
    return _softmax(matmul(q * scale, mT(k)))


def _softmax(x):
    """softmax along the last dimension, of 16-bit numbers in float32."""
    return narrowed(softmax(widened(x), dim=x.ndim - 1), x.dtype)
