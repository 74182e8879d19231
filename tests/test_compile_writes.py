"""Writes inside `mg.compile`: to what a step makes itself and to its state they are traced, to anything else refused at the line."""

import gc
import traceback

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.autograd import checkpoint
from minigrad.nn import functional as F

pytest.importorskip("mlx.core", exc_type=ImportError)
pytestmark = pytest.mark.usefixtures("compiles")


def vector(*values, **options):
    return mg.tensor([float(v) for v in values], **{"device": "mlx", **options})


def ramp(*shape):
    return mg.arange(int(np.prod(shape)), dtype="float32", device="mlx").reshape(*shape) / 8


def numbers(tree):
    if isinstance(tree, mg.Tensor):
        return [tree.numpy()]
    items = tree.values() if isinstance(tree, dict) else tree
    return [array for item in items for array in numbers(item)]


def same(play):
    """`play(wrap)` gives the same numbers with compiled steps, and nothing runs uncompiled; `wrap(step, state)`."""
    compiled = []

    def wrap(step, state=()):
        compiled.append(mg.compile(step, state=state))
        return compiled[-1]

    found, expected = numbers(play(wrap)), numbers(play(lambda step, state=(): step))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert all(run.info().uncompiled == 0 and run.info().traces for run in compiled)


# --- what a step makes -----------------------------------------------------------------------------------------------
def rows(x):
    y = mg.zeros(4, 3, device="mlx")
    for i in range(4):
        y[i] = x * i
    return y


def columns_of_a_view(x):
    y = mg.zeros(3, 3, device="mlx")
    t = y.t()
    t[0], t[:, 1] = x, x * 2
    y[1:].add_(1)
    return y, t


def gradients(x):
    w = x.clone().requires_grad_()
    y = w * 2
    y[0].mul_(3)
    y.view(3, 1)[1:] += w[:2, None]
    y.exp_()
    (y * y).sum().backward()
    return y, w.grad


def detached(x):
    y = x * 2
    d, e = y.detach(), y.data
    d.add_(1)
    e[0] = 7.0
    return y, d, e


def twins(x):
    y = z = x * 1
    y += 1
    return y, z


def in_a_checkpoint(x):
    w = x.clone().requires_grad_()

    def part(v):
        h = v * 2
        h[0] = v[1]
        h.tanh_()
        return h

    y = checkpoint(part, w)
    y.square().sum().backward()
    return y, w.grad


def a_helper_and_its_closure(x):
    total = mg.zeros(3, device="mlx")

    def add(v):
        total.add_(v)
        return total[1:]

    add(x)
    add(x)[0] = 9.0
    return total


def positions(x):
    y = x.clone()
    y[mg.tensor([2, 0], device="mlx")] = 5.0
    y[y > 4.5] = -1.0
    y.index_add_(0, mg.tensor([1, 1], device="mlx"), x[:2])
    return y.masked_fill_(x > 1, 0.5)


def in_place_layers(x):
    h = nn.ReLU(inplace=True)(x - 1)
    return h.relu_().clamp_(0, 1).copy_(h * 2)


def other_places(x):
    y = x[None] * 2
    y.squeeze_(0)
    z = x[None] * 1
    z.t_().mul_(2)
    v = x[:2]
    v.data = x[1:] * 2  # v leaves x
    v += 1
    return y, z, v


def thawed(x):
    w = x.detach().clone().requires_grad_()
    (w * x).sum().backward()
    w.grad.zero_()
    w.grad.data.add_(2)
    with mg.no_grad():
        w -= 0.5 * w.grad
    return w, w.grad


MADE = [rows, columns_of_a_view, gradients, detached, twins, in_a_checkpoint, a_helper_and_its_closure, positions]
MADE += [in_place_layers, other_places, thawed]


@pytest.mark.parametrize("step", MADE)
def test_what_a_step_makes_may_be_written(step):
    def play(wrap):
        run, x = wrap(step), vector(1, 2, 3)
        found = [run(x), run(x + 1)]
        return [*found, x]

    same(play)


