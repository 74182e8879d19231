"""The engine itself: its size, what it must not use, its short ways, and the interface of a node."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import quotations

import minigrad as mg
from minigrad import nn
from minigrad.autograd import Node, checkpoint, op
from minigrad.nn import functional as F

PACKAGE = Path(mg.__file__).parent
FILES = sorted((PACKAGE / "engine").glob("*.py"))


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


# --- what a reader meets ------------------------------------------------------------------------------------------------
def test_the_engine_is_read_in_one_sitting():
    """Six files beside the package's own, eleven hundred lines, and a walk of a loop."""
    assert len([path for path in FILES if path.name != "__init__.py"]) <= 6
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in FILES) <= 1100
    (walk,) = [node for node in parsed(PACKAGE / "engine" / "backward.py").body if getattr(node, "name", "") == "walk"]
    (loop,) = [node for node in walk.body if isinstance(node, ast.For)]
    assert loop.end_lineno - loop.lineno < 25


ROOMS = {"engine", "functions", "ops", "kernels", "backend"}
WORDS = {
    "dtypes.py",
    "checks.py",
    "switches.py",
}  # what every room speaks: the table of dtypes; "is it a tensor?" at a function's entrance; what `enable_grad` is


@pytest.mark.parametrize("device", ["cpu", "mlx"])
def test_where_an_ordinary_call_and_backward_run(device):
    """In the engine, in the functions that users call, and in primitives, kernels and backends; nowhere else."""
    with mg.device(device):
        x, w = mg.randn(4, 6, requires_grad=True), mg.randn(6, 6, requires_grad=True)
        image, kernel = mg.randn(2, 3, 8, 8, requires_grad=True), mg.randn(4, 3, 3, 3, requires_grad=True)
        half, whole = mg.ones(4, 6, dtype="float16"), mg.tensor([[1], [2], [3], [4]])

    def work():
        y = mg.tanh(x @ w) * x + x / 2.0 - half + whole
        y = mg.cat([y.relu()[1:], y[:1]]).softmax(dim=1) + F.gelu(F.layer_norm(x, (6,)))
        loss = y.sum() + F.conv2d(image, kernel).mean() + x.max(dim=0)[0].sum()
        loss.backward(retain_graph=True)
        loss.backward(create_graph=True)

    def called(frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event == "call" and PACKAGE in path.parents:
            found.add(path.relative_to(PACKAGE).parts[0])

    work()  # what is found out once, such as the plan of a node, is not meant
    found: set[str] = set()
    sys.setprofile(called)
    try:
        work()
    finally:
        sys.setprofile(None)
    assert ROOMS <= found | {"kernels"} and found <= ROOMS | WORDS


def test_nothing_is_compiled_from_text():
    """No eval, exec or compile of source, in no file."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec", "compile"), f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("path", quotations.documents(), ids=lambda path: path.name)
def test_documents_quote_the_lines_that_run(path):
    text = path.read_text(encoding="utf-8")
    assert quotations.renewed(text) == text, "write the present lines into it: python tests/quotations.py"


def test_quotations_are_found():
    text = (quotations.ROOT / "docs" / "engine.md").read_text(encoding="utf-8")
    assert len(list(quotations.quotations(text))) > 8 and "def walk(" in text
    assert quotations.renewed(text.replace("def walk(", "def run(")) == text


# --- what docs/engine.md says beyond its examples -----------------------------------------------------------------------
def test_what_a_second_backward_finds():
    """Nodes whose VJPs name an input or the output are freed, unless the tape is kept."""
    x = mg.ones(2, requires_grad=True)
    for y in ((x + x).sum(), (x + 0.5).sum()):
        y.backward()
        y.backward()
    for y in ((x * x).sum(), (x * 0.5).sum(), x.tanh().sum()):
        mg.grad(y, x, retain_graph=True)
        mg.grad(y, x, create_graph=True)
        mg.grad(y, x, create_graph=True, retain_graph=False)
        with pytest.raises(RuntimeError, match="already used and freed"):
            y.backward()


def test_what_views_hold():
    """A view the whole memory, and no edge besides its own; only the first of a family has that of the family."""
    z = mg.ones(100, 3, requires_grad=True) * 2.0
    part, apart = z[0], z.detach()
    assert part._ties.edge is None and z._ties.edge is z.grad_fn
    assert apart._ties.family is None and apart._ties.memory is z._ties.memory
    apart += 1
    assert z.tolist() == [[3.0] * 3] * 100 and z.grad_fn.op.name == "mul"
    part += 1
    assert part._ties.edge is None and z._ties.edge is z.grad_fn and z.grad_fn.op.name == "update"
    del z, apart
    assert part._ties.memory.array.shape == (100, 3)


def test_what_is_written_in_place():
    z = mg.ones(3, requires_grad=True) * 2.0
    array = z._data
    address = array.ctypes.data
    del array
    z[0] = 1.0
    assert z._data.ctypes.data == address
    x = mg.zeros(3, 2)
    held = x.array
    row = x[0]
    row += 1  # copies once
    address = x._data.ctypes.data
    row += 1
    x[1] = 5.0
    assert held.sum() == 0 and x._data.ctypes.data == address and x.tolist() == [[2, 2], [5, 5], [0, 0]]


# --- the short ways -----------------------------------------------------------------------------------------------------
def test_everything_works_without_the_short_ways(tmp_path):
    """The tests of the tape in a copy of minigrad from which fast.py is deleted. `.ci/long no_fast` runs all tests so."""
    shutil.copytree(PACKAGE, tmp_path / "minigrad", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "minigrad" / "engine" / "fast.py").unlink(missing_ok=True)
    tests = Path(__file__).parent
    code = "import sys, minigrad, pytest; assert minigrad.__file__.startswith(sys.argv[1]); sys.exit(pytest.main(sys.argv[2:]))"
    files = [str(tests / name) for name in ("test_tape.py", "test_graph_shapes.py", "test_user_operations.py")]
    options = ["-q", "-x", "-p", "no:randomly", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(tmp_path), *options, *files],
        cwd=tests.parent,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


# --- the interface of a node --------------------------------------------------------------------------------------------
def by_hand(output) -> dict:
    """Gradients by the leaves, from nothing but the nodes' `edges` and `pull`."""
    grads, nodes = {output.grad_fn: output.backend.ones_like(output.array)}, [output.grad_fn]
    while nodes:
        node = max(nodes, key=lambda node: node.number)
        nodes.remove(node)
        for edge, d in zip(node.edges, node.pull(grads.pop(node)), strict=True):
            if isinstance(edge, Node) and edge not in nodes:
                nodes.append(edge)
            grads[edge] = grads[edge] + d if edge in grads else d
    return grads


@op
def doubled(xp, a):
    return a + a


doubled.defvjp(lambda ops, g: g + g)

KINDS = {
    "plain": lambda x, w: (x * w + x.exp()).sum(),
    "broadcast": lambda x, w: (x * w[0] + 2.0).sum(),
    "several outputs": lambda x, w: sum((a * b.exp()).sum() for a, b in [x.unbind(1)[:2], w.unbind(1)[1:]]),
    "fused": lambda x, w: F.layer_norm(x * w, (3,), w[0], x[0]).exp().sum(),
    "checkpointed": lambda x, w: checkpoint(lambda a, b: (a * b).tanh() * b, x, w).sum(),
    "checkpointed and fused": lambda x, w: checkpoint(lambda a: F.layer_norm(F.gelu(a), (3,), w[0]), x).exp().sum(),
    "a user's": lambda x, w: (doubled(x) * w).sum(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_node_has_the_same_interface(kind, device):
    rng = np.random.default_rng(0)
    x, w = (mg.tensor(rng.normal(size=(4, 3)).astype(np.float32), device=device, requires_grad=True) for _ in range(2))
    found, expected = by_hand(KINDS[kind](x, w)), mg.grad(KINDS[kind](x, w), [x, w])
    for leaf, g in zip((x, w), expected, strict=True):
        assert (np.asarray(found[leaf]) == g.numpy()).all()


def test_a_checkpointed_node_is_what_it_was_once_it_was_pulled(device):
    x = mg.ones(3, device=device, requires_grad=True)
    y = checkpoint(lambda a: a.exp(), x)
    node = y.grad_fn
    assert node.op.name == "exp" and node.kept() == []
    node.pull(y.array)
    assert node.op is mg.autograd.REGISTRY["exp"] and [what for what, _ in node.kept()] == ["y"]


# --- observers of backward ----------------------------------------------------------------------------------------------
def test_an_observer_of_backward_sees_each_derivative():
    seen = []
    x, w = mg.tensor([1.0, 2.0], requires_grad=True), mg.tensor([3.0, 4.0])
    with mg.autograd.observe(backward=lambda node, g, results: seen.append((node.op.name, g, results))):
        (x * w).sum().backward()
    assert [(name, g.tolist(), [r.tolist() for r in results]) for name, g, results in seen] == [
        ("sum", 1.0, [[1.0, 1.0]]),
        ("mul", [1.0, 1.0], [[3.0, 4.0]]),
    ]
    seen.clear()
    x.grad = None
    (x * w).sum().backward()
    assert seen == []


def test_an_observer_of_backward_sees_outputs_and_whole_layers(device):
    seen = {}
    layer = nn.LayerNorm(3).to(device)
    x = mg.randn(2, 3, device=device, requires_grad=True)
    with mg.autograd.observe(backward=lambda node, g, results: seen.setdefault(node.op.name, (g, results))):
        a, _ = layer(x).unbind(0)
        a.sum().backward()
    g, results = seen["unbind"]
    assert [None if t is None else t.shape for t in g] == [(3,), None] and results[0].shape == (2, 3)
    _, results = seen["layer_norm"]
    assert [r.shape for r in results] == [(2, 3), (3,), (3,)] and all(r.device == x.device for r in results)


def test_observers_of_backward_see_tensors_on_the_tape_under_create_graph():
    seen = []
    x = mg.tensor(2.0, requires_grad=True)
    with mg.autograd.observe(backward=lambda node, g, results: seen.append(results[0])):
        mg.grad(x * x * x, x, create_graph=True)
    assert any(t.requires_grad for t in seen)


def test_static_parameters_left_out_are_known_to_the_derivative():
    """A default value of the operation reaches its VJP."""

    @op
    def scaled(xp, a, *, factor=3.0):
        return a * factor

    scaled.defvjp(lambda ops, g, factor: g * factor)
    x = mg.tensor([1.0], requires_grad=True)
    scaled(x).backward(mg.ones(1))
    assert x.grad.tolist() == [3.0]
    with pytest.raises(TypeError, match="asks for 'b', which is no input"):
        scaled.defvjp(lambda ops, g, b: g)
