"""Two-dimensional convolutions."""

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

from minigrad import checks
from minigrad.engine.tensor import Tensor
from minigrad.nn import functional as F
from minigrad.nn import init
from minigrad.nn.module import Module, Parameter, zeros


def pair(value, name: str) -> tuple[int, int]:
    """(2, 2) from 2; a pair stays what it is."""
    values = (value, value) if isinstance(value, Integral) else tuple(value) if isinstance(value, tuple | list) else ()
    if len(values) != 2 or not all(isinstance(v, Integral) for v in values):
        raise ValueError(f"{name} must be an int or two ints (height, width), got {value!r}")
    return int(values[0]), int(values[1])


class _Conv(Module):
    """What Conv2d and ConvTranspose2d share: checking, parameters, their start and their printed form."""

    transposed = False

    def __init__(
        self, in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding, groups, bias,
        padding_mode, device, dtype,
    ):  # fmt: skip
        name = type(self).__name__
        in_channels = checks.whole(name, "in_channels", in_channels)
        out_channels = checks.whole(name, "out_channels", out_channels)
        groups, bias = checks.whole(name, "groups", groups), checks.flag(name, "bias", bias)
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}"
            )
        if not isinstance(padding_mode, str) or padding_mode != "zeros":
            raise ValueError(
                f"{name}: padding_mode is 'zeros' only, got {checks.told(padding_mode)}; pad with F.pad before the layer"
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = pair(kernel_size, "kernel_size")
        self.stride = pair(stride, "stride")
        self.padding: Any = padding if isinstance(padding, str) else pair(padding, "padding")
        self.dilation = pair(dilation, "dilation")
        self.output_padding = pair(output_padding, "output_padding")
        self.groups, self.padding_mode = groups, padding_mode
        outer, inner = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        self.weight = Parameter(zeros(outer, inner // groups, *self.kernel_size, dtype=dtype, device=device))
        self.bias = Parameter(zeros(out_channels, dtype=dtype, device=device)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """PyTorch's start: weight and bias uniform in ±1/√fan_in."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        init.uniform_bias_(self.bias, self.weight)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0, 0):
            text += f", padding={self.padding}"
        if self.dilation != (1, 1):
            text += f", dilation={self.dilation}"
        if self.output_padding != (0, 0):
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        return text if self.bias is not None else f"{text}, bias=False"


class Conv2d(_Conv):
    """Cross-correlation: y[n, o, i, j] = b[o] + Σ x[n, c, s·i + d·u - p, s·j + d·v - p] · w[o, c, u, v].

    (N, C, H, W) or (C, H, W) -> (…, out_channels, H', W') with H' = ⌊(H + 2p - d(k - 1) - 1)/s⌋ + 1.
    `weight` is (out_channels, in_channels/groups, kh, kw).

    Args:
        kernel_size, stride, padding, dilation: an int or (height, width); padding also "valid" (none) or "same" (the
            output has the input's size; stride 1 only).
        groups: each group of input channels feeds its own group of output channels; groups = in_channels is depthwise.

    >>> import minigrad as mg
    >>> mg.nn.Conv2d(3, 8, 3, stride=2, padding=1)(mg.zeros(2, 3, 32, 32)).shape
    (2, 8, 16, 16)
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size, stride=1, padding=0, dilation=1, groups: int = 1,
        bias: bool = True, padding_mode: str = "zeros", device=None, dtype=None,
    ):  # fmt: skip
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(f"Conv2d: padding is an int, two ints, 'same' or 'valid', got {padding!r}")
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias, padding_mode, device,
            dtype,
        )  # fmt: skip
        if padding == "same" and self.stride != (1, 1):
            raise ValueError(f"Conv2d: padding='same' needs stride 1, got stride={self.stride}")

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class ConvTranspose2d(_Conv):
    """The convolution's transpose (its derivative with respect to its input), which enlarges: each x[n, c, i, j] adds
    x · w[c, o, u, v] at (s·i + d·u - p, s·j + d·v - p).

    (N, C, H, W) or (C, H, W) -> (…, out_channels, H', W') with H' = (H - 1)s - 2p + d(k - 1) + output_padding + 1.
    `weight` is (in_channels, out_channels/groups, kh, kw).

    >>> import minigrad as mg
    >>> mg.nn.ConvTranspose2d(8, 3, 2, stride=2)(mg.zeros(2, 8, 16, 16)).shape
    (2, 3, 32, 32)
    """

    transposed = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size, stride=1, padding=0, output_padding=0, groups: int = 1,
        bias: bool = True, dilation=1, padding_mode: str = "zeros", device=None, dtype=None,
    ):  # fmt: skip
        super().__init__(
            in_channels, out_channels, kernel_size, stride, pair(padding, "padding"), dilation, output_padding, groups,
            bias, padding_mode, device, dtype,
        )  # fmt: skip

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """`output_size` (height, width) chooses a size that the stride leaves open, in place of `output_padding`."""
        extra: tuple[int, ...] = self.output_padding
        if output_size is not None:
            size = checks.entries("ConvTranspose2d", "output_size", output_size, "(height, width)", int)
            extra = self._extra(checks.tensor("ConvTranspose2d", "input", input), tuple(size)[-2:])
        return F.conv_transpose2d(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation
        )

    def _extra(self, x: Tensor, size: Sequence[int]) -> tuple[int, ...]:
        least = tuple(
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(
                x.shape[-2:], self.stride, self.padding, self.dilation, self.kernel_size, strict=True
            )
        )
        most = tuple(n + s - 1 for n, s in zip(least, self.stride, strict=True))
        if not all(low <= n <= high for low, n, high in zip(least, size, most, strict=True)):
            raise ValueError(
                f"ConvTranspose2d: output_size {size} is out of reach, it must lie between {least} and {most}"
            )
        return tuple(n - low for n, low in zip(size, least, strict=True))
