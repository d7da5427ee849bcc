"""What create writes down of its container, and when: so that `delete` finds all of it whenever create is killed.

before the host steps     state.json: which cgroups and resctrl groups are to be made (lifecycle.create)
made, init is born        state.json.new: what was made, and init; not its status, which is `creating` still
init is ready             takes the place of state.json: `created`, or `running`
"""

from __future__ import annotations

from ocirt import log
from ocirt.box import ROOT_FACTS
from ocirt.container import process_start
from ocirt.process.launch import Notes
from ocirt.process.lifecycle import STANDARD, destroy, hand_over

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.box import Box
    from ocirt.cgroups import Manager
    from ocirt.container import Container
    from ocirt.pipeline import Plan, Undo
    from ocirt.process.lifecycle import Wishes


class Making(Notes):
    """undo: of create."""

    def __init__(self, container: Container, plan: Plan, box: Box, wishes: Wishes, undo: Undo) -> None:
        self.container = container
        self.plan = plan
        self.box = box
        self.wishes = wishes
        self.undo = undo

    def made(self) -> None:
        box, record = self.box, self.container.record
        record["cgroup"] = recorded(box.manager)
        record["cgroup_wanted"] = []
        if "resctrl" in record:
            from ocirt.stages.resctrl import note_made

            note_made(record["resctrl"], self.plan, box)
        record["root_mount"] = [box.facts[name] for name in ROOT_FACTS if name in box.facts]
        self.container.dump()

    def born(self) -> None:
        """Should this process be killed before this is written, init dies with it and has done nothing; on cgroup v2
        it is in the container's cgroup for a moment longer (cgroups.claim.remove_left)."""
        record = self.container.record
        record["pid"] = self.box.pid
        record["start_time"] = process_start(self.box.pid) or 0
        self.container.save_ahead()

    def ready(self) -> None:
        record, manager = self.container.record, self.box.manager
        if manager is not None:
            manager.release()
        self.container.publish()
        cgroup = recorded(manager)  # it may have turned out that there is no mark
        if cgroup != record["cgroup"] or "resctrl" in record:
            record["cgroup"] = cgroup
            if "resctrl" in record:
                record["resctrl"]["wanted"] = []
            self.container.save()  # not before: until then state.json.new alone says what was made

    def end(self) -> None:
        log.phase("hand over what the caller asked for")
        self.undo.replace(lambda: destroy(self.container))
        hand_over(self.wishes, self.box.pid, STANDARD)


def recorded(manager: Manager | None) -> dict[str, Any] | None:
    """Its record as it is now: what the manager does to its lists later is not seen."""
    if manager is None:
        return None
    return {
        name: value.copy() if isinstance(value, (dict, list)) else value for name, value in manager.record().items()
    }
