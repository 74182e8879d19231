"""The files of a run as a stranger may have written them: they steer nothing, and what they get wrong is told in one sentence."""

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import models, training
from minigrad.cli import main
from minigrad.data.images import ImageProcessor
from minigrad.data.images.digits import ScanProcessor
from minigrad.interop.run_note import RunNote, preprocessing
from minigrad.serialize import CheckpointError, load_arrays
from minigrad.training import TrainConfig, trainer
from minigrad.training.run_folder import load_state, save_state

CLASSES = [str(i) for i in range(10)]
FIELDS = {"num_classes": 10, "in_channels": 1, "img_size": 32, "drop_path_rate": 0.0}
ABOUT = {
    "model": "pvt_v2_tiny",
    "fields": FIELDS,
    "classes": CLASSES,
    "preprocessing": preprocessing("digits", 32, 16, [0.3], [0.4]),
    "data": "digits",
    "epoch": 1,
}


def weights(folder, change=None, fields=None, arrays=None, model="pvt_v2_tiny"):
    """A run's weights with something else in their note."""
    about = {**ABOUT, "model": model, "fields": {**FIELDS, **(fields or {})}, **(change or {})}
    state = models.create_model(model, **FIELDS).state_dict() | (arrays or {})
    mg.save(folder / "model.safetensors", state, metadata={"classifier": json.dumps(about)})
    return folder / "model.safetensors"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two epochs of a few digits, its state after the first, and its result."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib.figure", None)
        kept = []
        save = trainer._Run.save

        def saved(self, state=None):
            save(self, state)
            kept.append((self.folder / "last.safetensors").read_bytes())

        patch.setattr(trainer._Run, "save", saved)
        training.train(TrainConfig(epochs=2, batch_size=512, output=str(folder)), quiet=True)
    (folder / "half").write_bytes(kept[1])
    return folder


@pytest.fixture
def stopped(run, tmp_path, monkeypatch):
    """A copy of it, stopped after the first epoch."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for name in ("config.json", "metrics.csv", "model.safetensors"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    (tmp_path / "last.safetensors").write_bytes((run / "half").read_bytes())
    return tmp_path


def test_mutated_runs(tmp_path, samples, seed):
    count = samples(60)
    command = [sys.executable, str(Path(__file__).with_name("fuzz_runs.py")), str(seed), str(count), str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120 + 5 * count, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["faults"] == []
    kinds = {kind: outcomes for kind, outcomes in found.items() if isinstance(outcomes, dict)}
    assert kinds.keys() <= {"note", "weights", "state", "result", "config", "metrics", "bytes"}
    if count >= 60:
        assert kinds["note"]["read"] and kinds["note"]["refused"] and kinds["state"]["refused"]


# --- the note -----------------------------------------------------------------------------------------------------------
OPTIONS = {
    "checkpoint_path": "elsewhere.safetensors", "pretrained": True, "features_only": True, "out_indices": [0], "cache_dir": "x",
    "revision": "main", "local_files_only": False, "in_chans": 1, "norm_layer": "BatchNorm",
}  # fmt: skip


@pytest.mark.parametrize("option", OPTIONS)
def test_a_note_gives_no_options(tmp_path, monkeypatch, option):
    """Only fields of the configuration; no other file is opened, and the hub isn't asked."""
    monkeypatch.setattr("minigrad.models.factory.from_pretrained", lambda *_, **__: pytest.fail("asked the hub"))
    monkeypatch.setattr("minigrad.models.factory.load_weights", lambda *_: pytest.fail("opened a file"))
    weights(tmp_path, fields={option: OPTIONS[option]})
    for read in (training.Classifier.load, training.Classifier.from_pretrained, models.from_pretrained):
        with pytest.raises(CheckpointError, match=f"note of the model is damaged .*{option}"):
            read(tmp_path)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"depths": [10**9] * 4}, "depths"),
        ({"depths": [1, 1, 1, 2**31]}, "depths must be at most"),
        ({"embed_dims": [2**30] * 4}, "embed_dims"),
        ({"num_classes": 10**9}, "10 classes, and its model has 1000000000"),
        ({"num_stages": 10**9}, "num_stages"),
        ({"img_size": 64}, "32 × 32 pixels, and its model takes 1 of 64 × 64"),
        ({"in_channels": 3}, "in_channels"),
        ({"drop_path_rate": float("nan")}, "the number NaN"),
        ({"depths": [1] * 10**5}, "short list"),
    ],
    ids=str,
)
def test_a_note_is_of_the_weights_beside_it(tmp_path, fields, words):
    """Told before a model is built: neither time nor memory is what the note says."""
    path = weights(tmp_path, fields=fields)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=f"model.safetensors.*{words}"):
        training.Classifier.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 << 20


