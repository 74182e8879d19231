"""Graphs of models and of the tape: what is in them, and that their pictures are sound."""

import gc
import json
import random
import re
import weakref
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import minigrad as mg
from minigrad import models, nn
from minigrad.cli import main
from minigrad.nn import functional as F
from minigrad.visual import autograd_graph, module_graph
from minigrad.visual.drawing.layout import arrange
from minigrad.visual.drawing.picture import Shape
from minigrad.visual.drawing.svg import node_shape, text_width

REFERENCE = Path(__file__).parent / "reference" / "lucid_pvt_v2_b0.json"
KINDS = {"Block": "_Block_V2", "Attention": "_LSRAttention", "ConvMLP": "_ConvMLP"}  # ours: the page's


@pytest.fixture(scope="module")
def b0():
    return module_graph(models.pvt_v2_b0(), (1, 3, 224, 224), depth=3)


def flow(graph):
    """The edges by what the nodes are called: a module's name, or an operation's."""

    def label(key):
        return graph.nodes[key].name or graph.nodes[key].heading

    return [(label(a), label(b)) for a, b in graph.edges]


def listed(graph):
    """Heading and shape of each node, in order."""
    return [(node.heading, node.shape) for node in graph.nodes.values()]


class Net(nn.Module):
    """A module from a function of itself and its input, with submodules given by keyword."""

    def __init__(self, function, **parts):
        vars(self).update(parts)
        self.function = function

    def forward(self, *inputs):
        return self.function(self, *inputs)


# --- the reference ----------------------------------------------------------------------------------------------------


def test_layers_shapes_and_folds_are_those_of_lucids_page(b0):
    """The page lists a module once; a module that runs twice (drop_path in each half of a block) counts where it ran first."""
    found, inside, seen = [], {None: []}, set()
    inside[None] = found
    for key in b0.order():
        if key in b0.clusters:
            cluster = b0.clusters[key]
            inside[key] = inside[cluster.parent]
            if cluster.times > 1:
                group = {"times": cluster.times, "kind": KINDS.get(cluster.kind, cluster.kind), "layers": []}
                inside[cluster.parent].append(group)
                inside[key] = group["layers"]
            continue
        node = b0.nodes[key]
        if node.kind in ("Input", "Output"):
            found.append({"kind": node.kind, "shape": list(node.shape)})
        elif node.name and node.name not in seen:
            assert node.times == 1
            seen.add(node.name)
            shapes = {"in": list(node.inputs[0]), "out": list(node.shape)}
            inside[node.parent].append({"kind": KINDS.get(node.kind, node.kind), **shapes})

    def stated(layers, page):
        """Our layers with only those shapes that the page states."""
        assert len(layers) == len(page)
        result = []
        for ours, theirs in zip(layers, page, strict=True):
            ours = {name: value for name, value in ours.items() if name in theirs}
            if "layers" in theirs:
                ours["layers"] = stated(ours["layers"], theirs["layers"])
            result.append(ours)
        return result

    page = json.loads(REFERENCE.read_text("utf-8"))["layers"]
    assert stated(found, page) == page
    assert sum("in" in layer for layer in page) == 5 and sum("times" in layer for layer in page) == 4


def test_the_flow_of_a_stage_of_b0(b0):
    block = "stages.1.blocks.0."
    expected = [
        ("stages.0.norm", "stages.1.downsample.proj"),
        ("stages.1.downsample.proj", "stages.1.downsample.norm"),
        ("stages.1.downsample.norm", block + "norm1"),
        (block + "norm1", block + "attn"),
        (block + "attn", block + "drop_path"),
        ("stages.1.downsample.norm", "+"),
        (block + "drop_path", "+"),
        ("+", block + "norm2"),
        (block + "norm2", block + "mlp"),
        (block + "mlp", block + "drop_path"),
        ("+", "+"),
        (block + "drop_path", "+"),
        ("+", "stages.1.norm"),
    ]
    edges = flow(b0)
    start = edges.index(expected[0])
    assert edges[start : start + len(expected)] == expected
    assert [node.kind for node in b0.nodes.values()].count("add") == 8


