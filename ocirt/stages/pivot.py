"""Entering the root file system: pivot_root, or what stands in for it.

User documentation: pivot_root(2), chroot(2), mount_namespaces(7).
"""

from __future__ import annotations

import errno

from ocirt import system as os
from ocirt.cgroups.layout import lines_of, unescape
from ocirt.kernel.flags import AT_FDCWD, MNT_DETACH, MS_MOVE, MS_REC, MS_SHARED, MS_SLAVE, MS_UNBINDABLE
from ocirt.pipeline import Step
from ocirt.stages.rootfs import SetPropagation, has_mount_namespace, is_null, propagation
from ocirt.stages.targets import is_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.box import Box
    from ocirt.config.views import Config


class PivotRoot(Step):
    """The root file system becomes "/", and the host's is unmounted: pivot_root(2)."""

    __slots__ = ()

    def __init__(self, at: str) -> None:
        self.at = at

    def describe(self) -> str:
        return "pivot_root into the root file system and detach the old root"

    def apply(self, box: Box) -> None:
        kernel = box.kernel
        old_root = kernel.openat(AT_FDCWD, "/", os.O_PATH | os.O_DIRECTORY)
        try:
            kernel.fchdir(box.root)
            kernel.pivot_root(".", ".")
            kernel.fchdir(old_root)
            # A shared old root would take the host's mounts with it when it is detached.
            kernel.mount("", ".", "", MS_SLAVE | MS_REC)
            kernel.umount2(".", MNT_DETACH)
            kernel.chdir("/")
        finally:
            kernel.close(old_root)


class MoveRoot(Step):
    """--no-pivot, for a host whose root is a ramfs: pivot_root(2) cannot work there."""

    __slots__ = ()

    def __init__(self, at: str) -> None:
        self.at = at

    def describe(self) -> str:
        return "move the root file system to / and chroot into it"

    def apply(self, box: Box) -> None:
        kernel = box.kernel
        root = kernel.path_of(box.proc, box.root)
        mountinfo = kernel.read_file(box.proc, "self/mountinfo").decode("utf-8", "surrogateescape")
        for path in kernel_mount_points(mountinfo, root):
            hide(box, path)
        kernel.fchdir(box.root)
        kernel.mount(".", "/", "", MS_MOVE)
        kernel.chroot(".")
        kernel.chdir("/")


def kernel_mount_points(mountinfo: str, root: str) -> list[str]:
    """Mount points of procfs and sysfs outside root, deepest first.

    After chroot a process with CAP_SYS_CHROOT can reach them: they are without masks.
    """
    found = []
    for line in lines_of(mountinfo):
        before, _, after = line.partition(" - ")
        path = unescape(before.split(" ")[4])
        if after.split(" ")[0] in ("proc", "sysfs") and not is_below(path, root):
            found.append(path)
    return sorted(found, key=len, reverse=True)


def hide(box: Box, path: str) -> None:
    """Unmount a host's mount in our own namespace, or cover it where we may not (in a user namespace)."""
    kernel = box.kernel
    kernel.mount("", path, "", MS_SLAVE | MS_REC)
    try:
        kernel.umount2(path, MNT_DETACH)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EPERM):
            raise
        kernel.mount("tmpfs", path, "tmpfs")


class ChangeRoot(Step):
    """For --no-pivot and without a mount namespace: chroot(2)."""

    __slots__ = ()

    def __init__(self, at: str) -> None:
        self.at = at

    def describe(self) -> str:
        return "chroot into the root file system"

    def apply(self, box: Box) -> None:
        box.kernel.fchdir(box.root)
        box.kernel.chroot(".")
        box.kernel.chdir("/")


class ReopenNull(Step):
    """Standard streams on the host's /dev/null are a way to the host's /dev: put them on the container's.

    The container's is only taken when it really is the null device (CVE-2026-88265).
    """

    __slots__ = ()

    def __init__(self) -> None:
        self.at = ""

    def describe(self) -> str:
        return "reopen standard streams that are /dev/null"

    def apply(self, box: Box) -> None:
        kernel = box.kernel
        streams = [fd for fd in (0, 1, 2) if is_open_null(box, fd)]
        null = open_container_null(box) if streams else -1
        if null < 0:
            return
        try:
            if is_null(box, null):
                reopened = kernel.reopen(box.proc, null, os.O_RDWR)
                for fd in streams:
                    kernel.dup2(reopened, fd)
                kernel.close(reopened)
        finally:
            kernel.close(null)


def is_open_null(box: Box, fd: int) -> bool:
    """The caller may have closed a standard stream."""
    try:
        return is_null(box, fd)
    except OSError:
        return False


def open_container_null(box: Box) -> int:
    """An O_PATH descriptor of /dev/null, -1 when there is none that can be reached without a link."""
    try:
        fd: int = box.kernel.open_in_root(box.root, "dev/null", os.O_PATH | os.O_NOFOLLOW, symlinks=False)
        return fd
    except OSError:
        return -1


def pivot(config: Config, no_pivot: bool = False) -> Iterator[Step]:
    """INIT, after the mounts and the createContainer hooks: the root file system becomes "/"."""
    if not has_mount_namespace(config):
        yield ChangeRoot("/root")
    elif no_pivot:
        yield MoveRoot("/root")
    else:
        yield PivotRoot("/root")
    yield ReopenNull()


def root_propagation(config: Config) -> Iterator[Step]:
    """INIT, after the last mount in the container: an unbindable one could not be copied any more.

    Slave and private the root's mounts are already (prepare_root).
    """
    if propagation(config) & (MS_SHARED | MS_UNBINDABLE):
        yield SetPropagation("/linux/rootfsPropagation", propagation(config))
