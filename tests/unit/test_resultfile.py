"""A result is there whole or not at all, and what is no file stays what it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocirt.errors import OcirtError
from ocirt.resultfile import ResultFile


def test_whole_in_place_of_the_old(tmp_path: Path) -> None:
    path = tmp_path / "result"
    path.write_text("old, and longer")
    result = ResultFile(str(path))
    result.check()
    assert path.read_text() == "old, and longer"
    result.write("new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["result"]


@pytest.mark.parametrize("kind", ["directory", "fifo", "link"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "result"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("elsewhere")
    with pytest.raises(OcirtError) as caught:
        ResultFile(str(path)).check()
    assert (caught.value.code, caught.value.what) == ("usage", f"{path} is no regular file")
    assert os.listdir(tmp_path) == ["result"]


@pytest.mark.parametrize("kind", ["file", "fifo", "link"])
def test_a_temporary_name_that_another_has_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Not written into, not waited for, and not renamed."""
    monkeypatch.setattr("ocirt.system.urandom", bytes)
    result = ResultFile(str(tmp_path / "result"))
    trap = tmp_path / ".result.000000000000"
    if kind == "file":
        trap.write_text("another's")
    elif kind == "fifo":
        os.mkfifo(trap)
    else:
        trap.symlink_to("elsewhere")
    for attempt in (result.check, lambda: result.write("new")):
        with pytest.raises(FileExistsError):
            attempt()
    assert os.listdir(tmp_path) == [trap.name]
    if kind == "file":
        assert trap.read_text() == "another's"


def test_a_name_that_nobody_can_guess(tmp_path: Path) -> None:
    names = {ResultFile(str(tmp_path / "result"))._temporary for _ in range(20)}
    assert len(names) == 20
