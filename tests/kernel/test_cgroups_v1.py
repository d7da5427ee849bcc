"""The v1 manager against the kernel, in directories of its own that are gone afterwards."""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocirt.cgroups import Manager, Write, claim, manager_from_record, open_manager
from ocirt.cgroups.limits import DEFAULT_DEVICES, limits
from ocirt.config.views import Resources
from ocirt.errors import OcirtError
from ocirt.host import Host, probe_host
from ocirt.kernel import processes

HOST = probe_host()
NAME = f"ocirt-test-{os.getpid()}"

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif("freezer" not in HOST.cgroup_mounts, reason="needs cgroup v1 with a freezer"),
]


@pytest.fixture
def manager() -> Iterator[Manager]:
    """Not created yet."""
    manager = open_manager(HOST, f"/{NAME}/box", "id")
    yield manager
    if manager.exists():
        manager.kill(signal.SIGKILL)
    manager.remove()
    assert not left_over(HOST)


@pytest.fixture
def box(manager: Manager) -> Manager:
    """As create leaves it when init is inside."""
    manager.create()
    manager.release()
    return manager


def left_over(host: Host) -> list[str]:
    mounts = {*host.cgroup_mounts.values(), host.unified_mount} - {""}
    return [path for mount in mounts if os.path.exists(path := f"{mount}/{NAME}")]


def sleeper(manager: Manager) -> int:
    """A process in the manager's cgroups, the way init gets there; returns when it is there."""
    opened = manager.open_for_join()
    ready, tell = os.pipe()
    pid, _ = processes.clone3(0, cgroup=opened.get("", -1))
    if pid == 0:
        for controller, fd in opened.items():
            if controller:
                os.write(fd, b"0")
        os.write(tell, b".")
        signal.pause()
        os._exit(0)
    assert os.read(ready, 1) == b"."
    for fd in (*opened.values(), ready, tell):
        os.close(fd)
    return pid


def reap(pid: int) -> int:
    pidfd = os.pidfd_open(pid)
    ended, _, _ = select.select([pidfd], [], [], 10)
    os.close(pidfd)
    assert ended, f"process {pid} did not end"
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def value(manager: Manager, controller: str, file: str) -> str:
    return Path(manager.paths[controller], file).read_text().strip()


def apply(manager: Manager, **resources: object) -> None:
    manager.write(limits(Resources(resources, "/r"), devices=False))


def test_a_directory_in_every_hierarchy(box: Manager) -> None:
    assert set(box.paths) == {*HOST.cgroup_mounts, *([""] if HOST.unified_mount else [])}
    assert all(path.endswith(f"/{NAME}/box") and os.path.isdir(path) for path in box.paths.values())
    box.remove()
    assert not left_over(HOST)


def test_a_process_joins_every_hierarchy_by_itself(box: Manager) -> None:
    pid = sleeper(box)
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    assert {line.rpartition(":")[2] for line in lines} == {f"/{NAME}/box"}
    assert box.pids() == [pid]
    box.kill(signal.SIGKILL)
    assert reap(pid) == -signal.SIGKILL


def test_joining_waits_for_nothing(box: Manager) -> None:
    """Through cgroup.procs each hierarchy would cost a grace period of at least 7 ms when none was just paid."""
    opened = box.open_for_join()
    result, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        begin = time.perf_counter()
        for controller, fd in opened.items():
            if controller:
                os.write(fd, b"0")
        os.write(tell, str(time.perf_counter() - begin).encode())
        os._exit(0)
    seconds = float(os.read(result, 100))
    assert reap(pid) == 0
    for fd in (*opened.values(), result, tell):
        os.close(fd)
    assert seconds < 0.005


def test_a_foreign_process_is_moved(box: Manager) -> None:
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    box.join(pid)
    assert box.pids() == [pid]
    os.kill(pid, signal.SIGKILL)
    reap(pid)


def test_directories_of_others_stay() -> None:
    theirs = Path(HOST.cgroup_mounts["pids"], NAME)
    (theirs / "box").mkdir(parents=True)
    try:
        manager = open_manager(HOST, f"/{NAME}/box", "id")
        manager.create()
        manager.remove()
        assert left_over(HOST) == [str(theirs)]
        assert (theirs / "box").is_dir()
    finally:
        (theirs / "box").rmdir()
        theirs.rmdir()


def test_a_cgroup_that_was_there_before_stays_without_a_mark(manager: Manager) -> None:
    home = Path(manager.home())
    home.mkdir(parents=True)
    manager.create()
    assert os.getxattr(home, "trusted.ocirt") == manager.token.encode()
    manager.release()
    manager_from_record(manager.record()).remove()
    assert left_over(HOST) == [str(home.parent)]
    assert os.listxattr(home) == []
    home.rmdir()
    home.parent.rmdir()


