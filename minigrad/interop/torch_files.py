"""PyTorch's `.pth` files: zip archives with a pickle and the bytes of the tensors.

`NAME/data.pkl` is a pickle of a dictionary, which `pickled.Machine` reads; the entry `NAME/data/KEY` holds the bytes of one
storage, uncompressed. Sizes are compared with the file before memory is taken.
"""

import io
import math
import os
import struct
import zipfile
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from minigrad.interop.layouts import shown
from minigrad.interop.pickled import LONGEST_NAME, WIDTHS, Inert, Machine, Storage, Strided
from minigrad.serialize import CheckpointError

T = TypeVar("T")
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "net")  # what is taken first
UNREAD = (
    "torch._utils._rebuild",
    "torch._tensor._rebuild",
    "torch.float",
    "torch.Q",
)  # tensors: sparse, quantised, 8 bits wide …


def load_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a `.pth` file by name, as `load_tensors` finds them; half precision comes as float32."""
    return load_tensors(path, lambda array, dtype: array.astype(np.float32) if dtype == "float16" else array)


def load_tensors(path: str | os.PathLike, make: Callable[[np.ndarray, str], T]) -> dict[str, T]:
    """The tensors of a `.pth` file (`torch.save` since PyTorch 1.6) by name, in the pickle's order.

    Training checkpoints are looked into: the first of `WRAPPERS` that holds tensors, or else the only dictionary that does; if
    several do, each name has that of its dictionary in front, as in `generator.weight`. Whatever lies beside the tensors is left
    out. At most one storage is in memory besides what was made.

    Args:
        make: gets each array and the name of its dtype in the file, and returns what shall be kept of it. The array is
            writable and nobody else's; bfloat16 comes as float32.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when it is damaged, of another format, holds no tensors, or calls what runs programs.
    """
    size = os.path.getsize(path)
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("data.pkl") and name.count("/") <= 1]
            if len(pickles) != 1:
                raise ValueError("it holds no data.pkl, as PyTorch's files do")
            prefix = pickles[0].removesuffix("data.pkl")
            machine = Machine()
            with _open(archive, pickles[0]) as entry:
                file = io.BufferedReader(entry)
                value = machine.run(file)
                while file.read(1 << 16):  # to its end, where its checksum is looked at
                    pass
            state = _state_dict(value, machine.asked)
            order = "little"
            if f"{prefix}byteorder" in archive.NameToInfo:
                with _open(archive, f"{prefix}byteorder") as entry:
                    order = entry.read(16).decode("latin-1")
            if order not in ("little", "big"):
                raise ValueError("its byte order is neither little nor big")
            return _Reader(archive, prefix, "<" if order == "little" else ">", size).tensors(state, make)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (zipfile.BadZipFile, struct.error, RuntimeError, EOFError, OSError, ArithmeticError, LookupError, TypeError,
            ValueError) as error:  # fmt: skip
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"{path} is no valid PyTorch file: {reason}; if it is damaged, copy it again") from None


def _open(archive: zipfile.ZipFile, name: str) -> Any:
    """An entry, which PyTorch never compresses."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise ValueError(f"{shown(name)} is compressed, which PyTorch's files never are")
    return archive.open(info)


# ---- the dictionary of tensors -------------------------------------------------------------------------------------


def _state_dict(value: Any, asked: list[str]) -> dict[str, Strided]:
    """The tensors of what a pickle made; `asked`: the unknown names in it.

    Raises:
        CheckpointError: when there are none, or one is made in a way that isn't known.
    """
    entries = _entries(value)
    for name, entry in entries.items():
        if isinstance(entry, Inert) and entry.maker.startswith(UNREAD):
            raise CheckpointError(
                f"its tensor {shown(name)} is of a kind that isn't read ({shown(entry.maker)}); save it as a plain tensor"
            )
    if not entries:
        unknown = (
            f"it asks for {', '.join(map(shown, asked))}, which weights don't need and which was not run; "
            if asked
            else ""
        )
        raise CheckpointError(
            f"{unknown}it holds no dictionary of tensors, neither at its top nor under {', '.join(map(repr, WRAPPERS))}; "
            "in PyTorch, save the model's state_dict()"
        )
    return {name: entry for name, entry in entries.items() if isinstance(entry, Strided)}


