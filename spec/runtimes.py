"""The table of what runc, crun, youki and ocirt do, out of spec/runtimes.toml; ocirt's column is computed.

requirements.py puts it into docs/conformance.md.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from ocirt.config.mountopts import RECOGNISED  # noqa: E402

VALUES = ("yes", "no", "part", "warning", "untried", "v1", "v2")
RUNTIMES = ("runc", "crun", "youki")
Entry = dict[str, Any]

TEXT = """
## Beside other runtimes

What runc 1.5, crun 1.27 and youki 0.7 do with each property, by reading them, from
[spec/runtimes.toml](../spec/runtimes.toml). ocirt's column says `yes` where
[spec/properties.toml](../spec/properties.toml) names a test that sees the effect in a container. `part`: not all of it;
`warning`: taken, and said to have no effect; `untried`: written by the documentation, no machine at hand has it; `v1`,
`v2`: on that cgroup version only.
"""


def read(name: str, kind: str) -> list[Entry]:
    entries: list[Entry] = tomllib.loads((HERE / name).read_text())[kind]
    return entries


def rows() -> list[Entry]:
    """Those of runtimes.toml, each with ocirt's answer."""
    tested = effects(read("properties.toml", "property"))
    return [{**row, "ocirt": row.get("ocirt") or answer(row, tested)} for row in read("runtimes.toml", "row")]


def effects(entries: list[Entry]) -> dict[str, bool]:
    """Property -> whether a test sees its effect."""
    return {name: "effect" in entry for entry in entries for name in entry["names"]}


def answer(row: Entry, tested: dict[str, bool]) -> str:
    """yes, no or part, from the tests or the table of mount options.  Raises KeyError for a property that is none."""
    if "options" in row:
        done = [name in RECOGNISED for name in row["options"]]
    else:
        done = [tested[name] for pointer in row["properties"] for name in matching(pointer, tested)]
    return "yes" if all(done) else "part" if any(done) else "no"


def matching(pointer: str, tested: dict[str, bool]) -> list[str]:
    """The properties that a pointer of runtimes.toml stands for."""
    if not pointer.endswith("/*"):
        return [pointer]
    found = [name for name in tested if name.startswith(pointer[:-1])]
    if not found:
        raise KeyError(pointer)
    return found


def behind(all_rows: list[Entry]) -> list[Entry]:
    """Rows where another runtime says yes and ocirt says no or part."""
    return [row for row in all_rows if row["ocirt"] in ("no", "part") and any(row[name] == "yes" for name in RUNTIMES)]


def tables() -> str:
    """One for each area, in the order of the file."""
    text = ""
    area = ""
    for row in rows():
        if row["area"] != area:
            area = row["area"]
            text += f"\n| {area} | runc | crun | youki | ocirt | |\n|---|---|---|---|---|---|\n"
        answers = " | ".join(row[name] for name in (*RUNTIMES, "ocirt"))
        text += f"| {row['name']} | {answers} | {row.get('note', '')} |\n"
    return text


PROPERTIES = """
## Properties

config.json has {all} properties on Linux ([spec/properties.toml](../spec/properties.toml)). For {seen} of them a test
runs a container and sees the effect, for {guest} of those only in the guest; {later} are to come. For every one a value
is refused with its exact code and JSON pointer, through `create` itself.
"""


def properties() -> str:
    """The count, and what is to come."""
    entries = read("properties.toml", "property")
    counted = [(name, entry) for entry in entries for name in entry["names"]]
    later = [(name, entry["later"]) for name, entry in counted if "later" in entry]
    guest = [name for name, entry in counted if "effect" in entry and not any(map(here, entry["effect"]))]
    text = PROPERTIES.format(all=len(counted), seen=len(counted) - len(later), guest=len(guest), later=len(later))
    return text + "".join(f"\n* `{name}`: {why}" for name, why in later) + ("\n" if later else "")


def here(test: str) -> bool:
    return test.startswith("tests/e2e/")
