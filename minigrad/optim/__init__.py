"""Optimisers, learning-rate schedules, gradient clipping and weight averaging."""

from minigrad.optim import lr_scheduler
from minigrad.optim.adam import Adam, AdamW
from minigrad.optim.clip import clip_grad_norm_, clip_grad_value_
from minigrad.optim.ema import EMA
from minigrad.optim.grad_scaler import GradScaler
from minigrad.optim.layer_decay import param_groups_layer_decay
from minigrad.optim.optimizer import Optimizer, flatten_state, unflatten_state
from minigrad.optim.sgd import SGD

__all__ = [
    "EMA",
    "SGD",
    "Adam",
    "AdamW",
    "GradScaler",
    "Optimizer",
    "clip_grad_norm_",
    "clip_grad_value_",
    "flatten_state",
    "lr_scheduler",
    "param_groups_layer_decay",
    "unflatten_state",
]
