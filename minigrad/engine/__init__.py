"""The engine. Read it in this order: modes.py (what is switched on), tensor.py (an array and its edge on the tape), operation.py
(operations and the nodes that record them), backward.py (the walk back), inplace.py (writes and views), fast.py (short ways; you
can delete it). A file imports those before it, but for three imports at a file's end: a tensor can go back along its tape and share
its memory (backward.py, inplace.py); an operation notes views (inplace.py) and may have a short way (fast.py)."""

from minigrad.engine.tensor import Tensor  # noqa: I001  (first: the others need it)
from minigrad.engine.operation import REGISTRY, Node, Op, elementwise, op

__all__ = ["REGISTRY", "Node", "Op", "Tensor", "elementwise", "op"]
