"""Random programs with writes: in-place methods, x[i] = v, views of views, `.data`, `detach`, `no_grad` and backward, in minigrad and
in PyTorch.

PyTorch writes into arrays, and so has to refuse a backward through what was saved and then written (its version counter), or,
where `.data` hides the write, gives a wrong gradient. minigrad keeps what was saved. Such programs are compared with the same program
in PyTorch where each saved value is cloned (`saved_tensors_hooks`), and are counted apart.
"""

import collections
import contextlib
import random

import numpy as np
import pytest

import minigrad as mg

torch = pytest.importorskip("torch")

CHANGED = "was changed after the forward pass"  # a leaf that requires a gradient: the one thing that minigrad refuses by itself
OVERLAP = "some elements of the input tensor and the written-to tensor"  # x.t().add_(x), which minigrad computes from the old values


class Library:
    """PyTorch or minigrad, as a program sees it."""

    def __init__(self, module, new, device=None):
        self.module, self.new, self.device = module, new, device
        self.tensors: list = []

    def numpy(self, t):
        return t.detach().numpy()


def kept(t):
    """PyTorch's results inherit strides from their inputs, minigrad's lie in order."""
    return t.contiguous() if isinstance(t, torch.Tensor) else t


# --- what programs are made of: functions of (library, tensors…) ---------------------------------------------------------
COMPUTE = {
    "add": lambda m, a, b: a + b, "mul": lambda m, a, b: a * b * 0.5, "sub": lambda m, a, b: a - b, "tanh": lambda m, a: m.tanh(a),
    "sigmoid": lambda m, a: m.sigmoid(a), "scale": lambda m, a: a * 0.7, "square": lambda m, a: a * a * 0.3, "sin": lambda m, a: m.sin(a),
    "clone": lambda m, a: a.clone(), "div": lambda m, a, b: a / (b * b + 1.0),
}  # fmt: skip
WRITE = {
    "add_": lambda m, a, b: a.add_(b), "add_alpha": lambda m, a, b: a.add_(b, alpha=0.5), "sub_": lambda m, a, b: a.sub_(b),
    "mul_": lambda m, a, b: a.mul_(b), "iadd": lambda m, a, b: m.iadd(a, b), "imul": lambda m, a, b: m.imul(a, b),
    "copy_": lambda m, a, b: a.copy_(b), "div_": lambda m, a, b: a.div_(b * b + 1.0), "lerp_": lambda m, a, b: a.lerp_(b, 0.25),
    "addcmul_": lambda m, a, b: a.addcmul_(b, b, value=0.1),
    "neg_": lambda m, a: a.neg_(), "zero_": lambda m, a: a.zero_(), "fill_": lambda m, a: a.fill_(0.5), "tanh_": lambda m, a: a.tanh_(),
    "sigmoid_": lambda m, a: a.sigmoid_(), "exp_": lambda m, a: a.clamp_(-2, 1).exp_(), "relu_": lambda m, a: a.relu_(),
    "sin_": lambda m, a: a.sin_(), "clamp_": lambda m, a: a.clamp_(-0.8, 0.9), "pow_": lambda m, a: a.pow_(2),
    "mul_2": lambda m, a: a.mul_(0.9), "sqrt_": lambda m, a: a.pow_(2).add_(0.5).sqrt_(),
    "masked_fill_": lambda m, a, mask: a.masked_fill_(mask, 0.25), "fill_tensor": lambda m, a, scalar: a.fill_(scalar),
}  # fmt: skip


