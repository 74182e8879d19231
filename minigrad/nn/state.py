"""A module's state beside a mapping from names to values: what differs, said in one message."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from minigrad import checks, dtypes
from minigrad.engine.tensor import Tensor


class Differences(NamedTuple):
    """What `load_state_dict` found: names that the mapping lacks, and names that the module lacks."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def compared(
    who: str, source: str, own: Mapping[str, Tensor], given: Mapping[str, Any], strict: bool = True
) -> Differences:
    """The names that only one of a module's state and a mapping has, if the rest fits.

    Args:
        who: the function that errors name.
        source: what the mapping comes from, as errors name it.
        strict: whether missing and unexpected names are errors.

    Raises:
        ValueError: with every difference listed.
    """
    missing = [name for name in own if name not in given]
    unexpected = [name for name in given if name not in own]
    names = [f"missing {name} {_describe(own[name])}" for name in missing] if strict else []
    names += [f"unexpected {_shown(name)} {_describe(given[name])}" for name in unexpected] if strict else []
    values = [
        f"{name} is {_describe(given[name])}, expected {_describe(tensor)}"
        for name, tensor in own.items()
        if name in given and not _fits(given[name], tensor)
    ]
    if problems := names + values:
        plural = "difference" if len(problems) == 1 else "differences"
        remedy = (
            "give values of the module's shapes and dtypes"
            if values
            else "rename the entries, or pass strict=False to load only those that both have"
        )
        raise ValueError(
            f"{who} found {len(problems)} {plural} between {source} and the module, and changed nothing; {remedy}:\n  "
            + "\n  ".join(problems)
        )
    return Differences(missing, unexpected)


def _shown(name: object) -> str:
    """A name that may come from a file: without what changes a terminal."""
    text = str(name)
    return text if text.isprintable() else ascii(text)


def _fits(value, tensor: Tensor) -> bool:
    """Whether a value of a `state_dict` has a tensor's shape and dtype; or has 16 bits where the tensor is float32, or is float32 and
    loses nothing in the tensor's 16 bits."""
    given = _describe(value)
    if given == _describe(tensor):
        return True
    if tensor.dtype == "float32":
        return given in (f"{tensor.shape} float16", f"{tensor.shape} bfloat16")
    if tensor.dtype.itemsize != 2 or given != f"{tensor.shape} float32":
        return False
    wide = (value.detach() if isinstance(value, Tensor) else Tensor(np.asarray(value))).to(tensor.device)
    return bool(((wide.astype(tensor.dtype).float() == wide) | (wide != wide)).all())


def _describe(value) -> str:
    """`(10, 64) float32`; of what is neither a tensor nor numbers, its type."""
    if not isinstance(value, Tensor):
        try:
            array = np.asarray(value)
        except ValueError:  # lists of different lengths
            return checks.kind(value)
        if array.dtype.name not in dtypes.ALL:
            return checks.kind(value)
        value = array
    return f"{tuple(value.shape)} {dtypes.dtype(value.dtype).name}"
