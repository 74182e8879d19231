"""Training a classifier: one loop, whose whole state can be written down between any two steps."""

import json
import math
import threading
import time
import warnings
from collections.abc import Iterator
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from minigrad import backend, checks, random
from minigrad.backend import num_threads
from minigrad.engine.tensor import Tensor
from minigrad.memory import GB, memory_info, set_memory_limit
from minigrad.optim.lr_scheduler import CosineWithWarmup
from minigrad.parallel.team import Team, alone
from minigrad.random import manual_seed
from minigrad.training import run_folder
from minigrad.training.config import TrainConfig
from minigrad.training.inference import Classifier, take_weights
from minigrad.training.memory import SMALL, Need, advice, need, too_much
from minigrad.training.metrics import Running, evaluate
from minigrad.training.progress import Progress
from minigrad.training.report import TrainResult, report
from minigrad.training.state import check_parts, settings_of, unfit
from minigrad.training.step import Step
from minigrad.training.stop import Stop, Stopped, TrainingError, TrainingInterrupted
from minigrad.training.tasks import load_task

EVAL_BATCH = 256
OVERFLOWS = 25  # skipped steps in a row: 65536, halved so often, is nothing


def train(config: TrainConfig | None = None, *, quiet: bool = False) -> TrainResult:
    """Train a classifier as `config` says (default: PVT v2 on the digits), then evaluate its best weights.

    Of several processes that a launcher started (see `minigrad.distributed`) each calls this alike and works on its part of
    each batch; process 0 alone prints and writes files.

    The test part is looked at once, at the end. The run folder gets `config.json`, `metrics.csv` (a row an epoch),
    `model.safetensors` (the weights of the epoch with the lowest validation loss), `last.safetensors` (everything
    that `resume` needs), `result.json`, and with matplotlib `curves.png`, `confusion.png` and `predictions.png`. Each
    file is written whole or not at all. The default generator is seeded with `config.seed`.

    Args:
        config: the settings.
        quiet: print nothing.

    Raises:
        ValueError: for data, a model or an output folder that can't be used; before anything is trained.
        TrainingError: when the loss is no longer finite, a file can't be written or another process is gone. The last good
            state is kept.
        TrainingInterrupted: after Ctrl-C (SIGINT) or SIGTERM. The state is saved.

    >>> from minigrad.training import TrainConfig, train
    >>> train(TrainConfig(output="runs/mine")).accuracy  # doctest: +SKIP
    0.9916434540389972
    """
    config = TrainConfig() if config is None else config
    checks.instance("train", "config", config, TrainConfig, "a TrainConfig")
    with Team(TrainingError) as team:
        run = _Run(config, quiet, team)
        if (problem := run.too_much()) is not None:
            raise ValueError(problem)
        run.folder = Path(team.first(lambda: str(run_folder.new_folder(config))))
        images = len(run.task.parts["train"])
        low = "" if config.low is None else f", products in {config.low}"
        run.say(f"{config.model} on {config.data} ({images} training images{low}{team}), run folder {run.folder}")
        return run.complete()


def resume(folder: str | Path, *, quiet: bool = False) -> TrainResult:
    """Go on with a stopped run, exactly: on the CPU its weights become those of a run that was never stopped.

    Of a run that had finished, only the result is returned again.

    Raises:
        RunFolderError: when the folder holds no run. CheckpointError: when its state is damaged. Otherwise as `train`.
    """
    folder = Path(checks.path("resume", "folder", folder))
    with Team(TrainingError) as team:
        with team.files(folder, (run_folder.RESULT, run_folder.STATE, run_folder.CONFIG)) as files:
            if (files / run_folder.RESULT).is_file():
                return replace(TrainResult.load(files), folder=folder)
            if not (files / run_folder.STATE).is_file():
                raise run_folder.RunFolderError(
                    f"there is no run to go on with in {folder}: it has no {run_folder.STATE}"
                )
            state = run_folder.load_state(files / run_folder.STATE)
            config = settings_of(state, folder / run_folder.STATE)
            run_folder.check_config(files, config)
        run = _Run(replace(config, weights=None), quiet, team)  # the state has its own
        run.config = config
        run.folder = folder
        run.load_state(state)
        if (problem := run.too_much()) is not None:
            warnings.warn(problem, stacklevel=2)
        run.say(f"run folder {folder}: going on after {run.epoch} epochs and {run.batch} batches{team}")
        return run.complete()


