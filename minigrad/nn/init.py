"""Initial values. Each function replaces a tensor's values and returns the tensor.

The random numbers come from a host generator (`generator`, or `minigrad.random.default`) in float64 and are rounded to
the tensor's dtype, so that the same seed gives the same weights on every device. Fans are PyTorch's: for a weight of
shape (out, in, kernel…) fan_in = in · kernel size, fan_out = out · kernel size.
"""

import contextlib
import math
import threading
from collections.abc import Iterator

import numpy as np

from minigrad import checks, random
from minigrad.engine import inplace
from minigrad.engine.tensor import Tensor


class _State(threading.local):
    drawing = True  # whether random numbers are drawn
    weightless = False  # whether layers are made without weights


_state = _State()


@contextlib.contextmanager
def no_random() -> Iterator[None]:
    """Inside, `uniform_`, `normal_` and `trunc_normal_`, and what is made of them, leave tensors as they are: for a model
    whose weights are loaded next."""
    before, _state.drawing = _state.drawing, False
    try:
        yield
    finally:
        _state.drawing = before


@contextlib.contextmanager
def no_weights() -> Iterator[None]:
    """Inside, layers are made without weights: their parameters have shapes and dtypes, take no memory, and every function here
    leaves them as they are. For finding out what tensors a model has.

    >>> import minigrad as mg
    >>> with mg.nn.init.no_weights():
    ...     layer = mg.nn.Linear(100_000, 1_000_000)  # 400 GB
    >>> {name: tensor.shape for name, tensor in layer.state_dict().items()}
    {'weight': (1000000, 100000), 'bias': (1000000,)}
    """
    before, _state.weightless = _state.weightless, True
    try:
        with no_random():
            yield
    finally:
        _state.weightless = before


def weightless() -> bool:
    """Whether layers are made without weights, here and now."""
    return _state.weightless


def _checked(who: str, tensor: Tensor, **numbers: float) -> Tensor:
    """The tensor, if it is one and the others are numbers."""
    for name, value in numbers.items():
        checks.number(who, name, value)
    return checks.tensor(who, "tensor", tensor)


def _set(tensor: Tensor, values) -> Tensor:
    if _state.weightless:
        return tensor
    array = np.array(np.broadcast_to(values, tensor.shape), order="C")
    inplace.assign(tensor, tensor.backend.asarray(array, tensor.dtype.name))
    return tensor


def _rng(generator: random.Generator | None) -> random.Generator:
    return random.given(generator)


def _fans(tensor: Tensor) -> tuple[int, int]:
    if tensor.ndim < 2:
        raise ValueError(f"fan in and fan out need a tensor of at least 2 dimensions, got shape {tensor.shape}")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which a nonlinearity wants its input's deviation raised: 1 for linear, conv* and sigmoid, 5/3 for
    tanh, √2 for relu, √(2/(1 + param²)) for leaky_relu (slope `param`, 0.01 if None), 3/4 for selu."""
    checks.text("calculate_gain", "nonlinearity", nonlinearity)
    if nonlinearity in ("linear", "sigmoid", *(f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3))):
        return 1.0
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else checks.number("calculate_gain", "param", param)
        return math.sqrt(2 / (1 + slope**2))
    gains = {"tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75}
    if nonlinearity not in gains:
        raise ValueError(
            f"unknown nonlinearity {nonlinearity!r}; choose linear, conv2d, sigmoid, tanh, relu, leaky_relu or selu"
        )
    return gains[nonlinearity]


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Every element `val`."""
    return _set(_checked("constant_", tensor, val=val), val)


def zeros_(tensor: Tensor) -> Tensor:
    """Every element 0."""
    return _set(_checked("zeros_", tensor), 0)


def ones_(tensor: Tensor) -> Tensor:
    """Every element 1."""
    return _set(_checked("ones_", tensor), 1)


