"""The table of operations: one row for each way to call one, and the random inputs that it gets. `test_ops.py` runs it.

    row("exp", X(3, 4), np.exp)                     mg.exp of a random (3, 4) tensor; its value by numpy
    row("F.gelu", X(3, 4), o.gelu, approximate="tanh")
    same("a[::-1] * b", X(3, 4), X(4))              one expression for tensors and arrays
    form("(n,)-dim mean", lambda x: …, X(3))        any function

A new operation is its definition plus a row here.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import op_oracles as o

import minigrad as mg
from minigrad.autograd import REGISTRY
from minigrad.nn import functional as F


@dataclass(frozen=True)
class Draw:
    """A random array: its kind (see DRAWS) and shape. Every number is exact in float32; floats are differentiated."""

    kind: str
    shape: tuple

    def __call__(self, rng: np.random.Generator) -> np.ndarray:
        a = np.asarray(DRAWS[self.kind](rng, *self.shape))
        return a.astype(np.float32).astype(np.float64) if a.dtype.kind == "f" else a

    def __repr__(self) -> str:
        return f"{self.kind}({','.join(map(str, self.shape))})"


DRAWS: dict[str, Callable] = {
    "X": lambda rng, *shape: rng.normal(size=shape),
    "P": lambda rng, *shape: rng.uniform(0.5, 2, shape),
    "U": lambda rng, *shape: rng.uniform(0.1, 0.9, shape),
    "D": lambda rng, *shape: rng.permutation(np.linspace(-2, 2, int(np.prod(shape)))).reshape(shape),  # all distinct
    "Q": lambda rng, *shape: o.softmax(rng.normal(size=shape), 1),  # probabilities along dimension 1
    "I": lambda rng, high, *shape: rng.integers(0, high, shape),
    "B": lambda rng, *shape: rng.random(shape) < 0.5,
    "V": lambda rng, values: np.asarray(values),
}


def _draw(kind: str) -> Callable[..., Draw]:
    return lambda *shape: Draw(kind, shape)


X, P, U, D, Q, I, B, V = map(_draw, "XPUDQIBV")  # noqa: E741


@dataclass
class Row:
    name: str
    fn: Callable
    args: tuple
    kwargs: dict = field(default_factory=dict)
    ref: Callable = field(kw_only=True)  # the value in numpy, called with arrays in the place of tensors
    tol: float = 1  # a factor on the float32 tolerance
    finite: bool = True  # False: no finite differences
    why: str = ""  # the reason for either

    def __str__(self) -> str:
        options = "".join(f",{k}={v}" for k, v in self.kwargs.items())
        return f"{self.name}({','.join(map(str, self.args))}{options})"

    def arrays(self) -> list[np.ndarray]:
        """The inputs, always the same ones."""
        rng = np.random.default_rng(zlib.crc32(str(self).encode()))
        return [draw(rng) for draw in _draws((self.args, self.kwargs))]

    def apply(self, fn: Callable, values) -> Any:
        """fn(*args, **kwargs) with `values` in the places of the draws."""
        args, kwargs = _filled((self.args, self.kwargs), iter(values))
        return fn(*args, **kwargs)


def _draws(spec) -> list[Draw]:
    if isinstance(spec, Draw):
        return [spec]
    parts = spec.values() if isinstance(spec, dict) else spec if isinstance(spec, tuple | list) else ()
    return [d for part in parts for d in _draws(part)]


def _filled(spec, values):
    if isinstance(spec, Draw):
        return next(values)
    if isinstance(spec, dict):
        return {k: _filled(v, values) for k, v in spec.items()}
    return type(spec)(_filled(v, values) for v in spec) if isinstance(spec, tuple | list) else spec


ROWS: list[Row] = []


def row(name: str, *args, **kwargs) -> None:
    """mg.name (or F.name) of args; the last argument is the formula in numpy."""
    fn = getattr(F, name[2:]) if name.startswith("F.") else getattr(mg, name)
    ROWS.append(Row(name, fn, args[:-1], kwargs, ref=args[-1]))


def form(name: str, fn: Callable, *args, **fields) -> None:
    """Any function; `fields` are Row's."""
    ROWS.append(Row(name, fn, args, **fields))


