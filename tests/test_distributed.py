"""Two processes on one machine, against one with the same batches; what happens when one stops, freezes or dies."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from kernels import precompile_header
from test_training import FewDigits, folder_of_images

import minigrad as mg
from minigrad import distributed, models
from minigrad.data import DataLoader
from minigrad.parallel import exchange
from minigrad.parallel import heartbeat as heartbeat_module
from minigrad.parallel import team as team_module
from minigrad.parallel.heartbeat import Heartbeat
from minigrad.parallel.team import Team
from minigrad.training import TrainingError
from minigrad.training.run_folder import load_state

mx = pytest.importorskip("mlx.core", exc_type=ImportError)
ROOT = Path(__file__).parent.parent
SCRIPT = Path(__file__).parent / "two_processes.py"
LIMIT = 120  # seconds that only a hang takes


def free_ports(count):
    """The first of neighbouring ports that nobody listens on."""
    for first in np.random.default_rng().permutation(np.arange(20000, 30000, count))[:100].tolist():
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first
    raise AssertionError("no free ports")


def environment(folder):
    """Kernels are built in `folder`, with the header that this takes long to read precompiled."""
    precompile_header()
    parts = Path("mlx", mx.__version__, "cpu/mlx/backend/cpu/compiled_preamble.h.gch")
    header = Path(tempfile.gettempdir()) / parts
    for number in range(2):
        own = folder / f"minigrad-mlx-{os.getuid()}-{number}"
        own.mkdir(0o700, exist_ok=True)
        if header.exists() and not (own / parts).exists():
            (own / parts).parent.mkdir(parents=True)
            (own / parts).symlink_to(header)
    return {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def launcher():
    """What runs mlx.launch, which need not lie beside the interpreter."""
    (script,) = {p for p in entry_points(group="console_scripts") if p.name == "mlx.launch"}
    return [sys.executable, "-c", f"from {script.module} import {script.attr}; {script.attr}()"]


def two(folder, *arguments):
    """The script in two processes, as a launcher starts them: exit statuses, and what each said. None outlives the test."""
    port = free_ports(2)
    (folder / "hosts.json").write_text(json.dumps([[f"127.0.0.1:{port + rank}"] for rank in range(2)]))
    shared = {**environment(folder), "MLX_HOSTFILE": str(folder / "hosts.json")}
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(2)]
        processes = []
        for rank, file in enumerate(files):
            own = {**shared, "MLX_RANK": str(rank)}
            processes.append(p := subprocess.Popen(command, env=own, cwd=folder, stdout=file, stderr=subprocess.STDOUT))
            stack.callback(p.wait)
            stack.callback(p.kill)
        for p in processes:
            p.wait(LIMIT)
        for file in files:
            file.seek(0)
        return [p.returncode for p in processes], [file.read() for file in files]


# --- the same as one process --------------------------------------------------------------------------------------------
def test_two_processes_train_like_one(tmp_path, compiles):
    """20 losses, and the weights after a step of SGD, to 1e-6; operation by operation and compiled."""
    status, said = two(tmp_path, "numbers", "found")
    assert status == [0, 0], said
    from two_processes import everything

    alone = everything()
    both = [dict(np.load(tmp_path / f"found{rank}.npz")) for rank in range(2)]
    for name, expected in alone.items():
        np.testing.assert_allclose(both[0][name], expected, rtol=0, atol=1e-6, err_msg=name)
        np.testing.assert_array_equal(both[0][name], both[1][name])
    for rank, found in enumerate(both):
        found = {name.removeprefix(f"rank {rank} "): value for name, value in found.items()}
        assert found["sum"].tolist() == [3.0] * 7 and found["mean"].tolist() == [1.5] * 3
        assert found["broadcast"].tolist() == [1.0] * 4 and bytes(found["bytes"]) == b"\x00hello\xff"
        assert found["gathered"].tolist() == [[0, 1 << 40], [1, 1 << 40]] and found["fractions"].tolist() == [
            [0],
            [1 / 3],
        ]
        assert bytes(found["first"]) == b"rank 0" and found["error"]


def test_a_run_of_two_processes(tmp_path, samples, seed):
    """A whole run through mlx.launch; another that is asked to stop, goes on, and loses a process; always with the same weights."""
    folder_of_images(tmp_path / "photos", each=16)
    options = (
        "--data",
        "photos",
        "--device",
        "mlx",
        "--no-compile",
        "--batch-size",
        "4",
        "--epochs",
        "4",
        "--drop-path",
        "0.1",
    )
    launch = [*launcher(), "-n", 2, "-p", free_ports(2), "--", sys.executable, SCRIPT]
    whole = subprocess.run(
        list(map(str, [*launch, "train", "record", 0, *options, "--output", "whole"])),
        env=environment(tmp_path), cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT,
    )  # fmt: skip
    assert whole.returncode == 0 and whole.stdout.count("2 processes") == whole.stdout.count("epoch 4/4") == 1, whole
    assert whole.stdout.count("test accuracy") == 1 and (tmp_path / "whole/result.json").exists()
    weights = json.loads((tmp_path / "weights.json").read_text())
    assert len(weights) == 4 * 5

    def steps_done(run):
        found = load_state(tmp_path / run / "last.safetensors")
        steps = found["epoch"] * 5 + found["batch"]
        model = models.pvt_v2_tiny(num_classes=2, img_size=32)
        model.load_state_dict(found["model"])
        assert distributed.fingerprint(model.parameters()) == weights[str(steps)]
        return steps

    status, said = two(tmp_path, "train", "stop", 7, *options, "--output", "stopped")
    assert status == [130, 130] and "epoch 1/4" in said[0] and "epoch 1/4" not in said[1], said
    assert steps_done("stopped") == 9
    for i, step in enumerate([13, *np.random.default_rng(seed).integers(11, 20, samples(1) - 1).tolist()]):
        run = f"run{i}"
        shutil.copytree(tmp_path / "stopped", tmp_path / run)
        started = time.monotonic()
        status, said = two(tmp_path, "train", "kill", step, "--resume", run)
        assert status == [1, -signal.SIGKILL] and time.monotonic() - started < LIMIT, (step, said)
        for words in ("go on without it; the state after", f"--resume {run}"):
            assert words in said[0] and "Traceback" not in said[0], (step, said)
        assert 10 <= steps_done(run) <= step


# --- its parts ------------------------------------------------------------------------------------------------------------
def test_alone_nothing_happens():
    layer = mg.nn.Linear(2, 1)
    layer(mg.ones(1, 2)).sum().backward()
    before = layer.weight.grad
    distributed.average_gradients(layer.parameters())
    distributed.broadcast(layer.parameters())
    assert layer.weight.grad is before and distributed.first(lambda: b"x") == distributed.broadcast_bytes(b"x") == b"x"
    assert (
        distributed.all_gather([1, 2]).tolist() == [[1, 2]]
        and distributed.all_reduce([before])[0].tolist() == before.tolist()
    )
    with pytest.raises(ValueError, match="op must be 'sum' or 'mean', got 'max'"):
        distributed.all_reduce([before], "max")


def test_one_process_of_a_launcher_is_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("MLX_RANK", "0")
    assert mg.backend.launched()
    for content, several in (("\n", False), ('[["127.0.0.1:1"], ["127.0.0.1:2"]]', True)):
        (tmp_path / "hosts").write_text(content)
        monkeypatch.setenv("MLX_HOSTFILE", str(tmp_path / "hosts"))
        assert mg.backend.launched() is several


def test_buckets_keep_order_and_dtypes(monkeypatch):
    monkeypatch.setattr(exchange, "BUCKET", 16)
    tensors = [
        mg.zeros(n, dtype=t) for n, t in ((2, "float32"), (3, "float32"), (1, "int32"), (9, "float32"), (1, "float32"))
    ]
    assert exchange._buckets(tensors) == [[0, 1], [2], [3], [4]]


def test_only_mlx_exchanges(monkeypatch):
    monkeypatch.setattr(exchange, "_place", lambda: (0, 2))
    with pytest.raises(ValueError, match="on device 'mlx', these are on cpu"):
        distributed.all_reduce([mg.ones(1)])
    monkeypatch.setenv("MLX_RANK", "0")
    with pytest.raises(ValueError, match="train on device 'mlx', not on 'cpu'"):
        Team().share("cpu", 8, 8)


def test_parts_make_up_a_batch():
    data = FewDigits("train")
    whole = next(iter(DataLoader(data, 32, shuffle=True, seed=3)))
    parts = [next(iter(DataLoader(data, 32, shuffle=True, seed=3, part=(i, 2)))) for i in range(2)]
    for k in range(2):
        assert np.array_equal(np.concatenate([part[k].numpy() for part in parts]), whole[k].numpy())


def test_what_came_wrong_is_noticed(monkeypatch):
    """As when a process dies in the middle of an exchange: nothing came, or what an earlier one left in the memory."""
    monkeypatch.setattr(exchange, "_place", lambda: (0, 2))
    xp = mg.backend.get("mlx")

    def both(change):
        """An exchange with another process that gives the same, changed."""

        def gather(a):
            rows = np.concatenate([xp.to_numpy(a)] * 2)
            rows[1, 0] = 1  # its rank
            return mx.array(change(rows))

        return gather

    monkeypatch.setitem(vars(xp), "all_gather", both(lambda rows: rows))
    assert distributed.all_gather([3, 4]).tolist() == [[3, 4], [3, 4]]
    for place in ((1, 0), (1, 8), (1, 16), (1, -1), (0, -1)):  # rank, ticket, checksum, content

        def change(rows, place=place):
            rows[place] ^= 1
            return rows

        monkeypatch.setitem(vars(xp), "all_gather", both(change))
        with pytest.raises(distributed.PeerLost):
            distributed.all_gather([3, 4])
    monkeypatch.setitem(vars(xp), "all_gather", both(lambda rows: rows))
    monkeypatch.setitem(vars(xp), "all_sum", lambda a: a + mx.array([0, 1, 0], mx.uint8))
    with pytest.raises(distributed.PeerLost):
        distributed.broadcast_bytes(b"abc")

    def broken(a):
        raise RuntimeError("[ring] connection to a peer was lost")

    monkeypatch.setitem(vars(xp), "eval", broken)
    with pytest.raises(distributed.PeerLost):
        distributed.barrier()


def team_of_two(monkeypatch, rows):
    team = Team(TrainingError)
    team.device = "mlx"
    team.rank, team.size = 1, 2
    monkeypatch.setattr(exchange, "all_gather", lambda values: np.array(rows(list(values))))
    monkeypatch.setattr(exchange, "broadcast", lambda tensors: None)
    return team


def test_a_team_looks_at_what_it_shares(monkeypatch):
    team = team_of_two(monkeypatch, lambda mine: [[5, 7], mine] if len(mine) == 2 else [[9], mine])
    model = mg.nn.Linear(2, 1)
    with pytest.raises(ValueError, match="disagree on the number of images: 7, 8"):
        team.start(model, {"classes": 5, "images": 8})
    mg.manual_seed(0)
    team.start(model, {"classes": 5, "images": 7})
    assert mg.random.default.state[0] != 0 and mg.random.default.state[1] == 9  # as many draws as process 0
    team = team_of_two(monkeypatch, lambda mine: [[5], mine])
    with pytest.raises(TrainingError, match="no longer alike"):
        team.check_alike(model)
    for batch, images in ((7, 100), (8, 6)):
        with pytest.raises(ValueError, match=f"a batch of {batch} of {images} images can't be shared equally by 2"):
            team.share("mlx", batch, images)
    assert team.share("mlx", 8, 8) == 4


def test_the_words_of_a_step(monkeypatch):
    """They are those of this step and of everybody, or what came with them is not believed."""
    for stops, wrong in ((0, 0), (1, 0), (0, 1), (0, -1)):
        team = team_of_two(monkeypatch, list)
        team.sent = team.heard = 65535  # the largest number
        first, second = team.word(False), team.word(False)
        assert first.tolist() == [0, 0] and second.tolist() == [1, 0]
        team.hear(first + first)
        if wrong:
            with pytest.raises(distributed.PeerLost):
                team.hear(second + second + mg.tensor([float(wrong), 0.0], device="mlx"))
        else:
            team.hear(second + second + mg.tensor([0.0, float(stops)], device="mlx"))
            assert team.stopping == bool(stops)


@pytest.mark.parametrize(
    "error", [distributed.PeerLost(), RuntimeError("[ring] connection to a peer was lost"), RuntimeError("x")]
)
def test_the_end_of_another_process(monkeypatch, error):
    """An error that tells of it becomes a sentence; of both threads that may notice one deals with it."""
    monkeypatch.setattr(team_module, "Heartbeat", lambda lost: SimpleNamespace(close=lambda done: closed.append(done)))
    monkeypatch.setattr(os, "_exit", lambda status: closed.append(status))
    monkeypatch.setattr(team_module, "GRACE", 0)
    team, closed = team_of_two(monkeypatch, list), []
    team.rescue = lambda reason: f"{reason}: rescued"
    with pytest.raises(RuntimeError, match="x" if str(error) == "x" else "^another process ended: rescued$"), team:
        raise error
    team._lost("process 0 ended")
    assert closed == [False]
    team = team_of_two(monkeypatch, list)
    team.stopping = True
    with pytest.raises(KeyboardInterrupt), team:
        raise KeyboardInterrupt
    assert closed == [False, True]
    team = team_of_two(monkeypatch, list)
    team._lost("process 0 ended")
    assert closed == [False, True, 1]


class Listening(Heartbeat):
    """A heartbeat with one connection whose other end is the test."""

    def connect(self):
        mine, self.other = socket.socketpair()
        self.sockets = {mine: 1}


@pytest.mark.parametrize("what", ["dies", "freezes", "is done"])
def test_heartbeat(what, monkeypatch):
    monkeypatch.setattr(heartbeat_module, "BEAT", 0.02)
    monkeypatch.setattr(heartbeat_module, "SILENCE", 0.5 if what == "freezes" else LIMIT)
    lost = []
    heartbeat = Listening(lost.append)
    assert heartbeat.other.recv(1) == heartbeat.other.recv(1) == heartbeat_module.ALIVE
    heartbeat.other.send(heartbeat_module.ALIVE)
    if what == "is done":
        heartbeat.other.send(heartbeat_module.DONE)
    elif what == "dies":
        heartbeat.other.close()
    heartbeat.thread.join(LIMIT)
    assert not heartbeat.thread.is_alive()
    assert (
        lost
        == {"dies": ["process 1 ended"], "freezes": ["process 1 has been silent for 0 seconds"], "is done": []}[what]
    )
    heartbeat.close(done=False)


def test_two_heartbeats_end_in_peace(monkeypatch):
    """They send in their own time and not because something came, or they would keep each other busy; that one is done and closes
    its connection alarms nobody."""
    monkeypatch.setattr(heartbeat_module, "BEAT", LIMIT)
    lost = []
    heartbeat = Listening(lost.append)
    for _ in range(10):
        heartbeat.other.send(heartbeat_module.ALIVE)
        time.sleep(0.01)
    closing = threading.Thread(target=heartbeat.close)
    closing.start()
    heard = b""
    while not heard.endswith(heartbeat_module.DONE):
        heard += heartbeat.other.recv(100)
    assert closing.is_alive()  # until this end is closed, too
    heartbeat.other.close()
    closing.join(LIMIT)
    assert heard == heartbeat_module.ALIVE + heartbeat_module.DONE and not lost and not heartbeat.thread.is_alive()
