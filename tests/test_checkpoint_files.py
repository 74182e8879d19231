"""Files from outside: PyTorch's `.pth` read without unpickling, the hub's cache, mutated checkpoints of every kind."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pth
import pytest
from checkpoint_tools import SMALL, arrays_of, quietly, randomised, same, sharded

from minigrad import models
from minigrad.cli import main
from minigrad.interop import layouts, torch_files
from minigrad.models.pvt_v2.variants import VARIANTS
from minigrad.serialize import CheckpointError


# --- PyTorch's .pth -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("layout", layouts.LAYOUTS)
@pytest.mark.parametrize("around", [{}, {"epoch": 3, "optimizer": {"state": {0: {"step": 1.0}}, "param_groups": []}}])
def test_pth(tmp_path, layout, around):
    model = randomised(embed_norm_eps=1e-6)
    path = pth.write_state(tmp_path / "x.pth", arrays_of(model, layout), **around)
    assert same(models.from_pretrained(path, config=model.config), model)
    target = models.PVT_V2(model.config)
    models.load_weights(target, path)
    assert same(target, model)


def test_pth_of_parallel_training_and_averages(tmp_path):
    model, other = randomised(), arrays_of(models.PVT_V2(**SMALL))
    state = {f"module.{n}": a for n, a in arrays_of(model).items()}
    tensors = [
        {n: pth.tensor(f"{k}{i}", a) for i, (n, a) in enumerate(s.items())} for k, s in (("a", other), ("b", state))
    ]
    arrays = {f"{k}{i}": a for k, s in (("a", other), ("b", state)) for i, a in enumerate(s.values())}
    args = pth.Raw(pth.program(pth.Global("argparse", "Namespace")) + b")\x81" + pth.program({"lr": 0.1}) + b"b")
    value = {"state_dict": tensors[0], "state_dict_ema": tensors[1], "epoch": 3, "arch": "pvt_v2_b0", "args": args}
    path = pth.write(tmp_path / "x.pth.tar", value, arrays)
    assert same(models.from_pretrained(path, config=model.config), model)


def test_pth_numbers(tmp_path):
    """Half precision, byte order, offsets, transposed and empty tensors."""
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    halves = np.float16([1.5, -2])
    bits = (np.float32([1.5, -2]).view(np.uint32) >> 16).astype(np.uint16)
    for order in ("little", "big"):
        value = {
            "plain": pth.tensor("0", base),
            "part": pth.tensor("0", base, offset=7, shape=(2, 3), stride=(6, 1), length=24),
            "turned": pth.tensor("0", base, shape=(6, 4), stride=(1, 6)),
            "half": pth.tensor("1", halves),
            "bf16": pth.tensor("2", bits),
            "none": pth.tensor("0", base, shape=(0, 3), stride=(3, 1), length=24),
            "one": pth.tensor("0", base, shape=(), stride=(), offset=5, length=24),
        }
        path = pth.write(tmp_path / f"{order}.pth", value, {"0": base, "1": halves, "2": bits}, order)
        found = torch_files.load_arrays(path)
        np.testing.assert_array_equal(found["plain"], base)
        np.testing.assert_array_equal(found["part"], base[1:3, 1:4])
        np.testing.assert_array_equal(found["turned"], base.T)
        np.testing.assert_array_equal(found["half"], [1.5, -2])
        np.testing.assert_array_equal(found["bf16"], [1.5, -2])
        assert found["none"].shape == (0, 3) and found["one"] == 5
        assert {a.dtype.name for a in found.values()} == {"float32"} and all(
            a.flags.writeable for a in found.values() if a.ndim
        )


OUTSIDE = "import os; os.mkdir('harmed')"
HOSTILE = {  # instructions, and what is said of them
    "os.system": (pth.Call(pth.Global("os", "system"), ("mkdir harmed",)), "asks for os.system, which weights don't need"),
    "posix.system": (pth.Call(pth.Global("posix", "system"), ("mkdir harmed",)), "asks for posix.system"),
    "eval": (pth.Call(pth.Global("builtins", "eval"), (OUTSIDE,)), "asks for builtins.eval"),
    "exec, the old name": (pth.Call(pth.Global("__builtin__", "exec"), (OUTSIDE,)), "asks for __builtin__.exec"),
    "getattr": (pth.Call(pth.Global("builtins", "getattr"), (pth.Global("torch", "FloatStorage"), "x")), "asks for builtins.getattr"),
    "import": (pth.Call(pth.Global("importlib", "import_module"), ("os",)), "asks for importlib.import_module"),
    "torch.load": (pth.Call(pth.Global("torch", "load"), ("x",)), "asks for torch.load"),
    "numpy": (pth.Call(pth.Global("numpy.core.multiarray", "_reconstruct"), ()), "asks for numpy.core.multiarray._reconstruct"),
    "protocol 4": (pth.Raw(b"\x8c\x02os\x8c\x06system\x93\x8c\x0cmkdir harmed\x85R"), "asks for os.system"),
    "instance": (pth.Raw(b"(S'mkdir harmed'\nios\nsystem\n"), "has the instruction INST"),
    "object": (pth.Raw(b"(cos\nsystem\nS'mkdir harmed'\no"), "asks for os.system"),
    "extension": (pth.Raw(b"\x82\x01"), "has the instruction EXT1"),
    "text identity": (pth.Raw(b"Pabc\n"), "has the instruction PERSID"),
    "state": (pth.Raw(b"cargparse\nNamespace\n)R}(X\x0a\0\0\0__reduce__K\x01ub"), "no dictionary of tensors"),
    "call of a storage": (pth.Call(pth.Global("torch", "FloatStorage"), (10**12,)), "calls torch.FloatStorage"),
    "call of a call": (pth.Call(pth.Call(pth.Global("argparse", "Namespace"), ()), ()), "no dictionary of tensors"),
    "call of a number": (pth.Raw(b"K\x01)R"), "calls something that is no function"),
    "tuples in tuples as a key": (pth.Raw(b"}" + b")" + b"\x86".join([b"2"] * 60) + b"\x86K\x01s"), "no dictionary of tensors"),
    "numbers of equal hash": ({(2**61 - 1) * i: 0 for i in range(1, 9)}, "no dictionary of tensors"),
    "an endless text": (pth.Raw(b"X\xff\xff\xff\xffabc"), "no valid PyTorch file"),
    "an endless bytearray": (pth.Raw(b"\x96" + b"\xff" * 7 + b"\x0fabc"), "no valid PyTorch file"),
    "a huge memo": (pth.Raw(b"Nr\xff\xff\xff\xff"), "no dictionary of tensors"),
    "an empty stack": (pth.Raw(b"000"), "no valid PyTorch file"),
    "no mark": (pth.Raw(b"t"), "no valid PyTorch file"),
    "nothing": (None, "no dictionary of tensors"),
    "nested deeply": (pth.Raw(b"]" * 100_000 + b"a" * 99_999), "no dictionary of tensors"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    value, message = HOSTILE[name]
    for program in (value, {"model": {}, "x": value}) if name not in ("nothing", "an empty stack") else (value,):
        path = pth.write(tmp_path / "x.pth", program, {})
        with pytest.raises(CheckpointError, match=message) as caught:
            models.from_pretrained(path)
        assert str(caught.value).startswith(str(path)) and len(str(caught.value)) < 400
    assert os.listdir(tmp_path) == ["x.pth"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"length": 10**12, "shape": (10**12,), "stride": (1,)}, "tensors would have 4000000000000 bytes"),
        ({"length": 7}, r"shape \(2, 3\) doesn't lie in its storage of 7|has 24 bytes, more than|expected"),
        ({"length": 5}, "doesn't lie in its storage of 5 elements"),
        ({"offset": 1}, "doesn't lie in its storage of 6"),
        ({"offset": -1}, "no storage, offset, shape and strides"),
        ({"offset": 7, "shape": (0,), "stride": (1,)}, "doesn't lie in its storage"),
        ({"stride": (4, 1)}, "doesn't lie"),
        ({"stride": (-3, 1)}, "no storage, offset, shape and strides"),
        ({"stride": (3,)}, "no storage, offset, shape and strides"),
        ({"shape": (2, 2**47), "stride": (0, 0)}, "tensors would have 1125899906842624 bytes, more than the file"),
        ({"shape": (2**60, 3)}, "no storage, offset, shape and strides"),
        ({"shape": (2.0, 3)}, "no storage, offset, shape and strides"),
        ({"shape": (1,) * 40, "stride": (1,) * 40}, "no storage, offset, shape and strides"),
    ],
)
def test_hostile_tensors(tmp_path, changes, message):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = pth.write(tmp_path / "x.pth", {"a": pth.tensor("0", array, **changes)}, {"0": array})
    with pytest.raises(CheckpointError, match=message):
        torch_files.load_arrays(path)


def test_damaged_archives(tmp_path):
    state = arrays_of(randomised())
    path = pth.write_state(tmp_path / "x.pth", state)
    whole = path.read_bytes()

    def refused(message):
        with pytest.raises(CheckpointError, match=message):
            models.from_pretrained(path)

    path.write_bytes(whole[:-100])
    refused("no valid PyTorch file: .*zip.*; if it is damaged, copy it again")
    path.write_bytes(whole.replace(state["head.bias"].tobytes(), bytes(20)))
    refused("Bad CRC-32")
    path.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.")
    refused("bare pickle, as PyTorch wrote before 1.6, and is never read; with a later PyTorch, torch.save")
    path.write_bytes(b"")
    refused("not a safetensors file: it is empty; nor is it one of PyTorch's")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/readme.txt", "no model")
    refused("holds no data.pkl")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(2**24))
    refused("data.pkl is compressed")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", bytes(2**23))
    refused("has an unknown instruction")
    tensors = {f"t{i}": pth.tensor("0", np.zeros(500 - i, np.float32)) for i in range(20)}
    pth.write(path, tensors, {"0": np.zeros(500, np.float32)})
    refused("tensors would have 39240 bytes, more than the file")  # all views of one storage
    pth.write(path, {"a": pth.tensor("9", np.zeros(3, np.float32))}, {})
    refused("no item named 'archive/data/9'")


# --- the hub ------------------------------------------------------------------------------------------------------------
@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the hub with PVTv2-B0 in it, laid out as huggingface_hub does, and no network."""
    pytest.importorskip("huggingface_hub")
    from huggingface_hub import constants

    model = models.pvt_v2_b0(embed_norm_eps=1e-6, num_classes=3)
    for repo, layout in (("OpenGVLab/pvt_v2_b0", "hf"), ("timm/pvt_v2_b0.in1k", "timm")):
        folder = tmp_path / "hub" / f"models--{repo.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("0123456789abcdef0123456789abcdef01234567")
        snapshot = folder / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
        quietly(models.save_pretrained, model, snapshot, layout, id2label={0: "a", 1: "b", 2: "c"})
        (folder / "blobs").mkdir()
        for i, path in enumerate(sorted(snapshot.iterdir())):  # links to blobs
            path.rename(folder / "blobs" / str(i))
            path.symlink_to(Path("..", "..", "blobs", str(i)))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return model


