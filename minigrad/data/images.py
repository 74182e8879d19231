"""Reading one image file that may come from anywhere."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

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
MAX_PIXELS = 64 * 1024 * 1024

# What Pillow's decoders raise on damaged files.
_DAMAGED = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, OverflowError, struct.error, zlib.error)


class ImageError(ValueError):
    """A file that can't be read as an image, or one that would be too large."""


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
    if mode not in ("RGB", "L"):
        raise ValueError(f"mode must be 'RGB' or 'L', got {mode!r}")
    if not Path(path).exists():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with Image.open(path, formats=tuple(FORMATS)) as file:
            if file.width * file.height > max_pixels:
                raise ImageError(f"{path} is {file.width} x {file.height} pixels, more than the {max_pixels} allowed")
            image = _flat(ImageOps.exif_transpose(file), mode)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path} is refused as too large: {error}") from None
    except Image.UnidentifiedImageError:
        raise ImageError(f"{path} is not an image of a known format ({', '.join(FORMATS)})") from None
    except _DAMAGED as error:
        raise ImageError(f"{path} can't be read as an image: {error}") from error
    if size is not None:
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    array = np.asarray(image)
    return array[None] if mode == "L" else np.ascontiguousarray(array.transpose(2, 0, 1))


def _flat(image: Image.Image, mode: str) -> Image.Image:
    """The image without transparency (over white) and in 8 bits a channel."""
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image, np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)
