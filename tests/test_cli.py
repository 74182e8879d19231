"""The command line: every command, its help, exit statuses and one-line errors."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import minigrad as mg
from minigrad.cli import COMMANDS, main
from minigrad.data import Digits
from minigrad.models import list_models


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder: two short epochs on the digits."""
    folder = tmp_path_factory.mktemp("runs") / "short"
    assert main(["train", "--epochs", "3", "--output", str(folder), "--quiet"]) == 0
    return folder


@pytest.fixture
def digit(tmp_path):
    """A test scan as a large picture, dark on white."""
    pixels = np.kron(np.pad(Digits("test").images[0], 2), np.ones((16, 16)))
    path = tmp_path / "digit.png"
    Image.fromarray((255 - pixels * 255 / 16).astype(np.uint8)).save(path)
    return path


def fails(capsys, *arguments, status=2):
    """The one line that the command writes to standard error."""
    assert main([str(a) for a in arguments]) == status
    err = capsys.readouterr().err
    assert err.startswith("minigrad: error: ") and err.count("\n") == 1 and len(err) < 600, err
    return err


# --- help and usage ---


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help(capsys, command):
    assert main(["--help"] if command is None else [command, "--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS) if command is None else "example" in out


def test_help_shows_the_defaults(capsys):
    main(["train", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert "(default: 0.05)" in out and "(default: pvt_v2_tiny)" in out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"minigrad {mg.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["fly"], "fly"),
        (["train", "--epochs", "many"], "--epochs"),
        (["train", "--epoch", "3"], "--epoch"),
        (["train", "--epochs", "0"], "epochs must be"),
        (["train", "--lr", "-1"], "lr must be"),
        (["train", "--model", "resnet50"], "pvt_v2_tiny"),
        (["train", "--data", "nowhere"], "no folder 'nowhere'"),
        (["train", "--device", "tpu"], "tpu"),
        (["train", "--resume", "nowhere"], "no run to go on with in nowhere"),
        (["train", "--resume", "x", "--epochs", "3"], "leave out --epochs"),
        (["train", "--output", "/dev/null/run"], "can't write a run into the folder /dev/null/run"),
        (["train", "--image-size", "2"], "2"),
        (["eval"], "RUN"),
        (["eval", "nowhere"], "nowhere"),
        (["eval", "nowhere", "--split", "rest"], "--split"),
        (["eval", "nowhere", "--batch-size", "0"], "--batch-size"),
        (["predict", "nowhere"], "IMAGE"),
        (["predict", "nowhere", "x.png"], "nowhere"),
        (["predict", "nowhere", "x.png", "--top-k", "0"], "--top-k"),
        (["predict", "nowhere", "x.png", "--batch-size", "0"], "--batch-size"),
        (["predict", "nowhere", "x.png", "--json", "--csv", "-"], "--json and --csv"),
        (["predict", "nowhere", *["x.png"] * 17, "--attention", "a.png"], "16 images at most, not 17"),
        (["summary"], "MODEL"),
        (["summary", "pvt_v3"], "pvt_v2_b0"),
        (["summary", "pvt_v2_b0", "--image-size", "0"], "0"),
        (["summary", "pvt_v2_b0", "--depth", "-1"], "--depth"),
        (["summary", "pvt_v2_b0", "--batch-size", "0"], "--batch-size"),
        (["graph"], "MODEL"),
        (["graph", "pvt_v3"], "pvt_v2_b0"),
        (["graph", "pvt_v2_tiny", "--depth", "-1"], "--depth"),
        (["graph", "pvt_v2_tiny", "--format", "png"], "--format"),
        (["graph", "pvt_v2_tiny", "-o", "graph.png"], "none of .svg, .mmd, .txt"),
        (["graph", "pvt_v2_tiny", "-o", "nowhere/graph.svg"], "can't write nowhere/graph.svg"),
        (["info", "please"], "please"),
    ],
)
def test_usage_errors(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert words in fails(capsys, *arguments)
    assert not list(tmp_path.iterdir())


def test_missing_mlx(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(mg.backend._BACKENDS, "mlx", raising=False)
    monkeypatch.delitem(sys.modules, "minigrad.backend.mlx_backend", raising=False)
    monkeypatch.setitem(sys.modules, "mlx.core", None)
    monkeypatch.setitem(sys.modules, "mlx", None)
    assert "pip install" in fails(capsys, "train", "--device", "mlx")


def test_debug_shows_the_traceback(capsys, monkeypatch):
    for arguments, variable in ((["eval", "nowhere", "--debug"], "0"), (["eval", "nowhere"], "1")):
        monkeypatch.setenv("MINIGRAD_DEBUG", variable)
        assert main(arguments) == 2
        assert "Traceback" in capsys.readouterr().err


# --- train, eval ---


def test_train_says_where_everything_is(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--epochs", "1", "--output", "a run"]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"test accuracy +\d+\.\d\d % \(\d+ of 359\)", out) and "epoch 1/1" in out and err == ""
    command = out.splitlines()[-1].partition(" -m minigrad ")[2]
    assert command == "predict 'a run' 'a run/sample.png'"
    assert main(["predict", "a run", "a run/sample.png"]) == 0


def test_existing_run(capsys, run):
    assert "already holds a run" in fails(capsys, "train", "--output", run)


def test_resume_of_a_finished_run(capsys, run):
    assert main(["train", "--resume", str(run)]) == 0
    assert "test accuracy" in capsys.readouterr().out


def test_divergence_is_status_1(capsys, tmp_path):
    line = fails(capsys, "train", "--lr", "1e30", "--output", tmp_path / "run", "--quiet", status=1)
    assert "became" in line and "smaller lr" in line


def test_eval(capsys, run):
    result = json.loads((run / "result.json").read_text())
    assert result["accuracy"] > 0.5  # after three epochs
    for path in (run, run / "model.safetensors"):
        assert main(["eval", str(path)]) == 0
        assert f"test accuracy {100 * result['accuracy']:.2f} %" in capsys.readouterr().out
    assert main(["eval", str(run), "--split", "val", "--batch-size", "50"]) == 0
    assert f"val accuracy {100 * result['val_accuracy']:.2f} %" in capsys.readouterr().out


def test_damaged_checkpoints(capsys, run, tmp_path):
    whole = (run / "model.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-10])
    (tmp_path / "text.safetensors").write_text("hello")
    mg.save(tmp_path / "other.safetensors", {"x": mg.zeros(2)})
    arrays, metadata = mg.serialize.load_arrays(run / "model.safetensors")
    arrays["extra"] = arrays.pop("head.bias")
    mg.save(tmp_path / "shapes.safetensors", arrays, metadata=metadata)
    for name, words in (("cut", "cut.safetensors"), ("text", "text.safetensors"), ("other", "what model")):
        assert words in fails(capsys, "eval", tmp_path / f"{name}.safetensors")
    line = fails(capsys, "eval", tmp_path / "shapes.safetensors")
    assert "missing head.bias" in line and "unexpected extra" in line
    assert "no trained model" in fails(capsys, "eval", tmp_path)


# --- predict ---


def test_predict(capsys, run, digit):
    assert main(["predict", str(run), str(digit), "--top-k", "3"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["image", "chance", "class"] and len(lines) == 3
    assert lines[0].split()[0].endswith("digit.png") and lines[0].endswith("(bright background: inverted)")
    chances = [float(line.split("%")[0].split()[-1]) for line in lines]
    assert chances == sorted(chances, reverse=True)


def test_predict_json(capsys, run, digit):
    assert main(["predict", str(run), str(digit), str(digit), "--json", "--top-k", "99"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 2 and len(rows[0]["top"]) == 10
    for one, other in zip(rows[0]["top"], rows[1]["top"], strict=True):
        assert one["class"] == other["class"] and one["probability"] == pytest.approx(other["probability"], abs=2e-6)
    assert sum(entry["probability"] for entry in rows[0]["top"]) == pytest.approx(1, abs=1e-4)
    assert {entry["class"] for entry in rows[0]["top"]} == set("0123456789")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_predict_on_every_kind_of_image(capsys, run, digit, tmp_path, mode):
    with Image.open(digit) as image:
        if mode == "I;16":
            odd = Image.fromarray(np.asarray(image, np.uint16) * 257)
        else:
            odd = image.convert("RGB").convert(mode) if mode in ("LA", "RGBA", "CMYK") else image.convert(mode)
    path = tmp_path / ("odd.tif" if mode in ("CMYK", "F", "I") else "odd.png")
    odd.save(path)
    if mode in ("I", "F"):  # no range is known for these: they may be refused, in one line
        main(["predict", str(run), str(path)])
        assert "Traceback" not in capsys.readouterr().err
        return
    assert main(["predict", str(run), str(path), "--json"]) == 0
    odd_top = json.loads(capsys.readouterr().out)[0]["top"]
    main(["predict", str(run), str(digit), "--json"])
    assert odd_top[0]["class"] == json.loads(capsys.readouterr().out)[0]["top"][0]["class"]


def test_transparent_and_white_on_black(capsys, run, tmp_path):
    pixels = np.kron(np.pad(Digits("test").images[1], 2), np.ones((16, 16))) * 255 / 16
    alpha = np.zeros((*pixels.shape, 4), np.uint8)
    alpha[..., 3] = pixels
    Image.fromarray(alpha).save(tmp_path / "clear.png")
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "black.png")
    main(["predict", str(run), str(tmp_path / "clear.png"), str(tmp_path / "black.png"), "--json"])
    clear, black = json.loads(capsys.readouterr().out)
    assert clear["note"] and not black["note"] and clear["top"][0]["class"] == black["top"][0]["class"]


def test_predict_names_what_it_cannot_read_and_goes_on(capsys, run, digit, tmp_path):
    (tmp_path / "no.png").write_text("not an image")
    Image.new("L", (20, 20), 200).save(tmp_path / "blank.png")
    names = [str(tmp_path / name) for name in ("no.png", "gone.png", "blank.png")]
    assert main(["predict", str(run), *names, str(digit)]) == 2
    out, err = capsys.readouterr()
    assert "digit.png" in out.splitlines()[1] and err.count("minigrad: error: ") == 3 and err.count("\n") == 3
    assert "shows no digit" in err


def test_drawn_digit(capsys, run, tmp_path):
    """A thin pen's vertical line in a wide picture is a one."""
    picture = Image.new("RGB", (400, 300), (250, 248, 240))
    ImageDraw.Draw(picture).line([(210, 40), (200, 250)], fill=(20, 20, 90), width=6)
    picture.save(tmp_path / "line.jpg")
    assert main(["predict", str(run), str(tmp_path / "line.jpg"), "--top-k", "3"]) == 0
    assert "inverted" in capsys.readouterr().out


# --- summary, info ---


@pytest.mark.parametrize("model", ["pvt_v2_tiny", "pvt_v2_b0", "pvt_v2_b2_li"])
def test_summary(capsys, model):
    assert model in list_models()
    assert main(["summary", model, "--image-size", "64", "--depth", "1"]) == 0
    out = capsys.readouterr().out
    assert "64×64" in out and "parameters  " in out and "kept" not in out
    assert main(["summary", model, "--image-size", "64", "--depth", "1", "--memory", "--batch-size", "2"]) == 0
    out = capsys.readouterr().out
    assert "2×3×64×64" in out and "kept MB" in out


def test_info(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    for words in (
        f"minigrad    {mg.__version__}",
        np.__version__,
        f"threads     {mg.get_num_threads()} of ",
        "device cpu",
        "device mlx",
        "pvt_v2_b5",
    ):
        assert words in out


def test_as_a_program(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(mg.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-m", "minigrad", "summary", "no_such_model"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_closed_pipe(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(mg.__file__).parent.parent)}
    command = f"{sys.executable} -m minigrad summary pvt_v2_b0 --image-size 32 2>err | head -n 1"
    subprocess.run(command, shell=True, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert "Traceback" not in (tmp_path / "err").read_text()
