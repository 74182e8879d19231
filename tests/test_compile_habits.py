"""mg.compile and what people do around a step: each way gives what it gives without compiling, or says why it can't."""

import shutil

import numpy as np
import pytest
from kernels import precompile_header

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

mx = pytest.importorskip("mlx.core", exc_type=ImportError)
pytestmark = pytest.mark.skipif(
    mx.default_device().type == mx.DeviceType.cpu and shutil.which("g++") is None, reason="MLX compiles with g++"
)


@pytest.fixture(scope="module", autouse=True)
def kernels():
    precompile_header()


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
