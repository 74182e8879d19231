"""Exponential moving averages of a model's weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from minigrad.optim.optimizer import fit, like
from minigrad.tensor import Tensor


class EMA:
    """Averages of a module's parameters and floating-point buffers: a = decay·a + (1 - decay)·p at each `update()`.
    Other buffers (counts) are copied.

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
        if not 0 <= decay <= 1:
            raise ValueError(f"EMA: decay must lie between 0 and 1, got {decay}")
        self.module, self.decay, self.warmup, self.updates = module, decay, warmup, 0
        self.average: dict[str, Tensor] = {name: t.detach() for name, t in _tensors(self.module)}

    def update(self) -> None:
        """Takes the module's present values into the averages."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warmup else self.decay
        for name, t in _tensors(self.module):
            new = t.data
            average = self.average[name].to(t.device)
            if t.dtype.is_floating_point:
                new = new - average.data
                new *= 1 - decay
                new += average.data
            self.average[name] = like(t, fit(t, new))
        for xp in {
            average.backend for average in self.average.values()
        }:  # or a lazy backend would keep every step's graph
            xp.eval(*(average.data for average in self.average.values() if average.backend is xp))

    def copy_to(self, module=None) -> None:
        """Puts the averages into the module (or into another of the same structure)."""
        for name, t in _tensors(self.module if module is None else module):
            t.data = self.average[name].to(t.device).data

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Context manager: inside, the module has the averages; afterwards, also after an error, its own values."""
        before = [(t, t.data) for _, t in _tensors(self.module)]
        self.copy_to()
        try:
            yield
        finally:
            for t, data in before:
                t.data = data

    def state_dict(self) -> dict[str, Tensor]:
        """The averages under the names of the parameters and buffers, and the number of updates as "updates"."""
        return {**self.average, "updates": Tensor(self.updates)}

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> None:
        """Takes up a `state_dict`.

        Raises:
            ValueError: with every missing, unexpected or mis-shaped name; nothing is changed then.
        """
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
        self.average = {name: state_dict[name].detach().to(t.device, t.dtype) for name, t in own.items()}
        self.updates = int(state_dict["updates"].item())


def _tensors(module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()
