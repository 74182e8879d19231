"""`compile`: a whole training step, forward, backward and update, as one function of the array library.

The step is run once on arrays without values (traced), and the array library keeps what it computes. Whatever the step
carries to the next one (`minigrad.compiler.carried`) goes in and comes out as arrays; the tensors are pointed at the new ones.
"""

import copy
import dataclasses
import functools
import threading
import time
from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, overload

from minigrad.backend import get
from minigrad.backend.default import get_default_device
from minigrad.backend.tracing import port
from minigrad.callers import warn
from minigrad.compiler.carried import Carried
from minigrad.compiler.program import Elsewhere, GradientRead, Program, StateGrew
from minigrad.compiler.snapshot import Snapshot
from minigrad.compiler.tracer import Guard, KeysExhausted
from minigrad.compiler.trees import NUMBERS, flatten
from minigrad.engine.modes import AUTOCAST, GRAD, WATCH, state
from minigrad.engine.tensor import Tensor
from minigrad.nn.module import Module

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")

MANY = 16  # traces after which a warning says what makes them


class _Thread(threading.local):
    within = False  # a compiled step that runs operation by operation


thread = _Thread()


@dataclasses.dataclass(frozen=True)
class Trace:
    """One tracing of a step: for which arguments and modes, and how long tracing and building took."""

    arguments: str
    mode: str
    seconds: float

    def __str__(self) -> str:
        return f"({self.arguments}) {self.mode}, {self.seconds:.2f} s"


@dataclasses.dataclass(frozen=True)
class CompileInfo:
    """What a compiled function has done so far.

    device: where it ran last, or None. reason: why nothing is compiled there, or None. calls: all of them; uncompiled: those
    that ran operation by operation (always, or because the step made new state, as an optimiser's first step does).
    traces: one for each combination of shapes, modes and constants.
    """

    device: str | None
    reason: str | None
    calls: int
    uncompiled: int
    traces: tuple[Trace, ...]

    def __str__(self) -> str:
        if self.device is None:
            return "not called yet"
        if self.reason is not None:
            return f"{self.calls} calls on {self.device!r}, not compiled: {self.reason}"
        lines = [
            f"{self.calls} calls on {self.device!r}, {self.uncompiled} of them uncompiled, {len(self.traces)} traced"
        ]
        return "\n".join([*lines, *(f"  {trace}" for trace in self.traces)])


@overload
def compile(step: Callable[P, R], *, state: Any = ()) -> "Compiled[P, R]": ...


@overload
def compile(step: None = None, *, state: Any = ()) -> "Decorator": ...


def compile(step: Callable | None = None, *, state: Any = ()) -> "Callable[..., Compiled] | Compiled":
    """A function that does what `step` does, compiled whole where the device's array library can (MLX); elsewhere it is the
    plain function. Results are the same up to rounding.

    `state` lists everything that the step changes or whose flags it depends on: modules, optimizers, `EMA`s, `GradScaler`s,
    tensors, objects that hold these in their attributes, or lists of these. A module's own step (`mg.compile(model)`) and a
    method that is decorated in its class have their object as state besides. Parameters, buffers, optimizer slots and averages are
    carried from call to call, the learning rate (and other options that change) is passed in, and dropout draws new masks
    from the default generator at every call, the same ones as uncompiled. So a schedule's `step()`, `model.eval()`, loading
    a checkpoint and looking at weights between calls do what they always do.

    Args:
        step: called with tensors, numpy arrays, numbers, strings, None, and lists, tuples, dicts of these; may return the
            same, and dataclasses. Tensors and arrays are inputs; floats are passed as 0-dimensional tensors (where the
            step needs the number itself, each value is traced); of bools, ints and strings each new value is traced anew,
            as is each new shape.
        state: what is carried.

    The step runs as Python only while it is traced. In it, `.item()`, `float(t)`, `if t:`, `.numpy()` and `.tolist()` raise
    `CompileError` with the line; so does, where it stands, a write to an argument, or to a tensor that is neither made in the step nor
    in its state (on numpy, too, in the first call). What the step reads besides its arguments and the state is a constant, and a module
    with weights that isn't in the state an error. Where it raises, the state is as before the call. After the call `.grad` of what the
    step updated is None, unless the step adds to gradients that it found (accumulation over several calls), which are then
    carried too; gradients of what it didn't update are there. Results have no history. A first step that makes new state, such as the
    moments of an optimizer, runs uncompiled. `info()` tells traces, shapes, modes and times.

    >>> import minigrad as mg
    >>> model = mg.nn.Linear(3, 1)
    >>> optimizer = mg.optim.AdamW(model.parameters(), lr=0.01)
    >>> @mg.compile(state=[model, optimizer])
    ... def step(x, y):
    ...     optimizer.zero_grad()
    ...     loss = mg.nn.functional.mse_loss(model(x), y)
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> losses = [step(mg.ones(4, 3), mg.zeros(4, 1)) for _ in range(3)]
    >>> losses[2].item() < losses[0].item()
    True
    >>> print(step.info())
    3 calls on 'cpu', not compiled: numpy computes operation by operation
    """
    if step is None:
        return functools.partial(compile, state=state)
    return Compiled(step, state)


