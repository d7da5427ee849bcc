"""--systemd-cgroup against the machine's systemd: what it knows of a container, what the files say, what is left."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime, poll, wait_for
from tests.support.units import CGROUPS, cgroup_of, left_of, show, systemctl, text
from tests.support.units_of_podman import check_podman

SYSTEMD = ("--systemd-cgroup",)
MIB = 1 << 20
KILLS = 50
PAUSE = "echo up; while :; do sleep 1000; done"


@pytest.fixture(autouse=True)
def _nothing_is_left(runtime: Runtime, bundle: Bundle) -> Iterator[None]:
    yield
    runtime.remove_all()
    assert left_of(bundle.id) == []


def unit_of(bundle: Bundle) -> str:
    return f"{'runc' if os.environ.get('RUNTIME') == 'runc' else 'ocirt'}-{bundle.id}.scope"


def create(runtime: Runtime, bundle: Bundle, **resources: Any) -> str:
    """The name of the unit."""
    bundle.script(PAUSE).namespace("cgroup").resources(**resources)
    runtime.create(bundle, options=SYSTEMD)
    return unit_of(bundle)


# -- what systemd and the files say --------------------------------------------------------------


def test_the_unit_itself(runtime: Runtime, bundle: Bundle) -> None:
    unit = create(runtime, bundle)
    assert show(
        unit, "Description", "Slice", "Delegate", "DefaultDependencies", "Transient", "ActiveState", "ControlGroup"
    ) == {
        "Description": f"libcontainer container {bundle.id}",
        "Slice": "system.slice",
        "Delegate": "yes",
        "DefaultDependencies": "no",
        "Transient": "yes",
        "ActiveState": "active",
        "ControlGroup": f"/system.slice/{unit}",
    }
    accounting = ("MemoryAccounting", "CPUAccounting", "IOAccounting", "TasksAccounting")
    assert set(show(unit, *accounting).values()) == {"yes"}
    assert text(cgroup_of(unit) / "cgroup.procs") == str(bundle.pid)


def test_slice_prefix_and_name(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["cgroupsPath"] = f"{bundle.id.replace('-', '_')}-inner.slice:pre:{bundle.id}"
    bundle.script(PAUSE)
    runtime.create(bundle, options=SYSTEMD)
    outer = f"{bundle.id.replace('-', '_')}"
    path = f"/{outer}.slice/{outer}-inner.slice/pre-{bundle.id}.scope"
    assert show(f"pre-{bundle.id}.scope", "ControlGroup") == {"ControlGroup": path}
    assert Path(f"/proc/{bundle.pid}/cgroup").read_text() == f"0::{path}\n"
    runtime.ok("delete", "--force", bundle.id)
    systemctl("stop", f"{outer}.slice")


def test_a_path_of_another_form(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.linux["cgroupsPath"] = "/default/web1"
    bundle.save()
    says = 'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "/default/web1" instead'
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, options=SYSTEMD, says=says)


def test_the_root_of_the_cgroup_namespace(runtime: Runtime, bundle: Bundle) -> None:
    bundle.namespace("cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro", "nosuid", "noexec", "nodev")
    bundle.script("cat /proc/self/cgroup; cat /sys/fs/cgroup/pids.max").resources(pids={"limit": 33})
    assert runtime.run(bundle, options=SYSTEMD).out == "0::/\n33\n"


def disk() -> str:
    """major:minor of a whole disk."""
    name = next(name for name in os.listdir("/sys/block") if name.startswith("nvme"))
    return Path("/sys/block", name, "dev").read_text().strip()


def device(**more: Any) -> dict[str, Any]:
    major, minor = map(int, disk().split(":"))
    return {"major": major, "minor": minor, **more}


@pytest.mark.parametrize(
    ("resources", "properties", "files"),
    [
        ({"memory": {"limit": 64 * MIB}}, {"MemoryMax": "67108864"}, {"memory.max": "67108864"}),
        ({"memory": {"limit": -1}}, {"MemoryMax": "infinity"}, {"memory.max": "max", "memory.swap.max": "max"}),
        ({"memory": {"reservation": 32 * MIB}}, {"MemoryLow": "33554432"}, {"memory.low": "33554432"}),
        (
            {"memory": {"limit": 64 * MIB, "swap": 96 * MIB}},
            {"MemoryMax": "67108864", "MemorySwapMax": "33554432"},
            {"memory.max": "67108864", "memory.swap.max": "33554432"},
        ),
        ({"memory": {"limit": 64 * MIB, "swap": 64 * MIB}}, {"MemorySwapMax": "0"}, {"memory.swap.max": "0"}),
        ({"cpu": {"shares": 1024}}, {"CPUWeight": "100"}, {"cpu.weight": "100"}),
        ({"cpu": {"shares": 262144}}, {"CPUWeight": "10000"}, {"cpu.weight": "10000"}),
        (
            {"cpu": {"quota": 25000, "period": 50000}},
            {"CPUQuotaPerSecUSec": "500ms", "CPUQuotaPeriodUSec": "50ms"},
            {"cpu.max": "25000 50000"},
        ),
        ({"cpu": {"quota": 12345}}, {"CPUQuotaPerSecUSec": "130ms"}, {"cpu.max": "13000 100000"}),
        ({"cpu": {"quota": -1}}, {"CPUQuotaPerSecUSec": "infinity"}, {"cpu.max": "max 100000"}),
        ({"cpu": {"quota": 50000, "burst": 20000}}, {"CPUQuotaPerSecUSec": "500ms"}, {"cpu.max.burst": "20000"}),
        ({"cpu": {"idle": 1}}, {"CPUWeight": "idle"}, {"cpu.idle": "1"}),
        (
            {"cpu": {"cpus": "1", "mems": "0"}},
            {"AllowedCPUs": "1", "AllowedMemoryNodes": "0"},
            {"cpuset.cpus": "1", "cpuset.mems": "0"},
        ),
        ({"pids": {"limit": 20}}, {"TasksMax": "20"}, {"pids.max": "20"}),
        ({"pids": {"limit": -1}}, {"TasksMax": "infinity"}, {"pids.max": "max"}),
        ({"pids": {"limit": 0}}, {"TasksMax": "1"}, {"pids.max": "0"}),
        ({"unified": {"memory.high": "33554432"}}, {"MemoryHigh": "33554432"}, {"memory.high": "33554432"}),
        ({"unified": {"memory.min": "1M"}}, {"MemoryMin": "1048576"}, {"memory.min": "1048576"}),
        ({"unified": {"memory.max": "max"}}, {"MemoryMax": "infinity"}, {"memory.max": "max"}),
        ({"unified": {"cpu.max": "20000 100000"}}, {"CPUQuotaPerSecUSec": "200ms"}, {"cpu.max": "20000 100000"}),
        ({"unified": {"cpu.weight": "39"}}, {"CPUWeight": "39"}, {"cpu.weight": "39"}),
        ({"unified": {"pids.max": "17"}}, {"TasksMax": "17"}, {"pids.max": "17"}),
        ({"unified": {"memory.oom.group": "1"}}, {}, {"memory.oom.group": "1"}),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}, {}, {"hugetlb.2MB.max": "4194304"}),
        ({"unified": {"cgroup.max.depth": "3"}}, {}, {"cgroup.max.depth": "3"}),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_limit_is_a_property_and_a_file(
    runtime: Runtime, bundle: Bundle, resources: dict[str, Any], properties: dict[str, str], files: dict[str, str]
) -> None:
    unit = create(runtime, bundle, **resources)
    assert show(unit, *properties) == properties if properties else True
    group = cgroup_of(unit)
    assert {name: text(group / name) for name in files} == files
    if properties and resources.get("pids") != {"limit": 0}:  # what systemd was told it still says when it looks again
        systemctl("daemon-reload")
        assert {name: text(group / name) for name in files} == files


def test_io_has_no_property_and_is_written(runtime: Runtime, bundle: Bundle) -> None:
    limits = {"throttleReadBpsDevice": [device(rate=1 * MIB)], "throttleWriteIOPSDevice": [device(rate=50)]}
    unit = create(runtime, bundle, blockIO=limits)
    assert text(cgroup_of(unit) / "io.max") == f"{disk()} rbps=1048576 wbps=max riops=max wiops=50"
    runtime.ok("update", "--memory", "64M", bundle.id)
    assert text(cgroup_of(unit) / "io.max") == f"{disk()} rbps=1048576 wbps=max riops=max wiops=50"


def test_devices(runtime: Runtime, bundle: Bundle) -> None:
    major, minor = map(int, disk().split(":"))
    rules = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "b", "major": major, "minor": minor, "access": "r"},
    ]
    bundle.capabilities("CAP_MKNOD", "CAP_SYS_ADMIN")
    unit = create(runtime, bundle, devices=rules)
    runtime.start(bundle)
    assert show(unit, "DevicePolicy")["DevicePolicy"] == "strict"
    allowed = show(unit, "DeviceAllow")["DeviceAllow"].splitlines()
    assert f"/dev/block/{disk()} r" in allowed
    assert "/dev/char/1:3 rwm" in allowed
    script = (
        f"mknod /d b {major} {minor}; head -c 1 /d > /dev/null && echo read; (: >> /d) 2>/dev/null || echo no write;"
        " mknod /k c 1 11; cat /k 2>/dev/null || echo no kmsg"
    )
    for _ in range(2):
        assert runtime.sh(bundle, f"{script}; rm /d /k") == "read\nno write\nno kmsg\n"
        systemctl("daemon-reload")


def test_devices_that_systemd_cannot_say(runtime: Runtime, bundle: Bundle) -> None:
    major, minor = map(int, disk().split(":"))
    rules = [{"allow": True, "access": "rwm"}, device(allow=False, type="b", access="rw")]
    unit = create(runtime, bundle.capabilities("CAP_MKNOD"), devices=rules)
    runtime.start(bundle)
    assert show(unit, "DevicePolicy", "DeviceAllow") == {"DevicePolicy": "auto"}
    script = f"mknod /d b {major} {minor}; head -c 1 /d 2> /dev/null || echo no; head -c 1 /dev/zero | wc -c; rm /d"
    for _ in range(2):
        assert runtime.sh(bundle, script) == "no\n1\n"
        systemctl("daemon-reload")


def test_annotations(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["annotations"] = {
        "org.systemd.property.TimeoutStopSec": "123",
        "org.systemd.property.CollectMode": "'inactive-or-failed'",
        "org.systemd.property.Before": "['shutdown.target']",
        "org.systemd.property.MemoryMax": "uint64 50000000",
    }
    unit = create(runtime, bundle)
    assert show(unit, "TimeoutStopUSec", "CollectMode", "MemoryMax") == {
        "TimeoutStopUSec": "2min 3s",
        "CollectMode": "inactive-or-failed",
        "MemoryMax": "50000000",
    }
    assert "shutdown.target" in show(unit, "Before")["Before"].split()


def test_a_property_that_systemd_does_not_know(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["annotations"] = {"org.systemd.property.Nonsense": "1"}
    bundle.script(PAUSE).save()
    result = runtime.fails("create", "--bundle", str(bundle.path), bundle.id, options=SYSTEMD)
    assert "systemd refuses StartTransientUnit" in result.last_line
    assert "Nonsense" in result.last_line
    assert "[/annotations/org.systemd.property.Nonsense]" in result.last_line
    assert left_of(bundle.id) == []


def test_the_smallest_memory(runtime: Runtime, bundle: Bundle) -> None:
    bundle.script("cat /proc/self/cgroup").resources(memory={"limit": 4 * MIB})
    assert runtime.run(bundle, options=SYSTEMD).out == f"0::/system.slice/{unit_of(bundle)}\n"


def test_the_cgroup_belongs_to_the_containers_user(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "rw").process["user"] = {"uid": 1000, "gid": 1000}
    group = cgroup_of(create(runtime, bundle))
    assert group.stat().st_uid == 1000
    assert (group / "cgroup.procs").stat().st_uid == 1000
    assert (group / "memory.max").stat().st_uid == 0


# -- later commands, without the option ----------------------------------------------------------


def test_a_life(runtime: Runtime, bundle: Bundle) -> None:
    unit = create(runtime, bundle, memory={"limit": 64 * MIB})
    group = cgroup_of(unit)
    runtime.start(bundle)
    assert runtime.sh(bundle, "cat /proc/self/cgroup") == "0::/\n"
    inside = runtime.ok("exec", "--detach", "--pid-file", f"{bundle.path}/e", bundle.id, "sleep", "1000")
    assert inside.code == 0
    assert (bundle.path / "e").read_text() in text(group / "cgroup.procs").split()
    assert json.loads(runtime.ok("ps", "--format", "json", bundle.id).out) == sorted(
        int(pid) for pid in text(group / "cgroup.procs").split()
    )
    runtime.ok("update", "--memory", "128M", "--pids-limit", "40", "--cpu-quota", "30001", bundle.id)
    assert show(unit, "MemoryMax", "TasksMax", "CPUQuotaPerSecUSec") == {
        "MemoryMax": "134217728",
        "TasksMax": "40",
        "CPUQuotaPerSecUSec": "310ms",
    }
    assert [text(group / name) for name in ("memory.max", "pids.max", "cpu.max")] == ["134217728", "40", "31000 100000"]
    runtime.ok("pause", bundle.id)
    assert runtime.status(bundle) == "paused"
    assert "frozen 1" in text(group / "cgroup.events")
    runtime.ok("update", "--pids-limit", "41", bundle.id)
    assert runtime.status(bundle) == "paused"
    runtime.ok("resume", bundle.id)
    events = json.loads(runtime.ok("events", "--stats", bundle.id).out)
    assert events["data"]["pids"]["limit"] == 41
    runtime.ok("kill", bundle.id, "KILL")
    wait_for(int((bundle.path / "e").read_text()))  # a child of ours, without whose end init cannot end
    wait_for(bundle.pid)
    runtime.ok("delete", bundle.id)
    assert left_of(bundle.id) == []


def test_an_update_is_all_or_nothing(runtime: Runtime, bundle: Bundle) -> None:
    unit = create(runtime, bundle, memory={"limit": 64 * MIB}, pids={"limit": 20})
    bad = {"memory": {"limit": 128 * MIB}, "pids": {"limit": 30}, "unified": {"io.max": "9999:0 rbps=1"}}
    runtime.fails("update", "--resources", "-", bundle.id, stdin=json.dumps(bad))
    assert show(unit, "MemoryMax", "TasksMax") == {"MemoryMax": "67108864", "TasksMax": "20"}
    assert [text(cgroup_of(unit) / name) for name in ("memory.max", "pids.max")] == ["67108864", "20"]


def test_memory_below_the_usage_is_refused_before_systemd_is_told(runtime: Runtime, bundle: Bundle) -> None:
    unit = create(runtime, bundle, memory={"limit": 64 * MIB})
    runtime.start(bundle)
    wanted = {"memory": {"limit": 4096, "checkBeforeUpdate": True}}
    runtime.fails("update", "--resources", "-", bundle.id, stdin=json.dumps(wanted), says="rejecting memory limit")
    assert show(unit, "MemoryMax") == {"MemoryMax": "67108864"}
    assert runtime.status(bundle) == "running"


def test_a_unit_stops_with_its_last_process_and_delete_still_works(runtime: Runtime, bundle: Bundle) -> None:
    create(runtime, bundle.script("exit 3"))
    bundle.script("exit 3").save()
    runtime.ok("kill", bundle.id, "KILL")
    wait_for(bundle.pid)
    poll(lambda: left_of(bundle.id) == [], "systemd removes the unit")
    assert runtime.status(bundle) == "stopped"
    runtime.ok("delete", bundle.id)


def test_delete_takes_a_failed_unit_away(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["annotations"] = {"org.systemd.property.RuntimeMaxSec": "1"}
    unit = create(runtime, bundle)
    poll(lambda: show(unit, "ActiveState")["ActiveState"] == "failed", "systemd ends the scope in time")
    assert show(unit, "Result") == {"Result": "timeout"}
    runtime.ok("delete", bundle.id)
    assert left_of(bundle.id) == []


def test_what_the_container_made_below(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "rw")
    create(runtime, bundle)
    runtime.start(bundle)
    runtime.sh(bundle, "mkdir -p /sys/fs/cgroup/a/b; sleep 1000 & echo $! > /sys/fs/cgroup/a/b/cgroup.procs")
    runtime.ok("delete", "--force", bundle.id)
    assert left_of(bundle.id) == []


def test_run_in_the_foreground(runtime: Runtime, bundle: Bundle) -> None:
    assert runtime.run(bundle.script("exit 7"), options=SYSTEMD).code == 7
    assert left_of(bundle.id) == []


# -- what fails ----------------------------------------------------------------------------------


def test_two_containers_cannot_have_one_unit(
    runtime: Runtime, bundle: Bundle, new_bundle: Callable[[], Bundle]
) -> None:
    unit = create(runtime, bundle)
    other = new_bundle()
    other.linux["cgroupsPath"] = f":ocirt:{bundle.id}"
    other.script(PAUSE).save()
    runtime.fails(
        "create", "--bundle", str(other.path), other.id, options=SYSTEMD, says="cgroup is not empty: 1 process"
    )
    assert show(unit, "ActiveState") == {"ActiveState": "active"}
    assert runtime.status(bundle) == "created"


def test_a_unit_that_another_container_was_given_since(
    runtime: Runtime, bundle: Bundle, new_bundle: Callable[[], Bundle]
) -> None:
    """The unit of a container that has ended is gone with its process, and so its name is free."""
    unit = create(runtime, bundle)
    runtime.ok("kill", bundle.id, "KILL")
    runtime.wait(bundle)
    poll(lambda: not show(unit, "ActiveState")["ActiveState"].startswith("active"), "the unit's end")
    other = new_bundle()
    other.linux["cgroupsPath"] = f":ocirt:{bundle.id}"
    runtime.create(other.script(PAUSE), options=SYSTEMD)
    runtime.ok("delete", "--force", bundle.id)
    assert show(unit, "ActiveState") == {"ActiveState": "active"}
    assert runtime.status(other) == "created"
    runtime.stop(other)
    assert show(unit, "LoadState") == {"LoadState": "not-found"}


@pytest.mark.only_ocirt("edits our record")
def test_a_unit_whose_create_was_killed_before_it_was_started(
    runtime: Runtime, bundle: Bundle, new_bundle: Callable[[], Bundle]
) -> None:
    """Its record names the unit that another container has: a forced delete must not stop that."""
    unit = create(runtime, bundle)
    record = json.loads((runtime.root / bundle.id / "state.json").read_text())
    killed = runtime.root / f"{bundle.id}-killed"
    killed.mkdir(mode=0o711)
    text = json.dumps({**record, "id": killed.name, "pid": 0, "cgroup": {**record["cgroup"], "token": "0" * 16}})
    (killed / "state.json").write_text(text)
    (killed / "config.json").write_text("{}")
    result = runtime.ok("delete", "--force", killed.name)
    assert f"the unit {unit} is another container's by now: left alone" in result.err
    assert show(unit, "ActiveState") == {"ActiveState": "active"}
    assert runtime.status(bundle) == "created"
    runtime.stop(bundle)


def test_somebody_elses_unit_is_not_touched(runtime: Runtime, bundle: Bundle) -> None:
    """A slice has no process, so nothing but systemd's own refusal tells."""
    busy = f"{bundle.id.replace('-', '_')}.slice"
    file = Path("/run/systemd/system", busy)
    file.write_text("[Unit]\nDescription=somebody's\n")
    systemctl("daemon-reload")
    systemctl("start", busy)
    bundle.linux["cgroupsPath"] = f"-.slice::{busy}"
    bundle.script(PAUSE).save()
    result = runtime.fails("create", "--bundle", str(bundle.path), bundle.id, options=SYSTEMD)
    assert f"systemd has a unit {busy} already" in result.last_line
    assert show(busy, "ActiveState", "Description") == {"ActiveState": "active", "Description": "somebody's"}
    systemctl("stop", busy)
    file.unlink()
    systemctl("daemon-reload")


