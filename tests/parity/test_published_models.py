"""PVT_V2, PVTV2Model, PVTV2Backbone and feature lists beside transformers' and timm's models with the same weights, every
bias and norm randomised too: what they return in each form of the call, and what they refuse."""

import itertools

import numpy as np
import pytest
import torch
from peers import published

import minigrad as mg
from minigrad import models
from minigrad.interop import to_native

transformers, timm = published("transformers"), published("timm")

TOLERANCE = {"float64": 1e-9, "float32": 5e-6}
DIMS, HEADS, DEPTHS = (16, 24, 40, 32), (1, 2, 5, 4), (1, 2, 1, 2)
SHAPE = (2, 3, 96, 64)
RUNS = [("cpu", "float64"), ("cpu", "float32"), ("mlx", "float32")]


@pytest.fixture(params=RUNS, ids="-".join)
def where(request):
    """(device, dtype) of a run."""
    if request.param[0] == "mlx":
        pytest.importorskip("mlx.core", exc_type=ImportError)
    return request.param


@pytest.fixture(params=[False, True], ids=["reduced", "linear"])
def linear(request):
    return request.param


def close(ours, theirs, dtype) -> None:
    """Asserts the same nesting, shapes and numbers; tensors by max |a - b| / max |b|."""
    if isinstance(theirs, torch.Tensor):
        a, b = ours.numpy().astype(np.float64), theirs.detach().double().numpy()
        assert a.shape == b.shape and np.abs(a - b).max() <= TOLERANCE[dtype] * np.abs(b).max()
    else:
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            close(a, b, dtype)


def randomised(model, dtype):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return model.to(getattr(torch, dtype)).eval()


@pytest.fixture
def forward_only():
    with torch.no_grad(), mg.no_grad():
        yield


def images(where):
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(where[1])
    return mg.tensor(x, device=where[0]), torch.from_numpy(x)


def flat(attentions):
    """One tensor for each block; transformers gives a tuple of them for each stage."""
    return tuple(itertools.chain.from_iterable(attentions))


def load(model, state, layout, where):
    """Our model with another's weights."""
    device, dtype = where
    native = to_native({k: v.numpy() for k, v in state.items()}, layout)
    model = model.to(device, mg.dtypes.dtype(dtype)).eval()
    model.load_state_dict({k: mg.tensor(v, device=device) for k, v in native.items()})
    return model


def hf_config(linear, labels=5, **changes):
    return transformers.PvtV2Config(
        hidden_sizes=list(DIMS), num_attention_heads=list(HEADS), depths=list(DEPTHS), linear_attention=linear,
        num_labels=labels, image_size=64, **changes,
    )  # fmt: skip


def our_config(linear, **changes):
    return models.PVTV2Config(
        img_size=64, num_classes=5, embed_dims=DIMS, num_heads=HEADS, depths=DEPTHS, mlp_ratios=(8, 8, 4, 4), qkv_bias=True,
        linear=linear, embed_norm_eps=1e-6,
    ).replace(**changes)  # fmt: skip


# --- transformers -------------------------------------------------------------------------------------------------------
def test_classifier_outputs_and_losses(where, linear, forward_only):
    theirs = randomised(transformers.PvtV2ForImageClassification(hf_config(linear)), where[1])
    ours = load(models.PVT_V2(our_config(linear)), theirs.state_dict(), "hf", where)
    x, y = images(where)
    several = np.random.default_rng(1).random((2, 5)).astype(where[1])
    for labels in (None, np.array([3, 0]), several):
        theirs.config.problem_type = None  # the first loss fixes it there
        theirs_labels = None if labels is None else torch.from_numpy(labels)
        ours_labels = None if labels is None else mg.tensor(labels, device=where[0])
        for asked in ({}, {"output_attentions": True, "output_hidden_states": True}):
            for return_dict in (True, False):
                expected = theirs(y, labels=theirs_labels, return_dict=return_dict, **asked)
                got = ours(x, labels=ours_labels, return_dict=return_dict, **asked)
                assert return_dict is False or list(got.keys()) == list(expected.keys())
                expected = list(expected.to_tuple() if return_dict else expected)
                if "output_attentions" in asked:
                    expected[-1] = flat(expected[-1])
                close(tuple(got), tuple(expected), where[1])
    close(ours(x), theirs(y).logits, where[1])


@pytest.mark.parametrize("labels", [[0.3, -1.2], [[0.3], [-1.2]], [1, 4]], ids=str)
def test_loss_of_one_label(labels):
    where = ("cpu", "float64")
    theirs = randomised(transformers.PvtV2ForImageClassification(hf_config(False, 1)), "float64")
    ours = load(models.PVT_V2(our_config(False, num_classes=1)), theirs.state_dict(), "hf", where)
    x, y = images(where)
    close(
        ours(x, labels=np.array(labels)).loss,
        theirs(y, labels=torch.tensor(labels, dtype=torch.float64)).loss,
        "float64",
    )


