"""The processes that train one model together: who does what, what they agree on, and what happens when one is gone."""

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from minigrad import backend, nn, random
from minigrad.creation import tensor
from minigrad.engine.tensor import Tensor
from minigrad.parallel import exchange
from minigrad.parallel.heartbeat import Heartbeat

GRACE = 5.0  # seconds in which a process that lost another may notice and end by itself
SPREAD = 0x9E3779B97F4A7C15  # seeds of the processes' random numbers are multiples of it apart
NUMBERS = 1 << 16  # steps are numbered modulo this, so that their sums over the processes are exact in float32


class Team:
    """This process's place among those of a run, to be opened with `with`. A process on its own is process 0 of 1, and nothing
    here does anything; of several, process 0 alone prints and writes.

    While open, the end of another process ends this one: as an error of the class `failure` where this one notices at an exchange,
    else from a thread, by `os._exit(1)`.

    Args:
        failure: an exception's class, made of one sentence.

    Attributes:
        rank, size: the process's number, and how many there are.
        part: (rank, size), the part of each batch that this process works on.
        rescue: called with the reason when another process is gone, once; saves what can be saved, and gives the words.
    """

    def __init__(self, failure: type[Exception] = exchange.PeerLost) -> None:
        self.failure = failure
        self.rank, self.size = (exchange.get_rank(), exchange.get_world_size()) if backend.launched() else (0, 1)
        self.part = (self.rank, self.size)
        self.sent = self.heard = 0  # words
        self.stopping = False  # what the processes agreed on
        self.rescue: Callable[[str], str] = alone
        self._over = threading.Event()
        self._ending = threading.Lock()  # taken by the thread that deals with the end, for good

    def __str__(self) -> str:
        return "" if self.size == 1 else f", {self.size} processes"

    # --- the others ---

    def __enter__(self) -> Self:
        if self.size > 1:
            try:
                self.heartbeat = Heartbeat(self._lost)
            except exchange.PeerLost as error:
                raise self.failure(alone(str(error))) from None
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.size == 1:
            return
        lost = error is not None and self.lost(error)
        self._over.set()
        self._ending.acquire(blocking=False)
        # Where all stop, the first to end doesn't alarm another that is still saving.
        self.heartbeat.close(done=error is None or self.stopping)
        if lost:
            raise self.failure(self.rescue("another process ended")) from None

    def lost(self, error: BaseException) -> bool:
        """Whether an error says that another process is gone. If so, the caller now deals with that; where the other thread does
        already, this doesn't return."""
        if self.size == 1 or not (isinstance(error, exchange.PeerLost) or exchange.through().peer_lost(error)):
            return False
        if not self._ending.acquire(blocking=False):
            threading.Event().wait()
        self._over.set()
        return True

    def _lost(self, reason: str) -> None:
        """In the heartbeat's thread: the main one may wait for ever."""
        self._over.wait(GRACE)
        if self._ending.acquire(blocking=False):
            try:
                print(f"minigrad: error: {self.rescue(reason)}", file=sys.stderr, flush=True)
            finally:
                os._exit(1)

    # --- before the first step ---

    def first(self, function: Callable[[], str]) -> str:
        """What a function gives in process 0, where alone it runs."""
        return exchange.first(lambda: function().encode()).decode() if self.size > 1 else function()

    @contextlib.contextmanager
    def files(self, folder: Path, names: tuple[str, ...]) -> Iterator[Path]:
        """A folder with those of the named files that process 0 has in `folder`."""
        if self.size == 1 or self.rank == 0 and self._send(folder, names):
            yield folder
            return
        with tempfile.TemporaryDirectory() as copy:
            for name in names:
                content = exchange.broadcast_bytes()
                if content:
                    (Path(copy) / name).write_bytes(content)
            yield Path(copy)

    def _send(self, folder: Path, names: tuple[str, ...]) -> bool:
        for name in names:
            exchange.broadcast_bytes((folder / name).read_bytes() if (folder / name).is_file() else b"")
        return True

    def share(self, device: str, batch: int, images: int) -> int:
        """How many images of a batch are this process's.

        Raises:
            ValueError: where the processes can't have the same number, or the device is one whose processes can't talk.
        """
        if self.size > 1 and not backend.get(device).exchanges:
            raise ValueError(
                f"several processes train on device {backend.TALKS!r}, not on {device!r}; add --device {backend.TALKS}"
            )
        if self.size > 1 and (batch % self.size or images < batch):
            raise ValueError(
                f"a batch of {batch} of {images} images can't be shared equally by {self.size} processes; use a --batch-size that is "
                f"a multiple of {self.size} and no larger than the number of images"
            )
        self.device = device
        return batch // self.size

    def start(self, model: nn.Module, facts: Mapping[str, int]) -> None:
        """Gives every process the weights of process 0 and random numbers of its own.

        Raises:
            ValueError: where the processes don't see the same data: `facts` differ.
        """
        if self.size == 1:
            return
        rows = exchange.all_gather(list(facts.values())).tolist()
        for name, values in zip(facts, zip(*rows, strict=True), strict=True):
            if len(set(values)) > 1:
                raise ValueError(
                    f"the processes disagree on the number of {name}: {', '.join(map(str, values))}; give them the same"
                )
        exchange.broadcast([*model.parameters(), *model.buffers()])
        seed, count = (int(v) for v in random.default.state)
        random.default.state = [seed, exchange.all_gather([count])[0, 0]]  # as many as process 0 has drawn
        self.own_random_numbers()

    def own_random_numbers(self) -> None:
        """Dropout masks that differ from the other processes'; process 0 keeps those of a run alone."""
        seed, count = (int(v) for v in random.default.state)
        random.default.state = [(seed + self.rank * SPREAD) & random.MASK64, count]

    # --- with each step ---

    def word(self, wanted: bool) -> Tensor | None:
        """What this process tells the others behind a step's gradients: the step's number, and whether it is asked to stop."""
        if self.size == 1:
            return None
        self.sent += 1
        return tensor([float(self.sent % NUMBERS), float(wanted)], device=self.device)

    def hear(self, words: Tensor | None) -> None:
        """Reads the sum of all processes' words of the oldest step that wasn't heard of. It came after that step's gradients, so
        if it is right they are.

        Raises:
            PeerLost: if it isn't.
        """
        if words is None:
            return
        self.heard += 1
        number, stop = exchange.read(words).tolist()
        if number != self.heard % NUMBERS * self.size:
            raise exchange.PeerLost
        self.stopping = stop > 0

    def stops(self, wanted: bool) -> bool:
        """Whether to stop here: a process on its own where that is wanted of it, several where they agreed on it, so that all stop at
        one place."""
        return wanted if self.size == 1 else self.stopping

    # --- after an epoch ---

    def sums(self, values: Sequence[float], wanted: bool) -> list[float]:
        """The sums of numbers over all processes, which tell one another at the same time whether a stop is wanted of them."""
        if self.size == 1:
            return list(values)
        *sums, stopping = exchange.all_gather([*values, float(wanted)]).sum(0).tolist()
        self.stopping = stopping > 0
        return sums

    def check_alike(self, model: nn.Module) -> None:
        """Raises `failure` where the processes' weights are no longer the same."""
        if self.size > 1:
            sums = exchange.all_gather([exchange.fingerprint(model.parameters())])
            if (sums != sums[0]).any():
                raise self.failure(
                    "the processes' weights are no longer alike; was a file or a setting different on one machine?"
                )


def alone(reason: str) -> str:
    """What is said when another process is gone and there is nothing to save."""
    return f"{reason}, and the others can't go on without it"
