"""The kernels of convolution compute what its definition in `minigrad/ops/conv.py` says, on every backend."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import ops
from minigrad.backend import get
from minigrad.kernels import KERNELS
from minigrad.nn import functional as F

NAMES = ("conv2d", "conv2d_input", "conv2d_weight")
TOLERANCE = {"float64": 1e-12, "float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}

# images, size, (channels, outputs, groups), kernel, stride, padding, dilation
CASES = {
    "plain": (2, (6, 5), (3, 4, 1), (3, 2), (1, 1), (0, 0), (1, 1)),
    "one tap": (2, (4, 3), (3, 4, 1), (1, 1), (1, 1), (0, 0), (1, 1)),
    "strides": (2, (7, 8), (2, 3, 1), (3, 3), (2, 3), (0, 0), (1, 1)),
    "padding": (2, (5, 4), (2, 3, 1), (3, 3), (1, 1), (2, 1), (1, 1)),
    "dilation": (1, (9, 8), (2, 3, 1), (3, 2), (1, 1), (0, 0), (2, 3)),
    "all of them": (2, (8, 9), (2, 4, 1), (3, 2), (2, 1), (1, 2), (2, 1)),
    "pixels left over": (1, (8, 8), (2, 3, 1), (3, 3), (3, 4), (0, 0), (1, 1)),
    "tiles": (2, (8, 6), (3, 4, 1), (4, 3), (4, 3), (0, 0), (1, 1)),
    "tiles, pixels left over": (2, (9, 7), (3, 4, 1), (4, 3), (4, 3), (0, 0), (1, 1)),
    "groups": (2, (5, 5), (4, 6, 2), (3, 3), (2, 1), (1, 1), (1, 1)),
    "depthwise": (2, (6, 5), (5, 5, 5), (3, 3), (1, 1), (1, 1), (1, 1)),
    "depthwise, strides": (2, (6, 7), (4, 4, 4), (3, 3), (2, 2), (1, 1), (1, 1)),
    "depthwise, dilation": (1, (7, 7), (4, 4, 4), (3, 3), (1, 1), (2, 2), (2, 2)),
    "depthwise, more outputs": (2, (5, 5), (3, 6, 3), (3, 3), (1, 1), (1, 1), (1, 1)),
    "one pixel": (2, (1, 1), (3, 4, 1), (1, 1), (1, 1), (0, 0), (1, 1)),
    "one pixel, padding": (1, (1, 1), (3, 4, 1), (3, 3), (1, 1), (1, 1), (1, 1)),
    "one pixel, depthwise": (1, (1, 1), (3, 3, 3), (3, 3), (1, 1), (1, 1), (1, 1)),
    "no images": (0, (5, 5), (3, 4, 1), (3, 3), (1, 1), (1, 1), (1, 1)),
    "no images, depthwise": (0, (5, 5), (4, 4, 4), (3, 3), (1, 1), (1, 1), (1, 1)),
    "no channels": (2, (5, 5), (0, 4, 1), (3, 3), (1, 1), (1, 1), (1, 1)),
}  # fmt: skip


def calls(case, layout="NCHW"):
    """For each operation its float64 arrays and options."""
    n, size, (channels, out, groups), kernel, stride, padding, dilation = case
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    places = [
        (m + 2 * p - d * (k - 1) - 1) // s + 1
        for m, p, d, k, s in zip(size, padding, dilation, kernel, stride, strict=True)
    ]
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((n, channels, *size)), rng.standard_normal((n, out, *places))
    w, b = rng.standard_normal((out, channels // groups, *kernel)), rng.standard_normal(out)
    if layout == "NHWC":
        x, g = (np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) for a in (x, g))
    return {
        "conv2d": ([x, w, b], options),
        "conv2d_input": ([g, w], {"size": size, **options}),
        "conv2d_weight": ([g, x], {"kernel": kernel, **options}),
    }


def definition(name):
    return getattr(ops, name).forward.definition.__wrapped__  # in the given dtype


def close(got, expected, dtype):
    assert got.shape == expected.shape
    bound = TOLERANCE[dtype] * max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(np.asarray(got, "float64"), expected, rtol=0, atol=bound)


DTYPES = {"cpu": ["float64", "float32", "float16"], "mlx": ["float32", "float16", "bfloat16"]}


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_kernels(case, layout, device):
    """Value and both derivatives."""
    xp, cpu = get(device), get("cpu")
    for name, (arrays, options) in calls(case, layout).items():
        for dtype in DTYPES[device]:
            kernel = KERNELS[name, xp.name]
            given = [xp.asarray(a, dtype) for a in arrays]
            rounded = [xp.to_numpy(a).astype("float64") for a in given]
            got = kernel(*given, **options)
            assert xp.dtype_name(got) == dtype
            close(xp.to_numpy(got), definition(name)(cpu, *rounded, **options), dtype)


@pytest.mark.parametrize(
    "case", [c for c in CASES.values() if c[0] and c[2][0]], ids=[n for n in CASES if "no " not in n]
)
def test_the_definition_is_the_same_on_every_backend(case, device):
    xp, cpu = get(device), get("cpu")
    dtype = DTYPES[device][0]
    for name, (arrays, options) in calls(case).items():
        given = [xp.asarray(a, dtype) for a in arrays]
        close(xp.to_numpy(definition(name)(xp, *given, **options)), definition(name)(cpu, *arrays, **options), dtype)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_derivatives_are_transposes(case):
    """<g, w ∗ x> = <conv2d_input(g, w), x> = <conv2d_weight(g, x), w>: this holds the definitions to one another."""
    given = calls(case)
    (x, w, _), options = given["conv2d"]
    g = given["conv2d_input"][0][0]
    y, dx, dw = (
        definition(name)(get("cpu"), *arrays, **options)
        for name, (arrays, options) in (("conv2d", ([x, w, None], options)), *list(given.items())[1:])
    )
    total = (g * y).sum()
    assert abs((dx * x).sum() - total) < 1e-9 and abs((dw * w).sum() - total) < 1e-9


def test_the_definition_in_loops():
    """The formula, number by number."""
    n, size, (channels, out, groups), kernel, stride, padding, dilation = CASES["all of them"]
    (x, w, b), options = calls(CASES["all of them"])["conv2d"]
    y = definition("conv2d")(get("cpu"), x, w, b, **options)
    expected = np.zeros_like(y)
    for m, o, i, j in np.ndindex(*y.shape):
        total = b[o]
        for c, u, v in np.ndindex(channels, *kernel):
            row = i * stride[0] + u * dilation[0] - padding[0]
            column = j * stride[1] + v * dilation[1] - padding[1]
            if 0 <= row < size[0] and 0 <= column < size[1]:
                total += w[o, c, u, v] * x[m, c, row, column]
        expected[m, o, i, j] = total
    np.testing.assert_allclose(y, expected, atol=1e-12)


def without_kernels(monkeypatch, device):
    for name in NAMES:
        monkeypatch.delitem(KERNELS, (name, device))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_backend_without_kernels_uses_the_definition(device, dtype, monkeypatch):
    """The convolution, its gradients, and the gradients' own."""
    rng = np.random.default_rng(0)
    shapes = [(2, 4, 6, 5), (6, 2, 3, 3), (6,)]
    values = [mg.tensor(rng.standard_normal(s) / 4, dtype=dtype, device=device) for s in shapes]

    def results():
        x, w, b = (v.detach().requires_grad_() for v in values)
        y = F.conv2d(x, w, b, stride=(2, 1), padding=1, groups=2)
        first = mg.grad((y * y).mean(), [x, w, b], create_graph=True)
        second = mg.grad(sum((d * d).sum() for d in first), [x, w, b])
        assert all(t.dtype == dtype for t in (y, *first, *second))
        return [t.float().numpy() for t in (y, *first, *second)]

    with_kernels = results()
    without_kernels(monkeypatch, device)
    for a, b in zip(results(), with_kernels, strict=True):
        assert np.abs(a - b).max() <= (1e-5 if dtype == "float32" else 1e-2) * max(1, np.abs(b).max())


def test_gradcheck_of_the_definition(monkeypatch):
    without_kernels(monkeypatch, "cpu")
    rng = np.random.default_rng(0)
    x, w, b = (mg.tensor(rng.standard_normal(s), requires_grad=True) for s in ((1, 4, 4, 3), (4, 2, 2, 2), (4,)))
    assert mg.autograd.gradcheck(
        lambda x, w, b: F.conv2d(x, w, b, stride=(1, 2), padding=1, dilation=(2, 1), groups=2), (x, w, b)
    )
