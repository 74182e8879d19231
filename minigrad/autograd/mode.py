"""What is switched on in this thread: recording of operations, observers, the search for NaN."""

import contextlib
import threading
from collections.abc import Callable

GRAD, WATCH, AUTOCAST = 1, 2, 4  # bits of the mode: record the tape; somebody observes operations; mixed precision
SLOW = WATCH | AUTOCAST  # what the short ways of common operations leave to the general one


class State(threading.local):
    mode = GRAD
    observers: tuple = ()
    anomaly = False
    low = "auto"  # the dtype of products, where AUTOCAST is set


state = State()


class set_mode:
    """Context manager: this mode inside, the one before it afterwards."""

    __slots__ = ("mode", "before")

    def __init__(self, mode: int):
        self.mode = mode

    def __enter__(self) -> None:
        self.before, state.mode = state.mode, self.mode

    def __exit__(self, *exc) -> None:
        state.mode = self.before


class no_grad(contextlib.ContextDecorator):
    """Context manager and decorator: operations inside are not recorded, their results require no gradient.

    >>> import minigrad as mg
    >>> w = mg.ones(3, requires_grad=True)
    >>> with mg.no_grad():
    ...     w -= 0.1          # rebinds w's data; nothing is recorded
    """

    on = False

    def __init__(self) -> None:
        self._before: list[int] = []

    def _recreate_cm(self):
        return type(self)()  # a decorated function may run in several threads at once

    def __enter__(self):
        self._before.append(state.mode)
        state.mode = state.mode | GRAD if self.on else state.mode & ~GRAD
        return self

    def __exit__(self, *exc):
        state.mode = state.mode & ~GRAD | self._before.pop() & GRAD
        return False


class enable_grad(no_grad):
    """Context manager and decorator: operations inside are recorded again, within a `no_grad`."""

    on = True


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread."""
    return bool(state.mode & GRAD)


def is_observed() -> bool:
    """Whether somebody observes the operations of this thread, see `observe`."""
    return bool(state.mode & WATCH)


@contextlib.contextmanager
def observe(callback: Callable):
    """Calls `callback(name, inputs, output, static)` after every operation executed inside, innermost observer last.

    >>> import minigrad as mg
    >>> names = []
    >>> with mg.autograd.observe(lambda name, inputs, output, static: names.append(name)):
    ...     _ = mg.ones(2) + 1
    >>> names
    ['add']
    """
    before = state.observers
    state.observers, state.mode = (*before, callback), state.mode | WATCH
    try:
        yield
    finally:
        state.observers = before
        if not before:
            state.mode &= ~WATCH
