"""Which mounts CRIU is told of."""

from __future__ import annotations

from ocirt.criu.mounts import Outside, at_checkpoint, at_restore, below, not_understood, parse_mountinfo

MOUNTINFO = r"""620 500 8:1 /b/rootfs / rw,relatime master:1 - ext4 /dev/sda1 rw
621 620 0:50 / /proc rw - proc proc rw
622 620 0:51 / /dev rw - tmpfs tmpfs rw,mode=755
623 620 8:1 /data /with\040blank rw master:1 - ext4 /dev/sda1 rw
624 623 8:2 / /with\040blank/usb rw master:9 - vfat /dev/sdb rw
625 621 0:5 /null /proc/kcore rw - devtmpfs udev rw
626 621 0:52 / /sys/firmware ro - tmpfs tmpfs ro
"""
MASKS = [Outside(path, "/dev/null", "/dev/null") for path in ("/proc/kcore", "/proc/keys", "/sys/firmware")]
BIND = Outside("/with blank", "/data")


def test_the_lines_of_mountinfo() -> None:
    mounts = parse_mountinfo(MOUNTINFO)
    assert [mount.number for mount in mounts] == list(range(620, 627))
    bind = mounts[3]
    assert (bind.root, bind.point, bind.fstype) == ("/data", "/with blank", "ext4")


def test_at_checkpoint_what_is_mounted_is_told_by_its_place() -> None:
    told = at_checkpoint([BIND, *MASKS, Outside("/gone", "/x")], parse_mountinfo(MOUNTINFO))
    assert told == ["mnt[/with blank]:/with blank", "mnt[/proc/kcore]:/dev/null"]


def test_at_restore_everything_by_its_name_and_source() -> None:
    assert at_restore([BIND, *MASKS]) == ["mnt[/with blank]:/data", "mnt[/dev/null]:/dev/null"]


def test_what_criu_cannot_make() -> None:
    strange = not_understood([BIND, *MASKS], parse_mountinfo(MOUNTINFO))
    assert [(mount.fstype, mount.point) for mount in strange] == [("vfat", "/with blank/usb")]


def test_below() -> None:
    points = ["/", "/a", "/ab", "/a/b", "/a/b/c", "/a/b"]
    assert below("/a", points) == ["/b", "/b/c"]
    assert below("/", points) == ["/", "/a", "/a/b", "/a/b/c", "/ab"]
    assert below("/a/", points) == ["/b", "/b/c"]


def test_only_a_newline_ends_a_line_of_mountinfo() -> None:
    text = "1 0 0:1 / /a\fb\u2028c rw - tmpfs none rw\n2 1 0:2 / /d rw - proc proc rw\n"
    assert [(line.number, line.point) for line in parse_mountinfo(text)] == [(1, "/a\fb\u2028c"), (2, "/d")]
