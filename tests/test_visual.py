"""Summaries and pictures."""

import gc
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from PIL import Image

import minigrad as mg
from minigrad import models
from minigrad.visual import confusion_matrix, prediction_grid, summary, training_curves
from minigrad.visual.model_summary import macs

# Parameters and MACs at 224 x 224 of the published models (convolutions, linear layers, both attention products).
PUBLISHED = {
    "pvt_v2_b0": (3_666_760, 566_065_664),
    "pvt_v2_b1": (14_009_000, 2_108_355_584),
    "pvt_v2_b2": (25_362_856, 4_026_734_592),
    "pvt_v2_b2_li": (22_553_512, 3_888_850_944),
    "pvt_v2_b3": (45_238_696, 6_897_303_552),
    "pvt_v2_b4": (62_556_072, 10_101_116_416),
    "pvt_v2_b5": (81_956_008, 11_717_260_288),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameters_and_macs(name):
    found = summary(models.create_model(name), (1, 3, 224, 224))
    assert (found.parameters, found.macs) == PUBLISHED[name]
    root = found.rows[0]
    assert (root.name, root.parameters, root.macs, root.output) == ("", *PUBLISHED[name], (1, 1000))


def test_rows_add_up_and_flags_stay():
    model = mg.nn.Sequential(mg.nn.Conv2d(3, 8, 3, padding=1, groups=1), mg.nn.Flatten(), mg.nn.Linear(8 * 16, 5))
    model[0].eval()
    found = summary(model, (2, 3, 4, 4))
    assert [row.macs for row in found.rows] == [2 * 8 * 16 * 27 + 2 * 128 * 5, 2 * 8 * 16 * 27, 0, 2 * 128 * 5]
    assert [row.output for row in found.rows] == [(2, 5), (2, 8, 4, 4), (2, 128), (2, 5)]
    assert found.parameters == sum(p.numel() for p in model.parameters()) == found.trainable
    assert model.training and not model[0].training and model[2].training
    assert not any("forward" in vars(module) for module in model.modules())


def test_grouped_convolution_and_frozen_parameters():
    model = mg.nn.Conv2d(8, 8, 3, padding=1, groups=8)
    model.weight.requires_grad_(False)
    found = summary(model, (1, 8, 5, 5))
    assert found.macs == 8 * 25 * 9 and found.parameters == 80 and found.trainable == 8
    assert "80, 72 of them frozen" in str(found)


def test_shared_module_counts_its_parameters_once():
    class Twice(mg.nn.Module):
        def __init__(self):
            self.layer = mg.nn.Linear(4, 4)

        def forward(self, x):
            return self.layer(self.layer(x))

    found = summary(Twice(), (1, 4))
    assert found.parameters == 20 and found.macs == 32 and len(found.rows) == 2


def test_forward_comes_back_after_an_error():
    model = mg.nn.Sequential(mg.nn.Linear(4, 3))
    with pytest.raises(Exception, match="4"):
        summary(model, (1, 5))
    assert model.training and "forward" not in vars(model[0])
    assert model(mg.zeros(1, 4)).shape == (1, 3)


def test_table_and_depth():
    model = models.pvt_v2_tiny(num_classes=10, in_channels=1)
    whole, short = summary(model), summary(model, depth=1)
    assert whole.input_shape == (1, 1, 32, 32) and whole.macs == short.macs
    lines = str(whole).splitlines()
    assert len(lines) == len(whole.rows) + 6 and len(str(short).splitlines()) < len(lines)
    assert len({len(line) for line in lines[: len(whole.rows) + 3]}) == 1  # columns are aligned
    assert f"{whole.parameters:,}" in lines[-2] and f"{whole.macs:,}" in lines[-1]
    assert len(str(summary(model, depth=0)).splitlines()) == 7


def test_mistakes_in_arguments():
    with pytest.raises(ValueError, match="give input_shape"):
        summary(mg.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="positive integers"):
        summary(mg.nn.Linear(2, 2), (1, 0))
    with pytest.raises(ValueError, match="depth"):
        summary(mg.nn.Linear(2, 2), (1, 2), depth=-1)


def test_macs_of_attention():
    q, k, v = mg.zeros(2, 3, 5, 4), mg.zeros(2, 3, 7, 4), mg.zeros(2, 3, 7, 6)
    assert macs("scaled_dot_product_attention", (q, k, v, None), None) == 2 * 3 * (5 * 7 * 4 + 5 * 7 * 6)
    assert macs("conv_transpose2d", (mg.zeros(1, 4, 3, 3), mg.zeros(4, 2, 5, 5)), None) == 36 * 50
    assert macs("add", (q, q), q) == 0


# --- memory of training ---


@pytest.mark.parametrize("linear", [False, True])
def test_kept_is_what_is_alive(linear):
    """The sum over the modules is what numpy still holds after a forward pass in training, to the byte."""
    model = models.PVT_V2(models.pvt_v2_tiny(linear=linear, drop_path_rate=0.2).config)
    found = summary(model, (3, 3, 64, 64), memory=True).memory
    x = mg.zeros(3, 3, 64, 64)
    numpys = [tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)]
    with mg.backend.num_threads(1):  # of several, one that comes late makes its buffers later
        model(x)  # the kernels' own buffers stay from here on
        gc.collect()
        tracemalloc.start()
        try:
            out = model(x)
            alive = sum(s.size for s in tracemalloc.take_snapshot().filter_traces(numpys).statistics("filename"))
        finally:
            tracemalloc.stop()
    assert found.kept == alive - out._data.nbytes
    assert found.kept == sum(found.modules.values()) > 4 * x._data.nbytes
    assert found.input == x._data.nbytes


