"""PVT_V2: the published variants' sizes, the documented examples, any image size, configuration errors, and derivatives."""

import json
import math
import os
import subprocess
import sys
import warnings
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import models, nn
from minigrad.models import PVT_V2, PVTV2Config
from minigrad.nn import functional as F

SMALL = dict(
    img_size=32, num_classes=5, embed_dims=(8, 12, 16), num_heads=(1, 2, 4), mlp_ratios=(2, 3, 2), depths=(1, 2, 1),
    sr_ratios=(2, 2, 1), num_stages=3, qkv_bias=True,
)  # fmt: skip


@pytest.fixture(autouse=True)
def seed():
    mg.manual_seed(0)


# --- the variants -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "parameters", "macs", "tensors"),
    [
        ("pvt_v2_b0", 3_666_760, 566_065_664, 178),
        ("pvt_v2_b1", 14_009_000, 2_108_355_584, 178),
        ("pvt_v2_b2", 25_362_856, 4_026_734_592, 334),
        ("pvt_v2_b2_li", 22_553_512, 3_888_850_944, 346),
        ("pvt_v2_b3", 45_238_696, 6_897_303_552, 574),
        ("pvt_v2_b4", 62_556_072, 10_101_116_416, 834),
        ("pvt_v2_b5", 81_956_008, 11_717_260_288, 1054),
    ],
)
def test_sizes_of_the_published_variants(monkeypatch, name, parameters, macs, tensors):
    """As timm's and Hugging Face's; MACs of convolutions, linear layers and both products of attention at 224×224."""
    monkeypatch.setattr(mg.random.Generator, "normal", lambda self, shape, *_: np.zeros(shape))  # 250 M numbers less
    monkeypatch.setattr(mg.random.Generator, "uniform", lambda self, shape, *_: np.zeros(shape))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = models.create_model(name)
    summary = mg.visual.summary(model, (1, 3, 224, 224))
    assert (summary.parameters, summary.macs, len(model.state_dict())) == (parameters, macs, tensors)


def test_factories_and_names():
    assert models.list_models()[:7] == [f"pvt_v2_{v}" for v in ("b0", "b1", "b2", "b2_li", "b3", "b4", "b5")]
    for name in models.list_models():
        assert callable(getattr(models, name)) and getattr(models, name).__doc__
    model = models.pvt_v2_b0(num_classes=10, in_channels=1, img_size=64, drop_path_rate=0.1)
    assert model.config.num_classes == 10 and model(mg.zeros(2, 1, 64, 64)).shape == (2, 10)
    with pytest.raises(ValueError, match="no model 'pvt_v2_b9'; choose one of pvt_v2_b0"):
        models.create_model("pvt_v2_b9")
    with pytest.raises(ValueError, match="no field dropout; it has attn_drop_rate"):
        models.pvt_v2_b0(dropout=0.1)


def test_the_documented_example_of_lucid():
    example = """
>>> import minigrad.models as models
>>> config = models.PVTV2Config(
...     img_size=224,
...     patch_size=7,
...     in_channels=3,
...     num_classes=1000,
...     embed_dims=(64, 128, 320, 512),
...     num_heads=(1, 2, 5, 8),
...     depths=(3, 4, 6, 3),
... )
>>> model = models.PVT_V2(config)
"""
    names = {}
    exec("\n".join(line[4:] for line in example.splitlines()), names)
    model, config = names["model"], names["config"]
    assert config.mlp_ratios == (4, 4, 4, 4) and not config.qkv_bias  # so it is not b2
    assert model.stages[0].blocks[0].attn.q.bias is None and model.config is config
    with mg.no_grad():
        assert model.eval()(mg.zeros(1, 3, 224, 224)).shape == (1, 1000)


