"""The terminal."""

from __future__ import annotations

import errno
import os
import stat
from types import SimpleNamespace
from typing import Any

import pytest

from ocirt.box import Box
from ocirt.config.views import Process
from ocirt.errors import OcirtError
from ocirt.kernel import flags as f
from ocirt.stages.console import console
from tests.support.recorder import Recorder, kernel_error, recorded_box

PTMX = SimpleNamespace(st_mode=stat.S_IFCHR, st_rdev=os.makedev(5, 2), st_ino=2)
FILE = SimpleNamespace(st_mode=stat.S_IFREG, st_rdev=0, st_ino=9)


def box_with(**answers: Any) -> tuple[Box, Recorder]:
    usual: dict[str, Any] = {
        "open_in_root": [5, 6],
        "fstat": [PTMX, FILE],
        "statfs_type": 0x1CD1,
        "reopen": 7,
        "open_pty_peer": 8,
        "pty_number": 3,
        "openat": 9,
        "open_tree": 10,
    }
    box, kernel = recorded_box(**{**usual, **answers})
    box.fds["console-socket"] = 20
    return box, kernel


def apply(box: Box, bind: bool = True, **process: Any) -> None:
    value = {"terminal": True, "user": {"uid": 1000}, **process}
    for step in console(Process(value, "/process"), bind):
        step.apply(box)


def test_plan() -> None:
    value = {"terminal": True, "consoleSize": {"height": 24, "width": 80}, "user": {}}
    assert [(step.at, step.describe()) for step in console(Process(value, "/process"))] == [
        ("/process/terminal", "open a terminal on /dev/console, 80x24")
    ]
    assert [step.describe() for step in console(Process({"terminal": True}, ""), False)] == ["open a terminal"]
    assert list(console(Process({"consoleSize": {"height": 1, "width": 1}}, ""))) == []


def test_everything_by_descriptor() -> None:
    box, kernel = box_with()
    apply(box, consoleSize={"height": 24, "width": 80})
    assert kernel.calls == [
        ("open_in_root", 1002, "dev", os.O_PATH | os.O_DIRECTORY, ("symlinks", False)),
        ("open_in_root", 5, "pts/ptmx", os.O_PATH | os.O_NOFOLLOW, ("symlinks", False)),
        ("fstat", 6),
        ("statfs_type", 6),
        ("reopen", 1001, 6, os.O_RDWR | os.O_NOCTTY),
        ("close", 6),
        ("unlock_pty", 7),
        ("open_pty_peer", 7),
        ("set_window_size", 7, 24, 80),
        ("fchown", 8, 1000, -1),
        ("mknodat", 5, "console", stat.S_IFREG | 0o620),
        ("openat", 5, "console", os.O_PATH | os.O_NOFOLLOW),
        ("fstat", 9),
        ("open_tree", 8, "", f.OPEN_TREE_CLONE | f.AT_EMPTY_PATH),
        ("move_mount", 10, "", 9, ""),
        ("close", 10),
        ("close", 9),
        ("pty_number", 7),
        ("send_fd", 20, b"/dev/pts/3", 7),
        ("close", 7),
        ("close", 5),
        ("close", 20),
        ("set_controlling_terminal", 8),
        ("dup2", 8, 0),
        ("dup2", 8, 1),
        ("dup2", 8, 2),
        ("close", 8),
    ]
    assert box.fds == {}


@pytest.mark.parametrize("size", [None, {"height": 0, "width": 80}, {"height": 24, "width": 0}])
def test_size_only_when_both_are_given(size: dict[str, int] | None) -> None:
    box, kernel = box_with()
    apply(box, **({"consoleSize": size} if size else {}))
    assert "set_window_size" not in kernel.names()


def test_exec_stands_in_the_container_already() -> None:
    box, kernel = box_with(openat=30)
    box.root = -1
    apply(box, bind=False)
    assert kernel.calls[:3] == [
        ("openat", f.AT_FDCWD, "/", os.O_PATH | os.O_DIRECTORY),
        ("open_in_root", 30, "dev", os.O_PATH | os.O_DIRECTORY, ("symlinks", False)),
        ("close", 30),
    ]
    assert "move_mount" not in kernel.names()


def test_nobody_to_give_the_master_to() -> None:
    box, kernel = box_with()
    del box.fds["console-socket"]
    with pytest.raises(OcirtError) as caught:
        apply(box)
    assert (caught.value.code, kernel.calls) == ("console", [])


@pytest.mark.parametrize(
    ("field", "value"),
    [("st_mode", stat.S_IFREG), ("st_mode", stat.S_IFLNK), ("st_rdev", os.makedev(5, 0)), ("st_ino", 3), ("magic", 1)],
)
def test_false_ptmx(field: str, value: int) -> None:
    status = SimpleNamespace(**{**vars(PTMX), field: value})
    box, kernel = box_with(fstat=status, statfs_type=value if field == "magic" else 0x1CD1)
    with pytest.raises(OcirtError) as caught:
        apply(box)
    assert caught.value.what == "/dev/pts/ptmx is not the multiplexer of a devpts file system"
    assert "reopen" not in kernel.names()
    assert kernel.calls[-2:] == [("close", 6), ("close", 5)]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFDIR])
def test_console_that_is_no_target(kind: int) -> None:
    box, kernel = box_with(fstat=[PTMX, SimpleNamespace(st_mode=kind)], mknodat=kernel_error(errno.EEXIST))
    with pytest.raises(OcirtError) as caught:
        apply(box)
    assert caught.value.what == "/dev/console is a symbolic link or a directory"
    assert "move_mount" not in kernel.names()


def test_existing_console_is_used() -> None:
    box, kernel = box_with(mknodat=kernel_error(errno.EEXIST))
    apply(box)
    assert ("move_mount", 10, "", 9, "") in kernel.calls