def test_memory_of_weights_and_of_a_step():
    model = mg.nn.Sequential(mg.nn.Linear(100, 200), mg.nn.Tanh(), mg.nn.Linear(200, 10, bias=False))
    model[2].weight.requires_grad_(False)
    found = summary(model, (50, 100), memory=True)
    memory, hidden = found.memory, 4 * 50 * 200
    assert [row.kept for row in found.rows] == [
        hidden,
        0,
        hidden,
        0,
    ]  # the output of tanh; the input and weights don't count
    assert [row.state for row in found.rows] == [4 * (4 * 20_200 + 2000), 16 * 20_200, 0, 4 * 2000]
    assert (memory.parameters, memory.gradients, memory.optimizer) == (4 * 22_200, 4 * 20_200, 8 * 20_200)
    assert memory.kept + memory.gradients < memory.peak < 4 * hidden + 2 * memory.gradients
    assert memory.step == memory.parameters + memory.optimizer + memory.input + memory.peak
    text = str(found)
    assert "kept MB" in text and "AdamW" in text and "kept" not in str(summary(model, (50, 100)))


def test_shared_arrays_and_views_count_once():
    class Shared(mg.nn.Module):
        def __init__(self):
            self.a, self.b = mg.nn.Linear(8, 8), mg.nn.Linear(8, 8)

        def forward(self, x):
            y = self.a(x).exp()  # kept by exp here and by the layer b, which sees it as a matrix
            return self.b(y.reshape(2, 4, 8)) + self.b(y.reshape(2, 4, 8))

    found = summary(Shared(), (8, 8), memory=True)
    assert {row.name: row.kept for row in found.rows} == {"": 4 * 64, "a": 0, "b": 0}


def test_memory_leaves_the_model_as_it_was():
    model = mg.nn.Sequential(mg.nn.Linear(4, 4), mg.nn.BatchNorm1d(4), mg.nn.Dropout(0.5)).eval()
    buffers = [b.numpy().copy() for b in model.buffers()]
    mg.manual_seed(3)
    first = mg.rand(3).tolist()
    mg.manual_seed(3)
    assert summary(model, (6, 4), memory=True).memory.kept
    assert mg.rand(3).tolist() == first
    assert not any(m.training for m in model.modules()) and all(p.grad is None for p in model.parameters())
    assert all((a == b.numpy()).all() for a, b in zip(buffers, model.buffers(), strict=True))
    model.requires_grad_(False)
    frozen = summary(model, (6, 4), memory=True).memory
    assert frozen.kept == frozen.gradients == frozen.optimizer == 0


