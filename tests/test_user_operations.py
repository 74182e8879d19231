"""Operations that a user defines: they live apart from minigrad's own, are replaced whole, and use fused operations in derivatives."""

import functools

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.autograd import REGISTRY, elementwise, gradcheck, gradgradcheck, op
from minigrad.engine.operation import USERS


def cell(text, **names):
    """What running a cell of a notebook does."""
    space = {"mg": mg, "op": op, "elementwise": elementwise, "__name__": "__main__", **names}
    exec(text, space)
    return space


def numbers(*shape):
    return mg.tensor(np.random.default_rng(0).normal(size=shape), requires_grad=True)


def test_an_operation_of_a_taken_name_changes_nothing_of_minigrad(device):
    x = mg.tensor([0.5, 1.0], device=device, requires_grad=True)
    layer = nn.Linear(2, 3, device=device)

    def results():
        first = mg.grad(mg.logsumexp(x, 0), x, create_graph=True)[0]
        return [first.tolist(), mg.grad(first[0], x)[0].tolist(), mg.grad(layer(x[None]).square().sum(), x)[0].tolist()]

    before, known = results(), dict(REGISTRY)
    space = cell("""
@elementwise
def exp(xp, a):
    return a * 0 + 7
exp.defvjp(lambda xp, g: g * 1000)

@op
def sum(xp, a):
    return a
sum.defvjp(lambda xp, g: g * 1000)

@op
def matmul(xp, a, b):
    return a
matmul.defvjp(lambda xp, g: g * 1000, None)
""")
    assert results() == before and REGISTRY == known
    y = space["exp"](x)
    assert y.tolist() == [7.0, 7.0] and mg.grad(y.sum(), x)[0].tolist() == [1000.0, 1000.0]
    with mg.autocast("float16"):  # whose lists of names are of minigrad's operations
        assert space["matmul"](x, x).dtype == "float32"


def test_a_corrected_cell_replaces_the_operation_whole():
    text = """
@elementwise
def cube(xp, a):
    return a * a * a
cube.defvjp(lambda xp, g, a: {} * g * xp.square(a))

@elementwise
def sixth(xp, a):
    return a ** 6
sixth.defvjp(lambda xp, g, a: 2 * g * xp.cube(a) * 3 * xp.square(a))
"""
    x = numbers(3)
    space = cell(text.format(2))
    old = space["cube"](x)
    assert not np.allclose(mg.grad(old.sum(), x, retain_graph=True)[0].numpy(), 3 * x.numpy() ** 2)
    for create_graph in (False, True):  # both ways find the operations that derivatives name
        mg.grad(space["sixth"](x).sum(), x, create_graph=create_graph)
    space = cell(text.format(3))
    assert gradcheck(space["cube"], [x]) and gradgradcheck(space["cube"], [x])
    assert gradcheck(space["sixth"], [x]) and gradgradcheck(space["sixth"], [x])
    np.testing.assert_allclose(
        mg.grad(old.sum(), x)[0].numpy(), 2 * x.numpy() ** 2
    )  # what was computed stays as it was


def test_lists_of_names_do_not_concern_a_users_operation():
    """An operation called "add" is not computed in float32 beside a number that float16 lacks, as minigrad's is."""
    space = cell("""
@elementwise
def add(xp, a, b):
    return a * 1
""")
    seen = []
    with mg.autograd.observe(lambda name, inputs, output, static: seen.append(output.dtype.name)):
        space["add"](mg.ones(2, dtype="float16"), 70000.0)
        mg.ones(2, dtype="float16") + 70000.0
    assert seen[0] == "float16" and "float32" in seen[1:]


def test_a_derivative_given_again_counts():
    @elementwise
    def double(xp, a):
        return a * 2

    x = numbers(3)
    double.defvjp(lambda xp, g: g * 3)
    assert mg.grad(double(x).sum(), x)[0].tolist() == [3.0] * 3
    double.defvjp(lambda xp, g: g * 2)
    assert mg.grad(double(x).sum(), x)[0].tolist() == [2.0] * 3