class _Run:
    """A training run between two steps: everything that `save` writes and `load_state` puts back."""

    folder: Path

    def __init__(self, config: TrainConfig, quiet: bool, team: Team):
        self.config, self.quiet, self.team = config, quiet or team.rank > 0, team
        self.task = load_task(config.data, config.size)
        self.images = team.share(config.device, config.batch_size, len(self.task.parts["train"]))
        self.batches = self.task.training_batches(config, team.part)
        manual_seed(config.seed)
        start = config.weights if team.rank == 0 else None  # the others get process 0's
        self.classifier = Classifier.create(replace(config, weights=start), self.task)
        self.model = self.classifier.model
        self.model.set_grad_checkpointing(config.recompute)
        self.update = Step(config, self.task, self.model)
        self.optimizer = self.update.optimizer
        steps = config.epochs * math.ceil(len(self.batches) / config.accumulate)
        self.schedule = CosineWithWarmup(self.optimizer, warmup_steps=round(config.warmup * steps), total_steps=steps)
        self.epoch = self.batch = 0  # completed epochs; completed batches of the epoch that runs
        self.running, self.seconds = Running(), 0.0  # of the epoch that runs
        self.history: list[dict[str, Any]] = []  # the rows of metrics.csv
        self.pending: tuple | None = None  # what the last step returned, not read yet
        self.overflows = 0  # skipped updates in a row
        self.safe: dict[str, Any] | None = None  # the last state that needs nothing more of other processes
        self.saving = threading.RLock()
        team.start(self.model, {"classes": len(self.task.classes), **{k: len(v) for k, v in self.task.parts.items()}})
        self.need: Need | None = None
        if config.memory_limit:
            set_memory_limit(config.memory_limit * GB, config.device)

    def too_much(self) -> str | None:
        """A sentence where a step would need more memory than there is, found out with a few images."""
        images, info = self.images, memory_info(self.config.device)
        if info is None or images <= SMALL:
            return None
        self.model.train()
        preprocessing = self.task.preprocessing
        shape = preprocessing.channels, self.config.size, self.config.size
        self.need = need(self.update, images, shape, self.config.device)
        return None if self.need is None else too_much(self.need, images, info)

    # --- state ---

    def state(self) -> dict[str, Any]:
        """Everything that a later `resume` needs. It stays as it is when the run goes on, and may not be computed yet."""
        return {
            "config": self.config.to_dict(),
            "epoch": self.epoch,
            "batch": self.batch,
            "running": asdict(self.running),
            "seconds": self.seconds,
            "history": list(self.history),
            "random": random.default.state.tolist(),
            "schedule": self.schedule.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": copy(self.update.scaler),
            "model": {name: t.clone() for name, t in self.model.state_dict().items()},
        }

    def save(self, state: dict[str, Any] | None = None) -> None:
        """Write the present state, or an earlier one."""
        with self.saving:
            state = self.state() if state is None else state
            state = state | {"scaler": state["scaler"].state_dict()}
            self.write(run_folder.STATE, lambda path: run_folder.save_state(path, state))
            self.safe = None  # the file is as new

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `save`, for a state that `settings_of` has checked."""
        source = self.folder / run_folder.STATE
        check_parts(state, len(self.batches), self.optimizer, self.schedule, self.update.scaler, source)
        try:
            self.model.load_state_dict(state["model"])
        except ValueError as error:  # the data has other classes now
            raise unfit(source, error) from None
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if state.get("scaler"):
            self.update.scaler.load_state_dict(state["scaler"])
        self.epoch, self.batch, self.history = state["epoch"], state["batch"], state["history"]
        self.running, self.seconds = Running(**state["running"]), state["seconds"]
        random.default.state = np.array(state["random"], np.uint64)
        self.team.own_random_numbers()

    def write(self, name: str, write) -> None:
        """Call write(path) for a file of the run folder; a full disk and the like become a TrainingError."""
        if self.team.rank > 0:
            return
        try:
            write(self.folder / name)
        except OSError as error:
            raise TrainingError(
                f"{error}; what was saved before is whole: once there is room, --resume {self.folder} goes on from it"
            ) from error

    # --- the loop ---

    def complete(self) -> TrainResult:
        """Train to the end and evaluate."""
        images = len(self.batches) * self.config.batch_size
        done = self.epoch * images + self.batch * self.config.batch_size
        self.progress = Progress(self.config.epochs, images, done, self.quiet)
        self.team.rescue = self.rescue
        with Stop() as stop, num_threads(self.config.threads):
            try:
                if not self.epoch and not self.batch:
                    self.save()
                while self.epoch < self.config.epochs:
                    self.train_epoch(stop)
                    self.end_epoch(stop)
                result = self.result(stop)
            except Stopped:
                if self.epoch < self.config.epochs:  # otherwise that is done, and the model holds the best weights
                    self.settle()
                    self.save()
                raise TrainingInterrupted(self.folder, self.epoch, self.batch) from None
            except (MemoryError, RuntimeError) as error:
                if self.team.lost(error):
                    raise TrainingError(self.rescue("another process ended")) from None
                if isinstance(error, TrainingError) or not backend.get(self.config.device).exhausted(error):
                    raise
                raise TrainingError(self.exhausted()) from error
            finally:
                self.progress.close()
        return result

    def train_epoch(self, stop: Stop) -> None:
        """The rest of the present epoch."""
        self.model.train()
        self.batches.set_epoch(self.epoch, self.batch)
        started = time.perf_counter() - self.seconds
        for number, images, labels, share, last in self.parts(stop):
            self.step(number, images, labels, share, last, self.team.word(stop.wanted))
            self.seconds = time.perf_counter() - started
        self.settle()
        self.optimizer.zero_grad()  # of an update whose last batch held no readable image

    def parts(self, stop: Stop) -> Iterator[tuple[int, Tensor, Tensor, float, bool]]:
        """The rest of the epoch's batches: number, images, labels, share of an update, and whether it is the update's last.
        Nothing stops in the middle of an update."""
        total = len(self.batches)
        for number, (images, labels) in enumerate(self.batches, self.batch):
            first = number - number % self.config.accumulate
            count = min(self.config.accumulate, total - first)
            if number == first:
                self.check(stop)
            yield number, images, labels, 1 / count, number == first + count - 1
        self.check(stop)

    def check(self, stop: Stop) -> None:
        """Raise Stopped if it is time to stop."""
        if self.team.stops(stop.wanted):
            raise Stopped

    def step(self, number: int, images: Tensor, labels: Tensor, share: float, last: bool, words: Tensor | None) -> None:
        """One batch, started but not waited for: what it returns is read when the next one is under way."""
        before = self.state() if words is not None and self.team.rank == 0 and number == self.batch else None
        results = self.update(images, labels, share, last, words)
        if last:
            self.schedule.step()
            self.batch = number + 1
        self.settle()
        if before is not None:  # and settled: what it needed of the others has come
            self.safe = before | {"running": asdict(self.running)}
        self.pending = (*results, len(labels) * self.team.size, number)

    def settle(self) -> None:
        """Read and count what the last step returned."""
        if self.pending is None:
            return
        (loss, correct, norm, words, count, batch), self.pending = self.pending, None
        self.team.hear(words)
        value, size = loss.item(), 0.0 if norm is None else norm.item()
        finite = math.isfinite(value) and math.isfinite(size)
        if finite or not self.update.scaler.enabled or self.overflows == OVERFLOWS:
            self.check_finite("loss", value, batch)
            self.check_finite("gradient's norm", size, batch)
        if norm is not None:
            self.overflows = 0 if finite else self.overflows + 1
        if math.isfinite(value):
            self.running.add(value, round(correct.item()), count)
        self.progress.step(self.epoch, count, self.running, self.peak())

    def check_finite(self, what: str, value: float, batch: int) -> None:
        """Stop before something that isn't a number reaches a file."""
        if not math.isfinite(value):
            raise TrainingError(
                f"the {what} became {value} in epoch {self.epoch + 1}, batch {batch + 1}; the last good state and "
                f"the best weights are kept in {self.folder}; start again with a smaller lr (it was {self.config.lr:g})"
            )

    def exhausted(self) -> str:
        """What to do when the memory has run out."""
        info = memory_info(self.config.device)
        used = "" if info is None else f", {info.peak / GB:.3g} GB of {info.total / GB:.3g} GB used at most before"
        limit = 0 if info is None else min(info.limit, info.peak)
        return (
            f"the memory ran out in epoch {self.epoch + 1}, batch {self.batch + 1}{used}; "
            f"{advice(self.need, self.config.batch_size, limit)}; the last good state is kept in {self.folder}"
        )

    def peak(self) -> float | None:
        """The largest memory so far in GB, where the device counts it."""
        info = memory_info(self.config.device)
        return None if info is None else info.peak / GB

    def end_epoch(self, stop: Stop) -> None:
        """Validate, write the row of metrics.csv, the weights if they are the best so far, and the state."""
        started = time.perf_counter()
        loss, accuracy = self.validate(stop)
        self.check_finite("validation loss", loss, self.batch - 1)
        self.team.check_alike(self.model)
        row = {
            "epoch": self.epoch + 1,
            "train_loss": self.running.loss,
            "train_accuracy": self.running.accuracy,
            "val_loss": loss,
            "val_accuracy": accuracy,
            "lr": self.optimizer.param_groups[0]["lr"],
            "images_per_second": self.running.count / max(self.seconds, 1e-9),
            "seconds": self.seconds + time.perf_counter() - started,
        }
        if (peak := self.peak()) is not None:
            row["peak_memory_gb"] = peak
        self.history.append(row)
        self.epoch, self.batch, self.running, self.seconds = self.epoch + 1, 0, Running(), 0.0
        best = self.best is row
        if best:
            self.write(run_folder.WEIGHTS, lambda path: self.classifier.save(path, epoch=self.epoch, val_loss=loss))
        self.write(run_folder.METRICS, lambda path: run_folder.save_metrics(path, self.history))
        self.save()
        self.progress.epoch(row, best)

    def validate(self, stop: Stop) -> tuple[float, float]:
        """Loss and accuracy on the validation part, of which each process looks at a share, if it is large enough for that."""
        share = self.team.part if len(self.task.parts["val"]) >= EVAL_BATCH else (0, 1)
        batches = self.task.batches("val", EVAL_BATCH, self.config.device, share=share)
        found = evaluate(self.model, stop.between(batches) if self.team.size == 1 else batches)
        if self.team.size == 1:
            return found.loss, found.accuracy
        mine = len(found.labels)
        loss, correct, count = self.team.sums([found.loss * mine, float(found.correct), float(mine)], stop.wanted)
        self.check(stop)
        return loss / count, correct / count

    def rescue(self, reason: str) -> str:
        """Another process is gone: save what needs nothing more of it, and say so."""
        text = alone(reason)
        if self.team.rank > 0:
            return f"{text}; go on from what process 0 saved in its folder {self.folder}, with --resume"
        try:
            with self.saving:
                if self.safe is not None:
                    self.save(self.safe)
        except TrainingError as error:
            return f"{text}; {error}"
        state = run_folder.load_state(self.folder / run_folder.STATE)
        where = f"{state['epoch']} epochs and {state['batch']} batches"
        return f"{text}; the state after {where} is saved, --resume {self.folder} goes on from it"

    @property
    def best(self) -> dict[str, Any]:
        """The epoch with the lowest validation loss: on few images accuracy is a matter of luck."""
        return min(self.history, key=lambda row: row["val_loss"])

    def result(self, stop: Stop) -> TrainResult:
        """Evaluate the best weights, once, and write result and pictures; process 0 does, and tells the others."""
        if self.team.size == 1:
            return self.evaluated(stop)
        text = self.team.first(lambda: json.dumps(self.evaluated(stop).to_dict()))
        return TrainResult(folder=self.folder, **json.loads(text))

    def evaluated(self, stop: Stop) -> TrainResult:
        """What `result` does."""
        take_weights(self.classifier, self.folder / run_folder.WEIGHTS)
        part = "test" if "test" in self.task.parts else "val"
        batches = stop.between(self.task.batches(part, EVAL_BATCH, self.config.device))
        try:
            return report(self.folder, self.classifier, self.task, part, batches, self.history, self.best)
        except OSError as error:
            raise TrainingError(f"{error}; training is complete, --resume {self.folder} evaluates again") from error

    def say(self, text: str) -> None:
        """Print unless quiet."""
        if not self.quiet:
            print(text, flush=True)
