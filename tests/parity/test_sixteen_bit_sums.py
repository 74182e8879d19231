"""Sums in float16 and bfloat16, values and gradients: no further from PyTorch's float64 than PyTorch in the same 16-bit dtype.

Beside it PyTorch's CPU kernels often round between their steps and overflow in counts (a mean of 70,000 losses in float16 is NaN,
an embedding's gradient stays at 2,048 ones), so that being near them would be no aim.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from sixteen_bits import CASES, rounded, spacing

import minigrad as mg
from minigrad.nn import functional as F


@pytest.fixture(params=[("cpu", "float16"), ("mlx", "float16"), ("mlx", "bfloat16")], ids="-".join)
def low(request):
    if request.param[0] == "mlx":
        pytest.importorskip("mlx.core", exc_type=ImportError)
    return request.param


def run(t, functional, fn, values, dtype, device):
    """Value and gradients as float64 arrays, None for an input without a gradient."""
    if t is torch:
        xs = [torch.tensor(v).to(getattr(torch, dtype)).requires_grad_() for v in values]
    else:
        xs = [mg.tensor(v.astype(np.float32), device=device).astype(dtype).requires_grad_() for v in values]
    y = fn(t, functional, *xs)
    seed = 0.2 + 0.1 * np.random.default_rng(1).normal(size=tuple(y.shape))
    seed = rounded(seed, "bfloat16")  # which the others hold, too
    if t is torch:
        slopes = torch.autograd.grad(y, xs, torch.tensor(seed).to(y.dtype), allow_unused=True)
        return [None if a is None else a.detach().double().numpy() for a in (y, *slopes)]
    slopes = mg.grad(y, xs, mg.tensor(seed.astype(np.float32), device=device).astype(dtype), allow_unused=True)
    assert {a.dtype.name for a in (y, *slopes) if a is not None} == {dtype}
    return [None if a is None else a.detach().astype("float32").numpy().astype(np.float64) for a in (y, *slopes)]


@pytest.mark.parametrize("case", CASES, ids=[c[0] for c in CASES])
def test_as_exact_as_pytorch(case, low):
    device, dtype = low
    _, fn, shapes, make, *_ = case
    rng = np.random.default_rng(0)
    values = [rounded(make(rng, shape), "bfloat16") for shape in shapes]
    exact = run(torch, TF, fn, values, "float64", "cpu")
    try:
        theirs = run(torch, TF, fn, values, dtype, "cpu")
    except NotImplementedError as error:
        pytest.skip(f"PyTorch: {error}")
    ours = run(mg, F, fn, values, dtype, device)
    for i, (true, a, b) in enumerate(zip(exact, ours, theirs, strict=True)):
        assert (a is None) == (b is None) == (true is None)
        if true is None:
            continue
        assert a.shape == b.shape and np.isfinite(a).all()
        step = spacing(np.maximum(np.abs(true), np.abs(true).max(initial=0) / 16), dtype)
        with np.errstate(invalid="ignore"):
            here, there = ((np.abs(x - true) / step).max(initial=0) for x in (a, b))
        assert not here > there + 1.5, (
            f"{'gradient ' + str(i - 1) if i else 'value'}: {here:.2f} ulps away, PyTorch {there:.2f}"
        )
