"""Optimisers against their formulas and PyTorch's numbers; state, schedules, clipping, averaging."""

import json
import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from minigrad.optim import lr_scheduler

START = [1.0, -2.0, 3.0, 0.5]


def gradient(step):
    return np.array([math.sin(4.0 * step + i + 1) for i in range(4)])


def parameter(device="cpu"):
    return nn.Parameter(mg.tensor(START, dtype="float64" if device == "cpu" else "float32", device=device))


def set_gradient(p, array):
    p.grad = mg.tensor(np.asarray(array), dtype=p.dtype, device=p.device)


def run(optimizer, p, steps, first=0):
    for k in range(first, first + steps):
        set_gradient(p, gradient(k))
        optimizer.step()
    return p.detach().numpy()


# Five steps of PyTorch 2.13 in float64 from START with the gradients above.
PYTORCH = [
    (optim.SGD, {"lr": 0.1}, [1.0246565259666403, -2.0325480926660586, 2.940171854995198, 0.46789752326224193]),
    (
        optim.SGD,
        {"lr": 0.1, "momentum": 0.9},
        [0.8898071777583495, -2.2419623512826132, 2.848727189579105, 0.5784962547114862],
    ),
    (
        optim.SGD,
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.5},
        [0.7726081973848339, -2.3071643702709994, 2.895468567539255, 0.694207222282518],
    ),
    (
        optim.SGD,
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        [0.778482150118798, -1.9044204336591346, 2.32940131088998, 0.44585222127517055],
    ),
    (
        optim.SGD,
        {"lr": 0.1, "weight_decay": 0.1, "maximize": True},
        [0.9246256106720131, -1.872093115179133, 2.9116306023401872, 0.5089967959786568],
    ),
    (optim.Adam, {"lr": 0.1}, [0.8874844630451889, -2.1787044964843347, 2.7927354988121316, 0.6010595573653994]),
    (
        optim.Adam,
        {"lr": 0.1, "betas": (0.3, 0.9)},
        [0.966906620843437, -2.066679059925802, 2.795408531822548, 0.5264017223399559],
    ),
    (
        optim.Adam,
        {"lr": 0.1, "weight_decay": 0.1},
        [0.8423720363014436, -2.0630498336991345, 2.673395567692313, 0.5725409777212417],
    ),
    (
        optim.Adam,
        {"lr": 0.1, "betas": (0.9, 0.5), "weight_decay": 0.1, "amsgrad": True},
        [0.8463356379766027, -2.0672146071904933, 2.6945215552274724, 0.5728905550044097],
    ),
    (
        optim.Adam,
        {"lr": 0.1, "weight_decay": 0.1, "maximize": True},
        [1.059187045954833, -1.7320238466369173, 2.8373596718226706, 0.3773892238817548],
    ),
    (optim.AdamW, {"lr": 0.1}, [0.8829065834038772, -2.168168632755607, 2.7784102272191933, 0.5981740683954769]),
    (
        optim.AdamW,
        {"lr": 0.1, "betas": (0.9, 0.5), "weight_decay": 0.3, "amsgrad": True},
        [0.761780324578593, -1.8730672184120016, 2.4017531025464383, 0.5168370448182595],
    ),
]


@pytest.mark.parametrize(
    ("kind", "options", "expected"), PYTORCH, ids=lambda v: v.__name__ if isinstance(v, type) else ""
)
def test_five_steps_are_pytorchs(device, kind, options, expected):
    p = parameter(device)
    found = run(kind([p], **options), p, 5)
    assert found.dtype == (np.float64 if device == "cpu" else np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-15 if device == "cpu" else 2e-6, atol=0)


