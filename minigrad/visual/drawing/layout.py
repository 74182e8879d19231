"""Placing nested boxes. Each cluster is laid out by itself, with its child clusters as boxes; a line enters a cluster
through a point on its upper border, one for each node that it comes from, and leaves it through one on the lower.
"""

from collections.abc import Iterable, Mapping

from minigrad.visual.drawing.layers import GAP, assign_layers, layered
from minigrad.visual.drawing.picture import Line, Local, Picture, Point, Shape
from minigrad.visual.drawing.positions import Vertex

PAD = 12.0  # inside a cluster's border


def arrange(
    shapes: Mapping[str, Shape], parents: Mapping[str, str | None], edges: Iterable[tuple[str, str]]
) -> Picture:
    """The picture of a graph.

    Args:
        shapes: nodes' and clusters' keys to their sizes, in the order in which they should appear.
        parents: keys to the cluster that they lie in, None for the outermost level.
        edges: (from, to) pairs of nodes, without cycles, also between clusters.
    """
    children: dict[str | None, list[str]] = {}
    for key in shapes:
        children.setdefault(parents[key], []).append(key)
    lineage: dict[str, list[str | None]] = {}
    for key in shapes:
        path: list[str | None] = [key]
        while path[-1] is not None:
            path.append(parents[path[-1]])
        lineage[key] = path
    edges = list(dict.fromkeys(edges))
    pictures: dict[str, Picture] = {}
    for key in sorted(shapes, key=lambda key: -len(lineage[key])):  # inner ones first
        if key in children:
            local = _local(key, edges, lineage)
            pictures[key] = _framed(key, shapes[key], children[key], local, shapes, pictures)
        else:
            shape = shapes[key]
            pictures[key] = Picture(shape.width, shape.height, {key: (0, 0, shape.width, shape.height)})
    local = _local(None, edges, lineage)
    return _in_columns(children.get(None, []), local, shapes, pictures, 700)


def _local(parent: str | None, edges: list[tuple[str, str]], lineage: dict[str, list[str | None]]) -> Local:
    """The edges as they are seen within one cluster: between its children, and from and to the outside."""

    def child(key: str) -> str | None:
        path = lineage[key]
        return path[path.index(parent) - 1] if parent in path and path[0] != parent else None

    found: dict[tuple[str | None, str | None, str], None] = {}
    for source, target in edges:
        a, b = child(source), child(target)
        if a != b:
            found[a, b, source] = None
    return list(found)


def _cut(local: Local, part: list[str]) -> Local:
    """The edges as they are seen within a part of the children."""
    inside = set(part)
    seen = {(a if a in inside else None, b if b in inside else None, source): None for a, b, source in local}
    return [edge for edge in seen if edge[0] != edge[1]]


def _framed(
    key: str, title: Shape, units: list[str], local: Local, shapes: Mapping[str, Shape], pictures: dict[str, Picture]
) -> Picture:
    """A cluster: its content under a title, in a border."""
    content = _in_columns(units, local, shapes, pictures, 1200)
    width = max(content.width, title.width) + 2 * PAD
    left = (width - content.width) / 2
    top, bottom = title.height + PAD, PAD
    result = Picture(width + title.stack, top + content.height + bottom + title.stack)
    result.boxes[key] = (0, 0, width, result.height - title.stack)
    result.add(content, left, top)
    result.entries = {source: x + left for source, x in content.entries.items()}
    result.exits = {source: x + left for source, x in content.exits.items()}
    result.lines += [Line((x, 0), (((x, top),),), False, None) for x in result.entries.values()]
    result.lines += [
        Line((x, top + content.height), (((x, result.height),),), False, None) for x in result.exits.values()
    ]
    return result


# --- columns ----------------------------------------------------------------------------------------------------------


def _in_columns(
    units: list[str], local: Local, shapes: Mapping[str, Shape], pictures: dict[str, Picture], limit: float
) -> Picture:
    """The children of a cluster in layers; in several columns where that would be higher than `limit`."""
    parts = _split(units, local, pictures, limit)
    return _side_by_side([layered(part, _cut(local, part), shapes, pictures) for part in parts])


