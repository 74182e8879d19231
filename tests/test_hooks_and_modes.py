"""Hooks on gradients, the modes no_grad, enable_grad and observe, and the search for the first NaN."""

import sys
import threading
import warnings

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.engine.modes import state


def leaf(*values, device=None):
    return mg.tensor(values, dtype="float32" if device == "mlx" else "float64", device=device, requires_grad=True)


# --- hooks --------------------------------------------------------------------------------------------------------------
def test_hooks_see_replace_and_go(device):
    x = leaf(1.0, 2.0, device=device)
    y = x * 3
    seen = []
    remove_leaf = x.register_hook(lambda g: seen.append(("x", g.tolist())))
    remove_inner = y.register_hook(lambda g: seen.append(("y", g.tolist())))
    y.register_hook(lambda g: g * 10)
    (y * y).sum().backward(retain_graph=True)
    assert seen == [("y", [6.0, 12.0]), ("x", [180.0, 360.0])] and x.grad.tolist() == [180.0, 360.0]
    seen.clear()
    for remove in (remove_leaf, remove_inner, remove_inner):
        remove()
    (y * y).sum().backward()
    assert seen == [] and x.grad.tolist() == [360.0, 720.0]


def test_a_hook_sees_the_whole_gradient_once():
    """On a shared node after all its consumers; on a leaf after all its uses, before it is added to `.grad`."""
    x = leaf(2.0)
    y = x * 1
    calls = []
    y.register_hook(lambda g: calls.append(g.item()))
    x.register_hook(lambda g: calls.append(g.item()))
    (y * 2 + y * y + x).sum().backward()
    x.backward(mg.tensor([0.5]))
    assert calls == [6.0, 7.0, 0.5] and x.grad.item() == 7.5


def test_several_hooks_on_a_leaf_can_be_removed_in_any_order():
    x = leaf(1.0)
    removals = [x.register_hook(lambda g, factor=factor: g * factor) for factor in (2, 3, 5)]
    for left, i in ((30.0, None), (15.0, 0), (3.0, 2), (1.0, 1)):
        if i is not None:
            removals[i]()
        assert mg.grad((x * 1).sum(), x)[0].item() == left


def test_a_hook_gives_a_tensor_or_nothing():
    x = leaf(1.0)
    x.register_hook(lambda g: 3.0)
    with pytest.raises(TypeError, match="hook.*tensor.*float"):
        (x * 2).sum().backward()
    for wrong in (3, None):
        with pytest.raises(TypeError, match="a hook must be a function"):
            x.register_hook(wrong)
    with pytest.raises(TypeError, match="attn_mask must be boolean.*int64"):
        q = mg.randn(1, 2, 4)
        nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=mg.ones(2, 2, dtype="int64"))


def test_a_hook_on_one_output_of_several():
    x = leaf(1.0, 2.0)
    a, b = x.unbind(0)
    assert a.numpy().shape == () and isinstance(a.array, np.ndarray)
    a.register_hook(lambda g: g * 100)
    b.retain_grad()
    (a + b * 2).backward()
    assert x.grad.tolist() == [100.0, 2.0] and b.grad.item() == 2.0


def test_grad_leaves_branches_alone_that_lead_elsewhere():
    x, z, seen = leaf(2.0), leaf(3.0), []
    y = z * 2
    y.register_hook(seen.append)
    z.register_hook(seen.append)
    y.retain_grad()
    loss = (x * y).sum()
    assert mg.grad(loss, x, retain_graph=True)[0].tolist() == [6.0]
    assert seen == [] and y.grad is None
    assert mg.grad(loss, y, retain_graph=True)[0].tolist() == [2.0] and len(seen) == 1 and y.grad.tolist() == [2.0]
    assert mg.grad(loss, z)[0].tolist() == [4.0] and len(seen) == 3


def test_an_input_named_twice_has_its_hooks_run_once():
    x, seen = leaf(2.0), []
    x.register_hook(lambda g: seen.append(g) or g * 2)
    y = x * 3
    y.register_hook(lambda g: seen.append(g) or g * 5)
    found = mg.grad((y * y).sum(), [x, y, x, y])
    assert [g.item() for g in found] == [360.0, 60.0, 360.0, 60.0] and len(seen) == 2


def test_a_leaf_switched_off_after_the_forward_gets_no_gradient():
    x, seen = leaf(2.0), []
    x.register_hook(seen.append)
    y = (x * 3).sum()
    x.requires_grad_(False)
    y.backward()
    assert x.grad is None and len(seen) == 1


