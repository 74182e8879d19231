"""Sums of many float32 numbers: in every layout and over every axis within 1e-6 of the sum of their sizes, and what is computed
from sums near its float64 value. Adding 0.1 number by number loses the bound after a few hundred terms."""

import itertools

import numpy as np
import pytest

import minigrad as mg
from minigrad.autograd import gradcheck, gradgradcheck
from minigrad.backend import numpy_sums
from minigrad.nn import functional as F

BOUND = 1e-6


def numbers(shape, kind="offset", seed=0):
    rng = np.random.default_rng(seed)
    if kind == "equal":
        return np.full(shape, 0.1, np.float32)
    return (rng.normal(size=shape) * 0.05 + (0.1 if kind == "offset" else 0)).astype(np.float32)


def layouts(values, device):
    """(name, tensor) with the same values, in different places of memory."""
    ndim = values.ndim

    def tensor(a):
        return mg.tensor(np.ascontiguousarray(a), device=device)

    yield "contiguous", tensor(values)
    for order in itertools.permutations(range(ndim)):
        yield f"permuted {order}", tensor(values.transpose(order)).permute(*np.argsort(order).tolist())
    yield "strided", tensor(np.repeat(values, 2, -1))[..., ::2]
    yield "strided rows", tensor(np.repeat(values, 2, 0))[::2]
    yield "part of rows", tensor(np.concatenate([values, values], -1))[..., : values.shape[-1]]
    yield "backwards", tensor(np.flip(values))[(slice(None, None, -1),) * ndim]
    yield "rows backwards", tensor(np.flip(values, 0))[::-1]


def check(x, exact, dims, keepdim=False):
    """Sum and mean of a tensor over dims, beside those of a float64 array."""
    size = np.abs(exact).sum(dims, keepdims=keepdim)
    total, average = x.sum(dims, keepdim), x.mean(dims, keepdim)
    assert total.dtype == average.dtype == "float32" and total.shape == average.shape == size.shape
    count = exact.size // max(size.size, 1)
    assert (np.abs(total.numpy() - exact.sum(dims, keepdims=keepdim)) <= BOUND * size).all()
    assert (np.abs(average.numpy() - exact.mean(dims, keepdims=keepdim)) <= BOUND * size / count).all()


@pytest.mark.parametrize("kind", ["equal", "offset", "normal"])
@pytest.mark.parametrize("shape", [(3000,), (700, 3), (3, 2000), (40, 50, 7), (130, 3, 90), (3, 8, 40, 41)], ids=str)
def test_every_axis_and_layout(shape, kind, device):
    values = numbers(shape, kind)
    exact = values.astype(np.float64)
    subsets = [d for n in range(1, len(shape) + 1) for d in itertools.combinations(range(len(shape)), n)]
    for name, x in layouts(values, device):
        np.testing.assert_array_equal(x.numpy(), values, err_msg=name)
        for dims in subsets:
            check(x, exact, dims, keepdim=len(dims) % 2 == 0)


@pytest.mark.parametrize("repeated", [(0,), (1,), (0, 1), (0, 2), (1, 2), (0, 1, 2)], ids=str)
def test_repeated_numbers(repeated, device):
    values = numbers([1 if i in repeated else n for i, n in enumerate((150, 40, 30))], "normal")
    x = mg.tensor(values, device=device).expand(150, 40, 30)
    exact = np.broadcast_to(values.astype(np.float64), x.shape)
    for n in range(1, 4):
        for dims in itertools.combinations(range(3), n):
            check(x, exact, dims)


@pytest.mark.parametrize(
    "shape", [(2_000_000,), (1_000_000, 2), (2, 1_000_000), (1, 1_000_000), (250, 4000, 2), (4, 250_000, 2)], ids=str
)
def test_millions(shape, device):
    x = mg.full(shape, 0.1, device=device)
    one = float(np.float32(0.1))
    for n in range(1, len(shape) + 1):
        for dims in itertools.combinations(range(len(shape)), n):
            count = np.prod([shape[d] for d in dims])
            np.testing.assert_allclose(x.sum(dims).numpy(), one * count, rtol=BOUND)
            np.testing.assert_allclose(x.mean(dims).numpy(), one, rtol=BOUND)