OPTIONS = [
    *({"kind": kind, "weight_decay": decay, "amsgrad": amsgrad, "maximize": maximize, "betas": betas}
      for kind in (optim.Adam, optim.AdamW) for decay in (0, 0.1) for amsgrad in (False, True) for maximize in (False, True)
      for betas in ((0.9, 0.99), (0.3, 0.9))),
    *({"kind": optim.SGD, "weight_decay": decay, "momentum": momentum, "dampening": dampening, "nesterov": nesterov}
      for decay in (0, 0.1) for momentum, dampening, nesterov in ((0, 0, False), (0.9, 0, False), (0.9, 0.3, False), (0.9, 0, True))),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_devices_agree_whatever_computes_there(dtype):
    """On the CPU a kernel, for large arrays; on MLX the definition, with rates that are numbers or that only the device knows."""
    pytest.importorskip("mlx.core", exc_type=ImportError)
    rng = np.random.default_rng(0)
    start, grads = rng.standard_normal(5000), [rng.standard_normal(5000) for _ in range(5)]

    def run(device, kind, **options):
        p = nn.Parameter(mg.tensor(start, dtype=dtype, device=device))
        optimizer = kind([p], lr=0.01, **options, **({} if kind is optim.SGD else {"eps": 1e-3}))
        for g in grads:
            p.grad = mg.tensor(g, dtype=dtype, device=device)
            optimizer.step()
        return p.detach().float().numpy()

    ulp = 2.0**-23 if dtype == "float32" else 2.0**-10
    for options in OPTIONS:
        expected = run("cpu", **options)
        found = [run("mlx", **options)]
        if dtype == "float32" and options["kind"] is not optim.SGD:
            found.append(run("mlx", **options, capturable=True))
        for values in found:
            np.testing.assert_allclose(values, expected, rtol=4 * ulp, atol=4 * ulp, err_msg=str(options))


def test_tensor_learning_rates_are_pytorchs():
    expected = {  # PyTorch 2.13, a float32 tensor as lr beside float64 parameters
        optim.Adam: [0.8874844629035126, -2.1787044991557662, 2.7927354947206435, 0.6010595570769385],
        optim.SGD: [1.024656526334051, -2.032548093151062, 2.9401718541036885, 0.4678975227838778],
    }
    for kind, values in expected.items():
        p = parameter()
        np.testing.assert_allclose(run(kind([p], lr=mg.tensor(0.1)), p, 5), values, rtol=1e-15, atol=0)


def formula(name, steps, *, lr, betas=(0.9, 0.999), eps=1e-8, decay=0.0, momentum=0.0, nesterov=False):
    """The published formulas, in float64."""
    p, m, v = np.array(START), np.zeros(4), np.zeros(4)
    for t in range(1, steps + 1):
        g = gradient(t - 1)
        if name == "adamw":
            p = p - lr * decay * p
        else:
            g = g + decay * p
        if name == "sgd":
            m = momentum * m + g
            p = p - lr * (g + momentum * m if nesterov else m)
        else:
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g * g
            p = p - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
    return p


def test_many_steps_follow_the_formulas(device):
    tolerance = {"rtol": 1e-12} if device == "cpu" else {"rtol": 1e-4}
    for name, kind, options in [
        ("sgd", optim.SGD, {"lr": 0.05, "momentum": 0.8, "nesterov": True}),
        ("adam", optim.Adam, {"lr": 0.02}),
        ("adam", optim.Adam, {"lr": 0.02, "capturable": True}),
        ("adamw", optim.AdamW, {"lr": 0.02, "weight_decay": 0.05}),
    ]:
        p = parameter(device)
        found = run(kind([p], **options), p, 60)
        told = {key: value for key, value in options.items() if key not in ("weight_decay", "capturable")}
        expected = formula(name, 60, decay=options.get("weight_decay", 0.0), **told)
        # the count on the device is float32, so its corrections have seven digits
        np.testing.assert_allclose(found, expected, **({"rtol": 1e-6} if "capturable" in options else tolerance))


def test_capturable_keeps_the_first_corrections_digits(device):
    """1 - 0.999 in float32 has four digits; the step must have more."""
    plain, captured = parameter(device), parameter(device)
    run(optim.Adam([plain], lr=0.1), plain, 1)
    optimizer = optim.Adam([captured], lr=mg.tensor(0.1, device=device), capturable=True)
    run(optimizer, captured, 1)
    np.testing.assert_allclose(captured.detach().numpy(), plain.detach().numpy(), rtol=3e-7)
    assert optimizer.state[captured]["step"].device == device


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW])
def test_a_step_writes_into_no_array(device, kind):
    p = parameter(device)
    optimizer = kind([p], lr=0.1, weight_decay=0.1, **({"momentum": 0.9} if kind is optim.SGD else {"amsgrad": True}))
    run(optimizer, p, 2)
    data, grad, state = p.array, p.grad.array, optimizer.state_dict()
    kept = [p.backend.to_numpy(a).copy() for a in (data, grad)]
    saved = {name: t.numpy().copy() for name, t in state["state"][0].items()}
    optimizer.step()
    assert p.array is not data
    for a, b in zip((data, grad), kept, strict=True):
        np.testing.assert_array_equal(p.backend.to_numpy(a), b)
    for name, array in saved.items():
        np.testing.assert_array_equal(state["state"][0][name].numpy(), array)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtypes_stay(dtype):
    pytest.importorskip("mlx.core", exc_type=ImportError)
    for kind, options in [
        (optim.SGD, {"momentum": 0.9}),
        (optim.Adam, {"eps": 1e-3}),
        (optim.AdamW, {"lr": mg.tensor(0.1)}),
    ]:
        p = nn.Parameter(mg.tensor(START, dtype=dtype, device="mlx"))
        optimizer = kind([p], **options)
        run(optimizer, p, 2)
        assert p.dtype.name == dtype
        assert {t.dtype.name for name, t in optimizer.state[p].items() if name != "step"} == {dtype}


