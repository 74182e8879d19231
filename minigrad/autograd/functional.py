"""Derivatives of functions: products with Jacobians and Hessians, whole Jacobians and Hessians.

`inputs` is a tensor or a tuple of them; results come in the same form. Formulas for y = f(x): `vjp` gives vᵀ·∂y/∂x, `jvp`
∂y/∂x·v, `hvp` ∂²y/∂x²·v for a single number y.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar, overload

from minigrad import checks
from minigrad.autograd.grad import grad
from minigrad.engine.backward import seed
from minigrad.engine.modes import enable_grad
from minigrad.engine.tensor import Tensor, _tensor
from minigrad.messages import wrong_outputs

Tensors = tuple[Tensor, ...]
Y = TypeVar("Y", Tensor, Tensors)  # what the function gives
Given = Tensor | Sequence[Tensor]
One = Callable[[Tensor], Y]  # a function of one tensor
Many = Callable[..., Y]  # and of several


def _tuple(x) -> tuple:
    return tuple(x) if isinstance(x, tuple | list) else (x,)


def _call(who: str, func: Callable, xs: tuple):
    """What the function gives, and the same as a tuple. It must be a tensor or a tuple or list of tensors."""
    outputs = func(*xs)
    for y in _tuple(outputs):
        if not isinstance(y, Tensor):
            raise TypeError(f"{who}: func's outputs must be tensors, got {checks.kind(y)}")
    return outputs, _tuple(outputs)


def _number(who: str, func: Callable, xs: tuple) -> Tensor:
    """The one number that a function gives whose second derivatives are asked for."""
    _, ys = _call(who, func, xs)
    if len(ys) != 1 or ys[0].numel() != 1:
        came = f"shape {ys[0].shape}" if len(ys) == 1 else f"{len(ys)} tensors"
        raise ValueError(f"a Hessian needs a function with a single number, this one gave {came}")
    return ys[0]


def _enter(who: str, func: Callable, inputs, v=None) -> tuple[Tensor, ...]:
    """Checks what was given. Leaves with the inputs' values; or, of inputs that are on a tape already, results on that tape."""
    checks.function(who, "func", func)
    for name, given in (("inputs", inputs), ("v", () if v is None else v)):
        for t in _tuple(given):
            checks.tensor(who, name, t)
    return tuple(t * 1 if t.requires_grad else t.detach().requires_grad_() for t in _tuple(inputs))


def _vector(who: str, v):
    """v, which may not be left out."""
    if v is None:
        raise TypeError(f"{who}: v must be a tensor or a tuple of them, of the inputs' shapes, got None")
    return v


def _like(inputs, result: tuple):
    return result if isinstance(inputs, tuple | list) else result[0]


def _zeros(x: Tensor) -> Tensor:
    return _tensor(x.backend.zeros_like(x.array), x.backend)


def _gradients(ys, xs, seeds=None, create_graph: bool = False, retain_graph: bool | None = None) -> tuple:
    """`grad`, with zeros where an output doesn't depend on an input, as one that is constant."""
    if seeds is not None and len(seeds) != len(ys):
        raise wrong_outputs(ys, seeds)
    seeds = [None] * len(ys) if seeds is None else seeds
    live = [(y, s) for y, s in zip(ys, seeds, strict=True) if y.requires_grad]
    for y, s in zip(ys, seeds, strict=True):
        seed(y, s)
    if not live:
        return tuple(_zeros(x) for x in xs)
    outputs, weights = zip(*live, strict=True)
    found = grad(outputs, xs, weights, retain_graph, create_graph, allow_unused=True)
    return tuple(_zeros(x) if g is None else g for g, x in zip(found, xs, strict=True))


@overload
def vjp(func: One[Y], inputs: Tensor, v: Given | None = None, create_graph: bool = False) -> tuple[Y, Tensor]: ...


@overload
def vjp(
    func: Many[Y], inputs: Sequence[Tensor], v: Given | None = None, create_graph: bool = False
) -> tuple[Y, Tensors]: ...


def vjp(func: Callable, inputs: Given, v: Given | None = None, create_graph: bool = False) -> tuple:
    """(f(x), vᵀ·∂f/∂x); v has the outputs' shape and may be left out where that is a single number.

    >>> import minigrad as mg
    >>> mg.autograd.vjp(lambda x: x * x, mg.tensor([1.0, 2.0]), mg.tensor([1.0, 10.0]))[1].tolist()
    [2.0, 40.0]
    """
    with enable_grad():
        xs = _enter("vjp", func, inputs, v)
        outputs, ys = _call("vjp", func, xs)
        grads = _gradients(ys, xs, None if v is None else _tuple(v), create_graph)
    outputs = outputs if create_graph else _like(outputs, tuple(y.detach() for y in ys))
    return outputs, _like(inputs, grads)


@overload
def jvp(func: One[Y], inputs: Tensor, v: Given, create_graph: bool = False) -> tuple[Y, Y]: ...


