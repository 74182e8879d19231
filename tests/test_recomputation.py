"""mg.autograd.checkpoint on MLX: it saves memory eagerly and compiled, with the same numbers and dropout masks."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

mx = pytest.importorskip("mlx.core", exc_type=ImportError)
ROWS = 512


@pytest.fixture(params=[False, True], ids=["eager", "compiled"])
def compiled(request):
    if request.param:
        request.getfixturevalue("compiles")
    return request.param


def train(depth, recompute, compiled, steps=7):
    """Losses, a weight, and the peak memory of a step above what lived before it.

    The largest of five steps: MLX's CPU device allocates while its worker still computes, so that
    a worker that is ahead frees early and a step's peak comes out up to a fifth lower.
    """
    mg.manual_seed(0)
    blocks = [nn.Sequential(nn.Linear(16, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 16)) for _ in range(depth)]
    model = nn.ModuleList([*blocks, nn.Linear(16, 3)]).to("mlx")
    optimizer = mg.optim.AdamW(model.parameters(), lr=1e-2)
    rng = np.random.default_rng(0)
    x = mg.tensor(rng.normal(size=(ROWS, 16)).astype(np.float32), device="mlx")
    y = mg.tensor(rng.integers(0, 3, ROWS), device="mlx")

    def step(h, y):
        for block in model[:-1]:
            h = h + (mg.autograd.checkpoint(block, h) if recompute else block(h))
        loss = F.cross_entropy(model[-1](h), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    run = mg.compile(step, state=[model, optimizer]) if compiled else step
    losses, peaks = [], []
    for _ in range(steps):
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        losses.append(run(x, y).item())
        peaks.append(mx.get_peak_memory() - before)
    return losses, model[0][0].weight.numpy(), max(peaks[2:])


def test_same_numbers_and_memory_that_hardly_grows_with_depth(compiled):
    """A block keeps its input (512 × 16 numbers) instead of four hidden maps (512 × 256)."""
    found, growth = {}, {}
    for recompute in (False, True):
        *found[recompute], shallow = train(3, recompute, compiled)
        growth[recompute] = train(9, recompute, compiled)[2] - shallow
    np.testing.assert_allclose(found[True][0], found[False][0], rtol=1e-6)
    np.testing.assert_allclose(found[True][1], found[False][1], rtol=1e-5, atol=1e-6)
    assert growth[False] > 6 * 2 * ROWS * 256 * 4
    assert growth[True] < growth[False] / 5


def test_masks_after_a_recomputed_part_are_new(compiled):
    """The numbers that a recomputed part draws again are no new ones, and none is drawn twice by two steps."""
    mg.manual_seed(0)
    drop, layer = nn.Dropout(0.5), nn.Linear(8, 8, device="mlx")
    optimizer = mg.optim.SGD(layer.parameters(), lr=0.0)

    def step(x):
        x = layer(x)
        y = mg.autograd.checkpoint(drop, x)
        z = drop(x)
        (y + z).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        return y, z

    run = mg.compile(step, state=[layer, optimizer, drop]) if compiled else step
    masks = [t.numpy() != 0 for _ in range(3) for t in run(mg.ones(4, 8, device="mlx"))]
    assert len({m.tobytes() for m in masks}) == 6
    assert mg.random.default.state[1] == 2 + 6  # two draws made the layer


def test_a_recomputed_part_on_two_devices():
    """Its masks wait for a gradient of their own device only."""

    def part(x):
        there = F.dropout(x.to("mlx" if x.device == "cpu" else "cpu"), 0.5)
        return (there * there).to(x.device)

    for device in ("cpu", "mlx"):
        grads = []
        for wrapped in (part, lambda x: mg.autograd.checkpoint(part, x)):
            mg.manual_seed(0)
            x = mg.ones(16, device=device, requires_grad=True)
            wrapped(x).sum().backward()
            grads.append(x.grad.tolist())
        assert grads[0] == grads[1] and {0.0, 8.0} == set(grads[0])