def test_zero_dimensional_and_frozen_parameters(device):
    a, b = (
        nn.Parameter(mg.tensor(2.0, device=device)),
        nn.Parameter(mg.tensor([1.0], device=device), requires_grad=False),
    )
    for kind in (optim.SGD, optim.Adam):
        optimizer = kind([a, b], lr=0.25)
        optimizer.zero_grad()
        (a * a).backward()
        before = a.item()
        optimizer.step()
        assert a.shape == () and a.item() < before and b.item() == 1


def test_training_reaches_the_least_squares_solution(device):
    mg.manual_seed(0)
    x = mg.randn(64, 3, device=device)
    y = x @ mg.tensor([[1.0], [-2.0], [0.5]], device=device) + 0.25
    for kind, options in [(optim.SGD, {"lr": 0.1, "momentum": 0.9}), (optim.AdamW, {"lr": 0.1, "weight_decay": 0})]:
        model = nn.Linear(3, 1, device=device)
        optimizer = kind(model.parameters(), **options)
        for _ in range(200):
            optimizer.zero_grad()
            loss = nn.MSELoss()(model(x), y)
            loss.backward()
            optimizer.step()
        np.testing.assert_allclose(model.weight.detach().numpy(), [[1, -2, 0.5]], atol=1e-3)
        assert model.bias.item() == pytest.approx(0.25, abs=1e-3)


def test_closure_and_zero_grad():
    p = parameter()
    optimizer = optim.SGD([p], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with mg.no_grad():
        assert optimizer.step(closure).item() == pytest.approx(14.25)
    np.testing.assert_allclose(p.detach().numpy(), 0.8 * np.array(START))
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0] * 4 and p.grad.dtype is mg.float64
    optimizer.zero_grad()
    assert p.grad is None
    optimizer.step()
    np.testing.assert_allclose(p.detach().numpy(), 0.8 * np.array(START))


# --- groups, state ----------------------------------------------------------------------------------------------------


def test_groups_have_their_own_options():
    a, b, c = parameter(), parameter(), parameter()
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5, "maximize": True}], lr=0.1)
    optimizer.add_param_group({"params": [c], "weight_decay": 1.0})
    for p in (a, b, c):
        set_gradient(p, np.ones(4))
    optimizer.step()
    start = np.array(START)
    np.testing.assert_allclose(a.detach().numpy(), start - 0.1)
    np.testing.assert_allclose(b.detach().numpy(), start + 0.5)
    np.testing.assert_allclose(c.detach().numpy(), start - 0.1 * (1 + start))
    named = optim.SGD(nn.Linear(1, 1).named_parameters())
    assert named.param_groups[0]["param_names"] == ["weight", "bias"]
    with pytest.raises(ValueError, match="cannot add param group without names"):
        named.add_param_group({"params": [parameter()]})


KINDS = [
    (optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    (optim.Adam, {"lr": 0.1, "amsgrad": True}),
    (optim.AdamW, {"lr": 0.1, "capturable": True}),
]


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=lambda v: v.__name__ if isinstance(v, type) else "")
def test_a_restored_optimizer_continues_exactly(device, kind, options, tmp_path):
    p = parameter(device)
    optimizer = kind([p], **options)
    run(optimizer, p, 3)
    tensors, groups = optim.flatten_state(optimizer.state_dict())
    from minigrad.serialize import load, save

    save(tmp_path / "state.safetensors", tensors)
    tensors, groups = load(tmp_path / "state.safetensors"), json.loads(json.dumps(groups))
    q = nn.Parameter(p.clone())
    other = kind([q], lr=7.0)
    other.load_state_dict(optim.unflatten_state(tensors, groups))
    assert other.param_groups[0]["lr"] == 0.1 and type(other.param_groups[0].get("betas", ())) is tuple
    np.testing.assert_array_equal(run(other, q, 3, first=3), run(optimizer, p, 3, first=3))


