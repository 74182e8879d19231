"""Gradient clipping."""

import math
from collections.abc import Iterable

from minigrad.optim.optimizer import fit, like
from minigrad.tensor import Tensor


def _with_grad(parameters: Tensor | Iterable[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """(parameter, its gradient) where there is one."""
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return [(p, p.grad) for p in parameters if p.grad is not None]


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Multiplies all gradients by min(1, max_norm/(norm + 10⁻⁶)), where norm is that of all gradients as one vector.

    Args:
        norm_type: p of the p-norm; `math.inf` for the largest absolute value.
        error_if_nonfinite: raise RuntimeError when the norm is NaN or infinite (reads it back to the host).
        foreach: accepted for PyTorch's sake, without effect.

    Returns:
        The norm before clipping, a Tensor with one element on the gradients' device.

    >>> import minigrad as mg
    >>> w = mg.nn.Parameter([3.0, 4.0])
    >>> (w * w).sum().backward()
    >>> norm = mg.optim.clip_grad_norm_([w], max_norm=1.0)
    >>> round(norm.item(), 4), [round(g, 4) for g in w.grad.tolist()]
    (10.0, [0.6, 0.8])
    """
    pairs = _with_grad(parameters)
    if not pairs:
        return Tensor(0.0)
    norm = _norm([grad for _, grad in pairs], float(norm_type))
    if error_if_nonfinite and not math.isfinite(norm.item()):
        raise RuntimeError(
            f"the gradients' norm is {norm.item()}, they can't be clipped; look for where they stop being finite"
        )
    factor = norm.backend.minimum(max_norm / (norm.data + 1e-6), norm.backend.ones_like(norm.data))
    factor = like(norm, fit(norm, factor))
    for p, grad in pairs:
        p.grad = like(grad, fit(grad, grad.data * factor.to(p.device).data))
    return norm


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Limits every element of the gradients to -clip_value … clip_value. `foreach` has no effect.

    >>> import minigrad as mg
    >>> w = mg.nn.Parameter([3.0, -0.1])
    >>> (w * w).sum().backward()
    >>> mg.optim.clip_grad_value_([w], 1.0)
    >>> [round(g, 4) for g in w.grad.tolist()]
    [1.0, -0.2]
    """
    for p, grad in _with_grad(parameters):
        p.grad = like(grad, fit(grad, p.backend.clip(grad.data, -float(clip_value), float(clip_value))))


def _norm(grads: list[Tensor], p: float) -> Tensor:
    """(Σ over all elements of |g|^p)^(1/p) on the first gradient's device, as the norm of the tensors' norms."""

    def norm(xp, array):
        if p == math.inf:
            return xp.max(xp.abs(array))
        if p == 2:
            return xp.sqrt(xp.sum(array * array))
        return xp.sum(xp.abs(array) ** p) ** (1 / p)

    first = grads[0]
    norms = [like(g, fit(g, norm(g.backend, g.data))).to(first.device).data for g in grads]
    return like(first, fit(first, norm(first.backend, first.backend.stack(norms))))
