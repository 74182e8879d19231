"""What writes and views leave behind: no reference cycles, no growing memory, and never a changed array that somebody else holds."""

import copy
import gc
import sys
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

import minigrad as mg


@pytest.fixture
def no_collector():
    """What is freed is freed by its last reference."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


# --- no cycles ----------------------------------------------------------------------------------------------------------
def plain(device):
    return mg.ones(4, 3, device=device)


def recorded(device):
    return mg.ones(4, 3, device=device, requires_grad=True) * 2.0


def dropped_views(x):
    for i in range(3):
        x[i].t()
        x.view(-1)[1:].mul_(2)
    return [x]


def dropped_bases(x):
    view = x.t()[1:]
    base, x = x, None
    del base
    view += 1
    return [view, view[0]]


def views_of_views(x):
    views = [x]
    for _ in range(5):
        views.append(views[-1].t()[1:] if views[-1].shape[1] > 1 else views[-1].view(-1))
        views[-1].add_(1)
    return views


def two_views(x):
    a, b = x[0], x[:, 1]
    a += 1
    b *= a[1].clone()
    x[1] = a
    return [x, a, b]


def detached_chain(x):
    chain = [x]
    for _ in range(5):
        chain.append(chain[-1].detach())
        chain.append(chain[-1].data)
        chain[-1].add_(1)
    return chain


def assigned_data(x):
    x = x.detach()
    others = [x]
    for _ in range(5):
        x.data = x.data * 2
        others.append(x.data)
        x.data = others[-1]
    return others


def parts(x):
    rows = [*x.split(1), *x.unbind(1), *x.chunk(2)]
    with mg.no_grad():
        for row in rows:
            row += 1
        for row in x:
            row *= 2
    return [x, *rows]


def turned(x):
    y = x * 1.0
    v = y[0]
    y.t_()
    y.unsqueeze_(0).squeeze_(0).transpose_(0, 1)
    y.add_(1)
    v.add_(1)
    return [y, v]


def written_places(x):
    x[0] = x[1]
    x[[0, 1]] = 2.0
    x[x > 1] = 3.0
    x[1:, 0].fill_(1.0)
    x.index_add_(0, mg.tensor([0, 1], device=x.device), mg.ones(2, 3, device=x.device))
    return [x]


def expanded(x):
    e = x[0].expand(5, 3)
    e[0] = 2.0
    e.zero_()
    return [x, e]


def hooks_and_retained(x):
    y = x * 1.0
    if y.requires_grad:
        y.retain_grad()
    v = y[0]
    y.mul_(2)
    v.mul_(3)
    if y.requires_grad:
        (y.sum() + v.sum()).backward()
        return [y, v, y.grad]
    return [y, v]


def inplace_activations(x):
    y = mg.nn.functional.relu(x * 1.0, inplace=True)
    mg.nn.functional.dropout(y, 0.5, inplace=True)
    return [y]


def refused(x):
    for t, other in ((x, mg.ones(2, 4, 3, device=x.device)), (x[0].expand(4, 3), 1.0)):
        with pytest.raises((RuntimeError, ValueError)):
            t += other
    return [x]


STORIES = [
    dropped_views, dropped_bases, views_of_views, two_views, detached_chain, assigned_data, parts, turned, written_places, expanded,
    hooks_and_retained, inplace_activations, refused,
]  # fmt: skip


@pytest.mark.parametrize("story", STORIES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("start", [plain, recorded], ids=lambda f: f.__name__)
def test_no_cycles(story, start, device, no_collector):
    """Everything is freed when the last name goes."""
    story(start(device))  # what is made once
    gc.collect()
    tensors = story(start(device))
    watched = [weakref.ref(t) for t in tensors]
    watched += [
        weakref.ref(t._ties.memory) for t in tensors if t._ties is not None and hasattr(t._ties.memory, "__weakref__")
    ]
    watched += [weakref.ref(t.array) for t in tensors if device == "cpu"]
    watched += [weakref.ref(t.grad_fn) for t in tensors if t.grad_fn is not None]
    del tensors
    assert [reference() for reference in watched] == [None] * len(watched)
    assert gc.collect() == 0


def test_a_base_goes_while_its_view_lives(device, no_collector):
    x = mg.ones(4, 3, device=device)
    base, view = weakref.ref(x), x[1]
    del x
    assert base() is None
    view += 1
    assert view.tolist() == [2.0] * 3
    array = weakref.ref(view.array) if device == "cpu" else None
    del view
    assert array is None or array() is None


def test_a_view_goes_while_its_base_lives(device, no_collector):
    x = mg.ones(4, 3, device=device)
    views = [x[i] for i in range(4)]
    watched = [weakref.ref(v) for v in views]
    del views
    assert all(reference() is None for reference in watched)
    assert list(x._ties.memory.living()) == [x]


def test_a_view_of_a_result_keeps_no_leaf_and_no_node_longer_than_needed(device, no_collector):
    w = mg.ones(3, device=device, requires_grad=True)
    y = w * 2.0
    node = weakref.ref(y.grad_fn)
    v = y.detach()[1:]
    del y
    v += 1
    assert node() is None
    w = weakref.ref(w)
    assert w() is None and v.tolist() == [3.0, 3.0]


# --- flat memory --------------------------------------------------------------------------------------------------------
def add(x, i):
    x += 1


def set_place(x, i):
    x[i % 4] = 1.5


def set_places(x, i):
    x[i % 4] = x[(i + 1) % 4]


def write_a_view(x, i):
    v = x[0]
    v += 1


def write_data(x, i):
    x.data.mul_(0.5)


def assign_data(x, i):
    x.data = x.data * 0.5


def write_detached(x, i):
    x.detach()[0] = 1.0


def write_in_no_grad(x, i):
    with mg.no_grad():
        x.mul_(0.5)
        x[0].zero_()


def turn(x, i):
    x.t_()


def take_and_write_parts(x, i):
    for row in x.unbind():
        row += 1


LOOPS = [
    add, set_place, set_places, write_a_view, write_data, write_detached, write_in_no_grad, turn, take_and_write_parts,
    assign_data,
]  # fmt: skip


@pytest.mark.parametrize("kept", [False, True], ids=["alone", "beside a view and a detached tensor"])
@pytest.mark.parametrize("loop", LOOPS, ids=lambda f: f.__name__)
def test_writes_in_a_loop_leave_memory_flat(loop, kept, no_collector):
    """A hundred thousand small writes, or ten thousand."""
    x = mg.zeros(4, 4)
    others = [x[1], x.detach()] if kept else []
    count = 100_000 if loop in (add, set_place, write_a_view) and not kept else 10_000
    growth, blocks, cycles = grown(lambda i: loop(x, i), count)
    assert growth < 4000 and blocks < 100 and cycles == 0, (growth, blocks, cycles, others)


def grown(function, count):
    """What `count` calls leave behind: bytes that 1000 of them add, Python's blocks of memory, and objects that the collector finds."""
    gc.collect()
    for i in range(3000):  # Python keeps up to 2000 tuples of a length to use them again
        function(i)
    blocks = sys.getallocatedblocks()
    for i in range(count):
        function(i)
    blocks = sys.getallocatedblocks() - blocks
    tracemalloc.start()
    try:
        function(0)
        before = tracemalloc.get_traced_memory()[0]
        for i in range(1000):
            function(i)
        return tracemalloc.get_traced_memory()[0] - before, blocks, gc.collect()
    finally:
        tracemalloc.stop()


