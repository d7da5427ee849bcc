"""The container's cgroups on a host with cgroup v1, also beside v2: see cgroup.py.

A single-threaded process that writes "0" to `tasks` joins in 25 us; to move another process through
cgroup.procs waits for an RCU grace period, 7-15 ms.  The kernel checks the rights of the process that
opened the file, so the runtime opens and init writes.  The v2 directory of a hybrid host is entered by
birth: clone3(CLONE_INTO_CGROUP) with box.fds["cgroup"].

The memory hierarchy is joined last: what init's set-up touches is charged to the runtime, and a limit of
a few MiB does not kill it.

User documentation: cgroups(7), clone(2).
"""

from __future__ import annotations

import errno

from ocirt import system as os
from ocirt.cgroups.paths import current_paths, one_controller_each, own_directory, sub_cgroups
from ocirt.cgroups.v1 import V1Manager
from ocirt.pipeline import Step
from ocirt.stages.cgroup import BIRTH, OUTSIDE, UnshareCgroupNamespace, make_cgroup, new_cgroup_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocirt.box import Box
    from ocirt.config.views import Config
    from ocirt.host import Host

MEMORY = "memory"


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


def create_cgroup(config: Config, host: Host, container_id: str, rootless: bool = False) -> Iterator[Step]:
    """Place HOST.  Raises OcirtError when a limit needs a controller that the host has not."""
    yield from make_cgroup(config, host, container_id, rootless)
    yield open_new(config, host)


def open_new(config: Config, host: Host) -> Step:
    """Place HOST, when the cgroup is there."""
    return OpenCgroup(own_directory(host, MEMORY) if _has_memory(host) and new_cgroup_namespace(config) else "")


def join_cgroup(config: Config, host: Host) -> Iterator[Step]:
    """Place INIT, before everything else.

    Init visits the memory cgroup early only because a new cgroup namespace takes its root from there.
    """
    hierarchies = _hierarchies(host)
    if not new_cgroup_namespace(config):
        yield JoinCgroup(tuple(name for name in hierarchies if name != MEMORY))
        return
    yield JoinCgroup(hierarchies)
    yield UnshareCgroupNamespace()
    if MEMORY in hierarchies:
        yield LeaveMemoryCgroup()


def join_cgroup_late(config: Config, host: Host) -> Iterator[Step]:
    """Place INIT, after everything else."""
    yield from _join_memory(host)


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


def join_existing_late(host: Host, record: dict[str, Any]) -> Iterator[Step]:
    """Place INIT of exec, after everything else."""
    yield from _join_memory(host)


def _join_memory(host: Host) -> Iterator[Step]:
    if _has_memory(host):
        yield JoinCgroup((MEMORY,))


def _has_memory(host: Host) -> bool:
    return MEMORY in host.cgroup_mounts


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


def _hierarchies(host: Host) -> tuple[str, ...]:
    """One controller of each v1 hierarchy."""
    return tuple(one_controller_each(host.cgroup_mounts).values())
