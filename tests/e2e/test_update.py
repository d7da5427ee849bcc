"""update: what is asked for arrives in the kernel, what is not stays, and a failure changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.host import Place
from tests.support.runtime import Runtime

pytestmark = [
    pytest.mark.differs(crun="1.8 puts a cgroup without a path elsewhere"),
    pytest.mark.cgroup_v1("names the files of v1"),
]

MIB = 1 << 20


@pytest.fixture
def limited(runtime: Runtime, bundle: Bundle) -> Iterator[Bundle]:
    bundle.resources(
        memory={"limit": 64 * MIB}, pids={"limit": 20}, cpu={"shares": 512, "quota": 50000, "period": 100000}
    )
    runtime.launch(bundle.script("sleep 1000"))
    yield bundle
    runtime.stop(bundle)


@pytest.fixture
def read(place: Place, limited: Bundle) -> Callable[[str, str], str]:
    return lambda controller, file: Path(place.cgroup(controller), limited.id, file).read_text().strip()


@pytest.mark.parametrize(
    ("options", "controller", "file", "expected"),
    [
        (["--memory", "32m"], "memory", "memory.limit_in_bytes", str(32 * MIB)),
        (["--memory", str(48 * MIB)], "memory", "memory.limit_in_bytes", str(48 * MIB)),
        (["--memory", "-1"], "memory", "memory.limit_in_bytes", "9223372036854771712"),
        (["--memory", "1g", "--memory-swap", "2g"], "memory", "memory.memsw.limit_in_bytes", str(2048 * MIB)),
        (["--memory-reservation", "16M"], "memory", "memory.soft_limit_in_bytes", str(16 * MIB)),
        (["--pids-limit", "7"], "pids", "pids.max", "7"),
        (["--pids-limit", "-1"], "pids", "pids.max", "max"),
        (["--cpu-share", "100"], "cpu", "cpu.shares", "100"),
        (["--cpu-quota", "20000"], "cpu", "cpu.cfs_quota_us", "20000"),
        (["--cpu-period", "200000"], "cpu", "cpu.cfs_period_us", "200000"),
        (["--cpuset-cpus", "0"], "cpuset", "cpuset.cpus", "0"),
        (["--cpuset-mems", "0"], "cpuset", "cpuset.mems", "0"),
    ],
)
def test_option(
    runtime: Runtime,
    limited: Bundle,
    read: Callable[[str, str], str],
    options: list[str],
    controller: str,
    file: str,
    expected: str,
) -> None:
    runtime.ok("update", *options, limited.id)
    assert read(controller, file) == expected


SETTINGS = {
    "memory": [
        *("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.soft_limit_in_bytes", "memory.swappiness"),
        "memory.oom_control",
    ],
    "cpu": [
        *("cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.cfs_burst_us", "cpu.idle"),
        *("cpu.rt_runtime_us", "cpu.rt_period_us"),
    ],
    "cpuset": ["cpuset.cpus", "cpuset.mems"],
    "pids": ["pids.max"],
    "blkio": [f"blkio.throttle.{way}_device" for way in ("read_bps", "write_bps", "read_iops", "write_iops")],
    "devices": ["devices.list"],
}
DISK = {"major": 254, "minor": 0}


def settings(read: Callable[[str, str], str]) -> dict[str, str]:
    """Every limit that the kernel has for the container."""
    found = {}
    for controller, files in SETTINGS.items():
        for file in files:
            try:
                text = read(controller, file)
            except FileNotFoundError:
                continue
            found[file] = text.splitlines()[0] if file == "memory.oom_control" else text
    return found


LEFT_ALONE = pytest.mark.differs(runc="1.1 updates memory's limits, cpu, pids and the weight alone")
NEWER = pytest.mark.differs(runc="1.1 knows no burst and idle")


@pytest.mark.parametrize(
    ("resources", "changes"),
    [
        ({"memory": {"limit": 128 * MIB, "swap": 256 * MIB}}, {"limit": 128 * MIB, "memsw.limit": 256 * MIB}),
        ({"memory": {"limit": 16 * MIB, "swap": 24 * MIB}}, {"limit": 16 * MIB, "memsw.limit": 24 * MIB}),
        ({"memory": {"swap": 72 * MIB}}, {"memsw.limit": 72 * MIB}),
        ({"memory": {"reservation": 8 * MIB}}, {"soft_limit": 8 * MIB}),
        pytest.param({"memory": {"swappiness": 3}}, {"memory.swappiness": "3"}, marks=LEFT_ALONE),
        pytest.param(
            {"memory": {"disableOOMKiller": True}}, {"memory.oom_control": "oom_kill_disable 1"}, marks=LEFT_ALONE
        ),
        ({"memory": {"limit": 32 * MIB, "checkBeforeUpdate": True}}, {"limit": 32 * MIB}),
        ({"cpu": {"shares": 2}}, {"cpu.shares": "2"}),
        ({"cpu": {"quota": -1}}, {"cpu.cfs_quota_us": "-1"}),
        ({"cpu": {"quota": 200000}}, {"cpu.cfs_quota_us": "200000"}),
        ({"cpu": {"period": 1000000}}, {"cpu.cfs_period_us": "1000000"}),
        ({"cpu": {"quota": 1000, "period": 5000}}, {"cpu.cfs_quota_us": "1000", "cpu.cfs_period_us": "5000"}),
        pytest.param({"cpu": {"burst": 40000}}, {"cpu.cfs_burst_us": "40000"}, marks=NEWER),
        pytest.param(
            {"cpu": {"burst": 150000, "quota": 200000}},  # only when the quota is there
            {"cpu.cfs_burst_us": "150000", "cpu.cfs_quota_us": "200000"},
            marks=NEWER,
        ),
        pytest.param({"cpu": {"idle": 1, "shares": 700}}, {"cpu.idle": "1", "cpu.shares": "3"}, marks=NEWER),
        ({"cpu": {"cpus": "0", "mems": "0"}}, {"cpuset.cpus": "0"}),
        pytest.param({"pids": {"limit": 0}}, {"pids.max": "0"}, marks=pytest.mark.differs(runc="0 is none")),
        pytest.param(
            {
                "blockIO": {
                    "throttleReadBpsDevice": [{**DISK, "rate": 7}],
                    "throttleWriteIOPSDevice": [{**DISK, "rate": 8}],
                }
            },
            {"blkio.throttle.read_bps_device": "254:0 7", "blkio.throttle.write_iops_device": "254:0 8"},
            marks=LEFT_ALONE,
        ),
        ({"devices": [{"allow": True, "access": "rwm"}]}, {}),
        ({"memory": {"limit": 0}, "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": ""}}, {}),
        ({}, {}),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_a_resource_and_nothing_else(
    runtime: Runtime, limited: Bundle, read: Callable[[str, str], str], resources: dict, changes: dict
) -> None:
    before = settings(read)
    runtime.ok("update", "--resources", "-", limited.id, stdin=json.dumps(resources))
    expected = {
        f"memory.{name}_in_bytes" if isinstance(value, int) else name: str(value) for name, value in changes.items()
    }
    if "cpuset.cpus" in expected and before["cpuset.cpus"] == expected["cpuset.cpus"]:
        pytest.skip("needs two CPUs")
    assert {file: text for file, text in settings(read).items() if text != before[file]} == expected


@pytest.mark.only_ocirt("others leave the part that succeeded, or restore what the configuration says")
@pytest.mark.parametrize(
    "resources",
    [
        {"memory": {"limit": 128 * MIB, "swap": 256 * MIB, "reservation": 8 * MIB, "swappiness": 3}},
        {"cpu": {"quota": 1000, "period": 5000, "burst": 500}},
        {"cpu": {"idle": 1}},
        {"cpu": {"shares": 900}, "pids": {"limit": 5}},
        {"blockIO": {"throttleWriteBpsDevice": [{**DISK, "rate": 7}]}},
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_a_failure_restores_what_the_files_said(
    runtime: Runtime, limited: Bundle, read: Callable[[str, str], str], resources: dict
) -> None:
    """The last write fails: a disk that is not there."""
    before = settings(read)
    bad = {"throttleWriteIOPSDevice": [{"major": 9999, "minor": 1, "rate": 5}]}
    broken = {**resources, "blockIO": {**resources.get("blockIO", {}), **bad}}
    says = "[/blockIO/throttleWriteIOPSDevice/0/rate]"
    result = runtime.fails("update", "-r", "-", limited.id, stdin=json.dumps(broken), says=says)
    assert "could not be restored" not in result.err
    assert settings(read) == before


def test_the_rest_stays(runtime: Runtime, limited: Bundle, read: Callable[[str, str], str]) -> None:
    runtime.ok("update", "--pids-limit", "7", limited.id)
    assert read("memory", "memory.limit_in_bytes") == str(64 * MIB)
    assert read("cpu", "cpu.shares") == "512"
    runtime.ok("update", "--cpu-period", "50000", limited.id)
    assert (read("cpu", "cpu.cfs_quota_us"), read("cpu", "cpu.cfs_period_us")) == ("50000", "50000")


def test_resources_from_a_file(
    runtime: Runtime, limited: Bundle, read: Callable[[str, str], str], tmp_path: Path
) -> None:
    resources = tmp_path / "resources.json"
    resources.write_text(json.dumps({"memory": {"limit": 40 * MIB, "reservation": 0}, "pids": {"limit": 5}}))
    runtime.ok("update", "--resources", str(resources), "--pids-limit", "9", limited.id)
    assert read("memory", "memory.limit_in_bytes") == str(40 * MIB)
    assert read("pids", "pids.max") == "5"


def test_resources_from_standard_input(runtime: Runtime, limited: Bundle, read: Callable[[str, str], str]) -> None:
    runtime.ok("update", "-r", "-", limited.id, stdin='{"pids": {"limit": 6}}')
    assert read("pids", "pids.max") == "6"


def test_device_rules_are_left_alone(runtime: Runtime, limited: Bundle, read: Callable[[str, str], str]) -> None:
    before = read("devices", "devices.list")
    runtime.ok("update", "--pids-limit", "6", limited.id)
    assert read("devices", "devices.list") == before


def test_a_paused_container_stays_paused(runtime: Runtime, limited: Bundle, read: Callable[[str, str], str]) -> None:
    runtime.ok("pause", limited.id)
    runtime.ok("update", "--pids-limit", "8", limited.id)
    assert (read("pids", "pids.max"), runtime.status(limited)) == ("8", "paused")
    runtime.ok("resume", limited.id)


@pytest.mark.only_ocirt("others leave the part that succeeded, or restore what the configuration says")
def test_a_failure_takes_everything_back(runtime: Runtime, limited: Bundle, read: Callable[[str, str], str]) -> None:
    runtime.ok("update", "--memory", "80m", limited.id)
    says = "the minimum allowed cpu-shares is 2"
    runtime.fails("update", "--memory", "32m", "--cpu-share", "1", "--pids-limit", "3", limited.id, says=says)
    assert read("memory", "memory.limit_in_bytes") == str(80 * MIB)
    assert (read("cpu", "cpu.shares"), read("pids", "pids.max")) == ("512", "20")


@pytest.mark.only_ocirt("the words are ours")
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--memory", "12q"], "invalid size: '12q'"),
        (["--memory", "4k"], "unable to set memory limit to 4096 (current usage: "),
        (["--pids-limit", "x"], 'invalid value for pids-limit: parsing "x": invalid syntax'),
        (["--blkio-weight", "70000"], "[/blockIO/weight]"),
        (["--l3-cache-schema", "L3:0=f"], "Intel RDT/CAT: l3 cache schema is not enabled"),
        (["--mem-bw-schema", "MB:0=9"], "Intel RDT/MBA: memory bandwidth schema is not enabled"),
        (["--resources", "/nonexistent"], "no such file or directory"),
    ],
)
def test_what_is_refused(runtime: Runtime, limited: Bundle, options: list[str], says: str) -> None:
    runtime.fails("update", *options, limited.id, says=says)


@pytest.mark.only_ocirt("the words are ours")
def test_refused_resources_name_the_setting(runtime: Runtime, limited: Bundle) -> None:
    for text, says in (
        ('{"memory": {"limit": "1g"}}', "[/memory/limit]"),
        ('{"unified": {"pids.max": "3"}}', "cannot use unified on cgroup v1"),
        ('{"memory": {"limit": 200, "swap": 100}}', "memory+swap limit should be >= memory limit"),
    ):
        runtime.fails("update", "-r", "-", limited.id, stdin=text, says=says)


def test_kernel_memory_is_ignored_with_a_warning(runtime: Runtime, limited: Bundle) -> None:
    result = runtime.ok("update", "--kernel-memory", "1m", "--pids-limit", "9", limited.id)
    assert "Kernel memory settings are ignored" in result.err


def test_stopped_container(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("true"))
    runtime.wait(bundle)
    runtime.fails("update", "--pids-limit", "5", bundle.id, says="container not running")
    runtime.ok("delete", bundle.id)
