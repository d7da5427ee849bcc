"""The container's cgroup: made and limited by the runtime, joined by init itself: the part that v1 and v2 share.

cgroup_v1.py and cgroup_v2.py offer the same functions, for a host of their kind; cgroup_systemd.py those of create.

User documentation: cgroups(7), cgroup_namespaces(7).
"""

from __future__ import annotations

from ocirt import log
from ocirt.cgroups import manager_from_record, open_manager
from ocirt.cgroups.files import missing_directories
from ocirt.cgroups.writer import without_cgroup
from ocirt.kernel.flags import CLONE_NEWCGROUP
from ocirt.pipeline import HOST, Step
from ocirt.stages.namespaces import new_namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from typing import Any

    from ocirt.box import Box
    from ocirt.cgroups import Write
    from ocirt.config.views import Config
    from ocirt.host import Host
    from ocirt.pipeline import Plan

BIRTH = "cgroup"  # box.fds: the v2 directory, for clone3
BIRTH_INSTEAD = "cgroup/instead"  # box.fds: another, for when the kernel refuses that one
OUTSIDE = "cgroup/outside"  # box.fds: where the runtime itself is: `tasks` of its v1 memory cgroup, v2 cgroup.procs

NO_RIGHTS = (
    "no cgroup here is yours to write: have one delegated (systemd-run --user --scope -p Delegate=yes, on cgroup v2),"
    " or remove the limit"
)


class CreateCgroup(Step):
    """Host: make the directories; box.manager is set.  record: as Manager.record() of the empty manager.

    rootless: hierarchies that are denied are left out; box.manager is None when all are.
    own_pids: the container has a pid namespace, so that the end of init ends it whole.
    mount_points: of the hierarchies; nobody need look whether these directories are there.
    """

    __slots__ = ("mount_points", "own_pids", "record", "rootless")

    def __init__(
        self,
        at: str,
        record: dict[str, Any],
        rootless: bool = False,
        own_pids: bool = True,
        mount_points: Container[str] = (),
    ) -> None:
        self.at = at
        self.mount_points = mount_points
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

    __slots__ = ("unified", "writes")

    def __init__(self, at: str, writes: tuple[Write, ...], unified: bool = False) -> None:
        self.at = at
        self.writes = writes
        self.unified = unified

    def describe(self) -> str:
        return "write limits: " + ", ".join(
            f"{write.file}{'<' if write.must_exceed else '='}{write.text}" for write in self.writes
        )

    def apply(self, box: Box) -> None:
        if box.manager is not None:
            box.manager.write(self.writes)
            return
        refusal = without_cgroup(self.writes[0], NO_RIGHTS)
        if self.unified:
            refusal.what = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups"
        raise refusal


class UnshareCgroupNamespace(Step):
    """Init: the new namespace's root is where init is now, in every hierarchy (cgroup_namespaces(7))."""

    __slots__ = ()

    def __init__(self) -> None:
        self.at = "/linux/namespaces"

    def describe(self) -> str:
        return "unshare the cgroup namespace"

    def apply(self, box: Box) -> None:
        box.kernel.unshare(CLONE_NEWCGROUP)


def make_cgroup(config: Config, host: Host, container_id: str, rootless: bool) -> Iterator[Step]:
    """Place HOST.  Raises OcirtError when a limit needs what the host has not.

    rootless: without limits and cgroupsPath, be content with no cgroup where none is permitted.
    """
    check(config)
    path = config.linux.cgroups_path if config.linux else None
    resources = config.linux.resources if config.linux else None
    contented = rootless and not path
    if contented and resources is None and host.cgroup == "none":
        return
    manager = open_manager(host, path, container_id)
    # Who is not the host's root can make no device either.
    writes = manager.limits(resources, devices=not host.rootless)
    at, mount_points = "/linux/cgroupsPath" if path else "", {*host.cgroup_mounts.values(), host.unified_mount}
    yield CreateCgroup(at, manager.record(), contented, is_new(config, "pid"), mount_points)
    if writes:
        yield WriteLimits("/linux/resources", writes, manager.kind == "v2")


def directories_to_make(plan: Plan) -> list[str]:
    """The cgroups that the plan would make now, parents before children; on v2 systemd makes those of a unit."""
    found: list[str] = []
    for step in (step for stage in plan.part(HOST) for step in stage.steps):
        if isinstance(step, CreateCgroup) and step.record.get("files") != "v2":
            for directory in sorted(set(step.record["paths"].values())):
                missing = missing_directories(directory, step.mount_points)
                found += [path for path in missing if path not in found]
    return found


def new_cgroup_namespace(config: Config) -> bool:
    return is_new(config, "cgroup")


def is_new(config: Config, kind: str) -> bool:
    return kind in new_namespaces(config.linux)


def check(config: Config) -> None:
    """Warn of what is ignored."""
    resources = config.linux.resources if config.linux else None
    memory = resources.memory if resources else None
    if memory is not None and (memory.kernel is not None or memory.kernel_tcp is not None):
        log.warning("kernel memory limits are deprecated and ignored [/linux/resources/memory/kernel]")
