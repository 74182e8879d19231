"""What chip MLX computes on, its memory, and what follows from them."""

import functools
import os
import re

import mlx.core as mx

RESERVE = 3 << 30  # bytes that the rest of the system is left at least, and ...
SHARE = 4  # ... one part in four of a larger memory
EXHAUSTED = re.compile(
    r"insufficient memory|out ?of ?memory|unable to allocate|attempting to allocate|malloc", re.IGNORECASE
)


@functools.cache
def architecture() -> str:
    """MLX's name of the chip: "applegpu_g13s" is an M1 Pro, "applegpu_g16g" an M4."""
    return str(mx.device_info().get("architecture", ""))


def low_precision() -> str:
    """The 16-bit dtype that the chip computes quickly: M1 and M2 (GPU generations 13 and 14) emulate bfloat16, M3 and
    later have it."""
    generation = re.match(r"applegpu_g(\d+)", architecture())
    return "float16" if generation and int(generation[1]) < 15 else "bfloat16"


def total_memory() -> int:
    """Bytes of the GPU's memory, which on a Mac is the machine's; of the machine's where MLX runs on the CPU."""
    info = mx.device_info()
    for name in ("memory_size", "total_memory"):
        if name in info:
            return int(info[name])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def default_limits(total: int, recommended: int | None) -> tuple[int, int]:
    """(memory, cache): what is left of the memory after a quarter, at least 3 GiB, for the rest of the system (but no less than
    half of it), and not more than the system recommends for the GPU; half of that for freed arrays."""
    limit = max(total - max(RESERVE, total // SHARE), total // 2)
    if recommended:
        limit = min(limit, recommended)
    return limit, limit // 2


def set_default_limits() -> None:
    """On a Mac's GPU, see `default_limits`; elsewhere MLX's own stay."""
    info = mx.device_info()
    if mx.default_device().type == mx.DeviceType.gpu and "memory_size" in info:
        memory, cache = default_limits(int(info["memory_size"]), int(info.get("max_recommended_working_set_size", 0)))
        mx.set_memory_limit(memory)
        mx.set_cache_limit(cache)


def memory() -> dict[str, int]:
    """The counts of `minigrad.memory.MemoryInfo`."""
    cache_limit = mx.set_cache_limit(1 << 62)  # MLX tells it only when it is set
    mx.set_cache_limit(cache_limit)
    return {
        "total": total_memory(),
        "limit": mx.get_memory_limit(),
        "cache_limit": cache_limit,
        "active": mx.get_active_memory(),
        "peak": mx.get_peak_memory(),
        "cache": mx.get_cache_memory(),
    }


def exhausted(error: BaseException) -> bool:
    """Whether MLX complains that memory ran out."""
    return isinstance(error, MemoryError) or isinstance(error, RuntimeError) and bool(EXHAUSTED.search(str(error)))