def same(expression: str, *args) -> None:
    """An expression in a, b, c, right for tensors and for arrays."""
    function = eval(f"lambda {', '.join('abc'[: len(args)])}: {expression}", {"np": np})
    ROWS.append(Row(expression, function, args, ref=function))


def bare(name: str, *args, **static) -> None:
    """An operation that is only ever another one's derivative, called by itself; the last argument is its formula."""
    ROWS.append(Row(f"op {name}", REGISTRY[name], args[:-1], static, ref=args[-1]))


# One line a row:
# fmt: off

# --- arithmetic, with broadcasting ------------------------------------------------------------------------------------
for pair in [(X(3, 4), P(3, 4)), (X(3, 4), P(4)), (X(2, 1, 4), P(3, 1)), (X(), P(3)), (X(1), P()), (X(0, 3), P(3))]:
    for sign in "+-*/":
        same(f"a {sign} b", *pair)
for expression in ["a + 2", "2 - a", "a * 0.5", "3 / a", "a / 4", "-a", "+a", "abs(a)", "a ** 2", "a ** 3", "a ** -1.5"]:
    same(expression, P(3, 4))
for expression in ["a ** b", "b ** a", "2.5 ** a", "a ** 0.5", "a ** 0", "a // 0.7", "a % 0.7", "a % b", "a // b"]:
    same(expression + " + 0 * b", P(3, 4), P(4))
for expression in ["a * a", "(a + b) * (a - b)", "a * b + a / b + a", "(a * a) * (a * a) * b"]:
    same(expression, P(2, 3), P(3))
row("add", X(3), X(3), lambda a, b, alpha: a + alpha * b, alpha=2)
row("sub", X(3), X(3), lambda a, b, alpha: a - alpha * b, alpha=0.5)
row("div", X(9), P(9), lambda a, b, rounding_mode: np.floor(a / b), rounding_mode="floor")
row("div", X(9), P(9), lambda a, b, rounding_mode: np.trunc(a / b), rounding_mode="trunc")
row("F.relu", X(3, 4), lambda x: np.maximum(x, 0))
for name in "negative abs square sign exp expm1 sin cos tanh floor ceil round isnan isinf isfinite logical_not".split():
    row(name, X(3, 4), getattr(np, name))
for decimals in (2, -1):
    row("round", X(3, 4), lambda x, decimals: np.round(x, decimals), decimals=decimals)
for name in "log log1p sqrt reciprocal".split():
    row(name, P(3, 4), getattr(np, name))
row("rsqrt", P(3, 4), lambda x: 1 / np.sqrt(x))
row("sigmoid", X(3, 4), o.sigmoid)
row("erf", X(3, 4), o.erf)
row("erf", X(0), o.erf)
row("erf", X(), o.erf)
for name, sign in zip("eq ne lt le gt ge".split(), "== != < <= > >=".split(), strict=True):
    row(name, X(3, 4), X(4), eval(f"lambda a, b: a {sign} b"))
    same(f"a {sign} b", X(3, 4), X(4))
row("logical_and", X(3, 4), B(4), np.logical_and)
for name in "bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift".split():
    row(name, I(9, 3, 4), I(9, 4), getattr(np, name))
for name in "bitwise_and bitwise_or bitwise_xor".split():
    row(name, B(3, 4), B(4), getattr(np, name))
row("bitwise_not", I(9, 3), np.bitwise_not)
row("bitwise_not", B(3), np.bitwise_not)
for sign in ["&", "|", "^", "<<", ">>"]:
    same(f"(a {sign} b) ^ (5 {sign} a) | (b {sign} 2)", I(9, 3, 4), I(9, 4))
