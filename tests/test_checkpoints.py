"""Checkpoints: every layout there and back, configurations from files and shapes, other classes and channels, shards, convert."""

import dataclasses
import json
import math
import os
import threading
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pth
import pytest
from checkpoint_tools import SMALL, arrays_of, quietly, randomised, same, sharded
from safetensors.numpy import load_file, save_file

import minigrad as mg
from minigrad import models
from minigrad.cli import main
from minigrad.interop import from_native, layouts, to_native
from minigrad.interop.reading import Weights
from minigrad.models.checkpoints import describing
from minigrad.models.pvt_v2.variants import VARIANTS, variant_config
from minigrad.serialize import CheckpointError, read_header

REFERENCE = Path(__file__).parent / "reference"
KINDS = {
    "reducing": SMALL,
    "linear": {**SMALL, "linear": True, "sr_ratios": (8, 4, 2, 1)},
    "no qkv bias": {**SMALL, "qkv_bias": False},
    "no classifier": {**SMALL, "num_classes": 0},
    "three stages": dict(img_size=48, num_classes=2, embed_dims=(8, 12, 16), num_heads=(1, 2, 4), mlp_ratios=(2, 3, 2), depths=(1, 2, 1),
                         sr_ratios=(2, 2, 1), num_stages=3, in_channels=1),
}  # fmt: skip
LABELS = {0: "ant", 1: "bee", 2: "cow", 3: "dog", 4: "elk"}


# --- there and back -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_saved_and_loaded(tmp_path, layout, kind):
    eps = {"embed_norm_eps": 1e-6} if layout == "hf" else {}
    model = randomised(models.PVTV2Config(**KINDS[kind], **eps))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert models.save_pretrained(model, tmp_path / "new" / "folder", layout=layout) == tmp_path / "new" / "folder"
        back = models.from_pretrained(tmp_path / "new" / "folder")
    assert same(model, back) and not back.training
    assert sorted(p.name for p in (tmp_path / "new").rglob("*")) == [
        "config.json", "folder", "model.safetensors", "preprocessor_config.json",
    ]  # fmt: skip
    stored = load_file(tmp_path / "new" / "folder" / "model.safetensors")
    assert layouts.detect_layout(stored) == layout
    image = mg.randn(2, model.config.in_channels, *model.config.image_shape)
    with mg.no_grad():
        assert np.array_equal(model(image).numpy(), back(image).numpy())


def test_the_stored_checkpoints_have_the_names_that_saving_gives():
    for name in ("tiny_sr", "tiny_li_up"):
        native = load_file(REFERENCE / f"{name}.timm.safetensors")
        for short, layout in (("timm", "timm"), ("orig", "original"), ("hf", "hf")):
            stored, made = load_file(REFERENCE / f"{name}.{short}.safetensors"), from_native(native, layout)
            assert stored.keys() == made.keys() and all(np.array_equal(stored[n], made[n]) for n in made)


@pytest.mark.parametrize("kind", [models.PVTV2Model, models.PVTV2Backbone, models.PVT_V2])
def test_the_bare_encoder(tmp_path, kind):
    """Without a classifier Hugging Face's names have no prefix; it loads as whatever is asked for."""
    encoder = randomised(models.PVTV2Config(**{**SMALL, "embed_norm_eps": 1e-6, "num_classes": 0}), models.PVTV2Model)
    models.save_pretrained(encoder, tmp_path)
    assert all(name.startswith("encoder.layers.") for name in load_file(tmp_path / "model.safetensors"))
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["PvtV2Model"]
    back = models.from_pretrained(tmp_path, model_class=kind)
    assert type(back) is kind and same(encoder, back)
    assert type(models.from_pretrained(tmp_path)) is models.PVT_V2
    with pytest.warns(UserWarning, match="has no classifier: the model's, of 7 classes, is untrained"):
        assert models.from_pretrained(tmp_path, num_classes=7).head.weight.numpy().std() > 0.01


def test_an_encoder_takes_a_classifiers_file(tmp_path):
    model = randomised()
    quietly(models.save_pretrained, model, tmp_path)
    encoder = models.from_pretrained(tmp_path, model_class=models.PVTV2Model)
    assert all(np.array_equal(a, arrays_of(model)[name]) for name, a in arrays_of(encoder).items())
    fresh = models.PVTV2Model(models.PVTV2Config(**SMALL))
    models.load_weights(fresh, tmp_path)
    assert same(fresh, models.from_pretrained(tmp_path, model_class=models.PVTV2Model, embed_norm_eps=1e-5))


def test_a_file_that_doesnt_fit_is_named(tmp_path):
    """The first line says which file it was, what was expected and what to do; every difference follows."""
    path, net = tmp_path / "x.safetensors", mg.nn.Sequential(mg.nn.Linear(3, 2))
    mg.save(path, randomised().state_dict())
    with pytest.raises(ValueError) as caught:
        models.load_weights(net, path)
    first, *rest = str(caught.value).splitlines()
    assert first.startswith("load_weights found ") and first.endswith(
        f"differences between {path} and the module, and changed nothing; rename the entries, or pass strict=False to load only "
        "those that both have:"
    )
    assert rest[0] == "  missing 0.weight (2, 3) float32" and all(line.startswith("  ") for line in rest)
    with pytest.warns(UserWarning, match="lacks 0.weight, 0.bias, which the model keeps as they were"):
        assert models.load_weights(net, path, strict=False).missing_keys == ["0.weight", "0.bias"]
    mg.save(path, {"backbone\n.norm": mg.ones(2), **randomised().state_dict()})
    with pytest.raises(ValueError, match=r"unexpected 'backbone\\n.norm' \(2,\) float32"):
        models.load_weights(randomised(), path)


