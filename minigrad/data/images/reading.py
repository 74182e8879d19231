"""Reading images that may come from anywhere: files, Pillow images, arrays."""

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from minigrad import checks

FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "PPM": (".pbm", ".pgm", ".ppm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
MAX_PIXELS, MAX_SIDE = 60_000_000, 1_000_000  # with these no format takes 1 GB; WebP comes closest

ORIENTATION = 0x0112  # the EXIF tag
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # what turns an image of each orientation
STRIP = 1 << 20  # pixels that are converted at a time
MAX_SCALED = 1 << 24  # pixels that an image is scaled to as a whole

# What Pillow's decoders raise on damaged files.
_DAMAGED = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    struct.error,
    zlib.error,
)


class ImageError(ValueError):
    """What can't be read as an image, or would be too large."""


def read_image(
    path: str | os.PathLike, mode: str = "RGB", size: int | None = None, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """An image file as an array (channels, H, W) of uint8.

    Turned upright as its EXIF data says; transparent parts become white; 16-bit grey is scaled to 8 bits.

    Args:
        path: a PNG, JPEG, BMP, GIF (first frame), PPM, TIFF or WebP file, judged by its content, not its name.
        mode: "RGB" (three channels) or "L" (one, grey).
        size: scale the shorter side to this many pixels (bilinear, antialiased) and cut out the central square.
        max_pixels: larger images are refused before their pixels are unpacked (a small file can claim any size).

    Raises:
        FileNotFoundError: when there is no such file.
        ImageError: when it is no image of these formats, damaged or too large.
    """
    image = open_image(path, mode, max_pixels)
    if size is not None:
        size = checks.whole("read_image", "size", size)
        width, height = scaled = shorter_side(image.size, size)
        corner = ((width - size) // 2, (height - size) // 2)
        image = scaled_window(image, scaled, corner, (size, size), Image.Resampling.BILINEAR)
    array = np.asarray(image)
    return array[None] if mode == "L" else np.ascontiguousarray(array.transpose(2, 0, 1))


def open_image(source, mode: str = "RGB", max_pixels: int = MAX_PIXELS, name: str = "the image") -> Image.Image:
    """An image in 8 bits a channel, upright, without transparency, from a file, a Pillow image or an array.

    EXIF orientation is applied. Transparent parts become white. 16-bit grey loses its lower byte, as Pillow does with
    16-bit colours. Where no range is stated (Pillow's modes "I" and "F"; arrays of other dtypes than uint8, uint16 and
    bool) the largest value tells it: up to 1 in floating point 0 … 1, up to 255 8 bits, up to 65535 16 bits.

    Args:
        source: a path (see `read_image`); a `PIL.Image.Image`; or an array or Tensor (H, W), (C, H, W) or (H, W, C),
            where C is 1 (grey), 3 or 4 (with alpha). What could be either is taken as (C, H, W).
        mode: "RGB" or "L" (grey).
        max_pixels: larger images are refused before their pixels are unpacked.
        name: what to call the image in errors, when it isn't a file.

    Raises:
        FileNotFoundError: when there is no such file. ImageError: for what can't be read. TypeError: for other sources.
    """
    checks.choice("open_image", "mode", mode, ("RGB", "L"))
    checks.number("open_image", "max_pixels", max_pixels)
    if isinstance(source, str | os.PathLike):
        if not Path(source).exists():
            raise FileNotFoundError(f"there is no file {source}")
        if Path(source).is_dir():
            raise ImageError(f"{source} is a folder, not an image")
        # Opened here, since by name Pillow maps some files into memory: one cut short meanwhile would end the process, and
        # mapped TIFF files are turned wrongly (seen in Pillow 13.0).
        with _one_sentence(str(source)), open(source, "rb") as file, Image.open(file, formats=tuple(FORMATS)) as image:
            return _flat(image, mode, max_pixels, str(source))
    pillow = isinstance(source, Image.Image)
    if not pillow and not hasattr(source, "__array__"):
        raise TypeError(f"an image is a path, a Pillow image or an array, got {type(source).__name__}")
    with _one_sentence(name):
        return _flat(source if pillow else _from_array(source, name), mode, max_pixels, name)


def find_images(folder: str | os.PathLike) -> list[Path]:
    """The image files in a folder and below it, in alphabetical order: judged by suffix; names with a dot in front are
    passed over."""
    return [path for path in sorted(Path(folder).rglob("*")) if is_image(path)]


def is_image(path: Path) -> bool:
    """Whether a file's name says that it is an image of a known format."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def shorter_side(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(width, height) scaled so that the shorter one is `side`; the longer one is rounded down."""
    width, height = size
    return (side, side * height // width) if width <= height else (side * width // height, side)


def scaled_window(
    image: Image.Image,
    scaled: tuple[int, int],
    corner: tuple[int, int],
    window: tuple[int, int],
    resample: Image.Resampling,
    fill: int | tuple[int, ...] = 0,
) -> Image.Image:
    """The window at `corner` (left, top) of an image scaled to `scaled`; sizes are (width, height).

    What lies outside the scaled image has the colour `fill`, black by default. Of a very long image only the window is
    computed, and where Pillow, which scales rows first, would need much memory in between, columns are scaled first: the
    same up to rounding.
    """
    left, top = max(corner[0], 0), max(corner[1], 0)
    right, bottom = min(corner[0] + window[0], scaled[0]), min(corner[1] + window[1], scaled[1])
    if scaled[0] * scaled[1] > MAX_SCALED:
        x, y = image.width / scaled[0], image.height / scaled[1]
        # Pillow takes the box in single precision, so what is far off is cut away first; filters reach three pixels out.
        west, north = (int(max(0, at - 4 * max(1, step))) for at, step in ((left * x, x), (top * y, y)))
        east, south = (int(at + 4 * max(1, step) + 1) for at, step in ((right * x, x), (bottom * y, y)))
        image = image.crop((west, north, min(east, image.width), min(south, image.height)))
        box = (left * x - west, top * y - north, right * x - west, bottom * y - north)
        image = image.resize((right - left, bottom - top), resample, box)
    else:
        if scaled[0] * image.height > MAX_SCALED and scaled[1] < image.height:
            image = image.resize((image.width, scaled[1]), resample)
        if scaled != image.size:
            image = image.resize(scaled, resample)
        if (right - left, bottom - top) != scaled:
            image = image.crop((left, top, right, bottom))
    if image.size == window:
        return image
    frame = Image.new(image.mode, window, fill)
    frame.paste(image, (left - corner[0], top - corner[1]))
    return frame


@contextmanager
def _one_sentence(name: str) -> Iterator[None]:
    """Whatever Pillow raises on a damaged file, as an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(f"{name} is refused as too large: it claims more than {MAX_PIXELS:,} pixels") from None
    except Image.UnidentifiedImageError:
        raise ImageError(f"{name} is not an image of a known format ({', '.join(FORMATS)})") from None
    except MemoryError:
        raise ImageError(f"{name} can't be read as an image: it takes more memory than there is") from None
    except _DAMAGED as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{name} can't be read as an image: {text}") from error


def _flat(image: Image.Image, mode: str, max_pixels: int, name: str) -> Image.Image:
    """Loaded, upright, without transparency (over white) and in 8 bits a channel."""
    if image.width * image.height > max_pixels:
        raise ImageError(f"{name} is {image.width} x {image.height} pixels, more than the {max_pixels} allowed")
    if max(image.size) > MAX_SIDE:
        raise ImageError(f"{name} is {image.width} x {image.height} pixels; a side may have {MAX_SIDE} at most")
    if not image.width * image.height:
        raise ImageError(f"{name} has no pixels: its size is {image.width} x {image.height}")
    image.load()
    try:
        turn = UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    except _DAMAGED:
        turn = None  # a picture is worth showing even where its EXIF data is damaged
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        low, high = image.getextrema()
        image = _by_strips(image, "L", lambda part: Image.fromarray(_eight_bits(np.asarray(part), low, high, name)))
    elif image.has_transparency_data:
        image = _by_strips(image, mode, lambda part: _over_white(part).convert(mode))
    if image.mode != mode:
        image = image.convert(mode)
    return image if turn is None else image.transpose(turn)


def _by_strips(image: Image.Image, mode: str, change: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """A new image of the given mode from some rows of another at a time: intermediate results stay small."""
    out, rows = Image.new(mode, image.size), max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        out.paste(change(image.crop((0, top, image.width, min(top + rows, image.height)))), (0, top))
    return out


def _over_white(image: Image.Image) -> Image.Image:
    image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _eight_bits(values: np.ndarray, low, high, name: str) -> np.ndarray:
    """Grey values or colours as uint8; `low` and `high` are the image's extremes (see `open_image`)."""
    if values.dtype.kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "u" and values.itemsize == 2:
        return (values >> 8).astype(np.uint8)
    if values.dtype.kind not in "iuf" or not (low >= 0 and high <= 65535 and np.isfinite(values).all()):
        what = f"from {low} to {high}" if values.dtype.kind in "iuf" else f"of type {values.dtype}"
        raise ImageError(f"{name} has values {what}; expected numbers from 0 to 1, to 255 or to 65535")
    if high > 255:
        return (values / 256).astype(np.uint8)
    if values.dtype.kind == "f":
        return np.rint(values.astype(np.float32) * (255 if high <= 1 else 1)).astype(np.uint8)
    return values.astype(np.uint8)


def _from_array(source, name: str) -> Image.Image:
    """A Pillow image of an array (see `open_image`)."""
    array = np.asarray(source)
    shape = array.shape
    if array.ndim == 3 and shape[0] in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    elif array.ndim != 2 and (array.ndim != 3 or shape[2] not in (1, 3, 4)):
        raise ImageError(
            f"{name} is an array of shape {shape}; expected (H, W), (C, H, W) or (H, W, C) with C 1, 3 or 4"
        )
    if not array.size:
        raise ImageError(f"{name} has no pixels: its shape is {shape}")
    if array.dtype != np.uint8:
        array = _eight_bits(array, array.min(), array.max(), name)
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if array.shape[2:] == (1,) else array))
