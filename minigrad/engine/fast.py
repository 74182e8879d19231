"""Short ways for elementwise operations of one or two tensors.

A step of training runs thousands of operations, and on small arrays what `Op.__call__` asks costs more than the arithmetic.
Here two questions are left: one dtype? one shape? The rest goes to `Op`. Without this file everything works, only slower.
"""

from collections.abc import Callable, Sequence

from minigrad.engine.modes import SLOW, state
from minigrad.engine.operation import Node, Op, matched, next_number, raw
from minigrad.engine.tensor import Tensor, _new, _tensor

NOTHING: dict = {}


class Short(Node):
    """A node of one or two edges, whose gradients have the shape of the output's."""

    __slots__ = ()
    __init__ = object.__init__  # the calls below fill in the slots themselves, which is quicker

    def pull(self, g, create_graph: bool = False) -> Sequence:
        saved, plan = self.saved, self.plan
        if create_graph or saved is None or plan.checks:
            return Node.pull(self, g, create_graph)
        if len(plan.vjps) == 1:
            return (plan.vjps[0](self.xp.raw or raw(self.xp), g, *saved),)
        return plan.run(self.xp.raw or raw(self.xp), g, saved)


class Unary(Op):
    """An elementwise operation of one tensor."""

    def __call__(self, input):
        if (mode := state.mode) & SLOW:
            return Op.__call__(self, input)
        try:
            x, xp = input._data, input._backend
            y = self.forward(xp, x)
        except (AttributeError, ValueError, TypeError, OverflowError, RuntimeError):
            return Op.__call__(self, input)  # which tells what is wrong
        if y.__class__ is not xp.array_type or (self.floats and y.dtype != x.dtype):
            return Op.__call__(self, input)
        if not (input._requires_grad and mode and self.vjps):  # mode is GRAD or 0, without a bit of SLOW
            return _tensor(y, xp)
        plan = self.plans.get(1) or self.plan(1, 1)
        edges, saved = (input._edge or input,), plan.save((x, y, xp, NOTHING))
        node, t = Short(), _new(Tensor)  # without the call of __init__
        node.op, node.xp, node.plan, node.edges, node.saved, node.number = self, xp, plan, edges, saved, next_number()
        t._data, t._backend, t._edge, t._requires_grad, t._hooks, t._grad, t._ties = y, xp, node, True, None, None, None
        return t


class Binary(Op):
    """An elementwise operation of two tensors of one dtype and shape, or of a tensor and a number."""

    def __init__(self, forward: Callable, **options):
        super().__init__(forward, **options)
        self.suits: set = set()  # pairs of an array's dtype and a number's type that need no cast

    def __call__(self, input, other):
        try:
            x, y, xp = input._data, other._data, input._backend
            wanted, dtype = input._requires_grad + 2 * other._requires_grad, x.dtype
            common = other._backend is xp and dtype == y.dtype and x.shape == y.shape
        except AttributeError:
            common, x, y, xp, wanted, dtype = self.with_number(input, other)
        mode = state.mode
        if not common or mode & SLOW:
            return Op.__call__(self, input, other)
        try:
            z = self.forward(xp, x, y)
        except (ValueError, TypeError, OverflowError, RuntimeError):
            return Op.__call__(self, input, other)  # which tells what is wrong
        if z.__class__ is not xp.array_type or (self.floats and z.dtype != dtype):
            return Op.__call__(self, input, other)
        plan = (self.plans.get(wanted) or self.plan(wanted, 2)) if wanted and mode and self.vjps else None
        if plan is None or not plan.positions:
            return _tensor(z, xp)
        if len(plan.positions) == 2:
            edges: Sequence = (input._edge or input, other._edge or other)
        else:
            t = other if plan.positions[0] else input
            edges = (t._edge or t,)
        saved, node, t = plan.save((x, y, z, xp, NOTHING)), Short(), _new(Tensor)
        node.op, node.xp, node.plan, node.edges, node.saved, node.number = self, xp, plan, edges, saved, next_number()
        t._data, t._backend, t._edge, t._requires_grad, t._hooks, t._grad, t._ties = z, xp, node, True, None, None, None
        return t

    def with_number(self, input, other) -> tuple:
        """`x * 2.0` and `2.0 * x`: whether no cast is needed (which number types suit which dtypes is found out once), and what
        `__call__` reads of two tensors."""
        t, number, bit = (input, other, 1) if hasattr(input, "_edge") else (other, input, 2)
        if number.__class__ not in (float, int) or not hasattr(t, "_edge"):
            return False, None, None, None, 0, None
        array = t._data
        key = array.dtype, number.__class__
        if key not in self.suits or not -65504 <= number <= 65504:  # what float16 holds
            if matched(self, (input, other))[0] is not None:
                return False, None, None, None, 0, None
            self.suits.add(key)
        x, y = (array, number) if bit == 1 else (number, array)
        return True, x, y, t._backend, t._requires_grad and bit, array.dtype


KINDS: dict[int, type[Op]] = {1: Unary, 2: Binary}
