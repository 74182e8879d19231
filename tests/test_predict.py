"""`minigrad predict` on checkpoints of every kind, many files, and its tables, files and pictures."""

import csv
import io
import json
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minigrad as mg
from minigrad import models
from minigrad.cli import main
from minigrad.models import ImageProcessor
from minigrad.training import Classifier, TrainConfig, load_task

FIELDS = dict(
    img_size=64,
    embed_dims=(8, 16, 24, 32),
    num_heads=(1, 2, 3, 4),
    depths=(1, 1, 1, 1),
    sr_ratios=(4, 2, 1, 1),
    num_classes=3,
)
NAMES = {0: "cat, tabby", 1: "dog", 2: "a bird"}
PROCESSOR = ImageProcessor(size={"shortest_edge": 72}, resample="bicubic", do_center_crop=True, crop_size=64)


def photograph(seed, height=90, width=120):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (6, 7, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def model():
    mg.manual_seed(0)
    return models.PVT_V2(**FIELDS).eval()


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    """A folder as Hugging Face's users have it."""
    config = model.config.replace(embed_norm_eps=1e-6)
    one_eps = models.PVT_V2(config)
    one_eps.load_state_dict(model.state_dict())
    return models.save_pretrained(
        one_eps, tmp_path_factory.mktemp("checkpoint") / "hf", id2label=NAMES, image_processor=PROCESSOR
    )


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs"
    (folder / "deeper").mkdir(parents=True)
    for i, name in enumerate(("b.png", "a.JPG", "deeper/c.webp", "d.bmp")):
        photograph(i).save(folder / name)
    (folder / "notes.txt").write_text("not an image")
    (folder / ".hidden.png").write_text("not one either")
    return folder


def predict(capsys, *arguments, status=0):
    """What the command prints: (standard output, standard error)."""
    assert main(["predict", *map(str, arguments)]) == status
    return capsys.readouterr()


def answers(capsys, *arguments, status=0):
    """The rows of --json."""
    return json.loads(predict(capsys, *arguments, "--json", status=status).out)


def expected(checkpoint, path):
    logits = models.from_pretrained(checkpoint)(PROCESSOR(path))
    return mg.nn.functional.softmax(logits, dim=-1).numpy()[0]


# ---- what is asked of which model --------------------------------------------------------------------------------------


def test_a_checkpoint_with_names_and_preprocessing(capsys, checkpoint, photographs):
    rows = answers(capsys, checkpoint, photographs)
    assert [Path(row["image"]).name for row in rows] == [
        "a.JPG",
        "b.png",
        "d.bmp",
        "c.webp",
    ]  # sorted, folder by folder
    for row in rows:
        chances = expected(checkpoint, row["image"])
        assert [entry["class"] for entry in row["top"]] == [NAMES[i] for i in np.argsort(-chances)]
        np.testing.assert_allclose([entry["probability"] for entry in row["top"]], np.sort(chances)[::-1], atol=2e-6)
        assert row["note"] == "" and [NAMES[entry["index"]] for entry in row["top"]] == [e["class"] for e in row["top"]]
    assert answers(capsys, checkpoint, photographs, "--batch-size", 3, "--top-k", 1) == [
        {**row, "top": [{**row["top"][0], "probability": pytest.approx(row["top"][0]["probability"], abs=2e-6)}]}
        for row in rows
    ]


@pytest.mark.parametrize(
    ("layout", "size", "whose"),
    [("hf", (64, 64), "Hugging Face's"), ("timm", 71, "timm's"), ("original", 73, "the original's")],
)
def test_without_preprocessing_the_layouts_own_is_taken(capsys, model, tmp_path, photographs, layout, size, whose):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Hugging Face's single epsilon
        folder = models.save_pretrained(model, tmp_path / "x", layout=layout)
    (folder / "preprocessor_config.json").unlink()
    if layout == "timm":
        (folder / "config.json").write_text(json.dumps(model.config.to_dict()))
    out, err = predict(capsys, folder, photographs / "b.png")
    assert (
        f"doesn't say how pictures are prepared; using what {whose} published weights take" in err
        and err.count("\n") == 1
    )
    with pytest.warns(UserWarning, match="doesn't say"):
        processor = Classifier.from_pretrained(folder).processor
    scaled = processor._scaled((100, 100))
    assert scaled == (size if isinstance(size, tuple) else (size, size)) and processor.output_size == (64, 64)
    assert re.search(r"^\S+ +\d+\.\d\d %  (LABEL_)?[012]$", out.splitlines()[1])  # classes without names


def test_a_file_of_weights(capsys, checkpoint, photographs):
    assert answers(capsys, checkpoint / "model.safetensors", photographs / "b.png") == answers(
        capsys, checkpoint, photographs / "b.png"
    )


def test_the_hub(capsys, monkeypatch, checkpoint, photographs):
    asked = []

    def fetch(repo, **settings):
        asked.append((repo, settings.get("local_files_only")))
        return checkpoint

    monkeypatch.setattr("minigrad.interop.hub.fetch", fetch)
    rows = answers(capsys, "someone/pvt_v2", photographs / "b.png", "--local-files-only")
    assert rows == answers(capsys, checkpoint, photographs / "b.png") and asked == [("someone/pvt_v2", True)]
    assert ImageProcessor.from_pretrained("someone/pvt_v2") == PROCESSOR


def test_an_encoder_and_channels_that_do_not_fit(capsys, model, tmp_path, photographs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoder = models.save_pretrained(models.PVTV2Model(**FIELDS), tmp_path / "encoder")
        grey = models.save_pretrained(
            models.PVT_V2(**{**FIELDS, "in_channels": 1}), tmp_path / "grey", image_processor=PROCESSOR
        )
    assert "encoder without a classifier" in predict(capsys, encoder, photographs, status=2).err
    assert "prepared with 3 channels, but the model takes 1" in predict(capsys, grey, photographs, status=2).err


def test_an_image_runs_pictures_are_prepared_as_in_training(capsys, tmp_path, photographs):
    for name in ("x", "y"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(5):
            photograph(i, 40 + i, 50 - i).save(tmp_path / "data" / name / f"{i}.png")
    run = tmp_path / "run"
    run.mkdir()
    data = str(tmp_path / "data")
    classifier = Classifier.create(TrainConfig(data=data), load_task(data, 32))
    classifier.save(run / "model.safetensors")
    batch = classifier.preprocessing.normalized(mg.data.read_image(photographs / "b.png", size=32)[None])
    np.testing.assert_allclose(classifier.prepare(photographs / "b.png")[0], batch[0], atol=1e-6)
    assert ImageProcessor.from_pretrained(run) == classifier.processor
    rows = answers(capsys, run, photographs, "--top-k", "1")
    assert len(rows) == 4 and all(row["top"][0]["class"] in ("x", "y") for row in rows)


# ---- files, folders, patterns ------------------------------------------------------------------------------------------


def test_patterns_and_odd_names(capsys, checkpoint, photographs, tmp_path, monkeypatch):
    photograph(9).save(photographs / "[odd] *.png")
    monkeypatch.chdir(tmp_path)
    rows = answers(
        capsys, checkpoint, "photographs/*.png", "photographs/**/*.webp", "photographs/[odd] *.png", "photographs/b.png"
    )
    assert [row["image"] for row in rows] == [
        "photographs/[odd] *.png", "photographs/b.png", "photographs/deeper/c.webp", "photographs/[odd] *.png", "photographs/b.png",
    ]  # fmt: skip


def test_what_cannot_be_read_is_named_and_passed_over(capsys, checkpoint, photographs, tmp_path):
    (photographs / "broken.png").write_bytes((photographs / "b.png").read_bytes()[:300])
    (tmp_path / "empty").mkdir()
    out, err = predict(
        capsys, checkpoint, tmp_path / "empty", photographs, tmp_path / "gone.jpg", tmp_path / "*.gif", status=2
    )
    assert len(re.findall(r"^\S.* %  ", out, re.M)) == 4
    lines = err.splitlines()
    assert len(lines) == 4 and all(line.startswith("minigrad: error: ") for line in lines)
    for line, words in zip(
        lines, ("has no images", "broken.png can't be read", "gone.jpg", "no file matches"), strict=True
    ):
        assert words in line
    rows = answers(capsys, checkpoint, photographs, status=2)
    assert [("error" in row, "top" in row) for row in rows] == [(False, True)] * 2 + [(True, False)] + [
        (False, True)
    ] * 2
    assert predict(capsys, checkpoint, tmp_path / "empty", status=2).out == ""


def test_pictures_that_come_out_in_different_sizes(capsys, model, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = models.save_pretrained(model, tmp_path / "x", image_processor=ImageProcessor(do_resize=False))
    for i, size in enumerate(((64, 96), (64, 96), (80, 64), (64, 96))):
        photograph(i, *size).save(tmp_path / f"{i}.png")
    rows = answers(capsys, folder, tmp_path / "*.png")
    assert [Path(row["image"]).stem for row in rows] == ["0", "1", "2", "3"] and all("top" in row for row in rows)
    predict(capsys, folder, tmp_path / "*.png", "--attention", tmp_path / "drawn.png")


# ---- tables and files --------------------------------------------------------------------------------------------------


def test_the_table(capsys, checkpoint, photographs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    long = photographs / ("n" * 60 + ".png")
    photograph(3).save(long)
    out = predict(capsys, checkpoint, "photographs/b.png", long, "--top-k", "2").out
    lines = out.splitlines()
    assert len(lines) == 5 and len({line.index("%") for line in lines[1:]}) == 1
    assert lines[1].startswith("photographs/b.png ") and lines[2].startswith("   ") and lines[3].startswith("…nnn")


def test_names_that_would_change_the_terminal(capsys, checkpoint, photographs, tmp_path):
    folder = tmp_path / "named"
    shutil.copytree(checkpoint, folder)
    about = json.loads((folder / "config.json").read_text())
    about["id2label"] = {str(i): f"\x1b[2Jdog\n{i}" for i in range(3)}
    (folder / "config.json").write_text(json.dumps(about))
    out = predict(capsys, folder, photographs / "b.png", "--top-k", 3, "--attention", tmp_path / "a.png").out
    assert len(out.splitlines()) == 4 and "\x1b" not in out and "�[2Jdog�" in out
    rows = answers(capsys, folder, photographs / "b.png")
    assert {entry["class"] for entry in rows[0]["top"]} == set(about["id2label"].values())  # as they are


def test_csv(capsys, checkpoint, photographs, tmp_path):
    (photographs / "broken.png").write_text("no")
    rows = answers(capsys, checkpoint, photographs, status=2)
    shown = predict(capsys, checkpoint, photographs, "--csv", "-", status=2).out
    both = predict(capsys, checkpoint, photographs, "--csv", tmp_path / "a.csv", status=2)
    assert (tmp_path / "a.csv").read_text() == shown and both.out.startswith("image")
    table = list(csv.DictReader(io.StringIO(shown)))
    assert len(table) == 4 * 3 + 1
    flat = [(row["image"], rank, entry) for row in rows if "top" in row for rank, entry in enumerate(row["top"], 1)]
    for line, (image, rank, entry) in zip([line for line in table if not line["error"]], flat, strict=True):
        assert (line["image"], int(line["rank"]), line["class"]) == (image, rank, entry["class"])
        assert float(line["probability"]) == entry["probability"] and int(line["index"]) == entry["index"]
    broken = [line for line in table if line["error"]]
    assert len(broken) == 1 and broken[0]["image"].endswith("broken.png") and broken[0]["class"] == ""
    out, err = predict(capsys, checkpoint, photographs / "b.png", "--csv", tmp_path / "no" / "a.csv", status=2)
    assert out == "" and "can't write" in err and "there is no folder" in err  # before the work


def test_attention(capsys, checkpoint, photographs, tmp_path):
    (photographs / "broken.png").write_text("no")
    path = tmp_path / "where.png"
    predict(capsys, checkpoint, photographs, "--attention", path, status=2)
    with Image.open(path) as four:
        assert four.format == "PNG"
        tall = four.size
    predict(capsys, checkpoint, photographs / "b.png", "--attention", path)
    with Image.open(path) as one:
        assert tall[1] > 3 * one.height and tall[0] >= one.width > 5 * 288
    assert (
        "can't write"
        in predict(capsys, checkpoint, photographs / "b.png", "--attention", tmp_path / "no" / "a.png", status=2).err
    )
    assert (
        "ends in .png"
        in predict(capsys, checkpoint, photographs / "b.png", "--attention", tmp_path / "a.jpg", status=2).err
    )
    path.unlink()
    predict(capsys, checkpoint, photographs / "broken.png", "--attention", path, status=2)
    assert not path.exists()


def test_on_both_devices(capsys, checkpoint, photographs, device):
    here, there = answers(capsys, checkpoint, photographs), answers(capsys, checkpoint, photographs, "--device", device)
    for a, b in zip(here, there, strict=True):
        np.testing.assert_allclose(
            [e["probability"] for e in a["top"]], [e["probability"] for e in b["top"]], atol=1e-5
        )
