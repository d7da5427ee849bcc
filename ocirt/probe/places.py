"""Where a trial can do what is root's: in new namespaces, for who is not root in a new user namespace too."""

from __future__ import annotations

import errno
import os

from ocirt.kernel import flags as f
from ocirt.kernel.mounts import mount
from ocirt.kernel.processes import clone3, unshare
from ocirt.probe import Unavailable

IN_USER_NAMESPACE = "in a new user namespace"
_TARGETS = ("/tmp", "/run", "/mnt", "/srv", "/var")


def enter(flags: int) -> str:
    """Unshare; the note says when that needed a user namespace.  Raises KernelError."""
    try:
        unshare(flags)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
    else:
        return ""
    uid, gid = os.geteuid(), os.getegid()
    unshare(f.CLONE_NEWUSER | flags)
    map_own(uid, gid)
    return IN_USER_NAMESPACE


def map_own(uid: int, gid: int) -> None:
    """user_namespaces(7): the one line that a process may write for itself."""
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"0 {uid} 1")
    write("/proc/self/gid_map", f"0 {gid} 1")


def enter_mounts(more: int = 0) -> str:
    """A mount namespace, private, with an empty tmpfs as the working directory.  The note is enter()'s."""
    note = enter(f.CLONE_NEWNS | more)
    mount("none", "/", flags=f.MS_REC | f.MS_PRIVATE)
    target = next((path for path in _TARGETS if os.path.isdir(path)), "")
    if not target:
        raise Unavailable(f"none of {' '.join(_TARGETS)} is there to mount on")
    mount("tmpfs", target, "tmpfs")
    os.chdir(target)
    return note


def write(path: str, text: str) -> None:
    """One write(2), as procfs and cgroup files want it.  Raises OSError with the path."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(fd)


class Held:
    """A child in new namespaces that waits until the body of `with` ends.  pid: its id."""

    def __init__(self, flags: int) -> None:
        reading, self._writing = os.pipe()
        self.pid, _ = clone3(flags)
        if self.pid == 0:
            os.close(self._writing)
            os.read(reading, 1)
            os._exit(0)
        os.close(reading)

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._writing)
        os.waitpid(self.pid, 0)


def read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def require(condition: object, reason: str) -> None:
    if not condition:
        raise Unavailable(reason)
