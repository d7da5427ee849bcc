"""ocirt list: the containers under the root directory, as a table or as JSON."""

from __future__ import annotations

from ocirt import log, users
from ocirt import system as os
from ocirt.config import jsontext
from ocirt.container import list_containers
from ocirt.errors import UsageError
from ocirt.options import VALUE, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.container import Container
    from ocirt.options import Globals, Parsed

SUMMARY = "list the containers under the root directory"
ARGUMENTS = ""
OPTIONS = (
    Option("format", "f", kind=VALUE, metavar="FORMAT", help='"table" (default) or "json"'),
    Option("quiet", "q", help="print the IDs only"),
)
MAX_ARGS = 0

HEADER = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")
MIN_COLUMN, PADDING = 12, 3  # as runc's table


def main(g: Globals, options: Parsed) -> int:
    if options.format not in ("", "table", "json"):
        raise UsageError("invalid format option")
    there = g.root_given or os.path.exists(g.root)  # else nothing was created yet
    containers = list_containers(g.root) if there else ()
    if options.quiet:
        log.show("".join([f"{container.id}\n" for container in containers]))
        return 0
    states = [container.state() | {"owner": _owner(container)} for container in containers]
    if options.format == "json":
        log.show(jsontext.dump(states or None) + "\n")
    else:
        log.show(_table([HEADER, *(tuple(str(state[name.lower()]) for name in HEADER) for state in states)]))
    return 0


def _owner(container: Container) -> str:
    """The user's name, #uid when it has none."""
    uid = container.record["owner"]
    return [*users.names(uid), f"#{uid}"][0]


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(MIN_COLUMN, max(map(len, column)) + PADDING) for column in zip(*rows, strict=True)]
    widths[-1] = 0
    return "".join("".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + "\n" for row in rows)
