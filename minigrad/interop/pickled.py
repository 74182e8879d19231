"""A pickle of PyTorch's, read without Python's `pickle`: what its tensors are, and nothing that could run.

Pickle is a program for a stack machine, one of whose instructions calls any function by name. The machine here knows the
instructions that build numbers, strings, lists and dictionaries, and the few names that make tensors. A call of any other
name makes an `Inert` object, which only remembers that name: training arguments, dates, numpy arrays and objects of unknown
classes can lie beside the weights. Nothing that a file says is imported or called.

Time and memory grow with the length of the program and no faster: each instruction does a bounded amount of work, there are
at most `MOST_INSTRUCTIONS`, long texts are skipped, and no value is compared, hashed or walked through.
"""

import math
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from minigrad.interop.instructions import LENGTHS, MOST_INSTRUCTIONS, instructions
from minigrad.interop.layouts import shown
from minigrad.serialize import CheckpointError

LONGEST_NAME = 200  # characters of a class's name that are kept
MOST_NAMES = 10_000  # of functions and classes
STORAGES = {
    "DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "BFloat16Storage": "bfloat16", "LongStorage": "i8",
    "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?",
    "ComplexFloatStorage": "c8", "ComplexDoubleStorage": "c16", "UntypedStorage": "u1", "storage.UntypedStorage": "u1",
}  # fmt: skip
DTYPES = {
    "float64": "f8", "float32": "f4", "float16": "f2", "bfloat16": "bfloat16", "int64": "i8", "int32": "i4", "int16": "i2",
    "int8": "i1", "uint8": "u1", "bool": "?", "uint16": "u2", "uint32": "u4", "uint64": "u8", "complex64": "c8",
    "complex128": "c16",
}  # fmt: skip
WIDTHS = {"bfloat16": 2, "?": 1, **{code: int(code[1:]) for code in DTYPES.values() if code not in ("bfloat16", "?")}}

# What runs programs: a file that calls it is meant to do harm, or holds something other than a checkpoint.
PROGRAMS = {
    "os", "posix", "nt", "subprocess", "sys", "importlib", "runpy", "shutil", "socket", "ctypes", "code", "pty", "pickle",
    "_pickle", "marshal", "commands",
}  # fmt: skip
BUILTIN_CLASSES = {
    "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "getattr", "int", "list", "long", "memoryview",
    "object", "range", "set", "slice", "str", "tuple", "type", "unicode", "xrange",
}  # fmt: skip


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
    """Stands for an object that isn't read; `maker` is the name that was called, or says what it is."""

    __slots__ = ("maker",)

    def __init__(self, maker: str) -> None:
        self.maker = maker


# ---- tensors -------------------------------------------------------------------------------------------------------


def _tensor(storage=None, offset=None, shape=None, stride=None, _grad=None, _hooks=None, about=None, *_):
    if isinstance(storage, Inert):
        return storage
    if about:  # conjugated or negated numbers
        return Inert("torch._utils._rebuild_tensor_v2 with a flag")
    if not (
        isinstance(storage, Storage)
        and _size(offset)
        and _sizes(shape)
        and _sizes(stride)
        and len(shape) == len(stride)
    ):
        raise ValueError("a tensor has no storage, offset, shape and strides")
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if (
        math.prod(shape) and last >= storage.length
    ) or offset > storage.length:  # several may lie at one place: `expand`
        raise ValueError(f"a tensor of shape {shape} doesn't lie in its storage of {storage.length} elements")
    return Strided(storage, offset, shape, stride)


def _tensor_of_dtype(
    storage=None, offset=None, shape=None, stride=None, grad=None, hooks=None, dtype=None, about=None, *_
):
    """A tensor whose storage is bytes: of the dtypes that PyTorch has added since 2.0."""
    code = DTYPES.get(dtype.text.removeprefix("torch.")) if isinstance(dtype, Name) else None
    if code is None:
        return Inert(dtype.text if isinstance(dtype, Name) else "torch._utils._rebuild_tensor_v3")
    if isinstance(storage, Storage):
        nbytes = storage.length * WIDTHS[storage.dtype]
        if nbytes % WIDTHS[code]:
            raise ValueError(f"a storage of {nbytes} bytes holds no whole number of {dtype.text}")
        storage = Storage(storage.key, code, nbytes // WIDTHS[code])
    return _tensor(storage, offset, shape, stride, grad, hooks, about)


def _size(value) -> bool:
    return type(value) is int and 0 <= value < 2**48


def _sizes(value) -> bool:
    return type(value) is tuple and len(value) <= 32 and all(_size(n) for n in value)


def _parameter(data=None, *_):
    return data


def _attributed(function=None, _kind=None, args=None, *_):
    """A tensor that has attributes of its own, or is of a class derived from Tensor."""
    name = function.text if isinstance(function, Name) else ""
    if name in TENSORS and type(args) is tuple and len(args) <= 16:
        return TENSORS[name](*args)
    return Inert(name or "torch._tensor._rebuild_from_type_v2")


TENSORS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}
CALLS: dict[str, Callable[..., Any]] = {
    **TENSORS,
    "torch._tensor._rebuild_from_type": _attributed,
    "torch._tensor._rebuild_from_type_v2": _attributed,
}
DICTIONARIES = ("collections.OrderedDict", "collections.defaultdict")


def _storage(identity: Any) -> Storage | Inert:
    """A reference to a storage: ("storage", its type, its key, its device, how many elements)."""
    if (
        type(identity) is not tuple
        or len(identity) < 5
        or identity[0] != "storage"
        or not isinstance(identity[1], Name)
    ):
        raise ValueError("it refers to something that is no storage")
    _, kind, key, _, length = identity[:5]
    if type(key) is not str or not _size(length):
        raise ValueError("it refers to a storage by something other than its type, key and length")
    code = STORAGES.get(kind.text.removeprefix("torch."))
    return Inert(kind.text) if code is None else Storage(key, code, length)


