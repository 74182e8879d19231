"""Checkpoints between minigrad, transformers and timm, both ways: loaded strictly, with the same logits; and PyTorch's files.

Every parameter is random, biases and norms too. Hugging Face's model has one ε, so with it ours has 1e-6 everywhere.
"""

import argparse
import json
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from peers import published
from safetensors.torch import save_file

import minigrad as mg
from minigrad import models
from minigrad.interop import to_native, torch_files
from minigrad.models.pvt_v2.variants import VARIANTS, variant_config
from minigrad.serialize import CheckpointError

TOLERANCE = 5e-6
NAMES = list(VARIANTS)[:7]
SHALLOW = {name: (1, 2, 2, 1) for name in NAMES[2:]}  # depths of the large ones
SMALL = dict(
    embed_dims=(8, 16, 20, 24),
    num_heads=(1, 2, 5, 3),
    mlp_ratios=(3, 2, 2, 2),
    depths=(1, 2, 1, 1),
    num_classes=5,
    qkv_bias=True,
)


@pytest.fixture(scope="module")
def transformers():
    return published("transformers")


@pytest.fixture(scope="module")
def timm():
    return published("timm")


@pytest.fixture(autouse=True)
def deterministic():
    mg.manual_seed(0)
    torch.manual_seed(0)


@pytest.fixture(params=NAMES)
def variant(request):
    name = request.param
    return variant_config(name, num_classes=7, depths=SHALLOW.get(name, VARIANTS[name]["depths"]))


def randomised(model):
    """Every parameter moved by a tenth of a standard normal; in eval mode."""
    rng = np.random.default_rng(0)
    for p in model.parameters():
        noise = (0.1 * rng.standard_normal(tuple(p.shape))).astype(np.float32)
        if isinstance(p, torch.Tensor):
            p.data += torch.from_numpy(noise)
        else:
            p.data = mg.tensor(p.numpy() + noise).array
    return model.eval()


