"""Every resource property as the exact writes it becomes on cgroup v2."""

from __future__ import annotations

from typing import Any

import pytest

from ocirt.cgroups.limits import DEFAULT_DEVICES
from ocirt.cgroups.limits_v2 import cpu_weight, limits
from ocirt.config.views import Resources
from ocirt.errors import OcirtError

DEVICE = {"major": 8, "minor": 16}


def writes(present: dict[str, str] | None = None, **resources: Any) -> list[tuple[str, str, str, str]]:
    """(controller, file, text, pointer below resources); present: what files say now."""
    now = present or {}
    planned = limits(Resources(resources, "/r"), lambda file: now.get(file, ""), devices=False)
    return [(write.controller, write.file, write.text, write.at.removeprefix("/r")) for write in planned]


def refusal(present: dict[str, str] | None = None, **resources: Any) -> tuple[str, str, str]:
    with pytest.raises(OcirtError) as caught:
        writes(present, **resources)
    return caught.value.code, caught.value.what, caught.value.at.removeprefix("/r")


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ({"limit": 100}, [("memory.max", "100", "limit")]),
        ({"limit": -1}, [("memory.swap.max", "max", "limit"), ("memory.max", "max", "limit")]),
        ({"limit": 100, "swap": 160}, [("memory.swap.max", "60", "swap"), ("memory.max", "100", "limit")]),
        ({"limit": 100, "swap": 100}, [("memory.swap.max", "0", "swap"), ("memory.max", "100", "limit")]),
        ({"limit": 100, "swap": -1}, [("memory.swap.max", "max", "swap"), ("memory.max", "100", "limit")]),
        ({"limit": -1, "swap": 100}, [("memory.swap.max", "100", "swap"), ("memory.max", "max", "limit")]),
        ({"reservation": 50}, [("memory.low", "50", "reservation")]),
        ({"reservation": -1}, [("memory.low", "max", "reservation")]),
        ({"limit": 0, "swap": 0, "reservation": 0}, []),
        ({"swappiness": 2**64 - 1}, []),
        ({"disableOOMKiller": False}, []),
        ({"useHierarchy": True}, []),
        ({"kernel": 1, "kernelTCP": 1}, []),
    ],
)
def test_memory(memory: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    assert writes(memory=memory) == [("memory", file, text, f"/memory/{name}") for file, text, name in expected]


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ({"limit": 120}, {"memory.max": "120"}),
        ({"swap": 180}, {"memory.swap.max": "80"}),
        ({"swap": -1}, {"memory.swap.max": "max"}),
        ({"limit": -1}, {"memory.max": "max", "memory.swap.max": "max"}),
    ],
)
def test_an_update_of_one_of_memory_and_swap(memory: dict[str, Any], expected: dict[str, str]) -> None:
    present = {"memory.max": "100", "memory.swap.max": "50"}
    assert {file: text for _, file, text, _ in writes(present, memory=memory)} == expected


def test_an_update_of_swap_below_the_limit_is_refused() -> None:
    present = {"memory.max": "100", "memory.swap.max": "50"}
    says = "memory+swap limit should be >= memory limit"
    assert refusal(present, memory={"swap": 99}) == ("cgroup", says, "/memory/swap")


def test_unlimited_swap_needs_no_file() -> None:
    """A kernel without swap has none, and no swap either."""
    swaps = [{"limit": 100, "swap": 100}, {"limit": 100, "swap": -1}, {"limit": 100, "swap": 160}]
    found = [limits(Resources({"memory": memory}), lambda _: "", devices=False)[0] for memory in swaps]
    assert [(write.file, write.optional) for write in found] == [
        ("memory.swap.max", True),
        ("memory.swap.max", True),
        ("memory.swap.max", False),
    ]


def test_check_before_update() -> None:
    memory = {"limit": 100, "swap": 150, "checkBeforeUpdate": True}
    first, second, *rest = limits(Resources({"memory": memory}), lambda _: "", devices=False)
    assert (first.file, first.text, first.must_exceed) == ("memory.current", "100", "memory limit")
    assert (second.file, second.text) == ("memory.current memory.swap.current", "150")
    assert second.must_exceed == "memory+swap limit"
    assert [write.file for write in rest] == ["memory.swap.max", "memory.max"]


@pytest.mark.parametrize(
    ("shares", "weight"), [(0, 1), (1, 1), (2, 1), (3, 2), (512, 59), (1024, 100), (2048, 174), (262143, 10000)]
)
def test_weight(shares: int, weight: int) -> None:
    assert cpu_weight(shares) == weight


def test_weights_are_in_order() -> None:
    weights = [cpu_weight(shares) for shares in range(2, 262145, 97)]
    assert weights == sorted(weights)
    assert (weights[0], cpu_weight(262144), cpu_weight(300000)) == (1, 10000, 10000)


@pytest.mark.parametrize(
    ("cpu", "present", "expected"),
    [
        ({"quota": 5, "period": 9}, "", ("cpu.max", "5 9", "quota")),
        ({"quota": 5}, "", ("cpu.max", "5 100000", "quota")),
        ({"quota": -1}, "", ("cpu.max", "max 100000", "quota")),
        ({"period": 9}, "", ("cpu.max", "max 9", "period")),
        ({"period": 9}, "5 7", ("cpu.max", "5 9", "period")),
        ({"quota": 5}, "3 7", ("cpu.max", "5 7", "quota")),
        ({"quota": -1}, "3 7", ("cpu.max", "max 7", "quota")),
        ({"burst": 0}, "", ("cpu.max.burst", "0", "burst")),
        ({"idle": 0}, "", ("cpu.idle", "0", "idle")),
        ({"idle": 1, "shares": 1024}, "", ("cpu.idle", "1", "idle")),
        ({"shares": 1024}, "", ("cpu.weight", "100", "shares")),
    ],
)
def test_cpu(cpu: dict[str, Any], present: str, expected: tuple[str, str, str]) -> None:
    file, text, name = expected
    assert writes({"cpu.max": present}, cpu=cpu) == [("cpu", file, text, f"/cpu/{name}")]


