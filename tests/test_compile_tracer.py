"""What a compiled step does besides its operations, and who hears of it."""

import ast
import copy
import threading
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, random
from minigrad.autograd import checkpoint
from minigrad.backend import tracing
from minigrad.nn import functional as F

mx = pytest.importorskip("mlx.core", exc_type=ImportError)
pytestmark = pytest.mark.usefixtures("compiles")


class Holder(nn.Module):
    """Has a plain tensor, which no compiled step carries to the next one."""

    def __init__(self, kept):
        self.kept = kept


def kept(dtype="float32"):
    return mg.tensor([1.0, 0.0, 2.0], device="mlx").astype(dtype)


def differentiated(t, x):
    x = x.detach().requires_grad_()
    (x * 1).backward(t)
    return x.grad * 2


def hooked(t, x):
    x = x.detach().requires_grad_()
    x.register_hook(lambda g: t)
    (x * x).sum().backward()
    return x.grad * 2


def assigned(t, x):
    y = x.detach()
    y.data = t
    return y + 1


def autocast(t, x):
    with mg.autocast("bfloat16"):
        return F.linear(x, t[None]).float()


def recomputed(t, x):
    y = x.detach().requires_grad_()
    checkpoint(lambda y: (y * t).sum(), y).backward()
    return y.grad


READS = {  # what uses the value of t, (3,) float32 on MLX
    "an operation of one": lambda t, x: x + t.tanh(),
    "an operation of two": lambda t, x: t * x,
    "an operation with a number": lambda t, x: x + (t + 1),
    "an operation of several": lambda t, x: mg.cat([x, t]),
    "a kernel": lambda t, x: F.layer_norm(x, (3,), t, None),
    "detach": lambda t, x: t.detach() * x,
    "copy": lambda t, x: copy.copy(t) * x,
    "tensor": lambda t, x: mg.tensor(t) * x,
    "data": lambda t, x: x + mg.tensor(t.array),
    "an array of numpy": lambda t, x: x + mg.tensor(t.numpy(), device="mlx"),
    "a list": lambda t, x: x + t.tolist()[0],
    "an index": lambda t, x: x[t.long()],
    "another device": lambda t, x: x + t.to("cpu").to("mlx"),
    "a number": lambda t, x: x + t.sum().item(),
    "the gradient of the output": differentiated,
    "a hook": hooked,
    "assignment": assigned,
    "autocast": autocast,
    "a recomputed part": recomputed,
    "an item": lambda t, x: (t[0], x)[1] + t[2],
    "the result": lambda t, x: t,
    "one of the results": lambda t, x: {"y": [x, t]},
}
LOOKS = {  # what doesn't
    "shape": lambda t, x: x * t.shape[0],
    "sizes": lambda t, x: x * len(t) * t.ndim * t.numel() * t.size(0),
    "dtype": lambda t, x: x.astype(t.dtype),
    "device": lambda t, x: x.to(t.device),
    "flags": lambda t, x: x * (t.requires_grad + t.is_leaf),
    "identity": lambda t, x: x if t is not None else -x,
}


@pytest.mark.parametrize("name", READS)
def test_a_tensor_that_is_read_and_then_replaced(name):
    """Its value would be the first one at every call, in whichever way it was read."""
    model, x = Holder(kept()), kept() + 1

    def step(x):
        assert type(model.kept) is mg.Tensor
        y = READS[name](model.kept, x)
        model.kept = x * 2
        return y

    with pytest.raises(mg.CompileError, match="replaces the tensor 'kept' of a module after using it"):
        mg.compile(step, state=[model])(x)
    assert model.kept.tolist() == [1, 0, 2]


@pytest.mark.parametrize("name", LOOKS)
def test_a_tensor_that_is_looked_at_and_then_replaced(name):
    model, x = Holder(kept()), kept() + 1

    def step(x):
        y = LOOKS[name](model.kept, x)
        model.kept = x * 2
        return y

    np.testing.assert_array_equal(mg.compile(step, state=[model])(x).numpy(), LOOKS[name](kept(), x).numpy())


