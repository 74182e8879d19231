"""What lies around tensors in a file: dicts, lists, tuples and plain values come back with their types, and hostile notes are refused."""

import json
import struct
import sys
import tracemalloc
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nested
from minigrad.serialize import NOTE, CheckpointError, load_arrays, read_header


def same(a, b) -> bool:
    """Equal in values and types, tensors by their elements."""
    if isinstance(a, mg.Tensor | np.ndarray | np.generic):
        return isinstance(b, mg.Tensor) and b.shape == a.shape and b.dtype.name == a.dtype.name and bool(
            np.array_equal(np.asarray(a), np.asarray(b), equal_nan=a.dtype.name != "bool")
        )  # fmt: skip
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(type(k) is type(l) and same(a[k], b[k]) for k, l in zip(a, b, strict=True))  # noqa: E741
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b and repr(a) == repr(b) or a != a and b != b  # -0.0, nan


TENSORS = (
    st.integers(0, 3).map(lambda n: mg.arange(float(n)).reshape(n))
    | st.just(mg.tensor([[True]]))
    | st.just(mg.tensor(2))
)
KEYS = st.text(max_size=4) | st.integers(-(2**60) + 1, 2**60 - 1)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=6)
VALUES = st.recursive(
    PLAIN | TENSORS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple) | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=25,
)


@given(mapping=st.dictionaries(KEYS, VALUES, max_size=5))
@settings(max_examples=150, deadline=None)
def test_everything_comes_back_with_its_type(tmp_path_factory, mapping):
    path = tmp_path_factory.mktemp("a") / "a.safetensors"
    mg.save(path, mapping)
    assert same(mapping, mg.load(path))
    safetensors.numpy.load_file(path)  # and others read the tensors


def test_a_training_run(tmp_path):
    """A model, an optimizer, an epoch: the usual file."""
    model = mg.nn.Sequential(mg.nn.Linear(3, 4), mg.nn.ReLU(), mg.nn.Linear(4, 2))
    optimizer = mg.optim.AdamW(model.parameters(), lr=0.01)
    model(mg.ones(5, 3)).sum().backward()
    optimizer.step()
    path = tmp_path / "run.safetensors"
    mg.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}, path)
    run = mg.load(path)
    assert run["epoch"] == 3 and same(model.state_dict(), run["model"])
    other = mg.nn.Sequential(mg.nn.Linear(3, 4), mg.nn.ReLU(), mg.nn.Linear(4, 2))
    again = mg.optim.AdamW(other.parameters(), lr=1.0)
    other.load_state_dict(run["model"])
    again.load_state_dict(run["optimizer"])
    assert same(optimizer.state_dict(), again.state_dict())
    for net, how in ((model, optimizer), (other, again)):
        how.zero_grad()
        net(mg.ones(5, 3)).sum().backward()
        how.step()
    assert same(model.state_dict(), other.state_dict())
    assert set(safetensors.numpy.load_file(path)) >= {"model.0.weight", "model.2.bias"}


@pytest.mark.parametrize("order", [lambda path, values: (path, values), lambda path, values: (values, path)])
def test_a_path_and_a_mapping_in_either_order(tmp_path, order):
    values = {"a": mg.ones(2)}
    for name, path in (("a", tmp_path / "a"), ("b", str(tmp_path / "b"))):
        mg.save(*order(path, values))
        mg.save(*order(path, {"x": 1}), metadata={"key": "text"})
        assert mg.load(path) == {"x": 1} and read_header(path)[1] == {"key": "text"} and (tmp_path / name).is_file()


def test_named_tensors_are_written_as_ever(tmp_path):
    """Byte for byte: the header's JSON, spaces, the tensors."""
    mg.save(tmp_path / "a", {"b.c": mg.tensor([1.5, 2.0]), "a": np.int64(7)}, {"k": "é"})
    header = json.dumps(
        {
            "__metadata__": {"k": "é"},
            "b.c": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "a": {"dtype": "I64", "shape": [], "data_offsets": [8, 16]},
        }
    ).encode()
    header += b" " * (-len(header) % 8)
    data = np.array([1.5, 2], "<f4").tobytes() + np.array(7, "<i8").tobytes()
    assert (tmp_path / "a").read_bytes() == struct.pack("<Q", len(header)) + header + data
    assert NOTE not in read_header(tmp_path / "a")[1]


