"""The trainer in mixed precision, with updates made of several batches, and with recomputation."""

import math
import sys

import numpy as np
import pytest
from test_training import FewDigits, same_arrays, stop_after
from test_training import config as any_config

import minigrad as mg
from minigrad.serialize import load_arrays
from minigrad.training import TrainingError, TrainingInterrupted, resume, train
from minigrad.training import step as step_module
from minigrad.training import trainer as trainer_module
from minigrad.training.run_folder import load_state
from minigrad.training.step import Step
from minigrad.training.tasks import load_task


class Fewer(FewDigits):
    count = {"train": 24, "val": 6, "test": 6}


def config(folder, **settings):
    """Three batches an epoch."""
    return any_config(folder, **{"batch_size": 8, **settings})


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr("minigrad.training.tasks.Digits", Fewer)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)


def last(folder):
    return load_state(folder / "last.safetensors")


@pytest.mark.parametrize("amp", ["float16", "bfloat16"])
def test_a_run_in_16_bits(amp, tmp_path, compiles):
    losses = {}
    for name, settings in (("plain", {"compile": False}), (amp, {"amp": amp})):
        train(config(tmp_path / name, epochs=1, drop_path=0.0, device="mlx", **settings), quiet=True)
        losses[name] = [row["train_loss"] for row in last(tmp_path / name)["history"]]
    assert losses[amp] != losses["plain"] and losses[amp] == pytest.approx(losses["plain"], rel=2e-2)
    arrays, _ = load_arrays(tmp_path / amp / "last.safetensors")
    assert {a.dtype for name, a in arrays.items() if name.startswith(("model.", "optimizer."))} == {
        np.dtype(np.float32)
    }
    scaler = last(tmp_path / amp)["scaler"]
    assert (scaler == {}) if amp == "bfloat16" else (scaler["scale"] >= 1.0)


def test_an_overflow_costs_one_step(tmp_path, monkeypatch, compiles):
    """The loss is infinite once; the run goes on, with half the scale and the weights of a run without that step."""
    cross_entropy, calls = step_module.F.cross_entropy, iter(range(1000))

    def once_infinite(logits, labels, label_smoothing=0.0):
        loss = cross_entropy(logits, labels, label_smoothing=label_smoothing)
        return loss * math.inf if label_smoothing and next(calls) == 4 else loss

    monkeypatch.setattr(step_module.F, "cross_entropy", once_infinite)
    train(config(tmp_path, epochs=2, device="mlx", amp="float16", compile=False), quiet=True)
    state = last(tmp_path)
    assert (state["scaler"]["skipped"], state["scaler"]["scale"]) == (1, 2.0**15)
    assert state["optimizer"]["state"][0]["step"].item() == 5
    assert all(math.isfinite(row["train_loss"]) for row in state["history"])


def test_nothing_but_overflows_ends_the_run(tmp_path, monkeypatch, compiles):
    monkeypatch.setattr(trainer_module, "OVERFLOWS", 5)
    cross_entropy = step_module.F.cross_entropy

    def infinite(logits, labels, label_smoothing=0.0):
        return cross_entropy(logits, labels) * (math.nan if label_smoothing else 1.0)

    monkeypatch.setattr(step_module.F, "cross_entropy", infinite)
    with pytest.raises(TrainingError, match="loss became nan in epoch 2, batch 3"):
        train(config(tmp_path, epochs=2, device="mlx", amp="float16", compile=False), quiet=True)


def test_resuming_in_16_bits(tmp_path, monkeypatch, compiles):
    settings = {"device": "mlx", "amp": "float16", "compile": False}
    train(config(tmp_path / "whole", **settings), quiet=True)
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(TrainingInterrupted):
            train(config(tmp_path / "parts", **settings), quiet=True)
    resume(tmp_path / "parts", quiet=True)
    assert last(tmp_path / "parts")["scaler"] == last(tmp_path / "whole")["scaler"]
    for a, b in zip(
        *(load_arrays(tmp_path / n / "model.safetensors")[0].values() for n in ("whole", "parts")), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_several_small_batches_make_the_update_of_a_large_one(device, request):
    """Loss by loss, and in the norm of the gradient; compiled, one trace for each place in the update."""
    if device == "mlx":
        request.getfixturevalue("compiles")
    task = load_task("digits", 32)
    found = {}
    for parts in (1, 3):
        settings = config("none", device=device, batch_size=24 // parts, accumulate=parts, drop_path=0.0, amp="off")
        mg.manual_seed(0)
        model = mg.models.create_model("pvt_v2_tiny", num_classes=10, in_channels=1).to(device)
        step = Step(settings, task, model)
        rng, trail = np.random.default_rng(0), []
        for _ in range(3):
            images = rng.random((24, 1, 32, 32)).astype(np.float32)
            labels = rng.integers(0, 10, 24)
            results = [
                step(
                    mg.tensor(images[i::parts], device=device),
                    mg.tensor(labels[i::parts], device=device),
                    1 / parts,
                    i == parts - 1,
                )
                for i in range(parts)
            ]
            assert [norm is None for _, _, norm, _ in results] == [True] * (parts - 1) + [False]
            trail.append((np.mean([loss.item() for loss, *_ in results]), results[-1][2].item()))
        assert all(p.grad is None for p in model.parameters())
        found[parts] = trail
    np.testing.assert_allclose(found[3], found[1], rtol=2e-3)
    np.testing.assert_allclose(found[3][0], found[1][0], rtol=1e-5)
    if device == "mlx":
        # Nothing found, gradients found, and the last one; the first two again when AdamW has made its state.
        assert len(step.run.info().traces) == 5


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_updates_of_two_batches_stop_and_go_on_exactly(tmp_path, monkeypatch, steps):
    """Three batches an epoch: an update of two and one of one; nothing stops within one."""
    settings = {"accumulate": 2, "recompute": True}
    train(config(tmp_path / "whole", **settings), quiet=True)
    assert last(tmp_path / "whole")["schedule"]["last_epoch"] == 4
    assert last(tmp_path / "whole")["optimizer"]["state"][0]["step"].item() == 4
    with monkeypatch.context() as patch:
        stop_after(patch, steps)
        with pytest.raises(TrainingInterrupted):
            train(config(tmp_path / "parts", **settings), quiet=True)
    stopped = last(tmp_path / "parts")
    assert (stopped["epoch"], stopped["batch"]) == {1: (0, 2), 2: (0, 2), 4: (1, 2)}[steps]
    resume(tmp_path / "parts", quiet=True)
    assert same_arrays(tmp_path / "whole/last.safetensors", tmp_path / "parts/last.safetensors")


def test_recomputing_changes_nothing(tmp_path):
    for name, recompute in (("plain", False), ("recomputed", True)):
        train(config(tmp_path / name, epochs=1, recompute=recompute), quiet=True)
    plain, again = (load_arrays(tmp_path / name / "model.safetensors")[0] for name in ("plain", "recomputed"))
    for name in plain:
        np.testing.assert_allclose(again[name], plain[name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_settings_that_make_no_sense(tmp_path):
    for settings, words in (
        ({"amp": "half"}, "TrainConfig: amp must be 'off', 'auto', 'float16' or 'bfloat16', got 'half'"),
        ({"amp": "bfloat16"}, "'cpu' has no bfloat16.*float16.*mlx"),
        ({"accumulate": 0}, "accumulate must be an integer of at least 1"),
    ):
        with pytest.raises(ValueError, match=words):
            config(tmp_path, **settings)
    assert config(tmp_path, amp="auto").low == "float16"
