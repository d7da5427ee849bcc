"""Being told when the kernel killed a container's process for want of memory.  Imported by `events` only."""

from __future__ import annotations

from ocirt import system as os


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
