"""Module: the walk over attributes, state_dict and its loading, moving, printing, containers."""

import copy

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn


def names(pairs):
    return [name for name, _ in pairs]


class Plain(nn.Module):  # never calls super().__init__()
    def __init__(self):
        self.first = nn.Linear(2, 3)
        self.scale = nn.Parameter(mg.ones(3))
        self.count = nn.Buffer(mg.tensor(0))
        self.cache = mg.zeros(5)

    def forward(self, x):
        self.cache = self.first(x) * self.scale
        return self.cache


def test_a_module_without_super_init_works():
    net = Plain()
    assert net.training
    assert net(mg.ones(4, 2)).shape == (4, 3)
    assert names(net.named_parameters()) == ["scale", "first.weight", "first.bias"]  # its own first, as in PyTorch
    assert names(net.named_buffers()) == ["count"]
    assert names(net.named_modules()) == ["", "first"]


def test_only_parameters_and_buffers_enter_the_state():
    net = Plain()
    net(mg.ones(1, 2))
    net.step = nn.Buffer(mg.tensor(1.0), persistent=False)
    assert list(net.state_dict()) == ["scale", "count", "first.weight", "first.bias"]
    assert names(net.named_buffers()) == ["count", "step"]


def test_a_plain_tensor_takes_no_parameters_place(device):
    """It would be in no state and reach no optimiser; in a buffer's place it is the buffer, with the history that it has."""
    layer = nn.Linear(2, 2, device=device)
    for value in (layer.weight * 2, np.ones((2, 2)), 1.0):
        with pytest.raises(TypeError, match=r"Linear.weight is a parameter, and a plain .*nn.Parameter\("):
            layer.weight = value
    layer.weight = nn.Parameter(layer.weight * 2)
    layer.bias = None
    assert list(layer.state_dict()) == ["weight"]
    layer.bias = mg.ones(2, device=device)  # as in PyTorch, a parameter that was there doesn't come back by itself
    assert list(layer.state_dict()) == ["weight"]

    layer.count, layer.kept = nn.Buffer(mg.zeros(2, device=device)), nn.Buffer(mg.zeros(1), persistent=False)
    before = layer.count
    layer.count = layer.count + 1
    layer.kept = mg.ones(3)
    assert before.tolist() == [0, 0] and layer.count.tolist() == [1, 1] and layer.count.device == layer.weight.device
    assert list(layer.state_dict()) == ["weight", "count"] and [n for n, _ in layer.named_buffers()] == [
        "count",
        "kept",
    ]
    with pytest.raises(TypeError, match="Linear.count is a buffer, and a plain float"):
        layer.count = 1.0
    layer.count = layer.weight.sum()
    layer.count.backward()
    assert isinstance(layer.count, nn.Buffer) and layer.weight.grad.tolist() == [[1, 1], [1, 1]]


def test_the_walk_goes_through_lists_tuples_and_dicts():
    net = nn.Module()
    net.layers = [nn.Linear(1, 1), (nn.Linear(1, 1, bias=False), {"a": nn.Linear(1, 1, bias=False), 3: nn.ReLU()})]
    net.weights = {"x": nn.Parameter(mg.zeros(1)), "y": [nn.Parameter(mg.zeros(1))]}
    assert names(net.named_modules()) == ["", "layers.0", "layers.1.0", "layers.1.1.a", "layers.1.1.3"]
    assert names(net.named_parameters()) == [
        "weights.x",
        "weights.y.0",
        "layers.0.weight",
        "layers.0.bias",
        "layers.1.0.weight",
        "layers.1.1.a.weight",
    ]
    assert names(net.named_children()) == ["layers.0", "layers.1.0", "layers.1.1.a", "layers.1.1.3"]


def test_tied_weights_count_once_and_are_saved_under_every_name():
    net = nn.Module()
    net.embed = nn.Embedding(3, 2)
    net.head = nn.Linear(2, 3, bias=False)
    net.head.weight = net.embed.weight
    net.again = net.head
    assert names(net.named_parameters()) == ["embed.weight"]
    assert names(net.named_parameters(remove_duplicate=False)) == ["embed.weight", "head.weight", "again.weight"]
    assert list(net.state_dict()) == ["embed.weight", "head.weight", "again.weight"]
    assert len(list(net.modules())) == 3
    net.load_state_dict({name: np.full((3, 2), 7, np.float32) for name in net.state_dict()})
    assert net.head.weight is net.embed.weight
    assert net.embed.weight.tolist() == [[7, 7]] * 3