def test_the_older_keyword_form_of_lucid():
    import minigrad.models as models

    model = models.PVT_V2(
        img_size=224,
        patch_size=7,
        in_channels=3,
        num_classes=1000,
        embed_dims=[64, 128, 256, 512],
        num_heads=[1, 2, 4, 8],
        mlp_ratios=[4, 4, 4, 4],
        qkv_bias=False,
        qk_scale=None,
        drop_rate=0.0,
        attn_drop_rate=0.0,
        drop_path_rate=0.0,
        norm_layer=nn.LayerNorm,
        depths=[3, 4, 6, 3],
        sr_ratios=[8, 4, 2, 1],
        num_stages=4,
        linear=False,
    )
    assert model.config == PVTV2Config()  # which has these values as defaults
    with pytest.raises(TypeError, match="takes a PVTV2Config, or its fields as keywords; got int"):
        models.PVT_V2(224)


# --- images of any size -------------------------------------------------------------------------------------------------
def train_once(model, x):
    """Loss and gradients of one batch; every parameter's gradient must be finite and there."""
    x.requires_grad_()
    logits = model(x)
    F.cross_entropy(logits, mg.tensor([1] * x.shape[0], device=x.device)).backward()
    for name, t in (("input", x), *model.named_parameters()):
        assert t.grad is not None and t.grad.shape == t.shape and np.isfinite(t.grad.numpy()).all(), name
    return logits


def test_forward_and_backward_at_224():
    model = models.pvt_v2_b0()
    assert train_once(model, mg.randn(1, 3, 224, 224)).shape == (1, 1000)
    assert min(np.abs(p.grad.numpy()).max() for p in model.parameters()) > 0


@pytest.mark.parametrize("size", [(97, 131), (33, 224), (65, 63)])
def test_odd_sizes(size):
    model = models.pvt_v2_b0(num_classes=10)
    maps = model.stage_maps(mg.randn(1, 3, *size))
    assert [m.shape[2:] for m in maps] == model.config.map_sizes(*size)
    assert train_once(model, mg.randn(2, 3, *size)).shape == (2, 10)


@pytest.mark.parametrize("size", [(1, 1), (19, 50), (32, 32), (64, 48)])
def test_linear_attention_on_maps_smaller_and_larger_than_7(size, device):
    model = PVT_V2(**{**SMALL, "linear": True}).to(device)
    out = model(mg.randn(2, 3, *size, device=device), output_attentions=True)
    maps = [h * w for h, w in model.config.map_sizes(*size)]
    assert [a.shape for a in out.attentions] == [
        (2, heads, n, 49) for n, heads, depth in zip(maps, (1, 2, 4), (1, 2, 1), strict=True) for _ in range(depth)
    ]
    for a in out.attentions:
        np.testing.assert_allclose(a.numpy().sum(-1), 1, rtol=1e-5)
    train_once(model, mg.randn(2, 3, *size, device=device))


def test_outputs():
    model = PVT_V2(**SMALL).eval()
    x, labels = mg.randn(2, 3, 32, 32), mg.tensor([0, 4])
    logits = model(x)
    out = model(x, labels=labels, output_hidden_states=True, output_attentions=True)
    assert isinstance(logits, mg.Tensor)  # attention whose weights are asked for isn't the fused one: other roundings
    np.testing.assert_allclose(out.logits.numpy(), logits.numpy(), rtol=0, atol=1e-6)
    assert out.loss.item() == pytest.approx(F.cross_entropy(logits, labels).item())
    assert [m.shape for m in out.hidden_states] == [(2, 8, 8, 8), (2, 12, 4, 4), (2, 16, 2, 2)]
    assert len(out.attentions) == 4 and out["logits"] is out.logits is out[1] and len(out) == 4
    assert model(x, output_hidden_states=True).keys() == ["logits", "hidden_states"]
    pooled = PVT_V2(**{**SMALL, "num_classes": 0})
    assert pooled(x).shape == (2, 16) and not any(name.startswith("head") for name in pooled.state_dict())
    for images, message in [
        (mg.zeros(2, 1, 32, 32), r"\(N, 3, H, W\), got shape \(2, 1, 32, 32\)"),
        (mg.zeros(3, 32, 32), r"got shape \(3, 32, 32\)"),
        (mg.zeros(1, 3, 4, 32), r"4×32 pixels is too small.*at least 9×9"),
    ]:
        with pytest.raises(ValueError, match=message):
            model(images)