def test_another_shape_is_traced_again():
    def step(x):
        y = mg.zeros(*x.shape, device="mlx")
        for i in range(len(x)):
            y[i] = x[i] * i
        y[-1:].neg_()
        return y

    def play(wrap):
        run = wrap(step)
        return [run(ramp(n, 2)) for n in (3, 5, 3)]

    same(play)


# --- the state ------------------------------------------------------------------------------------------------------
def no_grad_minus(p):
    with mg.no_grad():
        p -= 0.1 * p.grad


def data_minus(p):
    p.data -= 0.1 * p.grad


def data_add(p):
    p.data.add_(p.grad.data, alpha=-0.1)


def copied(p):
    with mg.no_grad():
        p.copy_(p - 0.1 * p.grad)


def row_by_row(p):
    with mg.no_grad():
        for row, g in zip(p, p.grad, strict=True):
            row.sub_(g * 0.1)


def clipped(p):
    p.grad.data.clamp_(-0.1, 0.1)
    p.grad.mul_(0.5)
    p.detach().sub_(p.grad)


def assigned(p):
    p.data = p.data - 0.1 * p.grad


@pytest.mark.parametrize("update", [no_grad_minus, data_minus, data_add, copied, row_by_row, clipped, assigned])
@pytest.mark.parametrize("zero", [True, False])
def test_optimizers_written_by_hand(update, zero):
    """With gradients that each step drops, or sets to zero in place, which compiled are carried."""

    def play(wrap):
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).to("mlx")
        for n, p in enumerate(model.parameters()):
            nn.init.constant_(p, 0.1 * (n + 1))
            if zero:
                p.grad = mg.zeros_like(p)
        views = [p.data for p in model.parameters()]

        def step(x, y):
            for p in model.parameters():
                if zero:
                    p.grad.zero_()
                else:
                    p.grad = None
            loss = F.mse_loss(model(x), y)
            loss.backward()
            for p in model.parameters():
                update(p)
            return loss

        run = wrap(step, [model])
        losses = [run(ramp(n, 3), mg.ones(n, 1, device="mlx")) for n in (4, 4, 2, 4)]
        assert losses[-1].item() < losses[0].item() and all(p.is_leaf and p.requires_grad for p in model.parameters())
        if update is not assigned:  # from which on they are apart
            assert all((v == p).all().item() for v, p in zip(views, model.parameters(), strict=True))
        return [*losses, *model.parameters(), *views]

    same(play)


def test_a_gradient_that_is_set_to_zero_in_place_is_the_callers():
    def play(wrap):
        w = nn.Parameter(vector(1, 2))
        held = w.grad = vector(3, 4)
        run = wrap(lambda: (w.grad.mul_(2), None)[1], [w])
        run(), run()
        assert w.grad is held
        return [held]

    same_but_for_results = play(lambda step, state: mg.compile(step, state=state)), play(lambda step, state: step)
    assert same_but_for_results[0][0].tolist() == same_but_for_results[1][0].tolist() == [12, 16]


class Buffers(nn.Module):
    def __init__(self):
        self.n, self.mean = nn.Buffer(mg.zeros((), device="mlx")), nn.Buffer(mg.zeros(3, device="mlx"))
        self.rows = nn.Buffer(mg.zeros(2, 3, device="mlx"))

    def forward(self, x):
        self.n += 1
        self.mean.mul_(0.9).add_(x.mean(0), alpha=0.1)
        self.rows[0] = x[0]
        self.rows.t()[1].add_(self.n)
        for b in self.buffers():
            b += 1
        return self.mean * x


def test_buffers():
    def play(wrap):
        model = Buffers()
        run = wrap(model.__call__, [model])
        return [*(run(ramp(4, 3) + i) for i in range(3)), *model.buffers()]

    same(play)


def test_averages():
    def play(wrap):
        model, average = nn.Linear(3, 2, device="mlx"), nn.Linear(3, 2, device="mlx")
        for n, p in enumerate([*model.parameters(), *average.parameters()]):
            nn.init.constant_(p, n + 1)

        def step(x):
            model.zero_grad()
            model(x).square().mean().backward()
            with mg.no_grad():
                for p, a in zip(model.parameters(), average.parameters(), strict=True):
                    p.sub_(p.grad, alpha=0.01)
                    a.mul_(0.9).add_(p, alpha=0.1)
            return average(x)

        run = wrap(step, [model, average])
        return [*(run(ramp(4, 3)) for _ in range(3)), *average.parameters()]

    same(play)


