"""Trees of tensors and constants: what goes into a compiled step and comes out of it, taken apart and put together."""

import dataclasses
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import numpy as np

from minigrad import backend
from minigrad.engine.tensor import Tensor, _new

CONSTANTS = (bool, int, float, str, bytes, complex, type(None))


@dataclasses.dataclass(frozen=True)
class Leaf:
    """The place of a tensor: what it was ("tensor", "array" or "number" of numpy, "raw" array of a backend, "float"), and whether
    it requires a gradient."""

    kind: str
    requires_grad: bool = False


@dataclasses.dataclass(frozen=True)
class Branch:
    """A list, tuple, dict (with its keys) or dataclass of subtrees."""

    cls: type
    keys: tuple | None
    children: tuple


@dataclasses.dataclass(frozen=True)
class Constant:
    """A value that is part of the structure; 1, 1.0 and True are three."""

    cls: type
    value: Any


NUMBERS = (float, np.generic)


class Number(Tensor):
    """Stands for a number, which nobody writes to: `n *= 2` makes another one."""

    __slots__ = ()

    def _no_write(self, other):
        return NotImplemented

    __iadd__ = __isub__ = __imul__ = __itruediv__ = __ifloordiv__ = __imod__ = __ipow__ = _no_write
    __iand__ = __ior__ = __ixor__ = __ilshift__ = __irshift__ = _no_write


def number(array, xp) -> Number:
    """A raw array as one."""
    t = _new(Number)
    t._data, t._backend, t._edge, t._hooks, t._grad, t._ties, t._requires_grad = (
        array,
        xp,
        None,
        None,
        None,
        None,
        False,
    )
    return t


def flatten(tree: Any, leaves: list, where: str, strict: bool = False, exact: bool = False) -> Leaf | Branch | Constant:
    """The structure of a tree; its tensors, arrays and floats (and numpy's numbers) are appended to `leaves`. With `exact` these
    numbers are constants. With `strict`, for results, they and numpy's arrays are, and other objects are refused instead of
    taken as constants.

    Raises:
        TypeError: for an object that can't be part of a tree.
    """
    if isinstance(tree, Tensor):
        leaves.append(tree)
        return Leaf("tensor", tree._requires_grad)
    if strict and isinstance(tree, np.ndarray | np.generic) or exact and isinstance(tree, NUMBERS):
        return Constant(type(tree), tree)
    if isinstance(tree, float) and not strict:
        leaves.append(tree)
        return Leaf("float")
    if isinstance(tree, np.ndarray | np.generic):
        leaves.append(tree)
        return Leaf("array" if isinstance(tree, np.ndarray) else "number")
    if isinstance(tree, list | tuple | dict) or dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        keys, items = _items(tree)
        return Branch(type(tree), keys, tuple([flatten(item, leaves, where, strict, exact) for item in items]))
    if backend.of_array(tree) is not None:
        leaves.append(tree)
        return Leaf("raw")
    if isinstance(tree, CONSTANTS):
        return Constant(type(tree), tree)
    if isinstance(tree, Iterator):
        raise TypeError(
            f"{where} of a compiled step can't be a {type(tree).__name__}, which can be gone through only once; pass a list of what it "
            "gives"
        )
    if strict or not isinstance(tree, Hashable):
        raise TypeError(
            f"{where} of a compiled step can be tensors, numbers, strings, None, and lists, tuples, dicts and dataclasses of "
            f"these; got {type(tree).__name__}"
        )
    return Constant(type(tree), tree)


def _items(tree) -> tuple[tuple | None, list]:
    if isinstance(tree, dict):
        return tuple(tree), list(tree.values())
    if isinstance(tree, list | tuple):
        return None, list(tree)
    names = tuple(field.name for field in dataclasses.fields(tree))
    return names, [getattr(tree, name) for name in names]


def unflatten(structure: Leaf | Branch | Constant, leaves: Iterator, make: Callable[[Leaf, Any], Any]) -> Any:
    """The tree again, with `make(leaf, value)` at the places of the leaves."""
    if isinstance(structure, Leaf):
        return make(structure, next(leaves))
    if isinstance(structure, Constant):
        return structure.value
    items = [unflatten(child, leaves, make) for child in structure.children]
    make_branch: Callable = structure.cls
    if issubclass(structure.cls, dict):
        return dict(zip(structure.keys or (), items, strict=True))
    if structure.keys is not None:
        return make_branch(**dict(zip(structure.keys, items, strict=True)))
    return make_branch(*items) if hasattr(make_branch, "_fields") else make_branch(items)


def without_leaves(structure: Leaf | Branch | Constant) -> Branch | Constant | None:
    """A structure that doesn't tell what its leaves are."""
    if isinstance(structure, Branch):
        return Branch(structure.cls, structure.keys, tuple([without_leaves(child) for child in structure.children]))
    return structure if isinstance(structure, Constant) else None
