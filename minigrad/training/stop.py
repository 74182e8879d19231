"""How a run ends before its end: by an error, or between two steps, when somebody presses Ctrl-C or the system asks."""

import os
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


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


def python() -> str:
    """How to call this Python on a command line: "python" where that finds it, else its path from here."""
    found = shutil.which("python")
    if found is not None and os.path.abspath(found) == os.path.abspath(sys.executable):
        return "python"
    return shlex.quote(min(os.path.relpath(sys.executable), sys.executable, key=len))


class Stopped(Exception):
    """Somebody asked the run to stop."""


class Stop:
    """While open, the first SIGINT or SIGTERM only asks to stop when it suits; a second one interrupts at once."""

    wanted = False

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()  # elsewhere Python allows no handlers
        signals = (signal.SIGINT, signal.SIGTERM) if main else ()
        self.before = {number: signal.signal(number, self._note) for number in signals}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: Any) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True

    def between(self, items: Iterable[T]) -> Iterator[T]:
        """The items, until a stop is asked for."""
        for item in items:
            self.check()
            yield item
        self.check()

    def check(self) -> None:
        """Raise if a stop was asked for."""
        if self.wanted:
            raise Stopped
