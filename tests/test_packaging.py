"""The package as it is installed: what importing it costs, and what is in the wheel."""

import io
import os
import re
import statistics
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]


def run(code, **environment):
    environment = {**os.environ, **environment}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.strip()


def test_import_is_quick(tmp_path):
    """It takes less than two and a half times what numpy's import takes: a bound that any machine can be held to."""

    def seconds(name):
        code = f"import time; start = time.process_time(); import {name}; print(time.process_time() - start)"
        return float(run(code, PYTHONPYCACHEPREFIX=str(tmp_path), PYTHONDONTWRITEBYTECODE=""))

    seconds("minigrad")  # compiles it
    ratios = [seconds("minigrad") / seconds("numpy") for _ in range(9)]
    assert statistics.median(ratios) < 2.5, ratios


def test_import_loads_nothing_optional():
    code = "import sys, minigrad; print(*{name.partition('.')[0] for name in sys.modules})"
    assert not {"mlx", "matplotlib", "torch", "scipy"} & set(run(code).split())


def test_import_works_without_the_optional_packages():
    """As on a machine that has only the core dependencies: asking for MLX then says what to install."""
    code = """
import sys
for name in ("mlx", "matplotlib", "torch", "scipy"):
    sys.modules[name] = None
import minigrad as mg
print((mg.ones(2, 2) + 1).sum().item())
try:
    mg.ones(2, device="mlx")
except mg.backend.BackendError as error:
    print(error)
"""
    total, message = run(code).splitlines()
    assert float(total) == 8 and "minigrad[mlx-cpu]" in message


def test_the_contract_between_the_backends_names_all_their_files():
    """`lint-imports` takes no patterns for them."""
    [contract] = [c for c in PYPROJECT["tool"]["importlinter"]["contracts"] if c["name"].startswith("MLX")]
    for library, rest, listed in (("mlx", "mlx", "source_modules"), ("numpy", "cpu", "forbidden_modules")):
        files = {f"minigrad.backend.{path.stem}" for path in (ROOT / "minigrad/backend").glob(f"{library}_*.py")}
        assert {*files, f"minigrad.kernels.{rest}"} == set(contract[listed])


def test_version():
    assert mg.__version__ == PROJECT["version"]


def test_readme_has_the_command_that_ci_runs():
    text = (ROOT / "README.md").read_text("utf-8")
    found = re.search(r"<!-- test-command -->\s+```\w*\n(python3 -m venv [^\n]+)\n```", text)
    assert found and "-m pytest" in found[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    [path] = folder.iterdir()
    with zipfile.ZipFile(path) as file:
        yield file


def test_the_wheel_is_complete(wheel):
    names = set(wheel.namelist())
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "minigrad").rglob("*.py")}
    assert sources <= names
    assert {"minigrad/py.typed", "minigrad/data/digits.npz", "minigrad/data/digits_LICENSE.txt"} <= names
    assert {name.partition("/")[0] for name in names} == {"minigrad", f"minigrad-{PROJECT['version']}.dist-info"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    [points] = [name for name in names if name.endswith("entry_points.txt")]
    assert b"minigrad = minigrad.cli:main" in wheel.read(points)
    assert sum(info.compress_size for info in wheel.infolist()) < 1_000_000


def test_the_digits_in_the_wheel(wheel):
    with np.load(io.BytesIO(wheel.read("minigrad/data/digits.npz")), allow_pickle=False) as file:
        assert {name: array.shape for name, array in file.items()} == {
            "images": (1797, 8, 8), "labels": (1797,), "split": (1797,)
        }  # fmt: skip


def test_the_attribution_of_the_digits():
    text = (ROOT / "minigrad" / "data" / "digits_LICENSE.txt").read_text("utf-8")
    for words in ("E. Alpaydin and C. Kaynak", "10.24432/C50P49", "CC BY 4.0", "Changes:"):
        assert words in text
