"""minigrad: a small tensor library with automatic differentiation, on numpy and on MLX, and Pyramid Vision Transformer v2."""

__version__ = "0.1.0"

import typing as _typing

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

if _typing.TYPE_CHECKING:
    from minigrad import data, distributed, interop, models, training, visual
    from minigrad.compiler import CompileError, compile
    from minigrad.serialize import load, save

__all__ = [
    "CompileError", "DType", "GradScaler", "MemoryInfo", "Tensor", "arange", "as_tensor", "autocast", "autograd",
    "backend", "bfloat16", "bool", "compile", "data", "device", "distributed", "empty_cache", "enable_grad", "eye",
    "float16", "float32", "float64", "from_numpy", "full", "full_like", "get_default_device", "get_num_threads", "grad",
    "int16", "int32", "int64", "int8", "interop", "is_autocast_enabled", "is_grad_enabled", "linspace", "load",
    "manual_seed", "memory_info", "models", "nn", "no_grad", "ones", "ones_like", "ops", "optim", "rand", "rand_like",
    "randint", "randn", "randn_like", "random", "randperm", "reset_peak_memory", "save", "set_cache_limit",
    "set_default_device", "set_memory_limit", "set_num_threads", "tensor", "training", "uint8", "visual", "zeros",
    "zeros_like",
]  # fmt: skip
__all__ += vars(functions)["__all__"]

_LATER = dict.fromkeys(("data", "distributed", "interop", "models", "training", "visual"), "")
_LATER |= dict.fromkeys(("CompileError", "compile"), "compiler") | dict.fromkeys(("load", "save"), "serialize")


def __getattr__(name: str):
    """What not every program needs, or needs Pillow, tqdm or pictures, is imported when it is first used."""
    if name not in _LATER:
        raise AttributeError(f"module 'minigrad' has no attribute {name!r}")
    import importlib

    module = importlib.import_module(f"minigrad.{_LATER[name] or name}")
    globals()[name] = value = getattr(module, name) if _LATER[name] else module
    return value


def _conv_mlp() -> object:
    import minigrad.models.pvt_v2.conv_mlp as room

    return room.conv_mlp


nn.functional.__moved__["conv_mlp"] = _conv_mlp


def __dir__() -> list[str]:
    """The public names, also those that are imported later."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
