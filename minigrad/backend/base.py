"""The protocol of a backend: one object for each array library, which operations are given as `xp`.

An attribute that isn't defined here is the array library's own function of that name, so `xp.tanh(a)` is numpy's, or MLX's. Names
and arguments are numpy's. A backend's class holds only what its library lacks, names differently, or does better.
"""

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from minigrad.backend.array import Array

if TYPE_CHECKING:
    import numpy as np

Shape = Sequence[int]


def no_numbers(values: object) -> TypeError:
    """The error for what can't be a raw array."""
    return TypeError(f"expected numbers, got {None if values is None else type(values).__name__}")


class Backend:
    """What minigrad asks of an array library. Methods without a default say so in one sentence."""

    name: str  # the device, "cpu" or "mlx"
    lib: Any  # the array library's module
    array_type: type[Array]  # the class of its arrays
    dtypes: Mapping[str, Any]  # its own dtypes by name, "float32" and so on
    eager: bool = True  # whether values can be read without waiting for a device
    writes: bool = False  # whether arrays can be written in place
    exchanges: bool = False  # whether processes can talk: `rank_and_size`, `all_sum`, `all_gather`, `peer_lost`
    raw: Any = None  # the operations as functions of raw arrays, once somebody differentiates

    def __getattr__(self, name: str) -> Any:
        """The array library's function of that name. It is kept, so that this runs once for each."""
        value = getattr(self.lib, name)
        setattr(self, name, value)
        return value

    def _lacks(self, what: str) -> NotImplementedError:
        return NotImplementedError(f"the backend {self.name!r} has no {what}; define it in its class")

    def has_gpu(self) -> bool:
        """Whether it computes on a GPU."""
        return False

    # --- arrays and dtypes ---

    def owns(self, a) -> bool:
        """Whether a raw array can be a tensor's as it is: its class, its dtype, its byte order."""
        raise self._lacks("owns(a)")

    def asarray(self, values, dtype_name: str | None = None) -> Array:
        """A raw array of a numpy array, a list or a number, or of a raw array, in the dtype of that name.

        Raises:
            TypeError: for anything else.
        """
        raise self._lacks("asarray(values, dtype_name)")

    def to_numpy(self, a: Array) -> "np.ndarray":
        """A raw array as numpy's; bfloat16, which numpy lacks, as float32."""
        raise self._lacks("to_numpy(a)")

    def dtype(self, name: str) -> object:
        """Its own dtype of that name.

        Raises:
            TypeError: when it has none.
        """
        if name not in self.dtypes:
            raise TypeError(f"device {self.name!r} has no {name}; it has {', '.join(self.dtypes)}")
        return self.dtypes[name]

    def dtype_name(self, a: Array) -> str:
        """The name of a raw array's dtype, "float32" and so on."""
        raise self._lacks("dtype_name(a)")

    def astype(self, a: Array, name: str) -> Array:
        """A raw array in the dtype of that name."""
        return a.astype(self.dtype(name))

    # --- array functions that not every library has, or not under this name ---

    def erf(self, x: Array) -> Array:
        """2/√π ∫₀ˣ exp(-t²) dt, elementwise."""
        raise self._lacks("erf(x)")

    def rsqrt(self, a: Array) -> Array:
        """1/√a, elementwise."""
        return 1 / self.sqrt(a)

    def sigmoid(self, a: Array) -> Array:
        """1/(1 + e⁻ᵃ), elementwise."""
        return 1 / (1 + self.exp(-a))

    def pad(self, a: Array, widths) -> Array:
        """Zeros around `a`: for each axis (how many before, how many after)."""
        raise self._lacks("pad(a, widths)")

    def linear(self, x: Array, w: Array, b: Array | None) -> Array:
        """x·w + b for matrices (M, K), (K, N), and b (N,) or None."""
        y = x @ w
        return y if b is None else y + b

    def transposed_product(self, a: Array, b: Array) -> Array:
        """aᵀ·b for matrices (M, K), (M, N) with many rows: (K, N)."""
        return a.T @ b

    def scatter(self, shape: Shape, index: tuple, g: Array) -> Array:
        """Zeros of `shape` with `g` added at `index`; where a position occurs several times, their sum."""
        raise self._lacks("scatter(shape, index, g)")

    def alone(self, tensor, memory=None) -> bool:
        """Whether a tensor's array may be written in place: its library allows that, and nobody holds the array but the tensor, or
        the tensors that share the memory (`minigrad.engine.inplace`)."""
        return False

    def set_at(self, a: Array, index: tuple, values) -> Array:
        """A copy of `a` with `values` at `index`."""
        raise self._lacks("set_at(a, index, values)")

    def add_at(self, a: Array, index: tuple, values) -> Array:
        """`a` with `values` added at `index`, whose positions are slices. `a` is a fresh array of the caller's own, and may be
        written."""
        return self.set_at(a, index, a[index] + values)

    def uniform(self, shape: Shape, dtype_name: str, seed: int, counter: int, after: list[Array]) -> Array:
        """Random numbers in [0, 1), the same for the same seed and counter, drawn once the arrays `after` are there."""
        raise self._lacks("uniform(shape, dtype_name, seed, counter, after)")

    # --- when it computes ---

    def eval(self, *arrays) -> None:
        """Computes lazy arrays now, in one go. A library that computes at once has nothing to do, here and below."""

    def start(self, arrays: Sequence[Array]) -> None:
        """Starts to compute what is carried from one step to the next: these arrays, and those noted by `carry`."""

    def carry(self, tensor) -> None:
        """Has a tensor's array computed with the next `start`."""

    def after(self, arrays: list[Array], earlier: list[Array]) -> list[Array]:
        """The same arrays, to be computed (again) when the earlier ones are there."""
        return arrays

    # --- memory ---

    def peak_of(self, function: Callable) -> int:
        """The most bytes of arrays held at once beyond those before, while `function()` makes arrays, which it returns."""
        raise self._lacks("peak_of(function)")

    def low_precision(self) -> str:
        """The 16-bit dtype that `autocast` takes by itself."""
        return "float16"

    def memory(self) -> dict[str, int] | None:
        """The counts of `minigrad.memory.MemoryInfo`; None where nobody counts."""
        return None

    def exhausted(self, error: BaseException) -> bool:
        """Whether an error says that there was no memory left."""
        return isinstance(error, MemoryError)

    def set_memory_limit(self, limit: int) -> int:
        """Limits the bytes of arrays; returns the limit before, 0 where there is none to set."""
        return 0

    def set_cache_limit(self, limit: int) -> int:
        """Limits the bytes of freed arrays that are kept for new ones, likewise."""
        return 0

    def reset_peak_memory(self) -> None:
        """Counts the peak anew from here."""

    def clear_cache(self) -> None:
        """Gives back the memory of freed arrays."""

    # --- several processes, where `exchanges` ---

    def rank_and_size(self) -> tuple[int, int]:
        """This process's number and how many there are."""
        raise self._lacks("exchange between processes")

    def all_sum(self, a: Array) -> Array:
        """The sum over all processes of an array that each has."""
        raise self._lacks("exchange between processes")

    def all_gather(self, a: Array) -> Array:
        """The arrays of all processes, joined along the first axis."""
        raise self._lacks("exchange between processes")

    def peer_lost(self, error: BaseException) -> bool:
        """Whether an error says that another process is gone."""
        return False

    # --- `minigrad.compile` ---

    def why_not_compiled(self) -> str | None:
        """Why a step can't be compiled here, for a warning; None where it can, and the following are there."""
        return f"the backend {self.name!r} computes operation by operation"

    def compiled(self, function: Callable[[list[Array]], Sequence[Array]]) -> Callable[[list[Array]], Sequence[Array]]:
        """`function`, from a list of arrays to a list of arrays, as one program: traced for each new set of shapes."""
        raise self._lacks("compiled(function)")

    def renamed(self, arrays: list[Array]) -> list[Array]:
        """The same arrays as other objects, for a first call of a compiled function, which may use one of them as a constant, too."""
        return arrays

    def building(self) -> AbstractContextManager[None]:
        """A context manager, held while a new trace is computed for the first time."""
        return nullcontext()

    def random_keys(self, seed: int, counter: int, count: int) -> Array:
        """The keys of the `count` draws that begin at `counter`, an array with a row for each."""
        raise self._lacks("random_keys(seed, counter, count)")

    def reads_value(self, error: BaseException | None) -> bool:
        """Whether an error says that a value was asked for while a step is being traced."""
        return False

    def from_another_trace(self, error: BaseException) -> bool:
        """Whether an error says that a trace uses an array of another one."""
        return False


def launched() -> bool:
    """Whether a launcher (`mlx.launch`, `mpirun`) started this process together with others."""
    if hosts := os.environ.get("MLX_HOSTFILE"):
        with contextlib.suppress(OSError), open(hosts) as file:
            return bool(file.read().strip())  # for one process mlx.launch leaves it empty
    return any(name in os.environ for name in ("MLX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK"))
