"""PVT v2 with a Semantic FPN finds discs, squares, triangles and stars, pixel by pixel, and draws what it sees.

    python examples/segment_shapes.py [--steps 3000] [--head fpn] [--device cpu] [--seed 0] [--output segmentation.png]

The scenes are generated as it trains, so their masks are exact: shapes of any hue, size and angle, some behind others or
across the edge, on a texture, with noise. The scenes that it is judged by come from a generator of their own, which is the
same whatever the seed.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from tqdm import tqdm

import minigrad as mg
from minigrad import models, nn, optim
from minigrad.training import class_iou, confusion_counts, mean_iou

CLASSES = ["background", "disc", "square", "triangle", "star"]
CORNERS = {
    "square": (4, 0.7071),
    "triangle": (3, 0.5),
    "star": (5, 0.42),
}  # and the radius half-way between two corners
SIZE, FINE = 64, 3  # pixels of a scene; points of a pixel along each side, of which the middle one is its centre
SEEN = 0.85  # share of a shape that those in front leave in sight, at least
BATCH, RATE, HELD_OUT = 4, 4e-3, 256


def inside(kind: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether points lie in a shape whose corners are 1 away from the origin."""
    if kind == "disc":
        return x * x + y * y <= 0.8
    corners, notch = CORNERS[kind]
    angles = 2 * np.pi * np.arange(corners) / corners
    along = np.max([np.cos(a) * x + np.sin(a) * y for a in angles], 0)  # towards the nearest corner
    across = np.sqrt(np.maximum(x * x + y * y - along * along, 0))
    inwards, aside = notch * np.cos(np.pi / corners), notch * np.sin(np.pi / corners)
    return along * aside + across * (1 - inwards) <= aside  # before the line from the corner to the notch


def colour(rng: np.random.Generator, strength: tuple[float, float]) -> np.ndarray:
    """Red, green and blue from 0 to 1, of any hue."""
    hue = rng.uniform(0, 2 * np.pi) + np.array([0, 2, 4]) * np.pi / 3
    return (rng.uniform(0.4, 0.65) + rng.uniform(*strength) * np.cos(hue))[:, None, None]


def scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An image (3, SIZE, SIZE) from 0 to 1, and the class at each pixel's centre, (SIZE, SIZE)."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    angle, wave = rng.uniform(0, np.pi), rng.uniform(0.2, 1.2)
    stripes = np.sin(wave * (np.cos(angle) * x + np.sin(angle) * y))
    patches = rng.standard_normal((8, 8)).repeat(SIZE // 8, 0).repeat(SIZE // 8, 1)
    image = colour(rng, (0, 0.08)) + rng.uniform(0, 0.08) * stripes + rng.uniform(0, 0.06) * patches
    number, kinds, areas = np.zeros((SIZE, SIZE), np.int64), [0], [0]  # which shape each pixel shows; what they are
    for _ in range(rng.integers(2, 5)):
        kind = int(rng.integers(1, len(CLASSES)))
        radius = rng.uniform(12, 21) * (1.2 if CLASSES[kind] == "star" else 1)
        (cx, cy), turn, paint = rng.uniform(10, SIZE - 10, 2), rng.uniform(0, 2 * np.pi), colour(rng, (0.25, 0.35))
        left, top = (max(int(c - radius), 0) for c in (cx, cy))
        right, bottom = (min(int(c + radius) + 1, SIZE) for c in (cx, cy))
        window = np.s_[top:bottom, left:right]
        u, v = (np.arange(a * FINE, b * FINE, dtype=np.float32) for a, b in ((left, right), (top, bottom)))
        u, v = (u + 0.5) / FINE - cx, ((v + 0.5) / FINE - cy)[:, None]
        cos, sin = np.cos(turn) / radius, np.sin(turn) / radius
        drawn = inside(CLASSES[kind], cos * u + sin * v, cos * v - sin * u)
        after = number.copy()
        after[window][drawn[FINE // 2 :: FINE, FINE // 2 :: FINE]] = len(kinds)
        area = np.count_nonzero(after == len(kinds))
        if area < 80 or np.any(np.bincount(after.ravel())[1:] < SEEN * np.array([*areas[1:], area])):
            continue
        number, kinds, areas = after, [*kinds, kind], [*areas, area]
        share = drawn.reshape(bottom - top, FINE, right - left, FINE).mean((1, 3))
        image[:, *window] += share * (paint - image[:, *window])
    image += rng.uniform(0.02, 0.06) * rng.standard_normal(image.shape)
    return image.clip(0, 1).astype(np.float32), np.array(kinds)[number]


def scenes(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, 3, SIZE, SIZE) and their classes (count, SIZE, SIZE)."""
    images, labels = zip(*(scene(rng) for _ in range(count)), strict=True)
    return np.stack(images), np.stack(labels)


def build(head: str) -> nn.Module:
    """The preset for small images with stride 2 in place of 4 at its entrance, so that classes come out at half the scene's
    resolution; its stages have 8×8 keys each. Initial weights suit its few channels."""
    backbone = models.pvt_v2_tiny(img_size=SIZE, strides=(2, 2, 2, 1), sr_ratios=(4, 2, 1, 1), initializer_range=0.1)
    if head == "mlp":
        return models.MLPSegmenter(backbone, len(CLASSES), channels=64, dropout=0)
    return models.SemanticFPN(backbone, len(CLASSES), channels=24, head_channels=24, dropout=0)


def normalised(images: np.ndarray, device: str) -> mg.Tensor:
    return mg.tensor((images - 0.5) / 0.25, device=device)


def train(model: nn.Module, steps: int, seed: int, device: str) -> None:
    """AdamW on new scenes at every step; the rate rises for a tenth of the steps, then falls along a cosine."""
    optimizer = optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05)
    schedule = optim.lr_scheduler.CosineWithWarmup(optimizer, warmup_steps=steps // 10, total_steps=steps)

    def update(images: mg.Tensor, labels: mg.Tensor) -> mg.Tensor:
        loss = model(images, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    update = mg.compile(update, state=[model, optimizer])  # one function on MLX; on the CPU the same as before
    rng = np.random.default_rng([0, seed])
    bar = tqdm(range(1, steps + 1), unit=" steps", dynamic_ncols=True, disable=None)  # None: only on a terminal
    recent = []
    for step in bar:
        images, labels = scenes(rng, BATCH)
        recent = [*recent[-49:], update(normalised(images, device), mg.tensor(labels, device=device)).item()]
        schedule.step()
        bar.set_postfix_str(f"loss {np.mean(recent):.3f}", refresh=False)
        if bar.disable and (step % 100 == 0 or step == steps):
            print(f"step {step}/{steps}  loss {np.mean(recent):.3f}", flush=True)


def predict(model: nn.Module, images: np.ndarray, device: str) -> np.ndarray:
    """The class of every pixel, (N, SIZE, SIZE)."""
    parts = [model.predict(normalised(images[i : i + 32], device)).numpy() for i in range(0, len(images), 32)]
    return np.concatenate(parts)


def draw(images: np.ndarray, truth: np.ndarray, found: np.ndarray, title: str, path: str) -> None:
    """The first scenes, their masks and the prediction, one below the other."""
    colours = ["#e8e8e8", "#0072b2", "#e69f00", "#009e73", "#cc79a7"]  # distinct for colour-blind eyes too
    shades = dict(cmap=ListedColormap(colours), vmin=-0.5, vmax=len(CLASSES) - 0.5, interpolation="nearest")
    figure = Figure(figsize=(11, 5), layout="compressed")
    axes = figure.subplots(3, 7)
    for column, (image, mask, classes) in zip(axes.T, zip(images, truth, found, strict=True), strict=False):
        column[0].imshow(image.transpose(1, 2, 0), interpolation="nearest")
        column[1].imshow(mask, **shades)
        column[2].imshow(classes, **shades)
    for axis, name in zip(axes[:, 0], ("scene", "truth", "prediction"), strict=True):
        axis.set_ylabel(name)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    patches = [Patch(facecolor=c, label=name) for c, name in zip(colours, CLASSES, strict=True)]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(CLASSES), frameon=False)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="The scenes are generated.")
    parser.add_argument(
        "--steps", type=int, default=3000, help=f"training steps of {BATCH} new scenes each (default 3000)"
    )
    parser.add_argument(
        "--head", choices=["fpn", "mlp"], default="fpn", help="Semantic FPN's or SegFormer's (default fpn)"
    )
    parser.add_argument(
        "--device", choices=["cpu", "mlx", "gpu"], default="cpu", help="mlx or gpu for Apple's GPU (default cpu)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the training scenes (default 0)")
    parser.add_argument(
        "--output", default="segmentation.png", help="where the picture goes (default segmentation.png)"
    )
    options = parser.parse_args()
    if options.steps < 1:
        parser.error(f"--steps must be at least 1, got {options.steps}")
    if not Path(options.output).absolute().parent.is_dir():
        parser.error(f"--output {options.output}: there is no such folder")

    mg.manual_seed(options.seed)
    mg.set_num_threads(1)  # the matrices are small: threads would wait for each other
    model = build(options.head).to(options.device)
    start = time.perf_counter()
    train(model, options.steps, options.seed, options.device)
    seconds = time.perf_counter() - start
    images, truth = scenes(np.random.default_rng([1]), HELD_OUT)
    found = predict(model, images, options.device)
    confusion = confusion_counts(truth.ravel(), found.ravel(), len(CLASSES))
    for name, share in zip(CLASSES, class_iou(confusion), strict=True):
        print(f"{name:12} IoU {share:.1%}")
    title = f"mIoU {mean_iou(confusion):.1%} on {HELD_OUT} held-out generated scenes"
    print(f"{title}, after {options.steps} steps in {seconds:.0f} s")
    draw(images, truth, found, title, options.output)
    print(f"picture  {options.output}")


if __name__ == "__main__":
    main()
