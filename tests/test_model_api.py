"""What users of timm and of Hugging Face know of PVT v2: outputs, features, backbone, classifier, factories."""

import math
import re
import tracemalloc

import numpy as np
import pytest

import minigrad as mg
from minigrad import models, nn
from minigrad.models import PVTV2Backbone, PVTV2Config, PVTV2Model
from minigrad.models.outputs import classification_loss

SHALLOW = dict(depths=(1, 1, 1, 1))
B0 = dict(**SHALLOW, num_classes=5, img_size=64)
DIMS = (32, 64, 160, 256)
PUBLISHED = [name for name in models.list_models() if name != "pvt_v2_tiny"]


def b0(device="cpu", **fields):
    return models.pvt_v2_b0(**{**B0, **fields}).to(device)


def narrow(device="cpu", **fields):
    """A model of the same kind with few channels, for what takes many passes."""
    return models.PVT_V2(CONFIG, **{"num_classes": 3, **fields}).to(device)


CONFIG = PVTV2Config(
    img_size=64, num_classes=0, embed_dims=(8, 16, 24, 32), num_heads=(1, 2, 3, 4), depths=(1, 1, 1, 1)
)


PARTS = 2e-6  # rounding: attention whose weights are asked for runs in parts and not as one kernel


def equal(a, b, atol=0.0) -> bool:
    """Whether two outputs, tuples or tensors hold the same numbers."""
    if isinstance(a, mg.Tensor):
        return a.shape == b.shape and bool(np.allclose(a.numpy(), b.numpy(), rtol=0, atol=atol))
    return len(a) == len(b) and all(equal(x, y, atol) for x, y in zip(a, b, strict=True))


# --- every variant ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", PUBLISHED)
def test_features_of_every_variant(name):
    net = models.create_model(name, features_only=True, **SHALLOW).eval()
    info = net.feature_info
    assert tuple(info.channels()) == net.config.embed_dims and info.reduction() == [4, 8, 16, 32] and len(info) == 4
    assert info.module_name() == [f"stages.{i}" for i in range(4)]
    for side in (224, 96):
        with mg.no_grad():
            maps = net(mg.randn(1, 3, side, side))
        for channels, reduction, x in zip(info.channels(), info.reduction(), maps, strict=True):
            assert x.shape[:2] == (1, channels) and np.isfinite(x.numpy()).all()
            assert max(x.shape[2:]) <= math.ceil(side / reduction) + 1
        if side == 224:
            assert maps[-1].shape[2:] == (7, 7)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_parameter_of_every_variant_gets_its_gradient(name):
    model = models.create_model(name, num_classes=42, **SHALLOW).train()
    x = model(mg.randn(2, 3, 128, 128))
    assert x.shape == (2, 42) and np.isfinite(x.numpy()).all()
    x.mean().backward()
    for key, p in model.named_parameters():
        assert p.grad is not None and p.grad.shape == p.shape, key
        assert np.isfinite(p.grad.numpy()).all() and p.grad.numpy().any(), key


@pytest.mark.parametrize("name", PUBLISHED)
def test_outputs_of_every_variant(name, tmp_path):
    model = models.create_model(name, **B0).eval()
    config, x = model.config, mg.randn(2, 3, 64, 64)
    with mg.no_grad():
        out = model(x, output_hidden_states=True, output_attentions=True)
        sides = [(16, 16), (8, 8), (4, 4), (2, 2)]
        keys = 49 if config.linear else 4
        assert [t.shape for t in out.hidden_states] == [
            (2, c, *side) for c, side in zip(config.embed_dims, sides, strict=True)
        ]
        assert [t.shape for t in out.attentions] == [
            (2, heads, math.prod(side), keys) for heads, side in zip(config.num_heads, sides, strict=True)
        ]
        assert equal(model(x), out.logits, PARTS) and np.isfinite(out.logits.numpy()).all()
        assert equal(model(x[1:]), out.logits[1:], 5e-4)
        last, maps = model.forward_intermediates(x)
        assert equal(last, model.forward_features(x)) and equal(maps, out.hidden_states, PARTS)
        mg.save(tmp_path / "model.safetensors", model.state_dict())
        other = models.create_model(name, **B0, checkpoint_path=tmp_path / "model.safetensors").eval()
        assert equal(other(x), model(x))
        model.reset_classifier(0)
        assert model(x).shape == (2, model.num_features)
        model.reset_classifier(0, "")
        assert equal(model(x), last)


@pytest.mark.parametrize(
    "build", [models.pvt_v2_tiny, lambda: models.pvt_v2_b2_li(**SHALLOW), lambda: models.pvt_v2_b0(**SHALLOW)]
)
def test_the_smallest_image_and_one_pixel_less(build):
    model = build().eval()
    least = model.config.min_size
    with mg.no_grad():
        assert np.isfinite(model(mg.randn(1, 3, least, least + 37)).numpy()).all()
    with pytest.raises(ValueError, match=f"{least - 1}×90 pixels is too small.*at least {least}×{least}"):
        model(mg.randn(1, 3, least - 1, 90))


# --- outputs ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("linear", [False, True])
def test_hidden_states_and_attentions(device, linear):
    model = b0(device, linear=linear, depths=(1, 2, 1, 1)).eval()
    x = mg.randn(2, 3, 64, 96, device=device)
    with mg.no_grad():
        out = model(x, labels=mg.tensor([0, 4], device=device), output_hidden_states=True, output_attentions=True)
        logits, bare = (
            model(x),
            PVTV2Model(model.config).to(device).eval()(x, output_hidden_states=True, output_attentions=True),
        )
    assert list(out.keys()) == ["loss", "logits", "hidden_states", "attentions"] and equal(out.logits, logits, PARTS)
    sizes = [(16, 24), (8, 12), (4, 6), (2, 3)]
    keys = [49] * 4 if linear else [6] * 4
    blocks = [0, 1, 1, 2, 3]
    for o in (out, bare):
        assert [t.shape for t in o.hidden_states] == [(2, c, *size) for c, size in zip(DIMS, sizes, strict=True)]
        heads = model.config.num_heads
        assert [t.shape for t in o.attentions] == [(2, heads[i], math.prod(sizes[i]), keys[i]) for i in blocks]
        assert all(np.allclose(t.numpy().sum(-1), 1, atol=1e-5) for t in o.attentions)
    assert list(bare.keys()) == ["last_hidden_state", "hidden_states", "attentions"]
    assert equal(bare.last_hidden_state, bare.hidden_states[-1])


def test_outputs_by_attribute_key_position_and_as_a_tuple():
    model, x, labels = b0().eval(), mg.randn(2, 3, 64, 64), mg.tensor([1, 2])
    full = model(x, labels=labels, output_hidden_states=True, output_attentions=True)
    assert full[0] is full["loss"] is full.loss and full[1] is full.logits and full[-1] is full.attentions
    assert [*full] == [full[i] for i in range(4)] == list(full.to_tuple()) and full[1:3] == (
        full.logits,
        full.hidden_states,
    )
    plain = model(x, labels=labels, output_hidden_states=True, output_attentions=True, return_dict=False)
    assert type(plain) is tuple and equal(plain, full.to_tuple())
    some = model(x, output_attentions=True)
    assert (
        len(some) == 2
        and some[0] is some.logits
        and some[1] is some.attentions
        and some.loss is some.get("loss") is None
    )
    assert "loss" not in some and "logits" in some and dict(some.items())["logits"] is some.logits
    with pytest.raises(KeyError, match="no 'loss'; it has logits, attentions"):
        some["loss"]
    with pytest.raises(IndexError, match="ImageClassifierOutput: there is no entry 2 among 2"):
        some[2]
    some["loss"] = full.loss
    assert some[0] is full.loss and len(some) == 3
    with pytest.raises(KeyError, match="no field 'los'; it has loss"):
        some["los"] = full.loss
    alone = model(pixel_values=x, return_dict=True)
    assert list(alone.keys()) == ["logits"] and equal(alone.logits, model(x))
    assert equal(model(x, return_dict=False), (alone.logits,)) and len(model(x, labels=labels)) == 2
    bare = PVTV2Model(model.config)
    assert type(bare(x)) is models.BaseModelOutput and len(bare(x, return_dict=False)) == 1
    backbone = PVTV2Backbone(model.config)
    assert (
        type(backbone(x)) is models.BackboneOutput
        and len(backbone(x, output_hidden_states=True, return_dict=False)) == 2
    )