def test_what_the_container_made_below_goes_too(box: Manager) -> None:
    (Path(box.paths["pids"]) / "a" / "b").mkdir(parents=True)
    manager_from_record(box.record()).remove()
    assert not left_over(HOST)


def test_a_deep_tree_of_the_container_goes_too(box: Manager) -> None:
    """Deeper than PATH_MAX allows to name, and than Python may recurse."""
    fd = os.open(box.paths["name=systemd"], os.O_RDONLY)
    for _ in range(2500):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    box.remove()
    assert not left_over(HOST)


def test_a_parent_that_others_use_by_now_stays(box: Manager) -> None:
    other = open_manager(HOST, f"/{NAME}/other", "id")
    other.create()
    box.remove()
    assert other.exists()
    other.remove()
    assert sorted(left_over(HOST)) == sorted({str(Path(path).parent) for path in box.paths.values()})
    for path in box.paths.values():
        Path(path).parent.rmdir()


def test_cpuset_is_filled_from_above(box: Manager) -> None:
    mount = HOST.cgroup_mounts["cpuset"]
    for file in ("cpuset.cpus", "cpuset.mems"):
        assert value(box, "cpuset", file) == Path(mount, file).read_text().strip() != ""


def test_only_one_at_once_is_created_in_a_cgroup(manager: Manager) -> None:
    """The second must see the first although no process is inside yet, and its undo must take nothing of it."""
    manager.create()
    second = open_manager(HOST, f"/{NAME}/box", "id")
    with pytest.raises(OcirtError) as caught:
        second.create()
    assert (caught.value.code, caught.value.what, caught.value.at) == (
        "cgroup",
        "container's cgroup is in use: another container is being created in it",
        "/linux/cgroupsPath",
    )
    second.remove()
    assert all(os.path.isdir(path) for path in manager.paths.values())
    manager.release()
    third = open_manager(HOST, f"/{NAME}/box", "id")
    third.create()  # the first has ended: nobody is inside
    assert third.made == []
    third.release()


