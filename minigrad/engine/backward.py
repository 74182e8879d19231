"""The walk back along the tape: `backward`, `grad`, hooks."""

import itertools
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence

from minigrad.autograd.anomaly import check_gradients
from minigrad.autograd.recompute import Forgotten, remembered
from minigrad.backend import BackendError, tracing
from minigrad.engine.modes import AUTOCAST, GRAD, set_mode, state
from minigrad.engine.operation import Node, describe, raw_ops
from minigrad.engine.tensor import Tensor, _tensor


def _walk(roots: list, capture: dict | None, retain_graph: bool, create_graph: bool, stop: bool = False) -> dict:
    """Gradients by the leaves reached from `roots`, a list of (edge, gradient), or by the edges in `capture`; with `stop` the walk
    ends at those, and what lies behind them is left alone.

    Every node runs once, when all its consumers have: consumers are counted first, on an explicit stack.
    """
    edges: Iterable = [edge for edge, _ in roots]
    results: Iterable = [g for _, g in roots]
    pending: dict = {}  # node -> edges to it along which a gradient is still to come
    stack = [edges]
    while stack:
        for parent in stack.pop():
            if parent.__class__ is tuple:
                parent = parent[0]
            if parent in pending:
                pending[parent] += 1
            elif parent.__class__ is Node:
                pending[parent] = 1
                if not stop or parent not in capture:  # type: ignore[operator]
                    stack.append(parent.edges)
    needed = None if capture is None else _ancestors(pending, capture)
    freed = None if capture is None else next((node for node in pending if node.saved is None), None)
    careful = create_graph or state.anomaly
    grads: dict = {}  # node -> the sum so far of its output's gradient, or {output: sum} where it has several
    leaves: dict = {}
    captured: dict = {} if freed is None else {FREED: freed}
    ready: list = []  # pairs of a node whose consumers all have run and its gradient
    while True:
        for edge, d in zip(edges, results):  # noqa: B905  (no results: endless None)
            if edge.__class__ is Node:
                if edge in grads:
                    d = grads.pop(edge) if d is None else grads.pop(edge) + d
            elif edge.__class__ is tuple:
                edge, i = edge
                row = grads.pop(edge, None)
                if d is not None:
                    row = {} if row is None else row
                    row[i] = row[i] + d if i in row else d
                d = row
            else:
                if d is not None:
                    leaves[edge] = leaves[edge] + d if edge in leaves else d
                continue
            if pending[edge] == 1:
                ready.append((edge, d))
            else:
                pending[edge] -= 1
                if d is not None:
                    grads[edge] = d
        if not ready:
            return captured | leaves if capture is not None else leaves
        node, g = ready.pop()
        edges, results = node.edges, NO_RESULTS
        if g is None:
            continue
        wanted = needed is None or node in needed  # whether it leads to what is asked for
        if node.special and (node.hooks or node.retained) and (wanted or node in capture):  # type: ignore[operator]
            g = _run_hooks(node, g, create_graph)
        if capture is not None and node in capture:
            for edge in capture[node]:
                captured[edge] = g.get(edge[1]) if edge.__class__ is tuple else g
            if stop:
                edges = ()
        if not wanted:
            continue
        if node.saved is None:
            raise RuntimeError(_freed(node))
        if careful or node.special:
            results = _pulled(node, g, create_graph)
        else:
            results = node.plan.pull(node.xp.raw or raw_ops(node.xp), g, node.saved)
        if not retain_graph and node.plan.keeps:
            node.edges, node.saved = (), None
            if node.special:
                node.leaves = None


NO_RESULTS = itertools.repeat(None)
FREED = object()  # in the results of a walk, the key of a node that an earlier backward used up, where there is one
# Backward may run in several threads, which add to one leaf's gradient; an observer of the addition may go back itself.
ADDING = threading.RLock()


def _freed(node: Node) -> str:
    return (
        f"the tape through {node.op.name} was already used and freed by a backward; "
        "pass retain_graph=True to the first one to go through it again"
    )


def _walking(create_graph: bool) -> set_mode:
    """The mode of a walk: derivatives are recorded under `create_graph` only, and work in the dtypes that were saved."""
    mode = state.mode & ~AUTOCAST
    return set_mode(mode | GRAD if create_graph else mode & ~GRAD)


def _pulled(node: Node, g, create_graph: bool):
    """What a node's VJPs give, with everything that only some nodes need: checks of the leaves that it saved, several
    outputs, derivatives on the tape, the search for NaN."""
    if node.leaves:
        _check_leaves(node)
    parts = remembered(node, g) if node.saved.__class__ is Forgotten else ()
    if node.outputs is not None:
        g = tuple(g[i] if g.get(i) is not None else _zeros(node, i, create_graph) for i in range(len(node.outputs)))
    results = node.op.pull(node, g, create_graph)
    if state.anomaly:
        check_gradients(node, g, results)
    for part in parts:
        part.leave(node, results)
    return results


