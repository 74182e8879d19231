"""Gradient clipping."""

import math
from collections.abc import Iterable

from minigrad import checks
from minigrad.engine.inplace import assign
from minigrad.engine.tensor import Tensor
from minigrad.optim.optimizer import fit, like


def _with_grad(who: str, parameters: Tensor | Iterable[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """(parameter, its gradient) where there is one."""
    if isinstance(parameters, Tensor):
        parameters = [parameters]
    parameters = checks.entries(who, "parameters", parameters, "a tensor or an iterable of tensors", Tensor)
    return [(p, p.grad) for p in parameters if p.grad is not None]


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Multiplies all gradients by min(1, max_norm/(norm + 10⁻⁶)), where norm is the norm of the gradients' norms: for p > 0 that
    of all gradients as one vector.

    Norm and factor are computed in float32 for gradients of 16 bits, whose squares would overflow.

    Args:
        norm_type: p of the p-norm, (Σ|g|ᵖ)^(1/p); `math.inf` for the largest absolute value, `-math.inf` for the smallest; 0 counts
            what isn't 0 (of the gradients' norms, as in PyTorch: the gradients that aren't all zeros).
        error_if_nonfinite: raise RuntimeError when the norm is NaN or infinite (reads it back to the host).
        foreach: accepted for PyTorch's sake, without effect.

    Returns:
        The norm before clipping, a Tensor with one element on the first gradient's device, in the gradients' dtype (in float32 for
        16 bits).

    >>> import minigrad as mg
    >>> w = mg.nn.Parameter([3.0, 4.0])
    >>> (w * w).sum().backward()
    >>> norm = mg.optim.clip_grad_norm_([w], max_norm=1.0)
    >>> round(norm.item(), 4), [round(g, 4) for g in w.grad.tolist()]
    (10.0, [0.6, 0.8])
    """
    pairs = _with_grad("clip_grad_norm_", parameters)
    max_norm = checks.number("clip_grad_norm_", "max_norm", _read(max_norm))
    norm_type = checks.number("clip_grad_norm_", "norm_type", math.inf if str(norm_type) == "inf" else norm_type)
    if not pairs:
        return Tensor(0.0)
    norm = _norm([grad for _, grad in pairs], float(norm_type))
    if error_if_nonfinite and not math.isfinite(norm.item()):
        raise RuntimeError(
            f"the gradients' norm is {norm.item()}, they can't be clipped; look for where they stop being finite"
        )
    factor = norm.backend.minimum(max_norm / (norm.array + 1e-6), norm.backend.ones_like(norm.array))
    factor = like(norm, fit(norm, factor))
    factors = {device: factor.to(device).array for device in {p.device for p, _ in pairs}}
    for p, grad in pairs:
        assign(grad, fit(grad, grad.array * factors[p.device]))
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
    clip_value = checks.number("clip_grad_value_", "clip_value", _read(clip_value))
    for p, grad in _with_grad("clip_grad_value_", parameters):
        assign(grad, fit(grad, p.backend.clip(grad.array, -float(clip_value), float(clip_value))))


def _read(limit):
    """A tensor with one element as a number; anything else as it is."""
    return limit.item() if isinstance(limit, Tensor) and limit.numel() == 1 else limit


def _norm(grads: list[Tensor], p: float) -> Tensor:
    """The norm of the tensors' norms on the first gradient's device. Gradients without elements have none."""
    wide = [grad.detach().float() if grad.dtype.itemsize == 2 else grad for grad in grads]
    xp, whole = wide[0].backend, [grad for grad in wide if grad.numel()] or [wide[0].sum()]
    norms = [like(g, fit(g, _vector_norm(g.backend, g.array, p))).to(wide[0].device) for g in whole]
    if len({norm.dtype for norm in norms}) > 1:
        norms = [norm.double() if "float64" in xp.dtypes else norm.float() for norm in norms]
    return like(norms[0], fit(norms[0], _vector_norm(xp, xp.stack([norm.array for norm in norms]), p)))


def _vector_norm(xp, array, p: float):
    """(Σ|g|ᵖ)^(1/p) over all elements of a raw array, and what it tends to for p = 0 (their number) and ±∞."""
    if p == 2:
        return xp.sqrt(xp.sum(array * array))
    if p == 0:
        return xp.sum(array != 0)
    if math.isinf(p):
        return (xp.max if p > 0 else xp.min)(xp.abs(array))
    return xp.sum(xp.abs(array) ** p) ** (1 / p)
