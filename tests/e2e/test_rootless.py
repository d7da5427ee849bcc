"""Containers of an ordinary user, without any right over cgroups: with ranges of ids, and with one id alone."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ocirt.seccomp.architectures import ABIS
from tests.support.agent import Agent
from tests.support.bundles import Bundle
from tests.support.host import alive
from tests.support.runtime import NAME, ConsoleSocket, Result, read_until
from tests.support.user import COUNT, FIRST, GID, UID, User, UserRuntime


@pytest.fixture
def runtime(user: User, tmp_path: Path) -> UserRuntime:
    user.give_ranges(True)
    return UserRuntime(tmp_path, user)


@pytest.fixture
def one_id(user: User, bundle: Bundle) -> Bundle:
    return user.bundle(bundle)


@pytest.fixture
def many_ids(user: User, bundle: Bundle) -> Bundle:
    return user.bundle(bundle, ranges=True)


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


# -- ids -----------------------------------------------------------------------------------------


def test_one_id(runtime: UserRuntime, one_id: Bundle) -> None:
    script = "id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups"
    found = lines(runtime.inside(one_id, script))
    assert found == [["0"], ["0"], ["0", str(UID), "1"], ["0", str(GID), "1"], ["deny"]]


def test_ranges(runtime: UserRuntime, many_ids: Bundle) -> None:
    found = lines(runtime.inside(many_ids, "cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups"))
    rest = ["1", str(FIRST), str(COUNT)]
    assert found == [["0", str(UID), "1"], rest, ["0", str(GID), "1"], rest, ["allow"]]


@pytest.mark.differs(runc="1.1 knows no time namespaces", crun="1.8 sets none for a user")
@pytest.mark.parametrize("ranges", [False, True])
def test_time_offsets(runtime: UserRuntime, one_id: Bundle, user: User, ranges: bool) -> None:
    """They are the right of who owns the time namespace: the container's own user namespace."""
    bundle = user.bundle(one_id, ranges=True) if ranges else one_id
    bundle.namespace("time").linux["timeOffsets"] = {"boottime": {"secs": 1000000}, "monotonic": {"secs": 500}}
    script = "cat /proc/self/timens_offsets; cat /proc/uptime; cat /proc/self/uid_map"
    monotonic, boottime, uptime, *maps = lines(runtime.inside(bundle, script))
    assert (monotonic, boottime) == (["monotonic", "500", "0"], ["boottime", "1000000", "0"])
    assert float(uptime[0]) > 1000000
    assert maps[0] == ["0", str(UID), "1"]


def test_a_file_of_another_user(runtime: UserRuntime, many_ids: Bundle) -> None:
    many_ids.process["user"] = {"uid": 33, "gid": 44}
    runtime.inside(many_ids, "touch /tmp/mine; test $(id -u) = 33 -a $(id -g) = 44")
    status = (many_ids.root / "tmp/mine").stat()
    assert (status.st_uid, status.st_gid) == (FIRST + 32, FIRST + 43)


@pytest.mark.differs(runc="refuses supplementary groups of any rootless container")
def test_supplementary_groups(runtime: UserRuntime, many_ids: Bundle) -> None:
    many_ids.process["user"]["additionalGids"] = [10, 20]
    assert runtime.inside(many_ids, "id -G").split() == ["0", "10", "20"]


def test_supplementary_groups_without_the_right(runtime: UserRuntime, one_id: Bundle) -> None:
    one_id.linux["gidMappings"].append({"containerID": 10, "hostID": GID + 1, "size": 1})
    one_id.process["user"]["additionalGids"] = [10]
    assert runtime.run(one_id).code != 0


@pytest.mark.differs(runc="wants the user's own id in the map")
def test_only_subordinate_ids(runtime: UserRuntime, one_id: Bundle) -> None:
    """The user's own id need not be in the map: then the container cannot touch the user's files."""
    one_id.user_namespace(FIRST, 1000)
    assert lines(runtime.inside(one_id, "cat /proc/self/uid_map")) == [["0", str(FIRST), "1000"]]


