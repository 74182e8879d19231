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


class New(NamedTuple):
    """function.__new__(function, *args), and what is given to the object after that: attributes, entries of a list or of a dictionary."""

    function: Global
    args: tuple = ()
    state: Any = None
    items: list | None = None
    entries: dict | None = None


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
        case New(function, args, state, items, entries):
            code = program(function) + program(args) + b"\x81"
            code += b"(" + b"".join(map(program, items)) + b"e" if items else b""
            code += b"(" + b"".join(program(k) + program(v) for k, v in entries.items()) + b"u" if entries else b""
            return code + (b"" if state is None else program(state) + b"b")
        case Persistent(identity):
            return program(identity) + b"Q"
        case dict():
            return b"}(" + b"".join(program(k) + program(v) for k, v in value.items()) + b"u"
        case set() | frozenset():
            return program(Call(Global("__builtin__", type(value).__name__), (list(value),)))
        case bytes():
            return b"B" + struct.pack("<I", len(value)) + value
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
            return (b"\x8a" + bytes([len(data)]) if len(data) < 256 else b"\x8b" + struct.pack("<I", len(data))) + data
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


def ndarray(count: int, nbytes: int = 8) -> Raw:
    """A numpy array as a pickle of protocol 2 has it, in so far as a reader can tell."""
    kind = Call(Global("numpy", "dtype"), ("f8", False, True))
    state = (1, (count,), kind, False, Call(Global("_codecs", "encode"), ("x" * nbytes, "latin1")))
    array = Call(Global("numpy.core.multiarray", "_reconstruct"), (Global("numpy", "ndarray"), (0,), b"b"))
    return Raw(program(array) + program(state) + b"b")


def beside() -> dict[str, Any]:
    """What lies beside the weights in training checkpoints: dates, sets, arrays, settings, objects of unknown classes."""
    stamp = Call(Global("_codecs", "encode"), ("\x07\xea\x01", "latin1"))
    return {
        "epoch": 3,
        "best": Call(Global("numpy.core.multiarray", "scalar"), (Call(Global("numpy", "dtype"), ("f8",)), b"\0" * 8)),
        "history": ndarray(3, 24),
        "sets": [{1, 2}, frozenset(("a",)), Raw(b"\x8f(K\x01K\x02\x90")],
        "when": Call(Global("datetime", "datetime"), (stamp, Call(Global("datetime", "timezone"), ()))),
        "args": New(Global("argparse", "Namespace"), (), {"lr": 0.1, "path": Call(Global("pathlib", "PosixPath"), ("a", "b"))}),
        "counts": Call(Global("collections", "Counter"), ({"a": 2},)),
        "groups": Raw(program(Call(Global("collections", "defaultdict"), (Global("__builtin__", "list"),))) + b"(X\1\0\0\0aK\1u"),
        "device": Call(Global("torch", "device"), ("cuda", 0)),
        "size": Call(Global("torch", "Size"), ((3, 4),)),
        "dtype": Global("torch", "bfloat16"),
        "partial": Raw(program(Call(Global("functools", "partial"), (Global("__builtin__", "print"),))) + program((1,)) + b"b"),
        "member": Call(Global("project.stages", "Stage"), (1,)),
        "old member": Call(Global("__builtin__", "getattr"), (Global("project.stages", "Stage"), "TRAIN")),
        "made by a method": Call(Call(Global("__builtin__", "getattr"), (Global("x", "Y"), "make")), (1,)),
        "config": New(Global("omegaconf.dictconfig", "DictConfig"), (), {"_content": {}}, entries={"a": New(Global("x", "Y"))}),
        "lists": New(Global("torch.nn.modules.container", "ParameterList"), (), None, [1, 2]),
        "keys": {(3, "pair"): 1, 0.5: 2, b"a": 3, 2**70: 4, -(2**3000): 2**3000, frozenset((1,)): 5, None: 6, True: 7},
        "text": "x" * 100_000,
    }  # fmt: skip
