"""Namespaces: new ones by the flags of clone3, existing ones by setns, and what init does first in them.

User documentation: namespaces(7), clone(2), setns(2), setsid(2).
"""

from __future__ import annotations

from ocirt import system as os
from ocirt.errors import ConfigError
from ocirt.kernel.flags import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
)
from ocirt.pipeline import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.box import Box
    from ocirt.config.views import Linux
    from ocirt.host import Host

# type in config.json -> (clone flag, name in /proc/PID/ns).  The order is the order of joining by root:
# the user namespace last, because joining it gives up the rights over the others.  A user joins it first,
# for they have no rights over the others but those that it gives.
NAMESPACES = {
    "mount": (CLONE_NEWNS, "mnt"),
    "network": (CLONE_NEWNET, "net"),
    "ipc": (CLONE_NEWIPC, "ipc"),
    "uts": (CLONE_NEWUTS, "uts"),
    "cgroup": (CLONE_NEWCGROUP, "cgroup"),
    "pid": (CLONE_NEWPID, "pid"),
    "time": (CLONE_NEWTIME, "time"),
    "user": (CLONE_NEWUSER, "user"),
}

SIGKILL = 9
IN_CHILDREN_ONLY = ("pid", "time")


def new_namespaces(linux: Linux | None) -> set[str]:
    """Types that the container gets anew."""
    return {namespace.type for namespace in linux.namespaces if namespace.path is None} if linux else set()


def joined_namespaces(linux: Linux | None) -> set[str]:
    """Types that the container joins by path."""
    return {namespace.type for namespace in linux.namespaces if namespace.path is not None} if linux else set()


def has_namespace(linux: Linux | None, kind: str) -> bool:
    """Whether the container has a namespace of this type that is not the host's: a new one or one that it joins."""
    return linux is not None and kind in [namespace.type for namespace in linux.namespaces]


def clone_flags(linux: Linux | None) -> int:
    """Flags of clone3 for init.

    Not the cgroup namespace: it must be made after init is in its cgroup (cgroup_namespaces(7)).
    Not a time namespace with offsets: they are written before anyone is in it (time_namespaces(7)), and only with
    rights that come from a user namespace: that goes with it, see SetTimeOffsets.
    """
    flags = 0
    by_joiner = {"user", "time"} if linux and linux.time_offsets else set()
    for kind in new_namespaces(linux) - {"cgroup"} - by_joiner:
        flags |= NAMESPACES[kind][0]
    return flags


def needs_joiner(linux: Linux | None) -> bool:
    """Whether a process must enter namespaces before init is born (see process/joiner.py)."""
    joined = joined_namespaces(linux)
    if joined & {"user", *IN_CHILDREN_ONLY}:
        return True
    if linux and linux.time_offsets:
        return True
    return bool(joined) and "user" in new_namespaces(linux)


class OpenNamespace(Step):
    """Host: open a namespace file and make sure that it is of the type the configuration says."""

    __slots__ = ("kind", "path")

    def __init__(self, at: str, kind: str, path: str) -> None:
        self.at = at
        self.kind = kind
        self.path = path

    def describe(self) -> str:
        return f"open the {self.kind} namespace {self.path}"

    def apply(self, box: Box) -> None:
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        box.fds[f"namespace/{self.kind}"] = fd
        try:
            found = box.kernel.namespace_type(fd)
        except OSError:
            found = 0
        if found != NAMESPACES[self.kind][0]:
            actual = next((name for name, (flag, _) in NAMESPACES.items() if flag == found), "no")
            raise ConfigError("rule", f"{self.path} is {actual} namespace, not {self.kind}", self.at)


class JoinNamespace(Step):
    """setns(2) into a namespace of linux.namespaces that has a path."""

    __slots__ = ("kind",)

    def __init__(self, at: str, kind: str) -> None:
        self.at = at
        self.kind = kind

    def describe(self) -> str:
        return f"join the {self.kind} namespace"

    def apply(self, box: Box) -> None:
        box.kernel.setns(box.fds[f"namespace/{self.kind}"], NAMESPACES[self.kind][0])


