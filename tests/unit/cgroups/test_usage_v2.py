"""Statistics of cgroup v2 in the shape of runc's `events`, from files as a 6.12 kernel has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ocirt.cgroups.usage_v2 import UNLIMITED, hugetlb, v2_usage

PRESSURE = "some avg10=0.50 avg60=0.00 avg300=0.00 total=1234\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n"
FILES = {
    "cpu.stat": "usage_usec 900\nuser_usec 600\nsystem_usec 300\nnr_periods 4\nnr_throttled 1\nthrottled_usec 7\n",
    "cpu.pressure": PRESSURE,
    "memory.stat": "file 12288\nanon 4096\n",
    "memory.current": "20480\n",
    "memory.peak": "40960\n",
    "memory.max": "65536\n",
    "memory.events": "low 0\nhigh 0\nmax 5\noom 0\noom_kill 0\n",
    "memory.swap.current": "4096\n",
    "memory.swap.max": "8192\n",
    "memory.swap.events": "high 0\nmax 2\nfail 0\n",
    "pids.current": "3\n",
    "pids.max": "50\n",
    "io.stat": "8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n8:16\n",
}


def usage(tmp_path: Path, **changes: str) -> dict[str, Any]:
    for name, text in {**FILES, **{name.replace("__", "."): text for name, text in changes.items()}}.items():
        (tmp_path / name).write_text(text)
    return v2_usage(str(tmp_path))


def test_order_and_shape(tmp_path: Path) -> None:
    found = usage(tmp_path)
    assert list(found) == [
        "cpu",
        "cpuset",
        "memory",
        "pids",
        "blkio",
        "hugetlb",
        "intel_rdt",
        "network_interfaces",
    ]


def test_cpu(tmp_path: Path) -> None:
    cpu = usage(tmp_path)["cpu"]
    assert cpu["usage"] == {"total": 900000, "kernel": 300000, "user": 600000}
    assert cpu["throttling"] == {"periods": 4, "throttledPeriods": 1, "throttledTime": 7000}
    assert cpu["psi"]["some"] == {"avg10": 0.5, "avg60": 0.0, "avg300": 0.0, "total": 1234}
    assert cpu["psi"]["full"]["total"] == 9


def test_memory(tmp_path: Path) -> None:
    """swap is memory and swap together, as on v1."""
    memory = usage(tmp_path)["memory"]
    assert memory["cache"] == 12288
    assert memory["usage"] == {"limit": 65536, "usage": 20480, "max": 40960, "failcnt": 5}
    assert memory["swap"] == {"limit": 73728, "usage": 24576, "failcnt": 2}
    assert memory["kernel"] == memory["kernelTCP"] == {"limit": 0, "failcnt": 0}
    assert memory["raw"] == {"anon": 4096, "file": 12288}
    assert "psi" not in memory


def test_unlimited(tmp_path: Path) -> None:
    memory = usage(tmp_path, memory__max="max\n", pids__max="max\n")
    assert memory["memory"]["usage"]["limit"] == memory["memory"]["swap"]["limit"] == UNLIMITED
    assert memory["pids"] == {"current": 3}


def test_pids_and_io(tmp_path: Path) -> None:
    found = usage(tmp_path)
    assert found["pids"] == {"current": 3, "limit": 50}
    assert found["blkio"] == {
        "ioServiceBytesRecursive": [
            {"major": 8, "op": "Read", "value": 4096},
            {"major": 8, "op": "Write"},
        ],
        "ioServicedRecursive": [{"major": 8, "op": "Read", "value": 1}, {"major": 8, "op": "Write"}],
    }


def test_hugepages() -> None:
    files = {"hugetlb.2MB.current": "4096", "hugetlb.2MB.max": "max", "hugetlb.2MB.events": "max 3"}
    assert hugetlb(lambda name: files.get(name, ""), ["2MB", "1GB"]) == {"2MB": {"usage": 4096, "failcnt": 3}}


def test_a_cgroup_that_is_gone(tmp_path: Path) -> None:
    found = v2_usage(str(tmp_path / "gone"))
    assert (found["pids"], found["blkio"], found["cpu"]["throttling"]) == ({}, {}, {})
