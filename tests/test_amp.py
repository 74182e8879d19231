"""Mixed precision: what autocast casts, what stays in float32, and the scaler against its definition."""

import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.autograd.autocast import HIGH, LOW
from minigrad.nn import functional as F

pytestmark = pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered")  # wanted here
LOW_DTYPES = {"cpu": ["float16"], "mlx": ["float16", "bfloat16"]}


@pytest.fixture(params=[("cpu", "float16"), ("mlx", "float16"), ("mlx", "bfloat16")], ids=lambda p: "-".join(p))
def low(request):
    """A device and a 16-bit dtype that it has."""
    if request.param[0] == "mlx":
        pytest.importorskip("mlx.core", exc_type=ImportError)
    return request.param


def normal(*shape, seed=0, device="cpu", **options):
    return mg.tensor(np.random.default_rng(seed).normal(size=shape).astype(np.float32), device=device, **options)


# --- autocast -----------------------------------------------------------------------------------------------------------
def test_which_operations_compute_in_which_dtype(low):
    device, dtype = low
    x, w, v = normal(2, 4, device=device), normal(4, 4, seed=1, device=device), normal(4, seed=2, device=device)
    image, kernel = normal(1, 2, 5, 5, device=device), normal(3, 2, 3, 3, seed=1, device=device)
    half = x.astype(dtype)
    tokens = normal(1, 9, 4, device=device)
    mlp = (normal(6, 4), normal(6), normal(6, 1, 3, 3), normal(6), normal(4, 6), normal(4))
    mlp = [t.to(device) for t in mlp]
    with mg.autocast(dtype):
        products = {
            "matmul": x @ w,
            "matmul of two dtypes": half @ w,
            "linear": F.linear(x, w, v),
            "conv2d": F.conv2d(image, kernel),
            "conv_transpose2d": F.conv_transpose2d(image, kernel.permute(1, 0, 2, 3)),
            "einsum": mg.einsum("ij,jk->ik", x, w),
            "attention": F.scaled_dot_product_attention(x, w, w),
            "masked attention": F.scaled_dot_product_attention(x, w, w, attn_mask=mg.zeros(2, 4, device=device)),
            "conv_mlp": F.conv_mlp(tokens, *mlp, size=(3, 3), relu=False),
            "relu": (x @ w).relu(),
            "gelu": F.gelu(x @ w),
        }
        wide = {
            "softmax": F.softmax(half, -1),
            "log_softmax": F.log_softmax(half, -1),
            "layer_norm": F.layer_norm(half, (4,), v, v),
            "group_norm": F.group_norm(half, 2, v, v),
            "batch_norm": F.batch_norm(half, None, None, v, v, training=True),
            "sum": half.sum(),
            "mean": half.mean(0),
            "var": half.var(0),
            "exp": half.exp(),
            "power": half**2,
            "cross_entropy": F.cross_entropy(half, mg.tensor([0, 1], device=device)),
            "mse_loss": F.mse_loss(half, half),
            "with float32": half + x,
            "average pooling": F.avg_pool2d(image.astype(dtype), 2),
            "adaptive pooling": F.adaptive_avg_pool2d(image, 2),
        }
        with mg.autocast(enabled=False):
            off = x @ w
            kept = half @ half.mT
        assert mg.is_autocast_enabled()
    assert {name: t.dtype.name for name, t in products.items()} == dict.fromkeys(products, dtype)
    assert {name: t.dtype.name for name, t in wide.items()} == dict.fromkeys(wide, "float32")
    assert off.dtype == "float32" and kept.dtype == dtype and (x @ w).dtype == "float32"
    assert not mg.is_autocast_enabled()
    assert {*LOW, *HIGH} <= set(mg.autograd.REGISTRY)


def test_gradients_come_back_in_the_dtype_of_the_leaves(low):
    """The casts are on the tape: one cast there, one back, the derivative in between in 16 bits."""
    device, dtype = low
    w = normal(4, 4, seed=1, device=device, requires_grad=True)
    x = normal(3, 4, device=device, requires_grad=True)
    seen = []
    with mg.autograd.observe(lambda name, inputs, out, static: seen.append((name, out.dtype.name))), mg.autocast(dtype):
        y = x @ w
        y.register_hook(lambda g: seen.append(("gradient", g.dtype.name)))
        (y * y).mean().backward()
    assert seen[:3] == [("cast", dtype), ("cast", dtype), ("matmul", dtype)] and ("gradient", dtype) in seen
    a, b = (t.astype(dtype).numpy().astype(np.float32) for t in (x, w))
    exact = 2 / 12 * a.T @ (a @ b)
    assert w.grad.dtype == x.grad.dtype == "float32"
    np.testing.assert_allclose(w.grad.numpy(), exact, rtol=0, atol=0.02 * np.abs(exact).max())
    assert np.abs(w.grad.numpy() - exact).max() > 0  # it was rounded


