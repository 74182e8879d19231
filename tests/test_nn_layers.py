"""Every layer against its formula in numpy float64, its state's names, its start, its errors."""

import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

rng = np.random.default_rng(0)


def options(device):
    """The most precise dtype of a device."""
    return {"device": device, "dtype": "float64" if device == "cpu" else "float32"}


def tensor(array, device):
    return mg.tensor(np.asarray(array), **options(device))


def f64(t):
    return t.detach().numpy().astype(np.float64)


def close(t, expected, device):
    expected = np.asarray(expected)
    assert t.shape == expected.shape
    np.testing.assert_allclose(
        f64(t), expected, **({"rtol": 1e-11, "atol": 1e-12} if device == "cpu" else {"rtol": 2e-5, "atol": 1e-5})
    )


def randomize(module):
    """Other values than ones and zeros in every parameter."""
    for p in module.parameters():
        nn.init.uniform_(p, -1, 1)
    return module


# --- linear, embedding, flatten ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)])
def test_linear(device, shape):
    layer, x = nn.Linear(4, 5, **options(device)), rng.normal(size=shape)
    close(layer(tensor(x, device)), x @ f64(layer.weight).T + f64(layer.bias), device)
    bare = nn.Linear(4, 5, bias=False, **options(device))
    assert bare.bias is None
    close(bare(tensor(x, device)), x @ f64(bare.weight).T, device)


def test_flatten_and_identity():
    x = mg.zeros(2, 3, 4, 5)
    assert nn.Flatten()(x).shape == (2, 60) and nn.Flatten(0, 1)(x).shape == (6, 4, 5)
    assert nn.Identity(3, unused=True)(x) is x


def test_embedding(device):
    layer = nn.Embedding(6, 3, padding_idx=-2, device=device)
    index = np.array([[0, 4], [4, 5], [0, 1]])
    close(layer(mg.tensor(index, device=device)), f64(layer.weight)[index], device)
    assert not f64(layer.weight)[4].any() and f64(layer.weight)[[0, 1, 2, 3, 5]].all()
    layer(mg.tensor(index, device=device)).sum().backward()
    np.testing.assert_array_equal(f64(layer.weight.grad)[:, 0], [2, 1, 0, 0, 0, 1])  # nothing for the padding row
    with pytest.raises(ValueError, match="padding_idx=6"):
        nn.Embedding(6, 3, padding_idx=6)


# --- convolution ------------------------------------------------------------------------------------------------------


