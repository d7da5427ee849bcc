"""The container's resctrl group (config-linux.md, IntelRdt).  Imported for linux.intelRdt only.

The runtime makes the group before the clone and puts init into it while that waits for GO: whatever init starts is
born in it.

User documentation: mkdir(2), and the kernel's Documentation/filesystems/resctrl.rst.
"""

from __future__ import annotations

from ocirt import log
from ocirt.errors import ConfigError, OcirtError
from ocirt.pipeline import HOST, Step
from ocirt.resctrl import (
    L3,
    MB,
    NOT_GROUPS,
    Group,
    difference,
    has,
    make,
    recorded_group,
    remove,
    remove_if_unused,
)
from ocirt.system import path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocirt.box import Box
    from ocirt.config.views import IntelRdt, Linux
    from ocirt.host import Host
    from ocirt.pipeline import Plan

# Box.facts: the directory that was made, and the schemata of a group before they were written to.
GROUP_MADE, MONITOR_MADE, SCHEMATA_BEFORE = "resctrl/group", "resctrl/monitor", "resctrl/before"


class MakeGroup(Step):
    """Host: make the group, or make sure that the one that is there has what is wanted; write the schemata.

    own: the container's alone, for it has its ID.  wanted: (JSON pointer, schema) of l3CacheSchema and memBwSchema;
    schemata: lines that are written after these.
    """

    __slots__ = ("group", "own", "schemata", "wanted")

    def __init__(
        self, at: str, group: Group, own: bool, wanted: tuple[tuple[str, str], ...], schemata: tuple[str, ...]
    ) -> None:
        self.at = at
        self.group = group
        self.own = own
        self.wanted = wanted
        self.schemata = schemata

    @property
    def makes(self) -> str:
        """The directory; "" for a named group without schemata, which somebody must have prepared."""
        return self.group.directory if self.own or self.wanted or self.schemata else ""

    def describe(self) -> str:
        lines = ", ".join((*(schema for _, schema in self.wanted), *self.schemata))
        return f"{'make' if self.makes else 'use'} resctrl group {self.group.directory}{f': {lines}' if lines else ''}"

    def apply(self, box: Box) -> None:
        group = self.group
        for at, schema in self.wanted:
            require_resource(group.root, at, schema)
        if not self.makes:
            if not path.isdir(group.directory):
                raise OcirtError(
                    "resctrl",
                    f"the resctrl group {group.directory} does not exist, and there is no schema to make it with",
                    at=self.at,
                    remedy="make it first (mkdir), give a schema for it, or leave closID out",
                )
            return
        if make(group.root, group.directory):
            box.facts[GROUP_MADE] = group.directory
        else:
            self._compare()
            if self.schemata:
                box.facts[SCHEMATA_BEFORE] = group.schemata()
        if self.wanted:
            group.write(tuple(schema for _, schema in self.wanted), self.wanted[0][0])
        if self.schemata:
            group.write(self.schemata, "/linux/intelRdt/schemata")

    def _compare(self) -> None:
        there = self.group.schemata()
        for at, schema in self.wanted:
            other = difference(self.group.root, schema, there)
            if other:
                raise OcirtError(
                    "resctrl",
                    f"the resctrl group {self.group.directory} is there and differs from {log.quote(schema)}: {other}",
                    at=at,
                    remedy="use another closID, or change what the group has for all who are in it",
                )

    def undo(self, box: Box) -> None:
        """After the death of init."""
        before = box.facts.pop(SCHEMATA_BEFORE, "")
        if before:
            self.group.write(tuple(str(before).split("\n")))
        if box.facts.pop(GROUP_MADE, ""):
            remove_if_unused(self.group.directory)


class MakeMonitor(Step):
    """Host: make the group that counts what the container uses; the container's alone."""

    __slots__ = ("group",)

    def __init__(self, at: str, group: Group) -> None:
        self.at = at
        self.group = group

    @property
    def makes(self) -> str:
        return self.group.monitor

    def describe(self) -> str:
        return f"make resctrl monitoring group {self.group.monitor}"

    def apply(self, box: Box) -> None:
        if not make(self.group.root, self.group.monitor):
            raise OcirtError("resctrl", f"the resctrl monitoring group {self.group.monitor} is there already")
        box.facts[MONITOR_MADE] = self.group.monitor

    def undo(self, box: Box) -> None:
        if box.facts.pop(MONITOR_MADE, ""):
            remove(self.group.monitor)


