"""The findings as lines for people, as one JSON document, and as SARIF 2.1.0 for what shows them beside the code."""

from __future__ import annotations

import os
import urllib.parse

from ocirt import __version__, colours, log
from ocirt.check import ADVICE, ERROR, meaning
from ocirt.config import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.check import Finding

SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {ERROR: "error", ADVICE: "warning"}
COLOURS = {ERROR: "red", ADVICE: "yellow"}


def text(file: str, findings: list[Finding], colour: bool) -> str:
    """`file:line:column: level: what [pointer] (code) - remedy`, a line each, and how many."""
    lines = []
    file = log.printable(file)
    for one in findings:
        place = colours.paint(f"{file}:{one.line}:{one.column}:", "bold", colour)
        level = colours.paint(f"{one.level}:", COLOURS[one.level], colour)
        said = log.printable(sentence(one))
        lines.append(f"{place} {level} {said}\n")
    return "".join(lines) + summary(file, findings) + "\n"


def sentence(one: Finding) -> str:
    pointer = f" [{one.at}]" if one.at else ""
    return f"{one.what}{pointer} ({one.code})" + (f" - {one.remedy}" if one.remedy else "")


def summary(file: str, findings: list[Finding]) -> str:
    if not findings:
        return f"{file}: nothing to say"
    errors = sum(one.level == ERROR for one in findings)
    advice = len(findings) - errors
    counts = [
        f"{errors} error{'s' * (errors != 1)}" * bool(errors),
        f"{advice} piece{'s' * (advice != 1)} of advice" * bool(advice),
    ]
    return f"{file}: " + ", ".join(filter(None, counts))


def document(file: str, findings: list[Finding]) -> dict[str, Any]:
    """{"file", "errors", "advice", "findings": [{"level", "code", "line", "column", "pointer", "what", "remedy"}]}."""
    errors = sum(one.level == ERROR for one in findings)
    return {
        "file": file,
        "errors": errors,
        "advice": len(findings) - errors,
        "findings": [
            {
                "level": one.level,
                "code": one.code,
                "line": one.line,
                "column": one.column,
                "pointer": one.at,
                "what": one.what,
                "remedy": one.remedy,
            }
            for one in findings
        ],
    }


def sarif(file: str, findings: list[Finding]) -> dict[str, Any]:
    """One run.  A relative file is relative to the working directory, which is not named: a CI has its own."""
    codes = sorted({one.code for one in findings})
    return {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "ocirt",
                        "semanticVersion": __version__,
                        "rules": [{"id": code, "shortDescription": {"text": meaning(code)}} for code in codes],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(file, one, codes.index(one.code)) for one in findings],
            }
        ],
    }


def _result(file: str, one: Finding, rule: int) -> dict[str, Any]:
    where = {
        "physicalLocation": {
            "artifactLocation": {"uri": _uri(file)},
            "region": {"startLine": one.line, "startColumn": one.column},
        }
    }
    if one.at:
        where["logicalLocations"] = [{"fullyQualifiedName": one.at}]  # type: ignore[assignment]
    message = one.what + (f": {one.remedy}" if one.remedy else "")
    return {
        "ruleId": one.code,
        "ruleIndex": rule,
        "level": LEVELS[one.level],
        "message": {"text": message},
        "locations": [where],
    }


def _uri(file: str) -> str:
    """A path as a URI reference (RFC 3986): file:/// when absolute; a first part with a colon is no scheme."""
    quoted = urllib.parse.quote(os.fsencode(file))
    return f"file://{quoted}" if file.startswith("/") else quoted


def dump(value: dict[str, Any]) -> str:
    return jsontext.dump(value, 2) + "\n"
