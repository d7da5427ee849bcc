"""Preparing and finishing the root file system."""

from __future__ import annotations

import errno
import os
import stat
from types import SimpleNamespace
from typing import Any

import pytest

from ocirt.config.views import Config
from ocirt.errors import ConfigError, OcirtError
from ocirt.kernel import flags as f
from ocirt.stages.rootfs import (
    BindRoot,
    OpenNull,
    SetReadonly,
    finish_root,
    make_parent_private,
    mounts_on_host,
    prepare_root,
)
from tests.support.recorder import kernel_error, recorded_box


def config(*kinds: str, mounts: tuple[Any, ...] = (), readonly: bool = False, **linux: Any) -> Config:
    return Config(
        {
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs", "readonly": readonly},
            "mounts": list(mounts),
            "linux": {"namespaces": [{"type": kind} for kind in kinds], **linux},
        }
    )


def plan(value: Config, no_pivot: bool = False) -> list[tuple[str, str]]:
    return [(step.at, step.describe()) for step in prepare_root(value, "/bundle", no_pivot)]


def test_plan_with_a_mount_namespace() -> None:
    assert plan(config("mount", maskedPaths=["/proc/kcore"])) == [
        ("", "set the umask to 0022"),
        ("/linux/maskedPaths", "take a copy of the mount of the host's /dev/null"),
        ("", "set the propagation of / to MS_REC|MS_SLAVE"),
        ("/root/path", "bind the root file system /bundle/rootfs onto itself"),
    ]


def test_plan_without_a_mount_namespace_touches_no_mount() -> None:
    assert plan(config("pid")) == [
        ("", "set the umask to 0022"),
        ("/root/path", "open the root file system /bundle/rootfs"),
    ]


def test_plan_of_mounts_without_a_mount_namespace() -> None:
    assert plan(config("pid", readonly=True, maskedPaths=["/proc/kcore"])) == [
        ("", "set the umask to 0022"),
        ("/linux/maskedPaths", "take a copy of the mount of the host's /dev/null"),
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (config("pid"), False),
        (config("pid", readonly=True), True),
        (config("pid", mounts=({"destination": "/t"},)), True),
        (config("pid", maskedPaths=["/x"]), True),
        (config("pid", readonlyPaths=["/x"]), True),
        (config("pid", rootfsPropagation="shared"), True),
        (config("mount", readonly=True), False),
        (Config({"root": {"path": "/r"}, "process": {"terminal": True}}), True),
        (Config({"mounts": [{"destination": "/t"}]}), False),
    ],
)
def test_mounts_on_host(value: Config, expected: bool) -> None:
    assert mounts_on_host(value) is expected


def test_absolute_root() -> None:
    value = Config({"root": {"path": "/r"}, "linux": {"namespaces": [{"type": "mount"}]}})
    assert plan(value)[-1][1] == "bind the root file system /r onto itself"


@pytest.mark.parametrize(
    ("value", "words"),
    [("shared", "MS_SHARED"), ("rprivate", "MS_REC|MS_PRIVATE"), ("runbindable", "MS_REC|MS_UNBINDABLE")],
)
def test_propagation(value: str, words: str) -> None:
    at, text = plan(config("mount", rootfsPropagation=value))[1]
    assert (at, text) == ("/linux/rootfsPropagation", f"set the propagation of / to {words}")


