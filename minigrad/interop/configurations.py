"""Configurations of PVT v2 as Hugging Face and timm write them, as fields of `PVTV2Config` and back.

What a field's value may be is `PVTV2Config`'s to check.
"""

from collections.abc import Mapping
from typing import Any

HF_NAMES = {  # where Hugging Face's PvtV2Config has other names; its own are the values
    "in_channels": "num_channels",
    "num_stages": "num_encoder_blocks",
    "embed_dims": "hidden_sizes",
    "num_heads": "num_attention_heads",
    "drop_rate": "hidden_dropout_prob",
    "attn_drop_rate": "attention_probs_dropout_prob",
    "linear": "linear_attention",
    "img_size": "image_size",
}
HF_SAME = (
    "depths", "mlp_ratios", "sr_ratios", "patch_sizes", "strides", "qkv_bias", "drop_path_rate", "hidden_act",
    "initializer_range", "layer_norm_eps", "problem_type",
)  # fmt: skip
HF_BESIDES = {  # what Hugging Face's has no place for, and its default; kept in its file under our names
    "qk_scale": None,
    "head_drop_rate": 0.0,
    "global_pool": "avg",
}
HF_DEFAULTS = dict(
    embed_dims=(32, 64, 160, 256), num_heads=(1, 2, 5, 8), depths=(2, 2, 2, 2), mlp_ratios=(8, 8, 4, 4), qkv_bias=True,
    patch_sizes=(7, 3, 3, 3), strides=(4, 2, 2, 2), layer_norm_eps=1e-6,
)  # fmt: skip
TIMM_ARGS = {  # timm's names for arguments of its model that say something of ours
    "in_chans": "in_channels",
    "embed_dims": "embed_dims",
    "depths": "depths",
    "num_heads": "num_heads",
    "mlp_ratios": "mlp_ratios",
    "sr_ratios": "sr_ratios",
    "qkv_bias": "qkv_bias",
    "linear": "linear",
    "drop_rate": "head_drop_rate",
    "proj_drop_rate": "drop_rate",
    "attn_drop_rate": "attn_drop_rate",
    "drop_path_rate": "drop_path_rate",
    "num_classes": "num_classes",
    "global_pool": "global_pool",
}
TIMM_LACKS = ("initializer_range", "layer_norm_eps", "embed_norm_eps", "problem_type", "out_features")
BESIDES = "minigrad"  # the entry of timm's `config.json` that has what its model has no place for


# ---- Hugging Face --------------------------------------------------------------------------------------------------


