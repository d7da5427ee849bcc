"""Files by descriptor: the only way to touch a path inside a container's root file system.

A path of a container is hostile text: every part of it may be a symbolic link to the host, and may
become one between two looks at it.  So a path is resolved once, within the root, to an O_PATH
descriptor, and everything else is done to that descriptor.

Every function raises KernelError with the name of the system call and its arguments.
"""

from __future__ import annotations

import _stat as stat  # the public module is Python: 0.1 ms
import _struct as struct  # built in; the public module is a file
import errno
import sys

from ocirt import system as os
from ocirt.errors import KernelError
from ocirt.kernel import ffi, numbers
from ocirt.kernel.flags import AT_EMPTY_PATH, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS
from ocirt.system import chdir as chdir
from ocirt.system import chroot as chroot
from ocirt.system import close as close
from ocirt.system import dup2 as dup2
from ocirt.system import fchdir as fchdir
from ocirt.system import fstat as fstat
from ocirt.system import fstatvfs as fstatvfs
from ocirt.system import setxattr as setxattr
from ocirt.system import umask as umask
from ocirt.system import write as write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Result = TypeVar("Result")

O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_PATH = os.O_CLOEXEC, os.O_DIRECTORY, os.O_NOFOLLOW, os.O_PATH

_OPEN_HOW = struct.Struct("=QQQ")  # struct open_how of openat2(2): flags, mode, resolve

# openat2 with RESOLVE_IN_ROOT answers EAGAIN when a rename anywhere on the system may have fooled a
# "..": another look is due.  A hostile renamer can win often, not for ever.
_OPEN_ATTEMPTS = 128

RENAME_EXCHANGE = 2  # linux/fs.h

_MAX_SYMLINKS = 40  # as the kernel's MAXSYMLINKS

_STATX_SIZE = 256
_STATX = struct.Struct("=I4xQ128xQ")  # stx_mask, stx_attributes, stx_mnt_id
_STATX_MNT_ID = 0x1000
_STATX_MNT_ID_UNIQUE = 0x4000
_STATX_ATTR_MOUNT_ROOT = 0x2000


def _named(call: str, detail: str, function: Callable[[], Result]) -> Result:
    """function(), its OSError as a KernelError."""
    try:
        return function()
    except OSError as error:
        raise KernelError(error.errno or 0, error.strerror or "", call, detail) from None


