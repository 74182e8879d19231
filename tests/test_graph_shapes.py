"""Shapes of graphs: what is shared, split, joined, cut off or very deep, and 500 random ones.

Gradients are held to complex steps: a program run by numpy on x + i·h·v, h = 1e-30, has h times the derivative along v as
its imaginary part, exact to rounding and without any code of minigrad.
"""

import threading
import types

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

H = 1e-30


# --- random programs ----------------------------------------------------------------------------------------------------
# The functions that an instruction uses, on tensors and on complex arrays; `+ - * / @` and indexing are the same on both.
def _square_without_history(a):
    with mg.no_grad():
        return a * a


def _augmented(a, b):
    a = old = a * 2  # no leaf: there `+=` is an error
    a += b  # changes `old`, too, which is the same tensor
    a *= 0.5
    return a * old


TENSORS = types.SimpleNamespace(
    tanh=mg.tanh, sin=mg.sin, exp=mg.exp, split=lambda a: mg.split(a, [1, 2], 1), unbind=lambda a: mg.unbind(a, 0),
    cat=lambda parts: mg.cat(parts, 1), stack=lambda parts: mg.stack(parts, 0), detach=lambda a: a.detach(),
    square_without_history=_square_without_history, augmented=_augmented, maximum=mg.maximum, sum=lambda a: a.sum(1, keepdim=True),
    softmax=lambda a: mg.softmax(a, 1), max=lambda a: a.max(1, keepdim=True), pick=lambda a, i: a.gather(1, i),
    permute=lambda a: mg.reshape(mg.permute(a, 1, 0), (2, 3)), chunk=lambda a: mg.chunk(a, 3, 1),
)  # fmt: skip


