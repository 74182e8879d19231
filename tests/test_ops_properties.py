"""Broadcasting, dtype promotion, indexing, shapes, einsum, convolution: random cases against numpy and PyTorch's table.

Gradients of (multi)linear operations are held to their definition, ⟨g, f(x)⟩ = ⟨∂x, x⟩, which needs no second formula.
"""

import importlib.util
import math

import numpy as np
import op_oracles as o
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad.autograd import grad
from minigrad.dtypes import ALL, promote
from minigrad.nn import functional as F

HAS_MLX = importlib.util.find_spec("mlx") is not None
on_every_device = pytest.mark.parametrize(
    "device", ["cpu", pytest.param("mlx", marks=pytest.mark.skipif(not HAS_MLX, reason="mlx is not installed"))]
)
TOLERANCE = {"cpu": 1e-11, "mlx": 2e-5}  # float64, float32; relative to the largest element
seeds = st.integers(0, 2**32 - 1)


def random(seed: int, *shapes):
    """Normal arrays, exact in float32."""
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.normal(size=shape)).astype(np.float32).astype(np.float64) for shape in shapes]


def tensors(device, *arrays):
    dtype = "float64" if device == "cpu" else "float32"
    return [mg.tensor(a, dtype=dtype, device=device, requires_grad=True) for a in arrays]


def close(t, expected, device):
    got, expected = t.detach().numpy(), np.asarray(expected)
    assert got.shape == expected.shape
    scale = max(1.0, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE[device] * scale)


def linear_in(y, g, x, device):
    """⟨g, y⟩ = ⟨∂x, x⟩ for a y that is linear (or positively homogeneous) in x."""
    (dx,) = grad(y, x, mg.tensor(g, dtype=y.dtype, device=device), retain_graph=True)
    assert dx.shape == x.shape
    left, right = ((a.detach().numpy().astype(np.float64) * b).ravel() for a, b in ((y, g), (dx, x.numpy())))
    scale = max(1.0, np.abs(left).sum(), np.abs(right).sum())
    assert abs(left.sum() - right.sum()) <= TOLERANCE[device] * scale


# --- broadcasting and dtypes ------------------------------------------------------------------------------------------


def unbroadcast(g, shape):
    """The gradient summed over what broadcasting repeated."""
    g = g.sum(tuple(range(g.ndim - len(shape))))
    return g.sum(tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True).reshape(shape)


@on_every_device
@given(st.data(), seeds)
def test_broadcasting(device, data, seed):
    smallest = 0 if device == "cpu" else 1
    shapes, result = data.draw(
        hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=4, max_side=3, min_side=smallest)
    )
    a, b, c, g = random(seed, *shapes, result)
    x, y, z = tensors(device, a, b, c)
    out = x * y + z
    close(out, a * b + c, device)
    gradients = grad(out, [x, y, z], mg.tensor(g, dtype=out.dtype, device=device))
    for t, d, full in zip((a, b, c), gradients, (g * b, g * a, g), strict=True):
        close(d, unbroadcast(np.broadcast_to(full, result), t.shape), device)


# PyTorch's table. A row and a column for each dtype, in this order; beside it the same with the second operand without
# dimensions, and with Python's True, 1 and 1.0. ? is bool; u b h i l are uint8, int8 … int64; e g f d float16, bfloat16, …
CODES = dict(
    zip("?ubhilegfd", "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64".split(), strict=True)
)
TABLE = """
? ?ubhilegfd ?ubhilegfd ?lf
u uuhhilegfd uuuuuuegfd uuf
b bhbhilegfd bbbbbbegfd bbf
h hhhhilegfd hhhhhhegfd hhf
i iiiiilegfd iiiiiiegfd iif
l llllllegfd llllllegfd llf
e eeeeeeeffd eeeeeeeeee eee
g ggggggfgfd gggggggggg ggg
f fffffffffd ffffffffff fff
d dddddddddd dddddddddd ddd
"""


