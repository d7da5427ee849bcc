"""Samples in the Prometheus text exposition format (version 0.0.4), for a textfile collector or a small exporter.

Base units, as its conventions have it: seconds and bytes.
"""

from __future__ import annotations

from ocirt.stats import UNLIMITED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocirt.stats import Sample

    # What a sample says: labels beside id, and the value.
    Values = Callable[[Sample], Iterator[tuple[dict[str, str], float]]]

PREFIX = "ocirt_container_"
NANOSECONDS, MICROSECONDS = 1e-9, 1e-6
RESOURCES = {"cpu": "cpu", "memory": "memory", "blkio": "io"}


def one(*names: str, scale: float = 1, below: int = 0) -> Values:
    """A number of the usage.  below: left out from there on, and when it is 0."""

    def values(sample: Sample) -> Iterator[tuple[dict[str, str], float]]:
        value = sample.number(*names)
        if sample.usage is not None and (not below or 0 < value < below):
            yield {}, value * scale if scale != 1 else value

    return values


def io(operation: str) -> Values:
    def values(sample: Sample) -> Iterator[tuple[dict[str, str], float]]:
        for device, count in sample.io(operation).items():
            yield {"device": device}, count

    return values


def status(sample: Sample) -> Iterator[tuple[dict[str, str], float]]:
    yield {"status": sample.status}, 1


def oom_kills(sample: Sample) -> Iterator[tuple[dict[str, str], float]]:
    if sample.usage is not None:
        yield {}, sample.oom_kills


def started(sample: Sample) -> Iterator[tuple[dict[str, str], float]]:
    yield {}, round(sample.when - sample.born, 2)


def pressure(sample: Sample) -> Iterator[tuple[dict[str, str], float]]:
    for name, resource in RESOURCES.items():
        for kind, values in sample.pressure(name).items():
            yield {"resource": resource, "kind": kind}, values["total"] * MICROSECONDS


# name, type, help, values
METRICS: tuple[tuple[str, str, str, Values], ...] = (
    ("info", "gauge", "Status of the container; always 1.", status),
    ("age_seconds", "gauge", "Time since the start of its init.", started),
    ("cpu_usage_seconds_total", "counter", "CPU time used.", one("cpu", "usage", "total", scale=NANOSECONDS)),
    ("cpu_user_seconds_total", "counter", "CPU time in user mode.", one("cpu", "usage", "user", scale=NANOSECONDS)),
    (
        "cpu_system_seconds_total",
        "counter",
        "CPU time in the kernel.",
        one("cpu", "usage", "kernel", scale=NANOSECONDS),
    ),
    ("cpu_periods_total", "counter", "Periods of the CPU quota that have passed.", one("cpu", "throttling", "periods")),
    (
        "cpu_throttled_periods_total",
        "counter",
        "Periods in which the CPU quota was used up.",
        one("cpu", "throttling", "throttledPeriods"),
    ),
    (
        "cpu_throttled_seconds_total",
        "counter",
        "Time in which processes were kept from a CPU by the quota.",
        one("cpu", "throttling", "throttledTime", scale=NANOSECONDS),
    ),
    ("memory_usage_bytes", "gauge", "Memory in use, page cache included.", one("memory", "usage", "usage")),
    ("memory_cache_bytes", "gauge", "Page cache in use.", one("memory", "cache")),
    ("memory_peak_bytes", "gauge", "Most memory that was in use.", one("memory", "usage", "max", below=UNLIMITED)),
    (
        "memory_limit_bytes",
        "gauge",
        "Memory limit; absent without one.",
        one("memory", "usage", "limit", below=UNLIMITED),
    ),
    ("memory_swap_usage_bytes", "gauge", "Memory and swap in use together.", one("memory", "swap", "usage")),
    ("memory_failures_total", "counter", "Times that the memory limit was hit.", one("memory", "usage", "failcnt")),
    ("memory_oom_kills_total", "counter", "Processes killed for want of memory.", oom_kills),
    ("pids", "gauge", "Processes and threads.", one("pids", "current")),
    (
        "pids_limit",
        "gauge",
        "Most processes and threads; absent without a limit.",
        one("pids", "limit", below=UNLIMITED),
    ),
    ("io_read_bytes_total", "counter", "Bytes read from a block device.", io("Read")),
    ("io_written_bytes_total", "counter", "Bytes written to a block device.", io("Write")),
    (
        "pressure_waiting_seconds_total",
        "counter",
        "Time in which some, or all (full), processes waited for a resource (PSI); cgroup v2 only.",
        pressure,
    ),
)


def text(samples: list[Sample]) -> str:
    """Metrics that no container has are left out."""
    lines = []
    for name, kind, help, values in METRICS:
        found = [(sample, labels, value) for sample in samples for labels, value in values(sample)]
        if found:
            lines += [f"# HELP {PREFIX}{name} {help}", f"# TYPE {PREFIX}{name} {kind}"]
            lines += [_line(name, {"id": sample.id, **labels}, value) for sample, labels, value in found]
    return "".join(f"{line}\n" for line in lines)


def _line(name: str, labels: dict[str, str], value: float) -> str:
    """Labels need no escapes: neither ids nor what stands above has quotes or backslashes."""
    pairs = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return f"{PREFIX}{name}{{{pairs}}} {value!r}"