def _softmax(a):
    e = np.exp(a - a.real.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def _max(a):
    where = a.real.argmax(1)[:, None]
    return np.take_along_axis(a, where, 1), where


COMPLEX = types.SimpleNamespace(
    tanh=np.tanh, sin=np.sin, exp=np.exp, split=lambda a: (a[:, :1], a[:, 1:]), unbind=lambda a: (a[0], a[1]),
    cat=lambda parts: np.concatenate(parts, 1), stack=lambda parts: np.stack(parts, 0), detach=lambda a: a.real + 0j,
    square_without_history=lambda a: a.real**2 + 0j, maximum=lambda a, b: np.where(a.real > b.real, a, b),
    sum=lambda a: a.sum(1, keepdims=True), softmax=_softmax, max=_max, pick=lambda a, i: np.take_along_axis(a, i, 1),
    permute=lambda a: a.T.reshape(2, 3), chunk=lambda a: (a[:, :1], a[:, 1:2], a[:, 2:]), augmented=lambda a, b: ((2 * a + b) * 0.5) ** 2,
)  # fmt: skip


def _residual(m, a, b, w):
    for _ in range(4):
        a = a + m.tanh(a @ w) * 0.5
    return a + b


def _reused_in_part(m, a, b, w):
    left, right = m.split(a * b)
    return m.cat([right * 0.5, left]) + m.cat([left, right])


def _one_of_three(m, a, b, w):
    return m.chunk(a)[1] * b  # the others get no gradient


def _unbound(m, a, b, w):
    first, second = m.unbind(a)
    return m.stack([second * b[0], first - second])


def _extreme(m, a, b, w):
    values, where = m.max(a)
    return m.pick(b, where) + values * a


INSTRUCTIONS = {  # of two earlier values (2, 3), often the same one, and a matrix (3, 3)
    "add": lambda m, a, b, w: a + b,
    "subtract": lambda m, a, b, w: a - b,
    "multiply": lambda m, a, b, w: a * b,
    "square": lambda m, a, b, w: a * a,
    "double": lambda m, a, b, w: a + a,
    "divide": lambda m, a, b, w: a / (b * b + 1.0),
    "diamond": lambda m, a, b, w: m.tanh(a) * m.sin(a) + a * 0.3,
    "bell": lambda m, a, b, w: m.exp(-a * a),
    "matrix": lambda m, a, b, w: m.tanh(a @ w),
    "residual": _residual,
    "maximum": lambda m, a, b, w: m.maximum(a, b),
    "row broadcast": lambda m, a, b, w: a * b[1] + a[0],
    "column broadcast": lambda m, a, b, w: m.sum(a) * 0.3 + b,
    "softmax": lambda m, a, b, w: m.softmax(a * b),
    "permute": lambda m, a, b, w: m.permute(a) - b,
    "negative steps": lambda m, a, b, w: a[::-1, ::-1] * 0.7 + b,
    "detach": lambda m, a, b, w: m.detach(a) * b,
    "detached from itself": lambda m, a, b, w: a - m.detach(a * 0.5),
    "no_grad": lambda m, a, b, w: m.square_without_history(a) + b * 0.5,
    "augmented": lambda m, a, b, w: m.augmented(a, b),
    "split": _reused_in_part,
    "chunk": _one_of_three,
    "unbind": _unbound,
    "max with indices": _extreme,
}
LEAVES = 3  # and after them the matrix


def random_program(seed):
    """Leaves, the instructions (name, a, b), and the positions whose values the result is made of."""
    rng = np.random.default_rng(seed)
    leaves = [rng.uniform(-1, 1, (2, 3)) for _ in range(LEAVES)] + [rng.uniform(-1, 1, (3, 3))]
    code = []
    for i in range(LEAVES, LEAVES + int(rng.integers(3, 16))):
        recent = rng.integers(max(0, i - 3), i) if rng.random() < 0.7 else rng.integers(0, i)
        code.append((str(rng.choice(list(INSTRUCTIONS))), int(recent), int(rng.integers(0, i))))
    last = LEAVES + len(code) - 1  # what isn't among the results or their inputs is an unused branch
    return leaves, code, [last, *rng.integers(LEAVES, last + 1, 2).tolist()]


def run(m, leaves, code, ends, nudge=None):
    """The result of a program, a weighted sum, and all its values; `nudge` (position, array) is added to one value."""
    values, w = list(leaves[:LEAVES]), leaves[LEAVES]
    if nudge and nudge[0] < 0:
        w = w + nudge[1]

    def keep(i):
        if nudge and nudge[0] == i:
            values[i] = values[i] + nudge[1]

    for i in range(LEAVES):
        keep(i)
    for name, a, b in code:
        values.append(INSTRUCTIONS[name](m, values[a], values[b], w))
        keep(len(values) - 1)
    total = sum((values[i] * (k + 1.0) for k, i in enumerate(ends)), values[ends[0]] * 0.1)
    return m.sum(total).sum(), values


def differences(seed, device, dtype):
    """|minigrad's directional derivative - the complex step's|, relative to their size, by each leaf and one inner value."""
    leaves, code, ends = random_program(seed)
    rng = np.random.default_rng(seed + 10**6)
    tensors = [mg.tensor(a, dtype=dtype, device=device, requires_grad=True) for a in leaves]
    loss, values = run(TENSORS, tensors, code, ends)
    inner = [i for i in range(LEAVES, len(values)) if values[i].requires_grad]
    asked, wanted = [0, 1, 2, -1], list(tensors)
    if inner:
        asked.append(int(rng.choice(inner)))
        wanted.append(values[asked[-1]])
    if not loss.requires_grad:
        return []
    gradients = mg.grad(loss, wanted, retain_graph=True, allow_unused=True)
    loss.backward()
    for t, g in zip(tensors, gradients, strict=False):  # the two walks agree
        assert (t.grad is None) == (g is None)
        assert g is None or np.array_equal(t.grad.numpy(), g.numpy())
    out = []
    for i, g in zip(asked, gradients, strict=True):
        v = rng.standard_normal(leaves[LEAVES].shape if i < 0 else (2, 3))
        result, _ = run(COMPLEX, [a + 0j for a in leaves], code, ends, (i, 1j * H * v))
        expected = result.imag / H
        got = 0.0 if g is None else float((g.numpy().astype(np.float64) * v).sum())
        scale = 0.0 if g is None else float((np.abs(g.numpy()) * np.abs(v)).sum())
        out.append(abs(got - expected) / max(1.0, abs(expected), scale))
    return out


def programs(samples, seed, own):
    """Numbers of random programs: other ones for every seed."""
    return range(seed * 10**6, seed * 10**6 + samples(own))


def test_500_random_graphs(samples, seed):
    seen, shared, numbers = 0, set(), programs(samples, seed, 500)
    for number in numbers:
        found = differences(number, "cpu", "float64")
        seen += bool(found)
        assert not found or max(found) < 1e-12, f"program {number}: {found}\n{random_program(number)}"
        shared |= {name for name, _, _ in random_program(number)[1]}
    assert seen > 0.98 * len(numbers) and (shared == set(INSTRUCTIONS) or len(numbers) < 500)


def test_random_graphs_on_mlx(samples, seed):
    pytest.importorskip("mlx.core", exc_type=ImportError)
    for number in programs(samples, seed, 60):
        found = differences(number, "mlx", "float32")
        assert not found or max(found) < 2e-5, f"program {number}: {found}\n{random_program(number)}"


def test_second_derivatives_of_random_graphs(samples, seed):
    """Hessian times vector by create_graph against central differences of the gradient (which see through `detach`: such
    instructions become products here)."""
    compared, numbers = 0, programs(samples, seed, 60)
    for number in numbers:
        leaves, code, ends = random_program(number)
        code = [("multiply" if "detach" in name or name == "no_grad" else name, a, b) for name, a, b in code]
        rng = np.random.default_rng(number)
        directions = [rng.standard_normal(a.shape) for a in leaves]

        def gradients(shift, create_graph=False, leaves=leaves, code=code, ends=ends, directions=directions):
            xs = [mg.tensor(a + shift * v, requires_grad=True) for a, v in zip(leaves, directions, strict=True)]
            found = mg.grad(run(TENSORS, xs, code, ends)[0], xs, create_graph=create_graph, allow_unused=True)
            return xs, [x * 0 if g is None else g for x, g in zip(xs, found, strict=True)]

        xs, first = gradients(0.0, create_graph=True)
        second = mg.grad(
            sum((g * mg.tensor(v)).sum() for g, v in zip(first, directions, strict=True)), xs, allow_unused=True
        )
        for got, plus, minus in zip(second, gradients(1e-6)[1], gradients(-1e-6)[1], strict=True):
            expected = (plus.numpy() - minus.numpy()) / 2e-6
            got = 0.0 if got is None else got.numpy()
            assert np.abs(got - expected).max() < 1e-6 * max(1.0, np.abs(expected).max()), f"program {number}"
            compared += 1
    assert compared == 4 * len(numbers)


# --- named shapes -------------------------------------------------------------------------------------------------------
def leaf(*values, device=None):
    return mg.tensor(values, dtype="float32" if device == "mlx" else "float64", device=device, requires_grad=True)


CASES = {  # function of x = (2, -3), and its derivative
    "y*y": (lambda x: (x + 1) * (x + 1), lambda x: 2 * (x + 1)),
    "y*y of one tensor": (lambda x: (lambda y: y * y)(x * 3), lambda x: 18 * x),
    "x+x": (lambda x: x + x, lambda x: 2 + 0 * x),
    "x-x": (lambda x: x - x, lambda x: 0 * x),
    "x/x": (lambda x: x / x, lambda x: 0 * x),
    "x@x": (lambda x: x @ x, lambda x: 2 * x),
    "one leaf thrice": (lambda x: x * x * x, lambda x: 3 * x * x),
    "diamond": (lambda x: (lambda y: y * 2 + y * y)(x * 3), lambda x: 6 + 18 * x),
    "diamond of diamonds": (
        lambda x: (lambda y: (lambda z: z * y + z)(y * y + y))(x * 2),
        lambda x: 2 * (12 * x * x + 8 * x + 1),
    ),
    "long and short arm": (lambda x: (lambda y: y * (y + 1 + 1 + 1 + 1))(x * 1), lambda x: 2 * x + 4),
    "residual": (lambda x: (lambda y: y + y * y)(x + x * x), lambda x: (1 + 2 * (x + x * x)) * (1 + 2 * x)),
    "unused branch": (lambda x: (x.exp(), x * 5)[1], lambda x: 5 + 0 * x),
    "detached factor": (lambda x: x * x.detach(), lambda x: x),
    "detached branch": (lambda x: x * x + (x * 7).detach(), lambda x: 2 * x),
    "same in a list": (lambda x: mg.stack([x, x, x]).sum(0), lambda x: 3 + 0 * x),
    "cat with itself": (lambda x: mg.cat([x, x * x]), lambda x: 1 + 2 * x),
    "one output of three": (lambda x: mg.stack([x, x * x, x]).unbind(0)[1], lambda x: 2 * x),
    "overlapping reads": (lambda x: x[[0, 0, 1]] * 2, lambda x: np.array([4.0, 2.0])),
}


@pytest.mark.parametrize("name", CASES)
def test_named_shapes(name, device):
    function, derivative = CASES[name]
    x = leaf(2.0, -3.0, device=device)
    function(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), derivative(np.array([2.0, -3.0])), rtol=1e-6)


