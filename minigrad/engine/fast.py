"""Short ways for elementwise operations of one or two tensors.

A step of training runs thousands of operations, and on small arrays what `Op.__call__` and `Op.record` ask costs more than the
arithmetic. Here two questions are left for two tensors: one dtype? one shape? Whatever is not the common case goes to `Op`.
Nothing depends on this file: without it everything works, only slower.
"""

from collections.abc import Callable, Sequence

from minigrad.engine.modes import SLOW, state
from minigrad.engine.operation import Node, Op, matched, next_number, raw
from minigrad.engine.tensor import _tensor


class OneNode(Node):
    """A node of one edge, whose gradient has the shape of the output's."""

    __slots__ = ()

    def pull(self, g, create_graph: bool = False) -> Sequence:
        saved, plan = self.saved, self.plan
        if create_graph or saved is None or plan.checks:
            return Node.pull(self, g, create_graph)
        return (plan.vjps[0](self.xp.raw or raw(self.xp), g, *saved[0]),)


class TwoNode(Node):
    """A node of two edges, likewise."""

    __slots__ = ()

    def pull(self, g, create_graph: bool = False) -> Sequence:
        saved, plan = self.saved, self.plan
        if create_graph or saved is None or plan.checks:
            return Node.pull(self, g, create_graph)
        ops, (first, second) = self.xp.raw or raw(self.xp), plan.vjps
        return first(ops, g, *saved[0]), second(ops, g, *saved[1])


_new = object.__new__


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
        plan = self.plans.get(1) or self.plan(1, 1)
        if not plan.positions:
            return _tensor(y, xp)
        node = _new(OneNode)
        node.op = self
        node.xp = xp
        node.plan = plan
        node.edges = (input._edge or input,)
        node.saved = (plan.picks[0]((x, y, xp, NOTHING)),)
        node.number = next_number()
        return _tensor(y, xp, node)


class Binary(Op):
    """An elementwise operation of two tensors of one dtype and shape, or of a tensor and a number."""

    def __init__(self, forward: Callable, **options):
        super().__init__(forward, **options)
        self.suits: set = set()  # pairs of an array's dtype and a number's type that need no cast

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
        return self.recorded(wanted, xp, input, other, x, y, z)

    def recorded(self, wanted, xp, input, other, x, y, z):
        """The result on the tape."""
        plan = self.plans.get(wanted) or self.plan(wanted, 2)
        record = (x, y, z, xp, NOTHING)
        picks = plan.picks
        if len(picks) == 2:
            node: Node = _new(TwoNode)
            node.edges = (input._edge or input, other._edge or other)
            node.saved = (picks[0](record), picks[1](record))
        elif picks:
            node = _new(OneNode)
            t = other if plan.positions[0] else input
            node.edges = (t._edge or t,)
            node.saved = (picks[0](record),)
        else:
            return _tensor(z, xp)
        node.op = self
        node.xp = xp
        node.plan = plan
        node.number = next_number()
        return _tensor(z, xp, node)

    def with_number(self, input, other):
        """`x * 2.0` and `2.0 * x`: which number types suit which dtypes is found out once."""
        t, number, bit = (input, other, 1) if hasattr(input, "_edge") else (other, input, 2)
        if number.__class__ not in (float, int) or not hasattr(t, "_edge"):
            return Op.__call__(self, input, other)
        array, xp, mode = t._data, t._backend, state.mode
        key = array.dtype, number.__class__
        if key not in self.suits or not -65504 <= number <= 65504:  # what float16 holds
            if matched(self, (input, other))[0] is not None:
                return Op.__call__(self, input, other)
            self.suits.add(key)
        x, y = (array, number) if bit == 1 else (number, array)
        try:
            z = self.forward(xp, x, y)
        except (ValueError, TypeError, OverflowError, RuntimeError):
            return Op.__call__(self, input, other)
        if z.__class__ is not xp.array_type or mode & SLOW:
            return Op.__call__(self, input, other)
        if not (t._requires_grad and mode and self.vjps):
            return _tensor(z, xp)
        return self.recorded(bit, xp, input, other, x, y, z)


NOTHING: dict = {}
KINDS: dict[int, type[Op]] = {1: Unary, 2: Binary}
