"""The walk back along the tape: `backward`, `grad`, hooks.

Gradients flow from the outputs to the leaves. `order` sorts the nodes so that each comes after all that use its result; `walk`
goes through them and adds up, for each node and leaf, what its users' derivatives give. That is all; the rest of this file
starts the walk, collects what it found, and checks what it was given.
"""

import threading
import weakref
from collections.abc import Callable, Container, Iterable, Sequence
from operator import attrgetter

from minigrad import messages
from minigrad.engine.modes import AUTOCAST, GRAD, set_mode, state
from minigrad.engine.operation import Node, Output
from minigrad.engine.tensor import Tensor, _tensor

# Backward may run in several threads, which add to one leaf's gradient; an observer of the addition may go back itself.
ADDING = threading.RLock()


def order(edges: Iterable) -> list[Node]:
    """The nodes reached from `edges`, each after all nodes that use its result: in the reverse of the order in which they were made
    (a topological order, because a node is made after those that its edges lead to)."""
    found: set[Node] = set()
    stack = [edges]
    while stack:
        for edge in stack.pop():
            if edge not in found and isinstance(edge, Node):  # a leaf leads nowhere
                found.add(edge)
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
        if node.hooks is not None:
            g = hooked(node, g, create_graph)
        if node in keep:
            grads[node] = g
        results = node.pull(g, create_graph)
        if observed:
            tell(node, g, results)
        for edge, d in zip(node.edges, results):  # noqa: B905  (strict would cost a tenth of the walk)
            if d is not None:
                grads[edge] = grads[edge] + d if edge in grads else d
        if not retain_graph and node.plan.keeps:  # what kept no array can be gone through again
            node.edges, node.saved = (), None


def gradients(grads: dict, targets: Sequence, create_graph: bool, retain_graph: bool = True) -> dict:
    """The gradients by `targets`, nodes or leaves, from those in `grads`. Nodes that lead to no target are left alone.

    Raises:
        RuntimeError: when a target isn't reached and an earlier backward has freed nodes, behind which it may lie.
    """
    nodes, wanted = order(list(grads)), dict.fromkeys(targets)
    freed = next((node for node in nodes if node.saved is None), None)
    leading: set = set()  # to a target
    for node in reversed(nodes):
        if any(edge in wanted or edge in leading for edge in node.edges):
            leading.add(node)
    with walking(create_graph):
        walk([node for node in nodes if node in leading], grads, create_graph, retain_graph, wanted)
        for target in wanted:
            if target in grads and target not in leading:
                grads[target] = hooked(target, grads[target], create_graph)
    if freed is not None and any(target not in grads for target in targets):
        freed.pull(None)  # which says so
    return grads


def walking(create_graph: bool) -> set_mode:
    """The mode of a walk: derivatives are recorded under `create_graph` only, and work in the dtypes that were saved."""
    mode = state.mode & ~AUTOCAST
    return set_mode(mode | GRAD if create_graph else mode & ~GRAD)


def tell(node: Node, g, results: Sequence) -> None:
    """Shows the observers of backward a derivative, as tensors."""
    if node.__class__ is Output:
        return
    count = len(node.outputs or ())
    given = tuple([as_tensor(g.get(i), node.xp) for i in range(count)]) if count else as_tensor(g, node.xp)
    for callback in state.backward_observers:
        callback(node, given, tuple([as_tensor(d, node.xp) for d in results]))


def as_tensor(d, xp):
    return d if d is None or isinstance(d, Tensor) else _tensor(xp.asarray(d), xp)


