"""The benchmark for Macs runs whole on MLX's CPU device, with tiny settings."""

import shutil
import sys
from pathlib import Path

import pytest
from kernels import precompile_header

mx = pytest.importorskip("mlx.core", exc_type=ImportError)
BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
TITLES = ("Checks", "Training steps", "Inference", "Depthwise 3×3", "Memory of a training step")


@pytest.fixture
def macbook(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import macbook

    yield macbook
    for name in [name for name in sys.modules if name.startswith(("macbook", "mlx_pvt", "common"))]:
        del sys.modules[name]


@pytest.mark.skipif(
    mx.default_device().type == mx.DeviceType.cpu and shutil.which("g++") is None, reason="MLX compiles with g++"
)
def test_quick(macbook, tmp_path, capsys):
    """Every part has its table, every check passes, and the file is what was printed."""
    precompile_header()
    output = tmp_path / "table.md"
    assert macbook.main(["--quick", "--precisions", "fp16", "--output", str(output)]) == 0
    text, printed = output.read_text(), capsys.readouterr()
    assert (
        all(f"## {title}" in text for title in TITLES) and text in printed.out and f"Written to {output}" in printed.out
    )
    assert "FAIL" not in text and "failed" not in text and text.count("| pass |") > 20
    assert "[1/" in printed.err and "float" in text
    rows = [line for line in text.splitlines() if line.startswith("| pvt_v2_tiny | 32 | fp")]
    assert len(rows) == 1 + 1 + 4 + 2  # training, inference, steps with each form, memory


def test_what_does_not_fit_is_left_out(macbook, tmp_path, monkeypatch):
    """With the memory that is needed and the batch that would fit; and Ctrl-C leaves what was measured so far."""
    import minigrad as mg

    before = mg.set_memory_limit(2e8, "mlx")
    try:
        arguments = [
            "--models",
            "pvt_v2_tiny",
            "--sizes",
            "32",
            "--precisions",
            "fp32",
            "--batch",
            "1000",
            "--seconds",
            "0",
        ]
        assert macbook.main([*arguments, "--torch", "off", "--only", "train", "--output", str(tmp_path / "a.md")]) == 0
    finally:
        mg.set_memory_limit(before, "mlx")
    text = (tmp_path / "a.md").read_text()
    assert "| left out: needs about" in text and "0.2 may be used; --batch " in text

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(macbook, "setting", stop)
    monkeypatch.setattr(macbook, "check", lambda options, report, progress: report.add("Checks", ["a"], ["b"]) or 0)
    assert macbook.main(["--torch", "off", "--only", "checks,train", "--output", str(tmp_path / "b.md")]) == 130
    assert "stopped by Ctrl-C" in (tmp_path / "b.md").read_text() and "| b |" in (tmp_path / "b.md").read_text()


def test_bad_arguments(macbook, capsys):
    for arguments, words in (
        (["--only", "everything"], "choose among checks, train, infer, depthwise, memory"),
        (["--precisions", "fp8"], "fp8; choose among fp32, fp16, bf16"),
    ):
        with pytest.raises(SystemExit):
            macbook.main(arguments)
        assert words in capsys.readouterr().err
