"""What a child of the runtime prepares in a mount namespace aside; what comes of it is in tests/e2e."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ocirt import system
from ocirt.config.mountopts import parse_options
from ocirt.config.views import Config
from ocirt.errors import KernelError, OcirtError
from ocirt.host import Host
from ocirt.kernel import flags as f
from ocirt.plan import all_sources
from ocirt.stages import aside
from tests.support.recorder import kernel_error, recorded_box


def parent(box: Any, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    """in_a_child() in the parent of a child that answers so."""
    told = os.memfd_create("told")
    os.write(told, answer)
    monkeypatch.setattr(system, "memfd_create", lambda name, flags: told)
    monkeypatch.setattr(system, "waitpid", lambda pid, how: (pid, 0))
    aside.in_a_child(box, lambda: None)


def told(box: Any, error: BaseException | None = None) -> bytes:
    def work() -> None:
        box.fds["new"] = 9
        del box.fds["old"]
        if error:
            raise error

    return aside.report(box, work)


def test_descriptors_of_the_child_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    box, kernel = recorded_box(clone3=(77, -1))
    box.fds = {"old": 7, "namespace/user": 8}
    answer = told(box)
    box.fds = {"old": 7, "namespace/user": 8}
    parent(box, monkeypatch, answer)
    assert box.fds == {"new": 9, "namespace/user": 8}
    assert kernel.calls == [("clone3", f.CLONE_FILES)]


@pytest.mark.parametrize(
    ("error", "kind", "fields"),
    [
        (KernelError(errno.EPERM, "no", "mount", "x on y"), KernelError, (errno.EPERM, "mount", "x on y")),
        (
            OcirtError("unsupported", "sö", call="c", errno=5, detail="d", at="/a"),
            OcirtError,
            (5, "c", "d"),
        ),
        (ValueError("fault"), OcirtError, (0, "", "")),
    ],
)
def test_failure_of_the_child_is_ours(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception], fields: tuple[object, ...]
) -> None:
    box, _ = recorded_box(clone3=(77, -1))
    box.fds = {"old": 7}
    answer = told(box, error)
    box.fds = {"old": 7}
    with pytest.raises(kind) as caught:
        parent(box, monkeypatch, answer)
    assert (caught.value.errno, caught.value.call, caught.value.detail) == fields  # type: ignore[attr-defined]
    assert box.fds == {"new": 9}


def test_child_that_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    box, _ = recorded_box(clone3=(77, -1))
    box.fds = {"old": 7}
    with pytest.raises(OcirtError, match="died") as caught:
        parent(box, monkeypatch, b"")
    assert (caught.value.code, box.fds) == ("internal", {"old": 7})


def test_nothing_stays_open_when_there_is_no_child() -> None:
    box, _ = recorded_box(clone3=kernel_error(errno.EAGAIN, "clone3"))
    before = os.listdir("/proc/self/fd")
    with pytest.raises(KernelError):
        aside.in_a_child(box, lambda: None)
    assert os.listdir("/proc/self/fd") == before


def test_locking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attached in a namespace aside, copied in one that belongs to another user namespace."""
    monkeypatch.setattr(aside, "in_a_child", lambda box, work: work())
    monkeypatch.setattr(aside, "enter_locked", lambda box: box.kernel.setns(99, f.CLONE_NEWNS))
    modes = [SimpleNamespace(st_mode=stat.S_IFDIR), SimpleNamespace(st_mode=stat.S_IFREG)]
    box, kernel = recorded_box(fstat=modes, openat=50, open_tree=[60, 61])
    box.fds = {"mount/1": 11, "mount/3": 13, "other": 20}
    aside.LockFlags(("mount/0", "mount/1", "mount/3")).apply(box)
    assert box.fds == {"mount/1": 60, "mount/3": 61, "other": 20}
    copied = f.OPEN_TREE_CLONE | f.AT_RECURSIVE | f.AT_SYMLINK_NOFOLLOW
    assert kernel.calls == [
        ("unshare", f.CLONE_NEWNS),
        ("mount", "", "/", "", f.MS_PRIVATE | f.MS_REC),
        ("mount", "tmpfs", "/proc", "tmpfs", 0, "mode=700"),
        ("fstat", 11),
        ("mkdirat", f.AT_FDCWD, "/proc/mount-1", 0o700),
        ("move_mount", 11, "", f.AT_FDCWD, "/proc/mount-1"),
        ("close", 11),
        ("fstat", 13),
        ("openat", f.AT_FDCWD, "/proc/mount-3", os.O_CREAT | os.O_WRONLY, 0o600),
        ("close", 50),
        ("move_mount", 13, "", f.AT_FDCWD, "/proc/mount-3"),
        ("close", 13),
        ("setns", 99, f.CLONE_NEWNS),
        ("open_tree", f.AT_FDCWD, "/proc/mount-1", copied),
        ("open_tree", f.AT_FDCWD, "/proc/mount-3", copied),
    ]


