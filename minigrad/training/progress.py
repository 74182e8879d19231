"""What a training run shows while it runs: a bar on a terminal, one line an epoch everywhere."""

import sys
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from minigrad.training.metrics import Running


class Progress:
    """A bar over all images of all epochs (on a terminal) and a line for each epoch (also in a log).

    Args:
        epochs, images: how many epochs, and how many training images in one.
        done: images of earlier epochs and batches, when a run is resumed.
        quiet: show nothing.
    """

    def __init__(self, epochs: int, images: int, done: int = 0, quiet: bool = False):
        self.epochs, self.quiet = epochs, quiet
        self.bar = tqdm(
            total=epochs * images,
            initial=done,
            disable=quiet or not sys.stderr.isatty(),
            unit=" images",
            smoothing=0.1,
            dynamic_ncols=True,
            leave=False,
            bar_format="{desc} |{bar}| {percentage:3.0f} %{postfix}  {rate_fmt}  {remaining} left",
        )

    def step(self, epoch: int, count: int, running: Running, peak: float | None = None) -> None:
        """`count` more images have been trained on; `peak` is the largest memory so far, in GB."""
        if not self.bar.disable:
            self.bar.set_description_str(f"epoch {epoch + 1}/{self.epochs}", refresh=False)
            text = f"loss {running.loss:.3f}  accuracy {100 * running.accuracy:.1f} %"
            self.bar.set_postfix_str(text + ("" if peak is None else f"  {peak:.2f} GB"), refresh=False)
            self.bar.update(count)

    def epoch(self, row: Mapping[str, Any], best: bool) -> None:
        """An epoch is over; `row` is its line of `metrics.csv`."""
        width = len(str(self.epochs))
        self.say(
            f"epoch {row['epoch']:>{width}}/{self.epochs}"
            f"  train loss {row['train_loss']:.3f} acc {100 * row['train_accuracy']:5.1f} %"
            f"  val loss {row['val_loss']:.3f} acc {100 * row['val_accuracy']:5.1f} %"
            f"  {row['images_per_second']:5.0f} images/s  {row['seconds']:.1f} s"
            + (f"  {row['peak_memory_gb']:.2f} GB" if "peak_memory_gb" in row else "")
            + ("  *" if best else "")
        )

    def say(self, text: str) -> None:
        """Print a line without disturbing the bar."""
        if not self.quiet:
            with tqdm.external_write_mode(sys.stdout):
                print(text, flush=True)

    def close(self) -> None:
        """Take the bar away."""
        self.bar.close()