@pytest.mark.parametrize("name", READS)
def test_a_tensor_that_is_only_read_is_a_constant(name):
    model, x = Holder(kept()), kept() + 1
    run = mg.compile(lambda x: READS[name](model.kept, x), state=[model])
    found, expected = run(x), READS[name](kept(), x)
    if name == "one of the results":
        found, expected = found["y"][1], expected["y"][1]
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-6)


def test_a_result_of_operations_in_an_attribute():
    """What an uncompiled step left there has a history, and is lost as any other."""
    layer = nn.Linear(3, 3, device="mlx")
    model = Holder(layer(kept()))

    def step(x):
        model.kept = layer(x) + model.kept
        return model.kept

    with pytest.raises(mg.CompileError, match="replaces the tensor 'kept' of a module after using it"):
        mg.compile(step, state=[model, layer])(kept())
    assert model.kept.requires_grad


def test_numbers_and_none_are_replaced_as_ever():
    """They may be inputs of operations beside tensors."""
    model, x = Holder(1), kept()

    def step(x, first):
        y = F.layer_norm(x * model.kept if model.kept.__class__ is int else x, (3,), None, None)
        model.kept = first
        model.kept = x * 2
        return y

    for value in (1, None):
        model.kept = value
        expected = F.layer_norm(x, (3,)).numpy()
        np.testing.assert_allclose(mg.compile(step, state=[model])(x, None).numpy(), expected, rtol=1e-5, atol=1e-6)


# --- the port ---------------------------------------------------------------------------------------------------------
def test_one_thread_is_traced():
    """Another one meanwhile runs as ever, also what a tracer would refuse; and reads nothing for it."""
    model, x, found = Holder(kept()), kept(), []

    def meanwhile():
        buffer = nn.Buffer(1.0)
        buffer.data = (buffer + 1).array
        found.extend(
            [tracing.port.tracer, mg.is_grad_enabled(), buffer.item(), model.kept.tolist(), random.default.uniform()]
        )

    def step(x):
        assert tracing.port.tracer is not None
        thread = threading.Thread(target=meanwhile)
        thread.start()
        thread.join()
        model.kept = x * 2
        return x + 1

    assert mg.compile(step, state=[model])(x).tolist() == [2, 1, 3]
    assert found[:4] == [None, True, 2.0, [1, 0, 2]] and tracing.port.tracer is None


@pytest.mark.parametrize("raises", [False, True])
def test_after_a_trace_nobody_is_told(raises):
    def step(x):
        if raises:
            raise KeyError("no")
        return x * 2

    before = mg.engine.modes.state.mode
    with pytest.raises(KeyError) if raises else mg.no_grad():
        mg.compile(step)(kept())
    assert tracing.port.tracer is None and mg.engine.modes.state.mode == before


def test_the_port_without_a_tracer():
    t = mg.ones(2)
    tracing.read((t, 1, None))
    tracing.write(t)
    tracing.reach(t)
    tracing.require(t, "a tensor")
    assert tracing.key(3) is None


def test_the_port_is_all_that_others_know():
    """Outside the compiler a tracer is compared with None, and told by the port's functions; nowhere does an object change its class."""
    package = Path(mg.__file__).parent
    for path in package.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
        for node in attributes:
            assert node.attr != "__class__" or isinstance(node.ctx, ast.Load), f"{path}:{node.lineno}"
        if path.parent.name == "compiler" or path.name == "tracing.py":
            continue
        compared = [
            node.left for node in nodes if isinstance(node, ast.Compare) and ast.unparse(node).endswith(" None")
        ]
        for node in attributes:
            if node.attr == "tracer":
                assert node in compared, f"{path}:{node.lineno}"
            if isinstance(node.value, ast.Name) and node.value.id == "tracing":
                assert node.attr in ("port", "read", "write", "reach", "require", "key"), f"{path}:{node.lineno}"