# --- backward and grad ------------------------------------------------------------------------------------------------
def backward(
    tensors: Sequence,
    grad_tensors: Sequence | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Adds to `.grad` of every leaf that requires one the gradient of Σ tensorᵢ·grad_tensorᵢ (1 where not given).

    The tape is freed on the way unless `retain_graph` (default: as `create_graph`). With `create_graph` the gradients are
    on the tape themselves and can be differentiated again.
    """
    grads = seeds(tensors, grad_tensors, create_graph)
    with walking(create_graph):
        walk(order(list(grads)), grads, create_graph, create_graph if retain_graph is None else retain_graph)
        for leaf, g in grads.items():
            g = hooked(leaf, g, create_graph)
            if leaf._requires_grad:  # it may have been switched off since
                if state.tracer is not None:
                    state.tracer.reach(leaf)
                add_to(leaf, g)


def grad(
    outputs,
    inputs,
    grad_outputs=None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor, ...]:
    """Gradients of Σ outputᵢ·grad_outputᵢ by `inputs` (leaves or not), as a tuple; no `.grad` is touched.

    Raises:
        RuntimeError: when an input doesn't require a gradient, or isn't reached and `allow_unused` is False.

    >>> import minigrad as mg
    >>> x = mg.tensor(3.0, requires_grad=True)
    >>> (dx,) = mg.grad(x**3, x, create_graph=True)
    >>> mg.grad(dx, x)[0].item()
    18.0
    """
    outputs, inputs = as_list(outputs), as_list(inputs)
    grads = seeds(outputs, None if grad_outputs is None else as_list(grad_outputs), create_graph)
    check_tensors("inputs", inputs)
    for t in inputs:
        if not t._requires_grad:
            raise RuntimeError(
                f"an input of shape {tuple(t.shape)} doesn't require a gradient; call requires_grad_() on it first"
            )
    places = [t._edge or t for t in inputs]
    found = gradients(grads, places, create_graph, create_graph if retain_graph is None else retain_graph)
    for t, place in zip(inputs, places, strict=True):
        if place not in found and not allow_unused:
            raise RuntimeError(
                f"an input of shape {tuple(t.shape)} was not used to compute the outputs; pass allow_unused=True to get None for it"
            )
    tensors = {place: as_tensor(found.get(place), t._backend) for t, place in zip(inputs, places, strict=True)}
    return tuple([tensors[place] for place in places])


def as_list(x) -> list:
    return list(x) if isinstance(x, tuple | list) else [x]


def check_tensors(what: str, tensors) -> None:
    for t in tensors:
        if not isinstance(t, Tensor):
            raise TypeError(f"{what} must be tensors, got {type(t).__name__}")


def check_roots(tensors, grads) -> None:
    check_tensors("outputs", tensors)
    if grads is not None and len(grads) != len(tensors):
        raise ValueError(
            f"got {len(tensors)} outputs and {len(grads)} gradients; give one for each, None for a plain 1"
        )


def seeds(tensors: Sequence, grads: Sequence | None, create_graph: bool) -> dict:
    """What a walk starts from: the given gradients by the outputs' places on the tape."""
    check_roots(tensors, grads)
    found: dict = {}
    for t, g in zip(tensors, grads or [None] * len(tensors), strict=True):
        if not t._requires_grad:
            raise RuntimeError(
                "this tensor has no history that requires a gradient; give an input requires_grad=True, outside no_grad"
            )
        g = seed(t, g)
        place, g = t._edge or t, g if create_graph else g._data
        found[place] = found[place] + g if place in found else g
    return found


def seed(tensor, g):
    """The gradient given for an output in the output's dtype, a 1 for none."""
    messages.check_seed(tensor, g)
    if g is None:
        g = _tensor(tensor._backend.ones_like(tensor._data), tensor._backend)
    return g.astype(tensor.dtype)


# --- hooks, and gradients that are kept -------------------------------------------------------------------------------
def hooked(place, g, create_graph: bool):
    """The gradient by a node or leaf after its hooks, each of which may return a replacement; then tensors that retain their
    gradient receive it."""
    leaf = isinstance(place, Tensor)
    xp, hooks, retained = (place._backend, place._hooks, ()) if leaf else (place.xp, place.hooks, place.retained)
    for hook in list(hooks or ()):
        given = as_tensor(g, xp)
        result = hook(given)
        if result is None:
            continue
        if not isinstance(result, Tensor) or kind(result) != kind(given):
            raise messages.wrong_hook(given, result)
        g = result if create_graph else result._data
    for reference in retained:
        if (tensor := reference()) is not None:
            add_to(tensor, g)
    return g


def kind(t: Tensor) -> tuple:
    return t.shape, t.dtype, t.device


def add_to(tensor, g) -> None:
    """Adds a gradient to a tensor's `.grad`, a new tensor: the old one may be somebody's."""
    g = as_tensor(g, tensor._backend)
    with ADDING:
        tensor._grad = g if tensor._grad is None else tensor._grad + g


def add_hook(tensor, hook: Callable) -> Callable:
    """Runs `hook(gradient)` when the gradient of `tensor` is complete; a tensor that it returns replaces it. Returns a
    function that removes the hook."""
    if not callable(hook):
        raise TypeError(f"a hook must be a function of the gradient, got {type(hook).__name__}")
    if not tensor._requires_grad:
        raise RuntimeError("a hook needs a tensor that requires a gradient; call requires_grad_() first")
    if tensor._edge is None:
        tensor._hooks = hooks = [] if tensor._hooks is None else tensor._hooks
    else:
        tensor._edge.hooks = hooks = tensor._edge.hooks or []
    hooks.append(hook)
    return lambda: hooks.remove(hook) if hook in hooks else None


def retain_grad(tensor) -> None:
    """Makes backward keep the gradient of a tensor that is no leaf, as its hooks leave it, in its `.grad`."""
    node = tensor._edge
    if not retains_grad(tensor):
        node.hooks, node.retained = node.hooks or [], (*node.retained, weakref.ref(tensor))


def retains_grad(tensor) -> bool:
    """Whether backward fills in `.grad` of a tensor that is no leaf."""
    return any(reference() is tensor for reference in tensor._edge.retained)
