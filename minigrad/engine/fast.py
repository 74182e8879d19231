"""Elementwise operations: the common cases of one and two tensors, without the questions that the general one asks.

A step of training runs thousands of operations, and on small arrays what `Op.__call__` asks costs more than the arithmetic.
Here two questions are left for two tensors: one dtype? one shape? Whatever is not the common case goes to `Op.__call__`.
"""

import functools
import inspect
from collections.abc import Callable

from minigrad.autograd.autocast import LOW_DTYPES
from minigrad.engine.match import matched
from minigrad.engine.modes import SLOW, state
from minigrad.engine.operation import Node, Op
from minigrad.engine.tensor import _tensor


class Unary(Op):
    """An elementwise operation of one tensor."""

    def __call__(self, input):
        try:
            x, xp = input._data, input._backend
            y = self.forward(xp, x)
        except (AttributeError, TypeError, ValueError):
            return Op.__call__(self, input)  # which tells what is wrong
        mode = state.mode
        if y.__class__ is not xp.array_type or self.floats and y.dtype != x.dtype or mode & SLOW:
            return Op.__call__(self, input)
        if not (input._requires_grad and mode and self.vjps):
            return _tensor(y, xp)
        plan, edge = self.plans.get(1), input._edge
        if plan is None or not plan.positions or plan.kept and edge is None:
            out = _tensor(y, xp)
            self.record(1, xp, (input,), (x,), y, NOTHING, out)
            return out
        node = Node()
        node.op = self
        node.xp = xp
        node.plan = plan
        node.special = False
        node.edges = (edge or input,)
        node.saved = plan.save(xp, (x,), y, NOTHING) if plan.save else ()
        return _tensor(y, xp, node)


class Binary(Op):
    """An elementwise operation of two tensors of one dtype and shape, or of a tensor and a number."""

    def __init__(self, forward: Callable, **options):
        super().__init__(forward, **options)
        self.fits: set = set()  # pairs of an array's dtype and a number's type that need no cast

    def __call__(self, input, other):
        try:
            x, y, xp = input._data, other._data, input._backend
        except AttributeError:
            return self.with_number(input, other)
        mode = state.mode
        if other._backend is not xp or x.dtype != y.dtype or x.shape != y.shape or mode & SLOW:
            return Op.__call__(self, input, other)
        try:
            z = self.forward(xp, x, y)
        except (TypeError, ValueError):
            return Op.__call__(self, input, other)  # which tells what is wrong
        if z.__class__ is not xp.array_type or self.floats and z.dtype != x.dtype:
            return Op.__call__(self, input, other)
        wanted = input._requires_grad + 2 * other._requires_grad
        if not (wanted and mode and self.vjps):
            return _tensor(z, xp)
        plan, first, second = self.plans.get(wanted), input._edge, other._edge
        leaf = wanted & 1 and first is None or wanted & 2 and second is None
        if plan is None or not plan.positions or leaf and plan.kept:
            out = _tensor(z, xp)
            self.record(wanted, xp, (input, other), (x, y), z, NOTHING, out)
            return out
        node = Node()
        node.op = self
        node.xp = xp
        node.plan = plan
        node.special = False
        if wanted == 3:
            node.edges = (first or input, second or other)
        else:
            node.edges = (first or input,) if wanted == 1 else (second or other,)
        node.saved = plan.save(xp, (x, y), z, NOTHING) if plan.save else ()
        return _tensor(z, xp, node)

    def with_number(self, input, other):
        """`x * 2.0` and `2.0 * x`: which number types suit which dtypes is found out once."""
        t, number, bit = (input, other, 1) if hasattr(input, "_data") else (other, input, 2)
        if number.__class__ not in (float, int) or not hasattr(t, "_data"):
            return Op.__call__(self, input, other)
        array, xp, mode = t._data, t._backend, state.mode
        key = array.dtype, number.__class__
        if key not in self.fits or not -65504 <= number <= 65504:  # what float16 holds
            if matched(self, (input, other)) is not None:
                return Op.__call__(self, input, other)
            self.fits.add(key)
        arrays = (array, number) if bit == 1 else (number, array)
        try:
            z = self.forward(xp, *arrays)
        except (ValueError, TypeError, OverflowError, RuntimeError):
            return Op.__call__(self, input, other)
        if z.__class__ is not xp.array_type or mode & SLOW:
            return Op.__call__(self, input, other)
        out = _tensor(z, xp)
        if t._requires_grad and mode and self.vjps:
            self.record(bit, xp, (input, other), arrays, z, NOTHING, out)
        return out


def wide(forward: Callable) -> Callable:
    """Decorator of an elementwise forward function of several steps: 16-bit numbers are computed in float32 and rounded once,
    at the end, so that no step in between overflows or cancels."""

    @functools.wraps(forward)
    def widened(xp, *inputs, **static):
        dtype = next(xp.dtype_name(a) for a in inputs if hasattr(a, "dtype"))
        if dtype not in LOW_DTYPES:
            return forward(xp, *inputs, **static)
        wider = [xp.astype(a, "float32") if hasattr(a, "dtype") else a for a in inputs]
        return xp.astype(xp.asarray(forward(xp, *wider, **static)), dtype)

    return widened


NOTHING: dict = {}


def elementwise(function: Callable | None = None, /, **options):
    """Decorator for an elementwise operation: the engine promotes dtypes, accepts Python numbers, and undoes broadcasting
    in the gradient. Options: `floats=True` computes integers in float32; `promote_from=1` leaves the first input's dtype
    alone."""
    if function is None:
        return functools.partial(elementwise, **options)
    kinds = [p.kind for p in inspect.signature(function).parameters.values()]
    simple = kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) == len(kinds) and "promote_from" not in options
    kind = {2: Unary, 3: Binary}.get(len(kinds), Op) if simple else Op
    return kind(function, elementwise=True, **options)
