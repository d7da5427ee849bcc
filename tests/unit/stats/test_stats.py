"""Samples as a table, as a screen, and as Prometheus' text."""

from __future__ import annotations

import math
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ocirt.stats import Sample, prometheus, table
from tests.support import records

PSI = {"avg10": 1.5, "avg60": 0.5, "avg300": 0.1, "total": 2_500_000}
USAGE: dict[str, Any] = {
    "cpu": {
        "usage": {"total": 90_500_000_000, "kernel": 30_000_000_000, "user": 60_000_000_000},
        "throttling": {"periods": 200, "throttledPeriods": 50, "throttledTime": 4_000_000_000},
        "psi": {"some": PSI, "full": {**PSI, "total": 0}},
    },
    "memory": {
        "cache": 4096,
        "usage": {"limit": 64 << 20, "usage": 10_200_000, "max": 20 << 20, "failcnt": 7},
        "swap": {"limit": 2**64 - 1, "usage": 10_300_000, "failcnt": 0},
    },
    "pids": {"current": 3, "limit": 20},
    "blkio": {
        "ioServiceBytesRecursive": [
            {"major": 8, "minor": 0, "op": "Read", "value": 4096},
            {"major": 8, "minor": 16, "op": "Read", "value": 1024},
            {"major": 8, "minor": 0, "op": "Write"},
            {"major": 8, "minor": 0, "op": "Total", "value": 5120},
        ]
    },
}
# v1, nothing limited
BARE: dict[str, Any] = {
    "cpu": {"usage": {"kernel": 0, "user": 0}, "throttling": {}},
    "memory": {"usage": {"limit": 9223372036854771712, "failcnt": 0}},
    "pids": {},
    "blkio": {},
}


def sample(name: str = "web1", usage: dict[str, Any] | None = USAGE, when: float = 200.0, kills: int = 2) -> Sample:
    return Sample(name, "running", 42, when, 100.0, usage, kills)


def cells(*samples: Sample, before: Sample | None = None) -> list[tuple[str, ...]]:
    return table.rows(list(samples), {before.id: before} if before is not None else {})


def test_a_row() -> None:
    (row,) = cells(sample())
    assert dict(zip(table.HEADER, row, strict=True)) == {
        "ID": "web1",
        "STATUS": "running",
        "CPU%": "90.5",  # in its life of 100 seconds
        "TIME": "1:30.50",
        "THROTTLED": "25%",
        "MEMORY": "9.7M",
        "PEAK": "20M",
        "LIMIT": "64M",
        "OOM": "2",
        "PIDS": "3/20",
        "READ": "5.0K",
        "WRITTEN": "0B",
        "CPU-PSI": "1.5%",
        "MEM-PSI": "-",
        "IO-PSI": "-",
    }


def test_what_is_not_limited_and_what_has_no_cgroup() -> None:
    bare, none = cells(sample("a", BARE, kills=0), sample("b", None, kills=0))
    assert bare[2:] == ("0.0", "0:00.00", "-", "0B", "0B", "-", "0", "0", "0B", "0B", "-", "-", "-")
    assert none == ("b", "running", *["-"] * 13)