# --- the warning about constant attention -------------------------------------------------------------------------------
def test_a_single_key_is_warned_about():
    with pytest.warns(
        UserWarning, match=r"at 32×32 pixels stages 1, 2, 3, 4 .* 1×1 grid of keys.*pvt_v2_tiny"
    ) as caught:
        model = models.pvt_v2_b0(img_size=32)
    assert len(caught) == 1
    train_once(model, mg.randn(2, 3, 32, 32))
    queries = [p.grad.numpy() for name, p in model.named_parameters() if ".attn.q." in name]
    assert max(np.abs(g).max() for g in queries) < 1e-9  # what the warning is about
    with pytest.warns(UserWarning, match="at 32×48 pixels stage 3 of this PVT_V2 has a 1×1"):
        PVT_V2(**{**SMALL, "img_size": (32, 48), "sr_ratios": (2, 2, 2)})


def test_the_warning_points_at_the_user():
    config = {**SMALL, "img_size": (32, 48), "sr_ratios": (2, 2, 2)}
    for make in (
        lambda: PVT_V2(**config), lambda: models.PVTV2Model(**config),
        lambda: models.create_model("pvt_v2_b0", img_size=32), lambda: models.pvt_v2_b0(img_size=32),
        lambda: models.create_model("pvt_v2_b0", img_size=32, features_only=True),
    ):  # fmt: skip
        with pytest.warns(UserWarning, match="1×1 grid of keys") as caught:
            make()
        assert {w.filename for w in caught} == {__file__}
    p = mg.nn.Parameter(mg.ones(2))
    with pytest.warns(UserWarning, match="duplicate") as caught:
        mg.optim.SGD([p, p], lr=0.1)
    assert [w.filename for w in caught] == [__file__]


@pytest.mark.parametrize("build", [
    models.pvt_v2_tiny, models.pvt_v2_b0, lambda: models.pvt_v2_b0(img_size=64), lambda: models.pvt_v2_b2_li(img_size=64),
])  # fmt: skip
def test_no_warning_where_attention_works(build):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build()


def test_the_preset_for_small_images_learns_in_every_query():
    model = models.pvt_v2_tiny(num_classes=10, in_channels=1)
    assert 350_000 < sum(p.numel() for p in model.parameters()) < 400_000
    train_once(model, mg.randn(4, 1, 32, 32))
    assert min(np.abs(p.grad.numpy()).max() for name, p in model.named_parameters() if ".attn.q." in name) > 1e-7


