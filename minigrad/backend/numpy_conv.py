"""Convolution in numpy: the forward kernel and its two derivatives, each the derivative of the others.

Arrays are (N, C, H, W) by shape; the work is done channels-last, and results are channels-last in memory. Weights are
(O, C/groups, kh, kw). Three ways, by shape: one matrix product over gathered windows (im2col), the same a group, and for
depthwise convolutions (groups = C = O) shifted multiply-adds, one for each kernel position.
"""

import numpy as np

BLOCK = 1 << 16  # numbers of an image array that a depthwise convolution works on at a time


def _nhwc(x):
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))  # no copy when the memory already is channels-last


def _nchw(x):
    return x.transpose(0, 3, 1, 2)


def _padded(x, padding):
    """Zeros around a channels-last image."""
    (ph, pw), (n, h, w, c) = padding, x.shape
    if ph == pw == 0:
        return x
    out = np.zeros((n, h + 2 * ph, w + 2 * pw, c), x.dtype)
    out[:, ph : ph + h, pw : pw + w] = x
    return out


def _shift(i, j, out_size, stride, dilation):
    """The slices of a padded image that kernel position (i, j) sees, for every output position."""
    (oh, ow), (sh, sw), (dh, dw) = out_size, stride, dilation
    rows = slice(i * dh, i * dh + sh * (oh - 1) + 1, sh) if oh else slice(0, 0)
    columns = slice(j * dw, j * dw + sw * (ow - 1) + 1, sw) if ow else slice(0, 0)
    return slice(None), rows, columns


def out_size(size, kernel, stride, padding, dilation):
    """Output height and width: ⌊(size + 2·padding - dilation·(kernel - 1) - 1) / stride⌋ + 1."""
    return tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    )


def _windows(x, kernel, size, stride, dilation):
    """(N, oh, ow, kh, kw, C) view of every window of a padded channels-last image."""
    n, h, w, c = x.strides
    (sh, sw), (dh, dw) = stride, dilation
    shape = (x.shape[0], *size, *kernel, x.shape[3])
    return np.lib.stride_tricks.as_strided(x, shape, (n, h * sh, w * sw, h * dh, w * dw, c), writeable=False)


def _columns(x, kernel, size, stride, dilation, groups):
    """The windows copied into a matrix: (groups, N·oh·ow, kh·kw·C/groups)."""
    v = _windows(x, kernel, size, stride, dilation)
    rows, c = v.shape[0] * v.shape[1] * v.shape[2], x.shape[3]
    if groups == 1:
        return v.reshape(1, rows, kernel[0] * kernel[1] * c)
    v = v.reshape(*v.shape[:5], groups, c // groups).transpose(5, 0, 1, 2, 3, 4, 6)
    return v.reshape(groups, rows, kernel[0] * kernel[1] * (c // groups))


def _matrix(w, groups):
    """Weights as (groups, kh·kw·C/groups, O/groups)."""
    o, c, kh, kw = w.shape
    return w.reshape(groups, o // groups, c, kh, kw).transpose(0, 3, 4, 2, 1).reshape(groups, kh * kw * c, o // groups)


def _depthwise(w, groups):
    return groups > 1 and w[0] == groups and w[1] == 1


def _blocks(*images):
    """Some images of each array at a time, so many that a block stays in the cache."""
    n, size = images[0].shape[0], max(x[:1].size for x in images)
    step = max(1, BLOCK // max(size, 1))
    for i in range(0, n, step):
        yield tuple(x[i : i + step] for x in images)


def _by_group(x, groups):
    """(N, h, w, O) as (groups, N·h·w, O/groups)."""
    return x.reshape(-1, groups, x.shape[3] // groups).transpose(1, 0, 2)


def conv2d(x, w, b, *, stride, padding, dilation, groups):
    """y[n, o, i, j] = b[o] + Σ w[o, c, u, v]·x[n, c, i·s + u·d - p, j·s + v·d - p]."""
    kernel = w.shape[2:]
    size = out_size(x.shape[2:], kernel, stride, padding, dilation)
    x = _padded(_nhwc(x), padding)
    if _depthwise(w.shape, groups):
        y = _depthwise_forward(x, w, size, stride, dilation)
    else:
        product = _columns(x, kernel, size, stride, dilation, groups) @ _matrix(w, groups)
        y = product.transpose(1, 0, 2).reshape(x.shape[0], *size, w.shape[0])
    if b is not None:
        y += b
    return _nchw(y)


def _depthwise_forward(x, w, size, stride, dilation):
    taps = np.ascontiguousarray(w[:, 0].transpose(1, 2, 0))
    y = np.zeros((x.shape[0], *size, x.shape[3]), x.dtype)
    for image, out in _blocks(x, y):
        buffer = np.empty_like(out)
        for i, j in np.ndindex(*w.shape[2:]):
            out += np.multiply(image[_shift(i, j, size, stride, dilation)], taps[i, j], out=buffer)
    return y


def conv2d_input(g, w, *, size, stride, padding, dilation, groups):
    """The derivative by the input, an image of `size` (H, W): every window's gradient added where the window was."""
    kernel, (ph, pw) = w.shape[2:], padding
    out, channels = g.shape[2:], w.shape[1] * groups
    g = _nhwc(g)
    dx = np.zeros((g.shape[0], size[0] + 2 * ph, size[1] + 2 * pw, channels), g.dtype)
    if _depthwise(w.shape, groups):
        taps = np.ascontiguousarray(w[:, 0].transpose(1, 2, 0))
        for image, part in _blocks(g, dx):
            buffer = np.empty_like(image)
            for i, j in np.ndindex(*kernel):
                part[_shift(i, j, out, stride, dilation)] += np.multiply(image, taps[i, j], out=buffer)
    else:
        product = _by_group(g, groups) @ _matrix(w, groups).transpose(0, 2, 1)
        product = product.reshape(groups, g.shape[0], *out, *kernel, channels // groups)
        parts = dx.reshape(*dx.shape[:3], groups, channels // groups)
        for i, j in np.ndindex(*kernel):
            parts[_shift(i, j, out, stride, dilation)] += product[:, :, :, :, i, j].transpose(1, 2, 3, 0, 4)
    return _nchw(dx[:, ph : ph + size[0], pw : pw + size[1]])


def conv2d_weight(g, x, *, kernel, stride, padding, dilation, groups):
    """The derivative by the weight (O, C/groups, kh, kw): every window times its output's gradient, summed."""
    out, channels = g.shape[2:], x.shape[1] // groups
    x, g = _padded(_nhwc(x), padding), _nhwc(g)
    if channels == 1 and g.shape[3] == groups > 1:
        dw = np.zeros((*kernel, groups), g.dtype)
        for image, part in _blocks(x, g):
            buffer = np.empty_like(part)
            ones = np.ones(buffer.size // groups, g.dtype)
            for i, j in np.ndindex(*kernel):
                np.multiply(image[_shift(i, j, out, stride, dilation)], part, out=buffer)
                dw[i, j] += ones @ buffer.reshape(-1, groups)
        return dw.transpose(2, 0, 1)[:, None]
    product = _by_group(g, groups).transpose(0, 2, 1) @ _columns(x, kernel, out, stride, dilation, groups)
    return product.reshape(g.shape[3], *kernel, channels).transpose(0, 3, 1, 2)