def openat2(dirfd: int, path: str, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2), always close-on-exec.  Returns the descriptor."""
    how = _OPEN_HOW.pack(flags | O_CLOEXEC, mode, resolve)
    name = ffi.path(path)
    for attempt in range(_OPEN_ATTEMPTS):
        try:
            return ffi.syscall("openat2", numbers.openat2, dirfd, name, how, len(how), detail=path)
        except KernelError as error:
            if error.errno != errno.EAGAIN or attempt == _OPEN_ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def open_in_root(root: int, path: str, flags: int, *, symlinks: bool = True) -> int:
    """Open a path as a process whose root directory is `root` would.

    Symbolic links, absolute ones too, stay inside; without symlinks any link is ELOOP.  The magic
    links of procfs, which lead out, are always ELOOP.
    """
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | (0 if symlinks else RESOLVE_NO_SYMLINKS)
    return openat2(root, path, flags, resolve=resolve)


def make_in_root(
    root: int, path: str, mode: int = 0o755, *, directory: bool = True, symlinks: bool = True
) -> tuple[int, bool]:
    """The path as an O_PATH descriptor, made when it is missing: (fd, whether it was made).

    Missing parents are made with mode 0755, the last part with mode (both less umask) as a
    directory or an empty file.  Dangling symbolic links are followed: what they name is made, in
    the root.  ENOTDIR when something else than a directory is in the way or, with directory, at the end.
    """
    try:
        kind = O_DIRECTORY if directory else 0
        return open_in_root(root, path, O_PATH | kind, symlinks=symlinks), False
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
    return _Walk(root, path, mode, directory, symlinks).run(), True


def mkdir_in_root(root: int, path: str, mode: int = 0o755, *, symlinks: bool = True) -> int:
    """The directory as an O_PATH descriptor, with its missing parents; see make_in_root."""
    return make_in_root(root, path, mode, symlinks=symlinks)[0]


class _Walk:
    """One path, part by part, each opened without following; what is missing is made.

    The descriptors of the directories passed are kept, so that ".." goes back to where we came
    from and never to where a directory has been moved meanwhile.
    """

    def __init__(self, root: int, path: str, mode: int, directory: bool, symlinks: bool) -> None:
        self.path = path
        self.mode = mode
        self.directory = directory
        self.links_left = _MAX_SYMLINKS if symlinks else 0
        self.parts = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        self.passed = [root]

    def run(self) -> int:
        try:
            while self.parts:
                self._step(self.parts.pop())
            return os.dup(self.passed[-1]) if len(self.passed) == 1 else self.passed.pop()
        finally:
            for fd in self.passed[1:]:
                os.close(fd)

    def _step(self, part: str) -> None:
        if part == "..":
            if len(self.passed) > 1:
                os.close(self.passed.pop())
            return
        fd = self._open_or_make(part)
        kind = stat.S_IFMT(os.fstat(fd).st_mode)
        if kind == stat.S_IFLNK:
            self._follow(fd)
            return
        self.passed.append(fd)
        if kind != stat.S_IFDIR and (self.parts or self.directory):
            raise KernelError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), "openat", self.path)

    def _open_or_make(self, part: str) -> int:
        """The last part is missing as a rule, else we were not here: it is made first, and looked at if it is there."""
        here = self.passed[-1]
        try:
            if self.parts:
                return openat(here, part, O_PATH | O_NOFOLLOW)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
        try:
            if self.parts:
                mkdirat(here, part, 0o755)
            elif self.directory:
                mkdirat(here, part, self.mode)
            else:
                mknodat(here, part, stat.S_IFREG | self.mode)
        except KernelError as error:
            if error.errno != errno.EEXIST:  # a link to nowhere, or somebody was quicker: what it is, is looked at
                raise
        return openat(here, part, O_PATH | O_NOFOLLOW)

    def _follow(self, link: int) -> None:
        target = readlinkat(link, "")
        os.close(link)
        self.links_left -= 1
        if self.links_left < 0:
            raise KernelError(errno.ELOOP, os.strerror(errno.ELOOP), "openat", self.path)
        if target.startswith("/"):
            for fd in self.passed[1:]:
                os.close(fd)
            del self.passed[1:]
        self.parts += [part for part in reversed(target.split("/")) if part not in ("", ".")]


def openat(dirfd: int, path: str, flags: int, mode: int = 0) -> int:
    """openat(2), close-on-exec.  The caller makes sure that path is a single name, or a host's path."""
    return _named("openat", path, lambda: os.open(path, flags | O_CLOEXEC, mode, dir_fd=dirfd))


def exchange(dirfd: int, name: str, other: str) -> None:
    """renameat2(2), RENAME_EXCHANGE: each gets the name of the other; at no time is one of the names missing."""
    ffi.syscall(
        "renameat2",
        numbers.renameat2,
        dirfd,
        ffi.path(name),
        dirfd,
        ffi.path(other),
        RENAME_EXCHANGE,
        detail=f"{name} <-> {other}",
    )


def mkdirat(dirfd: int, name: str, mode: int) -> None:
    _named("mkdirat", f"{name}, {mode:#o}", lambda: os.mkdir(name, mode, dir_fd=dirfd))


def mknodat(dirfd: int, name: str, mode: int, device: int = 0) -> None:
    """mknodat(2).  mode: type and permissions; device: as os.makedev gives."""
    detail = f"{name}, {mode:#o}, {os.major(device)}:{os.minor(device)}"
    _named("mknodat", detail, lambda: os.mknod(name, mode, device, dir_fd=dirfd))


