"""One traced form of a step, and what can happen while it is traced."""

import copy
import linecache
import sys
import traceback
from collections.abc import Iterator

from minigrad import random
from minigrad.compiler.carried import Carried, Leaked
from minigrad.compiler.snapshot import Snapshot
from minigrad.compiler.tracer import CompileError, Tracer
from minigrad.compiler.trees import Leaf, flatten, number, unflatten, without_leaves
from minigrad.engine.inplace import Ties, set_array
from minigrad.engine.tensor import Tensor, _new, _tensor
from minigrad.nn.module import Buffer

NOT_THE_USERS = {"minigrad", *sys.stdlib_module_names, "numpy"} - {"__main__"}  # packages whose lines aren't the step's


class StateGrew(Exception):
    """The step made state that was not there before, as an optimizer's first step does."""


class GradientRead(Exception):
    """The step read a gradient that an earlier one left."""


class Elsewhere(Exception):
    """A tensor of the state is on another device than the others."""


class _Leftover(Tensor):
    """Stands for the gradient that an earlier step may have left. A step that drops it needs none; reading it tells that the
    step adds to it."""

    @property
    def _data(self):
        raise GradientRead


class Program:
    """The step for one signature of the state, one structure and shape of the arguments, and one grad mode.

    The compiled function takes one list of arrays: the state's distinct arrays, the varying options, keys for random draws,
    the gradients that were found (where the step adds to them), the arguments. It gives the arrays of the state that
    changed, the gradients that are left, and the results.
    """

    def __init__(self, step, carried: Carried, xp, structure, accumulates: bool, keys: int):
        self.step, self.carried, self.xp, self.structure = step, carried, xp, structure
        self.accumulates, self.keys = accumulates, keys
        self.function = xp.compiled(self._trace)
        self.traced = self.failed = False  # by the last call
        self.draws: int | None = None
        self.rates: list[float] | None = None

    def __call__(self, leaves: list, arrays: list):
        carried, xp = self.carried, self.xp
        tensors = list(carried.tensors.values())
        if self.rates != (rates := carried.rates()):
            self.rates, self.options = rates, xp.asarray(rates or [0.0], "float32")
        if self.draws != 0:
            self.drawn = xp.random_keys(*random.default.position(), self.keys)
        found = [t.grad._data for t in tensors if t.grad is not None] if self.accumulates else []
        self.traced = False
        if len({type(t._data) for t in carried.sources}) > 1:
            raise Elsewhere
        try:
            self.leaves = leaves  # for a trace
            # Nothing here holds on to the state's arrays, whose memory the new ones take.
            inputs = [*[t._data for t in carried.sources], self.options, self.drawn, *found, *arrays]
            outputs = self.function(xp.renamed(inputs) if self.draws is None else inputs)
            del inputs
            if any(leaves[i]._edge is not None for i, _ in self.argument_gradients):
                raise CompileError(
                    "an argument of the compiled step is the result of recorded operations, through which its backward can't go on: "
                    "compute it inside the step, or pass argument.detach()"
                )
            if self.traced:
                with xp.building():
                    xp.eval(*outputs)  # if that fails, nothing is changed yet
        except (RuntimeError, ValueError) as error:
            if not xp.from_another_trace(error):
                raise
            raise CompileError(
                "the step uses a tensor that it left somewhere when it was traced before, in a variable or a list say, and that has no "
                "value; pass it as an argument and return it, or name it in the state"
            ) from None
        finally:
            del self.leaves
        for i, place, apart in self.changed:
            if apart:
                tensors[i]._ties = None
            set_array(tensors[i], outputs[place], alike=True)  # as the step left what shares memory
        for i, left, same in self.gradients:
            grad = tensors[i]._grad
            if same and grad is not None:  # written in place: the caller may hold it
                set_array(grad, outputs[left], alike=True)
            else:
                tensors[i].grad = None if left is None else _tensor(outputs[left], xp)
        for i, place in self.argument_gradients:
            g = _tensor(outputs[place], xp).to(leaves[i].device)
            leaves[i].grad = g if leaves[i].grad is None else leaves[i].grad + g
        for i, flag in self.flags:
            tensors[i]._requires_grad, tensors[i]._edge = flag, None
        for container, key, value in self.after:
            container[key] = value
        random.default.skip(self.draws or 0)
        xp.start(outputs)
        results = iter(outputs[self.first_result :])
        return unflatten(self.result, results, lambda leaf, a: a if leaf.kind == "raw" else _tensor(a, xp))

    # --- tracing --------------------------------------------------------------------------------------------------
    def _trace(self, arrays: list) -> list:
        """What the array library calls with arrays that have no values yet."""
        carried, before = self.carried, Snapshot(self.carried)
        try:
            tracer, inputs = Tracer(carried, random.default.position()[1]), iter(arrays)
            keys = self._bind(inputs)
            with tracer:
                self.arguments: list[Tensor | None] = []
                tree = unflatten(self.structure, inputs, self._argument)
                passed = self._look_at(tree)
                tracer.begin(keys, self.arguments, self.leaves)
                outputs = self._outputs(self.step(*tree[0], **tree[1]), before, tracer)
                if self._look_at(tree) != passed:
                    raise CompileError(
                        "the step changes a list, a dictionary or an object among its arguments, of which it has a copy: return what "
                        "it makes"
                    )
                before.restore_tensors()
                # Arrays of the trace hold on to its graph.
                del tree, keys, self.given, self.set, self.found, self.arguments
                tracer.end()
        except BaseException as error:
            self.failed = True
            before.restore()
            if self.xp.reads_value(error) or self.xp.reads_value(error.__cause__):
                raise CompileError(_where(error)) from None
            raise
        self.draws, self.traced = tracer.draws, True
        return outputs

    def _bind(self, inputs: Iterator):
        """Points the state at the trace's arrays, and returns the keys for random draws."""
        carried = self.carried
        given = [next(inputs) for _ in carried.sources]
        for t, place in zip(carried.tensors.values(), carried.places, strict=True):
            set_array(t, given[place], alike=True)
        self.given = [t._data for t in carried.tensors.values()]  # not the same where several share a memory
        options, keys = next(inputs), next(inputs)
        self.set: dict[tuple[int, str], list] = {}  # the options' tensors
        for i, (group, name, position) in enumerate(carried.numbers):
            parts = self.set.setdefault((id(group), name), [group, name, []])
            make = _tensor if isinstance(group[name], Tensor) else number
            parts[2].append((option := make(options[i], self.xp), option._data))
            group[name] = option if position is None else tuple([t for t, _ in parts[2]])
        self.stood = set()  # the positions of what may have a gradient left
        self.found: dict[int, Tensor] = {}  # those gradients, where the step adds to them
        for i, t in enumerate(carried.tensors.values()):
            if self.accumulates and t.grad is not None:
                t.grad = self.found[i] = _tensor(next(inputs), self.xp)
            elif not self.accumulates and (t._requires_grad or t.grad is not None):
                self.stood.add(i)
                g = t._grad = _new(_Leftover)
                g._backend, g._edge, g._hooks, g._grad, g._ties, g._requires_grad = (
                    t._backend,
                    None,
                    None,
                    None,
                    None,
                    False,
                )
        return keys

    def _argument(self, leaf: Leaf, array):
        if leaf.kind == "raw":
            self.arguments.append(None)
            return array
        t = number(array, self.xp) if leaf.kind in ("float", "number") else _tensor(array, self.xp)
        t._requires_grad = leaf.requires_grad
        self.arguments.append(t)
        return t

    def _outputs(self, result, before: Snapshot, tracer: Tracer) -> list:
        """The arrays that come out, and where each goes."""
        self._check_options()
        _, returned = self._look_at(result) or (None, ())  # a value that is returned is used, too
        tracer.used.update(returned)
        self._check_attributes(before, tracer)
        for container, saved in before.containers:
            if any(container is group for group in self.carried.groups):
                container.update(saved)
        look = copy.copy(self.carried)
        look.collect()
        if look.tensors.keys() != self.carried.tensors.keys():
            raise StateGrew
        outputs: list = []
        places: dict[int, int] = {}

        def place(array) -> int:
            if id(array) not in places:
                places[id(array)] = len(outputs)
                outputs.append(array)
            return places[id(array)]

        self.changed = [
            (i, place(now._data), now is not t or self._apart(t, ties, tracer))
            for i, (now, (t, _, ties, _)) in enumerate(zip(look.tensors.values(), before.tensors, strict=True))
            if now._data is not self.given[i]
        ]
        self.gradients: list[tuple[int, int | None, bool]] = []
        for i, t in enumerate(self.carried.tensors.values()):
            if self.accumulates:
                left = None if t._grad is None else place(t._grad._data)
                self.gradients.append((i, left, t._grad is not None and t._grad is self.found.get(i)))
            elif not isinstance(t._grad, _Leftover) and (t._grad is not None or i in self.stood):
                updated = t._data is not self.given[i]  # else the gradient is for somebody else
                self.gradients.append((i, None if t._grad is None or updated else place(t._grad._data), False))
        self.argument_gradients = [
            (i, place(t._grad._data)) for i, t in enumerate(self.arguments) if t is not None and t._grad is not None
        ]
        edges = {id(t): edge for t, _, _, edge, *_ in before.places}
        self.flags = []
        for i, (t, _, _, was) in enumerate(before.tensors):
            flag = t._requires_grad and (
                t._edge is None or t._edge is edges[id(t)]
            )  # what the step computed has no history outside
            if flag != was:
                self.flags.append((i, flag))
        self._keep_attributes(before, tracer.known)
        self.first_result = len(outputs)
        leaves: list = []
        self.result = flatten(result, leaves, "the results", strict=True)
        return outputs + [leaf._data if isinstance(leaf, Tensor) else leaf for leaf in leaves]

    def _check_options(self) -> None:
        for group, name, parts in self.set.values():
            now = group[name] if isinstance(group[name], tuple) else (group[name],)
            if len(now) != len(parts) or any(
                a is not t or t._data is not b for a, (t, b) in zip(now, parts, strict=True)
            ):
                raise CompileError(
                    f"the optimizer's {name!r} was set inside the compiled step, where it would stay at this value; {SCHEDULE}"
                )

    def _check_attributes(self, before: Snapshot, tracer: Tracer) -> None:
        for _, key, old, value in before.replaced():
            if not isinstance(old, Tensor) or not isinstance(value, Tensor):
                continue
            lost = id(old) in tracer.used and id(old) not in tracer.known
            if lost or isinstance(old, Buffer) and not isinstance(value, Buffer):
                raise CompileError(
                    f"the step replaces the tensor {key!r} of a module after using it, and its value would be lost: keep it in an "
                    f"nn.Buffer, and assign to {key}.data"
                )

    def _look_at(self, tree) -> tuple | None:
        """The structure of arguments or results and which objects are in it; None for what can be neither."""
        leaves: list = []
        try:
            structure = flatten(tree, leaves, "the arguments", exact=True)
        except TypeError:
            return None
        return without_leaves(structure), [id(leaf) for leaf in leaves]

    def _apart(self, t: Tensor, ties: Ties | None, tracer: Tracer) -> bool:
        """Whether a tensor of the state, whose ties were these, has left the memory that it shared."""
        if id(t) not in tracer.moved:
            return False
        same = ties is not None and t._ties is not None and t._ties.memory is ties.memory
        if tracer.joined(t) and not same:
            raise CompileError(
                f"the compiled step makes a tensor of its state, of shape {t.shape}, share memory with another one from outside the step, "
                "and it would only until the step's end: take the values with copy_(), or the tensor itself, as in b.weight = a.weight"
            )
        if tracer.joined(t):
            raise CompileError(
                f"the compiled step gives a tensor of its state, now of shape {t.shape}, another shape in place, and others share its "
                "memory: do that outside the step"
            )
        return True

    def _keep_attributes(self, before: Snapshot, named: set[int]) -> None:
        """Tensors that the step replaced come back (their arrays are outputs); what it cached loses its tape, having no
        value; plain values stay, and are set again by every call."""
        known = {id(t) for t, *_ in before.tensors}
        opened = {id(container) for container, _ in before.containers}
        self.after = []
        for container, key, old, value in before.replaced():
            if not isinstance(value, Tensor):
                self.after.append((container, key, value if id(value) in opened else self._left(value, named)))
            elif id(old) in known:
                container[key] = old
            elif id(value) not in known:
                container[key] = self._left(value, named)
        for container, saved in before.containers:
            if isinstance(container, list):
                if len(container) > len(saved) and any(isinstance(item, Leaked) for item in saved):
                    raise CompileError(
                        "the step adds a tensor to a list in the state at every call, where it would have no value: return it from the step"
                    )
                old_ones = {id(item) for item in saved}
                container[:] = [item if id(item) in old_ones else self._left(item, named) for item in container]

    def _left(self, value, named: set[int]):
        """What remains of a new value in an attribute or a list: tensors of the trace have none."""
        if isinstance(value, Tensor):
            if value._backend is not self.xp or isinstance(value, Leaked) or id(value) in named:
                return value
            try:
                self.xp.eval(value._data)  # made of constants?
                return value
            except ValueError as error:
                if not self.xp.reads_value(error):
                    raise
            leak = _new(Leaked)
            leak._backend, leak._edge, leak._hooks, leak._grad, leak._ties, leak._requires_grad = (
                self.xp,
                *[None] * 4,
                False,
            )
            return leak
        if type(value) in (list, tuple, dict):
            items = value.values() if type(value) is dict else value
            left = [self._left(item, named) for item in items]
            if any(a is not b for a, b in zip(items, left, strict=True)):
                return dict(zip(value, left, strict=True)) if type(value) is dict else type(value)(left)
        return value


