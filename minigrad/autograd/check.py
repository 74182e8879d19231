"""Derivatives held to finite differences."""

from collections.abc import Callable, Sequence

import numpy as np

from minigrad.autograd.mode import enable_grad
from minigrad.autograd.walk import grad
from minigrad.tensor import Tensor, _tensor


class GradcheckError(AssertionError):
    """A derivative that disagrees with the finite difference."""


def gradcheck(
    fn: Callable, inputs: Sequence, eps: float = 1e-6, atol: float = 1e-6, rtol: float = 1e-6, seed: int = 0
) -> bool:
    """Holds the gradients of `fn(*inputs)` to central differences, (f(x + εu) - f(x - εu)) / 2ε against ∇f·u.

    For each float64 input that requires a gradient one random direction u is tried, with one random weight for each element
    of the outputs: two evaluations an input, instead of two for each of its elements. The gradients are computed twice, by
    the walk over raw arrays and by the walk over tensors (create_graph), and both are held to the difference.

    Raises:
        GradcheckError: naming the input, the derivative and the difference.
        ValueError: when no input is float64 and requires a gradient.

    >>> import minigrad as mg
    >>> x = mg.randn(3, dtype=mg.float64, requires_grad=True)
    >>> mg.autograd.gradcheck(lambda x: (x * x).exp(), [x])
    True
    """
    inputs = list(inputs)
    checked = [i for i, t in enumerate(inputs) if isinstance(t, Tensor) and t.requires_grad]
    if not checked or any(inputs[i].dtype != "float64" for i in checked):
        raise ValueError(
            "gradcheck needs inputs that require a gradient, in float64: finite differences drown in float32's rounding"
        )
    rng = np.random.default_rng(seed)
    with enable_grad():
        outputs = _floats(fn(*inputs))
        weights = [Tensor(np.asarray(rng.standard_normal(y.shape)), dtype="float64", device=y.device) for y in outputs]
        live = [(y, w) for y, w in zip(outputs, weights, strict=True) if y.requires_grad]
        wanted = [inputs[i] for i in checked]
        both = []
        for create_graph in (False, True):
            if live:
                ys, ws = zip(*live, strict=True)
                both.append(grad(ys, wanted, ws, retain_graph=True, create_graph=create_graph, allow_unused=True))
            else:
                both.append((None,) * len(wanted))
    for place, i in enumerate(checked):
        t = inputs[i]
        u = np.asarray(rng.standard_normal(t.shape))
        values = []
        for step in (eps, -eps):
            moved = list(inputs)
            moved[i] = Tensor(t.numpy() + step * u, dtype="float64", device=t.device, requires_grad=True)
            values.append(
                sum(float((y.numpy() * w.numpy()).sum()) for y, w in zip(_floats(fn(*moved)), weights, strict=True))
            )
        expected = (values[0] - values[1]) / (2 * eps)
        for how, gradients in zip(("raw arrays", "tensors"), both, strict=True):
            g = gradients[place]
            got = 0.0 if g is None else float((g.numpy() * u).sum())
            if not abs(got - expected) <= atol + rtol * abs(expected):
                raise GradcheckError(
                    f"input {i} of shape {tuple(t.shape)}: the derivative (VJPs on {how}) along a random direction is {got:.12g}, "
                    f"the finite difference {expected:.12g}"
                )
    return True


def gradgradcheck(
    fn: Callable, inputs: Sequence, eps: float = 1e-6, atol: float = 1e-6, rtol: float = 1e-6, seed: int = 0
) -> bool:
    """`gradcheck` of the gradient itself: second derivatives, by the inputs and by the incoming gradient."""
    rng = np.random.default_rng(seed)
    inputs = list(inputs)
    wanted = [i for i, t in enumerate(inputs) if isinstance(t, Tensor) and t.requires_grad]
    outputs = [y for y in _floats(fn(*inputs)) if y.requires_grad]
    gs = [
        Tensor(np.asarray(rng.standard_normal(y.shape)), dtype="float64", device=y.device, requires_grad=True)
        for y in outputs
    ]

    def gradient(*arguments):
        xs, seeds = list(arguments[: len(inputs)]), arguments[len(inputs) :]
        with enable_grad():
            ys = [y for y in _floats(fn(*xs)) if y.requires_grad]
            result = grad(ys, [xs[i] for i in wanted], seeds, create_graph=True, allow_unused=True)
        return [g for g in result if g is not None]

    return gradcheck(gradient, [*inputs, *gs], eps, atol, rtol, seed)


def _floats(outputs) -> list[Tensor]:
    """The floating point tensors among a function's outputs."""
    outputs = outputs if isinstance(outputs, tuple | list) else [outputs]
    return [y if y.dtype == "float64" else _tensor(y.data, y.backend) for y in outputs if y.is_floating_point()]
