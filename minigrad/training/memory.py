"""What memory a training step will need, found out with small batches before the run begins."""

from dataclasses import dataclass
from functools import partial

import minigrad as mg
from minigrad import backend, random
from minigrad.memory import GB
from minigrad.training.step import Step

SMALL = (1, 4)  # images in the batches that are tried
MARGIN = 0.9  # of the limit for the batch size that is advised: what is measured varies by some per cent
UPDATE = 3  # times the weights, for AdamW's moments and new values: measured within a fifth on PVTv2-b0 and b2


@dataclass(frozen=True)
class Need:
    """Bytes that a step needs: `fixed` and `each` for an image."""

    fixed: int
    each: int

    def of(self, images: int) -> int:
        """Bytes for a batch."""
        return self.fixed + images * self.each

    def most(self, limit: float) -> int:
        """The largest batch that stays below `limit` bytes; 0 if none does."""
        return max(0, int((limit - self.fixed) // max(self.each, 1)))


def need(step: Step, shape: tuple[int, ...], device: str) -> Need | None:
    """What a step on images of `shape` (C, H, W) needs: forward and backward passes over one and over four of them, since
    memory grows by the same amount for each further one. None where the device doesn't count memory. Changes nothing."""
    if mg.memory_info(device) is None:
        return None
    xp, before, peaks = backend.get(device), random.default.state, []
    xp.eval(*[p.data for p in step.parameters])

    def gradients(count: int) -> list:
        step.gradients(mg.zeros(count, *shape, device=device), mg.zeros(count, dtype="int64", device=device), 1.0)
        return [p.grad.data for p in step.parameters if p.grad is not None]

    for count in SMALL:
        peaks.append(xp.peak_of(partial(gradients, count)))
        step.optimizer.zero_grad()
    random.default.state = before
    mg.reset_peak_memory(device)
    each = max(peaks[1] - peaks[0], 0) // (SMALL[1] - SMALL[0])
    fixed = xp.memory()["active"] + peaks[0] - each + UPDATE * sum(p.data.nbytes for p in step.parameters)
    return Need(fixed, each)


def advice(found: Need | None, images: int, limit: float) -> str:
    """What to try where a batch of so many images is too large."""
    most = images // 2 if found is None else min(found.most(MARGIN * limit), images - 1)
    if most < 1:
        return "try smaller images, a smaller model, --amp auto or --recompute"
    size = 1 << (most.bit_length() - 1)
    parts = -(-images // size)
    return (
        f"try --batch-size {most}, or --batch-size {size} --accumulate {parts}, whose updates are those of {size * parts} images; "
        "--amp auto and --recompute need less, too"
    )


def too_much(found: Need, images: int, info: mg.MemoryInfo) -> str | None:
    """A sentence where a step would need more than the limit."""
    if found.of(images) <= info.limit:
        return None
    return (
        f"a step of {images} images needs about {found.of(images) / GB:.3g} GB, and MLX may use {info.limit / GB:.3g} GB of the "
        f"{info.total / GB:.3g} GB here; {advice(found, images, info.limit)}; --memory-limit GB sets the limit"
    )
