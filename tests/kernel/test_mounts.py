"""ocirt.kernel.mounts against the real kernel, each in a mount namespace that is thrown away."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ocirt.errors import KernelError
from ocirt.kernel import live
from ocirt.kernel.flags import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    MNT_DETACH,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_RDONLY,
    MS_NODEV,
    MS_NOSUID,
    MS_SHARED,
    OPEN_TREE_CLONE,
)
from tests.support.namespaces import in_namespaces

pytestmark = pytest.mark.root


def mount_line(path: Path) -> str:
    """The last line of mountinfo for a mount point, "" when there is none."""
    lines = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if line.split()[4] == str(path)]
    return lines[-1] if lines else ""


def failure(function: Callable[[], object]) -> tuple[str, str, str]:
    try:
        function()
    except KernelError as error:
        return error.call, errno.errorcode[error.errno or 0], error.detail
    return "", "", ""


def test_mount_and_umount2(tmp_path: Path) -> None:
    def child() -> tuple[str, str]:
        live.mount("name", str(tmp_path), "tmpfs", MS_NOSUID | MS_NODEV, "size=4k")
        during = mount_line(tmp_path)
        live.umount2(str(tmp_path), MNT_DETACH)
        return during, mount_line(tmp_path)

    during, after = in_namespaces(child)
    assert " rw,nosuid,nodev,relatime " in during
    assert " - tmpfs name rw,size=4k" in during
    assert after == ""
    assert mount_line(tmp_path) == ""


def test_mount_fails_with_its_arguments(tmp_path: Path) -> None:
    call, number, detail = in_namespaces(lambda: failure(lambda: live.mount("s", str(tmp_path), "nofs", MS_NODEV, "d")))
    assert (call, number) == ("mount", "ENODEV")
    assert detail == f"'s' on '{tmp_path}', type 'nofs', MS_NODEV, 'd'"


def test_mount_without_a_type(tmp_path: Path) -> None:
    assert in_namespaces(lambda: failure(lambda: live.mount("s", str(tmp_path), "")))[1] == "ENODEV"


def test_umount2_of_no_mount(tmp_path: Path) -> None:
    call, number, detail = in_namespaces(lambda: failure(lambda: live.umount2(str(tmp_path), MNT_DETACH)))
    assert (call, number) == ("umount2", "EINVAL")
    assert "MNT_DETACH" in detail


def test_pivot_root(tmp_path: Path) -> None:
    (tmp_path / "inside").touch()

    def child() -> list[str]:
        live.mount("tmpfs", str(tmp_path), "tmpfs")
        os.chdir(tmp_path)
        Path("inside").touch()
        live.pivot_root(".", ".")
        live.umount2(".", MNT_DETACH)
        os.chdir("/")
        return os.listdir("/")

    assert in_namespaces(child) == ["inside"]


def test_pivot_root_on_the_current_root(tmp_path: Path) -> None:
    call, number, _ = in_namespaces(lambda: failure(lambda: live.pivot_root(str(tmp_path), str(tmp_path))))
    assert (call, number) == ("pivot_root", "EBUSY")


def test_open_tree_mount_setattr_move_mount(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (source / "file").write_text("content")

    def child() -> tuple[str, str, bool]:
        tree = live.open_tree(AT_FDCWD, str(source), OPEN_TREE_CLONE | AT_RECURSIVE)
        live.mount_setattr(tree, "", AT_RECURSIVE, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV, 0, MS_SHARED)
        place = os.open(target, os.O_PATH)
        live.move_mount(tree, "", place, "")
        return mount_line(target), (target / "file").read_text(), os.get_inheritable(tree)

    line, content, inheritable = in_namespaces(child)
    assert " ro,nodev,relatime shared:" in line
    assert content == "content"
    assert not inheritable


def test_open_tree_of_a_descriptor(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")

    def child() -> int:
        fd = os.open(tmp_path / "file", os.O_PATH)
        tree = live.open_tree(fd, "", OPEN_TREE_CLONE | AT_EMPTY_PATH)
        return os.fstat(tree).st_size

    assert in_namespaces(child) == 7


def test_failures_name_their_call(tmp_path: Path) -> None:
    def child() -> list[tuple[str, str, str]]:
        fd = os.open(tmp_path, os.O_PATH)
        return [
            failure(lambda: live.open_tree(AT_FDCWD, "/does/not/exist", OPEN_TREE_CLONE)),
            failure(lambda: live.move_mount(fd, "", fd, "")),
            failure(lambda: live.mount_setattr(fd, "", 0, MOUNT_ATTR_RDONLY, 0)),
            failure(lambda: live.fsopen("nofs")),
        ]

    opened, moved, changed, fs = in_namespaces(child)
    assert opened == ("open_tree", "ENOENT", "'/does/not/exist', 0x1")
    assert moved[:2] == ("move_mount", "EINVAL")
    assert changed == ("mount_setattr", "EINVAL", "set MOUNT_ATTR_RDONLY, clear 0x0, propagation 0x0")
    assert fs == ("fsopen", "ENODEV", "nofs")


def test_fsopen_to_fsmount(tmp_path: Path) -> None:
    def child() -> str:
        context = live.fsopen("tmpfs")
        live.fsconfig_string(context, "source", "name")
        live.fsconfig_string(context, "mode", "0711")
        live.fsconfig_flag(context, "ro")
        live.fsconfig_create(context)
        fd = live.fsmount(context, MOUNT_ATTR_NODEV)
        live.move_mount(fd, "", AT_FDCWD, str(tmp_path))
        return mount_line(tmp_path)

    line = in_namespaces(child)
    assert " rw,nodev,relatime " in line
    assert " - tmpfs name ro,mode=711" in line


def test_fsconfig_refuses_unknown_options() -> None:
    call, number, detail = in_namespaces(lambda: failure(lambda: live.fsconfig_string(live.fsopen("tmpfs"), "a", "b")))
    assert (call, number, detail) == ("fsconfig", "EINVAL", "a=b")
