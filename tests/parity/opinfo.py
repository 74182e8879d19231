"""PyTorch's operator database (OpInfo) put to minigrad: the operators, their samples, and what counts as equal.

The adapter changes arrays, dtypes and devices into minigrad's and nothing else: the names, order and defaults of a sample's
arguments reach minigrad as they reach PyTorch. Where the database calls an operator through a lambda of its own
(`lambda x, shape: x.view(shape)`), the same lambda runs with minigrad in the place of `torch`.
"""

import random
import types
from dataclasses import dataclass

import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db

import minigrad as mg
from minigrad.nn import functional as F
from minigrad.nn.functional import noise

OPERATORS = (
    "add sub mul div neg abs pow exp log sqrt rsqrt square reciprocal sign sin cos tanh sigmoid erf clamp maximum minimum "
    "where eq ne lt le gt ge sum mean prod var std amax amin max min argmax argmin any all cumsum logsumexp softmax "
    "log_softmax reshape view flatten permute transpose t T mT squeeze unsqueeze expand broadcast_to repeat cat stack split "
    "chunk unbind flip roll narrow select tril triu contiguous __getitem__ gather index_select masked_fill matmul mm bmm mv "
    "dot outer einsum addmm unfold"
).split()
FUNCTIONAL = (
    "linear relu gelu silu leaky_relu elu softplus layer_norm group_norm batch_norm conv1d conv2d conv_transpose2d avg_pool2d "
    "adaptive_avg_pool2d max_pool2d interpolate pad unfold scaled_dot_product_attention embedding one_hot cross_entropy "
    "nll_loss mse_loss l1_loss smooth_l1_loss binary_cross_entropy_with_logits dropout"
).split()
ALSO = (  # what minigrad has beyond that
    "log1p expm1 floor ceil round isnan isinf isfinite logical_and logical_or logical_not floor_divide remainder unflatten "
    "scatter_add index_add take_along_dim masked_select diagonal clone expand_as view_as __radd__ __rmul__ __rsub__ "
    "__rmatmul__ nn.functional.selu nn.functional.logsigmoid nn.functional.normalize bitwise_and bitwise_or bitwise_xor "
    "bitwise_not bitwise_left_shift bitwise_right_shift __rand__ __ror__ __rxor__"
).split()
LEFT_OUT = {  # variants of an operator above that minigrad doesn't offer
    f"nn.functional.interpolate.{mode}" for mode in ("nearest-exact", "linear", "bicubic", "trilinear", "area")
}

# What torch.testing.assert_close allows; absolute errors are measured against the largest element, where that is above 1.
TOLERANCE = {"float64": (1e-7, 1e-7), "float32": (1.3e-6, 1e-5)}
DTYPES = {getattr(torch, name): getattr(mg, name) for name in mg.dtypes.ALL if name != "bool"} | {torch.bool: mg.bool}


class Differs(AssertionError):
    """minigrad's answer is not PyTorch's."""


def name_of(info) -> str:
    return info.name + ("." + info.variant_test_name if info.variant_test_name else "")


def entries() -> list:
    """The database's entries for the operators, every variant."""
    names = {*OPERATORS, *ALSO, *("nn.functional." + name for name in FUNCTIONAL)}
    return [info for info in op_db if info.name in names and name_of(info) not in LEFT_OUT]


def samples(info, dtype: torch.dtype) -> list:
    """The database's samples, the same ones in every run."""
    return _seeded(info.sample_inputs, info, dtype)


def reference_samples(info, dtype: torch.dtype) -> list:
    """Its reference inputs, the same ones in every run: more shapes, layouts, broadcasting, and large and special values."""
    return _seeded(info.reference_inputs, info, dtype) if info.reference_inputs_func is not None else []


def _seeded(inputs, info, dtype) -> list:
    gradients = info.supports_autograd and dtype.is_floating_point
    if inputs == info.reference_inputs and info.name in ("clamp", "where"):
        gradients = False  # these generators ask for a gradient of integers, too, which PyTorch refuses
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    return list(inputs("cpu", dtype, requires_grad=gradients))


