"""Operations, and the nodes of the tape that record them.

An operation is a function of raw arrays; `defvjp` gives, one line an input, its vector-Jacobian product (VJP): from the
gradient `g` with respect to the output, the gradient with respect to that input.

    @elementwise(floats=True)                           # floats: whole numbers are computed in float32
    def tanh(xp, a):                                    # xp: the array library of the inputs; a: a raw array
        return xp.tanh(a)
    tanh.defvjp(lambda ops, g, y: g * (1.0 - y * y))    # y: the output; only what is named here is kept in memory

A VJP is called with `ops` and `g`. The names of its other parameters say what it needs: `y` the output, an input's own name for its
array, `a_shape` / `a_dtype` for metadata only, a static (keyword) parameter's name for its value, `i` the input's position. So no
input and no static parameter is called `y` or `i`. `ops` has every operation under its name: over raw arrays in an ordinary backward,
over tensors under `create_graph=True`; so derivatives of every order come from the same line.
"""

import contextlib
import functools
import inspect
import itertools
import operator
import types
import weakref
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Generic, TypeVar, overload

from minigrad import messages
from minigrad.backend import Array, Backend, tracing
from minigrad.dtypes import ALL, beside, beyond, common, float32, int64, plain
from minigrad.engine.modes import AUTOCAST, GRAD, SLOW, state
from minigrad.engine.tensor import Tensor, _tensor

Y = TypeVar("Y", bound=Tensor | tuple[Tensor, ...])
REGISTRY: dict[str, "Op"] = {}  # minigrad's own operations, which derivatives reach as `ops.name`
USERS: dict[str, "Op"] = {}  # those defined elsewhere; a derivative finds them where minigrad has none of the name
METADATA = {"shape": lambda a, xp: getattr(a, "shape", ()), "dtype": lambda a, xp: xp.dtype_name(a)}  # of an input
NUMBERS = {float: float32, int: int64, bool: ALL["bool"]}  # where no tensor says more


