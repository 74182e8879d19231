"""Files: tensors as safetensors, and writing that leaves either the whole new file or the old one.

A safetensors file (https://huggingface.co/docs/safetensors) is eight bytes with the length of a header, the header
(JSON: each tensor's name, dtype, shape and place, and a dictionary of strings as metadata), then the tensors' bytes,
little endian, one after another. It holds numbers and nothing that could run. Files from outside are untrusted: what a
header says is checked against the file's size before memory is allocated.
"""

import json
import math
import os
import struct
from collections.abc import Callable, Mapping
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from minigrad import backend, checks
from minigrad.backend.default import get_default_device
from minigrad.engine.tensor import Tensor

DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
}  # fmt: skip
CODES = {name: code for code, name in DTYPES.items()}
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


def atomic_write(path: str | os.PathLike, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file so that, whatever happens, `path` holds either all of the new content or what it held before.

    The content goes to a temporary file in the same folder, which is flushed to the disk and then renamed; at last the
    folder is flushed. On an error (or Ctrl-C) the temporary file is removed.

    Args:
        path: the file to write; its folder must exist.
        content: the bytes, or a function that writes them to the binary file it is given
            (`lambda file: image.save(file, "PNG")`).

    Raises:
        OSError: of the kind that the system reports (FileNotFoundError, PermissionError, …), naming `path`.
    """
    path = Path(checks.path("atomic_write", "path", path))
    if not callable(content) and not isinstance(content, bytes | bytearray | memoryview):
        raise checks.wrong("atomic_write", "content", "bytes or a function that writes them", content)
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        if os.name == "posix":  # elsewhere a folder can't be opened
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        raise type(error)(f"can't write {path}: {error.strerror or error}") from error
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def atomic_write_text(path: str | os.PathLike, text: str) -> None:
    """`atomic_write` for text, in UTF-8."""
    atomic_write(path, checks.text("atomic_write_text", "text", text).encode())


def atomic_write_json(path: str | os.PathLike, value) -> None:
    """`atomic_write` for a value that JSON can hold, indented by two spaces.

    Raises:
        TypeError, ValueError: for what JSON can't hold (NaN and infinities among it), before anything is written.
    """
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise type(error)(f"atomic_write_json: JSON can't hold the value: {error}") from None
    atomic_write_text(path, text + "\n")


def save(
    path: str | os.PathLike,
    mapping: Mapping[str, Tensor | np.ndarray | np.generic],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write named tensors to a safetensors file, atomically (see `atomic_write`).

    Args:
        path: the file, by convention `*.safetensors`.
        mapping: names to Tensors (of any device) or numpy arrays, such as a `state_dict()`.
        metadata: strings to keep beside the tensors; `read_header` returns them.

    Raises:
        TypeError: for a name or metadata that isn't a string, a value that is no tensor, a dtype the format lacks.
        OSError: when the file can't be written.

    Example:
        >>> import tempfile, minigrad as mg
        >>> path = tempfile.mkdtemp() + "/layer.safetensors"
        >>> mg.save(path, {"weight": mg.ones(2, 3)}, metadata={"epoch": "7"})
        >>> mg.load(path)["weight"].shape
        (2, 3)
    """
    path = checks.path("save", "path", path)
    checks.mapping("save", "mapping", mapping, "a dict from names to tensors or arrays")
    metadata = {} if metadata is None else dict(checks.mapping("save", "metadata", metadata, "a dict of strings"))
    if not all(isinstance(text, str) for item in metadata.items() for text in item):
        raise TypeError(f"metadata must map strings to strings, got {metadata!r}; use json.dumps() on the values")
    header: dict[str, dict] = {"__metadata__": metadata} if metadata else {}
    blocks, place = [], 0
    for name, value in mapping.items():
        if not isinstance(name, str) or name == "__metadata__":
            raise TypeError(f"a tensor's name must be a string other than '__metadata__', got {name!r}")
        dtype, block = _bytes_of(name, value)
        header[name] = {"dtype": CODES[dtype], "shape": block.shape, "data_offsets": (place, place + block.nbytes)}
        blocks.append(block)
        place += block.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the tensors' bytes begin at a multiple of eight

    def write(file: BinaryIO) -> None:
        file.write(struct.pack("<Q", len(text)) + text)
        for block in blocks:
            file.write(block.reshape(-1).view(np.uint8).data)

    atomic_write(path, write)


def _bytes_of(name: str, value) -> tuple[str, np.ndarray]:
    """The dtype's name, and the values as a contiguous little-endian array (bfloat16: the upper half of float32)."""
    if isinstance(value, Tensor):
        dtype, array = value.dtype.name, value.numpy()
    elif isinstance(value, np.ndarray | np.generic):
        dtype, array = value.dtype.name, np.asarray(value)
    else:
        raise TypeError(f"{name!r} must be a Tensor or a numpy array to be saved, got {type(value).__name__}")
    if dtype not in CODES:
        raise TypeError(f"{name!r} has dtype {dtype}, which safetensors files can't hold; convert it first")
    array = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
    if dtype == "bfloat16":
        array = (array.view(np.uint32) >> 16).astype("<u2")
    return dtype, array


# ---- reading -------------------------------------------------------------------------------------------------------


def read_header(path: str | os.PathLike) -> tuple[dict[str, Entry], dict[str, str]]:
    """The tensors that a safetensors file holds (name to dtype, shape and place, in the file's order) and its metadata.

    No tensor is read; the whole header is checked against the format and the file's size.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when it is damaged, cut short or of another format.
    """
    with _open(path) as file:
        return _header(path, file)


def load_arrays(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of a safetensors file as numpy arrays, and its metadata.

    Half-precision values (F16, BF16) come as float32, which holds each of them exactly: the CPU computes in float32,
    and numpy has no bfloat16. `read_header` tells what was stored.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when it is damaged, cut short or of another format.
    """
    with _open(path) as file:
        entries, metadata = _header(path, file)
        return {name: _read(path, file, entry) for name, entry in entries.items()}, metadata


def load(path: str | os.PathLike, device: str | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name, on `device` (default: the default device), in the dtypes they were stored in.

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
        entries, _ = _header(path, file)
        for name, entry in entries.items():
            if entry.dtype in ("uint16", "uint32", "uint64"):
                raise CheckpointError(
                    f"{path}: {name!r} is {entry.dtype}, which tensors can't be; use load_arrays for it"
                )
        kept = {name: None if entry.dtype not in xp.dtypes else entry.dtype for name, entry in entries.items()}
        return {name: Tensor(_read(path, file, entry), kept[name], device) for name, entry in entries.items()}


def _open(path: str | os.PathLike) -> BufferedReader:
    if os.path.isdir(checks.path("reading a file of tensors", "path", path)):
        raise IsADirectoryError(f"{path} is a folder; give the .safetensors file in it")
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}") from None


def _header(path: str | os.PathLike, file: BufferedReader) -> tuple[dict[str, Entry], dict[str, str]]:
    size = os.fstat(file.fileno()).st_size
    start = file.read(16)
    if start[8:9] != b"{":
        raise CheckpointError(f"{path} is not a safetensors file: {_looks_like(start)}")
    length = struct.unpack("<Q", start[:8])[0]
    if length > size - 8:
        raise CheckpointError(f"{path} has {size} bytes and its header alone {length}, it was cut short; copy it again")
    try:
        with safe_open(path, framework="numpy"):  # the reference reader: JSON, dtypes, sizes, overlaps, gaps, the end
            pass
        file.seek(8)
        header = json.loads(file.read(length), object_pairs_hook=_unique)
        metadata = header.pop("__metadata__", None) or {}
        entries = {name: _entry(8 + length, size, **fields) for name, fields in header.items()}
    except (SafetensorError, ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).removeprefix("Error while deserializing header: ").split())
        raise CheckpointError(
            f"{path} is no valid safetensors file: {reason[:200]}; if it is damaged, copy it again"
        ) from None
    return dict(sorted(entries.items(), key=lambda item: item[1].start)), metadata


def _unique(pairs: list[tuple[str, object]]) -> dict:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("its header names something twice")
    return dict(pairs)


def _entry(origin: int, size: int, dtype: str, shape: list[int], data_offsets: list[int]) -> Entry:
    """One tensor of a header, after the checks that memory safety rests on, whatever another reader accepts."""
    if dtype not in DTYPES:
        raise ValueError(f"it holds {dtype} values, and only {', '.join(DTYPES)} can be read")
    entry = Entry(DTYPES[dtype], tuple(shape), origin + data_offsets[0])
    if len(shape) > 32 or math.prod(max(n, 1) for n in shape) >= 2**60:
        raise ValueError(f"no tensor has the shape {str(shape)[:80]}")
    if (
        min(shape, default=0) < 0
        or entry.nbytes != data_offsets[1] - data_offsets[0]
        or not (origin <= entry.start <= entry.start + entry.nbytes <= size)
    ):
        raise ValueError(f"a {dtype} tensor of shape {shape} can't lie at bytes {data_offsets}")
    return entry


def _read(path: str | os.PathLike, file: BufferedReader, entry: Entry) -> np.ndarray:
    stored = "<u2" if entry.dtype == "bfloat16" else np.dtype(entry.dtype).newbyteorder("<")
    raw = np.empty(entry.nbytes, np.uint8)
    file.seek(entry.start)
    if file.readinto(raw.data) != raw.nbytes:
        raise CheckpointError(f"{path} became shorter while it was read; load it again")
    if entry.dtype == "bool":
        return (raw != 0).reshape(entry.shape)
    array = raw.view(stored)
    if entry.dtype == "bfloat16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    elif entry.dtype == "float16":
        array = array.astype(np.float32)
    return array.astype(array.dtype.newbyteorder("="), copy=False).reshape(entry.shape)


def _looks_like(start: bytes) -> str:
    if start[:2] == b"PK":
        return "it is a zip archive, perhaps a PyTorch .pth file, which minigrad.interop.load reads"
    if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05":
        return "it is a Python pickle, which could run code and is never read; convert it first"
    return "it is empty" if not start else "its header is missing"
