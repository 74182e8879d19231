"""A table of a model's layers: names, output shapes, parameters and multiply-accumulate operations."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import minigrad as mg
from minigrad.visual.watch import input_shape_of, run_watched, zeros_for

POOLINGS = (mg.nn.AvgPool2d, mg.nn.MaxPool2d, mg.nn.AdaptiveAvgPool2d)


@dataclass(frozen=True)
class Row:
    """One module: its dotted name ("" is the model), class, output shape, parameters and MACs (children included)."""

    name: str
    kind: str
    output: tuple[int, ...] | None
    parameters: int
    macs: int


@dataclass(frozen=True)
class Summary:
    """What `summary` found. `str()` of it is the table, `rows` the same as data.

    `parameters` counts every parameter once, `trainable` those that require a gradient, `macs` the multiply-accumulate
    operations of one forward pass.
    """

    rows: tuple[Row, ...]
    input_shape: tuple[int, ...]
    parameters: int
    trainable: int
    macs: int
    depth: int | None = None

    def __str__(self) -> str:
        lines = [("layer", "output", "parameters", "MACs")]
        for row in self.rows:
            level = row.name.count(".") + 1 if row.name else 0
            if self.depth is not None and level > self.depth:
                continue
            label = f"{row.name.rpartition('.')[2]}: {row.kind}" if row.name else row.kind
            lines.append(("  " * level + label, _times(row.output), f"{row.parameters:,}", f"{row.macs:,}"))
        widths = [max(len(line[column]) for line in lines) for column in range(4)]
        rule = "─" * (sum(widths) + 6)
        table = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}" for a, b, c, d in lines]
        frozen = self.parameters - self.trainable
        return "\n".join(
            [table[0], rule, *table[1:], rule]
            + [f"input       {_times(self.input_shape)}"]
            + [f"parameters  {self.parameters:,}" + (f", {frozen:,} of them frozen" if frozen else "")]
            + [f"MACs        {self.macs:,}"]
        )


def summary(model: mg.nn.Module, input_shape: Sequence[int] | None = None, depth: int | None = None) -> Summary:
    """Run `model` once on zeros and count what each of its modules does.

    A MAC is one multiplication with one addition. Counted are convolutions (output values × kernel values × input
    channels of a group), linear layers and matrix products (output values × inner length), and so both products of an
    attention; norms, activations, poolings and biases are not. That is the usual convention of published "FLOPs".

    Args:
        model: any module with one floating-point input. Its training flags are as before afterwards.
        input_shape: the input's shape with the batch first, such as (1, 3, 224, 224); None takes one image of the size
            in `model.config`.
        depth: how many levels of nested modules the printed table shows; None shows all, 0 only the model.

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
    shape = input_shape_of(model, input_shape)
    if depth is not None and depth < 0:
        raise ValueError(f"depth must be at least 0, got {depth}")

    parameters = dict(model.named_parameters())
    poolings = {name for name, module in model.named_modules() if isinstance(module, POOLINGS)}
    own, outputs, active = Counter[str](), dict[str, tuple[int, ...] | None](), [""]

    def count(op: str, inputs: tuple, output: Any, static: dict) -> None:
        if active[-1] not in poolings:  # which may be matrix products inside
            own[active[-1]] += macs(op, inputs, output)

    def enter(name: str, module: mg.nn.Module, args: tuple, kwargs: dict) -> None:
        active.append(name)

    def leave(name: str, module: mg.nn.Module, result: Any) -> Any:
        active.pop()
        outputs[name] = _shape(result)
        return result

    run_watched(model, [zeros_for(model, shape)], enter, leave, count)
    rows = tuple(
        Row(
            name,
            type(module).__name__,
            outputs.get(name),
            sum(p.numel() for key, p in parameters.items() if _inside(key, name)),
            sum(n for key, n in own.items() if _inside(key, name)),
        )
        for name, module in model.named_modules()
    )
    trainable = sum(p.numel() for p in parameters.values() if p.requires_grad)
    return Summary(rows, shape, sum(p.numel() for p in parameters.values()), trainable, sum(own.values()), depth)


def macs(op: str, inputs: tuple, output: Any) -> int:
    """Multiply-accumulates of one operation, from the shapes of its inputs and output; 0 for all but products.

    `op` is the operation's name as `minigrad.autograd.observe` reports it.
    """
    if op == "conv2d":  # weight (C_out, C_in / groups, kh, kw): each output value is a sum over all but the first
        return prod(output.shape) * prod(inputs[1].shape[1:])
    if op == "conv_transpose2d":  # weight (C_in, C_out / groups, kh, kw): each input value goes into all but the first
        return prod(inputs[0].shape) * prod(inputs[1].shape[1:])
    if op in ("linear", "matmul"):
        return prod(output.shape) * inputs[0].shape[-1]
    if op == "scaled_dot_product_attention":  # (…, L, E) · (…, S, E)ᵀ, then (…, L, S) · (…, S, Ev)
        query, key, value = (tensor.shape for tensor in inputs[:3])
        return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])
    return 0


def _shape(result: Any) -> tuple[int, ...] | None:
    """The shape of the first tensor in a module's result."""
    while isinstance(result, tuple | list) and result:
        result = result[0]
    return tuple(result.shape) if isinstance(result, mg.Tensor) else None


def _inside(key: str, name: str) -> bool:
    return not name or key == name or key.startswith(name + ".")


def _times(shape: tuple[int, ...] | None) -> str:
    return "" if shape is None else "×".join(map(str, shape)) or "scalar"
