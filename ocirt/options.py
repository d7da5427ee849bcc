"""Command lines read by tables, in the forms urfave/cli accepts.  help.py prints help from the same tables.

A command is a module ocirt/commands/<name>.py; the protocol, whole:

    SUMMARY = "signal a container's init process"         # one line, for the help
    ARGUMENTS = "<container-id> [signal]"                 # for the help
    OPTIONS = (Option("all", "a", help="..."), Option("pid-file", kind="value", metavar="FILE", help="..."))
    MIN_ARGS, MAX_ARGS = 1, 2                             # MAX_ARGS = -1: any number
    STOP_AT_POSITIONAL = True                             # all three optional: 0, -1, False when absent
    def main(g: Globals, options: Parsed) -> int:         # returns the exit code, raises OcirtError or OSError
        options.args                                      # list[str], the positional arguments
        options.all, options.pid_file                     # bool False, str "", or list [] when absent (kind)

Forms: `--flag value`, `--flag=value`, `-f value`, a long name with one dash (go-runc writes -no-subreaper),
`--switch`, `--switch=false`, `--`; options may follow arguments unless STOP_AT_POSITIONAL.  A repeated
"list" option collects, is never split at commas; of a repeated "value" the last one counts.
"""

from __future__ import annotations

from ocirt.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FLAG, VALUE, LIST = "flag", "value", "list"
ANY_NUMBER = -1  # of arguments
STANDARD_STREAM = "-"  # in place of a file's path

_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


class Option:
    """One option of a table.  kind is "flag" (a bool), "value" (a str) or "list" (a str, repeatable).

    help: one line without a stop; what stands in double quotes is a value that the option takes.
    """

    __slots__ = ("name", "short", "kind", "help", "metavar", "hidden", "attribute", "absent")

    def __init__(
        self, name: str, short: str = "", kind: str = FLAG, help: str = "", metavar: str = "", hidden: bool = False
    ) -> None:
        self.name = name
        self.short = short
        self.kind = kind
        self.help = help
        self.metavar = metavar
        self.hidden = hidden
        # Of Parsed: the attribute's name, and its value where the command line does not have the option.
        self.attribute = name.replace("-", "_")
        self.absent = {FLAG: False, VALUE: "", LIST: []}[kind]


HELP = Option("help", "h", help="show help")


class Parsed:
    """What a command line said: `args`, and one attribute per option of the table."""

    args: list[str]
    help: bool

    def __init__(self, table: tuple[Option, ...]) -> None:
        self.args = []
        self.help = False
        mine = self.__dict__
        for option in table:
            mine[option.attribute] = option.absent

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


class Globals:
    """The options before the command.

    root: absolute path of the directory of all containers; root_given: it was named by --root.
    log, log_format: as given.  rootless: "true", "false" or "auto".
    systemd_cgroup: bool.  cgroup_manager: "cgroupfs", "systemd" or "disabled".  app: "ocirt".
    """

    __slots__ = (
        "app",
        "root",
        "root_given",
        "debug",
        "log",
        "log_format",
        "systemd_cgroup",
        "rootless",
        "cgroup_manager",
    )

    app: str
    root: str
    root_given: bool
    debug: bool
    log: str
    log_format: str
    systemd_cgroup: bool
    rootless: str
    cgroup_manager: str


class Misuse(UsageError):
    """The words do not fit the tables.  heading is printed on stdout above the help."""

    def __init__(self, what: str, heading: str = "") -> None:
        super().__init__(what)
        self.heading = heading or f"Incorrect Usage: {what}"


def parse(table: tuple[Option, ...], words: list[str], stop_at_positional: bool = False) -> Parsed:
    """Read words by the table.  With --help the rest is not read.  Raises Misuse."""
    parsed = Parsed(table)
    waiting = words[::-1]
    while waiting:
        word = waiting.pop()
        if word == "--":
            parsed.args += waiting[::-1]
            break
        if word == "-" or not word.startswith("-"):
            parsed.args.append(word)
            if stop_at_positional:
                parsed.args += waiting[::-1]
                break
            continue
        _read_option(table, word, waiting, parsed)
        if parsed.help:
            break
    return parsed


def _read_option(table: tuple[Option, ...], word: str, waiting: list[str], parsed: Parsed) -> None:
    """Store what word says; take its value from the end of waiting when word has none."""
    name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
    option = _find(table, name)
    if option is None:
        raise Misuse(f"flag provided but not defined: -{name}")
    if option.kind == FLAG:
        switch = parse_bool(value) if equals else True
        if switch is None:
            raise Misuse(f'invalid boolean value "{value}" for -{name}: parse error')
        setattr(parsed, option.attribute, switch)
        return
    if not equals:
        if not waiting:
            raise Misuse(f"flag needs an argument: {word}")
        value = waiting.pop()
    if option.kind == LIST:
        setattr(parsed, option.attribute, [*getattr(parsed, option.attribute), value])
    else:
        setattr(parsed, option.attribute, value)


def _find(table: tuple[Option, ...], name: str) -> Option | None:
    """The option of that long or short name.  Few are on a line: that is quicker than a dictionary of all."""
    for option in (HELP, *table):
        if name == option.name or (name and name == option.short):
            return option
    return None


def parse_bool(text: str) -> bool | None:
    """As Go's strconv.ParseBool; None when text is no boolean."""
    if text in _TRUE:
        return True
    return False if text in _FALSE else None


def check_count(app: str, command: str, args: list[str], least: int, most: int) -> None:
    """Raise Misuse unless least <= len(args) <= most (ANY_NUMBER: no bound)."""
    if least == most and len(args) != least:
        wrong = f"exactly {least}"
    elif len(args) < least:
        wrong = f"a minimum of {least}"
    elif most != ANY_NUMBER and len(args) > most:
        wrong = f"a maximum of {most}"
    else:
        return
    raise Misuse(f'{app}: "{command}" requires {wrong} argument(s)', "Incorrect Usage.")
