"""What users see of the public functions: their docstrings, with the lines of the operation behind each, and the names that calls
take. Their types are in test_types.py."""

import ast
import importlib
import inspect
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import quotations
from axis_names import CALLS, NAMES

import minigrad as mg
from minigrad.nn import functional as F

ROOT = Path(__file__).parents[1]
ROOMS = ("functions", "nn.functional")
FAMILIES = [
    f"{room}.{path.stem}"
    for room in ROOMS
    for path in sorted((ROOT / "minigrad" / room.replace(".", "/")).glob("*.py"))
    if path.stem not in ("__init__", "arguments", "conversion", "methods", "tape", "turning", "writes")
]


def module(family: str):
    return importlib.import_module(f"minigrad.{family}")


def functions(family: str) -> dict:
    """The family's functions; an alias is left out."""
    names = module(family).__all__ + ["unfold"] * (
        family in ("functions.pool", "functions.index")
    )  # F.unfold, Tensor.unfold
    found = {name: getattr(module(family), name) for name in names}
    return {name: function for name, function in found.items() if function.__name__ == name}


def test_every_function_is_held_to_the_rules():
    held = {name for family in FAMILIES for name in functions(family)}
    assert set(F.__all__) - {"conv_mlp"} <= held  # PVT's, in the models' room
    assert {name for name in mg.functions.__all__ if getattr(mg, name).__name__ == name} <= held


def test_no_name_is_defined_twice():
    """What stands in `mg` and in `nn.functional` under one name is one function."""
    shared = set(F.__all__) & set(mg.__all__)
    assert len(shared) > 15 and {name for name in shared if getattr(mg, name) is not getattr(F, name)} <= {"unfold"}
    found: dict[str, object] = {}
    for family in FAMILIES:
        for name in module(family).__all__:
            assert found.setdefault(name, getattr(module(family), name)) is getattr(module(family), name), name


# --- docstrings -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("family", FAMILIES)
def test_quotations_are_the_operations_lines(family):
    """After a change of an operation, `python tests/quotations.py` renews them."""
    text = Path(module(family).__file__).read_text("utf-8")
    assert quotations.renewed(text) == text


@pytest.mark.parametrize("family", FAMILIES)
def test_what_hands_on_to_an_operation_quotes_it(family):
    """And to the one of its own name; a function that is composed of others quotes none."""
    for node in ast.parse(inspect.getsource(module(family))).body:
        if isinstance(node, ast.FunctionDef) and node.name in functions(family):
            used = {
                n.attr
                for n in ast.walk(node)
                if isinstance(n, ast.Attribute) and ast.unparse(n.value) in ("ops", "_ops")
            }
            quoted = [each.name for each in quotations.quotations(ast.get_docstring(node) or "")]
            overloads = [ast.unparse(d) for d in node.decorator_list]
            assert quoted == [node.name] * (node.name in used and "overload" not in overloads), node.name


def test_a_quotation_that_differs_is_found():
    text = inspect.getsource(mg.tanh)
    assert quotations.renewed(text) == text and "defvjp(lambda ops, g, y: g * (1.0 - y * y))" in text
    for change in (("1.0 - y", "1.0 + y"), ("floats=True", "floats=False"), ("return xp.tanh(a)", "return xp.sinh(a)")):
        assert quotations.renewed(text.replace(*change)) == text != text.replace(*change)


@pytest.mark.parametrize("family", FAMILIES)
def test_docstrings_have_formula_shapes_errors_and_an_example(family):
    for name, function in functions(family).items():
        first, *rest = inspect.getdoc(function).split("\n\n")
        assert len(first) > 3 and first.endswith("."), f"{name} begins with no sentence: {first!r}"
        rest = "\n\n".join(rest)
        assert re.search(r"^Shapes?: ", rest, re.M) or "→" in first, f"{name} says no shapes"
        assert "\nRaises:\n    " in "\n" + rest, f"{name} says not what it raises"
        examples = re.findall(r"^(?:>>>|\.\.\.) .*", rest, re.M)
        assert 1 <= len(examples) <= 5 and any(f"{name}(" in line for line in examples), f"{name} has no short example"


def test_methods_have_docstrings():
    own = {name: f for name, f in vars(mg.Tensor).items() if not name.startswith("_") and callable(f)}
    assert {"to", "item", "sum", "backward"} <= set(own)
    assert not [name for name, f in own.items() if not f.__doc__]


# --- wrong types ------------------------------------------------------------------------------------------------------
class Thing:
    """What no function knows."""


def anything(rng: random.Random):
    """A tensor, or a value of some type that is perhaps not the right one."""
    tensors = mg.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), mg.arange(3), mg.tensor(1.0), mg.ones(2, 3) > 0
    numbers = None, 0, 1, -1, 2.5, True, float("nan"), 10**30, 1j, np.float64(1), np.int64(1)
    others = "x", b"x", "cpu", "float32", mg.float32, [1.0], [], (0,), (), {}, {1}, range(3), slice(1), ..., len, Thing
    made = np.ones(2), np.array("x"), iter([1]), Thing(), mg.nn.Linear(2, 2)
    return rng.choice(rng.choice((tensors, numbers, others, made)))