# ---- the machine ---------------------------------------------------------------------------------------------------

LITERALS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "FLOAT", "BINFLOAT", "STRING", "UNICODE", *LENGTHS}
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
    """Runs a pickle's instructions as far as they are harmless.

    `asked` holds the first names that it came across and that make something inert.
    """

    def __init__(self) -> None:
        self.stack: list = []
        self.marks: list[list] = []
        self.memo: dict[int, Any] = {}
        self.names: dict[str, Name] = {}
        self.inert: dict[str, Inert] = {}
        self.asked: list[str] = []
        self.copied = 0

    def run(self, file: BinaryIO) -> Any:
        """The object that the program builds.

        Raises:
            CheckpointError: when it calls what runs programs.
            ValueError, LookupError, TypeError: when it is damaged, or too long.
        """
        for code, arg in instructions(file):
            if code == "STOP":
                return self.stack.pop()
            self.step(code, arg)
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
            stack.append(self.name(f"{module[:LONGEST_NAME]}.{attribute[:LONGEST_NAME]}"))
        elif code == "BINPERSID":
            stack.append(_storage(stack.pop()))
        elif code in ("REDUCE", "NEWOBJ"):
            args, function = stack.pop(), stack.pop()
            stack.append(self.call(function, args))
        elif code == "NEWOBJ_EX":
            _, args, function = stack.pop(), stack.pop(), stack.pop()
            stack.append(self.call(function, args))
        elif code == "BUILD":
            stack.pop()  # attributes, of a dictionary or of something inert
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
        elif code in ("TUPLE", "LIST", "DICT", "FROZENSET", "APPENDS", "SETITEMS", "ADDITEMS", "POP_MARK", "OBJ"):
            items, self.stack = stack, self.marks.pop()
            if code in ("APPENDS", "SETITEMS", "ADDITEMS"):
                _fill(self.stack[-1], items)
            elif code == "DICT":
                self.stack.append(_fill({}, items))
            elif code == "OBJ":
                self.stack.append(self.call(items[0], tuple(items[1:])))
            elif code != "POP_MARK":
                self.stack.append(tuple(items) if code == "TUPLE" else items)
        else:
            raise CheckpointError(
                f"it has the instruction {code}, which weights don't need; it was refused and nothing was run"
            )

    def name(self, text: str) -> Name:
        """The name itself, kept once however often the program has it."""
        text = text[:LONGEST_NAME]
        if text not in self.names:
            if len(self.names) == MOST_NAMES:
                raise ValueError(f"it names more than {MOST_NAMES} functions and classes")
            if len(self.asked) < 3 and not _known(text):
                self.asked.append(text)
            self.names[text] = Name(text)
        return self.names[text]

    def call(self, function: Any, args: Any) -> Any:
        """What a call makes: a tensor, a dictionary, or something inert."""
        if not isinstance(function, Name | Inert) or type(args) is not tuple:
            raise ValueError("it calls something that is no function")
        if isinstance(function, Inert):  # functools.partial, a method
            return function
        text = function.text
        module, _, attribute = text.partition(".")
        if module in PROGRAMS or (module in ("builtins", "__builtin__") and not _is_class(attribute)):
            raise CheckpointError(
                f"it asks for {shown(text)}, which weights don't need; it was refused and nothing was run"
            )
        if module == "torch" and attribute in STORAGES:
            raise CheckpointError(
                f"it calls {shown(text)}, which weights don't need; it was refused and nothing was run"
            )
        if text in CALLS:
            return CALLS[text](*args[:16])
        if text in DICTIONARIES:
            return self.dictionary(args)
        if attribute == "getattr" and len(args) == 2 and isinstance(args[0], Name) and type(args[1]) is str:
            return self.name(f"{args[0].text}.{args[1][:LONGEST_NAME]}")  # a method, or the member of an enumeration
        return self.inert.setdefault(text, Inert(text))

    def dictionary(self, args: tuple) -> dict:
        """A dictionary, empty or of a list of pairs, as Python 2 wrote them."""
        out: dict = {}
        pairs = args[-1] if args and type(args[-1]) is list else []
        self.copied += len(pairs)
        if self.copied > MOST_INSTRUCTIONS // 8:
            raise ValueError("it makes too many dictionaries of one list")
        for pair in pairs:
            if type(pair) not in (list, tuple) or len(pair) != 2:
                raise ValueError("it makes a dictionary of something other than pairs")
            _fill(out, list(pair))
        return out


def _known(text: str) -> bool:
    """Whether a name is one of those that weights are made of."""
    return text in CALLS or text in DICTIONARIES or text.removeprefix("torch.") in {**STORAGES, **DTYPES}


def _is_class(attribute: str) -> bool:
    """Whether one of Python's built-in names is that of a class or an exception."""
    return attribute in BUILTIN_CLASSES or attribute[:1].isupper()


def _fill(target: Any, items: list) -> Any:
    """Appends to a list, or sets a dictionary's pairs. Only keys that are found quickly are kept: to hash nested tuples can
    take for ever, and so can to find one of many numbers of equal hash."""
    if isinstance(target, dict):
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) in (str, bytes, bool, float, type(None)) or (type(key) is int and -(2**60) < key < 2**60):
                target[key] = value
    elif isinstance(target, list):
        target.extend(items)
    elif not isinstance(target, Inert):
        raise TypeError("it fills something that is no container")
    return target
