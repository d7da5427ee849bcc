"""linux.maskedPaths and linux.readonlyPaths: parts of /proc and /sys that a container may not read or write.

User documentation: config-linux.md, "Masked Paths" and "Readonly Paths".
"""

from __future__ import annotations

import _stat as stat  # the public module is Python: 0.1 ms
import errno

from ocirt import system as os
from ocirt.kernel.flags import (
    AT_EMPTY_PATH,
    AT_RECURSIVE,
    MOUNT_ATTR_RDONLY,
    MS_RDONLY,
    OPEN_TREE_CLONE,
)
from ocirt.pipeline import Step
from ocirt.stages.tmpcopyup import detached_tmpfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.box import Box
    from ocirt.config.views import Linux

# A tmpfs that cannot hold anything, even if it were written to.
_EMPTY = "nr_blocks=1,nr_inodes=1"


class MaskPath(Step):
    """Cover a file with the null device, a directory with an empty read-only tmpfs; a missing path is no error.

    The null device is the host's, taken along by OpenNull (rootfs.py); all directories share one tmpfs.
    data: of that tmpfs, as mount(2) takes it.
    """

    __slots__ = ("data", "path")

    def __init__(self, at: str, path: str) -> None:
        self.at = at
        self.path = path
        self.data = _EMPTY

    def describe(self) -> str:
        return f"mask {self.path}"

    def apply(self, box: Box) -> None:
        kernel = box.kernel
        target = open_existing(box, self.path)
        if target < 0:
            return
        try:
            directory = stat.S_ISDIR(kernel.fstat(target).st_mode)
            cover(box, "empty" if directory else "null", target, self.data)
        finally:
            kernel.close(target)


class ReadonlyPath(Step):
    """Make one path read-only by a bind onto itself; mounts below it stay as they are, as in runc."""

    __slots__ = ("path",)

    def __init__(self, at: str, path: str) -> None:
        self.at = at
        self.path = path

    def describe(self) -> str:
        return f"make {self.path} read-only"

    def apply(self, box: Box) -> None:
        kernel = box.kernel
        target = open_existing(box, self.path)
        if target < 0:
            return
        try:
            tree = kernel.open_tree(target, "", OPEN_TREE_CLONE | AT_RECURSIVE | AT_EMPTY_PATH)
            try:
                kernel.mount_setattr(tree, "", 0, MOUNT_ATTR_RDONLY, 0)
                kernel.move_mount(tree, "", target, "")
            finally:
                kernel.close(tree)
        finally:
            kernel.close(target)


class DropCovers(Step):
    """Close the descriptors of the covers."""

    __slots__ = ()

    def __init__(self) -> None:
        self.at = ""

    def describe(self) -> str:
        return "close what paths were masked with"

    def apply(self, box: Box) -> None:
        for name in ("null", "null/attached", "empty/attached"):
            fd = box.fds.pop(name, -1)
            if fd >= 0:
                box.kernel.close(fd)


def open_existing(box: Box, path: str) -> int:
    """The path in the container as an O_PATH descriptor, -1 when it does not exist."""
    try:
        fd: int = box.kernel.open_in_root(box.root, path, os.O_PATH)
        return fd
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return -1
        raise


def cover(box: Box, name: str, target: int, data: str) -> None:
    """Mount a cover, "null" or "empty" (a tmpfs with that data), on target: itself the first time, then copies.

    Before Linux 6.15 only a mount that is attached somewhere in our namespace can be copied.
    """
    kernel = box.kernel
    attached = f"{name}/attached"
    if attached not in box.fds:
        fd = box.fds.pop(name, -1)
        if fd < 0:
            fd = detached_tmpfs(box, "tmpfs", MS_RDONLY, data)
        box.fds[attached] = fd
        kernel.move_mount(fd, "", target, "")
        return
    copy = kernel.open_tree(box.fds[attached], "", OPEN_TREE_CLONE | AT_EMPTY_PATH)
    try:
        kernel.move_mount(copy, "", target, "")
    finally:
        kernel.close(copy)


def masks(linux: Linux | None) -> Iterator[Step]:
    """INIT, after the pivot: read-only paths, then masked paths."""
    if linux is None:
        return
    for number, path in enumerate(linux.readonly_paths):
        yield ReadonlyPath(f"{linux.at}/readonlyPaths/{number}", path)
    for number, path in enumerate(linux.masked_paths):
        yield MaskPath(f"{linux.at}/maskedPaths/{number}", path)
    if linux.masked_paths:
        yield DropCovers()