def from_hf(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a Hugging Face `PvtV2Config` tells, with its defaults for what it leaves out.

    Raises:
        ValueError: when it is of another kind of model.
    """
    kind = values.get("model_type", "pvt_v2")
    if kind != "pvt_v2":
        raise ValueError(f"this configuration is of a {short(kind)} model, and PVT v2 has the model_type 'pvt_v2'")
    names = {ours: theirs for ours, theirs in HF_NAMES.items() if theirs in values}
    same = (*HF_SAME, *HF_BESIDES, "embed_norm_eps")
    given = {ours: values[theirs] for ours, theirs in names.items()} | {n: values[n] for n in same if n in values}
    size = given.get("img_size")
    if isinstance(size, Mapping):
        given["img_size"] = size = (size.get("height"), size.get("width"))
    if isinstance(size, list | tuple) and len(size) == 2 and size[0] == size[1]:
        given["img_size"] = size[0]
    found = {**HF_DEFAULTS, "num_classes": hf_num_labels(values, 2), **given}
    found.setdefault("embed_norm_eps", found["layer_norm_eps"])
    if isinstance(found["patch_sizes"], list | tuple) and found["patch_sizes"]:
        found["patch_size"] = found["patch_sizes"][0]
    return found


def to_hf(fields: Mapping[str, Any], names: Mapping[int, str]) -> dict[str, Any]:
    """A Hugging Face `PvtV2Config` as plain values: of all fields, and the names of the classes. What it has no place for is there
    under our names."""
    out: dict[str, Any] = {"model_type": "pvt_v2"}
    for ours, theirs in {**HF_NAMES, **{name: name for name in HF_SAME}}.items():
        value = fields[ours]
        out[theirs] = list(value) if isinstance(value, tuple) else value
    usual = {**HF_BESIDES, "embed_norm_eps": fields["layer_norm_eps"]}
    out |= {name: fields[name] for name, value in usual.items() if fields[name] != value}
    out["mlp_ratios"] = [int(ratio) for ratio in fields["mlp_ratios"]]
    out["id2label"] = {str(i): names[i] for i in range(len(names))}
    out["label2id"] = {name: i for i, name in names.items()}
    return out


def hf_num_labels(values: Mapping[str, Any], default: int | None) -> int | None:
    """The number of classes that a Hugging Face configuration states, or `default`."""
    names, count = values.get("id2label"), values.get("num_labels")
    if isinstance(names, Mapping):
        if count is not None and count != len(class_names(names)):
            raise ValueError(f"num_labels is {short(count)}, but id2label names {len(names)} classes; they must agree")
        return len(class_names(names))
    return default if count is None else count


def class_names(names: Any, count: int | None = None) -> dict[int, str]:
    """The classes' names by their numbers, in order.

    Raises:
        ValueError: unless they are names of all classes from 0 on, `count` of them if it is given.
    """
    if not isinstance(names, Mapping) or not all(isinstance(name, str) for name in names.values()):
        raise ValueError(f"id2label must be an object from numbers to names, got {short(names)}")
    found = {str(key): name for key, name in names.items()}
    expected = [str(i) for i in range(len(names) if count is None else count)]
    if found.keys() != set(expected):
        raise ValueError(f"id2label must name the {len(expected)} classes from 0 on, got {short(names)}")
    return {int(key): found[key] for key in expected}


def list_of_names(what: str, names: Any) -> list[str] | None:
    """A list of names, or None.

    Raises:
        ValueError: for anything else.
    """
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"{what} must be a list of names")
    return names


# ---- timm ----------------------------------------------------------------------------------------------------------


def from_timm(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[int, str] | None, list[str] | None]:
    """The fields of `PVTV2Config` that timm's `config.json` tells; the classes' names and a backbone's `out_features`, if it knows
    them.

    Raises:
        ValueError: when it is of another architecture, or isn't of timm's form.
    """
    name = values["architecture"]
    if not isinstance(name, str) or not name.startswith("pvt_v2"):
        raise ValueError(f"it is of the architecture {short(name)}, not of a PVT v2")
    about, args, besides = values.get("pretrained_cfg", values), values.get("model_args", {}), values.get(BESIDES, {})
    if not all(isinstance(part, Mapping) for part in (about, args, besides)):
        raise ValueError(f"pretrained_cfg, model_args and {BESIDES} must be objects")
    found = {"num_heads": (1, 2, 5, 8)} | {TIMM_ARGS[key]: value for key, value in args.items() if key in TIMM_ARGS}
    found |= {name: besides[name] for name in TIMM_LACKS if name in besides}
    features = list_of_names("out_features", found.pop("out_features", None))
    if "num_classes" in values:
        found["num_classes"] = values["num_classes"]
    size = about.get("input_size")
    if isinstance(size, list) and len(size) == 3:
        found["img_size"] = size[1] if size[1] == size[2] else (size[1], size[2])
    names = list_of_names("label_names", values.get("label_names", about.get("label_names")))
    found = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
    return found, None if names is None else dict(enumerate(names)), features


def to_timm(
    architecture: str,
    args: Mapping[str, Any],
    num_classes: int,
    image_shape: tuple[int, int],
    last_map: tuple[int, int],
    pictures: Mapping[str, Any],
    names: Mapping[int, str] | None,
    besides: Mapping[str, Any],
) -> dict[str, Any]:
    """timm's `config.json`.

    Args:
        architecture: the variant that is the nearest.
        args: of timm's model, `in_chans` and `embed_dims` among them.
        image_shape, last_map: height and width of the image and of the last stage's map.
        pictures: what `preprocessing.to_timm` gives.
        names: of the classes.
        besides: of `TIMM_LACKS`, for us alone; timm leaves it as it is.
    """
    about: dict[str, Any] = {
        "architecture": architecture,
        "num_classes": num_classes,
        "num_features": args["embed_dims"][-1],
        "global_pool": args.get("global_pool", "avg"),
        "model_args": {name: list(v) if isinstance(v, tuple) else v for name, v in args.items()},
        "pretrained_cfg": {
            "custom_load": False,
            "fixed_input_size": False,
            "input_size": [args["in_chans"], *image_shape],
            **pictures,
            "num_classes": num_classes,
            "pool_size": list(last_map),
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    }
    if names is not None:
        about["label_names"] = [names[i] for i in range(num_classes)]
    if besides:
        about[BESIDES] = dict(besides)
    return about


def short(value: object) -> str:
    """What a value looks like, in at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
