"""Modules: objects that own parameters, and the walk that finds them.

Nothing is registered. A module's parameters, buffers and submodules are whatever its attributes hold, in the order in
which they were assigned, also inside lists, tuples and dicts. A plain Tensor in an attribute (a cached attention map,
say) is neither: it is in no `state_dict`. Assigned to a buffer's name it becomes the buffer; to a parameter's it is refused.
"""

from collections.abc import Callable, Iterator, Mapping
from reprlib import recursive_repr
from typing import Any, ParamSpec, Protocol, Self, TypeVar

import numpy as np

from minigrad import backend, checks, dtypes
from minigrad.backend import tracing
from minigrad.backend.default import get_default_device
from minigrad.engine.inplace import assign
from minigrad.engine.tensor import Tensor, _tensor
from minigrad.functions.tape import clear_grad
from minigrad.nn.init import weightless
from minigrad.nn.parameter import Buffer, Parameter
from minigrad.nn.state import Differences, compared

P = ParamSpec("P")
R = TypeVar("R", covariant=True)


class Forwards(Protocol[P, R]):
    """What has a `forward`: calling a module takes what its own takes, and gives what that gives."""

    def forward(self, *args: P.args, **kwargs: P.kwargs) -> R: ...


def zeros(*shape: int, dtype=None, device=None) -> Tensor:
    """Zeros as a layer's starting point; `reset_parameters` gives them their values. Where layers are made without weights it is
    a single zero, seen from every place."""
    xp = backend.get(get_default_device() if device is None else device)
    kind = xp.dtype("float32" if dtype is None else dtypes.dtype(dtype).name)
    return _tensor(xp.broadcast_to(xp.zeros((), kind), shape) if weightless() else xp.zeros(shape, kind), xp)


CONTAINERS = (list, tuple, dict)


def _find(value: Any, name: str, inside: tuple[int, ...] = ()) -> Iterator[tuple[str, Any]]:
    """The parameters, buffers and modules that `value` is or, being a list, tuple or dict, holds at any depth."""
    if isinstance(value, MEMBERS):
        yield name, value
    elif isinstance(value, CONTAINERS) and id(value) not in inside:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _find(item, f"{name}.{key}", (*inside, id(value)))


