"""Mutated run folders: `python tests/fuzz_runs.py SEED COUNT FOLDER` reads COUNT of them and prints what happened as JSON.

Each is a small run (of the digits, or of a folder of pictures) one of whose files is changed: the note in its weights, the weights,
the state, `result.json`, `config.json` or `metrics.csv`. It is loaded, evaluated, asked for predictions, converted or resumed, by
functions and by the command line. That either works, or fails with one sentence of minigrad's. Anything else is listed under
"faults": other errors, a file that was opened outside of the run and its data, a socket, `nan` as a result, more than `PATIENCE`
seconds, and memory beyond one and a half times the file's tensors while a file is read. The process has 1 GiB of address space
more than it starts with.
"""

import contextlib
import gc
import io
import json
import os
import re
import resource
import shutil
import signal
import site
import sys
import time
import traceback
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
from fuzz_checkpoints import Changes, outcome
from PIL import Image

import minigrad as mg
from minigrad import models, training
from minigrad.cli import main as command
from minigrad.interop.hub import HubError
from minigrad.serialize import NOTE, load_arrays, read_header
from minigrad.training import report, run_folder, trainer

PATIENCE = 20  # seconds
SHARE, SLACK = 1.5, 6 << 20  # of the tensors; bytes for the objects of Python's around them
TEXT = 12  # times a header's bytes that its texts and lists may take
KEY = "classifier"
HUGE = (10**9, 2**31 - 1, 2**31, 10**6, 10**30)
BAD = (float("nan"), float("inf"), -1, -0.5, 0, 1e308, 1e-320, 10**400, "x", None, True, [], {}, [[]], "", "\0")
OTHERS = ("pvt_v2_b0", "pvt_v2_b5", "pvt_v2_b2_li", "pvt_v2_b0.in1k", "nothing", "../x", "")
ELSEWHERE = "elsewhere"  # a folder that nothing may be read from

