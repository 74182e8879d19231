"""Learning-rate schedules. Make one after the optimiser, call `step()` after each `optimizer.step()` (or each epoch).

A schedule sets every group's "lr" at once on construction (t = 0) and at each `step()`. Where PyTorch has the schedule,
the formula and the order of operations are PyTorch's, the recursive ones too, so that schedules can be chained.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minigrad import checks
from minigrad.engine.inplace import assign
from minigrad.engine.tensor import Tensor
from minigrad.optim.optimizer import Optimizer


class LRScheduler:
    """The base class: `get_lr()` gives each group's rate for `last_epoch`, the number of steps taken.

    Args:
        optimizer: its groups' "lr" are set; their values at construction are kept as "initial_lr".
        last_epoch: -1 to begin. To go on after n steps, n - 1, with an optimiser whose groups have "initial_lr" and the rates of
            then (it has loaded its state): as in PyTorch, construction counts step n, and the schedules that multiply at every step
            take the rates as they are.

    Raises:
        KeyError: for a group without "initial_lr" when the schedule goes on.
    """

    _unsaved: tuple[str, ...] = ("optimizer",)
    _beginning = False  # whether this is the step that construction takes

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        _optimizer(self, optimizer)
        last_epoch = checks.whole(type(self).__name__, "last_epoch", last_epoch)
        self.optimizer, self.last_epoch = optimizer, last_epoch
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", float(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"parameter group {i} has no 'initial_lr'; load the optimizer's state for last_epoch={last_epoch}"
                )
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self._beginning = True
        self.step()
        del self._beginning

    def get_lr(self) -> list[float]:
        """Each group's learning rate at `last_epoch`."""
        raise NotImplementedError(f"{type(self).__name__} has no get_lr method")

    def get_last_lr(self) -> list[float]:
        """Each group's learning rate as last set."""
        return self._last_lr

    def step(self) -> None:
        """Counts one step and sets the learning rates."""
        self.last_epoch += 1
        self._last_lr = [float(lr) for lr in self.get_lr()]
        for group, lr in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            current = group["lr"]
            if isinstance(current, Tensor):
                assign(current, current.backend.asarray(np.full(current.shape, lr), current.dtype.name))
            else:
                group["lr"] = lr

    def state_dict(self) -> dict[str, object]:
        """Everything but the optimiser and functions, as values that JSON can hold."""
        return {name: value for name, value in vars(self).items() if name not in self._unsaved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up a `state_dict`. The optimiser's rates come back with the optimiser's own state.

        Raises:
            ValueError: when the names are not this schedule's.
        """
        checks.mapping(f"{type(self).__name__}.load_state_dict", "state_dict", state_dict)
        if set(state_dict) != set(self.state_dict()):
            raise ValueError(
                f"the state dict has {', '.join(sorted(map(str, state_dict)))}; {type(self).__name__} keeps "
                f"{', '.join(sorted(self.state_dict()))}"
            )
        vars(self).update(state_dict)

    def _current(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]


class LambdaLR(LRScheduler):
    """lr = initial_lr · lr_lambda(t).

    Args:
        lr_lambda: a function of the step count, or a list of one for each group.

    >>> import minigrad as mg
    >>> optimizer = mg.optim.SGD([mg.nn.Parameter([1.0])], lr=0.5)
    >>> schedule = mg.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 0.5**t)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    _unsaved = ("optimizer", "lr_lambdas")

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
        last_epoch: int = -1,
    ):  # fmt: skip
        groups = len(_optimizer(self, optimizer).param_groups)
        self.lr_lambdas = list(lr_lambda) if isinstance(lr_lambda, list | tuple) else [lr_lambda] * groups
        for factor in self.lr_lambdas:
            checks.function("LambdaLR", "lr_lambda", factor)
        if len(self.lr_lambdas) != groups:
            raise ValueError(f"Expected {groups} lr_lambdas, one for each group, but got {len(self.lr_lambdas)}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        factors = [factor(self.last_epoch) for factor in self.lr_lambdas]
        for factor in factors:
            checks.number("LambdaLR", "what lr_lambda returns", factor)
        return [base * factor for base, factor in zip(self.base_lrs, factors, strict=True)]


class StepLR(LRScheduler):
    """lr is multiplied by gamma every `step_size` steps.

    >>> import minigrad as mg
    >>> optimizer = mg.optim.SGD([mg.nn.Parameter([1.0])], lr=1.0)
    >>> schedule = mg.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1):
        step_size = checks.whole("StepLR", "step_size", step_size)
        if step_size < 1:
            raise ValueError(f"StepLR: step_size must be at least 1, got {step_size}")
        self.step_size, self.gamma = step_size, checks.number("StepLR", "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        factor = self.gamma if self.last_epoch and self.last_epoch % self.step_size == 0 else 1
        return [lr * factor for lr in self._current()]


class MultiStepLR(LRScheduler):
    """lr is multiplied by gamma at each step in `milestones` (twice where one is listed twice).

    >>> import minigrad as mg
    >>> optimizer = mg.optim.SGD([mg.nn.Parameter([1.0])], lr=1.0)
    >>> schedule = mg.optim.lr_scheduler.MultiStepLR(optimizer, [1, 3], gamma=0.5)
    >>> for _ in range(3):
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1):
        found = checks.entries("MultiStepLR", "milestones", milestones, "a list of whole numbers")
        self.milestones = sorted(checks.whole("MultiStepLR", "each milestone", n) for n in found)
        self.gamma = checks.number("MultiStepLR", "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [lr * self.gamma ** self.milestones.count(self.last_epoch) for lr in self._current()]


class ExponentialLR(LRScheduler):
    """lr is multiplied by gamma at every step.

    >>> import minigrad as mg
    >>> optimizer = mg.optim.SGD([mg.nn.Parameter([1.0])], lr=1.0)
    >>> schedule = mg.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1):
        self.gamma = checks.number("ExponentialLR", "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return self._current() if self._beginning else [lr * self.gamma for lr in self._current()]


class CosineAnnealingLR(LRScheduler):
    """lr = eta_min + ½(initial_lr - eta_min)(1 + cos(π·t/T_max)) (Loshchilov & Hutter 2017, without restarts); it rises
    again after T_max. Computed from the present rate, as in PyTorch.

    >>> import minigrad as mg
    >>> optimizer = mg.optim.SGD([mg.nn.Parameter([1.0])], lr=1.0)
    >>> schedule = mg.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2)
    >>> schedule.step()
    >>> round(schedule.get_last_lr()[0], 6)
    0.5
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1):
        self.T_max, self.eta_min = (
            checks.number("CosineAnnealingLR", "T_max", T_max),
            checks.number("CosineAnnealingLR", "eta_min", eta_min),
        )
        if self.T_max == 0:
            raise ValueError("CosineAnnealingLR: T_max, the number of steps down, must not be 0")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t, end = self.last_epoch, self.T_max
        if self._beginning:
            return self._current()
        if (t - 1 - end) % (2 * end) == 0:  # at the bottom, where the ratio below is 0/0
            return [
                lr + (base - self.eta_min) * (1 - math.cos(math.pi / end)) / 2
                for base, lr in zip(self.base_lrs, self._current(), strict=True)
            ]
        ratio = (1 + math.cos(math.pi * t / end)) / (1 + math.cos(math.pi * (t - 1) / end))
        return [ratio * (lr - self.eta_min) + self.eta_min for lr in self._current()]


