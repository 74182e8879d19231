"""mg.compile and what people do around a step: each way gives what it gives without compiling, or says why it can't."""

import copy

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

mx = pytest.importorskip("mlx.core", exc_type=ImportError)
pytestmark = pytest.mark.usefixtures("compiles")


def batch(number, device="mlx"):
    rng = np.random.default_rng(number)
    x, y = rng.normal(size=(4, 6)).astype(np.float32), rng.integers(0, 3, 4)
    return mg.tensor(x, device=device), mg.tensor(y, device=device)


class Job:
    """A model, an optimizer and a step of theirs."""

    def __init__(self, compiled, optimizer=mg.optim.SGD, state=None, **options):
        mg.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).to("mlx")
        self.optimizer = optimizer(self.model.parameters(), **{"lr": 0.1, **options})
        self.run = mg.compile(self.step, state=[self.model, self.optimizer]) if compiled else self.step

    def step(self, x, y):
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        return loss


def same(play):
    """`play(compiled)` gives the same numbers compiled and not."""
    np.testing.assert_allclose(play(True), play(False), rtol=1e-5, atol=1e-6)


# --- between the calls --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [np.float32, lambda lr: mg.tensor(lr), lambda lr: mg.tensor(lr, device="mlx")])
def test_a_learning_rate_of_any_kind(kind):
    def play(compiled):
        job, losses = Job(compiled), []
        for i in range(6):
            job.optimizer.param_groups[0]["lr"] = kind(0.1 / (i + 1))
            losses.append(job.run(*batch(i)).item())
        if compiled:
            assert len(job.run.info().traces) < 7
        return losses

    same(play)


def test_a_hook_that_comes_and_goes():
    def play(compiled):
        job, losses = Job(compiled), []
        for i in range(6):
            if i == 2:
                remove = job.model[0].weight.register_hook(lambda g: g * 10)
            if i == 4:
                remove()
            losses.append(job.run(*batch(i)).item())
        return losses

    same(play)


def test_a_step_that_leaves_the_update_to_others():
    """What it did not use itself of the gradients is there afterwards."""

    def play(compiled):
        job, losses = Job(compiled), []

        def gradients(x, y):
            job.optimizer.zero_grad()
            loss = F.cross_entropy(job.model(x), y)
            loss.backward()
            return loss

        run = mg.compile(gradients, state=[job.model, job.optimizer]) if compiled else gradients
        for i in range(4):
            losses.append(run(*batch(i)).item())
            job.optimizer.step()
        return losses

    same(play)


def test_momentum_that_is_switched_on_and_off():
    """Without it there is no dampening either, as in PyTorch."""

    def play(compiled):
        job, losses = Job(compiled, momentum=0.9, dampening=0.3), []
        for i, momentum in enumerate([0.9, 0.8, 0.7, 0, 0, 0.5, 0.6]):
            job.optimizer.param_groups[0]["momentum"] = momentum
            losses.append(job.run(*batch(i)).item())
        return losses

    same(play)


def test_a_step_that_freezes():
    """The flag is as the step leaves it, at every call."""
    model = Job(False).model

    def step(x):
        model[0].requires_grad_(False)
        return model(x)

    run = mg.compile(step, state=[model])
    for _ in range(3):
        run(batch(0)[0])
        assert not model[0].weight.requires_grad and model[2].weight.requires_grad
        model.requires_grad_(True)


def test_the_gradient_of_an_argument_on_another_device():
    x = mg.ones(3, requires_grad=True)
    run = mg.compile(lambda x: (x.to("mlx") ** 2).sum().backward(), state=[mg.zeros(1, device="mlx")])
    run(x)
    run(x)
    assert x.grad.device == "cpu" and x.grad.tolist() == [4, 4, 4]


def test_the_saved_state_of_an_average_stays_as_it_is():
    job = Job(False)
    ema = mg.optim.EMA(job.model, 0.5)

    def step(x, y):
        loss = job.step(x, y)
        ema.update()
        return loss

    run = mg.compile(step, state=[job.model, job.optimizer, ema])
    run(*batch(0))
    saved = ema.state_dict()
    before = {name: t.numpy() for name, t in saved.items()}
    for i in range(2):
        run(*batch(i))
    assert all(np.array_equal(before[name], t.numpy()) for name, t in saved.items())


def test_an_argument_with_a_history():
    job, encoder = Job(False), nn.Linear(6, 6, device="mlx")
    run = mg.compile(job.step, state=[job.model, job.optimizer])
    x, y = batch(0)
    with pytest.raises(mg.CompileError, match="argument .*detach"):
        run(encoder(x), y)
    run(encoder(x).detach(), y)
    assert mg.compile(lambda h: h.sum())(encoder(x)).shape == ()  # nothing goes backward