FIELDS = {  # entries of a note's `fields`
    "checkpoint_path": ("../elsewhere/model.safetensors", "../elsewhere", "/etc/passwd", 3),
    "pretrained": (True, 1, "yes"),
    "features_only": (True, 1),
    "out_indices": ([0, 1], 10**9),
    "cache_dir": ("../elsewhere",),
    "revision": ("main",),
    "local_files_only": (False,),
    "in_chans": (1, 3, 10**9),
    "norm_layer": ("LayerNorm", "BatchNorm", 3),
    "depths": ([10**9] * 4, [1, 1, 1, 10**9], [300, 1, 1, 1], [10**5] * 4, [1] * 10**5, [2, 2, 2, 2], 10**9),
    "embed_dims": ([10**6] * 4, [16, 32, 64, 2**31 - 8], [8, 16, 24, 32]),
    "num_heads": ([1, 1, 1, 1], [16, 32, 64, 128], [10**9] * 4),
    "mlp_ratios": ([10**7] * 4, [4, 4, 4, 4.0000001], [1e-9] * 4, [float("nan")] * 4),
    "num_classes": (0, 1, 2, 3, 10**9, -1, 2.0, True),
    "in_channels": (1, 3, 2, 10**9, 0),
    "img_size": (1, 8, 32, 33, 2048, 8192, 10**9, [32, 32], [8, 10**6], 0, 64.0),
    "strides": ([1, 1, 1, 1], [10**9, 1, 1, 1], [4, 2, 2, 2]),
    "patch_size": (10**6 + 1, 2, 1),
    "patch_sizes": ([10**6 + 1, 3, 3, 3], []),
    "sr_ratios": ([8, 4, 2, 1], [1, 1, 1, 1], [10**9] * 4),
    "num_stages": (10**9, 1, 5, 0),
    "linear": (True, 1),
    "qkv_bias": (False,),
    "drop_path_rate": (float("nan"), 1.5, 0.9999, -0.1),
    "drop_rate": (0.5, 1),
    "initializer_range": (1e308, 10**400, 0),
    "layer_norm_eps": (1e-300, 1e9, 0, 1e-6),
    "qk_scale": (1e9, 1e-300, 2**31 - 1, float("inf")),
    "hidden_act": ("relu", "exec"),
    "global_pool": ("", "max"),
    "problem_type": ("regression", "x"),
}
CLASSES = (
    "abc", [], ["a"], ["a", "a"], ["same"] * 10, list("abcdefghij"), ["\x1b[2J\x1b]0;x\x07"] * 10, ["a\nb"] * 2, [1, 2], [None] * 2,
    {"0": "a", "1": "b"}, ["x" * 10**6] * 2, [["a"], ["b"]], "\ud800", ["\ud800"] * 10, ["nan"] * 2, 10**9,
)  # fmt: skip
PREPARED = {
    "kind": ("digits", "images", "nothing", 3, None, ["digits"], {}),
    "size": (*HUGE, 0, -1, 1, 8, 31, 33, 2048, 8192, 32.0, "32", [32, 32], {"height": 32, "width": 8192}, None),
    "maximum": (*BAD, 16, 255, 1e-300, 1e300),
    "mean": (
        0.5,
        [],
        [0.5],
        [0.5] * 3,
        [float("nan")] * 3,
        [1e308] * 3,
        [1e39],
        ["a"],
        "abc",
        [0.5] * 10**5,
        None,
        [None],
    ),
    "std": (0.5, [], [0.5], [0.5] * 3, [0], [-1] * 3, [1e-300] * 3, [1e-46], [1e308], "abc", {"0": 1}, [float("inf")]),
    "do_pad": (True,),
    "checkpoint_path": ("../elsewhere/model.safetensors",),
}
PROCESSORS = (
    {}, [], "images", {"size": 32}, {"size": 8192, "image_mean": [0.5], "image_std": [0.5]}, {"input_size": [3, 32, 32]},
    {"input_size": [3, 10**9, 10**9]}, {"size": {"shortest_edge": 10**9}, "do_normalize": False}, {"pretrained_cfg": {}},
    {"size": {"height": 32, "width": 32}, "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1e300},
    {"kind": "images", "maximum": 255}, {"kind": "digits", "maximum": 16, "size": 32},
    {"image_processor_type": "ConvNextImageProcessor", "size": 32, "crop_pct": 1e-9},
)  # fmt: skip
FOLDERS = (
    "/etc",
    "/",
    "~",
    "",
    "\0",
    "x" * 5000,
    "../elsewhere",
    "/dev/zero",
    "/proc/self/fd",
    3,
    None,
    ["digits"],
    "digits",
    ".",
)
SETTINGS = {  # of a run
    "model": OTHERS, "data": FOLDERS, "weights": ("../elsewhere/model.safetensors", "/etc/passwd", "OpenGVLab/pvt_v2_b0", 3),
    "image_size": (*HUGE, 8, 1, 0, 64, 1024, 8192, "32"), "epochs": (*HUGE, 0, 1, -1, 3, 1.0), "batch_size": (*HUGE, 0, 1, 5, True),
    "lr": BAD, "weight_decay": BAD, "warmup": BAD, "label_smoothing": BAD, "drop_path": BAD, "clip": BAD, "shift": (*BAD, 1e9),
    "rotate": (*BAD, 1e9), "zoom": BAD, "flip": (1, "x", None), "seed": (*HUGE, -1, 10**400), "device": ("gpu", "cuda", "", 3),
    "amp": ("float16", "bfloat16", "auto", "x", 3), "accumulate": (*HUGE, 0, 2), "recompute": ("x", 1, True),
    "memory_limit": BAD, "compile": ("x", False), "threads": (*HUGE, 0, 2, 5000), "workers": (*HUGE, -1, 2, 5000),
    "output": ("/etc", "../elsewhere", "\0", 3), "checkpoint_path": ("x",),
}  # fmt: skip
ROW = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "images_per_second", "seconds")


