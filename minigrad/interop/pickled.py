"""PyTorch's `.pth` files, read without unpickling.

Such a file is a zip archive: `NAME/data.pkl`, a pickle of the dictionary of tensors, and one uncompressed entry
`NAME/data/KEY` with the bytes of each storage. Pickle is a program for a stack machine, one of whose instructions calls
any function by name. The machine here knows the instructions that build numbers, strings, lists and dictionaries, and a
short list of names, each of which makes something inert; at any other name it stops. Nothing that a file says is
imported, called or trusted: sizes are compared with the archive before memory is taken.
"""

import io
import math
import os
import pickletools
import struct
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minigrad.interop.layouts import shown
from minigrad.serialize import CheckpointError

LARGEST_PICKLE = (
    2 << 20
)  # bytes; that of PVTv2-B5 with an average and AdamW's state has 0.42 MiB. One can make 100 bytes of objects.
STORAGES = {
    "DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "BFloat16Storage": "bfloat16", "LongStorage": "i8",
    "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?",
}  # fmt: skip
NESTED = ("state_dict_ema", "model_ema", "state_dict", "model")  # timm's order


class Name(NamedTuple):
    """A module's attribute that the pickle names."""

    text: str


class Storage(NamedTuple):
    """A block of numbers in the archive."""

    key: str
    dtype: str
    length: int


