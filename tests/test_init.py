"""nn.init: bounds, moments, the same numbers everywhere."""

import math

import numpy as np
import pytest

import minigrad as mg
from minigrad.nn import init


def values(t):
    return t.detach().numpy().astype(np.float64)


RANDOM = {
    "uniform_": (init.uniform_, {"a": -1.0, "b": 2.0}),
    "normal_": (init.normal_, {"mean": 1.0, "std": 0.5}),
    "trunc_normal_": (init.trunc_normal_, {"std": 0.02}),
    "xavier_uniform_": (init.xavier_uniform_, {}),
    "xavier_normal_": (init.xavier_normal_, {}),
    "kaiming_uniform_": (init.kaiming_uniform_, {}),
    "kaiming_normal_": (init.kaiming_normal_, {}),
    "orthogonal_": (init.orthogonal_, {}),
}


@pytest.mark.parametrize("name", RANDOM)
def test_the_generator_decides_alone(device, name):
    function, arguments = RANDOM[name]
    a = function(mg.zeros(6, 4, 3), **arguments, generator=mg.random.Generator(7))
    b = function(mg.zeros(6, 4, 3, device=device), **arguments, generator=mg.random.Generator(7))
    c = function(mg.zeros(6, 4, 3, device=device), **arguments, generator=mg.random.Generator(8))
    assert b.device == device and b.dtype is mg.float32
    np.testing.assert_array_equal(values(a), values(b))
    assert (values(b) != values(c)).any()
    mg.manual_seed(5)
    first = values(function(mg.zeros(5, 5), **arguments))
    mg.manual_seed(5)
    np.testing.assert_array_equal(first, values(function(mg.zeros(5, 5), **arguments)))


def test_the_tensor_is_changed_and_returned(device):
    p = mg.nn.Parameter(mg.zeros(3, 3, device=device))
    before, shared = p.detach().clone(), p.detach()
    assert init.ones_(p) is p and p.is_leaf and p.requires_grad
    assert values(p).sum() == 9 and values(before).sum() == 0 and values(shared).sum() == 9
    assert values(init.constant_(p, 0.25)).sum() == 2.25
    assert not values(init.zeros_(p)).any()
    assert init.ones_(mg.zeros((), device=device)).shape == ()
    np.testing.assert_array_equal(values(init.eye_(mg.ones(2, 3, device=device))), np.eye(2, 3))


def test_half_precision():
    pytest.importorskip("mlx.core", exc_type=ImportError)
    t = init.normal_(mg.zeros(1000, dtype="bfloat16", device="mlx"))
    assert t.dtype is mg.bfloat16 and 0.8 < values(t).std() < 1.2


def test_moments():
    u = values(init.uniform_(mg.zeros(20000), -1, 3))
    assert u.min() >= -1 and u.max() < 3 and abs(u.mean() - 1) < 0.05 and abs(u.std() - 4 / math.sqrt(12)) < 0.05
    n = values(init.normal_(mg.zeros(20000), 2, 3))
    assert abs(n.mean() - 2) < 0.1 and abs(n.std() - 3) < 0.1


def normal_tail(x):
    """The normal distribution function, precise in its left tail."""
    return 0.5 * math.erfc(-x / math.sqrt(2))


@pytest.mark.parametrize(
    ("mean", "std", "a", "b"),
    [
        (0, 1, -2, 2),
        (0, 0.02, -2, 2),
        (1, 2, -1, 0.5),
        (0, 1, 1.5, 2),
        (0, 1, 4, 100),
        (3, 1, -50, -2),
        (0, 1, -0.1, 0.1),
    ],
)
def test_trunc_normal_follows_its_distribution(mean, std, a, b):
    """The Kolmogorov-Smirnov distance to the distribution function is below its 99.99 % quantile."""
    n = 20000
    x = np.sort(values(init.trunc_normal_(mg.zeros(n, dtype="float64"), mean, std, a, b, mg.random.Generator(1))))
    assert x[0] >= a and x[-1] <= b
    sign = -1 if a > mean else 1  # the left tail keeps its digits
    ends = sorted([sign * (a - mean) / std, sign * (b - mean) / std])
    low, high = normal_tail(ends[0]), normal_tail(ends[1])
    cdf = np.array([(normal_tail(sign * (v - mean) / std) - low) / (high - low) for v in x])
    cdf = 1 - cdf if sign < 0 else cdf
    assert np.abs(cdf - (np.arange(n) + 0.5) / n).max() < 2.23 / math.sqrt(n)


def test_trunc_normal_errors():
    with pytest.raises(ValueError, match="std > 0 and a < b, got std=0, a=-2.0, b=2.0"):
        init.trunc_normal_(mg.zeros(2), std=0)


def test_xavier_and_kaiming_follow_their_fans():
    weight = mg.zeros(40, 30, 3, 3)  # fan in 270, fan out 360
    bound = math.sqrt(6 / 630)
    x = values(init.xavier_uniform_(weight, gain=2.0))
    assert 1.98 * bound < np.abs(x).max() <= 2 * bound
    assert values(init.xavier_normal_(weight)).std() == pytest.approx(math.sqrt(2 / 630), rel=0.05)
    x = values(init.kaiming_uniform_(weight, a=math.sqrt(5)))
    assert 0.99 < np.abs(x).max() * math.sqrt(270) <= 1
    x = values(init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu"))
    assert x.std() == pytest.approx(math.sqrt(2 / 360), rel=0.05)
    with pytest.raises(ValueError, match=r"at least 2 dimensions, got shape \(3,\)"):
        init.kaiming_uniform_(mg.zeros(3))
    with pytest.raises(ValueError, match="'fan_in' or 'fan_out', got 'fan'"):
        init.kaiming_normal_(weight, mode="fan")


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (5, 2, 3)])
def test_orthogonal(shape):
    w = values(init.orthogonal_(mg.zeros(*shape, dtype="float64"), gain=2.0)).reshape(shape[0], -1)
    product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2])
def test_dirac_copies_channels(groups):
    weight = init.dirac_(mg.zeros(4, 4 // groups, 3, 3), groups)
    x = mg.randn(2, 4, 5, 5)
    y = mg.nn.functional.conv2d(x, weight, padding=1, groups=groups)
    np.testing.assert_array_equal(y.numpy(), x.numpy())


def test_gains():
    expected = {
        "linear": 1,
        "conv2d": 1,
        "conv_transpose3d": 1,
        "sigmoid": 1,
        "tanh": 5 / 3,
        "relu": math.sqrt(2),
        "selu": 0.75,
    }
    for name, gain in expected.items():
        assert init.calculate_gain(name) == pytest.approx(gain), name
    assert init.calculate_gain("leaky_relu", 0.2) == pytest.approx(math.sqrt(2 / 1.04))
    with pytest.raises(ValueError, match="unknown nonlinearity 'conv9d'"):
        init.calculate_gain("conv9d")


def test_a_generators_state_keeps_every_digit():
    """Two numbers of 64 bits in a list are no array of float64, which has 53."""
    seed, rng = 2**63 + 2**10 + 1, mg.random.Generator(0)
    for state in ([seed, 9], (np.uint64(seed), 9), np.array([seed, 9], np.uint64)):
        rng.state = state
        assert rng.state.tolist() == [seed, 9]
        with mg.random.Generator(1).again(state):
            pass
    with pytest.raises(TypeError, match="a generator's state is two whole numbers, .*, got \\[1.5, 2\\]"):
        rng.state = [1.5, 2]
    assert rng.state.tolist() == [seed, 9]