def test_cycles_are_tolerated():
    parent, child = nn.Module(), nn.Module()
    parent.child, child.parent, child.weight = child, parent, nn.Parameter(mg.ones(1))
    child.items = [child]
    child.items.append(child.items)
    assert names(parent.named_parameters()) == ["child.weight"]
    assert list(parent.state_dict()) == ["child.weight"]
    assert len(list(parent.modules())) == 2
    seen = []
    parent.apply(seen.append)
    assert seen == [child, parent]
    assert not parent.eval().child.training
    assert repr(parent) == "Module(\n  (child): Module(\n    (parent): ...\n    (items.0): ...\n  )\n)"


def test_train_eval_and_freezing_reach_everything():
    net = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.Dropout(0.5)))
    assert net.eval() is net
    assert [m.training for m in net.modules()] == [False] * 4
    net[1].train()
    assert [m.training for m in net.modules()] == [False, False, True, True]
    net[0].requires_grad_(False)
    assert [p.requires_grad for p in net.parameters()] == [False, False]


def test_zero_grad():
    layer = nn.Linear(2, 1)
    layer(mg.ones(1, 2)).sum().backward()
    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad.tolist() == [[0, 0]]
    layer.zero_grad()
    assert layer.weight.grad is None and layer.bias.grad is None


def test_apply_visits_submodules_first():
    net = nn.Sequential(nn.Sequential(nn.ReLU(), nn.Tanh()), nn.Identity())
    seen = []
    assert net.apply(lambda m: seen.append(type(m).__name__)) is net
    assert seen == ["ReLU", "Tanh", "Sequential", "Identity", "Sequential"]


def test_get_submodule():
    net = nn.Sequential(nn.Sequential(nn.ReLU(), nn.Tanh()))
    net.extra = [nn.Identity()]
    assert net.get_submodule("") is net
    assert net.get_submodule("0.1") is net[0][1]
    assert net.get_submodule("extra.0") is net.extra[0]
    with pytest.raises(AttributeError, match=r"no submodule '0\.7'; below '0' are: 0, 1"):
        net.get_submodule("0.7")
    with pytest.raises(AttributeError, match=r"below '' are: 0, extra\.0"):
        net.get_submodule("nothing")


def test_a_parameter_is_a_leaf_whatever_it_is_made_of():
    x = mg.ones(2, requires_grad=True)
    p = nn.Parameter(x * 2)
    assert p.is_leaf and p.requires_grad and p.tolist() == [2, 2]
    assert not nn.Parameter([1.0], requires_grad=False).requires_grad
    assert not nn.Buffer(x * 2).requires_grad
    with pytest.raises(RuntimeError, match="floating point"):
        nn.Parameter(mg.tensor([1, 2]))
    assert repr(nn.Parameter([1.0])) == "Parameter containing:\ntensor([1.], requires_grad=True)"


def test_forward_is_asked_for():
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        nn.Module()(1)


# --- state_dict -------------------------------------------------------------------------------------------------------


def test_state_dict_shares_the_memory(device):
    """As PyTorch's: what changes the module changes the entries, and the other way round; a clone() is a snapshot."""
    layer = nn.Linear(2, 2, device=device)
    state = layer.state_dict()
    before = state["weight"].numpy().copy()
    assert not state["weight"].requires_grad and type(state["weight"]) is mg.Tensor
    snapshot = state["weight"].clone()
    with mg.no_grad():
        layer.weight -= 1.0
    np.testing.assert_array_equal(snapshot.numpy(), before)
    np.testing.assert_array_equal(state["weight"].numpy(), before - 1)
    np.testing.assert_array_equal(layer.weight.detach().numpy(), before - 1)
    state["weight"].mul_(0.5).add_(1)  # as averages of weights are written
    np.testing.assert_array_equal(layer.weight.detach().numpy(), (before - 1) * np.float32(0.5) + 1)
    assert layer.weight.is_leaf and layer.weight.requires_grad


def test_state_goes_from_one_module_to_another(device):
    def make():
        return nn.Sequential(nn.Conv2d(2, 4, 3, device=device), nn.BatchNorm2d(4, device=device))

    a, b = make(), make()
    a(mg.randn(3, 2, 8, 8, device=device))
    parameters = list(b.parameters())
    assert b.load_state_dict(a.state_dict()) == ([], [])
    assert all(p is q for p, q in zip(parameters, b.parameters(), strict=True))
    for name, value in a.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), b.state_dict()[name].numpy())
        assert b.state_dict()[name].device == device
    b.load_state_dict({name: value.numpy() for name, value in a.state_dict().items()})


