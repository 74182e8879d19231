"""Where the user is: the innermost frame outside minigrad, for warnings and errors that name a line."""

import sys
import warnings
from types import FrameType


def user_frame() -> tuple[FrameType, int]:
    """That frame, and how many frames lie between it and the caller (1: it called the caller)."""
    frame, level = sys._getframe(1), 0
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == "minigrad":
        frame, level = frame.f_back, level + 1
    return frame, level


def warn(message: str) -> None:
    """A UserWarning that points at the user's line, however deep in minigrad its cause is."""
    warnings.warn(message, stacklevel=1 + user_frame()[1])
