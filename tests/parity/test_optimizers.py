"""The optimisers of `minigrad.optim` on the samples of PyTorch's optimiser database: twenty steps, the state's names, loading
PyTorch's state; errors in PyTorch's words; the learning-rate schedules."""

import itertools
import re
import warnings

import numpy as np
import pytest
import torch
from torch.testing._internal.common_optimizers import optim_db

import minigrad as mg
from minigrad import nn, optim

RTOL = {("cpu", "float64"): 1e-14, ("cpu", "float32"): 2e-6, ("mlx", "float32"): 2e-5}
OPTIMISERS = [info for info in optim_db if hasattr(optim, info.optim_cls.__name__)]
INPUTS = pytest.mark.parametrize(
    "info, device, dtype",
    [pytest.param(i, d, t, id=f"{i.optim_cls.__name__}-{d}-{t}") for i in OPTIMISERS for d, t in RTOL],
)


def converted(value):
    """The same options with minigrad's tensors."""
    if isinstance(value, torch.nn.Parameter):
        return nn.Parameter(value.detach().numpy())
    if isinstance(value, torch.Tensor):
        return mg.tensor(value.detach().numpy(), device="cpu")
    if isinstance(value, dict):
        return {k: converted(v) for k, v in value.items()}
    return type(value)(converted(v) for v in value) if isinstance(value, list | tuple) else value


@INPUTS
def test_optimizer(info, device, dtype, record_property):
    failures, total = [], 0
    for sample in info.optim_inputs_func(device="cpu", dtype=getattr(torch, dtype)):
        for extra in ({}, {"foreach": False, "fused": None}):
            total += 1
            try:
                twenty_steps(info, {**sample.kwargs, **extra}, device, dtype)
            except Exception as error:  # whatever a sample raises is counted, and the rest goes on
                failures.append(f"{sample.desc} {sample.kwargs}: {type(error).__name__}: {error}")
    record_property("rate", (f"optim.{info.optim_cls.__name__}", f"{device} {dtype}", total - len(failures), 0, total))
    assert not failures, f"{len(failures)} of {total} samples:\n" + "\n".join(failures[:10])


def twenty_steps(info, options, device, dtype):
    torch.manual_seed(0)
    theirs = [torch.nn.Parameter(torch.randn(shape, dtype=getattr(torch, dtype))) for shape in [(3, 4), (5,), ()]]
    mine = [nn.Parameter(mg.tensor(p.detach().numpy(), device=device)) for p in theirs]
    ours = getattr(optim, info.optim_cls.__name__)
    a = info.optim_cls([{"params": theirs[:2]}, {"params": theirs[2:], "lr": 0.05}], **options)
    b = ours([{"params": mine[:2]}, {"params": mine[2:], "lr": 0.05}], **converted(options))
    for _ in range(20):
        for p, q in zip(theirs, mine, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = mg.tensor(p.grad.numpy(), device=device)
        a.step()
        b.step()
    for p, q in zip(theirs, mine, strict=True):
        assert q.dtype.name == dtype
        np.testing.assert_allclose(q.detach().numpy(), p.detach().numpy(), rtol=RTOL[device, dtype])
    state, own = a.state_dict(), b.state_dict()
    assert set(own["param_groups"][0]) == set(state["param_groups"][0])
    assert {k: set(v) for k, v in own["state"].items()} == {k: set(v) for k, v in state["state"].items() if v}
    b.load_state_dict(converted(state))


@pytest.mark.parametrize("info", OPTIMISERS, ids=lambda info: info.optim_cls.__name__)
def test_errors(info):
    for case in info.optim_error_inputs_func(device="cpu", dtype=torch.float32):
        given, seen = case.optimizer_error_input, {}
        params = [nn.Parameter([1.0])] if given.params is None else same_twice(given.params, seen)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(case.error_type if issubclass(case.error_type, Warning) else Exception) as caught:
                getattr(optim, info.optim_cls.__name__)(params, **converted(given.kwargs))
        assert isinstance(caught.value, case.error_type), f"{given.desc}: {caught.value!r}"
        assert re.search(case.error_regex, str(caught.value)), f"{given.desc}: {caught.value}"


def same_twice(params, seen):
    """Parameters converted one to one: a tensor named twice stays one."""
    if isinstance(params, torch.Tensor):
        return seen.setdefault(id(params), converted(params))
    if isinstance(params, dict):
        return {k: same_twice(v, seen) if k == "params" else v for k, v in params.items()}
    return [same_twice(p, seen) for p in params] if isinstance(params, list) else params


SCHEDULES = [
    ("StepLR", {"step_size": 3, "gamma": 0.4}), ("StepLR", {"step_size": 1, "gamma": 0.9}),
    ("MultiStepLR", {"milestones": [2, 5, 5, 11], "gamma": 0.3}), ("ExponentialLR", {"gamma": 0.9}),
    ("CosineAnnealingLR", {"T_max": 7, "eta_min": 0.01}), ("CosineAnnealingLR", {"T_max": 30}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 25}), ("OneCycleLR", {"max_lr": 0.6, "total_steps": 25, "three_phase": True}),
    ("OneCycleLR", {"max_lr": 2.0, "total_steps": 25, "pct_start": 0.7, "anneal_strategy": "linear", "cycle_momentum": False}),
]  # fmt: skip


