"""Convolution on MLX: the general one, and the forms in which PVT's are quicker.

Arguments and results are (N, C, H, W) with weights (O, C/groups, kh, kw); the arithmetic is channels-last, so both are views.
A kernel as large as its stride (patches that don't overlap) is one matrix product; depthwise ones are in `depthwise.py`.
"""

import mlx.core as mx

from minigrad.backend.mlx_sums import HALVES, wide
from minigrad.kernels.mlx import depthwise
from minigrad.kernels.registry import kernel
from minigrad.kernels.windows import element, out_size


def nhwc(x):
    return mx.transpose(x, (0, 2, 3, 1))


def nchw(x):
    return mx.transpose(x, (0, 3, 1, 2))


def _general(x, w, stride, padding, dilation, groups):
    """Convolution of NHWC images with OHWI weights."""
    return mx.conv_general(x, w, stride=stride, padding=padding, kernel_dilation=dilation, groups=groups)


def _is_patches(kernel, stride, padding, dilation, groups) -> bool:
    return tuple(kernel) == tuple(stride) and padding == (0, 0) and dilation == (1, 1) and groups == 1


def _patches(x, kernel):
    """(N, H, W, C) → (N·H'·W', kh·kw·C), the image cut into pieces; what is left over at its end is left out."""
    (n, h, w, c), (kh, kw) = x.shape, kernel
    h, w = h // kh, w // kw
    pieces = x[:, : h * kh, : w * kw].reshape(n, h, kh, w, kw, c)
    return mx.transpose(pieces, (0, 1, 3, 2, 4, 5)).reshape(n * h * w, kh * kw * c)


def _taps(w):
    """(C, 1, kh, kw) → (kh, kw, C)."""
    return mx.contiguous(mx.transpose(w[:, 0], (1, 2, 0)))


@kernel("conv2d", "mlx")
def conv2d(x, w, b, *, stride, padding, dilation, groups):
    image, kernel = nhwc(x), w.shape[2:]
    size = out_size(image.shape[1:3], kernel, stride, padding, dilation)
    if not x.size or not w.size:  # MLX 0.32 ends the process on empty ones, so they never get there
        y = mx.zeros((x.shape[0], *size, w.shape[0]), x.dtype)
        return nchw(y if b is None else y + b)
    if depthwise.applies(w.shape, groups) and (form := depthwise.forms()["forward"]) != "native":
        function = depthwise.forward if form == "shifts" else depthwise.metal_forward
        return nchw(function(image, _taps(w), b, size, stride, padding, dilation))
    if _is_patches(kernel, stride, padding, dilation, groups):
        rows, columns = _patches(image, kernel), nhwc(w).reshape(w.shape[0], -1).T
        y = rows @ columns if b is None else mx.addmm(b, rows, columns)
        return nchw(y.reshape(x.shape[0], *size, -1))
    if b is not None and x.dtype in HALVES and mx.default_device().type == mx.DeviceType.cpu:
        image, w, b = wide(image), wide(w), wide(b)  # rounded once, after the bias; as quick there
    y = _general(image, nhwc(w), stride, padding, dilation, groups)
    return nchw((y if b is None else y + b).astype(x.dtype))


@kernel("conv2d_input", "mlx")
def conv2d_input(g, w, *, size, stride, padding, dilation, groups):
    image, kernel = nhwc(g), w.shape[2:]
    if not g.size or not w.size or 0 in size:
        return nchw(mx.zeros((g.shape[0], *size, w.shape[1] * groups), g.dtype))
    form = depthwise.forms()["input"] if depthwise.applies(w.shape, groups) else "native"
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if form == "metal" and stride == (1, 1) and all(r >= p for r, p in zip(reach, padding, strict=True)):
        return nchw(depthwise.metal_by_input(image, _taps(w), size, stride, padding, dilation))
    if form != "native":
        return nchw(depthwise.by_input(image, _taps(w), size, stride, padding, dilation))
    if _is_patches(kernel, stride, padding, dilation, groups):
        return nchw(_from_patches(image, nhwc(w), size))
    if max(stride) > 1 and groups == 1 and mx.default_device().type == mx.DeviceType.cpu:
        return nchw(_scattered(image, nhwc(w), size, stride, padding, dilation))

    def forward(x):
        return _general(x, nhwc(w), stride, padding, dilation, groups)

    x = mx.zeros((g.shape[0], *size, w.shape[1] * groups), g.dtype)
    return nchw(mx.vjp(forward, [x], [image])[1][0])  # the convolution itself is lazy there and never computed


def _from_patches(g, w, size):
    (n, h, wd, o), (kh, kw) = g.shape, w.shape[1:3]
    pieces = (g.reshape(-1, o) @ w.reshape(o, -1)).reshape(n, h, wd, kh, kw, -1)
    x = mx.transpose(pieces, (0, 1, 3, 2, 4, 5)).reshape(n, h * kh, wd * kw, -1)
    if tuple(size) == x.shape[1:3]:
        return x
    return mx.pad(x, ((0, 0), (0, size[0] - x.shape[1]), (0, size[1] - x.shape[2]), (0, 0)))


def _scattered(g, w, size, stride, padding, dilation):
    """One matrix product, and each tap's part added where it came from: MLX's CPU device dilates the gradient and loops."""
    (n, h, wd, o), (kh, kw) = g.shape, w.shape[1:3]
    dtype, g, w = g.dtype, wide(g), wide(w)
    parts = (g.reshape(-1, o) @ w.reshape(o, -1)).reshape(n, h, wd, kh, kw, -1)
    span = [s * (m - 1) + 1 for s, m in zip(stride, (h, wd), strict=True)]
    full = [
        max(m + 2 * p, d * (k - 1) + r) for m, p, d, k, r in zip(size, padding, dilation, (kh, kw), span, strict=True)
    ]
    out = mx.zeros((n, *full, parts.shape[-1]), g.dtype)
    for u in range(kh):
        for v in range(kw):
            out = out.at[:, *element((u, v), (h, wd), stride, dilation)].add(parts[:, :, :, u, v])
    return out[:, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]].astype(dtype)


@kernel("conv2d_weight", "mlx")
def conv2d_weight(g, x, *, kernel, stride, padding, dilation, groups):
    o, image, seed = g.shape[1], nhwc(x), nhwc(g)
    if not x.size or not g.size:
        return nchw(mx.zeros((o, *kernel, x.shape[1] // groups), g.dtype))
    shape = (o, x.shape[1] // groups, *kernel)
    if depthwise.applies(shape, groups) and (form := depthwise.forms()["weight"]) != "native":
        function = depthwise.by_taps if form == "shifts" else depthwise.metal_by_taps
        taps = function(seed, image, kernel, stride, padding, dilation)
        return mx.transpose(taps, (2, 0, 1)).reshape(shape)
    if _is_patches(kernel, stride, padding, dilation, groups):
        w = seed.reshape(-1, o).T @ _patches(image, kernel)
        return nchw(w.reshape(o, *kernel, -1))

    def forward(w):
        return _general(image, w, stride, padding, dilation, groups)

    w = mx.zeros((o, *kernel, x.shape[1] // groups), g.dtype)
    return nchw(mx.vjp(forward, [w], [seed])[1][0])
