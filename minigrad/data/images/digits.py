"""Pictures of handwritten digits in the form of the scans of `data.Digits`."""

import numpy as np
from PIL import Image, ImageFilter

from minigrad import checks
from minigrad.data.images.reading import ImageError

MIN_CONTRAST = 25  # between paper and ink, of 255
FAINT = 0.2  # of the darkest ink: less doesn't count for the bounding box
THIN = 0.2  # mean of the bitmap below which strokes are widened; the scans have 0.31


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
