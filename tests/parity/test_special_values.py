"""Every elementwise operation, activation and loss at the numbers where formulas fail: 0, -0, ±∞, NaN, ties, bounds, the largest
and the smallest numbers. Value, first and second derivative against PyTorch's, with gradients of 1, ∞ and NaN arriving.

One call has every point (for two tensors every pair of points) as an element; what is computed of one element stays apart
from the others. NaN equals NaN, an infinity itself, and other numbers agree within a few units in the last place, with
PyTorch in the same dtype or, where PyTorch's kernel loses digits, with its float64. Where that isn't so, `special_values.py`
has the points, one by one, and the reason.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import special_values
import torch

import minigrad as mg
from minigrad.nn import functional as F

TF = torch.nn.functional
INF, NAN = float("inf"), float("nan")
RUNS = [("cpu", name) for name in ("float64", "float32", "float16")]
RUNS += [("mlx", name) for name in ("float32", "float16", "bfloat16")]

# Units in the last place by which numbers may differ: a derivative is often a small difference of numbers near 1.
UNITS = {"float64": 32, "float32": 32, "float16": 8, "bfloat16": 8}


@dataclass
class Case:
    """A function of `count` tensors, in both libraries. `more` are points of its own; `short` takes fewer points."""

    name: str
    theirs: Any
    mine: Any
    count: int = 1
    more: tuple = ()
    short: bool = False
    scale: float = 0  # numbers below it are what is left of a difference, and good to its digits

    def __str__(self) -> str:
        return self.name

    def points(self, dtype: str) -> list[np.ndarray]:
        """The points, one an element: an array for each tensor, in float64."""
        sizes = [0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 20.0, 90.0, 1e-4, *special_values.named(dtype).values(), INF]
        if self.count == 2:
            sizes = [0.0, 1.0, 1.5, 2.0, *list(special_values.named(dtype).values())[:3], INF]
        if self.count == 3 or self.short:
            sizes = [0.0, 1.0, 2.0, INF]
        values = [v for size in sizes for v in (size, -size)] + [*self.more, NAN]
        values = torch.tensor(values, dtype=getattr(torch, dtype)).double().numpy()
        grids = [grid.ravel() for grid in np.meshgrid(*[values] * self.count, indexing="ij")]
        # PyTorch computes what is left of a vector of 64 by other code, which has other answers to NaN: here nothing is left.
        return [np.resize(grid, -(-len(grid) // 64) * 64) for grid in grids]


CASES: list[Case] = []


def call(name: str, *more: float, **kwargs) -> None:
    """The function of this name, of one tensor."""
    theirs = getattr(TF, name[2:]) if name[:2] == "F." else getattr(torch, name)
    mine = getattr(F, name[2:]) if name[:2] == "F." else getattr(mg, name)
    label = name + "".join(f",{k}={v}" for k, v in kwargs.items())
    CASES.append(Case(label, lambda x: theirs(x, **kwargs), lambda x: mine(x, **kwargs), more=more))


def form(name: str, function, count: int = 1, *more: float, short: bool = False, scale: float = 0) -> None:
    """function(library, its functional, tensors), right for both."""
    theirs, mine = (lambda *x: function(torch, TF, *x)), (lambda *x: function(mg, F, *x))
    CASES.append(Case(name, theirs, mine, count, more, short, scale))


def pairwise(names: str) -> None:
    for name in names.split():
        form(name, lambda m, f, a, b, name=name: getattr(m, name)(a, b), 2)


for name in (
    "abs neg sign square sqrt rsqrt reciprocal exp expm1 log log1p sin cos tanh sigmoid erf floor ceil isnan isinf isfinite "
    "logical_not F.relu F.gelu F.silu F.leaky_relu F.elu F.selu F.softplus F.logsigmoid"
).split():
    call(name)
call("F.gelu", approximate="tanh")
call("F.leaky_relu", negative_slope=0.0)
call("F.elu", alpha=0.5)
call("F.softplus", 19.9, 20.1, beta=2.0, threshold=3.0)
call("round", 2.5, -2.5, 3.5)
call("round", 0.35, 0.45, decimals=1)
call("round", decimals=-1)
for low, high in [(-1.0, 2.0), (0.0, None), (None, 0.0), (2.0, -1.0), (NAN, 1.0), (0.0, NAN), (-INF, INF)]:
    form(f"clamp,{low},{high}", lambda m, f, x, low=low, high=high: m.clamp(x, low, high))
for exponent in (0, 0.0, 1, 2, 3, -1, -2, 0.5, -0.5, 1.5, 2.0, 3.0, 1 / 3, INF, -INF, NAN):
    form(f"x**{exponent}", lambda m, f, x, e=exponent: x**e)
for base in (0, 1, 2, 0.5, -1, -2.0, INF, -INF, NAN):
    form(f"{base}**x", lambda m, f, x, b=base: b**x)
for number in (0.0, 2.0, -3.0, INF, NAN):
    for sign in "+-*/":
        op = eval(f"lambda a, b: a {sign} b")
        form(f"x{sign}{number}", lambda m, f, x, op=op, n=number: op(x, n))
        form(f"{number}{sign}x", lambda m, f, x, op=op, n=number: op(n, x))
    if np.isfinite(number):
        form(f"x%{number}", lambda m, f, x, n=number: x % n)
form("masked_fill", lambda m, f, x: x.masked_fill(x > 1, -1.0))
pairwise("add sub mul div pow maximum minimum remainder eq ne lt le gt ge logical_and logical_or")
for mode in ("floor", "trunc"):
    form(f"div,{mode}", lambda m, f, a, b, mode=mode: m.div(a, b, rounding_mode=mode), 2, 0.1)
form("clamp,min", lambda m, f, a, b: m.clamp(a, min=b), 2)
form("clamp,max", lambda m, f, a, b: m.clamp(a, max=b), 2)
form("clamp,both", lambda m, f, a, b, c: m.clamp(a, b, c), 3)
form("where", lambda m, f, a, b: m.where(a > b, a, b), 2)

# --- losses: each element with every target, and among two ordinary elements with each reduction ---------------------------
LOSSES: dict[str, dict] = {
    name: {} for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "binary_cross_entropy_with_logits")
}
for name, options in [*LOSSES.items(), ("smooth_l1_loss", {"beta": 0.0}), ("smooth_l1_loss", {"beta": 2.0})]:
    label = f"F.{name}" + "".join(f",{k}={v}" for k, v in options.items())
    form(label, lambda m, f, a, b, name=name, o=options: getattr(f, name)(a, b, reduction="none", **o), 2)


def rows(m, function, *tensors):
    """function of one element each, beside two ordinary ones; the results side by side."""
    one = [[m.cat([t[i : i + 1], t.detach()[:2] * 0 + c]) for t, c in zip(tensors, (0.25, 0.75), strict=False)]
           for i in range(len(tensors[0]))]  # fmt: skip
    return m.stack([function(*each) for each in one])


for reduction in ("mean", "sum"):
    for name in LOSSES:
        form(f"F.{name},{reduction}", lambda m, f, a, b, name=name, r=reduction: rows(
            m, lambda x, y: getattr(f, name)(x, y, reduction=r), a, b), 2, short=True)  # fmt: skip
form("F.bce,pos_weight", lambda m, f, a, b: f.binary_cross_entropy_with_logits(
    a, b, reduction="none", pos_weight=m.full_like(a.detach(), 3.0)), 2)  # fmt: skip
form("F.bce,weight", lambda m, f, a, b: f.binary_cross_entropy_with_logits(
    a, b, reduction="none", weight=m.full_like(a.detach(), 0.5)), 2)  # fmt: skip


def logits(m, a, b):
    return m.stack([a, b, m.zeros_like(a)], 1)


def classes(m, a, k):
    return (m.isnan(a.detach()) * 0 + k).long()


def weighing(m, a):
    return m.stack([a.detach()[0] * 0 + w for w in (0.5, 0.0, 2.0)])


for k in (0, 1, 2):
    form(f"F.cross_entropy,{k}", lambda m, f, a, b, k=k: f.cross_entropy(
        logits(m, a, b), classes(m, a, k), reduction="none"), 2, scale=1)  # fmt: skip
    form(f"F.cross_entropy,{k},smooth", lambda m, f, a, b, k=k: f.cross_entropy(
        logits(m, a, b), classes(m, a, k), reduction="none", label_smoothing=0.1), 2, short=True, scale=1)  # fmt: skip
    form(f"F.cross_entropy,{k},ignored", lambda m, f, a, b, k=k: f.cross_entropy(
        logits(m, a, b), classes(m, a, k), reduction="none", ignore_index=1), 2, short=True, scale=1)  # fmt: skip
    form(f"F.cross_entropy,{k},weight", lambda m, f, a, b, k=k: f.cross_entropy(
        logits(m, a, b), classes(m, a, k), reduction="none", weight=weighing(m, a)), 2, short=True, scale=1)  # fmt: skip
    form(f"F.nll_loss,{k}", lambda m, f, a, b, k=k: f.nll_loss(
        logits(m, a, b), classes(m, a, k), reduction="none", weight=weighing(m, a)), 2, short=True, scale=1)  # fmt: skip
form("F.cross_entropy,probabilities", lambda m, f, a, b: f.cross_entropy(
    logits(m, a, b), m.full_like(logits(m, a, b).detach(), 0.25), reduction="none"), 2, short=True, scale=1)  # fmt: skip
for reduction in ("mean", "sum"):
    for name in ("cross_entropy", "nll_loss"):
        form(f"F.{name},{reduction}", lambda m, f, a, name=name, r=reduction: m.stack(
            [getattr(f, name)(m.stack([a[i], 0 * a.detach()[0] + 1, 0 * a.detach()[0]]).reshape(1, 3), m.tensor([1], device=a.device),
                              reduction=r) for i in range(len(a))]), short=True, scale=1)  # fmt: skip

# --- rows of two ------------------------------------------------------------------------------------------------------
for p in (0, 0.5, 1, 1.5, 2, 3, INF):
    form(
        f"F.normalize,p={p}", lambda m, f, a, b, p=p: f.normalize(m.stack([a, b], 1), p=p)[:, 0], 2, short=True, scale=1
    )
for name in ("softmax", "log_softmax"):
    form(f"F.{name}", lambda m, f, a, b, name=name: getattr(f, name)(m.stack([a, b], 1), dim=1)[:, 0], 2, scale=1)
form("logsumexp", lambda m, f, a, b: m.logsumexp(m.stack([a, b], 1), 1), 2, scale=1)


@dataclass
class Results:
    """What came out of one case: tensors by name, `value`, `d0` (by the first tensor), `d0@inf` (with ∞ arriving), `d01` (then by
    the second), `d0g` (then by what arrives), and the same on tensors."""

    case: Case
    dtype: str
    device: str = "torch"

    def __post_init__(self):
        self.parts = {}
        self.arrays = self.case.points(self.dtype)

    def torch(self, dtype: str) -> dict:
        """PyTorch's results of these points in another dtype."""
        xs = [torch.tensor(a, dtype=getattr(torch, dtype)).requires_grad_() for a in self.arrays]
        y = self.case.theirs(*xs)
        out = {"value": y.detach()}
        options = {"allow_unused": True, "materialize_grads": True}
        for seed in (1.0, INF, NAN) if y.requires_grad else ():
            g = torch.full_like(y.detach(), seed).requires_grad_()
            for i, d in enumerate(torch.autograd.grad(y, xs, g, create_graph=True, **options)):
                out[f"d{i}" + (f"@{seed:g}" if seed != 1 else "")] = d.detach()
                if seed == 1 and d.requires_grad:
                    second = torch.autograd.grad(d, [*xs, g], torch.ones_like(d), retain_graph=True, **options)
                    out |= {f"d{i}{k}": dd.detach() for k, dd in zip([*range(len(xs)), "g"], second, strict=True)}
        return out

    def own(self, device: str, derivatives: bool) -> dict:
        xs = [mg.tensor(a, dtype=self.dtype, device=device, requires_grad=True) for a in self.arrays]
        y = self.case.mine(*xs)
        out = {"value": y.detach()}
        for seed in (1.0, INF, NAN) if derivatives else ():
            g = mg.full_like(y.detach(), seed).requires_grad_()
            plain = mg.grad(y, xs, g, retain_graph=True, allow_unused=True)
            for i, d in enumerate(mg.grad(y, xs, g, create_graph=True, allow_unused=True)):
                name = f"d{i}" + (f"@{seed:g}" if seed != 1 else "")
                out[name], out[name + ", on tensors"] = plain[i], d if d is None else d.detach()
                if seed == 1 and d is not None and d.requires_grad:
                    second = mg.grad(d, [*xs, g], mg.ones_like(d), retain_graph=True, allow_unused=True)
                    out |= {f"d{i}{k}": dd for k, dd in zip([*range(len(xs)), "g"], second, strict=True)}
        return out


