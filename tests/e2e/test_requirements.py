"""Requirements of the specification that no other file shows; spec/requirements.toml names the test of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.host import Place
from tests.support.runtime import Runtime

PAUSE = ("/bin/probe", "pause")
CRUN_CGROUPS = "makes its cgroups elsewhere (/crun)"


# --- bundle.md


def test_config_is_at_the_top_of_the_bundle(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.script("echo ran").save()
    config = bundle.path / "config.json"
    (bundle.path / "inner").mkdir()
    for elsewhere in (bundle.path / "inner/config.json", bundle.path / "config.JSON", bundle.root / "config.json"):
        config.rename(elsewhere)
        with host_unchanged():
            runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="config.json")
        elsewhere.rename(config)
    assert runtime.ok("run", "--bundle", str(bundle.path), bundle.id).out == "ran\n"


# --- config.md: mounts


@pytest.mark.differs(crun="1.8 says nothing of it")
def test_a_relative_destination_is_a_warning(runtime: Runtime, bundle: Bundle) -> None:
    result = runtime.run(bundle.mount("srv", "tmpfs", "tmpfs").script("grep -c ' /srv ' /proc/mounts"))
    assert (result.code, result.out) == (0, "1\n")
    assert "srv" in result.err
    if runtime.name == "ocirt":
        assert (result.err.count("[/mounts/6]"), result.err.count("\n")) == (1, 1)


# --- config.md: mount options


def options_of(runtime: Runtime, bundle: Bundle, target: str) -> set[str]:
    """Of the mount and of its file system, as /proc/self/mountinfo tells them."""
    for line in runtime.inside(bundle, "cat /proc/self/mountinfo").splitlines():
        fields = line.split()
        if fields[4] == target:
            return {*fields[5].split(","), *fields[-1].split(",")}
    raise AssertionError(f"no mount at {target}")


@pytest.mark.differs(crun="1.8 lets the first of two opposites stand")
@pytest.mark.parametrize(
    ("given", "taken_back", "absent"),
    [
        ("sync", "async", "sync"),
        ("nosymfollow", "symfollow", "nosymfollow"),
        ("lazytime", "nolazytime", "lazytime"),
        ("noatime", "atime", "noatime"),
        ("relatime", "norelatime", "noatime"),  # the kernel's default is relatime: the flag alone is gone
        ("ro", "rw", "ro"),
    ],
)
def test_option_takes_back_its_opposite(
    runtime: Runtime, bundle: Bundle, given: str, taken_back: str, absent: str
) -> None:
    seen = options_of(runtime, bundle.mount("/mnt", "tmpfs", "tmpfs", given, taken_back), "/mnt")
    assert absent not in seen


@pytest.mark.differs(crun="1.8 lets the first of two opposites stand")
def test_nostrictatime_is_the_default_again(runtime: Runtime, bundle: Bundle) -> None:
    seen = options_of(runtime, bundle.mount("/mnt", "tmpfs", "tmpfs", "strictatime", "nostrictatime"), "/mnt")
    assert "relatime" in seen


def test_remount_changes_a_mount(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt", "tmpfs", "tmpfs", "nosuid").mount("/mnt", "tmpfs", "tmpfs", "remount", "ro", "nosuid")
    assert {"ro", "nosuid"} <= options_of(runtime, bundle, "/mnt")


@pytest.fixture
def locked(bundle: Bundle) -> Iterator[Path]:
    """A source with a second mount below it; both have every restrictive attribute."""
    source = bundle.path / "source"
    source.mkdir()
    flags = "ro,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow"
    mount("-t", "tmpfs", "tmpfs", source)
    (source / "inner").mkdir()
    mount("-t", "tmpfs", "tmpfs", source / "inner")
    mount("-o", f"remount,bind,{flags}", source / "inner")
    mount("-o", f"remount,bind,{flags}", source)
    yield source
    assert os.spawnlp(os.P_WAIT, "umount", "umount", "-R", str(source)) == 0


def mount(*args: object) -> None:
    assert os.spawnvp(os.P_WAIT, "mount", ["mount", *map(str, args)]) == 0


NOT_IN_RUNC = pytest.mark.differs(runc="1.1 leaves noatime as it was")


@pytest.mark.differs(crun="1.8 does not do all of these")
@pytest.mark.parametrize(
    ("option", "present", "absent"),
    [
        ("rrw", "rw", "ro"),
        ("rsuid", "", "nosuid"),
        ("rdev", "", "nodev"),
        ("rexec", "", "noexec"),
        pytest.param("ratime", "relatime", "noatime", marks=NOT_IN_RUNC),
        ("rdiratime", "", "nodiratime"),
        ("rrelatime", "relatime", "noatime"),
        pytest.param(
            "rnorelatime", "relatime", "noatime", marks=NOT_IN_RUNC
        ),  # what mount_setattr(2) has instead of "not relatime"
        ("rstrictatime", "", "noatime"),
        pytest.param("rnostrictatime", "relatime", "noatime", marks=NOT_IN_RUNC),
        ("rsymfollow", "", "nosymfollow"),
    ],
)
def test_recursive_option_undoes_its_opposite(
    runtime: Runtime, bundle: Bundle, locked: Path, option: str, present: str, absent: str
) -> None:
    bundle.bind(locked, "/mnt", "rbind", option)
    for target in ("/mnt", "/mnt/inner"):
        seen = options_of(runtime, bundle, target)
        assert absent not in seen
        assert not present or present in seen
        if option == "rstrictatime":
            assert "relatime" not in seen


@pytest.mark.differs(crun="1.8 does not do it")
def test_rnosymfollow(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.path / "source").mkdir()
    bundle.bind(bundle.path / "source", "/mnt", "rbind", "rnosymfollow")
    assert "nosymfollow" in options_of(runtime, bundle, "/mnt")


# --- config.md: process


@pytest.mark.only_ocirt("runc 1.1 and crun 1.8 know no process.scheduler")
def test_nice_not_given_is_0(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["scheduler"] = {"policy": "SCHED_BATCH"}
    seen = runtime.after("renice -n 7 -p $$ >&2").probe(bundle)["scheduler"]
    assert (seen["policy"], seen["nice"]) == (3, 0)


@pytest.mark.only_ocirt("runc 1.1 and crun 1.8 know no process.scheduler")
def test_priority_not_given_is_0(runtime: Runtime, bundle: Bundle, realtime_budget: None) -> None:
    """Of SCHED_OTHER, which has no other; so the caller's real-time priority is not kept.  SCHED_FIFO has no 0."""
    bundle.resources(cpu={"realtimeRuntime": 5000, "realtimePeriod": 1000000})
    bundle.process["scheduler"] = {"policy": "SCHED_OTHER"}
    seen = runtime.after(REALTIME).probe(bundle)["scheduler"]
    assert (seen["policy"], seen["priority"], seen["nice"]) == (0, 0, 0)
    bundle.process["scheduler"] = {"policy": "SCHED_FIFO"}
    result = runtime.run(bundle)
    assert (result.code, "[/process/scheduler" in result.last_line) == (1, True), result


