"""Sizes that kernels of every backend need."""


def out_size(size, kernel, stride, padding, dilation):
    """A convolution's output height and width: ⌊(size + 2·padding - dilation·(kernel - 1) - 1) / stride⌋ + 1."""
    return tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    )
