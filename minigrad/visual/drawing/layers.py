"""A layered drawing of one level of a graph, top to bottom (Sugiyama, Tagawa & Toda 1981): layers by longest path, order
within a layer by barycentres. A line that skips layers bends through points of its own, so that no line crosses a box.
"""

from collections.abc import Mapping

from minigrad.visual.drawing.picture import Line, Local, Picture, Point, Shape
from minigrad.visual.drawing.positions import Link, Vertex, set_positions

GAP = 26.0  # between layers


def layered(units: list[str], local: Local, shapes: Mapping[str, Shape], pictures: dict[str, Picture]) -> Picture:
    """The children of a cluster in layers, with the lines between them."""
    vertices = {key: Vertex(key, "unit", pictures[key], shapes[key]) for key in units}
    nothing = Shape(0, 0)
    links: list[Link] = []
    ports: dict[tuple[str, str], Vertex] = {}
    for a, b, source in local:
        if a is None:
            a_vertex = ports.setdefault(("in", source), Vertex(source, "in", Picture(), nothing))
        else:
            a_vertex = vertices[a]
        if b is None:
            b_vertex = ports.setdefault(("out", source), Vertex(source, "out", Picture(), nothing))
        else:
            b_vertex = vertices[b]
        links.append((a_vertex, b_vertex, source))
    assign_layers(list(vertices.values()), list(ports.values()), links)
    everything = [*vertices.values(), *ports.values()]
    links = _bent(links, everything)
    layers: list[list[Vertex]] = [[] for _ in range(max((v.layer for v in everything), default=-1) + 1)]
    for vertex in everything:
        layers[vertex.layer].append(vertex)
    layers = _ordered(layers, links)
    set_positions(layers, links)
    return _drawn(layers, links)


def assign_layers(units: list[Vertex], ports: list[Vertex], links: list[Link]) -> None:
    """Longest path from the sources; what has no predecessor moves down to its first consumer; exits come last."""
    before: dict[Vertex, list[Vertex]] = {}
    after: dict[Vertex, list[Vertex]] = {}
    for a, b, _ in links:
        before.setdefault(b, []).append(a)
        after.setdefault(a, []).append(b)
    first = 1 if any(p.side == "in" for p in ports) else 0
    left = {v: len(before.get(v, ())) for v in [*units, *ports]}
    ready = [v for v in [*ports, *units] if not left[v]]
    for v in ready:  # grows while it is walked
        v.layer = 0 if v.side == "in" else max([first, *(p.layer + 1 for p in before.get(v, ()))])
        for consumer in after.get(v, ()):
            left[consumer] -= 1
            if not left[consumer]:
                ready.append(consumer)
    for v in units:
        targets = [w.layer for w in after.get(v, ()) if w.side == "unit"]
        if not before.get(v) and targets:
            v.layer = max(v.layer, min(targets) - 1)
    last = max((v.layer for v in units), default=0) + 1
    for port in ports:
        if port.side == "out":
            port.layer = last


def _bent(links: list[Link], everything: list[Vertex]) -> list[Link]:
    """Links between neighbouring layers only: longer ones go through bends, which links from one source share."""
    result: dict[Link, None] = {}
    bends: dict[tuple[Vertex, str, int], Vertex] = {}
    for a, b, source in links:
        here = a
        for layer in range(a.layer + 1, b.layer):
            place = (a, source, layer)
            if place not in bends:
                bends[place] = Vertex(source, "bend", Picture(), Shape(0, 0), layer)
                everything.append(bends[place])
            result[here, bends[place], source] = None
            here = bends[place]
        result[here, b, source] = None
    return list(result)


def _ordered(layers: list[list[Vertex]], links: list[Link]) -> list[list[Vertex]]:
    """The order within each layer that has the fewest crossings among those which sweeps of barycentres come by."""
    gaps: list[list[Link]] = [[] for _ in layers]
    for link in links:
        gaps[link[0].layer].append(link)

    def place(vertex: Vertex, offset: float) -> float:
        return spot[vertex] + offset / (vertex.inner.width + 1)

    def crossings() -> int:
        count = 0
        for gap in gaps:
            ends = [(place(a, a.exit(s)), place(b, b.entry(s))) for a, b, s in gap]
            for i, (p, q) in enumerate(ends):
                count += sum((p - r) * (q - t) < 0 for r, t in ends[:i])
        return count

    spot = {v: float(i) for layer in layers for i, v in enumerate(layer)}
    best, fewest = [list(layer) for layer in layers], crossings()
    for sweep in range(8):
        if not fewest:
            break
        down = sweep % 2 == 0
        for i in range(1, len(layers)) if down else range(len(layers) - 2, -1, -1):
            near: dict[Vertex, list[float]] = {}
            for a, b, source in gaps[i - 1] if down else gaps[i]:
                if down:
                    near.setdefault(b, []).append(place(a, a.exit(source)))
                else:
                    near.setdefault(a, []).append(place(b, b.entry(source)))
            pull = {v: sum(near[v]) / len(near[v]) if v in near else spot[v] for v in layers[i]}
            layers[i] = sorted(layers[i], key=lambda v: (pull[v], spot[v]))
            spot.update({v: float(k) for k, v in enumerate(layers[i])})
        count = crossings()
        if count < fewest:
            best, fewest = [list(layer) for layer in layers], count
    return best


