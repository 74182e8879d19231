"""Threads for the numpy kernels: the parts of one kernel's work, shared out on a pool.

numpy releases the interpreter's lock within its functions, so that parts run at once. While they do, BLAS works on one
thread in each. How work is cut up follows from its shape and the number of threads alone, and parts that belong to one sum are
added in their order: one number of threads gives the same bits in every run, another one the same but for rounding.
"""

import contextlib
import contextvars
import itertools
import os
import queue
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


class _State:
    threads: int | None = None  # None until it is asked for or set
    jobs: queue.SimpleQueue = queue.SimpleQueue()
    started = 0  # threads that wait for jobs
    starting = threading.Lock()
    limits: Any = None  # what BLAS was told, namely to use one thread


_worker = threading.local()  # .busy where work is being shared out already


def get_num_threads() -> int:
    """How many threads kernels use: what `set_num_threads` said, else MINIGRAD_NUM_THREADS, OMP_NUM_THREADS, or the cores."""
    if _State.threads is None:
        for name in ("MINIGRAD_NUM_THREADS", "OMP_NUM_THREADS"):
            value = os.environ.get(name, "").partition(",")[0].strip()  # OpenMP's may name a number for each level
            if value.isdecimal() and int(value):
                if name == "MINIGRAD_NUM_THREADS":  # the other one BLAS has read itself
                    _limit_blas()
                _State.threads = int(value)
                return _State.threads
            if value and name == "MINIGRAD_NUM_THREADS":
                warnings.warn(
                    f"MINIGRAD_NUM_THREADS is {value!r} and doesn't count: expected a whole number of at least 1",
                    stacklevel=2,
                )
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        _State.threads = cores or 1
    return _State.threads


def set_num_threads(n: int) -> None:
    """How many threads the CPU backend's kernels use from now on; by default as many as there are cores, or what
    MINIGRAD_NUM_THREADS says in the environment. Results don't depend on it beyond rounding.

    Raises:
        ValueError: for anything but a whole number of at least 1.
    """
    if not isinstance(n, int | np.integer) or isinstance(n, bool) or n < 1:
        raise ValueError(f"the number of threads is a whole number of at least 1, got {n!r}")
    _State.threads = int(n)
    _limit_blas()


def free_threads() -> int:
    """How many threads work could be shared out to now: one within work that already is."""
    return 1 if getattr(_worker, "busy", False) else get_num_threads()


def _limit_blas() -> None:
    if _State.limits is None:
        from threadpoolctl import threadpool_limits  # takes 20 ms, and few need it

        _State.limits = threadpool_limits(1, "blas")


@contextlib.contextmanager
def num_threads(n: int) -> Iterator[None]:
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
    threads = min(free_threads(), count)
    if threads < 2:
        return [work(i) for i in range(count)]
    _limit_blas()
    job = _Job(work, count)
    try:  # here, not around the loop of `take`: CPython's `finally` doesn't cover a loop's jump back, where Ctrl-C may come
        for _ in range(_started(threads - 1)):
            _State.jobs.put((contextvars.copy_context(), job.take))
        _worker.busy = True
        job.take()
        job.all_ended.acquire()
        if job.problems:
            raise job.problems[0]
        return job.results
    finally:
        _worker.busy = False
        job.drop()


class _Job:
    """Work that several threads take part in."""

    def __init__(self, work: Callable[[int], object], count: int):
        self.work: Callable | None = work
        self.count = count
        self.results: list = [None] * count
        self.problems: list[BaseException] = []
        self.numbers: Iterator[int] = itertools.count()
        self.ended = itertools.count(1)
        self.all_ended = threading.Lock()
        self.all_ended.acquire()

    def take(self) -> None:
        work, results = self.work, self.results
        while (i := next(self.numbers)) < self.count:
            try:
                if not self.problems:
                    results[i] = work(i)  # type: ignore[misc]  # None only when no number is left
            except BaseException as problem:
                self.problems.append(problem)
            finally:
                if next(self.ended) == self.count:
                    self.all_ended.release()

    def drop(self) -> None:
        """Leaves nothing to do, also after Ctrl-C, and holds nothing: a thread that comes late would keep arrays alive until
        then, and an exception that is held where it is raised would keep them until the next garbage collection."""
        self.numbers = itertools.repeat(self.count)
        self.work, self.results, self.problems = None, [], []


def _started(threads: int) -> int:
    """Starts threads until so many wait for jobs; says how many of them there are. They end with the process."""
    if _State.started < threads:
        with _State.starting:
            while _State.started < threads:
                name = f"minigrad_{_State.started + 1}"
                try:
                    threading.Thread(target=_serve, args=(_State.jobs,), name=name, daemon=True).start()
                except RuntimeError:  # the system gives no more, or Python is about to end
                    break
                _State.started += 1
    return min(threads, _State.started)


def _forked() -> None:
    """Threads don't survive a fork, and a lock may have been held by one of them."""
    _State.jobs, _State.started, _State.starting = queue.SimpleQueue(), 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _serve(jobs: queue.SimpleQueue) -> None:
    _worker.busy = True
    while True:
        context, function = jobs.get()
        context.run(function)
        del context, function  # nothing is kept alive while it waits


if "MINIGRAD_NUM_THREADS" in os.environ:
    get_num_threads()  # BLAS is told now: not every product comes from a kernel
