"""The MLX backend: Apple's GPU through Metal, CUDA or the CPU elsewhere. Arrays are lazy until somebody reads them."""

import math

import mlx.core as mx
import numpy as np

from minigrad.backend.numpy_conv import out_size

DTYPES = {
    "bool": mx.bool_,
    **{name: getattr(mx, name) for name in "uint8 int8 int16 int32 int64 float16 bfloat16 float32".split()},
}
NAMES = {native: name for name, native in DTYPES.items()} | {mx.uint32: "int64", mx.float64: "float64"}


def _nhwc(x):
    return mx.transpose(x, (0, 2, 3, 1))


def _nchw(x):
    return mx.transpose(x, (0, 3, 1, 2))


def _convolve(x, w, stride, padding, dilation, groups):
    """Convolution of NHWC images with OHWI weights. MLX 0.32 ends the process on empty ones, so they never get there."""
    if not x.size or not w.size:
        size = out_size(x.shape[1:3], w.shape[1:3], stride, padding, dilation)
        return mx.zeros((x.shape[0], *size, w.shape[0]), x.dtype)
    return mx.conv_general(x, w, stride=stride, padding=padding, kernel_dilation=dilation, groups=groups)


class MLXBackend:
    """mlx.core's functions under their own names, which are mostly numpy's, and the few that it has not."""

    name = "mlx"
    lib = mx
    array_type = mx.array
    dtypes = DTYPES
    eager = False  # reading a value waits for the device
    raw = None  # the operations on this backend's raw arrays, once somebody differentiates

    def __getattr__(self, name):
        value = getattr(mx, name)
        setattr(self, name, value)
        return value

    def has_gpu(self) -> bool:
        return mx.default_device().type == mx.DeviceType.gpu

    def dtype(self, name: str):
        if name not in DTYPES:
            raise TypeError(f"device 'mlx' has no {name} (Apple GPUs lack it); use float32, or device 'cpu' for {name}")
        return DTYPES[name]

    def dtype_name(self, a) -> str:
        return NAMES[a.dtype]

    def asarray(self, values, dtype_name: str | None = None):
        if isinstance(values, mx.array):
            return values if dtype_name is None else self.astype(values, dtype_name)
        values = np.asarray(values)
        name = dtype_name or values.dtype.name
        if name == "bfloat16":
            return mx.array(values.astype(np.float32)).astype(mx.bfloat16)
        native = self.dtype(name)
        return mx.array(values.astype(name, copy=False), native)

    def astype(self, a, name: str):
        return a.astype(self.dtype(name))

    def to_numpy(self, a):
        return np.array(a.astype(mx.float32) if a.dtype == mx.bfloat16 else a)

    def eval(self, *arrays) -> None:
        """Computes the given lazy arrays now, in one go."""
        mx.eval(*arrays)

    def uniform(self, shape, dtype_name: str, seed: int, counter: int):
        key = mx.random.key((seed * 0x9E3779B97F4A7C15 + counter) & (2**64 - 1))
        return mx.random.uniform(shape=tuple(shape), key=key).astype(self.dtype(dtype_name))

    def sum(self, a, axis=None, keepdims=False):
        """MLX 0.32's CPU backend may hang on a sum of no elements, so it never gets one."""
        if a.size:
            return mx.sum(a, axis=axis, keepdims=keepdims)
        return self.asarray(np.zeros(a.shape, bool).sum(axis=axis, keepdims=keepdims), self.dtype_name(a))

    def mean(self, a, axis=None, keepdims=False):
        if a.size:
            return mx.mean(a, axis=axis, keepdims=keepdims)
        return self.sum(a, axis, keepdims) / 0.0

    def scatter(self, shape, index, g):
        arrays = [i for i in index if isinstance(i, mx.array)]
        if not arrays or len(arrays) + sum(i is None for i in index) < 2:
            return mx.zeros(shape, g.dtype).at[index].add(g)
        size = math.prod(shape)  # `at` orders the dimensions of mixed indices in its own way; reading does not
        places = mx.reshape(mx.arange(size), shape)[index]
        return mx.reshape(mx.zeros(size, g.dtype).at[mx.reshape(places, (-1,))].add(mx.reshape(g, (-1,))), shape)

    def add_at(self, a, index, values):
        return a.at[index].add(values)

    def set_at(self, a, index, values):
        out = mx.array(a)
        out[index] = values
        return out

    def ascontiguousarray(self, a):
        return mx.contiguous(a)

    # The derivatives below are mx.vjp's; the convolution itself is lazy there and never computed.
    def conv2d(self, x, w, b, *, stride, padding, dilation, groups):
        y = _convolve(_nhwc(x), _nhwc(w), stride, padding, dilation, groups)
        return _nchw(y if b is None else y + b)

    def conv2d_input(self, g, w, *, size, stride, padding, dilation, groups):
        def forward(x):
            return _convolve(x, _nhwc(w), stride, padding, dilation, groups)

        x = mx.zeros((g.shape[0], *size, w.shape[1] * groups), g.dtype)
        if not x.size or not g.size:
            return _nchw(x)
        return _nchw(mx.vjp(forward, [x], [_nhwc(g)])[1][0])

    def conv2d_weight(self, g, x, *, kernel, stride, padding, dilation, groups):
        def forward(w):
            return _convolve(_nhwc(x), w, stride, padding, dilation, groups)

        w = mx.zeros((g.shape[1], *kernel, x.shape[1] // groups), g.dtype)
        if not x.size or not g.size:
            return _nchw(w)
        return _nchw(mx.vjp(forward, [w], [_nhwc(g)])[1][0])

    def layer_norm(self, x, weight, bias, *, axes, eps):
        """MLX's own kernel, for the norm over the last axis; it keeps nothing but its inputs."""
        if len(axes) != 1:
            return None
        return mx.fast.layer_norm(x, weight, bias, eps), ()

    def layer_norm_vjp(self, g, saved, x, weight, bias, *, axes, eps):
        given = [a for a in (x, weight, bias) if a is not None]

        def forward(*arrays):
            rest = iter(arrays)
            return mx.fast.layer_norm(*(None if a is None else next(rest) for a in (x, weight, bias)), eps)

        grads = iter(mx.vjp(forward, given, [g])[1])
        return tuple(None if a is None else next(grads) for a in (x, weight, bias))
