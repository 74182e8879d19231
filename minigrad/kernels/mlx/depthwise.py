"""Depthwise convolution on MLX, in forms that can be switched: which is the quickest differs from device to device.

    native   mx.conv_general and its derivatives
    shifts   a sum of kh·kw shifted images, each times one number a channel
    metal    kernels of our own for Apple's GPU (`metal.py`)

Images are (N, H, W, C), taps (kh, kw, C).
"""

import mlx.core as mx
import numpy as np

from minigrad.backend.mlx_sums import total, wide
from minigrad.kernels.mlx import metal
from minigrad.kernels.windows import element

PARTS = ("forward", "input", "weight")  # the convolution, its derivative by the image, and by the taps
FORMS = ("native", "shifts", "metal")
_chosen: dict[str, str] = {}


def forms() -> dict[str, str]:
    """The form of each part: what was chosen by `set_forms`, else the device's default.

    Measured with MLX 0.32.4: on the CPU the sums take a quarter of the native loops' time. On Metal, not measured: MLX has a
    kernel for the convolution and its derivative by the image, and treats the derivative by the taps as a convolution with a
    kernel as large as the image.
    """
    if mx.default_device().type == mx.DeviceType.cpu:
        default = dict.fromkeys(PARTS, "shifts")
    else:
        default = {"forward": "native", "input": "native", "weight": "shifts" if mx.metal.is_available() else "native"}
    return default | _chosen


def set_forms(**parts: str) -> None:
    """Chooses forms: `set_forms(forward="native", weight="metal")`; without arguments, back to the device's defaults.

    Raises:
        ValueError: for a part or form that doesn't exist, or "metal" where there is no Metal.
    """
    for part, form in parts.items():
        if part not in PARTS or form not in FORMS:
            raise ValueError(f"{part}={form!r}: the parts are {', '.join(PARTS)}, their forms {', '.join(FORMS)}")
        if form == "metal" and not mx.metal.is_available():
            raise ValueError(f"{part}='metal' needs Apple's GPU, which isn't here")
    if not parts:
        _chosen.clear()
    _chosen.update(parts)


def applies(weight_shape, groups: int) -> bool:
    """Whether a convolution with weights (O, C/groups, kh, kw) has one image in and out for each channel, and few taps."""
    out, each, kh, kw = weight_shape
    return groups == out > 1 and each == 1 and 0 < kh * kw <= 49


def _padded(x, before, after):
    return mx.pad(x, ((0, 0), (before[0], after[0]), (before[1], after[1]), (0, 0)))


def forward(x, taps, bias, size, stride, padding, dilation):
    """Σ over the taps of the shifted image times the tap, plus the bias; `size` is the result's."""
    dtype, taps = x.dtype, wide(taps)
    padded = wide(_padded(x, padding, padding))
    y = bias
    for at in np.ndindex(taps.shape[:2]):
        term = padded[:, *element(at, size, stride, dilation)] * taps[at]
        y = term if y is None else y + term
    return y.astype(dtype)


def by_input(g, taps, size, stride, padding, dilation):
    """The derivative by an image of `size`."""
    kernel = taps.shape[:2]
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if stride == (1, 1) and all(r >= p for r, p in zip(reach, padding, strict=True)):
        border = tuple(r - p for r, p in zip(reach, padding, strict=True))
        return forward(g, taps[::-1, ::-1], None, size, stride, border, dilation)
    full = [
        max(n + 2 * p, r + s * (m - 1) + 1)
        for n, p, r, s, m in zip(size, padding, reach, stride, g.shape[1:3], strict=True)
    ]
    dtype, g, taps = g.dtype, wide(g), wide(taps)
    out = mx.zeros((g.shape[0], *full, g.shape[3]), g.dtype)
    for at in np.ndindex(kernel):
        out = out.at[:, *element(at, g.shape[1:3], stride, dilation)].add(g * taps[at])
    return out[:, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]].astype(dtype)


def by_taps(g, x, kernel, stride, padding, dilation):
    """The derivative by the taps, (kh, kw, C)."""
    dtype, g, padded = g.dtype, wide(g), wide(_padded(x, padding, padding))
    places = (element(at, g.shape[1:3], stride, dilation) for at in np.ndindex(kernel))
    sums = [total(padded[:, *place] * g, (0, 1, 2)) for place in places]
    return mx.stack(sums).reshape(*kernel, g.shape[3]).astype(dtype)


def metal_forward(x, taps, bias, size, stride, padding, dilation):
    y = metal.depthwise(x, taps, size, stride, padding, dilation)
    return y if bias is None else y + bias


def metal_by_input(g, taps, size, stride, padding, dilation):
    reach = [d * (k - 1) for k, d in zip(taps.shape[:2], dilation, strict=True)]
    border = tuple(r - p for r, p in zip(reach, padding, strict=True))
    return metal.depthwise(g, taps[::-1, ::-1], size, (1, 1), border, dilation)


metal_by_taps = metal.depthwise_taps
