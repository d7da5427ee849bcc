"""Manual pages, section 1: one of ocirt, one of each command.  Written in man(7)'s macros."""

from __future__ import annotations

from ocirt import OCI_VERSION, __version__, cli
from ocirt.examples import EXAMPLES
from ocirt.launcher.share.tables import Command, global_options, takes_value
from ocirt.launcher.share.texts import ENVIRONMENT, EXIT_STATUS, FILES, TEXTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocirt.options import Option

DESCRIPTION = f"""\
ocirt runs containers as the Open Container Initiative's runtime specification {OCI_VERSION} describes them. It
takes runc's command line, so that engines such as podman, containerd and docker can use it in runc's place; by hand
it needs a bundle: a directory with a config.json and a root file system."""


def pages(commands: list[Command]) -> dict[str, str]:
    """A file's name -> its content."""
    made = {"ocirt.1": overview(commands)}
    for command in commands:
        made[f"ocirt-{command.name}.1"] = page(command)
    return made


def overview(commands: list[Command]) -> str:
    text = head("ocirt", cli.SUMMARY)
    text += section(
        "SYNOPSIS", [".B ocirt", "[\\fIglobal options\\fR] \\fIcommand\\fR [\\fIoptions\\fR] [\\fIarguments\\fR]"]
    )
    text += section("DESCRIPTION", [escaped(DESCRIPTION)])
    rows = [
        line for command in commands for line in tagged(f"\\fBocirt\\-{escaped(command.name)}\\fR(1)", command.summary)
    ]
    text += section("COMMANDS", rows)
    text += section("GLOBAL OPTIONS", options(global_options()))
    text += section("EXAMPLES", examples(""))
    text += section("EXIT STATUS", [line for status, told in EXIT_STATUS for line in tagged(status, told)])
    text += section("ENVIRONMENT", [line for name, told in ENVIRONMENT for line in tagged(f"\\fB{name}\\fR", told)])
    text += section("FILES", [line for name, told in FILES for line in tagged(f"\\fI{escaped(name)}\\fR", told)])
    return text + see_also([f"ocirt\\-{command.name}" for command in commands[:3]], ("runc(8)", "crun(1)"))


def page(command: Command) -> str:
    text = head(f"ocirt-{command.name}", command.summary)
    usages = [one.strip() for one in command.arguments.split("  |  ")]
    rows = []
    for usage in usages:
        rows += [".PP", f".B ocirt {escaped(command.name)}", f"[\\fIoptions\\fR] {escaped(usage)}".rstrip()]
    text += section("SYNOPSIS", rows[1:])
    told = TEXTS.get(command.name) or f"{command.summary[:1].upper()}{command.summary[1:]}."
    text += section("DESCRIPTION", [escaped(told)])
    text += section(
        "OPTIONS",
        [
            *options(command.options),
            ".PP",
            "The options of ocirt itself stand before the command: see \\fBocirt\\fR(1).",
        ],
    )
    text += section("EXAMPLES", examples(command.name))
    return text + see_also(["ocirt"], ())


def head(name: str, summary: str) -> str:
    return (
        f'.\\" Written by share/install.py from the tables of ocirt {__version__}.\n'
        f'.TH {escaped(name.upper())} 1 "" "ocirt {__version__}" "ocirt"\n.nh\n.ad l\n'
        f".SH NAME\n{escaped(name)} \\- {escaped(summary)}\n"
    )


def section(title: str, lines: Iterable[str]) -> str:
    return f'.SH "{title}"\n' + "".join(f"{line}\n" for line in lines)


def tagged(tag: str, told: str) -> list[str]:
    return [".TP", tag, escaped(told)]


def options(table: Iterable[Option]) -> list[str]:
    lines = []
    for option in table:
        value = f" \\fI{escaped(option.metavar or 'VALUE')}\\fR" if takes_value(option) else ""
        names = [f"\\-{option.short}"] * bool(option.short) + [f"\\-\\-{escaped(option.name)}"]
        lines += tagged(", ".join(f"\\fB{name}\\fR" for name in names) + value, sentence(option.help))
    return lines


def examples(name: str) -> list[str]:
    lines: list[str] = []
    for line, told in EXAMPLES[name]:
        lines += [".TP", f"\\fB{escaped(line)}\\fR", escaped(sentence(told))]
    return lines


def sentence(text: str) -> str:
    """text as one; a name with a dot in it keeps its first letter."""
    first = text.split(" ")[0]
    return f"{text}." if "." in first else f"{text[:1].upper()}{text[1:]}."


def see_also(ours: list[str], others: tuple[str, ...]) -> str:
    """Pages of ours by their names without a section."""
    found = [f"\\fB{name}\\fR(1)" for name in ours]
    found += [f"\\fB{name}\\fR({rest}" for name, _, rest in (other.partition("(") for other in others)]
    return section("SEE ALSO", [", ".join(found), ".PP", "https://github.com/opencontainers/runtime\\-spec"])


def escaped(text: str) -> str:
    """Text as roff has it: no line begins with a control character, hyphens can be copied."""
    lines = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga").split("\n")
    return "\n".join(f"\\&{line}" if line.startswith(".") else line for line in lines)
