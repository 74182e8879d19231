"""What mypy knows of what users call: no public function, method or property gives `Any` but where a reason is given here."""

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = """minigrad autograd backend compiler data data.transforms distributed models nn nn.functional nn.init nn.utils optim
optim.lr_scheduler random serialize training visual""".split()
REACHED = (
    "compiler.compiled.Compiled models.pvt_v2.features.FeatureInfo".split()
)  # classes that users get without naming them
SPECIAL = {"__call__", "__enter__", "__getitem__", "__iter__"}  # methods that are called under no name
NUMPY = ("numpy.ndarray[tuple[Any, ...], numpy.dtype[Any]]", "numpy.dtype[Any]")  # an array of any shape, any dtype

# What gives any object at all, and why.
OPEN = {
    """a module of the user's own: its `forward` says what it gives, and calling it gives the same. As `object` what a module of no
    known class gives, an entry of an `nn.ModuleList`, say, could not be computed with""": "nn.Module.forward",
    "what the file was given: tensors, and whatever lay around them": "load",
}


def names(room: str) -> dict[str, object]:
    """A room's public functions and classes by their full names: those in its `__all__`, or else those that are its own."""
    path = "minigrad" if room == "minigrad" else f"minigrad.{room}"
    module = importlib.import_module(path)
    shown = [name for name in dir(module) if not name.startswith("_")]
    own = [name for name in shown if getattr(getattr(module, name), "__module__", "").startswith(path)]
    return {f"{path}.{name}": getattr(module, name) for name in getattr(module, "__all__", own)}


def public() -> dict[str, object]:
    """Every public function, and every public method and property of a public class, once, by an expression for it."""
    found = {name: value for room in ROOMS for name, value in names(room).items()}
    first = {id(value): name for name, value in reversed(found.items())}
    functions = {name: f for name, f in found.items() if inspect.isfunction(f) and first[id(f)] == name}
    classes = [(name, c) for name, c in found.items() if inspect.isclass(c) and first[id(c)] == name]
    for home, _, name in (path.rpartition(".") for path in REACHED):
        classes.append((f"minigrad.{home}.{name}", getattr(importlib.import_module(f"minigrad.{home}"), name)))
    classes.sort(key=lambda entry: len(entry[1].__mro__))  # a base class before what inherits from it
    seen: set[tuple[type, str]] = set()
    for name, c in classes:
        for member in dir(c):
            home = next((base for base in c.__mro__ if member in vars(base)), c)
            value = vars(home).get(member)
            if member.startswith("_") and member not in SPECIAL or not home.__module__.startswith("minigrad"):
                continue
            if isinstance(value, property | classmethod | staticmethod) or inspect.isroutine(value):
                if (home, member) not in seen:
                    seen.add((home, member))
                    functions[f"{name}.{member}"] = value
    return functions


def revealed(expressions: list[str], folder: Path) -> dict[str, str]:
    """What mypy takes the expressions to be."""
    path = folder / "revealed.py"
    modules = {*ROOMS[1:], *(name.rpartition(".")[0] for name in REACHED)}
    head = [*(f"import minigrad.{module}" for module in sorted(modules)), *PRELUDE]
    path.write_text("\n".join([*head, *(f"reveal_type({e})" for e in expressions)]), "utf-8")
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", "--config-file", "pyproject.toml", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    found = re.findall(r'^\S+:(\d+): note: Revealed type is "(.*)"$', done.stdout, re.M)
    assert len(found) == len(expressions) and ": error:" not in done.stdout, done.stdout + done.stderr
    return {expressions[int(line) - len(head) - 1]: text for line, text in found}


def results(text: str) -> list[str]:
    """The types of the results in what mypy reveals: of a function one, of an overloaded function several."""
    if text.startswith("Overload("):
        return [r for part in split(text[len("Overload(") : -1], ", ") for r in results(part)]
    if not text.startswith("def "):
        return [text]
    _, *given = split(text, " -> ")  # several where a function gives a function
    return given[-1:] or ["None"]


def split(text: str, at: str) -> list[str]:
    """A text taken apart where it stands outside of all brackets."""
    parts, depth, start = [], 0, 0
    for i, letter in enumerate(text):
        depth += (letter in "([") - (letter in ")]")
        if not depth and text.startswith(at, i):
            parts.append(text[start:i])
            start = i + len(at)
    return [*parts, text[start:]]


def vague(text: str) -> bool:
    """Whether `Any` is in a result; what a function takes that is a result doesn't count."""
    for known in NUMPY:
        text = text.replace(known, "")
    return any(re.search(r"\bAny\b", part) for result in results(text) for part in given(result))


def given(result: str) -> list[str]:
    """A result without the parameters of functions in it."""
    before, function, after = result.partition("def (")
    if not function:
        return [before]
    _, *rest = split(f"({after}", ")")  # the first part ends with the parameters
    return [before, *given(")".join(rest))]