@on_every_device
@pytest.mark.parametrize("line", TABLE.split("\n")[1:-1])
def test_promotion(device, line):
    """Every pair of dtypes, with and without dimensions, and Python numbers."""
    code, *expected = line.split()
    lacks = "g" if device == "cpu" else "d"
    assert [promote(ALL[CODES[code]], ALL[name]).name for name in CODES.values()] == [CODES[c] for c in expected[0]]
    if code == lacks:
        return
    a = mg.ones(2, dtype=CODES[code], device=device)
    for other, pair, scalar in zip(CODES, *expected[:2], strict=True):
        if other != lacks:
            b = mg.ones(2, dtype=CODES[other], device=device)
            for operation in (mg.mul, mg.add, mg.maximum, lambda x, y: mg.where(x > 0, x, y)):
                assert operation(a, b).dtype == operation(b, a).dtype == CODES[pair]
                assert operation(a, b[0]).dtype == operation(b[0], a).dtype == CODES[scalar], (code, other)
            assert (a * b).tolist() == [1, 1]
            assert mg.cat([a, b]).dtype == mg.stack([a, b]).dtype == CODES[pair]
            assert (a == b).dtype == (a < b[0]).dtype == "bool"
    for number, result in zip((True, 1, 1.0), expected[2], strict=True):
        assert (a * number).dtype == (number * a).dtype == (a[0] + number).dtype == CODES[result]
        assert (a * np.asarray(number)[()]).dtype == CODES[result]  # numpy's numbers are as weak as Python's
    floating = a.is_floating_point()
    for function in (mg.exp, mg.sqrt, mg.sigmoid, mg.erf, mg.tanh, lambda x: x / x, lambda x: x / 2, lambda x: 1 / x):
        assert function(a).dtype == (CODES[code] if floating else "float32")
    assert a.sum().dtype == a.prod().dtype == a.cumsum(0).dtype == (CODES[code] if floating else "int64")


@on_every_device
@given(
    st.sampled_from("float16 bfloat16 float32 float64".split()),
    st.sampled_from("float16 bfloat16 float32 float64".split()),
)
def test_gradients_have_their_inputs_dtypes(device, first, second):
    assume(("bfloat16" if device == "cpu" else "float64") not in (first, second))
    a, b = (mg.ones(2, 3, dtype=name, device=device, requires_grad=True) for name in (first, second))
    da, db = grad(((a * b + a / 2) ** 2).sum(), [a, b])
    assert (da.dtype, db.dtype) == (first, second)
    assert da.tolist() == [[4.5] * 3] * 2 and db.tolist() == [[3.0] * 3] * 2


# --- indexing ---------------------------------------------------------------------------------------------------------


@st.composite
def indices(draw, shape):
    """An index that numpy takes: numbers, slices, None, Ellipsis, integer and boolean arrays, mixed."""
    together = draw(hnp.array_shapes(min_dims=0, max_dims=2, max_side=3))  # what index arrays broadcast to
    parts: list = []
    dim, ellipsis, count = 0, False, draw(st.integers(0, len(shape)))
    while dim < count:
        n = shape[dim]
        kind = draw(st.sampled_from(["number", "slice", "array", "list", "mask", "none", "ellipsis", "slice"]))
        if kind == "none":
            parts.append(None)
        elif kind == "ellipsis" and not ellipsis:
            parts.append(Ellipsis)
            ellipsis, dim = True, len(shape) - (count - dim)
        elif kind == "slice":
            parts.append(draw(st.slices(n)))
            dim += 1
        elif kind == "mask":
            span = draw(st.integers(1, len(shape) - dim))
            mask = np.zeros(shape[dim : dim + span], bool)
            places = draw(st.lists(st.integers(0, max(mask.size - 1, 0)), min_size=1, max_size=1 if together else 4))
            size = together[-1] if together else len(places)  # masks broadcast with the index arrays
            rng = np.random.default_rng(places[0])
            mask.ravel()[rng.permutation(mask.size)[:size]] = True
            parts.append(mask)
            dim += span
        elif n:
            shape_ = tuple(1 if draw(st.booleans()) else m for m in together) if kind == "array" else ()
            array = draw(hnp.arrays(np.int64, shape_, elements=st.integers(-n, n - 1)))
            parts.append(int(array) if not shape_ else array.tolist() if kind == "list" else array)
            dim += 1
    return tuple(parts) if len(parts) != 1 or draw(st.booleans()) else parts[0]