def test_depths_of_b0():
    model = models.pvt_v2_b0()
    assert listed(module_graph(model, (1, 3, 64, 64), 0)) == [
        ("Input", (1, 3, 64, 64)), ("PVT_V2", (1, 1000)), ("Output", (1, 1000)),
    ]  # fmt: skip
    one = module_graph(model, (2, 3, 64, 96), 1)
    assert not one.clusters
    assert listed(one)[1:-1] == [
        ("OverlapPatchEmbed", (2, 384, 32)), ("Stage", (2, 32, 16, 24)), ("Stage", (2, 64, 8, 12)),
        ("Stage", (2, 160, 4, 6)), ("Stage", (2, 256, 2, 3)), ("mean", (2, 256)), ("Linear", (2, 1000)),
    ]  # fmt: skip
    two = module_graph(model, (1, 3, 64, 64), 2)
    assert [n.lines[0] for n in two.nodes.values() if n.times == 2] == ["blocks.0–1"] * 4
    assert [n.heading for n in two.nodes.values() if n.times == 2] == ["Block × 2"] * 4
    whole = flow(module_graph(model, (1, 3, 64, 64)))
    attention = "stages.0.blocks.0.attn."
    assert {(attention + "sr", attention + "norm"), (attention + "norm", attention + "kv")} < set(whole)
    behind = {
        b for a, b in whole if a in (attention + "q", attention + "kv")
    }  # how attention is computed is the backend's
    assert behind and attention + "proj" not in behind


def test_default_shape_is_the_models():
    graph = module_graph(models.pvt_v2_tiny(in_channels=1), depth=1)
    assert listed(graph)[0] == ("Input", (1, 1, 32, 32))
    assert str(graph).splitlines()[0] == "PVT_V2: 1×1×32×32 → 1×1000"


@pytest.mark.parametrize("name", ["pvt_v2_tiny", "pvt_v2_b2_li"])
def test_same_graph_on_both_devices(name, device):
    fields = dict(img_size=64, embed_dims=(8, 16, 40, 32), depths=(1, 2, 1, 1)) if name != "pvt_v2_tiny" else {}
    model = models.create_model(name, **fields)
    expected = module_graph(model, (1, 3, 64, 64), 3).mermaid()
    assert module_graph(model.to(device), (1, 3, 64, 64), 3).mermaid() == expected


# --- the flow ---------------------------------------------------------------------------------------------------------


def test_handed_on_tensors_are_told_from_the_original():
    """The shortcut takes x itself, the branch what Identity handed on: the same values, and two ways."""
    out = ("+", "Output")
    net = Net(lambda self, x: self.b(self.i(x)) + x, i=nn.Identity(), b=nn.Linear(4, 4))
    assert flow(module_graph(net, (1, 4))) == [("Input", "i"), ("i", "b"), ("b", "+"), ("Input", "+"), out]
    net = Net(lambda self, x: self.b(x) + self.i(x), i=nn.Identity(), b=nn.Linear(4, 4))
    assert flow(module_graph(net, (1, 4))) == [("Input", "b"), ("Input", "i"), ("b", "+"), ("i", "+"), out]


def test_operations_between_modules():
    net = Net(lambda self, x: self.b(F.relu(self.a(x)).reshape(2, 2) * 0.5), a=nn.Linear(4, 4), b=nn.Linear(2, 3))
    graph = module_graph(net, (1, 4))
    assert flow(graph) == [("Input", "a"), ("a", "relu"), ("relu", "× 0.5"), ("× 0.5", "b"), ("b", "Output")]
    net = Net(lambda self, x: self.a(F.max_pool2d(x, 2)), a=nn.Conv2d(1, 2, 1))
    assert listed(module_graph(net, (1, 1, 4, 6)))[1] == ("max pool", (1, 1, 2, 3))


def test_parameters_and_constants_are_no_flow():
    def forward(self, x):
        x = self.a(x) + self.position
        return self.a(x) * mg.ones(4) - (self.position * 2).tanh()

    net = Net(forward, a=nn.Linear(4, 4), position=nn.Parameter(mg.zeros(4)))
    assert flow(module_graph(net, (1, 4))) == [
        ("Input", "a"), ("a", "+ position"), ("+ position", "a"), ("a", "mul"), ("mul", "sub"), ("sub", "Output"),
    ]  # fmt: skip


