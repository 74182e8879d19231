"""What is switched on in this thread: recording of operations, observers, the search for NaN."""

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable

# Bits of the mode: record the tape; somebody observes operations; mixed precision; somebody collects the nodes of the tape.
GRAD, WATCH, AUTOCAST, COLLECT = 1, 2, 4, 8
SLOW = WATCH | AUTOCAST | COLLECT  # what the short ways of common operations leave to the general one


class State(threading.local):
    mode = GRAD
    observers: tuple = ()
    anomaly = False
    low = "auto"  # the dtype of products, where AUTOCAST is set
    collector: list | None = None  # receives every node that is recorded, where COLLECT is set (see `checkpoint`)


state = State()


class set_mode:
    """Context manager: this mode inside, the one before it afterwards."""

    __slots__ = ("mode", "before")

    def __init__(self, mode: int):
        self.mode = mode

    def __enter__(self) -> None:
        self.before, state.mode = state.mode, self.mode

    def __exit__(self, *exc) -> None:
        state.mode = self.before


class Switch(contextlib.ContextDecorator):
    """A context manager that also decorates functions and generator functions.

    A generator runs with the switch set each time it is resumed; between two values its caller finds its own setting. A
    subclass makes a fresh switch of the same kind in `_recreate_cm`, because a decorated function may run in several threads.
    """

    def _recreate_cm(self):
        raise NotImplementedError

    def __enter__(self):
        raise NotImplementedError

    def __exit__(self, *exc):
        raise NotImplementedError

    def __call__(self, function):
        name = type(self).__name__
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"{name} can't decorate the async function {function.__name__}: other tasks of the thread would run with it while "
                f"the function waits; use `with {name}(…):` around the lines between two awaits"
            )
        if inspect.isclass(function) or not callable(function):
            raise TypeError(
                f"{name} decorates a function, got {function!r}; decorate the methods of a class one by one"
            )
        return self._of_generator(function) if inspect.isgeneratorfunction(function) else super().__call__(function)

    def _of_generator(self, function):
        @functools.wraps(function)
        def switched(*args, **kwargs):
            generator = function(*args, **kwargs)
            resume = functools.partial(next, generator)
            while True:
                try:
                    with self._recreate_cm():
                        value = resume()
                except StopIteration as stop:
                    return stop.value
                try:
                    sent = yield value
                except GeneratorExit:
                    with self._recreate_cm():
                        generator.close()
                    raise
                except BaseException as error:
                    resume = functools.partial(generator.throw, error)
                else:
                    resume = functools.partial(generator.send, sent)

        return switched


class no_grad(Switch):
    """Context manager and decorator: operations inside are not recorded, their results require no gradient.

    As a decorator it may stand with or without brackets, also on a generator function.

    >>> import minigrad as mg
    >>> w = mg.ones(3, requires_grad=True)
    >>> with mg.no_grad():
    ...     w -= 0.1          # rebinds w's data; nothing is recorded
    >>> @mg.no_grad
    ... def predict(x):
    ...     return x * w
    >>> predict(mg.ones(3)).requires_grad
    False
    """

    on = False

    def __new__(cls, function: Callable | None = None):
        self = super().__new__(cls)
        return self if function is None else self(function)

    def __init__(self, function: None = None) -> None:
        self._before: list[int] = []

    def _recreate_cm(self):
        return type(self)()

    def __enter__(self):
        self._before.append(state.mode)
        state.mode = state.mode | GRAD if self.on else state.mode & ~GRAD
        return self

    def __exit__(self, *exc):
        state.mode = state.mode & ~GRAD | self._before.pop() & GRAD
        return False


class enable_grad(no_grad):
    """Context manager and decorator: operations inside are recorded again, within a `no_grad`."""

    on = True


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread."""
    return bool(state.mode & GRAD)


def is_observed() -> bool:
    """Whether somebody observes the operations of this thread, see `observe`."""
    return bool(state.mode & WATCH)


class observe(Switch):
    """Calls `callback(name, inputs, output, static)` after every operation executed inside, innermost observer last.

    >>> import minigrad as mg
    >>> names = []
    >>> with mg.autograd.observe(lambda name, inputs, output, static: names.append(name)):
    ...     _ = mg.ones(2) + 1
    >>> names
    ['add']
    """

    def __init__(self, callback: Callable):
        self.callback = callback
        self._before: list[tuple] = []

    def _recreate_cm(self):
        return type(self)(self.callback)

    def __enter__(self) -> None:
        self._before.append(state.observers)
        state.observers, state.mode = (*state.observers, self.callback), state.mode | WATCH

    def __exit__(self, *exc) -> None:
        state.observers = self._before.pop()
        if not state.observers:
            state.mode &= ~WATCH