@pytest.mark.differs(runc="wants an id 0 in the map")
def test_no_root_inside(runtime: UserRuntime, one_id: Bundle) -> None:
    for which in ("uidMappings", "gidMappings"):
        one_id.linux[which][0]["containerID"] = 1000
    one_id.process["user"] = {"uid": 1000, "gid": 1000}
    assert runtime.inside(one_id, "id -u; id -g").split() == ["1000", "1000"]


@pytest.mark.parametrize("which", ["uidMappings", "gidMappings"])
@pytest.mark.parametrize("host_id", [0, FIRST + COUNT])
def test_ids_of_others_are_refused(
    runtime: UserRuntime, user: User, many_ids: Bundle, which: str, host_id: int
) -> None:
    """Neither root's nor the next user's; the tool decides, and its words are in the error."""
    user.bundle(many_ids)  # without gid=5
    many_ids.linux[which] = [{"containerID": 0, "hostID": host_id, "size": 2}]
    result = runtime.run(many_ids)
    assert result.code == 1
    if NAME == "ocirt":
        assert "not allowed" in result.last_line
        assert "usermod --add-subuids" in result.last_line
        assert f"[/linux/{which}]" in result.last_line
    assert not list(runtime.root.iterdir())


@pytest.mark.only_ocirt("the remedy is its own")
def test_no_ranges(runtime: UserRuntime, user: User, many_ids: Bundle) -> None:
    user.give_ranges(False)
    assert "usermod --add-subuids" in runtime.run(many_ids).last_line


@pytest.mark.only_ocirt("runc looks for the tools in PATH")
def test_the_tools_of_the_callers_path_are_not_run(user: User, many_ids: Bundle, tmp_path: Path) -> None:
    """A program in PATH is not called, although the caller may write what they like there."""
    mark = user.home / "called"
    for name in ("newuidmap", "newgidmap"):
        program = user.home / name
        program.write_text(f"#!/bin/sh\ntouch {mark}\n")
        program.chmod(0o755)
    runtime = UserRuntime(tmp_path, user, PATH=f"{user.home}:{os.environ['PATH']}")
    assert lines(runtime.inside(many_ids, "cat /proc/self/uid_map"))[1] == ["1", str(FIRST), str(COUNT)]
    assert not mark.exists()


@pytest.mark.only_ocirt("the remedy is its own")
def test_a_tool_without_its_rights(runtime: UserRuntime, user: User, many_ids: Bundle) -> None:
    plain = user.home / "newuidmap-plain"
    plain.write_bytes(Path("/usr/bin/newuidmap").read_bytes())
    plain.chmod(0o755)
    subprocess.run(["mount", "--bind", plain, "/usr/bin/newuidmap"], check=True, timeout=30)
    try:
        result = runtime.run(many_ids)
    finally:
        subprocess.run(["umount", "/usr/bin/newuidmap"], check=True, timeout=30)
    assert result.code == 1
    assert "newuidmap must be setuid root" in result.last_line


@pytest.mark.only_ocirt("the remedy is its own")
def test_no_more_user_namespaces(runtime: UserRuntime, one_id: Bundle, tmp_path: Path) -> None:
    for which in ("uidMappings", "gidMappings"):
        one_id.linux[which][0]["hostID"] = 0
    limit = "unshare -Ur sh -c 'echo 0 >/proc/sys/user/max_user_namespaces; exec \"$@\"' sh"
    runtime.command = inside(runtime, limit, tmp_path)
    result = runtime.run(one_id)
    assert result.code == 1
    assert "[/linux/namespaces] - the sysctl user.max_user_namespaces is 0, " in result.last_line


def test_the_container_is_not_the_machines_root(runtime: UserRuntime, one_id: Bundle, tmp_path: Path) -> None:
    """What only root may read stays unreadable through a bind, and what the container makes is the user's."""
    secret = tmp_path / "secret"
    secret.write_text("for root")
    secret.chmod(0o600)
    tmp_path.chmod(0o755)
    shared = one_id.path / "shared"
    shared.mkdir()
    os.chown(shared, UID, GID)
    one_id.bind(shared, "/shared")
    runtime.inside(one_id, "touch /shared/new; chmod u+s /shared/new; chown 0:0 /shared/new")
    made = (shared / "new").stat()
    assert (made.st_uid, made.st_gid) == (UID, GID)
    assert runtime.run(one_id.bind(secret, "/secret").script("cat /secret")).code != 0


