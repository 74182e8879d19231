"""Diagrams as SVG: one self-contained picture, legible on light and on dark paper.

Boxes are filled and carry dark text; lines and whatever stands on the paper itself are of a middle grey. Nothing refers
to anything: no style sheet, no marker, no font file, no script, so that several pictures can stand in one notebook.
"""

from html import escape

from minigrad.visual.drawing.layout import arrange
from minigrad.visual.drawing.parts import Cluster, Node, Parts
from minigrad.visual.drawing.picture import Line, Point, Shape

COLOURS = {  # of fill and border
    "convolution": ("#fde8e4", "#c2553f"),
    "norm": ("#def3ee", "#2c7a6b"),
    "linear": ("#e2eafd", "#3a5fb8"),
    "activation": ("#fdf1d0", "#a9790c"),
    "pooling": ("#dcf1f8", "#2780a3"),
    "quiet": ("#eceff2", "#8a94a0"),
    "block": ("#f0e6fb", "#8a4fb5"),
    "operation": ("#ffffff", "#6b7785"),
    "terminal": ("#fff6d6", "#a67c00"),
    "leaf": ("#e2eafd", "#3a5fb8"),
}
INK, FAINT, PAPER_INK, SKIP = "#1f2933", "#51606e", "#6f7b88", "#c8562a"
CLUSTERS = ("#f6f8fa", "#eceff3")  # of even and odd depth
FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif"
TITLE, DETAIL = 12.0, 10.5  # font sizes
PILE, MARGIN, ROUND = 4.0, 12.0, 22.0


def text_width(text: str, size: float, bold: bool = False) -> float:
    """An upper bound of a text's width in a sans serif font (the widths are those of DejaVu Sans, a wide one)."""

    def em(c: str) -> float:
        if c in "ijlI|.,:;!'()[] ":
            return 0.40
        if c in "mwMW@%—":
            return 1.0
        if c in "×+−=<>~←→≤≥_":
            return 0.84
        if ord(c) > 0x2000:
            return 1.0
        return 0.70 if c.isupper() else 0.64

    return sum(map(em, text)) * size * (1.1 if bold else 1.0)


def node_shape(node: Node) -> Shape:
    """How much room a node takes."""
    if node.look == "round":
        return Shape(ROUND, ROUND, round=True)
    pile = PILE if node.times > 1 else 0.0
    width = max([text_width(node.heading, TITLE, True), *(text_width(line, DETAIL) for line in node.lines)])
    return Shape(width + 18 + pile, 25 + 14 * len(node.lines) + pile, stack=pile)


def cluster_shape(cluster: Cluster) -> Shape:
    """How much room a cluster's title takes."""
    width = max(text_width(cluster.heading, TITLE, True), text_width(cluster.name, DETAIL))
    return Shape(width, 36 if cluster.name else 20, stack=PILE if cluster.times > 1 else 0.0)


def draw(diagram: Parts) -> str:
    """The SVG text of a diagram."""
    shapes = {key: cluster_shape(cluster) for key, cluster in diagram.clusters.items()}
    shapes |= {key: node_shape(node) for key, node in diagram.nodes.items()}
    order = {key: i for i, key in enumerate(diagram.order())}
    shapes = {key: shapes[key] for key in sorted(shapes, key=order.__getitem__)}
    picture = arrange(shapes, {key: diagram.parent(key) for key in shapes}, diagram.edges)
    head = 26.0 if diagram.heading else 0.0
    width = max(picture.width, text_width(diagram.heading, TITLE + 1, True)) + 2 * MARGIN
    height = picture.height + head + 2 * MARGIN
    left = (width - picture.width) / 2
    body = []
    for key, cluster in diagram.clusters.items():  # outer ones come before inner ones
        body.append(_cluster(cluster, picture.boxes[key], diagram.depth(key)))
    for skip in (False, True):
        body += [_path(line) for line in picture.lines if line.skip is skip]
    body += [_title(c, picture.boxes[key], diagram.depth(key)) for key, c in diagram.clusters.items()]
    body += [_node(node, picture.boxes[key]) for key, node in diagram.nodes.items()]
    body += [_arrow(line) for line in picture.lines if line.arrow]
    title = f"<title>{escape(diagram.heading)}</title>" if diagram.heading else ""
    top = _text(diagram.heading, width / 2, MARGIN + 12, TITLE + 1, PAPER_INK, True) if head else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_n(width)}" height="{_n(height)}" '
        f'viewBox="0 0 {_n(width)} {_n(height)}" font-family="{FONT}" text-anchor="middle" role="img">'
        f"{title}{top}\n"
        f'<g transform="translate({_n(left)} {_n(MARGIN + head)})">\n' + "\n".join(body) + "\n</g>\n</svg>\n"
    )


def _n(x: float) -> str:
    return f"{x:.1f}".removesuffix(".0")


def _text(text: str, x: float, y: float, size: float, colour: str, bold: bool = False, anchor: str = "") -> str:
    weight = ' font-weight="600"' if bold else ""
    anchor = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{_n(x)}" y="{_n(y)}" font-size="{_n(size)}" fill="{colour}"{weight}{anchor}>{escape(text)}</text>'


