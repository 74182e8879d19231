"""What `macbook.py` shows: a table that grows, a line about what is being measured, and the machine."""

import argparse
import contextlib
import datetime
import importlib.metadata
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

import common

HERE = Path(__file__).parent


class Report:
    """What was measured so far, as Markdown; also in a file, for a GPU's error may end the process."""

    def __init__(self, about: list[str], path: Path):
        self.about, self.path, self.tables, self.notes = about, path, dict[str, list[str]](), list[str]()

    def add(self, title: str, head: list[str], row: list) -> None:
        """A row of the table `title`."""
        cells = [str(v) if not isinstance(v, float) else f"{v:.3g}" if v < 100 else f"{v:.0f}" for v in row]
        lines = self.tables.setdefault(title, [line(head), line(["---"] * len(head))])
        lines.append(line(cells + [""] * (len(head) - len(cells))))
        with contextlib.suppress(OSError):  # `main` tells
            self.path.write_text(str(self), encoding="utf-8")

    def __str__(self) -> str:
        parts = ["# PVTv2 with minigrad on this machine", "\n".join(f"* {text}" for text in self.about + self.notes)]
        for title, lines in self.tables.items():
            parts += [f"## {title}", "\n".join(lines)]
        return "\n\n".join(parts) + "\n"


def reason(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0][:200]}"


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


class Progress:
    """A line about what is being measured, on standard error."""

    def __init__(self, total: int):
        self.total, self.done, self.started = max(total, 1), 0, time.perf_counter()

    def __call__(self, text: str) -> None:
        passed = time.perf_counter() - self.started
        left = f", about {passed / self.done * (self.total - self.done) / 60:.0f} min left" if self.done > 3 else ""
        text = f"[{self.done + 1}/{self.total}, {passed:.0f} s{left}] {text}"
        self.clear()
        print(text, end="" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)
        self.done += 1

    def clear(self) -> None:
        """Takes the line away, so that something else can be printed."""
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def said(*command: str) -> str:
    """What a command of the system prints; nothing where there is no such command."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match[1].strip() if match else "unknown"


def machine(options: argparse.Namespace) -> tuple[str, list[str]]:
    """The chip's name, and lines about machine, versions and settings."""
    import mlx.core as mx

    import minigrad as mg

    info = mx.device_info()
    gpu = mx.default_device().type == mx.DeviceType.gpu
    chip = said("sysctl", "-n", "machdep.cpu.brand_string") if sys.platform == "darwin" else common.processor()
    where = f"{info.get('device_name', 'unknown')} ({info.get('architecture', 'unknown')})" if gpu else "its CPU device"
    if sys.platform == "darwin":
        cores = found(r"Total Number of Cores: (\d+)", said("system_profiler", "SPDisplaysDataType"))
        power = found(r"'(.+)'", said("pmset", "-g", "batt"))
        low = {"1": "on", "0": "off"}.get(found(r"lowpowermode\s+(\d)", said("pmset", "-g")), "unknown")
        system = f"macOS {platform.mac_ver()[0]}, {cores} GPU cores, power: {power}, low power mode {low}"
    else:
        chip = info.get("device_name", chip) if gpu else chip
        system = platform.system()
    memory = mg.memory_info("mlx")
    commit = said("git", "-C", str(HERE), "rev-parse", "--short", "HEAD")
    ours = f"minigrad {mg.__version__}" + (f" ({commit})" if commit else "")
    versions = [ours, f"Python {platform.python_version()}"]
    for package in ("mlx", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{package} {importlib.metadata.version(package)}")
    settings = f"{options.seconds:g} s of turns for each row" + (", --quick" if options.quick else "")
    return chip, [
        f"{chip}, {system}",
        f"memory {memory.total / 1e9:.1f} GB, of which MLX may use {memory.limit / 1e9:.1f}; MLX computes on {where}",
        f"{', '.join(versions)}; autocast's default here: {mg.backend.get('mlx').low_precision()}",
        f"{datetime.date.today():%d %B %Y}; {settings}",
    ]