class Around(mg.nn.Module):
    """A model with PVT v2's names one level deeper."""

    def __init__(self, config):
        super().__init__()
        self.backbone = models.PVTV2Backbone(config)


def test_a_class_without_the_weights_names_is_refused(tmp_path):
    quietly(models.save_pretrained, randomised(), tmp_path)
    with pytest.raises(
        TypeError, match="Around has no place for patch_embed.proj.*; load a PVT_V2 or PVTV2Backbone, and give it to"
    ):
        models.from_pretrained(tmp_path, model_class=Around)


def test_a_backbone_keeps_its_outputs(tmp_path):
    config = models.PVTV2Config(**{**SMALL, "embed_norm_eps": 1e-6, "num_classes": 0})
    models.save_pretrained(models.PVTV2Backbone(config, out_features=["stage2", "stage4"]), tmp_path)
    about = json.loads((tmp_path / "config.json").read_text())
    assert about["architectures"] == ["PvtV2Backbone"] and about["out_features"] == ["stage2", "stage4"]
    load = models.from_pretrained
    assert load(tmp_path, model_class=models.PVTV2Backbone).out_features == ["stage2", "stage4"]
    assert load(tmp_path, model_class=models.PVTV2Backbone, out_features=["stage1"]).out_features == ["stage1"]
    assert load(tmp_path, model_class=models.PVTV2Backbone, out_indices=[0, 2]).out_features == ["stage1", "stage3"]


def test_a_training_runs_weights(tmp_path):
    """Their metadata has the model's name, changed fields and classes; the strides of `pvt_v2_tiny` no shape tells."""
    fields = {"num_classes": 3, "in_channels": 1, "img_size": 32, "drop_path_rate": 0.1}
    model = randomised(variant_config("pvt_v2_tiny", **fields))
    about = {
        "model": "pvt_v2_tiny",
        "fields": fields,
        "classes": ["0", "1", "2"],
        "preprocessing": {},
        "data": "digits",
    }
    mg.save(tmp_path / "model.safetensors", model.state_dict(), metadata={"classifier": json.dumps(about)})
    (tmp_path / "config.json").write_text(json.dumps({"model": "pvt_v2_tiny", "data": "digits", "epochs": 3}))
    for source in (tmp_path, str(tmp_path / "model.safetensors")):
        back = models.from_pretrained(source)
        assert same(model, back) and back.id2label == {0: "0", 1: "1", 2: "2"}
    mg.save(
        tmp_path / "model.safetensors", model.state_dict(), metadata={"classifier": json.dumps({**about, "model": "x"})}
    )
    with pytest.raises(
        CheckpointError, match="model.safetensors: its note of the model is damaged .there is no model 'x'"
    ):
        models.from_pretrained(tmp_path)


# --- shapes -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_expected_shapes_are_the_models(kind):
    config = models.PVTV2Config(**KINDS[kind])
    assert describing.expected_shapes(config) == {n: t.shape for n, t in models.PVT_V2(config).state_dict().items()}


def test_expected_shapes_take_no_weights():
    """B5's, 82 million numbers: no memory for them, no random number and no warning; another thread's layers have theirs."""
    config = variant_config("pvt_v2_b5", img_size=32)
    before = mg.random.default.state
    inside, done = threading.Event(), threading.Event()
    other: list = []

    def make():
        inside.wait(10)
        other.append(mg.nn.Linear(2, 2))
        done.set()

    thread = threading.Thread(target=make)
    thread.start()
    with mg.nn.init.no_weights():
        inside.set()
        assert done.wait(10)
    thread.join()
    assert np.abs(other[0].weight.numpy()).min() > 0
    mg.random.default.state = before
    describing.expected_shapes(variant_config("pvt_v2_tiny"))  # what is made once
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shapes = describing.expected_shapes(config)
    assert tracemalloc.get_traced_memory()[1] < 10e6 and sum(map(math.prod, shapes.values())) > 80e6
    tracemalloc.stop()
    assert (mg.random.default.state == before).all() and not mg.nn.init.weightless()


def stub(config):
    """Arrays of a model's shapes that take no memory."""
    return {n: np.broadcast_to(np.float32(0), shape) for n, shape in describing.expected_shapes(config).items()}


def recognised(config, layout):
    weights = Weights(stub(config), layout, Path("weights"))
    return describing.resolve(weights, describing.Description(), "nothing")


@pytest.mark.parametrize("name", list(VARIANTS)[:7])
@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_the_published_variants_are_recognised_by_their_shapes(name, layout):
    config = variant_config(name, embed_norm_eps=1e-6 if layout == "hf" else 1e-5)
    assert recognised(config, layout) == config
    stored = from_native(stub(config), layout)
    assert (
        len(stored) == {"b0": 194, "b1": 194, "b2": 366, "b2_li": 378, "b3": 630, "b4": 916, "b5": 1158}[name[7:]]
        or layout != "hf"
    )
    assert {n: a.shape for n, a in to_native(stored).items()} == {n: a.shape for n, a in stub(config).items()}


def test_the_default_configuration_is_recognised_too():
    config = models.PVTV2Config()
    assert recognised(config, "original") == config


