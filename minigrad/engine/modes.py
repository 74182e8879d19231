"""What is switched on in this thread: recording of operations, and observers."""

import threading
from typing import Any, Self

from minigrad.switches import BareSwitch

# Bits of the mode: record the tape; somebody observes operations; mixed precision; somebody collects nodes; a step is traced.
GRAD, WATCH, AUTOCAST, COLLECT, TRACE = 1, 2, 4, 8, 16
SLOW = WATCH | AUTOCAST | COLLECT | TRACE  # what the short ways of common operations leave to the general one


class State(threading.local):
    mode = GRAD
    observers: tuple = ()  # called after every operation, where WATCH is set
    backward_observers: tuple = ()  # called after every derivative
    cast: Any = None  # gives an operation's inputs the dtypes in which it computes, where AUTOCAST is set
    low = "auto"  # the dtype of matrix products there, "auto" for the backend's own choice
    collector: list | None = None  # receives every node that is recorded, where COLLECT is set


state = State()


class no_grad(BareSwitch):
    """Context manager and decorator (with or without brackets, also of a generator function): operations inside are not recorded, their
    results require no gradient.

    >>> import minigrad as mg
    >>> w = mg.ones(3, requires_grad=True)
    >>> @mg.no_grad
    ... def predict(x):
    ...     return x * w
    >>> predict(mg.ones(3)).requires_grad
    False
    """

    on = False

    def __enter__(self) -> Self:
        self._before.append(state.mode)
        state.mode = state.mode | GRAD if self.on else state.mode & ~GRAD
        return self

    def __exit__(self, *exc: object) -> None:
        state.mode = state.mode & ~GRAD | self._before.pop() & GRAD


class enable_grad(no_grad):
    """Context manager and decorator: operations inside are recorded again, within a `no_grad`."""

    on = True


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread."""
    return bool(state.mode & GRAD)