class CosineWithWarmup(LRScheduler):
    """Linear warm-up, then half a cosine: initial_lr·(t + 1)/(warmup_steps + 1) for t < warmup_steps, then
    eta_min + ½(initial_lr - eta_min)(1 + cos(π·(t - warmup_steps)/(total_steps - warmup_steps))), and eta_min from
    total_steps on. The first step's rate isn't 0, and the warm-up meets the cosine at its top.

    Args:
        total_steps: all steps, warm-up included.
        eta_min: the last rate.

    >>> import minigrad as mg
    >>> optimizer = mg.optim.SGD([mg.nn.Parameter([1.0])], lr=1.0)
    >>> schedule = mg.optim.lr_scheduler.CosineWithWarmup(optimizer, warmup_steps=3, total_steps=7)
    >>> rates = []
    >>> for _ in range(8):
    ...     rates += [round(r, 3) for r in schedule.get_last_lr()]
    ...     schedule.step()
    >>> rates
    [0.25, 0.5, 0.75, 1.0, 0.854, 0.5, 0.146, 0.0]
    """

    def __init__(
        self, optimizer: Optimizer, warmup_steps: int, total_steps: int, eta_min: float = 0.0, last_epoch: int = -1
    ):  # fmt: skip
        for name, value in (("warmup_steps", warmup_steps), ("total_steps", total_steps), ("eta_min", eta_min)):
            checks.number("CosineWithWarmup", name, value)
        if not 0 <= warmup_steps <= total_steps:
            raise ValueError(f"warmup_steps must lie between 0 and total_steps={total_steps}, got {warmup_steps}")
        self.warmup_steps, self.total_steps, self.eta_min = warmup_steps, total_steps, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t, warmup = self.last_epoch, self.warmup_steps
        if t < warmup:
            return [base * (t + 1) / (warmup + 1) for base in self.base_lrs]
        done = 1.0 if t >= self.total_steps else (t - warmup) / (self.total_steps - warmup)
        return [self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * done)) / 2 for base in self.base_lrs]


