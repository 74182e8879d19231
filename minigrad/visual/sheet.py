"""Rows of panels with captions as one picture, drawn with Pillow alone."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from minigrad import checks
from minigrad.files import atomic_write

GAP, TITLE, TEXT, INK, QUIET = 16, 17, 15, (30, 30, 30), (105, 105, 105)


@dataclass
class Panel:
    """A picture, what stands above it, and the lines below it."""

    picture: Image.Image
    title: str = ""
    lines: tuple[str, ...] = ()


def sheet(rows: Sequence[Sequence[Panel]], notes: Sequence[str] = (), bar: "Bar | None" = None) -> Image.Image:
    """The rows one below the other, a colour bar and notes under them."""
    title, text = ImageFont.load_default(TITLE), ImageFont.load_default(TEXT)

    def widest(panel: Panel) -> int:
        return max(
            [panel.picture.width, round(title.getlength(panel.title)), *(round(text.getlength(s)) for s in panel.lines)]
        )

    columns = max(len(row) for row in rows)
    widths = [max(widest(row[i]) for row in rows if i < len(row)) for i in range(columns)]
    line = TEXT + 6
    heights = [max(TITLE + 9 + p.picture.height + 6 + line * len(p.lines) for p in row) for row in rows]
    foot = line * len(notes) + (bar.height + GAP if bar else 0)
    width = max([sum(widths) + GAP * (columns + 1), *(round(text.getlength(s)) + 2 * GAP for s in notes)])
    page = Image.new("RGB", (width, sum(heights) + GAP * (len(rows) + 1) + (foot + GAP if foot else 0)), "white")
    draw = ImageDraw.Draw(page)
    y = GAP
    for row, height in zip(rows, heights, strict=True):
        x = GAP
        for panel, column in zip(row, widths, strict=False):
            draw.text((x, y), panel.title, INK, title)
            page.paste(panel.picture, (x, y + TITLE + 9))
            for i, words in enumerate(panel.lines):
                draw.text((x, y + TITLE + 9 + panel.picture.height + 6 + line * i), words, QUIET, text)
            x += column + GAP
        y += height + GAP
    if bar:
        bar.draw(page, draw, (GAP, y), text)
        y += bar.height + GAP
    for words in notes:
        draw.text((GAP, y), words, QUIET, text)
        y += line
    return page


@dataclass
class Bar:
    """A colour bar: colours (n, 3) from left to right, and labels at positions between 0 and 1."""

    colours: np.ndarray
    labels: Sequence[tuple[float, str]]
    height: int = 40

    def draw(self, page: Image.Image, draw: ImageDraw.ImageDraw, corner: tuple[int, int], font) -> None:
        x, y = corner
        width = min(420, page.width - 2 * GAP - 60)
        strip = Image.fromarray(self.colours.astype(np.uint8)[None]).resize((width, 14), Image.Resampling.BILINEAR)
        x += 20  # room for the first label
        page.paste(strip, (x, y))
        draw.rectangle((x, y, x + width - 1, y + 13), outline=(200, 200, 200))
        for place, words in self.labels:
            draw.text((x + place * width, y + 18), words, QUIET, font, anchor="ma")


def enlarge(pixels: np.ndarray, height: int) -> Image.Image:
    """A picture (C, H, W) of uint8 at the given height, in RGB: small ones as visible squares, others smoothly."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))).convert(
        "RGB"
    )
    size = (max(1, round(height * image.width / image.height)), height)
    return image.resize(size, Image.Resampling.BICUBIC if image.height > 96 else Image.Resampling.NEAREST)


def write_png(image: Image.Image, path: str | PathLike | None) -> Image.Image:
    """The image, written as a PNG when there is a path.

    Raises:
        ValueError: when the path ends otherwise.
    """
    if path is not None:
        if Path(checks.path("a picture", "path", path)).suffix.lower() != ".png":
            raise ValueError(f"the picture is a PNG: give a path that ends in .png, not {path}")
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        atomic_write(path, buffer.getvalue())
    return image
