"""The container's cgroup: made and limited by the runtime, joined by init itself.

On v1 a single-threaded process that writes "0" to `tasks` joins in 25 us; to move another process through
cgroup.procs waits for an RCU grace period, 7-15 ms.  The kernel checks the rights of the process that
opened the file, so the runtime opens and init writes.  The v2 directory of a hybrid host is entered by
birth: clone3(CLONE_INTO_CGROUP) with box.fds["cgroup"].

The memory hierarchy is joined last: what init's set-up touches is charged to the runtime, and a limit of
a few MiB does not kill it.
"""

from __future__ import annotations

import errno

from ocirt import log
from ocirt import system as os
from ocirt.cgroups import manager_from_record, open_manager
from ocirt.cgroups.limits import limits
from ocirt.cgroups.v1 import V1Manager, current_paths, one_controller_each, own_directory, sub_cgroups
from ocirt.cgroups.writer import not_mounted, without_cgroup
from ocirt.errors import OcirtError
from ocirt.kernel.flags import CLONE_NEWCGROUP
from ocirt.pipeline import Step
from ocirt.stages.namespaces import new_namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocirt.box import Box
    from ocirt.cgroups import Write
    from ocirt.config.views import Config, Resources
    from ocirt.host import Host

BIRTH = "cgroup"  # box.fds: the v2 directory, for clone3
OUTSIDE = "cgroup/outside"  # box.fds: `tasks` of the runtime's own memory cgroup
MEMORY = "memory"

NO_RIGHTS = (
    "no cgroup here is yours to write: have one delegated (systemd-run --user --scope -p Delegate=yes, on cgroup v2),"
    " or remove the limit"
)


class CreateCgroup(Step):
    """Host: make the directories; box.manager is set.  record: as Manager.record() of the empty manager.

    rootless: hierarchies that are denied are left out; box.manager is None when all are.
    own_pids: the container has a pid namespace, so that the end of init ends it whole.
    """

    __slots__ = ("own_pids", "record", "rootless")

    def __init__(self, at: str, record: dict[str, Any], rootless: bool = False, own_pids: bool = True) -> None:
        self.at = at
        self.record = record
        self.rootless = rootless
        self.own_pids = own_pids

    def describe(self) -> str:
        return f"create cgroup {' '.join(sorted(set(self.record['paths'].values())))}{' if allowed' * self.rootless}"

    def apply(self, box: Box) -> None:
        box.manager = manager_from_record(self.record)
        box.manager.create(self.rootless)
        if not box.manager.paths:
            box.manager = None
            if not self.own_pids:
                log.warning("no cgroup and no pid namespace: kill and delete will not find all of its processes")

    def undo(self, box: Box) -> None:
        if box.manager is not None:
            box.manager.remove()


class WriteLimits(Step):
    """Host: every limit, before anything runs in the cgroup.  Raises OcirtError when there is no cgroup to limit."""

    __slots__ = ("writes",)

    def __init__(self, at: str, writes: tuple[Write, ...]) -> None:
        self.at = at
        self.writes = writes

    def describe(self) -> str:
        return "write limits: " + ", ".join(f"{write.file}={write.text}" for write in self.writes)

    def apply(self, box: Box) -> None:
        if box.manager is not None:
            box.manager.write(self.writes)
        else:
            raise without_cgroup(self.writes[0], NO_RIGHTS)


class OpenCgroup(Step):
    """Host: descriptors for joining.  outside: the runtime's own memory cgroup, "" when init need not leave again."""

    __slots__ = ("outside",)

    def __init__(self, outside: str) -> None:
        self.at = ""
        self.outside = outside

    def describe(self) -> str:
        return "open the cgroup for joining"

    def apply(self, box: Box) -> None:
        if box.manager is None:
            return
        _keep_for_join(box, box.manager.open_for_join())
        if self.outside and MEMORY in box.manager.paths:
            box.fds[OUTSIDE] = os.open(f"{self.outside}/tasks", os.O_WRONLY | os.O_CLOEXEC)


class OpenExistingCgroup(Step):
    """Host: descriptors for joining a running container's cgroup.

    paths: controller -> directory.  instead: where init is now, used when one of paths is gone because init
    moved itself elsewhere; {} when the user named a sub-cgroup and nothing else will do.
    """

    __slots__ = ("instead", "paths")

    def __init__(self, paths: dict[str, str], instead: dict[str, str]) -> None:
        self.at = ""
        self.paths = paths
        self.instead = instead

    def describe(self) -> str:
        return f"open cgroup {' '.join(sorted(set(self.paths.values())))} for joining"

    def apply(self, box: Box) -> None:
        try:
            opened = V1Manager(self.paths).open_for_join()
        except FileNotFoundError:
            if not self.instead:
                raise
            opened = V1Manager(self.instead).open_for_join()
        _keep_for_join(box, opened)


