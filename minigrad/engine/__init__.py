"""The engine. Read it in this order: modes.py (what is switched on), tensor.py (an array and its place on the tape), operation.py
(operations and the nodes that record them), backward.py (the walk back), inplace.py (writes and views), fast.py (short ways; you
can delete it)."""

from minigrad.engine.tensor import Tensor  # noqa: I001  (first: the others need it)
from minigrad.engine.operation import REGISTRY, Node, Op, elementwise, op

__all__ = ["REGISTRY", "Node", "Op", "Tensor", "elementwise", "op"]
