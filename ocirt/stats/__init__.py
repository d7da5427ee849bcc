"""`ocirt stats`: what containers use, as samples (here), for people (table.py) and for machines (prometheus.py).

The numbers are those of `events --stats` (cgroups/usage.py), and how many processes were killed for want of memory.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.cgroups import Manager
    from ocirt.container import Container

UNLIMITED = 2**62  # bytes; v1 says the largest multiple of a page, v2 "max"
TICKS = 100  # of proc_pid_stat(5)'s start time in a second


class Sample:
    """One look at a container.

    when: seconds of CLOCK_BOOTTIME.  born: the same, of its init.  usage: see usage(), None without a cgroup.
    """

    __slots__ = ("born", "id", "oom_kills", "pid", "status", "usage", "when")

    def __init__(
        self, id: str, status: str, pid: int, when: float, born: float, usage: dict[str, Any] | None, oom_kills: int
    ) -> None:
        self.id = id
        self.status = status
        self.pid = pid
        self.when = when
        self.born = born
        self.usage = usage
        self.oom_kills = oom_kills

    def number(self, *names: str) -> int:
        """usage[names[0]][names[1]]...; 0 for what is left out because it is nothing."""
        value: Any = self.usage or {}
        for name in names:
            value = value.get(name) or {}
        return value or 0

    def memory_limit(self) -> int:
        """In bytes; 0 for none."""
        limit = self.number("memory", "usage", "limit")
        return limit if limit < UNLIMITED else 0

    def io(self, operation: str) -> dict[str, int]:
        """Bytes by device "8:0"; operation: "Read" or "Write"."""
        entries = (self.usage or {}).get("blkio", {}).get("ioServiceBytesRecursive", ())
        return {f"{one['major']}:{one['minor']}": one.get("value", 0) for one in entries if one["op"] == operation}

    def pressure(self, resource: str) -> dict[str, dict[str, float]]:
        """ "some" and "full" of cpu, memory or blkio: avg10, avg60, avg300 in percent, total in microseconds; {} where
        the kernel does not count it, as on cgroup v1."""
        found: dict[str, dict[str, float]] = (self.usage or {}).get(resource, {}).get("psi", {})
        return found

    def cpu_percent(self, before: Sample | None) -> float:
        """Of one CPU: since `before`, or on the average of its life."""
        used, seconds = self.number("cpu", "usage", "total"), self.when - self.born
        if before is not None:
            used, seconds = used - before.number("cpu", "usage", "total"), self.when - before.when
        return max(0.0, used / 1e7 / seconds) if seconds > 0 else 0.0

    def document(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "status": self.status,
            "pid": self.pid,
            "oom_kills": self.oom_kills,
            "usage": self.usage,
        }


def usage(container: Container, manager: Manager) -> dict[str, Any]:
    """In the shape of runc's `events`.  Raises OSError, OcirtError."""
    found = manager.usage()
    if "resctrl" in container.record:
        from ocirt import resctrl

        found["intel_rdt"] = resctrl.usage(resctrl.recorded_group(container.record["resctrl"]))
    return found


def look(container: Container) -> Sample | None:
    """None for a container that has no process, or loses it meanwhile.  Raises OSError, OcirtError."""
    status = container.status()
    if status in ("creating", "stopped"):
        return None
    manager = container.manager()
    found = usage(container, manager) if manager is not None else None
    kills = manager.oom_kills() if manager is not None else 0
    sample = Sample(
        container.id,
        status,
        container.pid,
        time.clock_gettime(time.CLOCK_BOOTTIME),
        container.record["start_time"] / TICKS,
        found,
        kills,
    )
    return sample if container.alive() else None
