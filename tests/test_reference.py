"""Two small models against what the published implementations gave for them (`tests/reference`).

The same random weights, every bias and norm randomised too, are stored in the layouts of timm, of the original code and of
Hugging Face, beside a float64 run of timm and transformers, which agree on it to 3e-15: logits, stage maps, attention
maps, loss, gradients, and five AdamW steps. Differences are max |a - b| / max |b| for each tensor.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import minigrad as mg
from minigrad import models
from minigrad.interop import to_native
from minigrad.nn import functional as F

FOLDER = Path(__file__).parent / "reference"
TOLERANCE = {"float64": 1e-9, "float32": 5e-6}
RUNS = [("cpu", "float64"), ("cpu", "float32"), ("mlx", "float32")]


@pytest.fixture(params=["tiny_sr", "tiny_li_up"], scope="module")
def stored(request):
    """Name, configuration fields and stored results of one model."""
    about = json.loads((FOLDER / f"{request.param}.json").read_text())
    fields = {**about["config"], "img_size": (about["height"], about["width"])}
    fields["in_channels"] = fields.pop("in_chans")
    return request.param, fields, load_file(FOLDER / f"{request.param}.io.safetensors")


@pytest.fixture(params=RUNS, ids="-".join)
def where(request):
    """(device, dtype) of a run."""
    if request.param[0] == "mlx":
        pytest.importorskip("mlx.core", exc_type=ImportError)
    return request.param


def build(stored, where, layout="timm", **changes):
    """The model with a checkpoint's weights, and the stored input and labels. Only the number of heads has to be told."""
    name, fields, results = stored
    device, dtype = where
    told = {"num_heads": fields["num_heads"], "img_size": fields["img_size"], **changes}
    model = models.from_pretrained(FOLDER / f"{name}.{layout}.safetensors", **told)
    assert not model.training and model.config == models.PVTV2Config.from_dict(
        {**fields, "embed_norm_eps": 1e-6 if layout == "hf" else 1e-5, **changes}
    )
    x = mg.tensor(results["input"], dtype=dtype, device=device)
    return model.to(device, mg.dtypes.dtype(dtype)), x, mg.tensor(results["labels"], device=device)


def native(results, prefix):
    """The stored tensors of one kind under our parameters' names."""
    state = {key.removeprefix(prefix): v for key, v in results.items() if key.startswith(prefix)}
    return to_native({key: v for key, v in state.items() if key not in ("input", "loss")}, "original")


def difference(got, expected) -> float:
    got = got.numpy() if isinstance(got, mg.Tensor) else np.asarray(got)
    assert got.shape == expected.shape
    return np.abs(got - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("layout", ["timm", "orig", "hf"])
def test_outputs_and_gradients(stored, where, layout):
    model, x, labels = build(stored, where, layout, embed_norm_eps=1e-5)
    results, depths = stored[2], stored[1]["depths"]
    out = model(x.requires_grad_(), labels=labels, output_hidden_states=True, output_attentions=True)
    out.loss.backward()

    found = {"logits": (out.logits, results["logits"]), "loss": (out.loss.reshape(1), results["loss"])}
    found |= {f"stage{i}": (t, results[f"stage{i}"]) for i, t in enumerate(out.hidden_states, 1)}
    names = [f"attn{i}.{j}" for i, depth in enumerate(depths, 1) for j in range(depth)]
    found |= {name: (t, results[name]) for name, t in zip(names, out.attentions, strict=True)}
    found["grad.input"] = x.grad, results["grad.input"]
    gradients = native(results, "grad.")
    assert set(gradients) == {name for name, _ in model.named_parameters()}
    for name, p in model.named_parameters():
        got, expected = p.grad.numpy(), gradients[name]
        if name.endswith("kv.bias"):  # softmax doesn't see a shift of all keys: the first half's true gradient is 0
            half = len(got) // 2
            assert np.abs(got[:half]).max() < (1e-15 if where[1] == "float64" else 1e-6), name
            got, expected = got[half:], expected[half:]
        found[name] = got, expected
    differences = {name: difference(*pair) for name, pair in found.items()}
    assert {k: v for k, v in differences.items() if not v <= TOLERANCE[where[1]]} == {}


@pytest.mark.parametrize("layout", ["timm", "orig", "hf"])
def test_logits_with_one_epsilon_everywhere(stored, where, layout):
    """Hugging Face's model has ε = 1e-6 in every norm, and so has what its weights make here without being told."""
    model, x, _ = build(stored, where, layout, **({} if layout == "hf" else {"embed_norm_eps": 1e-6}))
    results = stored[2]
    with mg.no_grad():
        logits = model(x)
    assert difference(logits, results["hf_logits"]) <= TOLERANCE[where[1]]
    assert difference(logits, results["logits"]) > 3e-6  # which tells the two apart


def test_pooled_features_without_a_classifier(stored):
    model, x, _ = build(stored, ("cpu", "float64"), num_classes=0)
    with mg.no_grad():
        assert difference(model(x), stored[2]["features"]) <= 1e-9


def test_five_steps_of_adamw(stored, where):
    """Learning rate 1e-3, weight decay 0.05 on everything, label smoothing 0.1."""
    model, x, labels = build(stored, where)
    model.train()
    optimizer = mg.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), labels, label_smoothing=0.1)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    expected = stored[2]["adamw.loss"]
    assert np.abs(losses / expected - 1).max() <= TOLERANCE[where[1]]
    if where[1] == "float64":
        weights = native(stored[2], "adamw.")
        assert set(weights) == {name for name, _ in model.named_parameters()}
        differences = {name: difference(p, weights[name]) for name, p in model.named_parameters()}
        assert {k: v for k, v in differences.items() if not v <= 1e-9} == {}
