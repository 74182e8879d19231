"""mg.compile on MLX against the same steps run operation by operation, and what it says where it can't compile."""

import gc
import weakref

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F
from minigrad.optim.lr_scheduler import ExponentialLR, LambdaLR, OneCycleLR

mx = pytest.importorskip("mlx.core", exc_type=ImportError)
pytestmark = pytest.mark.usefixtures("compiles")


class Net(nn.Module):
    """A bit of everything that carries state: weights, dropout, batch statistics."""

    def __init__(self, width=8):
        self.first = nn.Linear(6, width, bias=False)  # its gradient before a norm would be noise
        self.norm = nn.BatchNorm1d(width)
        self.drop = nn.Dropout(0.25)
        self.second = nn.Linear(width, 3)
        self.seen = None

    def forward(self, x):
        hidden = self.drop(self.norm(self.first(x)).relu())
        return self.second(hidden)


class Job:
    """A model, its optimizer and average, and a step; the same one each time."""

    def __init__(self, compiled=True, optimizer=mg.optim.AdamW, device="mlx", width=8, **options):
        mg.manual_seed(0)
        self.model = Net(width).to(device)
        self.optimizer = optimizer(self.model.parameters(), **{"lr": 0.05, **options})
        self.ema = mg.optim.EMA(self.model, 0.9, warmup=True)
        self.device = device
        self.state = [self.model, self.optimizer, self.ema]
        self.run = mg.compile(self.step, state=self.state) if compiled else self.step
        mg.manual_seed(1)

    def step(self, x, y, fail=False, scale=1.0):
        loss = F.cross_entropy(self.model(x), y) * scale
        if self.model.training:
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.ema.update()
        if fail:
            raise KeyError("half-way")
        return loss

    def batch(self, number, size=5):
        rng = np.random.default_rng(number)
        x, y = rng.normal(size=(size, 6)).astype(np.float32), rng.integers(0, 3, size)
        return mg.tensor(x, device=self.device), mg.tensor(y, device=self.device)

    def everything(self):
        """Every number that is carried."""
        tensors = {**self.model.state_dict(), **{f"ema.{k}": v for k, v in self.ema.state_dict().items()}}
        slots, _ = mg.optim.flatten_state(self.optimizer.state_dict())
        return {**{k: v.numpy() for k, v in (tensors | slots).items()}, "random": mg.random.default.state}


def assert_same(a, b, tolerance=1e-6):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=tolerance, atol=tolerance, err_msg=name)


def both(play, **options):
    """What `play(job)` returns and leaves behind is the same compiled and not; the compiled job."""
    jobs = [Job(compiled, **options) for compiled in (False, True)]
    results, states = [], []
    for job in jobs:
        mg.manual_seed(1)
        results.append(play(job))
        states.append(job.everything())
    np.testing.assert_allclose(results[1], results[0], rtol=1e-6, atol=1e-6)
    assert_same(states[1], states[0])
    return jobs[1]


def test_a_life_with_changes():
    """Learning rate, mode, batch size and weights change between steps, as they may without compiling."""

    def play(job):
        losses, snapshot = [], None
        for i in range(16):
            if i == 4:
                job.optimizer.param_groups[0]["lr"] = 0.5
            if i in (6, 12):
                job.model.eval()
            if i in (8, 14):
                job.model.train()
            if i == 10:
                job.model.load_state_dict(snapshot[0])
                job.optimizer.load_state_dict(snapshot[1])
            losses.append(job.run(*job.batch(i, size=4 if 8 <= i < 10 else 5)).item())
            if i == 5:
                weights = {name: t.clone() for name, t in job.model.state_dict().items()}
                snapshot = weights, job.optimizer.state_dict()
        return losses

    info = both(play).run.info()
    assert (info.calls, info.uncompiled, info.reason) == (16, 1, None)
    assert [(t.arguments.split(",")[0][-2:], t.mode) for t in info.traces] == [
        ("(5", "training"),
        ("(5", "evaluation"),
        ("(4", "training"),
    ]
    assert all(t.seconds > 0 for t in info.traces) and "training" in str(info)


