"""The segmentation heads beside transformers' SegFormer head, torchvision's pyramid, and Semantic FPN written in PyTorch."""

import numpy as np
import pytest
import torch
from peers import published
from torch.nn import functional as TF

import minigrad as mg
from minigrad import models
from minigrad.models.outputs import segmentation_loss

DIMS = (16, 24, 40, 32)
TOLERANCE = {"float64": 1e-11, "float32": 5e-6}


@pytest.fixture(params=[("cpu", "float64"), ("cpu", "float32"), ("mlx", "float32")], ids="-".join)
def where(request):
    """(device, dtype) of a run."""
    if request.param[0] == "mlx":
        pytest.importorskip("mlx.core", exc_type=ImportError)
    return request.param


@pytest.fixture(params=[(64, 64), (50, 74)], ids=["even", "odd"])
def maps(request):
    """Random maps of strides 4, 8, 16, 32."""
    rng = np.random.default_rng(0)
    sizes = [tuple(-(-n // r) for n in request.param) for r in (4, 8, 16, 32)]
    return [rng.standard_normal((2, d, *size)) for d, size in zip(DIMS, sizes, strict=True)]


def randomised(model, where):
    """The model with every parameter and running statistic random, and its state as PyTorch's tensors."""
    rng, (device, dtype) = np.random.default_rng(1), where
    state = {}
    for name, t in model.state_dict().items():
        if t.is_floating_point():
            t = rng.uniform(0.5, 1.5, t.shape) if name.endswith("running_var") else 0.3 * rng.standard_normal(t.shape)
        else:
            t = t.numpy()
        state[name] = t
    model.to(dtype=dtype).load_state_dict(
        {k: mg.tensor(v, dtype=None if v.dtype == "int64" else dtype) for k, v in state.items()}
    )
    return model.to(device), {k: torch.tensor(v) for k, v in state.items()}


def given(arrays, where):
    return [mg.tensor(a, dtype=where[1], device=where[0]) for a in arrays]


def close(ours, theirs, where):
    a, b = ours.numpy().astype(np.float64), theirs.detach().numpy()
    assert a.shape == b.shape and np.abs(a - b).max() <= TOLERANCE[where[1]] * np.abs(b).max()


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_mlp_head(maps, where, training):
    transformers = published("transformers")
    from transformers.models.segformer.modeling_segformer import SegformerDecodeHead

    config = transformers.SegformerConfig(
        hidden_sizes=list(DIMS), decoder_hidden_size=20, num_labels=7, classifier_dropout_prob=0.0
    )
    head, state = randomised(models.segmentation.MLPHead(list(DIMS), 20, 7, 0.0, mg.nn.BatchNorm2d), where)
    theirs = SegformerDecodeHead(config).double().train(training)
    theirs.load_state_dict({k.replace("linear_c", "linear_projections"): v for k, v in state.items()})
    close(head.train(training)(given(maps, where)), theirs([torch.tensor(x) for x in maps]), where)


def test_pyramid(maps, where):
    published("timm")  # makes torchvision importable where its compiled part isn't
    feature_pyramid_network = pytest.importorskip("torchvision.ops.feature_pyramid_network")
    neck, state = randomised(models.segmentation.FPN(list(DIMS), 20), where)
    theirs = feature_pyramid_network.FeaturePyramidNetwork(list(DIMS), 20).double()
    names = {"lateral_convs": "inner_blocks", "fpn_convs": "layer_blocks"}
    renamed = {}
    for key, value in state.items():
        part, i, name = key.split(".")
        renamed[f"{names[part]}.{i}.0.{name}"] = value
    theirs.load_state_dict(renamed)
    expected = theirs({str(i): torch.tensor(x) for i, x in enumerate(maps)})
    for a, b in zip(neck(given(maps, where)), expected.values(), strict=True):
        close(a, b, where)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_fpn_head(maps, where, training):
    head, state = randomised(models.segmentation.FPNHead(16, [4, 8, 16, 32], 12, 7, 0.0, mg.nn.BatchNorm2d), where)
    maps = [np.repeat(x[:, :1], 16, 1) * np.arange(1, 17).reshape(1, 16, 1, 1) for x in maps]
    total = 0
    for i, x in enumerate(map(torch.tensor, maps)):
        for k in range(max(i, 1)):
            at = f"scale_heads.{i}.{2 * k}"
            x = TF.conv2d(x, state[f"{at}.conv.weight"], padding=1)
            norm = (state[f"{at}.norm.{n}"] for n in ("running_mean", "running_var", "weight", "bias"))
            x = TF.relu(TF.batch_norm(x, *norm, training=training))
            if i:
                x = TF.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        if x.shape[2:] != maps[0].shape[2:]:
            x = TF.interpolate(x, size=maps[0].shape[2:], mode="bilinear", align_corners=False)
        total = total + x
    expected = TF.conv2d(total, state["classifier.weight"], state["classifier.bias"])
    close(head.train(training)(given(maps, where)), expected, where)


@pytest.mark.parametrize("classes", [1, 6])
def test_loss(classes, where):
    """What transformers' SegformerForSemanticSegmentation computes of its head's logits."""
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((2, classes, 5, 7)), rng.choice([*range(max(classes, 2)), 255], (2, 18, 31))
    large = TF.interpolate(torch.tensor(logits), size=labels.shape[1:], mode="bilinear", align_corners=False)
    target = torch.tensor(labels)
    if classes > 1:
        expected = TF.cross_entropy(large, target, ignore_index=255)
    else:
        losses = TF.binary_cross_entropy_with_logits(large[:, 0], target.double(), reduction="none")
        expected = (losses * (target != 255)).mean()
    close(segmentation_loss(*given([logits], where), labels), expected, where)
