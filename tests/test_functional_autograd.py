"""vjp, jvp, jacobian, hessian, hvp and checkpoint against closed forms, on both backends."""

import threading
import weakref
from contextlib import nullcontext

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.autograd import checkpoint, gradcheck, gradgradcheck, hessian, hvp, jacobian, jvp, vjp
from minigrad.nn import functional as F


def close(got, expected):
    np.testing.assert_allclose(got.numpy(), expected, rtol=2e-5, atol=1e-6)


A = np.arange(12.0, dtype=np.float32).reshape(3, 4) / 7
X = np.linspace(-1, 1, 4, dtype=np.float32)


def affine(device):
    a = mg.tensor(A, device=device)
    return lambda x: (a @ x).sin()


def test_products_with_the_jacobian(device):
    f, x = affine(device), mg.tensor(X, device=device)
    j = np.cos(A @ X)[:, None] * A
    v, w = np.array([1, -2, 0.5], np.float32), np.array([0.5, 1, -1, 2], np.float32)
    y, product = vjp(f, x, mg.tensor(v, device=device))
    close(y, np.sin(A @ X))
    close(product, v @ j)
    y, product = jvp(f, x, mg.tensor(w, device=device))
    close(y, np.sin(A @ X))
    close(product, j @ w)
    close(jacobian(f, x), j)
    assert not x.requires_grad and x.grad is None


def test_hessian(device):
    a = mg.tensor(A, device=device)

    def f(x):
        return (a @ x).sin().sum()

    x, v = mg.tensor(X, device=device), np.array([0.5, 1, -1, 2], np.float32)
    h = -(A.T * np.sin(A @ X)) @ A
    close(hessian(f, x), h)
    y, product = hvp(f, x, mg.tensor(v, device=device))
    assert y.item() == pytest.approx(np.sin(A @ X).sum(), rel=1e-5)
    close(product, h @ v)


def test_several_inputs_and_outputs():
    x, y = mg.tensor([1.0, 2.0]), mg.tensor([3.0, 4.0])

    def f(x, y):
        return x * y, x.sum()

    (xx, xy), (sx, sy) = jacobian(f, (x, y))
    close(xx, np.diag([3, 4]))
    close(xy, np.diag([1, 2]))
    close(sx, [1, 1])
    close(sy, [0, 0])
    _, (dx, dy) = jvp(f, (x, y), (mg.ones(2), mg.zeros(2)))
    close(dx, [3, 4])
    assert dy.item() == 2
    (hxx, hxy), (hyx, hyy) = hessian(lambda x, y: (x * x * y).sum(), (x, y))
    close(hxx, np.diag([6, 8]))
    close(hxy, np.diag([2, 4]))
    close(hyx, np.diag([2, 4]))
    close(hyy, np.zeros((2, 2)))


def test_results_can_be_differentiated_again():
    x, v = mg.randn(3, dtype=mg.float64, requires_grad=True), mg.randn(3, dtype=mg.float64)
    assert gradcheck(lambda x: jacobian(lambda z: z.exp() * z, x, create_graph=True), [x])
    assert gradcheck(lambda x: hvp(lambda z: (z * z * z).sum(), x, v, create_graph=True)[1], [x])
    assert gradcheck(lambda x: jvp(lambda z: z.sin(), x, v, create_graph=True)[1], [x])


def test_a_hessian_needs_a_number():
    for derivative in (hessian, lambda f, x: hvp(f, x, mg.ones(2))):
        with pytest.raises(ValueError, match=r"single number.*shape \(2,\)"):
            derivative(lambda x: x * 2, mg.ones(2))
        with pytest.raises(ValueError, match=r"single number.*2 tensors"):
            derivative(lambda x: (x.sum(), x.sum()), mg.ones(2))


def test_constant_functions_have_zero_derivatives():
    x = mg.ones(2)
    close(jacobian(lambda x: mg.ones(3), x), np.zeros((3, 2)))
    close(hessian(lambda x: x.sum(), x), np.zeros((2, 2)))
    close(hvp(lambda x: x.sum(), x, mg.ones(2))[1], [0, 0])


