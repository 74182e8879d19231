"""PVTv2 in three libraries, for `macbook.py`: minigrad, the same model written on mlx.nn, and timm's on PyTorch.

Each has `training(images, labels)` and `inference(images)`, which take numpy arrays (N, 3, H, W) and (N,), and return a function
that takes one step, waits for it, and (in training) returns the loss. `low` is "float16", "bfloat16" or None for float32.
"""

import contextlib
import gc

import common
import mlx.core as mx
import mlx_pvt
import numpy as np

import minigrad as mg
from minigrad.nn import functional as F

LR, DECAY = 1e-3, 0.05


def data(batch: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((batch, 3, size, size), dtype=np.float32), rng.integers(0, 1000, batch)


def initial_weights(name: str) -> dict[str, np.ndarray]:
    """The same ones for minigrad and mlx.nn."""
    mg.manual_seed(0)
    return {key: t.numpy() for key, t in mg.models.create_model(name).state_dict().items()}


class Minigrad:
    """Compiled by `mg.compile`; products in `low`, with a GradScaler for float16. It has what `training.memory.need` asks of
    a step: model, parameters, optimizer, scaler and `_run`."""

    def __init__(self, name: str, weights: dict[str, np.ndarray], low: str | None):
        self.model = mg.models.create_model(name).to("mlx")
        self.model.load_state_dict({key: mg.tensor(a, device="mlx") for key, a in weights.items()})
        self.parameters, self.low = list(self.model.parameters()), low
        self.optimizer = mg.optim.AdamW(self.parameters, lr=LR, weight_decay=DECAY)
        self.scaler = mg.GradScaler(enabled=low == "float16")
        self.step = mg.compile(self._run, state=[self.model, self.optimizer, self.scaler])
        self.forward = mg.compile(self._forward, state=[self.model])

    def _run(self, images, labels, *_):
        self.optimizer.zero_grad()
        with mg.autocast(self.low or "auto", enabled=self.low is not None):
            loss = F.cross_entropy(self.model(images), labels)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss

    def _forward(self, images):
        with mg.autocast(self.low or "auto", enabled=self.low is not None):
            return self.model(images)

    def training(self, images, labels):
        self.model.train()
        x, y = mg.tensor(images, device="mlx"), mg.tensor(labels, device="mlx")

        def run():
            loss = self.step(x, y).item()
            mx.synchronize()  # the update may still be under way
            return loss

        return run

    def inference(self, images):
        self.model.eval()
        x = mg.tensor(images, device="mlx")

        def run():
            with mg.no_grad():
                mx.eval(self.forward(x).array)

        return run


class Native:
    """mlx.nn's layers as they are, compiled by `mx.compile`."""

    def __init__(self, name: str, weights: dict[str, np.ndarray], low: str | None):
        self.config, self.weights = mg.models.create_model(name).config, weights
        self.low = None if low is None else getattr(mx, low)

    def training(self, images, labels):
        step = mlx_pvt.native_step(self.config, self.weights, twin=False, compiled=True, low=self.low)
        x, y = self._images(images), mx.array(labels)

        def run():
            loss = step(x, y).item()
            mx.synchronize()
            return loss

        return run

    def inference(self, images):
        forward, x = mlx_pvt.native_forward(self.config, self.weights, self.low), self._images(images)
        return lambda: mx.eval(forward(x))

    def _images(self, images):
        x = mx.contiguous(mx.array(images.transpose(0, 2, 3, 1)))
        mx.eval(x)
        return x


class Torch:
    """timm's model, operation by operation; products in `low` by torch.autocast, without a GradScaler."""

    def __init__(self, name: str, low: str | None, device: str):
        import torch

        self.torch, self.device = torch, device
        self.low = None if low is None else getattr(torch, low)
        self.model = common.timm_model(name).to(device)

    def autocast(self):
        return contextlib.nullcontext() if self.low is None else self.torch.autocast(self.device, dtype=self.low)

    def training(self, images, labels):
        torch, model = self.torch, self.model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=DECAY)
        x, y = torch.from_numpy(images).to(self.device), torch.from_numpy(labels).to(self.device)

        def run():
            optimizer.zero_grad()
            with self.autocast():
                loss = torch.nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            value = loss.item()
            self.wait()
            return value

        return run

    def inference(self, images):
        model, x = self.model.eval(), self.torch.from_numpy(images).to(self.device)

        def run():
            with self.torch.no_grad(), self.autocast():
                model(x)
            self.wait()

        return run

    def wait(self) -> None:
        if self.device != "cpu":
            getattr(self.torch, self.device).synchronize()


def torch_device(wanted: str) -> tuple[str | None, str]:
    """The device for PyTorch, or None, and a sentence about it. `wanted` is "auto", "off" or the device's name."""
    if wanted == "off":
        return None, "PyTorch was left out, as asked for."
    try:
        import torch
    except ImportError:
        return None, "PyTorch was left out: it isn't installed (pip install torch timm)."
    try:
        common.timm_model("pvt_v2_b0")
    except ImportError:
        return None, "PyTorch was left out: its model is timm's, which isn't installed (pip install timm)."
    there = {"mps": torch.backends.mps.is_available(), "cuda": torch.cuda.is_available(), "cpu": True}
    found = next((name for name in ("mps", "cuda") if there[name]), None) if wanted == "auto" else wanted
    if found is None or not there[found]:
        return None, f"PyTorch {torch.__version__} was left out: it finds neither MPS nor CUDA here."
    return found, f"PyTorch {torch.__version__} on {found}, timm's model, operation by operation."


def empty_caches(device: str | None) -> None:
    """Gives freed memory of MLX and PyTorch back."""
    gc.collect()
    mx.clear_cache()
    if device in ("mps", "cuda"):
        import torch

        getattr(torch, device).empty_cache()
