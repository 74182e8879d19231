"""`checkpoint`: a part of the tape that forgets what it saved, and computes it again when backward comes.

The part is on the tape as any other: its nodes, edges and hooks are there, and so are the parameters that it uses. Only what the
nodes saved is missing. When backward comes to the first of them, the function runs once more, records nodes of the same
operations in the same order, and hands on what those save.
"""

import threading
import weakref
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, TypeVar

from minigrad import checks, ops, random
from minigrad.autograd.autocast import autocast_state
from minigrad.engine.modes import COLLECT, WATCH, enable_grad, is_grad_enabled, state
from minigrad.engine.operation import Node
from minigrad.engine.tensor import Tensor, _tensor

T = TypeVar("T")


class Recomputed:
    """The operation of a node whose part forgot what it saved: computes the part again, and then is what it was. The node is number
    `i` of the part."""

    def __init__(self, node: Node, part: "_Part", i: int):
        self.op, self.part, self.i = node.op, part, i
        self.name = node.op.name

    def pull(self, node: Node, g, create_graph: bool):
        self.part.remind(node, g)
        results = node.op.pull(node, g, create_graph)
        self.part.leave(node, results)
        return results


class _Part:
    """`function(*inputs)` with what it takes to compute it again."""

    def __init__(self, function: Callable, inputs: tuple):
        self.function = function
        self.inputs = [_tensor(t.array, t._backend) if isinstance(t, Tensor) else t for t in inputs]
        self.recorded = [isinstance(t, Tensor) and t.requires_grad for t in inputs]
        self.random, self.autocast, self.watched = random.default.state, autocast_state(), state.mode & WATCH
        self.names: list[str] = []  # of the operations
        self.kept: list | None = None  # what they saved, when it is there again
        self.left: list = []  # gradients of leaves that have gone out of the part, on a backend that computes later
        self.lock = threading.RLock()

    def forget(self, nodes: list[Node]) -> None:
        """Takes from the part's nodes what they saved, where the function itself hasn't gone back through them."""
        self.names = [node.op.name for node in nodes]
        for i, node in enumerate(nodes):
            if node.saved is not None:
                node.op, node.saved = Recomputed(node, self, i), ()

    def remind(self, node: Node, g) -> None:
        with self.lock:
            operation = node.op
            if operation.__class__ is not Recomputed or operation.part is not self:
                return  # another thread was faster
            if self.kept is None:
                self.kept = self.again(node, g)
            (node.op, node.saved), self.kept[operation.i] = self.kept[operation.i], None

    def again(self, node: Node, g) -> list:
        """Runs the function again: with the same random numbers, and on a lazy backend not before the gradient is there."""
        given = [d._data if isinstance(d, Tensor) else d for d in (g if isinstance(g, tuple) else (g,))]
        mode, observers = state.mode, state.observers
        if not self.watched:  # an observer that came later would see other operations: those that kernels take together
            state.mode, state.observers = mode & ~WATCH, ()
        else:
            state.mode = mode | WATCH
        try:
            with random.default.again(self.random, given), enable_grad(), self.autocast, collecting(False) as nodes:
                inputs = _after(self.inputs, given, node.xp)
                self.function(*(_on_tape(t) if r else t for t, r in zip(inputs, self.recorded, strict=True)))
        finally:
            state.mode, state.observers = mode, observers
        names = [node.op.name for node in nodes]
        if names != self.names:
            raise RuntimeError(
                f"checkpoint: computed again, the function used other operations ({_difference(self.names, names)}); it must "
                "do the same each time, and must not depend on what changes between forward and backward"
            )
        return [(node.op, node.saved) for node in nodes]

    def leave(self, node: Node, results) -> None:
        """Notes the gradients that leave the part for parameters."""
        if not node.xp.eager:
            self.left += [
                d
                for edge, d in zip(node.edges, results, strict=True)
                if isinstance(edge, Tensor) and d.__class__ is node.xp.array_type
            ]


@contextmanager
def collecting(chained: bool):
    """A list of the nodes that are recorded inside. With `chained`, a part around it receives them as well."""
    nodes: list[Node] = []
    before, bit = state.collector, state.mode & COLLECT
    state.collector, state.mode = nodes, state.mode | COLLECT
    try:
        yield nodes
    finally:
        state.collector, state.mode = before, state.mode & ~COLLECT | bit
        if chained and before is not None:
            before += nodes


def _on_tape(t: Tensor) -> Tensor:
    """A tensor as the result of an operation that leads nowhere."""
    return _tensor(t.array, t.backend, Node(ops.clone, t.backend, ops.clone.plan(1, 1), (), ()))


def _after(values: list, earlier: list, xp) -> list:
    """The values, not to be used before the earlier arrays are there. Without that a lazy backend could compute a part again
    long before its gradient comes, or its parameters' gradients long after, and would hold all that lies between; a compiling
    one would see that it has computed the part before, and keep that."""
    mine = {k: t.array for k, t in enumerate(values) if isinstance(t, Tensor) and t.backend is xp}
    arrays = dict(zip(mine, xp.after(list(mine.values()), earlier), strict=True))
    return [_tensor(arrays[k], xp) if k in arrays else t for k, t in enumerate(values)]


def _difference(first: list[str], second: list[str]) -> str:
    for i, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return f"number {i + 1} was {a} and is now {b}"
    return f"{len(first)} at first, then {len(second)}"


def checkpoint(function: Callable[..., T], *inputs: Any) -> T:
    """function(*inputs), keeping only the inputs: what lies between is computed again in backward, which saves memory for
    about a third more time. Chen et al. 2016, arXiv 1604.06174.

    Everything else is as without it: derivatives of every order, hooks, gradients of parameters and of other tensors that the
    function uses. Random numbers are drawn again alike, and `autocast` is as it was. The function must do the same each time; it
    may return tensors in any structure. It gets copies of the inputs that require a gradient: what it writes to them stays inside,
    and no result is a view of them.

    Raises:
        RuntimeError: in backward, when the function did something else the second time.

    >>> import minigrad as mg
    >>> layer, x = mg.nn.Linear(4, 4), mg.randn(2, 4, requires_grad=True)
    >>> mg.autograd.checkpoint(layer, x).sum().backward()
    >>> layer.weight.grad.shape
    (4, 4)
    """
    checks.function("checkpoint", "function", function)
    if not is_grad_enabled():
        return function(*inputs)
    part = _Part(function, inputs)
    given = [ops.clone(t) if r else t for t, r in zip(inputs, part.recorded, strict=True)]
    for t, r in zip(given, part.recorded, strict=True):
        if r and not t.backend.eager:
            t.register_hook(_waiting(weakref.ref(part)))
    with collecting(True) as nodes:
        outputs = function(*given)
    part.forget(nodes)
    return outputs


def _waiting(reference) -> Callable:
    def hook(g: Tensor) -> Tensor | None:
        """Holds a gradient that leaves a part back until those of the part's parameters are there."""
        part = reference()
        return _after([g], part.left, g.backend)[0] if part is not None and part.left and not g.requires_grad else None

    return hook
