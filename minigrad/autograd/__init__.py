"""What stands on the engine (`minigrad.engine`): derivatives as functions, checks, memory, mixed precision.

functional.py  vjp, jvp, jacobian, hessian, hvp      recompute.py  checkpoint
check.py       gradcheck, by finite differences      anomaly.py    detect_anomaly
autocast.py    which operations compute in 16 bits
"""

from minigrad.autograd.anomaly import detect_anomaly
from minigrad.autograd.autocast import autocast, is_autocast_enabled
from minigrad.autograd.check import GradcheckError, gradcheck, gradgradcheck
from minigrad.autograd.functional import hessian, hvp, jacobian, jvp, vjp
from minigrad.autograd.recompute import checkpoint
from minigrad.engine.backward import add_hook, backward, grad, retain_grad, retains_grad
from minigrad.engine.modes import enable_grad, is_grad_enabled, no_grad, observe
from minigrad.engine.operation import REGISTRY, Node, Op, elementwise, op

__all__ = [
    "REGISTRY", "GradcheckError", "Node", "Op", "add_hook", "autocast", "backward", "checkpoint", "detect_anomaly",
    "elementwise", "enable_grad", "grad", "gradcheck", "gradgradcheck", "hessian", "hvp", "is_autocast_enabled",
    "is_grad_enabled", "jacobian", "jvp", "no_grad", "observe", "op", "retain_grad", "retains_grad", "vjp",
]  # fmt: skip