def partial(output, inputs: list, g) -> list:
    """Gradients, on the tape, of output·g by `inputs`, results of operations: the walk stops there."""
    if output._edge is None:
        return [None] * len(inputs)
    capture = {t._edge: {t._edge} for t in inputs}
    with _walking(True):
        found = _walk([(output._edge, g)], capture, True, True, stop=True)
    return [found.get(t._edge) for t in inputs]


def _ancestors(order, capture: dict) -> set:
    """The nodes from which a captured edge can be reached: no other needs its VJPs run."""
    children: dict = {}
    found, stack = set(), []
    for node in order:
        for edge in node.edges:
            target = edge[0] if edge.__class__ is tuple else edge
            children.setdefault(target, []).append(node)
            if target in capture and edge in capture[target] and node not in found:
                found.add(node)
                stack.append(node)
    while stack:
        for child in children.get(stack.pop(), ()):
            if child not in found:
                found.add(child)
                stack.append(child)
    return found


def _zeros(node: Node, i: int, create_graph: bool):
    shape, dtype = node.outputs[i]
    zeros = node.xp.astype(node.xp.zeros(shape), dtype)
    return _tensor(zeros, node.xp) if create_graph else zeros


def _check_leaves(node: Node) -> None:
    for leaf, array in node.leaves:
        if leaf._data is not array:
            raise RuntimeError(
                f"a tensor of shape {tuple(leaf.shape)} that {node.op.name} needs for its gradient was changed after the forward "
                "pass (an optimiser step, or .data assigned); call backward before changing it, or run the forward pass again"
            )


def _run_hooks(node: Node, g, create_graph: bool):
    """Runs the hooks on a node's outputs, each of which may return a replacement for the gradient, and then keeps gradients
    where a tensor is to retain its own."""
    rows = {None: g} if node.outputs is None else g
    for i, hook in list(node.hooks or ()):
        if rows.get(i) is not None:
            rows[i] = _hooked(hook, rows[i], node.xp, create_graph)
    for i, reference in node.retained or ():
        tensor = reference()
        if tensor is not None and rows.get(i) is not None:
            _add_to(tensor, rows[i], create_graph)
    return rows[None] if node.outputs is None else rows


def _hooked(hook: Callable, g, xp, create_graph: bool):
    given = g if create_graph else _tensor(xp.asarray(g), xp)
    result = hook(given)
    if result is None:
        return g
    if not isinstance(result, Tensor):
        raise TypeError(f"a hook must return a tensor or None, got {type(result).__name__}")
    if result.shape != given.shape or result.dtype is not given.dtype or result.device != given.device:
        raise RuntimeError(
            f"a hook on a gradient of {describe(given)} on {given.device} returned {describe(result)} on {result.device}; "
            "shape, dtype and device must stay as they are"
        )
    return result if create_graph else result._data


def _add_to(tensor, g, create_graph: bool) -> None:
    """Adds a gradient to a tensor's `.grad`, a new tensor: the old one may be somebody's."""
    g = g if create_graph else _tensor(tensor._backend.asarray(g), tensor._backend)
    with ADDING:
        tensor._grad = g if tensor._grad is None else tensor._grad + g


def _seed(tensor, g, create_graph: bool):
    """The gradient that a walk starts with, checked against its output."""
    if not tensor._requires_grad:
        raise RuntimeError(
            "this tensor has no history that requires a gradient; give an input requires_grad=True, outside no_grad"
        )
    g = check_seed(tensor, g)
    return g if create_graph else g._data


def check_seed(tensor, g):
    """The gradient given for an output in the output's dtype, a 1 for none; shapes and devices must agree."""
    if not isinstance(g, Tensor | None):
        raise TypeError(f"the gradient passed must be a tensor, got {type(g).__name__}; use mg.tensor(…)")
    if g is None:
        if tensor.numel() != 1:
            raise RuntimeError(
                f"a gradient can be started without an argument only from a single number, not from shape {tuple(tensor.shape)}; "
                "take .sum() or .mean() first, or pass the gradient"
            )
        g = _tensor(tensor._backend.ones_like(tensor._data), tensor._backend)
    if tuple(g.shape) != tuple(tensor.shape):
        raise RuntimeError(
            f"the gradient passed has shape {tuple(g.shape)}, the tensor {tuple(tensor.shape)}; they must be equal"
        )
    if g._backend is not tensor._backend:
        raise BackendError(
            f"the gradient passed is on {g.device}, the tensor on {tensor.device}; move it with .to(device)"
        )
    return g if g.dtype is tensor.dtype else g.astype(tensor.dtype)


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
    check_roots(tensors, grad_tensors)
    seeds = grad_tensors or [None] * len(tensors)
    roots = [(t._edge or t, _seed(t, g, create_graph)) for t, g in zip(tensors, seeds, strict=True)]
    retain = create_graph if retain_graph is None else retain_graph
    with _walking(create_graph):
        for leaf, g in _walk(roots, None, retain, create_graph).items():
            for hook in list(leaf._hooks or ()):
                g = _hooked(hook, g, leaf._backend, create_graph)
            if not leaf._requires_grad:
                continue  # switched off since
            if tracing.state.active:
                tracing.state.reach(leaf)
            _add_to(leaf, g, create_graph)


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


