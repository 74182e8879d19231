"""What tensors are made of: numbers, nested lists and arrays of other libraries as raw arrays."""

from functools import reduce
from typing import Any

import numpy as np

from minigrad import backend
from minigrad.backend.default import get_default_device
from minigrad.dtypes import ALL, PYTHON, DType, bool_, fitted, float32, limits, overflow, promote
from minigrad.dtypes import dtype as as_dtype


def raw_array(data, dtype, device: str | None) -> tuple[Any, Any]:
    """The array of a tensor made of `data`, and its backend. See `Tensor` for the arguments."""
    name = None if dtype is None else as_dtype(dtype).name
    if hasattr(data, "_edge"):
        xp, array = data._backend, data.array
    else:
        found = backend.of_array(data)
        if found is None:
            xp = backend.get(get_default_device() if device is None else device)
            array, name = from_python(data, name, xp)
        elif found.array_type is np.ndarray:
            xp, array = backend.get(get_default_device() if device is None else device), from_numpy(data)
        else:
            xp, array = found, data
    target = xp if device is None else backend.get(device)
    if not isinstance(array, np.ndarray) and (target is not xp or not xp.owns(array)):
        array = xp.to_numpy(array)
    if not isinstance(array, target.array_type) or not target.owns(array):
        array = supported(array, name, target)
    return array if name is None else target.astype(array, name), target


def from_python(data, name: str | None, xp) -> tuple[np.ndarray, str]:
    """Numbers and nested lists (also of tensors and arrays) as a numpy array, and the name of the dtype: `name`, or the one
    that holds all that is in them. Python's floats count as float32 and its whole numbers as int64, on every platform."""
    kinds: set = set()
    values = _plain(data if isinstance(data, list | tuple) else [data], kinds)
    found = reduce(promote, [PYTHON.get(kind, kind) for kind in kinds]) if kinds else float32
    kind = ALL[name] if name is not None else found
    if name is None and found is ALL["bfloat16"] and found.name not in xp.dtypes:
        kind = float32
    floats = found.is_floating_point or kind.is_floating_point or kind is bool_ is not found
    via = "float64" if floats else "bool" if found is bool_ else "int64"
    try:
        array = np.asarray(values if isinstance(data, list | tuple) else values[0], via)
    except OverflowError:
        raise overflow(_largest(values), ALL[via] if kind is bool_ else kind, "tensor") from None
    except ValueError as error:
        raise ValueError(f"can't make a tensor of the nested lists: their lengths differ ({error})") from None
    if kind.category == 1 and name is not None and array.size:
        for extreme in (array.min(), array.max()):
            fitted(extreme.item(), kind, "tensor")
    return array, kind.name


NUMBERS = set(PYTHON)


def _plain(data, kinds: set):
    """Nested lists with tensors and whatever has an array as numpy arrays; the types of the numbers in them and the dtypes of
    all else are added to `kinds`."""
    types = set(map(type, data))
    if types <= NUMBERS:
        kinds |= types
        return data
    out: list = []
    for x in data:
        if isinstance(x, list | tuple):
            out.append(_plain(x, kinds))
        elif type(x) in NUMBERS:
            kinds.add(type(x))
            out.append(x)
        elif hasattr(x, "_edge"):
            kinds.add(x.dtype)
            out.append(x.numpy())
        else:
            value, kind = _from_other(x)
            kinds.add(kind)
            out.append(value)
    return out


def _from_other(x) -> tuple[Any, DType]:
    """What is no number of Python's, no list and no tensor, as something that numpy takes, and its dtype."""
    if isinstance(x, np.uint16 | np.uint32 | np.uint64):
        return x.item(), ALL["int64"]
    array = from_numpy(x if isinstance(x, np.ndarray) else np.asarray(x))
    if array.dtype.kind not in "bfiu":
        raise TypeError(
            f"can't make a tensor of {type(x).__name__} (numpy sees {array.dtype}); give numbers or arrays of numbers"
        )
    if isinstance(x, int | range):
        return array, ALL["int64"]
    kind = _nearest(array)
    return array, float32 if kind.name == "float64" and not hasattr(x, "dtype") else kind


def _largest(values) -> int:
    """The whole number that is furthest from 0 in nested lists."""
    parts = [_largest(v) if isinstance(v, list | tuple) else v for v in values]
    return max((v for v in parts if isinstance(v, int)), key=abs, default=0)


def from_numpy(array: np.ndarray) -> np.ndarray:
    """A copy of an array, or of one of a subclass, as a plain one in the machine's byte order."""
    if array.__class__ is not np.ndarray and np.ma.is_masked(array):  # numpy loads its `ma` when it is first asked for
        raise TypeError(
            "a tensor can't have masked elements; give array.filled(value), or the mask as a tensor of its own"
        )
    return np.array(array, array.dtype.newbyteorder("="), order="C")


def _nearest(array: np.ndarray) -> DType:
    """An array's dtype, or int64 for the unsigned ones that minigrad lacks."""
    name = array.dtype.name
    if name in ("uint16", "uint32", "uint64"):
        if array.size and array.max() > limits(ALL["int64"])[1]:
            raise overflow(array.max().item(), ALL["int64"], "tensor")
        return ALL["int64"]
    if name not in ALL:
        raise TypeError(f"there is no {array.dtype} in minigrad; convert the array first (has {', '.join(ALL)})")
    return ALL[name]


def supported(array, name: str | None, xp):
    """A numpy array on a backend, with the dtypes that minigrad lacks refused or brought to the nearest."""
    if array.dtype.kind == "u" and name not in (None, "int64"):
        return xp.asarray(array, name)  # floats hold what is too large for int64
    kind = _nearest(array)
    return xp.asarray(array, name or kind.name)
