"""The examples in docstrings are what one sees."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

import minigrad as mg
from minigrad.nn import functional as F

ROOT = Path(__file__).parents[1]
WITH_EXAMPLES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((ROOT / "minigrad").rglob("*.py"))
    if re.search(r">>> (?!.*# doctest: \+SKIP)", path.read_text("utf-8"))  # what needs files is only shown
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples(name, tmp_path, monkeypatch):
    """Each docstring's run by itself, in an empty folder, with what its module has and `mg`."""
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"mg": mg, "F": F}, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0 and result.attempted > 0


def test_a_wrong_example_is_found():
    def wrong():
        """
        >>> 1 + 1
        3
        """

    [example] = doctest.DocTestFinder().find(wrong, "wrong", globs={})
    assert doctest.DocTestRunner().run(example, out=lambda text: None).failed == 1
