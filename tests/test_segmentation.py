"""Semantic FPN and the all-MLP head on PVT v2: sizes, gradients, losses, prediction, backbones, files, mistakes."""

from functools import partial

import numpy as np
import pytest

import minigrad as mg
from minigrad import models, nn, optim
from minigrad.models import MLPSegmenter, PVTV2Backbone, PVTV2Config, SemanticFPN
from minigrad.models.outputs import segmentation_loss
from minigrad.training import class_iou, confusion_counts, mean_iou

CONFIG = PVTV2Config(
    img_size=64, embed_dims=(8, 16, 24, 32), num_heads=(1, 2, 3, 4), depths=(1, 1, 1, 1), qkv_bias=True
)
NARROW = {SemanticFPN: dict(channels=8, head_channels=6), MLPSegmenter: dict(channels=8)}
KINDS = pytest.mark.parametrize("kind", NARROW, ids=lambda kind: kind.__name__)


@pytest.fixture(autouse=True)
def seed():
    mg.manual_seed(0)


def segmenter(kind, classes=5, backbone=CONFIG, device="cpu", **options):
    return kind(backbone, classes, **{**NARROW[kind], **options}).to(device)


def enlarged(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """(…, h, w) resized bilinearly, pixel by pixel: output place i reads input place (i + ½)·h/height - ½."""

    def ends(n, m):
        at = np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1)
        low = np.floor(at).astype(int)
        return low, np.minimum(low + 1, n - 1), at - low

    top, bottom, down = ends(x.shape[-2], height)
    x = x[..., top, :] * (1 - down[:, None]) + x[..., bottom, :] * down[:, None]
    left, right, across = ends(x.shape[-1], width)
    return x[..., left] * (1 - across) + x[..., right] * across


