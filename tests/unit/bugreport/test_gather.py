"""The parts of a report: what is missing is said, what is long is cut."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocirt.bugreport import archive, gather, redact
from ocirt.bugreport.gather import Missing, Report
from ocirt.errors import OcirtError


@pytest.fixture
def report() -> Report:
    return Report(redact.Redactor())


def test_what_cannot_be_read_is_said(report: Report) -> None:
    report.text("a", lambda: "text")
    report.text("b", lambda: gather.end_of("/nowhere"))
    report.json("c", lambda: 1 // 0 if report.parts == {} else {"token": "x"})

    def fails() -> str:
        raise OcirtError("json", "it is damaged")

    def missing() -> str:
        raise Missing("it is stopped")

    report.add("d", fails)
    report.add("e", missing)
    assert report.parts == {"a": "text", "c": '{\n  "token": "[redacted]"\n}\n'}
    assert report.problems == {"b": "No such file or directory", "d": "it is damaged", "e": "it is stopped"}
    text = archive.readme("about web1", report, ("PATH",), 8)
    assert text.startswith("about web1\n==========\n")
    assert "\na  4 characters\n" in text
    assert "\nb  not here: No such file or directory\n" in text
    assert "Hidden, in 1 places: the values of environment variables (but PATH)" in text


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", ""),
        ("one\ntwo\n", "one\ntwo\n"),
        ("one\ntwo\nthree\n", "[...]\nthree\n"),
        ("x" * 100, "[...]\n"),
        (b"\xff", "\ufffd"),
    ],
)
def test_the_end_of_a_file(tmp_path: Path, content: str | bytes, found: str) -> None:
    path = tmp_path / "log"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert gather.end_of(str(path), 10) == found


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert gather.end_of(str(tmp_path / "fifo")) == ""


def test_the_kernels_lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = [b"6,1,1,-;eth0 is up\n", b"3,2,2,-;Memory cgroup out of memory: Killed process 42\n SUBSYSTEM=x\n"]
    lines += [b"6,%d,3,-;audit: %d\n" % (number, number) for number in range(300)]
    monkeypatch.setattr(gather, "_records", lambda fd: iter(lines))
    if not os.access("/dev/kmsg", os.R_OK):
        pytest.skip("no right to read /dev/kmsg")
    found = gather.kernel_log(("out of memory", "audit", "")).splitlines()
    assert len(found) == gather.KERNEL_LINES
    assert found[-1] == "6,299,3,-;audit: 299"
    monkeypatch.setattr(gather, "_records", lambda fd: iter(lines[:2]))
    assert gather.kernel_log(("out of memory",)) == "3,2,2,-;Memory cgroup out of memory: Killed process 42\n"


def test_an_archive_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "report.tar.gz"
    archive.write(str(path), b"data")
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        archive.write(str(path), b"other")
    assert path.read_bytes() == b"data"
    with pytest.raises(TypeError):
        archive.write(str(tmp_path / "broken"), "text")  # type: ignore[arg-type]
    assert not (tmp_path / "broken").exists()
