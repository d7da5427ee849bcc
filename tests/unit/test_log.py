"""Log records byte for byte, and who gets which."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest

from ocirt import log

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"_fd": log.STDERR, "_json": False, "_relay": None, "_held": [], "debugging": False}.items():
        monkeypatch.setattr(log, name, value)


def test_text_file_and_plain_last_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log"
    log.configure(str(path), "text", debug=False)
    log.debug("unseen")
    log.warning('careful "x"')
    log.failure("ocirt: bad\nline", {"code": "usage"})
    assert re.fullmatch(
        rf'time="{TIME}" level=warning msg="careful \\"x\\""\ntime="{TIME}" level=error msg="ocirt: bad\\nline"\n',
        path.read_text(),
    )
    assert capfd.readouterr().err == "ocirt: bad\\nline\n"
    assert oct(path.stat().st_mode & 0o777 & ~0o22) == "0o644"


def test_json_file_has_one_record_on_failure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log"
    log.configure(str(path), "json", debug=False)
    log.warning("first")
    log.warning("second")
    log.failure("bad", {"code": "usage", "errno": 2})
    log.release()
    record = json.loads(path.read_text())
    assert list(record) == ["level", "msg", "time", "code", "errno", "warnings"]
    assert re.fullmatch(TIME, record.pop("time"))
    assert record == {"level": "error", "msg": "bad", "code": "usage", "errno": 2, "warnings": "first; second"}
    assert capfd.readouterr().err == "bad\n"


def test_json_warnings_are_written_when_nothing_fails(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log.configure(str(path), "json", debug=False)
    log.warning("first")
    assert path.read_text() == ""
    log.release()
    log.release()
    assert [json.loads(line)["msg"] for line in path.read_text().splitlines()] == ["first"]


def test_debug_does_not_hold_warnings_back(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log.configure(str(path), "json", debug=True)
    log.debug("step")
    log.warning("careful")
    assert [json.loads(line)["level"] for line in path.read_text().splitlines()] == ["debug", "warning"]


def test_stderr_gets_the_plain_line_or_the_record_never_both(capfd: pytest.CaptureFixture[str]) -> None:
    log.failure("bad", {})
    assert capfd.readouterr().err == "bad\n"
    log.configure("", "json", debug=False)
    log.failure("bad", {})
    assert re.fullmatch(rf'{{"level":"error","msg":"bad","time":"{TIME}"}}\n', capfd.readouterr().err)


def test_the_log_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    log.configure(str(path), "text", debug=False)
    log.warning("x")
    assert path.read_text().startswith("before\ntime=")


def test_a_log_that_cannot_be_written_stops_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure("/dev/full", "json", debug=False)
    log.failure("bad", {})
    assert capfd.readouterr().err == "bad\n"


def test_relay_gets_every_record() -> None:
    sent: list[tuple[str, str]] = []
    log.relay(lambda level, text: sent.append((level, text)))
    log.configure("", "json", debug=True)
    log.debug("a")
    log.warning("b")
    assert sent == [("debug", "a"), ("warning", "b")]


@pytest.mark.parametrize(
    "text", ["", "plain", 'q"b\\', "\n\t\r\x00\x1b\x7f", "é漢😀", "\u2028\x85", "\ud800", os.fsdecode(b"\xff")]
)
def test_quote_is_json(text: str) -> None:
    quoted = log.quote(text)
    assert json.loads(quoted) == text
    assert quoted.isprintable()


def test_printable() -> None:
    assert log.printable("é ok") == "é ok"
    assert log.printable("a\x1b[2J\n\r\u202e\udcff") == "a\\x1b[2J\\n\\r\\u202e\\udcff"


def test_show_writes_all(capfd: pytest.CaptureFixture[str]) -> None:
    log.show("ä" * 100_000)
    assert capfd.readouterr().out == "ä" * 100_000


def test_show_without_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(log, "STDOUT", writer)
    with pytest.raises(log.ReaderGone):
        log.show("x")
    os.close(writer)


@pytest.mark.parametrize(
    ("days", "date"),
    [
        (0, (1970, 1, 1)),
        (-1, (1969, 12, 31)),
        (789, (1972, 2, 29)),
        (11016, (2000, 2, 29)),
        (11017, (2000, 3, 1)),
        (47540, (2100, 2, 28)),
        (47541, (2100, 3, 1)),
    ],
)
def test_dates(days: int, date: tuple[int, int, int]) -> None:
    assert log.date_of(days) == date


def test_now_is_as_the_c_library_has_it() -> None:
    before, now, after = (
        time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()),
        log.utc_now(),
        time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()),
    )
    assert before <= now[:19] <= after
    assert (len(now), now[19], now[-1]) == (30, ".", "Z")
