"""Whether this thread is tracing a step: running it on arrays that have no values yet, to record what it computes."""

import threading
import weakref
from typing import Any


class _State(threading.local):
    active = False
    within = (
        False  # in a compiled step that runs operation by operation, of which the compiled functions in it are parts
    )
    draws = 0  # random draws of this trace so far
    first: int  # the counter of its first one
    keys: Any  # an array with a key for each

    again: list = []  # the gradients that a part waits for which is computed again now

    known: set  # the ids of the objects and tensors whose changes are carried
    reached: list  # (weak reference, gradient before) of other leaves that got a gradient
    written: list  # (weak reference, array, backend and flag before) of other tensors whose array or flag was set

    def require(self, thing, what: str, does: str = "is changed by it") -> None:
        """Raises when something that is no part of the state is about to be changed in a trace."""
        if self.active and id(thing) not in self.known:
            raise RuntimeError(
                f"{what} that is not in the state of the compiled step {does}; name it: "
                "mg.compile(step, state=[model, optimizer, …])"
            )

    def reach(self, leaf) -> None:
        """Notes a leaf that gets a gradient in a trace: one from outside has to be in the state."""
        if id(leaf) not in self.known:
            self.reached.append((weakref.ref(leaf), leaf.grad))

    def write(self, tensor) -> None:
        """Notes a tensor whose array or flag is about to be set in a trace: one from outside has to be in the state."""
        if id(tensor) not in self.known:
            before = tensor._data, tensor._backend, tensor._requires_grad
            self.written.append((weakref.ref(tensor), *before))

    def key(self, counter: int):
        """The key of the draw with this counter, an array that is an input of the trace."""
        i = counter - self.first
        self.draws = max(self.draws, i + 1)  # a part that is recomputed draws its numbers again
        if i >= len(self.keys):
            raise KeysExhausted
        return self.keys[i]


class KeysExhausted(Exception):
    """A trace drew more random numbers than it was given keys for."""


state = _State()