def test_a_batch_equals_its_rows_and_the_same_input_gives_the_same(device):
    for linear in (False, True):
        model = b0(device, linear=linear, drop_path_rate=0.3, head_drop_rate=0.3).eval()
        x = mg.randn(3, 3, 64, 80, device=device)
        with mg.no_grad():
            whole = model(x, output_hidden_states=True, output_attentions=True)
            assert equal(whole, model(x, output_hidden_states=True, output_attentions=True))
            for i in range(3):
                row = model(x[i : i + 1], output_hidden_states=True, output_attentions=True)
                assert equal(row.logits, whole.logits[i : i + 1], 5e-4)
                for a, b in zip((*row[1], *row[2]), (*whole[1], *whole[2]), strict=True):
                    assert equal(a, b[i : i + 1], 5e-4)


@pytest.mark.parametrize("cls", [models.PVT_V2, PVTV2Model, PVTV2Backbone])
def test_initial_means_and_saving(cls, tmp_path):
    config = models.pvt_v2_b0(**B0).config
    model, other = cls(config).eval(), cls(config).eval()
    for name, p in model.named_parameters():
        mean = p.numpy().mean()
        assert mean == 1.0 if name.endswith("norm.weight") else -1.0 <= mean <= 1.0, name
    x = mg.randn(2, 3, 64, 64)
    with mg.no_grad():
        before = other(x, return_dict=False), model(x, return_dict=False)
        mg.save(tmp_path / "model.safetensors", model.state_dict())
        other.load_state_dict(mg.load(tmp_path / "model.safetensors"))
        assert not equal(*before) and equal(other(x, return_dict=False), before[1])


# --- the loss -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("classes", [1, 2, 3, 7])
def test_any_number_of_classes_learns(classes, device):
    model = b0(device, num_classes=classes).train()
    labels = mg.arange(4, device=device) % classes
    loss = model(mg.randn(4, 3, 64, 64, device=device), labels=labels if classes > 1 else labels + 0.5).loss
    loss.backward()
    assert loss.shape == () and np.isfinite(loss.item())
    assert model.head.weight.grad.shape == (classes, 256)


