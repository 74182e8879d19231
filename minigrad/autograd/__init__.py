"""Automatic differentiation: `op` defines operations, `backward` and `grad` differentiate what was computed with them.

op.py       operations, nodes of the tape        walk.py   backward, grad, hooks
pointwise.py elementwise operations: the common cases
mode.py     no_grad, enable_grad, observe        check.py  gradcheck: derivatives against finite differences
autocast.py mixed precision: which operations compute in 16 bits
anomaly.py  detect_anomaly                     functional.py  vjp, jvp, jacobian, hessian, hvp
recompute.py  checkpoint
"""

from minigrad.autograd.anomaly import detect_anomaly
from minigrad.autograd.autocast import autocast, is_autocast_enabled
from minigrad.autograd.check import GradcheckError, gradcheck, gradgradcheck
from minigrad.autograd.functional import hessian, hvp, jacobian, jvp, vjp
from minigrad.autograd.mode import enable_grad, is_grad_enabled, no_grad, observe
from minigrad.autograd.op import REGISTRY, Node, Op, op
from minigrad.autograd.pointwise import elementwise
from minigrad.autograd.recompute import checkpoint
from minigrad.autograd.walk import add_hook, backward, grad, retain_grad, retains_grad

__all__ = [
    "REGISTRY", "GradcheckError", "Node", "Op", "add_hook", "autocast", "backward", "checkpoint", "detect_anomaly",
    "elementwise", "enable_grad", "grad", "gradcheck", "gradgradcheck", "hessian", "hvp", "is_autocast_enabled",
    "is_grad_enabled", "jacobian", "jvp", "no_grad", "observe", "op", "retain_grad", "retains_grad", "vjp",
]  # fmt: skip
