"""Backends: one object for each array library, and the registry of devices.

base.py says what a backend is, method by method.

base.py         the protocol                      numpy_backend.py, numpy_*.py  numpy, on the CPU
default.py      the device that isn't named       mlx_backend.py, mlx_*.py      MLX, where it is installed
tracing.py      whether a step is being traced
"""

import os
from collections.abc import Callable

from minigrad.backend.array import Array
from minigrad.backend.base import Backend, launched
from minigrad.backend.numpy_backend import NumpyBackend
from minigrad.backend.numpy_threads import get_num_threads, num_threads, set_num_threads

# How many arrays MLX looks at side by side when it puts a graph in order. It reads this once, before the process's first
# computation, and takes 20 by itself; going down one array after the other frees a step's activations sooner.
os.environ.setdefault("MLX_BFS_MAX_WIDTH", "1")

_BACKENDS: dict[str, Backend] = {"cpu": NumpyBackend()}
_arrivals: list[Callable[[Backend], object]] = []  # called with each backend that is made
LIBRARIES = ("cpu", "mlx")
NAMES = (*LIBRARIES, "gpu")  # that one is MLX, where it has a GPU
TALKS = "mlx"  # the one whose processes exchange arrays


class BackendError(RuntimeError):
    """A device that is not there, or tensors of two devices in one operation."""


def get(device: str) -> Backend:
    """The backend of a device name: "cpu" (numpy), "mlx" (MLX's default device) or "gpu" (MLX, only where it has a GPU).

    Raises:
        BackendError: when MLX is asked for and not installed (or has no GPU, for "gpu"), or the name is unknown.
        TypeError: for what is no name.
    """
    if not isinstance(device, str):
        raise TypeError(f"a device is one of the names {', '.join(map(repr, NAMES))}, got {type(device).__name__}")
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
        arrived = MLXBackend()
        for function in _arrivals:
            function(arrived)
        _BACKENDS["mlx"] = arrived
    backend = _BACKENDS["mlx"]
    if device == "gpu" and not backend.has_gpu():
        raise BackendError("device 'gpu' was asked for, but MLX finds no GPU on this machine; use 'mlx' or 'cpu'")
    return backend


def made() -> list[Backend]:
    """The backends that have been asked for so far."""
    return list(_BACKENDS.values())


def with_each(function: Callable[[Backend], object]) -> None:
    """Calls function(backend) now for each backend that is made, and for each other one when it is."""
    _arrivals.append(function)
    for xp in made():
        function(xp)


def of_array(array: object) -> Backend | None:
    """The backend whose array class `array` is, or None."""
    for backend in _BACKENDS.values():
        if isinstance(array, backend.array_type):
            return backend
    if type(array).__module__.partition(".")[0] == "mlx":
        return get("mlx")
    return None
