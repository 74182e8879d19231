"""Observers of operations and of their derivatives."""

from collections.abc import Callable
from typing import Self

from minigrad.engine.modes import WATCH, state
from minigrad.switches import Switch


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

    def _recreate_cm(self) -> Self:
        return type(self)(self.callback, self.backward)

    def __enter__(self) -> None:
        self._before.append((state.observers, state.backward_observers))
        if self.callback is not None:
            state.observers, state.mode = (*state.observers, self.callback), state.mode | WATCH
        if self.backward is not None:
            state.backward_observers = (*state.backward_observers, self.backward)

    def __exit__(self, *exc: object) -> None:
        state.observers, state.backward_observers = self._before.pop()
        if not state.observers:
            state.mode &= ~WATCH
