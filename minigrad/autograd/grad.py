"""`backward` of several tensors, and `grad`: gradients by chosen ones."""

from collections.abc import Sequence
from typing import Literal, overload

from minigrad.engine.backward import backward as backward_of
from minigrad.engine.backward import gradients, seeds, tensor_of
from minigrad.engine.tensor import Tensor


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Adds to `.grad` of every leaf that requires one the gradient of Σ tensorᵢ·grad_tensorᵢ (1 where not given).

    The tape is freed on the way unless `retain_graph` (default: as `create_graph`). With `create_graph` the gradients are on the
    tape themselves and can be differentiated again.

    Raises:
        TypeError: for what is no tensor. RuntimeError: for a tensor without history, or a gradient of another shape.

    >>> import minigrad as mg
    >>> x = mg.tensor(3.0, requires_grad=True)
    >>> mg.autograd.backward([x * x, x], [mg.tensor(10.0), None])
    >>> x.grad
    tensor(61.)
    """
    gradients = None if grad_tensors is None else _as_list(grad_tensors)
    backward_of(_as_list(tensors), gradients, retain_graph, create_graph)


@overload
def grad(
    outputs: Tensor | Sequence[Tensor], inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None, retain_graph: bool | None = None,
    create_graph: bool = False, allow_unused: Literal[False] = False,
) -> tuple[Tensor, ...]: ...  # fmt: skip


@overload
def grad(
    outputs: Tensor | Sequence[Tensor], inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None, retain_graph: bool | None = None,
    create_graph: bool = False, allow_unused: bool = False,
) -> tuple[Tensor | None, ...]: ...  # fmt: skip


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """Gradients of Σ outputᵢ·grad_outputᵢ by `inputs` (leaves or not), as a tuple; no `.grad` is touched.

    Raises:
        RuntimeError: when an input doesn't require a gradient, or isn't reached and `allow_unused` is False.

    >>> import minigrad as mg
    >>> x = mg.tensor(3.0, requires_grad=True)
    >>> (dx,) = mg.grad(x**3, x, create_graph=True)
    >>> mg.grad(dx, x)[0].item()
    18.0
    """
    outputs, inputs = _as_list(outputs), _as_list(inputs)
    grads = seeds(outputs, None if grad_outputs is None else _as_list(grad_outputs), create_graph)
    for t in inputs:
        if not isinstance(t, Tensor):
            raise TypeError(f"inputs must be tensors, got {type(t).__name__}")
        if not t._requires_grad:
            raise RuntimeError(
                f"an input of shape {tuple(t.shape)} doesn't require a gradient; call requires_grad_() on it first"
            )
    places = [t._edge or t for t in inputs]
    found = gradients(grads, places, create_graph, create_graph if retain_graph is None else retain_graph)
    for t, place in zip(inputs, places, strict=True):
        if place not in found and not allow_unused:
            raise RuntimeError(
                f"an input of shape {tuple(t.shape)} was not used to compute the outputs; pass allow_unused=True to get None for it"
            )
    tensors = {place: tensor_of(found.get(place), t._backend) for t, place in zip(inputs, places, strict=True)}
    return tuple([tensors[place] for place in places])


def _as_list(x) -> list:
    return list(x) if isinstance(x, tuple | list) else [x]
