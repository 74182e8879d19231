"""What the benchmarks share: taking turns, the machine's description, PyTorch's models, peak memory."""

import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path


def alternate(runs: dict, turns: int, clock=time.perf_counter) -> dict[str, list[float]]:
    """Seconds of every turn of every run; the runs take turns, so that a busy moment disturbs them alike. Each runs once before it
    is timed, as in a loop of its own: the threads of the run before it spin on for some milliseconds on the cores that it needs."""
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(turns):
        for name, run in runs.items():
            run()
            start = clock()
            run()
            times[name].append(clock() - start)
    return times


def take_turns(runs: dict, seconds: float, least: int = 5) -> dict[str, list[tuple[float, float]]]:
    """(Wall, processor) seconds of every turn of every run, for as long as `seconds`; another run begins each round, and each
    runs once before it is timed, since the memory that the run before it used is the array library's cache for the next."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    until, names = time.perf_counter() + seconds, list(runs)
    while time.perf_counter() < until or len(times[names[0]]) < least:
        names.append(names.pop(0))
        for name in names:
            runs[name]()
            cpu, wall = time.process_time(), time.perf_counter()
            runs[name]()
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return times


def ratio(times: dict[str, list[float]], name: str, other: str) -> float:
    """Median of the turns' ratios of two runs."""
    return statistics.median(a / b for a, b in zip(times[name], times[other], strict=True))


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine() -> str:
    """Processor, cores, system, versions and date in one line."""
    versions = []
    for package in ("numpy", "torch", "timm"):
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    setting = "".join(f", {name}={os.environ[name]}" for name in ("OPENBLAS_CORETYPE",) if name in os.environ)
    return (
        f"{processor()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, {', '.join(versions)}, "
        f"OpenBLAS kernels {blas_kernels()}{setting}, {date.today():%d %B %Y}"
    )


def blas_kernels() -> str:
    from threadpoolctl import threadpool_info

    return (
        ", ".join(str(lib.get("architecture")) for lib in threadpool_info() if lib["user_api"] == "blas") or "unknown"
    )


def timm_model(name: str, **options):
    """A model of timm, which imports torchvision: its two box operators are declared, since only their names are asked for."""
    import torch

    try:
        import timm
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for module in [m for m in sys.modules if m.partition(".")[0] in ("timm", "torchvision")]:
            del sys.modules[module]
        import timm

        timm.torchvision_schemas = library  # the declarations live as long as this object
    return timm.create_model(name, **options)


def peak_memory() -> int:
    """The largest resident size that this process had, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would also count the parent before exec
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def own_process(script: str, *arguments: str) -> str:
    """What `python script arguments…` prints in a process of its own."""
    return subprocess.run([sys.executable, script, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout
