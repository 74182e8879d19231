"""Dynamic loss scaling, which keeps small gradients above the smallest number of float16."""

from collections.abc import Mapping
from typing import Any, TypeVar, overload

from minigrad import checks
from minigrad.autograd import no_grad
from minigrad.backend import tracing
from minigrad.engine.inplace import assign
from minigrad.engine.tensor import Tensor
from minigrad.functions import isfinite, stack, where
from minigrad.optim.optimizer import Optimizer, snapshot

T = TypeVar("T", bound=Tensor | list | tuple)
K = TypeVar("K")
V = TypeVar("V")


class GradScaler:
    """Multiplies the loss before backward and divides the gradients after it, by a scale that is halved when a gradient
    overflows (that step is skipped) and doubled after `growth_interval` steps without. Micikevicius et al. 2018, arXiv
    1710.03740; names and arithmetic as in PyTorch.

    Nothing waits for the device: on MLX a skipped step is chosen there, element by element (`where`), so the scaler works inside
    a compiled step; name it in the step's state. bfloat16 needs no scaler.

    Args:
        init_scale: the first scale.
        growth_factor, backoff_factor: what the scale is multiplied by after enough good steps, and after a skipped one.
        growth_interval: how many good steps in a row are enough.
        enabled: with False the loss is left alone and `step` is the optimizer's.

    Raises:
        ValueError: for factors on the wrong side of 1. RuntimeError: when a method is called out of turn.

    >>> import minigrad as mg
    >>> layer, scaler = mg.nn.Linear(4, 2), mg.optim.GradScaler()
    >>> optimizer = mg.optim.AdamW(layer.parameters())
    >>> with mg.autocast("float16"):
    ...     loss = layer(mg.ones(3, 4)).square().mean()
    >>> scaler.scale(loss).backward()
    >>> scaler.unscale_(optimizer)            # only needed when something reads the gradients: clipping, say
    >>> scaler.step(optimizer)
    >>> scaler.update()
    >>> scaler.get_scale(), scaler.skipped
    (65536.0, 0)
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ):
        for name, value in (
            ("init_scale", init_scale),
            ("growth_factor", growth_factor),
            ("backoff_factor", backoff_factor),
        ):
            checks.number("GradScaler", name, value)
        growth_interval = checks.whole("GradScaler", "growth_interval", growth_interval)
        if enabled and not (
            growth_factor > 1.0 and 0.0 < backoff_factor < 1.0 and init_scale > 0 and growth_interval > 0
        ):
            raise ValueError(
                "GradScaler: growth_factor must be greater than 1, backoff_factor between 0 and 1, init_scale and growth_interval "
                f"greater than 0; got {growth_factor}, {backoff_factor}, {init_scale}, {growth_interval}"
            )
        self.growth_factor, self.backoff_factor, self.growth_interval = growth_factor, backoff_factor, growth_interval
        self.enabled = enabled
        self._first = (float(init_scale), 0, 0)  # what the tensors start with, once the loss's device is known
        self._scale: Tensor | None = None
        self._good: Tensor | None = None  # good steps since the scale changed
        self._skipped: Tensor | None = None
        self._found: dict[
            int, tuple[Optimizer, Tensor, bool]
        ] = {}  # since the last update: overflow, whether step was called

    @overload
    def scale(self, outputs: T) -> T: ...

    @overload
    def scale(self, outputs: Mapping[K, V]) -> Mapping[K, V]: ...

    def scale(self, outputs: Any) -> Any:
        """The loss (or each tensor of a list, tuple or dict) times the scale."""
        if not self.enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._make(outputs.device).to(outputs.device)
        if isinstance(outputs, Mapping):
            return {key: self.scale(value) for key, value in outputs.items()}
        if isinstance(outputs, list | tuple):
            return type(outputs)(self.scale(value) for value in outputs)
        raise TypeError(f"GradScaler.scale takes tensors or a list of them, got {checks.kind(outputs)}")

    @no_grad()
    def unscale_(self, optimizer: Optimizer) -> None:
        """Divides the gradients of the optimizer's parameters by the scale and notes whether all were finite. `step` does it
        where it wasn't done; once between two calls of `update`."""
        if not self.enabled:
            return
        tracing.require(self, "a GradScaler")
        checks.instance("GradScaler.unscale_", "optimizer", optimizer, Optimizer, "an optimizer")
        if id(optimizer) in self._found:
            raise RuntimeError(
                "unscale_() has already been called on this optimizer since the last update(); call update() once a step"
            )
        with_grad = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self._scale is None or not with_grad:
            raise RuntimeError(
                "GradScaler has no gradients to unscale; call scale(loss).backward() before, and zero_grad() after the step"
            )
        inverse = {device: self._scale.to(device).reciprocal() for device in {p.device for p in with_grad}}
        finite: dict[str, list[Tensor]] = {device: [] for device in inverse}
        for p in with_grad:
            if p.grad.dtype == "float16":
                raise ValueError(
                    "GradScaler: the gradients of float16 parameters can't be scaled; keep the parameters in float32 and use "
                    "mg.autocast, which computes in float16"
                )
            finite[p.device].append(isfinite(p.grad).all())
            assign(p.grad, (p.grad.detach() * inverse[p.device].astype(p.grad.dtype)).array)
        every = stack([stack(flags).all().to(self._scale.device) for flags in finite.values()]).all()
        self._found[id(optimizer)] = (optimizer, ~every, False)

    def step(self, optimizer: Optimizer, *args: Any, **kwargs: Any) -> object:
        """`optimizer.step(…)`, without effect where a gradient was infinite or NaN. Gradients are unscaled first if they weren't.
        Returns what the optimizer's step returns."""
        checks.instance("GradScaler.step", "optimizer", optimizer, Optimizer, "an optimizer")
        if not self.enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs or args:
            raise RuntimeError("GradScaler.step takes no closure; compute the loss before it")
        if id(optimizer) not in self._found:
            self.unscale_(optimizer)
        _, found, stepped = self._found[id(optimizer)]
        if stepped:
            raise RuntimeError("step() has already been called since the last update(); call update() once a step")
        self._found[id(optimizer)] = (optimizer, found, True)
        if not found.backend.eager:
            optimizer.capture()  # the step count must not count a skipped step either
            return optimizer.step(skip=found)
        return None if found.item() else optimizer.step(**kwargs)

    @no_grad()
    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Adjusts the scale, at the end of each step; or sets it to `new_scale`.

        scale·backoff_factor where a gradient overflowed; scale·growth_factor after `growth_interval` steps without.
        """
        if not self.enabled:
            return
        tracing.require(self, "a GradScaler")
        if self._scale is None or self._good is None or self._skipped is None:
            raise RuntimeError("GradScaler.update() comes after scale(loss).backward() and step(optimizer)")
        scale = self._scale
        if new_scale is not None:
            if isinstance(new_scale, Tensor):
                given = new_scale
            else:
                given = Tensor(float(checks.number("GradScaler.update", "new_scale", new_scale)), device=scale.device)
            if given.numel() != 1:
                raise ValueError(f"GradScaler.update: new_scale must have one element, got shape {given.shape}")
            assign(scale, given.detach().to(scale.device, "float32").reshape(()).array)
        elif not self._found:
            raise RuntimeError(
                "GradScaler.update() found no step since the last update(); call step(optimizer) before it"
            )
        else:
            overflow = stack([found for _, found, _ in self._found.values()]).any()
            good = self._good + 1
            enough = good == self.growth_interval
            grown = scale * self.growth_factor
            grown = where(enough & isfinite(grown), grown, scale)
            assign(scale, where(overflow, scale * self.backoff_factor, grown).array)
            assign(self._good, where(overflow | enough, 0, good).array)
            assign(self._skipped, (self._skipped + overflow.astype("int32")).array)
        self._found.clear()
        for t in (scale, self._good, self._skipped):
            t.backend.carry(t)

    # --- what it is -------------------------------------------------------------------------------------------------
    def get_scale(self) -> float:
        """The present scale (waits for the device); 1.0 where the scaler is off."""
        if not self.enabled:
            return 1.0
        return self._first[0] if self._scale is None else self._scale.item()

    @property
    def skipped(self) -> int:
        """How many steps were skipped so far (waits for the device)."""
        return self._first[2] if self._skipped is None else int(self._skipped.item())

    def is_enabled(self) -> bool:
        """Whether it scales."""
        return self.enabled

    def get_growth_factor(self) -> float:
        return self.growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        self.growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        return self.backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        self.backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        return self.growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        self.growth_interval = new_interval

    def state_dict(self) -> dict[str, float]:
        """Scale, factors and counts as numbers, as in PyTorch, with "skipped" beside them; empty where the scaler is off."""
        if not self.enabled:
            return {}
        good = self._first[1] if self._good is None else self._good.item()
        return {
            "scale": self.get_scale(),
            "growth_factor": self.growth_factor,
            "backoff_factor": self.backoff_factor,
            "growth_interval": self.growth_interval,
            "_growth_tracker": good,
            "skipped": self.skipped,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes up a `state_dict` of its own or PyTorch's.

        Raises:
            ValueError: for an empty one, which a scaler that is off gave. KeyError: for one that lacks something.
        """
        checks.mapping("GradScaler.load_state_dict", "state_dict", state_dict)
        if not self.enabled:
            return
        if not state_dict:
            raise ValueError("the state dict is empty: it comes from a GradScaler with enabled=False")
        names = ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker")
        missing = [name for name in names if name not in state_dict]
        if missing:
            raise KeyError(f"the state dict of a GradScaler lacks {', '.join(missing)}")
        for name in names:
            checks.number("GradScaler.load_state_dict", repr(name), state_dict[name])
        first = (float(state_dict["scale"]), int(state_dict["_growth_tracker"]), int(state_dict.get("skipped", 0)))
        self.growth_factor, self.backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self.growth_interval = state_dict["growth_interval"]
        self._first = first
        for t, value in zip((self._scale, self._good, self._skipped), first, strict=True):
            if t is not None:
                assign(t, Tensor(value, dtype=t.dtype, device=t.device).array)

    def __copy__(self) -> "GradScaler":
        """One with the same values, which stay as they are when this one goes on."""
        other = GradScaler.__new__(GradScaler)
        vars(other).update(vars(self))
        other._scale, other._good, other._skipped = (
            None if t is None else snapshot(t) for t in (self._scale, self._good, self._skipped)
        )
        other._found = {}
        return other

    def __repr__(self) -> str:
        return f"GradScaler(growth_interval={self.growth_interval}, enabled={self.enabled})"

    def _make(self, device: str) -> Tensor:
        """The scale, made on the first loss's device."""
        if self._scale is None:
            self._scale = Tensor(self._first[0], dtype="float32", device=device)
            self._good = Tensor(self._first[1], dtype="int32", device=device)
            self._skipped = Tensor(self._first[2], dtype="int32", device=device)
        return self._scale