def test_views_of_the_state_made_before():
    """What shares memory with the state sees each step's values, and may be written in the step where the state holds all of it."""

    def play(wrap):
        t = ramp(3, 4)
        d, row, turned, flat = t.data, t[1], t.t(), t.view(-1)

        def step(x):
            t.mul_(2)
            d[0] = x
            row.add_(1)
            turned[3] -= 5
            inner = flat[2:4]
            inner.zero_()
            return t.sum() + d[0] + inner.sum()

        run = wrap(step, [t])
        found = [run(vector(1, 2, 3, 4)), run(vector(5, 6, 7, 8))]
        t[2, 2] = 9.0  # between the steps, too
        row[0] = 3.0
        return [*found, run(vector(1, 1, 1, 1)), t, d, row, turned, flat]

    same(play)


@pytest.mark.parametrize("names", ["view", "both", "turned", "parameters"])
def test_a_state_that_is_a_view(names):
    """Of a tensor that isn't in the state, or is, too; and several of one memory, as the parts of a flat buffer."""

    def play(wrap):
        flat = ramp(12)
        a, b, turned = flat[:4], flat[4:].view(2, 4), flat.view(3, 4).t()
        state = {
            "view": [a, b],
            "both": [a, flat, b],
            "turned": [turned],
            "parameters": [nn.Parameter(a), nn.Parameter(b), nn.Parameter(flat[2:6])],
        }[names]

        def step(x):
            with mg.no_grad():
                for t in state:
                    t += x
                    t.data.mul_(1.5)
                if names in ("both", "turned"):
                    flat[5] = x
            return sum(t.sum() for t in state)

        run = wrap(step, state)
        return [*(run(vector(i).sum()) for i in range(3)), flat, a, b, turned, *state]

    same(play)


def test_a_state_that_gets_a_history():
    """Outside it has none: results of a compiled step never have."""
    n, w = mg.zeros((), device="mlx"), vector(1, 2, requires_grad=True)
    view = n.view(1)

    def step(x):
        n.add_((w * x).sum())
        n.backward()
        return n

    run = mg.compile(step, state=[n, w])
    for i in range(1, 3):
        assert run(vector(1, 1)).item() == 3 * i == n.item() == view.item()
        assert n.is_leaf and not n.requires_grad and view.is_leaf and not view.requires_grad
        assert w.grad.tolist() == [i, i]


def test_a_state_that_had_a_history():
    """It has none after a step that gives it another."""
    w = vector(1, 2, requires_grad=True)
    t, kept = w * 2, w * 3

    def step(x):
        t.mul_(x * w)
        return kept * x

    assert mg.compile(step, state=[w, t, kept])(vector(5, 5)).tolist() == [15, 30] and t.tolist() == [10, 40]
    assert t.is_leaf and not t.requires_grad and kept.requires_grad and not kept.is_leaf


def test_gradients_of_parameters_that_share_a_memory():
    """Those that the step doesn't update keep theirs."""
    flat = ramp(4)
    a, b = nn.Parameter(flat[:2]), nn.Parameter(flat[2:])
    run = mg.compile(lambda: (a.sum() + 2 * b.sum()).backward(), state=[a, b])
    run()
    assert (a.grad.tolist(), b.grad.tolist()) == ([1, 1], [2, 2])


def test_a_state_that_changes_its_shape():
    def play(wrap):
        t = ramp(2, 3)

        def step(x):
            t.t_()
            t.add_(x)
            return t.sum(0)

        run = wrap(step, [t])
        return [*(run(vector(1)) for _ in range(3)), t]

    same(play)
    t = ramp(2, 3)
    d = t.data
    with pytest.raises(
        mg.CompileError, match=r"now of shape \(3, 2\), another shape in place, and others share its memory"
    ):
        mg.compile(lambda: t.t_() * 1, state=[t])()
    assert t.tolist() == d.tolist() == ramp(2, 3).tolist()


