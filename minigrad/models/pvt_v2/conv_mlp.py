"""The feed-forward network of PVT v2 as one operation: its definition, its kernel, and the modules that it computes.

Its hidden maps are up to 8 times as large as its input. The kernel for the CPU works on a piece of them at a time, so that they
never go to memory whole; MLX has none.
"""

import math
from collections.abc import Sequence
from typing import Any

from minigrad import checks, nn, ops
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import _floating, _same_dtype
from minigrad.kernels import kernel
from minigrad.kernels.cpu import conv_mlp as cpu
from minigrad.kernels.fused import fused


@fused(parts=True)
def conv_mlp_(x, w1, b1, taps, b, w2, b2, *, size, relu):
    """w2·gelu(taps ∗ (w1·x + b1) + b) + b2: (N, H·W, C) → (N, H·W, O)."""
    (n, length), (hidden, _, kh, kw) = x.shape[:2], taps.shape
    h = ops.linear(x, w1, b1)
    h = ops.relu(h) if relu else h
    image = ops.reshape(ops.permute(h, dims=(0, 2, 1)), shape=(n, hidden, *size))
    image = ops.conv2d(image, taps, b, stride=(1, 1), padding=(kh // 2, kw // 2), dilation=(1, 1), groups=hidden)
    return ops.linear(ops.gelu(ops.permute(ops.reshape(image, shape=(n, hidden, length)), dims=(0, 2, 1))), w2, b2)


kernel("conv_mlp", "cpu")(cpu.conv_mlp).defvjp(cpu.conv_mlp_vjp)


def conv_mlp(
    x: Tensor,
    w1: Tensor,
    b1: Tensor | None,
    taps: Tensor,
    b: Tensor | None,
    w2: Tensor,
    b2: Tensor | None,
    *,
    size: Sequence[int],
    relu: bool,
) -> Tensor:
    """The feed-forward network of PVT v2, w2·gelu(taps ∗ (w1·x + b1) + b) + b2: (N, H·W, C) → (N, H·W, O).

    `taps`, (hidden, 1, kh, kw) with kh and kw odd, are convolved with the hidden map of `size` (H, W), channel by channel
    and zero-padded to the same size; with `relu` a ReLU stands before that. The biases may be None. Wang et al. 2022,
    arXiv 2106.13797.

    Raises:
        TypeError: where an argument isn't a tensor, they differ in dtype, or it isn't a floating-point one.
        ValueError: where the shapes don't fit together.

    >>> import minigrad as mg
    >>> x, w1, taps, w2 = mg.ones(1, 6, 2), mg.ones(4, 2), mg.ones(4, 1, 3, 3), mg.ones(2, 4)
    >>> conv_mlp(x, w1, None, taps, None, w2, None, size=(2, 3), relu=False).shape
    (1, 6, 2)
    """
    given: list[Any] = [x, w1, taps, w2, *[t for t in (b1, b, b2) if t is not None]]
    for t in given:
        if not isinstance(t, Tensor):
            name = next(
                name for name, value in zip(conv_mlp_.inputs, (x, w1, b1, taps, b, w2, b2), strict=True) if value is t
            )
            came = "None" if t is None else type(t).__name__
            raise TypeError(f"conv_mlp: {name} must be a tensor, got {came}; use mg.tensor(…)")
    _same_dtype("conv_mlp", *given)
    _floating("conv_mlp", x)
    hidden, out = w1.shape[:1], w2.shape[:1]
    size = checks.sizes("conv_mlp", "size", size)
    if (
        x.ndim != 3
        or len(size) != 2
        or x.shape[1] != math.prod(size)
        or min(size) < 1
        or w1.shape != (*hidden, x.shape[2])
        or w2.shape != (*out, *hidden)
        or taps.ndim != 4
        or taps.shape[:2] != (*hidden, 1)
        or not taps.shape[2] % 2
        or not taps.shape[3] % 2
        or any(t is not None and t.shape != n for t, n in ((b1, hidden), (b, hidden), (b2, out)))
    ):
        raise ValueError(
            f"conv_mlp: shapes {', '.join(str(t.shape) for t in given)} don't fit size {size}; expected (N, H·W, C), "
            "(hidden, C), (hidden, 1, odd, odd), (O, hidden) and biases (hidden,), (hidden,), (O,)"
        )
    return conv_mlp_(x, w1, b1, taps, b, w2, b2, size=size, relu=relu)


# --- modules ------------------------------------------------------------------------------------------------------------
def as_one(mlp, x: Tensor, size: tuple[int, int]) -> Tensor | None:
    """fc2(drop(act(dwconv(relu(fc1(x)))))) of a `ConvMLP` by the operation, or None where its modules compute something else: one
    was replaced, set up in another way or given another `forward`, or something is dropped."""
    parts = fc1, relu, conv, act, fc2, drop = mlp.fc1, mlp.relu, mlp.dwconv, mlp.act, mlp.fc2, mlp.drop
    for part, kinds in zip(parts, KINDS, strict=True):
        if type(part) not in kinds or "forward" in vars(part) and not _does_as_its_class(part):
            return None
    hidden, each, kh, kw = conv.weight.shape
    geometry = conv.stride, conv.padding, conv.dilation, conv.groups, each, kh % 2, kw % 2
    if geometry != ((1, 1), (kh // 2, kw // 2), (1, 1), hidden, 1, 1, 1):
        return None
    if act.approximate != "none" or drop.training and drop.p:
        return None
    weights = fc1.weight, fc1.bias, conv.weight, conv.bias, fc2.weight, fc2.bias
    return conv_mlp(x, *weights, size=size, relu=type(relu) is nn.ReLU)


KINDS = (nn.Linear,), (nn.ReLU, nn.Identity), (nn.Conv2d,), (nn.GELU,), (nn.Linear,), (nn.Dropout,)


def _does_as_its_class(module: nn.Module) -> bool:
    """Whether a module with a `forward` of its own runs its class's, announced to somebody (`minigrad.visual`)."""
    forward = module.forward
    while (announced := getattr(forward, "announces", None)) is not None:
        forward = announced
    return getattr(forward, "__func__", None) is type(module).forward
