"""Counters of tracepoints, perf_event_open(2): no tool is needed, and they go with their descriptors."""

from __future__ import annotations

import fcntl
from _struct import Struct  # built in; the public module is a file
from errno import EIO

from ocirt import system as os
from ocirt.errors import KernelError
from ocirt.kernel import numbers
from ocirt.kernel.ffi import syscall
from ocirt.kernel.mounts import fsconfig_create, fsmount, fsopen

_ATTRIBUTES = Struct("=IIQQQQQIIQ")  # struct perf_event_attr of its first version: 64 bytes
_TRACEPOINT = 2  # PERF_TYPE_TRACEPOINT
_DISABLED, _INHERIT, _ENABLE_ON_EXEC = 1 << 0, 1 << 1, 1 << 12
_CLOEXEC = 8  # PERF_FLAG_FD_CLOEXEC
# On powerpc the direction's bits are others, and the ioctl is refused: no counters there.
_SET_FILTER = 0x40082406  # PERF_EVENT_IOC_SET_FILTER
_COUNT = Struct("=Q")


def tracepoint(event: str) -> int:
    """The number of "group/name", by a tracefs of our own that is mounted nowhere.

    Raises OSError: ENOENT for an event that the kernel does not have, EPERM without CAP_SYS_ADMIN on the host.
    """
    context = fsopen("tracefs")
    try:
        fsconfig_create(context)
        mount = fsmount(context)
    finally:
        os.close(context)
    try:
        return int(os.read_whole(f"events/{event}/id", dir_fd=mount))
    finally:
        os.close(mount)


def open_counter(event: int, filter: str, pid: int) -> int:
    """A descriptor, close-on-exec, that counts an event from the next execve(2) of process pid on, in all that it
    begins then too.  filter: of the event's fields.  Raises KernelError."""
    flags = _DISABLED | _INHERIT | _ENABLE_ON_EXEC
    attributes = _ATTRIBUTES.pack(_TRACEPOINT, _ATTRIBUTES.size, event, 0, 0, 0, flags, 0, 0, 0)
    any_cpu = no_group = -1
    fd = syscall("perf_event_open", numbers.perf_event_open, attributes, pid, any_cpu, no_group, _CLOEXEC)
    try:
        fcntl.ioctl(fd, _SET_FILTER, filter.encode() + b"\0")
    except OSError as error:
        os.close(fd)
        raise KernelError(
            error.errno or 0, error.strerror or "", "ioctl", f"PERF_EVENT_IOC_SET_FILTER {filter}"
        ) from None
    return fd


def read_counter(fd: int) -> int:
    """Of all processes, those that have ended too.  Raises KernelError EIO for one that the kernel has given up."""
    data = os.read(fd, _COUNT.size)
    if len(data) < _COUNT.size:
        raise KernelError(EIO, os.strerror(EIO), "read", "a counter that the kernel has given up")
    return int(_COUNT.unpack(data)[0])
