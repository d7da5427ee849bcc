"""Reading and writing a cgroup's files, and the life of its directories; the same in v1 and v2.

Paths here are on the host's cgroup file systems, which cannot hold symbolic links: joining names to them as
text is safe.  What the container may have made below its own cgroup is reached through descriptors only.
"""

from __future__ import annotations

import errno
import time

from ocirt import system as os
from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterator

SIGKILL = 9
# Killed processes leave their cgroup only when they are through with exiting; 2 s is a heavily loaded machine.
REMOVE_DEADLINE = 2.0
OWN_LINKS = 2  # of a directory; kernfs counts one more for each directly below
MOST_LEVELS = 2048  # directories in a path of PATH_MAX bytes
# The kernel answers a read during a cgroup's removal with one of these.
GONE = (errno.ENOENT, errno.ENODEV)
# To look into a cgroup takes descriptors; to remove it, once it is empty, takes none.
SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
# What a caller without rights over a hierarchy gets, be it a user or root in a container with a read-only mount.
DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def read_file(directory: str, name: str) -> str:
    """The text of a file that is one record, without the last newline: any but the lists of processes.  OSError."""
    return os.read_record(f"{directory}/{name}").rstrip("\n")


def write_file(directory: str, name: str, text: str) -> None:
    """One write(2): the kernel takes a value whole.  Raises OSError."""
    fd = os.open(f"{directory}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def tree(directory: str) -> Iterator[int]:
    """A descriptor of every cgroup below the directory and of itself, children before parents; none when gone.

    Each is closed when the next is asked for.  No paths and no recursion: a container that may write to its
    cgroup can make it deeper than PATH_MAX and than Python's stack.
    """
    try:
        fd = os.open(directory, _DIRECTORY)
    except OSError as error:
        if error.errno in GONE:
            return
        raise
    try:
        waiting = [subdirectories(fd)]
        while True:
            if waiting[-1]:
                child = _open_if_there(waiting[-1].pop(), fd)
                if child >= 0:
                    os.close(fd)
                    fd = child
                    waiting.append(subdirectories(fd))
                continue
            yield fd
            waiting.pop()
            if not waiting:
                return
            parent = os.open("..", _DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = parent
    finally:
        os.close(fd)


def has_subdirectories(directory: str) -> bool:
    """Whether there are cgroups below."""
    try:
        return os.stat(directory).st_nlink > OWN_LINKS
    except FileNotFoundError:
        return False


def subdirectories(fd: int) -> list[str]:
    """Names of the cgroups directly below."""
    if os.fstat(fd).st_nlink == OWN_LINKS:
        return []
    with os.scandir(fd) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]


def pids_in(fd: int) -> list[int]:
    """The processes of one cgroup without the zeros of those outside our pid namespace; [] when it is gone.

    A threaded cgroup of v2 tells its threads only: the processes of these are listed.
    """
    try:
        text = os.read_whole("cgroup.procs", fd)
    except OSError as error:
        if error.errno in GONE:
            return []
        if error.errno != errno.EOPNOTSUPP:
            raise
        threads = os.read_whole("cgroup.threads", fd).split()
        return [pid for thread in threads if thread != b"0" and (pid := _process_of(thread.decode()))]
    return [int(line) for line in text.split() if line != b"0"]


def _process_of(thread: str) -> int:
    """The process of a thread (proc_pid_status(5), Tgid), 0 when it has just ended."""
    try:
        status = read_file(f"/proc/{thread}", "status")
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESRCH):
            return 0
        raise
    return int(status.partition("\nTgid:")[2].partition("\n")[0])


def pids_below(directory: str) -> list[int]:
    """The processes of the cgroup and those below it, sorted."""
    return sorted({pid for fd in tree(directory) for pid in pids_in(fd)})


def kill_all(pids: list[int], signal: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal)
        except ProcessLookupError:
            continue


