"""Files of tensors: exact round trips, damaged and hostile files refused."""

import json
import os
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad import serialize
from minigrad.serialize import CheckpointError, load_arrays, read_header

DTYPES = "bool uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 float32 float64".split()


def pack(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


# ---- there and back ------------------------------------------------------------------------------------------------


@given(
    arrays=st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
        st.sampled_from(DTYPES).flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0))),
        max_size=5,
    ),
    metadata=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3),
)
@settings(max_examples=60, deadline=None)
def test_round_trip_and_agreement_with_the_reference_package(tmp_path_factory, arrays, metadata):
    path = tmp_path_factory.mktemp("a") / "a.safetensors"
    mg.save(path, arrays, metadata)
    theirs = safetensors.numpy.load_file(path)
    back, text = load_arrays(path)
    assert text == metadata and list(back) == list(arrays)
    for name, array in arrays.items():
        expected = array.astype(np.float32) if array.dtype == np.float16 else array
        assert back[name].dtype == expected.dtype and theirs[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], expected)
        np.testing.assert_array_equal(theirs[name], array)
        assert back[name].shape == array.shape and back[name].flags.writeable


def test_reads_what_the_reference_package_writes(tmp_path):
    arrays = {name: (np.arange(6).reshape(2, 3) % 2).astype(name) for name in DTYPES}
    safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors", {"key": "text"})
    back, metadata = load_arrays(tmp_path / "a.safetensors")
    assert metadata == {"key": "text"} and set(back) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)


@pytest.mark.parametrize("device", ["cpu", "mlx"])
def test_tensors_come_back_on_the_device(tmp_path, device):
    tensors = {
        "w": mg.tensor([[1.5, -2.0], [0.25, 3.0]], device=device, requires_grad=True),
        "t": mg.tensor(np.arange(6, dtype=np.float32).reshape(2, 3), device=device).transpose(0, 1),
        "n": mg.tensor([1, 2, 3], device=device),
        "b": mg.tensor([True, False], device=device),
        "s": mg.tensor(2.5, device=device),
    }
    mg.save(tmp_path / "a.safetensors", tensors)
    back = mg.load(tmp_path / "a.safetensors", device=device)
    assert list(back) == list(tensors)
    for name, tensor in tensors.items():
        assert back[name].device == device and back[name].dtype == tensor.dtype and back[name].shape == tensor.shape
        assert not back[name].requires_grad
        np.testing.assert_array_equal(back[name].numpy(), tensor.numpy())


def test_half_precision_is_stored_and_read_as_such(tmp_path):
    values = np.array([0, -0.0, 1, -2.5, 3e38, 1e-30, np.inf, -np.inf, np.nan, 65504], np.float32)
    tensors = {f"{name}_{i}": mg.tensor(values, device="mlx").astype(name).reshape(2, 5)
               for i, name in enumerate(("float16", "bfloat16"))}  # fmt: skip
    mg.save(tmp_path / "a.safetensors", tensors)
    header, _ = read_header(tmp_path / "a.safetensors")
    assert [(e.dtype, e.nbytes) for e in header.values()] == [("float16", 20), ("bfloat16", 20)]
    for name, tensor in tensors.items():
        back = mg.load(tmp_path / "a.safetensors", device="mlx")[name]
        assert back.dtype is tensor.dtype
        back, plain = back.float(), load_arrays(tmp_path / "a.safetensors")[0][name]
        assert plain.dtype == np.float32
        np.testing.assert_array_equal(plain, back.numpy())
        np.testing.assert_array_equal(back.numpy(), tensor.astype("float32").numpy())
        np.testing.assert_array_equal(np.signbit(back.numpy()), np.signbit(tensor.astype("float32").numpy()))


class Layers(mg.nn.Module):
    """Parameters and buffers, and a tensor of every dtype."""

    def __init__(self, device, floating):
        self.linear = mg.nn.Linear(5, 3, device=device, dtype=floating)
        self.norm = mg.nn.BatchNorm1d(3, device=device, dtype=floating)
        rest = [d for d in mg.zeros(1, device=device).backend.dtypes if d != floating]
        self.rest = [mg.nn.Buffer(mg.tensor([0, 1, 1], dtype=name, device=device)) for name in rest]

    def forward(self, x):
        return self.norm(self.linear(x))


