"""minigrad: a small tensor library with automatic differentiation, on numpy and on MLX, and Pyramid Vision Transformer v2."""

__version__ = "0.1.0"

from typing import TYPE_CHECKING

from minigrad import autograd, backend, functions, nn, ops, optim, random
from minigrad.autograd import autocast, enable_grad, grad, is_autocast_enabled, is_grad_enabled, no_grad
from minigrad.backend import get_num_threads, set_num_threads
from minigrad.backend.default import device, get_default_device, set_default_device
from minigrad.creation import (
    arange,
    as_tensor,
    eye,
    from_numpy,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    tensor,
    zeros,
    zeros_like,
)
from minigrad.dtypes import DType, bfloat16, float16, float32, float64, int8, int16, int32, int64, uint8
from minigrad.dtypes import bool_ as bool
from minigrad.engine.tensor import Tensor
from minigrad.functions import *  # noqa: F403
from minigrad.memory import MemoryInfo, empty_cache, memory_info, reset_peak_memory, set_cache_limit, set_memory_limit
from minigrad.optim import GradScaler
from minigrad.random import manual_seed

if TYPE_CHECKING:
    from minigrad import data, distributed, models, training, visual
    from minigrad.compiler import CompileError, compile
    from minigrad.serialize import load, save

LATER = dict.fromkeys(("data", "distributed", "models", "training", "visual"), "")
LATER |= {
    "CompileError": "compiler",
    "compile": "compiler",
    "load": "serialize",
    "save": "serialize",
}  # name -> its module


def __getattr__(name: str):
    """What not every program needs, or needs Pillow, tqdm or pictures, is imported when it is first used."""
    if name not in LATER:
        raise AttributeError(f"module 'minigrad' has no attribute {name!r}")
    import importlib

    module = importlib.import_module(f"minigrad.{LATER[name] or name}")
    globals()[name] = value = getattr(module, name) if LATER[name] else module
    return value
