"""What a training step carries to the next one: the tensors, numbers and flags of modules, optimisers and averages.

`Carried` finds them by walking the objects' attributes, and tells three kinds apart: tensors, whose arrays a step may
replace; options of an optimiser's groups that the host changes between steps (the learning rate); and everything else that
is plain (flags such as `training`, sizes, rates), on which a step may depend and which makes up the `signature`.
"""

from itertools import chain
from numbers import Real
from operator import attrgetter, is_
from typing import Any

from minigrad.engine.tensor import Tensor
from minigrad.nn.module import Buffer, Module, Parameter
from minigrad.optim.ema import EMA
from minigrad.optim.grad_scaler import GradScaler
from minigrad.optim.optimizer import Optimizer
from minigrad.optim.schedule import LRScheduler

TIES = attrgetter("_ties")
PLAIN = (bool, int, float, str, type(None))


class Leaked(Tensor):
    """What a trace left in an attribute of a module, a cached activation say: it has no value."""

    __slots__ = ()

    @property
    def _data(self):
        raise RuntimeError(
            "this tensor was made inside a compiled step and has no value outside; return it from the step, or keep it in an nn.Buffer"
        )

    def __deepcopy__(self, memo):
        return self


class Carried:
    """The state of `objects`; when `changed()` says that something was replaced, `collect` walks them again.

    tensors: {path: tensor}, each tensor once. `places[i]` is the i-th one's among the distinct arrays, `sources` the
    tensors that those are taken from: step counts that are the same array share a place.
    numbers: [(group, option, position in a tuple or None)], passed to a step as one array.
    signature: a number, equal for states of the same structure (sizes left aside), flags and constants.
    """

    def __init__(self, objects: list):
        self.objects = objects
        self.options: dict[tuple[int, str], Any] = {}  # (group's number, option) -> the value first seen
        self.varying: set[tuple[int, str]] = set()  # those seen with another one
        self._signatures: dict[tuple, int] = {}
        self._constants: dict[int, Any] = {}
        self.collect()

    # --- the walk -------------------------------------------------------------------------------------------------
    def collect(self) -> None:
        """Walks the objects again."""
        self.tensors: dict[tuple, Tensor] = {}
        self.containers: list[Any] = []  # dictionaries and lists
        self.known: list = []  # the objects
        self.fixed: list[Tensor] = []  # modules' plain tensors
        self.modules: list[Module] = []
        self.optimizers: list[Optimizer] = []
        self.groups: list[dict] = []
        self.numbers: list[tuple[dict, str, int | None]] = []
        self._plain: list = []
        self._seen: dict[int, int] = {}
        for i, thing in enumerate(self.objects):
            self._visit(thing, (i,), True)
        self._ids = set(map(id, self.tensors.values()))
        self.passed = {(id(group), name) for group, name, _ in self.numbers}
        self._share()
        self.signature = self._signatures.setdefault(tuple(self._plain), len(self._signatures))
        self._watched, self._flags = self._values(), self._requires_grad()

    def _first(self, value) -> bool:
        """Whether an object is met for the first time in this walk; its number is part of the structure."""
        count = len(self._seen)
        number = self._seen.setdefault(id(value), count)
        self._plain.append(number)
        return number == count

    def _constant(self, value) -> None:
        """A value that a step may read and nobody is expected to change: replacing it makes another signature."""
        self._constants[id(value)] = value  # kept alive: no other object gets its id
        self._plain.append(id(value))

    def _visit(self, value, path: tuple, all_tensors: bool) -> None:
        """Takes in what is found at `path`. A module's plain tensors are constants; anywhere else every tensor counts."""
        if isinstance(value, PLAIN) and len(path) > 1:
            self._plain.append((value.__class__, value))
        elif isinstance(value, tuple):
            for i, item in enumerate(value):
                self._visit(item, (*path, i), all_tensors)
        elif isinstance(value, Tensor):
            if all_tensors or isinstance(value, Parameter | Buffer):
                if self._first(value):
                    self._plain.append(value._requires_grad)
                    hooks: list = value._hooks or []
                    for hook in hooks:
                        self._constant(hook)
                    self.tensors[path] = value
            elif value._edge is None and not isinstance(value, Leaked):
                self._constant(value._data)
                self.fixed.append(value)
        elif not isinstance(value, dict | list | Module | Optimizer | EMA | GradScaler) and len(path) > 1:
            self._constant(value)  # a function, say
        elif self._first(value):
            self._open(value, path, all_tensors)

    def _open(self, value, path: tuple, all_tensors: bool) -> None:
        """Takes in what a container or an object holds."""
        self.known.append(value)
        self._plain.append(type(value))
        if isinstance(value, list):
            self.containers.append(value)
            self._plain.append(len(value))
            for i, item in enumerate(value):
                self._visit(item, (*path, i), all_tensors)
        elif isinstance(value, dict):
            self._items(value, path, all_tensors)
        elif isinstance(value, Optimizer):
            self._optimizer(value, path)
        elif isinstance(value, LRScheduler):
            raise TypeError(
                f"a {type(value).__name__} is no part of a compiled step: leave it out of the state and call its step() "
                "after the compiled function; the learning rate that it sets is passed in"
            )
        elif isinstance(value, Module):
            self.modules.append(value)
            self._plain.append(value.training)  # an attribute of the class until it is first set
            self._items(vars(value), path, False)
        elif hasattr(value, "__dict__"):
            self._items(vars(value), path, True)
        else:
            raise TypeError(
                f"the state of a compiled step is made of modules, optimizers, EMAs and tensors, got {type(value).__name__}"
            )

    def _items(self, items: dict, path: tuple, all_tensors: bool) -> None:
        self.containers.append(items)
        for key, item in items.items():
            if key == "training":
                continue
            if isinstance(key, PLAIN):
                self._plain.append(key)
            elif id(key) in self._seen:  # whose slots they are: an optimizer's state belongs to its parameters
                self._plain.append(self._seen[id(key)])
            else:
                self._constant(key)
            self._visit(item, (*path, key if isinstance(key, PLAIN) else id(key)), all_tensors)

    def _optimizer(self, optimizer: Optimizer, path: tuple) -> None:
        self.optimizers.append(optimizer)
        self.containers += [vars(optimizer), optimizer.param_groups]
        for group in optimizer.param_groups:
            number = len(self.groups)
            self.groups.append(group)
            for name, value in group.items():
                self._plain.append(name)
                if self._varies((number, name), value):
                    self.numbers += [
                        (group, name, i) for i in (range(len(value)) if isinstance(value, tuple) else [None])
                    ]
                else:
                    self._visit(value, (*path, number, name), True)
        for name, value in vars(optimizer).items():
            if name not in ("param_groups", "defaults", "memo"):
                self._visit(value, (*path, name), True)

    def _varies(self, option: tuple[int, str], value) -> bool:
        """Whether an option is a number that the host may change: the learning rate, or one that was seen to change."""
        parts = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(v, Real) and not isinstance(v, bool) for v in parts):
            return isinstance(value, Tensor) and value.numel() == 1 and value.backend.eager
        if option[1] == "lr" or self.options.setdefault(option, value) != value:
            self.varying.add(option)
        return option in self.varying and (
            option[1] == "lr" or any(parts)
        )  # without momentum, say, a step is another one

    def _share(self) -> None:
        self.places: list[int] = []
        self.sources: list[Tensor] = []
        self._shared: list[tuple[Tensor, Tensor]] = []
        first: dict[int, int] = {}
        for path, t in self.tensors.items():
            place = first.get(id(t._data)) if path[-1] == "step" else None
            if place is None:
                place = len(self.sources)
                if path[-1] == "step":
                    first[id(t._data)] = place
                self.sources.append(t)
            else:
                self._shared.append((t, self.sources[place]))
            self.places.append(place)
        self._plain.append(tuple(self.places))

    # --- changes --------------------------------------------------------------------------------------------------
    def _values(self) -> list:
        """What the containers hold, and the groups' constants."""
        values = list(chain.from_iterable([c.values() if c.__class__ is not list else c for c in self.containers]))
        for group in self.groups:
            values += [value for name, value in group.items() if (id(group), name) not in self.passed]
        return values

    def rates(self) -> list[float]:
        """The numbers' present values."""
        values = [group[name] if i is None else group[name][i] for group, name, i in self.numbers]
        return [v.item() if isinstance(v, Tensor) else v for v in values]

    def shares(self, t: Tensor) -> bool:
        """Whether a tensor is one of these, or shares memory with one."""
        members = [t] if t._ties is None else t._ties.memory.living()
        return any([id(member) in self._ids for member in members])

    def sharing(self) -> tuple:
        """Which of the tensors share memory with each other, and how: what a write to one of them changes."""
        groups: dict[int, list] = {}
        for i, t in enumerate(self.tensors.values() if any(map(TIES, self.tensors.values())) else ()):
            if t._ties is not None:
                steps = [(op.name, repr(static)) for op, static in t._ties.steps]
                groups.setdefault(id(t._ties.memory), []).append((i, *steps))
        return tuple([tuple(group) for group in groups.values() if len(group) > 1])

    def gradients(self) -> tuple[bool, ...]:
        """Which tensors have a gradient."""
        return tuple([t.grad is not None for t in self.tensors.values()])

    def _requires_grad(self) -> list:
        """What the tape asks of each tensor: whether it wants a gradient, and the hooks that change it."""
        return [t._requires_grad if t._hooks is None else (t._requires_grad, *t._hooks) for t in self.tensors.values()]

    def training(self) -> str:
        """The modes of the modules in a word."""
        flags = {module.training for module in self.modules}
        return "mixed modes" if len(flags) == 2 else "evaluation" if False in flags else "training"

    def changed(self) -> bool:
        """Whether anything but tensors' arrays and the varying numbers was replaced since `collect`. Compares identities:
        this is asked before every step."""
        values = self._values()
        return (
            len(values) != len(self._watched)
            or not all(map(is_, values, self._watched))
            or self._requires_grad() != self._flags
            or any([i is None and not group[name] and name != "lr" for group, name, i in self.numbers])
            or any([t._data is not source._data for t, source in self._shared])
        )