@pytest.mark.parametrize("floating", ["float16", "bfloat16", "float32", "float64"])
def test_a_model_comes_back_from_its_own_file(tmp_path, device, floating):
    """In every dtype, strictly, with its optimizer and its average, also where the file is read for another device."""
    if floating not in mg.zeros(1, device=device).backend.dtypes:
        pytest.skip(f"{device} has no {floating}")
    model, x = (
        Layers(device, floating),
        mg.tensor(np.ones((4, 5)) * np.arange(4.0)[:, None], dtype=floating, device=device),
    )
    optimizer, ema = mg.optim.AdamW(model.parameters(), lr=0.1, eps=1e-3), mg.optim.EMA(model, 0.5)

    def step(model, optimizer, ema):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
        ema.update()

    step(model, optimizer, ema)
    tensors, groups = mg.optim.flatten_state(optimizer.state_dict())
    for name, state in (("model", model.state_dict()), ("optimizer", tensors), ("ema", ema.state_dict())):
        mg.save(tmp_path / name, state)
        for where in {device, "cpu"}:
            for key, value in mg.load(tmp_path / name, device=where).items():
                lacking = where == "cpu" and state[key].dtype == "bfloat16"
                assert value.dtype == ("float32" if lacking else state[key].dtype), key
                assert value.tolist() == state[key].tolist(), key
    for where in {device, "cpu"}:
        if where == "cpu" and floating == "float64" and device != "cpu":
            continue
        again = Layers(device, floating)
        optimizer2, ema2 = mg.optim.AdamW(again.parameters(), lr=0.1, eps=1e-3), mg.optim.EMA(again, 0.5)
        assert again.load_state_dict(mg.load(tmp_path / "model", device=where)) == ([], [])
        optimizer2.load_state_dict(mg.optim.unflatten_state(mg.load(tmp_path / "optimizer", device=where), groups))
        ema2.load_state_dict(mg.load(tmp_path / "ema", device=where))
        assert {k: (v.dtype, v.device) for k, v in again.state_dict().items()} == {
            k: (v.dtype, v.device) for k, v in model.state_dict().items()
        }
        kept = {k: v.tolist() for k, v in model.state_dict().items()}
        mine, theirs = Layers(device, floating), (again, optimizer2, ema2)
        mine.load_state_dict(model.state_dict())
        optimizer1, ema1 = mg.optim.AdamW(mine.parameters(), lr=0.1, eps=1e-3), mg.optim.EMA(mine, 0.5)
        optimizer1.load_state_dict(optimizer.state_dict())
        ema1.load_state_dict(ema.state_dict())
        for _ in range(2):
            step(mine, optimizer1, ema1)
            step(*theirs)
        for a, b in ((mine, again), (ema1, ema2)):
            assert {k: v.tolist() for k, v in a.state_dict().items()} == {
                k: v.tolist() for k, v in b.state_dict().items()
            }
        assert {k: v.tolist() for k, v in model.state_dict().items()} == kept


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_float32_that_loses_nothing_fits_16_bits(dtype):
    layer = mg.nn.Linear(2, 1, device="mlx", dtype=dtype)
    good = {"weight": np.array([[1.5, np.nan]], np.float32), "bias": np.array([-np.inf], np.float32)}
    layer.load_state_dict(good)
    assert layer.weight.dtype == dtype and layer.weight.tolist()[0][0] == 1.5 and layer.bias.tolist() == [-np.inf]
    for wrong in (np.array([0.1], np.float32), np.array([1e39], np.float64), np.array([1], np.int64)):
        with pytest.raises(ValueError, match=f"bias is .* expected .* {dtype}"):
            layer.load_state_dict({**good, "bias": wrong})
    assert layer.bias.tolist() == [-np.inf]


def test_bfloat16_bits(tmp_path):
    bits = np.arange(0, 65536, 7, dtype="<u2")
    (tmp_path / "a.safetensors").write_bytes(pack({"a": entry("BF16", bits.shape, (0, bits.nbytes))}, bits.tobytes()))
    value = load_arrays(tmp_path / "a.safetensors")[0]["a"]
    np.testing.assert_array_equal(value.view(np.uint32), bits.astype(np.uint32) << 16)