def tensors(value) -> list:
    """The tensors somewhere in a sample's arguments."""
    if isinstance(value, dict):
        return tensors(list(value.values()))
    if isinstance(value, tuple | list):
        return [t for v in value for t in tensors(v)]
    return [value] if isinstance(value, torch.Tensor) else []


# --- the adapter ------------------------------------------------------------------------------------------------------
def same_dropout(function, *args, **kwargs):
    """The database's seeded call: F.dropout draws PyTorch's mask of that seed."""

    def keep_mask(input, shape, p, name):
        with torch.random.fork_rng():
            torch.manual_seed(42)
            mask = torch.nn.functional.dropout(torch.ones(shape, dtype=getattr(torch, input.dtype.name)), p)
        return mg.tensor(mask.numpy(), device=input.device)

    own, noise.keep_mask = noise.keep_mask, keep_mask
    try:
        return function(*args, **kwargs)
    finally:
        noise.keep_mask = own


def forms(info) -> dict:
    """minigrad's spellings of an operator: the function's and, where PyTorch has one, the method's."""
    if (
        isinstance(info.op, types.FunctionType)
        and info.op.__module__ == "torch.testing._internal.common_methods_invocations"
    ):
        found = {"function": types.FunctionType(info.op.__code__, {"torch": mg, "wrapper_set_seed": same_dropout})}
    elif info.name.startswith("nn.functional."):
        found = {"function": getattr(F, info.name.rpartition(".")[2])}
    elif info.name.startswith("__"):
        found = {}
    else:
        found = {"function": getattr(mg, info.name)}
    if getattr(info.method_variant, "__name__", None) == info.name and hasattr(torch.Tensor, info.name):
        found["method"] = getattr(mg.Tensor, info.name)
    return found


class Arguments:
    """The arguments of a call once as PyTorch's and once as minigrad's, with the tensors of both side by side."""

    def __init__(self, args: tuple, kwargs: dict, device: str):
        self.device, self.seen, self.pairs = device, {}, []
        self.torch = [self.fresh(part) for part in (args, kwargs)]
        self.own = [self.converted(part) for part in self.torch]

    def fresh(self, value):
        """The value with its tensors as leaves of their own."""
        return nested(value, lambda t: self.once(t, lambda: t.detach().clone().requires_grad_(t.requires_grad)))

    def converted(self, value):
        return nested(value, lambda t: self.once(t, lambda: self.tensor(t)), DTYPES, self.device)

    def once(self, t, make):
        if id(t) not in self.seen:
            self.seen[id(t)] = make(), t
        return self.seen[id(t)][0]

    def tensor(self, t):
        own = mg.tensor(t.detach().numpy(), device=self.device, requires_grad=t.requires_grad)
        self.pairs.append((own, t))
        return own


