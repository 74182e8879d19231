"""Fused operations: a definition in tensor operations, which a backend's kernels may override (see `registry.py`)."""

import functools
from collections.abc import Callable, Sequence

from minigrad import messages
from minigrad.dtypes import plain
from minigrad.engine.backward import gradients
from minigrad.engine.modes import AUTOCAST, GRAD, WATCH, enable_grad, state
from minigrad.engine.operation import REGISTRY, Node, Op, Plan, observed
from minigrad.engine.tensor import _tensor
from minigrad.kernels.registry import KERNELS, key


class Fused(Op):
    """An operation with a definition on tensors and optional kernels.

    The definition is the documentation and the truth. A backend's kernel gives (output, saved), or None when it declines, and
    from what it saved a gradient for each input. It is used in ordinary training; `create_graph`, and backends without a
    kernel, use the definition, from the saved inputs. The kernel is told whether a derivative may follow (`save`); if not, it
    needn't keep anything.

    One with `parts` runs as its definition while somebody observes operations: whoever counts or draws them wants to see
    the parts. Kernels are for inputs of one dtype; those at the positions `integers` are left out of that.
    """

    def __init__(self, definition: Callable, parts: bool = False, integers: tuple[int, ...] = ()):
        super().__init__(definition)
        self.definition, self.parts, self.integers = definition, parts, integers
        self.key = key(self)

    def __call__(self, *inputs, **static):
        static = {name: plain(value) for name, value in static.items()}
        if state.mode & AUTOCAST and self.own:
            inputs = state.cast(self.name, inputs)
        try:
            xp = inputs[0]._backend
            pairs = [(k, t) for k, t in enumerate(inputs) if t is not None and k not in self.integers]
            kinds = {(t._backend.name, t._data.dtype) for _, t in pairs}
        except (AttributeError, IndexError):
            raise messages.no_tensor(self, inputs) from None
        kernel = KERNELS.get((self.key, xp.name))
        if kernel is None or len(kinds) > 1 or self.parts and state.mode & WATCH:
            return self.definition(*inputs, **static)
        wanted = [k for k, t in enumerate(inputs) if t is not None and t._requires_grad] if state.mode & GRAD else []
        if wanted and kernel.vjp is None:
            return self.definition(*inputs, **static)
        arrays: list = [None if t is None else t._data for t in inputs]
        result = kernel.forward(*arrays, save=bool(wanted), **static)
        if result is None:
            return self.definition(*inputs, **static)
        (y, statistics), node = result, None
        if wanted:
            edges = [inputs[k]._edge or inputs[k] for k in wanted]
            node = Node(self, xp, FusedPlan(wanted, len(arrays), kernel.vjp), edges, (*arrays, statistics, static))
            node.expected = [(arrays[k].shape, arrays[k].dtype) for k in wanted]
        out = _tensor(y, xp, node)
        observed(self, inputs, out, static, node)
        return out

    def on_arrays(self, xp) -> Callable:
        def on_raw(*arrays, **static):
            return self(*(None if a is None else _tensor(a, xp) for a in arrays), **static)._data

        return on_raw

    def pull(self, node: Node, g, create_graph: bool) -> Sequence:
        """The gradients by a kernel; or, with `create_graph`, by the definition on copies of the inputs: each input's with the
        others held fixed, also where one is computed from another."""
        *arrays, statistics, static = node.saved
        if not create_graph:
            grads = node.plan.vjps[0](g, statistics, *arrays, **static)
            return self.fitted(node, node.xp, [grads[k] for k in node.plan.positions])
        inputs = [None if a is None else node.saved_tensor(k, a) for k, a in enumerate(arrays)]
        return partial_derivatives(lambda *given: self.definition(*given, **static), inputs, node.plan.positions, g)


class FusedPlan(Plan):
    """That of a fused operation, which keeps all its inputs, and statistics of its kernel's choice, for that kernel's VJP."""

    def __init__(self, positions: Sequence[int], count: int, vjp):
        super().__init__(positions)
        self.vjps = (vjp,)
        self.keeps, self.checks = True, list(enumerate(positions))
        self.kinds = [*range(count), None]


def fused(definition: Callable | None = None, /, **options):
    """Decorator that makes a `Fused` operation of its definition, a function of tensors."""
    return functools.partial(Fused, **options) if definition is None else Fused(definition)


def at_once(whole: Callable) -> Callable:
    """Decorator for what computes in parts, such as a module's `forward`: `whole`, which computes the same at once or gives None
    where it can't, is called first with the same arguments. Somebody who observes operations sees the parts."""

    def decorate(in_parts: Callable) -> Callable:
        @functools.wraps(in_parts)
        def function(*args, **options):
            y = None if state.mode & WATCH else whole(*args, **options)
            return in_parts(*args, **options) if y is None else y

        return function

    return decorate


def partial_derivatives(function: Callable, inputs: Sequence, positions: Sequence[int], g) -> list:
    """The gradients of function(*inputs)·g by the inputs at `positions`, on the tape.

    The function runs on copies that lead nowhere, so that the walk back ends at them; afterwards they are hung on the inputs, and
    every higher order reaches those.
    """
    clone = REGISTRY["clone"]
    copies = {k: Node(clone, inputs[k]._backend, clone.plan(1, 1), (), ()) for k in positions}
    with enable_grad():
        y = function(*(_tensor(t._data, t._backend, copies[k]) if k in copies else t for k, t in enumerate(inputs)))
    found = gradients({y._edge: g}, list(copies.values()), create_graph=True) if y._edge else {}
    for k, copy in copies.items():
        copy.edges = (inputs[k]._edge or inputs[k],)
    return [found.get(copy) for copy in copies.values()]
