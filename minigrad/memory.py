"""How much memory a device has, what is used of it, and limits.

Apple's GPUs share the machine's memory with everything else. MLX keeps freed arrays for later ones (the cache) and by default
uses up to one and a half times what the system recommends, which on a machine of 8 or 16 GB swaps. So minigrad sets limits when
it first meets the GPU: of the memory a quarter, and at least 3 GB, is left to the system, and the cache may hold half of the
rest. numpy's arrays are the process's own memory and are not counted.
"""

import dataclasses
from typing import Any

import numpy as np

from minigrad import backend
from minigrad.backend.default import get_default_device

GB = 1e9
MOST = 2**63


@dataclasses.dataclass(frozen=True)
class MemoryInfo:
    """Bytes: of the machine or the graphics card (`total`), what may be used (`limit`), what freed arrays may take of it
    (`cache_limit`); arrays that live now (`active`), the most that lived at once (`peak`, without the cache), freed ones that
    are kept (`cache`)."""

    total: int
    limit: int
    cache_limit: int
    active: int
    peak: int
    cache: int

    def __str__(self) -> str:
        return (
            f"{self.total / GB:.1f} GB, of which {self.limit / GB:.1f} may be used and {self.cache_limit / GB:.1f} may be cache; "
            f"{self.active / GB:.2f} in use, {self.peak / GB:.2f} at most so far, {self.cache / GB:.2f} in the cache"
        )


def memory_info(device: str | None = None) -> MemoryInfo | None:
    """Memory of a device (the default one if None); None where nothing is counted ("cpu").

    >>> import minigrad as mg
    >>> mg.memory_info("cpu") is None
    True
    """
    counts = _backend(device).memory()
    return None if counts is None else MemoryInfo(**counts)


def reset_peak_memory(device: str | None = None) -> None:
    """Starts the peak of `memory_info` again. Without effect on "cpu"."""
    _backend(device).reset_peak_memory()


def empty_cache(device: str | None = None) -> None:
    """Gives freed arrays that are kept for later ones back to the system. Without effect on "cpu". Not meant for every step:
    a limit on the cache costs less."""
    _backend(device).clear_cache()


def set_cache_limit(limit: float, device: str | None = None) -> int:
    """How many bytes of freed arrays are kept at most; 0 keeps none. Returns the limit before (0 on "cpu", which has none).

    Raises:
        ValueError: for anything but a number of bytes.
    """
    return _backend(device).set_cache_limit(_checked(limit))


def set_memory_limit(limit: float, device: str | None = None) -> int:
    """How many bytes arrays and cache together should take: where a step wants more, cached arrays are given back and work waits
    for earlier work. It is no wall: arrays that live at the same time may exceed it. Returns the limit before (0 on "cpu").

    Raises:
        ValueError: for anything but a number of bytes.
    """
    return _backend(device).set_memory_limit(_checked(limit))


def _checked(limit: Any) -> int:
    if not isinstance(limit, int | float | np.number) or not 0 <= limit < MOST:
        raise ValueError(f"a limit is a number of bytes, less than 2**63 and at least 0; got {limit!r}")
    return int(limit)


def _backend(device: str | None):
    return backend.get(get_default_device() if device is None else device)