@pytest.mark.parametrize("shape", [(37, 120_011), (60, 100_003), (23, 400_009), (3, 300, 9001)], ids=str)
def test_wide_matrices(shape):
    """Those whose rows are added in pieces, with columns and rows left over."""
    values = numbers(shape)
    check(mg.tensor(values), values.astype(np.float64), (len(shape) - 2,))


def test_more_ones_than_float32_counts():
    assert mg.ones(17_000_000, 2).sum(0).tolist() == [17_000_000, 17_000_000]
    assert mg.ones(1, 2).expand(20_000_000, 2).sum(0).tolist() == [20_000_000, 20_000_000]


@pytest.mark.parametrize("width", [1, 7, 64])
def test_equal_numbers_of_every_count(device, width):
    """Numbers that are left over beside whole blocks are no fewer digits' worth."""
    for count in [*range(60, 520, 11), 1000, 4097]:
        a = np.full((count, width), 0.1, np.float32)
        exact = a[:, 0].astype(np.float64).sum()
        for x, dim in ((a, 0), (np.ascontiguousarray(a.T), 1)):
            x = mg.tensor(x, device=device)
            assert np.abs(x.sum(dim).numpy() - exact).max() <= 1e-6 * exact, (count, dim)
            assert np.abs(x.mean(dim).numpy() * float(count) - exact).max() <= 1e-6 * exact, (count, dim)


