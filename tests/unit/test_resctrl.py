"""What schemata say, what is counted, and what delete removes, on directories that look like groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ocirt.errors import OcirtError
from ocirt.resctrl import Group, difference, has, make, parse, recorded_group, remove_recorded, usage


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "info").mkdir()
    (tmp_path / "schemata").write_text("    MB:0=100;1=100\n    L3:0=7ff;1=7ff\n")
    return tmp_path


def test_numbers_are_compared_and_not_their_looks() -> None:
    assert parse("    MB:0=100; 1 = 70\nL3:00=00F0") == {("MB", "0"): "100", ("MB", "1"): "70", ("L3", "0"): "f0"}


@pytest.mark.parametrize(
    ("wanted", "there", "says"),
    [
        ("L3:0=f", "    L3:0=00f;1=7ff", ""),
        ("L3:1=7FF;0=f", "    L3:0=f;1=7ff", ""),
        ("L3:0=f", "    L3:0=f0;1=7ff", "it has L3:0=f0"),
        ("L3:2=f", "    L3:0=f;1=7ff", "it has no L3:2"),
        ("L3CODE:0=f", "    L3CODE:0=f\n    L3DATA:0=3", ""),
        ("L3:0=f", "    L3CODE:0=f\n    L3DATA:0=3", "it has no L3:0"),
        ("L3", "    L3:0=f", "it has no L3:0"),
        ("MB:0=21", "    MB:0=30", ""),
        ("MB:0=31", "    MB:0=30", "it has MB:0=30"),
        ("MB:0=x", "    MB:0=30", "it has MB:0=30"),
    ],
)
def test_difference(root: Path, wanted: str, there: str, says: str) -> None:
    (root / "info/MB").mkdir()
    (root / "info/MB/bandwidth_gran").write_text("10\n")
    if wanted == "L3":
        there = "    MB:0=100"
    assert difference(str(root), wanted, there) == says


def test_without_a_known_step_bandwidth_is_not_rounded(root: Path) -> None:
    assert difference(str(root), "MB:0=21", "MB:0=30") == "it has MB:0=30"


def test_which_resources_there_are(root: Path) -> None:
    assert not has(str(root), "L3")
    (root / "info/L3CODE").mkdir()
    assert has(str(root), "L3")
    assert not has(str(root), "MB")


def test_a_group_is_made_once(root: Path) -> None:
    assert make(str(root), f"{root}/a")
    assert not make(str(root), f"{root}/a")


def test_a_file_is_no_group(root: Path) -> None:
    with pytest.raises(FileExistsError):
        make(str(root), f"{root}/schemata")


def test_a_group_that_cannot_be_made_says_why(root: Path) -> None:
    (root / "info/last_cmd_status").write_text("Out of CLOSIDs\n")
    with pytest.raises(OcirtError) as caught:
        make(str(root), f"{root}/none/a")
    assert (caught.value.code, caught.value.errno, caught.value.detail) == ("resctrl", 2, "Out of CLOSIDs")


def recorded(root: Path, made: list[str], wanted: list[str]) -> dict[str, Any]:
    lists = {"made": [f"{root}/{name}" for name in made], "wanted": [f"{root}/{name}" for name in wanted]}
    return {"root": str(root), "group": f"{root}/a", "monitor": "", **lists}


def test_what_delete_removes(root: Path) -> None:
    """What was made for the container; what a killed create may have made, unless somebody has tasks in it."""
    for name in ("made", "used", "unused", "other"):
        (root / name).mkdir()
    (root / "used/tasks").write_text("1\n")
    record = recorded(root, ["made", "gone"], ["used", "unused", "never"])
    remove_recorded(record)  # "unused" has no file tasks: it is no group
    assert sorted(path.name for path in root.iterdir() if path.is_dir()) == ["info", "other", "unused", "used"]
    remove_recorded(record)


def test_the_record_names_the_group(root: Path) -> None:
    group = recorded_group(recorded(root, [], []))
    assert (group.root, group.directory, group.monitor) == (str(root), f"{root}/a", "")


def test_usage_of_what_the_processor_has(root: Path) -> None:
    """A cache in two halves, no bandwidth, nothing counted."""
    (root / "info/L3CODE").mkdir()
    for name, text in (("cbm_mask", "7ff"), ("min_cbm_bits", "1"), ("num_closids", "8")):
        (root / "info/L3CODE" / name).write_text(f"{text}\n")
    (root / "a").mkdir()
    (root / "a/schemata").write_text("    L3CODE:0=f\n    L3DATA:0=3\n")
    assert usage(Group(str(root), f"{root}/a")) == {
        "l3_cache_info": {"cbm_mask": "7ff", "min_cbm_bits": 1, "num_closids": 8},
        "l3_cache_schema_root": "L3:0=7ff;1=7ff",
        "l3_cache_schema": "L3DATA:0=3",
        "schemata": ["L3CODE:0=f", "L3DATA:0=3"],
    }


def test_usage_counts_what_there_is(root: Path) -> None:
    (root / "info/L3_MON").mkdir()
    (root / "info/L3_MON/mon_features").write_text("llc_occupancy\nsomething_newer\n")
    for name, text in (("mon_L3_01", "7"), ("mon_L3_00", "Unavailable")):
        (root / "mon_data" / name).mkdir(parents=True)
        (root / "mon_data" / name / "llc_occupancy").write_text(f"{text}\n")
    assert usage(Group(str(root), str(root))) == {
        "schemata": ["MB:0=100;1=100", "L3:0=7ff;1=7ff"],
        "cmt_stats": [{"llc_occupancy": 0}, {"llc_occupancy": 7}],
    }
