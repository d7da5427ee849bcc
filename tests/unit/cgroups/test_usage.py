"""Statistics in the shape of runc's `events`, from files as a 6.18 kernel has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ocirt.cgroups.usage import blkio, hugetlb, v1_usage

FILES = {
    "cpuacct.usage": "14609372\n",
    "cpuacct.usage_percpu": "11257999 3351373 \n",
    "cpuacct.usage_all": "cpu user system\n0 7911728 8000000\n1 0 0\n",
    "cpuacct.stat": "user 3\nsystem 1\n",
    "cpu.stat": "nr_periods 4\nnr_throttled 0\nthrottled_time 0\n",
    "cpuset.cpus": "0-1,4\n",
    "cpuset.mems": "0\n",
    "cpuset.sched_load_balance": "1\n",
    "cpuset.sched_relax_domain_level": "-1\n",
    "memory.stat": "rss 4096\ncache 12288\n",
    "memory.limit_in_bytes": "33554432\n",
    "memory.usage_in_bytes": "483328\n",
    "memory.max_usage_in_bytes": "2510848\n",
    "memory.failcnt": "0\n",
    "memory.kmem.limit_in_bytes": "9223372036854771712\n",
    "memory.kmem.failcnt": "2\n",
    "pids.current": "3\n",
    "pids.max": "50\n",
    "blkio.bfq.io_service_bytes_recursive": "8:0 Read 4096\n8:0 Write 0\nTotal 4096\n",
    "blkio.throttle.io_service_bytes_recursive": "8:0 Read 1\n",
    "blkio.throttle.io_serviced_recursive": "8:16 Read 2\nTotal 2\n",
}


def usage(tmp_path: Path, **changes: str) -> dict[str, Any]:
    for name, text in {**FILES, **{name.replace("__", "."): text for name, text in changes.items()}}.items():
        (tmp_path / name).write_text(text)
    controllers = ("cpu", "cpuacct", "cpuset", "memory", "pids", "blkio")
    return v1_usage(dict.fromkeys(controllers, str(tmp_path)))


def test_everything(tmp_path: Path) -> None:
    assert usage(tmp_path) == {
        "cpu": {
            "usage": {
                "total": 14609372,
                "percpu": [11257999, 3351373],
                "percpu_kernel": [8000000, 0],
                "percpu_user": [7911728, 0],
                "kernel": 10_000_000,
                "user": 30_000_000,
            },
            "throttling": {"periods": 4},
        },
        "cpuset": {
            "cpus": [0, 1, 4],
            "cpu_exclusive": 0,
            "mems": [0],
            "mem_hardwall": 0,
            "mem_exclusive": 0,
            "memory_migrate": 0,
            "memory_spread_page": 0,
            "memory_spread_slab": 0,
            "memory_pressure": 0,
            "sched_load_balance": 1,
            "sched_relax_domain_level": -1,
        },
        "memory": {
            "cache": 12288,
            "usage": {"limit": 33554432, "usage": 483328, "max": 2510848, "failcnt": 0},
            "swap": {"limit": 0, "failcnt": 0},
            "kernel": {"limit": 9223372036854771712, "failcnt": 2},
            "kernelTCP": {"limit": 0, "failcnt": 0},
            "raw": {"cache": 12288, "rss": 4096},
        },
        "pids": {"current": 3, "limit": 50},
        "blkio": {
            "ioServiceBytesRecursive": [
                {"major": 8, "op": "Read", "value": 4096},
                {"major": 8, "op": "Write"},
            ],
            "ioServicedRecursive": [{"major": 8, "minor": 16, "op": "Read", "value": 2}],
        },
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def test_order_of_the_cpuset_is_runcs(tmp_path: Path) -> None:
    assert list(usage(tmp_path)["cpuset"])[:3] == ["cpus", "cpu_exclusive", "mems"]


def test_no_limit_of_pids_is_left_out(tmp_path: Path) -> None:
    assert usage(tmp_path, pids__max="max\n")["pids"] == {"current": 3}


def test_a_cgroup_that_is_gone_has_no_figures(tmp_path: Path) -> None:
    gone = v1_usage({"memory": str(tmp_path / "gone")})
    assert gone["pids"] == {}
    assert gone["memory"]["usage"] == {"limit": 0, "failcnt": 0}


def test_times_have_no_operation() -> None:
    texts = {"blkio.bfq.time_recursive": "8:0 77\n"}
    assert blkio(lambda name: texts.get(name, "")) == {"ioTimeRecursive": [{"major": 8, "value": 77}]}


def test_hugepages() -> None:
    texts = {"hugetlb.2MB.usage_in_bytes": "4", "hugetlb.2MB.failcnt": "1"}
    assert hugetlb(lambda name: texts.get(name, ""), ["2MB"]) == {"2MB": {"usage": 4, "failcnt": 1}}
