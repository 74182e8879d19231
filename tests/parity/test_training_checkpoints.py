"""What PyTorch saves in the middle of a training: averages, compiled models, optimizers, and anything beside the weights."""

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import pathlib
import types
import uuid

import numpy as np
import pytest
import torch

import minigrad as mg
from minigrad import interop, models
from minigrad.interop import torch_files
from minigrad.serialize import CheckpointError

SMALL = dict(
    embed_dims=(8, 16, 20, 24), num_heads=(1, 2, 5, 3), mlp_ratios=(3, 2, 2, 2), depths=(1, 2, 1, 1), num_classes=5, qkv_bias=True,
    img_size=64,
)  # fmt: skip


class Stage(enum.Enum):
    TRAIN = 1


class Flags(enum.IntFlag):
    A = 1


@dataclasses.dataclass
class Settings:
    lr: float = 0.1
    betas: tuple = (0.9, 0.999)


class Config(dict):
    """As omegaconf's and mmengine's."""


class History(list):
    pass


class Slotted:
    __slots__ = ("a",)

    def __init__(self):
        self.a = 1


class Keyword:
    def __new__(cls, *, a):
        return super().__new__(cls)

    def __getnewargs_ex__(self):
        return (), {"a": 1}


class Derived(torch.Tensor):
    pass


def beside():
    parameter = torch.nn.Parameter(torch.randn(3))
    optimizer = torch.optim.AdamW([parameter], lr=1e-3, amsgrad=True)
    parameter.grad = torch.ones(3)
    optimizer.step()
    schedules = [
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10),
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch),
        torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10),
    ]
    counted = collections.defaultdict(collections.Counter, a=collections.Counter("abc"))
    return {
        "array": np.arange(12.0).reshape(3, 4), "large array": np.zeros(10**6), "structure": np.zeros(2, [("a", "f4")]),
        "objects": np.array([None, "a", {1}], object), "numbers": [np.float32(1), np.int64(2), np.bool_(True), np.str_("a")],
        "array dtype": np.dtype("f4"), "generator": np.random.default_rng(0), "state": np.random.get_state(),
        "set": {1, "a", (2, 3)}, "frozenset": frozenset([1]), "times": [datetime.datetime.now(datetime.UTC),
        datetime.date(2020, 1, 1), datetime.timedelta(1)], "namespace": argparse.Namespace(lr=0.1, stage=Stage.TRAIN),
        "simple": types.SimpleNamespace(a=1), "ordered": collections.OrderedDict(a=1), "counted": counted,
        "paths": [pathlib.Path("a/b"), pathlib.PurePosixPath("c")], "size": torch.Size([3]), "device": torch.device("cuda", 0),
        "dtypes": [torch.float16, torch.bfloat16, torch.int64, torch.complex64, torch.float8_e5m2], "layout": torch.strided,
        "parameter": parameter, "optimizer": optimizer.state_dict(),
        "whole optimizer": torch.optim.SGD([parameter], lr=0.1), "schedules": [s.state_dict() for s in schedules],
        "scaler": {"scale": 2.0, "growth": None}, "member": Stage.TRAIN, "flags": Flags.A, "settings": Settings(),
        "partial": functools.partial(Settings, lr=3), "partial of print": functools.partial(print, "a"), "class": Settings,
        "function": torch.nn.functional.relu, "method": Settings().__eq__, "config": Config(a=Config(b=[1])),
        "history": History([1, 2]), "slots": Slotted(), "keywords": Keyword(a=1), "uuid": uuid.UUID(int=3),
        "decimal": decimal.Decimal("1.5"), "complex": 1j, "range": range(3), "slice": slice(1, 2), "bytes": b"a" * 5000,
        "bytearray": bytearray(b"abc"), "huge": 2**4000, "ellipsis": ..., "error": ValueError("a"),
        "keys": {(1, 2): 3, 0.5: 4, Stage.TRAIN: 5},
        "module": torch.nn.Linear(2, 2), "quantised": torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8),
        "sparse": torch.eye(3).to_sparse(), "meta": torch.zeros(2, device="meta"), "eight": torch.zeros(2, dtype=torch.float8_e4m3fn),
        "generator state": torch.get_rng_state(), "storage": torch.zeros(3).untyped_storage(),
        "conjugate": torch.zeros(2, dtype=torch.complex64).conj(),
        "buffer": torch.nn.Buffer(torch.zeros(2)), "counter": collections.Counter("abc"), "deque": collections.deque([1], 3),
    }  # fmt: skip


pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor"),
    pytest.mark.filterwarnings("ignore:.*jit.script_method"),
]


@pytest.fixture
def ours():
    mg.manual_seed(0)
    return models.PVT_V2(**SMALL).eval()


def state_of(model):
    return {name: torch.from_numpy(t.numpy().copy()) for name, t in model.state_dict().items()}


class Nested(torch.nn.Module):
    """A module with the names of a state dict."""

    def __init__(self, state):
        super().__init__()
        for name, value in state.items():
            module, (*parents, last) = self, name.split(".")
            for part in parents:
                if part not in module._modules:
                    module.add_module(part, torch.nn.Module())
                module = module._modules[part]
            module.register_parameter(last, torch.nn.Parameter(value))


