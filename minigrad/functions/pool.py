"""Pooling and resizing of (N, C, H, W) images.

Adaptive pooling and bilinear resizing are linear along each axis: two small constant matrices, y = A·x·Bᵀ.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad import ops
from minigrad.autograd.autocast import autocast
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import Pair, _pair
from minigrad.functions.elementwise import div
from minigrad.functions.index import gather, index_select
from minigrad.functions.linalg import matmul
from minigrad.functions.reduce import mean
from minigrad.functions.shape import reshape
from minigrad.ops.pool import count_windows
from minigrad.ops.reduce import narrowed, widened

__all__ = ["adaptive_avg_pool2d", "avg_pool2d", "interpolate", "max_pool2d"]


def _geometry(
    name: str, input: Tensor, kernel_size: Pair, stride: Pair | None, padding: Pair, ceil_mode: bool, dilation: Pair = 1
) -> tuple[tuple[int, int], tuple[int, int], tuple[tuple[int, int], ...], tuple[int, int], tuple[int, int]]:
    """Kernel, stride, dilation as pairs; padding as (before, after) pairs, larger after where ceil_mode adds a window."""
    kernel = _pair(kernel_size, "kernel_size")
    given = stride is not None and not (isinstance(stride, tuple | list) and not stride)
    stride = _pair(stride, "stride") if given else kernel
    pad, dilation = _pair(padding, "padding"), _pair(dilation, "dilation")
    if input.ndim != 4:
        raise ValueError(f"{name}: expected (N, C, H, W) or (C, H, W), got shape {input.shape}")
    if min(kernel) < 1 or min(stride) < 1 or min(dilation) < 1:
        raise ValueError(f"{name}: kernel, stride and dilation must be at least 1, got {kernel}, {stride}, {dilation}")
    if any(2 * p > k for p, k in zip(pad, kernel, strict=True)) or min(pad) < 0:
        raise ValueError(f"{name}: padding {pad} must lie between 0 and half of the kernel {kernel}")
    widths = []
    for n, k, s, p, d in zip(input.shape[2:], kernel, stride, pad, dilation, strict=True):
        span = n + 2 * p - d * (k - 1) - 1
        out = (-(-span // s) if ceil_mode else span // s) + 1
        if ceil_mode and (out - 1) * s >= n + p:  # a window must begin inside the image or its left padding
            out -= 1
        if out < 1:
            raise ValueError(
                f"{name}: the kernel {kernel} is larger than the input {input.shape[2:]} with padding {pad}"
            )
        widths.append((p, max(p, (out - 1) * s + d * (k - 1) + 1 - n - p)))
    return kernel, stride, tuple(widths), pad, dilation


def avg_pool2d(
    input: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window. With count_include_pad=False padded places don't count; `divisor_override` replaces the
    count."""
    if (wide := widened(input)) is not input:
        y = avg_pool2d(wide, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
        return narrowed(y, input.dtype)
    if input.ndim == 3:
        return avg_pool2d(
            input.unsqueeze(0), kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        ).squeeze(0)
    kernel, stride, widths, pad, _ = _geometry("avg_pool2d", input, kernel_size, stride, padding, ceil_mode)
    if divisor_override == 0:
        raise ValueError("avg_pool2d: divisor_override must not be 0")
    total = ops.window_sum(input, kernel=kernel, stride=stride, padding=widths)
    if not input.is_floating_point():
        return div(total, divisor_override or math.prod(kernel), rounding_mode="trunc")
    if divisor_override:
        return total * (1 / divisor_override)
    if not any(map(any, widths)):
        return total * (1 / math.prod(kernel))
    counts = [
        _counts(n, total.shape[2 + i], kernel[i], stride[i], pad[i], count_include_pad)
        for i, n in enumerate(input.shape[2:])
    ]
    return total * Tensor(1 / np.outer(*counts), dtype=input.dtype, device=input.device)


def _counts(n: int, out: int, kernel: int, stride: int, pad: int, include_pad: bool) -> np.ndarray:
    """How many places of each window count."""
    start = np.arange(out) * stride - pad
    low, high = (-pad, n + pad) if include_pad else (0, n)
    return np.minimum(start + kernel, high) - np.maximum(start, low)


def max_pool2d(
    input: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window (padding counts as -∞), and on request its position in the flattened image."""
    if input.ndim == 3:
        out = max_pool2d(input.unsqueeze(0), kernel_size, stride, padding, dilation, ceil_mode, True)
        return tuple(x.squeeze(0) for x in out) if return_indices else out[0].squeeze(0)
    kernel, stride, widths, _, dilation = _geometry(
        "max_pool2d", input, kernel_size, stride, padding, ceil_mode, dilation
    )
    where = ops.window_argmax(input.detach(), kernel=kernel, stride=stride, padding=widths, dilation=dilation)
    values = gather(input.flatten(2), 2, where.flatten(2))
    values = reshape(values, where.shape)
    return (values, where) if return_indices else values


def _resample(input: Tensor, rows: np.ndarray, columns: np.ndarray) -> Tensor:
    """rows (H', H) and columns (W', W) applied to the last two dimensions."""
    wide = widened(input)
    a, b = (Tensor(m, dtype=wide.dtype, device=input.device) for m in (rows, columns))
    with autocast(enabled=False):  # means are no products: they keep the input's dtype
        return matmul(matmul(a, wide), b.t()).astype(input.dtype)


def adaptive_avg_pool2d(input: Tensor, output_size: int | Sequence[int | None]) -> Tensor:
    """The mean of output_size windows that cover the image: place i of n takes rows ⌊i·H/n⌋ … ⌈(i+1)·H/n⌉ - 1.

    Images smaller than output_size are enlarged by repetition. None in output_size keeps that size.
    """
    size = tuple(output_size) if isinstance(output_size, tuple | list) else (output_size, output_size)
    if len(size) == 2 <= input.ndim:
        size = tuple(n if m is None else m for m, n in zip(size, input.shape[-2:], strict=True))
    if input.ndim not in (3, 4) or 0 in input.shape[-2:] or len(size) != 2 or min(size) < 0:
        raise ValueError(
            f"adaptive_avg_pool2d: expected (N, C, H, W) or (C, H, W) with pixels and sizes ≥ 0, got {input.shape} to {tuple(size)}"
        )
    if all(m and n % m == 0 for n, m in zip(input.shape[-2:], size, strict=True)):
        (h, w), (rows, columns), lead = input.shape[-2:], size, input.shape[:-2]
        windows = widened(input).reshape(*lead, rows, h // rows, columns, w // columns)
        return mean(windows, (len(lead) + 1, len(lead) + 3)).astype(input.dtype)
    return _resample(input, *(_adaptive(n, m) for n, m in zip(input.shape[-2:], size, strict=True)))


def _adaptive(n: int, m: int) -> np.ndarray:
    a = np.zeros((m, n))
    for i in range(m):
        first, last = i * n // m, -(-(i + 1) * n // m)
        a[i, first:last] = 1 / (last - first)
    return a


def interpolate(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """(N, C, H, W) resized to `size` or by `scale_factor`, mode "bilinear" or "nearest" (which takes (N, C, …) of any rank).

    Bilinear reads at ((i + ½)·H/H' - ½), with align_corners=True at i·(H - 1)/(H' - 1); nearest reads ⌊i·H/H'⌋. H/H' is
    1/scale_factor where that is given, unless recompute_scale_factor; with `antialias` a bilinear reduction reads every pixel.
    """
    if input.ndim != 4 and (mode != "nearest" or input.ndim < 3):
        raise ValueError(f"interpolate: expected (N, C, H, W), got shape {input.shape}")
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: give either size or scale_factor")
    if mode not in ("nearest", "bilinear"):
        raise ValueError(f"interpolate: mode is 'nearest' or 'bilinear', not {mode!r}")
    if align_corners is not None and mode == "nearest":
        raise ValueError("interpolate: align_corners goes with mode 'bilinear' only")
    if antialias and mode == "nearest":
        raise ValueError("interpolate: antialias goes with mode 'bilinear' only")
    rank = input.ndim - 2
    scales: list = [None] * rank
    if size is None:
        scales = list(scale_factor) if isinstance(scale_factor, tuple | list) else [scale_factor] * rank
        size = [math.floor(n * s) for n, s in zip(input.shape[2:], scales, strict=True)]
        scales = [None] * rank if recompute_scale_factor else scales
    sizes: tuple = tuple(size) if isinstance(size, tuple | list) else (size,) * rank
    if len(sizes) != rank or min(sizes) < 1 or min(input.shape[2:]) < 1:
        raise ValueError(f"interpolate: can't resize {input.shape[2:]} to {sizes}; sizes must be at least 1")
    ratios = [1 / s if s else n / m for s, n, m in zip(scales, input.shape[2:], sizes, strict=True)]
    if mode == "nearest":
        for dim, (n, m, ratio) in enumerate(zip(input.shape[2:], sizes, ratios, strict=True), 2):
            places = np.minimum(np.floor(np.arange(m) * np.float32(ratio)).astype(np.int64), n - 1)
            input = index_select(input, dim, Tensor(places, device=input.device))
        return input
    if align_corners:
        ratios = [(n - 1) / (m - 1) if m > 1 else 0.0 for n, m in zip(input.shape[2:], sizes, strict=True)]
    weights = _triangles if antialias else _bilinear
    return _resample(
        input, *(weights(n, m, r, align_corners) for n, m, r in zip(input.shape[2:], sizes, ratios, strict=True))
    )


def _triangles(n: int, m: int, ratio: float, align_corners: bool | None) -> np.ndarray:
    """Rows of weights falling linearly from each place's centre, over `ratio` pixels where the image shrinks."""
    centre = (np.arange(m)[:, None] + 0.5) * ratio
    reach = max(ratio, 1.0)
    pixels = np.arange(n)
    first, last = np.maximum((centre - reach + 0.5).astype(int), 0), (centre + reach + 0.5).astype(int)
    a = np.maximum(1 - np.abs(pixels + 0.5 - centre) / reach, 0) * ((pixels >= first) & (pixels < last))
    return a / a.sum(1, keepdims=True)


def _bilinear(n: int, m: int, ratio: float, align_corners: bool | None) -> np.ndarray:
    at = np.arange(m) * ratio if align_corners else np.maximum((np.arange(m) + 0.5) * ratio - 0.5, 0)
    low = np.minimum(at.astype(np.int64), n - 1)
    high, part = np.minimum(low + 1, n - 1), at - low
    a = np.zeros((m, n))
    np.add.at(a, (np.arange(m), low), 1 - part)
    np.add.at(a, (np.arange(m), high), part)
    return a


def unfold(input: Tensor, kernel_size: Pair, dilation: Pair = 1, padding: Pair = 0, stride: Pair = 1) -> Tensor:
    """The windows of (N, C, H, W) images as columns: (N, C·kh·kw, number of windows), as `conv2d` sees them."""
    if input.ndim == 3:
        return unfold(input.unsqueeze(0), kernel_size, dilation, padding, stride).squeeze(0)
    kernel, stride = _pair(kernel_size, "kernel_size"), _pair(stride, "stride")
    pad, dilation = _pair(padding, "padding"), _pair(dilation, "dilation")
    if input.ndim != 4 or min(*kernel, *stride, *dilation) < 1 or min(pad) < 0:
        raise ValueError(
            f"unfold: expected (N, C, H, W) or (C, H, W) and positive sizes, got shape {input.shape}, kernel {kernel}, "
            f"stride {stride}, dilation {dilation}, padding {pad}"
        )
    size = count_windows(input.shape, kernel, stride, [(p, p) for p in pad], dilation)
    if min(size) < 1:
        raise ValueError(f"unfold: the kernel {kernel} is larger than the input {input.shape[2:]} with padding {pad}")
    padded = ops.pad_zeros(input, widths=((0, 0), (0, 0), *((p, p) for p in pad))) if any(pad) else input
    rows, columns = (
        np.arange(k)[:, None] * d + np.arange(n) * s for k, n, s, d in zip(kernel, size, stride, dilation, strict=True)
    )
    places = (input.backend.asarray(i) for i in (rows[:, None, :, None], columns[None, :, None, :]))
    windows = ops.getitem(padded, index=(slice(None), slice(None), *places))
    return reshape(windows, (input.shape[0], input.shape[1] * math.prod(kernel), math.prod(size)))