class Strided(NamedTuple):
    """A tensor: a view of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class Inert:
    """Stands for an object that says nothing of the weights: training arguments, a device, a dtype."""

    __slots__ = ()


def _ordered_dict() -> dict:
    return {}


def _tensor(storage=None, offset=None, shape=None, stride=None, *_) -> Strided:
    if not (
        isinstance(storage, Storage)
        and _size(offset)
        and _sizes(shape)
        and _sizes(stride)
        and len(shape) == len(stride)
    ):
        raise ValueError("a tensor has no storage, offset, shape and strides")
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if math.prod(shape) > storage.length or (math.prod(shape) and last >= storage.length) or offset > storage.length:
        raise ValueError(f"a tensor of shape {shape} doesn't lie in its storage of {storage.length} elements")
    return Strided(storage, offset, shape, stride)


def _size(value) -> bool:
    return type(value) is int and 0 <= value < 2**48


def _sizes(value) -> bool:
    return type(value) is tuple and len(value) <= 32 and all(_size(n) for n in value)


def _parameter(data=None, *_):
    return data


def _inert(*_) -> Inert:
    return Inert()


CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    **dict.fromkeys(("collections.defaultdict", "argparse.Namespace", "torch.Size", "torch.device"), _inert),
    **dict.fromkeys(
        ("pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.Path", "numpy.dtype", "_codecs.encode"), _inert
    ),
    **dict.fromkeys((f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")), _inert),
}
KNOWN = {*CALLS, *(f"torch.{name}" for name in STORAGES)}
KNOWN |= {f"torch.{kind}" for kind in ("float16", "bfloat16", "float32", "float64", "int64", "int32", "uint8", "bool")}


def _hashable(key):
    """A key that a dictionary finds quickly: hashing nested tuples can take for ever, and so can integers of equal hash."""
    if type(key) not in (str, bool, type(None)) and not (type(key) is int and -(2**60) < key < 2**60):
        raise ValueError(f"a dictionary has a {type(key).__name__} as a key, or a huge number")
    return key


LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8",
}  # fmt: skip
MAKE: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_SET": list,  # nothing asks whether something is in it
    "EMPTY_TUPLE": tuple,
}


class Machine:
    """Runs a pickle's instructions as far as they are harmless: each takes time and memory in proportion to its length."""

    def __init__(self) -> None:
        self.stack: list = []
        self.marks: list[list] = []
        self.memo: dict[int, Any] = {}

    def run(self, program: bytes) -> Any:
        """The object that the program builds.

        Raises:
            CheckpointError: when it names something that isn't known.
            ValueError, LookupError, TypeError: when it is damaged.
        """
        for code, arg, _ in pickletools.genops(io.BytesIO(program)):
            if code.name == "STOP":
                return self.stack.pop()
            self.step(code.name, arg)
        raise ValueError("it doesn't end")

    def step(self, code: str, arg: Any) -> None:
        stack = self.stack
        if code in LITERALS:
            stack.append(arg)
        elif code in MAKE:
            stack.append(MAKE[code]())
        elif code in ("PROTO", "FRAME"):
            pass
        elif code == "MARK":
            self.marks.append(stack)
            self.stack = []
        elif code in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[arg] = stack[-1]
        elif code == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif code in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[arg])
        elif code in ("GLOBAL", "STACK_GLOBAL"):
            attribute, module = (arg.split(" ", 1)[::-1]) if code == "GLOBAL" else (stack.pop(), stack.pop())
            if type(module) is not str or type(attribute) is not str:
                raise ValueError("it names something by no text")
            name = f"{module}.{attribute}"
            if name not in KNOWN:
                raise CheckpointError(
                    f"it asks for {shown(name)}, which weights don't need; it was refused and nothing was run"
                )
            stack.append(Name(name))
        elif code == "BINPERSID":
            stack.append(_storage(stack.pop()))
        elif code in ("REDUCE", "NEWOBJ"):
            args, function = stack.pop(), stack.pop()
            if not isinstance(function, Name) or type(args) is not tuple or len(args) > 16:
                raise ValueError("it calls something that is no function")
            if function.text not in CALLS:
                raise CheckpointError(
                    f"it calls {function.text}, which weights don't need; it was refused and nothing was run"
                )
            stack.append(CALLS[function.text](*args))
        elif code == "BUILD":
            stack.pop()  # attributes, of inert things
        elif code in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(code[-1])
            if len(stack) < count:
                raise IndexError("it takes from an empty stack")
            stack[-count:] = [tuple(stack[-count:])]
        elif code in ("APPEND", "SETITEM"):
            items = [stack.pop() for _ in range(1 if code == "APPEND" else 2)][::-1]
            _fill(stack[-1], items)
        elif code == "POP":
            stack.pop()
        elif code == "DUP":
            stack.append(stack[-1])
        elif code in ("TUPLE", "LIST", "DICT", "FROZENSET", "APPENDS", "SETITEMS", "ADDITEMS", "POP_MARK"):
            items, self.stack = stack, self.marks.pop()
            if code in ("APPENDS", "SETITEMS", "ADDITEMS"):
                _fill(self.stack[-1], items)
            elif code == "DICT":
                self.stack.append(_fill({}, items))
            elif code != "POP_MARK":
                self.stack.append(tuple(items) if code == "TUPLE" else items)
        else:
            raise CheckpointError(
                f"it has the instruction {code}, which weights don't need; it was refused and nothing was run"
            )


def _fill(target: Any, items: list) -> Any:
    """Appends to a list, or sets a dictionary's pairs."""
    if isinstance(target, dict):
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_hashable(key)] = value
    elif isinstance(target, list):
        target.extend(items)
    elif not isinstance(target, Inert):
        raise TypeError("it fills something that is no container")
    return target


def _storage(identity: Any) -> Storage:
    """A reference to a storage: ("storage", its type, its key, its device, how many elements)."""
    if (
        type(identity) is not tuple
        or len(identity) < 5
        or identity[0] != "storage"
        or not isinstance(identity[1], Name)
    ):
        raise ValueError("it refers to something that is no storage")
    _, kind, key, _, length = identity[:5]
    kind_name = kind.text.removeprefix("torch.")
    if kind_name not in STORAGES or type(key) is not str or not _size(length):
        raise ValueError("it refers to a storage by something other than its type, key and length")
    return Storage(key, STORAGES[kind_name], length)


