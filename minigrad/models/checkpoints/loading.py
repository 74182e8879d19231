"""Models with stored weights: from a folder, a file or the hub, in any layout."""

import contextlib
import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np

from minigrad import checks
from minigrad.callers import warn
from minigrad.engine.tensor import Tensor
from minigrad.interop.hub import locate
from minigrad.interop.layouts import shown
from minigrad.interop.reading import CONFIG, Weights, read_json, read_weights
from minigrad.interop.run_note import RunNote
from minigrad.models.checkpoints.describing import (
    FROM_SHAPES,
    Description,
    describe,
    describe_given,
    describe_metadata,
    expected_shapes,
    resolve,
    run_config,
)
from minigrad.models.pvt_v2.backbone import PVTV2Backbone, PVTV2Model
from minigrad.models.pvt_v2.config import PVTV2Config
from minigrad.models.pvt_v2.encoder import warn_constant_attention
from minigrad.models.pvt_v2.model import PVT_V2
from minigrad.nn import Module, init
from minigrad.nn.state import Differences, compared
from minigrad.serialize import CheckpointError, load_arrays, read_header

M = TypeVar("M", bound=Module)


def load_weights(model: Module, path: str | os.PathLike, layout: str | None = None, strict: bool = True) -> Differences:
    """Loads weights into a model: a file (safetensors, PyTorch's `.pth`, the index of shards) or a folder, cast to the model's dtype.

    The names are the model's own, whatever model it is, or those of a PVT v2 in any known layout; either may have a prefix, such as
    `module.`. Tensors without the prefix are left out with a warning, and so is a classifier where the model's class has none.

    Args:
        layout: "timm", "original" (also Lucid's) or "hf"; None: told by the names.
        strict: whether missing and unexpected tensors are errors; if not, a warning names the missing ones, which keep their values.
            Shapes must match in any case.

    Raises:
        ValueError: listing every missing, unexpected and mis-shaped tensor.
        CheckpointError: when the file is damaged, hostile, of another format, or holds two models or integers for weights.
    """
    checks.instance("load_weights", "model", model, Module, "a module")
    own = model.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
    weights = read_weights(Path(checks.path("load_weights", "path", path)), layout, shapes)
    arrays = weights.arrays
    if not hasattr(model, "head"):
        arrays = {name: array for name, array in arrays.items() if not name.startswith("head.")}
    _floating({k: v for k, v in arrays.items() if k in own and own[k].dtype.is_floating_point}, weights.path)
    state = {k: Tensor(v, own[k].dtype, own[k].device) if k in own else v for k, v in arrays.items()}
    compared("load_weights", str(weights.path), own, state, strict)
    found = model.load_state_dict(state, strict=strict)
    if found.missing_keys:
        warn(f"{weights.path} lacks {_some(found.missing_keys)}, which the model keeps as they were")
    return found


@overload
def from_pretrained(
    source: str | os.PathLike, *, config: PVTV2Config | str | os.PathLike | None = None, num_classes: int | None = None,
    in_channels: int | None = None, layout: str | None = None, model_class: None = None, strict: bool = True,
    local_files_only: bool = False, cache_dir: str | os.PathLike | None = None, revision: str | None = None,
    **config_fields: Any,
) -> PVT_V2: ...  # fmt: skip


@overload
def from_pretrained(
    source: str | os.PathLike, *, config: PVTV2Config | str | os.PathLike | None = None, num_classes: int | None = None,
    in_channels: int | None = None, layout: str | None = None, model_class: type[M], strict: bool = True,
    local_files_only: bool = False, cache_dir: str | os.PathLike | None = None, revision: str | None = None,
    **config_fields: Any,
) -> M: ...  # fmt: skip