def test_layout_and_byte_order_of_the_source_do_not_matter(tmp_path):
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    sources = {"t": base.T, "step": base[:, ::-2], "big": base.astype(">f4"), "one": np.float32(7)}
    mg.save(tmp_path / "a.safetensors", sources)
    for name, back in load_arrays(tmp_path / "a.safetensors")[0].items():
        np.testing.assert_array_equal(back, sources[name])
        assert back.dtype == np.float32


@pytest.mark.parametrize(
    ("mapping", "metadata", "words"),
    [
        ({"a": np.zeros(2, complex)}, None, "dtype complex128"),
        ({"a": np.array(["x"])}, None, "'a' has dtype str"),
        ({"a": np.ma.masked_equal([1, 2], 2)}, None, "'a' has masked elements"),
        ({}, {"epoch": 3}, "metadata must map strings to strings"),
    ],
)
def test_what_cannot_be_saved(tmp_path, mapping, metadata, words):
    with pytest.raises(TypeError, match=words):
        mg.save(tmp_path / "a.safetensors", mapping, metadata)
    assert os.listdir(tmp_path) == []


# ---- damaged and hostile files ---------------------------------------------------------------------------------------

HOSTILE = {
    "empty": (b"", "it is empty"),
    "three bytes": (b"abc", "header is missing"),
    "text": (b"just some words that are long enough", "not a safetensors file"),
    "a zip": (b"PK\x03\x04" + bytes(40), "zip archive, perhaps a PyTorch .pth file"),
    "a pickle": (pickle.dumps({"a": list(range(9))}), "pickle, which could run code"),
    "huge header": (pack(b"{}", length=2**60), "cut short"),
    "negative header": (pack(b"{}", length=2**64 - 1), "cut short"),
    "no JSON": (pack(b"{abc"), "is no valid safetensors file"),
    "no UTF-8": (pack(b'{"\xff\xfe":1}'), "is no valid safetensors file"),
    "nested": (pack(b'{"a":' + b"[" * 100_000), "is no valid safetensors file"),
    "cut short": (pack({"a": entry()}, bytes(7)), "is no valid safetensors file"),
    "too long": (pack({"a": entry()}, bytes(9)), "is no valid safetensors file"),
    "shape and size differ": (pack({"a": entry(shape=(3,))}, bytes(8)), "is no valid safetensors file"),
    "giant shape": (pack({"a": entry(shape=(2**40, 2**40))}, bytes(8)), "is no valid safetensors file"),
    "giant empty shape": (pack({"a": entry(shape=(2**62, 0), offsets=(0, 0))}), "no tensor has the shape"),
    "many axes": (pack({"a": entry(shape=[1] * 100 + [2])}, bytes(8)), "no tensor has the shape"),
    "negative shape": (pack({"a": entry(shape=(-2,))}, bytes(8)), "is no valid safetensors file"),
    "fractional shape": (pack({"a": entry(shape=(2.0,))}, bytes(8)), "is no valid safetensors file"),
    "overlap": (pack({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)), "is no valid safetensors file"),
    "the same bytes": (pack({"a": entry(), "b": entry()}, bytes(8)), "is no valid safetensors file"),
    "a gap": (pack({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20)), "is no valid safetensors file"),
    "backward": (pack({"a": entry(offsets=(8, 0))}, bytes(8)), "is no valid safetensors file"),
    "outside": (pack({"a": entry(offsets=(2**63, 2**63 + 8))}, bytes(8)), "is no valid safetensors file"),
    "unknown dtype": (pack({"a": entry("F33")}, bytes(8)), "is no valid safetensors file"),
    "unsupported dtype": (pack({"a": entry("F8_E4M3", (8,))}, bytes(8)), "F8_E4M3"),
    "no offsets": (pack({"a": {"dtype": "F32", "shape": [2]}}, bytes(8)), "is no valid safetensors file"),
    "no dictionary": (pack({"a": 3}), "is no valid safetensors file"),
    "metadata": (pack({"__metadata__": {"a": 1}}), "is no valid safetensors file"),
    "a minus": (pack(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[-0,8]}}', bytes(8)), "is no size"),
    "a fraction": (pack(b'{"a":{"dtype":"F32","shape":[2e0],"data_offsets":[0,8]}}', bytes(8)), "is no size"),
    "a constant": (pack(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}', bytes(8)), "is no size"),
    "a long number": (
        pack(b'{"a":{"dtype":"F32","shape":[%s],"data_offsets":[0,8]}}' % (b"9" * 500), bytes(8)),
        "is no size",
    ),
    "half a surrogate pair": (
        pack(b'{"\\ud800":%s}' % json.dumps(entry()).encode(), bytes(8)),
        "is no valid safetensors file",
    ),
    "another byte order": (pack('{"ä": 1}'.encode("utf-16-le")), "is no valid safetensors file"),
    "more entries": (
        pack({"a": entry() | {"x": 1}}, bytes(8)),
        "has no dtype, shape and place, or something else beside them",
    ),
    "a list of lists": (pack({"a": entry() | {"shape": [[2]]}}, bytes(8)), "lists that are no shapes"),
    "true": (pack({"a": entry(shape=(True, 2))}, bytes(8)), "is no valid safetensors file"),
    "a dtype of another kind": (pack({"a": entry(dtype=["F32"])}, bytes(8)), "is no valid safetensors file"),
    "metadata of another kind": (pack({"__metadata__": "a"}), "its metadata are no strings"),
    "twice": (pack(b'{"a":%s,"a":%s}' % ((json.dumps(entry()).encode(),) * 2), bytes(8)), "something twice"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("read", [mg.load, load_arrays, read_header])
def test_hostile_files_are_refused_in_one_sentence(tmp_path, name, read):
    content, words = HOSTILE[name]
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words) as caught:
        read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize("fields", [entry(offsets=(0, 80)), entry(offsets=(-8, 0)), entry(shape=(-1, -2))])
def test_own_checks_hold_without_the_reference_reader(fields):
    with pytest.raises(ValueError, match="can't lie at"):
        serialize._entry(16, 24, **fields)


@pytest.fixture(scope="module")
def small_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "a.safetensors"
    arrays = {"layer.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array([1, 2]), "e": np.ones((0, 2))}
    mg.save(path, arrays, {"epoch": "3"})
    return path.read_bytes()


def read_like_the_reference(path):
    """Ours refuses whatever the reference reader refuses, and else reads the same."""
    try:
        arrays, _ = load_arrays(path)
    except CheckpointError:
        return
    theirs = safetensors.numpy.load_file(path)
    assert set(arrays) == set(theirs)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, theirs[name])


def test_every_truncation_is_refused(tmp_path, small_file):
    path = tmp_path / "a.safetensors"
    for length in range(len(small_file)):
        path.write_bytes(small_file[:length])
        with pytest.raises(CheckpointError):
            load_arrays(path)


def test_random_mutations_give_a_clear_error_or_the_same_values_as_the_reference(tmp_path, small_file, samples, seed):
    rng = np.random.default_rng(seed)
    header = 8 + struct.unpack("<Q", small_file[:8])[0]
    path = tmp_path / "a.safetensors"
    for _ in range(samples(600)):
        content = bytearray(small_file)
        for _ in range(rng.integers(1, 4)):
            place = int(rng.integers(header))
            content[place] = rng.choice([rng.integers(256), *b'0123456789[]{},:"-eE '])
        path.write_bytes(content)
        read_like_the_reference(path)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_invented_headers_give_a_clear_error_or_the_same_values_as_the_reference(tmp_path_factory, data):
    number = st.integers(-2, 20) | st.sampled_from([2**31, 2**32, 2**63 - 1, 2**63, 2**64, 10**30])
    fields = st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "U8", "BF16", "BOOL", "F64", "F4", "x"]),
            "shape": st.lists(number, max_size=4),
            "data_offsets": st.lists(number, min_size=2, max_size=2) | st.lists(number, max_size=3),
        }
    )
    header = data.draw(st.dictionaries(st.text(max_size=3), fields | st.none() | number, max_size=3))
    path = tmp_path_factory.mktemp("a") / "a.safetensors"
    path.write_bytes(pack(header, bytes(data.draw(st.integers(0, 40)))))
    try:
        entries, _ = read_header(path)
    except CheckpointError:
        return
    for value in entries.values():
        assert value.start + value.nbytes <= path.stat().st_size
    load_arrays(path)


