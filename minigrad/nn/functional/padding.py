"""Padding."""

import math
from collections.abc import Sequence

import numpy as np

from minigrad import checks, ops
from minigrad.engine.tensor import Tensor, _tensor
from minigrad.functions import index_select, narrow, where
from minigrad.functions.arguments import _integer, number, tensor

__all__ = ["pad"]


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Elements around x along its last dimensions: (…, n, m) → (…, n + p₂ + p₃, m + p₀ + p₁) for the widths p₀ … p₃.

    Args:
        pad: a width before and one after for the last dimension, then for the one before it, and so on. Negative ones crop.
        mode: with what: "constant" (`value`), "replicate" (the border), "reflect" (mirrored at the border) or "circular" (from
            the other side).
        value: 0 by default.

    Raises:
        ValueError: for another mode, or widths that don't fit. TypeError: for widths that aren't whole numbers.

    >>> mg.nn.functional.pad(mg.tensor([1, 2]), (1, 2))
    tensor([0, 1, 2, 0, 0])
    """
    tensor("pad", "input", input)
    checks.choice("pad", "mode", mode, ("constant", "replicate", "reflect", "circular"))
    if not isinstance(pad, tuple | list):
        raise TypeError(f"pad: pad must be a list of widths, got {type(pad).__name__}")
    pad = [_integer(n, "width", "pad") for n in pad]
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ValueError(
            f"pad: {len(pad)} widths for {input.ndim} dimensions; give a (before, after) pair for each of the last ones"
        )
    widths = [(0, 0)] * (input.ndim - len(pad) // 2) + [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]
    if mode != "constant":
        return _pad_from(input, widths, mode)
    for dim, (before, after) in enumerate(widths):
        if min(before, after) < 0:
            cut = max(-before, 0)
            input = narrow(input, dim, cut, input.shape[dim] - cut - max(-after, 0))
    widths = [(max(before, 0), max(after, 0)) for before, after in widths]
    if not any(map(any, widths)):
        return ops.clone(input)
    out = ops.pad_zeros(input, widths=tuple(widths))
    if value is not None and number("pad", "value", value):
        xp = input.backend
        inside = _tensor(xp.pad(xp.ones(input.shape, dtype=xp.dtype("bool")), tuple(widths)), xp)
        out = where(inside, out, value if input.is_floating_point() else int(value))
    return out


def _pad_from(input: Tensor, widths: Sequence[tuple[int, int]], mode: str) -> Tensor:
    """`pad` with the tensor's own elements: each dimension read at the places that its padding stands for."""
    for dim, (before, after) in enumerate(widths):
        if not (before or after):
            continue
        n = input.shape[dim]
        most = {"reflect": n - 1, "circular": n}.get(mode, math.inf)
        if not n or max(before, after) > most or n + before + after < 0:
            raise ValueError(
                f"pad: mode {mode!r} can't pad dimension {dim} of shape {input.shape} by {(before, after)}"
            )
        grow, places = (max(before, 0), max(after, 0)), np.arange(n)
        if mode == "circular":  # goes round what is left after cropping; the others see the whole
            places = np.pad(places[max(-before, 0) : n - max(-after, 0)], grow, "wrap")
        else:
            places = np.pad(places, grow, "edge" if mode == "replicate" else "reflect")
            places = places[max(-before, 0) : len(places) - max(-after, 0)]
        input = index_select(input, dim, Tensor(places, device=input.device))
    return input