class Op(Generic[Y]):
    """A differentiable operation; see the module's text. Call it with tensors (and, if elementwise, Python numbers)."""

    def __init__(self, forward: Callable, elementwise: bool = False, floats: bool = False, promote_from: int = 0):
        signature = messages.signature("op", forward)
        parameters = [p for p in signature.parameters.values() if p.name != "xp"]
        self.__signature__ = signature.replace(parameters=parameters)
        self.name, self.forward, self.__doc__ = forward.__name__.rstrip("_"), forward, forward.__doc__
        self.inputs = tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
        self.static = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        self.variadic = bool(parameters) and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL
        self.elementwise, self.floats, self.promote_from = elementwise, floats, promote_from
        self.vjps: tuple = ()
        self.layout: Callable | None = None  # of a view operation, see `defview`
        self.plans: dict[int, Plan] = {}
        self.fits: set = set()  # dtypes that need no cast
        self.own = (forward.__module__ or "").startswith("minigrad.")  # not a user's of perhaps the same name
        (REGISTRY if self.own else USERS)[self.name] = self

    def defvjp(self, *vjps: Callable | None) -> None:
        """One VJP for each input, in order; None where an input has no derivative. A variadic operation, f(xp, *arrays), has one for
        all, which may name `i`, the input's position. Called again, it replaces them."""
        count = 1 if self.variadic else len(self.inputs)
        messages.check_vjps(self, count, vjps)
        self.vjps, self.plans = vjps if any(vjps) else (), {}
        self.plan(2**count - 1 if self.vjps else 0, count)  # complains of a name that stands for nothing

    def defview(self, layout: Callable, put: Callable | None = None, copies: Callable | None = None) -> None:
        """Makes it a view operation, whose result shares its input's memory (inplace.py). layout(sizes, strides, **static): shape and
        strides of the result, or None. put(ops, base, part, **static): `base` with `part` in place of what is seen of it; None: by
        positions. copies(ties, **static): whether the result is a copy and no view; `ties` are the input's, None if it has none."""
        messages.check_layout(self, layout)
        self.layout, self.put, self.copies = layout, put, copies

    def __call__(self, *inputs: Any, **static: Any) -> Y:
        mode = state.mode
        if mode & AUTOCAST and self.own:
            inputs = state.cast(self.name, inputs)
        # 1. The inputs' arrays; which of them require a gradient (a bit for each); do they agree?
        xp: Any = None
        dtype, arrays, wanted, bit, one_dtype, one_shape = None, [], 0, 1, True, True
        for t in inputs:
            if isinstance(t, Tensor):
                array = t._data
                if xp is None:
                    xp, dtype, shape = t._backend, array.dtype, array.shape  # of the first tensor
                elif t._backend is not xp:
                    raise messages.mixed_devices(self, inputs)
                else:
                    one_dtype, one_shape = one_dtype and array.dtype == dtype, one_shape and array.shape == shape
                arrays.append(array)
                if t._requires_grad:
                    wanted |= bit
            else:
                arrays.append(t)
                one_dtype = False
            bit <<= 1
        # 2. An elementwise operation casts them to their common dtype, by operations of their own, and begins anew.
        if self.elementwise:
            static = {name: plain(value) for name, value in static.items()} if static else static
            if not one_dtype or (self.floats and dtype not in self.fits):
                changed, rounded = matched(self, inputs)
                if changed is not None:
                    result: Any = self(*changed, **static)
                    return result.astype(rounded) if rounded else result
                if one_dtype:
                    self.fits.add(dtype)
        # 3. The arithmetic.
        try:
            y = self.forward(xp, *arrays, **static) if static else self.forward(xp, *arrays)
            if y.__class__ is not xp.array_type:
                y = tuple([xp.asarray(a) for a in y]) if y.__class__ is tuple else xp.asarray(y)
        except (ValueError, TypeError, IndexError, RuntimeError, AttributeError, OverflowError) as error:
            raise messages.explained(self, error, inputs, static) from error
        # 4. The tape.
        node = None
        if wanted and mode & GRAD and self.vjps:
            plan = self.plans.get(wanted) or self.plan(wanted, len(inputs))
            if plan.positions:
                edges = []
                for k in plan.positions:
                    edges.append(inputs[k]._edge or inputs[k])
                node = Node(self, xp, plan, edges, plan.save((*arrays, y, xp, static)))
                if not (self.elementwise and self.own and one_shape):
                    node.expected = [(arrays[k].shape, arrays[k].dtype) for k in plan.positions]
        out: Any = _tensor(y, xp, node) if y.__class__ is not tuple else outputs(y, xp, node)
        if self.layout is not None and isinstance(out, Tensor):
            inplace.viewed(inputs[0], out, self, static)
        if mode & SLOW:
            observed(self, inputs, out, static, node)
        return out

    def pull(self, node: "Node", g, create_graph: bool) -> Sequence[Tensor | Array | None]:
        """The gradients along a node's edges, from that of its output: what each VJP makes of what was saved for it."""
        ops = TENSORS if create_graph else (node.xp.raw or raw(node.xp))
        saved = [node.saved_tensor(*pair) for pair in node.kept()] if create_graph else node.saved
        results = node.plan.run(ops, g, saved)
        return results if node.expected is None else self.fitted(node, ops, results)

    def fitted(self, node: "Node", ops, results: Sequence) -> Sequence[Tensor | Array | None]:
        """Gradients summed over what was broadcast, if elementwise, and checked for shape and dtype."""
        if self.elementwise:
            pairs = zip(results, node.expected, strict=True)
            results = [ops.sum_to(d, shape=e[0]) if getattr(d, "shape", e[0]) != e[0] else d for d, e in pairs]
        for k, d, expected in zip(node.plan.positions, results, node.expected, strict=True):
            array = getattr(d, "_data", d)
            if d is not None and (getattr(array, "shape", None), getattr(array, "dtype", None)) != expected:
                raise messages.wrong_gradient(self, k, array, *expected)
        return results

    def plan(self, wanted: int, count: int) -> "Plan":
        """The plan when the inputs whose bits are set in `wanted` require a gradient."""
        if wanted not in self.plans:
            vjps = {k: self.vjps[0 if self.variadic else k] for k in range(count) if wanted >> k & 1}
            vjps = {k: vjp for k, vjp in vjps.items() if vjp is not None}
            needs = [[self.need(name, k) for name in parameters(vjp)[2:]] for k, vjp in vjps.items()]
            self.plans[wanted] = Plan(list(vjps), list(vjps.values()), needs)
        return self.plans[wanted]

    def need(self, name: str, k: int) -> tuple[int | str | None, int | Callable[[tuple], object]]:
        """What a parameter of input `k`'s VJP stands for (an input's position, "y", or None for anything else), and where it is
        found: a position in the record (*arrays, output, backend, static values), or a function of the record."""
        base, _, what = name.rpartition("_")
        if name == "y":
            return "y", -3
        if name == "i":
            return None, lambda record: k
        if name in self.inputs:
            return self.inputs.index(name), self.inputs.index(name)
        if name in self.static:
            return None, lambda record: record[-1].get(name, self.static[name])
        if what in METADATA and base in self.inputs:
            position, read = self.inputs.index(base), METADATA[what]
            if self.variadic:
                return None, lambda record: tuple([read(a, record[-2]) for a in record[:-3]])
            return None, lambda record: read(record[position], record[-2])
        raise messages.wrong_name(self, name)

    def on_arrays(self, xp: Backend) -> Callable[..., Array | tuple[Array, ...]]:
        """The operation as a function of raw arrays, without a tape."""
        return functools.partial(self.forward, xp)

    def __get__(self, instance, owner=None):
        return self if instance is None else types.MethodType(self, instance)  # like a function, an Op can be a method

    def __repr__(self) -> str:
        return f"<operation {self.name}({', '.join([*self.inputs, *self.static])})>"


