"""The configuration of stored weights: what their shapes tell, and what a `config.json` adds.

Shapes tell the channels, depths, ratios, kernels, biases and classes. They can't tell the number of heads, the strides, the
activation and ε; those come from `config.json`, or from what every published model of these widths has.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.interop import configurations
from minigrad.interop.configurations import short
from minigrad.interop.reading import Weights
from minigrad.interop.run_note import RunNote, damaged
from minigrad.models.pvt_v2.config import PVTV2Config
from minigrad.models.pvt_v2.model import PVT_V2
from minigrad.models.pvt_v2.variants import variant_config
from minigrad.nn import init
from minigrad.serialize import CheckpointError

KNOWN_HEADS = {  # the published variants; and the default widths of timm's and Lucid's class
    (32, 64, 160, 256): (1, 2, 5, 8),
    (64, 128, 320, 512): (1, 2, 5, 8),
    (64, 128, 256, 512): (1, 2, 4, 8),
}
FROM_SHAPES = (
    "embed_dims",
    "depths",
    "mlp_ratios",
    "sr_ratios",
    "linear",
    "qkv_bias",
    "patch_sizes",
    "in_channels",
    "num_classes",
)


@dataclass
class Description:
    """What a `config.json` or a file's metadata says: fields of `PVTV2Config`, and the classes' names if it knows them."""

    fields: dict[str, Any] = field(default_factory=dict)
    id2label: dict[int, str] | None = None
    out_features: list[str] | None = None


# ---- shapes --------------------------------------------------------------------------------------------------------


def infer_fields(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The fields of `PVTV2Config` that shapes tell. `sr_ratios` is left out where attention is linear, for it has no effect.

    Raises:
        CheckpointError: when tensors are missing that every PVT v2 has.
    """
    depths = _depths(arrays)
    embeds = ["patch_embed", *(f"stages.{i}.downsample" for i in range(1, len(depths)))]
    blocks = [f"stages.{i}.blocks.0" for i in range(len(depths))]
    projections = [_shape(arrays, f"{name}.proj.weight", 4) for name in embeds]
    dims = tuple(_shape(arrays, f"{name}.attn.q.weight", 2)[0] for name in blocks)
    hidden = [_shape(arrays, f"{name}.mlp.fc1.weight", 2)[0] for name in blocks]
    kernels = [
        _shape(arrays, f"{name}.attn.sr.weight", 4)[2] if f"{name}.attn.sr.weight" in arrays else None
        for name in blocks
    ]
    found: dict[str, Any] = {
        "num_stages": len(depths),
        "embed_dims": dims,
        "depths": depths,
        "mlp_ratios": tuple(_ratio(n, dim) for n, dim in zip(hidden, dims, strict=True)),
        "linear": 1 in kernels,
        "qkv_bias": f"{blocks[0]}.attn.q.bias" in arrays,
        "patch_size": projections[0][2],
        "patch_sizes": tuple(shape[2] for shape in projections),
        "in_channels": projections[0][1],
        "num_classes": _shape(arrays, "head.weight", 2)[0] if "head.weight" in arrays else 0,
    }
    if not found["linear"]:
        found["sr_ratios"] = tuple(k or 1 for k in kernels)
    return found


