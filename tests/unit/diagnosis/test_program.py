"""What is read of an image's files to tell why they are not executed: hostile bytes, and rights by mode."""

from __future__ import annotations

import errno
import os
import random
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocirt.diagnosis.places import MISSING, Who, close_walk, inside, missing, walk
from ocirt.diagnosis.program import Call, View, cause

ELF64 = b"\x7fELF\2\1\1" + bytes(9)


@pytest.fixture
def view(tmp_path: Path) -> Iterator[View]:
    proc, root = os.open("/proc", os.O_PATH), os.open(tmp_path, os.O_PATH)
    yield View(root, proc, "self", Who(proc, "self"))
    os.close(proc)
    os.close(root)


def why(view: View, tmp_path: Path, content: bytes, number: int) -> str:
    (tmp_path / "app").write_bytes(content)
    (tmp_path / "app").chmod(0o755)
    return cause(view, Call("/app", "/app", at="/process/args/0"), number)[0]


def elf(loader: bytes, machine: int = 62) -> bytes:
    """The header, one program header and the loader's name."""
    header = ELF64 + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(loader) + 1, len(loader) + 1, 1)
    return header + segment + loader + b"\0"


def test_the_loader_is_found(view: View, tmp_path: Path) -> None:
    assert why(view, tmp_path, elf(b"/lib/ld.so"), errno.ENOENT) == (
        "/app needs the loader /lib/ld.so: /lib is not there: put the C library that it was linked with there,"
        " or link it statically"
    )


@pytest.mark.parametrize(
    "content",
    [
        b"\x7fELF",
        ELF64,
        ELF64 + bytes(30),
        elf(b"/lib/ld.so")[:70],
        ELF64 + b"\xff" * 200,  # offsets and sizes beyond the file
        b"\x7fELF\1\2\1" + b"\xff" * 200,
        elf(b"x" * 10000),
        b"#!",
        b"#! \t",
        b"#!/bin/sh\0/bin/bash",
        b"#!" + b"\xff" * 300,
    ],
)
def test_damaged_programs(view: View, tmp_path: Path, content: bytes) -> None:
    """A sentence or none, and no exception."""
    for number in (errno.ENOENT, errno.ENOEXEC):
        assert isinstance(why(view, tmp_path, content, number), str)


def test_any_bytes(view: View, tmp_path: Path) -> None:
    chance = random.Random(1)
    for _ in range(300):
        head = chance.choice([b"", b"#!", b"\x7fELF\2\1", b"\x7fELF\1\2", elf(b"/lib/ld.so")[:64]])
        content = head + chance.randbytes(chance.randrange(300))
        assert isinstance(why(view, tmp_path, content, chance.choice([errno.ENOENT, errno.ENOEXEC])), str)


def test_interpreters_of_interpreters_end(view: View, tmp_path: Path) -> None:
    assert why(view, tmp_path, b"#!/app\n", errno.ELOOP).count("/app needs the interpreter /app") <= 6


def test_what_is_not_executable_is_not_read(view: View, tmp_path: Path) -> None:
    """None of procfs, sysfs and tracefs has an x bit."""
    (tmp_path / "sh").write_bytes(b"#!/hidden\n")
    assert "hidden" not in why(view, tmp_path, b"#!/sh\n", errno.ENOENT)


@pytest.mark.parametrize(
    ("path", "end", "text"),
    [
        ("/a/b/c", MISSING, "/a/b/c is not there, /a/b is"),
        ("/x", MISSING, "/x is not there"),
        ("/a/../a/./b//c", MISSING, "/a/b/c is not there, /a/b is"),
        ("/../../a/b/c", MISSING, "/a/b/c is not there, /a/b is"),
        ("/link/c", MISSING, "/link is a link to ../a/b: /a/b/c is not there, /a/b is"),
        ("/a/b", "", ""),
        ("/link/..", "", ""),
    ],
)
def test_walk(view: View, tmp_path: Path, path: str, end: str, text: str) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("../a/b")
    found = walk(view.root, path)
    close_walk(found)
    assert (found.end, missing(found)) == (end, text)


def test_a_closed_directory_before_an_absolute_link_is_seen(view: View, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for name in ("private", "bin"):
        (tmp_path / name).mkdir()
    (tmp_path / "private").chmod(0o700)
    (tmp_path / "private/l").symlink_to("/bin/x")
    (tmp_path / "bin/x").write_bytes(b"#!/bin/sh\n")
    (tmp_path / "bin/x").chmod(0o755)
    view.who.uid, view.who.gid, view.who.groups, view.who.effective = 1000, 1000, set(), 0
    text = cause(view, Call("/private/l", "/private/l", at="/process/args/0"), errno.EACCES)[0]
    assert text.startswith("/private (mode 0700, of user 0 and group 0) does not let user 1000 pass: "), text


def test_what_is_missing_is_not_why_access_is_denied(view: View, tmp_path: Path) -> None:
    assert "is not there" not in why(view, tmp_path, b"#!/bin/nonesuch\n", errno.EACCES)


def test_a_path_without_end(view: View, tmp_path: Path) -> None:
    """Links that multiply: each is followed, and forty are enough."""
    (tmp_path / "more").symlink_to("more/more/more/more")
    found = walk(view.root, "/more")
    close_walk(found)
    assert missing(found) == "/more is a link to more/more/more/more: the links on the way lead to each other"


def test_no_descriptor_is_left(view: View, tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    for content in (b"#!/nonesuch\n", elf(b"/lib/ld.so"), b"text"):
        why(view, tmp_path, content, errno.ENOENT)
    assert os.listdir("/proc/self/fd") == before


def test_ids_inside() -> None:
    mapping = [(0, 1000, 1), (1, 100000, 65536)]
    assert [inside(mapping, here) for here in (1000, 100000, 165535, 165536, 0)] == [0, 1, 65536, None, None]


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "capabilities", "may"),
    [
        (0o700, 5, 0, 0, True),
        (0o077, 5, 0, 0, False),  # the owner's bits alone count for the owner
        (0o010, 0, 6, 0, True),
        (0o010, 0, 7, 0, True),
        (0o701, 0, 6, 0, False),
        (0o001, 0, 0, 0, True),
        (0o000, 0, 0, 1 << 1, False),  # CAP_DAC_OVERRIDE executes nothing without any x bit
        (0o100, 0, 0, 1 << 1, True),
        (0o100, 99, 0, 1 << 1, False),  # nor what belongs to nobody that is mapped
    ],
)
def test_rights(view: View, mode: int, uid: int, gid: int, capabilities: int, may: bool) -> None:
    who = view.who
    who.uid, who.gid, who.groups, who.effective = 5, 6, {7}, capabilities
    who.uids = who.gids = [(0, 0, 10)]
    status = os.stat_result((stat.S_IFREG | mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))
    assert who.may(status, 1) is may


def test_directories_are_searched_by_who_may_read_all(view: View) -> None:
    who = view.who
    who.uid, who.effective, who.uids, who.gids = 5, 1 << 2, [(0, 0, 10)], [(0, 0, 10)]
    status = os.stat_result((stat.S_IFDIR | 0o700, 0, 0, 1, 0, 0, 0, 0, 0, 0))
    assert who.may(status, 1)
    assert not who.may(status, 2)