# --- the configuration --------------------------------------------------------------------------------------------------
MISTAKES = [
    (dict(embed_dims=(64, 128)), "embed_dims has 2 entries.*num_stages is 4"),
    (dict(depths=(1, 1, 1, 1, 1)), "depths has 5 entries"),
    (dict(num_stages=3), "has 4 entries.*num_stages is 3"),
    (dict(strides=(4, 2)), "strides has 2 entries"),
    (dict(patch_sizes=(7,)), "patch_sizes has 1 entries"),
    (dict(num_heads=(1, 2, 5, 8)), "stage 3: embed_dims 256 can't be divided among num_heads 5"),
    (dict(img_size=16), "16×16 pixels is too small.*at least 2[0-9]×2[0-9]"),
    (dict(img_size=(224, 8)), "224×8 pixels is too small"),
    (dict(img_size=0), "0×0 pixels is too small"),
    (dict(img_size=-224), "too small"),
    (dict(img_size="224"), "img_size must be.*'224'"),
    (dict(img_size=224.0), "img_size must be.*224.0"),
    (dict(img_size=None), "img_size must be.*None"),
    (dict(img_size=(224, 224, 3)), "img_size must be"),
    (dict(in_channels=0), "in_channels must be a whole number of at least 1, got 0"),
    (dict(num_classes=-1), "num_classes must be a whole number of at least 0, got -1"),
    (dict(num_classes=10.0), "num_classes must be a whole number.*10.0"),
    (dict(num_classes=True), "num_classes must be a whole number.*True"),
    (dict(patch_size="7"), "patch_size must be a whole number.*'7'"),
    (dict(embed_dims=64), "embed_dims must have one entry for each of the 4 stages, got 64"),
    (dict(embed_dims="abcd"), "embed_dims must have one entry.*'abcd'"),
    (dict(depths=(2, 2, 0, 2)), "depths must be a whole number of at least 1, got 0"),
    (dict(depths=(2, 2, None, 2)), "depths must be.*None"),
    (dict(sr_ratios=(8, 4, 2, 0)), "sr_ratios must be"),
    (dict(mlp_ratios=(4, 4, 4, -1)), "mlp_ratios must be.*positive number.*got -1"),
    (dict(mlp_ratios=(4, 4, 4, float("nan"))), "mlp_ratios must be.*nan"),
    (dict(mlp_ratios=(4, 4, 4, 0.001)), "mlp_ratios"),
    (dict(qkv_bias="yes"), "qkv_bias must be True or False.*'yes'"),
    (dict(linear="no"), "linear must be True or False.*'no'"),
    (dict(qk_scale="x"), "qk_scale must be.*'x'"),
    (dict(drop_rate=1.0), r"drop_rate must lie in \[0, 1\), got 1.0"),
    (dict(drop_rate="0.1"), "drop_rate must.*'0.1'"),
    (dict(attn_drop_rate=-0.1), "attn_drop_rate must lie"),
    (dict(drop_path_rate=None), "drop_path_rate must.*None"),
    (dict(layer_norm_eps=0), "layer_norm_eps must be.*positive.*got 0"),
    (dict(embed_norm_eps="tiny"), "embed_norm_eps must be.*positive.*got 'tiny'"),
    (dict(initializer_range=None), "initializer_range must be.*positive.*got None"),
    (
        dict(hidden_act="swish"),
        "hidden_act must be one of gelu, relu, selu, gelu_new, gelu_pytorch_tanh, silu, got 'swish'",
    ),
    (dict(hidden_act=["gelu"]), "hidden_act must be one of"),
    (dict(norm_layer="LayerNorm"), "norm_layer must be a class"),
]


@pytest.mark.parametrize(("fields", "message"), MISTAKES, ids=[str(fields) for fields, _ in MISTAKES])
def test_configuration_mistakes_get_one_sentence(fields, message):
    with pytest.raises(ValueError, match=message) as caught:
        PVTV2Config(**fields)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 300


def test_a_huge_reduction_is_refused_at_once():
    """A configuration may come from a file: its check takes no loop over image sizes."""
    code = "from minigrad.models import PVTV2Config; PVTV2Config.from_dict({'sr_ratios': [10**9, 1, 1, 1]})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=10)
    assert "too small" in done.stderr.splitlines()[-1]


def test_the_configuration_is_frozen_and_round_trips():
    config = PVTV2Config(**{**SMALL, "img_size": [32, 48], "embed_dims": [8, 12, 16], "qk_scale": 0.3})
    with pytest.raises(FrozenInstanceError):
        config.num_classes = 3
    assert config.img_size == (32, 48) and config.embed_dims == (8, 12, 16) and hash(config) is not None
    for c in (config, PVTV2Config(), models.pvt_v2_tiny().config):
        assert PVTV2Config.from_dict(json.loads(json.dumps(c.to_dict()))) == c
    assert config.replace(num_classes=2).num_classes == 2 and config.num_classes == 5
    assert config.replace(patch_size=5).patch_sizes == (5, 3, 3)
    with pytest.raises(ValueError, match="no field imgsize"):
        PVTV2Config.from_dict({"imgsize": 3})
    with pytest.raises(ValueError, match="norm_layer 'BatchNorm' is unknown"):
        PVTV2Config.from_dict({"norm_layer": "BatchNorm"})
    with pytest.raises(ValueError, match="too small"):
        config.replace(img_size=2)


