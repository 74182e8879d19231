"""A model's graph: its modules as nested boxes, and how the data flows between them.

The model runs once on zeros. Every tensor that an operation makes is remembered with the operation, and every operation
with the module that was running, so the edges are those along which values really went.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minigrad import nn
from minigrad.engine.tensor import Tensor
from minigrad.nn import activation, conv, dropout, norm, pool
from minigrad.visual.drawing import Cluster, Diagram, Node, times
from minigrad.visual.trace import Call, Step, Value, trace
from minigrad.visual.watch import input_shape_of, zeros_for

VIEWS = {"reshape", "permute", "mT", "broadcast_to", "getitem", "split", "unbind", "cast", "to_device", "through"}
SIGNS = {"add": "+", "sub": "−", "mul": "×", "div": "÷"}
FAMILIES = {"convolution": conv, "norm": norm, "activation": activation, "pooling": pool, "quiet": dropout}


@dataclass
class Layer(Node):
    """A node of a model's graph.

    `name` is the module's dotted name ("" for operations, inputs and outputs), `kind` its class or the operation's name,
    `shape` that of its output and `inputs` those of what it was given.
    """

    name: str = ""
    kind: str = ""
    shape: tuple[int, ...] | None = None
    inputs: tuple[tuple[int, ...], ...] = ()


@dataclass
class Group(Cluster):
    """A cluster of a model's graph: the module `full_name`, of class `kind`."""

    full_name: str = ""
    kind: str = ""
    shape: tuple[int, ...] | None = None


class ModuleGraph(Diagram):
    """What `module_graph` found. `nodes` (of `Layer`) and `clusters` (of `Group`) come in the order in which they ran."""

    nodes: dict[str, Layer]  # type: ignore[assignment]
    clusters: dict[str, Group]  # type: ignore[assignment]

    def __str__(self) -> str:
        sources: dict[str, list[str]] = {}
        for a, b in self.edges:
            sources.setdefault(b, []).append(self._seen_from(a, b))
        rows = []
        for key in self.order():
            item = self.clusters[key] if key in self.clusters else self.nodes[key]
            short = item.name if isinstance(item, Group) else item.lines[0] if item.name else ""
            label = f"{short}: {item.heading}" if short else item.heading
            rows.append(("  " * self.depth(key) + label, times(item.shape), ", ".join(sources.get(key, ()))))
        left, middle = (max((len(row[i]) for row in rows), default=0) for i in (0, 1))
        lines = [f"{a:<{left}}  {b:<{middle}}  {'← ' + c if c else ''}".rstrip() for a, b, c in rows]
        return "\n".join([self.heading, *lines])

    def _seen_from(self, key: str, other: str) -> str:
        """What a node is called where another one is: the names of the clusters in between, and its own."""
        node = self.nodes[key]
        there, here = self._path(key), self._path(other)
        common = 0
        while common < min(len(there), len(here)) and there[common] == here[common]:
            common += 1
        between = there[common:] or (there[-1:] if len(here) > common else [])
        return ".".join([*between, node.lines[0] if node.name else node.heading])

    def _path(self, key: str) -> list[str]:
        """The names of the clusters around a node, the outermost first."""
        path: list[str] = []
        parent = self.parent(key)
        while parent is not None:
            path.insert(0, self.clusters[parent].name)
            parent = self.parent(parent)
        return path