def test_the_same_module_twice(device):
    mg.manual_seed(0)
    twice, once, again = (nn.Linear(3, 3).to(device) for _ in range(3))
    once.load_state_dict(twice.state_dict()), again.load_state_dict(twice.state_dict())
    x = mg.randn(4, 3, device=device)
    twice(twice(x).tanh()).sum().backward()
    again(once(x).tanh()).sum().backward()
    for p, a, b in zip(twice.parameters(), once.parameters(), again.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), (a.grad + b.grad).numpy(), rtol=1e-6)


def test_several_outputs_and_starting_gradients():
    x = leaf(1.0, 2.0)
    y = x * x
    z = y * 3
    mg.autograd.backward([z, y], [mg.tensor([1.0, 0.0]), mg.tensor([0.0, 1.0])])  # one root is inside the other's graph
    assert x.grad.tolist() == [6.0, 4.0]
    (g,) = mg.grad([x * 2, x * 2], x, [mg.ones(2), mg.ones(2)])
    assert g.tolist() == [4.0, 4.0]
    (g,) = mg.grad(x.sum(), x)
    assert g.tolist() == [1.0, 1.0]
    x.backward(mg.tensor([5.0, 5.0]))  # a leaf by itself
    assert x.grad.tolist() == [11.0, 9.0]


