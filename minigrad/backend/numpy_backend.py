"""The CPU backend: numpy, and what numpy lacks (erf, convolution, scatter).

Image arrays are (N, C, H, W) by shape and channels-last in memory wherever they come out of a kernel here, so that the
change between a map and its tokens (N, H·W, C) is a view.
"""

import tracemalloc
import warnings
from sys import getrefcount

import numpy as np

from minigrad.backend import numpy_erf, numpy_gemm, numpy_sums
from minigrad.backend.base import Array, Backend, Shape, no_numbers

# log(0), 1/0 and overflow give infinities and NaN in silence, as in PyTorch; `detect_anomaly` is there to look for them. numpy
# warns in the name of the module that computes, so that one filter is enough, and costs nothing until there is a warning:
# np.errstate around every operation would cost 1 µs each, np.seterr would silence everybody else's numpy.
warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"minigrad\.")

DTYPES = {name: np.dtype(name) for name in "bool uint8 int8 int16 int32 int64 float16 float32 float64".split()}

NATIVE = frozenset(DTYPES.values())  # in the machine's byte order; in the other one they are other dtypes


class _Names(dict):
    """numpy works a dtype's name out at every question, which takes longer than adding two small arrays."""

    def __missing__(self, dtype) -> str:
        self[dtype] = dtype.name
        return dtype.name


DTYPE_NAMES = _Names()


FLOAT16 = DTYPES["float16"]


BITS = {np.dtype(np.float32): np.int32, np.dtype(np.float64): np.int64}  # integers of a float's size


def _masks(condition, a) -> bool:
    """Whether `_masked` is right and pays: large arrays of one shape."""
    fits = a.__class__ is np.ndarray and a.size > 2048 and a.dtype in BITS
    return fits and condition.dtype == bool and condition.shape == a.shape


def _masked(condition, a):
    """a where the condition is true, 0 elsewhere; NaN and infinities leave nothing behind, as they would by a product with 0."""
    bits = BITS[a.dtype]
    mask = condition.astype(bits)
    np.negative(mask, out=mask)  # all bits, or none
    np.bitwise_and(mask, a.view(bits), out=mask)
    return mask.view(a.dtype)


class NumpyBackend(Backend):
    """numpy's functions under their own names, and the few that numpy has not."""

    name = "cpu"
    writes = True
    lib = np
    array_type = np.ndarray
    dtypes = DTYPES

    erf = staticmethod(numpy_erf.erf)
    matmul = staticmethod(numpy_gemm.in_float32(np.matmul))
    linear = staticmethod(numpy_gemm.in_float32(numpy_gemm.linear))
    transposed_product = staticmethod(numpy_gemm.in_float32(numpy_gemm.transposed_product))

    def asarray(self, values, dtype_name: str | None = None) -> np.ndarray:
        if dtype_name is not None:
            return np.asarray(values, self.dtype(dtype_name))
        array = np.asarray(values)
        if array.dtype.kind in "OU":  # Python's objects, text
            raise no_numbers(values)
        return array

    def owns(self, a) -> bool:
        return a.__class__ is np.ndarray and a.dtype in NATIVE

    def dtype(self, name: str) -> np.dtype:
        if name not in DTYPES:
            raise TypeError(f"the CPU backend has no {name}; use float32, or device 'mlx' for {name}")
        return DTYPES[name]

    def dtype_name(self, a) -> str:
        return DTYPE_NAMES[a.dtype]

    def astype(self, a, name: str) -> Array:
        return a.astype(self.dtype(name), copy=False)

    def to_numpy(self, a) -> np.ndarray:
        return a

    def peak_of(self, function) -> int:
        """As numpy tells tracemalloc."""
        running = tracemalloc.is_tracing()
        if not running:
            tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            function()
            return tracemalloc.get_traced_memory()[1] - before
        finally:
            if not running:
                tracemalloc.stop()

    def why_not_compiled(self) -> str:
        return "numpy computes operation by operation"

    def uniform(self, shape: Shape, dtype_name: str, seed: int, counter: int, after: list) -> np.ndarray:
        stream = np.random.Philox(key=seed, counter=counter << 128)
        return np.random.Generator(stream).random(shape, np.float64 if dtype_name == "float64" else np.float32)

    # numpy's sum, max, … are functions in Python around these: slower, and what they warn of comes from numpy's modules.
    sum = staticmethod(numpy_sums.total)

    def mean(self, a, axis=None, keepdims=False) -> Array:
        total = numpy_sums.total(a if a.dtype != FLOAT16 else a.astype(np.float32), axis, keepdims)
        return (total / (a.size // max(total.size, 1))).astype(a.dtype, copy=False)

    def max(self, a, axis=None, keepdims=False) -> Array:
        return np.maximum.reduce(a, axis, keepdims=keepdims)

    def min(self, a, axis=None, keepdims=False) -> Array:
        return np.minimum.reduce(a, axis, keepdims=keepdims)

    def any(self, a, axis=None, keepdims=False) -> Array:
        return np.logical_or.reduce(a, axis, keepdims=keepdims)

    def all(self, a, axis=None, keepdims=False) -> Array:
        return np.logical_and.reduce(a, axis, keepdims=keepdims)

    cumsum = staticmethod(numpy_sums.running)

    def where(self, condition, a, b) -> np.ndarray:
        """numpy chooses number by number. Where one side is 0, the bits of the other are masked, in an eighth of the time."""
        if b.__class__ is float and b == 0 and _masks(condition, a):
            return _masked(condition, a)
        if a.__class__ is float and a == 0 and _masks(condition, b):
            return _masked(~condition, b)
        return np.where(condition, a, b)

    def sign(self, a) -> Array:
        positive = np.greater(a, 0).astype(a.dtype)
        return positive if a.dtype.kind == "b" else positive - np.less(a, 0)  # 0 for NaN, as in MLX and PyTorch

    def sigmoid(self, a) -> Array:
        return 1 / (1 + np.exp(-a))  # by tanh what is far below 0 would be rounded to multiples of 1e-7

    def pad(self, a, widths) -> np.ndarray:
        """Zeros around `a`; unlike np.pad it is quick and keeps the memory order of the axes."""
        shape = [n + before + after for n, (before, after) in zip(a.shape, widths, strict=True)]
        order = np.argsort([-abs(s) for s in a.strides], kind="stable")
        out = np.zeros([shape[i] for i in order], a.dtype).transpose(np.argsort(order))
        out[tuple(slice(before, before + n) for n, (before, _) in zip(a.shape, widths, strict=True))] = a
        return out

    def scatter(self, shape, index, g) -> np.ndarray:
        if any(isinstance(i, np.ndarray) for i in index):
            return numpy_sums.scatter(shape, index, g)
        out = np.zeros(shape, g.dtype)
        out[index] = g
        return out

    def add_at(self, a, index, values) -> np.ndarray:
        a[index] += values
        return a

    def alone(self, tensor, memory=None) -> bool:
        own = 0  # the references that are known: of tensors, and of their arrays, which numpy's views hold
        for t in () if memory is None else memory.living():
            if t._data is memory.array:
                own += 1
            elif t._data.base is memory.array and getrefcount(t._data) == 2:  # the slot, and this call
                own += 1
            else:
                return False
        array = tensor._data if memory is None else memory.array
        known = own + 3  # the slot (of the tensor or the memory), the name `array`, and this call
        return getrefcount(array) == known and array.base is None and tensor._data.flags.writeable

    def set_at(self, a, index, values) -> np.ndarray:
        a = np.array(a)  # of one of numpy's numbers, too, an array
        a[index] = values
        return a
