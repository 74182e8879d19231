"""The rules of writes and views, clause by clause, with PyTorch beside them.

Each test is a program, a function of a library, that runs in both; what it gives back is compared.
"""

import contextlib
import random
import warnings

import numpy as np
import pytest

import minigrad as mg

torch = pytest.importorskip("torch")

SETTINGS = [("cpu", "float64"), ("cpu", "float32"), ("mlx", "float32")]
TOLERANCE = {"float64": 1e-10, "float32": 3e-5, "float16": 2e-3, "bfloat16": 2e-2}
ERRORS = RuntimeError, ValueError, TypeError, IndexError, OverflowError
CHANGED = "was changed after the forward pass"

pytestmark = pytest.mark.filterwarnings("ignore:.*(nonleaf|non-leaf|result of an operation|use of .*T):UserWarning")


class Library:
    """PyTorch or minigrad, as a program sees it: `lib.mul(…)`, `lib.nn`, `lib.optim`, and `lib.t(…)` for a tensor."""

    def __init__(self, module, device, dtype):
        self.module, self.device, self.dtype, self.rng = module, device, dtype, np.random.default_rng(0)
        self.F, self.here = module.nn.functional, module is mg

    def __getattr__(self, name):
        return getattr(self.module, name)

    def kind(self, name=None):
        return getattr(self.module, name or self.dtype)

    def t(self, values, grad=False, dtype=None):
        values = np.asarray(values)
        kind = self.kind(dtype or (self.dtype if values.dtype.kind == "f" else values.dtype.name))
        if self.here:
            return mg.tensor(values, dtype=kind, device=self.device, requires_grad=grad)
        return torch.tensor(values, dtype=kind, requires_grad=grad)

    def random(self, *shape, grad=False, dtype=None):
        """The same numbers for both libraries, between 0.2 and 0.9."""
        return self.t(self.rng.uniform(0.2, 0.9, shape), grad, dtype)

    def grads(self, output, *inputs, create_graph=False):
        return self.module.autograd.grad(output, inputs, create_graph=create_graph, allow_unused=True)


@pytest.fixture(params=SETTINGS, ids="-".join)
def where(request):
    if request.param[0] == "mlx":
        pytest.importorskip("mlx.core", exc_type=ImportError)
    return request.param


def libraries(where):
    return Library(torch, *where), Library(mg, *where)


def cloning():
    """What is saved for the backward is cloned: PyTorch's gradients are those of the old values then."""
    return torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t)


def same(program, where, saved=False):
    """Runs a program in both libraries, and compares what they give; `saved`: where PyTorch refuses what its version counter sees."""
    theirs, ours = libraries(where)
    if saved:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            program(Library(torch, *where))
    with cloning() if saved else contextlib.nullcontext():
        expected = program(theirs)
    compare(expected, program(ours), where[1])


def compare(expected, found, dtype, path="result"):
    if isinstance(expected, torch.Tensor):
        assert isinstance(found, mg.Tensor), f"{path}: {found!r} instead of {expected}"
        name = str(expected.dtype).removeprefix("torch.")
        assert (tuple(expected.shape), name) == (found.shape, found.dtype.name), path
        assert expected.requires_grad == found.requires_grad, f"{path}: requires_grad is {found.requires_grad}"
        wide = expected.detach().double() if expected.dtype.is_floating_point else expected.detach()
        tolerance = TOLERANCE.get(name, 0)
        np.testing.assert_allclose(found.detach().numpy(), wide.numpy(), tolerance, tolerance, err_msg=path)
    elif isinstance(expected, tuple | list):
        assert len(expected) == len(found), path
        for i, pair in enumerate(zip(expected, found, strict=True)):
            compare(*pair, dtype, f"{path}[{i}]")
    elif isinstance(expected, float):
        np.testing.assert_allclose(found, expected, TOLERANCE[dtype], TOLERANCE[dtype], err_msg=path)
    else:
        assert expected == found, f"{path}: {found!r} instead of {expected!r}"


def refused(program, where, match, kinds=RuntimeError):
    """Both refuse it: minigrad in a sentence that says this."""
    theirs, ours = libraries(where)
    with pytest.raises(ERRORS):
        program(theirs)
    with pytest.raises(kinds, match=match):
        program(ours)


# --- 1: a tensor is a place ---------------------------------------------------------------------------------------------
ARGUMENTS = {  # of methods of a matrix of shape (2, 3), between 0.2 and 0.9
    "add_": lambda lib: (lib.random(3),), "sub_": lambda lib: (lib.random(2, 1),),
    "mul_": lambda lib: (lib.random(2, 3),),
    "div_": lambda lib: (lib.random(3),), "pow_": lambda lib: (1.5,), "lerp_": lambda lib: (lib.random(2, 3), 0.3),
    "addcmul_": lambda lib: (lib.random(2, 3), lib.random(3)),
    "addcdiv_": lambda lib: (lib.random(2, 3), lib.random(3)),
    "clamp_": lambda lib: (0.3, 0.7), "clip_": lambda lib: (0.3, None), "fill_": lambda lib: (0.5,),
    "copy_": lambda lib: (lib.random(3),),
    "masked_fill_": lambda lib: (lib.t([[True, False, True]]), 0.25),
    "index_fill_": lambda lib: (1, lib.t([0, 2]), 0.5),
    "index_copy_": lambda lib: (1, lib.t([2, 0]), lib.random(2, 2)),
    "index_add_": lambda lib: (1, lib.t([2, 2]), lib.random(2, 2)),
    "scatter_": lambda lib: (1, lib.t([[2, 0], [1, 0]]), lib.random(2, 2)),
    "put_": lambda lib: (lib.t([0, 4]), lib.random(2)),
    "scatter_add_": lambda lib: (1, lib.t([[2, 2], [1, 1]]), lib.random(2, 2)), "transpose_": lambda lib: (0, 1),
    "unsqueeze_": lambda lib: (1,),
}  # fmt: skip
DRAWN = ("normal_", "uniform_", "bernoulli_")
OURS = {"trunc_normal_"}  # PyTorch has it in nn.init
METHODS = [name for name in dir(mg.Tensor) if name.endswith("_") and not name.endswith("__") and name not in OURS]


def promised():
    """The methods that are promised."""
    return """add_ sub_ mul_ div_ pow_ neg_ zero_ fill_ copy_ clamp_ exp_ sqrt_ relu_ tanh_ sigmoid_ normal_ uniform_ bernoulli_
    masked_fill_ index_fill_ index_add_ index_copy_ scatter_ scatter_add_ put_ t_ transpose_ squeeze_ unsqueeze_ requires_grad_
    detach_""".split()


def test_what_is_promised_is_there():
    assert set(promised()) <= set(METHODS) and all(hasattr(mg.Tensor, name) for name in OURS)
    assert all(hasattr(torch.Tensor, name) for name in METHODS)  # under PyTorch's names only


@pytest.mark.parametrize("name", METHODS)
def test_methods_return_the_tensor(name, where):
    def program(lib):
        x = lib.random(2, 3)
        y = x
        result = getattr(x, name)(*ARGUMENTS.get(name, lambda lib: ())(lib))
        assert result is x and y is x
        return x.shape if name in DRAWN else x

    same(program, where)


@pytest.mark.parametrize("name", [n for n in METHODS if n not in (*DRAWN, "requires_grad_", "detach_")])
def test_methods_of_results_and_their_gradients(name, where):
    def program(lib):
        w, v = lib.random(2, 3, grad=True), lib.random(2, 3, grad=True)
        x = w * 1.0
        given = tuple(
            [v * 1.0 if getattr(a, "shape", None) == w.shape else a for a in ARGUMENTS.get(name, lambda lib: ())(lib)]
        )
        getattr(x, name)(*given)
        (x * lib.random(*x.shape)).sum().backward()
        return x, w.grad, v.grad

    same(program, where, saved=False)


AUGMENTED = {
    "+=": lambda x, y: x.__iadd__(y), "-=": lambda x, y: x.__isub__(y), "*=": lambda x, y: x.__imul__(y),
    "/=": lambda x, y: x.__itruediv__(y), "//=": lambda x, y: x.__ifloordiv__(y), "%=": lambda x, y: x.__imod__(y),
    "**=": lambda x, y: x.__ipow__(y),
}  # fmt: skip
BITS = {
    "&=": lambda x, y: x.__iand__(y), "|=": lambda x, y: x.__ior__(y), "^=": lambda x, y: x.__ixor__(y),
    "<<=": lambda x, y: x.__ilshift__(y), ">>=": lambda x, y: x.__irshift__(y),
}  # fmt: skip


@pytest.mark.parametrize("name", AUGMENTED)
@pytest.mark.parametrize("other", ["number", "tensor"])
def test_augmented_assignments(name, other, where):
    def program(lib):
        x = lib.random(2, 3) + 1
        y = x
        assert AUGMENTED[name](x, 0.3 if other == "number" else lib.random(3)) is x
        return x, y

    same(program, where)


@pytest.mark.parametrize("name", BITS)
def test_augmented_assignments_of_bits(name, where):
    def program(lib):
        x = lib.t([1, 2, 12])
        assert BITS[name](x, lib.t([3, 1, 2])) is x
        flags = lib.t([True, True, False])
        if "<" not in name and ">" not in name:
            assert BITS[name](flags, lib.t([True, False, False])) is flags
        return x, flags

    same(program, where)


def test_two_names(where):
    def program(lib):
        x = lib.random(2, 3)
        y = x
        y += 1
        return x, y, x is y

    same(program, where)


def test_a_list_of_buffers(where):
    def program(lib):
        buffers = [lib.random(2), lib.random(3)]
        for b in buffers:
            b += 1
        return buffers

    same(program, where)


