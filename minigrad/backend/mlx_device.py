"""What chip MLX computes on, and what follows from it."""

import functools
import re

import mlx.core as mx


@functools.cache
def architecture() -> str:
    """MLX's name of the chip: "applegpu_g13s" is an M1 Pro, "applegpu_g16g" an M4."""
    return str(mx.device_info().get("architecture", ""))


def low_precision() -> str:
    """The 16-bit dtype that the chip computes quickly: M1 and M2 (GPU generations 13 and 14) emulate bfloat16, M3 and
    later have it."""
    generation = re.match(r"applegpu_g(\d+)", architecture())
    return "float16" if generation and int(generation[1]) < 15 else "bfloat16"
