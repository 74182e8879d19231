"""Threads for the numpy kernels: the parts of one kernel's work, shared out on a pool.

numpy releases the interpreter's lock within its functions, so that parts run at once. While they do, BLAS works on one
thread in each. How work is cut into parts doesn't depend on the number of threads, and whoever sums over parts does so in
their order; so results don't depend on it either.
"""

import contextlib
import contextvars
import itertools
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor


class _State:
    threads: int | None = None  # None until it is asked for or set
    pool: "ThreadPoolExecutor | None" = None
    size = 0  # the pool's number of threads
    process: int | None = None  # the pool's; threads don't survive a fork
    limits: Any = None  # what BLAS was told, namely to use one thread


_worker = threading.local()  # .busy where work is being shared out already


def get_num_threads() -> int:
    """How many threads kernels use: what `set_num_threads` said, else MINIGRAD_NUM_THREADS, OMP_NUM_THREADS, or the cores."""
    if _State.threads is None:
        for name in ("MINIGRAD_NUM_THREADS", "OMP_NUM_THREADS"):
            value = os.environ.get(name, "")
            if value.isdecimal() and int(value):
                _State.threads = int(value)
                return _State.threads
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        _State.threads = cores or 1
    return _State.threads


def set_num_threads(n: int) -> None:
    """How many threads the CPU backend's kernels use from now on; by default as many as there are cores, or what
    MINIGRAD_NUM_THREADS says in the environment. Results don't depend on it beyond rounding.

    Raises:
        ValueError: for anything but a whole number of at least 1.
    """
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(f"the number of threads is a whole number of at least 1, got {n!r}")
    _State.threads = n
    _limit_blas()


def _limit_blas() -> None:
    if _State.limits is None:
        from threadpoolctl import threadpool_limits  # takes 20 ms, and few need it

        _State.limits = threadpool_limits(1, "blas")


@contextlib.contextmanager
def num_threads(n: int):
    """`set_num_threads` for the code inside; the number before, and BLAS's own, are back afterwards."""
    before, limits = _State.threads, _State.limits
    set_num_threads(n)
    try:
        yield
    finally:
        _State.threads = before
        if limits is None and _State.limits is not None:
            _State.limits.restore_original_limits()
            _State.limits = None


def scratch(size: int, dtype):
    """A flat array of this thread's own, with anything in it; the next call in the thread gives the same memory again."""
    kept = _worker.__dict__.setdefault("scratch", {})
    array = kept.get(dtype)
    if array is None or array.size < size:
        array = kept[dtype] = np.empty(size, dtype)
    return array[:size]


def parallel(work: Callable[[int], object], count: int) -> list:
    """[work(0), …, work(count - 1)], computed by as many threads as are set. Within such work it is a plain loop."""
    threads = min(get_num_threads(), count)
    if threads < 2 or getattr(_worker, "busy", False):
        return [work(i) for i in range(count)]
    _limit_blas()
    if _State.pool is None or _State.process != os.getpid() or _State.size < threads - 1:
        from concurrent.futures import ThreadPoolExecutor  # brings logging: not while minigrad is imported

        _State.size, _State.process = get_num_threads() - 1, os.getpid()
        _State.pool = ThreadPoolExecutor(_State.size, "minigrad")  # threads of one before end when they are idle
    results: list = [None] * count
    numbers = itertools.count()

    def take() -> None:
        _worker.busy = True
        try:
            while (i := next(numbers)) < count:
                results[i] = work(i)
        finally:
            _worker.busy = False

    waiting = [_State.pool.submit(contextvars.copy_context().run, take) for _ in range(threads - 1)]
    try:
        take()
    finally:
        for future in waiting:
            future.exception()  # waits, whatever happened here
    for future in waiting:
        future.result()
    return results
