"""The layers of `minigrad.nn` on the samples of PyTorch's module database: constructor arguments, names of parameters and
buffers, forward, gradients, and the buffers after the forward."""

import warnings

import numpy as np
import pytest
import torch
from opinfo import DTYPES, leaves, nested
from torch.testing._internal.common_modules import module_db

import minigrad as mg
from minigrad import nn

# float64 sums in another order than PyTorch's; float32 differs by the order of long sums in convolutions and attention.
TOLERANCE = {"float64": 1e-9, "float32": 2e-5}
NO_REPR = {"MultiheadAttention"}  # shows PyTorch's own sublayer for the output projection

CASES = [
    pytest.param(info, device, dtype, id=f"{info.module_cls.__name__}-{device}-{dtype}")
    for info in module_db
    if info.module_cls.__name__ in nn.__all__ and not info.module_cls.__module__.startswith("torch.ao")
    for device, dtype in (("cpu", "float64"), ("cpu", "float32"), ("mlx", "float32"))
]


def converted(value, device):
    """The same arguments with minigrad's tensors, dtypes and devices."""

    def tensor(t):
        return mg.tensor(t.detach().numpy(), device=device, requires_grad=t.requires_grad and t.is_leaf)

    return nested(value, tensor, DTYPES, device)


@pytest.mark.parametrize("info, device, dtype", CASES)
def test_module(info, device, dtype, record_property):
    name, kind, failures, total = info.module_cls.__name__, getattr(torch, dtype), [], 0
    for training in (True, False) if info.train_and_eval_differ else (True,):
        torch.manual_seed(0)
        options = {"device": "cpu", "dtype": kind, "requires_grad": True, "training": training}
        for sample in info.module_inputs_func(info, **options):
            total += 1
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                try:
                    compare(info, sample, training, device, dtype)
                except Exception as error:  # whatever a sample raises is counted, and the rest goes on
                    arguments = sample.constructor_input
                    failures.append(f"{arguments.args} {arguments.kwargs}: {type(error).__name__}: {error}")
    record_property("rate", (f"nn.{name}", f"{device} {dtype}", total - len(failures), 0, total))
    assert not failures, f"{len(failures)} of {total} samples:\n" + "\n".join(failures[:10])


def compare(info, sample, training, device, dtype):
    name, tolerance = info.module_cls.__name__, TOLERANCE[dtype]
    args, kwargs = sample.constructor_input.args, sample.constructor_input.kwargs
    theirs = info.module_cls(*args, **kwargs).to(getattr(torch, dtype)).train(training)
    placed = {"dtype": dtype, "device": device} if list(theirs.parameters()) or "Norm" in name else {}
    mine = getattr(nn, name)(*converted(args, device), **converted(kwargs, device), **placed).train(training)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    assert list(dict(mine.named_parameters())) == list(dict(theirs.named_parameters()))
    assert name in NO_REPR or repr(mine) == repr(theirs)
    mine.load_state_dict({n: v.numpy() for n, v in theirs.state_dict().items()})

    args, kwargs = sample.forward_input.args, sample.forward_input.kwargs
    own_args, own_kwargs = converted(args, device), converted(kwargs, device)
    wanted, got = leaves(theirs(*args, **kwargs)), leaves(mine(*own_args, **own_kwargs))
    assert len(got) == len(wanted)
    for x, y in zip(got, wanted, strict=True):
        same(x, y, tolerance)
    if wanted[0].requires_grad:
        g = torch.randn(wanted[0].shape, dtype=wanted[0].dtype)
        wanted[0].backward(g)
        got[0].backward(converted(g, device))
        inputs = [t for t in [*args, *kwargs.values()] if isinstance(t, torch.Tensor) and t.requires_grad and t.is_leaf]
        own = [t for t in [*own_args, *own_kwargs.values()] if isinstance(t, mg.Tensor) and t.requires_grad]
        for x, y in zip([*own, *mine.parameters()], [*inputs, *theirs.parameters()], strict=True):
            same(x.grad, y.grad, tolerance)
    for n, value in theirs.state_dict().items():
        same(mine.state_dict()[n], value, tolerance)


def same(mine, theirs, tolerance):
    assert (mine is None) == (theirs is None)
    if theirs is not None:
        assert mine.dtype is DTYPES[theirs.dtype]
        np.testing.assert_allclose(mine.detach().numpy(), theirs.detach().numpy(), rtol=tolerance, atol=tolerance)