def test_many_views_that_live_and_die(no_collector):
    x = mg.zeros(1000, 2)
    for _ in range(3):
        views = [x[i] for i in range(1000)]
        x += 1
        assert len(x._ties.memory.living()) == 1001
        del views
    assert x._ties.memory.living() == [x]
    for i in range(3000):
        assert x[i % 1000].numel() == 2 and len(x._ties.memory.members) <= 16 + 2 * 1001 + 1
    assert len(x._ties.memory.members) <= 20  # those of dead views have been forgotten


@pytest.mark.parametrize("made", [lambda x: x[1:], lambda x: x.t().t()[1:].view(-1).view(-1, 2)], ids=["cut", "turned"])
def test_a_view_at_the_end_of_a_long_chain_is_written(made, device):
    w = mg.ones(501, 2, device=device, requires_grad=True)
    for recorded in (False, True):
        x = w * 1 if recorded else mg.ones(501, 2, device=device)
        y = x
        for _ in range(500):
            y = made(y)
        y[0, 1] = 5.0
        y *= 3
        assert y.tolist() == [[3.0, 15.0]] == x[500:].tolist() and x[:500].sum().item() == 1000
    x.sum().backward()
    assert w.grad[:500].tolist() == [[1.0, 1.0]] * 500 and w.grad[500].tolist() == [3.0, 0.0]


