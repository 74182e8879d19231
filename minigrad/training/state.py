"""A run's state as a file tells it, checked in full before anything is built of it, and against what the fresh parts of a run expect
before anything in them is changed."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.engine.tensor import Tensor
from minigrad.interop import entries
from minigrad.models import PVT_V2
from minigrad.models.checkpoints.loading import check_finite
from minigrad.models.pvt_v2.variants import variant_config
from minigrad.nn import init
from minigrad.nn.state import compared
from minigrad.optim import GradScaler, Optimizer
from minigrad.optim.lr_scheduler import LRScheduler
from minigrad.random import MASK64
from minigrad.serialize import CheckpointError
from minigrad.training.config import TrainConfig
from minigrad.training.metrics import Running
from minigrad.training.tasks import classes_of

NAMES = (
    "config", "epoch", "batch", "running", "seconds", "history", "random", "schedule", "optimizer", "scaler", "model",
)  # fmt: skip
COLUMNS = {  # of a row of metrics.csv: the largest number of each
    "epoch": entries.LARGEST, "train_loss": np.inf, "train_accuracy": 1, "val_loss": np.inf, "val_accuracy": 1, "lr": np.inf,
    "images_per_second": np.inf, "seconds": np.inf, "peak_memory_gb": np.inf,
}  # fmt: skip
SLOTS = {"step", "exp_avg", "exp_avg_sq"}  # AdamW's
FREE = ("lr", "capturable")  # options of a group that change while a run goes on


def unfit(source: Path, reason: object) -> CheckpointError:
    """The error for a state that can't be that of a run."""
    return CheckpointError(f"{source} is not the saved state of a training run: {' '.join(str(reason).split())[:300]}")


def settings_of(state: Mapping[str, Any], source: Path) -> TrainConfig:
    """The settings in the state that was read from the file `source`, after all of it was checked that needs no model: what entries
    there are, their types and ranges, and that the weights have the shapes of the settings' model.

    Raises:
        CheckpointError: when an entry is missing, unknown or wrong. BackendError: for a device that isn't there.
    """
    try:
        entries.only("it", state, NAMES, optional=("scaler",))
        config = TrainConfig.from_dict(entries.mapping("config", state["config"]))
        epochs = entries.whole("epoch", state["epoch"], 0, config.epochs)
        entries.whole("batch", state["batch"])
        running = entries.only("running", state["running"], tuple(asdict(Running())))
        entries.number("total", running["total"])
        entries.whole("correct", running["correct"], 0, entries.whole("count", running["count"]))
        entries.number("seconds", state["seconds"], 0)
        _check_history(state["history"], epochs)
        if not isinstance(state["random"], list | tuple) or len(state["random"]) != 2:
            raise ValueError("random must be two whole numbers")
        for value in state["random"]:
            entries.whole("random", value, 0, MASK64)
        for name in ("schedule", "optimizer"):
            entries.mapping(name, state[name])
        classes = _check_model(config, entries.mapping("model", state["model"]), source)
        if (found := len(classes_of(config.data))) != classes:
            raise ValueError(f"its model has {classes} classes, and there are {found} in {config.data}")
    except CheckpointError:
        raise
    except (ValueError, TypeError, OSError) as error:
        raise unfit(source, error) from None
    return config


def _check_history(rows: Any, epochs: int) -> None:
    if not isinstance(rows, list) or len(rows) != epochs:
        raise ValueError(f"history must be a list of {epochs} rows, one for each epoch")
    for number, row in enumerate(rows, 1):
        entries.only("a row of history", row, tuple(COLUMNS), optional=("peak_memory_gb",))
        for name, value in row.items():
            entries.number(name, value, 0, COLUMNS[name])
        entries.whole("epoch", row["epoch"], number, number)


def _check_model(config: TrainConfig, weights: Mapping[Any, Any], source: Path) -> int:
    """The number of classes of the weights. Raises ValueError or CheckpointError where they are not those of the settings' model; its
    classes and channels, which the data tells, are taken from them."""
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"model must map names to tensors, got {entries.told(value)} for {entries.told(name)}")
    shapes = {name: weights[name].shape for name in ("head.weight", "patch_embed.proj.weight") if name in weights}
    if len(shapes) < 2 or min(map(len, shapes.values())) < 2:
        raise ValueError("model lacks its first or its last weights")
    sizes = {"num_classes": shapes["head.weight"][0], "in_channels": shapes["patch_embed.proj.weight"][1]}
    with init.no_weights():
        own = PVT_V2(variant_config(config.model, **sizes, img_size=config.size)).state_dict()
    compared("loading", "its model", own, weights)
    for name, value in weights.items():
        check_finite(source, name, value.numpy())
    return sizes["num_classes"]