def test_the_hubs_cache(cache, tmp_path):
    model = cache
    for source in ("OpenGVLab/pvt_v2_b0", "hf-hub:OpenGVLab/pvt_v2_b0", "pvt_v2_b0"):
        back = models.from_pretrained(source)
        assert same(back, model) and back.id2label == {0: "a", 1: "b", 2: "c"}
    assert models.from_pretrained("timm/pvt_v2_b0.in1k").config == model.config
    assert same(models.pvt_v2_b0(pretrained=True), model)
    assert models.create_model("pvt_v2_b0.in1k", pretrained=True).config.embed_norm_eps == 1e-6
    with pytest.warns(UserWarning, match="replaced by an untrained one of 10 classes"):
        changed = models.pvt_v2_b0(pretrained=True, num_classes=10, in_chans=1, drop_path_rate=0.1)
    assert changed.config == model.config.replace(num_classes=10, in_channels=1, drop_path_rate=0.1)
    commit = "0123456789abcdef0123456789abcdef01234567"
    load = models.from_pretrained
    assert same(load("OpenGVLab/pvt_v2_b0", revision=commit, cache_dir=tmp_path / "hub", local_files_only=True), model)
    for options in ({"revision": "other"}, {"cache_dir": tmp_path / "elsewhere"}):
        with pytest.raises(models.HubError, match="not in the cache of the Hugging Face hub"):
            load("OpenGVLab/pvt_v2_b0", **options)