# --- what the state lacks -----------------------------------------------------------------------------------------------
def test_a_network_that_the_state_lacks():
    """It would stay as it was at the first trace: the other network of a GAN, say, or the model itself."""
    generator, judge, x = nn.Linear(6, 6, device="mlx"), Job(False), batch(0)
    optimizer = mg.optim.SGD(generator.parameters(), lr=0.1)

    def fool(x, y):
        optimizer.zero_grad()
        loss = -F.cross_entropy(judge.model(generator(x)), y)
        loss.backward()
        optimizer.step()
        return loss

    with pytest.raises(RuntimeError, match="a Linear that is not in the state .* is used by it"):
        mg.compile(fool, state=[generator, optimizer])(*x)
    assert judge.model[0].weight.grad is None and generator.weight.grad is None
    assert np.isfinite(mg.compile(fool, state=[generator, judge.model, optimizer])(*x).item())
    assert mg.compile(lambda x: nn.MSELoss()(x, x))(x[0]).item() == 0  # has no values


def test_a_leaf_that_the_state_lacks():
    w, x = mg.ones(6, device="mlx", requires_grad=True), batch(0)[0]
    with pytest.raises(RuntimeError, match="a leaf of shape .6,. that is not in the state .* gets a gradient"):
        mg.compile(lambda x: (x * w).sum().backward())(x)
    assert w.grad is None

    def inside(x):
        """What the step makes itself is its own affair."""
        delta = mg.zeros(4, 6, device="mlx", requires_grad=True)
        ((x + delta) ** 2).sum().backward()
        return delta.grad

    np.testing.assert_allclose(mg.compile(inside)(x).numpy(), 2 * x.numpy(), rtol=1e-6)


def test_a_module_is_state_of_its_own_step():
    model, x = Job(False).model, batch(0)[0]
    run = mg.compile(model)
    before = run(x).numpy()
    with mg.no_grad():
        model[2].bias += 1
    np.testing.assert_allclose(run(x).numpy(), before + 1, rtol=1e-5)
    assert len(run.info().traces) == 1


class Counting(nn.Module):
    """Counts its calls in one way or another."""

    def __init__(self, how):
        self.how, self.count = how, mg.zeros(()) if how == "tensor" else nn.Buffer(0.0)

    def forward(self, x):
        if self.how == "in place":
            self.count += 1
        else:
            self.count = self.count + 1
        return x * self.count


@pytest.mark.parametrize("how", ["in place", "buffer"])
def test_counting_in_a_module(device, how):
    model, x = Counting(how).to(device), mg.ones(2, device=device)
    run = mg.compile(lambda x: model(x), state=[model])
    assert [run(x)[0].item() for _ in range(4)] == [1, 2, 3, 4]
    assert isinstance(model.count, nn.Buffer) and model.state_dict()["count"].item() == 4
    with mg.device("mlx"):
        model = Counting("tensor").to("mlx")
    with pytest.raises(mg.CompileError, match="'count' .* nn.Buffer, and assign to count.data"):
        mg.compile(lambda x: model(x), state=[model])(x.to("mlx"))


def test_what_a_trace_leaves_in_lists():
    """Maps kept for looking at don't make a trace each call, and what is made of constants stays."""

    class Keeping(nn.Module):
        def __init__(self):
            self.layer, self.maps, self.seen, self.places = nn.Linear(6, 6), [], [], {}

        def forward(self, x):
            if len(x) not in self.places:
                self.places[len(x)] = mg.ones(len(x), 1, device="mlx") * 2
            h = self.layer(x) * self.places[len(x)]
            self.seen.clear()
            self.seen.append(h.detach())
            self.maps = [h.detach(), {"h": (h.detach(),)}]
            return h + self.seen[0]

    model, x = Keeping().to("mlx"), batch(0)[0]
    run = mg.compile(lambda x: model(x), state=[model])
    expected = 4 * model.layer(x).numpy()
    for _ in range(6):
        np.testing.assert_allclose(run(x).numpy(), expected, rtol=1e-5)
    assert len(run.info().traces) <= 2 and model.places[4].tolist() == [[2.0]] * 4
    for kept in (model.maps[0], model.maps[1]["h"][0], model.seen[0]):
        with pytest.raises(RuntimeError, match="return it from the step"):
            kept.numpy()


