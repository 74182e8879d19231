"""Models written as folders that transformers, timm, or the original code's users load."""

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from minigrad import checks, nn
from minigrad.callers import warn
from minigrad.engine.modes import no_grad
from minigrad.files import Content, as_json, atomic_write_folder
from minigrad.interop import configurations, preprocessing
from minigrad.interop.layouts import check_layout, from_native
from minigrad.interop.reading import CONFIG, PREPROCESSOR
from minigrad.models.pvt_v2.config import PVTV2Config
from minigrad.models.pvt_v2.encoder import PVTV2Encoder
from minigrad.models.pvt_v2.variants import VARIANTS
from minigrad.nn import Module
from minigrad.serialize import packed

WEIGHTS = "model.safetensors"


def save_pretrained(
    model: Module,
    folder: str | os.PathLike,
    layout: str = "hf",
    id2label: Mapping[int, str] | None = None,
    image_processor: Any = None,
) -> Path:
    """Writes a model as a folder of `model.safetensors`, `config.json` and `preprocessor_config.json`; returns the folder.

    Args:
        model: a `PVT_V2`, or an encoder without a classifier.
        folder: made if need be, and then with all of its files or not at all. In one that exists, files of these names are
            replaced, one right after another, and only when all are written.
        layout: "hf": `transformers.AutoModelForImageClassification.from_pretrained(folder)` loads it (AutoModel or
            PvtV2Backbone, where there is no classifier). "timm": `timm.create_model("local-dir:FOLDER", pretrained=True)`
            loads it. "original": the names of the original code and of Lucid, with our configuration, which has their fields.
        id2label: the classes' names; the model's own (`model.id2label`) if None.
        image_processor: how images are prepared: an object with `to_dict()`, or Hugging Face's dictionary. If None, what the
            layout's published weights take: resized to 224×224 (bilinear) for "hf", the centre of a bicubic resize to 248 for
            "timm" and to 256 for "original". Nothing for models of other than 1 or 3 channels, whose input is no picture.

    Warns when Hugging Face's single ε is to stand for two.

    Raises:
        TypeError: for another kind of model.
        ValueError: when the layout is unknown, or can't hold this model.
        OSError: when the folder can't be written.

    >>> import tempfile
    >>> from minigrad import models
    >>> model = models.PVT_V2(img_size=64, embed_dims=(8, 16, 24, 32), num_heads=(1, 2, 3, 4), depths=(1, 1, 1, 1), num_classes=2)
    >>> folder = models.save_pretrained(model, tempfile.mkdtemp(), layout="timm", id2label={0: "cat", 1: "dog"})
    >>> models.from_pretrained(folder).id2label
    {0: 'cat', 1: 'dog'}
    """
    if not isinstance(model, PVTV2Encoder):
        raise TypeError(
            f"save_pretrained writes encoders and classifiers of PVT v2, and this is a {type(model).__name__}; give its backbone, "
            "or keep the whole with mg.save(path, model.state_dict())"
        )
    config = model.config
    state = model.state_dict()
    config = config.replace(num_classes=config.num_classes if "head.weight" in state else 0)
    names = _names(model, id2label, config.num_classes)
    prepared = _as_dict(image_processor, config, check_layout(layout))
    about = {"hf": _hf_config, "timm": _timm_config, "original": _own_config}[layout](model, config, names, prepared)
    with no_grad():
        tensors = from_native(state, layout)
    weights = packed(tensors, metadata={"format": "pt"})  # without it transformers refuses the file
    files: dict[str, Content | None] = {WEIGHTS: weights, CONFIG: as_json(about)}
    files[PREPROCESSOR] = None if prepared is None else as_json(prepared)  # an older model's must not stay
    atomic_write_folder(checks.path("save_pretrained", "folder", folder), files)
    return Path(folder)


def _names(model: Module, id2label: Mapping[int, str] | None, count: int) -> dict[int, str] | None:
    """The classes' names; the model's own only if its classifier is still of so many classes."""
    if id2label is None:
        own = getattr(model, "id2label", None)
        return dict(own) if own and count and sorted(own) == list(range(count)) else None
    if not isinstance(id2label, Mapping):
        raise TypeError(
            f"id2label is a dictionary from numbers to names, got {type(id2label).__name__}; dict(enumerate(names)) makes it"
        )
    for key in id2label:
        if not str(key).isdecimal():
            raise ValueError(f"id2label must name the {count} classes from 0 on, got {key!r} for a number")
    names = {int(key): str(name) for key, name in id2label.items()}
    if sorted(names) != list(range(count)):
        raise ValueError(f"id2label must name the {count} classes from 0 on, got the numbers {sorted(names)[:10]}")
    return names