@pytest.mark.parametrize("ratio", [3, 2.5, 8 / 3, 1.1, 0.3])
def test_any_mlp_ratio_gives_its_hidden_channels(ratio):
    config = models.PVTV2Config(**{**SMALL, "mlp_ratios": (ratio,) * 4})
    found = describing.infer_fields(stub(config))["mlp_ratios"]
    assert [int(d * r) for d, r in zip(config.embed_dims, found, strict=True)] == [
        int(d * ratio) for d in config.embed_dims
    ]


def test_unknown_heads_are_asked_for(tmp_path):
    path = tmp_path / "weights.safetensors"
    model = randomised()
    mg.save(path, model.state_dict())
    with pytest.raises(ValueError, match=r"attention heads.*widths \(8, 16, 20, 24\); give.*config=.*--config FILE"):
        models.from_pretrained(path)
    assert same(models.from_pretrained(path, num_heads=(1, 2, 5, 3), img_size=64), model)
    assert same(models.from_pretrained(path, config=model.config), model)
    (tmp_path / "own.json").write_text(json.dumps(model.config.to_dict()))
    assert same(models.from_pretrained(path, config=tmp_path / "own.json"), model)
    for field in ("num_heads", "num_attention_heads"):
        (tmp_path / "heads.json").write_text(json.dumps({field: [1, 2, 5, 3]}))
        assert same(models.from_pretrained(path, config=tmp_path / "heads.json", img_size=64), model)
    with pytest.raises(ValueError, match="no field heads; it has img_size"):
        models.from_pretrained(path, heads=3)
    with pytest.raises(
        CheckpointError, match=r"proj.weight has shape \(16, 8, 3, 3\), expected \(32, 8, 3, 3\) and 46 more"
    ):
        models.from_pretrained(path, config=model.config.replace(embed_dims=(8, 32, 20, 24)))


# --- configurations -----------------------------------------------------------------------------------------------------
def test_hugging_faces_configuration():
    values = {  # as OpenGVLab/pvt_v2_b0 has it
        "architectures": ["PvtV2ForImageClassification"], "attention_probs_dropout_prob": 0.0, "depths": [2, 2, 2, 2],
        "drop_path_rate": 0.0, "hidden_act": "gelu", "hidden_dropout_prob": 0.0, "hidden_sizes": [32, 64, 160, 256],
        "id2label": {str(i): f"name {i}" for i in range(1000)}, "image_size": [224, 224], "initializer_range": 0.02,
        "label2id": {f"name {i}": i for i in range(1000)}, "layer_norm_eps": 1e-06, "linear_attention": False,
        "mlp_ratios": [8, 8, 4, 4], "model_type": "pvt_v2", "num_attention_heads": [1, 2, 5, 8], "num_channels": 3,
        "num_encoder_blocks": 4, "patch_sizes": [7, 3, 3, 3], "qkv_bias": True, "sr_ratios": [8, 4, 2, 1],
        "strides": [4, 2, 2, 2], "torch_dtype": "float32", "transformers_version": "4.40.0",
    }  # fmt: skip
    config = models.PVTV2Config.from_hf(values)
    assert config == variant_config("pvt_v2_b0", embed_norm_eps=1e-6)
    out = config.to_hf({i: f"name {i}" for i in range(1000)})
    left_out = {"architectures", "torch_dtype", "transformers_version"}
    assert {k: v for k, v in out.items() if k != "problem_type"} == {
        **{k: v for k, v in values.items() if k not in left_out}, "image_size": 224,
    }  # fmt: skip
    assert models.PVTV2Config.from_hf({}) == variant_config(
        "pvt_v2_b0", num_classes=2, embed_norm_eps=1e-6
    )  # its defaults
    assert models.PVTV2Config.from_hf({"image_size": {"height": 64, "width": 96}}).img_size == (64, 96)
    assert models.PVTV2Config.from_hf({"num_labels": 7}).num_classes == 7


def test_every_field_goes_through_hugging_faces_configuration():
    config = models.PVTV2Config(
        img_size=(64, 96), in_channels=4, num_classes=3, embed_dims=(8, 16, 20), num_heads=(2, 4, 5), mlp_ratios=(2, 3, 4), qkv_bias=False,
        drop_rate=0.1, attn_drop_rate=0.2, drop_path_rate=0.3, depths=(1, 3, 2), sr_ratios=(4, 2, 2), num_stages=3, linear=True,
        patch_sizes=(5, 3, 5), strides=(2, 2, 4), hidden_act="relu", initializer_range=0.5, layer_norm_eps=1e-4,
        embed_norm_eps=1e-4, problem_type="regression",
    )  # fmt: skip
    assert models.PVTV2Config.from_hf(json.loads(json.dumps(config.to_hf()))) == config
    assert config.to_hf()["id2label"] == {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}


OTHER = {  # a value of each field that is not the default's
    "img_size": (64, 96), "patch_size": 5, "in_channels": 1, "num_classes": 3, "embed_dims": (12, 16, 25, 27), "num_heads": (2, 4, 4, 3),
    "mlp_ratios": (2.5, 3, 1, 4.75), "qkv_bias": False, "qk_scale": 0.7, "drop_rate": 0.1, "attn_drop_rate": 0.15, "drop_path_rate": 0.2,
    "norm_layer": type("Norm", (mg.nn.LayerNorm,), {}), "depths": (1, 2, 1, 3), "sr_ratios": (4, 2, 2, 1), "num_stages": 2, "linear": True,
    "patch_sizes": (3, 3, 5, 3), "strides": (2, 2, 2, 4), "hidden_act": "relu", "initializer_range": 0.05, "layer_norm_eps": 1e-4,
    "embed_norm_eps": 1e-3, "head_drop_rate": 0.25, "global_pool": "", "problem_type": "multi_label_classification",
}  # fmt: skip
CANT = {  # what each layout's model has no place for, and which changes what it computes
    "hf": {"qk_scale", "mlp_ratios", "norm_layer"},
    "timm": {"patch_size", "patch_sizes", "strides", "hidden_act", "norm_layer", "qk_scale"},
    "original": {"norm_layer"},
}


