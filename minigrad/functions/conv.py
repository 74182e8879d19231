"""Convolution of images and sequences."""

from collections.abc import Sequence
from typing import Any

from minigrad import ops
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import Pair, _integer, _pair, _same_dtype, tensor, told

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
    """y[n, o, i, j] = b[o] + Σ over c, u, v of w[o, c, u, v]·x[n, c, i·stride + u·dilation - padding, j·stride + v·dilation - padding].

    Shape: (N, C, H, W) images, weights (O, C/groups, kh, kw), bias (O,) → (N, O, H', W') with
    H' = ⌊(H + 2·padding - dilation·(kh - 1) - 1) / stride⌋ + 1. An image (C, H, W) gives (O, H', W').

    Args:
        stride: how many pixels lie between neighbouring windows: one number, or two (rows, columns).
        padding: how many zeros stand on each side; "valid" means none, "same" as many as keep the size (stride 1 only).
        dilation: how many pixels lie between a window's neighbouring ones.
        groups: parts that the channels are cut into, inputs and outputs alike; each sees its own only.

    Raises:
        ValueError: when channels, groups or sizes don't fit. TypeError: when the dtypes differ.

    The operation (minigrad/ops/conv.py):

        @op
        @wide
        def conv2d(xp, x, w, b, *, stride, padding, dilation, groups):
            windows = _padded(xp, x, padding)[_places(xp, x.shape[2:], w.shape[2:], stride, padding, dilation)]
            y = xp.einsum("ngcuvij,gocuv->ngoij", _split(xp, windows, 1, groups), _split(xp, w, 0, groups))
            y = xp.reshape(y, (x.shape[0], w.shape[0], *windows.shape[4:]))
            return y if b is None else y + xp.reshape(b, (-1, 1, 1))

        conv2d.defvjp(
            lambda ops, g, x_shape, w, stride, padding, dilation, groups: _input(
                ops, g, w, x_shape[2:], stride, padding, dilation, groups
            ),
            lambda ops, g, w_shape, x, stride, padding, dilation, groups: _weight(
                ops, g, x, w_shape[2:], stride, padding, dilation, groups
            ),
            lambda ops, g: ops.sum(ops.permute(g, dims=(0, 2, 3, 1)), dim=(0, 1, 2), keepdim=False),  # as the memory lies
        )

    >>> mg.nn.functional.conv2d(mg.ones(1, 1, 3, 3), mg.ones(1, 1, 2, 2))
    tensor([[[[4., 4.],
              [4., 4.]]]])
    """
    image, options = _prepared("conv2d", input, weight, bias, stride, padding, dilation, groups)
    y = ops.conv2d(image, weight, bias, **options)
    return y if input.ndim == 4 else ops.reshape(y, shape=y.shape[1:])


def _prepared(
    who: str,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair | str,
    dilation: Pair,
    groups: int,
) -> tuple[Tensor, dict[str, Any]]:
    """What the function `who` convolves, as a batch of images, and the operation's options."""
    if tensor(who, "input", input).ndim == 3:
        input = ops.reshape(input, shape=(1, *input.shape))
    steps, spread = _pair(stride, "stride", who), _pair(dilation, "dilation", who)
    groups = _integer(groups, "number of groups", who)
    _check(who, input, weight, bias, tensor(who, "weight", weight).shape[:1], groups)
    if input.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups or not weight.shape[0]:
        raise ValueError(
            f"{who}: an input of shape {input.shape} has {input.shape[1]} channels, but a weight of shape {weight.shape} "
            f"with groups={groups} takes {weight.shape[1] * groups} ({weight.shape[0]} outputs must be some, and divide by the groups)"
        )
    if min(steps) < 1 or min(spread) < 1:
        raise ValueError(f"{who}: stride and dilation must be at least 1, got {steps} and {spread}")
    kernel = weight.shape[2:]
    if isinstance(padding, str):
        input, padding = _same_padding(who, input, padding, kernel, steps, spread)
    around = _pair(padding, "padding", who)
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, spread, strict=True)]
    if any(n + 2 * p < r for n, p, r in zip(input.shape[2:], around, reach, strict=True)) or min(around) < 0:
        raise ValueError(
            f"{who}: the kernel reaches over {tuple(reach)} pixels, the input of {input.shape[2:]} with padding {around} is smaller"
        )
    return input, {"stride": steps, "padding": around, "dilation": spread, "groups": groups}


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor:
    """y[n, o, i] = b[o] + Σ over c, u of w[o, c, u]·x[n, c, i·stride + u·dilation - padding]: `conv2d` along one dimension.

    Shape: (N, C, L), weights (O, C/groups, k), bias (O,) → (N, O, L'); (C, L) → (O, L'). For the options see `conv2d`.

    Raises:
        ValueError: when channels, groups or sizes don't fit. TypeError: when the dtypes differ.

    >>> mg.nn.functional.conv1d(mg.tensor([[1.0, 2.0, 4.0]]), mg.tensor([[[-1.0, 1.0]]]))
    tensor([[1., 2.]])
    """
    input, weight = tensor("conv1d", "input", input), tensor("conv1d", "weight", weight)
    if weight.ndim != 3 or input.ndim not in (2, 3):
        raise ValueError(
            f"conv1d: expected input (N, C, L) or (C, L) and weight (O, C/groups, k), got {input.shape} and {weight.shape}"
        )
    image, kernel = (ops.reshape(t, shape=(*t.shape[:-1], 1, t.shape[-1])) for t in (input, weight))
    around = padding if isinstance(padding, str) else _row(padding, 0)
    batch, options = _prepared("conv1d", image, kernel, bias, _row(stride, 1), around, _row(dilation, 1), groups)
    y = ops.conv2d(batch, kernel, bias, **options)
    return ops.reshape(y, shape=(*y.shape[3 - input.ndim : -2], y.shape[-1]))