# --- 2: views -----------------------------------------------------------------------------------------------------------
VIEWS = {  # of a tensor of shape (2, 3, 4)
    "x[0]": lambda m, x: x[0], "x[-1]": lambda m, x: x[-1], "x[0, 1]": lambda m, x: x[0, 1],
    "x[0, 1, 2]": lambda m, x: x[0, 1, 2],
    "x[1:]": lambda m, x: x[1:], "x[:, ::2]": lambda m, x: x[:, ::2], "x[:, 1:3, -3:]": lambda m, x: x[:, 1:3, -3:],
    "x[None]": lambda m, x: x[None],
    "x[...]": lambda m, x: x[...], "x[..., 1]": lambda m, x: x[..., 1], "x[:, None, 1]": lambda m, x: x[:, None, 1],
    "x[()]": lambda m, x: x[()],
    "x[:]": lambda m, x: x[:], "x[0][1][2]": lambda m, x: x[0][1][2], "x[tensor(1)]": lambda m, x: x[m.tensor(1)],
    "x[2:2]": lambda m, x: x[2:2],
    "view": lambda m, x: x.view(6, 4), "view(-1)": lambda m, x: x.view(-1),
    "view_as": lambda m, x: x.view_as(m.ones(4, 6)),
    "reshape": lambda m, x: x.reshape(3, 8), "reshape the same": lambda m, x: x.reshape(2, 3, 4),
    "m.reshape": lambda m, x: m.reshape(x, (24,)),
    "flatten": lambda m, x: x.flatten(), "flatten(1)": lambda m, x: x.flatten(1),
    "m.flatten": lambda m, x: m.flatten(x, 0, 1),
    "unflatten": lambda m, x: x.unflatten(2, (2, 2)), "squeeze": lambda m, x: x.unsqueeze(1).squeeze(),
    "squeeze(1)": lambda m, x: x[:, :1].squeeze(1),
    "squeeze nothing": lambda m, x: x.squeeze(), "unsqueeze": lambda m, x: x.unsqueeze(-1),
    "permute": lambda m, x: x.permute(2, 0, 1),
    "transpose": lambda m, x: x.transpose(0, 2), "m.transpose": lambda m, x: m.transpose(x, 1, 2),
    "swapaxes": lambda m, x: x.swapaxes(0, 1),
    "T": lambda m, x: x[0].T, "t": lambda m, x: x[1].t(), "mT": lambda m, x: x.mT, "T of three": lambda m, x: x.T,
    "expand": lambda m, x: x.expand(2, 2, 3, 4), "expand 1": lambda m, x: x[:, :1].expand(2, 3, 4),
    "expand the same": lambda m, x: x.expand(-1, -1, 4),
    "expand_as": lambda m, x: x[0, 0].expand_as(m.ones(3, 4)),
    "broadcast_to": lambda m, x: m.broadcast_to(x[0], (2, 3, 4)),
    "split": lambda m, x: x.split(1)[1], "split dim 2": lambda m, x: x.split([1, 3], 2)[1],
    "m.split": lambda m, x: m.split(x, 2, 1)[1],
    "chunk": lambda m, x: x.chunk(2, 1)[0], "unbind": lambda m, x: x.unbind()[0],
    "unbind(1)": lambda m, x: m.unbind(x, 1)[2],
    "iteration": lambda m, x: list(x)[1], "narrow": lambda m, x: x.narrow(1, 1, 2),
    "select": lambda m, x: x.select(2, 3),
    "diagonal": lambda m, x: x.diagonal(), "diagonal(1, 1, 2)": lambda m, x: x.diagonal(1, 1, 2),
    "m.diagonal": lambda m, x: m.diagonal(x, -1, 2, 0),
    "unfold": lambda m, x: x.unfold(2, 2, 1), "detach": lambda m, x: x.detach(), "data": lambda m, x: x.data,
    "contiguous": lambda m, x: x.contiguous(),
    "x[0].t()[1:]": lambda m, x: x[0].t()[1:],
    "view of permute of view": lambda m, x: x.view(6, 4).t().unsqueeze(0)[0, 1:, ::2],
    "reshape of rows": lambda m, x: x[1:].reshape(12), "reshape of columns": lambda m, x: x[:, :, :2].reshape(6, 2),
    "reshape back": lambda m, x: x.permute(2, 0, 1).permute(1, 2, 0).reshape(-1),
    "parts of a turned one": lambda m, x: x.transpose(0, 2).reshape(2, 2, 3, 2),
    "detach of a view": lambda m, x: x[0].detach().t(),
    "Parameter": lambda m, x: m.nn.Parameter(x, requires_grad=False), "to its dtype": lambda m, x: x.to(x.dtype),
    "as_tensor": lambda m, x: m.as_tensor(x),
    "nn.Flatten": lambda m, x: m.nn.Flatten()(x), "nn.Identity": lambda m, x: m.nn.Identity()(x),
    "m.squeeze": lambda m, x: m.squeeze(x[:1], 0),
    "m.narrow": lambda m, x: m.narrow(x, 0, 0, 1), "m.select": lambda m, x: m.select(x, 1, 0),
    "m.unsqueeze": lambda m, x: m.unsqueeze(x, 0),
    "dropout in evaluation": lambda m, x: m.nn.functional.dropout(x, 0.5, False), "+x": lambda m, x: +x,
}  # fmt: skip
COPIES = {
    "x[[0]]": lambda m, x: x[[0]], "x[[0, 1], [1, 2]]": lambda m, x: x[[0, 1], [1, 2]],
    "x[:, [0]]": lambda m, x: x[:, [0]], "x[0, [1]]": lambda m, x: x[0, [1]],
    "x[tensor([1])]": lambda m, x: x[m.tensor([1])], "x[mask]": lambda m, x: x[x > 5],
    "x[True]": lambda m, x: x[True], "clone": lambda m, x: x.clone(),
    "repeat": lambda m, x: x.repeat(1, 1, 1), "contiguous of t": lambda m, x: x.transpose(0, 1).contiguous(),
    "contiguous of columns": lambda m, x: x[:, :, :2].contiguous(),
    "contiguous of expand": lambda m, x: x.expand(2, 2, 3, 4).contiguous(),
    "contiguous of steps": lambda m, x: x[:, ::2].contiguous(),
    "reshape of t": lambda m, x: x.transpose(0, 1).reshape(6, 4),
    "flatten of t": lambda m, x: x.transpose(0, 2).flatten(),
    "reshape of columns": lambda m, x: x[:, :, :2].reshape(12),
    "reshape of expand": lambda m, x: x[0].expand(2, 3, 4).reshape(6, 4),
    "reshape of steps": lambda m, x: x[:, ::2].reshape(-1), "x * 1": lambda m, x: x * 1,
    "x + 0": lambda m, x: x + 0, "relu": lambda m, x: x.relu(), "clamp": lambda m, x: x.clamp(-100, 100),
    "index_select": lambda m, x: x.index_select(0, m.tensor([0])),
    "gather": lambda m, x: x.gather(0, m.zeros(1, 3, 4).long()),
    "masked_select": lambda m, x: x.masked_select(x > 5), "flip": lambda m, x: x.flip(0),
    "roll": lambda m, x: x.roll(1, 0), "cat": lambda m, x: m.cat([x]), "stack": lambda m, x: m.stack([x]),
    "tril": lambda m, x: x.tril(), "abs": lambda m, x: x.abs(),
    "m.tensor": lambda m, x: m.tensor(x) if m is mg else x.clone(),
    "to another dtype": lambda m, x: x.to(m.float16), "where": lambda m, x: m.where(x > 0, x, x),
    "masked_fill": lambda m, x: x.masked_fill(x > 1000, 0), "sum of nothing": lambda m, x: x.sum(0, keepdim=True),
    "matmul": lambda m, x: x @ m.eye(4).to(x.dtype),
    "roll by 0": lambda m, x: x.roll(0, 0), "x ** 1": lambda m, x: x**1,
    "pad by 0": lambda m, x: m.nn.functional.pad(x, (0, 0)),
    "round": lambda m, x: x.round(), "max of two": lambda m, x: m.maximum(x, x),
    "take_along_dim": lambda m, x: x.take_along_dim(x.long() * 0, 0),
    "softplus": lambda m, x: m.nn.functional.softplus(x), "mean of one": lambda m, x: x[:, :1].mean(1),
    "neg of neg": lambda m, x: (-x).neg(), "neg twice": lambda m, x: x.neg().neg(),
    "cumsum": lambda m, x: x[:, :1].cumsum(1), "from a list": lambda m, x: m.stack([x[0], x[1]]),
    "einsum": lambda m, x: m.einsum("abc,c->abc", x, m.ones(4).to(x.dtype)),
    "dropout with p = 1": lambda m, x: m.nn.functional.dropout(x, 1.0),
    "pad nothing": lambda m, x: m.nn.functional.pad(x, (0, 1)),
}  # fmt: skip


ONE_OF_SEVERAL = [name for name in VIEWS if any(word in name for word in ("split", "chunk", "unbind", "iteration"))]


def repeats(name):
    """Whether a view shows elements several times."""
    with warnings.catch_warnings(action="ignore"):
        return name == "unfold" or 0 in VIEWS[name](torch, torch.zeros(2, 3, 4)).stride()


def whole(lib):
    return lib.t(np.arange(24.0).reshape(2, 3, 4))


@contextlib.contextmanager
def at_home(lib):
    """Tensors that a view function makes itself are on the library's device."""
    if not lib.here:
        yield
        return
    before = mg.get_default_device()
    mg.set_default_device(lib.device)
    try:
        yield
    finally:
        mg.set_default_device(before)


@pytest.mark.parametrize("name", VIEWS)
def test_views(name, where):
    """A write through a view reaches the base and the base's other views, and the other way round."""

    def program(lib):
        with at_home(lib):
            x = whole(lib)
            v, w, other = VIEWS[name](lib.module, x), VIEWS[name](lib.module, x), x.view(-1)[3:]
            assert lib.here or v.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
            seen = [v.clone()]
            v.fill_(-1.5)
            seen += [t.clone() for t in (x, v, w, other)]
            x.mul_(3).add_(lib.t(np.arange(4.0)))
            seen += [t.clone() for t in (x, v, w, other)]
            other[0] = 100.0
            if repeats(name):
                w.fill_(7.0)  # PyTorch refuses w[...] = 7
            else:
                w[...] = 7.0
            x[1] = 50.0
            return seen, x, v, w, other

    same(program, where)


@pytest.mark.parametrize("name", COPIES)
def test_copies(name, where):
    def program(lib):
        with at_home(lib):
            x = whole(lib)
            c = COPIES[name](lib.module, x)
            assert lib.here or c.untyped_storage().data_ptr() != x.untyped_storage().data_ptr()
            seen = [c.clone()]
            c.fill_(-1.5)
            seen += [x.clone(), c.clone()]
            x.mul_(3)
            x[0] = 5.0
            return seen, x, c

    same(program, where)


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in VIEWS
        if n not in ("detach", "data", "detach of a view", "Parameter", *ONE_OF_SEVERAL) and not repeats(n)
    ],
)
def test_gradients_of_writes_through_views(name, where):
    def program(lib):
        with at_home(lib):
            leaf, by = lib.random(2, 3, 4, grad=True), lib.random(1, grad=True)
            x = leaf * 2.0
            v = VIEWS[name](lib.module, x)
            v.mul_(by[0])
            x.mul_(lib.random(2, 3, 4))
            ((x * x).sum() + (v * v * 0.3).sum()).backward()
            return x, v, leaf.grad, by.grad

    same(program, where)


def test_views_of_views_and_two_views_of_one_base(where):
    def program(lib):
        leaf = lib.random(4, 3, grad=True)
        x = leaf * 1.0
        rows, columns = x[1:], x.t()[1:]
        corner = rows[1:].t()[1:]
        corner.mul_(2)
        columns.add_(rows[0, 1:].clone().unsqueeze(1))
        rows[0] = 3 * corner[0, 0]
        x[3].copy_(rows[0] * 2)
        (x * lib.random(4, 3)).sum().backward()
        return x, rows, columns, corner, leaf.grad

    same(program, where)


def test_a_view_outlives_its_base(where):
    def program(lib):
        x = whole(lib)
        v = x[0]
        del x
        w = v.t()
        v += 1
        return v, w

    same(program, where)


