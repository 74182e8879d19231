"""Training with several processes, on one machine or several, each with its part of a batch: data parallelism.

The processes are started by a launcher, such as MLX's `mlx.launch -n 2 -- python train.py`; each has the whole model, and they
stay alike because each update uses the mean of their gradients. A process that was started alone is a group of one, for which
everything here does nothing.

>>> import minigrad as mg
>>> mg.distributed.get_rank(), mg.distributed.get_world_size()
(0, 1)

In a step of your own, compiled or not, after `backward` and before anything looks at the gradients:

    loss.backward()
    mg.distributed.average_gradients(model.parameters())
    optimizer.step()

When a process dies, what the others computed from an exchange with it is wrong, and MLX may say so later, or only wait.
`all_gather`, `broadcast`, `broadcast_bytes`, `first` and `barrier` wait for the others and check what came, so they raise PeerLost.
`all_reduce` and `average_gradients` are lazy, and can't: what they gave is right once an exchange that was made `after` it has
come, as `minigrad.training` uses it.
"""

from minigrad.parallel.exchange import (
    PeerLost,
    all_gather,
    all_reduce,
    average_gradients,
    barrier,
    broadcast,
    broadcast_bytes,
    fingerprint,
    first,
    get_rank,
    get_world_size,
    read,
)

__all__ = [
    "PeerLost", "all_gather", "all_reduce", "average_gradients", "barrier", "broadcast", "broadcast_bytes", "fingerprint", "first",
    "get_rank", "get_world_size", "read",
]  # fmt: skip
