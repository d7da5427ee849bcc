"""The root file system of a container without a mount namespace: mounts on the host, gone after delete.

config-linux.md, "Namespaces": a namespace that is not listed is the runtime's own.  So what the container has
mounted is mounted on the host, below two mounts on its root directory:

    shield  a plain bind of the directory, made private once it is attached: from then on no mount below it
            reaches the peers of the host's mounts.  It has no mounts below when they receive a copy of it, so
            theirs goes with ours.
    tree    on the shield: the directory with the mounts that were in it already, private; the container's root.

Detaching the two takes along everything mounted below, and nothing else.  They are recorded before they are
attached, so `delete` finds them whenever create ends.

User documentation: mount_namespaces(7), open_tree(2), umount(2).
"""

from __future__ import annotations

import errno

from ocirt import system as os
from ocirt.box import ROOT_PATH, ROOT_SHIELD, ROOT_TREE
from ocirt.cgroups.layout import lines_of, unescape
from ocirt.errors import ConfigError, OcirtError
from ocirt.kernel.flags import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    MNT_DETACH,
    MS_PRIVATE,
    OPEN_TREE_CLONE,
)
from ocirt.pipeline import Step
from ocirt.stages.namespaces import new_namespaces
from ocirt.stages.rootfs import open_root, root_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ocirt.box import Box
    from ocirt.config.views import Config


class CopyRoot(Step):
    """HOST: the two mounts, detached still: they end with their descriptors."""

    __slots__ = ("path",)

    def __init__(self, at: str, path: str) -> None:
        self.at = at
        self.path = path

    def describe(self) -> str:
        return f"copy the mount of the root file system {self.path}"

    def apply(self, box: Box) -> None:
        kernel = box.kernel
        directory = box.fds["root/directory"] = open_root(box, self.path)
        path = kernel.path_of(box.proc, directory)
        if path == "/":
            raise ConfigError("rule", "mounts on the runtime's own root need a mount namespace", self.at)
        shield = box.fds["root/shield"] = kernel.open_tree(directory, "", OPEN_TREE_CLONE | AT_EMPTY_PATH)
        box.root = kernel.open_tree(directory, "", OPEN_TREE_CLONE | AT_RECURSIVE | AT_EMPTY_PATH)
        for fd in (shield, box.root):
            kernel.mount_setattr(fd, "", AT_RECURSIVE, 0, 0, MS_PRIVATE)
        box.facts[ROOT_PATH] = path
        box.facts[ROOT_SHIELD] = mark_of(box, shield)
        box.facts[ROOT_TREE] = mark_of(box, box.root)


class AttachRoot(Step):
    """BESIDE, when they are recorded: attach the two mounts."""

    __slots__ = ()

    def __init__(self, at: str) -> None:
        self.at = at

    def describe(self) -> str:
        return "mount the root file system onto itself, on the host"

    def apply(self, box: Box) -> None:
        kernel = box.kernel
        shield = box.fds["root/shield"]
        kernel.move_mount(shield, "", box.fds["root/directory"], "")
        kernel.mount_setattr(shield, "", 0, 0, 0, MS_PRIVATE)  # below a shared mount it has become shared
        kernel.move_mount(box.root, "", shield, "")

    def undo(self, box: Box) -> None:
        unmount_root(box, [str(box.facts[name]) for name in (ROOT_PATH, ROOT_SHIELD, ROOT_TREE)])


def mark_of(box: Box, fd: int) -> str:
    """What tells a mount: its ID as mountinfo has it, and the one that no other mount will have until reboot."""
    return f"{box.kernel.mount_id(fd)[0]} {box.kernel.unique_mount_id(fd)}"


def unmount_root(box: Box, record: Sequence[str]) -> None:
    """Detach what AttachRoot attached, with all that is mounted below it; nothing when it is gone already.

    record: path and marks.  Raises OcirtError when others have mounted over it: theirs is not ours to unmount.
    """
    path, *marks = record
    while (top := _detach_top(box, path, marks)) in marks:
        pass
    hidden = {mark.split(" ")[0] for mark in marks} & _mounted_on(box, path) - {top.split(" ")[0]}
    if hidden:
        raise OcirtError(
            "step-failed",
            f"unmount {path}: another mount covers it",
            remedy=f"remove what was mounted there later (findmnt {path} shows it) and delete once more",
        )


def _detach_top(box: Box, path: str, marks: Sequence[str]) -> str:
    """The mark of the mount that path leads to, "" for no path; the mount is detached when it is one of marks."""
    kernel = box.kernel
    try:
        fd = kernel.openat(AT_FDCWD, path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        return ""
    try:
        mark = mark_of(box, fd)
        if mark in marks:
            # By descriptor: the path may lead elsewhere by now.
            kernel.umount2(f"/proc/self/fd/{fd}", MNT_DETACH)
        return mark
    finally:
        kernel.close(fd)


def _mounted_on(box: Box, path: str) -> set[str]:
    """The IDs of the mounts whose mount point is path."""
    mountinfo = box.kernel.read_file(box.proc, "self/mountinfo").decode("utf-8", "surrogateescape")
    fields = (line.split(" ", 5) for line in lines_of(mountinfo))
    return {field[0] for field in fields if unescape(field[4]) == path}


def copy_root(config: Config, bundle: str) -> Iterator[Step]:
    """HOST, where rootfs.mounts_on_host() holds.  Raises ConfigError."""
    if "user" in new_namespaces(config.linux):
        raise ConfigError("rule", "mounts in a new user namespace need a new mount namespace", "/linux/namespaces")
    yield CopyRoot("/root/path", root_path(config, bundle))


def attach_root() -> Iterator[Step]:
    """BESIDE, after the record is saved."""
    yield AttachRoot("/root/path")
