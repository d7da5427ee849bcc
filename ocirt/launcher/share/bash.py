"""Completion for bash: one function and nothing else needed, the package bash-completion neither."""

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
# bash completion of ocirt, written from its option tables

# _ocirt_value COMMAND OPTION: sets kind to what the option takes; "" for a switch
_ocirt_value() {
    kind=
    case "$1 $2" in
"""
BODY = """\
    esac
}

# _ocirt_argument COMMAND COUNT: sets kind to what the argument after COUNT others is
_ocirt_argument() {
    kind=
    case "$1 $2" in
"""
TAIL = """\
    esac
}

# _ocirt_options COMMAND: sets kind to its options
_ocirt_options() {
    case $1 in
"""
END = """\
    esac
}

_ocirt() {
    local program=${COMP_WORDS[0]/#\\~/$HOME} current=${COMP_WORDS[COMP_CWORD]} command= option= kind= word i
    local -i count=0
    local root=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $word == = ]]; then
            option=${option:--}
        elif [[ $option ]]; then
            [[ $command$option == --root ]] && root=(--root "${word/#\\~/$HOME}")
            option=
        elif [[ $word == -?* ]]; then
            [[ $word == --* || $word == -? ]] || word=-$word
            _ocirt_value "$command" "$word"
            [[ $kind ]] && option=$word
        elif [[ ! $command ]]; then
            command=$word
        else
            count+=1
        fi
    done
    [[ $current == = ]] && current=
    if [[ $option ]]; then
        _ocirt_value "$command" "$option"
        [[ $kind ]] || kind="true false"
    elif [[ $current == -* ]]; then
        _ocirt_options "$command"
    elif [[ $command ]]; then
        _ocirt_argument "$command" "$count"
    else
        kind="%(commands)s"
    fi
    COMPREPLY=()
    case $kind in
        files) mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
        directories) mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
        nothing) ;;
        ids) mapfile -t COMPREPLY < <(compgen -W "$("$program" "${root[@]}" list --quiet 2>/dev/null)" -- "$current") ;;
        *) mapfile -t COMPREPLY < <(compgen -W "$kind" -- "$current") ;;
    esac
    [[ $kind != files && $kind != directories ]] || compopt -o filenames 2>/dev/null || true
}

complete -F _ocirt ocirt
"""


def script(commands: list[Command]) -> str:
    cases: dict[str, list[str]] = {}
    for name, options in (("", global_options()), *((command.name, command.options) for command in commands)):
        for option in filter(takes_value, options):
            cases.setdefault(word(value_of(option)), []).extend(f'"{name} {one}"' for one in names(option))
    text = HEAD + "".join(case(" | ".join(patterns), f'kind="{kind}"') for kind, patterns in cases.items()) + BODY
    for command in commands:
        for i, place in enumerate(command.places):
            rest = "*" if i == len(command.places) - 1 else str(i)
            text += case(f'"{command.name} "{rest}', f'kind="{word(place)}"')
    text += TAIL
    for command in commands:
        text += case(command.name, f'kind="{spelt(command.options)}"')
    text += case('""', f'kind="{spelt(global_options())}"')
    return text + END.replace("%(commands)s", " ".join([*(command.name for command in commands), "help"]))


def case(pattern: str, body: str) -> str:
    return f"        {pattern}) {body} ;;\n"


def spelt(options: list[Option]) -> str:
    return " ".join(one for option in options for one in names(option))


def word(value: str | tuple[str, ...]) -> str:
    return value if value in (FILES, DIRECTORIES, IDS, NOTHING) else " ".join(value)
