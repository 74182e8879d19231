"""Embedding."""

from minigrad import checks
from minigrad.engine.inplace import assign
from minigrad.engine.tensor import Tensor
from minigrad.nn import functional as F
from minigrad.nn import init
from minigrad.nn.module import Module, Parameter, zeros


class Embedding(Module):
    """A table of vectors looked up by integers: any shape of indices -> that shape + (embedding_dim,).

    `weight` is (num_embeddings, embedding_dim), standard normal at the start.

    Args:
        padding_idx: the row that means "nothing": it starts as zeros and gets no gradient.

    >>> import minigrad as mg
    >>> mg.nn.Embedding(10, 4)(mg.tensor([[1, 2, 3], [4, 5, 9]])).shape
    (2, 3, 4)
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, *, device=None, dtype=None
    ):  # fmt: skip
        num_embeddings = checks.whole("Embedding", "num_embeddings", num_embeddings)
        embedding_dim = checks.whole("Embedding", "embedding_dim", embedding_dim)
        padding_idx = None if padding_idx is None else checks.whole("Embedding", "padding_idx", padding_idx)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(f"Embedding: padding_idx={padding_idx} must lie within num_embeddings={num_embeddings}")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = padding_idx if padding_idx is None or padding_idx >= 0 else num_embeddings + padding_idx
        self.weight = Parameter(zeros(num_embeddings, embedding_dim, dtype=dtype, device=device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Standard normal, zeros in the padding row."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            values = self.weight.detach().numpy().copy()
            values[self.padding_idx] = 0
            assign(self.weight, self.weight.backend.asarray(values, self.weight.dtype.name))

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
