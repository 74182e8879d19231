"""Every example and notebook runs, on a small budget, and the README's example too."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "TOUR_EPOCHS": "1", "OMP_NUM_THREADS": "1"}
SCRIPTS = {"spiral.py": ["--steps", "60"], "digits.py": ["1"], "one_layer_on_mlx.py": []}
SAYS = {"spiral.py": "accuracy 9", "digits.py": "epoch 1: loss", "one_layer_on_mlx.py": "largest difference of the output"}


def run(arguments, folder):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_script_is_tested():
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(name, tmp_path):
    if "mlx" in name:
        pytest.importorskip("mlx.core")
    assert SAYS[name] in run([ROOT / "examples" / name, *SCRIPTS[name]], tmp_path)
    if name == "spiral.py":
        assert (tmp_path / "spiral.png").stat().st_size > 10_000


@pytest.mark.parametrize("path", sorted((ROOT / "examples" / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_notebook(path, tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    text = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    by_backward, by_difference = (float(re.search(rf"{name}\s+(\S+)", text)[1]) for name in ("backward", "finite difference"))
    assert by_backward == pytest.approx(by_difference, rel=1e-4, abs=1e-11)


def test_readme_example(tmp_path):
    example = re.search(r"```python\n(import minigrad.+?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)[1]
    run(["-c", example.replace("224, 224", "64, 64") + "\nprint(loss.item())"], tmp_path)


@pytest.mark.parametrize("name", ["operations", "checkpoints", "pictures"])
def test_pages(name, tmp_path):
    """Every block of the page runs, one after the other."""
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    run(["-c", "\n".join(re.findall(r"```python\n(.+?)```", page, re.S))], tmp_path)
