"""The walk back along the tape: `backward`, `grad`, hooks. Gradients flow from the outputs to the leaves. `order` sorts the nodes so
that each comes after all that use its result; `walk` goes through them and adds up the gradients along the edges."""

import contextlib
from collections.abc import Container, Iterable, Iterator, Sequence
from operator import attrgetter

from minigrad import messages
from minigrad.backend import tracing
from minigrad.engine.inplace import WRITING, set_array
from minigrad.engine.modes import AUTOCAST, GRAD, state
from minigrad.engine.operation import Node, Output
from minigrad.engine.tensor import Tensor, _tensor


def order(edges: Iterable) -> list[Node]:
    """The nodes reached from `edges`, each after all nodes that use its result (topological order): a node is made after those that its
    edges lead to, so the newest come first. (Tensors and nodes are hashed by identity.)"""
    found: dict[Node, None] = {}  # an ordered set: what is nearly in order is sorted quickly
    stack = [edges]
    while stack:
        for edge in stack.pop():
            if edge not in found and isinstance(edge, Node):  # a leaf leads nowhere
                found[edge] = None
                stack.append(edge.edges)
    return sorted(found, key=attrgetter("number"), reverse=True)


def walk(nodes: list[Node], grads: dict, create_graph: bool, retain_graph: bool, keep: Container = ()) -> None:
    """Goes through sorted nodes. `grads` has the gradients to start from; in the end it has those of the leaves, and of the nodes in
    `keep`."""
    observed = bool(state.backward_observers)
    for node in nodes:
        g = grads.pop(node, None)
        if g is None:
            continue
        if node.hooks is not None:  # also where a gradient is retained
            g = hooked(node, g, create_graph)
        if keep and node in keep:
            grads[node] = g
        results = node.pull(g, create_graph)
        if observed:
            tell(node, g, results)
        for edge, d in zip(node.edges, results):  # noqa: B905  (strict would cost a tenth of the walk)
            if d is not None:
                grads[edge] = grads[edge] + d if edge in grads else d
        if not retain_graph and node.plan.keeps:  # one whose VJPs name no input and no output can be pulled again
            node.edges, node.saved = (), None


def gradients(grads: dict, targets: Sequence, create_graph: bool, retain_graph: bool = True) -> dict:
    """The gradients with respect to `targets`, nodes or leaves, from those in `grads`. Nodes that lead to no target are left alone.
    Raises RuntimeError when a target isn't reached and an earlier backward has freed nodes, behind which it may lie."""
    nodes, asked = order(list(grads)), dict.fromkeys(targets)
    freed = next((node for node in nodes if node.saved is None), None)
    leading: set = set()  # to a target
    for node in reversed(nodes):
        if any(edge in asked or edge in leading for edge in node.edges):
            leading.add(node)
    with walking(create_graph):
        walk([node for node in nodes if node in leading], grads, create_graph, retain_graph, asked)
        for target in asked:
            if target in grads and target not in leading:  # the walk didn't run its hooks
                grads[target] = hooked(target, grads[target], create_graph)
    if freed is not None and any(target not in grads for target in targets):
        freed.pull(None)  # which says so
    return grads


@contextlib.contextmanager
def walking(create_graph: bool) -> Iterator[None]:
    """The mode of a walk: derivatives are recorded under `create_graph` only, and work in the dtypes that were saved."""
    before = state.mode
    state.mode = before & ~AUTOCAST & ~GRAD | (GRAD if create_graph else 0)
    try:
        yield
    finally:
        state.mode = before


def tell(node: Node, g, results: Sequence) -> None:
    """Shows the observers of backward a derivative, as tensors."""
    if node.__class__ is Output:
        return
    count = len(node.outputs or ())
    given = tuple([tensor_of(g.get(i), node.xp) for i in range(count)]) if count else tensor_of(g, node.xp)
    for callback in state.backward_observers:
        callback(node, given, tuple([tensor_of(d, node.xp) for d in results]))


def tensor_of(d, xp):
    """A gradient as a tensor of its own, so that a write to it changes no other. A leaf that requires a gradient stays itself."""
    if isinstance(d, Tensor):
        return d if d._edge is None and d._requires_grad else _tensor(d._data, xp, d._edge)
    return None if d is None else _tensor(xp.asarray(d), xp)


def backward(
    tensors: Sequence,
    grad_tensors: Sequence | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Computes the gradient of Σ tensorᵢ·grad_tensorᵢ (1 where not given) and adds it to `.grad` of every leaf that requires a gradient.
    The tape is freed on the way unless `retain_graph` (default: as `create_graph`, which puts gradients on the tape, too)."""
    grads = seeds(tensors, grad_tensors, create_graph)
    with walking(create_graph):
        walk(order(list(grads)), grads, create_graph, create_graph if retain_graph is None else retain_graph)
        for leaf, g in grads.items():
            g = hooked(leaf, g, create_graph)
            if leaf._requires_grad:  # it may have been switched off since
                tracing.reach(leaf)
                add_to(leaf, g)


def seeds(tensors: Sequence, grads: Sequence | None, create_graph: bool) -> dict:
    """What a walk starts from: for each output's edge the gradient that is given for it."""
    found: dict = {}
    if not all(isinstance(t, Tensor) for t in tensors) or (grads is not None and len(grads) != len(tensors)):
        raise messages.wrong_outputs(tensors, grads)
    for t, g in zip(tensors, grads or [None] * len(tensors), strict=True):
        if not t._requires_grad:
            raise messages.no_history()
        g = seed(t, g)
        edge, g = t._edge or t, g if create_graph else g.array
        found[edge] = found[edge] + g if edge in found else g
    return found


def seed(tensor, g):
    """The gradient given for an output in the output's dtype, a 1 for none."""
    if g is None and tensor.numel() == 1:
        return _tensor(tensor._backend.ones_like(tensor._data), tensor._backend)
    if not isinstance(g, Tensor) or g.shape != tensor.shape or g._backend is not tensor._backend:
        raise messages.wrong_seed(tensor, g)
    return g.astype(tensor.dtype)


def hooked(edge, g, create_graph: bool):
    """The gradient of a node or leaf after its hooks, each of which may return a replacement; then tensors that retain their
    gradient receive it."""
    leaf = isinstance(edge, Tensor)
    xp, hooks, retained = (edge._backend, edge._hooks, ()) if leaf else (edge.xp, edge.hooks, edge.retained)
    for hook in list(hooks or ()):
        given = tensor_of(g, xp)
        result = given if (result := hook(given)) is None else result
        messages.check_hook(given, result)
        g = result if create_graph else result.array
    for reference in retained:
        if (tensor := reference()) is not None:
            add_to(tensor, g)
    return g


def add_to(tensor, g) -> None:
    """Adds a gradient to a tensor's `.grad`: in place; if either is on the tape, as a new tensor."""
    g = tensor_of(g, tensor._backend)
    with WRITING:
        total = g if tensor._grad is None else tensor._grad + g
        if tensor._grad is None or total._requires_grad:
            tensor._grad = total
        else:
            set_array(tensor._grad, total._data)
