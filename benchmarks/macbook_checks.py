"""Whether MLX's device computes what numpy computes: what only a Mac can tell of its GPU. `macbook.py` runs this in a process of its
own, with products in full float32 (MLX_ENABLE_TF32=0: an M5, or CUDA, rounds them to TF32 otherwise).

    python benchmarks/macbook_checks.py [--quick]

prints a line of JSON for each check: its name, what was found, the most that it may be, the seconds that it took, or the error.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator

if __name__ == "__main__":
    os.environ.setdefault("MLX_ENABLE_TF32", "0")  # read once, when MLX starts

import mlx.core as mx
import numpy as np
from mlx_native import training_step

import minigrad as mg
from minigrad.kernels.mlx import depthwise as kernels
from minigrad.nn import functional as F

CONVOLUTIONS = [  # image (N, H, W, C), kernel, stride, padding, dilation; C of PVT v2, and others
    ((2, 14, 14, 64), (3, 3), (1, 1), (1, 1), (1, 1)),
    ((1, 9, 7, 40), (3, 3), (1, 1), (1, 1), (1, 1)),
    ((2, 7, 8, 3), (3, 3), (2, 2), (1, 1), (1, 1)),
    ((2, 7, 6, 3), (5, 2), (1, 1), (1, 0), (1, 2)),
    ((1, 1, 1, 3), (3, 3), (1, 1), (1, 1), (1, 1)),
]
NARROW = {"float16": 3e-3, "bfloat16": 2e-2}  # how far what is computed in 16 bits may be off


def apart(found, expected) -> float:
    """The largest difference of several arrays, each beside its own largest number."""
    pairs = zip(found, expected, strict=True)
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)) for a, b in pairs)


def derivatives(function, arrays, device: str, dtype: str) -> list[np.ndarray]:
    """Value and gradients of a function of tensors."""
    tensors = [mg.tensor(a, device=device, dtype=dtype).requires_grad_() for a in arrays]
    y = function(*tensors)
    g = np.random.default_rng(1).normal(size=y.shape)
    found = [y, *mg.grad(y, tensors, mg.tensor(g, device=device, dtype=dtype))]
    return [t.astype("float32" if device == "mlx" else "float64").numpy() for t in found]


def against_numpy(function, *shapes, dtype: str = "float32") -> float:
    """How far value and gradients on MLX are from numpy's in float64."""
    arrays = [np.random.default_rng(0).normal(size=shape) for shape in shapes]
    arrays = [mg.tensor(a, dtype=dtype, device="mlx").astype("float32").numpy() for a in arrays]  # rounded for both
    return apart(derivatives(function, arrays, "mlx", dtype), derivatives(function, arrays, "cpu", "float64"))


def models(quick: bool):
    """(model with gradients on MLX, the same on numpy in float64)."""
    for device, dtype in (("mlx", "float32"), ("cpu", "float64")):
        mg.manual_seed(0)
        model = mg.models.create_model("pvt_v2_tiny" if quick else "pvt_v2_b0").to(device, dtype)
        size = 32 if quick else 224
        images = np.random.default_rng(0).normal(size=(2, 3, size, size))
        logits = model(mg.tensor(images, device=device, dtype=dtype))
        F.cross_entropy(logits, mg.tensor([1, 7], device=device)).backward()
        yield logits.numpy(), [p.grad.numpy() for p in model.parameters()]


def logits_and_gradients(quick: bool) -> tuple[float, float]:
    (logits, grads), (expected, exact) = models(quick)
    return apart([logits], [expected]), max(
        float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30)) for a, b in zip(grads, exact, strict=True)
    )


