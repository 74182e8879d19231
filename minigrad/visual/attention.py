"""Where a model looks and what its stages hold: attention over the image, and the feature pyramid as colours.

Drawn with Pillow alone. Both functions return a `PIL.Image.Image` and, given a path, write it as a PNG.
"""

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from minigrad import checks, models
from minigrad.engine.tensor import Tensor
from minigrad.models.pvt_v2.config import POOL, PVTV2Config
from minigrad.nn.utils import evaluation
from minigrad.visual.sheet import Bar, Panel, enlarge, sheet, write_png

if TYPE_CHECKING:
    from minigrad.models import ImageProcessor

SIDE = 288  # height of a panel
LESS, MORE = (
    np.array([13, 20, 60]),
    np.array([255, 120, 0]),
)  # colours of the keys that get less and more than their share
STRENGTH = 0.8  # how much of the picture they cover at the ends of the scale


def attention_overlay(
    model,
    image,
    processor: "ImageProcessor | None" = None,
    *,
    query: tuple[int, int] | None = None,
    block: int = -1,
    titles: Sequence[str] | None = None,
    path: str | PathLike | None = None,
) -> Image.Image:
    """The picture, and over it for each stage how much attention each place gets.

    What is drawn: a stage's attention weights A, (heads, queries, keys), with rows that sum to 1, are averaged over heads
    and over all queries (or taken for the one query whose token lies at `query`). That gives each key's share of the
    attention; times the number of keys it is 1 where attention is even. The colour is its logarithm: orange for more than
    an even share, dark blue for less, the bare picture for an even share; one scale for all stages
    and images.

    What it is: keys lie on a coarser grid than queries. With spatial reduction one key stands for sr_ratio × sr_ratio
    tokens, at 224×224 in every stage for 32 × 32 pixels, and linear attention has 7×7 keys whatever the size; the grid is
    interpolated for the eye. A last row or column that is no full window of the reduction belongs to no key and stays bare.

    What it isn't: an explanation of the answer. PVT v2 has no class token, the values that are mixed have been mixed before,
    heads may disagree, and residual connections pass by the attention. With a 1×1 grid of keys attention is 1 whatever the
    image shows; the panel then says so.

    Args:
        model: a `PVT_V2`, `PVTV2Model` or `PVTV2Backbone`, or a model with one as `backbone`. It is run in evaluation mode.
        image: a picture (a path, a Pillow image, an array), or a Tensor (C, H, W) that the model takes as it is; or a list of
            them, or a Tensor (N, C, H, W), for a row of panels each.
        processor: prepares pictures; by default `ImageProcessor(size=config.img_size)`. For a Tensor it tells the colours;
            without it they are stretched.
        query: (row, column) in pixels of the model's input: attention of this place alone.
        block: which block of each stage, the last by default.
        titles: above each picture, such as file names.
        path: where to write a PNG.

    Raises:
        ValueError: when the query lies outside the image, a stage has no such block, or the image doesn't suit the model.
    """
    config = _encoder(model).config
    block = checks.whole("attention_overlay", "block", block)
    inputs, pictures = _prepare(model, image, processor)
    titles = _titles("attention_overlay", titles, len(inputs))
    shares = [_shares(model, x, query, block) for x in inputs]
    top = int(np.clip(np.ceil(max(_log2(share).max() for row in shares for share in row)), 1, 4))
    rows = []
    for i, (row, picture) in enumerate(zip(shares, pictures, strict=True)):
        height, width = inputs[i].shape[2:]
        scene = enlarge(picture, SIDE)
        panels = [
            Panel(_mark(scene, query, height), titles[i] if titles else "model's input", (f"{width} x {height}",))
        ]
        maps, grids = config.map_sizes(height, width), config.key_grids(height, width)
        for stage, share in enumerate(row):
            covered = _covered(config, stage, maps[stage], share.shape)
            if grids[stage] == (1, 1):
                lines = ("one key: attention is constant,", "whatever the image shows")
            else:
                lines = (
                    f"{share.shape[1]} x {share.shape[0]} keys",
                    f"{share.min():.2f} to {share.max():.2f} times even",
                )
            drawn = _mark(_overlay(scene, share, covered, top), query, height)
            panels.append(Panel(drawn, f"stage {stage + 1}", lines))
        rows.append(panels)
    whose = "all queries" if query is None else f"the query at {tuple(query)}"
    note = f"Attention of {whose} in the {_ordinal(block)} block of each stage, mean over heads, relative to an even share."
    return write_png(sheet(rows, [note], _bar(top)), path)