def test_a_state_that_leaves_its_memory():
    def play(wrap):
        t = ramp(3)
        d = t.data

        def step(x):
            t.data = x * 2
            t.add_(1)
            return d * 1

        run = wrap(step, [t])
        first = [run(vector(1, 2, 3)), t.clone(), d.clone()]
        later = t.data  # shares what t has now, until the next step
        return [*first, run(vector(4, 5, 6)) if wrap is None else t, later, d]

    same(play)


def test_a_state_whose_tensors_share_memory_no_longer():
    """What a write to one of them changes is another thing then, and traced again."""

    def play(wrap):
        a = ramp(3)
        b = a[:2]

        def step(x):
            a.add_(x)
            return b * 1

        run = wrap(step, [a, b])
        found = [run(vector(1)), run(vector(1))]
        a.data = ramp(3)
        found += [run(vector(1)), a.clone(), b.clone()]
        b.data = a[1:]
        return [*found, run(vector(1)), a, b]

    same(play)


def test_a_state_that_joins_another_memory():
    a, b, outside = ramp(2), ramp(2) + 1, ramp(2) + 2

    def share(t):
        a.data = t

    for other in (b, outside, b.data):
        run = mg.compile(lambda other=None, of=other: share(of), state=[a, b])
        with pytest.raises(mg.CompileError, match="share memory with another .* copy_"):
            run()
        a.add_(1).sub_(1)
        assert [t.tolist() for t in (a, b, outside)] == [[0, 0.125], [1, 1.125], [2, 2.125]]
    run = mg.compile(share, state=[a])  # an argument's values arrive
    run(outside)
    assert a.tolist() == [2, 2.125]


def test_a_group_of_an_optimizer_is_a_number():
    """`rate *= 2` makes another number, as it does uncompiled."""

    def play(wrap):
        w = nn.Parameter(vector(1, 2))
        optimizer = mg.optim.SGD([w], lr=0.5)

        def step(x):
            rate = first = optimizer.param_groups[0]["lr"]
            rate *= 2
            return x * rate + first

        return [wrap(step, [w, optimizer])(vector(1, 2))]

    same(play)


# --- what is refused ----------------------------------------------------------------------------------------------------
def data_of(t):
    t.data.add_(1)


def item(t):
    t[0] = 1.0


def plus(t):
    t += 1


def through_views(t):
    view = t.view(1, -1).t()
    view[1:].mul_(2)


def place(t):
    t.data = t * 2


def turned_in_place(t):
    t.unsqueeze_(0)


def flag(t):
    t.requires_grad_()


def with_a_gradient(t):
    w = (t * 1).requires_grad_()
    t.mul_(w)


WRITES = [data_of, item, plus, through_views, place, turned_in_place, flag, with_a_gradient]


@pytest.mark.parametrize("device", ["mlx", "cpu"])
@pytest.mark.parametrize("what", ["argument", "view as argument", "outside", "view of outside", "detached"])
@pytest.mark.parametrize("write", WRITES)
def test_writes_that_are_refused(write, what, device):
    base, count = vector(1, 2, 3, device=device), mg.zeros((), device=device)
    tensors = {
        "argument": base,
        "view as argument": base[:2],
        "outside": base,
        "view of outside": base[:2],
        "detached": base.detach(),
    }
    t, after = tensors[what], []

    def step(x):
        count.add_(1)
        y = x * 2
        y += 1
        write(x if "argument" in what else t)
        after.append(1)
        return y

    state = [count]
    for _ in range(2):
        run = mg.compile(step, state=state)
        with pytest.raises(mg.CompileError) as caught:
            run(t if "argument" in what else t.clone())
        words = "an argument of the compiled step, of shape" if "argument" in what else "that is not in the state"
        assert words in str(caught.value) and "clone()" in str(caught.value)
        assert [f.name for f in traceback.extract_tb(caught.value.__traceback__) if f.filename == __file__][
            -1
        ] == write.__name__
        assert not after and base.tolist() == [1, 2, 3] and base.shape == (3,) and count.item() == 0
        assert not any(x.requires_grad or not x.is_leaf for x in (base, t, count))
    item(base)  # still shared
    assert t[0].item() == 1 and (t is base or t._ties.memory is base._ties.memory)