class Program:
    """A program that grows line by line: each line runs in all libraries, and they must agree about it."""

    def __init__(self, seed, device="cpu", dtype="float64"):
        self.rng = random.Random(seed)
        self.values = np.random.default_rng(seed)
        self.shared: set[int] = set()
        self.lines: list = []  # (function, whether its result is kept) of each
        self.leaves: list = []  # their values
        self.text, self.notes, self.plain, self.twice = [], collections.Counter(), True, False
        self.tolerance = 1e-9 if dtype == "float64" else 2e-4
        kind = getattr(torch, dtype)

        def in_torch(a, g):
            return torch.tensor(a, dtype=torch.bool if a.dtype == bool else kind, requires_grad=g)

        def in_minigrad(a, g):
            return mg.tensor(a, dtype="bool" if a.dtype == bool else dtype, device=device, requires_grad=g)

        self.libraries = [Library(torch, in_torch), Library(torch, in_torch), Library(mg, in_minigrad, device)]
        self.manners: list[str] = []

    # --- running --------------------------------------------------------------------------------------------------------
    def line(self, text, function, *, into=True):
        """Runs function(library) everywhere; keeps its result, unless all refuse it. False where the program ends."""
        self.text.append(text)
        self.lines.append((function, into))
        results, errors = [None] * 3, [None] * 3
        for i, library in enumerate(self.libraries):
            hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t)
            try:
                with hooks if i == 1 else contextlib.nullcontext():
                    results[i] = function(library) if i or self.plain else None
            except (RuntimeError, ValueError, TypeError, IndexError) as error:
                errors[i] = error
        plain, cloned, ours = errors
        if ours is not None and CHANGED in str(ours):
            self.notes["changed leaf"] += 1
            return False
        if cloned is not None and ours is None and OVERLAP in str(cloned):
            self.notes["reads what it writes"] += 1
            return False
        fault = "report a bug" in str(cloned) or "more than one element" in str(cloned) and text.startswith("backward")
        if cloned is not None and ours is None and fault:  # in backward PyTorch fails on views that were expanded
            self.notes["PyTorch's fault"] += 1
            return False
        assert (cloned is None) == (ours is None), f"PyTorch: {cloned!r}\nminigrad: {ours!r}"
        if ours is not None:
            self.notes["refused"] += 1
            return True
        if plain is not None:
            assert "modified by an inplace operation" in str(plain), plain
            self.notes["version counter"] += 1
            self.plain = False  # it can't go on
        if into:
            for library, result in zip(self.libraries, results, strict=True):
                library.tensors.append(result)
        if self.stale():
            self.notes["stale view"] += 1
            return False
        self.compare()
        return all(np.abs(np.nan_to_num(self.numpy(t))).max(initial=0) < 1e3 for t in self.libraries[2].tensors)

    def stale(self):
        """Whether PyTorch has given up a view, one of several or made under no_grad, because its base was written. It finds that out,
        and renews the history of others, when somebody asks."""
        try:
            for library in self.libraries[not self.plain : 2]:
                for t in library.tensors:
                    t.grad_fn  # noqa: B018
        except RuntimeError as error:
            assert "has been modified inplace" in str(error), error
            return True
        return False

    def numpy(self, t):
        return np.asarray(t.detach().numpy(), np.float64)

    def compare(self):
        _, theirs, ours = self.libraries
        for i, (a, b) in enumerate(zip(theirs.tensors, ours.tensors, strict=True)):
            x, y = self.numpy(a), self.numpy(b)
            assert x.shape == y.shape and np.allclose(x, y, self.tolerance, self.tolerance), f"t{i}: {x}\n{y}"
            assert a.requires_grad == b.requires_grad, f"t{i} requires_grad: {a.requires_grad}, {b.requires_grad}"
            assert a.is_leaf == b.is_leaf, f"t{i} is_leaf: {a.is_leaf}, {b.is_leaf}"

    def has(self, *words):
        return any(word in line for line in self.text for word in words)

    def compare_grads(self):
        _, theirs, ours = self.libraries
        for i, (a, b) in enumerate(zip(theirs.tensors, ours.tensors, strict=True)):
            # Of a view's second derivative PyTorch counts a part elsewhere; after a write that isn't recorded it makes a view's node
            # anew, and loses track.
            silent = a._is_view() and self.has("no_grad", "data", "step")
            turned = self.has(
                "t_(", "squeeze_", "transpose_"
            )  # then it keeps the gradient of a tensor of another shape
            if a.is_leaf or a.retains_grad and not (self.twice or silent or turned):
                if self.twice and (a.grad is None) != (b.grad is None):
                    assert not self.numpy(a.grad if b.grad is None else b.grad).any()
                    continue  # the derivative of zeros, which is recorded or not
                assert (a.grad is None) == (b.grad is None), f"t{i}.grad: {a.grad}, {b.grad}"
                if a.grad is not None:
                    x, y = self.numpy(a.grad), self.numpy(b.grad)
                    assert np.allclose(x, y, self.tolerance, self.tolerance), f"t{i}.grad: {x}\n{y}"

    # --- lines -----------------------------------------------------------------------------------------------------------
    def pick(self, condition=lambda t: True):
        theirs = self.libraries[1].tensors
        found = [i for i, t in enumerate(theirs) if condition(t)]
        return self.rng.choice(found[-8:]) if found else None

    def partner(self, i, apart=True):
        """A tensor that broadcasts to the shape of tensor i, or nearly; `apart`: none that shares its memory."""
        whole = self.libraries[1].tensors[i]
        shape = whole.shape

        def fits(t):
            if apart and t is not whole and not self.apart(t, whole):
                return False  # PyTorch reads what it has written already
            return len(t.shape) <= len(shape) and all(
                m in (1, n) for m, n in zip(t.shape[::-1], shape[::-1], strict=False)
            )

        found = self.pick(fits) if self.rng.random() < 0.97 or apart else self.pick()
        return i if found is None else found

    def apart(self, a, b):
        return a.untyped_storage().data_ptr() != b.untyped_storage().data_ptr()

    def overlaps(self, i):
        t = self.libraries[1].tensors[i]
        return any(s == 0 and m > 1 for s, m in zip(t.stride(), t.shape, strict=True))

    def leaf(self):
        shape = self.rng.choice([(2, 3), (2, 3), (3, 2), (6,), (3,), (2, 1, 3), (4,), (2, 2), (), (1,), (3, 1)])
        values, wants = self.values.uniform(-1, 1, shape), self.rng.random() < 0.55
        self.leaves.append(values)
        return self.line(f"leaf {shape} {wants}", lambda lib: lib.new(values, wants))

    def compute(self):
        name = self.rng.choice(list(COMPUTE))
        i = self.pick()
        two = COMPUTE[name].__code__.co_argcount == 3
        j = self.partner(i, apart=False) if two else None

        def run(lib):
            args = [lib.tensors[i]] + ([lib.tensors[j]] if two else [])
            return kept(COMPUTE[name](lib.module, *args))

        return self.line(f"t = {name}(t{i}{f', t{j}' if two else ''})", run)

    def view_function(self, i):
        t, rng = self.libraries[1].tensors[i], self.rng
        shape = tuple(t.shape)
        kinds = ["reshape", "flatten", "unsqueeze", "squeeze", "detach", "data", "T", "ellipsis", "expand"]
        if shape:
            kinds += ["int", "slice", "slice", "step", "narrow", "select", "new", "split", "chunk", "unbind"]
        if len(shape) >= 2:
            kinds += ["transpose", "transpose", "permute", "diagonal", "column", "t", "swap"]
        kind = rng.choice(kinds)
        d = rng.randrange(len(shape)) if shape else 0
        n = shape[d] if shape else 1
        k = rng.randrange(n) if n else 0
        whole = (slice(None),) * d
        if kind == "reshape":
            size = t.numel()
            options = [(size,), (-1,), (1, size), (size, 1), *[(a, size // a) for a in (2, 3) if size % a == 0]]
            new = rng.choice(options)
            return f"reshape{new}", lambda m, t: t.reshape(*new)
        if kind == "step":
            start, step = rng.choice([(0, 2), (1, 2)])
            return f"[{start}::{step}] dim {d}", lambda m, t: t[(*whole, slice(start, None, step))]
        simple = {
            "flatten": ("flatten", lambda m, t: t.flatten()), "unsqueeze": (f"unsqueeze({d})", lambda m, t: t.unsqueeze(d)),
            "squeeze": ("squeeze", lambda m, t: t.squeeze()), "detach": ("detach", lambda m, t: t.detach()),
            "data": ("data", lambda m, t: t.data),
            "T": ("permute reversed", lambda m, t: t.permute(*reversed(range(len(shape)))) if shape else t[...]),
            "ellipsis": ("[...]", lambda m, t: t[...]), "expand": ("expand", lambda m, t: t.expand(2, *shape)),
            "int": (f"[{k}] dim {d}", lambda m, t: t[(*whole, k)]), "slice": (f"[{k}:] dim {d}", lambda m, t: t[(*whole, slice(k, None))]),
            "narrow": (f"narrow({d}, {k}, {n - k})", lambda m, t: t.narrow(d, k, n - k)),
            "select": (f"select({d}, {k})", lambda m, t: t.select(d, k)),
            "new": ("[None]", lambda m, t: t[None]), "split": ("split(1)[-1]", lambda m, t: t.split(1, d)[-1]),
            "chunk": ("chunk(2)[0]", lambda m, t: t.chunk(2, d)[0]), "unbind": (f"unbind({d})[{k}]", lambda m, t: t.unbind(d)[k]),
            "transpose": ("transpose(0, 1)", lambda m, t: t.transpose(0, 1)),
            "permute": ("permute", lambda m, t: t.permute(*range(1, len(shape)), 0)),
            "diagonal": ("diagonal", lambda m, t: t.diagonal()), "column": ("[:, 0]", lambda m, t: t[:, 0]),
            "t": ("mT", lambda m, t: t.mT), "swap": ("swapaxes", lambda m, t: t.swapaxes(0, -1)),
        }  # fmt: skip
        return simple[kind]

    def view(self):
        i = self.pick()
        text, function = self.view_function(i)
        self.shared.add(i)
        if self.rng.random() < 0.08:  # such a view is written at once: PyTorch lets it require a gradient of its own
            j = self.partner(i) if self.rng.random() < 0.5 else None
            quiet = self.rng.random() < 0.5

            def run(lib):
                v = no_grad(lib, lambda: function(lib.module, lib.tensors[i]))
                other = 0.5 if j is None else lib.tensors[j]
                if quiet:
                    no_grad(lib, lambda: v.add_(other))
                else:
                    v.add_(other)

            where = "no_grad: " if quiet else ""
            return self.line(
                f"with no_grad: v = t{i}.{text}; {where}v.add_({'0.5' if j is None else f't{j}'})", run, into=False
            )
        return self.line(f"t = t{i}.{text}", lambda lib: function(lib.module, lib.tensors[i]))

    def write(self):
        name = self.rng.choice(list(WRITE))
        i = self.pick(lambda t: not (t.is_leaf and t.requires_grad) or self.rng.random() < 0.1)
        if i is None or self.overlaps(i) and name in ("zero_", "fill_", "fill_tensor", "masked_fill_"):
            return True  # PyTorch's answers differ, see test_expanded
        function, j = WRITE[name], None
        if name == "masked_fill_":
            mask = self.values.random(tuple(self.libraries[1].tensors[i].shape)) < 0.5
        elif name == "fill_tensor":
            j = self.pick(lambda t: t.dim() == 0)
            if j is None:
                return True
        elif function.__code__.co_argcount == 3:
            j = self.partner(i)

        def run(lib):
            t = lib.tensors[i]
            if name == "masked_fill_":
                result = function(lib.module, t, lib.new(np.array(mask), False))
            elif name in ("iadd", "imul"):
                result = t
                if name == "iadd":
                    result += lib.tensors[j]
                else:
                    result *= lib.tensors[j]
            else:
                result = function(lib.module, t, *([] if j is None else [lib.tensors[j]]))
            assert result is t

        quiet = self.rng.random() < 0.2
        text = f"{'with no_grad: ' if quiet else ''}t{i}.{name}({'' if j is None else f't{j}'})"
        return self.line(text, (lambda lib: no_grad(lib, lambda: run(lib))) if quiet else run, into=False)

    def setitem(self):
        i = self.pick(lambda t: t.dim() and t.numel() and not (t.is_leaf and t.requires_grad))
        if i is None or self.overlaps(i):
            return True
        t, rng = self.libraries[1].tensors[i], self.rng
        n = t.shape[0]
        parts = [
            0,
            -1,
            slice(None),
            slice(1, None),
            slice(0, None, 2),
            Ellipsis,
            [0],
            [n - 1, 0],
            None,
            "mask",
            (0,) * t.dim(),
        ]
        index = rng.choice([*parts, (slice(None), 0) if t.dim() > 1 else 0])
        mask = self.values.random(tuple(t.shape)) < 0.5
        j = self.pick() if rng.random() < 0.6 else None
        if j is not None and index not in ("mask",):
            shape = torch.empty(t.shape)[index].shape
            j = self.pick(lambda u: tuple(u.shape) in (tuple(shape), ()) and self.apart(u, t))
        if index == "mask":
            j = self.pick(lambda u: u.dim() == 0 and self.apart(u, t))

        def run(lib):
            at = lib.new(mask, False) if index == "mask" else index
            lib.tensors[i][at] = 0.3 if j is None else lib.tensors[j]

        return self.line(f"t{i}[{index}] = {'0.3' if j is None else f't{j}'}", run, into=False)

    def shape_write(self):
        i = self.pick(lambda t: not (t.is_leaf and t.requires_grad))
        if i is None:
            return True
        dim = self.libraries[1].tensors[i].dim()
        names = ["unsqueeze_", "squeeze_"] + (["t_"] if dim == 2 else []) + (["transpose_"] if dim >= 2 else [])
        name = self.rng.choice(names)
        args = {"unsqueeze_": (0,), "transpose_": (0, 1)}.get(name, ())
        return self.line(f"t{i}.{name}{args}", lambda lib: getattr(lib.tensors[i], name)(*args), into=False)

    def assign_data(self):
        i = self.pick(lambda t: not t._is_view())
        t = self.libraries[1].tensors[i]
        if i in self.shared and not (t.is_leaf and t.requires_grad):
            return True  # PyTorch's views go on to write the gradient's history of a tensor that has other memory
        shape = tuple(t.shape)
        self.shared.add(i)
        j = self.pick(lambda t: tuple(t.shape) == shape)

        def run(lib):
            lib.tensors[i].data = lib.tensors[j] * 0.5 if half else lib.tensors[j]

        half = " * 0.5" if self.rng.random() < 0.5 else ""
        return self.line(f"t{i}.data = t{j}{half}", run, into=False)

    def step(self):
        """What a hand-written optimiser does."""
        i = self.pick(lambda t: t.is_leaf and t.grad is not None)
        if i is None:
            return True

        def run(lib):
            p = lib.tensors[i]
            if kind == 0:
                with lib.module.no_grad():
                    p -= p.grad * 0.1
            elif kind == 1:
                p.data.add_(p.grad.data, alpha=-0.1)
            elif kind == 2:
                p.grad.zero_()
            elif kind == 3:
                p.grad.data.clamp_(-0.1, 0.1)
            elif kind == 4:
                p.data -= 0.1 * p.grad
            else:
                p.grad = None

        kind = self.rng.randrange(6)
        return self.line(f"step {kind} of t{i}", run, into=False)

    def retain(self):
        i = self.pick(lambda t: t.requires_grad and not t.is_leaf)
        if i is None:
            return True
        return self.line(f"t{i}.retain_grad()", lambda lib: lib.tensors[i].retain_grad(), into=False)

    def backward(self):
        i = self.pick(lambda t: t.requires_grad and not t.is_leaf)
        if i is None:
            return True
        second = self.rng.random() < 0.3
        self.twice = self.twice or second

        def run(lib):
            m, t = lib.module, lib.tensors[i]
            loss = (m.sin(t) if second else t * 1.5).sum()
            if not second:
                return loss.backward(retain_graph=True)
            leaves = [x for x in lib.tensors if x.is_leaf and x.requires_grad]
            grads = m.autograd.grad(loss, leaves, create_graph=True, allow_unused=True) if leaves else ()
            grads = [g for g in grads if g is not None and g.requires_grad]
            if grads:
                sum((g * g).sum() for g in grads).backward(retain_graph=True)

        going = self.line(f"backward{' twice' if second else ''} from t{i}", run, into=False)
        if going:
            self.compare_grads()
        return going

    def run(self, length):
        for _ in range(3):
            self.leaf()
        kinds = {"leaf": 1, "compute": 4, "view": 6, "write": 6, "setitem": 3, "backward": 2, "step": 1}
        kinds |= {"shape_write": 0.5, "assign_data": 0.4, "retain": 0.5}
        for _ in range(length):
            if not getattr(self, self.rng.choices(list(kinds), list(kinds.values()))[0])():
                return
        self.backward()


def no_grad(lib, function):
    with lib.module.no_grad():
        return function()


SETTINGS = {"cpu": "float64", "mlx": "float32"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("device", SETTINGS)
def test_programs(device, samples, seed, record_property):
    if device == "mlx":
        pytest.importorskip("mlx.core", exc_type=ImportError)
    notes = collections.Counter()
    for number in range(samples(300 if device == "cpu" else 60)):
        program = Program(seed * 1_000_000 + number, device, SETTINGS[device])
        try:
            program.run(14)
        except AssertionError as error:
            pytest.fail(f"program {number} of seed {seed}: {error}\n\n" + "\n".join(program.text), pytrace=False)
        notes += program.notes
    print(f"\n{device}: {dict(notes)}")


# --- as a compiled step -------------------------------------------------------------------------------------------------
class Step(Library):
    """minigrad inside a step: leaves are made of its arguments."""

    def __init__(self, arguments):
        super().__init__(mg, self.tensor, "mlx")
        self.arguments = iter(arguments)

    def tensor(self, a, g):
        return mg.tensor(a, device="mlx") if a.dtype == bool else next(self.arguments).clone().requires_grad_(g)

    def run(self, lines):
        """What the lines make: tensors, their gradients, and what a trace shows of them."""
        refused = []
        for function, into in lines:
            try:
                result = function(self)
            except mg.CompileError:
                raise
            except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
                refused.append(str(error))
            else:
                self.tensors += [result] if into else []
        shown = [(t.requires_grad, t.is_leaf, t.retains_grad) for t in self.tensors], refused
        return [t.detach() for t in self.tensors], [t.grad for t in self.tensors], shown


@pytest.mark.filterwarnings("ignore")
def test_programs_in_a_compiled_step(samples, seed, compiles):
    """The lines of a program as one step, whose arguments are the leaves' values: compiled it gives what it gives uncompiled."""
    for number in range(samples(12)):
        program = Program(seed * 1_000_000 + 500_000 + number, "mlx", "float32")
        with contextlib.suppress(AssertionError):  # PyTorch's answers are test_programs' affair
            program.run(14)
        leaves, shown = [mg.tensor(a, dtype="float32", device="mlx") for a in program.leaves], []

        def step(*arguments, lines=program.lines, shown=shown):
            *results, seen = Step(arguments).run(lines)
            shown.append(seen)
            return results

        run, expected = mg.compile(step), step(*leaves)
        found = run(*leaves)
        text = f"program {number} of seed {seed}\n" + "\n".join(program.text)
        assert run.info().uncompiled == 0 and shown[0] == shown[1], text
        for ours, theirs in zip(found, expected, strict=True):
            for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
                assert (a is None) == (b is None), f"t{i} of {text}"
                if a is not None:
                    np.testing.assert_allclose(a.numpy(), b.numpy(), 2e-4, 2e-4, err_msg=f"t{i} of {text}")
        assert all((a.numpy() == b.astype(np.float32)).all() for a, b in zip(leaves, program.leaves, strict=True)), text


class Values(Step):
    """minigrad without gradients."""

    def tensor(self, a, g):
        return mg.tensor(a, dtype="bool" if a.dtype == bool else "float32", device="mlx")


@pytest.mark.filterwarnings("ignore")
def test_programs_on_the_state_of_a_compiled_step(samples, seed, compiles):
    """The first lines of a program make the state, tensors and views of them; the others are the step, called twice. All tensors see what
    they see uncompiled, and share what they shared, or the step is refused and nothing is changed."""
    refused = 0
    for number in range(samples(12)):
        program = Program(seed * 1_000_000 + 600_000 + number, "mlx", "float32")
        with contextlib.suppress(AssertionError):
            program.run(14)
        half, played = len(program.lines) // 2, []
        text = f"program {number} of seed {seed}, {half} lines outside\n" + "\n".join(program.text)
        for compiled in (True, False):
            library = Values([])
            library.run(program.lines[:half])
            state = list(library.tensors)

            def step(library=library, state=state, lines=program.lines[half:]):
                library.tensors = list(state)
                return library.run(lines)[0][len(state) :]

            before, seen = [t.tolist() for t in state], []
            run = mg.compile(step, state=state) if compiled else step
            try:
                for _ in range(2):
                    seen += [t.clone() for t in run()]
                    with mg.no_grad():
                        state[0] += 1
                    seen += [t.clone() for t in state]
            except mg.CompileError as error:
                assert "share memory with another" in str(error) or "another shape in place" in str(error), text
                assert [t.tolist() for t in state] == before, text
                refused += 1
                break
            assert not compiled or run.info().uncompiled == 0, text
            played.append(seen)
        for i, (a, b) in enumerate(zip(*played, strict=True) if len(played) == 2 else ()):
            np.testing.assert_allclose(a.numpy(), b.numpy(), 2e-4, 2e-4, err_msg=f"{i} of {text}")
    print(f"\n{refused} of {number + 1} refused")
