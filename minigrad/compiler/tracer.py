"""The tracer: what a traced step does that isn't in the array library's record of it.

That record has arrays only. Which tensors the step read or set, which leaves got a gradient and how many random numbers were
drawn, it is told by the rest of minigrad through `minigrad.backend.tracing`.
"""

import gc
import weakref
from collections.abc import Iterable

from minigrad.backend.tracing import port
from minigrad.engine.modes import TRACE, state


class KeysExhausted(Exception):
    """A trace drew more random numbers than it was given keys for."""


class Tracer:
    """Is at work in the thread that enters it, until that leaves it.

    known: the ids of the objects and tensors whose changes are carried, the step's arguments among them.
    keys: an array with a key for each random draw, `first` the counter of the first one, `draws` how many there were so far.
    used: the ids of the tensors whose values were read. Of those that are no more, others may have the id by now.
    """

    def __init__(self, known: Iterable, keys, first: int):
        self.known = {id(thing) for thing in known}
        self.keys, self.first, self.draws = keys, first, 0
        self.used: set[int] = set()
        self._reached: list = []  # (weak reference, gradient before) of other leaves that got a gradient
        self._written: list = []  # (weak reference, array, backend and flag before) of other tensors that were set

    def __enter__(self) -> "Tracer":
        port.tracer = self
        state.mode |= TRACE
        return self

    def __exit__(self, *exc) -> None:
        port.tracer = None
        state.mode &= ~TRACE

    # --- what it is told, see minigrad.backend.tracing ------------------------------------------------------------
    def read(self, things: Iterable) -> None:
        self.used.update(map(id, things))

    def write(self, tensor) -> None:
        if id(tensor) not in self.known:
            before = tensor._data, tensor._backend, tensor._requires_grad
            self._written.append((weakref.ref(tensor), *before))

    def reach(self, leaf) -> None:
        if id(leaf) not in self.known:
            self._reached.append((weakref.ref(leaf), leaf.grad))

    def require(self, thing, what: str, does: str) -> None:
        if id(thing) not in self.known:
            raise RuntimeError(
                f"{what} that is not in the state of the compiled step {does}; name it: "
                "mg.compile(step, state=[model, optimizer, …])"
            )

    def key(self, counter: int):
        i = counter - self.first
        self.draws = max(self.draws, i + 1)  # a part that is recomputed draws its numbers again
        if i >= len(self.keys):
            raise KeysExhausted
        return self.keys[i]

    # --- what follows from it -------------------------------------------------------------------------------------
    def check(self) -> None:
        """Refuses a step that changed a tensor from outside, which has to be in the state. Those that it made itself are gone by now.

        Raises:
            RuntimeError: naming the tensor's shape.
        """
        if any(reference() is not None for reference, *_ in (*self._reached, *self._written)):
            gc.collect()
        leaf, tensor = ("leaf", "gets a gradient in it"), ("tensor", "is changed by it")
        for (what, does), found in ((leaf, self._reached), (tensor, self._written)):
            for reference, *_ in found:
                if (t := reference()) is not None:
                    self.require(t, f"a {what} of shape {t.shape}", does)

    def undo(self) -> None:
        """Puts back what was changed of tensors from outside."""
        for reference, grad in reversed(self._reached):
            if (t := reference()) is not None:
                t._grad = grad
        for reference, *before in reversed(self._written):
            if (t := reference()) is not None:
                t._data, t._backend, t._requires_grad = before