def test_detached_unused_and_opaque():
    def forward(self, x):
        self.unused(x).sum()
        y = self.a(x).detach()
        return self.b(y) + self.host(x)

    class Host(nn.Module):
        def forward(self, x):
            return mg.tensor(np.asarray(x) * 2)

    net = Net(forward, a=nn.Linear(4, 5), b=nn.Linear(5, 4), unused=nn.Linear(4, 4), host=Host())
    assert flow(module_graph(net, (1, 4))) == [
        ("Input", "unused"), ("Input", "a"), ("a", "b"), ("Input", "host"), ("b", "+"), ("host", "+"), ("+", "Output"),
    ]  # fmt: skip


def test_several_inputs_and_outputs():
    def forward(self, tokens, image):
        x = self.table(tokens)
        return {"tokens": x, "image": (self.a(image), x.mean(1))}

    net = Net(forward, table=nn.Embedding(5, 8), a=nn.Linear(3, 3))
    graph = module_graph(net, (mg.zeros(1, 6, dtype=mg.int64), (2, 3)))
    assert listed(graph) == [
        ("Input 1", (1, 6)), ("Input 2", (2, 3)), ("Embedding", (1, 6, 8)), ("Linear", (2, 3)), ("mean", (1, 8)),
        ("Output tokens", (1, 6, 8)), ("Output image.0", (2, 3)), ("Output image.1", (1, 8)),
    ]  # fmt: skip
    assert flow(graph) == [
        ("Input 1", "table"), ("Input 2", "a"), ("table", "mean"),
        ("table", "Output tokens"), ("a", "Output image.0"), ("mean", "Output image.1"),
    ]  # fmt: skip
    assert module_graph(net.table, mg.zeros(1, 6, dtype=mg.int64)).nodes["n0"].shape == (1, 6, 8)


def test_passing_through_containers():
    net = nn.Sequential(nn.Sequential(), nn.Sequential(nn.Identity(), nn.Identity()), nn.Flatten())
    graph = module_graph(net, (1, 2, 3))
    assert flow(graph) == [("Input", "0"), ("0", "1.0"), ("1.0", "2"), ("2", "Output")]
    assert [c.heading for c in graph.clusters.values()] == ["Sequential"] and [
        n.times for n in graph.nodes.values()
    ] == [1, 1, 2, 1, 1]


# --- repeats ----------------------------------------------------------------------------------------------------------


def folds(function, *inputs, **parts):
    graph = module_graph(Net(function, **parts), *(inputs or [(1, 4)]))
    return {item.lines[0] if item in graph.nodes.values() else item.name: item.times
            for item in [*graph.nodes.values(), *graph.clusters.values()] if item.times > 1}  # fmt: skip


def chain(self, x):
    for layer in self.layers:
        x = layer(x)
    return x


def test_what_folds():
    def linears(*sizes):
        return [nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False)]

    assert folds(chain, layers=linears(4, 4, 4, 4)) == {"layers.0–2": 3}
    assert folds(chain, layers=linears(4, 4, 5, 5, 5, 4)) == {"layers.2–3": 2}  # 0 is 4→4, 1 is 4→5
    assert folds(chain, layers=[nn.Linear(4, 4), nn.Linear(4, 4, bias=False)]) == {}
    assert folds(chain, layers=[nn.ReLU(), nn.GELU()]) == {}
    assert folds(lambda self, x: self.a(self.a(self.a(x))), a=nn.Linear(4, 4)) == {"a": 3}
    assert folds(lambda self, x: self.b(self.a(x)), a=nn.Linear(4, 4), b=nn.Linear(4, 4)) == {"a–b": 2}

    def middle_used(self, x):
        y = self.layers[0](x)
        return self.layers[1](y) + y

    assert folds(middle_used, layers=linears(4, 4, 4)) == {}
    assert folds(lambda self, x: self.layers[0](x) + self.layers[1](x), layers=linears(4, 4, 4)) == {}
    assert folds(lambda self, x: self.layers[1](self.layers[0](x).relu()), layers=linears(4, 4, 4)) == {}