def test_the_hubs_environment_variables(cache, tmp_path):
    code = "from minigrad import models; print(models.pvt_v2_b0(pretrained=True).id2label)"
    env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")} | {"HF_HUB_OFFLINE": "1"}
    for variable, place in (("HF_HOME", tmp_path), ("HF_HUB_CACHE", tmp_path / "hub")):
        done = subprocess.run(
            [sys.executable, "-c", code], env={**env, variable: str(place)}, capture_output=True, text=True
        )
        assert done.stdout == "{0: 'a', 1: 'b', 2: 'c'}\n", done.stderr
    done = subprocess.run(
        [sys.executable, "-c", code], env={**env, "HF_HOME": str(tmp_path / "no")}, capture_output=True, text=True
    )
    assert "HubError: OpenGVLab/pvt_v2_b0 is no file or folder here, not in the cache" in done.stderr.splitlines()[-1]


def test_offline_says_what_to_do(cache, capsys):
    with pytest.raises(models.HubError) as caught:
        models.pvt_v2_b1(pretrained=True)
    assert str(caught.value) == (
        "OpenGVLab/pvt_v2_b1 is no file or folder here, not in the cache of the Hugging Face hub, and can't be downloaded without a "
        "network (or with HF_HUB_OFFLINE=1, or local_files_only); connect and try again, or download its config.json and "
        "model.safetensors elsewhere and give their folder"
    )
    assert main(["convert", "OpenGVLab/pvt_v2_b1", "new", "--to", "hf"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("minigrad: error: OpenGVLab/pvt_v2_b1 is no file") and err.count("\n") == 1
    assert not os.path.exists("new")


def test_downloading(cache, tmp_path, monkeypatch):
    """Files are asked for one after another; shards by their index; a folder of the same name comes first."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

    remote, asked = tmp_path / "remote", []
    remote.mkdir()
    index, _ = sharded(remote, arrays_of(cache, "hf"))
    (remote / "config.json").write_text(json.dumps(cache.config.to_hf()))

    def download(repo, name, *, revision, cache_dir, local_files_only):
        assert (repo, revision, cache_dir, local_files_only) == ("me/model", "v1", None, False)
        asked.append(name)
        if not (remote / name).exists():
            raise EntryNotFoundError(name)
        return str(remote / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert same(models.from_pretrained("me/model", revision="v1"), cache)
    parts = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    assert asked == ["model.safetensors", index.name, "config.json", "preprocessor_config.json", *parts]
    about = json.loads(index.read_text())
    about["weight_map"]["classifier.bias"] = "../../x.safetensors"
    index.write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match="no file of weights beside it"):
        models.from_pretrained("me/model", revision="v1")
    assert not any("x.safetensors" in name for name in asked)
    index.unlink()
    with pytest.raises(
        models.HubError, match="me/model holds no weights on the Hugging Face hub: it has none of model.safetensors"
    ):
        models.from_pretrained("me/model", revision="v1")

    class Missing(RepositoryNotFoundError):
        def __init__(self):
            Exception.__init__(self, "404 Client Error.\n\nRepository Not Found")

        __str__ = Exception.__str__

    def missing(*_, **__):
        raise Missing

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", missing)
    with pytest.raises(
        models.HubError, match=r"can't be loaded from the Hugging Face hub \(404 Client Error.\); check the name"
    ):
        models.from_pretrained("me/model")
    (tmp_path / "me" / "model").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="me/model holds no weights: neither"):
        models.from_pretrained("me/model")


def test_without_huggingface_hub(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        models.HubError, match=r"no file or folder runs/mine, and .* huggingface_hub: pip install 'minigrad\[hub\]'"
    ):
        models.from_pretrained("runs/mine")
    for path in ("a/b/c", "/a/b", "./a", "a", "../a/b"):
        with pytest.raises(
            FileNotFoundError, match="there is no file or folder .*, and it is no name of the Hugging Face hub"
        ):
            models.from_pretrained(path)


def test_names_of_pretrained_weights():
    assert models.PRETRAINED["pvt_v2_b2_li"] == "OpenGVLab/pvt_v2_b2_linear" and len(models.PRETRAINED) == 14
    assert models.PRETRAINED["pvt_v2_b5.in1k"] == "timm/pvt_v2_b5.in1k"
    assert models.list_models(pretrained=True) == list(VARIANTS)[:7]


# --- anything else ------------------------------------------------------------------------------------------------------
def test_mutated_checkpoints(tmp_path, samples, seed):
    count = samples(250)
    script = Path(__file__).with_name("fuzz_checkpoints.py")
    command = [sys.executable, str(script), str(seed), str(count), str(tmp_path / "fuzz")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60 + count, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["faults"] == [] and found["peak MiB"] < 1024
    kinds = {kind: outcomes for kind, outcomes in found.items() if isinstance(outcomes, dict)}
    assert kinds.keys() <= {"header", "tensors", "config", "index", "pickle", "archive", "note"}
    assert sum(sum(outcomes.values()) for outcomes in kinds.values()) == count
    if count < 250:
        return  # too few for each kind to come up
    assert (
        len(kinds) == 7
        and all(outcomes.get("refused", 0) > 5 for outcomes in kinds.values())
        and kinds["config"]["read"] > 3
    )
