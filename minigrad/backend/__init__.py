"""Backends: one object for each array library, and the registry of devices.

A backend is used as `xp` in the operations' forward functions. Under numpy's names it has every array function that an
operation calls. Where the array library has the function under that name, the attribute is that function itself; a
backend's file holds only what its library lacks, names differently, or does better. On top of numpy's vocabulary each has

    name                               "cpu" or "mlx"
    array_type, dtypes                 the class of its arrays, its own dtypes by name
    eager                              whether values can be read without waiting for a device
    owns(a)                            whether a raw array can be a tensor's as it is: class, dtype, byte order
    asarray(values, dtype_name=None)   raw array from numpy array, list or scalar
    to_numpy(a), astype(a, name), dtype_name(a), eval(*arrays)
    start(arrays), carry(tensor)       compute soon what is carried from one step to the next (nothing, where eager)
    after(arrays, earlier)             the arrays, to be computed (again) when the earlier ones are there
    peak_of(function)                  the most bytes of arrays at once beyond those before, while function() makes arrays
    low_precision()                    the 16-bit dtype that `autocast` takes by itself
    memory(), exhausted(error)         counts of bytes or None; whether an error says that memory ran out
    set_memory_limit(n), set_cache_limit(n), reset_peak_memory(), clear_cache()
    rank_and_size(), all_sum(a), all_gather(a), peer_lost(error)   several processes, where the library has that
    why_not_compiled()                 None where `minigrad.compile` can compile, with compiled(function), random_keys(…)
    scatter(shape, index, g)           zeros of `shape` with g added at index, repeated positions summed
    set_at(a, index, values)           a copy of a with values at index
    add_at(a, index, values)           a, a fresh array of the caller's own, with values added at index
    pad(a, widths), erf, rsqrt, sigmoid, take(a, index, axis)
    uniform(shape, dtype_name, seed, counter, after)   random numbers in [0, 1), the same for the same seed and counter
    linear(x, w, b)                    x·w + b for matrices, b None or a row
    transposed_product(a, b)           aᵀ·b for matrices with many rows
    conv2d, conv2d_input, conv2d_weight

and may have overrides of fused operations (see `minigrad.ops.fused`), and `adam` and `sgd`, of what `minigrad.optim` defines so.
"""

import contextlib
import os

from minigrad.backend.numpy_backend import NumpyBackend
from minigrad.backend.numpy_threads import get_num_threads, num_threads, set_num_threads

# How many arrays MLX looks at side by side when it puts a graph in order. It reads this once, before the process's first
# computation, and takes 20 by itself; going down one array after the other frees a step's activations sooner.
os.environ.setdefault("MLX_BFS_MAX_WIDTH", "1")

_BACKENDS: dict = {"cpu": NumpyBackend()}
NAMES = ("cpu", "mlx", "gpu")


class BackendError(RuntimeError):
    """A device that is not there, or tensors of two devices in one operation."""


def get(device: str):
    """The backend of a device name: "cpu" (numpy), "mlx" (MLX's default device) or "gpu" (MLX, only where it has a GPU).

    Raises:
        BackendError: when MLX is asked for and not installed (or has no GPU, for "gpu"), or the name is unknown.
    """
    if device in _BACKENDS:
        return _BACKENDS[device]
    if device not in NAMES:
        raise BackendError(f"there is no device {device!r}; choose one of {', '.join(map(repr, NAMES))}")
    if "mlx" not in _BACKENDS:
        try:
            from minigrad.backend.mlx_backend import MLXBackend
        except ImportError as error:
            raise BackendError(
                f"device {device!r} needs MLX, which can't be imported here ({error}); on Apple silicon install it with "
                "pip install mlx, on Linux with pip install 'minigrad[mlx-cpu]' or 'minigrad[cuda12]'"
            ) from None
        _BACKENDS["mlx"] = MLXBackend()
    backend = _BACKENDS["mlx"]
    if device == "gpu" and not backend.has_gpu():
        raise BackendError("device 'gpu' was asked for, but MLX finds no GPU on this machine; use 'mlx' or 'cpu'")
    return backend


def launched() -> bool:
    """Whether a launcher (`mlx.launch`, `mpirun`) started this process together with others."""
    if hosts := os.environ.get("MLX_HOSTFILE"):
        with contextlib.suppress(OSError), open(hosts) as file:
            return bool(file.read().strip())  # for one process mlx.launch leaves it empty
    return any(name in os.environ for name in ("MLX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK"))


def of_array(array):
    """The backend whose array class `array` is, or None."""
    for backend in _BACKENDS.values():
        if isinstance(array, backend.array_type):
            return backend
    if type(array).__module__.partition(".")[0] == "mlx":
        return get("mlx")
    return None