def test_float64_is_left_alone_and_mixtures_with_it_are_refused():
    wide = mg.ones(2, 2, dtype="float64")
    with mg.autocast("float16"):
        assert (wide @ wide).dtype == "float64"
        with pytest.raises(TypeError, match="matmul.*dtypes differ.*float64"):
            wide @ mg.ones(2, 2)


def test_the_cpu_refuses_bfloat16_in_a_sentence():
    with mg.autocast("bfloat16"), pytest.raises(TypeError, match=r"linear: device 'cpu' has no bfloat16.*float16.*mlx"):
        nn.Linear(2, 2)(mg.ones(1, 2))
    with pytest.raises(ValueError, match="'float16', 'bfloat16' or 'auto', got 'float32'"):
        mg.autocast("float32")
    with pytest.raises(ValueError, match="got 'cuda'"):
        mg.autocast("cuda")


def test_as_a_decorator_and_by_dtype():
    @mg.autocast(mg.float16)
    def product(x):
        return x @ x

    assert product(mg.ones(2, 2)).dtype == "float16" and not mg.is_autocast_enabled()
    with mg.autocast():
        assert (mg.ones(2, 2) @ mg.ones(2, 2)).dtype == "float16"


@pytest.mark.parametrize("chip, expected", [("applegpu_g13s", "float16"), ("applegpu_g14d", "float16"),
                                            ("applegpu_g15p", "bfloat16"), ("applegpu_g16g", "bfloat16"),
                                            ("sm_90", "bfloat16"), ("x86_64", "bfloat16")])  # fmt: skip
def test_the_default_follows_the_chip(chip, expected, monkeypatch):
    pytest.importorskip("mlx.core", exc_type=ImportError)
    from minigrad.backend import mlx_device

    monkeypatch.setattr(mlx_device, "architecture", lambda: chip)
    x = mg.ones(2, 2, device="mlx")
    with mg.autocast():
        assert (x @ x).dtype == expected


