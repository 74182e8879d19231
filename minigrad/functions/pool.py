"""Pooling and resizing of (N, C, H, W) images.

Adaptive pooling and bilinear resizing are linear along each axis: two small constant matrices, y = A·x·Bᵀ.
"""

import math
from collections.abc import Sequence
from typing import Literal, overload

import numpy as np

from minigrad import ops
from minigrad.autograd.autocast import autocast
from minigrad.checks import choice, whole
from minigrad.dtypes import plain
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import Pair, _pair, number, tensor, told
from minigrad.functions.index import gather, index_select
from minigrad.kernels.windows import out_size, places_of
from minigrad.ops.pool import bilinear
from minigrad.ops.reduce import narrowed, widened

__all__ = ["adaptive_avg_pool2d", "avg_pool2d", "interpolate", "max_pool2d"]


def _geometry(
    name: str, input: Tensor, kernel_size: Pair, stride: Pair | None, padding: Pair, ceil_mode: bool, dilation: Pair = 1
) -> tuple[tuple[int, int], tuple[int, int], tuple[tuple[int, int], ...], tuple[int, int], tuple[int, int]]:
    """Kernel, stride, dilation as pairs; padding as (before, after) pairs, larger after where ceil_mode adds a window."""
    kernel = _pair(kernel_size, "kernel_size", name)
    given = stride is not None and not (isinstance(stride, tuple | list) and not stride)
    stride = _pair(stride, "stride", name) if given else kernel
    pad, dilation = _pair(padding, "padding", name), _pair(dilation, "dilation", name)
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
    """The mean of each window: y[n, c, i, j] = Σ over u, v of x[n, c, i·stride + u - padding, j·stride + v - padding] / (kh·kw).

    Shape: (N, C, H, W) → (N, C, H', W') with H' = ⌊(H + 2·padding - kh) / stride⌋ + 1, or ⌈…⌉ + 1 with `ceil_mode`; (C, H, W) →
    (C, H', W'). Whole numbers are divided towards 0.

    Args:
        kernel_size: height and width of a window: one number, or two.
        stride: from window to window; `kernel_size` by default.
        padding: zeros on each side, at most half of the window.
        ceil_mode: whether a window may reach beyond the end; what lies there counts nothing.
        count_include_pad: whether padding counts as places of a window; if not, only pixels do.
        divisor_override: what the sum is divided by instead.

    Raises:
        ValueError: when the sizes don't fit.

    >>> mg.nn.functional.avg_pool2d(mg.arange(4).float().reshape(1, 1, 2, 2), 2)
    tensor([[[[1.5]]]])
    """
    if (wide := widened(tensor("avg_pool2d", "input", input))) is not input:
        y = avg_pool2d(wide, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
        return narrowed(y, input.dtype)
    if input.ndim == 3:
        image = ops.reshape(input, shape=(1, *input.shape))
        y = avg_pool2d(image, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
        return ops.reshape(y, shape=y.shape[1:])
    kernel, steps, widths, pad, _ = _geometry("avg_pool2d", input, kernel_size, stride, padding, ceil_mode)
    if divisor_override is not None and number("avg_pool2d", "divisor_override", divisor_override) == 0:
        raise ValueError("avg_pool2d: divisor_override must not be 0")
    total = ops.window_sum(input, kernel=kernel, stride=steps, padding=widths)
    if not input.is_floating_point():
        return ops.trunc_divide(total, divisor_override or math.prod(kernel))
    if divisor_override:
        return total * (1 / divisor_override)
    if not any(map(any, widths)):
        return total * (1 / math.prod(kernel))
    counts = [
        _counts(n, total.shape[2 + i], kernel[i], steps[i], pad[i], count_include_pad)
        for i, n in enumerate(input.shape[2:])
    ]
    return total * Tensor(1 / np.outer(*counts), dtype=input.dtype, device=input.device)


def _counts(n: int, out: int, kernel: int, stride: int, pad: int, include_pad: bool) -> np.ndarray:
    """How many places of each window count."""
    start = np.arange(out) * stride - pad
    low, high = (-pad, n + pad) if include_pad else (0, n)
    return np.minimum(start + kernel, high) - np.maximum(start, low)


@overload
def max_pool2d(
    input: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
) -> Tensor: ...


@overload
def max_pool2d(
    input: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    *,
    return_indices: Literal[True],
) -> tuple[Tensor, Tensor]: ...


@overload
def max_pool2d(
    input: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]: ...


def max_pool2d(
    input: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The largest element of each window: y[n, c, i, j] = max over u, v of x[n, c, i·stride + u·dilation - padding, …].

    Shape: (N, C, H, W) → (N, C, H', W') with H' = ⌊(H + 2·padding - dilation·(kh - 1) - 1) / stride⌋ + 1, or ⌈…⌉ + 1 with
    `ceil_mode`; (C, H, W) → (C, H', W').

    Args:
        kernel_size: height and width of a window: one number, or two.
        stride: from window to window; `kernel_size` by default.
        padding: places on each side that count as -∞, at most half of the window.
        dilation: how many pixels lie between a window's neighbouring ones.
        ceil_mode: whether a window may reach beyond the end.
        return_indices: whether the result is (values, the position of each in the flattened image).

    Raises:
        ValueError: when the sizes don't fit.

    >>> mg.nn.functional.max_pool2d(mg.arange(4).reshape(1, 1, 2, 2), 2, return_indices=True)
    (tensor([[[[3]]]]), tensor([[[[3]]]]))
    """
    if tensor("max_pool2d", "input", input).ndim == 3:
        image = ops.reshape(input, shape=(1, *input.shape))
        y, places = _max_pooled(image, kernel_size, stride, padding, dilation, ceil_mode)
        y, places = (ops.reshape(t, shape=t.shape[1:]) for t in (y, places))
    else:
        y, places = _max_pooled(input, kernel_size, stride, padding, dilation, ceil_mode)
    return (y, places) if return_indices else y


def _max_pooled(
    input: Tensor, kernel_size: Pair, stride: Pair | None, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[Tensor, Tensor]:
    """Values and positions."""
    kernel, steps, widths, _, spread = _geometry("max_pool2d", input, kernel_size, stride, padding, ceil_mode, dilation)
    places = ops.window_argmax(input.detach(), kernel=kernel, stride=steps, padding=widths, dilation=spread)
    flat, at = (ops.reshape(t, shape=(*t.shape[:2], math.prod(t.shape[2:]))) for t in (input, places))
    return ops.reshape(gather(flat, 2, at), shape=places.shape), places


def _resample(input: Tensor, rows: np.ndarray, columns: np.ndarray) -> Tensor:
    """rows (H', H) and columns (W', W) applied to the last two dimensions."""
    wide = widened(input)
    a, b = (Tensor(m, dtype=wide.dtype, device=input.device) for m in (rows, columns))
    with autocast(enabled=False):  # means are no products: they keep the input's dtype
        return ops.matmul(ops.matmul(a, wide), ops.mT(b)).astype(input.dtype)


def adaptive_avg_pool2d(input: Tensor, output_size: int | Sequence[int | None]) -> Tensor:
    """The mean of windows that cover the image: place i of n takes rows ⌊i·H/n⌋ … ⌈(i + 1)·H/n⌉ - 1.

    Shape: (N, C, H, W) → (N, C, H', W'), (C, H, W) → (C, H', W').

    Args:
        output_size: H' and W': one number, or two; None keeps the image's. A larger image than there was repeats pixels.

    Raises:
        ValueError: when the image has no pixels or another number of dimensions, or a size isn't one.

    >>> mg.nn.functional.adaptive_avg_pool2d(mg.arange(4).float().reshape(1, 1, 2, 2), 1)
    tensor([[[[1.5]]]])
    """
    tensor("adaptive_avg_pool2d", "input", input)
    size: tuple = tuple(output_size) if isinstance(output_size, tuple | list) else (output_size, output_size)
    if len(size) == 2 <= input.ndim:
        size = tuple(n if m is None else m for m, n in zip(size, input.shape[-2:], strict=True))
    size = tuple(map(plain, size))
    counted = all(isinstance(n, int) for n in size)
    if input.ndim not in (3, 4) or 0 in input.shape[-2:] or len(size) != 2 or not counted or min(size) < 0:
        raise ValueError(
            f"adaptive_avg_pool2d: expected (N, C, H, W) or (C, H, W) with pixels and sizes ≥ 0, got {input.shape} to {told(output_size)}"
        )
    size = tuple(map(int, size))
    if all(m and n % m == 0 for n, m in zip(input.shape[-2:], size, strict=True)):
        (h, w), (rows, columns), lead = input.shape[-2:], size, input.shape[:-2]
        wide = widened(input)
        if not wide.is_floating_point():
            raise TypeError(f"adaptive_avg_pool2d: needs a floating point tensor, got {input.dtype.name}; use .float()")
        windows = ops.reshape(wide, shape=(*lead, rows, h // rows, columns, w // columns))
        return ops.mean(windows, dim=(len(lead) + 1, len(lead) + 3), keepdim=False).astype(input.dtype)
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
    """Images of another size, (N, C, H, W) → (N, C, H', W'): nearest y[i] = x[⌊i·r⌋], bilinear y[i] = x read at (i + ½)·r - ½
    between its pixels, along each axis, with r = H/H'.

    Args:
        size: H' and W': one number, or two.
        scale_factor: H'/H and W'/W instead, one number or two; then r = 1/scale_factor.
        mode: "nearest", which takes (N, C, …) of any rank, or "bilinear".
        align_corners: True makes bilinear read at i·(H - 1)/(H' - 1), so that corners fall on corners.
        recompute_scale_factor: True makes r = H/H' also where a scale_factor is given.
        antialias: whether a bilinear reduction takes the mean of all pixels, weighted by a triangle r wide on each side.

    Raises:
        ValueError: when shapes and sizes don't fit, or options don't go together.

    >>> mg.nn.functional.interpolate(mg.tensor([[[[1, 2]]]]), scale_factor=2)
    tensor([[[[1, 1, 2, 2],
              [1, 1, 2, 2]]]])
    """
    tensor("interpolate", "input", input)
    choice("interpolate", "mode", mode, ("nearest", "bilinear"))
    if input.ndim != 4 and (mode != "nearest" or input.ndim < 3):
        raise ValueError(f"interpolate: expected (N, C, H, W), got shape {input.shape}")
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: give either size or scale_factor")
    if align_corners is not None and mode == "nearest":
        raise ValueError("interpolate: align_corners goes with mode 'bilinear' only")
    if antialias and mode == "nearest":
        raise ValueError("interpolate: antialias goes with mode 'bilinear' only")
    rank = input.ndim - 2
    scales: list = [None] * rank
    if size is None:
        scales = list(scale_factor) if isinstance(scale_factor, tuple | list) else [scale_factor] * rank
        scales = [number("interpolate", "scale_factor", s) for s in scales]
        if len(scales) != rank:
            raise ValueError(f"interpolate: {len(scales)} scale factors for {rank} axes; give one for each")
        size = [math.floor(n * s) for n, s in zip(input.shape[2:], scales, strict=True)]
        scales = [None] * rank if recompute_scale_factor else scales
    sizes: tuple = tuple(size) if isinstance(size, tuple | list) else (size,) * rank
    sizes = tuple([whole("interpolate", "size", n) for n in sizes])
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
    options = {"align_corners": bool(align_corners), "antialias": antialias}
    return _resample(
        input, *(bilinear(n, m, r, **options) for n, m, r in zip(input.shape[2:], sizes, ratios, strict=True))
    )


def unfold(input: Tensor, kernel_size: Pair, dilation: Pair = 1, padding: Pair = 0, stride: Pair = 1) -> Tensor:
    """The windows of images as columns, in which `conv2d` is one matrix product: y[n, (c, u, v), (i, j)] =
    x[n, c, i·stride + u·dilation - padding, j·stride + v·dilation - padding].

    Shape: (N, C, H, W) → (N, C·kh·kw, H'·W'), (C, H, W) → (C·kh·kw, H'·W'), H' and W' those of `conv2d`.

    Args:
        kernel_size, dilation, padding, stride: of the windows, one number each, or two (rows, columns).

    Raises:
        ValueError: when the sizes don't fit.

    >>> mg.nn.functional.unfold(mg.arange(6).reshape(1, 1, 2, 3), 2)
    tensor([[[0, 1],
             [1, 2],
             [3, 4],
             [4, 5]]])
    """
    if tensor("unfold", "input", input).ndim == 3:
        y = unfold(ops.reshape(input, shape=(1, *input.shape)), kernel_size, dilation, padding, stride)
        return ops.reshape(y, shape=y.shape[1:])
    kernel, steps = _pair(kernel_size, "kernel_size", "unfold"), _pair(stride, "stride", "unfold")
    pad, spread = _pair(padding, "padding", "unfold"), _pair(dilation, "dilation", "unfold")
    if input.ndim != 4 or min(*kernel, *steps, *spread) < 1 or min(pad) < 0:
        raise ValueError(
            f"unfold: expected (N, C, H, W) or (C, H, W) and positive sizes, got shape {input.shape}, kernel {kernel}, "
            f"stride {steps}, dilation {spread}, padding {pad}"
        )
    size = out_size(input.shape[2:], kernel, steps, pad, spread)
    if min(size) < 1:
        raise ValueError(f"unfold: the kernel {kernel} is larger than the input {input.shape[2:]} with padding {pad}")
    padded = ops.pad_zeros(input, widths=((0, 0), (0, 0), *((p, p) for p in pad))) if any(pad) else input
    places = (input.backend.asarray(i) for i in places_of(kernel, size, steps, spread))
    columns = ops.getitem(padded, index=(slice(None), slice(None), *places))
    return ops.reshape(columns, shape=(input.shape[0], input.shape[1] * math.prod(kernel), math.prod(size)))
