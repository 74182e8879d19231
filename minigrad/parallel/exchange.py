"""Exchanges between the processes that train one model together: tensors, numbers and bytes. `minigrad.distributed` says how they
are used."""

import contextlib
import functools
import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from minigrad import backend, checks
from minigrad.creation import zeros_like
from minigrad.engine import inplace
from minigrad.engine.tensor import Tensor, _tensor

BUCKET = 32 << 20  # bytes that travel at once: small gradients together, large ones while others are computed
_tickets = itertools.count(1)  # each exchange of numbers has one, the same in all processes


class PeerLost(RuntimeError):
    """Another process has ended or can't be reached; what was exchanged with it since isn't to be trusted."""

    def __init__(self, text: str = "another process ended"):
        super().__init__(text)


# --- the group ----------------------------------------------------------------------------------------------------------
def through() -> backend.Backend:
    """The backend whose processes can talk. Raises BackendError where its array library isn't installed."""
    return backend.get(backend.TALKS)


@functools.cache
def _place() -> tuple[int, int]:
    """(rank, number of processes); joins the others when it is first asked for."""
    if not backend.launched():
        return 0, 1
    try:
        return through().rank_and_size()
    except (RuntimeError, ValueError) as error:
        if isinstance(error, backend.BackendError):
            raise
        raise backend.BackendError(f"can't join the other processes of this run: {error}") from None


def get_rank() -> int:
    """This process's number, 0 … get_world_size() - 1.

    Raises:
        BackendError: when the launcher's other processes can't be reached.
    """
    return _place()[0]


def get_world_size() -> int:
    """How many processes compute together; 1 for one that was started alone. Raises as `get_rank`."""
    return _place()[1]


# --- tensors ------------------------------------------------------------------------------------------------------------
def all_reduce(tensors: Sequence[Tensor], op: str = "sum", after: Sequence[Tensor] = ()) -> list[Tensor]:
    """The sum or mean over all processes of each of the tensors, which have the same shapes in every process. Nothing is
    recorded on the tape.

    Tensors of one dtype travel together, up to 32 MiB at once and one bucket after the other, so that all processes exchange
    them in the same order. With `after`, what an earlier exchange gave, they travel once that has come.

    Raises:
        ValueError: for another op, or tensors on a device whose processes can't talk ("cpu").
    """
    checks.choice("all_reduce", "op", op, ("sum", "mean"))
    tensors, size = checks.entries("all_reduce", "tensors", tensors, "a list of tensors", Tensor), get_world_size()
    after = checks.entries("all_reduce", "after", after, "a list of tensors", Tensor)
    if size == 1 or not tensors:
        return [_tensor(t.array, t._backend) for t in tensors]
    xp = _backend([*tensors, *after])
    results: list[Tensor | None] = [None] * len(tensors)
    before = [t.array for t in after]
    for bucket in _buckets(tensors):
        flat = xp.concatenate([tensors[i].array.reshape(-1) for i in bucket])
        (flat,) = xp.after([flat], before)
        total = xp.all_sum(flat)
        before = [total]
        total = total * (1 / size) if op == "mean" else total
        start = 0
        for i in bucket:
            t = tensors[i]
            results[i] = _tensor(total[start : start + t.numel()].reshape(t.shape), xp)
            start += t.numel()
    return [t for t in results if t is not None]


