"""cgroup v1: where a container is, what each limit writes, what stays and what goes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.host import Place, cgroup_mounts
from tests.support.runtime import Runtime, poll

pytestmark = pytest.mark.cgroup_v1("names the files of v1")

PAUSE = ("/bin/probe", "pause")
MIB = 1 << 20


def value(place: Place, bundle: Bundle, controller: str, file: str) -> str:
    return (place.cgroup(controller) / bundle.id / file).read_text().strip()


def test_in_every_hierarchy_below_the_callers(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    runtime.create(bundle.args(*PAUSE))
    for controllers, path in place.cgroups.items():
        if controllers == "" and runtime.name != "ocirt":
            continue  # crun has it hidden, runc 1.1 puts it elsewhere
        assert (path / bundle.id / "cgroup.procs").read_text().split() == [str(bundle.pid)], controllers
    runtime.stop(bundle)
    for path in place.cgroups.values():
        assert not (path / bundle.id).exists()


def test_absolute_path(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    bundle.linux["cgroupsPath"] = f"/{place.name}-absolute/{bundle.id}"
    runtime.create(bundle.args(*PAUSE))
    seen = Path(f"/proc/{bundle.pid}/cgroup").read_text()
    paths = {line.split(":")[1]: line.split(":")[2] for line in seen.splitlines()}
    for controllers in ("pids", "memory", "cpu", "name=systemd"):
        assert paths[controllers] == bundle.linux["cgroupsPath"]
    runtime.stop(bundle)
    remove_absolute(place)


def remove_absolute(place: Place) -> None:
    """The parents are not the container's: neither runtime removes them."""
    for mount in cgroup_mounts().values():
        path = mount / f"{place.name}-absolute"
        if path.is_dir():
            path.rmdir()


