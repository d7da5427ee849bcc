"""Namespaces: new, inherited, joined by path; mappings and time offsets."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime

FILES = {
    "pid": "pid",
    "network": "net",
    "mount": "mnt",
    "ipc": "ipc",
    "uts": "uts",
    "user": "user",
    "cgroup": "cgroup",
    "time": "time",
}


def host_namespace(kind: str, pid: int | str = "self") -> str:
    return os.readlink(f"/proc/{pid}/ns/{FILES[kind]}")


def with_kind(runtime: Runtime, bundle: Bundle, kind: str) -> None:
    """A new namespace of the kind, with what else it needs."""
    if kind == "time" and runtime.name in ("runc", "crun"):
        pytest.skip(f"{runtime.name}: this version has no time namespaces")
    if kind == "user":
        bundle.user_namespace()
    else:
        bundle.namespace(kind)


@pytest.mark.parametrize("kind", FILES)
def test_new(runtime: Runtime, bundle: Bundle, kind: str) -> None:
    with_kind(runtime, bundle, kind)
    seen = runtime.inside(bundle, f"readlink /proc/self/ns/{FILES[kind]}").strip()
    assert seen != host_namespace(kind)
    assert seen.startswith(f"{FILES[kind]}:[")


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "user", "cgroup", "time"])
def test_inherited(runtime: Runtime, bundle: Bundle, kind: str) -> None:
    bundle.without_namespace(kind)
    if kind == "uts":
        del bundle.config["hostname"]
    if kind == "ipc":
        bundle.without_mount("/dev/mqueue")
    assert runtime.inside(bundle, f"readlink /proc/self/ns/{FILES[kind]}").strip() == host_namespace(kind)


@pytest.mark.parametrize("kind", [kind for kind in FILES if kind != "mount"])
def test_joined(runtime: Runtime, new_bundle: Callable[[], Bundle], kind: str) -> None:
    owner, guest = new_bundle(), new_bundle()
    with_kind(runtime, owner, kind)
    runtime.launch(owner.args("/bin/probe", "pause"))
    guest.namespace(kind, f"/proc/{owner.pid}/ns/{FILES[kind]}")
    if kind == "uts":
        del guest.config["hostname"]
    if kind == "user":  # its owner must own what is mounted in it
        guest.user_namespace()
        guest.namespace(kind, f"/proc/{owner.pid}/ns/{FILES[kind]}")
    seen = runtime.inside(guest, f"readlink /proc/self/ns/{FILES[kind]}").strip()
    assert seen == host_namespace(kind, owner.pid)
    runtime.stop(owner)


def test_mount_namespace_is_joined(runtime: Runtime, bundle: Bundle) -> None:
    """One that still has the host's paths; the root file system is prepared in it."""
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo ready; exec sleep 1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as keeper:
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == b"ready\n"
        bundle.namespace("mount", f"/proc/{keeper.pid}/ns/mnt")
        result = runtime.run(bundle.script("readlink /proc/self/ns/mnt; ls /bin/busybox"))
        expected = host_namespace("mount", keeper.pid)
        keeper.kill()
    assert (result.code, result.out) == (0, f"{expected}\n/bin/busybox\n"), result


def test_pid_namespace_is_joined_as_a_member(runtime: Runtime, new_bundle: Callable[[], Bundle]) -> None:
    owner, guest = new_bundle(), new_bundle()
    runtime.launch(owner.args("/bin/probe", "pause"))
    guest.namespace("pid", f"/proc/{owner.pid}/ns/pid")
    out = runtime.inside(guest, "echo $$; cat /proc/1/comm")
    pid, comm = out.split()
    assert int(pid) > 1
    assert comm == "probe"
    runtime.stop(owner)


def test_bound_namespace_file(runtime: Runtime, new_bundle: Callable[[], Bundle], namespace_file: Path) -> None:
    guest = new_bundle()
    guest.namespace("network", str(namespace_file))
    assert runtime.inside(guest, "readlink /proc/self/ns/net").strip() != host_namespace("network")


@pytest.fixture
def namespace_file(runtime: Runtime, new_bundle: Callable[[], Bundle], tmp_path: Path) -> Iterator[Path]:
    """A network namespace kept by a bind mount, as CNI plugins keep them."""
    keeper = new_bundle()
    runtime.launch(keeper.args("/bin/probe", "pause"))
    file = tmp_path / "netns"
    file.touch()
    assert os.spawnlp(os.P_WAIT, "mount", "mount", "--bind", f"/proc/{keeper.pid}/ns/net", str(file)) == 0
    runtime.stop(keeper)
    yield file
    assert os.spawnlp(os.P_WAIT, "umount", "umount", str(file)) == 0


@pytest.mark.differs(crun="joins whatever it is", runc="1.1 lets the kernel say it in other words")
@pytest.mark.parametrize(("kind", "other"), [("network", "uts"), ("ipc", "net"), ("pid", "net"), ("user", "net")])
def test_path_of_another_type(
    runtime: Runtime, bundle: Bundle, kind: str, other: str, host_unchanged: Callable
) -> None:
    bundle.namespace(kind, f"/proc/self/ns/{other}").save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="/linux/namespaces/")


