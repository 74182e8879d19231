"""The operations: every differentiable one with its derivative beside it. `minigrad.engine.operation` explains the notation.

Each is called with tensors and with its static parameters by name, `ops.sum(a, dim=(0,), keepdim=True)`; what users call is
in `minigrad.functions`.

elementwise.py  arithmetic, exp, choice        join.py      cat, stack, split
activation.py   relu, gelu, …                  index.py     getitem and its transpose, scatter
compare.py      comparison, logic, bits        linalg.py    matmul, linear
reduce.py       sums, extremes, softmax        conv.py, pool.py  images
shape.py        views, padding, dtype, device  fused.py     operations that a backend may override
"""

from minigrad.backend import with_each as _with_each
from minigrad.kernels.registry import load as _load
from minigrad.ops import activation, compare, conv, elementwise, fused, index, join, linalg, pool, reduce, shape
from minigrad.ops.activation import *  # noqa: F403
from minigrad.ops.compare import *  # noqa: F403
from minigrad.ops.conv import *  # noqa: F403
from minigrad.ops.elementwise import *  # noqa: F403
from minigrad.ops.fused import *  # noqa: F403
from minigrad.ops.index import *  # noqa: F403
from minigrad.ops.join import *  # noqa: F403
from minigrad.ops.linalg import *  # noqa: F403
from minigrad.ops.pool import *  # noqa: F403
from minigrad.ops.reduce import *  # noqa: F403
from minigrad.ops.shape import *  # noqa: F403

_with_each(_load)  # the kernels for these operations, with their backend

_FAMILIES = (elementwise, activation, compare, reduce, shape, join, index, linalg, conv, pool, fused)
# Not assigned plainly: a type checker can't follow a computed `__all__` and would take it that nothing is exported.
globals()["__all__"] = [name for family in _FAMILIES for name in family.__all__]