@on_every_device
@settings(max_examples=250)
@given(st.data(), seeds)
def test_indexing(device, data, seed):
    """Reading, its gradient (positions named twice sum up), and assignment, as numpy's."""
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4))
    index = data.draw(indices(shape))
    (a,) = random(seed, shape)
    (x,) = tensors(device, a)
    try:
        expected = a[index]
    except IndexError:
        with pytest.raises((IndexError, ValueError)):
            x[index]
        return
    assume(device == "cpu" or expected.size)
    y = x[index]
    close(y, expected, device)
    (g,) = random(seed + 1, expected.shape)
    (dx,) = grad(y, x, mg.tensor(g, dtype=y.dtype, device=device))
    summed = np.zeros_like(a)
    np.add.at(summed, index, g)
    close(dx, summed, device)
    x, b = x.detach(), a.copy()
    before = x.array
    x[index] = 2.5
    b[index] = 2.5
    close(x, b, device)
    assert x.array is not before  # arrays are never written


@on_every_device
@given(st.data(), seeds)
def test_assigning_arrays(device, data, seed):
    shape = data.draw(hnp.array_shapes(max_dims=3, max_side=4))
    index = data.draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    (a,) = random(seed, shape)
    value = np.asarray(random(seed + 1, a[index].shape)[0])
    x = mg.tensor(a, dtype="float32", device=device)
    x[index] = mg.tensor(value, dtype="float32", device=device)
    a[index] = value
    np.testing.assert_array_equal(x.numpy(), a.astype(np.float32))


@on_every_device
@given(st.data(), seeds)
def test_gather_and_scatter(device, data, seed):
    shape = data.draw(hnp.array_shapes(max_dims=3, max_side=4))
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    inside = tuple(data.draw(st.integers(1, 6 if i == dim % len(shape) else n)) for i, n in enumerate(shape))
    where = data.draw(hnp.arrays(np.int64, inside, elements=st.integers(0, shape[dim] - 1)))
    a, g = random(seed, shape, inside)
    x, src = tensors(device, a, g)
    index = mg.tensor(where, device=device)
    y = mg.gather(x, dim, index)
    region = a[tuple(slice(None) if i == dim % len(shape) else slice(0, n) for i, n in enumerate(inside))]
    close(y, np.take_along_axis(region, where, dim), device)
    close(grad(y, x, src.detach())[0], o.scatter_add(np.zeros_like(a), dim, where, g), device)
    z = mg.scatter_add(x, dim, index, src)
    close(z, o.scatter_add(a, dim, where, g), device)
    linear_in(z - x, random(seed + 1, shape)[0], src, device)


# --- shapes -----------------------------------------------------------------------------------------------------------


@on_every_device
@given(st.data(), seeds)
def test_moving_elements(device, data, seed):
    """reshape, permute, flip, roll, expand, repeat, split, cat, pad, one after the other."""
    shape = data.draw(hnp.array_shapes(max_dims=4, max_side=4))
    (a,) = random(seed, shape)
    (x,) = tensors(device, a)
    y, b = x, a
    for step in data.draw(
        st.lists(st.sampled_from("reshape permute flip roll expand repeat split pad".split()), max_size=4)
    ):
        dim = data.draw(st.integers(-b.ndim, b.ndim - 1))
        if step == "reshape":
            rest = b.size // b.shape[dim]
            y, b = y.reshape(-1, b.shape[dim]), b.reshape(rest, b.shape[dim])
        elif step == "permute":
            order = data.draw(st.permutations(range(b.ndim)))
            y, b = y.permute(order), b.transpose(order)
        elif step == "flip":
            y, b = y.flip(dim), np.flip(b, dim)
        elif step == "roll":
            shift = data.draw(st.integers(-5, 5))
            y, b = y.roll(shift, dim), np.roll(b, shift, dim)
        elif step == "expand":
            y, b = y.unsqueeze(0).expand(2, *y.shape), np.broadcast_to(b, (2, *b.shape))
        elif step == "repeat":
            counts = data.draw(st.lists(st.integers(1, 2), min_size=b.ndim, max_size=b.ndim + 1))
            y, b = y.repeat(*counts), np.tile(b, counts)
        elif step == "split":
            pieces = y.split(data.draw(st.integers(1, b.shape[dim])), dim)
            y = mg.cat(pieces[::-1], dim)
            ends = np.cumsum([p.shape[dim] for p in pieces])[:-1]
            b = np.concatenate(np.split(b, ends, dim)[::-1], dim)
        else:
            y, b = F.pad(y, (1, 0)), np.pad(b, [(0, 0)] * (b.ndim - 1) + [(1, 0)])
        assume(b.size < 2000 and b.ndim < 6)
    close(y, b, device)
    if y.is_leaf:
        return
    linear_in(y, random(seed + 1, b.shape)[0], x, device)