def _entries(value: Any) -> dict[str, Any]:
    """The dictionary of tensors in a value, with whatever else is in it; of several without a usual name, all tensors.

    Wrappers may be in one another. Each dictionary is looked at once, so that those that hold themselves come to an end.
    """
    seen: set[int] = set()

    def search(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or id(value) in seen or len(seen) > 100:
            return {}
        seen.add(id(value))
        for wrapper in WRAPPERS:
            if found := search(value.get(wrapper)):
                return found
        named = {key: entry for key, entry in value.items() if isinstance(key, str)}
        return named if any(isinstance(entry, Strided) for entry in named.values()) else {}

    if found := search(value):
        return found
    others = value.items() if isinstance(value, dict) else ()
    several = {key: inner for key, entry in others if isinstance(key, str) and (inner := search(entry))}
    if len(several) == 1:
        return next(iter(several.values()))
    return {
        f"{key[:LONGEST_NAME]}.{name}": entry
        for key, inner in several.items()
        for name, entry in inner.items()
        if isinstance(entry, Strided)
    }


# ---- their bytes ---------------------------------------------------------------------------------------------------


class _Reader:
    """Takes tensors out of an archive; all together they may not be larger than its file."""

    def __init__(self, archive: zipfile.ZipFile, prefix: str, order: str, size: int) -> None:
        self.archive, self.prefix, self.order, self.size = archive, prefix, order, size
        self.read = 0

    def tensors(self, state: dict[str, Strided], make: Callable[[np.ndarray, str], T]) -> dict[str, T]:
        needed = sum(math.prod(t.shape) * WIDTHS[t.storage.dtype] for t in set(state.values()))
        if needed > self.size:
            raise ValueError(f"its tensors would have {needed} bytes, more than the file")
        users: dict[Storage, dict[str, Strided]] = {}
        for name, tensor in state.items():
            users.setdefault(tensor.storage, {})[name] = tensor
        made: dict[str, T] = {}
        for storage, tensors in users.items():
            made |= self.of_storage(storage, tensors, make)
        return {name: made[name] for name in state}

    def of_storage(
        self, storage: Storage, tensors: dict[str, Strided], make: Callable[[np.ndarray, str], T]
    ) -> dict[str, T]:
        """The tensors of one storage, which is gone afterwards. Those that are the same, as tied weights are, are one."""
        flat, dtype, different = self.storage(storage), _dtype_name(storage), set(tensors.values())
        made = {tensor: make(self.view(flat, tensor, len(different) == 1), dtype) for tensor in different}
        return {name: made[tensor] for name, tensor in tensors.items()}

    def storage(self, storage: Storage) -> np.ndarray:
        """A storage's numbers, in the file's byte order."""
        nbytes = storage.length * WIDTHS[storage.dtype]
        self.read += nbytes
        if self.read > self.size:
            raise ValueError(f"its storages would have {self.read} bytes, more than the file")
        name = f"{self.prefix}data/{storage.key}"
        with _open(self.archive, name) as entry:
            if (stored := self.archive.getinfo(name).file_size) != nbytes:
                raise ValueError(f"storage {shown(storage.key)} has {stored} bytes, expected {nbytes}")
            raw = np.empty(nbytes, np.uint8)
            for start in range(0, nbytes, 1 << 20):
                part = entry.read(min(1 << 20, nbytes - start))
                raw[start : start + (1 << 20)] = np.frombuffer(part, np.uint8)
        if storage.dtype == "?":
            np.not_equal(raw, 0, out=raw)  # any other byte is no boolean
        return raw.view(self.order + ("u2" if storage.dtype == "bfloat16" else storage.dtype))

    def view(self, flat: np.ndarray, tensor: Strided, alone: bool) -> np.ndarray:
        """A tensor of a storage; the storage itself, where the tensor is all of it."""
        if not math.prod(tensor.shape):
            return np.zeros(tensor.shape, _dtype_name(tensor.storage).replace("bfloat16", "float32"))
        steps = [n * flat.itemsize for n in tensor.stride]
        array = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, steps, writeable=True)
        if tensor.storage.dtype == "bfloat16":
            wide = array.astype(np.uint32, order="C")
            wide <<= 16
            return wide.view(np.float32)
        if alone and array.flags.c_contiguous and array.size == flat.size and flat.dtype.isnative:
            return flat.reshape(tensor.shape)
        return array.astype(array.dtype.newbyteorder("="), order="C")


def _dtype_name(storage: Storage) -> str:
    return "bfloat16" if storage.dtype == "bfloat16" else np.dtype(storage.dtype).name