def test_backward_inside_takes_no_notice(low):
    """Also of second order, where derivatives are operations on tensors."""
    device, dtype = low
    x = normal(3, 4, device=device, requires_grad=True)
    layer = nn.Linear(4, 2, device=device)
    results = []
    for inside in (True, False):
        with mg.autocast(dtype):
            y = F.layer_norm(layer(x), (2,)).exp().sum()
            if inside:
                (g,) = mg.grad(y, x, create_graph=True)
                (h,) = mg.grad((g * g).sum(), x)
        if not inside:
            (g,) = mg.grad(y, x, create_graph=True)
            (h,) = mg.grad((g * g).sum(), x)
        results.append((g.numpy(), h.numpy()))
        assert g.dtype == h.dtype == "float32"
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_recomputation_has_the_precision_of_the_forward(low):
    device, dtype = low
    mg.manual_seed(0)
    layers = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8)).to(device)
    x = normal(5, 8, device=device, requires_grad=True)
    grads = []
    for run in (layers, lambda x: mg.autograd.checkpoint(layers, x)):
        with mg.autocast(dtype):
            loss = run(x).square().mean()
        x.grad = None
        layers.zero_grad()
        loss.backward()
        grads.append([t.grad.numpy() for t in (x, *layers.parameters())])
    for a, b in zip(*grads, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", LOW_DTYPES["mlx"])
@pytest.mark.parametrize("linear", [False, True])
def test_pvt_in_16_bits(dtype, linear):
    """Loss and gradients near float32's, parameters and gradients in float32, the tokens between the blocks too."""
    pytest.importorskip("mlx.core", exc_type=ImportError)
    mg.manual_seed(0)
    config = mg.models.PVTV2Config(
        num_stages=2, num_classes=5, embed_dims=(8, 16), depths=(1, 1), num_heads=(1, 2), sr_ratios=(2, 1), mlp_ratios=(2, 2),
        patch_sizes=(7, 3), strides=(4, 2), linear=linear,
    )  # fmt: skip
    model = mg.models.PVT_V2(config).to("mlx")
    x, y = normal(2, 3, 64, 64, device="mlx"), mg.tensor([1, 3], device="mlx")

    def gradients(dtype):
        model.zero_grad()
        scaler = mg.GradScaler(enabled=dtype == "float16")
        with mg.autocast(dtype or "auto", enabled=dtype is not None):
            loss = F.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.unscale_(mg.optim.SGD(model.parameters()))
        assert (
            {p.dtype.name for p in model.parameters()} == {p.grad.dtype.name for p in model.parameters()} == {"float32"}
        )
        return loss.item(), np.concatenate([p.grad.numpy().ravel() for p in model.parameters()])

    (loss, exact), (rounded_loss, rounded) = gradients(None), gradients(dtype)
    tolerance = 2e-2 if dtype == "bfloat16" else 3e-3
    assert abs(rounded_loss - loss) < tolerance
    assert 0 < np.linalg.norm(rounded - exact) < tolerance * np.linalg.norm(exact)


# --- the scaler ---------------------------------------------------------------------------------------------------------
class Job:
    """A layer, an optimizer and a scaler; a step with a factor that may overflow."""

    def __init__(self, device, make=mg.optim.AdamW, compiled=False, clip=None, **options):
        mg.manual_seed(0)
        self.model = nn.Linear(6, 3, device=device)
        self.optimizer = make(self.model.parameters(), **{"lr": 0.05, **options})
        self.scaler = mg.optim.GradScaler(init_scale=1024.0, growth_interval=3)
        self.clip = clip
        self.step = mg.compile(self._step, state=[self.model, self.optimizer, self.scaler]) if compiled else self._step

    def _step(self, x, y, factor):
        with mg.autocast("float16"):
            loss = F.cross_entropy(self.model(x), y) * factor
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        if self.clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss

    def run(self, factors):
        """(scale, good steps, weights, step count) after each step."""
        device, trail = self.model.weight.device, []
        for i, factor in enumerate(factors):
            x, y = normal(4, 6, seed=i, device=device), mg.tensor([0, 1, 2, 0], device=device)
            self.step(x, y, mg.tensor(factor, device=device))
            state, slots = self.scaler.state_dict(), self.optimizer.state.get(self.model.weight, {})
            count = slots["step"].item() if "step" in slots else 0
            trail.append((state["scale"], state["_growth_tracker"], self.model.weight.numpy(), count))
        return trail


FACTORS = [1.0, 1e38, 1.0, 1.0, 1.0, math.nan, 1.0]


@pytest.mark.parametrize("make", [mg.optim.AdamW, mg.optim.SGD, mg.optim.Adam])
def test_an_overflow_is_skipped_once_and_halves_the_scale(make, device):
    options = {"momentum": 0.9} if make is mg.optim.SGD else {"amsgrad": True}
    job = Job(device, make, **options)
    trail = job.run(FACTORS)
    assert [t[0] for t in trail] == [1024.0, 512.0, 512.0, 512.0, 1024.0, 512.0, 512.0]
    assert [t[1] for t in trail] == [1, 0, 1, 2, 0, 0, 1]
    changed = [not np.array_equal(a[2], b[2]) for a, b in zip(trail, trail[1:], strict=False)]
    assert changed == [False, True, True, True, False, True] and job.scaler.skipped == 2
    if make is not mg.optim.SGD:
        assert [t[3] for t in trail] == [1, 1, 2, 3, 4, 4, 5]
    assert job.model.weight.dtype == "float32"


def test_a_skipped_step_leaves_no_trace(device):
    """The weights and slots are those of a run that never saw it, also where the very first step is skipped."""
    clean = Job(device, clip=1.0)
    batches = [i for i in range(7) if i not in (0, 4)]
    for seed in batches:
        clean.step(
            normal(4, 6, seed=seed, device=device),
            mg.tensor([0, 1, 2, 0], device=device),
            mg.tensor(1.0, device=device),
        )
    job = Job(device, clip=1.0)
    job.run([1e38, 1.0, 1.0, 1.0, 1e38, 1.0, 1.0])
    np.testing.assert_allclose(job.model.weight.numpy(), clean.model.weight.numpy(), rtol=1e-3, atol=1e-5)
    state, expected = (j.optimizer.state[j.model.weight] for j in (job, clean))
    assert state["step"].item() == expected["step"].item() == 5
    np.testing.assert_allclose(state["exp_avg_sq"].numpy(), expected["exp_avg_sq"].numpy(), rtol=1e-2, atol=1e-9)


def test_momentum_begins_with_the_first_gradient_that_counts(device):
    """With dampening, which holds from the second one on; also after the state was saved and loaded in between."""
    options = {"make": mg.optim.SGD, "momentum": 0.9, "dampening": 0.5}
    clean, job = Job(device, **options), Job(device, **options)
    for seed in (2, 3, 4):
        clean.step(
            normal(4, 6, seed=seed, device=device),
            mg.tensor([0, 1, 2, 0], device=device),
            mg.tensor(1.0, device=device),
        )
    job.run([1e38, 1e38])
    job.optimizer.load_state_dict(job.optimizer.state_dict())
    for seed in (2, 3, 4):
        job.step(
            normal(4, 6, seed=seed, device=device),
            mg.tensor([0, 1, 2, 0], device=device),
            mg.tensor(1.0, device=device),
        )
    assert job.scaler.skipped == 2
    np.testing.assert_allclose(job.model.weight.numpy(), clean.model.weight.numpy(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("first", [1.0, 1e38])
def test_inside_a_compiled_step(first, compiles):
    """Same scales, weights and skips as operation by operation, without asking for a value; one trace."""
    factors = [first, *FACTORS]
    plain, job = Job("mlx", clip=1.0), Job("mlx", compiled=True, clip=1.0)
    for a, b in zip(plain.run(factors), job.run(factors), strict=True):
        assert (a[0], a[1], a[3]) == (b[0], b[1], b[3])
        np.testing.assert_allclose(b[2], a[2], rtol=1e-5, atol=1e-6)
    info = job.step.info()
    assert (len(info.traces), info.uncompiled, job.scaler.skipped) == (1, 1, plain.scaler.skipped)
    assert plain.scaler.skipped == (2 if first == 1.0 else 3)


def test_autocast_around_a_compiled_step_is_part_of_its_mode(compiles):
    layer, x = nn.Linear(4, 4, device="mlx"), mg.ones(2, 4, device="mlx")
    run = mg.compile(lambda x: layer(x), state=[layer])
    kinds = [run(x).dtype.name]
    for dtype in ("float16", "bfloat16", "float16"):
        with mg.autocast(dtype):
            kinds.append(run(x).dtype.name)
    assert kinds == ["float32", "float16", "bfloat16", "float16"] and len(run.info().traces) == 3
    assert "autocast bfloat16" in run.info().traces[2].mode


def test_a_scaler_that_is_not_in_the_state_is_refused(compiles):
    job = Job("mlx")
    job.run([1.0])
    step = mg.compile(job._step, state=[job.model, job.optimizer])
    with pytest.raises(RuntimeError, match="GradScaler that is not in the state"):
        step(normal(4, 6, device="mlx"), mg.tensor([0, 1, 2, 0], device="mlx"), 1.0)


def test_saving_and_loading(device):
    job = Job(device)
    job.run(FACTORS)
    other = mg.GradScaler()
    other.load_state_dict(job.scaler.state_dict())
    assert other.state_dict() == job.scaler.state_dict()
    other.scale(mg.ones(1, device=device))
    assert other.state_dict() == job.scaler.state_dict()
    job.scaler.load_state_dict({**job.scaler.state_dict(), "scale": 8.0})
    assert job.scaler.get_scale() == 8.0
    with pytest.raises(ValueError, match="empty"):
        other.load_state_dict(mg.GradScaler(enabled=False).state_dict())


def test_a_scaler_that_is_off():
    model, scaler = nn.Linear(2, 1), mg.GradScaler(enabled=False)
    optimizer = mg.optim.SGD(model.parameters(), lr=0.1)
    loss = model(mg.ones(1, 2)).sum()
    before = model.weight.numpy().copy()
    assert scaler.scale(loss) is loss and scaler.get_scale() == 1.0
    loss.backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    np.testing.assert_allclose(model.weight.numpy(), before - 0.1, rtol=1e-6)


def test_scale_takes_lists_and_update_a_scale():
    scaler = mg.GradScaler(init_scale=4.0)
    doubled = scaler.scale([mg.ones(1), (mg.ones(2),)])
    assert doubled[0].item() == 4.0 and doubled[1][0].tolist() == [4.0, 4.0] and isinstance(doubled[1], tuple)
    scaler.update(16.0)
    assert scaler.get_scale() == 16.0
    with pytest.raises(TypeError, match="takes tensors.*str"):
        scaler.scale("loss")


def test_calls_out_of_turn():
    model, scaler = nn.Linear(2, 1), mg.GradScaler()
    optimizer = mg.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(RuntimeError, match="no gradients to unscale"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="comes after"):
        scaler.update()
    scaler.scale(model(mg.ones(1, 2)).sum()).backward()
    with pytest.raises(RuntimeError, match="no step since"):
        scaler.update()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="closure"):
        scaler.step(optimizer, lambda: None)
    half = nn.Linear(2, 1, dtype="float16")
    scaler = mg.GradScaler()
    scaler.scale(half(mg.ones(1, 2, dtype="float16")).sum()).backward()
    with pytest.raises(ValueError, match="float16 parameters"):
        scaler.unscale_(mg.optim.SGD(half.parameters()))
    with pytest.raises(ValueError, match="growth_factor must be greater than 1"):
        mg.GradScaler(growth_factor=1.0)