def load_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a `.pth` file (`torch.save` since PyTorch 1.6) by name; half precision comes as float32.

    Training checkpoints are looked into: the first of "state_dict_ema", "model_ema", "state_dict" and "model" that there is.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when it is damaged, of another format, or asks for anything but tensors.
    """
    size = os.path.getsize(path)
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("data.pkl") and name.count("/") <= 1]
            if len(pickles) != 1:
                raise ValueError("it holds no data.pkl, as PyTorch's files do")
            prefix = pickles[0].removesuffix("data.pkl")
            state = _state_dict(Machine().run(_entry(archive, pickles[0], LARGEST_PICKLE)))
            order = (
                _entry(archive, prefix + "byteorder", 16) if prefix + "byteorder" in archive.NameToInfo else b"little"
            )
            if order not in (b"little", b"big"):
                raise ValueError("its byte order is neither little nor big")
            return _Reader(archive, prefix, "<" if order == b"little" else ">", size).arrays(state)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (zipfile.BadZipFile, struct.error, RuntimeError, EOFError, OSError, ArithmeticError, LookupError, TypeError,
            ValueError) as error:  # fmt: skip
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"{path} is no valid PyTorch file: {reason}; if it is damaged, copy it again") from None


def _entry(archive: zipfile.ZipFile, name: str, largest: int) -> bytes:
    """An entry's bytes, which PyTorch never compresses."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise ValueError(f"{shown(name)} is compressed, which PyTorch's files never are")
    if info.file_size > largest:
        raise ValueError(f"{shown(name)} has {info.file_size} bytes, more than can be")
    return archive.read(info)


def _state_dict(value: Any) -> dict[str, Strided]:
    for key in NESTED:
        if isinstance(value, dict) and isinstance(value.get(key), dict):
            value = value[key]
            break
    tensors = {k: v for k, v in value.items() if isinstance(v, Strided)} if isinstance(value, dict) else {}
    if not tensors or not all(isinstance(name, str) for name in tensors):
        raise CheckpointError('it holds no dictionary of tensors, neither at its top nor under "state_dict" or "model"')
    return tensors


class _Reader:
    """Takes tensors out of an archive; all together they may not be larger than its file."""

    def __init__(self, archive: zipfile.ZipFile, prefix: str, order: str, size: int) -> None:
        self.archive, self.prefix, self.order, self.size = archive, prefix, order, size
        self.read = 0

    def arrays(self, state: dict[str, Strided]) -> dict[str, np.ndarray]:
        needed = sum(math.prod(t.shape) * self.itemsize(t.storage) for t in state.values())
        if needed > self.size:
            raise ValueError(f"its tensors would have {needed} bytes, more than the file")
        storages: dict[str, np.ndarray] = {}
        out = {}
        for name, tensor in state.items():
            key = f"{tensor.storage.key}.{tensor.storage.dtype}"
            if key not in storages:
                storages[key] = self.storage(tensor.storage)
            out[name] = self.view(storages[key], tensor)
        return out

    @staticmethod
    def itemsize(storage: Storage) -> int:
        return 2 if storage.dtype == "bfloat16" else np.dtype(storage.dtype).itemsize

    def storage(self, storage: Storage) -> np.ndarray:
        name = f"{self.prefix}data/{storage.key}"
        nbytes = storage.length * self.itemsize(storage)
        self.read += nbytes
        if self.read > self.size:
            raise ValueError(f"its storages would have {self.read} bytes, more than the file")
        raw = _entry(self.archive, name, nbytes)
        if len(raw) != nbytes:
            raise ValueError(f"storage {shown(storage.key)} has {len(raw)} bytes, expected {nbytes}")
        return np.frombuffer(raw, self.order + ("u2" if storage.dtype == "bfloat16" else storage.dtype))

    def view(self, flat: np.ndarray, tensor: Strided) -> np.ndarray:
        if not math.prod(tensor.shape):
            return np.zeros(tensor.shape, np.float32)
        steps = [n * flat.itemsize for n in tensor.stride]
        array = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, steps, writeable=False)
        if tensor.storage.dtype == "bfloat16":
            return (array.astype(np.uint32, order="C") << 16).view(np.float32)
        if tensor.storage.dtype == "f2":
            return array.astype(np.float32, order="C")
        return array.astype(array.dtype.newbyteorder("="), order="C")