class JoinGroup(Step):
    """Beside: put the process, which waits, into the group.

    may_be_gone: whoever removed the group after create wanted its tasks to have no limits.
    """

    __slots__ = ("group", "may_be_gone")

    def __init__(self, at: str, group: Group, may_be_gone: bool = False) -> None:
        self.at = at
        self.group = group
        self.may_be_gone = may_be_gone

    def describe(self) -> str:
        return f"join resctrl group {self.group.monitor or self.group.directory}"

    def apply(self, box: Box) -> None:
        group = self.group
        gone = [directory for directory in (group.directory, group.monitor) if directory and not path.isdir(directory)]
        if self.may_be_gone and gone:
            log.warning(f"the resctrl group {gone[0]} is gone")
            if group.directory in gone:
                return
            group = Group(group.root, group.directory)
        group.join(box.pid)


def require_resource(root: str, at: str, schema: str) -> None:
    """Raise OcirtError("unsupported") for a cache or a bandwidth that is not controlled here; runc's words."""
    for resource, member, name in ((L3, "l3CacheSchema", "CAT"), (MB, "memBwSchema", "MBA")):
        if at.endswith(member) and schema and not has(root, resource):
            raise OcirtError(
                "unsupported",
                f"intelRdt.{member} is specified in config, but Intel RDT/{name} is not enabled",
                at=at,
                remedy="the directory info of the resctrl file system shows what the processor and the kernel's"
                " parameter rdt= allow",
            )


def make_groups(linux: Linux, host: Host, container_id: str) -> Iterator[Step]:
    """HOST.  Raises OcirtError("unsupported") without a resctrl file system, ConfigError for an ID that is no name."""
    rdt = linux.intel_rdt
    assert rdt is not None
    group = _group(rdt, host, container_id)
    if rdt.l3_cache_schema and not rdt.l3_cache_schema.startswith("L3:"):
        log.warning(f"l3CacheSchema should begin with L3: [{rdt.at}/l3CacheSchema]")
    named = (("l3CacheSchema", rdt.l3_cache_schema), ("memBwSchema", rdt.mem_bw_schema))
    wanted = tuple((f"{rdt.at}/{name}", schema) for name, schema in named if schema)
    yield MakeGroup(f"{rdt.at}/closID" if rdt.clos_id else rdt.at, group, not rdt.clos_id, wanted, rdt.schemata)
    if group.monitor:
        yield MakeMonitor(f"{rdt.at}/enableMonitoring", group)


def join_groups(linux: Linux, host: Host, container_id: str) -> Iterator[Step]:
    """BESIDE."""
    assert linux.intel_rdt is not None
    yield JoinGroup(linux.intel_rdt.at, _group(linux.intel_rdt, host, container_id))


def join_recorded(record: dict[str, Any]) -> Iterator[Step]:
    """BESIDE, of exec.  record: of the container, as groups_to_make() and note_made() make it."""
    yield JoinGroup("/linux/intelRdt", recorded_group(record), may_be_gone=True)


def _group(rdt: IntelRdt, host: Host, container_id: str) -> Group:
    if not host.resctrl:
        raise OcirtError(
            "unsupported",
            "intelRdt is specified in config, but Intel RDT is not enabled",
            at=rdt.at,
            remedy="mount -t resctrl resctrl /sys/fs/resctrl, where the processor and the kernel have it",
        )
    if not rdt.clos_id and container_id in NOT_GROUPS:
        raise ConfigError("rule", f"{container_id!r} cannot be the name of a resctrl group: give a closID", at=rdt.at)
    closid = rdt.clos_id or container_id
    directory = host.resctrl if closid == "/" else f"{host.resctrl}/{closid}"
    return Group(host.resctrl, directory, f"{directory}/mon_groups/{container_id}" if rdt.enable_monitoring else "")


# -- the record -----------------------------------------------------------------------------------


def groups_to_make(plan: Plan) -> dict[str, Any]:
    """What create is about to make, for a `delete` after it was killed.

    root, group, monitor: as of Group.  made: what create made and delete removes, parents first.  wanted: what is not
    there now and will be made; empty when create has come to its end.
    """
    steps = [step for stage in plan.part(HOST) for step in stage.steps if isinstance(step, MakeGroup | MakeMonitor)]
    group = steps[0].group
    wanted = [step.makes for step in steps if step.makes and not path.isdir(step.makes)]
    return {"root": group.root, "group": group.directory, "monitor": group.monitor, "made": [], "wanted": wanted}


def note_made(record: dict[str, Any], plan: Plan, box: Box) -> None:
    """When the groups are made: a group with a closID is everybody's, and stays (config-linux.md, IntelRdt)."""
    own = any(isinstance(step, MakeGroup) and step.own for stage in plan.part(HOST) for step in stage.steps)
    group, monitor = box.facts.get(GROUP_MADE), box.facts.get(MONITOR_MADE)
    record["made"] = [directory for directory in (group if own else None, monitor) if directory]
    record["wanted"] = [group] if group and not own else []