def test_a_slice(runtime: Runtime, bundle: Bundle) -> None:
    unit = f"{bundle.id.replace('-', '_')}.slice"
    bundle.linux["cgroupsPath"] = f"-.slice::{unit}"
    bundle.script(PAUSE).resources(pids={"limit": 20})
    runtime.create(bundle, options=SYSTEMD)
    assert show(unit, "ActiveState", "TasksMax") == {"ActiveState": "active", "TasksMax": "20"}
    assert Path(f"/proc/{bundle.pid}/cgroup").read_text() == f"0::/{unit}\n"
    runtime.stop(bundle)
    assert left_of(unit) == []


def test_a_failed_create_leaves_no_unit(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.script(PAUSE).hook("createRuntime", "/bin/false").save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, options=SYSTEMD, says="createRuntime")
    assert left_of(bundle.id) == []


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_create_leaves_no_unit(runtime: Runtime, bundle: Bundle, ending: int) -> None:
    """In a hook: the unit is there by then."""
    fifo = bundle.path / "fifo"
    os.mkfifo(fifo)
    bundle.script(PAUSE).hook("createRuntime", "/bin/sh", "-c", f"echo there > {fifo}; exec sleep 1000").save()
    words = runtime.arguments("create", "--bundle", str(bundle.path), bundle.id, options=SYSTEMD)
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as create:
        assert fifo.read_text() == "there\n"
        assert left_of(bundle.id) != []
        create.send_signal(ending)
        assert create.wait(30) == 1
    assert left_of(bundle.id) == []


