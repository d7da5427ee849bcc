"""The table of mount options and its parser."""

from __future__ import annotations

import pytest

from ocirt.config.mountopts import EXTENSION, FLAG, RECOGNISED, TABLE, mount_attributes, parse_options
from ocirt.kernel import flags as f

# config.md, "Linux mount options": what a runtime must and should recognise.
SPECIFIED = """
async atime bind defaults dev diratime dirsync exec idmap iversion lazytime loud mand noatime nodev nodiratime
noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev
rdiratime relatime remount rexec ridmap rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid
rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared
silent slave strictatime suid symfollow sync tmpcopyup unbindable
"""


OF_CRUN = ("copy-symlink", "dest-nofollow", "rasync", "rdirsync", "rmand", "rnomand", "rsync", "src-nofollow")


def test_features_name_what_the_specification_asks_for() -> None:
    assert sorted(RECOGNISED) == sorted([*SPECIFIED.split(), *OF_CRUN])


def test_names_are_unique() -> None:
    assert len({row[0] for row in TABLE}) == len(TABLE)


@pytest.mark.parametrize("name", [row[0] for row in TABLE])
def test_no_known_option_reaches_the_file_system(name: str) -> None:
    assert parse_options((name,)).data == ""


@pytest.mark.parametrize(
    ("options", "flags", "cleared"),
    [
        ((), 0, 0),
        (("defaults",), 0, 0),
        (("ro", "nosuid"), f.MS_RDONLY | f.MS_NOSUID, 0),
        (("ro", "rw"), 0, f.MS_RDONLY),
        (("rw", "ro"), f.MS_RDONLY, 0),
        (("noatime", "atime"), 0, f.MS_NOATIME),
        (("bind",), f.MS_BIND, 0),
        (("rbind", "noexec"), f.MS_BIND | f.MS_REC | f.MS_NOEXEC, 0),
        (("async", "suid"), 0, f.MS_SYNCHRONOUS | f.MS_NOSUID),
    ],
)
def test_flags(options: tuple[str, ...], flags: int, cleared: int) -> None:
    parsed = parse_options(options)
    assert (parsed.flags, parsed.cleared) == (flags, cleared)


def test_every_negation_undoes_its_flag() -> None:
    alone = {f.MS_BIND, f.MS_BIND | f.MS_REC, f.MS_REMOUNT, f.MS_DIRSYNC}
    bits = {row[1] for row in TABLE if row[3] == FLAG and row[1]} - alone
    assert bits == {row[2] for row in TABLE if row[3] == FLAG and row[2]}


def test_propagation_keeps_its_order_and_is_no_flag() -> None:
    parsed = parse_options(("rshared", "ro", "private"))
    assert parsed.propagation == (f.MS_SHARED | f.MS_REC, f.MS_PRIVATE)
    assert parsed.flags == f.MS_RDONLY


@pytest.mark.parametrize(
    ("options", "attr_set", "attr_clr"),
    [
        (("rro",), f.MOUNT_ATTR_RDONLY, 0),
        (("rro", "rrw"), 0, f.MOUNT_ATTR_RDONLY),
        (("rrw", "rro"), f.MOUNT_ATTR_RDONLY, 0),
        (("rnoatime",), f.MOUNT_ATTR_NOATIME, f.MOUNT_ATTR__ATIME),
        (("rnoatime", "rstrictatime"), f.MOUNT_ATTR_STRICTATIME, f.MOUNT_ATTR__ATIME),
        (("rstrictatime", "rrelatime"), 0, f.MOUNT_ATTR__ATIME),
        (("rnodiratime", "ratime"), f.MOUNT_ATTR_NODIRATIME, f.MOUNT_ATTR__ATIME),
    ],
)
def test_recursive_attributes(options: tuple[str, ...], attr_set: int, attr_clr: int) -> None:
    parsed = parse_options(options)
    assert (parsed.attr_set, parsed.attr_clr, parsed.flags) == (attr_set, attr_clr, 0)


def test_unknown_options_are_data_in_order() -> None:
    parsed = parse_options(("size=64k", "nosuid", "", "mode=755", "newinstance"))
    assert parsed.data == "size=64k,mode=755,newinstance"
    assert parsed.text == "size=64k,nosuid,,mode=755,newinstance"


def test_crun_has_a_mapping_in_the_word() -> None:
    parsed = parse_options(("idmap=uids=0-1-2;gids=0-1-2", "ridmap=x", "idmapx=1", "rridmap"))
    assert parsed.extensions == ("idmap=uids=0-1-2;gids=0-1-2", "ridmap=x")
    assert parsed.data == "idmapx=1,rridmap"


def test_extensions() -> None:
    assert parse_options(("tmpcopyup", "ridmap")).extensions == ("tmpcopyup", "ridmap")
    words = ["tmpcopyup", "copy-symlink", "src-nofollow", "dest-nofollow", "idmap", "ridmap"]
    assert [row[0] for row in TABLE if row[3] == EXTENSION] == words


@pytest.mark.parametrize(
    ("flags", "attributes"),
    [
        (0, 0),
        (f.MS_RDONLY | f.MS_NODEV | f.MS_BIND | f.MS_REC, f.MOUNT_ATTR_RDONLY | f.MOUNT_ATTR_NODEV),
        (f.MS_NOATIME | f.MS_NODIRATIME, f.MOUNT_ATTR_NOATIME | f.MOUNT_ATTR_NODIRATIME),
        (f.MS_STRICTATIME, f.MOUNT_ATTR_STRICTATIME),
        (f.MS_RELATIME | f.MS_SYNCHRONOUS, 0),
        (f.MS_NOSYMFOLLOW | f.MS_NOSUID, f.MOUNT_ATTR_NOSYMFOLLOW | f.MOUNT_ATTR_NOSUID),
    ],
)
def test_mount_attributes(flags: int, attributes: int) -> None:
    assert mount_attributes(flags) == attributes
