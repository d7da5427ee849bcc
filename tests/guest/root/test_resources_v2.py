"""Every resource property as the container's cgroup v2 files say it, and update and its way back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Bundle
from tests.support.host import Place
from tests.support.runtime import Runtime

PAUSE = ("/bin/probe", "pause")
MIB = 1 << 20
DISK = "259:0"  # the guest's nvme0n1
MAJOR, MINOR = 259, 0

pytestmark = pytest.mark.differs(crun="1.8 puts a cgroup without a path elsewhere")


@pytest.fixture
def read(place: Place, bundle: Bundle) -> Callable[[str], str]:
    """A file of the container's cgroup; for a file with a line per device the disk's line."""

    def value(file: str) -> str:
        text = (place.cgroup("") / bundle.id / file).read_text().strip()
        lines = [line for line in text.splitlines() if line.startswith(f"{DISK} ")]
        return lines[0] if lines else text

    return value


@pytest.mark.parametrize(
    ("resources", "files"),
    [
        ({"memory": {"limit": 64 * MIB}}, {"memory.max": str(64 * MIB), "memory.swap.max": "max"}),
        ({"memory": {"limit": -1}}, {"memory.max": "max", "memory.swap.max": "max"}),
        ({"memory": {"limit": 64 * MIB, "swap": 96 * MIB}}, {"memory.swap.max": str(32 * MIB)}),
        ({"memory": {"limit": 64 * MIB, "swap": 64 * MIB}}, {"memory.swap.max": "0"}),
        ({"memory": {"limit": 64 * MIB, "swap": -1}}, {"memory.swap.max": "max"}),
        ({"memory": {"reservation": 32 * MIB}}, {"memory.low": str(32 * MIB)}),
        ({"memory": {"reservation": -1}}, {"memory.low": "max"}),
        ({"cpu": {"quota": 20000, "period": 50000}}, {"cpu.max": "20000 50000"}),
        ({"cpu": {"quota": 20000}}, {"cpu.max": "20000 100000"}),
        ({"cpu": {"period": 50000}}, {"cpu.max": "max 50000"}),
        ({"cpu": {"quota": -1, "period": 50000}}, {"cpu.max": "max 50000"}),
        ({"cpu": {"cpus": "1"}}, {"cpuset.cpus": "1", "cpuset.cpus.effective": "1"}),
        ({"cpu": {"mems": "0"}}, {"cpuset.mems": "0"}),
        ({"pids": {"limit": 20}}, {"pids.max": "20"}),
        ({"pids": {"limit": -1}}, {"pids.max": "max"}),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}, {"hugetlb.2MB.max": str(4 * MIB)}),
        ({"unified": {"memory.high": str(48 * MIB)}}, {"memory.high": str(48 * MIB)}),
        ({"unified": {"pids.max": "7"}, "pids": {"limit": 20}}, {"pids.max": "7"}),
        ({"unified": {"memory.oom.group": "1"}}, {"memory.oom.group": "1"}),
        ({"unified": {"cgroup.max.depth": "5"}}, {"cgroup.max.depth": "5"}),
        (
            {"blockIO": {"throttleReadBpsDevice": [{"major": MAJOR, "minor": MINOR, "rate": MIB}]}},
            {"io.max": f"{DISK} rbps={MIB} wbps=max riops=max wiops=max"},
        ),
        (
            {"blockIO": {"throttleWriteBpsDevice": [{"major": MAJOR, "minor": MINOR, "rate": MIB}]}},
            {"io.max": f"{DISK} rbps=max wbps={MIB} riops=max wiops=max"},
        ),
        (
            {
                "blockIO": {
                    "throttleReadIOPSDevice": [{"major": MAJOR, "minor": MINOR, "rate": 100}],
                    "throttleWriteIOPSDevice": [{"major": MAJOR, "minor": MINOR, "rate": 200}],
                }
            },
            {"io.max": f"{DISK} rbps=max wbps=max riops=100 wiops=200"},
        ),
    ],
)
def test_property(
    runtime: Runtime, bundle: Bundle, read: Callable[[str], str], resources: dict[str, Any], files: dict[str, str]
) -> None:
    bundle.resources(**resources)
    runtime.create(bundle.args(*PAUSE))
    assert {file: read(file) for file in files} == files
    runtime.stop(bundle)


@pytest.mark.differs(runc="1.1 has the older formula, and no burst and idle")
@pytest.mark.parametrize(
    ("resources", "files"),
    [
        ({"memory": {"limit": -1, "swap": 64 * MIB}}, {"memory.max": "max", "memory.swap.max": str(64 * MIB)}),
        ({"cpu": {"shares": 1024}}, {"cpu.weight": "100"}),
        ({"cpu": {"shares": 2}}, {"cpu.weight": "1"}),
        ({"cpu": {"shares": 512}}, {"cpu.weight": "59"}),
        ({"cpu": {"shares": 262144}}, {"cpu.weight": "10000"}),
        ({"cpu": {"quota": 20000, "period": 50000, "burst": 10000}}, {"cpu.max.burst": "10000"}),
        ({"cpu": {"idle": 1, "shares": 512}}, {"cpu.idle": "1"}),
        ({"pids": {"limit": 0}}, {"pids.max": "0", "pids.current": "1"}),
        (
            {"unified": {"io.max": f"{DISK} rbps={MIB}\n{DISK} wbps={2 * MIB}"}},
            {"io.max": f"{DISK} rbps={MIB} wbps={2 * MIB} riops=max wiops=max"},
        ),
        (
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]},
            {"hugetlb.2MB.max": str(4 * MIB), "hugetlb.2MB.rsvd.max": str(4 * MIB)},
        ),
        (
            {"blockIO": {"throttleReadBpsDevice": [{"major": MAJOR, "minor": MINOR, "rate": 0}]}},
            {"io.max": ""},
        ),
    ],
)
def test_property_of_newer_runtimes(
    runtime: Runtime, bundle: Bundle, read: Callable[[str], str], resources: dict[str, Any], files: dict[str, str]
) -> None:
    bundle.resources(**resources)
    runtime.create(bundle.args(*PAUSE))
    assert {file: read(file) for file in files} == files
    runtime.stop(bundle)


def test_io_weight(runtime: Runtime, bundle: Bundle, read: Callable[[str], str], place: Place) -> None:
    """The file of bfq is there when its scheduler is, io.weight when iocost is."""
    bundle.resources(blockIO={"weight": 500})
    bundle.args(*PAUSE).save()
    result = runtime.call("create", "--bundle", str(bundle.path), bundle.id)
    have = {file for file in ("io.bfq.weight", "io.weight") if (place.cgroup("") / file.replace("..", "")).exists()}
    if result.code == 0:
        directory = place.cgroup("") / bundle.id
        if (directory / "io.bfq.weight").exists():
            assert read("io.bfq.weight") == "default 500"
        else:
            assert read("io.weight") == "default 4950"
        runtime.ok("delete", "--force", bundle.id)
    else:
        assert not have
        assert "this kernel offers no io.bfq.weight and io.weight" in result.last_line


@pytest.mark.only_ocirt("the words are ours; runc ignores most of them")
@pytest.mark.parametrize(
    ("resources", "pointer", "says"),
    [
        ({"memory": {"swappiness": 7}}, "/memory/swappiness", "cannot set memory swappiness with cgroup v2"),
        ({"memory": {"disableOOMKiller": True}}, "/memory/disableOOMKiller", "cannot disable the OOM killer"),
        ({"cpu": {"realtimeRuntime": 1}}, "/cpu/realtimeRuntime", "realtime limits are not supported"),
        ({"blockIO": {"leafWeight": 10}}, "/blockIO/leafWeight", "leafWeight is not supported"),
        ({"network": {"classID": 1}}, "/network/classID", "network limits are not supported"),
        ({"unified": {"nonesuch.max": "1"}}, "/unified/nonesuch.max", "cannot set nonesuch limit"),
        ({"unified": {"memory.nonesuch": "1"}}, "/unified/memory.nonesuch", "this kernel offers no memory.nonesuch"),
        ({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}, "/hugepageLimits/0/limit", "hugetlb.3MB.max"),
        ({"memory": {"limit": 64 * MIB, "swap": 32 * MIB}}, "/memory/swap", "memory+swap limit should be >="),
        ({"cpu": {"cpus": "77"}}, "/cpu/cpus", "cpuset.cpus"),
        ({"rdma": {"mlx5_9": {"hcaHandles": 3}}}, "/rdma/mlx5_9", "write 'mlx5_9 hca_handle=3' to rdma.max"),
    ],
)
def test_what_is_refused(
    runtime: Runtime,
    bundle: Bundle,
    host_unchanged: Callable[[], Any],
    resources: dict[str, Any],
    pointer: str,
    says: str,
) -> None:
    bundle.resources(**resources).save()
    with host_unchanged():
        result = runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says=f"[/linux/resources{pointer}]")
    assert says in result.last_line


@pytest.mark.only_ocirt("runc 1.1 has other words")
@pytest.mark.parametrize("given", [{"hcaHandles": 3}, {"hcaObjects": 10000}, {"hcaHandles": 3, "hcaObjects": 10000}])
def test_rdma(runtime: Runtime, bundle: Bundle, host_unchanged: Callable[[], Any], given: dict[str, int]) -> None:
    """The machine has no such device, and the kernel says so of what is written to rdma.max."""
    bundle.resources(rdma={"nonesuch0": given}).save()
    with host_unchanged():
        result = runtime.fails(
            "create", "--bundle", str(bundle.path), bundle.id, says="[/linux/resources/rdma/nonesuch0]"
        )
    words = [f"hca_{name[3:-1].lower()}={number}" for name, number in given.items()]
    assert "nonesuch0 " + " ".join(words) in result.last_line
    assert "rdma.max" in result.last_line


# -- update --------------------------------------------------------------------------------------


@pytest.fixture
def limited(runtime: Runtime, bundle: Bundle) -> Iterator[Bundle]:
    bundle.resources(
        memory={"limit": 64 * MIB, "swap": 96 * MIB}, pids={"limit": 20}, cpu={"quota": 50000, "period": 100000}
    )
    runtime.launch(bundle.script("sleep 1000"))
    yield bundle
    runtime.stop(bundle)


@pytest.mark.parametrize(
    ("options", "file", "expected"),
    [
        (["--memory", "32m", "--memory-swap", "64m"], "memory.max", str(32 * MIB)),
        (["--memory", "32m", "--memory-swap", "72m"], "memory.swap.max", str(40 * MIB)),
        (["--memory", "-1", "--memory-swap", "-1"], "memory.max", "max"),
        pytest.param(
            ["--memory-swap", "128m"],
            "memory.swap.max",
            str(64 * MIB),
            marks=pytest.mark.differs(runc="1.1 wants the limit too"),
        ),
        (["--memory", "80m"], "memory.max", str(80 * MIB)),
        (["--memory", "80m"], "memory.swap.max", str(32 * MIB)),
        (["--memory-reservation", "16M"], "memory.low", str(16 * MIB)),
        (["--pids-limit", "7"], "pids.max", "7"),
        (["--pids-limit", "-1"], "pids.max", "max"),
        (["--cpu-quota", "20000"], "cpu.max", "20000 100000"),
        (["--cpu-period", "200000"], "cpu.max", "50000 200000"),
        (["--cpu-quota", "-1"], "cpu.max", "max 100000"),
        (["--cpuset-cpus", "0"], "cpuset.cpus", "0"),
    ],
)
def test_update(
    runtime: Runtime, limited: Bundle, read: Callable[[str], str], options: list[str], file: str, expected: str
) -> None:
    """What is not given stays."""
    runtime.ok("update", *options, limited.id)
    assert read(file) == expected


@pytest.mark.only_ocirt("others leave the part that succeeded")
def test_a_failed_update_changes_nothing(runtime: Runtime, limited: Bundle, read: Callable[[str], str]) -> None:
    options = ["--memory", "80m", "--pids-limit", "5", "--cpu-quota", "20000", "--cpuset-cpus", "77"]
    runtime.fails("update", *options, limited.id, says="cpuset.cpus")
    assert read("memory.max") == str(64 * MIB)
    assert read("memory.swap.max") == str(32 * MIB)
    assert (read("pids.max"), read("cpu.max")) == ("20", "50000 100000")


def test_check_before_update(runtime: Runtime, limited: Bundle, read: Callable[[str], str]) -> None:
    """Without it the kernel would kill the container."""
    resources = json.dumps({"memory": {"limit": 4096, "checkBeforeUpdate": True}})
    says = "rejecting memory limit 4096 <= usage "
    if runtime.name == "runc":
        pytest.skip("runc: 1.1 does not check")
    runtime.fails("update", "-r", "-", limited.id, stdin=resources, says=says)
    assert read("memory.max") == str(64 * MIB)
    assert runtime.status(limited) == "running"


@pytest.mark.only_ocirt("the words are ours")
def test_update_of_unified(runtime: Runtime, limited: Bundle, read: Callable[[str], str]) -> None:
    runtime.ok("update", "-r", "-", limited.id, stdin=json.dumps({"unified": {"memory.high": str(48 * MIB)}}))
    assert read("memory.high") == str(48 * MIB)


def test_a_paused_container_stays_paused(runtime: Runtime, limited: Bundle, read: Callable[[str], str]) -> None:
    runtime.ok("pause", limited.id)
    runtime.ok("update", "--pids-limit", "8", limited.id)
    assert (read("pids.max"), read("cgroup.freeze"), runtime.status(limited)) == ("8", "1", "paused")
    runtime.ok("resume", limited.id)


SETTINGS = (
    *("memory.max", "memory.high", "memory.low", "memory.swap.max", "memory.oom.group"),
    *("cpu.weight", "cpu.idle", "cpu.max", "cpu.max.burst", "cpuset.cpus", "cpuset.mems"),
    *("pids.max", "io.max", "hugetlb.2MB.max", "hugetlb.2MB.rsvd.max", "cgroup.max.depth"),
)


def settings(bundle: Bundle) -> dict[str, str]:
    """Every limit that the kernel has for the container, wherever its cgroup is."""
    below = Path(f"/proc/{bundle.pid}/cgroup").read_text().strip().removeprefix("0::")
    return {file: Path(f"/sys/fs/cgroup{below}", file).read_text().strip() for file in SETTINGS}


@pytest.fixture(params=["cgroupfs", "systemd"])
def managed(runtime: Runtime, bundle: Bundle, request: pytest.FixtureRequest) -> Iterator[Bundle]:
    """By either manager; an update is not told which."""
    bundle.resources(
        memory={"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 4 * MIB},
        cpu={"shares": 512, "quota": 50000, "period": 100000},
        pids={"limit": 20},
    )
    options = ("--systemd-cgroup",) if request.param == "systemd" else ()
    runtime.launch(bundle.script("while :; do sleep 1000; done"), options=options)
    yield bundle
    runtime.stop(bundle)


@pytest.mark.only_ocirt("1.1 of runc has the older weights, and neither burst nor idle")
@pytest.mark.parametrize(
    ("resources", "changes"),
    [
        ({"memory": {"limit": 128 * MIB, "swap": 256 * MIB}}, {"memory.max": 128 * MIB, "memory.swap.max": 128 * MIB}),
        ({"memory": {"limit": 32 * MIB, "swap": 40 * MIB}}, {"memory.max": 32 * MIB, "memory.swap.max": 8 * MIB}),
        ({"memory": {"limit": -1}}, {"memory.max": "max", "memory.swap.max": "max"}),
        ({"memory": {"swap": 72 * MIB}}, {"memory.swap.max": 8 * MIB}),
        ({"memory": {"reservation": 8 * MIB}}, {"memory.low": 8 * MIB}),
        ({"memory": {"limit": 48 * MIB, "checkBeforeUpdate": True}}, {"memory.max": 48 * MIB}),
        ({"cpu": {"shares": 2}}, {"cpu.weight": 1}),
        ({"cpu": {"quota": -1}}, {"cpu.max": "max 100000"}),
        ({"cpu": {"quota": 200000}}, {"cpu.max": "200000 100000"}),
        ({"cpu": {"period": 500000}}, {"cpu.max": "50000 500000"}),
        ({"cpu": {"quota": 10000, "period": 50000}}, {"cpu.max": "10000 50000"}),
        ({"cpu": {"burst": 40000}}, {"cpu.max.burst": 40000}),
        ({"cpu": {"burst": 150000, "quota": 200000}}, {"cpu.max.burst": 150000, "cpu.max": "200000 100000"}),
        ({"cpu": {"idle": 1, "shares": 700}}, {"cpu.idle": 1, "cpu.weight": 1}),
        ({"cpu": {"cpus": "1", "mems": "0"}}, {"cpuset.cpus": 1, "cpuset.mems": 0}),
        ({"pids": {"limit": -1}}, {"pids.max": "max"}),
        ({"pids": {"limit": 0}}, {"pids.max": 0}),
        (
            {
                "blockIO": {
                    "throttleReadBpsDevice": [{"major": MAJOR, "minor": MINOR, "rate": MIB}],
                    "throttleWriteIOPSDevice": [{"major": MAJOR, "minor": MINOR, "rate": 8}],
                }
            },
            {"io.max": f"{DISK} rbps={MIB} wbps=max riops=max wiops=8"},
        ),
        (
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]},
            {"hugetlb.2MB.max": 4 * MIB, "hugetlb.2MB.rsvd.max": 4 * MIB},
        ),
        (
            {"unified": {"memory.high": "50331648", "memory.oom.group": "1", "cgroup.max.depth": "3"}},
            {"memory.high": 48 * MIB, "memory.oom.group": 1, "cgroup.max.depth": 3},
        ),
        ({"devices": [{"allow": True, "access": "rwm"}], "memory": {"limit": 0}, "cpu": {"shares": 0}}, {}),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_a_resource_and_nothing_else(runtime: Runtime, managed: Bundle, resources: dict, changes: dict) -> None:
    before = settings(managed)
    runtime.ok("update", "--resources", "-", managed.id, stdin=json.dumps(resources))
    after = settings(managed)
    expected = {file: str(value) for file, value in changes.items()}
    assert {file: text for file, text in after.items() if text != before[file]} == expected


@pytest.mark.only_ocirt("others leave the part that succeeded")
@pytest.mark.parametrize(
    "resources",
    [
        {"memory": {"limit": 128 * MIB, "swap": 256 * MIB, "reservation": 8 * MIB}},
        {"cpu": {"quota": 10000, "period": 50000, "burst": 5000}},
        {"cpu": {"idle": 1}},
        {"cpu": {"shares": 900}, "pids": {"limit": 5}},
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]},
        {"blockIO": {"throttleReadBpsDevice": [{"major": MAJOR, "minor": MINOR, "rate": MIB}]}},
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_a_failure_restores_what_the_files_said(runtime: Runtime, managed: Bundle, resources: dict) -> None:
    """The last write fails: a file that is not there."""
    before = settings(managed)
    broken = json.dumps({**resources, "unified": {"cgroup.nonesuch": "1"}})
    result = runtime.fails("update", "-r", "-", managed.id, stdin=broken, says="[/unified/cgroup.nonesuch]")
    assert "could not be restored" not in result.err
    assert settings(managed) == before


@pytest.mark.only_ocirt("others leave the part that succeeded")
def test_a_failure_restores_the_cpus_in_effect(runtime: Runtime, managed: Bundle) -> None:
    """The kernel does not take the choice itself back while processes run."""
    ask = "grep -E '^(Cpus|Mems)_allowed_list' /proc/self/status"
    before = runtime.sh(managed, ask)
    broken = json.dumps({"cpu": {"cpus": "1", "mems": "0"}, "unified": {"cgroup.nonesuch": "1"}})
    result = runtime.fails("update", "-r", "-", managed.id, stdin=broken, says="[/unified/cgroup.nonesuch]")
    assert "could not be restored" not in result.err
    assert runtime.sh(managed, ask) == before


def test_parents_got_the_controllers(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    bundle.linux["cgroupsPath"] = f"/{place.name}/a/b/{bundle.id}"
    runtime.create(bundle.args(*PAUSE))
    everything = set(Path("/sys/fs/cgroup/cgroup.controllers").read_text().split())
    assert set((place.cgroup("") / f"a/b/{bundle.id}/cgroup.controllers").read_text().split()) == everything
    runtime.stop(bundle)
    place.remove_cgroups("a")
