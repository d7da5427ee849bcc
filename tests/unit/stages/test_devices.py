"""/dev."""

from __future__ import annotations

import errno
import os
import stat
from types import SimpleNamespace
from typing import Any

import pytest

from ocirt.config.views import Config
from ocirt.errors import OcirtError
from ocirt.kernel import flags as f
from ocirt.stages.devices import LinkDevices, LinkPtmx, MakeDevice, devices
from tests.support.recorder import kernel_error, recorded_box


def plan(*own: dict[str, Any], mounts: tuple[dict[str, Any], ...] = ()) -> list[tuple[str, str]]:
    value = Config({"mounts": list(mounts), "linux": {"devices": list(own)}})
    return [(step.at, step.describe()) for step in devices(value)]


ALL_BITS = ("", "set the umask to 0000")
DEFAULT = [
    ("", "make /dev/null (crw-rw-rw- 1:3, owner 0:0)"),
    ("", "make /dev/zero (crw-rw-rw- 1:5, owner 0:0)"),
    ("", "make /dev/full (crw-rw-rw- 1:7, owner 0:0)"),
    ("", "make /dev/random (crw-rw-rw- 1:8, owner 0:0)"),
    ("", "make /dev/urandom (crw-rw-rw- 1:9, owner 0:0)"),
    ("", "make /dev/tty (crw-rw-rw- 5:0, owner 0:0)"),
]
LINKS = [
    ("", "set the umask to 0022"),
    ("", "link /dev/ptmx to pts/ptmx"),
    ("", "link /dev/fd, stdin, stdout, stderr and core"),
]


def test_default_devices() -> None:
    assert plan() == [ALL_BITS, *DEFAULT, *LINKS]
    assert [(step.at, step.describe()) for step in devices(Config({}))] == [ALL_BITS, *DEFAULT, *LINKS]


def test_own_devices() -> None:
    own = (
        {"type": "c", "path": "/dev/null", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 5, "gid": 6},
        {"type": "b", "path": "/dev/x/../sda", "major": 8, "minor": 0},
        {"type": "p", "path": "/run/pipe", "major": 9, "minor": 9},
        {"type": "u", "path": "/dev/u", "major": 4, "minor": 1},
    )
    assert plan(*own) == [
        ALL_BITS,
        *DEFAULT[1:],
        ("/linux/devices/0", "make /dev/null (crw------- 1:3, owner 5:6)"),
        ("/linux/devices/1", "make /dev/sda (brw-rw-rw- 8:0, owner 0:0)"),
        ("/linux/devices/2", "make /run/pipe (prw-rw-rw-, owner 0:0)"),
        ("/linux/devices/3", "make /dev/u (crw-rw-rw- 4:1, owner 0:0)"),
        *LINKS,
    ]


@pytest.mark.parametrize("destination", ["/dev", "/dev/", "dev", "//dev/."])
@pytest.mark.parametrize(("options", "left"), [(["bind"], True), (["rbind", "ro"], True), (["ro"], False)])
def test_bound_dev_is_left_alone(destination: str, options: list[str], left: bool) -> None:
    assert (plan(mounts=({"destination": destination, "type": "tmpfs", "options": options},)) == []) is left


NODE = SimpleNamespace(st_mode=stat.S_IFCHR | 0o666, st_rdev=os.makedev(1, 3))


