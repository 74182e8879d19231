"""Mutated checkpoints: `python tests/fuzz_checkpoints.py SEED COUNT FOLDER` reads COUNT of them and prints what happened as JSON.

Each is a small PVT v2 as safetensors, `.pth` or shards with a `config.json`, one of whose parts is changed: bytes, or a number,
name or entry of the header, the configuration, the index or the pickle; or a file of nested tensors, with another note. Reading
it either works, or raises an error of minigrad's with one sentence. Anything else is listed under "faults": other errors, code
that ran, more than five seconds. The process has 1 GiB of address space more than it starts with; a crash or a hang is the
caller's to see.
"""

import json
import os
import pickletools
import random
import resource
import sys
import time
import traceback
import warnings
from pathlib import Path

import numpy as np
import pth
from peak import peak_memory

import minigrad as mg
from minigrad import interop, models
from minigrad.interop import from_native
from minigrad.serialize import NOTE

SMALL = dict(img_size=64, num_classes=3, embed_dims=(4, 4, 8, 8), num_heads=(1, 2, 2, 4), mlp_ratios=(2, 1, 1, 1), depths=(1, 1, 1, 1),
             sr_ratios=(2, 2, 2, 1), qkv_bias=True)  # fmt: skip
NUMBERS = [
    0,
    1,
    -1,
    2,
    3,
    7,
    8,
    64,
    255,
    256,
    2**15,
    2**16,
    2**31 - 1,
    2**31,
    2**32,
    2**53,
    2**63 - 1,
    2**63,
    2**64,
    10**30,
    -(2**63),
]
VALUES = [*NUMBERS, 0.5, -1.5, 1e308, -1e-308, float("nan"), float("inf"), True, False, None, "", "a", "0", "é\0", "x" * 5000, [], {}, [[]],
          [1] * 10, [1] * 5000, [1e9] * 4, [None] * 4, ["a"] * 4, [[1]] * 4, {"a": 1}, {"height": 64}, {"0": "a"}]  # fmt: skip
RAW = [
    b"1e999",
    b"9" * 5000,
    b"[" * 100_000,
    b'{"a":' * 5000,
    b"NaN",
    b"\xff\xfe",
    b"\\ud800",
    b'"\\ud800"',
    b"null",
    b"",
    b"}",
]
NAMES = [
    "stages.0.blocks.0.norm1.weight", "stages.9999.blocks.0.norm1.weight", "block1.0.attn.q.weight", "head.weight", "", ".", "..",
    "backbone.stages.0.blocks.0.attn.q.weight", "module.head.weight", "_orig_mod.head.weight", "n_averaged",
    "encoder.patch_embeddings.0.proj.weight", "a" * 3000,
    "encoder.layers.0.blocks.0.attention.key.weight", "patch_embed0.proj.weight", "stages.-1.norm.weight", "\0",
]  # fmt: skip
FILES = [
    "../x.safetensors", "/etc/passwd", "..", "x.bin", "config.json", "model.safetensors.index.json", "a\0.bin", "C:\\x.bin",
    "a" * 300 + ".bin", "\ud800.bin",
]  # fmt: skip
CALLS = [
    "os system", "posix system", "builtins exec", "builtins eval", "subprocess Popen", "shutil rmtree", "importlib import_module",
    "pickle loads", "torch load", "functools partial", "argparse Namespace", "torch Size", "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2", "numpy.core.multiarray scalar", "numpy.core.multiarray _reconstruct", "builtins set",
    "builtins getattr", "collections defaultdict", "collections Counter", "torch._utils _rebuild_tensor_v3",
    "torch._utils _rebuild_parameter_with_state", "torch._tensor _rebuild_from_type_v2", "torch FloatStorage", "datetime datetime",
    "project.config Config",
]  # fmt: skip
CODES = [
    *(bytes([c]) for c in b"012N)]}(t\x85\x86\x87Rbsuaeo.Q\x81\x8f\x90\x91\x92\x93\x94\x97\x98"),
    b"h\0", b"r\xff\xff\xff\xff", b"j\xff\xff\xff\xff", b"P0\n", b"\x82\x01", b"K\x05", b"G" + b"\xff" * 8,
    b"\x8a\x08" + b"\xff" * 8, b"\x8b\xff\xff\xff\x7f", b"I99999999999999999999\n", b"L" + b"9" * 5000 + b"\n",  # long numbers
    b"X\xff\xff\xff\xff", b"\x8d" + b"\xff" * 8, b"\x96" + b"\xff" * 8, b"B\xff\xff\xff\x7f",  # long texts
    b"]" * 50_000, b")\x85" * 3000, b"2\x86" * 200,  # deep ones
    b"\x94h\0s", b"]q\0h\0a", b"}q\0(X\5\0\0\0modelh\0u", b"h\0h\1b", b"h\0h\1R", b"h\0)R", b"h\0)\x81}b",  # round and round
]  # fmt: skip


