"""delete: what may be deleted, what --force changes, what an interrupted create leaves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocirt.commands import delete
from ocirt.errors import StateError
from tests.support import records


@pytest.mark.parametrize("words", [[], ["--force"]])
def test_stopped(tmp_path: Path, words: list[str]) -> None:
    process = records.sleeper()
    records.make(tmp_path, "web1", process.pid)
    process.kill()
    process.wait()
    assert records.run(delete, tmp_path, *words, "web1") == 0
    assert os.listdir(tmp_path) == []


def test_creating_without_its_create(tmp_path: Path) -> None:
    records.make(tmp_path, "web1")
    assert records.run(delete, tmp_path, "web1") == 0
    assert os.listdir(tmp_path) == []


def test_created_is_killed(tmp_path: Path) -> None:
    process = records.sleeper()
    container = records.make(tmp_path, "web1", process.pid)
    os.close(container.listen())
    assert records.run(delete, tmp_path, "web1") == 0
    assert process.wait(10) == -9
    assert os.listdir(tmp_path) == []


def test_running(tmp_path: Path) -> None:
    process = records.sleeper()
    records.make(tmp_path, "web1", process.pid)
    with pytest.raises(StateError) as caught:
        records.run(delete, tmp_path, "web1")
    assert caught.value.code == "status"
    assert caught.value.what == "cannot delete container web1 that is not stopped: running"
    assert process.poll() is None
    assert records.run(delete, tmp_path, "web1", "-f") == 0
    assert process.wait(10) == -9
    assert os.listdir(tmp_path) == []


def test_absent(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="container does not exist"):
        records.run(delete, tmp_path, "web1")
    assert records.run(delete, tmp_path, "--force", "web1") == 0


@pytest.mark.parametrize("force", [False, True])
def test_remains_of_a_create_without_record(tmp_path: Path, force: bool) -> None:
    (tmp_path / "web1").mkdir()
    (tmp_path / "web1" / "config.json").write_text("{}")
    if force:
        assert records.run(delete, tmp_path, "--force", "web1") == 0
    else:
        with pytest.raises(StateError, match="container does not exist"):
            records.run(delete, tmp_path, "web1")
    assert os.listdir(tmp_path) == []


def test_bad_id_even_with_force(tmp_path: Path) -> None:
    with pytest.raises(StateError) as caught:
        records.run(delete, tmp_path, "--force", "../x")
    assert caught.value.code == "container-id"
