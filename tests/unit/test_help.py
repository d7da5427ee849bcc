"""The help: its text to the byte, a screen of 80 columns and 24 lines for every command, examples that can be typed."""

from __future__ import annotations

import importlib
import shlex

import pytest

from ocirt import cli, help, options
from ocirt.examples import EXAMPLES
from ocirt.options import ANY_NUMBER, LIST, VALUE, Option

TABLE = (
    Option("force", "f", help="go on"),
    Option("no-subreaper", help="be no subreaper"),
    Option("pid-file", kind=VALUE, metavar="FILE", help="write the pid " + "to a file that is not there yet " * 2),
    Option("a-name-that-is-very-long", "a", kind=VALUE, help="the help stands to the right of it"),
    Option("env", "e", kind=LIST, help="a variable"),
    Option("secret", hidden=True, help="never shown"),
)


def test_a_command() -> None:
    assert help.command_help("ocirt", "start", "make one", "<container-id>", TABLE, False) == (
        "ocirt start - make one\n"
        "\n"
        "usage: ocirt start [options] <container-id>\n"
        "\n"
        "options:\n"
        "  -f, --force          go on\n"
        "      --no-subreaper   be no subreaper\n"
        "      --pid-file FILE  write the pid to a file that is not there yet to a file\n"
        "                       that is not there yet\n"
        "  -a, --a-name-that-is-very-long VALUE  the help stands to the right of it\n"
        "  -e, --env VALUE      a variable\n"
        "  -h, --help           show help\n"
        "\n"
        "examples:\n"
        "  ocirt start web1\n"
    )


MANY = tuple(Option(f"option-{i}", help="does something") for i in range(30))


def test_what_does_not_fit_is_named() -> None:
    text = help.command_help("ocirt", "start", "make one", "<container-id>", MANY, False)
    lines = text.splitlines()
    assert len(lines) == help.LINES
    shown = [line.split()[0] for line in lines if line.startswith("      --")]
    assert shown == [f"--option-{i}" for i in range(len(shown))]
    rest = " ".join(line.strip() for line in lines[5 + len(shown) : -3])
    assert rest == ", ".join(f"--option-{i}" for i in range(len(shown), 30)) + ": see ocirt help start"


def test_all_of_it_when_asked() -> None:
    lines = help.command_help("ocirt", "start", "make one", "<container-id>", MANY, True).splitlines()
    assert sum(line.endswith("  does something") for line in lines) == 30
    assert "  -h, --help       show help" in lines


@pytest.mark.parametrize("name", ["", *cli.COMMANDS])
def test_it_fits_a_screen(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """24 lines and the prompt."""
    assert cli.run([*([name] if name else []), "--help"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    if name:
        table = importlib.import_module(f"ocirt.commands.{name}").OPTIONS
        assert f"  {EXAMPLES[name][0][0]}" in lines
    else:
        table = cli.OPTIONS
        words = " ".join(lines).replace(",", " ").split()
        assert set(cli.COMMANDS) <= set(words)
    named = {word.strip(",:") for line in lines for word in line.split()}
    assert {f"--{option.name}" for option in table if not option.hidden} - named == set()


@pytest.mark.parametrize("name", ["", *cli.COMMANDS])
def test_all_of_it_is_as_wide_as_a_screen(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["help", name] if name else ["help"]) == 0
    assert max(map(len, capfd.readouterr().out.splitlines())) <= 80


def test_every_command_has_examples() -> None:
    assert set(EXAMPLES) == {"", *cli.COMMANDS}


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line, _ in lines])
def test_examples_can_be_typed(line: str) -> None:
    """Each ocirt of the line is what the tables take."""
    words = shlex.split(line.replace(">", " > "))
    starts = [i for i, word in enumerate(words) if word == "ocirt"]
    assert starts
    for start in starts:
        rest = words[start + 1 :]
        ends = [i for i, word in enumerate(rest) if word in ("&&", "|", ">")]
        given = options.parse(cli.OPTIONS, rest[: min(ends, default=len(rest))], stop_at_positional=True)
        name, *more = given.args
        command = importlib.import_module(f"ocirt.commands.{name}")
        parsed = options.parse(command.OPTIONS, more, getattr(command, "STOP_AT_POSITIONAL", False))
        least, most = getattr(command, "MIN_ARGS", 0), getattr(command, "MAX_ARGS", ANY_NUMBER)
        # what xargs adds is not there to be counted
        options.check_count("ocirt", name, parsed.args, 0 if "xargs" in line else least, most)


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name])
def test_examples_are_of_the_command(name: str) -> None:
    assert all(name in line.split() for line, _ in EXAMPLES[name])
