"""Writing: the whole new file or the old one, whatever happens; what a file is besides its content stays."""

import builtins
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import files
from minigrad.serialize import load_arrays

# ---- atomic writing --------------------------------------------------------------------------------------------------


class Failure(Exception):
    pass


def test_an_error_in_the_middle_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.bin"

    def write(file):
        file.write(b"half of it")
        file.flush()
        raise Failure

    for content in (b"", b"the old content"):
        if content:
            files.atomic_write(path, content)
        with pytest.raises(Failure):
            files.atomic_write(path, write)
        assert os.listdir(tmp_path) == (["a.bin"] if content else [])
    assert path.read_bytes() == b"the old content"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_system_call_leaves_the_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / "a.safetensors"
    mg.save(path, {"a": np.zeros(3)})

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="can't write .*a.safetensors: No space left on device"):
        mg.save(path, {"a": np.ones(3)})
    monkeypatch.undo()
    np.testing.assert_array_equal(load_arrays(path)[0]["a"], np.zeros(3))
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_interruption_leaves_the_old_file(tmp_path):
    def write(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.atomic_write(tmp_path / "a", write)
    assert os.listdir(tmp_path) == []


def test_order_of_the_steps(tmp_path, monkeypatch):
    """The file reaches the disk before it gets its name, the name before the function returns."""
    steps = []
    fsync, replace = os.fsync, os.replace

    def is_folder(fd):
        return stat.S_ISDIR(os.fstat(fd).st_mode)

    monkeypatch.setattr(os, "fsync", lambda fd: steps.append(f"fsync {is_folder(fd)}") or fsync(fd))
    monkeypatch.setattr(os, "replace", lambda a, b: steps.append("replace") or replace(a, b))
    files.atomic_write_text(tmp_path / "a.txt", "ä\n")
    assert steps == ["fsync False", "replace", "fsync True"]
    assert (tmp_path / "a.txt").read_bytes() == "ä\n".encode()


def test_new_files_have_ordinary_permissions(tmp_path):
    with builtins.open(tmp_path / "plain", "w"):
        pass
    files.atomic_write(tmp_path / "atomic", b"")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_json(tmp_path):
    path = tmp_path / "a.json"
    files.atomic_write_json(path, {"b": [1, 2.5, "é"], "a": None})
    assert json.loads(path.read_text("utf-8")) == {"b": [1, 2.5, "é"], "a": None}
    with pytest.raises(ValueError):
        files.atomic_write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text("utf-8"))["a"] is None


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "no" / "a", tmp_path / "file" / "a", tmp_path / "folder", tmp_path / ("n" * 300)):
        with pytest.raises(OSError, match="can't write"):
            files.atomic_write(path, b"x")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


# ---- what a file is besides its content ------------------------------------------------------------------------------


def test_permissions_stay(tmp_path):
    """And nobody else can read a private file's new content meanwhile."""
    path = tmp_path / "private"
    path.write_bytes(b"old")
    for mode in (0o600, 0o640, 0o666, 0o755):
        path.chmod(mode)
        seen = []

        def write(file, seen=seen):
            seen.append(stat.S_IMODE(os.fstat(file.fileno()).st_mode))
            file.write(b"new")

        files.atomic_write(path, write)
        assert seen == [mode] and stat.S_IMODE(path.stat().st_mode) == mode and path.read_bytes() == b"new"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_stays(tmp_path):
    path = tmp_path / "theirs"
    path.write_bytes(b"old")
    os.chown(path, 1234, 4321)
    path.chmod(0o640)
    files.atomic_write(path, b"new")
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 4321, 0o640)


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="attributes of Linux")
def test_further_attributes_stay(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    try:
        os.setxattr(path, "user.minigrad", b"kept")
    except OSError:
        pytest.skip("this file system has none")
    files.atomic_write(path, b"new")
    assert os.getxattr(path, "user.minigrad") == b"kept"


def test_a_symbolic_link_keeps_leading_to_the_file(tmp_path):
    (tmp_path / "store").mkdir()
    target = tmp_path / "store" / "blob"
    target.write_bytes(b"old")
    target.chmod(0o600)
    (tmp_path / "link").symlink_to("store/blob")
    (tmp_path / "twice").symlink_to("link")
    (tmp_path / "nowhere").symlink_to("store/new")
    for name, at in (("link", target), ("twice", target), ("nowhere", tmp_path / "store" / "new")):
        files.atomic_write(tmp_path / name, name.encode())
        assert (tmp_path / name).is_symlink() and not at.is_symlink() and at.read_bytes() == name.encode()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path / "store")) == ["blob", "new"]
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(OSError, match="can't write .*circle"):
        files.atomic_write(tmp_path / "circle", b"")