# -- file systems and devices --------------------------------------------------------------------


def test_devices_are_the_hosts(runtime: UserRuntime, one_id: Bundle) -> None:
    script = "for n in null zero full random urandom tty; do stat -c '%t:%T %F' /dev/$n; done; echo x >/dev/null"
    numbers = [line.split()[0] for line in runtime.inside(one_id, script).splitlines()]
    assert numbers == ["1:3", "1:5", "1:7", "1:8", "1:9", "5:0"]


@pytest.mark.differs(crun="fails: it wants rights over the host's mount namespace")
def test_a_device_of_the_configuration_is_bound(runtime: UserRuntime, one_id: Bundle) -> None:
    one_id.linux["devices"] = [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]
    assert runtime.inside(one_id, "stat -c %t:%T /dev/kmsg").split() == ["1:b"]


@pytest.mark.differs(runc="binds whatever has the name", crun="cannot bind this one at all")
def test_a_device_of_another_number_is_refused(runtime: UserRuntime, one_id: Bundle) -> None:
    one_id.linux["devices"] = [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 12}]
    one_id.save()
    runtime.fails("run", "--bundle", str(one_id.path), one_id.id, says="exists and is another file")


@pytest.mark.differs(runc="fails: it does not fall back")
def test_sysfs_of_the_hosts_network(runtime: UserRuntime, one_id: Bundle) -> None:
    """A new sysfs needs a network namespace of its own: the host's is bound, read-only with all below it."""
    one_id.without_namespace("network")
    text = runtime.inside(one_id, "cat /proc/self/mountinfo")
    below = [line for line in text.splitlines() if line.split()[4].startswith("/sys") and "firmware" not in line]
    assert below[0].split(" - ")[1].split()[0] == "sysfs"
    assert len(below) > 1  # the cgroup hierarchies at least
    assert all(line.split()[5].split(",")[0] == "ro" for line in below if NAME == "ocirt")
    assert NAME != "ocirt" or {"nosuid", "nodev", "noexec"} <= set(below[0].split()[5].split(","))


def test_own_network(runtime: UserRuntime, one_id: Bundle) -> None:
    text = runtime.inside(one_id, "ip addr show lo; ls /sys/class/net; grep ' /sys ' /proc/self/mountinfo")
    assert "127.0.0.1" in text
    assert " - sysfs " in text


def test_a_cgroup_mount(runtime: UserRuntime, one_id: Bundle) -> None:
    """Without a cgroup of its own the container sees the runtime's, read-only."""
    one_id.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro", "nosuid", "noexec", "nodev")
    script = "grep ' /sys/fs/cgroup/' /proc/self/mountinfo; mkdir /sys/fs/cgroup/pids/x 2>/dev/null || echo refused"
    text = runtime.inside(one_id, script)
    assert text.splitlines()[-1] == "refused"
    hierarchies = [line for line in text.splitlines() if " - cgroup" in line]
    assert hierarchies
    assert all(line.split()[5].split(",")[0] == "ro" for line in hierarchies)


@pytest.fixture
def locked(user: User) -> Iterator[Path]:
    """A mount whose flags no user may take away."""
    path = user.home / "locked"
    path.mkdir()
    options = "nosuid,nodev,noexec,noatime,mode=777"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True, timeout=30)
    yield path
    subprocess.run(["umount", path], check=True, timeout=30)
    path.rmdir()


@pytest.mark.differs(runc="1.1 cannot keep a locked noatime")
def test_locked_flags_stay(runtime: UserRuntime, one_id: Bundle, locked: Path) -> None:
    """A bind of what is nosuid and nodev on the host stays so, whatever else is asked of it."""
    text = runtime.inside(one_id.bind(locked, "/mnt", "bind", "ro"), "grep ' /mnt ' /proc/self/mountinfo")
    assert {"ro", "nosuid", "nodev", "noexec", "noatime"} <= set(text.split()[5].split(","))


@pytest.mark.differs(runc="1.1 leaves the flags as they are; later ones refuse", crun="leaves the flags as they are")
@pytest.mark.parametrize("option", ["suid", "dev", "exec"])
def test_locked_flags_cannot_be_cleared(runtime: UserRuntime, one_id: Bundle, locked: Path, option: str) -> None:
    one_id.bind(locked, "/mnt", "bind", option).script("true")
    assert runtime.run(one_id).code == 1


