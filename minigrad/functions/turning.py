"""Tensors that are turned in place, as `x.t_()` and `x.unsqueeze_(0)` do: the tensor becomes a view of what it was."""

from minigrad import ops
from minigrad.backend import layout, tracing
from minigrad.engine import inplace
from minigrad.engine.tensor import Tensor


def turned(t: Tensor, view: Tensor) -> Tensor:
    """Makes a tensor what `view`, a view of it, is."""
    recorded, of = inplace.check(t), inplace.ties(t)
    tracing.write(t, "place")
    steps = shortened(of.memory.array.shape, inplace.ties(view).steps, len((of.family or of).steps))
    in_order = not of.steps and (not steps or steps[-1][0] is ops.reshape)  # the whole of a memory, as it lies there
    alone = in_order and all(member is t or member is view for member in of.memory.living())
    t._data, t._ties = view._data, None if alone else inplace.Ties(t, of.memory, of.family or of, steps, of.manner)
    if recorded:  # a gradient that is retained stays that of the tensor as it was
        t._edge, t._requires_grad = view._edge, True
    return t


def shortened(sizes: tuple, steps: tuple, start: int) -> tuple:
    """The steps without those after the first `start` that undo one another: a tensor may be turned again and again."""
    while len(steps) > start:
        (op, static), rest = steps[-1], steps[:-1]
        before = layout.after(sizes, rest)
        (last, other) = rest[-1] if len(rest) > start else (None, {})
        if op is ops.permute and static["dims"] == tuple(range(len(static["dims"]))):
            steps = rest
        elif op is ops.reshape and before[0] == tuple(static["shape"]):
            steps = rest
        elif op is last is ops.permute:
            steps = (*rest[:-1], (op, {"dims": tuple([other["dims"][d] for d in static["dims"]])}))
        elif op is last is ops.reshape:
            steps = (*rest[:-1], (op, static))
        else:
            break
    return steps
