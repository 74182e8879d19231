"""Memory: limits chosen from the machine's memory, what a step needs, and what is said before it runs out."""

import gc
import os
import subprocess
import sys

import pytest
from test_training import FewDigits, config

import minigrad as mg
from minigrad.parallel.team import Team
from minigrad.training import TrainingError, train
from minigrad.training import trainer as trainer_module
from minigrad.training.memory import Need, advice
from minigrad.training.run_folder import load_state

GIB = 1 << 30


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr("minigrad.training.tasks.Digits", FewDigits)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)


@pytest.fixture
def mx():
    """MLX, with its limits put back."""
    mx = pytest.importorskip("mlx.core", exc_type=ImportError)
    before = mg.memory_info("mlx")
    yield mx
    mx.set_memory_limit(before.limit)
    mx.set_cache_limit(before.cache_limit)


STEPS = """
import minigrad as mg
layers = [layer for _ in range(6) for layer in (mg.nn.Linear(64, 64), mg.nn.GELU())]
model = mg.nn.Sequential(*layers).to("mlx")
optimizer, x = mg.optim.SGD(model.parameters()), mg.rand(4096, 64, device="mlx")
for _ in range(2):
    mg.reset_peak_memory("mlx")
    loss = (model(x) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    loss.item()
print(mg.memory_info("mlx").peak)
"""


def test_order_of_computation_saves_memory():
    """MLX is told to compute depth first, before its first computation; a user may say otherwise."""
    pytest.importorskip("mlx.core", exc_type=ImportError)
    peaks = []
    for chosen in ({}, {"MLX_BFS_MAX_WIDTH": "20"}):
        environment = {k: v for k, v in os.environ.items() if k != "MLX_BFS_MAX_WIDTH"} | chosen
        peaks.append(
            int(subprocess.run([sys.executable, "-c", STEPS], env=environment, check=True, capture_output=True).stdout)
        )
    assert peaks[0] < 0.85 * peaks[1]


@pytest.mark.parametrize(
    "gib, recommended, limit", [(8, 16 / 3, 5), (16, 32 / 3, 32 / 3), (16, 0, 12), (64, 48, 48), (2, 0, 1)]
)
def test_default_limits(gib, recommended, limit):
    """What is left after a quarter, at least 3 GiB, and no more than the system recommends; half of it for the cache."""
    pytest.importorskip("mlx.core", exc_type=ImportError)
    from minigrad.backend import mlx_device

    memory, cache = mlx_device.default_limits(gib * GIB, int(recommended * GIB))
    assert memory == pytest.approx(limit * GIB, rel=1e-6) and cache == memory // 2


def test_counts_and_limits(mx):
    mg.reset_peak_memory("mlx")
    before = mg.memory_info("mlx")
    kept = mg.zeros(1000, 1000, device="mlx") + 1
    mx.eval(kept.array)
    after = mg.memory_info("mlx")
    assert after.active - before.active >= 4e6 and after.peak >= after.active
    assert 0 < after.limit <= after.total and "may be used" in str(after)
    old = mg.set_memory_limit(3e9, "mlx")
    assert mg.memory_info("mlx").limit == 3e9 and mg.set_memory_limit(old, "mlx") == 3e9
    mg.set_cache_limit(5e8, "mlx")
    assert mg.memory_info("mlx").cache_limit == 5e8
    mg.empty_cache("mlx")
    assert mg.memory_info("mlx").cache == 0
    with pytest.raises(ValueError, match="at least 0; got -1"):
        mg.set_cache_limit(-1, "mlx")


def test_numpy_counts_nothing():
    assert mg.memory_info("cpu") is None
    assert mg.set_cache_limit(0, "cpu") == mg.set_memory_limit(1e9, "cpu") == 0
    mg.reset_peak_memory("cpu")
    mg.empty_cache("cpu")