# ---- configurations ------------------------------------------------------------------------------------------------


def _hf_config(model: Module, config: PVTV2Config, names: dict[int, str] | None, _: dict | None) -> dict[str, Any]:
    features = _features(model)
    kind = "PvtV2ForImageClassification" if config.num_classes else "PvtV2Backbone" if features else "PvtV2Model"
    dtype = next(model.parameters()).dtype.name
    return {"architectures": [kind], **config.to_hf(names), "torch_dtype": dtype, **features}


def _own_config(model: Module, config: PVTV2Config, names: dict[int, str] | None, _: dict | None) -> dict[str, Any]:
    if config.norm_layer is not nn.LayerNorm:
        raise ValueError(
            f"a configuration file can name LayerNorm only, and this model has {config.norm_layer.__name__}; keep its weights "
            "with mg.save(path, model.state_dict())"
        )
    _check_scale(config, "the original")
    out = config.to_dict()
    if names is not None:
        out["id2label"] = {str(i): name for i, name in sorted(names.items())}
    return out | _features(model)


def _features(model: Module) -> dict[str, Any]:
    """The maps that a backbone hands out."""
    features = getattr(model, "out_features", None)
    return {"out_features": list(features)} if features else {}


def _timm_config(
    model: Module, config: PVTV2Config, names: dict[int, str] | None, prepared: dict | None
) -> dict[str, Any]:
    """What timm's `create_model` takes; its PVT v2 has fixed kernels, strides, activation, qk_scale and ε. What it has no place
    for and changes no logits is in an entry of ours, which timm leaves alone.

    Raises:
        ValueError: when timm's model can't be like this one.
    """
    from minigrad.data.images.processor import ImageProcessor  # needs Pillow

    args = {
        n: getattr(config, n)
        for n in ("embed_dims", "depths", "num_heads", "mlp_ratios", "sr_ratios", "qkv_bias", "linear")
    }
    usual = PVTV2Config(num_stages=config.num_stages, img_size=config.img_size, **args)
    for name in ("patch_sizes", "strides", "hidden_act", "norm_layer", "qk_scale"):
        if getattr(config, name) != getattr(usual, name):
            raise ValueError(
                f"timm's PVT v2 has {name} = {getattr(usual, name)}, and this model {getattr(config, name)}"
            )
    _check_scale(config, "timm's")
    known = (name for name, given in VARIANTS.items() if all(getattr(usual, n) == v for n, v in given.items()))
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    changed = {name for name, value in values.items() if value != getattr(usual, name)}
    rates = {theirs: values[ours] for theirs, ours in configurations.TIMM_ARGS.items() if ours in changed}
    return configurations.to_timm(
        next(known, "pvt_v2_b2"),
        {**args, "in_chans": config.in_channels, **rates},
        config.num_classes,
        config.image_shape,
        config.map_sizes(*config.image_shape)[-1],
        {} if prepared is None else ImageProcessor.from_dict(prepared).to_timm(),
        names,
        {name: values[name] for name in configurations.TIMM_LACKS if name in changed} | _features(model),
    )


def _check_scale(config: PVTV2Config, whose: str) -> None:
    """What timm's model and the original have no other value for."""
    if config.layer_norm_eps != 1e-6 or config.embed_norm_eps != 1e-5:
        warn(
            f"{whose} PVT v2 has ε = 1e-6 in blocks and 1e-5 behind embeddings, and this model {config.layer_norm_eps} and "
            f"{config.embed_norm_eps}, which changes logits by about 1e-5"
        )


# ---- preprocessing -------------------------------------------------------------------------------------------------


def _as_dict(image_processor: Any, config: PVTV2Config, layout: str) -> dict[str, Any] | None:
    if image_processor is None:
        return (
            None
            if config.in_channels not in (1, 3)
            else preprocessing.published(layout, *config.image_shape, config.in_channels)
        )
    if isinstance(image_processor, Mapping):
        return dict(image_processor)
    if not hasattr(image_processor, "to_dict"):
        raise TypeError(f"image_processor is an ImageProcessor or a dictionary, got {type(image_processor).__name__}")
    return dict(image_processor.to_dict())
