"""Reverse-mode automatic differentiation: operations, the tape, and the walk back along it.

An operation is a function of raw arrays; `defvjp` gives, one line an input, its vector-Jacobian product (VJP): the
gradient of the loss by that input, from the gradient `g` of the loss by the output. Calling an operation on tensors runs
the function and, where a derivative may be asked for, hangs a `Node` on the result. `backward` walks the nodes in
topological order and sums what the VJPs give.

    @op
    def tanh(xp, a):                                # xp: the array library of the inputs; a: a raw array
        return xp.tanh(a)
    tanh.defvjp(lambda xp, g, y: g * (1 - y * y))   # y: the output; only what is named here is kept in memory

The names of a VJP's parameters say what it needs: `g` the incoming gradient, `y` the output, an input's own name for its
array, `a_shape` / `a_dtype` for metadata only, a static parameter's name for its value. Inside a VJP `xp` is
`minigrad.ops`: over raw arrays in an ordinary backward, over tensors under `create_graph=True`; so derivatives of every
order come from the same line.
"""

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

from minigrad.autograd.anomaly import user_line
from minigrad.backend import BackendError
from minigrad.dtypes import ALL, plain
from minigrad.engine.modes import AUTOCAST, GRAD, WATCH, state

REGISTRY: dict[str, "Op"] = {}  # minigrad's own operations, which derivatives reach as `xp.name`
USERS: dict[str, "Op"] = {}  # those defined elsewhere; a derivative finds them where minigrad has none of the name


class Node:
    """One recorded operation: where its inputs came from (`edges`) and what its VJPs need (`saved`).

    An edge is a node, for an operation with one output; (node, output's number) where it has several; or a leaf tensor. A
    node never holds a tensor that is not a leaf, so an intermediate array lives only as long as a VJP that named it.
    """

    __slots__ = ("op", "xp", "plan", "edges", "saved", "special", "__dict__", "__weakref__")

    op: "Op"
    xp: Any  # the backend of the output
    plan: Any  # which VJPs to run, for a plain operation a `_Plan`
    edges: Any
    saved: Any
    special: bool  # whether any of the following is set; most nodes of a deep chain are plain
    inputs: Any = None  # shapes (and dtypes) of the inputs, where a gradient is to be fitted to them or checked
    outputs: Any = None  # shapes and dtypes of the outputs of an operation with several
    leaves: Any = None  # pairs of a leaf and its array at the time of the forward
    hooks: Any = None  # pairs of an output's number and a function of its gradient
    retained: Any = None  # pairs of an output's number and a weak reference to the tensor whose `.grad` is to be kept
    line: str | None = None  # where the user called it, under detect_anomaly

    def __repr__(self) -> str:
        return f"<{self.op.name} node>"


class _Plan:
    """What to keep and which VJPs to run when a given set of inputs requires a gradient. `keeps` says whether arrays are kept:
    a node without is not used up by a backward.

    For `mul` with both inputs wanted, the two functions made here read `save = lambda xp, a, y, s: (a[1], a[0])` (None where
    nothing is kept) and `pull = lambda xp, g, s: (vjp0(xp, g, s[0]), vjp1(xp, g, s[1]))`.
    """

    __slots__ = ("positions", "kinds", "kept", "keeps", "save", "pull")

    def __init__(self, op: "Op", wanted: int, count: int):
        self.positions, self.kinds = [], []
        sources: list[str] = []
        calls, functions = [], {}
        for k in range(count):
            vjp = op.vjps[0 if op.variadic else k] if wanted >> k & 1 else None
            if vjp is None:
                continue
            arguments = ""
            for name in op.needs[vjp]:
                kind, source = op.source(name, k)
                arguments += f", s[{len(sources)}]"
                self.kinds.append(kind)
                sources.append(source)
            self.positions.append(k)
            functions[f"vjp{k}"] = vjp
            calls.append(f"vjp{k}(xp, g{arguments})")
        self.kept = sorted({kind for kind in self.kinds if isinstance(kind, int)})
        self.keeps = bool(self.kept) or "y" in self.kinds
        self.save = eval(f"lambda xp, a, y, s: ({''.join(s + ', ' for s in sources)})") if sources else None
        self.pull = eval(f"lambda xp, g, s: ({''.join(c + ', ' for c in calls)})", functions)


