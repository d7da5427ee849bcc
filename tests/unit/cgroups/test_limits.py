"""Every resource property as the exact writes it becomes on cgroup v1."""

from __future__ import annotations

from typing import Any

import pytest

from ocirt.cgroups.limits import DEFAULT_DEVICES, limits
from ocirt.config.views import Resources
from ocirt.errors import OcirtError

DEVICE = {"major": 8, "minor": 16}


def writes(**resources: Any) -> list[tuple[str, str, str, str]]:
    """(controller, file, text, pointer below resources) of everything but the device rules."""
    planned = limits(Resources(resources, "/r"), devices=False)
    return [(write.controller, write.file, write.text, write.at.removeprefix("/r")) for write in planned]


def rules(*given: dict[str, Any]) -> list[tuple[str, str]]:
    planned = limits(Resources({"devices": list(given)}, "/r"))
    assert {write.controller for write in planned} == {"devices"}
    return [(write.file.removeprefix("devices."), write.text) for write in planned]


DEFAULTS = [("allow", text) for text in DEFAULT_DEVICES]


@pytest.mark.parametrize(
    ("member", "value", "expected"),
    [
        ("limit", 1048576, ("memory.limit_in_bytes", "1048576")),
        ("reservation", 4096, ("memory.soft_limit_in_bytes", "4096")),
        ("reservation", -1, ("memory.soft_limit_in_bytes", "-1")),
        ("swappiness", 0, ("memory.swappiness", "0")),
        ("swappiness", 100, ("memory.swappiness", "100")),
        ("disableOOMKiller", True, ("memory.oom_control", "1")),
        ("disableOOMKiller", False, ("memory.oom_control", "0")),
        ("useHierarchy", True, ("memory.use_hierarchy", "1")),
    ],
)
def test_one_memory_property(member: str, value: object, expected: tuple[str, str]) -> None:
    assert writes(memory={member: value}) == [("memory", *expected, f"/memory/{member}")]


@pytest.mark.parametrize(
    "memory",
    [
        {},
        {"limit": 0, "reservation": 0, "swap": 0},
        {"swappiness": 2**64 - 1},
        {"kernel": 4096, "kernelTCP": 4096},
        {"useHierarchy": False},
        {"checkBeforeUpdate": True},
    ],
)
def test_memory_that_sets_nothing(memory: dict[str, Any]) -> None:
    assert writes(memory=memory) == []


def test_limit_and_swap_wait_for_each_other() -> None:
    first, second = limits(Resources({"memory": {"limit": 100, "swap": 200}}), devices=False)
    assert (first.file, second.file) == ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
    assert first.group == second.group != ""
    assert not second.optional


def test_unlimited_memory_lifts_the_forgotten_swap_limit() -> None:
    limit, swap = limits(Resources({"memory": {"limit": -1}}), devices=False)
    assert (limit.text, swap.file, swap.text, swap.optional) == ("-1", "memory.memsw.limit_in_bytes", "-1", True)


def test_swap_alone_relies_on_an_earlier_limit() -> None:
    assert writes(memory={"swap": 100}) == [("memory", "memory.memsw.limit_in_bytes", "100", "/memory/swap")]


def test_unlimited_swap_needs_no_swap_accounting() -> None:
    _, swap = limits(Resources({"memory": {"limit": 100, "swap": -1}}), devices=False)
    assert (swap.text, swap.optional) == ("-1", True)


@pytest.mark.parametrize(
    ("member", "value", "controller", "file"),
    [
        ("shares", 512, "cpu", "cpu.shares"),
        ("quota", 20000, "cpu", "cpu.cfs_quota_us"),
        ("quota", -1, "cpu", "cpu.cfs_quota_us"),
        ("period", 50000, "cpu", "cpu.cfs_period_us"),
        ("burst", 0, "cpu", "cpu.cfs_burst_us"),
        ("idle", 1, "cpu", "cpu.idle"),
        ("realtimeRuntime", 950000, "cpu", "cpu.rt_runtime_us"),
        ("realtimePeriod", 1000000, "cpu", "cpu.rt_period_us"),
        ("cpus", "0-1,3", "cpuset", "cpuset.cpus"),
        ("mems", "0", "cpuset", "cpuset.mems"),
    ],
)
def test_one_cpu_property(member: str, value: object, controller: str, file: str) -> None:
    assert writes(cpu={member: value}) == [(controller, file, str(value), f"/cpu/{member}")]