NOTES = [  # parts of the notes that say how tensors lie in dicts and lists
    {"tensor": "model.w"}, {"tensor": "a.0"}, {"tensor": "no"}, {"tensor": 1}, {"dict": []}, {"dict": [["a", 1]]},
    {"dict": [[1, 1], [1, 2]]}, {"dict": [[True, 1]]}, {"dict": {"a": 1}}, {"tuple": []}, {"tuple": 1}, {"float": "inf"},
    {"float": "1"}, {"set": []}, {}, {"tensor": "a.0", "float": "nan"}, [[[[]]]], [0] * 1000,
]  # fmt: skip


class Changes:
    """Changes of numbers, JSON and bytes, which other fuzzers make, too."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def number(self) -> int:
        return self.random.choice(NUMBERS) + self.random.choice((0, 0, 0, 1, -1))

    def value(self, tree):
        """A JSON value with one thing in it changed."""
        r = self.random
        if isinstance(tree, dict) and tree and r.random() < 0.85:
            key, out = r.choice(list(tree)), dict(tree)
            what = r.random()
            if what < 0.1:
                del out[key]
            elif what < 0.2:
                out[r.choice(NAMES)] = out.pop(key)
            else:
                out[key] = self.value(tree[key])
            return out
        if isinstance(tree, list) and tree and r.random() < 0.7:
            i = r.randrange(len(tree))
            return [*tree[:i], *([] if r.random() < 0.1 else [self.value(tree[i])]), *tree[i + 1 :]]
        return self.number() if isinstance(tree, int) and r.random() < 0.7 else r.choice(VALUES)

    def bytes(self, data: bytes, within: int | None = None) -> bytes:
        """Bytes flipped, cut off, doubled or replaced; `within` the first so many."""
        r, end = self.random, min(within or len(data), len(data))
        out = bytearray(data)
        what = r.random()
        if what < 0.6:
            for _ in range(r.choice((1, 1, 2, 8, 64))):
                out[r.randrange(end)] = r.randrange(256)
        elif what < 0.75:
            del out[r.randrange(end) :]
        elif what < 0.9:
            at = r.randrange(end)
            out[at : at + r.choice((0, 1, 8))] = r.choice(RAW + [r.randbytes(8)])
        else:
            at, length = r.randrange(end), r.randrange(1, 200)
            out[at:at] = out[at : at + length]
        return bytes(out)

    def json(self, tree) -> bytes:
        for _ in range(self.random.choice((1, 1, 1, 2, 5))):
            tree = self.value(tree)
        data = json.dumps(tree).encode("utf-8", "surrogatepass")
        return self.bytes(data) if self.random.random() < 0.25 else data

    def header(self, data: bytes) -> bytes:
        """A safetensors file with another header."""
        length = int.from_bytes(data[:8], "little")
        what = self.random.random()
        if what < 0.2:
            return (self.number() % 2**64).to_bytes(8, "little") + data[8:]
        if what < 0.45:
            return self.bytes(data, 8 + length)
        text = self.json(json.loads(data[8 : 8 + length]))
        return len(text).to_bytes(8, "little") + text + data[8 + length :]


class Fuzz(Changes):
    def __init__(self, seed: int, folder: Path) -> None:
        super().__init__(seed)
        self.folder = folder
        mg.manual_seed(0)
        self.config = models.PVTV2Config(**SMALL, embed_norm_eps=1e-6)
        native = {name: t.numpy() for name, t in models.PVT_V2(self.config).state_dict().items()}
        self.states = {layout: from_native(native, layout) for layout in ("hf", "timm", "original")}
        model = models.PVT_V2(self.config)
        w = np.arange(6, dtype=np.float32).reshape(2, 3)
        nested = {
            "model": {"w": w, "b": w[0]},
            "a": [w.astype(np.float16), (1, 2.5, float("nan"))],
            "epoch": 3,
            7: {"x": None, "on": True},
        }
        mg.save(folder / "nested.safetensors", nested)
        self.nested = (folder / "nested.safetensors").read_bytes()
        self.configs = {}
        for layout in self.states:
            models.save_pretrained(model, folder / layout, layout)
            self.configs[layout] = json.loads((folder / layout / "config.json").read_text())

    # ---- changes ----

    def note(self, data: bytes) -> bytes:
        """A file of nested tensors with another note, or another header."""
        r, length = self.random, int.from_bytes(data[:8], "little")
        if r.random() < 0.2:
            return self.header(data)
        header = json.loads(data[8 : 8 + length])
        note, what = json.loads(header["__metadata__"][NOTE]), r.random()
        if what < 0.3:
            note = self.placed(note)
            text = json.dumps(note)
        elif what < 0.4:
            text = r.choice(("[", '{"tuple":[', '{"dict":[["a",')) * r.choice((1, 70, 5000, 100_000)) + r.choice(
                ("", "1", json.dumps(note))
            )
        else:
            text = self.json(note).decode("utf-8", "replace")
        header["__metadata__"][NOTE] = text
        start = json.dumps(header).encode()
        return len(start).to_bytes(8, "little") + start + data[8 + length :]

    def placed(self, tree):
        """A note with a part of another one somewhere in it."""
        r = self.random
        if isinstance(tree, list) and tree and r.random() < 0.85:
            i = r.randrange(len(tree))
            return [*tree[:i], self.placed(tree[i]), *tree[i + 1 :]]
        if isinstance(tree, dict) and tree and r.random() < 0.85:
            return {key: self.placed(item) for key, item in tree.items()}
        return r.choice(NOTES)

    def tensors(self, state: dict) -> dict:
        """Another state dict: tensors left out, renamed, added, of other shapes or dtypes."""
        r, out = self.random, dict(state)
        for _ in range(r.choice((1, 1, 2, 10))):
            name = r.choice(list(out))
            array, what = out[name], r.random()
            if what < 0.2:
                del out[name]
            elif what < 0.4:
                digits = [i for i, c in enumerate(name) if c.isdigit()]
                i = r.choice(digits) if digits else 0
                out[r.choice((name[:i] + str(self.number()) + name[i + 1 :], *NAMES))] = out.pop(name)
            elif what < 0.6:
                shape = [min(abs(self.number()), 64) for _ in range(r.randrange(6))]
                out[name] = np.zeros(shape if np.prod(shape, dtype=float) < 1e5 else 3, np.float32)
            elif what < 0.7:
                out[name] = array.reshape(r.choice((array.shape[::-1], (-1,), (1, *array.shape), (*array.shape, 1))))
            elif what < 0.8:
                out[name] = array.astype(r.choice((np.float16, np.float64, np.int8, np.int64, bool)))
            elif what < 0.9:
                out[name] = array * r.choice((np.nan, np.inf, 1e38, 0))
            else:  # very many blocks that are nearly empty
                stem = r.choice([n for n in state if n.endswith(("norm1.weight", "layer_norm_1.weight"))])
                names = [stem.replace("0.norm1", f"{j}.norm1").replace("0.layer", f"{j}.layer") for j in range(500)]
                out |= dict.fromkeys(names, np.zeros(1, np.float32))
        return out

    def pickle(self, program: bytes) -> bytes:
        """A pickle with instructions put in, taken out, or with other numbers, names or calls."""
        r = self.random
        starts = [place for *_, place in pickletools.genops(program)]
        i = r.randrange(1, len(starts) - 1)
        start, end = starts[i], starts[i + 1]
        what = r.random()
        if what < 0.2:
            return self.bytes(program)
        if what < 0.5:
            call = pth.Call(
                pth.Global(*r.choice(CALLS).split()), r.choice((("mkdir harmed",), (), (1,), ({"a": 1},), ((),) * 20))
            )
            return program[:start] + pth.program(call) + r.choice((b"0", b"")) + program[start:]
        if what < 0.7:
            return program[:start] + r.choice(CODES) * r.choice((1, 1, 1, 100)) + program[start:]
        if what < 0.8:
            return program[:start] + program[end:]
        numbers = [(s, e) for s, e in zip(starts, starts[1:], strict=False) if program[s] == 0x8A]
        start, end = r.choice(numbers)
        return program[:start] + pth.program(self.number()) + program[end:]

    # ---- a case ----

    def write(self, case: Path) -> str:
        """A checkpoint in a folder; returns what was changed in it."""
        r = self.random
        layout = r.choice(list(self.states))
        state, config = self.states[layout], json.dumps(self.configs[layout]).encode()
        kind = r.choice(
            ("header", "header", "tensors", "config", "config", "index", "pickle", "pickle", "archive", "note")
        )
        if kind == "config":
            config = self.json(self.configs[layout])
        if kind == "note":
            (case / "nested.safetensors").write_bytes(self.note(self.nested))
            return kind
        if kind in ("header", "config"):
            data = (self.folder / layout / "model.safetensors").read_bytes()
            (case / "model.safetensors").write_bytes(self.header(data) if kind == "header" else data)
        elif kind == "tensors":
            mg.save(case / "model.safetensors", self.tensors(state))
            config = config if r.random() < 0.7 else b"{}"
        elif kind == "index":
            (case / "part.safetensors").write_bytes((self.folder / layout / "model.safetensors").read_bytes())
            index: dict = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(state, "part.safetensors")}
            if r.random() < 0.5:
                index["weight_map"][r.choice(list(state))] = r.choice(FILES)
            (case / "model.safetensors.index.json").write_bytes(self.json(index))
        else:
            tensors = {name: pth.tensor(str(i), array) for i, (name, array) in enumerate(state.items())}
            if r.random() < 0.2:  # names as wrappers of models make them
                prefix = r.choice(("module.", "_orig_mod.", "backbone.", "module.model._orig_mod."))
                tensors = {prefix + name: tensor for name, tensor in tensors.items()} | dict(list(tensors.items())[:1])
            around = {"epoch": 3, "args": [1.5, None, "x"]} if r.random() < 0.5 else pth.beside()
            wrapper = r.choice(("model", "state_dict", "net", "whatever"))
            whole = r.choice(
                (tensors, {wrapper: tensors, **around}, {**around, wrapper: tensors}, {**tensors, **around})
            )
            program = pth.pickled(whole)
            path = case / "pytorch_model.bin"
            arrays = {str(i): array for i, array in enumerate(state.values())}
            pth.write(path, self.pickle(program) if kind == "pickle" else program, arrays)
            if kind == "archive":
                data = path.read_bytes()
                directory = len(data) - len(state) * 80 if r.random() < 0.5 else 0  # its directory is at the end
                path.write_bytes(data[:directory] + self.bytes(data[directory:]))
        (case / "config.json").write_bytes(config)
        return kind


def attempt(case: Path) -> str:
    """Reads a checkpoint and runs it: "read", or "refused" with a sentence. Raises what nobody meant to raise."""
    for file in case.iterdir():
        if file.name != "config.json":
            outcome(lambda file=file: interop.load(file))
    if (nested := case / "nested.safetensors").exists():
        return outcome(lambda: again(mg.load(nested), nested))
    return outcome(lambda: run(models.from_pretrained(case)))


def run(model: models.PVT_V2) -> None:
    if model.config.min_size <= 64 and model.config.in_channels < 100:
        with mg.no_grad():
            model(mg.zeros(1, model.config.in_channels, 64, 64))


def outcome(call) -> str:
    try:
        call()
        return "read"
    except (ValueError, FileNotFoundError) as error:
        raised = traceback.extract_tb(error.__traceback__)[-1].filename
        text = str(error)
        if f"{os.sep}minigrad{os.sep}" in raised and 20 < len(text) < 1000 and "\n" not in text:
            return "refused"
        raise


def again(found: dict, path: Path) -> None:
    """Whatever was read can be saved, and read."""
    mg.save(path, found)
    assert repr(mg.load(path)) == repr(found)


def main(seed: int, count: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    warnings.simplefilter("ignore")
    fuzz, ran, out = Fuzz(seed, folder), [], {"faults": []}
    harm = ("os.system", "os.exec", "os.mkdir", "subprocess", "shutil", "socket")
    sys.addaudithook(lambda event, args: ran.append(event) if event.startswith(harm) else None)
    status = Path("/proc/self/statm")
    if status.exists():
        used = int(status.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
    case = folder / "case"
    case.mkdir()
    slowest = 0.0
    for i in range(count):
        for path in case.iterdir():
            path.unlink()
        kind = fuzz.write(case)
        del ran[:]
        start = time.perf_counter()
        try:
            what = attempt(case)
        except BaseException as error:  # noqa: BLE001
            what = "fault"
            out["faults"].append([i, kind, repr(error)[:300], traceback.format_exc()[-600:]])
        took = time.perf_counter() - start
        slowest = max(slowest, took)
        if ran or took > 5:
            out["faults"].append([i, kind, f"{took:.1f} s, {ran[:3]}"])
        out.setdefault(kind, {}).setdefault(what, 0)
        out[kind][what] += 1
    if (folder / "harmed").exists():
        out["faults"].append("code was executed")
    out["slowest"] = round(slowest, 3)
    out["peak MiB"] = peak_memory() >> 20
    print(json.dumps(out))


if __name__ == "__main__":
    np.seterr(all="ignore")
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