def test_loaded_arrays_are_copied():
    layer = nn.Linear(2, 1, bias=False)
    array = np.ones((1, 2), np.float32)
    layer.load_state_dict({"weight": array})
    array[:] = 5
    assert layer.weight.tolist() == [[1, 1]]


def test_every_difference_is_listed_and_nothing_changed():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    before = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    wrong = {
        "0.weight": np.zeros((3, 2), np.float32),
        "0.bias": mg.zeros(4),
        "1.weight": mg.zeros(1, 3).astype("float64"),
        "1.scale": mg.zeros(7),
    }
    with pytest.raises(ValueError) as error:
        net.load_state_dict(wrong)
    assert str(error.value).splitlines() == [
        "Sequential.load_state_dict found 4 differences between state_dict and the module, and changed nothing; "
        "give values of the module's shapes and dtypes:",
        "  missing 1.bias (1,) float32",
        "  unexpected 1.scale (7,) float32",
        "  0.bias is (4,) float32, expected (3,) float32",
        "  1.weight is (1, 3) float64, expected (1, 3) float32",
    ]
    with pytest.raises(ValueError, match="found 2 differences"):  # shapes and dtypes must fit in any case
        net.load_state_dict(wrong, strict=False)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])


def test_not_strict_returns_the_names():
    net = nn.Sequential(nn.Linear(1, 1))
    found = net.load_state_dict({"0.weight": mg.ones(1, 1), "other": mg.ones(1)}, strict=False)
    assert found.missing_keys == ["0.bias"] and found.unexpected_keys == ["other"]
    assert net[0].weight.item() == 1


# --- to ---------------------------------------------------------------------------------------------------------------


def test_to_keeps_the_objects_and_moves_gradients(device):
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    parameters, values = list(net.parameters()), net.state_dict()
    net(mg.randn(4, 2)).sum().backward()
    values = net.state_dict()
    assert net.to(device) is net
    for p, q in zip(parameters, net.parameters(), strict=True):
        assert p is q and p.device == p.grad.device == device and p.is_leaf and p.requires_grad
    for name, value in net.state_dict().items():
        assert value.device == device
        np.testing.assert_array_equal(value.numpy(), values[name].numpy())
    net(mg.randn(4, 2, device=device)).sum().backward()
    net.to("cpu")
    assert {t.device for t in [*net.parameters(), *net.buffers()]} == {"cpu"}


def test_to_casts_floating_point_only():
    net = nn.BatchNorm2d(2)
    net.to(mg.float64)
    assert [t.dtype.name for t in net.state_dict().values()] == ["float64"] * 4 + ["int64"]
    assert net.astype(mg.float32).weight.dtype is mg.float32
    with pytest.raises(TypeError, match="floating point, not int32"):
        net.to(mg.int32)


def test_to_is_all_or_nothing():
    pytest.importorskip("mlx.core", exc_type=ImportError)
    net = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1).to(mg.float64))
    with pytest.raises(TypeError, match="float64"):
        net.to("mlx")
    assert {p.device for p in net.parameters()} == {"cpu"}
    net.to("mlx", mg.float16)
    assert {(p.device, p.dtype.name) for p in net.parameters()} == {("mlx", "float16")}


def test_a_deep_copy_is_independent_and_keeps_ties(device):
    net = nn.Sequential(nn.Linear(2, 2, device=device), nn.BatchNorm1d(2, device=device))
    net.tied = net[0].weight
    twin = copy.deepcopy(net)
    assert twin.tied is twin[0].weight and twin.tied is not net.tied
    before = net.state_dict()["0.weight"].numpy().copy()
    x = mg.ones(3, 2, device=device)
    np.testing.assert_array_equal(twin(x).detach().numpy(), net(x).detach().numpy())
    with mg.no_grad():
        twin.tied -= 1.0
    np.testing.assert_array_equal(net[0].weight.detach().numpy(), before)


# --- printing ---------------------------------------------------------------------------------------------------------


