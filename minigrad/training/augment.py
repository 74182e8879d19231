"""Random rotation, scaling and shift of training images."""

import numpy as np

from minigrad import checks


class RandomAffine:
    """Each image turned by up to `degrees`, scaled by up to a factor 1 + `zoom` either way, and moved by up to `pixels`.

    Output position p takes the input at c + R(θ)·(p - c)/s + t, c the centre, mixed from the four pixels around it
    (bilinear); what lies outside is `fill`. θ, log s and both parts of t are uniform. A transform as in
    `minigrad.data.transforms`: images (N, channels, H, W), and a generator to draw from.

    >>> turn = RandomAffine(pixels=3, degrees=10, zoom=0.1)
    >>> turn(np.ones((2, 1, 8, 8), np.float32), np.random.default_rng(0)).shape
    (2, 1, 8, 8)
    """

    def __init__(self, pixels: float = 0, degrees: float = 0, zoom: float = 0, fill: float = 0):
        for name, value in (("pixels", pixels), ("degrees", degrees), ("zoom", zoom), ("fill", fill)):
            checks.number("RandomAffine", name, value)
        self.pixels, self.degrees, self.zoom, self.fill = pixels, degrees, zoom, fill

    def __call__(self, images: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        images = checks.array("RandomAffine", "images", images, "an array (N, channels, H, W)")
        if images.ndim != 4:
            raise ValueError(f"RandomAffine: images must be (N, channels, H, W), got shape {images.shape}")
        if not isinstance(rng, np.random.Generator):
            raise TypeError("RandomAffine draws at random: call it with a generator, np.random.default_rng(seed)")
        n, channels, h, w = images.shape
        angle, scale, down, right = rng.uniform(-1, 1, (4, n, 1, 1))
        angle, scale = np.radians(self.degrees * angle), (1 + self.zoom) ** scale
        y, x = np.mgrid[:h, :w].astype(np.float64) - np.array([h - 1, w - 1]).reshape(2, 1, 1) / 2
        cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
        rows = cos * y + sin * x + (h - 1) / 2 + self.pixels * down
        columns = cos * x - sin * y + (w - 1) / 2 + self.pixels * right
        # A border of one pixel of fill, where everything that lies further out is taken from.
        padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=self.fill).transpose(0, 2, 3, 1)
        rows, columns = np.clip(rows + 1, 0, h + 1), np.clip(columns + 1, 0, w + 1)
        top, left = np.minimum(rows.astype(np.intp), h), np.minimum(columns.astype(np.intp), w)
        below, beside = ((p - q).astype(np.float32)[..., None] for p, q in ((rows, top), (columns, left)))
        image = np.arange(n).reshape(n, 1, 1)
        upper = padded[image, top, left] * (1 - beside) + padded[image, top, left + 1] * beside
        lower = padded[image, top + 1, left] * (1 - beside) + padded[image, top + 1, left + 1] * beside
        return (upper * (1 - below) + lower * below).transpose(0, 3, 1, 2)