def test_view_refuses_to_copy(device):
    x = mg.arange(6, device=device).view(2, 3)
    assert x.t()[1:].t().view(2, 2, 1).shape == (2, 2, 1) and x[1].view(3, 1).shape == (3, 1)
    for turned in (x.t(), x[:, 1:], x.expand(2, 2, 3)):
        with pytest.raises(RuntimeError, match=r"^view: a view of shape \([^\n]* write reshape, which copies$"):
            turned.view(-1)
        with pytest.raises(RuntimeError, match="^view_as: "):
            turned.view_as(turned.reshape(-1))
        assert turned.contiguous().view(-1).tolist() == turned.reshape(-1).tolist()


def test_results_with_a_tape_are_freed(no_collector):
    """Of a loop that writes and goes back at every step."""
    w = mg.ones(50, requires_grad=True)
    buffer = mg.zeros(50)

    def step(i):
        y = w * 2.0
        y.mul_(w.detach())
        y[0] = 1.0
        y[1:].add_(1)
        y.sum().backward()
        with mg.no_grad():
            buffer.mul_(0.9).add_(w.grad)
            w.sub_(w.grad, alpha=0.0)
            w.grad.zero_()

    growth, blocks, cycles = grown(step, 1000)
    assert growth < 4000 and blocks < 100 and cycles == 0, (growth, blocks, cycles)


# --- arrays are written in place only when nobody else holds them -----------------------------------------------------------
class Unchanged:
    """Something that holds the values which x has, and says later what they are."""

    def __init__(self, hold, read=np.array):
        self.hold, self.read = hold, read


def saved_by_a_node(x):
    w = mg.ones(*x.shape, requires_grad=True)
    return w, (w * x).sum()


def gradient(held):
    w, loss = held
    loss.backward()
    return w.grad.numpy()


def saved_result(x):
    """The node keeps its result."""
    w = mg.tensor(np.log(x.numpy() + 1.0), dtype="float32", requires_grad=True)
    y = w.exp()
    x.data = y.data
    return w, y.sum()