def _rectangle(x: float, y: float, width: float, height: float, fill: str, stroke: str, radius: float) -> str:
    return (
        f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" rx="{_n(radius)}" '
        f'fill="{fill}" stroke="{stroke}"/>'
    )


def _cluster(cluster: Cluster, box: tuple[float, float, float, float], depth: int) -> str:
    x, y, width, height = box
    fill, stroke = CLUSTERS[depth % 2], "#aeb8c2"
    cards = [_rectangle(x + PILE, y + PILE, width, height, fill, stroke, 8)] if cluster.times > 1 else []
    cards += [_rectangle(x, y, width, height, fill, stroke, 8)]
    return f"<g><title>{escape(cluster.tip)}</title>{''.join(cards)}</g>"


def _title(cluster: Cluster, box: tuple[float, float, float, float], depth: int) -> str:
    """A cluster's title, on a patch behind which a line that enters passes."""
    (x, y, _, _), fill = box, CLUSTERS[depth % 2]
    width, height = text_width(cluster.heading, TITLE, True), 18
    body = f'<rect x="{_n(x + 9)}" y="{_n(y + 6)}" width="{_n(width + 6)}" height="{height}" fill="{fill}"/>'
    if cluster.name:
        width = text_width(cluster.name, DETAIL)
        body += f'<rect x="{_n(x + 9)}" y="{_n(y + 22)}" width="{_n(width + 6)}" height="16" fill="{fill}"/>'
        body += _text(cluster.name, x + 12, y + 33, DETAIL, FAINT, False, "start")
    return body + _text(cluster.heading, x + 12, y + 19, TITLE, INK, True, "start")


def _node(node: Node, box: tuple[float, float, float, float]) -> str:
    x, y, width, height = box
    fill, stroke = COLOURS[node.colour]
    if node.look == "round":
        middle, radius = (x + width / 2, y + height / 2), width / 2
        body = f'<circle cx="{_n(middle[0])}" cy="{_n(middle[1])}" r="{_n(radius)}" fill="{fill}" stroke="{stroke}"/>'
        body += _sign(node.heading, *middle)
        return f"<g><title>{escape(node.tip)}</title>{body}</g>"
    pile = PILE if node.times > 1 else 0.0
    width, height = width - pile, height - pile
    radius = {"box": 5.0, "end": 12.0, "pill": min(height / 2, 16.0)}[node.look]
    body = _rectangle(x + pile, y + pile, width, height, fill, stroke, radius) if pile else ""
    body += _rectangle(x, y, width, height, fill, stroke, radius)
    body += _text(node.heading, x + width / 2, y + 17, TITLE, INK, True)
    for i, line in enumerate(node.lines):
        body += _text(line, x + width / 2, y + 31 + 14 * i, DETAIL, FAINT)
    return f"<g><title>{escape(node.tip)}</title>{body}</g>"


def _sign(sign: str, x: float, y: float) -> str:
    """+, −, × or ÷ as strokes, so that it is in the middle whatever the font; anything else as text."""
    r = 5.0
    strokes = {"+": f"M{-r} 0H{r}M0 {-r}V{r}", "−": f"M{-r} 0H{r}", "×": "M-4 -4L4 4M4 -4L-4 4"}
    if sign not in strokes:
        return _text(sign, x, y + 4, TITLE, INK, True)
    return (
        f'<path d="{strokes[sign]}" transform="translate({_n(x)} {_n(y)})" stroke="{INK}" '
        'stroke-width="1.6" stroke-linecap="round"/>'
    )


def _path(line: Line) -> str:
    end = line.segments[-1][-1]
    segments = list(line.segments)
    if line.arrow:  # stop short of the arrow's point
        back = (end[0] - 4 * line.arrow[0], end[1] - 4 * line.arrow[1])
        segments[-1] = (*segments[-1][:-1], back)
    steps = [("L" if len(s) == 1 else "C") + " ".join(f"{_n(x)},{_n(y)}" for x, y in s) for s in segments]
    stroke = f'stroke="{SKIP}" stroke-width="1.7"' if line.skip else f'stroke="{PAPER_INK}" stroke-width="1.4"'
    start = f"M{_n(line.start[0])},{_n(line.start[1])}"
    return f'<path d="{start}{"".join(steps)}" fill="none" {stroke} stroke-linecap="round"/>'


def _arrow(line: Line) -> str:
    (x, y), (dx, dy) = line.segments[-1][-1], line.arrow or (0.0, 1.0)
    points: list[Point] = [
        (x, y),
        (x - 7 * dx - 3.4 * dy, y - 7 * dy - 3.4 * dx),
        (x - 7 * dx + 3.4 * dy, y - 7 * dy + 3.4 * dx),
    ]
    return f'<polygon points="{" ".join(f"{_n(a)},{_n(b)}" for a, b in points)}" fill="{SKIP if line.skip else PAPER_INK}"/>'