def _open_if_there(name: str, parent: int) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except OSError as error:
        if error.errno in GONE:
            return -1
        raise


def missing_directories(directory: str, there: Container[str] = ()) -> list[str]:
    """What make_directories() would make now, parents first.  there: what need not be looked for."""
    missing: list[str] = []
    while directory not in there and not os.access(directory, os.F_OK) and len(missing) < MOST_LEVELS:
        missing.append(directory)
        directory = directory.rpartition("/")[0]
    return missing[::-1]


def make_directories(directory: str, made: list[str]) -> None:
    """mkdir with parents; the directories that were not there before are added to made, parents first."""
    missing = [directory]  # no recursion: a path can name more directories than Python's stack holds calls
    while missing:
        try:
            os.mkdir(missing[-1], 0o755)
        except FileExistsError:
            missing.pop()
        except FileNotFoundError:
            if len(missing) > MOST_LEVELS:
                raise
            # Also when another container's end takes the parent away in between.
            missing.append(missing[-1].rpartition("/")[0])
        else:
            made.append(missing.pop())


def may_make(directory: str, made: list[str]) -> bool:
    """make_directories(), or False when the caller has no right to, or none to what was there already."""
    try:
        make_directories(directory, made)
    except OSError as error:
        if error.errno not in DENIED:
            raise
        return False
    return os.access(f"{directory}/cgroup.procs", os.W_OK)


def remove_tree(directory: str, kill: bool = False) -> None:
    """Remove the cgroup and those below it; waits a bounded time for processes that are exiting.

    kill: do not only wait for them.  Raises OcirtError("cgroup") when it is still in use.
    """
    deadline = time.monotonic() + REMOVE_DEADLINE
    pause = 0.001
    while True:
        if remove_if_unused(directory):  # as a rule
            return
        try:
            for fd in tree(directory):
                for name in subdirectories(fd):
                    _rmdir(name, fd)
            _rmdir(directory)
            return
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY, *SCARCE):
                raise
            if time.monotonic() > deadline:
                if error.errno in SCARCE:
                    raise
                raise OcirtError(
                    "cgroup",
                    f"remove {directory}: {len(pids_below(directory))} process(es) left in it",
                    call="rmdir",
                    errno=error.errno,
                    detail=directory,
                ) from error
        if kill:
            kill_all(pids_below(directory), SIGKILL)
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def remove_if_unused(directory: str) -> bool:
    """Remove the cgroup unless somebody is in it or something below it; whether it is gone."""
    try:
        _rmdir(directory)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
        return False
    return True


def remove_made(made: list[str], leaves: set[str], kill: bool = False) -> None:
    """Remove the directories that were made, children first: the leaves with all below, parents only when unused.

    kill: as for remove_tree().
    """
    for directory in reversed(made):
        if directory in leaves:
            remove_tree(directory, kill)
        else:
            remove_if_unused(directory)


def removed_unused(made: list[str], error: OSError) -> bool:
    """Without a descriptor for anything else: remove what is empty; whether that is all."""
    if error.errno not in SCARCE:
        return False
    remove_made(made, set())
    return not any(os.path.exists(directory) for directory in made)


def refuse_used(directory: str) -> None:
    """A cgroup that was there before may be used if nobody is in it."""
    count = len(pids_below(directory))
    if count:
        raise OcirtError(
            "cgroup",
            f"container's cgroup is not empty: {count} process(es) found",
            detail=directory,
            at="/linux/cgroupsPath",
            remedy="choose another linux.cgroupsPath, or end the processes in it",
        )


def _rmdir(path: str, parent: int | None = None) -> None:
    try:
        os.rmdir(path, dir_fd=parent)
    except FileNotFoundError:
        pass
    except OSError as error:
        # A read-only mount refuses before the kernel has looked for the directory.
        if error.errno != errno.EROFS or _is_there(path, parent):
            raise


def _is_there(path: str, parent: int | None) -> bool:
    try:
        os.stat(path, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
