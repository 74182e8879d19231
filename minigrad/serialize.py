"""Files of tensors: safetensors.

A safetensors file (https://huggingface.co/docs/safetensors) is eight bytes with the length of a header, the header
(JSON: each tensor's name, dtype, shape and place, and a dictionary of strings as metadata), then the tensors' bytes,
little endian, one after another. It holds numbers and nothing that could run. Files from outside are untrusted: what a
header says is checked against the file's size before memory is allocated. Files are read, not mapped into memory: one that
is cut short meanwhile is an error, where a mapped one would end the process.
"""

import json
import math
import os
import re
import stat
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from io import BufferedReader
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np

from minigrad import backend, checks, nested
from minigrad.backend import tracing
from minigrad.backend.default import get_default_device
from minigrad.engine.tensor import Tensor, _tensor
from minigrad.files import atomic_write

DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
}  # fmt: skip
CODES = {name: code for code, name in DTYPES.items()}
NOTE = "minigrad.structure"  # in the metadata: how the tensors lie in dicts and lists (`minigrad.nested`)
LONGEST = 100_000_000  # bytes of a header, as in the reference reader
PIECE = 1 << 18  # numbers that are converted at a time
BYTES = {name: 2 if name == "bfloat16" else np.dtype(name).itemsize for name in CODES}


class CheckpointError(ValueError):
    """A file of tensors that is damaged, of another format, or doesn't fit what it is loaded into."""


class Entry(NamedTuple):
    """What a header says of one tensor: its dtype's name, its shape, and where in the file its bytes begin."""

    dtype: str
    shape: tuple[int, ...]
    start: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * BYTES[self.dtype]


# ---- writing -------------------------------------------------------------------------------------------------------


