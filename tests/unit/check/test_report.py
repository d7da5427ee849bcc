"""The three forms, to the byte where people and programs read them."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest

from ocirt import __version__
from ocirt.check import ADVICE, CODES, ERROR, Finding, meaning, report
from ocirt.errors import CODES as ERROR_CODES


def finding(level: str, code: str, what: str, at: str, remedy: str, line: int, column: int) -> Finding:
    made = Finding(level, code, what, at, remedy)
    made.line, made.column = line, column
    return made


FOUND = [
    finding(ERROR, "rule", 'a "b"\n', "/process/cwd", "begin it with /", 2, 7),
    finding(ADVICE, "no-seccomp", "no system call is filtered", "", "", 1, 1),
]


def test_text() -> None:
    assert report.text("b/config.json", FOUND, False) == (
        'b/config.json:2:7: error: a "b"\\n [/process/cwd] (rule) - begin it with /\n'
        "b/config.json:1:1: advice: no system call is filtered (no-seccomp)\n"
        "b/config.json: 1 error, 1 piece of advice\n"
    )
    assert report.text("-", [], True) == "-: nothing to say\n"
    assert report.text("-", FOUND[:1] * 2, False).splitlines()[-1] == "-: 2 errors"
    assert report.text("-", FOUND[1:] * 2, False).splitlines()[-1] == "-: 2 pieces of advice"


def test_a_file_s_name_does_not_control_the_terminal() -> None:
    assert "\x1b" not in report.text("\x1b]0;x\x07/config.json", FOUND, False)


def test_colours_are_for_the_place_and_the_level() -> None:
    plain, painted = report.text("f", FOUND, False), report.text("f", FOUND, True)
    assert painted.startswith('\x1b[1mf:2:7:\x1b[0m \x1b[1;31merror:\x1b[0m a "b"')
    assert "\x1b[1;33madvice:\x1b[0m" in painted
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == plain


def test_json() -> None:
    assert json.loads(report.dump(report.document("f", FOUND))) == {
        "file": "f",
        "errors": 1,
        "advice": 1,
        "findings": [
            {
                "level": "error",
                "code": "rule",
                "line": 2,
                "column": 7,
                "pointer": "/process/cwd",
                "what": 'a "b"\n',
                "remedy": "begin it with /",
            },
            {
                "level": "advice",
                "code": "no-seccomp",
                "line": 1,
                "column": 1,
                "pointer": "",
                "what": "no system call is filtered",
                "remedy": "",
            },
        ],
    }


def closed(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


TEXT = closed(("text",), text={"type": "string", "minLength": 1})
NUMBER = {"type": "integer", "minimum": 1}
LOCATION = closed(
    ("physicalLocation",),
    physicalLocation=closed(
        ("artifactLocation", "region"),
        artifactLocation=closed(("uri",), uri={"type": "string", "format": "uri-reference"}),
        region=closed(("startLine", "startColumn"), startLine=NUMBER, startColumn=NUMBER),
    ),
    logicalLocations={"type": "array", "items": closed(("fullyQualifiedName",), fullyQualifiedName={"type": "string"})},
)
RESULT = closed(
    ("ruleId", "ruleIndex", "level", "message", "locations"),
    ruleId={"type": "string"},
    ruleIndex={"type": "integer", "minimum": 0},
    level={"enum": ["none", "note", "warning", "error"]},
    message=TEXT,
    locations={"type": "array", "minItems": 1, "items": LOCATION},
)
RULE = closed(("id", "shortDescription"), id={"type": "string"}, shortDescription=TEXT)
DRIVER = closed(
    ("name", "semanticVersion", "rules"),
    name={"type": "string"},
    semanticVersion={"type": "string"},
    rules={"type": "array", "uniqueItems": True, "items": RULE},
)
# SARIF 2.1.0, sections 3.13 to 3.52: of its objects those that ocirt writes, with what they must and may have.
SARIF = closed(
    ("$schema", "version", "runs"),
    **{"$schema": {"const": report.SARIF_SCHEMA}},
    version={"const": "2.1.0"},
    runs={
        "type": "array",
        "items": closed(
            ("tool", "columnKind", "results"),
            tool=closed(("driver",), driver=DRIVER),
            columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
            results={"type": "array", "items": RESULT},
        ),
    },
)


@pytest.mark.parametrize("found", [FOUND, []])
def test_sarif(found: list[Finding]) -> None:
    log = json.loads(report.dump(report.sarif("b/config.json", found)))
    jsonschema.Draft7Validator(SARIF).validate(log)
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert run["tool"]["driver"]["semanticVersion"] == __version__
    assert [rules[one["ruleIndex"]]["id"] for one in run["results"]] == [one["ruleId"] for one in run["results"]]
    assert [one["level"] for one in run["results"]] == ["error", "warning"][: len(found)]


def test_a_result_of_sarif() -> None:
    (run,) = report.sarif("a b/ü:c.json", FOUND)["runs"]
    assert run["results"][0] == {
        "ruleId": "rule",
        "ruleIndex": 1,
        "level": "error",
        "message": {"text": 'a "b"\n: begin it with /'},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": "a%20b/%C3%BC%3Ac.json"},
                    "region": {"startLine": 2, "startColumn": 7},
                },
                "logicalLocations": [{"fullyQualifiedName": "/process/cwd"}],
            }
        ],
    }
    assert "logicalLocations" not in run["results"][1]["locations"][0]
    (run,) = report.sarif("/b/config.json", FOUND)["runs"]
    location = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert location == {"uri": "file:///b/config.json"}


def test_codes_are_of_one_list() -> None:
    assert not set(CODES) & set(ERROR_CODES)
    assert meaning("rule") == ERROR_CODES["rule"]
    assert meaning("host") == CODES["host"]