def test_folding_of_blocks_with_a_context():
    """Blocks that all look at the same memory fold; one that looks at another doesn't."""

    def block():
        return Net(lambda self, x, m: x + self.b(self.a(x) * m), a=nn.Linear(4, 4), b=nn.Linear(4, 4))

    def forward(self, x):
        m = self.memory(x)
        for layer in self.blocks:
            x = layer(x, m)
        return self.blocks[0](x, x)

    blocks = [block() for _ in range(3)]
    graph = module_graph(Net(forward, memory=nn.Linear(4, 4), blocks=blocks), (1, 4))
    assert [(c.name, c.times) for c in graph.clusters.values()] == [("blocks.0–2", 3), ("blocks.0", 1)]
    first, second = graph.clusters
    assert [(a, b) for a, b in graph.edges if graph.nodes[b].parent == second and graph.nodes[a].parent == first] != []
    assert flow(graph).count(("memory", "×")) == 1


# --- what a run leaves behind -----------------------------------------------------------------------------------------


def test_the_model_is_as_before():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.BatchNorm1d(4))
    model[1].eval()
    before = {name: t.numpy().copy() for name, t in model.state_dict().items()}
    module_graph(model, (3, 4))
    assert model.training and not model[1].training and model[2].training
    assert not any("forward" in vars(module) for module in model.modules())
    assert all((before[name] == t.numpy()).all() for name, t in model.state_dict().items())
    with pytest.raises(ValueError, match="4"):
        module_graph(model, (3, 5))
    assert model.training and not any("forward" in vars(module) for module in model.modules())


def test_nothing_is_kept_alive():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.ReLU())
    x = mg.zeros(2, 4)
    parts = [weakref.ref(model), weakref.ref(model[0].weight), weakref.ref(x)]
    gc.collect()
    gc.disable()
    try:
        graph = module_graph(model, x)
        del model, x
        assert [part() for part in parts] == [None] * 3
    finally:
        gc.enable()
    assert graph.svg()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((None,), "give input_shape"), (((1, 0),), "positive integers"), (((1, 4), -1), "from 0 on, .* got -1")],
)
def test_mistakes(arguments, words):
    with pytest.raises(ValueError, match=words):
        module_graph(nn.Linear(4, 4), *arguments)
    with pytest.raises(TypeError, match="got function"):
        module_graph(lambda x: x, (1, 4))


# --- the tape ---------------------------------------------------------------------------------------------------------


def test_expression(device):
    with mg.device(device):
        x, w, b = mg.ones(2, 3), mg.ones(3, requires_grad=True), mg.ones(1, requires_grad=True)
    loss = (x * w + b).tanh().sum()
    lines = str(autograd_graph(loss, x=x, w=w, b=b, loss=loss)).splitlines()
    assert [re.sub(" +", " ", line) for line in lines] == [
        "x 2×3 constant", "w 3 leaf", "mul 2×3 ← x, w saved: x (2×3)", "b 1 leaf", "add 2×3 ← mul, b saved: nothing",
        "tanh 2×3 ← add saved: its output (2×3)", "sum scalar ← tanh saved: shapes only", "loss scalar ← sum",
    ]  # fmt: skip


def test_diamond_and_shared_nodes():
    v = mg.ones(3, requires_grad=True)
    a = v.exp()
    graph = autograd_graph((a * a.sin() + a).sum(), v=v, a=a)
    headings = [(graph.nodes[p].heading, graph.nodes[q].heading) for p, q in graph.edges]
    assert headings == [
        ("v", "exp"), ("exp", "sin"), ("exp", "mul"), ("sin", "mul"), ("mul", "add"), ("exp", "add"), ("add", "sum"),
        ("sum", "Output"),
    ]  # fmt: skip
    assert [n.lines for n in graph.nodes.values() if n.heading == "exp"] == [("3", "= a", "saved: a (3)")]
    square = autograd_graph(v * v)
    assert len(square.edges) == 2 and "saved: a leaf (3)" in str(square)


