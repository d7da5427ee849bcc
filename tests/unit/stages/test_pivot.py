"""Entering the root file system."""

from __future__ import annotations

import errno
import os
import stat
from types import SimpleNamespace
from typing import Any

import pytest

from ocirt.config.views import Config
from ocirt.kernel import flags as f
from ocirt.stages.pivot import (
    ChangeRoot,
    MoveRoot,
    PivotRoot,
    ReopenNull,
    hide,
    kernel_mount_points,
    pivot,
    root_propagation,
)
from tests.support.recorder import kernel_error, recorded_box

NULL = SimpleNamespace(st_mode=stat.S_IFCHR, st_rdev=os.makedev(1, 3))
FILE = SimpleNamespace(st_mode=stat.S_IFREG, st_rdev=0)


def config(*kinds: str, **linux: Any) -> Config:
    return Config({"root": {"path": "r"}, "linux": {"namespaces": [{"type": kind} for kind in kinds], **linux}})


def plan(*kinds: str, no_pivot: bool = False) -> list[str]:
    return [step.describe() for step in pivot(config(*kinds), no_pivot)][:-1]


def test_plan() -> None:
    assert plan("mount") == ["pivot_root into the root file system and detach the old root"]
    assert plan("mount", no_pivot=True) == ["move the root file system to / and chroot into it"]
    assert plan("pid") == ["chroot into the root file system"]


@pytest.mark.parametrize(
    ("value", "steps"),
    [
        ("shared", ["set the propagation of / to MS_SHARED"]),
        ("rshared", ["set the propagation of / to MS_REC|MS_SHARED"]),
        ("unbindable", ["set the propagation of / to MS_UNBINDABLE"]),
        ("rslave", []),
        ("private", []),
    ],
)
def test_propagation_after_the_last_mount(value: str, steps: list[str]) -> None:
    assert [step.describe() for step in root_propagation(config("mount", rootfsPropagation=value))] == steps


def test_old_root_is_a_slave_before_it_is_detached() -> None:
    box, kernel = recorded_box(openat=5)
    PivotRoot("/root").apply(box)
    assert kernel.calls[1:] == [
        ("fchdir", 1002),
        ("pivot_root", ".", "."),
        ("fchdir", 5),
        ("mount", "", ".", "", f.MS_SLAVE | f.MS_REC),
        ("umount2", ".", f.MNT_DETACH),
        ("chdir", "/"),
        ("close", 5),
    ]


MOUNTINFO = """\
1 0 8:1 / / rw - ext4 /dev/sda rw
2 1 0:1 / /proc rw - proc proc rw
3 2 0:2 / /proc/fs/binfmt_misc rw - binfmt_misc none rw
4 1 0:3 / /a\\040b rw shared:1 - sysfs sysfs rw
5 1 0:4 / /bundle/rootfs rw - ext4 /dev/sda rw
6 5 0:5 / /bundle/rootfs/proc rw - proc proc rw
7 1 0:6 / /bundle/rootfs2/proc rw - proc proc rw
"""


def test_kernel_mount_points_outside_the_root() -> None:
    assert kernel_mount_points(MOUNTINFO, "/bundle/rootfs") == ["/bundle/rootfs2/proc", "/proc", "/a b"]


def test_move_root_hides_proc_and_sys_first() -> None:
    box, kernel = recorded_box(path_of="/bundle/rootfs", read_file=MOUNTINFO.encode())
    MoveRoot("/root").apply(box)
    assert [call[1] for call in kernel.calls if call[0] == "umount2"] == ["/bundle/rootfs2/proc", "/proc", "/a b"]
    assert kernel.calls[-4:] == [("fchdir", 1002), ("mount", ".", "/", "", f.MS_MOVE), ("chroot", "."), ("chdir", "/")]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL])
def test_what_may_not_be_unmounted_is_covered(number: int) -> None:
    box, kernel = recorded_box(umount2=kernel_error(number))
    hide(box, "/proc")
    assert kernel.calls[-1] == ("mount", "tmpfs", "/proc", "tmpfs")


def test_hiding_may_fail() -> None:
    box, _ = recorded_box(umount2=kernel_error(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        hide(box, "/proc")


def test_chroot() -> None:
    box, kernel = recorded_box()
    ChangeRoot("/root").apply(box)
    assert kernel.calls == [("fchdir", 1002), ("chroot", "."), ("chdir", "/")]


class TestReopenNull:
    def test_only_streams_on_null(self) -> None:
        box, kernel = recorded_box(fstat=[NULL, FILE, kernel_error(errno.EBADF), NULL], open_in_root=7, reopen=8)
        ReopenNull().apply(box)
        assert kernel.calls[3:] == [
            ("open_in_root", 1002, "dev/null", os.O_PATH | os.O_NOFOLLOW, ("symlinks", False)),
            ("fstat", 7),
            ("reopen", 1001, 7, os.O_RDWR),
            ("dup2", 8, 0),
            ("close", 8),
            ("close", 7),
        ]

    def test_nothing_to_do(self) -> None:
        box, kernel = recorded_box(fstat=FILE)
        ReopenNull().apply(box)
        assert kernel.names() == ["fstat"] * 3

    def test_something_else_of_that_name_is_left(self) -> None:
        box, kernel = recorded_box(fstat=[NULL, NULL, NULL, FILE], open_in_root=7)
        ReopenNull().apply(box)
        assert kernel.names()[4:] == ["fstat", "close"]

    def test_a_container_without_null(self) -> None:
        box, kernel = recorded_box(fstat=NULL, open_in_root=kernel_error(errno.ELOOP))
        ReopenNull().apply(box)
        assert "dup2" not in kernel.names()
