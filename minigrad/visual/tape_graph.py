"""The tape of an expression as a picture: which operations were recorded, and what each keeps for its derivative."""

from collections.abc import Iterator
from typing import Any

from minigrad.autograd.recompute import Recomputed
from minigrad.engine.operation import Node as TapeNode
from minigrad.engine.operation import Output
from minigrad.engine.tensor import Tensor
from minigrad.visual.drawing import Diagram, Node, times

LARGEST = 1000


class AutogradGraph(Diagram):
    """What `autograd_graph` found: text only, no tensor and no part of the tape."""

    def __str__(self) -> str:
        sources: dict[str, list[str]] = {}
        for a, b in self.edges:
            sources.setdefault(b, []).append(self.nodes[a].heading)
        left = max(len(node.heading) for node in self.nodes.values())
        middle = max(len(node.lines[0]) for node in self.nodes.values())
        lines = []
        for key, node in self.nodes.items():
            given = f"← {', '.join(sources[key])}" if key in sources else ""
            parts = [f"{node.heading:<{left}}  {node.lines[0]:<{middle}}", given, " ".join(node.lines[1:])]
            lines.append("  ".join(part for part in parts if part).rstrip())
        return "\n".join(lines)


def autograd_graph(tensor: Tensor, /, **named: Tensor) -> AutogradGraph:
    """The operations that were recorded on the way to a tensor, the leaves that they started from, and what was saved.

    Arrows go the way of the computation; `backward` goes them the other way round. Each operation says which arrays it
    keeps for its derivative. A tensor that needs no gradient isn't on the tape: it appears only where it is kept, and has a
    name. The picture holds text only: the tape lives no longer for it, and `backward` works as before.

    Args:
        tensor: the result of operations of which one input, at least, requires a gradient.
        named: tensors by the names that they shall have in the picture.

    Raises:
        ValueError: when the tensor is on no tape, the tape was freed by `backward`, or it has more than 1000 operations.
        TypeError: when something is no tensor.

    >>> import minigrad as mg
    >>> x, w, b = mg.ones(2, 3), mg.ones(3, requires_grad=True), mg.ones(1, requires_grad=True)
    >>> print(autograd_graph((x * w + b).tanh().sum(), x=x, w=w, b=b))
    x       2×3     constant
    w       3       leaf
    mul     2×3     ← x, w  saved: x (2×3)
    b       1       leaf
    add     2×3     ← mul, b  saved: nothing
    tanh    2×3     ← add  saved: its output (2×3)
    sum     scalar  ← tanh  saved: shapes only
    Output  scalar  ← sum
    """
    for name, value in {"tensor": tensor, **named}.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"autograd_graph takes Tensors, got {type(value).__name__} for {name!r}")
    if tensor._edge is None:
        raise ValueError(
            f"this tensor of shape {tensor.shape} is on no tape: nothing that requires a gradient was computed to get it"
        )
    order = _in_order(tensor)
    shapes = _shapes(tensor, order)
    names = {id(t): name for name, t in named.items() if t._edge is None}
    arrays = {id(t._data): (name, t) for name, t in named.items()}
    results = {_made_by(t._edge): name for name, t in named.items()}
    graph = AutogradGraph("")
    keys: dict[int, str] = {}

    def add(item: object, node: Node) -> str:
        if id(item) not in keys:
            keys[id(item)] = f"t{len(keys)}"
            graph.nodes[keys[id(item)]] = node
        return keys[id(item)]

    for step in order:
        sources = []
        for name, array in _saved_constants(step, arrays):
            sources.append(add(array, Node(name, (times(tuple(array.shape)), "constant"), "box", "quiet", name)))
        for edge in step.edges:
            maker, _ = _made_by(edge)
            if maker is not None:
                sources.append(keys[id(maker)])
            else:
                name = names.get(id(edge), type(edge).__name__.replace("Tensor", "leaf"))
                lines = (times(edge.shape), *(() if name == "leaf" else ("leaf",)))
                tip = f"{name}: a leaf, {edge.dtype.name}, {edge.device}"
                sources.append(add(edge, Node(name, lines, "box", "leaf", tip)))
        saved = _wrapped(_saved(step, arrays, names))
        shape = ", ".join(times(shapes[step, i]) for i in sorted(i for s, i in shapes if s is step)) or "?"
        called = [name for (node, _), name in results.items() if node is step and step is not order[-1]]
        lines = (shape, *(f"= {name}" for name in called), *saved)
        key = add(step, Node(step.op.name, lines, "pill", "operation", "\n".join((step.op.name, *saved))))
        graph.edges += [(source, key) for source in dict.fromkeys(sources)]
    name, tip = results.get(_made_by(tensor._edge), "Output"), f"{tensor.dtype.name}, {tensor.device}"
    end = add(tensor, Node(name, (times(tensor.shape),), "end", "terminal", tip))
    graph.edges.append((keys[id(order[-1])], end))
    return graph


