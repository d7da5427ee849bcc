"""Whose a cgroup is: a lock while a container is created in it, and a mark by which `delete` knows it again.

Containers with the same linux.cgroupsPath have the same directories, one after the other or, by mistake, at once.  The
lock keeps a second one out until init is inside, where everybody sees it.  The mark tells a container that has ended
from the one that has its cgroup now: the processes in it are not its own any more.

The lock is flock(2) on cgroup.procs, opened for writing: who has no rights over the cgroup cannot hold it.  The mark
is an extended attribute, xattr(7): a trusted one, which the container cannot change, or, without CAP_SYS_ADMIN, a
user's.

Who made the directories removes them.  When another container is in them by then, a second attribute says so, and
the removal is that one's.
"""

from __future__ import annotations

import errno
import fcntl
import time

from ocirt import log
from ocirt import system as os
from ocirt.cgroups.files import DENIED, has_subdirectories, make_directories, remove_if_unused
from ocirt.errors import OcirtError
from ocirt.filelock import lock_within

ATTRIBUTES = ("trusted.ocirt", "user.ocirt")
LEFT = ("trusted.ocirt.left", "user.ocirt.left")
TOKEN_SIZE = 8  # bytes of chance
MAKE_DEADLINE = 1.0  # seconds; others hold it for as long as mkdir(2) takes
REMOVE_DEADLINE = 1.0  # seconds; a `delete` holds it for as long as rmdir(2) takes, a create until init is inside


def make_and_lock(directory: str, made: list[str]) -> int:
    """make_directories(), and the lock of the last; made again when a `delete` is quicker.

    The cgroup above is locked meanwhile, so that whoever makes the directory is who has its lock: else the one that
    is refused would leave it to the other, who would not remove what it has not made.
    Raises OcirtError when another container is being created in it.
    """
    parent = directory.rpartition("/")[0]
    while True:
        make_directories(parent, made)
        above = _lock_above(parent)
        try:
            make_directories(directory, made)
            fd = lock(directory)
        finally:
            if above >= 0:
                os.close(above)  # nobody has a duplicate; what could fail here would lose fd, and keep its lock
        if fd >= 0:
            return fd


def _lock_above(directory: str) -> int:
    """-1 when it cannot be had within MAKE_DEADLINE, or not at all."""
    try:
        fd = os.open(f"{directory}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:  # no right to it, or gone
        return -1
    if lock_within(fd, MAKE_DEADLINE):
        return fd
    os.close(fd)  # a container is being created in it
    return -1


def new_mark(directory: str) -> str:
    """Mark it as one container's; the token, "" where that cannot be done."""
    token = new_token()
    return token if mark(directory, token) else ""


def new_token() -> str:
    return os.urandom(TOKEN_SIZE).hex()


def lock(directory: str) -> int:
    """The lock's descriptor, -1 when the directory was removed meanwhile.  Raises OcirtError when another has it."""
    try:
        fd = os.open(f"{directory}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        if os.path.isdir(directory):  # no cgroup file system
            raise
        return -1
    held = False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = os.is_at(fd, f"{directory}/cgroup.procs")
    except BlockingIOError:
        raise OcirtError(
            "cgroup",
            "container's cgroup is in use: another container is being created in it",
            detail=directory,
            at="/linux/cgroupsPath",
            remedy="choose another linux.cgroupsPath",
        ) from None
    finally:
        if not held:
            os.close(fd)
    return fd if held else -1


def try_lock(directory: str, seconds: float = 0.0) -> int | None:
    """For removal: the descriptor, -1 when there is nothing to lock, None when another has it for so long."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return lock(directory)
        except OcirtError:
            if time.monotonic() >= deadline:
                return None
        except OSError as error:
            if error.errno not in (*DENIED, errno.ENOENT):
                raise
            return -1
        time.sleep(0.001)


def remove_left(directories: list[str]) -> None:
    """Remove what a create that was killed may have made, parents first as it makes them; what others use stays.

    On v2 its init is born in there, dies with it, and stays until it is through with exiting.
    """
    deadline = time.monotonic() + REMOVE_DEADLINE
    for directory in reversed(directories):
        while (fd := try_lock(directory)) is not None:
            try:
                gone = remove_if_unused(directory)
            finally:
                if fd >= 0:
                    os.close(fd)
            if gone or has_subdirectories(directory):
                break
            if time.monotonic() >= deadline:
                log.warning(f"the cgroup {directory} stays: there are processes in it")
                break
            time.sleep(0.001)


def unlock(fd: int) -> None:
    """Also when init has a duplicate of it still."""
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


def mark(directory: str, token: str, names: tuple[str, ...] = ATTRIBUTES) -> bool:
    """False where the kernel has no such attributes for the caller.  Raises OSError."""
    for name in names:
        try:
            os.setxattr(directory, name, token.encode())
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSPC):
                raise
        else:
            return True
    return False


def leave(directories: list[str]) -> None:
    """Leave the removal of those that are still there to the container that is in them."""
    for directory in directories:
        try:
            mark(directory, "1", LEFT)
        except FileNotFoundError:
            continue


def left(directory: str) -> bool:
    """Whether its maker left the removal to who is in it."""
    return bool(marked(directory, LEFT))


def unmark(directory: str) -> None:
    """Of a cgroup that stays.  A mark that cannot be taken away does no harm: the next one takes its place."""
    for name in ATTRIBUTES:
        try:
            os.removexattr(directory, name)
        except OSError:
            continue


def marked(directory: str, names: tuple[str, ...] = ATTRIBUTES) -> str | None:
    """The mark, "" for none, None when the directory is gone."""
    for name in names:
        try:
            return os.getxattr(directory, name).decode("utf-8", "replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP):
                raise
    return ""
