"""Context managers that switch something on and also decorate functions."""

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

if TYPE_CHECKING:
    from minigrad.engine.modes import enable_grad

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")


class Switch(contextlib.ContextDecorator):
    """A context manager that also decorates functions and generator functions.

    A generator runs with the switch set each time it is resumed; between two values its caller finds its own setting. A
    subclass with arguments makes a fresh switch of the same kind in `_recreate_cm`, because a decorated function may run in several
    threads.
    """

    def _recreate_cm(self) -> Self:
        return type(self)()

    def __enter__(self):
        raise NotImplementedError

    def __exit__(self, *exc):
        raise NotImplementedError

    def __call__(self, function: F) -> F:
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


class BareSwitch(Switch):
    """A switch without arguments, which decorates with and without brackets."""

    _before: list[int]  # what was set, each time it was entered

    @overload
    def __new__(cls, function: None = None) -> Self: ...

    @overload
    def __new__(cls, function: Callable[P, R]) -> "Decorated[P, R]": ...

    def __new__(cls, function: Callable | None = None):
        self = super().__new__(cls)
        self._before = []
        return self if function is None else self(function)


if TYPE_CHECKING:

    class Decorated(enable_grad, Generic[P, R]):
        """What a switch makes of a function or method that it decorates without brackets: to a type checker an object of its class that
        is called as the function; in truth the function, or one around it."""

        @overload
        def __get__(self, instance: None, owner: type) -> Self: ...

        @overload
        def __get__(self: "Decorated[Concatenate[S, Q], R]", instance: S, owner: type) -> Callable[Q, R]: ...

        def __get__(self, instance: object, owner: type) -> object: ...

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...  # type: ignore[override]
