"""Pictures of handwritten digits: in the form of the scans of `data.Digits`, and from there a model's input."""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from minigrad import checks
from minigrad.data.images.processor import ImageProcessor
from minigrad.data.images.reading import ImageError, open_image
from minigrad.data.transforms import Resize
from minigrad.interop import run_note

MIN_CONTRAST = 25  # between paper and ink, of 255
FAINT = 0.2  # of the darkest ink: less doesn't count for the bounding box
THIN = 0.2  # mean of the bitmap below which strokes are widened; the scans have 0.31


@dataclass(frozen=True)
class ScanProcessor(ImageProcessor):
    """For models of the scans of `data.Digits`, 8 × 8 values from 0 (paper) to 16 (ink): a picture becomes such a scan
    (`digit_scan`), the scan is enlarged to `size` in floating point, the rest is as for other pictures."""

    def prepare(self, image, name: str = "the image") -> tuple[np.ndarray, str]:
        name = str(image) if isinstance(image, str | PathLike) else name
        scan, inverted = digit_scan(np.asarray(open_image(image, "L", name=name)), name)
        return self.normalized(self.sized(scan[None])), "bright background: inverted" if inverted else ""

    def array(self, image, name: str = "the image") -> np.ndarray:
        return self.prepare(image, name)[0]

    def sized(self, pixels: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Scans (…, 8, 8) enlarged to the model's size."""
        return Resize((self.size["height"], self.size["width"]))(pixels)


def of_run(values: Mapping[str, Any]) -> ImageProcessor:
    """What prepares the input of a training run's model, from the run's note.

    Raises:
        ValueError: when the note is damaged.
    """
    if not run_note.is_preprocessing(values):
        return ImageProcessor.from_dict(values)
    kind = ScanProcessor if values["kind"] == run_note.DIGITS else ImageProcessor
    return kind(**run_note.arguments(values))


def to_run(processor: ImageProcessor) -> dict[str, Any]:
    """What a training run notes of its processor; the inverse of `of_run`."""
    kind = run_note.DIGITS if isinstance(processor, ScanProcessor) else run_note.IMAGES
    height, width = processor.output_size or (0, 0)
    maximum = 1 / processor.rescale_factor
    noted = run_note.preprocessing(
        kind,
        height,
        int(maximum) if maximum == int(maximum) else maximum,
        list(processor.image_mean),
        list(processor.image_std),
    )
    return noted if 0 < height == width and of_run(noted) == processor else processor.to_dict()


def digit_scan(pixels: np.ndarray, name: str = "the image") -> tuple[np.ndarray, bool]:
    """A picture of a digit in the form of the training scans: 8 × 8 values from 0 (paper) to 16 (ink).

    The scans were made from bitmaps of 32 × 32 that the digit fills from top to bottom, by counting the ink in each
    block of 4 × 4. So: the brightness of the border is the paper, and whether the rest is mostly darker or brighter
    tells the ink; the ink's bounding box is scaled to a height of 32 (or a width of 32, for what is wider than high)
    and its centre of mass put in the middle; a thin pen's strokes are widened; then the blocks are averaged.

    Args:
        pixels: (H, W), grey.
        name: for the error.

    Returns:
        The scan, float32 (8, 8), and whether the background was the brighter side.

    Raises:
        ImageError: when all pixels are about as bright as the border.
    """
    grey = checks.array("digit_scan", "pixels", pixels, "an array (H, W)").astype(np.float32)
    if grey.ndim != 2 or not grey.size:
        raise ValueError(f"digit_scan: pixels must be a grey picture (H, W), got shape {grey.shape}")
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    paper = float(np.median(border))
    darker, brighter = paper - float(grey.min()), float(grey.max()) - paper
    if max(darker, brighter) < MIN_CONTRAST:
        raise ImageError(f"{name} shows no digit: all of it is about as bright as its border")
    inverted = darker > brighter
    ink = np.clip((paper - grey if inverted else grey - paper) / max(darker, brighter), 0, 1)
    rows, columns = (np.flatnonzero((ink > FAINT).any(axis=axis)) for axis in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = ink.shape
    scale = 32 / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    box = Image.fromarray(ink).resize(size, Image.Resampling.BILINEAR)
    across = np.asarray(box).sum(axis=0)
    middle = (across * (np.arange(size[0]) + 0.5)).sum() / across.sum()
    frame = Image.new("F", (32, 32))
    frame.paste(box, (int(np.clip(round(16 - middle), 0, 32 - size[0])), (32 - size[1]) // 2))
    bitmap = np.asarray(frame) / np.asarray(frame).max()
    while bitmap.mean() < THIN:
        bitmap = np.asarray(Image.fromarray(bitmap).filter(ImageFilter.MaxFilter(3)))
    return 16 * bitmap.reshape(8, 4, 8, 4).mean(axis=(1, 3)), inverted
