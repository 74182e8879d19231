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

import builtins
import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

from minigrad.autograd.anomaly import user_line
from minigrad.autograd.mode import GRAD, WATCH, state
from minigrad.backend import BackendError
from minigrad.dtypes import ALL, DType, float32, int64, promote

REGISTRY: dict[str, "Op"] = {}


class Node:
    """One recorded operation: where its inputs came from (`edges`) and what its VJPs need (`saved`).

    An edge is None (no gradient wanted), a leaf tensor, or (node, output index). A node never holds a tensor that is not a
    leaf, so an intermediate array lives only as long as a VJP that named it.
    """

    __slots__ = ("op", "xp", "plan", "edges", "saved", "inputs", "outputs", "leaves", "hooks", "line", "__weakref__")

    op: "Op"
    xp: Any  # the backend of the output
    plan: Any  # which VJPs to run, for a plain operation a `_Plan`
    edges: Any
    saved: Any
    inputs: Any  # shapes and dtypes of the inputs, where a gradient is to be fitted to them or checked
    outputs: Any  # shapes and dtypes of the outputs of an operation with several, else None
    leaves: Any  # pairs of a leaf and its array at the time of the forward
    hooks: Any
    line: str | None  # where the user called it, under detect_anomaly

    def __repr__(self) -> str:
        return f"<{self.op.name} node>"

    def release(self) -> None:
        self.edges, self.saved, self.leaves = (), None, ()


class _Plan:
    """What to keep and which VJPs to run when a given set of inputs requires a gradient."""

    __slots__ = ("positions", "functions", "kinds", "save", "kept")

    def __init__(self, op: "Op", wanted: tuple[int, ...]):
        self.positions, self.functions, self.kinds, self.kept = [], [], [], set()
        sources = []
        for k in wanted:
            vjp = op.vjps[0 if op.variadic else k] if op.vjps else None
            if vjp is None:
                continue
            kinds, parts = [], []
            for name in op.needs[vjp]:
                kind, source = op.source(name, k)
                kinds.append(kind)
                parts.append(source)
                if isinstance(kind, int):
                    self.kept.add(kind)
            self.positions.append(k)
            self.functions.append(vjp)
            self.kinds.append(kinds)
            sources.append("(" + "".join(part + "," for part in parts) + ")")
        self.save = eval(f"lambda xp, a, y, s: ({''.join(s + ',' for s in sources)})")  # e.g. ((a[1],), (a[0],))


