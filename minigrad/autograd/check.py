"""Derivatives held to finite differences."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minigrad import checks
from minigrad.autograd.grad import grad
from minigrad.engine.inplace import assign
from minigrad.engine.modes import enable_grad
from minigrad.engine.tensor import Tensor

WALKS = ((False, "VJPs on raw arrays"), (True, "VJPs on tensors"))  # create_graph, and what an error calls it


class GradcheckError(AssertionError):
    """A derivative that disagrees with the finite difference."""


def gradcheck(
    fn: Callable,
    inputs: Tensor | Sequence,
    eps: float = 1e-6,
    atol: float = 1e-6,
    rtol: float = 1e-6,
    seed: int = 0,
    *,
    raise_exception: bool = True,
    fast_mode: bool = False,
    directions: int = 1,
) -> bool:
    """Holds the gradients of `fn(*inputs)` to central differences, (f(x + ε) - f(x - ε)) / 2ε, element by element.

    Every element of the Jacobian is compared: the derivative of each element of the float64 outputs by each element of the
    float64 inputs that require a gradient, |got - difference| ≤ atol + rtol·|difference|. It takes two evaluations for each
    element of the inputs, and two walks back for each element of the outputs: one over raw arrays, one over tensors
    (create_graph), both of which are held to the differences.

    `fast_mode` projects instead: Σ w·∂f/∂x·u is compared for random u and w (drawn from `seed`), in so many `directions`. It
    takes two evaluations for each input and direction, however large they are. An error in an element that is much smaller than
    others is not seen then.

    Args:
        fn: takes the inputs and returns a tensor or several. What it returns in float64 is compared; where that doesn't require
            a gradient it may not depend on the inputs.
        inputs: a tensor, or a sequence of tensors and anything else. Leaves are moved in place (and put back), so `fn` may use
            them without looking at its arguments, as a module does with its parameters; one that stands at several places
            is moved at all of them.
        eps: the step ε, times |x| where that is more than 1.
        raise_exception: whether a derivative that disagrees raises; if not, it is told by the result.

    Returns:
        True; with `raise_exception=False`, False where a derivative disagrees.

    Raises:
        GradcheckError: naming the input and the output, their elements, the derivative and the difference.
        TypeError: when `fn` returns anything but tensors.
        ValueError: when no input requires a gradient, or an input or output that does isn't float64.

    >>> import minigrad as mg
    >>> x = mg.randn(3, dtype=mg.float64, requires_grad=True)
    >>> mg.autograd.gradcheck(lambda x: (x * x).exp(), [x])
    True
    """
    inputs = _entered("gradcheck", fn, inputs, eps, atol, rtol, seed, directions)
    wanted = {id(t): (i, t) for i, t in reversed(list(enumerate(inputs))) if isinstance(t, Tensor) and t.requires_grad}
    if not wanted or any(t.dtype != "float64" for _, t in wanted.values()):
        raise ValueError(
            "gradcheck needs inputs that require a gradient, in float64: finite differences drown in float32's rounding"
        )
    with enable_grad():
        check = _Check(fn, inputs, sorted(wanted.values(), key=lambda place: place[0]), eps, atol, rtol)
        try:
            if fast_mode:
                rng = np.random.default_rng(seed)
                for _ in range(directions):
                    check.direction(rng)
            else:
                check.elements()
        except GradcheckError:
            if raise_exception:
                raise
            return False
    return True


def gradgradcheck(
    fn: Callable,
    inputs: Tensor | Sequence,
    eps: float = 1e-6,
    atol: float = 1e-6,
    rtol: float = 1e-6,
    seed: int = 0,
    *,
    raise_exception: bool = True,
    fast_mode: bool = False,
    directions: int = 1,
) -> bool:
    """`gradcheck` of the gradient itself: second derivatives, by the inputs and by the incoming gradient.

    The incoming gradients are random, drawn from `seed`; they come after the inputs where an error numbers them.
    """
    inputs = _entered("gradgradcheck", fn, inputs, eps, atol, rtol, seed, directions)
    rng = np.random.default_rng(seed)
    with enable_grad():
        outputs = [y for y in _checked(fn(*inputs)) if y.requires_grad]
    seeds = [
        Tensor(np.asarray(rng.standard_normal(y.shape)), dtype="float64", device=y.device, requires_grad=True)
        for y in outputs
    ]
    places = [i for i, t in enumerate(inputs) if isinstance(t, Tensor) and t.requires_grad]

    def gradient(*arguments):
        xs, gs = arguments[: len(inputs)], arguments[len(inputs) :]
        ys = [y for y in _checked(fn(*xs)) if y.requires_grad]
        found = grad(ys, [xs[i] for i in places], gs, create_graph=True, allow_unused=True) if ys else ()
        return [g for g in found if g is not None]

    return gradcheck(
        gradient, [*inputs, *seeds], eps, atol, rtol, seed,
        raise_exception=raise_exception, fast_mode=fast_mode, directions=directions,
    )  # fmt: skip


def _entered(who: str, fn: Callable, inputs: Tensor | Sequence, eps, atol, rtol, seed, directions) -> list:
    """The inputs as a list, when all that was given is of the right kind."""
    checks.function(who, "fn", fn)
    for name, value in (("eps", eps), ("atol", atol), ("rtol", rtol)):
        checks.number(who, name, value)
    for name, value in (("seed", seed), ("directions", directions)):
        checks.whole(who, name, value)
    if not eps:
        raise ValueError(f"{who}: eps, the step of the differences, must not be 0")
    return [inputs] if isinstance(inputs, Tensor) else checks.entries(who, "inputs", inputs, "a tensor or a sequence")


class _Check:
    """The function at its inputs, and what is compared with what."""

    def __init__(
        self, fn: Callable, inputs: list, wanted: list[tuple[int, Tensor]], eps: float, atol: float, rtol: float
    ):
        self.fn, self.eps, self.atol, self.rtol = fn, eps, atol, rtol
        self.places = [i for i, _ in wanted]
        # An intermediate result is replaced by a leaf: what it was computed from is no part of `fn`.
        leaves = {id(t): t if t.is_leaf else t.detach().requires_grad_() for _, t in wanted}
        self.inputs = [leaves.get(id(t), t) for t in inputs]
        self.wanted = [leaves[id(t)] for _, t in wanted]
        self.outputs = _checked(fn(*self.inputs))

    def elements(self) -> None:
        """Compares all elements of the Jacobian."""
        differences = [np.empty((sum(y.numel() for y in self.outputs), x.numel())) for x in self.wanted]
        for x, columns in zip(self.wanted, differences, strict=True):
            for k in range(x.numel()):
                u = np.zeros(x.shape)
                u.flat[k] = 1
                changes, moved = self.difference(x, u)
                columns[:, k] = np.concatenate([d.reshape(-1) for d in changes] or [np.empty(0)]) / moved.flat[k]
        for create_graph, walk in WALKS:
            row = 0
            for j, y in enumerate(self.outputs):
                rows = [np.empty((y.numel(), x.numel())) for x in self.wanted]
                for k in range(y.numel()):
                    weights = [np.zeros(z.shape) for z in self.outputs]
                    weights[j].flat[k] = 1
                    for of_input, g in zip(rows, self.gradients(weights, create_graph), strict=True):
                        of_input[k] = g.reshape(-1)
                for place, x, got, difference in zip(self.places, self.wanted, rows, differences, strict=True):
                    expected = difference[row : row + y.numel()]
                    worst = self.worst(got, expected)
                    if worst is not None:
                        to, by = (_element(n, t) for n, t in zip(worst, (y, x), strict=True))
                        raise GradcheckError(
                            f"the derivative of output {j} of shape {tuple(y.shape)} at {to} by input {place} of shape "
                            f"{tuple(x.shape)} at {by} is {got[worst]:.12g} ({walk}), the finite difference {expected[worst]:.12g}"
                        )
                row += y.numel()

    def direction(self, rng: np.random.Generator) -> None:
        """Compares the derivative along one random direction of each input, of a random mixture of the outputs."""
        weights = [np.asarray(rng.standard_normal(y.shape)) for y in self.outputs]
        both = [self.gradients(weights, create_graph) for create_graph, _ in WALKS]
        for n, (place, x) in enumerate(zip(self.places, self.wanted, strict=True)):
            changes, moved = self.difference(x, np.asarray(rng.standard_normal(x.shape)))
            expected = np.array([[sum(float((d * w).sum()) for d, w in zip(changes, weights, strict=True))]])
            for (_, walk), gradients in zip(WALKS, both, strict=True):
                got = float((gradients[n] * moved).sum())
                if self.worst(np.array([[got]]), expected) is not None:
                    raise GradcheckError(
                        f"the derivative by input {place} of shape {tuple(x.shape)} along a random direction is {got:.12g} ({walk}), "
                        f"the finite difference {expected.item():.12g}"
                    )

    def gradients(self, weights: list, create_graph: bool) -> list[np.ndarray]:
        """Σ weights·outputs by each input: arrays, of zeros where an input isn't reached."""
        live = [
            (y, Tensor(w, dtype="float64", device=y.device))
            for y, w in zip(self.outputs, weights, strict=True)
            if y.requires_grad and np.any(w)
        ]
        found: Sequence = [None] * len(self.wanted)
        if live:
            ys, ws = zip(*live, strict=True)
            found = grad(ys, self.wanted, ws, retain_graph=True, create_graph=create_graph, allow_unused=True)
        for place, x, g in zip(self.places, self.wanted, found, strict=True):
            if g is not None and (g.shape != x.shape or g.dtype != x.dtype):
                raise GradcheckError(
                    f"the gradient by input {place} has shape {tuple(g.shape)} and dtype {g.dtype.name}, "
                    f"the input shape {tuple(x.shape)} and dtype {x.dtype.name}"
                )
        return [np.zeros(x.shape) if g is None else g.numpy() for x, g in zip(self.wanted, found, strict=True)]

    def difference(self, x: Tensor, u: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """How the outputs change by a small step of x, divided by ε; and the step, divided by ε, which is u scaled by x and rounded."""
        before, array = x.array, x.numpy()
        step = self.eps * np.maximum(1, np.abs(array)) * u
        moved = [np.where(u != 0, array + way, array) for way in (step, -step)]
        ends = []
        try:
            for there in moved:
                assign(x, Tensor(there, dtype="float64", device=x.device).array)
                ends.append([np.array(y.numpy()) for y in _checked(self.fn(*self.inputs))])
        finally:
            assign(x, before)
        shapes = [[y.shape for y in self.outputs], *([a.shape for a in arrays] for arrays in ends)]
        if not shapes[0] == shapes[1] == shapes[2]:
            raise GradcheckError(
                f"the outputs' shapes change with the inputs' numbers: {shapes[0]}, {shapes[1]}, {shapes[2]}"
            )
        return [(a - b) / (2 * self.eps) for a, b in zip(*ends, strict=True)], (moved[0] - moved[1]) / (2 * self.eps)

    def worst(self, got: np.ndarray, expected: np.ndarray) -> tuple[int, int] | None:
        """Where the two are furthest apart, beside what is allowed; None where they agree."""
        with np.errstate(invalid="ignore", divide="ignore"):
            difference, allowed = np.abs(got - expected), self.atol + self.rtol * np.abs(expected)
            wrong = ~(difference <= allowed)  # NaN, too
            if not wrong.any():
                return None
            excess = np.where(wrong, np.nan_to_num(difference / allowed, nan=np.inf), 0)
        row, column = np.unravel_index(excess.argmax(), excess.shape)
        return int(row), int(column)


def _element(n: int, t: Tensor) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(n, t.shape))


def _checked(outputs: Any) -> list[Tensor]:
    """The float64 tensors among a function's outputs."""
    outputs = outputs if isinstance(outputs, tuple | list) else [outputs]
    for y in outputs:
        if not isinstance(y, Tensor):
            raise TypeError(f"gradcheck's function returns a tensor or several, got {type(y).__name__}")
        if y.requires_grad and y.dtype != "float64":
            raise ValueError(
                f"gradcheck needs outputs in float64, got one in {y.dtype.name}: finite differences drown in its rounding"
            )
    return [y for y in outputs if y.dtype == "float64"]
