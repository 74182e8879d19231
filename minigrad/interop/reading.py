"""Files and folders of weights, of whatever format: safetensors, PyTorch's `.pth`, shards with their index."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from minigrad import backend, checks, serialize
from minigrad.backend.default import get_default_device
from minigrad.callers import warn
from minigrad.engine.tensor import Tensor
from minigrad.interop import run_note
from minigrad.interop.layouts import (
    SEGFORMER,
    check_layout,
    detect_layout,
    find_prefix,
    fitting_prefixes,
    one_prefix,
    shown,
    to_native,
    unwrapped,
    wrapper_of,
)
from minigrad.serialize import CheckpointError

T = TypeVar("T")
CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
ENDINGS = (".safetensors", ".pth", ".pt", ".bin", ".tar")
LARGEST_JSON = 16 << 20  # bytes; a config.json with the names of ImageNet-22k's classes has 2 MiB


@dataclass
class Weights:
    """Arrays under our names, what the file said of them, and the folder's `config.json` if it has one. `layout` is "own" where the
    file has the names of the model that it was read for."""

    arrays: dict[str, np.ndarray]
    layout: str
    path: Path
    metadata: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] | None = None


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        FileNotFoundError: when there is no such file. CheckpointError: when it is too large, damaged, or holds no object.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"{path} is a folder; give a JSON file" if os.path.isdir(path) else f"there is no file {path}"
        )
    if os.path.getsize(path) > LARGEST_JSON:
        raise CheckpointError(f"{path} has {os.path.getsize(path)} bytes, too many for a configuration")
    try:
        value = json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path} is no valid JSON: {reason}; if it is damaged, copy it again") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds no JSON object but a {type(value).__name__}")
    return value


def find_weights(folder: Path) -> Path:
    """The file of weights in a folder: one of `WEIGHTS`, or the only file of a known ending.

    Raises:
        FileNotFoundError: when there is none, or several.
    """
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    for ending in ENDINGS:
        found = sorted(p for p in folder.glob("*" + ending) if p.is_file() and not p.name.startswith("."))
        if len(found) > 1:
            raise FileNotFoundError(
                f"{folder} holds several files of weights, {', '.join(p.name for p in found[:5])}; give one of them"
            )
        if found:
            return found[0]
    raise FileNotFoundError(f"{folder} holds no weights: neither {', '.join(WEIGHTS)} nor another {', '.join(ENDINGS)}")


def load(path: str | os.PathLike, device: str | None = None) -> dict[str, Tensor]:
    """The tensors of a file of weights under the names that they have in it: safetensors, PyTorch's `.pth` (read without PyTorch
    and without running what is in it), or the index of shards. Nothing is renamed and no model is needed.

    In a training checkpoint it is the weights that are read, from under `state_dict_ema`, `model_ema`, `state_dict`,
    `model_state_dict`, `model` or `net`, whichever comes first. Where several dictionaries of tensors have other names, each
    tensor's name has that of its dictionary in front: `generator.weight`. dtypes stay as they are; only bfloat16 comes as float32
    on the CPU, where numpy lacks it.

    Args:
        path: the file.
        device: where the tensors shall be; default: the default device.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when it is damaged, hostile, of another format, or holds a dtype that tensors don't have.
        TypeError: for float64 on a device that lacks it.

    Example:
        >>> import tempfile, minigrad as mg
        >>> folder = tempfile.mkdtemp()
        >>> mg.save(f"{folder}/theirs.safetensors", {"encoder.weight": mg.ones(2, 3), "encoder.bias": mg.zeros(2)})
        >>> tensors = mg.interop.load(f"{folder}/theirs.safetensors")  # a .pth file just as well
        >>> renamed = {name.removeprefix("encoder."): tensor for name, tensor in tensors.items()}
        >>> mg.save(f"{folder}/mine.safetensors", renamed)
        >>> mg.nn.Linear(3, 2).load_state_dict(mg.load(f"{folder}/mine.safetensors")).missing_keys
        []
    """
    file = Path(checks.path("load", "path", path))
    if file.is_dir():
        raise IsADirectoryError(f"{file} is a folder; give the file of weights in it")
    if file.name.endswith(".json"):
        return _of_shards(file, lambda part: load(part, device))
    if not is_archive(file):
        return _of_safetensors(file, lambda part: serialize.load(part, device))
    from minigrad.interop import torch_files  # brings zipfile: not while minigrad is imported

    device = get_default_device() if device is None else device
    xp = backend.get(device)

    def tensor(array: np.ndarray, dtype: str) -> Tensor:
        if dtype not in serialize.CODES or dtype in ("uint16", "uint32", "uint64"):
            raise CheckpointError(f"it holds {dtype} numbers, which tensors can't be")
        return Tensor(array, dtype if dtype in xp.dtypes or dtype != "bfloat16" else None, device)

    return torch_files.load_tensors(file, tensor)


def read_file(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of one file and its metadata; what it is, its first bytes tell. Half precision comes as float32.

    Raises:
        FileNotFoundError: when there is no such file. CheckpointError: when it is damaged, hostile or of another format.
    """
    path = Path(path)
    if path.name.endswith(".json"):
        return _of_shards(path, lambda part: read_file(part)[0]), {}
    if is_archive(path):
        from minigrad.interop import torch_files  # brings zipfile: not while minigrad is imported

        return torch_files.load_arrays(path), {}
    return _of_safetensors(path, serialize.load_arrays)


def _of_safetensors(path: Path, read: Callable[[Path], T]) -> T:
    try:
        return read(path)
    except CheckpointError as error:
        if path.suffix not in ENDINGS[1:]:
            raise
        raise CheckpointError(
            f"{error}; nor is it one of PyTorch's, a zip archive: if it is damaged, copy it again"
        ) from None