@overload
def jvp(func: Many[Y], inputs: Sequence[Tensor], v: Given, create_graph: bool = False) -> tuple[Y, Y]: ...


def jvp(func: Callable, inputs: Given, v: Given, create_graph: bool = False) -> tuple:
    """(f(x), ∂f/∂x·v), v of the inputs' shape: the derivative along v, as the VJP of the VJP.

    >>> import minigrad as mg
    >>> mg.autograd.jvp(lambda x: x * x, mg.tensor([1.0, 2.0]), mg.tensor([1.0, 10.0]))[1].tolist()
    [2.0, 40.0]
    """
    with enable_grad():
        xs = _enter("jvp", func, inputs, _vector("jvp", v))
        outputs, ys = _call("jvp", func, xs)
        dummies = tuple(_zeros(y).requires_grad_(y.is_floating_point()) for y in ys)
        pulled = _gradients(ys, xs, dummies, create_graph=True)
        found = iter(_gradients(pulled, [d for d in dummies if d.requires_grad], _tuple(v), create_graph))
        products = tuple(next(found) if d.requires_grad else _zeros(d) for d in dummies)
    outputs = outputs if create_graph else _like(outputs, tuple(y.detach() for y in ys))
    return outputs, _like(outputs, products)


@overload
def jacobian(func: One[Tensor], inputs: Tensor, create_graph: bool = False) -> Tensor: ...


@overload
def jacobian(func: One[Tensors], inputs: Tensor, create_graph: bool = False) -> Tensors: ...


@overload
def jacobian(func: Many[Tensor], inputs: Sequence[Tensor], create_graph: bool = False) -> Tensors: ...


@overload
def jacobian(func: Many[Tensors], inputs: Sequence[Tensor], create_graph: bool = False) -> tuple[Tensors, ...]: ...


def jacobian(func: Callable, inputs: Given, create_graph: bool = False) -> Tensor | tuple:
    """∂f/∂x, of shape (*output, *input): a backward for each element of the output.

    >>> import minigrad as mg
    >>> mg.autograd.jacobian(lambda x: x * x, mg.tensor([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """
    from minigrad import ops

    with enable_grad():
        xs = _enter("jacobian", func, inputs)
        outputs, ys = _call("jacobian", func, xs)
        rows = []
        for y in ys:
            lines = []
            for i in range(y.numel()):
                lines.append(_gradients([y.reshape(-1)[i]], xs, None, create_graph, retain_graph=True))
            columns = (
                ops.stack(*(line[k] for line in lines), dim=0).reshape((*y.shape, *x.shape))
                if lines
                else _tensor(x.backend.zeros((*y.shape, *x.shape), dtype=x.array.dtype), x.backend)
                for k, x in enumerate(xs)
            )
            rows.append(_like(inputs, tuple(columns)))
    return _like(outputs, tuple(rows))


@overload
def hessian(func: One[Tensor], inputs: Tensor, create_graph: bool = False) -> Tensor: ...


@overload
def hessian(func: Many[Tensor], inputs: Sequence[Tensor], create_graph: bool = False) -> tuple[Tensors, ...]: ...


def hessian(func: Callable, inputs: Given, create_graph: bool = False) -> Tensor | tuple:
    """∂²f/∂x² of a function with a single number, of shape (*input, *input).

    >>> import minigrad as mg
    >>> mg.autograd.hessian(lambda x: (x * x * x).sum(), mg.tensor([1.0, 2.0])).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """

    _enter("hessian", func, inputs)

    def gradient(*xs):
        y = _number("hessian", func, xs)
        grads = _gradients([y], xs, create_graph=True)
        return grads if isinstance(inputs, tuple | list) else grads[0]

    return jacobian(gradient, inputs, create_graph)


@overload
def hvp(func: One[Tensor], inputs: Tensor, v: Given, create_graph: bool = False) -> tuple[Tensor, Tensor]: ...


@overload
def hvp(
    func: Many[Tensor], inputs: Sequence[Tensor], v: Given, create_graph: bool = False
) -> tuple[Tensor, Tensors]: ...


def hvp(func: Callable, inputs: Given, v: Given, create_graph: bool = False) -> tuple:
    """(f(x), ∂²f/∂x²·v) of a function with a single number, without the Hessian itself.

    >>> import minigrad as mg
    >>> mg.autograd.hvp(lambda x: (x * x * x).sum(), mg.tensor([1.0, 2.0]), mg.tensor([1.0, 1.0]))[1].tolist()
    [6.0, 12.0]
    """
    with enable_grad():
        xs = _enter("hvp", func, inputs, _vector("hvp", v))
        y = _number("hvp", func, xs)
        first = _gradients([y], xs, create_graph=True)
        second = _gradients(first, xs, _tuple(v), create_graph)
    return (y if create_graph else y.detach()), _like(inputs, second)