def test_modules_fused_split_and_checkpoint(device):
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6)).to(device)
    x = mg.ones(2, 4, device=device)
    parts = mg.split(model(x), 3, 1)
    text = str(autograd_graph((parts[0] * parts[1]).sum(), x=x, **dict(model.named_parameters())))
    assert re.search(r"linear +2×6 +← x, 0.weight, 0.bias +saved: x \(2×4\)\n", text)
    assert re.search(r"split +2×3, 2×3 +← ", text)
    if device == "cpu":
        assert re.search(
            r"layer_norm +2×6 +← linear, 1.weight, 1.bias +saved: output of linear \(2×6\), 1.weight \(6\)", text
        )
    u = mg.autograd.checkpoint(model, x.requires_grad_())
    text = str(autograd_graph(u.sum(), x=x, **dict(model.named_parameters())))
    assert re.search(r"linear +2×6 +← clone, 0.weight, 0.bias +saved: nothing, computed again in backward\n", text)
    assert re.search(r"clone +2×4 +← x +saved: nothing\n", text)


def test_backward_works_as_before():
    def loss(w):
        return (w * w.exp()).sum()

    w, other = mg.ones(3, requires_grad=True), mg.ones(3, requires_grad=True)
    drawn = loss(w)
    graph = autograd_graph(drawn, w=w)
    drawn.backward()
    loss(other).backward()
    assert w.grad.tolist() == other.grad.tolist()
    with pytest.raises(ValueError, match="freed by a backward"):
        autograd_graph(drawn)
    assert "exp" in graph.svg()


def test_a_picture_keeps_no_tape():
    w = mg.ones(3, requires_grad=True)
    y = w.exp().sum()
    parts = [weakref.ref(w), weakref.ref(y.grad_fn), weakref.ref(y)]
    gc.disable()
    try:
        graph = autograd_graph(y, w=w, y=y)
        del w, y
        assert [part() for part in parts] == [None] * 3
    finally:
        gc.enable()
    assert len(graph.nodes) == 4


def test_no_tape():
    w = mg.ones(2, requires_grad=True)
    for tensor in (w, mg.ones(2) + 1, (w * 2).detach()):
        with pytest.raises(ValueError, match="is on no tape"):
            autograd_graph(tensor)
    with pytest.raises(TypeError, match="got float for 'w'"):
        autograd_graph(w * 2, w=1.0)
    for _ in range(1001):
        w = w + 1
    with pytest.raises(ValueError, match="more than 1000 operations"):
        autograd_graph(w)


# --- the drawing ------------------------------------------------------------------------------------------------------


def bezier(start, segment, t):
    points = [start, *segment]
    while len(points) > 1:
        points = [
            (a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])) for a, b in zip(points, points[1:], strict=False)
        ]
    return points[0]


def path(line):
    """Points along a line."""
    start, points = line.start, [line.start]
    for segment in line.segments:
        points += [bezier(start, segment, i / 12) for i in range(1, 13)]
        start = segment[-1]
    return points


def check_picture(shapes, parents, edges):
    """Boxes lie side by side and inside their clusters, no line crosses a node, and every edge comes to an arrow."""
    picture = arrange(shapes, parents, edges)
    boxes = picture.boxes
    assert set(boxes) == set(shapes)

    def ancestors(key):
        while key is not None:
            yield key
            key = parents[key]

    for key, (x, y, width, height) in boxes.items():
        assert x > -0.1 and y > -0.1 and x + width < picture.width + 0.1 and y + height < picture.height + 0.1
        if parents[key] is not None:
            px, py, p_width, p_height = boxes[parents[key]]
            assert px < x and py + shapes[parents[key]].height < y and x + width < px + p_width
            assert y + height < py + p_height
        for other, (ox, oy, o_width, o_height) in boxes.items():
            if key < other and key not in ancestors(other) and other not in ancestors(key):
                assert x + width < ox or ox + o_width < x or y + height < oy or oy + o_height < y
    leaves = {key: box for key, box in boxes.items() if key not in parents.values()}
    for line in picture.lines:
        for px, py in path(line):
            for x, y, width, height in leaves.values():
                assert not (x + 1 < px < x + width - 1 and y + 1 < py < y + height - 1)
    arrows = [line.segments[-1][-1] for line in picture.lines if line.arrow]
    assert len(arrows) == len(set(edges))
    ends = [line.segments[-1][-1] for line in picture.lines]
    for line in picture.lines:
        sx, sy = line.start
        below = any(abs(sy - y - height) < 1 and x < sx < x + width for x, y, width, height in leaves.values())
        assert below or any(abs(sx - ex) < 1 and abs(sy - ey) < 1 for ex, ey in ends), "a line starts in the air"
    return picture


