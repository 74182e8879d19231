"""Ordinary checks of arguments where a call enters. Each returns the value, or raises a TypeError that says in one sentence which
function was called, which parameter is wrong, what it expects and what came.

They are for what is no operation on tensors: optimisers, initial values, data, files. `who` is the function's or the class's name.
"""

import numbers
import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from minigrad.dtypes import plain

T = TypeVar("T")


def wrong(who: str, parameter: str, expected: str, value: object, remedy: str = "") -> TypeError:
    """The error for a value of the wrong type."""
    return TypeError(f"{who}: {parameter} must be {expected}, got {kind(value)}" + (remedy and f"; {remedy}"))


def kind(value: object) -> str:
    """What a value is, in a message: its type's name; "None"; "the class Linear" where an object of it was meant."""
    if value is None:
        return "None"
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def told(value: object) -> str:
    """A value as an error's sentence shows it: itself, or its type where that would be long or says nothing."""
    text = repr(value) if isinstance(value, str | int | float | tuple | list) else ""
    return text if 0 < len(text) <= 80 and "\n" not in text else kind(value)


def instance(who: str, parameter: str, value: object, cls: type[T], expected: str, remedy: str = "") -> T:
    """The value, if it is an object of the class."""
    if isinstance(value, cls):
        return value
    raise wrong(who, parameter, expected, value, remedy)


def is_tensor(value: object) -> bool:
    """Whether it is a `Tensor`, which stands above this file."""
    return hasattr(value, "_edge")


def tensor(who: str, parameter: str, value: Any) -> Any:
    """The value, if it is a tensor."""
    if is_tensor(value):
        return value
    raise wrong(who, parameter, "a tensor", value, remedy(value))


def remedy(value: object) -> str:
    """What to do, where a tensor can be made of the value."""
    possible = isinstance(value, list | tuple | numbers.Number) or hasattr(value, "shape")
    return "use mg.tensor(…)" if possible and not isinstance(value, type) else ""


def module(who: str, parameter: str, value: Any) -> Any:
    """The value, if it is a module."""
    if hasattr(value, "named_parameters") and not isinstance(value, type):
        return value
    raise wrong(who, parameter, "a module", value)


def function(who: str, parameter: str, value: object) -> Callable:
    """The value, if it can be called."""
    if callable(value):
        return value
    raise wrong(who, parameter, "a function", value)


def entries(who: str, parameter: str, value: object, expected: str, of: type | tuple[type, ...] = object) -> list[Any]:
    """What an iterable gives, as a list. A string counts as no iterable.

    Args:
        expected: what the iterable is meant to be, as "a list of tensors".
        of: the types of its entries.
    """
    if isinstance(value, str | bytes | type) or not isinstance(value, Iterable) or getattr(value, "shape", None) == ():
        raise wrong(who, parameter, expected, value)
    found = list(value)
    for entry in found:
        if not isinstance(entry, of):
            raise TypeError(f"{who}: {parameter} must be {expected}, got one with {kind(entry)} in it")
    return found


def mapping(who: str, parameter: str, value: object, expected: str = "a dict") -> Mapping[Any, Any]:
    """The value, if it is a dict or another mapping."""
    if isinstance(value, Mapping):
        return value
    raise wrong(who, parameter, expected, value)


def path(who: str, parameter: str, value: object) -> str | os.PathLike[str]:
    """The value, if it can be a path. A number, which `open` would take for a file that is open already, is none."""
    if isinstance(value, str | os.PathLike):
        return value
    raise wrong(who, parameter, "a path (a string or a pathlib.Path)", value)


def text(who: str, parameter: str, value: object) -> str:
    """The value, if it is a string."""
    if isinstance(value, str):
        return value
    raise wrong(who, parameter, "a string", value)


def choice(who: str, parameter: str, value: Any, choices: Sequence[str | None]) -> Any:
    """The value, if it is one of the names (or None, where that is among them).

    Raises:
        ValueError: for anything else.
    """
    if (isinstance(value, str) or value is None) and value in choices:
        return value
    *others, last = map(repr, choices)
    expected = f"{', '.join(others)} or {last}" if others else last
    raise ValueError(f"{who}: {parameter} must be {expected}, got {told(value)}")


def number(who: str, parameter: str, value: object) -> int | float:
    """The value as a number of Python's, if it is a number (of Python's or of numpy's)."""
    value = plain(value)
    if isinstance(value, int | float):
        return value
    raise wrong(who, parameter, "a number", value)


def whole(who: str, parameter: str, value: object) -> int:
    """The value as an integer of Python's, if it is a whole number."""
    try:
        return int(operator.index(value))  # type: ignore[arg-type]
    except TypeError:
        raise wrong(who, parameter, "a whole number", value) from None


def position(who: str, value: object, length: int) -> int:
    """An index into `length` entries, counted from the front.

    Raises:
        IndexError: when there is no such entry.
    """
    index = whole(who, "an index", value)
    if not -length <= index < length:
        raise IndexError(
            f"{who}: there is no entry {index} among {length}; give an index from {-length} to {length - 1}"
        )
    return index % length


def flag(who: str, parameter: str, value: object) -> bool:
    """The value as True or False, if it is one of them or a number."""
    if isinstance(value, bool | int | np.bool_):
        return bool(value)
    raise wrong(who, parameter, "True or False", value)


def sizes(who: str, parameter: str, value: object) -> tuple[int, ...]:
    """A whole number, or several in a list or tuple, as a tuple of integers."""
    expected = "a whole number or several"
    several = isinstance(value, list | tuple) or isinstance(value, np.ndarray) and value.ndim
    found: Any = value if several else [value]
    try:
        return tuple([int(operator.index(n)) for n in found])
    except TypeError:
        raise wrong(who, parameter, expected, value) from None


def array(who: str, parameter: str, value: Any, expected: str = "a numpy array of numbers") -> np.ndarray:
    """The value as a numpy array, if it is one, another library's, a tensor, or lists of numbers."""
    found = value
    listed = isinstance(value, list | tuple | range)
    if listed or hasattr(value, "__array__") and not isinstance(value, type | np.ndarray) and not is_tensor(value):
        try:
            found = np.asarray(value)
        except (ValueError, TypeError):  # lists of different lengths
            raise wrong(who, parameter, expected, value) from None
    elif is_tensor(value):
        found = value.detach().numpy()
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "biuf":
        what = f"an array of {found.dtype}" if isinstance(found, np.ndarray) else kind(value)
        raise TypeError(f"{who}: {parameter} must be {expected}, got {what}")
    return found
