"""The tape: what it keeps and for how long, whose arrays it leaves alone, what may be done twice, and `grad`."""

import gc
import tracemalloc
import weakref

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.autograd import Node


@pytest.fixture
def no_gc():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def pulled():
    """The names of the operations whose VJPs were run, in order."""
    names = []
    with mg.autograd.observe(backward=lambda node, g, results: names.append(node.op.name)):
        yield names


def leaf(*values, device=None):
    return mg.tensor(values, dtype="float32" if device == "mlx" else "float64", device=device, requires_grad=True)


# --- memory -------------------------------------------------------------------------------------------------------------
def small_model(device="cpu"):
    return mg.models.PVT_V2(
        img_size=32, num_classes=4, embed_dims=(8, 16), num_heads=(1, 2), mlp_ratios=(4, 4), depths=(1, 1),
        sr_ratios=(2, 1), num_stages=2, qkv_bias=True, drop_rate=0.1, drop_path_rate=0.1,
    ).to(device)  # fmt: skip


def array_bytes():
    """The bytes of all numpy arrays made since tracemalloc was started."""
    only = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([only]).traces)


def test_memory_returns_without_the_garbage_collector(no_gc):
    x = mg.randn(4, 3, 32, 32)

    def training():
        model = small_model()
        return model, mg.optim.AdamW(model.parameters())

    def step(model, optimizer):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    with mg.backend.num_threads(1):
        step(*training())  # each thread keeps the scratch memory of its first kernels
        model, optimizer = training()
        sizes = []
        tracemalloc.start()
        try:
            for _ in range(5):
                step(model, optimizer)
                sizes.append(array_bytes())
        finally:
            tracemalloc.stop()
    state = sum(t.numel() for p in optimizer.state.values() for t in p.values())
    held = 4 * (state + 2 * sum(p.numel() for p in model.parameters()))  # values, gradients, moments; nothing else
    assert sizes[1:] == sizes[:1] * 4 and abs(sizes[0] - held) < 2000