def quietly(call, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(*args, **options)


def agree(ours, theirs, channels=3):
    """Logits of two images, ours against theirs: max |a - b| / max |b|."""
    x = np.random.default_rng(1).standard_normal((2, channels, 96, 64)).astype(np.float32)
    with torch.no_grad(), mg.no_grad():
        a, b = ours(mg.tensor(x)), theirs(torch.from_numpy(x))
    a, b = (getattr(t, "logits", t) for t in (a, b))
    a, b = a.numpy().astype(np.float64), b.double().numpy()
    assert a.shape == b.shape and np.abs(a - b).max() <= TOLERANCE * np.abs(b).max()


def same_weights(ours, theirs, layout):
    state = to_native({name: t.numpy() for name, t in theirs.state_dict().items()}, layout)
    own = {name: t.numpy() for name, t in ours.state_dict().items()}
    assert own.keys() == state.keys() and all(np.array_equal(own[name], state[name]) for name in own)


# --- transformers -------------------------------------------------------------------------------------------------------
def loaded(kind, folder, **options):
    """transformers' model of a folder, loaded without a word about missing, unexpected or other tensors."""
    model, info = kind.from_pretrained(folder, output_loading_info=True, **options)
    assert not any(info.values()), info
    return model.eval()


def test_transformers_loads_what_is_saved(tmp_path, transformers, variant):
    ours = randomised(models.PVT_V2(variant.replace(embed_norm_eps=1e-6)))
    names = {i: f"class {i}" for i in range(7)}
    models.save_pretrained(ours, tmp_path, id2label=names)
    theirs = loaded(transformers.AutoModelForImageClassification, tmp_path)
    assert isinstance(theirs, transformers.PvtV2ForImageClassification) and theirs.config.id2label == names
    assert theirs.config.label2id["class 3"] == 3
    same_weights(ours, theirs, "hf")
    agree(ours, theirs)


def hf_config(transformers, config):
    return transformers.PvtV2Config(**config.to_hf())


def test_what_transformers_saves_is_loaded(tmp_path, transformers, variant):
    config = hf_config(transformers, variant.replace(embed_norm_eps=1e-6))
    theirs = randomised(transformers.PvtV2ForImageClassification(config))
    theirs.save_pretrained(tmp_path)
    ours = models.from_pretrained(tmp_path)
    assert ours.config == variant.replace(embed_norm_eps=1e-6) and ours.id2label == theirs.config.id2label
    same_weights(ours, theirs, "hf")
    agree(ours, theirs)


@pytest.mark.parametrize("linear", [False, True])
def test_bare_encoders_and_backbones(tmp_path, transformers, linear):
    config = models.PVTV2Config(**{**SMALL, "num_classes": 0}, linear=linear, embed_norm_eps=1e-6)
    encoder = randomised(models.PVTV2Model(config))
    models.save_pretrained(encoder, tmp_path / "encoder")
    theirs = loaded(transformers.AutoModel, tmp_path / "encoder")
    assert type(theirs) is transformers.PvtV2Model
    same_weights(encoder, theirs, "hf")
    theirs.save_pretrained(tmp_path / "back")
    back = models.from_pretrained(tmp_path / "back", model_class=models.PVTV2Model)
    same_weights(back, theirs, "hf")
    assert back.config == config
    x = np.random.default_rng(1).standard_normal((1, 3, 64, 96)).astype(np.float32)
    with torch.no_grad(), mg.no_grad():
        a, b = back(mg.tensor(x)).last_hidden_state.numpy(), theirs(torch.from_numpy(x)).last_hidden_state.numpy()
    assert np.abs(a - b).max() <= TOLERANCE * np.abs(b).max()

    backbone = randomised(models.PVTV2Backbone(config, out_features=["stage2", "stage4"]))
    models.save_pretrained(backbone, tmp_path / "backbone")
    theirs = loaded(transformers.PvtV2Backbone, tmp_path / "backbone")
    assert theirs.out_features == ["stage2", "stage4"] and theirs.channels == backbone.channels
    same_weights(backbone, theirs, "hf")
    theirs.save_pretrained(tmp_path / "again")
    assert models.from_pretrained(tmp_path / "again", model_class=models.PVTV2Backbone).out_features == [
        "stage2",
        "stage4",
    ]


def test_every_field_of_transformers_configuration(transformers):
    changed = dict(
        image_size=(64, 96), num_channels=4, num_encoder_blocks=3, depths=[1, 3, 2], sr_ratios=[4, 2, 2], hidden_sizes=[8, 16, 20],
        patch_sizes=[5, 3, 5], strides=[2, 2, 4], num_attention_heads=[2, 4, 5], mlp_ratios=[2, 3, 4], hidden_act="relu",
        hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.2, initializer_range=0.5, drop_path_rate=0.3, layer_norm_eps=1e-4,
        qkv_bias=False, linear_attention=True, num_labels=3, problem_type="regression",
    )  # fmt: skip
    for fields in ({}, changed):
        theirs = transformers.PvtV2Config(**fields)
        ours = models.PVTV2Config.from_hf(theirs.to_dict())
        assert models.PVTV2Config.from_hf(json.loads(theirs.to_json_string())) == ours
        back = transformers.PvtV2Config(**ours.to_hf()).to_dict()
        expected = theirs.to_dict()
        for values in (back, expected):  # one number is as good as two equal ones
            values["image_size"] = list(np.broadcast_to(values["image_size"], 2))
        assert {k for k in expected if back.get(k) != expected[k]} == set()
        x = np.random.default_rng(1).standard_normal((1, ours.in_channels, 64, 96)).astype(np.float32)
        model = randomised(transformers.PvtV2ForImageClassification(theirs))
        mine = models.PVT_V2(ours).eval()
        mine.load_state_dict(to_native({name: t.numpy() for name, t in model.state_dict().items()}))
        with torch.no_grad(), mg.no_grad():
            a, b = mine(mg.tensor(x)).numpy(), model(torch.from_numpy(x)).logits.numpy()
        assert np.abs(a - b).max() <= TOLERANCE * np.abs(b).max()


def test_transformers_shards(tmp_path, transformers):
    config = hf_config(transformers, models.PVTV2Config(**SMALL, embed_norm_eps=1e-6))
    theirs = randomised(transformers.PvtV2ForImageClassification(config))
    theirs.save_pretrained(tmp_path, max_shard_size="60KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2 and (tmp_path / "model.safetensors.index.json").exists()
    same_weights(models.from_pretrained(tmp_path), theirs, "hf")
    same_weights(models.from_pretrained(tmp_path / "model.safetensors.index.json"), theirs, "hf")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_transformers_half_precision(tmp_path, transformers, dtype):
    config = hf_config(transformers, models.PVTV2Config(**SMALL, embed_norm_eps=1e-6))
    theirs = randomised(transformers.PvtV2ForImageClassification(config)).to(getattr(torch, dtype))
    theirs.save_pretrained(tmp_path)
    same_weights(models.from_pretrained(tmp_path), theirs.float(), "hf")


def test_transformers_reads_the_preprocessing(tmp_path, transformers):
    for layout in ("hf", "timm", "original"):
        quietly(models.save_pretrained, models.pvt_v2_b0(num_classes=2), tmp_path / layout, layout)
        about = json.loads((tmp_path / layout / "preprocessor_config.json").read_text())
        read, _ = transformers.image_processing_base.ImageProcessingMixin.get_image_processor_dict(tmp_path / layout)
        assert {**read, **about} == read


# --- timm ---------------------------------------------------------------------------------------------------------------
def test_timm_loads_what_is_saved(tmp_path, timm, variant):
    ours = randomised(models.PVT_V2(variant))
    models.save_pretrained(ours, tmp_path, layout="timm", id2label={i: f"class {i}" for i in range(7)})
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    same_weights(ours, theirs, "timm")
    agree(ours, theirs)
    assert theirs.pretrained_cfg["label_names"][3] == "class 3"
    data = timm.data.resolve_model_data_config(theirs)
    assert (data["input_size"], data["interpolation"], data["crop_pct"], data["crop_mode"]) == (
        (3, 224, 224),
        "bicubic",
        0.9,
        "center",
    )


def timm_model(timm, config, **options):
    names = ("embed_dims", "depths", "num_heads", "mlp_ratios", "linear", "num_classes")
    return timm.create_model("pvt_v2_b0", **{n: getattr(config, n) for n in names}, **options)


def test_what_timm_saves_is_loaded(tmp_path, timm, variant):
    theirs = randomised(timm_model(timm, variant))
    timm.models.save_for_hf(theirs, tmp_path / "folder", safe_serialization="both")
    torch.save(theirs.state_dict(), tmp_path / "state.pth")
    save_file(theirs.state_dict(), tmp_path / "state.safetensors")
    for source in ("folder", "folder/pytorch_model.bin", "state.pth", "state.safetensors"):
        ours = models.from_pretrained(tmp_path / source)
        assert ours.config == variant
        same_weights(ours, theirs, "timm")
    agree(ours, theirs)


def test_timms_folder_tells_what_shapes_dont(tmp_path, timm):
    theirs = randomised(timm_model(timm, models.PVTV2Config(**SMALL), in_chans=4))
    timm.models.save_for_hf(theirs, tmp_path, model_config={"labels": list("abcde")})
    ours = models.from_pretrained(tmp_path)
    assert ours.config.num_heads == (1, 2, 5, 3) and ours.config.in_channels == 4
    assert ours.id2label == dict(enumerate("abcde"))
    agree(ours, theirs, channels=4)


@pytest.mark.parametrize("channels", [1, 2, 4, 8])
def test_other_channels_as_timm_adapts_them(tmp_path, timm, channels):
    ours = randomised(models.PVT_V2(**SMALL))
    models.save_pretrained(ours, tmp_path, layout="timm")
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, in_chans=channels).eval()
    agree(models.from_pretrained(tmp_path, in_channels=channels), theirs, channels)


def test_the_originals_names_are_those_that_timm_knows(tmp_path, timm):
    """timm has no original code in it, but the renaming of the original's checkpoints."""
    ours = randomised(models.pvt_v2_b0(num_classes=7))
    models.save_pretrained(ours, tmp_path, layout="original")
    theirs = timm.create_model("pvt_v2_b0", num_classes=7).eval()
    state = timm.models.load_state_dict(str(tmp_path / "model.safetensors"))
    assert "patch_embed1.proj.weight" in state and "block1.0.mlp.dwconv.dwconv.weight" in state
    theirs.load_state_dict(timm.models.pvt_v2.checkpoint_filter_fn(state, theirs))
    agree(ours, theirs)


def test_from_one_to_the_other(tmp_path, timm, transformers):
    """transformers → here → timm → here → transformers: the same weights."""
    config = models.PVTV2Config(**SMALL, embed_norm_eps=1e-6)
    start = randomised(transformers.PvtV2ForImageClassification(hf_config(transformers, config)))
    start.save_pretrained(tmp_path / "1")
    quietly(models.save_pretrained, models.from_pretrained(tmp_path / "1"), tmp_path / "2", layout="timm")
    middle = timm.create_model(f"local-dir:{tmp_path / '2'}", pretrained=True)
    timm.models.save_for_hf(middle, tmp_path / "3")
    quietly(models.save_pretrained, models.from_pretrained(tmp_path / "3"), tmp_path / "4")
    end = loaded(transformers.AutoModelForImageClassification, tmp_path / "4")
    assert all(torch.equal(a, b) for a, b in zip(start.parameters(), end.parameters(), strict=True))


# --- every field, there and back ----------------------------------------------------------------------------------------
OTHER = {  # values that are not the defaults; timm's and transformers' models have a place for those fields only that the layout names
    "img_size": (64, 96), "patch_size": 5, "in_channels": 1, "num_classes": 3, "embed_dims": (12, 16, 25, 27), "num_heads": (2, 4, 4, 3),
    "mlp_ratios": (2, 3, 1, 4), "qkv_bias": False, "drop_rate": 0.1, "attn_drop_rate": 0.15, "drop_path_rate": 0.2, "depths": (1, 2, 1, 3),
    "sr_ratios": (4, 2, 2, 1), "num_stages": 2, "linear": True, "patch_sizes": (3, 3, 5, 3), "strides": (2, 2, 2, 4), "hidden_act": "relu",
    "initializer_range": 0.05, "layer_norm_eps": 1e-4, "embed_norm_eps": 1e-3, "head_drop_rate": 0.25, "global_pool": "",
    "problem_type": "multi_label_classification",
}  # fmt: skip


def other(field):
    few = {"num_stages": 2, "sr_ratios": (8, 4)} | {
        n: SMALL[n][:2] for n in ("embed_dims", "num_heads", "mlp_ratios", "depths")
    }
    changes = {"num_stages": few, "global_pool": {"global_pool": "", "num_classes": 0}}
    return changes.get(field, {field: OTHER[field]})


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("field", OTHER)
def test_transformers_keeps_each_field(tmp_path, transformers, field):
    config = models.PVTV2Config(**{**SMALL, "embed_norm_eps": 1e-6, **other(field)})
    ours = randomised(models.PVT_V2(config))
    models.save_pretrained(ours, tmp_path / "here")
    kind = transformers.PvtV2ForImageClassification if config.num_classes else transformers.PvtV2Model
    theirs = loaded(kind, tmp_path / "here")
    same_weights(ours, theirs, "hf")
    if field == "global_pool":
        x = torch.ones(1, 3, 64, 64)
        with torch.no_grad(), mg.no_grad():
            a, b = ours(mg.tensor(x.numpy())), theirs(x).last_hidden_state
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=5e-6 * b.abs().max().item())
    elif field not in ("embed_norm_eps", "layer_norm_eps"):  # where it has one ε for both
        agree(ours, theirs, config.in_channels)
    theirs.save_pretrained(tmp_path / "there")
    again = models.from_pretrained(tmp_path / "there")
    assert again.config == config
    same_weights(again, theirs, "hf")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("field", sorted(OTHER.keys() - {"patch_size", "patch_sizes", "strides", "hidden_act"}))