def test_state_dict_has_pytorchs_form():
    layer = nn.Linear(2, 1)
    optimizer = optim.Adam([{"params": [layer.weight]}, {"params": [layer.bias], "lr": 0.5}])
    layer(mg.ones(1, 2)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    assert list(state) == ["state", "param_groups"] and list(state["state"]) == [0, 1]
    assert list(state["state"][0]) == ["step", "exp_avg", "exp_avg_sq"]
    assert state["state"][0]["step"].item() == 1 and state["state"][0]["exp_avg"].shape == (1, 2)
    assert [group["params"] for group in state["param_groups"]] == [[0], [1]]
    assert [group["lr"] for group in state["param_groups"]] == [0.001, 0.5]
    assert set(state["param_groups"][0]) == {
        "lr", "betas", "eps", "weight_decay", "amsgrad", "maximize", "foreach", "capturable", "differentiable", "fused",
        "decoupled_weight_decay", "params",
    }  # fmt: skip
    assert optim.SGD([layer.weight]).state_dict()["state"] == {}


def test_loading_checks_everything_first():
    p, q = parameter(), nn.Parameter(mg.zeros(3))
    optimizer = optim.Adam([p])
    run(optimizer, p, 1)
    state = optimizer.state_dict()
    with pytest.raises(ValueError, match=r"groups of \[1\] parameters, the optimizer of \[2\]"):
        optim.Adam([parameter(), parameter()]).load_state_dict(state)
    other = optim.Adam([q], lr=3.0)
    with pytest.raises(ValueError, match=r"exp_avg of parameter 0 has shape \(4,\), the parameter \(3,\)"):
        other.load_state_dict(state)
    assert other.param_groups[0]["lr"] == 3.0 and not other.state
    with pytest.raises(ValueError, match="parameter 0 has step, exp_avg, exp_avg_sq; SGD keeps momentum_buffer"):
        optim.SGD([parameter()]).load_state_dict(state)
    with pytest.raises(ValueError, match="'weight' is no entry of a flattened optimiser state"):
        optim.unflatten_state({"weight": mg.zeros(1)}, [])


def test_a_moved_model_is_noticed_and_can_be_mended():
    pytest.importorskip("mlx.core", exc_type=ImportError)
    layer = nn.Linear(1, 1)
    optimizer = optim.Adam(layer.parameters())
    layer(mg.ones(1, 1)).sum().backward()
    optimizer.step()
    layer.to("mlx")
    with pytest.raises(mg.backend.BackendError, match="a parameter is on 'mlx' and its exp_avg on 'cpu'"):
        optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.step()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda p: optim.SGD([]), ValueError, "empty parameter list"),
        (lambda p: optim.SGD(p), TypeError, "should be an iterable of Tensors or dicts"),
        (lambda p: optim.SGD([p * 2]), ValueError, "can't optimize a non-leaf Tensor"),
        (lambda p: optim.SGD([3.0]), TypeError, "can only optimize Tensors, but one of the params is float"),
        (lambda p: optim.SGD([{"params": {p}}]), TypeError, "a set has none"),
        (lambda p: optim.SGD([{"params": [p]}, {"params": [p]}]), ValueError, "more than one parameter group"),
        (lambda p: optim.SGD([("p", p), p]), ValueError, "with/without names"),
        (lambda p: optim.SGD([p], lr=-0.1), ValueError, "Invalid learning rate: -0.1"),
        (lambda p: optim.SGD([p], lr=math.nan), ValueError, "Invalid learning rate: nan"),
        (lambda p: optim.SGD([p], lr=mg.tensor([0.1, 0.1])), ValueError, "Tensor lr must be 1-element"),
        (lambda p: optim.SGD([p], momentum=-0.5), ValueError, "Invalid momentum value: -0.5"),
        (
            lambda p: optim.SGD([p], nesterov=True),
            ValueError,
            "Nesterov momentum requires a momentum and zero dampening",
        ),
        (lambda p: optim.SGD([{"params": [p], "weight_decay": -1}]), ValueError, "Invalid weight_decay value: -1"),
        (lambda p: optim.Adam([p], betas=(1.0, 0.0)), ValueError, "Invalid beta parameter at index 0: 1.0"),
        (lambda p: optim.Adam([p], eps=-1), ValueError, "Invalid epsilon value: -1"),
        (lambda p: optim.Adam([p], betas=(0.9, mg.tensor(0.9))), ValueError, "either both floats or both Tensors"),
        (lambda p: optim.AdamW([p], differentiable=True), ValueError, "differentiable=True isn't offered"),
    ],
)
def test_mistakes(make, error, message):
    with pytest.raises(error, match=message):
        make(parameter())