def test_a_variable_that_a_trace_left():
    total = mg.zeros((), device="mlx")

    def step(x):
        nonlocal total
        total = total + x.sum()
        return total

    run = mg.compile(step)
    assert run(mg.ones(2, device="mlx")).item() == 2
    with pytest.raises(mg.CompileError, match="left somewhere when it was traced before"):
        run(mg.ones(3, device="mlx"))


def test_thawed_with_an_old_gradient():
    def play(compiled):
        job = Job(False)
        F.cross_entropy(job.model(batch(0)[0]), batch(0)[1]).backward()
        job.model.requires_grad_(False)

        def step(x, y):
            job.model.requires_grad_(True)
            loss = F.cross_entropy(job.model(x), y)
            loss.backward()
            job.optimizer.step()
            return loss

        run = mg.compile(step, state=[job.model, job.optimizer]) if compiled else step
        return [run(*batch(i)).item() for i in range(4)]

    same(play)


# --- objects --------------------------------------------------------------------------------------------------------------
def test_an_average_of_a_model_that_is_moved_later():
    def play(compiled):
        job = Job(False, mg.optim.AdamW)
        job.model.to("cpu")
        ema = mg.optim.EMA(job.model, 0.9, warmup=True)
        job.model.to("mlx")

        def step(x, y):
            loss = job.step(x, y)
            ema.update()
            return loss

        run = mg.compile(step, state=[job.model, job.optimizer, ema]) if compiled else step
        losses = [run(*batch(i)).item() for i in range(3)]
        assert not compiled or (run.info().uncompiled, len(run.info().traces)) == (1, 1)
        return [*losses, ema.average["0.weight"].sum().item()]

    same(play)


def test_a_state_on_two_devices():
    model, count = Job(False).model, mg.zeros(())

    def step(x):
        count.data = (count + 1).array
        return model(x)

    run = mg.compile(step, state=[model, count])
    with pytest.warns(UserWarning, match="its state is on cpu, mlx, so it runs operation by operation"):
        for i in range(3):
            run(batch(i)[0])
    assert count.item() == 3 and run.info().uncompiled == 3


def test_an_object_that_can_be_called():
    """Its attributes are its own, whatever their names."""

    class Trainer:
        def __init__(self):
            self.job, self.step, self.calls = Job(False), 0, "none"

        def __call__(self, x, y):
            return self.job.step(x, y)

    trainer = Trainer()
    run = mg.compile(trainer, state=[trainer.job.model, trainer.job.optimizer])
    assert np.isfinite([run(*batch(i)).item() for i in range(2)]).all() and run.info().calls == 2


def test_a_method_compiled_in_its_class():
    """Its state is the object: models, optimizers, scalers and tensors in its attributes."""

    class Trainer:
        def __init__(self):
            job = Job(False)
            self.model, self.optimizer, self.scaler = job.model, job.optimizer, mg.GradScaler(init_scale=8.0)
            self.schedule, self.total = (
                mg.optim.lr_scheduler.ExponentialLR(job.optimizer, 0.5),
                mg.zeros((), device="mlx"),
            )

        def plain(self, x, y):
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.model(x), y)
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.total = self.total + loss.detach()
            return loss

        step = mg.compile(plain)

    def play(compiled):
        trainers, found = (Trainer(), Trainer()), []
        for i in range(4):
            for trainer in trainers:
                found.append((trainer.step if compiled else trainer.plain)(*batch(i)).item())
                trainer.schedule.step()
        if compiled:
            assert [len(t.step.info().traces) for t in trainers] == [1, 1] and Trainer.step.info().calls == 0
        return [*found, trainers[1].total.item()]

    same(play)