def feature_pyramid(
    model,
    image,
    processor: "ImageProcessor | None" = None,
    *,
    titles: Sequence[str] | None = None,
    path: str | PathLike | None = None,
) -> Image.Image:
    """The picture and the map of each stage beside it, one cell a token.

    Red, green and blue are a map's first three principal components over its own pixels, each stretched from its 2nd to its
    98th percentile: places of one colour have alike features. Colours of different stages or images mean different things.
    (Lengths of the feature vectors would show little: each stage ends with a layer norm.)

    Args:
        model, image, processor, titles, path: as in `attention_overlay`.

    Raises:
        ValueError: when the image doesn't suit the model.
    """
    inputs, pictures = _prepare(model, image, processor)
    titles = _titles("feature_pyramid", titles, len(inputs))
    rows = []
    for i, (x, picture) in enumerate(zip(inputs, pictures, strict=True)):
        height, width = x.shape[2:]
        scene = enlarge(picture, SIDE)
        panels = [Panel(scene, titles[i] if titles else "model's input", (f"{width} x {height}",))]
        with evaluation(model):
            maps = [m.numpy()[0].astype(np.float64) for m in _encoder(model).stage_maps(x)]
        for stage, features in enumerate(maps):
            colours, part = _components(features)
            cells = Image.fromarray(np.ascontiguousarray(colours.transpose(1, 2, 0)))
            lines = (
                f"{len(features)} channels, {features.shape[2]} x {features.shape[1]}",
                f"colours: {100 * part:.0f} % of the variance",
            )
            panels.append(Panel(cells.resize(scene.size, Image.Resampling.NEAREST), f"stage {stage + 1}", lines))
        rows.append(panels)
    return write_png(sheet(rows), path)


# ---- the numbers -----------------------------------------------------------------------------------------------------


def _encoder(model):
    """The part that has `stage_maps` and a PVT v2 configuration."""
    for candidate in (model, getattr(model, "backbone", None)):
        if hasattr(candidate, "stage_maps") and isinstance(getattr(candidate, "config", None), PVTV2Config):
            return candidate
    raise TypeError(f"expected a PVT v2 model, or one with a PVT v2 as its backbone; got {type(model).__name__}")


def _prepare(model, image, processor: "ImageProcessor | None") -> tuple[list[Tensor], list[np.ndarray]]:
    """Each image as a model's input (1, C, H, W) and as uint8 (C, H, W) for looking at."""
    config, device = _encoder(model).config, next(model.parameters()).device
    if processor is not None and not (callable(processor) and hasattr(processor, "restore")):
        raise checks.wrong("a picture of a model", "processor", "an ImageProcessor or None", processor)
    if isinstance(image, Tensor) and image.ndim == 4:
        image = [image[i] for i in range(len(image))]
    inputs, pictures = [], []
    for picture in image if isinstance(image, list | tuple) else [image]:
        if isinstance(picture, Tensor):
            if picture.ndim not in (3, 4):
                raise ValueError(f"a picture is a tensor (C, H, W) or (1, C, H, W), got shape {picture.shape}")
            inputs.append(picture.reshape(1, *picture.shape[-3:]).to(device))
        elif processor is not None or config.in_channels == 3:
            processor = processor or models.ImageProcessor(size=config.image_shape)
            inputs.append(processor(picture, device))
        else:
            raise ValueError(
                f"how a picture becomes {config.in_channels} channels isn't known; give a processor, or a Tensor"
            )
        pixels = inputs[-1].numpy()[0]
        pictures.append(_as_picture(pixels.astype(np.float64)) if processor is None else processor.restore(pixels))
    return inputs, pictures


def _titles(who: str, titles: object, count: int) -> list[str]:
    """A title for each picture, or none."""
    if titles is None:
        return []
    found = checks.entries(who, "titles", titles, "a list of strings", str)
    if found and len(found) < count:
        raise ValueError(f"{who}: there are {count} pictures and {len(found)} titles; give one for each")
    return found


def _as_picture(pixels: np.ndarray) -> np.ndarray:
    """A model's input (C, H, W) of unknown range as uint8: from its lowest to its highest value. Grey unless C is 3."""
    pixels = pixels if len(pixels) == 3 else pixels.mean(0, keepdims=True)
    return _stretch(pixels.reshape(1, -1, pixels.shape[2]), 0).reshape(pixels.shape)


def _is_inside(query, height: int, width: int) -> bool:
    """Whether a query is a row and a column of an image."""
    if not isinstance(query, Sequence) or len(query) != 2 or not all(isinstance(n, int | np.integer) for n in query):
        return False
    return 0 <= query[0] < height and 0 <= query[1] < width