def chain(rng):
    """A random chain of views of a tensor in order: (shape, functions)."""
    shape = tuple(rng.choice((1, 2, 3, 4, 6)) for _ in range(rng.randint(1, 4)))
    first, steps, x = shape, [], torch.empty(shape)
    for _ in range(rng.randint(1, 5)):
        kind, n = (
            rng.choice(("permute", "slice", "expand", "reshape", "reshape", "unsqueeze", "squeeze", "select")),
            x.dim(),
        )
        if kind == "permute":
            dims = rng.sample(range(n), n)
            step = (f"permute({dims})", lambda t, dims=dims: t.permute(*dims) if dims else t[...])
        elif kind in ("slice", "select") and n:
            d = rng.randrange(n)
            k = rng.randrange(x.shape[d])
            part = slice(k, None, rng.choice((1, 1, 2))) if kind == "slice" else k
            step = (f"[{part}] dim {d}", lambda t, i=(slice(None),) * d + (part,): t[i])
        elif kind == "expand":
            sizes = [rng.choice((1, 2, 3)) if m == 1 else -1 for m in x.shape]
            sizes = [2, *sizes] if rng.random() < 0.3 else sizes
            step = (f"expand({sizes})", lambda t, sizes=sizes: t.expand(*sizes) if sizes else t[...])
        elif kind == "unsqueeze":
            d = rng.randint(0, n)
            step = (f"unsqueeze({d})", lambda t, d=d: t.unsqueeze(d))
        elif kind == "squeeze":
            step = ("squeeze()", lambda t: t.squeeze())
        else:
            sizes, rest = [], x.numel()
            while rest > 1:
                m = rng.choice([m for m in range(2, rest + 1) if rest % m == 0])
                sizes.append(m)
                rest //= m
            sizes = [m for m in sizes for m in ([m, 1] if rng.random() < 0.2 else [m])] or [1]
            step = (f"reshape({sizes})", lambda t, sizes=sizes: t.reshape(*sizes))
        if (y := step[1](x)).numel() > 200:
            continue
        steps.append(step)
        x = y
    return first, steps


def test_reshape_is_a_view_where_it_is_in_pytorch(where, samples, seed):
    """Along any chain of views that starts from a tensor in order; a write shows it."""
    rng, counts = random.Random(seed), {True: 0, False: 0}
    for number in range(samples(400)):
        shape, steps = chain(rng)
        values, text = (
            np.arange(float(np.prod(shape))).reshape(shape),
            f"chain {number}: {shape} {[text for text, _ in steps]}",
        )
        found = []
        for lib in libraries(where):
            x = lib.t(values)
            tensors = [x]
            for _, step in steps:
                tensors.append(step(tensors[-1]))
            tensors[-1].fill_(-1.0)
            first = [t.detach().numpy().copy() for t in tensors]
            x += 100
            found.append([*first, *(t.detach().numpy().copy() for t in tensors)])
            if not lib.here:
                counts[tensors[-1].untyped_storage().data_ptr() == x.untyped_storage().data_ptr()] += 1
        for a, b in zip(*found, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=text)
    assert samples(400) < 100 or min(counts.values()) > 3, counts  # both kinds came


# --- 3: what is refused ---------------------------------------------------------------------------------------------------
def leaf(lib):
    return lib.random(2, 3, grad=True)


LEAF_WRITES = {
    "add_": lambda lib, w: w.add_(1), "+=": lambda lib, w: w.__iadd__(1), "mul_": lambda lib, w: w.mul_(2),
    "zero_": lambda lib, w: w.zero_(),
    "fill_": lambda lib, w: w.fill_(2), "copy_": lambda lib, w: w.copy_(lib.random(2, 3)),
    "w[0] = 1": lambda lib, w: w.__setitem__(0, 1.0),
    "w[mask] = 1": lambda lib, w: w.__setitem__(lib.t([[True, False, True]] * 2), 1.0),
    "w[0] = tensor": lambda lib, w: w.__setitem__(0, lib.random(3)),
    "normal_": lambda lib, w: w.normal_(), "uniform_": lambda lib, w: w.uniform_(),
    "bernoulli_": lambda lib, w: w.bernoulli_(0.5),
    "clamp_": lambda lib, w: w.clamp_(0, 1), "relu_": lambda lib, w: w.relu_(), "exp_": lambda lib, w: w.exp_(),
    "masked_fill_": lambda lib, w: w.masked_fill_(lib.t([[True, False, True]] * 2), 1.0),
    "index_fill_": lambda lib, w: w.index_fill_(0, lib.t([0]), 1.0),
    "index_add_": lambda lib, w: w.index_add_(0, lib.t([0]), lib.random(1, 3)),
    "scatter_": lambda lib, w: w.scatter_(0, lib.t([[0, 0, 0]]), 1.0),
    "put_": lambda lib, w: w.put_(lib.t([0]), lib.random(1)), "t_": lambda lib, w: w.t_(),
    "transpose_": lambda lib, w: w.transpose_(0, 1),
    "squeeze_": lambda lib, w: w.squeeze_(), "unsqueeze_": lambda lib, w: w.unsqueeze_(0),
    "F.relu": lambda lib, w: lib.F.relu(w, inplace=True),
    "F.dropout": lambda lib, w: lib.F.dropout(w, 0.5, True, True),
    "nn.SiLU": lambda lib, w: lib.nn.SiLU(inplace=True)(w),
}  # fmt: skip


@pytest.mark.parametrize("name", LEAF_WRITES)
def test_a_leaf_is_not_written(name, where):
    refused(
        lambda lib: LEAF_WRITES[name](lib, leaf(lib)), where, "a leaf that requires a gradient.*no_grad.*x = x \\+ y"
    )


@pytest.mark.parametrize("name", [n for n in LEAF_WRITES if n not in ("t_", "transpose_", "squeeze_", "unsqueeze_")])
def test_a_view_of_a_leaf_is_not_written(name, where):
    def program(lib):
        LEAF_WRITES[name](lib, lib.random(3, 2, grad=True).t()[...])

    refused(program, where, "a view of a leaf that requires a gradient.*no_grad")


@pytest.mark.parametrize("name", LEAF_WRITES)
def test_a_leaf_is_written_under_no_grad(name, where):
    def program(lib):
        w = leaf(lib)
        before = w.detach().clone()
        with lib.no_grad():
            LEAF_WRITES[name](lib, w)
        w.sum().backward()
        random = name in ("normal_", "uniform_", "bernoulli_", "F.dropout")
        return w.is_leaf, w.requires_grad, w.grad, before, None if random else w

    same(program, where)


def test_a_refused_write_changes_nothing(where):
    def program(lib):
        w, y = leaf(lib), lib.random(3)
        v = w[0]
        for t, other in ((w, 1.0), (v, 1.0), (y, lib.random(2, 3)), (y.expand(2, 3), 1.0)):
            with pytest.raises((RuntimeError, ValueError)):
                t += other
        return w, v, y

    same(program, where)


def test_a_leaf_that_requires_no_gradient_takes_one_up(where):
    def program(lib):
        w, x = leaf(lib), lib.random(2, 3)
        old = x * 2
        x.mul_(w)
        x[0] = w[1] * 2
        x.sum().backward()
        return x, old, x.is_leaf, w.grad

    same(program, where)


@pytest.mark.parametrize("take", ["x[0]", "view", "detach"])
def test_a_view_made_under_no_grad(take, where):
    takes = {"x[0]": lambda x: x[0], "view": lambda x: x.view(-1), "detach": lambda x: x.detach()}

    def of_a_result(lib):
        y = leaf(lib) * 1.0
        with lib.no_grad():
            v = takes[take](y)
        v.mul_(2)
        return v, y

    def with_a_gradient(lib):
        y = lib.random(2, 3)
        with lib.no_grad():
            v = takes[take](y)
        v.mul_(lib.random(1, grad=True))
        return v

    def without(lib):
        y = lib.random(2, 3)
        with lib.no_grad():
            v = takes[take](y)
        v.mul_(2)
        return v, y

    same(without, where)
    if take == "detach":
        same(of_a_result, where)
        same(with_a_gradient, where)
    else:
        for program in (of_a_result, with_a_gradient):
            refused(program, where, "a view that was made under no_grad; make it outside, or write to its clone")


SEVERAL = {
    "split": lambda x: x.split(1)[0], "chunk": lambda x: x.chunk(2)[0], "unbind": lambda x: x.unbind()[0],
    "iteration": lambda x: next(iter(x)),
    "a view of one": lambda x: x.unbind()[0][1:],
}  # fmt: skip


@pytest.mark.parametrize("name", SEVERAL)
def test_one_of_several(name, where):
    def of_a_result(lib):
        SEVERAL[name](leaf(lib) * 1.0).mul_(2)

    def with_a_gradient(lib):
        SEVERAL[name](lib.random(2, 3)).mul_(lib.random(1, grad=True))

    def without(lib):
        x = lib.random(2, 3)
        SEVERAL[name](x).mul_(2)
        return x

    def silently(lib):
        w = leaf(lib)
        x = w * 1.0
        with lib.no_grad():
            SEVERAL[name](x).mul_(2)
        x.sum().backward()
        return x, w.grad

    refused(
        of_a_result, where, "one of several views of one call.*take it by an index or narrow, or write to its clone"
    )
    refused(with_a_gradient, where, "one of several views of one call")
    same(without, where)
    same(silently, where)


EXPANDED = {
    "add_": lambda lib, e: e.add_(1), "+=": lambda lib, e: e.__iadd__(1),
    "mul_": lambda lib, e: e.mul_(lib.random(2, 3)), "copy_": lambda lib, e: e.copy_(lib.random(2, 3)),
    "relu_": lambda lib, e: e.relu_(), "clamp_": lambda lib, e: e.clamp_(0, 1),
    "F.relu": lambda lib, e: lib.F.relu(e, inplace=True), "exp_": lambda lib, e: e.exp_(),
    "lerp_": lambda lib, e: e.lerp_(lib.random(2, 3), 0.5),
    "addcmul_": lambda lib, e: e.addcmul_(lib.random(3), lib.random(3)),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPANDED)
def test_expanded_tensors_are_not_computed_in_place(name, where):
    for shape in ((3,), (2, 1)):
        program = lambda lib, shape=shape: EXPANDED[name](lib, lib.random(*shape).expand(2, 3))  # noqa: E731
        refused(program, where, r"elements of the tensor of shape \(2, 3\) share memory.*clone")


@pytest.mark.parametrize("grad", [False, True])
def test_expanded_tensors_are_filled(grad, where):
    def program(lib):
        w = lib.random(3, grad=grad)
        x = w * 1.0
        e = x.expand(2, 3)
        whole = x if grad and not lib.here else e  # PyTorch's backward fails for e.zero_()
        seen = [
            whole.zero_().clone() * lib.t(np.ones((2, 3))),
            x.clone(),
            whole.fill_(2.5).clone() * lib.t(np.ones((2, 3))),
            x.clone(),
        ]
        e[0] = 1.25
        seen += [e.clone(), x.clone()]
        e[1, 2] = 4.0
        seen += [e.clone(), x.clone()]
        e[0, 1:] = lib.random(2)
        e[1:, :] = lib.random(1, 3)
        by = lib.random(2, grad=grad)
        e[0, :2] = by * 2
        e[1, 2] = by[1]
        e[0].mul_(1.5)
        if grad:
            (e * x).sum().backward()
        return seen, e, x, w.grad, by.grad

    same(program, where)


@pytest.mark.parametrize("grad", [False, True])
def test_expanded_tensors_are_set_where_one_value_is_meant(grad, where):
    """More than PyTorch does: one number for all places, which are one in memory; its gradient counts them once."""
    lib = Library(mg, *where)
    for at, places in ((..., [0, 1, 2]), ((slice(None), 1), [1]), ((slice(None), slice(2)), [0, 1]), (None, [0, 1, 2])):
        w, by = lib.random(3, grad=grad), lib.t(0.75, grad)
        x = w * 1.0
        e = x.expand(2, 3)
        if at is ...:
            e.fill_(by)
        else:
            e[at] = by
        expected = w.detach().numpy().copy()
        expected[places] = 0.75
        np.testing.assert_array_equal(x.detach().numpy(), expected)
        np.testing.assert_array_equal(e.detach().numpy(), [expected, expected])
        if grad:
            x.sum().backward()
            assert by.grad.item() == len(places)
            np.testing.assert_array_equal(w.grad.numpy(), [i not in places for i in range(3)])


