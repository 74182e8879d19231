"""The registry: (operation, backend) → kernel.

An operation is defined once, for every backend, in `minigrad/ops`. A kernel is what one backend does in its place, because it
is quicker there; tests hold the two together. To add one, write it in `minigrad/kernels/cpu` or `minigrad/kernels/mlx`, as a
function of that backend's raw arrays, under a line that says for what it is. A kernel for tanh on Apple's GPU:

    @kernel("tanh", "mlx")
    def tanh(a):
        if a.dtype != mx.float32:
            return None                                 # declined: the definition runs
        return launched(...)                            # the result

Nothing else changes: tanh's derivative, its broadcasting and its dtypes are the operation's. A new file also needs its name in
the `__init__.py` beside it. The kernel of a *fused* operation gives (result, saved) and has a derivative of its own:

    @kernel("layer_norm", "mlx")
    def layer_norm(x, weight, bias, *, axes, eps, save):   # save: whether a derivative may follow
        return y, (mean, rstd)

    @layer_norm.defvjp
    def layer_norm_vjp(g, saved, x, weight, bias, *, axes, eps):
        return dx, dweight, dbias                       # one for each input

The registry is asked where a kernel may stand, and costs nothing elsewhere: registering one for a plain operation puts it
before that operation's `forward`; fused operations (`fused.py`) ask at each call.
"""

import functools
import importlib
from collections.abc import Callable
from typing import Any

from minigrad import backend
from minigrad.engine.operation import REGISTRY, Op

BESIDE = ("adam", "sgd")  # what is no operation and has kernels all the same; who may use one asks for it


class Kernel:
    """A backend's way to compute an operation.

    forward(*arrays, **static) gives the result; of a fused operation it has a parameter `save`, too, and gives (result, saved).
        None declines, for what the kernel isn't made for.
    vjp(g, saved, *arrays, **static), of a fused operation only, gives the gradients by the arrays. A kernel without it runs where
        no derivative may follow.
    """

    __slots__ = ("forward", "vjp")

    def __init__(self, forward: Callable):
        self.forward, self.vjp = forward, None  # type: Callable, Callable | None

    def __call__(self, *arrays, **static):
        return self.forward(*arrays, **static)

    def defvjp(self, function: Callable) -> Callable:
        """Decorator for the derivative of a fused operation."""
        self.vjp = function
        return function


KERNELS: dict[tuple[Any, str], Kernel] = {}  # by `key` of the operation, and the backend's name


def key(operation: "str | Op"):
    """An operation of minigrad's by its name, a user's by itself, whatever its name.

    Raises:
        ValueError: for a name that no operation of minigrad's has.
    """
    if isinstance(operation, Op):
        return operation.name if operation.own else operation
    if operation not in REGISTRY and operation not in BESIDE:
        from difflib import get_close_matches  # few need it

        close = "".join(f"; did you mean {name!r}?" for name in get_close_matches(operation, REGISTRY, 1))
        raise ValueError(
            f"kernel: there is no operation {operation!r}{close or '; minigrad.autograd.REGISTRY has them'}"
        )
    return operation


def kernel(operation: "str | Op", on: str) -> Callable[[Callable], Kernel]:
    """Decorator: the function is the operation's kernel on a backend from now on, and becomes a `Kernel`.

    Args:
        operation: the name of one of minigrad's, or an operation, such as one of your own.
        on: the backend, "cpu" or "mlx".

    Raises:
        ValueError: where there is no such operation or backend.
    """
    name = key(operation)
    if on not in backend.LIBRARIES:
        raise ValueError(f"kernel: the backends are {', '.join(map(repr, backend.LIBRARIES))}, got {on!r}")

    def register(function: Callable) -> Kernel:
        found = KERNELS[name, on] = Kernel(function)
        op = operation if isinstance(operation, Op) else REGISTRY.get(operation)
        if op is not None and not hasattr(op, "definition"):
            _stand_before(op, name)
        return found

    return register


def find(operation: "str | Op", on: str) -> Kernel | None:
    """The kernel of an operation on a backend, or None."""
    return KERNELS.get((key(operation), on))


def _stand_before(op: Op, name) -> None:
    """Has a plain operation ask for a kernel before it computes as it is defined."""
    if hasattr(op.forward, "definition"):
        return
    definition = op.forward

    @functools.wraps(definition)
    def forward(xp, *arrays, **static):
        found = KERNELS.get((name, xp.name))
        y = None if found is None else found.forward(*arrays, **static)
        return definition(xp, *arrays, **static) if y is None else y

    forward.definition = definition  # type: ignore[attr-defined]
    op.forward = forward
    for xp in backend.made():
        xp.raw = None  # derivatives look their operations up again


def load(xp) -> None:
    """Imports the kernels of a backend."""
    importlib.import_module(f"minigrad.kernels.{xp.name}")
