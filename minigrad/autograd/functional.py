"""Derivatives of functions: products with Jacobians and Hessians, whole Jacobians and Hessians, and recomputation.

`inputs` is a tensor or a tuple of them; results come in the same form. Formulas for y = f(x): `vjp` gives vᵀ·∂y/∂x, `jvp`
∂y/∂x·v, `hvp` ∂²y/∂x²·v for a single number y.
"""

from collections.abc import Callable

from minigrad import random
from minigrad.autograd.autocast import autocast_state
from minigrad.autograd.mode import enable_grad, is_grad_enabled, no_grad
from minigrad.autograd.op import Node, input_tensor
from minigrad.autograd.walk import accumulate, grad
from minigrad.backend import tracing
from minigrad.tensor import Tensor, _tensor


def _tuple(x) -> tuple:
    return tuple(x) if isinstance(x, tuple | list) else (x,)


def _fresh(inputs) -> tuple[Tensor, ...]:
    """Leaves with the inputs' values; or, of inputs that are on a tape already, results on that tape."""
    return tuple(t * 1 if t.requires_grad else t.detach().requires_grad_() for t in _tuple(inputs))


def _like(inputs, result: tuple):
    return result if isinstance(inputs, tuple | list) else result[0]


def _filled(grads, xs) -> tuple:
    return tuple(x.detach() * 0 if g is None else g for g, x in zip(grads, xs, strict=True))


def vjp(func: Callable, inputs, v=None, create_graph: bool = False):
    """(f(x), vᵀ·∂f/∂x); v has the outputs' shape and may be left out where that is a single number.

    >>> import minigrad as mg
    >>> mg.autograd.vjp(lambda x: x * x, mg.tensor([1.0, 2.0]), mg.tensor([1.0, 10.0]))[1].tolist()
    [2.0, 40.0]
    """
    with enable_grad():
        xs = _fresh(inputs)
        outputs = func(*xs)
        ys = _tuple(outputs)
        seeds = None if v is None else _tuple(v)
        grads = _filled(grad(ys, xs, seeds, create_graph=create_graph, allow_unused=True), xs)
    outputs = outputs if create_graph else _like(outputs, tuple(y.detach() for y in ys))
    return outputs, _like(inputs, grads)


def jvp(func: Callable, inputs, v, create_graph: bool = False):
    """(f(x), ∂f/∂x·v), v of the inputs' shape: the derivative along v, as the VJP of the VJP.

    >>> import minigrad as mg
    >>> mg.autograd.jvp(lambda x: x * x, mg.tensor([1.0, 2.0]), mg.tensor([1.0, 10.0]))[1].tolist()
    [2.0, 40.0]
    """
    with enable_grad():
        xs = _fresh(inputs)
        outputs = func(*xs)
        ys = _tuple(outputs)
        dummies = tuple((y.detach() * 0).requires_grad_() for y in ys)
        pulled = _filled(grad(ys, xs, dummies, create_graph=True, allow_unused=True), xs)
        live = [(p, t) for p, t in zip(pulled, _tuple(v), strict=True) if p.requires_grad]
        if live:
            products = grad(
                [p for p, _ in live], dummies, [t for _, t in live], create_graph=create_graph, allow_unused=True
            )
        else:
            products = (None,) * len(dummies)
        products = _filled(products, ys)
    outputs = outputs if create_graph else _like(outputs, tuple(y.detach() for y in ys))
    return outputs, _like(outputs, products)


def jacobian(func: Callable, inputs, create_graph: bool = False):
    """∂f/∂x, of shape (*output, *input): a backward for each element of the output.

    >>> import minigrad as mg
    >>> mg.autograd.jacobian(lambda x: x * x, mg.tensor([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """
    from minigrad.ops import stack

    with enable_grad():
        xs = _fresh(inputs)
        outputs = func(*xs)
        rows = []
        for y in _tuple(outputs):
            lines = []
            for i in range(y.numel()):
                element = y.reshape(-1)[i]
                found = (
                    grad(element, xs, retain_graph=True, create_graph=create_graph, allow_unused=True)
                    if element.requires_grad
                    else (None,) * len(xs)
                )
                lines.append(_filled(found, xs))
            columns = (
                stack([line[k] for line in lines]).reshape((*y.shape, *x.shape)) if lines else x.detach()[:0]
                for k, x in enumerate(xs)
            )
            rows.append(_like(inputs, tuple(columns)))
    return _like(outputs, tuple(rows))


def hessian(func: Callable, inputs, create_graph: bool = False):
    """∂²f/∂x² of a function with a single number, of shape (*input, *input).

    >>> import minigrad as mg
    >>> mg.autograd.hessian(lambda x: (x * x * x).sum(), mg.tensor([1.0, 2.0])).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """

    def gradient(*xs):
        y = func(*xs)
        if y.numel() != 1:
            raise ValueError(f"a Hessian needs a function with a single number, this one gave shape {y.shape}")
        grads = _filled(grad(y, xs, create_graph=True, allow_unused=True), xs)
        return grads if isinstance(inputs, tuple | list) else grads[0]

    return jacobian(gradient, inputs, create_graph)


