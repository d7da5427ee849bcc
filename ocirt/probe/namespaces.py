"""Namespaces of every kind, and what is set in them."""

from __future__ import annotations

import os
import struct
from fcntl import ioctl

from ocirt import users
from ocirt.host import TOOL_DIRECTORIES, find_mapping_tools
from ocirt.kernel import flags as f
from ocirt.kernel.creds import sethostname
from ocirt.kernel.links import loopback_up
from ocirt.kernel.processes import unshare
from ocirt.kernel.rtnetlink import connect
from ocirt.probe import Check, Unavailable
from ocirt.probe.attempt import in_child
from ocirt.probe.places import Held, enter, map_own, read, require, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocirt.kernel.rtnetlink import Connection

AT = "/linux/namespaces"
KINDS = {
    "mount": ("mnt", f.CLONE_NEWNS),
    "network": ("net", f.CLONE_NEWNET),
    "ipc": ("ipc", f.CLONE_NEWIPC),
    "uts": ("uts", f.CLONE_NEWUTS),
    "cgroup": ("cgroup", f.CLONE_NEWCGROUP),
    "time": ("time_for_children", f.CLONE_NEWTIME),
}

# <linux/if_tun.h>
TUN, TUNSETIFF, IFF_TUN = "probe0", 0x400454CA, 1
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


def checks() -> Iterator[Check]:
    for kind, (file, flag) in KINDS.items():
        yield Check(f"namespace.{kind}", AT, new_one(file, flag))
    yield Check("namespace.pid", AT, pid)
    yield Check("namespace.user", AT, user)
    yield Check("idmap.own", "/linux/uidMappings", own_id)
    yield Check("idmap.ranges", "/linux/uidMappings", ranges)
    yield Check("time.offsets", "/linux/timeOffsets", time_offsets)
    yield Check("hostname", "/hostname", hostname)
    yield Check("loopback", AT, loopback)
    yield Check("network_devices", "/linux/netDevices", network_devices)


def new_one(file: str, flag: int) -> Callable[[], str]:
    """The trial of a kind: another file than before is there afterwards."""

    def trial() -> str:
        before = os.readlink(f"/proc/self/ns/{file}")
        note = enter(flag)
        require(os.readlink(f"/proc/self/ns/{file}") != before, "the namespace is the same as before")
        return note

    return trial


def pid() -> str:
    """The first process born in it is its init."""

    def child() -> None:
        require(os.getpid() == 1, f"its first process is {os.getpid()}")

    note = enter(f.CLONE_NEWPID)
    in_child(child)
    return note


def user() -> str:
    before = os.readlink("/proc/self/ns/user")
    with Held(f.CLONE_NEWUSER) as child:
        require(os.readlink(f"/proc/{child.pid}/ns/user") != before, "the namespace is the same as before")
    return ""


def own_id() -> str:
    uid, gid = os.geteuid(), os.getegid()
    unshare(f.CLONE_NEWUSER)
    map_own(uid, gid)
    require(os.geteuid() == 0, "the id is not mapped")
    return ""


def ranges() -> str:
    """Many ids: by root itself, for another user by newuidmap(1) and newgidmap(1)."""
    with Held(f.CLONE_NEWUSER) as child:
        if os.geteuid() == 0:
            count = map_many(child.pid)
            require(count > 1, "there is one id here")
            return f"{count} ids"
        tools = find_mapping_tools()
        for tool, table in (("newuidmap", "/etc/subuid"), ("newgidmap", "/etc/subgid")):
            require(tool in tools, f"{tool} is in none of {' '.join(TOOL_DIRECTORIES)}")
            start, number = subordinate(read(table), table)
            run(tools[tool], str(child.pid), "0", start, number)
    return "by newuidmap and newgidmap"


def map_many(pid: int) -> int:
    """Give a child's user namespace as many ids as its parent's may give; their number."""
    count = 0
    for name in ("uid_map", "gid_map"):
        first, count = given_ids(read(f"/proc/self/{name}"))
        write(f"/proc/{pid}/{name}", f"0 {first} {count}")
    return count


def given_ids(text: str) -> tuple[int, int]:
    """First id and number of ids to give away, of the map of the caller's own namespace: its longest line.

    Where that is every id there is, those that distributions give to users.
    """
    lines = [[int(number) for number in line.split()] for line in text.splitlines()]
    first, _, count = max(lines, key=lambda line: line[2])
    return (100000, 65536) if count > 200000 else (first, count)


def subordinate(text: str, table: str) -> tuple[str, str]:
    """First id and number of ids of the caller's first range in /etc/subuid: subuid(5).  Raises Unavailable."""
    names = {str(os.geteuid()), *users.names(os.geteuid())}
    for line in text.splitlines():
        name, *numbers = line.strip().split(":")
        if name in names and len(numbers) == 2:
            return numbers[0], numbers[1]
    raise Unavailable(f"{table} has no range for this user")


def run(program: str, *arguments: str) -> None:
    """To its end.  Raises Unavailable with what it said."""
    reading, writing = os.pipe()
    null = os.open("/dev/null", os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, writing, 1), (os.POSIX_SPAWN_DUP2, writing, 2)]
    pid = os.posix_spawn(
        program, (program, *arguments), {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, file_actions=actions
    )
    os.close(writing)
    with open(reading, encoding="utf-8", errors="replace") as pipe:
        said = pipe.read(4096)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    require(code == 0, said.strip().splitlines()[0] if said.strip() else f"{program} ended with {code}")


def time_offsets() -> str:
    """For the first process that is born in the namespace, which is not its maker."""
    note = enter(f.CLONE_NEWTIME)
    write("/proc/self/timens_offsets", "monotonic 1000 0\nboottime 1000 0")
    in_child(lambda: None)
    return note


def hostname() -> str:
    note = enter(f.CLONE_NEWUTS)
    sethostname("probe")
    require(os.uname().nodename == "probe", "the name is the same as before")
    return note


def loopback() -> str:
    note = enter(f.CLONE_NEWNET)
    loopback_up()
    return note


def network_devices() -> str:
    """A device of a namespace of ours is moved into another one."""
    require(not enter(f.CLONE_NEWNET), "the host's devices are root's to move")
    here = connection()
    try:
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        ioctl(tun, TUNSETIFF, struct.pack("16sH22x", TUN.encode(), IFF_TUN))
    except OSError:
        return "no device was moved: there is no /dev/net/tun to make one with"
    with Held(f.CLONE_NEWNET) as child:
        other = os.open(f"/proc/{child.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        there = connection(other)
        link = here.link(TUN)
        if link is None:
            raise Unavailable(f"{TUN} is not there")
        here.move(link.index, other, TUN, there.free_index())
        require(there.link(TUN), f"{TUN} did not arrive")
    return ""


def connection(namespace: int = -1) -> Connection:
    """To the network devices of a namespace, the process's own by default."""
    made = connect(namespace)
    require(made.link(index=1), "the kernel does not tell of the loopback")
    return made
