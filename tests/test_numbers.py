"""Numbers and arrays from outside: a value that a dtype can't hold is refused, whatever holds it is taken as it is meant."""

import math

import numpy as np
import pytest

import minigrad as mg
from minigrad.dtypes import ALL
from minigrad.nn import functional as F

WHOLE = [d for d in ALL.values() if d.category == 1]
pytestmark = pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")


def limits(kind):
    """What a dtype holds; as in PyTorch uint8 takes -255 … -1 for what they are modulo 256."""
    info = np.iinfo(kind.name)
    return -255 if kind == "uint8" else info.min, info.max


def refused(*words):
    return pytest.raises(OverflowError, match="(?s)" + ".*".join(words))


# --- whole numbers that don't fit -------------------------------------------------------------------------------------
@pytest.mark.parametrize("value", [2**63, 2**64, 2**70, 10**400, -(2**63) - 1], ids=["63", "64", "70", "many", "-63"])
def test_what_int64_cannot_hold_is_refused(device, value):
    with mg.device(device):
        x = mg.tensor([1, 2])
        for call in (
            lambda: mg.tensor(value),
            lambda: mg.tensor([value]),
            lambda: mg.tensor([[1, 2], [value, -1]]),
            lambda: mg.full((2,), value),
            lambda: mg.full_like(x, value),
            lambda: mg.arange(value - 2 if value > 0 else value, value),
            lambda: x + value,
            lambda: value - x,
            lambda: x * value,
            lambda: x // value,
            lambda: x.maximum(value),
            lambda: mg.where(x > 1, x, value),
            lambda: x.masked_fill(x > 1, value),
            lambda: x.__setitem__(0, value),
        ):
            with refused("int64", "9_223_372_036_854_775_807"):
                call()
        assert x.tolist() == [1, 2]


@pytest.mark.parametrize("kind", WHOLE, ids=lambda d: d.name)
def test_the_limits_of_each_dtype(device, kind):
    low, high = limits(kind)
    with mg.device(device):
        for value in (low, high):
            held = value % 256 if kind == "uint8" else value
            assert mg.tensor(value, dtype=kind).item() == mg.full((), value, dtype=kind).item() == held
        x = mg.tensor([1, 0], dtype=kind)
        for value in (low - 1, high + 1, 2**64, float(high) * 2, float(low) * 2 - 1, math.inf, -math.inf, math.nan):
            for call in (
                lambda v: mg.tensor(v, dtype=kind),
                lambda v: mg.tensor([[1], [v]], dtype=kind),
                lambda v: mg.full((1,), v, dtype=kind),
                lambda v: x.masked_fill(x > 0, v),
                lambda v: x.__setitem__(0, v),
            ):
                with refused(kind.name):
                    call(value)


@pytest.mark.parametrize("kind", WHOLE, ids=lambda d: d.name)
def test_a_number_that_no_element_can_be_compares_as_its_value_does(device, kind):
    low, high = limits(kind)
    low = 0 if kind == "uint8" else low
    with mg.device(device):
        x = mg.tensor([low, 0, high], dtype=kind)
        values = x.tolist()
        for number in (low - 1, low, high, high + 1, 2**63, 2**70, -(2**63) - 1, 10**400):
            assert (x == number).tolist() == [v == number for v in values]
            assert (x != number).tolist() == [v != number for v in values]
            assert (x < number).tolist() == (number > x).tolist() == [v < number for v in values]
            assert (x >= number).tolist() == (number <= x).tolist() == [v >= number for v in values]


@pytest.mark.parametrize("name", ["float16", "float32", "bfloat16", "float64"])
def test_large_whole_numbers_beside_floats(device, name):
    if name not in mg.zeros(1, device=device).backend.dtypes:
        pytest.skip("the device lacks it")
    x = mg.tensor([1.0, 2.0], dtype=name, device=device)
    for value in (2**63, 2**70, -(2**70)):
        for call in (lambda x, v: x + v, lambda x, v: v - x, lambda x, v: x / v, lambda x, v: x.clamp(v), lambda x, v: x < v,
                     lambda x, v: mg.where(x > 1, x, v)):  # fmt: skip
            assert call(x, value).tolist() == call(x, float(value)).tolist()
            assert call(x, value).dtype == call(x, float(value)).dtype
    assert mg.tensor(2**70, dtype=name, device=device).item() == mg.tensor(2.0**70, dtype=name, device=device).item()
    assert mg.tensor([2**70, 0.5], device=device).tolist() == [2.0**70, 0.5]
    with refused("add", "1329 bits", name):
        x + 10**400
    with refused("masked_fill", name):  # it would be an infinity, and a softmax of it NaN
        x.masked_fill(x > 1, 1e39 if name in ("bfloat16", "float32") else 10**400 if name == "float64" else -1e9)
    assert x.masked_fill(x > 1, -math.inf).tolist() == [1.0, -math.inf]


