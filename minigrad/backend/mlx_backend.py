"""The MLX backend: Apple's GPU through Metal, CUDA or the CPU elsewhere. Arrays are lazy until somebody reads them."""

import math
import weakref

import mlx.core as mx
import numpy as np

from minigrad.backend import mlx_compile, mlx_device, mlx_distributed, mlx_sums, tracing
from minigrad.backend.base import Backend, no_numbers

DTYPES = {
    "bool": mx.bool_,
    **{name: getattr(mx, name) for name in "uint8 int8 int16 int32 int64 float16 bfloat16 float32".split()},
}
NAMES = {native: name for name, native in DTYPES.items()} | {mx.uint32: "int64", mx.float64: "float64"}
OWN = frozenset([*DTYPES.values(), mx.float64])  # uint32 is what mx.argmax gives; as a tensor it would count modulo 2³²


def _writable(index) -> bool:
    """Whether MLX (0.32.4) writes there as numpy does: not beside partial slices, not at arrays set apart."""
    arrays = [i for i, p in enumerate(index) if isinstance(p, mx.array)]
    return not arrays or (
        arrays[-1] - arrays[0] == len(arrays) - 1 and all(p == slice(None) for p in index if isinstance(p, slice))
    )


def _places(shape, index):
    """The positions in the flattened array that an index means."""
    return mx.arange(math.prod(shape)).reshape(shape)[index].reshape(-1)


def _reduction(name, of_nothing):
    """A reduction, and what it gives where there is nothing to reduce."""

    def reduce(self, a, axis=None, keepdims=False):
        if a.size:
            return getattr(mx, name)(a, axis=axis, keepdims=keepdims)
        shape = np.empty(a.shape, bool).any(axis, keepdims=keepdims).shape
        return mx.full(shape, of_nothing, mx.bool_ if isinstance(of_nothing, bool) else a.dtype)

    return reduce