# --- checkpoint ---------------------------------------------------------------------------------------------------------
def test_checkpoint_gives_the_same_gradients_with_dropout(device):
    mg.manual_seed(1)
    block = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Dropout(0.5), nn.Linear(16, 6)).to(device)
    x = mg.randn(5, 6, device=device, requires_grad=True)
    found = []
    for through in (block, lambda x: checkpoint(block, x)):
        mg.manual_seed(2)
        x.grad = None
        block.zero_grad()
        y = through(x * 2)
        after = mg.random.default.state.tolist()
        y.square().sum().backward()
        assert mg.random.default.state.tolist() == after  # recomputing draws nothing new
        found.append([y, x.grad, *(p.grad for p in block.parameters())])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


def test_checkpoint_of_several_outputs_to_second_order():
    x, y = (mg.randn(3, dtype=mg.float64, requires_grad=True) for _ in range(2))

    def f(x, y):
        return (x * y).exp(), x.sin()

    assert gradcheck(lambda x, y: checkpoint(f, x, y), [x, y])
    assert gradgradcheck(lambda x, y: checkpoint(f, x, y), [x, y])


def test_checkpoint_keeps_only_its_inputs():
    made = []

    def noted(x):
        for _ in range(20):
            x = x.exp() * 0.1
            made.append(weakref.ref(x.array))
        return x

    x = mg.ones(3, requires_grad=True)
    y = checkpoint(noted, x)
    assert [r() is None for r in made] == [True] * 19 + [False]  # all but the result
    y.sum().backward()
    assert len(made) == 40
    del y
    assert [r() for r in made] == [None] * 40
    z = mg.ones(3, requires_grad=True)
    noted(z).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), z.grad.numpy())
    with mg.no_grad():
        assert not checkpoint(F.relu, x).requires_grad


def layers(device):
    mg.manual_seed(3)
    block = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.GELU(), nn.Dropout(0.3), nn.Linear(8, 4)).to(device)
    return block, mg.randn(5, 4, device=device, requires_grad=True)


def nested(block):
    return lambda x: checkpoint(block[4], checkpoint(block[:4], x) * 1.0)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("low", [None, "float16"])
