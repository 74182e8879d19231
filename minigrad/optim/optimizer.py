"""What all optimisers share: parameter groups, state, and their saving and loading.

An optimiser reads `p.grad` and rebinds `p.array`; it writes into no array that exists already. Its own slots are Tensors
in `state[p]`, rebound likewise, so a `state_dict` that was taken stays as it was.
"""

import copy
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict, TypeVar, overload

from minigrad import checks
from minigrad.autograd import enable_grad
from minigrad.backend import Array, BackendError, tracing
from minigrad.callers import warn
from minigrad.dtypes import plain
from minigrad.engine.inplace import assign
from minigrad.engine.tensor import Tensor, _tensor
from minigrad.functions.tape import clear_grad

R = TypeVar("R")


class State(TypedDict):
    """What `state_dict` gives: each parameter's slots, by its number, and the groups' options."""

    state: dict[int, dict[str, Tensor]]
    param_groups: list[dict[str, object]]


class Optimizer:
    """The base class of optimisers.

    Args:
        params: tensors, (name, tensor) pairs such as `model.named_parameters()`, or dicts with "params" and options
            that differ from the defaults: `[{"params": backbone, "lr": 1e-4}, {"params": head}]`.
        defaults: the options of groups that don't give their own.

    Raises:
        TypeError, ValueError: for an empty list, a tensor that isn't a leaf, a parameter in two groups, a wrong option.
    """

    slots: tuple[str, ...] = ()  # the names in a parameter's state

    def __init__(self, params: Iterable, defaults: dict[str, Any]):
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, got one Tensor; "
                "pass [tensor]"
            )
        self.defaults = defaults
        self.memo: dict = {}  # results that the parameters of one step share
        self.state: defaultdict[Tensor, dict[str, Tensor]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        name = type(self).__name__
        groups = checks.entries(name, "params", params, "an iterable of tensors, (name, tensor) pairs or dicts")
        checks.mapping(name, "defaults", defaults)
        if not groups:
            raise ValueError(
                "optimizer got an empty parameter list; has the model parameters, or was a generator already used up?"
            )
        for group in groups if isinstance(groups[0], Mapping) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters with options of their own: `add_param_group({"params": head.parameters(), "lr": 0.01})`."""
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError(f"a parameter group must be a dict with the key 'params', got {checks.kind(param_group)}")
        params = param_group["params"]
        if isinstance(params, set):
            raise TypeError("a parameter group must have an order, and a set has none; pass a list")
        entries = (
            [params]
            if isinstance(params, Tensor)
            else checks.entries(type(self).__name__, "params", params, "an iterable of tensors")
        )
        if any(isinstance(entry, tuple) and len(entry) != 2 for entry in entries):
            raise TypeError(f"{type(self).__name__}: named params must be (name, tensor) pairs")
        named = [entry for entry in entries if isinstance(entry, tuple)]
        if named and len(named) != len(entries):
            raise ValueError("all optimizer params should be with/without names. Some param names are missing")
        if self.param_groups and ("param_names" in self.param_groups[0]) != bool(named):
            raise ValueError(
                "all optimizer param groups should be with/without names. cannot add param group "
                f"{'with' if named else 'without'} names to the optimizer"
            )
        tensors = [entry[1] for entry in named] if named else entries
        for p in tensors:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {checks.kind(p)}")
            if not p.is_leaf:
                raise ValueError(
                    "can't optimize a non-leaf Tensor: it is the result of an operation; use .detach() or a Parameter"
                )
        if len(set(tensors)) != len(tensors):
            warn("optimizer contains a parameter group with duplicate parameters")
        if not set(tensors).isdisjoint(p for group in self.param_groups for p in group["params"]):
            raise ValueError("some parameters appear in more than one parameter group")
        group = {name: plain(value) for name, value in {**self.defaults, **param_group}.items()}
        group["params"] = tensors
        if named:
            group["param_names"] = [name for name, _ in named]
        self.check(group)
        self.param_groups.append(group)

    def check(self, group: dict[str, Any]) -> None:
        """Raises ValueError when an option of the group is invalid."""
        checks.mapping(type(self).__name__, "group", group)
        missing = [name for name in self.defaults if name not in group]
        if missing:
            raise KeyError(f"the parameter group lacks {', '.join(missing)}")
        lr = group.get("lr", 0)  # an optimiser of the user's may have other options
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError(f"Tensor lr must be 1-element, got shape {lr.shape}")
        at_least_zero("learning rate", lr)
        at_least_zero("weight_decay value", group.get("weight_decay", 0))
        if group.get("differentiable", False):
            raise ValueError("differentiable=True isn't offered: minigrad's optimisers don't record their steps")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the gradients of all parameters, or makes them zeros when `set_to_none` is False."""
        for group in self.param_groups:
            for p in group["params"]:
                clear_grad(p, set_to_none)

    @overload
    def step(self, closure: None = None, *, skip: Tensor | None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], R], *, skip: Tensor | None = None) -> R: ...

    def step(self, closure: Callable[[], object] | None = None, *, skip: Tensor | None = None) -> object:
        """One update of every parameter that has a gradient.

        Args:
            closure: computes the loss anew (with `backward`); its result is returned.
            skip: a boolean without dimensions, see `GradScaler`: where it is true everything keeps its value (slots that are
                made by this step become zeros), which is chosen on the device without reading it.
        """
        loss = None
        if skip is not None:
            if checks.tensor(f"{type(self).__name__}.step", "skip", skip).numel() != 1:
                raise ValueError(f"{type(self).__name__}.step: skip must be a single boolean, got shape {skip.shape}")
        if closure is not None:
            checks.function(f"{type(self).__name__}.step", "closure", closure)
            with enable_grad():
                loss = closure()
        tracing.require(self, "an optimizer")
        self.memo.clear()
        self.memo["skippable"] = skip is not None
        pending: dict = {}  # backend -> what is carried to the next step
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    grad = p.grad.array
                    if grad.shape != p._data.shape:
                        raise ValueError(
                            f"the gradient of a parameter of shape {p.shape} has shape {p.grad.shape}; they must be equal"
                        )
                    before = {} if skip is None else {name: t.array for name, t in self.state.get(p, {}).items()}
                    new = fit(p, self.update(p, -grad if group["maximize"] else grad, group))
                    new = new if skip is None else self._unless(skip, p, before, new)
                    assign(p, new)
                    arrays = pending.setdefault(p.backend, [])
                    arrays.append(new)
                    arrays += [t._data for t in self.state.get(p, {}).values() if t._backend is p._backend]
        self.memo.clear()
        for xp, arrays in pending.items():
            xp.start(arrays)  # or a lazy backend would keep every step's graph until somebody reads a value
        return loss

    def _unless(self, skip: Tensor, p: Tensor, before: dict[str, Any], new):
        """The parameter's new array and its new slots, or where `skip` is true those before. Step counts stay shared."""
        xp, skipped = p.backend, skip.to(p.device).array
        for name, t in self.state.get(p, {}).items():
            old = before[name] if name in before else xp.zeros_like(t.array)
            key = id(before.get(name)), id(t.array)
            if key not in self.memo:
                self.memo[key] = (
                    xp.where(skipped, old, t.array),
                    old,
                    t.array,
                )  # kept alive: no other array gets their ids
            assign(t, self.memo[key][0])
        return xp.where(skipped, p.array, new)

    def capture(self) -> None:
        """Keeps the step counts on the parameters' devices from now on (`capturable`), as a compiled step needs them."""
        counts: dict = {}
        for group in self.param_groups:
            if group.get("capturable", True):
                continue
            group["capturable"] = True
            for p in group["params"]:
                step = self.state[p].get("step") if p in self.state else None
                if step is not None:
                    step = step.to(p.device)
                    self.state[p]["step"] = like(step, _shared(counts, step))

    def update(self, p: Tensor, grad: Array, group: dict[str, Any]) -> Array:
        """The new raw array of a parameter, from its raw gradient and its group's options."""
        raise NotImplementedError(f"{type(self).__name__} has no update method")

    def _operands(self, p: Tensor, group: dict[str, Any], names: tuple[str, ...]) -> tuple[dict[str, Any], bool]:
        """Options of a group as operands beside p's array, see `scalar`, and whether all of them are numbers. Parameters of one group
        and device share them."""
        key = "operands", id(group), p.device
        if key not in self.memo:
            found = {}
            for name in names:
                option = group[name]
                found[name] = tuple(scalar(o, p) for o in option) if isinstance(option, tuple) else scalar(option, p)
            flat = [o for option in found.values() for o in (option if isinstance(option, tuple) else (option,))]
            self.memo[key] = found, all_numbers(*flat)
        return self.memo[key]

    def slot(self, p: Tensor, name: str) -> Tensor:
        """A tensor of the parameter's shape in its state, zeros at first."""
        state = self.state[checks.tensor("slot", "p", p)]
        if name not in state:
            state[name] = like(p, p.backend.zeros_like(p.array))
        elif state[name].backend is not p.backend:
            raise BackendError(
                f"a parameter is on {p.device!r} and its {name} on {state[name].device!r}: the model was moved after "
                "the optimizer's first step; call optimizer.load_state_dict(optimizer.state_dict()) after moving it"
            )
        return state[name]

    # --- state ---

    def state_dict(self) -> State:
        """{"state": {index: {name: Tensor}}, "param_groups": [{option: value, "params": [index, …]}]}, as in PyTorch.

        A snapshot: later steps don't change it. `flatten_state` prepares it for a safetensors file.
        """
        index: dict[Tensor, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                index.setdefault(p, len(index))
            packed = {
                k: snapshot(v) if isinstance(v, Tensor) else copy.copy(v) for k, v in group.items() if k != "params"
            }
            groups.append({**packed, "params": [index[p] for p in group["params"]]})
        state = {index[p]: {k: snapshot(v) for k, v in slots.items()} for p, slots in self.state.items() if slots}
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes up a `state_dict`, moved to the parameters' devices and dtypes; nothing is changed when it doesn't fit.

        Raises:
            ValueError: when groups, parameters or shapes differ in number or size, or it is another optimiser's.
        """
        saved = _checked(f"{type(self).__name__}.load_state_dict", state_dict)["param_groups"]
        sizes, expected = [len(g["params"]) for g in saved], [len(g["params"]) for g in self.param_groups]
        if sizes != expected:
            raise ValueError(f"the state dict has parameter groups of {sizes} parameters, the optimizer of {expected}")
        groups, state = [], {}
        counts: dict = {}
        for group, loaded in zip(self.param_groups, saved, strict=True):
            groups.append({**group, **{k: _retype(v, group.get(k)) for k, v in loaded.items() if k != "params"}})
            self.check(groups[-1])
            for p, i in zip(group["params"], loaded["params"], strict=True):
                slots = {k: v for k, v in state_dict["state"].get(i, {}).items() if v is not None}
                if not set(slots) <= set(self.slots):
                    raise ValueError(
                        f"the state dict's parameter {i} has {', '.join(slots)}; {type(self).__name__} keeps "
                        f"{', '.join(self.slots)}"
                    )
                state[p] = {k: self._fit(p, i, k, v, groups[-1]) for k, v in slots.items()}
                if "step" in state[p]:
                    state[p]["step"] = like(state[p]["step"], _shared(counts, state[p]["step"]))
        self.param_groups = groups
        self.state = defaultdict(dict, {p: slots for p, slots in state.items() if slots})

    def _fit(self, p: Tensor, i: int, name: str, value, group: dict[str, Any]) -> Tensor:
        value = snapshot(value) if isinstance(value, Tensor) else Tensor(value, device="cpu")
        if name == "step":
            return value.to(p.device if group.get("capturable", True) else "cpu", "float32")
        if value.shape != p.shape:
            raise ValueError(
                f"the state dict's {name} of parameter {i} has shape {value.shape}, the parameter {p.shape}"
            )
        return value.to(p.device, p.dtype)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name not in ("params", "param_names")]
        return "\n".join([*lines, ")"])


def flatten_state(state_dict: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[dict[str, object]]]:
    """An optimiser's `state_dict` as tensors under names, for `mg.save`, and the groups, for JSON.

    >>> import minigrad as mg
    >>> w = mg.nn.Parameter([1.0, 2.0])
    >>> optimizer = mg.optim.Adam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> tensors, groups = mg.optim.flatten_state(optimizer.state_dict())
    >>> list(tensors)
    ['0.step', '0.exp_avg', '0.exp_avg_sq']
    >>> optimizer.load_state_dict(mg.optim.unflatten_state(tensors, groups))
    """
    _checked("flatten_state", state_dict)
    tensors = {f"{i}.{name}": value for i, slots in state_dict["state"].items() for name, value in slots.items()}
    groups = [{k: v.item() if isinstance(v, Tensor) else v for k, v in g.items()} for g in state_dict["param_groups"]]
    return tensors, groups


def unflatten_state(tensors: Mapping[str, Tensor], groups: list[dict[str, object]]) -> State:
    """The `state_dict` that `flatten_state` took apart.

    Raises:
        ValueError: for a name that isn't an index, a dot and a slot.
    """
    checks.mapping("unflatten_state", "tensors", tensors, "a dict from names to tensors")
    checks.entries("unflatten_state", "groups", groups, "a list of dicts", Mapping)
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = str(key).partition(".")
        if not index.isdecimal() or not name:
            raise ValueError(f"{key!r} is no entry of a flattened optimiser state, expected something like '0.exp_avg'")
        state.setdefault(int(index), {})[name] = value
    return {"state": state, "param_groups": groups}


def _checked(who: str, state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state dict, if it is built like an optimiser's."""
    checks.mapping(who, "state_dict", state_dict, "a dict that an optimizer's state_dict() gave")
    state, groups = state_dict.get("state"), state_dict.get("param_groups")
    if not isinstance(state, Mapping) or not all(isinstance(slots, Mapping) for slots in state.values()):
        raise ValueError(f"{who}: the dict must have 'state', a dict with a dict of slots for each parameter's number")
    if not isinstance(groups, list) or not all(
        isinstance(g, Mapping) and isinstance(g.get("params"), list) for g in groups
    ):
        raise ValueError(
            f"{who}: the dict must have 'param_groups', a list of dicts with a list of numbers under 'params'"
        )
    return state_dict


def snapshot(t: Tensor) -> Tensor:
    """A tensor's present values, in one that doesn't share its memory."""
    return _tensor(t.array, t._backend)


def like(t: Tensor, array: Array) -> Tensor:
    """A tensor without history on the device of `t` around a raw array of that device."""
    return _tensor(t.backend.asarray(array), t.backend)


def fit(t: Tensor, array: Array) -> Array:
    """The result of arithmetic on raw arrays in the dtype of `t` (numpy makes numbers of 0-dimensional arrays)."""
    array = t.backend.asarray(array)
    return array if array.dtype == t.array.dtype else array.astype(t.array.dtype)


def _shared(known: dict, count: Tensor):
    """The array of a step count: the same one for equal counts, so that what depends on it is computed once."""
    return known.setdefault((count.device, count.item()), count.array)


def scalar(value, p: Tensor):
    """An option as an operand beside p's raw array: a number, or the array of a Tensor that is on the same device."""
    if not isinstance(value, Tensor):
        return plain(value)
    return value.array.reshape(()) if value.backend is p.backend else value.item()


def all_numbers(*options) -> bool:
    """Whether no option is an array, on a device that only knows its value."""
    return all(isinstance(option, int | float) for option in options)


def counts(option) -> bool:
    """Whether an option changes anything. An array may, and isn't looked at."""
    return not isinstance(option, int | float) or option != 0


def at_least_zero(what: str, value) -> None:
    """Raises ValueError for a negative number or NaN."""
    if not isinstance(value, Tensor) and not isinstance(plain(value), int | float):
        raise TypeError(f"Invalid {what}: it must be a number, got {checks.kind(value)}")
    if isinstance(value, Tensor) and value.numel() != 1:
        raise ValueError(f"Invalid {what}: it must have one element, got shape {value.shape}")
    if not float(value) >= 0:
        raise ValueError(f"Invalid {what}: {float(value)}, it must be a number that is at least 0")


def _retype(value, current):
    """A loaded option in the type of the current one: a tuple where JSON made a list, a Tensor where there is one."""
    if isinstance(current, tuple):
        return tuple(value)
    if isinstance(current, Tensor) and not isinstance(value, Tensor):
        return Tensor(value, dtype=current.dtype, device=current.device)
    return copy.copy(value) if not isinstance(value, Tensor) else snapshot(value)