def test_other_values_are_there_for_every_field():
    assert OTHER.keys() == {f.name for f in dataclasses.fields(models.PVTV2Config)}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("layout", CANT)
@pytest.mark.parametrize("field", OTHER)
def test_each_field_is_there_again_or_refused(tmp_path, field, layout):
    few = {"num_stages": 2} | {name: SMALL[name][:2] for name in ("embed_dims", "num_heads", "mlp_ratios", "depths")}
    changes = {"num_stages": few | {"sr_ratios": (8, 4)}, "global_pool": {"global_pool": "", "num_classes": 0}}
    config = models.PVTV2Config(**SMALL | changes.get(field, {field: OTHER[field]}))
    assert getattr(config, field) != getattr(models.PVTV2Config(**SMALL), field)
    model = models.PVT_V2(config)
    if field in CANT[layout]:
        with pytest.raises(ValueError, match=f"LayerNorm|{field}|patch_sizes"):
            models.save_pretrained(model, tmp_path / "new", layout=layout)
        assert not (tmp_path / "new").exists()
        return
    models.save_pretrained(model, tmp_path, layout=layout)
    again = models.from_pretrained(tmp_path)
    assert again.config == config
    x = mg.randn(1, config.in_channels, 64, 64)
    with mg.no_grad():
        assert again(x).tolist() == model.eval()(x).tolist()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("layout", CANT)
@pytest.mark.parametrize("head", [True, False])
def test_a_pruned_model_is_there_again(tmp_path, layout, head):
    model = models.PVT_V2(models.PVTV2Config(**SMALL, drop_path_rate=0.3))
    model.prune_intermediate_layers(1 if head else [0, 2], prune_head=head)
    models.save_pretrained(model, tmp_path, layout=layout)
    again, x = models.from_pretrained(tmp_path), mg.randn(1, 3, 64, 64)
    with mg.no_grad():
        assert again.config == model.config and again(x).tolist() == model.eval()(x).tolist()


@pytest.mark.parametrize("layout", CANT)
def test_a_backbones_maps_are_there_again(tmp_path, layout):
    model = models.PVTV2Backbone(
        models.PVTV2Config(**SMALL | {"embed_norm_eps": 1e-5}), out_features=["stage2", "stage4"]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models.save_pretrained(model, tmp_path, layout=layout)
    assert models.from_pretrained(tmp_path, model_class=models.PVTV2Backbone).out_features == ["stage2", "stage4"]


@pytest.mark.parametrize(
    "names",
    [
        {"1": "a", "2": "b"},
        {"0": "a", "2": "b"},
        {"0": "a", "x": "b"},
        {"0": "a", "1": 5},
        {"0": "a", "01": "b"},
        ["a", "b"],
    ],
)
def test_names_of_other_classes_than_those_from_0_on_are_refused(tmp_path, names):
    """Names by numbers from 1 on would each be that of the class before."""
    folder = models.save_pretrained(quietly(randomised, num_classes=2, embed_norm_eps=1e-6), tmp_path / "folder")
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(about | {"id2label": names}))
    with pytest.raises(CheckpointError, match="id2label must"):
        models.from_pretrained(folder)
    if isinstance(names, dict):
        with pytest.raises(ValueError, match="id2label must"):
            models.PVTV2Config.from_hf({"id2label": names})


@pytest.mark.parametrize(("name", "function"), [("silu", "silu"), ("gelu_pytorch_tanh", "gelu")])
def test_activations_of_hugging_faces_configurations(name, function):
    model = models.PVT_V2(models.PVTV2Config.from_hf({"hidden_act": name, "id2label": {"0": "a", "1": "b"}}))
    options = {"approximate": "tanh"} if function == "gelu" else {}
    x = mg.randn(5)
    assert model.stages[0].blocks[0].mlp.act(x).tolist() == getattr(mg.nn.functional, function)(x, **options).tolist()
    assert model.config.to_hf()["hidden_act"] == name


def test_one_class_alone_is_no_choice():
    with pytest.raises(ValueError, match="single_label_classification' with one class .* give 2 classes"):
        models.PVTV2Config(num_classes=1, problem_type="single_label_classification")


def test_what_hugging_faces_model_cant_be():
    config = models.PVTV2Config(**{**SMALL, "embed_norm_eps": 1e-6})
    for changes, message in [
        ({"qk_scale": 0.3}, "no qk_scale, and this model's is 0.3"),
        ({"mlp_ratios": (2.5, 2, 2, 2)}, "whole mlp_ratios only.*2.5"),
    ]:
        with pytest.raises(ValueError, match=message):
            config.replace(**changes).to_hf()
    with pytest.raises(ValueError, match="id2label must name the 5 classes from 0 on"):
        config.to_hf({0: "a"})
    with pytest.warns(UserWarning, match="one ε for all norms: it will use 1e-06 .* embed_norm_eps = 1e-05"):
        config.replace(embed_norm_eps=1e-5).to_hf()
    with pytest.raises(ValueError, match="of a 'vit' model"):
        models.PVTV2Config.from_hf({"model_type": "vit"})