def conv2d(x, w, b, stride, padding, dilation, groups):
    """The definition, in loops."""
    x = np.pad(x, ((0, 0), (0, 0), *padding))
    n, _, h, width = x.shape
    out, per, kh, kw = w.shape
    rows = (h - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    columns = (width - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((n, out, rows, columns))
    for o in range(out):
        first = o // (out // groups) * per
        for i in range(rows):
            for j in range(columns):
                r, s = i * stride[0], j * stride[1]
                window = x[
                    :,
                    first : first + per,
                    r : r + dilation[0] * kh : dilation[0],
                    s : s + dilation[1] * kw : dilation[1],
                ]
                y[:, o, i, j] = (window * w[o]).sum((1, 2, 3)) + b[o]
    return y


@pytest.mark.parametrize(
    ("options_", "padding"),
    [
        ({"kernel_size": 3}, ((0, 0), (0, 0))),
        ({"kernel_size": 3, "stride": 2, "padding": 1}, ((1, 1), (1, 1))),
        ({"kernel_size": (3, 2), "stride": (1, 2), "padding": (2, 0)}, ((2, 2), (0, 0))),
        ({"kernel_size": 3, "dilation": 2, "groups": 2, "padding": 2}, ((2, 2), (2, 2))),
        ({"kernel_size": (3, 4), "padding": "same"}, ((1, 1), (1, 2))),
        ({"kernel_size": 3, "padding": "same", "dilation": 2}, ((2, 2), (2, 2))),
        ({"kernel_size": 2, "padding": "valid", "stride": 3}, ((0, 0), (0, 0))),
        ({"kernel_size": 3, "groups": 4, "padding": 1}, ((1, 1), (1, 1))),
    ],
)
def test_conv2d(device, options_, padding):
    layer = nn.Conv2d(4, 8, **options_, **options(device))
    x = rng.normal(size=(2, 4, 7, 8))
    expected = conv2d(x, f64(layer.weight), f64(layer.bias), layer.stride, padding, layer.dilation, layer.groups)
    close(layer(tensor(x, device)), expected, device)
    close(layer(tensor(x[0], device)), expected[0], device)  # without the batch axis


@pytest.mark.parametrize(
    "options_",
    [{}, {"stride": 2, "padding": 1}, {"stride": 3, "output_padding": 2}, {"groups": 2, "dilation": 2, "stride": 2}],
)
def test_conv_transpose2d_is_the_adjoint_of_conv2d(device, options_):
    up = nn.ConvTranspose2d(4, 6, 3, bias=False, **options_, **options(device))
    x = rng.normal(size=(2, 4, 5, 4))
    y = up(tensor(x, device))
    down = {name: value for name, value in options_.items() if name != "output_padding"}
    z = rng.normal(size=y.shape)
    back = nn.functional.conv2d(tensor(z, device), up.weight, **down)
    assert back.shape == x.shape
    left, right = (f64(y) * z).sum(), (f64(back) * x).sum()
    assert left == pytest.approx(right, rel=1e-10 if device == "cpu" else 1e-3)


def test_conv_transpose2d_output_size_and_bias(device):
    up = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, **options(device))
    x = tensor(rng.normal(size=(1, 2, 4, 4)), device)
    assert up(x).shape == (1, 3, 7, 7) and up(x, output_size=(8, 7)).shape == (1, 3, 8, 7)
    assert up(x, output_size=(1, 3, 8, 8)).shape == (1, 3, 8, 8)
    with pytest.raises(
        ValueError, match=r"output_size \(9, 7\) is out of reach, it must lie between \(7, 7\) and \(8, 8\)"
    ):
        up(x, output_size=(9, 7))
    zero = f64(up(tensor(np.zeros((1, 2, 4, 4)), device)))
    np.testing.assert_allclose(zero, np.broadcast_to(f64(up.bias)[:, None, None], zero.shape))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": 2}, "groups=2 must divide in_channels=3 and out_channels=4"),
        ({"padding_mode": "reflect"}, "padding_mode is 'zeros' only"),
        ({"padding": "full"}, "'same' or 'valid', got 'full'"),
        ({"padding": "same", "stride": 2}, "padding='same' needs stride 1"),
        ({"stride": (1, 2, 3)}, "stride must be an int or two ints"),
    ],
)
def test_conv2d_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        nn.Conv2d(3, 4, 3, **arguments)


# --- normalisation ----------------------------------------------------------------------------------------------------


def normalize(x, axes, eps):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def test_layer_norm(device):
    x = rng.normal(size=(3, 4, 5)) * 3 + 1
    layer = randomize(nn.LayerNorm((4, 5), eps=1e-3, **options(device)))
    close(layer(tensor(x, device)), normalize(x, (1, 2), 1e-3) * f64(layer.weight) + f64(layer.bias), device)
    close(nn.LayerNorm(5, elementwise_affine=False)(tensor(x, device)), normalize(x, 2, 1e-5), device)
    without = randomize(nn.LayerNorm(5, bias=False, **options(device)))
    assert without.bias is None
    close(without(tensor(x, device)), normalize(x, 2, 1e-5) * f64(without.weight), device)


@pytest.mark.parametrize("shape", [(3, 6), (3, 6, 5), (3, 6, 4, 2)])
def test_group_norm(device, shape):
    x = rng.normal(size=shape) * 3 + 1
    layer = randomize(nn.GroupNorm(2, 6, **options(device)))
    grouped = normalize(x.reshape(3, 2, -1), 2, 1e-5).reshape(shape)
    wide = (6,) + (1,) * (len(shape) - 2)
    close(layer(tensor(x, device)), grouped * f64(layer.weight).reshape(wide) + f64(layer.bias).reshape(wide), device)
    with pytest.raises(ValueError, match="num_channels=6 must be divisible by num_groups=4"):
        nn.GroupNorm(4, 6)