def losses(device: str, compiled: bool, rate: float, quick: bool) -> np.ndarray:
    """Of training steps on a few images; `rate` is that of dropout and stochastic depth."""
    mg.manual_seed(0)
    name, size, steps = ("pvt_v2_tiny", 32, 10) if quick else ("pvt_v2_b0", 64, 50)
    model = mg.models.create_model(name, num_classes=10, drop_rate=rate, attn_drop_rate=rate, drop_path_rate=rate)
    optimizer = mg.optim.AdamW(model.to(device).parameters(), lr=1e-4, weight_decay=0.05)

    run = training_step(model, optimizer, compiled)
    rng = np.random.default_rng(0)
    batches = [(rng.normal(size=(2, 3, size, size)).astype(np.float32), rng.integers(0, 10, 2)) for _ in range(4)]
    on_device = [(mg.tensor(x, device=device), mg.tensor(y, device=device)) for x, y in batches]
    return np.array([loss.item() for loss in [run(*on_device[i % 4]) for i in range(steps)]])


def in_16_bits(low: str) -> float:
    """Of the gradients of a small model, all together."""
    mg.manual_seed(0)
    model = mg.models.create_model("pvt_v2_tiny").to("mlx")
    images, found = mg.randn(4, 3, 64, 64, device="mlx"), {}
    for name in (None, low):
        scaler = mg.GradScaler(enabled=name == "float16")
        model.zero_grad()
        with mg.autocast(name or "auto", enabled=name is not None):
            loss = F.cross_entropy(model(images), mg.tensor([1, 2, 3, 4], device="mlx"))
        scaler.scale(loss).backward()
        scaler.unscale_(mg.optim.SGD(model.parameters()))
        found[name] = np.concatenate([p.grad.numpy().ravel() for p in model.parameters()])
    return float(np.linalg.norm(found[low] - found[None]) / np.linalg.norm(found[None]))


def depthwise(form: str, dtype: str) -> float:
    kernels.set_forms(forward=form, input=form, weight=form)
    try:
        return max(
            against_numpy(
                lambda x, w, b, stride=stride, padding=padding, dilation=dilation: F.conv2d(
                    x, w, b, stride, padding, dilation, groups=w.shape[0]
                ),
                (n, c, h, w), (c, 1, *kernel), (c,), dtype=dtype,
            )
            for (n, h, w, c), kernel, stride, padding, dilation in CONVOLUTIONS
        )  # fmt: skip
    finally:
        kernels.set_forms()


def cross_entropy(dtype: str) -> float:
    y = np.random.default_rng(2).integers(0, 1000, 64)
    y[::7] = -100  # ignored

    def loss(x, smoothing):
        return F.cross_entropy(x * 4, mg.tensor(y, device=x.device), label_smoothing=smoothing)

    return max(against_numpy(lambda x, s=s: loss(x, s), (64, 1000), dtype=dtype) for s in (0.0, 0.1))


def beside_native(quick: bool) -> float:
    """Losses of three compiled steps beside those of the same model written on mlx.nn."""
    from macbook_jobs import Minigrad, Native, data, initial_weights

    name, size = ("pvt_v2_tiny", 32) if quick else ("pvt_v2_b0", 64)
    weights, batch = initial_weights(name), data(2, size)
    runs = [make(name, weights, None).training(*batch) for make in (Minigrad, Native)]
    ours, native = ([run() for _ in range(3)] for run in runs)
    return apart([np.array(ours)], [np.array(native)])


def memory_growth(quick: bool) -> float:
    """MB that live more after some hundred compiled steps."""
    mg.manual_seed(0)
    model = mg.models.create_model("pvt_v2_tiny", num_classes=10, drop_path_rate=0.1).to("mlx")
    optimizer = mg.optim.AdamW(model.parameters(), lr=1e-4)
    ema = mg.optim.EMA(model, decay=0.99)

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        ema.update()
        return loss

    run, alive = mg.compile(step, state=[model, optimizer, ema]), []
    x, y = mg.randn(2, 3, 32, 32, device="mlx"), mg.tensor([1, 2], device="mlx")
    for i in range(30 if quick else 300):
        run(x, y)
        if i in (9, 29, 299):
            mx.synchronize()
            alive.append(mx.get_active_memory())
    return (alive[-1] - alive[0]) / 1e6