class JoinCgroup(Step):
    """Init: join the hierarchies of these controllers, but for those in which the container has no cgroup."""

    __slots__ = ("controllers",)

    def __init__(self, controllers: tuple[str, ...]) -> None:
        self.at = ""
        self.controllers = controllers

    def describe(self) -> str:
        return f"join cgroups {' '.join(self.controllers)}"

    def apply(self, box: Box) -> None:
        for controller in self.controllers:
            fd = box.fds.get(f"cgroup/{controller}", -1)
            if fd >= 0:
                box.kernel.write(fd, b"0")


class LeaveMemoryCgroup(Step):
    """Init: back to the runtime's memory cgroup for the time of the set-up."""

    __slots__ = ()

    def __init__(self) -> None:
        self.at = ""

    def describe(self) -> str:
        return "leave the memory cgroup until the set-up is done"

    def apply(self, box: Box) -> None:
        if OUTSIDE in box.fds:
            box.kernel.write(box.fds[OUTSIDE], b"0")


class UnshareCgroupNamespace(Step):
    """Init: the new namespace's root is where init is now, in every hierarchy (cgroup_namespaces(7))."""

    __slots__ = ()

    def __init__(self) -> None:
        self.at = "/linux/namespaces"

    def describe(self) -> str:
        return "unshare the cgroup namespace"

    def apply(self, box: Box) -> None:
        box.kernel.unshare(CLONE_NEWCGROUP)


def create_cgroup(config: Config, host: Host, container_id: str, rootless: bool = False) -> Iterator[Step]:
    """Place HOST.  Raises OcirtError when a limit needs a controller that the host has not, and for intelRdt.

    rootless: without limits and cgroupsPath, be content with no cgroup where none is permitted.
    """
    if config.linux and config.linux.intel_rdt:
        raise OcirtError("unsupported", "intelRdt is not supported yet", at="/linux/intelRdt")
    path = config.linux.cgroups_path if config.linux else None
    resources = config.linux.resources if config.linux else None
    # Device rules are for the host's root to make; whoever is not can neither make device nodes.
    writes = limits(resources, devices=not host.rootless)
    contented = rootless and not path
    if contented and not writes and host.cgroup == "none":
        return
    manager = open_manager(host, path, container_id)
    for write in writes:
        if write.controller not in manager.paths:
            raise not_mounted(write)
    _warn_of_ignored(resources)
    yield CreateCgroup("/linux/cgroupsPath" if path else "", manager.record(), contented, _is_new(config, "pid"))
    if writes:
        yield WriteLimits("/linux/resources", writes)
    outside = own_directory(host, MEMORY) if MEMORY in manager.paths and _is_new(config, "cgroup") else ""
    yield OpenCgroup(outside)


def join_cgroup(config: Config, host: Host) -> Iterator[Step]:
    """Place INIT, before everything else.

    Init visits the memory cgroup early only because a new cgroup namespace takes its root from there.
    """
    hierarchies = _hierarchies(host)
    if not _is_new(config, "cgroup"):
        yield JoinCgroup(tuple(name for name in hierarchies if name != MEMORY))
        return
    yield JoinCgroup(hierarchies)
    yield UnshareCgroupNamespace()
    if MEMORY in hierarchies:
        yield LeaveMemoryCgroup()


def join_memory_cgroup(host: Host) -> Iterator[Step]:
    """Place INIT, after everything else; of create and of exec."""
    if MEMORY in host.cgroup_mounts:
        yield JoinCgroup((MEMORY,))


def open_existing(host: Host, record: dict[str, Any], pid: int, wanted: tuple[str, ...]) -> Iterator[Step]:
    """Place HOST of exec.  record: of the container's manager; pid: its init; wanted: the values of --cgroup.

    Raises UsageError for a --cgroup that does not fit.
    """
    paths = sub_cgroups(record["paths"], wanted)
    instead = {} if wanted else _current(host, pid)
    yield OpenExistingCgroup(paths, {name: path for name, path in instead.items() if name in paths})


def join_existing(host: Host) -> Iterator[Step]:
    """Place INIT of exec, first."""
    yield JoinCgroup(tuple(name for name in _hierarchies(host) if name != MEMORY))


def _current(host: Host, pid: int) -> dict[str, str]:
    try:
        return current_paths(host, pid)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESRCH):
            raise
        return {}  # init has just ended: the step that looks for its namespaces says so


def _keep_for_join(box: Box, opened: dict[str, int]) -> None:
    for controller, fd in opened.items():
        box.fds[f"cgroup/{controller}" if controller else BIRTH] = fd


def _warn_of_ignored(resources: Resources | None) -> None:
    memory = resources.memory if resources else None
    if memory is not None and (memory.kernel is not None or memory.kernel_tcp is not None):
        log.warning("kernel memory limits are deprecated and ignored [/linux/resources/memory/kernel]")


def _hierarchies(host: Host) -> tuple[str, ...]:
    """One controller of each v1 hierarchy."""
    return tuple(one_controller_each(host.cgroup_mounts).values())


def _is_new(config: Config, kind: str) -> bool:
    return kind in new_namespaces(config.linux)