def test_a_derivative_may_be_any_callable():
    class Scaled:
        def __call__(self, xp, g, a):
            return 2 * g * a

    @elementwise
    def squared(xp, a):
        return a * a

    squared.defvjp(Scaled())
    assert gradcheck(squared, [numbers(3)])
    with pytest.raises(TypeError, match="squared has 1 inputs and was given 2 VJPs"):
        squared.defvjp(lambda xp, g: g, None)


def test_a_derivative_may_be_a_method_or_wrapped():
    class Family:
        def derivative(self, ops, g, a):
            return 2 * g * a

    def wrapped(function):
        @functools.wraps(function)
        def call(*args, **options):
            return function(*args, **options)

        return call

    @elementwise
    def squared(xp, a):
        return a * a

    for vjp in (Family().derivative, wrapped(lambda ops, g, a: 2 * g * a)):
        squared.defvjp(vjp)
        assert gradcheck(squared, [numbers(3)])


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("decorator", [op, elementwise])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (lambda ops, g: 3.0, "a float"),
        (lambda ops, g: (g, g), "a tuple"),
        (lambda ops, g: ops.sum(g, dim=None, keepdim=False), r"float64 \(\)"),
        (lambda ops, g: ops.cast(g, dtype="float16"), r"float16 \(3,\)"),
    ],
)
def test_a_derivative_gives_a_gradient(decorator, count, wrong, what, create_graph):
    """Of the input's shape and dtype, whatever the operation's kind."""

    def first(xp, a, *others):
        return a * 2

    made = decorator(
        [lambda xp, a: first(xp, a), lambda xp, a, b: first(xp, a), lambda xp, a, b, c: first(xp, a)][count - 1]
    )
    made.defvjp(wrong, *[None] * (count - 1))
    x = numbers(3)
    with pytest.raises(RuntimeError, match=rf"by 'a' gave ({what}) for an input of .*float64 \(3,\); mend the VJP$"):
        mg.grad(made(x, *[x] * (count - 1)).sum(), x, create_graph=create_graph)


def test_a_static_parameter_is_not_taken_for_metadata():
    @op
    def scaled(xp, a, *, a_shape):
        return a * a_shape

    scaled.defvjp(lambda ops, g, a_shape: g * a_shape)
    x = numbers(3)
    assert mg.grad(scaled(x, a_shape=7.0).sum(), x)[0].tolist() == [7.0] * 3


@pytest.mark.parametrize("name", ["gelu", "layer_norm", "attention", "cross_entropy"])
def test_a_derivative_may_use_fused_operations(device, name):
    """Over raw arrays in an ordinary backward, over tensors under create_graph."""
    calls = {
        "gelu": lambda xp, a: xp.gelu(a),
        "layer_norm": lambda xp, a: xp.layer_norm(a, None, None, axes=(1,), eps=1e-5),
        "attention": lambda xp, a: xp.attention(a, a, a, scale=0.5),
        "cross_entropy": lambda xp, a: (
            a * 0 + xp.reshape(xp.cross_entropy(a, classes, ignore_index=-1, smoothing=0.1), shape=(3, 1))
        ),
    }
    dtype = "float32" if device == "mlx" else "float64"
    classes = mg.tensor([0, 2, 1], device=device)

    @elementwise
    def strange(xp, a):
        return xp.sin(a)

    def vjp(xp, g, a):
        nonlocal classes
        classes = classes if isinstance(a, mg.Tensor) else getattr(classes, "array", classes)
        return g * calls[name](xp, a)

    strange.defvjp(vjp)
    x = mg.tensor(numbers(3, 4).numpy(), dtype=dtype, device=device, requires_grad=True)
    found = []
    for create_graph in (False, True):
        classes = mg.tensor([0, 2, 1], device=device)
        found.append(mg.grad(strange(x).sum(), x, create_graph=create_graph)[0].detach().numpy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-6)


