"""Completion for fish: one line an option."""

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
# fish completion of ocirt, written from its option tables

# The command and how many arguments it has by now; nothing before there is one.
function __ocirt_typed
    set -l words (commandline -opc)
    set -e words[1]
    set -l typed
    set -l value
    for word in $words
        if test -n "$value"
            set value
            continue
        end
        switch $word
            case {values}
                set value 1
            case '-*'
            case '*'
                set -a typed $word
        end
    end
    count $typed
    string join \\n -- $typed
end

# __ocirt_at COMMAND [COUNT]: whether the line is at that command, with so many arguments before this one
function __ocirt_at
    set -l typed (__ocirt_typed)
    test "$typed[2]" = $argv[1]; or return
    test (count $argv) = 1; or test $typed[1] = (math $argv[2] + 1)
end

# __ocirt_past COMMAND COUNT: as __ocirt_at, with so many arguments or more
function __ocirt_past
    set -l typed (__ocirt_typed)
    test "$typed[2]" = $argv[1]; and test $typed[1] -gt $argv[2]
end

function __ocirt_ids
    set -l words (commandline -opc)
    set -l root
    if set -l i (contains -i -- --root $words)
        set root --root $words[(math $i + 1)]
    end
    $words[1] $root list --quiet 2>/dev/null
end

complete -c ocirt -f
"""


def script(commands: list[Command]) -> str:
    every = [*global_options(), *(option for command in commands for option in command.options)]
    values = sorted({one for option in every if takes_value(option) for one in names(option)})
    # A short name that is a value's in one command and a switch in another cannot be told: long ones are never both.
    switches = {one for option in every if not takes_value(option) for one in names(option)}
    lines = [HEAD.replace("{values}", " ".join(one for one in values if one not in switches))]
    first = "-n 'test (__ocirt_typed)[1] = 0'"
    for command in commands:
        lines.append(f"complete -c ocirt {first} -a {command.name} -d {quote(command.summary)}\n")
    lines += [line(first, option) for option in global_options()]
    for command in commands:
        at = f"-n '__ocirt_at {command.name}'"
        lines += [line(at, option) for option in command.options]
        for i, place in enumerate(command.places):
            last = i == len(command.places) - 1
            at = f"-n '__ocirt_{'past' if last else 'at'} {command.name} {i}'"
            if place != NOTHING:
                lines.append(f"complete -c ocirt {at} {value(place)}\n")
    return "".join(lines)


def line(when: str, option: Option) -> str:
    short = f" -s {option.short}" if option.short else ""
    takes = f" {value(value_of(option))}" if takes_value(option) else ""
    return f"complete -c ocirt {when} -l {option.name}{short}{takes} -d {quote(option.help)}\n"


def value(kind: str | tuple[str, ...]) -> str:
    """-x: a value and no files, -r -F: a value and files too."""
    if isinstance(kind, tuple):
        return f"-x -a {quote(' '.join(kind))}"
    directories, ids = "-x -a '(__fish_complete_directories)'", "-x -a '(__ocirt_ids)'"
    return {FILES: "-r -F", DIRECTORIES: directories, IDS: ids, NOTHING: "-x"}[kind]


def quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
