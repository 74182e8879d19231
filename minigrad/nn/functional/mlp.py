"""The feed-forward network of PVT v2 in one piece."""

import math
from collections.abc import Sequence

from minigrad import ops
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import _floating, _same_dtype, tensor, told

__all__ = ["conv_mlp"]


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
    """w2·gelu(taps ∗ (w1·x + b1) + b) + b2: (N, H·W, C) → (N, H·W, O). Wang et al. 2022, arXiv 2106.13797.

    Args:
        w1, b1: (hidden, C) and (hidden,), the first layer.
        taps, b: (hidden, 1, kh, kw) with kh and kw odd, and (hidden,): a convolution of the hidden map, channel by channel,
            zero-padded to the same size.
        w2, b2: (O, hidden) and (O,), the second layer. The biases may be None.
        size: (H, W).
        relu: whether a ReLU stands before the convolution.

    Raises:
        ValueError: when the shapes don't fit. TypeError: when the dtypes differ, or aren't floating point.

    The operation (minigrad/ops/fused.py):

        @fused(parts=True)
        def conv_mlp(x, w1, b1, taps, b, w2, b2, *, size, relu):
            (n, length), (hidden, _, kh, kw) = x.shape[:2], taps.shape
            h = linear(x, w1, b1)
            h = activation.relu(h) if relu else h
            image = reshape(permute(h, dims=(0, 2, 1)), shape=(n, hidden, *size))
            image = conv2d(image, taps, b, stride=(1, 1), padding=(kh // 2, kw // 2), dilation=(1, 1), groups=hidden)
            return linear(gelu(permute(reshape(image, shape=(n, hidden, length)), dims=(0, 2, 1))), w2, b2)

    >>> x, w, taps = mg.ones(1, 4, 3), mg.ones(3, 3), mg.ones(3, 1, 1, 1)
    >>> mg.nn.functional.conv_mlp(x, w, None, taps, None, w, None, size=(2, 2), relu=False).shape
    (1, 4, 3)
    """
    named = {"x": x, "w1": w1, "b1": b1, "taps": taps, "b": b, "w2": w2, "b2": b2}
    given = [tensor("conv_mlp", name, t) for name, t in named.items() if t is not None or not name.startswith("b")]
    _same_dtype("conv_mlp", *given)
    _floating("conv_mlp", x)
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise ValueError(f"conv_mlp: size is (H, W), got {told(size)}")
    hidden, out = (t.shape[0] if t.ndim else 0 for t in (w1, w2))
    if (
        x.ndim != 3
        or x.shape[1] != math.prod(size)
        or min(size) < 1
        or w1.shape != (hidden, x.shape[2])
        or w2.shape != (out, hidden)
        or taps.ndim != 4
        or taps.shape[:2] != (hidden, 1)
        or not taps.shape[2] % 2
        or not taps.shape[3] % 2
        or any(t is not None and t.shape != (n,) for t, n in ((b1, hidden), (b, hidden), (b2, out)))
    ):
        raise ValueError(
            f"conv_mlp: shapes {', '.join(str(t.shape) for t in given)} don't fit size {tuple(size)}; expected (N, H·W, C), "
            "(hidden, C), (hidden, 1, odd, odd), (O, hidden) and biases (hidden,), (hidden,), (O,)"
        )
    return ops.conv_mlp(x, w1, b1, taps, b, w2, b2, size=size, relu=relu)
