"""A record of one run of a model: which operations made which tensors from which, and in which module."""

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any

from minigrad import nn
from minigrad.engine.tensor import Tensor, _tensor
from minigrad.visual.watch import run_watched


@dataclass(eq=False, slots=True)
class Value:
    """A tensor that was there: made by a step, or given (an input's number, a parameter's name, or a constant)."""

    shape: tuple[int, ...]
    maker: "Step | None" = None
    given: int | str | None = None


@dataclass(eq=False, slots=True)
class Step:
    """One operation, or ("through") a module handing a tensor on that it did not make."""

    operation: str
    call: "Call"
    sources: tuple  # of Value, and of whatever else the operation was given
    outputs: tuple[Value, ...] = ()


class Call:
    """One run of a module: what it did, in order, the tensors that went in and the shapes that came out.

    It refers to no module, so that a trace, which is full of cycles, keeps no model alive.
    """

    def __init__(self, name: str, module: nn.Module, caller: "Call | None"):
        self.name, self.type, self.caller = name, type(module), caller
        self.kind = type(module).__name__
        self.written = f"{self.kind}({module.extra_repr()})".replace("\n", ", ")
        self.parameters = tuple(p.shape for p in module.parameters(recurse=False))
        self.parameter_count = sum(p.numel() for p in module.parameters())
        self.level: int = 0 if caller is None else caller.level + 1
        self.items: list[Call | Step] = []
        self.arguments: list[Value] = []
        self.outputs: list[tuple[int, ...]] = []

    def steps(self) -> Iterator[Step]:
        for item in self.items:
            if isinstance(item, Step):
                yield item
            else:
                yield from item.steps()

    def below(self) -> Iterator["Call"]:
        """This call and all those inside it."""
        yield self
        for item in self.items:
            if isinstance(item, Call):
                yield from item.below()

    @cached_property
    def signature(self) -> tuple:
        """What it did, without names and values: equal for two runs of alike modules on alike inputs."""
        numbers: dict[Value, int] = {}
        tokens: list = []

        def reference(source: Any) -> Any:
            if not isinstance(source, Value):
                return type(source).__name__
            if isinstance(source.given, str) or source.maker is None and source.given is None:
                return ("given", source.shape)
            return (numbers.setdefault(source, len(numbers)), source.shape)

        def visit(call: Call) -> None:
            tokens.append(("(", call.kind, call.parameters))
            for item in call.items:
                if isinstance(item, Call):
                    visit(item)
                else:
                    tokens.append((item.operation, *map(reference, (*item.sources, *item.outputs))))
            tokens.append(")")

        visit(self)
        return tuple(tokens)


def trace(model: nn.Module, inputs: Sequence[Tensor]) -> tuple[Call, list[tuple[str, Value]]]:
    """Runs a model once; the call of the model itself, and its outputs by name."""
    record = _Record(model)
    for i, tensor in enumerate(inputs):
        record.learn(tensor, Value(tensor.shape, given=i))
    result = run_watched(model, inputs, record.enter, record.leave, record.operation)
    if record.root is None:
        raise ValueError(
            f"calling {type(model).__name__} does not run its forward method, so there is nothing to follow"
        )
    return record.root, [(name, record.value(tensor)) for name, tensor in tensors_in(result)]


class _Record:
    """The observer: collects calls and steps while the model runs. It keeps no tensor alive."""

    def __init__(self, model: nn.Module):
        self.known: dict[int, tuple[weakref.ref, Value]] = {}
        self.root: Call | None = None
        self.current: Call | None = None
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            self.learn(tensor, Value(tensor.shape, given=name))

    def learn(self, tensor: Tensor, value: Value) -> Value:
        for thing in (tensor, tensor._data):
            self.known[id(thing)] = (weakref.ref(thing), value)
        return value

    def value(self, tensor: Tensor) -> Value:
        """What is known of a tensor, or of its array, which it may have from another tensor by `detach`."""
        for thing in (tensor, tensor._data):
            reference, value = self.known.get(id(thing), (None, None))
            if reference is not None and value is not None and reference() is thing:
                return value  # else the number was another's, which is gone
        return self.learn(tensor, Value(tensor.shape))

    def step(self, operation: str, sources: tuple, outputs: Sequence[Tensor]) -> Step:
        assert self.current is not None
        step = Step(operation, self.current, sources)
        step.outputs = tuple(self.learn(tensor, Value(tensor.shape, step)) for tensor in outputs)
        self.current.items.append(step)
        return step

    def operation(self, name: str, inputs: tuple, output: Any, static: dict) -> None:
        if self.current is None:
            return
        sources = tuple(self.value(t) if isinstance(t, Tensor) else t for t in inputs)
        if name == "window_argmax":  # max pooling is this and then indexing with what it found
            name = "max_pool"
        elif name == "getitem" and not all(isinstance(part, slice | int | None) for part in static["index"]):
            recent = [item for item in self.current.items[-3:] if isinstance(item, Step)]
            maxima = [step.outputs for step in recent if step.operation == "max_pool"]
            name, sources = ("getitem", maxima[-1]) if maxima else ("index", sources)
        self.step(name, sources, output if isinstance(output, tuple) else (output,))

    def enter(self, name: str, module: nn.Module, args: tuple, kwargs: dict) -> None:
        call = Call(name, module, self.current)
        call.arguments = [self.value(tensor) for _, tensor in tensors_in((*args, kwargs))]
        if self.current is None:
            self.root = call
        else:
            self.current.items.append(call)
        self.current = call

    def leave(self, name: str, module: nn.Module, result: Any) -> Any:
        call = self.current
        assert call is not None
        result = self.handed_on(result, call)
        call.outputs = [tensor.shape for _, tensor in tensors_in(result)]
        self.current = call.caller
        return result

    def handed_on(self, result: Any, call: Call) -> Any:
        """The result, in which each tensor that this call did not make is another object of the same values: who uses it
        from now on has it from this module, who uses the old one hasn't."""
        if isinstance(result, Tensor):
            value = self.value(result)
            maker = value.maker.call if value.maker is not None else None
            while maker is not None and maker is not call:
                maker = maker.caller
            if maker is call:
                return result
            made_elsewhere = value.maker is None and value.given is None  # with numpy, say, from what it was given
            result = _tensor(result._data, result._backend)
            self.step("through", tuple(call.arguments) if made_elsewhere else (value,), (result,))
        elif type(result) in (tuple, list):
            parts = [self.handed_on(part, call) for part in result]
            if any(new is not old for new, old in zip(parts, result, strict=True)):
                return type(result)(parts)
        return result


def tensors_in(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) for the tensors in nested tuples, lists, dicts and dataclasses."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, tuple | list | dict):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from tensors_in(part, f"{name}.{key}" if name else str(key))
    elif is_dataclass(value) and not isinstance(value, type):
        for f in fields(value):
            yield from tensors_in(getattr(value, f.name), f"{name}.{f.name}" if name else f.name)
