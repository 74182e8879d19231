"""The files of a run folder: the state that a run resumes from, the best weights, and the folder itself."""

import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.engine.tensor import Tensor
from minigrad.files import atomic_write_json
from minigrad.serialize import CheckpointError, load, load_arrays, read_header, save
from minigrad.training.config import TrainConfig

STATE, WEIGHTS, CONFIG, METRICS, RESULT = (
    "last.safetensors",
    "model.safetensors",
    "config.json",
    "metrics.csv",
    "result.json",
)


def python() -> str:
    """How to call this Python on a command line: "python" where that finds it, else its path from here."""
    found = shutil.which("python")
    if found is not None and os.path.abspath(found) == os.path.abspath(sys.executable):
        return "python"
    return shlex.quote(min(os.path.relpath(sys.executable), sys.executable, key=len))


class RunFolderError(ValueError):
    """A run folder that can't be written, already holds a run, or holds none."""


class TrainingError(RuntimeError):
    """Training had to stop: the loss is no longer finite, or a file can't be written."""


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C during training. Everything is saved in `folder`, and `minigrad.training.resume(folder)` goes on."""

    def __init__(self, folder: Path, epoch: int, batch: int):
        where = f"after {epoch} epochs" + (f" and {batch} batches" if batch else "")
        super().__init__(
            f"stopped {where}; go on with\n  {python()} -m minigrad train --resume {shlex.quote(str(folder))}"
        )
        self.folder = folder


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
    except (KeyError, TypeError, ValueError):
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