# --- errors -----------------------------------------------------------------------------------------------------------
SCHEDULE = "set it, or call the schedule's step(), after the compiled function"
REMEDIES = {
    "__bool__": "choose with mg.where, or pass what decides as a bool argument (each value is traced once)",
    "__index__": "pass the position as an int argument, or select with mg.where or gather",
    "__getitem__": "a boolean index has a size that depends on values: use mg.where or a product with the mask; pass a position as "
    "an int argument",
    "__repr__": "return the tensor and print it outside",
    "__format__": "return the tensor and print it outside",
}


def _where(error: BaseException) -> str:
    """The line of the step that asked for a value, and what to do instead."""
    walked = list(traceback.walk_tb(error.__traceback__))
    frames = [(frame.f_code, number) for frame, number in walked]
    own = [frame.f_globals.get("__name__", "").partition(".")[0] in NOT_THE_USERS for frame, _ in walked]
    last = max((i for i, mine in enumerate(own) if not mine), default=len(frames) - 1)
    code, number = frames[last]
    called = [code.co_name for code, _ in frames[last + 1 :]]
    remedy = next((REMEDIES[name] for name in called if name in REMEDIES), "return the tensor and read it outside")
    if any("schedule" in code.co_filename for code, _ in frames[last + 1 :]):
        remedy = SCHEDULE
    text = linecache.getline(code.co_filename, number).strip() or f"{called[0] if called else code.co_name}()"
    return (
        f"{code.co_filename}:{number}: `{text}` asks for a value inside a compiled step, where tensors have none (the step "
        f"runs once, to be recorded); {remedy}"
    )
