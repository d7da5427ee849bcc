"""Being told when the kernel killed a container's process for want of memory.  Imported by `events` only."""

from __future__ import annotations

import select

from ocirt import system as os
from ocirt.cgroups.files import GONE


class OomWatch:
    """cgroup v1's memory.oom_control through an eventfd (memory.rst, section 9).  fd: for poll(2)."""

    def __init__(self, directory: str) -> None:
        self._control = f"{directory}/cgroup.event_control"
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        oom_control = os.open(f"{directory}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            control = os.open(self._control, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(control, f"{self.fd} {oom_control}".encode())
            finally:
                os.close(control)
        finally:
            os.close(oom_control)

    def read(self) -> int | None:
        """How often it happened since the last time; None when the cgroup is gone: its end is an event too."""
        try:
            count = os.eventfd_read(self.fd)
        except BlockingIOError:
            count = 0
        return count if os.path.exists(self._control) else None


class V2OomWatch(OomWatch):
    """cgroup v2 wakes those who poll memory.events and cgroup.events (cgroup-v2.rst, file modified event).

    fd: an epoll descriptor, ready when one of the two changed since it was last read.
    """

    def __init__(self, directory: str) -> None:
        self._epoll = select.epoll()
        self.fd = self._epoll.fileno()
        self._memory = os.open(f"{directory}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
        self._cgroup = os.open(f"{directory}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        self._kills = self._number(self._memory, b"oom_kill ")
        self._number(self._cgroup, b"populated ")
        for fd in (self._memory, self._cgroup):
            self._epoll.register(fd, select.EPOLLPRI)

    def read(self) -> int | None:
        """As OomWatch.read(); a cgroup that holds no process any more has ended."""
        try:
            kills = self._number(self._memory, b"oom_kill ")
            if not self._number(self._cgroup, b"populated "):
                if kills == self._kills:
                    return None
                self._epoll.modify(self._cgroup, select.EPOLLIN)  # always ready: this was told, the end is next
        except OSError as error:
            if error.errno in GONE:
                return None
            raise
        happened, self._kills = kills - self._kills, kills
        return happened

    @staticmethod
    def _number(fd: int, name: bytes) -> int:
        os.lseek(fd, 0, 0)
        return int(os.read(fd, 4096).partition(name)[2].split()[0])