class Fuzz(Changes):
    def __init__(self, seed: int, folder: Path) -> None:
        super().__init__(seed)
        mg.manual_seed(0)
        self.runs = {}
        rng = np.random.default_rng(0)
        for k, name in enumerate(("ant", "bee")):
            (folder / "photos" / name).mkdir(parents=True)
            for i in range(8):
                pixels = rng.integers(0, 120, (12, 14, 3)) + np.eye(3, dtype=int)[k] * 130
                Image.fromarray(pixels.astype(np.uint8)).save(folder / "photos" / name / f"{i}.png")
        for kind, data, batch in (("digits", "digits", 256), ("photos", str(folder / "photos"), 4)):
            kept: list[Path] = []
            save = run_folder.save_state

            def saved(path, state, kept=kept, save=save):
                save(path, state)
                kept.append(path.read_bytes())

            run_folder.save_state = saved
            config = training.TrainConfig(
                data=data,
                image_size=32,
                batch_size=batch,
                epochs=2,
                shift=0,
                rotate=0,
                zoom=0,
                output=str(folder / kind),
            )
            training.train(config, quiet=True)
            run_folder.save_state = save
            names = ("config.json", "metrics.csv", "model.safetensors", "result.json", "last.safetensors")
            files = {name: (folder / kind / name).read_bytes() for name in names}
            files["half"] = kept[1]  # the state after the first of two epochs
            self.runs[kind] = files
        shutil.copytree(folder / "photos", folder / ELSEWHERE / "photos")
        (folder / ELSEWHERE / "model.safetensors").write_bytes(self.runs["digits"]["model.safetensors"])
        picture = folder / "digits" / "sample.png"
        self.samples = {"digits": picture, "photos": folder / "photos" / "ant" / "0.png"}

    def bad(self, table: dict, tree: dict) -> dict:
        """A dictionary with one of the entries of a table."""
        name = self.random.choice(list(table))
        return {**tree, name: self.random.choice(table[name])}

    def text(self, tree) -> str:
        """JSON of a tree in which something may have changed that no table has."""
        if self.random.random() < 0.3:
            return self.json(tree).decode("utf-8", "replace")
        return json.dumps(tree)

    # ---- the note and the weights ----

    def about(self, text: str) -> str:
        """Another note."""
        r, note = self.random, json.loads(text)
        what = r.random()
        if what < 0.35:
            note["fields"] = self.bad(FIELDS, note["fields"])
            if r.random() < 0.1:
                note["fields"] = r.choice(BAD)
        elif what < 0.4:
            note["model"] = r.choice((*OTHERS, *BAD))
        elif what < 0.52:
            note["classes"] = r.choice(CLASSES)
            if r.random() < 0.08:
                note["classes"] = [str(i) for i in range(10**6)]
        elif what < 0.7:
            note["preprocessing"] = (
                self.bad(PREPARED, note["preprocessing"]) if r.random() < 0.75 else r.choice(PROCESSORS)
            )
        elif what < 0.75:
            note["data"] = r.choice(FOLDERS)
        elif what < 0.8:
            note[r.choice(("epoch", "val_loss", *FIELDS))] = r.choice(BAD)
        elif what < 0.84:
            del note[r.choice(list(note))]
        elif what < 0.86:
            return r.choice(("[", '{"a":')) * r.choice((1, 5000, 100_000))
        else:
            return self.json(note).decode("utf-8", "replace")
        return self.text(note)

    def noted(self, data: bytes) -> bytes:
        """Weights with another note."""
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        header["__metadata__"][KEY] = self.about(header["__metadata__"][KEY])
        start = json.dumps(header).encode("utf-8", "replace")
        return len(start).to_bytes(8, "little") + start + data[8 + length :]

    def array(self, array: np.ndarray) -> np.ndarray:
        """Other numbers, or of another shape or dtype."""
        r, what = self.random, self.random.random()
        if what < 0.4:
            out = np.array(array, np.float32)
            out.reshape(-1)[r.randrange(max(out.size, 1)) :][: r.choice((1, 10**9))] = r.choice(
                (np.nan, np.inf, -np.inf, 3e38, -3e38, 0)
            )
            return out
        if what < 0.6:
            return array.reshape(r.choice((array.shape[::-1], (-1,), (1, *array.shape), (*array.shape, 1))))
        if what < 0.8:
            return array.astype(r.choice((np.float16, np.float64, np.int8, np.int64, bool)))
        return np.zeros(r.choice(((0,), (), (3,), (2, 2), (10**5,))), np.float32)

    def weights(self, path: Path) -> None:
        """The weights with other tensors."""
        r, (arrays, metadata) = self.random, load_arrays(path)
        for _ in range(r.choice((1, 1, 2, 10))):
            name, what = r.choice(list(arrays)), r.random()
            if what < 0.15:
                del arrays[name]
            elif what < 0.3:
                arrays[r.choice(("head.weight", "stages.0.blocks.1.norm1.weight", "x", "a\x1b[2J"))] = arrays.pop(name)
            else:
                arrays[name] = self.array(arrays[name])
        mg.save(path, arrays, metadata=metadata)

    # ---- the state ----

    def state(self, path: Path) -> None:
        """Another state."""
        r = self.random
        if r.random() < 0.25:
            data = path.read_bytes()
            length = int.from_bytes(data[:8], "little")
            header = json.loads(data[8 : 8 + length])
            header["__metadata__"][NOTE] = self.json(json.loads(header["__metadata__"][NOTE])).decode(
                "utf-8", "replace"
            )
            start = json.dumps(header).encode("utf-8", "replace")
            path.write_bytes(len(start).to_bytes(8, "little") + start + data[8 + length :])
            return
        state = mg.load(path, device="cpu")
        for _ in range(r.choice((1, 1, 1, 2))):
            if r.random() < 0.3:
                state["config"] = self.bad(SETTINGS, state["config"])
            else:
                found = self.changed(state)
                state = found if isinstance(found, dict) else {"x": found}
                state.setdefault("config", {"model": "pvt_v2_tiny"})
                if not isinstance(state["config"], dict):
                    break
        with contextlib.suppress(ValueError, TypeError):  # what no file can hold; the state is then as it was
            mg.save(path, state)

    def changed(self, tree):
        """A nested value with one thing in it changed."""
        r = self.random
        if isinstance(tree, dict) and tree and r.random() < 0.93:
            key, out, what = r.choice(list(tree)), dict(tree), r.random()
            if what < 0.06:
                del out[key]
            elif what < 0.1:
                out[r.choice(("x", 3, 10**9, "checkpoint_path", "__class__", "lr"))] = out.pop(key)
            else:
                out[key] = self.changed(tree[key])
            return out
        if isinstance(tree, list | tuple) and tree and r.random() < 0.8:
            i = r.randrange(len(tree))
            return [*tree[:i], *([] if r.random() < 0.15 else [self.changed(tree[i])]), *tree[i + 1 :]]
        if isinstance(tree, mg.Tensor) and r.random() < 0.8:
            return self.array(tree.numpy())
        values = [v for v in (*BAD, *HUGE, 1, 0.5, [1, 2], ["a"], mg.zeros(2), mg.tensor(float("nan")), {"a": 1})]
        return r.choice([v for v in values if not isinstance(v, int) or abs(v) < 10**300])

    # ---- result.json, config.json, metrics.csv ----

    def result(self, data: bytes) -> bytes:
        r, result = self.random, json.loads(data)
        if r.random() < 0.5:
            result[r.choice(list(result))] = r.choice(
                (*BAD, *HUGE, "\x1b[2J", ["\x1b[2J", 3], "/etc/passwd", ["a"] * 1000, 1.5)
            )
            return json.dumps(result).encode("utf-8", "replace")
        return self.json(result)

    def settings(self, data: bytes) -> bytes:
        config = json.loads(data)
        if self.random.random() < 0.6:
            entries = {"model_type": ("segformer", "pvt_v2", 3), "depths": ([10**9] * 4,), "embed_dims": ([8] * 4, "x")}
            entries |= {"architecture": ("pvt_v2_b5",), "id2label": ({"0": "a"}, 3), "pretrained_cfg": ({}, 3)}
            return json.dumps(self.bad({**SETTINGS, **entries}, config)).encode("utf-8", "replace")
        return self.json(config)

    # ---- a case ----

    def write(self, case: Path) -> tuple[str, str]:
        """A run folder; returns what was changed, and which run it is."""
        r = self.random
        run = r.choice(("digits", "photos", "photos", "photos"))
        files = dict(self.runs[run])
        half = files.pop("half")
        kind = r.choice(
            ("note", "note", "note", "weights", "state", "state", "state", "result", "config", "metrics", "bytes")
        )
        if kind in ("state", "config", "metrics", "bytes") and r.random() < 0.8 or kind == "state":
            files["last.safetensors"] = half
            del files["result.json"]
        if kind == "weights" and r.random() < 0.5:
            del files["result.json"]  # so that the last state evaluates them
        if kind == "note":
            files["model.safetensors"] = self.noted(files["model.safetensors"])
        if kind == "result":
            files["result.json"] = self.result(files["result.json"])
        if kind == "config":
            files["config.json"] = self.settings(files["config.json"])
        if kind == "metrics":
            files["metrics.csv"] = self.bytes(files["metrics.csv"])
        if kind == "bytes":
            name = r.choice([name for name in files if name != "metrics.csv"])
            within = 8 + int.from_bytes(files[name][:8], "little") if name.endswith("safetensors") else None
            files[name] = self.bytes(files[name], within if r.random() < 0.8 else None)
        for name, data in files.items():
            (case / name).write_bytes(data)
        if kind == "weights":
            self.weights(case / "model.safetensors")
        if kind == "state":
            self.state(case / "last.safetensors")
        return kind, run


