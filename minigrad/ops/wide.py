"""16-bit floating point numbers in elementwise operations."""

import functools
from collections.abc import Callable

from minigrad.dtypes import HALVES


def wide(forward: Callable) -> Callable:
    """Decorator of an elementwise forward function of several steps: 16-bit numbers are computed in float32 and rounded once,
    at the end, so that no step in between overflows or cancels."""

    @functools.wraps(forward)
    def widened(xp, *inputs, **static):
        dtype = next(xp.dtype_name(a) for a in inputs if hasattr(a, "dtype"))
        if dtype not in HALVES:
            return forward(xp, *inputs, **static)
        wider = [xp.astype(a, "float32") if hasattr(a, "dtype") else a for a in inputs]
        return xp.astype(xp.asarray(forward(xp, *wider, **static)), dtype)

    return widened