def test_relative_path_is_below_the_callers(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    bundle.linux["cgroupsPath"] = f"rel/{bundle.id}"
    runtime.create(bundle.args(*PAUSE))
    found = (place.cgroup("pids") / "rel" / bundle.id / "cgroup.procs").read_text().split()
    assert found == [str(bundle.pid)]
    runtime.stop(bundle)
    place.remove_cgroups("rel")


def test_path_with_dots_stays_in_the_hierarchy(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    bundle.linux["cgroupsPath"] = f"/../../../{place.name}-absolute/x/../{bundle.id}"
    bundle.save()
    result = runtime.call("create", "--bundle", str(bundle.path), bundle.id)
    if result.code == 0:
        seen = runtime.ok("exec", bundle.id, "cat", "/proc/self/cgroup").out
        assert f"/{place.name}-absolute/{bundle.id}\n" in seen
        runtime.ok("delete", "--force", bundle.id)
    remove_absolute(place)


def test_memory(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    bundle.resources(memory={"limit": 64 * MIB, "reservation": 32 * MIB, "swap": 96 * MIB, "swappiness": 7})
    runtime.create(bundle.args(*PAUSE))
    assert value(place, bundle, "memory", "memory.limit_in_bytes") == str(64 * MIB)
    assert value(place, bundle, "memory", "memory.soft_limit_in_bytes") == str(32 * MIB)
    assert value(place, bundle, "memory", "memory.memsw.limit_in_bytes") == str(96 * MIB)
    assert value(place, bundle, "memory", "memory.swappiness") == "7"
    runtime.stop(bundle)


def test_unlimited_memory(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    bundle.resources(memory={"limit": -1})
    runtime.create(bundle.args(*PAUSE))
    assert int(value(place, bundle, "memory", "memory.limit_in_bytes")) > 1 << 60
    runtime.stop(bundle)


def test_oom_killer_can_be_off(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    bundle.resources(memory={"limit": 64 * MIB, "disableOOMKiller": True})
    runtime.create(bundle.args(*PAUSE))
    assert "oom_kill_disable 1" in value(place, bundle, "memory", "memory.oom_control")
    runtime.stop(bundle)


def test_memory_limit_holds(runtime: Runtime, bundle: Bundle) -> None:
    bundle.resources(memory={"limit": 16 * MIB, "swap": 16 * MIB})
    result = runtime.run(bundle.script("head -c 100000000 /dev/zero | tail -c 90000000 | wc -c; echo end"))
    assert "90000000" not in result.out


@pytest.mark.parametrize("limit", [8 * MIB, 4 * MIB])
@pytest.mark.differs(runc="needs more for its own start", crun="the wrapper's shell")
def test_small_memory_limits_start(runtime: Runtime, bundle: Bundle, limit: int) -> None:
    bundle.resources(memory={"limit": limit})
    assert runtime.inside(bundle, "echo started") == "started\n"


def test_swap_needs_a_limit(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.resources(memory={"limit": 64 * MIB, "swap": 32 * MIB})
    bundle.save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id)


def test_cpu(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    bundle.resources(cpu={"shares": 512, "quota": 20000, "period": 50000})
    runtime.create(bundle.args(*PAUSE))
    assert value(place, bundle, "cpu", "cpu.shares") == "512"
    assert value(place, bundle, "cpu", "cpu.cfs_quota_us") == "20000"
    assert value(place, bundle, "cpu", "cpu.cfs_period_us") == "50000"
    runtime.stop(bundle)


@pytest.mark.only_ocirt("runc 1.1 and crun 1.8 do not know them")
def test_cpu_burst_and_idle(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    bundle.resources(cpu={"quota": 20000, "period": 50000, "burst": 10000, "idle": 1})
    runtime.create(bundle.args(*PAUSE))
    assert value(place, bundle, "cpu", "cpu.cfs_burst_us") == "10000"
    assert value(place, bundle, "cpu", "cpu.idle") == "1"
    runtime.stop(bundle)


def test_cpuset(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    bundle.resources(cpu={"cpus": "0", "mems": "0"})
    out = runtime.launch(bundle.script("grep Cpus_allowed_list /proc/self/status; exec probe pause"))
    poll(lambda: out.out, "the payload's output")
    assert out.out.split() == ["Cpus_allowed_list:", "0"]
    assert value(place, bundle, "cpuset", "cpuset.cpus") == "0"
    assert value(place, bundle, "cpuset", "cpuset.mems") == "0"
    runtime.stop(bundle)


def test_cpuset_is_the_parents_by_default(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    runtime.create(bundle.args(*PAUSE))
    assert value(place, bundle, "cpuset", "cpuset.cpus") == (place.cgroup("cpuset") / "cpuset.cpus").read_text().strip()
    runtime.stop(bundle)


@pytest.mark.parametrize(("limit", "written"), [(10, "10"), (-1, "max")])
def test_pids(runtime: Runtime, bundle: Bundle, place: Place, limit: int, written: str) -> None:
    bundle.resources(pids={"limit": limit})
    runtime.create(bundle.args(*PAUSE))
    assert value(place, bundle, "pids", "pids.max") == written
    runtime.stop(bundle)


def test_pids_limit_holds(runtime: Runtime, bundle: Bundle) -> None:
    bundle.resources(pids={"limit": 4 if runtime.name == "ocirt" else 20})
    result = runtime.run(bundle.script("for i in $(seq 40); do sleep 5 & done; echo all"))
    assert "all" not in result.out.split() or "can't fork" in result.err


def test_block_io_throttle(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    device = {"major": 254, "minor": 0}
    bundle.resources(
        blockIO={
            "throttleReadBpsDevice": [{**device, "rate": 1000000}],
            "throttleWriteBpsDevice": [{**device, "rate": 2000000}],
            "throttleReadIOPSDevice": [{**device, "rate": 300}],
            "throttleWriteIOPSDevice": [{**device, "rate": 400}],
        }
    )
    runtime.create(bundle.args(*PAUSE))
    for name, written in (("read_bps", 1000000), ("write_bps", 2000000), ("read_iops", 300), ("write_iops", 400)):
        assert value(place, bundle, "blkio", f"blkio.throttle.{name}_device") == f"254:0 {written}"
    runtime.stop(bundle)


def test_device_rules_are_written(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    bundle.resources(
        devices=[
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            {"allow": True, "type": "b", "major": 8, "access": "r"},
        ]
    )
    runtime.create(bundle.args(*PAUSE))
    listed = set(value(place, bundle, "devices", "devices.list").splitlines())
    assert {"c 10:229 rw", "b 8:* r", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm"} <= listed
    assert {"c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm", "c *:* m", "b *:* m"} <= listed
    assert "a *:* rwm" not in listed
    runtime.stop(bundle)


@pytest.mark.differs(crun="ignores it", runc="1.1 ignores it")
def test_unified_is_for_v2(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.resources(unified={"memory.max": "1000000"})
    bundle.save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="unified")


@pytest.mark.parametrize(
    "resources",
    [
        {"pids": {"limit": "many"}},
        {"memory": {"limit": 1.5}},
        {"cpu": {"cpus": "nonsense"}},
        {"cpu": {"mems": "77"}},
        {"blockIO": {"throttleReadBpsDevice": [{"major": 9999, "minor": 1, "rate": 5}]}},
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_bad_values(runtime: Runtime, bundle: Bundle, resources: dict, host_unchanged: Callable) -> None:
    bundle.resources(**resources).save()
    with host_unchanged():
        result = runtime.fails("create", "--bundle", str(bundle.path), bundle.id)
    if runtime.name == "ocirt":
        assert "[/linux/resources/" in result.last_line


MISSING = (
    "cannot set {0} limit: container could not join or create cgroup (controller {0}) [{1}]"
    " - the host has no {0} hierarchy: mount it or remove the setting"
)
NO_FILE = "this kernel offers no {}: remove the setting"


@pytest.mark.only_ocirt("the words are ours; others ignore some of them")
@pytest.mark.parametrize(
    ("resources", "controller", "file", "pointer"),
    [
        ({"network": {"classID": 1048577}}, "net_cls", "", "network/classID"),
        ({"network": {"priorities": [{"name": "lo", "priority": 3}]}}, "net_prio", "", "network/priorities/0"),
        ({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10}}}, "rdma", "", "rdma/mlx5_1"),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}, "hugetlb", "", "hugepageLimits/0/limit"),
        ({"blockIO": {"weight": 500}}, "blkio", "blkio.weight and blkio.bfq.weight", "blockIO/weight"),
        ({"blockIO": {"leafWeight": 500}}, "blkio", "blkio.leaf_weight", "blockIO/leafWeight"),
        (
            {"blockIO": {"weightDevice": [{"major": 254, "minor": 0, "weight": 500}]}},
            "blkio",
            "blkio.weight_device and blkio.bfq.weight_device",
            "blockIO/weightDevice/0/weight",
        ),
        (
            {"blockIO": {"weightDevice": [{"major": 254, "minor": 0, "leafWeight": 500}]}},
            "blkio",
            "blkio.leaf_weight_device",
            "blockIO/weightDevice/0/leafWeight",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
@pytest.mark.parametrize("verb", ["create", "update"])
def test_what_this_host_does_not_have(
    runtime: Runtime,
    bundle: Bundle,
    place: Place,
    host_unchanged: Callable,
    resources: dict,
    controller: str,
    file: str,
    pointer: str,
    verb: str,
) -> None:
    """A limit that cannot be had is an error that says what is missing, and nothing is made or changed."""
    mounted = cgroup_mounts().get(controller)
    if mounted is not None and (not file or any((place.cgroup(controller) / one).exists() for one in file.split())):
        pytest.skip(f"the host has {file or controller}")
    if verb == "create":
        pointer = f"/linux/resources/{pointer}"
        bundle.args(*PAUSE).resources(**resources).save()
        with host_unchanged():
            result = runtime.fails("create", "--bundle", str(bundle.path), bundle.id)
    else:
        pointer = f"/{pointer}"
        runtime.create(bundle.args(*PAUSE))
        result = runtime.fails("update", "-r", "-", bundle.id, stdin=json.dumps(resources))
        runtime.stop(bundle)
    if file:
        assert result.last_line.endswith(f"[{pointer}] - {NO_FILE.format(file)}")
    else:
        assert result.last_line.endswith(f": {MISSING.format(controller, pointer)}")


def test_block_io_weight(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    bundle.resources(blockIO={"weight": 300})
    if not (place.cgroup("blkio") / "blkio.bfq.weight").exists():
        pytest.skip("the kernel has no bfq")
    runtime.create(bundle.args(*PAUSE))
    assert value(place, bundle, "blkio", "blkio.bfq.weight") == "300"
    runtime.ok("update", "--blkio-weight", "700", bundle.id)
    assert value(place, bundle, "blkio", "blkio.bfq.weight") == "700"
    runtime.stop(bundle)


@pytest.fixture
def realtime_budget(place: Place) -> Iterator[None]:
    """Of the containers' parent: a new group has none, and gives none."""
    file = place.cgroup("cpu") / "cpu.rt_runtime_us"
    if not file.exists():
        pytest.skip("the kernel has no real-time groups")
    file.write_text("20000")
    yield
    poll(lambda: takes(file, "0"), "the end of the container's group, which the kernel frees late")


def takes(file: Path, text: str) -> bool:
    try:
        file.write_text(text)
    except OSError:
        return False
    return True


def test_realtime(runtime: Runtime, bundle: Bundle, place: Place, realtime_budget: None) -> None:
    bundle.resources(cpu={"realtimeRuntime": 5000, "realtimePeriod": 500000})
    runtime.create(bundle.args(*PAUSE))
    assert value(place, bundle, "cpu", "cpu.rt_runtime_us") == "5000"
    assert value(place, bundle, "cpu", "cpu.rt_period_us") == "500000"
    runtime.ok("update", "--cpu-rt-runtime", "9000", "--cpu-rt-period", "1000000", bundle.id)
    assert value(place, bundle, "cpu", "cpu.rt_runtime_us") == "9000"
    assert value(place, bundle, "cpu", "cpu.rt_period_us") == "1000000"
    if runtime.name == "ocirt":
        result = runtime.fails("update", "--cpu-rt-runtime", "900000", bundle.id)
        assert "write '900000' to cpu.rt_runtime_us: invalid argument [/cpu/realtimeRuntime]" in result.last_line
    assert value(place, bundle, "cpu", "cpu.rt_runtime_us") == "9000"
    runtime.stop(bundle)


@pytest.mark.differs(crun="joins it")
def test_occupied_cgroup_is_refused(
    runtime: Runtime, new_bundle: Callable[[], Bundle], host_unchanged: Callable
) -> None:
    first, second = new_bundle(), new_bundle()
    runtime.create(first.args(*PAUSE))
    second.linux["cgroupsPath"] = first.id
    second.save()
    if runtime.name == "runc":
        pytest.skip("runc 1.1 only warns")
    with host_unchanged():
        runtime.fails(
            "create", "--bundle", str(second.path), second.id, says="container's cgroup is not empty: 1 process"
        )
    assert runtime.status(first) == "created"
    runtime.stop(first)


def test_cgroup_made_before_is_used(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    before = place.cgroup("pids") / bundle.id
    before.mkdir()
    (before / "pids.max").write_text("77")
    runtime.create(bundle.args(*PAUSE))
    assert (before / "cgroup.procs").read_text().split() == [str(bundle.pid)]
    assert (before / "pids.max").read_text() == "77\n"
    runtime.stop(bundle)
    if before.exists():  # runtime.md: what the container did not make MUST NOT be deleted
        before.rmdir()
    else:
        assert runtime.name in ("runc", "crun")


def test_payload_sees_itself_at_the_root_of_its_cgroup_namespace(runtime: Runtime, bundle: Bundle) -> None:
    out = runtime.inside(bundle.namespace("cgroup"), "cut -d: -f3 /proc/self/cgroup | sort -u")
    assert out == "/\n"


def test_all_processes_are_in_it(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    result = runtime.launch(bundle.script("sleep 1000 & sleep 1000 & echo ready; wait"))
    poll(lambda: result.out, "the payload's output")
    assert len((place.cgroup("pids") / bundle.id / "cgroup.procs").read_text().split()) == 3
    runtime.stop(bundle)


# --- pause, resume, ps, update, events: verbs that are about the cgroup


def test_pause_and_resume(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    runtime.launch(bundle.script("sleep 1000"))
    runtime.fails("resume", bundle.id, says="container not paused")
    runtime.ok("pause", bundle.id)
    assert value(place, bundle, "freezer", "freezer.state") == "FROZEN"
    assert runtime.status(bundle) == "paused"
    runtime.ok("resume", bundle.id)
    assert value(place, bundle, "freezer", "freezer.state") == "THAWED"
    assert runtime.status(bundle) == "running"
    runtime.ok("kill", bundle.id, "KILL")
    runtime.wait(bundle)
    runtime.fails("pause", bundle.id, says="container not running")
    runtime.ok("delete", bundle.id)
    runtime.fails("pause", bundle.id, says="container does not exist")


def test_ps(runtime: Runtime, bundle: Bundle) -> None:
    result = runtime.launch(bundle.script("sleep 1000 & echo ready; wait"))
    poll(lambda: result.out, "the payload's output")
    pids = json.loads(runtime.ok("ps", "--format", "json", bundle.id).out)
    assert bundle.pid in pids
    assert len(pids) == 2
    if runtime.name != "crun":
        header, *lines = runtime.ok("ps", bundle.id).out.splitlines()
        column = header.split().index("PID")
        assert {int(line.split()[column]) for line in lines} == set(pids)
        header, *lines = runtime.ok("ps", bundle.id, "-o", "pid,args").out.splitlines()
        assert any("sleep 1000" in line for line in lines)
    runtime.stop(bundle)


def test_update_by_flags(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    bundle.resources(memory={"limit": 64 * MIB}, cpu={"shares": 512}, pids={"limit": 50})
    runtime.launch(bundle.args(*PAUSE))
    runtime.ok("update", "--memory", str(32 * MIB), "--cpu-share", "200", "--pids-limit", "20", bundle.id)
    assert value(place, bundle, "memory", "memory.limit_in_bytes") == str(32 * MIB)
    assert value(place, bundle, "cpu", "cpu.shares") == "200"
    assert value(place, bundle, "pids", "pids.max") == "20"
    runtime.ok("update", "--cpu-period", "50000", "--cpu-quota", "10000", bundle.id)
    assert value(place, bundle, "cpu", "cpu.cfs_quota_us") == "10000"
    assert value(place, bundle, "cpu", "cpu.cfs_period_us") == "50000"
    assert value(place, bundle, "memory", "memory.limit_in_bytes") == str(32 * MIB)
    if runtime.name != "crun":
        runtime.ok("update", "--memory", "48m", "--cpuset-cpus", "1", bundle.id)
        assert value(place, bundle, "memory", "memory.limit_in_bytes") == str(48 * MIB)
        assert value(place, bundle, "cpuset", "cpuset.cpus") == "1"
    runtime.stop(bundle)


def test_update_by_file(runtime: Runtime, bundle: Bundle, place: Place, tmp_path: Path) -> None:
    runtime.launch(bundle.args(*PAUSE))
    resources = json.dumps({"memory": {"limit": 40 * MIB}, "pids": {"limit": 9}})
    (tmp_path / "resources.json").write_text(resources)
    runtime.ok("update", "--resources", str(tmp_path / "resources.json"), bundle.id)
    assert value(place, bundle, "memory", "memory.limit_in_bytes") == str(40 * MIB)
    assert value(place, bundle, "pids", "pids.max") == "9"
    runtime.ok("update", "-r", "-", bundle.id, stdin=json.dumps({"pids": {"limit": 8}}))
    assert value(place, bundle, "pids", "pids.max") == "8"
    assert value(place, bundle, "memory", "memory.limit_in_bytes") == str(40 * MIB)
    runtime.stop(bundle)


@pytest.mark.differs(crun="other words")
def test_update_of_a_stopped_container(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("exit 0"))
    runtime.wait(bundle)
    runtime.fails("update", "--pids-limit", "5", bundle.id, says="container not running")
    runtime.ok("delete", bundle.id)


def test_update_with_a_bad_value(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    bundle.resources(pids={"limit": 50})
    runtime.launch(bundle.args(*PAUSE))
    runtime.fails("update", "--cpuset-cpus", "77", bundle.id)
    assert value(place, bundle, "pids", "pids.max") == "50"
    runtime.stop(bundle)


@pytest.mark.differs(crun="1.8 has no events")
def test_stats(runtime: Runtime, bundle: Bundle) -> None:
    bundle.resources(pids={"limit": 50}, memory={"limit": 64 * MIB})
    runtime.launch(bundle.args(*PAUSE))
    record = json.loads(runtime.ok("events", "--stats", bundle.id).out)
    assert (record["type"], record["id"]) == ("stats", bundle.id)
    data = record["data"]
    assert data["pids"] == {"current": 1, "limit": 50}
    assert data["memory"]["usage"]["limit"] == 64 * MIB
    assert data["memory"]["usage"]["usage"] > 0
    assert data["cpu"]["usage"]["total"] > 0
    runtime.stop(bundle)


@pytest.mark.differs(crun="1.8 has no events")
def test_stats_of_a_stopped_container(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("exit 0"))
    runtime.wait(bundle)
    runtime.fails("events", "--stats", bundle.id, says=f"container with id {bundle.id} is not running")
    runtime.ok("delete", bundle.id)
