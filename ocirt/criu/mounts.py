"""The mounts of a container that come from outside of it: CRIU must be told of each, or it cannot place it.

At checkpoint a mount is told by its mount point in the container, at restore by the name it was given then and the
place on the host where it is now.  The names are runc's: the mount point, and /dev/null for everything masked.
Source: criu(8), --external mnt[].
"""

from __future__ import annotations

from ocirt.cgroups.layout import lines_of, unescape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = "/dev/null"
# What CRIU makes anew by itself, with what is in it where that is in memory (its table of file systems).
KNOWN = frozenset(
    (
        "binfmt_misc",
        "cgroup",
        "cgroup2",
        "debugfs",
        "devpts",
        "devtmpfs",
        "fusectl",
        "hugetlbfs",
        "mqueue",
        "proc",
        "pstore",
        "rpc_pipefs",
        "securityfs",
        "sysfs",
        "tmpfs",
        "tracefs",
    )
)


class MountLine:
    """A line of mountinfo.  number: the mount's id.  root: the part of its file system that it shows.  point: where."""

    __slots__ = ("fstype", "number", "point", "root")

    def __init__(self, line: str) -> None:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        self.number = int(fields[0])
        self.root = unescape(fields[3])
        self.point = unescape(fields[4])
        self.fstype = after.partition(" ")[0]


def parse_mountinfo(text: str) -> list[MountLine]:
    """proc_pid_mountinfo(5), in its order."""
    return [MountLine(line) for line in lines_of(text)]


class Outside:
    """What comes from outside.  point: in the container.  source: on the host.  name: in the images."""

    __slots__ = ("name", "point", "source")

    def __init__(self, point: str, source: str, name: str = "") -> None:
        self.point = point
        self.source = source
        self.name = name or point


def below(directory: str, points: Iterable[str]) -> list[str]:
    """Those of the mount points that lie below the directory, as "/rest"."""
    prefix = directory.rstrip("/")
    return sorted({point[len(prefix) :] for point in points if point.startswith(f"{prefix}/")})


def at_checkpoint(outside: Iterable[Outside], mounted: Iterable[MountLine]) -> list[str]:
    """Values of CRIU's option external: of what is mounted.  A masked directory has a tmpfs of the container's own."""
    roots = {mount.point: mount.root for mount in mounted}
    found = {
        each.point: each.name
        for each in outside
        if each.point in roots and (each.name != MASK or roots[each.point] != "/")
    }
    return [f"mnt[{point}]:{name}" for point, name in found.items()]


def at_restore(outside: Iterable[Outside]) -> list[str]:
    """Values of CRIU's option external: of all that may be in the images."""
    found = {each.name: MASK if each.name == MASK else each.source for each in outside}
    return [f"mnt[{name}]:{source}" for name, source in found.items()]


def not_understood(outside: Iterable[Outside], mounted: Iterable[MountLine]) -> list[MountLine]:
    """Mounts that are neither from outside nor of a kind that CRIU makes by itself; the root is CRIU's own business."""
    known = {"/", *(each.point for each in outside)}
    return [mount for mount in mounted if mount.point not in known and mount.fstype not in KNOWN]
