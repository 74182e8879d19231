"""PyTorch's `.pth` files as training programs write them, with anything beside the weights; and `interop.load`."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pth
import pytest
from checkpoint_tools import arrays_of, randomised, same, sharded

import minigrad as mg
from minigrad import models
from minigrad.interop import instructions, torch_files
from minigrad.serialize import CheckpointError, read_header

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


def read(tmp_path, value, arrays=None):
    return torch_files.load_arrays(pth.write(tmp_path / "x.pth", value, {"0": ARRAY} if arrays is None else arrays))


# --- what lies beside the weights ---------------------------------------------------------------------------------------
def test_anything_may_lie_beside_the_weights(tmp_path):
    model = randomised()
    path = pth.write_state(tmp_path / "x.pth", arrays_of(model), **pth.beside())
    assert same(models.from_pretrained(path, config=model.config), model)


@pytest.mark.parametrize("name", list(pth.beside()))
def test_each_of_them_alone(tmp_path, name):
    weights = {"a": pth.tensor("0", ARRAY)}
    value = pth.beside()[name]
    for whole in ({"state_dict": weights, name: value}, {**weights, name: value}, {name: value, "model": weights}):
        found = read(tmp_path, whole)
        assert list(found) == ["a"] and np.array_equal(found["a"], ARRAY)


def test_a_large_array_beside_the_weights(tmp_path):
    """Texts of many megabytes are passed over."""
    found = read(tmp_path, {"model": {"a": pth.tensor("0", ARRAY)}, "confusion": pth.ndarray(10**6, 8_000_000)})
    assert np.array_equal(found["a"], ARRAY)


@pytest.mark.parametrize(
    "wrapper", ["net", "model_state_dict", "state_dict_ema", "model_ema", "state_dict", "model", "whatever"]
)
def test_wrappers(tmp_path, wrapper):
    weights = {"a": pth.tensor("0", ARRAY)}
    optimizer = {"state": {0: {"step": 1.0, "exp_avg": pth.tensor("0", ARRAY)}}, "param_groups": []}
    for value in (
        {wrapper: weights, "optimizer": optimizer},
        {wrapper: {"model": weights}},
        {"model": {wrapper: weights}},
    ):
        if wrapper == "whatever" and "model" in value:
            continue
        assert list(read(tmp_path, value)) == ["a"]
    assert list(read(tmp_path, {"state_dict_ema": None, "model": {"type": "PVT"}, wrapper: weights})) == ["a"]


def test_an_average_comes_before_the_weights(tmp_path):
    a, b = ({name: pth.tensor("0", ARRAY)} for name in "ab")
    assert (
        list(read(tmp_path, {"model": a, "model_ema": b})) == list(read(tmp_path, {"net": a, "state_dict": b})) == ["b"]
    )
    found = read(tmp_path, {"teacher": a, "student": b, "optimizer": {"state": {0: {"x": a["a"]}}}})
    assert list(found) == ["teacher.a", "student.b"]


def test_pairs_and_parameters(tmp_path):
    """An OrderedDict as Python 2 wrote it; parameters with attributes; tensors of PyTorch's new dtypes and of derived classes."""
    tensor = pth.tensor("0", ARRAY)
    parts = tensor.args
    utils, none = "torch._utils", pth.Call(pth.Global("collections", "OrderedDict"), ())
    untyped = pth.Persistent(("storage", pth.Global("torch.storage", "UntypedStorage"), "0", "cpu", ARRAY.nbytes))
    kinds = {
        "a": pth.Call(pth.Global(utils, "_rebuild_parameter"), (tensor, True, none)),
        "b": pth.Call(pth.Global(utils, "_rebuild_parameter_with_state"), (tensor, True, none, {"tag": 1})),
        "c": pth.Call(pth.Global("torch._tensor", "_rebuild_from_type_v2"), (pth.REBUILD, pth.Global("x", "Sub"), parts, {"tag": 1})),
        "d": pth.Call(pth.Global(utils, "_rebuild_tensor_v3"), (untyped, *parts[1:], pth.Global("torch", "float32"))),
    }  # fmt: skip
    for name, kind in kinds.items():
        pairs = pth.Call(pth.Global("collections", "OrderedDict"), ([[name, kind]],))
        found = read(tmp_path, {"state_dict": pairs})
        assert list(found) == [name] and np.array_equal(found[name], ARRAY)


