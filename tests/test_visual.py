"""Summaries and pictures."""

import gc
import subprocess
import sys
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from PIL import Image

import minigrad as mg
from minigrad import models
from minigrad.engine.operation import REGISTRY
from minigrad.visual import confusion_matrix, model_summary, prediction_grid, summary, training_curves

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


class Calls(mg.nn.Module):
    """A function of the input, and the layers that it uses."""

    def __init__(self, function, *layers):
        self.function, self.layers = function, layers

    def forward(self, x):
        return self.function(x, *self.layers)


def attend(x, **options):
    """(2, 5, 12) in 3 heads of width 4."""
    q = x.reshape(2, 5, 3, 4).transpose(1, 2)
    return F.scaled_dot_product_attention(q, q, q, **options)


def feed(x, hidden=24):
    """PVT's feed-forward network on a map of 3 by 4."""
    w1, taps, w2 = ones(x, hidden, x.shape[-1]), ones(x, hidden, 1, 3, 3), ones(x, x.shape[-1], hidden)
    return F.conv_mlp(x, w1, ones(x, hidden), taps, ones(x, hidden), w2, ones(x, x.shape[-1]), size=(3, 4), relu=False)


def ones(x, *shape):
    return mg.ones(*shape, device=x.device)


ATTENTION = 2 * (2 * 3 * 5 * 5 * 4)
nn, F = mg.nn, mg.nn.functional
# name: a module, its input's shape, and its multiply-accumulates counted by hand
PRODUCTS = {
    "Linear": (nn.Linear(7, 5), (2, 3, 7), 2 * 3 * 7 * 5),
    "Linear, a vector": (nn.Linear(7, 5, bias=False), (7,), 7 * 5),
    "conv1d": (Calls(lambda x: F.conv1d(x, ones(x, 6, 2, 3), stride=2, groups=2)), (2, 4, 9), 2 * 6 * 4 * (2 * 3)),
    "Conv2d": (nn.Conv2d(4, 6, (3, 2), padding=1, dilation=2), (2, 4, 9, 8), 2 * 6 * 7 * 8 * (4 * 3 * 2)),
    "Conv2d, depthwise": (nn.Conv2d(4, 8, 3, groups=4), (1, 4, 5, 5), 8 * 9 * 9),
    "Conv2d, unbatched": (nn.Conv2d(4, 8, 3), (4, 5, 5), 8 * 9 * (4 * 9)),
    "ConvTranspose2d": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1), (2, 4, 5, 7), 2 * 4 * 5 * 7 * (6 * 9)),
    "ConvTranspose2d, groups": (nn.ConvTranspose2d(4, 6, (5, 4), groups=2), (1, 4, 3, 3), 4 * 9 * (3 * 20)),
    "ConvTranspose2d, more output": (
        nn.ConvTranspose2d(2, 3, 2, stride=2, output_padding=1), (1, 2, 3, 3), 2 * 9 * (3 * 4)
    ),
    "ConvTranspose2d, cropped": (
        nn.ConvTranspose2d(2, 3, 3, dilation=2, output_padding=1), (1, 2, 4, 4), 2 * 16 * (3 * 9)
    ),
    "MultiheadAttention": (
        Calls(lambda x, a: a(x, x, x)[0], nn.MultiheadAttention(12, 3, batch_first=True)), (2, 5, 12),
        2 * 5 * 4 * 12 * 12 + ATTENTION,
    ),
    "MultiheadAttention without weights": (
        Calls(lambda x, a: a(x, x, x, need_weights=False)[0], nn.MultiheadAttention(12, 3, batch_first=True)), (2, 5, 12),
        2 * 5 * 4 * 12 * 12 + ATTENTION,
    ),
    "attention": (Calls(attend), (2, 5, 12), ATTENTION),
    "attention, causal": (Calls(lambda x: attend(x, is_causal=True)), (2, 5, 12), ATTENTION),
    "attention, mask": (Calls(lambda x: attend(x, attn_mask=ones(x, 5, 5).tril() > 0)), (2, 5, 12), ATTENTION),
    "attention, widths": (
        Calls(lambda x: F.scaled_dot_product_attention(x[:, :, :4], x[:, :3, 4:8], x[:, :3, 6:])), (2, 5, 12),
        2 * (5 * 3 * 4 + 5 * 3 * 6),
    ),
    "PVT's feed-forward": (Calls(lambda x: feed(x)), (2, 12, 6), 2 * 12 * (6 * 24 + 24 * 9 + 24 * 6)),
    "@": (Calls(lambda x: x @ x.mT), (2, 3, 5), 2 * 3 * 3 * 5),
    "@, broadcast": (Calls(lambda x: x @ ones(x, 7, 1, 5, 4)), (2, 3, 5), 7 * 2 * 3 * 4 * 5),
    "@, vectors": (Calls(lambda x: x @ ones(x, 5)), (3, 5), 3 * 5),
    "mm": (Calls(lambda x: mg.mm(x, x.T)), (3, 5), 3 * 3 * 5),
    "bmm": (Calls(lambda x: mg.bmm(x, x.mT)), (2, 3, 5), 2 * 3 * 3 * 5),
    "mv": (Calls(lambda x: mg.mv(x, ones(x, 5))), (3, 5), 3 * 5),
    "dot": (Calls(lambda x: mg.dot(x, x)), (5,), 5),
    "addmm": (Calls(lambda x: mg.addmm(ones(x, 3), x, x.T, alpha=2, beta=3)), (3, 5), 3 * 3 * 5),
    "einsum": (Calls(lambda x: mg.einsum("bik,bjk->bij", x, x)), (2, 3, 5), 2 * 3 * 3 * 5),
    "einsum of three": (Calls(lambda x: mg.einsum("ik,jk,jl->il", x, x, x)), (3, 5), 3 * 3 * 5 + 3 * 3 * 5),
    "no product": (nn.Sequential(nn.LayerNorm(5), nn.GELU(), nn.ReLU(), nn.Dropout(0.5)), (2, 5), 0),
    "poolings": (nn.Sequential(nn.AvgPool2d(2), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(3)), (1, 2, 16, 16), 0),
}  # fmt: skip


