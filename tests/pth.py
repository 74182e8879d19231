"""Writes PyTorch's `.pth` format (a zip archive around a pickle of protocol 2) byte by byte, for files that PyTorch itself
would not write."""

import struct
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

STORAGES = {
    "f8": "DoubleStorage",
    "f4": "FloatStorage",
    "f2": "HalfStorage",
    "u2": "BFloat16Storage",
    "i8": "LongStorage",
}


class Global(NamedTuple):
    """A function or class by name."""

    module: str
    name: str


class Call(NamedTuple):
    """function(*args), which a pickle runs when it is loaded."""

    function: Global
    args: tuple


class Persistent(NamedTuple):
    """A reference to something outside of the pickle."""

    value: Any


class Raw(NamedTuple):
    """Instructions as they are."""

    code: bytes


REBUILD = Global("torch._utils", "_rebuild_tensor_v2")


def program(value) -> bytes:
    """The instructions that build a value."""
    match value:
        case Raw(code):
            return code
        case Global(module, name):
            return b"c" + module.encode() + b"\n" + name.encode() + b"\n"
        case Call(function, args):
            return program(function) + program(args) + b"R"
        case Persistent(identity):
            return program(identity) + b"Q"
        case dict():
            return b"}(" + b"".join(program(k) + program(v) for k, v in value.items()) + b"u"
        case list():
            return b"](" + b"".join(map(program, value)) + b"e"
        case tuple():
            return b"(" + b"".join(map(program, value)) + b"t"
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(data)]) + data
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    raise TypeError(type(value))


def pickled(value) -> bytes:
    """A whole pickle of protocol 2."""
    return b"\x80\x02" + program(value) + b"."


def storage(key: str, dtype: str, length: int) -> Persistent:
    return Persistent(("storage", Global("torch", STORAGES[dtype]), key, "cpu", length))


def tensor(key: str, array: np.ndarray, **changes) -> Call:
    """A contiguous tensor in a storage of its own. `changes`: of length, offset, shape, stride."""
    length = changes.get("length", array.size)
    stride = tuple(n // array.itemsize for n in np.ascontiguousarray(array).strides)
    place = (changes.get("offset", 0), changes.get("shape", array.shape), changes.get("stride", stride))
    return Call(
        REBUILD,
        (storage(key, array.dtype.str[1:], length), *place, False, Call(Global("collections", "OrderedDict"), ())),
    )


def write(path: Path, value, arrays: dict[str, np.ndarray], order: str = "little", name: str = "archive") -> Path:
    """A `.pth` file of a value (or raw pickle) with the storages that it refers to."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/data.pkl", value if isinstance(value, bytes) else pickled(value))
        archive.writestr(f"{name}/byteorder", order)
        for key, array in arrays.items():
            archive.writestr(f"{name}/data/{key}", array.astype(array.dtype.newbyteorder(order)).tobytes())
        archive.writestr(f"{name}/version", "3\n")
    return path


def write_state(path: Path, state: dict[str, np.ndarray], **around) -> Path:
    """A state dict; with `around`, {"model": the state dict, **around}."""
    tensors = {name: tensor(str(i), array) for i, (name, array) in enumerate(state.items())}
    return write(
        path, {"model": tensors, **around} if around else tensors, {str(i): a for i, a in enumerate(state.values())}
    )