REALTIME = "chrt --fifo -p 3 $$ >&2 || exit 77"


@pytest.mark.only_ocirt("runc 1.1 and crun 1.8 know no process.scheduler")
def test_deadline_times_not_given_are_0(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    """sched(7): to the kernel a period of 0 is the deadline; a deadline or a runtime of 0 is no value."""
    times = {"runtime": 1000000, "deadline": 20000000}
    for name in times:
        bundle.process["scheduler"] = {"policy": "SCHED_DEADLINE", **times, "period": 20000000}
        del bundle.process["scheduler"][name]
        bundle.save()
        with host_unchanged():
            runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="[/process/scheduler")
    bundle.process["scheduler"] = {"policy": "SCHED_DEADLINE", **times}
    assert runtime.probe(bundle)["scheduler"]["period"] == 20000000


@pytest.mark.parametrize(
    ("user", "seen"), [(None, "0:0\n"), ({}, "0:0\n"), ({"uid": 7}, "7:0\n"), ({"gid": 8}, "0:8\n")]
)
def test_ids_not_given_are_0(runtime: Runtime, bundle: Bundle, user: dict | None, seen: str) -> None:
    if user is None:
        del bundle.process["user"]
    else:
        bundle.process["user"] = user
    assert runtime.inside(bundle, "echo $(id -u):$(id -g)") == seen


