"""What ocirt uses of `os`, without `os`: its import costs a start 1.3 ms, most of it for abstract base classes.

Read it as os: every module says `from ocirt import system as os`.  The system calls are those of posix, the C module
behind os; what os adds in Python is here as far as it is used, for text only.
"""

from __future__ import annotations

import sys
from _stat import S_ISDIR, S_ISLNK  # the public module is Python: 0.1 ms
from posix import *  # noqa: F403
from posix import (
    O_CLOEXEC,
    O_RDONLY,
    close,
    fstat,
    getcwd,
    lstat,
    mkdir,
    open,
    read,
    stat,
    write,
)
from posix import (
    _exit as _exit,
)
from posix import (
    environ as _environ,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from posix import stat_result

_ENCODING = sys.getfilesystemencoding()


def fsencode(name: str | bytes) -> bytes:
    """As os.fsencode.  Raises UnicodeEncodeError for a surrogate that no byte stands behind."""
    return name if isinstance(name, bytes) else name.encode(_ENCODING, "surrogateescape")


def fsdecode(name: str | bytes) -> str:
    """As os.fsdecode."""
    return name if isinstance(name, str) else name.decode(_ENCODING, "surrogateescape")


def getenv(name: str) -> str:
    """The caller's environment variable, "" when there is none."""
    return fsdecode(_environ.get(fsencode(name), b""))


class path:
    """The functions of os.path."""

    @staticmethod
    def join(first: str, *more: str) -> str:
        joined = first
        for part in more:
            if part.startswith("/"):
                joined = part
            elif not joined or joined.endswith("/"):
                joined += part
            else:
                joined += f"/{part}"
        return joined

    @staticmethod
    def normpath(name: str) -> str:
        """Without ".", "..", and doubled slashes, as text: symbolic links are not looked at."""
        if name.startswith("/") and "//" not in name and "/." not in name and not name.endswith("/"):
            return name
        parts: list[str] = []
        for part in name.split("/"):
            if part in ("", "."):
                continue
            if part != "..":
                parts.append(part)
            elif parts and parts[-1] != "..":
                parts.pop()
            elif not name.startswith("/"):
                parts.append(part)
        return ("/" if name.startswith("/") else "") + "/".join(parts) or "."

    @staticmethod
    def abspath(name: str) -> str:
        return path.normpath(path.join(getcwd(), name))

    @staticmethod
    def split(name: str) -> tuple[str, str]:
        folder, slash, base = name.rpartition("/")
        return folder.rstrip("/") or slash, base

    @staticmethod
    def basename(name: str) -> str:
        return name.rpartition("/")[2]

    @staticmethod
    def exists(name: str) -> bool:
        return _status(name) is not None

    @staticmethod
    def isdir(name: str) -> bool:
        status = _status(name)
        return status is not None and S_ISDIR(status.st_mode)

    @staticmethod
    def islink(name: str) -> bool:
        try:
            return S_ISLNK(lstat(name).st_mode)
        except OSError:
            return False


def read_whole(name: str, dir_fd: int | None = None) -> bytes:
    """What is in a file.  procfs hands out at most a page a read.  Six calls fewer than the built-in open()."""
    fd = open(name, O_RDONLY | O_CLOEXEC, dir_fd=dir_fd)
    try:
        content = b""
        while block := read(fd, 65536):
            content += block
        return content
    finally:
        close(fd)


def read_record(name: str) -> str:
    """A file of the kernel's that is one record, as text: a value, a status, but no list.

    seq_file hands out whole records, as many as fit into its buffer of a page: where there is one, a read(2) that is
    not filled had all of it, and the one that would say so is saved.
    """
    fd = open(name, O_RDONLY | O_CLOEXEC)
    try:
        content = block = read(fd, 65536)
        while len(block) == 65536:
            block = read(fd, 65536)
            content += block
    finally:
        close(fd)
    return content.decode("utf-8", "surrogateescape")


def write_all(fd: int, data: bytes) -> None:
    """write(2) takes a part at a time of what goes into a pipe."""
    while data:
        data = data[write(fd, data) :]


def read_text(name: str) -> str:
    """A file of the kernel's as text; bytes that are no UTF-8, in the names of others, as fsdecode() has them."""
    return read_whole(name).decode("utf-8", "surrogateescape")


def text_if_there(name: str) -> str:
    """A file of the kernel's without the white space around it, "" when it cannot be read."""
    try:
        return read_whole(name).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def number_if_there(name: str) -> int | None:
    """As text_if_there(); None when it holds no number."""
    content = text_if_there(name)
    return int(content) if content.lstrip("-").isdecimal() else None


def is_at(fd: int, name: str) -> bool:
    """Whether the open file is the one by that name still, and no link to it."""
    try:
        found = lstat(name)
    except FileNotFoundError:
        return False
    ours = fstat(fd)
    return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)


def _status(name: str) -> stat_result | None:
    try:
        return stat(name)
    except OSError:
        return None


def makedirs(name: str, mode: int) -> None:
    """The directory and its parents; those that exist are no error."""
    try:
        mkdir(name, mode)
    except FileExistsError:
        if not path.isdir(name):
            raise
    except FileNotFoundError:
        parent = path.split(name)[0]
        if path.isdir(parent):  # a file system where nothing can be made, such as proc
            raise
        makedirs(parent, mode)
        makedirs(name, mode)