class Op:
    """A differentiable operation; see the module's text. Call it with tensors (and, if elementwise, Python numbers)."""

    def __init__(self, forward: Callable, elementwise: bool = False, floats: bool = False, promote_from: int = 0):
        signature = inspect.signature(forward)
        parameters = [p for p in signature.parameters.values() if p.name != "xp"]
        self.__signature__ = signature.replace(parameters=parameters)
        self.name, self.forward, self.__doc__ = forward.__name__.rstrip("_"), forward, forward.__doc__
        self.inputs = tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
        self.static = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
        self.variadic = bool(parameters) and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL
        self.elementwise, self.floats, self.promote_from = elementwise, floats, promote_from
        self.vjps: tuple = ()
        self.needs: dict = {}
        self.plans: dict[Any, Any] = {}
        self.own = (forward.__module__ or "").startswith(
            "minigrad."
        )  # minigrad's, not a user's of perhaps the same name
        (REGISTRY if self.own else USERS)[self.name] = self

    def __repr__(self) -> str:
        return f"<operation {self.name}({', '.join(self.inputs + self.static)})>"

    def __get__(self, instance, owner=None):
        return (
            self if instance is None else types.MethodType(self, instance)
        )  # an operation can be a method, as functions can

    def defvjp(self, *vjps: Callable | None) -> None:
        """One VJP for each input, in order; None where an input has no derivative. A variadic operation has one for all,
        which may name `i`, the input's position. Called again, it replaces them."""
        if len(vjps) != (count := 1 if self.variadic else len(self.inputs)):
            raise TypeError(
                f"{self.name} has {count} inputs and was given {len(vjps)} VJPs; give one for each, or None"
            )
        self.vjps, self.plans = vjps, {}
        self.needs = {v: _parameters(v)[2:] for v in vjps if v is not None}

    def on_arrays(self, xp) -> Callable:
        """The operation as a function of raw arrays, without a tape."""
        return functools.partial(self.forward, xp)

    def source(self, name: str, k: int) -> tuple[int | str, str]:
        """How a VJP's parameter is found: its kind (an input's position, "y", or "static") and the expression that saves it."""
        if name == "y":
            return "y", "y"
        if name == "i":
            return "static", str(k)
        if name in self.inputs:
            position = self.inputs.index(name)
            return position, f"a[{position}]"
        base, _, what = name.rpartition("_")
        if what in ("shape", "dtype") and base in self.inputs:
            read = "getattr({}, 'shape', ())" if what == "shape" else "xp.dtype_name({})"
            if self.variadic:
                return "static", f"tuple([{read.format('x')} for x in a])"
            return "static", read.format(f"a[{self.inputs.index(base)}]")
        if name in self.static:
            return "static", f"s[{name!r}]"
        raise TypeError(
            f"a VJP of {self.name} asks for {name!r}, which is no input, static parameter, 'y' or metadata of it"
        )

    def __call__(self, *inputs, **static):
        mode = state.mode
        if mode & AUTOCAST and self.own:
            inputs = cast_inputs(self.name, inputs)
        xp: Any = None
        dtype: Any = None
        wanted, bit, mixed = 0, 1, False
        arrays = []
        for t in inputs:
            if isinstance(t, Tensor):
                array = t._data
                if xp is None:
                    xp, dtype = t._backend, array.dtype
                elif t._backend is not xp:
                    raise BackendError(
                        f"{self.name}: inputs on different devices ({devices(inputs)}); move one with .to(device)"
                    )
                elif array.dtype != dtype:
                    mixed = True
                arrays.append(array)
                if t._requires_grad:
                    wanted |= bit
            else:
                arrays.append(t)
                mixed = True
            bit <<= 1
        if static and self.elementwise:
            static = {name: plain(value) for name, value in static.items()}
        if self.elementwise and (mixed or self.floats):
            changed = matched(self, inputs)
            if changed is not None:
                result = self(*changed, **static)
                return result.astype("float16") if changed.__class__ is Widened else result
        try:
            y = self.forward(xp, *arrays, **static)
        except (ValueError, TypeError, IndexError, RuntimeError, AttributeError, OverflowError) as error:
            raise explained(self, error, inputs, static) from error
        out: Any
        if y.__class__ is tuple:
            y = tuple([xp.asarray(a) for a in y])
            out = tuple([_tensor(a, xp) for a in y])
        else:
            if y.__class__ is not xp.array_type:
                y = xp.asarray(y)
            out = _tensor(y, xp)
        if wanted and mode & GRAD and self.vjps:
            self.record(wanted, xp, inputs, arrays, y, static, out)
        if mode & WATCH:
            for callback in state.observers:
                callback(self.name, inputs, out, static)
        return out

    def record(self, wanted: int, xp, inputs, arrays, y, static, out) -> None:
        """Hangs a node on the output(s); `wanted` has a bit for each input that requires a gradient."""
        plan = self.plans.get(wanted)
        if plan is None:
            plan = self.plans[wanted] = _Plan(self, wanted, len(inputs))
        if not plan.positions:
            return
        node = Node()
        node.op, node.xp, node.plan, node.special = self, xp, plan, True
        node.saved = plan.save(xp, arrays, y, static) if plan.save else ()
        node.edges = [inputs[k]._edge or inputs[k] for k in plan.positions]
        for k in plan.kept:
            t = inputs[k]
            if isinstance(t, Tensor) and t._edge is None and t._requires_grad:
                node.leaves = [*(node.leaves or ()), (t, arrays[k])]
        if not self.elementwise:
            node.inputs = [(arrays[k].shape, arrays[k].dtype) for k in plan.positions]
        elif len(arrays) > 1 and any([arrays[k].shape != y.shape for k in plan.positions]):
            node.inputs = [arrays[k].shape for k in plan.positions]
        note(node)
        if out.__class__ is tuple:
            node.outputs = [(a.shape, xp.dtype_name(a)) for a in y]
            for i, t in enumerate(out):
                if ALL[node.outputs[i][1]].is_floating_point:
                    t._requires_grad, t._edge = True, (node, i)
        else:
            out._requires_grad, out._edge = True, node

    def pull(self, node: Node, g, create_graph: bool):
        """The gradients by the inputs in `node.plan.positions`, from the gradient by the output."""
        xp: Any
        if create_graph:
            xp, saved = TENSORS, _as_tensors(node)
        else:
            xp, saved = node.xp.raw or raw_ops(node.xp), node.saved
        result = node.plan.pull(xp, g, saved)
        return result if node.inputs is None else self.fitted(node, xp, result, create_graph)

    def fitted(self, node: Node, xp, result, create_graph: bool) -> list:
        """Gradients summed over what was broadcast, if elementwise; otherwise checked for shape and dtype."""
        if self.elementwise:
            return [
                d if d is None or d.shape == shape else xp.sum_to(d, shape=shape)
                for d, shape in zip(result, node.inputs, strict=True)
            ]
        for d, (shape, dtype), k in zip(result, node.inputs, node.plan.positions, strict=True):
            array = d._data if create_graph else d
            if d is not None and (tuple(array.shape) != tuple(shape) or array.dtype != dtype):
                raise RuntimeError(
                    f"the VJP of {self.name} by {self.inputs[0 if self.variadic else k]!r} gave {array.dtype} "
                    f"{tuple(array.shape)} for an input of {dtype} {tuple(shape)}; mend the VJP"
                )
        return result