class SetTimeOffsets(Step):
    """Joiner: make the time namespace of its children and set its clocks before anyone is in it.

    new_user: make the container's user namespace with it.  It owns the clocks then: setting them takes CAP_SYS_TIME
    in the owner, which a user has in no other.  Mapped it is later, as always, while init waits.
    """

    __slots__ = ("new_user", "text")

    def __init__(self, at: str, text: str, new_user: bool = False) -> None:
        self.at = at
        self.text = text
        self.new_user = new_user

    def describe(self) -> str:
        return f"make a {'user and a ' * self.new_user}time namespace with offsets {self.text.strip()!r}"

    def apply(self, box: Box) -> None:
        box.kernel.unshare(CLONE_NEWTIME | (CLONE_NEWUSER if self.new_user else 0))
        box.kernel.write_file(box.proc, "self/timens_offsets", self.text.encode())


class HideFromPeers(Step):
    """PR_SET_DUMPABLE 0: whoever shares our pid namespace must not see our descriptors (CVE-2016-9962)."""

    __slots__ = ()

    def __init__(self) -> None:
        self.at = ""

    def describe(self) -> str:
        return "make init non-dumpable until it executes the program"

    def apply(self, box: Box) -> None:
        box.kernel.set_dumpable(0)


class NewSession(Step):
    """A session without a controlling terminal: setsid(2)."""

    __slots__ = ()

    def __init__(self) -> None:
        self.at = ""

    def describe(self) -> str:
        return "become leader of a new session"

    def apply(self, box: Box) -> None:
        box.kernel.setsid()


class BecomeRoot(Step):
    """Take user and group 0 of the user namespace: what is made from now on belongs to the container's root.

    A change of user takes back that init dies with the runtime (PR_SET_PDEATHSIG(2const)): asked for once more.
    """

    __slots__ = ()

    def __init__(self, at: str) -> None:
        self.at = at

    def describe(self) -> str:
        return "become user 0 and group 0 of the user namespace"

    def apply(self, box: Box) -> None:
        box.kernel.setresgid(0, 0, 0)
        box.kernel.setresuid(0, 0, 0)
        box.kernel.set_pdeathsig(SIGKILL)


def open_namespaces(linux: Linux | None) -> Iterator[Step]:
    """HOST: every namespace that is joined by path."""
    for namespace in linux.namespaces if linux else ():
        if namespace.path is not None:
            yield OpenNamespace(f"{namespace.at}/path", namespace.type, namespace.path)


def join_namespaces(linux: Linux | None, host: Host) -> Iterator[Step]:
    """setns in the order of NAMESPACES; then the new time namespace, when it has offsets."""
    if linux is None:
        return
    paths = {namespace.type: namespace.at for namespace in linux.namespaces if namespace.path is not None}
    for kind in NAMESPACES if host.euid == 0 else ("user", *(kind for kind in NAMESPACES if kind != "user")):
        if kind in paths:
            yield JoinNamespace(paths[kind], kind)
    offsets = linux.time_offsets
    if offsets:
        lines = [f"{clock} {offset.secs or 0} {offset.nanosecs or 0}\n" for clock, offset in sorted(offsets.items())]
        yield SetTimeOffsets("/linux/timeOffsets", "".join(lines), "user" in new_namespaces(linux))


def enter_namespaces(linux: Linux | None, host: Host) -> Iterator[Step]:
    """JOINER: as join_namespaces(), closed to the eyes of who is in there: init waits for GO in their pid namespace,
    and the rights of a user namespace that was joined would do for ptrace(2).

    A user other than root writes to files below /proc/PID of init that a non-dumpable process does not let them have.
    """
    if host.euid == 0 and not host.userns:
        yield HideFromPeers()
    yield from join_namespaces(linux, host)


def has_root(linux: Linux) -> bool:
    """Whether there is a user namespace with a root.  One that maps other ids only leaves init the runtime's own."""
    if "user" in joined_namespaces(linux):
        return True
    maps = linux.uid_mappings, linux.gid_mappings
    return "user" in new_namespaces(linux) and all(any(one.container_id == 0 for one in lines) for lines in maps)


def prepare(linux: Linux | None) -> Iterator[Step]:
    """INIT: its own session, its own user, closed to the eyes of others."""
    yield HideFromPeers()
    yield NewSession()
    if linux is not None and has_root(linux):
        yield BecomeRoot("/linux/namespaces")
        yield HideFromPeers()  # changing the user id may have made the process dumpable again