def test_recomputation_keeps_less(device):
    """Where blocks follow each other: of a single one everything is needed at once in any case."""
    model = models.create_model("pvt_v2_tiny", depths=(3, 1, 1, 1)).to(device)
    plain = summary(model, (2, 3, 64, 64), memory=True).memory
    model.set_grad_checkpointing()
    less = summary(model, (2, 3, 64, 64), memory=True).memory
    assert less.kept < plain.kept / 2 and less.peak < plain.peak and plain.peak > plain.gradients


# --- pictures ---


def rows(n):
    names = ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "lr")
    return [{"epoch": i + 1, **dict.fromkeys(names, 0.5 + 0.01 * i)} for i in range(n)]


def check_png(path, least=(300, 200)):
    with Image.open(path) as image:
        assert image.format == "PNG" and image.width >= least[0] and image.height >= least[1]
        pixels = np.asarray(image.convert("L"))
    border = np.concatenate([pixels[:6].ravel(), pixels[-6:].ravel(), pixels[:, :6].ravel(), pixels[:, -6:].ravel()])
    assert (border > 250).all()  # nothing is cut off at the edge
    assert pixels.std() > 5


@pytest.mark.parametrize("n", [1, 2, 60])
def test_training_curves(tmp_path, n):
    pytest.importorskip("matplotlib")
    training_curves(rows(n), tmp_path / "curves.png")
    check_png(tmp_path / "curves.png")


def test_training_curves_from_csv(tmp_path):
    pytest.importorskip("matplotlib")
    table = [",".join(rows(1)[0]), *(",".join(map(str, row.values())) for row in rows(3))]
    (tmp_path / "metrics.csv").write_text("\n".join(table) + "\n")
    figure = training_curves(tmp_path / "metrics.csv")
    assert figure.axes[0].lines[0].get_xdata().tolist() == [1, 2, 3]
    (tmp_path / "metrics.csv").write_text("epoch,lr\n1,0.1\n")
    with pytest.raises(ValueError, match="no column train_loss, val_loss"):
        training_curves(tmp_path / "metrics.csv")
    with pytest.raises(ValueError, match="nothing to draw"):
        training_curves([])


@pytest.mark.parametrize("classes", [2, 10, 50])
def test_confusion_matrix(tmp_path, classes):
    pytest.importorskip("matplotlib")
    counts = np.random.default_rng(0).integers(0, 5, (classes, classes))
    confusion_matrix(counts, [f"class number {i}" for i in range(classes)], tmp_path / "confusion.png")
    check_png(tmp_path / "confusion.png")
    with pytest.raises(ValueError, match="has shape"):
        confusion_matrix(counts[1:], [""] * classes)


@pytest.mark.parametrize(("n", "channels"), [(1, 1), (3, 3), (50, 1)])
def test_prediction_grid(tmp_path, n, channels):
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), n)
    names = ["a", "b", "an unusually long name", "d"]
    path = tmp_path / "predictions.png"
    prediction_grid(rng.random((n, channels, 8, 8)), rng.integers(0, 4, n), probabilities, names, path)
    check_png(path, (200, 150))


def test_prediction_grid_has_the_mistakes_first():
    pytest.importorskip("matplotlib")
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]])
    figure = prediction_grid(np.zeros((4, 1, 4, 4)), np.array([0, 0, 0, 1]), probabilities, ["x", "y"])
    assert [axis.get_title() for axis in figure.axes] == ["y  80 %\ntrue: x", "x  60 %", "y  70 %", "x  90 %"]
    with pytest.raises(ValueError, match="expected images"):
        prediction_grid(np.zeros((4, 4, 4)), np.zeros(4), probabilities, ["x", "y"])


def test_pyplot_is_left_alone(tmp_path):
    pytest.importorskip("matplotlib")
    code = (
        "import sys, numpy as np, minigrad as mg; "
        f"mg.visual.confusion_matrix(np.eye(2), ['a', 'b'], {str(tmp_path / 'c.png')!r}); "
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'minigrad\[plots\]'"):
        training_curves(rows(2))


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'painting'"):
        mg.visual.painting  # noqa: B018
    assert "summary" in dir(mg.visual)