def _drawn(layers: list[list[Vertex]], links: list[Link]) -> Picture:
    """The picture: layers below one another, and a line for every link."""
    result = Picture()
    left = min((v.x - v.inner.width / 2 for layer in layers for v in layer), default=0.0)
    for layer in layers:
        for v in layer:
            v.x -= left
    result.width = max((v.x + v.inner.width / 2 for layer in layers for v in layer), default=0.0)
    reach = [0.0] * (len(layers) + 1)
    for a, b, source in links:
        reach[a.layer] = max(reach[a.layer], abs(a.x + a.exit(source) - b.x - b.entry(source)))
    y, tops, bottoms = 0.0, [], []
    for i, layer in enumerate(layers):
        height = max(v.inner.height for v in layer)
        tops.append(y)
        bottoms.append(y + height)
        for v in layer:
            v.y = y + (height - v.inner.height) / 2
        ports = all(v.side != "unit" for v in layer) or i + 1 < len(layers) and layers[i + 1][0].side == "out"
        bent = reach[i] > 2
        y += height + (0 if ports and not bent else GAP + min(30.0, 0.08 * reach[i]))
    result.height = bottoms[-1] if layers else 0.0
    for layer in layers:
        for v in layer:
            corner = (v.x - v.inner.width / 2, v.y)
            if v.side == "unit":
                result.add(v.inner, *corner)
            elif v.side == "in":
                result.entries[v.key] = v.x
            elif v.side == "out":
                result.exits[v.key] = v.x
    around: set[Vertex] = set()  # bends on the way to a round node
    for a, b, _ in reversed(links):
        if a.side == "bend" and (b.shape.round or b in around):
            around.add(a)
    started: set[tuple[Vertex, str]] = set()
    ends = _ends(links)
    for link in links:
        a, b, source = link
        skip = a in around and (b in around or b.shape.round) or b in around
        start = (a.x + a.exit(source), a.y + a.inner.height)
        leave = (start[0], bottoms[a.layer])
        if (a, source) not in started and a.side != "bend" and leave[1] > start[1]:
            result.lines.append(Line(start, ((leave,),), False, None))
        started.add((a, source))
        end = (ends[link], bottoms[b.layer] if b.side == "bend" else b.y)
        result.lines.append(_line(leave, end, b, skip, layers[b.layer], tops[b.layer]))
    return result


def _ends(links: list[Link]) -> dict[Link, float]:
    """Where each link arrives: side by side where several come to one node, the one from right above in the middle."""
    coming: dict[Vertex, list[tuple[float, Link]]] = {}
    ends = {}
    for link in links:
        a, b, source = link
        ends[link] = b.x + b.entry(source)
        if b.side == "unit" and not b.inner.entries and not b.shape.round:
            coming.setdefault(b, []).append((a.x + a.exit(source) - ends[link], link))
    for b, arrivals in coming.items():
        beside = [pair for pair in arrivals if abs(pair[0]) > 1]
        for way in (-1, 1):
            side = sorted((pair for pair in beside if pair[0] * way > 0), key=lambda pair: abs(pair[0]))
            whole = len(side) == len(arrivals) or len(beside) == len(arrivals)  # nobody comes from right above
            for i, (_, link) in enumerate(side):
                step = min(11.0, 0.35 * b.inner.width / len(side))
                ends[link] += way * step * (i + (0.5 if whole else 1)) if len(arrivals) > 1 else 0.0
    return ends


def _line(start: Point, end: Point, b: Vertex, skip: bool, row: list[Vertex], arrive: float) -> Line:
    """In an S from the end of a layer to the next, and straight on to the vertex there; into a round node from the side,
    where nothing stands between."""
    arrow = (0.0, 1.0) if b.side == "unit" and not b.inner.entries else None
    low, high = sorted((start[0], b.x))
    free = not any(w is not b and w.x + w.inner.width / 2 > low and w.x - w.inner.width / 2 < high for w in row)
    if skip and b.shape.round and free and high - low > b.inner.width:
        way = 1.0 if start[0] > b.x else -1.0
        middle, side = b.y + b.inner.height / 2, b.x + way * b.inner.width / 2
        near, corner = (start[0], max(start[1], middle - abs(start[0] - side))), (start[0], middle)
        return Line(start, ((near,), (corner, corner, (side, middle))), skip, (-way, 0.0))
    if abs(start[0] - end[0]) < 0.5:
        return Line(start, ((end,),), skip, arrow)
    middle = (start[1] + arrive) / 2
    curve = ((start[0], middle), (end[0], middle), (end[0], arrive))
    return Line(start, (curve, (end,)), skip, arrow)
