"""Matrix products."""

import math
from collections.abc import Sequence
from typing import Any

from minigrad import ops
from minigrad.dtypes import promote
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import _same_dtype
from minigrad.functions.index import diagonal
from minigrad.functions.reduce import sum
from minigrad.functions.shape import reshape, squeeze, unsqueeze

__all__ = ["matmul", "mm", "bmm", "mv", "dot", "outer", "addmm", "linear", "einsum"]


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Matrix product over the last two dimensions, leading ones broadcast; a vector on the left is a row, on the right a
    column, and its dimension is dropped from the result."""
    if not input.ndim or not other.ndim:
        raise ValueError(
            f"matmul needs at least 1 dimension on both sides, got shapes {input.shape} and {other.shape}; use *"
        )
    _same_dtype("matmul", input, other)
    inner = other.shape[-2] if other.ndim > 1 else other.shape[0]
    if input.shape[-1] != inner:
        raise ValueError(
            f"matmul: the inner sizes of shapes {input.shape} and {other.shape} differ: {input.shape[-1]} and {inner}"
        )
    row, column = input.ndim == 1, other.ndim == 1
    a, b = unsqueeze(input, 0) if row else input, unsqueeze(other, 1) if column else other
    y = ops.matmul(a, b)
    if row:
        y = squeeze(y, -2)
    return squeeze(y, -1) if column else y


def _ranked(name: str, a: Tensor, b: Tensor, ranks: tuple[int, int]) -> Tensor:
    if (a.ndim, b.ndim) != ranks:
        raise ValueError(
            f"{name} needs tensors of {ranks[0]} and {ranks[1]} dimensions, got shapes {a.shape} and {b.shape}"
        )
    return matmul(a, b)


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """(N, K) times (K, M)."""
    return _ranked("mm", input, mat2, (2, 2))


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """(B, N, K) times (B, K, M)."""
    if input.ndim == mat2.ndim == 3 and input.shape[0] != mat2.shape[0]:
        raise ValueError(f"bmm: batch sizes differ: {input.shape} and {mat2.shape}")
    return _ranked("bmm", input, mat2, (3, 3))


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """(N, K) times (K,)."""
    return _ranked("mv", input, vec, (2, 1))


def dot(input: Tensor, other: Tensor) -> Tensor:
    """Σ aᵢbᵢ of two vectors."""
    return _ranked("dot", input, other, (1, 1))


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """aᵢbⱼ of two vectors."""
    return unsqueeze(input, 1) * unsqueeze(vec2, 0)


def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta·input + alpha·(mat1 @ mat2)."""
    product = mm(mat1, mat2)
    product = product if alpha == 1 else product * alpha
    return product if beta == 0 else (input if beta == 1 else input * beta) + product


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = x·Wᵀ + b: (…, K) with weight (O, K) and bias (O,) → (…, O)."""
    if not input.ndim or weight.ndim not in (1, 2) or input.shape[-1] != weight.shape[-1]:
        raise ValueError(
            f"linear: an input of shape {input.shape} doesn't fit a weight of shape {weight.shape}; expected (…, {weight.shape[-1]})"
        )
    _same_dtype("linear", input, weight, *([] if bias is None else [bias]))
    if bias is not None and bias.shape != weight.shape[:-1]:
        raise ValueError(
            f"linear: the bias of shape {bias.shape} doesn't fit a weight of shape {weight.shape}; expected {weight.shape[:-1]}"
        )
    if weight.ndim == 1:
        y = matmul(input, weight.t())
        return y if bias is None else y + bias
    return ops.linear(input, weight, bias)


# --- einsum -----------------------------------------------------------------------------------------------------------
def einsum(equation: str, *operands: Any) -> Tensor:
    """Σ over the repeated letters: `einsum("bik,bkj->bij", a, b)`. Operands are contracted from left to right, each pair
    as one batched matrix product.

    Raises:
        ValueError: when letters, dimensions and sizes don't fit.
    """
    if len(operands) == 1 and isinstance(operands[0], tuple | list):
        operands = tuple(operands[0])
    terms, result, sizes = _parse(equation, operands)
    tensors = [_prepared(x, term) for x, term in zip(operands, terms, strict=True)]
    x, letters = tensors[0]
    for n, (y, others) in enumerate(tensors[1:], 1):
        later = set(result).union(*(t for _, t in tensors[n + 1 :]))
        x, letters = _contract(x, letters, y, others, later, sizes)
    gone = tuple(i for i, c in enumerate(letters) if c not in result)
    x = sum(x, gone) if gone else x
    letters = [c for c in letters if c in result]
    return x.permute(*[letters.index(c) for c in result]) if letters else x


def _parse(equation: str, operands: Sequence[Tensor]) -> tuple[list[list[str]], list[str], dict[str, int]]:
    """Letters of each operand and of the result; dimensions behind an ellipsis get capital-free private names."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise ValueError(f"einsum: {equation!r} names {len(terms)} operands, got {len(operands)}")
    lead = 0
    split = []
    for term, x in zip(terms, operands, strict=True):
        before, dots, after = term.partition("...")
        extra = x.ndim - len(before) - len(after)
        if extra < 0 or (extra and not dots) or not (before + after).isalpha() and before + after:
            raise ValueError(f"einsum: {term!r} doesn't fit an operand of shape {x.shape} in {equation!r}")
        lead = max(lead, extra)
        split.append((list(before), extra, list(after)))
    names = [f".{i}" for i in range(lead)]
    expanded = [before + names[lead - extra :] + after for before, extra, after in split]
    if arrow:
        before, dots, after = right.partition("...")
        result = list(before) + (names if dots else []) + list(after)
    else:
        counts: dict = {}
        for letters in expanded:
            for c in letters:
                counts[c] = counts.get(c, 0) + 1
        result = names + sorted(c for c, n in counts.items() if n == 1 and c not in names)
    sizes: dict = {}
    for letters, x in zip(expanded, operands, strict=True):
        for c, n in zip(letters, x.shape, strict=True):
            if sizes.get(c, 1) != 1 and n not in (1, sizes[c]):
                raise ValueError(f"einsum: {c!r} has sizes {sizes[c]} and {n} in {equation!r}; they must be equal")
            sizes[c] = n if sizes.get(c, 1) == 1 else sizes[c]
    unknown = [c for c in result if c not in sizes]
    if unknown or len(set(result)) != len(result):
        raise ValueError(
            f"einsum: the result {right!r} of {equation!r} names a letter twice, or one that no operand has"
        )
    return expanded, result, sizes