@pytest.mark.parametrize("name, options", SCHEDULES, ids=str)
def test_schedules(name, options):
    theirs, mine = (
        torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], lr=0.5),
        optim.Adam([nn.Parameter([1.0])], lr=0.5),
    )
    a = getattr(torch.optim.lr_scheduler, name)(theirs, **options)
    b = getattr(optim.lr_scheduler, name)(mine, **options)
    for step in range(24):
        for key in ("lr", "betas"):
            np.testing.assert_allclose(
                mine.param_groups[0][key], theirs.param_groups[0][key], rtol=1e-13, err_msg=f"step {step}"
            )
        theirs.step()
        a.step()
        b.step()


RESUMED = [
    *SCHEDULES, ("LambdaLR", {"lr_lambda": lambda t: 0.9**t}), ("LambdaLR", {"lr_lambda": [lambda t: 1 / (1 + t)] * 2}),
]  # fmt: skip


@pytest.mark.parametrize("name, options", RESUMED, ids=[f"{i}-{name}" for i, (name, _) in enumerate(RESUMED)])
def test_schedules_that_go_on(name, options):
    """`last_epoch=` on an optimizer with the state of then: the rates of PyTorch, after each number of steps."""
    for done in range(12):
        runs = []
        for library, schedules, parameter in (
            (torch.optim, torch.optim.lr_scheduler, lambda: torch.nn.Parameter(torch.ones(1))),
            (optim, optim.lr_scheduler, lambda: nn.Parameter([1.0])),
        ):
            groups = [{"params": [parameter()]}, {"params": [parameter()], "lr": 0.2}]
            optimizer = library.Adam(groups, lr=0.5)
            schedule = getattr(schedules, name)(optimizer, **options)
            for _ in range(done):
                optimizer.step()
                schedule.step()
            again = library.Adam(groups, lr=0.125)
            again.load_state_dict(optimizer.state_dict())
            resumed = getattr(schedules, name)(again, **options, last_epoch=done - 1)
            rates = []
            for _ in range(10):
                rates.append([resumed.last_epoch, *resumed.get_last_lr()])
                rates.append([g["lr"] for g in again.param_groups] + [g["betas"][0] for g in again.param_groups])
                again.step()
                resumed.step()
            runs.append(rates)
        for theirs, mine in zip(*runs, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-12, err_msg=f"after {done} steps")
    for library, schedules, p in (
        (torch.optim, torch.optim.lr_scheduler, torch.nn.Parameter(torch.ones(1))),
        (optim, optim.lr_scheduler, nn.Parameter([1.0])),
    ):
        one = {k: v[:1] if isinstance(v, list) and k == "lr_lambda" else v for k, v in options.items()}
        with pytest.raises(KeyError, match="initial_lr|max_lr|momentum"):
            getattr(schedules, name)(library.Adam([p]), **one, last_epoch=3)


