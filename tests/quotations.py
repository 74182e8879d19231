"""Quotations of minigrad's own lines. There are two marks for one:

- in the docstrings of `minigrad.functions`, `The operation (FILE):` before an indented block that begins with the operation's
  definition: its lines without the docstring, and those of its derivative;
- in documents, `<!-- quote FILE NAME -->` before a block of code: the lines of NAME.

`python tests/quotations.py` renews them after a change; test_functions.py and test_engine.py compare them.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent, indent

ROOT = Path(__file__).parents[1]
SOURCES = [path for room in ("functions", "nn/functional") for path in sorted((ROOT / "minigrad" / room).glob("*.py"))]
HEAD = re.compile(r"^( *)The operation \((minigrad/\S+\.py)\):\n\n", re.M)
BLOCK = re.compile(r"<!-- quote (\S+) (\S+) -->\n```python\n(.*?)\n```\n", re.DOTALL)


# --- what is quoted ---------------------------------------------------------------------------------------------------
@cache
def definitions(file: str) -> dict[str, list[ast.stmt]]:
    """What a file defines, by name: functions, classes, methods (`Class.method`) and assignments; `name.defvjp` is the statement that
    calls it, `Class.__doc__` the class's docstring."""
    found = defaultdict(list)

    def add(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            for name in _names(node):
                found[prefix + name].append(node)
            if isinstance(node, ast.ClassDef):
                add(node.body, f"{prefix}{node.name}.")
                if ast.get_docstring(node) is not None:
                    found[f"{prefix}{node.name}.__doc__"].append(node.body[0])

    add(ast.parse((ROOT / file).read_text("utf-8")).body, "")
    return found


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return [ast.unparse(node.value.func)]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def source(file: str, name: str, docstring: bool = True) -> str:
    """The lines of what a file defines once, with its decorators and without indentation."""
    nodes = definitions(file).get(name, [])
    if len(nodes) != 1:
        raise ValueError(f"{file} has {len(nodes)} definitions of {name}")
    (node,) = nodes
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    lines = (ROOT / file).read_text("utf-8").splitlines()[first - 1 : node.end_lineno]
    if not docstring and ast.get_docstring(node) is not None:
        doc = node.body[0]
        del lines[doc.lineno - first : doc.end_lineno - first + 1]
    return dedent("\n".join(lines))


def operation(file: str, name: str) -> str:
    """The lines of an operation without its docstring, and those of its derivative if it has one."""
    derivative = f"{name}.defvjp"
    own = source(file, name, docstring=False)
    return f"{own}\n\n{source(file, derivative)}" if derivative in definitions(file) else own


# --- where it is quoted -----------------------------------------------------------------------------------------------
@dataclass
class Quotation:
    """The place of the quoted lines in a text, what they quote, and the present lines as they stand there."""

    start: int
    end: int
    name: str
    lines: str


def quotations(text: str) -> Iterator[Quotation]:
    """What is quoted in a text, in either way."""
    for head in HEAD.finditer(text):
        column, start = len(head[1]), head.end()
        block = re.match(rf"(?:\s*\n| {{{column + 1}}}.*(?:\n|\Z))*", text[start:])[0].rstrip()
        name = re.search(r"^ *def (\w+)", block, re.M)[1]
        yield Quotation(start, start + len(block), name, indent(operation(head[2], name), " " * (column + 4)))
    for m in BLOCK.finditer(text):
        yield Quotation(m.start(3), m.end(3), m[2], source(m[1], m[2]))


def renewed(text: str) -> str:
    """A text with the present lines in its quotations."""
    for each in sorted(quotations(text), key=lambda each: each.start, reverse=True):
        text = text[: each.start] + each.lines + text[each.end :]
    return text


def documents() -> list[Path]:
    return [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]


if __name__ == "__main__":
    for file in [*SOURCES, *documents()]:
        file.write_text(renewed(file.read_text("utf-8")), "utf-8")