def module_graph(model: nn.Module, input_shape: Any = None, depth: int | None = None) -> ModuleGraph:
    """The modules of a model as nested boxes, with the shapes that come out of them and the way the data goes.

    The model runs once, on zeros, in evaluation mode and off the tape. Drawn are modules, down to `depth` levels, and
    between them the operations that compute or join: a residual addition is a ⊕; a change of shape alone is none. A module
    that runs twice is there twice. Where modules of the same structure and shapes follow one another, each fed by the one
    before, the first stands for all: `Block × 2`.

    Args:
        model: any module.
        input_shape: the input's shape with the batch first, such as (1, 3, 224, 224); a tensor instead of it is used as it
            is (for a model that takes integers); a tuple or list of shapes and tensors is for a model of several inputs.
            None takes one image of the size in `model.config`.
        depth: how many levels of modules to show: 0 the model as one box, 1 what it calls, and so on; None shows all. A
            list of modules, which isn't called itself, is no level.

    Raises:
        ValueError: when there is no input shape, it holds something other than positive integers, or depth is negative.
        TypeError: when the model is no Module.

    >>> net = mg.nn.Sequential(mg.nn.Linear(4, 8), mg.nn.ReLU(), mg.nn.Linear(8, 8), mg.nn.Linear(8, 8))
    >>> graph = module_graph(net, (1, 4))
    >>> print(graph)
    Sequential: 1×4 → 1×8
    Input            1×4
    0: Linear        1×8  ← Input
    1: ReLU          1×8  ← 0
    2–3: Linear × 2  1×8  ← 1
    Output           1×8  ← 2–3
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"module_graph draws a Module, got {type(model).__name__}")
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 0):
        raise ValueError(f"depth must be a whole number from 0 on, or None for all levels, got {depth!r}")
    inputs = _inputs(model, input_shape)
    root, outputs = trace(model, inputs)
    return _Builder(root, [t.shape for t in inputs], outputs, depth).graph


def _inputs(model: nn.Module, given: Any) -> list[Tensor]:
    if isinstance(given, Tensor):
        return [given]
    if isinstance(given, tuple | list) and any(isinstance(part, Tensor | tuple | list) for part in given):
        return [part if isinstance(part, Tensor) else zeros_for(model, input_shape_of(model, part)) for part in given]
    return [zeros_for(model, input_shape_of(model, given))]


class _Builder:
    """Turns a trace into a graph of the wanted depth."""

    def __init__(self, root: Call, inputs: list[tuple[int, ...]], outputs: list[tuple[str, Value]], depth: int | None):
        self.depth = depth
        self.graph = ModuleGraph()
        self.of_call: dict[Call, str] = {}
        self.of_step: dict[Step, str] = {}
        self.made_from: dict[Value, dict[str, None]] = {}
        self.uses: dict[str, dict[str, None]] = {}  # node -> the nodes that it takes from
        several = len(inputs) > 1
        for i, shape in enumerate(inputs):
            heading = f"Input {i + 1}" if several else "Input"
            self.add(f"i{i}", Layer(heading, (times(shape),), "end", "terminal", heading, kind="Input", shape=shape))
        self.visit(root, None)
        for name, value in outputs:
            heading = f"Output {name}" if name else "Output"
            layer = Layer(heading, (times(value.shape),), "end", "terminal", heading, kind="Output", shape=value.shape)
            self.take(self.add(f"o{len(self.graph.nodes)}", layer), (value,))
        self.prune()
        self.fold(root)
        self.finish(root, inputs, outputs)

    def add(self, key: str, layer: Layer) -> str:
        self.graph.nodes[key] = layer
        self.uses[key] = {}
        return key

    def take(self, key: str, sources: Sequence[Any]) -> None:
        for source in sources:
            if isinstance(source, Value):
                self.uses[key].update(self.origin(source))
        self.uses[key].pop(key, None)

    def origin(self, value: Value) -> dict[str, None]:
        """The drawn nodes that a value comes from: through views and constants to whatever is behind them."""
        if value in self.made_from:
            return self.made_from[value]
        if isinstance(value.given, int):
            return {f"i{value.given}": None}
        return {}

    def opened(self, call: Call) -> bool:
        calls = any(isinstance(item, Call) for item in call.items)
        return calls and (self.depth is None or call.level < self.depth)

    def visit(self, call: Call, parent: str | None) -> None:
        """Adds a call, in the order of execution: as a cluster with what is inside, or as one node."""
        shape = call.outputs[0] if call.outputs else None
        name = _relative(call)
        tip = _tip(call)
        if not self.opened(call):
            detail = tuple(part for part in (name, ", ".join(map(times, call.outputs[:3]))) if part)
            inputs = tuple(value.shape for value in call.arguments)
            layer = Layer(call.kind, detail, "box", _family(call), tip, parent, 1, call.name, call.kind, shape, inputs)
            key = self.of_call[call] = self.add(f"n{len(self.of_call)}", layer)
            for step in call.steps():
                self.take(key, step.sources)
                self.made_from.update(dict.fromkeys(step.outputs, {key: None}))
            if not self.uses[key]:  # an embedding, say: positions go in, and operations only see the table
                self.take(key, call.arguments)
            return
        own = self.of_call[call] = f"c{len(self.of_call)}"
        if call.caller is not None:  # the model itself is the whole picture
            self.graph.clusters[own] = Group(call.kind, name, tip, parent, 1, call.name, call.kind, shape)
        inner = None if call.caller is None else own
        for item in call.items:
            if isinstance(item, Call):
                self.visit(item, inner)
            else:
                self.step(item, inner)

    def step(self, step: Step, parent: str | None) -> None:
        """Adds an operation between modules, if it does more than to look at the same values in another shape."""
        flows = [source for source in step.sources if isinstance(source, Value) and self.origin(source)]
        if not flows or step.operation in VIEWS:
            behind = {key: None for source in flows for key in self.origin(source)}
            self.made_from.update(dict.fromkeys(step.outputs, behind))
            return
        shape = step.outputs[0].shape
        sign = SIGNS.get(step.operation)
        if sign and len(flows) > 1:
            layer = Layer(sign, (), "round", "operation", f"{step.operation} → {times(shape)}", parent)
        else:
            layer = Layer(_written(step), (times(shape),), "pill", "operation", step.operation, parent)
        layer.kind, layer.shape = step.operation, shape
        layer.inputs = tuple(source.shape for source in step.sources if isinstance(source, Value))
        key = self.of_step[step] = self.add(f"s{len(self.of_step)}", layer)
        self.take(key, flows)
        self.made_from.update(dict.fromkeys(step.outputs, {key: None}))

    def prune(self) -> None:
        """Drops operations whose result nobody uses."""
        used = {source for sources in self.uses.values() for source in sources}
        for key in reversed(list(self.of_step.values())):
            if key not in used:
                del self.graph.nodes[key], self.uses[key]
                used = {source for sources in self.uses.values() for source in sources}

    # --- repeats ---

    def inside(self, call: Call) -> list[str]:
        """The nodes of a call, in order."""
        own = self.of_call[call]
        if own in self.graph.nodes:
            return [own]
        keys: list[str] = []
        for item in call.items:
            if isinstance(item, Step):
                keys += [self.of_step[item]] if self.of_step.get(item) in self.graph.nodes else []
            elif self.of_call[item] in self.graph.nodes or self.of_call[item] in self.graph.clusters:
                keys += self.inside(item)
        return keys

    def fold(self, call: Call) -> None:
        """Lets the first of consecutive alike calls stand for all of them, innermost first."""
        if self.of_call[call] in self.graph.nodes:
            return
        run: list[Call] = []
        for item in call.items:
            if isinstance(item, Call):
                self.fold(item)
                if run and self.repeats(run, item):
                    run.append(item)
                    continue
                self.merge(run)
                run = [item]
            elif self.of_step.get(item) in self.graph.nodes:
                self.merge(run)
                run = []
        self.merge(run)

    def repeats(self, run: list[Call], call: Call) -> bool:
        """Whether a call continues a run: alike, fed by the one before (and by what feeds all), which feeds nothing else."""
        before = run[-1]
        if call.kind != before.kind or call.signature != before.signature:
            return False
        old, new = self.inside(before), self.inside(call)
        if len(old) != len(new):
            return False
        place = {key: i for i, key in enumerate(old)}
        fed = False
        for i, key in enumerate(new):
            for source in self.uses[key]:
                fed = fed or source in place
                if source not in place and source not in new and source not in self.uses[old[i]]:
                    return False
        outside = (key for key in self.uses if key not in place and key not in new)
        return fed and not any(source in place for key in outside for source in self.uses[key])

    def merge(self, run: list[Call]) -> None:
        if len(run) < 2:
            return
        first, last = self.inside(run[0]), self.inside(run[-1])
        gone = [key for call in run[1:] for key in self.inside(call)]
        stands_for = dict(zip(last, first, strict=True))
        for key in gone:
            del self.graph.nodes[key], self.uses[key]
        for key, sources in self.uses.items():
            self.uses[key] = {stands_for.get(source, source): None for source in sources}
        for call in run[1:]:
            for inner in call.below():
                self.graph.clusters.pop(self.of_call.get(inner, ""), None)
        name = _range(_relative(run[0]), _relative(run[-1]))
        key = self.of_call[run[0]]
        item: Any = self.graph.nodes.get(key) or self.graph.clusters[key]
        item.times, item.heading = len(run), f"{item.kind} × {len(run)}"
        if isinstance(item, Layer):
            item.lines = (name, *item.lines[1:])
        else:
            item.name = name

    def finish(self, root: Call, inputs: list, outputs: list[tuple[str, Value]]) -> None:
        ends = ", ".join(map(times, inputs)), ", ".join(times(value.shape) for _, value in outputs[:4])
        self.graph.heading = f"{root.kind}: {ends[0]} → {ends[1]}{', …' if len(outputs) > 4 else ''}"
        self.graph.edges = [(source, key) for key, sources in self.uses.items() for source in sources]


# --- words ------------------------------------------------------------------------------------------------------------


def _relative(call: Call) -> str:
    """A module's name from the module that called it."""
    prefix = call.caller.name + "." if call.caller is not None and call.caller.name else ""
    return call.name.removeprefix(prefix)