class Op:
    """A differentiable operation; see the module's text. Call it with tensors (and, if elementwise, Python numbers)."""

    def __init__(self, forward: Callable, elementwise: bool = False, floats: bool = False, promote_from: int = 0):
        parameters = [p for p in inspect.signature(forward).parameters.values() if p.name != "xp"]
        self.name, self.forward, self.__doc__ = forward.__name__.rstrip("_"), forward, forward.__doc__
        self.inputs = tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
        self.static = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
        self.variadic = bool(parameters) and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL
        self.elementwise, self.floats, self.promote_from = elementwise, floats, promote_from
        self.vjps: tuple = ()
        self.needs: dict = {}
        self.plans: dict[int, _Plan] = {}
        REGISTRY[self.name] = self

    def __repr__(self) -> str:
        return f"<operation {self.name}({', '.join(self.inputs + self.static)})>"

    def __get__(self, instance, owner=None):
        return (
            self if instance is None else types.MethodType(self, instance)
        )  # an operation can be a method, as functions can

    def defvjp(self, *vjps: Callable | None) -> None:
        """One VJP for each input, in order; None where an input has no derivative. A variadic operation has one for all,
        which may name `i`, the input's position."""
        self.vjps = vjps
        self.needs = {v: tuple(inspect.signature(v).parameters)[2:] for v in vjps if v is not None}

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

    def call_form(self, function: Callable) -> Callable:
        """Decorator: `function` is the public, PyTorch-shaped way to call this operation, reached as `function.op`."""
        function.op = self  # type: ignore[attr-defined]
        return function

    def __call__(self, *inputs, **static):
        xp: Any = None
        dtype: Any = None
        out: Any
        wanted, bit, mixed = 0, 1, False
        arrays = []
        for t in inputs:
            if isinstance(t, Tensor):
                array = t._data
                if xp is None:
                    xp, dtype = t._backend, array.dtype
                elif t._backend is not xp:
                    raise BackendError(
                        f"{self.name}: inputs on different devices ({_devices(inputs)}); move one with .to(device)"
                    )
                elif array.dtype != dtype:
                    mixed = True
                arrays.append(array)
                if t._requires_grad:
                    wanted |= bit
            else:
                arrays.append(t)
                mixed = mixed or t is not None
            bit <<= 1
        if self.elementwise and (mixed or self.floats):
            matched = self._match(inputs, xp)
            if matched is not None:
                return self(*matched, **static)
        try:
            y = self.forward(xp, *arrays, **static)
        except (ValueError, TypeError, IndexError, RuntimeError, AttributeError) as error:
            raise self._explain(error, inputs, static) from error
        mode = state.mode
        if y.__class__ is tuple:
            y = tuple([a if a.__class__ is xp.array_type else xp.asarray(a) for a in y])  # numpy's numbers
            out = tuple([_tensor(a, xp) for a in y])
        else:
            if y.__class__ is not xp.array_type:
                y = xp.asarray(y)
            out = _tensor(y, xp)
        if wanted and mode & GRAD and self.vjps:
            self._record(wanted, xp, inputs, arrays, y, static, out)
        if mode & WATCH:
            for callback in state.observers:
                callback(self.name, inputs, out, static)
        return out

    def _record(self, wanted, xp, inputs, arrays, y, static, out) -> None:
        plan = self.plans.get(wanted)
        if plan is None:
            plan = self.plans[wanted] = _Plan(self, tuple(k for k in range(len(inputs)) if wanted >> k & 1))
        if not plan.positions:
            return
        node = Node()
        node.op, node.xp, node.plan, node.hooks, node.line = self, xp, plan, None, None
        node.saved = plan.save(xp, arrays, y, static)
        node.edges = edges = []
        leaves = None
        for k in plan.positions:
            t = inputs[k]
            edge = t._edge
            edges.append(t if edge is None else edge)
        for k in plan.kept:
            t = inputs[k]
            if isinstance(t, Tensor) and t._edge is None and t._requires_grad:
                leaves = [(t, arrays[k])] if leaves is None else [*leaves, (t, arrays[k])]
        node.leaves = leaves
        node.outputs = None
        node.inputs = None
        if self.elementwise:
            for k in plan.positions:
                if arrays[k].shape != y.shape:
                    node.inputs = [arrays[k].shape for k in plan.positions]
                    break
        else:
            node.inputs = [(arrays[k].shape, arrays[k].dtype) for k in plan.positions]
        if state.anomaly:
            node.line = user_line()
        if out.__class__ is tuple:
            node.outputs = [(a.shape, xp.dtype_name(a)) for a in y]
            for i, t in enumerate(out):
                if ALL[node.outputs[i][1]].is_floating_point:
                    t._requires_grad, t._edge = True, (node, i)
        else:
            out._requires_grad, out._edge = True, (node, 0)

    def pull(self, node: Node, g, create_graph: bool) -> list:
        """The gradients by the inputs in `node.plan.positions`, from the gradient by the output."""
        plan, xp = node.plan, TENSORS if create_graph else raw_ops(node.xp)
        saved = _as_tensors(node) if create_graph else node.saved
        result = [function(xp, g, *args) for function, args in zip(plan.functions, saved, strict=True)]
        if node.inputs is not None:
            if self.elementwise:
                for i, shape in enumerate(node.inputs):
                    if result[i] is not None and result[i].shape != shape:
                        result[i] = xp.sum_to(result[i], shape=shape)
            else:
                for d, (shape, dtype), k in zip(result, node.inputs, plan.positions, strict=True):
                    array = d._data if create_graph else d
                    if d is not None and (tuple(array.shape) != tuple(shape) or array.dtype != dtype):
                        raise RuntimeError(
                            f"the VJP of {self.name} by {self.inputs[0 if self.variadic else k]!r} gave {array.dtype} "
                            f"{tuple(array.shape)} for an input of {dtype} {tuple(shape)}; mend the VJP"
                        )
        return result

    def _match(self, inputs, xp):
        """Inputs of an elementwise operation cast to their common dtype (PyTorch's table), or None when they already fit."""
        if xp is None:
            raise TypeError(
                f"{self.name}: expected a tensor, got {', '.join(type(t).__name__ for t in inputs)}; use mg.tensor(…)"
            )
        best: list[DType | None] = [None, None, None]  # of tensors with dimensions, of 0-dimensional ones, of numbers
        changed = False
        inputs = list(inputs)
        for i, t in enumerate(inputs[self.promote_from :], self.promote_from):
            if isinstance(t, Tensor):
                level, kind = (0 if t._data.ndim else 1), t.dtype
            elif isinstance(t, bool | int | float):
                level, kind = 2, ALL["bool"] if isinstance(t, bool) else int64 if isinstance(t, int) else float32
            elif hasattr(t, "item") and getattr(t, "ndim", None) == 0:  # a numpy number
                inputs[i], changed = t.item(), True
                return self._match(inputs, xp) or inputs
            elif t is None:
                continue
            else:
                raise TypeError(
                    f"{self.name}: expected a tensor or a number, got {type(t).__name__}; wrap it with mg.tensor(…)"
                )
            best[level] = kind if best[level] is None else promote(best[level], kind)
        common: DType | None = None
        for seen in best:
            if seen is not None and (common is None or seen.category > common.category):
                common = seen
        if common is None:
            return None
        if self.floats and not common.is_floating_point:
            common = float32
        for i, t in enumerate(inputs[self.promote_from :], self.promote_from):
            if isinstance(t, Tensor) and t.dtype is not common:
                inputs[i], changed = t.astype(common), True
        return inputs if changed else None

    def _explain(self, error: Exception, inputs, static) -> Exception:
        """The array library's complaint in one sentence with the operation's name and the inputs' shapes."""
        given = ", ".join(_describe(t) for t in inputs)
        if not builtins.any(isinstance(t, Tensor) for t in inputs):
            return TypeError(f"{self.name}: expected a tensor, got {given}; use mg.tensor(…)")
        kind = type(error) if isinstance(error, TypeError | IndexError) else ValueError
        if self.elementwise and isinstance(error, ValueError):
            return ValueError(
                f"{self.name}: the shapes of {given} don't broadcast together; make their trailing sizes equal or 1"
            )
        options = "".join(f", {k}={v!r}" for k, v in static.items() if isinstance(v, int | float | tuple | str))
        return kind(f"{self.name}: can't work on {given}{options}: {str(error).strip().rstrip('.')}")


