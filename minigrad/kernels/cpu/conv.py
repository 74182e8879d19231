"""Convolution in numpy: the forward kernel and its two derivatives, each the derivative of the others.

Arrays are (N, C, H, W) by shape; the work is done channels-last, and results are channels-last in memory. Weights are
(O, C/groups, kh, kw). Three ways, by shape: depthwise (groups = C = O) by `depthwise.py`; kernels that don't overlap
(kernel = stride, no padding) and 1×1 as one matrix product over rearranged pixels; all others over gathered windows (im2col),
some images at a time.
"""

import numpy as np

from minigrad.backend.numpy_gemm import in_float32, linear_into, product_shares, transposed_product
from minigrad.backend.numpy_threads import parallel
from minigrad.kernels.cpu import depthwise
from minigrad.kernels.cpu.depthwise import padded, pieces
from minigrad.kernels.registry import kernel
from minigrad.kernels.windows import element, out_size

COLUMNS = 1 << 20  # numbers of gathered windows at a time; in derivatives those of one image, if they are more


def _nhwc(x):
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))  # no copy when the memory already is channels-last


def _nchw(x):
    return x.transpose(0, 3, 1, 2)


def _windows(x, kernel, size, stride, dilation):
    """(N, oh, ow, kh, kw, C) view of every window of a padded channels-last image."""
    n, h, w, c = x.strides
    (sh, sw), (dh, dw) = stride, dilation
    shape = (x.shape[0], *size, *kernel, x.shape[3])
    return np.lib.stride_tricks.as_strided(x, shape, (n, h * sh, w * sw, h * dh, w * dw, c), writeable=False)


def _band(x, rows, kernel, stride, padding, dilation):
    """What the given rows of the output see of images (N, H, W, C), with the padding that belongs to them."""
    (ph, pw), (n, h, w, c) = padding, x.shape
    top, bottom = rows.start * stride[0] - ph, (rows.stop - 1) * stride[0] + dilation[0] * (kernel[0] - 1) + 1 - ph
    if ph == pw == 0:
        return x[:, top:bottom]
    out = np.zeros((n, bottom - top, w + 2 * pw, c), x.dtype)
    first, last = min(max(top, 0), h), max(min(bottom, h), 0)
    if first < last:
        out[:, first - top : last - top, pw : pw + w] = x[:, first:last]
    return out