def save(
    path: str | os.PathLike | Mapping[Any, Any],
    mapping: Mapping[Any, Any] | str | os.PathLike,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write tensors, and what lies around them, to a safetensors file, atomically (see `minigrad.files`).

    A dict from names to tensors, such as a `state_dict()`, becomes the file's tensors, which anybody reads. Anything nested is kept,
    too: its tensors become the file's tensors under their paths' names ("optimizer.state.0.exp_avg"), and a note in the
    metadata says what they lay in. `load` gives it back with its types.

    Args:
        path: the file, by convention `*.safetensors`. The path and the mapping may change places, as in `torch.save`.
        mapping: a dict of Tensors (of any device), numpy arrays, numbers, strings, booleans, None, and dicts (of string or
            integer keys), lists and tuples of these. numpy's arrays and numbers come back as tensors, other mappings as dicts.
        metadata: strings to keep beside the tensors; `read_header` returns them.

    Raises:
        TypeError: for anything else in the mapping, a dtype that the format lacks, or metadata that isn't strings.
        ValueError: for more than 64 levels, a million values or 16 MiB of text beside the tensors, and for names that
            UTF-8 can't hold.
        OSError: when the file can't be written.

    Example:
        >>> import tempfile, minigrad as mg
        >>> path = tempfile.mkdtemp() + "/run.safetensors"
        >>> mg.save(path, {"model": {"weight": mg.ones(2, 3)}, "sizes": (2, 3), "epoch": 7})
        >>> run = mg.load(path)
        >>> run["model"]["weight"].shape, run["sizes"], run["epoch"]
        ((2, 3), (2, 3), 7)
    """
    if isinstance(path, Mapping) and isinstance(mapping, str | os.PathLike):
        path, mapping = mapping, path
    atomic_write(checks.path("save", "path", path), packed(mapping, metadata))


def packed(mapping: Any, metadata: Mapping[str, str] | None = None) -> Callable[[BinaryIO], None]:
    """What `save` writes, checked: a function that writes it to a binary file. A tensor is converted when its turn comes."""
    checks.mapping("save", "mapping", mapping, "a dict from names to tensors or arrays")
    metadata = {} if metadata is None else dict(checks.mapping("save", "metadata", metadata, "a dict of strings"))
    if not all(isinstance(text, str) for item in metadata.items() for text in item):
        raise TypeError(f"metadata must map strings to strings, got {metadata!r}; use json.dumps() on the values")
    if NOTE in metadata:
        raise ValueError(f"save: metadata can't have the entry {NOTE!r}, which says how tensors lie in dicts and lists")
    tensors: dict[str, Any] = {name: _as_now(value) for name, value in mapping.items()}
    if not nested.is_flat(tensors) or "__metadata__" in tensors:
        flat, metadata[NOTE] = nested.flatten("save", tensors)
        tensors = {name: _as_now(value) for name, value in flat.items()}
    header: dict[str, dict] = {"__metadata__": metadata} if metadata else {}
    place = 0
    for name, value in tensors.items():
        dtype = _dtype_of(name, value)
        size = math.prod(value.shape) * BYTES[dtype]
        header[name] = {"dtype": CODES[dtype], "shape": value.shape, "data_offsets": (place, place + size)}
        place += size
    for text in (*tensors, *metadata, *metadata.values()):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"save: {checks.told(text)} holds half of a surrogate pair, which UTF-8 can't hold; rename it"
            ) from None
    start = json.dumps(header).encode()
    start += b" " * (-len(start) % 8)  # so that the tensors' bytes begin at a multiple of eight
    if len(start) > LONGEST:
        raise ValueError(
            f"save: the names and the metadata take {len(start):,} bytes, and at most {LONGEST:,} can be read"
        )

    def write(file: BinaryIO) -> None:
        file.write(struct.pack("<Q", len(start)) + start)
        for value in tensors.values():
            for block in _blocks(value):
                file.write(block.reshape(-1).view(np.uint8).data)

    return write


def _as_now(value: Any) -> Any:
    """A tensor that keeps its values, without a copy, when the one given is written meanwhile."""
    return _tensor(value.array, value.backend) if isinstance(value, Tensor) else value


def _dtype_of(name: str, value: Any) -> str:
    """The name of a tensor's or an array's dtype, if files can hold it."""
    dtype = value.dtype.name
    if dtype not in CODES:
        raise TypeError(f"{name!r} has dtype {dtype}, which safetensors files can't hold; convert it first")
    if value.__class__ is not np.ndarray and np.ma.is_masked(value):
        raise TypeError(f"{name!r} has masked elements, which files can't hold; save array.filled(value)")
    return dtype


def _blocks(value: Any) -> Iterator[np.ndarray]:
    """The values as contiguous little-endian arrays, one after another."""
    array = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
    if value.dtype.name != "bfloat16":
        yield np.asarray(array, array.dtype.newbyteorder("<"), order="C")
        return
    numbers = np.ascontiguousarray(array).reshape(-1)
    for i in range(0, numbers.size, PIECE):
        piece = numbers[i : i + PIECE]
        if piece.itemsize == 2:  # of a package that gives numpy a bfloat16
            yield piece.view(np.uint16).astype("<u2", copy=False)
        else:  # float32, whose upper half it is
            yield (piece.view(np.uint32) >> 16).astype("<u2")


# ---- reading -------------------------------------------------------------------------------------------------------


def read_header(path: str | os.PathLike) -> tuple[dict[str, Entry], dict[str, str]]:
    """The tensors that a safetensors file holds (name to dtype, shape and place, in the file's order) and its metadata.

    No tensor is read; the whole header is checked against the format and the file's size.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when it is damaged, cut short or of another format.
    """
    with _open(path) as file:
        return _header(path, file)[:2]


def load_arrays(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of a safetensors file by name, as numpy arrays, and its metadata. (`load` puts nested ones together.)

    Half-precision values (F16, BF16) come as float32, which holds each of them exactly: the CPU computes in float32,
    and numpy has no bfloat16. `read_header` tells what was stored.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when it is damaged, cut short or of another format.
    """
    with _open(path) as file:
        entries, metadata, _ = _header(path, file)
        return {
            name: _read(path, file, entry, "float32" if entry.dtype in ("float16", "bfloat16") else entry.dtype)
            for name, entry in entries.items()
        }, metadata


def load(path: str | os.PathLike, device: str | None = None) -> dict[Any, Any]:
    """The tensors of a safetensors file by name, on `device` (default: the default device), in the dtypes they were stored in;
    what `save` was given nested comes back nested, with its numbers, strings, lists and tuples.

    Only bfloat16 comes as float32 on the CPU, where numpy lacks it. Each value is the same, and
    `Module.load_state_dict` takes it for a parameter in bfloat16.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when it is damaged, cut short, of another format, or holds a dtype that tensors don't have
            (unsigned integers of more than 8 bits; `load_arrays` reads those).
        TypeError: for float64 on a device that lacks it.
    """
    xp = backend.get(get_default_device() if device is None else device)
    with _open(path) as file:
        entries, _, build = _header(path, file)
        for name, entry in entries.items():
            if entry.dtype in ("uint16", "uint32", "uint64"):
                raise CheckpointError(
                    f"{path}: {name!r} is {entry.dtype}, which tensors can't be; use load_arrays for it"
                )
        tensors = {name: _tensor(_read_for(xp, path, file, entry), xp) for name, entry in entries.items()}
        return tensors if build is None else build(tensors)


def _open(path: str | os.PathLike) -> BufferedReader:
    """The file, if it is one: opening a pipe would wait for somebody who writes to it."""
    path = checks.path("reading a file of tensors", "path", path)
    try:
        found = os.stat(path)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(f"{path} is a folder; give the .safetensors file in it")
        if not stat.S_ISREG(found.st_mode):
            raise CheckpointError(f"{path} is a device or a pipe, and tensors are read from a file; copy it to one")
        return open(path, "rb")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}") from None
    except ValueError as error:
        if isinstance(error, CheckpointError):
            raise
        raise ValueError(f"reading a file of tensors: {str(path)!r} can't be a path: {error}") from None


Header = tuple[dict[str, Entry], dict[str, str], Any]


def _header(path: str | os.PathLike, file: BufferedReader) -> Header:
    """The tensors, the metadata, and what makes a nested value of a dictionary of the tensors (None for a flat one)."""
    size = os.fstat(file.fileno()).st_size
    start = file.read(16)
    if start[8:9] != b"{":
        raise CheckpointError(f"{path} is not a safetensors file: {_looks_like(start)}")
    length = struct.unpack("<Q", start[:8])[0]
    if length > size - 8:
        raise CheckpointError(f"{path} has {size} bytes and its header alone {length}, it was cut short; copy it again")
    try:
        if length > LONGEST:
            raise ValueError(f"its header has {length} bytes, more than {LONGEST}")
        file.seek(8)
        entries, metadata = _parsed(file.read(length).decode(), 8 + length, size)
        build = None
        if (note := metadata.pop(NOTE, None)) is not None:
            try:
                build = nested.unflatten(note, entries)
            except ValueError as error:
                raise ValueError(f"its note on dicts and lists is damaged: {error}") from None
    except (ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{path} is no valid safetensors file: {reason[:200]}; if it is damaged, copy it again"
        ) from None
    return entries, metadata, build


TEXT = re.compile(r'"(?:[^"\\]++|\\.?)*+"?', re.DOTALL)  # of JSON; one that doesn't end reaches to the end
NESTED = re.compile(r"\[[^\]]*\[|\[[^\]]{1000}")  # a list in a list, and a list that is longer than any shape


def _parsed(text: str, origin: int, size: int) -> tuple[dict[str, Entry], dict[str, str]]:
    """The tensors, in the file's order, and the metadata of a header, checked in full: the tensors' bytes lie one after another
    from `origin` to the file's end.

    Raises:
        ValueError, TypeError, RecursionError: where it is no such header.
    """
    if NESTED.search(TEXT.sub("", text)):  # which would take much more memory than the text
        raise ValueError("its header has lists that are no shapes")
    header = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_size, parse_float=_no_size, parse_int=_size)
    metadata = header.pop("__metadata__", None)
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict) or not all(isinstance(item, str) for item in metadata.values()):
        raise ValueError("its metadata are no strings")
    for name in (*header, *metadata, *metadata.values()):
        name.encode()  # half of a surrogate pair is no text
    found = {}
    for name, fields in header.items():
        if not isinstance(fields, dict) or fields.keys() != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"{checks.told(name)} has no dtype, shape and place, or something else beside them")
        found[name] = _entry(origin, size, **fields)
    entries = dict(sorted(found.items(), key=lambda item: (item[1].start, item[1].nbytes)))
    end = origin
    for name, entry in entries.items():
        if entry.start != end:
            raise ValueError(f"{checks.told(name)} begins at byte {entry.start}, where the one before ends at {end}")
        end += entry.nbytes
    if end != size:
        raise ValueError(f"its tensors end at byte {end}, and the file at {size}")
    return entries, metadata


