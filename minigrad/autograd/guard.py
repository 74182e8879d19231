"""What the public functions say when they are given something else than they take."""

import functools
import inspect
import numbers
import re
from collections.abc import Callable

from minigrad.engine.operation import REGISTRY
from minigrad.engine.tensor import Tensor

# Parameters of these names take tensors (some of them numbers as well).
TENSORS = frozenset(
    "attn_mask bias condition index indices input key mask mat1 mat2 operands other pos_weight query running_mean running_var "
    "source src target tensor value vec vec2 weight".split()
)
NAMES: set[str] = set()  # of the guarded functions


def guarded(function: Callable, module: str) -> Callable:
    """The function as `module` offers it: its errors name it, and say so where an argument that must be a tensor is none.

    What is returned has the function's own signature, written out: one of (*args, **kwargs) would cost 0.15 µs a call, this
    one costs 0.03. Nothing else happens until an error comes.
    """
    head, call, keywords = [], [], False
    for name, p in inspect.signature(function).parameters.items():
        star = "*" if p.kind is p.VAR_POSITIONAL else ""
        if p.kind is p.KEYWORD_ONLY and not keywords:
            head.append("*")
        keywords = keywords or p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
        head.append(star + name + ("=None" if p.default is not p.empty else ""))
        call.append(f"{name}={name}" if p.kind is p.KEYWORD_ONLY else star + name)
    made: dict = {}
    exec(
        f"def make(_call, _tell, _errors):\n"
        f"  def {function.__name__}({', '.join(head)}):\n"
        f"    try: return _call({', '.join(call)})\n"
        f"    except _errors as _error: _tell(_call, locals(), _error); raise\n"
        f"  return {function.__name__}",
        function.__globals__,
        made,
    )
    NAMES.add(function.__name__)
    guard = made["make"](function, _tell, (AttributeError, TypeError, ValueError, IndexError, RuntimeError))
    guard.__defaults__, guard.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    functools.update_wrapper(guard, function).__module__ = module
    return guard


def _tell(function: Callable, given: dict, error: Exception) -> None:
    """Raises a TypeError that blames the argument at fault if it can be told; else gives the error the function's name."""
    name, text = function.__name__, str(error)
    own = re.match(rf"{name}\b", text)
    if own and isinstance(error, TypeError):
        return
    if not isinstance(error, RuntimeError):
        suspects = sorted(_suspects(function, given, error), key=lambda suspect: suspect[0])
        if suspects:
            raise TypeError(_wrong(name, *suspects[0][1:])) from None
    if not own and not isinstance(error, AttributeError) and error.args == (text,):
        inner, _, rest = text.partition(": ")
        error.args = (f"{name}: {rest if inner in NAMES or inner in REGISTRY else text}",)


def _suspects(function: Callable, given: dict, error: Exception):
    """(rank, parameter, value) of arguments that are no tensors: 0 where the error came from that very value, which is the
    only proof against a number; 1 for other values in a tensor's place; 2 for None there."""
    for name, parameter in inspect.signature(function).parameters.items():
        values = given[name]
        if name != "operands":
            values = (values,)
        elif len(values) == 1 and isinstance(values[0], tuple | list):
            values = values[0]
        for value in values:
            optional = parameter.default is None or name in ("running_mean", "running_var")
            if isinstance(value, Tensor) or value is None and optional:
                continue
            if isinstance(error, AttributeError) and error.obj is value:
                yield 0, name, value
            elif name in TENSORS and not isinstance(value, numbers.Number):
                yield 2 if value is None else 1, name, value


def _wrong(name: str, parameter: str, value) -> str:
    kind = "None" if value is None else type(value).__name__
    if parameter not in TENSORS:
        return f"{name}: {parameter} can't be of type {kind}"
    expected = "tensors" if parameter == "operands" else "a tensor"
    remedy = "; use mg.tensor(…)" if isinstance(value, list | tuple | numbers.Number) or hasattr(value, "shape") else ""
    return f"{name}: {parameter} must be {expected}, got {kind}{remedy}"
