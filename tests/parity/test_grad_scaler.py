"""GradScaler beside PyTorch's: the same scales, counts and weights when steps overflow."""

import numpy as np
import pytest
import torch

import minigrad as mg

FACTORS = [1.0, 1e38, 1.0, 1.0, 1.0, 1.0, float("nan"), float("inf"), 1.0, 1.0]
OPTIONS = {
    "AdamW": {"lr": 0.05},
    "Adam": {"lr": 0.05, "amsgrad": True},
    "SGD": {"lr": 0.05, "momentum": 0.9, "nesterov": True},
}


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered")
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("clip", [None, 0.5])
def test_scaler(name, clip, device):
    options = OPTIONS[name]
    rng = np.random.default_rng(0)
    start, x = rng.normal(size=(3, 6)).astype(np.float32), rng.normal(size=(5, 6)).astype(np.float32)
    ours, theirs = mg.nn.Parameter(mg.tensor(start, device=device)), torch.nn.Parameter(torch.tensor(start))
    optimizer, their_optimizer = (
        getattr(mg.optim, name)([ours], **options),
        getattr(torch.optim, name)([theirs], **options),
    )
    settings = {"init_scale": 256.0, "growth_factor": 4.0, "backoff_factor": 0.25, "growth_interval": 2}
    scaler, their_scaler = mg.GradScaler(**settings), torch.amp.GradScaler("cpu", **settings)
    for i, factor in enumerate(FACTORS):
        optimizer.zero_grad()
        their_optimizer.zero_grad()
        scaler.scale(((mg.tensor(x, device=device) @ ours.T).square() * factor).mean()).backward()
        their_scaler.scale(((torch.tensor(x) @ theirs.T).square() * factor).mean()).backward()
        if clip is not None:
            scaler.unscale_(optimizer)
            their_scaler.unscale_(their_optimizer)
            mg.optim.clip_grad_norm_([ours], clip)
            torch.nn.utils.clip_grad_norm_([theirs], clip)
        scaler.step(optimizer)
        their_scaler.step(their_optimizer)
        scaler.update()
        their_scaler.update()
        state = scaler.state_dict()
        assert state.pop("skipped") == sum(abs(f) != 1 for f in FACTORS[: i + 1])
        assert state == their_scaler.state_dict()
        np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-5, atol=1e-6, err_msg=f"step {i}")
    other = torch.amp.GradScaler("cpu")
    other.load_state_dict(state)
    scaler.load_state_dict(their_scaler.state_dict())
