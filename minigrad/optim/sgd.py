"""Stochastic gradient descent."""

from collections.abc import Iterable
from typing import Any

from minigrad.engine.tensor import Tensor
from minigrad.optim.optimizer import Optimizer, at_least_zero, fit, like, scalar


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

    def update(self, p: Tensor, grad, group: dict[str, Any]):
        momentum, decay = scalar(group["momentum"], p), scalar(group["weight_decay"], p)
        if isinstance(group["weight_decay"], Tensor) or decay != 0:
            grad = grad + decay * p.data
        if isinstance(group["momentum"], Tensor) or momentum != 0:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = like(p, fit(p, grad))
                if self.memo["skippable"] and group["dampening"] != 0:  # a skipped step is not the first one
                    self.state[p]["step"] = Tensor(1.0, dtype="float32", device=p.device)
            else:
                buffer, count = self.slot(p, "momentum_buffer"), self.state[p].get("step")
                new = buffer.data * momentum
                new += (1 - scalar(group["dampening"], p)) * grad
                if count is not None:
                    new = p.backend.where(count.data > 0, new, grad)
                    count.data = count.data + 1
                buffer.data = fit(p, new)
            buffer = self.state[p]["momentum_buffer"].data
            grad = grad + momentum * buffer if group["nesterov"] else buffer
        change = grad * -scalar(group["lr"], p)
        change += p.data
        return change
