"""All findings of a file, in its order; what is looked at when something is wrong; that no rule is without a remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ocirt.check import ERROR, mend
from ocirt.check.examine import examine
from ocirt.config import checks, checks_linux, checks_process, checks_resources

CONFIGS = Path(__file__).parents[2] / "configs"
BAD = sorted((CONFIGS / "bad").glob("*.json"))
GOOD = sorted((CONFIGS / "good").glob("*.json"))
ENGINES = sorted((CONFIGS / "engines").glob("*.json"))


def said(text: str | dict[str, Any]) -> list[tuple[str, str, str]]:
    data = text if isinstance(text, str) else json.dumps(text)
    return [(f"{one.line}:{one.column}", one.code, one.at) for one in examine(data.encode(), "/b").findings if one.at]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.stem)
def test_what_create_refuses(case: Path) -> None:
    """The first line of .expect, and every error has a remedy and a place inside the file."""
    code, _, pointer = case.with_suffix(".expect").read_text().splitlines()[0].partition(" ")
    data = case.read_bytes()
    found = examine(data, "/b").findings
    errors = [one for one in found if one.level == ERROR]
    assert (code, pointer) in {(one.code, one.at.replace("\0", "\\u0000")) for one in errors}
    assert all(one.remedy for one in found)
    lines = data.decode("utf-8", "replace").split("\n")
    assert all(1 <= one.line <= len(lines) and 1 <= one.column <= len(lines[one.line - 1]) + 1 for one in found)
    assert found == sorted(found, key=lambda one: (one.line, one.column))


@pytest.mark.parametrize("case", [*GOOD, *ENGINES], ids=lambda case: case.stem)
def test_no_false_error(case: Path) -> None:
    assert [one.what for one in examine(case.read_bytes(), "/b").findings if one.level == ERROR] == []


SEVERAL = """\
{
  "ociVersion": "1.3",
  "root": {"path": "rootfs", "readOnly": true},
  "proces": {},
  "process": {
    "cwd": "tmp", "args": "sh",
    "env": ["A"],
    "rlimits": [{"type": "RLIMIT_NOFIL", "soft": 9, "hard": "9"}]
  },
  "linux": {
    "namespaces": [{"type": "pids"}, {"tpye": "mount"}],
    "maskedPaths": ["a", "/b"]
  }
}
"""


def test_every_contradiction_of_the_schema_and_every_unknown_name() -> None:
    assert [
        (f"{one.line}:{one.column}", one.level, one.code, one.at, one.remedy)
        for one in examine(SEVERAL.encode(), "/b").findings
    ] == [
        ("3:30", "advice", "unknown-property", "/root/readOnly", 'did you mean "readonly"?'),
        ("4:3", "advice", "unknown-property", "/proces", "leave it out, or keep such a note in annotations"),
        ("6:27", "error", "schema", "/process/args", "correct it, or leave args out: it is optional"),
        ("8:61", "error", "schema", "/process/rlimits/0/hard", "write 9 without quotes"),
        ("11:29", "error", "schema", "/linux/namespaces/0/type", 'did you mean "pid"?'),
        ("11:38", "error", "schema", "/linux/namespaces/1", 'did you mean it by "tpye"? It is "type"'),
        ("11:39", "advice", "unknown-property", "/linux/namespaces/1/tpye", 'did you mean "type"?'),
    ]


def test_every_rule_of_the_parts_that_the_schema_has_nothing_against() -> None:
    text = SEVERAL.replace('"pids"', '"pid"').replace('"tpye"', '"type"')
    assert said(text)[2:] == [
        ("6:27", "schema", "/process/args"),
        ("8:61", "schema", "/process/rlimits/0/hard"),
        ("12:21", "rule", "/linux/maskedPaths/0"),
    ]
    text = text.replace('"sh"', '["sh"]').replace('"hard": "9"', '"hard": 8')
    assert [row for row in said(text) if row[1] == "rule"] == [
        ("2:17", "rule", "/ociVersion"),
        ("6:12", "rule", "/process/cwd"),
        ("7:13", "rule", "/process/env/0"),
        ("8:26", "rule", "/process/rlimits/0/type"),
        ("8:50", "rule", "/process/rlimits/0/soft"),
        ("12:21", "rule", "/linux/maskedPaths/0"),
    ]


def test_json_comes_first() -> None:
    """Every name that is given twice, and nothing of what the values say."""
    assert said('{"a": 1, "a": 2,\n "b": {"c": 0, "c": 0}}') == [("1:10", "json", "/a"), ("2:16", "json", "/b/c")]
    (one,) = examine(b'\n{"a": \xff}', "/b").findings
    assert (one.line, one.column, one.code, one.what) == (2, 7, "json", "byte 0xff is not UTF-8")
    (one,) = examine(b"\n [1, 2] x", "/b").findings
    assert (one.line, one.column, one.what) == (2, 9, "text after the end of the document")
    (one,) = examine(b"[]", "/b").findings
    assert (one.code, one.what, one.at) == ("schema", "expected an object, found an array", "")


def test_every_nul() -> None:
    found = said({"ociVersion": "1.0.0", "root": {"path": "a\0b"}, "process": {"cwd": "/\0", "args": ["sh"]}})
    assert [row[1:] for row in found if row[1] == "rule"] == [("rule", "/root/path"), ("rule", "/process/cwd")]


def test_what_a_plan_refuses_whatever_the_host() -> None:
    base = {"ociVersion": "1.0.0", "root": {"path": "r"}, "process": {"cwd": "/", "args": ["sh"]}}
    mounts = [{"destination": "/a", "type": "bind", "source": "/a", "options": ["bind", "roo"]}]
    spaces = {"namespaces": [{"type": "mount"}, {"type": "pid"}]}
    found = examine(json.dumps({**base, "mounts": mounts, "linux": spaces}).encode(), "/b").findings
    assert [(one.code, one.at) for one in found if one.level == ERROR] == [("rule", "/mounts/0/options")]
    # what only some hosts have is no error
    rdt = {**spaces, "intelRdt": {"closID": "x"}, "resources": {"unified": {"memory.high": "1"}}}
    found = examine(json.dumps({**base, "linux": rdt}).encode(), "/b").findings
    assert [one.what for one in found if one.level == ERROR] == []


def test_what_create_warns_of_is_advice(capfd: pytest.CaptureFixture[str]) -> None:
    linux = {"namespaces": [{"type": "mount"}, {"type": "pid"}], "resources": {"memory": {"kernel": 5}}}
    config = {"ociVersion": "1.0.0", "root": {"path": "r"}, "linux": linux}
    (one,) = examine(json.dumps(config).encode(), "/b").findings
    assert (one.code, one.what, one.at) == (
        "warning",
        "kernel memory limits are deprecated and ignored",
        "/linux/resources/memory/kernel",
    )
    assert capfd.readouterr() == ("", "")


def test_every_rule_has_a_remedy() -> None:
    modules = (checks, checks_linux, checks_process, checks_resources)
    tables = (*(module.RULES for module in modules), checks.RULES_ACROSS, checks_resources.RULES_AT_CREATE)
    rules = [rule.__name__ for table in tables for _, rule in table]
    assert sorted(rules) == sorted(mend.RULES)
