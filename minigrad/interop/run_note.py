"""The note that a training run leaves in its weights: what the model is, its classes, its data, and how pixels become its input.

It is one JSON object in the metadata of `model.safetensors`. It is written and read here alone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minigrad.serialize import CheckpointError, read_header

KEY = "classifier"  # in the file's metadata
DIGITS, IMAGES = "digits", "images"  # kinds of data


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
    """

    model: str
    fields: dict[str, Any]
    classes: list[str]
    preprocessing: dict[str, Any]
    data: str
    numbers: dict[str, float] = field(default_factory=dict)

    def metadata(self) -> dict[str, str]:
        """The note as metadata of a safetensors file.

        >>> note = RunNote("pvt_v2_tiny", {}, ["cat", "dog"], preprocessing(IMAGES, 32, 255, [0.5], [0.25]), "photos")
        >>> RunNote.of(note.metadata(), "model.safetensors") == note
        True
        """
        known = {name: getattr(self, name) for name in NAMES}
        return {KEY: json.dumps({**known, **self.numbers})}

    @classmethod
    def of(cls, metadata: Mapping[str, str], path: Path | str) -> "RunNote | None":
        """The note in the metadata of the file `path`; None where there is none.

        Raises:
            CheckpointError: when it is damaged.
        """
        if KEY not in metadata:
            return None
        try:
            about = json.loads(metadata[KEY])
            if not isinstance(about, dict):
                raise TypeError(f"it is a {type(about).__name__}")
            known = {name: about.pop(name) for name in NAMES}
            for name, kind in NAMES.items():
                if not isinstance(known[name], kind):
                    raise TypeError(f"{name} is a {type(known[name]).__name__}")
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:100]
            raise CheckpointError(f"{path}: the note of its training run is damaged ({reason})") from None
        return cls(**known, numbers=about)

    @classmethod
    def of_file(cls, path: Path) -> "RunNote | None":
        """The note in a file; None where there is none, or no safetensors file.

        Raises:
            CheckpointError: when the file or the note is damaged.
        """
        return cls.of(read_header(path)[1], path) if path.suffix == ".safetensors" and path.is_file() else None


NAMES: dict[str, type] = {"model": str, "fields": dict, "classes": list, "preprocessing": dict, "data": str}


def preprocessing(kind: str, size: int, maximum: float, mean: list[float], std: list[float]) -> dict[str, Any]:
    """How pixels become the model's input: "digits" (grey scans, 8 × 8) or "images" (the shorter side is scaled to `size` and the
    central square cut out); then (pixels / maximum - mean) / std."""
    return {"kind": kind, "size": size, "maximum": maximum, "mean": mean, "std": std}


def is_preprocessing(values: Mapping[str, Any]) -> bool:
    """Whether a dictionary is of the form that `preprocessing` makes."""
    return "maximum" in values and "kind" in values


def arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    """What `preprocessing` made, as the arguments of an `ImageProcessor`.

    Raises:
        ValueError: when its numbers can't be right.
    """
    maximum = values["maximum"]
    if not isinstance(maximum, int | float) or not maximum > 0:
        raise ValueError(f"maximum must be a positive number, got {maximum!r}")
    size = values.get("size")
    crop = {} if values["kind"] == DIGITS else {"do_center_crop": True, "crop_size": size}
    return {
        "size": size if values["kind"] == DIGITS else {"shortest_edge": size},
        **crop,
        "rescale_factor": 1 / maximum,
        "image_mean": values.get("mean"),
        "image_std": values.get("std"),
    }
