"""A watch over the dtypes that MLX arrays get: Apple's GPUs have neither float64 nor complex numbers, MLX's CPU device has."""

import functools
import sys
from contextlib import contextmanager


@contextmanager
def watch():
    """While open, every function of mlx.core, mlx.core.fast and mlx.core.random, and `astype`, raises when it makes an array
    that Apple's GPU can't hold. Operators and the other methods keep to the dtypes that they get. `in_float64` of the sums may
    make float64 on MLX's CPU device; it rounds what it returns."""
    import mlx.core as mx

    from minigrad.backend import get
    from minigrad.backend.mlx_sums import in_float64

    forbidden = (mx.float64, mx.complex64)

    def widened(value, caller):
        if caller.f_code is not in_float64.__code__ or mx.default_device().type != mx.DeviceType.cpu:
            return False
        return isinstance(value, mx.array) and value.dtype == mx.float64

    def check(value, name):
        if isinstance(value, mx.array) and value.dtype in forbidden:
            raise AssertionError(f"{name} made an MLX array of {value.dtype}, which Apple's GPU lacks")
        if isinstance(value, list | tuple):
            for item in value:
                check(item, name)

    def watched(name, function):
        @functools.wraps(function)
        def call(*args, **kwargs):
            result = function(*args, **kwargs)
            if not widened(result, sys._getframe(1)):
                check(result, name)
            return result

        return call

    kind = type(mx.add)
    before = []
    for owner in (mx, mx.fast, mx.random, mx.linalg):
        for name in dir(owner):
            function = getattr(owner, name)
            if isinstance(function, kind):
                before.append((owner, name, function))
                setattr(owner, name, watched(f"{owner.__name__}.{name}", function))
    before.append((mx.array, "astype", mx.array.astype))
    mx.array.astype = watched("astype", mx.array.astype)
    cached = vars(get("mlx"))
    for name in [name for name, value in cached.items() if isinstance(value, kind)]:
        del cached[name]  # it is looked up anew
    try:
        yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)
        for name in [name for name, value in cached.items() if hasattr(value, "__wrapped__")]:
            del cached[name]