@pytest.mark.parametrize(("momentum", "rates"), [(0.1, (0.1, 0.1)), (None, (1.0, 0.5))])
def test_batch_norm2d(device, momentum, rates):
    layer = randomize(nn.BatchNorm2d(3, eps=1e-3, momentum=momentum, **options(device)))
    weight, bias = f64(layer.weight)[:, None, None], f64(layer.bias)[:, None, None]
    mean, var = np.zeros(3), np.ones(3)
    for rate in rates:
        x = rng.normal(size=(2, 3, 4, 5)) * 2 + 1
        close(layer(tensor(x, device)), normalize(x, (0, 2, 3), 1e-3) * weight + bias, device)
        mean = (1 - rate) * mean + rate * x.mean((0, 2, 3))
        var = (1 - rate) * var + rate * x.var((0, 2, 3), ddof=1)
    close(layer.running_mean, mean, device)
    close(layer.running_var, var, device)
    assert layer.num_batches_tracked.item() == 2 and layer.num_batches_tracked.dtype is mg.int64
    assert layer.num_batches_tracked.shape == ()
    assert type(layer.running_mean) is nn.Buffer and not layer.running_mean.requires_grad
    layer.eval()
    expected = (x - mean[:, None, None]) / np.sqrt(var[:, None, None] + 1e-3) * weight + bias
    close(layer(tensor(x, device)), expected, device)
    assert layer.num_batches_tracked.item() == 2


def test_batch_norm_variants(device):
    x = rng.normal(size=(4, 3, 2, 2))
    loose = nn.BatchNorm2d(3, track_running_stats=False, **options(device)).eval()
    assert list(loose.state_dict()) == ["weight", "bias"]
    close(loose(tensor(x, device)), normalize(x, (0, 2, 3), 1e-5), device)
    kept = nn.BatchNorm2d(3, **options(device))
    for module, flag in ((kept, False), (loose, True)):  # set later, as PyTorch has it
        before = {name: value.tolist() for name, value in module.state_dict().items()}
        module.track_running_stats = flag
        close(module.train()(tensor(x, device)), normalize(x, (0, 2, 3), 1e-5), device)
        assert {name: value.tolist() for name, value in module.state_dict().items()} == before
    close(kept.eval()(tensor(x, device)), x / np.sqrt(1 + 1e-5), device)
    close(loose.eval()(tensor(x, device)), normalize(x, (0, 2, 3), 1e-5), device)
    assert list(nn.BatchNorm2d(3, affine=False).state_dict()) == ["running_mean", "running_var", "num_batches_tracked"]
    close(nn.BatchNorm1d(3, **options(device))(tensor(x[..., 0], device)), normalize(x[..., 0], (0, 2), 1e-5), device)
    close(nn.BatchNorm1d(3, **options(device))(tensor(x[..., 0, 0], device)), normalize(x[..., 0, 0], 0, 1e-5), device)
    with pytest.raises(ValueError, match=r"BatchNorm2d takes 4 dimensions, got shape \(4, 3\)"):
        nn.BatchNorm2d(3)(mg.zeros(4, 3))


def test_the_statistics_that_were_saved_stay(device):
    layer = nn.BatchNorm2d(2, device=device)
    before = {name: t.clone() for name, t in layer.state_dict().items()}
    layer(mg.randn(2, 2, 3, 3, device=device) + 5)
    assert before["running_mean"].tolist() == [0, 0] and before["num_batches_tracked"].item() == 0


# --- pooling ----------------------------------------------------------------------------------------------------------


def test_pools(device):
    x = rng.normal(size=(2, 3, 6, 8))
    windows = x.reshape(2, 3, 3, 2, 4, 2)
    close(nn.AvgPool2d(2)(tensor(x, device)), windows.mean((3, 5)), device)
    close(nn.MaxPool2d(2)(tensor(x, device)), windows.max((3, 5)), device)
    close(nn.AdaptiveAvgPool2d(1)(tensor(x, device)), x.mean((2, 3), keepdims=True), device)
    close(nn.AdaptiveAvgPool2d((3, None))(tensor(x, device)), x.reshape(2, 3, 3, 2, 8).mean(3), device)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))[:, :, :8, :].reshape(2, 3, 4, 2, 5, 2)
    close(nn.AvgPool2d(2, padding=1)(tensor(x, device)), padded.mean((3, 5)), device)
    counts = np.pad(np.ones((6, 8)), 1).reshape(4, 2, 5, 2).sum((1, 3))
    close(nn.AvgPool2d(2, padding=1, count_include_pad=False)(tensor(x, device)), padded.sum((3, 5)) / counts, device)
    close(nn.AvgPool2d(2, divisor_override=3)(tensor(x, device)), windows.sum((3, 5)) / 3, device)


