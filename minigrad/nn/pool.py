"""Pooling over windows of a map."""

from typing import Any, Generic, Literal, TypeVar, overload

from minigrad.engine.tensor import Tensor
from minigrad.nn import functional as F
from minigrad.nn.module import Module

Y = TypeVar("Y")


class AvgPool2d(Module):
    """The mean over each window: (N, C, H, W) or (C, H, W) -> (…, H', W') with H' = ⌊(H + 2p - k)/s⌋ + 1.

    Args:
        kernel_size, stride, padding: an int or (height, width); the stride is the kernel size if None.
        ceil_mode: round the output size up, with windows that reach over the edge.
        count_include_pad: whether padded zeros count in the mean.
        divisor_override: divide by this in place of the window's size.

    >>> import minigrad as mg
    >>> mg.nn.AvgPool2d(2)(mg.arange(16.0).reshape(1, 4, 4)).tolist()
    [[[2.5, 4.5], [10.5, 12.5]]]
    """

    def __init__(
        self, kernel_size, stride=None, padding=0, ceil_mode: bool = False, count_include_pad: bool = True,
        divisor_override: int | None = None,
    ):  # fmt: skip
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self.ceil_mode, self.count_include_pad, self.divisor_override = ceil_mode, count_include_pad, divisor_override

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxPool2d(Module, Generic[Y]):
    """The largest value of each window: (N, C, H, W) or (C, H, W) -> (…, H', W'), H' = ⌊(H + 2p - d(k - 1) - 1)/s⌋ + 1.

    Args:
        kernel_size, stride, padding, dilation: an int or (height, width); the stride is the kernel size if None.
        return_indices: also give each maximum's position in its flattened map.
        ceil_mode: round the output size up.

    >>> import minigrad as mg
    >>> mg.nn.MaxPool2d(2)(mg.arange(16.0).reshape(1, 4, 4)).tolist()
    [[[5.0, 7.0], [13.0, 15.0]]]
    """

    @overload
    def __init__(
        self: "MaxPool2d[Tensor]", kernel_size, stride=None, padding=0, dilation=1,
        return_indices: Literal[False] = False, ceil_mode: bool = False,
    ) -> None: ...  # fmt: skip

    @overload
    def __init__(
        self: "MaxPool2d[tuple[Tensor, Tensor]]", kernel_size, stride=None, padding=0, dilation=1, *,
        return_indices: Literal[True], ceil_mode: bool = False,
    ) -> None: ...  # fmt: skip

    @overload
    def __init__(
        self: "MaxPool2d[Tensor | tuple[Tensor, Tensor]]", kernel_size, stride=None, padding=0, dilation=1,
        return_indices: bool = False, ceil_mode: bool = False,
    ) -> None: ...  # fmt: skip

    def __init__(
        self, kernel_size, stride=None, padding=0, dilation=1, return_indices: bool = False, ceil_mode: bool = False
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self.dilation, self.return_indices, self.ceil_mode = dilation, return_indices, ceil_mode

    def forward(self, input: Tensor) -> Y:
        found: Any = F.max_pool2d(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )
        return found

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AdaptiveAvgPool2d(Module):
    """The mean over windows chosen so that the output has a given size: row i covers ⌊i·H/H'⌋ up to ⌈(i + 1)·H/H'⌉.

    (N, C, H, W) or (C, H, W) -> (…, *output_size); None in `output_size` keeps that axis; a larger size repeats values.

    >>> import minigrad as mg
    >>> mg.nn.AdaptiveAvgPool2d(1)(mg.arange(16.0).reshape(1, 4, 4)).tolist()
    [[[7.5]]]
    """

    def __init__(self, output_size):
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"
