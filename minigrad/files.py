"""The one place that writes files: whatever happens meanwhile, a path holds either all of the new content or what it held before.

The content goes to a temporary file in the same folder, which is flushed to the disk and then renamed. What a file is besides
its content stays: its permissions, its owner where that can be given, and a symbolic link keeps leading to it. Devices and
pipes are written to. A hard link to the old content keeps the old content.

A temporary file is locked by the process that writes it (`flock`). The system takes the lock away when the process ends, however
it ends, so the next writer in the folder knows which ones nobody needs any more, and deletes them.
"""

import contextlib
import errno
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from minigrad import checks

POSIX = os.name == "posix"  # elsewhere: no locks, no folders that can be flushed, and an open file can't be renamed
if POSIX:
    import fcntl

Content = bytes | bytearray | memoryview | Callable[[BinaryIO], object]

PREFIX, SUFFIX = ".minigrad-", ".tmp"  # of temporary files; short, whatever the file is called
UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)  # what fsync says where there is nothing to flush


def atomic_write(path: str | os.PathLike, content: Content) -> None:
    """Write a file so that, whatever happens, `path` holds either all of the new content or what it held before.

    On an error (or Ctrl-C) the temporary file is removed; after a crash the next write in the same folder removes it.

    Args:
        path: the file to write; its folder must exist. A device or a pipe is written to directly.
        content: the bytes, or a function that writes them to the binary file it is given
            (`lambda file: image.save(file, "PNG")`).

    Raises:
        OSError: of the kind that the system reports (FileNotFoundError, PermissionError, …), naming `path`; also where the file
            is write-protected.
        ValueError: for text that can't be a path, such as one with a null character.
    """
    with _prepared("atomic_write", path, content) as put:
        put()


def atomic_write_text(path: str | os.PathLike, text: str) -> None:
    """`atomic_write` for text, in UTF-8. Names of files whose bytes are no UTF-8 are written as those bytes.

    Raises:
        ValueError: for text with half a surrogate pair in it, which no encoding has.
    """
    try:
        content = checks.text("atomic_write_text", "text", text).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"atomic_write_text: text has {text[error.start]!r} at position {error.start}, half of a surrogate pair, which UTF-8 "
            "can't hold; remove it"
        ) from None
    atomic_write(path, content)


def atomic_write_json(path: str | os.PathLike, value) -> None:
    """`atomic_write` for a value that JSON can hold, indented by two spaces.

    Raises:
        TypeError, ValueError: for what JSON can't hold (NaN and infinities among it), before anything is written.
    """
    atomic_write(path, as_json(value, "atomic_write_json"))


def as_json(value, who: str = "as_json") -> bytes:
    """The bytes of a JSON file, indented by two spaces; half a surrogate pair is written as its escape.

    Raises:
        TypeError, ValueError: for what JSON can't hold (NaN and infinities among it).
    """
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{who}: JSON can't hold the value: {error}") from None
    except RecursionError:
        raise ValueError(f"{who}: JSON can't hold the value: it is nested too deeply") from None
    return (text + "\n").encode("utf-8", "backslashreplace")  # whose \udcff is JSON's


def atomic_write_folder(folder: str | os.PathLike, contents: Mapping[str, Content | None]) -> None:
    """Write several files into a folder, and give them their names only when all are written.

    A folder that doesn't exist appears as a whole, with all of the files. In one that exists, the files are replaced one right
    after another, each as a whole, and other files stay: only a process that dies between two of these renamings leaves new
    files beside old ones.

    Args:
        folder: made if need be, and the folders above it.
        contents: names to contents, as `atomic_write` takes them; None for a file that must not be there, and is deleted.

    Raises:
        OSError: as `atomic_write`; FileExistsError when `folder` is a file.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "new"
    >>> atomic_write_folder(folder, {"a.txt": b"a", "b.txt": b"b"})
    >>> sorted(path.name for path in folder.iterdir())
    ['a.txt', 'b.txt']
    """
    checks.mapping("atomic_write_folder", "contents", contents, "a dict from names to contents")
    _, target, old = _found("atomic_write_folder", folder)
    if old is not None and not stat.S_ISDIR(old.st_mode):
        raise FileExistsError(f"{folder} is a file; give a folder")
    if old is not None:
        with contextlib.ExitStack() as stack:
            puts = [
                stack.enter_context(_prepared("atomic_write_folder", Path(folder, name), content))
                for name, content in contents.items()
                if content is not None
            ]
            for put in puts:
                put()
            for name in contents:
                if contents[name] is None:
                    Path(folder, name).unlink(missing_ok=True)
        return
    parent = os.path.dirname(target)
    with _named(folder):
        os.makedirs(parent, exist_ok=True)
    with _Temporary(parent, folder) as temporary, _named(folder):
        os.mkdir(temporary.folder)
        for name, content in contents.items():
            if content is not None:
                with open(os.path.join(temporary.folder, name), "xb") as file:
                    _fill(file, content)
        _sync_folder(temporary.folder)
        os.rename(temporary.folder, target)
        _sync_folder(parent)