def test_weights_that_need_what_isnt_read(tmp_path):
    """The file is refused for the sake of its weights, and says which."""
    tensor = pth.tensor("0", ARRAY)
    rebuild = lambda name: pth.Call(pth.Global("torch._utils", name), (1, 2))  # noqa: E731
    eight = pth.Call(
        pth.Global("torch._utils", "_rebuild_tensor_v3"), (*tensor.args, pth.Global("torch", "float8_e4m3fn"))
    )
    flagged = pth.Call(pth.REBUILD, (*tensor.args, {"conj": True}))
    for value, maker in [
        (rebuild("_rebuild_sparse_tensor"), "torch._utils._rebuild_sparse_tensor"),
        (rebuild("_rebuild_qtensor"), "torch._utils._rebuild_qtensor"),
        (eight, "torch.float8_e4m3fn"),
        (flagged, "torch._utils._rebuild_tensor_v2 with a flag"),
    ]:
        with pytest.raises(
            CheckpointError, match=f"its tensor b is of a kind that isn't read .{maker}.; save it as a plain"
        ):
            read(tmp_path, {"model": {"a": tensor, "b": value}})
        assert list(read(tmp_path, {"model": {"a": tensor}, "b": value})) == ["a"]
    for value, name in [
        (pth.New(pth.Global("project.nets", "Net"), (), {"weight": tensor}), "project.nets.Net"),
        ({"model": pth.New(pth.Global("addict", "Dict"), (), None, None, {"a": tensor})}, "addict.Dict"),
        ({"a": pth.ndarray(3)}, "numpy.dtype|numpy.core.multiarray._reconstruct"),
    ]:
        with pytest.raises(
            CheckpointError, match=f"it asks for .*({name}).*not run; it holds no dictionary of tensors"
        ):
            read(tmp_path, value)


def test_models_under_unusual_names(tmp_path):
    model = randomised()
    state = arrays_of(model)
    tensors = {name: pth.tensor(str(i), array) for i, (name, array) in enumerate(state.items())}
    arrays = {str(i): array for i, array in enumerate(state.values())}
    path = pth.write(
        tmp_path / "x.pth",
        {"student": tensors, "rng": {"cpu": pth.tensor("0", state["patch_embed.proj.weight"])}},
        arrays,
    )
    with pytest.warns(UserWarning, match="rng.cpu stand outside of the model"):
        assert same(models.from_pretrained(path, config=model.config), model)
    copies = {f"copy {key}": array for key, array in arrays.items()}
    copied = {name: pth.tensor(f"copy {i}", array) for i, (name, array) in enumerate(state.items())}
    pth.write(path, {"teacher": tensors, "student": copied}, arrays | copies)
    with pytest.raises(
        CheckpointError, match=r"two models, teacher\.\* and student\.\*; read it with minigrad.interop.load"
    ):
        models.from_pretrained(path, config=model.config)


