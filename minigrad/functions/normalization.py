"""Numbers brought to a sum of 1 or a variance of 1: softmax, its logarithm and its denominator's, and the normalisation of a layer."""

from collections.abc import Sequence

from minigrad import ops
from minigrad.checks import sizes
from minigrad.engine.operation import Op
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import (
    Dims,
    DTypeLike,
    _floating,
    _same_device,
    along,
    number,
    reduced,
    tensor,
    told,
)
from minigrad.ops.reduce import narrowed, widened

__all__ = ["logsumexp", "softmax", "log_softmax", "layer_norm"]


def logsumexp(
    input: Tensor,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    axis: Dims = None,
    keepdims: bool | None = None,
) -> Tensor:
    """log Σ eˣ of the elements over `dim` (all by default), without overflow; -∞ of none.

    Args:
        dim: a dimension or several, or None for all; also called `axis`.
        keepdim: whether the result keeps `dim` with length 1; also called `keepdims`.

    Shape: any; the result lacks `dim`, or has it with length 1.

    Raises:
        TypeError: if `input` is not a tensor; if both names of a parameter are given.
        IndexError, ValueError: if `input` has no such dimension; if one is named twice.

    The operation (minigrad/ops/reduce.py):

        @op
        def logsumexp(xp, a, *, dim, keepdim):
            top = xp.max(a, axis=dim, keepdims=True) if a.size else xp.sum(a, axis=dim, keepdims=True) - math.inf
            top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
            out = xp.log(xp.sum(xp.exp(a - top), axis=dim, keepdims=True)) + top
            return out if keepdim else xp.squeeze(out, axis=dim)

        logsumexp.defvjp(
            lambda ops, g, a, y, a_shape, dim, keepdim: (
                _spread(ops, g, a_shape, dim, keepdim) * ops.exp(a - _spread(ops, y, a_shape, dim, keepdim))
            )
        )

    >>> mg.logsumexp(mg.tensor([[0.0, 0.0], [0.0, 1.0]]), dim=1)
    tensor([0.6931, 1.3133])
    """
    dims, keepdim = reduced("logsumexp", input, dim, keepdim, axis, keepdims)
    input = input if input.is_floating_point() else input.float()
    return narrowed(ops.logsumexp(widened(input), dim=dims, keepdim=keepdim), input.dtype)


def softmax(
    input: Tensor, dim: int | None = None, *, axis: int | None = None, dtype: DTypeLike | None = None
) -> Tensor:
    """yᵢ = exp(xᵢ) / Σⱼ exp(xⱼ) along `dim`.

    Args:
        dim: the dimension, which must be given; also called `axis`.
        dtype: in which to compute; that of `input` by default, and float32 for whole numbers.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor; if `dim` is given under both names or none.
        IndexError: if `input` has no such dimension.

    The operation (minigrad/ops/reduce.py):

        @op
        def softmax(xp, a, *, dim):
            if not a.size:
                return a
            y = xp.exp(a - xp.max(a, axis=dim, keepdims=True))
            return y / xp.sum(y, axis=dim, keepdims=True)

        softmax.defvjp(lambda ops, g, y, dim: y * (g - ops.sum(g * y, dim=(dim,), keepdim=True)))

    >>> mg.softmax(mg.tensor([0.0, 1.0]), dim=-1)
    tensor([0.2689, 0.7311])
    """
    return _row("softmax", ops.softmax, input, dim, axis, dtype)


def log_softmax(
    input: Tensor, dim: int | None = None, *, axis: int | None = None, dtype: DTypeLike | None = None
) -> Tensor:
    """yᵢ = xᵢ - log Σⱼ exp(xⱼ), the logarithm of softmax along `dim`, without underflow.

    Args:
        dim: the dimension, which must be given; also called `axis`.
        dtype: in which to compute; that of `input` by default, and float32 for whole numbers.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor; if `dim` is given under both names or none.
        IndexError: if `input` has no such dimension.

    The operation (minigrad/ops/reduce.py):

        @op
        def log_softmax(xp, a, *, dim):
            if not a.size:
                return a
            a = a - xp.max(a, axis=dim, keepdims=True)
            return a - xp.log(xp.sum(xp.exp(a), axis=dim, keepdims=True))

        log_softmax.defvjp(lambda ops, g, y, dim: g - ops.exp(y) * ops.sum(g, dim=(dim,), keepdim=True))

    >>> mg.log_softmax(mg.tensor([0.0, 1.0]), dim=-1)
    tensor([-1.3133, -0.3133])
    """
    return _row("log_softmax", ops.log_softmax, input, dim, axis, dtype)


def _row(who: str, operation: Op, input: Tensor, dim: int | None, axis: int | None, dtype: DTypeLike | None) -> Tensor:
    """A softmax along one dimension; tensors without dimensions count as one element."""
    dim = along(who, dim, axis, tensor(who, "input", input).ndim)
    input = input.astype(dtype) if dtype is not None else input if input.is_floating_point() else input.float()
    wide = widened(input)
    if not wide.ndim:
        out = operation(wide.reshape(1), dim=0).reshape(())
    else:
        out = operation(wide, dim=dim) if wide.numel() else wide
    return out if wide is input else narrowed(out, input.dtype)


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / √(var + eps)·weight + bias, mean and (biased) variance over the last dimensions: (…, *shape) → (…, *shape).
    Ba et al. 2016, arXiv 1607.06450.

    Args:
        normalized_shape: the lengths of those dimensions, which are also the shape of weight and bias.

    Raises:
        ValueError: when the shapes don't fit. TypeError: when the input isn't floating point.

    The operation (minigrad/ops/fused.py):

        @fused
        def layer_norm(x, weight, bias, *, axes, eps):
            if (wide := widened(x)) is not x:
                given = [t for t in (weight, bias) if t is not None]
                dtype = functools.reduce(promote, [t.dtype for t in given], x.dtype)
                return layer_norm(
                    wide, *(None if t is None else widened(t) for t in (weight, bias)), axes=axes, eps=eps
                ).astype(dtype)
            centred = x - mean(x, dim=axes, keepdim=True)
            y = centred * rsqrt(mean(centred * centred, dim=axes, keepdim=True) + eps)
            y = y if weight is None else y * weight
            return y if bias is None else y + bias

    >>> mg.layer_norm(mg.tensor([[1.0, 3.0]]), 2)
    tensor([[-1.,  1.]])
    """
    tensor("layer_norm", "input", input)
    shape = (
        normalized_shape
        if isinstance(normalized_shape, tuple)
        else sizes("layer_norm", "normalized_shape", normalized_shape)
    )
    if not shape or input.shape[input.ndim - len(shape) :] != shape or len(shape) > input.ndim:
        raise ValueError(f"layer_norm: the input of shape {input.shape} must end in normalized_shape {told(shape)}")
    for name, p in (("weight", weight), ("bias", bias)):
        if p is not None and tensor("layer_norm", name, p).shape != shape:
            raise ValueError(f"layer_norm: {name} has shape {p.shape}, expected normalized_shape {shape}")
        if p is not None:
            _same_device("layer_norm", input, p)
    _floating("layer_norm", input)
    return ops.layer_norm(
        input,
        weight,
        bias,
        axes=tuple(range(input.ndim - len(shape), input.ndim)),
        eps=number("layer_norm", "eps", eps),
    )
