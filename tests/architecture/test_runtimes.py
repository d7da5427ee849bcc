"""spec/runtimes.toml: complete rows, of properties and options that exist, and every property in one of them."""

from __future__ import annotations

import sys

import pytest

from tests.architecture.source import TREE
from tests.support.properties import properties

sys.path.insert(0, str(TREE / "spec"))
import runtimes

FIELDS = {"area", "name", "properties", "options", "runc", "crun", "youki", "ocirt", "note"}
ROWS = runtimes.read("runtimes.toml", "row")
TESTED = runtimes.effects(runtimes.read("properties.toml", "property"))
# Rows where another runtime does what ocirt does not.  None is there by oversight: each has its reason.
BEHIND: dict[str, str] = {}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['area']}: {row['name']}")
def test_row_is_complete(row: runtimes.Entry) -> None:
    assert set(row) <= FIELDS
    assert ("properties" in row) != ("options" in row)
    for name in (*runtimes.RUNTIMES, *(("ocirt",) if "ocirt" in row else ())):
        assert row[name] in runtimes.VALUES
    assert runtimes.answer(row, TESTED) in runtimes.VALUES


def test_every_property_is_in_a_row() -> None:
    elsewhere = {"/process/commandLine", "/process/user/username", "/mounts/*/options"}  # Windows; rows of options
    named = {
        name for row in ROWS for pointer in row.get("properties", ()) for name in runtimes.matching(pointer, TESTED)
    }
    assert set(properties()) - named == elsewhere


def test_an_answer_that_is_given_is_not_for_what_is_to_come() -> None:
    for row in ROWS:
        if "ocirt" in row:
            assert (runtimes.answer(row, TESTED) == "yes") is (row["ocirt"] != "untried"), row["name"]


def test_where_another_runtime_does_more() -> None:
    """What is to come is said in properties.toml; anything else needs a reason here."""
    later = {name for name, seen in TESTED.items() if not seen}
    found = {
        row["name"]
        for row in runtimes.behind(runtimes.rows())
        if not later & {name for pointer in row.get("properties", ()) for name in runtimes.matching(pointer, TESTED)}
        and "idmap" not in row.get("options", ())
    }
    assert found == set(BEHIND)


def test_answers() -> None:
    tested = {"/a/b": True, "/a/c": False}
    assert runtimes.answer({"properties": ["/a/*"]}, tested) == "part"
    assert runtimes.answer({"properties": ["/a/b"]}, tested) == "yes"
    assert runtimes.answer({"properties": ["/a/c"]}, tested) == "no"
    assert runtimes.answer({"options": ["ro", "nonesuch"]}, tested) == "part"
    with pytest.raises(KeyError):
        runtimes.answer({"properties": ["/a/d"]}, tested)
    with pytest.raises(KeyError):
        runtimes.answer({"properties": ["/d/*"]}, tested)