HOLDERS = {
    "x.numpy()": Unchanged(lambda x: x.numpy()),
    "x.array": Unchanged(lambda x: x.array),
    "a numpy view": Unchanged(lambda x: x.array[::2], lambda a: np.repeat(a, 2, 0)),
    "a numpy view of a numpy view": Unchanged(lambda x: x.array.T[1:].T[:, :], lambda a: a),
    "memoryview": Unchanged(lambda x: memoryview(x.array), np.array),
    "memoryview of a row": Unchanged(lambda x: memoryview(x.array[0]), np.array),
    "np.asarray": Unchanged(lambda x: np.asarray(x)),
    "dlpack": Unchanged(lambda x: np.from_dlpack(x)),
    "clone()": Unchanged(lambda x: x.clone(), lambda t: t.numpy()),
    "clone of a view": Unchanged(lambda x: x[1:].clone(), lambda t: t.numpy()),
    "contiguous of a view": Unchanged(lambda x: x.t().contiguous(), lambda t: t.numpy()),
    "reshape that copies": Unchanged(lambda x: x.t().reshape(-1), lambda t: t.numpy()),
    "x[[0, 1]]": Unchanged(lambda x: x[[0, 1]], lambda t: t.numpy()),
    "flip": Unchanged(lambda x: x.flip(0), lambda t: t.numpy()),
    "relu": Unchanged(lambda x: x.relu(), lambda t: t.numpy()),
    "+x of clone": Unchanged(lambda x: +x.clone(), lambda t: t.numpy()),
    "mg.tensor(x)": Unchanged(lambda x: mg.tensor(x), lambda t: t.numpy()),
    "deepcopy": Unchanged(copy.deepcopy, lambda t: t.numpy()),
    "deepcopy of a view": Unchanged(lambda x: copy.deepcopy(x[1:]), lambda t: t.numpy()),
    "x.to(x.dtype) of a clone": Unchanged(lambda x: x.clone().to(x.dtype), lambda t: t.numpy()),
    "a node": Unchanged(saved_by_a_node, gradient),
    "a node that keeps its result": Unchanged(saved_result, gradient),
    "a node that keeps a view": Unchanged(lambda x: saved_by_a_node(x.t()), gradient),
    "the arrays of a state dict": Unchanged(lambda x: [t.array for t in module(x).state_dict().values()], lambda a: a[0]),
    "the numpy arrays of a state dict": Unchanged(lambda x: [t.numpy() for t in module(x).state_dict().values()], lambda a: a[0]),
    "an optimizer's state dict": Unchanged(lambda x: stepped(x), lambda s: s["state"][0]["momentum_buffer"].numpy()),
    "bytes of mg.save": Unchanged(lambda x: x.tolist(), np.array),
}  # fmt: skip


def module(x):
    out = mg.nn.Module()
    out.buffer = mg.nn.Buffer(mg.zeros(1))
    out.buffer.data = x
    return out


def stepped(x):
    p = mg.nn.Parameter(mg.zeros(*x.shape))
    p.grad = x.clone()
    optimizer = mg.optim.SGD([p], lr=0.1, momentum=0.9)
    optimizer.step()
    state = optimizer.state_dict()
    x.data = optimizer.state[p]["momentum_buffer"]
    return state


def through_a_view(x):
    v = x[0]
    v += 1


def through_views(x):
    v, w = x[1:], x.t()
    v[0] = 100.0
    w[0, 1:].mul_(5)


