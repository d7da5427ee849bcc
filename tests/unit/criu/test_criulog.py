"""What the log says of a failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocirt.criu.criulog import TAIL, error_lines, excerpt, log_file_of

LOG = """\
(00.000001) Version: 3.17.1 (gitid 0)
(00.038411) 611 fdinfo 3: pos:                0 flags:           100002/0
(00.038511) Error (criu/sk-inet.c:191): inet: Connected TCP socket, consider using --tcp-established option.
(00.039102) ----------------------------------------
(00.039144) Error (criu/cr-dump.c:1669): Dump files (pid: 611) failed with -1
(00.039801) Warn  (criu/net.c:1): Error is no error here
(00.041000) 0: Error (criu/cr-dump.c:1669): Dump files (pid: 611) failed with -1
(00.045221) Error (criu/cr-dump.c:2098): Dumping FAILED.
"""
CAUSE = "criu/sk-inet.c:191: inet: Connected TCP socket, consider using --tcp-established option."
REST = "criu/cr-dump.c:1669: Dump files (pid: 611) failed with -1"


def test_each_line_once_and_without_what_says_nothing() -> None:
    assert error_lines(LOG) == [CAUSE, REST]


def test_the_last_ones() -> None:
    assert error_lines("".join(f"(1) Error (a.c:{n}): {n}\n" for n in range(9))) == ["a.c:6: 6", "a.c:7: 7", "a.c:8: 8"]


@pytest.mark.parametrize(
    ("line", "said"), [("Error (a.c:1): \tx\t", ["a.c:1: x"]), ("Error (cut", ["Error (cut"]), ("no Error", [])]
)
def test_lines_of_other_shapes(line: str, said: list[str]) -> None:
    assert error_lines(line) == said


def test_the_end_of_a_long_log(tmp_path: Path) -> None:
    path = tmp_path / "dump.log"
    path.write_bytes(b"Error (early): too early\n" + b"x\n" * TAIL + LOG.encode() + b"\xff\n")
    assert excerpt(str(path)) == f"{CAUSE}; {REST}"


def test_no_log(tmp_path: Path) -> None:
    assert excerpt(str(tmp_path / "none")) == ""
    assert excerpt(f"{tmp_path}/none/there") == ""


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("log-file=/tmp/a b.log\n", "/tmp/a b.log"),
        ("tcp-established\nlog-file  x.log # why\nghost-limit 1M\n", "x.log"),
        ('# log-file=no\nlog-file = "y.log"\n', "y.log"),
        ("log-file\nlog-level 4\n", ""),
    ],
)
def test_the_log_of_a_configuration_file(text: str, path: str) -> None:
    assert log_file_of(text) == path
