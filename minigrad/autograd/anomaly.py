"""Finding the operation that made the first NaN or infinity."""

import linecache
import math

from minigrad.autograd.observe import observe
from minigrad.callers import user_frame
from minigrad.dtypes import ALL
from minigrad.engine.operation import Output
from minigrad.switches import Switch


class detect_anomaly(Switch):
    """Raises `FloatingPointError` at the first operation, forward or backward, that makes a NaN or an infinity out of
    finite numbers, and names the line of the user's code that called it.

    >>> import minigrad as mg
    >>> with mg.autograd.detect_anomaly():
    ...     mg.tensor([0.0]).log()
    Traceback (most recent call last):
    ...
    FloatingPointError: log made -inf from finite inputs ...
    """

    def __init__(self) -> None:
        self._observer = observe(_check_output, _check_gradients)

    def __enter__(self) -> None:
        self._observer.__enter__()

    def __exit__(self, *exc: object) -> None:
        self._observer.__exit__(*exc)


def user_line() -> str:
    """file:line and text of the innermost frame outside minigrad."""
    frame, _ = user_frame()
    name, number = frame.f_code.co_filename, frame.f_lineno
    return f"{name}:{number}: {linecache.getline(name, number).strip()}"


def _non_finite(t) -> str | None:
    xp, array = t._backend, t._data
    if not ALL[xp.dtype_name(array)].is_floating_point or bool(xp.all(xp.isfinite(array))):
        return None
    return "nan" if bool(xp.any(xp.isnan(array))) else "inf" if bool(xp.any(array == float("inf"))) else "-inf"


def _check_output(name: str, inputs: tuple, output, static: dict) -> None:
    for result in output if isinstance(output, tuple) else (output,):
        bad = _non_finite(result)
        if bad and not any(_given_non_finite(t) for t in (*inputs, *static.values())):
            raise FloatingPointError(f"{name} made {bad} from finite inputs at {user_line()}")
        if (node := result.grad_fn) is not None:
            node = node.edges[0] if isinstance(node, Output) else node
            node.line = user_line()


def _given_non_finite(value) -> bool:
    """Whether an input is a number or tensor that isn't finite, such as the -inf of a mask."""
    if hasattr(value, "_edge"):
        return _non_finite(value) is not None
    return isinstance(value, float) and not math.isfinite(value)


def _check_gradients(node, g, results) -> None:
    came = [_non_finite(t) for t in (g if isinstance(g, tuple) else (g,)) if t is not None]
    for d in results:
        if d is not None and (bad := _non_finite(d)) and not any(came):
            raise FloatingPointError(f"the gradient of {node.op.name} became {bad}; its forward was at {node.line}")
