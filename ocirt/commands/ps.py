"""ocirt ps: the processes of a container, as the host's ps(1) shows them."""

from __future__ import annotations

import subprocess

from ocirt import log
from ocirt.cgroups import require
from ocirt.config import jsontext
from ocirt.container import Container
from ocirt.errors import OcirtError, UsageError
from ocirt.options import VALUE, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.options import Globals, Parsed

SUMMARY = "show the processes in a container"
ARGUMENTS = "<container-id> [ps options]"
OPTIONS = (Option("format", "f", VALUE, "table (default) or json, an array of pids", "FORMAT"),)
MIN_ARGS, MAX_ARGS = 1, -1
STOP_AT_POSITIONAL = True

DEFAULT_PS_OPTIONS = ["-ef"]
PS_DEADLINE = 30.0  # seconds; it reads all of /proc, where a process that dies may hold it up


def main(g: Globals, options: Parsed) -> int:
    container_id, *ps_options = options.args
    if options.format not in ("", "table", "json"):
        raise UsageError("invalid format option")
    manager = require(Container.load(g.root, container_id).manager())
    pids = manager.pids() if manager.ours() else []
    if options.format == "json":
        log.show(jsontext.dump(pids) + "\n")
    else:
        log.show(rows_of(_run_ps(ps_options or DEFAULT_PS_OPTIONS), set(pids)))
    return 0


def rows_of(table: str, pids: set[int]) -> str:
    """The header and the rows whose PID column is one of pids.  Raises OcirtError when there is no such column."""
    header, *rows = table.split("\n")  # splitlines() would cut at characters that a command line may hold
    names = header.split()
    if "PID" not in names:
        raise OcirtError("usage", "couldn't find PID field in ps output")
    column = names.index("PID")
    wanted = {str(pid) for pid in pids}
    chosen = [row for row in rows if wanted.intersection(row.split()[column : column + 1])]
    return "".join(f"{line}\n" for line in (header, *chosen))


def _run_ps(arguments: list[str]) -> str:
    try:
        done = subprocess.run(
            ["ps", *arguments], capture_output=True, text=True, errors="replace", check=False, timeout=PS_DEADLINE
        )
    except subprocess.TimeoutExpired:
        raise OcirtError(
            "timeout", f"waited {PS_DEADLINE:.0f} s for ps {' '.join(arguments)}", remedy="use --format json"
        ) from None
    except FileNotFoundError:
        raise OcirtError("unsupported", "the host has no ps(1)", remedy="use --format json") from None
    if done.returncode != 0 or not done.stdout:
        raise OcirtError("usage", f"ps {' '.join(arguments)}: exit status {done.returncode}: {done.stderr.strip()}")
    return done.stdout
