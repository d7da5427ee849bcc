"""The mounts of a container without a mount namespace, made on the host and unmounted again."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from ocirt.config.views import Config
from ocirt.errors import ConfigError, OcirtError
from ocirt.kernel import flags as f
from ocirt.stages.root_mount import AttachRoot, CopyRoot, attach_root, copy_root, unmount_root
from tests.support.recorder import kernel_error, recorded_box

RECORD = ["/b/root fs", "30 1030", "31 1031"]
FACTS = {"root/path": RECORD[0], "root/shield": RECORD[1], "root/tree": RECORD[2]}
CLONE = f.OPEN_TREE_CLONE | f.AT_EMPTY_PATH


def config(*kinds: str) -> Config:
    return Config({"root": {"path": "r"}, "linux": {"namespaces": [{"type": kind} for kind in kinds]}})


def mountinfo(*points: tuple[int, str]) -> bytes:
    return "".join(f"{number} 1 8:1 / {point} rw - ext4 /dev/sda rw\n" for number, point in points).encode()


def unmount(tops: list[tuple[int, int]], mounted: bytes = b"", **answers: Any) -> list[str]:
    """What is detached while the path leads to mounts of these (ID, unique ID), one after the other."""
    box, kernel = recorded_box(
        openat=list(range(5, 5 + len(tops))),
        mount_id=[(top[0], True) for top in tops],
        unique_mount_id=[top[1] for top in tops],
        read_file=mounted,
        **answers,
    )
    unmount_root(box, RECORD)
    assert kernel.names().count("close") == len(tops)
    return [call[1] for call in kernel.calls if call[0] == "umount2" and call[2] == f.MNT_DETACH]


def test_plan() -> None:
    assert [(step.at, step.describe()) for step in copy_root(config("pid"), "/b")] == [
        ("/root/path", "copy the mount of the root file system /b/r")
    ]
    assert [(step.at, step.describe()) for step in attach_root()] == [
        ("/root/path", "mount the root file system onto itself, on the host")
    ]


def test_a_new_user_namespace_may_not_mount_on_the_host() -> None:
    with pytest.raises(ConfigError) as caught:
        list(copy_root(config("user"), "/b"))
    assert (caught.value.code, caught.value.at) == ("rule", "/linux/namespaces")


def test_copies_are_private_and_noted_before_they_are_attached() -> None:
    box, kernel = recorded_box(
        openat=7, path_of=RECORD[0], open_tree=[8, 9], mount_id=[(30, True), (31, True)], unique_mount_id=[1030, 1031]
    )
    CopyRoot("", "/b/link").apply(box)
    assert kernel.calls[:6] == [
        ("openat", f.AT_FDCWD, "/b/link", os.O_PATH | os.O_DIRECTORY),
        ("path_of", 1001, 7),
        ("open_tree", 7, "", CLONE),
        ("open_tree", 7, "", CLONE | f.AT_RECURSIVE),
        ("mount_setattr", 8, "", f.AT_RECURSIVE, 0, 0, f.MS_PRIVATE),
        ("mount_setattr", 9, "", f.AT_RECURSIVE, 0, 0, f.MS_PRIVATE),
    ]
    assert box.root == 9
    assert box.facts == FACTS


def test_the_hosts_root_is_refused() -> None:
    box, kernel = recorded_box(openat=7, path_of="/")
    with pytest.raises(ConfigError) as caught:
        CopyRoot("/root/path", "/b/..").apply(box)
    assert caught.value.at == "/root/path"
    assert kernel.names() == ["openat", "path_of"]


def test_the_tree_goes_on_a_private_shield() -> None:
    box, kernel = recorded_box()
    box.fds |= {"root/directory": 7, "root/shield": 8}
    AttachRoot("").apply(box)
    assert kernel.calls == [
        ("move_mount", 8, "", 7, ""),
        ("mount_setattr", 8, "", 0, 0, 0, f.MS_PRIVATE),
        ("move_mount", 1002, "", 8, ""),
    ]


def test_undo_unmounts_by_the_facts() -> None:
    box, kernel = recorded_box(openat=5, mount_id=(1, True), unique_mount_id=2, read_file=b"")
    box.facts |= FACTS
    AttachRoot("").undo(box)
    assert kernel.calls[0] == ("openat", f.AT_FDCWD, RECORD[0], os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)


def test_both_are_detached_by_descriptor_the_upper_one_first() -> None:
    assert unmount([(31, 1031), (30, 1030), (1, 1)]) == ["/proc/self/fd/5", "/proc/self/fd/6"]


def test_only_the_shield_was_attached() -> None:
    assert unmount([(30, 1030), (1, 1)]) == ["/proc/self/fd/5"]


@pytest.mark.parametrize("top", [(1, 1), (30, 2030), (31, 0), (32, 1031)])
def test_another_mount_is_left_even_with_a_number_used_again(top: tuple[int, int]) -> None:
    assert unmount([top], mountinfo((top[0], r"/b/root\040fs"))) == []


def test_mounts_that_were_unmounted_by_others() -> None:
    assert unmount([(1, 1)], mountinfo((1, "/"), (30, "/elsewhere"))) == []


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTDIR, errno.ELOOP])
def test_a_path_that_is_gone(number: int) -> None:
    box, kernel = recorded_box(openat=kernel_error(number), read_file=b"")
    unmount_root(box, RECORD)
    assert "umount2" not in kernel.names()


def test_a_path_that_cannot_be_looked_at() -> None:
    box, _ = recorded_box(openat=kernel_error(errno.EACCES))
    with pytest.raises(OSError, match=os.strerror(errno.EACCES)):
        unmount_root(box, RECORD)


def test_what_is_covered_by_others_is_an_error() -> None:
    with pytest.raises(OcirtError) as caught:
        unmount([(40, 1040)], mountinfo((30, r"/b/root\040fs"), (31, r"/b/root\040fs"), (40, r"/b/root\040fs")))
    assert caught.value.what == "unmount /b/root fs: another mount covers it"
    assert "findmnt" in caught.value.remedy