def test_cpu_that_sets_nothing() -> None:
    nothing = {"shares": 0, "quota": 0, "period": 0, "realtimeRuntime": 0, "realtimePeriod": 0, "cpus": "", "mems": ""}
    assert writes(cpu=nothing) == []


def test_shares_are_read_back_because_the_kernel_clamps_them() -> None:
    (shares,) = limits(Resources({"cpu": {"shares": 1}}), devices=False)
    assert shares.clamped == "cpu-shares"


def test_an_idle_group_has_no_shares() -> None:
    assert [file for _, file, _, _ in writes(cpu={"idle": 1, "shares": 512})] == ["cpu.idle"]
    assert [file for _, file, _, _ in writes(cpu={"idle": 0, "shares": 512})] == ["cpu.idle", "cpu.shares"]


def test_quota_period_and_burst_wait_for_each_other() -> None:
    planned = limits(Resources({"cpu": {"quota": 1000, "period": 2000, "burst": 500}}), devices=False)
    assert {write.group for write in planned} == {"cpu.quota"}


@pytest.mark.parametrize(("limit", "text"), [(20, "20"), (0, "0"), (-1, "max"), (-5, "max")])
def test_pids(limit: int, text: str) -> None:
    assert writes(pids={"limit": limit}) == [("pids", "pids.max", text, "/pids/limit")]


