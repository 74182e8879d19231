"""What the engine says when an operation can't work on what it was given."""

import inspect
import warnings

import numpy as np

from minigrad import checks
from minigrad.backend import BackendError
from minigrad.dtypes import ALL


def explained(op, error: Exception, inputs, static) -> Exception:
    """The array library's complaint in one sentence with the operation's name and the inputs' shapes."""
    given = ", ".join(describe(t) for t in inputs) or "nothing"
    if not any(hasattr(t, "_edge") for t in inputs):
        return TypeError(f"{op.name}: expected a tensor, got {given}; use mg.tensor(…)")
    kind = next((k for k in (TypeError, IndexError) if isinstance(error, k)), ValueError)
    if op.elementwise:
        try:
            np.broadcast_shapes(*(t.shape for t in inputs if hasattr(t, "_edge")))
        except ValueError:
            return ValueError(
                f"{op.name}: the shapes of {given} don't broadcast together; make their trailing sizes equal or 1"
            )
        if any(hasattr(t, "_edge") and t.dtype == "bool" for t in inputs):
            return TypeError(f"{op.name}: {given} can't be computed with; use ~, &, |, ^ for booleans, or .int()")
    options = "".join(f", {k}={v!r}"[:60] for k, v in static.items() if isinstance(v, int | float | tuple | str))
    return kind(f"{op.name}: can't work on {given}{options}: {str(error).strip().rstrip('.')}")


def describe(t) -> str:
    if hasattr(t, "_edge"):
        return f"{t.dtype.name} {t.shape}"
    return repr(t) if isinstance(t, int | float) else type(t).__name__


def devices(inputs) -> str:
    return ", ".join(t.device for t in inputs if hasattr(t, "_edge"))


def no_tensor(op, inputs) -> TypeError:
    came = ", ".join(checks.kind(t) for t in inputs) or "nothing"
    return TypeError(f"{op.name}: expected a tensor, got {came}; use mg.tensor(…)")


def no_number(op, given) -> TypeError:
    return TypeError(f"{op.name}: expected a tensor or a number, got {type(given).__name__}; wrap it with mg.tensor(…)")


def mixed_devices(op, inputs) -> BackendError:
    return BackendError(f"{op.name}: inputs on different devices ({devices(inputs)}); move one with .to(device)")


def freed(node) -> RuntimeError:
    return RuntimeError(
        f"the tape through {node.op.name} was already used and freed by a backward; "
        "pass retain_graph=True to the first one to go through it again"
    )


def changed(node, leaf) -> RuntimeError:
    return RuntimeError(
        f"a tensor of shape {leaf.shape} that {node.op.name} needs for its gradient was changed after the forward pass (an "
        "optimiser step, or .data assigned); call backward before changing it, or run the forward pass again"
    )


def wrong_gradient(op, k: int, given, shape, dtype) -> RuntimeError:
    got = f"{given.dtype} {tuple(given.shape)}" if hasattr(given, "dtype") else f"a {type(given).__name__}"
    return RuntimeError(
        f"the VJP of {op.name} by {op.inputs[0 if op.variadic else k]!r} gave {got} "
        f"for an input of {dtype} {tuple(shape)}; mend the VJP"
    )


def signature(who: str, function) -> inspect.Signature:
    """The parameters of a function of which an operation is made; refuses those that its derivatives couldn't name."""
    try:
        if isinstance(function, type) or not hasattr(function, "__name__"):
            raise TypeError
        found = inspect.signature(function)
    except (TypeError, ValueError):  # what can't be called; a function of C without a signature
        raise checks.wrong(who, "function", "a function f(xp, *arrays, **static)", function) from None
    name = function.__name__
    for taken, meaning in (("y", "the output"), ("i", "the input's position")):
        if taken in found.parameters:
            raise TypeError(
                f"{name}: a parameter can't be called {taken!r}, which derivatives take for {meaning}; rename it"
            )
    kinds = [p.kind for p in found.parameters.values()]
    if inspect.Parameter.VAR_KEYWORD in kinds or inspect.Parameter.VAR_POSITIONAL in kinds[2:]:
        raise TypeError(
            f"{name}: takes any number of inputs beside others, or any keyword parameters; an operation is "
            "f(xp, a, b, …) or f(xp, *arrays), and its keyword parameters have names"
        )
    return found


def check_vjps(op, count: int, vjps) -> None:
    """Refuses what can't be the derivatives of an operation with `count` inputs."""
    if len(vjps) != count:
        raise TypeError(f"{op.name} has {count} inputs and was given {len(vjps)} VJPs; give one for each, or None")
    for vjp in vjps:
        if vjp is not None and (isinstance(vjp, type) or not callable(vjp)):
            raise checks.wrong(op.name, "a VJP", "a function f(ops, g, …) or None", vjp)


def check_layout(op, layout) -> None:
    """Refuses what can't say how the result of a view operation lies in its input's memory."""
    if not callable(layout):
        raise checks.wrong(op.name, "layout", "a function layout(sizes, strides, **static)", layout)