def test_timms_model_has_fixed_kernels_and_eps(tmp_path):
    for name, value in (("strides", (2, 2, 2, 2)), ("patch_sizes", (3, 3, 3, 3)), ("hidden_act", "relu")):
        with pytest.raises(ValueError, match=f"timm's PVT v2 has {name}"):
            models.save_pretrained(randomised(**{name: value}), tmp_path / "new", layout="timm")
    with pytest.warns(UserWarning, match="timm's PVT v2 has ε = 1e-6 in blocks and 1e-5 .* 1e-06 and 1e-06"):
        models.save_pretrained(randomised(embed_norm_eps=1e-6), tmp_path / "new", layout="timm")
    assert models.from_pretrained(tmp_path / "new").config.embed_norm_eps == 1e-6
    about = json.loads((tmp_path / "new" / "config.json").read_text())
    assert about["architecture"] == "pvt_v2_b2" and about["model_args"]["num_heads"] == [1, 2, 5, 3]
    models.save_pretrained(
        models.pvt_v2_b0(num_classes=2), tmp_path / "b0", layout="timm", id2label={0: "cat", 1: "dog"}
    )
    about = json.loads((tmp_path / "b0" / "config.json").read_text())
    assert about["architecture"] == "pvt_v2_b0" and about["label_names"] == ["cat", "dog"]
    cfg = about["pretrained_cfg"]
    assert (cfg["interpolation"], cfg["crop_pct"], cfg["crop_mode"], cfg["input_size"]) == (
        "bicubic",
        0.9,
        "center",
        [3, 224, 224],
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"name": "b0"}', "config.json is no configuration of a PVT v2"),
        ('{"num_heads": 3}', "config.json: num_heads must have one entry for each of the 4 stages"),
        ('{"num_heads": [1, 2, 4, "x"]}', "config.json: num_heads must be a whole number"),
        ('{"norm_layer": 3, "num_heads": [1, 2, 5, 3]}', "config.json: norm_layer must be a class"),
        ("[1]", "holds no JSON object"),
        (None, "there is no file .*config.json"),
    ],
)
def test_files_that_are_no_configuration(tmp_path, text, words):
    mg.save(tmp_path / "weights.safetensors", randomised().state_dict())
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises((CheckpointError, FileNotFoundError), match=words):
        models.from_pretrained(tmp_path / "weights.safetensors", config=tmp_path / "config.json")
    with pytest.raises(FileNotFoundError, match="is a folder; give a JSON file"):
        models.from_pretrained(tmp_path / "weights.safetensors", config=tmp_path)
    with pytest.raises(TypeError, match="got dict; PVTV2Config.from_dict"):
        models.from_pretrained(tmp_path / "weights.safetensors", config={"num_heads": (1, 2, 5, 3)})


def test_a_configuration_that_contradicts_the_weights(tmp_path):
    quietly(models.save_pretrained, randomised(), tmp_path)
    about = json.loads((tmp_path / "config.json").read_text())
    for change, message in [
        ({"depths": [1, 2, 1, 2]}, r"config.json says depths = \(1, 2, 1, 2\), but the weights have \(1, 2, 1, 1\)"),
        ({"depths": [1, 2, 1, 10**9]}, "says depths"),
        ({"hidden_sizes": [8, 16, 20, 2**31 - 1]}, "can't be divided|says embed_dims"),
        ({"mlp_ratios": [3, 2, 2, 10**6]}, "says mlp_ratios"),
        ({"sr_ratios": [4, 2, 2, 1]}, "says sr_ratios"),
        ({"linear_attention": True}, "says linear = True"),
        ({"num_channels": 1}, "says in_channels = 1"),
        ({"id2label": {"0": "a"}}, "says num_classes = 1, but the weights have 5"),
        ({"num_encoder_blocks": 10**9}, "num_stages is 1000000000"),
        ({"num_encoder_blocks": 10**30}, "num_stages must be at most"),
        ({"hidden_act": "swish"}, "hidden_act must be one of"),
        ({"model_type": "swin"}, "of a 'swin' model"),
        ({"num_labels": 7}, "num_labels is 7, but id2label names 5 classes"),
        ({"id2label": {"a": "b"}}, "must name the 1 classes from 0 on"),
    ]:
        (tmp_path / "config.json").write_text(json.dumps({**about, **change}))
        with pytest.raises(CheckpointError, match=message) as caught:
            models.from_pretrained(tmp_path)
        assert str(caught.value).startswith(str(tmp_path / "config.json")) and len(str(caught.value)) < 400
    (tmp_path / "config.json").write_text(json.dumps({**about, "num_attention_heads": [2, 2, 5, 3]}))
    assert models.from_pretrained(tmp_path).config.num_heads == (2, 2, 5, 3)


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_the_classes_names(tmp_path, layout):
    model = randomised()
    quietly(models.save_pretrained, model, tmp_path / "a", layout, id2label=LABELS)
    back = models.from_pretrained(tmp_path / "a")
    assert back.id2label == LABELS
    quietly(models.save_pretrained, back, tmp_path / "b", layout)  # the model's own
    assert models.from_pretrained(tmp_path / "b").id2label == LABELS
    assert getattr(quietly(models.from_pretrained, tmp_path / "b", num_classes=5), "id2label", None) == LABELS
    assert getattr(quietly(models.from_pretrained, tmp_path / "b", num_classes=4), "id2label", None) is None
    back.reset_classifier(2)  # the names are of other classes now
    quietly(models.save_pretrained, back, tmp_path / "d", layout)
    assert getattr(models.from_pretrained(tmp_path / "d"), "id2label", None) in (None, {0: "LABEL_0", 1: "LABEL_1"})
    with pytest.raises(ValueError, match="id2label must name the 5 classes from 0 on, got the numbers .1, 2"):
        models.save_pretrained(model, tmp_path / "c", layout, id2label={1: "a", 2: "b"})
    with pytest.raises(TypeError, match=r"from numbers to names, got list; dict\(enumerate\(names\)\)"):
        models.save_pretrained(model, tmp_path / "c", layout, id2label=list("abcde"))
    assert not (tmp_path / "c").exists()


