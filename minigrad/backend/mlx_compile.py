"""What `minigrad.compile` needs of MLX: compiling, random keys as data, and telling its complaints apart."""

import contextlib
import functools
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence

import mlx.core as mx
import numpy as np

from minigrad.backend.base import launched

MASK64 = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15  # 2⁶⁴/φ: spreads the seeds over the 64 bits, so that (seed, counter) pairs seldom meet
READS = ("Attempting to eval an array during function transformations", "Not allowed inside a graph transformation")


def why_not() -> str | None:
    """Why a step can't be compiled here, or None: MLX's CPU device needs g++, and compiling can be switched off."""
    if "MLX_DISABLE_COMPILE" in os.environ:
        return "the environment variable MLX_DISABLE_COMPILE is set"
    if mx.default_device().type == mx.DeviceType.cpu and shutil.which("g++") is None:
        return "MLX compiles for the CPU with g++, which isn't installed"
    return None


def compiled(function: Callable[[list], Sequence]) -> Callable[[list], Sequence]:
    """`function`, from a list of arrays to a list of arrays, as one MLX graph: traced for each new set of shapes."""
    return mx.compile(function)


def renamed(arrays: list) -> list:
    """The same arrays as other objects. MLX refuses to trace a function that uses an array which it is given as a constant besides, such
    as that of a clone()."""
    return [mx.stop_gradient(a) for a in arrays]


@contextlib.contextmanager
def building() -> Iterator[None]:
    """Held while a new trace is computed for the first time. For the CPU MLX builds kernels in files that all processes
    share and doesn't wait for one that another process is still writing."""
    if mx.default_device().type == mx.DeviceType.gpu:
        yield
        return
    import fcntl  # where MLX is, it is there

    if launched():  # the others build the same, and this one may need their results before it is done: no lock for all
        _own_folder()
        yield
        return
    path = os.path.join(tempfile.gettempdir(), f"minigrad-mlx-build-{os.getuid()}.lock")
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@functools.cache
def _own_folder():
    """Has MLX build its kernels in a folder that no other process uses meanwhile and no other user can write to, since code is
    loaded from there. Returns the file that is locked for that until the process ends."""
    import fcntl

    for number in range(1000):
        folder = os.path.join(tempfile.gettempdir(), f"minigrad-mlx-{os.getuid()}-{number}")
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700)
            found = os.lstat(folder)
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
                continue
            file = open(os.path.join(folder, "lock"), "w")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        os.environ["TMPDIR"] = folder  # MLX reads it when it builds its first kernel
        return file
    raise RuntimeError(f"no folder for MLX's kernels can be had in {tempfile.gettempdir()}")


def reads_value(error: BaseException | None) -> bool:
    """Whether MLX complains that a value was asked for while a step is being traced."""
    return any(text in str(error) for text in READS)


def has_no_value(error: BaseException) -> bool:
    """Whether MLX complains of an array that was left over from a trace."""
    return "array without a primitive" in str(error)


def from_another_trace(error: BaseException) -> bool:
    """Whether MLX complains that a trace uses an array of another one."""
    return "uncaptured inputs" in str(error) or has_no_value(error)


def key(seed: int, counter: int):
    """The key of one draw."""
    return mx.random.key((seed * GOLDEN + counter) & MASK64)


def keys(seed: int, counter: int, count: int):
    """The keys of the `count` draws that begin at `counter`, (count, 2) uint32."""
    values = np.arange(count, dtype=np.uint64) + np.uint64((seed * GOLDEN + counter) & MASK64)
    return mx.array(np.stack([values >> np.uint64(32), values & np.uint64(0xFFFFFFFF)], 1).astype(np.uint32))
