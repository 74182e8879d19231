"""The trainer: a run folder, exact resuming, stopping, and what goes wrong."""

import csv
import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from kernels import precompile_header
from PIL import Image

import minigrad as mg
from minigrad import compiler
from minigrad.data import Digits, ImageError
from minigrad.parallel.team import Team
from minigrad.serialize import CheckpointError, load_arrays
from minigrad.training import (
    Classifier,
    RandomAffine,
    RunFolderError,
    TrainConfig,
    TrainingError,
    TrainingInterrupted,
    confusion_counts,
    digit_scan,
    evaluate,
    load_task,
    resume,
    train,
)
from minigrad.training import step as step_module
from minigrad.training import trainer as trainer_module
from minigrad.training.run_folder import load_state, save_state
from minigrad.training.tasks import Task

PICTURES = {"curves.png", "confusion.png", "predictions.png"}
FILES = {"config.json", "metrics.csv", "model.safetensors", "last.safetensors", "result.json", "sample.png"}


class FewDigits(Digits):
    """The first images of each part."""

    count = {"train": 96, "val": 24, "test": 24}

    def __init__(self, split="train"):
        super().__init__(split)
        n = self.count[split]
        self.images, self.labels = self.images[:n], self.labels[:n]


@pytest.fixture
def few(monkeypatch):
    """A small data set, and no pictures, which take longer than the training."""
    monkeypatch.setattr("minigrad.training.tasks.Digits", FewDigits)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)


def config(folder, **settings):
    return TrainConfig(**{"epochs": 2, "batch_size": 32, "drop_path": 0.2, "output": str(folder), **settings})


def folder_of_images(root, classes=("ant", "bee"), each=8, parts=("",)):
    rng = np.random.default_rng(0)
    for part in parts:
        for k, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            for i in range(each):
                pixels = rng.integers(0, 120, (40, 50, 3)) + np.eye(3, dtype=int)[k] * 130
                Image.fromarray(pixels.astype(np.uint8)).save(root / part / name / f"{i}.png")
    return root


def same_arrays(first: Path, second: Path) -> bool:
    (a, _), (b, _) = load_arrays(first), load_arrays(second)
    return list(a) == list(b) and all(a[name].tobytes() == b[name].tobytes() for name in a)


def python(*arguments, cwd):
    environment = {**os.environ, "PYTHONPATH": str(Path(mg.__file__).parent.parent), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "minigrad", *arguments],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path, process: subprocess.Popen, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


# --- a run ---


