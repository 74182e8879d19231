"""A diagram as text, as Mermaid and as SVG."""

import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from minigrad import checks
from minigrad.files import atomic_write_text
from minigrad.visual.drawing.parts import Parts
from minigrad.visual.drawing.svg import COLOURS, draw


@dataclass
class Diagram(Parts):
    """Nodes and clusters by key, clusters after those that they lie in; `edges` are (from, to) pairs of nodes.

    In a notebook it shows itself; elsewhere `save` writes it.
    """

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