# --- hostile ones -------------------------------------------------------------------------------------------------------
WEIGHTS = pth.program({"a": pth.tensor("0", ARRAY)})
N = 400_000
NUMBERS = b"".join(pth.program(i) for i in range(N // 2))
HUGE = {  # instructions of a value beside the weights; it is read, or refused with the words
    "itself": (b"]q\x05h\x05a", None),
    "a dictionary in itself": (b"}q\x05X\x05\0\0\0modelh\x05s", None),
    "billion laughs of tuples": (b")" + b"2\x86" * N, None),
    "tuples as keys": (b"}" + b")" + b"2\x86" * 60 + b"K\x01s", None),
    "numbers of equal hash": (b"}(" + b"".join(pth.program((2**61 - 1) * i) + b"N" for i in range(1, N // 8)) + b"u", None),
    "a set of numbers of equal hash": (b"\x8f(" + b"".join(pth.program((2**61 - 1) * i) for i in range(1, N // 8)) + b"\x90", None),
    "a long number": (b"\x8b" + (3_000_000).to_bytes(4, "little") + b"\xff" * 3_000_000, None),
    "a number of many digits": (b"L" + b"9" * 4500 + b"\n", "long one"),
    "a number of negative length": (b"\x8b\xff\xff\xff\xff", "negative length"),
    "a number that isn't there": (b"\x8b\xff\xff\xff\x7f", "ends within a text"),
    "a text that isn't there": (b"\x8d" + b"\xff" * 8, "ends within a text"),
    "a long name": (pth.program(pth.Call(pth.Global("a" * 3000, "b" * 3000), ())), None),
    "a longer name": (pth.program(pth.Call(pth.Global("a" * 5000, "b"), ())), "long one"),
    "names of names": (b"(cx\nY\nq\x06c__builtin__\ngetattr\nq\x070" + b"h\x07(h\x06X\x01\0\0\0ytRq\x060" * 1000 + b"1N", None),
    "many names": (b"(" + b"".join(b"cx\nY%d\n" % i for i in range(20_000)) + b"l", "names more than 10000"),
    "attributes of attributes": (b"cx\nY\n)\x81q\x05" + b"h\x05b" * N, None),
    "attributes of a dictionary": (b"}}b]b)b", None),
    "a call of many arguments": (b"cx\nY\n(" + NUMBERS + b"tR", None),
    "a list called often": (
        b"ccollections\nOrderedDict\nq\x05(](" + b"NN\x86" * 20_000 + b"etq\x060" + b"h\x05h\x06R0" * 1000 + b"N", "too many dictionaries",
    ),
    "marks": (b"(" * N + b"1" * N + b"N", None),
    "too many instructions": (b"N0" * (1 << 20) + b"N", "more than 2097152 instructions"),
    "a call of a call": (pth.program(pth.Call(pth.Call(pth.Global("functools", "partial"), (pth.Global("x", "Y"),)), ())), None),
    "a call of a tensor": (WEIGHTS + b")R", "calls something that is no function"),
    "an object of nothing": (b"(o", "no valid PyTorch file"),
    "keywords": (b"cx\nY\n)}\x92", None),
    "keywords of nothing": (b"\x92" * 9, "no valid PyTorch file"),
    "os.system in disguise": (
        b"c__builtin__\ngetattr\ncos\nsystem\nX\x08\0\0\0__call__\x86RX\x0c\0\0\0mkdir harmed\x85R", "asks for os.system.__call__",
    ),
    "os.system by an object": (b"cos\nsystem\nX\x0c\0\0\0mkdir harmed\x85\x81", "asks for os.system"),
    "a new-style object": (b"cos\nsystem\nX\x0c\0\0\0mkdir harmed\x85}\x92", "asks for os.system"),
}  # fmt: skip


@pytest.mark.parametrize("name", HUGE)
def test_hostile_values_beside_the_weights(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    code, words = HUGE[name]
    program = b"\x80\x02}(X\x01\0\0\0x" + code + b"X\x05\0\0\0model" + WEIGHTS + b"u."
    start = time.perf_counter()
    if words is None:
        assert np.array_equal(read(tmp_path, program)["a"], ARRAY)
    else:
        with pytest.raises(CheckpointError, match=words) as caught:
            read(tmp_path, program)
        assert len(str(caught.value)) < 600
    assert time.perf_counter() - start < 30 and not (tmp_path / "harmed").exists()


def test_dictionaries_that_hold_one_another(tmp_path):
    wrappers = b"".join(pth.program(name) + b"h\x05" for name in torch_files.WRAPPERS)
    with pytest.raises(CheckpointError, match="no dictionary of tensors"):
        read(tmp_path, b"\x80\x02}q\x05(" + wrappers + b"u.")
    deep = b"".join([b"}" + pth.program("model")] * 5000) + WEIGHTS + b"s" * 5000
    with pytest.raises(CheckpointError, match="no dictionary of tensors"):
        read(tmp_path, b"\x80\x02" + deep + b".")


def test_texts_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(instructions, "MOST_TEXT", 10_000)
    with pytest.raises(CheckpointError, match="more than 10000 bytes of texts"):
        read(tmp_path, {"model": {"a": pth.tensor("0", ARRAY)}, "x": ["y" * 100] * 100})


MEASURED = """
import sys, zipfile, numpy as np
sys.path.insert(0, {tests!r})
from minigrad.interop import load, torch_files
from peak import peak_memory
torch_files.load_arrays({small!r}), load({small!r})
start = peak_memory()
found = {call}({large!r})
print(peak_memory() - start, sum(getattr(a, "nbytes", 0) or a.numpy().nbytes for a in found.values()))
"""


@pytest.mark.parametrize("call", ["torch_files.load_arrays", "load"])
@pytest.mark.parametrize("kind", ["plain", "half", "shared"])
def test_memory(tmp_path, call, kind):
    """At most 1.5 × what the tensors have, also with a large text beside them."""
    rng = np.random.default_rng(0)
    arrays = {
        str(i): rng.standard_normal(1 << 21).astype(np.float16 if kind == "half" else np.float32) for i in range(12)
    }
    tensors = {f"t{i}": pth.tensor(i, a) for i, a in arrays.items()}
    if kind == "shared":  # two halves of each storage, the second ones after all of the first
        half = dict(shape=(1 << 20,), stride=(1,), length=1 << 21)
        tensors = {f"t{i}.{j}": pth.tensor(i, a, offset=j << 20, **half) for j in (0, 1) for i, a in arrays.items()}
    large = pth.write(tmp_path / "large.pth", {"model": tensors, "text": "x" * 10_000_000}, arrays)
    small = pth.write(tmp_path / "small.pth", {"a": pth.tensor("0", ARRAY)}, {"0": ARRAY})
    code = MEASURED.format(tests=str(Path(__file__).parent), call=call, small=str(small), large=str(large))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    used, expected = map(int, done.stdout.split())
    assert expected == (12 << 21) * (2 if kind == "half" and call == "load" else 4)
    assert used <= 1.5 * expected + (4 << 20), (used / expected, used, expected)


# --- interop.load -------------------------------------------------------------------------------------------------------
def test_load_takes_any_format(tmp_path):
    state = {"net.a.weight": ARRAY, "net.b": np.arange(3), "c": np.float64([1.5]), "d": np.array([True, False])}
    mg.save(tmp_path / "x.safetensors", state)
    pth.write_state(tmp_path / "x.pth", {n: a for n, a in state.items() if n != "d"}, **pth.beside())
    sharded(tmp_path, state)
    for name in ("x.safetensors", "x.pth", "model.safetensors.index.json"):
        found = mg.interop.load(tmp_path / name)
        assert all(isinstance(t, mg.Tensor) and t.device == "cpu" for t in found.values())
        for key in state if name != "x.pth" else list(state)[:3]:
            assert found[key].dtype == state[key].dtype.name and np.array_equal(found[key].numpy(), state[key])


def test_load_keeps_half_precision(tmp_path):
    halves = np.float16([1.5, -2])
    bits = (np.float32([1.5, -2]).view(np.uint32) >> 16).astype(np.uint16)
    path = pth.write(
        tmp_path / "x.pth", {"a": pth.tensor("0", halves), "b": pth.tensor("1", bits)}, {"0": halves, "1": bits}
    )
    found = mg.interop.load(path)
    assert found["a"].dtype == "float16" and found["b"].dtype == "float32"  # numpy has no bfloat16
    mg.save(tmp_path / "x.safetensors", found)
    assert read_header(tmp_path / "x.safetensors")[0]["a"].dtype == "float16"
    assert all(t.tolist() == [1.5, -2] for t in mg.interop.load(tmp_path / "x.safetensors").values())
    pytest.importorskip("mlx.core")
    found = mg.interop.load(path, device="mlx")
    assert found["a"].dtype == "float16" and found["b"].dtype == "bfloat16" and found["b"].tolist() == [1.5, -2]
    mg.save(tmp_path / "y.safetensors", found)
    assert {e.dtype for e in read_header(tmp_path / "y.safetensors")[0].values()} == {"float16", "bfloat16"}


def test_what_load_refuses(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file .*nothing"):
        mg.interop.load(tmp_path / "nothing.pth")
    with pytest.raises(IsADirectoryError, match="is a folder; give the file of weights in it"):
        mg.interop.load(tmp_path)
    with pytest.raises(TypeError, match="load.*path"):
        mg.interop.load(3)
    kinds = {"uint16": np.uint16([1]), "complex64": np.complex64([1])}
    for name, array in kinds.items():
        tensor = pth.Call(
            pth.Global("torch._utils", "_rebuild_tensor_v3"),
            (
                pth.Persistent(("storage", pth.Global("torch.storage", "UntypedStorage"), "0", "cpu", array.nbytes)),
                0, (1,), (1,), False, {}, pth.Global("torch", name),
            ),
        )  # fmt: skip
        path = pth.write(tmp_path / "x.pth", {"a": tensor}, {"0": array})
        assert torch_files.load_arrays(path)["a"] == array
        with pytest.raises(CheckpointError, match=f"x.pth: it holds {name} numbers, which tensors can't be"):
            mg.interop.load(path)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(CheckpointError, match="not a safetensors file: .*; nor is it one of PyTorch's"):
        mg.interop.load(tmp_path / "text.pth")
    (tmp_path / "old.pth").write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")
    with pytest.raises(CheckpointError, match="is a bare pickle"):
        mg.interop.load(tmp_path / "old.pth")


def test_loaded_renamed_and_saved(tmp_path):
    """The example of the documentation."""
    model = randomised()
    pth.write_state(
        tmp_path / "theirs.pth", {f"encoder.pvt.{n}": a for n, a in arrays_of(model).items()}, **pth.beside()
    )
    tensors = mg.interop.load(tmp_path / "theirs.pth")
    mg.save(tmp_path / "mine.safetensors", {n.removeprefix("encoder.pvt."): t for n, t in tensors.items()})
    assert same(models.from_pretrained(tmp_path / "mine.safetensors", config=model.config), model)
