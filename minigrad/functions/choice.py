"""Rounding, and the choice between elements. Shapes are broadcast together.

In the formulas a is an element of `input` and b the element of `other` at its place.
"""

from minigrad import ops
from minigrad.checks import whole
from minigrad.dtypes import fitted
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import _boolean, tensor, tensor_or_number

__all__ = ["floor", "ceil", "round", "maximum", "minimum", "clamp", "where", "masked_fill", "clip"]


def floor(input: Tensor) -> Tensor:
    """⌊a⌋, the largest whole number ≤ a; no gradient passes.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise
        def floor(xp, a):
            return xp.floor(a)

        floor.defvjp(lambda ops, g: ops.zeros_like(g))

    >>> mg.floor(mg.tensor([1.5, -1.5]))
    tensor([ 1., -2.])
    """
    return ops.floor(input)


def ceil(input: Tensor) -> Tensor:
    """⌈a⌉, the smallest whole number ≥ a; no gradient passes.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise
        def ceil(xp, a):
            return xp.ceil(a)

        ceil.defvjp(lambda ops, g: ops.zeros_like(g))

    >>> mg.ceil(mg.tensor([1.5, -1.5]))
    tensor([ 2., -1.])
    """
    return ops.ceil(input)


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The number nearest to a that has so many decimals, halves to even; no gradient passes.

    Args:
        decimals: negative for whole tens, hundreds, …

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise
        def round(xp, a):
            return xp.round(a)

        round.defvjp(lambda ops, g: ops.zeros_like(g))

    >>> mg.round(mg.tensor([0.5, 1.5, 1.26]), decimals=1)
    tensor([0.5, 1.5, 1.3])
    """
    return ops.round(input) if whole("round", "decimals", decimals) == 0 else ops.rounded(input, decimals=decimals)


def maximum(input: Tensor | float, other: Tensor | float) -> Tensor:
    """max(a, b); where they are equal each gets half of the gradient. NaN wins.

    Shapes: any two that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if neither argument is a tensor, or one is neither a tensor nor a number.
        ValueError: if the shapes don't broadcast together.
        BackendError: if they are on different devices.

    The operation (minigrad/ops/elementwise.py):

        @elementwise
        def maximum(xp, a, b):
            return xp.maximum(a, b)

        maximum.defvjp(lambda ops, g, a, b: _share(ops, g, a, b), lambda ops, g, a, b: _share(ops, g, b, a))

    >>> mg.maximum(mg.tensor([1.0, 4.0]), mg.tensor([3.0, 2.0]))
    tensor([3., 4.])
    """
    return ops.maximum(input, other)


def minimum(input: Tensor | float, other: Tensor | float) -> Tensor:
    """min(a, b); where they are equal each gets half of the gradient. NaN wins.

    Shapes: any two that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if neither argument is a tensor, or one is neither a tensor nor a number.
        ValueError: if the shapes don't broadcast together.
        BackendError: if they are on different devices.

    The operation (minigrad/ops/elementwise.py):

        @elementwise
        def minimum(xp, a, b):
            return xp.minimum(a, b)

        minimum.defvjp(lambda ops, g, a, b: _share(ops, g, b, a), lambda ops, g, a, b: _share(ops, g, a, b))

    >>> mg.minimum(mg.tensor([1.0, 4.0]), mg.tensor([3.0, 2.0]))
    tensor([1., 2.])
    """
    return ops.minimum(input, other)


def clamp(input: Tensor, min: Tensor | float | None = None, max: Tensor | float | None = None) -> Tensor:
    """min(max(a, min), max): `input` limited to [min, max]; NaN anywhere gives NaN.

    The gradient passes to `input` where min ≤ a ≤ max, elsewhere to the bound that is the result (max where min > max).

    Shapes: that of `input`, and with `min` or `max` in tensors the shape to which all broadcast together.

    Raises:
        TypeError: if `input` is not a tensor, or a bound is neither a tensor nor a number.
        ValueError: when neither min nor max is given, or the shapes don't broadcast together.

    The operation (minigrad/ops/elementwise.py):

        @elementwise
        def clamp(xp, a, min, max):
            return xp.minimum(xp.maximum(a, min), max)

        clamp.defvjp(
            lambda ops, g, a, min, max: ops.where((a >= min) & (a <= max), g, 0.0),
            lambda ops, g, a, min, max: ops.where((a < min) & (min < max), g, 0.0),
            lambda ops, g, a, min, max: ops.where((a > max) | (max < min), g, 0.0),
        )

    >>> mg.clamp(mg.tensor([-2.0, 0.5, 2.0]), -1, 1)
    tensor([-1. ,  0.5,  1. ])
    """
    if min is None and max is None:
        raise ValueError("clamp: expected min, max or both, got neither; give at least one")
    input = tensor("clamp", "input", input)
    min = None if min is None else tensor_or_number("clamp", "min", min)
    max = None if max is None else tensor_or_number("clamp", "max", max)
    if max is None:
        return ops.clamp_min(input, min)
    return ops.clamp_max(input, max) if min is None else ops.clamp(input, min, max)


def where(condition: Tensor, input: Tensor | float, other: Tensor | float) -> Tensor:
    """a where the boolean `condition` is true, b elsewhere.

    Shapes: any three that broadcast together; the result has the broadcast shape.

    Raises:
        TypeError: if `condition` is not a boolean tensor, or `input` or `other` neither a tensor nor a number.
        ValueError: if the shapes don't broadcast together.

    The operation (minigrad/ops/elementwise.py):

        @elementwise(promote_from=1)
        def where(xp, condition, a, b):
            return xp.where(condition, a, b)

        where.defvjp(
            None,
            lambda ops, g, condition: ops.where(condition, g, 0.0),
            lambda ops, g, condition: ops.where(condition, 0.0, g),
        )

    >>> x = mg.tensor([1.0, -2.0])
    >>> mg.where(x > 0, x, 0.0)
    tensor([1., 0.])
    """
    condition = _boolean(condition, "condition", "where")
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        input = Tensor(tensor_or_number("where", "input", input), device=condition.device)
    return ops.where(condition, input, other)


def masked_fill(input: Tensor, mask: Tensor, value: Tensor | float) -> Tensor:
    """`value` where the boolean `mask` is true, a elsewhere; in the dtype of `input`.

    Shapes: `input` and `mask` broadcast together; `value` is a number, or a tensor without dimensions.

    Raises:
        TypeError: if `input` is not a tensor, `mask` not a boolean tensor, or `value` neither a tensor nor a number.
        ValueError: if `value` has dimensions, or the shapes don't broadcast together.
        OverflowError: if the dtype of `input` can't hold `value`.

    >>> mg.masked_fill(mg.tensor([1.0, 2.0]), mg.tensor([True, False]), 0.0)
    tensor([0., 2.])
    """
    input, value = tensor("masked_fill", "input", input), tensor_or_number("masked_fill", "value", value)
    if not isinstance(value, Tensor):
        value = fitted(value, input.dtype, "masked_fill", finite=True)
    elif value.ndim:
        raise ValueError(
            f"masked_fill: value must be a number or have no dimensions, got shape {value.shape}; use mg.where"
        )
    else:
        value = value.astype(input.dtype)
    return where(_boolean(mask, "mask", "masked_fill"), value, input)


clip = clamp
