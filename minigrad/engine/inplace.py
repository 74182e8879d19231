"""Writes and views.

A tensor is a place: an array and an edge of the tape. A write puts a new array, and the node that made it, into the place (`write`).
So what nodes saved stays true, and `y = x; y += 1` changes both names.

All views of one tensor (`x[0]`, `x.t()`), and that tensor, share a `Memory`; each knows the steps that lead from there to its own
array. A write to one of them puts the new values back into the memory along its steps, then goes through the steps of all others
again (`renew`), so that reading costs nothing. A recorded write renews edges, too, but for those of `detach()` and `.data`.
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

WRITING = (
    threading.RLock()
)  # threads may write to views of one tensor or add to one gradient, and observers within that


class Memory:
    """What tensors share: an array, and weak references to them."""

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
    """How a tensor hangs on a memory: `steps`, pairs (view operation, static values), lead from there to its array. `manner` is "", or
    why it can't be written where a gradient is involved: it was made under "no_grad", or is one of "several".

    Tensors whose gradients flow to one place are a family. Its first has the `edge` of that place, and is the others' `family`.
    """

    __slots__ = ("memory", "family", "steps", "manner", "tensor", "edge", "at")

    def __init__(self, t: Tensor, memory: Memory, family: "Ties | None" = None, steps: tuple = (), manner: str = ""):
        self.memory, self.family, self.steps, self.manner = memory, family, steps, manner
        self.at: layout.Layout | None = None
        self.edge, self.tensor = t._edge, weakref.ref(t)
        memory.members.append(self.tensor)
        if len(memory.members) > memory.limit:
            memory.purge()

    def layout(self) -> layout.Layout:
        """Where the tensor's elements lie in the memory."""
        self.at = at = self.at or layout.after(self.memory.array.shape, self.steps)
        return at


def ties(t: Tensor) -> Ties:
    """Those of a tensor, which get a memory of its own if it has none yet."""
    t._ties = t._ties or Ties(t, Memory(t._data))
    return t._ties


def viewed(base: Tensor, view: Tensor, op, static: dict, manner: str = "") -> None:
    """Notes that `view` is what a view operation made of `base`, unless it is a copy (x[[0, 1]], a reshaping of what isn't in order)."""
    if op.copies is not None and op.copies(base._ties, **static):
        return
    of = ties(base)
    manner = manner or of.manner if state.mode & GRAD else "no_grad"
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
    """Puts `new`, a result of t's shape and dtype, into t's place; returns t. Under `no_grad` the edge stays."""
    recorded = check(t, new)
    tracing.write(t)
    if not recorded:
        set_array(t, new._data)
    elif t._ties is None:
        t._data = new._data
        move(t, new._edge)
    else:
        xp, memory, first, steps = t._backend, t._ties.memory, t._ties.family or t._ties, t._ties.steps
        start = len(first.steps)
        root = _tensor(follow(raw(xp), memory.array, first.steps), xp, first.edge)
        root = put_back(TENSORS, xp, root, steps[start:], new)
        memory.array, first.edge = put_back(raw(xp), xp, memory.array, first.steps, root._data), root._edge
        renew(memory)
        for member in memory.living():
            if first in (member._ties, member._ties.family):
                move(member, follow(TENSORS, _tensor(root._data, xp, root._edge), member._ties.steps[start:])._edge)
    return t


def check(t: Tensor, *values) -> bool:
    """Whether a write to t of something made of these values is recorded. Raises RuntimeError where a gradient would be lost."""
    first = t._ties and (t._ties.family or t._ties)
    root = t if first is None else first.tensor()
    found = any(v._requires_grad for v in (t, root, *values) if isinstance(v, Tensor))
    if not state.mode & GRAD or not found and (first is None or first.edge is None):
        return False
    for place, what in ((t, "a leaf"), (root, "a view of a leaf")):
        if place is not None and place._requires_grad and place._edge is None:
            raise messages.written_leaf(what)
    if t._ties is not None and t._ties.manner:
        raise messages.written_view(t._ties.manner)
    return True


def move(t: Tensor, edge) -> None:
    """Gives a tensor another edge; where its gradient is retained, it is that of the new value from now on."""
    old, t._edge, t._requires_grad = t._edge, edge, edge is not None
    mine = [reference for reference in old.retained if reference() is t] if old and edge not in (None, old) else ()
    if mine:
        old.retained = tuple([reference for reference in old.retained if reference() is not t])
        edge.hooks, edge.retained = edge.hooks or [], (*edge.retained, *mine)


def assign(t: Tensor, array) -> None:
    """Changes the values of a tensor to those of a raw array, and no edge: how optimisers and modules write."""
    tracing.write(t)
    set_array(t, array if t._backend.owns(array) else t._backend.asarray(array))


def set_array(t: Tensor, array) -> None:
    """Changes the values of a tensor and of all that share its memory; no edge."""
    with WRITING:
        of = t._ties
        if of is None:
            t._data = array
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
    """Whether t's array may be written in place: its library allows that, and nobody else holds the memory. Where somebody does, the
    tensors that share it get a copy first."""
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
    """`base` with `value` in place of what the steps make of it; arrays, or tensors on the tape."""
    if not steps:
        return value
    (op, static), rest = steps[0], steps[1:]
    if len(steps) > 8 or any(step.put is None for step, _ in steps):  # by the positions of what the steps show
        shape = tuple(base.shape)
        at = xp.reshape(follow(raw(xp), xp.reshape(xp.arange(math.prod(shape)), shape), steps), (-1,))
        flat = ops.update(ops.reshape(base, shape=(-1,)), ops.reshape(value, shape=(-1,)), index=(at,))
        return ops.reshape(flat, shape=shape)
    part = put_back(ops, xp, follow(ops, base, steps[:1]), rest, value) if rest else value
    return op.put(ops, base, part, **static)
