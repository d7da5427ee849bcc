"""gc: what is garbage, and what is somebody's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ocirt.commands import gc
from ocirt.container import Container
from tests.support import records


def stop(root: Path, name: str) -> None:
    """As if an init of the container had ended."""
    container = Container.load(str(root), name)
    container.record |= {"pid": os.getpid(), "start_time": 1}
    container.save()


def old(root: Path, name: str, *files: str) -> Path:
    """A directory without a record, older than a create may take."""
    directory = root / name
    directory.mkdir()
    for file in files:
        (directory / file).touch()
    os.utime(directory, (1, 1))
    return directory


def test_what_is_looked_at(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    records.make(tmp_path, "unfinished")
    records.make(tmp_path, "stopped")
    stop(tmp_path, "stopped")
    busy = records.make(tmp_path, "busy")
    old(tmp_path, "early", "config.json", "config.json.new")
    old(tmp_path, "foreign", "photo.jpg")
    (tmp_path / "young").mkdir()
    (tmp_path / "file").touch()
    old(tmp_path, "not an id")
    damaged = old(tmp_path, "damaged")
    (damaged / "state.json").write_text("{")
    with busy.lock():
        before = os.listdir("/proc/self/fd")
        assert records.run(gc, tmp_path, "--format", "json") == 0
        assert os.listdir("/proc/self/fd") == before
    assert {row["id"]: row["action"] for row in json.loads(capfd.readouterr().out)} == {
        "busy": "kept",
        "damaged": "kept",
        "early": "removed",
        "file": "kept",
        "foreign": "kept",
        "not an id": "kept",
        "stopped": "kept",
        "unfinished": "removed",
        "young": "kept",
    }
    assert sorted(os.listdir(tmp_path)) == ["busy", "damaged", "file", "foreign", "not an id", "stopped", "young"]


def test_dry_run_removes_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    records.make(tmp_path, "unfinished")
    old(tmp_path, "early")
    assert records.run(gc, tmp_path, "--dry-run") == 0
    assert capfd.readouterr().out == (
        "early: garbage: its creation did not finish, and the command is gone\n"
        "unfinished: garbage: its creation did not finish, and the command is gone\n"
    )
    assert sorted(os.listdir(tmp_path)) == ["early", "unfinished"]


def test_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert records.run(gc, tmp_path / "nonesuch", given=False) == 0
    assert capfd.readouterr().out == f"nothing to remove in {tmp_path}/nonesuch\n"


def test_what_cannot_be_removed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    records.make(tmp_path, "unfinished")

    def refuse(container: Container) -> None:
        raise OSError(30, "Read-only file system", "/run")

    monkeypatch.setattr(gc, "destroy", refuse)
    assert records.run(gc, tmp_path) == 1
    assert capfd.readouterr().out == "unfinished: failed: /run: read-only file system\n"