def parameters(function: Callable) -> tuple[str, ...]:
    """The names of a function's parameters (`inspect.signature` costs a tenth of minigrad's import)."""
    code: Any = function.__code__ if isinstance(function, types.FunctionType) else None  # a method's has `self`
    plain = code and not code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)  # what wraps another has these
    return code.co_varnames[: code.co_argcount] if plain else tuple(inspect.signature(function).parameters)


class Plan:
    """The VJPs to run, and what to save for them, when the inputs at `positions` require a gradient.

    kinds: what is saved, each as `Op.need` says: the parameters of the first VJP, then those of the next, and so on.
    save(record): a tuple of that; run(ops, g, saved): what the VJPs make of it.
    keeps: whether a VJP names an input or the output; a node whose VJPs name none is not used up by a backward.
    checks: which saved arrays are compared with a leaf's present one: (number of its edge, position among what was saved).
    """

    def __init__(self, positions: Sequence[int], vjps: Sequence[Callable] = (), needs: Sequence[Sequence[tuple]] = ()):
        self.positions, self.vjps, all_needs = positions, vjps, [need for each in needs for need in each]
        self.kinds, self.save = [kind for kind, _ in all_needs], picker([where for _, where in all_needs])
        ends = itertools.accumulate(map(len, needs))
        parts = [(vjp, slice(end - len(each), end)) for vjp, each, end in zip(vjps, needs, ends, strict=True)]
        if len(vjps) == 1:
            (one,) = vjps
            self.run: Callable = lambda ops, g, saved: (one(ops, g, *saved),)
        elif len(vjps) == 2:
            (one, two), end = vjps, len(needs[0])
            self.run = lambda ops, g, saved: (one(ops, g, *saved[:end]), two(ops, g, *saved[end:]))
        else:
            self.run = lambda ops, g, saved: [vjp(ops, g, *saved[part]) for vjp, part in parts]
        self.keeps = any(kind is not None for kind in self.kinds)
        numbers = {k: number for number, k in enumerate(positions)}
        self.checks = [(numbers[k], position) for position, k in enumerate(self.kinds) if k in numbers]


def picker(positions: list) -> Callable:
    """A function of a record that gives a tuple of what is at these positions of it, or of what these functions of it give."""
    if any(map(callable, positions)):
        functions = [p if callable(p) else itemgetter(p) for p in positions]
        return lambda record: tuple([find(record) for find in functions])
    if len(positions) > 1:
        return itemgetter(*positions)
    return itemgetter(slice(positions[0], positions[0] + 1) if positions else slice(0))  # a slice of a tuple is a tuple


