"""Where PyTorch takes numpy's names of parameters, `axis` for `dim` and `keepdims` for `keepdim`: the list in axis_names.py is what
calling its functions and methods gives."""

import inspect

import pytest
import torch
from axis_names import CALLS, NAMES

import minigrad as mg

ALIASES = {"dim": "axis", "dims": "axis", "keepdim": "keepdims"}


def made(value):
    """The tensors of a call, which the table has as nested lists."""
    return torch.tensor(value) if isinstance(value, list) else value


def takes(name: str, parameter: str) -> bool:
    """Whether PyTorch's function or method of this name takes a parameter under its other name."""
    values = {key: made(value) for key, value in CALLS[name].items()}
    renamed = {ALIASES[key] if key == parameter else key: value for key, value in values.items()}
    first = torch.ones(2, 3)
    if name in ("cat", "concat", "stack"):
        calls = [lambda **values: getattr(torch, name)([first, first], **values)]
    else:
        calls = [lambda **values: getattr(torch, name)(first, **values)]
    if name == "split":  # has another name for its first parameter as a method
        calls.append(lambda split_size_or_sections, **values: first.split(split_size_or_sections, **values))
    elif hasattr(first, name):
        calls.append(getattr(first, name))
    taken = False
    for call in calls:
        call(**values)
        try:
            call(**renamed)
            taken = True
        except TypeError:
            pass
    return taken


@pytest.mark.parametrize("name", CALLS)
def test_the_list_is_what_pytorch_takes(name):
    names = tuple(ALIASES[p] for p in CALLS[name] if p in ALIASES and takes(name, p))
    assert names == NAMES.get(name, ())


def test_every_function_with_a_dimension_is_tried():
    functions = {name: getattr(mg, name) for name in mg.functions.__all__}
    named = {name for name, f in functions.items() if set(inspect.signature(f).parameters) & set(ALIASES)}
    assert set(CALLS) == {name for name in named if hasattr(torch, name)} and set(NAMES) <= set(CALLS)
