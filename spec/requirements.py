"""Write docs/conformance.md from spec/requirements.toml.

python spec/requirements.py            print the counts and write the page
python spec/requirements.py --check    write nothing; exit 1 when the page is stale
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "conformance.md"
DOCUMENTS = ("config.md", "config-linux.md", "runtime.md", "runtime-linux.md")
LEVELS = ("MUST", "SHOULD")
STATUSES = ("done", "deviates", "later")
SPECIFICATION = "https://github.com/opencontainers/runtime-spec/blob/v1.3.0"
Requirement = dict[str, str]

HEAD = """\
# Conformance

Written by spec/requirements.py from [spec/requirements.toml](../spec/requirements.toml); edit that.

What the OCI runtime specification 1.3.0 requires of a runtime on Linux: each MUST and SHOULD of its four documents
has an entry there, with the tests that show it. What the OCI runtime-tools suite says is in
[conformance-runtime-tools.md](conformance-runtime-tools.md).

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
    return HEAD + counts(requirements) + DEVIATIONS + "".join(deviations) + LATER + later(requirements)


def later(requirements: list[Requirement]) -> str:
    """A list for each reason, in the order of the file."""
    reasons: dict[str, list[Requirement]] = {}
    for entry in requirements:
        if entry["status"] == "later":
            reasons.setdefault(entry["why"], []).append(entry)
    text = ""
    for why, entries in reasons.items():
        text += f"\n### {why} ({len(entries)})\n\n"
        text += "".join(f"* {_link(entry)}, {entry['level']}: {entry['text']}\n" for entry in entries)
    return text


def _document(entry: Requirement) -> str:
    return entry["section"].partition("#")[0]


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
