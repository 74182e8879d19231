"""Depthwise convolution as kernels for Apple's GPU. One thread computes one number of the image, or the taps' sums over one
row; neighbouring threads have neighbouring channels, so that they read neighbouring memory.

A kernel's text is the body of a function of Metal's C++; MLX writes its head.
"""

import functools

import mlx.core as mx

# in: x (N, H, W, C), taps (kh, kw, C), geometry: height and width of x, of y, of the kernel, stride, padding, dilation
GEOMETRY = """
    const int H = geometry[0], W = geometry[1], OH = geometry[2], OW = geometry[3], KH = geometry[4], KW = geometry[5];
    const int SH = geometry[6], SW = geometry[7], PH = geometry[8], PW = geometry[9], DH = geometry[10], DW = geometry[11];
    const int C = geometry[12];
    const int c = thread_position_in_grid.x;
    if (c >= C) return;
"""

# y[n, i, j, c] = sum of x[n, i·s + u·d - p, j·s + v·d - p, c]·taps[u, v, c]; grid (C, OW, N·OH)
FORWARD = (
    GEOMETRY
    + """
    const int j = thread_position_in_grid.y, row = thread_position_in_grid.z, n = row / OH, i = row % OH;
    float sum = 0;
    for (int u = 0; u < KH; ++u) {
        const int r = i * SH + u * DH - PH;
        if (r < 0 || r >= H) continue;
        for (int v = 0; v < KW; ++v) {
            const int q = j * SW + v * DW - PW;
            if (q < 0 || q >= W) continue;
            sum += float(x[((n * H + r) * W + q) * C + c]) * float(taps[(u * KW + v) * C + c]);
        }
    }
    y[(row * OW + j) * C + c] = T(sum);
"""
)

# sums[row, u, v, c] = sum over j of g[row, j, c]·x[n, i·s + u·d - p, j·s + v·d - p, c]; grid (C, KH·KW, N·OH)
TAPS = (
    GEOMETRY
    + """
    const int tap = thread_position_in_grid.y, row = thread_position_in_grid.z, n = row / OH, i = row % OH;
    const int u = tap / KW, v = tap % KW, r = i * SH + u * DH - PH;
    float sum = 0;
    if (r >= 0 && r < H) {
        for (int j = 0; j < OW; ++j) {
            const int q = j * SW + v * DW - PW;
            if (q < 0 || q >= W) continue;
            sum += float(g[(row * OW + j) * C + c]) * float(x[((n * H + r) * W + q) * C + c]);
        }
    }
    sums[(row * KH * KW + tap) * C + c] = sum;
"""
)


@functools.cache
def _kernel(name: str, source: str, inputs: tuple[str, ...], output: str):
    return mx.fast.metal_kernel(name=name, input_names=list(inputs), output_names=[output], source=source)


def _geometry(x_size, y_size, kernel, stride, padding, dilation, channels: int):
    return mx.array([*x_size, *y_size, *kernel, *stride, *padding, *dilation, channels], mx.int32)


def depthwise(x, taps, size, stride, padding, dilation):
    """The convolution of x (N, H, W, C) with taps (kh, kw, C), of the given size."""
    n, h, w, c = x.shape
    kernel = _kernel("minigrad_depthwise", FORWARD, ("x", "taps", "geometry"), "y")
    return kernel(
        inputs=[x, taps, _geometry((h, w), size, taps.shape[:2], stride, padding, dilation, c)],
        template=[("T", x.dtype)],
        grid=(c, size[1], n * size[0]),
        threadgroup=(min(c, 256), 1, 1),
        output_shapes=[(n, *size, c)],
        output_dtypes=[x.dtype],
    )[0]


def depthwise_taps(g, x, kernel, stride, padding, dilation):
    """The derivative by the taps, (kh, kw, C): one sum for each row of the result, and the sum of these."""
    (n, h, w, c), size = x.shape, g.shape[1:3]
    taps = kernel[0] * kernel[1]
    function = _kernel("minigrad_depthwise_taps", TAPS, ("g", "x", "geometry"), "sums")
    sums = function(
        inputs=[g, x, _geometry((h, w), size, kernel, stride, padding, dilation, c)],
        grid=(c, taps, n * size[0]),
        threadgroup=(min(c, 256), 1, 1),
        output_shapes=[(n * size[0], *kernel, c)],
        output_dtypes=[mx.float32],
    )[0]
    return sums.sum(0).astype(g.dtype)
