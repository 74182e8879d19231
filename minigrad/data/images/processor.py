"""From pictures to a model's input, as the checkpoint's preprocessing file says."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any, overload

import numpy as np
from PIL import Image

from minigrad import checks
from minigrad.callers import warn
from minigrad.data.images.reading import MAX_PIXELS, MAX_SCALED, ImageError, open_image, scaled_window, shorter_side
from minigrad.engine.tensor import Tensor
from minigrad.files import atomic_write_json
from minigrad.interop import preprocessing
from minigrad.interop.hub import locate
from minigrad.interop.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from minigrad.interop.reading import PREPROCESSOR, layout_of

FILTERS = {filter.name.lower(): filter for filter in Image.Resampling}
MAX_SIDE = 8192
SMALLEST, LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
CROP_MODES = ("center", "squash", "border")


@dataclass(frozen=True)
class ImageProcessor:
    """Resizes, crops, rescales and normalises pictures: (pixel · rescale_factor - image_mean) / image_std.

    Names and meanings are those of Hugging Face's `preprocessor_config.json`; `from_pretrained` also reads timm's
    `config.json` and the run folders of `minigrad train`. Without arguments it does what Hugging Face's PVT v2
    checkpoints ask for: 224 × 224 without regard to the aspect ratio, bilinear, ImageNet's mean and deviation.

    Pictures are paths, Pillow images, or arrays (H, W), (C, H, W) or (H, W, C); see `minigrad.data.open_image` for how
    they become 8-bit RGB: EXIF orientation is applied and transparent parts become white.

    Args:
        size: {"height": h, "width": w} or (h, w) or a number for both: exactly that. {"shortest_edge": n}: the shorter
            side becomes n, the aspect ratio stays.
        resample: Pillow's filter, by name or number: "nearest" (0), "lanczos" (1), "bilinear" (2), "bicubic" (3), "box"
            (4), "hamming" (5).
        do_resize, do_center_crop, do_rescale, do_normalize: which steps are made.
        crop_size: {"height": h, "width": w}, (h, w) or a number: the window that the crop cuts out of the middle; black
            where the picture is smaller.
        rescale_factor: 1/255 for a picture of 0 … 1.
        image_mean, image_std: one value for each channel. One channel means a grey picture.
        crop_mode: None for Hugging Face's rules. "center", "squash" and "border" are timm's, with its rounding: scale so
            that `size` is covered; to `size` exactly; so that it fits into `size`, the rest filled with the mean.

    Raises:
        ValueError: one sentence for the first argument that doesn't fit.

    >>> import numpy as np
    >>> from minigrad import models
    >>> processor = models.ImageProcessor(size={"shortest_edge": 256}, do_center_crop=True, crop_size=224)
    >>> processor([np.zeros((480, 640, 3), np.uint8), np.zeros((300, 200), np.uint8)]).shape
    (2, 3, 224, 224)
    """

    size: Any = 224
    resample: Any = "bilinear"
    do_resize: bool = True
    do_center_crop: bool = False
    crop_size: Any = None
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_normalize: bool = True
    image_mean: Any = IMAGENET_MEAN
    image_std: Any = IMAGENET_STD
    crop_mode: str | None = None

    def __post_init__(self) -> None:
        for name in ("do_resize", "do_center_crop", "do_rescale", "do_normalize"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, got {getattr(self, name)!r}")
        self._set("size", _size("size", self.size))
        self._set("resample", _filter(self.resample))
        if self.crop_size is not None:
            self._set("crop_size", _size("crop_size", self.crop_size))
            if "height" not in self.crop_size:
                raise ValueError(f"crop_size must be a height and a width, got {self.crop_size}")
        elif self.do_center_crop:
            raise ValueError("do_center_crop needs a crop_size, such as {'height': 224, 'width': 224}")
        if not _is_number(self.rescale_factor) or not SMALLEST <= self.rescale_factor:
            raise ValueError(f"rescale_factor must be a positive number, got {self.rescale_factor!r}")
        self._set("image_mean", _channels("image_mean", self.image_mean))
        self._set("image_std", _channels("image_std", self.image_std))
        if len(self.image_mean) != len(self.image_std):
            raise ValueError(
                f"image_mean and image_std must have a value for each channel, got {self.image_mean} and {self.image_std}"
            )
        if min(self.image_std) < SMALLEST:
            raise ValueError(f"image_std must be positive, got {self.image_std}")
        if self.crop_mode is not None and not (isinstance(self.crop_mode, str) and self.crop_mode in CROP_MODES):
            raise ValueError(f"crop_mode must be None or one of {', '.join(CROP_MODES)}, got {self.crop_mode!r}")

    def _set(self, name: str, value) -> None:
        object.__setattr__(self, name, value)

    # ---- pictures to arrays ----------------------------------------------------------------------------------------

    def __call__(self, images, device=None) -> Tensor:
        """A picture, or a list of pictures, or a batch (N, C, H, W) or (N, H, W, C), as a float32 Tensor (N, C, H, W).

        Raises:
            FileNotFoundError, ImageError: for what is no readable picture; errors name the file, or the place in the list.
            ValueError: when the pictures come out in different sizes (which they can without do_resize).
        """
        dimensions = getattr(images, "ndim", None)
        if isinstance(images, str | PathLike | Image.Image) or isinstance(dimensions, int) and dimensions < 4:
            arrays = [self.array(images)]
        elif not isinstance(images, Iterable):
            raise TypeError(
                f"a picture is a path, a Pillow image, an array or a Tensor, and several are a list; got {type(images).__name__}"
            )
        else:
            arrays = [self.array(image, f"image {i}") for i, image in enumerate(images)]
        if not arrays:
            raise ValueError("there are no images to process: the list is empty")
        shapes = sorted({array.shape for array in arrays})
        if len(shapes) > 1:
            raise ValueError(
                f"images of a batch come out in different shapes, {shapes}; resize or crop them to one size"
            )
        return Tensor(np.stack(arrays), device=device)

    def array(self, image, name: str = "the image") -> np.ndarray:
        """One picture as a float32 array (C, H, W)."""
        pixels = np.asarray(self.picture(image, name), np.float32)
        return np.ascontiguousarray(self.normalized(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)))

    def prepare(self, image, name: str = "the image") -> tuple[np.ndarray, str]:
        """One picture as `array` gives it, and a note of what was done to it that one may want to know."""
        return self.array(image, name), ""

    def picture(self, image, name: str = "the image", max_pixels: int = MAX_PIXELS) -> Image.Image:
        """One picture after resizing and cropping, before the numbers are changed: what the model sees, for looking at."""
        picture = open_image(image, "L" if len(self.image_mean) == 1 else "RGB", max_pixels, name)
        scaled = self._scaled(picture.size) if self.do_resize else picture.size
        window = (self.crop_size["width"], self.crop_size["height"]) if self.do_center_crop else scaled
        if window[0] * window[1] > MAX_SCALED:
            raise ImageError(
                f"{name} would become {window[0]} x {window[1]} pixels, more than the {MAX_SCALED} allowed"
            )
        left, top = (self._corner(n, m) for n, m in zip(scaled, window, strict=True))
        fill = (
            tuple(round(255 * m) for m in self.image_mean)
            if self.crop_mode == "border"
            else (0,) * len(self.image_mean)
        )
        return scaled_window(
            picture, scaled, (left, top), window, FILTERS[self.resample], fill if len(fill) > 1 else fill[0]
        )

    # ---- pixels to a model's input, and back -----------------------------------------------------------------------

    def sized(self, pixels: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Images of a data set, which were read in the model's size, as they are."""
        return pixels

    @overload
    def normalized(self, pixels: Tensor) -> Tensor: ...

    @overload
    def normalized(self, pixels: np.ndarray) -> np.ndarray: ...

    def normalized(self, pixels: np.ndarray | Tensor) -> np.ndarray | Tensor:
        """The last two steps, pixels · rescale_factor and (… - image_mean) / image_std, of images (…, C, H, W) of any dtype: an
        array of float32, or of a Tensor a Tensor on its device."""
        x: Any = (
            pixels.float()
            if isinstance(pixels, Tensor)
            else checks.array("ImageProcessor.normalized", "pixels", pixels).astype(np.float32, copy=False)
        )
        if self.do_rescale:
            x = x * float(np.float32(self.rescale_factor))
        if self.do_normalize:
            mean, std = _column(self.image_mean), _column(self.image_std)
            if isinstance(x, Tensor):
                return (x - Tensor(mean, device=x.device)) / Tensor(std, device=x.device)
            x = (x - mean) / std
        return x

    def pixels(self, images) -> np.ndarray:
        """The inverse of `normalized`, in float32: a model's input (…, C, H, W) as pixels."""
        x = checks.array("ImageProcessor.pixels", "images", images).astype(np.float32)
        if self.do_normalize:
            x = x * _column(self.image_std) + _column(self.image_mean)
        return x / np.float32(self.rescale_factor) if self.do_rescale else x

    def restore(self, pixels) -> np.ndarray:
        """The inverse of the last two steps: a model's input (…, C, H, W) as uint8, clipped."""
        found = self.pixels(checks.array("ImageProcessor.restore", "pixels", pixels))
        return np.rint(found.clip(0, 255)).astype(np.uint8)

    def _scaled(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) after resizing."""
        if "shortest_edge" in self.size:
            return shorter_side(size, self.size["shortest_edge"])
        target = (self.size["width"], self.size["height"])
        if self.crop_mode in (None, "squash"):
            return target
        ratios = [n / m for n, m in zip(size, target, strict=True)]
        ratio = max(ratios) if self.crop_mode == "border" else min(ratios)
        width, height = (max(1, round(n / ratio)) for n in size)
        return width, height

    def _corner(self, n: int, m: int) -> int:
        """Where a window of m pixels begins in n; negative when it is longer."""
        if self.crop_mode is None:
            return (n - m) // 2
        return round((n - m) / 2) if n >= m else -((m - n) // 2)  # halves to even, as torchvision does

    @property
    def output_size(self) -> tuple[int, int] | None:
        """(height, width) of what comes out; None where that depends on the picture."""
        known = self.crop_size if self.do_center_crop else self.size if self.do_resize else {}
        return (known["height"], known["width"]) if "height" in known else None

    @property
    def channels(self) -> int:
        """Channels of what comes out."""
        return len(self.image_mean)

    # ---- files -----------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, source: str | PathLike, **of_the_hub) -> "ImageProcessor":
        """What a folder says about its pictures: the `model.safetensors` of a run, timm's `config.json`, or Hugging Face's
        `preprocessor_config.json`; or one of these files itself, or a name on the Hugging Face hub (extra `hub`), which
        takes `local_files_only`, `cache_dir` and `revision` as `models.from_pretrained` does.

        Raises:
            FileNotFoundError: when there is nothing at `source`. HubError: when the hub can't be reached or lacks it.
            ValueError: when it says nothing about pictures, asks for a step that doesn't exist here, or is damaged.
        """
        found = preprocessing.read(locate(source, **of_the_hub))
        if found is None:
            raise ValueError(
                f"{source} doesn't say how pictures are prepared: there is no {PREPROCESSOR}, no config.json with timm's "
                "pretrained_cfg and no note of a training run; make an ImageProcessor(size=…) yourself"
            )
        values, path = found
        try:
            return cls.from_dict(values)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ImageProcessor":
        """From the contents of one of these files. Entries that don't concern the pixels are passed over.

        Raises:
            ValueError: as `from_pretrained`.
        """
        return cls(**preprocessing.arguments(checks.mapping("ImageProcessor.from_dict", "values", values)))

    def to_dict(self) -> dict[str, object]:
        """The contents of a `preprocessor_config.json`. (`crop_mode` is no entry of Hugging Face's, and ignored there.)"""
        plain = self.crop_mode is None and not self.do_center_crop and "height" in self.size
        out: dict[str, object] = {
            "image_processor_type": "PvtImageProcessor" if plain else "BitImageProcessor",  # the latter crops, too
            "do_resize": self.do_resize,
            "size": dict(self.size),
            "resample": FILTERS[self.resample].value,
            "do_center_crop": self.do_center_crop,
            "do_rescale": self.do_rescale,
            "rescale_factor": self.rescale_factor,
            "do_normalize": self.do_normalize,
            "image_mean": list(self.image_mean),
            "image_std": list(self.image_std),
        }
        if self.crop_size is not None:
            out["crop_size"] = dict(self.crop_size)
        if self.crop_mode is not None:
            out["crop_mode"] = self.crop_mode
        return out

    def to_timm(self) -> dict[str, object]:
        """The entries of timm's `pretrained_cfg` that concern pictures.

        Raises:
            ValueError: when timm can't express it: it always resizes, rescales by 1/255 and normalises.
        """
        return preprocessing.to_timm({f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def of_checkpoint(
        cls, path: str | PathLike, in_channels: int, height: int, width: int, strict: bool = True
    ) -> "ImageProcessor":
        """How pictures are prepared for the checkpoint at `path`, a file or a folder: as it says, or, where it says nothing, with a
        warning, as the published weights of its layout take them.

        Args:
            in_channels, height, width: of the model's input.
            strict: whether it is an error when the checkpoint asks for what doesn't exist here, or for other channels than the
                model's; else the published weights' way is taken then, too.

        Raises:
            ValueError: see `strict`; or when the model's channels are no picture's. Otherwise as `from_pretrained`.
        """
        who, path = "ImageProcessor.of_checkpoint", Path(checks.path("ImageProcessor.of_checkpoint", "path", path))
        sizes = (("in_channels", in_channels), ("height", height), ("width", width))
        channels, height, width = (checks.whole(who, name, value) for name, value in sizes)
        problem = "doesn't say how pictures are prepared"
        if preprocessing.read(path) is not None:
            try:
                found = cls.from_pretrained(path)
                if found.channels == channels:
                    return found
                raise ValueError(
                    f"{path}: pictures are prepared with {found.channels} channels, but the model takes {channels}"
                )
            except ValueError:
                if strict:
                    raise
            problem = "prepares pictures otherwise than by size and colour"
        if channels not in (1, 3):
            raise ValueError(f"{path}: its model takes {channels} channels, and pictures have 1 or 3")
        layout = layout_of(path)
        warn(f"{path} {problem}; using what {preprocessing.ORIGINS[layout]} published weights take")
        return cls.from_dict(preprocessing.published(layout, height, width, channels))

    def save_pretrained(self, folder: str | PathLike) -> None:
        """Write `preprocessor_config.json` into a folder, which is made when it doesn't exist."""
        checks.path("ImageProcessor.save_pretrained", "folder", folder)
        Path(folder).mkdir(parents=True, exist_ok=True)
        atomic_write_json(Path(folder) / PREPROCESSOR, self.to_dict())


def _size(name: str, value) -> dict[str, int]:
    """{"height", "width"} or {"shortest_edge"}, checked."""
    if isinstance(value, Mapping):
        sides = {key: side for key, side in value.items() if side is not None}
    elif isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
        sides = {"height": value[0], "width": value[1]}
    else:
        sides = {"height": value, "width": value}
    if set(sides) not in ({"height", "width"}, {"shortest_edge"}) or not all(_is_side(side) for side in sides.values()):
        raise ValueError(
            f"{name} must be a height and a width, or a shortest_edge, from 1 to {MAX_SIDE} pixels; got {value!r}"
        )
    return sides


def _is_side(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_SIDE


def _is_number(value) -> bool:
    """Whether it is a finite number in float32, too."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def _filter(value) -> str:
    """The name of Pillow's filter."""
    for name, filter in FILTERS.items():
        if isinstance(value, str) and value.lower() == name or isinstance(value, int) and value == filter.value:
            return name
    raise ValueError(
        f"resample must be one of {', '.join(f'{n} ({f.value})' for n, f in FILTERS.items())}; got {value!r}"
    )


def _channels(name: str, value) -> tuple[float, ...]:
    values = (value,) * 3 if _is_number(value) else tuple(value) if isinstance(value, Sequence) else ()
    if len(values) not in (1, 3) or not all(_is_number(v) for v in values):
        raise ValueError(f"{name} must be one number for each of 1 or 3 channels, got {value!r}")
    return values


def _column(values: Sequence[float]) -> np.ndarray:
    return np.array(values, np.float32)[:, None, None]