@pytest.mark.parametrize("kind", [optim.SGD, optim.AdamW])
def test_a_gradient_of_another_shape_is_refused(kind):
    """A kernel on flat arrays, and broadcasting, would take it."""
    p = parameter()
    for wrong in (np.zeros((2, 4)), np.zeros(()), np.zeros(1)):
        with pytest.raises(RuntimeError, match=r"`.grad` of .* \(4,\) on cpu can't be .* must be the tensor's"):
            set_gradient(p, wrong)
        p._grad = mg.tensor(wrong, dtype=p.dtype)  # however it came there
        with pytest.raises(ValueError, match=r"of shape \(4,\) has shape .*; they must be equal"):
            kind([p], lr=0.1).step()
    assert p.tolist() == START


def test_duplicates_in_a_group_warn():
    p = parameter()
    with pytest.warns(UserWarning, match="a parameter group with duplicate parameters"):
        optim.SGD([p, p])


def test_repr_lists_the_options():
    assert repr(optim.SGD([parameter()], lr=0.1)).startswith("SGD (\nParameter Group 0\n    dampening: 0\n")


# --- schedules --------------------------------------------------------------------------------------------------------


def rates(make, steps, optimizer=None):
    optimizer = optimizer or optim.SGD([parameter()], lr=1.0, momentum=0.5)
    schedule = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        assert schedule.get_last_lr() == [found[-1]]
        schedule.step()
    return found


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (t + 1)), [1 / (t + 1) for t in range(9)]),
        (lambda o: lr_scheduler.StepLR(o, 3, gamma=0.5), [0.5 ** (t // 3) for t in range(9)]),
        (
            lambda o: lr_scheduler.MultiStepLR(o, [5, 2, 5], gamma=0.5),
            [1, 1, 0.5, 0.5, 0.5, 0.125, 0.125, 0.125, 0.125],
        ),
        (lambda o: lr_scheduler.ExponentialLR(o, 0.7), [0.7**t for t in range(9)]),
        (
            lambda o: lr_scheduler.CosineAnnealingLR(o, 4, eta_min=0.1),
            [0.1 + 0.45 * (1 + math.cos(math.pi * t / 4)) for t in range(9)],
        ),
        (
            lambda o: lr_scheduler.CosineWithWarmup(o, 2, 6, eta_min=0.1),
            [1 / 3, 2 / 3] + [0.1 + 0.45 * (1 + math.cos(math.pi * t / 4)) for t in range(5)] + [0.1, 0.1],
        ),
        (  # these two from PyTorch 2.13
            lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=10),
            [
                0.040000000000000036, 0.52, 1.0, 0.9504846320134737, 0.8117456539497631, 0.6112620219362893,
                0.38874197806371075, 0.18825834605023697, 0.049519367986526286,
            ],
        ),
        (
            lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=10, three_phase=True, anneal_strategy="linear"),
            [0.04, 0.52, 1.0, 0.52, 0.04, 0.0320008, 0.0240016, 0.0160024, 0.0080032],
        ),
    ],
)  # fmt: skip
def test_schedules(make, expected):
    np.testing.assert_allclose(rates(make, 9), expected, rtol=1e-12, atol=1e-15)


def test_one_cycle_moves_momentum_the_other_way():
    optimizer = optim.Adam([parameter()])
    schedule = lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, epochs=2, steps_per_epoch=5, pct_start=0.5)
    assert optimizer.param_groups[0]["betas"] == (0.95, 0.999)
    for _ in range(8):
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.04774756042325754, rel=1e-12)  # PyTorch 2.13
    assert optimizer.param_groups[0]["betas"] == pytest.approx((0.9404508497187474, 0.999), rel=1e-12)
    for _ in range(2):
        schedule.step()
    with pytest.raises(ValueError, match="Tried to step 11 times. The specified number of total steps is 10"):
        schedule.step()