def differences(case: Case, device: str, dtype: str) -> dict:
    """{result: {point: (own, PyTorch's)}} of what differs."""
    results = Results(case, dtype)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        theirs, exact = results.torch(dtype), results.torch("float64")
        mine = results.own(device, len(theirs) > 1)
    found: dict = {}
    nothing = torch.zeros_like(theirs["value"])
    for what in {*mine, *theirs}:
        name = what.removesuffix(", on tensors")
        t, e = theirs.get(name, nothing), exact.get(name, nothing).to(theirs.get(name, nothing).dtype)
        m = mine.get(what)
        assert m is None or m.dtype.name == str(t.dtype)[6:], f"{what} is {m.dtype.name} instead of {t.dtype}"
        b, c = wide(t), wide(e)
        a = np.zeros_like(b) if m is None else m.numpy().astype(np.float64)
        bad = ~(agree(a, b, dtype, case.scale) | np.isfinite(b) & agree(a, c, dtype, case.scale))
        for k in np.flatnonzero(bad):
            point = tuple(float(x[k]) for x in results.arrays)
            found.setdefault(name, {})[point] = a[k], b[k]
    return found


def wide(t: torch.Tensor) -> np.ndarray:
    return t.double().numpy(force=True)


def agree(a, b, dtype: str, scale: float) -> np.ndarray:
    info = torch.finfo(getattr(torch, dtype))
    with np.errstate(all="ignore"):
        close = np.abs(a - b) <= UNITS[dtype] * info.eps * np.maximum(np.abs(b), scale) + info.tiny
    return close | (a == b) | (np.isnan(a) & np.isnan(b))