def test_an_input_that_every_route_reaches_through_another_input():
    x = leaf(2.0)
    y = x * x
    z = y * 3
    gz, gy, gx = mg.grad((z * z).sum(), [z, y, x])
    assert (gz.item(), gy.item(), gx.item()) == (24.0, 72.0, 288.0)


# --- deep ones ----------------------------------------------------------------------------------------------------------
def in_small_stack(function):
    """Runs it in a thread with 256 KiB of stack, where a recursion over the graph can't hide."""
    failed = []

    def guarded():
        try:
            function()
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=guarded)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    if failed:
        raise failed[0]


def deep(x, length):
    """A chain of `length` operations with x used again at every second one, and its derivative."""
    y, slope = x, 1.0
    for _ in range(length // 2):
        y, slope = y * 0.9999 + 0.0001 * x, slope * 0.9999 + 0.0001
    return y, slope


@pytest.mark.parametrize("way", ["backward", "never backward", "retain_graph", "create_graph", "grad"])
def test_50000_operations_in_a_row(way):
    def work():
        x = leaf(1.0)
        y, slope = deep(x, 10_000 if way == "create_graph" else 50_000)
        if way in ("backward", "retain_graph"):
            y.sum().backward(retain_graph=way == "retain_graph")
            got = x.grad.item()
        elif way != "never backward":
            got = mg.grad(y.sum(), x, create_graph=way == "create_graph")[0].item()
        else:
            got = slope
        del y, x  # frees what is left of the graph
        assert got == pytest.approx(slope, rel=1e-12)

    in_small_stack(work)


def test_10000_operations_on_mlx():
    pytest.importorskip("mlx.core", exc_type=ImportError)
    x = leaf(1.0, device="mlx")
    y, slope = deep(x, 10_000)
    y.sum().backward()
    assert x.grad.item() == pytest.approx(slope, rel=1e-4)


def test_wide_graphs():
    """2 ** 200 routes through 200 diamonds; 5,000 consumers of one node."""
    x = leaf(1.0)
    y = x
    for _ in range(200):
        y = y * 0.5 + y * 0.5
    y.backward(mg.ones(1))
    assert x.grad.item() == 1.0
    x.grad = None
    y = x * 1.0
    mg.stack([y * i for i in range(5_000)]).sum().backward()
    assert x.grad.item() == 5_000 * 4_999 / 2
