"""Completion for zsh, by its _arguments."""

from __future__ import annotations

from ocirt.launcher.share.tables import (
    DIRECTORIES,
    FILES,
    IDS,
    NOTHING,
    Command,
    global_options,
    names,
    takes_value,
    value_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.options import Option

HEAD = """\
#compdef ocirt
# zsh completion of ocirt, written from its option tables

_ocirt_ids() {
    local -a ids
    ids=(${(f)"$(_call_program ids ocirt ${root:+--root} ${root:+${(q)root}} list --quiet 2>/dev/null)"})
    compadd -a ids
}

_ocirt_commands() {
    local -a commands
    commands=(
"""
MIDDLE = """\
    )
    _describe command commands
}

_ocirt() {
    local curcontext=$curcontext state root
    local -a line
    typeset -A opt_args
    _arguments -C -S \\
"""
END = """\
        '1:command:_ocirt_commands' '*::argument:->argument' && return
    root=${opt_args[--root]}
    case $line[1] in
"""
ACTIONS = {FILES: "_files", DIRECTORIES: "_files -/", IDS: "_ocirt_ids", NOTHING: " "}


def script(commands: list[Command]) -> str:
    rows = "".join(f"        {quote(f'{command.name}:{command.summary}')}\n" for command in commands)
    text = HEAD + rows + MIDDLE
    text += "".join(f"        {spec} \\\n" for option in global_options() for spec in specs(option)) + END
    for command in commands:
        text += f"        {command.name}) _arguments -S \\\n"
        words = [spec for option in command.options for spec in specs(option)]
        for i, place in enumerate(command.places):
            last = i == len(command.places) - 1
            words.append(quote(f"{'*' if last else i + 1}:argument:{action(place)}"))
        text += " \\\n".join(f"            {one}" for one in words) + " ;;\n"
    return text + '    esac\n}\n\n_ocirt "$@"\n'


def specs(option: Option) -> list[str]:
    """One for each name; each shuts out the other unless the option is a list."""
    both = names(option)
    value = (
        f":{option.metavar or 'value'}:{action(value_of(option))}".replace("[", "\\[") if takes_value(option) else ""
    )
    told = option.help.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
    before = "*" if option.kind == "list" else f"({' '.join(both)})"
    return [quote(f"{before}{one}{'=' if value and one[:2] == '--' else ''}[{told}]{value}") for one in both]


def action(value: str | tuple[str, ...]) -> str:
    return ACTIONS[value] if isinstance(value, str) else f"({' '.join(value)})"


def quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