def test_names_that_would_be_one(tmp_path):
    values = {
        "a.b": mg.tensor([1]), "a": {"b": mg.tensor([2]), "b~2": mg.tensor([3])}, 1: mg.tensor([4]), "1": mg.tensor([5]),
        "__metadata__": mg.tensor([6]), "": {"": mg.tensor([7])}, "\ud800": mg.tensor([8]), "?": mg.tensor([9]),
    }  # fmt: skip
    mg.save(tmp_path / "a", values)
    assert same(values, mg.load(tmp_path / "a")) and len(load_arrays(tmp_path / "a")[0]) == 9
    mg.save(tmp_path / "b", {"__metadata__": mg.ones(2)})
    assert mg.load(tmp_path / "b")["__metadata__"].tolist() == [1, 1]


def test_other_mappings_and_numpys_numbers(tmp_path):
    mg.save(tmp_path / "a", {"a": OrderedDict(x=np.float64(1.5)), "b": [np.arange(3)]})
    found = mg.load(tmp_path / "a")
    assert type(found["a"]) is dict and found["a"]["x"].tolist() == 1.5 and found["a"]["x"].dtype == "float64"
    assert found["b"][0].tolist() == [0, 1, 2]


class Text(str):
    pass


Point = namedtuple("Point", "x y")


def circle():
    values: list = []
    values.append(values)
    return values


def doubling(levels):
    values: list = [1]
    for _ in range(levels):
        values = [values, values]
    return values


def deep(levels):
    value: object = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (object(), TypeError, r"save: \['a'\] must be tensors, arrays, numbers, .* got object"),
        ([1, {"b": {3}}], TypeError, r"save: \['a'\]\[1\]\['b'\] must be .* got set"),
        (b"bytes", TypeError, "got bytes"),
        (1j, TypeError, "got complex"),
        (Text("a"), TypeError, "got Text"),
        (Point(1, 2), TypeError, "got Point"),
        (mg.nn.Linear(1, 1), TypeError, r"got Linear; save its state_dict\(\)"),
        (mg.nn.Linear, TypeError, "got the class Linear$"),
        ({1.5: 1}, TypeError, r"the keys of \['a'\] must be strings or whole numbers below 2\*\*60, got 1.5"),
        ({True: 1}, TypeError, "got True"),
        ({None: 1}, TypeError, "got None"),
        ({2**60: 1}, TypeError, "below 2"),
        ([np.zeros(2, complex)], TypeError, "'a.0' has dtype complex128, which safetensors files can't hold"),
        (10**600, ValueError, r"\['a'\] is a whole number of more than 600 digits"),
        (circle(), ValueError, "more than 64 levels deep can't be saved; .* look for something that holds itself"),
        (deep(10_000), ValueError, "more than 64 levels deep"),
        (doubling(40), ValueError, "more than 1,000,000 values can't be saved; .* put many numbers into one tensor"),
        ("x" * (17 << 20), ValueError, "takes 17,825,8.. characters, and at most 16,777,216"),
    ],
)  # fmt: skip
def test_anything_else_is_one_sentence(tmp_path, value, error, words):
    with pytest.raises(error, match=words) as caught:
        mg.save(tmp_path / "a", {"a": value, "w": mg.ones(1)})
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("mapping", "metadata", "words"),
    [
        (
            {"\ud800": mg.ones(1)},
            None,
            "save: '.ud800' holds half of a surrogate pair, which UTF-8 can't hold; rename it",
        ),
        ({}, {"a": "x\udfff"}, "half of a surrogate pair"),
        ({}, {"\udfff": "x"}, "half of a surrogate pair"),
        ({}, {NOTE: "1"}, "metadata can't have the entry 'minigrad.structure'"),
    ],
)
def test_what_nobody_could_read_is_not_written(tmp_path, mapping, metadata, words):
    with pytest.raises(ValueError, match=words):
        mg.save(tmp_path / "a", mapping, metadata)
    assert list(tmp_path.iterdir()) == []


