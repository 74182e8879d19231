"""Random numbers whose state is data: two integers, a seed and a counter of draws.

Every draw comes from a counter-based generator (Philox) started at (seed, counter), so the state can be saved, restored
and compared, and the same seed gives the same initial weights on every device.
"""

import contextlib
import math
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from minigrad import checks
from minigrad.backend import tracing

if TYPE_CHECKING:
    from minigrad.backend import Array, Backend

MASK64 = 2**64 - 1


class Generator:
    """A stream of random numbers.

    >>> g = Generator(0)
    >>> a = g.normal((2,))
    >>> g.seed(0)
    >>> bool((g.normal((2,)) == a).all())
    True
    """

    def __init__(self, seed: int = 0):
        self._lock = threading.Lock()
        self._thread = threading.local()  # `place`, where a thread draws old numbers again, and `after`, when
        self._own = [0, 0]
        self.seed(seed)

    @property
    def _place(self) -> list[int]:
        """[seed, number of draws so far] of this thread's draws."""
        return getattr(self._thread, "place", None) or self._own

    def _count(self) -> tuple[int, int]:
        """Counts a draw: (seed, its number)."""
        place = self._place
        with self._lock:
            place[1] += 1
            return place[0], place[1]

    @contextlib.contextmanager
    def again(self, state, after: Sequence = ()) -> Iterator[None]:
        """Inside, this thread draws from `state` on, and on a lazy backend not before the arrays `after` are there; afterwards
        the stream goes on where it was."""
        thread = self._thread
        before = getattr(thread, "place", None), getattr(thread, "after", ())
        thread.place, thread.after = _place(state), after
        try:
            yield
        finally:
            thread.place, thread.after = before

    def seed(self, seed: int) -> None:
        """Starts the stream of another seed (any whole number)."""
        if not isinstance(seed, int | np.integer):
            raise TypeError(f"a seed is a whole number, got {type(seed).__name__}")
        self._place[:] = int(seed) & MASK64, 0

    @property
    def state(self) -> np.ndarray:
        """(seed, number of draws so far) as two unsigned 64-bit integers; assign it to continue there."""
        return np.array(self._place, np.uint64)

    @state.setter
    def state(self, value) -> None:
        self._place[:] = _place(value)

    def position(self) -> tuple[int, int]:
        """The seed, and the counter of the next draw."""
        seed, count = self._place
        return seed, count + 1

    def skip(self, draws: int) -> None:
        """Counts draws that were made elsewhere."""
        self._place[1] += checks.whole("skip", "draws", draws)

    def _next(self) -> "np.random.Generator":  # quoted: numpy.random is imported when it is first used
        if tracing.port.tracer is not None:
            raise RuntimeError(
                "random numbers drawn on the host inside a compiled step would be the same at every step; draw them outside "
                "and pass them in (dropout and drop_path draw on the device and may stay)"
            )
        seed, count = self._count()
        return np.random.Generator(np.random.Philox(key=seed, counter=count << 128))

    def uniform(self, shape=(), low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """Uniform on [low, high), float64."""
        low, high = checks.number("uniform", "low", low), checks.number("uniform", "high", high)
        return self._next().random(checks.sizes("uniform", "shape", shape)) * (high - low) + low

    def normal(self, shape=(), mean: float = 0.0, std: float = 1.0) -> np.ndarray:
        """Normal with the given mean and standard deviation, float64."""
        std, mean = checks.number("normal", "std", std), checks.number("normal", "mean", mean)
        return self._next().standard_normal(checks.sizes("normal", "shape", shape)) * std + mean

    def truncated_normal(
        self, shape=(), mean: float = 0.0, std: float = 1.0, low: float = -2.0, high: float = 2.0
    ) -> np.ndarray:
        """Normal, cut off at `low` and `high`, which are values, not multiples of `std`; float64.

        Drawn by rejection, so the distribution is exact: from the normal itself where that hits [low, high] often, otherwise
        from uniform numbers accepted with the density's height (Robert 1995).

        Raises:
            ValueError: unless std > 0 and low < high, mean and std finite.
        """
        for name, value in (("mean", mean), ("std", std), ("a", low), ("b", high)):
            checks.number("trunc_normal_", name, value)
        if not (std > 0 and low < high):
            raise ValueError(f"trunc_normal_ needs std > 0 and a < b, got std={std}, a={low}, b={high}")
        if not (math.isfinite(mean) and math.isfinite(std)):
            raise ValueError(f"trunc_normal_ needs a finite mean and std, got mean={mean}, std={std}")
        shape = checks.sizes("truncated_normal", "shape", shape)
        a, b = (low - mean) / std, (high - mean) / std
        mode = min(max(0.0, a), b)
        frequent = math.erf(b / math.sqrt(2)) - math.erf(a / math.sqrt(2)) > 0.4
        reach = math.sqrt(mode * mode + 80)  # beyond it the density is below e⁻⁴⁰ of its height at the mode
        start, end = max(a, -reach), min(b, reach)
        values = np.empty(math.prod(shape))
        filled = 0
        while filled < values.size:
            count = values.size - filled
            if frequent:
                x = self.normal((count,))
                x = x[(a <= x) & (x <= b)]
            else:
                x = self.uniform((4 * count + 16,), start, end)
                x = x[self.uniform(x.shape) < np.exp((mode * mode - x * x) / 2)][:count]
            values[filled : filled + x.size] = x
            filled += x.size
        return np.clip(mean + std * values, low, high).reshape(shape)

    def integers(self, low: int, high: int, shape=()) -> np.ndarray:
        """Uniform whole numbers in low … high - 1, int64."""
        low, high = checks.whole("integers", "low", low), checks.whole("integers", "high", high)
        return self._next().integers(low, high, checks.sizes("integers", "shape", shape))

    def permutation(self, n: int) -> np.ndarray:
        """The numbers 0 … n - 1 in random order, int64."""
        return self._next().permutation(checks.whole("permutation", "n", n))

    def device_uniform(self, xp: "Backend", shape: Sequence[int], dtype_name: str, after: "list[Array]") -> "Array":
        """Uniform on [0, 1) as a raw array, drawn on the backend's own device (dropout masks), when the arrays `after` are there: a
        lazy backend could draw all masks of a step before anything else."""
        if tracing.port.tracer is not None and self is not default:
            raise RuntimeError("inside a compiled step only the default generator draws; pass other random numbers in")
        waiting = [a for a in getattr(self._thread, "after", ()) if isinstance(a, xp.array_type)]
        return xp.uniform(shape, dtype_name, *self._count(), [*after, *waiting])


def _place(state) -> list[int]:
    """A generator's state as two integers of Python's, none of whose digits is lost: [2**63 + 1, 0] makes an array of float64."""
    values = state.tolist() if isinstance(state, np.ndarray) or checks.is_tensor(state) else state
    if (
        not isinstance(values, list | tuple)
        or len(values) != 2
        or not all(isinstance(v, int | np.integer) for v in values)
    ):
        raise TypeError(f"a generator's state is two whole numbers, as its .state gives them, got {checks.told(state)}")
    return [int(v) & MASK64 for v in values]


default = Generator(0)


def given(generator: Generator | None) -> Generator:
    """The generator, or the default one for None.

    Raises:
        TypeError: for anything else.
    """
    if generator is None:
        return default
    if isinstance(generator, Generator):
        return generator
    raise TypeError(f"generator must be a minigrad.random.Generator or None, got {checks.kind(generator)}")


def manual_seed(seed: int) -> Generator:
    """Starts the default generator again from a seed: initial weights, dropout, `rand` and the like."""
    default.seed(seed)
    return default
