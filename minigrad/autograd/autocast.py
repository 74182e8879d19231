"""Mixed precision: which operations compute in 16 bits, which in 32, while `autocast` is on.

The engine calls `cast_inputs` before it runs an operation, as `state.cast` (`Op.__call__`; `Fused.__call__` for operations with kernels).
The casts are operations of their own on the tape, whose derivatives cast back. So parameters and their gradients stay in
float32 although products are computed in 16 bits. Backward runs without autocast: a derivative works in the dtypes of what
was saved.
"""

from typing import Literal, Self

from minigrad.checks import told
from minigrad.dtypes import HALVES
from minigrad.dtypes import dtype as as_dtype
from minigrad.engine.modes import AUTOCAST, state
from minigrad.switches import Switch

# Products, where the time goes, and what a sum of many terms accumulates in is the array library's affair (float32).
LOW = frozenset("attention attention_weights conv2d conv2d_input conv_mlp linear matmul".split())
# Sums, norms, losses, and functions whose results leave the range of float16 (largest number 65,504).
HIGH = frozenset(
    "bce_with_logits cross_entropy cumsum exp expm1 layer_norm log log1p log_softmax logsumexp mean pow reciprocal rsqrt softmax "
    "softplus square sum weighted_bce_with_logits window_sum".split()
)

CASTABLE = HALVES | {"float32"}


class autocast(Switch):
    """Context manager and decorator: mixed precision for the forward pass. Micikevicius et al. 2018, arXiv 1710.03740.

    Inside, matrix products, convolutions and attention cast their inputs to `dtype`; sums, means, softmax, norms, losses,
    powers and exponentials cast theirs to float32; every other operation keeps its inputs' dtype, and float32 meeting 16 bits
    gives float32. Parameters stay as they are, and so do their gradients and the optimiser. Call `backward` and
    `optimizer.step()` outside or inside: they take no notice of it.

    Args:
        dtype: "float16" (needs a `GradScaler` in training, lest small gradients become 0), "bfloat16" (as wide a range as
            float32, fewer digits), or "auto": what the device computes quickly, see `python -m minigrad info`.
        enabled: False switches casting off inside an outer autocast.

    Raises:
        ValueError: for another dtype. TypeError: at the first product of tensors on the CPU backend, for "bfloat16", which
            numpy lacks (float16 it has, but computes slowly).

    >>> import minigrad as mg
    >>> layer, x = mg.nn.Linear(4, 2), mg.ones(3, 4)
    >>> with mg.autocast("float16"):
    ...     y = layer(x)
    ...     loss = (y * y).mean()
    >>> y.dtype, loss.dtype
    (minigrad.float16, minigrad.float32)
    >>> loss.backward()
    >>> layer.weight.grad.dtype
    minigrad.float32
    """

    def __init__(self, dtype="auto", enabled: bool = True):
        try:
            self.dtype = "auto" if isinstance(dtype, str) and dtype == "auto" else as_dtype(dtype).name
        except TypeError:
            self.dtype = ""
        if self.dtype not in HALVES | {"auto"}:
            raise ValueError(f"autocast takes 'float16', 'bfloat16' or 'auto', got {told(dtype)}")
        self.enabled = enabled
        self._before: list[tuple] = []

    def _recreate_cm(self) -> Self:
        return type(self)(self.dtype, self.enabled)

    def __enter__(self) -> Self:
        self._before.append((state.mode & AUTOCAST, state.low, state.cast))
        state.mode = state.mode | AUTOCAST if self.enabled else state.mode & ~AUTOCAST
        state.low, state.cast = self.dtype, cast_inputs
        return self

    def __exit__(self, *exc: object) -> Literal[False]:
        bit, state.low, state.cast = self._before.pop()
        state.mode = state.mode & ~AUTOCAST | bit
        return False


def is_autocast_enabled() -> bool:
    """Whether mixed precision is on in this thread."""
    return bool(state.mode & AUTOCAST)


def autocast_state() -> autocast:
    """A context manager that brings back the present state: a part of the forward that is computed again needs it."""
    return autocast(state.low, is_autocast_enabled())


def cast_inputs(name: str, inputs: tuple) -> tuple:
    """The inputs of an operation in the dtype in which it computes under autocast."""
    if name in HIGH:
        return tuple([t.astype("float32") if hasattr(t, "_edge") and t.dtype.name in HALVES else t for t in inputs])
    if name not in LOW:
        return inputs
    return tuple([_low(t, name) if hasattr(t, "_edge") else t for t in inputs])


def _low(t, name: str):
    low = t.backend.low_precision() if state.low == "auto" else state.low
    if t.dtype.name == low or t.dtype.name not in CASTABLE:
        return t
    if low not in t.backend.dtypes:
        raise TypeError(
            f"{name}: device {t.device!r} has no {low} to cast to; use autocast('float16') there, or device 'mlx'"
        )
    return t.astype(low)