def test_the_deepest_and_longest_come_back(tmp_path):
    for value in (
        deep(nested.DEPTH - 1),
        list(range(300_000)),
        "x" * (nested.LONGEST - 100),
        10**600 - 1,
        -(10**600) + 1,
    ):
        mg.save(tmp_path / "a", {"a": value})
        assert mg.load(tmp_path / "a") == {"a": value}
    digits = sys.get_int_max_str_digits()
    try:
        sys.set_int_max_str_digits(640)  # the least that Python allows
        assert mg.load(tmp_path / "a")["a"] == -(10**600) + 1
    finally:
        sys.set_int_max_str_digits(digits)


# ---- hostile notes ---------------------------------------------------------------------------------------------------


def write(path, note, names=("w",), metadata=None):
    header = {"__metadata__": {NOTE: note} if metadata is None else metadata}
    for i, name in enumerate(names):
        header[name] = {"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4 * len(names)))


W = '{"tensor": "w"}'
HOSTILE = {
    "empty": ("", "damaged"),
    "no JSON": ("{", "damaged"),
    "a missing tensor": ('[{"tensor": "w"}, {"tensor": "v"}]', "places the tensor 'v', which isn't there or was placed before"),
    "a tensor twice": (f"[{W}, {W}]", "places the tensor 'w', which isn't there or was placed before"),
    "a tensor left out": ("[]", "doesn't place the tensor 'w'"),
    "a tensor's name": ('[{"tensor": 1}]', "has an entry 'tensor' that can't be read"),
    "a tensor's names": ('{"tensor": ["w"]}', "has an entry 'tensor' that can't be read"),
    "an unknown entry": (f'[{W}, {{"set": [1]}}]', "has an entry 'set' that can't be read"),
    "two entries": ('{"tensor": "w", "float": "nan"}', "more than one entry, or none"),
    "one entry twice": ('{"tensor": "w", "tensor": "w"}', "more than one entry, or none"),
    "no entry": ("{}", "more than one entry, or none"),
    "a key twice": (f'{{"dict": [["a", {W}], ["a", 1]]}}', "a dict in it has a key twice"),
    "keys": (f'{{"dict": [[true, {W}]]}}', "something else than keys and values"),
    "keys that are lists": (f'{{"dict": [[[], {W}]]}}', "something else than keys and values"),
    "keys that are tensors": (f'{{"dict": [[{W}, 1]]}}', "something else than keys and values"),
    "keys of one hash": (f'{{"dict": [[{2**61 - 1}, {W}]]}}', "something else than keys and values"),
    "three in a pair": (f'{{"dict": [["a", {W}, 1]]}}', "something else than keys and values"),
    "a dict": (f'{{"dict": {{"a": {W}}}}}', "has an entry 'dict' that can't be read"),
    "a tuple": (f'{{"tuple": {W}}}', "has an entry 'tuple' that can't be read"),
    "a float": (f'[{W}, {{"float": "1.5"}}]', "has an entry 'float' that can't be read"),
    "a constant": (f"[{W}, NaN]", "the number NaN"),
    "too large": (f"[{W}, 1e999]", "a number that is too large"),
    "too long": (f"[{W}, {'9' * 5000}]", "damaged"),
    "deep": ("[" * 100_000, "nested more than 64 levels deep"),
    "deep and whole": ("[" * 300 + W + "]" * 300, "nested more than 64 levels deep"),
    "deep dicts": ('{"dict":[["a",' * 70 + W + "]]}" * 70, "nested more than 64 levels deep"),
    "long": (f'[{W}, "{"x" * (17 << 20)}"]', "more than 16777216"),
    "no dict": (W, "it describes no dict"),
    "a list": (f"[{W}]", "it describes no dict"),
    "an empty dict": ('{"dict": []}', "doesn't place the tensor 'w'"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("read", [mg.load, load_arrays, read_header])
def test_hostile_notes_are_refused(tmp_path, name, read):
    """Whole, before a tensor is read, and wherever the file is read."""
    note, words = HOSTILE[name]
    path = tmp_path / "a"
    write(path, note if name in ("no dict", "a list", "an empty dict") else f'{{"dict": [["x", {note}]]}}')
    with pytest.raises(CheckpointError, match=words) as caught:
        read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_good_note(tmp_path):
    write(tmp_path / "a", f'{{"dict": [["a", [{W}, {{"tuple": []}}, {{"float": "-inf"}}]], [-3, {{"dict": []}}]]}}')
    found = mg.load(tmp_path / "a")
    assert found["a"][0].tolist() == [0] and found["a"][1:] == [(), -float("inf")] and found[-3] == {}
    arrays, metadata = load_arrays(tmp_path / "a")
    assert list(arrays) == ["w"] and metadata == {}  # which say nothing of the note, so that they can be saved again


def test_huge_headers_take_no_huge_memory(tmp_path):
    """What a header can't say is refused before it is taken apart."""
    path, size = tmp_path / "a", 4 << 20
    for head, part, tail in (
        (b'{"a":[', b"[],", b"[]]}"),
        (b'{"a":{"shape":[', b"1,", b"1]}}"),
        (b'{"a":{"shape":[', b"{},", b"{}]}}"),
        (b'{"a":', b"[", b"}"),
        (b'{"a":"', b'\\"', b""),
        (b'{"a":"\\', b'\\"', b"\\"),
        (b'{"a":"', b'",[[],"', b""),
    ):
        text = head + part * (size // len(part)) + tail
        path.write_bytes(struct.pack("<Q", len(text)) + text)
        tracemalloc.start()
        with pytest.raises(CheckpointError):
            mg.load(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 15 * size, part


# ---- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "bfloat16", "float32", "float64"])
def test_reading_and_writing_take_no_more_than_the_tensors(tmp_path, dtype):
    """At most 1.5 times the memory of the tensors that are read (bfloat16 as float32), and little for writing."""
    path, count = tmp_path / "a", 1 << 22
    if dtype == "bfloat16":
        pytest.importorskip("mlx.core", exc_type=ImportError)
        mg.save(path, {"model": {"w": mg.zeros(count, device="mlx").astype(dtype)}})
    else:
        array = np.zeros(count, dtype)
        tracemalloc.start()
        mg.save(path, {"model": {"w": array, "t": array[::2]}, "epoch": 3})
        assert tracemalloc.get_traced_memory()[1] < 0.6 * array.nbytes  # the copy of what isn't contiguous
        tracemalloc.stop()
        mg.save(path, {"model": {"w": array}})
    for read in (lambda p: mg.load(p)["model"]["w"].numpy(), lambda p: load_arrays(p)[0]["model.w"]):
        tracemalloc.start()
        found = read(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1.2 * found.nbytes


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_tensors_of_mlx_are_in_memory_once(tmp_path, dtype):
    mx = pytest.importorskip("mlx.core", exc_type=ImportError)
    path, count = tmp_path / "a", (1 << 24) + 5
    values = (mg.arange(count, device="mlx") % 251).astype(dtype)
    mg.save(path, {"w": values, "one": values[3], "none": values[:0], "m": values[:6].reshape(2, 3)})
    del values
    mx.clear_cache()
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    tracemalloc.start()
    found = mg.load(path, device="mlx")
    mx.eval([t.array for t in found.values()])
    peak = tracemalloc.get_traced_memory()[1] + mx.get_peak_memory() - before
    tracemalloc.stop()
    assert peak < 1.5 * path.stat().st_size
    assert all(t.dtype == dtype and t.device == "mlx" for t in found.values())
    assert found["one"].item() == 3 and found["none"].shape == (0,) and found["m"].tolist() == [[0, 1, 2], [3, 4, 5]]
    np.testing.assert_array_equal(found["w"].float().numpy(), np.arange(count) % 251)


def test_loading_within_a_compiled_step(tmp_path, compiles):
    mg.save(tmp_path / "a", {"w": mg.tensor([1.0, 2.0])})
    step = mg.compile(lambda x: x * mg.load(tmp_path / "a", device="mlx")["w"], state=[])
    assert [step(mg.ones(2, device="mlx")).tolist() for _ in range(2)] == [[1, 2], [1, 2]]
