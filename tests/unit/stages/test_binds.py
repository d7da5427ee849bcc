"""Bind mounts."""

from __future__ import annotations

import errno
import stat
from types import SimpleNamespace
from typing import Any

import pytest

from ocirt.config.mountopts import parse_options
from ocirt.errors import OcirtError
from ocirt.kernel import flags as f
from ocirt.stages.binds import Bind, OpenSource, tree_flags
from tests.support.recorder import Recorder, kernel_error, recorded_box

PLAIN = f.MOUNT_ATTR_RDONLY | f.MOUNT_ATTR_NOSUID | f.MOUNT_ATTR_NODEV | f.MOUNT_ATTR_NOEXEC | f.MOUNT_ATTR_NOSYMFOLLOW
DIRECTORY = SimpleNamespace(st_mode=stat.S_IFDIR)
FILE = SimpleNamespace(st_mode=stat.S_IFREG)


def bind(*options: str, target: str = "/t", **answers: Any) -> Recorder:
    """A bind applied to a recorder."""
    usual: dict[str, Any] = {
        "open_tree": 8,
        "fstat": DIRECTORY,
        "make_in_root": (5, False),
        "path_of": ["/r", f"/r{target}"] * 2,
        "statfs_type": 0,
    }
    box, kernel = recorded_box(**{**usual, **answers})
    Bind("/mounts/0", "/s", target, parse_options(options), "mount/0").apply(box)
    return kernel


def test_from_descriptor_to_descriptor() -> None:
    kernel = bind("rbind", "ro", "rshared")
    assert [call for call in kernel.calls if call[0] not in ("path_of", "fstat", "statfs_type")] == [
        ("open_tree", f.AT_FDCWD, "/s", f.OPEN_TREE_CLONE | f.AT_RECURSIVE),
        ("make_in_root", 1002, "/t", 0o755, ("directory", True)),
        ("mount_setattr", 8, "", 0, f.MOUNT_ATTR_RDONLY, PLAIN & ~f.MOUNT_ATTR_RDONLY),
        ("move_mount", 8, "", 5, ""),
        ("close", 5),
        ("mount_setattr", 8, "", f.AT_RECURSIVE, 0, 0, f.MS_SHARED),
        ("close", 8),
    ]


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        (("bind",), 0),
        (("rbind",), f.AT_RECURSIVE),
        (("bind", "src-nofollow"), f.AT_SYMLINK_NOFOLLOW),
        (("src-nofollow", "rbind", "dest-nofollow"), f.AT_RECURSIVE | f.AT_SYMLINK_NOFOLLOW),
        (("bind", "dest-nofollow"), 0),
    ],
)
def test_how_the_source_is_copied(options: tuple[str, ...], flags: int) -> None:
    assert tree_flags(parse_options(options)) == f.OPEN_TREE_CLONE | flags


def test_file_on_a_file() -> None:
    assert ("make_in_root", 1002, "/t", 0o644, ("directory", False)) in bind("bind", fstat=FILE).calls


def test_source_opened_by_the_runtime() -> None:
    box, kernel = recorded_box(fstat=DIRECTORY, make_in_root=(5, False), path_of=["/r", "/r/t"] * 2, statfs_type=0)
    box.fds["mount/0"] = 12
    Bind("", "/s", "/t", parse_options(("bind",)), "mount/0").apply(box)
    assert "open_tree" not in kernel.names()
    assert ("move_mount", 12, "", 5, "") in kernel.calls
    assert box.fds == {}


@pytest.mark.parametrize(
    ("options", "attr_set", "attr_clr"),
    [
        (("bind", "nodev"), f.MOUNT_ATTR_NODEV, PLAIN & ~f.MOUNT_ATTR_NODEV),
        (("bind", "exec"), 0, PLAIN),
        (("bind", "noatime"), f.MOUNT_ATTR_NOATIME, PLAIN | f.MOUNT_ATTR__ATIME | f.MOUNT_ATTR_NODIRATIME),
        (("bind", "relatime"), 0, PLAIN | f.MOUNT_ATTR__ATIME | f.MOUNT_ATTR_NODIRATIME),
        (("bind", "nodiratime"), f.MOUNT_ATTR_NODIRATIME, PLAIN | f.MOUNT_ATTR__ATIME),
    ],
)
def test_flags_of_the_top_mount(options: tuple[str, ...], attr_set: int, attr_clr: int) -> None:
    changes = [call for call in bind(*options).calls if call[0] == "mount_setattr"]
    assert changes == [("mount_setattr", 8, "", 0, attr_set, attr_clr)]


