"""The numpy backend's kernels against the definitions they stand in for: any shape, stride, layout and number of threads."""

import contextlib
import inspect
import os
import subprocess
import sys
import threading as real_threads
import tracemalloc
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.autograd import REGISTRY
from minigrad.backend import numpy_gemm
from minigrad.backend import numpy_threads as threads
from minigrad.backend.base import Backend
from minigrad.kernels import KERNELS, find, kernel
from minigrad.kernels.cpu import adam, attention, conv, conv_mlp, depthwise, gelu, layer_norm
from minigrad.kernels.fused import Fused, fused
from minigrad.models.pvt_v2 import conv_mlp as conv_mlp_room
from minigrad.models.pvt_v2.blocks import ConvMLP
from minigrad.nn import functional as F

FORWARD = {"float32": 2e-6, "float64": 1e-13}
GRADIENT = {"float32": 2e-5, "float64": 1e-12}
tiny = pytest.mark.usefixtures("tiny_blocks")
few = settings(max_examples=15, deadline=None)
small = st.integers(1, 5)
dtypes = st.sampled_from(["float32", "float64"])
layouts = st.sampled_from(["plain", "reversed", "strided", "expanded"])


@pytest.fixture
def tiny_blocks(monkeypatch):
    """Blocks so small that small arrays have several, of unequal size, for three threads."""
    monkeypatch.setattr(layer_norm, "BLOCK", 7)
    monkeypatch.setattr(gelu, "BLOCK", 5)
    monkeypatch.setattr(gelu, "PART", 15)
    monkeypatch.setattr(conv_mlp, "BLOCK", 5)
    monkeypatch.setattr(conv_mlp, "GEMM_BLOCK", 50)
    monkeypatch.setattr(conv_mlp, "HIDDEN", 60)
    monkeypatch.setattr(conv_mlp, "BAND", 60)
    monkeypatch.setattr(attention, "QUERIES", 9)
    monkeypatch.setattr(conv, "COLUMNS", 50)
    monkeypatch.setattr(depthwise, "BLOCK", 40)
    monkeypatch.setattr(numpy_gemm, "BLOCK", 10)
    monkeypatch.setattr(numpy_gemm, "WORTH", 30)
    monkeypatch.setattr(numpy_gemm, "ROWS", 2)
    monkeypatch.setattr(adam, "BLOCK", 4)
    monkeypatch.setattr(adam, "SMALL", 0)
    monkeypatch.setattr(adam, "PART", 8)
    monkeypatch.setattr(threads._State, "threads", 3)


@contextlib.contextmanager
def definitions():
    """Fused operations run as they are defined."""
    with mock.patch.object(Fused, "__call__", lambda self, *inputs, **static: self.definition(*inputs, **static)):
        yield


def array(rng, shape, layout="plain"):
    """Float64 numbers whose memory isn't what the shape suggests."""
    if layout == "reversed":
        return rng.standard_normal(shape[::-1]).transpose()
    if layout == "strided":
        return rng.standard_normal([2 * n for n in shape])[tuple(slice(None, None, 2) for _ in shape)]
    if layout == "expanded" and shape:
        return np.broadcast_to(rng.standard_normal((1, *shape[1:])), shape)
    return rng.standard_normal(shape)


def raw(a, dtype):
    """A tensor around an array with its memory layout."""
    t = mg.zeros(1)
    t.data = np.asarray(a).astype(dtype, order="K", copy=False)
    return t


def derivatives(function, arrays, dtype, seed=0):
    """Value and gradients of a function of tensors."""
    tensors = [None if a is None else raw(a, dtype).requires_grad_() for a in arrays]
    y = function(*tensors)
    weights = np.random.default_rng(seed).standard_normal(y.shape)
    y.backward(mg.tensor(weights, dtype=dtype))
    return y.numpy(), [None if t is None else t.grad.numpy() for t in tensors]


def close(got, expected, tolerance) -> None:
    assert got.shape == expected.shape and got.dtype == expected.dtype
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale)


def held(function, arrays, dtype) -> None:
    """The kernel gives what the definition gives, in float64 both, and in float32 the kernel what float64 gives."""
    with definitions():
        value, grads = derivatives(function, arrays, "float64")
    got, got_grads = derivatives(function, arrays, dtype)
    assert got.dtype == dtype
    close(got.astype("float64"), value, FORWARD[dtype])
    for a, b in zip(got_grads, grads, strict=True):
        if b is not None:
            close(a.astype("float64"), b, GRADIENT[dtype])
    without = function(*[None if a is None else raw(a, dtype) for a in arrays]).numpy()  # nothing kept
    close(without, got, FORWARD[dtype])


