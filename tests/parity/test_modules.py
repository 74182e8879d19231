"""The layers of `minigrad.nn` on the samples of PyTorch's module database: constructor arguments, names of parameters and
buffers, forward, gradients, and the buffers after the forward."""

import itertools
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


@pytest.mark.parametrize("rank", [2, 3, 4])
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("tracked", [True, False])
def test_batch_norm_whose_flag_changes(rank, momentum, tracked, device):
    """`track_running_stats` at construction and set later, buffers there, None or without the count, in every order of training and
    evaluation: outputs and buffers."""
    x = np.random.default_rng(rank).normal(size=(6, 3, 4, 2)[:rank]).astype("float32")
    kind = {2: "BatchNorm1d", 3: "BatchNorm1d", 4: "BatchNorm2d"}[rank]
    for later, gone, modes in itertools.product(
        (True, False, None),
        ((), ("num_batches_tracked",), ("running_mean", "running_var"), ("running_mean", "running_var", "num_batches_tracked")),
        ((True,), (False,), (True, False, True), (False, True, True, False)),
    ):  # fmt: skip
        mine = getattr(nn, kind)(3, momentum=momentum, track_running_stats=tracked, device=device)
        theirs = getattr(torch.nn, kind)(3, momentum=momentum, track_running_stats=tracked)
        for layer in (mine, theirs):
            for name in gone:
                setattr(layer, name, None)
            if later is not None:
                layer.track_running_stats = later
        for training in modes:
            out, expected = mine.train(training)(mg.tensor(x, device=device)), theirs.train(training)(torch.tensor(x))
            np.testing.assert_allclose(out.numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5)
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                left, right = getattr(mine, name), getattr(theirs, name)
                assert (left is None) == (right is None), (name, later, gone, modes)
                if left is not None:
                    np.testing.assert_allclose(left.numpy(), right.numpy(), rtol=1e-5, atol=1e-6)