def test_no_result_is_any(tmp_path):
    pytest.importorskip("mypy")
    pytest.importorskip("matplotlib")  # whose figures are some functions' results
    expressions = list(public())
    types = revealed(["untyped", *expressions], tmp_path)
    assert results(types.pop("untyped")) == ["Any"]
    opened = {f"minigrad.{name}" for given in OPEN.values() for name in given.split()}
    found = {e: t for e, t in types.items() if vague(t)}
    assert not found.keys() - opened, "\n".join(f"{e}: {t}" for e, t in found.items() if e not in opened)
    assert not opened - found.keys(), "these have a type, and need no reason any more"
    assert len(types) > 700


# What users write, and its type; minigrad's own names are without their modules.
CALLS = {
    "nn.Linear(2, 2)(x)": "Tensor",
    "nn.Linear(2, 2).eval()(x)": "Tensor",
    "nn.MaxPool2d(2)(x)": "Tensor",
    "nn.MaxPool2d(2, return_indices=True)(x)": "tuple[Tensor, Tensor]",
    "nn.MultiheadAttention(4, 2)(x, x, x)": "tuple[Tensor, Tensor | None]",
    "nn.CrossEntropyLoss()(x, x)": "Tensor",
    "nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Sequential(nn.Flatten()))(x)": "Tensor",
    "nn.Sequential({'a': nn.Linear(2, 2), 'b': nn.ReLU()})(x)": "Any",  # mypy takes the values for modules of any kind
    "nn.Sequential(Typed(), Typed())(x)": "list[Tensor]",
    "nn.Sequential(nn.ReLU(), Untyped())(x)": "Any",
    "nn.Sequential(nn.ReLU())[:1]": "Sequential[Tensor]",
    "nn.Sequential(nn.ReLU())[0]": "Module",
    "nn.ModuleList(nn.Linear(2, 2) for _ in range(3))[0](x)": "Tensor",
    "nn.ModuleList([nn.Linear(2, 2), nn.ReLU()])[0]": "Module",
    "nn.ModuleList()[0]": "Any",  # what will be appended
    "Typed()(x, times=2)": "list[Tensor]",
    "Untyped()(x)": "Any",
    "models.PVT_V2()(x)": "Tensor",
    "models.PVT_V2()(x, x)": "ImageClassifierOutput",
    "models.PVT_V2()(x, output_hidden_states=True)": "ImageClassifierOutput",
    "models.PVT_V2()(x, return_dict=False)": "tuple[Tensor | tuple[Tensor, ...], ...]",
    "models.PVTV2Model()(x)": "BaseModelOutput",
    "models.PVTV2Backbone()(x)": "BackboneOutput",
    "models.SemanticFPN(models.PVTV2Config(), 2)(x, labels=x)": "SemanticSegmenterOutput",
    "models.MLPSegmenter(models.PVTV2Config(), 2)(x)": "Tensor",
    "models.pvt_v2_b0()": "PVT_V2",
    "models.pvt_v2_b0(num_classes=10)(x)": "Tensor",
    "models.pvt_v2_b0(features_only=True)(x)": "list[Tensor]",
    "models.create_model('pvt_v2_b0')": "PVT_V2",
    "models.create_model('pvt_v2_b0', features_only=True)": "FeatureListNet",
    "models.from_pretrained('here')": "PVT_V2",
    "models.from_pretrained('here', model_class=models.PVTV2Backbone)": "PVTV2Backbone",
    "optim.AdamW([x]).step()": "None",
    "optim.AdamW([x]).step(lambda: 1.5)": "float",
    "optim.GradScaler().scale(x)": "Tensor",
    "optim.GradScaler().scale([x])": "list[Tensor]",
    "autograd.grad(x, x)": "tuple[Tensor, ...]",
    "autograd.grad(x, [x], allow_unused=True)": "tuple[Tensor | None, ...]",
    "autograd.vjp(lambda t: t * t, x)": "tuple[Tensor, Tensor]",
    "autograd.vjp(pair, (x, x))": "tuple[tuple[Tensor, ...], tuple[Tensor, ...]]",
    "autograd.jvp(lambda t: t * t, x, x)": "tuple[Tensor, Tensor]",
    "autograd.jacobian(lambda t: t * t, x)": "Tensor",
    "autograd.jacobian(pair, (x, x))": "tuple[tuple[Tensor, ...], ...]",
    "autograd.hessian(lambda t: t.sum(), x)": "Tensor",
    "autograd.hvp(lambda t: t.sum(), x, x)": "tuple[Tensor, Tensor]",
    "autograd.checkpoint(nn.Linear(2, 2), x)": "Tensor",
    "autograd.no_grad()": "no_grad",
    "autograd.enable_grad()": "enable_grad",
    "autograd.no_grad()(pair)": "def (a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]",
    "autograd.no_grad(pair)(x, x)": "tuple[Tensor, Tensor]",
    "autograd.enable_grad(pair)(x, b=x)": "tuple[Tensor, Tensor]",
    "Still().bare(2)": "float",
    "Still().bare": "def (x: int) -> float",
    "Still.bare(Still(), 2)": "float",
    "Still().brackets(2)": "float",
    "[number for number in counted(3)]": "list[int]",
    "autograd.op(untyped)(x)": "Any",  # one tensor or several
    "twice(x)": "Tensor",
    "halves(x)": "tuple[Tensor, ...]",
    "autograd.op(elementwise=True)(untyped)(x)": "Tensor",
    "autograd.elementwise(untyped)(x)": "Tensor",
    "autograd.elementwise(floats=True)(untyped)(x, 2)": "Tensor",
    "x.array": "Array",
    "2 * x.array + x.array.sum()": "Array",
    "x.array.shape": "tuple[int, ...]",
    "x.backend.asarray([1, 2])": "Array",
    "compile(pair)(x, x)": "tuple[Tensor, Tensor]",
    "compile(state=[])(pair)(x, x)": "tuple[Tensor, Tensor]",
    "compile(nn.Linear(2, 2))(x)": "Tensor",
    "Steps().step(2)": "float",
    "backend.get('cpu')": "Backend",
}
PRELUDE = """
from collections.abc import Iterator
from minigrad import Tensor, autograd, backend, compile, models, nn, ones, optim
x = ones(2)
def untyped(x): return x
def pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]: return a, b
class Typed(nn.Module):
    def forward(self, x: Tensor, times: int = 1) -> list[Tensor]: return [x] * times
class Untyped(nn.Module):
    def forward(self, x): return x
class Steps:
    @compile(state=[])
    def step(self, x: int) -> float: return x / 2
class Still:
    @autograd.no_grad
    def bare(self, x: int) -> float: return x / 2
    @autograd.no_grad()
    def brackets(self, x: int) -> float: return x / 2
@autograd.no_grad
def counted(n: int) -> Iterator[int]: yield from range(n)
@autograd.op
def twice(xp, a: backend.Array) -> backend.Array: return a * 2
@autograd.op
def halves(xp, a: backend.Array) -> tuple[backend.Array, backend.Array]: return a[:1], a[1:]
""".splitlines()