def test_path_of_another_type_is_refused(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.namespace("network", "/proc/self/ns/uts").save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id)


@pytest.mark.parametrize("path", ["/proc/self/ns/none", "relative/ns"])
def test_bad_path(runtime: Runtime, bundle: Bundle, path: str, host_unchanged: Callable) -> None:
    bundle.namespace("network", path).save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id)


def test_duplicate(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.linux["namespaces"] += [{"type": "pid"}]
    bundle.save()
    with host_unchanged():
        if runtime.name != "crun":
            runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="duplicated ns")


def test_unknown(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.linux["namespaces"] += [{"type": "nonesuch"}]
    bundle.save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id)


def test_all_at_once(runtime: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace()
    kinds = [kind for kind in FILES if kind != "time" or runtime.name == "ocirt"]
    for kind in kinds:
        bundle.namespace(kind)
    out = runtime.inside(bundle, "; ".join(f"readlink /proc/self/ns/{FILES[kind]}" for kind in kinds))
    for kind, seen in zip(kinds, out.split(), strict=True):
        assert seen != host_namespace(kind), kind


# --- user namespaces


def test_mappings(runtime: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace()
    bundle.linux["uidMappings"] = [
        {"containerID": 0, "hostID": 100000, "size": 2000},
        {"containerID": 5000, "hostID": 300000, "size": 10},
    ]
    bundle.linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 3000}]
    out = runtime.inside(bundle, "cat /proc/self/uid_map; echo; cat /proc/self/gid_map; cat /proc/self/setgroups")
    uids, gids = out.split("\n\n")
    assert [line.split() for line in uids.splitlines()] == [["0", "100000", "2000"], ["5000", "300000", "10"]]
    assert [line.split() for line in gids.splitlines()] == [["0", "100000", "3000"], ["allow"]]