def test_a_file_that_is_cut_short_while_it_is_read(tmp_path, monkeypatch):
    path, read = tmp_path / "a", serialize._header
    for values in ({"a": np.ones(100_000)}, {"a": {"b": np.ones(100_000, np.float16)}}):
        mg.save(path, values)

        def then_cut(*args):
            found = read(*args)
            os.truncate(path, 1000)
            return found

        monkeypatch.setattr(serialize, "_header", then_cut)
        for load in (mg.load, load_arrays):
            with pytest.raises(CheckpointError, match="a became shorter while it was read; load it again"):
                load(path)
            monkeypatch.setattr(serialize, "_header", read)
            mg.save(path, values)
            monkeypatch.setattr(serialize, "_header", then_cut)
        monkeypatch.setattr(serialize, "_header", read)


CUTTING = """
import os, sys, threading, time
import numpy as np
import minigrad as mg
path, start = sys.argv[1], time.monotonic()
mg.save(path, {str(i): np.ones(4) for i in range(20_000)})
content, done = open(path, "rb").read(), []

def cut():
    while not done:
        os.truncate(path, 0)
        with open(path, "r+b") as file:
            file.write(content)

thread = threading.Thread(target=cut)
thread.start()
outcomes = set()
while (passed := time.monotonic() - start) < 2 or "refused" not in outcomes and passed < 100:
    try:
        mg.load(path)
        outcomes.add("read")
    except mg.serialize.CheckpointError:
        outcomes.add("refused")
done.append(True)
thread.join()
print(outcomes)
"""


