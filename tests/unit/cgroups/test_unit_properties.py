"""Writes as properties of a unit, device rules as its list, annotations."""

from __future__ import annotations

from typing import Any

import pytest

from ocirt.cgroups import Write
from ocirt.cgroups.limits import device_rules
from ocirt.cgroups.unit_properties import (
    INFINITY,
    Property,
    annotated,
    bit_mask,
    device_properties,
    properties_of,
    rounded,
)
from ocirt.config.views import Resources
from ocirt.errors import ConfigError


def writes(**files: str) -> list[Write]:
    """memory_max="1" is a write to memory.max."""
    named = {name.replace("_", "."): text for name, text in files.items()}
    return [Write(file, text, f"/r/{file}", file.partition(".")[0]) for file, text in named.items()]


def said(found: tuple[Property, ...]) -> list[tuple[str, str, object]]:
    return [(item.name, item.signature, item.value) for item in found]


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("memory.max", "1048576", [("MemoryMax", "t", 1048576)]),
        ("memory.max", "max", [("MemoryMax", "t", INFINITY)]),
        ("memory.max", "1G", [("MemoryMax", "t", 2**30)]),
        ("memory.max", "4k", [("MemoryMax", "t", 4096)]),
        ("memory.high", "0", [("MemoryHigh", "t", 0)]),
        ("memory.low", "4096", [("MemoryLow", "t", 4096)]),
        ("memory.min", "4096", [("MemoryMin", "t", 4096)]),
        ("memory.swap.max", "0", [("MemorySwapMax", "t", 0)]),
        ("memory.swap.max", "max", [("MemorySwapMax", "t", INFINITY)]),
        ("memory.oom.group", "1", [("OOMPolicy", "s", "kill")]),
        ("memory.oom.group", "0", [("OOMPolicy", "s", "continue")]),
        ("cpu.weight", "39", [("CPUWeight", "t", 39)]),
        ("cpu.idle", "1", [("CPUWeight", "t", 0)]),
        ("cpu.idle", "0", [("CPUWeight", "t", INFINITY)]),
        ("pids.max", "20", [("TasksMax", "t", 20)]),
        ("pids.max", "max", [("TasksMax", "t", INFINITY)]),
        ("pids.max", "0", [("TasksMax", "t", 1)]),
        ("cpuset.cpus", "0-2,8", [("AllowedCPUs", "ay", b"\x07\x01")]),
        ("cpuset.mems", "0", [("AllowedMemoryNodes", "ay", b"\x01")]),
        ("cpuset.cpus", "", [("AllowedCPUs", "ay", b"")]),
        ("cpuset.cpus", "everything", []),
        ("cpu.max", "50000 100000", [("CPUQuotaPeriodUSec", "t", 100000), ("CPUQuotaPerSecUSec", "t", 500000)]),
        ("cpu.max", "max 50000", [("CPUQuotaPeriodUSec", "t", 50000), ("CPUQuotaPerSecUSec", "t", INFINITY)]),
        ("cpu.max", "25000", [("CPUQuotaPerSecUSec", "t", 250000)]),
        ("cpu.max", "max", [("CPUQuotaPerSecUSec", "t", INFINITY)]),
        ("memory.limit_in_bytes", "4096", [("MemoryLimit", "t", 4096)]),
        ("memory.limit_in_bytes", "-1", [("MemoryLimit", "t", INFINITY)]),
        ("cpu.shares", "512", [("CPUShares", "t", 512)]),
        ("blkio.weight", "500", [("BlockIOWeight", "t", 500)]),
        ("cpu.cfs_quota_us", "20000", [("CPUQuotaPerSecUSec", "t", 200000)]),
        ("cpu.cfs_quota_us", "-1", [("CPUQuotaPerSecUSec", "t", INFINITY)]),
        ("cpu.cfs_period_us", "50000", [("CPUQuotaPeriodUSec", "t", 50000), ("CPUQuotaPerSecUSec", "t", INFINITY)]),
        # what has no property
        ("io.max", "8:0 rbps=1", []),
        ("hugetlb.2MB.max", "0", []),
        ("rdma.max", "mlx5_0 hca_handle=1", []),
        ("cpu.max.burst", "1000", []),
        ("cgroup.max.depth", "3", []),
    ],
)
def test_a_file_in_systemds_words(file: str, text: str, expected: list[Any]) -> None:
    found = properties_of([Write(file, text, "/r/x", file.partition(".")[0])])
    assert said(found) == expected
    assert {item.at for item in found} <= {"/r/x"}


def test_an_idle_group_has_no_weight() -> None:
    assert said(properties_of(writes(cpu_idle="1", cpu_weight="100"))) == [("CPUWeight", "t", 0)]
    assert said(properties_of(writes(cpu_idle="0", cpu_weight="50"))) == [("CPUWeight", "t", 50)]