def test_schedules_chain_and_keep_groups_apart():
    optimizer = optim.SGD([{"params": [parameter()], "lr": 1.0}, {"params": [parameter()], "lr": 0.1}])
    a, b = lr_scheduler.StepLR(optimizer, 2, gamma=0.5), lr_scheduler.ExponentialLR(optimizer, 0.9)
    for _ in range(4):
        a.step()
        b.step()
    np.testing.assert_allclose([g["lr"] for g in optimizer.param_groups], [0.25 * 0.9**4, 0.025 * 0.9**4])


def test_a_tensor_learning_rate_stays_one_tensor():
    lr = mg.tensor(1.0, dtype="float64")
    optimizer = optim.SGD([parameter()], lr=lr)
    schedule = lr_scheduler.ExponentialLR(optimizer, 0.1)
    schedule.step()
    assert optimizer.param_groups[0]["lr"] is lr and lr.item() == 0.1 and lr.dtype is mg.float64


SCHEDULES = {
    "step": lambda o: lr_scheduler.StepLR(o, 2),
    "multistep": lambda o: lr_scheduler.MultiStepLR(o, [2, 3]),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 5),
    "warmup": lambda o: lr_scheduler.CosineWithWarmup(o, 2, 9),
    "onecycle": lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=12),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda t: 0.9**t),
}


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
def test_a_restored_schedule_continues_exactly(make):
    whole = rates(make, 9)
    optimizer = optim.SGD([parameter()], lr=1.0, momentum=0.5)
    schedule = make(optimizer)
    for _ in range(4):
        schedule.step()
    saved = json.loads(json.dumps([schedule.state_dict(), optim.flatten_state(optimizer.state_dict())[1]]))
    optimizer = optim.SGD([parameter()], lr=1.0, momentum=0.5)
    schedule = make(optimizer)
    schedule.load_state_dict(saved[0])
    optimizer.load_state_dict(optim.unflatten_state({}, saved[1]))
    for expected in whole[4:]:
        assert optimizer.param_groups[0]["lr"] == schedule.get_last_lr()[0] == expected
        schedule.step()
    with pytest.raises(ValueError, match="the state dict has other;"):
        schedule.load_state_dict({"other": 1})


@pytest.mark.parametrize("gamma", [0.5, 0.9])
def test_a_schedule_that_goes_on_is_not_a_step_ahead(gamma):
    """`last_epoch=n - 1` after n steps: the rates go on as they would have."""
    for make in (
        lambda o, **k: lr_scheduler.ExponentialLR(o, gamma, **k),
        lambda o, **k: lr_scheduler.CosineAnnealingLR(o, 7, 0.01, **k),
        lambda o, **k: lr_scheduler.LambdaLR(o, lambda t: gamma**t, **k),
        lambda o, **k: lr_scheduler.CosineWithWarmup(o, 3, 9, **k),
        lambda o, **k: lr_scheduler.StepLR(o, 4, gamma, **k),
    ):
        whole = rates(make, 12)
        for done in (1, 2, 3, 5, 9):
            optimizer = optim.SGD([parameter()], lr=1.0, momentum=0.5)
            optimizer.param_groups[0].update(lr=whole[done], initial_lr=1.0)
            schedule = make(optimizer, last_epoch=done - 1)
            for expected in whole[done:]:
                assert (
                    optimizer.param_groups[0]["lr"] == schedule.get_last_lr()[0] == pytest.approx(expected, rel=1e-12)
                )
                schedule.step()
            assert set(schedule.state_dict()) == set(make(optim.SGD([parameter()], lr=1.0)).state_dict())


def test_schedule_mistakes():
    optimizer = optim.SGD([parameter()], lr=1.0)
    with pytest.raises(TypeError, match="StepLR needs an optimizer, got float"):
        lr_scheduler.StepLR(1.0, 3)
    with pytest.raises(ValueError, match="Expected 1 lr_lambdas, one for each group, but got 2"):
        lr_scheduler.LambdaLR(optimizer, [abs, abs])
    with pytest.raises(ValueError, match="step_size must be at least 1"):
        lr_scheduler.StepLR(optimizer, 0)
    with pytest.raises(ValueError, match="between 0 and total_steps=5, got 6"):
        lr_scheduler.CosineWithWarmup(optimizer, 6, 5)
    with pytest.raises(ValueError, match="needs total_steps, or epochs and steps_per_epoch"):
        lr_scheduler.OneCycleLR(optimizer, 1.0, epochs=3)
    with pytest.raises(KeyError, match="no 'initial_lr'"):
        lr_scheduler.StepLR(optim.SGD([parameter()]), 3, last_epoch=4)