@pytest.mark.parametrize("problem", models.pvt_v2.config.PROBLEMS)
def test_loss_of_a_named_problem(problem):
    where = ("cpu", "float64")
    theirs = randomised(transformers.PvtV2ForImageClassification(hf_config(False, problem_type=problem)), "float64")
    ours = load(models.PVT_V2(our_config(False, problem_type=problem)), theirs.state_dict(), "hf", where)
    x, y = images(where)
    labels = np.array([4, 2]) if problem.startswith("single") else np.random.default_rng(1).random((2, 5))
    close(ours(x, labels=mg.tensor(labels)).loss, theirs(y, labels=torch.from_numpy(labels)).loss, "float64")


def test_gradients_of_the_loss(linear):
    where = ("cpu", "float64")
    theirs = randomised(transformers.PvtV2ForImageClassification(hf_config(linear)), "float64").train()
    ours = load(models.PVT_V2(our_config(linear)), theirs.state_dict(), "hf", where).train()
    x, y = images(where)
    ours.set_grad_checkpointing()
    ours(x, labels=mg.tensor([1, 2])).loss.backward()
    theirs(y, labels=torch.tensor([1, 2])).loss.backward()
    gradients = to_native({name: p.grad.numpy() for name, p in theirs.named_parameters()}, "hf")
    for name, p in ours.named_parameters():
        a, b = p.grad.numpy(), gradients[name]
        if name.endswith("kv.bias"):  # the gradient of a shift of all keys is 0 but for rounding
            a, b = a[len(a) // 2 :], b[len(b) // 2 :]
        assert np.abs(a - b).max() <= 1e-9 * np.abs(b).max(), name


def test_bare_encoder(where, linear, forward_only):
    theirs = randomised(transformers.PvtV2Model(hf_config(linear)), where[1])
    ours = load(models.PVTV2Model(our_config(linear)), theirs.state_dict(), "hf", where)
    x, y = images(where)
    for asked in ({}, {"output_hidden_states": True}, {"output_attentions": True, "output_hidden_states": True}):
        got, expected = ours(x, **asked), theirs(y, **asked)
        assert list(got.keys()) == list(expected.keys())
        expected = list(expected.to_tuple())
        if "output_attentions" in asked:
            expected[-1] = flat(expected[-1])
        close(got.to_tuple(), expected, where[1])
        close(ours(x, return_dict=False, **asked), expected, where[1])


OUTPUTS = [{}, {"out_features": ["stage1", "stage4"]}, {"out_indices": [1, 2]}, {"out_indices": [0, -1]}]


@pytest.mark.parametrize("asked", OUTPUTS, ids=str)
def test_backbone(asked, where, forward_only):
    theirs = randomised(transformers.PvtV2Backbone(hf_config(False, **asked)), where[1])
    ours = load(models.PVTV2Backbone(our_config(False), **asked), theirs.state_dict(), "hf", where)
    for name in ("stage_names", "out_features", "out_indices", "channels", "num_features", "out_feature_channels"):
        assert getattr(ours, name) == getattr(theirs, name), name
    x, y = images(where)
    for hidden in (False, True):
        got, expected = ours(x, output_hidden_states=hidden), theirs(y, output_hidden_states=hidden)
        assert list(got.keys()) == list(expected.keys())
        close(got.to_tuple(), expected.to_tuple(), where[1])
    close(ours(x, return_dict=False), theirs(y, return_dict=False), where[1])


def test_rules_of_the_backbones_outputs():
    """Every list of up to two stages, alone and together: the same outputs, or a ValueError in both."""
    names = ["stage1", "stage2", "stage4", "stem"]
    some_features = [None, *map(list, itertools.chain(((n,) for n in names), itertools.product(names, repeat=2)))]
    places = [0, 1, 3, -1, -4, 4]
    some_indices = [None, *map(list, itertools.chain(((i,) for i in places), itertools.product(places, repeat=2)))]
    refused = 0
    config = our_config(False)
    names = [f"stage{i}" for i in range(1, 5)]
    for features, indices in itertools.product(some_features, some_indices):
        given = {"out_features": features, "out_indices": indices}
        try:
            theirs = hf_config(False, **given)
        except ValueError:
            refused += 1
            with pytest.raises(ValueError, match="out_"):
                models.pvt_v2.backbone.align_outputs(names, features, indices)
        else:
            assert models.pvt_v2.backbone.align_outputs(names, features, indices) == (
                theirs.out_features,
                theirs.out_indices,
            ), given
    assert 700 < refused < len(some_features) * len(some_indices) - 30
    with pytest.raises(ValueError, match="stage5"):
        models.PVTV2Backbone(config, out_features=["stage5"])


# --- timm ---------------------------------------------------------------------------------------------------------------
def pair(linear, where, **changes):
    """timm's model and ours with the same weights."""
    theirs = timm.models.pvt_v2.PyramidVisionTransformerV2(
        num_classes=5, depths=DEPTHS, embed_dims=DIMS, num_heads=HEADS, linear=linear, **changes
    )
    theirs = randomised(theirs, where[1])
    return theirs, load(models.PVT_V2(our_config(linear, embed_norm_eps=1e-5)), theirs.state_dict(), "timm", where)


def test_timms_methods(where, linear, forward_only):
    theirs, ours = pair(linear, where)
    x, y = images(where)
    close(ours(x), theirs(y), where[1])
    a, b = ours.forward_features(x), theirs.forward_features(y)
    close(a, b, where[1])
    close(ours.forward_head(a), theirs.forward_head(b), where[1])
    close(ours.forward_head(a, pre_logits=True), theirs.forward_head(b, pre_logits=True), where[1])
    for indices, stop, only in itertools.product([None, 2, [0], (1, -1), [3, 1]], [False, True], [False, True]):
        given = dict(indices=indices, stop_early=stop, intermediates_only=only)
        close(ours.forward_intermediates(x, **given), theirs.forward_intermediates(y, **given), where[1])
    for pool in (None, ""):
        theirs.reset_classifier(0, pool)
        ours.reset_classifier(0, pool)
        close(ours(x), theirs(y), where[1])
    assert ours.prune_intermediate_layers([0, 2]) == theirs.prune_intermediate_layers([0, 2])
    close(ours(x), theirs(y), where[1])
    for name in ("num_features", "head_hidden_size", "num_classes"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert set(ours.state_dict()) == set(theirs.state_dict())


def test_timms_descriptions():
    theirs, ours = pair(False, ("cpu", "float64"))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    fields = ("num_chs", "reduction", "module")
    assert [{k: d[k] for k in fields} for d in theirs.feature_info] == ours.feature_info.get_dicts(fields)
    assert ours.group_matcher() == theirs.group_matcher() and set(theirs.no_weight_decay()) == ours.no_weight_decay()
    theirs, _ = pair(False, ("cpu", "float64"), drop_path_rate=0.2)
    ours = models.PVT_V2(our_config(False, drop_path_rate=0.2))
    rates = [[getattr(b.drop_path1, "drop_prob", 0) for s in theirs.stages for b in s.blocks]]
    rates.append([getattr(b.drop_path, "drop_prob", 0) for s in ours.stages for b in s.blocks])
    np.testing.assert_allclose(rates[1], rates[0], rtol=1e-6)


@pytest.mark.parametrize("out_indices", [None, (1, 3), 2, (-3,)], ids=str)
def test_feature_lists(out_indices, where, forward_only):
    given = dict(depths=DEPTHS, embed_dims=DIMS, num_heads=HEADS, features_only=True)
    chosen = {} if out_indices is None else {"out_indices": out_indices}
    theirs = randomised(timm.create_model("pvt_v2_b0", **given, **chosen), where[1])
    ours = models.create_model("pvt_v2_b0", **given, out_indices=out_indices)
    state = {k.replace("stages_", "stages."): v for k, v in theirs.state_dict().items()}
    ours = load(ours, state, "timm", where)
    x, y = images(where)
    close(ours(x), theirs(y), where[1])
    for name in ("channels", "reduction", "module_name"):
        assert getattr(ours.feature_info, name)() == getattr(theirs.feature_info, name)()
        assert getattr(ours.feature_info, name)([0]) == getattr(theirs.feature_info, name)([0])


def test_names_of_the_models():
    for pattern in ("pvt*", "*b2*", ["*_b0", "*_li"]):
        assert [n for n in models.list_models(pattern) if n != "pvt_v2_tiny"] == timm.list_models(
            pattern, module="pvt_v2"
        )


@pytest.mark.parametrize(
    "given", [{}, {"layer_decay": 0.5, "min_scale": 0.2}, {"no_weight_decay_list": ["head.weight"]}], ids=str
)
def test_learning_rates_by_layer(given):
    theirs, ours = pair(False, ("cpu", "float64"))

    def by_parameter(model, groups):
        names = {id(p): name for name, p in model.named_parameters()}
        return {names[id(p)]: (g["lr_scale"], g["weight_decay"]) for g in groups for p in g["params"]}

    expected = by_parameter(theirs, published("timm.optim").param_groups_layer_decay(theirs, weight_decay=0.1, **given))
    groups = mg.optim.param_groups_layer_decay(ours, lr=0.01, weight_decay=0.1, **given)
    got = by_parameter(ours, groups)
    assert set(got) == set(expected) and all(got[name] == pytest.approx(expected[name]) for name in got)
    assert all(group["lr"] == 0.01 * group["lr_scale"] for group in groups)
