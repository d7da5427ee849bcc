"""The container's cgroup: made and limited by the runtime, joined by init itself: the part that v1 and v2 share.

cgroup_v1.py and cgroup_v2.py offer the same functions, for a host of their kind; cgroup_systemd.py those of create.
"""

from __future__ import annotations

from ocirt import log
from ocirt.cgroups import manager_from_record, open_manager
from ocirt.errors import OcirtError
from ocirt.kernel.flags import CLONE_NEWCGROUP
from ocirt.pipeline import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocirt.box import Box
    from ocirt.cgroups import Write
    from ocirt.config.views import Config
    from ocirt.host import Host

BIRTH = "cgroup"  # box.fds: the v2 directory, for clone3
BIRTH_INSTEAD = "cgroup/instead"  # box.fds: another, for when the kernel refuses that one
OUTSIDE = "cgroup/outside"  # box.fds: where the runtime itself is: `tasks` of its v1 memory cgroup, v2 cgroup.procs


class CreateCgroup(Step):
    """Host: make the directories; box.manager is set.  record: as Manager.record() of the empty manager."""

    __slots__ = ("record",)

    def __init__(self, at: str, record: dict[str, Any]) -> None:
        self.at = at
        self.record = record

    def describe(self) -> str:
        return f"create cgroup {' '.join(sorted(set(self.record['paths'].values())))}"

    def apply(self, box: Box) -> None:
        box.manager = manager_from_record(self.record)
        box.manager.create()

    def undo(self, box: Box) -> None:
        if box.manager is not None:
            box.manager.remove()


class WriteLimits(Step):
    """Host: every limit, before anything runs in the cgroup."""

    __slots__ = ("writes",)

    def __init__(self, at: str, writes: tuple[Write, ...]) -> None:
        self.at = at
        self.writes = writes

    def describe(self) -> str:
        return "write limits: " + ", ".join(
            f"{write.file}{'<' if write.must_exceed else '='}{write.text}" for write in self.writes
        )

    def apply(self, box: Box) -> None:
        assert box.manager is not None
        box.manager.write(self.writes)


class UnshareCgroupNamespace(Step):
    """Init: the new namespace's root is where init is now, in every hierarchy (cgroup_namespaces(7))."""

    __slots__ = ()

    def __init__(self) -> None:
        self.at = "/linux/namespaces"

    def describe(self) -> str:
        return "unshare the cgroup namespace"

    def apply(self, box: Box) -> None:
        box.kernel.unshare(CLONE_NEWCGROUP)


def make_cgroup(config: Config, host: Host, container_id: str) -> Iterator[Step]:
    """Place HOST.  Raises OcirtError when a limit needs what the host has not, and for intelRdt."""
    check(config)
    path = config.linux.cgroups_path if config.linux else None
    resources = config.linux.resources if config.linux else None
    manager = open_manager(host, path, container_id)
    writes = manager.limits(resources, devices=not host.userns)
    yield CreateCgroup("/linux/cgroupsPath" if path else "", manager.record())
    yield WriteLimits("/linux/resources", writes)


def new_cgroup_namespace(config: Config) -> bool:
    namespaces = config.linux.namespaces if config.linux else ()
    return any(namespace.type == "cgroup" and namespace.path is None for namespace in namespaces)


def check(config: Config) -> None:
    """Warn of what is ignored.  Raises OcirtError for intelRdt."""
    if config.linux and config.linux.intel_rdt:
        raise OcirtError("unsupported", "intelRdt is not supported yet", at="/linux/intelRdt")
    resources = config.linux.resources if config.linux else None
    memory = resources.memory if resources else None
    if memory is not None and (memory.kernel is not None or memory.kernel_tcp is not None):
        log.warning("kernel memory limits are deprecated and ignored [/linux/resources/memory/kernel]")
