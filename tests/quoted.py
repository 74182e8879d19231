"""Source lines quoted in documents: `<!-- quote FILE NAME -->` before a block of code stands for the lines of NAME in FILE.

python tests/quoted.py            lists the blocks that differ from their source
python tests/quoted.py --write    writes the present lines into the documents
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
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
    for path in documents():
        before = path.read_text(encoding="utf-8")
        after = present(before)
        if after != before:
            print(path.relative_to(ROOT))
            if "--write" in sys.argv:
                path.write_text(after, encoding="utf-8")
