"""ocirt check: what is wrong with a config.json and what is dangerous in it, with the line and the column."""

from __future__ import annotations

import os

from ocirt import colours, log
from ocirt.config.bundle import open_bundle, read_file
from ocirt.errors import UsageError
from ocirt.options import VALUE, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.options import Globals, Parsed

SUMMARY = "say what is wrong or dangerous in a bundle's config.json, and where"
ARGUMENTS = "[bundle]"
OPTIONS = (
    Option("strict", help="exit with 1 for advice too"),
    Option("host", help="say also what this host cannot do; tries it, as features --probe does"),
    Option("format", "f", VALUE, '"text" (default), "json" or "sarif" (2.1.0)', "FORMAT"),
)
MAX_ARGS = 1
FAILURE = MISUSE = 2  # it could not be looked at; 1 is for what was found

FORMATS = ("text", "json", "sarif")


def main(g: Globals, options: Parsed) -> int:
    """0 when nothing is wrong, 1 when something is; advice counts with --strict."""
    form = options.format or "text"
    if form not in FORMATS:
        raise UsageError("invalid format option")
    file, directory, data = read(options.args[0] if options.args else ".")
    from ocirt.check import ERROR, report
    from ocirt.check.examine import examine

    examined = examine(data, directory)
    if options.host and examined.config is not None:
        from ocirt.check import machine

        examined.add(machine.findings(examined.config, directory, g))
    found = examined.findings
    if form == "text":
        log.show(report.text(file, found, colours.wanted(log.STDOUT)))
    else:
        log.show(report.dump((report.sarif if form == "sarif" else report.document)(file, found)))
    return int(any(one.level == ERROR or options.strict for one in found))


def read(path: str) -> tuple[str, str, bytes]:
    """(the file's name for the findings, the bundle's absolute path, the text) of a bundle, a file, or - for stdin.

    Raises OcirtError bundle.
    """
    if path == "-":
        return "-", os.getcwd(), read_file("-", "standard input")
    if os.path.isfile(path):
        return path, os.path.dirname(os.path.abspath(path)), read_file(path, path)
    bundle = open_bundle(path)
    name = "config.json" if path == "." else os.path.join(path, "config.json")
    return name, bundle.path, bundle.config_text()
