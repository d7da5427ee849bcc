"""ocirt trace view: what --trace wrote, as a chart for a terminal."""

from __future__ import annotations

from _stat import S_ISREG  # the public module is Python: 0.1 ms

from ocirt import log
from ocirt import system as os
from ocirt.errors import UsageError
from ocirt.kernel.terminals import window_size
from ocirt.options import VALUE, Option
from ocirt.trace import chart
from ocirt.units import parse_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.options import Globals, Parsed

SUMMARY = "show what --trace FILE has recorded as a chart"
ARGUMENTS = "view <file>"
OPTIONS = (Option("min", "", VALUE, "leave out what took less (default: 0s)", "DURATION"),)
MIN_ARGS = MAX_ARGS = 2

COLUMNS = 120  # where standard output is no terminal
LARGEST = 64 << 20  # bytes


def main(g: Globals, options: Parsed) -> int:
    verb, path = options.args
    if verb != "view":
        raise UsageError(f"no such thing to do with a trace: {verb}", "ocirt trace view FILE")
    shortest = parse_duration(options.min) if options.min else 0
    found = os.stat(path)
    if not S_ISREG(found.st_mode) or found.st_size > LARGEST:
        raise UsageError(f"{path} is no file of at most {LARGEST >> 20} MiB")
    processes = chart.read(os.read_whole(path), path)
    log.show(chart.draw(processes, window_size(log.STDOUT)[1] or COLUMNS, round(shortest * 1e9)))
    return 0