# --- attention --------------------------------------------------------------------------------------------------------


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attend(layer, query, key, value, mask=None):
    """The definition for (N, L, E) arrays, and its weights for each head; `mask` is added to the scores."""
    e, heads = layer.embed_dim, layer.num_heads
    bias = np.zeros(3 * e) if layer.in_proj_bias is None else f64(layer.in_proj_bias)
    if layer.in_proj_weight is not None:
        weights = np.split(f64(layer.in_proj_weight), 3)
    else:
        weights = [f64(w) for w in (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight)]
    q, k, v = (x @ w.T + b for x, w, b in zip((query, key, value), weights, np.split(bias, 3), strict=True))
    if layer.bias_k is not None:
        k = np.concatenate([k, np.repeat(f64(layer.bias_k), len(k), 0)], 1)
        v = np.concatenate([v, np.repeat(f64(layer.bias_v), len(v), 0)], 1)
    if layer.add_zero_attn:
        k, v = (np.concatenate([x, np.zeros((len(x), 1, e))], 1) for x in (k, v))
    q, k, v = (x.reshape(len(x), -1, heads, e // heads).swapaxes(1, 2) for x in (q, k, v))
    scores = q @ k.swapaxes(2, 3) / math.sqrt(e // heads)
    if mask is not None:
        scores[..., : mask.shape[-1]] += mask
    p = softmax(scores)
    out = (p @ v).swapaxes(1, 2).reshape(query.shape)
    out = out @ f64(layer.out_proj.weight).T
    return out + (0 if layer.out_proj.bias is None else f64(layer.out_proj.bias)), p


@pytest.mark.parametrize(
    "arguments", [{}, {"bias": False}, {"add_bias_kv": True, "add_zero_attn": True}, {"kdim": 3, "vdim": 5}]
)
def test_multihead_attention(device, arguments):
    layer = randomize(nn.MultiheadAttention(8, 2, batch_first=True, **arguments, **options(device)))
    query = rng.normal(size=(3, 4, 8))
    key, value = rng.normal(size=(3, 6, layer.kdim)), rng.normal(size=(3, 6, layer.vdim))
    tensors = [tensor(x, device) for x in (query, key, value)]
    expected, p = attend(layer, query, key, value)
    out, weights = layer(*tensors)
    close(out, expected, device)
    close(weights, p.mean(1), device)
    close(layer(*tensors, average_attn_weights=False)[1], p, device)
    fused, nothing = layer(*tensors, need_weights=False)
    close(fused, expected, device)
    assert nothing is None
    layer.batch_first = False
    swapped = layer(*(x.transpose(0, 1) for x in tensors))
    close(swapped[0], expected.swapaxes(0, 1), device)
    close(swapped[1], p.mean(1), device)
    single = layer(*(x[0] for x in tensors))
    close(single[0], expected[0], device)
    close(single[1], p.mean(1)[0], device)


@pytest.mark.parametrize("need_weights", [True, False])
def test_attention_masks(device, need_weights):
    layer = randomize(nn.MultiheadAttention(8, 2, batch_first=True, add_bias_kv=True, **options(device)))
    x = rng.normal(size=(3, 5, 8))
    t = tensor(x, device)
    hidden = np.triu(np.ones((5, 5), bool), 1)
    padding = np.zeros((3, 5), bool)
    padding[1, 3:] = True
    both = np.where(hidden, -np.inf, 0.0) + np.where(padding, -np.inf, 0.0)[:, None, None]

    def run(**masks):
        masks = {
            name: mg.tensor(m, device=device) if m.dtype == bool else tensor(m, device) for name, m in masks.items()
        }
        return layer(t, t, t, need_weights=need_weights, **masks)[0]

    close(run(attn_mask=hidden, key_padding_mask=padding), attend(layer, x, x, x, both)[0], device)
    added = rng.normal(size=(6, 5, 5))
    close(run(attn_mask=added), attend(layer, x, x, x, added.reshape(3, 2, 5, 5))[0], device)
    with pytest.raises(ValueError, match=r"attn_mask must have shape \(5, 5\) or \(6, 5, 5\), got \(4, 5\)"):
        run(attn_mask=added[0, :4])
    with pytest.raises(ValueError, match=r"key_padding_mask must have shape \(3, 5\), got \(2, 5\)"):
        run(key_padding_mask=padding[:2])


def test_attention_errors_and_names():
    with pytest.raises(ValueError, match="embed_dim=7 must be a positive multiple of num_heads=2"):
        nn.MultiheadAttention(7, 2)
    layer = nn.MultiheadAttention(8, 2, add_bias_kv=True)
    with pytest.raises(ValueError, match="is_causal"):
        layer(*[mg.zeros(2, 1, 8)] * 3, is_causal=True)
    with pytest.raises(ValueError, match="must all have 2 or all have 3 dimensions"):
        layer(mg.zeros(2, 8), mg.zeros(2, 1, 8), mg.zeros(2, 1, 8))
    assert list(layer.state_dict()) == [
        "in_proj_weight",
        "in_proj_bias",
        "bias_k",
        "bias_v",
        "out_proj.weight",
        "out_proj.bias",
    ]
    apart = ["q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"]
    assert list(nn.MultiheadAttention(8, 2, kdim=3, vdim=5).state_dict()) == apart


# --- dropout ----------------------------------------------------------------------------------------------------------


def test_dropout(device):
    x = mg.ones(100, 100, device=device)
    layer = nn.Dropout(0.25)
    y = f64(layer(x))
    np.testing.assert_allclose(np.unique(y), [0, 4 / 3], rtol=1e-6)
    assert abs((y == 0).mean() - 0.25) < 0.03
    assert (f64(layer(x)) != y).any()
    assert (f64(layer.eval()(x)) == 1).all()
    with pytest.raises(ValueError, match="between 0 and 1, got 1.5"):
        nn.Dropout(1.5)


def test_drop_path(device):
    x = mg.ones(2000, 3, 2, device=device)
    layer = nn.DropPath(0.25)
    y = f64(layer(x))
    assert (y == y[:, :1, :1]).all()  # each sample whole
    np.testing.assert_allclose(np.unique(y), [0, 4 / 3], rtol=1e-6)
    assert abs((y[:, 0, 0] == 0).mean() - 0.25) < 0.06
    assert (f64(layer.eval()(x)) == 1).all()
    assert (f64(nn.DropPath()(x)) == 1).all()


# --- activations and losses -------------------------------------------------------------------------------------------

erf = np.vectorize(math.erf)


@pytest.mark.parametrize(
    ("layer", "formula"),
    [
        (nn.ReLU(), lambda x: np.maximum(x, 0)),
        (nn.GELU(), lambda x: x * 0.5 * (1 + erf(x / math.sqrt(2)))),
        (nn.GELU("tanh"), lambda x: x * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
        (nn.SiLU(), lambda x: x / (1 + np.exp(-x))),
        (
            nn.SELU(),
            lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
        ),
        (nn.LeakyReLU(0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
        (nn.ELU(1.5), lambda x: np.where(x > 0, x, 1.5 * np.expm1(x))),
        (nn.Softplus(2.0, 3.0), lambda x: np.where(2 * x > 3, x, np.log1p(np.exp(2 * x)) / 2)),
        (nn.Sigmoid(), lambda x: 1 / (1 + np.exp(-x))),
        (nn.Tanh(), np.tanh),
        (nn.Softmax(dim=-1), softmax),
        (nn.LogSoftmax(dim=-1), lambda x: np.log(softmax(x))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_activations(device, layer, formula):
    x = rng.normal(size=(5, 7)) * 2
    close(layer(tensor(x, device)), formula(x), device)


def reduce(x, reduction):
    return {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction](x)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_regression_losses(device, reduction):
    x, t = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    d = np.abs(x - t)
    tx, tt = tensor(x, device), tensor(t, device)
    close(nn.MSELoss(reduction=reduction)(tx, tt), reduce(d**2, reduction), device)
    close(nn.L1Loss(reduction=reduction)(tx, tt), reduce(d, reduction), device)
    smooth = np.where(d < 0.7, d**2 / 1.4, d - 0.35)
    close(nn.SmoothL1Loss(reduction=reduction, beta=0.7)(tx, tt), reduce(smooth, reduction), device)
    weight, positive, target = rng.uniform(size=3), rng.uniform(size=3), rng.uniform(size=(4, 3))
    bce = weight * (positive * target * np.log1p(np.exp(-x)) + (1 - target) * np.log1p(np.exp(x)))
    loss = nn.BCEWithLogitsLoss(tensor(weight, device), reduction=reduction, pos_weight=tensor(positive, device))
    close(loss(tx, tensor(target, device)), reduce(bce, reduction), device)


def test_classification_losses(device):
    x, t, weight = rng.normal(size=(5, 4)), np.array([0, 3, 1, 3, 2]), np.array([0.5, 1.0, 2.0, 0.25])
    log = np.log(softmax(x))
    tx, tt, tw = tensor(x, device), mg.tensor(t, device=device), tensor(weight, device)
    rows = np.arange(5)
    close(nn.CrossEntropyLoss()(tx, tt), -log[rows, t].mean(), device)
    close(nn.NLLLoss(tw)(tensor(log, device), tt), -(weight[t] * log[rows, t]).sum() / weight[t].sum(), device)
    kept = t != 3
    close(nn.CrossEntropyLoss(ignore_index=3, reduction="sum")(tx, tt), -log[rows, t][kept].sum(), device)
    smoothed = 0.9 * np.eye(4)[t] + 0.1 / 4
    close(nn.CrossEntropyLoss(label_smoothing=0.1)(tx, tt), -(smoothed * log).sum(1).mean(), device)
    p = softmax(rng.normal(size=(5, 4)))
    close(nn.CrossEntropyLoss(tw)(tx, tensor(p, device)), -(p * weight * log).sum(1).mean(), device)


def test_a_losss_weights_are_state_and_its_reduction_is_checked():
    loss = nn.CrossEntropyLoss(weight=mg.ones(3))
    assert list(loss.state_dict()) == ["weight"] and not list(loss.parameters())
    for kind in (nn.CrossEntropyLoss, nn.NLLLoss, nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.BCEWithLogitsLoss):
        with pytest.raises(ValueError, match=f"{kind.__name__}: reduction must be 'mean', 'sum' or 'none', got 'avg'"):
            kind(reduction="avg")


# --- what all layers share --------------------------------------------------------------------------------------------

LAYERS = {
    "Linear": lambda **o: nn.Linear(5, 7, **o),
    "Conv2d": lambda **o: nn.Conv2d(4, 6, 3, groups=2, **o),
    "ConvTranspose2d": lambda **o: nn.ConvTranspose2d(4, 6, 3, groups=2, **o),
    "LayerNorm": lambda **o: nn.LayerNorm(5, **o),
    "GroupNorm": lambda **o: nn.GroupNorm(2, 4, **o),
    "BatchNorm2d": lambda **o: nn.BatchNorm2d(4, **o),
    "Embedding": lambda **o: nn.Embedding(5, 3, **o),
    "MultiheadAttention": lambda **o: nn.MultiheadAttention(8, 2, add_bias_kv=True, **o),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_same_seed_same_weights_on_every_device(device, make):
    mg.manual_seed(3)
    reference = make()
    mg.manual_seed(3)
    layer = make(device=device)
    assert all(p.device == device for p in layer.parameters())
    for (name, a), b in zip(reference.state_dict().items(), layer.state_dict().values(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=name)


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_dtype_and_default_device(make):
    assert {p.dtype.name for p in make(dtype=mg.float64).parameters()} == {"float64"}
    pytest.importorskip("mlx.core", exc_type=ImportError)
    with mg.device("mlx"):
        layer = make(dtype="bfloat16")
    assert {(p.dtype.name, p.device) for p in layer.parameters()} == {("bfloat16", "mlx")}


@pytest.mark.parametrize(
    ("layer", "fan"),
    [(nn.Linear(64, 50), 64), (nn.Conv2d(8, 20, 3, groups=2), 36), (nn.ConvTranspose2d(8, 20, 3, groups=2), 90)],
    ids=["Linear", "Conv2d", "ConvTranspose2d"],
)
def test_the_start_is_pytorchs(layer, fan):
    for p in layer.parameters():
        values, bound = f64(p), 1 / math.sqrt(fan)
        assert np.abs(values).max() <= bound
        assert np.abs(values).max() > 0.8 * bound and abs(values.mean()) < 0.35 * bound
    assert f64(layer.weight).std() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_gradients_reach_every_parameter(device):
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, device=device),
        nn.BatchNorm2d(4, device=device),
        nn.GELU(),
        nn.ConvTranspose2d(4, 4, 2, stride=2, device=device),
        nn.GroupNorm(2, 4, device=device),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.LayerNorm(4 * 16, device=device),
        nn.Linear(4 * 16, 3, device=device),
    )
    loss = nn.CrossEntropyLoss()(net(mg.randn(5, 2, 4, 4, device=device)), mg.tensor([0, 1, 2, 0, 1], device=device))
    loss.backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and p.grad.device == device, name
        assert np.isfinite(f64(p.grad)).all() and f64(p.grad).any(), name
