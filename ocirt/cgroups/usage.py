"""A container's statistics from cgroup v1, in the shape of runc's `events` (zeros are left out where runc does).

Read by cadvisor and docker stats; the names are theirs.  Imported by who asks a manager for its usage().
"""

from __future__ import annotations

from ocirt import system as os
from ocirt.cgroups.files import GONE, read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    # Reads a file of one controller; "" when the kernel has no such file.
    Read = Callable[[str], str]

NANOSECONDS_PER_TICK = 10_000_000  # cpuacct.stat counts in USER_HZ, which is 100 on every architecture

# output name -> (file of the bfq scheduler, file of the throttling layer)
_BLKIO = {
    "ioServiceBytesRecursive": ("blkio.bfq.io_service_bytes_recursive", "blkio.throttle.io_service_bytes_recursive"),
    "ioServicedRecursive": ("blkio.bfq.io_serviced_recursive", "blkio.throttle.io_serviced_recursive"),
    "ioQueueRecursive": ("blkio.bfq.io_queued_recursive", ""),
    "ioServiceTimeRecursive": ("blkio.bfq.io_service_time_recursive", ""),
    "ioWaitTimeRecursive": ("blkio.bfq.io_wait_time_recursive", ""),
    "ioMergedRecursive": ("blkio.bfq.io_merged_recursive", ""),
    "ioTimeRecursive": ("blkio.bfq.time_recursive", ""),
    "sectorsRecursive": ("blkio.bfq.sectors_recursive", ""),
}

_CPUSET_FLAGS = (
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
    "sched_relax_domain_level",
)


def v1_usage(paths: dict[str, str]) -> dict[str, Any]:
    """paths: controller -> directory.  Sizes in bytes, times in nanoseconds.  Raises OSError."""

    def reader(controller: str) -> Read:
        return lambda name: _read(paths, controller, name)

    return {
        "cpu": {"usage": cpu_usage(reader("cpuacct")), "throttling": throttling(reader("cpu"))},
        "cpuset": cpuset(reader("cpuset")),
        "memory": memory(reader("memory")),
        "pids": pids(reader("pids")),
        "blkio": blkio(reader("blkio")),
        "hugetlb": hugetlb(reader("hugetlb"), hugepage_sizes()) if "hugetlb" in paths else {},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def cpu_usage(read: Read) -> dict[str, Any]:
    ticks = table(read("cpuacct.stat"))
    rows = [line.split() for line in read("cpuacct.usage_all").splitlines()[1:]]
    return {
        **nonzero(
            {
                "total": number(read("cpuacct.usage")),
                "percpu": [int(text) for text in read("cpuacct.usage_percpu").split()],
                "percpu_kernel": [int(row[2]) for row in rows],
                "percpu_user": [int(row[1]) for row in rows],
            }
        ),
        "kernel": ticks.get("system", 0) * NANOSECONDS_PER_TICK,
        "user": ticks.get("user", 0) * NANOSECONDS_PER_TICK,
    }


def throttling(read: Read) -> dict[str, Any]:
    stat = table(read("cpu.stat"))
    return nonzero(
        {
            "periods": stat.get("nr_periods", 0),
            "throttledPeriods": stat.get("nr_throttled", 0),
            "throttledTime": stat.get("throttled_time", 0),
        }
    )


def cpuset(read: Read) -> dict[str, Any]:
    lists = nonzero({"cpus": _members(read("cpuset.cpus")), "mems": _members(read("cpuset.mems"))})
    flags = {name: number(read(f"cpuset.{name}")) for name in _CPUSET_FLAGS}
    return {
        **({"cpus": lists["cpus"]} if "cpus" in lists else {}),
        "cpu_exclusive": flags.pop("cpu_exclusive"),
        **({"mems": lists["mems"]} if "mems" in lists else {}),
        **flags,
    }


def memory(read: Read) -> dict[str, Any]:
    raw = table(read("memory.stat"))
    return {
        **nonzero({"cache": raw.get("cache", 0)}),
        "usage": _memory_entry(read, "memory"),
        "swap": _memory_entry(read, "memory.memsw"),
        "kernel": _memory_entry(read, "memory.kmem"),
        "kernelTCP": _memory_entry(read, "memory.kmem.tcp"),
        **nonzero({"raw": dict(sorted(raw.items()))}),
    }


def _memory_entry(read: Read, prefix: str) -> dict[str, int]:
    used = {
        "usage": number(read(f"{prefix}.usage_in_bytes")),
        "max": number(read(f"{prefix}.max_usage_in_bytes")),
    }
    limit = number(read(f"{prefix}.limit_in_bytes"))
    return {"limit": limit, **nonzero(used), "failcnt": number(read(f"{prefix}.failcnt"))}


def pids(read: Read) -> dict[str, Any]:
    limit = read("pids.max")
    return nonzero({"current": number(read("pids.current")), "limit": 0 if limit == "max" else number(limit)})


def blkio(read: Read) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (bfq, throttle) in _BLKIO.items():
        entries = _blkio_entries(read(bfq)) or (_blkio_entries(read(throttle)) if throttle else [])
        if entries:
            found[name] = entries
    return found


def _blkio_entries(text: str) -> list[dict[str, Any]]:
    """Lines "8:0 Read 4096" or "8:0 4096"; the line "Total 4096" has no device and is left out."""
    entries = []
    for line in text.splitlines():
        device, *words = line.split()
        if ":" not in device:
            continue
        major, minor = device.split(":")
        entry = {"major": int(major), "minor": int(minor), "op": words[0] if len(words) > 1 else ""}
        entries.append(nonzero({**entry, "value": int(words[-1])}))
    return entries


def hugepage_sizes() -> list[str]:
    """Page sizes as the files are named: 2MB, 1GB."""

    sizes = []
    for name in sorted(os.listdir("/sys/kernel/mm/hugepages")):  # hugepages-2048kB
        size, unit = int(name.removeprefix("hugepages-").removesuffix("kB")), "KB"
        for larger in ("MB", "GB"):
            if size >= 1024:
                size, unit = size // 1024, larger
        sizes.append(f"{size}{unit}")
    return sizes


def hugetlb(read: Read, sizes: list[str]) -> dict[str, Any]:
    return {
        size: {
            **nonzero(
                {
                    "usage": number(read(f"hugetlb.{size}.usage_in_bytes")),
                    "max": number(read(f"hugetlb.{size}.max_usage_in_bytes")),
                }
            ),
            "failcnt": number(read(f"hugetlb.{size}.failcnt")),
        }
        for size in sizes
    }


def _read(paths: dict[str, str], controller: str, name: str) -> str:
    if controller not in paths:
        return ""
    try:
        return read_file(paths[controller], name)
    except OSError as error:
        if error.errno in GONE:
            return ""
        raise


def number(text: str) -> int:
    return int(text) if text else 0


def table(text: str) -> dict[str, int]:
    """Lines "name number"."""
    return {name: int(number) for name, number in (line.split() for line in text.splitlines())}


def _members(text: str) -> list[int]:
    """A list of numbers and ranges, "0-1,4" (cpuset(7), List Format)."""
    members: list[int] = []
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        members += range(int(first), int(last or first) + 1)
    return members


def nonzero(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}