class Node:
    """One recorded operation, `op`.

    edges: for each input that requires a gradient and has a VJP, where the gradient goes: the node that made it, or a leaf tensor.
    saved: what those VJPs need, one after the other; None when a backward has used it up.
    pull(g): the gradients along the edges, from the gradient with respect to the output.
    number: grows from node to node, so that a node's edges lead to smaller numbers.

    A node never holds a tensor that is not a leaf: an intermediate array lives in its tensor, and in what nodes saved.
    """

    __slots__ = ("op", "xp", "plan", "edges", "saved", "number", "__dict__", "__weakref__")

    op: Any  # an `Op`, or what stands for one: its `name` and `pull` are used
    expected: Any = None  # shapes and dtypes of the inputs, where a gradient is to be fitted to them
    outputs: Any = None  # of an operation with several: (shape, dtype, weak reference to the `Output`) of each
    hooks: list[Callable] | None = None  # functions of the output's gradient; no longer None when `retained` is set
    retained: Any = ()  # weak references to tensors whose `.grad` is to be kept
    line: str | None = None  # where the user called it, under detect_anomaly

    def __init__(self, op, xp, plan: Plan, edges: Sequence, saved):
        self.op, self.xp, self.plan = op, xp, plan
        self.edges, self.saved, self.number = edges, saved, next_number()

    def pull(self, g, create_graph: bool = False) -> "Sequence[Tensor | Array | Rows | None]":
        """The gradients along `edges` (None for none): raw arrays, or tensors on the tape under `create_graph`, as `g` is."""
        if self.saved is None:
            raise messages.freed(self)
        for number, position in self.plan.checks if self.saved else ():
            leaf = self.edges[number]
            if isinstance(leaf, Tensor) and leaf._data is not self.saved[position]:
                raise messages.changed(self, leaf)
        if self.outputs is not None:
            g = tuple([g[i] if i in g else self.no_gradient(i, create_graph) for i in range(len(self.outputs))])
        return self.op.pull(self, g, create_graph)

    def no_gradient(self, i: int, create_graph: bool) -> Tensor | Array:
        shape, dtype, _ = self.outputs[i]
        zeros = self.xp.astype(self.xp.zeros(shape), dtype)
        return _tensor(zeros, self.xp) if create_graph else zeros

    def kept(self) -> list[tuple[int | str | None, object]]:
        """What the node keeps, as pairs (what, value): an input's position, "y" for the output, or None for anything else."""
        return list(zip(self.plan.kinds, self.saved or ()))  # noqa: B905  (nothing when it was used up)

    def saved_tensor(self, kind: int | str | None, value: Any) -> object:
        """The value of such a pair on the tape again: a leaf as itself, another input with its edge, the output with this node as edge."""
        if kind == "y" and self.outputs is not None:
            parts = [part() or Output(self, i) for i, (_, _, part) in enumerate(self.outputs)]
            return tuple([_tensor(a, self.xp, part) for a, part in zip(value, parts, strict=True)])
        if kind is None or not isinstance(value, self.xp.array_type):
            return value
        positions = self.plan.positions
        edge = self if kind == "y" else (self.edges[positions.index(kind)] if kind in positions else None)
        return edge if isinstance(edge, Tensor) else _tensor(value, self.xp, edge)

    def __repr__(self) -> str:
        return f"<{self.op.name} node>"


next_number = itertools.count().__next__


class Output(Node):
    """Output number `i` of an operation with several: its gradient is one entry of the operation's `Rows`."""

    __slots__ = ("i",)

    def __init__(self, node: Node, i: int):
        super().__init__(node.op, node.xp, Plan((0,)), (node,), ())
        self.i = i

    def pull(self, g, create_graph: bool = False) -> "Sequence[Rows]":
        return (Rows({self.i: g}),)


class Rows(dict):
    """The gradients of an operation's several outputs, {i: gradient}; summed entry by entry."""

    def __add__(self, other: "Rows") -> "Rows":
        return Rows({**self, **{i: self[i] + g if i in self else g for i, g in other.items()}})


def outputs(arrays: tuple, xp, node: Node | None) -> tuple:
    """The tensors of an operation with several outputs, each with an edge of its own."""
    tensors = tuple([_tensor(a, xp) for a in arrays])
    if node is not None:
        parts = [Output(node, i) for i in range(len(tensors))]
        node.outputs = [(t.shape, t.dtype.name, weakref.ref(part)) for t, part in zip(tensors, parts, strict=True)]
        for t, part in zip(tensors, parts, strict=True):
            if t.dtype.is_floating_point:
                t._requires_grad, t._edge = True, part
    return tensors