@pytest.mark.parametrize("count", [17, 64, 128, 1000, 4096])
@pytest.mark.parametrize("width", [1, 5, 200])
def test_arrays_made_against_the_limit(count, width):
    """1 and numbers of half its last digit, each of which is lost where it is added to 1. float32 adds 16 one by one at most."""
    for place in (0, 1, 15, 16, count // 2, count - 1):
        values = np.full((count, width), 2.0**-24, np.float32)
        values[place] = 1
        exact = values.astype(np.float64)
        for _, x in layouts(values, "cpu"):
            check(x, exact, (0,))
        for _, x in layouts(np.stack([values, values]), "cpu"):
            check(x, np.stack([exact, exact]), (1,), keepdim=True)
        if count > 64:
            np.testing.assert_allclose(mg.tensor(values).cumsum(0).numpy(), np.cumsum(exact, 0), rtol=BOUND)


@pytest.mark.parametrize("period", [8, 15, 16, 64, 128])
@pytest.mark.parametrize(
    "shape", [(64, 64), (4096,), (300, 500), (17, 100, 60), (2, 32, 14, 14), (1000, 1153)], ids=str
)
def test_ones_among_halves_of_their_last_digit(shape, period, device):
    """Each half is lost where it is added to 1, in whatever blocks numbers are added: 63 of them are 3.8e-6 of 1 at most."""
    size = np.prod(shape)
    first = np.where(np.arange(size) % period, np.float32(2.0**-24), np.float32(1))
    eight = np.where(
        np.arange(size) % period < 8, np.float32(1), np.float32(2.0**-24)
    )  # numpy adds every eighth number
    for values in (first.reshape(shape), first.reshape(shape[::-1]).T, eight.reshape(shape)):
        exact = values.astype(np.float64)
        for name, x in layouts(values, device):
            if size > 200_000 and name not in ("contiguous", "permuted (1, 0)", "strided"):
                continue
            for n in range(1, values.ndim + 1):
                for dims in itertools.combinations(range(values.ndim), n):
                    check(x, exact, dims, keepdim=n % 2 == 0)
        if size < 100_000:
            for dim in range(values.ndim):
                got = mg.tensor(np.ascontiguousarray(values), device=device).cumsum(dim).numpy()
                np.testing.assert_allclose(got, exact.cumsum(dim), rtol=BOUND)


@pytest.mark.parametrize("rows", [1, 70, 300])
@pytest.mark.parametrize("length", [119, 127, 255, 1023])
def test_rows_made_against_numpys_order(rows, length, device):
    """It has eight sums of every eighth number, from which 14 halves of the last digit are lost each, and then adds what is left over
    to their sum, from which seven are lost: 21·2⁻²⁴ = 1.25e-6."""
    row = np.full(length, 2.0**-24, np.float32)
    row[:8], row[-7:] = 1, 2.0**-21
    values = np.tile(row, (rows, 1))
    for _, x in layouts(values, device):
        check(x, values.astype(np.float64), (1,))
        check(x, values.astype(np.float64), (0, 1))


@pytest.mark.parametrize("count", [16, 64, 65, 97, 1000, 4097])
def test_arrays_made_against_the_limit_on_mlx(count):
    """Its CPU device adds 15 numbers one after the other, of which 14 may each lose half of the last digit of 1."""
    mx = pytest.importorskip("mlx.core", exc_type=ImportError)
    if mx.default_device() != mx.cpu:
        pytest.skip("a GPU adds in parallel")
    for width, place in itertools.product((3, 170), (0, 1, 14, 63 % count, 64 % count, count // 2, count - 1)):
        values = np.full((count, width), 2.0**-24, np.float32)
        values[place] = 1
        exact = values.astype(np.float64)
        for _, x in layouts(values, "mlx"):
            for dims in ((0,), (0, 1)):
                check(x, exact, dims)
        np.testing.assert_allclose(mg.tensor(values, device="mlx").cumsum(0).numpy(), exact.cumsum(0), rtol=BOUND)


def test_large_arrays_made_against_the_limit_on_mlx():
    """Of three dimensions: its CPU device adds 64 numbers one after the other there."""
    mx = pytest.importorskip("mlx.core", exc_type=ImportError)
    if mx.default_device() != mx.cpu:
        pytest.skip("a GPU adds in parallel")
    values = np.where(np.arange(780_000) % 64, np.float32(2.0**-24), np.float32(1)).reshape(40, 130, 150)
    exact = values.astype(np.float64)
    for _, x in layouts(values, "mlx"):
        for n in range(1, 4):
            for dims in itertools.combinations(range(3), n):
                assert (np.abs(x.sum(dims).numpy() / exact.sum(dims) - 1) <= 65 * 2.0**-24).all()


def test_numpys_own_sum_is_as_exact_as_it_is_taken_to_be():
    """Where every place at which numpy may begin to add holds 1, and what comes after is lost."""
    for n in [*range(1, 300), 352, 576, 577, 640, 1000, 1152, 2000, 4097]:
        bound, halves = numpy_sums._roundings(n) * 2.0**-24, np.full(n, 2.0**-24, np.float32)
        for first in (1, 8):
            for start in {0, n // 16 * 8, n // 32 * 8}:
                values = halves.copy()
                values[start : start + first] = 1
                exact = values.astype(np.float64).sum()
                assert abs(values.sum() - exact) <= bound * exact, n


def test_orders_and_repetitions_of_axes():
    """Axes that numpy counts from the end, names out of order, and dimensions of 1 between them, with their strides of 0."""
    values = numbers((40, 1, 30, 3, 20))
    for a in (
        values,
        values.transpose(4, 1, 0, 3, 2),
        np.broadcast_to(values, (2, *values.shape)),
        values[:, :, ::-1, :, ::2],
    ):
        exact, size = a.astype(np.float64), np.abs(a).astype(np.float64)
        for n in range(a.ndim + 1):
            for axes in itertools.permutations(range(-a.ndim, 0), n):
                got = numpy_sums.total(a, axes, keepdims=True)
                assert got.shape == exact.sum(axes, keepdims=True).shape
                assert (np.abs(got - exact.sum(axes, keepdims=True)) <= BOUND * size.sum(axes, keepdims=True)).all()


def test_random_shapes_axes_and_layouts(samples, seed, device):
    rng = np.random.default_rng(seed)
    for _ in range(samples(60)):
        ndim = int(rng.integers(1, 5))
        shape = tuple(rng.integers(1, [5000, 300, 30, 12][ndim - 1], ndim).tolist())
        values = numbers(shape, str(rng.choice(["equal", "offset", "normal"])), int(rng.integers(1 << 30)))
        order = rng.permutation(ndim)
        cuts = tuple(slice(int(rng.integers(0, 2)), None, int(rng.choice([1, 1, 2, -1]))) for _ in shape)
        x = mg.tensor(values, device=device).permute(*order.tolist())[cuts]
        exact = values.astype(np.float64).transpose(order)[cuts]
        dims = tuple(rng.choice(ndim, rng.integers(1, ndim + 1), replace=False).tolist())
        if exact.size:
            check(x, exact, dims, bool(rng.integers(2)))


def test_nothing_and_small_things(device):
    for shape, dims, expected in [((0, 3), 0, [0, 0, 0]), ((3, 0), 1, [0, 0, 0]), ((2, 0, 3), (0, 2), [])]:
        assert mg.zeros(*shape, device=device).sum(dims).tolist() == expected
    assert mg.tensor(3.0, device=device).sum().item() == 3
    assert (
        mg.ones(5, device=device).sum(-1).item() == 5 and mg.ones(100, 3, device=device).sum(-2).tolist() == [100] * 3
    )
    inf = mg.full((200, 3), np.inf, device=device)
    assert inf.sum(0).tolist() == [np.inf] * 3 and np.isnan((inf * 0).sum(0).numpy()).all()
    lone = mg.where(mg.arange(600, device=device).reshape(200, 3) == 301, np.nan, mg.ones(200, 3, device=device)).sum(0)
    assert np.isnan(lone.numpy()).tolist() == [False, True, False]


# --- what is computed from sums ---------------------------------------------------------------------------------------
def channels_last(x):
    return x.permute(0, 3, 1, 2)


def batch_normalised(x, w, b):
    return F.batch_norm(channels_last(x), None, None, w, b, training=True)


# name, function of tensors, shapes of the inputs (offset numbers), bound on value and gradients, relative to the largest one
COMPOSITES = [
    ("var, leading", lambda x: x.var(0), [(20000, 3)], 5e-7),
    ("var, channels last", lambda x: channels_last(x).var((0, 2, 3)), [(4, 40, 40, 5)], 5e-7),
    ("std, leading", lambda x: x.std((0, 1)), [(100, 200, 3)], 5e-7),
    ("batch_norm", batch_normalised, [(4, 50, 50, 6), (6,), (6,)], 2e-6),
    ("batch_norm, channels first", lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), [(300, 3, 5, 5), (3,), (3,)], 2e-6),
    ("layer_norm, many rows", lambda x, w, b: F.layer_norm(x, (8,), w, b), [(9000, 8), (8,), (8,)], 2e-6),
    ("layer_norm, long rows", lambda x, w, b: F.layer_norm(x, (30001,), w, b), [(2, 30001), (30001,), (30001,)], 2e-6),
    ("group_norm", lambda x, w, b: F.group_norm(x, 2, w, b), [(2, 4, 70, 71), (4,), (4,)], 3e-6),
    ("linear's bias", lambda x, w, b: F.linear(x, w, b), [(200, 150, 2), (3, 2), (3,)], 5e-6),
    ("conv2d's bias", lambda x, w, b: F.conv2d(x, w, b), [(4, 2, 60, 60), (3, 2, 1, 1), (3,)], 5e-6),
    ("conv2d's bias, depthwise", lambda x, w, b: F.conv2d(x, w, b, padding=1, groups=4), [(3, 4, 50, 50), (4, 1, 3, 3), (4,)], 2e-5),
    ("broadcasting", lambda x, b: x * b, [(300, 100, 2), (2,)], 5e-7),
    ("broadcasting a number", lambda x, b: x + b, [(300, 200), ()], 5e-7),
    ("matmul's batch", lambda x, w: x @ w, [(3000, 2, 2), (2, 2)], 5e-7),
    ("softmax, leading", lambda x: mg.softmax(x, 0) * 1e4, [(20000, 3)], 1.5e-6),
    ("log_softmax, leading", lambda x: mg.log_softmax(x, 0), [(20000, 3)], 2e-6),
    ("logsumexp, leading", lambda x: mg.logsumexp(x, (0, 1)), [(200, 100, 3)], 1.2e-6),
    ("normalize, leading", lambda x: F.normalize(x, dim=0) * 100, [(20000, 3)], 1e-6),
    ("mse_loss", lambda x, y: F.mse_loss(x.t(), y), [(20000, 3), (3, 20000)], 1e-6),
    ("l1_loss", lambda x, y: F.l1_loss(x, y, reduction="sum"), [(20000, 3), (20000, 3)], 1e-6),
    ("cross_entropy", lambda x: F.cross_entropy(x, (mg.arange(30000, device=x.device) % 3).long()), [(30000, 3)], 2e-6),
    ("cumsum", lambda x: mg.cumsum(x, 0), [(20000, 3)], 5e-7),
    ("cumsum along rows", lambda x: x.cumsum(1), [(3, 20011)], 5e-7),
    ("cumsum in the middle", lambda x: x.cumsum(1), [(2, 5001, 3)], 5e-7),
    ("adaptive_avg_pool2d", lambda x: F.adaptive_avg_pool2d(channels_last(x), 1), [(2, 120, 130, 3)], 1e-6),
    ("adaptive_avg_pool2d to 2", lambda x: F.adaptive_avg_pool2d(x, 2), [(2, 3, 120, 130)], 1e-6),
    ("avg_pool2d", lambda x: F.avg_pool2d(channels_last(x), 40), [(2, 120, 130, 3)], 5e-7),
    ("avg_pool2d, overlapping", lambda x: F.avg_pool2d(x, (31, 41), 1, 15), [(1, 2, 70, 80)], 1e-6),
    ("einsum", lambda x, y: mg.einsum("ij,k->jk", x, y), [(20000, 2), (2,)], 5e-7),
]  # fmt: skip


@pytest.mark.parametrize(("fn", "shapes", "bound"), [c[1:] for c in COMPOSITES], ids=[c[0] for c in COMPOSITES])
def test_near_float64(fn, shapes, bound, device):
    values = [numbers(shape, seed=i) for i, shape in enumerate(shapes)]
    y = fn(*(mg.tensor(v, dtype="float64") for v in values)).numpy()
    seed = 0.1 * np.random.default_rng(9).normal(size=y.shape) + 0.3 * (
        1 + y / np.abs(y).max()
    )  # sums of it don't cancel
    seed = seed.astype(np.float32)

    def computed(dtype, device):
        xs = [mg.tensor(v, dtype=dtype, device=device, requires_grad=True) for v in values]
        y = fn(*xs)
        return [t.detach().numpy() for t in (y, *mg.grad(y, xs, mg.tensor(seed, dtype=dtype, device=device)))]

    for got, exact in zip(computed("float32", device), computed("float64", "cpu"), strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, exact, rtol=0, atol=bound * np.abs(exact).max())


def test_batch_statistics_of_a_convolution(device):
    """The running variance of a channels-last map, of which a convolution's output is one."""
    x = mg.tensor(numbers((8, 3, 64, 64)), device=device)
    w = mg.tensor(numbers((4, 3, 3, 3), seed=1), device=device)
    maps = F.conv2d(x, w) + 0.5
    mean, var = mg.zeros(4, device=device), mg.zeros(4, device=device)
    F.batch_norm(maps, mean, var, training=True, momentum=1.0)
    exact = maps.numpy().astype(np.float64)
    np.testing.assert_allclose(mean.numpy(), exact.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(var.numpy(), exact.var((0, 2, 3), ddof=1), rtol=2e-6)


@pytest.mark.parametrize("table", [3, 100_000], ids=["few rows", "many rows"])
def test_many_gradients_for_one_row(table, device):
    """An embedding's, of rows that are looked up often; the CPU adds them in float64, MLX one after the other."""
    index = mg.zeros(100_000, dtype="int64", device=device)
    weight = mg.ones(table, 2, device=device, requires_grad=True)
    (g,) = mg.grad(F.embedding(index, weight), weight, mg.full((100_000, 2), 0.1, device=device))
    np.testing.assert_allclose(
        g[0].numpy(), 100_000 * np.float64(np.float32(0.1)), rtol=1e-6 if device == "cpu" else 1e-3
    )
    assert not g[1:].numpy().any()


def test_scattering_into_many_places(device):
    """Along an inner axis, with positions of two dimensions."""
    index = np.array([[5, 7000], [5, 5]])
    x = mg.zeros(4, 9000, 3, device=device, requires_grad=True)
    g = numbers((4, 2, 2, 3)).repeat(20, 1)
    picked = x[:, mg.tensor(index.repeat(20, 0), device=device)]
    (dx,) = mg.grad(picked, x, mg.tensor(g, device=device))
    expected = np.zeros((4, 9000, 3))
    np.add.at(expected, (slice(None), index.repeat(20, 0)), g)
    np.testing.assert_allclose(dx.numpy(), expected, rtol=1e-6)


# --- extremes ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("fn", [mg.amax, mg.amin], ids=["amax", "amin"])
@pytest.mark.parametrize("create_graph", [False, True], ids=["on arrays", "on tensors"])
def test_only_the_extreme_sees_a_gradient(fn, bad, create_graph, device):
    """inf·0 is NaN, so others mustn't be multiplied with it."""
    values = np.array([[3.0, 1.0, 2.0], [1.0, 1.0, 5.0]])
    x = mg.tensor(values, dtype="float32", device=device, requires_grad=True)
    y = fn(x, 1)
    (g,) = mg.grad(y, x, mg.tensor([bad, 1.0], dtype="float32", device=device), create_graph=create_graph)
    top = values == y.detach().numpy()[:, None]
    np.testing.assert_array_equal(
        g.detach().numpy(), np.where(top, np.array([[bad], [1]]) / top.sum(1, keepdims=True), 0)
    )


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_only_a_windows_maximum_sees_its_gradient(bad, device):
    x = mg.arange(16, dtype="float32", device=device).reshape(1, 1, 4, 4).requires_grad_()
    g = mg.tensor([[[[bad, 1.0], [1.0, 1.0]]]], dtype="float32", device=device)
    (dx,) = mg.grad(F.max_pool2d(x, 2), x, g)
    expected = np.zeros((4, 4))
    expected[1::2, 1::2] = [[bad, 1], [1, 1]]
    np.testing.assert_array_equal(dx.numpy()[0, 0], expected)


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: x.amax(1),
        lambda x: x.amin((0, 1), True) * x,
        lambda x: x.mean((0, 1)) ** 2,
        lambda x: x.cumsum(0) ** 2,
        lambda x: F.adaptive_avg_pool2d(x.reshape(1, 1, 8, 10), (2, 5)) ** 2,
        lambda x: F.batch_norm(x.reshape(2, 4, 10), None, None, training=True) ** 2,
    ],
    ids=["amax", "amin", "mean", "cumsum", "adaptive_avg_pool2d", "batch_norm"],
)
def test_derivatives(fn):
    x = mg.tensor(np.random.default_rng(0).normal(size=(8, 10)), dtype="float64", requires_grad=True)
    assert gradcheck(fn, [x]) and gradgradcheck(fn, [x])


# --- where sums are taken as they lie ---------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(300, 400), (6, 197, 96), (3, 40, 14, 30), (97, 131), (2, 3, 7, 7, 40)], ids=str)
def test_gaps_and_orders_of_large_arrays(shape, device):
    """Of equal numbers, whose errors add up: every axis of arrays for which their order in memory counts."""
    ndim = len(shape)
    values = np.full(shape, 0.1, np.float32)
    exact = values.astype(np.float64)
    last_first = np.argsort([ndim - 1, *range(ndim - 1)]).tolist()
    second_last = np.argsort([0, *range(2, ndim), 1]).tolist()
    for order in (list(range(ndim)), list(range(ndim))[::-1], last_first, second_last):
        back = np.argsort(order).tolist()
        x = mg.tensor(np.ascontiguousarray(values.transpose(back)), device=device).permute(*order)
        padded = mg.tensor(np.pad(values.transpose(back), 2), device=device)[(slice(2, -2),) * ndim].permute(*order)
        for t in (x, padded):
            for n in range(1, ndim + 1):
                for dims in itertools.combinations(range(ndim), n):
                    check(t, exact, dims, keepdim=len(dims) % 2 == 1)


@pytest.mark.parametrize("name", ["linear", "conv2d", "conv2d, patches", "conv2d, depthwise"])
def test_a_bias_in_16_bits_is_added_before_rounding(name, device):
    """Rounded before it, too, a third of the numbers would be another one."""
    mx = pytest.importorskip("mlx.core", exc_type=ImportError) if device == "mlx" else None
    if name == "conv2d" and mx is not None and mx.default_device().type == mx.DeviceType.gpu:
        pytest.skip("a GPU's convolution gives 16 bits")
    rng = np.random.default_rng(0)
    fn, shapes = {
        "linear": (F.linear, [(200, 64), (32, 64)]),
        "conv2d": (lambda x, w, b: F.conv2d(x, w, b, padding=1), [(2, 8, 14, 14), (32, 8, 3, 3)]),
        "conv2d, patches": (lambda x, w, b: F.conv2d(x, w, b, 4), [(2, 4, 40, 40), (32, 4, 4, 4)]),
        "conv2d, depthwise": (
            lambda x, w, b: F.conv2d(x, w, b, padding=1, groups=32),
            [(2, 32, 14, 14), (32, 1, 3, 3)],
        ),
    }[name]
    for dtype in ("float16", "bfloat16") if device == "mlx" else ("float16",):
        values = [rng.normal(size=shape) * scale for shape, scale in zip([*shapes, (32,)], (1, 1, 8), strict=True)]
        xs = [mg.tensor(v, dtype="float32", device=device).astype(dtype) for v in values]
        y = fn(*xs)
        exact = fn(*(mg.tensor(x.float().numpy(), dtype="float64") for x in xs))
        once = mg.tensor(exact.numpy(), dtype="float32", device=device).astype(dtype)
        assert y.dtype == dtype and (y != once).float().mean().item() < 0.02


@pytest.mark.parametrize(
    "order", [(0, 1), (1, 0), (0, 1, 2), (0, 2, 1), (2, 1, 0), (0, 1, 2, 3), (0, 3, 1, 2)], ids=str
)
def test_what_is_summed_on_mlx_is_not_copied_before(order):
    """Contiguous, transposed or channels-last: a copy of a transposed array takes many times as long as its sum."""
    mx = pytest.importorskip("mlx.core", exc_type=ImportError)
    ndim = len(order)
    x = mg.ones(*[(1000, 1200), (40, 200, 150), (8, 66, 50, 50)][ndim - 2], device="mlx").permute(*order)
    mx.eval(x._data)
    for n in range(1, ndim + 1):
        for dims in itertools.combinations(range(ndim), n):
            if np.prod([x.shape[d] for d in dims]) < 1000:
                continue  # their sums may be many
            used = x.backend.peak_of(lambda dims=dims: x.sum(dims)._data)
            assert used < 0.3 * 4 * x.numel(), dims


@pytest.mark.parametrize(
    ("shape", "dims"),
    [((8, 196, 12, 64), (0, 1)), ((8, 196, 12, 64), 1), ((300, 20, 30), 0), ((300, 400), 0), ((8, 3136, 64), (0, 1))],
    ids=str,
)
def test_leading_axes_are_summed_on_mlx_as_they_lie(shape, dims):
    """Blocks are read as the last axis. With others in another order a contiguous array takes twenty times as long as by mx.sum."""
    mx = pytest.importorskip("mlx.core", exc_type=ImportError)
    if mx.default_device() != mx.cpu:
        pytest.skip("a GPU takes no blocks of so few")
    orders, transpose = [], mx.transpose
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mx, "transpose", lambda a, order: orders.append(order) or transpose(a, order))
        mg.ones(*shape, device="mlx").sum(dims)
    assert orders and all(order[:-1] == sorted(order[:-1]) for order in orders)


@pytest.mark.parametrize(
    ("shape", "dims", "axis"),
    [((8, 66, 50, 50), (1, 2), 1), ((8, 66, 50, 50), (1, 3), 1), ((9, 400, 30), (1, 2), 1), ((64, 4000), (0, 1), 0)],
    ids=str,
)
def test_blocks_on_mlx_are_of_channels_or_rows(shape, dims, axis):
    """These are quick to read whichever axis is contiguous. Blocks of the last axis that is summed take eight times as long in a
    channels-last array, five times in a tall transposed matrix."""
    mx = pytest.importorskip("mlx.core", exc_type=ImportError)
    if mx.default_device() != mx.cpu:
        pytest.skip("a GPU takes no blocks of so few")
    taken, unflatten = [], mx.unflatten
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mx, "unflatten", lambda a, axis, shape: taken.append(axis) or unflatten(a, axis, shape))
        mg.ones(*shape, device="mlx").sum(dims)
    assert taken and set(taken) == {axis}