def test_timm_keeps_each_field(tmp_path, timm, field):
    config = models.PVTV2Config(**{**SMALL, **other(field)})
    ours = randomised(models.PVT_V2(config))
    models.save_pretrained(ours, tmp_path / "here", layout="timm")
    theirs = timm.create_model(f"local-dir:{tmp_path / 'here'}", pretrained=True).eval()
    if "norm_eps" not in field:
        agree(ours, theirs, config.in_channels)
    assert (theirs.global_pool, theirs.head_drop.p) == (config.global_pool, config.head_drop_rate)
    block = theirs.stages[0].blocks[0]
    assert (block.attn.proj_drop.p, block.attn.attn_drop.p) == (config.drop_rate, config.attn_drop_rate)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for stage in theirs.stages for block in stage.blocks]
    assert rates[-1] == pytest.approx(config.drop_path_rate)
    names = {"drop_rate": "head_drop_rate", "proj_drop_rate": "drop_rate"}  # which timm writes only if it is told
    rates = {n: getattr(config, names.get(n, n)) for n in (*names, "attn_drop_rate", "drop_path_rate")}
    timm.models.save_for_hf(theirs, tmp_path / "there", model_args=rates)
    again = models.from_pretrained(tmp_path / "there")
    lost = ("initializer_range", "layer_norm_eps", "embed_norm_eps", "problem_type")  # timm's model can't say them
    assert again.config == config.replace(**{name: getattr(models.PVTV2Config(), name) for name in lost})