# ---- beside the fresh parts of a run ---------------------------------------------------------------------------------


def check_parts(
    state: Mapping[str, Any],
    batches: int,
    optimizer: Optimizer,
    schedule: LRScheduler,
    scaler: GradScaler,
    source: Path,
) -> None:
    """Compares what a state says of a run's parts with what these are when they are fresh: names, numbers, shapes and dtypes.

    Args:
        batches: in an epoch.

    Raises:
        CheckpointError: when something differs that doesn't change while a run goes on, or is no number that it can become.
    """
    try:
        entries.whole("batch", state["batch"], 0, batches)
        _check_optimizer(state["optimizer"], optimizer, source)
        _check_schedule(state["schedule"], schedule)
        _check_scaler(state.get("scaler") or {}, scaler)
    except CheckpointError:
        raise
    except ValueError as error:
        raise unfit(source, error) from None


def _check_optimizer(saved: Mapping[str, Any], optimizer: Optimizer, source: Path) -> None:
    entries.only("optimizer", saved, ("state", "param_groups"))
    fresh: Any = optimizer.state_dict()["param_groups"]
    groups, slots = saved["param_groups"], entries.mapping("state", saved["state"])
    if not isinstance(groups, list) or len(groups) != len(fresh):
        raise ValueError(f"param_groups must be a list of {len(fresh)} groups")
    for group, own in zip(groups, fresh, strict=True):
        entries.only("a parameter group", group, ("params", "lr"), optional=tuple(own))
        entries.number("lr", group["lr"], 0, own["initial_lr"])
        if not isinstance(group.get("capturable", False), bool):
            raise ValueError(f"capturable must be True or False, got {entries.told(group['capturable'])}")
        _same("a parameter group's", {name: value for name, value in group.items() if name not in FREE}, own)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for key, found in slots.items():
        p = parameters[entries.whole("the number of a parameter", key, 0, len(parameters) - 1)]
        if set(entries.mapping("a parameter's state", found)) != SLOTS:
            raise ValueError(f"a parameter's state must have {', '.join(sorted(SLOTS))}")
        for name, value in found.items():
            shape = () if name == "step" else p.shape
            if not isinstance(value, Tensor) or value.shape != shape or not value.dtype.is_floating_point:
                raise ValueError(f"{name} of parameter {key} must be a floating-point tensor of shape {shape}")
            check_finite(source, f"{name} of parameter {key}", value.numpy())
            if name != "exp_avg" and (value.numpy() < 0).any():
                raise ValueError(f"{name} of parameter {key} has negative numbers")


def _check_schedule(saved: Mapping[str, Any], schedule: LRScheduler) -> None:
    fresh = schedule.state_dict()
    entries.only("schedule", saved, tuple(fresh))
    total = entries.whole("total_steps", saved["total_steps"], 1)
    entries.whole("warmup_steps", saved["warmup_steps"], 0, total)
    entries.whole("last_epoch", saved["last_epoch"], 0, total)
    rates = saved["_last_lr"]
    if not isinstance(rates, list) or len(rates) != len(schedule.base_lrs):
        raise ValueError(f"_last_lr must be a list of {len(schedule.base_lrs)} numbers")
    for rate, most in zip(rates, schedule.base_lrs, strict=True):
        entries.number("_last_lr", rate, 0, most)
    # The data may have grown since: the numbers of steps are those of the run's beginning.
    _same("the schedule's", {name: saved[name] for name in ("eta_min", "base_lrs")}, fresh)


def _check_scaler(saved: Any, scaler: GradScaler) -> None:
    fresh = scaler.state_dict()
    entries.only("scaler", saved, tuple(fresh))
    if fresh:
        entries.number("scale", saved["scale"], 2.0**-149, float(np.finfo(np.float32).max))
        entries.whole("_growth_tracker", saved["_growth_tracker"], 0, 2**31 - 1)
        entries.whole("skipped", saved["skipped"], 0, 2**31 - 1)
        _same(
            "the scaler's",
            {name: saved[name] for name in ("growth_factor", "backoff_factor", "growth_interval")},
            fresh,
        )


def _same(whose: str, saved: Mapping[str, Any], fresh: Mapping[str, Any]) -> None:
    """Raises ValueError where a setting isn't the one that the run's settings give."""
    for name, value in saved.items():
        own = list(fresh[name]) if isinstance(fresh[name], tuple) else fresh[name]
        value = list(value) if isinstance(value, tuple) else value
        if type(value) is not type(own) and not (entries.is_finite(value) and entries.is_finite(own)) or value != own:
            raise ValueError(
                f"{whose} {name} is {entries.told(value)}, and the run's settings give {entries.told(own)}"
            )
