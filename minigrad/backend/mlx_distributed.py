"""Several processes that compute together, through mx.distributed: over TCP (ring), Thunderbolt (JACCL) or NCCL.

When a process ends, MLX 0.32.4's ring fails the exchange that is under way on the thread that computes for the CPU, and what was
queued behind it is computed all the same, with numbers that never came. Python is told by an error of whatever asks for a computation
next; one of the exchanges after that waits for ever. JACCL and NCCL may only wait. So that no error came doesn't make the results of
an exchange right; `minigrad.distributed` says what does.
"""

import functools

import mlx.core as mx

LOST = ("connection to a peer was lost", "[jaccl]", "nccl")


@functools.cache
def group():
    """All processes. Connects to them when it is first asked for."""
    return mx.distributed.init()


def rank_and_size() -> tuple[int, int]:
    """This process's number and how many there are."""
    return group().rank(), group().size()


def all_sum(a):
    """The sum over all processes of an array that each has."""
    return mx.distributed.all_sum(a, group=group())


def all_gather(a):
    """The arrays of all processes, joined along the first axis."""
    return mx.distributed.all_gather(a, group=group())


def peer_lost(error: BaseException) -> bool:
    """Whether MLX complains that another process is gone."""
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in LOST)
