"""Every operation of the table (`op_table.py`, `op_table_nn.py`): on numpy in float64 against formulas and finite
differences, in float32 on both backends against numpy's float64; first and second order, in every memory layout.
"""

import ast
import functools
import inspect
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import op_table_nn  # noqa: F401  (adds its rows)
import pytest
from op_table import ROWS, Draw, Row

import minigrad as mg
from minigrad.autograd import REGISTRY, grad, gradcheck, gradgradcheck
from minigrad.engine import operation
from minigrad.engine.operation import TENSORS
from minigrad.kernels import find
from minigrad.kernels.fused import Fused

# max |difference| / max |reference| of a tensor, values and gradients of both orders; a row may have more, with a reason.
TOLERANCE = {"float64": 1e-12, "float32": 2e-5}

every_row = pytest.mark.parametrize("row", ROWS, ids=str)


@pytest.fixture(autouse=True)
def masks(monkeypatch):
    """Random masks drawn on the host, always the same one: on every device, and at both ends of a finite difference."""

    def device_uniform(xp, shape, dtype_name, after):
        return xp.asarray(np.random.default_rng(0).random(shape, np.float32), dtype_name)

    monkeypatch.setattr(mg.random.default, "device_uniform", device_uniform)


def leaves(row: Row, device="cpu", dtype="float64", layout=None):
    """The row's inputs as tensors: the floating point ones require a gradient."""
    tensors = []
    for array in row.arrays():
        floats = array.dtype.kind == "f"
        t = mg.tensor(array, dtype=dtype if floats else None, device=device)
        if layout is not None:
            t.data = layout(t.backend, t.array)
        tensors.append(t.requires_grad_() if floats else t)
    return tensors


def outputs(row: Row, tensors) -> list:
    y = row.apply(row.fn, tensors)
    return list(y) if isinstance(y, tuple | list) else [y]


def weights(ys, layout=None) -> list:
    """A random gradient for each output."""
    rng = np.random.default_rng(1)
    out = []
    for y in ys:
        w = mg.tensor(np.asarray(rng.normal(size=y.shape)).astype(np.float32), dtype=y.dtype, device=y.device)
        if layout is not None:
            w.data = layout(w.backend, w.array)
        out.append(w.requires_grad_())
    return out


def derivatives(row: Row, device="cpu", dtype="float64", layout=None) -> dict[str, list]:
    """Values; first gradients by VJPs on raw arrays and on tensors; second gradients, by inputs and incoming gradient."""
    xs = leaves(row, device, dtype, layout)
    ys = outputs(row, xs)
    out = {"value": ys}
    ys = [y for y in ys if y.requires_grad]
    if ys:
        ws, xs = weights(ys, layout), [x for x in xs if x.requires_grad]
        out["first"] = grad(ys, xs, ws, retain_graph=True, allow_unused=True)
        out["first, on tensors"] = first = grad(ys, xs, ws, create_graph=True, allow_unused=True)
        first = [g for g in first if g is not None and g.requires_grad]
        if first:
            out["second"] = grad(first, [*xs, *ws], weights(first), allow_unused=True)
    return out


def agree(got, expected, tolerance: float, what: str) -> None:
    assert len(got) == len(expected), what
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        if a is None or b is None:
            assert a is None and b is None, f"{what} {i}"
            continue
        a, b = (np.asarray(t.numpy() if isinstance(t, mg.Tensor) else t) for t in (a, b))
        assert a.shape == b.shape, f"{what} {i}: shapes {a.shape} and {b.shape}"
        scale = max(np.abs(b, dtype=float).max(initial=0), 1e-3)
        worst = np.abs(np.subtract(a, b, dtype=float)).max(initial=0)
        assert worst <= tolerance * scale, f"{what} {i}: differs by {worst / scale:.1e} of the largest element"


@every_row
def test_value(row):
    """The value in float64 is that of a formula in numpy."""
    expected = row.apply(row.ref, row.arrays())
    agree(
        outputs(row, leaves(row)), list(expected) if isinstance(expected, tuple | list) else [expected], 1e-12, "value"
    )


def test_methods():
    """What is a function of a tensor and a method gives the same as both."""
    rows = [r for r in ROWS if r.fn is getattr(mg, r.name, None) and r.name != "where" and isinstance(r.args[0], Draw)]
    rows = [row for row in rows if hasattr(mg.Tensor, row.name)]
    assert len({row.name for row in rows}) > 70
    for row in rows:
        agree(
            outputs(replace(row, fn=getattr(mg.Tensor, row.name)), leaves(row)), outputs(row, leaves(row)), 0, row.name
        )


