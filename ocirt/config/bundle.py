"""The bundle directory and the files a user writes: read -> scan -> schema -> checks -> typed view."""

from __future__ import annotations

import _stat as stat  # the public module is Python: 0.1 ms
import errno

from ocirt import system as os
from ocirt.config import checks, jsontext, schema
from ocirt.config.views import Config, Process, Resources
from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_SIZE = 64 << 20  # bytes; engines write 10-50 KB, and a file without end must not eat the memory


class Bundle:
    """An open bundle directory.  path: absolute, without symlinks; fd: O_PATH on the directory."""

    __slots__ = ("fd", "path")

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.fd = fd

    def config_text(self) -> bytes:
        """config.json as it is.  Raises OcirtError bundle."""
        try:
            # O_NONBLOCK: to open a FIFO would wait for a writer that may never come.
            fd = os.open("config.json", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=self.fd)
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                os.close(fd)
                raise OSError(errno.EINVAL, "not a regular file", "config.json")
            return _read(fd, "config.json", status.st_size)
        except FileNotFoundError:
            raise OcirtError(
                "bundle",
                "JSON specification file config.json not found",
                detail=self.path,
                remedy="name the bundle with --bundle, or write a config.json with `ocirt spec`",
            ) from None
        except OSError as error:
            raise _unreadable("config.json", error) from error


def open_bundle(path: str) -> Bundle:
    """Open the bundle directory at path (relative to the working directory; "" is that itself).

    Raises OcirtError bundle when it is not a directory that can be searched.
    """
    try:
        fd = os.open(path or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return Bundle(os.readlink(f"/proc/self/fd/{fd}"), fd)
    except OSError as error:
        raise _unreadable(f"bundle {path or os.getcwd()}", error) from error


def read_file(path: str, what: str) -> bytes:
    """The file at path, for --process and --resources; "-" is standard input.  Raises OcirtError bundle."""
    try:
        return _read(os.dup(0) if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC), what)
    except OSError as error:
        raise _unreadable(what, error) from error


def read_config(data: bytes, what: str = "config.json") -> Config:
    """The configuration in data, valid in every respect.  Raises ConfigError json, schema or rule."""
    config = Config(_valid(data, what, "config"))
    checks.check(config)
    return config


def read_process(data: bytes, what: str = "process.json") -> Process:
    """The process in data (`exec --process`), held to the rules of config.json's process.

    Pointers start at the file: "/args/0".  Raises ConfigError json, schema or rule.
    """
    process = Process(_valid(data, what, "process"))
    checks.check_process(process)
    return process


def read_resources(data: bytes, what: str = "resources.json") -> Resources:
    """The resources in data (`update --resources`).  Pointers start at the file: "/memory/limit".

    Raises ConfigError json, schema or rule.
    """
    resources = Resources(_valid(data, what, "resources"))
    checks.check_resources(resources)
    return resources


def _valid(data: bytes, what: str, kind: str) -> dict[str, Any]:
    """The object in data, held to the schema of kind."""
    value: Any = jsontext.parse(data, what)
    schema.validate(value, kind)
    if b"\\u0000" in data:  # no other spelling of NUL passes the scanner
        for error in checks.nul_faults(value, ""):
            raise error
    return value  # type: ignore[no-any-return]  # the schema holds: it is an object


def _read(fd: int, what: str, expected: int = 0) -> bytes:
    """All of fd, which is closed.  expected: the size of a regular file, after which its end need not be asked for."""
    pieces, size = [], 0
    try:
        while piece := os.read(fd, 1 << 16):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_SIZE:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), what)
            if size == expected:
                break
    finally:
        os.close(fd)
    return b"".join(pieces)


def _unreadable(what: str, error: OSError) -> OcirtError:
    return OcirtError("bundle", f"open {what}", call="open", errno=error.errno or 0, detail=str(error.filename or ""))
