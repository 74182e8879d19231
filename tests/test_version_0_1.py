"""What version 0.1 wrote is read: a run that was stopped after two of three epochs, a model folder, a file of tensors.

`tests/version_0_1` was written by minigrad 0.1.0. It stays as it is.
"""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import models, training

FILES = Path(__file__).parent / "version_0_1"


@pytest.fixture
def run(tmp_path):
    shutil.copytree(FILES / "run", tmp_path / "run")
    return tmp_path / "run"


def epochs(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_goes_on(run):
    """Its first epochs stay, and the third is the one that 0.1 went on to, up to rounding."""
    before = epochs(run)
    training.resume(run, quiet=True)
    after = epochs(run)
    assert len(before) == 2 and after[:2] == before and len(after) == 3
    assert float(after[2]["train_loss"]) == pytest.approx(1.10099, abs=1e-3)
    assert float(after[2]["val_loss"]) == pytest.approx(0.581598, abs=2e-3)
    assert (run / "result.json").is_file()


def test_the_weights_of_a_run_predict(run):
    """As well in validation as 0.1 wrote."""
    classifier = training.Classifier.load(run)
    best = min(epochs(run), key=lambda row: float(row["val_loss"]))
    found = training.evaluate(classifier.model, classifier.batches("val"))
    assert found.accuracy == pytest.approx(float(best["val_accuracy"]), abs=2e-3)


def test_a_model_folder_is_read():
    """The stored input gives the stored output."""
    stored = mg.load(FILES / "dtypes.safetensors")
    model = models.from_pretrained(FILES / "pretrained").eval()
    with mg.no_grad():
        assert np.abs((model(stored["input"]) - stored["y"]).numpy()).max() < 1e-5


def test_tensors_are_read():
    stored = mg.load(FILES / "dtypes.safetensors")
    kinds = {name: t.dtype.name for name, t in stored.items()}
    assert kinds == {
        "x": "float16",
        "y": "float32",
        "b": "bool",
        "i": "int64",
        "u": "uint8",
        "d": "float64",
        "input": "float32",
    }
    assert stored["i"].tolist() == [1, 2] and stored["u"].tolist() == [1, 255] and stored["b"].tolist() == [True, False]