@pytest.mark.parametrize("kind", ["uid", "gid"])
def test_mount_options_with_unmapped_ids(runtime: UserRuntime, one_id: Bundle, kind: str) -> None:
    one_id.mount("/a", "tmpfs", "tmpfs", f"{kind}=7").save()
    says = f"cannot specify {kind}= mount options for unmapped {kind} in rootless containers"
    runtime.fails("run", "--bundle", str(one_id.path), one_id.id, says=says)


def test_gid_5_where_it_is_mapped(runtime: UserRuntime, many_ids: Bundle) -> None:
    assert "gid=" in runtime.inside(many_ids, "grep ' /dev/pts ' /proc/self/mountinfo")


# -- limits and scores -----------------------------------------------------------------------------


def test_no_user_namespace(runtime: UserRuntime, one_id: Bundle) -> None:
    one_id.without_namespace("user")
    for which in ("uidMappings", "gidMappings"):
        del one_id.linux[which]
    one_id.save()
    if NAME != "crun":  # which adds one
        says = "rootless container requires user namespaces"
        runtime.fails("run", "--bundle", str(one_id.path), one_id.id, says=says)


@pytest.mark.differs(crun="ignores the limit without a cgroup, with a warning")
def test_a_limit_needs_a_cgroup(runtime: UserRuntime, one_id: Bundle) -> None:
    one_id.resources(pids={"limit": 10}).save()
    says = "cannot set pids limit: container could not join or create cgroup"
    runtime.fails("run", "--bundle", str(one_id.path), one_id.id, says=says)


def test_a_place_needs_rights(runtime: UserRuntime, one_id: Bundle) -> None:
    one_id.linux["cgroupsPath"] = "/ocirt-rootless"
    one_id.save()
    runtime.fails("run", "--bundle", str(one_id.path), one_id.id, says="permission denied")


def test_device_rules_are_left_out(runtime: UserRuntime, one_id: Bundle) -> None:
    one_id.resources(devices=[{"allow": False, "access": "rwm"}])
    assert runtime.inside(one_id, "echo fine") == "fine\n"


@pytest.mark.differs(crun="accepts the option and ignores it")
def test_who_says_rootless_false_wants_a_cgroup(runtime: UserRuntime, one_id: Bundle) -> None:
    one_id.args("true").save()
    bundle = ("--bundle", str(one_id.path), one_id.id)
    runtime.fails("run", *bundle, options=("--rootless", "false"), says="permission denied")
    runtime.ok("run", *bundle, options=("--rootless", "true"))


def test_oom_score(runtime: UserRuntime, one_id: Bundle) -> None:
    one_id.process["oomScoreAdj"] = 500
    assert runtime.inside(one_id, "cat /proc/self/oom_score_adj") == "500\n"


@pytest.mark.differs(runc="1.1 leaves it alone at exec", crun="1.8 leaves it alone at exec")
def test_oom_score_of_exec(runtime: UserRuntime, one_id: Bundle) -> None:
    one_id.process["oomScoreAdj"] = 500
    runtime.launch(one_id.args("sleep", "1000"))
    process = one_id.process_file("process.json", args=["/bin/cat", "/proc/self/oom_score_adj"], oomScoreAdj=501)
    process.chmod(0o644)
    out = [runtime.sh(one_id, "cat /proc/self/oom_score_adj"), runtime.ok("exec", "-p", str(process), one_id.id).out]
    runtime.stop(one_id)
    assert out == ["500\n", "501\n"]