# --- PyTorch's files ----------------------------------------------------------------------------------------------------
class Net(torch.nn.Module):
    """A PVT v2's names and shapes in PyTorch, without its function."""

    def __init__(self, ours):
        super().__init__()
        self.weights = {
            name: torch.nn.Parameter(torch.from_numpy(t.numpy().copy())) for name, t in ours.state_dict().items()
        }

    def state_dict(self, prefix=""):
        return type(torch.nn.Linear(1, 1).state_dict())((prefix + name, p.detach()) for name, p in self.weights.items())


@pytest.fixture
def ours():
    return randomised(models.PVT_V2(**SMALL))


def read(path, ours):
    """Whether a file gives the model again."""
    back = models.from_pretrained(path, config=ours.config)
    a, b = ({name: t.numpy() for name, t in model.state_dict().items()} for model in (ours, back))
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_training_checkpoints(tmp_path, ours):
    state = Net(ours).state_dict()
    parameters = [torch.nn.Parameter(p.clone()) for p in state.values()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    for p in parameters:
        p.grad = torch.ones_like(p)
    optimizer.step()
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    args = argparse.Namespace(lr=1e-3, data="x", device=torch.device("cpu"), size=torch.Size([3]), best=np.float64(3.5))
    about = {
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": schedule.state_dict(),
        "epoch": 3,
        "args": args,
        "scaler": {},
    }
    parallel = Net(ours).state_dict("module.")
    other = {name: torch.zeros_like(p) for name, p in state.items()}
    for content in (
        state,
        dict(state),
        {"model": state, **about},
        {"state_dict": parallel, **about},
        {"state_dict": other, "state_dict_ema": state, "arch": "pvt_v2_b0", "metric": 70.5},
        {name: torch.nn.Parameter(p) for name, p in state.items()},
        {"model": {**state, "extra": None}},
    ):
        for path in (tmp_path / "x.pth", tmp_path / "pytorch_model.bin"):
            torch.save(content, path)
            assert read(path, ours)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickle_protocols(tmp_path, ours, protocol):
    torch.save(Net(ours).state_dict(), tmp_path / "x.pth", pickle_protocol=protocol)
    assert read(tmp_path / "x.pth", ours)


def test_tensors_of_every_kind(tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "plain": base.clone(), "turned": base.clone().t(), "strided": base.clone()[::2, 1::2], "one": torch.tensor(2.5),
        "none": torch.zeros(0, 3), "half": base.half(), "bf16": base.bfloat16(), "double": base.double(), "long": base.long(),
        "byte": base.byte(), "flags": base > 3, "last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    }  # fmt: skip
    torch.save(tensors, tmp_path / "x.pth")
    found = torch_files.load_arrays(tmp_path / "x.pth")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        expected = tensor.float() if tensor.dtype in (torch.half, torch.bfloat16) else tensor
        np.testing.assert_array_equal(found[name], expected.numpy())
        assert found[name].dtype == expected.numpy().dtype


class Harmful:
    def __reduce__(self):
        return print, ("harm",)


def test_what_is_refused(tmp_path, ours, capsys):
    state, path = Net(ours).state_dict(), tmp_path / "x.pth"
    for save, message in [
        (
            partial(torch.save, state, path, _use_new_zipfile_serialization=False),
            "bare pickle, as PyTorch wrote before 1.6",
        ),
        (partial(torch.save, torch.nn.Linear(2, 2), path), "asks for torch.nn.modules.linear.Linear"),
        (partial(torch.save, {"model": state, "x": Harmful()}, path), "asks for (builtins|__builtin__).print"),
        (partial(torch.save, torch.zeros(3), path), "no dictionary of tensors"),
        (partial(torch.save, {"epoch": 3}, path), "no dictionary of tensors"),
        (partial(torch.save, {"a": torch.zeros(1).expand(10**6)}, path), "would have 4000000 bytes, more than"),
        (partial(torch.jit.save, quietly(torch.jit.script, torch.nn.Linear(2, 2)), path), "asks for __torch__"),
    ]:
        quietly(save)
        with pytest.raises(CheckpointError, match=message):
            models.from_pretrained(path, config=ours.config)
    assert "harm" not in capsys.readouterr().out
