"""Held to the os it stands for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocirt import system

NAMES = ["", "a", "/", "/a", "a/b", "/a/b/", "a//b", "./a", "../a", "/../a", "a/../..", "a/./b/../c", "//a"[1:], "a/..",
         "/a/b", "/.a", "/a/..b/c", "/a//b", "/a/.", "/a/../b"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_paths_are_as_os_has_them(name: str) -> None:
    assert system.path.normpath(name) == os.path.normpath(name)
    assert system.path.basename(name) == os.path.basename(name)
    if not name.endswith("/"):
        assert system.path.split(name) == os.path.split(name)
    assert system.path.abspath(name) == os.path.abspath(name)


@pytest.mark.parametrize(
    "parts", [("a", "b"), ("a/", "b"), ("a", "/b"), ("", "b"), ("a", "b", "c"), ("/", "a"), ("a",)]
)
def test_join_is_as_os_has_it(parts: tuple[str, ...]) -> None:
    assert system.path.join(*parts) == os.path.join(*parts)


def test_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("", "file", "link", "none"):
        path = str(tmp_path / name)
        assert system.path.exists(path) == os.path.exists(path)
        assert system.path.isdir(path) == os.path.isdir(path)
        assert system.path.islink(path) == os.path.islink(path)


def test_makedirs(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    system.makedirs(str(path), 0o700)
    system.makedirs(str(path), 0o700)
    assert path.is_dir()
    (path / "file").write_text("")
    with pytest.raises(FileExistsError):
        system.makedirs(str(path / "file"), 0o700)


@pytest.mark.parametrize("raw", [b"a", "ä".encode(), b"\xff\xfe"])
def test_names_of_any_bytes_survive(raw: bytes) -> None:
    assert system.fsdecode(raw) == os.fsdecode(raw)
    assert system.fsencode(system.fsdecode(raw)) == raw


def test_getenv() -> None:
    assert system.getenv("OCIRT_NO_SUCH_VARIABLE") == ""
    assert system.getenv("PATH") == os.environ["PATH"]


def test_a_directory_that_cannot_be_made() -> None:
    with pytest.raises(FileNotFoundError):
        system.makedirs("/proc/none", 0o700)


@pytest.mark.parametrize("size", [0, 5, 65535, 65536, 65537, 131072])
def test_a_record_is_read_to_its_end(size: int, tmp_path: Path) -> None:
    (tmp_path / "record").write_text("x" * size)
    assert system.read_record(f"{tmp_path}/record") == "x" * size
