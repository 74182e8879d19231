"""What is dropped at random in training."""

from collections.abc import Sequence

from minigrad import random
from minigrad.engine.tensor import Tensor, _tensor
from minigrad.functions.arguments import number, tensor
from minigrad.functions.writes import put

__all__ = ["dropout", "drop_path"]


def keep_mask(input: Tensor, shape: Sequence[int], p: float, who: str) -> Tensor:
    """1/(1 - p) with probability 1 - p, else 0, in the input's dtype, for the function `who`."""
    p = number(who, "p", p)
    if not 0 <= p <= 1:
        raise ValueError(f"{who}: the probability must lie in [0, 1], got {p}")
    xp = input.backend
    if p == 1:
        return _tensor(xp.zeros(shape, dtype=input.array.dtype), xp)
    u = random.default.device_uniform(xp, shape, "float32", [input.array])
    return _tensor(xp.astype(u >= p, input.dtype.name) * (1 / (1 - p)), xp)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """0 with probability p, x/(1 - p) otherwise, each element by itself: (…) → (…). x when not training. Srivastava et al. 2014;
    Hinton et al. 2012, arXiv 1207.0580.

    Args:
        inplace: puts the result into the input's place, and returns the input.

    Raises:
        ValueError: when p lies outside [0, 1]. RuntimeError: in place, for a tensor that can't be written.

    >>> mg.nn.functional.dropout(mg.ones(3), 1.0), mg.nn.functional.dropout(mg.ones(3), training=False)
    (tensor([0., 0., 0.]), tensor([1., 1., 1.]))
    """
    tensor("dropout", "input", input)
    if not training or number("dropout", "p", p) == 0:
        return input
    result = input * keep_mask(input, input.shape, p, "dropout")
    return put("dropout", input, result) if inplace else result


def drop_path(input: Tensor, p: float = 0.0, training: bool = True) -> Tensor:
    """0 with probability p, x/(1 - p) otherwise, each sample as a whole: (N, …) → (N, …). x when not training. This is stochastic
    depth, for a residual branch. Huang et al. 2016, arXiv 1603.09382.

    Raises:
        ValueError: when p lies outside [0, 1], or the input has no dimensions.

    >>> mg.nn.functional.drop_path(mg.ones(2, 2), 1.0)
    tensor([[0., 0.],
            [0., 0.]])
    """
    tensor("drop_path", "input", input)
    if not training or number("drop_path", "p", p) == 0:
        return input
    if not input.ndim:
        raise ValueError("drop_path: expected (N, …), got a tensor without dimensions, of shape ()")
    return input * keep_mask(input, (input.shape[0],) + (1,) * (input.ndim - 1), p, "drop_path")
