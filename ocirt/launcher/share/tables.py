"""ocirt's commands and options as data, for what is written from them: manual pages and completion."""

from __future__ import annotations

import importlib
import re

from ocirt import cli
from ocirt.options import FLAG, HELP, Option

NEW_ID = ("create", "run", "restore", "plan")  # their container does not exist yet
SIGNALS = ("HUP", "INT", "QUIT", "KILL", "USR1", "USR2", "TERM", "CONT", "STOP", "WINCH")
# What a value or an argument is completed with.
FILES, DIRECTORIES, IDS, NOTHING = "files", "directories", "ids", "nothing"


class Command:
    """One verb.  options: those that are not hidden, and --help.  places: what the arguments are, the last one for
    all that follow."""

    def __init__(self, name: str) -> None:
        module = importlib.import_module(f"ocirt.commands.{name}")
        self.name = name
        self.summary: str = module.SUMMARY
        self.arguments: str = module.ARGUMENTS
        self.options = visible(module.OPTIONS)
        self.places = arguments(name, module.ARGUMENTS)


def commands() -> list[Command]:
    return [Command(name) for name in cli.COMMANDS]


def visible(table: tuple[Option, ...]) -> list[Option]:
    return [option for option in (*table, HELP) if not option.hidden]


def global_options() -> list[Option]:
    return visible(cli.OPTIONS)


def value_of(option: Option) -> str | tuple[str, ...]:
    """What an option's value is: words to choose from (the quoted ones of its help), or one of the constants."""
    words = tuple(re.findall(r'"([a-z0-9]+)"', option.help))
    if words:
        return words
    return {"FILE": FILES, "PATH": FILES, "DIR": DIRECTORIES}.get(option.metavar, NOTHING)


def takes_value(option: Option) -> bool:
    return option.kind != FLAG


def names(option: Option) -> list[str]:
    """As they are typed."""
    return [f"--{option.name}", *([f"-{option.short}"] if option.short else [])]


def arguments(name: str, usage: str) -> list[str | tuple[str, ...]]:
    """From what the help says of them: `<container-id>`, `[bundle]`, FILE; a small word, or one of a|b, is typed.

    Of several usages the first counts; of those that begin with a word of their own, the words.
    """
    usages = usage.split("  |  ")
    verbs = tuple(one.split(" ")[0] for one in usages)
    if len(verbs) > 1 and all(verb.isalpha() and verb.islower() for verb in verbs):
        return [verbs, FILES]
    places: list[str | tuple[str, ...]] = []
    words = re.findall(r"[<[].*?[>\]](?=\s|$)\S*|\S+", usages[0])
    for word in words:
        if "container-id" in word:
            places.append(NOTHING if name in NEW_ID else IDS)
        elif "signal" in word:
            places.append(SIGNALS)
        elif word[0] in "<[" or word.isupper():
            places.append(DIRECTORIES if "bundle" in word else FILES)
        else:
            places.append(tuple(word.split("|")))
    if words and "..." in words[-1]:
        return places
    return [*places, NOTHING]