EXPANDED_PLACES = {
    "e[:, 0] = vector": lambda lib, e: e.__setitem__((slice(None), 0), lib.random(2)),
    "normal_": lambda lib, e: e.normal_(),
    "e[...] = matrix": lambda lib, e: e.__setitem__(..., lib.random(2, 3)), "uniform_": lambda lib, e: e.uniform_(),
    "bernoulli_": lambda lib, e: e.bernoulli_(0.5), "scatter_": lambda lib, e: e.scatter_(0, lib.t([[0]]), 1.0),
    "put_": lambda lib, e: e.put_(lib.t([0]), lib.random(1)),
    "index_add_": lambda lib, e: e.index_add_(0, lib.t([0]), lib.random(1, 3)),
    "scatter_add_": lambda lib, e: e.scatter_add_(0, lib.t([[0]]), lib.random(1, 1)),
    "index_copy_": lambda lib, e: e.index_copy_(0, lib.t([0]), lib.random(1, 3)),
}  # fmt: skip
DEPRECATED = {  # in PyTorch, which warns; refused here
    "e[[0]] = 1": lambda lib, e: e.__setitem__([0], 1.0), "e[mask] = 1": lambda lib, e: e.__setitem__(e > 0.5, 1.0),
    "masked_fill_": lambda lib, e: e.masked_fill_(e > 0.5, 1.0),
    "index_fill_": lambda lib, e: e.index_fill_(0, lib.t([0]), 1.0),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPANDED_PLACES)
def test_expanded_tensors_are_not_written_place_by_place(name, where):
    refused(
        lambda lib: EXPANDED_PLACES[name](lib, lib.random(3).expand(2, 3)),
        where,
        "elements of the tensor of shape .*clone",
    )


@pytest.mark.parametrize("name", DEPRECATED)
def test_expanded_tensors_are_not_written_where_it_is_deprecated(name, where):
    lib = Library(mg, *where)
    x = lib.random(3)
    e, before = x.expand(2, 3), x.numpy().copy()
    with pytest.raises(RuntimeError, match="elements of the tensor of shape .*clone"):
        DEPRECATED[name](lib, e)
    np.testing.assert_array_equal(x.numpy(), before)


def test_windows_that_overlap(where):
    def program(lib):
        x = lib.random(6) * 1.0
        w = x.unfold(0, 3, 1)
        w[0] = 5.0
        seen = [x.clone(), w.clone()]
        w[2, 1:] = lib.random(2)
        w[-1, -1] = 7.0
        w[1].mul_(2)
        return seen, x, w

    same(program, where)
    with pytest.raises(RuntimeError, match="share memory"):  # PyTorch's result depends on the order in which it goes
        Library(mg, *where).random(6).unfold(0, 3, 1).mul_(2)


UNFIT = {
    "integers += 0.5": lambda lib: lib.t([1, 2]).add_(0.5), "integers /= 2": lambda lib: lib.t([1, 2]).div_(2),
    "integers exp_": lambda lib: lib.t([1, 2]).exp_(),
    "integers *= floats": lambda lib: lib.t([1, 2]).mul_(lib.random(2)),
    "booleans += 1": lambda lib: lib.t([True]).add_(1),
    "booleans *= 0.5": lambda lib: lib.t([True]).mul_(0.5),
    "integers addcdiv_": lambda lib: lib.t([1, 2]).addcdiv_(lib.random(2), lib.random(2)),
    "a larger shape": lambda lib: lib.random(3).add_(lib.random(2, 3)),
    "a longer one": lambda lib: lib.random(1).mul_(lib.random(3)),
    "numbers": lambda lib: lib.random().add_(lib.random(2)),
    "clamp_": lambda lib: lib.random(1).clamp_(lib.random(3), lib.random(3)),
    "index_add_": lambda lib: lib.random(3).index_add_(0, lib.t([0, 1]), lib.random(3)),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFIT)
def test_unfit_results(name, where):
    words = {"index_add_": "need a source"}.get(name, "can't be put into|the result has shape")
    refused(lambda lib: UNFIT[name](lib), where, words, ERRORS)


UNFIT_VALUES = {
    "x[0] = too long": lambda lib, x: x.__setitem__(0, lib.random(4)),
    "x[0] = a matrix": lambda lib, x: x.__setitem__(0, lib.random(2, 3)),
    "x[:, 0] = 3": lambda lib, x: x.__setitem__((slice(None), 0), lib.random(3)),
    "x[5] = 1": lambda lib, x: x.__setitem__(5, 1.0),
    "x[0, 0, 0] = 1": lambda lib, x: x.__setitem__((0, 0, 0), 1.0),
    "x[[0, 5]] = 1": lambda lib, x: x.__setitem__([0, 5], 1.0),
    "x[mask] = 2 values": lambda lib, x: x.__setitem__(lib.t([[True, True, False], [True, False, False]]), lib.random(2)),
    "x[mask of another shape] = 1": lambda lib, x: x.__setitem__(lib.t([True, False, True]), 1.0),
    "x[0.5] = 1": lambda lib, x: x.__setitem__(0.5, 1.0),
    "x[0] = text": lambda lib, x: x.__setitem__(0, "a"), "copy_": lambda lib, x: x.copy_(lib.random(2)),
    "fill_ with a vector": lambda lib, x: x.fill_(lib.random(3)),
    "index_copy_": lambda lib, x: x.index_copy_(0, lib.t([0]), lib.random(2, 3)),
    "masked_fill_": lambda lib, x: x.masked_fill_(lib.t([True, False]), 1.0),
    "masked_fill_ with a vector": lambda lib, x: x.masked_fill_(lib.t([True, False, True]), lib.random(3)),
    "masked_fill_ by integers": lambda lib, x: x.masked_fill_(lib.t([1, 0, 1]), 1.0),
    "copy_ of a list": lambda lib, x: x.copy_([1.0, 2.0, 3.0]),
    "t_ of three dimensions": lambda lib, x: x.unsqueeze(0).t_(),
    "detach_ of a view": lambda lib, x: (x * lib.random(1, grad=True))[0].detach_(),
    "scatter_ of another number of dimensions": lambda lib, x: x.scatter_(0, lib.t([0, 1]), 1.0),
    "normal_ of integers": lambda lib, x: lib.t([1, 2]).normal_(),
    "uniform_ of integers": lambda lib, x: lib.t([1, 2]).uniform_(),
    "requires_grad_ of integers": lambda lib, x: lib.t([1, 2]).requires_grad_(),
    "requires_grad_(False) of a result": lambda lib, x: (x * lib.random(1, grad=True)).requires_grad_(False),
}  # fmt: skip
UNCHECKED = {"x[[0, 5]] = 1"}  # positions on MLX


@pytest.mark.parametrize("name", UNFIT_VALUES)
def test_unfit_values(name, where):
    if where[0] == "mlx" and name in UNCHECKED:
        pytest.skip("a check would wait for the device")
    refused(lambda lib: UNFIT_VALUES[name](lib, lib.random(2, 3)), where, r"\w+ \w+", ERRORS)


# --- 4: under no_grad, and through .data and detach() ----------------------------------------------------------------------
OFF_THE_TAPE = {
    "no_grad": lambda lib, y: in_no_grad(lib, lambda: y.mul_(3)), "data": lambda lib, y: y.data.mul_(3),
    "detach": lambda lib, y: y.detach().mul_(3),
    "no_grad y[0] = 5": lambda lib, y: in_no_grad(lib, lambda: y.__setitem__(0, 5.0)),
    "data[0] = 5": lambda lib, y: y.data.__setitem__(0, 5.0),
    "view under no_grad": lambda lib, y: in_no_grad(lib, lambda: y[0].add_(1)),
    "view of data": lambda lib, y: y.data[0].t().add_(1), "data of a view": lambda lib, y: y[0].data.add_(1),
    "data of data": lambda lib, y: y.data.detach().data.add_(1),
    "values that require a gradient": lambda lib, y: in_no_grad(lib, lambda: y.copy_(lib.random(3, grad=True))),
    "data +=": lambda lib, y: y.data.__iadd__(1), "data.normal_ and zero_": lambda lib, y: y.data.normal_().zero_(),
    "a view from before": lambda lib, y: y.data.view(-1)[1:].mul_(2),
}  # fmt: skip


def in_no_grad(lib, function):
    with lib.no_grad():
        return function()


@pytest.mark.parametrize("name", OFF_THE_TAPE)
def test_values_change_and_the_edge_stays(name, where):
    def program(lib):
        w = leaf(lib)
        y = w * 2.0
        d, v = y.detach(), y[1:]
        OFF_THE_TAPE[name](lib, y)
        (y * lib.random(2, 3)).sum().backward()
        return y, d, v, w.grad, y.is_leaf

    same(program, where)


@pytest.mark.parametrize("name", OFF_THE_TAPE)
def test_leaves_stay_leaves(name, where):
    def program(lib):
        w = leaf(lib)
        OFF_THE_TAPE[name](lib, w)
        (w * w).sum().backward()
        return w, w.grad, w.is_leaf

    same(program, where)


def test_what_detach_gives_goes_its_own_way(where):
    """Writes to it that are recorded change the values, not the gradients, of the tensor it was taken from."""

    def program(lib):
        w, u = leaf(lib), lib.random(2, 3, grad=True)
        y = w * 2.0
        d = y.detach()
        d.mul_(u)
        (d.sum() + (y * lib.random(2, 3)).sum()).backward()
        return y, d, d.requires_grad, w.grad, u.grad

    same(program, where)


@pytest.mark.parametrize("grad", [False, True])
def test_data_of_another_dtype_or_shape_is_assigned(grad, where):
    def program(lib):
        x, y = lib.random(2, grad=grad), lib.random(2, grad=grad)
        v = x.data
        x.data = lib.random(1, 3)
        y.data = lib.random(2, dtype="float16")
        x.data.mul_(2)
        if grad:
            (x * x).sum().backward()
        return x, y, v, x.grad

    same(program, where)


def test_data_is_assigned(where):
    def program(lib):
        w, x = leaf(lib), lib.random(2, 3)
        old = w * 1.0
        w.data = x
        x.add_(1)
        w.data = w.data * 2
        x.add_(1)
        (w * w).sum().backward()
        return w, w.grad, x, old

    same(program, where)


def test_requires_grad_and_detach_in_place(where):
    def program(lib):
        x, w = lib.random(3), leaf(lib)
        assert x.requires_grad_() is x
        (x * x).sum().backward()
        y = w * 2.0
        z = y * 3.0
        assert y.detach_() is y
        (z.sum() + (y * y).sum()).backward()
        return x.grad, w.grad, y, y.is_leaf

    same(program, where)


