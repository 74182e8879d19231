"""Preprocessing as other projects, and our own runs, write it down; read as the arguments of an `ImageProcessor`."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minigrad.callers import warn
from minigrad.interop import run_note
from minigrad.interop.reading import CONFIG, PREPROCESSOR, WEIGHTS, read_json
from minigrad.interop.run_note import RunNote

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of its colours, from 0 to 1
TIMM_CROP = 0.9
BILINEAR, BICUBIC = 2, 3  # Pillow's numbers of its filters
ORIGINS = {"hf": "Hugging Face's", "timm": "timm's", "original": "the original's"}  # layouts
# Hugging Face's entries under the same names here, and steps of other processors, which would change the pixels.
SAME = (
    "size", "resample", "do_resize", "do_center_crop", "crop_size", "do_rescale", "rescale_factor", "do_normalize",
    "image_mean", "image_std", "crop_mode",
)  # fmt: skip
UNKNOWN_STEPS = (
    "do_pad",
    "do_flip_channel_order",
    "do_thumbnail",
    "do_align_long_axis",
    "do_crop_margin",
    "do_color_quantize",
)


def read(path: Path) -> tuple[dict[str, Any], Path] | None:
    """What a folder or one of its files says about pictures, and the file that says it; None when it says nothing."""
    if not path.exists():
        raise FileNotFoundError(f"there is no folder or file {path}")
    if path.suffix == ".json" and not path.name.endswith(".index.json") and path.is_file():
        return read_json(path), path
    folder = path if path.is_dir() else path.parent if path.name in WEIGHTS else None
    weights = path / WEIGHTS[0] if path.is_dir() else path
    if (note := RunNote.of_file(weights)) is not None:
        return note.preprocessing, weights
    if folder and (folder / CONFIG).is_file() and _is_timm(values := read_json(folder / CONFIG)):
        return values, folder / CONFIG
    if folder and (folder / PREPROCESSOR).is_file():
        return read_json(folder / PREPROCESSOR), folder / PREPROCESSOR
    return None


def arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that the contents of a file tell."""
    if _is_timm(values):
        return _from_timm(values)
    if run_note.is_preprocessing(values):
        if values["kind"] != run_note.IMAGES:
            raise ValueError(
                f"this run was trained on {values['kind']}, which aren't prepared as pictures are; use training.Classifier"
            )
        return run_note.arguments(values)
    if not any(name in values for name in ("size", "image_mean", "do_resize", "do_normalize")):
        raise ValueError("there is nothing about pictures: neither size nor image_mean, nor timm's input_size")
    return _from_hf(values)