# --- dropout, drop path, initial weights --------------------------------------------------------------------------------
def test_drop_path_rises_from_0_to_its_rate():
    model = PVT_V2(**{**SMALL, "depths": (1, 2, 2), "drop_path_rate": 0.1})
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for stage in model.stages for block in stage.blocks]
    np.testing.assert_allclose(rates, np.linspace(0, 0.1, 5))


def test_drop_path_drops_whole_samples(device):
    model = PVT_V2(**{**SMALL, "drop_path_rate": 0.5}).to(device)
    branch = model.stages[2].blocks[0].drop_path
    y = branch(mg.ones(20_000, 1, 3, device=device)).numpy()
    assert set(np.unique(y)) == {0.0, 2.0} and (y == y[:, :, :1]).all()
    assert abs(y.mean() - 1) < 4 / math.sqrt(20_000)  # four standard deviations
    assert np.array_equal(branch.eval()(mg.ones(3, 1, 3, device=device)).numpy(), np.ones((3, 1, 3)))


@pytest.mark.parametrize("field", ["drop_rate", "attn_drop_rate", "drop_path_rate"])
def test_training_is_random_and_evaluation_is_not(field, device):
    model = PVT_V2(**{**SMALL, field: 0.3}).to(device)
    plain = PVT_V2(**SMALL).to(device)
    plain.load_state_dict(model.state_dict())
    x = mg.randn(4, 3, 32, 32, device=device)
    with mg.no_grad():
        mg.manual_seed(1)
        first, second = model(x).numpy(), model(x).numpy()
        mg.manual_seed(1)
        again = model(x).numpy()
        evaluated = model.eval()(x).numpy(), model(x).numpy(), plain(x).numpy()
    assert np.array_equal(first, again) and not np.array_equal(first, second)
    assert np.array_equal(evaluated[0], evaluated[1]) and np.array_equal(evaluated[0], evaluated[2])
    assert not np.allclose(first, evaluated[0])


def test_dropout_keeps_the_mean():
    """The average of many training passes of one linear-ish path comes to the evaluation's value."""
    mlp = PVT_V2(**{**SMALL, "drop_rate": 0.5}).stages[0].blocks[0].mlp
    mlp.act = nn.Identity()
    x = mg.randn(1, 64, 8)
    with mg.no_grad():
        passes = np.stack([mlp(x, (8, 8)).numpy() for _ in range(2000)])
        expected = mlp.eval()(x, (8, 8)).numpy()
    error = (passes.mean(0) - expected) / (passes.std(0) / math.sqrt(2000))
    assert np.abs(error).max() < 6 and passes.std() > 0.01


@pytest.mark.parametrize("linear", [False, True])
def test_initial_weights(linear):
    """Linear: normal of σ = 0.02, cut off far outside; convolution: σ² = 2 / (kh·kw·out / groups); norms 1 and 0."""
    model = PVT_V2(
        **{**SMALL, "embed_dims": (64, 96, 128), "num_classes": 200, "linear": linear, "initializer_range": 0.03}
    )
    seen = set()
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            w = module.weight.numpy()
            std = 0.03
            if isinstance(module, nn.Conv2d):
                std = math.sqrt(2 / (math.prod(w.shape[2:]) * w.shape[0] / module.groups))
            tolerance = 5 / math.sqrt(2 * w.size)  # five standard deviations of an estimated σ
            assert abs(w.std() / std - 1) < tolerance and abs(w.mean()) < 5 * std / math.sqrt(w.size), name
            assert np.abs(w).max() < 6 * std and (module.bias is None or not module.bias.numpy().any()), name
        elif isinstance(module, nn.LayerNorm):
            assert (module.weight.numpy() == 1).all() and not module.bias.numpy().any()
            seen.add(module.eps)
    assert seen == {1e-6, 1e-5}