# --- 5: what a node saved stays true ---------------------------------------------------------------------------------------
SAVING = {
    "exp": lambda lib, y: y.exp(), "tanh": lambda lib, y: y.tanh(), "sigmoid": lambda lib, y: y.sigmoid(),
    "square": lambda lib, y: y * y, "sqrt": lambda lib, y: y.sqrt(),
    "pow": lambda lib, y: y**3, "div": lambda lib, y: lib.random(3, 3) / y, "matmul": lambda lib, y: y @ y,
    "softmax": lambda lib, y: y.softmax(1), "log": lambda lib, y: y.log(),
    "relu": lambda lib, y: y.relu(), "gelu": lambda lib, y: lib.F.gelu(y), "silu": lambda lib, y: lib.F.silu(y),
    "amax": lambda lib, y: y.amax(1), "prod": lambda lib, y: y.prod(1),
    "layer_norm": lambda lib, y: lib.F.layer_norm(y, (3,)), "linear": lambda lib, y: lib.F.linear(y, y),
    "std": lambda lib, y: y.std(1), "logsumexp": lambda lib, y: y.logsumexp(1),
    "var": lambda lib, y: y.var(1),
}  # fmt: skip
OUTPUT = ("exp", "tanh", "sigmoid", "sqrt", "softmax", "relu")  # saved is the result
WRITES = {
    "add_": lambda y: y.add_(1.0), "y[0] = 5": lambda y: y.__setitem__(0, 5.0),
    "view": lambda y: y.t()[1:].mul_(2.0), "zero_": lambda y: y.zero_(), "relu_": lambda y: y.sub_(0.5).relu_(),
}  # fmt: skip


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("name", SAVING)
def test_the_gradient_is_that_of_the_value_that_was_used(name, write, where):
    def program(lib):
        w = lib.random(3, 3, grad=True)
        y = w * 1.5
        z = SAVING[name](lib, y)
        WRITES[write](z if name in OUTPUT else y)
        ((z * lib.random(*z.shape)).sum() + (y * lib.random(3, 3)).sum()).backward()
        return z, y, w.grad

    same(program, where, saved=True)


@pytest.mark.parametrize("name", OFF_THE_TAPE)
def test_the_same_where_the_write_is_not_recorded(name, where):
    """PyTorch computes a wrong gradient of what `.data` changed, in silence; what is compared is its gradient of clones."""

    def program(lib):
        w = leaf(lib)
        y = w * 2.0
        z = y.exp() + y * y
        OFF_THE_TAPE[name](lib, y)
        z.sum().backward()
        return w.grad, z, y

    with cloning():
        expected = program(Library(torch, *where))
    compare(expected, program(Library(mg, *where)), where[1])


REPLACED = {
    "no_grad": lambda lib, w: in_no_grad(lib, lambda: w.add_(1)),
    "w[0] = 1": lambda lib, w: in_no_grad(lib, lambda: w.__setitem__(0, 1.0)),
    "data": lambda lib, w: w.data.add_(1),
    "detach": lambda lib, w: w.detach().mul_(2), "data =": lambda lib, w: setattr(w, "data", w.data * 2),
    "view": lambda lib, w: in_no_grad(lib, lambda: w[0].zero_()),
    "data[0] = 1": lambda lib, w: w.data.__setitem__(0, 1.0), "init": lambda lib, w: lib.nn.init.zeros_(w),
    "step": lambda lib, w: stepped(lib, w),
    "data of a view": lambda lib, w: w.data.t()[1:].add_(1),
}  # fmt: skip


def stepped(lib, w):
    w.grad = lib.t(np.ones(w.shape))
    lib.optim.SGD([w], lr=0.1).step()


@pytest.mark.parametrize("name", REPLACED)
def test_a_replaced_leaf_raises(name, where):
    def program(lib):
        w = leaf(lib)
        z = w * w * w
        REPLACED[name](lib, w)
        z.sum().backward()

    with pytest.raises(RuntimeError, match=f"{CHANGED}.*call backward before changing it"):
        program(Library(mg, *where))
    quiet = "data" in name
    with contextlib.nullcontext() if quiet else pytest.raises(RuntimeError, match="modified by an inplace operation"):
        program(Library(torch, *where))


@pytest.mark.parametrize("name", REPLACED)
def test_a_replaced_leaf_that_nobody_saved(name, where):
    def program(lib):
        w = leaf(lib)
        z = (w * 2.0 + 1.0).t()
        REPLACED[name](lib, w)
        w.grad = None
        z.sum().backward()
        first = w.grad.clone()
        (w * w).sum().backward()  # and afterwards all begins anew
        return w, first, w.grad

    same(program, where)


def test_a_tensor_that_requires_no_gradient_may_be_replaced(where):
    def program(lib):
        w, x = leaf(lib), lib.random(2, 3)
        z = w * x
        x.zero_()
        z.sum().backward()
        return w.grad, x

    same(program, where, saved=True)


