"""What Tensor has to be put on the tape, taken off it, and watched in backward."""

import weakref
from collections.abc import Callable
from typing import Any

from minigrad import checks
from minigrad.backend import tracing
from minigrad.engine.inplace import assign
from minigrad.engine.tensor import Tensor


def clear_grad(t: Tensor, set_to_none: bool) -> None:
    """Drops the gradient that a tensor has; or makes it zeros, in its place and off the tape."""
    grad = t._grad
    if grad is None or set_to_none:
        t._grad = None
        return
    if grad._edge is not None:
        grad.detach_()
    assign(grad, grad._backend.zeros_like(grad.array))


class Tape:
    """Methods of `Tensor`, see `minigrad.functions.methods`."""

    __slots__ = ()

    @property
    def requires_grad(self: Any) -> bool:
        """Whether operations on this tensor are recorded, so that backward gives a gradient by it."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self: Any, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self: Any, value: bool = True) -> Tensor:
        """Switches recording of operations on this leaf on or off, and returns it.

        Raises:
            RuntimeError: to be on for whole numbers or booleans; to be off for the result of an operation.
        """
        value = checks.flag("requires_grad_", "value", value)
        if value and not self.dtype.is_floating_point:
            raise RuntimeError(
                f"only floating point tensors can require a gradient, this one is {self.dtype.name}; use .float()"
            )
        if not value and self._edge is not None:
            raise RuntimeError(
                "requires_grad can be switched off on leaf tensors only; use .detach() on the result of an operation"
            )
        if self._requires_grad != value:
            tracing.write(self, "flag")
        self._requires_grad = value
        return self

    def detach(self: Any) -> Tensor:
        """The same values, off the tape. What is written to the one changes the other."""
        return self.data

    def retain_grad(self: Any) -> None:
        """Makes backward keep the gradient of a tensor that is no leaf, as its hooks leave it, in `.grad`.

        Raises:
            RuntimeError: for a tensor that requires no gradient.
        """
        if not self._requires_grad:
            raise RuntimeError(
                "retain_grad() needs a tensor that requires a gradient; call requires_grad_() on it first"
            )
        if self._edge is not None and not self.retains_grad:
            node = self._edge
            node.hooks, node.retained = node.hooks or [], (*node.retained, weakref.ref(self))

    @property
    def retains_grad(self: Any) -> bool:
        """Whether backward fills in `.grad` of this tensor although it is no leaf."""
        return self._edge is not None and any(reference() is self for reference in self._edge.retained)

    def register_hook(self: Any, hook: Callable[[Tensor], Tensor | None]) -> Callable[[], None]:
        """Calls `hook(gradient)` in backward, when the gradient by this tensor is complete; a tensor that it returns replaces it.

        Returns:
            A function that removes the hook.

        Raises:
            TypeError, RuntimeError: for what can't be called; for a tensor that requires no gradient.

        >>> import minigrad as mg
        >>> x = mg.tensor(3.0, requires_grad=True)
        >>> remove = x.register_hook(lambda g: g * 10)
        >>> (x * x).backward()
        >>> x.grad
        tensor(60.)
        """
        if not callable(hook):
            raise TypeError(f"a hook must be a function of the gradient, got {type(hook).__name__}")
        if not self._requires_grad:
            raise RuntimeError("a hook needs a tensor that requires a gradient; call requires_grad_() first")
        if self._edge is None:
            self._hooks = hooks = self._hooks or []
        else:
            self._edge.hooks = hooks = self._edge.hooks or []
        hooks.append(hook)
        return lambda: hooks.remove(hook) if hook in hooks else None