def test_retain_grad(device):
    x = leaf(2.0, device=device)
    y = x * x
    assert y.retain_grad() is None and y.grad is None
    (y * 3).sum().backward(retain_graph=True)
    assert y.grad.tolist() == [3.0]
    (y * 3).sum().backward()
    assert y.grad.tolist() == [6.0]
    x.retain_grad()  # a leaf keeps its gradient anyway
    with pytest.raises(RuntimeError, match="retain_grad.*requires a gradient"):
        y.detach().retain_grad()


def test_retain_grad_twice_is_once(device):
    x = leaf(2.0, device=device)
    y = x * x
    y.retain_grad()
    y.retain_grad()
    (y * 3).sum().backward()
    assert y.grad.tolist() == [3.0]
    a, b = leaf(1.0, 2.0, device=device).unbind(0)
    for t in (a, b, b):
        t.retain_grad()
    (a * 5 + b * 7).backward()
    assert (a.grad.item(), b.grad.item()) == (5.0, 7.0)


@pytest.mark.parametrize("first", ["hook", "retain"])
def test_a_retained_gradient_is_what_the_hooks_leave(first):
    x = leaf(2.0)
    y = x * x
    if first == "retain":
        y.retain_grad()
    y.register_hook(lambda g: g * 10)
    y.register_hook(lambda g: g + 1)
    if first == "hook":
        y.retain_grad()
    (y * 3).sum().backward()
    assert y.grad.tolist() == [31.0] and x.grad.tolist() == [124.0]


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("wrong", ["shape", "dtype"])
@pytest.mark.parametrize("on", ["leaf", "result"])
def test_a_hook_keeps_shape_and_dtype(on, wrong, create_graph):
    x = leaf(1.0, 2.0)
    y = x * 2
    (x if on == "leaf" else y).register_hook(lambda g: g.sum() if wrong == "shape" else g.float())
    message = r"hook.*float64 \(2,\).*returned " + (r"float64 \(\)" if wrong == "shape" else r"float32 \(2,\)")
    with pytest.raises(RuntimeError, match=message):
        y.sum().backward(create_graph=create_graph)
    with pytest.raises(RuntimeError, match=message):
        mg.grad((x * 2 if on == "leaf" else y).sum(), x, create_graph=create_graph)


def test_the_gradient_of_a_result_warns(device):
    x = leaf(1.0, device=device)
    y = x * 2
    with pytest.warns(UserWarning, match="retain_grad"):
        assert y.grad is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y.retain_grad()
        assert y.grad is None and x.grad is None and (x * 2).detach().grad is None
        y.sum().backward()
        assert y.grad.tolist() == [1.0]
    with pytest.raises(TypeError, match="float"):
        x.grad = 3.0


def test_hooks_of_shared_inputs_run_once_under_create_graph(device):
    """The second derivative of a fused operation goes through its definition, by copies of the inputs."""
    x = mg.randn(1, 3, 4, device=device, requires_grad=True)
    q, seen = x * 1, []
    q.register_hook(lambda g: seen.append(g))
    q.retain_grad()
    y = nn.functional.scaled_dot_product_attention(q, q, q)
    y.square().sum().backward(create_graph=True)
    assert len(seen) == 1
    np.testing.assert_allclose(q.grad.detach().numpy(), seen[0].detach().numpy())
    z = x.detach().requires_grad_()
    nn.functional.scaled_dot_product_attention(z, z, z).square().sum().backward()
    np.testing.assert_allclose(x.grad.detach().numpy(), z.grad.numpy(), rtol=2e-5, atol=1e-6)


def test_backward_again_through_what_kept_nothing(device):
    """Inputs made once before a loop: only what kept arrays is used up by a backward."""
    x = mg.tensor([1.0, 2.0], device=device, requires_grad=True)
    h = (x.half().float() + 1).reshape(2, 1).permute(1, 0)
    for k in range(3):
        (h * h).sum().backward()
        assert x.grad.tolist() == [4.0 * (k + 1), 6.0 * (k + 1)]
    trunk = x.exp() + 0
    trunk.sum().backward()
    with pytest.raises(RuntimeError, match="through exp was already used and freed"):
        trunk.sum().backward()
    with pytest.raises(RuntimeError, match="through exp was already used and freed"):
        mg.grad((trunk * 2).sum(), x, allow_unused=True)


