"""gradcheck and gradgradcheck: they find wrong derivatives and say where, and let right ones pass."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.autograd import REGISTRY, gradcheck, gradgradcheck, op
from minigrad.autograd.check import GradcheckError

fast_or_not = pytest.mark.parametrize("fast_mode", [False, True])


@pytest.fixture(autouse=True)
def registry():
    """The operations that a test defines go with it."""
    names = set(REGISTRY)
    yield
    for name in set(REGISTRY) - names:
        del REGISTRY[name]


def scaled(by, wrong):
    """The operation that multiplies by one array, with a derivative that multiplies by another."""

    @op
    def gradcheck_scaled(xp, x, *, by, wrong):
        return x * by

    gradcheck_scaled.defvjp(lambda xp, g, wrong: xp.gradcheck_scaled(g, by=wrong, wrong=wrong))
    return lambda x: gradcheck_scaled(x, by=np.asarray(by), wrong=np.asarray(wrong))


def leaf(*shape, seed=0):
    return mg.tensor(np.asarray(np.random.default_rng(seed).normal(size=shape)), requires_grad=True)


def test_a_small_element_beside_a_large_one():
    """Five times too large, where another element is 1e9 times as large. Projected, that is lost in the large one's rounding."""
    wrong, x = scaled([1e9, 1.0, 1.0], [1e9, 1.0, 5.0]), leaf(3)
    with pytest.raises(GradcheckError) as caught:
        gradcheck(wrong, [x])
    for words in ("output 0 of shape (3,) at (2,)", "input 0 of shape (3,) at (2,)", " is 5 ("):
        assert words in str(caught.value)
    assert float(str(caught.value).split()[-1]) == pytest.approx(1)
    assert gradcheck(scaled([1e9, 1.0, 1.0], [1e9, 1.0, 1.0]), [x])
    assert gradcheck(wrong, [x], fast_mode=True)


def test_second_derivative_of_a_small_element():
    """The first derivative 3 f x², whose own derivative is five times too large in one element."""
    right, wrong = np.array([1e9, 1.0, 1.0]), np.array([1e9, 1.0, 5.0])

    @op
    def gradcheck_cube(xp, x):
        return right * x * x * x

    @op
    def gradcheck_slope(xp, x):
        return 3 * right * x * x

    gradcheck_cube.defvjp(lambda xp, g, x: g * xp.gradcheck_slope(x))
    gradcheck_slope.defvjp(lambda xp, g, x: 6 * xp.gradcheck_scaled(g, by=wrong, wrong=wrong) * x)
    scaled(1, 1)
    x = mg.tensor([1.5, 0.5, 1.0], dtype="float64", requires_grad=True)
    assert gradcheck(gradcheck_cube, [x])
    with pytest.raises(GradcheckError, match=r"input 0 of shape \(3,\) at \(2,\) is "):
        gradgradcheck(gradcheck_cube, [x])
    assert not gradgradcheck(gradcheck_cube, [x], raise_exception=False)


@fast_or_not
def test_wrong_derivatives(fast_mode):
    x, y = leaf(2, 3), leaf(2, 3, seed=1)
    wrong = scaled(2.0, 2.00001)
    for inputs, place in (([x, y], 0), ([y.detach(), x], 1)):
        fn = (lambda a, b: wrong(a) * b) if place == 0 else (lambda a, b: a * wrong(b))
        assert not gradcheck(fn, inputs, fast_mode=fast_mode, raise_exception=False)
        with pytest.raises(GradcheckError, match=rf"input {place} of shape \(2, 3\)"):
            gradcheck(fn, inputs, fast_mode=fast_mode)
        assert gradcheck(fn, inputs, fast_mode=fast_mode, rtol=1e-3, atol=1e-3)
    second = {"shape": "output 1 of shape (3,) at (1,) by input 0 of shape (2, 3) at (1, 1)"}
    with pytest.raises(GradcheckError) as caught:
        gradcheck(lambda x: [x.exp(), scaled([1.0, 1.0, 1.0], [1.0, 2.0, 1.0])(x[1])], [x], fast_mode=fast_mode)
    assert fast_mode or second["shape"] in str(caught.value)


@fast_or_not
def test_only_one_of_the_walks_is_wrong(fast_mode):
    @op
    def gradcheck_two_faced(xp, x):
        return x * 2

    gradcheck_two_faced.defvjp(lambda xp, g: g * (2 if isinstance(g, np.ndarray) else 3))
    with pytest.raises(GradcheckError, match="VJPs on tensors"):
        gradcheck(gradcheck_two_faced, [leaf(3)], fast_mode=fast_mode)


@fast_or_not
def test_what_is_forgotten(fast_mode):
    """An output without a gradient that depends on the input; an input that no gradient comes to."""
    x = leaf(3)
    for fn in (lambda x: x.detach() * 2, lambda x: (x.sin(), x.detach()), lambda x: x.sin() * x.detach()):
        with pytest.raises(GradcheckError, match="input 0"):
            gradcheck(fn, [x], fast_mode=fast_mode)
    assert gradcheck(lambda x, y: y.exp(), [x, leaf(2)], fast_mode=fast_mode)  # x isn't used
    assert gradcheck(lambda x: (x.sin(), x > 0, mg.ones(2)), [x], fast_mode=fast_mode)


