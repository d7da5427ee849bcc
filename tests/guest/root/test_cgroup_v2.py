"""cgroup v2: where a container is, what its limits do, its freezer, its processes, and what stays when it goes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Bundle
from tests.support.events import Events
from tests.support.host import Place, alive
from tests.support.runtime import Runtime, poll, wait_for

PAUSE = ("/bin/probe", "pause")
MIB = 1 << 20
CGROUP = Path("/sys/fs/cgroup")

pytestmark = pytest.mark.differs(crun="1.8 puts a cgroup without a path elsewhere")


def directory(place: Place, bundle: Bundle) -> Path:
    return place.cgroup("") / bundle.id


def test_beside_the_callers(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    runtime.create(bundle.args(*PAUSE))
    assert Path(f"/proc/{bundle.pid}/cgroup").read_text() == f"0::/{place.name}/{bundle.id}\n"
    runtime.stop(bundle)
    assert not directory(place, bundle).exists()


def test_absolute_path(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    bundle.linux["cgroupsPath"] = f"/{place.name}/deep/er/{bundle.id}"
    runtime.create(bundle.args(*PAUSE))
    assert Path(f"/proc/{bundle.pid}/cgroup").read_text() == f"0::{bundle.linux['cgroupsPath']}\n"
    runtime.stop(bundle)
    place.remove_cgroups("deep")


def test_a_namespace_hides_what_is_above(runtime: Runtime, bundle: Bundle) -> None:
    bundle.namespace("cgroup")
    assert runtime.inside(bundle, "cat /proc/self/cgroup") == "0::/\n"


def test_memory_limit_kills(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    bundle.resources(memory={"limit": 16 * MIB, "swap": 16 * MIB})
    bundle.script("head -c 100000000 /dev/zero | tail -c 90000000 | wc -c; cat /proc/self/cgroup; probe pause")
    out = runtime.launch(bundle)
    poll(lambda: "0::" in out.out, "the payload's end")
    assert "90000000" not in out.out
    assert "oom_kill 1" in (directory(place, bundle) / "memory.events").read_text().splitlines()
    runtime.stop(bundle)


@pytest.mark.differs(runc="needs more for its own start")
@pytest.mark.parametrize("namespace", [False, True])
@pytest.mark.parametrize("limit", [8 * MIB, 4 * MIB, 1 * MIB])
def test_small_memory_limits_start(runtime: Runtime, bundle: Bundle, place: Place, limit: int, namespace: bool) -> None:
    bundle.resources(memory={"limit": limit})
    if namespace:
        bundle.namespace("cgroup")
    result = runtime.launch(bundle.script("echo started; exec probe pause"))
    poll(lambda: result.out, "the payload's output")
    assert (directory(place, bundle) / "memory.max").read_text() == f"{limit}\n"
    assert "oom_kill 0" in (directory(place, bundle) / "memory.events").read_text().splitlines()
    assert runtime.ok("exec", bundle.id, "cat", "/proc/self/cgroup").out == (
        "0::/\n" if namespace else f"0::/{place.name}/{bundle.id}\n"
    )
    runtime.stop(bundle)


@pytest.mark.only_ocirt("the words are ours")
def test_too_little_memory_is_said(runtime: Runtime, bundle: Bundle, host_unchanged: Callable[[], Any]) -> None:
    bundle.resources(memory={"limit": 4096}).namespace("cgroup").save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="container init was OOM-killed")


def test_pids_limit_holds(runtime: Runtime, bundle: Bundle) -> None:
    bundle.resources(pids={"limit": 3})
    result = runtime.run(bundle.script("sleep 100 & sleep 100 & echo two; sleep 100 & echo three"))
    assert result.out == "two\n"
    assert "can't fork: Resource temporarily unavailable" in result.err


@pytest.mark.differs(runc="1.1 starts a process of its own in the container")
def test_exec_where_no_more_processes_are_allowed(runtime: Runtime, bundle: Bundle) -> None:
    """As on v1: the limit is one of fork, not of entering."""
    bundle.resources(pids={"limit": 1})
    runtime.launch(bundle.args(*PAUSE))
    assert runtime.ok("exec", bundle.id, "echo", "inside").out == "inside\n"
    runtime.stop(bundle)


def test_cpuset(runtime: Runtime, bundle: Bundle) -> None:
    bundle.resources(cpu={"cpus": "1"})
    assert runtime.inside(bundle, "grep Cpus_allowed_list /proc/self/status").split() == ["Cpus_allowed_list:", "1"]


# -- devices -------------------------------------------------------------------------------------

OPEN = "mknod /tmp/{name} {type} {major} {minor}; if {how} /tmp/{name}; then echo {name} yes; else echo {name} no; fi"


def devices(runtime: Runtime, bundle: Bundle, *rules: dict[str, Any]) -> dict[str, str]:
    """Who may open what."""
    bundle.capabilities("CAP_MKNOD", "CAP_SYSLOG").resources(devices=list(rules))
    script = "exec 2>/dev/null; rd() { (: < $1); }; wr() { (: > $1); };"
    for name, number, how in (
        ("null", "c 1 3", "wr"),
        ("zero", "c 1 5", "rd"),
        ("kmsg", "c 1 11", "rd"),
        ("tty0", "c 4 0", "wr"),
        ("disk-read", "b 259 0", "rd"),
        ("disk-write", "b 259 0", "wr"),
    ):
        kind, major, minor = number.split()
        script += OPEN.format(name=name, type=kind, major=major, minor=minor, how=f"{how}") + ";"
    lines = runtime.inside(bundle, script).splitlines()
    return dict(line.split(" ") for line in lines)


def test_only_the_default_devices(runtime: Runtime, bundle: Bundle) -> None:
    found = devices(runtime, bundle, {"allow": False, "access": "rwm"})
    assert found == {"null": "yes", "zero": "yes", "kmsg": "no", "tty0": "no", "disk-read": "no", "disk-write": "no"}


def test_allowed_devices(runtime: Runtime, bundle: Bundle) -> None:
    found = devices(
        runtime,
        bundle,
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rwm"},
        {"allow": True, "type": "b", "major": 259, "access": "r"},
    )
    assert (found["kmsg"], found["disk-read"], found["disk-write"]) == ("yes", "yes", "no")


def test_everything_allowed(runtime: Runtime, bundle: Bundle) -> None:
    found = devices(runtime, bundle, {"allow": True, "access": "rwm"})
    assert (found["kmsg"], found["disk-read"], found["disk-write"]) == ("yes", "yes", "yes")


def test_without_resources_the_default_devices(runtime: Runtime, bundle: Bundle) -> None:
    bundle.capabilities("CAP_MKNOD", "CAP_SYSLOG")
    script = "exec 2>/dev/null; mknod /tmp/kmsg c 1 11; (: < /tmp/kmsg) && echo open; (: < /dev/zero) && echo zero"
    assert runtime.inside(bundle, f"{script}; true") == "zero\n"


@pytest.mark.only_ocirt("others remove a cgroup they did not make")
def test_device_rules_of_an_earlier_container_are_replaced(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    """The cgroup was there before, so it stays, and its program with it."""
    path = place.cgroup("") / "kept"
    path.mkdir()
    bundle.linux["cgroupsPath"] = f"/{place.name}/kept"
    assert devices(runtime, bundle, {"allow": False, "access": "rwm"})["kmsg"] == "no"
    for name in os.listdir(bundle.root / "tmp"):
        (bundle.root / "tmp" / name).unlink()
    assert devices(runtime, bundle, {"allow": True, "access": "rwm"})["kmsg"] == "yes"
    path.rmdir()


# -- freezer and processes -----------------------------------------------------------------------


def test_pause_freezes(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    runtime.launch(bundle.script("sleep 1000"))
    runtime.ok("pause", bundle.id)
    assert "frozen 1" in (directory(place, bundle) / "cgroup.events").read_text().splitlines()
    assert runtime.status(bundle) == "paused"
    runtime.ok("resume", bundle.id)
    assert "frozen 0" in (directory(place, bundle) / "cgroup.events").read_text().splitlines()
    runtime.stop(bundle)


def test_a_frozen_cgroup_is_refused(
    runtime: Runtime, bundle: Bundle, place: Place, host_unchanged: Callable[[], Any]
) -> None:
    parent = place.cgroup("") / "cold"
    parent.mkdir()
    (parent / "cgroup.freeze").write_text("1")
    bundle.linux["cgroupsPath"] = f"/{place.name}/cold"
    bundle.save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="unexpectedly frozen")
    if parent.exists():
        parent.rmdir()


@pytest.mark.differs(runc="1.1 only warns")
def test_an_occupied_cgroup_is_refused(
    runtime: Runtime, bundle: Bundle, new_bundle: Callable[[], Bundle], place: Place, host_unchanged: Callable[[], Any]
) -> None:
    bundle.linux["cgroupsPath"] = f"/{place.name}/shared"
    runtime.create(bundle.args(*PAUSE))
    other = new_bundle()
    other.linux["cgroupsPath"] = bundle.linux["cgroupsPath"]
    other.save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(other.path), other.id, says="cgroup is not empty: 1 process(es) found")
    runtime.stop(bundle)


@pytest.mark.only_ocirt("the words are ours")
def test_a_parent_with_processes_cannot_give_controllers(
    runtime: Runtime, bundle: Bundle, place: Place, host_unchanged: Callable[[], Any]
) -> None:
    """No Internal Process Constraint: the tests' own process is in this parent."""
    bundle.linux["cgroupsPath"] = f"/{place.name}/tests/{bundle.id}"
    bundle.resources(memory={"limit": 64 * MIB}, pids={"limit": 5}).args(*PAUSE).save()
    with host_unchanged():
        result = runtime.fails(
            "create", "--bundle", str(bundle.path), bundle.id, says="cannot set memory limit: container could not join"
        )
    assert f"{place.cgroup('')}/tests has " in result.last_line
    assert "process(es) of its own" in result.last_line


