"""The docstrings of `minigrad.functions` quote the operations that the functions call. `python tests/quotations.py` renews the
quotations after a change of an operation; test_functions.py compares them.
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


if __name__ == "__main__":
    for source in SOURCES:
        source.write_text(renewed(source.read_text("utf-8")), "utf-8")