# --- 6: hooks and retained gradients ---------------------------------------------------------------------------------------
WRITTEN = {
    "mul_": lambda lib, y: y.mul_(3), "y[0] = 5": lambda lib, y: y.__setitem__(0, 5.0),
    "view": lambda lib, y: y[0].mul_(3), "zero_": lambda lib, y: y.zero_(),
    "copy_": lambda lib, y: y.copy_(lib.random(2, 3, grad=True)),
    "no_grad": lambda lib, y: in_no_grad(lib, lambda: y.mul_(3)), "data": lambda lib, y: y.data.mul_(3),
    "twice": lambda lib, y: y.mul_(3).add_(1),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_hooks_see_the_gradient_of_the_value_they_were_set_on(name, where):
    def program(lib):
        seen, w = [], leaf(lib)
        y = w * 2.0
        y.register_hook(lambda g: seen.append(g.clone()))
        used = y * 5.0
        WRITTEN[name](lib, y)
        y.register_hook(lambda g: seen.append(g.clone() * 100))
        (y * lib.random(2, 3) + used).sum().backward()
        return sorted(seen, key=lambda g: float(g.sum())), w.grad

    same(program, where)


@pytest.mark.parametrize("name", WRITTEN)
def test_retained_gradients_follow_the_tensor(name, where):
    def program(lib):
        w = leaf(lib)
        y = w * 2.0
        y.retain_grad()
        WRITTEN[name](lib, y)
        assert y.retains_grad
        (y * lib.random(2, 3)).sum().backward()
        return y.grad, w.grad

    same(program, where)


def test_a_hook_replaces_the_gradient_of_the_old_value(where):
    def program(lib):
        w = leaf(lib)
        y = w * 2.0
        y.register_hook(lambda g: g * 10)
        y.mul_(3)
        y.sum().backward()
        return w.grad

    same(program, where)


def test_hooks_of_leaves(where):
    def program(lib):
        seen, w = [], leaf(lib)
        w.register_hook(lambda g: seen.append(g.clone()))
        with lib.no_grad():
            w.mul_(2)
        (w * w).sum().backward()
        return seen, w.grad

    same(program, where)


# --- 7: optimisers, modules, shared parameters -------------------------------------------------------------------------------
OPTIMIZERS = {
    "SGD": lambda lib, p: lib.optim.SGD(p, lr=0.1),
    "momentum": lambda lib, p: lib.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "Adam": lambda lib, p: lib.optim.Adam(p, lr=0.1), "AdamW": lambda lib, p: lib.optim.AdamW(p, lr=0.1),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_shares_a_parameter_sees_steps(name, where):
    def program(lib):
        w = lib.random(2, 3, grad=True)
        optimizer = OPTIMIZERS[name](lib, [w])
        d, detached = w.data, w.detach()
        row = w.data[0]
        with lib.no_grad():
            view = w.t()
        seen = []
        for _ in range(3):
            optimizer.zero_grad()
            (w * w * w).sum().backward()
            optimizer.step()
            seen += [t.clone() for t in (d, detached, row)]
            d.mul_(0.9)
        return seen, w, view.detach(), d

    same(program, where)


def test_steps_leave_snapshots_alone(where):
    def program(lib):
        w = lib.random(2, 3, grad=True)
        optimizer = lib.optim.SGD([w], lr=0.1)
        kept, array, loss = w.detach().clone(), w.detach().clone().numpy(), (w * w).sum()
        loss.backward()
        optimizer.step()
        return kept, float(array.sum()), w

    same(program, where)


def linear(lib, n=3, m=2):
    layer = lib.nn.Linear(n, m, **({"device": lib.device} if False else {}))
    layer = layer.to(lib.device if lib.here else "cpu").to(lib.kind())
    with lib.no_grad():
        for p in layer.parameters():
            p.copy_(lib.random(*p.shape))
    return layer


def test_parameters_share_a_place(where):
    def program(lib):
        a, b = linear(lib), linear(lib)
        b.weight.data = a.weight.data
        with lib.no_grad():
            a.weight.mul_(2)
        first = b.weight.detach().clone()
        b.weight.data[0] = 0.25
        optimizer = lib.optim.SGD([a.weight], lr=0.1)
        x = lib.random(4, 3)
        (a(x) * b(x)).sum().backward()
        optimizer.step()
        return first, a.weight, b.weight, a.weight.grad, b.weight.grad

    same(program, where)


def test_tied_parameters(where):
    def program(lib):
        a, b = linear(lib), linear(lib)
        b.weight = a.weight
        (a(lib.random(4, 3)) * b(lib.random(4, 3))).sum().backward()
        lib.optim.SGD([a.weight], lr=0.1).step()
        return a.weight, b.weight, b.weight.grad, a.weight is b.weight

    same(program, where)


INITS = {
    "zeros_": (), "ones_": (), "constant_": (0.3,), "eye_": (), "uniform_": (), "normal_": (), "trunc_normal_": (),
    "xavier_uniform_": (), "kaiming_normal_": (), "orthogonal_": (),
}  # fmt: skip


@pytest.mark.parametrize("name", INITS)
def test_init_writes_into_the_place(name, where):
    if not hasattr(mg.nn.init, name):
        pytest.skip("not there")

    def program(lib):
        w = lib.random(3, 2, grad=True)
        d = w.data
        assert getattr(lib.nn.init, name)(w, *INITS[name]) is w
        changed = d.clone()
        return (
            w if name in ("zeros_", "ones_", "constant_", "eye_") else None,
            bool((changed == w.detach()).all()),
            w.is_leaf,
        )

    same(program, where)


def test_load_state_dict_writes_into_the_place(where):
    def program(lib):
        a, b = linear(lib), linear(lib)
        d, row = b.weight.data, b.weight.detach()[0]
        optimizer = lib.optim.SGD(b.parameters(), lr=0.1)
        b.load_state_dict(a.state_dict())
        first = d.clone()
        (b(lib.random(4, 3)) ** 2).sum().backward()
        optimizer.step()
        return first, d, row, b.weight, a.weight

    same(program, where)


def test_a_state_dict_is_live(where):
    def program(lib):
        a = linear(lib)
        state = a.state_dict()
        with lib.no_grad():
            a.weight.mul_(2)
        state["bias"].copy_(lib.random(2))
        for v in state.values():
            v.mul_(0.9)
        (a(lib.random(4, 3)) ** 2).sum().backward()
        lib.optim.Adam(a.parameters(), lr=0.1).step()
        return a.weight, a.bias, list(state.values())

    same(program, where)


@pytest.mark.parametrize("other", [False, True], ids=["the same dtype", "another dtype"])
def test_a_module_that_is_cast(other, where):
    """Without effect it leaves what is shared; else the parameters have memory of their own afterwards."""

    def program(lib):
        a = linear(lib)
        a(lib.random(4, 3)).sum().backward()
        d, g, w = a.weight.data, a.weight.grad, a.weight
        a.to(lib.kind("float16" if other else None))
        a.weight.data.mul_(2)
        a.weight.grad.mul_(2)
        return a.weight, d, g if not other else None, a.weight.grad, a.weight is w

    same(program, where)


def test_batch_norm_writes_its_statistics_into_the_place(where):
    def program(lib):
        norm = lib.nn.BatchNorm1d(3) if hasattr(lib.nn, "BatchNorm1d") else None
        if norm is None:
            return None
        norm = norm.to(lib.device if lib.here else "cpu").to(lib.kind())
        mean, count = norm.running_mean, norm.num_batches_tracked
        norm(lib.random(4, 3))
        norm.running_mean.mul_(2)
        norm.num_batches_tracked.add_(1)
        norm.num_batches_tracked += 1
        norm(lib.random(4, 3))
        return mean, mean is norm.running_mean, count, count is norm.num_batches_tracked

    same(program, where)


def test_ema_writes_into_the_place(where):
    device, dtype = where
    layer = linear(Library(mg, *where))
    d, ema = layer.weight.data, mg.optim.EMA(layer, decay=0.5)
    before = d.numpy().copy()
    with mg.no_grad():
        layer.weight.mul_(3)
    ema.update()
    ema.copy_to()
    np.testing.assert_allclose(d.numpy(), before * 2, 1e-6)
    with ema.applied():
        d.zero_()
        assert not layer.weight.numpy().any()
    np.testing.assert_allclose(d.numpy(), before * 2, 1e-6)


def test_what_changes_gradients_writes_into_their_place(where):
    def program(lib):
        w = leaf(lib)
        optimizer = lib.optim.SGD([w], lr=0.1)
        scaler = lib.amp.GradScaler("cpu") if not lib.here else mg.optim.GradScaler()
        scaler.scale((w * w * 3).sum()).backward()
        g, d = w.grad, w.grad.data
        scaler.unscale_(optimizer)
        seen = [g.clone(), d.clone()]
        lib.nn.utils.clip_grad_norm_([w], 1.0)
        seen += [g.clone()]
        lib.nn.utils.clip_grad_value_([w], 0.25)
        seen += [g.clone()]
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=False)
        return seen, w, g, d, w.grad is g

    same(program, where)


def test_zero_grad_of_a_module_writes_zeros(where):
    def program(lib):
        layer = linear(lib)
        layer(lib.random(4, 3)).sum().backward()
        g = layer.weight.grad
        layer.zero_grad(set_to_none=False)
        return g, layer.weight.grad is g

    same(program, where)


def test_gradients_are_added_up_in_their_place(where):
    def program(lib):
        w, flat = leaf(lib), lib.random(12)
        w.grad = flat[6:].view(2, 3)
        g = w.grad
        (w * 3.0).sum().backward()
        (w * 4.0).sum().backward()
        return flat, g, w.grad is g

    same(program, where)


def test_gradients_are_written(where):
    def program(lib):
        w = leaf(lib)
        (w * w * 100).sum().backward()
        g = w.grad
        d = g.data
        lib.nn.utils.clip_grad_norm_([w], 1.0)
        first = g.clone()
        w.grad.data.clamp_(-0.1, 0.1)
        second = d.clone()
        w.grad.zero_()
        return first, second, g, w.grad is g

    same(program, where)


# --- what must work --------------------------------------------------------------------------------------------------------
def test_buffers(where):
    def program(lib):
        class Counter(lib.nn.Module):
            def __init__(self):
                super().__init__()
                if lib.here:
                    self.n = mg.nn.Buffer(lib.t([0]))
                    self.mean = mg.nn.Buffer(lib.t([0.0, 0.0]))
                else:
                    self.register_buffer("n", lib.t([0]))
                    self.register_buffer("mean", lib.t([0.0, 0.0]))

            def forward(self, x):
                self.n += 1
                self.mean.mul_(0.9).add_(x.detach().mean(0), alpha=0.1)
                return x * self.mean * self.n

        counter, x = Counter(), lib.random(3, 2, grad=True)
        n = counter.n
        y = counter(x) + counter(x)
        y.sum().backward()
        return y, x.grad, n, n is counter.n, list(counter.state_dict().values()), sorted(counter.state_dict())

    same(program, where, saved=True)  # the backward needs self.n as it was


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64", "bool"])
def test_whole_numbers_and_booleans(dtype, where):
    def program(lib):
        x = lib.t([[1, 0, 3], [4, 5, 0]], dtype=dtype)
        v = x[0]
        if dtype != "bool":
            x += 1
            x.mul_(2).sub_(1)
            v //= 2
            v **= 2
            x %= 5
            x.clamp_(0, 7)
        x[1, 0] = 1
        x[:, 2] = lib.t([1, 0], dtype=dtype)
        x |= lib.t([1, 0, 1], dtype=dtype)
        x[0].fill_(1)
        x.masked_fill_(x == 0, 1)
        x[0, 1] = True
        x[1].copy_(lib.t([0.0, 1.0, 1.0]))
        return x, v

    same(program, where)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits(dtype, where):
    if where == ("cpu", "float32") or (where[0], dtype) == ("cpu", "bfloat16"):
        pytest.skip("is tested elsewhere, or not on this device")

    def program(lib):
        w = lib.random(2, 3, grad=True, dtype=dtype)
        x = w * 2
        v = x[0]
        x += 0.5
        x.mul_(lib.random(3))  # of a wider dtype: the result is rounded
        v.add_(lib.t(1.5))
        x[1, :2] = lib.random(2)
        x[1, 2] = 3.25
        x.sum().backward()
        return x, v, w.grad

    same(program, where)


INDEXES = {  # of a tensor of shape (3, 4)
    "1": lambda lib: 1, "-1": lambda lib: -1, "1, 2": lambda lib: (1, 2), "-1, -2": lambda lib: (-1, -2),
    ":": lambda lib: slice(None), "1:": lambda lib: slice(1, None),
    "::2": lambda lib: slice(None, None, 2), ":, 1::2": lambda lib: (slice(None), slice(1, None, 2)),
    "-2:, :-1": lambda lib: (slice(-2, None), slice(None, -1)), "5:": lambda lib: slice(5, None),
    "...": lambda lib: ..., "..., 0": lambda lib: (..., 0), "None": lambda lib: None,
    "None, 1": lambda lib: (None, 1), ":, None, 2": lambda lib: (slice(None), None, 2), "()": lambda lib: (),
    "[0, 2]": lambda lib: [0, 2], "[-1]": lambda lib: [-1], "[0, 2], [1, 3]": lambda lib: ([0, 2], [1, 3]),
    ":, [0, 3]": lambda lib: (slice(None), [0, 3]), "1, [0, 3]": lambda lib: (1, [0, 3]),
    "[2, 0], 1:3": lambda lib: ([2, 0], slice(1, 3)), "tensor": lambda lib: lib.t([2, 0]),
    "matrix of positions": lambda lib: lib.t([[0, 1], [2, 0]]), "numpy": lambda lib: np.array([1, 2]),
    "tensor()": lambda lib: lib.t(2), "tensor, tensor": lambda lib: (lib.t([[0], [2]]), lib.t([1, 3])),
    "mask": lambda lib: lib.t([[True, False, True, False], [False] * 4, [True] * 4]),
    "mask of rows": lambda lib: lib.t([True, False, True]),
    "numpy's mask": lambda lib: np.array([False, True, True]),
    ":, mask": lambda lib: (slice(None), lib.t([True, False, False, True])),
    "mask, 1": lambda lib: (lib.t([True, False, True]), 1),
    "mask, [1, 2]": lambda lib: (lib.t([True, False, True]), [1, 2]),
    "no row": lambda lib: lib.t([False, False, False]), "True": lambda lib: True,
    "..., None, [1]": lambda lib: (..., None, [1]), "np.int64(1)": lambda lib: np.int64(1),
    "range": lambda lib: list(range(2)), "int32": lambda lib: lib.t([0, 2], dtype="int32"),
    "1, ..., 2": lambda lib: (1, ..., 2), "[]": lambda lib: lib.t(np.zeros(0, np.int64)),
}  # fmt: skip
VALUES = {
    "number": lambda lib, shape: 7.5, "whole number": lambda lib, shape: 7, "boolean": lambda lib, shape: True,
    "tensor": lambda lib, shape: lib.random(*shape), "grad": lambda lib, shape: lib.random(*shape, grad=True),
    "scalar": lambda lib, shape: lib.random(), "scalar with grad": lambda lib, shape: lib.random(grad=True),
    "last dimension": lambda lib, shape: lib.random(*shape[-1:]),
    "ones in front": lambda lib, shape: lib.random(1, 1, *shape),
    "length 1": lambda lib, shape: lib.random(*[1 for _ in shape]),
    "integers": lambda lib, shape: lib.t(np.full(shape, 3)),
    "other float": lambda lib, shape: lib.random(*shape, dtype="float16"),
}  # fmt: skip


@pytest.mark.parametrize("name", INDEXES)
def test_every_index_and_value(name, where):
    shape = tuple(torch.zeros(3, 4)[INDEXES[name](Library(torch, "cpu", "float64"))].shape)
    for kind in VALUES:

        def program(lib, kind=kind):
            w = lib.random(3, 4, grad=True)
            x, plain = w * 2.0, lib.random(3, 4)
            v = x.t()[1:]
            value = VALUES[kind](lib, shape)
            for t in (x, plain):
                try:
                    t[INDEXES[name](lib)] = value
                except RuntimeError as error:
                    if "dtypes match" not in str(error):
                        raise
                    t[INDEXES[name](lib)] = value.to(t.dtype)  # PyTorch casts where no arrays are in the index
            (x * lib.random(3, 4) + v.sum()).sum().backward()
            return x, plain, v, w.grad, value.grad if "grad" in kind else None

        try:
            same(program, where)
        except AssertionError as error:
            pytest.fail(f"x[{name}] = {kind}: {error}", pytrace=False)


@pytest.mark.parametrize("name", ["1", "[0, 2]", "mask", "1, 2", ":, 1::2"])
def test_arrays_and_lists_as_values(name, device):
    """PyTorch takes neither; minigrad takes what numpy does."""
    index = INDEXES[name](Library(torch, "cpu", "float64"))
    at = index.numpy() if isinstance(index, torch.Tensor) else index
    for value in (
        np.full(np.zeros((3, 4))[at].shape, 2.5),
        np.float64(1.5),
        np.full(np.zeros((3, 4))[at].shape, 3).tolist(),
    ):
        x, expected = mg.zeros(3, 4, device=device), np.zeros((3, 4), np.float32)
        x[at], expected[at] = value, value
        np.testing.assert_array_equal(x.numpy(), expected)


def test_repeated_positions(where):
    """Of values for one place PyTorch's CPU keeps the last; gradients of them are undefined."""

    def program(lib):
        x = lib.random(4)
        x[[1, 1, 2]] = lib.t([1.0, 2.0, 3.0])
        return x

    same(program, ("cpu", where[1]))


# --- derivatives of higher order ----------------------------------------------------------------------------------------------
HIGHER = {
    "x[i] = v": lambda lib, x, v: x.__setitem__(slice(1, None), v[1:] * x[:-1].clone()),
    "x[mask] = v": lambda lib, x, v: x.__setitem__([0, 2], (v * v)[:2]),
    "mul_": lambda lib, x, v: x.mul_(v).mul_(x.clone()),
    "copy_": lambda lib, x, v: x.copy_(v * x),
    "view mul_": lambda lib, x, v: x.view(3, 1)[1:].mul_(v[1:].unsqueeze(1)),
    "exp_": lambda lib, x, v: x.mul_(v).exp_(), "pow_": lambda lib, x, v: x.pow_(3).add_(v),
    "sigmoid_": lambda lib, x, v: x.add_(v).sigmoid_().mul_(v), "fill_": lambda lib, x, v: x[1:].fill_(v.prod()),
    "scatter_": lambda lib, x, v: x.scatter_(0, lib.t([2, 0]), v[:2] * v[1:]),
    "index_add_": lambda lib, x, v: x.index_add_(0, lib.t([1, 1]), v[:2] ** 3),
    "masked_fill_": lambda lib, x, v: x.masked_fill_(lib.t([True, False, True]), v.prod()),
    "+= and *= of views": lambda lib, x, v: (x[:2].__imul__(v[1:]), x[1:].__iadd__(x[:2].clone() ** 2)),
    "index_copy_": lambda lib, x, v: x.index_copy_(0, lib.t([2, 1]), v[:2] * v[:2]),
    "lerp_ and addcdiv_": lambda lib, x, v: x.lerp_(v * v, 0.3).addcdiv_(v, x.clone()),
    "relu": lambda lib, x, v: lib.F.relu(x.mul_(v), inplace=True),
}  # fmt: skip


@pytest.mark.parametrize("name", HIGHER)
def test_derivatives_of_second_and_third_order(name, where):
    def program(lib):
        w, v = lib.random(3, grad=True), lib.random(3, grad=True)
        x = w * w
        with cloning() if not lib.here else contextlib.nullcontext():
            HIGHER[name](lib, x, v)
            out, found = (x**3).sum(), []
            for _ in range(3):
                grads = lib.grads(out, w, v, create_graph=True)
                grads = [lib.zeros_like(t) if g is None else g for g, t in zip(grads, (w, v), strict=True)]
                found += [g.detach() for g in grads]
                out = sum((g**2 * g.detach()).sum() for g in grads)
        return found

    same(program, where)


# --- loops as people write them ------------------------------------------------------------------------------------------------
def fit_by_hand(lib, update):
    w, b, x = lib.random(3, 2, grad=True), lib.random(2, grad=True), lib.random(8, 3)
    state: dict = {}
    for step in range(4):
        loss = ((x @ w + b) ** 2).mean()
        loss.backward()
        update(lib, [w, b], state, step)
    return w, b, loss, w.grad, b.grad


def sgd(lib, params, state, step):
    with lib.no_grad():
        for p in params:
            p -= 0.1 * p.grad
            p.grad.zero_()


def momentum(lib, params, state, step):
    with lib.no_grad():
        for i, p in enumerate(params):
            buf = state.setdefault(i, lib.zeros_like(p))
            buf.mul_(0.9).add_(p.grad)
            p.add_(buf, alpha=-0.1)
            p.grad = None


def adam(lib, params, state, step):
    for i, p in enumerate(params):
        m, v = state.setdefault(i, (lib.zeros_like(p.data), lib.zeros_like(p.data)))
        m.mul_(0.9).add_(p.grad.data, alpha=0.1)
        v.mul_(0.99).addcmul_(p.grad.data, p.grad.data, value=0.01)
        denominator = (v / (1 - 0.99 ** (step + 1))).sqrt_().add_(1e-8)
        p.data.addcdiv_(m, denominator, value=-0.1 / (1 - 0.9 ** (step + 1)))
        p.grad.zero_()


def through_data(lib, params, state, step):
    for p in params:
        p.grad.data.clamp_(-0.05, 0.05)
        p.data -= 0.1 * p.grad.data
        p.data.mul_(0.99)
        p.grad.data.zero_()


def assigned(lib, params, state, step):
    for p in params:
        p.data = p.data - 0.1 * p.grad
        p.grad = None


def averaged(lib, params, state, step):
    sgd(lib, params, state, step)
    with lib.no_grad():
        for i, p in enumerate(params):
            state.setdefault(i, p.detach().clone()).mul_(0.9).add_(p, alpha=0.1)
        if step == 2:
            for i, p in enumerate(params):
                p.copy_(state[i])


@pytest.mark.parametrize("update", [sgd, momentum, adam, through_data, assigned, averaged], ids=lambda f: f.__name__)
def test_optimisers_by_hand(update, where):
    same(lambda lib: fit_by_hand(lib, update), where)


def test_rows_are_filled_one_by_one(where):
    def program(lib):
        w = lib.random(5, grad=True)
        x, out = lib.zeros_like(lib.random(6, 5)), []
        for i in range(6):
            x[i] = w * (i + 1) + (x[i - 1] if i else 0.0)
            out.append(x[i].sum())
        (lib.stack(out).sum() + x.sum()).backward()
        return x, w.grad

    same(program, where)


def test_random_writes_go_to_the_place(where):
    theirs, ours = libraries(where)
    for lib in (theirs, ours):
        w = lib.random(40, 50, grad=True)
        d = w.data
        for name, args, low, high in (
            ("normal_", (2.0, 0.1), 1, 3),
            ("uniform_", (-1, 1), -1, 1),
            ("bernoulli_", (0.3,), 0, 1),
        ):
            assert getattr(w.data, name)(*args) is not w
            values = w.detach().numpy()
            assert low <= values.min() < values.max() <= high and np.array_equal(values, d.numpy())


# --- lines that scripts have ----------------------------------------------------------------------------------------------
def line(name, saved=False):
    def keep(function):
        LINES[name] = function, saved
        return function

    return keep


LINES: dict = {}


@line("x[i] += v")
def _(lib):
    w, x = leaf(lib), lib.random(2, 3)
    y = w * 2.0
    y[0] += 1.5
    y[1] *= y[0].clone()
    y[:, 1] -= lib.random(2)
    y[0, 2] /= 2
    x[1] += w[0]
    (y.sum() + (x * y).sum()).backward()
    return y, x, w.grad


@line("x[[i, j]] += v")
def _(lib):
    w = leaf(lib)
    y = w * 2.0
    y[[1, 0]] += lib.random(2, 3)
    y[y > 1.5] *= 0.5
    y[lib.t([True, False])] -= 1
    y[:, [2, 0]] **= 2
    (y * lib.random(2, 3)).sum().backward()
    return y, w.grad


@line("x.data[i] += v and w.grad[i] = v")
def _(lib):
    w = leaf(lib)
    (w * 2.0).sum().backward()
    w.grad[0] += 1
    w.grad *= 0.5
    w.grad[:, 1] = 0
    w.data[0] += 1
    w.data += w.grad
    w.data[1].zero_()
    return w, w.grad


@line("a module's attribute += v")
def _(lib):
    layer = linear(lib)
    weight = layer.weight
    with lib.no_grad():
        layer.weight += 1
        layer.weight[0] *= 2
        layer.bias.fill_(0.5)
    layer.bias.data -= 0.25
    (layer(lib.random(4, 3)) ** 2).sum().backward()
    return layer.weight, layer.bias, layer.weight is weight, layer.weight.grad


@line("numbers: s += 1")
def _(lib):
    s, total = lib.t(1.5), lib.t(0.0)
    same = s
    s += 1
    s[...] = s * 2
    for v in lib.random(5):
        total += v
    total /= 5
    w = lib.random(grad=True)
    loss = w * 0.0
    for i in range(3):
        loss += w * i
    loss.backward()
    return s, same, total, loss, w.grad


@line("nothing to write")
def _(lib):
    x, y = lib.random(0, 3), lib.random(2, 3)
    x += 1
    x[:] = 5.0
    x.fill_(2).mul_(lib.random(3))
    y[2:] = 7.0
    y[lib.t([False, False])] = 7.0
    y[0:0].zero_()
    y[:, 3:] += 1
    return x, y


@line("integers are cut off")
def _(lib):
    x = lib.t([1, 2, 3])
    x[0] = 2.7
    x[1:] = lib.t([4.9, -4.9])
    y = lib.t([5, 6]).fill_(2.7)
    y.masked_fill_(y > 0, 3.5).index_fill_(0, lib.t([0]), 1.5)
    return x, y, lib.t([1, 2]).copy_(lib.t([1.9, -1.9])), lib.t([7, 8]).div_(3, rounding_mode="floor")


@line("wider dtypes are rounded")
def _(lib):
    x = lib.t([0.1, 0.2], dtype="float16")
    x += lib.t([0.3, 0.4])
    x.mul_(lib.t(2.0)).add_(lib.t([1, 2]))
    x[0] = lib.t(0.123456789)
    y = lib.t([1, 2], dtype="int16")
    y += lib.t([100, 200])
    y *= lib.t([True, False])
    return x, y


@line("a view from before requires_grad_()")
def _(lib):
    x = lib.random(2, 3)
    v, d = x[0], x.detach()
    x.requires_grad_()
    with lib.no_grad():
        v.mul_(2)
    d.mul_(2)
    (x * x).sum().backward()
    return x, v.detach(), d, x.grad


@line("detach().requires_grad_()")
def _(lib):
    w = leaf(lib)
    y = w * 2.0
    d = y.detach().requires_grad_()
    y.mul_(3)
    (d * d).sum().backward()
    y.backward(d.grad)
    return y, d, d.grad, w.grad


@line("a table of embeddings")
def _(lib):
    table = lib.nn.Embedding(5, 3).to(lib.device if lib.here else "cpu").to(lib.kind())
    table.weight.data.copy_(lib.random(5, 3))
    table.weight.data[0].zero_()
    with lib.no_grad():
        table.weight[1] = lib.random(3)
    (table(lib.t([0, 1, 1, 4])) ** 2).sum().backward()
    table.weight.grad[1].zero_()
    return table.weight, table.weight.grad


@line("power iteration")
def _(lib):
    w, u = lib.random(3, 3, grad=True), lib.random(3)
    with lib.no_grad():
        for _ in range(3):
            v = w.t() @ u
            v /= (v * v).sum().sqrt()
            u.copy_(w @ v)
            u /= (u * u).sum().sqrt()
    (u @ w @ v).backward()
    return u, v, w.grad


@line("a mask of attention")
def _(lib):
    scores = lib.random(2, 3, 3, grad=True) * 2.0
    mask = lib.ones(3, 3) if not lib.here else mg.ones(3, 3, device=lib.device)
    mask = mask.triu(1).bool() if hasattr(mask.triu(1), "bool") else mask.triu(1) != 0
    scores.masked_fill_(mask, float("-inf"))
    scores = scores.softmax(-1)
    scores[:, 0] = 0.0
    return scores


@line("a window that is moved on")
def _(lib):
    x, w = lib.random(4), lib.random(4, grad=True)
    history = lib.random(3, 4)
    for i in range(3):
        history[:-1] = history[1:].clone()
        history[-1] = x * w * i
    (history * lib.random(3, 4)).sum().backward()
    return history, w.grad


@line("what a function writes", saved=True)
def _(lib):
    def normalise(t):
        t -= t.mean(0)
        t /= t.std(0) + 0.1
        return t

    w = lib.random(4, 3, grad=True)
    y = w * 2.0
    z = normalise(y)
    (z * lib.random(4, 3)).sum().backward()
    return y, z is y, w.grad


@line("a residual is added in place")
def _(lib):
    layer, x = linear(lib, 3, 3), lib.random(2, 3)
    y = layer(x)
    y += x
    z = layer(y)
    z += y
    z.sum().backward()
    return z, layer.weight.grad, layer.bias.grad


@line("a residual that is needed", saved=True)
def _(lib):
    layer, x = linear(lib, 3, 3), lib.random(2, 3)
    y = layer(x).sigmoid()
    y += x
    layer(y).sum().backward()
    return y, layer.weight.grad


@line("gradients of parts by autograd.grad", saved=True)
def _(lib):
    w = leaf(lib)
    y = w * 2.0
    v = y[0]
    y.mul_(y.detach())
    z = (y * lib.random(2, 3)).sum()
    return lib.grads(z, y, v, w)


@line("a copy of a view")
def _(lib):
    import copy

    x = lib.random(3, 4)
    v = x.t()[1:]
    c, whole = copy.deepcopy(v), copy.deepcopy(x)
    x += 1
    c[0] = 5.0
    return x, v, c, whole


@line("a network is copied")
def _(lib):
    import copy

    a = linear(lib)
    d = a.weight.data
    b = copy.deepcopy(a)
    d.mul_(2)
    with lib.no_grad():
        b.weight.add_(1)
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        q.data.mul_(0.9).add_(p.data, alpha=0.1)
    return a.weight, b.weight, d, list(b.parameters())


@line("a leaf is copied with its gradient")
def _(lib):
    import copy

    w = leaf(lib)
    (w * w).sum().backward()
    c = copy.deepcopy(w)
    c.grad.mul_(2)
    first = w.grad.clone()
    w.grad.zero_()
    with lib.no_grad():
        c.add_(1)
    return w, c, first, w.grad, c.grad


@line("loss += in a loop over a list")
def _(lib):
    w = leaf(lib)
    loss = lib.t(0.0)
    for row in w:
        loss += (row * row).sum()
    loss.backward()
    return loss, w.grad


@line("swapped in place")
def _(lib):
    x = lib.random(4, grad=True) * 1.0
    x[0], x[1] = x[1].clone(), x[0].clone()
    x[[2, 3]] = x[[3, 2]]
    return x


@line("zero where the mask is")
def _(lib):
    w = leaf(lib)
    y = w * 2.0
    y[y < 1] = 0
    y[lib.t([[True, False, False], [False, False, True]])] = lib.random(2)
    y[0][1] = 5
    y[1][y[1] > 1] = 9.0
    y.sum().backward()
    return y, w.grad


@pytest.mark.parametrize("name", LINES)
def test_lines_that_scripts_have(name, where):
    same(LINES[name][0], where, saved=LINES[name][1])


REFUSED_LINES = {
    "a parameter += 1": lambda lib: setattr(layer := linear(lib), "weight", layer.weight.__iadd__(1)),
    "a view from before requires_grad_()": lambda lib: view_from_before(lib).add_(1),
    "a row of a parameter += 1": lambda lib: linear(lib).weight[0].__iadd__(1),
    "uint8.fill_(300)": lambda lib: lib.t([1], dtype="uint8").fill_(300),
    "uint8[0] = 300": lambda lib: lib.t([1], dtype="uint8").__setitem__(0, 300),

    "integers.clamp_(0.5)": lambda lib: lib.t([1, 2]).clamp_(0.5),
    "integers.lerp_": lambda lib: lib.t([1, 2]).lerp_(lib.t([1, 2]), 0.5),
    "copy_ to a shorter one": lambda lib: lib.random(2).copy_(lib.random(2, 2)),
    "x.data = another dtype": lambda lib: setattr(leaf(lib), "data", lib.t([1, 2])),
    "integers.add_(alpha=0.5)": lambda lib: lib.t([1, 2]).add_(lib.t([1, 2]), alpha=0.5),
    "scatter_add_ of integers": lambda lib: lib.random(3).scatter_add_(0, lib.t([0]), lib.t([1])),
}  # fmt: skip


def view_from_before(lib):
    x = lib.random(2, 3)
    v = x[0]
    x.requires_grad_()
    lib.keep = x
    return v


@pytest.mark.parametrize("name", REFUSED_LINES)
def test_lines_that_both_refuse(name, where):
    refused(REFUSED_LINES[name], where, r"\w+ \w+", ERRORS)


# --- inplace=True -----------------------------------------------------------------------------------------------------------
INPLACE = {
    "F.relu": lambda lib, x: lib.F.relu(x, inplace=True), "F.relu positional": lambda lib, x: lib.F.relu(x, True),
    "F.leaky_relu": lambda lib, x: lib.F.leaky_relu(x, 0.2, inplace=True),
    "F.elu": lambda lib, x: lib.F.elu(x, 0.7, True), "F.selu": lambda lib, x: lib.F.selu(x, inplace=True),
    "F.silu": lambda lib, x: lib.F.silu(x, inplace=True), "F.relu_": lambda lib, x: lib.F.relu_(x),
    "F.leaky_relu_": lambda lib, x: lib.F.leaky_relu_(x, 0.3), "F.elu_": lambda lib, x: lib.F.elu_(x),
    "F.selu_": lambda lib, x: lib.F.selu_(x), "F.dropout": lambda lib, x: lib.F.dropout(x, 1.0, True, True),
    "F.dropout in evaluation": lambda lib, x: lib.F.dropout(x, 0.5, False, True),
    "F.dropout of nothing": lambda lib, x: lib.F.dropout(x, 0.0, True, True),
    "nn.ReLU": lambda lib, x: lib.nn.ReLU(inplace=True)(x),
    "nn.LeakyReLU": lambda lib, x: lib.nn.LeakyReLU(0.2, inplace=True)(x),
    "nn.ELU": lambda lib, x: lib.nn.ELU(0.7, inplace=True)(x),
    "nn.SELU": lambda lib, x: lib.nn.SELU(inplace=True)(x), "nn.SiLU": lambda lib, x: lib.nn.SiLU(inplace=True)(x),
    "nn.Dropout": lambda lib, x: lib.nn.Dropout(1.0, inplace=True)(x),
    "nn.Dropout in evaluation": lambda lib, x: lib.nn.Dropout(0.5, inplace=True).eval()(x),
    "nn.ReLU in a row": lambda lib, x: lib.nn.Sequential(lib.nn.ReLU(inplace=True), lib.nn.SiLU(inplace=True))(x),
}  # fmt: skip


@pytest.mark.parametrize("name", INPLACE)
def test_inplace(name, where):
    def program(lib):
        w = lib.t([[-1.0, 0.5, 0.0], [2.0, -0.3, 0.7]], grad=True)
        x = w * 2.0
        v = x[0]
        result = INPLACE[name](lib, x)
        assert result is x
        (result * lib.random(2, 3)).sum().backward()
        return result, x, v, w.grad

    same(program, where, saved=name == "nn.ReLU in a row")  # PyTorch's ReLU needs its result


@pytest.mark.parametrize("name", INPLACE)
def test_inplace_on_leaves(name, where):
    if "evaluation" in name or "nothing" in name:
        return same(lambda lib: INPLACE[name](lib, leaf(lib)), where)
    refused(lambda lib: INPLACE[name](lib, leaf(lib)), where, "a leaf that requires a gradient")
    return same(lambda lib: in_no_grad(lib, lambda: INPLACE[name](lib, leaf(lib))), where)


def test_a_net_with_inplace_activations(where):
    """As in published nets: the layer before needs its output, or doesn't."""

    def program(lib):
        first, second, x = linear(lib), linear(lib, 2, 2), lib.random(4, 3) - 0.5
        y = lib.F.relu(second(lib.F.leaky_relu(first(x) - 1, 0.1, inplace=True)), inplace=True)
        y += first(x)
        lib.F.elu(y, inplace=True).sum().backward()
        return y, [p.grad for layer in (first, second) for p in layer.parameters()]

    same(program, where, saved=True)


def test_inplace_after_what_saves_it(where):
    def program(lib):
        w = leaf(lib)
        y = w * 2.0 - 1.0
        z = y * y
        lib.F.relu(y, inplace=True)
        (y + z).sum().backward()
        return y, z, w.grad

    same(program, where, saved=True)


def test_dropout_in_place_drops_what_it_keeps(where):
    lib = Library(mg, *where)
    w = lib.random(50, 50, grad=True)
    x = w * 1.0
    before = x.detach().clone()
    assert mg.nn.functional.dropout(x, 0.4, inplace=True) is x
    x.sum().backward()
    kept = x.detach().numpy() != 0
    assert 0.5 < kept.mean() < 0.7
    np.testing.assert_allclose(x.detach().numpy(), np.where(kept, before.numpy() / 0.6, 0), 1e-5)
    np.testing.assert_allclose(w.grad.numpy(), np.where(kept, 1 / 0.6, 0), 1e-5)


def test_view_copies_where_pytorchs_does(seed, samples):
    """Random chains of views, then a random `view` or `reshape`: whether it shares the memory, copies, or is refused."""
    draw = random.Random(seed)
    outcomes = {"refused": 0, "shared": 0, "copied": 0}
    for _ in range(samples(1500)):
        shape = [draw.choice([1, 2, 3, 4]) for _ in range(draw.randint(1, 4))]
        ours, theirs = (lib.arange(int(np.prod(shape))).reshape(*shape) for lib in (mg, torch))
        for _ in range(draw.randint(0, 4)):
            step = _random_step(draw, ours.shape)
            ours, theirs = step(ours), step(theirs)
        size = _random_shape(draw, ours.numel())
        name = draw.choice(["view", "reshape"])
        try:
            wanted = getattr(theirs, name)(*size)
        except RuntimeError:
            outcomes["refused"] += 1
            with pytest.raises(RuntimeError, match="write reshape"):
                getattr(ours, name)(*size)
            continue
        found = getattr(ours, name)(*size)
        assert found.tolist() == wanted.tolist()
        for x in (found, wanted):
            x[(0,) * x.ndim] = -7
        assert (found.tolist(), ours.tolist()) == (wanted.tolist(), theirs.tolist())
        outcomes["shared" if -7 in np.asarray(theirs) else "copied"] += 1
    assert min(outcomes.values()) > 20, outcomes


def _random_step(draw, shape):
    dims = list(range(len(shape)))
    kind = draw.choice(["permute", "cut", "new", "select", "merge", "expand"])
    if kind == "permute":
        draw.shuffle(dims)
        return lambda x: x.permute(*dims)
    if kind == "new":
        at = draw.randint(0, len(shape))
        return lambda x: x.unsqueeze(at)
    if kind == "expand" and 1 in shape:
        sizes = [draw.choice([1, 2]) if n == 1 else n for n in shape]
        return lambda x: x.expand(*sizes)
    if kind == "merge" and len(shape) > 1:
        at = draw.randint(0, len(shape) - 2)
        return lambda x: x.flatten(at, at + 1)
    dim = draw.choice(dims) if dims else None
    if dim is None or shape[dim] < 2:
        return lambda x: x
    if kind == "select" and len(shape) > 1:
        place = draw.randint(0, shape[dim] - 1)
        return lambda x: x.select(dim, place)
    index = (*[slice(None)] * dim, slice(draw.randint(0, 1), None, draw.choice([1, 1, 2])))
    return lambda x: x[index]


def _random_shape(draw, count):
    """Sizes whose product this is."""
    sizes = []
    while count > 1 and draw.random() < 0.7:
        n = draw.choice([d for d in range(1, count + 1) if count % d == 0])
        sizes.append(n)
        count //= n
    sizes.append(count)
    draw.shuffle(sizes)
    return sizes