def test_backward_inside_a_hook():
    x, z = leaf(2.0), leaf(3.0)
    inner = []

    def hook(g):
        with mg.enable_grad():
            (z * z * g.detach()).sum().backward()
            (x * 100).sum().backward()  # even to a leaf of the walk under way
        inner.append(mg.is_grad_enabled())

    y = x * 5
    y.register_hook(hook)
    (y * y).sum().backward()
    assert z.grad.tolist() == [120.0] and x.grad.tolist() == [200.0] and inner == [False]
    assert mg.is_grad_enabled()


# --- modes --------------------------------------------------------------------------------------------------------------
def test_no_grad_and_enable_grad():
    x = leaf(1.0)
    with mg.no_grad():
        assert not mg.is_grad_enabled() and not (x * 2).requires_grad
        with mg.enable_grad():
            assert (x * 2).requires_grad
            with mg.no_grad():
                assert not (x * 2).requires_grad
            assert mg.is_grad_enabled()
        assert not mg.is_grad_enabled()
        with pytest.raises(ZeroDivisionError), mg.enable_grad():
            raise ZeroDivisionError
        assert not mg.is_grad_enabled()
        assert mg.ones(1, requires_grad=True).requires_grad  # a leaf is a leaf
    assert (x * 2).requires_grad

    @mg.no_grad()
    def frozen(n):
        return (x * 2).requires_grad or (frozen(n - 1) if n else False) or trained()

    @mg.enable_grad()
    def trained():
        return not (x * 2).requires_grad

    assert not frozen(3) and mg.is_grad_enabled() and frozen.__name__ == "frozen"


def modes():
    found = [mg.is_grad_enabled()]
    sent = yield "first"
    found += [mg.is_grad_enabled(), sent]
    try:
        yield "second"
    except KeyError:
        found.append(mg.is_grad_enabled())
    yield found
    return "end"


@pytest.mark.parametrize("switch", [mg.no_grad(), mg.no_grad])
def test_a_decorated_generator_has_the_mode_whenever_it_runs(switch):
    generator = switch(modes)()
    assert next(generator) == "first" and mg.is_grad_enabled()
    assert generator.send(5) == "second" and mg.is_grad_enabled()
    assert generator.throw(KeyError("x")) == [False, False, 5, False] and mg.is_grad_enabled()
    with pytest.raises(StopIteration, match="end"):
        next(generator)
    closed = []

    @switch
    def endless():
        try:
            while True:
                yield mg.is_grad_enabled()
        finally:
            closed.append(mg.is_grad_enabled())

    with mg.enable_grad():
        generator = endless()
        assert next(generator) is False
        generator.close()
        assert closed == [False] and mg.is_grad_enabled()


@pytest.mark.parametrize("switch", [mg.autocast("float16"), mg.autograd.detect_anomaly(), mg.autograd.observe(print)])
def test_the_other_switches_decorate_generators_too(switch):
    states = []

    @switch
    def twice():
        for _ in range(2):
            states.append((mg.is_autocast_enabled(), len(state.backward_observers), len(state.observers)))
            yield

    outside = (False, 0, 0)
    for _ in twice():
        assert (mg.is_autocast_enabled(), len(state.backward_observers), len(state.observers)) == outside
    assert len(states) == 2 and states[0] == states[1] != outside


def test_no_grad_without_brackets():
    x = leaf(1.0)

    @mg.no_grad
    def frozen(y, *, factor):
        "Text."
        return y * factor

    @mg.enable_grad
    def trained(y):
        return y * 2

    assert not frozen(x, factor=2).requires_grad and frozen.__doc__ == "Text." and mg.is_grad_enabled()
    with mg.no_grad():
        assert trained(x).requires_grad
    for wrong in (3, True, "x"):
        with pytest.raises(TypeError, match="decorates a function"):
            mg.no_grad(wrong)


def test_switches_refuse_what_they_cannot_decorate():
    async def work():
        pass

    async def values():
        yield 1

    for switch in (mg.no_grad(), mg.enable_grad(), mg.autocast("float16"), mg.autograd.detect_anomaly()):
        for function in (work, values):
            with pytest.raises(TypeError, match="async"):
                switch(function)
        with pytest.raises(TypeError, match="methods"):
            switch(type("Some", (), {}))


