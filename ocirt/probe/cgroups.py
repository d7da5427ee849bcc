"""Control groups: where a container's would be, what may be done there, and systemd."""

from __future__ import annotations

import errno
import os

from ocirt.cgroups.paths import v1_paths, v2_path
from ocirt.kernel.policy import bpf_attach_device_program, bpf_load_device_program
from ocirt.kernel.processes import clone3
from ocirt.probe import Check, Unavailable
from ocirt.probe.places import read, require, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocirt.host import Host

AT = "/linux/resources"
# controller -> property; "" is the hierarchy of version 2 itself
PROPERTIES = {
    "blkio": f"{AT}/blockIO",
    "cpu": f"{AT}/cpu",
    "cpuset": f"{AT}/cpu/cpus",
    "devices": f"{AT}/devices",
    "hugetlb": f"{AT}/hugepageLimits",
    "io": f"{AT}/blockIO",
    "memory": f"{AT}/memory",
    "net_cls": f"{AT}/network/classID",
    "net_prio": f"{AT}/network/priorities",
    "pids": f"{AT}/pids",
    "rdma": f"{AT}/rdma",
}
V1 = ("blkio", "cpu", "cpuset", "devices", "freezer", "hugetlb", "memory", "net_cls", "net_prio", "pids", "rdma")
V2 = ("cpu", "cpuset", "hugetlb", "io", "memory", "pids", "rdma")
THREADED = ("cpu", "cpuset", "pids")  # those that a cgroup with processes may still give away
ALLOW_ALL = "allow a *:* rwm"


def checks(host: Host, name: str) -> Iterator[Check]:
    """name: of the cgroups that are made, a container's id that nobody else has."""
    yield Check("cgroup.hierarchy", "/linux/cgroupsPath", lambda: layout(host))
    if host.cgroup in ("v1", "hybrid"):
        yield from _v1(host, v1_paths(host, None, name))
    elif host.cgroup == "v2":
        yield from _v2(v2_path(host, None, name))
    yield Check("cgroup.systemd", "/linux/cgroupsPath", lambda: systemd(host))


def layout(host: Host) -> str:
    require(host.cgroup != "none", "no cgroup file system is mounted")
    return {"v1": "version 1", "hybrid": "version 1, and 2 without controllers", "v2": "version 2"}[host.cgroup]


def _v1(host: Host, paths: dict[str, str]) -> Iterator[Check]:
    for controller in V1:
        path = paths.get(controller, "")
        if not path:
            yield Check(f"cgroup.{controller}", PROPERTIES.get(controller, ""), absent(controller))
        elif controller == "devices":
            yield Check("cgroup.devices", PROPERTIES[controller], below(path, devices_v1), (path,))
        elif controller == "freezer":
            yield Check("cgroup.freezer", "", below(path, freezer_v1), (path,))
        else:
            yield Check(f"cgroup.{controller}", PROPERTIES[controller], below(path), (path,))
    if "" in paths:
        path = paths[""]
        yield Check("cgroup.kill", "", below(path, kill), (path,))
        yield Check("cgroup.birth", "", below(path, birth), (path,))


def _v2(path: str) -> Iterator[Check]:
    yield Check("cgroup.directory", "/linux/cgroupsPath", below(path), (path,))
    for controller in V2:
        yield Check(f"cgroup.{controller}", PROPERTIES[controller], below(path, enabled(controller)), (path,))
    yield Check("cgroup.devices", PROPERTIES["devices"], below(path, devices_v2), (path,))
    yield Check("cgroup.freezer", "", below(path, freezer_v2), (path,))
    yield Check("cgroup.kill", "", below(path, kill), (path,))
    yield Check("cgroup.birth", "", below(path, birth), (path,))
    yield Check("cgroup.unified", f"{AT}/unified", below(path, unified), (path,))


def absent(controller: str) -> Callable[[], str]:
    def trial() -> str:
        raise Unavailable(f"no hierarchy with the controller {controller} is mounted")

    return trial


def below(path: str, then: Callable[[str], str] = lambda path: "") -> Callable[[], str]:
    """Make the cgroup, then do something with it; who runs this removes it."""

    def trial() -> str:
        os.mkdir(path, 0o755)
        return then(path)

    return trial


def devices_v1(path: str) -> str:
    write(f"{path}/devices.deny", "a")
    write(f"{path}/devices.allow", "c 1:3 rwm")
    return ""


def devices_v2(path: str) -> str:
    from ocirt.cgroups.devices_bpf import program

    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    bpf_attach_device_program(directory, bpf_load_device_program(program(ALLOW_ALL)))
    return "by a BPF program"


def freezer_v1(path: str) -> str:
    write(f"{path}/freezer.state", "FROZEN")
    write(f"{path}/freezer.state", "THAWED")
    return ""


def freezer_v2(path: str) -> str:
    write(f"{path}/cgroup.freeze", "1")
    return ""


def kill(path: str) -> str:
    """Linux 5.14; without it processes are frozen and killed one by one."""
    write(f"{path}/cgroup.kill", "1")
    return ""


def birth(path: str) -> str:
    """CLONE_INTO_CGROUP, Linux 5.7."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    pid, _ = clone3(0, cgroup=directory)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return ""


def unified(path: str) -> str:
    write(f"{path}/cgroup.max.depth", "5")
    return ""


def enabled(controller: str) -> Callable[[str], str]:
    """Whether the new cgroup has it, or create could give it: what it would write to those above is not tried."""

    def trial(path: str) -> str:
        if has(path, "controllers", controller):
            return ""
        above = hierarchy(path)
        require(has(above[0], "controllers", controller), f"the kernel does not have it, or not for {above[0]}")
        lacking = [one for one in above if not has(one, "subtree_control", controller)]
        for one in lacking:
            refuse_to_divide(one, controller, top=one == above[0])
        return f"create enables it in {' and '.join(lacking)}"

    return trial


def has(directory: str, file: str, controller: str) -> bool:
    return controller in read(f"{directory}/cgroup.{file}").split()


def hierarchy(path: str) -> list[str]:
    """The cgroups above path, the hierarchy's root first."""
    above: list[str] = []
    parent = path.rpartition("/")[0]
    while os.path.exists(f"{parent}/cgroup.controllers"):
        above.insert(0, parent)
        parent = parent.rpartition("/")[0]
    return above


def refuse_to_divide(directory: str, controller: str, *, top: bool) -> None:
    """Raise what create would meet there; only the top of a hierarchy may have processes and give to those below."""
    switch = f"{directory}/cgroup.subtree_control"
    if not os.access(switch, os.W_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), switch)
    if not top and controller not in THREADED:
        require(not read(f"{directory}/cgroup.procs").split(), f"{directory} has processes, and cannot give it away")


def systemd(host: Host) -> str:
    """Its version, asked over its own socket or the bus, as --systemd-cgroup would use it."""
    require(host.systemd, "systemd is not the service manager here")
    from ocirt.cgroups import dbus
    from ocirt.cgroups.systemd import version

    with dbus.connect(host.systemd == "user") as bus:
        return f"{host.systemd} systemd {version(bus)}"