def symlinkat(target: str, dirfd: int, name: str) -> None:
    _named("symlinkat", f"{name} -> {target}", lambda: os.symlink(target, name, dir_fd=dirfd))


def readlinkat(dirfd: int, name: str) -> str:
    """readlinkat(2).  "" is the link that dirfd itself is (opened with O_PATH|O_NOFOLLOW)."""
    return _named("readlinkat", name, lambda: os.readlink(name, dir_fd=dirfd))


def unlinkat(dirfd: int, name: str) -> None:
    _named("unlinkat", name, lambda: os.unlink(name, dir_fd=dirfd))


def fchownat(dirfd: int, name: str, uid: int, gid: int) -> None:
    """fchownat(2) that does not follow a symbolic link; -1 leaves an id as it is."""
    detail = f"{name}, {uid}:{gid}"
    _named("fchownat", detail, lambda: os.chown(name, uid, gid, dir_fd=dirfd, follow_symlinks=False))


def fchmod(proc: int, fd: int, mode: int) -> None:
    """chmod of what an O_PATH descriptor names (not a symbolic link), through the trusted procfs `proc`."""
    _named("fchmodat", f"{mode:#o}", lambda: os.chmod(f"self/fd/{fd}", mode, dir_fd=proc))


def reopen(proc: int, fd: int, flags: int) -> int:
    """Open what an O_PATH descriptor names, through the trusted procfs `proc`."""
    return openat(proc, f"self/fd/{fd}", flags)


def path_of(proc: int, fd: int) -> str:
    """The path by which this process reaches what fd names, through the trusted procfs `proc`."""
    return readlinkat(proc, f"self/fd/{fd}")


def write_fd(fd: int, data: bytes) -> None:
    """write(2), all of it in one call: procfs and cgroupfs take a value at once or not at all."""
    _named("write", repr(data[:80]), lambda: os.write(fd, data))


def write_file(dirfd: int, path: str, data: bytes) -> None:
    """Write data with one write(2) to an existing file."""
    fd = openat(dirfd, path, os.O_WRONLY)
    try:
        _named("write", path, lambda: os.write(fd, data))
    finally:
        os.close(fd)


def read_file(dirfd: int, path: str) -> bytes:
    """The whole content of a file; procfs hands out at most a page per read(2)."""
    fd = openat(dirfd, path, os.O_RDONLY)
    try:
        content = b""
        while block := _named("read", path, lambda: os.read(fd, 65536)):
            content += block
        return content
    finally:
        os.close(fd)


def statfs_type(fd: int) -> int:
    """The file system's magic number, field f_type of fstatfs(2)."""
    memory = ffi.buffer(256)
    ffi.syscall("fstatfs", numbers.fstatfs, fd, memory)
    # A long, an unsigned int on s390x; every magic number has 32 bits.
    return int.from_bytes(memory.raw[:4], sys.byteorder)


def mount_id(fd: int) -> tuple[int, bool]:
    """(mount ID, whether fd is the root of its mount), by statx(2) of Linux 5.8."""
    _, identity, attributes = _statx_mount(fd, _STATX_MNT_ID)
    return identity, bool(attributes & _STATX_ATTR_MOUNT_ROOT)


def unique_mount_id(fd: int) -> int:
    """The ID that no later mount gets, by statx(2) of Linux 6.8; 0 before.  mountinfo has the other one."""
    mask, identity, _ = _statx_mount(fd, _STATX_MNT_ID_UNIQUE)
    return identity if mask & _STATX_MNT_ID_UNIQUE else 0


def _statx_mount(fd: int, mask: int) -> tuple[int, int, int]:
    """stx_mask, stx_mnt_id and stx_attributes."""
    memory = ffi.buffer(_STATX_SIZE)
    ffi.syscall("statx", numbers.statx, fd, b"", AT_EMPTY_PATH, mask, memory)
    filled, attributes, identity = _STATX.unpack_from(memory)
    return filled, identity, attributes