def _range(first: str, last: str) -> str:
    """Names from the first to the last: blocks.0–2; the name alone where one module runs several times."""
    stem, _, number = last.rpartition(".")
    if first == last:
        return first
    return f"{first}–{number}" if first.rpartition(".")[0] == stem else f"{first}–{last}"


def _family(call: Call) -> str:
    """The colour of a module: by the file of `minigrad.nn` in which it or what it derives from is defined."""
    if any(isinstance(item, Call) for item in call.items):
        return "block"
    if issubclass(call.type, nn.Identity):
        return "quiet"
    homes = {cls.__module__ for cls in call.type.__mro__}
    for colour, file in FAMILIES.items():
        if file.__name__ in homes:
            return colour
    return "linear" if call.parameter_count else "operation"


def _tip(call: Call) -> str:
    """What the mouse shows of a module."""
    shapes = f"{', '.join(times(v.shape) for v in call.arguments)} → {', '.join(map(times, call.outputs))}"
    return f"{call.name or 'model'}: {call.written}\n{shapes}\n{call.parameter_count:,} parameters"


def _written(step: Step) -> str:
    """An operation with the constants that it was given: `× 0.125`, `+ pos_embed`, `softmax`."""
    sign = SIGNS.get(step.operation)
    operands = []
    for source in step.sources:
        if isinstance(source, Value):
            operands.append(source.given.rpartition(".")[2] if isinstance(source.given, str) else "")
        else:
            operands.append(f"{source:.4g}" if isinstance(source, int | float) else "")
    if sign and len(operands) == 2 and any(operands):
        return " ".join([operands[0], sign, operands[1]]).strip()
    named = [operand for operand in operands if operand and not sign]
    return " ".join([step.operation.replace("_", " "), *named][:3])
