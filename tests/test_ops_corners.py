"""Points where a derivative has to be chosen, or a formula needs care: PyTorch's choices, on both backends."""

import math
import subprocess
import sys

import numpy as np
import pytest

import minigrad as mg
from minigrad.autograd import grad
from minigrad.nn import functional as F

inf, nan = math.inf, math.nan

# name, function, inputs, value, gradients of the sum of the values
POINTS = [
    ("relu at 0", F.relu, [[-1.0, 0.0, 2.0]], [0, 0, 2], [[0, 0, 1]]),
    ("relu of nan", F.relu, [[nan, inf]], [nan, inf], [[1, 1]]),
    ("abs at 0", mg.abs, [[0.0, -2.0]], [0, 2], [[0, -1]]),
    ("sign", mg.sign, [[0.0, -2.0]], [0, -1], [[0, 0]]),
    ("leaky_relu at 0", lambda x: F.leaky_relu(x, 0.1), [[0.0, -1.0]], [0, -0.1], [[0.1, 0.1]]),
    ("elu at 0", F.elu, [[0.0, -inf]], [0, -1], [[1, 0]]),
    ("softplus at its threshold", F.softplus, [[20.0, 21.0]], [20, 21], [[1, 1]]),
    ("clamp at its bounds", lambda x: x.clamp(-1, 1), [[-2.0, -1.0, 1.0, 2.0]], [-1, -1, 1, 1], [[0, 1, 1, 0]]),
    ("clamp of nan", lambda x: x.clamp(0, 1), [[nan]], [nan], [[0]]),
    ("clamp, min above max", lambda x: x.clamp(3, 1), [[2.0, 5.0]], [1, 1], [[0, 0]]),
    ("maximum of equals", mg.maximum, [[1.0, 2.0], [1.0, 3.0]], [1, 3], [[0.5, 0], [0.5, 1]]),
    ("minimum of equals", mg.minimum, [[1.0, 2.0], [1.0, 3.0]], [1, 2], [[0.5, 1], [0.5, 0]]),
    ("amax of equals", lambda x: x.amax(-1), [[[3.0, 1.0, 3.0]]], [3], [[[0.5, 0, 0.5]]]),
    ("amin of equals", lambda x: x.amin((0, 1)), [[[3.0, 1.0], [1.0, 1.0]]], 1, [[[0, 1 / 3], [1 / 3, 1 / 3]]]),
    ("max of all, equals", lambda x: x.max(), [[2.0, 2.0, 1.0]], 2, [[0.5, 0.5, 0]]),
    ("max along, equals", lambda x: x.max(0)[0], [[2.0, 2.0, 1.0]], 2, [[1, 0, 0]]),
    ("min along, equals", lambda x: x.min(0)[0], [[2.0, 1.0, 1.0]], 1, [[0, 1, 0]]),
    ("max_pool2d of equals", lambda x: F.max_pool2d(x, 2), [[[[1.0, 1.0], [1.0, 1.0]]]], [[[1]]], [[[[1, 0], [0, 0]]]]),
    ("max_pool2d of -inf", lambda x: F.max_pool2d(x, 2, padding=1), [[[[-inf]]]], [[[-inf]]], [[[[1]]]]),
    ("max_pool2d of -inf, dilated", lambda x: F.max_pool2d(x, (3, 2), 1, 1, 2), [[[[-inf] * 4] * 4]], [[[-inf] * 4] * 2],
     [[[[1, 2, 1, 0], [1, 2, 1, 0], [0] * 4, [0] * 4]]]),
    ("max_pool2d of nan", lambda x: F.max_pool2d(x, 2), [[[[1.0, nan], [3.0, 2.0]]]], [[[nan]]], [[[[0, 1], [0, 0]]]]),
    ("sqrt at 0", mg.sqrt, [[0.0, 4.0]], [0, 2], [[inf, 0.25]]),
    ("log at 0", mg.log, [[0.0, 1.0]], [-inf, 0], [[inf, 1]]),
    ("x ** 2 at 0", lambda x: x**2, [[0.0, -3.0]], [0, 9], [[0, -6]]),
    ("x ** 0", lambda x: x**0, [[0.0, 2.0]], [1, 1], [[0, 0]]),
    ("x ** 1 at 0", lambda x: x**1, [[0.0]], [0], [[1]]),
    ("pow of 0", mg.pow, [[0.0, 0.0, 0.0], [0.0, 1.0, 2.0]], [1, 0, 0], [[0, 1, 0], [0, 0, 0]]),
    ("number ** x", lambda x: 0**x, [[0.0, 2.0]], [1, 0], [[0, 0]]),
    ("prod with one zero", lambda x: x.prod(), [[2.0, 0.0, 3.0]], 0, [[0, 6, 0]]),
    ("prod with two zeros", lambda x: x.prod(), [[2.0, 0.0, 0.0]], 0, [[0, 0, 0]]),
    ("std of equals", lambda x: x.std(), [[1.0, 1.0]], 0, [[0, 0]]),
    ("var of one", lambda x: x.var(), [[1.0]], nan, [[nan]]),
    ("mean of nothing", lambda x: x.mean(), [[]], nan, [[]]),
    ("prod of nothing", lambda x: x.prod(), [[]], 1, [[]]),
    ("where, nan in the other branch", lambda x: mg.where(x > 0, mg.sqrt(x), 0.0), [[4.0, 0.0]], [2, 0], [[0.25, nan]]),
    ("logsumexp of -inf", lambda x: x.logsumexp(0), [[-inf, 0.0]], 0, [[0, 1]]),
    ("softplus, far out", F.softplus, [[-200.0, 200.0]], [0, 200], [[0, 1]]),
    ("sigmoid, far out", mg.sigmoid, [[-200.0, 200.0]], [0, 1], [[0, 0]]),
    ("silu, far out", F.silu, [[-200.0, 200.0]], [0, 200], [[0, 1]]),
    ("gelu, far out", F.gelu, [[-200.0, 200.0]], [0, 200], [[0, 1]]),
    ("tanh, far out", mg.tanh, [[-200.0, inf]], [-1, 1], [[0, 0]]),
    ("erf, far out", mg.erf, [[-200.0, inf, 4.5]], [-1, 1, 1], [[0, 0, 2 / math.sqrt(math.pi) * math.exp(-20.25)]]),
    ("l1_loss of equals", F.l1_loss, [[1.0, 2.0], [1.0, 0.0]], 1, [[0, 0.5], [0, -0.5]]),
    ("smooth_l1_loss at beta", F.smooth_l1_loss, [[1.0, 3.0], [0.0, 0.0]], 1.5, [[0.5, 0.5], [-0.5, -0.5]]),
    ("bce, far out", F.binary_cross_entropy_with_logits, [[-200.0, 200.0], [0.0, 1.0]], 0, [[0, 0], [100, -100]]),
    ("bce at 0", F.binary_cross_entropy_with_logits, [[0.0, 0.0, 0.0], [0.0, 1.0, 0.5]], math.log(2),
     [[1 / 6, -1 / 6, 0], [0, 0, 0]]),
    ("bce at 0, weighted",
     lambda x, t: F.binary_cross_entropy_with_logits(x, t, reduction="sum", pos_weight=mg.full((), 3.0, device=x.device)),
     [[0.0, 0.0], [0.0, 1.0]], 4 * math.log(2), [[0.5, -1.5], [2 * math.log(2)] * 2]),
    ("normalize of a zero row", lambda x: F.normalize(x, eps=0.25), [[[3.0, 4.0], [0.0, 0.0]]], [[0.6, 0.8], [0, 0]],
     [[[0.032, -0.024], [4, 4]]]),
    ("sqrt behind clamp", lambda x: x.clamp(min=0).sqrt(), [[-1.0, 4.0]], [0, 2], [[0, 0.25]]),
    ("log behind clamp", lambda x: x.clamp(0, 9).log(), [[-1.0, 4.0]], [-inf, math.log(4)], [[0, 0.25]]),
    ("1 / floor", lambda x: 1 / x.floor(), [[0.5, 2.5]], [inf, 0.5], [[0, 0]]),
    ("1 / round", lambda x: (1 / x.round()) ** 2, [[0.25, 2.5]], [inf, 0.25], [[0, 0]]),
    ("log of sign", lambda x: x.sign().log(), [[0.0, 3.0]], [-inf, 0], [[0, 0]]),
    ("log of //", lambda x: (x // 2).log(), [[1.0, 2.0]], [-inf, 0], [[0, 0]]),
    ("clamp, nan among the bounds", mg.clamp, [[0.5, 2.0, nan], [nan, 1.0, 0.0], [1.0, nan, 1.0]], [nan] * 3, [[0] * 3] * 3),
    ("clamp, min above max, as tensors", mg.clamp, [[2.0], [3.0], [1.0]], [1], [[0], [0], [1]]),
    ("0 ** x", lambda x: 0**x, [[-1.0, 0.0, 1.0]], [inf, 1, 0], [[-inf, 0, 0]]),
    ("log_softmax, far apart", lambda x: mg.log_softmax(x, 0)[0], [[0.0, 200.0]], -200, [[1, -1]]),
    ("cross_entropy, far apart", lambda x: F.cross_entropy(x, mg.tensor(0, device=x.device)), [[0.0, 200.0]], 200, [[-1, 1]]),
    ("cross_entropy of -inf", lambda x: F.cross_entropy(x, mg.tensor(1, device=x.device)), [[-inf, 0.0]], 0, [[0, 0]]),
]  # fmt: skip


@pytest.mark.parametrize("create_graph", [False, True], ids=["on arrays", "on tensors"])
@pytest.mark.parametrize(("fn", "inputs", "value", "gradients"), [p[1:] for p in POINTS], ids=[p[0] for p in POINTS])
def test_point(fn, inputs, value, gradients, device, create_graph):
    xs = [mg.tensor(x, dtype="float32", device=device, requires_grad=True) for x in inputs]
    y = fn(*xs)
    np.testing.assert_allclose(y.detach().numpy(), value, rtol=1e-5, atol=1e-7)
    for got, expected in zip(grad(y.sum(), xs, create_graph=create_graph), gradients, strict=True):
        np.testing.assert_allclose(got.detach().numpy(), expected, rtol=1e-5, atol=1e-7)


# name, function, input, second derivative of the sum of the values
SECOND = [
    ("bce at 0", lambda x: F.binary_cross_entropy_with_logits(x, mg.ones_like(x), reduction="sum"), [0.0, 0.0], [0.25, 0.25]),
    ("smooth_l1 at 0", lambda x: F.smooth_l1_loss(x, mg.zeros_like(x), reduction="sum", beta=2.0), [0.0, 1.0, 3.0], [0.5, 0.5, 0]),
    ("smooth_l1 at inf", lambda x: F.smooth_l1_loss(x, mg.zeros_like(x), reduction="sum"), [inf, -inf], [0, 0]),
    ("x ** 0 at 0", lambda x: x**0 + x * x, [0.0, -0.0, 2.0], [2, 2, 2]),
    ("x ** y at 0", lambda x: x ** mg.tensor([0.0, 1.0, 2.0], device=x.device), [0.0, 0.0, 0.0], [0, 0, 2]),
    ("normalize of a zero row", lambda x: F.normalize(x, dim=0, eps=0.5), [0.0, 0.0], [0, 0]),
    ("sqrt behind clamp", lambda x: x.clamp(min=0).sqrt(), [-1.0, 4.0], [0, -1 / 32]),
    ("std of equals", lambda x: x.std(), [2.0, 2.0], [0, 0]),
]  # fmt: skip


@pytest.mark.parametrize(("fn", "x", "expected"), [p[1:] for p in SECOND], ids=[p[0] for p in SECOND])
def test_second_derivative(fn, x, expected, device):
    x = mg.tensor(x, dtype="float32", device=device, requires_grad=True)
    (dx,) = grad(fn(x).sum(), x, create_graph=True)
    np.testing.assert_allclose(grad(dx.sum(), x)[0].numpy(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("arriving", [inf, -inf, nan])
@pytest.mark.parametrize("create_graph", [False, True], ids=["on arrays", "on tensors"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_no_gradient_passes(device, dtype, create_graph, arriving):
    """Steps, and choices where something else is chosen, give exact zeros whatever gradient arrives."""
    steps = [mg.floor, mg.ceil, mg.round, mg.sign, lambda x: x // 2, lambda x: mg.div(x, 2, rounding_mode="trunc")]
    left = [F.relu, lambda x: x.clamp(min=0), lambda x: x.clamp(0, 9), lambda x: x.clamp(x.detach() + 1, x.detach() + 2),
            lambda x: mg.maximum(x, x.detach() + 1), lambda x: mg.minimum(x, x.detach() - 1), lambda x: mg.where(x > 0, x, 1.0),
            lambda x: x.masked_fill(x < 0, 0.0), lambda x: x**0, lambda x: x.tril(-3), lambda x: x.triu(4)]  # fmt: skip
    for fn in steps + left:
        x = mg.full((2, 3), -1.5, dtype=dtype, device=device).T.requires_grad_()
        y = fn(x)
        (dx,) = grad(y, x, mg.full_like(y.detach(), arriving), create_graph=create_graph)
        assert (dx.dtype, dx.shape) == (dtype, x.shape)
        np.testing.assert_array_equal(dx.detach().numpy(), np.zeros(x.shape))


@pytest.mark.parametrize("p", [0, 0.5, 1, 1.5, 2, 3, inf])
def test_a_zero_row_spoils_no_weights(device, p):
    """A layer normalised over rows one of which is zero has a gradient in both orders, for every norm."""
    w = mg.tensor([[1.0, -2.0], [0.5, 3.0]], device=device, requires_grad=True)
    x = mg.tensor([[1.0, 2.0], [0.0, 0.0]], device=device)
    y = F.normalize(x @ w, p=p)
    (dw,) = grad((y * y * y).sum(), w, create_graph=True)
    (ddw,) = grad(dw.square().sum(), w, allow_unused=True)
    assert np.all(np.isfinite(dw.detach().numpy())) and np.all(np.isfinite(ddw.numpy()))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64"])
def test_labels_of_every_integer_type(device, dtype):
    """Class numbers and positions may be of any integer type."""
    x, w = mg.tensor([[1.0, 2.0, 4.0], [3.0, 0.0, 1.0]], device=device), mg.tensor([1.0, 2.0, 3.0], device=device)
    labels, wide = (mg.tensor([2, 0], dtype=d, device=device) for d in (dtype, "int64"))
    for fn in (
        lambda t: F.cross_entropy(x, t), lambda t: F.cross_entropy(x, t, weight=w, label_smoothing=0.1),
        lambda t: F.nll_loss(x, t), lambda t: F.nll_loss(x, t, weight=w, reduction="none"), lambda t: F.one_hot(t),
        lambda t: F.one_hot(t, 4), lambda t: F.embedding(t, x.T), lambda t: mg.gather(x, 1, t.reshape(2, 1)),
        lambda t: x.index_select(1, t), lambda t: x.T[t], lambda t: F.cross_entropy(x, t, ignore_index=2),
        lambda t: mg.take_along_dim(x, t.reshape(2, 1), 1),
    ):  # fmt: skip
        assert fn(labels).tolist() == fn(wide).tolist()


def test_rows_hidden_from_attention(device):
    """A query that may see no key gets zeros, and spoils no gradient."""
    q, k, v = (mg.randn(1, 2, 4, device=device, requires_grad=True) for _ in range(3))
    mask = mg.tensor([[True, False], [False, False]], device=device)
    for m in (mask, mg.where(mask, 0.0, -math.inf)):
        out = F.scaled_dot_product_attention(q, k, v, m)
        np.testing.assert_allclose(out[0].detach().numpy(), [v[0, 0].tolist(), [0] * 4], rtol=1e-6)
        dq, dk, dv = grad(out.sum(), [q, k, v])
        assert not np.any(dq.numpy()) and not np.any(dk.numpy())
        np.testing.assert_array_equal(dv.numpy(), [[[1] * 4, [0] * 4]])


def test_integers(device):
    """Integers and booleans: sums in int64, division and transcendental functions in float32, floor towards -∞."""
    a = mg.tensor([7, -7, 0], device=device)
    for y, dtype, expected in [
        (a.sum(), "int64", 0), (a.prod(), "int64", 0), (a.cumsum(0), "int64", [7, 0, 0]), ((a > 0).sum(), "int64", 1),
        (a / 2, "float32", [3.5, -3.5, 0]), (a // 2, "int64", [3, -4, 0]), (a % 3, "int64", [1, 2, 0]),
        (mg.div(a, 2, rounding_mode="trunc"), "int64", [3, -3, 0]), (abs(a), "int64", [7, 7, 0]),
        (a**2, "int64", [49, 49, 0]), (2**a.clamp(0, 9), "int64", [128, 1, 1]), (-a, "int64", [-7, 7, 0]),
        (a.amax(), "int64", 7), (a.max(0)[1], "int64", 0), (a.argmin(), "int64", 1), (a.sign(), "int64", [1, -1, 0]),
        (a.clamp(min=-1.5), "float32", [7, -1.5, 0]), (a & (a == a), "int64", [1, 1, 0]), (a ^ 2, "int64", [5, -5, 2]),
        (mg.where(a > 0, a, 0.5), "float32", [7, 0.5, 0.5]), (mg.exp(a * 0), "float32", [1, 1, 1]),
        (mg.erf(a), "float32", [1, -1, 0]), (mg.erf(a[:0]), "float32", []), (mg.sigmoid(a * 0), "float32", [0.5] * 3),
        (F.one_hot(mg.tensor([1, 0], device=device)), "int64", [[0, 1], [1, 0]]), (a.eq(7), "bool", [True, False, False]),
    ]:  # fmt: skip
        assert y.dtype == dtype
        assert y.tolist() == expected


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64"])
def test_bits(device, dtype):
    """& | ^ ~ << >> work on the bits of integers, with tensors and numbers on either side, as on the numbers one by one."""
    bits = 8 * np.dtype(dtype).itemsize
    ends = np.iinfo(dtype)
    values = [0, 1, 2, 5, ends.max, ends.max - 1, ends.min, *([-1, -2, -7] if ends.min else [])]

    def wrapped(n):
        return (int(n) - ends.min) % 2**bits + ends.min

    def shift(a, by):
        return a << by if 0 <= by < bits else 0

    def back(a, by):
        return a >> by if 0 <= by < bits else -1 if a < 0 else 0

    both = {"and": int.__and__, "or": int.__or__, "xor": int.__xor__, "left_shift": shift, "right_shift": back}
    operators = {"and": "&", "or": "|", "xor": "^", "left_shift": "<<", "right_shift": ">>"}
    a, b = (m.ravel().tolist() for m in np.meshgrid(values, values + [bits - 1, bits]))
    x, y = (mg.tensor(v, dtype=dtype, device=device) for v in (a, b))
    for name, each in both.items():
        function, by_sign = getattr(mg, f"bitwise_{name}"), eval(f"lambda a, b: a {operators[name]} b")
        expected = [wrapped(each(p, q)) for p, q in zip(a, b, strict=True)]
        for result in (function(x, y), by_sign(x, y), getattr(x, f"bitwise_{name}")(y)):
            assert (result.dtype, result.tolist()) == (dtype, expected)
        for number in (0, 1, 3, bits - 1, bits, -1, -2):
            for result, left in ((by_sign(x, number), True), (by_sign(number, x), False)):
                pairs = [(p, wrapped(number)) if left else (wrapped(number), p) for p in a]
                assert (result.dtype, result.tolist()) == (dtype, [wrapped(each(*pair)) for pair in pairs])
        for wrong in (lambda by_sign=by_sign: by_sign(x, 2**bits + 1), lambda by_sign=by_sign: by_sign(2**bits + 1, x)):
            with pytest.raises(OverflowError, match=f"bitwise_{name}: .* doesn't fit {dtype}"):
                wrong()
    assert (~x).tolist() == mg.bitwise_not(x).tolist() == [wrapped(~p) for p in a]


def test_bits_of_booleans(device):
    """For booleans & | ^ ~ are and, or, unequal, not; beside an integer they are 0 and 1; shifts and fractions are refused."""
    a, b = mg.tensor([True, True, False], device=device), mg.tensor([True, False, False], device=device)
    for y, dtype, expected in [
        (a & b, "bool", [True, False, False]), (a | b, "bool", [True, True, False]), (a ^ b, "bool", [False, True, False]),
        (~a, "bool", [False, False, True]), (a & True, "bool", [True, True, False]), (False | b, "bool", [True, False, False]),
        (a & 3, "int64", [1, 1, 0]), (a ^ b.int(), "int32", [0, 1, 0]), (a << 1, "int64", [2, 2, 0]),
        (mg.tensor([4], dtype="uint8", device=device) | mg.tensor([-1], dtype="int8", device=device), "int16", [-1]),
    ]:  # fmt: skip
        assert (y.dtype, y.tolist()) == (dtype, expected)
    x = mg.tensor([1.5], device=device)
    for wrong in (lambda: x & 1, lambda: 1 | x, lambda: a ^ 1.5, lambda: ~x, lambda: x << 1, lambda: a.int() >> x):
        with pytest.raises(TypeError, match=r"bitwise_\w+: .*only integers and booleans have bits"):
            wrong()
    with pytest.raises(TypeError, match="bitwise_left_shift: .*bool"):
        a << b


def test_half_precision(device):
    """16-bit floats stay what they are through arithmetic and back through its gradient."""
    for name in ["float16"] if device == "cpu" else ["float16", "bfloat16"]:
        x = mg.tensor(np.linspace(-2, 2, 12).reshape(3, 4), dtype=name, device=device, requires_grad=True)
        for fn in [
            F.gelu, F.relu, mg.exp, lambda x: x * 2.5 + 1, lambda x: x.softmax(-1), lambda x: x.sum(0), lambda x: x.mean(),
            lambda x: x @ x.mT, lambda x: F.layer_norm(x, 4), lambda x: F.pad(x, (1, 1), value=0.5), lambda x: x[[0, 0]],
            lambda x: F.avg_pool2d(x[None], 2), lambda x: F.linear(x, x), lambda x: x.std(), lambda x: x.clamp(-1, 1.0),
        ]:  # fmt: skip
            y = fn(x)
            (dx,) = grad(y.sum(), x)
            assert (y.dtype, dx.dtype) == (name, name)
            wide = x.detach().to("cpu", "float32").requires_grad_()
            expected = fn(wide)
            np.testing.assert_allclose(
                y.detach().to("cpu", "float32").numpy(), expected.detach().numpy(), rtol=0.02, atol=0.02
            )
            (dwide,) = grad(expected.sum(), wide)
            np.testing.assert_allclose(dx.to("cpu", "float32").numpy(), dwide.numpy(), rtol=0.05, atol=0.05)


def test_whole_numbers_to_negative_powers(device):
    """A tensor of exponents gives 1/base rounded towards 0, as in PyTorch; a negative number is refused, as there."""
    base, exponent = mg.tensor([1, -1, -1, 2, 3], device=device), mg.tensor([-1, -2, -3, -1, 2], device=device)
    assert (base**exponent).tolist() == [1, 1, -1, 0, 9]
    assert (2**exponent).tolist() == [0, 0, 0, 0, 4]
    with pytest.raises(ValueError, match=r"pow.*-1.*\.float\(\)"):
        base**-1


def test_the_extreme_that_is_nan_gets_the_gradient(device):
    x = mg.tensor([1.0, nan, 2.0], device=device, requires_grad=True)
    assert grad(x.max(), x)[0].tolist() == [0, 1, 0]
    assert grad(x.amin(), x)[0].tolist() == [0, 1, 0]


SILENT = """
import warnings
import numpy as np
import minigrad as mg
from minigrad.nn import functional as F

for dtype in ("float32", "float64"):
    x = mg.tensor([0.0, -1.0, 1e30, float("inf"), float("-inf")], dtype=dtype, requires_grad=True)
    for y in (x.log(), 1 / x, x * x * x, x.exp(), x.sqrt(), x - x, x / (x - x), x**-2, x.sin(), x.mean(), x.std(), x.softmax(0),
              x.cumsum(0), x @ x, F.softplus(x), F.layer_norm(x, 5), F.gelu(x), x.float().half(), x + (x * 1e300).astype("int32")):
        y.sum().backward()
        x.grad = None
    (dx,) = mg.grad(x.log().sum(), x, create_graph=True)
    dx.sum().backward()
    mg.zeros(0, 3, dtype=dtype).mean()
    optimizer = mg.optim.SGD([mg.nn.Parameter(mg.ones(1, dtype=dtype))], lr=1e30)
    optimizer.param_groups[0]["params"][0].grad = mg.full((1,), 1e30, dtype=dtype)
    optimizer.step()
mg.tensor(1e40), mg.full((2,), 1e40)
try:
    np.log(np.zeros(1))
except RuntimeWarning:
    print("numpy itself still warns")
"""


def test_silence():
    """Infinities and NaN come without numpy's warnings, which are errors here; the user's own numpy warns as before."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", SILENT], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("numpy itself still warns\n", "")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_choosing_between_a_large_array_and_0(dtype):
    """The backend masks bits there: as numpy chooses, in every layout, for every number."""
    rng = np.random.default_rng(0)
    a = rng.choice([0.0, -0.0, 1.5, -2.0, np.inf, -np.inf, np.nan, 1e-45], (40, 8, 30)).astype(dtype)
    for view in (a, a.transpose(2, 0, 1), a[:, ::-1], a[::2, 1:], np.broadcast_to(a[:1], a.shape)):
        condition, xp = rng.random(view.shape) < 0.5, mg.zeros(1).backend
        for result, expected in (
            (xp.where(condition, view, 0.0), np.where(condition, view, np.zeros((), dtype))),
            (xp.where(condition, 0.0, view), np.where(condition, np.zeros((), dtype), view)),
        ):
            assert result.dtype == dtype and result.tobytes() == expected.tobytes() and not np.shares_memory(result, a)
    wide = xp.where(np.ones((5000, 1), bool), np.ones((5000, 2), dtype), 0.0)  # broadcast: numpy's own
    assert wide.shape == (5000, 2) and wide.dtype == dtype


# --- whole numbers have no gradient -----------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
def test_no_gradient_flows_through_whole_numbers(device, dtype):
    x = mg.tensor([2.0, 0.0, 3.5], device=device, requires_grad=True)
    whole = x.astype(dtype)
    assert not whole.requires_grad and whole.grad_fn is None
    (g,) = mg.grad((x * whole).sum(), x)
    assert g.tolist() == whole.float().tolist()
    assert not whole.float().requires_grad and not (whole + whole).requires_grad


@pytest.mark.parametrize("dtype", ["int64", "bool"])
def test_what_is_written_to_whole_numbers_has_no_gradient(device, dtype):
    x = mg.tensor([2.0, 0.0, 3.5], device=device, requires_grad=True)

    def put(write):
        whole = mg.zeros(3, device=device).astype(dtype)
        part = whole[1:]
        write(whole)
        assert not whole.requires_grad and not part.requires_grad

    at = mg.tensor([0], device=device)
    put(lambda whole: whole.copy_(x))
    put(lambda whole: whole[1:].copy_(x[1:]))
    put(lambda whole: whole.__setitem__(0, x[0]))
    put(lambda whole: whole.__setitem__(slice(None), x))
    put(lambda whole: whole.index_copy_(0, at, x[:1]))