class Module:
    """The base class of layers and models: assign parameters and submodules as attributes, define `forward`, call it.

    >>> import minigrad as mg
    >>> class Net(mg.nn.Module):
    ...     def __init__(self):
    ...         self.hidden = mg.nn.Linear(4, 8)
    ...         self.head = mg.nn.Linear(8, 2)
    ...     def forward(self, x):
    ...         return self.head(self.hidden(x).relu())
    >>> net = Net()
    >>> net(mg.randn(5, 4)).shape
    (5, 2)
    >>> [name for name, p in net.named_parameters()]
    ['hidden.weight', 'hidden.bias', 'head.weight', 'head.bias']
    """

    training: bool = True

    def __setattr__(self, name: str, value) -> None:
        """A plain tensor takes no parameter's place, where no optimiser would find it; in a buffer's it becomes the buffer."""
        old = vars(self).get(name)
        if isinstance(old, Parameter | Buffer) and value is not None and not isinstance(value, (*MEMBERS, *CONTAINERS)):
            if isinstance(old, Buffer) and isinstance(value, Tensor):
                value = old._replaced(value)
            else:
                kind = "buffer" if isinstance(old, Buffer) else "parameter"
                raise TypeError(
                    f"{type(self).__name__}.{name} is a {kind}, and a plain {type(value).__name__} would take its place: change its "
                    f"values (with mg.no_grad(): module.{name} -= …), or assign nn.{kind.capitalize()}(…)"
                )
        super().__setattr__(name, value)

    def forward(self, *args, **kwargs) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward method; define forward(self, ...)")

    def __call__(self: Forwards[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        if tracing.port.tracer is not None and any(isinstance(v, Parameter | Buffer) for v in vars(self).values()):
            does = "is used by it, and would stay in it as it is now"
            tracing.require(self, f"a {type(self).__name__}", does)
        return self.forward(*args, **kwargs)

    # --- the walk ---

    def _attributes(self, kind) -> Iterator[tuple[str, Any]]:
        for name, value in vars(self).items():
            if isinstance(value, kind):
                yield name, value
            elif isinstance(value, CONTAINERS):
                yield from (pair for pair in _find(value, name) if isinstance(pair[1], kind))

    def _walk(self, prefix: str, path: tuple[int, ...] = ()) -> Iterator[tuple[str, "Module"]]:
        """Every module under every name that leads to it without passing the same module twice."""
        yield prefix, self
        for name, child in self._attributes(Module):
            if id(child) != id(self) and id(child) not in path:
                yield from child._walk(f"{prefix}.{name}" if prefix else name, (*path, id(self)))

    def named_modules(
        self, memo: set | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, "Module"]]:
        """(name, module) for this module (under the name `prefix`) and all below it, each once unless
        `remove_duplicate` is False; modules in `memo` are left out together with what is below them."""
        checks.text("named_modules", "prefix", prefix)
        if not remove_duplicate:
            yield from self._walk(prefix)
            return
        memo = set() if memo is None else checks.instance("named_modules", "memo", memo, set, "a set or None")
        stack = [(prefix, self)]
        while stack:
            name, module = stack.pop()
            if id(module) not in memo:
                memo.add(id(module))
                yield name, module
                children = [(f"{name}.{n}" if name else n, child) for n, child in module._attributes(Module)]
                stack.extend(reversed(children))

    def modules(self) -> Iterator["Module"]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """(name, module) for the modules directly below this one, each once."""
        seen = set()
        for name, child in self._attributes(Module):
            if id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def children(self) -> Iterator["Module"]:
        """The modules directly below this one, each once."""
        return (child for _, child in self.named_children())

    def _named(self, kind, prefix: str, recurse: bool, remove_duplicate: bool) -> Iterator[tuple[str, Any]]:
        checks.text(type(self).__name__, "prefix", prefix)
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        seen = set()
        for path, module in modules:
            for name, tensor in module._attributes(kind):
                if not remove_duplicate or id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield (f"{path}.{name}" if path else name), tensor

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter): a module's own in the order of assignment, then its submodules'; tied weights once."""
        return self._named(Parameter, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters in the order of `named_parameters`."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Buffer]]:
        """(name, buffer), in the order of `named_parameters`."""
        return self._named(Buffer, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Buffer]:
        """The buffers in the order of `named_buffers`."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> "Module":
        """The module under a dotted name: `model.get_submodule("stages.0.blocks.1")`; "" is the module itself.

        Raises:
            AttributeError: when there is none; the message lists the names at the point where the path ends.
        """
        known = dict(self._walk(""))
        if checks.text("get_submodule", "target", target) in known:
            return known[target]
        parent = target
        while parent not in known:
            parent = parent.rpartition(".")[0]
        names = ", ".join(name for name, _ in known[parent].named_children()) or "none"
        raise AttributeError(f"{type(self).__name__} has no submodule {target!r}; below {parent!r} are: {names}")

    # --- changing all of it ---

    def train(self, mode: bool = True) -> Self:
        """Sets `training` here and below: dropout and batch normalisation depend on it."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """`train(False)`."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Says for every parameter whether it gets gradients: `model.backbone.requires_grad_(False)` freezes it."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops every parameter's gradient, or makes it zeros when `set_to_none` is False."""
        for p in self.parameters():
            clear_grad(p, set_to_none)

    def apply(self, fn: Callable[["Module"], Any]) -> Self:
        """Calls `fn` once with every module, a module after its submodules: `model.apply(init_weights)`."""
        self._visit(checks.function("apply", "fn", fn), set())
        return self

    def _visit(self, fn: Callable[["Module"], Any], seen: set[int]) -> None:
        if id(self) not in seen:
            seen.add(id(self))
            for child in self.children():
                child._visit(fn, seen)
            fn(self)

    def to(self, *targets, device: str | None = None, dtype=None) -> Self:
        """Moves and casts parameters, buffers and gradients: `to("mlx")`, `to(mg.float16)`, `to("mlx", mg.float16)`.

        The Parameter objects stay the same ones, so an optimiser still holds them. A dtype applies to floating-point
        tensors only. Nothing is changed when a tensor can't be converted.

        Raises:
            TypeError: when the dtype isn't a floating-point one.
        """
        for target in targets:
            if isinstance(target, str) and target not in dtypes.ALL and target not in dtypes.ALIASES:
                device = target
            else:
                dtype = target
        if dtype is not None and not dtypes.dtype(dtype).is_floating_point:
            raise TypeError(f"a module's parameters can only become floating point, not {dtypes.dtype(dtype).name}")

        def convert(t: Tensor) -> Tensor:
            return _tensor(t.array, t.backend).to(device=device, dtype=dtype if t.dtype.is_floating_point else None)

        tensors = [*self.parameters(), *self.buffers()]
        converted = [(t, convert(t), None if t.grad is None else convert(t.grad)) for t in tensors]
        for tensor, new, grad in converted:
            if new._data is not tensor._data:  # what shares the memory of one that is converted keeps the old one
                tensor._data, tensor._backend, tensor._ties = new._data, new._backend, None
            if grad is None or tensor.grad is None or grad._data is not tensor.grad._data:
                tensor.grad = grad
        return self

    def astype(self, dtype) -> Self:
        """Casts every floating-point parameter and buffer: `model.astype(mg.float64)`."""
        return self.to(dtype=dtype)

    # --- state ---

    def _state(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        for path, module in self._walk(prefix):
            for kind in (Parameter, Buffer):
                for name, tensor in module._attributes(kind):
                    if getattr(tensor, "persistent", True):
                        yield (f"{path}.{name}" if path else name), tensor

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """Name -> detached Tensor for every parameter and persistent buffer; tied weights under each of their names.

        They share the module's memory, as `detach()` gives them: later steps change them. A snapshot is made of their clones.
        """
        return {name: tensor.detach() for name, tensor in self._state(checks.text("state_dict", "prefix", prefix))}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Differences:
        """Takes the values of a mapping from names to Tensors or numpy arrays, moved to each parameter's device.

        Args:
            state_dict: what `state_dict()` or `mg.load(path)` gave.
            strict: whether missing and unexpected names are errors. Shapes and dtypes must match in any case, but for
                float32 in the place of 16 bits that hold each value: so the CPU reads bfloat16 from a file.

        Raises:
            ValueError: with every difference listed; the module is unchanged then. TypeError: for anything but a mapping.
        """
        checks.mapping("load_state_dict", "state_dict", state_dict, "a dict from names to tensors or arrays")
        own = dict(self._state())
        found = compared(f"{type(self).__name__}.load_state_dict", "state_dict", own, state_dict, strict)
        for name, tensor in own.items():
            if name in state_dict:
                value = state_dict[name]
                value = value.detach() if isinstance(value, Tensor) else Tensor(np.asarray(value), device=tensor.device)
                assign(tensor, value.to(tensor.device, tensor.dtype).array)
        return found

    # --- printing ---

    def extra_repr(self) -> str:
        """What stands between the parentheses of a module's own line in the printed tree."""
        return ""

    @recursive_repr("...")
    def __repr__(self) -> str:
        extra = self.extra_repr()
        children = [f"({name}): {indent(repr(child))}" for name, child in self._attributes(Module)]
        return tree(type(self).__name__, extra.split("\n") if extra else [], children)


MEMBERS = (Parameter, Buffer, Module)


def tree(name: str, extra: list[str], children: list[str]) -> str:
    """A module's printed form: one line when it has no children and at most one line of its own."""
    if not children and len(extra) <= 1:
        return f"{name}({''.join(extra)})"
    return f"{name}(\n  " + "\n  ".join(extra + children) + "\n)"


def indent(text: str) -> str:
    return text.replace("\n", "\n  ")
