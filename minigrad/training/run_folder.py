"""The files of a run folder, all of which are written and read here:

config.json        the run's settings             last.safetensors   the state that it resumes from
metrics.csv        a row for each epoch           result.json        how it ended
model.safetensors  the best weights, with the note of `interop.run_note`, which the classifier gives
"""

import csv
import io
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.engine.tensor import Tensor
from minigrad.files import atomic_write_json, atomic_write_text
from minigrad.interop import entries
from minigrad.interop.reading import read_json
from minigrad.serialize import CheckpointError, load, load_arrays, read_header, save
from minigrad.training.config import TrainConfig

STATE, WEIGHTS, CONFIG, METRICS, RESULT = (
    "last.safetensors",
    "model.safetensors",
    "config.json",
    "metrics.csv",
    "result.json",
)


FILES = (WEIGHTS, STATE, METRICS, CONFIG, RESULT)


class RunFolderError(ValueError):
    """A run folder that can't be written, already holds a run, or holds none."""


def new_folder(config: TrainConfig) -> Path:
    """Create the run folder: `config.output`, or a fresh `runs/<data>-<time>`.

    Raises:
        RunFolderError: when it can't be created or written, or already holds a run.
    """
    if config.output is not None:
        folder = Path(config.output)
        if any((folder / name).exists() for name in (CONFIG, STATE, WEIGHTS)):
            raise RunFolderError(f"{folder} already holds a run; go on with it by --resume, or choose another --output")
    else:
        job = Path(config.data).resolve().name if config.data != "digits" else "digits"
        base = folder = Path("runs") / f"{job}-{time.strftime('%Y%m%d-%H%M%S')}"
        for again in range(2, 1000):
            if not folder.exists():
                break
            folder = Path(f"{base}-{again}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write_json(folder / CONFIG, config.to_dict())
    except OSError as error:
        raise RunFolderError(
            f"can't write a run into the folder {folder} ({error.strerror or error}); choose another with --output"
        ) from error
    return folder


def weights_in(path: Path) -> Path:
    """The file of weights that a run folder, or the file itself, stands for.

    Raises:
        RunFolderError: for a folder without weights.
    """
    if not path.is_dir():
        return path
    if not (path / WEIGHTS).is_file():
        raise RunFolderError(f"{path} holds no trained model: it has no {WEIGHTS}")
    return path / WEIGHTS


def save_metrics(path: Path, history: list[dict[str, Any]]) -> None:
    """Write the table of the epochs, whose columns are those of the newest row."""
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=list(history[-1]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in history)
    atomic_write_text(path, table.getvalue())


def save_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Write how a run ended."""
    atomic_write_json(folder / RESULT, result)


def load_result(folder: Path) -> dict[str, Any]:
    """What `save_result` wrote.

    Raises:
        CheckpointError: when the file is damaged.
    """
    return read_json(folder / RESULT)


def check_config(folder: Path, config: TrainConfig) -> None:
    """Compares the settings in a run's `config.json`, where there is one, with those of its state, by which it goes on.

    Raises:
        CheckpointError: when the file is damaged, or says something else.
    """
    if not (folder / CONFIG).is_file():
        return
    found, own = read_json(folder / CONFIG), config.to_dict()
    for name in (*found, *own):
        if name not in own or name in found and (found[name] != own[name] or type(found[name]) is not type(own[name])):
            told = f"{name} = {entries.told(own[name])}" if name in own else f"no {entries.told(name)}"
            raise CheckpointError(
                f"{folder / CONFIG} says {entries.told(name)} is {entries.told(found[name])}, but the run's state in {STATE} has "
                f"{told}; a run keeps its settings: undo the change, or delete {CONFIG}"
            )


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a run's state: nested dictionaries and lists of tensors, numbers and strings, as `mg.save` takes them."""
    save(path, state)


def load_state(path: Path) -> dict[str, Any]:
    """What `save_state` wrote, with the tensors on the CPU; also of version 0.1, which kept lists for tuples.

    Raises:
        CheckpointError: when the file is damaged or something else.
    """
    metadata = read_header(path)[1]
    if "state" not in metadata:
        return load(path, device="cpu")
    try:
        state = _unpack(json.loads(metadata["state"]), load_arrays(path)[0])
        if not isinstance(state, dict):
            raise TypeError
    except (KeyError, TypeError, ValueError, RecursionError):
        raise CheckpointError(f"{path} is not the saved state of a training run") from None
    return state


def _unpack(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Version 0.1's notes: {"dict": pairs}, {"tensor": its name}, lists."""
    if isinstance(value, dict):
        if "tensor" in value:
            return Tensor(arrays[value["tensor"]], device="cpu")
        return {key: _unpack(item, arrays) for key, item in value["dict"]}
    if isinstance(value, list):
        return [_unpack(item, arrays) for item in value]
    return value