@pytest.mark.parametrize(
    ("value", "no_pivot", "what"),
    [
        ("sharred", False, "rootfsPropagation=sharred is not supported"),
        ("private", True, "rootfsPropagation of [r]private is not safe without pivot_root"),
        ("rprivate", True, "rootfsPropagation of [r]private is not safe without pivot_root"),
    ],
)
def test_propagation_refused(value: str, no_pivot: bool, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(config("mount", rootfsPropagation=value), no_pivot)
    assert (caught.value.what, caught.value.at) == (what, "/linux/rootfsPropagation")


def test_root_is_cloned_from_its_own_descriptor() -> None:
    box, kernel = recorded_box(openat=7, open_tree=8, path_of="/b/rootfs")
    BindRoot("/root/path", "/b/rootfs", unshared=False).apply(box)
    assert kernel.calls == [
        ("openat", f.AT_FDCWD, "/b/rootfs", os.O_PATH | os.O_DIRECTORY),
        ("path_of", 1001, 7),
        ("mount", "", "/b/rootfs", "", f.MS_PRIVATE),
        ("open_tree", 7, "", f.OPEN_TREE_CLONE | f.AT_RECURSIVE | f.AT_EMPTY_PATH),
        ("move_mount", 8, "", 7, ""),
        ("close", 7),
    ]
    assert box.root == 8


def test_root_is_made_private_where_nothing_is_shared() -> None:
    box, kernel = recorded_box(openat=7, open_tree=8)
    BindRoot("/root/path", "/b/rootfs", unshared=True).apply(box)
    assert kernel.calls[1:] == [
        ("open_tree", 7, "", f.OPEN_TREE_CLONE | f.AT_RECURSIVE | f.AT_EMPTY_PATH),
        ("mount_setattr", 8, "", 0, 0, 0, f.MS_PRIVATE),
        ("move_mount", 8, "", 7, ""),
        ("close", 7),
    ]


@pytest.mark.parametrize(
    ("value", "unshared"),
    [
        *((value, True) for value in ("", "rslave", "rprivate")),
        *((value, False) for value in ("slave", "private", "shared", "rshared", "unbindable", "runbindable")),
    ],
)
def test_what_leaves_nothing_shared(value: str, unshared: bool) -> None:
    (step,) = [step for step in prepare_root(config("mount", rootfsPropagation=value), "/b") if type(step) is BindRoot]
    assert step.unshared is unshared


def test_missing_root_is_named() -> None:
    box, _ = recorded_box(openat=kernel_error(errno.ENOENT, "openat"))
    with pytest.raises(OcirtError) as caught:
        BindRoot("/root/path", "/b/rootfs", unshared=True).apply(box)
    error = caught.value
    assert (error.what, error.call, error.errno) == ('invalid rootfs "/b/rootfs"', "openat", errno.ENOENT)


def test_parents_are_searched_for_their_mount() -> None:
    box, kernel = recorded_box(mount=[kernel_error(errno.EINVAL), kernel_error(errno.EINVAL), None])
    make_parent_private(box, "/a/b")
    assert [call[2] for call in kernel.calls] == ["/a/b", "/a", "/"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL])
def test_parent_that_cannot_be_private(number: int) -> None:
    box, _ = recorded_box(mount=kernel_error(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        make_parent_private(box, "/a")


@pytest.mark.parametrize(
    ("mode", "device", "good"),
    [(stat.S_IFCHR, (1, 3), True), (stat.S_IFCHR, (1, 5), False), (stat.S_IFBLK, (1, 3), False)],
)
def test_null_of_the_host_is_verified(mode: int, device: tuple[int, int], good: bool) -> None:
    status = SimpleNamespace(st_mode=mode, st_rdev=os.makedev(*device))
    box, _ = recorded_box(open_tree=9, fstat=status)
    if good:
        OpenNull("").apply(box)
        assert box.fds == {"null": 9}
    else:
        with pytest.raises(OcirtError) as caught:
            OpenNull("").apply(box)
        assert caught.value.code == "unsupported"


def test_what_becomes_readonly_at_the_end() -> None:
    value = config(
        "mount",
        readonly=True,
        mounts=(
            {"destination": "/t", "type": "tmpfs", "options": ["ro"]},
            {"destination": "/u", "type": "tmpfs"},
            {"destination": "/dev/", "type": "bind", "options": ["bind", "ro"]},
            {"destination": "/sys", "type": "sysfs", "options": ["ro"]},
            {"destination": "/b", "type": "tmpfs", "options": ["bind", "ro"]},
        ),
    )
    assert [(step.at, step.describe()) for step in finish_root(value)] == [
        ("/mounts/0", "make /t read-only"),
        ("/mounts/2", "make /dev read-only"),
        ("/root/readonly", "make / read-only"),
    ]


def test_readonly_by_descriptor() -> None:
    box, kernel = recorded_box(open_in_root=5)
    SetReadonly("", "/dev").apply(box)
    SetReadonly("", "/").apply(box)
    assert kernel.calls == [
        ("open_in_root", 1002, "/dev", os.O_PATH),
        ("mount_setattr", 5, "", 0, f.MOUNT_ATTR_RDONLY, 0),
        ("close", 5),
        ("mount_setattr", 1002, "", 0, f.MOUNT_ATTR_RDONLY, 0),
    ]