def test_repr_is_pytorchs():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding="same"),
        nn.BatchNorm2d(4),
        nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3), nn.ReLU()]),
        nn.GroupNorm(2, 4),
        nn.LayerNorm(4),
        nn.Embedding(3, 4, padding_idx=0),
        nn.MultiheadAttention(4, 2),
        nn.AvgPool2d(2),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d((1, None)),
        nn.Dropout(0.1),
        nn.ReLU(True),
        nn.GELU(),
        nn.LeakyReLU(),
        nn.Softplus(),
        nn.Softmax(1),
        nn.Flatten(),
        nn.ConvTranspose2d(3, 4, 3, dilation=2, bias=False),
        nn.CrossEntropyLoss(),
        nn.ELU(),
        nn.ModuleDict({"a": nn.SiLU()}),
        nn.LogSoftmax(-1),
        nn.LayerNorm([2, 3], bias=False),
    )
    expected = """\
Sequential(
  (0): Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1), padding=same)
  (1): BatchNorm2d(4, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
  (2): ModuleList(
    (0-1): 2 x Linear(in_features=3, out_features=3, bias=True)
    (2): ReLU()
  )
  (3): GroupNorm(2, 4, eps=1e-05, affine=True, bias=True)
  (4): LayerNorm((4,), eps=1e-05, elementwise_affine=True, bias=True)
  (5): Embedding(3, 4, padding_idx=0)
  (6): MultiheadAttention(
    (out_proj): Linear(in_features=4, out_features=4, bias=True)
  )
  (7): AvgPool2d(kernel_size=2, stride=2, padding=0)
  (8): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)
  (9): AdaptiveAvgPool2d(output_size=(1, None))
  (10): Dropout(p=0.1, inplace=False)
  (11): ReLU(inplace=True)
  (12): GELU(approximate='none')
  (13): LeakyReLU(negative_slope=0.01)
  (14): Softplus(beta=1.0, threshold=20.0)
  (15): Softmax(dim=1)
  (16): Flatten(start_dim=1, end_dim=-1)
  (17): ConvTranspose2d(3, 4, kernel_size=(3, 3), stride=(1, 1), dilation=(2, 2), bias=False)
  (18): CrossEntropyLoss()
  (19): ELU(alpha=1.0)
  (20): ModuleDict(
    (a): SiLU()
  )
  (21): LogSoftmax(dim=-1)
  (22): LayerNorm((2, 3), eps=1e-05, elementwise_affine=True, bias=False)
)"""
    assert repr(net) == expected


# --- containers -------------------------------------------------------------------------------------------------------


def test_sequential_by_name_and_by_position():
    net = nn.Sequential({"conv": nn.Identity(), "act": nn.ReLU()})
    assert names(net.named_children()) == ["conv", "act"] and net.act is net[1] is net[-1]
    assert net(mg.tensor([-1.0])).tolist() == [0]
    net[0] = nn.Tanh()
    assert names(net.named_children()) == ["conv", "act"] and isinstance(net.conv, nn.Tanh)


@pytest.mark.parametrize("kind", [nn.Sequential, lambda *modules: nn.ModuleList(modules)])
def test_lists_of_modules(kind):
    a, b, c, d = nn.ReLU(), nn.Tanh(), nn.Identity(), nn.SiLU()
    layers = kind(a, b)
    layers.append(c)
    layers.insert(0, d)
    assert list(layers) == [d, a, b, c] and len(layers) == 4
    assert names(layers.named_children()) == ["0", "1", "2", "3"]
    del layers[1]
    assert list(layers) == [d, b, c] and names(layers.named_children()) == ["0", "1", "2"]
    assert list(layers[1:]) == [b, c] and type(layers[1:]) is type(layers)
    layers.extend([a])
    assert layers[-1] is a
    for call in (lambda: layers[9], lambda: layers.__delitem__(9), lambda: layers.__setitem__(9, a)):
        with pytest.raises(IndexError, match="there is no entry 9 among 4; give an index from -4 to 3"):
            call()
    layers.insert(99, c)  # as a list does
    assert layers[4] is c and layers[True] is layers[1]
    with pytest.raises(TypeError, match="holds modules, got int"):
        layers.append(3)


def test_module_dict():
    heads = nn.ModuleDict({"a": nn.Linear(1, 1)})
    heads["b"] = nn.ReLU()
    assert list(heads) == list(heads.keys()) == ["a", "b"] and "a" in heads and "training" not in heads
    assert heads.eval() is heads and len(heads) == 2
    popped = heads.pop("a")
    assert isinstance(popped, nn.Linear) and list(heads.values()) == [heads["b"]]
    with pytest.raises(KeyError, match="can't be a module's name"):
        heads["keys"] = nn.ReLU()
    with pytest.raises(KeyError, match="can't be a module's name"):
        heads["a.b"] = nn.ReLU()


def test_a_copied_buffer_stays_out_of_the_state_dict():
    layer = nn.Module()
    layer.kept, layer.left = nn.Buffer(1.0), nn.Buffer(2.0, persistent=False)
    assert list(copy.deepcopy(layer).state_dict()) == list(layer.state_dict()) == ["kept"]
    assert copy.copy(layer.left).persistent is False
