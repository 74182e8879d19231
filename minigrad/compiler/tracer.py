"""The tracer: what a traced step does that isn't in the array library's record of it.

That record has arrays only. Which tensors the step read or set, which leaves got a gradient and how many random numbers were
drawn, it is told by the rest of minigrad through `minigrad.backend.tracing`. It refuses at once what the record would lose: a write
to a tensor, or a gradient for one, that the step neither made nor has in its state.
"""

import gc
import math
import weakref
from collections.abc import Iterable
from typing import Any

from minigrad.backend.tracing import port
from minigrad.compiler.carried import Carried
from minigrad.engine.inplace import Memory
from minigrad.engine.modes import TRACE, state
from minigrad.engine.tensor import Tensor
from minigrad.functions.writes import overlaps


class CompileError(RuntimeError):
    """A compiled step did something that only a step with values can do, or that would be lost."""


class KeysExhausted(Exception):
    """A trace drew more random numbers than it was given keys for."""


NAME_IT = "name it: mg.compile(step, state=[model, optimizer, …])"


def living() -> dict[int, weakref.ref[Tensor]]:
    """All tensors that there are, by their ids. The collector finds them as what refers to their class: 1 ms in a small process, 20 ms
    where PyTorch and transformers are loaded, 50 ms among three million lists."""
    kinds: set[type] = {Tensor}
    found = [Tensor]
    while found:
        found = [kind for base in found for kind in base.__subclasses__()]
        kinds.update(found)
    if frozen := gc.get_freeze_count():  # which the collector doesn't look at
        gc.unfreeze()
    tensors = {id(t): weakref.ref(t) for t in gc.get_referrers(*kinds) if type(t) in kinds}
    if frozen:
        gc.freeze()
    return tensors


class Guard:
    """While a step runs within it, each write to a tensor that the step neither made nor has in its state is refused.

    known: the ids of what is in the state, objects and tensors.
    arguments: the step's, which it may not write to either, though the state shares their memory.

    Those made by the step are those that weren't there before. Another tensor may have the id of one that is no more: its weak
    reference tells.
    """

    def __init__(self, carried: Carried):
        self._state = set(map(id, carried.tensors.values()))
        self.known = self._state | set(map(id, carried.known))
        self.arguments: list[Tensor] = []
        self._outside = living()
        self._memories: dict[int, tuple[Memory, list[tuple]]] = {}
        self._may_write(carried.tensors.values())

    def _may_write(self, tensors: Iterable[Tensor]) -> None:
        """Notes the memories of the state, with the steps that lead to what a write may change."""
        for t in tensors:
            if t._ties is not None:
                memory = t._ties.memory
                whole = t.numel() == math.prod(memory.array.shape) and not overlaps(t)
                self._memories.setdefault(id(memory), (memory, []))[1].append(() if whole else t._ties.steps)

    def pass_in(self, carried: Carried, leaves: list) -> None:
        """Takes the arguments of a step that isn't compiled, and the gradients that its state has, which are the caller's tensors."""
        gradients = [t._grad for t in carried.tensors.values() if t._grad is not None]
        self.known.update(map(id, gradients))
        self._may_write(gradients)
        self.arguments = [leaf for leaf in leaves if isinstance(leaf, Tensor)]

    def __enter__(self):
        port.guard = self
        return self

    def __exit__(self, *exc) -> None:
        port.guard = None

    def outside(self, t: Tensor) -> bool:
        """Whether a tensor was there before the step and isn't in its state."""
        return id(t) not in self.known and id(t) in self._outside and self._outside[id(t)]() is t

    def write(self, tensor: Tensor, what: str, value: Any = None) -> None:
        ties = tensor._ties if what == "values" else None
        members = [tensor] if ties is None else ties.memory.living()
        if what == "place" and _stays(tensor, value):
            return
        for t in members:
            if any(t is argument for argument in self.arguments):
                raise CompileError(
                    f"an argument of the compiled step, of shape {t.shape}, is changed by it{_how(t, tensor)}: make a new tensor, as "
                    "in x = x + 1, write to a clone(), or have the tensor in the state and pass its clone()"
                )
        if ties is not None and id(ties.memory) in self._memories:
            if any(ties.steps[: len(steps)] == steps for steps in self._memories[id(ties.memory)][1]):
                return
        for t in members:
            if self.outside(t):
                raise CompileError(
                    f"a tensor of shape {t.shape} that is not in the state of the compiled step is changed by it{_how(t, tensor)}: write "
                    f"to its clone(), keep it in an nn.Buffer, or {NAME_IT}"
                )


def _stays(t: Tensor, value: Any) -> bool:
    """Whether a tensor is given what it has, as in `t.data -= 1`."""
    mine, its = t._ties, getattr(value, "_ties", None)
    return mine is not None and its is not None and mine.memory is its.memory and mine.steps == its.steps


def _how(t: Tensor, written: Tensor) -> str:
    return "" if t is written else " through what shares its memory (a view, detach(), .data)"


class Tracer(Guard):
    """Is at work in the thread that enters it, until that leaves it.

    keys: an array with a key for each random draw, `first` the counter of the first one, `draws` how many there were so far.
    used: the ids of the tensors whose values were read. Of those that are no more, others may have the id by now.
    moved: those of tensors that have left the memory that they shared.
    """

    def __init__(self, carried: Carried, first: int):
        super().__init__(carried)
        self.first, self.draws = first, 0
        self.used: set[int] = set()
        self.moved: set[int] = set()

    def __enter__(self) -> "Tracer":
        port.tracer = port.guard = self
        state.mode |= TRACE
        return self

    def __exit__(self, *exc) -> None:
        port.tracer = port.guard = None
        state.mode &= ~TRACE

    def begin(self, keys, arguments: list[Tensor | None], leaves: list) -> None:
        """Takes the trace's own tensors, and the caller's: what he passes may share memory with the state."""
        self.keys, self.arguments = keys, [t for t in (*arguments, *leaves) if isinstance(t, Tensor)]
        self.known.update(map(id, arguments))

    def end(self) -> None:
        """Lets go of them: what hangs on them holds the trace's graph."""
        del self.keys, self.arguments

    # --- what it is told, see minigrad.backend.tracing ------------------------------------------------------------
    def read(self, things: Iterable) -> None:
        self.used.update(map(id, things))

    def write(self, tensor: Tensor, what: str, value: Any = None) -> None:
        super().write(tensor, what, value)
        if what == "place" and not _stays(tensor, value):
            self.moved.add(id(tensor))

    def reach(self, leaf: Tensor) -> None:
        if self.outside(leaf):
            self.require(leaf, f"a leaf of shape {leaf.shape}", "gets a gradient in it")

    def require(self, thing, what: str, does: str) -> None:
        if id(thing) not in self.known:
            raise RuntimeError(f"{what} that is not in the state of the compiled step {does}; {NAME_IT}")

    def key(self, counter: int):
        i = counter - self.first
        self.draws = max(self.draws, i + 1)  # a part that is recomputed draws its numbers again
        if i >= len(self.keys):
            raise KeysExhausted
        return self.keys[i]

    def joined(self, t: Tensor) -> bool:
        """Whether a tensor of the state, which has moved, shares memory with another, from outside or of the state."""
        if t._ties is None:
            return False
        others = [other for other in t._ties.memory.living() if other is not t]
        return any(self.outside(other) or id(other) in self._state for other in others)
