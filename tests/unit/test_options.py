"""The forms of options urfave/cli accepts, and its error texts."""

from __future__ import annotations

import pytest

from ocirt.options import ANY_NUMBER, LIST, VALUE, Misuse, Option, check_count, parse, parse_bool

TABLE = (
    Option("force", "f", help="go on"),
    Option("no-subreaper", help="be no subreaper"),
    Option("pid-file", kind=VALUE, metavar="FILE", help="write the pid"),
    Option("bundle", "b", kind=VALUE, help="the bundle"),
    Option("env", "e", kind=LIST, help="a variable"),
    Option("secret", hidden=True, help="never shown"),
)


def test_absent_options() -> None:
    parsed = parse(TABLE, [])
    assert (parsed.force, parsed.pid_file, parsed.env, parsed.args, parsed.help) == (False, "", [], [], False)


@pytest.mark.parametrize(
    ("words", "attribute", "value"),
    [
        (["--pid-file", "/p"], "pid_file", "/p"),
        (["--pid-file=/p"], "pid_file", "/p"),
        (["-pid-file", "/p"], "pid_file", "/p"),
        (["-pid-file=/p"], "pid_file", "/p"),
        (["--pid-file="], "pid_file", ""),
        (["--pid-file=a=b"], "pid_file", "a=b"),
        (["--pid-file", "--force"], "pid_file", "--force"),
        (["-b", "/x"], "bundle", "/x"),
        (["-b=/x"], "bundle", "/x"),
        (["--bundle", "1", "-b", "2"], "bundle", "2"),
        (["--force"], "force", True),
        (["-f"], "force", True),
        (["-force"], "force", True),
        (["--force=false"], "force", False),
        (["--force=1"], "force", True),
        (["--force", "--force=F"], "force", False),
        (["-no-subreaper"], "no_subreaper", True),
        (["-e", "A=1,2", "--env=B=3"], "env", ["A=1,2", "B=3"]),
    ],
)
def test_forms(words: list[str], attribute: str, value: object) -> None:
    parsed = parse(TABLE, words)
    assert getattr(parsed, attribute) == value
    assert parsed.args == []


@pytest.mark.parametrize(
    ("words", "args", "force"),
    [
        (["web1", "--force"], ["web1"], True),
        (["--force", "web1", "x"], ["web1", "x"], True),
        (["web1", "--", "--force"], ["web1", "--force"], False),
        (["--", "web1", "--"], ["web1", "--"], False),
        (["web1", "-", "-f"], ["web1", "-"], True),
    ],
)
def test_options_among_arguments(words: list[str], args: list[str], force: bool) -> None:
    parsed = parse(TABLE, words)
    assert (parsed.args, parsed.force) == (args, force)


def test_stop_at_the_first_argument() -> None:
    parsed = parse(TABLE, ["-f", "web1", "ls", "-la", "--force=false", "--"], stop_at_positional=True)
    assert (parsed.args, parsed.force) == (["web1", "ls", "-la", "--force=false", "--"], True)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--bad"], "flag provided but not defined: -bad"),
        (["-x"], "flag provided but not defined: -x"),
        (["-fb"], "flag provided but not defined: -fb"),
        (["--bad=1"], "flag provided but not defined: -bad"),
        (["--pid-file"], "flag needs an argument: --pid-file"),
        (["web1", "-e"], "flag needs an argument: -e"),
        (["--force=maybe"], 'invalid boolean value "maybe" for -force: parse error'),
    ],
)
def test_misuse(words: list[str], what: str) -> None:
    with pytest.raises(Misuse) as caught:
        parse(TABLE, words)
    assert (caught.value.code, caught.value.what) == ("usage", what)
    assert caught.value.heading == f"Incorrect Usage: {what}"


@pytest.mark.parametrize("word", ["--help", "-h", "-help"])
def test_help_ends_the_reading(word: str) -> None:
    assert parse(TABLE, ["web1", word, "--bad"]).help


@pytest.mark.parametrize(
    ("count", "least", "most", "text"),
    [
        (0, 1, 1, "exactly 1"),
        (2, 1, 1, "exactly 1"),
        (1, 0, 0, "exactly 0"),
        (0, 1, 2, "a minimum of 1"),
        (3, 1, 2, "a maximum of 2"),
        (1, 2, ANY_NUMBER, "a minimum of 2"),
    ],
)
def test_wrong_count(count: int, least: int, most: int, text: str) -> None:
    with pytest.raises(Misuse) as caught:
        check_count("ocirt", "kill", ["x"] * count, least, most)
    assert caught.value.what == f'ocirt: "kill" requires {text} argument(s)'
    assert caught.value.heading == "Incorrect Usage."


@pytest.mark.parametrize(("count", "least", "most"), [(1, 1, 1), (0, 0, 0), (1, 1, 2), (9, 1, ANY_NUMBER)])
def test_right_count(count: int, least: int, most: int) -> None:
    check_count("ocirt", "kill", ["x"] * count, least, most)


def test_parse_bool_as_go() -> None:
    for text in ("1", "t", "T", "TRUE", "true", "True"):
        assert parse_bool(text) is True
    for text in ("0", "f", "F", "FALSE", "false", "False"):
        assert parse_bool(text) is False
    for text in ("", "yes", "tRUE", "2"):
        assert parse_bool(text) is None