def make(uid: int = 0) -> MakeDevice:
    return MakeDevice("", "/dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3), uid)


def test_made_below_a_descriptor() -> None:
    box, kernel = recorded_box(mkdir_in_root=5)
    make(uid=7).apply(box)
    assert kernel.calls == [
        ("mkdir_in_root", 1002, "/dev", ("symlinks", False)),
        ("mknodat", 5, "null", stat.S_IFCHR | 0o666, os.makedev(1, 3)),
        ("fchownat", 5, "null", 7, 0),
    ]


def test_dev_is_looked_up_once() -> None:
    box, kernel = recorded_box(mkdir_in_root=[5, 6], openat=kernel_error(errno.ENOENT))
    for step in (make(), MakeDevice("", "/dev/net/tun", stat.S_IFCHR), LinkPtmx(), LinkDevices()):
        step.apply(box)
    assert [call[2] for call in kernel.calls if call[0] == "mkdir_in_root"] == ["/dev", "/dev/net"]
    assert [call[1] for call in kernel.calls if call[0] == "mknodat"] == [5, 6]
    assert {call[2] for call in kernel.calls if call[0] == "symlinkat"} == {5}
    assert "close" not in kernel.names()


@pytest.mark.parametrize(
    ("status", "good"),
    [
        (NODE, True),
        (SimpleNamespace(st_mode=stat.S_IFCHR, st_rdev=os.makedev(1, 5)), False),
        (SimpleNamespace(st_mode=stat.S_IFBLK, st_rdev=os.makedev(1, 3)), False),
        (SimpleNamespace(st_mode=stat.S_IFLNK | 0o777, st_rdev=0), False),
    ],
)
def test_existing_node(status: Any, good: bool) -> None:
    box, kernel = recorded_box(mkdir_in_root=5, mknodat=kernel_error(errno.EEXIST), openat=6, fstat=status)
    if good:
        make().apply(box)
    else:
        with pytest.raises(OcirtError, match="/dev/null exists and is another file"):
            make().apply(box)
    assert ("openat", 5, "null", os.O_PATH | os.O_NOFOLLOW) in kernel.calls
    assert kernel.calls[-1] == ("close", 6)


class TestWhereNodesMayNotBeMade:
    ANSWERS: dict[str, Any] = {"mkdir_in_root": 5, "openat": 6, "open_tree": 8, "fstat": NODE}

    def test_host_node_is_bound(self) -> None:
        box, kernel = recorded_box(**self.ANSWERS, mknodat=[kernel_error(errno.EPERM), None])
        make().apply(box)
        assert kernel.calls[2:] == [
            ("open_tree", f.AT_FDCWD, "/dev/null", f.OPEN_TREE_CLONE),
            ("fstat", 8),
            ("mknodat", 5, "null", stat.S_IFREG | 0o644),
            ("openat", 5, "null", os.O_PATH | os.O_NOFOLLOW),
            ("move_mount", 8, "", 6, ""),
            ("close", 6),
            ("close", 8),
        ]

    def test_existing_file_is_a_target_too(self) -> None:
        box, kernel = recorded_box(**self.ANSWERS, mknodat=[kernel_error(errno.EPERM), kernel_error(errno.EEXIST)])
        make().apply(box)
        assert ("move_mount", 8, "", 6, "") in kernel.calls

    def test_host_node_is_verified(self) -> None:
        wrong = SimpleNamespace(st_mode=stat.S_IFREG, st_rdev=0)
        box, kernel = recorded_box(**{**self.ANSWERS, "fstat": wrong}, mknodat=kernel_error(errno.EPERM))
        with pytest.raises(OcirtError):
            make().apply(box)
        assert "move_mount" not in kernel.names()

    def test_fifo_is_not_bound(self) -> None:
        box, _ = recorded_box(**self.ANSWERS, mknodat=kernel_error(errno.EPERM, "mknodat"))
        with pytest.raises(OSError, match=os.strerror(errno.EPERM)):
            MakeDevice("", "/p", stat.S_IFIFO | 0o666).apply(box)


@pytest.mark.parametrize("number", [errno.ELOOP, errno.ENOTDIR])
@pytest.mark.parametrize("step", [make(), LinkDevices(), LinkPtmx()])
def test_dev_that_is_a_link(number: int, step: Any) -> None:
    box, kernel = recorded_box(mkdir_in_root=kernel_error(number, "openat2"))
    with pytest.raises(OcirtError) as caught:
        step.apply(box)
    assert caught.value.what == "/dev must be an ordinary directory, not a symbolic link"
    assert kernel.names() == ["mkdir_in_root"]


def test_ptmx_replaces_what_is_there() -> None:
    for answer in (None, kernel_error(errno.ENOENT)):
        box, kernel = recorded_box(mkdir_in_root=5, unlinkat=answer)
        LinkPtmx().apply(box)
        assert kernel.calls[1:3] == [("unlinkat", 5, "ptmx"), ("symlinkat", "pts/ptmx", 5, "ptmx")]


def test_existing_links_are_kept() -> None:
    box, kernel = recorded_box(mkdir_in_root=5, symlinkat=kernel_error(errno.EEXIST), openat=kernel_error(errno.ENOENT))
    LinkDevices().apply(box)
    assert [call[3] for call in kernel.calls if call[0] == "symlinkat"] == ["fd", "stdin", "stdout", "stderr"]


def test_core_where_the_host_has_it() -> None:
    box, kernel = recorded_box(mkdir_in_root=5, openat=6)
    LinkDevices().apply(box)
    assert ("openat", 1001, "kcore", os.O_PATH) in kernel.calls
    assert ("symlinkat", "/proc/kcore", 5, "core") in kernel.calls