# --- clipping, averaging ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "norm"), [(2.0, 13.0), (1.0, 19.0), (math.inf, 12.0), (3.0, (27 + 64 + 1728) ** (1 / 3))]
)
def test_clip_grad_norm(device, p, norm):
    a, b = nn.Parameter(mg.zeros(2, device=device)), nn.Parameter(mg.zeros(1, 1, device=device))
    set_gradient(a, [3.0, -4.0])
    set_gradient(b, [[12.0]])
    held = a.grad
    parameters = [a, b, nn.Parameter(mg.zeros(9))]
    assert nn.utils.clip_grad_norm_(parameters, 100.0, norm_type=p).item() == pytest.approx(norm, rel=1e-6)
    assert a.grad.tolist() == [3.0, -4.0]  # short enough: not lengthened
    assert nn.utils.clip_grad_norm_(iter(parameters), norm / 2, norm_type=p).item() == pytest.approx(norm, rel=1e-6)
    np.testing.assert_allclose(a.grad.numpy(), [1.5, -2.0], rtol=1e-6)
    np.testing.assert_allclose(b.grad.numpy(), [[6.0]], rtol=1e-6)
    assert held is a.grad and held.device == device  # written in its place


def test_clip_grad_norm_corners(device):
    p = nn.Parameter(mg.zeros(2, device=device))
    assert nn.utils.clip_grad_norm_([p], 1.0).item() == 0
    set_gradient(p, [math.inf, 1.0])
    with pytest.raises(RuntimeError, match="norm is inf"):
        nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    assert p.grad.tolist() == [math.inf, 1.0]
    set_gradient(p, [0.0, 0.0])
    assert nn.utils.clip_grad_norm_(p, 1.0).item() == 0 and p.grad.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("p", "norm"), [(0, 2.0), (-math.inf, 3.0), (-1, 1 / (1 / 3 + 1 / 4 + 1 / 12)), (0.5, 51.784609)]
)
def test_clip_grad_norm_of_other_orders(device, p, norm):
    """0 counts the gradients that aren't zero, as PyTorch does."""
    a, b, empty = (nn.Parameter(mg.zeros(n, device=device)) for n in (2, 1, 0))
    set_gradient(a, [3.0, -4.0])
    set_gradient(b, [12.0])
    empty.grad = mg.zeros(0, device=device)
    assert nn.utils.clip_grad_norm_([empty, a, b], norm / 2, norm_type=p).item() == pytest.approx(norm, rel=1e-5)
    np.testing.assert_allclose(a.grad.numpy(), [1.5, -2.0], rtol=1e-5)
    np.testing.assert_allclose(b.grad.numpy(), [6.0], rtol=1e-5)
    for p in (0, 2, math.inf, -math.inf):
        assert nn.utils.clip_grad_norm_([empty], 1.0, norm_type=p).item() == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("p", [1, 2, 3, math.inf])
def test_clip_grad_norm_of_16_bits(device, dtype, p):
    """The norm is computed in float32: squares overflow float16 from 256 on, sums in bfloat16 lose all but two digits."""
    if dtype not in mg.zeros(1, device=device).backend.dtypes:
        pytest.skip(f"{device} has no {dtype}")
    values = np.concatenate([np.full(300, 300.0), np.linspace(-2000, 2000, 64)])
    first = nn.Parameter(mg.zeros(len(values), dtype=dtype, device=device))
    second = nn.Parameter(mg.zeros(2, dtype=dtype, device=device))
    for scale in (1, 25, 1e-4):
        set_gradient(first, mg.tensor(values * scale, dtype=dtype, device=device))
        set_gradient(second, mg.tensor([1.0, -scale], dtype=dtype, device=device))
        before = np.concatenate([first.grad.float().numpy(), second.grad.float().numpy()]).astype("float64")
        norm = nn.utils.clip_grad_norm_([first, second], 0.5, norm_type=p)
        expected = np.linalg.norm(before, p)
        assert norm.dtype == "float32" and norm.item() == pytest.approx(expected, rel=1e-5)
        after = np.concatenate([first.grad.float().numpy(), second.grad.float().numpy()])
        assert first.grad.dtype == dtype
        close = {"float16": 2**-11, "bfloat16": 2**-8}[dtype]
        np.testing.assert_allclose(after, before * min(1, 0.5 / (expected + 1e-6)), rtol=close * 1.1, atol=1e-7)
    set_gradient(second, [math.inf, 0.0])
    with pytest.raises(RuntimeError, match="norm is inf"):
        nn.utils.clip_grad_norm_([first, second], 1.0, error_if_nonfinite=True)