@fast_or_not
def test_wrong_shape_of_a_gradient(fast_mode):
    """The walk names the operation whose derivative has another shape or dtype than its input."""

    @op
    def gradcheck_misshapen(xp, x):
        return x * 2

    gradcheck_misshapen.defvjp(lambda xp, g: xp.reshape(g, shape=(6,)) * 2)
    with pytest.raises(RuntimeError, match=r"gradcheck_misshapen.*\(6,\)"):
        gradcheck(gradcheck_misshapen, [leaf(2, 3)], fast_mode=fast_mode)


@fast_or_not
def test_several_outputs_and_inputs_of_every_kind(fast_mode):
    a, b, scalar, empty = leaf(3, 2), leaf(2, seed=1), leaf(seed=2), leaf(0, 4)

    def fn(a, b, power, scalar, empty):
        return a @ b, [a.sum(), (a * scalar) ** power][1], scalar.exp(), empty * scalar, scalar

    for check in (gradcheck, gradgradcheck):
        assert check(fn, [a, b, 2, scalar, empty], fast_mode=fast_mode)
        assert check(fn, (a.detach(), b, 2, scalar, empty), fast_mode=fast_mode)
        assert check(mg.sin, a, fast_mode=fast_mode)  # a single tensor
        assert check(lambda x: x.sum(0), [empty], fast_mode=fast_mode)
        assert check(lambda x: x, [scalar], fast_mode=fast_mode)


@fast_or_not
@pytest.mark.parametrize("layout", [
    lambda a: a.T, lambda a: a[::2], lambda a: a[::-1], lambda a: np.broadcast_to(a[:1], a.shape), np.asfortranarray,
], ids="transposed strided reversed expanded Fortran".split())  # fmt: skip
def test_layouts(fast_mode, layout):
    x = leaf(4, 3)
    x.data = layout(x.array)
    before, numbers = x.array, x.numpy().copy()
    for check in (gradcheck, gradgradcheck):
        assert check(lambda x: x.sin() * x.cumsum(0), [x], fast_mode=fast_mode)
    assert x.array is before and np.array_equal(x.array, numbers) and x.grad is None


@fast_or_not
def test_shared_inputs(fast_mode):
    """A tensor at two places is moved at both, also where the function uses it without its argument."""
    x, images, layer = leaf(3), leaf(4, 3).detach(), mg.nn.Linear(3, 2).to("float64")
    for check in (gradcheck, gradgradcheck):
        assert check(lambda a, b: a * b.exp(), [x, x], fast_mode=fast_mode)
        assert check(lambda a: a * x.exp(), [x], fast_mode=fast_mode)
        assert check(lambda *_: layer(images).tanh(), list(layer.parameters()), fast_mode=fast_mode)


@fast_or_not
def test_inputs_that_were_computed(fast_mode):
    x = leaf(3)
    y = x * 2
    for check in (gradcheck, gradgradcheck):
        assert check(lambda a, b: a * b.exp(), [x, y], fast_mode=fast_mode)
        assert check(lambda a, b: a * b.exp(), [y, y], fast_mode=fast_mode)
    with mg.no_grad():
        assert gradcheck(lambda a: a.exp(), [y], fast_mode=fast_mode)


@fast_or_not
def test_large_numbers(fast_mode):
    """A step of 1e-6 is rounded near 1e9, and nothing near 1e15."""
    x = mg.tensor([1e9, 3e9, 1e15], dtype="float64", requires_grad=True)
    assert gradcheck(lambda x: x * 0.5, [x], fast_mode=fast_mode)
    assert not gradcheck(lambda x: x * 0.5 + x.detach() * 1e-3, [x], fast_mode=fast_mode, raise_exception=False)


@fast_or_not
def test_not_a_number_disagrees(fast_mode):
    x = mg.tensor([1.0, -1.0], dtype="float64", requires_grad=True)
    with pytest.raises(GradcheckError, match="nan"):
        gradcheck(mg.log, [x], fast_mode=fast_mode)
    assert gradcheck(lambda x: x * 0, [x], atol=0, fast_mode=fast_mode)


def test_the_worst_element_is_named():
    x = leaf(4)
    with pytest.raises(GradcheckError, match=r"by input 0 of shape \(4,\) at \(2,\) is 3 "):
        gradcheck(scaled(np.ones(4), [1.0, 1.1, 3.0, 1.2]), [x])


def test_directions_differ():
    """Each direction is another one: three take three times the evaluations."""
    seen = []

    def fn(x):
        seen.append(x.numpy().copy())
        return x.sin()

    assert gradcheck(fn, [leaf(3)], fast_mode=True, directions=3)
    assert len(seen) == 7 and len({array.tobytes() for array in seen}) == 7


def test_mistakes():
    x = leaf(3)
    for inputs in ([x.detach()], [mg.ones(3, requires_grad=True)], [x, mg.ones(3, requires_grad=True)], []):
        with pytest.raises(ValueError, match="in float64"):
            gradcheck(mg.exp, inputs)
    with pytest.raises(ValueError, match="outputs in float64, got one in float32"):
        gradcheck(lambda x: x.to("float32"), [x])
    with pytest.raises(TypeError, match="returns a tensor or several, got float"):
        gradcheck(lambda x: x.sum().item(), [x])
    largest = x.max().item()
    with pytest.raises(GradcheckError, match="shapes change"):
        gradcheck(lambda a: a[a.detach() <= largest], [x])
    before = x.array

    def fails(a):
        if a.array is not before:
            raise KeyboardInterrupt
        return a.exp()

    with pytest.raises(KeyboardInterrupt):
        gradcheck(fails, [x])
    assert x.array is before