@pytest.mark.parametrize("device", ["mlx", "cpu"])
def test_the_same_under_its_name_in_the_state(device):
    for write in (data_of, item, plus, through_views, with_a_gradient, place):
        t, plain = vector(1, 2, 3, device=device), vector(1, 2, 3, device=device)

        def step(x, write=write, t=t):
            write(t)
            return x * t

        assert mg.compile(step, state=[t])(vector(1, 1, 1, device=device)).tolist() == (write(plain), plain.tolist())[1]
        assert t.tolist() == plain.tolist()


def test_a_part_of_the_state_is_not_the_whole():
    flat = ramp(4)
    part = flat[:2]
    for write in (lambda: flat.zero_(), lambda: flat[1:].add_(1), lambda: flat.view(2, 2).t().add_(1)):
        with pytest.raises(mg.CompileError, match=r"shape \(4,\) that is not in the state"):
            mg.compile(lambda write=write: (write(), part * 1)[1], state=[part])()
        assert flat.tolist() == ramp(4).tolist()
    mg.compile(lambda: flat[:2][0].add_(1), state=[part])()
    assert flat.tolist() == [1, 0.125, 0.25, 0.375] and part.tolist() == [1, 0.125]


@pytest.mark.parametrize("device", ["mlx", "cpu"])
def test_an_argument_that_shares_memory_with_the_state(device):
    """It may be read, and the state not be written: of its two values in the step the compiled one knows one."""
    t = vector(1, 2, device=device)
    row, x = t[:1], vector(1, device=device)

    def step(x, write):
        y = x * 2
        if write:
            t.add_(1)
        return y + x

    run = mg.compile(step, state=[t])
    for shared in (row, t):
        if device == "mlx":
            assert run(x, True).item() == 3 if shared is row else True
        values = t.tolist()
        for _ in range(2):
            with pytest.raises(mg.CompileError, match="an argument of the compiled step, .* is changed by it"):
                (run if device == "mlx" else mg.compile(step, state=[t]))(shared, True)
            assert t.tolist() == values and row.tolist() == values[:1]
        assert run(shared, False).tolist() == [3 * v for v in shared.tolist()]


def test_what_an_earlier_trace_left_is_outside():
    left = []

    def step(x):
        if left:
            left[0].add_(1)
        left.append(x * 2)
        return x + 1

    run = mg.compile(step)
    run(vector(1))
    with pytest.raises(mg.CompileError, match="that is not in the state"):
        run(vector(1, 2))


def test_tensors_made_between_the_traces_are_outside():
    held = {}

    def step(x):
        if x.ndim == 2:
            held["t"].add_(1)
        return x * 2

    run = mg.compile(step)
    run(vector(1))
    for _ in range(3):
        held["t"] = vector(5)
        with pytest.raises(mg.CompileError, match="that is not in the state"):
            run(ramp(1, 2))
        assert held["t"].item() == 5


def test_ids_of_tensors_that_are_no_more():
    """Those that a step makes get them, and are its own."""
    held = [vector(i) for i in range(50)]
    ids = set(map(id, held))

    def step(x):
        held.clear()
        mine = [x * i for i in range(200)]
        reused = [t for t in mine if id(t) in ids]
        for t in reused:
            t.add_(1)
        found.append(len(reused))
        return sum(reused)

    found = []
    mg.compile(step)(vector(1))
    assert found[0] > 0


def test_tensors_that_the_collector_was_told_to_leave_alone():
    outside, run = vector(1), mg.compile(lambda x: outside.add_(x) * 1)
    gc.freeze()
    try:
        with pytest.raises(mg.CompileError, match="that is not in the state"):
            run(vector(1))
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_a_gradient_for_a_leaf_from_outside():
    w, mine = vector(1, 2, requires_grad=True), nn.Parameter(vector(1, 2))

    def step(x):
        (mine * w * x).sum().backward()
        return x * 1

    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"a leaf of shape \(2,\) that is not in the state .* gets a gradient"):
            mg.compile(step, state=[mine])(vector(1, 1))
        assert w.grad is None and mine.grad is None