def test_kills_at_any_moment(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    """What is left after `delete --force`: no unit, no cgroup, no mount, no process."""
    seed = random.randrange(1 << 30)
    moments = random.Random(seed)
    words = runtime.arguments("create", "--bundle", str(bundle.path), bundle.id, options=SYSTEMD)
    killed = 0
    with host_unchanged():
        create(runtime, bundle, memory={"limit": 64 * MIB})
        runtime.ok("delete", "--force", bundle.id)
        begin = time.monotonic()
        runtime.create(bundle, options=SYSTEMD)
        takes = time.monotonic() - begin
        runtime.ok("delete", "--force", bundle.id)
        for _ in range(KILLS):
            with subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ) as process:
                try:
                    process.wait(moments.uniform(0, takes))
                except subprocess.TimeoutExpired:
                    process.kill()
                killed += process.wait() == -signal.SIGKILL
            runtime.ok("delete", "--force", bundle.id)
            assert left_of(bundle.id) == [], f"seed {seed}"
    assert killed > KILLS // 2, f"only {killed} of {KILLS} were killed in time"


@pytest.fixture
def deaf(bundle: Bundle) -> Iterator[Path]:
    """A socket that takes connections and never says a word."""
    path = bundle.path / "deaf"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(5)
    taken: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                taken.append(listener.accept()[0])
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    yield path
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for one in taken:
        one.close()