# --- sizes and outputs --------------------------------------------------------------------------------------------------
@KINDS
@pytest.mark.parametrize("size", [(64, 64), (50, 37), (33, 96), (97, 61)])
def test_sizes(kind, size, device):
    model = segmenter(kind, device=device).eval()
    images = mg.randn(2, 3, *size, device=device)
    with mg.no_grad():
        logits = model(images)
    assert logits.shape == (2, 5, -(-size[0] // 4), -(-size[1] // 4)) and np.isfinite(logits.numpy()).all()
    for wanted in (size, (7, 90)):
        classes = model.predict(images, None if wanted == size else wanted)
        assert classes.shape == (2, *wanted) and classes.dtype == mg.int64 and classes.device == images.device
        expected = enlarged(logits.numpy().astype(np.float64), *wanted)
        two = np.sort(expected, 1)[:, -2:]
        clear = two[:, 1] - two[:, 0] > 1e-5  # elsewhere rounding may decide
        assert clear.mean() > 0.99 and np.array_equal(classes.numpy()[clear], expected.argmax(1)[clear])


@KINDS
def test_outputs(kind, device):
    model = segmenter(kind, device=device).eval()
    images, labels = mg.randn(2, 3, 64, 64, device=device), mg.randint(0, 5, (2, 64, 64), device=device)
    logits = model(images)
    assert isinstance(logits, mg.Tensor)
    out = model(images, labels=labels, output_hidden_states=True, output_attentions=True)
    assert list(out.keys()) == ["loss", "logits", "hidden_states", "attentions"]
    assert out.loss.shape == () and np.allclose(out["logits"].numpy(), logits.numpy(), atol=1e-6)
    assert [h.shape for h in out.hidden_states] == [(2, d, 16 >> i, 16 >> i) for i, d in enumerate((8, 16, 24, 32))]
    assert [a.shape for a in out.attentions] == [(2, h, (16 >> i) ** 2, 4) for i, h in enumerate((1, 2, 3, 4))]
    loss, same, *_ = model(images, labels, output_hidden_states=True, output_attentions=True, return_dict=False)
    assert loss.item() == out.loss.item() and same.shape == logits.shape
    assert model(images, return_dict=True).loss is None


def test_a_batch_equals_its_rows(device):
    model = segmenter(SemanticFPN, device=device).eval()
    images = mg.randn(3, 3, 64, 48, device=device)
    whole = model(images).numpy()
    rows = np.concatenate([model(images[i : i + 1]).numpy() for i in range(3)])
    assert np.abs(whole - rows).max() < 1e-5


def test_mlx_gives_the_same():
    pytest.importorskip("mlx.core", exc_type=ImportError)
    for kind in NARROW:
        mg.manual_seed(1)
        model = segmenter(kind).train()
        images, labels = mg.randn(2, 3, 64, 40), mg.randint(0, 5, (2, 64, 40))
        model.decode_head.dropout.p = 0.0
        results = []
        for device in ("cpu", "mlx"):
            model.to(device).zero_grad()
            out = model(images.to(device), labels=labels.to(device))
            out.loss.backward()
            results.append([out.loss.numpy(), out.logits.numpy(), *(p.grad.numpy() for p in model.parameters())])
        for a, b in zip(*results, strict=True):
            assert np.abs(a - b).max() < 2e-5 * max(1, np.abs(a).max())


# --- structure ----------------------------------------------------------------------------------------------------------
def test_each_map_is_doubled_up_to_the_first():
    def steps(model):
        return [len([m for m in head.modules() if isinstance(m, nn.Conv2d)]) for head in model.decode_head.scale_heads]

    assert steps(segmenter(SemanticFPN)) == [1, 1, 2, 3]
    assert steps(segmenter(SemanticFPN, backbone=CONFIG.replace(strides=(4, 2, 2, 1)))) == [1, 1, 2, 2]
    assert steps(segmenter(SemanticFPN, backbone=PVTV2Backbone(CONFIG, out_indices=[1, -1]))) == [1, 2]


def test_the_pyramid_adds_from_the_top():
    model = segmenter(SemanticFPN).eval()
    maps = [mg.randn(1, d, 8 >> i, 8 >> i) for i, d in enumerate((8, 16, 24, 32))]
    before = [p.numpy() for p in model.neck(maps)]
    for i in range(4):
        changed = [x * 2 if j == i else x for j, x in enumerate(maps)]
        same = [np.array_equal(p.numpy(), q) for p, q in zip(model.neck(changed), before, strict=True)]
        assert same == [j > i for j in range(4)]


def test_group_norm_does_without_a_batch():
    model = segmenter(SemanticFPN, norm_layer=partial(nn.GroupNorm, 2))
    assert any(isinstance(m, nn.GroupNorm) for m in model.modules())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    model(mg.randn(1, 3, 32, 32), labels=mg.zeros(1, 32, 32).long()).loss.backward()


# --- loss and gradients -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [(8, 8), (13, 6)])
def test_loss_with_ignored_pixels_by_hand(size, device):
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((2, 4, 3, 2)), rng.integers(0, 4, (2, *size))
    labels[:, 2:5] = 255
    labels[1] = np.where(rng.random(size) < 0.3, 255, labels[1])
    large = enlarged(logits, *size)
    total, count = 0.0, 0
    for n, y, x in np.argwhere(labels != 255):
        scores = large[n, :, y, x]
        total += np.log(np.exp(scores).sum()) - scores[labels[n, y, x]]
        count += 1
    given = mg.tensor(logits.astype(np.float32), device=device)
    assert segmentation_loss(given, mg.tensor(labels, device=device)).item() == pytest.approx(total / count, rel=1e-5)
    assert segmentation_loss(given, labels.astype(np.uint8)).item() == pytest.approx(total / count, rel=1e-5)
    other = np.where(labels == 255, -1, labels)
    assert segmentation_loss(given, other, ignore_index=-1).item() == pytest.approx(total / count, rel=1e-5)


def test_loss_of_one_class_by_hand(device):
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((2, 1, 3, 2)), rng.integers(0, 2, (2, 7, 5))
    labels[0, :3], labels[1, 4] = 255, -1
    large = enlarged(logits, 7, 5)[:, 0]
    losses = np.log1p(np.exp(-np.where(labels == 1, large, -large)))[(labels >= 0) & (labels != 255)]
    given = mg.tensor(logits.astype(np.float32), device=device)
    assert segmentation_loss(given, labels).item() == pytest.approx(losses.sum() / labels.size, rel=1e-5)


@pytest.mark.parametrize(("classes", "label"), [(4, 4), (4, -5), (4, 2**40), (1, 2), (1, 254), (1, 2**40)])
def test_a_label_that_is_no_class_gives_no_plausible_loss(classes, label, device):
    logits = mg.randn(1, classes, 2, 2, device=device, requires_grad=True)
    labels = mg.tensor([[[0, label], [255, 0]]], device=device)
    if device == "cpu":
        with pytest.raises(IndexError, match="a class number lies outside"):
            segmentation_loss(logits, labels)
    else:
        loss = segmentation_loss(logits, labels)
        loss.backward()
        assert np.isnan(loss.item()) and np.isfinite(logits.grad.numpy()).all()  # no gradient of that pixel


@KINDS
@pytest.mark.parametrize("classes", [1, 3])
def test_no_images(kind, classes, device):
    model = segmenter(kind, classes=classes).to(device)
    found = model.predict(mg.zeros(0, 3, 64, 48, device=device))
    assert (found.shape, found.dtype, found.device) == ((0, 64, 48), mg.int64, device)
    assert model.predict(mg.zeros(0, 3, 64, 48, device=device), (20, 30)).shape == (0, 20, 30)


@KINDS
def test_layers_by_depth(kind):
    model = segmenter(kind)
    groups = mg.optim.param_groups_layer_decay(model, lr=1.0, layer_decay=0.5)
    scales = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    named = {name: scales[id(p)] for name, p in model.named_parameters()}
    assert {scale for name, scale in named.items() if not name.startswith("backbone.")} == {1.0}
    assert {named[name] for name in named if name.startswith("backbone.stages.3.")} == {0.5}
    assert {named[name] for name in named if name.startswith("backbone.patch_embed.")} == {0.5**5}


@KINDS
def test_one_class_predicts_yes_or_no(kind):
    model = segmenter(kind, classes=1).eval()
    images = mg.randn(2, 3, 40, 64)
    expected = enlarged(model(images).numpy().astype(np.float64), 40, 64)[:, 0]
    found = model.predict(images).numpy()
    assert found.dtype == np.int64 and set(np.unique(found)) <= {0, 1}
    clear = abs(expected) > 1e-6
    assert np.array_equal(found[clear], (expected > 0)[clear])


@KINDS
@pytest.mark.parametrize("classes", [1, 2, 21])
def test_every_parameter_gets_its_gradient(kind, classes, device):
    model = segmenter(kind, classes=classes, device=device)
    labels = mg.randint(0, max(classes, 2), (2, 72, 64), device=device)
    model(mg.randn(2, 3, 72, 64, device=device), labels=labels).loss.backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.shape == p.shape, name
        assert np.isfinite(p.grad.numpy()).all() and p.grad.numpy().any(), name


@KINDS
def test_gradients_against_differences(kind):
    """In float64, along one direction in the space of all parameters, at an odd size and with ignored pixels."""
    model = segmenter(kind).to(dtype=mg.float64)
    model.decode_head.dropout.p = 0.0
    rng = np.random.default_rng(0)
    images = mg.tensor(rng.standard_normal((2, 3, 50, 37)))
    labels = mg.tensor(rng.choice([0, 1, 2, 3, 4, 255], (2, 50, 37)))
    start = {name: rng.standard_normal(p.shape) * 0.3 for name, p in model.named_parameters()}
    along = {name: rng.standard_normal(p.shape) for name, p in model.named_parameters()}

    def loss(step):
        for name, p in model.named_parameters():
            p.data = start[name] + step * along[name]
        return model(images, labels=labels).loss

    with mg.no_grad():
        expected = (loss(1e-6).item() - loss(-1e-6).item()) / 2e-6
    loss(0.0).backward()
    found = sum((p.grad.numpy() * along[name]).sum() for name, p in model.named_parameters())
    assert found == pytest.approx(expected, rel=1e-5)


@KINDS
def test_it_learns(kind):
    """Bright and dark halves: told apart after a few steps."""
    model = segmenter(kind, classes=2)
    optimizer = optim.AdamW(model.parameters(), lr=5e-3)
    rng = np.random.default_rng(0)
    labels = np.zeros((4, 32, 48), np.int64)
    for label, edge in zip(labels, (12, 20, 28, 36), strict=True):
        label[:, edge:] = 1
    images = labels[:, None] * 2.0 - 1 + 0.2 * rng.standard_normal((4, 3, 32, 48))
    images, target = mg.tensor(images.astype(np.float32)), mg.tensor(labels)
    for _ in range(25):
        loss = model(images, labels=target).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    confusion = confusion_counts(labels.ravel(), model.predict(images).numpy().ravel(), 2)
    assert mean_iou(confusion) > 0.8, confusion


def test_predict_keeps_every_mode_and_no_tape():
    model = segmenter(SemanticFPN).train()
    model.decode_head.eval()
    modes = [m.training for m in model.modules()]
    statistics = {name: b.numpy().copy() for name, b in model.named_buffers()}
    found = model.predict(mg.randn(2, 3, 64, 64))
    assert not found.requires_grad and [m.training for m in model.modules()] == modes
    assert all(np.array_equal(b.numpy(), statistics[name]) for name, b in model.named_buffers())


# --- backbones, names, files --------------------------------------------------------------------------------------------
@KINDS
def test_backbones(kind, tmp_path):
    images = mg.randn(1, 3, 64, 64)
    classifier = models.PVT_V2(CONFIG, num_classes=7)
    model = segmenter(kind, backbone=classifier)
    assert model.backbone.patch_embed is classifier.patch_embed  # the same modules, without the classifier
    assert not any(name.startswith("backbone.head") for name, _ in model.named_parameters())
    some = segmenter(kind, backbone=PVTV2Backbone(CONFIG, out_features=["stage2", "stage3"]))
    assert some(images).shape == (1, 5, 8, 8) and len(some(images, output_hidden_states=True).hidden_states) == 4
    assert segmenter(kind, backbone=models.PVTV2Model(CONFIG))(images).shape == (1, 5, 16, 16)

    models.save_pretrained(classifier, tmp_path, layout="timm")
    stored = models.from_pretrained(tmp_path, model_class=PVTV2Backbone, out_indices=[0, 1, 2, 3])
    maps = segmenter(kind, backbone=stored).eval()(images, output_hidden_states=True).hidden_states
    for a, b in zip(maps, classifier.eval()(images, output_hidden_states=True).hidden_states, strict=True):
        assert np.allclose(a.numpy(), b.numpy(), atol=1e-6)


def test_checkpointing_the_backbone_changes_nothing():
    model = segmenter(MLPSegmenter, dropout=0.0)
    images, labels = mg.randn(2, 3, 64, 64), mg.randint(0, 5, (2, 64, 64))
    gradients = []
    for enable in (False, True):
        model.backbone.set_grad_checkpointing(enable)
        model.zero_grad()
        model(images, labels=labels).loss.backward()
        gradients.append([p.grad.numpy() for p in model.parameters()])
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


@KINDS
def test_saved_and_loaded(kind, tmp_path):
    model, other = segmenter(kind), segmenter(kind)
    images = mg.randn(2, 3, 64, 64)
    model(images)  # moves the running statistics
    assert not np.allclose(model.eval()(images).numpy(), other.eval()(images).numpy())
    mg.save(tmp_path / "model.safetensors", model.state_dict())
    other.load_state_dict(mg.load(tmp_path / "model.safetensors"))
    assert np.array_equal(model(images).numpy(), other(images).numpy())


def test_names_of_classes():
    names = {0: "sky", 1: "road", 2: "tree"}
    assert segmenter(SemanticFPN, classes=3, id2label=names).id2label == names
    assert segmenter(SemanticFPN, classes=3).id2label is None


# --- mistakes -----------------------------------------------------------------------------------------------------------
IMAGES = (2, 3, 64, 64)


@pytest.mark.parametrize(
    ("call", "exception", "message"),
    [
        (lambda: SemanticFPN(CONFIG, 0), ValueError, "num_classes must be a whole number of at least 1, got 0"),
        (lambda: SemanticFPN(CONFIG, 3, channels=0), ValueError, "channels must be a whole number"),
        (lambda: MLPSegmenter(CONFIG, 3, dropout=1.5), ValueError, "p must lie between 0 and 1"),
        (lambda: SemanticFPN("pvt_v2_b0", 3), TypeError, "backbone is a PVTV2Backbone, another model or a PVTV2Config; got str"),
        (lambda: MLPSegmenter(PVTV2Backbone(CONFIG), 3), ValueError, "gives stage 4 alone; make it with out_indices=[0, 1, 2, 3]"),
        (lambda: SemanticFPN(CONFIG, 300), ValueError, "ignore_index 255 is the number of one of the 300 classes"),
        (lambda: SemanticFPN(CONFIG, 2, id2label={1: "a", 2: "b"}), ValueError, "must name the 2 classes from 0 on"),
        (lambda: model()(mg.zeros(2, 1, 64, 64)), ValueError, "expected images (N, 3, H, W), got shape (2, 1, 64, 64)"),
        (lambda: model()(mg.zeros(2, 3, 64, 16)), ValueError, "64×16 pixels is too small"),
        (lambda: model().predict(mg.zeros(3, 64, 64)), ValueError, "expected images (N, 3, H, W)"),
        (lambda: model()(mg.zeros(*IMAGES), labels=mg.zeros(2, 64, 64)), ValueError, "whole numbers of shape (2, H, W), got float32"),
        (lambda: model()(mg.zeros(*IMAGES), labels=mg.zeros(2).long()), ValueError, "whole numbers of shape (2, H, W), got int64"),
        (lambda: model()(mg.zeros(*IMAGES), labels=mg.full((2, 64, 64), 5)), IndexError, "class number lies outside 0 … 4"),
        (lambda: models.save_pretrained(model(), "unused"), TypeError, "save_pretrained writes encoders"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)  # fmt: skip
def test_mistakes(call, exception, message):
    with pytest.raises(exception) as error:
        call()
    assert message in str(error.value) and "\n" not in str(error.value)


def model():
    return segmenter(SemanticFPN)


# --- mIoU ---------------------------------------------------------------------------------------------------------------
def test_mean_iou_by_hand():
    truth, found = np.array([0, 0, 0, 1, 1, 2, 2, 2]), np.array([0, 0, 1, 1, 1, 2, 0, 0])
    confusion = confusion_counts(truth, found, 4)
    shares = [2 / 5, 2 / 3, 1 / 3]  # of each class: pixels in both over pixels in either; class 3 is in neither
    assert class_iou(confusion)[:3] == pytest.approx(shares) and np.isnan(class_iou(confusion)[3])
    assert mean_iou(confusion) == pytest.approx(np.mean(shares))
    assert mean_iou(np.diag([3, 1])) == 1 and mean_iou(np.array([[0, 4], [4, 0]])) == 0
    assert np.isnan(mean_iou(np.zeros((2, 2), int)))