@pytest.mark.parametrize("optimizer, options", [(mg.optim.SGD, {"momentum": 0.9}), (mg.optim.Adam, {"amsgrad": True})])
def test_options_that_a_schedule_changes(optimizer, options):
    """OneCycleLR moves the momentum or β₁ with the learning rate: one more trace when it first moves, none later."""

    def play(job):
        schedule = OneCycleLR(job.optimizer, max_lr=0.05, total_steps=9, cycle_momentum=True)
        losses = []
        for i in range(8):
            losses.append(job.run(*job.batch(i)).item())
            schedule.step()
        return losses

    assert len(both(play, optimizer=optimizer, **options).run.info().traces) == 1


def test_dropout_draws_anew():
    model, x = nn.Dropout(0.5), mg.ones(64, device="mlx")
    run = mg.compile(lambda x: model(x), state=[model])
    mg.manual_seed(3)
    compiled = [run(x).tolist() for _ in range(4)]
    mg.manual_seed(3)
    assert compiled == [model(x).tolist() for _ in range(4)] and compiled[0] != compiled[1]


def test_more_draws_than_keys():
    x = mg.ones(4, device="mlx")
    run = mg.compile(lambda x: mg.stack([F.dropout(x, 0.5) for _ in range(70)]))
    mg.manual_seed(3)
    compiled = run(x).tolist()
    mg.manual_seed(3)
    assert compiled == mg.stack([F.dropout(x, 0.5) for _ in range(70)]).tolist()


@pytest.mark.parametrize("steps", [0, 3])
def test_an_exception_half_way(steps):
    """In the first step, which runs uncompiled, and in a trace: nothing has changed, and training goes on."""
    job = Job()
    for i in range(steps):
        job.run(*job.batch(i))
    before = job.everything()
    with pytest.raises(KeyError, match="half-way"):
        job.run(*job.batch(9), fail=True)
    after = job.everything()
    assert before.keys() == after.keys() and all(np.array_equal(before[k], after[k]) for k in before)
    assert all(p.grad is None for p in job.model.parameters())

    found = [job.run(*job.batch(i)).item() for i in range(steps, steps + 2)]
    job = Job(compiled=False)
    np.testing.assert_allclose(found, [job.run(*job.batch(i)).item() for i in range(steps + 2)][-2:], rtol=1e-6)


def test_a_leaked_gradient():
    """A gradient that somebody left behind changes a step that drops it in no way, and one that adds to it as it does
    without compiling."""

    def play(job):
        losses = [job.run(*job.batch(i)).item() for i in range(2)]
        job.model(job.batch(7)[0]).sum().backward()
        return losses + [job.run(*job.batch(i)).item() for i in range(2, 5)]

    job = both(play)
    assert len(job.run.info().traces) == 1 and all(p.grad is None for p in job.model.parameters())


def test_accumulation_over_calls():
    """Gradients of several calls add up where the step adds to what it finds, and a second function uses them."""
    weights = {}
    for compiled in (False, True):
        mg.manual_seed(0)
        model = nn.Linear(6, 3, device="mlx")
        optimizer = mg.optim.SGD(model.parameters(), lr=0.1)

        def add(x, y):
            loss = F.cross_entropy(model(x), y)  # noqa: B023
            loss.backward()
            return loss

        def update():
            optimizer.step()  # noqa: B023
            optimizer.zero_grad()  # noqa: B023

        if compiled:
            add, update = mg.compile(add, state=[model]), mg.compile(update, state=[optimizer])
        job = Job(compiled=False)
        for i in range(6):
            add(*job.batch(i))
            if i % 2:
                update()
        weights[compiled] = model.weight.numpy()
        assert model.weight.grad is None
    np.testing.assert_allclose(weights[True], weights[False], rtol=1e-6)
    assert len(add.info().traces) == 2 and len(update.info().traces) == 1