def op(function: Callable | None = None, /, **options):
    """Decorator that makes an `Op` of a function `f(xp, *arrays, **static)`; options as in `elementwise`."""
    if function is None:
        return functools.partial(op, **options)
    return Op(function, **options)


def note(node: Node) -> None:
    """What is done with a node when it is complete, where somebody asked for it."""
    if state.anomaly:
        node.line = user_line()
    if state.collector is not None:
        state.collector.append(node)


def _parameters(function: Callable) -> tuple[str, ...]:
    """The names of a function's parameters (`inspect.signature` costs a tenth of minigrad's import)."""
    code = getattr(function, "__code__", None)
    return tuple(inspect.signature(function).parameters) if code is None else code.co_varnames[: code.co_argcount]


def _named(name: str) -> Op:
    """The operation that a derivative means by `xp.name`."""
    found = REGISTRY.get(name) or USERS.get(name)
    if found is None:
        raise AttributeError(f"there is no operation {name!r}")
    return found


class _TensorOps:
    """`xp` of a VJP under create_graph: every operation under its name, on tensors."""

    def __getattr__(self, name: str):
        found = _named(name)
        if found.own:  # a user's may be replaced
            setattr(self, name, found)
        return found


class _RawOps:
    """`xp` of a VJP in an ordinary backward: every operation as a function of raw arrays."""

    def __init__(self, xp):
        self._xp = xp

    def __getattr__(self, name: str):
        found = _named(name)
        function = found.on_arrays(self._xp)
        if found.own:
            setattr(self, name, function)
        return function


TENSORS = _TensorOps()


def raw_ops(xp) -> _RawOps:
    xp.raw = xp.raw or _RawOps(xp)
    return xp.raw


def _as_tensors(node: Node) -> list:
    """What a node saved, as tensors on the tape again: inputs hang on the node's edges, the output on the node."""
    positions, result = node.plan.positions, []
    for value, kind in zip(node.saved, node.plan.kinds, strict=True):
        if kind == "y" and value.__class__ is tuple:
            value = tuple(_tensor(v, node.xp, (node, i)) for i, v in enumerate(value))
        elif kind == "y":
            value = _tensor(value, node.xp, node)
        elif isinstance(kind, int) and isinstance(value, node.xp.array_type):
            value = input_tensor(value, node, positions.index(kind) if kind in positions else None)
        result.append(value)
    return result


def input_tensor(array, node: Node, place: int | None):
    """The input behind edge number `place` of a node as a tensor again (a constant where there is no edge)."""
    if place is None:
        return _tensor(array, node.xp)
    edge = node.edges[place]
    return edge if isinstance(edge, Tensor) else _tensor(array, node.xp, edge)


@op
def alias(xp, a):
    """a itself, at a place of its own on the tape."""
    return a


alias.defvjp(lambda xp, g: g)

from minigrad.engine.tensor import Tensor, _tensor  # noqa: E402, I001  (tensor.py needs the names above, and this module Tensor)
from minigrad.autograd.autocast import cast_inputs  # noqa: E402
from minigrad.engine.match import Widened, describe, devices, explained, matched  # noqa: E402, F401