def _prepared(x: Tensor, term: Sequence[str]) -> tuple[Tensor, list[str]]:
    """An operand with letters that it names twice reduced to their diagonal."""
    term = list(term)
    for c in [c for c in dict.fromkeys(term) if term.count(c) > 1]:
        while term.count(c) > 1:
            i = term.index(c)
            j = term.index(c, i + 1)
            x = diagonal(x, 0, i, j)
            term = [d for k, d in enumerate(term) if k not in (i, j)] + [c]
    return x, term


def _contract(
    x: Tensor, a: list[str], y: Tensor, b: list[str], later: set[str], sizes: dict[str, int]
) -> tuple[Tensor, list[str]]:
    """Product of x (letters a) and y (letters b), summed over the letters that nothing later names: one batched matmul."""
    dtype = promote(x.dtype, y.dtype)
    x, y = x.astype(dtype), y.astype(dtype)
    both = [c for c in a if c in b]
    alone_x = tuple(i for i, c in enumerate(a) if c not in b and c not in later)
    alone_y = tuple(i for i, c in enumerate(b) if c not in a and c not in later)
    x = sum(x, alone_x) if alone_x else x
    y = sum(y, alone_y) if alone_y else y
    a, b = [c for i, c in enumerate(a) if i not in alone_x], [c for i, c in enumerate(b) if i not in alone_y]
    batch, inner = [c for c in both if c in later], [c for c in both if c not in later]
    left, right = [c for c in a if c not in b], [c for c in b if c not in a]

    def grouped(t, letters, groups):
        t = t.permute(*[letters.index(c) for group in groups for c in group]) if letters else t
        t = t.broadcast_to(tuple(sizes[c] for group in groups for c in group))
        return reshape(t, [math.prod(sizes[c] for c in group) for group in groups])

    product = matmul(grouped(x, a, (batch, left, inner)), grouped(y, b, (batch, inner, right)))
    letters = batch + left + right
    return reshape(product, [sizes[c] for c in letters]), letters
