"""Descriptors the caller left open: which ones the program gets, and close-on-exec for all others."""

from __future__ import annotations

import fcntl

from ocirt import system as os
from ocirt.errors import OcirtError, UsageError
from ocirt.kernel.flags import CLOSE_RANGE_CLOEXEC
from ocirt.kernel.processes import close_range

FIRST = 3
LAST = 2**32 - 1


def listen_fds() -> tuple[int, tuple[str, ...]]:
    """Socket activation (sd_listen_fds(3)): how many descriptors, and what the program's environment says of them.

    Only when LISTEN_PID names this process: the variables may be meant for an ancestor.
    """
    count = os.getenv("LISTEN_FDS")
    if not count.isdecimal() or os.getenv("LISTEN_PID") != str(os.getpid()):
        return 0, ()
    env = [f"LISTEN_FDS={int(count)}", "LISTEN_PID=1"]
    names = os.getenv("LISTEN_FDNAMES")
    if names:
        env.append(f"LISTEN_FDNAMES={names}")
    return int(count), tuple(env)


def close_inherited(preserve_fds: str, listening: int) -> int:
    """Mark everything above the descriptors to keep close-on-exec (CVE-2024-21626); the value of --preserve-fds.

    Raises UsageError, or OcirtError when a descriptor to keep is not open.
    """
    if preserve_fds and not preserve_fds.isdecimal():
        raise UsageError(f'invalid value "{preserve_fds}" for flag -preserve-fds: not a number of descriptors')
    count = int(preserve_fds or "0")
    first = FIRST + listening
    for number in range(first, first + count):
        if not _is_inherited(number):
            raise OcirtError("usage", f"unable to stat preserved-fd {number - first} (of {count}): bad file descriptor")
    close_range(first + count, LAST, CLOSE_RANGE_CLOEXEC)
    return count


def _is_inherited(fd: int) -> bool:
    """Open, and not by ourselves: what Python opens is close-on-exec from birth (PEP 446)."""
    try:
        return not fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    except OSError:
        return False