def _columns(x, kernel, size, stride, padding, dilation, groups, rows=None):
    """The windows as a matrix: (groups, N·oh·ow, kh·kw·C/groups), or only those of some rows of the output; a view for 1×1
    kernels without stride."""
    x = padded(x, padding) if rows is None else _band(x, rows, kernel, stride, padding, dilation)
    v = _windows(x, kernel, size if rows is None else (rows.stop - rows.start, size[1]), stride, dilation)
    rows, c = v.shape[0] * v.shape[1] * v.shape[2], x.shape[3]
    if groups == 1:
        return v.reshape(1, rows, kernel[0] * kernel[1] * c)
    v = v.reshape(*v.shape[:5], groups, c // groups).transpose(5, 0, 1, 2, 3, 4, 6)
    return v.reshape(groups, rows, kernel[0] * kernel[1] * (c // groups))


def _matrix(w, groups):
    """Weights as (groups, kh·kw·C/groups, O/groups), a view of rows for each output."""
    o, c, kh, kw = w.shape
    return w.transpose(0, 2, 3, 1).reshape(groups, o // groups, kh * kw * c).transpose(0, 2, 1)


def _depthwise(w, groups):
    return groups > 1 and w[0] == groups and w[1] == 1


def _batches(n: int, numbers: int) -> list[slice]:
    """Some images at a time, so many that their windows stay within `COLUMNS` numbers."""
    step = max(1, COLUMNS // max(numbers, 1))
    return [slice(i, i + step) for i in range(0, n, step)]


def _by_group(x, groups):
    """(N, h, w, O) as (groups, N·h·w, O/groups)."""
    return x.reshape(-1, groups, x.shape[3] // groups).transpose(1, 0, 2)


@kernel("conv2d", "cpu")
@in_float32
def conv2d(x, w, b, *, stride, padding, dilation, groups):
    """y[n, o, i, j] = b[o] + Σ w[o, c, u, v]·x[n, c, i·s + u·d - p, j·s + v·d - p]."""
    kernel = w.shape[2:]
    size = out_size(x.shape[2:], kernel, stride, padding, dilation)
    x = _nhwc(x)
    y = np.empty((x.shape[0], *size, w.shape[0]), x.dtype)
    if _depthwise(w.shape, groups):
        taps = depthwise.taps_of(w)
        batches = _batches(len(x), x[:1].size)

        def some(i):
            part = padded(x[batches[i]], padding)
            depthwise.correlate(part, taps, b, y[batches[i]], stride, dilation)

        parallel(some, len(batches))
        return _nchw(y)
    matrix = _matrix(w, groups)
    least = product_shares(len(x) * size[0] * size[1], w)
    parts = pieces(len(x), size[0], size[1] * matrix.shape[0] * matrix.shape[1], COLUMNS, least)

    def work(i):
        images, rows = parts[i]
        part = y[images, rows]
        columns = _columns(x[images], kernel, size, stride, padding, dilation, groups, rows)
        if groups == 1:
            linear_into(columns[0], matrix[0], b, part.reshape(-1, w.shape[0]))
            return
        part[...] = (columns @ matrix).transpose(1, 0, 2).reshape(part.shape)
        if b is not None:
            part += b

    parallel(work, len(parts))
    return _nchw(y)


@kernel("conv2d_input", "cpu")
@in_float32
def conv2d_input(g, w, *, size, stride, padding, dilation, groups):
    """The derivative by the input, an image of `size` (H, W): every window's gradient added where the window was."""
    kernel, (ph, pw) = w.shape[2:], padding
    out, channels = g.shape[2:], w.shape[1] * groups
    g = _nhwc(g)
    if _depthwise(w.shape, groups):
        taps = depthwise.taps_of(w)
        batches = _batches(len(g), size[0] * size[1] * channels)
        maps = np.empty((len(g), *size, channels), g.dtype)

        def some(i):
            maps[batches[i]] = depthwise.scattered(g[batches[i]], taps, size, padding, stride, dilation)

        parallel(some, len(batches))
        return _nchw(maps)
    dx = np.empty((g.shape[0], *size, channels), g.dtype)
    matrix = _matrix(w, groups).transpose(0, 2, 1)
    batches = _batches(g.shape[0], out[0] * out[1] * matrix.shape[0] * matrix.shape[2])

    def work(i):
        part = g[batches[i]]
        if groups == 1:
            product = np.empty((1, part.shape[0] * out[0] * out[1], matrix.shape[2]), g.dtype)
            linear_into(part.reshape(-1, part.shape[3]), matrix[0], None, product[0])
        else:
            product = _by_group(part, groups) @ matrix
        product = product.reshape(groups, part.shape[0], *out, *kernel, channels // groups)
        image = np.zeros((part.shape[0], size[0] + 2 * ph, size[1] + 2 * pw, groups, channels // groups), g.dtype)
        for u, v in np.ndindex(*kernel):
            image[:, *element((u, v), out, stride, dilation)] += product[:, :, :, :, u, v].transpose(1, 2, 3, 0, 4)
        dx[batches[i]] = image[:, ph : ph + size[0], pw : pw + size[1]].reshape(part.shape[0], *size, channels)

    if kernel == stride and groups == 1 and padding == (0, 0) and dilation == (1, 1):
        work = _tiles_back(g, matrix[0], kernel, dx, batches)
    parallel(work, len(batches))
    return _nchw(dx)


def _tiles_back(g, matrix, kernel, dx, batches):
    """The work of `conv2d_input` where windows are tiles: every pixel belongs to one, or, at the far edges, to none."""
    (kh, kw), (oh, ow), c = kernel, g.shape[1:3], dx.shape[3]

    def work(i):
        part = g[batches[i]]
        product = np.empty((part.shape[0] * oh * ow, matrix.shape[1]), g.dtype)
        linear_into(part.reshape(-1, part.shape[3]), matrix, None, product)
        tiles = product.reshape(-1, oh, ow, kh, kw, c).transpose(0, 1, 3, 2, 4, 5)
        image = dx[batches[i]]
        image[:, : oh * kh, : ow * kw] = tiles.reshape(-1, oh * kh, ow * kw, c)
        image[:, oh * kh :], image[:, :, ow * kw :] = 0, 0

    return work


@kernel("conv2d_weight", "cpu")
@in_float32
def conv2d_weight(g, x, *, kernel, stride, padding, dilation, groups):
    """The derivative by the weight (O, C/groups, kh, kw): every window times its output's gradient, summed."""
    out, channels = g.shape[2:], x.shape[1] // groups
    x, g = _nhwc(x), _nhwc(g)
    if channels == 1 and g.shape[3] == groups > 1:
        batches = _batches(len(x), x[:1].size)

        def some(i):
            part = padded(x[batches[i]], padding)
            return depthwise.correlate_taps(part, g[batches[i]], kernel, stride, dilation)

        dw = sum(parallel(some, len(batches)), np.zeros((*kernel, groups), g.dtype))
        return dw.transpose(2, 0, 1)[:, None]
    batches = _batches(x.shape[0], out[0] * out[1] * kernel[0] * kernel[1] * x.shape[3])

    def work(i):
        columns = _columns(x[batches[i]], kernel, out, stride, padding, dilation, groups)
        part = _by_group(g[batches[i]], groups)
        return transposed_product(part[0], columns[0])[None] if groups == 1 else part.transpose(0, 2, 1) @ columns

    product = np.zeros((groups, g.shape[3] // groups, kernel[0] * kernel[1] * channels), g.dtype)
    for part in parallel(work, len(batches)):
        product += part
    return product.reshape(g.shape[3], *kernel, channels).transpose(0, 3, 1, 2)
