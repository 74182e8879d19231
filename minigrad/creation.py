"""Functions that make tensors. All take dtype, device and requires_grad as keywords, as PyTorch's do."""

import numpy as np

from minigrad import checks, random
from minigrad.dtypes import dtype as _dtype
from minigrad.dtypes import fitted, plain
from minigrad.engine.tensor import Tensor
from minigrad.functions.arguments import _sizes


def tensor(data, dtype=None, device=None, requires_grad=False) -> Tensor:
    """A tensor of numbers, nested lists or an array (copied); see `Tensor`."""
    return Tensor(data, dtype, device, requires_grad)


def as_tensor(data, dtype=None, device=None) -> Tensor:
    """The tensor itself where it already fits, else as `tensor`."""
    if isinstance(data, Tensor):
        return data.to(device=device, dtype=dtype)
    return Tensor(data, dtype, device)


def from_numpy(array: np.ndarray, device=None) -> Tensor:
    """A tensor with a copy of a numpy array's values, in its dtype."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy takes a numpy array, got {checks.kind(array)}; use mg.tensor")
    return Tensor(array, None, device)


def _filled(values: np.ndarray, dtype, device, requires_grad, default: str = "float32") -> Tensor:
    return Tensor(values, default if dtype is None else dtype, device, requires_grad)


def full(size, fill_value, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """A tensor of one value. Its dtype follows the value: float32, int64 or bool.

    Raises:
        OverflowError: when the dtype can't hold the value.
    """
    fill_value = fill_value.item() if isinstance(fill_value, Tensor) else plain(fill_value)
    if not isinstance(fill_value, int | float):
        raise TypeError(f"full: the value must be a number, got {type(fill_value).__name__}; use mg.tensor for several")
    kind = _dtype(type(fill_value) if dtype is None else dtype)
    value = fitted(fill_value, kind, "full")
    stored = "float32" if kind.name == "bfloat16" else kind.name
    value = np.asarray(value).astype(stored)  # np.full would warn of an infinity in its own name
    return _filled(np.full(_sizes((size,)), value), kind, device, requires_grad)


def zeros(*size, dtype=None, device=None, requires_grad=False) -> Tensor:
    """A tensor of zeros, float32 by default."""
    return full(_sizes(size), 0.0, dtype=dtype, device=device, requires_grad=requires_grad)


def ones(*size, dtype=None, device=None, requires_grad=False) -> Tensor:
    """A tensor of ones, float32 by default."""
    return full(_sizes(size), 1.0, dtype=dtype, device=device, requires_grad=requires_grad)


def full_like(input: Tensor, fill_value, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """A tensor of one value with another's shape, dtype and device."""
    checks.tensor("full_like", "input", input)
    return full(
        input.shape,
        fill_value,
        dtype=input.dtype if dtype is None else dtype,
        device=input.device if device is None else device,
        requires_grad=requires_grad,
    )


def zeros_like(input: Tensor, **options) -> Tensor:
    """Zeros with another tensor's shape, dtype and device."""
    return full_like(checks.tensor("zeros_like", "input", input), 0, **options)


def ones_like(input: Tensor, **options) -> Tensor:
    """Ones with another tensor's shape, dtype and device."""
    return full_like(checks.tensor("ones_like", "input", input), 1, **options)


def arange(start, end=None, step=1, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """start, start + step, … below end; int64 for whole numbers, else float32.

    Raises:
        OverflowError: for a whole number that int64 can't hold.
        ValueError: for steps that don't lead from start to end.
    """
    if end is None:
        start, end = 0, start
    start, end, step = (
        checks.number("arange", name, v.item() if isinstance(v, Tensor) else v)
        for name, v in (("start", start), ("end", end), ("step", step))
    )
    floats = any(isinstance(v, float) for v in (start, end, step))
    counted = _dtype("float64" if floats else "int64")
    start, end, step = (fitted(v, counted, "arange") for v in (start, end, step))
    default = "float32" if floats else "int64"
    if step == 0 or (end - start) * step < 0:
        raise ValueError(f"arange: step {step} doesn't lead from {start} to {end}")
    return _filled(np.arange(start, end, step, dtype=np.dtype(counted.name)), dtype, device, requires_grad, default)


def linspace(start, end, steps, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """`steps` evenly spaced numbers from start to end, both included."""
    start, end = (v.item() if isinstance(v, Tensor) else v for v in (start, end))
    start, end = float(checks.number("linspace", "start", start)), float(checks.number("linspace", "end", end))
    steps = checks.whole("linspace", "steps", steps)
    return _filled(np.linspace(start, end, steps), dtype, device, requires_grad)


def eye(n, m=None, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """The (n, m) matrix with ones on the diagonal."""
    n = checks.whole("eye", "n", n)
    m = n if m is None else checks.whole("eye", "m", m)
    return _filled(np.eye(n, m), dtype, device, requires_grad)


def rand(*size, generator=None, dtype=None, device=None, requires_grad=False) -> Tensor:
    """Uniform random numbers in [0, 1)."""
    return _filled(random.given(generator).uniform(_sizes(size)), dtype, device, requires_grad)


def randn(*size, generator=None, dtype=None, device=None, requires_grad=False) -> Tensor:
    """Normal random numbers of mean 0 and standard deviation 1."""
    return _filled(np.asarray(random.given(generator).normal(_sizes(size))), dtype, device, requires_grad)


def randint(low, high=None, size=None, *, generator=None, dtype=None, device=None) -> Tensor:
    """Random whole numbers in low … high - 1 (or 0 … low - 1: `randint(10, (3,))`)."""
    if size is None:
        low, high, size = 0, low, high
    if not isinstance(size, tuple | list):
        raise checks.wrong("randint", "size", "a tuple of whole numbers", size, "as in mg.randint(0, 10, (3,))")
    drawn = random.given(generator).integers(
        checks.whole("randint", "low", low), checks.whole("randint", "high", high), _sizes((size,))
    )
    return _filled(np.asarray(drawn), dtype, device, False, default="int64")


def randperm(n, *, generator=None, device=None) -> Tensor:
    """The numbers 0 … n - 1 in random order, int64."""
    return _filled(random.given(generator).permutation(checks.whole("randperm", "n", n)), "int64", device, False)


def rand_like(input: Tensor, **options) -> Tensor:
    """Uniform random numbers with another tensor's shape, dtype and device."""
    checks.tensor("rand_like", "input", input)
    return rand(input.shape, **{"dtype": input.dtype, "device": input.device, **options})


def randn_like(input: Tensor, **options) -> Tensor:
    """Normal random numbers with another tensor's shape, dtype and device."""
    checks.tensor("randn_like", "input", input)
    return randn(input.shape, **{"dtype": input.dtype, "device": input.device, **options})
