"""Writes and views.

A tensor is a place: it has an array and an edge. A write puts a new array into the place and, if it is recorded, the edge to the
node that made it (`write`). So what nodes saved stays true, and `y = x; y += 1` changes both names.

A tensor and all its views (`x[0]`, `x.t()`) share a `Memory`. Each has steps that lead from there to its own array. A write to one of
them puts the new values back into the memory along its steps, then renews the arrays of the others along theirs (`renew`), so that
reading costs nothing. A recorded write renews the edges of its family, too: of all but what `detach()` and `.data` gave.
"""

import math
import threading
import weakref
from collections.abc import Sequence

from minigrad import messages
from minigrad.backend import layout, tracing
from minigrad.engine.modes import GRAD, state
from minigrad.engine.operation import TENSORS, raw
from minigrad.engine.tensor import Tensor, _tensor

# Threads may write to views of one tensor, or add to one gradient; an observer may write within a write.
WRITING = threading.RLock()


class Memory:
    """What tensors share: an array, and weak references to the tensors."""

    __slots__ = ("array", "members", "limit", "__weakref__")

    def __init__(self, array):
        self.array, self.members, self.limit = array, [], 16

    def living(self) -> list[Tensor]:
        """The tensors that share it; others have died or left it."""
        return [t for r in self.members if (t := r()) is not None and t._ties is not None and t._ties.memory is self]

    def purge(self) -> None:
        """Forgets the dead."""
        with WRITING:
            n = len(self.members)  # another thread may add to them meanwhile
            living = {id(t): weakref.ref(t) for reference in self.members[:n] if (t := reference()) is not None}
            self.members[:n], self.limit = living.values(), 16 + 2 * len(living)


class Ties:
    """How a tensor hangs on a memory.

    steps: pairs (view operation, static values) that lead from the memory's array to the tensor's.
    family: tensors whose gradients flow to one edge are a family. None for its first; the others have the first's ties here.
    edge: that edge, of the first only; it outlives the first tensor.
    manner: why a recorded write is refused: made under "no_grad", or one of "several" views of one call; "" if it isn't.
    tensor: a weak reference to it. at: where its elements lie, once somebody has asked (`layout`).
    """

    __slots__ = ("memory", "family", "steps", "manner", "tensor", "edge", "at")

    def __init__(self, t: Tensor, memory: Memory, family: "Ties | None" = None, steps: tuple = (), manner: str = ""):
        self.memory, self.family, self.steps, self.manner = memory, family, steps, manner
        self.at: layout.Layout | None = None
        self.edge, self.tensor = None if family else t._edge, weakref.ref(t)
        memory.members.append(self.tensor)
        if len(memory.members) > memory.limit:
            memory.purge()

    def layout(self) -> layout.Layout:
        """Where the tensor's elements lie in the memory."""
        self.at = at = self.at or layout.after(self.memory.array.shape, self.steps)
        return at


def ties(t: Tensor) -> Ties:
    """A tensor's ties; one that has none yet gets a memory of its own."""
    if t._ties is None:
        with WRITING:  # another thread may do so, too
            t._ties = t._ties or Ties(t, Memory(t._data))
    return t._ties


def viewed(base: Tensor, view: Tensor, op, static: dict, manner: str = "") -> None:
    """Notes that `view` is what a view operation made of `base`, unless it is a copy (x[[0, 1]], a reshaping of what isn't in order)."""
    if op.copies is not None and op.copies(base._ties, **static):
        return
    of = ties(base)
    manner = (manner or of.manner) if state.mode & GRAD else "no_grad"
    view._ties = Ties(view, of.memory, of.family or of, (*of.steps, (op, static)), manner)
    if of.at:
        view._ties.at = op.layout(*of.at, **static)


def share(t: Tensor, other: Tensor) -> Tensor:
    """Gives a tensor the memory of another, and its values; t's gradients stay its own."""
    of = ties(other)
    tracing.read((other,))
    t._backend, t._ties = other._backend, Ties(t, of.memory, None, of.steps)
    t._data = follow(raw(t._backend), of.memory.array, of.steps)
    return t


