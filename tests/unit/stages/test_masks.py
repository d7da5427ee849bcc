"""Masked and read-only paths."""

from __future__ import annotations

import errno
import os
import stat
from types import SimpleNamespace

import pytest

from ocirt.config.views import Linux
from ocirt.kernel import flags as f
from ocirt.stages.masks import DropCovers, MaskPath, ReadonlyPath, masks
from tests.support.recorder import kernel_error, recorded_box

DIRECTORY = SimpleNamespace(st_mode=stat.S_IFDIR)
FILE = SimpleNamespace(st_mode=stat.S_IFREG)


def test_plan() -> None:
    value = {"namespaces": [{"type": "mount"}], "maskedPaths": ["/m", "/n"], "readonlyPaths": ["/r"]}
    assert [(step.at, step.describe()) for step in masks(Linux(value, "/linux"))] == [
        ("/linux/readonlyPaths/0", "make /r read-only"),
        ("/linux/maskedPaths/0", "mask /m"),
        ("/linux/maskedPaths/1", "mask /n"),
        ("", "close what paths were masked with"),
    ]


def test_nothing_to_plan() -> None:
    assert list(masks(None)) == []
    assert list(masks(Linux({"namespaces": []}, "/linux"))) == []


@pytest.mark.parametrize("step", [MaskPath("", "/x"), ReadonlyPath("", "/x")])
@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTDIR])
def test_missing_path_is_skipped(step: MaskPath | ReadonlyPath, number: int) -> None:
    box, kernel = recorded_box(open_in_root=kernel_error(number))
    step.apply(box)
    assert kernel.calls == [("open_in_root", 1002, "/x", os.O_PATH)]


@pytest.mark.parametrize("step", [MaskPath("", "/x"), ReadonlyPath("", "/x")])
@pytest.mark.parametrize("number", [errno.ELOOP, errno.EACCES])
def test_path_that_cannot_be_looked_at_is_an_error(step: MaskPath | ReadonlyPath, number: int) -> None:
    box, _ = recorded_box(open_in_root=kernel_error(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        step.apply(box)


def test_files_share_the_null_device_that_was_taken_along() -> None:
    box, kernel = recorded_box(open_in_root=[5, 6], fstat=FILE, open_tree=21)
    box.fds["null"] = 20
    MaskPath("", "/a").apply(box)
    MaskPath("", "/b").apply(box)
    assert [call for call in kernel.calls if call[0] in ("move_mount", "open_tree", "close")] == [
        ("move_mount", 20, "", 5, ""),
        ("close", 5),
        ("open_tree", 20, "", f.OPEN_TREE_CLONE | f.AT_EMPTY_PATH),
        ("move_mount", 21, "", 6, ""),
        ("close", 21),
        ("close", 6),
    ]
    DropCovers().apply(box)
    assert (box.fds, kernel.calls[-1]) == ({}, ("close", 20))


def test_directories_share_one_empty_tmpfs() -> None:
    box, kernel = recorded_box(open_in_root=[5, 6], fstat=DIRECTORY, fsopen=30, fsmount=31, open_tree=32)
    MaskPath("", "/a").apply(box)
    MaskPath("", "/b").apply(box)
    assert kernel.names().count("fsopen") == 1
    assert [call for call in kernel.calls if call[0] in ("fsconfig_string", "fsmount", "move_mount")] == [
        ("fsconfig_string", 30, "source", "tmpfs"),
        ("fsconfig_string", 30, "nr_blocks", "1"),
        ("fsconfig_string", 30, "nr_inodes", "1"),
        ("fsmount", 30, f.MOUNT_ATTR_RDONLY),
        ("move_mount", 31, "", 5, ""),
        ("move_mount", 32, "", 6, ""),
    ]


def test_readonly_before_it_is_visible() -> None:
    box, kernel = recorded_box(open_in_root=5, open_tree=7)
    ReadonlyPath("", "/r").apply(box)
    assert kernel.calls[1:] == [
        ("open_tree", 5, "", f.OPEN_TREE_CLONE | f.AT_RECURSIVE | f.AT_EMPTY_PATH),
        ("mount_setattr", 7, "", 0, f.MOUNT_ATTR_RDONLY, 0),
        ("move_mount", 7, "", 5, ""),
        ("close", 7),
        ("close", 5),
    ]