@every_row
def test_finite_differences(row):
    """First and second derivatives in float64 are those of finite differences; both walks give the same gradients."""
    xs = leaves(row)
    results = derivatives(row)
    if "first" not in results:
        assert not any(y.is_floating_point() for y in results["value"]) or not any(x.requires_grad for x in xs)
        return
    agree(results["first"], results["first, on tensors"], 1e-12, "VJPs on raw arrays, on tensors")

    def fn(*tensors):
        return outputs(row, tensors)

    if row.finite:
        assert gradcheck(fn, xs, fast_mode=True, directions=3)
        assert gradgradcheck(fn, xs, fast_mode=True, directions=3)


@every_row
def test_float32(row, device):
    """float32 stays float32, and is near float64 in value and derivatives."""
    got, expected = derivatives(row, device, "float32"), derivatives(row)
    assert got.keys() == expected.keys()
    for what in got:
        agree(got[what], expected[what], TOLERANCE["float32"] * row.tol, what)
        for t in got[what]:
            assert t is None or t.dtype != "float64", f"{what} came in float64"


def strided(xp, a):
    """Every second element of a larger array."""
    return xp.stack([a, a + a], axis=-1)[..., 0] if a.ndim else a


def backwards(xp, a):
    """The last axis first in memory, in reversed order of the elements."""
    return xp.transpose(xp.ascontiguousarray(xp.transpose(a)[::-1]))[..., ::-1] if a.ndim else a


def channels_last(xp, a):
    """(N, C, H, W) in the memory order of (N, H, W, C)."""
    return xp.transpose(xp.ascontiguousarray(xp.transpose(a, (0, 2, 3, 1))), (0, 3, 1, 2)) if a.ndim == 4 else a


@every_row
def test_layouts(row, device):
    """Inputs and incoming gradients of any memory layout give what contiguous ones give."""
    dtype = "float64" if device == "cpu" else "float32"
    expected = derivatives(row, device, dtype)
    for layout in strided, backwards, channels_last:
        for what, got in derivatives(row, device, dtype, layout).items():
            agree(got, expected[what], TOLERANCE[dtype] * row.tol, f"{layout.__name__}: {what}")


@every_row
def test_repeated_gradient(row):
    """The gradient that `sum` sends back, one number repeated by strides of 0 and read-only, is as good as any."""
    xs = leaves(row)
    ys = [y for y in outputs(row, xs) if y.requires_grad]
    xs = [x for x in xs if x.requires_grad]
    if ys:
        got = grad([y.sum() for y in ys], xs, retain_graph=True, allow_unused=True)
        expected = grad(ys, xs, [mg.ones_like(y) for y in ys], allow_unused=True)
        agree(got, expected, 1e-12, "gradient")


KERNELS = [name for name, op in REGISTRY.items() if isinstance(op, Fused)]


def used(row: Row, device="cpu") -> set[str]:
    """The names of the operations that run in a row, forward and in derivatives of both orders."""
    names: set[str] = set()
    call = Fused.__call__

    def noted(self, *inputs, **static):
        names.add(self.name)
        return call(self, *inputs, **static)

    with mock.patch.object(Fused, "__call__", noted), mg.autograd.observe(lambda name, *rest: names.add(name)):
        derivatives(row, device, "float32")
    return names


@pytest.mark.parametrize("name", KERNELS)
def test_fused(name, device, monkeypatch):
    """A backend's kernel gives what the operation's definition gives."""
    rows = [row for row in ROWS if name in used(row, device)]
    assert rows or find(name, device) is None, f"no row runs {name} on {device}"
    dtype = "float64" if device == "cpu" else "float32"
    got = [derivatives(row, device, dtype) for row in rows]
    monkeypatch.setattr(Fused, "__call__", lambda self, *inputs, **static: self.definition(*inputs, **static))
    for row, fast in zip(rows, got, strict=True):
        for what, expected in derivatives(row, device, dtype).items():
            agree(fast[what], expected, TOLERANCE[dtype] * row.tol, f"{row}: {what}")


