"""What is planned for linux.intelRdt; tests/e2e/test_resctrl.py does it on a file system."""

from __future__ import annotations

from typing import Any

import pytest

from ocirt.config.views import Config, Linux
from ocirt.errors import ConfigError, OcirtError
from ocirt.host import Host
from ocirt.pipeline import HOST, Plan, Stage
from ocirt.stages.resctrl import (
    GROUP_MADE,
    MONITOR_MADE,
    MakeGroup,
    groups_to_make,
    join_groups,
    join_recorded,
    make_groups,
    note_made,
)
from tests.support.recorder import recorded_box

THERE = Host(resctrl="/rdt")


def linux(**members: Any) -> Linux:
    found = Config({"linux": {"intelRdt": members}}).linux
    assert found is not None
    return found


def planned(**members: Any) -> list[tuple[str, str]]:
    steps = [*make_groups(linux(**members), THERE, "web1"), *join_groups(linux(**members), THERE, "web1")]
    return [(step.describe(), step.at) for step in steps]


def test_of_its_own() -> None:
    assert planned() == [
        ("make resctrl group /rdt/web1", "/linux/intelRdt"),
        ("join resctrl group /rdt/web1", "/linux/intelRdt"),
    ]


def test_everything() -> None:
    members = {"closID": "gold", "memBwSchema": "MB:0=20", "l3CacheSchema": "L3:0=f", "schemata": ["L2:0=1"]}
    assert planned(**members, enableMonitoring=True) == [
        ("make resctrl group /rdt/gold: L3:0=f, MB:0=20, L2:0=1", "/linux/intelRdt/closID"),
        ("make resctrl monitoring group /rdt/gold/mon_groups/web1", "/linux/intelRdt/enableMonitoring"),
        ("join resctrl group /rdt/gold/mon_groups/web1", "/linux/intelRdt"),
    ]


@pytest.mark.parametrize(("closid", "directory"), [("gold", "/rdt/gold"), ("/", "/rdt")])
def test_prepared(closid: str, directory: str) -> None:
    assert planned(closID=closid)[0] == (f"use resctrl group {directory}", "/linux/intelRdt/closID")


def test_not_mounted() -> None:
    with pytest.raises(OcirtError) as caught:
        list(make_groups(linux(), Host(), "web1"))
    assert (caught.value.code, caught.value.what, caught.value.at) == (
        "unsupported",
        "intelRdt is specified in config, but Intel RDT is not enabled",
        "/linux/intelRdt",
    )
    assert "mount -t resctrl" in caught.value.remedy


@pytest.mark.parametrize("container_id", ["info", "mon_groups", "mon_data"])
def test_an_id_that_is_something_else_there(container_id: str) -> None:
    with pytest.raises(ConfigError) as caught:
        list(make_groups(linux(), THERE, container_id))
    assert (caught.value.code, caught.value.at) == ("rule", "/linux/intelRdt")
    assert len(list(make_groups(linux(closID="gold"), THERE, container_id))) == 1


def test_another_prefix_is_warned_of(capfd: pytest.CaptureFixture[str]) -> None:
    planned(l3CacheSchema="L3CODE:0=f")
    assert "l3CacheSchema should begin with L3: [/linux/intelRdt/l3CacheSchema]" in capfd.readouterr().err
    planned(l3CacheSchema="L3:0=f")
    assert capfd.readouterr().err == ""


def plan(**members: Any) -> Plan:
    return Plan(Stage("resctrl", HOST, make_groups(linux(**members), THERE, "web1")), clone_flags=0)


@pytest.mark.parametrize(
    ("members", "wanted", "made", "kept"),
    [
        ({}, ["web1"], ["web1"], []),
        ({"enableMonitoring": True}, ["web1", "web1/mon_groups/web1"], ["web1", "web1/mon_groups/web1"], []),
        ({"closID": "gold"}, [], [], []),
        ({"closID": "gold", "memBwSchema": "MB:0=20"}, ["gold"], [], ["gold"]),
        (
            {"closID": "gold", "memBwSchema": "MB:0=20", "enableMonitoring": True},
            ["gold", "gold/mon_groups/web1"],
            ["gold/mon_groups/web1"],
            ["gold"],
        ),
    ],
)
def test_the_record(members: dict[str, Any], wanted: list[str], made: list[str], kept: list[str]) -> None:
    """Before they are made, and after: of a named group only an unfinished create leaves nothing."""
    ours = plan(**members)
    record = groups_to_make(ours)
    assert record["wanted"] == [f"/rdt/{name}" for name in wanted]
    assert record["made"] == []
    box, _ = recorded_box()
    facts = (MONITOR_MADE if "/" in name else GROUP_MADE for name in wanted)
    box.facts.update({fact: f"/rdt/{name}" for fact, name in zip(facts, wanted, strict=True)})
    note_made(record, ours, box)
    assert record["made"] == [f"/rdt/{name}" for name in made]
    assert record["wanted"] == [f"/rdt/{name}" for name in kept]
    (step,) = join_recorded(record)
    assert step.describe().startswith("join resctrl group /rdt/")


def test_undo_bears_that_nothing_was_done() -> None:
    box, kernel = recorded_box()
    for step in make_groups(linux(enableMonitoring=True), THERE, "web1"):
        step.undo(box)
    assert kernel.calls == []


def test_what_was_there_is_not_what_was_made() -> None:
    ours = plan(memBwSchema="MB:0=20")
    record = groups_to_make(ours)
    box, _ = recorded_box()
    note_made(record, ours, box)
    assert (record["made"], record["wanted"]) == ([], [])
    assert isinstance(next(iter(ours.stages)).steps[0], MakeGroup)
