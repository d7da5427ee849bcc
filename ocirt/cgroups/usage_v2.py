"""A container's statistics from cgroup v2, in the shape of runc's `events`: v1's names, and pressure (PSI).

Source: cgroup-v2.rst; Documentation/accounting/psi.rst.  Imported by who asks a manager for its usage().
"""

from __future__ import annotations

import errno

from ocirt.cgroups.files import GONE, read_file
from ocirt.cgroups.usage import cpuset, hugepage_sizes, nonzero, number, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.cgroups.usage import Read

UNLIMITED = 2**64 - 1
NANOSECONDS = 1000  # in a microsecond
# key of io.stat -> where it goes and as which operation
_IO = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}


def v2_usage(directory: str) -> dict[str, Any]:
    """Sizes in bytes, times in nanoseconds, pressure in percent and microseconds.  Raises OSError."""

    def read(name: str) -> str:
        try:
            return read_file(directory, name)
        except OSError as error:
            # No such controller here; pressure is not counted (psi=0).
            if error.errno in (*GONE, errno.EOPNOTSUPP):
                return ""
            raise

    return {
        "cpu": cpu(read),
        "cpuset": cpuset(lambda name: ""),
        "memory": memory(read),
        "pids": nonzero({"current": number(read("pids.current")), "limit": _limit(read("pids.max"), 0)}),
        "blkio": io(read),
        "hugetlb": hugetlb(read, hugepage_sizes()),
        "intel_rdt": {},
        "network_interfaces": None,
    }


def cpu(read: Read) -> dict[str, Any]:
    stat = table(read("cpu.stat"))
    return {
        "usage": {
            **nonzero({"total": stat.get("usage_usec", 0) * NANOSECONDS}),
            "kernel": stat.get("system_usec", 0) * NANOSECONDS,
            "user": stat.get("user_usec", 0) * NANOSECONDS,
        },
        "throttling": nonzero(
            {
                "periods": stat.get("nr_periods", 0),
                "throttledPeriods": stat.get("nr_throttled", 0),
                "throttledTime": stat.get("throttled_usec", 0) * NANOSECONDS,
            }
        ),
        **_pressure(read("cpu.pressure")),
    }


def memory(read: Read) -> dict[str, Any]:
    """swap is memory and swap together, as on v1."""
    raw = table(read("memory.stat"))
    used, limit = number(read("memory.current")), _limit(read("memory.max"), UNLIMITED)
    swap_limit = _limit(read("memory.swap.max"), UNLIMITED)
    failed = table(read("memory.events")).get("max", 0)
    swap_failed = table(read("memory.swap.events")).get("max", 0)
    both = UNLIMITED if UNLIMITED in (swap_limit, limit) else swap_limit + limit
    return {
        **nonzero({"cache": raw.get("file", 0)}),
        "usage": _entry(used, limit, number(read("memory.peak")), failed),
        "swap": _entry(number(read("memory.swap.current")) + used, both, 0, swap_failed),
        "kernel": _entry(0, 0, 0, 0),
        "kernelTCP": _entry(0, 0, 0, 0),
        **nonzero({"raw": dict(sorted(raw.items()))}),
        **_pressure(read("memory.pressure")),
    }


def _entry(usage: int, limit: int, peak: int, failed: int) -> dict[str, int]:
    return {"limit": limit, **nonzero({"usage": usage, "max": peak}), "failcnt": failed}


def io(read: Read) -> dict[str, Any]:
    found: dict[str, list[dict[str, Any]]] = {}
    for line in read("io.stat").splitlines():
        device, *counts = line.split()
        if ":" not in device:
            continue
        major, minor = device.split(":")
        for count in counts:
            key, _, value = count.partition("=")
            if key in _IO:
                name, operation = _IO[key]
                entry = {"major": int(major), "minor": int(minor), "op": operation, "value": int(value)}
                found.setdefault(name, []).append(nonzero(entry))
    return {**found, **_pressure(read("io.pressure"))}


def hugetlb(read: Read, sizes: list[str]) -> dict[str, Any]:
    return {
        size: {
            **nonzero({"usage": number(read(f"hugetlb.{size}.current"))}),
            "failcnt": table(read(f"hugetlb.{size}.events")).get("max", 0),
        }
        for size in sizes
        if read(f"hugetlb.{size}.max")
    }


def _pressure(text: str) -> dict[str, Any]:
    """Lines "some avg10=0.00 avg60=0.00 avg300=0.00 total=0"; {} when the kernel does not count."""
    found: dict[str, Any] = {}
    for line in text.splitlines():
        kind, *values = line.split()
        pairs = dict(value.split("=") for value in values)
        found[kind] = {name: int(value) if name == "total" else float(value) for name, value in pairs.items()}
    return {"psi": found} if found else {}


def _limit(text: str, unlimited: int) -> int:
    return unlimited if text == "max" else number(text)