@pytest.mark.parametrize("name", PRODUCTS)
def test_macs_of_what_is_run(name, device):
    """Layers and functions are run, and what their operations multiply is compared with the formula."""
    model, shape, count = PRODUCTS[name]
    try:
        model.to(device)
        with mg.device(device):
            found = summary(model, shape)
    finally:
        model.to("cpu")
    assert found.macs == found.rows[0].macs == count


def test_operations_that_multiply_are_counted():
    """Each name that is counted is an operation's, and is reported when the operation runs; the derivatives' products count too."""
    assert set(model_summary.PRODUCTS) <= set(REGISTRY)
    counts = Counter()

    def count(name, inputs, output, static):
        assert name in REGISTRY
        counts[name] += model_summary.macs(name, inputs, output)

    x, w = mg.ones(2, 4, 6, 6, requires_grad=True), mg.ones(3, 4, 3, 3, requires_grad=True)
    a, b = mg.ones(5, 4, requires_grad=True), mg.ones(3, 4, requires_grad=True)
    with mg.autograd.observe(count):
        y = F.conv2d(x, w)
        mg.grad(y.sum(), (x, w), create_graph=True)
        z = F.linear(a, b)
        mg.grad((z @ z.T).sum(), (a, b), create_graph=True)
    assert {name: n for name, n in counts.items() if n} == {
        "conv2d": 2 * 3 * 16 * 36,
        "conv2d_input": 2 * 3 * 16 * 36,
        "conv2d_weight": 2 * 3 * 16 * 36,
        "linear": 5 * 3 * 4 * 2,
        "linear_weight": 5 * 3 * 4,
        "matmul": 5 * 5 * 3 * 3,
    }
    assert model_summary.macs("add", (x, x), x) == 0


def test_fused_operations_show_their_parts():
    """What is fused of products is never reported whole, which would count for nothing."""
    fused = [name for name, op in REGISTRY.items() if getattr(op, "parts", False)]
    assert sorted(fused) == ["attention", "attention_weights", "conv_mlp"]
    names = []
    with mg.autograd.observe(lambda name, *_: names.append(name)):
        q = mg.ones(1, 2, 3, 4)
        REGISTRY["attention"](q, q, q, scale=0.5)
        REGISTRY["attention_weights"](q, q, scale=0.5)
        feed(mg.ones(1, 12, 4))
    assert not set(names) & set(fused) and {"matmul", "linear", "conv2d"} <= set(names)


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