@pytest.mark.parametrize("device", ["mlx", "cpu"])
def test_after_an_exception_everything_is_as_before(device):
    class Stop(Exception):
        pass

    model = nn.Linear(3, 2, device=device)
    t = mg.tensor(np.arange(6, dtype=np.float32).reshape(2, 3), device=device)
    row, d, column, w = t[0], t.data, t.t()[1], model.weight.data
    held = model.bias.grad = mg.ones(2, device=device)
    everything = [t, row, d, column, w, held, *model.parameters()]
    before = [(x.tolist(), x.shape, x._ties, x._edge, x.requires_grad) for x in everything]

    def step(x):
        t.add_(x)
        row[1] = 100.0
        w.zero_()
        t.mul_(model.weight)  # t, and its views, get a history
        model(x).sum().backward()
        model.bias.grad.zero_()
        model.bias.requires_grad_(False)
        t.data = t.t() * 2
        raise Stop

    run = mg.compile(step, state=[model, t])
    for _ in range(2):
        with pytest.raises(Stop):
            run(mg.ones(3, device=device))
        if device == "cpu" and run.guarded:
            break
        assert [(x.tolist(), x.shape, x._ties, x._edge, x.requires_grad) for x in everything] == before
        assert model.bias.grad is held and model.weight.grad is None
    t.add_(1)
    assert not t.requires_grad and t.is_leaf
    assert row.tolist() == t[0].tolist() == d[0].tolist() and column.tolist() == t[:, 1].tolist()


def test_what_shares_an_array_with_an_argument_or_the_state_is_a_constant():
    x, t = vector(1, 2), vector(3, 4)
    detached, cloned, part = x.detach(), t.clone(), vector(5, 6)[:1]

    def step(v):
        t.add_(v)
        return v + detached + cloned + part + t

    run = mg.compile(step, state=[t])
    for i in (1, 2):
        assert run(x).tolist() == step_by_hand(i)
    assert cloned.tolist() == [3, 4] and t.tolist() == [5, 8]


def step_by_hand(i):
    return [1 + 1 + 3 + 5 + 3 + i, 2 + 2 + 4 + 5 + 4 + 2 * i]


def test_a_caught_refusal():
    """A step that goes on after it gives what it gives without the write."""
    outside = vector(1)

    def step(x):
        try:
            outside.add_(x)
        except mg.CompileError:
            return x * 2
        return x

    run = mg.compile(step)
    assert run(vector(3)).item() == run(vector(3)).item() == 6 and outside.item() == 1


# --- on numpy -----------------------------------------------------------------------------------------------------------
def test_on_numpy_the_first_call_refuses_what_a_trace_would():
    model = nn.Linear(2, 2, device="cpu")
    optimizer, seen = mg.optim.Adam(model.parameters(), lr=0.1), mg.zeros((), device="cpu")

    def step(x, write=None):
        optimizer.zero_grad()
        h = F.dropout(x * 1, 0.5)
        h[0].normal_()
        loss = model(h).square().sum()
        loss.backward()
        optimizer.step()
        if write is not None:
            write.add_(1)
        return loss

    run, x = mg.compile(step, state=[model, optimizer]), mg.ones(2, 2, device="cpu")
    before = [p.tolist() for p in model.parameters()]
    for write, words in ((seen, "that is not in the state"), (x, "an argument")):
        for _ in range(2):
            with pytest.raises(mg.CompileError, match=words if write is x else "an argument"):
                run(x, write)
        with pytest.raises(mg.CompileError, match=words):
            mg.compile(lambda x, w=write: step(x, w), state=[model, optimizer])(x)
        assert [p.tolist() for p in model.parameters()] == before and seen.item() == 0
    for p in model.parameters():
        p.grad = mg.zeros_like(p)
    assert [run(x).item() >= 0 for _ in range(3)] == [True] * 3
    assert run.info().calls == 7 and run.info().uncompiled == 7