def test_nothing_to_lock() -> None:
    box, kernel = recorded_box()
    aside.LockFlags(("mount/0",)).apply(box)
    assert kernel.calls == []


def bind(**process: Any) -> Config:
    value: dict[str, Any] = {
        "mounts": [{"destination": "/a", "source": "/s", "options": ["bind"]}],
        "linux": {"namespaces": [{"type": "mount"}, {"type": "user"}]},
    }
    return Config({**value, "process": {"cwd": "/", **process}} if process else value)


@pytest.mark.parametrize(
    ("process", "euid", "locked"),
    [
        ({}, 0, True),
        ({"noNewPrivileges": True}, 0, False),
        ({"capabilities": {"bounding": ["CAP_SYS_ADMIN"]}}, 0, True),
        ({"capabilities": {"permitted": ["CAP_SYS_ADMIN"]}}, 0, True),
        ({"capabilities": {"bounding": ["CAP_CHOWN"]}}, 0, False),
        ({"capabilities": {"bounding": ["CAP_SYS_ADMIN"]}}, 1000, False),
    ],
)
def test_who_could_take_flags_back(process: dict[str, Any], euid: int, locked: bool) -> None:
    planned = all_sources(bind(**process), Host(euid=euid), "/b", True, {})
    assert [isinstance(step, aside.LockFlags) for step in planned] == [False, True][: 1 + locked]


def test_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "in_a_child", lambda box, work: work())
    monkeypatch.setattr(aside, "is_block_device", lambda path: path == "/dev/x")
    box, kernel = recorded_box(open_tree=60)
    options = parse_options(("silent", "nodev", "errors=panic"))
    step = aside.MountDisk("/mounts/0", "mount/0", "/dev/x", "/mnt", "ext4", options)
    step.apply(box)
    assert kernel.calls[-2:] == [
        ("mount", "/dev/x", "/proc", "ext4", f.MS_SILENT | f.MS_NODEV, "errors=panic"),
        ("open_tree", f.AT_FDCWD, "/proc", f.OPEN_TREE_CLONE),
    ]
    step.undo(box)
    assert (kernel.calls[-1], box.fds) == (("close", 60), {})


def test_what_is_no_disk_is_left_to_init(tmp_path: Path) -> None:
    box, kernel = recorded_box()
    for path in (str(tmp_path), "/no/such", "/dev/null"):
        aside.MountDisk("", "mount/0", path, "/mnt", "ext4", parse_options(())).apply(box)
    assert (kernel.calls, box.fds) == ([], {})


@pytest.mark.parametrize(
    ("kind", "source", "options", "planned"),
    [
        ("ext4", "/dev/x", [], 1),
        ("tmpfs", "/dev/x", [], 0),
        ("overlay", "/dev/x", [], 0),
        ("ext4", "x", [], 0),
        ("ext4", "/dev/x", ["bind"], 0),
        ("ext4", "/dev/x", ["remount"], 0),
        (None, "/dev/x", [], 0),
    ],
)
def test_what_may_be_a_disk(kind: str | None, source: str, options: list[str], planned: int) -> None:
    mount = {"destination": "/a", "source": source, "options": options, **({"type": kind} if kind else {})}
    assert len(list(aside.disks(Config({"mounts": [mount]})))) == planned


def test_a_disk_is_mounted_by_the_runtime_outside_of_user_namespaces() -> None:
    config = Config({"mounts": [{"destination": "/a", "source": "/dev/x", "type": "ext4"}]})
    told = [(step.at, step.describe()) for step in all_sources(config, Host(), "/b", False, {})]
    assert told == [("/mounts/0", "mount ext4 from the disk /dev/x, if it is one")]
    assert list(all_sources(config, Host(), "/b", True, {})) == []