def _buckets(tensors: list[Tensor]) -> list[list[int]]:
    """Positions of tensors of one dtype, in order, so many that they are about as large as a bucket."""
    buckets: list[list[int]] = []
    open_ones: dict[str, tuple[list[int], int]] = {}
    for i, t in enumerate(tensors):
        members, held = open_ones.get(t.dtype.name, ([], BUCKET))
        if held >= BUCKET:
            members, held = [], 0
            buckets.append(members)
        members.append(i)
        open_ones[t.dtype.name] = members, held + t.array.nbytes
    return buckets


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replaces the gradient of each parameter that has one by its mean over all processes, which must agree on which have one.
    Before a `GradScaler` unscales them and before they are clipped, so that all processes do the same."""
    parameters = checks.entries("average_gradients", "parameters", parameters, "an iterable of tensors", Tensor)
    if get_world_size() == 1:
        return
    with_grad = [p for p in parameters if p.grad is not None]
    means = all_reduce([p.grad for p in with_grad if p.grad is not None], "mean")
    for p, mean in zip(with_grad, means, strict=True):
        p.grad = mean


def broadcast(tensors: Iterable[Tensor], src: int = 0) -> None:
    """Gives leaf tensors (parameters, buffers) of every process the values that those of process `src` have.

    Raises:
        PeerLost: when a process is gone, or not all processes have the same values afterwards.
    """
    tensors = checks.entries("broadcast", "tensors", tensors, "an iterable of tensors", Tensor)
    if get_world_size() == 1 or not tensors:
        return
    mine = get_rank() == src
    found = all_reduce([t.detach() if mine else zeros_like(t) for t in tensors])
    xp = _backend(found)
    with _peer_errors(xp):
        xp.eval(*[t.array for t in found])
    for t, value in zip(tensors, found, strict=True):
        inplace.assign(t, value.array)
    sums = all_gather([fingerprint(tensors)])
    if (sums != sums[0]).any():
        raise PeerLost("the weights that one process sent to the others didn't arrive")


def fingerprint(tensors: Iterable[Tensor]) -> int:
    """A number of 32 bits (CRC-32) that differs where the values of tensors differ, to compare them between processes."""
    total = 0
    for t in checks.entries("fingerprint", "tensors", tensors, "an iterable of tensors", Tensor):
        total = zlib.crc32(np.ascontiguousarray(t.detach().numpy()).data, total)
    return total


# --- numbers and bytes, which are waited for and checked -------------------------------------------------------------------
def all_gather(values: Sequence[float]) -> np.ndarray:
    """The numbers that each process gave (the same count everywhere), a row for each process: (processes, count), in int64 where
    all are whole numbers, else float64.

    Raises:
        PeerLost: when a process is gone.
    """
    mine = checks.array("all_gather", "values", values, "a list of numbers")
    if mine.ndim != 1:
        raise ValueError(f"all_gather: values must be a list of numbers, got an array of shape {mine.shape}")
    mine = mine.astype(np.float64 if mine.dtype.kind == "f" and mine.size else np.int64)
    rank, size = _place()
    if size == 1:
        return mine[None]
    content = mine.tobytes()
    head = np.array([rank, next(_tickets), zlib.crc32(content)], np.int64).tobytes()
    xp = through()
    rows = _read(xp, xp.all_gather(xp.asarray(np.frombuffer(head + content, np.uint8)[None])))
    numbers = np.ascontiguousarray(rows[:, len(head) :]).view(mine.dtype)
    heads = np.ascontiguousarray(rows[:, : len(head)]).view(np.int64)
    ticket = heads[rank, 1]
    for i, row in enumerate(rows):
        if heads[i].tolist() != [i, ticket, zlib.crc32(row[len(head) :].tobytes())]:
            raise PeerLost
    return numbers


def barrier() -> None:
    """Waits until all processes are here. Raises PeerLost when one is gone."""
    all_gather([])


def broadcast_bytes(data: bytes = b"", src: int = 0) -> bytes:
    """The bytes that process `src` gave. Raises PeerLost when a process is gone."""
    data = checks.instance("broadcast_bytes", "data", data, bytes, "bytes")
    if get_world_size() == 1:
        return data
    xp, mine = through(), get_rank() == src
    count, check = all_gather([len(data), zlib.crc32(data)])[src].tolist()
    if not count:
        return b""
    given = np.frombuffer(data, np.uint8) if mine else np.zeros(count, np.uint8)
    found = _read(xp, xp.all_sum(xp.asarray(given))).tobytes()
    if zlib.crc32(found) != check:
        raise PeerLost
    return found


def first(function: Callable[[], bytes]) -> bytes:
    """What `function` gives in process 0, where alone it runs, to all processes.

    Raises:
        ValueError: in every process, with its words, when it raises ValueError or OSError.
        PeerLost: when a process is gone.
    """
    checks.function("first", "function", function)
    if get_world_size() == 1:
        return function()
    answer, problem = b"", None
    if get_rank() == 0:
        try:
            answer = b"+" + function()
        except (ValueError, OSError) as error:
            answer, problem = b"-" + str(error).encode(), error
    answer = broadcast_bytes(answer)
    if problem is not None:
        raise problem
    if answer[:1] == b"-":
        raise ValueError(answer[1:].decode())
    return answer[1:]


def read(tensor: Tensor) -> np.ndarray:
    """The values of a tensor that was exchanged. Raises PeerLost where MLX says that a process is gone; else they are right only
    if they show it themselves."""
    return _read(checks.tensor("read", "tensor", tensor).backend, tensor.array)


def _read(xp, array) -> np.ndarray:
    with _peer_errors(xp):
        xp.eval(array)  # first, as an error that comes while numpy looks at it would end Python
        return xp.to_numpy(array)


@contextlib.contextmanager
def _peer_errors(xp) -> Iterator[None]:
    """While open, what the array library says of lost processes becomes a PeerLost."""
    try:
        yield
    except RuntimeError as error:
        if not xp.peer_lost(error):
            raise
        raise PeerLost from None


def _backend(tensors: Sequence[Tensor]):
    xp = tensors[0].backend
    if any(t.backend is not xp for t in tensors) or not xp.exchanges:
        devices, able = ", ".join(sorted({t.device for t in tensors})), backend.TALKS
        raise ValueError(
            f"processes exchange tensors on device {able!r}, these are on {devices}; move them with .to({able!r})"
        )
    return xp
