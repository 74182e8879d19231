"""What a layout is made of: sizes that are given, boxes and lines that come out."""

from dataclasses import dataclass, field

Point = tuple[float, float]
Local = list[tuple[str | None, str | None, str]]  # from and to (None is outside), and the node it comes from


@dataclass(frozen=True)
class Shape:
    """What is to be placed: a node's size (`stack` of it on the right and below is for a pile), or a cluster's title."""

    width: float
    height: float
    round: bool = False
    stack: float = 0.0


@dataclass(frozen=True)
class Line:
    """One piece of an edge: a start, then straight (one point) or cubic (three points) segments.

    `skip` says that it goes round something to a round node; `arrow` is the way it points where it ends at a node.
    """

    start: Point
    segments: tuple[tuple[Point, ...], ...]
    skip: bool
    arrow: Point | None

    def moved(self, x: float, y: float) -> "Line":
        def move(points: tuple[Point, ...]) -> tuple[Point, ...]:
            return tuple((a + x, b + y) for a, b in points)

        return Line(move((self.start,))[0], tuple(move(s) for s in self.segments), self.skip, self.arrow)


@dataclass
class Picture:
    """Where everything is: (left, top, width, height) of nodes and clusters, and the lines; entries and exits are the
    horizontal positions at which the lines from a node come in and go out."""

    width: float = 0.0
    height: float = 0.0
    boxes: dict[str, tuple[float, float, float, float]] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    entries: dict[str, float] = field(default_factory=dict)
    exits: dict[str, float] = field(default_factory=dict)

    def add(self, other: "Picture", x: float, y: float) -> None:
        """Puts another picture in, its corner at (x, y)."""
        for key, (left, top, width, height) in other.boxes.items():
            self.boxes[key] = (left + x, top + y, width, height)
        self.lines += [line.moved(x, y) for line in other.lines]
