"""Context managers that switch something on and also decorate functions."""

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any, Self, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class Switch(contextlib.ContextDecorator):
    """A context manager that also decorates functions and generator functions.

    A generator runs with the switch set each time it is resumed; between two values its caller finds its own setting. A
    subclass makes a fresh switch of the same kind in `_recreate_cm`, because a decorated function may run in several threads.
    """

    def _recreate_cm(self) -> Self:
        raise NotImplementedError

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