class MLXBackend(Backend):
    """mlx.core's functions under their own names, which are mostly numpy's, and the few that it has not."""

    name = "mlx"
    lib = mx
    array_type = mx.array
    dtypes = DTYPES
    eager = False  # reading a value waits for the device
    exchanges = True

    def __init__(self) -> None:
        self.carried: dict = {}  # id -> weak reference of a tensor whose array is to be computed soon
        mlx_device.set_default_limits()

    def has_gpu(self) -> bool:
        return mx.default_device().type == mx.DeviceType.gpu

    def owns(self, a) -> bool:
        return a.dtype in OWN

    def dtype(self, name: str):
        if name not in DTYPES:
            raise TypeError(f"device 'mlx' has no {name} (Apple GPUs lack it); use float32, or device 'cpu' for {name}")
        return DTYPES[name]

    def dtype_name(self, a) -> str:
        return NAMES[a.dtype]

    def asarray(self, values, dtype_name: str | None = None):
        if isinstance(values, mx.array):
            return values if dtype_name is None else self.astype(values, dtype_name)
        array = np.asarray(values)
        if array.dtype.kind in "OU":  # Python's objects, text
            raise no_numbers(values)
        name = dtype_name or array.dtype.name
        if name == "bfloat16":
            return mx.array(array.astype(np.float32)).astype(mx.bfloat16)
        native = self.dtype(name)
        return mx.array(array.astype(name, copy=False), native)

    def to_numpy(self, a):
        try:
            return np.array(a.astype(mx.float32) if a.dtype == mx.bfloat16 else a)
        except RuntimeError as error:
            if not mlx_compile.has_no_value(error):
                raise
            raise RuntimeError(
                "this tensor was made inside a compiled step and has no value outside; return it from the step"
            ) from None

    eval = staticmethod(mx.eval)

    def start(self, arrays) -> None:
        """Within a trace nothing is computed."""
        if tracing.port.tracer is not None:
            return
        tensors = [reference() for reference in self.carried.values()]
        self.carried.clear()
        try:
            mx.async_eval(arrays, [t._data for t in tensors if t is not None])
        except ValueError as error:  # somebody's own mx.compile or mx.grad around the step
            if not mlx_compile.reads_value(error):
                raise

    def carry(self, tensor) -> None:
        if tracing.port.tracer is None:
            self.carried[id(tensor)] = weakref.ref(tensor)

    def after(self, arrays: list, earlier: list) -> list:
        """A compiled function takes what is computed from them for something else than what was computed from the arrays
        themselves, and does it again."""
        return mx.depends(arrays, earlier) if arrays and earlier else arrays

    def peak_of(self, function) -> int:
        mx.synchronize()
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        mx.eval(function())
        return max(mx.get_peak_memory() - before, 0)

    # The chip and its memory.
    low_precision = staticmethod(mlx_device.low_precision)
    memory = staticmethod(mlx_device.memory)
    exhausted = staticmethod(mlx_device.exhausted)
    set_memory_limit = staticmethod(mx.set_memory_limit)
    set_cache_limit = staticmethod(mx.set_cache_limit)
    reset_peak_memory = staticmethod(mx.reset_peak_memory)
    clear_cache = staticmethod(mx.clear_cache)

    # Several processes.
    rank_and_size = staticmethod(mlx_distributed.rank_and_size)
    all_sum = staticmethod(mlx_distributed.all_sum)
    all_gather = staticmethod(mlx_distributed.all_gather)
    peer_lost = staticmethod(mlx_distributed.peer_lost)

    # What minigrad.compile needs.
    why_not_compiled = staticmethod(mlx_compile.why_not)
    compiled = staticmethod(mlx_compile.compiled)
    renamed = staticmethod(mlx_compile.renamed)
    reads_value = staticmethod(mlx_compile.reads_value)
    from_another_trace = staticmethod(mlx_compile.from_another_trace)
    building = staticmethod(mlx_compile.building)
    random_keys = staticmethod(mlx_compile.keys)

    def uniform(self, shape, dtype_name: str, seed: int, counter: int, after: list):
        key = tracing.key(counter)
        (key,) = self.after([mlx_compile.key(seed, counter) if key is None else key], after)
        return mx.random.uniform(shape=tuple(shape), key=key).astype(self.dtype(dtype_name))

    erf, rsqrt, sigmoid, pad = (staticmethod(f) for f in (mx.erf, mx.rsqrt, mx.sigmoid, mx.pad))
    sum, mean, cumsum = (staticmethod(f) for f in (mlx_sums.total, mlx_sums.mean, mlx_sums.running))
    # Of no elements, mx's own may never return on the CPU (0.32.4).
    any, all = _reduction("any", False), _reduction("all", True)
    max, min, argmax, argmin = (_reduction(name, 0) for name in ("max", "min", "argmax", "argmin"))

    def scatter(self, shape, index, g):
        if not g.size:
            return mx.zeros(shape, g.dtype)
        dtype, g = g.dtype, mlx_sums.wide(g) if any(isinstance(p, mx.array) for p in index) else g
        if _writable(index):
            return mx.zeros(shape, g.dtype).at[index].add(g).astype(dtype)
        flat = mx.zeros(math.prod(shape), g.dtype).at[_places(shape, index)].add(g.reshape(-1))
        return flat.reshape(shape).astype(dtype)

    def add_at(self, a, index, values):
        return a.at[index].add(values)

    def set_at(self, a, index, values):
        shape = a[index].shape
        if 0 in shape:
            return a
        values = mx.broadcast_to(mx.array(values, a.dtype), shape)
        if not _writable(index):
            out = mx.array(a.reshape(-1))
            out[_places(a.shape, index)] = values.reshape(-1)
            return out.reshape(a.shape)
        out = mx.array(a)
        out[index] = values
        return out

    def subtract(self, a, b):
        y = mx.subtract(a, b)
        if y.dtype == mx.bool_:
            raise TypeError("booleans can't be subtracted")  # as in numpy; MLX says True - True = False
        return y

    def floor_divide(self, a, b):
        """As Python's //: 1 // 0.1 is 9 and 1 // -∞ is -1, where MLX rounds a/b first and says 10 and -0."""
        like = a if isinstance(a, mx.array) else b
        if not mx.issubdtype(like.dtype, mx.floating):
            return mx.floor_divide(a, b)
        a, b = (mx.array(n, like.dtype) for n in (a, b))
        rest = mx.remainder(a, b)  # has b's sign; what is subtracted here has a's
        rest = mx.where((rest != 0) & ((rest < 0) != (a < 0)), rest - b, rest)
        rest = mx.where(mx.abs(a) < mx.abs(b), a, rest)
        quotient = (a - rest) / b - ((rest != 0) & ((rest < 0) != (b < 0)))
        return mx.where(b == 0, a / b, mx.round(quotient)).astype(like.dtype)

    def ascontiguousarray(self, a):
        return mx.contiguous(a)

    def linear(self, x, w, b):
        if b is None or not mx.issubdtype(x.dtype, mx.floating):
            y = x @ w
            return y if b is None else y + b
        return mx.addmm(b, x, w)