def test_gradients_of_an_argument():
    job = Job()
    x, y = job.batch(0)
    job.model.eval()
    job.run(x.requires_grad_(), y)
    assert x.grad is None  # evaluation doesn't go backward
    run = mg.compile(lambda x: (x * x).sum().backward())
    run(x)
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.numpy(), rtol=1e-6)
    run(x)
    np.testing.assert_allclose(x.grad.numpy(), 4 * x.numpy(), rtol=1e-6)


READS = {
    "item": lambda t: t.item(),
    "float": lambda t: float(t),
    "bool": lambda t: 1 if t > 0 else 2,
    "numpy": lambda t: t.numpy(),
    "array": lambda t: np.asarray(t),
    "tolist": lambda t: t.tolist(),
    "print": lambda t: f"{t}",
    "mask": lambda t: t.reshape(1)[t.reshape(1) > 0],
    "range": lambda t: list(range(t.astype("int32"))),
}


@pytest.mark.parametrize("name", READS)
def test_reading_a_value_names_the_line(name):
    def step(x):
        y = (x * 2).sum()
        READS[name](y)
        return y

    with pytest.raises(mg.CompileError, match="inside a compiled step") as caught:
        mg.compile(step)(mg.ones(3, device="mlx"))
    text = str(caught.value)
    assert text.startswith(f"{__file__}:") and "lambda t:" in text and "\n" not in text
    assert {"bool": "mg.where", "mask": "mask", "print": "print it outside", "range": "int argument"}.get(
        name, "return the tensor"
    ) in text
    assert mg.compile(lambda x: x + 1)(mg.ones(1, device="mlx")).item() == 2  # nothing is left over


def test_mistakes():
    job = Job()
    schedule, other = ExponentialLR(job.optimizer, 0.9), LambdaLR(job.optimizer, lambda t: 0.5)
    for i in range(2):
        job.run(*job.batch(i))

    for made in (schedule, other):

        def stepping(x, y):
            job.step(x, y)
            made.step()  # noqa: B023

        with pytest.raises(mg.CompileError, match="inside .* call the schedule's step.., after"):
            mg.compile(stepping, state=job.state)(*job.batch(0))
        assert job.optimizer.param_groups[0]["lr"] == other.get_last_lr()[0]
    with pytest.raises(RuntimeError, match="drawn on the host inside a compiled step"):
        mg.compile(lambda x: x + mg.randn(3, device="mlx"))(mg.ones(3, device="mlx"))
    with pytest.raises(TypeError, match="call its step"):
        mg.compile(job.step, state=[*job.state, schedule])(*job.batch(0))
    with pytest.raises(TypeError, match="made of modules, optimizers"):
        mg.compile(job.step, state=[3.0])(*job.batch(0))
    for part, missing in ((job.model, "an optimizer"), ([job.optimizer], "a Linear"), (job.state[:2], "an EMA")):
        with pytest.raises(RuntimeError, match=missing + " .*not in the state"):
            mg.compile(job.step, state=part)(*job.batch(0))
    with pytest.raises(TypeError, match="results of a compiled step .* got Net"):
        mg.compile(lambda x: job.model)(mg.ones(3, device="mlx"))
    with pytest.raises(TypeError, match="takes a function"):
        mg.compile(3)


def test_a_cached_activation_has_no_value_outside():
    model = Net().to("mlx").eval()

    def step(x):
        model.seen = model.first(x)
        return model.seen.sum()

    run, x = mg.compile(step, state=[model]), mg.ones(2, 6, device="mlx")
    expected = step(x).item()
    model.seen = None
    assert [run(x).item() for _ in range(3)] == pytest.approx([expected] * 3, rel=1e-6)
    assert len(run.info().traces) <= 2
    with pytest.raises(RuntimeError, match="return it from the step"):
        model.seen.numpy()


