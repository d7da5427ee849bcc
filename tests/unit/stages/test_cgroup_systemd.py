"""The steps of a container whose cgroup is systemd's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ocirt.box import Box
from ocirt.cgroups import v2
from ocirt.cgroups.systemd import SystemdManager
from ocirt.config.views import Config
from ocirt.errors import ConfigError, OcirtError, UsageError
from ocirt.host import Host
from ocirt.pipeline import HOST as HOST_PLACE
from ocirt.pipeline import Plan, Stage, Step
from ocirt.stages import cgroup_systemd, cgroup_v1
from ocirt.stages.cgroup import UnshareCgroupNamespace, WriteLimits, directories_to_make
from ocirt.stages.cgroup_systemd import (
    ReserveUnit,
    StartUnit,
    create_cgroup,
    join_cgroup,
    join_cgroup_late,
    start_unit,
)
from ocirt.stages.cgroup_v1 import OpenCgroup
from ocirt.stages.cgroup_v2 import OwnCgroup
from tests.support.recorder import Recorder

V2 = {"cgroup": "v2", "unified_mount": "/sys/fs/cgroup", "own_cgroups": {"": "/user.slice"}}
HOST = Host(**V2, systemd="system")  # type: ignore[arg-type]
USER = Host(**V2, systemd="user", euid=1000)  # type: ignore[arg-type]
HYBRID = Host(
    cgroup="hybrid",
    cgroup_mounts={name: f"/c/{name}" for name in ("memory", "pids", "name=systemd")},
    unified_mount="/c/unified",
    own_cgroups=dict.fromkeys(("memory", "pids", "name=systemd", ""), "/"),
    systemd="system",
)


def config(*namespaces: str, annotations: dict[str, str] | None = None, **linux: Any) -> Config:
    return Config(
        {"annotations": annotations or {}, "linux": {"namespaces": [{"type": n} for n in namespaces], **linux}}
    )


def properties(steps: Any) -> dict[str, object]:
    found = [step for step in steps if isinstance(step, StartUnit)]
    assert len(found) == 1
    return {item.name: item.value for item in found[0].properties}


def kinds(steps: Any) -> list[type[Step]]:
    return [type(step) for step in steps]


def test_what_create_makes_by_itself_is_noted_first() -> None:
    """On v1 the directories are made before the unit; a create that is killed in between must not leave them."""
    hybrid = Plan(Stage("cgroup", HOST_PLACE, create_cgroup(config(), HYBRID, "web1")), clone_flags=0)
    below = "system.slice/ocirt-web1.scope"
    assert [path for path in directories_to_make(hybrid) if path.endswith(".scope")] == [
        f"/c/memory/{below}",
        f"/c/name=systemd/{below}",
        f"/c/pids/{below}",
        f"/c/unified/{below}",
    ]
    v2 = Plan(Stage("cgroup", HOST_PLACE, create_cgroup(config(), HOST, "web1")), clone_flags=0)
    assert directories_to_make(v2) == []  # systemd makes them, with the unit


def test_on_v2_init_is_born_outside_and_moved_by_systemd() -> None:
    made = config("cgroup")
    assert kinds(create_cgroup(made, HOST, "web1")) == [ReserveUnit]
    assert kinds(start_unit(made, HOST, "web1")) == [StartUnit, WriteLimits]
    assert kinds(join_cgroup(made, HOST)) == [UnshareCgroupNamespace]
    assert kinds(join_cgroup_late(made, HOST)) == []


def test_no_limit_is_small_enough_to_join_late() -> None:
    made = config("cgroup", resources={"memory": {"limit": 4 << 20}})
    assert kinds(join_cgroup(made, HOST)) == [UnshareCgroupNamespace]
    assert kinds(join_cgroup_late(made, HOST)) == []


def test_on_v1_the_hierarchies_are_joined_as_without_systemd() -> None:
    made = config()
    assert kinds(create_cgroup(made, HYBRID, "web1")) == [ReserveUnit, OpenCgroup]
    assert kinds(join_cgroup(made, HYBRID)) == kinds(cgroup_v1.join_cgroup(made, HYBRID))
    assert kinds(join_cgroup_late(made, HYBRID)) == kinds(cgroup_v1.join_cgroup_late(made, HYBRID))


def test_limits_are_said_twice() -> None:
    resources = {"memory": {"limit": 1 << 20}, "cpu": {"quota": 12345, "period": 100000}, "pids": {"limit": 5}}
    steps = list(start_unit(config(resources=resources), HOST, "web1"))
    found = properties(steps)
    assert (found["MemoryMax"], found["TasksMax"], found["CPUQuotaPerSecUSec"]) == (1 << 20, 5, 130_000)
    written = {write.file: write.text for step in steps if isinstance(step, WriteLimits) for write in step.writes}
    assert (written["memory.max"], written["pids.max"], written["cpu.max"]) == (str(1 << 20), "5", "13000 100000")


def test_devices() -> None:
    allow = {"allow": True, "type": "b", "major": 8, "minor": 0, "access": "r"}
    found = properties(start_unit(config(resources={"devices": [{"allow": False}, allow]}), HOST, "web1"))
    assert found["DevicePolicy"] == "strict"
    assert ("/dev/block/8:0", "r") in found["DeviceAllow"]  # type: ignore[operator]
    assert properties(start_unit(config(), HOST, "web1"))["DevicePolicy"] == "strict"


@pytest.mark.parametrize("host", [USER, Host(**V2, systemd="system", userns=True)])  # type: ignore[arg-type]
def test_nobody_but_the_hosts_root_has_device_rules(host: Host) -> None:
    steps = list(start_unit(config(), host, "web1"))
    assert "DevicePolicy" not in properties(steps)
    assert [write.file for step in steps if isinstance(step, WriteLimits) for write in step.writes] == []


def test_annotations_come_last_and_so_count() -> None:
    made = config(annotations={"org.systemd.property.TimeoutStopSec": "7"})
    found = [step for step in start_unit(made, HOST, "web1") if isinstance(step, StartUnit)]
    last = found[0].properties[-1]
    assert (last.name, last.value) == ("TimeoutStopUSec", 7_000_000)


def test_an_annotation_that_is_wrong() -> None:
    with pytest.raises(ConfigError, match="value parse error"):
        list(start_unit(config(annotations={"org.systemd.property.TimeoutStopSec": "x"}), HOST, "web1"))


def test_the_cgroup_is_given_to_the_containers_user() -> None:
    made = Config(
        {
            "process": {"user": {"uid": 1000, "gid": 0}, "cwd": "/"},
            "mounts": [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}],
            "linux": {"namespaces": [{"type": "cgroup"}]},
        }
    )
    steps = list(start_unit(made, HOST, "web1"))
    assert kinds(steps) == [StartUnit, OwnCgroup, WriteLimits]
    assert [step.uid for step in steps if isinstance(step, OwnCgroup)] == [1000]


def test_a_path_of_another_form() -> None:
    with pytest.raises(ConfigError, match='expected cgroupsPath to be of format "slice:prefix:name"'):
        list(create_cgroup(config(cgroupsPath="/a"), HOST, "web1"))


def test_without_systemd() -> None:
    with pytest.raises(OcirtError, match="systemd not running on this host"):
        list(create_cgroup(config(), Host(**V2), "web1"))  # type: ignore[arg-type]


class Unit(SystemdManager):
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.done: list[Any] = []

    def start(self, pid: int, properties: Any) -> None:
        self.done.append(("start", pid, properties))

    def remove(self) -> None:
        self.done.append("remove")


def test_what_the_steps_do() -> None:
    box = Box(Recorder())  # type: ignore[arg-type]
    reserve, start = ReserveUnit("", {}), StartUnit(())
    reserve.undo(box)
    unit = Unit()
    box.manager = unit
    box.pid = 42
    start.apply(box)
    start.undo(box)  # init lives: nothing is stopped under it
    reserve.undo(box)
    assert unit.done == [("start", 42, ()), "remove"]


# -- exec ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("writable", "attaches"), [("", True), ("user", True), ("user/delegated", False)])
def test_exec_by_systemd_only_where_the_caller_may_not_move_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writable: str, attaches: bool
) -> None:
    """The runtime and the container are below user/delegated, whose cgroup.procs is what counts."""
    host = Host(cgroup="v2", unified_mount=str(tmp_path), own_cgroups={"": "/user/delegated/podman"})
    record = {"paths": {"": f"{tmp_path}/user/delegated/user.slice/x.scope"}, "unit": "x.scope"}
    allowed = f"{tmp_path}/{writable}/cgroup.procs"
    monkeypatch.setattr(v2.os, "access", lambda path, mode: path == allowed)
    assert cgroup_systemd.must_attach(host, record) == attaches


def test_a_session_is_not_below_the_users_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(v2.os, "access", lambda path, mode: asked.append(path))
    host = Host(cgroup="v2", unified_mount="/c", own_cgroups={"": "/u/session-1.scope"})
    assert cgroup_systemd.must_attach(host, {"paths": {"": "/c/u/user@1.service/user.slice/x.scope"}})
    assert asked == ["/c/u/cgroup.procs"]


def test_attach(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    monkeypatch.setattr(SystemdManager, "attach", lambda self, pid, below: done.append((self.unit, pid, below)))
    unit = {"kind": "systemd", "files": "v2", "slice": "user.slice", "unit": "x.scope", "user": True, "made": []}
    record = {**unit, "paths": {"": "/c/x.scope"}}
    box = Box(Recorder())  # type: ignore[arg-type]
    box.pid = 42
    for wanted in ((), ("sub",), ("/a/b",)):
        for step in cgroup_systemd.attach(record, wanted):
            step.apply(box)
    assert done == [("x.scope", 42, ""), ("x.scope", 42, "/sub"), ("x.scope", 42, "/a/b")]
    with pytest.raises(UsageError, match="leads out of the container's cgroup"):
        list(cgroup_systemd.attach(record, ("../y",)))