def eye_(tensor: Tensor) -> Tensor:
    """A matrix with ones on its diagonal."""
    if _checked("eye_", tensor).ndim != 2:
        raise ValueError(f"eye_ needs a matrix, got shape {tensor.shape}")
    return _set(tensor, np.eye(tensor.shape[0], tensor.shape[1]))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """A convolution weight (out, in/groups, kernel…) that copies channel i to channel i, while there are channels."""
    groups = checks.whole("dirac_", "groups", groups)
    if not 3 <= _checked("dirac_", tensor).ndim <= 5 or groups < 1 or tensor.shape[0] % groups:
        raise ValueError(
            f"dirac_ needs 3 to 5 dimensions and shape[0] divisible by groups={groups}, got shape {tensor.shape}"
        )
    values = np.zeros(tensor.shape)
    size = tensor.shape[0] // groups
    middle = tuple(n // 2 for n in tensor.shape[2:])
    for i in range(tensor.shape[0]):
        if i % size < tensor.shape[1]:
            values[(i, i % size, *middle)] = 1
    return _set(tensor, values)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: random.Generator | None = None) -> Tensor:
    """Uniform in [a, b)."""
    _checked("uniform_", tensor, a=a, b=b)
    return _set(tensor, _rng(generator).uniform(tensor.shape, a, b)) if _state.drawing else tensor


def uniform_bias_(bias: Tensor | None, weight: Tensor) -> None:
    """PyTorch's start of a bias beside `weight`: uniform in ±1/√fan_in. None stays None."""
    if bias is not None:
        checks.tensor("uniform_bias_", "bias", bias)
        checks.tensor("uniform_bias_", "weight", weight)
        bound = 1 / math.sqrt(max(_fans(weight)[0], 1))
        uniform_(bias, -bound, bound)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: random.Generator | None = None) -> Tensor:
    """Normal with the given mean and standard deviation."""
    _checked("normal_", tensor, mean=mean, std=std)
    return _set(tensor, _rng(generator).normal(tensor.shape, mean, std)) if _state.drawing else tensor


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: random.Generator | None = None,
) -> Tensor:
    """A normal distribution cut off at `a` and `b`, which are values, not multiples of `std`.

    Raises:
        ValueError: unless std > 0 and a < b, both finite.

    >>> import minigrad as mg
    >>> x = mg.nn.init.trunc_normal_(mg.zeros(1000), std=1.0, a=0.5, b=0.75)
    >>> bool((x >= 0.5).all()), bool((x <= 0.75).all())
    (True, True)
    """
    _checked("trunc_normal_", tensor, mean=mean, std=std, a=a, b=b)
    if not _state.drawing:
        return tensor
    return _set(tensor, _rng(generator).truncated_normal(tensor.shape, mean, std, a, b))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: random.Generator | None = None) -> Tensor:
    """Uniform in ±gain·√(6/(fan_in + fan_out)) (Glorot & Bengio 2010)."""
    _checked("xavier_uniform_", tensor, gain=gain)
    bound = gain * math.sqrt(6 / max(sum(_fans(tensor)), 1))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: random.Generator | None = None) -> Tensor:
    """Normal with deviation gain·√(2/(fan_in + fan_out)) (Glorot & Bengio 2010)."""
    _checked("xavier_normal_", tensor, gain=gain)
    return normal_(tensor, 0.0, gain * math.sqrt(2 / max(sum(_fans(tensor)), 1)), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    fan = _fans(tensor)[checks.choice("kaiming", "mode", mode, ("fan_in", "fan_out")) == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: random.Generator | None = None,
) -> Tensor:
    """Uniform with deviation gain/√fan, bounds ±√3·gain/√fan (He et al. 2015); `a` is leaky_relu's slope."""
    _checked("kaiming_uniform_", tensor, a=a)
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: random.Generator | None = None,
) -> Tensor:
    """Normal with deviation gain/√fan (He et al. 2015); `a` is leaky_relu's slope."""
    _checked("kaiming_normal_", tensor, a=a)
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: random.Generator | None = None) -> Tensor:
    """Orthonormal rows (or columns, whichever are fewer) of the tensor seen as a matrix (shape[0], rest), times `gain`:
    the Q of a random matrix's QR factors, with R's diagonal made positive (Saxe et al. 2013)."""
    if _checked("orthogonal_", tensor, gain=gain).ndim < 2:
        raise ValueError(f"orthogonal_ needs at least 2 dimensions, got shape {tensor.shape}")
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    if not _state.drawing:
        return tensor
    q, r = np.linalg.qr(_rng(generator).normal((max(rows, columns), min(rows, columns))))
    q = q * np.where(np.diagonal(r) < 0, -1, 1)
    return _set(tensor, gain * (q.T if rows < columns else q).reshape(tensor.shape))