row("logical_or", B(3, 4), X(4), np.logical_or)
same("(a > 0) & (b < 1) | ~(a < b) ^ (b == b)", X(3, 4), X(4))

# --- choice -----------------------------------------------------------------------------------------------------------
row("maximum", X(3, 4), X(4), np.maximum)
row("minimum", X(3, 1), X(4), np.minimum)
row("clamp", X(3, 4), np.clip, min=-0.5, max=0.8)
row("clamp", X(3, 4), lambda x, min: np.maximum(x, min), min=0.1)
row("clamp", X(3, 4), lambda x, max: np.minimum(x, max), max=0)
row("clamp", X(3, 4), np.clip, min=U(4), max=P(3, 1))
row("clamp", X(3, 4), lambda x, min: np.maximum(x, min), min=X(4))
row("clamp", X(3, 4), lambda x, max: np.minimum(x, max), max=X(3, 1))
row("clamp", X(3, 4), np.clip, min=-0.5, max=P(4))
row("where", B(3, 4), X(3, 4), X(4), np.where)
row("where", B(3, 1), 2.0, X(4), np.where)
row("where", B(3, 1), X(), -1, np.where)
row("masked_fill", X(3, 4), B(4), -2.0, lambda x, m, v: np.where(m, v, x))
row("masked_fill", X(3, 4), B(3, 4), X(), lambda x, m, v: np.where(m, v, x))

# --- activations ------------------------------------------------------------------------------------------------------
for approximate in ["none", "tanh"]:
    row("F.gelu", X(3, 4), o.gelu, approximate=approximate)
row("F.gelu", X(2, 3, 4, 5), o.gelu)
row("F.gelu", X(0, 3), o.gelu)
bare("exact_gelu", X(3, 4), o.gelu)
bare("normal_cdf", X(3, 4), lambda x: 0.5 * (1 + o.erf(x / 2**0.5)))
row("F.silu", X(3, 4), lambda x: x * o.sigmoid(x))
row("F.selu", X(3, 4), o.selu)
row("F.elu", X(3, 4), o.elu, alpha=0.7)
row("F.leaky_relu", X(3, 4), lambda x, negative_slope: np.where(x > 0, x, negative_slope * x), negative_slope=0.2)
row("F.softplus", X(3, 4), o.softplus)
row("F.softplus", X(3, 4), o.softplus, beta=3.0, threshold=2.0)
row("F.sigmoid", X(3), o.sigmoid)
row("F.logsigmoid", X(3, 4), lambda x: -np.log(1 + np.exp(-x)))
row("F.tanh", X(3), np.tanh)

# --- reductions -------------------------------------------------------------------------------------------------------
DIMS: list[dict] = [{}, {"dim": 1}, {"dim": -1, "keepdim": True}, {"dim": (0, -1)}, {"dim": (2, 0), "keepdim": True}]
for dims in DIMS:
    row("sum", X(2, 3, 4), o.reduced(np.sum), **dims)
    row("mean", X(2, 3, 4), o.reduced(np.mean), **dims)
    row("amax", D(2, 3, 4), o.reduced(np.max), **dims)
    row("amin", D(2, 3, 4), o.reduced(np.min), **dims)
    row("var", X(2, 3, 4), lambda x, **k: o.spread(np.var)(x, **k), **dims)
    row("std", X(2, 3, 4), lambda x, **k: o.spread(np.std)(x, **k), **dims)
    row("any", B(2, 3, 4), o.reduced(np.any), **dims)
    row("all", B(2, 3, 4), o.reduced(np.all), **dims)
for dims in DIMS[:3]:
    row("prod", P(2, 3, 4), o.reduced(np.prod), **dims)
    row("argmax", D(2, 3, 4), o.reduced(np.argmax), **dims)
    row("argmin", D(2, 3, 4), o.reduced(np.argmin), **dims)
