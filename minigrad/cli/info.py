"""`minigrad info`."""

import argparse
import os
import platform
from importlib import metadata

import numpy as np

import minigrad as mg
from minigrad import backend, models
from minigrad.cli.errors import one_line

TEXT = "versions, devices and threads, for a bug report"
EXAMPLES = """example:
  python -m minigrad info"""


def options(sub: argparse.ArgumentParser) -> None:
    """The command has no arguments of its own."""


def run() -> int:
    """Prints versions, devices and threads, returns the exit status."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    names = (
        "MINIGRAD_NUM_THREADS",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    )
    limits = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
    print(f"minigrad    {mg.__version__}")
    print(f"python      {platform.python_version()} on {platform.platform()} ({platform.machine()})")
    print(f"numpy       {np.__version__}, BLAS {blas.get('name', 'unknown')} {blas.get('version', '')}".rstrip())
    print(f"threads     {mg.get_num_threads()} of {cores} cores" + "".join(f", {limit}" for limit in limits))
    print("device cpu  numpy")
    try:
        where = "the GPU" if backend.get("mlx").has_gpu() else "the CPU (it finds no GPU here)"
        print(f"device mlx  MLX {metadata.version('mlx')} on {where}")
        print(f"memory      {mg.memory_info('mlx')}")
        print(f"autocast    {backend.get('mlx').low_precision()} on MLX here, float16 on numpy (slow)")
    except backend.BackendError as error:
        print(f"device mlx  {one_line(error)}")
    for name, package in (("pillow", "pillow"), ("matplotlib", "matplotlib")):
        try:
            print(f"{name:<11} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            print(f"{name:<11} not installed")
    print(f"models      {', '.join(models.list_models())}")
    return 0