@tiny
@few
@given(st.lists(st.integers(0, 5), max_size=4), layouts, dtypes, st.integers(0, 99))
def test_gelu(shape, layout, dtype, seed):
    held(F.gelu, [3 * array(np.random.default_rng(seed), shape, layout)], dtype)


def test_gelu_everywhere():
    """float32 against float64, from 1e-8 to where squares overflow."""
    x = np.concatenate([np.linspace(-12, 12, 100_001), np.geomspace(1e-8, 1e30, 500), -np.geomspace(1e-8, 1e30, 500)])
    x = x.astype(np.float32)
    wide, narrow = (F.gelu(mg.tensor(x.astype(dtype))).numpy() for dtype in ("float64", "float32"))
    error = np.abs(narrow - wide)
    assert np.all(error <= 3e-7 * np.maximum(np.abs(wide), 1))
    assert np.all(np.isnan(F.gelu(mg.tensor([np.nan])).numpy())) and F.gelu(mg.tensor([np.inf])).item() == np.inf


@tiny
@few
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=3),
    st.integers(1, 40),
    layouts,
    dtypes,
    st.booleans(),
    st.booleans(),
)
def test_layer_norm(lead, size, layout, dtype, weight, bias):
    rng = np.random.default_rng(size)
    arrays = [array(rng, (*lead, size), layout), *(rng.standard_normal(size) if b else None for b in (weight, bias))]
    held(lambda x, w, b: F.layer_norm(x, size, w, b, eps=1e-3), arrays, dtype)


def test_layer_norm_of_equal_numbers():
    """The mean of equal numbers is that number: nothing is left to be scaled up."""
    for value, size in ((1000.0, 48), (1e4, 7), (1.0, 100), (-3.0, 320)):
        x = mg.ones(5, size) * value
        assert not np.any(F.layer_norm(x, size, eps=1e-6).numpy())
        assert np.all(np.isnan(F.layer_norm(x, size, eps=0.0).numpy()))


def test_layer_norm_in_other_dtypes():
    """float16 is computed in float32, or its squares would overflow; whole numbers are refused."""
    x = np.linspace(-1000, 1000, 8)[None]
    wide, grads = derivatives(lambda x, w: F.layer_norm(x, 8, w) ** 2, [x, np.arange(8.0)], "float32")
    narrow, half = derivatives(lambda x, w: F.layer_norm(x, 8, w) ** 2, [x, np.arange(8.0)], "float16")
    assert narrow.dtype == half[0].dtype == half[1].dtype == np.float16
    np.testing.assert_allclose(narrow, wide, rtol=1e-2)
    np.testing.assert_allclose(half[1], grads[1], rtol=1e-2)
    assert np.abs(half[0] - grads[0]).max() < 1e-2 * np.abs(grads[0]).max()
    for dtype in ("int64", "bool"):
        with pytest.raises(TypeError, match="needs a floating point tensor"):
            F.layer_norm(mg.ones(2, 3).astype(dtype), 3)


@tiny
@few
@given(st.integers(0, 3), small, st.integers(1, 30), small, small, small, layouts, dtypes)
def test_attention(n, heads, queries, keys, size, value, layout, dtype):
    rng = np.random.default_rng(queries)
    shapes = [(n, heads, queries, size), (n, heads, keys, size), (n, heads, keys, value)]
    held(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.7),
        [array(rng, s, layout) for s in shapes],
        dtype,
    )


@tiny
@few
@given(st.integers(0, 3), small, st.integers(1, 30), small, small, st.integers(0, 2), layouts, dtypes)
def test_attention_with_its_weights(n, heads, queries, keys, size, lead, layout, dtype):
    rng = np.random.default_rng(queries)
    shapes = [(n, heads, queries, size)[2 - lead :], *[(n, heads, keys, size)[2 - lead :]] * 2]

    def both(q, k, v):
        return mg.cat(F.scaled_dot_product_attention(q, k, v, scale=0.7, need_weights=True), -1)

    held(both, [array(rng, s, layout) for s in shapes], dtype)


