"""Threads for the numpy kernels: the parts of one kernel's work, shared out on a pool.

numpy releases the interpreter's lock within its functions, so that parts run at once. While they do, BLAS works on one
thread in each. What is summed over is cut into parts that don't depend on the number of threads, and the parts are summed in
their order; so only rounding in products of fewer rows depends on it, and one number gives the same bits in every run.
"""

import contextlib
import contextvars
import itertools
import os
import queue
import threading
from collections.abc import Callable
from typing import Any

import numpy as np


class _State:
    threads: int | None = None  # None until it is asked for or set
    jobs: queue.SimpleQueue = queue.SimpleQueue()
    started = 0  # threads that wait for jobs
    process: int | None = None  # theirs
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
    """[work(0), …, work(count - 1)], computed by as many threads as are set. Within such work it is a plain loop.

    Each thread takes the next number that is left; this one takes part, and waits at the end for what others have begun, not
    for threads that are slow to wake.
    """
    threads = min(get_num_threads(), count)
    if threads < 2 or getattr(_worker, "busy", False):
        return [work(i) for i in range(count)]
    _limit_blas()
    results: list = [None] * count
    problems: list[BaseException] = []
    numbers, ended = itertools.count(), itertools.count(1)
    all_ended = threading.Lock()
    all_ended.acquire()

    def take() -> None:
        _worker.busy = True
        try:
            while (i := next(numbers)) < count:
                try:
                    if not problems:
                        results[i] = work(i)
                except BaseException as problem:
                    problems.append(problem)
                finally:
                    if next(ended) == count:
                        all_ended.release()
        finally:
            _worker.busy = False

    jobs = _jobs(threads - 1)
    for _ in range(threads - 1):
        jobs.put((contextvars.copy_context(), take))
    take()
    all_ended.acquire()
    if problems:
        raise problems[0]
    return results


def _jobs(threads: int) -> queue.SimpleQueue:
    """Where (context, function) is put for at least so many threads that wait there; they end with the process."""
    if _State.process != os.getpid():  # threads don't survive a fork
        _State.process, _State.started, _State.jobs = os.getpid(), 0, queue.SimpleQueue()
    while _State.started < threads:
        _State.started += 1
        threading.Thread(target=_serve, args=(_State.jobs,), name=f"minigrad_{_State.started}", daemon=True).start()
    return _State.jobs


def _serve(jobs: queue.SimpleQueue) -> None:
    while True:
        context, function = jobs.get()
        context.run(function)
        del context, function  # nothing is kept alive while it waits