def write(t: Tensor, new: Tensor) -> Tensor:
    """Puts `new`, a result of t's shape and dtype, into t's place; returns t. Edges stay where the write isn't recorded."""
    recorded = check(t, new)
    tracing.write(t)
    with WRITING:
        of, xp = t._ties, t._backend
        if not recorded:
            set_array(t, new._data, alike=True)  # whoever computed `new` has looked
        elif of is None:
            t._data = new._data
            move(t, new._edge)
        else:
            memory, first = of.memory, of.family or of
            start = len(first.steps)
            # 1. Puts the new value back into the family's first tensor, as it is now. This is recorded.
            old = _tensor(follow(raw(xp), memory.array, first.steps), xp, first.edge)
            root = put_back(TENSORS, xp, old, of.steps[start:], new)
            # 2. Puts the values into the memory, and from there into all its tensors.
            memory.array, first.edge = put_back(raw(xp), xp, memory.array, first.steps, root._data), root._edge
            renew(memory)
            # 3. Gives the family's tensors new edges: follows their steps again, recorded, from a tensor like the root.
            for member in memory.living():
                if first in (member._ties, member._ties.family):
                    move(member, follow(TENSORS, _tensor(root._data, xp, root._edge), member._ties.steps[start:])._edge)
    return t


def check(t: Tensor, *values) -> bool:
    """Whether a write to t of something made of these values is recorded. Raises RuntimeError where a gradient would be lost."""
    first = t._ties and (t._ties.family or t._ties)
    root = t if first is None else first.tensor()
    required = any(v._requires_grad for v in (t, root, *values) if isinstance(v, Tensor))
    if not (state.mode & GRAD and (required or (first is not None and first.edge is not None))):
        return False
    for tensor, what in ((t, "a leaf"), (root, "a view of a leaf")):
        if tensor is not None and tensor._requires_grad and tensor._edge is None:
            raise messages.written_leaf(what)
    if t._ties is not None and t._ties.manner:
        raise messages.written_view(t._ties.manner)
    return True


def move(t: Tensor, edge) -> None:
    """Gives a tensor another edge. A gradient that is retained (`retain_grad`) is that of the new value from now on."""
    old, t._edge, t._requires_grad = t._edge, edge, edge is not None
    mine = [reference for reference in old.retained if reference() is t] if old and edge not in (None, old) else ()
    if mine:
        old.retained = tuple([reference for reference in old.retained if reference() is not t])
        edge.hooks, edge.retained = edge.hooks or [], (*edge.retained, *mine)


def assign(t: Tensor, array) -> None:
    """Changes the values of a tensor to those of a raw array, and no edge: how optimisers and modules write."""
    tracing.write(t)
    set_array(t, array if t._backend.owns(array) else t._backend.asarray(array))


def set_array(t: Tensor, array, alike: bool = False) -> None:
    """Changes the values of a tensor and of all that share its memory; no edge. `alike`: elements that share memory get one value."""
    with WRITING:
        of = t._ties
        if of is None:
            t._data = array
        elif not alike and any(op.put is None for op, _ in of.steps) and layout.repeats(*of.layout()):
            raise messages.written_overlap("in place", t)
        elif of.steps and writable(t):
            t._data[...] = array
        else:
            of.memory.array = put_back(raw(t._backend), t._backend, of.memory.array, of.steps, array)
            renew(of.memory)


def renew(memory: Memory) -> None:
    """Makes the arrays of all tensors that share a memory anew from its array."""
    for member in memory.living():
        member._data = follow(raw(member._backend), memory.array, member._ties.steps)


def writable(t: Tensor) -> bool:
    """Whether t's array may be written in place: its library allows that, and nobody else holds the memory (`alone`, which counts
    references). Where somebody does, the tensors that share the memory get a copy of it first."""
    xp, memory = t._backend, t._ties and t._ties.memory
    if not (alone := xp.alone(t, memory)) and xp.writes and memory is not None:
        memory.array = xp.array(memory.array, order="C")
        renew(memory)
        alone = xp.alone(t, memory)
    return alone


def follow(ops, array, steps: Sequence):
    """What the steps make of an array, or of a tensor."""
    for op, static in steps:
        array = getattr(ops, op.name)(array, **static)
    return array


def put_back(ops, xp, base, steps: Sequence, value):
    """`base` with `value` in place of what the steps make of it; arrays, or tensors on the tape. A step's operation tells how that is
    done (`put`). Where one can't, or many calls within each other would be needed, it is done by the positions of what is shown."""
    if not steps:
        return value
    (op, static), rest = steps[0], steps[1:]
    if len(steps) > 8 or any(step.put is None for step, _ in steps):
        shape = tuple(base.shape)
        at = xp.reshape(follow(raw(xp), xp.reshape(xp.arange(math.prod(shape)), shape), steps), (-1,))
        flat = ops.update(ops.reshape(base, shape=(-1,)), ops.reshape(value, shape=(-1,)), index=(at,))
        return ops.reshape(flat, shape=shape)
    part = put_back(ops, xp, follow(ops, base, steps[:1]), rest, value) if rest else value
    return op.put(ops, base, part, **static)