# --- other classes, other channels --------------------------------------------------------------------------------------
def test_another_number_of_classes(tmp_path):
    model = randomised()
    quietly(models.save_pretrained, model, tmp_path)
    with pytest.warns(
        UserWarning, match="classifier of 5 classes in .*model.safetensors is replaced by an untrained one of 9 classes"
    ):
        other = models.from_pretrained(tmp_path, num_classes=9)
    assert other.head.weight.shape == (9, 24) and 0.01 < other.head.weight.numpy().std() < 0.03
    assert not other.head.bias.numpy().any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bare = models.from_pretrained(tmp_path, num_classes=0)
    for changed in (other, bare):
        assert all(
            np.array_equal(a, arrays_of(changed)[n]) for n, a in arrays_of(model).items() if not n.startswith("head.")
        )
    assert bare(mg.zeros(1, 3, 64, 64)).shape == (1, 24)


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_other_image_channels(tmp_path, channels):
    """timm's rule: a grey image gives what it would repeated in each channel; n equal channels give the same, too."""
    model = randomised()
    quietly(models.save_pretrained, model, tmp_path)
    other = models.from_pretrained(tmp_path, in_channels=channels)
    weight, before = other.patch_embed.proj.weight.numpy(), model.patch_embed.proj.weight.numpy()
    if channels == 1:
        expected = before.sum(1, keepdims=True)
    else:
        expected = np.concatenate([before] * 3, 1)[:, :channels] * (3 / channels)
    np.testing.assert_allclose(weight, expected, rtol=1e-6)
    assert other.config.in_channels == channels
    grey = mg.randn(1, 1, 64, 64)
    with mg.no_grad():
        if channels == 1:
            np.testing.assert_allclose(other(grey).numpy(), model(mg.cat([grey] * 3, 1)).numpy(), atol=1e-5)


def test_loading_draws_no_random_numbers(tmp_path):
    quietly(models.save_pretrained, randomised(), tmp_path)
    mg.manual_seed(3)
    expected = mg.randn(4).tolist()
    mg.manual_seed(3)
    models.from_pretrained(tmp_path)
    assert mg.randn(4).tolist() == expected


# --- files --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_precisions_become_float32(tmp_path, dtype):
    model, device = randomised(), "cpu"
    if dtype == "bfloat16":  # numpy has none
        pytest.importorskip("mlx.core", exc_type=ImportError)
        device = "mlx"
    state = {n: mg.tensor(a, device=device).astype(dtype) for n, a in arrays_of(model).items()}
    mg.save(tmp_path / "model.safetensors", state)
    (tmp_path / "config.json").write_text(json.dumps(model.config.to_dict()))
    back = models.from_pretrained(tmp_path)
    for name, p in back.named_parameters():
        assert p.dtype == "float32"
        np.testing.assert_array_equal(p.numpy(), state[name].astype("float32").numpy())


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_shards(tmp_path, name):
    model = randomised(embed_norm_eps=1e-6)
    index, about = sharded(tmp_path, arrays_of(model, "hf"), name)
    (tmp_path / "config.json").write_text(json.dumps(model.config.to_hf()))
    for source in (tmp_path, index):
        assert same(models.from_pretrained(source), model)
    first = tmp_path / about["weight_map"]["classifier.bias"]
    outside = tmp_path.parent / "outside.safetensors"
    outside.write_bytes(first.read_bytes())
    escapes = ["../outside.safetensors", str(outside), "..", "", "a\\b.safetensors", "C:x.bin", ".", "sub/x.bin"]
    for file in (*escapes, "config.json", 3, None, ["x"]):
        index.write_text(json.dumps({"weight_map": {**about["weight_map"], "classifier.bias": file}}))
        with pytest.raises(
            CheckpointError, match="puts classifier.bias into .*, which is no file of weights beside it"
        ):
            models.from_pretrained(tmp_path)
    index.write_text(json.dumps({"weight_map": {**about["weight_map"], "more": first.name}}))
    with pytest.raises(CheckpointError, match="lacks more, which .*index.json says it holds"):
        models.from_pretrained(tmp_path)
    for text in ("{}", '{"weight_map": []}', '{"weight_map": {}}', "[]", "{", ""):
        index.write_text(text)
        with pytest.raises(CheckpointError, match="no weight_map|no valid JSON|no JSON object"):
            models.from_pretrained(tmp_path)
    index.write_text(json.dumps(about))
    first.unlink()
    with pytest.raises(FileNotFoundError, match=f"there is no file .*{first.name}"):
        models.from_pretrained(tmp_path)