# ---- one file --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _prepared(who: str, path: str | os.PathLike, content: Content) -> Iterator[Callable[[], None]]:
    """The content under a temporary name beside the path, and the function that gives it its own."""
    if not callable(content) and not isinstance(content, bytes | bytearray | memoryview):
        raise checks.wrong(who, "content", "bytes or a function that writes them", content)
    path, target, old = _found(who, path)
    if old is not None and stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(f"can't write {path}: it is a folder")
    if old is not None and _is_stream(old):

        def pour() -> None:
            with _named(path), open(path, "ab") as file:
                _write(file, content)

        yield pour
        return
    if old is not None and not os.access(target, os.W_OK):
        raise PermissionError(f"can't write {path}: it is write-protected")
    with _Temporary(os.path.dirname(target), path) as temporary:
        with _named(path):
            if old is not None:
                _keep(temporary.file, target, old)
            _fill(temporary.file, content)

        def put() -> None:
            with _named(path):
                if not POSIX:
                    temporary.file.close()
                os.replace(temporary.path, target)
            _sync_folder(temporary.parent)

        yield put


def _found(who: str, path: str | os.PathLike) -> tuple[Path, str, os.stat_result | None]:
    """A path, where it leads through links, and what is there."""
    path = Path(checks.path(who, "path", path))
    try:
        with _named(path):
            old = os.stat(path)
    except FileNotFoundError:
        old = None
    except ValueError as error:
        raise ValueError(f"{who}: {str(path)!r} can't be a path: {error}") from None
    return path, os.path.realpath(path), old


@contextlib.contextmanager
def _named(path: str | os.PathLike) -> Iterator[None]:
    """Has the system's errors name the path."""
    try:
        yield
    except OSError as error:
        raise type(error)(f"can't write {path}: {error.strerror or error}") from error


def _is_stream(found: os.stat_result) -> bool:
    """Whether it is a device or a pipe, or what standard output goes to (/dev/stdout), whose other writers go on with it."""
    if not stat.S_ISREG(found.st_mode):
        return True
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            if os.path.samestat(found, os.fstat(descriptor)):
                return True
    return False


def _write(file: BinaryIO, content: Content) -> None:
    if callable(content):
        content(file)
    else:
        file.write(content)
    file.flush()


def _fill(file: BinaryIO, content: Content) -> None:
    _write(file, content)
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def _keep(file: BinaryIO, path: str, old: os.stat_result) -> None:
    """Gives a new file the owner, the permissions and the further attributes of the old one, as far as the system allows."""
    if not POSIX:
        return
    number = file.fileno()
    with contextlib.suppress(OSError):
        os.chown(number, -1, old.st_gid)
    with contextlib.suppress(OSError):
        os.chown(number, old.st_uid, -1)
    with contextlib.suppress(OSError):
        os.chmod(number, stat.S_IMODE(old.st_mode))
    if hasattr(os, "listxattr"):  # on Linux: access control lists among them
        with contextlib.suppress(OSError):
            for name in os.listxattr(path):
                with contextlib.suppress(OSError):
                    os.setxattr(number, name, os.getxattr(path, name))


def _sync_folder(folder: str) -> None:
    """Flushes the names in a folder. The files are complete without, and some systems refuse it."""
    if not POSIX:
        return
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


# ---- temporary files -------------------------------------------------------------------------------------------------


class _Temporary:
    """An empty file of a new name in a folder, locked until the end of the `with` statement, which deletes it where it still has
    that name. `folder`, a name beside it for a folder, goes with it."""

    path: str
    file: BinaryIO

    def __init__(self, parent: str, path: str | os.PathLike) -> None:
        """In the folder `parent`, for what is going to be at `path`."""
        self.parent, self.purpose = parent, path

    def __enter__(self) -> "_Temporary":
        _clear(self.parent)
        try:
            with _named(self.purpose):
                for _ in range(100):
                    self.path = os.path.join(self.parent, f"{PREFIX}{os.urandom(8).hex()}{SUFFIX}")
                    self.file = open(self.path, "xb")
                    if self._lock():
                        return self
                    self.file.close()
                raise OSError(errno.EBUSY, "another process deletes the temporary files in its folder")
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_) -> None:
        try:
            if hasattr(self, "path"):
                _remove(self.folder)
                with contextlib.suppress(OSError):
                    os.unlink(self.path)
        finally:
            if hasattr(self, "file"):
                with contextlib.suppress(OSError):  # of content that was given up
                    self.file.close()

    @property
    def folder(self) -> str:
        return self.path + ".d"

    def _lock(self) -> bool:
        """Whether the file is this process's: another one that clears the folder may be quicker to lock it, and delete it."""
        if POSIX:
            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:  # no locks here: then nobody clears the folder, either
                return True
        return os.path.exists(self.path)


def _clear(folder: str) -> None:
    """Deletes the temporary files in a folder whose process has ended."""
    if not POSIX:
        return
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = os.listdir(folder)
    for name in names:
        if not (name.startswith(PREFIX) and name.endswith(SUFFIX)):
            continue
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError), open(path, "r+b") as file:  # in use, somebody else's, or gone
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_uid == os.geteuid():
                _remove(path + ".d")
                os.unlink(path)


def _remove(folder: str) -> None:
    """Deletes a folder of files, if it is there, and no link to one that somebody else may have put there. (`shutil.rmtree` makes
    another error of a Ctrl-C.)"""
    with contextlib.suppress(OSError):
        if POSIX:
            number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                for name in os.listdir(number):
                    os.unlink(name, dir_fd=number)
            finally:
                os.close(number)
        else:
            for name in os.listdir(folder):
                os.unlink(os.path.join(folder, name))
        os.rmdir(folder)