def _depths(arrays: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """Blocks in each stage: how many follow one another from 0."""
    depths: list[int] = []
    while f"stages.{len(depths)}.blocks.0.norm1.weight" in arrays:
        depth = 1
        while f"stages.{len(depths)}.blocks.{depth}.norm1.weight" in arrays:
            depth += 1
        depths.append(depth)
    if not depths:
        raise CheckpointError(
            "these weights are of no PVT v2, or incomplete: they lack the first block of the first stage"
        )
    return tuple(depths)


def _shape(arrays: Mapping[str, np.ndarray], name: str, ndim: int) -> tuple[int, ...]:
    if name not in arrays:
        raise CheckpointError(f"these weights are of no PVT v2, or incomplete: they lack {name}")
    shape = arrays[name].shape
    if len(shape) != ndim or 0 in shape:
        raise CheckpointError(f"{name} has shape {shape}, which no PVT v2 has")
    return shape


def _ratio(hidden: int, dim: int) -> float:
    """The ratio that gives so many hidden channels, which are int(dim · ratio)."""
    if hidden % dim == 0:
        return hidden // dim
    return hidden / dim if int(dim * (hidden / dim)) == hidden else (hidden + 0.5) / dim


def expected_shapes(config: PVTV2Config) -> dict[str, tuple[int, ...]]:
    """The name and shape of every tensor of a `PVT_V2` of this configuration."""
    with init.no_weights():
        return {name: tensor.shape for name, tensor in PVT_V2(config).state_dict().items()}


# ---- config.json ---------------------------------------------------------------------------------------------------


def describe(values: Mapping[str, Any], source: str = "config.json") -> Description:
    """What a `config.json` says, in Hugging Face's format, timm's, or ours (`PVTV2Config.to_dict`; the original's and
    Lucid's names). One of some other kind, such as a training run's, says nothing.

    Raises:
        CheckpointError: when it is of another model, or a value doesn't fit.
    """
    try:
        if "model_type" in values or "hidden_sizes" in values:
            return _describe_hf(values)
        if "architecture" in values:
            return _describe_timm(values)
        if "embed_dims" in values:
            known = {f.name for f in fields(PVTV2Config)}
            own = {name: value for name, value in values.items() if name in known}
            config = PVTV2Config.from_dict(own)  # which checks them
            return Description({name: getattr(config, name) for name in own}, *_besides(values))
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise CheckpointError(f"{source}: {error}") from None
    return Description()


def describe_given(values: Mapping[str, Any], source: str) -> Description:
    """What a file says that was named as the configuration: what `describe` makes of it, or else some fields of `PVTV2Config`,
    such as `num_heads` alone, by its name or Hugging Face's.

    Raises:
        CheckpointError: when it says nothing of a PVT v2.
    """
    said = describe(values, source)
    if not said.fields:
        ours = {f.name: f.name for f in fields(PVTV2Config)} | {
            theirs: name for name, theirs in configurations.HF_NAMES.items()
        }
        said.fields = {ours[name]: tuple(v) if isinstance(v, list) else v for name, v in values.items() if name in ours}
    if not said.fields and "architecture" not in values:
        raise CheckpointError(
            f"{source} is no configuration of a PVT v2: none of its entries is of Hugging Face's, timm's or ours"
        )
    return said


def _describe_hf(values: Mapping[str, Any]) -> Description:
    config = PVTV2Config.from_hf(values)
    found = {f.name: getattr(config, f.name) for f in fields(PVTV2Config)}
    if (
        configurations.hf_num_labels(values, None) is None
    ):  # two classes are the default, also of encoders without a classifier
        del found["num_classes"]
    return Description(found, *_besides(values))


def _besides(values: Mapping[str, Any]) -> tuple[dict[int, str] | None, list[str] | None]:
    """The classes' names and a backbone's outputs."""
    names = values.get("id2label")
    features = configurations.list_of_names("out_features", values.get("out_features"))
    return None if names is None else configurations.class_names(names), features


def _describe_timm(values: Mapping[str, Any]) -> Description:
    return Description(*configurations.from_timm(values))


def describe_metadata(metadata: Mapping[str, str], path: Path) -> Description | None:
    """What a training run wrote into its `model.safetensors`; None for other files.

    Raises:
        CheckpointError: when it is damaged.
    """
    note = RunNote.of(metadata, path)
    if note is None:
        return None
    config = run_config(note, path)
    return Description({f.name: getattr(config, f.name) for f in fields(PVTV2Config)}, dict(enumerate(note.classes)))


def run_config(note: RunNote, path: Path) -> PVTV2Config:
    """The configuration that a run's note tells, whose only source are the fields of `PVTV2Config`: no other option of
    `create_model` is one. Nothing is built; whether the weights are of this shape isn't known yet.

    Raises:
        CheckpointError: when there is no such variant or field, a value doesn't fit, or the classes or the pictures are others than
            the model's.
    """
    try:
        config = variant_config(note.model, **note.fields)
    except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise CheckpointError(f"{path}: its note of the model is damaged ({str(error)[:200]})") from None
    if len(note.classes) != config.num_classes:
        raise damaged(path, f"it names {len(note.classes)} classes, and its model has {config.num_classes}")
    return config


# ---- both together -------------------------------------------------------------------------------------------------


def resolve(weights: Weights, said: Description, source: str) -> PVTV2Config:
    """The configuration of weights, from their shapes and what is said of them in the file `source`.

    Raises:
        CheckpointError: when the two contradict one another, a value doesn't fit, or the weights are no PVT v2.
        ValueError: when the number of heads isn't known.
    """
    try:
        found = infer_fields(weights.arrays)
    except CheckpointError as error:
        raise CheckpointError(f"{weights.path}: {error}") from None
    for name in FROM_SHAPES:
        if name in said.fields and name in found and not _agree(name, said.fields[name], found):
            raise CheckpointError(
                f"{source} says {name} = {short(said.fields[name])}, but the weights have {short(found[name])}"
            )
    if found["num_classes"] and said.id2label is not None and len(said.id2label) != found["num_classes"]:
        raise CheckpointError(
            f"{source} names {len(said.id2label)} classes, but the weights have {found['num_classes']}"
        )
    eps = {"layer_norm_eps": 1e-6, "embed_norm_eps": 1e-6 if weights.layout == "hf" else 1e-5}
    fields = {**eps, **found, **said.fields, "num_classes": found["num_classes"]}
    if "num_heads" not in fields:
        if found["embed_dims"] not in KNOWN_HEADS:
            raise ValueError(
                f"{weights.path} doesn't tell how many attention heads its model has, and no published PVT v2 has the widths "
                f"{short(found['embed_dims'])}; give num_heads=(…) or config=…; on the command line, `convert` it once with "
                "--config FILE, a JSON file that has num_heads"
            )
        fields["num_heads"] = KNOWN_HEADS[found["embed_dims"]]
    if "sr_ratios" not in fields:  # linear: without effect
        fields["sr_ratios"] = (8, 4, 2, 1) if len(found["depths"]) == 4 else (1,) * len(found["depths"])
    try:
        return PVTV2Config.from_dict(fields)
    except (ValueError, ArithmeticError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{source}: {str(error)[:300]}") from None


def _agree(name: str, said: Any, found: Mapping[str, Any]) -> bool:
    if name == "num_classes":  # an encoder without its classifier may still name the classes
        return said == found[name] or not found[name]
    if name == "mlp_ratios":  # several ratios give the same number of channels
        if not isinstance(said, tuple) or not all(isinstance(ratio, int | float) for ratio in said):
            return False
        hidden = [[int(dim * r) for dim, r in zip(found["embed_dims"], rs, strict=False)] for rs in (said, found[name])]
        return len(said) == len(found[name]) and hidden[0] == hidden[1]
    return bool(said == found[name])
