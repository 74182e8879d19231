"""What users call: PyTorch-shaped functions over the operations of `minigrad.ops`. `minigrad` and `Tensor` offer them.

arithmetic.py   add, pow, sqrt, …              shape.py, order.py  views, flip, triangles
exponential.py  exp, log, sin, tanh, …         join.py       cat, stack, split
choice.py       rounding, where, clamp         index.py, getitem.py  gather, x[…]
activation.py   relu, gelu, …                  linalg.py     matmul, linear, einsum
compare.py, bits.py  comparison, logic, bits   conv.py, pool.py  images
reduce.py       sums, means, any, all          attention.py  scaled dot products
extremes.py     max, argmax, …                 arguments.py  checks of what is given
normalization.py  softmax, layer_norm          methods.py    what Tensor has of all this
copies.py       another dtype or device  writes.py, turning.py  in place: add_, x[…] = v, t_
"""

from minigrad.functions import (
    activation,
    arithmetic,
    attention,
    bits,
    choice,
    compare,
    conv,
    copies,
    exponential,
    extremes,
    index,
    join,
    linalg,
    normalization,
    order,
    pool,
    reduce,
    shape,
)
from minigrad.functions.activation import *  # noqa: F403
from minigrad.functions.arithmetic import *  # noqa: F403
from minigrad.functions.attention import *  # noqa: F403
from minigrad.functions.bits import *  # noqa: F403
from minigrad.functions.choice import *  # noqa: F403
from minigrad.functions.compare import *  # noqa: F403
from minigrad.functions.conv import *  # noqa: F403
from minigrad.functions.copies import *  # noqa: F403
from minigrad.functions.exponential import *  # noqa: F403
from minigrad.functions.extremes import *  # noqa: F403
from minigrad.functions.index import *  # noqa: F403
from minigrad.functions.join import *  # noqa: F403
from minigrad.functions.linalg import *  # noqa: F403
from minigrad.functions.normalization import *  # noqa: F403
from minigrad.functions.order import *  # noqa: F403
from minigrad.functions.pool import *  # noqa: F403
from minigrad.functions.reduce import *  # noqa: F403
from minigrad.functions.shape import *  # noqa: F403

_FAMILIES = (
    arithmetic,
    exponential,
    choice,
    activation,
    compare,
    bits,
    reduce,
    extremes,
    normalization,
    copies,
    shape,
    order,
    join,
    index,
    linalg,
    conv,
    pool,
    attention,
)
# Not assigned plainly: a type checker can't follow a computed `__all__` and would take it that nothing is exported.
globals()["__all__"] = [name for family in _FAMILIES for name in family.__all__]

from minigrad.functions import methods  # noqa: E402  (takes the functions from here)
