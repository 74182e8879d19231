"""Matrix products."""

import math
from collections.abc import Sequence

from minigrad import ops
from minigrad.dtypes import promote
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import _same_dtype, tensor, tensor_or_number, tensors
from minigrad.functions.index import diagonal

__all__ = ["matmul", "mm", "bmm", "mv", "dot", "outer", "addmm", "linear", "einsum"]


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product yᵢⱼ = Σₖ aᵢₖ·bₖⱼ: (…, M, K), (…, K, N) → (…, M, N), leading dimensions broadcast together.

    A vector on the left is a row, on the right a column, and its dimension is missing in the result.

    Raises:
        ValueError: when the sizes K differ, or a tensor has no dimensions. TypeError: when the dtypes differ.

    The operation (minigrad/ops/linalg.py):

        @op
        def matmul(xp, a, b):
            return xp.matmul(a, b)

        matmul.defvjp(
            lambda ops, g, b, a_shape: ops.sum_to(ops.matmul(g, ops.mT(b)), shape=a_shape),
            lambda ops, g, a, b_shape: ops.sum_to(ops.matmul(ops.mT(a), g), shape=b_shape),
        )

    >>> mg.matmul(mg.tensor([[1.0, 2.0], [3.0, 4.0]]), mg.tensor([1.0, 1.0]))
    tensor([3., 7.])
    """
    a, b = _operands("matmul", input, other, "other")
    return _without(ops.matmul(a, b), input.ndim == 1, other.ndim == 1)


def _operands(who: str, input: Tensor, other: Tensor, parameter: str) -> tuple[Tensor, Tensor]:
    """What the function `who` is to multiply, vectors as matrices; its second parameter has the given name."""
    a, b = tensor(who, "input", input), tensor(who, parameter, other)
    if not a.ndim or not b.ndim:
        raise ValueError(f"{who} needs at least 1 dimension on both sides, got shapes {a.shape} and {b.shape}; use *")
    _same_dtype(who, a, b)
    inner = b.shape[0] if b.ndim == 1 else b.shape[-2]
    if a.shape[-1] != inner:
        raise ValueError(f"{who}: the inner sizes of shapes {a.shape} and {b.shape} differ: {a.shape[-1]} and {inner}")
    row = a if a.ndim > 1 else ops.reshape(a, shape=(1, inner))
    return row, b if b.ndim > 1 else ops.reshape(b, shape=(inner, 1))


def _without(y: Tensor, row: bool, column: bool) -> Tensor:
    """A product without the dimensions that vectors were given."""
    if row:
        y = ops.reshape(y, shape=(*y.shape[:-2], y.shape[-1]))
    return ops.reshape(y, shape=y.shape[:-1]) if column else y


def _product(who: str, input: Tensor, other: Tensor, parameter: str) -> Tensor:
    """`matmul` on behalf of the function `who`."""
    a, b = _operands(who, input, other, parameter)
    return _without(ops.matmul(a, b), input.ndim == 1, other.ndim == 1)


def _ranked(who: str, a: Tensor, b: Tensor, parameter: str, ranks: tuple[int, int]) -> Tensor:
    """The product of tensors of so many dimensions."""
    if (tensor(who, "input", a).ndim, tensor(who, parameter, b).ndim) != ranks:
        raise ValueError(
            f"{who} needs tensors of {ranks[0]} and {ranks[1]} dimensions, got shapes {a.shape} and {b.shape}"
        )
    return _product(who, a, b, parameter)


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices, yᵢⱼ = Σₖ aᵢₖ·bₖⱼ: (M, K), (K, N) → (M, N).

    Raises:
        ValueError: for other numbers of dimensions, or when the sizes K differ. TypeError: when the dtypes differ.

    >>> mg.mm(mg.ones(2, 3), mg.ones(3, 4)).shape
    (2, 4)
    """
    return _ranked("mm", input, mat2, "mat2", (2, 2))


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The products of B pairs of matrices, yₙᵢⱼ = Σₖ aₙᵢₖ·bₙₖⱼ: (B, M, K), (B, K, N) → (B, M, N).

    Raises:
        ValueError: for other numbers of dimensions, or when the sizes B or K differ. TypeError: when the dtypes differ.

    >>> mg.bmm(mg.ones(5, 2, 3), mg.ones(5, 3, 4)).shape
    (5, 2, 4)
    """
    if tensor("bmm", "input", input).ndim == tensor("bmm", "mat2", mat2).ndim == 3 and input.shape[0] != mat2.shape[0]:
        raise ValueError(f"bmm: batch sizes differ: {input.shape} and {mat2.shape}")
    return _ranked("bmm", input, mat2, "mat2", (3, 3))


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """A matrix times a vector, yᵢ = Σₖ aᵢₖ·bₖ: (M, K), (K,) → (M,).

    Raises:
        ValueError: for other numbers of dimensions, or when the sizes K differ. TypeError: when the dtypes differ.

    >>> mg.mv(mg.ones(2, 3), mg.ones(3))
    tensor([3., 3.])
    """
    return _ranked("mv", input, vec, "vec", (2, 1))


def dot(input: Tensor, other: Tensor) -> Tensor:
    """Σᵢ aᵢ·bᵢ of two vectors: (K,), (K,) → ().

    Raises:
        ValueError: for other numbers of dimensions, or when the lengths differ. TypeError: when the dtypes differ.

    >>> mg.dot(mg.tensor([1.0, 2.0]), mg.tensor([3.0, 4.0]))
    tensor(11.)
    """
    return _ranked("dot", input, other, "other", (1, 1))


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """yᵢⱼ = aᵢ·bⱼ of two vectors: (M,), (N,) → (M, N).

    Raises:
        ValueError: for other numbers of dimensions.

    >>> mg.outer(mg.tensor([1, 2]), mg.tensor([3, 4]))
    tensor([[3, 4],
            [6, 8]])
    """
    a, b = tensor("outer", "input", input), tensor("outer", "vec2", vec2)
    if (a.ndim, b.ndim) != (1, 1):
        raise ValueError(f"outer needs two vectors, got shapes {a.shape} and {b.shape}")
    return ops.mul(ops.reshape(a, shape=(a.shape[0], 1)), ops.reshape(b, shape=(1, b.shape[0])))


def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta·x + alpha·(mat1 @ mat2): (M, N) or what broadcasts to it, (M, K), (K, N) → (M, N). With beta = 0 x is not looked at.

    Raises:
        ValueError: when the shapes don't fit. TypeError: when the matrices' dtypes differ.

    >>> mg.addmm(mg.tensor([1.0, 2.0]), mg.ones(2, 3), mg.ones(3, 2))
    tensor([[4., 5.],
            [4., 5.]])
    """
    who = "addmm"
    x, a, b = tensor(who, "input", input), tensor(who, "mat1", mat1), tensor(who, "mat2", mat2)
    if a.ndim != 2 or b.ndim != 2:
        raise ValueError(f"addmm needs matrices mat1 and mat2, got shapes {a.shape} and {b.shape}")
    product = _product(who, a, b, "mat2")
    outer, own = tensor_or_number(who, "alpha", alpha), tensor_or_number(who, "beta", beta)
    product = product if outer == 1 else product * outer
    return product if own == 0 else (x if own == 1 else x * own) + product


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = x·Wᵀ + b: (…, K) with the weight (O, K) and the bias (O,) → (…, O). A weight (K,) gives (…).

    Raises:
        ValueError: when the shapes don't fit. TypeError: when the dtypes differ.

    The operation (minigrad/ops/linalg.py):

        @op
        def linear(xp, x, w, b):
            y = xp.linear(_rows(xp, x), xp.transpose(w), b)
            return xp.reshape(y, (*x.shape[:-1], w.shape[0]))

        linear.defvjp(
            lambda ops, g, w: ops.linear(g, ops.mT(w), None),
            lambda ops, g, x: ops.linear_weight(g, x),
            lambda ops, g, x_shape: ops.sum(g, dim=tuple(range(len(x_shape) - 1)), keepdim=False),
        )

    >>> mg.nn.functional.linear(mg.tensor([1.0, 2.0]), mg.tensor([[1.0, 1.0]]), mg.tensor([0.5]))
    tensor([3.5])
    """
    given = [tensor("linear", "input", input), tensor("linear", "weight", weight)]
    if not input.ndim or weight.ndim not in (1, 2) or input.shape[-1] != weight.shape[-1]:
        raise ValueError(
            f"linear: an input of shape {input.shape} doesn't fit a weight of shape {weight.shape}; expected (…, K) and "
            "(O, K) or (K,)"
        )
    if bias is not None:
        given.append(tensor("linear", "bias", bias))
    _same_dtype("linear", *given)
    if bias is not None and bias.shape != weight.shape[:-1]:
        raise ValueError(
            f"linear: the bias of shape {bias.shape} doesn't fit a weight of shape {weight.shape}; expected {weight.shape[:-1]}"
        )
    if weight.ndim == 1:
        y = _product("linear", input, weight, "weight")
        return y if bias is None else y + bias
    return ops.linear(input, weight, bias)


# --- einsum -----------------------------------------------------------------------------------------------------------
def einsum(equation: str, *operands: Tensor | Sequence[Tensor]) -> Tensor:
    """Σ over the letters that the result lacks: einsum("nik,nkj->nij", a, b) is yₙᵢⱼ = Σₖ aₙᵢₖ·bₙₖⱼ.

    Shape: a dimension for each letter of the operand → one for each letter of the result.

    Operands are contracted from left to right, each pair as one batched matrix product.

    Args:
        equation: letters for the dimensions of each operand, separated by commas, and after -> those of the result (without
            it: the letters named once, in alphabetical order). A letter named twice in one operand means its diagonal,
            "..." any further dimensions, broadcast together.
        operands: the tensors, separately or as one list.

    Raises:
        ValueError: when letters, dimensions and sizes don't fit. TypeError: when something else than tensors is given.

    >>> mg.einsum("ij,j->i", mg.ones(2, 3), mg.ones(3))
    tensor([3., 3.])
    """
    if not isinstance(equation, str):
        raise TypeError(f"einsum: equation must be a string such as 'ij,jk->ik', got {type(equation).__name__}")
    listed = len(operands) == 1 and isinstance(operands[0], tuple | list)
    given = tensors("einsum", "operands", operands[0] if listed else operands)
    terms, result, sizes = _parse(equation, given)
    factors = [_prepared(x, term) for x, term in zip(given, terms, strict=True)]
    x, letters = factors[0]
    for n, (y, others) in enumerate(factors[1:], 1):
        later = set(result).union(*(t for _, t in factors[n + 1 :]))
        x, letters = _contract(x, letters, y, others, later, sizes)
    x = _summed(x, tuple([i for i, c in enumerate(letters) if c not in result]))
    letters = [c for c in letters if c in result]
    return ops.permute(x, dims=tuple([letters.index(c) for c in result])) if letters else x


def _summed(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return ops.sum(x if x.is_floating_point() else x.astype("int64"), dim=dims, keepdim=False) if dims else x


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
    x = _summed(x, alone_x)
    y = _summed(y, alone_y)
    a, b = [c for i, c in enumerate(a) if i not in alone_x], [c for i, c in enumerate(b) if i not in alone_y]
    batch, inner = [c for c in both if c in later], [c for c in both if c not in later]
    left, right = [c for c in a if c not in b], [c for c in b if c not in a]

    def grouped(t: Tensor, letters: list[str], groups: tuple[list[str], ...]) -> Tensor:
        order = [c for group in groups for c in group]
        t = ops.permute(t, dims=tuple([letters.index(c) for c in order])) if letters else t
        t = ops.broadcast_to(t, shape=tuple([sizes[c] for c in order]))
        return ops.reshape(t, shape=tuple([math.prod([sizes[c] for c in group]) for group in groups]))

    first = grouped(x, a, (batch, left, inner))
    product = _product("einsum", first, grouped(y, b, (batch, inner, right)), "operands")
    letters = batch + left + right
    return ops.reshape(product, shape=tuple([sizes[c] for c in letters])), letters
