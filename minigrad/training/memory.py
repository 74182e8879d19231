"""What memory a training step will need, found out with small batches before the run begins."""

from dataclasses import dataclass
from functools import partial

from minigrad import backend
from minigrad.compiler.carried import Carried
from minigrad.compiler.snapshot import Snapshot
from minigrad.creation import zeros
from minigrad.memory import GB, MemoryInfo, memory_info, reset_peak_memory
from minigrad.training.step import Step

SMALL = 4  # images in a batch that needs no forecast; one that is tried has so many times the images of that before
ENOUGH = 2  # times the memory of the batch before: then images are what takes it
MARGIN = 0.9  # of the limit for the batch size that is advised: what is measured varies by some per cent


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


def need(step: Step, images: int, shape: tuple[int, ...], device: str) -> Need | None:
    """What a step on batches of `images` of `shape` (C, H, W) needs, from whole updates with few of them, operation by operation:
    memory grows by the same amount for each further one, once there are enough to outweigh the weights. Changes nothing. None
    where the device doesn't count memory."""
    if memory_info(device) is None:
        return None
    xp, before = backend.get(device), Snapshot(Carried([step.model, step.optimizer, step.scaler]))

    def update(count: int) -> list:
        step._run(zeros(count, *shape, device=device), zeros(count, dtype="int64", device=device), 1.0, True, None)
        return [p.array for p in step.parameters]

    try:
        xp.eval(*[p.array for p in step.parameters])
        xp.eval(*update(1))  # makes the optimiser's slots
        fewer, less, count, peak = 0, 0, 1, xp.peak_of(partial(update, 1))
        while not fewer or (count < images and peak < ENOUGH * less):
            fewer, less, count = count, peak, min(SMALL * count, max(images, SMALL))
            peak = xp.peak_of(partial(update, count))
        replaced = sum(array.nbytes for t, array, *_ in before.tensors if t._data is not array)
        counted = xp.memory()
        alive = (counted["active"] if counted else 0) - replaced
    finally:
        before.restore()
    reset_peak_memory(device)
    each = max(peak - less, 0) // (count - fewer)
    return Need(alive + peak - count * each, each)


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


def too_much(found: Need, images: int, info: MemoryInfo) -> str | None:
    """A sentence where a step would need more than the limit."""
    if found.of(images) <= info.limit:
        return None
    return (
        f"a step of {images} images needs about {found.of(images) / GB:.3g} GB, and MLX may use {info.limit / GB:.3g} GB of the "
        f"{info.total / GB:.3g} GB here; {advice(found, images, info.limit)}; --memory-limit GB sets the limit"
    )
