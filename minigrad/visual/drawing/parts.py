"""What a diagram is made of: nodes in nested clusters, and the edges between them."""

from dataclasses import dataclass, field


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
class Parts:
    """Nodes and clusters by key, clusters after those that they lie in; `edges` are (from, to) pairs of nodes."""

    heading: str = ""
    nodes: dict[str, Node] = field(default_factory=dict)
    clusters: dict[str, Cluster] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)

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


def times(shape: tuple[int, ...] | None) -> str:
    """A shape as 1×3×224×224."""
    return "" if shape is None else "×".join(map(str, shape)) or "scalar"
