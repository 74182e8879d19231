"""A numpy number as an option counts as the Python number of its value: same dtype, same result, same gradient."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.nn import functional as F

rng = np.random.default_rng(0)
X, IMAGE = rng.normal(size=(2, 3, 4)).astype("float32"), rng.normal(size=(2, 4, 6, 6)).astype("float32")

# Functions of a tensor (2, 3, 4), an image (2, 4, 6, 6) and the number ½.
HALVES = {
    "clamp": lambda x, image, n: x.clamp(-n, n),
    "clamp of one side": lambda x, image, n: x.clamp(n),
    "leaky_relu": lambda x, image, n: F.leaky_relu(x, n),
    "elu": lambda x, image, n: F.elu(x, n),
    "softplus": lambda x, image, n: F.softplus(x, n, n),
    "dropout": lambda x, image, n: F.dropout(x, n),
    "drop_path": lambda x, image, n: F.drop_path(x, n),
    "attention": lambda x, image, n: F.scaled_dot_product_attention(x, x, x, dropout_p=n, scale=n),
    "layer_norm": lambda x, image, n: F.layer_norm(x, 4, eps=n),
    "group_norm": lambda x, image, n: F.group_norm(image, 2, eps=n),
    "batch_norm": lambda x, image, n: F.batch_norm(image, None, None, training=True, eps=n),
    "operators": lambda x, image, n: n - (n * x + n / (x + 7)) / n + (x > n).float() + (n > x).float(),
    "power": lambda x, image, n: n**x + x.abs() ** (n + 2),
    "alpha, beta": lambda x, image, n: mg.add(x, x, alpha=n) + mg.addmm(x[0, :, :1], x[0], x[1].T, beta=n, alpha=n)[:, :1],
    "masked_fill, where": lambda x, image, n: x.masked_fill(x > 0, n) + mg.where(x < 0, n, x) + mg.maximum(x, n),
    "pad": lambda x, image, n: F.pad(x, (1, 1), value=n),
    "smooth_l1_loss": lambda x, image, n: F.smooth_l1_loss(x, x * 2, beta=n),
    "normalize": lambda x, image, n: F.normalize(x, p=n + 1, eps=n),
    "cross_entropy": lambda x, image, n: F.cross_entropy(x[:, :, 0], mg.tensor([0, 1], device=x.device), label_smoothing=n),
    "interpolate": lambda x, image, n: F.interpolate(image, scale_factor=n, mode="bilinear"),
    "full": lambda x, image, n: mg.full((2,), n, device=x.device) + mg.full_like(x[0, :, :2], n),
    "arange, linspace": lambda x, image, n: mg.arange(n, 3, device=x.device) * mg.linspace(n, 3, 3, device=x.device),
}  # fmt: skip

# Functions of the same and the number 2.
TWOS = {
    "shapes": lambda x, image, n: x.reshape(n, -1)[:, :n].expand(n, n).repeat(n, n),
    "dimensions": lambda x, image, n: x.sum(n).softmax(n - 1).unsqueeze(n).transpose(n, 0),
    "pieces": lambda x, image, n: x.split(n, n)[0] + x.chunk(n, n)[1] + x.narrow(n, n, n) + x.select(n, n).unsqueeze(n),
    "order": lambda x, image, n: x.roll(n) + x.roll(n, n) + x.tril(n) + x.permute(0, 1, n).flip(n),
    "convolutions": lambda x, image, n: F.conv_transpose2d(
        F.conv2d(image, mg.ones(4, 2, n, n, device=x.device), stride=n, groups=n),
        mg.ones(4, 1, n, n, device=x.device), stride=n, groups=n,
    ),
    "pools": lambda x, image, n: F.avg_pool2d(image, n) + F.max_pool2d(image, n, n) + F.adaptive_avg_pool2d(image, n + 1),
    "windows": lambda x, image, n: F.unfold(image, n).sum() + x.unfold(n, n, n).sum(),
    "resizing": lambda x, image, n: F.interpolate(image, n) + F.pad(image, (n, n, n, n))[..., n - 1 : n + 1, n : n + 2],
    "norms": lambda x, image, n: F.layer_norm(x, n + 2) + F.group_norm(image, n).sum() + x.var(correction=n),
    "one_hot": lambda x, image, n: F.one_hot(mg.tensor([0, 1], device=x.device), n) * mg.full(n, n, device=x.device),
    "items": lambda x, image, n: x[:, n].unsqueeze(1) + x[..., :n].sum() ** n + x * n,
}  # fmt: skip

CASES = [
    *((name, f, 0.5, kind) for name, f in HALVES.items() for kind in (np.float64, np.float32)),
    *((name, f, 2, np.int64) for name, f in TWOS.items()),
]


@pytest.mark.parametrize(("name", "function", "number", "kind"), CASES, ids=[f"{c[0]}-{c[3].__name__}" for c in CASES])
def test_as_an_option(name, function, number, kind, device):
    results = []
    for n in (number, kind(number)):
        mg.manual_seed(0)
        x, image = (mg.tensor(a, device=device, requires_grad=True) for a in (X, IMAGE))
        y = function(x, image, n)
        if y.requires_grad:
            y.sum().backward()
        results.append([t for t in (y, x.grad, image.grad) if t is not None])
    for expected, got in zip(*results, strict=True):
        assert got.dtype is expected.dtype and isinstance(got.array, got.backend.array_type)
        np.testing.assert_array_equal(got.numpy(), expected.numpy())


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_in_an_optimiser(name, kind, device):
    results = []
    for n in (0.5, kind(0.5)):
        p = mg.nn.Parameter(mg.tensor(X, device=device))
        options = {"momentum": n} if name == "SGD" else {"eps": n, "betas": (n, n)}
        optimizer = getattr(mg.optim, name)([p], lr=n, weight_decay=n, **options)
        for _ in range(3):
            optimizer.zero_grad()
            (p * p).sum().backward()
            optimizer.step()
        assert p.dtype is mg.float32 and isinstance(p.array, p.backend.array_type)
        results.append(p.numpy())
    np.testing.assert_array_equal(*results)


def test_a_number_of_numpy_alone_keeps_its_dtype():
    assert mg.tensor(np.float64(1)).dtype is mg.float64 and mg.tensor(np.int32(1)).dtype is mg.int32