def test_a_copied_model_has_a_step_of_its_own():
    class Model(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(6, 3, device="mlx")
            self.run = mg.compile(self.total)

        def total(self, x):
            return self.layer(x).sum()

    model, x = Model(), batch(0)[0]
    before = model.run(x).item()
    other = copy.deepcopy(model)
    with mg.no_grad():
        other.layer.weight *= 0
        other.layer.bias *= 0
    assert other.run(x).item() == 0 and model.run(x).item() == before


# --- arguments, results, messages -------------------------------------------------------------------------------------------
NEEDS_THE_NUMBER = {
    "full": lambda x, p: x * mg.full((6,), p, device="mlx"),
    "leaky_relu": F.leaky_relu,
    "smooth_l1_loss": lambda x, p: F.smooth_l1_loss(x, 2 * x, beta=p),
    "layer_norm": lambda x, p: F.layer_norm(x, (6,), eps=p),
    "a choice": lambda x, p: x if p > 0.6 else -x,
    "label_smoothing": lambda x, p: F.cross_entropy(x, mg.argmax(x, 1), label_smoothing=p),
}


@pytest.mark.parametrize("name", NEEDS_THE_NUMBER)
@pytest.mark.parametrize("kind", [float, np.float32])
def test_a_number_that_the_step_needs_itself(name, kind):
    """Each of its values is traced; of one that can be a tensor one trace serves for all."""
    function, x = NEEDS_THE_NUMBER[name], batch(0)[0]
    run = mg.compile(lambda x, p: function(x, p))
    for value in (0.5, 0.75, 0.5):
        np.testing.assert_allclose(run(x, kind(value)).numpy(), function(x, kind(value)).numpy(), rtol=1e-5, atol=1e-6)
    assert len(run.info().traces) == 2
    with pytest.raises(mg.CompileError, match="choose with mg.where"):
        mg.compile(lambda x, p: x if x.sum() > p else -x)(x, 0.5)


def test_numbers_of_numpy():
    run = mg.compile(lambda x, n, last: x[:n].sum() if last else x[n])
    x = batch(0)[0]
    for n in np.arange(1, 3):
        assert run(x, n, n > 1).tolist() == (x[: int(n)].sum() if n > 1 else x[int(n)]).tolist()


def test_results_that_are_not_the_devices():
    """Arrays of numpy and tensors of the CPU come back as they are."""
    given = {"a": np.array([1.0, 2.0]), "n": np.float32(3), "f": 0.5}
    run = mg.compile(lambda x: {"y": x + 1, **given})
    for _ in range(2):
        found = run(mg.ones(1, device="mlx"))
        assert found["y"].item() == 2 and found["a"].dtype == np.float64 and found["n"] == 3 and found["f"] == 0.5


def test_the_line_is_the_users():
    """Not one of numpy's, the standard library's, or of a function that minigrad made."""

    def step(x, read):
        return read(x)

    for read in (lambda x: np.stack([x, x]), lambda x: F.one_hot(x.long()), lambda x: np.linalg.norm(x)):
        with pytest.raises(mg.CompileError) as caught:
            mg.compile(step)(batch(0)[0], read)
        assert str(caught.value).startswith(f"{__file__}:") and "for read in" in str(caught.value)


@pytest.mark.parametrize("limit", ["8GB", None, float("inf"), float("nan"), -1, 1e30])
def test_limits_that_are_no_numbers_of_bytes(limit):
    for function in (mg.set_memory_limit, mg.set_cache_limit):
        with pytest.raises(ValueError, match="a limit is a number of bytes, .* at least 0"):
            function(limit, "mlx")


# --- compiled functions in compiled steps, and what a step writes ------------------------------------------------------


def test_compiled_functions_inside_a_compiled_step():
    """They are parts of it, also where it runs operation by operation because an optimizer makes its slots."""

    def play(compiled):
        mg.manual_seed(0)
        model = nn.Linear(6, 3).to("mlx")
        optimizer = mg.optim.Adam(model.parameters(), lr=0.1)
        wrap = (lambda f, state: mg.compile(f, state=state)) if compiled else lambda f, state: f
        loss_of = wrap(lambda x: model(x).square().sum(), [model])
        update = wrap(lambda: optimizer.step(), [model, optimizer])

        def step(x):
            optimizer.zero_grad()
            loss = loss_of(x)
            loss.backward()
            update()
            return loss

        run = wrap(step, [model, optimizer])
        losses = [run(batch(0)[0].to("mlx")).item() for _ in range(4)]
        return losses, model.weight.tolist(), run

    (losses, weight, run), (expected, plain, _) = play(True), play(False)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_allclose(weight, plain, rtol=1e-4, atol=1e-6)
    assert (run.info().calls, run.info().uncompiled, len(run.info().traces)) == (4, 1, 1)


def test_a_replaced_parameter_has_moments_of_its_own():
    """A new parameter in the module and in the optimizer's group: the slots of the old one aren't taken for its."""

    def play(compiled):
        model = nn.Linear(2, 1, bias=False, device="mlx")
        nn.init.ones_(model.weight)
        optimizer = mg.optim.Adam(model.parameters(), lr=0.1)

        def step(x):
            optimizer.zero_grad()
            loss = model(x).square().sum()
            loss.backward()
            optimizer.step()
            return loss

        run, x = mg.compile(step, state=[model, optimizer]) if compiled else step, mg.ones(1, 2, device="mlx")
        losses = [run(x).item() for _ in range(3)]
        old = model.weight
        before = {name: t.tolist() for name, t in optimizer.state[old].items()}
        model.weight = nn.Parameter(mg.full((1, 2), 0.5, device="mlx"))
        optimizer.param_groups[0]["params"][0] = model.weight
        losses += [run(x).item() for _ in range(3)]
        assert {name: t.tolist() for name, t in optimizer.state[old].items()} == before
        assert optimizer.state[model.weight]["step"].item() == 3
        return losses, [t.tolist() for t in optimizer.state[model.weight].values()]

    for found, expected in zip(play(True), play(False), strict=True):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)


