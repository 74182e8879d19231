"""A table of a model's layers: names, output shapes, parameters, multiply-accumulate operations, memory in training."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from minigrad import checks, nn
from minigrad.engine.tensor import Tensor
from minigrad.visual.training_memory import TrainingMemory, training_memory
from minigrad.visual.watch import input_shape_of, run_watched, zeros_for

POOLINGS = (nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d)


@dataclass(frozen=True)
class Row:
    """One module: its dotted name ("" is the model), class, output shape, parameters and MACs (children included).

    With `memory=True`, `kept` is the bytes that the tape keeps for it between forward and backward, and `state` those of its
    parameters, their gradients and AdamW's two slots (children included, too).
    """

    name: str
    kind: str
    output: tuple[int, ...] | None
    parameters: int
    macs: int
    kept: int | None = None
    state: int | None = None


@dataclass(frozen=True)
class Summary:
    """What `summary` found. `str()` of it is the table, `rows` the same as data.

    `parameters` counts every parameter once, `trainable` those that require a gradient, `macs` the multiply-accumulate
    operations of one forward pass; `memory`, if asked for, where the memory of a training step goes.
    """

    rows: tuple[Row, ...]
    input_shape: tuple[int, ...]
    parameters: int
    trainable: int
    macs: int
    depth: int | None = None
    memory: TrainingMemory | None = None

    def __str__(self) -> str:
        lines = [("layer", "output", "parameters", "MACs", *(("kept MB", "state MB") if self.memory else ()))]
        for row in self.rows:
            level = row.name.count(".") + 1 if row.name else 0
            if self.depth is not None and level > self.depth:
                continue
            label = f"{row.name.rpartition('.')[2]}: {row.kind}" if row.name else row.kind
            numbers = [f"{row.parameters:,}", f"{row.macs:,}"]
            if row.kept is not None and row.state is not None:
                numbers += [_mb(row.kept), _mb(row.state)]
            lines.append(("  " * level + label, _times(row.output), *numbers))
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        rule = "─" * (sum(widths) + 2 * len(widths) - 2)
        table = [
            "  ".join(f"{cell:{'<' if i < 2 else '>'}{widths[i]}}" for i, cell in enumerate(line)) for line in lines
        ]
        frozen = self.parameters - self.trainable
        return "\n".join(
            [table[0], rule, *table[1:], rule]
            + [f"input       {_times(self.input_shape)}"]
            + [f"parameters  {self.parameters:,}" + (f", {frozen:,} of them frozen" if frozen else "")]
            + [f"MACs        {self.macs:,}"]
            + (_memory_lines(self.memory) if self.memory else [])
        )


def summary(
    model: nn.Module,
    input_shape: Sequence[int] | None = None,
    depth: int | None = None,
    memory: bool = False,
) -> Summary:
    """Run `model` once on zeros and count what each of its modules does.

    A MAC is one multiplication with one addition. Counted are convolutions (output values × kernel values × input
    channels of a group; transposed ones: input values × kernel values × output channels of a group), linear layers and
    matrix products (output values × inner length), and so both products of an attention; norms, activations, poolings and
    biases are not. That is the usual convention of published "FLOPs".

    Args:
        model: any module with one floating-point input. Its training flags are as before afterwards.
        input_shape: the input's shape with the batch first, such as (1, 3, 224, 224); None takes one image of the size
            in `model.config`.
        depth: how many levels of nested modules the printed table shows; None shows all, 0 only the model.
        memory: also run the model in training mode, forward and backward, and show where the memory goes: for each module
            what the tape keeps for its derivatives, and its parameters with gradients and AdamW's slots; see
            `minigrad.visual.TrainingMemory`.

    Raises:
        ValueError: when there is no input shape, or it holds something other than positive integers.

    >>> print(summary(mg.nn.Sequential(mg.nn.Linear(4, 3), mg.nn.ReLU()), (1, 4)))
    layer        output  parameters  MACs
    ─────────────────────────────────────
    Sequential   1×3             15    12
      0: Linear  1×3             15    12
      1: ReLU    1×3              0     0
    ─────────────────────────────────────
    input       1×4
    parameters  15
    MACs        12
    """
    checks.instance("summary", "model", model, nn.Module, "a module")
    shape = input_shape_of(model, input_shape)
    if depth is not None:
        checks.whole("summary", "depth", depth)
    if depth is not None and depth < 0:
        raise ValueError(f"depth must be at least 0, got {depth}")

    parameters = dict(model.named_parameters())
    poolings = {name for name, module in model.named_modules() if isinstance(module, POOLINGS)}
    own, outputs, active = Counter[str](), dict[str, tuple[int, ...] | None](), [""]

    def count(op: str, inputs: tuple, output: Any, static: dict) -> None:
        if active[-1] not in poolings:  # which may be matrix products inside
            own[active[-1]] += macs(op, inputs, output)

    def enter(name: str, module: nn.Module, args: tuple, kwargs: dict) -> None:
        active.append(name)

    def leave(name: str, module: nn.Module, result: Any) -> Any:
        active.pop()
        outputs[name] = _shape(result)
        return result

    run_watched(model, [zeros_for(model, shape)], enter, leave, count)
    step = training_memory(model, [zeros_for(model, shape)]) if memory else None
    rows = tuple(
        Row(
            name,
            type(module).__name__,
            outputs.get(name),
            sum(p.numel() for key, p in parameters.items() if _inside(key, name)),
            sum(n for key, n in own.items() if _inside(key, name)),
            None if step is None else sum(n for key, n in step.modules.items() if _inside(key, name)),
            None if step is None else sum(_state(p) for key, p in parameters.items() if _inside(key, name)),
        )
        for name, module in model.named_modules()
    )
    trainable = sum(p.numel() for p in parameters.values() if p.requires_grad)
    total = sum(p.numel() for p in parameters.values())
    return Summary(rows, shape, total, trainable, sum(own.values()), depth, step)


def macs(op: str, inputs: tuple, output: Any) -> int:
    """Multiply-accumulates of one operation, from the shapes of its inputs and output; 0 for all but products.

    `op` is the operation's name as `minigrad.autograd.observe` reports it. Everything that multiplies matrices or convolves is
    made of the operations in `PRODUCTS`; fused ones show their parts while they are observed.
    """
    return PRODUCTS[op](inputs[0].shape, inputs[1].shape, output.shape) if op in PRODUCTS else 0


# Operation -> its MACs from the shapes of its first two inputs and of its output.
PRODUCTS = {
    "matmul": lambda a, b, y: prod(y) * a[-1],  # (…, N, K), (…, K, M)
    "linear": lambda x, w, y: prod(y) * x[-1],  # (…, K), (O, K)
    "linear_weight": lambda g, x, y: prod(g) * x[-1],  # (…, O), (…, K): the sum over the rows
    "conv2d": lambda x, w, y: (
        prod(y) * prod(w[1:])
    ),  # (O, C/groups, kh, kw): each output value is a sum over all but the first
    "conv2d_input": lambda g, w, y: (
        prod(g) * prod(w[1:])
    ),  # each value of a transposed convolution's input goes into as many
    "conv2d_weight": lambda g, x, y: prod(g) * prod(y[1:]),
}


def _state(parameter: nn.Parameter) -> int:
    """Bytes of a parameter, and, if it is trained, of its gradient and AdamW's two slots."""
    return parameter._data.nbytes * (4 if parameter.requires_grad else 1)


