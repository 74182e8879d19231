"""Writes the random programs of `programs.py`: keeps account of shapes, histories and what has been freed, so that a program
is one that both libraries accept, or one whose last line both must refuse."""

from dataclasses import dataclass, field

import numpy as np
from programs import (
    BENT,
    GRAPHS,
    IMAGES,
    KINDS,
    LAYOUTS,
    LOOKING,
    MIXED,
    PLAIN,
    SHAPES,
    SHARED,
    SMOOTH,
    WRONG,
    Line,
    parameters,
)  # fmt: skip

# What a program may do, and how often; any of these names can be left out (`without`).
STATEMENTS = {
    "step": 28, "shared": 12, "layout": 5, "image": 3, "module": 4, "two": 2, "detach": 2, "block": 3, "generator": 1.5,
    "checkpoint": 6, "hook": 7, "unhook": 1, "retain": 5, "toggle": 1, "backward": 6, "grad": 2, "double": 9, "from .grad": 1,
    "update": 1.5, "optimizer": 1.5, "parameter": 1.5, "tied": 1, "low": 3,
}  # fmt: skip
FEATURES = [
    *STATEMENTS, "again", "retain twice", "retain before hook", "wrong hook", "wrong", "closure", "nested", "checkpoint double",
    "checkpoint grad", "checkpoint hook", "double shared", "bent hook", "constant checkpoint",
    "hook aside", "same input",
]  # fmt: skip

FIRST_ONLY = {
    *(f"graph {n}" for n in ("index_select", "embedding", "masked", "cross_entropy", "nll")),
    "own classes weighted",
}


@dataclass
class Var:
    """What the author knows of a name."""

    name: str
    kind: str
    needs: bool = False
    deps: frozenset = frozenset()  # leaves and modules that it was computed from
    node: int | None = None
    leaf: bool = False
    low: bool = False
    noisy: bool = False
    second: int = 0  # gradients in its history: of gradients of …
    several: bool = False  # one output of several
    busy: bool = False  # an operation on shared inputs, or a checkpoint, uses it
    fused: bool = False  # an operation on shared inputs made it, or what it was computed from
    norm: bool = False  # has a normalisation in its history
    part: bool = False  # has a checkpoint in its history
    hooks: list = field(default_factory=list)
    retained: int = 0
    grad: str = ""  # of a leaf: "", "plain" or "tape"
    training: bool = False