def test_attention_with_its_weights_makes_one_array_of_their_size():
    q, k = mg.randn(1, 2, 4096, 8), mg.randn(1, 2, 256, 8)
    with mg.backend.num_threads(1):  # each thread keeps its scratch memory
        tracemalloc.start()
        try:
            _, weights = F.scaled_dot_product_attention(q, k, k, need_weights=True)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert weights.shape == (1, 2, 4096, 256)
    assert weights.array.nbytes < peak < 1.25 * weights.array.nbytes


def test_attention_with_large_logits():
    q, k = 1e3 * np.ones((1, 4, 2)), np.array([[[1.0, 0], [0, 2], [3, 3]]])
    y = F.scaled_dot_product_attention(*(mg.tensor(a, dtype="float32") for a in (q, k, np.eye(3)[None]))).numpy()
    np.testing.assert_array_equal(y, np.broadcast_to([0, 0, 1], (1, 4, 3)))


@tiny
@few
@given(
    st.integers(0, 3), st.integers(1, 9), small, st.integers(1, 9), st.sampled_from([(3, 3), (5, 1), (1, 3)]), st.booleans(),
    st.booleans(), layouts, dtypes,
)  # fmt: skip
def test_conv_mlp(n, height, width, hidden, kernel, relu, bias, layout, dtype):
    rng = np.random.default_rng(hidden)
    shapes = [(hidden, 3), (hidden,), (hidden, 1, *kernel), (hidden,), (4, hidden), (4,)]
    weights = [rng.standard_normal(s) if bias or len(s) > 1 else None for s in shapes]
    x = array(rng, (n, height * width, 3), layout)
    held(lambda *a: F.conv_mlp(*a, size=(height, width), relu=relu), [x, *weights], dtype)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": (2, 2)},  # fewer pixels than tokens
        {"size": (3, 3)},
        {"size": (-2, -3)},
        {"x": (6, 3)},
        {"w1": (4, 2)},
        {"b1": (1,)},
        {"taps": (4, 2, 3, 3)},
        {"taps": (2, 1, 3, 3)},
        {"b": (1,)},
        {"w2": (2, 5)},
        {"b2": (1,)},
    ],
)
def test_conv_mlp_refuses_what_does_not_fit(wrong):
    """In one sentence, on every path."""
    given = {"x": (1, 6, 3), "w1": (4, 3), "b1": (4,), "taps": (4, 1, 3, 3), "b": (4,), "w2": (2, 4), "b2": (2,)}
    size = wrong.get("size", (2, 3))
    tensors = [mg.ones(wrong.get(name, shape)) for name, shape in given.items()]
    with pytest.raises(ValueError, match=r"^conv_mlp: .* don't fit size"):
        F.conv_mlp(*tensors, size=size, relu=False)


geometry = st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(1, 2))  # stride, padding, dilation
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