def test_since_the_last_look() -> None:
    cpu = {"usage": {"total": 90_000_000_000}, "throttling": {"periods": 190, "throttledPeriods": 45}}
    (row,) = cells(sample(), before=sample(usage={**USAGE, "cpu": cpu}, when=199.0))
    assert (row[2], row[4]) == ("50.0", "50%")
    (row,) = cells(sample(), before=sample())  # no time has passed
    assert (row[2], row[4]) == ("0.0", "-")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1.0K"),
        (10_000, "9.8K"),
        (10_240, "10K"),
        (1023 << 10, "1.0M"),
        (2**70, "1024E"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert table.size(count) == text


@pytest.mark.parametrize(("spent", "text"), [(0, "0:00.00"), (59.99, "0:59.99"), (3599, "59:59.00"), (7384, "2h03:04")])
def test_times(spent: float, text: str) -> None:
    assert table.seconds(int(spent * 1e9)) == text


def test_columns() -> None:
    lines = table.table(cells(sample(), sample("a-longer-one", None))).splitlines()
    assert lines[0].split() == list(table.HEADER)
    assert lines[1].startswith("web1          running  90.5  1:30.50        25%")
    assert lines[2].startswith("a-longer-one  running     -")
    narrow = table.table(cells(sample("x" * 30)), 60).splitlines()
    assert max(map(len, narrow)) <= 60
    assert narrow[1].startswith("x" * 23 + "…  running")


def test_a_screen_has_the_busiest_first_and_says_what_it_leaves_out() -> None:
    samples = [sample(f"c{number}", {**USAGE, "cpu": {"usage": {"total": number * 10**9}}}) for number in range(10)]
    text = table.screen(samples, {}, 80, 8, "1s")
    assert text.startswith("\x1b[H\x1b[2J")
    title, _, *rows = text.splitlines()
    assert title.endswith("  10 containers, 5 of them below; every 1s, until Ctrl-C")
    assert [row.split()[0] for row in rows] == ["c9", "c8", "c7", "c6", "c5"]


# -- Prometheus ----------------------------------------------------------------------------------


def parsed(*samples: Sample) -> dict[tuple[str, ...], float]:
    """name, then the labels' values -> value."""
    text = prometheus.text(list(samples))
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def test_metrics() -> None:
    found = parsed(sample(), sample("bare", BARE, kills=0), sample("none", None))
    p = prometheus.PREFIX
    assert found == {
        (f"{p}info", "web1", "running"): 1,
        (f"{p}info", "bare", "running"): 1,
        (f"{p}info", "none", "running"): 1,
        **{(f"{p}age_seconds", name): 100 for name in ("web1", "bare", "none")},
        (f"{p}cpu_usage_seconds_total", "web1"): pytest.approx(90.5),
        (f"{p}cpu_usage_seconds_total", "bare"): 0,
        (f"{p}cpu_user_seconds_total", "web1"): pytest.approx(60),
        (f"{p}cpu_user_seconds_total", "bare"): 0,
        (f"{p}cpu_system_seconds_total", "web1"): pytest.approx(30),
        (f"{p}cpu_system_seconds_total", "bare"): 0,
        (f"{p}cpu_periods_total", "web1"): 200,
        (f"{p}cpu_periods_total", "bare"): 0,
        (f"{p}cpu_throttled_periods_total", "web1"): 50,
        (f"{p}cpu_throttled_periods_total", "bare"): 0,
        (f"{p}cpu_throttled_seconds_total", "web1"): pytest.approx(4),
        (f"{p}cpu_throttled_seconds_total", "bare"): 0,
        (f"{p}memory_usage_bytes", "web1"): 10_200_000,
        (f"{p}memory_usage_bytes", "bare"): 0,
        (f"{p}memory_cache_bytes", "web1"): 4096,
        (f"{p}memory_cache_bytes", "bare"): 0,
        (f"{p}memory_peak_bytes", "web1"): 20 << 20,
        (f"{p}memory_limit_bytes", "web1"): 64 << 20,
        (f"{p}memory_swap_usage_bytes", "web1"): 10_300_000,
        (f"{p}memory_swap_usage_bytes", "bare"): 0,
        (f"{p}memory_failures_total", "web1"): 7,
        (f"{p}memory_failures_total", "bare"): 0,
        (f"{p}memory_oom_kills_total", "web1"): 2,
        (f"{p}memory_oom_kills_total", "bare"): 0,
        (f"{p}pids", "web1"): 3,
        (f"{p}pids", "bare"): 0,
        (f"{p}pids_limit", "web1"): 20,
        (f"{p}io_read_bytes_total", "web1", "8:0"): 4096,
        (f"{p}io_read_bytes_total", "web1", "8:16"): 1024,
        (f"{p}io_written_bytes_total", "web1", "8:0"): 0,
        (f"{p}pressure_waiting_seconds_total", "web1", "cpu", "some"): pytest.approx(2.5),
        (f"{p}pressure_waiting_seconds_total", "web1", "cpu", "full"): 0,
    }


def test_the_text_is_as_the_format_has_it() -> None:
    """As promtool's linter asks: help and type before the samples, counters and only they end with _total."""
    lines = prometheus.text([sample(), sample("web2")]).splitlines()
    place, kinds = "", {}
    for line in lines:
        if line.startswith("# HELP "):
            place = line.split()[2]
            assert place not in kinds
            assert line.endswith(".")
        elif line.startswith("# TYPE "):
            _, _, name, kinds[place] = line.split()
            assert name == place
        else:
            assert line.startswith(f"{place}{{id=")
            assert math.isfinite(float(line.rsplit(" ", 1)[1]))
    assert {kind for name, kind in kinds.items() if name.endswith("_total")} == {"counter"}
    assert {kind for name, kind in kinds.items() if not name.endswith("_total")} == {"gauge"}
    assert prometheus.text([]) == ""


def test_no_label_needs_an_escape() -> None:
    assert records.CONFIG  # ids are checked when a container is made: letters, digits, and _+-.
    from ocirt.container import check_id
    from ocirt.errors import StateError

    for name in ('a"', "a\\", "a\n"):
        with pytest.raises(StateError):
            check_id(name)
