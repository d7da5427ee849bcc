"""list: the table, the JSON array, the IDs, and what an absent root means."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ocirt.commands import list as command
from ocirt.errors import UsageError
from tests.support import records

HEADER = "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"


def test_table(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    records.make(tmp_path, "web2", os.getpid())
    records.make(tmp_path, "longer-than-a-column", owner=4294967294)
    (tmp_path / "no-container").mkdir()
    assert records.run(command, tmp_path) == 0
    pid = str(os.getpid()).ljust(12)
    assert capfd.readouterr().out == (
        "ID                     PID         STATUS      BUNDLE      CREATED                          OWNER\n"
        "longer-than-a-column   0           creating    /b          2026-01-02T03:04:05.000000006Z   #4294967294\n"
        f"web2                   {pid}running     /b          2026-01-02T03:04:05.000000006Z   root\n"
    )


def test_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    records.make(tmp_path, "web1", os.getpid())
    assert records.run(command, tmp_path, "--format", "json") == 0
    out = capfd.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == [
        {
            "ociVersion": "1.3.0",
            "id": "web1",
            "pid": os.getpid(),
            "status": "running",
            "bundle": "/b",
            "rootfs": "/b/rootfs",
            "created": "2026-01-02T03:04:05.000000006Z",
            "owner": "root",
        }
    ]


def test_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    records.make(tmp_path, "b")
    records.make(tmp_path, "a")
    assert records.run(command, tmp_path, "-q") == 0
    assert capfd.readouterr().out == "a\nb\n"


@pytest.mark.parametrize(("words", "out"), [([], HEADER), (["-f", "json"], "null\n"), (["-q"], "")])
def test_empty_and_absent_default(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], out: str
) -> None:
    assert records.run(command, tmp_path, *words) == 0
    assert capfd.readouterr().out == out
    assert records.run(command, tmp_path / "absent", *words, given=False) == 0
    assert capfd.readouterr().out == out


def test_absent_root_that_was_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        records.run(command, tmp_path / "absent")


def test_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="invalid format option"):
        records.run(command, tmp_path, "-f", "yaml")
