"""The port between `mg.compile` and the rest of minigrad: which tracer is at work in this thread, and what it wants to be told.

A step that is traced runs on arrays without values. Its operations are recorded by the array library; what it does besides is told
to the tracer (`minigrad.compiler.tracer`). Where none is at work, telling it does nothing. The port stands here, on the lowest
floor, because the backends ask as well, and they import nothing from above.
"""

import threading
from collections.abc import Iterable
from typing import Any


class Port(threading.local):
    tracer: Any = None  # the one at work; it has a method for each function of this file
    guard: Any = (
        None  # who is told of writes: the tracer, or what stands there in the first run of a step that isn't compiled
    )


port = Port()


def read(things: Iterable) -> None:
    """Tells that the values of those among `things` that are tensors are used."""
    if port.tracer is not None:
        port.tracer.read(things)


def write(tensor, what: str = "values", value: Any = None) -> None:
    """Tells that a tensor's array or flag is about to be set, its backend, too, if it is one that is carried from step to step.
    What is set: its "values", and those of all that share its memory; its "place", so that it leaves the memory for that of `value`;
    or its "flag".

    Raises:
        RuntimeError: when the step that is traced neither made what changes nor has it in its state.
    """
    if tensor.carried:
        tensor._backend.carry(tensor)
    if port.guard is not None:
        port.guard.write(tensor, what, value)


def reach(leaf) -> None:
    """Tells that a leaf is about to get a gradient."""
    if port.tracer is not None:
        port.tracer.reach(leaf)


def require(thing, what: str, does: str = "is changed by it") -> None:
    """Has an object be part of the step's state: `what` names it, `does` says what the step is about to do with it.

    Raises:
        RuntimeError: when it isn't.
    """
    if port.tracer is not None:
        port.tracer.require(thing, what, does)


def key(counter: int) -> Any:
    """The key of the random draw with this number as an array that a compiled step is given, or None: make one."""
    return None if port.tracer is None else port.tracer.key(counter)
