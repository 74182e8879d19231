"""The operations: every differentiable one with its derivative beside it. `minigrad.engine.operation` explains the notation.

elementwise.py  arithmetic, exp, choice        index.py          indexing, gather, scatter
activation.py   relu, gelu, …                  linalg.py         matmul, linear, einsum
compare.py      comparison, logic, bits        conv.py, pool.py  images
reduce.py       sums, extremes, softmax        fused.py          operations that a backend may override
shape.py        views, padding, dtype, device  operators.py      what +, *, [] mean
join.py         cat, stack, split
"""

from types import FunctionType as _FunctionType

from minigrad.autograd.guard import guarded as _guarded
from minigrad.engine.tensor import Tensor
from minigrad.ops import index
from minigrad.ops.activation import elu, leaky_relu, relu, softplus
from minigrad.ops.compare import (
    bitwise_and,
    bitwise_left_shift,
    bitwise_not,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    eq,
    ge,
    gt,
    isfinite,
    isinf,
    isnan,
    le,
    logical_and,
    logical_not,
    logical_or,
    lt,
    ne,
)  # fmt: skip
from minigrad.ops.conv import conv1d, conv2d, conv_transpose2d
from minigrad.ops.elementwise import (
    abs,
    add,
    ceil,
    clamp,
    cos,
    div,
    erf,
    exp,
    expm1,
    floor,
    floor_divide,
    log,
    log1p,
    masked_fill,
    maximum,
    minimum,
    mul,
    neg,
    pow,
    reciprocal,
    remainder,
    round,
    rsqrt,
    sigmoid,
    sign,
    sin,
    sqrt,
    square,
    sub,
    tanh,
    where,
)  # fmt: skip
from minigrad.ops.fused import gelu, layer_norm, scaled_dot_product_attention
from minigrad.ops.index import (
    diagonal,
    embedding,
    gather,
    getitem,
    index_add,
    index_select,
    masked_select,
    narrow,
    one_hot,
    scatter_add,
    select,
    setitem,
    take_along_dim,
)  # fmt: skip
from minigrad.ops.join import cat, chunk, split, stack, unbind
from minigrad.ops.linalg import addmm, bmm, dot, einsum, linear, matmul, mm, mv, outer
from minigrad.ops.pool import adaptive_avg_pool2d, avg_pool2d, interpolate, max_pool2d
from minigrad.ops.reduce import (
    all,
    amax,
    amin,
    any,
    argmax,
    argmin,
    cumsum,
    log_softmax,
    logsumexp,
    max,
    mean,
    min,
    prod,
    softmax,
    std,
    sum,
    var,
)  # fmt: skip
from minigrad.ops.shape import (
    broadcast_to,
    cast,
    clone,
    contiguous,
    expand,
    expand_as,
    flatten,
    flip,
    pad_zeros,
    permute,
    repeat,
    reshape,
    roll,
    squeeze,
    t,
    to_device,
    transpose,
    tril,
    triu,
    unflatten,
    unsqueeze,
    view,
    view_as,
)  # fmt: skip

METHODS = (
    "abs add addmm all amax amin any argmax argmin bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift "
    "bitwise_xor bmm broadcast_to ceil chunk clamp clone contiguous cos cumsum diagonal div "
    "dot eq erf exp expand expand_as expm1 flatten flip floor floor_divide gather ge gt index_add index_select isfinite isinf "
    "isnan le log log1p log_softmax logical_and logical_not logical_or logsumexp lt masked_fill masked_select matmul max "
    "maximum mean min minimum mm mul mv narrow ne neg outer permute pow prod reciprocal relu remainder repeat reshape roll "
    "round rsqrt scatter_add select sigmoid sign sin softmax split sqrt square squeeze std sub sum t take_along_dim tanh "
    "transpose tril triu unbind unflatten unsqueeze var view view_as where"
).split()

ALIASES = {"subtract": sub, "multiply": mul, "divide": div, "negative": neg, "greater": gt, "less": lt, "swapaxes": transpose,
           "absolute": abs, "concat": cat, "clip": clamp, "not_equal": ne}  # fmt: skip

for _name, _function in list(globals().items()):
    if isinstance(_function, _FunctionType) and _function is not _guarded:
        globals()[_name] = _guarded(_function, __name__)
for _name in METHODS:
    setattr(Tensor, _name, globals()[_name])
for _name, _function in ALIASES.items():
    globals()[_name] = _function
    setattr(Tensor, _name, _function)
Tensor.where = lambda self, condition, other: where(condition, self, other)  # type: ignore[attr-defined]
# PyTorch's function of this name is another one, F.unfold.
Tensor.unfold = _guarded(index.unfold, index.__name__)  # type: ignore[attr-defined]

from minigrad.ops import operators  # noqa: E402, F401  (gives Tensor its operators)