@pytest.mark.parametrize("setting", ["oomScoreAdj", "rlimits"])
def test_what_only_root_may_raise(runtime: UserRuntime, one_id: Bundle, setting: str) -> None:
    huge = 1 << 40
    one_id.process.update(
        {"oomScoreAdj": -500}
        if setting == "oomScoreAdj"
        else {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": huge, "hard": huge}]}
    )
    assert runtime.run(one_id).code == 1


# -- the verbs -----------------------------------------------------------------------------------


def test_the_state_is_the_users(runtime: UserRuntime, user: User, one_id: Bundle) -> None:
    runtime.launch(one_id.args("sleep", "1000"))
    status = runtime.root.stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (UID, 0o1700 if NAME != "crun" else 0o700)
    assert one_id.id in os.listdir(user.runtime_dir / NAME)


@pytest.mark.parametrize("ranges", [False, True])
def test_life(runtime: UserRuntime, user: User, bundle: Bundle, ranges: bool) -> None:
    """create, start, exec, kill, delete; the process of another id too can be signalled."""
    user.bundle(bundle, ranges=ranges)
    if ranges:
        bundle.process["user"] = {"uid": 33, "gid": 33}
    runtime.create(bundle.args("sleep", "1000"))
    assert runtime.status(bundle) == "created"
    runtime.start(bundle)
    assert runtime.status(bundle) == "running"
    assert bundle.id in runtime.ok("list").out
    assert runtime.sh(bundle, "hostname; id -u").split() == ["ocirt-e2e", "33" if ranges and NAME != "crun" else "0"]
    assert runtime.exec(bundle, "ID", "sh", "-c", "exit 7").code == 7
    runtime.fails("delete", bundle.id, says="is not stopped")
    runtime.ok("kill", bundle.id, "KILL")
    assert runtime.wait(bundle) == 128 + 9
    runtime.ok("delete", bundle.id)
    assert not alive(bundle.pid)


def test_delete_force(runtime: UserRuntime, many_ids: Bundle) -> None:
    runtime.launch(many_ids.args("sleep", "1000"))
    runtime.ok("delete", "--force", many_ids.id)
    assert not alive(many_ids.pid)


def test_exec_is_in_the_same_namespaces(runtime: UserRuntime, many_ids: Bundle) -> None:
    runtime.launch(many_ids.args("sleep", "1000"))
    kinds = "user mnt pid net ipc uts"
    found = runtime.sh(many_ids, f"for n in {kinds}; do readlink /proc/self/ns/$n; done").split()
    assert found == [os.readlink(f"/proc/{many_ids.pid}/ns/{name}") for name in kinds.split()]


@pytest.mark.differs(runc="its init shows itself, and an exec'd process may reach into it")
def test_exec_before_start_is_refused(runtime: UserRuntime, one_id: Bundle) -> None:
    runtime.create(one_id.args("sleep", "1000"))
    result = runtime.exec(one_id, "ID", "true")
    assert result.code == (1 if NAME == "crun" else 255)
    assert NAME == "crun" or "start the container first" in result.last_line


@pytest.mark.parametrize(
    "verb", [pytest.param("ps", marks=pytest.mark.differs(crun="another code")), "pause", "update --pids-limit 5"]
)
def test_what_needs_a_cgroup(runtime: UserRuntime, one_id: Bundle, verb: str) -> None:
    """Said, not half done."""
    runtime.launch(one_id.args("sleep", "1000"))
    runtime.fails(*verb.split(), one_id.id)
    assert runtime.status(one_id) == "running"


def test_terminal(runtime: UserRuntime, user: User, many_ids: Bundle) -> None:
    many_ids.process["terminal"] = True
    console = ConsoleSocket(user.home / "console.sock")
    os.chown(console.path, UID, GID)
    try:
        runtime.launch(many_ids.script("tty; ls -l /dev/console; sleep 1000"), "--console-socket", str(console.path))
        _, master = console.receive()
        seen = read_until(master, b"/dev/console")
        os.close(master)
    finally:
        console.close()
    assert b"/dev/pts/0" in seen
    assert b"crw" in seen


@pytest.mark.parametrize("network", [False, True])
def test_a_second_container_joins_the_namespaces_of_the_first(
    runtime: UserRuntime, user: User, new_bundle: Callable[[], Bundle], network: bool
) -> None:
    first, second = user.bundle(new_bundle()), user.bundle(new_bundle())
    runtime.launch(first.args("sleep", "1000"))
    for kind, name in (("user", "user"), ("ipc", "ipc"), *((("network", "net"),) if network else ())):
        second.namespace(kind, f"/proc/{first.pid}/ns/{name}")
    found = runtime.inside(second, "for n in user ipc; do readlink /proc/self/ns/$n; done; id -u").split()
    assert found == [*(os.readlink(f"/proc/{first.pid}/ns/{name}") for name in ("user", "ipc")), "0"]


@pytest.mark.parametrize("command", ["unshare -r", "unshare -Ur -m"])
def test_inside_unshare(runtime: UserRuntime, user: User, bundle: Bundle, tmp_path: Path, command: str) -> None:
    """Root in name only: the user's state directory still, and no user namespace in config.json."""
    bundle.config["mounts"] = user.bundle(bundle).mounts
    bundle.without_namespace("user")
    for which in ("uidMappings", "gidMappings"):
        del bundle.linux[which]
    bundle.script("id -u; cat /proc/self/uid_map; hostname").save()
    runtime.command = inside(runtime, command, tmp_path)
    if NAME == "crun":
        bundle.linux["rootfsPropagation"] = "rslave"
    result = runtime.run(bundle)
    assert result.code == 0, result
    assert result.out.split() == ["0", "0", str(UID), "1", "ocirt-e2e"]
    assert runtime.root.exists()


def inside(runtime: UserRuntime, command: str, directory: Path) -> str:
    """The runtime's script with `command` between the user and the runtime."""
    text = Path(runtime.command).read_text()
    path = directory / "inside"
    head, tail = text.rsplit("' ", 1)
    path.write_text(f"{head}' {command} {tail}")
    path.chmod(0o755)
    return str(path)


def test_spec_rootless(runtime: UserRuntime, user: User, one_id: Bundle) -> None:
    """What `spec --rootless` writes runs as it is, but for the terminal that a test has not."""
    runtime.ok("spec", "--rootless", "--bundle", str(one_id.path))
    config = json.loads((one_id.path / "config.json").read_text())
    config["process"].update(terminal=False, args=["id", "-u"])
    (one_id.path / "config.json").write_text(json.dumps(config))
    result: Result = runtime.ok("run", "--bundle", str(one_id.path), one_id.id)
    assert result.out == "0\n"


@pytest.mark.only_ocirt("crun needs a right over the process that it does not have; runc 1.1 as well")
@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_seccomp_agent(
    runtime: UserRuntime, one_id: Bundle, tmp_path: Path, user: User, no_new_privileges: bool
) -> None:
    """The user's runtime may not take the listener out of init, which sends it: by sendmsg and no other call."""
    names = sorted(set(ABIS["SCMP_ARCH_X86_64"].numbers()) - {"write", "sendmsg"})
    rule = {"names": names, "action": "SCMP_ACT_NOTIFY"}
    agent = Agent(user.home, **{"83": errno.ENOSPC})
    agent.path.chmod(0o777)
    one_id.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "listenerPath": str(agent.path),
        "syscalls": [rule],
    }
    one_id.process["noNewPrivileges"] = no_new_privileges
    try:
        assert "No space left" in runtime.inside(one_id, "mkdir /x 2>&1 || true")
        assert agent.received[0]["kinds"] == ["anon_inode:seccomp notify"]
    finally:
        agent.close()


@pytest.mark.only_ocirt("no other runtime has it")
def test_trace(runtime: UserRuntime, many_ids: Bundle) -> None:
    """The runtime, the mapping programs that it waits for, and init in its user namespace, on one line of time."""
    file = many_ids.path / "trace.json"
    runtime.ok("run", "--bundle", str(many_ids.args("true").save().path), many_ids.id, options=("--trace", str(file)))
    assert file.stat().st_uid == UID
    events = [event for event in json.loads(file.read_text()) if event["ph"] == "X"]
    ours, init = (event for event in events if event["cat"] == "process")
    assert ours["ts"] < init["ts"] < init["ts"] + init["dur"] < ours["ts"] + ours["dur"]
    for whole in (ours, init):
        leaves = [one for one in events if one["pid"] == whole["pid"] and one["cat"] in ("phase", "step")]
        assert sum(one["args"]["wall_us"] for one in leaves) >= 0.95 * whole["args"]["wall_us"]
    steps = {event["name"]: event["pid"] for event in events if event["cat"] == "step"}
    assert any("newuidmap" in name and pid == ours["pid"] for name, pid in steps.items())
    assert steps["execute the program"] == init["pid"]