@pytest.mark.parametrize("seed", range(40))
def test_layout_of_random_graphs(seed):
    rng = random.Random(seed)
    shapes, parents, edges, order = {}, {}, [], []
    around = [None]  # the clusters that are open
    for i in range(rng.randrange(1, 26)):
        while rng.random() < 0.25 and len(around) < 4:
            cluster = f"c{len(shapes)}"
            shapes[cluster], parents[cluster] = Shape(rng.randrange(20, 150), 36, stack=rng.choice([0, 4])), around[-1]
            around.append(cluster)
        round_ = rng.random() < 0.2
        size = (22, 22) if round_ else (rng.randrange(30, 160), rng.randrange(25, 70))
        shapes[f"n{i}"], parents[f"n{i}"] = Shape(*size, round=round_), around[-1]
        recent = order[-3:] if rng.random() < 0.8 else order
        edges += [(source, f"n{i}") for source in rng.sample(recent, min(len(recent), rng.randrange(0, 4)))]
        order.append(f"n{i}")
        while rng.random() < 0.3 and len(around) > 1:
            around.pop()
    check_picture(shapes, parents, edges)


def test_a_residual_block_stands_straight_with_its_bypass_beside():
    names = ["norm", "attention", "plus", "norm2", "mlp", "plus2"]
    shapes = {n: Shape(22, 22, round=True) if "plus" in n else Shape(60 + 7 * i, 40) for i, n in enumerate(names)}
    edges = [*zip(names, names[1:], strict=False), ("norm", "plus"), ("plus", "plus2")]
    picture = check_picture(shapes, dict.fromkeys(names), edges)
    middles = {round(x + width / 2, 1) for x, _, width, _ in picture.boxes.values()}
    assert len(middles) == 1
    skips = [line for line in picture.lines if line.skip]
    assert [line.arrow for line in skips if line.arrow] == [(-1.0, 0.0)] * 2
    columns = {round(line.segments[-1][-1][0], 1) for line in skips if not line.arrow}
    assert len(columns) <= 2 and min(columns) > middles.pop() + 40


def test_diamond_is_symmetric():
    shapes = {name: Shape(50, 30) for name in "abcd"}
    boxes = check_picture(shapes, dict.fromkeys("abcd"), [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]).boxes
    assert abs(boxes["a"][0] - (boxes["b"][0] + boxes["c"][0]) / 2) < 0.5 and abs(boxes["a"][0] - boxes["d"][0]) < 0.5


def test_tall_pictures_have_columns():
    names = [f"n{i}" for i in range(40)]
    edges = list(zip(names, names[1:], strict=False))
    picture = check_picture({n: Shape(80, 40) for n in names}, dict.fromkeys(names), edges)
    assert 0.6 < picture.width / picture.height < 3
    inside = {"box": Shape(60, 36), **{n: Shape(80, 40) for n in names}}
    picture = check_picture(inside, {"box": None, **dict.fromkeys(names, "box")}, edges)
    assert 0.6 < picture.width / picture.height < 3


def test_texts_fit():
    """Estimated widths hold for DejaVu Sans, one of the widest fonts in use."""
    matplotlib = pytest.importorskip("matplotlib")
    from PIL import ImageFont

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    texts = [
        "OverlapPatchEmbed",
        "1×3136×1024",
        "stages.0.blocks.0–39",
        "ConvMLP × 40",
        "MMMM",
        "iiii",
        "saved: a (2×3)",
    ]
    for name, bold in (("DejaVuSans.ttf", False), ("DejaVuSans-Bold.ttf", True)):
        font = ImageFont.truetype(str(folder / name), 100)
        for text in texts:
            assert font.getlength(text) <= text_width(text, 100, bold) < 1.5 * font.getlength(text)