def test_quota_and_period_of_v1_are_one() -> None:
    pair = [Write("cpu.cfs_period_us", "50000", "/p", "cpu"), Write("cpu.cfs_quota_us", "25000", "/q", "cpu")]
    assert said(properties_of(pair)) == [("CPUQuotaPeriodUSec", "t", 50000), ("CPUQuotaPerSecUSec", "t", 500000)]


def test_only_a_scope_has_a_policy_for_want_of_memory() -> None:
    assert properties_of(writes(memory_oom_group="1"), scope=False) == ()


@pytest.mark.parametrize(
    ("name", "file", "since"),
    [
        ("CPUQuotaPeriodUSec", "cpu.max", 242),
        ("AllowedCPUs", "cpuset.cpus", 244),
        ("AllowedMemoryNodes", "cpuset.mems", 244),
        ("CPUWeight", "cpu.idle", 252),
        ("OOMPolicy", "memory.oom.group", 253),
        ("CPUWeight", "cpu.weight", 0),
        ("MemoryMax", "memory.max", 0),
    ],
)
def test_since_which_version(name: str, file: str, since: int) -> None:
    found = properties_of([Write(file, "1 1000" if file == "cpu.max" else "1", "", "x")])
    assert {item.name: item.since for item in found}[name] == since


@pytest.mark.parametrize("text", ["much", "1X", "12 34", "", "9" * 5000, "1" + "0" * 30, "²", "16777216T"])
@pytest.mark.parametrize("file", ["memory.max", "pids.max", "cpu.weight"])
def test_a_number_that_is_none(file: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        properties_of([Write(file, text, "/r/unified", "x")])
    assert (caught.value.code, caught.value.at) == ("rule", "/r/unified")
    assert caught.value.what == f"{file}: {text!r} is no number that systemd understands"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12345 100000", "13000 100000"),
        ("1000 100000", "1000 100000"),
        ("1500 50000", "1500 50000"),
        ("1501 50000", "2000 50000"),
        ("max 100000", "max 100000"),
        ("12345", "13000"),
    ],
)
def test_a_quota_is_whole_percents(text: str, expected: str) -> None:
    """Else systemd's own write, which may come later, would be another one."""
    before = [*writes(memory_max="4096"), Write("cpu.max", text, "/q", "cpu", group="cpu.quota")]
    memory, quota = rounded(before)
    assert memory is before[0]
    assert (quota.file, quota.text, quota.at, quota.controller, quota.group) == (
        "cpu.max",
        expected,
        "/q",
        "cpu",
        "cpu.quota",
    )


def test_a_quota_of_v1_is_whole_percents() -> None:
    pair = [Write("cpu.cfs_period_us", "50000", "/p", "cpu"), Write("cpu.cfs_quota_us", "25001", "/q", "cpu")]
    assert [write.text for write in rounded(pair)] == ["50000", "25500"]


def test_without_a_quota_nothing_is_rounded() -> None:
    assert [write.text for write in rounded(writes(memory_max="4097"))] == ["4097"]
    assert [write.text for write in rounded([Write("cpu.cfs_period_us", "50001", "", "cpu")])] == ["50001"]


def test_bit_mask() -> None:
    assert bit_mask("0") == b"\x01"
    assert bit_mask("7,8") == b"\x80\x01"
    assert bit_mask("1,3-4") == b"\x1a"
    assert bit_mask("64") == b"\0" * 8 + b"\x01"


# -- devices -------------------------------------------------------------------------------------

DEFAULTS = [
    ("char-*", "m"),
    ("block-*", "m"),
    ("/dev/char/1:3", "rwm"),
    ("/dev/char/1:5", "rwm"),
    ("/dev/char/1:7", "rwm"),
    ("/dev/char/1:8", "rwm"),
    ("/dev/char/1:9", "rwm"),
    ("/dev/char/5:0", "rwm"),
    ("/dev/char/5:2", "rwm"),
    ("char-136", "rwm"),
    ("/dev/char/10:200", "rwm"),
]


def devices(*rules: dict[str, Any]) -> tuple[object, object]:
    found = device_properties(device_rules(Resources({"devices": list(rules)}, "/r").devices, "/r/devices"))
    assert [(item.name, item.signature, item.since) for item in found] == [
        ("DevicePolicy", "s", 240),
        ("DeviceAllow", "a(ss)", 240),
    ]
    return found[0].value, found[1].value


DENY_ALL = {"allow": False, "access": "rwm"}


def test_the_default_devices() -> None:
    assert devices() == ("strict", DEFAULTS)
    assert devices(DENY_ALL) == ("strict", DEFAULTS)


def test_allowed_devices() -> None:
    disk = {"allow": True, "type": "b", "major": 8, "minor": 0, "access": "r"}
    every = {"allow": True, "type": "c", "major": 10, "access": "rw"}
    assert devices(DENY_ALL, disk, every) == ("strict", [("/dev/block/8:0", "r"), ("char-10", "rw"), *DEFAULTS])