def test_advice():
    need = Need(fixed=10, each=5)
    assert need.of(4) == 30 and need.most(30) == 4 and need.most(9) == 0
    assert "--batch-size 12, or --batch-size 8 --accumulate 2, whose updates are those of 16" in advice(need, 16, 80)
    assert "--batch-size 8, or --batch-size 8 --accumulate 2" in advice(None, 16, 0)
    assert advice(need, 16, 9).startswith("try smaller images")
    assert advice(None, 1, 0).startswith("try smaller images")


def test_what_a_step_needs_is_foretold(mx, tmp_path):
    """Within 15 % of what whole steps take, from a few images; nothing is changed by finding out."""
    run = trainer_module._Run(config(tmp_path, device="mlx", batch_size=48, compile=False), True, Team())
    weights, draws = [p.numpy() for p in run.update.parameters], mg.random.default.state
    assert run.too_much() is None and run.need is not None
    assert all((a == p.numpy()).all() for a, p in zip(weights, run.update.parameters, strict=True))
    assert (mg.random.default.state == draws).all() and all(p.grad is None for p in run.update.parameters)
    images, labels = next(iter(run.batches))
    peaks = []
    for _ in range(2):
        mg.reset_peak_memory("mlx")
        run.update(images, labels)[0].item()
        peaks.append(mg.memory_info("mlx").peak)
    assert max(peaks) == pytest.approx(run.need.of(48), rel=0.15)


def test_a_run_that_would_not_fit_is_not_started(mx, tmp_path):
    gc.collect()
    limit = round(0.02 + mg.memory_info("mlx").active / 1e9, 3)  # beside what other tests hold
    words = rf"a step of 64 images needs about 0\.\d+ GB, and MLX may use {limit:.3g} GB.*--batch-size \d+, or"
    with pytest.raises(ValueError, match=words) as told:
        train(config(tmp_path / "run", device="mlx", batch_size=64, memory_limit=limit), quiet=True)
    assert not (tmp_path / "run").exists()
    size = int(str(told.value).split("--batch-size ")[1].split(",")[0])
    assert 1 <= size < 64
    gc.collect()  # the first run's model
    train(
        config(tmp_path / "run", device="mlx", batch_size=size, memory_limit=limit, epochs=1, compile=False), quiet=True
    )


def test_peak_memory_is_shown(mx, tmp_path, capsys):
    train(config(tmp_path, device="mlx", epochs=1, compile=False))
    row = load_state(tmp_path / "last.safetensors")["history"][0]
    assert 0 < row["peak_memory_gb"] < 5 and f" s  {row['peak_memory_gb']:.2f} GB" in capsys.readouterr().out
    assert "peak_memory_gb" in (tmp_path / "metrics.csv").read_text().splitlines()[0]


@pytest.mark.parametrize(
    "device, error",
    [
        ("cpu", MemoryError("Unable to allocate 64.0 GiB for an array")),
        (
            "mlx",
            RuntimeError("[metal::malloc] Attempting to allocate 68719476736 bytes which is greater than the maximum"),
        ),
        (
            "mlx",
            RuntimeError(
                "[METAL] Command buffer execution failed: Insufficient Memory (00000008:kIOGPUCommandBuffer…)"
            ),
        ),
    ],
)
def test_memory_that_runs_out(device, error, tmp_path, monkeypatch):
    if device == "mlx":
        pytest.importorskip("mlx.core", exc_type=ImportError)

    def fail(*_):
        raise error

    monkeypatch.setattr(trainer_module.Step, "__call__", fail)
    with pytest.raises(TrainingError, match="memory ran out in epoch 1, batch 1.*try .*last good state") as told:
        train(config(tmp_path, device=device, batch_size=32), quiet=True)
    assert (tmp_path / "last.safetensors").exists() and told.value.__cause__ is error


def test_other_errors_stay_what_they_are(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("a mistake")

    monkeypatch.setattr(trainer_module.Step, "__call__", fail)
    with pytest.raises(RuntimeError, match="^a mistake$"):
        train(config(tmp_path), quiet=True)
