"""Attention over the image and the feature pyramid: the numbers behind the pictures, and the pictures."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import minigrad as mg
from minigrad import models, visual
from minigrad.models import ImageProcessor
from minigrad.visual import attention

TINY = dict(img_size=64, embed_dims=(8, 16, 24, 32), num_heads=(1, 2, 3, 4), depths=(1, 2, 1, 1), num_classes=5)
LINEAR = dict(TINY, linear=True)
SR = dict(TINY, sr_ratios=(4, 2, 1, 1))


def make(fields, kind=models.PVT_V2):
    """A model whose attention is far from even."""
    mg.manual_seed(3)
    model = kind(**fields)
    for name, p in model.named_parameters():
        if ".attn." in name:
            p.data = p.array * 6
    return model


def photograph(height=64, width=64):
    rng = np.random.default_rng(5)
    return np.asarray(Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8)).resize((width, height)))


@pytest.fixture
def sheets(monkeypatch):
    """The rows of panels that are drawn."""
    seen = []

    def sheet(rows, notes=(), bar=None):
        seen.append((rows, notes))
        return draw(rows, notes, bar)

    draw = attention.sheet
    monkeypatch.setattr(attention, "sheet", sheet)
    return seen


# ---- the numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [SR, LINEAR], ids=["reduction", "linear"])
@pytest.mark.parametrize("size", [(64, 64), (96, 72), (101, 75)])
def test_shares_are_the_means_of_the_attention(fields, size):
    model = make(fields).eval()
    x = mg.randn(1, 3, *size)
    with mg.no_grad():
        attentions = [a.numpy()[0].astype(np.float64) for a in model(x, output_attentions=True).attentions]
    maps = model.config.map_sizes(*size)
    for block, chosen in ((-1, (0, 2, 3, 4)), (0, (0, 1, 3, 4))):
        shares = attention._shares(model, x, None, block)
        for share, i, (h, w), sr in zip(shares, chosen, maps, fields.get("sr_ratios", ()) or (1,) * 4, strict=True):
            assert share.shape == ((7, 7) if "linear" in fields else (h // sr, w // sr))
            np.testing.assert_allclose(share.ravel(), attentions[i].mean((0, 1)) * share.size, rtol=1e-6)
            assert share.mean() == pytest.approx(1, abs=1e-5)
    row, column = size[0] - 1, 3  # in the last row of every map, in its first column or near it
    for share, i, (h, w) in zip(attention._shares(model, x, (row, column), -1), (0, 2, 3, 4), maps, strict=True):
        token = (h - 1) * w + column * w // size[1]
        np.testing.assert_allclose(share.ravel(), attentions[i][:, token].mean(0) * share.size, rtol=1e-6)
    assert max(share.max() for share in shares) > 1.2


def test_keys_cover_whole_windows_only():
    config = models.PVTV2Config(**SR)
    (h, w), *_ = config.map_sizes(101, 75)
    assert (h, w) == (26, 19)
    assert attention._covered(config, 0, (h, w), (6, 4)) == (24 / 26, 16 / 19)
    assert attention._covered(models.PVTV2Config(**LINEAR), 0, (h, w), (7, 7)) == (1, 1)


def test_components_are_the_principal_ones():
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(5, 60)) * np.array([9, 5, 3, 0.1, 0.01])[:, None]).reshape(5, 6, 10)
    colours, part = attention._components(features)
    centred = features.reshape(5, -1) - features.reshape(5, -1).mean(1, keepdims=True)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    assert part == pytest.approx(values[-3:].sum() / values.sum())
    for i in range(3):
        direction = vectors[:, -1 - i]
        score = direction @ centred * np.sign(direction[abs(direction).argmax()])
        low, high = np.percentile(score, [2, 98])
        expected = np.rint(255 * ((score - low) / (high - low)).clip(0, 1))
        assert abs(colours[i].ravel() - expected).max() <= 1
    for shape in ((5, 1, 1), (2, 4, 4), (1, 3, 3), (6, 1, 2)):
        colours, part = attention._components(np.zeros(shape))
        assert (colours == 128).all() and colours.shape == (3, *shape[1:]) and part == 1
        assert 0 < attention._components(rng.normal(size=shape))[1] <= 1 + 1e-12


# ---- the pictures ----------------------------------------------------------------------------------------------------


def test_more_attention_is_orange_less_is_blue_even_is_bare():
    scene = Image.fromarray(np.full((70, 90, 3), 150, np.uint8))
    shares = np.array([[8.0, 1.0], [1.0, 1 / 8]])
    out = np.asarray(attention._overlay(scene, shares, (1.0, 1.0), 3.0)).astype(int)
    more, less = out[2, 2], out[-3, -3]
    assert more[0] - more[2] > 100 and less[2] - less[0] > 10 and less.sum() < 250
    bare = attention._backdrop(scene)[0, 0]
    assert abs(out[2, -3] - bare).max() <= 2 and abs(out[-3, 2] - bare).max() <= 2
    covered = np.asarray(attention._overlay(scene, shares, (0.5, 0.5), 3.0))
    assert (covered[35:] == bare).all() and (covered[:, 45:] == bare).all() and not (covered[:35, :45] == bare).all()


@pytest.mark.parametrize("kind", [models.PVT_V2, models.PVTV2Model, models.PVTV2Backbone])
def test_overlay(kind, sheets, tmp_path):
    model = make(SR, kind)
    model.train()
    model.stages[1].eval()
    image = visual.attention_overlay(model, photograph(), path=tmp_path / "a.png")
    ((rows, notes),) = sheets
    assert [panel.title for panel in rows[0]] == ["model's input", "stage 1", "stage 2", "stage 3", "stage 4"]
    assert rows[0][1].lines[0] == "4 x 4 keys" and rows[0][4].lines[0] == "2 x 2 keys"
    assert "all queries in the last block" in notes[0]
    with Image.open(tmp_path / "a.png") as written:
        np.testing.assert_array_equal(np.asarray(written), np.asarray(image))
    assert model.training and not model.stages[1].training and model.stages[1].blocks[0].training is False
    assert not any(p.grad is not None for p in model.parameters())
    np.testing.assert_array_equal(
        np.asarray(rows[0][0].picture), np.asarray(attention.enlarge(photograph().transpose(2, 0, 1), 288))
    )


def test_one_key_is_said_to_be_constant(sheets):
    with pytest.warns(UserWarning, match="1×1 grid"):
        model = make(dict(SR, img_size=32, sr_ratios=(8, 4, 2, 1)))
    picture = visual.attention_overlay(model, mg.randn(3, 32, 32))
    for panel in sheets[0][0][0][1:]:
        assert panel.lines == ("one key: attention is constant,", "whatever the image shows")
        bare = attention._backdrop(sheets[0][0][0][0].picture)
        assert abs(np.asarray(panel.picture) - bare).max() <= 0.5 and bare.min() >= 64 and bare.max() <= 217
    assert picture.height < 600


def test_rows_titles_queries_and_tensors(sheets):
    model = make(LINEAR)
    processor = ImageProcessor(size=(64, 96))
    out = visual.attention_overlay(
        model, [photograph(), photograph(40, 80)], processor, query=(10, 90), block=0, titles=["one", "two"]
    )
    rows, notes = sheets[0]
    assert [row[0].title for row in rows] == ["one", "two"] and "the query at (10, 90) in the 1. block" in notes[0]
    assert out.width > 5 * rows[0][0].picture.width and out.height > 2 * 288
    centre = (round(90.5 * 288 / 64) + 6, round(10.5 * 288 / 64))
    assert rows[0][0].picture.getpixel(centre) == (255, 255, 255)  # the ring
    x = processor([photograph(), photograph(40, 80)])
    visual.attention_overlay(model, x, processor, query=(10, 90), block=0)
    for mine, theirs in zip(sheets[1][0], rows, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(np.asarray(a.picture), np.asarray(b.picture))


def test_pyramid(sheets, tmp_path):
    model = make(SR)
    image = visual.feature_pyramid(model, [photograph()], titles=["a"], path=tmp_path / "a.png")
    rows, _ = sheets[0]
    assert [panel.title for panel in rows[0]] == ["a", "stage 1", "stage 2", "stage 3", "stage 4"]
    shapes = ["8 channels, 16 x 16", "16 channels, 8 x 8", "24 channels, 4 x 4", "32 channels, 2 x 2"]
    assert [panel.lines[0] for panel in rows[0][1:]] == shapes
    assert {panel.picture.size for panel in rows[0]} == {(288, 288)}
    assert np.unique(np.asarray(rows[0][4].picture).reshape(-1, 3), axis=0).shape[0] <= 4
    again = visual.feature_pyramid(model, [photograph()], titles=["a"])
    np.testing.assert_array_equal(np.asarray(image), np.asarray(again))


def test_a_model_with_a_backbone_and_on_both_devices(device):
    class Head(mg.nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = make(SR, models.PVTV2Backbone)

    model = Head().to(device)
    on_cpu = visual.attention_overlay(make(SR, models.PVTV2Backbone), photograph())
    assert abs(np.asarray(visual.attention_overlay(model, photograph())).astype(int) - np.asarray(on_cpu)).max() <= 2


def test_mistakes():
    model = make(SR)
    for words, arguments in (
        ("query must be a", {"query": (64, 0)}),
        ("query must be a", {"query": (0, -1)}),
        ("query must be a", {"query": "ab"}),
        ("query must be a", {"query": 3}),
        ("ends in .png, not a.jpg", {"path": "a.jpg"}),
        ("stage 1 has 1 blocks, there is no block 1", {"block": 1}),
        ("stage 1 has 1 blocks, there is no block -2", {"block": -2}),
    ):
        with pytest.raises(ValueError, match=words):
            visual.attention_overlay(model, photograph(), **arguments)
    with pytest.raises(TypeError, match="expected a PVT v2 model"):
        visual.attention_overlay(mg.nn.Linear(2, 2), photograph())
    with pytest.raises(ValueError, match="give a processor"):
        visual.feature_pyramid(make(dict(SR, in_channels=1)), photograph())
    with pytest.raises(FileNotFoundError):
        visual.feature_pyramid(model, "nowhere.png")
    with pytest.raises(ValueError, match="too small"):
        visual.attention_overlay(model, mg.zeros(3, 8, 8))


def test_without_matplotlib():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import minigrad as mg, numpy as np\n"
        "model = mg.models.pvt_v2_tiny(num_classes=3)\n"
        "print(mg.visual.attention_overlay(model, np.zeros((32, 32, 3), np.uint8)).size)\n"
        "mg.visual.feature_pyramid(model, np.zeros((32, 32, 3), np.uint8))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("("), done.stderr
