"""What Tensor has to be written: methods whose names end in `_`, and augmented assignments (x += y).

Each computes a new value as the function of that name does, puts it into the tensor's place, and returns the tensor; the gradient
is that of the function. `minigrad.engine.inplace` tells what that means for views. Those that change a part of the tensor do it under
a lock: several threads may write to parts of one tensor. All raise

    RuntimeError: for a leaf that requires a gradient, or a view of one, while operations are recorded; for a view made under
        `no_grad`, or one of several of one call (`split`, `chunk`, `unbind`), where a gradient is involved; for a tensor whose
        elements share memory (`expand`); for a result of another shape, or of a dtype that the tensor's can't take.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad import functions, messages, ops, random
from minigrad.backend import tracing
from minigrad.checks import number
from minigrad.engine import inplace
from minigrad.engine.tensor import Tensor, _tensor
from minigrad.functions import index
from minigrad.functions.arguments import _dim
from minigrad.functions.arguments import tensor as checked
from minigrad.functions.getitem import distinct, overlaps, overwrite, positions, values_like
from minigrad.functions.shape import _expanded
from minigrad.functions.turning import turned

Operand = Tensor | float


def put(who: str, t: Tensor, result: Tensor) -> Tensor:
    """Puts the result of a computation into a tensor's place, in the tensor's dtype."""
    checked(who, "input", t)
    if tuple(result.shape) != t.shape or result.dtype.category > t.dtype.category:
        raise messages.unfit_result(who, t, result)
    if overlaps(t):
        raise messages.written_overlap(who, t)
    return inplace.write(t, result.astype(t.dtype))


def _drawn(who: str, t: Tensor, draw: Callable[[Any], np.ndarray], generator: Any) -> Tensor:
    """Random numbers of the host's generator, in float64, rounded to the tensor's dtype."""
    if not checked(who, "input", t).is_floating_point():
        raise TypeError(f"{who}: draws floating point numbers, this tensor is {t.dtype.name}")
    if overlaps(t):
        raise messages.written_overlap(who, t)
    array = t._backend.asarray(np.asarray(draw(random.given(generator))), t.dtype.name)
    return overwrite(t, _tensor(array, t._backend))


class Writes:
    """Methods of `Tensor`, see `minigrad.functions.methods`."""

    __slots__ = ()

    # --- augmented assignment -----------------------------------------------------------------------------------------
    def __iadd__(self: Any, other: Operand) -> Tensor:
        return put("+=", self, self + other)

    def __isub__(self: Any, other: Operand) -> Tensor:
        return put("-=", self, self - other)

    def __imul__(self: Any, other: Operand) -> Tensor:
        return put("*=", self, self * other)

    def __itruediv__(self: Any, other: Operand) -> Tensor:
        return put("/=", self, self / other)

    def __ifloordiv__(self: Any, other: Operand) -> Tensor:
        return put("//=", self, self // other)

    def __imod__(self: Any, other: Operand) -> Tensor:
        return put("%=", self, self % other)

    def __ipow__(self: Any, other: Operand) -> Tensor:
        return put("**=", self, self**other)

    def __iand__(self: Any, other: Operand) -> Tensor:
        return put("&=", self, self & other)

    def __ior__(self: Any, other: Operand) -> Tensor:
        return put("|=", self, self | other)

    def __ixor__(self: Any, other: Operand) -> Tensor:
        return put("^=", self, self ^ other)

    def __ilshift__(self: Any, other: Operand) -> Tensor:
        return put("<<=", self, self << other)

    def __irshift__(self: Any, other: Operand) -> Tensor:
        return put(">>=", self, self >> other)

    def __setitem__(self: Any, at: Any, value: Any) -> None:
        index.setitem(self, at, value)

    # --- arithmetic ---------------------------------------------------------------------------------------------------
    def add_(self: Any, other: Operand, *, alpha: float = 1) -> Tensor:
        """x ← x + alpha·other.

        >>> mg.ones(2).add_(mg.tensor([1.0, 2.0]), alpha=10)
        tensor([11., 21.])
        """
        return put("add_", self, functions.add(self, other, alpha=alpha))

    def sub_(self: Any, other: Operand, *, alpha: float = 1) -> Tensor:
        """x ← x - alpha·other."""
        return put("sub_", self, functions.sub(self, other, alpha=alpha))

    def mul_(self: Any, other: Operand) -> Tensor:
        """x ← x·other."""
        return put("mul_", self, functions.mul(self, other))

    def div_(self: Any, other: Operand, *, rounding_mode: str | None = None) -> Tensor:
        """x ← x / other, rounded as `div` does."""
        return put("div_", self, functions.div(self, other, rounding_mode=rounding_mode))

    def pow_(self: Any, exponent: Operand) -> Tensor:
        """x ← x to the power of `exponent`."""
        return put("pow_", self, functions.pow(self, exponent))

    def addcmul_(self: Any, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
        """x ← x + value·tensor1·tensor2."""
        product = checked("addcmul_", "tensor1", tensor1) * checked("addcmul_", "tensor2", tensor2)
        return put("addcmul_", self, self + product * value)

    def addcdiv_(self: Any, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
        """x ← x + value·tensor1 / tensor2."""
        quotient = checked("addcdiv_", "tensor1", tensor1) / checked("addcdiv_", "tensor2", tensor2)
        return put("addcdiv_", self, self + quotient * value)

    def lerp_(self: Any, end: Tensor, weight: Operand) -> Tensor:
        """x ← x + weight·(end - x)."""
        return put("lerp_", self, self + (checked("lerp_", "end", end) - self) * weight)

    def neg_(self: Any) -> Tensor:
        """x ← -x."""
        return put("neg_", self, functions.neg(self))

    def abs_(self: Any) -> Tensor:
        """x ← |x|."""
        return put("abs_", self, functions.abs(self))

    def exp_(self: Any) -> Tensor:
        """x ← eˣ."""
        return put("exp_", self, functions.exp(self))

    def log_(self: Any) -> Tensor:
        """x ← ln x."""
        return put("log_", self, functions.log(self))

    def sqrt_(self: Any) -> Tensor:
        """x ← √x."""
        return put("sqrt_", self, functions.sqrt(self))

    def rsqrt_(self: Any) -> Tensor:
        """x ← 1/√x."""
        return put("rsqrt_", self, functions.rsqrt(self))

    def reciprocal_(self: Any) -> Tensor:
        """x ← 1/x."""
        return put("reciprocal_", self, functions.reciprocal(self))

    def square_(self: Any) -> Tensor:
        """x ← x²."""
        return put("square_", self, functions.square(self))

    def sin_(self: Any) -> Tensor:
        """x ← sin x."""
        return put("sin_", self, functions.sin(self))

    def cos_(self: Any) -> Tensor:
        """x ← cos x."""
        return put("cos_", self, functions.cos(self))

    def tanh_(self: Any) -> Tensor:
        """x ← tanh x."""
        return put("tanh_", self, functions.tanh(self))

    def sigmoid_(self: Any) -> Tensor:
        """x ← 1 / (1 + e⁻ˣ)."""
        return put("sigmoid_", self, functions.sigmoid(self))

    def relu_(self: Any) -> Tensor:
        """x ← max(x, 0)."""
        return put("relu_", self, functions.relu(self))

    def floor_(self: Any) -> Tensor:
        """x ← ⌊x⌋."""
        return put("floor_", self, functions.floor(self))

    def ceil_(self: Any) -> Tensor:
        """x ← ⌈x⌉."""
        return put("ceil_", self, functions.ceil(self))

    def round_(self: Any, *, decimals: int = 0) -> Tensor:
        """x ← x rounded, halves to the even neighbour."""
        return put("round_", self, functions.round(self, decimals=decimals))

    def clamp_(self: Any, min: Operand | None = None, max: Operand | None = None) -> Tensor:
        """x ← x, but at least `min` and at most `max`.

        >>> mg.tensor([-2.0, 0.5, 2.0]).clamp_(-1, 1)
        tensor([-1. ,  0.5,  1. ])
        """
        return put("clamp_", self, functions.clamp(self, min, max))

    clip_ = clamp_

    # --- values -------------------------------------------------------------------------------------------------------
    def zero_(self: Any) -> Tensor:
        """x ← 0."""
        return self.fill_(0)

    def fill_(self: Any, value: Operand) -> Tensor:
        """x ← value, a number or a tensor without dimensions, in every element.

        >>> mg.zeros(2).fill_(3)
        tensor([3., 3.])
        """
        value = value if isinstance(value, Tensor) else Tensor(value, dtype=self.dtype, device=self.device)
        if value.ndim:
            raise ValueError(f"fill_: value is a number or a tensor without dimensions, got shape {value.shape}")
        part = distinct(self)
        overwrite(part, ops.broadcast_to(value.to(self.device), shape=part.shape))
        return self

    def copy_(self: Any, src: Tensor, non_blocking: bool = False) -> Tensor:
        """x ← src, broadcast to the shape of x, on its device and in its dtype. `non_blocking` changes nothing.

        >>> mg.zeros(2, 2).copy_(mg.tensor([1, 2]))
        tensor([[1., 2.],
                [1., 2.]])
        """
        inplace.check(self, checked("copy_", "src", src))
        if src is self:
            return self
        if overlaps(self):
            raise messages.written_overlap("copy_", self)
        return overwrite(self, src if src.shape == self.shape else _expanded("copy_", src, (self.shape,)))

    def normal_(self: Any, mean: float = 0.0, std: float = 1.0, *, generator: random.Generator | None = None) -> Tensor:
        """Random numbers of the normal distribution N(mean, std²)."""
        return _drawn("normal_", self, lambda rng: rng.normal(self.shape, mean, std), generator)

    def trunc_normal_(
        self: Any,
        mean: float = 0.0,
        std: float = 1.0,
        a: float = -2.0,
        b: float = 2.0,
        *,
        generator: random.Generator | None = None,
    ) -> Tensor:
        """Random numbers of the normal distribution N(mean, std²), cut off at the values a and b."""
        return _drawn("trunc_normal_", self, lambda rng: rng.truncated_normal(self.shape, mean, std, a, b), generator)

    def uniform_(
        self: Any, low: float = 0.0, high: float = 1.0, *, generator: random.Generator | None = None
    ) -> Tensor:
        """Random numbers, evenly distributed in [low, high)."""
        return _drawn("uniform_", self, lambda rng: rng.uniform(self.shape, low, high), generator)

    def bernoulli_(self: Any, p: Operand = 0.5, *, generator: random.Generator | None = None) -> Tensor:
        """1 with probability p, else 0; p is a number or a tensor that broadcasts."""
        chance = p.numpy() if isinstance(p, Tensor) else number("bernoulli_", "p", p)
        return _drawn("bernoulli_", self, lambda rng: rng.uniform(self.shape) < chance, generator)

    def masked_fill_(self: Any, mask: Tensor, value: Operand) -> Tensor:
        """x ← value where the mask is true."""
        with inplace.WRITING:
            return put("masked_fill_", self, functions.masked_fill(self, mask, value))

    # --- by position --------------------------------------------------------------------------------------------------
    def index_fill_(self: Any, dim: int, index: Tensor, value: Operand) -> Tensor:
        """x ← value in the slices at the positions of an integer vector along a dimension."""
        with inplace.WRITING:
            return put("index_fill_", self, _index_put("index_fill_", self, dim, index, value))

    def index_copy_(self: Any, dim: int, index: Tensor, source: Tensor) -> Tensor:
        """x ← the slices of `source` at the positions of an integer vector along a dimension."""
        with inplace.WRITING:
            return put("index_copy_", self, _index_put("index_copy_", self, dim, index, source))

    def index_add_(self: Any, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
        """x ← x with alpha times the slices of `source` added at the positions of an integer vector along a dimension."""
        with inplace.WRITING:
            return put("index_add_", self, functions.index_add(self, dim, index, source, alpha=alpha))

    def scatter_(self: Any, dim: int, index: Tensor, src: Operand) -> Tensor:
        """x[index[i][j]][j] ← src[i][j] for dimension 0, and so on; `src` may be a number."""
        with inplace.WRITING:
            return put("scatter_", self, _scatter("scatter_", self, dim, index, src))

    def scatter_add_(self: Any, dim: int, index: Tensor, src: Tensor) -> Tensor:
        """As `scatter_`, adding: what comes to one place is summed."""
        with inplace.WRITING:
            return put("scatter_add_", self, functions.scatter_add(self, dim, index, src))

    def put_(self: Any, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
        """x ← source at positions of the flattened tensor, or x + source where `accumulate`."""
        index, source = checked("put_", "index", index), checked("put_", "source", source)
        with inplace.WRITING:
            flat, at = ops.reshape(self, shape=(self.numel(),)), ops.reshape(index, shape=(index.numel(),))
            part = ops.reshape(source.astype(self.dtype), shape=(source.numel(),))
            whole = functions.scatter_add(flat, 0, at, part) if accumulate else _scatter("put_", flat, 0, at, part)
            return put("put_", self, ops.reshape(whole, shape=self.shape))

    # --- shape and tape -----------------------------------------------------------------------------------------------
    def t_(self: Any) -> Tensor:
        """x ← its transpose: another view of the same memory."""
        return turned(self, functions.t(self))

    def transpose_(self: Any, dim0: int, dim1: int) -> Tensor:
        """x ← x with two dimensions exchanged."""
        return turned(self, functions.transpose(self, dim0, dim1))

    def squeeze_(self: Any, dim: int | tuple[int, ...] | None = None) -> Tensor:
        """x ← x without dimensions of length 1, all or the given."""
        return turned(self, functions.squeeze(self, dim))

    def unsqueeze_(self: Any, dim: int) -> Tensor:
        """x ← x with a new dimension of length 1 at `dim`."""
        return turned(self, functions.unsqueeze(self, dim))

    def detach_(self: Any) -> Tensor:
        """Takes the tensor off the tape.

        Raises:
            RuntimeError: for a view, whose values follow its base's; use `detach()`.
        """
        of = self._ties
        if of is not None and of.family is not None:
            raise RuntimeError(
                "detach_: a view can't be taken off the tape by itself; use detach(), which gives a new tensor"
            )
        if self._requires_grad:
            tracing.write(self, "flag")
        if self._edge is not None:
            inplace.move(self, None)
        self._requires_grad = False
        if of is not None:
            self._ties = inplace.Ties(self, of.memory, None, of.steps)
        return self


def _index_put(who: str, input: Tensor, dim: int, at: Tensor, value: Operand) -> Tensor:
    """The input with `value` in the slices at the positions of a vector."""
    dim, places = _dim(dim, input.ndim, who), checked(who, "index", at)
    if places.ndim > 1:
        raise IndexError(f"{who} takes a vector of positions, got shape {places.shape}")
    x = input if input.ndim else ops.reshape(input, shape=(1,))
    where = (slice(None),) * dim + (positions(ops.reshape(places, shape=(places.numel(),)), x, dim, who),)
    shape = (*x.shape[:dim], places.numel(), *x.shape[dim + 1 :])
    if isinstance(value, Tensor) and value.ndim and value.shape != (shape if input.ndim else value.shape[:1]):
        raise ValueError(f"{who}: {places.numel()} positions need values of shape {shape}, got {value.shape}")
    y = ops.update(x, values_like(who, x, value, shape), index=where)
    return y if input.ndim else ops.reshape(y, shape=())


def _scatter(who: str, input: Tensor, dim: int, at: Tensor, src: Operand) -> Tensor:
    """The input with src[i][j] at [index[i][j]][j], and so on."""
    dim, places = _dim(dim, input.ndim, who), checked(who, "index", at)
    if not places.numel():
        return ops.clone(input)
    x = input if input.ndim else ops.reshape(input, shape=(1,))
    places = places if places.ndim else ops.reshape(places, shape=(1,))
    if places.ndim != x.ndim or isinstance(src, Tensor) and src.ndim and src.ndim != x.ndim:
        raise ValueError(f"{who}: dimensions differ: tensor {x.shape}, index {places.shape}, src {src!r:.40}")
    if isinstance(src, Tensor) and src.ndim:
        if any(n > m for n, m in zip(places.shape, src.shape, strict=True)):
            raise ValueError(f"{who}: index of shape {places.shape} is larger than src of shape {src.shape}")
        src = ops.getitem(src, index=tuple(slice(0, n) for n in places.shape))
    grid = index._grid(places, dim)
    grid[dim] = positions(places, x, dim, who)
    y = ops.update(x, values_like(who, x, src, places.shape), index=tuple(grid))
    return y if input.ndim else ops.reshape(y, shape=())