@pytest.mark.parametrize(("options", "target"), [(("bind",), "/t"), (("rbind",), "/t"), (("rbind", "ro"), "/dev")])
def test_without_options_the_source_decides(options: tuple[str, ...], target: str) -> None:
    assert "mount_setattr" not in bind(*options, target=target).names()


LOCKED: dict[str, Any] = {
    "mount_setattr": [kernel_error(errno.EPERM, "mount_setattr"), None],
    "fstatvfs": SimpleNamespace(f_flag=f.MS_NOSUID | f.MS_NODEV | 4096),
}


def test_locked_flags_stay() -> None:
    changes = [call for call in bind("bind", "ro", "exec", **LOCKED).calls if call[0] == "mount_setattr"]
    assert changes[1] == (
        "mount_setattr",
        8,
        "",
        0,
        f.MOUNT_ATTR_RDONLY,
        PLAIN & ~(f.MOUNT_ATTR_RDONLY | f.MOUNT_ATTR_NOSUID | f.MOUNT_ATTR_NODEV),
    )


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("bind", "suid"), "cannot clear locked flags MS_NOSUID"),
        (("bind", "rw", "dev", "suid"), "cannot clear locked flags MS_NOSUID|MS_NODEV"),
        (("bind", "noatime"), "cannot change locked atime flags MS_RELATIME"),
    ],
)
def test_locked_flags_cannot_go(options: tuple[str, ...], what: str) -> None:
    with pytest.raises(OcirtError) as caught:
        bind(*options, **LOCKED)
    assert caught.value.what == f'error mounting "/s" to rootfs at "/t": {what}'


def test_target_that_left_the_root_meanwhile() -> None:
    with pytest.raises(OcirtError, match="possible breakout"):
        bind("bind", path_of=["/r", "/r/t", "/elsewhere", "/r"])


def test_procfs_on_proc() -> None:
    bind("bind", target="/proc", statfs_type=0x9FA0)
    with pytest.raises(OcirtError, match="not of type proc"):
        bind("bind", target="/proc")


def test_nothing_stays_open_after_a_failure() -> None:
    box, kernel = recorded_box(
        open_tree=8, fstat=DIRECTORY, make_in_root=(5, True), path_of=["/r", "/r/t"], statfs_type=0,
        move_mount=kernel_error(errno.EINVAL, "move_mount"),
    )  # fmt: skip
    with pytest.raises(OcirtError):
        Bind("", "/s", "/t", parse_options(("bind",)), "mount/0").apply(box)
    assert [call for call in kernel.calls if call[0] == "close"] == [("close", 5), ("close", 8)]


class TestOpenSource:
    def test_copy_receives_but_does_not_send(self) -> None:
        box, kernel = recorded_box(open_tree=8)
        step = OpenSource("/mounts/0", "mount/0", "/s", f.OPEN_TREE_CLONE | f.AT_RECURSIVE)
        step.apply(box)
        assert kernel.calls == [
            ("open_tree", f.AT_FDCWD, "/s", f.OPEN_TREE_CLONE | f.AT_RECURSIVE),
            ("mount_setattr", 8, "", f.AT_RECURSIVE, 0, 0, f.MS_SLAVE),
        ]
        assert box.fds == {"mount/0": 8}
        step.undo(box)
        assert (box.fds, kernel.calls[-1]) == ({}, ("close", 8))
        step.undo(box)

    def test_without_the_right_init_tries_itself(self) -> None:
        box, _ = recorded_box(open_tree=kernel_error(errno.EPERM))
        OpenSource("", "mount/0", "/s", f.OPEN_TREE_CLONE).apply(box)
        assert box.fds == {}

    def test_missing_source(self) -> None:
        box, _ = recorded_box(open_tree=kernel_error(errno.ENOENT, "open_tree"))
        with pytest.raises(OSError, match="No such file"):
            OpenSource("", "mount/0", "/s", f.OPEN_TREE_CLONE).apply(box)


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        (FILE, DIRECTORY, "the source is a file, the destination a directory"),
        (DIRECTORY, FILE, "the source is a directory"),
    ],
)
def test_a_file_on_a_directory_is_said_as_mount_says_it(source: Any, target: Any, words: str) -> None:
    with pytest.raises(OcirtError, match=words) as caught:
        bind("bind", fstat=[source, target], move_mount=kernel_error(errno.EINVAL, "move_mount"))
    assert (caught.value.errno, caught.value.call) == (errno.ENOTDIR, "move_mount")


def test_another_refusal_stays_as_it_is() -> None:
    with pytest.raises(OcirtError) as caught:
        bind("bind", fstat=[DIRECTORY, DIRECTORY], move_mount=kernel_error(errno.EINVAL, "move_mount"))
    assert (caught.value.errno, caught.value.call) == (errno.EINVAL, "move_mount")
