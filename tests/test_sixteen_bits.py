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


def test_attention_of_16_bits_is_computed_in_float32(device):
    """Logits may be larger than float16 holds: outside of autocast they are no 16-bit tensors."""
    for dtype in ["float16"] if device == "cpu" else ["float16", "bfloat16"]:
        q = np.full((1, 4, 64), 30.0)
        q[0, 1] *= -1
        x = mg.tensor(q, dtype=dtype, device=device)
        for options in (
            {},
            {"is_causal": True},
            {"need_weights": True},
            {"attn_mask": mg.zeros(4, 4, dtype=dtype, device=device)},
        ):
            out = F.scaled_dot_product_attention(x, x, x, scale=2.0, **options)
            out = out[0] if options.get("need_weights") else out
            assert out.dtype == dtype and out.float().numpy()[0, :, 0].tolist() == [30.0, -30.0, 30.0, 30.0]
        q = np.random.default_rng(0).normal(size=(2, 64, 40)) * 3
        x = mg.tensor(q, dtype=dtype, device=device, requires_grad=True)
        wide = mg.tensor(x.detach().float().numpy(), dtype=mg.float64, requires_grad=True)
        y, exact = (F.scaled_dot_product_attention(t, t, t) for t in (x, wide))
        (dx,), (de,) = mg.grad(y.float().square().sum(), x), mg.grad(exact.square().sum(), wide)
        ulp = 2.0 ** (-10 if dtype == "float16" else -7)
        assert (
            np.abs(y.detach().float().numpy() - exact.detach().numpy()).max()
            < ulp * np.abs(exact.detach().numpy()).max()
        )
        assert np.abs(dx.float().numpy() - de.numpy()).max() < 2 * ulp * np.abs(de.numpy()).max()