def _split(
    units: list[str], local: Local, pictures: dict[str, Picture], highest: float, shape: float = 1.5
) -> list[list[str]]:
    """Children as columns of about one height, together about `shape` times as wide as high; broken only where the lines
    of a single node pass."""
    vertices = {key: Vertex(key, "unit", pictures[key], Shape(0, 0)) for key in units}
    links = [(vertices[a], vertices[b], source) for a, b, source in local if a is not None and b is not None]
    assign_layers(list(vertices.values()), [], links)
    rows: list[list[str]] = [[] for _ in range(max((v.layer for v in vertices.values()), default=-1) + 1)]
    for key in units:
        rows[vertices[key].layer].append(key)
    spans = [(a.layer, b.layer, source) for a, b, source in links]  # from which row to which a source's lines go
    spans += [(-1, vertices[b].layer, source) for a, b, source in local if a is None and b is not None]
    spans += [(vertices[a].layer, len(rows), source) for a, b, source in local if a is not None and b is None]
    blocks: list[list[str]] = [[]]
    heights = [0.0]
    for i, row in enumerate(rows):
        blocks[-1] += row
        heights[-1] += max(pictures[key].height for key in row) + GAP
        crossing = [span for span in spans if span[0] <= i < span[1]]
        inside = all(first >= 0 and last < len(rows) for first, last, _ in crossing)
        if inside and len({source for _, _, source in crossing}) == 1:
            blocks.append([])
            heights.append(0.0)
    widths = [max((pictures[key].width for key in block), default=0.0) + 40 for block in blocks]
    total = sum(heights)
    if total < highest:
        return [units]
    found: list[tuple[float, list[list[str]]]] = []
    for count in range(1, min(len(blocks), 12) + 1):
        limit = max(max(heights), total / count)
        columns, wide, high = _fill(blocks, heights, widths, limit)
        while len(columns) > count:
            limit *= 1.04
            columns, wide, high = _fill(blocks, heights, widths, limit)
        found.append((max(wide / high / shape, shape * high / wide), columns))
    return min(found, key=lambda pair: pair[0])[1]


def _fill(
    blocks: list[list[str]], heights: list[float], widths: list[float], limit: float
) -> tuple[list[list[str]], float, float]:
    """Blocks put into columns no higher than `limit`; with the width and the height of it all."""
    columns: list[list[str]] = []
    high: list[float] = []
    wide: list[float] = []
    for block, height, width in zip(blocks, heights, widths, strict=True):
        if columns and high[-1] + height <= limit + 1e-6:
            columns[-1] = columns[-1] + block
            high[-1], wide[-1] = high[-1] + height, max(wide[-1], width)
        else:
            columns.append(block)
            high.append(height)
            wide.append(width)
    return columns, sum(wide), max(high)


def _side_by_side(columns: list[Picture]) -> Picture:
    """Columns from left to right; the line that leaves one below goes up between them and enters the next above."""
    if len(columns) == 1:
        return columns[0]
    turn, gutter = 18.0, 44.0
    result, x, places = Picture(), 0.0, []
    for column in columns:
        result.add(column, x, turn)
        places.append(x)
        x += column.width + gutter
    result.width, result.height = x - gutter, max(column.height for column in columns) + 2 * turn
    result.entries = columns[0].entries
    result.exits = {source: places[-1] + x for source, x in columns[-1].exits.items()}
    result.lines += [Line((x, 0), (((x, turn),),), False, None) for x in result.entries.values()]
    end_of_last = turn + columns[-1].height
    result.lines += [Line((x, end_of_last), (((x, result.height),),), False, None) for x in result.exits.values()]
    for k, column in enumerate(columns):
        for source, into in column.entries.items():
            if not k:
                continue
            i = next(i for i in range(k) if source in columns[i].exits)
            start = (places[i] + columns[i].exits[source], turn + columns[i].height)
            up = places[i + 1] - gutter / 2
            end = (places[k] + into, turn)
            low, r = start[1] + turn - 4, 10.0
            segments: tuple[tuple[Point, ...], ...] = (
                ((start[0], low), (start[0], low), (start[0] + r, low)),
                ((up - r, low),),
                ((up, low), (up, low), (up, low - r)),
                ((up, 4 + r),),
                ((up, 4), (up, 4), (up + r, 4)),
                ((end[0] - r, 4),),
                ((end[0], 4), (end[0], 4), end),
            )
            result.lines.append(Line(start, segments, False, None))
    return result
