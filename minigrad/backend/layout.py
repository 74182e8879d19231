"""Where elements lie: shapes and strides, in elements, that follow from view operations alone, whatever the array library does."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

Layout = tuple[tuple[int, ...], tuple[int, ...]]


def in_order(sizes: Sequence[int]) -> Layout:
    """That of an array whose elements lie one after the other."""
    return tuple(sizes), tuple([math.prod(sizes[i + 1 :]) for i in range(len(sizes))])


def repeats(sizes: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether several elements lie at one place, as after `expand` or `unfold`."""
    reach = 0  # how far apart elements lie that differ in the dimensions of smaller strides only
    for stride, n in sorted((abs(stride), n) for stride, n in zip(strides, sizes, strict=True) if n > 1):
        if stride <= reach:
            return math.prod(sizes) > 0
        reach += stride * (n - 1)
    return False


def after(sizes: Sequence[int], steps: Iterable[tuple[Any, dict]]) -> Layout:
    """That of a view, by the steps that lead to it from an array in order: pairs (operation, static values), of which the operation
    has `layout(sizes, strides, **static)`."""
    at = in_order(sizes)
    for op, static in steps:
        at = op.layout(*at, **static)
    return at