def test_plain_attributes_are_part_of_the_mode():
    """A rate that is changed, a flag that the step sets itself, a function that is replaced: as without compiling."""
    model = Net().to("mlx")
    model.function = F.relu

    def step(x):
        model.eval()
        return model.function(x * model.drop.p)

    run, x = mg.compile(step, state=[model]), mg.ones(2, device="mlx")
    assert run(x).tolist() == [0.25, 0.25] and not model.drop.training
    model.train()
    assert run(x).tolist() == [0.25, 0.25] and not model.drop.training
    model.drop.p = 0.5
    assert run(x).tolist() == [0.5, 0.5]
    model.function = F.sigmoid
    assert run(x)[0].item() == pytest.approx(1 / (1 + np.exp(-0.5)), rel=1e-6)


def test_arguments_and_results():
    """Tensors of both devices, numpy arrays, floats (one trace for all), ints, strings and trees; raw arrays."""

    def step(batch, factor, how, *, add=0):
        x = mg.tensor(batch["x"]) * factor + add
        return {"y": x.sum() if how == "sum" else x.mean(), "raw": x.array, "n": (len(x), how), "list": [x, None]}

    run, x = mg.compile(step, state=mg.zeros(1, device="mlx")), np.arange(4, dtype=np.float32)
    for factor in (0.5, 2.0):
        for given in (x, mg.tensor(x), mg.tensor(x, device="mlx")):
            got = run({"x": given}, factor, "sum")
            assert got["y"].item() == factor * 6 and got["n"] == (4, "sum") and got["list"][1] is None
            assert isinstance(got["raw"], mx.array) and got["list"][0].tolist() == (factor * x).tolist()
    assert len(run.info().traces) == 2  # an array, and a tensor of either device
    assert run({"x": x}, 1.0, "mean", add=3)["y"].item() == 4.5
    assert len(run.info().traces) == 3


def test_one_inside_another_and_without_gradients():
    inner = mg.compile(lambda x: x * 2)
    outer = mg.compile(lambda x: inner(x).sum().requires_grad)
    x = mg.ones(3, device="mlx", requires_grad=True)
    assert outer(x) is True
    with mg.no_grad():
        assert outer(x) is False
    assert inner.info().calls == 0 and [t.mode[-13:] for t in outer.info().traces] == ["training", "gradients off"]


def test_uncompiled_where_it_must_be(monkeypatch):
    """numpy, no g++, and when somebody looks at every operation's values: the plain function."""
    job = Job(device="cpu")
    assert [job.run(*job.batch(i)).item() for i in range(2)]
    assert job.run.info().uncompiled == 2 and "operation by operation" in str(job.run.info())
    assert job.optimizer.param_groups[0]["capturable"] is False and job.model.first.weight.grad is not None
    job = Job()
    for i in range(2):
        job.run(*job.batch(i))
    with mg.autograd.detect_anomaly():
        job.run(*job.batch(2))
    assert (job.run.info().calls, job.run.info().uncompiled) == (3, 2)
    monkeypatch.setenv("PATH", "")
    if mx.default_device().type == mx.DeviceType.cpu:
        job = Job()
        assert np.isfinite([job.run(*job.batch(i)).item() for i in range(2)]).all()
        assert job.run.info().uncompiled == 2 and "g++" in str(job.run.info())


def test_a_warning_about_many_traces():
    run = mg.compile(lambda x, n: x + n)
    with pytest.warns(UserWarning, match="traced 16 times"):
        for n in range(16):
            run(mg.ones(1, device="mlx"), n)