def test_the_same_seed_gives_the_same_weights_everywhere():
    states = []
    for device in ("cpu", "mlx", "cpu"):
        if device == "mlx":
            pytest.importorskip("mlx.core", exc_type=ImportError)
        mg.manual_seed(7)
        with mg.device(device):
            model = models.pvt_v2_tiny()
        assert next(model.parameters()).device == device
        states.append({name: t.numpy() for name, t in model.state_dict().items()})
    other = models.pvt_v2_tiny().state_dict()
    for name, w in states[0].items():
        assert np.array_equal(w, states[1][name]) and np.array_equal(w, states[2][name])
    assert not np.array_equal(states[0]["head.weight"], other["head.weight"].numpy())


# --- derivatives --------------------------------------------------------------------------------------------------------
@pytest.fixture(params=[False, True], ids=["reduced", "linear"])
def problem(request):
    """A loss of (input, parameters) in float64 with all values random, on an odd image size; and the tensors."""
    model = PVT_V2(**{**SMALL, "linear": request.param, "img_size": (22, 27)}).to(mg.float64)
    rng = np.random.default_rng(0)
    for p in model.parameters():
        p.data = p.array + rng.normal(0, 0.1, p.shape)
    x = mg.tensor(rng.standard_normal((2, 3, 22, 27)), requires_grad=True)
    tensors = {"input": x, **dict(model.named_parameters())}
    return (lambda: F.cross_entropy(model(x), mg.tensor([1, 3]), label_smoothing=0.1)), tensors


def moved(t, direction, step, function):
    """function() with t's values moved by step·direction for the time."""
    before = t.array
    t.data = before + step * direction
    try:
        return function()
    finally:
        t.data = before


def test_every_gradient_against_finite_differences(problem):
    loss, tensors = problem
    rng, step = np.random.default_rng(1), 1e-7  # small, for the kinks of linear attention's ReLU
    gradients = mg.grad(loss(), list(tensors.values()))
    with mg.no_grad():
        for (name, t), g in zip(tensors.items(), gradients, strict=True):
            u = rng.standard_normal(t.shape)
            expected = (moved(t, u, step, loss).item() - moved(t, u, -step, loss).item()) / (2 * step)
            scale = np.abs(g.numpy() * u).sum()
            assert abs((g.numpy() * u).sum() - expected) < 1e-6 * scale + 1e-8, name


def test_second_derivatives_against_finite_differences(problem):
    """The Hessian by all parameters and the input times one random direction."""
    loss, tensors = problem
    ts = list(tensors.values())
    rng = np.random.default_rng(2)
    directions = [rng.standard_normal(t.shape) for t in ts]

    def gradient(step):
        before = [t.array for t in ts]
        for t, u in zip(ts, directions, strict=True):
            t.data = t.array + step * u
        found = mg.grad(loss(), ts)
        for t, data in zip(ts, before, strict=True):
            t.data = data
        return found

    first = mg.grad(loss(), ts, create_graph=True)
    second = mg.grad(
        sum((g * mg.tensor(u)).sum() for g, u in zip(first, directions, strict=True)), ts, allow_unused=True
    )
    for name, h, plus, minus in zip(tensors, second, gradient(1e-6), gradient(-1e-6), strict=True):
        expected = (plus.numpy() - minus.numpy()) / 2e-6
        got = 0.0 if h is None else h.numpy()
        assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max() + 1e-8, name


# --- memory -------------------------------------------------------------------------------------------------------------
STEP = """
from peak import peak_memory
import minigrad as mg
from minigrad.nn import functional as F
model = mg.models.pvt_v2_b0()
optimizer = mg.optim.AdamW(model.parameters(), lr=1e-3)
loss = F.cross_entropy(model(mg.randn(8, 3, 224, 224)), mg.arange(8))
loss.backward()
optimizer.step()
print(peak_memory())
"""


def test_a_training_step_of_b0_at_224_stays_under_2_gb():
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run([sys.executable, "-c", STEP], capture_output=True, text=True, check=True, env=environment)
    assert int(done.stdout) < 2e9