def from_pretrained(
    source: str | os.PathLike, *, config: PVTV2Config | str | os.PathLike | None = None, num_classes: int | None = None,
    in_channels: int | None = None, layout: str | None = None, model_class: type | None = None, strict: bool = True,
    local_files_only: bool = False, cache_dir: str | os.PathLike | None = None, revision: str | None = None,
    **config_fields: Any,
) -> Module:  # fmt: skip
    """A model with stored weights, in eval mode: timm's, Hugging Face's (classifier or bare encoder), the original's, Lucid's,
    or minigrad's own.

    The configuration is that of `config.json` beside the weights, checked against their shapes; without one it comes from the
    shapes, the number of heads from the published models of these widths. ε is that of the origin: 1e-6 everywhere for Hugging
    Face's weights, 1e-6 and 1e-5 for all others.

    Args:
        source: a folder; a file (`.safetensors`, `.pth`, `.bin`, `*.index.json`), where `.pth` is read without executing what it
            says; or a name on the Hugging Face hub (`OpenGVLab/pvt_v2_b0`, `timm/pvt_v2_b0.in1k`), which takes the extra `hub`.
        config: the configuration to use, or a JSON file with it in Hugging Face's format, timm's or ours.
        num_classes: another number of classes replaces the classifier by an untrained one, with a warning; 0 leaves it out.
        in_channels: another number of channels adapts the first convolution as timm does: for 1 the sum over the channels,
            otherwise the channels over and over, scaled by (channels then / channels now).
        layout: "timm", "original" or "hf"; None: told by the names.
        model_class: `PVT_V2` when None (without a classifier for a bare encoder); or another that takes a `PVTV2Config`.
        strict: whether missing and unexpected tensors are errors.
        local_files_only, cache_dir, revision: of the hub: use the cache alone; the cache's folder; a branch, tag or commit.
        config_fields: fields of `PVTV2Config` to change, such as `drop_path_rate=0.1`; and what `model_class` takes besides.

    The classes' names, where the checkpoint tells them, are in the model's `id2label`.

    Raises:
        FileNotFoundError: when there is nothing. HubError: when the hub can't be reached or lacks it.
        CheckpointError: when it is damaged, hostile, no PVT v2, or doesn't fit its configuration.
        TypeError: when `strict` and a `model_class` lacks some of the weights' names.
        ValueError: when the number of heads isn't known, or a field doesn't fit.
    """
    model_class = PVT_V2 if model_class is None else model_class
    if not isinstance(model_class, type):
        raise checks.wrong("from_pretrained", "model_class", "a class of models", model_class)
    weights = read_weights(
        locate(source, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only), layout
    )
    extra = {name: config_fields.pop(name) for name in list(config_fields) if _takes(model_class, name)}
    settings, said = _settings(weights, config, config_fields)
    given = {"num_classes": num_classes, "in_channels": in_channels}
    settings = settings.replace(**{name: value for name, value in given.items() if value is not None})
    if said.out_features is not None and _takes(model_class, "out_features") and "out_indices" not in extra:
        extra.setdefault("out_features", said.out_features)

    classifier, whole = issubclass(model_class, PVT_V2), model_class in (PVT_V2, PVTV2Model, PVTV2Backbone)
    fit = settings if classifier else settings.replace(num_classes=0)
    arrays = _fitted(weights, fit)
    complete = _check(arrays, expected_shapes(fit), weights.path, strict)
    with init.no_weights() if complete and whole else contextlib.nullcontext():
        model = model_class(settings, **extra)
    if "head.weight" in arrays and said.id2label is not None:
        model.id2label = said.id2label
    weights.arrays.clear()  # so that no array is kept beside its tensor
    own = model.state_dict()
    state = {name: Tensor(arrays.pop(name), dtype=tensor.dtype) for name, tensor in own.items() if name in arrays}
    if arrays and strict:
        raise TypeError(
            f"{model_class.__name__} has no place for {_some(list(arrays))} of {weights.path}; load a PVT_V2 or PVTV2Backbone, and "
            "give it to your model"
        )
    model.load_state_dict(state, strict=False)
    if complete and whole:
        warn_constant_attention(model.config)
    return model.eval()


def load_run(path: Path) -> tuple[PVT_V2, RunNote]:
    """The model of a training run's weights, in evaluation mode, and the note in them. The note and the shapes in the file's header
    are compared before the weights are read, so that memory and time are those of the weights that there are.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when it is damaged, has no note, holds numbers that aren't finite, or doesn't fit its note.
    """
    entries, metadata = read_header(path)
    note = RunNote.of(metadata, path)
    if note is None:
        raise CheckpointError(f"{path} doesn't say what model it is of; give one that training wrote")
    config = run_config(note, path)
    with init.no_weights():
        model = PVT_V2(checked_config(config, entries, path))
    arrays = load_arrays(path)[0]
    own = model.state_dict()
    try:
        compared("loading", str(path), own, arrays)
    except ValueError as error:
        raise CheckpointError(" ".join(str(error).split())[:900]) from None
    for name, array in arrays.items():
        check_finite(path, name, array)
    model.load_state_dict({name: Tensor(arrays.pop(name), device=own[name].device) for name in list(arrays)})
    warn_constant_attention(config)
    return model.eval(), note


def checked_config(config: PVTV2Config, entries: Mapping[str, Any], source: str | os.PathLike) -> PVTV2Config:
    """A configuration that somebody's file tells, if it is of no other size than the weights, of which only the shapes are looked at.
    (`expected_shapes` makes a module for each block, and so isn't for a configuration that wasn't compared.)

    Raises:
        CheckpointError: when it isn't.
    """
    weights = Weights({**entries}, "own", Path(source))
    resolve(
        weights, Description({name: getattr(config, name) for name in PVTV2Config.__dataclass_fields__}), str(source)
    )
    return config


def check_finite(source: str | os.PathLike, name: str, array: np.ndarray) -> None:
    """Raises CheckpointError for NaN or infinite numbers in a tensor of the file `source`."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise CheckpointError(f"{source}: {shown(name)} holds NaN or infinite numbers; train again, or copy it again")


def _takes(model_class: type, name: str) -> bool:
    """Whether a model's constructor has a parameter of this name that is no field of the configuration."""
    found = inspect.signature(model_class).parameters.get(name)
    return (
        found is not None
        and found.kind is not found.VAR_KEYWORD
        and name not in ("config", *PVTV2Config.__dataclass_fields__)
    )