@pytest.mark.parametrize(
    "change",
    [
        {"classes": "0123456789"},
        {"classes": list(range(10))},
        {"classes": CLASSES[:9]},
        {"classes": [str(i) for i in range(10**6)]},
        {"epoch": "1"},
        {"checkpoint_path": "x"},
        {"pretrained": True},
        {"preprocessing": {**ABOUT["preprocessing"], "maximum": float("nan")}},
        {"preprocessing": {**ABOUT["preprocessing"], "maximum": 10**400}},
        {"preprocessing": {**ABOUT["preprocessing"], "kind": "scans"}},
        {"preprocessing": {**ABOUT["preprocessing"], "std": [1e-300]}},
        {"preprocessing": {**ABOUT["preprocessing"], "mean": [0.5] * 3, "std": [0.5] * 3}},
        {"preprocessing": {**ABOUT["preprocessing"], "size": 8192}},
        {"preprocessing": {**ABOUT["preprocessing"], "do_pad": True}},
        {"preprocessing": {"size": {"shortest_edge": 8192}, "image_mean": [0.5], "image_std": [0.5], "resample": 2}},
        {"data": 3},
        {"data": "x" * 5000},
        {"fields": {"img_size": {"height": 32}}},
    ],
    ids=lambda change: str(change)[:60],
)
def test_a_note_that_cant_be_right(tmp_path, change):
    path = weights(tmp_path, change)
    with pytest.raises(CheckpointError, match="model.safetensors: .* is damaged") as caught:
        training.Classifier.load(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_what_load_would_refuse_isnt_saved(tmp_path):
    model = models.create_model("pvt_v2_tiny", **FIELDS)
    scans = ScanProcessor(size=32, rescale_factor=1 / 16, image_mean=(0.3,), image_std=(0.4,))
    given = (model, CLASSES, scans, "cpu", "pvt_v2_tiny", FIELDS)
    classifier = training.Classifier(*given)
    with pytest.raises(ValueError, match="val_loss must be a finite number"):
        classifier.save(tmp_path / "x.safetensors", val_loss=float("nan"))
    for processor in (ImageProcessor(size=32), ImageProcessor(size=64, image_mean=[0.5], image_std=[0.5])):
        other = training.Classifier(model, CLASSES, processor, "cpu", "pvt_v2_tiny", FIELDS)
        with pytest.raises(ValueError, match="pictures become"):
            other.save(tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="2,097,152 can be read"):
        RunNote("pvt_v2_tiny", {}, ["x" * 4000] * 600, ABOUT["preprocessing"], "digits").metadata()
    assert not list(tmp_path.iterdir())
    classifier.save(tmp_path / "x.safetensors", val_loss=0.5)
    assert training.Classifier.load(tmp_path / "x.safetensors").classes == CLASSES


@pytest.mark.parametrize("read", [training.Classifier.load, models.from_pretrained])
def test_memory_of_reading_a_run(tmp_path, read):
    """One and a half times the file's tensors."""
    about = {**ABOUT, "preprocessing": preprocessing("images", 64, 255, [0.5] * 3, [0.5] * 3)}
    fields = {**FIELDS, "in_channels": 3, "img_size": 64}
    model = models.create_model("pvt_v2_b1", **fields)
    about |= {"model": "pvt_v2_b1", "fields": fields}
    path = tmp_path / "model.safetensors"
    mg.save(path, model.state_dict(), metadata={"classifier": json.dumps(about)})
    del model
    tracemalloc.start()
    read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 50e6 and peak < 1.5 * path.stat().st_size


# --- numbers that are none ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers(tmp_path, value):
    with pytest.raises(CheckpointError, match=r"head.bias holds NaN or infinite numbers"):
        training.Classifier.load(weights(tmp_path, arrays={"head.bias": mg.full((10,), value)}))


def test_weights_that_are_too_large(tmp_path, capsys, run):
    """Nothing is named, and no accuracy printed."""
    arrays, _ = load_arrays(weights(tmp_path))
    weights(tmp_path, arrays={"head.weight": np.full_like(arrays["head.weight"], 3e38)})
    with np.errstate(all="ignore"):
        assert main(["eval", str(tmp_path)]) == 2
        assert main(["predict", str(tmp_path), str(run / "sample.png")]) == 2
    out, err = capsys.readouterr()
    assert "accuracy" not in out and "%" not in out
    assert "the loss with these weights is" in err and "probabilities are no finite numbers" in err


RESULTS = [
    {"accuracy": float("nan")}, {"accuracy": 2}, {"accuracy": 0.5}, {"accuracy": None}, {"loss": float("inf")}, {"correct": -1},
    {"images": 0}, {"correct": 10**6}, {"best_epoch": 1.5}, {"part": "all"}, {"files": "abc"}, {"files": [3]}, {"sample": 3},
    {"seconds": "1"}, {"seconds": 10**400}, {"unknown": 1}, {"note": []},
]  # fmt: skip


@pytest.mark.parametrize("change", RESULTS, ids=lambda change: str(change)[:40])
def test_a_result_that_cant_be_right(run, tmp_path, capsys, change):
    result = json.loads((run / "result.json").read_text())
    (tmp_path / "result.json").write_text(json.dumps({**result, **change}))
    assert main(["train", "--resume", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert not out and len(err.splitlines()) == 1 and "result.json is damaged" in err


def test_a_result_changes_no_terminal(run, tmp_path, capsys):
    result = json.loads((run / "result.json").read_text())
    (tmp_path / "result.json").write_text(json.dumps({**result, "sample": "\x1b[2J.png", "note": "a\x07"}))
    assert main(["train", "--resume", str(tmp_path)]) == 0
    assert all(c.isprintable() for c in capsys.readouterr().out.replace("\n", ""))


# --- the state ------------------------------------------------------------------------------------------------------------
def put(state, path, value):
    *folders, last = path
    for key in folders:
        state = state[key]
    state[last] = value


STATES = [
    (("config", "model"), "pvt_v2_b5"),
    (("config", "epochs"), 10**30),
    (("config", "epochs"), 1000),
    (("config", "image_size"), 8192),
    (("config", "image_size"), 10**9),
    (("config", "threads"), 10**6),
    (("config", "workers"), 10**6),
    (("config", "compile"), "yes"),
    (("config", "shift"), 1e308),
    (("config", "lr"), float("nan")),
    (("config", "data"), "/nothing"),
    (("config", "unknown"), 1),
    (("config",), []),
    (("epoch",), -1),
    (("epoch",), 1.0),
    (("batch",), 10**6),
    (("running", "total"), float("nan")),
    (("running", "unknown"), 1),
    (("history",), []),
    (("history", 0, "val_loss"), float("nan")),
    (("history", 0, "val_accuracy"), 2),
    (("random",), [0, -1]),
    (("random",), [0]),
    (("schedule", "total_steps"), 0),
    (("schedule", "last_epoch"), {}),
    (("schedule", "base_lrs"), [1.0, 1.0]),
    (("schedule", "get_lr"), 1),
    (("schedule", "_last_lr"), [0.1]),
    (("optimizer", "param_groups", 0, "lr"), float("inf")),
    (("optimizer", "param_groups", 0, "betas"), [0.9, 0.9999]),
    (("optimizer", "param_groups", 0, "params"), [0]),
    (("optimizer", "param_groups", 0, "unknown"), 0),
    (("optimizer", "state", 0, "step"), mg.zeros(2)),
    (("optimizer", "state", 0, "exp_avg"), mg.zeros(2)),
    (("optimizer", "state", 1, "exp_avg_sq"), mg.tensor(float("nan"))),
    (("optimizer", "state", 10**6), {}),
    (("optimizer", "state", 0), {}),
    (("scaler",), {"scale": 1.0}),
    (("model", "head.bias"), mg.full((10,), float("nan"))),
    (("model", "head.bias"), mg.zeros(9)),
    (("model", "unknown"), mg.zeros(9)),
    (("model", "head.weight"), "x"),
    (("unknown",), 1),
]


@pytest.mark.parametrize(("path", "value"), STATES, ids=lambda given: str(given)[:40])
def test_a_state_that_cant_be_right(stopped, monkeypatch, path, value):
    """Told in one sentence before the run goes on; of a huge model or image nothing is built."""
    state = load_state(stopped / "last.safetensors")
    put(state, path, value)
    save_state(stopped / "last.safetensors", state)
    monkeypatch.setattr(trainer._Run, "complete", lambda self: pytest.fail("it goes on"))
    with pytest.raises(CheckpointError, match=r"(last.safetensors|config.json)") as caught:
        training.resume(stopped, quiet=True)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 800


def test_a_run_keeps_its_settings(stopped):
    """`config.json` says what the state says, or isn't there."""
    path = stopped / "config.json"
    config = json.loads(path.read_text())
    for change in ({"lr": 0.5}, {"unknown": 1}, {"flip": 0}):
        path.write_text(json.dumps({**config, **change}))
        with pytest.raises(
            CheckpointError, match=f"config.json says '{next(iter(change))}'.*undo the change, or delete"
        ):
            training.resume(stopped, quiet=True)
    path.write_text("[")
    with pytest.raises(CheckpointError, match="config.json is no valid JSON"):
        training.resume(stopped, quiet=True)
    assert training.Classifier.load(stopped).classes == CLASSES  # which needs none
    assert models.from_pretrained(stopped).config.num_classes == 10
    path.unlink()
    assert training.resume(stopped, quiet=True).images == 359


def test_the_best_weights_are_the_runs(stopped, run):
    """Others aren't evaluated in their place."""
    (stopped / "last.safetensors").write_bytes((run / "last.safetensors").read_bytes())
    weights(stopped, {"classes": CLASSES[::-1]})
    with pytest.raises(CheckpointError, match="model.safetensors is of another run"):
        training.resume(stopped, quiet=True)


# --- the data ---------------------------------------------------------------------------------------------------------------
def test_a_strangers_data_isnt_searched(stopped, tmp_path_factory, monkeypatch):
    """A folder of other classes, perhaps the whole disk, is not gone through for images."""
    monkeypatch.setattr("minigrad.data.datasets.find_images", lambda folder: pytest.fail(f"went through {folder}"))
    disk = tmp_path_factory.mktemp("disk")
    for name in ("etc", "home"):
        (disk / name).mkdir()
    folder = tmp_path_factory.mktemp("noted")
    classifier = training.Classifier.load(weights(folder, {"data": str(disk)}))
    with pytest.raises(ValueError, match="has the classes etc, home, but the model was trained on 0, 1"):
        classifier.batches("test")
    other = training.Classifier.load(weights(folder, {"classes": CLASSES[::-1]}))
    with pytest.raises(ValueError, match="digits has the classes 0, 1.* but the model was trained on 9, 8"):
        other.batches("test")
    state = load_state(stopped / "last.safetensors")
    state["config"]["data"] = str(disk)
    save_state(stopped / "last.safetensors", state)
    with pytest.raises(CheckpointError, match="its model has 10 classes, and there are 2 in"):
        training.resume(stopped, quiet=True)