def observed(op: Op, inputs, out, static, node: Node | None) -> None:
    """Reports an operation to the tracer, the collector and the observers."""
    tracing.read(inputs)
    if state.collector is not None and node is not None:
        state.collector.append(node)
    for callback in state.observers:
        callback(op.name, inputs, out, static)


class Operations:
    """`ops` of a VJP: every operation under its name, as `form` makes it of the operation."""

    def __init__(self, form: Callable[[Op], Callable]):
        self._form = form

    def __getattr__(self, name: str):
        found = REGISTRY.get(name) or USERS.get(name)
        if found is None:
            raise AttributeError(f"there is no operation {name!r}")
        function = self._form(found)
        if found.own:  # a user's may be replaced
            setattr(self, name, function)
        return function


TENSORS = Operations(lambda op: op)  # under create_graph


def raw(xp) -> Operations:
    """The operations as functions of a backend's raw arrays, in an ordinary backward."""
    xp.raw = xp.raw or Operations(lambda op: op.on_arrays(xp))
    return xp.raw


@overload
def op(function: Callable[..., tuple[Array, ...]], /, **options: Any) -> Op[tuple[Tensor, ...]]: ...
@overload
def op(function: Callable[..., Array], /, **options: Any) -> Op[Tensor]: ...
@overload
def op(function: None = None, /, **options: Any) -> Callable[[Callable], Op[Tensor]]: ...
def op(function: Callable | None = None, /, **options: Any) -> object:
    """Decorator that makes an `Op` of a function `f(xp, *arrays, **static)`; options as in `elementwise`."""
    return functools.partial(op, **options) if function is None else Op(function, **options)


@overload
def elementwise(function: Callable, /, **options: Any) -> Op[Tensor]: ...
@overload
def elementwise(function: None = None, /, **options: Any) -> Callable[[Callable], Op[Tensor]]: ...
def elementwise(function: Callable | None = None, /, **options: Any) -> object:
    """Decorator for an elementwise operation: the engine promotes dtypes, accepts Python numbers, and undoes broadcasting in the
    gradient. Options: `floats=True` computes integers in float32; `promote_from=1` leaves the first input's dtype alone."""
    if function is None:
        return functools.partial(elementwise, **options)
    kinds = [p.kind for p in messages.signature("elementwise", function).parameters.values()][1:]
    plain = set(kinds) == {inspect.Parameter.POSITIONAL_OR_KEYWORD} and "promote_from" not in options
    plain = plain and (function.__module__ or "").startswith("minigrad.")  # what users' VJPs give is checked
    return (SHORT.get(len(kinds), Op) if plain else Op)(function, elementwise=True, **options)


def matched(op: Op, inputs: Sequence) -> tuple[list | None, str | None]:
    """Inputs of an elementwise operation in their common dtype, None when they are already; and the dtype to round the result to,
    where it differs."""
    if not any(isinstance(t, Tensor) for t in inputs):
        raise messages.no_tensor(op, inputs)
    given = [t if isinstance(t, Tensor) or getattr(t, "ndim", True) else t.item() for t in inputs]  # numpy's numbers
    ranks = []
    for t in given[op.promote_from :]:
        if isinstance(t, Tensor):
            ranks.append((0 if t._data.ndim else 1, t.dtype))
        elif t.__class__ in NUMBERS:
            ranks.append((2, NUMBERS[t.__class__]))
        else:
            raise messages.no_number(op, t)
    if not ranks:
        return None, None
    kind = common(ranks)
    kind = float32 if op.floats and not kind.is_floating_point else kind
    if kind.name == "float16" and any(beyond(op, t) for t in given):
        return [t.astype("float32") if isinstance(t, Tensor) else t for t in given], "float16"
    numbers = [t if isinstance(t, Tensor) else beside(op, t, kind) for t in given]
    if any(map(operator.is_not, numbers, given)):
        return matched(op, numbers)[0] or numbers, None
    given[op.promote_from :] = [t.astype(kind) if isinstance(t, Tensor) else t for t in given[op.promote_from :]]
    return (given if any(map(operator.is_not, given, inputs)) else None), None


from minigrad.engine import inplace  # noqa: E402

SHORT: dict[int, type[Op]] = {}  # by the number of inputs: kinds of operation that are called in a shorter way
with contextlib.suppress(ModuleNotFoundError):  # without this file everything works, only slower
    from minigrad.engine.fast import KINDS

    SHORT.update(KINDS)