def test_the_rule_for_the_loss():
    rng = np.random.default_rng(0)
    one, many = (mg.tensor(rng.standard_normal((4, n))) for n in (1, 3))
    y = rng.standard_normal(4)
    squared = ((one.numpy()[:, 0] - y) ** 2).mean()
    for labels in (y, y[:, None], mg.tensor(y)):  # one class: regression, labels with or without the second dimension
        assert np.isclose(classification_loss(one, labels).item(), squared)
    classes = np.array([2, 0, 1, 1])
    log_softmax = many.numpy() - np.log(np.exp(many.numpy()).sum(1, keepdims=True))
    expected = -log_softmax[np.arange(4), classes].mean()
    for dtype in (np.int64, np.int32, np.uint8):
        assert np.isclose(classification_loss(many, mg.tensor(classes.astype(dtype))).item(), expected)
        assert np.isclose(classification_loss(many, classes.astype(dtype)[:, None].tolist()).item(), expected)
    several = rng.integers(0, 2, (4, 3))
    p = 1 / (1 + np.exp(-many.numpy()))
    expected = -(several * np.log(p) + (1 - several) * np.log(1 - p)).mean()
    assert np.isclose(classification_loss(many, mg.tensor(several.astype(float))).item(), expected)
    assert np.isclose(classification_loss(many, mg.tensor(several.astype(bool))).item(), expected)
    assert np.isclose(classification_loss(many, several, "multi_label_classification").item(), expected)
    target = rng.standard_normal((4, 3))
    assert np.isclose(classification_loss(many, target, "regression").item(), ((many.numpy() - target) ** 2).mean())
    for logits, labels, problem, message in [
        (many, mg.tensor([0, 1]), None, r"labels of 4 images are 4 whole numbers, got int64 of shape \(2,\)"),
        (many, mg.tensor([0.0, 1, 2, 1]), None, r"float32 don't go with logits \(4, 3\): give 4 whole numbers"),
        (many, mg.zeros(4, 3), "single_label_classification", "whole numbers, got float32"),
        (one, mg.zeros(3), None, r"labels of shape \(3,\)"),
        (one, mg.zeros(1, 4), None, r"labels of shape \(1, 4\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            classification_loss(logits, labels, problem)


def test_numpys_float64_labels(device):
    logits, labels = mg.zeros(2, 3, device=device), np.ones((2, 3))
    assert np.isclose(classification_loss(logits, labels).item(), np.log(2))
    assert np.isclose(classification_loss(mg.zeros(2, 1, device=device), labels[:, 0]).item(), 1.0)
    with pytest.raises(ValueError, match="float64 don't go with"):
        classification_loss(logits, labels[:, 0])


@pytest.mark.parametrize(
    "build", [b0, lambda: PVTV2Backbone(b0().config), lambda: models.SemanticFPN(b0(), num_classes=2)]
)
def test_what_is_no_image(build):
    model = build()
    for images, kind, words in [
        (None, TypeError, "got NoneType; models.ImageProcessor makes one"),
        ("cat.jpg", TypeError, "got str"),
        (np.zeros((1, 3, 64, 64), np.float32), TypeError, "got ndarray; .* mg.tensor from an array"),
        (mg.zeros(1, 3, 64, 64).to(dtype=mg.uint8), TypeError, "floating-point numbers, got uint8"),
        (mg.zeros(1, 64, 64, 3), ValueError, r"images \(N, 3, H, W\), got shape \(1, 64, 64, 3\)"),
    ]:
        with pytest.raises(kind, match=words):
            model(images)


def test_no_images(device):
    for linear in (False, True):
        out = b0(device, linear=linear).eval()(mg.zeros(0, 3, 64, 64, device=device), output_attentions=True)
        assert out.logits.shape == (0, 5) and out.attentions[0].shape == (0, 1, 256, 49 if linear else 4)


def test_the_configuration_can_name_the_problem():
    model = b0(num_classes=3, problem_type="regression")
    x, labels = mg.randn(2, 3, 64, 64), mg.randn(2, 3)
    out = model.eval()(x, labels=labels)
    assert np.isclose(out.loss.item(), ((out.logits.numpy() - labels.numpy()) ** 2).mean())
    with pytest.raises(ValueError, match="no classifier .num_classes is 0.*reset_classifier"):
        b0(num_classes=0)(x, labels=mg.tensor([0, 1]))


@pytest.mark.parametrize("labels", [[0, 1, 2, 0], np.eye(3)[[0, 1, 2, 0]]], ids=["classes", "several"])
def test_ten_steps_of_sgd_lower_the_loss(labels, device):
    model = narrow(device).train()
    x, labels = mg.randn(4, 3, 64, 64, device=device), mg.tensor(labels, device="cpu")
    labels = labels.to(device, dtype="float32") if labels.is_floating_point() else labels.to(device)
    optimizer = mg.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = model(x, labels=labels).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


# --- timm's words -------------------------------------------------------------------------------------------------------
def test_classifier_and_pooling(device):
    model = b0(device).eval()
    x = mg.randn(2, 3, 64, 64, device=device)
    with mg.no_grad():
        features = model.forward_features(x)
        assert features.shape == (2, 256, 2, 2) and model.num_features == model.head_hidden_size == 256
        pooled = model.forward_head(features, pre_logits=True)
        assert np.allclose(pooled.numpy(), features.numpy().mean((2, 3)), atol=1e-6)
        assert equal(model.forward_head(features), model(x)) and equal(model.get_classifier()(pooled), model(x))
        assert model.num_classes == 5 and model.get_classifier() is model.head
        model.reset_classifier(0)
        assert equal(model(x), pooled) and isinstance(model.get_classifier(), nn.Identity)
        model.reset_classifier(0, "")
        assert equal(model(x), features) and model.config.global_pool == ""
        with pytest.raises(ValueError, match="global_pool '' leaves a map"):
            model.reset_classifier(7)
        model.reset_classifier(7, "avg")
        assert model(x).shape == (2, 7) and not model.head.training and model.head.weight.device == device
        assert 0.015 < model.head.weight.numpy().std() < 0.025 and model.config.num_classes == 7
        assert b0(device, num_classes=0).eval()(x).shape == (2, 256)
    with pytest.raises(ValueError, match="global_pool must be 'avg' or ''"):
        model.reset_classifier(7, "max")
    with pytest.raises(ValueError, match="num_classes must be 0, got 5"):
        b0(global_pool="")


def test_a_new_classifier_has_the_models_dtype_and_trains():
    model = b0().to(mg.float64).train()
    model.reset_classifier(3)
    assert model.head.weight.dtype.name == "float64" and model.head.training
    model(mg.randn(1, 3, 64, 64, dtype="float64"), labels=mg.tensor([2])).loss.backward()
    assert model.head.weight.grad is not None


def test_dropout_before_the_classifier():
    model, x = b0(head_drop_rate=0.5, num_classes=0), mg.ones(64, 256, 1, 1)
    values = model.train().forward_head(x).numpy()
    assert set(np.unique(values)) == {0.0, 2.0} and equal(model.eval().forward_head(x), mg.ones(64, 256))


def test_intermediates():
    model = b0().eval()
    x = mg.randn(1, 3, 64, 64)
    with mg.no_grad():
        maps = model.stage_maps(x)
        last, found = model.forward_intermediates(x)
        assert equal(last, model.forward_features(x)) and equal(found, maps)
        for indices, expected in [(2, (2, 3)), ([0], (0,)), ((-1, 1), (1, 3)), ([3, -4], (0, 3))]:
            last, found = model.forward_intermediates(x, indices)
            assert equal(found, [maps[i] for i in expected]) and equal(last, maps[-1])
        assert equal(model.forward_intermediates(x, [1], stop_early=True), (maps[1], [maps[1]]))
        assert equal(model.forward_intermediates(x, [1], intermediates_only=True, norm=True), [maps[1]])
    for indices in (0, 5, [4], [-5], []):
        with pytest.raises(ValueError, match="stages .*asked for"):
            model.forward_intermediates(x, indices)
    for indices in ("stage1", ["a"], 1.5):
        with pytest.raises(TypeError, match="by a whole number or a list of them"):
            model.forward_intermediates(x, indices)
    with pytest.raises(ValueError, match="output_fmt must be 'NCHW', got 'NHWC'"):
        model.forward_intermediates(x, output_fmt="NHWC")


def test_pruned_stages():
    model, x = b0(drop_path_rate=0.3).eval(), mg.randn(1, 3, 64, 64)
    with mg.no_grad():
        maps = model.stage_maps(x)
        assert model.prune_intermediate_layers([0, -3]) == [0, 1]
        assert equal(model(x), maps[1]) and model.num_features == 64 and len(model.stages) == 2
        again = models.PVT_V2(model.config)  # the configuration describes what is left
        again.load_state_dict(model.state_dict())
        assert equal(again.eval()(x), maps[1]) and np.isclose(model.config.drop_path_rate, 0.1)
        whole = b0()
        assert whole.prune_intermediate_layers(prune_head=False) == [3] and whole(x).shape == (1, 5)


def test_feature_lists():
    model, x = b0().eval(), mg.randn(2, 3, 64, 64)
    with mg.no_grad():
        maps = model.stage_maps(x)
        for out_indices, expected in [(None, (0, 1, 2, 3)), ((0, 2), (0, 2)), (2, (2, 3)), ((-1,), (3,))]:
            net = models.FeatureListNet(model, out_indices)
            assert equal(net(x), [maps[i] for i in expected])
            assert net.feature_info.channels() == [DIMS[i] for i in expected]
            assert net.feature_info.reduction() == [4 * 2**i for i in expected]
            assert net.feature_info.get_dicts(["module"]) == [{"module": f"stages.{i}"} for i in expected]
    assert not any(name.startswith(("head", "stages.2")) for name in models.FeatureListNet(model, [1]).state_dict())
    assert model.feature_info[2] == {"num_chs": 160, "reduction": 16, "module": "stages.2", "index": 2}
    assert model.feature_info.channels([1, 3]) == [64, 256] and model.feature_info.reduction(1) == 8
    assert model.feature_info.get_dicts(idx=0)["num_chs"] == 32 and len(model.feature_info) == 4


def test_layer_groups_cover_every_parameter_but_the_classifiers():
    model = b0()
    patterns = model.group_matcher()
    found = {}
    for name, _ in model.named_parameters():
        hits = [(key, m.groups()) for key, pattern in patterns.items() if (m := re.match(pattern, name))]
        found[name] = hits[0] if len(hits) == 1 else None
    assert {v for v in found.values() if v} == {("stem", ()), *(("blocks", (str(i),)) for i in range(4))}
    assert [name for name, hit in found.items() if hit is None] == ["head.weight", "head.bias"]
    assert model.no_weight_decay() == set()


def test_learning_rates_that_fall_towards_the_input():
    model = narrow()
    model.stages[1].requires_grad_(False)
    groups = mg.optim.param_groups_layer_decay(model, lr=0.1, layer_decay=0.5, min_scale=0.1)
    rates = {p: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    for name, p in model.named_parameters():
        decay = 0.05 if p.ndim > 1 else 0.0
        layer = (
            {"patch_embed": 0, "head": 5}.get(name.split(".")[0])
            if "stages" not in name
            else int(name.split(".")[1]) + 1
        )
        expected = None if layer == 2 else (0.1 * max(0.5 ** (5 - layer), 0.1), decay)
        assert rates.get(p) == pytest.approx(expected), name
    mg.optim.AdamW(groups)
    with pytest.raises(TypeError, match="Linear has no group_matcher"):
        mg.optim.param_groups_layer_decay(nn.Linear(2, 2), lr=0.1)


DROPPING = dict(drop_rate=0.2, attn_drop_rate=0.2, drop_path_rate=0.4, depths=(2, 2, 2, 2))


def gradients(model, x):
    mg.manual_seed(3)
    model.zero_grad()
    model(x, labels=mg.tensor([0, 1], device=x.device)).loss.backward()
    return {name: p.grad.numpy() for name, p in model.named_parameters()}


def test_checkpointing_keeps_gradients_with_dropout_and_drop_path(device):
    model, x = narrow(device, **DROPPING).train(), mg.randn(2, 3, 64, 64, device=device)
    plain = gradients(model, x)
    model.set_grad_checkpointing()
    recomputed = gradients(model, x)
    for name, g in plain.items():
        assert np.allclose(recomputed[name], g, rtol=1e-5, atol=1e-6 * np.abs(g).max()), name
    assert model(x, output_attentions=True).attentions[0].shape == (2, 1, 256, 4)
    model.set_grad_checkpointing(False)
    assert all(np.array_equal(g, plain[name]) for name, g in gradients(model, x).items())


def test_checkpointing_takes_less_memory():
    model, x = narrow(**{**DROPPING, "depths": (6, 2, 1, 1)}).train(), mg.randn(2, 3, 128, 128)
    peaks = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        with mg.backend.num_threads(1):  # each thread keeps its scratch memory
            tracemalloc.start()
            try:
                gradients(model, x)
                peaks.append(tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
    assert peaks[1] < 0.4 * peaks[0]


@pytest.mark.parametrize(("linear", "kept", "least", "most"), [
    (True, False, 3, 4.1), (True, True, 3, 4.1), (False, False, 2.5, 4.1), (False, True, 6, 17),
])  # fmt: skip
def test_memory_of_attention_beside_the_number_of_pixels(linear, kept, least, most):
    """Four times the pixels: four times the memory, since queries are taken some at a time; only with a reduced map whose
    weights are handed out it is up to 16 times, that of the weights. On one thread: each has its share of the queries at work."""
    model, peaks = b0(linear=linear).eval(), {}
    attention = model.stages[0].blocks[0].attn
    with mg.no_grad(), mg.backend.num_threads(1):
        for side in (512, 256, 512):  # the first time makes the scratch memory that the thread keeps
            tokens, size = model.patch_embed(mg.randn(1, 3, side, side))
            tracemalloc.start()
            try:
                attention(tokens, size, [] if kept else None)
                peaks[side] = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
    assert least < peaks[512] / peaks[256] < most


# --- the backbone -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("given", "features", "indices"), [
    ({}, ["stage4"], [3]),
    (dict(out_features=["stage1", "stage3"]), ["stage1", "stage3"], [0, 2]),
    (dict(out_indices=[0, 2]), ["stage1", "stage3"], [0, 2]),
    (dict(out_indices=(-4, -1)), ["stage1", "stage4"], [-4, -1]),
    (dict(out_features=["stage2", "stage4"], out_indices=[1, 3]), ["stage2", "stage4"], [1, 3]),
    (dict(out_features=["stage2", "stage4"], out_indices=[1, -1]), ["stage2", "stage4"], [1, -1]),
])  # fmt: skip
def test_backbone_outputs(given, features, indices):
    backbone, x = PVTV2Backbone(CONFIG, **given).eval(), mg.randn(2, 3, 64, 96)
    assert backbone.stage_names == ["stage1", "stage2", "stage3", "stage4"]
    assert (backbone.out_features, backbone.out_indices) == (features, indices)
    channels = dict(zip(backbone.stage_names, (8, 16, 24, 32), strict=True))
    assert backbone.channels == [channels[name] for name in features] and backbone.out_feature_channels == channels
    with mg.no_grad():
        out, full = backbone(x), backbone(x, output_hidden_states=True, output_attentions=True)
        maps = backbone.stage_maps(x)
    assert (
        len(out) == 1
        and equal(out.feature_maps, [maps[i] for i in indices])
        and equal(full.feature_maps, out.feature_maps, PARTS)
    )
    assert equal(full.hidden_states, maps, PARTS) and [a.shape[1] for a in full.attentions] == [1, 2, 3, 4]


MISTAKES = [
    (dict(out_features=["stage5"]), r"out_features \['stage5'\] asks for a stage that there isn't.*stage1, stage2"),
    (dict(out_features=["stem"]), "stage that there isn't"),
    (dict(out_features="stage1"), "out_features must be a list, got 'stage1'"),
    (dict(out_features=["stage1", "stage1"]), "twice"),
    (dict(out_features=["stage2", "stage1"]), "in the order of the stages"),
    (dict(out_indices=0), "out_indices must be a list, got 0"),
    (dict(out_indices=[4]), r"out_indices \[4\] asks for a stage that there isn't.*from 0 to 3"),
    (dict(out_indices=[-5]), "stage that there isn't"),
    (dict(out_indices=[0, 0]), "twice"),
    (dict(out_indices=[3, -1]), "twice"),
    (dict(out_indices=[2, 1]), "in the order"),
    (dict(out_indices=[]), "out_indices is empty"),
    (dict(out_features=["stage1"], out_indices=[1]), r"\['stage1'\] and out_indices \[1\] name different stages"),
    (dict(out_features=["stage1", "stage2"], out_indices=[0]), "name different stages"),
]


@pytest.mark.parametrize(("given", "message"), MISTAKES, ids=[str(given) for given, _ in MISTAKES])
def test_backbone_mistakes(given, message):
    with pytest.raises(ValueError, match=message):
        PVTV2Backbone(CONFIG, **given)


def test_backbone_outputs_can_be_changed():
    backbone = PVTV2Backbone(CONFIG, num_classes=3, in_channels=1)
    backbone.out_features = ["stage1", "stage2"]
    assert backbone.out_indices == [0, 1] and backbone.channels == [8, 16]
    backbone.out_indices = [-3, -1]
    assert backbone.out_features == ["stage2", "stage4"]
    with pytest.raises(ValueError, match="twice"):
        backbone.out_indices = [1, 1]
    assert backbone.out_features == ["stage2", "stage4"]
    backbone.out_indices = None
    assert backbone.out_features == ["stage4"] and not any(name.startswith("head") for name in backbone.state_dict())
    backbone.out_features.append("stage5")  # a copy
    assert [t.shape for t in backbone(mg.randn(1, 1, 64, 64)).feature_maps] == [(1, 32, 2, 2)]


# --- factories ----------------------------------------------------------------------------------------------------------
def test_names_by_pattern():
    assert models.list_models("pvt*") == models.list_models() and models.list_models("PVT*") == []
    assert models.list_models("*b2*") == ["pvt_v2_b2", "pvt_v2_b2_li"]
    assert models.list_models(["*_b[01]", "*tiny"]) == ["pvt_v2_b0", "pvt_v2_b1", "pvt_v2_tiny"]
    assert models.list_models("*_b?", exclude_filters=["*4", "*5"]) == [f"pvt_v2_b{i}" for i in range(4)]
    assert models.list_models(None, exclude_filters=None) == models.list_models()


def test_arguments_of_create_model(tmp_path):
    model = models.create_model(
        "pvt_v2_b0.in1k",
        in_chans=4,
        num_classes=7,
        proj_drop_rate=0.1,
        drop_path_rate=0.2,
        img_size=None,
        depths=(1, 1, 1, 1),
    )
    config = model.config
    assert (config.in_channels, config.num_classes, config.drop_rate, config.drop_path_rate) == (4, 7, 0.1, 0.2)
    assert config.img_size == 224 and model.patch_embed.proj.weight.shape == (32, 4, 7, 7)
    path = tmp_path / "weights.safetensors"
    mg.save(path, model.state_dict())
    given = dict(in_channels=4, num_classes=7, depths=(1, 1, 1, 1), checkpoint_path=path)
    x = mg.randn(1, 4, 64, 64)
    with mg.no_grad():
        expected = model.eval().stage_maps(x)
        assert equal(models.create_model("pvt_v2_b0", **given).eval()(x), model(x))
        net = models.pvt_v2_b0(**given, features_only=True, out_indices=(1, 2)).eval()
        assert equal(net(x), expected[1:3])
    for given, message in [
        (dict(out_indices=(1,)), "give features_only=True"),
        (dict(droprate=0.1), "no field droprate"),
        (dict(features_only=True, out_indices=(4,), depths=(1, 1, 1, 1)), "positions run from 0 to 3"),
    ]:
        with pytest.raises(ValueError, match=message):
            models.create_model("pvt_v2_b0", **given)
    with pytest.raises(TypeError, match="takes the name of a model"):
        models.create_model(models.PVTV2Config())


def test_pretrained_weights(tmp_path, monkeypatch):
    """The published weights stand in a folder here; tests/test_checkpoints.py has the hub."""
    stored = b0(embed_norm_eps=1e-6).eval()
    models.save_pretrained(stored, tmp_path, id2label={i: str(i) for i in range(5)})
    monkeypatch.setitem(models.PRETRAINED, "pvt_v2_b0", str(tmp_path))
    x = mg.randn(1, 3, 64, 64)
    with mg.no_grad():
        maps = stored.stage_maps(x)
        model = models.create_model("pvt_v2_b0", pretrained=True, drop_path_rate=0.3, cache_dir=tmp_path)
        assert equal(model(x), stored(x)) and not model.training and model.config.drop_path_rate == 0.3
        for given in ({"pretrained": True}, {"checkpoint_path": tmp_path, **SHALLOW, "embed_norm_eps": 1e-6}):
            net = models.pvt_v2_b0(features_only=True, out_indices=[0, -2], num_classes=9, **given).eval()
            assert equal(net(x), [maps[0], maps[2]])
        with pytest.warns(UserWarning, match="replaced by an untrained one of 2 classes"):
            assert models.pvt_v2_b0(pretrained=True, num_classes=2)(x).shape == (1, 2)
        assert equal(
            models.pvt_v2_b0(pretrained=True, num_classes=0)(x), stored.forward_head(maps[-1], pre_logits=True)
        )
    assert model.id2label == {i: str(i) for i in range(5)}
    model.reset_classifier(3)
    assert not hasattr(model, "id2label")
    models.save_pretrained(model, tmp_path / "new")
    with pytest.raises(ValueError, match="no pretrained weights for 'pvt_v2_tiny'; there are for pvt_v2_b0"):
        models.pvt_v2_tiny(pretrained=True)
    with pytest.raises(ValueError, match="no field dropout"):
        models.pvt_v2_b1(pretrained=True, dropout=0.1)
    assert models.list_models("*b2*", pretrained=True) == ["pvt_v2_b2", "pvt_v2_b2_li"]
    assert models.list_models(pretrained=True) == PUBLISHED