for dims in DIMS[1:]:
    row("logsumexp", X(2, 3, 4), o.logsumexp, **dims)
for dims in DIMS[1:3]:
    row("max", D(2, 3, 4), o.extreme(np.max, np.argmax), **dims)
    row("min", D(2, 3, 4), o.extreme(np.min, np.argmin), **dims)
for name in ["sum", "mean", "prod", "amax", "max", "min"]:
    row(name, X(), np.sum)
row("max", D(3), np.max)
row("max", X(3, 4), X(4), np.maximum)
row("min", X(3, 4), X(4), np.minimum)
row("sum", X(0, 3), o.reduced(np.sum), dim=0)
row("sum", I(9, 3, 4), o.reduced(np.sum))
row("prod", X(5, 3), o.reduced(np.prod), dim=0)
row("prod", V([[2.0, 0.0, 3.0], [0.0, 0.0, 1.5], [1.0, 4.0, -2.0]]), o.reduced(np.prod), dim=1)
row("prod", V([1.5, 0.0, -3.0, 2.0]), o.reduced(np.prod))
row("prod", X(0, 3), o.reduced(np.prod), dim=0)
row("var", X(5), lambda x, correction: x.var(ddof=correction), correction=0)
row("std", X(5, 3), lambda x, dim, unbiased: x.std(axis=dim), dim=0, unbiased=False)
row("cumsum", X(3, 4), lambda x, dim: np.cumsum(x, dim), dim=1)
row("cumsum", X(3, 4), lambda x, dim: np.cumsum(x, dim), dim=-2)
for shape in [(3, 4), (5,), (2, 3, 4), ()]:
    row("softmax", X(*shape), o.softmax, dim=-1)
    row("log_softmax", X(*shape), lambda x, dim: np.log(o.softmax(x, dim)), dim=-1)
row("softmax", X(2, 3, 4), o.softmax, dim=1)
row("log_softmax", X(2, 3, 4), lambda x, dim: np.log(o.softmax(x, dim)), dim=0)
row("logsumexp", X(), lambda x, dim: x, dim=0)

for name in ["softmax", "log_softmax", "cumsum", "amax", "sum", "mean"]:
    for shape in [(0, 3), (2, 0, 3)]:
        row(name, X(*shape), lambda x, dim, name=name: x.sum(-1) if name in ("amax", "sum", "mean") else x, dim=-1)

