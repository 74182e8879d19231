"""Saves that are killed or interrupted: `python tests/fuzz_saves.py kill|interrupt SEED COUNT FOLDER` prints what happened as JSON.

Each case saves to one path, again and again, one of two contents: a file of nested tensors, or the folder of a model. "kill": a
process does that until it gets SIGKILL at a random moment. "interrupt": this process does it until Ctrl-C arrives (a
KeyboardInterrupt, at a random moment, from a timer). Whatever happened, the path must then hold one of the two contents, complete,
and the next save must leave nothing beside it. Everything else is listed under "faults".
"""

import gc
import json
import os
import random
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

import numpy as np

import minigrad as mg
from minigrad import models
from minigrad.files import PREFIX

CONFIG = models.PVTV2Config(
    img_size=64,
    num_classes=3,
    embed_dims=(8, 8, 16, 16),
    num_heads=(1, 2, 2, 4),
    mlp_ratios=(2, 1, 1, 1),
    depths=(1, 1, 1, 1),
)


class File:
    """A file of nested tensors."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size

    def save(self, number: int) -> None:
        values = np.full(self.size, number, np.float32)
        mg.save(
            self.path,
            {"model": {"w": values, "b": values[: self.size // 3]}, "epoch": number, "list": [number, (number,)]},
        )

    def read(self) -> int:
        """Which content it is; raises when it is none of them."""
        found = mg.load(self.path)
        number = found["epoch"]
        assert found["list"] == [number, (number,)] and len(found["model"]["w"]) == self.size
        assert all((tensor.numpy() == number).all() for tensor in found["model"].values())
        return number


class Folder:
    """A new folder of a model: it is there as a whole, or not at all."""

    def __init__(self, path: Path) -> None:
        self.path, self.model = path, models.PVT_V2(CONFIG)

    def save(self, number: int) -> None:
        aside = self.path.with_name("aside")
        if aside.exists():
            for path in aside.iterdir():
                path.unlink(missing_ok=True)
            aside.rmdir()
        if self.path.exists():
            os.rename(self.path, aside)
        models.save_pretrained(self.model, self.path, "original")

    def read(self) -> int:
        if self.path.exists():
            assert len(os.listdir(self.path)) == 3
            models.from_pretrained(self.path)
        return 0


def work(thing: File | Folder) -> None:
    """Saves, until something ends it."""
    number, until = 0, time.monotonic() + 20
    while time.monotonic() < until:
        number = 1 - number
        thing.save(number)
    raise TimeoutError("nothing ended the saves")


def killed(thing: File | Folder, seconds: float) -> None:
    """Saves in a process that is killed after some time."""
    child = os.fork()
    if child == 0:
        try:
            work(thing)
        finally:
            os._exit(1)  # it failed
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the process ended by itself"


def interrupted(thing: File | Folder, seconds: float) -> None:
    """Saves until a KeyboardInterrupt comes after some time."""
    old = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(
            signal.ITIMER_REAL, seconds, 0.5
        )  # again, because Python drops one that comes within a weakref's callback
        work(thing)
    except KeyboardInterrupt:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    gc.collect()


def main(how: str, seed: int, count: int, folder: Path) -> None:
    folder.mkdir(parents=True)
    rng = random.Random(seed)
    things = [File(folder / "a.safetensors", 300_000), File(folder / "b.safetensors", 1000), Folder(folder / "model")]
    stop = {"kill": killed, "interrupt": interrupted}[how]
    out: dict = {"faults": [], "left": 0, "saved": 0}
    for thing in things:
        thing.save(0)
    for i in range(count):
        thing = rng.choice(things)
        try:
            stop(thing, rng.uniform(0.0005, 0.03))
            out["left"] += any(name.startswith(PREFIX) for name in os.listdir(folder))
            out["saved"] += thing.read()
            thing.save(0)
            assert thing.read() == 0
            left = [name for name in os.listdir(folder) if name.startswith(PREFIX)]
            assert not left, left
        except BaseException as error:  # noqa: BLE001
            out["faults"].append([i, type(thing).__name__, repr(error)[:300], traceback.format_exc()[-600:]])
    names = sorted(os.listdir(folder))
    if set(names) - {"aside"} != {"a.safetensors", "b.safetensors", "model"}:
        out["faults"].append(names)
    print(json.dumps(out))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