def test_a_file_that_is_cut_short_ends_no_process(tmp_path):
    """A mapped file would: the system sends SIGBUS to who reads beyond its end."""
    done = subprocess.run([sys.executable, "-c", CUTTING, tmp_path / "a"], capture_output=True, text=True)
    assert done.returncode == 0 and "refused" in done.stdout, done.stderr


def test_bfloat16_of_other_packages(tmp_path):
    """ml_dtypes gives numpy one, two bytes wide."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = np.array([0, -0.0, 1, -2.5, 3e38, 1e-30, np.inf, -np.inf, np.nan, 65504], ml_dtypes.bfloat16)
    mg.save(tmp_path / "a", {"a": values, "t": values.reshape(2, 5).T, "n": {"one": values[2]}})
    assert {e.dtype for e in read_header(tmp_path / "a")[0].values()} == {"bfloat16"}
    found = mg.load(tmp_path / "a")
    np.testing.assert_array_equal(found["a"].numpy(), values.astype(np.float32))
    np.testing.assert_array_equal(found["t"].numpy(), values.reshape(2, 5).T.astype(np.float32))
    assert found["n"]["one"].tolist() == 1
    with pytest.raises(TypeError, match="'a' has dtype float8_e4m3fn, which safetensors files can't hold"):
        mg.save(tmp_path / "a", {"a": np.ones(2, ml_dtypes.float8_e4m3fn)})


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file .*nothing.safetensors"):
        mg.load(tmp_path / "nothing.safetensors")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        mg.load(tmp_path)


def test_dtypes_that_tensors_lack(tmp_path):
    mg.save(tmp_path / "a.safetensors", {"state": np.arange(2, dtype=np.uint64)})
    with pytest.raises(CheckpointError, match="'state' is uint64, .* use load_arrays"):
        mg.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize("device, dtype", [("cpu", "float16"), ("mlx", "float16"), ("mlx", "bfloat16")])
def test_a_file_in_16_bits_fits_a_model_in_float32(tmp_path, device, dtype):
    if device == "mlx":
        pytest.importorskip("mlx.core", exc_type=ImportError)
    stored = mg.nn.Linear(3, 2, device=device).to(mg.dtypes.dtype(dtype))
    mg.save(tmp_path / "m.safetensors", stored.state_dict())
    model = mg.nn.Linear(3, 2, device=device)
    model.load_state_dict(mg.load(tmp_path / "m.safetensors"))
    assert model.weight.dtype == "float32" and model.weight.tolist() == stored.weight.float().tolist()
