"""Values that come from a file, checked one by one: each function gives the value, or a ValueError that names the entry.

They are for what JSON holds and a stranger may have written: NaN and infinities are no numbers here, booleans no whole numbers, and
every number and text has an end.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any

from minigrad.interop.configurations import short

LARGEST = 2**53  # of a whole number, which every reader of JSON has exactly
LONGEST = 4096  # characters of a text, as of a path


def whole(name: str, value: Any, least: int = 0, most: int = LARGEST) -> int:
    """The value, if it is a whole number from `least` to `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}, got {told(value)}")
    return value


def number(name: str, value: Any, least: float = -math.inf, most: float = math.inf) -> int | float:
    """The value, if it is a finite number from `least` to `most`."""
    if not is_finite(value) or not least <= value <= most:
        limits = (
            "" if math.isinf(least) else f" of at least {least:g}" if math.isinf(most) else f" in [{least:g}, {most:g}]"
        )
        raise ValueError(f"{name} must be a finite number{limits}, got {told(value)}")
    return value


def is_finite(value: Any) -> bool:
    """Whether it is a number that a float holds."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def text(name: str, value: Any, longest: int = LONGEST) -> str:
    """The value, if it is a string of at most so many characters."""
    if not isinstance(value, str) or len(value) > longest:
        came = f"one of {len(value)}" if isinstance(value, str) else told(value)
        raise ValueError(f"{name} must be a string of at most {longest} characters, got {came}")
    return value


def texts(name: str, value: Any) -> list[str]:
    """The values, if they are a list of strings."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} must be a list of strings, got {told(value)}")
    return [text(f"an entry of {name}", item) for item in value]


def mapping(name: str, value: Any) -> Mapping[Any, Any]:
    """The value, if it is a dict."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must be an object, got {told(value)}")
    return value


def only(name: str, value: Any, known: Collection[str], optional: Collection[str] = ()) -> Mapping[Any, Any]:
    """The value, if it is a dict with all of the known entries and no others, but for the optional ones."""
    found = mapping(name, value)
    missing = [entry for entry in known if entry not in found and entry not in optional]
    unknown = [entry for entry in found if entry not in known and entry not in optional]
    if missing:
        raise ValueError(f"{name} has no {missing[0]}")
    if unknown:
        raise ValueError(f"{name} has the entry {told(unknown[0])}, which isn't known")
    return found


def told(value: Any) -> str:
    """A value in a message."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, str | int | float | None):
        return short(value if not isinstance(value, str) else value[:80])
    return f"a {type(value).__name__}"
