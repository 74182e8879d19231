"""The benchmark for Macs runs whole on MLX's CPU device, with tiny settings."""

import sys
from pathlib import Path

import pytest

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


def test_quick(compiles, macbook, tmp_path, capsys):
    """Every part has its table, every check passes, and the file is what was printed."""
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


def test_a_check_that_fails(macbook, tmp_path, monkeypatch, capsys):
    """A difference that is too large, an error and a process that dies are told, each on its line; the rest is measured."""
    lines = [
        {"name": "good", "found": 0.5, "most": 1},
        {"name": "far", "found": 2.0, "most": 1},
        {"name": "none", "found": float("nan"), "most": 1},
        {"name": "broken", "error": "ValueError: no", "most": 1},
    ]
    script = f"import json, os\nfor told in {lines!r}:\n    print(json.dumps(told))\nprint('bad kernel', flush=True)\nos.abort()"
    (tmp_path / "macbook_checks.py").write_text(f"nan = float('nan')\n{script}")
    monkeypatch.setattr(macbook, "HERE", tmp_path)
    monkeypatch.setattr(macbook, "models", lambda what, *_: None)
    output = tmp_path / "table.md"
    assert macbook.main(["--torch", "off", "--only", "checks,train", "--output", str(output)]) == 1
    rows = [line for line in output.read_text().splitlines() if line.endswith(("pass |", "FAIL |", "kernel |", "no |"))]
    assert [row.split("|")[-2].strip() for row in rows] == [
        "pass",
        "FAIL",
        "FAIL",
        "FAIL ValueError: no",
        "FAIL bad kernel",
    ]
    assert "status -6" in rows[4] and capsys.readouterr().out.count("FAIL  ") == 4


def test_a_setting_that_fails(macbook, tmp_path, monkeypatch):
    """The reason stands in its row, and the next one is measured."""

    def setting(what, name, size, low, *_):
        if size == 224:
            raise RuntimeError("[metal] no such kernel\nand more")
        return [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, "**0.50**"]

    def no_memory(options, report, progress):
        assert "**0.50**" in output.read_text()  # already there, should this end the process
        raise RuntimeError("out of luck")

    monkeypatch.setattr(macbook, "setting", setting)
    monkeypatch.setattr(macbook, "memory", no_memory)
    output = tmp_path / "table.md"
    arguments = "--torch off --only infer,memory --models pvt_v2_b0 --precisions bf16 --output".split()
    assert macbook.main([*arguments, str(output)]) == 1
    rows = [line for line in output.read_text().splitlines() if line.startswith("| pvt_v2_b0")]
    assert "| failed: RuntimeError: [metal] no such kernel |" in rows[0] and rows[1].endswith("| 6 | **0.50** |")
    assert "* the part memory failed: RuntimeError: out of luck" in output.read_text()


def test_how_a_mac_is_described(macbook, monkeypatch):
    answers = {
        "sysctl": "Apple M2 Pro",
        "system_profiler": "Graphics/Displays:\n    Apple M2 Pro:\n      Total Number of Cores: 19\n      Vendor: Apple (0x106b)",
        "pmset -g batt": "Now drawing from 'AC Power'\n -InternalBattery-0 (id=1)\t80%; charging",
        "pmset -g": "System-wide power settings:\n lowpowermode         1\n sleep 1",
        "git": "abc1234",
    }
    import macbook_report

    monkeypatch.setattr(
        macbook_report, "said", lambda *command: answers.get(" ".join(command)) or answers.get(command[0], "")
    )
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(macbook_report.platform, "mac_ver", lambda: ("15.6", ("", "", ""), "arm64"))
    chip, about = macbook.machine(macbook.parse([]))
    assert chip == "Apple M2 Pro"
    assert about[0] == "Apple M2 Pro, macOS 15.6, 19 GPU cores, power: AC Power, low power mode on"
    assert "(abc1234)" in about[2] and "4 s of turns" in about[3]


def test_bad_arguments(macbook, capsys):
    for arguments, words in (
        (["--only", "everything"], "choose among checks, train, infer, depthwise, memory"),
        (["--precisions", "fp8"], "fp8; choose among fp32, fp16, bf16"),
    ):
        with pytest.raises(SystemExit):
            macbook.main(arguments)
        assert words in capsys.readouterr().err