def test_files_belong_to_the_mapped_root(runtime: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace(host=100000)
    out = runtime.inside(bundle, "id -u; touch /made; stat -c '%u:%g' /made /bin/busybox; stat -c '%u:%g' /dev/null")
    made = os.stat(bundle.root / "made")
    assert (made.st_uid, made.st_gid) == (100000, 100000)
    uid, own, foreign, null = out.split()
    assert (uid, own, foreign) == ("0", "0:0", "65534:65534")
    assert null in ("0:0", "65534:65534")  # made by mknod, or the host's by a bind mount


def test_user_of_a_user_namespace(runtime: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace(host=100000)
    bundle.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [10]}
    bundle.args("/bin/probe", "pause")
    runtime.launch(bundle)
    status = Path(f"/proc/{bundle.pid}/status").read_text()
    assert "Uid:\t101000\t101000\t101000\t101000\n" in status
    assert "Groups:\t100010 \n" in status
    runtime.stop(bundle)


def test_devices_in_a_user_namespace(runtime: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace()
    out = runtime.inside(
        bundle,
        "for d in null zero full random urandom tty; do stat -c '%n %t:%T' /dev/$d; done; "
        "echo x > /dev/null && head -c 3 /dev/zero | wc -c",
    )
    assert out.splitlines() == [
        "/dev/null 1:3",
        "/dev/zero 1:5",
        "/dev/full 1:7",
        "/dev/random 1:8",
        "/dev/urandom 1:9",
        "/dev/tty 5:0",
        "3",
    ]


@pytest.mark.differs(crun="maps by itself")
def test_new_user_namespace_needs_mappings(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.namespace("user").save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id)


@pytest.mark.differs(crun="other words", runc="1.1 has other words")
def test_unmapped_user(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.user_namespace(size=1000)
    bundle.process["user"] = {"uid": 1000, "gid": 0}
    bundle.save()
    with host_unchanged():
        runtime.fails(
            "create",
            "--bundle",
            str(bundle.path),
            bundle.id,
            says="cannot setuid to unmapped uid 1000 in user namespace",
        )


def test_capabilities_are_full_inside_and_none_outside(runtime: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace().capabilities("CAP_SYS_ADMIN", "CAP_CHOWN")
    out = runtime.inside(bundle, "chown 5:6 /tmp && stat -c %u:%g /tmp; mount -t tmpfs x /tmp && echo mounted")
    assert out.split() == ["5:6", "mounted"]


# --- time namespaces


@pytest.mark.only_ocirt("these versions have no time namespaces")
def test_time_offsets(runtime: Runtime, bundle: Bundle) -> None:
    bundle.namespace("time")
    bundle.linux["timeOffsets"] = {
        "monotonic": {"secs": 172800, "nanosecs": 5},
        "boottime": {"secs": 604800, "nanosecs": 0},
    }
    seen = runtime.probe(bundle)
    assert 0 <= seen["monotonic"] - time.clock_gettime(time.CLOCK_MONOTONIC) - 172800 + 30 < 31
    assert 0 <= seen["boottime"] - time.clock_gettime(time.CLOCK_BOOTTIME) - 604800 + 30 < 31
    bundle.args("/bin/probe", "pause")
    runtime.launch(bundle)
    offsets = Path(f"/proc/{bundle.pid}/timens_offsets").read_text().split()
    assert offsets == ["monotonic", "172800", "5", "boottime", "604800", "0"]
    uptime = float(runtime.sh(bundle, "cat /proc/uptime").split()[0])
    assert uptime > 604800
    runtime.stop(bundle)


@pytest.mark.only_ocirt("these versions have no time namespaces")
def test_time_offsets_in_a_user_namespace(runtime: Runtime, bundle: Bundle) -> None:
    """Every new namespace belongs to the container's user namespace, the one with offsets too."""
    bundle.user_namespace().namespace("time").args("/bin/probe", "pause")
    bundle.linux["timeOffsets"] = {"boottime": {"secs": 604800}}
    runtime.launch(bundle)
    offsets = Path(f"/proc/{bundle.pid}/timens_offsets").read_text().split()
    assert offsets == ["monotonic", "0", "0", "boottime", "604800", "0"]
    assert Path(f"/proc/{bundle.pid}/uid_map").read_text().split() == ["0", "100000", "65536"]
    user = os.stat(f"/proc/{bundle.pid}/ns/user").st_ino
    assert {owner_of(bundle.pid, kind) for kind in ("time", "pid", "mnt", "ipc", "uts")} == {user}
    assert float(runtime.sh(bundle, "cat /proc/uptime").split()[0]) > 604800
    runtime.stop(bundle)


def owner_of(pid: int, kind: str) -> int:
    """Inode of the user namespace that owns a namespace (ioctl_nsfs(2), NS_GET_USERNS)."""
    fd = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
    owner = fcntl.ioctl(fd, 0xB701)
    inode = os.fstat(owner).st_ino
    os.close(owner)
    os.close(fd)
    return inode


@pytest.mark.only_ocirt("these versions have no time namespaces")
def test_time_offsets_need_a_namespace(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["timeOffsets"] = {"monotonic": {"secs": 1}}
    bundle.save()
    runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="time namespace isn't enabled in the config")


# --- names and network


def test_hostname_and_domainname(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["hostname"] = "web-1.example"
    if runtime.name == "ocirt":
        bundle.config["domainname"] = "example.org"
    out = runtime.inside(bundle, "hostname; cat /proc/sys/kernel/domainname")
    assert out.split()[0] == "web-1.example"
    if runtime.name == "ocirt":
        assert out.split()[1] == "example.org"


@pytest.mark.differs(crun="other words")
def test_hostname_needs_a_namespace(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.without_namespace("uts").save()
    with host_unchanged():
        runtime.fails(
            "create",
            "--bundle",
            str(bundle.path),
            bundle.id,
            says="unable to set hostname without a private UTS namespace",
        )


def test_loopback_is_up(runtime: Runtime, bundle: Bundle) -> None:
    out = runtime.inside(bundle, "ip -o addr show lo; nc -l -p 7 127.0.0.1 </dev/null & ls /sys/class/net")
    assert "127.0.0.1/8" in out
    assert "LOOPBACK,UP" in runtime.inside(bundle, "ip -o link show lo")


def test_sysctl(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["sysctl"] = {
        "net.ipv4.ip_forward": "1",
        "kernel.msgmax": "4096",
        "fs.mqueue.msg_max": "7",
        "net/ipv4/ip_default_ttl": "33",
    }
    if runtime.name == "runc":
        del bundle.linux["sysctl"]["net/ipv4/ip_default_ttl"]
        bundle.linux["sysctl"]["net.ipv4.ip_default_ttl"] = "33"
    before = Path("/proc/sys/kernel/msgmax").read_text()
    out = runtime.inside(
        bundle,
        "cd /proc/sys; cat net/ipv4/ip_forward kernel/msgmax fs/mqueue/msg_max net/ipv4/ip_default_ttl",
    )
    assert out.split() == ["1", "4096", "7", "33"]
    assert Path("/proc/sys/kernel/msgmax").read_text() == before


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("kernel.core_pattern", ""),
        ("vm.swappiness", ""),
        ("kernel.hostname", ""),
        ("kernel.msgmax", "ipc"),
        ("fs.mqueue.msg_max", "ipc"),
        ("net.ipv4.ip_forward", "network"),
        ("net/../kernel/core_pattern", ""),
        ("net.ipv4.../../../kernel/core_pattern", ""),
    ],
)
@pytest.mark.differs(crun="other words")
def test_sysctl_of_the_host_is_refused(
    runtime: Runtime, bundle: Bundle, name: str, without: str, host_unchanged: Callable
) -> None:
    bundle.linux["sysctl"] = {name: "1"}
    if without:
        bundle.without_namespace(without).without_mount("/dev/mqueue")
    bundle.save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id)