@pytest.mark.parametrize(
    ("block_io", "expected"),
    [
        ({"weight": 500}, [("blkio.weight", "500", "/weight")]),
        ({"weight": 0, "leafWeight": 0}, []),
        ({"leafWeight": 10}, [("blkio.leaf_weight", "10", "/leafWeight")]),
        (
            {"weightDevice": [{**DEVICE, "weight": 100, "leafWeight": 50}]},
            [
                ("blkio.weight_device", "8:16 100", "/weightDevice/0/weight"),
                ("blkio.leaf_weight_device", "8:16 50", "/weightDevice/0/leafWeight"),
            ],
        ),
        (
            {"throttleReadBpsDevice": [{**DEVICE, "rate": 600}]},
            [("blkio.throttle.read_bps_device", "8:16 600", "/throttleReadBpsDevice/0/rate")],
        ),
        (
            {"throttleWriteBpsDevice": [{**DEVICE, "rate": 0}]},
            [("blkio.throttle.write_bps_device", "8:16 0", "/throttleWriteBpsDevice/0/rate")],
        ),
        (
            {"throttleReadIOPSDevice": [{**DEVICE, "rate": 1}, {"major": 8, "minor": 0, "rate": 2}]},
            [
                ("blkio.throttle.read_iops_device", "8:16 1", "/throttleReadIOPSDevice/0/rate"),
                ("blkio.throttle.read_iops_device", "8:0 2", "/throttleReadIOPSDevice/1/rate"),
            ],
        ),
        (
            {"throttleWriteIOPSDevice": [{**DEVICE, "rate": 3}]},
            [("blkio.throttle.write_iops_device", "8:16 3", "/throttleWriteIOPSDevice/0/rate")],
        ),
    ],
)
def test_block_io(block_io: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    assert writes(blockIO=block_io) == [("blkio", file, text, f"/blockIO{at}") for file, text, at in expected]


def test_the_weight_may_be_in_the_file_of_bfq() -> None:
    (weight,) = limits(Resources({"blockIO": {"weight": 500}}), devices=False)
    assert weight.instead == "blkio.bfq.weight"


def test_hugepages() -> None:
    at = "/hugepageLimits/0/limit"
    assert writes(hugepageLimits=[{"pageSize": "2MB", "limit": 4096}]) == [
        ("hugetlb", "hugetlb.2MB.limit_in_bytes", "4096", at),
        ("hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes", "4096", at),
    ]
    limit, reserved = limits(Resources({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}), devices=False)
    assert (limit.optional, reserved.optional) == (False, True)


def test_network() -> None:
    priorities = [{"name": "eth0", "priority": 5}, {"name": "lo", "priority": 0}]
    assert writes(network={"classID": 1048577, "priorities": priorities}) == [
        ("net_cls", "net_cls.classid", "1048577", "/network/classID"),
        ("net_prio", "net_prio.ifpriomap", "eth0 5", "/network/priorities/0"),
        ("net_prio", "net_prio.ifpriomap", "lo 0", "/network/priorities/1"),
    ]


@pytest.mark.parametrize(
    ("device", "text"),
    [
        ({"hcaHandles": 3, "hcaObjects": 100}, "mlx5_1 hca_handle=3 hca_object=100"),
        ({"hcaHandles": 0}, "mlx5_1 hca_handle=0"),
        ({"hcaObjects": 7}, "mlx5_1 hca_object=7"),
    ],
)
def test_rdma(device: dict[str, int], text: str) -> None:
    assert writes(rdma={"mlx5_1": device}) == [("rdma", "rdma.max", text, "/rdma/mlx5_1")]


def test_unified_is_refused() -> None:
    what = "invalid configuration: cannot use unified on cgroup v1"
    with pytest.raises(OcirtError) as caught:
        writes(unified={"pids.max": "5"})
    assert (caught.value.code, caught.value.what, caught.value.at) == ("unsupported", what, "/r/unified")
    assert writes(unified={}) == []


def test_devices_without_any_rule() -> None:
    expected = [("deny", "a"), *DEFAULTS]
    assert rules() == expected
    assert [(write.file.removeprefix("devices."), write.text) for write in limits(None)] == expected


@pytest.mark.parametrize(
    ("rule", "texts"),
    [
        ({"type": "c", "major": 10, "minor": 229, "access": "rw"}, ["c 10:229 rw"]),
        ({"type": "b", "major": 8, "access": "r"}, ["b 8:* r"]),
        ({"type": "b", "minor": 3, "access": "r"}, ["b *:3 r"]),
        ({"type": "c", "major": -1, "minor": -1, "access": "m"}, ["c *:* m"]),
        ({"major": 10, "minor": 1, "access": "rwm"}, ["c 10:1 rwm", "b 10:1 rwm"]),
        ({"type": "a", "access": "r"}, ["c *:* r", "b *:* r"]),
    ],
)
def test_device_rule(rule: dict[str, Any], texts: list[str]) -> None:
    """Type "a" with less than every device and access must not become the kernel's "a", which is everything."""
    assert rules({"allow": True, **rule}) == [("deny", "a"), *(("allow", text) for text in texts), *DEFAULTS]


def test_device_rules_keep_their_order() -> None:
    first = {"allow": True, "type": "c", "major": 1, "access": "rwm"}
    second = {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "w"}
    expected = [("deny", "a"), ("allow", "c 1:* rwm"), ("deny", "c 1:11 w"), *DEFAULTS]
    assert rules({"allow": False, "access": "rwm"}, first, second) == expected


def test_a_rule_for_everything_makes_those_before_it_void() -> None:
    before = {"allow": True, "type": "c", "major": 7, "access": "r"}
    assert rules(before, {"allow": False, "access": "mwr"}) == [("deny", "a"), *DEFAULTS]


def test_everything_allowed_is_one_write() -> None:
    assert rules({"allow": False, "access": "rwm"}, {"allow": True, "access": "rwm"}) == [("allow", "a")]


def test_everything_but_one_device() -> None:
    one = {"allow": False, "type": "b", "major": 8, "minor": 0, "access": "w"}
    assert rules({"allow": True, "access": "rwm"}, one) == [("allow", "a"), ("deny", "b 8:0 w"), *DEFAULTS]