def test_whoever_makes_the_directory_has_its_lock(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the two acts of the first a second one comes: it must wait, not take what the first has made."""
    (heard, tell), (wait, go) = os.pipe(), os.pipe()
    flock, sleep, other = claim.fcntl.flock, time.sleep, []

    def second() -> None:
        claim.fcntl.flock = flock
        claim.time.sleep = lambda seconds: (os.write(tell, b"w"), sleep(seconds))
        try:
            open_manager(HOST, f"/{NAME}/box", "id").create()
        except OcirtError:
            os._exit(7)
        os.write(tell, b"c")
        os.close(go)
        os.read(wait, 1)  # with the lock
        os._exit(0)

    def flock_after_the_other_came(fd: int, operation: int) -> None:
        if not other and os.readlink(f"/proc/self/fd/{fd}") == f"{manager.home()}/cgroup.procs":
            other.append(os.fork())
            if other == [0]:
                second()
            assert os.read(heard, 1) in (b"w", b"c")
        flock(fd, operation)

    monkeypatch.setattr(claim.fcntl, "flock", flock_after_the_other_came)
    manager.create()
    os.write(go, b".")
    assert reap(other[0]) == 7
    assert manager.home() in manager.made
    for fd in (heard, tell, wait, go):
        os.close(fd)


def test_the_lock_ends_with_whoever_had_it(manager: Manager) -> None:
    pid = os.fork()
    if pid == 0:
        open_manager(HOST, f"/{NAME}/box", "id").create()
        os._exit(0)
    assert reap(pid) == 0
    manager.create()
    assert manager.made == []
    manager.made = sorted(manager.paths.values())  # for the fixture
    manager.made = [str(Path(path).parent) for path in manager.made] + manager.made


def test_what_another_container_has_by_now_is_left_alone(box: Manager) -> None:
    later = open_manager(HOST, f"/{NAME}/box", "id")
    later.create()
    earlier = manager_from_record(box.record())
    assert not earlier.ours()
    earlier.remove()  # while the later one is being created
    assert all(os.path.isdir(path) for path in box.paths.values())
    later.release()
    pid = sleeper(later)
    earlier.remove()
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    assert later.pids() == [pid]
    assert later.ours()
    later.kill(signal.SIGKILL)
    reap(pid)
    later.remove()  # not made by it, but left to it
    assert not later.exists()
    assert not left_over(HOST)


def test_a_directory_that_a_delete_takes_away_is_made_again(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    flock, removed = claim.fcntl.flock, []

    def slow_flock(fd: int, operation: int) -> None:
        directory = os.readlink(f"/proc/self/fd/{fd}").removesuffix("/cgroup.procs")
        if not removed and directory == manager.home():
            removed.append(directory)
            os.rmdir(directory)
        flock(fd, operation)

    monkeypatch.setattr(claim.fcntl, "flock", slow_flock)
    manager.create()
    assert removed == [manager.home()]
    assert all(os.path.isdir(path) for path in manager.paths.values())


def test_a_used_cgroup_is_refused(box: Manager) -> None:
    pid = sleeper(box)
    again = open_manager(HOST, f"/{NAME}/box", "id")
    with pytest.raises(OcirtError) as caught:
        again.create()
    assert (caught.value.code, caught.value.at) == ("cgroup", "/linux/cgroupsPath")
    assert caught.value.what == "container's cgroup is not empty: 1 process(es) found"
    assert again.made == []
    again.remove()
    box.kill(signal.SIGKILL)
    reap(pid)


def test_a_frozen_cgroup_is_refused(box: Manager) -> None:
    box.freeze(True)
    again = open_manager(HOST, f"/{NAME}/box", "id")
    with pytest.raises(OcirtError) as caught:
        again.create()
    assert caught.value.what == "container's cgroup unexpectedly frozen"
    again.remove()
    box.freeze(False)


def test_freeze_and_thaw(box: Manager) -> None:
    pid = sleeper(box)
    assert not box.frozen()
    box.freeze(True)
    assert box.frozen()
    os.kill(pid, signal.SIGTERM)
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    box.freeze(False)
    assert not box.frozen()
    assert reap(pid) == -signal.SIGTERM


def test_sigkill_reaches_a_frozen_cgroup_and_those_below(box: Manager) -> None:
    first, second = sleeper(box), sleeper(box)
    below = Path(box.paths["freezer"], "below")
    below.mkdir()
    (below / "cgroup.procs").write_text(str(second))
    assert box.pids() == sorted((first, second))
    box.freeze(True)
    box.kill(signal.SIGKILL)
    assert [reap(first), reap(second)] == [-signal.SIGKILL] * 2


def test_other_signals_leave_a_frozen_cgroup_frozen(box: Manager) -> None:
    pid = sleeper(box)
    box.freeze(True)
    box.kill(signal.SIGTERM)
    assert box.frozen()
    box.freeze(False)
    assert reap(pid) == -signal.SIGTERM


def test_removal_waits_for_a_process_that_is_exiting(box: Manager) -> None:
    pid = sleeper(box)
    os.kill(pid, signal.SIGKILL)
    box.remove()
    assert not box.exists()
    assert reap(pid) == -signal.SIGKILL


def test_removal_of_a_used_cgroup_says_who_is_in_it(box: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocirt.cgroups.files.REMOVE_DEADLINE", 0.05)
    pid = sleeper(box)
    with pytest.raises(OcirtError) as caught:
        box.remove()
    assert (caught.value.code, caught.value.errno) == ("cgroup", errno.EBUSY)
    assert caught.value.what.endswith("1 process(es) left in it")
    box.kill(signal.SIGKILL)
    reap(pid)


def test_nothing_left_is_no_error(box: Manager) -> None:
    box.remove()
    box.remove()
    assert (box.exists(), box.pids(), box.frozen()) == (False, [], False)


def test_memory_limits_up_and_down_in_any_order(box: Manager) -> None:
    """The kernel wants limit <= limit with swap at every moment."""
    for limit, swap in ((64 << 20, 128 << 20), (256 << 20, 256 << 20), (16 << 20, 32 << 20), (-1, -1), (8 << 20, 0)):
        apply(box, memory={"limit": limit, "swap": swap})
        if limit > 0:
            assert value(box, "memory", "memory.limit_in_bytes") == str(limit)
        if swap > 0 and os.path.exists(f"{box.paths['memory']}/memory.memsw.limit_in_bytes"):
            assert value(box, "memory", "memory.memsw.limit_in_bytes") == str(swap)


def test_cpu_quota_and_period_in_any_order(box: Manager) -> None:
    for quota, period in ((50000, 100000), (900000, 1000000), (2000, 2000), (-1, 100000)):
        apply(box, cpu={"quota": quota, "period": period})
        assert value(box, "cpu", "cpu.cfs_quota_us") == str(quota)
        assert value(box, "cpu", "cpu.cfs_period_us") == str(period)


@pytest.mark.parametrize(
    ("resources", "controller", "file", "expected"),
    [
        ({"pids": {"limit": 0}}, "pids", "pids.max", "0"),
        ({"pids": {"limit": -1}}, "pids", "pids.max", "max"),
        ({"cpu": {"shares": 2}}, "cpu", "cpu.shares", "2"),
        ({"cpu": {"idle": 1, "shares": 500}}, "cpu", "cpu.idle", "1"),
        ({"cpu": {"cpus": "0"}}, "cpuset", "cpuset.cpus", "0"),
        ({"memory": {"reservation": 1 << 20}}, "memory", "memory.soft_limit_in_bytes", str(1 << 20)),
        ({"memory": {"swappiness": 7}}, "memory", "memory.swappiness", "7"),
    ],
)
def test_limits_arrive(box: Manager, resources: dict[str, object], controller: str, file: str, expected: str) -> None:
    apply(box, **resources)
    assert value(box, controller, file) == expected


def test_oom_killer_switched_off(box: Manager) -> None:
    apply(box, memory={"disableOOMKiller": True})
    assert value(box, "memory", "memory.oom_control").splitlines()[0] == "oom_kill_disable 1"


@pytest.mark.parametrize(
    ("shares", "bound"),
    [(1, "minimum allowed cpu-shares is 2"), (262145, "maximum allowed cpu-shares is 262144")],
)
def test_clamped_shares_are_refused(box: Manager, shares: int, bound: str) -> None:
    with pytest.raises(OcirtError) as caught:
        apply(box, cpu={"shares": shares})
    assert (caught.value.what, caught.value.at) == (f"the {bound}", "/r/cpu/shares")


def test_refused_value_names_file_and_setting(box: Manager) -> None:
    with pytest.raises(OcirtError) as caught:
        apply(box, cpu={"cpus": "0-99999"})
    error = caught.value
    assert (error.code, error.at, error.call) == ("cgroup", "/r/cpu/cpus", "write")
    assert error.errno in (errno.EINVAL, errno.ERANGE)
    assert error.detail == f"{box.paths['cpuset']}/cpuset.cpus"


def test_default_devices(box: Manager) -> None:
    box.write(limits(None))
    assert sorted(value(box, "devices", "devices.list").splitlines()) == sorted(DEFAULT_DEVICES)


def test_device_rules_end_in_what_was_asked(box: Manager) -> None:
    rules = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "b", "major": 8, "access": "rw"},
        {"allow": False, "type": "b", "major": 8, "access": "w"},
    ]
    box.write(limits(Resources({"devices": rules})))
    assert "b 8:* r" in value(box, "devices", "devices.list").splitlines()
    box.write(limits(Resources({"devices": [{"allow": True, "access": "rwm"}]})))
    assert value(box, "devices", "devices.list") == "a *:* rwm"


def test_present_values_are_the_way_back(box: Manager) -> None:
    changes = limits(
        Resources({"memory": {"limit": 8 << 20, "swap": 8 << 20}, "pids": {"limit": 3}, "cpu": {"quota": 5000}}),
        devices=False,
    )
    names = [(write.controller, write.file) for write in changes]
    before = [value(box, *name) for name in names]
    back = box.read(changes)
    box.write(changes)
    assert [value(box, *name) for name in names] != before
    box.write(back)
    assert [value(box, *name) for name in names] == before


def test_limit_below_what_is_used(box: Manager) -> None:
    pid = sleeper(box)
    with pytest.raises(OcirtError) as caught:
        box.write([Write("memory.limit_in_bytes", "4096", "/limit", "memory")])
    assert caught.value.errno == errno.EBUSY
    assert caught.value.what.startswith("unable to set memory limit to 4096 (current usage: ")
    box.kill(signal.SIGKILL)
    reap(pid)


def test_usage_counts(box: Manager) -> None:
    pid = sleeper(box)
    apply(box, pids={"limit": 9}, memory={"limit": 64 << 20})
    usage = box.usage()
    assert usage["pids"] == {"current": 1, "limit": 9}
    assert usage["memory"]["usage"]["limit"] == 64 << 20
    assert usage["memory"]["raw"]["hierarchical_memory_limit"] == 64 << 20
    assert len(usage["cpu"]["usage"]["percpu"]) >= len(usage["cpuset"]["cpus"])
    box.kill(signal.SIGKILL)
    reap(pid)


def test_oom_watch(box: Manager) -> None:
    apply(box, memory={"limit": 4 << 20, "swap": 4 << 20})
    watch = box.watch_oom()
    assert watch.read() == 0
    pid = os.fork()
    if pid == 0:
        Path(box.paths["memory"], "cgroup.procs").write_text("0")
        bytearray(64 << 20)[::4096] = b"x" * (64 << 8)
        os._exit(0)
    assert reap(pid) == -signal.SIGKILL
    assert select.select([watch.fd], [], [], 10)[0] == [watch.fd]
    assert watch.read() == 1
    box.remove()
    assert select.select([watch.fd], [], [], 10)[0] == [watch.fd]
    assert watch.read() is None
    os.close(watch.fd)
