"""Mounts of type cgroup."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any

import pytest

from ocirt.config.mountopts import parse_options
from ocirt.config.views import Mount
from ocirt.errors import OcirtError
from ocirt.host import Host
from ocirt.kernel import flags as f
from ocirt.pipeline import Step
from ocirt.stages.cgroup_mounts import cgroup_mount, hierarchies, own_directory
from tests.support.recorder import kernel_error, recorded_box

V1 = Host(
    cgroup="v1",
    cgroup_mounts={"cpu": "/c/cpu,cpuacct", "cpuacct": "/c/cpu,cpuacct", "name=systemd": "/c/systemd"},
    own_cgroups={"cpu": "/own", "cpuacct": "/own", "name=systemd": "/"},
)
V2 = Host(cgroup="v2", unified_mount="/sys/fs/cgroup", own_cgroups={"": "/own"})
CONTAINED = f.MS_NOSUID | f.MS_NODEV | f.MS_NOEXEC


def plan(host: Host, *options: str, kind: str = "cgroup", own_root: bool = False) -> Step:
    mount = Mount({"destination": "/cg", "type": kind, "options": list(options)}, "/mounts/4")
    return cgroup_mount(mount, "/cg", parse_options(options), host, own_root)


def test_hierarchies() -> None:
    assert hierarchies(V1) == (
        ("cpu,cpuacct", "cpu,cpuacct", "/c/cpu,cpuacct/own"),
        ("systemd", "name=systemd", "/c/systemd"),
    )


@pytest.mark.parametrize(
    ("own", "root", "directory"), [("/", "", "/m"), ("/a/b", "", "/m/a/b"), ("/a/b", "/a", "/m/b"), ("/a", "/a", "/m")]
)
def test_own_directory(own: str, root: str, directory: str) -> None:
    host = Host(own_cgroups={"cpu": own}, cgroup_roots={"cpu": root} if root else {})
    assert own_directory(host, "cpu", "/m") == directory


@pytest.mark.parametrize(
    ("host", "kind", "text"),
    [
        (V1, "cgroup", "bind the container's own 2 cgroup hierarchies below /cg (ro)"),
        (V2, "cgroup", "bind the host's cgroup2 on /cg (ro)"),
        (V2, "cgroup2", "bind the host's cgroup2 on /cg (ro)"),
        (V1, "cgroup2", "mount cgroup2 on /cg (ro)"),
    ],
)
def test_plan(host: Host, kind: str, text: str) -> None:
    step = plan(host, "ro", kind=kind)
    assert (step.at, step.describe()) == ("/mounts/4", text)


def test_host_without_cgroups() -> None:
    with pytest.raises(OcirtError) as caught:
        plan(Host())
    assert (caught.value.code, caught.value.at) == ("unsupported", "/mounts/4")


ANSWERS: dict[str, Any] = {
    "mkdir_in_root": 5,
    "path_of": ["/r", "/r/cg"],
    "open_in_root": 6,
    "mount_id": [(20, True), (10, False)],
    "openat": [11, 12],
    "open_tree": [31, 32],
}


def test_container_sees_its_own_directories() -> None:
    box, kernel = recorded_box(**ANSWERS)
    box.manager = SimpleNamespace(paths={"cpu": "/c/cpu,cpuacct/mine"})  # type: ignore[assignment]
    plan(V1, "ro").apply(box)
    attributes = f.MOUNT_ATTR_RDONLY | f.MOUNT_ATTR_NOSUID | f.MOUNT_ATTR_NODEV | f.MOUNT_ATTR_NOEXEC
    assert [call for call in kernel.calls if call[0] in ("mount", "open_tree", "mount_setattr", "symlinkat")] == [
        ("mount", "tmpfs", ".", "tmpfs", CONTAINED, "mode=755"),
        ("open_tree", f.AT_FDCWD, "/c/cpu,cpuacct/mine", f.OPEN_TREE_CLONE | f.AT_RECURSIVE),
        ("mount_setattr", 31, "", f.AT_RECURSIVE, attributes, 0, f.MS_SLAVE),
        ("symlinkat", "cpu,cpuacct", 6, "cpu"),
        ("symlinkat", "cpu,cpuacct", 6, "cpuacct"),
        ("open_tree", f.AT_FDCWD, "/c/systemd", f.OPEN_TREE_CLONE | f.AT_RECURSIVE),
        ("mount_setattr", 32, "", f.AT_RECURSIVE, attributes, 0, f.MS_SLAVE),
        ("mount_setattr", 6, "", 0, f.MOUNT_ATTR_RDONLY, 0),
    ]
    assert [call[1:] for call in kernel.calls if call[0] == "move_mount"] == [
        (31, "", 6, "cpu,cpuacct"),
        (32, "", 6, "systemd"),
    ]
    assert sorted(call[1] for call in kernel.calls if call[0] == "close") == [5, 6, 31, 32]


def test_cgroup_namespace_has_roots_of_its_own() -> None:
    box, kernel = recorded_box(**ANSWERS)
    plan(V1, own_root=True).apply(box)
    assert [call for call in kernel.calls if call[0] == "mount"][1:] == [
        ("mount", "cgroup", ".", "cgroup", CONTAINED, "cpu,cpuacct"),
        ("mount", "cgroup", ".", "cgroup", CONTAINED, "name=systemd"),
    ]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EBUSY])
def test_v2_falls_back_to_a_bind(number: int) -> None:
    box, kernel = recorded_box(**ANSWERS, mount=kernel_error(number, "mount"))
    plan(V2, "ro", own_root=True).apply(box)
    assert ("open_tree", f.AT_FDCWD, "/sys/fs/cgroup/own", f.OPEN_TREE_CLONE | f.AT_RECURSIVE) in kernel.calls
    assert ("mount_setattr", 31, "", f.AT_RECURSIVE, f.MOUNT_ATTR_RDONLY, 0, f.MS_SLAVE) in kernel.calls


def test_v2() -> None:
    box, kernel = recorded_box(**ANSWERS)
    plan(V2, "ro", "nsdelegate", own_root=True).apply(box)
    assert ("mount", "cgroup", ".", "cgroup2", f.MS_RDONLY, "nsdelegate") in kernel.calls


def test_v2_without_a_namespace_shows_the_host_and_leaves_its_options() -> None:
    """A new mount from the host's cgroup namespace would set the options of the whole hierarchy anew."""
    box, kernel = recorded_box(**ANSWERS)
    plan(V2, "ro").apply(box)
    assert "mount" not in kernel.names()
    assert ("open_tree", f.AT_FDCWD, "/sys/fs/cgroup", f.OPEN_TREE_CLONE | f.AT_RECURSIVE) in kernel.calls
    assert ("mount_setattr", 31, "", f.AT_RECURSIVE, f.MOUNT_ATTR_RDONLY, 0, f.MS_SLAVE) in kernel.calls


def test_other_failures_are_failures() -> None:
    box, _ = recorded_box(**ANSWERS, mount=kernel_error(errno.ENODEV, "mount"))
    with pytest.raises(OcirtError) as caught:
        plan(V2, own_root=True).apply(box)
    assert caught.value.errno == errno.ENODEV
