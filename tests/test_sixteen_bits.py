"""Sums in float16 and bfloat16 outside autocast: as if computed in float64 and rounded once, but for the ulps that a case states."""

import numpy as np
import pytest
from sixteen_bits import CASES, rounded, spacing

import minigrad as mg
from minigrad.nn import functional as F


@pytest.fixture(params=[("cpu", "float16"), ("mlx", "float16"), ("mlx", "bfloat16")], ids="-".join)
def low(request):
    if request.param[0] == "mlx":
        pytest.importorskip("mlx.core", exc_type=ImportError)
    return request.param


def held(got, exact, dtype, ulps, what):
    """Within so many ulps of the number itself, or of a sixteenth of the largest one where it is smaller (what cancels)."""
    got = got.astype("float32").detach().numpy().astype(np.float64)
    assert got.shape == exact.shape and np.isfinite(got).all(), what
    step = spacing(np.maximum(np.abs(exact), np.abs(exact).max(initial=0) / 16), dtype)
    worst = (np.abs(got - exact) / step).max(initial=0)
    assert worst <= ulps + 0.501, f"{what}: {worst:.2f} ulps from the exact one, {ulps} + ½ allowed"


@pytest.mark.parametrize(
    ("fn", "shapes", "make", "ulps", "slope_ulps"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_as_float64_rounded_once(fn, shapes, make, ulps, slope_ulps, low):
    device, dtype = low
    rng = np.random.default_rng(0)
    values = [rounded(make(rng, shape), dtype) for shape in shapes]

    def inputs(dtype, device):
        first = "float32" if device == "mlx" else "float64"
        return [mg.tensor(v, dtype=first, device=device).astype(dtype).requires_grad_() for v in values]

    wide, xs = inputs("float64", "cpu"), inputs(dtype, device)
    exact, y = fn(mg, F, *wide), fn(mg, F, *xs)
    assert y.dtype == dtype
    held(y, exact.detach().numpy(), dtype, ulps, "the value")
    seed = rounded(0.2 + 0.1 * rng.normal(size=exact.shape), dtype)
    wanted = [
        i
        for i, x in enumerate(wide)
        if mg.grad(exact, x, mg.tensor(seed), retain_graph=True, allow_unused=True)[0] is not None
    ]
    g = mg.tensor(seed.astype(np.float32), device=device).astype(dtype)
    slopes = mg.grad(y, [xs[i] for i in wanted], g)
    for i, slope, true in zip(wanted, slopes, mg.grad(exact, [wide[i] for i in wanted], mg.tensor(seed)), strict=True):
        assert slope.dtype == dtype
        held(slope, true.numpy(), dtype, slope_ulps, f"the gradient by input {i}")
