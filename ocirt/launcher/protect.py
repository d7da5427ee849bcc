"""What protect.c does, for the portable launcher, whose executable is the interpreter of every Python program.

launcher.in calls protect() for the commands that may let a process into a container: they execute the interpreter a
second time, from a sealed copy in memory (CVE-2019-5736).  That takes 3 ms for the copy and 6 for the start.  There is
no choice as in protect.c: an overlay would save the copy, but needs system calls that Python has not built in.
"""

from __future__ import annotations

import sys
from fcntl import F_ADD_SEALS, F_GET_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE, fcntl
from posix import (
    MFD_ALLOW_SEALING,
    MFD_CLOEXEC,
    O_CLOEXEC,
    O_RDONLY,
    O_WRONLY,
    _exit,
    close,
    environ,
    execve,
    fstat,
    memfd_create,
    open,
    sendfile,
    strerror,
    write,
)

SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE
MFD_EXEC = 0x10  # Linux 6.3
EINVAL, EACCES = 22, 13


def protect() -> None:
    """Return in a process whose executable no container can change; execute the command again until it is one."""
    try:
        exe = open("/proc/self/exe", O_RDONLY | O_CLOEXEC)
        if _seals(exe) & SEALS != SEALS:
            execve(_sealed_copy(exe), sys.orig_argv, environ)
        close(exe)
        _take_name("ocirt")
    except OSError as error:
        what = strerror(error.errno or 0)
        if error.errno == EACCES:
            what = f"memfd_create: {what} - allow it by vm.memfd_noexec"
        write(2, f"ocirt: the executable cannot be protected from the container: {what}\n".encode())
        _exit(255 if "exec" in sys.argv else 1)


def _seals(fd: int) -> int:
    try:
        return fcntl(fd, F_GET_SEALS)
    except OSError:  # EINVAL: no file of memory
        return 0


def _sealed_copy(exe: int) -> int:
    flags = MFD_CLOEXEC | MFD_ALLOW_SEALING
    try:
        copy = memfd_create("ocirt", flags | MFD_EXEC)
    except OSError as error:
        if error.errno != EINVAL:
            raise
        copy = memfd_create("ocirt", flags)
    size, done = fstat(exe).st_size, 0
    while done < size:
        done += sendfile(copy, exe, done, size - done)
    fcntl(copy, F_ADD_SEALS, SEALS)
    return copy


def _take_name(name: str) -> None:
    """What ps shows; before Linux 6.14 it would be the descriptor's number."""
    comm = open("/proc/self/comm", O_WRONLY | O_CLOEXEC)
    write(comm, name.encode())
    close(comm)
