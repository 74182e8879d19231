"""The largest resident size that a process had."""

import resource
import sys
from pathlib import Path


def peak_memory() -> int:
    """Of this process since it was started, in bytes. (`ru_maxrss`, used where there is no /proc, also counts the parent before
    exec on Linux, and the process of all tests is large.)"""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