def test_svg_is_sound(b0):
    text = b0.svg()
    assert text == b0.svg() == b0._repr_svg_()
    root = ElementTree.fromstring(text)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags <= {"svg", "g", "title", "rect", "circle", "path", "polygon", "text"}
    assert not re.search(r"url\(|href|<style|<script|@import| id=", text)
    words = [element.text for element in root.iter() if element.tag.endswith("text")]
    for node in b0.nodes.values():
        assert node.look == "round" or node.heading in words and set(node.lines) <= set(words)
    assert words.count("Block × 2") == 4
    assert node_shape(b0.nodes["i0"]).width > text_width("1×3×224×224", 10.5)


def test_mermaid_is_sound(b0):
    lines = b0.mermaid().splitlines()
    assert lines[0] == "flowchart TB"
    declared = re.findall(r"^ +(\w+)[\[(]+\"", b0.mermaid(), flags=re.MULTILINE)
    assert declared == list(b0.nodes) and len(set(declared)) == len(declared)
    assert [line.strip() for line in lines].count("end") == len(b0.clusters) == 12
    assert [tuple(line.split(" --> ")) for line in map(str.strip, lines) if "-->" in line] == b0.edges
    classes = set(re.findall(r":::(\w+)", b0.mermaid()))
    assert classes == set(re.findall(r"classDef (\w+)", b0.mermaid()))


def test_names_are_only_text():
    """What a class is called can't end its label, begin a tag or become markup."""
    name = 'A"]<b>&#35; `x` *y* _z_'
    kind = type(name, (nn.Linear,), {})
    graph = module_graph(nn.Sequential(kind(4, 4), nn.ReLU()), (1, 4))
    root = ElementTree.fromstring(graph.svg())
    assert name in [element.text for element in root.iter() if element.tag.endswith("text")]
    label = re.search(r'n1\["(.*)"\]', graph.mermaid())[1].replace("<br/>", "")
    assert not re.search(r'["<>&`*]', label) and "#34;" in label and "#60;b#62;" in label


def test_save(tmp_path, b0):
    b0.save(tmp_path / "graph.svg")
    b0.save(str(tmp_path / "graph.MMD"))
    assert (tmp_path / "graph.svg").read_text("utf-8") == b0.svg()
    assert (tmp_path / "graph.MMD").read_text("utf-8") == b0.mermaid()
    with pytest.raises(ValueError, match="ends in neither"):
        b0.save(tmp_path / "graph.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["graph.MMD", "graph.svg"]


# --- the command ------------------------------------------------------------------------------------------------------


def test_command(capsys, tmp_path):
    model = models.create_model("pvt_v2_tiny", img_size=64)
    graph = module_graph(model, depth=2)
    assert main(["graph", "pvt_v2_tiny", "--depth", "2", "--image-size", "64"]) == 0
    assert capsys.readouterr().out == f"{graph}\n"
    assert main(["graph", "pvt_v2_tiny", "--depth", "2", "--image-size", "64", "--format", "mermaid"]) == 0
    assert capsys.readouterr().out == graph.mermaid()
    for name, text in (("a.svg", graph.svg()), ("a.mmd", graph.mermaid()), ("a.txt", f"{graph}\n")):
        assert main(["graph", "pvt_v2_tiny", "--depth=2", "--image-size=64", "-o", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_text("utf-8") == text
    assert capsys.readouterr().out == ""


def test_the_pictures_in_the_documentation_are_current(b0):
    """Written by: python -m minigrad graph pvt_v2_b0 --depth 2 -o docs/images/pvt_v2_b0.svg, and so on."""
    x, w, b = mg.ones(4, 3), mg.ones(3, requires_grad=True), mg.zeros(1, requires_grad=True)
    loss = (x * w + b).tanh().sum()
    pictures = {
        "pvt_v2_b0.svg": module_graph(models.pvt_v2_b0(), depth=2),
        "pvt_v2_b0_depth3.svg": b0,
        "tape.svg": autograd_graph(loss, loss=loss, x=x, w=w, b=b),
    }

    def texts(svg):
        return [e.text for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("text")]

    for name, graph in pictures.items():
        stored = (Path(__file__).parents[1] / "docs" / "images" / name).read_text("utf-8")
        assert texts(stored) == texts(graph.svg()), name