def test_run_folder(few, tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.delitem(sys.modules, "matplotlib.figure")
    result = train(config(tmp_path / "run"))
    text = capsys.readouterr()
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert (
        names
        == {"config.json", "metrics.csv", "model.safetensors", "last.safetensors", "result.json", "sample.png"}
        | PICTURES
    )
    assert json.loads((tmp_path / "run" / "config.json").read_text())["epochs"] == 2
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert set(rows[0]) == {
        "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "images_per_second", "seconds",
    }  # fmt: skip
    assert result.part == "test" and result.images == 24 and result.correct == round(result.accuracy * 24)
    assert set(result.files) <= names
    lines = text.out.splitlines()
    assert len(lines) == 3 and lines[1].startswith("epoch 1/2") and lines[2].startswith("epoch 2/2")
    assert text.err == ""  # no bar where no terminal is
    assert f"minigrad predict {shlex.quote(str(tmp_path / 'run'))}" in str(result)


def test_quiet(few, tmp_path, capsys):
    train(config(tmp_path, epochs=1), quiet=True)
    assert capsys.readouterr() == ("", "")


def test_result_is_that_of_the_saved_weights(few, tmp_path):
    result = train(config(tmp_path), quiet=True)
    classifier = Classifier.load(tmp_path)
    assert classifier.batches("test").dataset.__class__ is FewDigits
    assert evaluate(classifier.model, classifier.batches("test")).accuracy == result.accuracy
    val = evaluate(classifier.model, classifier.batches("val"))
    assert val.accuracy == result.val_accuracy


def test_test_part_is_seen_once(few, tmp_path, monkeypatch):
    seen = []
    batches = Task.batches
    monkeypatch.setattr(
        Task, "batches", lambda self, part, *rest, **more: seen.append(part) or batches(self, part, *rest)
    )
    train(config(tmp_path, epochs=3), quiet=True)
    assert seen == ["val", "val", "val", "test"]


def test_same_seed_same_weights_other_seed_others(few, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(config(tmp_path / name, epochs=1, seed=seed), quiet=True)
    assert same_arrays(tmp_path / "a/model.safetensors", tmp_path / "b/model.safetensors")
    assert not same_arrays(tmp_path / "a/model.safetensors", tmp_path / "c/model.safetensors")


def test_decay_only_on_matrices(few, tmp_path):
    run = trainer_module._Run(config(tmp_path), True, Team())
    decayed, others = run.optimizer.param_groups
    assert decayed["weight_decay"] == 0.05 and others["weight_decay"] == 0
    assert all(p.ndim >= 2 for p in decayed["params"]) and all(p.ndim < 2 for p in others["params"])
    assert len(decayed["params"]) + len(others["params"]) == len(list(run.model.parameters()))


def test_a_state_stays_as_it_is_when_the_run_goes_on(few, tmp_path):
    run = trainer_module._Run(config(tmp_path), True, Team())
    state = run.state()
    before = {name: t.numpy().copy() for name, t in state["model"].items()}
    with mg.no_grad():
        for p in run.model.parameters():
            p.add_(1)
    assert all((before[name] == t.numpy()).all() for name, t in state["model"].items())
    assert any((before[name] != t.numpy()).any() for name, t in run.model.state_dict().items())


def test_without_matplotlib_a_line_says_how_to_get_the_pictures(few, tmp_path):
    result = train(config(tmp_path, epochs=1), quiet=True)
    assert "minigrad[plots]" in result.note and not any((tmp_path / name).exists() for name in PICTURES)


def test_default_folders_are_fresh(few, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda format: "now")
    folders = [train(config(None, output=None, epochs=1), quiet=True).folder for _ in range(2)]
    assert [str(folder) for folder in folders] == ["runs/digits-now", "runs/digits-now-2"]


def test_mlx_gives_the_same_run(few, tmp_path, monkeypatch):
    """Compiled or not, and nothing waits for a step before the next one is under way."""
    pytest.importorskip("mlx.core")
    precompile_header()
    original, settle, made, events = mg.compile, trainer_module._Run.settle, [], []

    def compiled(step, state):
        made.append(original(step, state=state))

        def update(*arguments):
            events.append("step")
            return made[-1](*arguments)

        return update

    def settled(self):
        if self.pending is not None:
            events.append("read")
        settle(self)

    losses = {}
    for name, device, compiles in (("cpu", "cpu", True), ("eager", "mlx", False), ("mlx", "mlx", True)):
        if name == "mlx":
            monkeypatch.setattr(compiler, "compile", compiled)
            monkeypatch.setattr(trainer_module._Run, "settle", settled)
        train(config(tmp_path / name, device=device, drop_path=0.0, epochs=1, compile=compiles), quiet=True)
        losses[name] = load_state(tmp_path / name / "last.safetensors")["history"][0]["train_loss"]
    assert losses["mlx"] == pytest.approx(losses["eager"], rel=1e-5) and losses["cpu"] == pytest.approx(
        losses["mlx"], rel=1e-3
    )
    info = made[0].info()
    assert info.reason is None and len(info.traces) == info.uncompiled == 1 and info.calls == 3
    assert events == ["step", *["step", "read"] * (info.calls - 1), "read"]
    again = resume(tmp_path / "mlx", quiet=True)
    assert again.folder == tmp_path / "mlx"


def test_bytes_are_normalised_in_the_step(tmp_path):
    """Photos that are only mirrored come as bytes, and the step makes of them what the transform for evaluation makes."""
    task = load_task(str(folder_of_images(tmp_path, each=6)), 8)
    plain = {"data": str(tmp_path), "batch_size": 4, "shift": 0, "rotate": 0, "zoom": 0, "flip": True}
    for settings, dtype in (({}, "uint8"), ({"shift": 1.0}, "float32")):
        images, _ = next(iter(task.training_batches(TrainConfig(**plain | settings))))
        assert (
            images.dtype == dtype and images.shape == (4, 3, 8, 8) and images.float().max() > 1
        )  # pixels, not divided
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8), np.uint8)
    expected = task.batches("val", 4).transform(pixels, None)
    for same in (mg.tensor(pixels), mg.tensor(pixels).float()):  # the dtype doesn't say what the numbers mean
        assert np.array_equal(task.preprocessing.normalized(same).numpy(), expected)
    mean, std = (np.reshape(v, (3, 1, 1)) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    assert np.abs(expected - (pixels / 255 - mean) / std).max() < 1e-5


# --- stopping and going on ---


def stop_after(monkeypatch, steps, number=signal.SIGINT):
    count = iter(range(1, 1000))
    step = trainer_module._Run.step

    def counted(self, *arguments):
        step(self, *arguments)
        if next(count) == steps:
            signal.raise_signal(number)

    monkeypatch.setattr(trainer_module._Run, "step", counted)


@pytest.mark.parametrize("steps", [1, 3, 5, 6])
def test_stop_and_resume_is_exact(few, tmp_path, monkeypatch, steps):
    """96 images in batches of 32: 3 steps an epoch; 3 and 6 stop between training and validation."""
    whole = train(config(tmp_path / "whole"), quiet=True)
    with monkeypatch.context() as patch:
        stop_after(patch, steps)
        with pytest.raises(TrainingInterrupted, match="--resume") as stopped:
            train(config(tmp_path / "parts"), quiet=True)
    assert stopped.value.folder == tmp_path / "parts"
    mg.manual_seed(12345)  # what happens between must not matter
    mg.rand(3)
    parts = resume(tmp_path / "parts", quiet=True)
    for name in ("model.safetensors", "last.safetensors"):
        assert same_arrays(tmp_path / "whole" / name, tmp_path / "parts" / name)
    rows = [load_state(tmp_path / name / "last.safetensors")["history"] for name in ("whole", "parts")]
    for a, b in zip(*rows, strict=True):
        assert all(a[key] == b[key] for key in ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr"))
    assert (parts.accuracy, parts.best_epoch) == (whole.accuracy, whole.best_epoch)


def test_signals_are_put_back(few, tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    stop_after(monkeypatch, 1, signal.SIGTERM)
    with pytest.raises(TrainingInterrupted):
        train(config(tmp_path), quiet=True)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, number):
    folder_of_images(tmp_path / "photos")
    process = python("train", "--data", "photos", "--epochs", "5000", "--output", "run", cwd=tmp_path)
    wait_for(tmp_path / "run/metrics.csv", process)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert " -m minigrad train --resume run" in err and "Traceback" not in err
    assert load_state(tmp_path / "run/last.safetensors")["epoch"] >= 1
    assert not list((tmp_path / "run").glob(".*"))


def test_killed_run_resumes_exactly(tmp_path, samples, seed):
    """SIGKILL, any time after the first epoch: whatever was being written, the run goes on from the last whole state."""
    folder_of_images(tmp_path / "photos")
    arguments = ("train", "--data", "photos", "--epochs", "40", "--batch-size", "4", "--drop-path", "0.1")

    def finish(*command):
        process = python(*command, cwd=tmp_path)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err

    finish(*arguments, "--output", "whole")
    seconds = np.random.default_rng(seed).uniform(0, 0.5, samples(1))
    for i, wait in enumerate(seconds):
        killed = tmp_path / f"killed{i}"
        process = python(*arguments, "--output", killed.name, cwd=tmp_path)
        wait_for(killed / "metrics.csv", process)
        time.sleep(wait)
        process.kill()
        process.communicate()
        finish("train", "--resume", killed.name)
        for name in ("last.safetensors", "model.safetensors"):
            assert same_arrays(killed / name, tmp_path / "whole" / name), f"killed after {wait} seconds more"
        shutil.rmtree(killed)


def test_finished_run_gives_its_result_again(few, tmp_path):
    first = train(config(tmp_path, epochs=1), quiet=True)
    stamp = (tmp_path / "model.safetensors").stat().st_mtime_ns
    again = resume(tmp_path, quiet=True)
    assert str(again) == str(first) and (tmp_path / "model.safetensors").stat().st_mtime_ns == stamp


# --- what goes wrong ---


def test_nan_loss_stops_and_keeps_the_last_good_state(few, tmp_path, monkeypatch):
    cross_entropy, calls = step_module.F.cross_entropy, iter(range(1000))

    def once_nan(logits, labels, label_smoothing=0.0):
        loss = cross_entropy(logits, labels, label_smoothing=label_smoothing)
        return loss * math.nan if label_smoothing and next(calls) == 5 else loss

    monkeypatch.setattr(step_module.F, "cross_entropy", once_nan)
    with pytest.raises(TrainingError, match=r"loss became nan in epoch 2, batch 3.*smaller lr"):
        train(config(tmp_path), quiet=True)
    state = load_state(tmp_path / "last.safetensors")
    assert state["epoch"] == 1 and state["batch"] == 0
    assert all(np.isfinite(value).all() for value in load_arrays(tmp_path / "last.safetensors")[0].values())
    assert (tmp_path / "model.safetensors").exists()


def test_infinite_gradient_stops(few, tmp_path):
    with pytest.raises(TrainingError, match="became (nan|inf)"):
        train(config(tmp_path, lr=1e30), quiet=True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "resnet"}, "no model 'resnet'.*pvt_v2_tiny"),
        ({"epochs": 0}, "epochs must be an integer of at least 1, got 0"),
        ({"epochs": 2.5}, "epochs must be an integer"),
        ({"batch_size": -1}, "batch_size must be an integer of at least 1"),
        ({"image_size": 0}, "image_size must be"),
        ({"lr": 0}, "lr must be greater than 0"),
        ({"lr": float("nan")}, "lr must be a finite number"),
        ({"lr": float("inf")}, "lr must be a finite number"),
        ({"weight_decay": -1}, "weight_decay must be"),
        ({"warmup": 1.0}, r"warmup must be in \[0, 1\)"),
        ({"label_smoothing": "much"}, "label_smoothing must be"),
        ({"seed": True}, "seed must be an integer"),
        ({"data": "nowhere"}, "no folder 'nowhere'"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(ValueError, match=words):
        TrainConfig(**settings)


def test_bad_device():
    with pytest.raises(mg.backend.BackendError, match="tpu"):
        TrainConfig(device="tpu")


def test_config_round_trip():
    first = TrainConfig(epochs=3, lr=0.1, output="x")
    assert TrainConfig.from_dict(json.loads(json.dumps(first.to_dict()))) == first
    with pytest.raises(ValueError, match="unknown training setting 'colour'"):
        TrainConfig.from_dict({"colour": 1})


def test_too_small_images_leave_no_folder(tmp_path):
    with pytest.raises(ValueError):
        train(config(tmp_path / "run", image_size=2, model="pvt_v2_b0"), quiet=True)
    assert not (tmp_path / "run").exists()


def test_unwritable_folder(few, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="can't write a run into the folder .*choose another"):
        train(config(tmp_path / "file" / "run"), quiet=True)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that even root can't write")
def test_read_only_folder(few):
    with pytest.raises(RunFolderError, match="can't write a run into the folder"):
        train(config("/proc/minigrad-run"), quiet=True)


def test_folder_that_holds_a_run(few, tmp_path):
    train(config(tmp_path, epochs=1), quiet=True)
    with pytest.raises(RunFolderError, match="already holds a run"):
        train(config(tmp_path, epochs=1), quiet=True)


def test_full_disk(few, tmp_path, monkeypatch):
    def full(path, text):
        raise OSError(f"can't write {path}: No space left on device")

    monkeypatch.setattr("minigrad.training.run_folder.atomic_write_text", full)
    with pytest.raises(TrainingError, match="No space left on device.*--resume"):
        train(config(tmp_path), quiet=True)
    monkeypatch.undo()
    monkeypatch.setattr("minigrad.training.tasks.Digits", FewDigits)
    assert resume(tmp_path, quiet=True).best_epoch in (1, 2)


def test_resume_where_there_is_no_run(tmp_path):
    with pytest.raises(RunFolderError, match="no run to go on with"):
        resume(tmp_path / "nothing")


@pytest.mark.parametrize("damage", ["cut", "other", "incomplete"])
def test_resume_from_a_damaged_state(few, tmp_path, monkeypatch, damage):
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(TrainingInterrupted):
            train(config(tmp_path), quiet=True)
    last = tmp_path / "last.safetensors"
    if damage == "cut":
        last.write_bytes(last.read_bytes()[:-100])
    elif damage == "other":
        mg.save(last, {"x": mg.zeros(2)})
    else:
        state = load_state(last)
        del state["optimizer"]
        save_state(last, state)
    with pytest.raises(CheckpointError):
        resume(tmp_path, quiet=True)


def test_state_round_trip(tmp_path):
    state = {"a": mg.arange(3), "b": {0: [1.5, mg.ones(2, 2)], "x": None}, "c": [], "d": {}, "pi": 3.141592653589793}
    save_state(tmp_path / "s", state)
    back = load_state(tmp_path / "s")
    assert back["a"].tolist() == [0, 1, 2] and back["b"][0][0] == 1.5 and back["b"][0][1].shape == (2, 2)
    assert back["b"]["x"] is None and back["c"] == [] and back["d"] == {} and back["pi"] == state["pi"]


# --- folders of images ---


def test_image_folder(tmp_path):
    folder = folder_of_images(tmp_path / "photos", each=10)
    settings = config(tmp_path / "run", data=str(folder), batch_size=4, flip=True, workers=2)
    result = train(settings, quiet=True)
    classifier = Classifier.load(tmp_path / "run")
    assert classifier.classes == ["ant", "bee"] and result.images == 4
    prediction = classifier.predict(result.sample)  # a whole path, so that it works from everywhere
    assert len(classifier.batches("test", data=str(folder)).dataset) == 4
    with pytest.raises(ValueError, match="has the classes x, y, but the model was trained on ant, bee"):
        classifier.batches("test", data=str(folder_of_images(tmp_path / "other", classes=("x", "y"))))
    assert prediction.probabilities.sum() == pytest.approx(1, abs=1e-5) and prediction.note == ""
    assert len(classifier.batches("train").dataset) == 12


def test_image_folder_with_parts_and_another_model(tmp_path):
    folder = folder_of_images(tmp_path / "photos", each=3, parts=("train", "val"))
    settings = config(tmp_path / "run", data=str(folder), model="pvt_v2_b0", image_size=32, epochs=1, batch_size=4)
    with pytest.warns(UserWarning, match="1 ?[x×] ?1"):  # the last stages' key/value grids
        result = train(settings, quiet=True)
    assert result.part == "val" and result.images == 6
    with pytest.raises(ValueError, match="no 'test' part"):
        Classifier.load(tmp_path / "run").batches("test")


def test_weights_to_start_from(few, tmp_path):
    """Those of a checkpoint with other classes and channels: all but the classifier and the first convolution are taken as they are.
    Resuming doesn't need the checkpoint any more; another variant's weights are refused before there is a run folder."""
    mg.manual_seed(5)
    source = mg.models.create_model("pvt_v2_tiny", num_classes=3, in_channels=3)
    mg.models.save_pretrained(source, tmp_path / "source", layout="original")
    settings = config(tmp_path / "run", weights=str(tmp_path / "source"), epochs=1)
    with pytest.warns(UserWarning, match="classifier of 3 classes .* untrained one of 10 classes"):
        model = trainer_module._Run(settings, True, Team()).model
    before, after = source.state_dict(), model.state_dict()
    changed = {
        name for name in before if before[name].shape != after[name].shape or (before[name] != after[name]).any()
    }
    assert changed == {"patch_embed.proj.weight", "head.weight", "head.bias"}
    grey = before["patch_embed.proj.weight"].sum(1, keepdim=True)
    np.testing.assert_allclose(after["patch_embed.proj.weight"].numpy(), grey.numpy(), rtol=1e-6)
    with pytest.warns(UserWarning), pytest.raises(CheckpointError, match="doesn't fit the model"):
        train(config(tmp_path / "other", weights=str(tmp_path / "source"), model="pvt_v2_b0"), quiet=True)
    with pytest.raises(FileNotFoundError, match="no file or folder .*nothing"):
        train(config(tmp_path / "other", weights=str(tmp_path / "nothing")), quiet=True)
    assert not (tmp_path / "other").exists()
    with pytest.warns(UserWarning, match="untrained"):
        train(settings, quiet=True)
    shutil.rmtree(tmp_path / "source")
    (tmp_path / "run" / "result.json").unlink()
    assert resume(tmp_path / "run", quiet=True).images == 24
    assert load_state(tmp_path / "run" / "last.safetensors")["config"]["weights"] == str(tmp_path / "source")


def test_split_is_fixed_stratified_and_disjoint(tmp_path):
    folder = folder_of_images(tmp_path, classes=("a", "b", "c"), each=25)
    first, second = load_task(str(folder), 8), load_task(str(folder), 8)
    chosen = [set(first.parts[part].indices.tolist()) for part in ("train", "val", "test")]
    assert [len(part) for part in chosen] == [48, 12, 15] and len(set.union(*chosen)) == 75
    assert all((first.parts[p].indices == second.parts[p].indices).all() for p in first.parts)


def test_bad_image_folders(tmp_path):
    with pytest.raises(FileNotFoundError):
        (tmp_path / "empty").mkdir()
        load_task(str(tmp_path / "empty"), 8)
    with pytest.raises(ValueError, match="has one class folder"):
        load_task(str(folder_of_images(tmp_path / "one", classes=("a",), each=3)), 8)
    with pytest.raises(ValueError, match="class 'ant' has 2 images"):
        load_task(str(folder_of_images(tmp_path / "two", each=2)), 8)
    odd = folder_of_images(tmp_path / "odd", each=1, parts=("train", "val"))
    (odd / "val" / "bee").rename(odd / "val" / "wasp")
    with pytest.raises(ValueError, match="only one has bee, wasp"):
        load_task(str(odd), 8)


def test_unreadable_training_image_is_skipped(tmp_path):
    folder = folder_of_images(tmp_path / "photos", each=6)
    (folder / "ant" / "bad.png").write_bytes(b"not an image")
    with pytest.warns(UserWarning, match="bad.png"):
        train(config(tmp_path / "run", data=str(folder), epochs=1, batch_size=4), quiet=True)


# --- pieces ---


def test_confusion_counts():
    counts = confusion_counts(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2]), 4)
    assert counts.tolist() == [[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]


def test_random_affine():
    images = np.zeros((40, 2, 9, 11), np.float32)
    images[:, :, 3:6, 4:7] = 1
    draw = np.random.default_rng
    same = RandomAffine()(images, draw(0))
    assert np.array_equal(same, images) and same is not images
    moved = RandomAffine(pixels=2)(images, draw(0))
    assert moved.shape == images.shape and moved.dtype == np.float32
    assert moved.sum(axis=(1, 2, 3)) == pytest.approx(18, rel=1e-4)  # nothing is lost inside
    centres = (moved[:, 0] * np.arange(11)).sum(axis=(1, 2)) / 9 - 5
    assert 1.5 < centres.max() <= 2.001 and -2.001 <= centres.min() < -1.5 and len(set(centres)) == 40
    turned = RandomAffine(degrees=180)(images, draw(0))
    assert np.ptp(turned[:, 0, 4, 5]) < 1e-6 and (abs(turned - images).max(axis=(1, 2, 3)) > 0.2).any()
    zoomed = RandomAffine(zoom=0.5)(images, draw(0)).sum(axis=(1, 2, 3)) / 18
    assert zoomed.max() == pytest.approx(1.5**2, rel=0.2) and zoomed.min() == pytest.approx(1.5**-2, rel=0.2)
    far = RandomAffine(pixels=1000, fill=7)(images, draw(0))
    assert (far == 7).all(axis=(1, 2, 3)).any() and np.isfinite(far).all()
    assert np.array_equal(RandomAffine(3, 10, 0.1)(images, draw(5)), RandomAffine(3, 10, 0.1)(images, draw(5)))
    with pytest.raises(TypeError, match="with a generator"):
        RandomAffine(1)(images)


def test_evaluate_puts_training_flags_back():
    model = mg.nn.Sequential(mg.nn.Linear(2, 3), mg.nn.Dropout(0.5))
    model[1].eval()
    batch = [(mg.zeros(4, 2), mg.zeros(4).astype(mg.int64))]
    found = evaluate(model, batch)
    assert model.training and model[0].training and not model[1].training
    assert found.probabilities.shape == (4, 3) and found.confusion.sum() == 4
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate(model, [])


def test_digit_scan_gives_scans_back():
    """A test scan, enlarged, framed, and dark on white, becomes nearly that scan again."""
    correlations = []
    for pixels in Digits("test").images[:60]:
        large = np.kron(pixels, np.ones((20, 20))) * 255 / 16
        framed = np.pad(large, ((70, 30), (40, 90)))
        scan, inverted = digit_scan((255 - framed).astype(np.uint8))
        again, upright = digit_scan(framed.astype(np.uint8))
        assert inverted and not upright and abs(scan - again).max() < 0.5
        assert scan.shape == (8, 8) and 0 <= scan.min() and scan.max() <= 16
        correlations.append(np.corrcoef(scan.ravel(), pixels.ravel())[0, 1])
    assert np.mean(correlations) > 0.9


def test_digit_scan_of_odd_pictures():
    bar = np.full((50, 90), 250, np.uint8)
    bar[20, 10:80] = 0  # a thin line across, wider than high
    scan, inverted = digit_scan(bar)
    assert inverted and scan.max() > 8 and scan[:2].max() == 0 and scan[-2:].max() == 0
    dot = np.zeros((1, 1, 1), np.uint8)[0]
    with pytest.raises(ImageError, match="shows no digit"):
        digit_scan(dot, "dot.png")
    speck = np.zeros((9, 9), np.uint8)
    speck[4, 4] = 255
    assert digit_scan(speck)[0].min() > 15  # fills the frame
    hair = np.full((4000, 4000), 255, np.uint8)
    np.fill_diagonal(hair[100:-100, 100:-100], 0)  # fainter than 8 bits can hold, once it is scaled
    scan, _ = digit_scan(hair)
    assert scan.diagonal().min() > 8 and scan[0, 7] == scan[7, 0] == 0 and scan.max() <= 16