def convolved(x, w, b, stride, padding, dilation, groups):
    """The definition, by loops over the kernel's positions."""
    reach = [d * (k - 1) + 1 for k, d in zip(w.shape[2:], dilation, strict=True)]
    x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    oh, ow = ((n - r) // s + 1 for n, r, s in zip(x.shape[2:], reach, stride, strict=True))
    y = np.zeros((len(x), len(w), oh, ow), x.dtype)
    per, out = x.shape[1] // groups, len(w) // groups
    for group in range(groups):
        for i, j in np.ndindex(*w.shape[2:]):
            rows = slice(i * dilation[0], i * dilation[0] + stride[0] * (oh - 1) + 1, stride[0])
            columns = slice(j * dilation[1], j * dilation[1] + stride[1] * (ow - 1) + 1, stride[1])
            image = x[:, group * per : (group + 1) * per, rows, columns]
            y[:, group * out : (group + 1) * out] += np.einsum(
                "nchw,oc->nohw", image, w[group * out : (group + 1) * out, :, i, j]
            )
    return y + b[:, None, None]


@tiny
@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 3),
    sizes,
    sizes,
    geometry,
    geometry,
    st.sampled_from(["full", "depthwise", "grouped", "tiles"]),
    layouts,
    dtypes,
)
def test_conv2d(n, size, kernel, vertical, horizontal, kind, layout, dtype):
    """Value, and both gradients by being its transposes: <g, conv(x, w)> is linear in x and in w."""
    stride, padding, dilation = (list(pair) for pair in zip(vertical, horizontal, strict=True))
    kernel = [min(k, 4) for k in kernel]
    if kind == "tiles":
        stride, padding, dilation = list(kernel), [0, 0], [1, 1]
    size = [max(s, d * (k - 1) + 1 - 2 * p) for s, k, d, p in zip(size, kernel, dilation, padding, strict=True)]
    groups, channels, out = {"full": (1, 3, 4), "depthwise": (5, 5, 5), "grouped": (2, 4, 6), "tiles": (1, 3, 2)}[kind]
    rng = np.random.default_rng(n)
    x, w, b = (
        array(rng, (n, channels, *size), layout),
        array(rng, (out, channels // groups, *kernel)),
        array(rng, (out,)),
    )
    options = {"stride": tuple(stride), "padding": tuple(padding), "dilation": tuple(dilation)}

    def call(x, w, b):
        return F.conv2d(x, w, b, groups=groups, **options)

    expected = convolved(x, w, b, stride, padding, dilation, groups)
    y, (dx, dw, db) = derivatives(call, [x, w, b], dtype)
    close(y.astype("float64"), expected, FORWARD[dtype])
    g = np.random.default_rng(0).standard_normal(y.shape)
    v, u = rng.standard_normal(x.shape), rng.standard_normal(w.shape)
    zero = np.zeros(out)
    scale = max(1.0, float(np.abs(g).sum()))
    assert (
        abs((dx * v).sum() - (g * convolved(v, w, zero, stride, padding, dilation, groups)).sum())
        < GRADIENT[dtype] * scale
    )
    assert (
        abs((dw * u).sum() - (g * convolved(x, u, zero, stride, padding, dilation, groups)).sum())
        < GRADIENT[dtype] * scale
    )
    close(db.astype("float64"), g.sum((0, 2, 3)), GRADIENT[dtype])


def test_a_convolution_without_outputs_is_refused():
    with pytest.raises(ValueError, match="0 outputs must be some"):
        F.conv2d(mg.ones(1, 2, 3, 3), mg.ones(0, 2, 2, 2))


shapes = st.lists(st.integers(0, 5), max_size=3)
halves = st.sampled_from(["float32", "float64", "float16"])


@tiny
@few
@given(
    shapes,
    layouts,
    halves,
    st.sampled_from([0, 0.1]),
    st.sampled_from([0.4, 0.5, 0.9]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_adam(shape, layout, dtype, decay, beta1, decoupled, amsgrad, maximize):
    options = {
        "lr": 0.1,
        "betas": (beta1, 0.99),
        "eps": 1e-3,
        "weight_decay": decay,
        "amsgrad": amsgrad,
        "maximize": maximize,
    }
    hold("adam", lambda p: mg.optim.Adam(p, **options, decoupled_weight_decay=decoupled), shape, layout, dtype)


@tiny
@few
@given(
    shapes,
    layouts,
    halves,
    st.sampled_from([0, 0.1]),
    st.sampled_from([(0, 0, False), (0.9, 0, False), (0.9, 0.3, False), (0.9, 0, True)]),
    st.booleans(),
)
def test_sgd(shape, layout, dtype, decay, moves, maximize):
    momentum, dampening, nesterov = moves
    options = {"lr": 0.1, "momentum": momentum, "dampening": dampening, "nesterov": nesterov, "maximize": maximize}
    hold("sgd", lambda p: mg.optim.SGD(p, **options, weight_decay=decay), shape, layout, dtype)


def hold(name, make, shape, layout, dtype):
    """Bit for bit what the definition gives, and no array that was there before is written."""
    rng = np.random.default_rng(0)
    start, grads = array(rng, shape, layout), [array(rng, shape, layout) for _ in range(4)]

    def steps():
        p = raw(start, dtype).requires_grad_()
        optimizer = make([p])
        seen = []
        for g in grads:
            p.grad = raw(g, dtype)
            optimizer.step()
            seen.append([(t.array, t.numpy().copy()) for t in (p, *optimizer.state[p].values())])
        assert all(np.array_equal(a, copy) for row in seen for a, copy in row)
        return [copy for row in seen for _, copy in row]

    ran: list = []
    kernel = KERNELS[name, "cpu"]
    with mock.patch.object(kernel, "forward", lambda *a, f=kernel.forward, **k: ran.append(f(*a, **k)) or ran[-1]):
        got = steps()
    assert ran and None not in ran
    with mock.patch.dict(KERNELS):
        del KERNELS[name, "cpu"]
        expected = steps()
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def block_step():
    """Logits and gradients of a small model; every kernel runs."""
    mg.manual_seed(0)
    model = mg.models.create_model("pvt_v2_tiny", num_classes=3)
    loss = F.cross_entropy(model(mg.randn(5, 3, 32, 32)), mg.tensor([0, 1, 2, 0, 1]))
    loss.backward()
    return [loss.numpy(), *(p.grad.numpy() for p in model.parameters())]


def test_second_derivatives_of_layer_norm_in_float16(device):
    """Of numbers whose squares overflow, as well as those in float32."""
    found = {}
    for dtype in ("float32", "float16"):
        x, w = (
            mg.tensor(a.astype(dtype), device=device, requires_grad=True)
            for a in (np.linspace(-1000, 900, 8)[None], np.arange(1.0, 9.0))
        )
        first = mg.autograd.grad((F.layer_norm(x, 8, w) ** 3).sum(), [x, w], create_graph=True)
        second = mg.autograd.grad((first[0] * 300).sum() + first[1].sum(), [x, w])
        found[dtype] = [t.numpy() for t in (*first, *second)]
        assert all(a.dtype == dtype for a in found[dtype])
    for a, b in zip(found["float16"], found["float32"], strict=True):
        assert np.abs(a - b).max() < 1e-2 * np.abs(b).max()


def test_statistics_in_float16(device):
    """Of numbers whose squares overflow: what float32 gives, rounded."""
    numbers = np.random.default_rng(0).standard_normal((4, 3, 5)) * 1000
    for function in (
        lambda x: F.batch_norm(x, None, None, training=True),
        mg.std,
        lambda x: mg.std(x, 1),
        lambda x: mg.var(x / 9),
    ):
        found = {}
        for dtype in ("float32", "float16"):
            x = mg.tensor(numbers.astype(dtype), device=device, requires_grad=True)
            y = function(x)
            (y * y).sum().backward(mg.tensor(1e-3, device=device, dtype=dtype))
            found[dtype] = y.detach().numpy(), x.grad.numpy()
            assert all(a.dtype == dtype for a in found[dtype])
        for a, b in zip(found["float16"], found["float32"], strict=True):
            assert np.abs(a - b).max() < 1e-2 * np.abs(b).max() + 1e-6


@tiny
@few
@given(m=st.integers(0, 9), k=st.integers(0, 9), n=st.integers(0, 9), layout=layouts, seed=st.integers(0, 99))
def test_transposed_product(m, k, n, layout, seed):
    """Shared out by rows and by columns, of either matrix."""
    rng = np.random.default_rng(seed)
    a, b = array(rng, (m, k), layout), array(rng, (m, n), layout)
    np.testing.assert_allclose(numpy_gemm.transposed_product(a, b), a.T @ b, rtol=1e-13, atol=1e-13)


@tiny
def test_threads_change_nothing():
    """Bit for bit the same, run after run, with one number of threads; with another the same but for the rounding in products
    of fewer rows."""
    results = []
    for n in (1, 2, 3):
        with mg.backend.num_threads(n):
            results.append(block_step())
            for a, b in zip(results[-1], block_step(), strict=True):
                np.testing.assert_array_equal(a, b)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 * max(1, np.abs(a).max()))


def test_parallel():
    for n in (1, 2, 4):
        with mg.backend.num_threads(n):
            assert threads.parallel(lambda i: threads.parallel(lambda j: (i, j), 2), 5) == [
                [(i, 0), (i, 1)] for i in range(5)
            ]
            assert threads.parallel(abs, 0) == []
            with pytest.raises(ZeroDivisionError), np.errstate(divide="raise"):
                threads.parallel(lambda i: 1 // (3 - i), 7)
            with pytest.raises(FloatingPointError), np.errstate(divide="raise"):  # in every thread
                threads.parallel(lambda i: np.ones(2) / np.zeros(2), 3)


def test_parallel_shares_out_and_outlives_a_failure():
    """Both threads take part, also after one of them raised; a thread that comes late finds nothing to do."""
    with mg.backend.num_threads(2):
        meet = real_threads.Barrier(2, timeout=20)
        for _ in range(3):
            assert threads.parallel(lambda i: (meet.wait(), i)[1], 2) == [0, 1]
            with pytest.raises(ZeroDivisionError):
                threads.parallel(lambda i: meet.wait() < 2 and 1 // 0, 2)
        assert [threads.parallel(lambda i, k=k: i * k, 3) for k in range(300)] == [[0, k, 2 * k] for k in range(300)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_threads_of_its_own():
    code = """
import os, threading
import minigrad as mg
from minigrad.backend.numpy_threads import parallel
mg.set_num_threads(2)
meet = threading.Barrier(2, timeout=20)
def work(i):
    meet.wait()
    return i
assert parallel(work, 2) == [0, 1]
child = os.fork()
if not child:
    os._exit(0 if parallel(work, 2) == [0, 1] else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=100)


def test_the_number_of_threads(monkeypatch):
    monkeypatch.setattr(threads._State, "threads", None)
    monkeypatch.delenv("MINIGRAD_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads.get_num_threads() == 3
    monkeypatch.setattr(threads._State, "threads", None)
    monkeypatch.setenv("MINIGRAD_NUM_THREADS", "2")
    assert threads.get_num_threads() == 2
    monkeypatch.setattr(threads._State, "threads", None)
    monkeypatch.setenv("MINIGRAD_NUM_THREADS", "two")
    monkeypatch.setenv("OMP_NUM_THREADS", "4, 2")
    with pytest.warns(UserWarning, match="'two' and doesn't count"):
        assert threads.get_num_threads() == 4
    with mg.backend.num_threads(np.int64(3)):
        assert mg.get_num_threads() == 3
    for wrong in (0, -1, 1.5, True, "2", np.int64(0), np.bool_(True)):
        with pytest.raises(ValueError, match="whole number"):
            mg.set_num_threads(wrong)


@pytest.mark.parametrize("linear", [False, True])
def test_tokens_and_maps_share_memory(linear, monkeypatch):
    """No change of shape copies what it is given, forward or backward, but for the few keys and values."""
    copied = []
    for name in ("reshape", "permute"):
        op = REGISTRY[name]

        def noted(xp, a, *, forward=op.forward, **static):
            y = forward(xp, a, **static)
            if a.size and not np.shares_memory(a, y):
                copied.append(a.shape)
            return y

        monkeypatch.setattr(op, "forward", noted)
    monkeypatch.setattr(mg.backend.get("cpu"), "raw", None)  # the operations as the backward sees them
    sizes = []
    convolve = conv._nhwc
    monkeypatch.setattr(conv, "_nhwc", lambda x: sizes.append((x, y := convolve(x))) or y)
    model = mg.models.create_model(
        "pvt_v2_b0", num_classes=3, embed_dims=(8, 16, 24, 32), num_heads=(1, 2, 3, 4), depths=(1, 1, 1, 1),
        linear=linear, hidden_act="gelu_new",
    )  # fmt: skip
    for act in (model.stages[0].blocks[0].mlp, model.stages[1].blocks[0].mlp):
        act.act = mg.nn.GELU()  # as one kernel here, in parts elsewhere
    images = mg.randn(2, 3, 96, 96)
    images.data = np.ascontiguousarray(images.array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    model(images).sum().backward()
    mg.backend.get("cpu").raw = None
    copied += [x.shape for x, y in sizes if not np.shares_memory(x, y)]
    assert len(sizes) > 10 and [shape for shape in copied if np.prod(shape) > 2 * 49 * 64] == []


def test_inference_keeps_nothing():
    """A forward without gradients needs the memory of a few maps at a time, not of all."""
    model, images = mg.models.create_model("pvt_v2_tiny").eval(), mg.randn(4, 3, 64, 64)
    peaks = {}
    for grad in (False, True):
        with (
            mg.enable_grad() if grad else mg.no_grad(),
            mg.backend.num_threads(1),
        ):  # each thread keeps its scratch memory
            model(images)
            tracemalloc.start()
            try:
                y = model(images)
                peaks[grad] = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert peaks[False][0] < 3 * y.array.nbytes + 20_000 and peaks[False][1] < 0.5 * peaks[True][0]


# --- the registry ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def registry():
    """Kernels registered in a test are gone afterwards, and what they stood before is as it was."""
    forwards = {op: op.forward for op in REGISTRY.values()}
    with mock.patch.dict(KERNELS):
        yield
    for op, forward in forwards.items():
        op.forward = forward
    for xp in mg.backend.made():
        xp.raw = None


def test_a_kernel_stands_before_a_plain_operation(registry):
    """With the operation's own derivatives, dtypes, broadcasting and errors; it may decline."""
    x = mg.tensor([0.5, -1.0, 2.0], requires_grad=True)
    wide = mg.tensor([0.5, -1.0], dtype="float64")
    expected = [t.numpy() for t in (mg.tanh(x), *mg.grad((mg.tanh(x) ** 2).sum(), x), mg.tanh(wide))]
    ran = []

    @kernel("tanh", "cpu")
    def tanh(a):
        if a.dtype != np.float32:
            return None
        ran.append(a.shape)
        return np.tanh(a)

    got = [t.numpy() for t in (mg.tanh(x), *mg.grad((mg.tanh(x) ** 2).sum(), x), mg.tanh(wide))]
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert ran == [(3,), (3,)]
    mg.tanh(mg.tensor([1, 2]))  # whole numbers come as float32
    assert ran.pop() == (2,)
    with pytest.raises(TypeError, match=r"^tanh: expected a tensor, got list"):
        mg.tanh([1.0])

    @kernel("tanh", "cpu")  # the cell is run again
    def tanh_again(a):
        return np.zeros_like(a)

    assert not np.any(mg.tanh(x).numpy()) and len(ran) == 2


def test_a_kernel_is_what_derivatives_compute_with(registry):
    """exp's derivative by the output needs none; sigmoid's in silu's derivative does, also where that was asked for before."""
    x = mg.tensor([0.5, -1.0], requires_grad=True)
    before = mg.grad(F.silu(x).sum(), x)[0].numpy()

    @kernel("sigmoid", "cpu")
    def sigmoid(a):
        return np.ones_like(a)

    after = mg.grad(F.silu(x).sum(), x)[0].numpy()
    np.testing.assert_array_equal(after, [1, 1])  # s·(1 + a·(1 - s))
    assert not np.allclose(before, after)


def test_a_fused_kernel_without_a_derivative_serves_inference(registry):
    @kernel("gelu", "cpu")
    def gelu(x, *, save):
        assert not save
        return np.full_like(x, 7), None

    x = mg.tensor([0.5, -1.0], requires_grad=True)
    assert mg.nn.functional.gelu(x).numpy() == pytest.approx([0.34573123, -0.15865526])
    with mg.no_grad():
        assert F.gelu(x).tolist() == [7, 7]


def test_a_kernel_of_an_operation_of_ones_own(registry):
    """Whatever its name; minigrad's operation of that name keeps its kernel."""

    def double(x):
        return x * 2

    double.__name__ = "gelu"
    double.__module__ = "elsewhere"
    mine = fused(double)

    @kernel(mine, "cpu")
    def triple(x, *, save):
        return x * 3, None

    @triple.defvjp
    def triple_vjp(g, saved, x):
        return (g * 3,)

    x = mg.tensor([1.0], requires_grad=True)
    y = mine(x)
    y.backward()
    assert y.item() == 3 and x.grad.item() == 3
    assert F.gelu(x).item() == pytest.approx(0.8413447)
    assert find(mine, "cpu") is triple and find(mine, "mlx") is None


@pytest.mark.parametrize(
    "name, on, text",
    [
        ("tahn", "cpu", "kernel: there is no operation 'tahn'; did you mean 'tanh'?"),
        ("qqqq", "cpu", "kernel: there is no operation 'qqqq'; minigrad.autograd.REGISTRY has them"),
        ("tanh", "gpu", "kernel: the backends are 'cpu', 'mlx', got 'gpu'"),
    ],
)
def test_a_kernel_for_nothing(name, on, text):
    with pytest.raises(ValueError) as error:
        kernel(name, on)
    assert str(error.value) == text


def test_every_kernel_takes_its_operations_parameters():
    """By name and in order; a fused one `save` besides, and its derivative `g, saved` first."""
    pytest.importorskip("mlx.core", exc_type=ImportError)
    mg.backend.get("mlx")
    for (name, on), found in KERNELS.items():
        assert (found.vjp is not None) == isinstance(REGISTRY.get(name), Fused), (name, on)
        if name in REGISTRY:
            op = REGISTRY[name]
            mine = list(inspect.signature(found.forward).parameters)
            assert mine == [*op.inputs, *op.static, *(["save"] if found.vjp else [])], (name, on)
        if found.vjp:
            assert list(inspect.signature(found.vjp).parameters)[2:] == [*op.inputs, *op.static], (name, on)


# --- a module's parts in one kernel -----------------------------------------------------------------------------------------
class Doubled(mg.nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def _doubled(mlp):
    mlp.fc1 = Doubled(*mlp.fc1.weight.shape[::-1])


def _dilated(mlp):
    mlp.dwconv = mg.nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8)


def _whole(mlp):
    mlp.dwconv = mg.nn.Conv2d(8, 8, 3, padding=1)


def _dropping(mlp):
    mlp.eval()
    mlp.drop.p = 0.5
    mlp.drop.train()


def _silent(mlp):
    mlp.fc2.forward = lambda x: 0 * x[..., :4]


CHANGES = {
    "nothing": lambda mlp: None,
    "another kind of layer": _doubled,
    "another geometry": _dilated,
    "a full convolution": _whole,
    "another activation": lambda mlp: setattr(mlp, "act", mg.nn.GELU(approximate="tanh")),
    "dropout that stays on": _dropping,
    "another forward": _silent,
}


@pytest.mark.parametrize("change", CHANGES)
def test_conv_mlp_computes_what_its_modules_compute(change):
    """Part by part, as an observer sees it, and in one kernel where that is the same; however the parts were changed."""
    mg.manual_seed(0)
    config = mg.models.PVTV2Config(embed_dims=(4, 8, 8, 8), num_heads=(1, 1, 1, 1), mlp_ratios=(2, 2, 2, 2))
    mlp, x, names = ConvMLP(config, 0), mg.randn(2, 30, 4), []
    CHANGES[change](mlp)

    def result(*watched):
        mg.manual_seed(1)
        with mg.autograd.observe(*watched) if watched else contextlib.nullcontext():
            return mlp(x, size=(5, 6)).numpy()

    parts = result(lambda name, *_: names.append(name))
    with mock.patch.object(conv_mlp_room, "conv_mlp", wraps=conv_mlp_room.conv_mlp) as one:
        np.testing.assert_allclose(result(), parts, rtol=1e-5, atol=1e-6)
    assert "linear" in names and one.called == (change == "nothing")


# --- the protocol of a backend ------------------------------------------------------------------------------------------------
def test_every_backend_keeps_to_the_protocol(device):
    """What `Backend` leaves to its classes is there; what they change takes the same arguments."""
    xp = mg.backend.get(device)
    for name, method in vars(Backend).items():
        if not inspect.isfunction(method) or name.startswith("_"):
            continue
        assert method.__doc__, name
        optional = name in ("rank_and_size", "all_sum", "all_gather") and not xp.exchanges
        optional |= name in ("compiled", "random_keys") and xp.why_not_compiled() is not None
        if "_lacks" in method.__code__.co_names and not optional:
            assert getattr(type(xp), name) is not method, f"{device} has no {name}"
        try:
            mine = inspect.signature(getattr(xp, name))
        except ValueError:
            continue  # the library's own, which doesn't tell
        assert list(mine.parameters) == list(inspect.signature(method).parameters)[1:], name


def test_a_backend_with_nothing_of_its_own():
    """Says what it lacks, falls back where it can, and has its library's functions."""

    class Bare(Backend):
        name, lib, dtypes = "bare", np, {"float32": np.float32}

    xp = Bare()
    x = np.array([[1.0, 4.0]], np.float32)
    np.testing.assert_array_equal(xp.tanh(x), np.tanh(x))
    assert xp.rsqrt(x).tolist() == [[1, 0.5]] and xp.linear(x, x.T, None).tolist() == [[17]]
    assert xp.sigmoid(np.zeros(1)).tolist() == [0.5] and xp.after([x], []) == [x] and not xp.exchanges
    with pytest.raises(NotImplementedError, match=r"^the backend 'bare' has no to_numpy\(a\); define it in its class$"):
        xp.to_numpy(x)
    with pytest.raises(TypeError, match=r"^device 'bare' has no float64; it has float32$"):
        xp.dtype("float64")
    with pytest.raises(AttributeError):
        xp.no_such_function  # noqa: B018