def test_console_size_without_a_terminal_is_ignored(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["consoleSize"] = {"height": 5, "width": 6}
    assert runtime.inside(bundle, "test -t 0 || echo none") == "none\n"


@pytest.mark.differs(crun="refuses", runc="1.1 says nothing of it")
def test_what_the_runtime_lacks_is_a_warning(runtime: Runtime, bundle: Bundle) -> None:
    lacking = runtime.after(f'exec setpriv --bounding-set=-net_raw {runtime.command} "$@"')
    bundle.capabilities("CAP_CHOWN", "CAP_NET_RAW")
    result = lacking.run(bundle.script("grep CapEff /proc/self/status"))
    assert result.code == 0, result
    assert int(result.out.split()[1], 16) == 1
    if runtime.name == "ocirt":
        assert "CAP_NET_RAW" in result.err


@pytest.mark.only_ocirt("runc 1.1 and crun 1.8 know no execCPUAffinity")
@pytest.mark.parametrize(("affinity", "seen"), [({"initial": "1"}, "1"), ({"initial": "0", "final": "1"}, "1")])
def test_affinity_of_exec(runtime: Runtime, bundle: Bundle, affinity: dict, seen: str) -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("one CPU")
    bundle.process["execCPUAffinity"] = affinity
    runtime.launch(bundle.args(*PAUSE))
    assert runtime.sh(bundle, "grep Cpus_allowed_list /proc/self/status").split()[1] == seen
    runtime.stop(bundle)


# --- config.md: hooks


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer", "poststart", "poststop"])
def test_path_of_a_hook_is_of_the_runtime(runtime: Runtime, bundle: Bundle, kind: str) -> None:
    """The container has another file of that name, and cannot see this one."""
    script = bundle.path / "hook"
    script.write_text(f"#!/bin/sh\necho host > {bundle.path}/seen\n")
    script.chmod(0o755)
    inside = bundle.root / str(script).lstrip("/")
    inside.parent.mkdir(parents=True)
    inside.write_text("#!/bin/sh\necho container > /seen\n")
    inside.chmod(0o755)
    runtime.launch(bundle.hook(kind, script).args(*PAUSE))
    runtime.stop(bundle)
    assert (bundle.path / "seen").read_text() == "host\n"
    assert not (bundle.root / "seen").exists()


@pytest.mark.parametrize("kind", ["prestart", "createRuntime"])
def test_mounts_are_made_and_the_root_is_not_yet_changed(runtime: Runtime, bundle: Bundle, kind: str) -> None:
    script = bundle.path / "hook"
    script.write_text(
        "#!/bin/sh\npid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/')\n"
        f"cat /proc/$pid/mountinfo > {bundle.path}/mountinfo\nls /proc/$pid/root/ > {bundle.path}/root-seen\n"
        f"readlink /proc/$pid/ns/net > {bundle.path}/net\n"
    )
    script.chmod(0o755)
    runtime.launch(bundle.hook(kind, script, env=["PATH=/bin:/usr/bin"]).args(*PAUSE))
    network = os.readlink(f"/proc/{bundle.pid}/ns/net")
    runtime.stop(bundle)
    assert f" {bundle.root}/dev/pts " in (bundle.path / "mountinfo").read_text()
    assert set((bundle.path / "root-seen").read_text().split()) >= {"boot", "var"}
    assert (bundle.path / "net").read_text() == f"{network}\n"


@pytest.mark.differs(crun=CRUN_CGROUPS)
def test_poststop_finds_nothing_of_the_container(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    script = bundle.path / "hook"
    group = place.cgroup("pids") / bundle.id
    script.write_text(f"#!/bin/sh\ntest -d {group} && echo cgroup >> {bundle.path}/left\ntouch {bundle.path}/ran\n")
    script.chmod(0o755)
    runtime.launch(bundle.hook("poststop", script).args(*PAUSE))
    assert group.is_dir()
    runtime.stop(bundle)
    assert (bundle.path / "ran").exists()
    assert not (bundle.path / "left").exists()


# --- config-linux.md


@pytest.mark.differs(runc="1.1 needs one", crun="its wrapper has one of its own")
def test_mount_namespace_is_inherited(runtime: Runtime, bundle: Bundle) -> None:
    bundle.without_namespace("mount")
    bundle.config["mounts"] = []
    del bundle.linux["maskedPaths"], bundle.linux["readonlyPaths"]
    runtime.launch(bundle.args(*PAUSE))
    assert os.readlink(f"/proc/{bundle.pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
    runtime.stop(bundle)


@pytest.mark.differs(crun=CRUN_CGROUPS)
@pytest.mark.parametrize("writable", [True, False])
def test_cgroup_stays_the_runtimes(runtime: Runtime, bundle: Bundle, place: Place, writable: bool) -> None:
    """Of version 1: giving it away is not secure."""
    bundle.user_namespace(host=100000).namespace("cgroup")
    if writable:
        bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev")
    runtime.launch(bundle.args(*PAUSE))
    group = place.cgroup("pids") / bundle.id
    assert {(file.stat().st_uid, file.stat().st_gid) for file in (group, *group.iterdir())} == {(0, 0)}
    runtime.stop(bundle)


def test_impossible_cgroups_path(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.linux["cgroupsPath"] = "x" * 5000  # above PATH_MAX
    bundle.save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="file name too long")


@pytest.mark.differs(runc="1.1 takes 0 for no limit", crun=CRUN_CGROUPS)
def test_no_process_is_a_limit_too(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    bundle.resources(pids={"limit": 0})
    runtime.create(bundle.args(*PAUSE))
    assert (place.cgroup("pids") / bundle.id / "pids.max").read_text() == "0\n"
    runtime.stop(bundle)


# --- runtime.md


@pytest.mark.parametrize("status", ["created", "running", "stopped"])
def test_state_adheres_to_the_schema(runtime: Runtime, bundle: Bundle, status: str) -> None:
    pytest.importorskip("jsonschema", reason="the guest has no jsonschema")
    from tests.support.oracle import OFFICIAL, pointers, validator

    bundle.config["annotations"] = {"key": "value"}
    runtime.create(bundle.args(*PAUSE))
    if status != "created":
        runtime.start(bundle)
    if status == "stopped":
        runtime.ok("kill", bundle.id, "KILL")
        runtime.wait(bundle)
    state = runtime.state(bundle)
    runtime.ok("delete", "--force", bundle.id)
    assert pointers(validator(OFFICIAL, "state-schema.json"), state) == set()
    assert state["status"] == status


@pytest.mark.differs(crun="its start succeeds", runc="1.1: its start succeeds")
def test_a_failed_start_hook_stops_the_container(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.root / "fail").write_text("#!/bin/sh\nexit 3\n")
    (bundle.root / "fail").chmod(0o755)
    bundle.hook("startContainer", "/fail").hook("poststop", "/bin/touch", str(bundle.path / "stopped"))
    runtime.create(bundle.script("touch /ran; sleep 1000"))
    runtime.fails("start", bundle.id)
    runtime.wait(bundle)
    assert runtime.status(bundle) == "stopped"
    runtime.ok("delete", bundle.id)
    assert (bundle.path / "stopped").exists()
    assert not (bundle.root / "ran").exists()