def in_place_of(runtime: Runtime, source: Path | str, *targets: str) -> Runtime:
    """The runtime in a mount namespace where the targets are something else."""
    binds = "".join(f"mount --bind {source} {target}; " for target in targets)
    return runtime.after(
        f'[ -n "$APART" ] || {{ export APART=1; exec unshare -m --propagation private $0 "$@"; }}; {binds}'
    )


def test_a_systemd_that_never_answers(runtime: Runtime, bundle: Bundle, deaf: Path) -> None:
    bundle.script(PAUSE).save()
    apart = in_place_of(runtime, deaf, "/run/systemd/private", "/run/dbus/system_bus_socket")
    begin = time.monotonic()
    result = apart.fails(
        "create",
        "--bundle",
        str(bundle.path),
        bundle.id,
        options=SYSTEMD,
        bound=100,
        says="waited 30 s for the authentication by systemd",
    )
    assert 29 < time.monotonic() - begin < 60
    assert result.last_line.count("systemctl is-system-running") == 1
    assert not (runtime.root / bundle.id).exists()


def test_without_the_library(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.script(PAUSE).save()
    (tmp_path / "empty").mkdir()
    apart = in_place_of(runtime, tmp_path / "empty", "/usr/lib/python3/dist-packages/jeepney")
    apart.fails(
        "create",
        "--bundle",
        str(bundle.path),
        bundle.id,
        options=SYSTEMD,
        says="the systemd cgroup manager needs the Python library jeepney",
    )


def test_without_systemd(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.script(PAUSE).save()
    (tmp_path / "empty").mkdir()
    apart = in_place_of(runtime, tmp_path / "empty", "/run/systemd")
    apart.fails(
        "create",
        "--bundle",
        str(bundle.path),
        bundle.id,
        options=SYSTEMD,
        says="systemd not running on this host, cannot use systemd cgroups manager",
    )


def test_by_the_bus_when_systemds_own_socket_is_not_there(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "nobody").touch()
    apart = in_place_of(runtime, tmp_path / "nobody", "/run/systemd/private")
    bundle.script(PAUSE)
    apart.create(bundle, options=SYSTEMD)
    assert show(unit_of(bundle), "ActiveState") == {"ActiveState": "active"}
    apart.ok("update", "--pids-limit", "30", bundle.id)
    assert show(unit_of(bundle), "TasksMax") == {"TasksMax": "30"}
    apart.ok("delete", "--force", bundle.id)
    assert left_of(bundle.id) == []


def test_many_at_once(runtime: Runtime, new_bundle: Callable[[], Bundle]) -> None:
    bundles = [new_bundle().script(PAUSE).save() for _ in range(8)]
    started = [
        subprocess.Popen(
            runtime.arguments("create", "--bundle", str(one.path), one.id, options=SYSTEMD),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(one.path / "err").open("wb"),
        )
        for one in bundles
    ]
    assert [process.wait(120) for process in started] == [0] * 8, [(one.path / "err").read_text() for one in bundles]
    for one in bundles:
        assert show(unit_of(one), "ActiveState") == {"ActiveState": "active"}
    ended = [subprocess.Popen(runtime.arguments("delete", "--force", one.id)) for one in bundles]
    assert [process.wait(120) for process in ended] == [0] * 8
    assert [left for one in bundles for left in left_of(one.id)] == []


def test_the_cgroup_root_is_not_cluttered() -> None:
    assert not [name for name in os.listdir(CGROUPS) if name.endswith(".scope") and name.startswith("ocirt")]


def test_podman(bundle: Bundle) -> None:
    check_podman(bundle)