def _settings(weights: Weights, config, changes: dict[str, Any]) -> tuple[PVTV2Config, Description]:
    """The configuration of stored weights with the user's changes, and what the checkpoint says besides."""
    if isinstance(config, PVTV2Config):
        return config.replace(**changes), Description()
    said, source = describe_metadata(weights.metadata, weights.path), str(weights.path)
    if config is not None:
        if not isinstance(config, str | os.PathLike):
            raise TypeError(
                f"config is a PVTV2Config or the path of a JSON file, got {type(config).__name__}; PVTV2Config.from_dict and "
                "from_hf make one from a dictionary"
            )
        source = str(config)
        said = describe_given(read_json(config), source)
    elif said is None and weights.config is not None:
        source = str(weights.path.with_name(CONFIG))
        said = describe(weights.config, source)
    said = said or Description()
    unknown = sorted(set(changes) - set(PVTV2Config.__dataclass_fields__))
    if unknown:
        raise ValueError(
            f"PVTV2Config has no field {', '.join(unknown)}; it has {', '.join(PVTV2Config.__dataclass_fields__)}"
        )
    shapes = {name: changes.pop(name) for name in list(changes) if name in FROM_SHAPES}
    said.fields |= changes
    return resolve(weights, said, source).replace(**shapes), said


def _fitted(weights: Weights, config: PVTV2Config) -> dict[str, np.ndarray]:
    """The arrays with the first convolution for the configuration's channels, and without a classifier of other classes."""
    arrays = dict(weights.arrays)
    name = "patch_embed.proj.weight"
    if name in arrays and arrays[name].ndim == 4 and 0 < arrays[name].shape[1] != config.in_channels:
        arrays[name] = adapt_channels(arrays[name], config.in_channels)
    head = arrays.get("head.weight")
    if head is None and config.num_classes:
        warn(f"{weights.path} has no classifier: the model's, of {config.num_classes} classes, is untrained")
    elif head is not None and (head.ndim != 2 or head.shape[0] != config.num_classes):
        if config.num_classes:
            warn(
                f"the classifier of {head.shape[0]} classes in {weights.path} is replaced by an untrained one of "
                f"{config.num_classes} classes"
            )
        arrays = {name: array for name, array in arrays.items() if not name.startswith("head.")}
    return arrays


def adapt_channels(weight: np.ndarray, channels: int) -> np.ndarray:
    """A first convolution's weight (out, in, kh, kw) for another number of input channels, as timm does it.

    For 1 channel the sum over the input channels, which is right for grey images repeated in each; for any other number the
    channels over and over, scaled by in / channels.

    >>> adapt_channels(np.arange(3.0).reshape(1, 3, 1, 1), 4).ravel().tolist()
    [0.0, 0.75, 1.5, 0.0]
    """
    before = weight.shape[1]
    if channels == 1:
        return weight.sum(axis=1, keepdims=True)
    return weight[:, np.arange(channels) % before] * weight.dtype.type(before / channels)


def _check(arrays: Mapping[str, np.ndarray], expected: dict[str, tuple[int, ...]], path: Path, strict: bool) -> bool:
    """Whether all tensors are there. If not `strict`, a warning names those that are missing.

    Raises:
        CheckpointError: when shapes differ or are of integers; or, if `strict`, tensors are missing (besides a classifier) or
            unexpected.
    """
    _floating({name: array for name, array in arrays.items() if name in expected}, path)
    wrong = [name for name in arrays if name in expected and arrays[name].shape != expected[name]]
    missing = [name for name in expected if name not in arrays]
    unexpected = [name for name in arrays if name not in expected]
    problems = []
    if "head.weight" in missing and "head.bias" in missing:
        missing = [name for name in missing if not name.startswith("head.")]  # an untrained classifier was warned about
    if strict and missing:
        problems.append(f"it lacks {_some(missing)}")
    if strict and unexpected:
        problems.append(f"it has unexpected {_some(unexpected)}")
    if wrong:
        name = wrong[0]
        more = f" and {len(wrong) - 1} more differ" if len(wrong) > 1 else ""
        problems.append(f"{name} has shape {arrays[name].shape}, expected {expected[name]}{more}")
    if problems:
        raise CheckpointError(f"{path} doesn't fit the model: {'; '.join(problems)}")
    if missing:
        warn(f"{path} lacks {_some(missing)}, which the model keeps with random initial values")
    return arrays.keys() == expected.keys()


def _floating(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Raises CheckpointError for numbers other than floating point among weights."""
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            raise CheckpointError(f"{path}: {shown(name)} holds {array.dtype} numbers, and weights are floating point")


def _some(names: list[str]) -> str:
    return ", ".join(map(shown, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