@pytest.mark.parametrize("way", ["backward", "dropped", "grad", "create_graph", "retain_graph", "hooks", "error"])
def test_no_reference_cycles(device, no_gc, way):
    x = mg.randn(4, 3, 32, 32, device=device, requires_grad=True)
    model = small_model(device)
    loss = model(x).square().mean()
    if way == "hooks":
        h = model.patch_embed(x)[0]
        h.retain_grad()
        h.register_hook(lambda g: g * 2)
        loss = h.sum()
        del h
    if way == "error":
        loss.backward()
        with pytest.raises(RuntimeError):
            loss.backward()
    elif way in ("grad", "create_graph"):
        (g,) = mg.grad(loss, x, create_graph=way == "create_graph")
        g.square().sum().backward() if way == "create_graph" else None
        x.grad = None  # with create_graph, `.grad` of a leaf may lead back to the leaf
        del g
    elif way != "dropped":
        loss.backward(retain_graph=way == "retain_graph")
    refs = [weakref.ref(loss), weakref.ref(loss.grad_fn), weakref.ref(x)]
    del loss, x, model
    assert [r() for r in refs] == [None] * 3
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        assert not [o for o in gc.garbage if isinstance(o, mg.Tensor | Node)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


def test_the_tape_is_freed_during_backward(no_gc):
    """When the gradient has come to the first intermediate, the arrays of the later ones are gone."""
    x = leaf(0.1, 0.2)
    a = x.sin()
    b = a.exp()  # keeps its output
    c = b.tanh()
    refs = [weakref.ref(t.array) for t in (b, c)]
    loss = c.sum()
    alive = []
    a.register_hook(lambda g: alive.append([r() is not None for r in refs]))
    del a, b, c
    assert [r() is not None for r in refs] == [True, True]
    loss.backward()
    assert alive == [[False, False]]


def kept(build):
    """Whether the array of the intermediate h = x + 1 lives on in build(h)'s tape when h itself is gone."""
    h = leaf(1.0, 2.0) + 1
    ref = weakref.ref(h.array)
    y = build(h)
    del h
    assert y.requires_grad
    return ref() is not None


SAVED = {  # what is computed of h; whether h is to be kept
    "times a number": (lambda h: h * 0.5, False),
    "plus": (lambda h: h + h, False),
    "times frozen": (lambda h: h * mg.ones(2), False),
    "times trained": (lambda h: h * leaf(1.0, 1.0), True),
    "over frozen": (lambda h: h / mg.ones(2), False),
    "linear, frozen weight": (lambda h: h @ mg.ones((2, 3), dtype="float64"), False),
    "linear, trained weight": (lambda h: h @ leaf([1.0], [1.0]), True),
    "exp keeps its output": (lambda h: h.exp(), False),
    "sin keeps its input": (lambda h: h.sin(), True),
    "softmax keeps its output": (lambda h: h.softmax(0), False),
    "relu keeps its output": (lambda h: h.relu(), False),
    "sum keeps a shape": (lambda h: h.sum(), False),
    "mean keeps a shape": (lambda h: h.mean(0), False),
    "indexing keeps a shape": (lambda h: h[[0, 0, 1]], False),
    "cat keeps shapes": (lambda h: mg.cat([h, h]), False),
    "where keeps the condition": (lambda h: mg.where(mg.tensor([True, False]), h, 0.0), False),
    "under no_grad": (lambda h: mg.no_grad()(lambda: h * h)() + leaf(1.0), False),
    "detached": (lambda h: h.detach().sin() * leaf(1.0), False),
}


@pytest.mark.parametrize("name", SAVED)
def test_only_what_a_vjp_names_is_kept(name, no_gc):
    build, expected = SAVED[name]
    assert kept(build) == expected


def test_frozen_convolution_keeps_no_image(no_gc):
    image = mg.randn(1, 2, 4, 4, requires_grad=True) * 1
    for frozen in (True, False):
        h = image + 1
        ref = weakref.ref(h.array)
        conv = nn.Conv2d(2, 2, 3).requires_grad_(not frozen)
        y = conv(h)
        del h
        assert y.requires_grad and (ref() is None) == frozen


def test_an_array_that_somebody_holds_is_never_written():
    """Every array that an operation makes, and every gradient that a hook sees, is made read-only on the spot."""

    def lock(name, inputs, output, static):
        for t in output if isinstance(output, tuple) else (output,):
            t.array.flags.writeable = False
            if t.requires_grad:
                t.register_hook(lambda g: g.array.setflags(write=False))

    mg.manual_seed(0)
    for linear in (False, True):
        model = small_model()
        model = mg.models.PVT_V2(model.config.replace(linear=linear))
        x = mg.randn(2, 3, 32, 32, requires_grad=True)
        for p in (x, *model.parameters()):
            p.array.flags.writeable = False
            p.register_hook(lambda g: g.array.setflags(write=False))
        optimizer = mg.optim.AdamW(model.parameters())
        for _ in range(2):  # the second adds to gradients that are there
            with mg.autograd.observe(lock):
                loss = nn.functional.cross_entropy(model(x), mg.tensor([0, 1]), label_smoothing=0.1)
            loss.backward()
        optimizer.step()


def test_gradients_that_share_an_array_stay_apart():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (x + y).sum().backward()
    held = x.grad, x.grad.numpy()
    (x * 10).sum().backward()
    assert x.grad.tolist() == [11.0, 11.0] and y.grad.tolist() == [1.0, 1.0]
    assert held[0] is x.grad and held[1].tolist() == [1.0, 1.0]  # added up in its place; what numpy was given stays
    seed = np.ones(2)
    x.grad = y.grad = None
    z = x + y
    z.retain_grad()
    z.backward(mg.tensor(seed))
    z.sum()
    (x * 5).sum().backward()
    assert seed.tolist() == y.grad.tolist() == z.grad.tolist() == [1.0, 1.0]


def test_views_stay_as_they_were():
    w = leaf(1.0, 2.0)
    view, snapshot, shared = w.numpy(), w.detach().clone(), w.detach()
    with pytest.raises(ValueError):
        view[0] = 9
    w.grad = mg.tensor([1.0, 1.0], dtype="float64")
    mg.optim.SGD([w], lr=1.0).step()
    with mg.no_grad():
        w -= 5
    plain = mg.tensor([1.0, 2.0])
    other = plain.numpy()
    plain[0] = 7.0
    assert view.tolist() == snapshot.tolist() == other.tolist() == [1.0, 2.0]
    assert w.tolist() == shared.tolist() == [-5.0, -4.0] and plain.tolist() == [7.0, 2.0]


# --- augmented assignment -----------------------------------------------------------------------------------------------
def test_augmented_assignment(device):
    w = kept = leaf(1.0, 2.0, device=device)
    with pytest.raises(RuntimeError, match="inside mg.no_grad"):
        w += 1
    with mg.no_grad():
        w -= mg.tensor([0.5, 0.5], device=device, dtype=w.dtype)
        w *= 2
        w /= 0.25
        w **= 2  # (16, 144)
        w //= 3
        w %= 7
        w /= 16
    assert w is kept and w.is_leaf and w.requires_grad and w.tolist() == [0.3125, 0.375]
    with mg.no_grad(), pytest.raises(ValueError, match="shape"):
        w += mg.ones((3, 2), device=device, dtype=w.dtype)
    h = alias = w * 2  # no leaf: the same tensor, at another place of the tape
    before = h.grad_fn
    h += 1
    assert h is alias and not h.is_leaf and h.grad_fn is not before and alias.tolist() == [1.625, 1.75]
    (h * h).sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), 4 * (2 * w.numpy() + 1))
    c = alias = mg.tensor([1.0])  # nothing to train: the same tensor, too
    c += 1
    assert alias is c and alias.is_leaf and alias.tolist() == [2.0]