@pytest.mark.parametrize("norm", [0.0, 1.0, 2.0, 3.0, 0.5, float("inf"), float("-inf"), -1.0])
def test_clip_grad_norm(norm):
    torch.manual_seed(0)
    theirs = [torch.nn.Parameter(torch.zeros(shape)) for shape in [(3, 4), (5,)]]
    mine = [nn.Parameter(p.detach().numpy()) for p in theirs]
    for p, q in zip(theirs, mine, strict=True):
        p.grad = torch.randn_like(p)
        q.grad = mg.tensor(p.grad.numpy())
    total = torch.nn.utils.clip_grad_norm_(theirs, 0.7, norm)
    np.testing.assert_allclose(nn.utils.clip_grad_norm_(mine, 0.7, norm).item(), total.item(), rtol=1e-5)
    for p, q in zip(theirs, mine, strict=True):
        np.testing.assert_allclose(q.grad.numpy(), p.grad.numpy(), rtol=1e-5)


def options():
    """Every combination of the options of each optimizer."""
    product = itertools.product
    for decay, climb in product((0, 0.1), (False, True)):
        common = {"lr": 0.1, "weight_decay": decay, "maximize": climb}
        for momentum, dampening, nesterov in ((0, 0, False), (0.9, 0, False), (0.9, 0.5, False), (0.9, 0, True)):
            yield "SGD", {**common, "momentum": momentum, "dampening": dampening, "nesterov": nesterov}
        for name, amsgrad, betas, eps in product(
            ("Adam", "AdamW"), (False, True), ((0.9, 0.999), (0.3, 0.5)), (1e-8, 1e-3)
        ):
            yield name, {**common, "amsgrad": amsgrad, "betas": betas, "eps": eps}


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_a_life_of_an_optimizer(name):
    """Gradients that come and go, a state saved and taken up by an optimizer of another rate, a group added later, gradients made
    zeros: with every combination of options."""
    for given in (own for kind, own in options() if kind == name):
        ends = [a_life(library, make, name, given) for library, make in LIBRARIES]
        for theirs, mine in zip(*ends, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-14, err_msg=str(given))


LIBRARIES = (
    (torch.optim, lambda v: torch.nn.Parameter(torch.tensor(v, dtype=torch.float64))),
    (optim, lambda v: nn.Parameter(mg.tensor(v, dtype="float64"))),
)


def a_life(library, make, name, given):
    rng, kind = np.random.default_rng(0), getattr(library, name)
    parameters = [make(np.linspace(-1, 1, 6)), make(np.ones(2))]
    optimizer = kind(parameters, **given)
    for k in range(12):
        for i, p in enumerate(parameters):
            g = rng.normal(size=tuple(p.shape)) * 10 ** (k % 3 - 1)
            p.grad = None if i == 1 and k % 3 == 1 else make(g).detach()
        optimizer.step()
        if k == 4:
            state = optimizer.state_dict()
            optimizer = kind(parameters, **{**given, "lr": 0.3})
            optimizer.load_state_dict(state)
        if k == 6:
            parameters.append(make(np.full(3, 0.5)))
            optimizer.add_param_group({"params": parameters[-1:], "lr": 0.05})
        if k == 8:
            optimizer.zero_grad(set_to_none=False)
            optimizer.step()
        if k == 10:
            optimizer.zero_grad()
            optimizer.step()
    slots = optimizer.state_dict()["state"]
    return [
        *(p.detach().numpy() for p in parameters),
        *(np.asarray(v) for i in sorted(slots) for _, v in sorted(slots[i].items()) if v is not None),
    ]