def _unique(pairs: list[tuple[str, object]]) -> dict:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("its header names something twice")
    return dict(pairs)


def _size(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 20 else _no_size(text)


def _no_size(text: str) -> NoReturn:
    raise ValueError(f"its header has the number {text[:20]}, which is no size")


def _entry(origin: int, size: int, dtype: str, shape: list[int], data_offsets: list[int]) -> Entry:
    """One tensor of a header, after the checks that memory safety rests on."""
    if dtype not in DTYPES:
        raise ValueError(f"it holds {checks.told(dtype)} values, and only {', '.join(DTYPES)} can be read")
    for name, numbers in (("shape", shape), ("place", data_offsets)):
        if not isinstance(numbers, list) or not all(type(n) is int for n in numbers):
            raise ValueError(f"a tensor has the {name} {str(numbers)[:80]}")
    if len(shape) > 32 or math.prod(max(n, 1) for n in shape) >= 2**60:
        raise ValueError(f"no tensor has the shape {str(shape)[:80]}")
    if len(data_offsets) != 2:
        raise ValueError(f"a tensor has the place {str(data_offsets)[:80]}")
    entry = Entry(DTYPES[dtype], tuple(shape), origin + data_offsets[0])
    if (
        min(shape, default=0) < 0
        or entry.nbytes != data_offsets[1] - data_offsets[0]
        or not (origin <= entry.start <= entry.start + entry.nbytes <= size)
    ):
        raise ValueError(f"a {dtype} tensor of shape {shape} can't lie at bytes {data_offsets}")
    return entry


def _read(path: str | os.PathLike, file: BufferedReader, entry: Entry, dtype: str) -> np.ndarray:
    """A tensor's values in `dtype`: that of the file, or float32 for its 16 bits."""
    out = np.empty(entry.shape, dtype)
    flat = out.reshape(-1)
    file.seek(entry.start)

    def fill(array: np.ndarray) -> None:
        if file.readinto(array.view(np.uint8).data) != array.nbytes:
            raise CheckpointError(f"{path} became shorter while it was read; load it again")
        if sys.byteorder == "big":
            array.byteswap(inplace=True)

    if dtype == entry.dtype:
        fill(flat)
        if dtype == "bool":
            np.not_equal(flat.view(np.uint8), 0, out=flat)  # any byte but 0 is True
        return out
    piece = np.empty(min(PIECE, flat.size), np.uint16)
    for i in range(0, flat.size, PIECE):
        part = piece[: flat.size - i]
        fill(part)
        if entry.dtype == "float16":
            flat[i : i + PIECE] = part.view(np.float16)
        else:
            flat.view(np.uint32)[i : i + PIECE] = part
            flat.view(np.uint32)[i : i + PIECE] <<= 16
    return out


def _read_for(xp: backend.Backend, path: str | os.PathLike, file: BufferedReader, entry: Entry) -> Any:
    """A tensor's values as an array of a backend. What another library must copy comes piece by piece, so that the values are
    in memory once."""
    from_file = "float32" if entry.dtype == "bfloat16" else entry.dtype
    if xp.array_type is np.ndarray:
        return _read(path, file, entry, from_file)
    count = math.prod(entry.shape)
    out = xp.zeros((count,), dtype=xp.dtype(entry.dtype))
    for i in range(0, count, PIECE):
        part = Entry(entry.dtype, (min(PIECE, count - i),), entry.start + i * BYTES[entry.dtype])
        values = xp.asarray(_read(path, file, part, from_file), entry.dtype)
        out = values if count <= PIECE else xp.set_at(out, (slice(i, i + part.shape[0]),), values)
        if tracing.port.tracer is None:
            xp.eval(out)
    return xp.reshape(out, entry.shape)


def _looks_like(start: bytes) -> str:
    if start[:2] == b"PK":
        return "it is a zip archive, perhaps a PyTorch .pth file, and pickled files are never read; convert it first"
    if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05":
        return "it is a Python pickle, which could run code and is never read; convert it first"
    return "it is empty" if not start else "its header is missing"
