"""Corners that the operator database doesn't sample, by hand and against PyTorch in the same way."""

import warnings

import numpy as np
import opinfo
import pytest
import torch

import minigrad as mg
from minigrad.nn import functional as F

T, NAN, INF = torch.tensor, float("nan"), float("inf")
TF = torch.nn.functional


def drawn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64).requires_grad_()


def points(*values):
    return T(values, dtype=torch.float64).requires_grad_()


CASES: list = []


def case(name, *args, **kwargs):
    theirs = getattr(TF, name[2:]) if name.startswith("F.") else getattr(torch, name)
    mine = getattr(F, name[2:]) if name.startswith("F.") else getattr(mg, name)
    CASES.append(pytest.param(theirs, mine, args, kwargs, id=f"{len(CASES)}-{name}-{kwargs}"))


for options in [{"padding": 1}, {"padding": (1, 0), "stride": 2}, {"padding": 1, "stride": 2, "ceil_mode": True}]:
    case("F.avg_pool2d", drawn(2, 3, 7, 6), 3, count_include_pad=False, **options)
case("F.scaled_dot_product_attention", drawn(2, 3, 4), drawn(2, 5, 4), drawn(2, 5, 6), scale=0.3)
case("F.scaled_dot_product_attention", drawn(2, 4, 3, 8), drawn(2, 2, 5, 8), drawn(2, 2, 5, 6), enable_gqa=True)
hidden = T([[True, False, True], [False, False, False]])
case("F.scaled_dot_product_attention", drawn(1, 2, 4), drawn(1, 3, 4), drawn(1, 3, 4), attn_mask=hidden)
case("F.scaled_dot_product_attention", drawn(1, 2, 4), drawn(1, 3, 4), drawn(1, 3, 4),
     attn_mask=torch.zeros(2, 3, dtype=torch.float64).masked_fill(~hidden, -INF))  # fmt: skip
for reduction in ("mean", "sum", "none"):
    for smoothing in (0.1, 1.0):
        options = {"reduction": reduction, "label_smoothing": smoothing}
        case("F.cross_entropy", drawn(5, 4), T([0, 3, 1, 1, 2]), **options)
        case(
            "F.cross_entropy",
            drawn(5, 4),
            T([0, 3, 1, 1, 2]),
            weight=T([1.0, 2, 0.5, 0]).double(),
            ignore_index=1,
            **options,
        )
        case("F.cross_entropy", drawn(2, 4, 3), drawn(2, 4, 3).detach().softmax(1), **options)
for name in ("softmax", "log_softmax", "logsumexp"):
    for row in [(1.0, INF), (-INF, 1.0), (-INF, -INF), (NAN, 1.0), (INF, INF), (1e4, -1e4)]:
        case(name, points(*row), 0)
for name in ("amax", "amin", "max", "min"):
    case(name, points(1.0, 3.0, 3.0, 1.0))
for name in ("max", "min"):
    case(name, points(1.0, 3.0, 3.0, 1.0), 0)
    case(name, points(1.0, NAN, 3.0, NAN), 0)
for name in ("maximum", "minimum"):
    case(name, points(1.0, 2.0, NAN, INF), points(1.0, 3.0, 0.0, INF))
edges = points(0.0, -0.0, 1.0, -1.0, INF, -INF, NAN)
for name in ("abs", "sign", "square", "exp", "tanh", "sigmoid", "erf", "rsqrt", "sqrt", "reciprocal", "log"):
    case(name, edges)
case(
    "F.gelu", points(0.0, -0.0, 1.0, -1.0, -INF, NAN)
)  # PyTorch's float32 kernels give inf or NaN for inf, by processor
for name in ("F.relu", "F.silu", "F.leaky_relu", "F.softplus"):
    case(name, edges)
# PyTorch's gradient of elu at NaN depends on the element's place in a vector; test_special_values.py has it.
case("F.elu", points(0.0, -0.0, 1.0, -1.0, INF, -INF))
case("clamp", points(-1.0, 0.0, 0.5, 1.0, 2.0, NAN), 0.0, 1.0)
case("pow", points(0.0, 0.0, 2.0, -2.0), 0)
case("pow", points(0.0, 0.0, 2.0, 0.0), points(0.0, 1.0, 0.0, 2.0))
case("prod", points(2.0, 0.0, 3.0))
case("prod", points(0.0, 0.0, 3.0))
case("std", points(2.0, 2.0, 2.0))
case("cumsum", drawn(3, 4), dim=-1)
case("F.interpolate", drawn(1, 2, 7, 9), size=(3, 4), mode="bilinear", antialias=True)
case("F.interpolate", drawn(1, 2, 7, 9), size=(3, 12), mode="bilinear", antialias=True, align_corners=True)
case("F.conv2d", drawn(1, 2, 5, 5), drawn(3, 2, 2, 4), padding="same", dilation=2)
case("add", input=drawn(3), other=drawn(3))
for name in ("mul", "maximum", "lt", "div"):
    case(name, input=drawn(3), other=drawn(3))
case("exp", input=drawn(3))
case("F.relu", input=drawn(3))


@pytest.mark.parametrize("device, dtype", [("cpu", torch.float64), ("cpu", torch.float32), ("mlx", torch.float32)])
@pytest.mark.parametrize("theirs, mine, args, kwargs", CASES)
def test_corner(theirs, mine, args, kwargs, device, dtype):
    def cast(t):
        return t.detach().to(dtype).requires_grad_(t.requires_grad) if t.is_floating_point() else t

    arguments = opinfo.Arguments(opinfo.nested(args, cast), opinfo.nested(kwargs, cast), device)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        wanted = opinfo.ask_torch(theirs, arguments)
        opinfo.check(mine, arguments, wanted)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
def test_gradients_beside_whole_numbers(dtype):
    """A cast to whole numbers or booleans is a constant."""
    found = []
    for library in (torch, mg):
        x = library.tensor([2.0, 0.0, 3.5], requires_grad=True)
        whole = x.to(getattr(library, dtype))
        (x * whole).sum().backward()
        found.append((x.grad.tolist(), whole.requires_grad))
    assert found[0] == found[1]