def test_without_limits_such_a_parent_will_do(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    bundle.linux["cgroupsPath"] = f"/{place.name}/tests/{bundle.id}"
    runtime.create(bundle.args(*PAUSE))
    assert Path(f"/proc/{bundle.pid}/cgroup").read_text() == f"0::/{place.name}/tests/{bundle.id}\n"
    runtime.stop(bundle)
    if runtime.name == "ocirt":  # runc makes it threaded all the same
        assert (place.cgroup("") / "tests/cgroup.type").read_text() == "domain\n"


def test_such_a_parent_becomes_threaded_for_what_counts_threads(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    busy = place.cgroup("") / "busy"
    busy.mkdir()
    sleeper = subprocess.Popen(["sleep", "1000"])
    (busy / "cgroup.procs").write_text(str(sleeper.pid))
    bundle.linux["cgroupsPath"] = f"/{place.name}/busy/{bundle.id}"
    bundle.resources(pids={"limit": 5})
    runtime.create(bundle.args(*PAUSE))
    assert (busy / bundle.id / "pids.max").read_text() == "5\n"
    assert (busy / bundle.id / "cgroup.type").read_text() == "threaded\n"
    runtime.stop(bundle)
    sleeper.kill()
    sleeper.wait()
    place.remove_cgroups("busy")


@pytest.mark.differs(runc="1.1 kills them with --all only, and fails at ps with threads")
@pytest.mark.parametrize("threaded", [False, True])
def test_nested_cgroups(runtime: Runtime, bundle: Bundle, place: Place, threaded: bool) -> None:
    """ps, kill and delete reach what is in cgroups that the container made, threaded ones too."""
    bundle.without_namespace("pid")
    runtime.launch(bundle.script("sleep 1000 & sleep 1000 & wait"))
    top = directory(place, bundle)
    pids = poll(lambda: pids if len(pids := (top / "cgroup.procs").read_text().split()) == 3 else None, "processes")
    inner = top / "inner"
    inner.mkdir()
    if threaded:
        (inner / "cgroup.type").write_text("threaded")
    (inner / "cgroup.procs").write_text(pids[1])
    if threaded:
        with pytest.raises(OSError, match="not supported"):
            (inner / "cgroup.procs").read_text()
    else:
        (inner / "most").mkdir()
        (inner / "most/cgroup.procs").write_text(pids[2])
    assert sorted(json.loads(runtime.ok("ps", "--format", "json", bundle.id).out)) == sorted(map(int, pids))
    runtime.ok("kill", bundle.id, "KILL")
    wait_for(bundle.pid)
    poll(lambda: not any(alive(int(pid)) for pid in pids), "the end of all processes")
    runtime.ok("delete", bundle.id)
    assert not top.exists()


@pytest.mark.only_ocirt("the words are ours")
def test_a_threaded_parent(runtime: Runtime, bundle: Bundle, place: Place, host_unchanged: Callable[[], Any]) -> None:
    """Below it only what counts threads can be limited."""
    parent = place.cgroup("") / "threaded"
    (parent / "t").mkdir(parents=True)
    (parent / "t/cgroup.type").write_text("threaded")
    bundle.linux["cgroupsPath"] = f"/{place.name}/threaded/{bundle.id}"
    bundle.resources(memory={"limit": 64 * MIB}).args(*PAUSE).save()
    with host_unchanged():
        result = runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="cannot set memory limit")
    assert "the cgroup is threaded, and memory needs a domain" in result.last_line
    del bundle.linux["resources"]["memory"]
    bundle.resources(pids={"limit": 9})
    runtime.create(bundle)
    assert (parent / bundle.id / "pids.max").read_text() == "9\n"
    assert runtime.ok("ps", "--format", "json", bundle.id).out.strip() == f"[{bundle.pid}]"
    runtime.stop(bundle)
    place.remove_cgroups("threaded")


# -- exec ----------------------------------------------------------------------------------------


def test_exec_is_born_in_the_containers_cgroup(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    runtime.launch(bundle.args(*PAUSE))
    assert runtime.ok("exec", bundle.id, "cat", "/proc/self/cgroup").out == f"0::/{place.name}/{bundle.id}\n"
    runtime.stop(bundle)


def test_exec_enters_the_cgroup_namespace(runtime: Runtime, bundle: Bundle) -> None:
    """The hierarchy is mounted with nsdelegate: from inside the namespace there is no way into it."""
    assert "nsdelegate" in Path("/proc/mounts").read_text()
    bundle.namespace("cgroup")
    runtime.launch(bundle.args(*PAUSE))
    assert runtime.ok("exec", bundle.id, "cat", "/proc/self/cgroup").out == "0::/\n"
    runtime.stop(bundle)


def test_exec_in_a_user_namespace(runtime: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace().namespace("cgroup")
    runtime.launch(bundle.args(*PAUSE))
    assert runtime.ok("exec", bundle.id, "cat", "/proc/self/cgroup").out == "0::/\n"
    runtime.stop(bundle)


def test_exec_in_a_joined_cgroup_namespace(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    holder = subprocess.Popen(["unshare", "--cgroup", "sleep", "1000"])
    own = Path("/proc/self/ns/cgroup").readlink()
    poll(lambda: Path(f"/proc/{holder.pid}/ns/cgroup").readlink() != own, "the holder's namespace")
    bundle.namespace("cgroup", f"/proc/{holder.pid}/ns/cgroup")
    runtime.launch(bundle.args(*PAUSE))
    seen = runtime.ok("exec", bundle.id, "cat", "/proc/self/cgroup").out
    assert seen == f"0::/../{bundle.id}\n"
    runtime.stop(bundle)
    holder.kill()
    holder.wait()


@pytest.mark.differs(runc="1.1 fails when the container gave controllers away")
def test_exec_goes_where_init_went(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    """As a container with systemd inside does: its processes in a leaf, controllers for those below."""
    runtime.launch(bundle.args(*PAUSE))
    top = directory(place, bundle)
    (top / "leaf").mkdir()
    (top / "leaf/cgroup.procs").write_text(str(bundle.pid))
    (top / "cgroup.subtree_control").write_text("+pids")
    assert runtime.ok("exec", bundle.id, "cat", "/proc/self/cgroup").out == f"0::/{place.name}/{bundle.id}/leaf\n"
    runtime.fails("exec", "--cgroup", "/", bundle.id, "true", code=255, says="")
    runtime.stop(bundle)


@pytest.mark.differs(runc="1.1 fails when the container gave controllers away")
def test_exec_goes_where_init_went_and_no_more_processes_are_allowed(
    runtime: Runtime, bundle: Bundle, place: Place
) -> None:
    """The one refuses a birth because it gave its controllers away, the other because it is full; moving is allowed."""
    runtime.launch(bundle.args(*PAUSE))
    top = directory(place, bundle)
    (top / "leaf").mkdir()
    (top / "leaf/cgroup.procs").write_text(str(bundle.pid))
    (top / "cgroup.subtree_control").write_text("+pids")
    (top / "leaf/pids.max").write_text("1")
    assert runtime.ok("exec", bundle.id, "cat", "/proc/self/cgroup").out == f"0::/{place.name}/{bundle.id}/leaf\n"
    runtime.stop(bundle)


@pytest.mark.differs(runc="needs more for its own start")
def test_exec_goes_where_init_went_with_little_memory(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    bundle.resources(memory={"limit": 4 * MIB})
    runtime.launch(bundle.args(*PAUSE))
    top = directory(place, bundle)
    (top / "leaf").mkdir()
    (top / "leaf/cgroup.procs").write_text(str(bundle.pid))
    (top / "cgroup.subtree_control").write_text("+pids")
    assert runtime.ok("exec", bundle.id, "cat", "/proc/self/cgroup").out == f"0::/{place.name}/{bundle.id}/leaf\n"
    runtime.stop(bundle)


@pytest.mark.only_ocirt("runc 1.1 knows no execCPUAffinity")
def test_affinity_of_exec_and_the_containers_cpuset(runtime: Runtime, bundle: Bundle) -> None:
    """initial is for outside of the cpuset, although the process is born in it."""
    bundle.resources(cpu={"cpus": "1"})
    runtime.launch(bundle.args(*PAUSE))
    arguments = ["/bin/grep", "Cpus_allowed_list", "/proc/self/status"]
    for affinity, allowed in (({"initial": "0"}, "1"), ({"initial": "0", "final": "1"}, "1")):
        path = bundle.process_file("process.json", args=arguments, execCPUAffinity=affinity)
        assert runtime.ok("exec", "--process", str(path), bundle.id).out.split()[1] == allowed
    runtime.stop(bundle)


def test_exec_in_a_sub_cgroup(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    runtime.launch(bundle.args(*PAUSE))
    (directory(place, bundle) / "sub").mkdir()
    out = runtime.ok("exec", "--cgroup", "sub", bundle.id, "cat", "/proc/self/cgroup").out
    assert out == f"0::/{place.name}/{bundle.id}/sub\n"
    for path in ("nonesuch", "../.."):
        runtime.fails("exec", "--cgroup", path, bundle.id, "true", code=255)
    runtime.stop(bundle)


# -- what the container sees ---------------------------------------------------------------------

MOUNT = ("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime")


@pytest.mark.parametrize("how", ["ro", "rw"])
def test_mount_in_a_namespace(runtime: Runtime, bundle: Bundle, how: str) -> None:
    bundle.mount(*MOUNT, how).namespace("cgroup").resources(pids={"limit": 33})
    out = runtime.inside(
        bundle,
        "cat /sys/fs/cgroup/pids.max; mkdir /sys/fs/cgroup/x 2>/dev/null && echo made; "
        "grep ' /sys/fs/cgroup ' /proc/mounts",
    )
    lines = out.splitlines()
    assert lines[0] == "33"
    assert ("made" in lines) == (how == "rw")
    assert lines[-1].startswith(f"cgroup /sys/fs/cgroup cgroup2 {how},nosuid,nodev,noexec,relatime")


@pytest.mark.differs(runc="1.1 takes nsdelegate and memory_recursiveprot from the whole host")
def test_mount_without_a_namespace_shows_the_host(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    """/proc/self/cgroup says the path from the top.  The hierarchy's own options must survive it."""
    options = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup2 " in line]
    bundle.mount(*MOUNT, "ro").resources(pids={"limit": 33})
    out = runtime.inside(
        bundle, "cat /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/pids.max; mkdir /sys/fs/cgroup/x || true"
    )
    assert out == "33\n"
    assert [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup2 " in line] == options


@pytest.mark.differs(runc="1.1 does this with systemd alone")
@pytest.mark.parametrize(("how", "owner"), [("rw", 100007), ("ro", 0)])
def test_ownership(runtime: Runtime, bundle: Bundle, place: Place, how: str, owner: int) -> None:
    """config-linux.md, Cgroup ownership: to the host's number of process.user.uid, only with a writable mount."""
    bundle.user_namespace(host=100000).namespace("cgroup").mount(*MOUNT, how)
    bundle.process["user"] = {"uid": 7, "gid": 7}
    runtime.create(bundle.args(*PAUSE))
    top = directory(place, bundle)
    delegated = Path("/sys/kernel/cgroup/delegate").read_text().split()
    assert {"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} <= set(delegated)
    for name in (".", *(name for name in delegated if (top / name).exists())):
        assert ((top / name).stat().st_uid, (top / name).stat().st_gid) == (owner, 0), name
    for name in ("memory.max", "pids.max", "cgroup.freeze", "cgroup.kill"):
        assert (top / name).stat().st_uid == 0, name
    runtime.start(bundle)
    assert runtime.ok("exec", bundle.id, "cat", "/proc/self/cgroup").out == "0::/\n"
    runtime.stop(bundle)


@pytest.mark.parametrize("lacks", ["namespace", "mount", "destination"])
def test_no_ownership_without(runtime: Runtime, bundle: Bundle, place: Place, lacks: str) -> None:
    """A new cgroup namespace, and a writable mount of cgroups, and that at /sys/fs/cgroup."""
    bundle.user_namespace(host=100000).process["user"] = {"uid": 7, "gid": 7}
    if lacks != "namespace":
        bundle.namespace("cgroup")
    if lacks != "mount":
        target = "/mnt" if lacks == "destination" else MOUNT[0]
        bundle.mount(target, *MOUNT[1:], "rw")
    runtime.create(bundle.args(*PAUSE))
    top = directory(place, bundle)
    assert {file.stat().st_uid for file in (top, *top.iterdir())} == {0}
    runtime.stop(bundle)


@pytest.mark.differs(runc="1.1 does this with systemd alone")
def test_ownership_without_the_kernels_list(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    """Before Linux 4.15 there is no /sys/kernel/cgroup/delegate; it is hidden from the runtime here."""
    bundle.user_namespace(host=100000).namespace("cgroup").mount(*MOUNT, "rw")
    hidden = "mount -t tmpfs none /sys/kernel/cgroup"
    older = runtime.after(
        f'exec unshare --mount --propagation slave sh -c \'{hidden} && exec "$@"\' sh {runtime.command} "$@"'
    )
    older.create(bundle.args(*PAUSE))
    top = directory(place, bundle)
    given = {file.name for file in top.iterdir() if file.stat().st_uid == 100000}
    assert (top.stat().st_uid, given) == (100000, {"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"})
    runtime.stop(bundle)


@pytest.mark.differs(runc="1.1 does this with systemd alone")
def test_a_delegated_cgroup_can_be_divided(runtime: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace(host=100000).namespace("cgroup").mount(*MOUNT, "rw").resources(pids={"limit": 20})
    out = runtime.inside(
        bundle,
        "cd /sys/fs/cgroup; mkdir leaf; echo 0 > leaf/cgroup.procs; echo +pids > cgroup.subtree_control; mkdir b; "
        "cat b/pids.max; cat /proc/self/cgroup; (echo 99 > pids.max) 2>/dev/null || echo kept",
    )
    assert out == "max\n0::/leaf\nkept\n"


# -- events --------------------------------------------------------------------------------------


def test_stats(runtime: Runtime, bundle: Bundle) -> None:
    bundle.resources(memory={"limit": 64 * MIB, "swap": 96 * MIB}, pids={"limit": 20}, cpu={"quota": 50000})
    runtime.launch(bundle.script("dd if=/dev/zero of=/tmp/x bs=1M count=2 2>/dev/null; sync; exec sleep 1000"))
    data = json.loads(runtime.ok("events", "--stats", bundle.id).out)["data"]
    assert data["pids"]["limit"] == 20
    assert data["memory"]["usage"]["limit"] == 64 * MIB
    assert data["memory"]["swap"]["limit"] == 96 * MIB
    assert data["memory"]["swap"]["usage"] >= data["memory"]["usage"]["usage"] > 0
    assert data["memory"]["raw"]["anon"] > 0
    assert data["cpu"]["usage"]["total"] >= data["cpu"]["usage"]["user"]
    if runtime.name == "ocirt":  # runc 1.1 has no pressure
        for controller in ("cpu", "memory", "blkio"):
            assert set(data[controller]["psi"]["some"]) == {"avg10", "avg60", "avg300", "total"}
    runtime.stop(bundle)


def test_out_of_memory(runtime: Runtime, bundle: Bundle) -> None:
    bundle.resources(memory={"limit": 16 * MIB, "swap": 16 * MIB})
    runtime.create(bundle.script("read go < /tmp/go; dd if=/dev/zero of=/dev/null bs=64M count=1; sleep 1000"))
    fifo = bundle.root / "tmp/go"
    os.mkfifo(fifo)
    runtime.start(bundle)
    events = Events(runtime, "--interval", "100ms", bundle.id)
    assert events.next()["type"] == "stats"  # now the watch is set
    fifo.write_text("go\n")
    while (event := events.next())["type"] == "stats":
        pass
    assert event == {"type": "oom", "id": bundle.id}
    runtime.stop(bundle)
    assert events.end() == 0


def test_the_last_process_killed_is_told_and_ends_it(runtime: Runtime, bundle: Bundle) -> None:
    bundle.resources(memory={"limit": 16 * MIB, "swap": 16 * MIB}, unified={"memory.oom.group": "1"})
    runtime.create(bundle.script("read go < /tmp/go; dd if=/dev/zero of=/dev/null bs=64M count=1"))
    fifo = bundle.root / "tmp/go"
    os.mkfifo(fifo)
    runtime.start(bundle)
    events = Events(runtime, "--interval", "100ms", bundle.id)
    assert events.next()["type"] == "stats"
    fifo.write_text("go\n")
    if runtime.name == "ocirt":  # runc looks at the end first
        while (event := events.next())["type"] == "stats":
            pass
        assert event == {"type": "oom", "id": bundle.id}
    assert wait_for(bundle.pid) == 128 + signal.SIGKILL
    assert events.end() == 0
    runtime.ok("delete", bundle.id)


# -- killed at random ----------------------------------------------------------------------------


@pytest.mark.only_ocirt("others leave cgroups, mounts or processes behind")
def test_kills_of_create_leave_nothing(runtime: Runtime, bundle: Bundle, host_unchanged: Callable[[], Any]) -> None:
    """SIGKILL leaves what `delete --force` finds, SIGTERM leaves nothing."""
    bundle.namespace("cgroup").mount(*MOUNT, "ro").resources(memory={"limit": 64 * MIB}, pids={"limit": 20})
    bundle.args(*PAUSE).save()
    begin = time.monotonic()
    runtime.ok("create", "--bundle", str(bundle.path), bundle.id)
    whole = time.monotonic() - begin
    runtime.ok("delete", "--force", bundle.id)
    dice = random.Random(3)
    caught = 0
    for attempt in range(int(os.environ.get("OCIRT_TEST_KILLS", "50"))):
        number = signal.SIGKILL if attempt % 2 else signal.SIGTERM
        with host_unchanged():
            create = subprocess.Popen(
                runtime.arguments("create", "--bundle", str(bundle.path), bundle.id),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                create.wait(dice.uniform(0.0, whole))
            except subprocess.TimeoutExpired:
                create.send_signal(number)
                create.wait()
            caught += create.returncode != 0
            runtime.call("delete", "--force", bundle.id)
    assert caught > 5