def hvp(func: Callable, inputs, v, create_graph: bool = False):
    """(f(x), ∂²f/∂x²·v) of a function with a single number, without the Hessian itself.

    >>> import minigrad as mg
    >>> mg.autograd.hvp(lambda x: (x * x * x).sum(), mg.tensor([1.0, 2.0]), mg.tensor([1.0, 1.0]))[1].tolist()
    [6.0, 12.0]
    """
    with enable_grad():
        xs = _fresh(inputs)
        y = func(*xs)
        first = _filled(grad(y, xs, create_graph=True, allow_unused=True), xs)
        live = [(g, t) for g, t in zip(first, _tuple(v), strict=True) if g.requires_grad]
        second = (
            grad([g for g, _ in live], xs, [t for _, t in live], create_graph=create_graph, allow_unused=True)
            if live
            else (None,) * len(xs)
        )
    return (y if create_graph else y.detach()), _like(inputs, _filled(second, xs))


class _Checkpoint:
    """What stands on the tape for a part that is computed again in backward."""

    name = "checkpoint"

    def __init__(self, function: Callable):
        self.function, self.state, self.autocast = function, random.default.state, autocast_state()

    def pull(self, node: Node, g, create_graph: bool) -> list:
        inputs, places = node.saved
        given = list(g) if node.outputs is not None else [g]
        inputs = inputs if create_graph else _after(inputs, given, node.xp)
        now, random.default.state = random.default.state, self.state  # the same dropout masks again
        outer, tracing.state.again = tracing.state.again, [] if create_graph else given
        try:
            with enable_grad(), self.autocast:
                xs = [input_tensor(t.data, node, places.get(k)) if create_graph else t for k, t in enumerate(inputs)]
                xs = [x if create_graph or k not in places else x.detach().requires_grad_() for k, x in enumerate(xs)]
                ys = _tuple(self.function(*xs))
        finally:
            random.default.state, tracing.state.again = now, outer
        wanted = [xs[k] for k in places]
        gs = given if create_graph else [_tensor(d, node.xp) for d in given]
        live = [(y, d) for y, d in zip(ys, gs, strict=True) if y.requires_grad]
        if create_graph:
            return list(grad([y for y, _ in live], wanted, [d for _, d in live], create_graph=True, allow_unused=True))
        reached = accumulate([y for y, _ in live], [d for _, d in live], None, False)
        inside = [t for t in reached if t.backend is node.xp and all(t is not x for x in wanted)]  # parameters
        results = _after([x.grad for x in wanted], [t.grad.data for t in inside if t.grad is not None], node.xp)
        return [None if t is None else t.data for t in results]


def _after(values: list, earlier: list, xp) -> list:
    """The values, not to be used before the earlier arrays are there. Without that a lazy backend could compute a part again
    long before its gradient comes, or its parameters' gradients long after, and would hold all that lies between; a compiling
    one would see that it has computed the part before, and keep that."""
    mine = {k: t.data for k, t in enumerate(values) if isinstance(t, Tensor) and t.backend is xp}
    arrays = dict(zip(mine, xp.after(list(mine.values()), earlier), strict=True))
    return [_tensor(arrays[k], xp) if k in arrays else t for k, t in enumerate(values)]


def checkpoint(function: Callable, *inputs):
    """function(*inputs), keeping only the inputs: what lies between is computed again in backward, which saves memory for
    about a third more time. Chen et al. 2016, arXiv 1604.06174.

    Parameters used inside get their `.grad` from `backward`; random numbers are drawn again alike. `function` takes tensors
    and gives a tensor or a tuple of them.

    >>> import minigrad as mg
    >>> layer, x = mg.nn.Linear(4, 4), mg.randn(2, 4, requires_grad=True)
    >>> mg.autograd.checkpoint(layer, x).sum().backward()
    >>> layer.weight.grad.shape
    (4, 4)
    """
    if not is_grad_enabled():
        return function(*inputs)
    operation = _Checkpoint(function)
    with no_grad():
        outputs = function(*inputs)
    ys = tuple(y.detach() for y in _tuple(outputs))
    places = {k: i for i, k in enumerate(k for k, t in enumerate(inputs) if isinstance(t, Tensor) and t.requires_grad)}
    node = Node()
    node.op, node.xp, node.plan, node.special = operation, ys[0].backend, None, True  # type: ignore[assignment]
    node.saved = ([t.detach() if isinstance(t, Tensor) else t for t in inputs], places)
    node.edges = [inputs[k]._edge or inputs[k] for k in places]
    single = not isinstance(outputs, tuple | list)
    if not single:
        node.outputs = [(y.shape, y.dtype.name) for y in ys]
    for i, y in enumerate(ys):
        if y.is_floating_point():
            y._requires_grad, y._edge = True, node if single else (node, i)
    return ys[0] if single else ys
