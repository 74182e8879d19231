"""Stopping a run between two steps, when somebody presses Ctrl-C or the system asks."""

import signal
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


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