def _colours(mean, std) -> dict[str, Any]:
    return {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": mean, "image_std": std}


def _settings(
    size: Any, filter: int, mean: tuple[float, ...], std: tuple[float, ...], crop: int | None = None
) -> dict[str, Any]:
    """What a class of Hugging Face's does unless its file says otherwise."""
    window = {} if crop is None else {"crop_size": {"height": crop, "width": crop}}
    steps = {"do_resize": True, "size": size, "resample": filter, "do_center_crop": crop is not None}
    return {**steps, **window, **_colours(mean, std)}


IMAGENET, HALF = (IMAGENET_MEAN, IMAGENET_STD), ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
DEFAULTS = {  # of transformers 5; an older one's PvtImageProcessor was bilinear, and wrote so into every file
    "PvtImageProcessor": _settings({"height": 224, "width": 224}, BICUBIC, *IMAGENET),
    "SegformerImageProcessor": _settings({"height": 512, "width": 512}, BILINEAR, *IMAGENET),
    "ViTImageProcessor": _settings({"height": 224, "width": 224}, BILINEAR, *HALF),
    "DeiTImageProcessor": _settings({"height": 256, "width": 256}, BICUBIC, *HALF, crop=224),
    "BitImageProcessor": _settings({"shortest_edge": 224}, BICUBIC, *CLIP, crop=224),
    "CLIPImageProcessor": _settings({"shortest_edge": 224}, BICUBIC, *CLIP, crop=224),
    "ConvNextImageProcessor": _settings({"shortest_edge": 384}, BICUBIC, *HALF) | {"crop_pct": 224 / 256},
}
# Classes differ in these; a file without one of them, of a class that isn't known, leaves open what is meant.
NEEDED = {"size": "do_resize", "resample": "do_resize", "image_mean": "do_normalize", "image_std": "do_normalize"}


def _completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """A file's entries with what it leaves out: the defaults of the class that it names. Warns where the class isn't known."""
    found = {name: value for name, value in values.items() if value is not None}
    kind = str(values.get("image_processor_type") or values.get("feature_extractor_type") or "")
    name = kind.removesuffix("Fast").removesuffix("Pil").replace("FeatureExtractor", "ImageProcessor")
    if name in DEFAULTS:
        return DEFAULTS[name] | found
    missing = [entry for entry, step in NEEDED.items() if entry not in found and found.get(step) is not False]
    if missing:
        usual = published("hf", 224, 224)
        usual["resample"] = "bilinear"
        assumed = ", ".join(f"{entry} = {usual[entry]}" for entry in missing)
        what = (
            f"names the class {kind[:60]!r}, which isn't known here" if kind else "names no class of image processors"
        )
        warn(f"the preprocessing {what}, and leaves entries out; assumed: {assumed}")
        found |= {entry: usual[entry] for entry in missing}
    return found


def _from_hf(values: Mapping[str, Any]) -> dict[str, Any]:
    values = _completed(values)
    asked = [name for name in UNKNOWN_STEPS if values.get(name)]
    if asked:
        raise ValueError(
            f"{', '.join(asked)} is a step that ImageProcessor doesn't have; prepare the pictures yourself"
        )
    out = {name: values[name] for name in SAME if values.get(name) is not None}
    size, crop_pct = out.get("size"), values.get("crop_pct")
    shortest = size.get("shortest_edge") if isinstance(size, dict) else size
    if crop_pct is None and isinstance(size, int) and out.get("do_center_crop"):
        out["size"] = {"shortest_edge": size}  # as before sizes were dictionaries
    elif crop_pct is not None and isinstance(shortest, int):
        # ConvNext's processor: from 384 pixels on there is no crop.
        out["size"] = shortest
        if shortest < 384:
            out |= {
                "size": {"shortest_edge": int(shortest / _share(crop_pct))},
                "do_center_crop": True,
                "crop_size": shortest,
            }
    return out


def _is_timm(values: Mapping[str, Any]) -> bool:
    return isinstance(values.get("pretrained_cfg"), dict) or "input_size" in values


def _from_timm(values: Mapping[str, Any]) -> dict[str, Any]:
    """timm's evaluation transform (`timm.data.create_transform`)."""
    values = values["pretrained_cfg"] if isinstance(values.get("pretrained_cfg"), dict) else values
    size = values.get("input_size") or (3, 224, 224)
    if not isinstance(size, list | tuple) or len(size) != 3 or not all(isinstance(n, int) and n > 0 for n in size):
        raise ValueError(f"input_size must be (channels, height, width), got {size!r}")
    height, width = size[1:]
    share, mode = _share(values.get("crop_pct") or 0.875), values.get("crop_mode") or "center"
    scaled = (math.floor(height / share), math.floor(width / share))
    out = {
        "size": {"shortest_edge": scaled[0]} if mode == "center" and scaled[0] == scaled[1] else scaled,
        "resample": values.get("interpolation") or "bicubic",
        "do_center_crop": True,
        "crop_size": (height, width),
        "crop_mode": mode,
    }
    for name, given in (("image_mean", values.get("mean")), ("image_std", values.get("std"))):
        if given is not None:
            out[name] = given
    return out


def to_timm(fields: Mapping[str, Any]) -> dict[str, object]:
    """See `ImageProcessor.to_timm`; `fields` are those of an `ImageProcessor`."""
    size, window = fields["size"], fields["crop_size"] if fields["do_center_crop"] else fields["size"]
    steps = fields["do_resize"] and fields["do_rescale"] and fields["do_normalize"]
    if not steps or not math.isclose(fields["rescale_factor"], 1 / 255) or "height" not in window:
        raise ValueError(
            "timm always resizes, crops, rescales by 1/255 and normalises; this processor does something else"
        )
    mode = fields["crop_mode"] or ("center" if "shortest_edge" in size else "squash")
    scaled = (size["shortest_edge"],) * 2 if "shortest_edge" in size else (size["height"], size["width"])
    target = (window["height"], window["width"])
    most = min(n / m for n, m in zip(target, scaled, strict=True))
    for digits in range(1, 16):  # the roundest share that gives these sizes
        share = math.floor(round(most * 10**digits, 6)) / 10**digits
        if share and scaled == (math.floor(target[0] / share), math.floor(target[1] / share)):
            break
    else:
        raise ValueError(f"timm scales both sides by one crop_pct; none leads from {target} to {scaled}")
    return {
        "input_size": [len(fields["image_mean"]), *target],
        "interpolation": fields["resample"],
        "crop_pct": share,
        "crop_mode": mode,
        "mean": list(fields["image_mean"]),
        "std": list(fields["image_std"]),
    }


def _share(value) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0.01 <= value <= 1:
        raise ValueError(f"crop_pct must lie between 0.01 and 1, got {value!r}")
    return value


def published(layout: str, height: int, width: int, channels: int = 3) -> dict[str, Any]:
    """Hugging Face's `preprocessor_config.json` for what a layout's published weights take, of 1 or 3 channels."""
    mean, std = (
        (list(IMAGENET_MEAN), list(IMAGENET_STD))
        if channels == 3
        else ([sum(IMAGENET_MEAN) / 3], [sum(IMAGENET_STD) / 3])
    )
    colours = _colours(mean, std)
    exact = {"height": height, "width": width}
    if layout == "hf":
        kind = {"image_processor_type": "PvtImageProcessor", "do_resize": True, "size": exact, "resample": BILINEAR}
        return {**kind, **colours}
    larger = [math.floor(n / TIMM_CROP) if layout == "timm" else n * 256 // 224 for n in (height, width)]
    size = {"shortest_edge": larger[0]} if height == width else dict(zip(("height", "width"), larger, strict=True))
    resize = {"do_resize": True, "size": size, "resample": BICUBIC}
    return {
        "image_processor_type": "BitImageProcessor",
        **resize,
        "do_center_crop": True,
        "crop_size": exact,
        **colours,
    }