def test_modes_belong_to_their_thread():
    """One decorated function in two threads at once, the second of them inside no_grad: each finds its own mode again."""
    first_in, second_in, first_out, found = *(threading.Event() for _ in range(3)), {}

    @mg.no_grad()
    def work(entered, until):
        entered.set()
        until.wait(10)
        return mg.is_grad_enabled()

    def first():
        found["first"] = mg.is_grad_enabled(), work(first_in, second_in), mg.is_grad_enabled()
        first_out.set()

    def second():
        first_in.wait(10)
        with mg.no_grad():
            found["second"] = work(second_in, first_out), mg.is_grad_enabled()

    threads = [threading.Thread(target=f) for f in (first, second)]
    with mg.no_grad():  # a new thread doesn't inherit it
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert found == {"first": (True, False, True), "second": (False, False)}


def test_a_device_block_belongs_to_its_thread():
    pytest.importorskip("mlx.core", exc_type=ImportError)
    entered, found, left = threading.Event(), [], threading.Event()

    def work():
        with mg.device("mlx"):
            found.append(mg.get_default_device())
            entered.set()
            left.wait(10)
            found.append(mg.get_default_device())

    thread = threading.Thread(target=work)
    thread.start()
    entered.wait(10)
    with mg.device("cpu"):
        found.append(mg.zeros(1).device)
        left.set()
        thread.join()
    assert found == ["mlx", "cpu", "mlx"] and mg.get_default_device() == "cpu"


def test_backward_in_several_threads():
    results = {}

    def work(k):
        for _ in range(20):
            x = leaf(1.0 * k)
            (x * x * x).exp().log().sum().backward()
            results.setdefault(k, set()).add(round(x.grad.item(), 9))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == {k: {3.0 * k * k} for k in range(1, 5)}


def test_threads_that_share_a_leaf_lose_no_gradient():
    """On the CPU: MLX's arrays belong to the thread that makes them."""
    x, count = mg.zeros(200_000, requires_grad=True), 40
    barrier, ones = threading.Barrier(4), mg.ones(200_000)

    def work():
        barrier.wait()
        for _ in range(count):
            (x * 1).backward(ones)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        sys.setswitchinterval(before)
    assert (x.grad.numpy() == 4 * count).all()


def test_an_observer_of_gradients_added_up_may_go_back_itself():
    x, z = leaf(1.0), leaf(2.0)
    (x * 2).sum().backward()
    calls = []

    def observer(name, inputs, output, static):
        if not calls:
            calls.append(name)
            with mg.enable_grad():
                (z * z).sum().backward()

    loss = (x * 3).sum()
    with mg.autograd.observe(observer):
        loss.backward()
    assert calls == ["add"] and x.grad.tolist() == [5.0] and z.grad.tolist() == [4.0]


def test_observers_see_every_operation():
    outer, inner = [], []
    x = leaf(1.0)
    with mg.autograd.observe(lambda name, inputs, output, static: outer.append((name, len(inputs), output.shape))):
        y = x * 2
        with mg.autograd.observe(lambda name, *_: inner.append(name)), mg.no_grad():
            x.sin()
        y = y.sum()
        y.backward()
    _ = x + 1
    assert outer == [("mul", 2, (1,)), ("sin", 1, (1,)), ("sum", 1, ())] and inner == ["sin"]


# --- anomalies ----------------------------------------------------------------------------------------------------------
def test_detect_anomaly_names_the_line(device):
    x = mg.tensor([0.0, 1.0], device=device, requires_grad=True)
    with mg.autograd.detect_anomaly():
        with pytest.raises(
            FloatingPointError, match=r"(?s)^log made -inf .*test_hooks_and_modes\.py:\d+: y = x\.log\(\)  # here"
        ):
            y = x.log()  # here
        y = x.sqrt()  # there
        with pytest.raises(FloatingPointError, match=r"gradient of sqrt became (nan|inf).*: y = x\.sqrt\(\)  # there"):
            y.sum().backward()
    assert x.log().tolist()[0] == -np.inf  # and nothing is looked for outside


def test_detect_anomaly_lets_infinite_inputs_pass():
    q = mg.randn(1, 3, 4, requires_grad=True)
    with mg.autograd.detect_anomaly():
        nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True).sum().backward()
        mg.tensor([1.0, 2.0]).masked_fill(mg.tensor([True, False]), -np.inf).exp()
        assert (mg.tensor([np.inf]) * 2).item() == np.inf