def test_checkpoint_is_the_function_itself_in_every_order(device, depth, low):
    """Values, first derivatives by inputs and parameters, and second ones are those of the function, to the bit or nearly."""
    found = []
    for again in (False, True):
        block, x = layers(device)
        function = block if depth == 1 else nested(block)
        mg.manual_seed(4)
        with mg.autocast(low or "float16", enabled=low is not None):
            y = (
                checkpoint(function, x * 2)
                if again
                else (block(x * 2) if depth == 1 else block[4](block[:4](x * 2) * 1.0))
            )
        first = mg.grad(y.float().square().sum(), [x, *block.parameters()], create_graph=True)
        assert x.grad is None and all(p.grad is None for p in block.parameters())
        sum((g * g).sum() for g in first).backward()
        found.append([y, *first, x.grad, *(p.grad for p in block.parameters())])
    for a, b in zip(*found, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(b.detach().numpy(), a.detach().numpy(), rtol=1e-6, atol=1e-6)


def test_checkpoint_and_grad_of_a_parameter_inside():
    block, x = layers("cpu")
    weight = block[0].weight
    (g,) = mg.grad(checkpoint(block.eval(), x).sum(), weight)
    (expected,) = mg.grad(block(x).sum(), weight)
    np.testing.assert_array_equal(g.numpy(), expected.numpy())
    assert weight.grad is None and block[4].bias.grad is None and x.grad is None


def test_checkpointed_closure_that_shares_history_with_the_outside():
    found = []
    for again in (False, True):
        x, w = mg.tensor([0.5, 1.0], requires_grad=True), mg.tensor([2.0, -1.0], requires_grad=True)
        h = (x * w).exp()

        def function(z, h=h, w=w):
            return (z * h).sin() * w + h

        y = checkpoint(function, h * 2) if again else function(h * 2)
        (y * h).sum().backward()
        found.append((x.grad.tolist(), w.grad.tolist()))
    assert found[0] == found[1]


def test_a_hook_on_a_parameter_inside_and_outside_of_a_checkpoint_runs_once():
    w, seen = mg.tensor([2.0, 3.0], requires_grad=True), []
    w.register_hook(lambda g: seen.append(g.tolist()))
    x = mg.ones(2, requires_grad=True)
    (checkpoint(lambda x: x * w, x) + w * w).sum().backward()
    assert seen == [[5.0, 7.0]] == [w.grad.tolist()]


def test_checkpoint_of_constants_and_of_other_structures():
    w = mg.ones(2, requires_grad=True)
    out = checkpoint(lambda x, n: {"y": [x * w * n], "none": None, "x": x}, mg.ones(2), 3.0)
    assert out["none"] is None and not out["x"].requires_grad
    out["y"][0].sum().backward()
    assert w.grad.tolist() == [3.0, 3.0]


def test_retained_checkpoint_goes_back_twice():
    x, w = mg.ones(2, requires_grad=True), mg.ones(2, requires_grad=True)
    y = checkpoint(lambda x: (x * w).exp(), x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(w.grad.numpy(), 2 * np.e * np.ones(2), rtol=1e-6)
    with pytest.raises(RuntimeError, match="already used and freed"):
        y.backward()


@pytest.mark.parametrize("create_graph", [False, True])
def test_checkpoint_of_a_function_that_goes_back_itself(create_graph):
    """A gradient penalty, or a force as the slope of an energy."""
    w = mg.tensor([0.5, -0.5], dtype=mg.float64, requires_grad=True)

    def force(x):
        energy = F.gelu((x * w).sin()).cos().sum()
        (g,) = mg.grad(energy, x, retain_graph=True, create_graph=create_graph)
        (again,) = mg.grad(energy * 2, x)
        return g * x + again * 3

    found = []
    for function in (
        force,
        lambda x: checkpoint(force, x),
        lambda x: checkpoint(lambda x: checkpoint(force, x * 1), x),
    ):
        x = mg.tensor([0.3, 0.4], dtype=mg.float64, requires_grad=True)
        found.append(
            [g.numpy() for g in mg.grad(function(x).square().sum(), [x, w], allow_unused=True) if g is not None]
        )
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-12)


def test_checkpoint_of_a_function_that_changes_says_so():
    x, calls = mg.ones(2, requires_grad=True), []

    def function(x):
        calls.append(1)
        return x.exp() * 2 if len(calls) == 1 else x.sin() * 2

    y = checkpoint(function, x)
    with pytest.raises(RuntimeError, match="checkpoint.*number 1 was exp and is now sin"):
        y.sum().backward()


def test_checkpoint_computed_while_observed_and_differentiated_unobserved():
    """An observer sees the parts of fused operations, so that the tape is another one with it than without."""
    mg.manual_seed(0)
    attention, names = nn.MultiheadAttention(4, 2, batch_first=True), []
    x = mg.randn(2, 3, 4, requires_grad=True)
    found = []
    for forward, backward in [(False, False), (True, False), (False, True)]:
        with mg.autograd.observe(lambda name, *_: names.append(name)) if forward else nullcontext():
            y = checkpoint(lambda x: attention(x, x, x)[0], x)
        with mg.autograd.observe(lambda name, *_: names.append(name)) if backward else nullcontext():
            found.append(mg.grad(y.square().sum(), x)[0].numpy())
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(found[2], found[0])


def test_threads_that_recompute_draw_apart():
    """A part that draws its numbers again in one thread leaves the draws of others alone."""
    again, inside, go_on = threading.Event(), threading.Event(), threading.Event()

    def function(x):
        if again.is_set():
            inside.set()
            go_on.wait(10)
        return F.dropout(x, 0.5) * x

    x = mg.ones(1000, requires_grad=True)
    mg.manual_seed(7)
    y = checkpoint(function, x)
    again.set()
    thread = threading.Thread(target=lambda: y.sum().backward())
    thread.start()
    inside.wait(10)
    drawn = [mg.rand(3).tolist() for _ in range(3)]
    go_on.set()
    thread.join()
    mg.manual_seed(7)
    F.dropout(x, 0.5)
    assert [mg.rand(3).tolist() for _ in range(3)] == drawn
    mask = y.detach().numpy()
    np.testing.assert_array_equal(x.grad.numpy(), 2 * mask)
    assert mg.random.default.state[1] == 4


def test_checkpoint_within_a_compiled_step(compiles):
    """A part within a part, with dropout, in a compiled step: as in an eager one."""
    found = []
    for compiled in (False, True):
        block, x = layers("mlx")
        optimizer = mg.optim.SGD(block.parameters(), lr=0.1)
        mg.manual_seed(5)

        def step(x, block=block, optimizer=optimizer):
            optimizer.zero_grad()
            loss = checkpoint(nested(block), x).square().sum()
            loss.backward()
            optimizer.step()
            return loss

        run = mg.compile(step, state=[block, optimizer]) if compiled else step
        found.append([run(x.detach()).item() for _ in range(3)])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)


