"""The horizontal positions in a layered drawing.

Least squares over the lines, layer by layer, under the order in each layer and the least distances (an exact solution a
layer, swept down and up); then the chains that should be vertical, the longest way through the graph and the lines around
something, are made exactly so.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from minigrad.visual.drawing.picture import Picture, Shape

BETWEEN = 22.0  # between neighbours of a layer
STRAIGHT = 24.0  # how much more a straight spine or a straight bypass is worth than other lines
SWEEPS = 24


@dataclass(eq=False)
class Vertex:
    """Something in a layer: a node, a cluster, a point on the border (`side` in or out) or a bend."""

    key: str
    side: str  # "unit", "in", "out", "bend"
    inner: Picture
    shape: Shape
    layer: int = 0
    x: float = 0.0  # the middle
    y: float = 0.0  # the upper edge

    def entry(self, source: str) -> float:
        """Where a line from `source` comes in, from the middle."""
        return self.inner.entries.get(source, self._body) - self.inner.width / 2

    def exit(self, source: str) -> float:
        return self.inner.exits.get(source, self._body) - self.inner.width / 2

    @property
    def _body(self) -> float:
        """The middle of the box without its pile, from the left."""
        return (self.inner.width - self.shape.stack) / 2


Link = tuple[Vertex, Vertex, str]  # from, to, and the node that the line comes from


def distance(a: Vertex, b: Vertex) -> float:
    """The least distance of the middles of two neighbours."""
    thin = (a.side != "unit") + (b.side != "unit")
    return a.inner.width / 2 + b.inner.width / 2 + (BETWEEN if not thin else BETWEEN - 6 if thin == 1 else 12)


def set_positions(layers: list[list[Vertex]], links: list[Link]) -> None:
    """Horizontal positions: least squares over the links, layer by layer, under the order and the least distances."""
    main = _spine(links)
    pulls: dict[Vertex, list[tuple[Vertex, float, float]]] = {}  # neighbour, wished distance, weight
    straight: list[tuple[Vertex, Vertex, float]] = []
    for a, b, source in links:
        bends = (a.side == "bend") + (b.side == "bend")
        wish = a.exit(source) - b.entry(source)  # of b.x - a.x, for a vertical line
        alone = bends == 2 or main.get(a) is b
        weight = STRAIGHT if alone else 2.0 if not bends else 0.5
        pulls.setdefault(a, []).append((b, -wish, weight))
        pulls.setdefault(b, []).append((a, wish, weight))
        if alone:
            straight.append((a, b, wish))
    for layer in layers:
        x = 0.0
        for i, v in enumerate(layer):
            x += distance(layer[i - 1], v) if i else 0.0
            v.x = x
        for v in layer:
            v.x -= x / 2
    _relax(layers, pulls, SWEEPS, set())
    spines, bypasses = _chains(straight)
    pinned: set[Vertex] = set()
    while spines:
        chain = spines.pop()
        if _aligned(chain, layers, outermost=False):
            pinned.update(v for v, _ in chain)
        elif len(chain) > 2:  # perhaps there is room for its halves
            spines += [chain[: len(chain) // 2], chain[len(chain) // 2 :]]
    _relax(layers, pulls, SWEEPS // 2, pinned)
    for chain in bypasses:
        _aligned(chain, layers, outermost=True)


def _spine(links: list[Link]) -> dict[Vertex, Vertex]:
    """Vertex -> the one below it on the longest way through both, where there is a single one."""
    before: dict[Vertex, list[Vertex]] = {}
    after: dict[Vertex, list[Vertex]] = {}
    for a, b, _ in sorted(links, key=lambda link: link[0].layer):
        before.setdefault(b, []).append(a)
        after.setdefault(a, []).append(b)
    above: dict[Vertex, int] = {}
    below: dict[Vertex, int] = {}
    for v in sorted({*before, *after}, key=lambda v: v.layer):
        above[v] = max((above[w] + (w.side == "unit") for w in before.get(v, ())), default=0)
    for v in sorted({*before, *after}, key=lambda v: -v.layer):
        below[v] = max((below[w] + (w.side == "unit") for w in after.get(v, ())), default=0)

    def single(vertices: list[Vertex], length: dict[Vertex, int]) -> Vertex | None:
        real = [v for v in vertices if v.side != "bend"]
        longest = [v for v in real if length[v] == max(length[w] for w in real)]
        return longest[0] if len(longest) == 1 else None

    downwards = {v: single(after[v], below) for v in after}
    return {v: w for v, w in downwards.items() if w is not None and single(before[w], above) is v}


def _relax(layers: list[list[Vertex]], pulls: Mapping[Vertex, list], sweeps: int, pinned: set[Vertex]) -> None:
    """Moves each layer to where its neighbours pull it, down and up in turns; what is pinned stays."""
    for sweep in range(sweeps):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wishes, weights = [], []
            for v in layer:
                around = pulls.get(v, [])
                if 0 < sweep < sweeps // 2:  # at first from one side only, so that shifts travel the whole way
                    side = -1 if sweep % 2 == 0 else 1
                    around = [p for p in around if (p[0].layer - v.layer) * side > 0] or around
                total = sum(weight for _, _, weight in around)
                here = v in pinned or not total
                wishes.append(v.x if here else sum((n.x + wish) * weight for n, wish, weight in around) / total)
                weights.append(1e6 if v in pinned else total or 0.01)
            for v, x in zip(layer, _fit(layer, wishes, weights), strict=True):
                v.x = x


def _fit(layer: list[Vertex], wishes: list[float], weights: list[float]) -> list[float]:
    """The positions nearest to the wishes (weighted squares) that keep the distances: pool adjacent violators."""
    offset, offsets = 0.0, []
    for i, v in enumerate(layer):
        offset += distance(layer[i - 1], v) if i else 0.0
        offsets.append(offset)
    pools: list[tuple[float, float, int]] = []  # mean, weight, length
    for wish, weight, offset in zip(wishes, weights, offsets, strict=True):
        mean, total, length = wish - offset, weight, 1
        while pools and pools[-1][0] > mean:
            m, w, n = pools.pop()
            mean, total, length = (m * w + mean * total) / (w + total), w + total, length + n
        pools.append((mean, total, length))
    flat = [mean for mean, _, length in pools for _ in range(length)]
    return [mean + offset for mean, offset in zip(flat, offsets, strict=True)]


Chain = list[tuple[Vertex, float]]  # vertices that should stand below one another, and their wished x from the first's


def _chains(straight: list[tuple[Vertex, Vertex, float]]) -> tuple[list[Chain], list[Chain]]:
    """The chains of links that should be vertical: those of boxes, and those of bends."""
    of: dict[Vertex, Chain] = {}
    for a, b, wish in sorted(straight, key=lambda link: link[0].layer):
        chain = of.setdefault(a, [(a, 0.0)])
        if chain[-1][0] is a:
            chain.append((b, chain[-1][1] + wish))
            of[b] = chain
    chains = list({id(chain): chain for chain in of.values()}.values())
    return [c for c in chains if c[0][0].side != "bend"], [c for c in chains if c[0][0].side == "bend"]


def _aligned(chain: Chain, layers: list[list[Vertex]], outermost: bool) -> bool:
    """Puts a chain exactly below itself, at its mean position, or with `outermost` at the one farthest from the boxes
    beside it; False when other boxes (for `outermost`: anything) leave no room for that."""
    low, high = -1e9, 1e9
    for v, shift in chain:
        row = layers[v.layer]
        for way in (-1, 1):
            i, room = row.index(v), 0.0
            while 0 <= i + way < len(row):
                room += distance(row[min(i, i + way)], row[max(i, i + way)])
                i += way
                if outermost or row[i].side == "unit":
                    low = max(low, row[i].x + room - shift) if way < 0 else low
                    high = min(high, row[i].x - room - shift) if way > 0 else high
                    break
    if low > high + 1e-6:
        return False
    places = [v.x - shift for v, shift in chain]
    target = sum(places) / len(places)
    if outermost:
        others = [w.x for v, _ in chain for w in layers[v.layer] if w.side == "unit"]
        target = max(places) if not others or target > sum(others) / len(others) else min(places)
    target = min(max(target, low), high)
    for v, shift in chain:
        v.x = target + shift
    return True
