"""Names of tensors as training programs leave them: prefixes, wrappers, counters, heads beside the encoder, other networks."""

import json
import warnings

import numpy as np
import pth
import pytest
from checkpoint_tools import SMALL, arrays_of, quietly, randomised, same
from safetensors.numpy import save_file

import minigrad as mg
from minigrad import models
from minigrad.interop import layouts
from minigrad.serialize import CheckpointError

PREFIXES = [
    "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "backbone.", "net.encoder.", "model.backbone.",
    "module.model._orig_mod.backbone.", "_fsdp_wrapped_module.", "pvt_v2.",
]  # fmt: skip
HEADS = {  # what lies beside `backbone.` in a segmenter's file
    "neck.lateral_convs.0.conv.weight": np.ones((4, 8, 1, 1), np.float32),
    "decode_head.conv_seg.weight": np.ones((5, 4, 1, 1), np.float32),
    "decode_head.bn.num_batches_tracked": np.array(7),
    "decode_head.index": np.arange(12),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.safetensors"


def named(prefix, state):
    return {prefix + name: array for name, array in state.items()}


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_prefixes(path, layout, prefix):
    model = randomised(embed_norm_eps=1e-6)
    save_file(named(prefix, arrays_of(model, layout)), path)
    fresh = models.PVT_V2(model.config)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(models.from_pretrained(path, config=model.config), model)
        models.load_weights(fresh, path)
    assert same(fresh, model)


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_wrappers_within_the_names(path, layout):
    """Blocks that are compiled or checkpointed one by one."""
    model = randomised(embed_norm_eps=1e-6)
    state = arrays_of(model, layout)
    for block in ("stages.0.blocks.0.", "block1.0.", "encoder.layers.0.blocks.0."):
        state = {n.replace(block, f"{block}_orig_mod._checkpoint_wrapped_module."): a for n, a in state.items()}
    save_file(state, path)
    assert same(models.from_pretrained(path, config=model.config), model)
    name = "classifier" if layout == "hf" else "head"
    save_file({**state, f"{name}._orig_mod.bias": np.zeros(5, np.float32)}, path)
    with pytest.raises(CheckpointError, match=f"has {name}.bias twice, once as"):
        models.from_pretrained(path, config=model.config)


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
@pytest.mark.parametrize("prefix", ["backbone.", "module.backbone._orig_mod."])
def test_a_backbone_beside_its_heads(path, layout, prefix):
    model = randomised(embed_norm_eps=1e-6, num_classes=0)
    outer = prefix.partition("backbone.")[0]
    save_file({**named(prefix, arrays_of(model, layout)), **named(outer, HEADS)}, path)
    for kind in (models.PVT_V2, models.PVTV2Backbone):
        words = r"decode_head.conv_seg.weight, \S*decode_head.index, \S*neck.lateral_convs.0.conv.weight stand outside of the model"
        with pytest.warns(UserWarning, match=words) as caught:
            back = models.from_pretrained(path, config=model.config, model_class=kind)
        assert same(back, model) and len(caught) == 1 and "num_batches_tracked" not in str(caught[0].message)
        with pytest.warns(UserWarning, match="stand outside of the model"):
            models.load_weights(fresh := kind(model.config), path)
        assert same(fresh, model)


@pytest.mark.parametrize("prefix", ["module.", "module._orig_mod."])
def test_averaged_models(path, prefix):
    """torch.optim.swa_utils.AveragedModel counts its averages beside the model."""
    model = randomised()
    save_file({"n_averaged": np.array(3), **named(prefix, arrays_of(model))}, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(models.from_pretrained(path, config=model.config), model)
        models.load_weights(fresh := models.PVT_V2(model.config), path)
    assert same(fresh, model)


def test_two_models_in_a_file(path):
    model = randomised()
    state = arrays_of(model)
    for first, second, words in [
        ("model.", "model_ema.", r"two models, model\.\* and model_ema\.\*; read it with minigrad.interop.load, keep"),
        ("", "teacher.", r"two models, one without a prefix and teacher\.\*"),
    ]:
        save_file({**named(first, state), **named(second, state)}, path)
        with pytest.raises(CheckpointError, match=words) as caught:
            models.from_pretrained(path, config=model.config)
        assert "\n" not in str(caught.value)
        if first:
            with pytest.raises(CheckpointError, match=words):
                models.load_weights(models.PVT_V2(model.config), path)
        kept = {n.removeprefix(second): t for n, t in mg.interop.load(path).items() if n.startswith(second)}
        mg.save(path, kept)
        assert same(models.from_pretrained(path, config=model.config), model)


def test_a_head_with_names_like_an_encoders(path):
    """Only an encoder with attention in its first block counts as a second model."""
    model = randomised()
    extra = {"decode.stages.0.conv.weight": np.ones(3, np.float32), "loss.block1.weight": np.ones(3, np.float32)}
    save_file({**named("net.", arrays_of(model)), **extra}, path)
    with pytest.warns(UserWarning, match="decode.stages.0.conv.weight, loss.block1.weight stand outside"):
        assert same(models.from_pretrained(path, config=model.config), model)


# --- the model's own names ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [models.SemanticFPN, models.MLPSegmenter])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model."])
def test_a_segmenter_loads_its_own_names(path, kind, prefix):
    def segmenter():
        return kind(models.PVTV2Config(**{**SMALL, "num_classes": 0}), num_classes=3)

    model, fresh = segmenter(), segmenter()
    for i, p in enumerate(model.parameters()):
        p.data = mg.full(p.shape, 0.01 * (i + 1)).array
    state = {name: t.numpy() for name, t in model.state_dict().items()}
    save_file({**named(prefix, state), **({"n_averaged": np.array(3)} if prefix else {})}, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert models.load_weights(fresh, path) == ([], [])
    assert all(np.array_equal(t.numpy(), state[name]) for name, t in fresh.state_dict().items())
    if prefix:
        save_file({**named(prefix, state), "criterion.weight": np.ones(3, np.float32)}, path)
        with pytest.warns(UserWarning, match="criterion.weight stand"):
            models.load_weights(segmenter(), path)
        save_file({**named("model.", state), **named("model_ema.", state)}, path)
        with pytest.raises(CheckpointError, match=r"two models, model.\* and model_ema.\*"):
            models.load_weights(segmenter(), path)
    else:
        del state["backbone.patch_embed.proj.weight"]
        save_file(state, path)
        with pytest.raises(ValueError, match="found 1 difference .*\n  missing backbone.patch_embed.proj.weight"):
            models.load_weights(segmenter(), path)


def test_any_model_loads_its_own_names(path):
    net = mg.nn.Sequential(mg.nn.Linear(3, 2), mg.nn.BatchNorm2d(2))
    state = {name: t.numpy() for name, t in net.state_dict().items()}
    assert "1.num_batches_tracked" in state
    for prefix in ("", "module."):
        save_file(named(prefix, {**state, "0.bias": np.float32([5, 6])}), path)
        assert models.load_weights(net, path) == ([], []) and net[0].bias.tolist() == [5, 6]
    save_file({**state, "0.bias": np.array([5, 6])}, path)
    with pytest.raises(
        CheckpointError, match="x.safetensors: 0.bias holds int64 numbers, and weights are floating point"
    ):
        models.load_weights(net, path)


# --- what isn't strict --------------------------------------------------------------------------------------------------
def test_what_stays_random_is_named(path):
    model = randomised()
    state = arrays_of(model)
    for name in ("stages.0.norm.weight", "stages.1.norm.weight", "stages.2.norm.weight", "stages.3.norm.weight"):
        del state[name]
    save_file({**state, **HEADS}, path)
    words = "x.safetensors lacks stages.0.norm.weight, stages.1.norm.weight, stages.2.norm.weight and 1 more, which the model keeps"
    with pytest.warns(UserWarning, match=f"{words} with random initial values"):
        models.from_pretrained(path, config=model.config, strict=False)
    with pytest.warns(UserWarning, match=f"{words} as they were"):
        found = models.load_weights(models.PVT_V2(model.config), path, strict=False)
    assert len(found.missing_keys) == 4 and set(found.unexpected_keys) == HEADS.keys()


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_integers_of_parts_that_nobody_loads(path, layout):
    model = randomised(embed_norm_eps=1e-6)
    save_file({**arrays_of(model, layout), **HEADS}, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(models.from_pretrained(path, config=model.config, strict=False), model)
        models.load_weights(fresh := models.PVT_V2(model.config), path, strict=False)
    assert same(fresh, model)
    with pytest.raises(CheckpointError, match="has unexpected neck.lateral|has unexpected decode_head"):
        models.from_pretrained(path, config=model.config)
    with pytest.raises(ValueError, match=r"unexpected decode_head.index \(12,\) int64"):
        models.load_weights(fresh, path)


# --- another network ----------------------------------------------------------------------------------------------------
SEGFORMER = [
    "encoder.patch_embeddings.0.proj.weight",
    "encoder.block.0.0.attention.self.query.weight",
    "encoder.layer_norm.0.weight",
]
REFUSAL = "of a SegFormer, whose encoder is another network, a Mix Transformer .MiT.*; use weights of a PVT v2, such as OpenGVLab/"


@pytest.mark.parametrize("prefix", ["", "segformer.", "module.segformer.", "model."])
def test_a_segformer_is_refused(tmp_path, prefix):
    state = {prefix + name: np.ones(3, np.float32) for name in SEGFORMER} | {
        "decode_head.classifier.bias": np.ones(3, np.float32)
    }
    save_file(state, tmp_path / "model.safetensors")
    pth.write_state(tmp_path / "x.pth", state)
    for source in (tmp_path / "model.safetensors", tmp_path / "x.pth", tmp_path):
        with pytest.raises(CheckpointError, match=REFUSAL):
            models.from_pretrained(source)
        with pytest.raises(CheckpointError, match=REFUSAL):
            models.load_weights(randomised(), source)
    with pytest.raises(CheckpointError, match=REFUSAL):
        mg.interop.detect_layout(state)


def test_other_networks_are_no_segformer(path):
    """The names of PVT, the first version, in transformers."""
    names = ["pvt.encoder.patch_embeddings.0.projection.weight", "pvt.encoder.block.0.0.attention.self.query.weight"]
    save_file({name: np.ones(3, np.float32) for name in names}, path)
    with pytest.raises(
        CheckpointError, match="these are no PVT v2 weights: expected names such as .*got pvt.encoder.block.0.0"
    ):
        models.from_pretrained(path)


def test_a_segformers_configuration_is_refused(tmp_path):
    quietly(models.save_pretrained, randomised(), tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "segformer"}))
    with pytest.raises(CheckpointError, match=f"model.safetensors: the config.json beside it is that {REFUSAL}"):
        models.from_pretrained(tmp_path)
