"""The note that a training run leaves in its weights: what the model is, its classes, its data, and how pixels become its input.

It is one JSON object in the metadata of `model.safetensors`. It is written and read here alone, and checked in full either way: a
file that comes from a stranger says nothing but what is listed here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from minigrad.interop import entries
from minigrad.serialize import CheckpointError, read_header

KEY = "classifier"  # in the file's metadata
DIGITS, IMAGES = "digits", "images"  # kinds of data
LONGEST = 2 << 20  # characters of a note; the names of 20,000 classes take a quarter of it
LARGEST = 3.4e38  # about float32's
MOST_PIXELS = 8192  # of a side


@dataclass(frozen=True)
class RunNote:
    """What a run says of the weights that it wrote.

    Attributes:
        model: the name of the variant.
        fields: the fields of `PVTV2Config` in which the model differs from it.
        classes: the names of the classes, in order.
        preprocessing: what `preprocessing` makes.
        data: what the run was trained on: "digits" or a folder.
        numbers: of the epoch that the weights are of.

    Raises:
        ValueError: one sentence for the first entry that doesn't fit. What `fields` may be, the configuration checks.
    """

    model: str
    fields: dict[str, Any]
    classes: list[str]
    preprocessing: dict[str, Any]
    data: str
    numbers: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        entries.text("model", self.model)
        for name, value in entries.mapping("fields", self.fields).items():
            entries.text("the name of a field", name, 80)
            if not _is_plain(value):
                raise ValueError(
                    f"{name} must be a number, a string or a short list of them, got {entries.told(value)}"
                )
        if not isinstance(self.classes, list):
            raise ValueError(f"classes must be a list of strings, got {entries.told(self.classes)}")
        entries.texts("classes", self.classes)
        check_preprocessing(self.preprocessing)
        entries.text("data", self.data)
        for name, value in entries.mapping("numbers", self.numbers).items():
            entries.number(entries.text("the name of a number", name, 80), value)

    def metadata(self) -> dict[str, str]:
        """The note as metadata of a safetensors file.

        >>> note = RunNote("pvt_v2_tiny", {}, ["cat", "dog"], preprocessing(IMAGES, 32, 255, [0.5], [0.25]), "photos")
        >>> RunNote.of(note.metadata(), "model.safetensors") == note
        True
        """
        known = {name: getattr(self, name) for name in NAMES}
        text = json.dumps({**known, **self.numbers}, allow_nan=False)
        if len(text) > LONGEST:
            raise ValueError(f"the note of a run takes {len(text):,} characters, and at most {LONGEST:,} can be read")
        return {KEY: text}

    @classmethod
    def of(cls, metadata: Mapping[str, str], path: Path | str) -> "RunNote | None":
        """The note in the metadata of the file `path`; None where there is none.

        Raises:
            CheckpointError: when it is damaged.
        """
        if KEY not in metadata:
            return None
        try:
            if len(metadata[KEY]) > LONGEST:
                raise ValueError(f"it has {len(metadata[KEY])} characters, more than {LONGEST}")
            about = json.loads(metadata[KEY], object_pairs_hook=_unique, parse_constant=_refuse)
            about = dict(entries.mapping("it", about))
            missing = [name for name in NAMES if name not in about]
            if missing:
                raise ValueError(f"it has no {missing[0]}")
            return cls(**{name: about.pop(name) for name in NAMES}, numbers=about)
        except RecursionError:
            raise damaged(path, "it is nested too deeply") from None
        except ValueError as error:
            raise damaged(path, error) from None

    @classmethod
    def of_file(cls, path: Path) -> "RunNote | None":
        """The note in a file; None where there is none, or no safetensors file.

        Raises:
            CheckpointError: when the file or the note is damaged.
        """
        return cls.of(read_header(path)[1], path) if path.suffix == ".safetensors" and path.is_file() else None


NAMES = ("model", "fields", "classes", "preprocessing", "data")


def damaged(path: Path | str, reason: object) -> CheckpointError:
    """The error for a note that can't be right."""
    return CheckpointError(f"{path}: the note of its training run is damaged ({' '.join(str(reason).split())[:200]})")


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return len(value) <= 64 and all(not isinstance(item, list | tuple) and _is_plain(item) for item in value)
    return (
        value is None
        or isinstance(value, bool)
        or entries.is_finite(value)
        or isinstance(value, str)
        and len(value) <= 80
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("it names something twice")
    return dict(pairs)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"it has the number {name}")


def preprocessing(kind: str, size: int, maximum: float, mean: list[float], std: list[float]) -> dict[str, Any]:
    """How pixels become the model's input: "digits" (grey scans, 8 × 8) or "images" (the shorter side is scaled to `size` and the
    central square cut out); then (pixels / maximum - mean) / std."""
    return {"kind": kind, "size": size, "maximum": maximum, "mean": mean, "std": std}


def is_preprocessing(values: Mapping[str, Any]) -> bool:
    """Whether a dictionary is of the form that `preprocessing` makes."""
    return "maximum" in values and "kind" in values


SHORT = ("kind", "size", "maximum", "mean", "std")
LONG = (  # what `ImageProcessor.to_dict` writes, which its class checks
    "image_processor_type", "do_resize", "size", "resample", "do_center_crop", "do_rescale", "rescale_factor", "do_normalize",
    "image_mean", "image_std", "crop_size", "crop_mode",
)  # fmt: skip


def check_preprocessing(values: Any) -> None:
    """Checks what a note says of pictures: what `preprocessing` makes, or an `ImageProcessor`'s entries.

    Raises:
        ValueError: when an entry is unknown, or one of `preprocessing` missing or wrong.
    """
    what = "preprocessing"
    if not is_preprocessing(entries.mapping(what, values)):
        entries.only(what, values, LONG, optional=LONG)
        return
    entries.only(what, values, SHORT)
    if values["kind"] not in (DIGITS, IMAGES):
        raise ValueError(f"preprocessing: kind must be {DIGITS!r} or {IMAGES!r}, got {entries.told(values['kind'])}")
    entries.whole("preprocessing: size", values["size"], 1, MOST_PIXELS)
    entries.number("preprocessing: maximum", values["maximum"], 1 / LARGEST, LARGEST)
    for name, least in (("mean", -LARGEST), ("std", 1 / LARGEST)):
        numbers = values[name]
        if not isinstance(numbers, list | tuple) or len(numbers) not in (1, 3):
            raise ValueError(f"preprocessing: {name} must be one number for each of 1 or 3 channels")
        for value in numbers:
            entries.number(f"preprocessing: {name}", value, least, LARGEST)
    if len(values["mean"]) != len(values["std"]):
        raise ValueError("preprocessing: mean and std must have a value for each channel")


def arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    """What `preprocessing` made, as the arguments of an `ImageProcessor`.

    Raises:
        ValueError: when its entries can't be right.
    """
    check_preprocessing(values)
    size, digits = values["size"], values["kind"] == DIGITS
    return {
        "size": size if digits else {"shortest_edge": size},
        **({} if digits else {"do_center_crop": True, "crop_size": size}),
        "rescale_factor": 1 / values["maximum"],
        "image_mean": values["mean"],
        "image_std": values["std"],
    }
