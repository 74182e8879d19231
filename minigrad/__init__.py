"""minigrad: a small tensor library with automatic differentiation, on numpy and on MLX, and Pyramid Vision Transformer v2."""

__version__ = "0.1.0"

from typing import TYPE_CHECKING

from minigrad import autograd, backend, distributed, nn, ops, optim, random
from minigrad.autograd import autocast, enable_grad, grad, is_autocast_enabled, is_grad_enabled, no_grad
from minigrad.backend import get_num_threads, set_num_threads
from minigrad.compiler import CompileError, compile
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
from minigrad.memory import MemoryInfo, empty_cache, memory_info, reset_peak_memory, set_cache_limit, set_memory_limit
from minigrad.ops import *  # noqa: F403
from minigrad.optim import GradScaler
from minigrad.random import manual_seed
from minigrad.serialize import load, save
from minigrad.tensor import Tensor, device, get_default_device, set_default_device

if TYPE_CHECKING:
    from minigrad import data, models, training, visual


def __getattr__(name: str):
    """The models, and the parts that need Pillow, tqdm or pictures, are imported when they are first used."""
    if name in ("data", "models", "training", "visual"):
        import importlib

        return importlib.import_module(f"minigrad.{name}")
    raise AttributeError(f"module 'minigrad' has no attribute {name!r}")