def test_which_file_of_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no weights: neither model.safetensors"):
        models.from_pretrained(tmp_path)
    model = randomised()
    config = {"config": model.config}
    mg.save(tmp_path / "anything.safetensors", model.state_dict())
    assert same(models.from_pretrained(tmp_path, **config), model)
    mg.save(tmp_path / "other.safetensors", model.state_dict())
    with pytest.raises(
        FileNotFoundError, match="several files of weights, anything.safetensors, other.safetensors; give one"
    ):
        models.from_pretrained(tmp_path, **config)
    mg.save(tmp_path / "model.safetensors", randomised(num_classes=2).state_dict())
    assert quietly(models.from_pretrained, tmp_path, **config).head.weight.shape == (5, 24)
    with pytest.raises(FileNotFoundError, match="no file or folder .*nothing"):
        models.from_pretrained(tmp_path / "nothing")


def test_tensors_that_dont_fit(tmp_path):
    model, path = randomised(), tmp_path / "x.safetensors"
    state = arrays_of(model)

    def load(state, **options):
        save_file(state, path)
        return models.from_pretrained(path, config=model.config, **options)

    for change, message in [
        ({"stages.0.norm.weight": None}, "it lacks stages.0.norm.weight$"),
        ({"head.bias": None}, "it lacks head.bias"),
        ({"more": np.zeros(3, np.float32)}, "it has unexpected more"),
        ({"stages.0.norm.weight": np.zeros(3, np.float32)}, r"stages.0.norm.weight has shape \(3,\), expected \(8,\)"),
        ({"stages.0.norm.weight": np.zeros(8, np.int64)}, "holds int64 numbers"),
        ({n: None for n in state if ".norm2." in n}, "lacks stages.0.blocks.0.norm2.weight.* and 7 more"),
    ]:
        changed = {n: a for n, a in {**state, **change}.items() if a is not None}
        with pytest.raises(CheckpointError, match=message) as caught:
            load(changed)
        assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)
    lacking = {n: a for n, a in state.items() if n != "stages.0.norm.weight"}
    with pytest.warns(
        UserWarning, match="lacks stages.0.norm.weight, which the model keeps with random initial values"
    ):
        loose = load({**lacking, "more": state["head.bias"]}, strict=False)
    assert (loose.stages[0].norm.weight.numpy() == 1).all() and np.array_equal(
        loose.head.bias.numpy(), state["head.bias"]
    )
    for names in ({"a": np.zeros(1, np.float32)}, {}):
        with pytest.raises(CheckpointError, match="these are no PVT v2 weights: expected names such as"):
            load(names)
    hf = from_native(state, "hf")
    del hf["pvt_v2.encoder.layers.0.blocks.0.attention.value.bias"]
    with pytest.raises(CheckpointError, match="has stages.0.blocks.0.attn.key.bias but not the value beside it"):
        load(hf)
    twice = from_native(state, "hf") | {"encoder.layers.0.layer_norm.weight": state["head.bias"]}
    with pytest.raises(CheckpointError, match="has stages.0.norm.weight twice"):
        load(twice)
    with pytest.raises(ValueError, match="layout is 'timm', 'original' or 'hf', not 'lucid'"):
        models.from_pretrained(path, layout="lucid")
    mg.save(path, from_native(state, "timm"))
    with pytest.raises(CheckpointError, match="its names are those of the layout 'timm', not 'hf'"):  # whose ε differs
        models.from_pretrained(path, layout="hf", num_heads=(1, 2, 5, 3))


# --- nothing half-written -----------------------------------------------------------------------------------------------
def test_a_failed_save_leaves_what_was_there(tmp_path, monkeypatch):
    quietly(models.save_pretrained, randomised(), tmp_path / "a")
    before = {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()}
    fsync, calls = os.fsync, []

    def full(fd):
        calls.append(fd)
        if len(calls) == 2:  # the first file is written
            raise OSError(28, "disk full")
        fsync(fd)

    for name in ("a", "b"):
        calls.clear()
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="can't write .*: disk full"):
            quietly(models.save_pretrained, randomised(num_classes=3), tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()} == before
    monkeypatch.undo()
    quietly(models.save_pretrained, randomised(num_classes=3), tmp_path / "a")
    assert models.from_pretrained(tmp_path / "a").config.num_classes == 3
    with pytest.raises(FileExistsError, match="config.json is a file; give a folder"):
        quietly(models.save_pretrained, randomised(), tmp_path / "a" / "config.json")
    with pytest.raises(TypeError, match="an ImageProcessor or a dictionary, got str"):
        quietly(models.save_pretrained, randomised(), tmp_path / "c", image_processor="bicubic")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("layout", ["hf", "timm", "original"])
def test_weights_are_written_in_their_dtype(tmp_path, dtype, layout):
    model = randomised().to("mlx").to(mg.dtypes.dtype(dtype))
    quietly(models.save_pretrained, model, tmp_path / "a", layout)
    entries, _ = read_header(tmp_path / "a" / "model.safetensors")
    assert {entry.dtype for entry in entries.values()} == {dtype}
    if layout == "hf":
        assert json.loads((tmp_path / "a" / "config.json").read_text())["torch_dtype"] == dtype
    back = quietly(models.from_pretrained, tmp_path / "a").state_dict()
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(back[name].numpy(), tensor.float().numpy())