def test_clip_grad_value(device):
    p = nn.Parameter(mg.zeros(3, device=device))
    set_gradient(p, [-5.0, 0.25, 2.0])
    nn.utils.clip_grad_value_([p, nn.Parameter(mg.zeros(1))], 0.5)
    assert p.grad.tolist() == [-0.5, 0.25, 0.5]


def test_ema(device):
    model = nn.Sequential(nn.Linear(1, 1, bias=False, device=device), nn.BatchNorm1d(1, affine=False, device=device))
    nn.init.constant_(model[0].weight, 1.0)
    ema = optim.EMA(model, decay=0.75)
    expected = 1.0
    for k in range(4):
        nn.init.constant_(model[0].weight, k)
        model(mg.randn(4, 1, device=device))
        ema.update()
        expected = 0.75 * expected + 0.25 * k
    assert ema.average["0.weight"].item() == pytest.approx(expected, rel=1e-6)
    assert ema.average["1.num_batches_tracked"].item() == 4 and ema.average["0.weight"].device == device
    with pytest.raises(KeyError), ema.applied():
        assert model[0].weight.item() == pytest.approx(expected, rel=1e-6)
        raise KeyError
    assert model[0].weight.item() == 3
    state = ema.state_dict()
    ema.update()
    other = optim.EMA(nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1, affine=False)), 0.75)
    other.load_state_dict(state)
    assert other.updates == 4 and other.average["0.weight"].item() == pytest.approx(expected, rel=1e-6)
    other.copy_to()
    assert other.module[0].weight.item() == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match=r"missing 1\.running_var; .*unexpected x"):
        other.load_state_dict({name: t for name, t in state.items() if name != "1.running_var"} | {"x": mg.zeros(1)})


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("warmup", [False, True])
def test_ema_of_16_bits_does_not_stall(device, dtype, warmup):
    """A thousandth of a change is less than half a step of 16 bits: the average is kept in float32."""
    if dtype not in mg.zeros(1, device=device).backend.dtypes:
        pytest.skip(f"{device} has no {dtype}")
    layer, wide = (nn.Linear(2, 1, bias=False, device=device, dtype=d) for d in (dtype, "float32"))
    ema, exact = optim.EMA(layer, 0.999, warmup), optim.EMA(wide, 0.999, warmup)
    for module, average in ((layer, ema), (wide, exact)):
        nn.init.constant_(module.weight, 1.0)
        average.load_state_dict(optim.EMA(module).state_dict())
        nn.init.constant_(module.weight, 2.0)
    for k in range(60):
        ema.update()
        exact.update()
        if k == 30:  # saved and taken up again, and as it was saved before: in 16 bits
            again = optim.EMA(layer, 0.999, warmup)
            again.load_state_dict(ema.state_dict())
            old = {
                name: t.astype(layer.weight.dtype) if t.is_floating_point() else t
                for name, t in ema.state_dict().items()
            }
            optim.EMA(layer, 0.999, warmup).load_state_dict(old)
            ema = again
    assert ema.average["weight"].tolist() == exact.average["weight"].tolist()
    assert ema.average["weight"][0, 0].item() > 1.05 and ema.average["weight"].dtype == "float32"
    with ema.applied():
        assert layer.weight.dtype == dtype
        assert layer.weight.tolist() == exact.average["weight"].astype(layer.weight.dtype).tolist()
    assert layer.weight.tolist() == [[2.0, 2.0]]
    ema.copy_to()
    assert layer.weight.dtype == dtype and layer.weight[0, 0].item() > 1.05


def test_ema_warmup_forgets_the_start_soon():
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 100.0)
    ema = optim.EMA(layer, decay=0.999, warmup=True)
    nn.init.constant_(layer.weight, 0.0)
    ema.update()
    assert ema.average["weight"].item() == pytest.approx(100 * 2 / 11, rel=1e-6)
    with pytest.raises(ValueError, match="between 0 and 1, got 1.5"):
        optim.EMA(layer, decay=1.5)
