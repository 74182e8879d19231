"""What test_distributed runs in each of two processes, and in one.

two_processes.py numbers OUT                  steps and exchanges; their results in OUT<rank>.npz
two_processes.py train WHAT STEP ARGUMENTS    `minigrad train ARGUMENTS`. WHAT happens to process 1 as step STEP has begun: "stop"
                                              (SIGTERM), "kill"; "record" instead writes what the weights were after each step
"""

import json
import os
import signal
import sys

import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F
from minigrad.parallel import exchange
from minigrad.training import trainer

BATCH = 12


def train(make, steps: int, compiled: bool) -> tuple[list[float], list[np.ndarray]]:
    """Losses of the whole batches and the weights at the end; each process works on its part of a batch."""
    mg.manual_seed(0)
    exchange.BUCKET = 256 if compiled else 32 << 20  # several exchanges, or one
    rank, size = mg.distributed.get_rank(), mg.distributed.get_world_size()
    model = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 3)).to("mlx")
    optimizer = make(model.parameters())

    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        mg.distributed.average_gradients(model.parameters())
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return mg.distributed.all_reduce([loss], "mean", after=[model[0].weight])[0]

    run = mg.compile(step, state=[model, optimizer]) if compiled else step
    losses, rng = [], np.random.default_rng(0)
    for _ in range(steps):
        x, y = rng.normal(size=(BATCH, 6)).astype(np.float32), rng.integers(0, 3, BATCH)
        x, y = (np.array_split(a, size)[rank] for a in (x, y))
        losses.append(run(mg.tensor(x, device="mlx"), mg.tensor(y, device="mlx")).item())
    return losses, [p.numpy() for p in model.parameters()]


def everything() -> dict[str, np.ndarray]:
    found = {}
    for compiled in (False, True):
        how = "compiled" if compiled else "eager"
        losses, _ = train(lambda p: mg.optim.AdamW(p, lr=0.01), 20, compiled)
        _, weights = train(lambda p: mg.optim.SGD(p, lr=0.1), 1, compiled)
        found |= {f"{how} losses": np.array(losses), f"{how} weights": np.concatenate([w.ravel() for w in weights])}
    return found


def exchanges() -> dict[str, np.ndarray]:
    """The rest of minigrad.distributed, with results that every process must have."""
    rank, d = mg.distributed.get_rank(), mg.distributed
    mixed = [mg.full((3,), rank + 1.0, device="mlx"), mg.full((2, 2), rank + 1, dtype="int32", device="mlx")]
    weights = mg.full((4,), float(rank), device="mlx", requires_grad=True)
    d.broadcast([weights], src=1)
    d.barrier()
    told = ""
    try:
        d.first(lambda: open("/nowhere/at/all").read().encode())
    except (ValueError, OSError) as error:
        told = str(error)
    return {
        "sum": np.concatenate([t.numpy().ravel() for t in d.all_reduce(mixed)]),
        "mean": d.all_reduce(mixed[:1], "mean")[0].numpy(),
        "broadcast": weights.numpy(),
        "bytes": np.frombuffer(d.broadcast_bytes(b"\x00hello\xff" if rank == 0 else b""), np.uint8),
        "gathered": d.all_gather([rank, 1 << 40]),
        "fractions": d.all_gather([rank / 3]),
        "first": np.frombuffer(d.first(lambda: b"rank %d" % rank), np.uint8),
        "error": np.array("/nowhere/at/all" in told),
    }


def numbers(out: str) -> None:
    rank = mg.distributed.get_rank()
    found = everything() | {f"rank {rank} {name}": value for name, value in exchanges().items()}
    np.savez(f"{out}{rank}.npz", **found)


def watched_training(what: str, at: int, arguments: list[str]) -> int:
    from minigrad.cli import main

    rank, step, seen = mg.distributed.get_rank(), trainer._Run.step, {}

    def watched(run, *rest):
        step(run, *rest)
        done = run.epoch * len(run.batches) + run.batch
        if what == "record":
            seen[done] = mg.distributed.fingerprint(run.model.parameters())
        elif rank == 1 and done == at and not seen:
            seen[done] = 0
            os.kill(os.getpid(), {"stop": signal.SIGTERM, "kill": signal.SIGKILL}[what])

    trainer._Run.step = watched  # type: ignore[method-assign]
    status = main(["train", *arguments])
    if what == "record" and rank == 0:
        with open("weights.json", "w") as file:
            json.dump(seen, file)
    return status


if __name__ == "__main__":
    if sys.argv[1] == "numbers":
        numbers(sys.argv[2])
    else:
        sys.exit(watched_training(sys.argv[2], int(sys.argv[3]), sys.argv[4:]))
