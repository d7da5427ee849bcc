"""Who holds a container's lock, and how to end it: for `delete --force`, `doctor`, and the message of "busy".

The kernel lists flock(2)s with who took them (proc_locks(5)); a lock stays as long as the open file does, which a
child of the command may have inherited.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the public module imports enum: 4 ms
import select
import time

from ocirt import log
from ocirt import system as os
from ocirt.container import Container
from ocirt.errors import StateError

SIGTERM, SIGKILL = 15, 9
UNDO_DEADLINE = 5.0  # seconds for a command to take back what it did, once it was told to end


def holders(dirfd: int) -> list[int]:
    """The processes, in our pid namespace, that hold a lock on the open directory; [] when there is none."""
    status = os.fstat(dirfd)
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    found = []
    for line in os.read_whole("/proc/locks").decode().splitlines():
        _, kind, *fields = line.split()  # "1: FLOCK  ADVISORY  WRITE 708 00:1a:2345 0 EOF"; "1: -> FLOCK" waits
        if kind == "FLOCK" and fields[3] == place and int(fields[2]) > 0:
            found.append(int(fields[2]))
    return found


def describe_holder(dirfd: int) -> str:
    """` (process 17: ocirt start web1)`, "" when nobody can be named."""
    named = [f"process {pid}: {command_line(pid)}" for pid in holders(dirfd)]
    return f" ({'; '.join(named)})" if named else ""


def command_line(pid: int) -> str:
    """Of a process; "gone" when there is none."""
    try:
        words = os.read_whole(f"/proc/{pid}/cmdline").decode("utf-8", "replace").split("\0")
    except OSError:
        return "gone"
    return log.printable(" ".join(words).strip())


def end_holder(root: str, container_id: str) -> None:
    """End the command that holds the container's lock, and the hook that it waits for.

    It is asked first, so that it takes back what it did; then killed.  init goes first: what waits for init wakes up.
    """
    try:
        container = Container.load(root, container_id)
    except StateError:
        container = None
    if container is not None:
        container.send_signal(SIGKILL)
    try:
        dirfd = os.open(os.path.join(root, container_id), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    for pid in holders(dirfd):
        pidfd = _open(pid)
        if pidfd < 0:
            continue
        if pid in holders(dirfd):  # else the number may be somebody else's by now
            log.warning(f"delete --force ends process {pid}, which holds the container: {command_line(pid)}")
            _end(pid, pidfd, dirfd)
        os.close(pidfd)
    os.close(dirfd)


def _end(pid: int, pidfd: int, dirfd: int) -> None:
    """SIGTERM; when the lock is still held after UNDO_DEADLINE, SIGKILL for the command and its children."""
    if _signalled(pidfd, SIGTERM) and not _released(pid, pidfd, dirfd):
        below = [fd for child in children(pid) if (fd := _open(child)) >= 0]
        for fd in (pidfd, *below):
            _signalled(fd, SIGKILL)
        for fd in below:
            os.close(fd)


def _open(pid: int) -> int:
    """A pidfd, -1 when the process is gone."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1


def _signalled(pidfd: int, signal: int) -> bool:
    try:
        _signal.pidfd_send_signal(pidfd, signal)
    except ProcessLookupError:
        return False
    return True


def _released(pid: int, pidfd: int, dirfd: int) -> bool:
    """Wait until the process has ended or gives the lock back; whether it did."""
    deadline = time.monotonic() + UNDO_DEADLINE
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    while time.monotonic() < deadline:
        if poll.poll(20) or pid not in holders(dirfd):
            return True
    return False


def children(pid: int) -> list[int]:
    """The process ids of its children; [] where the kernel does not list them."""
    try:
        return [int(text) for text in os.read_whole(f"/proc/{pid}/task/{pid}/children").split()]
    except OSError:  # gone, or a kernel without CONFIG_PROC_CHILDREN
        return []