class OneCycleLR(LRScheduler):
    """Up from max_lr/div_factor to max_lr in the first `pct_start` of the steps, then down to that start divided by
    final_div_factor; momentum (or β₁) runs the other way (Smith & Topin 2019).

    Args:
        max_lr: the top, a number or one for each group.
        total_steps: all steps; or give `epochs` and `steps_per_epoch`.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: whether momentum (or β₁) goes from max_momentum to base_momentum and back.
        three_phase: down to the start first, symmetrically, and from there to the end.

    >>> import minigrad as mg
    >>> optimizer = mg.optim.AdamW([mg.nn.Parameter([1.0])])
    >>> schedule = mg.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    >>> round(schedule.get_last_lr()[0], 6)
    0.04
    """

    def __init__(
        self, optimizer: Optimizer, max_lr: float | list[float], total_steps: int | None = None,
        epochs: int | None = None, steps_per_epoch: int | None = None, pct_start: float = 0.3,
        anneal_strategy: str = "cos", cycle_momentum: bool = True, base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0, final_div_factor: float = 1e4, three_phase: bool = False, last_epoch: int = -1,
    ):  # fmt: skip
        _optimizer(self, optimizer)
        for name, value in (("total_steps", total_steps), ("epochs", epochs), ("steps_per_epoch", steps_per_epoch)):
            if value is not None:
                checks.whole("OneCycleLR", name, value)
        numbers = (("pct_start", pct_start), ("div_factor", div_factor), ("final_div_factor", final_div_factor))
        for name, number in numbers:
            checks.number("OneCycleLR", name, number)
        if div_factor == 0 or final_div_factor == 0:
            raise ValueError("OneCycleLR: div_factor and final_div_factor divide the learning rate and must not be 0")
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR needs total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if total_steps <= 0:
            raise ValueError(f"OneCycleLR: Expected positive integer total_steps, but got {total_steps}")
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: Expected float between 0 and 1 pct_start, but got {pct_start}")
        checks.choice("OneCycleLR", "anneal_strategy", anneal_strategy, ("cos", "linear"))
        self.total_steps, self.anneal_strategy, self.cycle_momentum = total_steps, anneal_strategy, cycle_momentum
        top = pct_start * total_steps - 1
        self.ends = [top, 2 * top, total_steps - 1] if three_phase else [top, total_steps - 1]
        self.rates = (
            ["initial_lr", "max_lr", "initial_lr", "min_lr"] if three_phase else ["initial_lr", "max_lr", "min_lr"]
        )
        self.momenta = ["max_momentum", "base_momentum", "max_momentum", "max_momentum"][: len(self.rates)]
        groups = optimizer.param_groups
        if last_epoch == -1:
            for group, rate in zip(groups, _each(max_lr, groups, "max_lr"), strict=True):
                group["initial_lr"], group["max_lr"] = rate / div_factor, rate
                group["min_lr"] = group["initial_lr"] / final_div_factor
        if cycle_momentum:
            if not {"momentum", "betas"} & set(optimizer.defaults):
                raise ValueError(
                    "OneCycleLR: cycle_momentum needs an optimizer with momentum or betas; pass cycle_momentum=False"
                )
            lows, highs = _each(base_momentum, groups, "base_momentum"), _each(max_momentum, groups, "max_momentum")
            if last_epoch == -1:
                for group, low, high in zip(groups, lows, highs, strict=True):
                    group["base_momentum"], group["max_momentum"] = low, high
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t = self.last_epoch
        if t > self.total_steps:
            raise ValueError(f"Tried to step {t} times. The specified number of total steps is {self.total_steps}")
        i = sum(t > end for end in self.ends[:-1])
        begin = self.ends[i - 1] if i else 0.0
        done = (t - begin) / (self.ends[i] - begin) if self.ends[i] != begin else 1.0
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._between(group[self.rates[i]], group[self.rates[i + 1]], done))
            if self.cycle_momentum:
                momentum = self._between(group[self.momenta[i]], group[self.momenta[i + 1]], done)
                if "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum
        return rates

    def _between(self, start: float, end: float, done: float) -> float:
        if self.anneal_strategy == "linear":
            return (end - start) * done + start
        return end + (start - end) / 2 * (1 + math.cos(math.pi * done))


def _optimizer(schedule: LRScheduler, optimizer: object) -> Optimizer:
    if isinstance(optimizer, Optimizer):
        return optimizer
    raise TypeError(f"{type(schedule).__name__} needs an optimizer, got {checks.kind(optimizer)}")


def _each(value, groups: list, name: str) -> list[float]:
    values = list(value) if isinstance(value, list | tuple) else [value] * len(groups)
    for each in values:
        checks.number("OneCycleLR", name, each)
    if len(values) != len(groups):
        raise ValueError(f"expected {len(groups)} values for {name}, one for each group, got {len(values)}")
    return values