def grad(
    outputs,
    inputs,
    grad_outputs=None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple:
    """Gradients of Σ outputᵢ·grad_outputᵢ by `inputs` (leaves or not), as a tuple; no `.grad` is touched.

    Raises:
        RuntimeError: when an input doesn't require a gradient, or isn't reached and `allow_unused` is False.

    >>> import minigrad as mg
    >>> x = mg.tensor(3.0, requires_grad=True)
    >>> (dx,) = mg.grad(x**3, x, create_graph=True)
    >>> mg.grad(dx, x)[0].item()
    18.0
    """
    outputs, inputs = _as_list(outputs), _as_list(inputs)
    grad_outputs = None if grad_outputs is None else _as_list(grad_outputs)
    check_roots(outputs, grad_outputs)
    check_tensors("inputs", inputs)
    for t in inputs:
        if not t._requires_grad:
            raise RuntimeError(
                f"an input of shape {tuple(t.shape)} doesn't require a gradient; call requires_grad_() on it first"
            )
    seeds = grad_outputs or [None] * len(outputs)
    roots = [(t._edge or t, _seed(t, g, create_graph)) for t, g in zip(outputs, seeds, strict=True)]
    capture: dict = {}
    for t in inputs:
        capture.setdefault(t if t._edge is None else t.grad_fn, set()).add(t._edge or t)
    retain = create_graph if retain_graph is None else retain_graph
    with _walking(create_graph):
        found = _walk(roots, capture, retain, create_graph)
        results: dict = {}  # an input may be named twice: its hooks run once
        for t in inputs:
            place = t._edge or t
            if place in results:
                continue
            g = found.get(place)
            if g is None and FREED in found:
                raise RuntimeError(_freed(found[FREED]))  # what lay behind it can't be told any more
            if g is None and not allow_unused:
                raise RuntimeError(
                    f"an input of shape {tuple(t.shape)} was not used to compute the outputs; pass allow_unused=True to get None for it"
                )
            if g is not None:
                for hook in list(t._hooks or ()) if t._edge is None else ():
                    g = _hooked(hook, g, t._backend, create_graph)
                g = g if create_graph else _tensor(t._backend.asarray(g), t._backend)
            results[place] = g
    return tuple([results[t._edge or t] for t in inputs])


def _as_list(x) -> list:
    return list(x) if isinstance(x, tuple | list) else [x]


def add_hook(tensor, hook: Callable) -> Callable:
    """Runs `hook(gradient)` when the gradient of `tensor` is complete; a tensor that it returns replaces it. Returns a
    function that removes the hook."""
    if not callable(hook):
        raise TypeError(f"a hook must be a function of the gradient, got {type(hook).__name__}")
    if not tensor._requires_grad:
        raise RuntimeError("a hook needs a tensor that requires a gradient; call requires_grad_() first")
    if tensor._edge is None:
        if tensor._hooks is None:
            tensor._hooks = []
        hooks = tensor._hooks
        entry: object = hook
    else:
        node = tensor.grad_fn
        i = tensor._edge[1] if tensor._edge.__class__ is tuple else None
        node.hooks = hooks = node.hooks or []
        node.special = True
        entry = (i, hook)
    hooks.append(entry)
    return lambda: hooks.remove(entry) if entry in hooks else None


def retain_grad(tensor) -> None:
    """Makes backward keep the gradient of a tensor that is no leaf, as its hooks leave it, in its `.grad`."""
    node = tensor.grad_fn
    if not retains_grad(tensor):
        i = tensor._edge[1] if tensor._edge.__class__ is tuple else None
        node.retained = [*(node.retained or ()), (i, weakref.ref(tensor))]
        node.special = True


def retains_grad(tensor) -> bool:
    """Whether backward fills in `.grad` of a tensor that is no leaf."""
    return any(reference() is tensor for _, reference in tensor.grad_fn.retained or ())
