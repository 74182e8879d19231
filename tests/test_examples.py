"""Every example and notebook runs, on a small budget, and the README's example too."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import quotations

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "TOUR_EPOCHS": "1", "OMP_NUM_THREADS": "1"}
SCRIPTS = {
    "spiral.py": ["--steps", "60"],
    "digits.py": ["1"],
    "one_layer_on_mlx.py": [],
    "segment_shapes.py": ["--steps", "6"],
}
SAYS = {
    "spiral.py": "accuracy 9",
    "digits.py": "epoch 1: loss",
    "one_layer_on_mlx.py": "largest difference of the output",
    "segment_shapes.py": "on 256 held-out generated scenes, after 6 steps",
}
PICTURES = {"spiral.py": "spiral.png", "segment_shapes.py": "segmentation.png"}


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
    if name in PICTURES:
        assert (tmp_path / PICTURES[name]).stat().st_size > 10_000


def test_generated_scenes(monkeypatch):
    """The masks' shapes have the areas of discs, squares, triangles and stars; a seed gives the same scenes again."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    shapes = importlib.import_module("segment_shapes")
    y, x = (np.mgrid[:800, :800] + 0.5) / 400 - 1
    areas = {
        "disc": 0.8 * np.pi,
        "square": 2.0,
        "triangle": 3 * 3**0.5 / 4,
        "star": 5 * shapes.CORNERS["star"][1] * np.sin(np.pi / 5),
    }
    assert set(areas) == set(shapes.CLASSES) - {"background"}
    for kind, area in areas.items():
        turned = shapes.inside(kind, np.cos(0.3) * x - np.sin(0.3) * y, np.sin(0.3) * x + np.cos(0.3) * y)
        assert 4 * turned.mean() == pytest.approx(area, rel=1e-3)
    (images, labels), again, other = (shapes.scenes(np.random.default_rng(seed), 20) for seed in (0, 0, 1))
    assert (
        np.array_equal(images, again[0]) and np.array_equal(labels, again[1]) and not np.array_equal(images, other[0])
    )
    assert images.shape == (20, 3, 64, 64) and 0 <= images.min() < images.max() <= 1
    assert labels.shape == (20, 64, 64) and set(np.unique(labels)) == set(range(5))


@pytest.mark.parametrize("path", sorted((ROOT / "examples" / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_notebook(path, tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    text = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    by_backward, by_difference = (
        float(re.search(rf"{name}\s+(\S+)", text)[1]) for name in ("backward", "finite difference")
    )
    assert by_backward == pytest.approx(by_difference, rel=1e-4, abs=1e-11)


def test_readme_example(tmp_path):
    example = re.search(r"```python\n(import minigrad.+?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)[
        1
    ]
    run(["-c", example.replace("224, 224", "64, 64") + "\nprint(loss.item())"], tmp_path)


@pytest.mark.parametrize("name", ["engine", "operations", "checkpoints", "saving", "pictures", "mlx"])
def test_pages(name, tmp_path):
    """Every block of the page runs, one after the other; but for those that quote a file."""
    if name == "mlx":
        pytest.importorskip("mlx.core")
    page = quotations.BLOCK.sub("", (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8"))
    run(["-c", "\n".join(re.findall(r"```python\n(.+?)```", page, re.S))], tmp_path)