def nested(value, tensor, dtypes=None, device=None):
    """`value` with `tensor` applied to every tensor in it, and dtypes and devices replaced where a table is given."""
    if isinstance(value, torch.Tensor):
        return tensor(value)
    if isinstance(value, torch.dtype) and dtypes:
        return dtypes[value]
    if isinstance(value, torch.device) and device:
        return device
    if isinstance(value, dict):
        return {k: nested(v, tensor, dtypes, device) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return (list if isinstance(value, list) else tuple)(nested(v, tensor, dtypes, device) for v in value)
    return value


# --- one sample -------------------------------------------------------------------------------------------------------
@dataclass
class Wanted:
    """PyTorch's outputs, cotangents for those that can be differentiated, and the gradients of the inputs."""

    outputs: list
    cotangents: list
    grads: list


def leaves(value) -> list:
    if isinstance(value, tuple | list):
        return [leaf for v in value for leaf in leaves(v)]
    return [value]


def ask_torch(function, arguments: Arguments) -> Wanted:
    args, kwargs = arguments.torch
    outputs = leaves(function(*args, **kwargs))
    live = [y for y in outputs if isinstance(y, torch.Tensor) and y.requires_grad]
    rng = np.random.default_rng(0)
    cotangents = [torch.tensor(rng.normal(size=tuple(y.shape)), dtype=y.dtype) for y in live]
    inputs = [t for _, t in arguments.pairs if t.requires_grad]
    grads = (
        torch.autograd.grad(live, inputs, cotangents, allow_unused=True, materialize_grads=True)
        if live and inputs
        else []
    )
    return Wanted(outputs, cotangents, list(grads))


def check(form, arguments: Arguments, wanted: Wanted) -> None:
    """Calls a minigrad function on the arguments; raises `Differs`, or what the function raises."""
    args, kwargs = arguments.own
    outputs = leaves(form(*args, **kwargs))
    if len(outputs) != len(wanted.outputs):
        raise Differs(f"{len(outputs)} outputs instead of {len(wanted.outputs)}")
    live = []
    for i, (mine, theirs) in enumerate(zip(outputs, wanted.outputs, strict=True)):
        if not isinstance(theirs, torch.Tensor):
            if mine != theirs:
                raise Differs(f"output {i} is {mine!r} instead of {theirs!r}")
            continue
        compare(f"output {i}", mine, theirs)
        if mine.requires_grad != theirs.requires_grad:
            raise Differs(f"output {i} {'requires' if mine.requires_grad else 'lacks'} a gradient")
        if theirs.requires_grad:
            live.append(mine)
    if wanted.grads:
        inputs = [own for own, t in arguments.pairs if t.requires_grad]
        cotangents = [mg.tensor(g.numpy(), device=arguments.device) for g in wanted.cotangents]
        grads = mg.grad(live, inputs, cotangents, allow_unused=True)
        for i, (mine, theirs) in enumerate(zip(grads, wanted.grads, strict=True)):
            mine = mg.zeros_like(inputs[i]) if mine is None else mine
            compare(f"the gradient of input {i}", mine, theirs)


def compare(what: str, mine, theirs: torch.Tensor) -> None:
    """Same dtype, same shape, same values within the tolerance, NaN and infinities in the same places."""
    if not isinstance(mine, mg.Tensor):
        raise Differs(f"{what} is a {type(mine).__name__}")
    if not isinstance(mine.array, mine.backend.array_type):
        raise Differs(f"{what} holds a {type(mine.array).__name__}")
    if mine.dtype is not DTYPES[theirs.dtype] or mine.shape != tuple(theirs.shape):
        raise Differs(f"{what} is {mine.dtype.name} {mine.shape} instead of {theirs.dtype} {tuple(theirs.shape)}")
    a, b = mine.detach().numpy(), theirs.detach().numpy()
    if mine.dtype.name not in TOLERANCE:
        good = np.array_equal(a, b)
    else:
        rtol, atol = TOLERANCE[mine.dtype.name]
        atol *= max(1, np.abs(b, where=np.isfinite(b), out=np.zeros_like(b)).max(initial=0))
        good = np.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True)
    if not good:
        with np.errstate(invalid="ignore"):
            worst = np.nanmax(np.abs(a.astype(np.float64) - b), initial=0)
        raise Differs(f"{what} differs by up to {worst:.2g}: {short(a)} instead of {short(b)}")


def short(a: np.ndarray) -> str:
    return np.array2string(a.reshape(-1), threshold=4, edgeitems=2, precision=8).replace("\n", "")


def described(sample) -> str:
    """A sample in one line, tensors by dtype and shape."""

    def text(value):
        if isinstance(value, torch.Tensor):
            return f"{str(value.dtype)[6:]}{tuple(value.shape)}"
        if isinstance(value, tuple | list):
            return "[" + ", ".join(map(text, value)) + "]"
        return repr(value)

    return ", ".join(
        [text(sample.input), *map(text, sample.args), *(f"{k}={text(v)}" for k, v in sample.kwargs.items())]
    )
