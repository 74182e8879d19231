"""vjp, jvp, jacobian, hessian, hvp and checkpoint against closed forms, on both backends."""

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
    with pytest.raises(ValueError, match=r"single number.*\(2,\)"):
        hessian(lambda x: x * 2, mg.ones(2))


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
    kept = []

    def noted(x):
        for _ in range(20):
            x = x.exp() * 0.1
            kept.append(x.grad_fn)
        return x

    x = mg.ones(3, requires_grad=True)
    y = checkpoint(noted, x)
    assert kept == [None] * 20  # nothing was recorded on the way
    y.sum().backward()
    assert len(kept) == 40 and None not in kept[20:]
    z = mg.ones(3, requires_grad=True)
    noted(z).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), z.grad.numpy())
    with mg.no_grad():
        assert not checkpoint(F.relu, x).requires_grad
