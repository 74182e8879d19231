"""What a step may change, as it was before."""

from collections.abc import Iterator
from typing import Any

from minigrad import random
from minigrad.compiler.carried import Carried


class Snapshot:
    """The state before a step, to be put back when the step raises or was only traced: its tensors, their gradients, and what shares
    memory with them."""

    def __init__(self, carried: Carried):
        self.tensors = [(t, t._data, t._ties, t._requires_grad) for t in carried.tensors.values()]
        whole = {id(t): t for t in carried.tensors.values()}
        whole |= {id(t._grad): t._grad for t in carried.tensors.values() if t._grad is not None}
        memories = {id(t._ties.memory): t._ties.memory for t in whole.values() if t._ties is not None}
        whole |= {id(member): member for memory in memories.values() for member in memory.living()}
        self.memories = [(memory, memory.array) for memory in memories.values()]
        self.places = [
            (t, t._data, t._backend, t._edge, t._requires_grad, t._grad, t._ties, t._ties and t._ties.edge)
            for t in whole.values()
        ]
        self.containers: list[tuple[Any, Any]] = [(c, c.copy()) for c in (*carried.containers, *carried.groups)]
        self.random = random.default.state

    def restore_tensors(self) -> None:
        """Arrays, places on the tape, gradients and ties as they were, and the generator."""
        for t, *before, edge in self.places:
            t._data, t._backend, t._edge, t._requires_grad, t._grad, t._ties = before
            if t._ties is not None:
                t._ties.edge = edge
        for memory, array in self.memories:
            memory.array = array
        random.default.state = self.random

    def restore(self) -> None:
        """Everything as it was."""
        self.restore_tensors()
        for container, before in self.containers:
            container.clear()
            container.update(before) if isinstance(container, dict) else container.extend(before)

    def replaced(self) -> Iterator[tuple[dict, str, object, object]]:
        """(container, key, value before or None, value now) for what the step put into dictionaries and attributes."""
        for container, before in self.containers:
            if isinstance(container, dict):
                for key, value in list(container.items()):
                    if before.get(key) is not value:
                        yield container, key, before.get(key), value
