"""The option tmpcopyup; what is copied is tested on a real kernel in tests/kernel/test_root_stages.py."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ocirt.errors import KernelError
from ocirt.kernel import flags as f
from ocirt.stages.tmpcopyup import copy_directory, detached_tmpfs, mount_with_copy, split_options
from tests.support.recorder import kernel_error, recorded_box


@pytest.mark.parametrize(
    ("data", "options"),
    [
        ("", []),
        ("size=4k,mode=755", ["size=4k", "mode=755"]),
        ("mpol=bind:0,2-3,size=1m", ["mpol=bind:0,2-3", "size=1m"]),
        ("noswap", ["noswap"]),
        ('size=1m,context="u:r:t:s0:c1,c2,c3",noswap', ["size=1m", 'context="u:r:t:s0:c1,c2,c3"', "noswap"]),
    ],
)
def test_split_options(data: str, options: list[str]) -> None:
    assert split_options(data) == options


def test_detached_tmpfs() -> None:
    box, kernel = recorded_box(fsopen=5, fsmount=6)
    assert detached_tmpfs(box, "name", f.MS_NODEV | f.MS_RDONLY | f.MS_DIRSYNC | f.MS_LAZYTIME, "size=4k,noswap") == 6
    assert kernel.calls == [
        ("fsopen", "tmpfs"),
        ("fsconfig_string", 5, "source", "name"),
        ("fsconfig_flag", 5, "dirsync"),
        ("fsconfig_flag", 5, "lazytime"),
        ("fsconfig_string", 5, "size", "4k"),
        ("fsconfig_flag", 5, "noswap"),
        ("fsconfig_create", 5),
        ("fsmount", 5, f.MOUNT_ATTR_RDONLY | f.MOUNT_ATTR_NODEV),
        ("close", 5),
    ]


def test_a_label_is_handed_over_without_its_quotes() -> None:
    box, kernel = recorded_box(fsopen=5, fsmount=6)
    detached_tmpfs(box, "name", 0, 'context="u:r:t:s0:c1,c2"')
    assert ("fsconfig_string", 5, "context", "u:r:t:s0:c1,c2") in kernel.calls


def test_context_is_closed_after_a_failure() -> None:
    box, kernel = recorded_box(fsopen=5, fsconfig_create=kernel_error(errno.EINVAL, "fsconfig"))
    with pytest.raises(KernelError):
        detached_tmpfs(box, "name", 0, "")
    assert kernel.calls[-1] == ("close", 5)


def test_copy_and_mount_fill_before_they_attach(tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "to").mkdir()
    (tmp_path / "from/file").write_text("content")
    origin, place = (os.open(tmp_path / name, os.O_RDONLY) for name in ("from", "to"))
    copied: list[bool] = []
    box, kernel = recorded_box(
        fsopen=1005,
        fsmount=1006,
        reopen=[origin, place],
        move_mount=lambda *_: copied.append((tmp_path / "to/file").exists()),
    )
    assert mount_with_copy(box, 1004, "name", 0, "") == 1006
    assert copied == [True]
    assert kernel.calls[-1] == ("move_mount", 1006, "", 1004, "")
    os.close(origin)
    os.close(place)


def test_links_are_copied_not_followed(tmp_path: Path) -> None:
    (tmp_path / "host").write_text("secret")
    (tmp_path / "from/sub").mkdir(parents=True)
    (tmp_path / "to").mkdir()
    (tmp_path / "from/sub/link").symlink_to(tmp_path / "host")
    (tmp_path / "from/sub/big").write_bytes(b"x" * (3 << 20))
    origin, place = (os.open(tmp_path / name, os.O_RDONLY) for name in ("from", "to"))
    copy_directory(origin, place)
    os.close(origin)
    os.close(place)
    assert os.readlink(tmp_path / "to/sub/link") == str(tmp_path / "host")
    assert (tmp_path / "to/sub/big").stat().st_size == 3 << 20