@on_every_device
@given(st.data(), seeds)
def test_reductions(device, data, seed):
    shape = data.draw(hnp.array_shapes(max_dims=4, max_side=4))
    dims = data.draw(st.none() | st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True).map(tuple))
    keepdim = data.draw(st.booleans())
    (a,) = random(seed, shape)
    (x,) = tensors(device, a)
    spelled = dims and tuple(d - len(shape) if data.draw(st.booleans()) else d for d in dims)
    for function, formula in ((mg.sum, np.sum), (mg.mean, np.mean), (mg.amax, np.max), (mg.amin, np.min)):
        y, expected = function(x, spelled, keepdim), formula(a, axis=dims, keepdims=keepdim)
        close(y, expected, device)
        linear_in(y, random(seed + 1, expected.shape)[0], x, device)


@on_every_device
@settings(max_examples=100)
@given(st.data(), seeds)
def test_einsum(device, data, seed):
    """Random equations: repeated letters, letters of one operand alone, size-1 dimensions, any order of the result."""
    sizes = {c: data.draw(st.integers(1, 3)) for c in "abcde"}
    terms = data.draw(st.lists(st.text("abcde", min_size=0, max_size=3), min_size=1, max_size=3))
    used = sorted(set("".join(terms)))
    result = "".join(data.draw(st.permutations(used)))[: data.draw(st.integers(0, len(used)))]
    equation = ",".join(terms) + data.draw(st.sampled_from(["->" + result, ""]))
    arrays = random(seed, *(tuple(sizes[c] for c in term) for term in terms))
    operands = tensors(device, *arrays)
    expected = np.einsum(equation, *arrays)
    y = mg.einsum(equation, *operands)
    close(y, expected, device)
    if not y.is_leaf:
        for x in operands:
            linear_in(y, random(seed + 1, expected.shape)[0], x, device)


@on_every_device
@given(st.data(), seeds)
def test_matmul(device, data, seed):
    shapes, _ = data.draw(hnp.mutually_broadcastable_shapes(signature="(n?,k),(k,m?)->(n?,m?)", max_dims=2, max_side=4))
    a, b = random(seed, *shapes)
    x, y = tensors(device, a, b)
    z = x @ y
    close(z, a @ b, device)
    for t in (x, y):
        linear_in(z, random(seed + 1, np.shape(a @ b))[0], t, device)


# --- images -----------------------------------------------------------------------------------------------------------


@on_every_device
@given(st.data(), seeds)
def test_convolution(device, data, seed):
    """Any geometry, forward and transposed, against loops; linear in the image and in the weight."""
    two = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, stride, dilation = data.draw(two), data.draw(two), data.draw(two)
    groups, each, out = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2)), data.draw(st.integers(1, 2))
    padding = data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = tuple(max(1, r - 2 * p) + data.draw(st.integers(0, 4)) for r, p in zip(reach, padding, strict=True))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    a, v, b = random(seed, (2, groups * each, *size), (groups * out, each, *kernel), (groups * out,))
    x, w, bias = tensors(device, a, v, b)
    y, expected = F.conv2d(x, w, bias, **options), o.conv2d(a, v, b, **options)
    close(y, expected, device)
    (g,) = random(seed + 1, expected.shape)
    bare = F.conv2d(x, w, None, **options)
    for t in (x, w):
        linear_in(bare, g, t, device)
    size = [(n - 1) * s - 2 * p + r for n, s, p, r in zip(bare.shape[2:], stride, padding, reach, strict=True)]
    if min(size) > 0:
        (h,) = tensors(device, g)
        back = F.conv_transpose2d(h, w, None, **options)
        close(back, o.conv_transpose2d(g, v, None, **options), device)
        for t in (h, w):
            linear_in(back, random(seed + 2, back.shape)[0], t, device)