# --- preprocessing ------------------------------------------------------------------------------------------------------
def test_preprocessing_of_each_layout(tmp_path):
    expected = {
        "hf": {"size": {"height": 224, "width": 224}, "resample": 2, "image_processor_type": "PvtImageProcessor"},
        "timm": {
            "size": {"shortest_edge": 248},
            "resample": 3,
            "crop_size": {"height": 224, "width": 224},
            "do_center_crop": True,
        },
        "original": {
            "size": {"shortest_edge": 256},
            "resample": 3,
            "crop_size": {"height": 224, "width": 224},
            "do_center_crop": True,
        },
    }
    for layout, entries in expected.items():
        quietly(models.save_pretrained, randomised(img_size=224), tmp_path / layout, layout)
        about = json.loads((tmp_path / layout / "preprocessor_config.json").read_text())
        assert {**about, **entries} == about and about["image_mean"] == [0.485, 0.456, 0.406]
        processor = models.ImageProcessor.from_pretrained(tmp_path / layout)
        assert processor.output_size == (224, 224)
        if layout == "hf":
            assert processor == models.ImageProcessor()
    given = models.ImageProcessor(
        size={"shortest_edge": 300}, do_center_crop=True, crop_size=224, image_mean=(0.5, 0.4, 0.3)
    )
    for how in (given, given.to_dict()):
        quietly(models.save_pretrained, randomised(img_size=224), tmp_path / "own", "timm", image_processor=how)
        assert json.loads((tmp_path / "own" / "preprocessor_config.json").read_text()) == given.to_dict()
        cfg = json.loads((tmp_path / "own" / "config.json").read_text())["pretrained_cfg"]
        assert (
            int(224 / cfg["crop_pct"]) == 300 and cfg["interpolation"] == "bilinear" and cfg["mean"] == [0.5, 0.4, 0.3]
        )
    with pytest.raises(ValueError, match="timm always resizes"):
        quietly(
            models.save_pretrained,
            randomised(),
            tmp_path / "no",
            "timm",
            image_processor=models.ImageProcessor(do_rescale=False),
        )
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
@pytest.mark.parametrize("fields", [{"img_size": (96, 64)}, {"in_channels": 1}, {"in_channels": 5}])
def test_preprocessing_of_other_images(tmp_path, layout, fields):
    """It gives what the model takes; five channels are no picture."""
    model = randomised(**fields)
    quietly(models.save_pretrained, randomised(), tmp_path, layout)  # an older model's, none of whose files may stay
    quietly(models.save_pretrained, model, tmp_path, layout)
    assert models.from_pretrained(tmp_path).config.in_channels == model.config.in_channels
    if model.config.in_channels == 5:
        assert not (tmp_path / "preprocessor_config.json").exists()
        return
    processor = models.ImageProcessor.from_pretrained(tmp_path)
    assert processor.output_size == model.config.image_shape and len(processor.image_mean) == model.config.in_channels


# --- the command --------------------------------------------------------------------------------------------------------
def test_convert(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = randomised()
    pth.write_state(Path("x.pth"), arrays_of(model, "original"))
    Path("own.json").write_text(json.dumps(model.config.to_dict()))

    def fails(*arguments):
        assert main(["convert", *arguments]) == 2
        err = capsys.readouterr().err
        assert err.startswith("minigrad: error: ") and err.count("\n") == 1 and len(err) < 600, err
        return err

    assert "doesn't tell how many attention heads" in fails("x.pth", "out", "--to", "hf")
    assert "no file or folder nothing" in fails("nothing", "out", "--to", "hf")
    assert "--to" in fails("x.pth", "out")
    assert "invalid choice: 'onnx'" in fails("x.pth", "out", "--to", "onnx")
    assert "--num-classes must be at least 0" in fails("x.pth", "out", "--to", "hf", "--num-classes", "-1")
    assert "own.json" in fails("x.pth", "own.json", "--to", "timm", "--config", "own.json")
    assert not Path("out").exists()
    for to in layouts.LAYOUTS:
        assert main(["convert", "x.pth", to, "--to", to, "--config", "own.json"]) == 0
        streams = capsys.readouterr()
        assert (
            streams.out == f"{to}: PVT v2 with {sum(p.numel() for p in model.parameters()):,} parameters, 5 classes\n"
        )
        assert ("one ε for all norms" in streams.err) == (to == "hf") and streams.err.count("\n") == 1 + (to == "hf")
        assert (
            "x.pth doesn't say how pictures are prepared" in streams.err
            and "the original's published weights take" in streams.err
        )
        assert json.loads(Path(to, "preprocessor_config.json").read_text())["size"] == {
            "shortest_edge": 73
        }  # 64 · 256 / 224
        back = models.from_pretrained(to)
        assert back.config == model.config
        assert same(models.from_pretrained(to, embed_norm_eps=1e-5), model)
    assert main(["convert", "timm", "small", "--to", "original", "--num-classes", "2"]) == 0
    assert models.from_pretrained("small").config.num_classes == 2
    processors = [models.ImageProcessor.from_pretrained(folder) for folder in ("timm", "original", "hf", "small")]
    assert len({(p.resample, p.output_size, tuple(p.size.items())) for p in processors}) == 1
    err = capsys.readouterr().err
    assert "untrained" in err and "pictures" not in err
    assert "the folder hf isn't empty; give another" in fails("timm", "hf", "--to", "hf")
    Path("hf/model.safetensors").write_bytes(b"x")
    assert "is not a safetensors file" in fails("hf", "new", "--to", "timm")
    assert sorted(os.listdir()) == ["hf", "original", "own.json", "small", "timm", "x.pth"]