def test_cpu_that_sets_nothing() -> None:
    assert writes(cpu={"shares": 0, "quota": 0, "period": 0, "realtimeRuntime": 0, "cpus": "", "mems": ""}) == []


def test_quota_and_burst_wait_for_each_other() -> None:
    quota, burst = limits(Resources({"cpu": {"quota": 9, "burst": 5}}), lambda _: "", devices=False)
    assert quota.group == burst.group != ""
    assert quota.whole


def test_cpusets() -> None:
    assert writes(cpu={"cpus": "0-1", "mems": "0"}) == [
        ("cpuset", "cpuset.cpus", "0-1", "/cpu/cpus"),
        ("cpuset", "cpuset.mems", "0", "/cpu/mems"),
    ]


def test_pids_hugepages_rdma() -> None:
    assert writes(pids={"limit": 0}) == [("pids", "pids.max", "0", "/pids/limit")]
    assert writes(pids={"limit": -1}) == [("pids", "pids.max", "max", "/pids/limit")]
    assert writes(hugepageLimits=[{"pageSize": "2MB", "limit": 7}]) == [
        ("hugetlb", "hugetlb.2MB.max", "7", "/hugepageLimits/0/limit"),
        ("hugetlb", "hugetlb.2MB.rsvd.max", "7", "/hugepageLimits/0/limit"),
    ]
    assert writes(rdma={"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10}}) == [
        ("rdma", "rdma.max", "mlx5_1 hca_handle=3 hca_object=10", "/rdma/mlx5_1")
    ]


@pytest.mark.parametrize(("weight", "wide"), [(10, 1), (100, 910), (500, 4950), (1000, 10000)])
def test_io_weight(weight: int, wide: int) -> None:
    block_io = {"weight": weight, "weightDevice": [{**DEVICE, "weight": weight, "leafWeight": 0}]}
    default, device = limits(Resources({"blockIO": block_io}), lambda _: "", devices=False)
    assert (default.file, default.text) == ("io.bfq.weight", f"default {weight}")
    assert (default.instead, default.instead_text) == ("io.weight", f"default {wide}")
    assert (device.text, device.instead_text) == (f"8:16 {weight}", f"8:16 {wide}")


def test_io_limits() -> None:
    block_io = {
        "throttleReadBpsDevice": [{**DEVICE, "rate": 1}],
        "throttleWriteBpsDevice": [{**DEVICE, "rate": 2}],
        "throttleReadIOPSDevice": [{**DEVICE, "rate": 3}],
        "throttleWriteIOPSDevice": [{**DEVICE, "rate": 0}],
    }
    assert [text for _, _, text, _ in writes(blockIO=block_io)] == [
        "8:16 rbps=1",
        "8:16 wbps=2",
        "8:16 riops=3",
        "8:16 wiops=max",
    ]
    assert writes(blockIO={"leafWeight": 0}) == []


def test_unified_comes_last_line_by_line() -> None:
    unified = {"io.max": "8:16 rbps=1\n8:16 wbps=2", "pids.max": "3", "cgroup.max.depth": "4"}
    assert writes(unified=unified, pids={"limit": 9}) == [
        ("pids", "pids.max", "9", "/pids/limit"),
        ("io", "io.max", "8:16 rbps=1", "/unified/io.max"),
        ("io", "io.max", "8:16 wbps=2", "/unified/io.max"),
        ("pids", "pids.max", "3", "/unified/pids.max"),
        ("", "cgroup.max.depth", "4", "/unified/cgroup.max.depth"),
    ]


@pytest.mark.parametrize(
    ("resources", "at"),
    [
        ({"memory": {"swappiness": 0}}, "/memory/swappiness"),
        ({"memory": {"disableOOMKiller": True}}, "/memory/disableOOMKiller"),
        ({"cpu": {"realtimePeriod": 1}}, "/cpu/realtimePeriod"),
        ({"cpu": {"realtimeRuntime": 1}}, "/cpu/realtimeRuntime"),
        ({"blockIO": {"leafWeight": 10}}, "/blockIO/leafWeight"),
        ({"blockIO": {"weightDevice": [{**DEVICE, "leafWeight": 10}]}}, "/blockIO/weightDevice/0/leafWeight"),
        ({"network": {"classID": 0}}, "/network/classID"),
        ({"network": {"priorities": [{"name": "lo", "priority": 1}]}}, "/network/priorities"),
    ],
)
def test_what_v2_does_not_have(resources: dict[str, Any], at: str) -> None:
    code, _, pointer = refusal(**resources)
    assert (code, pointer) == ("unsupported", at)


def test_network_that_sets_nothing() -> None:
    assert writes(network={}) == []


def rules(*given: dict[str, Any]) -> str:
    (write,) = limits(Resources({"devices": list(given)}, "/r"), lambda _: "")
    assert (write.file, write.controller) == ("devices", "devices")
    return write.text


DEFAULTS = "; ".join(f"allow {text}" for text in DEFAULT_DEVICES)


def test_device_rules() -> None:
    assert rules() == f"deny a; {DEFAULTS}"
    assert rules({"allow": True, "access": "rwm"}) == "allow a"
    assert rules(
        {"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}
    ) == (f"deny a; allow c 10:229 rw; {DEFAULTS}")


def test_without_resources_the_default_devices() -> None:
    (write,) = limits(None, lambda _: "")
    assert write.text == f"deny a; {DEFAULTS}"
    assert limits(None, lambda _: "", devices=False) == ()