# --- constants ----------------------------------------------------------------------------------------------------------
def test_derivatives_of_constants_are_zero(device):
    x, v = mg.tensor([1.0, 2.0], device=device), mg.ones(2, device=device)
    three = mg.tensor([np.inf, 1.0, np.nan], device=device)
    assert vjp(lambda x: three, x, mg.ones(3, device=device))[1].tolist() == [0.0, 0.0]
    assert jvp(lambda x: three, x, v)[1].tolist() == [0.0, 0.0, 0.0]
    assert jacobian(lambda x: three, x).tolist() == [[0.0, 0.0]] * 3
    assert hessian(lambda x: mg.tensor(3.0, device=device), x).tolist() == [[0.0, 0.0]] * 2
    assert hvp(lambda x: mg.tensor(3.0, device=device), x, v)[1].tolist() == [0.0, 0.0]
    (a, b), (c, d) = jacobian(lambda x, y: (x * 2, three), (x, v))
    assert a.tolist() == [[2.0, 0.0], [0.0, 2.0]] and b.tolist() == [[0.0, 0.0]] * 2
    assert c.tolist() == d.tolist() == [[0.0, 0.0]] * 3
    y, (g, h) = vjp(lambda x, y: (x * 2, three), (x, v), (v, mg.ones(3, device=device)))
    assert g.tolist() == [2.0, 2.0] and h.tolist() == [0.0, 0.0]
    assert jacobian(lambda x: x[:0], x).shape == (0, 2)
    ints = mg.tensor([1, 2], device=device)
    y, (p, q, r) = jvp(lambda x, y: (x * y, three, ints), (x, v), (v, v))
    assert p.tolist() == [2.0, 3.0]
    assert q.tolist() == [0.0, 0.0, 0.0] and r.tolist() == [0, 0]
    for wrong in (jacobian, vjp):
        with pytest.raises(TypeError, match="outputs must be tensors, got float"):
            wrong(lambda x: 3.0, x)
    with pytest.raises(RuntimeError, match="history"):
        mg.grad(three.sum(), x.requires_grad_())
    with pytest.raises(RuntimeError, match="shape"):
        vjp(lambda x: three, x.detach(), mg.ones(2, device=device))


def test_zeros_where_a_result_is_infinite():
    """A derivative that doesn't exist is 0, not 0·∞."""
    x, y = mg.tensor([1.0]), mg.tensor([np.inf])
    assert vjp(lambda x, y: x * 1, (x, y), mg.ones(1))[1][1].tolist() == [0.0]
    assert jvp(lambda x: x / 0, x, mg.zeros(1))[0].tolist() == [np.inf]
    assert jvp(lambda x, y: (x * 1, y * 1), (x, y), (mg.ones(1), mg.ones(1)))[1][1].tolist() == [1.0]
