"""Where minigrad differs from PyTorch at special numbers, and why; `test_special_values.py` holds the list to be exact.

The same reasons stand in docs/differences.md.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

SHORT = {"cpu64": ("cpu", "float64"), "cpu32": ("cpu", "float32"), "cpu16": ("cpu", "float16"),
         "mlx32": ("mlx", "float32"), "mlx16": ("mlx", "float16"), "mlxb16": ("mlx", "bfloat16")}  # fmt: skip


def named(dtype: str) -> dict[str, float]:
    """Names for the sizes that depend on the dtype: a huge number, the largest, the smallest normal one, one below it."""
    info = torch.finfo(getattr(torch, dtype))
    return {"huge": 1e30 if info.max > 1e30 else 3e4, "max": info.max, "tiny": info.tiny, "sub": info.tiny / 4}


def name(value: float, dtype: str) -> str:
    for text, size in named(dtype).items():
        if abs(value) == rounded(size, dtype):
            return "-" * (value < 0) + text
    return f"{value:.3g}"


def rounded(value: float, dtype: str) -> float:
    return torch.tensor(value, dtype=getattr(torch, dtype)).item()


def number(text: str, dtype: str) -> float:
    bare = text.removeprefix("-")
    return rounded((-1 if bare != text else 1) * float(named(dtype).get(bare, bare)), dtype)


def key(point) -> tuple:
    """A point as something that can be in a set: NaN equals itself, and -0 is 0."""
    return tuple("nan" if v != v else float(v) + 0.0 for v in point)


@dataclass
class Known:
    why: str
    cases: list[str]
    results: list[str]
    runs: list[str]
    points: str | Callable  # "1,0 max,-inf", or a function of the numbers


DIFFERENT: list[Known] = []
UNSURE: list[Known] = []


def at(why: str, cases: str, results: str, runs: str, points, known: list = DIFFERENT) -> None:
    known.append(Known(why, cases.split(), results.split(), list(SHORT) if runs == "all" else runs.split(), points))


def listed(case: str, device: str, dtype: str, points, known: list | None = None) -> dict[str, set]:
    """{result: the points that may differ}."""
    out: dict[str, set] = {}
    for k in DIFFERENT if known is None else known:
        if case not in k.cases or (device, dtype) not in [SHORT[run] for run in k.runs]:
            continue
        if isinstance(k.points, str):
            chosen = {key(number(text, dtype) for text in point.split(",")) for point in k.points.split()}
        else:
            chosen = {key(point) for point in points if k.points(*point)}
        for result in k.results:
            out.setdefault(result, set()).update(chosen)
    return out


def unsure(case: str, device: str, dtype: str, points) -> dict[str, set]:
    return listed(case, device, dtype, points, UNSURE)


INF = float("inf")
BIG = "cpu32 cpu16 mlx32 mlx16 mlxb16"
HALF = "cpu16 mlx16"
WIDE = "cpu64 cpu32 mlx32 mlxb16"

why = "PyTorch's result depends on the processor: NaN, ∞ or -0"
at(why, "F.gelu", "value", "all", "inf -inf", UNSURE)

# --- what PyTorch loses -----------------------------------------------------------------------------------------------
why = "PyTorch's power of the result underflows to 0, and 0·∞ is NaN; here the factors come one after the other"
at(why, "rsqrt", "d0@inf", "cpu64 cpu32 mlx32", "max")
at(why, "rsqrt", "d0@inf", "mlxb16", "huge max")
at(why, "reciprocal", "d0@inf", "cpu64", "max -max")
at(why, "reciprocal", "d0@inf", BIG, "huge -huge max -max")
why = "PyTorch's second derivative overflows to 0·∞ where it is 0"
at(why, "erf", "d00", "all", "max -max")
at(why, "F.gelu", "d00", "cpu64", "max -max")
at(why, "F.gelu", "d00", BIG, "huge -huge max -max")
at(why, "F.gelu,approximate=tanh", "d00", HALF, "huge -huge max -max")
why = "PyTorch divides a number by a tensor as the number times 1/x, which overflows or underflows sooner"
at(why, "0.0/x", "d0 d0g", WIDE, "tiny -tiny sub -sub")
at(why, "0.0/x", "d0 d0g", HALF, "1e-4 -1e-4 tiny -tiny sub -sub")
at(why, "0.0/x", "d00", WIDE, "tiny -tiny")
at(why, "0.0/x", "d00", HALF, "1e-4 -1e-4 tiny -tiny")
at(why, "0.0/x", "value", "all", "sub -sub")
at(why, "inf/x", "d0 d00 d0@inf d0g", "cpu64", "max -max")
at(why, "inf/x", "d0 d00 d0@inf d0g", BIG, "huge -huge max -max")
why = "where a power's derivative is set to 0, PyTorch's second derivative multiplies the 0 by the log or power it replaced"
at(why, "0**x", "d00", "all", "0 0.25 0.5 1 1.5 2 20 90 1e-4 huge max tiny sub inf")
at(why, "pow", "d00", "all", "0,0 tiny,0 -tiny,0 nan,0")
at(why, "pow", "d01", "all", "0,0 -1,0 -1.5,0 -2,0 -huge,0 -max,0 tiny,0 -tiny,0 inf,0 -inf,0 nan,0")
at(why, "pow", "d0g", "all", "0,0 nan,0")
at(why, "pow", "d10", "all", "0,0 0,1 0,1.5 0,2 0,huge 0,max")
at(why, "pow", "d11", "all", "0,0 0,1 0,1.5 0,2 0,huge 0,max 0,tiny 0,inf")
why = "PyTorch's power of -∞ by the number ½, -½ or 1½ depends on the dtype and on whether the number is a tensor"
at(why, "x**0.5", "d00", "all", "-inf")
at(why, "x**0.5", "value", HALF, "-inf")
at(why, "x**-0.5", "value", WIDE, "-inf")
at(why, "x**1.5", "d00", WIDE, "-inf")
at(why, "x**1.5", "d0 d0@inf d0g", "mlx32 mlxb16", "-inf")
why = "PyTorch's remainder of numbers whose quotient overflows is NaN"
at(
    why,
    "remainder",
    "value",
    WIDE,
    "huge,tiny huge,-tiny -huge,tiny -huge,-tiny max,tiny max,-tiny -max,tiny -max,-tiny",
)
why = "PyTorch's second derivative at the threshold is the one beyond it, its first the one below"
at(why, "F.softplus", "d00", "cpu64", "20")
at(why, "F.softplus,beta=2.0,threshold=3.0", "d00", "all", "1.5")
why = "PyTorch's steps in float16 overflow; here the formula is computed in float32 and rounded once"
at(
    why,
    "F.bce,pos_weight",
    "value",
    HALF,
    "1.5,max 1.5,-max 2,max 2,-max huge,max huge,-max max,max max,-max inf,max inf,-max",
)
at(why, "F.bce,pos_weight", "d0 d0g d0@inf", HALF, lambda a, b: a == a and 3e4 <= abs(b) < INF)
at(why, "F.bce,pos_weight", "d00", HALF, lambda a, b: abs(a) >= 3e4 and 3e4 <= abs(b) < INF)

# --- NaN and ∞ where both answers say nothing ------------------------------------------------------------------------------
why = "the second derivative at NaN is 0 in PyTorch, the one at 0 here"
for case in ("F.smooth_l1_loss", "F.smooth_l1_loss,beta=2.0", "F.smooth_l1_loss,mean", "F.smooth_l1_loss,sum"):
    at(why, case, "d00 d01 d10 d11", "all", lambda a, b: a - b != a - b)
why = "an infinite gradient gives ±∞ by (p - q)·g on MLX, NaN by p·g - q·g in PyTorch"


def share(*logits: float) -> float:
    """The softmax of the first logit."""
    e = torch.tensor([*logits, 0.0], dtype=torch.float64)
    return (e - e.max()).softmax(0)[0].item()


MLX = "mlx32 mlx16 mlxb16"
at(why, "F.cross_entropy,0", "d0@inf", MLX, lambda a, b: share(a, b) < 1)
at(why, "F.cross_entropy,1", "d1@inf", MLX, lambda a, b: share(b, a) < 1)
at(why, "F.cross_entropy,0,ignored", "d0@inf", MLX, lambda a, b: share(a, b) < 1)
for k in (0, 1, 2):
    at(why, f"F.cross_entropy,{k},smooth", "d0@inf d1@inf", MLX, lambda a, b: share(a, b) >= 0)

# --- digits -----------------------------------------------------------------------------------------------------------
why = "an exponential below the smallest number of the dtype is 0 here (on MLX also one below the smallest normal number), and 0·∞ NaN"
at(why, "exp F.elu F.selu F.elu,alpha=0.5", "d0@inf", "mlx32 mlxb16", "-90")
at(why, "F.elu F.selu F.softplus F.elu,alpha=0.5", "d0@inf", HALF, "-20 -90")
at(why, "F.softplus,beta=2.0,threshold=3.0", "d0@inf", HALF, "-20")
at(why, "F.softplus", "d0@inf", "cpu32 mlx32 mlxb16", "-90")
at(why, "F.logsigmoid", "d0@inf", "cpu32 mlx32 mlxb16", "90")
why = "a product of a number near 0 and one near 1, the latter rounded: digits of a second derivative that is nearly 0"
at(why, "F.logsigmoid", "d00", "cpu64", "20 -20 90 -90")
at(why, "F.logsigmoid", "d00", "cpu32 mlx32 mlxb16", "-20")
at(why, "F.gelu,approximate=tanh", "d00", "cpu64", "20 -20")
why = "MLX's erf is good to 1e-7, not to its last digit"
at(why, "erf", "value", "mlx32", "1e-4 -1e-4 tiny -tiny")

# --- normalize --------------------------------------------------------------------------------------------------------
why = "PyTorch's norm has NaN among its derivatives where an element is 0; here they are 0"
at(why, "F.normalize,p=0.5 F.normalize,p=1.5", "d00 d10", "all", "0,0 0,1 0,-1 0,2 0,-2")
at(why, "F.normalize,p=0.5 F.normalize,p=1.5", "d01 d11", "all", "0,0 1,0 -1,0 2,0 -2,0")
at(why, "F.normalize,p=2", "d00 d01 d10 d11", "all", "0,0")
at(why, "F.normalize,p=0.5 F.normalize,p=1.5 F.normalize,p=3", "d0", "all", "0,inf 0,-inf")
at(why, "F.normalize,p=0.5 F.normalize,p=1.5 F.normalize,p=3", "d1", "all", "inf,0 -inf,0")
at(why, "F.normalize,p=0.5 F.normalize,p=1.5 F.normalize,p=3", "d0@inf", "all", "0,1 0,-1 0,2 0,-2")
at(why, "F.normalize,p=0.5 F.normalize,p=1.5 F.normalize,p=3", "d1@inf d1@nan", "all", "1,0 -1,0 2,0 -2,0 inf,0 -inf,0")
why = "only the largest element sees the norm's gradient, which PyTorch multiplies by 0 for the others: NaN where it is infinite"
at(why, "F.normalize,p=inf", "d0 d00 d10", "all", lambda a, b: abs(a) < abs(b) == INF)
at(why, "F.normalize,p=inf", "d1 d01 d11", "all", lambda a, b: abs(b) < abs(a) == INF)
at(why, "F.normalize,p=inf", "d0@inf", "all", lambda a, b: abs(a) < abs(b) < INF)
at(why, "F.normalize,p=inf", "d1@inf d1@nan", "all", lambda a, b: abs(b) < abs(a))
why = "eps is 0 in float16, so that PyTorch divides a zero row by 0; here it is computed in float32"
for p in (0, 0.5, 1, 1.5, 2, 3, "inf"):
    results = "value d1 d1@inf d1@nan d1g"
    at(why, f"F.normalize,p={p}", "value d1 d1@nan d1g d1@inf", HALF, "0,0")
    if p != 0:
        at(why, f"F.normalize,p={p}", "d0g d00 d01 d10 d11", HALF, "0,0")
at(why, "F.normalize,p=0.5 F.normalize,p=1 F.normalize,p=2 F.normalize,p=inf", "d0 d0@inf", HALF, "0,0")
