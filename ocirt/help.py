"""What --help prints, from the tables: a screen of it, 80 columns and 24 lines, or with `help` all of it.

Loaded when somebody asks.  A screen leaves its last line to the shell's prompt.
"""

from __future__ import annotations

import textwrap

from ocirt.examples import EXAMPLES
from ocirt.options import FLAG, HELP, Option

WIDTH, LINES = 80, 23
INDENT = "  "
WIDEST = 28  # columns of an option's name; a wider one pushes its help to the right


def command_help(app: str, name: str, summary: str, arguments: str, table: tuple[Option, ...], whole: bool) -> str:
    """What `<app> <name> --help` prints; whole: what `<app> help <name>` does."""
    top = [*_wrap(f"{app} {name} -", summary), ""]
    top += _wrap("usage:", f"{app} {name} [options] {arguments}".rstrip())
    top.append("")
    return _page(top, "options:", table, _examples(name), f"{app} help {name}", whole)


def overview(app: str, version: str, summary: str, commands: dict[str, str], table: tuple[Option, ...]) -> str:
    """What `<app> --help` prints: the commands by their names alone."""
    top = [f"{app} - {summary}, version {version}", ""]
    top += [f"usage: {app} [global options] command [options] [arguments]", ""]
    top += _wrap("commands:", ", ".join(commands))
    top.append("")
    bottom = [f"{app} help says what each command does, {app} COMMAND --help how to call it"]
    return _page(top, "global options:", table, bottom, f"{app} help", False)


def all_commands(app: str, version: str, summary: str, commands: dict[str, str], table: tuple[Option, ...]) -> str:
    """What `<app> help` prints: a line for each command."""
    width = max(map(len, commands))
    top = [f"{app} - {summary}, version {version}", ""]
    top += [f"usage: {app} [global options] command [options] [arguments]", "", "commands:"]
    for name, what in commands.items():
        top += _wrap(f"{INDENT}{name.ljust(width)} ", what)
    top.append("")
    return _page(top, "global options:", table, _examples(""), f"{app} help", True)


def _page(top: list[str], title: str, table: tuple[Option, ...], bottom: list[str], more: str, whole: bool) -> str:
    """Options from the first on as long as there is room; of the others the names."""
    shown = [option for option in (*table, HELP) if not option.hidden]
    rows = option_rows(shown)
    bottom = ["", *bottom]
    room = LINES - len(top) - 1 - len(bottom)
    if whole or sum(map(len, rows)) <= room:
        return "\n".join([*top, title, *(line for row in rows for line in row), *bottom]) + "\n"
    count = len(rows) - 1  # --help itself is left out
    rest: list[str] = []
    while sum(map(len, rows[:count])) + len(rest) > room:
        count -= 1
        names = ", ".join(f"--{option.name}" for option in shown[count:-1])
        rest = _fill(f"{names}: see {more}", INDENT, INDENT)
    return "\n".join([*top, title, *(line for row in rows[:count] for line in row), *rest, *bottom]) + "\n"


def option_rows(options: list[Option]) -> list[list[str]]:
    """The lines of each option: its names, its help wrapped beside them."""
    names = [option_names(option) for option in options]
    width = max((len(one) for one in names if len(one) <= WIDEST), default=0)
    rows = []
    for one, option in zip(names, options, strict=True):
        first = f"{INDENT}{one.ljust(width)}  "
        rows.append(_fill(option.help, first, " " * (width + 4)))
    return rows


def option_names(option: Option) -> str:
    """As `-f, --format FORMAT`; who has no short name stands where the long ones do."""
    short = f"-{option.short}, " if option.short else "    "
    return f"{short}--{option.name}" + ("" if option.kind == FLAG else f" {option.metavar or 'VALUE'}")


def _examples(name: str) -> list[str]:
    """The first two; the man page has them all."""
    lines = ["examples:"]
    for line, _ in EXAMPLES[name][:2]:
        lines += _fill(line, INDENT, INDENT * 3)
    return lines


def _wrap(title: str, text: str) -> list[str]:
    return _fill(f"{title} {text}", "", " " * (len(title) + 1))


def _fill(text: str, first: str, next: str) -> list[str]:
    """The lines of text; names with hyphens stay whole.  first, next: what they begin with."""
    kept = " " * (len(text) - len(text.lstrip()))
    wrapped = textwrap.wrap(
        text.lstrip(), WIDTH, initial_indent=kept + first, subsequent_indent=next, break_on_hyphens=False
    )
    return wrapped or [kept + first]