def _made_by(edge: Any) -> tuple[TapeNode | None, int | None]:
    """Where an edge of the tape leads: (node, number of its output, None if it has one), or (None, None) to a leaf."""
    if isinstance(edge, Output):
        return edge.edges[0], edge.i
    return (edge, None) if isinstance(edge, TapeNode) else (None, None)


def _in_order(tensor: Tensor) -> list[TapeNode]:
    """The nodes behind a tensor, each after all that it depends on."""
    order: dict[TapeNode, None] = {}
    stack: list[tuple[TapeNode | None, bool]] = [(_made_by(tensor._edge)[0], False)]
    seen: set[TapeNode] = set()
    while stack:
        node, done = stack.pop()
        if node is not None and done:
            order[node] = None
        elif node is not None and node not in seen:
            seen.add(node)
            if node.saved is None:
                raise ValueError(
                    f"the tape through {node.op.name} was freed by a backward; draw it before, or pass retain_graph=True"
                )
            if len(seen) > LARGEST:
                raise ValueError(
                    f"the tape has more than {LARGEST} operations, too many for a picture; draw a part of it, or the "
                    "model with module_graph"
                )
            stack.append((node, True))
            stack += [(_made_by(edge)[0], False) for edge in reversed(node.edges)]
    return list(order)


def _shapes(tensor: Tensor, order: list[TapeNode]) -> dict[tuple[TapeNode, Any], tuple[int, ...]]:
    """(node, output) -> shape. A node knows its inputs' shapes where they differ from its own, so they are passed up."""
    shapes: dict[tuple[TapeNode, Any], tuple[int, ...]] = {_made_by(tensor._edge): tensor.shape}  # type: ignore[dict-item]
    for node in reversed(order):
        given: list = node.expected or []
        own = shapes.get((node, None))
        for i, edge in enumerate(node.edges):
            maker, output = _made_by(edge)
            shape = given[i][0] if given else own
            if maker is not None and shape is not None:
                shapes[maker, output] = tuple(shape)
        for i, (shape, *_) in enumerate(node.outputs or ()):
            shapes[node, i] = tuple(shape)
    return shapes


def _saved_constants(node: TapeNode, arrays: dict[int, tuple[str, Tensor]]) -> Iterator[tuple[str, Any]]:
    """The named tensors off the tape whose arrays a node keeps."""
    for _, value in node.kept():
        name, owner = arrays.get(id(value), ("", None))
        if owner is not None and not owner._requires_grad:
            yield name, value


def _saved(node: TapeNode, arrays: dict[int, tuple[str, Tensor]], names: dict[int, str]) -> str:
    """What a node saved, in words."""
    if isinstance(node.op, Recomputed):
        return "saved: nothing, computed again in backward"
    positions = node.plan.positions
    found: dict[str, None] = {}
    others = 0
    for what, value in node.kept():
        parts = value if isinstance(value, tuple) else (value,)
        for part in parts:
            if not isinstance(part, node.xp.array_type):
                others += 1
                continue
            edge = node.edges[positions.index(what)] if isinstance(what, int) and what in positions else None
            maker, _ = _made_by(edge)
            if id(part) in arrays:
                word = arrays[id(part)][0]
            elif what == "y":
                word = "its output"
            elif what is None:
                word = "a statistic"
            elif maker is not None:
                word = f"output of {maker.op.name}"
            else:
                word = names.get(id(edge), "a leaf") if edge is not None else "a constant"
            found[f"{word} ({times(tuple(part.shape))})"] = None
    return "saved: " + (", ".join(found) or ("shapes only" if others else "nothing"))


def _wrapped(text: str, width: int = 36) -> list[str]:
    """A list with commas on lines of about `width` characters."""
    lines = [""]
    for part in text.split(", "):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines[-1] += ","
            lines.append(part)
        else:
            lines[-1] += f", {part}" if lines[-1] else part
    return lines
