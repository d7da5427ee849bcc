"""The container's cgroup as a unit of systemd.  Imported for --systemd-cgroup only.

systemd makes a scope around a process that exists.  So init is born outside, in the runtime's cgroup; while it waits
for GO the unit is started with its pid and the files are written; then init unshares its cgroup namespace.

What init had in memory by then is charged to the runtime, its set-up costs the unit less than 1 MiB: no limit is
so small that it must be set later.

User documentation: systemd.scope(5), systemd.resource-control(5).
"""

from __future__ import annotations

from ocirt.cgroups.limits import device_rules
from ocirt.cgroups.paths import nearest_above, own_directory, sub_cgroups
from ocirt.cgroups.systemd import SystemdManager, open_systemd_manager, systemd_manager_from_record
from ocirt.cgroups.unit import SCOPE, unit_properties
from ocirt.cgroups.unit_properties import annotated, device_properties, properties_of, rounded
from ocirt.cgroups.v2 import may_move_below
from ocirt.pipeline import Step
from ocirt.stages import cgroup_v1
from ocirt.stages.cgroup import CreateCgroup, UnshareCgroupNamespace, WriteLimits, check, new_cgroup_namespace
from ocirt.stages.cgroup_v2 import OwnCgroup, owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocirt.box import Box
    from ocirt.cgroups import Write
    from ocirt.cgroups.unit_properties import Property
    from ocirt.config.views import Config, Resources
    from ocirt.host import Host


class ReserveUnit(CreateCgroup):
    """Host: see to it that the unit can be started.  Its undo, after the death of init, stops what was started."""

    __slots__ = ()

    def describe(self) -> str:
        return f"reserve {self.record['unit']} in {self.record['slice']}"


class AttachToUnit(Step):
    """Beside, of exec: the process into the unit's cgroup, by systemd.  below: "" or "/sub"."""

    __slots__ = ("below", "record")

    def __init__(self, record: dict[str, Any], below: str) -> None:
        self.at = ""
        self.record = record
        self.below = below

    def describe(self) -> str:
        return f"attach the process to {self.record['unit']}{self.below}"

    def apply(self, box: Box) -> None:
        systemd_manager_from_record(self.record).attach(box.pid, self.below)


class StartUnit(Step):
    """Beside: start the unit with init in it.  ReserveUnit takes it back, when init is dead."""

    __slots__ = ("properties",)

    def __init__(self, properties: tuple[Property, ...]) -> None:
        self.at = ""
        self.properties = properties

    def describe(self) -> str:
        return "start the unit with init in it: " + ", ".join(item.describe() for item in self.properties)

    def apply(self, box: Box) -> None:
        assert isinstance(box.manager, SystemdManager)
        box.manager.start(box.pid, self.properties)


def create_cgroup(config: Config, host: Host, container_id: str, rootless: bool = False) -> Iterator[Step]:
    """Place HOST.  rootless changes nothing: who asks for a unit gets one.

    On v1 the hierarchies that systemd does not know are joined as without it.
    """
    check(config)
    manager = _manager(config, host, container_id)
    path = config.linux.cgroups_path if config.linux else None
    yield ReserveUnit("/linux/cgroupsPath" if path else "", manager.record())
    if host.cgroup != "v2":
        yield cgroup_v1.open_new(config, host)


def start_unit(config: Config, host: Host, container_id: str) -> Iterator[Step]:
    """Place BESIDE, first.  Raises OcirtError as Manager.limits() does."""
    manager = _manager(config, host, container_id)
    resources = config.linux.resources if config.linux else None
    writes = rounded(manager.limits(resources, devices=_has_devices(host, manager)))
    yield StartUnit(
        (
            *unit_properties(manager.slice, manager.unit, container_id, unified=host.cgroup == "v2"),
            *properties_of(writes, scope=manager.unit.endswith(SCOPE)),
            *(device_properties(_device_rules(resources)) if _has_devices(host, manager) else ()),
            *annotated(config.annotations),
        )
    )
    uid = owner(config) if host.cgroup == "v2" and new_cgroup_namespace(config) else None
    if uid:
        yield OwnCgroup(uid)
    yield WriteLimits("/linux/resources", writes)


def join_cgroup(config: Config, host: Host) -> Iterator[Step]:
    """Place INIT, before everything else."""
    if host.cgroup != "v2":
        yield from cgroup_v1.join_cgroup(config, host)
    elif new_cgroup_namespace(config):
        yield UnshareCgroupNamespace()


def join_cgroup_late(config: Config, host: Host) -> Iterator[Step]:
    """Place INIT, after everything else."""
    if host.cgroup != "v2":
        yield from cgroup_v1.join_cgroup_late(config, host)


# -- exec, where the caller's rights do not reach the unit ----------------------------------------


def must_attach(host: Host, record: dict[str, Any]) -> bool:
    """Whether the caller may not move a process from their own cgroup to the container's: a login session is not
    below the user's systemd."""
    return not may_move_below(nearest_above(own_directory(host, ""), record["paths"][""]))


def open_existing(host: Host, record: dict[str, Any], pid: int, wanted: tuple[str, ...]) -> Iterator[Step]:
    """Place HOST: nothing is opened."""
    yield from ()


def attach(record: dict[str, Any], wanted: tuple[str, ...]) -> Iterator[Step]:
    """Place BESIDE.  wanted: the values of --cgroup.  Raises UsageError for one that does not fit."""
    yield AttachToUnit(record, sub_cgroups(record["paths"], wanted)[""].removeprefix(record["paths"][""]))


def join_existing(host: Host) -> Iterator[Step]:
    """Place INIT, first: nothing."""
    yield from ()


def join_existing_late(host: Host, record: dict[str, Any]) -> Iterator[Step]:
    """Place INIT, after everything else: nothing."""
    yield from ()


def _manager(config: Config, host: Host, container_id: str) -> SystemdManager:
    return open_systemd_manager(host, config.linux.cgroups_path if config.linux else None, container_id)


def _has_devices(host: Host, manager: SystemdManager) -> bool:
    """No user may load the program that decides about devices, nor does a user's systemd try."""
    return not (host.userns or manager.user)


def _device_rules(resources: Resources | None) -> Iterator[Write]:
    return device_rules(resources.devices, f"{resources.at}/devices") if resources else device_rules((), "")