@pytest.mark.parametrize("shape", [(100,), (70, 3), (3, 300), (200, 40), (1000, 70), (6007,), (2, 1009, 40)], ids=str)
def test_sums_of_a_compiled_function(shape, compiles):
    """Whether they are widened as a whole, or taken in blocks with numbers left or none."""
    values = numbers(shape)
    dim = shape.index(max(shape))

    def fn(x):
        y = x * x
        return y.sum(dim, True) * x, y.cumsum(dim) * x, y.mean()

    x = mg.tensor(values, device="mlx")
    for got, expected in zip(mg.compile(fn)(x), fn(x), strict=True):
        assert got.dtype == expected.dtype == "float32"
        np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("count", [65, 100, 257, 1000, 4099, 100_000])
def test_cumulative_sums_of_equal_numbers(count, device):
    for shape, dim in (((count,), 0), ((3, count), 1), ((count, 5), 0), ((2, count, 3), 1)):
        a = np.full(shape, 0.1, np.float32)
        exact = np.cumsum(a.astype(np.float64), dim)
        np.testing.assert_allclose(mg.tensor(a, device=device).cumsum(dim).numpy(), exact, rtol=1.2e-6)


@pytest.mark.parametrize("shape", [(30011,), (5000, 7), (1, 9000), (7, 5000), (20, 300, 11), (4, 5, 60, 70)], ids=str)
def test_what_metal_would_add_in_blocks(shape, monkeypatch):
    """Its way with very long sums, of shorter ones, on any device."""
    pytest.importorskip("mlx.core", exc_type=ImportError)
    from minigrad.backend import mlx_sums

    monkeypatch.setattr(mlx_sums, "_on_cpu", lambda: False)
    monkeypatch.setattr(mlx_sums, "LONG", 100)
    monkeypatch.setattr(mlx_sums, "in_float64", None)
    monkeypatch.setattr(mlx_sums, "_steps", mlx_sums._steps.__wrapped__)  # what is remembered has the real limits
    values = numbers(shape)
    x, exact = mg.tensor(values, device="mlx"), values.astype(np.float64)
    for n in range(1, len(shape) + 1):
        for dims in itertools.combinations(range(len(shape)), n):
            for keepdim in (False, True):
                expected = exact.sum(dims, keepdims=keepdim)
                got = x.sum(dims, keepdim).numpy()
                assert got.shape == expected.shape and np.abs(got / expected - 1).max() < 2e-6
    for dim in range(len(shape)):
        np.testing.assert_allclose(x.cumsum(dim).numpy(), np.cumsum(exact, dim), rtol=2e-5)
