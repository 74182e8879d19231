"""What is switched on in this thread: recording of operations, and observers."""

import threading
from collections.abc import Callable
from typing import Any

from minigrad.switches import Switch

# Bits of the mode: record the tape; somebody observes operations; mixed precision; somebody collects the nodes of the tape.
GRAD, WATCH, AUTOCAST, COLLECT = 1, 2, 4, 8
SLOW = WATCH | AUTOCAST | COLLECT  # what the short ways of common operations leave to the general one


class State(threading.local):
    mode = GRAD
    observers: tuple = ()  # called after every operation, where WATCH is set
    backward_observers: tuple = ()  # called after every derivative
    cast: Any = None  # gives an operation's inputs the dtypes in which it computes, where AUTOCAST is set
    low = "auto"  # the dtype of products there
    tracer: Any = None  # hears of leaves that are changed or get a gradient (`mg.compile`)
    collector: list | None = None  # receives every node that is recorded, where COLLECT is set


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


class no_grad(Switch):
    """Context manager and decorator: operations inside are not recorded, their results require no gradient.

    As a decorator it may stand with or without brackets, also on a generator function.

    >>> import minigrad as mg
    >>> w = mg.ones(3, requires_grad=True)
    >>> with mg.no_grad():
    ...     w -= 0.1          # rebinds w's data; nothing is recorded
    >>> @mg.no_grad
    ... def predict(x):
    ...     return x * w
    >>> predict(mg.ones(3)).requires_grad
    False
    """

    on = False

    def __new__(cls, function: Callable | None = None):
        self = super().__new__(cls)
        return self if function is None else self(function)

    def __init__(self, function: None = None) -> None:
        self._before: list[int] = []

    def _recreate_cm(self):
        return type(self)()

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


class observe(Switch):
    """Context manager and decorator that tells what the engine does.

    Args:
        callback: `callback(name, inputs, output, static)`, called after every operation executed inside.
        backward: `backward(node, gradient, results)`, called after every derivative that a `backward` or `grad` inside takes: the
            node of the tape (`node.op.name` names its operation), the gradient by its output (a tuple for an operation with
            several outputs), and a tuple of the gradients by `node.edges`, None where there is none.

    Observers within each other are all called, the innermost last.

    >>> import minigrad as mg
    >>> names, steps = [], []
    >>> x = mg.tensor(3.0, requires_grad=True)
    >>> with mg.autograd.observe(lambda name, inputs, output, static: names.append(name),
    ...                          backward=lambda node, g, results: steps.append((node.op.name, g.item()))):
    ...     (x * x + 1).backward()
    >>> names, steps
    (['mul', 'add'], [('add', 1.0), ('mul', 1.0)])
    """

    def __init__(self, callback: Callable | None = None, backward: Callable | None = None):
        self.callback, self.backward = callback, backward
        self._before: list[tuple] = []

    def _recreate_cm(self):
        return type(self)(self.callback, self.backward)

    def __enter__(self) -> None:
        self._before.append((state.observers, state.backward_observers))
        if self.callback is not None:
            state.observers, state.mode = (*state.observers, self.callback), state.mode | WATCH
        if self.backward is not None:
            state.backward_observers = (*state.backward_observers, self.backward)

    def __exit__(self, *exc) -> None:
        state.observers, state.backward_observers = self._before.pop()
        if not state.observers:
            state.mode &= ~WATCH
