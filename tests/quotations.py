"""Quotations of minigrad's own lines: in the docstrings of `minigrad.functions`, which quote the operations that the functions call,
and in documents, where `<!-- quote FILE NAME -->` before a block of code stands for the lines of NAME in FILE.

`python tests/quotations.py` renews both after a change; test_functions.py and test_engine.py compare them.
"""

import ast
import re
from functools import cache
from pathlib import Path
from textwrap import indent

ROOT = Path(__file__).parents[1]
SOURCES = [path for room in ("functions", "nn/functional") for path in sorted((ROOT / "minigrad" / room).glob("*.py"))]
HEAD = re.compile(r"^( *)The operation \((minigrad/\S+\.py)\):\n\n", re.M)


@cache
def operations(path: str) -> dict[str, str]:
    """The operations that a file of minigrad defines, by name: their lines without the docstring, and their derivatives."""
    text = (ROOT / path).read_text("utf-8")
    lines, found = text.splitlines(), {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            own = lines[node.decorator_list[0].lineno - 1 : node.end_lineno]
            if ast.get_docstring(node) is not None:
                docstring, start = node.body[0], node.decorator_list[0].lineno
                del own[docstring.lineno - start : docstring.end_lineno - start + 1]
            found[node.name] = "\n".join(own)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            name, _, method = ast.unparse(node.value.func).partition(".")
            if method == "defvjp":
                found[name] += "\n\n" + "\n".join(lines[node.lineno - 1 : node.end_lineno])
    return found


def quotations(text: str):
    """What is quoted in a text: (start, end, column of the text around it, path of the operation's file, the quoted lines)."""
    for head in HEAD.finditer(text):
        column, end = len(head[1]), head.end()
        for line in text[head.end() :].splitlines(keepends=True):
            if line.strip() and len(line) - len(line.lstrip()) <= column:
                break
            end += len(line)
        lines = [line[column + 4 :] for line in text[head.end() : end].rstrip().splitlines()]
        yield head.end(), head.end() + len(text[head.end() : end].rstrip()), column, head[2], "\n".join(lines)


def defined(quotation: str) -> str:
    """The name of the operation whose lines are quoted."""
    return re.search(r"^def (\w+)", quotation, re.M)[1]


def renewed(text: str) -> str:
    for start, end, column, path, lines in reversed(list(quotations(text))):
        text = text[:start] + indent(operations(path)[defined(lines)], " " * (column + 4)) + text[end:]
    return text


# --- documents --------------------------------------------------------------------------------------------------------
BLOCK = re.compile(r"(<!-- quote (\S+) (\S+) -->\n```python\n)(.*?)(```\n)", re.DOTALL)


def source(file: str, name: str) -> str:
    """The lines of a function, class, method (`Class.method`) or assignment of a file, without its docstring where the name ends in
    a minus; `name.defvjp` is the statement that calls it. Indentation is taken away."""
    text = (ROOT / file).read_text(encoding="utf-8")
    bare = name.endswith("-")
    *outer, last = name.rstrip("-").split(".")
    body = ast.parse(text).body
    if last == "defvjp":
        nodes = [
            node for node in body if isinstance(node, ast.Expr) and ast.unparse(node).startswith(f"{outer[0]}.defvjp(")
        ]
    else:
        for part in outer:
            body = next(node for node in body if getattr(node, "name", None) == part).body
        nodes = [node for node in body if last in named(node)]
    if len(nodes) != 1:
        raise ValueError(f"{file} has {len(nodes)} definitions of {name}")
    (node,) = nodes
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    lines = text.splitlines()[first - 1 : node.end_lineno]
    if bare and ast.get_docstring(node):
        doc = node.body[0]
        del lines[doc.lineno - first : doc.end_lineno - first + 1]
    indent = len(lines[0]) - len(lines[0].lstrip())
    return "".join(line[indent:].rstrip() + "\n" for line in lines)


def named(node: ast.stmt) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [getattr(node, "name", "")] + [t.id for t in targets if isinstance(t, ast.Name)]


def present(text: str) -> str:
    """A document with the present lines in its blocks."""
    return BLOCK.sub(lambda m: m[1] + source(m[2], m[3]) + m[5], text)


def documents() -> list[Path]:
    return [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]


if __name__ == "__main__":
    for file in SOURCES:
        file.write_text(renewed(file.read_text("utf-8")), "utf-8")
    for document in documents():
        document.write_text(present(document.read_text("utf-8")), "utf-8")