@pytest.mark.parametrize(("device", "dtype"), RUNS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_special_values(case, device, dtype):
    """What differs from PyTorch is what `special_values.py` lists, no more and no less."""
    if device == "mlx":
        mx = pytest.importorskip("mlx.core", exc_type=ImportError)
        if mx.default_device().type != mx.DeviceType.cpu:
            pytest.skip("the list is of MLX's CPU kernels")
    found = differences(case, device, dtype)
    points = list(zip(*Results(case, dtype).arrays, strict=True))
    listed = special_values.listed(case.name, device, dtype, points)
    unsure = special_values.unsure(case.name, device, dtype, points)
    problems = []
    for what in {*found, *listed}:
        here, known = found.get(what, {}), listed.get(what, set()) - unsure.get(what, set())
        for point in {special_values.key(p) for p in here} - known - unsure.get(what, set()):
            problems.append(f"{what} at {point}: {next(v for p, v in here.items() if special_values.key(p) == point)}")
        for point in known - {special_values.key(p) for p in here}:
            problems.append(f"{what} at {point} no longer differs; take it off the list")
    assert not problems, f"{len(problems)} results (own, PyTorch's):\n" + "\n".join(sorted(problems)[:20])


def test_every_case_of_the_list_exists():
    assert {name for known in special_values.DIFFERENT for name in known.cases} <= {case.name for case in CASES}


if __name__ == "__main__":  # what differs at present
    torch.set_num_threads(1)
    for case in CASES:
        groups: dict = {}
        for device, dtype in RUNS:
            try:
                found = differences(case, device, dtype)
            except Exception as error:
                print(case, device, dtype, "ERROR", type(error).__name__, str(error)[:300])
                continue
            for what, at in found.items():
                key = " ".join(",".join(special_values.name(v, dtype) for v in p) for p in at)
                groups.setdefault(key, {}).setdefault(what, []).append((f"{device} {dtype}", next(iter(at.values()))))
        for key, whats in groups.items():  # noqa
            print(f"\n## {case} | ({len(key.split())}) {key[:400]}")
            for what, runs in whats.items():
                print("   ", what, [r for r, _ in runs], runs[0][1])
