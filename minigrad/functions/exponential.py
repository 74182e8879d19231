"""Exponentials, logarithms, trigonometry, and functions made of these, of each element by itself.

In the formulas a is an element of `input`.
"""

from minigrad import ops
from minigrad.engine.tensor import Tensor

__all__ = ["exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "sigmoid", "erf"]


def exp(input: Tensor) -> Tensor:
    """eᵃ. Whole numbers give float32.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise(floats=True)
        def exp(xp, a):
            return xp.exp(a)

        exp.defvjp(lambda ops, g, y: g * y)

    >>> mg.exp(mg.tensor([0.0, 1.0]))
    tensor([1.    , 2.7183])
    """
    return ops.exp(input)


def expm1(input: Tensor) -> Tensor:
    """eᵃ - 1, accurate near 0. Whole numbers give float32.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise(floats=True)
        def expm1(xp, a):
            return xp.expm1(a)

        expm1.defvjp(lambda ops, g, y: g * (y + 1))

    >>> mg.expm1(mg.tensor([0.0, 1.0]))
    tensor([0.    , 1.7183])
    """
    return ops.expm1(input)


def log(input: Tensor) -> Tensor:
    """log a, the natural logarithm; -∞ for 0, NaN for a < 0. Whole numbers give float32.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise(floats=True)
        def log(xp, a):
            return xp.log(a)

        log.defvjp(lambda ops, g, a: g / a)

    >>> mg.log(mg.tensor([1.0, 10.0]))
    tensor([0.    , 2.3026])
    """
    return ops.log(input)


def log1p(input: Tensor) -> Tensor:
    """log(1 + a), accurate near 0. Whole numbers give float32.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise(floats=True)
        def log1p(xp, a):
            return xp.log1p(a)

        log1p.defvjp(lambda ops, g, a: g / (a + 1))

    >>> mg.log1p(mg.tensor([0.0, 1.0]))
    tensor([0.    , 0.6931])
    """
    return ops.log1p(input)


def sin(input: Tensor) -> Tensor:
    """sin a, of an angle in radians. Whole numbers give float32.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise(floats=True)
        def sin(xp, a):
            return xp.sin(a)

        sin.defvjp(lambda ops, g, a: g * ops.cos(a))

    >>> mg.sin(mg.tensor([0.0, 1.0]))
    tensor([0.    , 0.8415])
    """
    return ops.sin(input)


def cos(input: Tensor) -> Tensor:
    """cos a, of an angle in radians. Whole numbers give float32.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise(floats=True)
        def cos(xp, a):
            return xp.cos(a)

        cos.defvjp(lambda ops, g, a: -g * ops.sin(a))

    >>> mg.cos(mg.tensor([0.0, 1.0]))
    tensor([1.    , 0.5403])
    """
    return ops.cos(input)


def tanh(input: Tensor) -> Tensor:
    """tanh a = (eᵃ - e⁻ᵃ) / (eᵃ + e⁻ᵃ). Whole numbers give float32.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise(floats=True)
        def tanh(xp, a):
            return xp.tanh(a)

        tanh.defvjp(lambda ops, g, y: g * (1.0 - y * y))

    >>> mg.tanh(mg.tensor([0.0, 1.0]))
    tensor([0.    , 0.7616])
    """
    return ops.tanh(input)


def sigmoid(input: Tensor) -> Tensor:
    """σ(a) = 1 / (1 + e⁻ᵃ). Whole numbers give float32.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise(floats=True)
        @wide
        def sigmoid(xp, a):
            return xp.sigmoid(a)

        sigmoid.defvjp(lambda ops, g, y: g * y * (1.0 - y))

    >>> mg.sigmoid(mg.tensor([0.0, 1.0]))
    tensor([0.5   , 0.7311])
    """
    return ops.sigmoid(input)


def erf(input: Tensor) -> Tensor:
    """erf a = 2/√π ∫₀ᵃ exp(-t²) dt. Whole numbers give float32.

    Shape: any; the result has the same.

    Raises:
        TypeError: if `input` is not a tensor.

    The operation (minigrad/ops/elementwise.py):

        @elementwise(floats=True)
        def erf(xp, a):
            return xp.erf(a)

        erf.defvjp(lambda ops, g, a: g * ops.exp(-a * a) * (2 / math.sqrt(math.pi)))

    >>> mg.erf(mg.tensor([0.0, 1.0]))
    tensor([0.    , 0.8427])
    """
    return ops.erf(input)
