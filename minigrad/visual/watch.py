"""Running a model once to see what it does: which module runs when, and which operations it executes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from minigrad import nn, random
from minigrad.autograd import enable_grad, observe
from minigrad.creation import zeros
from minigrad.engine.inplace import assign
from minigrad.engine.tensor import Tensor
from minigrad.nn.utils import evaluation

Enter = Callable[[str, nn.Module, tuple, dict], None]
Leave = Callable[[str, nn.Module, Any], Any]


def input_shape_of(model: nn.Module, input_shape: Sequence[int] | None) -> tuple[int, ...]:
    """`input_shape`, checked; None means one image of the size in `model.config`.

    Raises:
        ValueError: when there is no shape, or it holds something other than positive integers.
    """
    if input_shape is None:
        config = getattr(model, "config", None)
        if config is None:
            raise ValueError(f"{type(model).__name__} has no config with an image size; give input_shape=(N, C, H, W)")
        size = config.img_size
        input_shape = (1, config.in_channels, *((size, size) if isinstance(size, int) else size))
    shape = tuple(input_shape) if isinstance(input_shape, Sequence) and not isinstance(input_shape, str | bytes) else ()
    if not shape or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in shape):
        raise ValueError(f"input_shape must be positive integers with the batch first, got {input_shape!r}")
    return shape


def zeros_for(model: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """Zeros of a shape, of the dtype and on the device of the model's first floating-point parameter."""
    first = next((p for p in model.parameters() if p.is_floating_point()), None)
    return zeros(shape) if first is None else zeros(shape, dtype=first.dtype, device=first.device)


def run_watched(model: nn.Module, inputs: Sequence[Any], enter: Enter, leave: Leave, operation: Callable) -> Any:
    """`model(*inputs)` in evaluation mode and off the tape; its training flags are as before afterwards.

    Args:
        enter: called with (name, module, args, kwargs) before a module's forward; a module's name is the first one
            that `named_modules` has for it.
        leave: called with (name, module, result) after it, with None when the forward raised; what it returns is what
            the caller of the module gets.
        operation: an observer, see `minigrad.autograd.observe`.
    """
    with evaluation(model), _wrapped(model, enter, leave), observe(operation):
        return model(*inputs)


def run_training(model: nn.Module, inputs: Sequence[Any], enter: Enter, leave: Leave) -> Any:
    """`model(*inputs)` in training mode and on the tape, with `enter` and `leave` as in `run_watched`. Nobody observes the
    operations, so that fused ones run as in training. Training flags, buffers and the random generator are as before
    afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.array) for buffer in model.buffers()]
    draws = random.default.state
    model.train()
    try:
        with enable_grad(), _wrapped(model, enter, leave):
            return model(*inputs)
    finally:
        random.default.state = draws
        for module, training in modes:
            module.training = training
        for buffer, data in buffers:
            assign(buffer, data)


@contextmanager
def _wrapped(model: nn.Module, enter: Enter, leave: Leave) -> Iterator[None]:
    """While open, each module's `forward` is announced."""

    def announce(name: str, module: nn.Module) -> None:
        forward = module.forward

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            enter(name, module, args, kwargs)
            result = None
            try:
                result = forward(*args, **kwargs)
            finally:
                result = leave(name, module, result)
            return result

        wrapped.announces = forward  # type: ignore[attr-defined]  # computes nothing itself
        module.__dict__["forward"] = wrapped

    modules = list(model.named_modules())
    before = [module.__dict__.get("forward") for _, module in modules]
    try:
        for name, module in modules:
            announce(name, module)
        yield
    finally:
        for (_, module), forward in zip(modules, before, strict=True):
            if forward is None:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = forward