def test_plain_gradient_descent_by_hand(device):
    w = leaf(5.0, -3.0, device=device)
    for _ in range(50):
        (w * w).sum().backward()
        with mg.no_grad():
            w -= 0.2 * w.grad
        w.grad = None
    assert np.abs(w.numpy()).max() < 1e-9


# --- going through a tape twice -----------------------------------------------------------------------------------------
def test_retain_graph_and_a_second_backward(device):
    x = leaf(3.0, device=device)
    y = (x * x).exp().log().sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == pytest.approx([12.0])
    with pytest.raises(RuntimeError, match="already used and freed.*retain_graph=True"):
        y.backward()
    trunk = x * x
    (trunk * 2).sum().backward()
    with pytest.raises(RuntimeError, match="through mul was already used"):  # a second head on a freed trunk
        (trunk * 3).sum().backward()
    assert x.grad.tolist() == pytest.approx([24.0])  # the failed one added nothing


ORDERS = {
    "x⁵": (lambda x: x * x * x * x * x, lambda x: (5 * x**4, 20 * x**3, 60 * x**2, 120 * x)),
    "pow": (lambda x: x**5, lambda x: (5 * x**4, 20 * x**3, 60 * x**2, 120 * x)),
    "exp(2x)": (lambda x: (x * 2).exp(), lambda x: tuple(2**k * np.exp(2 * x) for k in (1, 2, 3, 4))),
    "1/x": (lambda x: 1 / x, lambda x: (-(x**-2), 2 * x**-3, -6 * x**-4, 24 * x**-5)),
    "sin": (lambda x: x.sin(), lambda x: (np.cos(x), -np.sin(x), -np.cos(x), np.sin(x))),
    "log": (lambda x: x.log(), lambda x: (1 / x, -(x**-2), 2 * x**-3, -6 * x**-4)),
    "sigmoid": (
        lambda x: x.sigmoid(),
        lambda x: (lambda s: (s * (1 - s), s * (1 - s) * (1 - 2 * s), s * (1 - s) * (1 - 6 * s + 6 * s * s)))(1 / (1 + np.exp(-x))),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ORDERS)
def test_derivatives_up_to_the_fourth(name):
    function, expected = ORDERS[name]
    x = leaf(0.7, 1.3)
    y = function(x)
    for order in expected(x.numpy()):
        (y,) = mg.grad(y.sum(), x, create_graph=True)
        np.testing.assert_allclose(y.numpy(), order, rtol=1e-12)


def test_create_graph_in_backward_and_mixed_partials(device):
    x, y = leaf(2.0, device=device), leaf(3.0, device=device)
    (x * x * y).sum().backward(create_graph=True)
    assert x.grad.requires_grad and x.grad.tolist() == [12.0]
    (dxy,) = mg.grad(x.grad.sum(), y, retain_graph=True)
    x.grad.sum().backward()  # adds 2y to the 2xy that is there
    assert dxy.tolist() == [4.0] and x.grad.tolist() == [18.0] and y.grad.tolist() == [8.0]


# --- grad ---------------------------------------------------------------------------------------------------------------
def test_grad_stops_at_its_inputs(pulled):
    x, unrelated = leaf(0.5), leaf(1.0)
    h = x.sin().tanh()
    y = h.exp() * unrelated
    (g,) = mg.grad(y.sum(), h, retain_graph=True)
    assert g.item() == pytest.approx(np.exp(np.tanh(np.sin(0.5))))
    assert set(pulled) == {"sum", "mul", "exp"}
    assert x.grad is None and unrelated.grad is None
    pulled.clear()
    mg.grad(y.sum(), unrelated, retain_graph=True)  # the other factor's history isn't walked
    assert set(pulled) == {"sum", "mul"}
    y.sum().backward()  # nothing above h was freed
    assert x.grad is not None


def test_grad_of_one_output_of_several():
    x = leaf(1.0, 2.0, 3.0)
    a, b = mg.split(x * 2, [1, 2])
    ga, gb = mg.grad((a * a).sum() + b.sum() * 3, [a, b])
    assert ga.tolist() == [4.0] and gb.tolist() == [3.0, 3.0]


def test_grad_of_unused_inputs_and_other_mistakes():
    x, unused = leaf(1.0, 2.0), leaf(1.0)
    assert mg.grad((x * 2).sum(), [x, unused], allow_unused=True)[1] is None
    for call, error, message in [
        (lambda: mg.grad((x * 2).sum(), [x, unused]), RuntimeError, "not used.*allow_unused=True"),
        (lambda: mg.grad((x * 2).sum(), mg.ones(2)), RuntimeError, "doesn't require a gradient"),
        (lambda: mg.grad(x * 2, x), RuntimeError, r"single number, not from shape \(2,\)"),
        (lambda: mg.grad(x * 2, x, mg.ones(3)), RuntimeError, r"shape \(3,\), the tensor \(2,\)"),
        (lambda: mg.grad([x.sum()], x, [None, None]), ValueError, "1 outputs and 2 gradients"),
        (lambda: mg.ones(1).backward(), RuntimeError, "no history"),
        (lambda: (x * 2).requires_grad_(False), RuntimeError, "detach"),
        (lambda: mg.tensor([1]).requires_grad_(), RuntimeError, "floating point"),
        (lambda: mg.zeros(2).register_hook(print), RuntimeError, "requires_grad_"),
        (lambda: (x * 2).backward(np.ones(2)), TypeError, "tensor.*ndarray"),
        (lambda: (x * 2).backward(1.0), TypeError, "tensor.*float"),
        (lambda: mg.grad(3.0, x), TypeError, "tensor.*float"),
        (lambda: mg.grad(x.sum(), 3.0), TypeError, "tensor.*float"),
    ]:
        with pytest.raises(error, match=message):
            call()


def test_a_leaf_replaced_before_backward_is_noticed(device):
    for change in ("data", "no_grad", "step", "load"):
        w, x = nn.Parameter(mg.ones(2, device=device)), leaf(1.0, 2.0, device=device)
        loss = (w * w.sin() * x).sum()
        if change == "data":
            w.data = mg.zeros(2, device=device).array
        elif change == "no_grad":
            with mg.no_grad():
                w *= 2
        elif change == "step":
            w.grad = mg.ones(2, device=device)
            mg.optim.SGD([w], lr=0.1).step()
        else:
            holder = nn.Module()
            holder.w = w
            holder.load_state_dict({"w": np.zeros(2, np.float32)})
        with pytest.raises(RuntimeError, match=r"shape \(2,\) that (mul|sin) needs.*was changed after the forward"):
            loss.backward()
    w = leaf(1.0)
    loss = (w * 2 + 1).sum()  # no VJP needs w's values: it may change
    w.data = np.zeros(1)
    loss.backward()
    assert w.grad.tolist() == [2.0]