def _shares(model, x: Tensor, query: tuple[int, int] | None, block: int) -> list[np.ndarray]:
    """For each stage the keys' shares of the attention, times their number, on their grid (rows, columns)."""
    encoder, (height, width) = _encoder(model), x.shape[2:]
    config = encoder.config
    if query is not None and not _is_inside(query, height, width):
        raise ValueError(f"query must be a (row, column) inside the input of {height}×{width} pixels, got {query!r}")
    attentions: list[Tensor] = []
    with evaluation(model):
        encoder.stage_maps(x, attentions)
    out, first = [], 0
    for stage, (depth, size) in enumerate(zip(config.depths, config.map_sizes(height, width), strict=True)):
        if not -depth <= block < depth:
            raise ValueError(f"stage {stage + 1} has {depth} blocks, there is no block {block} in it")
        weights = attentions[first + block % depth].numpy()[0].astype(np.float64).mean(0)  # (queries, keys)
        first += depth
        if query is None:
            share = weights.mean(0)
        else:
            row, column = (min(q * n // m, n - 1) for q, n, m in zip(query, size, (height, width), strict=True))
            share = weights[row * size[1] + column]
        grid = (POOL, POOL) if config.linear else tuple(n // config.sr_ratios[stage] for n in size)
        out.append(share.reshape(grid) * share.size)
    return out


def _covered(config: PVTV2Config, stage: int, size: tuple[int, int], grid: tuple[int, ...]) -> tuple[float, float]:
    """The part of the map's height and width that keys stand for."""
    if config.linear:
        return 1.0, 1.0
    rows, columns = (n * config.sr_ratios[stage] / m for n, m in zip(grid, size, strict=True))
    return rows, columns


def _components(features: np.ndarray) -> tuple[np.ndarray, float]:
    """The first three principal components of (C, H, W) as uint8 (3, H, W), and their part of the variance."""
    c, h, w = features.shape
    centred = features.reshape(c, -1).T - features.reshape(c, -1).mean(1)
    u, s, v = np.linalg.svd(centred, full_matrices=False)
    count = min(3, len(s))
    signs = np.sign(v[np.arange(count), abs(v[:count]).argmax(1)])  # an SVD leaves them open
    scores = np.zeros((3, h, w))
    scores[:count] = (u[:, :count] * s[:count] * signs).T.reshape(count, h, w)
    total = (s**2).sum()
    return _stretch(scores, 2), float((s[:count] ** 2).sum() / total) if total else 1.0


def _stretch(values: np.ndarray, percent: float) -> np.ndarray:
    """Each (H, W) of (n, H, W) from its low to its high percentile onto 0 … 255, as uint8; even ones become grey."""
    low, high = (np.percentile(values, p, axis=(1, 2), keepdims=True) for p in (percent, 100 - percent))
    even = high - low < 1e-12
    unit = np.where(even, 0.5, (values - low) / np.where(even, 1, high - low))
    return np.rint(255 * unit.clip(0, 1)).astype(np.uint8)


def _log2(shares: np.ndarray) -> np.ndarray:
    return np.log2(np.maximum(shares, 2.0**-20))


# ---- the drawing -----------------------------------------------------------------------------------------------------


def _tint(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The colours (…, 3) and strengths (…, 1) for levels between -1 and 1."""
    levels = levels[..., None]
    return np.where(levels > 0, MORE, LESS), STRENGTH * abs(levels) ** 0.8


def _overlay(scene: Image.Image, shares: np.ndarray, covered: tuple[float, float], top: int) -> Image.Image:
    """The backdrop under the colours of the shares."""
    width, height = scene.size
    box = (max(1, round(width * covered[1])), max(1, round(height * covered[0])))
    levels = Image.fromarray((_log2(shares) / top).clip(-1, 1).astype(np.float32))
    colours, strength = _tint(np.asarray(levels.resize(box, Image.Resampling.BILINEAR)))
    grey = _backdrop(scene)
    grey[: box[1], : box[0]] = (1 - strength) * grey[: box[1], : box[0]] + strength * colours
    return Image.fromarray(np.rint(grey).astype(np.uint8))


def _backdrop(scene: Image.Image) -> np.ndarray:
    """The picture in grey, (H, W, 3), neither black nor white anywhere, so that colours show on it."""
    return np.asarray(scene.convert("L").convert("RGB")) * 0.6 + 64


def _mark(scene: Image.Image, query: tuple[int, int] | None, height: int) -> Image.Image:
    """The picture with a ring around the query."""
    if query is None:
        return scene
    scene = scene.copy()
    scale = scene.height / height
    x, y = (query[1] + 0.5) * scale, (query[0] + 0.5) * scale
    draw = ImageDraw.Draw(scene)
    for radius, colour in ((8, "black"), (7, "white"), (6, "white"), (5, "black")):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour)
    return scene


def _bar(top: int) -> Bar:
    """The colour bar of `_overlay`, over a medium grey."""
    colours, strength = _tint(np.linspace(-1, 1, 201))
    labels = [(0, f"1/{2**top}"), (0.5, "even share"), (1, f"{2**top} times")]
    return Bar((1 - strength) * 150 + strength * colours, labels)


def _ordinal(block: int) -> str:
    return "last" if block == -1 else f"{block + 1}." if block >= 0 else f"{-block}. last"
