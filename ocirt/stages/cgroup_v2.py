"""The container's cgroup on a host with the unified hierarchy alone: see cgroup.py.

Init is born in its cgroup, by clone3(CLONE_INTO_CGROUP).  Memory and everything else are one cgroup there, and to
move costs a grace period, 7-15 ms, even for init itself: only when its set-up would hit a limit does it stay
outside until that is done.

User documentation: cgroups(7), clone(2).
"""

from __future__ import annotations

import errno

from ocirt import log
from ocirt import system as os
from ocirt.cgroups.files import GONE, read_file
from ocirt.cgroups.paths import current_paths, nearest_above, own_directory, sub_cgroups
from ocirt.cgroups.v2 import may_move_below
from ocirt.pipeline import Step
from ocirt.stages.cgroup import (
    BIRTH,
    BIRTH_INSTEAD,
    OUTSIDE,
    UnshareCgroupNamespace,
    make_cgroup,
    new_cgroup_namespace,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocirt.box import Box
    from ocirt.config.views import Config, IdMapping, Resources
    from ocirt.host import Host

LATE = "cgroup/late"  # box.fds: cgroup.procs, for joining at the end of the set-up
LATE_INSTEAD = "cgroup/late/instead"  # box.fds: another, for when the kernel refuses that one
# Born in its cgroup, init has 1.8 MiB there when it is ready; a large configuration and larger pages make it more.
SMALL_MEMORY = 16 << 20
MEMORY_FILES = ("memory.max", "memory.high")


class OwnCgroup(Step):
    """Host: give the cgroup to a user of the host (cgroup-v2.rst, Delegation)."""

    __slots__ = ("uid",)

    def __init__(self, uid: int) -> None:
        self.at = "/process/user/uid"
        self.uid = uid

    def describe(self) -> str:
        return f"give the cgroup to user {self.uid} of the host"

    def apply(self, box: Box) -> None:
        if box.manager is not None:
            box.manager.delegate(self.uid)


class OpenForBirth(Step):
    """Host: the directory that init is born in."""

    __slots__ = ()

    def __init__(self) -> None:
        self.at = ""

    def describe(self) -> str:
        return "open the cgroup for birth in it"

    def apply(self, box: Box) -> None:
        if box.manager is not None:
            box.fds[BIRTH] = box.manager.open_for_join()[""]


class OpenForLater(Step):
    """Host: cgroup.procs of the new cgroup, and of the one where init spends its set-up; "" when it is there anyway."""

    __slots__ = ("outside",)

    def __init__(self, outside: str) -> None:
        self.at = ""
        self.outside = outside

    def describe(self) -> str:
        return "open the cgroup for joining when the set-up is done"

    def apply(self, box: Box) -> None:
        assert box.manager is not None
        box.fds[LATE] = _open_procs(box.manager.paths[""])
        if self.outside:
            box.fds[OUTSIDE] = _open_procs(self.outside)


class OpenExisting(Step):
    """Host of exec: the first of the directories and, when there is another, that one for a refusal.

    own: where a rootless runtime is: the process stays there when it may not move; "" when it must.
    """

    __slots__ = ("directories", "late", "own")

    def __init__(self, directories: tuple[str, ...], late: bool, own: str = "") -> None:
        self.at = ""
        self.directories = directories
        self.late = late
        self.own = own

    def describe(self) -> str:
        return f"open cgroup {self.directories[0]} for {'joining later' if self.late else 'birth in it'}"

    def apply(self, box: Box) -> None:
        if self.own and not may_move_below(nearest_above(self.own, self.directories[0])):
            log.debug(f"the process stays in {self.own}: no permission to move it to {self.directories[0]}")
            return
        names = [LATE, LATE_INSTEAD] if self.late else [BIRTH, BIRTH_INSTEAD]
        for directory in self.directories:
            try:
                fd = _open_procs(directory) if self.late else os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                if error.errno not in GONE or directory == self.directories[-1]:
                    raise
                continue
            box.fds[names.pop(0)] = fd


class LeaveCgroup(Step):
    """Init: back to where the runtime is for the time of the set-up."""

    __slots__ = ()

    def __init__(self) -> None:
        self.at = ""

    def describe(self) -> str:
        return "leave the cgroup until the set-up is done"

    def apply(self, box: Box) -> None:
        box.kernel.write(box.fds[OUTSIDE], b"0")


class JoinLate(Step):
    """Init: the rights that count are those of the runtime, which opened the file."""

    __slots__ = ()

    def __init__(self) -> None:
        self.at = ""

    def describe(self) -> str:
        return "join the cgroup"

    def apply(self, box: Box) -> None:
        if LATE not in box.fds:
            return
        try:
            box.kernel.write(box.fds[LATE], b"0")
        except OSError as error:
            if error.errno not in REFUSED or LATE_INSTEAD not in box.fds:
                raise
            box.kernel.write(box.fds[LATE_INSTEAD], b"0")


# The cgroup gives controllers to others below it, or is threaded, or was removed.
REFUSED = (errno.EBUSY, errno.EOPNOTSUPP, *GONE)


def _open_procs(directory: str) -> int:
    return os.open(f"{directory}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)


# -- create --------------------------------------------------------------------------------------


def create_cgroup(config: Config, host: Host, container_id: str, rootless: bool = False) -> Iterator[Step]:
    """Place HOST.  Raises OcirtError for a setting that v2 has not."""
    yield from make_cgroup(config, host, container_id, rootless)
    resources = config.linux.resources if config.linux else None
    new_namespace = new_cgroup_namespace(config)
    yield from own_cgroup(config, host)
    late = joins_late(resources)
    if new_namespace or not late:
        yield OpenForBirth()
    if late:
        yield OpenForLater(own_directory(host, "") if new_namespace else "")


def own_cgroup(config: Config, host: Host) -> Iterator[Step]:
    """Place HOST, when it is there: whose it is."""
    uid = owner(config) if new_cgroup_namespace(config) else None
    if uid and host.euid in (0, uid):
        yield OwnCgroup(uid)


def join_cgroup(config: Config, host: Host) -> Iterator[Step]:
    """Place INIT, before everything else.  A new namespace takes its root from where init is."""
    if new_cgroup_namespace(config):
        yield UnshareCgroupNamespace()
        if _joins_late(config):
            yield LeaveCgroup()


def join_cgroup_late(config: Config, host: Host) -> Iterator[Step]:
    """Place INIT, after everything else."""
    if _joins_late(config):
        yield JoinLate()


def _joins_late(config: Config) -> bool:
    return joins_late(config.linux.resources if config.linux else None)


def joins_late(resources: Resources | None) -> bool:
    """Whether init's set-up would hit a limit: little memory, or no process at all."""
    if resources is None:
        return False
    limits = [resources.unified[file] for file in MEMORY_FILES if file in resources.unified]
    if resources.memory is not None and resources.memory.limit:
        limits.append(str(resources.memory.limit))
    no_process = resources.pids is not None and resources.pids.limit == 0
    return no_process or resources.unified.get("pids.max") == "0" or any(is_small(text) for text in limits)


def is_small(amount: str) -> bool:
    """The text of a memory limit; with a unit it is taken for small, which is never wrong, only slower."""
    digits = amount.strip()
    return digits not in ("", "max", "-1") and (not digits.isdigit() or int(digits) < SMALL_MEMORY)


def owner(config: Config) -> int | None:
    """The user of the host who may own the cgroup, None for nobody (config-linux.md, Cgroup ownership)."""
    writable = any(
        mount.destination == "/sys/fs/cgroup" and mount.source == "cgroup" and "ro" not in mount.options
        for mount in config.mounts
    )
    if not writable or config.process is None or config.linux is None:
        return None
    uid = config.process.user.uid
    users = [namespace for namespace in config.linux.namespaces if namespace.type == "user"]
    if not users:
        return uid
    return _on_host(uid, config.linux.uid_mappings) if users[0].path is None else None


def _on_host(uid: int, mappings: tuple[IdMapping, ...]) -> int | None:
    for one in mappings:
        if one.container_id <= uid < one.container_id + one.size:
            return one.host_id + uid - one.container_id
    return None


# -- exec ----------------------------------------------------------------------------------------


def open_existing(host: Host, record: dict[str, Any], pid: int, wanted: tuple[str, ...]) -> Iterator[Step]:
    """Place HOST of exec, as in cgroup_v1.py.

    Where init moved to counts when its first cgroup is refused, unless the user named another.
    """
    directories = [sub_cgroups(record["paths"], wanted)[""]]
    if not wanted:
        try:
            directories.append(current_paths(host, pid)[""])
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESRCH):  # init has just ended: another step says so
                raise
    own = own_directory(host, "") if host.rootless and not wanted else ""
    yield OpenExisting(tuple(dict.fromkeys(directories)), existing_is_small(record), own)


def join_existing(host: Host) -> Iterator[Step]:
    """Place INIT of exec, first: the process was born there."""
    yield from ()


def join_existing_late(host: Host, record: dict[str, Any]) -> Iterator[Step]:
    """Place INIT of exec, after everything else."""
    if existing_is_small(record):
        yield JoinLate()


def existing_is_small(record: dict[str, Any]) -> bool:
    """Whether a process that enters a running container must join late."""
    for file in MEMORY_FILES:
        try:
            if is_small(read_file(record["paths"][""], file)):
                return True
        except OSError as error:
            if error.errno not in GONE:
                raise
    return False