class Author:
    def __init__(self, seed, number: int, setting, without=()):
        unknown = set(without) - set(FEATURES)
        assert not unknown, f"no such features: {unknown}; there are {FEATURES}"
        self.rng = np.random.default_rng([number, *np.atleast_1d(seed)])
        self.setting, self.without = setting, set(without)
        self.lines: list = []  # where lines go now
        self.leaves: list = []  # made before all others
        self.vars: dict[str, Var] = {}
        self.nodes: list = []  # (whether it saves: "none", "saves", "unknown"; parents)
        self.freed: set = set()
        self.maybe: set = set()  # nodes of which nobody says whether they are freed
        self.handles: dict = {}
        self.count, self.on, self.over = 0, True, False
        self.depth = 0  # of checkpoints
        self.closed = False  # in a checkpoint that may use its inputs only
        self.low = bool(setting.low) and self.chance(0.25) and "low" not in self.without
        self.double = "double" not in self.without and self.chance(0.5)
        self.optimizers: dict = {}

    # --- chance ---------------------------------------------------------------------------------------------------------
    def chance(self, p):
        return self.rng.random() < p

    def one(self, options):
        options = list(options)
        return options[int(self.rng.integers(len(options)))]

    def name(self, prefix):
        self.count += 1
        return f"{prefix}{self.count}"

    def may(self, feature):
        return feature not in self.without

    # --- writing ----------------------------------------------------------------------------------------------------------
    def program(self):
        for _ in range(2):
            self.leaf("x", needs=True if not self.vars else self.chance(0.7))
        weights = {n: w for n, w in STATEMENTS.items() if self.may(n)}
        if not self.double:
            weights.pop("double", None), weights.pop("from .grad", None)
        if not self.low:
            weights.pop("low", None)
        names, p = list(weights), np.array(list(weights.values())) / sum(weights.values())
        for _ in range(int(self.rng.integers(6, 26))):
            getattr(self, "write_" + str(self.rng.choice(names, p=p)).replace(" ", "_").replace(".", ""))()
        if self.may("wrong") and self.chance(0.25):
            self.wrong()
        if not self.over:
            self.write_backward()
        return [*self.leaves, *self.lines]

    def leaf(self, kind, needs=None):
        name = self.name(kind)
        needs = self.chance(0.8) if needs is None else needs
        options = {"shape": SHAPES[kind], "seed": int(self.rng.integers(10_000)), "requires_grad": needs}
        self.leaves.append(Line("leaf", (name,), (), options))
        self.vars[name] = Var(name, kind, needs, frozenset([name]), leaf=True)
        return self.vars[name]

    def some(self, test):
        """A variable that passes the test, rather a late one."""
        found = [v for v in self.vars.values() if test(v)]
        if not found:
            return None
        weights = 0.8 ** np.arange(len(found))[::-1] + 0.05
        return found[int(self.rng.choice(len(found), p=weights / weights.sum()))]

    def pick(self, kind, like=None):
        if kind == "block":
            raise KeyError
        if like is None and self.chance(0.08) and kind != "x":
            return self.leaf(kind)
        low = like.low if like is not None else None
        found = self.some(lambda v: v.kind == kind and (v.low == low if low is not None else True))
        return found or (like if like is not None and like.kind == kind else self.leaf(kind))

    def node(self, operands, cls):
        parents = [v.node for v in operands if v.node is not None]
        self.nodes.append((cls, parents))
        return len(self.nodes) - 1

    def result(self, name, kind, operands, cls="unknown", **more):
        """Accounts for a new variable, computed from operands."""
        needs = self.on and any(v.needs for v in operands)
        facts = {
            "needs": needs, "deps": frozenset().union(*(v.deps for v in operands)),
            "node": self.node([v for v in operands if v.needs], cls) if needs else None,
            "low": any(v.low for v in operands), "noisy": any(v.noisy for v in operands),
            "fused": any(v.fused for v in operands),
            "second": max([v.second for v in operands], default=0), "norm": any(v.norm for v in operands),
            "part": any(v.part for v in operands),
        }  # fmt: skip
        self.vars[name] = v = Var(name, kind, **(facts | more))
        return v

    def call(self, action, operands=(), names=1, kind="x", cls="unknown", prefix="v", scaled=False, **options):
        new = tuple(self.name(prefix) for _ in range(names))
        self.lines.append(Line(action, new, tuple(v.name for v in operands), options, scaled=scaled))
        counted = operands[:1] if action in FIRST_ONLY else operands
        made = [self.result(n, kind, counted, "saves" if scaled else cls) for n in new]
        for v in made:
            v.deps, v.node = frozenset().union(*(o.deps for o in operands)), made[0].node
            v.several = names > 1
            v.norm = v.norm or "norm" in action.lower() or "groups" in action
        return made

    def step_of(self, table, kind="x", scaled=None, cls="unknown", shared=False):
        actions = list(table)
        first = self.some(lambda v: v.kind == "x") if any("x" in parameters(a)[:1] for a in actions[:3]) else None
        if first is not None and first.noisy:
            actions = [a for a in actions if a in SMOOTH and (not first.low or set(parameters(a)) <= {"x", "y"})]
        if self.closed:
            actions = [a for a in actions if set(parameters(a)) <= {"x", "y"}]
        if not actions:
            return None
        action = self.one(actions)
        wanted = parameters(action)
        operands = []
        for p in wanted:
            if p == "x" and first is not None:
                operands.append(first)
            else:
                operands.append(self.pick(KINDS[p], first if KINDS[p] == "x" else None))
        if any(v.noisy for v in operands) and action not in SMOOTH:
            return None
        if shared and not self.may("double shared") and self.double:
            return None
        scaled = True if not self.on else self.chance(0.6) if scaled is None else scaled
        (v,) = self.call(action, operands, kind=kind, cls=cls, scaled=scaled)
        v.fused = v.fused or shared
        for o in operands:
            o.busy = o.busy or shared or self.depth > 0
        return v

    def write_step(self):
        if self.chance(0.3):
            return self.step_of(PLAIN, scaled=False, cls="none")
        return self.step_of(GRAPHS, scaled=True)

    def write_shared(self):
        table = {n: f for n, f in SHARED.items() if "attention" in n or "norm" in n} if self.chance(0.5) else SHARED
        return self.step_of(table, shared=True)

    def write_layout(self):
        return self.step_of(LAYOUTS)

    def write_image(self):
        v = self.step_of(IMAGES, kind="i", scaled=True)
        return v and self.step_of({n: f for n, f in LAYOUTS.items() if parameters(n) == ["i"]})

    def write_two(self):
        x = self.pick("x")
        y = self.pick("x", x)
        self.call(self.one(["two", "halves"]), [x, y], names=2, cls="none")

    def write_tied(self):
        x, w = self.pick("x"), self.pick("w")
        if not x.noisy:
            (h,) = self.call("linear twice", [x, w, self.pick("b")], scaled=True)
            self.call("linear and back", [h, w, self.pick("b")], scaled=True)

    def write_detach(self):
        v = self.some(lambda v: v.kind in SHAPES)
        (d,) = self.call("detach", [v], kind=v.kind)
        d.needs, d.node = False, None

    def write_low(self):
        x = self.some(lambda v: v.kind == "x")
        if x.low and self.chance(0.5):
            y = self.some(lambda v: v.kind == "x" and not v.low)
            (v,) = self.call(self.one(MIXED), [x, y], scaled=True)
            v.low = False
        elif x.low:
            (v,) = self.call("up", [x])
            v.low = False
        elif not x.second:
            (v,) = self.call("low", [x])
            v.low = v.noisy = True

    def write_module(self):
        block = self.some(lambda v: v.kind in ("m", "ma", "mi"))
        if block is None or self.chance(0.3):
            kind = self.one(
                [
                    "Linear",
                    "feed-forward",
                    "norm first",
                    "BatchNorm",
                    "BatchNorm, evaluation",
                    "attention",
                    "image network",
                ]
            )
            name = self.name("n")
            self.leaves.append(Line(kind, (name,), (), {"seed": int(self.rng.integers(10_000))}))
            what = {"attention": "ma", "image network": "mi"}.get(kind, "m")
            self.vars[name] = Var(name, what, True, frozenset([name]), leaf=True, training=kind == "BatchNorm",
                                  norm="norm" in kind.lower())  # fmt: skip
            block = self.vars[name]
        if block.training and self.depth:
            return
        if block.kind == "mi":
            self.call("call with an image", [block, self.pick("i")], kind="i", scaled=True)
            self.step_of({n: f for n, f in LAYOUTS.items() if parameters(n) == ["i"]})
            return
        x = self.some(lambda v: v.kind == "x" and not v.noisy)
        if block.kind == "ma":
            y = self.some(lambda v: v.kind == "x" and not v.noisy)
            (v,) = self.call("attend", [block, x, self.one([x, y])], scaled=True)
        else:
            self.call(self.one(["call", "residual"]), [block, x], scaled=True)

    def write_parameter(self):
        block = self.some(lambda v: v.kind in ("m", "ma", "mi"))
        if block is not None and self.depth == 0:
            name, index = self.name("p"), int(self.rng.integers(2))
            if any(line.action == "norm first" and line.names == (block.name,) for line in self.leaves):
                index = self.one([0, 1, 2])
            self.leaves.append(Line("parameter", (name,), (block.name,), {"index": index}))
            self.vars[name] = Var(name, "p", True, frozenset([block.name]), leaf=True)

    # --- modes and checkpoints ----------------------------------------------------------------------------------------------
    def body(self, length, checkpoint=False):
        """Lines of a block and the variables that they make."""
        outside, known = self.lines, set(self.vars)
        self.lines = []
        self.depth += checkpoint
        for _ in range(length):
            kinds = ["step"] * 5 + ["shared"] * 2 + ["layout", "detach", "module", "tied"]
            kinds = ["step"] if self.closed else kinds
            kinds = [k for k in kinds if self.may(k)] + (["block"] if checkpoint and self.may("block") else [])
            if checkpoint and self.may("nested") and self.depth < 3:
                kinds += ["checkpoint"]
            getattr(self, "write_" + self.one(kinds))()
        self.depth -= checkpoint
        lines, self.lines = self.lines, outside
        leaves = {n for line in self.leaves for n in line.names}
        return tuple(lines), [v for n, v in self.vars.items() if n not in known and n not in leaves]

    def write_block(self):
        mode = self.one(["no_grad", "no_grad", "enable_grad"])
        before, self.on = self.on, mode == "enable_grad"
        lines, made = self.body(int(self.rng.integers(1, 4)))
        if lines and self.chance(0.3):
            self.lines.append(Line("with", (), (), {"mode": mode}, lines))
            inner = self.one(["no_grad", "enable_grad"])
            self.on = inner == "enable_grad"
            more, _ = self.body(1)
            if more:
                last = self.lines.pop()
                self.lines.append(last._replace(body=(*lines, Line("with", (), (), {"mode": inner}, more))))
        elif lines:
            self.lines.append(Line(self.one(["with", "decorated"]), (), (), {"mode": mode}, lines))
        self.on = before

    def write_generator(self):
        mode = self.one(["no_grad", "no_grad", "enable_grad"])
        before, self.on = self.on, mode == "enable_grad"
        lines, _ = self.body(2)
        if lines:
            self.lines.append(Line("generator", (), (), {"mode": mode}, lines))
        self.on = before

    def write_checkpoint(self):
        if not self.may("checkpoint double") and self.double:
            return
        x = self.some(lambda v: v.kind == "x" and not v.noisy)
        operands = [x]
        if self.chance(0.4):
            operands.append(self.some(lambda v: v.kind in "xw" and not v.noisy))
            operands = list({v.name: v for v in operands}.values())
        before, rest = set(self.vars), dict(self.vars)
        if not self.may("closure"):
            self.vars = {v.name: v for v in operands}
        self.closed = not self.may("closure")
        lines, made = self.body(int(self.rng.integers(1, 5)), checkpoint=True)
        self.closed = False
        leaves = {n: v for n, v in self.vars.items() if v.leaf and n not in before}
        self.vars = rest | leaves
        made = [v for v in made if v.kind == "x"]
        if not made:
            return
        returned = [made[-1]] if self.chance(0.6) or len(made) == 1 else [made[-1], self.one(made[:-1])]
        if self.on and not self.may("constant checkpoint") and not all(v.needs for v in returned):
            return
        names = tuple(self.name("v") for _ in returned)
        options = {"returns": tuple(v.name for v in returned)}
        self.lines.append(Line("checkpoint", names, tuple(v.name for v in operands), options, lines))
        used = frozenset().union(*(v.deps for v in [*made, *operands]))
        for name, v in zip(names, returned, strict=True):
            out = self.result(name, "x", [v], noisy=v.noisy, part=True, deps=used)
            if out.needs:
                self.nodes[out.node] = (
                    "unknown",
                    [*self.nodes[out.node][1], *(o.node for o in operands if o.node is not None)],
                )

    # --- hooks ----------------------------------------------------------------------------------------------------------------
    def write_hook(self):
        def able(v):
            kind = v.kind in (*SHAPES, "p") and not v.several
            return v.needs and kind and (not v.retained or self.may("retain before hook"))

        v = self.chance(0.5) and self.some(lambda v: able(v) and (v.retained or v.busy)) or self.some(able)
        if v is None or not self.on:
            return
        if not self.may("checkpoint hook") and (v.leaf or v.part):
            return
        kinds = [*LOOKING, "look", "scale", "clip", "cut"] + (
            [] if self.double or not self.may("bent hook") else list(BENT)
        )
        self.hook(v, self.one(kinds))

    def hook(self, v, kind, raises=False):
        handle = self.name("h")
        self.lines.append(Line(kind, (handle,), (v.name,), {"name": f"{v.name}.{handle}"}))
        v.hooks.append((handle, kind))
        self.handles[handle] = v

    def write_unhook(self):
        if self.handles:
            handle = self.one(self.handles)
            v = self.handles.pop(handle)
            self.lines.append(Line("unhook", (), (handle,)))
            v.hooks = [h for h in v.hooks if h[0] != handle]

    def write_retain(self):
        def able(v):
            return v.needs and not v.leaf and v.kind in SHAPES and (not v.retained or self.may("retain twice"))

        v = self.chance(0.5) and self.some(lambda v: able(v) and (v.retained or v.busy or v.hooks)) or self.some(able)
        if v is not None:
            self.lines.append(Line("retain", (), (v.name,)))
            v.retained += 1

    def write_toggle(self):
        v = self.some(lambda v: v.leaf and v.kind in SHAPES)
        v.needs = not v.needs
        self.lines.append(Line("toggle", (), (v.name,), {"value": v.needs}))
        self.forget([v.deps], lambda other: v.needs or other.part or not other.needs)

    def forget(self, changed, test=lambda v: True):
        """Takes what was computed from changed leaves out of use."""
        changed = frozenset().union(*changed)
        self.vars = {n: v for n, v in self.vars.items() if v.leaf or not v.deps & changed or not test(v)}

    # --- walks ------------------------------------------------------------------------------------------------------------------
    def reach(self, nodes):
        found, stack = set(), [n for n in nodes if n is not None]
        while stack:
            n = stack.pop()
            if n not in found:
                found.add(n)
                stack += self.nodes[n][1]
        return found

    def walkable(self, v):
        """Whether a walk from here goes through ("yes"), must raise ("raises"), or is nobody's promise ("no")."""
        if not v.needs or v.kind not in (*SHAPES, "s"):
            return "no"
        reached = self.reach([v.node])
        if reached & self.maybe:
            return "no"
        again = {self.nodes[n][0] for n in reached & self.freed}
        if again and not self.may("again"):
            return "no"
        return "yes" if not again - {"none"} else "raises" if not again - {"none", "saves"} else "no"

    def heads(self, state="yes"):
        """Variables to start a walk from, as a single number."""
        able = [v for v in self.vars.values() if v.kind in ("x", "b", "w") and self.walkable(v) == state and not v.leaf]
        if not able:
            return None
        if self.chance(0.5):
            able = [v for v in able if v.part or v.fused] or able
        chosen = list({self.one(able[-8:]).name: None for _ in range(int(self.rng.integers(1, 6)))})
        chosen = [self.vars[n] for n in chosen]
        action = self.one(["total", "total", "total", "squared", "loss", "classes"])
        if action == "loss" and all(v.kind == "x" for v in chosen):
            chosen = [chosen[0], self.pick("x", chosen[0])]
            if self.walkable(chosen[1]) not in (state, "no" if not chosen[1].needs else state):
                chosen[1] = chosen[0]
        elif action == "squared" or (action == "classes" and chosen[0].kind == "x" and not chosen[0].noisy):
            chosen = chosen[:1]
        else:
            action = "total"
        (s,) = self.call(action, chosen, kind="s", prefix="s", cls="saves")
        return s

    def another(self, s):
        """A second head of shape (3, 4), and a gradient for it."""
        v = self.some(lambda v: v.kind == "x" and self.walkable(v) == "yes")
        if v is None:
            return None, None
        return v, self.some(lambda g: g.kind == "x" and g.low == v.low and not g.needs) or (
            None if v.low else self.leaf("x", needs=False)
        )

    def walked(self, starts, retain, create):
        """What a walk frees."""
        if retain if retain is not None else create:
            return
        reached = self.reach([v.node for v in starts])
        if any(v.second or v.part for v in starts):
            self.maybe |= reached
        else:
            self.freed |= reached

    def write_backward(self):
        if not self.on:
            return
        s = self.heads()
        if s is None:
            return
        if self.chance(0.15) and self.may("hook"):
            self.hook(s, self.one([*LOOKING, "scale"]))
        create = self.double and self.chance(0.25) and self.may("from .grad") and not s.second
        if not create:
            self.drop([v for v in self.vars.values() if v.grad == "tape"])
        else:
            self.drop([v for v in self.vars.values() if v.grad])
        retain = self.one([True, True, None, False]) if not create else None
        action, operands = "backward", [s]
        if self.chance(0.2):
            action = self.one(["backward with a gradient", "backward of two"])
            v, g = self.another(s)
            if v is None or g is None:
                action = "backward"
            else:
                operands = [v, g] if action == "backward with a gradient" else [s, v, g]
        starts = [operands[0]] if len(operands) < 3 else operands[:2]
        if create and any(v.second for v in starts):
            return
        self.lines.append(
            Line(action, (), tuple(v.name for v in operands), {"retain_graph": retain, "create_graph": create})
        )
        self.walked(starts, retain, create)
        for v in self.vars.values():
            if v.leaf and v.deps & frozenset().union(*(s.deps for s in starts)):
                v.grad = "tape" if create else "plain"
        if create:
            self.from_grad(starts)

    def drop(self, leaves):
        for v in leaves:
            if v.kind in (*SHAPES, "p"):
                self.lines.append(Line("drop", (), (v.name,)))
            v.grad = ""

    def gradients(self, s, create):
        """A line with `grad` of a head by some of what it was computed from; the inputs and the names of the gradients."""
        reached = self.reach([s.node])
        able = [v for v in self.vars.values() if v.needs and v.kind in (*SHAPES, "p")
                and (v.deps <= s.deps if v.leaf else v.node in reached or self.chance(0.05))]  # fmt: skip
        watched = any(v.hooks or v.retained for v in self.vars.values() if not v.leaf)
        able = [v for v in able if not (v.several and watched)]
        if not self.may("checkpoint grad") and s.part:
            return [], []
        if not self.may("hook aside") and any(not v.leaf and (v.hooks or v.retained) for v in self.vars.values()):
            return [], []
        if not able:
            return [], []
        inputs = [self.one(able) for _ in range(int(self.rng.integers(1, 4)))]
        if len(inputs) > 1 and any(not v.leaf and any(k not in LOOKING for _, k in v.hooks) for v in inputs):
            inputs = [v for v in inputs if v.leaf or all(k in LOOKING for _, k in v.hooks)][:1] or inputs[:1]
        if not self.may("same input"):
            inputs = list({v.name: v for v in inputs}.values())
        names = tuple(self.name("g") for _ in inputs)
        retain = True if create else self.one([True, True, True, None])
        operands, action = [s], "grad"
        if self.chance(0.15):
            v, g = self.another(s)
            if v is not None and g is not None and not (create and v.second):
                operands, action = [s, v, g], "grad of several"
        options = {"retain_graph": retain, "create_graph": create, "allow_unused": True}
        self.lines.append(Line(action, names, (*(v.name for v in operands), *(v.name for v in inputs)), options))
        if not retain:
            self.maybe |= self.reach([v.node for v in operands[:2]])
        return inputs, names, operands[:2] if action != "grad" else [s]

    def write_grad(self):
        s = self.heads() if self.on else None
        if s is not None:
            self.gradients(s, False)

    def write_double(self):
        """A gradient on the tape, and sums with leaves to go on with."""
        s = self.heads() if self.on else None
        if s is None or s.noisy or s.second > 1 or s.second and s.norm:
            return
        inputs, names, *starts = self.gradients(s, True)
        for v, g in zip(inputs, names, strict=True):
            if v.kind in SHAPES and v.needs and not any(k in BENT for _, k in v.hooks):
                self.mix(self.one(["mixed", "mixed", "inner step"]), [g], v, starts[0])

    def mix(self, action, before, v, starts):
        new = self.name("v")
        self.lines.append(Line(action, (new,), (*before, v.name), {}))
        out = self.result(new, v.kind, [v, *starts], second=1 + max(s.second for s in starts))
        out.kind, out.low = v.kind, v.low

    def from_grad(self, starts):
        used = frozenset().union(*(s.deps for s in starts))
        leaves = [
            v
            for v in self.vars.values()
            if v.leaf and v.kind in SHAPES and v.needs and v.grad == "tape" and v.deps <= used
        ]
        for v in leaves[:2]:
            if not any(k in BENT for _, k in v.hooks):
                self.mix("from .grad", [], v, starts)
        self.drop([v for v in self.vars.values() if v.grad == "tape"])
        for v in [v for v in self.vars.values() if v.leaf and v.kind in ("m", "ma", "mi") and v.deps & used]:
            self.lines.append(Line("zero_grad", (), (v.name,)))

    def write_from_grad(self):
        self.write_backward()

    # --- changes ------------------------------------------------------------------------------------------------------------------
    def write_update(self):
        leaves = [
            v
            for v in self.vars.values()
            if v.leaf and v.needs and v.grad == "plain" and v.kind in (*SHAPES, "m", "ma", "mi")
        ]
        if leaves and self.on:
            leaves = list({v.name: v for v in (self.one(leaves), self.one(leaves))}.values())
            self.lines.append(Line("descend", (), tuple(v.name for v in leaves), {"rate": 0.05}))
            self.forget([v.deps for v in leaves])

    def write_optimizer(self):
        if not self.on:
            return
        if not self.optimizers or self.chance(0.2):
            leaves = [v for v in self.vars.values() if v.leaf and v.needs and v.kind in (*SHAPES, "m", "ma", "mi")]
            if not leaves:
                return
            chosen = list({self.one(leaves).name: None for _ in range(3)})
            name = self.name("o")
            self.lines.append(Line(self.one(["SGD", "Adam"]), (name,), tuple(chosen)))
            self.optimizers[name] = chosen
        name = self.one(self.optimizers)
        leaves = [self.vars[n] for n in self.optimizers[name]]
        if self.chance(0.7):
            self.lines.append(Line("step", (), (name,)))
            self.forget([v.deps for v in leaves])
        if self.chance(0.5):
            self.lines.append(Line("zero_grad", (), (name,)))
            for v in leaves:
                v.grad = ""

    # --- a last line that must raise, or just must not -------------------------------------------------------------------------------
    def wrong(self):
        kind = self.one(["hook", "again", "changed", "unchanged", "head", "no history", "unused", "no gradient", "shape", "inner leaf",
                         "hook without"])  # fmt: skip
        x = self.some(
            lambda v: (
                v.kind == "x" and v.needs and not v.leaf and not v.several and not v.low and self.walkable(v) == "yes"
            )
        )
        if not self.on or x is None:
            return
        walk = {"retain_graph": None, "create_graph": False}
        names: tuple = ()
        if kind == "hook":
            if not self.may("wrong hook"):
                return
            self.hook(x, self.one(WRONG))
            (s,) = self.call("total", [x], kind="s", prefix="s")
            line = Line("backward", (), (s.name,), walk)
        elif kind == "again":
            s = self.heads("raises")
            if s is None:
                return
            line = Line("backward", (), (s.name,), walk)
        elif kind in ("changed", "unchanged"):
            a, y = self.leaf("x", needs=True), self.leaf("x", needs=True)
            (s,) = self.call("times a leaf" if kind == "changed" else "plus a leaf", [y, a], kind="s", prefix="s")
            self.lines.append(Line("backward with a gradient", (), (a.name, y.name), walk))
            self.lines.append(Line("descend", (), (a.name,), {"rate": 0.1}))
            self.lines.append(Line("backward", (), (s.name,), walk, raises=kind == "changed"))
            self.over = True
            return
        elif kind == "head":
            line = Line("backward", (), (x.name,), walk)
        elif kind == "no history":
            (s,) = self.call("total", [self.leaf("x", needs=False)], kind="s", prefix="s")
            line = Line("backward", (), (s.name,), walk)
        elif kind == "unused":
            (s,) = self.call("total", [x], kind="s", prefix="s")
            line, names = (
                Line("grad", (), (s.name, self.leaf("x", needs=True).name), walk | {"allow_unused": False}),
                ("g",),
            )
        elif kind == "no gradient":
            (s,) = self.call("total", [x], kind="s", prefix="s")
            line, names = (
                Line("grad", (), (s.name, self.leaf("x", needs=False).name), walk | {"allow_unused": True}),
                ("g",),
            )
        elif kind == "shape":
            line = Line("backward with a gradient", (), (x.name, self.leaf("b", needs=False).name), walk)
        elif kind == "inner leaf":
            line = Line("toggle", (), (x.name,), {"value": False})
        else:
            line, names = Line("look", (), (self.leaf("x", needs=False).name,), {"name": "v.h"}), ("h",)
        self.lines.append(line._replace(raises=True, names=names))
        self.over = True


def program(seed, number, setting, without=()):
    """The lines of a program."""
    return Author(seed, number, setting, without).program()