# --- shape ------------------------------------------------------------------------------------------------------------
row("reshape", X(2, 6), (3, -1), np.reshape)
row("reshape", X(1), (), np.reshape)
row("view", X(2, 6), (4, 3), np.reshape)
row("flatten", X(2, 3, 4), lambda x, start_dim: x.reshape(2, 12), start_dim=1)
row("flatten", X(), lambda x: x.reshape(1))
row("unflatten", X(2, 12), -1, (3, -1), lambda x, d, s: x.reshape(2, 3, 4))
row("permute", X(2, 3, 4), (2, 0, -2), lambda x, dims: x.transpose(2, 0, 1))
row("transpose", X(2, 3, 4), 0, -1, np.swapaxes)
row("t", X(3, 4), np.transpose)
same("a.T", X(2, 3, 4))
same("a.mT", X(2, 3, 4))
row("squeeze", X(1, 3, 1), np.squeeze)
row("squeeze", X(1, 3, 1), lambda x, dim: x[0], dim=0)
row("squeeze", X(1, 3, 1), lambda x, dim: x, dim=1)
row("squeeze", X(1, 3, 1), lambda x, dim: x[0, :, 0], dim=(0, -1))
row("unsqueeze", X(3, 4), -1, np.expand_dims)
row("expand", X(3, 1), (2, -1, 4), lambda x, s: np.broadcast_to(x, (2, 3, 4)))
row("broadcast_to", X(3, 1), (2, 3, 4), np.broadcast_to)
row("broadcast_to", X(), (2, 3), np.broadcast_to)
row("expand_as", X(3, 1), X(2, 3, 4), lambda x, y: np.broadcast_to(x, y.shape))
row("repeat", X(2, 3), (2, 1, 3), np.tile)
row("clone", X(2, 3), np.copy)
row("cat", [X(2, 3), X(4, 3), X(0, 3)], lambda t, dim: np.concatenate(t, dim), dim=0)
row("cat", [X(2, 3), X(2, 1)], lambda t, dim: np.concatenate(t, dim), dim=-1)
row("stack", [X(2, 3), X(2, 3)], lambda t, dim: np.stack(t, dim), dim=-1)
form("cat of one tensor twice", lambda x: mg.cat([x, x * 2, x]), X(2, 3), ref=lambda x: np.concatenate([x, 2 * x, x]))
row("split", X(5, 3), 2, lambda x, n: np.split(x, [2, 4]))
row("split", X(3, 5), [1, 4], lambda x, n, dim: np.split(x, [1], dim), dim=-1)
row("chunk", X(3, 5), 3, lambda x, n, dim: np.split(x, [2, 4], dim), dim=1)
row("unbind", X(3), lambda x: tuple(x))
row("unbind", X(2, 3), lambda x, dim: (x[:, 0], x[:, 1], x[:, 2]), dim=-1)
form("one piece of a split", lambda x: x.split(2)[1] * 3, X(5, 3), ref=lambda x: x[2:4] * 3)
row("flip", X(2, 3, 4), (0, -1), lambda x, dims: np.flip(x, dims))
row("roll", X(3, 4), 2, lambda x, n: np.roll(x, n))
row("roll", X(3, 4), (1, -3), lambda x, n, dims: np.roll(x, n, dims), dims=(0, 1))
for k in [0, 1, -2]:
    row("tril", X(2, 3, 4), lambda x, diagonal: np.tril(x, diagonal), diagonal=k)
    row("triu", X(4, 3), lambda x, diagonal: np.triu(x, diagonal), diagonal=k)
for widths in [(1, 2), (0, 1, 2, 0), (-1, 2, 0, -1), (1, 1, 0, 0, 2, 1)]:
    row("F.pad", X(2, 3, 4), o.pad, pad=widths)
row("F.pad", X(2, 3), o.pad, pad=(1, 2), value=1.5)
row("F.pad", X(0, 3), o.pad, pad=(1, 2))
row("F.pad", X(2, 3, 4, 5), o.pad, pad=(1, 0, 2, 1))
for mode, numpy_mode in [("replicate", "edge"), ("reflect", "reflect"), ("circular", "wrap")]:
    row("F.pad", X(2, 3, 4), (2, 1), mode, lambda x, pad, mode, m=numpy_mode: np.pad(x, ((0, 0), (0, 0), pad), m))
form("Tensor.unfold", lambda x: x.unfold(1, 3, 2), X(2, 7, 3),
     ref=lambda x: np.lib.stride_tricks.sliding_window_view(x, 3, 1)[:, ::2])  # fmt: skip
form("astype", lambda x: (x.astype("float32") * 2).astype(x.dtype), X(3, 4), ref=lambda x: x * 2, finite=False,
     why="float32 in the middle rounds a finite difference away; the value and both orders are exact")

bare("mT", X(2, 3, 4), lambda x: x.swapaxes(-1, -2))
bare("sum_to", X(2, 3, 4), lambda x, shape: x.sum((0, 2)).reshape(shape), shape=(3, 1))

# --- indexing ---------------------------------------------------------------------------------------------------------
for index in ["0", "-1", "1:", "::-1", "::2, 1", "..., 0", "None, :, None", "2:0:-1, ..., None", "1:1", "[0, 2, 0, -1]",
              "[[0, 1], [2, 2]]", "[0, 1, 0], [1, 1, 1]", "[[0], [1]], [1, 3]", ":, [3, 3, 0]", "0, [1, 1]", "[1, 1], None, [0, 0]",
              "[0, 0], :, None", "np.array([True, False, True])", "np.eye(3, 4) > 0", ":, np.array([True, False, True, True])",
              "[0, 2], np.array([True, False, True, False])"]:
    same(f"a[{index}]", X(3, 4))