def checks(quick: bool) -> Iterator[tuple[str, Callable[[], float], float]]:
    """(Name, what gives the difference, the most that it may be)."""
    model, steps = ("tiny, 32 px", 10) if quick else ("b0, 224 px", 50)
    both: list[float] = []

    def difference(other: str, rate: float) -> float:
        return float(np.abs(losses("mlx", True, rate, quick) - losses(other, False, rate, quick)).max())

    name = f"logits of {model}, beside numpy's float64"
    yield name, lambda: both.extend(logits_and_gradients(quick)) or both[0], 1e-5
    yield f"gradients of {model}, each parameter's", lambda: both[1], 1e-4
    yield f"losses of {steps} compiled steps, beside numpy's", lambda: difference("cpu", 0.0), 1e-4
    yield f"losses of {steps} compiled steps with dropout, beside uncompiled ones", lambda: difference("mlx", 0.1), 1e-5
    yield "losses of 3 compiled steps, beside those of the model on mlx.nn", lambda: beside_native(quick), 1e-5
    for low, most in NARROW.items():
        yield f"gradients under autocast {low}, beside float32's", lambda low=low: in_16_bits(low), most
    for form in kernels.FORMS:
        if form != "metal" or mx.metal.is_available():
            for dtype, most in {"float32": 1e-5, **NARROW}.items():
                name = f"depthwise convolution, form {form}, {dtype}"
                yield name, lambda form=form, dtype=dtype: depthwise(form, dtype), most
    for dtype, most in {"float32": 1e-5, **NARROW}.items():
        yield f"cross-entropy kernel, {dtype}", lambda dtype=dtype: cross_entropy(dtype), most
    shapes = (2, 50, 64), (64,), (64,)
    yield "layer norm kernel", lambda: against_numpy(lambda x, w, b: F.layer_norm(x, 64, w, b), *shapes), 1e-5
    for width in (32, 64):
        heads = (2, 3, 64, width), (2, 3, 49, width), (2, 3, 49, width)
        yield f"attention, head width {width}", lambda s=heads: against_numpy(F.scaled_dot_product_attention, *s), 1e-5
        yield f"attention kernel of inference, head width {width}", lambda s=heads: attention_kernel(s), 1e-5
    yield "convolution 7×7, stride 4", lambda: convolution((2, 3, 32, 32), (32, 3, 7, 7), 4, 3), 1e-5
    yield "convolution 3×3, stride 2", lambda: convolution((2, 32, 15, 16), (64, 32, 3, 3), 2, 1), 1e-5
    yield "spatial reduction 8×8, stride 8", lambda: convolution((2, 32, 18, 16), (32, 32, 8, 8), 8, 0), 1e-5
    yield "MB that live more after compiled steps", lambda: memory_growth(quick), 1.0


def attention_kernel(shapes) -> float:
    arrays = [np.random.default_rng(0).normal(size=shape) for shape in shapes]
    with mg.no_grad():
        y = F.scaled_dot_product_attention(*(mg.tensor(a, device="mlx", dtype="float32") for a in arrays))
        exact = F.scaled_dot_product_attention(*(mg.tensor(a, dtype="float64") for a in arrays))
    return apart([y.numpy()], [exact.numpy()])


def convolution(image, weight, stride: int, padding: int) -> float:
    return against_numpy(lambda x, w, b: F.conv2d(x, w, b, stride, padding), image, weight, weight[:1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller models, fewer steps")
    for name, measure, most in checks(parser.parse_args().quick):
        line: dict = {"name": name, "most": most}
        started = time.perf_counter()
        try:
            line["found"] = measure()
        except Exception as error:  # the next check may still tell something
            line["error"] = f"{type(error).__name__}: {str(error).strip() or 'no message'}".splitlines()[0]
        print(json.dumps(line | {"seconds": time.perf_counter() - started}), flush=True)


if __name__ == "__main__":
    main()
