"""A diagram as data: nodes in nested clusters, and edges; as text, as Mermaid and as SVG."""

import re
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from minigrad import checks
from minigrad.files import atomic_write_text
from minigrad.visual.drawing.svg import COLOURS, draw


@dataclass
class Node:
    """One thing in a diagram: `heading` stands in bold, `lines` below it, `tip` appears under the mouse.

    `look` is "box", "pill" (an operation), "round" (a sum) or "end"; `colour` a name in `svg.COLOURS`; `times` says how
    many alike follow one another.
    """

    heading: str
    lines: tuple[str, ...] = ()
    look: str = "box"
    colour: str = "operation"
    tip: str = ""
    parent: str | None = None
    times: int = 1


@dataclass
class Cluster:
    """A box around nodes and other clusters: `heading` in bold, `name` below it."""

    heading: str
    name: str = ""
    tip: str = ""
    parent: str | None = None
    times: int = 1


@dataclass
class Diagram:
    """Nodes and clusters by key, clusters after those that they lie in; `edges` are (from, to) pairs of nodes.

    In a notebook it shows itself; elsewhere `save` writes it.
    """

    heading: str = ""
    nodes: dict[str, Node] = field(default_factory=dict)
    clusters: dict[str, Cluster] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)

    def svg(self) -> str:
        """The picture as SVG text, which needs nothing else."""
        return draw(self)

    def _repr_svg_(self) -> str:
        return self.svg()

    def save(self, path: str | PathLike) -> None:
        """Writes SVG to a path that ends in .svg, Mermaid text to one that ends in .mmd.

        Raises:
            ValueError: when the path ends in something else. OSError: when it can't be written.
        """
        suffix = Path(checks.path("a graph's save", "path", path)).suffix.lower()
        if suffix not in (".svg", ".mmd"):
            raise ValueError(f"a graph is saved as .svg or .mmd (Mermaid), and {str(path)!r} ends in neither")
        atomic_write_text(path, self.svg() if suffix == ".svg" else self.mermaid())

    def depth(self, key: str) -> int:
        """How many clusters a node or a cluster lies in."""
        count, parent = 0, self.parent(key)
        while parent is not None:
            count, parent = count + 1, self.parent(parent)
        return count

    def parent(self, key: str) -> str | None:
        """The cluster that a node or a cluster lies in.

        Raises:
            KeyError: when there is none with this key.
        """
        found = self.clusters.get(key) or self.nodes.get(key) if isinstance(key, str) else None
        if found is None:
            raise KeyError(f"there is no node or cluster {key!r} in this diagram; .nodes and .clusters hold the keys")
        return found.parent

    def order(self) -> list[str]:
        """All keys, a cluster right before the first of what it holds."""
        result: dict[str, None] = {}
        for key in self.nodes:
            path, parent = [key], self.parent(key)
            while parent is not None:
                path.append(parent)
                parent = self.parent(parent)
            result.update(dict.fromkeys(reversed(path)))
        return list(result)

    def mermaid(self) -> str:
        """The diagram as Mermaid's flowchart text (https://mermaid.js.org), which GitHub and notebooks draw."""
        lines = ["flowchart TB"]
        open_clusters: list[str] = []
        for key in self.order():
            parent = self.parent(key)
            while open_clusters and open_clusters[-1] != parent:
                open_clusters.pop()
                lines.append("  " * (len(open_clusters) + 1) + "end")
            indent = "  " * (len(open_clusters) + 1)
            if key in self.clusters:
                cluster = self.clusters[key]
                label = _label([cluster.heading, *([cluster.name] if cluster.name else [])])
                lines.append(f"{indent}subgraph {key}[{label}]")
                open_clusters.append(key)
            else:
                node = self.nodes[key]
                left, right = {"box": "[]", "pill": ("([", "])"), "round": ("((", "))"), "end": ("([", "])")}[node.look]
                lines.append(f"{indent}{key}{left}{_label([node.heading, *node.lines])}{right}:::{node.colour}")
        lines += ["  " * i + "end" for i in range(len(open_clusters), 0, -1)]
        lines += [f"  {source} --> {target}" for source, target in self.edges]
        lines += [f"  style {key} fill:#808080,fill-opacity:0.07,stroke:#8a94a0" for key in self.clusters]
        used = dict.fromkeys(node.colour for node in self.nodes.values())
        for name in used:
            fill, stroke = COLOURS[name]
            lines.append(f"  classDef {name} fill:{fill},stroke:{stroke},color:#1f2933")
        return "\n".join(lines) + "\n"


def _label(lines: list[str]) -> str:
    """Lines as a quoted label: what Mermaid, Markdown or HTML would take for its own is written as a character's number."""
    own = r'["#&<>`\\*+]|(?<!\w)_|_(?!\w)'
    quoted = [re.sub(own, lambda m: f"#{ord(m[0])};", line) for line in lines]
    return '"' + "<br/>".join(quoted) + '"'


def times(shape: tuple[int, ...] | None) -> str:
    """A shape as 1×3×224×224."""
    return "" if shape is None else "×".join(map(str, shape)) or "scalar"