def is_archive(path: Path) -> bool:
    """Whether a file is a zip archive, as PyTorch's are, by its first bytes.

    Raises:
        FileNotFoundError: when there is no such file. CheckpointError: when it is a bare pickle.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(4)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}") from None
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise CheckpointError(
            f"{path} is a bare pickle, as PyTorch wrote before 1.6, and is never read; with a later PyTorch, "
            "torch.save(torch.load(path, weights_only=True), path) writes it anew"
        )
    return start[:2] == b"PK"


def _of_shards(index: Path, read: Callable[[Path], dict[str, T]]) -> dict[str, T]:
    """The tensors that an index file (`*.index.json`: "weight_map", from a tensor's name to its file) lists.

    Raises:
        FileNotFoundError: when the index or a shard is missing.
        CheckpointError: when the index is damaged or names a file outside its folder, or a shard lacks a tensor.
    """
    out: dict[str, T] = {}
    for name, tensors in shards(index).items():
        found = read(index.parent / name)
        lacking = [tensor for tensor in tensors if tensor not in found]
        if lacking:
            raise CheckpointError(f"{index.parent / name} lacks {shown(lacking[0])}, which {index.name} says it holds")
        out |= {tensor: found[tensor] for tensor in tensors}
    return out


def shards(index: Path) -> dict[str, list[str]]:
    """The files that an index lists, each with its tensors' names."""
    table = read_json(index).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise CheckpointError(f"{index} is no index of weights: it has no weight_map")
    files: dict[str, list[str]] = {}
    for tensor, name in table.items():
        if (
            not isinstance(name, str)
            or name != Path(name).name
            or not (name.isprintable() and len(name.encode()) < 256)
            or set(name) & set("/\\:")
            or not name.endswith(ENDINGS)  # and so it isn't ".."
        ):
            where = repr(shown(name)) if isinstance(name, str) else f"a {type(name).__name__}"
            raise CheckpointError(f"{index} puts {shown(tensor)} into {where}, which is no file of weights beside it")
        files.setdefault(name, []).append(tensor)
    return files


def layout_of(path: Path) -> str:
    """The layout of a folder or a file of weights, by its tensors' names. Raises as `read_weights`."""
    file = find_weights(path) if path.is_dir() else path
    if file.name.endswith(".json"):
        names = [name for tensors in shards(file).values() for name in tensors]
    elif file.suffix == ENDINGS[0]:
        names = list(serialize.read_header(file)[0])
    else:
        names = list(read_file(file)[0])
    plain = list(unwrapped(dict.fromkeys(names)))
    prefix = find_prefix(plain)
    return detect_layout([name.removeprefix(prefix) for name in plain if name.startswith(prefix)])


def read_weights(path: Path, layout: str | None = None, own: Mapping[str, tuple[int, ...]] | None = None) -> Weights:
    """A folder or a file. The `config.json` beside it is read when the weights have one of the names in `WEIGHTS`, and no note of a
    training run.

    A prefix of the names, such as `module.` or `backbone.`, is taken off. Tensors that lack it are left out, and a warning names
    them unless they are counters.

    Args:
        layout: that of the names; None: told by them.
        own: the names and shapes of the model that the weights are for. If they are the file's, nothing is renamed.

    Raises:
        FileNotFoundError: when there is nothing. CheckpointError: when it is damaged, hostile or holds no PVT v2, or several.
    """
    folder = path.is_dir()
    file = find_weights(path) if folder else path
    arrays, metadata = read_file(file)
    beside = file.parent / CONFIG
    described = run_note.KEY not in metadata and (
        folder or file.name in WEIGHTS
    )  # a run's config.json has its settings
    config = read_json(beside) if described and beside.is_file() else None
    try:
        if config is not None and config.get("model_type") == "segformer":
            raise CheckpointError(f"the {CONFIG} beside it is that of a SegFormer, {SEGFORMER}")
        arrays, unwanted = _behind(wrapper_of(arrays), arrays)
        found, arrays, outside = _named(unwrapped(arrays), layout, own)
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from None
    if outside := sorted(outside + unwanted):
        more = f" and {len(outside) - 5} more" if len(outside) > 5 else ""
        warn(f"{file}: {', '.join(map(shown, outside[:5]))}{more} stand outside of the model and are left out")
    return Weights(arrays, found, file, metadata, config)


def _named(
    arrays: dict[str, np.ndarray], layout: str | None, own: Mapping[str, tuple[int, ...]] | None
) -> tuple[str, dict[str, np.ndarray], list[str]]:
    """The layout of arrays, the model's own under our names, and which others there are besides counters."""
    if layout is None and own is not None:
        fitting = fitting_prefixes({name: array.shape for name, array in arrays.items()}, own)
        if "" in fitting:
            return "own", arrays, []
        if fitting:
            return "own", *_behind(one_prefix(fitting), arrays)
    try:
        inside, outside = _behind(find_prefix(arrays), arrays)
        found = detect_layout(inside)
        if layout is not None and check_layout(layout) != found:
            raise CheckpointError(f"its names are those of the layout {found!r}, not {layout!r}; leave layout out")
        inside = to_native(inside, found)
    except CheckpointError:
        if layout is None and own is not None and any(name in own for name in arrays):
            return "own", arrays, []
        raise
    if layout is None and own is not None and sum(name in own for name in arrays) > sum(name in own for name in inside):
        return "own", arrays, []
    return found, inside, outside


def _behind(prefix: str, arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays behind a prefix without it, and the names of those elsewhere that are no counters."""
    inside = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    outside = [name for name, array in arrays.items() if not name.startswith(prefix)]
    return inside, [name for name in outside if arrays[name].size != 1 or arrays[name].dtype.kind not in "iub"]