def _row(value: Pair, rows: int) -> tuple[int, ...]:
    """An option of a sequence as that of an image with one row."""
    return (rows, *value) if isinstance(value, tuple | list) else (rows, value)  # type: ignore[return-value]


def _check(who: str, input: Tensor, weight: Tensor, bias: Tensor | None, out: tuple[int, ...], groups: int) -> None:
    """What both convolutions ask of their arguments; the bias must have the shape `out`."""
    input, weight = tensor(who, "input", input), tensor(who, "weight", weight)
    if input.ndim != 4 or weight.ndim != 4:
        raise ValueError(
            f"{who}: expected input (N, C, H, W) or (C, H, W) and weight (O, C/groups, kh, kw), got {input.shape} and {weight.shape}"
        )
    if bias is not None and tensor(who, "bias", bias).shape != out:
        raise ValueError(f"{who}: the bias has shape {bias.shape}, expected {out}")
    if groups < 1:
        raise ValueError(f"{who}: groups must be at least 1, got {groups}")
    _same_dtype(who, input, weight, *([] if bias is None else [bias]))


def _same_padding(
    who: str, input: Tensor, padding: str, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[Tensor, Pair]:
    """The input padded by what doesn't split evenly, and the even padding that is left."""
    if padding == "valid":
        return input, 0
    if padding != "same" or max(stride) > 1:
        raise ValueError(
            f"{who}: padding is a number, 'valid', or 'same' with stride 1; got {told(padding)} with stride {stride}"
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
    """The transpose of `conv2d` in the image, b[o] + Σ of w[c, o, u, v]·x[n, c, i, j] at row i·stride + u·dilation - padding and
    column j·stride + v·dilation - padding.

    Shape: (N, C, H, W) images, weights (C, O/groups, kh, kw), bias (O,) → (N, O, H', W') with
    H' = (H - 1)·stride - 2·padding + dilation·(kh - 1) + output_padding + 1. An image (C, H, W) gives (O, H', W').

    Args:
        output_padding: how many rows and columns more the output has at its end; smaller than stride or dilation.
        stride, padding, dilation, groups: those of the convolution whose transpose it is.

    Raises:
        ValueError: when channels, groups or sizes don't fit. TypeError: when the dtypes differ.

    >>> mg.nn.functional.conv_transpose2d(mg.ones(1, 1, 1, 2), mg.ones(1, 1, 1, 2))
    tensor([[[[1., 2., 1.]]]])
    """
    who = "conv_transpose2d"
    if tensor(who, "input", input).ndim == 3:
        image = ops.reshape(input, shape=(1, *input.shape))
        y = conv_transpose2d(image, weight, bias, stride, padding, output_padding, groups, dilation)
        return ops.reshape(y, shape=y.shape[1:])
    steps, around, spread = (
        _pair(stride, "stride", who),
        _pair(padding, "padding", who),
        _pair(dilation, "dilation", who),
    )
    extra, groups = _pair(output_padding, "output_padding", who), _integer(groups, "number of groups", who)
    _check(who, input, weight, bias, tuple(n * groups for n in tensor(who, "weight", weight).shape[1:2]), groups)
    if input.shape[1] != weight.shape[0] or weight.shape[0] % groups:
        raise ValueError(
            f"conv_transpose2d: an input of {input.shape[1]} channels doesn't fit a weight of shape {weight.shape} with groups={groups}"
        )
    if min(steps) < 1 or min(spread) < 1 or min(around) < 0 or min(extra) < 0:
        raise ValueError(
            f"conv_transpose2d: stride {steps} and dilation {spread} must be at least 1, padding {around} and output_padding "
            f"{extra} at least 0"
        )
    if any(e >= max(s, d) for e, s, d in zip(extra, steps, spread, strict=True)):
        raise ValueError(
            f"conv_transpose2d: output_padding {extra} must be smaller than stride {steps} or dilation {spread}"
        )
    size = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + e + 1
        for n, s, p, d, k, e in zip(input.shape[2:], steps, around, spread, weight.shape[2:], extra, strict=True)
    )
    if min(size) < 1:
        raise ValueError(f"conv_transpose2d: the output would have size {size}; use less padding or a larger input")
    if any(e >= s for e, s in zip(extra, steps, strict=True)):  # rows that no window of the convolution back would see
        y = _cropped(input, weight, size, steps, around, spread, groups)
    else:
        y = ops.conv2d_input(input, weight, size=size, stride=steps, padding=around, dilation=spread, groups=groups)
    return y if bias is None else y + ops.reshape(bias, shape=(1, bias.shape[0], 1, 1))


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