@pytest.mark.parametrize("compiled, averaged", [(False, True), (False, False), (True, True)])
def test_a_thousand_steps_keep_memory_flat(compiled, averaged):
    """Of moments, batch statistics and averages nothing is left over from earlier steps, though nobody reads a value."""
    job, memory, objects = Job(compiled, width=512), [], []
    if not averaged:
        job.ema.update = lambda: None  # which would compute the batch statistics, being their average
    batches = [job.batch(i, size) for i, size in enumerate((5, 4))]
    for i in range(1001):
        if i in (20, 24):
            job.model.train(i == 24)
        job.run(*batches[i % 2])
        if i in (100, 1000):
            gc.collect()
            mx.synchronize()
            memory.append(mx.get_active_memory())
            objects.append(len(gc.get_objects()))
    assert abs(memory[1] - memory[0]) < 1e6 and abs(objects[1] - objects[0]) < 500
    if compiled:
        assert len(job.run.info().traces) == 2 * 2  # shapes × modes


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_one_asynchronous_evaluation_a_step(compiled, monkeypatch):
    """Of everything that is carried, and nothing else waits; the average is computed with the step, or right after it."""
    job, calls = Job(compiled), []
    for i in range(3):
        job.run(*job.batch(i))
    asynchronous = mx.async_eval
    monkeypatch.setattr(mx, "async_eval", lambda *arrays: (calls.append(arrays), asynchronous(*arrays)))
    monkeypatch.setattr(mx, "eval", lambda *arrays: calls.append("eval"))
    batch = job.batch(3)
    calls.clear()
    job.run(*batch)
    assert "eval" not in calls and len(calls) == (1 if compiled else 2)
    started = {id(a) for lists in calls for arrays in lists for a in arrays}
    carried = [*job.model.parameters(), *job.model.buffers(), *job.ema.average.values(), job.ema.updates]
    carried += [t for slots in job.optimizer.state.values() for t in slots.values() if t.device == "mlx"]
    assert {id(t.array) for t in carried} <= started


def test_fifty_steps_of_pvt():
    """The same losses compiled, operation by operation and (without the masks, which numpy draws otherwise) on numpy."""
    rng = np.random.default_rng(0)
    batches = [(rng.normal(size=(2, 3, 32, 32)).astype(np.float32), rng.integers(0, 10, 2)) for _ in range(4)]

    def losses(device, compiled, rate):
        mg.manual_seed(0)
        model = mg.models.create_model(
            "pvt_v2_tiny", num_classes=10, drop_rate=rate, attn_drop_rate=rate, drop_path_rate=rate
        )
        model.to(device)
        optimizer = mg.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)

        def step(x, y):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        if compiled:
            step = mg.compile(step, state=[model, optimizer])
        data = [(mg.tensor(x, device=device), mg.tensor(y, device=device)) for x, y in batches]
        found = [step(*data[i % 4]) for i in range(50)]
        if compiled:
            assert len(step.info().traces) == 1
        return np.array([loss.item() for loss in found])

    np.testing.assert_allclose(losses("mlx", True, 0.1), losses("mlx", False, 0.1), atol=1e-5)
    np.testing.assert_allclose(losses("mlx", True, 0.0), losses("cpu", False, 0.0), atol=1e-4)


def test_nobody_holds_the_old_state_when_the_new_one_is_computed(monkeypatch):
    """Or weights and moments couldn't be replaced in their memory, and a step would need twice as much for them."""
    model = nn.Linear(3, 2).to("mlx")
    optimizer = mg.optim.AdamW(model.parameters())

    @mg.compile(state=[model, optimizer])
    def step(x):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    x = mg.randn(2, 3, device="mlx")
    for _ in range(3):
        step(x)
    carried = [*model.parameters(), *(optimizer.state[model.weight][name] for name in ("exp_avg", "exp_avg_sq"))]
    old, alive, start = [weakref.ref(t.array) for t in carried], [], mx.async_eval
    monkeypatch.setattr(mx, "async_eval", lambda *arrays: (alive.extend(a() is not None for a in old), start(*arrays)))
    step(x)
    assert len(alive) == 4 and not any(alive)
