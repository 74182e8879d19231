"""`minigrad graph`."""

import argparse
from pathlib import Path

from minigrad import visual
from minigrad.cli.errors import UsageError
from minigrad.cli.summary import build
from minigrad.files import atomic_write_text

TEXT = "a model's modules and the way the data goes through them, drawn"
EXAMPLES = """examples:
  python -m minigrad graph pvt_v2_b0 --depth 2 -o graph.svg
  python -m minigrad graph pvt_v2_tiny --format mermaid"""

FORMATS = {"svg": ".svg", "mermaid": ".mmd", "text": ".txt"}


def options(sub: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    sub.add_argument("model", metavar="MODEL", help="a name that `minigrad summary --help` lists, such as pvt_v2_b0")
    sub.add_argument(
        "--image-size", type=int, default=None, metavar="N", help="side of the image (default: the model's)"
    )
    sub.add_argument("--depth", type=int, default=None, metavar="N", help="levels of modules to show (default: all)")
    sub.add_argument(
        "-o", "--output", default=None, metavar="FILE", help="where to write it (default: standard output)"
    )
    sub.add_argument(
        "--format", choices=list(FORMATS), default=None, help="default: by FILE's ending (.svg, .mmd or .txt), or text"
    )


def run(model: str, image_size: int | None, depth: int | None, output: str | None, format: str | None) -> int:
    """Writes the graph, returns the exit status."""
    if depth is not None and depth < 0:
        raise UsageError(f"--depth must be at least 0, got {depth}")
    if format is None:
        format = "text"
        if output is not None:
            endings = {ending: name for name, ending in FORMATS.items()}
            suffix = Path(output).suffix.lower()
            if suffix not in endings:
                raise UsageError(f"-o {output} ends in none of {', '.join(endings)}; choose one, or give --format")
            format = endings[suffix]
    graph = visual.module_graph(build(model, image_size), depth=depth)
    text = {"svg": graph.svg, "mermaid": graph.mermaid, "text": lambda: f"{graph}\n"}[format]()
    if output is None:
        print(text, end="")
    else:
        atomic_write_text(output, text)
    return 0
