"""Convolution: three operations, each the derivative of the others, so that it has every order.

Called y = w ∗ x, the map is linear in x and in w. `conv2d_input(g, w)` is its transpose in x, `conv2d_weight(g, x)` its
transpose in w; the derivative of each is one of the three again.

Each function below is the definition: windows of the image times weights, one `einsum`. Its letters are n: image,
g: group, o: output channel of the group, c: input channel of the group, u v: row and column in the kernel, i j: row and
column in the output. The kernels of both backends stand before them (`minigrad/kernels`); a test compares the two.
"""

from minigrad.engine.operation import op
from minigrad.kernels.windows import out_size, places_of
from minigrad.ops.wide import wide

__all__ = ["conv2d", "conv2d_input", "conv2d_weight"]


# --- the definitions --------------------------------------------------------------------------------------------------
@op
@wide
def conv2d(xp, x, w, b, *, stride, padding, dilation, groups):
    """y[n, o, i, j] = b[o] + Σ over c, u, v of w[o, c, u, v]·x[n, c, i·s + u·d - p, j·s + v·d - p], with x = 0 outside.

    (N, C, H, W), (O, C/groups, kh, kw), (O,) → (N, O, H', W').
    """
    windows = _padded(xp, x, padding)[_places(xp, x.shape[2:], w.shape[2:], stride, padding, dilation)]
    y = xp.einsum("ngcuvij,gocuv->ngoij", _split(xp, windows, 1, groups), _split(xp, w, 0, groups))
    y = xp.reshape(y, (x.shape[0], w.shape[0], *windows.shape[4:]))
    return y if b is None else y + xp.reshape(b, (-1, 1, 1))


@op
@wide
def conv2d_input(xp, g, w, *, size, stride, padding, dilation, groups):
    """The gradient by the image, of height and width `size`: every g times the weights, added where its window was."""
    products = xp.einsum("ngoij,gocuv->ngcuvij", _split(xp, g, 1, groups), _split(xp, w, 0, groups))
    (n, _, *out), channels, (top, left) = g.shape, w.shape[1] * groups, padding
    image = (n, channels, size[0] + 2 * top, size[1] + 2 * left)
    places = _places(xp, size, w.shape[2:], stride, padding, dilation)
    x = xp.scatter(image, places, xp.reshape(products, (n, channels, *w.shape[2:], *out)))
    return x[:, :, top : top + size[0], left : left + size[1]]


@op
@wide
def conv2d_weight(xp, g, x, *, kernel, stride, padding, dilation, groups):
    """The gradient by the weight, of height and width `kernel`: every window times its g, summed over images and places."""
    windows = _padded(xp, x, padding)[_places(xp, x.shape[2:], kernel, stride, padding, dilation)]
    w = xp.einsum("ngoij,ngcuvij->gocuv", _split(xp, g, 1, groups), _split(xp, windows, 1, groups))
    return xp.reshape(w, (g.shape[1], x.shape[1] // groups, *kernel))


def _padded(xp, x, padding):
    """The image with zeros around it."""
    return xp.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))


def _places(xp, size, kernel, stride, padding, dilation):
    """An index that reads all windows of a padded image: (N, C, H, W) → (N, C, kh, kw, H', W')."""
    counts = out_size(size, kernel, stride, padding, dilation)
    return slice(None), slice(None), *map(xp.asarray, places_of(kernel, counts, stride, dilation))


def _split(xp, a, axis, groups):
    """The channels, which lie along `axis`, as two axes: the group, and the channel in it."""
    size = a.shape[axis] // groups
    return xp.reshape(a, (*a.shape[:axis], groups, size, *a.shape[axis + 1 :]))


# --- the derivatives --------------------------------------------------------------------------------------------------
def _input(xp, g, w, size, stride, padding, dilation, groups):
    return xp.conv2d_input(g, w, size=size, stride=stride, padding=padding, dilation=dilation, groups=groups)


def _weight(xp, g, x, kernel, stride, padding, dilation, groups):
    return xp.conv2d_weight(g, x, kernel=kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)


def _forward(xp, x, w, stride, padding, dilation, groups):
    return xp.conv2d(x, w, None, stride=stride, padding=padding, dilation=dilation, groups=groups)


conv2d.defvjp(
    lambda ops, g, x_shape, w, stride, padding, dilation, groups: _input(
        ops, g, w, x_shape[2:], stride, padding, dilation, groups
    ),
    lambda ops, g, w_shape, x, stride, padding, dilation, groups: _weight(
        ops, g, x, w_shape[2:], stride, padding, dilation, groups
    ),
    lambda ops, g: ops.sum(ops.permute(g, dims=(0, 2, 3, 1)), dim=(0, 1, 2), keepdim=False),  # as the memory lies
)
conv2d_input.defvjp(
    lambda ops, g, w, stride, padding, dilation, groups: _forward(ops, g, w, stride, padding, dilation, groups),
    lambda ops, h, g, w_shape, stride, padding, dilation, groups: _weight(
        ops, g, h, w_shape[2:], stride, padding, dilation, groups
    ),
)
conv2d_weight.defvjp(
    lambda ops, g, x, stride, padding, dilation, groups: _forward(ops, x, g, stride, padding, dilation, groups),
    lambda ops, h, g, x_shape, stride, padding, dilation, groups: _input(
        ops, g, h, x_shape[2:], stride, padding, dilation, groups
    ),
)