WRITES = {
    "x[0] = 5": lambda x: x.__setitem__(0, 5.0), "x[1:, 0] = 5": lambda x: x.__setitem__((slice(1, None), 0), 5.0),
    "x[[0, 1]] = x[[1, 0]]": lambda x: x.__setitem__([0, 1], x[[1, 0]] * 3),
    "x[mask] = 5": lambda x: x.__setitem__(x > 1, 50.0),
    "x[...] = 5": lambda x: x.__setitem__(..., 5.0), "x += 1": lambda x: x.add_(1), "fill_": lambda x: x.fill_(5),
    "copy_": lambda x: x.copy_(x * 2),
    "v += 1": through_a_view, "views": through_views, "data[0] = 5": lambda x: x.data.__setitem__(0, 5.0),
    "detach": lambda x: x.detach()[0].zero_(),
    "relu_": lambda x: x.sub_(2).relu_(), "index_add_": lambda x: x.index_add_(0, mg.tensor([0]), mg.ones(1, 3)),
    "put_": lambda x: x.put_(mg.tensor([0]), mg.ones(1) * 9),
    "normal_": lambda x: x.normal_(), "assign": lambda x: mg.nn.init.constant_(x, 7.0),
    "a recorded x[0] = v": lambda x: x.__setitem__(0, mg.ones(3, requires_grad=True) * 5),
    "a recorded v[0] = v": lambda x: x[1:].__setitem__(0, mg.ones(3, requires_grad=True) * 5),
    "twice": lambda x: (x.__setitem__(0, 5.0), x.__setitem__(1, 6.0)),
}  # fmt: skip


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("holder", HOLDERS)
def test_what_holds_an_array_keeps_its_values(holder, write):
    x = mg.tensor(np.arange(12, dtype=np.float32).reshape(4, 3))
    x[3, 2] = 12.0  # in place: its array is its own
    held = HOLDERS[holder].hold(x)
    first = (
        np.array(HOLDERS[holder].read(held))
        if "node" not in holder
        else x.numpy().copy().T
        if "view" in holder
        else x.numpy().copy()
    )
    WRITES[write](x)
    read = np.array(HOLDERS[holder].read(held))
    np.testing.assert_array_equal(read, first)


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("beside", ["view", "detached", "view of a view"])
def test_what_holds_the_array_of_a_view_keeps_its_values(beside, write):
    """Also where the views that share the memory were made before and after."""
    x = mg.tensor(np.arange(12, dtype=np.float32).reshape(4, 3))
    v = {"view": lambda: x[1:], "detached": lambda: x.detach(), "view of a view": lambda: x.t()[1:].t()}[beside]()
    held, array, first = v.numpy(), v.array, v.numpy().copy()
    copied, node = v.clone(), saved_by_a_node(v)
    WRITES[write](x)
    for found in (held, array, copied.numpy(), gradient(node)):
        np.testing.assert_array_equal(found, first)
    later = mg.tensor(np.arange(12, dtype=np.float32).reshape(4, 3))
    WRITES[write](later)
    if write != "normal_":
        np.testing.assert_array_equal(x.detach().numpy(), later.detach().numpy())
        again = {"view": lambda: later[1:], "detached": lambda: later, "view of a view": lambda: later.t()[1:].t()}[
            beside
        ]()
        np.testing.assert_array_equal(v.detach().numpy(), again.detach().numpy())


class Growing(dict):
    """A mapping that writes to a tensor while it is saved."""

    def __init__(self, x):
        super().__init__(a=x, b=x)
        self.x = x

    def items(self):
        for name in ("a", "b"):
            yield name, self.x
            self.x[0] = 77.0
            self.x[1] += 1


