"""The rooms of the package: who imports whom, public paths of version 0.1, and what is written down in one place only."""

import ast
import importlib
import json
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import distributed, models, training
from minigrad.data.images import ImageProcessor
from minigrad.data.images.digits import ScanProcessor, of_run, to_run
from minigrad.interop.run_note import RunNote, preprocessing
from minigrad.kernels.windows import along, element, out_size, places_of
from minigrad.serialize import CheckpointError

ROOT = Path(mg.__file__).parent
FILES = {
    ".".join(("minigrad", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
}
MEANT = ("minigrad.engine", "minigrad.functions")  # Tensor, its operators and its methods know one another


def imports(name: str) -> set[str]:
    """The package's files that a file imports anywhere, for types, too."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name in FILES}
        if isinstance(node, ast.ImportFrom) and node.module in FILES:
            found |= {full if (full := f"{node.module}.{a.name}") in FILES else node.module for a in node.names}
    return found - {name, "minigrad"}


def circles(edges: dict[str, set[str]]) -> set[str]:
    """The files that reach themselves."""
    reached = {name: set(after) for name, after in edges.items()}
    for middle in edges:
        for after in reached.values():
            if middle in after:
                after |= reached[middle]
    return {name for name, after in reached.items() if name in after}


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == {"b", "c"}


def test_no_file_imports_itself_by_way_of_others():
    """Not even for types, among what stands above the functions."""
    edges = {name: imports(name) for name in FILES}
    above = {n: {m for m in after if not m.startswith(MEANT)} for n, after in edges.items() if not n.startswith(MEANT)}
    assert len(edges) > 200 and sum(map(len, edges.values())) > 800
    assert circles(above) == set()


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("minigrad.distributed", "PeerLost all_reduce average_gradients get_rank get_world_size"),
        ("minigrad.models.pvt_v2", "PVT_V2"),
        (
            "minigrad.models.checkpoints",
            "PRETRAINED HubError detect_layout from_native from_pretrained load_weights to_native",
        ),
        ("minigrad.models", "ImageProcessor PVT_V2 PVTV2Config SemanticFPN create_model from_pretrained pvt_v2_b0"),
        ("minigrad.data", "Digits ImageError ImageFolder open_image read_image"),
        ("minigrad.data.images", "ImageError find_images open_image read_image"),
        (
            "minigrad.training",
            "Classifier TrainConfig TrainingError TrainingInterrupted RunFolderError digit_scan resume train",
        ),
        ("minigrad.nn.functional", "conv_mlp"),
    ],
)
def test_paths_of_version_0_1(module, names):
    for name in names.split():
        assert getattr(importlib.import_module(module), name) is not None
    assert mg.distributed is distributed


# --- one place ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "place"),
    [("0.485", "interop/preprocessing.py"), ('KEY = "classifier"', "interop/run_note.py")],
)
def test_what_stands_in_one_file(words, place):
    assert [p.relative_to(ROOT).as_posix() for p in ROOT.rglob("*.py") if words in p.read_text("utf-8")] == [place]


NOTE = RunNote(
    "pvt_v2_tiny", {"num_classes": 2}, ["cat", "dog"], preprocessing("images", 32, 255, [0.5], [0.25]), "photos"
)


def test_a_run_note_there_and_back():
    note = RunNote(**{**vars(NOTE), "numbers": {"epoch": 3, "val_loss": 0.5}})
    assert RunNote.of(note.metadata(), "x") == note and RunNote.of({"format": "pt"}, "x") is None


@pytest.mark.parametrize(
    "change", [{"model": 3}, {"fields": []}, {"classes": None}, {"preprocessing": "none"}, {"data": {}}], ids=str
)
def test_a_damaged_run_note_is_told(tmp_path, change):
    """In one sentence, whoever reads it."""
    path = tmp_path / "model.safetensors"
    about = {**json.loads(NOTE.metadata()["classifier"]), **change}
    mg.save(
        path, models.create_model(NOTE.model, **NOTE.fields).state_dict(), metadata={"classifier": json.dumps(about)}
    )
    for read in (training.Classifier.load, training.Classifier.from_pretrained, models.from_pretrained):
        with pytest.raises(CheckpointError, match="model.safetensors: the note of its training run is damaged"):
            read(path)
    with pytest.raises(CheckpointError, match="model.safetensors: the note of its training run is damaged"):
        ImageProcessor.from_pretrained(path)


@pytest.mark.parametrize(
    "processor",
    [
        ScanProcessor(size=32, rescale_factor=1 / 16, image_mean=(0.3,), image_std=(0.4,)),
        ImageProcessor(size={"shortest_edge": 48}, do_center_crop=True, crop_size=48),
        ImageProcessor(size={"shortest_edge": 60}, do_center_crop=True, crop_size=48, resample="bicubic"),
        ImageProcessor(do_resize=False, do_rescale=False),
    ],
)
def test_a_runs_processor_is_noted(processor):
    assert of_run(json.loads(json.dumps(to_run(processor)))) == processor


def test_normalising_looks_at_no_dtype():
    """Bytes and floats of the same values become the same, as arrays and as tensors; `pixels` is the inverse."""
    processor = ImageProcessor()
    pixels = np.random.default_rng(0).integers(0, 2, (2, 3, 4, 4), np.uint8)  # as if divided already
    expected = processor.normalized(pixels)
    for same in (pixels.astype(np.float32), pixels.astype(np.int64)):
        assert (processor.normalized(same) == expected).all() and expected.dtype == np.float32
    for same in (mg.tensor(pixels), mg.tensor(pixels).float()):
        assert (processor.normalized(same).numpy() == expected).all()
    np.testing.assert_allclose(processor.pixels(expected), pixels, atol=1e-4)
    assert (processor.restore(expected) == pixels).all()


def test_where_windows_lie(samples, seed):
    """The slices, the gathered places and the count of windows speak of the same pixels."""
    rng = np.random.default_rng(seed)
    for _ in range(samples(100)):
        kernel, stride, dilation = (tuple(map(int, rng.integers(1, 4, 2))) for _ in range(3))
        size = tuple(int(d * (k - 1) + rng.integers(0, 7)) for k, d in zip(kernel, dilation, strict=True))
        counts = tuple(max(n, 0) for n in out_size(size, kernel, stride, (0, 0), dilation))
        image = np.arange(size[0] * size[1]).reshape(size)
        gathered = image[places_of(kernel, counts, stride, dilation)]
        for at in np.ndindex(*kernel):
            assert np.array_equal(image[element(at, counts, stride, dilation)], gathered[at])
    assert list(range(9))[along(1, 0, 2)] == []
