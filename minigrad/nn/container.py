"""Containers of modules. A module in one is an attribute under its index or key, so the names are `0.weight`, …"""

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, Generic, Self, TypeVar, overload

from minigrad import checks
from minigrad.nn.module import Forwards, Module, R, indent, tree

M = TypeVar("M", bound=Module)


class _List(Module, Generic[M]):
    """A list of modules: indexing, slicing, len, iteration, assignment, del, append, extend, insert."""

    def _names(self) -> list[str]:
        return [name for name, value in vars(self).items() if isinstance(value, Module)]

    def _put(self, name: str, module: Module) -> None:
        _check(self, name, module)
        vars(self)[name] = module

    def _renumber(self, modules: Iterable[Module]) -> None:
        modules = list(modules)
        for name in self._names():
            del vars(self)[name]
        for i, module in enumerate(modules):
            self._put(str(i), module)

    def __len__(self) -> int:
        return len(self._names())

    def __iter__(self) -> Iterator[M]:
        return iter([vars(self)[name] for name in self._names()])

    @overload
    def __getitem__(self, index: int) -> M: ...

    @overload
    def __getitem__(self, index: slice) -> Self: ...

    def __getitem__(self, index: int | slice) -> M | Self:
        if isinstance(index, slice):
            part = type(self)()
            for name in self._names()[index]:
                part._put(name, vars(self)[name])
            return part
        return vars(self)[self._name(index)]

    def __setitem__(self, index: int, module: M) -> None:
        self._put(self._name(index), module)

    def _name(self, index: int) -> str:
        names = self._names()
        return names[checks.position(type(self).__name__, index, len(names))]

    def __delitem__(self, index: int | slice) -> None:
        modules = list(self)
        del modules[index if isinstance(index, slice) else checks.position(type(self).__name__, index, len(modules))]
        self._renumber(modules)

    def append(self, module: M) -> Self:
        """Adds a module at the end."""
        self._put(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[M]) -> Self:
        """Adds modules at the end."""
        for module in checks.entries(type(self).__name__, "modules", modules, "an iterable of modules"):
            self.append(module)
        return self

    def insert(self, index: int, module: M) -> Self:
        """Adds a module before position `index`; the names are the positions again afterwards."""
        modules = list(self)
        modules.insert(checks.whole(type(self).__name__, "index", index), module)
        self._renumber(modules)
        return self


class Sequential(_List[Module], Generic[R]):  # R: what its modules give, as they are when it is made
    """Its modules one after the other: y = mₙ(… m₂(m₁(x))).

    Args:
        modules: the modules in order, or one dict from names to modules.

    >>> import minigrad as mg
    >>> net = mg.nn.Sequential(mg.nn.Linear(4, 8), mg.nn.ReLU(), mg.nn.Linear(8, 2))
    >>> net(mg.zeros(3, 4)).shape, len(net)
    ((3, 2), 3)
    """

    @overload
    def __init__(self: "Sequential[Any]") -> None: ...

    @overload
    def __init__(self, modules: Mapping[str, Forwards[..., R]], /) -> None: ...

    @overload
    def __init__(self, *modules: Forwards[..., R]) -> None: ...

    def __init__(self, *modules: Any) -> None:
        named = len(modules) == 1 and isinstance(modules[0], Mapping)
        for name, module in modules[0].items() if named else enumerate(modules):
            self._put(str(name), module)

    def forward(self, input: Any) -> R:
        for module in self:
            input = module(input)
        return input


class ModuleList(_List[M]):
    """A list of modules that calls nothing by itself. (A plain list is found too; this one prints well.)

    >>> import minigrad as mg
    >>> layers = mg.nn.ModuleList(mg.nn.Linear(4, 4) for _ in range(3))
    >>> len(list(layers.parameters()))
    6
    """

    @overload
    def __init__(self: "ModuleList[Any]") -> None: ...

    @overload
    def __init__(self, modules: Iterable[M]) -> None: ...

    def __init__(self, modules: Iterable[M] = ()) -> None:
        self.extend(modules)

    def __repr__(self) -> str:
        texts = [repr(module) for module in self]
        lines, start = [], 0
        for i, text in enumerate(texts):
            if i + 1 == len(texts) or texts[i + 1] != text:
                times = i + 1 - start
                lines.append(f"({start}-{i}): {times} x {indent(text)}" if times > 1 else f"({i}): {indent(text)}")
                start = i + 1
        return tree(type(self).__name__, [], lines)


class ModuleDict(Module):
    """A dict of modules that calls nothing by itself.

    >>> import minigrad as mg
    >>> heads = mg.nn.ModuleDict({"digits": mg.nn.Linear(4, 10), "parity": mg.nn.Linear(4, 2)})
    >>> heads["parity"](mg.zeros(1, 4)).shape, list(heads)
    ((1, 2), ['digits', 'parity'])
    """

    def __init__(self, modules: Mapping[str, Module] | None = None):
        self.update({} if modules is None else modules)

    def __getitem__(self, key: str) -> Module:
        own = self._own()
        if not isinstance(key, str) or key not in own:
            raise KeyError(f"ModuleDict: there is no module {key!r}; there are {', '.join(own) or 'none'}")
        return own[key]

    def __setitem__(self, key: str, module: Module) -> None:
        _check(self, key, module)
        vars(self)[key] = module

    def __delitem__(self, key: str) -> None:
        self.pop(key)

    def __len__(self) -> int:
        return len(self._own())

    def __iter__(self) -> Iterator[str]:
        return iter(self._own())

    def __contains__(self, key) -> bool:
        return isinstance(key, str) and key in self._own()

    def _own(self) -> dict[str, Module]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Module)}

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._own().keys()

    def values(self) -> ValuesView[Module]:
        """The modules."""
        return self._own().values()

    def items(self) -> ItemsView[str, Module]:
        """(name, module) pairs."""
        return self._own().items()

    def update(self, modules: Mapping[str, Module]) -> None:
        """Adds or replaces modules."""
        for key, module in checks.mapping("ModuleDict", "modules", modules, "a dict from names to modules").items():
            self[key] = module

    def pop(self, key: str) -> Module:
        """Removes a module and returns it."""
        module = self[key]
        del vars(self)[key]
        return module


def _check(container: Module, name: str, module: Module) -> None:
    kind = type(container).__name__
    if not isinstance(module, Module):
        raise TypeError(f"{kind} holds modules, got {checks.kind(module)} for {name!r}")
    if not isinstance(name, str) or not name or "." in name or hasattr(type(container), name):
        raise KeyError(
            f"{kind}: {name!r} can't be a module's name: it is no string, empty, has a dot or is an attribute already"
        )