@on_every_device
@given(st.data(), seeds)
def test_pooling_and_resizing(device, data, seed):
    """Any geometry against loops; all are positively homogeneous in the image."""
    kernel, stride = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3))), data.draw(st.integers(1, 3))
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    size = tuple(k + data.draw(st.integers(0, 4)) for k in kernel)
    ceil_mode, count = data.draw(st.booleans()), data.draw(st.booleans())
    new = (data.draw(st.integers(1, 7)), data.draw(st.integers(1, 7)))
    align = data.draw(st.booleans())
    (a,) = random(seed, (2, 2, *size))
    (x,) = tensors(device, a)
    for name, *args in [
        ("avg_pool2d", kernel, stride, padding, ceil_mode, count), ("max_pool2d", kernel, stride, padding, 1, ceil_mode),
        ("adaptive_avg_pool2d", new), ("interpolate", new), ("interpolate", new, None, "bilinear", align),
    ]:  # fmt: skip
        y, expected = getattr(F, name)(x, *args), getattr(o, name)(a, *args)
        close(y, expected, device)
        linear_in(y, random(seed + 1, expected.shape)[0], x, device)


# --- numbers that are hard to compute with ----------------------------------------------------------------------------


@on_every_device
@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=2, max_side=5), elements=st.floats(-200, 200, width=32)))
def test_no_overflow(device, a):
    """Softmax, its logarithm, logsumexp and the losses built on them stay finite and right for large logits."""
    x = mg.tensor(a, device=device, requires_grad=True)
    wide = a.astype(np.float64)
    top = wide.max(-1, keepdims=True)
    total = np.log(np.exp(wide - top).sum(-1, keepdims=True)) + top
    for y, expected in [
        (mg.log_softmax(x, -1), wide - total), (mg.softmax(x, -1), np.exp(wide - total)),
        (mg.logsumexp(x, -1), total[..., 0]), (F.softplus(x), np.logaddexp(0, wide)), (mg.tanh(x), np.tanh(wide)),
        (mg.sigmoid(x), np.exp(-np.logaddexp(0, -wide))), (F.silu(x), wide * np.exp(-np.logaddexp(0, -wide))),
        (F.elu(x), np.where(wide > 0, wide, np.expm1(np.minimum(wide, 0)))),
        (F.binary_cross_entropy_with_logits(x, mg.ones_like(x), reduction="none"), np.logaddexp(0, -wide)),
        (mg.erf(x), o.erf(wide)), (F.gelu(x), o.gelu(wide)), (F.gelu(x, "tanh"), o.gelu(wide, "tanh")),
    ]:  # fmt: skip
        np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-4, atol=1e-5)
        (dx,) = grad(y.sum(), x)
        assert np.isfinite(dx.numpy()).all()


@on_every_device
def test_infinities(device):
    """Rows of -inf, single infinities and NaN go through as in PyTorch."""
    inf, nan = math.inf, math.nan
    x = mg.tensor(
        [[0.0, -inf, 1.0], [-inf, -inf, -inf], [inf, 0.0, 1.0], [nan, 0.0, 0.0]], device=device, requires_grad=True
    )
    e = math.exp(1) / (1 + math.exp(1))
    soft = [[1 - e, 0, e], [nan] * 3, [nan] * 3, [nan] * 3]
    np.testing.assert_allclose(mg.softmax(x, 1).detach().numpy(), soft, rtol=1e-5)
    y = mg.logsumexp(x, 1)
    np.testing.assert_allclose(y.detach().numpy(), [math.log(1 + math.e), -inf, inf, nan], rtol=1e-5)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [[1 - e, 0, e], [nan] * 3, [nan, 0, 0], [nan] * 3], rtol=1e-5)
    np.testing.assert_array_equal(mg.maximum(x[3], x[0]).detach().numpy(), [nan, 0.0, 1.0])
    assert [math.isnan(v) for v in (x.amax(1)[3].item(), x.max().item(), x.amin(1)[3].item())] == [True] * 3
