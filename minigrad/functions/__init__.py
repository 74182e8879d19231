"""What users call: PyTorch-shaped functions over the operations of `minigrad.ops`. `minigrad` and `Tensor` offer them.

elementwise.py  arithmetic, exp, choice        join.py       cat, stack, split
activation.py   relu, gelu, …                  linalg.py     matmul, linear, einsum
compare.py      comparison, logic, bits        conv.py, pool.py  images
reduce.py       sums, extremes, softmax        attention.py  scaled dot products
shape.py        views, padding, dtype, device  arguments.py  dimensions and sizes in one form
index.py        indexing, gather               methods.py    what Tensor has of all this
"""

from types import FunctionType as _FunctionType

from minigrad.autograd.guard import guarded as _guarded
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

# Families whose functions leave it to a wrapper to say which argument is no tensor. All others check what they must know.
_GUARDED = (shape, join, index, linalg, conv, pool, attention)
_PLAIN = (
    "cast",
    "clone",
    "pad_zeros",
    "to_device",
)  # hand what they get to an operation, which says what is wrong with it
_guards: dict[_FunctionType, object] = {}
for _family in _GUARDED:
    for _name in _family.__all__:
        _function = globals()[_name]
        if _function.__name__ not in _PLAIN:
            if _function not in _guards:
                _guards[_function] = _guarded(_function, __name__)
            globals()[_name] = _guards[_function]

from minigrad.functions import methods  # noqa: E402  (takes the functions from here)