def test_a_file_that_is_being_written(tmp_path):
    x = mg.zeros(4, 3)
    x[0] = 1.0
    before = x.numpy().copy()
    mg.save(tmp_path / "x.safetensors", Growing(x))
    found = mg.load(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(found["a"].numpy(), before)
    assert found["b"].numpy()[0, 0] == 77.0 and x.numpy()[1, 0] == 2.0


def test_what_is_loaded_is_written_in_memory_only(tmp_path):
    path = tmp_path / "x.safetensors"
    mg.save(path, {"x": mg.zeros(4, 3)})
    before = path.read_bytes()
    x = mg.load(path)["x"]
    x[0] = 5.0
    x.add_(1)
    assert path.read_bytes() == before and mg.load(path)["x"].sum().item() == 0


def test_arrays_from_outside_stay_as_they_are():
    array = np.zeros((4, 3), np.float32)
    for x in (mg.tensor(array), mg.from_numpy(array), mg.as_tensor(array), mg.nn.Parameter(array).data):
        x[0] = 5.0
        x += 1
    assert not array.any()


def test_an_array_that_is_read_only_is_copied():
    array = np.zeros((4, 3), np.float32)
    array.flags.writeable = False
    x = mg.zeros(4, 3)
    x.data = array
    x[0] = 1.0
    assert not array.any() and x.sum().item() == 3


def address(x):
    return x.array.__array_interface__["data"][0]


ALONE = {
    "x[0] = 5": (lambda x: [], WRITES["x[0] = 5"]), "x[1:, 0] = 5": (lambda x: [], WRITES["x[1:, 0] = 5"]),
    "x[mask] = 5": (lambda x: [], WRITES["x[mask] = 5"]),
    "beside views": (lambda x: [x[0], x.t(), x.view(-1)[2:]], WRITES["x[0] = 5"]),
    "beside a detached tensor": (lambda x: [x.detach()], WRITES["x[0] = 5"]),
    "through a view": (lambda x: [], lambda x: x[0].__setitem__(1, 5.0)),
    "a view += 1": (lambda x: [], lambda x: x[0].add_(1)), "through data": (lambda x: [], WRITES["data[0] = 5"]),
    "after a holder has gone": (lambda x: [x.numpy() is None, x.clone() is None], WRITES["x[0] = 5"]),
}  # fmt: skip


@pytest.mark.parametrize("name", ALONE)
def test_an_array_that_nobody_else_holds_is_written_in_place(name):
    """This is what makes a loop that fills rows quick."""
    beside, write = ALONE[name]
    x = mg.tensor(np.arange(12, dtype=np.float32).reshape(4, 3))
    kept = beside(x)
    write(x)
    before = address(x)
    write(x)
    assert address(x) == before
    assert [k.numpy().base is not None for k in kept if isinstance(k, mg.Tensor)] == [True] * len(
        [k for k in kept if isinstance(k, mg.Tensor)]
    )


def test_rows_that_are_recorded_are_written_in_place():
    w, x = mg.ones(3, requires_grad=True), mg.zeros(4, 3)
    x[0] = w
    before = address(x)
    for i in range(1, 4):
        x[i] = w * i
    assert address(x) == before
    (x * x.detach()).sum().backward()
    np.testing.assert_array_equal(w.grad.numpy(), [1 + 1 + 4 + 9] * 3)


# --- devices --------------------------------------------------------------------------------------------------------------
def test_copy_from_another_device(device):
    x = mg.zeros(2, 3, device=device)
    v = x[1]
    x.copy_(mg.tensor([1.0, 2.0, 3.0], device="cpu"))
    x[0] = mg.tensor([5, 6, 7], device="cpu")
    x[1, 0] = np.float64(9)
    x.masked_fill_(mg.tensor([False, True, False], device=device), 0)
    assert x.tolist() == [[5, 0, 7], [9, 0, 3]] and v.tolist() == [9, 0, 3] and x.device == device


def test_gradients_of_a_copy_from_another_device(device):
    w = mg.tensor([1.0, 2.0, 3.0], requires_grad=True, device="cpu")
    x = mg.zeros(2, 3, device=device)
    x.copy_(w)
    x[1] = w * 2
    x.sum().backward()
    assert w.grad.tolist() == [3.0] * 3 and w.grad.device == "cpu"


# --- several threads, hooks, gradients --------------------------------------------------------------------------------
def test_threads_that_write_their_own_rows():
    """No write is lost when views of one tensor are written at the same time."""
    x = mg.zeros(4, 50_000)

    def work(i):
        for _ in range(60):
            x[i] += 1
            x[i].add_(1)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert x.numpy().min() == x.numpy().max() == 120


def kept_row(x, i, count):
    row = x[i]
    for _ in range(count):
        row.mul_(1.5)


def new_row(x, i, count):
    for _ in range(count):
        x[i].mul_(1.5)


def item(x, i, count):
    for _ in range(count):
        x[i] = x[i] * 1.5


def by_position(change):
    def work(x, i, count):
        at = mg.tensor([i])
        for _ in range(count):
            change(x, i, at, x[i : i + 1] * 1.5)

    work.__name__ = change.__name__
    return work


@by_position
def index_copied(x, i, at, row):
    x.index_copy_(0, at, row)


@by_position
def index_added(x, i, at, row):
    x.index_add_(0, at, row / 3)


@by_position
def scattered(x, i, at, row):
    x.scatter_(0, at.expand(1, 3), row)


@by_position
def scatter_added(x, i, at, row):
    x.scatter_add_(0, at.expand(1, 3), row / 3)


@by_position
def put_in(x, i, at, row):
    x.put_(mg.arange(3) + 3 * i, row.view(3))


@by_position
def masked(x, i, at, row):
    x.masked_fill_((mg.arange(4) == i).view(4, 1), row.detach()[0, 0].item())


@by_position
def index_filled(x, i, at, row):
    x.index_fill_(0, at, row.detach()[0, 0].item())


BY_POSITION = [index_copied, index_added, scattered, scatter_added, put_in, masked, index_filled]


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("work", [kept_row, new_row, item, *BY_POSITION])
def test_threads_that_write_to_one_tensor_lose_nothing(work, recorded, samples):
    """Neither a value nor, where the writes are recorded, a gradient; also when the threads make the tensor's first views."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for _ in range(samples(20)):
            w = mg.ones(4, 3, requires_grad=recorded)
            x = w * 2.0
            threads = [threading.Thread(target=work, args=(x, i, 10)) for i in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert x.numpy() == pytest.approx(2 * 1.5**10)
            if recorded:
                x.sum().backward()
                assert w.grad.numpy() == pytest.approx(0 if work in (masked, index_filled) else 2 * 1.5**10)
    finally:
        sys.setswitchinterval(before)


def test_a_gradient_has_a_place_of_its_own(device):
    """Also one on the tape, which the derivative of a mean gives as a view that repeats its numbers."""
    x, y = (mg.ones(3, 2, requires_grad=True, device=device) for _ in range(2))
    (g,) = mg.grad((x.mean(0) ** 2).sum(), [x], create_graph=True)
    g[0] = 0.0
    assert g.sum(1).tolist() == [0, pytest.approx(4 / 3), pytest.approx(4 / 3)]
    g.clamp_(-0.5, 0.5)
    gx, gy = mg.grad((x + y).sum(), [x, y], create_graph=True)
    gx[0] = 7.0
    assert gy.tolist() == [[1, 1]] * 3 and gx[0].tolist() == [7, 7]


def test_a_hook_that_writes_to_its_argument(device):
    w = mg.ones(3, requires_grad=True, device=device)
    y = w * 5
    w.register_hook(lambda g: [g.clamp_(-0.1, 0.1)] and None)
    y.register_hook(lambda g: [g.mul_(10)] and None)
    y.sum().backward()
    assert w.grad.tolist() == pytest.approx([0.1] * 3)


def test_adding_to_an_element_copies_nothing():
    x = mg.zeros(1000)
    x[0] = 1.0
    array = id(x.array)
    x[3] += 1
    x[4:6] = x[7:9]
    assert id(x.array) == array and x[3].item() == 1
    part = x[5:10]
    part.data.add_(1)
    part.data[0] = 7.0
    assert id(x.array) == array and x[5].item() == 7


def test_what_expand_made_is_not_trained_or_loaded(device):
    """Each element would get the value of the last that lies at its place."""
    base = mg.zeros(1, device=device)
    shared = mg.nn.Parameter(base.expand(3))
    (shared * mg.tensor([1.0, 2.0, 3.0], device=device)).sum().backward()
    with pytest.raises(
        RuntimeError, match=r"^in place: elements of the tensor of shape \(3,\) share memory, as after expand"
    ):
        mg.optim.SGD([shared], lr=1.0).step()
    assert base.tolist() == [0.0]
    x = mg.zeros(3, device=device, requires_grad=True)
    x.grad = mg.ones(1, device=device).expand(3)
    with pytest.raises(RuntimeError, match="share memory, as after expand"):
        (x * mg.tensor([1.0, 2.0, 3.0], device=device)).sum().backward()
    assert x.grad.tolist() == [1.0] * 3
