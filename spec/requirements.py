"""Write docs/conformance.md from spec/requirements.toml, properties.toml and runtimes.toml.

python spec/requirements.py            print the counts and write the page
python spec/requirements.py --check    write nothing; exit 1 when the page is stale
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

import runtimes

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "conformance.md"
DOCUMENTS = (
    "bundle.md",
    "runtime.md",
    "runtime-linux.md",
    "config.md",
    "config-linux.md",
    "features.md",
    "features-linux.md",
    "glossary.md",
)
# Where a test runs, by its folder; the first is the one that says most about a container.
PLACES = {
    "e2e": ("tests/e2e/",),
    "guest": ("tests/guest/",),
    "kernel": ("tests/kernel/",),
    "unit": ("tests/unit/", "tests/plans/", "tests/architecture/"),
}
LEVELS = ("MUST", "SHOULD")
STATUSES = ("done", "deviates", "later")
SPECIFICATION = "https://github.com/opencontainers/runtime-spec/blob/v1.3.0"
Requirement = dict[str, Any]

HEAD = """\
# Conformance

Written by spec/requirements.py (`make spec`) from [spec/requirements.toml](../spec/requirements.toml) and, beside it,
properties.toml and runtimes.toml; edit those.

What the OCI runtime specification 1.3.0 requires of a runtime on Linux: each MUST and SHOULD of its documents
has an entry there, with the tests that show it. What the OCI runtime-tools suite says is in
[conformance-runtime-tools.md](conformance-runtime-tools.md).

"""

SHOWN = """
## Where it is shown

Each requirement is counted once, at the first of these that has a test of it. Configurations are refused, with the
exact code and JSON pointer, in unit tests: the reader of `create` is called there.

| tests | what runs there | MUST | SHOULD |
|---|---|---:|---:|
"""
RUNS = {
    "e2e": "containers, on the machine where `make test` runs (`tests/e2e`)",
    "guest": "containers, in a machine with cgroup v2, systemd and AppArmor (`make test-guest`)",
    "kernel": "the container's side alone, on the real kernel (`tests/kernel`)",
    "unit": "the runtime's own code: refusals, and what no kernel at hand does (`tests/unit`)",
}

EVERY = """
## Every requirement

With the tests that show it: `e2e`, `kernel` and `unit` run here, `guest` in the guest.
"""

DEVIATIONS = """
## Deviations

What ocirt does otherwise on purpose.

| section | required | level | what ocirt does, and why |
|---|---|---|---|
"""

LATER = """
## Later

What is not there yet. A configuration that asks for it is refused, never silently accepted.
"""


def counts(requirements: list[Requirement]) -> str:
    """A table: a line for each document and level, a column for each status."""

    def line(name: str, level: str, chosen: list[Requirement]) -> str:
        numbers = [sum(entry["status"] == status for entry in chosen) for status in STATUSES]
        return f"| {name} | {level} | {' | '.join(map(str, [*numbers, len(chosen)]))} |\n"

    lines = [f"| document | level | {' | '.join(STATUSES)} | all |\n", "|---|---|---:|---:|---:|---:|\n"]
    for document in DOCUMENTS:
        for level in LEVELS:
            chosen = [entry for entry in requirements if _document(entry) == document and entry["level"] == level]
            if chosen:
                lines.append(line(document, level, chosen))
    lines += [line("all", level, [entry for entry in requirements if entry["level"] == level]) for level in LEVELS]
    return "".join(lines)


def page(requirements: list[Requirement]) -> str:
    deviations = [
        f"| {_link(entry)} | {entry['text']} | {entry['level']} | {entry['why']} |\n"
        for entry in requirements
        if entry["status"] == "deviates"
    ]
    return (
        HEAD
        + counts(requirements)
        + SHOWN
        + shown(requirements)
        + DEVIATIONS
        + "".join(deviations)
        + later(requirements)
        + runtimes.properties()
        + runtimes.TEXT
        + runtimes.tables()
        + EVERY
        + every(requirements)
    )


def places(entry: Requirement) -> list[str]:
    """Where the entry's tests run, in the order of PLACES."""
    return [
        name for name, folders in PLACES.items() if any(test.startswith(folders) for test in entry.get("tests", ()))
    ]


def shown(requirements: list[Requirement]) -> str:
    """A line for each place, with how many requirements it is the first one of."""
    text = ""
    for name in PLACES:
        first = [entry["level"] for entry in requirements if places(entry)[:1] == [name]]
        text += f"| {name} | {RUNS[name]} | {first.count('MUST')} | {first.count('SHOULD')} |\n"
    return text


def every(requirements: list[Requirement]) -> str:
    """A table for each document, in the order of the file."""
    text = ""
    for document in DOCUMENTS:
        text += (
            f"\n### {document}\n\n| section | level | what ocirt does | status | shown by |\n|---|---|---|---|---|\n"
        )
        for entry in requirements:
            if _document(entry) == document:
                heading = entry["section"].partition("#")[2]
                fields = (heading, entry["level"], entry["text"], entry["status"], ", ".join(places(entry)))
                text += f"| {' | '.join(fields)} |\n"
    return text


def later(requirements: list[Requirement]) -> str:
    """A list for each reason, in the order of the file; nothing when all is done."""
    reasons: dict[str, list[Requirement]] = {}
    for entry in requirements:
        if entry["status"] == "later":
            reasons.setdefault(entry["why"], []).append(entry)
    text = LATER if reasons else ""
    for why, entries in reasons.items():
        text += f"\n### {why} ({len(entries)})\n\n"
        text += "".join(f"* {_link(entry)}, {entry['level']}: {entry['text']}\n" for entry in entries)
    return text


def _document(entry: Requirement) -> str:
    return str(entry["section"]).partition("#")[0]


def _link(entry: Requirement) -> str:
    document, _, heading = entry["section"].partition("#")
    return f"[{document}, {heading.replace('-', ' ')}]({SPECIFICATION}/{entry['section']})"


def main(arguments: list[str]) -> int:
    requirements = tomllib.loads((HERE / "requirements.toml").read_text())["requirement"]
    text = page(requirements)
    if arguments == ["--check"]:
        if not PAGE.is_file() or PAGE.read_text() != text:
            print(f"{PAGE} is stale: run python spec/requirements.py", file=sys.stderr)
            return 1
        return 0
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    print(counts(requirements), end="")
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