def wrong_name(op, name: str) -> TypeError:
    return TypeError(
        f"a VJP of {op.name} asks for {name!r}, which is no input, static parameter, 'y' or metadata of it"
    )


def check_hook(given, result) -> None:
    """Refuses what a hook gave instead of the gradient that it was given."""
    if not hasattr(result, "_edge"):
        raise TypeError(f"a hook must return a tensor or None, got {type(result).__name__}")
    if (result.shape, result.dtype, result.device) != (given.shape, given.dtype, given.device):
        raise RuntimeError(
            f"a hook on a gradient of {describe(given)} on {given.device} returned {describe(result)} on {result.device}; "
            "shape, dtype and device must stay as they are"
        )


def wrong_seed(tensor, g) -> Exception:
    """For a gradient to start from that doesn't suit its output."""
    if g is None:
        return RuntimeError(
            f"a gradient can be started without an argument only from a single number, not from shape {tensor.shape}; "
            "take .sum() or .mean() first, or pass the gradient"
        )
    if not hasattr(g, "_edge"):
        return TypeError(f"the gradient passed must be a tensor, got {type(g).__name__}; use mg.tensor(…)")
    if g.shape != tensor.shape:
        return RuntimeError(f"the gradient passed has shape {g.shape}, the tensor {tensor.shape}; they must be equal")
    return BackendError(
        f"the gradient passed is on {g.device}, the tensor on {tensor.device}; move it with .to(device)"
    )


def wrong_outputs(tensors, grads) -> Exception:
    """For outputs that backward can't start from."""
    for t in tensors:
        if not hasattr(t, "_edge"):
            return TypeError(f"outputs must be tensors, got {type(t).__name__}")
    return ValueError(f"got {len(tensors)} outputs and {len(grads)} gradients; give one for each, None for a plain 1")


def no_history() -> RuntimeError:
    return RuntimeError(
        "this tensor has no history that requires a gradient; give an input requires_grad=True, outside no_grad"
    )


def no_gradient_kept(tensor) -> None:
    """Warns where somebody reads `.grad` of the result of an operation, which backward doesn't keep."""
    if not tensor.retains_grad:
        warnings.warn(
            "`.grad` of the result of an operation is None: backward keeps the gradients of leaves only; call retain_grad() "
            "on it before backward",
            stacklevel=3,
        )


def check_grad(tensor, value) -> None:
    """Refuses a gradient that doesn't suit its tensor."""
    if not hasattr(value, "_edge"):
        raise TypeError(f"`.grad` takes a tensor or None, got {type(value).__name__}; use mg.tensor(…)")
    if (value.shape, value.dtype, value.device) != (tensor.shape, tensor.dtype, tensor.device):
        raise RuntimeError(
            f"`.grad` of {describe(tensor)} on {tensor.device} can't be {describe(value)} on {value.device}; "
            "shape, dtype and device must be the tensor's"
        )


def written_leaf(what: str) -> RuntimeError:
    return RuntimeError(
        f"{what} that requires a gradient can't be changed in place while operations are recorded; do it inside mg.no_grad(), or "
        "make a new tensor, as in x = x + y"
    )


def written_view(manner: str) -> RuntimeError:
    made = {
        "no_grad": "a view that was made under no_grad; make it outside",
        "several": "one of several views of one call (split, chunk, unbind); take it by an index or narrow",
    }[manner]
    return RuntimeError(f"where a gradient is involved, this can't be written to: {made}, or write to its clone()")


def written_overlap(who: str, tensor) -> RuntimeError:
    return RuntimeError(
        f"{who}: elements of the tensor of shape {tensor.shape} share memory, as after expand(); write to its clone()"
    )


def unfit_result(who: str, tensor, result) -> Exception:
    """For a result that can't take a tensor's place."""
    if tuple(result.shape) != tensor.shape:
        return ValueError(
            f"{who}: the result has shape {tuple(result.shape)}, the tensor to be changed {tensor.shape}; make a new tensor, as in "
            "x = x + y"
        )
    return RuntimeError(
        f"{who}: a result in {result.dtype.name} can't be put into a tensor of {tensor.dtype.name}; cast the tensor first"
    )


def check_data(tensor, value) -> None:
    """Refuses what can't be a tensor's new array."""
    kind = tensor._backend.array_type
    if not hasattr(value, "_edge") and not isinstance(value, kind):
        raise TypeError(
            f"`.data` of a tensor on {tensor.device!r} takes a {kind.__name__} or a tensor, got {type(value).__name__}"
        )
    if tensor._requires_grad and (hasattr(value, "_edge") or tensor._backend.owns(value)):
        name = value.dtype.name if hasattr(value, "_edge") else tensor._backend.dtype_name(value)
        if not ALL[name].is_floating_point:
            raise RuntimeError(
                f"`.data` of a tensor that requires a gradient takes floating point numbers, got {name}; use .float()"
            )
