"""The options src-nofollow and dest-nofollow: what is opened, and how."""

from __future__ import annotations

import errno
import os
import stat
from types import SimpleNamespace
from typing import Any

import pytest

from ocirt.config.mountopts import parse_options
from ocirt.config.views import Config
from ocirt.errors import ConfigError, OcirtError
from ocirt.host import Host
from ocirt.kernel import flags as f
from ocirt.stages.binds import Bind
from ocirt.stages.mounts import mount_sources, mounts
from ocirt.stages.nofollow import BindOnLink, binds
from tests.support.recorder import Recorder, kernel_error, recorded_box

LINK = SimpleNamespace(st_mode=stat.S_IFLNK)
DIRECTORY = SimpleNamespace(st_mode=stat.S_IFDIR)
LOOK = os.O_PATH | os.O_NOFOLLOW


def config(*options: str, kinds: tuple[str, ...] = ("mount",)) -> Config:
    mount = {"destination": "/a/b", "source": "/s", "options": list(options)}
    return Config({"mounts": [mount], "linux": {"namespaces": [{"type": kind} for kind in kinds]}})


def bound(target: str = "/a/b", **answers: Any) -> Recorder:
    """A bind on a link applied to a recorder."""
    usual: dict[str, Any] = {
        "open_tree": 8,
        "fstat": LINK,
        "mkdir_in_root": 4,
        "openat": 5,
        "path_of": ["/r", f"/r{target}"] * 2,
        "statfs_type": 0,
    }
    box, kernel = recorded_box(**{**usual, **answers})
    BindOnLink("/mounts/0", "/s", target, parse_options(("bind", "dest-nofollow")), "mount/0").apply(box)
    return kernel


def test_the_last_name_is_not_followed() -> None:
    assert [call for call in bound().calls if call[0] not in ("path_of", "fstat", "statfs_type")] == [
        ("open_tree", f.AT_FDCWD, "/s", f.OPEN_TREE_CLONE),
        ("mkdir_in_root", 1002, "/a"),
        ("openat", 4, "b", LOOK),
        ("close", 4),
        ("move_mount", 8, "", 5, ""),
        ("close", 5),
        ("close", 8),
    ]


def test_a_name_in_the_root() -> None:
    calls = bound("/b").calls
    assert ("mkdir_in_root", 1002, "/") in calls
    assert ("openat", 4, "b", LOOK) in calls


@pytest.mark.parametrize(("source", "mode", "directory"), [(LINK, 0o644, False), (DIRECTORY, 0o755, True)])
def test_a_missing_destination_is_made(source: Any, mode: int, directory: bool) -> None:
    missing = kernel_error(errno.ENOENT, "openat")
    kernel = bound(openat=missing, make_in_root=(6, True), fstat=source)
    assert ("make_in_root", 4, "b", mode, ("directory", directory), ("symlinks", False)) in kernel.calls
    assert ("move_mount", 8, "", 6, "") in kernel.calls
    assert [call for call in kernel.calls if call[0] == "close"] == [("close", 4), ("close", 6), ("close", 8)]


def test_a_link_that_comes_between_is_not_followed() -> None:
    refused = kernel_error(errno.ELOOP, "openat2")
    with pytest.raises(OcirtError) as caught:
        bound(openat=kernel_error(errno.ENOENT, "openat"), make_in_root=refused)
    assert (caught.value.call, caught.value.errno) == ("openat2", errno.ELOOP)


def test_what_cannot_be_opened_is_not_made() -> None:
    with pytest.raises(OcirtError) as caught:
        bound(openat=kernel_error(errno.EACCES, "openat"))
    assert (caught.value.call, caught.value.errno) == ("openat", errno.EACCES)


@pytest.mark.parametrize(
    ("target", "place", "what"),
    [
        ("/", "/r", "mountpoint / is on the top of rootfs"),
        ("/proc/self", "/r/proc/self", "it is inside /proc"),
        ("/a/b", "/away/b", "possible breakout"),
    ],
)
def test_places_are_checked_as_ever(target: str, place: str, what: str) -> None:
    with pytest.raises(OcirtError, match=what):
        bound(target, path_of=["/r", place, "/r"])


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (("bind",), Bind),
        (("bind", "src-nofollow"), Bind),
        (("bind", "dest-nofollow"), BindOnLink),
        (("rbind", "src-nofollow", "dest-nofollow"), BindOnLink),
    ],
)
def test_what_is_planned(options: tuple[str, ...], kind: type) -> None:
    value = config(*options)
    (step,) = mounts(value, Host(), "/bundle", binds(value, "/bundle"))
    assert type(step) is kind


def test_the_runtime_opens_the_link_for_a_user_namespace() -> None:
    (step,) = mount_sources(config("rbind", "src-nofollow", kinds=("mount", "user")), "/bundle")
    box, kernel = recorded_box(open_tree=8)
    step.apply(box)
    flags = f.OPEN_TREE_CLONE | f.AT_RECURSIVE | f.AT_SYMLINK_NOFOLLOW
    assert kernel.calls[0] == ("open_tree", f.AT_FDCWD, "/s", flags)


@pytest.mark.parametrize("word", ["src-nofollow", "dest-nofollow"])
@pytest.mark.parametrize(
    ("others", "what"),
    [
        ((), "{} is for bind mounts only"),
        (("bind", "remount"), "{} is for bind mounts only"),
        (("bind", "copy-symlink"), "copy-symlink makes a link and {} binds one"),
    ],
)
def test_refused(word: str, others: tuple[str, ...], what: str) -> None:
    with pytest.raises(ConfigError, match=what.format(word)) as caught:
        binds(config(*others, word), "/bundle")
    assert (caught.value.code, caught.value.at) == ("rule", "/mounts/0/options")