same("a[:, [0, 1], :, [2, 2]]", X(2, 3, 4, 5))
same("a[..., [0, 1, 1], None, 2]", X(2, 3, 4))
form("x[x > 0]", lambda x: x[x > 0], X(3, 4), ref=lambda x: x[x > 0])
same("a[b]", X(3, 4), I(3, 2, 5))
same("a[b, c]", X(3, 4), I(3, 5), I(4, 2, 1))
row("select", X(2, 3, 4), 1, -1, lambda x, d, i: x[:, i])
row("narrow", X(2, 5), 1, 1, 3, lambda x, d, s, n: x[:, s : s + n])
row("index_select", X(3, 4), -1, I(4, 6), lambda x, d, i: x[:, i])
row("gather", X(), 0, V(0), lambda x, d, i: x)
row("index_select", X(), 0, V([0]), lambda x, d, i: x)
row("masked_select", X(), V(True), lambda x, m: x[m])
row("gather", X(3, 4), 0, I(3, 5, 4), lambda x, d, i: np.take_along_axis(x, i, d))
row("gather", X(3, 4), 1, I(4, 2, 6), lambda x, d, i: np.take_along_axis(x[:2], i, d))
row("take_along_dim", X(3, 4), I(3, 2, 1), lambda x, i, dim: np.take_along_axis(x, i, dim), dim=0)
row("take_along_dim", X(3, 4), I(12, 5), lambda x, i: x.ravel()[i])
row("scatter_add", X(3, 4), 1, I(4, 3, 6), X(3, 6), o.scatter_add)
row("scatter_add", X(3, 4), 0, I(3, 2, 3), X(2, 4), o.scatter_add)
row("index_add", X(3, 4), 1, I(4, 6), X(3, 6), o.index_add, alpha=2)
row("masked_select", X(3, 4), B(3, 1), lambda x, m: x[np.broadcast_to(m, x.shape)])
row("diagonal", X(3, 4), np.diagonal)
row("diagonal", X(2, 3, 4), lambda x, offset, dim1, dim2: np.diagonal(x, offset, dim1, dim2), offset=-1, dim1=-1, dim2=0)
row("one_hot", I(4, 2, 3), 4, lambda x, n: np.eye(n, dtype=np.int64)[x])
row("F.embedding", I(5, 2, 6), X(5, 3), lambda i, w: w[i])
row("F.embedding", I(3, 0), X(3, 2), lambda i, w: w[i])

# --- writes: of a copy, and through views of it -----------------------------------------------------------------------
def written(write: Callable) -> Callable:
    """What a write makes of a copy of its first argument, times that argument, in minigrad and numpy."""
    def result(x, *values):
        y = x.clone() if isinstance(x, mg.Tensor) else x.copy()
        write(y, *values)
        return y * x
    return result


for name, write in {
    "y[1] = v": lambda y, v: y.__setitem__(1, v), "y[:, ::2] = v": lambda y, v: y.__setitem__((slice(None), slice(0, None, 2)), v[::2]),
    "y[[2, 0]] = v": lambda y, v: y.__setitem__([2, 0], v), "y[0][1:3] = v": lambda y, v: y[0].__setitem__(slice(1, 3), v[1:3]),
    "y.T[0] = v": lambda y, v: y.T[0].__setitem__(slice(None), v[:3]), "y[1:] *= v": lambda y, v: y[1:].__imul__(v),
    "y.reshape(-1)[::5] += 1": lambda y, v: y.reshape(-1)[::5].__iadd__(v[:3]),
    "y[...] = y[0] * v": lambda y, v: y.__setitem__(..., y[0] * v),
}.items():
    form(name, written(write), X(3, 4), X(4), ref=written(write))
