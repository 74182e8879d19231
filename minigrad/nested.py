"""Nested dictionaries, lists and tuples of tensors and plain values, as flat named tensors and a note in JSON that says what they were.

The note is a JSON value. Strings, whole numbers, true, false, null and finite fractions stand for themselves and an array for a
list; everything else is an object with one entry:

    {"tensor": "model.weight"}        the tensor of that name
    {"dict": [["epoch", 3], …]}       keys (strings or whole numbers) and values, in order
    {"tuple": [1, 2]}
    {"float": "inf"}                  or "-inf" or "nan", which JSON lacks
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from minigrad import checks

DEPTH = 64  # levels
LONGEST = 16 << 20  # characters of a note: what is read of it takes at most about 30 times as much memory
MOST = 1_000_000  # values
DIGITS = 600  # of a whole number; Python may be set to read no more than 640
LARGEST, LARGEST_KEY = 10**DIGITS, 2**60  # keys of 61 bits and more could all have one hash
SPECIAL = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
PLAIN = "tensors, arrays, numbers, strings, True, False, None, and dicts, lists and tuples of them"


def is_flat(value: Mapping) -> bool:
    """Whether it is names and tensors, and nothing else: what a file of tensors holds without a note."""
    return all(isinstance(key, str) and _is_array(item) for key, item in value.items())


def flatten(who: str, value: Mapping) -> tuple[dict[str, Any], str]:
    """The tensors and arrays in a nested dict under names of their own, and the note that `unflatten` puts them back with.

    Raises:
        TypeError: for anything but PLAIN.
        ValueError: for more levels, values or digits than a note holds.
    """
    tensors: dict[str, Any] = {}
    count = 0

    def note(value: Any, path: tuple, level: int) -> Any:
        nonlocal count
        count += 1
        if level > DEPTH or count > MOST:
            limit = f"{DEPTH} levels deep" if level > DEPTH else f"{MOST:,} values"
            raise ValueError(f"{who}: more than {limit} can't be saved; flatten it, put many numbers into one tensor, and look for "
                             "something that holds itself")  # fmt: skip
        kind = type(value)
        if _is_array(value):
            name = _name(path, tensors)
            tensors[name] = value
            return {"tensor": name}
        if value is None or kind in (bool, str):
            return value
        if kind is int and abs(value) < LARGEST:
            return value
        if kind is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, Mapping):
            for key in value:
                if not _is_key(key):
                    where = f"the keys of {_where(path)}" if path else "keys"
                    raise TypeError(
                        f"{who}: {where} must be strings or whole numbers below 2**60, got {checks.told(key)}"
                    )
            return {"dict": [[key, note(item, (*path, key), level + 1)] for key, item in value.items()]}
        if kind in (list, tuple):
            items = [note(item, (*path, i), level + 1) for i, item in enumerate(value)]
            return items if kind is list else {"tuple": items}
        if kind is int:
            raise ValueError(
                f"{who}: {_where(path)} is a whole number of more than {DIGITS} digits, which can't be saved"
            )
        remedy = "save its state_dict()" if hasattr(value, "state_dict") and not isinstance(value, type) else ""
        raise checks.wrong(who, _where(path), PLAIN, value, remedy)

    text = json.dumps(note(value, (), 0))
    if len(text) > LONGEST:
        raise ValueError(
            f"{who}: what lies beside the tensors takes {len(text):,} characters, and at most {LONGEST:,} can be saved; put many "
            "numbers into one tensor"
        )
    return tensors, text


def unflatten(text: str, names: Iterable[str]) -> Callable[[Mapping[str, Any]], dict[str | int, Any]]:
    """What a note describes, after it was checked in full.

    Args:
        text: the note.
        names: the tensors that there are. The note must place each of them, once.

    Returns:
        A function that makes the nested dict of a dictionary of the tensors.

    Raises:
        ValueError: when it is no note, or one of other tensors.
    """
    if len(text) > LONGEST:
        raise ValueError(f"it has {len(text)} characters, more than {LONGEST}")
    try:
        tree = json.loads(text, object_pairs_hook=_one_entry, parse_constant=_refuse)
    except RecursionError:
        raise ValueError(f"it is nested more than {DEPTH} levels deep") from None
    if not isinstance(tree, tuple) or tree[0] != "dict":
        raise ValueError("it describes no dict")
    left = set(names)
    _check(tree, left, 0)
    if left:
        raise ValueError(f"it doesn't place the tensor {checks.told(min(left))}")
    return lambda tensors: _build(tree, tensors)


def _check(value: Any, left: set[str], level: int) -> None:
    """Raises ValueError where the value is no note; takes the tensors that it places from `left`."""
    if level > DEPTH:
        raise ValueError(f"it is nested more than {DEPTH} levels deep")
    if isinstance(value, list):
        for item in value:
            _check(item, left, level + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("it has a number that is too large")
    elif isinstance(value, tuple):
        kind, content = value
        if kind == "tensor" and isinstance(content, str):
            if content not in left:
                raise ValueError(f"it places the tensor {checks.told(content)}, which isn't there or was placed before")
            left.remove(content)
        elif kind == "float" and isinstance(content, str) and content in SPECIAL:
            pass
        elif kind == "tuple" and isinstance(content, list):
            _check(content, left, level)
        elif kind == "dict" and isinstance(content, list):
            if not all(isinstance(pair, list) and len(pair) == 2 and _is_key(pair[0]) for pair in content):
                raise ValueError("a dict in it has something else than keys and values")
            if len({key for key, _ in content}) != len(content):
                raise ValueError("a dict in it has a key twice")
            for _, item in content:
                _check(item, left, level + 1)
        else:
            raise ValueError(f"it has an entry {checks.told(kind)} that can't be read")


def _build(value: Any, tensors: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_build(item, tensors) for item in value]
    if not isinstance(value, tuple):
        return value
    kind, content = value
    if kind == "tensor":
        return tensors[content]
    if kind == "float":
        return SPECIAL[content]
    if kind == "tuple":
        return tuple([_build(item, tensors) for item in content])
    return {key: _build(item, tensors) for key, item in content}


def _one_entry(pairs: list[tuple[str, Any]]) -> tuple[str, Any]:
    """An object of a note as a pair: nothing else in JSON becomes a tuple."""
    if len(pairs) != 1:
        raise ValueError("an object in it has more than one entry, or none")
    return pairs[0]


def _refuse(name: str) -> None:
    raise ValueError(f"it has the number {name}")


def _is_key(key: Any) -> bool:
    return type(key) is str or type(key) is int and abs(key) < LARGEST_KEY


def _is_array(value: Any) -> bool:
    return checks.is_tensor(value) or isinstance(value, np.ndarray | np.generic)


def _name(path: tuple, taken: Mapping[str, Any]) -> str:
    """A name for the tensor at a path of keys, as "optimizer.0.step", that no other one has."""
    name = first = ".".join(str(key) for key in path).encode("utf-8", "replace").decode()
    number = 1
    while name in taken or name == "__metadata__":
        number += 1
        name = f"{first}~{number}"
    return name


def _where(path: tuple) -> str:
    """A place in a nested value, for a message."""
    text = "".join(f"[{key!r}]" for key in path)
    return text if len(text) <= 80 else f"…{text[-79:]}"