def test_what_a_step_writes_into_its_arguments():
    """Is refused at the line that writes, whatever was passed; a number is nobody's place."""

    def data(x):
        x.data = (x * 2).array
        return x + 1

    def item(x):
        x[0] = 5.0
        return x * 2

    def flag(x):
        x.requires_grad_(not x.requires_grad)
        return x * 1

    def added(x):
        with mg.no_grad():
            x += 1
        return x * 2

    leaf = mg.tensor([1.0, 2.0], device="mlx", requires_grad=True)
    given = [mg.tensor([1.0, 2.0], device="mlx"), mg.tensor([1.0, 2.0], device="cpu"), np.float32([1, 2]), leaf]
    for step in (data, item, flag, added):
        for x in given:
            run = mg.compile(step, state=[mg.zeros(1, device="mlx")])
            for _ in range(2):
                if step is item and x is leaf:
                    with pytest.raises(RuntimeError, match="a leaf that requires a gradient"):
                        run(x)
                    continue
                with pytest.raises(
                    mg.CompileError, match=r"an argument .* of shape \(2,\), is changed by it: .* clone"
                ):
                    run(x)
            assert list(x) == [1, 2] and (x is leaf or not getattr(x, "requires_grad", False))
    assert leaf.requires_grad

    def number(x, n):
        m = n
        n *= 2
        n += 1
        return x * n + m

    run, x = mg.compile(number), mg.tensor([1.0, 2.0], device="mlx")
    for n in (0.5, np.float32(3), 4.0):
        assert run(x, n).tolist() == number(x, n).tolist()
    assert len(run.info().traces) == 2


def test_writes_that_would_be_lost_are_refused():
    outside, shared = mg.ones(2, device="mlx"), mg.ones(2, device="mlx", requires_grad=True)

    def double(x, *_):
        x.data = (x * 2).array
        return x

    def swallow(batch):
        batch["y"] = batch["x"] * 2
        return batch["x"]

    def extend(batch):
        batch.append(batch[0] * 2)
        return batch[0]

    x = mg.ones(2, device="mlx")
    refused = [
        (lambda x: double(outside) + x, (x,), "shape .2,. that is not in the state .* is changed by it"),
        (lambda x: outside.__setitem__(0, x[0]), (x,), "not in the state .* is changed by it"),
        (lambda x: outside.requires_grad_() + x, (x,), "not in the state .* is changed by it"),
        (double, (shared * 2,), "an argument .* is changed by it"),
        (double, (x, x), "an argument .* is changed by it"),
        (swallow, ({"x": x},), "return what it makes"),
        (extend, ([x],), "return what it makes"),
    ]
    for step, arguments, words in refused:
        for _ in range(2):
            with pytest.raises(RuntimeError, match=words):
                mg.compile(step)(*arguments)
        assert outside.tolist() == x.tolist() == [1.0, 1.0] and not outside.requires_grad
    run = mg.compile(double, state=[x])
    with pytest.raises(mg.CompileError, match="an argument .* is changed by it"):
        run(x)
    with pytest.raises(TypeError, match="can't be a generator, .* pass a list"):
        mg.compile(lambda xs: sum(xs))(x for _ in range(2))
    made = mg.compile(lambda x: double(mg.zeros(2, device="mlx") + 1) * x)  # the step's own tensors are its own affair
    assert made(x).tolist() == [2.0, 2.0]


def test_a_list_that_grows_in_the_state():
    class Keeping(nn.Module):
        def __init__(self):
            self.layer, self.log = nn.Linear(2, 1, device="mlx"), []

        def forward(self, x):
            self.log.append(self.layer(x).detach())
            return self.log[-1] * 2

    model, x = Keeping(), mg.ones(1, 2, device="mlx")
    run = mg.compile(model)
    run(x)
    with pytest.raises(mg.CompileError, match="adds a tensor to a list in the state at every call"):
        run(x)
    assert len(model.log) == 1
