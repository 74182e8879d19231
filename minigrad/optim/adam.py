"""Adam and AdamW: the update rule, and around it the step count and the slots."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from minigrad import checks
from minigrad.backend import Array
from minigrad.dtypes import plain
from minigrad.engine.inplace import assign
from minigrad.engine.tensor import Tensor
from minigrad.kernels import KERNELS
from minigrad.optim.optimizer import Optimizer, all_numbers, at_least_zero, counts, fit, like, scalar


def adam(xp, θ, g, m, v, v_max=None, /, *, lr, betas, correction, root, eps, weight_decay, decoupled) -> tuple:
    """One step of Adam (Kingma & Ba 2015, algorithm 1) on raw arrays, in PyTorch's order of operations. Gives the new θ, m, v and, for
    AMSGrad, v_max.

    This is what runs, unless the backend has an `adam` of its own, which computes the same in place (None: it declines).

    Args:
        θ, g: the parameter and its gradient.
        m, v, v_max: the averages of g and of g², and the largest v so far.
        correction, root: 1 - β₁ᵗ and √(1 - β₂ᵗ) at step t, which make m̂ of m and √v̂ of √v.
        decoupled: whether the decay λ shrinks θ itself (AdamW) instead of changing the gradient.
    """
    α, (β1, β2), ε, λ = lr, betas, eps, weight_decay
    if counts(λ):
        θ, g = (θ * (1 - α * λ), g) if decoupled else (θ, g + λ * θ)
    m = lerp(m, g, 1 - β1)  # β₁·m + (1 - β₁)·g
    v = (1 - β2) * g * g + β2 * v
    largest = v if v_max is None else xp.maximum(v_max, v)
    θ = θ - α / correction * m / (xp.sqrt(largest) / root + ε)  # α·m̂/(√v̂ + ε)
    return (θ, m, v) if v_max is None else (θ, m, v, largest)


def lerp(a, b, share):
    """a + share·(b - a), from the nearer end."""
    return a + share * (b - a) if not all_numbers(share) or share < 0.5 else b - (1 - share) * (b - a)


class Adam(Optimizer):
    """m = β₁m + (1 - β₁)g;  v = β₂v + (1 - β₂)g²;  p -= lr·m̂/(√v̂ + eps) with m̂ = m/(1 - β₁ᵗ), v̂ = v/(1 - β₂ᵗ)
    (Kingma & Ba 2015). `weight_decay` adds weight_decay·p to the gradient.

    Args:
        params: tensors, (name, tensor) pairs or group dicts, see `Optimizer`.
        lr: learning rate, a number or a Tensor with one element.
        betas: β₁ and β₂, both numbers or both Tensors with one element.
        eps: keeps the division finite.
        amsgrad: use the largest v̂ so far (Reddi et al. 2018).
        maximize: climb instead of descend.
        capturable: keep the step count on the parameter's device and read nothing back to the host, for compiled steps.
        decoupled_weight_decay: shrink p itself, as AdamW does.
        foreach, fused: accepted for PyTorch's sake, without effect.

    >>> import minigrad as mg
    >>> w = mg.nn.Parameter([1.0])
    >>> optimizer = mg.optim.Adam([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 6)
    0.5
    """

    slots = ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(
        self, params: Iterable, lr: float | Tensor = 1e-3, betas: tuple = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, amsgrad: bool = False, *, foreach: bool | None = None, maximize: bool = False,
        capturable: bool = False, differentiable: bool = False, fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ):  # fmt: skip
        _two(type(self).__name__, betas)
        if isinstance(betas[0], Tensor) != isinstance(betas[1], Tensor):
            raise ValueError("betas must be either both floats or both Tensors")
        for name, value in (("lr", lr), ("betas[0]", betas[0]), ("betas[1]", betas[1])):
            if isinstance(value, Tensor) and foreach and not capturable:
                raise ValueError(f"{name} as a Tensor is not supported for capturable=False and foreach=True")
        defaults = {
            "lr": lr, "betas": (float(betas[0]), float(betas[1])), "eps": eps, "weight_decay": weight_decay,
            "amsgrad": amsgrad, "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "differentiable": differentiable, "fused": fused, "decoupled_weight_decay": decoupled_weight_decay,
        }  # fmt: skip
        super().__init__(params, defaults)

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        at_least_zero("epsilon value", group["eps"])
        for i, beta in enumerate(_two(type(self).__name__, group["betas"])):
            if not 0 <= beta < 1:
                raise ValueError(f"Invalid beta parameter at index {i}: {beta}, it must be at least 0 and less than 1")

    def update(self, p: Tensor, grad: Array, group: dict[str, Any]) -> Array:
        xp, (options, plain) = p.backend, self._operands(p, group, ("lr", "betas", "eps", "weight_decay"))
        correction, root = self._corrections(p, group)
        slots = [self.slot(p, "exp_avg"), self.slot(p, "exp_avg_sq")]
        if group["amsgrad"]:
            slots.append(self.slot(p, "max_exp_avg_sq"))
        arrays = (p.array, grad, *[slot.array for slot in slots])
        rates = {"correction": correction, "root": root, "decoupled": group["decoupled_weight_decay"]}
        kernel = KERNELS.get(("adam", xp.name)) if plain and not group["capturable"] else None
        new = None if kernel is None else kernel(*arrays, **options, **rates)
        new, *moments = adam(xp, *arrays, **options, **rates) if new is None else new
        for slot, moment in zip(slots, moments, strict=True):
            assign(slot, fit(p, moment))
        return new

    def _corrections(self, p: Tensor, group: dict[str, Any]) -> tuple:
        """1 - β₁ᵗ and √(1 - β₂ᵗ) after counting the step: numbers, or arrays when the count has to stay on the device.
        Parameters whose counts are the same array share the results."""
        state = self.state[p]
        if "step" not in state:
            zero = Tensor(0.0, dtype="float32", device=p.device if group["capturable"] else "cpu")
            state["step"] = like(zero, self.memo.setdefault((p.device, group["capturable"]), zero.array))
        step = state["step"]
        before = step.array
        known = self.memo.get(id(before))
        if known is None:
            known = self.memo[id(before)] = (before, fit(step, before + 1))
        assign(step, known[1])
        if (id(before), id(group)) not in self.memo:
            self.memo[id(before), id(group)] = self._correct(step, p, group)
        return self.memo[id(before), id(group)]

    def _correct(self, step: Tensor, p: Tensor, group: dict[str, Any]) -> tuple:
        if not group["capturable"]:
            count, (beta1, beta2) = step.item(), group["betas"]
            return 1 - beta1**count, (1 - beta2**count) ** 0.5
        found = []
        for beta in group["betas"]:  # 1 - βᵗ itself would lose digits in float32
            log = p.backend.log(scalar(beta, p)) if isinstance(beta, Tensor) else math.log(beta) if beta else -math.inf
            found.append(-p.backend.expm1(step.array * log))
        return found[0], p.backend.sqrt(found[1])


def _two(who: str, betas: Any) -> Sequence:
    """The betas, if they are two numbers or Tensors."""
    if isinstance(betas, tuple | list) and len(betas) == 2:
        if all(isinstance(beta, Tensor) or isinstance(plain(beta), int | float) for beta in betas):
            return betas
    raise TypeError(f"{who}: betas must be two numbers, as (0.9, 0.999), got {checks.told(betas)}")


class AdamW(Adam):
    """Adam that multiplies p by 1 - lr·weight_decay before its step, instead of changing the gradient
    (Loshchilov & Hutter 2019). Arguments as in `Adam`.

    >>> import minigrad as mg
    >>> w = mg.nn.Parameter([1.0])
    >>> optimizer = mg.optim.AdamW([w], lr=0.5, weight_decay=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 6)
    0.45
    """

    def __init__(
        self, params: Iterable, lr: float | Tensor = 1e-3, betas: tuple = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False, foreach: bool | None = None,
        capturable: bool = False, differentiable: bool = False, fused: bool | None = None,
    ):  # fmt: skip
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize, capturable=capturable,
            differentiable=differentiable, fused=fused, decoupled_weight_decay=True,
        )  # fmt: skip