form("diagonal written", written(lambda y, v: y.diagonal().copy_(v[:3])), X(3, 4), X(4),
     ref=written(lambda y, v: np.einsum("ii->i", y[:, :3]).__setitem__(slice(None), v[:3])))
form("windows written", written(lambda y, v: y.unfold(0, 2, 2).copy_(v)), X(5), X(2, 2),
     ref=written(lambda y, v: y.__setitem__(slice(0, 4), v.ravel())))
form("windows", lambda y: y.unfold(1, 3, 1) * 2, X(3, 5), ref=lambda y: np.lib.stride_tricks.sliding_window_view(y, 3, 1) * 2)
bare("replaced", X(3, 4), X(3, 4), lambda a, b: b)
bare("update", X(3, 4), X(2, 4), lambda a, b, index: np.concatenate([a[:1], b]), index=(slice(1, None),))
bare("erase", X(3, 4), lambda a, index: a * [[1], [0], [1]], index=(1,))
bare("put_diagonal", X(3), lambda g, shape, offset: np.pad(np.diag(g), ((0, 0), (0, 1))), shape=(3, 4), offset=0)

# --- matrix products --------------------------------------------------------------------------------------------------
for shapes in ["4 4", "3,4 4", "4 4,2", "3,4 4,2", "2,3,4 4", "4 2,4,3", "2,3,4 4,5", "3,4 2,4,5", "2,3,4 2,4,5", "2,1,3,4 5,4,2",
               "1,3,4 2,4,1", "0,4 4,2", "3,0 0,2"]:
    same("a @ b", *(X(*map(int, shape.split(","))) for shape in shapes.split()))
row("mm", X(3, 4), X(4, 2), np.matmul)
row("bmm", X(2, 3, 4), X(2, 4, 5), np.matmul)
row("mv", X(3, 4), X(4), np.matmul)
row("dot", X(4), X(4), np.dot)
row("outer", X(3), X(4), np.outer)
row("addmm", X(5), X(3, 4), X(4, 5), lambda c, a, b, beta, alpha: beta * c + alpha * a @ b, beta=0.5, alpha=2)
row("addmm", X(3, 5), X(3, 4), X(4, 5), lambda c, a, b: c + a @ b)
for lead in [(), (3,), (2, 3), (0,), (1, 1)]:
    row("F.linear", X(*lead, 4), X(5, 4), X(5), lambda x, w, b: x @ w.T + b)
row("F.linear", X(2, 3, 4), X(5, 4), lambda x, w: x @ w.T)
row("F.linear", X(2, 4), X(4), lambda x, w: x @ w)
bare("linear_weight", X(2, 3, 4), X(2, 3, 5), lambda g, x: np.einsum("abo,abk->ok", g, x))
for equation, operands in {
    "ij,jk->ik": "3,4 4,5", "bij,bkj->bik": "2,3,4 2,5,4", "bhqd,bhkd->bhqk": "2,2,3,4 2,2,5,4", "i,j->ij": "3 4", "ij->ji": "3,4",
    "ij->": "3,4", "ij->j": "3,4", "ij,ij->": "3,4 3,4", "ii->": "4,4", "ii->i": "4,4", "iij->j": "3,3,2", "ij,jk": "3,4 4,5",
    "ba": "3,4", "...ij,...jk->...ik": "2,3,4 4,5", "i...->...": "3,2,4", "ij,jk,kl->il": "2,3 3,4 4,5", "ij,j,k->ki": "3,4 4 2",
    "ij,ik,il->jkl": "2,3 2,4 2,5", ",ij->ij": " 3,4", "bi,bi->b": "2,3 2,3", "i,i,i->i": "3 3 3",
}.items():
    shapes_ = [tuple(map(int, filter(None, shape.split(",")))) for shape in operands.split(" ")]
    row("einsum", equation, *(X(*shape) for shape in shapes_), np.einsum)