class Attempt:
    """Reads a case in several ways. `outcomes` are "read" and "refused"; what nobody meant to happen is in `faults`."""

    def __init__(self, fuzz: Fuzz, case: Path, folder: Path) -> None:
        self.fuzz, self.case, self.folder = fuzz, case, folder
        self.opened: list[str] = []
        self.faults: list[str] = []
        self.outcomes: list[str] = []
        known = [
            sys.prefix,
            sys.base_prefix,
            str(Path(__file__).parent),
            str(Path(mg.__file__).parent),
            "/proc",
            "/dev",
            "/sys",
            *site.getsitepackages(),
            *filter(os.path.isdir, sys.path),
        ]
        self.known = tuple(
            os.path.join(os.path.abspath(path), "")
            for path in (*known, case, folder / "photos", folder / "digits", folder / "out")
        )
        self.watching = False
        sys.addaudithook(self.heard)

    def heard(self, event: str, args: tuple) -> None:
        if not self.watching:
            return
        if event == "open" and isinstance(args[0], str | bytes):
            path = os.path.abspath(os.fsdecode(args[0]))
            if not (path + "/").startswith(self.known) and path != "/dev/null":
                self.opened.append(path)
        elif event.startswith(("socket.", "os.system", "os.exec", "subprocess")):
            self.opened.append(event)

    def __call__(self, kind: str, run: str) -> None:
        r, case, sample = self.fuzz.random, self.case, str(self.fuzz.samples[run])
        self.faults, self.outcomes = [], []
        ways = {
            "eval": ("eval", str(case), "--split", "val"),
            "predict": ("predict", str(case), sample, "--local-files-only"),
            "convert": ("convert", str(case), str(self.folder / "out" / "converted"), "--to", "original"),
            "resume": ("train", "--resume", str(case), "--quiet"),
        }
        if kind in ("note", "weights", "bytes"):
            self.measured("load", "model.safetensors", lambda: training.Classifier.load(case))
            self.guarded("predict", lambda: outcome(lambda: training.Classifier.load(case).predict(sample)))
            self.measured("from_pretrained", "model.safetensors", lambda: models.from_pretrained(case))
            chosen = r.sample(list(ways), 1 if kind == "note" else 2)
        elif kind in ("state", "result"):
            chosen = ["resume"]
        else:
            chosen = [r.choice(list(ways))]
            self.measured("from_pretrained", "model.safetensors", lambda: models.from_pretrained(case))
        for name in chosen:
            shutil.rmtree(self.folder / "out", ignore_errors=True)
            self.guarded(name, lambda name=name: self.line(ways[name]))

    def guarded(self, what: str, call) -> None:
        """Runs a call under the watch over time and files."""
        self.opened.clear()
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        start = time.perf_counter()
        self.watching = True
        try:
            self.outcomes.append(call())
        except BaseException as error:  # noqa: BLE001
            self.watching = False
            place = traceback.extract_tb(error.__traceback__)[-1]
            self.faults.append(f"{what}: {repr(error)[:200]} at {Path(place.filename).name}:{place.lineno}")
        self.watching = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        if (took := time.perf_counter() - start) > PATIENCE:
            self.faults.append(f"{what}: {took:.1f} s")
        if self.opened:
            self.faults.append(f"{what}: opened {self.opened[:3]}")

    def measured(self, what: str, name: str, call) -> None:
        """A call that reads a file; how much memory it takes beyond what it returns is counted, too."""

        def counted() -> str:
            gc.collect()
            tracemalloc.start()
            try:
                return outcome(call)
            except HubError as error:
                return "refused" if "\n" not in str(error) else "fault"
            finally:
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
                if peak > (most := self.allowed(name)):
                    self.faults.append(f"{what}: {peak >> 20} MiB, {most >> 20} at most")

        self.guarded(what, counted)

    def allowed(self, name: str) -> int:
        size = (self.case / name).stat().st_size
        try:
            tensors = sum(entry.nbytes for entry in read_header(self.case / name)[0].values())
        except ValueError:
            return int(SHARE * size) + SLACK
        return int(SHARE * tensors) + TEXT * (size - tensors) + SLACK

    def line(self, arguments: tuple[str, ...]) -> str:
        """The command line. A run that is resumed is measured until it goes on."""
        complete, peak = trainer._Run.complete, []
        resumed = arguments[0] == "train"

        def begun(run):
            peak.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            return complete(run)

        if resumed:
            gc.collect()
            tracemalloc.start()
            trainer._Run.complete = begun
        out, err = io.StringIO(), io.StringIO()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = command(arguments)
        finally:
            trainer._Run.complete = complete
            if tracemalloc.is_tracing():
                peak.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
        if peak and peak[0] > (most := self.allowed("last.safetensors")):
            self.faults.append(f"{arguments[0]}: {peak[0] >> 20} MiB, {most >> 20} at most")
        said, told = out.getvalue(), err.getvalue()
        wrong = [c for c in (said + told).replace("\n", "") if not c.isprintable()]
        if wrong:
            self.faults.append(f"{arguments[0]}: prints {wrong[:3]}")
        if status == 0:
            if re.search(r"(?<![\w/])-?(nan|inf)\b", re.sub(r"%  nan$", "", said, flags=re.M)):
                self.faults.append(f"{arguments[0]}: status 0 and {said.strip()[:200]!r}")
            return "read"
        lines = [line for line in told.splitlines() if not line.startswith("minigrad: warning: ")]
        if (
            status not in (1, 2)
            or len(lines) != 1
            or not lines[0].startswith("minigrad: error: ")
            or len(lines[0]) > 1500
        ):
            self.faults.append(f"{arguments[0]}: status {status} and {told[-300:]!r}")
        return "refused"


