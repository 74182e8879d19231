"""Convolution of images and sequences."""

from collections.abc import Sequence

from minigrad import ops
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import Pair, _pair, _same_dtype
from minigrad.functions.shape import reshape

__all__ = ["conv2d", "conv1d", "conv_transpose2d"]


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of (N, C, H, W) images with (O, C/groups, kh, kw) weights:
    y[n, o, i, j] = b[o] + Σ w[o, c, u, v]·x[n, c, i·s + u·d - p, j·s + v·d - p].

    `padding` is a number, two, "valid" (none) or "same" (stride 1 only). An unbatched (C, H, W) image gives (O, H', W').

    Raises:
        ValueError: when channels, groups or sizes don't fit.
    """
    if input.ndim == 3:
        return conv2d(reshape(input, (1, *input.shape)), weight, bias, stride, padding, dilation, groups).squeeze(0)
    stride, dilation = _pair(stride, "stride"), _pair(dilation, "dilation")
    _check("conv2d", input, weight, bias, weight.shape[0], groups)
    if input.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups or not weight.shape[0]:
        raise ValueError(
            f"conv2d: an input of shape {input.shape} has {input.shape[1]} channels, but a weight of shape {weight.shape} "
            f"with groups={groups} takes {weight.shape[1] * groups} ({weight.shape[0]} outputs must be some, and divide by the groups)"
        )
    if min(stride) < 1 or min(dilation) < 1:
        raise ValueError(f"conv2d: stride and dilation must be at least 1, got {stride} and {dilation}")
    kernel = weight.shape[2:]
    if isinstance(padding, str):
        input, padding = _same_padding(input, padding, kernel, stride, dilation)
    padding = _pair(padding, "padding")
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    if any(n + 2 * p < r for n, p, r in zip(input.shape[2:], padding, reach, strict=True)) or min(padding) < 0:
        raise ValueError(
            f"conv2d: the kernel reaches over {tuple(reach)} pixels, the input of {input.shape[2:]} with padding {padding} is smaller"
        )
    return ops.conv2d(input, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor:
    """`conv2d` along one dimension: (N, C, L) or (C, L) with (O, C/groups, k) weights → (N, O, L')."""
    if weight.ndim != 3 or input.ndim not in (2, 3):
        raise ValueError(
            f"conv1d: expected input (N, C, L) or (C, L) and weight (O, C/groups, k), got {input.shape} and {weight.shape}"
        )
    stride, dilation = ((1, *(v if isinstance(v, tuple | list) else (v,))) for v in (stride, dilation))
    if not isinstance(padding, str):
        padding = (0, *(padding if isinstance(padding, tuple | list) else (padding,)))
    return conv2d(input.unsqueeze(-2), weight.unsqueeze(-2), bias, stride, padding, dilation, groups).squeeze(-2)


def _check(name: str, input: Tensor, weight: Tensor, bias: Tensor | None, out: int, groups: int) -> None:
    if input.ndim != 4 or weight.ndim != 4:
        raise ValueError(
            f"{name}: expected input (N, C, H, W) or (C, H, W) and weight (O, C/groups, kh, kw), got {input.shape} and {weight.shape}"
        )
    if bias is not None and bias.shape != (out,):
        raise ValueError(f"{name}: the bias has shape {bias.shape}, expected ({out},)")
    if groups < 1:
        raise ValueError(f"{name}: groups must be at least 1, got {groups}")
    _same_dtype(name, input, weight, *([] if bias is None else [bias]))


def _same_padding(
    input: Tensor, padding: str, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[Tensor, Pair]:
    """The input padded by what doesn't split evenly, and the even padding that is left."""
    if padding == "valid":
        return input, 0
    if padding != "same" or max(stride) > 1:
        raise ValueError(
            f"conv2d: padding is a number, 'valid', or 'same' with stride 1; got {padding!r} with stride {stride}"
        )
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if any(n % 2 for n in total):
        input = ops.pad_zeros(input, widths=((0, 0), (0, 0), (0, total[0] % 2), (0, total[1] % 2)))
    return input, tuple(n // 2 for n in total)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
) -> Tensor:
    """The transpose of `conv2d` in the image: (N, C, H, W) with weight (C, O/groups, kh, kw) → (N, O, H', W') with
    H' = (H - 1)·stride - 2·padding + dilation·(kh - 1) + output_padding + 1."""
    if input.ndim == 3:
        return conv_transpose2d(
            reshape(input, (1, *input.shape)), weight, bias, stride, padding, output_padding, groups, dilation
        ).squeeze(0)
    stride, padding, dilation = _pair(stride, "stride"), _pair(padding, "padding"), _pair(dilation, "dilation")
    extra = _pair(output_padding, "output_padding")
    out = weight.shape[1] * groups
    _check("conv_transpose2d", input, weight, bias, out, groups)
    if input.shape[1] != weight.shape[0] or weight.shape[0] % groups:
        raise ValueError(
            f"conv_transpose2d: an input of {input.shape[1]} channels doesn't fit a weight of shape {weight.shape} with groups={groups}"
        )
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise ValueError(
            f"conv_transpose2d: output_padding {extra} must be smaller than stride {stride} or dilation {dilation}"
        )
    size = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + e + 1
        for n, s, p, d, k, e in zip(input.shape[2:], stride, padding, dilation, weight.shape[2:], extra, strict=True)
    )
    if min(size) < 1:
        raise ValueError(f"conv_transpose2d: the output would have size {size}; use less padding or a larger input")
    if any(e >= s for e, s in zip(extra, stride, strict=True)):  # rows that no window of the convolution back would see
        y = _cropped(input, weight, size, stride, padding, dilation, groups)
    else:
        y = ops.conv2d_input(input, weight, size=size, stride=stride, padding=padding, dilation=dilation, groups=groups)
    return y if bias is None else y + reshape(bias, (1, -1, 1, 1))


def _cropped(
    input: Tensor,
    weight: Tensor,
    size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """The transpose without padding, cut to `size` after its first `padding` rows and columns, zeros beyond its end."""
    full = tuple(
        (n - 1) * s + d * (k - 1) + 1
        for n, s, d, k in zip(input.shape[2:], stride, dilation, weight.shape[2:], strict=True)
    )
    y = ops.conv2d_input(input, weight, size=full, stride=stride, padding=(0, 0), dilation=dilation, groups=groups)
    beyond = [max(p + n - f, 0) for p, n, f in zip(padding, size, full, strict=True)]
    y = ops.pad_zeros(y, widths=((0, 0), (0, 0), (0, beyond[0]), (0, beyond[1])))
    return y[:, :, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]