def test_calls_have_the_types_of_their_results(tmp_path):
    pytest.importorskip("mypy")
    types = {
        e: re.sub(r"\b(?:minigrad|builtins|revealed)(?:\.\w+)*\.(?=\w)", "", t)
        for e, t in revealed(list(CALLS), tmp_path).items()
    }
    assert types == CALLS


ARRAYS = """
import mlx.core as mx
import numpy as np
from minigrad import autograd, ones
from minigrad.backend import Array
def of_numpy(a: np.ndarray) -> Array: return a
def of_mlx(a: mx.array) -> Array: return a
def to_numpy(a: Array) -> np.ndarray: return np.asarray(a)
@autograd.op
def twice(xp, a: np.ndarray) -> np.ndarray: return a * 2
y = twice(ones(2)).relu()
"""


def test_an_array_of_either_library_is_an_array(tmp_path):
    """As mypy knows it that reads the types of both."""
    for module in ("mypy", "mlx.core"):
        pytest.importorskip(module)
    path = tmp_path / "arrays.py"
    path.write_text(ARRAYS, "utf-8")
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", "--config-file=", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert not done.returncode, done.stdout + done.stderr


def test_rooms_are_all_that_is_public():
    """Every module that a room shows in its `__all__` is a room itself."""
    shown = {value.__name__ for room in ROOMS for value in names(room).values() if inspect.ismodule(value)}
    assert shown - {"minigrad.ops"} <= {f"minigrad.{room}" for room in ROOMS}  # operations, objects with one method
    expressions = public()
    assert {
        "minigrad.tensor",
        "minigrad.nn.Linear.forward",
        "minigrad.nn.Module.__call__",
        "minigrad.training.train",
    } <= set(expressions)
    assert "minigrad.nn.Linear.__call__" not in expressions and "minigrad.nn.ReLU.train" not in expressions  # inherited


def test_the_results_are_read_right():
    assert results("def (x: def (int) -> Any, y: Any =) -> tuple[int, Any]") == ["tuple[int, Any]"]
    assert results("Overload(def (x: int) -> int, def (x: str, y: Any) -> list[str])") == ["int", "list[str]"]
    assert results("def (x: int) -> def (y: Any) -> str") == ["str"]
    assert results("def (x: Any)") == ["None"] and results("Any") == ["Any"]
    assert vague("def (x: int) -> dict[str, Any]") and not vague(f"def (x: Any) -> {NUMPY[0]}")
    assert not vague("def () -> tuple[int, str | (def (tuple[Any, ...], y: def (Any) -> Any) -> object), int]")
    assert vague("def () -> tuple[int | (def (int) -> Any)]") and vague("def () -> tuple[def (int), Any]")
    assert not vague("def () -> def (*Any, **Any) -> int") and vague("def () -> def (int) -> def (int) -> Any")
