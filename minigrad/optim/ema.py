"""Exponential moving averages of a model's weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from minigrad import checks
from minigrad.backend import tracing
from minigrad.engine.inplace import assign
from minigrad.engine.tensor import Tensor
from minigrad.functions import minimum
from minigrad.optim.optimizer import fit, like, snapshot


class EMA:
    """Averages of a module's parameters and floating-point buffers: a = decay·a + (1 - decay)·p at each `update()`.
    Other buffers (counts) are copied. Averages of 16-bit tensors are kept in float32, in which a change of a thousandth isn't
    rounded away, and become 16 bits again where they are put into a module.

    Args:
        module: the module, read anew at each update.
        decay: between 0 and 1; about the last 1/(1 - decay) updates count.
        warmup: use min(decay, (1 + n)/(10 + n)) at the n-th update, so that the first weights are forgotten soon.

    >>> import minigrad as mg
    >>> layer = mg.nn.Linear(2, 1)
    >>> ema = mg.optim.EMA(layer, decay=0.9)
    >>> ema.update()                 # after each optimizer.step()
    >>> with ema.applied():          # evaluates with the averages, then the weights come back
    ...     _ = layer(mg.zeros(1, 2))
    """

    def __init__(self, module, decay: float = 0.999, warmup: bool = False):
        checks.module("EMA", "module", module)
        if not 0 <= checks.number("EMA", "decay", decay) <= 1:
            raise ValueError(f"EMA: decay must lie between 0 and 1, got {decay}")
        self.module, self.decay, self.warmup = module, decay, warmup
        self.average: dict[str, Tensor] = {name: _wide(t) for name, t in _tensors(self.module)}
        device = next((t.device for t in self.average.values()), None)
        self.updates = Tensor(0, device=device)  # the number of updates

    def update(self) -> None:
        """Takes the module's present values into the averages."""
        tracing.require(self, "an EMA")
        device = next((t.device for _, t in _tensors(self.module)), self.updates.device)
        self.updates = self.updates.to(device)  # the module may have been moved since
        assign(self.updates, (self.updates + 1).array)
        rates: dict = {}  # (device, dtype) -> 1 - decay there
        for name, t in _tensors(self.module):
            wide = _wide(t)
            new, average = wide.array, self.average[name].to(t.device)
            if t.dtype.is_floating_point:
                if (t.device, wide.dtype) not in rates:
                    rates[t.device, wide.dtype] = self._rate(wide)
                new = new - average.array
                new *= rates[t.device, wide.dtype]
                new += average.array
            self.average[name] = like(wide, fit(wide, new))
        averages = [*self.average.values(), self.updates]
        for xp in {average.backend for average in averages}:  # or a lazy backend would keep every step's graph
            xp.start([average.array for average in averages if average.backend is xp])

    def _rate(self, t: Tensor):
        """1 - decay: a number, or in the warm-up a raw array on the device of `t`."""
        if not self.warmup:
            return 1 - self.decay
        n = self.updates.to(t.device).astype("float64" if t.dtype == "float64" else "float32")
        return fit(t, 1 - minimum((1 + n) / (10 + n), self.decay).array)

    def copy_to(self, module=None) -> None:
        """Puts the averages into the module (or into another of the same structure)."""
        module = self.module if module is None else checks.module("EMA.copy_to", "module", module)
        missing = [name for name, _ in _tensors(module) if name not in self.average]
        if missing:
            raise ValueError(
                f"EMA.copy_to: there are no averages of {', '.join(missing)}; give a module of the same structure"
            )
        for name, t in _tensors(module):
            assign(t, self.average[name].to(t.device, t.dtype).array)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Context manager: inside, the module has the averages; afterwards, also after an error, its own values."""
        before = [(t, t.array) for _, t in _tensors(self.module)]
        self.copy_to()
        try:
            yield
        finally:
            for t, data in before:
                assign(t, data)

    def state_dict(self) -> dict[str, Tensor]:
        """The averages (in float32 where the module has 16 bits) under the names of the parameters and buffers, and the number of
        updates as "updates"."""
        return {**{name: snapshot(t) for name, t in self.average.items()}, "updates": snapshot(self.updates)}

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> None:
        """Takes up a `state_dict`, also one whose averages have 16 bits.

        Raises:
            ValueError: with every missing, unexpected or mis-shaped name; nothing is changed then.
        """
        checks.mapping("EMA.load_state_dict", "state_dict", state_dict, "a dict from names to tensors")
        for name, value in state_dict.items():
            checks.tensor("EMA.load_state_dict", f"{name!r}", value)
        own = dict(_tensors(self.module))
        problems = [f"missing {name}" for name in [*own, "updates"] if name not in state_dict]
        problems += [f"unexpected {name}" for name in state_dict if name not in own and name != "updates"]
        problems += [
            f"{name} has shape {tuple(state_dict[name].shape)}, expected {t.shape}"
            for name, t in own.items()
            if name in state_dict and tuple(state_dict[name].shape) != t.shape
        ]
        if problems:
            raise ValueError("the state dict doesn't fit the EMA's module: " + "; ".join(problems))
        self.average = {name: snapshot(state_dict[name]).to(t.device, _wide(t).dtype) for name, t in own.items()}
        self.updates = snapshot(state_dict["updates"]).to(self.updates.device, "int64")


def _tensors(module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _wide(t: Tensor) -> Tensor:
    """A tensor's values off the tape, those of 16 bits in float32."""
    return snapshot(t).float() if t.dtype.is_floating_point and t.dtype.itemsize == 2 else snapshot(t)