class Decorator(Protocol):
    """What `compile` without a step returns."""

    def __call__(self, step: Callable[P, R], /) -> "Compiled[P, R]": ...


class Compiled(Generic[P, R]):
    """The function that `compile` returns."""

    def __init__(self, step: Callable[P, R], state):
        if not callable(step):
            raise TypeError(f"compile takes a function, got {type(step).__name__}")
        owner = getattr(step, "__self__", step)
        own = [owner] if isinstance(owner, Module) else []  # a module's step depends on the module
        self.step, self.carried = step, Carried([*_flat(state), *own])
        self.programs: dict[Any, Program] = {}
        self.accumulating: set = set()  # the keys of programs that add to gradients which they find
        self.calls = self.uncompiled = 0
        self.traces: list[Trace] = []
        self.xp: Any = None
        self.reason: str | None = None
        self.fresh = True  # the device was chosen since the last look at the state
        self.scattered = 0
        self.exact: set = set()  # the keys for which floats are constants, too
        self.failed = False  # the last trace
        self.guarded = False  # whether a run that isn't compiled was seen to write to nothing that a trace couldn't
        functools.update_wrapper(self, step, updated=())

    def __repr__(self) -> str:
        return f"<compiled {getattr(self.step, '__name__', self.step)}: {self.info()}>"

    def __set_name__(self, owner, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: object = None) -> Self: ...

    @overload
    def __get__(self: "Compiled[Concatenate[S, Q], R]", instance: S, owner: object = None) -> "Compiled[Q, R]": ...

    def __get__(self, instance: Any, owner: object = None) -> Any:
        """Of a method that was compiled in its class each object has its own, whose state is the object."""
        if instance is None or not hasattr(self.step, "__get__"):
            return self
        bound = Compiled(self.step.__get__(instance), [instance, *self.carried.objects])
        vars(instance)[self.name] = bound  # found before this one from now on
        return bound

    def __deepcopy__(self, memo):
        """A copied object's step works on the copy, and is traced anew; a function stays what it is, with its state."""
        step = copy.deepcopy(self.step, memo)
        return Compiled(step, self.carried.objects if step is self.step else copy.deepcopy(self.carried.objects, memo))

    def info(self) -> CompileInfo:
        """Calls, traces with their shapes, modes and seconds so far."""
        device = None if self.xp is None else self.xp.name
        return CompileInfo(device, self.reason, self.calls, self.uncompiled, tuple(self.traces))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if port.tracer is not None or thread.within:  # a compiled function inside another is part of it
            return self.step(*args, **kwargs)
        self.calls += 1
        leaves: list = []
        structure = flatten((args, kwargs), leaves, "the arguments")
        self._choose_backend(leaves)
        if (
            self.reason is not None or state.mode & WATCH or state.backward_observers
        ):  # somebody looks at every operation's values
            return self._plain(leaves, args, kwargs)
        if self.fresh or self.carried.changed():
            self.fresh = False
            for optimizer in self.carried.optimizers:
                optimizer.capture()
            self.carried.collect()
        key, arrays = self._key(structure, leaves)
        numbers = any(isinstance(leaf, NUMBERS) for leaf in leaves)
        if not numbers or key not in self.exact:
            self.failed = False
            try:
                return self._run(key, leaves, arrays, args, kwargs)
            except Exception:
                if not (numbers and self.failed):
                    raise
        # The step may need a number itself, as a power or for a choice.
        leaves = []
        exact, arrays = self._key(flatten((args, kwargs), leaves, "the arguments", exact=True), leaves)
        result = self._run(exact, leaves, arrays, args, kwargs)
        self.exact.add(key)
        return result

    def _key(self, structure, leaves: list) -> tuple[tuple, list]:
        """The key of the program for a state, arguments and modes, and the arguments as arrays."""
        arrays = [self._array(leaf) for leaf in leaves]
        shapes = tuple([(a.shape, a.dtype) for a in arrays])
        low = state.low if state.mode & AUTOCAST else None
        shared = tuple([i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and self.carried.shares(leaf)])
        sharing = shared, self.carried.sharing()
        return (self.carried.signature, structure, shapes, state.mode & GRAD, low, sharing), arrays

    def _run(self, key: tuple, leaves: list, arrays: list, args, kwargs):
        keys = 64  # of random draws
        while True:
            whole = (key, self.carried.gradients()) if key in self.accumulating else (key, None)
            program = self.programs.get(whole)
            if program is None:
                program = Program(self.step, self.carried, self.xp, key[1], key in self.accumulating, keys)
            try:
                started = time.perf_counter()
                result = program(leaves, arrays)
            except GradientRead:
                self.accumulating.add(key)
            except KeysExhausted:
                keys *= 4
            except StateGrew:
                return self._uncompiled(args, kwargs)
            except Elsewhere:
                self._scattered()
                return self._uncompiled(args, kwargs)
            except Exception:
                self.failed = program.failed
                raise
            else:
                self.programs[whole] = program
                if program.traced:
                    self._traced(program, arrays, time.perf_counter() - started)
                return result

    def _choose_backend(self, leaves) -> None:
        """The device of the state, or of the first tensor among the arguments, and whether it compiles."""
        t = next(iter(self.carried.tensors.values()), None)
        if t is None:
            t = next((leaf for leaf in leaves if isinstance(leaf, Tensor)), None)
        xp = get(get_default_device()) if t is None else t._backend
        if xp is not self.xp:
            self.xp, self.reason, self.fresh = xp, xp.why_not_compiled(), True

    def _array(self, leaf):
        """An argument as an array of the state's device."""
        if isinstance(leaf, Tensor):
            return leaf._data if leaf._backend is self.xp else self.xp.asarray(leaf.numpy(), leaf.dtype.name)
        return self.xp.asarray(leaf, "float32" if isinstance(leaf, float) else None)

    def _plain(self, leaves: list, args, kwargs):
        """Runs the step as the plain function it is where nothing is compiled; the first run refuses the writes that a trace would."""
        if self.reason is not None and not self.guarded:
            self.carried.collect()
            guard = Guard(self.carried)
            guard.pass_in(self.carried, leaves)
            with guard:
                result = self._uncompiled(args, kwargs)
            self.guarded = True
            return result
        self.uncompiled += 1
        thread.within = True
        try:
            return self.step(*args, **kwargs)
        finally:
            thread.within = False

    def _uncompiled(self, args, kwargs):
        """Runs the step operation by operation; where it raises, the state is put back."""
        self.uncompiled += 1
        before = Snapshot(self.carried)
        thread.within = True
        try:
            return self.step(*args, **kwargs)
        except BaseException:
            before.restore()
            raise
        finally:
            thread.within = False

    def _scattered(self) -> None:
        """Warns the second time that the state is on two devices: the first step may have moved something."""
        self.scattered += 1
        if self.scattered == 2:
            devices = ", ".join(sorted({t.device for t in self.carried.tensors.values()}))
            warn(
                f"{self!r}: its state is on {devices}, so it runs operation by operation; move all of it to one device"
            )

    def _traced(self, program: Program, arrays: list, seconds: float) -> None:
        arguments = ", ".join(f"{self.xp.dtype_name(a)} {tuple(a.shape)}" for a in arrays)
        mode = self.carried.training() + ("" if state.mode & GRAD else ", gradients off")
        mode += f", autocast {state.low}" if state.mode & AUTOCAST else ""
        self.traces.append(Trace(arguments, mode, seconds))
        if len(self.traces) == MANY:
            warn(
                f"{self!r}: traced {MANY} times, and every trace is kept. Use batches of one shape (drop_last), and pass what "
                "changes at every step as a tensor or a float, not as an int or an attribute of a module"
            )


def _flat(state) -> list:
    """The objects of a list of objects and lists."""
    if not isinstance(state, list | tuple):
        return [state]
    return [thing for item in state for thing in _flat(item)]