def test_every_vjp_is_in_the_table(monkeypatch):
    """Every VJP of every operation runs in some row, on raw arrays and on tensors."""
    ran = set()

    def noted(op, k, vjp):
        @functools.wraps(vjp)
        def vjp_and_note(xp, *args):
            ran.add((op.name, k, xp is TENSORS))
            return vjp(xp, *args)

        return vjp_and_note

    def pull(self, node, g, create_graph, original=Fused.pull):
        ran.add((self.name, 0, create_graph))
        return original(self, node, g, create_graph)

    monkeypatch.setattr(Fused, "pull", pull)
    parameters = operation.parameters
    monkeypatch.setattr(operation, "parameters", lambda vjp: parameters(vjp.__wrapped__))
    for op in REGISTRY.values():
        monkeypatch.setattr(op, "plans", {})
        monkeypatch.setattr(op, "vjps", tuple(vjp and noted(op, k, vjp) for k, vjp in enumerate(op.vjps)))
    for row in ROWS:
        derivatives(row)
    wanted = {
        (op.name, k, create_graph)
        for op in REGISTRY.values()
        for create_graph in (False, True)
        for k, vjp in enumerate(op.vjps)
        if vjp is not None
    }
    here = [name for name in KERNELS if find(name, "cpu")]  # the rows run on numpy
    wanted |= {(name, 0, create_graph) for name in here for create_graph in (False, True)}
    wanted -= {("to_device", 0, False), ("to_device", 0, True)}  # needs two devices: test_to_device
    assert not wanted - ran, f"these are in no row (operation, input, create_graph): {sorted(wanted - ran)}"


def test_every_exception_has_a_reason():
    assert all(row.why for row in ROWS if row.tol != 1 or not row.finite)


def test_every_operation_is_exported_under_its_name():
    """`ops.sum` is the operation, and so is `sum` of the module that defines it; no name is a function's."""
    assert len(set(mg.ops.__all__)) == len(mg.ops.__all__)
    assert {*mg.ops.__all__, "conv_mlp"} == set(REGISTRY)  # that one is the models'
    for name in mg.ops.__all__:
        assert getattr(mg.ops, name) is REGISTRY[name] is getattr(sys.modules[REGISTRY[name].forward.__module__], name)


def test_every_function_is_exported_once():
    """What minigrad offers is what `functions` lists, and each function hands on to operations or is made of functions."""
    assert len(set(mg.functions.__all__)) == len(mg.functions.__all__)
    for name in mg.functions.__all__:
        function = getattr(mg, name)
        assert function is getattr(mg.functions, name) and function.__doc__, name
        assert set(inspect.signature(function).parameters) <= set(function.__annotations__), f"{name} lacks types"
        assert "return" in function.__annotations__ or name in ("max", "min"), f"{name} lacks the type of its result"


@pytest.mark.parametrize("create_graph", [False, True])
def test_to_device(create_graph):
    """A gradient goes back to the device that its tensor is on."""
    pytest.importorskip("mlx.core", exc_type=ImportError)
    x = mg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = ((x * x).to("mlx") * 2).to("cpu") * x.to("mlx").to("cpu")
    (dx,) = grad(y.sum(), x, create_graph=create_graph)
    assert (y.device, dx.device, dx.tolist()) == ("cpu", "cpu", [6.0, 24.0, 54.0])
    if create_graph:
        (ddx,) = grad(dx.to("mlx").sum(), x)
        assert (ddx.device, ddx.tolist()) == ("cpu", [12.0, 24.0, 36.0])


ROOMS = "autograd compiler data engine functions interop kernels models nn ops parallel visual".split()


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_asks_for_the_device(room):
    """No definition branches on the device or imports an array library of one. A device's own kernels do, and whoever registers
    one names it: `kernel(operation, device)`."""
    root = Path(mg.__file__).parent
    for path in [*(root / room).rglob("*.py")]:
        if path.name == "conversion.py" or path.parent.parent == root / "kernels":
            continue  # Tensor.cpu() and what a tensor prints; a device's kernels
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        registers = [n for n in nodes if isinstance(n, ast.Call) and getattr(n.func, "id", None) == "kernel"]
        registered = {a for call in registers for a in call.args}
        for node in nodes:
            named = node.value if isinstance(node, ast.Constant) and node not in registered else None
            assert named not in mg.backend.NAMES, f"{path.name}:{node.lineno} names the device {named!r}"
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(n.split(".")[0] == "mlx" for n in names), f"{path.name}:{node.lineno} imports mlx"