def some_call(function, rng: random.Random) -> tuple[list, dict]:
    args: list = []
    kwargs = {}
    for i, p in enumerate(inspect.signature(function).parameters.values()):
        if p.kind is p.VAR_POSITIONAL:
            args += [anything(rng) for _ in range(rng.randint(0, 2))]
        elif p.kind is p.KEYWORD_ONLY or len(args) < i:
            kwargs |= {p.name: anything(rng)} if rng.random() < 0.5 else {}
        elif p.default is p.empty or rng.random() < 0.5:
            args.append(
                mg.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]) if i == 0 and rng.random() < 0.7 else anything(rng)
            )
    return args, kwargs


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", FAMILIES)
def test_wrong_types_get_one_sentence(family, samples, seed):
    """Whatever a function is called with, it gives a result or says in one line what is wrong; it never runs into an
    AttributeError."""
    rng = random.Random(f"{family} {seed}")
    for name, function in functions(family).items():
        for _ in range(samples(60)):
            args, kwargs = some_call(function, rng)
            called = f"{name}({', '.join(type(a).__name__ for a in args)}, {', '.join(kwargs)})"
            try:
                function(*args, **kwargs)
            except (TypeError, ValueError, IndexError, RuntimeError, OverflowError) as error:
                assert "\n" not in str(error) and 10 < len(str(error)) < 400, f"{called}: {error}"
            except Exception as error:
                pytest.fail(f"{called}: {type(error).__name__}: {error}")


# --- the names that a call takes --------------------------------------------------------------------------------------
def made(value):
    return mg.tensor(value) if isinstance(value, list) else value


def calls(name: str) -> list:
    """The function and the method of a name, as functions of keywords."""
    x = mg.tensor([[3.0, 1.0, 2.0], [4.0, 6.0, 5.0]])
    values = {key: made(value) for key, value in CALLS[name].items()}
    first = [x, x] if name in ("cat", "concat", "stack") else x
    found = [lambda **changed: getattr(mg, name)(first, **values | changed)]
    if first is x:
        found.append(lambda **changed: getattr(x, name)(**values | changed))
    return found


def plain(result):
    return [t.tolist() for t in result] if isinstance(result, tuple) else result.tolist()


NAMED = [(name, alias) for name, aliases in NAMES.items() for alias in aliases]


@pytest.mark.parametrize(("name", "alias"), NAMED)
def test_axis_and_keepdims(name, alias):
    """Where PyTorch takes them, they mean the same as `dim` and `keepdim`, stand in the signature, and exclude those."""
    assert inspect.signature(getattr(mg, name)).parameters[alias].kind is inspect.Parameter.KEYWORD_ONLY
    parameter = {"axis": "dim", "keepdims": "keepdim"}[alias]
    default = inspect.signature(getattr(mg, name)).parameters[parameter].default
    for call in calls(name):
        wanted = plain(call())
        assert plain(call(**{parameter: default, alias: CALLS[name][parameter]})) == wanted
        with pytest.raises(TypeError, match=rf"^{name}: {parameter} and {alias} [^\n]* only one of them$"):
            call(**{alias: CALLS[name][parameter]})


def test_nothing_else_takes_axis_and_keepdims():
    for name in mg.functions.__all__:
        taken = {"axis", "keepdims"} & set(inspect.signature(getattr(mg, name)).parameters)
        assert taken <= set(NAMES.get(name, ())), name


def test_numpy_spelling_gives_numpys_numbers():
    values = np.array([[1.0, 5.0, 2.0], [4.0, 3.0, 6.0]], np.float32)
    x = mg.tensor(values)
    for name in ("sum", "mean", "prod", "amax", "amin", "any", "all"):
        wanted = getattr(np, name)(values, axis=1, keepdims=True)
        np.testing.assert_array_equal(getattr(mg, name)(x, axis=1, keepdims=True).numpy(), wanted)
    np.testing.assert_array_equal(x.sum(axis=(0, 1), keepdims=True).numpy(), values.sum(axis=(0, 1), keepdims=True))


# --- what the package shows -------------------------------------------------------------------------------------------
INTERNAL = """LATER TYPE_CHECKING callers compiler creation dtypes engine files functions kernels memory messages nested serialize
switches values"""


def fresh(code: str) -> str:
    """What a program prints in a session of its own."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_dir_shows_the_public_names_and_no_others():
    names, loaded = fresh("import sys, minigrad as mg; print(dir(mg)); print('PIL' in sys.modules)").splitlines()
    names = ast.literal_eval(names)
    assert {"data", "models", "training", "visual", "distributed", "compile", "load", "save", "nn", "abs"} <= set(names)
    assert [name for name in names if not name.startswith("__")] == sorted(mg.__all__) and loaded == "False"
    assert not set(INTERNAL.split()) & set(names)
    assert set(mg.functions.__all__) <= set(mg.__all__) and len(set(mg.__all__)) == len(mg.__all__)


def test_dir_of_the_functions_behind_the_layers():
    """The public names; those of its files, which are loaded with it, are not shown."""
    assert dir(F) == sorted(F.__all__) and {"cross_entropy", "unfold", "pad", "softmax"} <= set(dir(F))
    others = {name for name in vars(F) if not name.startswith("__")} - set(F.__all__)
    assert others == {family.rpartition(".")[2] for family in FAMILIES if family.startswith("nn.functional.")}


def test_the_public_names_are_complete():
    """Whatever `minigrad/__init__.py` imports by name is public; modules that it only loads are not."""
    tree = ast.parse((ROOT / "minigrad" / "__init__.py").read_text("utf-8"))
    imported = {a.asname or a.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for a in node.names}
    assert {name for name in imported if not name.startswith("_")} - {"*", "functions"} <= set(mg.__all__)


def test_import_star():
    code = "from minigrad import *; x = tensor([1.0, -2.0]); print(abs(x).tolist(), data.__name__, save.__name__, 'engine' in dir())"
    assert fresh(code) == "[1.0, 2.0] minigrad.data save False\n"