class Hang(BaseException):
    pass


def stop(number, frame) -> None:
    raise Hang


def main(seed: int, count: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    warnings.simplefilter("ignore")
    report._pictures = lambda *_: []  # which take longer than the runs
    fuzz, case, out = Fuzz(seed, folder), folder / "case", {"faults": []}
    signal.signal(signal.SIGALRM, stop)
    status = Path("/proc/self/statm")
    if status.exists():
        used = int(status.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
    attempt = Attempt(fuzz, case, folder)
    slowest, faulty = 0.0, 0
    for i in range(count):
        shutil.rmtree(case, ignore_errors=True)
        case.mkdir()
        kind, run = fuzz.write(case)
        start = time.perf_counter()
        attempt(kind, run)
        slowest = max(slowest, time.perf_counter() - start)
        faulty += bool(attempt.faults)
        out["faults"] += [[i, kind, run, fault] for fault in attempt.faults]
        found = out.setdefault(kind, {"read": 0, "refused": 0, "faults": 0})
        for what in attempt.outcomes:
            found[what] += 1
        found["faults"] += len(attempt.faults)
    out["cases with faults"], out["slowest"] = faulty, round(slowest, 3)
    print(json.dumps(out))


if __name__ == "__main__":
    np.seterr(all="ignore")
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]).resolve())