def gives(path, ours):
    back = models.from_pretrained(path, config=ours.config)
    a, b = ({name: t.numpy() for name, t in model.state_dict().items()} for model in (ours, back))
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_anything_may_lie_beside_the_weights(tmp_path, ours, protocol):
    path = tmp_path / "x.pth"
    torch.save({**beside(), "model_state_dict": state_of(ours)}, path, pickle_protocol=protocol)
    assert gives(path, ours)
    weights = {"a.weight": torch.randn(2, 3)}
    for name, value in beside().items():
        for content in ({"model": weights, name: value}, {name: value, "model": weights}):
            torch.save(content, path, pickle_protocol=protocol)
            found = torch_files.load_arrays(path)
            assert list(found) == ["a.weight"] and np.array_equal(found["a.weight"], weights["a.weight"]), name


def test_what_pytorch_wraps_models_in(tmp_path, ours):
    path, net = tmp_path / "x.pth", Nested(state_of(ours))
    compiled = torch.compile(net)
    for model in (
        compiled,
        torch.nn.DataParallel(net),
        torch.nn.DataParallel(compiled),
        torch.optim.swa_utils.AveragedModel(net),
        torch.optim.swa_utils.AveragedModel(compiled),
        torch.nn.ModuleDict({"model": net}),
        torch.nn.ModuleDict({"backbone": compiled}),
    ):
        for content in (
            model.state_dict(),
            {"net": model.state_dict(), "epoch": 3},
            {"state_dict_ema": model.state_dict()},
        ):
            torch.save(content, path)
            assert gives(path, ours)
            fresh = models.PVT_V2(ours.config)
            assert models.load_weights(fresh, path) == ([], [])


def test_tensors_that_say_more(tmp_path):
    """With attributes, of derived classes, parameters and buffers; of dtypes that came after PyTorch 2.0."""
    tagged, parameter = torch.randn(2, 3), torch.nn.Parameter(torch.randn(2))
    tagged.tag = parameter.tag = 1
    tensors = {
        "tagged": tagged, "parameter": parameter, "derived": torch.randn(3).as_subclass(Derived), "buffer": torch.nn.Buffer(torch.randn(3)),
        "uint16": torch.arange(3).to(torch.uint16), "uint32": torch.arange(3).to(torch.uint32), "uint64": torch.arange(3).to(torch.uint64),
        "complex": torch.randn(3, dtype=torch.complex64), "int16": torch.arange(3).short(), "int8": torch.arange(3).char(),
    }  # fmt: skip
    torch.save(tensors, tmp_path / "x.pth")
    found = torch_files.load_arrays(tmp_path / "x.pth")
    for name, tensor in tensors.items():
        expected = tensor.detach().numpy()
        assert np.array_equal(found[name], expected) and found[name].dtype == expected.dtype


def test_tied_tensors(tmp_path):
    weight = torch.randn(4, 4)
    torch.save({"a": weight, "b": weight, "c": weight[1:], "d": torch.randn(100)}, tmp_path / "x.pth")
    found = torch_files.load_arrays(tmp_path / "x.pth")
    assert found["a"] is found["b"] and np.array_equal(found["b"], weight)
    found["a"][:] = 0
    assert np.array_equal(found["c"], weight[1:])
    large = torch.randn(300, 300)
    torch.save({"wte": large, "head": large}, tmp_path / "x.pth")  # twice as much as the file
    found = interop.load(tmp_path / "x.pth")
    assert np.array_equal(found["wte"].numpy(), large) and np.array_equal(found["head"].numpy(), large)
    mg.save(tmp_path / "x.safetensors", found)
    assert np.array_equal(mg.load(tmp_path / "x.safetensors")["head"].numpy(), large)


def test_repeated_elements(tmp_path):
    """What `expand` and `unfold` made, as a weight or beside the weights, however large."""
    weight = torch.randn(4, 4)
    torch.save({"a": torch.randn(1, 3).expand(2, 3), "b": weight.unfold(0, 2, 1)}, tmp_path / "x.pth")
    found, expected = torch_files.load_arrays(tmp_path / "x.pth"), torch.load(tmp_path / "x.pth")
    assert all(np.array_equal(found[name], expected[name]) for name in ("a", "b"))
    torch.save({"model": {"a": weight}, "scale": torch.ones(1).expand(10**9)}, tmp_path / "x.pth")
    assert np.array_equal(torch_files.load_arrays(tmp_path / "x.pth")["a"], weight)


@pytest.mark.parametrize("value", ["quantised", "sparse", "eight", "conjugate"])
def test_weights_that_arent_plain(tmp_path, value):
    torch.save({"a": torch.randn(3), "b": beside()[value]}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="its tensor b is of a kind that isn't read"):
        torch_files.load_arrays(tmp_path / "x.pth")


def test_a_file_becomes_pytorchs_again(tmp_path, ours):
    """What `interop.load` reads and `mg.save` writes is what PyTorch has, bit for bit, half precision too."""
    from safetensors.torch import load_file

    state = {
        "f16": torch.randn(5, 3).half(),
        "f32": torch.randn(4),
        "f64": torch.randn(3).double(),
        "i64": torch.arange(3),
        "b": torch.tensor([True]),
    }
    torch.save({"state_dict": state, **beside()}, tmp_path / "x.pth")
    mg.save(tmp_path / "x.safetensors", mg.interop.load(tmp_path / "x.pth"))
    back = load_file(tmp_path / "x.safetensors")
    assert back.keys() == state.keys()
    assert all(back[n].dtype == t.dtype and torch.equal(back[n], t) for n, t in state.items())
