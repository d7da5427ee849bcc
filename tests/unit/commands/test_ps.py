"""ps: which rows of ps(1) are the container's."""

from __future__ import annotations

import pytest

from ocirt.commands import ps
from ocirt.errors import OcirtError
from tests.support import records
from tests.support.cgroups import FakeContainer, fake

__all__ = ["fake"]

TABLE = """\
UID          PID    PPID  CMD
root           1       0  init 7
root           7       1  sleep 30

root          77       7  other
root          30       7  a  b
"""


def test_rows_are_chosen_by_the_pid_column_alone() -> None:
    assert ps.rows_of(TABLE, {7, 30}).splitlines() == [
        "UID          PID    PPID  CMD",
        "root           7       1  sleep 30",
        "root          30       7  a  b",
    ]


def test_a_command_line_with_any_characters_stays_one_row() -> None:
    assert ps.rows_of("PID CMD\n7 a\u2028b\x0c1\n8 c\n", {7}) == "PID CMD\n7 a\u2028b\x0c1\n"


def test_a_row_without_a_number_in_the_column_is_nobody_s() -> None:
    """`ps -o comm,pid`: a name with a blank in it moves the columns."""
    assert ps.rows_of("COMMAND PID\na b 7\nc 7\n", {7}) == "COMMAND PID\nc 7\n"


def test_no_pid_column() -> None:
    with pytest.raises(OcirtError) as caught:
        ps.rows_of("UID CMD\nroot x\n", {1})
    assert caught.value.what == "couldn't find PID field in ps output"


def test_json(fake: FakeContainer, capfd: pytest.CaptureFixture[str]) -> None:
    assert records.run(ps, fake.root, "--format", "json", fake.id) == 0
    assert capfd.readouterr().out == "[7,30]\n"


def test_unknown_format(fake: FakeContainer) -> None:
    with pytest.raises(OcirtError) as caught:
        records.run(ps, fake.root, "-f", "xml", fake.id)
    assert (caught.value.code, caught.value.what) == ("usage", "invalid format option")


def test_failing_ps(fake: FakeContainer) -> None:
    with pytest.raises(OcirtError) as caught:
        records.run(ps, fake.root, fake.id, "--no-such-option-of-ps")
    assert caught.value.what.startswith("ps --no-such-option-of-ps: exit status 1: ")


def test_host_without_ps(fake: FakeContainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(OcirtError) as caught:
        records.run(ps, fake.root, fake.id)
    assert (caught.value.code, caught.value.remedy) == ("unsupported", "use --format json")