def test_access_adds_up() -> None:
    both = [{"allow": True, "type": "b", "major": 8, "minor": 0, "access": access} for access in ("m", "r")]
    assert devices(DENY_ALL, *both) == ("strict", [("/dev/block/8:0", "rm"), *DEFAULTS])


def test_a_denial_takes_away_what_was_allowed() -> None:
    disk = {"allow": True, "type": "b", "major": 8, "minor": 0, "access": "rw"}
    assert devices(DENY_ALL, disk, {**disk, "allow": False, "access": "w"}) == (
        "strict",
        [("/dev/block/8:0", "r"), *DEFAULTS],
    )
    assert devices(DENY_ALL, disk, {"allow": False, "type": "b", "access": "rwm"}) == ("strict", DEFAULTS)
    other = {"allow": False, "type": "b", "major": 9, "minor": 0, "access": "rw"}
    assert devices(DENY_ALL, disk, other) == ("strict", [("/dev/block/8:0", "rw"), *DEFAULTS])


OPEN: tuple[str, list[Any]] = ("auto", [])


def test_what_no_list_of_the_allowed_can_say_is_left_to_the_runtimes_own_filter() -> None:
    everything = {"allow": True, "access": "rwm"}
    disk = {"allow": False, "type": "b", "major": 8, "minor": 0, "access": "rw"}
    assert devices(everything) == OPEN
    assert devices(everything, disk) == OPEN
    assert devices(DENY_ALL, {"allow": True, "type": "b", "minor": 3, "access": "r"}) == OPEN
    all_of_8 = {"allow": True, "type": "b", "major": 8, "access": "rw"}
    assert devices(DENY_ALL, all_of_8, disk) == OPEN


# -- annotations ---------------------------------------------------------------------------------


def test_annotations() -> None:
    found = annotated(
        {
            "org.systemd.property.CollectMode": "'inactive-or-failed'",
            "org.example": "x",
            "org.systemd.property.After": "['a.service']",
            "org.systemd.property.TimeoutStopUSec": "uint64 5",
            "org.systemd.property.TimeoutStopSec": "90",
            "org.systemd.property.RuntimeMaxSec": "1.5",
            "org.systemd.property.XSEC": "1",
        }
    )
    assert said(found) == [
        ("CollectMode", "s", "inactive-or-failed"),
        ("After", "as", ["a.service"]),
        ("TimeoutStopUSec", "t", 5),
        ("TimeoutStopUSec", "t", 90_000_000),
        ("RuntimeMaxUSec", "t", 1_500_000),
        ("XSEC", "i", 1),
    ]
    assert found[0].at == "/annotations/org.systemd.property.CollectMode"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("ab", "1", "annotation org.systemd.property.ab name incorrect: 'ab' is no property of a unit"),
        ("A-b", "1", "annotation org.systemd.property.A-b name incorrect: 'A-b' is no property of a unit"),
        ("Näme", "1", "annotation org.systemd.property.Näme name incorrect: 'Näme' is no property of a unit"),
        ("CollectMode", "x", "annotation org.systemd.property.CollectMode=x value parse error: 'x' is no number"),
        ("TimeoutStopSec", "'1'", "annotation org.systemd.property.TimeoutStopSec='1' value parse error: not a number"),
        (
            "TimeoutStopSec",
            "true",
            "annotation org.systemd.property.TimeoutStopSec=true value parse error: not a number",
        ),
        ("TimeoutStopSec", "-1", "annotation org.systemd.property.TimeoutStopSec=-1 value parse error: out of range"),
        ("TimeoutStopSec", "nan", "annotation org.systemd.property.TimeoutStopSec=nan value parse error: out of range"),
    ],
)
def test_annotations_that_are_wrong(name: str, text: str, says: str) -> None:
    key = f"org.systemd.property.{name}"
    with pytest.raises(ConfigError) as caught:
        annotated({key: text})
    assert (caught.value.code, caught.value.what, caught.value.at) == ("rule", says, f"/annotations/{key}")


def test_descriptions() -> None:
    shown = [
        Property("MemoryMax", "t", INFINITY),
        Property("TasksMax", "t", 5),
        Property("Delegate", "b", True),
        Property("DefaultDependencies", "b", False),
        Property("AllowedCPUs", "ay", b"\x07"),
        Property("DeviceAllow", "a(ss)", [("/dev/char/1:3", "rw"), ("char-5", "m")]),
        Property("Wants", "as", ["a.slice"]),
    ]
    assert [item.describe() for item in shown] == [
        "MemoryMax=infinity",
        "TasksMax=5",
        "Delegate=yes",
        "DefaultDependencies=no",
        "AllowedCPUs=07",
        "DeviceAllow=/dev/char/1:3 rw,char-5 m",
        "Wants=a.slice",
    ]
