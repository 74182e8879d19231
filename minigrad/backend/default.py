"""The device of tensors that are made without naming one."""

import threading
from typing import Self

from minigrad.backend import get


class _Devices(threading.local):
    """The devices of the `with mg.device(…)` blocks that a thread is in."""

    def __init__(self) -> None:
        self.entered: list[str] = []


_devices = _Devices()
_default = ["cpu"]  # outside of such blocks, in every thread


def set_default_device(name: str) -> None:
    """The device of tensors made without `device=` from now on: "cpu", "mlx" or "gpu". Inside `with mg.device(…)` it holds until
    the block ends."""
    (_devices.entered or _default)[-1] = get(name).name


def get_default_device() -> str:
    """The device of tensors made without `device=`."""
    return (_devices.entered or _default)[-1]


class device:
    """Context manager: tensors that this thread makes inside without `device=` are on this device.

    >>> import minigrad as mg
    >>> with mg.device("cpu"):
    ...     print(mg.zeros(2).device)
    cpu
    """

    def __init__(self, name: str):
        self.name = get(name).name

    def __enter__(self) -> Self:
        _devices.entered.append(self.name)
        return self

    def __exit__(self, *exc: object) -> None:
        _devices.entered.pop()

    def __repr__(self) -> str:
        return f"device({self.name!r})"
