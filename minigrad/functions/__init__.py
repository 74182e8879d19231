"""What users call: PyTorch-shaped functions over the operations of `minigrad.ops`. `minigrad` and `Tensor` offer them.

elementwise.py  arithmetic, exp, choice        join.py       cat, stack, split
activation.py   relu, gelu, …                  linalg.py     matmul, linear, einsum
compare.py      comparison, logic, bits        conv.py, pool.py  images
reduce.py       sums, extremes, softmax        attention.py  scaled dot products
shape.py        views, padding, dtype, device  arguments.py  dimensions and sizes in one form
index.py        indexing, gather               methods.py    what Tensor has of all this
"""

from minigrad.functions import (
    activation,
    attention,
    compare,
    conv,
    elementwise,
    index,
    join,
    linalg,
    pool,
    reduce,
    shape,
)
from minigrad.functions.activation import *  # noqa: F403
from minigrad.functions.attention import *  # noqa: F403
from minigrad.functions.compare import *  # noqa: F403
from minigrad.functions.conv import *  # noqa: F403
from minigrad.functions.elementwise import *  # noqa: F403
from minigrad.functions.index import *  # noqa: F403
from minigrad.functions.join import *  # noqa: F403
from minigrad.functions.linalg import *  # noqa: F403
from minigrad.functions.pool import *  # noqa: F403
from minigrad.functions.reduce import *  # noqa: F403
from minigrad.functions.shape import *  # noqa: F403

_FAMILIES = (elementwise, activation, compare, reduce, shape, join, index, linalg, conv, pool, attention)
# Not assigned plainly: a type checker can't follow a computed `__all__` and would take it that nothing is exported.
globals()["__all__"] = [name for family in _FAMILIES for name in family.__all__]

from minigrad.functions import methods  # noqa: E402  (takes the functions from here)
