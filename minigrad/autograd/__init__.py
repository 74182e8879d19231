"""What stands on the engine (`minigrad.engine`): derivatives as functions, checks, memory, mixed precision.

functional.py  vjp, jvp, jacobian, hessian, hvp      recompute.py  checkpoint
check.py       gradcheck, by finite differences      anomaly.py    detect_anomaly
autocast.py    which operations compute in 16 bits
"""

from collections.abc import Callable

from minigrad import checks
from minigrad.autograd.anomaly import detect_anomaly
from minigrad.autograd.autocast import autocast, is_autocast_enabled
from minigrad.autograd.check import GradcheckError, gradcheck, gradgradcheck
from minigrad.autograd.functional import hessian, hvp, jacobian, jvp, vjp
from minigrad.autograd.grad import backward, grad
from minigrad.autograd.observe import observe
from minigrad.autograd.recompute import checkpoint
from minigrad.engine.modes import enable_grad, is_grad_enabled, no_grad
from minigrad.engine.operation import REGISTRY, Node, Op, elementwise, op
from minigrad.engine.tensor import Tensor


def add_hook(tensor: Tensor, hook: Callable[[Tensor], Tensor | None]) -> Callable[[], None]:
    """See `Tensor.register_hook`."""
    return checks.tensor("add_hook", "tensor", tensor).register_hook(hook)


def retain_grad(tensor: Tensor) -> None:
    """See `Tensor.retain_grad`."""
    checks.tensor("retain_grad", "tensor", tensor).retain_grad()


def retains_grad(tensor: Tensor) -> bool:
    """See `Tensor.retains_grad`."""
    return checks.tensor("retains_grad", "tensor", tensor).retains_grad


__all__ = [
    "REGISTRY", "GradcheckError", "Node", "Op", "add_hook", "autocast", "backward", "checkpoint", "detect_anomaly",
    "elementwise", "enable_grad", "grad", "gradcheck", "gradgradcheck", "hessian", "hvp", "is_autocast_enabled",
    "is_grad_enabled", "jacobian", "jvp", "no_grad", "observe", "op", "retain_grad", "retains_grad", "vjp",
]  # fmt: skip
