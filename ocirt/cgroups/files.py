"""Reading and writing a cgroup's files, and the life of its directories; the same in v1 and v2.

Paths here are on the host's cgroup file systems: the names come from the runtime and the kernel, and a
cgroup directory cannot hold symbolic links, so joining them as text is safe.
"""

from __future__ import annotations

import errno
import os
import time

from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Killed processes leave their cgroup only when they are through with exiting; 2 s is a heavily loaded machine.
REMOVE_DEADLINE = 2.0
# The kernel answers a read during a cgroup's removal with one of these.
GONE = (errno.ENOENT, errno.ENODEV)


def read_file(directory: str, name: str) -> str:
    """The file's text without the last newline.  Raises OSError."""
    fd = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while block := os.read(fd, 65536):
            data += block
    finally:
        os.close(fd)
    return data.decode("utf-8", "surrogateescape").rstrip("\n")


def write_file(directory: str, name: str, text: str) -> None:
    """One write(2): the kernel takes a value whole.  Raises OSError."""
    fd = os.open(f"{directory}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def subdirectories(directory: str) -> list[str]:
    """Names of the cgroups directly below; [] when the directory is gone."""
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        if error.errno in GONE:
            return []
        raise


def tree(directory: str) -> Iterator[str]:
    """The directory and every cgroup below it, children before parents."""
    for name in subdirectories(directory):
        yield from tree(f"{directory}/{name}")
    yield directory


def read_pids(directory: str) -> list[int]:
    """cgroup.procs: without repetitions, without the zeros of processes outside our pid namespace; [] when gone."""
    try:
        text = read_file(directory, "cgroup.procs")
    except OSError as error:
        if error.errno in GONE:
            return []
        raise
    return sorted({int(line) for line in text.split()} - {0})


def make_directories(directory: str) -> list[str]:
    """mkdir with parents; the directories that were not there before, parents first.  Raises OSError."""
    try:
        os.mkdir(directory, 0o755)
    except FileExistsError:
        return []
    except FileNotFoundError:
        # Again when another container's end takes the parent away in between.
        return [*make_directories(directory.rpartition("/")[0]), *make_directories(directory)]
    return [directory]


def remove_tree(directory: str) -> None:
    """Remove the cgroup and those below it; waits a bounded time for processes that are exiting.

    Raises OcirtError("cgroup") when it is still in use.
    """
    deadline = time.monotonic() + REMOVE_DEADLINE
    pause = 0.001
    while True:
        try:
            for path in tree(directory):
                _rmdir(path)
            return
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise
            if time.monotonic() > deadline:
                raise OcirtError(
                    "cgroup",
                    f"remove {directory}: {len(_all_pids(directory))} process(es) left in it",
                    call="rmdir",
                    errno=error.errno,
                    detail=directory,
                ) from error
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def remove_if_empty(directory: str) -> None:
    """Remove a parent cgroup unless somebody else uses it by now."""
    try:
        _rmdir(directory)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise


def _rmdir(directory: str) -> None:
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        pass


def _all_pids(directory: str) -> list[int]:
    return [pid for path in tree(directory) for pid in read_pids(path)]
