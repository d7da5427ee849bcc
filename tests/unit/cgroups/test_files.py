"""Directories and files as cgroups have them, on an ordinary file system."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ocirt.cgroups import files
from ocirt.cgroups.files import (
    make_directories,
    missing_directories,
    pids_below,
    read_file,
    remove_if_unused,
    remove_tree,
    tree,
    write_file,
)


def test_only_new_directories_count_as_made(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    made: list[str] = []
    make_directories(f"{tmp_path}/there/a/b", made)
    assert made == [f"{tmp_path}/there/a", f"{tmp_path}/there/a/b"]
    make_directories(f"{tmp_path}/there/a/b", made)
    assert len(made) == 2


def test_what_was_made_before_a_failure_is_known(tmp_path: Path) -> None:
    made: list[str] = []
    with pytest.raises(OSError, match="File name too long"):
        make_directories(f"{tmp_path}/a/b/{'x' * 300}/c", made)
    assert made == [f"{tmp_path}/a", f"{tmp_path}/a/b"]


def test_tree_has_children_before_parents(tmp_path: Path) -> None:
    for name in ("a/b/c", "a/d", "e"):
        (tmp_path / name).mkdir(parents=True)
    seen = [os.readlink(f"/proc/self/fd/{fd}") for fd in tree(str(tmp_path))]
    assert sorted(seen) == sorted(f"{tmp_path}{name}" for name in ("/a/b/c", "/a/b", "/a/d", "/a", "/e", ""))
    assert all(seen.index(path) < seen.index(os.path.dirname(path)) for path in seen if path != str(tmp_path))


def test_tree_follows_no_link_and_leaves_no_descriptor(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "link").symlink_to("/")
    before = os.listdir("/proc/self/fd")
    assert len(list(tree(str(tmp_path)))) == 2
    walk = tree(str(tmp_path))
    next(walk)
    walk.close()
    assert os.listdir("/proc/self/fd") == before


def test_what_is_gone_is_empty(tmp_path: Path) -> None:
    gone = f"{tmp_path}/gone"
    assert list(tree(gone)) == []
    assert pids_below(gone) == []
    remove_tree(gone)
    remove_if_unused(gone)


def test_pids_once_sorted_and_without_strangers(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "cgroup.procs").write_text("9\n0\n10\n")
    (tmp_path / "a" / "cgroup.procs").write_text("10\n2\n")
    assert pids_below(str(tmp_path)) == [2, 9, 10]


def test_files(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old\n\n")
    assert read_file(str(tmp_path), "f") == "old"
    write_file(str(tmp_path), "f", "new")
    assert (tmp_path / "f").read_text().startswith("new")
    with pytest.raises(FileNotFoundError):
        write_file(str(tmp_path), "absent", "x")


def test_a_used_parent_stays(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    remove_if_unused(f"{tmp_path}/a")
    assert (tmp_path / "a" / "b").is_dir()
    remove_tree(f"{tmp_path}/a")
    assert os.listdir(tmp_path) == []


def test_nothing_is_no_error_on_a_read_only_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There rmdir(2) says EROFS before the kernel has looked for the directory."""

    def rmdir(path: str, dir_fd: int | None = None) -> None:
        raise OSError(errno.EROFS, "read-only file system", path)

    monkeypatch.setattr(files.os, "rmdir", rmdir)
    assert remove_if_unused(f"{tmp_path}/never/made")
    remove_tree(f"{tmp_path}/never")
    (tmp_path / "there").mkdir()
    with pytest.raises(OSError, match="read-only") as caught:
        remove_if_unused(f"{tmp_path}/there")
    assert caught.value.errno == errno.EROFS


def test_may_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    (tmp_path / "there").mkdir()
    monkeypatch.setattr(files.os, "access", lambda path, _mode: path != f"{tmp_path}/there/cgroup.procs")
    assert not files.may_make(f"{tmp_path}/there", made)
    assert files.may_make(f"{tmp_path}/new", made)
    assert made == [f"{tmp_path}/new"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_may_not_make(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def mkdir(path: str, mode: int) -> None:
        raise OSError(number, "denied", path)

    monkeypatch.setattr(files.os, "mkdir", mkdir)
    assert not files.may_make("/nowhere/new", [])


def test_missing_directories_are_those_that_would_be_made(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    wanted = [f"{tmp_path}/a/b", f"{tmp_path}/a/b/c"]
    assert missing_directories(f"{tmp_path}/a/b/c") == wanted
    assert missing_directories(f"{tmp_path}/a/b/c", {f"{tmp_path}/a/b"}) == wanted[1:]
    made: list[str] = []
    make_directories(f"{tmp_path}/a/b/c", made)
    assert made == wanted
    assert missing_directories(f"{tmp_path}/a/b/c") == []
