"""Stochastic gradient descent: the update rule, and around it the momentum buffer."""

from collections.abc import Iterable
from typing import Any

from minigrad.backend import Array
from minigrad.engine.inplace import assign
from minigrad.engine.tensor import Tensor
from minigrad.kernels import KERNELS
from minigrad.optim.optimizer import Optimizer, at_least_zero, counts, fit, like


def sgd(xp, θ, g, b, /, *, lr, momentum, dampening, weight_decay, nesterov, first=None) -> tuple:
    """One step of gradient descent with momentum (Sutskever et al. 2013, in PyTorch's form) on raw arrays. Gives the new θ and b.

    This is what runs, unless the backend has an `sgd` of its own, which computes the same in place (None: it declines).

    Args:
        θ, g: the parameter and its gradient.
        b: the momentum buffer, None at the first step.
        first: a boolean array where only the device knows whether this is the first step: earlier ones may have been skipped.
    """
    γ, μ, τ, λ = lr, momentum, dampening, weight_decay
    if counts(λ):
        g = g + λ * θ
    if counts(μ):
        b = g if b is None else μ * b + (1 - τ) * g
        b = b if first is None else xp.where(first, g, b)
        g = g + μ * b if nesterov else b
    return θ - γ * g, b


class SGD(Optimizer):
    """g = gradient + weight_decay·p;  buf = momentum·buf + (1 - dampening)·g (at first buf = g);  p -= lr·buf.

    With Nesterov p -= lr·(g + momentum·buf) (Sutskever et al. 2013, in PyTorch's form).

    Args:
        params: tensors, (name, tensor) pairs or group dicts, see `Optimizer`.
        lr: learning rate, a number or a Tensor with one element.
        maximize: climb instead of descend.
        foreach, fused: accepted for PyTorch's sake, without effect.

    >>> import minigrad as mg
    >>> w = mg.nn.Parameter([1.0])
    >>> optimizer = mg.optim.SGD([w], lr=0.25)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.tolist()
    [0.5]
    """

    slots = ("momentum_buffer", "step")  # the second only where `update` needs it

    def __init__(
        self, params: Iterable, lr: float | Tensor = 1e-3, momentum: float = 0, dampening: float = 0,
        weight_decay: float | Tensor = 0, nesterov: bool = False, *, maximize: bool = False,
        foreach: bool | None = None, differentiable: bool = False, fused: bool | None = None,
    ):  # fmt: skip
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
            "maximize": maximize, "foreach": foreach, "differentiable": differentiable, "fused": fused,
        }  # fmt: skip
        super().__init__(params, defaults)

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        at_least_zero("momentum value", group["momentum"])
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                f"Nesterov momentum requires a momentum and zero dampening, got momentum={group['momentum']} and "
                f"dampening={group['dampening']}"
            )

    def update(self, p: Tensor, grad: Array, group: dict[str, Any]) -> Array:
        xp, (options, plain) = p.backend, self._operands(p, group, ("lr", "momentum", "dampening", "weight_decay"))
        buffer = first = None
        moves = counts(options["momentum"])
        if moves and "momentum_buffer" in self.state[p]:
            buffer = self.slot(p, "momentum_buffer").array
            count = self.state[p].get("step")
            if count is not None:
                first = count.array == 0
                assign(count, count.array + 1)
        quick = plain and first is None and (buffer is not None or not moves)
        kernel = KERNELS.get(("sgd", xp.name)) if quick else None
        new = None if kernel is None else kernel(p.array, grad, buffer, nesterov=group["nesterov"], **options)
        if new is None:
            new = sgd(xp, p.array, grad, buffer, nesterov=group["nesterov"], first=first, **options)
        new, b = new
        if buffer is not None:
            assign(self.state[p]["momentum_buffer"], fit(p, b))
        elif moves:
            self.state[p]["momentum_buffer"] = like(p, fit(p, b))
            if self.memo["skippable"] and group["dampening"] != 0:  # a skipped step is not the first one
                self.state[p]["step"] = Tensor(1.0, dtype="float32", device=p.device)
        return new