def test_a_hard_link_keeps_the_old_content(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    os.link(tmp_path / "a", tmp_path / "b")
    files.atomic_write(tmp_path / "a", b"new")
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "b").read_bytes()) == (b"new", b"old")


def test_a_write_protected_file_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o444)
    if os.access(path, os.W_OK):  # root may write everything
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="can't write .*a: it is write-protected"):
        files.atomic_write(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


# ---- devices, pipes, standard output ---------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="no /dev/null here")
def test_a_device_is_written_to(tmp_path):
    before = os.stat("/dev/null")
    (tmp_path / "link").symlink_to("/dev/null")
    for path in ("/dev/null", tmp_path / "link"):
        files.atomic_write(path, b"x")
        mg.save(path, {"a": mg.ones(3)})
        files.atomic_write_text(path, "x")
    after = os.stat("/dev/null")
    assert stat.S_ISCHR(after.st_mode) and (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert not [name for name in os.listdir("/dev") if name.startswith(files.PREFIX)]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_written_to(tmp_path):
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    mg.save(tmp_path / "file", {"a": mg.ones(3)})
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    mg.save(pipe, {"a": mg.ones(3)})
    reader.join(20)
    assert found == [(tmp_path / "file").read_bytes()] and stat.S_ISFIFO(pipe.stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["file", "pipe"]
    with pytest.raises(
        mg.serialize.CheckpointError, match="pipe is a device or a pipe, and tensors are read from a file"
    ):
        mg.load(pipe)  # and doesn't wait for somebody who writes to it


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="no /dev/stdout here")
def test_standard_output_goes_on(tmp_path):
    code = "from minigrad import files; print('before', flush=True); files.atomic_write('/dev/stdout', b'written\\n'); print('after')"
    for start in (b"", b"an old line\n") if sys.platform == "linux" else ():
        path = tmp_path / "out"
        path.write_bytes(start)
        with open(path, "ab") as out:
            subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
        assert path.read_bytes() == start + b"before\nwritten\nafter\n"
    assert os.listdir(tmp_path) == ["out"]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"before\nwritten\nafter\n"


# ---- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["n" * 242, "n" * 255, "ä" * 127, ".", "..", "-", " ", "a\nb", ".hidden"])
def test_names_of_every_length(tmp_path, monkeypatch, name):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    if name in (".", ".."):
        with pytest.raises(IsADirectoryError, match=r"can't write \.+: it is a folder"):
            files.atomic_write(name, b"x")
    else:
        for content in (b"x", b"y"):
            files.atomic_write(name, content)
        assert os.listdir(".") == [name] and Path(name).read_bytes() == b"y"


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_what_cannot_be_a_path(tmp_path, name):
    for call in (lambda p: files.atomic_write(p, b""), lambda p: mg.save(p, {}), mg.load):
        with pytest.raises(ValueError, match="can't be a path"):
            call(f"{tmp_path}/{name}")
    assert os.listdir(tmp_path) == []


def test_numbers_are_no_paths():
    """open(1) would take standard output, and close it."""
    for call in (
        lambda: mg.load(1),
        lambda: mg.save(1, {}),
        lambda: mg.save({}, 1),
        lambda: files.atomic_write(1, b""),
    ):
        with pytest.raises(TypeError, match="must be (a path|a dict)"):
            call()
    os.fstat(1)


IN_A_FOLDER = """
import os, sys
import minigrad as mg
from minigrad import files, models
folder = sys.argv[1]
assert os.fsencode(folder).endswith(b"\\xc3\\xa4\\xff"), folder
mg.save(folder + "/a.safetensors", {"x": mg.ones(2), "where": folder})
found = mg.load(folder + "/a.safetensors")
assert found["x"].tolist() == [1, 1] and found["where"] == folder
files.atomic_write_text(folder + "/a.txt", folder)
files.atomic_write_json(folder + "/a.json", {"where": folder})
model = models.create_model("pvt_v2_tiny", num_classes=2)
models.save_pretrained(model, folder + "/new", layout="original")
models.from_pretrained(folder + "/new")
from PIL import Image
from minigrad.cli import main
Image.new("RGB", (32, 32), "red").save(folder + "/a.png")
out = folder + "/out"
assert main(["predict", folder + "/new", folder + "/a.png", "--csv", out + ".csv", "--attention", out + ".png"]) == 0
assert main(["convert", folder + "/new", out, "--to", "original"]) == 0
assert main(["graph", "pvt_v2_tiny", "-o", out + ".svg"]) == 0
assert main(["graph", "pvt_v2_tiny", "--format", "svg", "-o", "/dev/null"]) == 0
assert main(["predict", folder + "/no", folder + "/a.png"]) == 2
"""


@pytest.mark.parametrize("utf8", ["0", "1"])
def test_folders_whose_names_are_no_text(tmp_path, utf8):
    """Where the locale has no name for a byte, Python makes half a surrogate pair of it."""
    folder = os.fsencode(tmp_path) + b"/\xc3\xa4\xff"
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("this file system takes text alone")
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": utf8, "PYTHONPATH": str(Path(mg.__file__).parents[1])}
    if utf8 == "1":
        env["PYTHONIOENCODING"] = "utf-8:strict"  # as in most locales
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", IN_A_FOLDER, folder], env=env, capture_output=True)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    assert b"/\xc3\xa4\xff/out: PVT v2" in done.stdout and b"UnicodeEncodeError" not in done.stderr
    assert Path(os.fsdecode(folder), "a.txt").read_bytes() == folder
    assert json.loads(Path(os.fsdecode(folder), "a.json").read_text("utf-8"))["where"].endswith("\udcff")


def test_text_that_no_encoding_has(tmp_path):
    with pytest.raises(ValueError, match="text has '.ud800' at position 1, half of a surrogate pair"):
        files.atomic_write_text(tmp_path / "a", "a\ud800")
    files.atomic_write_json(tmp_path / "b", ["a\ud800"])
    assert json.loads((tmp_path / "b").read_bytes()) == ["a\ud800"] and os.listdir(tmp_path) == ["b"]


# ---- what the system refuses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("refused", ["open", "fsync"])
def test_a_folder_that_cannot_be_flushed(tmp_path, monkeypatch, refused):
    fsync, system_open = os.fsync, os.open

    def refuse(*args):
        raise OSError(22, "Invalid argument")

    if refused == "open":
        monkeypatch.setattr(os, "open", refuse)
    else:
        monkeypatch.setattr(os, "fsync", lambda fd: refuse() if stat.S_ISDIR(os.fstat(fd).st_mode) else fsync(fd))
    files.atomic_write(tmp_path / "a", b"x")
    files.atomic_write_folder(tmp_path / "new", {"b": b"y"})
    monkeypatch.setattr(os, "open", system_open)
    assert (tmp_path / "a").read_bytes() == b"x" and (tmp_path / "new" / "b").read_bytes() == b"y"
    assert sorted(os.listdir(tmp_path)) == ["a", "new"]


def test_a_file_system_that_flushes_nothing(tmp_path, monkeypatch):
    def refuse(fd):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    files.atomic_write(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    """Nothing can be told there about the temporary files of others, so they stay."""
    left = tmp_path / f"{files.PREFIX}0123456789abcdef{files.SUFFIX}"
    left.write_bytes(b"")

    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    files.atomic_write(tmp_path / "a", b"x")
    assert sorted(os.listdir(tmp_path)) == [left.name, "a"]


# ---- temporary files of the dead and of the living -------------------------------------------------------------------


def test_temporary_files_of_ended_processes_are_cleared(tmp_path):
    left = tmp_path / f"{files.PREFIX}0123456789abcdef{files.SUFFIX}"
    others = ["notes.tmp", ".minigrad-notes", ".a.0123abcd.tmp"]
    for write in (
        lambda: files.atomic_write(tmp_path / "a", b"x"),
        lambda: files.atomic_write_folder(tmp_path / "new", {"b": b"y"}),
        lambda: files.atomic_write_folder(tmp_path, {"b": b"y"}),
    ):
        left.write_bytes(b"half")
        (tmp_path / f"{left.name}.d").mkdir()
        (tmp_path / f"{left.name}.d" / "model.safetensors").write_bytes(b"half")
        for name in others:
            (tmp_path / name).write_bytes(b"kept")
        write()
        assert not [name for name in os.listdir(tmp_path) if name.startswith(left.name)]
        assert all((tmp_path / name).read_bytes() == b"kept" for name in others)


def test_links_that_look_like_temporary_files(tmp_path):
    """In a folder that others can write to, nobody makes us delete files elsewhere."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a").write_bytes(b"kept")
    (tmp_path / "shared").mkdir()
    name = f"{files.PREFIX}0123456789abcdef{files.SUFFIX}"
    (tmp_path / "shared" / name).write_bytes(b"")
    (tmp_path / "shared" / f"{name}.d").symlink_to(tmp_path / "mine")
    (tmp_path / "shared" / f"{files.PREFIX}1{files.SUFFIX}").symlink_to(tmp_path / "mine" / "a")
    files.atomic_write(tmp_path / "shared" / "b", b"x")
    assert (tmp_path / "mine" / "a").read_bytes() == b"kept" and (tmp_path / "shared" / "b").read_bytes() == b"x"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_temporary_files_of_other_users_stay(tmp_path):
    left = tmp_path / f"{files.PREFIX}0123456789abcdef{files.SUFFIX}"
    left.write_bytes(b"")
    os.chown(left, 1234, 4321)
    files.atomic_write(tmp_path / "b", b"x")
    assert left.exists()


def test_writers_at_the_same_time_leave_one_another_alone(tmp_path):
    """One file written while another is, in the same folder, by threads that clear it again and again."""
    errors = []

    def work(number):
        try:
            for i in range(60):
                files.atomic_write(tmp_path / f"{number % 3}", bytes([number]) * (1 + i) * 100)
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    def during(file):
        file.write(b"first half, ")
        files.atomic_write(tmp_path / "other", b"x")
        file.write(b"second half")

    files.atomic_write(tmp_path / "slow", during)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and (tmp_path / "slow").read_bytes() == b"first half, second half"
    assert sorted(os.listdir(tmp_path)) == ["0", "1", "2", "other", "slow"]
    for name in "012":
        assert len(set((tmp_path / name).read_bytes())) == 1


def test_another_process_that_clears_a_new_file_is_noticed(tmp_path, monkeypatch):
    flock, taken = files.fcntl.flock, []

    def quicker(file, how):
        if not taken:
            taken.append(file.name)
            os.unlink(file.name)
        return flock(file, how)

    monkeypatch.setattr(files.fcntl, "flock", quicker)
    files.atomic_write(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x" and len(taken) == 1 and os.listdir(tmp_path) == ["a"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(("how", "own"), [("kill", 20), ("interrupt", 40)], ids=["killed", "interrupted"])
def test_saves(tmp_path, samples, seed, how, own):
    """At random moments: either the old or the new content is there, and the next save leaves nothing else."""
    count = samples(own)
    script = Path(__file__).with_name("fuzz_saves.py")
    command = [sys.executable, str(script), how, str(seed), str(count), str(tmp_path / "fuzz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + count)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["faults"] == []
    if count >= 20:
        assert found["saved"] > 0 and (how == "interrupt" or found["left"] > 0)  # it met them in the middle


# ---- folders ---------------------------------------------------------------------------------------------------------


def test_a_new_folder_appears_as_a_whole(tmp_path):
    seen = []

    def second(file):
        seen.append((tmp_path / "new").exists())
        file.write(b"2")

    for folder in (tmp_path / "new", tmp_path / "above" / "new"):
        files.atomic_write_folder(folder, {"a": b"1", "b": second})
        assert {p.name: p.read_bytes() for p in folder.iterdir()} == {"a": b"1", "b": b"2"}
    assert seen[0] is False
    assert sorted(os.listdir(tmp_path)) == ["above", "new"]


def test_files_of_a_folder_are_replaced_when_all_are_written(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "kept").write_bytes(b"kept")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "blob").write_bytes(b"old")
    (tmp_path / "b").symlink_to("store/blob")

    def fail(file):
        raise Failure

    with pytest.raises(Failure):
        files.atomic_write_folder(tmp_path, {"a": b"new", "b": fail})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == b"old"
    files.atomic_write_folder(tmp_path, {"a": b"new", "b": b"new", "c": b"new"})
    assert [(tmp_path / name).read_bytes() for name in ("a", "b", "c", "kept")] == [b"new"] * 3 + [b"kept"]
    assert (tmp_path / "b").is_symlink() and (tmp_path / "store" / "blob").read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c", "kept", "store"]
    with pytest.raises(FileExistsError, match="a is a file; give a folder"):
        files.atomic_write_folder(tmp_path / "a", {"b": b""})
    with pytest.raises(IsADirectoryError, match="can't write .*store: it is a folder"):
        files.atomic_write_folder(tmp_path, {"a": b"newer", "store": b""})
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("folder", [".", "..", "link", "./new/", "nowhere"])
def test_save_pretrained_into_any_folder(tmp_path, monkeypatch, folder):
    place = tmp_path / "here"
    (place / "real").mkdir(parents=True)
    (place / "link").symlink_to("real")
    (place / "nowhere").symlink_to("later")
    monkeypatch.chdir(place)
    model = mg.models.create_model("pvt_v2_tiny", num_classes=2)
    for _ in range(2):
        mg.models.save_pretrained(model, folder, layout="original")
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= set(os.listdir(folder))
    assert not [name for where in (".", "..", "real") for name in os.listdir(where) if name.startswith(files.PREFIX)]
    assert mg.models.from_pretrained(folder).config.num_classes == 2


def test_everything_is_written_in_one_place():
    """No other module of the package opens files for writing, renames or deletes them."""
    allowed = {
        "files.py": "all of it",
        "backend/mlx_compile.py": "locks and a folder of its own, which hold nothing",
        "parallel/team.py": "copies for one process, deleted at once",
    }
    words = (
        "os.replace(",
        "os.rename(",
        "os.fsync(",
        ".write_text(",
        ".write_bytes(",
        '"w")',
        '"wb")',
        '"a")',
        "tempfile.",
        "np.save",
    )
    package = Path(mg.__file__).parent
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if ">>>" not in line and any(word in line for word in words)
    }
    assert found == set(allowed)
