"""The process that becomes criu, and the root file system it finds."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from ocirt.config.views import Config
from ocirt.errors import KernelError, OcirtError
from ocirt.kernel import flags as f
from ocirt.pipeline import Step
from ocirt.stages.criu import (
    AttachRoot,
    BringLoopbackUpFor,
    DetachRoot,
    ExecuteCriu,
    MakeMountPoint,
    MakeRootReadonly,
    MountYard,
    prepare_root,
)
from tests.support.recorder import kernel_error, recorded_box


def config(*mounts: tuple[str, str, str, list[str]]) -> Config:
    names = ("destination", "type", "source", "options")
    return Config({"ociVersion": "1.3.0", "mounts": [dict(zip(names, mount, strict=True)) for mount in mounts]})


def planned(value: Config) -> list[str]:
    steps: list[Step] = list(prepare_root(value, "/b", "/b/rootfs", "/run/x/criu-root"))
    return [step.describe() for step in steps]


def test_the_root_is_attached_anew_when_its_mount_points_are_made() -> None:
    bind = "bind the root file system /b/rootfs on /run/x/criu-root"
    assert planned(config()) == [
        "set the umask to 0022",
        "set the propagation of / to MS_REC|MS_SLAVE",
        bind,
        "detach /run/x/criu-root",
        bind,
    ]


def test_mount_points_on_the_image_only() -> None:
    mounts = config(
        ("/proc", "proc", "proc", []),
        ("/dev", "tmpfs", "tmpfs", []),
        ("/dev/pts", "devpts", "devpts", []),
        ("/devices", "tmpfs", "tmpfs", []),
        ("/data", "none", "data", ["rbind", "ro"]),
        ("/data/deep", "none", "/srv/deep", ["bind"]),
        ("/proc/cpuinfo", "none", "/lxcfs", ["bind"]),
        ("/data", "", "", ["remount", "rw"]),
        ("/dev/log", "none", "/dev/log", ["bind"]),
    )
    assert planned(mounts)[3:-2] == [
        "make the mount point /proc",
        "make the mount point /dev",
        "make the mount point /devices",
        "bind /b/data on /data (rbind)",
        "bind /srv/deep on /data/deep (bind)",
    ]


def test_attach_and_detach() -> None:
    box, kernel = recorded_box(openat=7, open_tree=8)
    AttachRoot("/root/path", "/b/rootfs", "/place").apply(box)
    assert box.root == 8
    DetachRoot("/root/path", "/place").apply(box)
    clone = f.OPEN_TREE_CLONE | f.AT_RECURSIVE | f.AT_EMPTY_PATH
    assert kernel.calls == [
        ("openat", f.AT_FDCWD, "/b/rootfs", os.O_PATH | os.O_DIRECTORY),
        ("open_tree", 7, "", clone),
        ("move_mount", 8, "", f.AT_FDCWD, "/place"),
        ("close", 7),
        ("close", 8),
        ("umount2", "/place", f.MNT_DETACH),
    ]


@pytest.mark.parametrize(("place", "refused"), [("/place/data", ""), ("/elsewhere", "possible breakout")])
def test_a_mount_point_is_in_the_root(place: str, refused: str) -> None:
    box, kernel = recorded_box(mkdir_in_root=9, path_of=["/place", place, "/place"])
    step = MakeMountPoint("/mounts/0", "/data")
    if refused:
        with pytest.raises(OcirtError, match=refused):
            step.apply(box)
    else:
        step.apply(box)
    assert kernel.calls[0] == ("mkdir_in_root", 1002, "/data")
    assert kernel.calls[-1] == ("close", 9)


def test_criu_gets_its_socket_and_the_namespaces_and_nothing_else() -> None:
    box, kernel = recorded_box(prepare_exec="image")
    box.fds = {"criu": 11, "namespace/network": 12, "cgroup": 13}
    ExecuteCriu("/usr/sbin/criu", ("PATH=/bin",)).apply(box)
    assert kernel.calls == [
        ("prepare_exec", ("/usr/sbin/criu", "swrk", "11"), ("PATH=/bin",)),
        ("set_inheritable", 11, True),
        ("set_inheritable", 12, True),
        ("execve", "/usr/sbin/criu", "image"),
    ]


def test_the_yard_is_made_of_mounts() -> None:
    """A link would lead a process that is being restored to what its own root has of that name."""
    box, kernel = recorded_box(open_tree=[21, 22], move_mount=[None, kernel_error(errno.ENOENT, "move_mount")])
    step = MountYard("/run/x/criu-yard", {"cpu": "/cg/cpu", "unified": "/cg/unified"})
    with pytest.raises(OSError, match=os.strerror(errno.ENOENT)):
        step.apply(box)
    assert kernel.calls == [
        ("mount", "tmpfs", "/run/x/criu-yard", "tmpfs", f.MS_NOSUID | f.MS_NODEV | f.MS_NOEXEC, "mode=700"),
        ("mkdirat", f.AT_FDCWD, "/run/x/criu-yard/cpu", 0o700),
        ("open_tree", f.AT_FDCWD, "/cg/cpu", f.OPEN_TREE_CLONE),
        ("move_mount", 21, "", f.AT_FDCWD, "/run/x/criu-yard/cpu"),
        ("close", 21),
        ("mkdirat", f.AT_FDCWD, "/run/x/criu-yard/unified", 0o700),
        ("open_tree", f.AT_FDCWD, "/cg/unified", f.OPEN_TREE_CLONE),
        ("move_mount", 22, "", f.AT_FDCWD, "/run/x/criu-yard/unified"),
        ("close", 22),
    ]


@pytest.mark.parametrize("fails", [False, True])
def test_the_loopback_of_another_namespace(fails: bool) -> None:
    answers: dict[str, Any] = {"openat": [20, 21]}
    if fails:
        answers["loopback_up"] = kernel_error(1, "ioctl")
    box, kernel = recorded_box(**answers)
    box.pid = 77
    step = BringLoopbackUpFor("/linux/namespaces")
    if fails:
        with pytest.raises(OSError, match=os.strerror(1)):
            step.apply(box)
    else:
        step.apply(box)
    assert kernel.calls == [
        ("openat", 1001, "self/ns/net", os.O_RDONLY),
        ("openat", 1001, "77/ns/net", os.O_RDONLY),
        ("setns", 21, f.CLONE_NEWNET),
        ("loopback_up",),
        ("setns", 20, f.CLONE_NEWNET),
        ("close", 21),
        ("close", 20),
    ]


@pytest.mark.parametrize("code", [0, errno.EBUSY])
def test_the_root_becomes_read_only_by_a_child_in_its_namespace(code: int) -> None:
    """The child tells by its exit status what the kernel said."""

    def clone3(flags: int) -> tuple[int, int]:
        assert flags == 0
        return os.posix_spawn("/bin/sh", ["sh", "-c", f"exit {code}"], {}), -1

    box, kernel = recorded_box(openat=20, clone3=clone3)
    box.pid = 77
    step = MakeRootReadonly("/root/readonly")
    if code:
        with pytest.raises(KernelError, match=os.strerror(code)) as caught:
            step.apply(box)
        assert (caught.value.call, caught.value.errno) == ("mount_setattr", code)
    else:
        step.apply(box)
    assert kernel.calls == [("openat", 1001, "77/ns/mnt", os.O_RDONLY), ("clone3", 0), ("close", 20)]
