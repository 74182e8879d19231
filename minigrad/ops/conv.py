"""Convolution: three operations, each the derivative of the others, so that it has every order.

Called y = w ∗ x, the map is linear in x and in w. `conv2d_input(g, w)` is its transpose in x, `conv2d_weight(g, x)` its
transpose in w; what a derivative of either gives is one of the three again.
"""

from minigrad.engine.operation import op

__all__ = ["conv2d", "conv2d_input", "conv2d_weight"]


@op
def conv2d(xp, x, w, b, *, stride, padding, dilation, groups):
    return xp.conv2d(x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups)


@op
def conv2d_input(xp, g, w, *, size, stride, padding, dilation, groups):
    """The gradient by the image, of height and width `size`."""
    return xp.conv2d_input(g, w, size=size, stride=stride, padding=padding, dilation=dilation, groups=groups)


@op
def conv2d_weight(xp, g, x, *, kernel, stride, padding, dilation, groups):
    """The gradient by the weight, of height and width `kernel`."""
    return xp.conv2d_weight(g, x, kernel=kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)


def _input(xp, g, w, size, stride, padding, dilation, groups):
    return xp.conv2d_input(g, w, size=size, stride=stride, padding=padding, dilation=dilation, groups=groups)


def _weight(xp, g, x, kernel, stride, padding, dilation, groups):
    return xp.conv2d_weight(g, x, kernel=kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)


def _forward(xp, x, w, stride, padding, dilation, groups):
    return xp.conv2d(x, w, None, stride=stride, padding=padding, dilation=dilation, groups=groups)


conv2d.defvjp(
    lambda xp, g, x_shape, w, stride, padding, dilation, groups: _input(
        xp, g, w, x_shape[2:], stride, padding, dilation, groups
    ),
    lambda xp, g, w_shape, x, stride, padding, dilation, groups: _weight(
        xp, g, x, w_shape[2:], stride, padding, dilation, groups
    ),
    lambda xp, g: xp.sum(xp.permute(g, dims=(0, 2, 3, 1)), dim=(0, 1, 2), keepdim=False),  # as the memory lies
)
conv2d_input.defvjp(
    lambda xp, g, w, stride, padding, dilation, groups: _forward(xp, g, w, stride, padding, dilation, groups),
    lambda xp, h, g, w_shape, stride, padding, dilation, groups: _weight(
        xp, g, h, w_shape[2:], stride, padding, dilation, groups
    ),
)
conv2d_weight.defvjp(
    lambda xp, g, x, stride, padding, dilation, groups: _forward(xp, x, g, stride, padding, dilation, groups),
    lambda xp, h, g, x_shape, stride, padding, dilation, groups: _input(
        xp, g, h, x_shape[2:], stride, padding, dilation, groups
    ),
)
