"""Where the memory of a training step goes: what the tape keeps, module by module, and the most that is held at once."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from minigrad import nn
from minigrad.autograd import grad
from minigrad.autograd.recompute import Recomputed
from minigrad.creation import ones
from minigrad.engine.operation import Node
from minigrad.engine.tensor import Tensor
from minigrad.visual.trace import tensors_in
from minigrad.visual.watch import run_training


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of one training step, without those of Python and of the array library themselves.

    `kept` is what the tape holds between forward and backward besides parameters, buffers and the input: each memory block
    once, however many operations share it or see a part of it. `gradients` and `optimizer` are those of the parameters that
    require a gradient; AdamW has two numbers for each. `peak` is the most that was held at once while one forward and one
    backward ran, gradients and temporary arrays included, measured. `modules` has what each module's own operations keep.
    """

    kept: int
    input: int
    parameters: int
    gradients: int
    optimizer: int
    peak: int
    modules: dict[str, int]

    @property
    def step(self) -> int:
        """The most that a training step holds: parameters, AdamW's slots, the input, and `peak`."""
        return self.parameters + self.optimizer + self.input + self.peak


def training_memory(model: nn.Module, inputs: list[Tensor]) -> TrainingMemory:
    """Runs a model forward in training mode and back from the sum of its outputs, and measures. Gradients, buffers, training
    flags and the random generator are as before afterwards.

    What several modules keep belongs to the one that kept it first. On MLX, where an array doesn't tell which memory it
    shares, each array counts as its own.
    """
    named = list(model.parameters())
    state = {id(_base(t._data)) for t in (*named, *model.buffers())}
    given = {id(_base(t._data)): _base(t._data).nbytes for t in inputs}
    trained = [p for p in named if p.requires_grad]
    kept: Counter[str] = Counter()

    def step() -> list:
        record = _Record()
        outputs = [t for _, t in tensors_in(run_training(model, inputs, record.enter, record.leave)) if t.requires_grad]
        kept.update(record.kept(outputs, state | set(given)))
        del record
        seeds = [ones(*t.shape, dtype=t.dtype, device=t.device) for t in outputs]
        grads = grad(outputs, trained, seeds, allow_unused=True) if outputs and trained else ()
        return [g._data for g in grads if g is not None]

    xp = inputs[0].backend
    peak = xp.peak_of(step)
    size = sum(p._data.nbytes for p in trained)
    parameters = sum(p._data.nbytes for p in named)
    return TrainingMemory(sum(kept.values()), sum(given.values()), parameters, size, 2 * size, peak, dict(kept))


class _Record:
    """Which module put which operations on the tape, in the order of the forward pass."""

    def __init__(self) -> None:
        self.makers: dict[Node, str] = {}
        self.active = [""]

    def enter(self, name: str, module: nn.Module, args: tuple, kwargs: dict) -> None:
        self.claim((args, kwargs))  # what is new in the arguments, the caller made
        self.active.append(name)

    def leave(self, name: str, module: nn.Module, result: Any) -> Any:
        self.claim(result)
        self.active.pop()
        return result

    def claim(self, value: Any) -> None:
        """The operations behind the tensors in `value` that nobody has claimed are those of the present module."""
        for node in _behind([t for _, t in tensors_in(value)], self.makers):
            self.makers[node] = self.active[-1]

    def kept(self, outputs: list[Tensor], known: set[int]) -> Counter[str]:
        """Bytes by module of the arrays that the tape behind the outputs keeps, without the known ones."""
        reached, seen, found = set(_behind(outputs, {})), set(known), Counter[str]()
        for node, name in self.makers.items():
            for array in _arrays(_kept(node), node.xp.array_type) if node in reached else ():
                block = _base(array)
                if id(block) not in seen:
                    seen.add(id(block))
                    found[name] += block.nbytes
        return found


def _behind(tensors: list[Tensor], known: dict[Node, str]) -> Iterator[Node]:
    """The nodes of the tape that tensors hang on, without those that are known and what lies behind them."""
    seen: set[Node] = set()
    stack = [t._edge for t in tensors]
    while stack:
        node = stack.pop()
        if isinstance(node, Node) and node not in seen and node not in known:
            seen.add(node)
            yield node
            stack += node.edges


def _kept(node: Node) -> list:
    """What a node keeps, or what it is computed again from."""
    return node.op.part.inputs if isinstance(node.op, Recomputed) else [value for _, value in node.kept()]


def _arrays(value: Any, kind: type) -> Iterator[Any]:
    """The arrays in what a node saved: nested tuples, lists and dicts of arrays, tensors and other things."""
    if isinstance(value, Tensor):
        value = value._data
    if isinstance(value, kind):
        yield value
    elif isinstance(value, tuple | list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _arrays(part, kind)


def _base(array: Any) -> Any:
    """The array whose memory block an array is a view of, or itself."""
    while isinstance(getattr(array, "base", None), type(array)):
        array = array.base
    return array