# --- what is no operation -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("wrong", [int, 5, "tanh", None.__class__, object(), functools.partial(np.add, 1), mg.ones(2)])
@pytest.mark.parametrize("decorator", [op, elementwise, op(floats=True), elementwise(floats=True)])
def test_an_operation_is_made_of_a_function(decorator, wrong):
    known = dict(USERS)
    with pytest.raises(
        TypeError, match=r"^(op|elementwise): function must be a function f\(xp, \*arrays, \*\*static\), got "
    ):
        decorator(wrong)
    assert known == USERS


@pytest.mark.parametrize("decorator", [op, elementwise])
@pytest.mark.parametrize(
    "function",
    [
        lambda xp, y: y * y,
        lambda xp, i, a: i * a,
        lambda xp, a, *, y: a * y,
        lambda xp, a, *, i=1: a * i,
        lambda xp, *y: y[0],
    ],
)
def test_parameters_are_not_called_y_or_i(decorator, function):
    """A derivative that names them gets the output, or the input's position."""
    known = dict(USERS)
    with pytest.raises(
        TypeError, match=r": a parameter can't be called '(y|i)', which derivatives take for .*; rename it$"
    ):
        decorator(function)
    assert known == USERS


@pytest.mark.parametrize("decorator", [op, elementwise])
@pytest.mark.parametrize(
    "function", [lambda xp, a, *rest: a, lambda xp, a, **options: a, lambda xp, *all_, **options: 1]
)
def test_parameters_are_counted(decorator, function):
    with pytest.raises(
        TypeError, match=r"<lambda>: takes any number of inputs beside others, or any keyword parameters"
    ):
        decorator(function)


@pytest.mark.parametrize("kind", [{}, {"elementwise": True}, {"elementwise": True, "floats": True}])
@pytest.mark.parametrize("given", [(), (5,), ([1.0],), (np.ones(2), 3), ("a", None), (int,), (1, 2, 3)])
def test_an_operation_is_called_with_a_tensor(kind, given):
    """What the function would make of anything else doesn't matter."""

    def anything(xp, *values):
        return sum(v for v in values if isinstance(v, int))

    def two(xp, a, *, by=1):
        return (a, by)

    for function in (anything, two):
        made = (op if not kind else elementwise)(function, **{k: v for k, v in kind.items() if k == "floats"})
        with pytest.raises(TypeError, match=rf"^{function.__name__}: expected a tensor, got .*; use mg.tensor"):
            made(*given)


def test_a_fused_operation_is_called_with_a_tensor():
    for given, what in (((), "nothing"), ((5, 5), "5, 5")):
        with pytest.raises(TypeError, match=f"^linear: expected a tensor, got {what}; use mg.tensor"):
            mg.ops.linear(*given)


@pytest.mark.parametrize("wrong", [np.ones(2), np.ones(()), mg.ones(1), 5, "g", [lambda ops, g: g], int, False])
def test_a_derivative_is_a_function(wrong):
    @op
    def product(xp, a, b):
        return a * b

    product.defvjp(lambda ops, g, b: g * b, None)
    expected = r"^product: a VJP must be a function f\(ops, g, …\) or None, got "
    for vjps in ((wrong, None), (lambda ops, g, b: g * b, wrong)):
        with pytest.raises(TypeError, match=expected):
            product.defvjp(*vjps)
    x = numbers(3)
    assert mg.grad(product(x, x.detach()).sum(), x)[0].tolist() == x.tolist()  # its derivative is what it was


@pytest.mark.parametrize("wrong", [np.ones(2), 5, mg.ones(2), None])
def test_the_layout_of_a_view_is_a_function(wrong):
    @op
    def seen(xp, a):
        return a

    with pytest.raises(TypeError, match=r"^seen: layout must be a function layout\(sizes, strides, \*\*static\), got "):
        seen.defview(wrong)


@pytest.mark.parametrize(
    ("given", "what"), [(None, "None"), ("a", "str"), (object(), "object"), ((1, None), "None"), ([None], "list")]
)
def test_an_operation_gives_numbers(device, given, what):
    """A function that ends without `return` is told of where it is called."""

    @op
    def pointless(xp, a):
        return given

    x = mg.ones(2, device=device)
    with pytest.raises(TypeError, match=rf"^pointless: can't work on float32 \(2,\): expected numbers, got {what}$"):
        pointless(x)