def test_float16_beside_a_number_that_it_cannot_hold(device):
    """Computed in float32 and rounded, as in PyTorch: the number isn't infinite because the tensor has 16 bits."""
    values = [0.5, -0.25, 2.0]
    x = mg.tensor(values, dtype="float16", device=device, requires_grad=True)
    exact = mg.tensor(values, device=device, requires_grad=True)
    for number in (65536.0, -70000, 1e6, np.float32(80000), np.int64(2**20)):
        for call in (lambda x, n: x * n, lambda x, n: x / n, lambda x, n: n * x, lambda x, n: n / (x * 1000), lambda x, n: x % n,
                     lambda x, n: x - n + 0.5, lambda x, n: x // n, lambda x, n: mg.add(x, x, alpha=n)):  # fmt: skip
            y, expected = call(x, number), call(exact, number)
            assert y.dtype == "float16" and y.tolist() == expected.half().tolist()
    g, expected = mg.grad((x / 70000 * 256).sum(), x)[0], mg.grad((exact / 70000 * 256).sum(), exact)[0]
    assert g.dtype == "float16" and g.tolist() == expected.half().tolist()
    assert (x * math.inf).tolist() == [math.inf, -math.inf, math.inf]


def test_unsigned_arrays():
    """numpy's wider unsigned dtypes become int64, where that holds their values."""
    for name in ("uint16", "uint32", "uint64"):
        x = mg.tensor(np.array([1, 60_000], name))
        assert x.dtype == "int64" and (x - 2).tolist() == [-1, 59_998]
        assert mg.tensor([np.dtype(name).type(7), 1]).dtype == "int64"
    large = np.array([1, 2**63], np.uint64)
    for call in (
        lambda: mg.tensor(large),
        lambda: mg.from_numpy(large),
        lambda: mg.tensor([large]),
        lambda: mg.tensor(large[1]),
        lambda: mg.tensor(large, dtype="int64"),
        lambda: mg.zeros(2).__setattr__("data", large),
    ):
        with refused("9_223_372_036_854_775_808", "int64"):
            call()
    assert mg.tensor(large, dtype="float32").tolist() == [1.0, 2.0**63]


def test_mlx_arrays_of_dtypes_that_tensors_lack():
    mx = pytest.importorskip("mlx.core")
    for kind in (mx.uint16, mx.uint32, mx.uint64):
        x = mg.tensor(mx.array([1, 2], kind))
        assert (x.device, x.dtype, (x - 2).tolist()) == ("mlx", "int64", [-1, 0])
        y = mg.tensor([0, 0], device="mlx")
        y.data = mx.array([1, 2], kind)
        assert y.dtype == "int64" and (y - 2).tolist() == [-1, 0]
    with pytest.raises(TypeError, match="no complex64"):
        mg.tensor(mx.array([1j]))


# --- arrays in other layouts ------------------------------------------------------------------------------------------
KINDS = ["i2", "i4", "i8", "f2", "f4", "f8", "u2", "u4", "u8"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_other_byte_order(device, kind, tmp_path):
    """Arrays in the byte order that isn't the machine's, as files have them."""
    if (kind, device) == ("f8", "mlx"):
        pytest.skip("no float64")
    native = np.array([[3, 1, 2], [0, 4, 5]], kind)
    other = native.astype(native.dtype.newbyteorder("S"))
    assert not other.dtype.isnative and (other == native).all()
    expected = mg.tensor(native, device=device)
    for make in (
        lambda a: mg.tensor(a, device=device),
        lambda a: mg.from_numpy(a, device=device),
        lambda a: mg.as_tensor(a, device=device),
        lambda a: mg.tensor(list(a), device=device),
        lambda a: mg.tensor([[x for x in row] for row in a], device=device),
        lambda a: mg.nn.Parameter(mg.tensor(a, device=device), requires_grad=False),
    ):
        x = make(other)
        assert x.dtype is expected.dtype and x.tolist() == native.tolist()
        assert getattr(x.numpy().dtype, "isnative", True)
    mg.save(tmp_path / "x.safetensors", {"x": other})
    if kind[0] != "u":
        assert mg.load(tmp_path / "x.safetensors")["x"].tolist() == native.tolist()
    layer = mg.nn.Module()
    layer.b = mg.nn.Buffer(mg.zeros(2, 3, dtype=expected.dtype, device=device))
    if kind[0] != "u":
        layer.load_state_dict({"b": other})
        assert layer.b.tolist() == native.tolist()
    if kind[0] == "f":
        x = mg.tensor(other, device=device, requires_grad=True)
        (x @ x.mT).sum().backward()
        assert x.grad.dtype is x.dtype and x.grad.tolist() == mg.tensor(native.sum(0) * 2.0 + 0 * native).tolist()
    else:
        x, row = mg.arange(12.0, device=device).reshape(6, 2), other[0]
        assert x[other].tolist() == x[native].tolist()
        assert F.embedding(mg.tensor(other, device=device), x).tolist() == x[native].tolist()
        assert F.cross_entropy(x, mg.tensor(other.ravel() % 2, device=device)).item() > 0
        x[row] = 0
        assert x[native[0]].abs().sum().item() == 0


def test_data_takes_the_other_byte_order():
    x = mg.zeros(2, requires_grad=True)
    x.data = np.array([1, 2], ">f4")
    (x * x).sum().backward()
    assert x.array.dtype.isnative and x.grad.tolist() == [2.0, 4.0]
    x.data = np.matrix([[1.0, 2.0]])
    assert type(x.array) is np.ndarray
    for wrong in (np.array([1j]), np.array(["a"]), np.array([object()])):
        with pytest.raises(TypeError, match="there is no"):
            x.data = wrong


def test_arrays_of_subclasses_and_odd_strides(device):
    with mg.device(device):
        matrix = mg.tensor(np.matrix([[1, 2], [3, 4]]))
        assert (matrix * matrix).tolist() == [[1, 4], [9, 16]] and matrix[0].shape == (2,)
        assert type(mg.tensor([np.matrix([[1, 2]])]).numpy()) is np.ndarray
        for array in (
            np.broadcast_to(np.float32(3), (2, 3)),
            np.arange(6, dtype="int32")[::-1],
            np.arange(6.0, dtype="float32").reshape(2, 3).T[::-1],
            np.frombuffer(b"\1\2\3\4", np.uint8),
            np.asfortranarray(np.ones((3, 4), bool)),
        ):
            x = mg.tensor(array)
            assert x.tolist() == array.tolist() and (x == x).all()
    whole = np.ma.masked_array([1, 2, 3], [False] * 3)
    assert mg.tensor(whole).tolist() == [1, 2, 3]
    for data in (np.ma.masked_array([1, 2], [0, 1]), [np.ma.masked_array([1, 2], [0, 1])]):
        with pytest.raises(TypeError, match="masked elements; give array.filled"):
            mg.tensor(data)


# --- lists ------------------------------------------------------------------------------------------------------------
def test_lists_of_different_things():
    """The dtype of a list is the one that holds all that is in it, wherever it stands."""
    f64, f16 = mg.tensor(2.5, dtype="float64"), mg.tensor(2.5, dtype="float16")
    for data, name in (
        ([], "float32"),
        ([[], []], "float32"),
        ([True, False], "bool"),
        ([np.bool_(True), False], "bool"),
        ([True, 2], "int64"),
        ([[True], [2.5]], "float32"),
        ([1.5, np.float64(2)], "float64"),
        ([np.float64(2), 1.5], "float64"),
        ([np.float16(1), 2.5], "float32"),
        ([np.float16(1), 2], "float16"),
        ([np.int32(1), np.int32(2)], "int32"),
        ([np.int32(1), 2], "int64"),
        ([np.uint8(1), np.int8(2)], "int16"),
        ([2.0, f64], "float64"),
        ([f16, f16], "float16"),
        ([1, f16], "float16"),
        ([mg.tensor([1, 2]), (True, False)], "int64"),
        (range(3), "int64"),
        ([range(2), [True, False]], "int64"),
    ):
        x = mg.tensor(data)
        assert x.dtype == name, data
        assert x.tolist() == np.array([[v for v in d] if isinstance(d, range | tuple) else d for d in data]).tolist()


def test_lists_of_tensors_of_several_devices():
    pytest.importorskip("mlx.core")
    pair = [mg.tensor([1, 2], device="mlx"), mg.tensor([1.5, 2], device="cpu")]
    for device in ("cpu", "mlx"):
        x = mg.tensor(pair, device=device)
        assert (x.device, x.dtype, x.tolist()) == (device, "float32", [[1.0, 2.0], [1.5, 2.0]])
    half = [mg.tensor([1.5], dtype="bfloat16", device="mlx")]
    assert mg.tensor(half, device="mlx").dtype == "bfloat16"
    assert mg.tensor(half, device="cpu").dtype == "float32"  # numpy has no bfloat16


@pytest.mark.parametrize("data", [None, "a", 1j, {1}, [None], [1, "a"], [[1, 2], [1j]], [[object]]], ids=str)
def test_what_is_no_number(data):
    with pytest.raises(TypeError, match="can't make a tensor of"):
        mg.tensor(data)


def test_lists_of_different_lengths():
    for data in ([[1, 2], [3]], [[1], 2], [[1.0], [True, False]], [mg.zeros(2), mg.zeros(3)]):
        with pytest.raises(ValueError, match="lengths differ"):
            mg.tensor(data)


# --- platforms where numpy's own integer has 32 bits --------------------------------------------------------------------
@pytest.fixture
def narrow(monkeypatch):
    """numpy as it is on 32-bit WebAssembly: whole numbers of which no dtype is said are int32, and so are positions."""

    def narrowed(function, position):
        def wrapped(*args, **kwargs):
            out = function(*args, **kwargs)
            said = kwargs.get("dtype") is not None or len(args) > position and args[position] is not None
            given = args and isinstance(args[0], np.ndarray | np.generic)
            if (
                isinstance(out, np.ndarray)
                and out.dtype == np.int64
                and not said
                and not given
                and abs(out).max(initial=0) < 2**31
            ):
                return out.astype(np.int32)
            return out

        return wrapped

    for name, position in (("asarray", 1), ("array", 1), ("arange", 3), ("full", 2)):
        monkeypatch.setattr(np, name, narrowed(getattr(np, name), position))
    for name in ("argmax", "argmin", "argsort", "nonzero"):
        function = getattr(np, name)
        monkeypatch.setattr(
            np, name, lambda *a, f=function, **k: tuple(i.astype("int32") for i in r) if isinstance(r := f(*a, **k), tuple)
            else r.astype("int32")
        )  # fmt: skip
    for name in ("argmax", "argmin", "arange", "asarray"):  # the backend keeps numpy's functions
        mg.zeros(1).backend.__dict__.pop(name, None)
    yield
    for name in ("argmax", "argmin", "arange", "asarray"):
        mg.zeros(1).backend.__dict__.pop(name, None)


def test_whole_numbers_are_int64_on_every_platform(narrow):
    assert np.asarray([1, 2]).dtype == np.arange(3).dtype == np.int32  # the simulation
    x = mg.tensor([[3.0, 1.0, 2.0], [4.0, 6.0, 5.0]])
    made = {
        "number": lambda: mg.tensor(5),
        "list": lambda: mg.tensor([[1, 2], [3, 4]]),
        "mixed": lambda: mg.tensor([True, 2]),
        "range": lambda: mg.tensor(range(3)),
        "full": lambda: mg.full((2,), 7),
        "arange": lambda: mg.arange(5),
        "arange of large numbers": lambda: mg.arange(2**31 - 2, 2**31 + 2),
        "randint": lambda: mg.randint(0, 5, (3,)),
        "randperm": lambda: mg.randperm(4),
        "zeros_like": lambda: mg.zeros_like(mg.tensor([1])),
        "argmax": lambda: x.argmax(1),
        "argmin": lambda: x.argmin(),
        "max": lambda: x.max(1)[1],
        "min": lambda: x.min(0)[1],
        "one_hot": lambda: F.one_hot(mg.tensor([0, 2]), 3),
        "sum of booleans": lambda: (x > 2).sum(),
        "cumsum of int32": lambda: mg.tensor([1, 2], dtype="int32").cumsum(0),
        "prod": lambda: mg.tensor([2, 3]).prod(),
        "where": lambda: mg.where(x > 2, 1, 0),
        "product": lambda: mg.tensor([2**20]) * 2**20,
        "comparison and sum": lambda: (mg.tensor([1, 2]) == 2).sum(0),
    }
    for name, make in made.items():
        assert make().dtype == "int64", name
    assert (mg.tensor([2**20]) * 2**20).item() == 2**40
    assert mg.arange(2**31 - 2, 2**31 + 2).tolist()[-1] == 2**31 + 1
    assert x[[1, 0], [0, 2]].tolist() == [4.0, 2.0] and x[x > 4].tolist() == [6.0, 5.0]