def _describe(t) -> str:
    return (
        f"{t.dtype.name} {tuple(t.shape)}" if isinstance(t, Tensor) else type(t).__name__ if t is None else repr(t)[:60]
    )


def _devices(inputs) -> str:
    return ", ".join(t.device for t in inputs if isinstance(t, Tensor))


def op(function: Callable | None = None, /, **options):
    """Decorator that makes an `Op` of a function `f(xp, *arrays, **static)`; options as in `elementwise`."""
    return functools.partial(op, **options) if function is None else Op(function, **options)


def elementwise(function: Callable | None = None, /, **options):
    """Decorator for an elementwise operation: the engine promotes dtypes, accepts Python numbers, and undoes broadcasting
    in the gradient. Options: `floats=True` computes integers in float32; `promote_from=1` leaves the first input's dtype
    alone."""
    return op(function, elementwise=True, **options)


class _TensorOps:
    """`xp` of a VJP under create_graph: every operation under its name, on tensors."""

    def __getattr__(self, name: str):
        if name not in REGISTRY:
            raise AttributeError(f"there is no operation {name!r}")
        setattr(self, name, REGISTRY[name])
        return REGISTRY[name]


class _RawOps:
    """`xp` of a VJP in an ordinary backward: every operation's forward function, on raw arrays."""

    def __init__(self, xp):
        self._xp = xp

    def __getattr__(self, name: str):
        if name not in REGISTRY:
            raise AttributeError(f"there is no operation {name!r}")
        function = functools.partial(REGISTRY[name].forward, self._xp)
        setattr(self, name, function)
        return function


TENSORS = _TensorOps()


def raw_ops(xp) -> _RawOps:
    try:
        return xp.__dict__["raw"]
    except KeyError:
        xp.raw = _RawOps(xp)
        return xp.raw


def _as_tensors(node: Node) -> list[list]:
    """What a node saved, as tensors on the tape again: inputs hang on the node's edges, the output on the node."""
    positions, result = node.plan.positions, []
    for args, kinds in zip(node.saved, node.plan.kinds, strict=True):
        row = []
        for value, kind in zip(args, kinds, strict=True):
            if kind == "y":
                if value.__class__ is tuple:
                    value = tuple(_tensor(v, node.xp, (node, i)) for i, v in enumerate(value))
                else:
                    value = _tensor(value, node.xp, (node, 0))
            elif isinstance(kind, int) and isinstance(value, node.xp.array_type):
                value = input_tensor(value, node, positions.index(kind) if kind in positions else None)
            row.append(value)
        result.append(row)
    return result


def input_tensor(array, node: Node, place: int | None):
    """The input behind edge number `place` of a node as a tensor again (a constant where there is no edge)."""
    if place is None:
        return _tensor(array, node.xp)
    edge = node.edges[place]
    return _tensor(array, node.xp, edge) if edge.__class__ is tuple else edge


from minigrad.tensor import Tensor, _tensor  # noqa: E402  (tensor.py needs the names above, and this module Tensor)