def _memory_lines(memory: TrainingMemory) -> list[str]:
    parts = {
        "kept": (memory.kept, "by the tape between forward and backward"),
        "gradients": (memory.gradients, ""),
        "AdamW": (memory.optimizer, "two numbers for each that is trained"),
        "weights": (memory.parameters, ""),
        "step": (memory.step, "at most at once: weights, AdamW, the input, and what forward and backward make"),
    }
    width = max(len(_mb(size)) for size, _ in parts.values())
    return [f"{name:<10}  {_mb(size):>{width}} MB  {text}".rstrip() for name, (size, text) in parts.items()]


def _mb(size: int) -> str:
    """Bytes in MB (10⁶)."""
    return f"{size / 1e6:,.1f}" if size >= 1e5 or not size else f"{size / 1e6:.3f}"


def _shape(result: Any) -> tuple[int, ...] | None:
    """The shape of the first tensor in a module's result."""
    while isinstance(result, tuple | list) and result:
        result = result[0]
    return tuple(result.shape) if isinstance(result, Tensor) else None


def _inside(key: str, name: str) -> bool:
    return not name or key == name or key.startswith(name + ".")


def _times(shape: tuple[int, ...] | None) -> str:
    return "" if shape is None else "×".join(map(str, shape)) or "scalar"
