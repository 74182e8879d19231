"""The threads of the numpy kernels where something goes wrong or comes late."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest

import minigrad as mg
from minigrad.backend import numpy_threads as threads


class Array(np.ndarray):
    """One that can be referred to weakly."""


@pytest.fixture
def pool(monkeypatch):
    """Two threads, of which none is started yet."""
    monkeypatch.setattr(threads._State, "jobs", threads.queue.SimpleQueue())
    monkeypatch.setattr(threads._State, "started", 0)
    with mg.backend.num_threads(2):
        yield


def watched(fail: bool):
    """A weak reference to an array that parallel work used."""
    array = np.zeros(10).view(Array)

    def work(i):
        if fail and i == 2:
            raise MemoryError("none left")
        return array.sum()

    try:
        threads.parallel(work, 4)
    except MemoryError:
        assert fail
    return weakref.ref(array)


def test_a_thread_that_comes_late_keeps_nothing_alive(pool):
    gate = threading.Event()
    other = threading.Thread(target=threads.parallel, args=(lambda i: gate.wait(20), 2))
    other.start()
    until = time.monotonic() + 20
    while (threads._State.started < 1 or not threads._State.jobs.empty()) and time.monotonic() < until:
        time.sleep(1e-3)  # until the one thread of the pool has taken the work that waits
    kept = watched(fail=False)()
    gate.set()
    other.join()
    assert kept is None


@pytest.mark.parametrize("number", [1, 2])
def test_a_failure_keeps_nothing_alive(pool, number):
    """What an exception holds goes with it, without waiting for the garbage collector: memory may have run out."""
    gc.disable()
    try:
        with mg.backend.num_threads(number):
            assert watched(fail=True)() is None
    finally:
        gc.enable()


def test_without_threads_the_work_is_done_all_the_same(pool, monkeypatch):
    """Where the system gives no more threads, or Python is about to end; a later call tries again."""

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as m:
        m.setattr(threading.Thread, "start", refuse)
        assert threads.parallel(abs, 3) == [0, 1, 2]
    meet = threading.Barrier(2, timeout=5)
    assert threads.parallel(lambda i: (meet.wait(), i)[1], 2) == [0, 1]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers")
def test_ctrl_c(pool):
    """Wherever it comes, the next call computes as before, and the other thread stops.

    The collector is off: Python drops an exception that is raised within a callback of the collector's, and Hypothesis has
    such a callback. With thousands of tests' objects to go through, an interruption then falls into it now and again.
    """

    class Interrupt(BaseException):
        pass

    def interrupt(*_):
        raise Interrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    caught, done = 0, []
    gc.disable()
    try:
        for k in range(200):
            try:
                end = time.monotonic() + 20  # an interruption that is lost fails the test
                signal.setitimer(signal.ITIMER_REAL, 1e-4 + 1e-5 * (k % 50))
                while time.monotonic() < end:
                    threads.parallel(lambda i: np.ones(1000).sum(), 50)
            except Interrupt:
                caught += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            done.append(threads.parallel(lambda i: (i, np.ones(3).sum()), 5))
            assert not threads._worker.busy
    finally:
        gc.enable()
        signal.signal(signal.SIGALRM, before)
    assert caught == 200 and all(d == [(i, 3.0) for i in range(5)] for d in done)


def test_ctrl_c_past_a_finally(pool, monkeypatch):
    """CPython's loops have an instruction that the `finally` around them doesn't cover, where a signal may be noticed."""

    def take(job):
        if threading.current_thread() is threading.main_thread():
            threads._worker.busy = True
            raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(threads._Job, "take", take)
        with pytest.raises(KeyboardInterrupt):
            threads.parallel(abs, 3)
    meet = threading.Barrier(2, timeout=5)
    assert threads.parallel(lambda i: (meet.wait(), i)[1], 2) == [0, 1]


def test_several_users_at_once(pool):
    """Threads of the user's own share the pool, each with its own numpy settings."""
    problems = []

    def user(k):
        try:
            with np.errstate(divide="raise" if k % 2 else "ignore"):
                for n in range(1, 40):
                    mine = lambda i: (k, i, np.ones(2) / np.full(2, k % 3))  # noqa: E731
                    if k % 2 and k % 3 == 0:
                        with pytest.raises(FloatingPointError):
                            threads.parallel(mine, n)
                    else:
                        assert [r[:2] for r in threads.parallel(mine, n)] == [(k, i) for i in range(n)]
        except BaseException as problem:
            problems.append(problem)

    users = [threading.Thread(target=user, args=(k,)) for k in range(6)]
    for u in users:
        u.start()
    for u in users:
        u.join(60)
    assert not problems and not any(u.is_alive() for u in users)


def test_the_environment_tells_blas_too():
    code = """
import minigrad, threadpoolctl
assert [lib["num_threads"] for lib in threadpoolctl.threadpool_info() if lib["user_api"] == "blas"] in ([], [1])
"""
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    environment["MINIGRAD_NUM_THREADS"] = "1"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100, env=environment)
