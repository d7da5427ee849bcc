"""Bind mounts: a copy of a mount, made from a descriptor of the source, attached to a descriptor of the target.

User documentation: open_tree(2), move_mount(2), mount_setattr(2); mount(8), "Bind mount operation".
"""

from __future__ import annotations

import _stat as stat  # the public module is Python: 0.1 ms
import errno

from ocirt.config.mountopts import ATIME_FLAGS, mount_attributes
from ocirt.errors import KernelError, OcirtError
from ocirt.kernel.flags import (
    AT_FDCWD,
    AT_RECURSIVE,
    AT_SYMLINK_NOFOLLOW,
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MS_BIND,
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REC,
    MS_RELATIME,
    MS_SLAVE,
    MS_STRICTATIME,
    OPEN_TREE_CLONE,
    names,
)
from ocirt.pipeline import Step
from ocirt.stages.targets import PROC_SUPER_MAGIC, MountStep, check_place, place_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.box import Box
    from ocirt.config.mountopts import MountOptions

# What a bind without the option loses, once any option is given (mount(8)).
_PLAIN = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSYMFOLLOW

# What a less privileged user namespace may not take back (mount_namespaces(7), "locked").
_LOCKABLE = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC

_ST_RELATIME = 4096  # in statvfs(3); the other flags have the values of MS_*


class OpenSource(Step):
    """Host: copy the mount of a bind's source, in the place where its path can be walked.

    The copy receives the host's mounts but sends none, as if it had come with the mount namespace.
    Without CAP_SYS_ADMIN on the host nothing is done: init then tries by itself.

    how: flags of open_tree(2), see tree_flags.
    """

    __slots__ = ("how", "name", "source")

    def __init__(self, at: str, name: str, source: str, how: int) -> None:
        self.at = at
        self.name = name
        self.source = source
        self.how = how

    def describe(self) -> str:
        return f"open the bind source {self.source}"

    def apply(self, box: Box) -> None:
        kernel = box.kernel
        try:
            fd = kernel.open_tree(AT_FDCWD, self.source, self.how)
        except OSError as error:
            if error.errno == errno.EPERM:
                return
            raise
        box.fds[self.name] = fd
        kernel.mount_setattr(fd, "", AT_RECURSIVE, 0, 0, MS_SLAVE)

    def undo(self, box: Box) -> None:
        close_named(box, self.name)


def tree_flags(options: MountOptions) -> int:
    """open_tree(2)'s flags for the copy of a bind's source.  src-nofollow: of a link it is the link that is copied."""
    recursive = AT_RECURSIVE if options.flags & MS_REC else 0
    return OPEN_TREE_CLONE | recursive | (AT_SYMLINK_NOFOLLOW if "src-nofollow" in options.extensions else 0)


def close_named(box: Box, name: str) -> None:
    """Close and forget box.fds[name]; nothing when it is not there."""
    fd = box.fds.pop(name, -1)
    if fd >= 0:
        box.kernel.close(fd)


class CloseDescriptors(Step):
    """Close what has served its purpose.  names: keys in box.fds, as far as they are there.  what: they, in words."""

    __slots__ = ("names", "what")

    def __init__(self, names: tuple[str, ...], what: str) -> None:
        self.at = ""
        self.names = names
        self.what = what

    def describe(self) -> str:
        return f"close {self.what}"

    def apply(self, box: Box) -> None:
        for name in self.names:
            close_named(box, name)


class Bind(MountStep):
    """Bind a file or directory of the host.  name: key in box.fds, where the runtime may have opened the source."""

    __slots__ = ("cleared", "flags", "how", "name")

    def __init__(self, at: str, source: str, target: str, options: MountOptions, name: str) -> None:
        super().__init__(at, source, target, options)
        # /dev is made read-only at the end, see finish_root: nodes and links are still to be made in it.
        self.flags = options.flags & ~MS_RDONLY if target == "/dev" else options.flags
        self.cleared = options.cleared
        self.how = tree_flags(options)
        self.name = name

    def describe(self) -> str:
        return f"bind {self.source} on {self.target}{self.words}"

    def attach(self, box: Box) -> None:
        kernel = box.kernel
        tree = self._open_source(box)
        try:
            directory = stat.S_ISDIR(kernel.fstat(tree).st_mode)
            target = self.open_target(box, directory)
            try:
                check_place(place_in_root(box, target), kernel.statfs_type(tree) == PROC_SUPER_MAGIC)
                self._set_flags(box, tree)
                self.set_attributes(box, tree)
                self._move(box, tree, target, directory)
                place_in_root(box, tree)
            finally:
                kernel.close(target)
            self.set_propagation(box, tree)
        finally:
            kernel.close(tree)

    def open_target(self, box: Box, directory: bool) -> int:
        """The place to mount on, made when it is missing: a directory or a file."""
        mode = 0o755 if directory else 0o644
        target: int = box.kernel.make_in_root(box.root, self.target, mode, directory=directory)[0]
        return target

    def _move(self, box: Box, tree: int, target: int, directory: bool) -> None:
        """move_mount(2) says EINVAL where mount(2) says ENOTDIR, which engines have a hint for."""
        try:
            box.kernel.move_mount(tree, "", target, "")
        except KernelError as error:
            if error.errno != errno.EINVAL or stat.S_ISDIR(box.kernel.fstat(target).st_mode) == directory:
                raise
            kinds = ("a directory", "a file") if directory else ("a file", "a directory")
            what = f"the source is {kinds[0]}, the destination {kinds[1]}: not a directory"
            raise OcirtError("step-failed", what, call=error.call, errno=errno.ENOTDIR, detail=error.detail) from None

    def _open_source(self, box: Box) -> int:
        fd = box.fds.pop(self.name, -1)
        if fd < 0:
            fd = box.kernel.open_tree(AT_FDCWD, self.source, self.how)
        return fd

    def _set_flags(self, box: Box, tree: int) -> None:
        """Of the top mount only.  Without any option the source's own attributes stay."""
        if not self.flags & ~(MS_BIND | MS_REC) and not self.cleared:
            return
        attr_set = mount_attributes(self.flags)
        attr_clr = _PLAIN & ~attr_set
        if self.flags & (ATIME_FLAGS | MS_NODIRATIME):
            attr_clr |= MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME & ~attr_set
        try:
            box.kernel.mount_setattr(tree, "", 0, attr_set, attr_clr)
        except OSError as error:
            if error.errno != errno.EPERM:
                raise
            kept = self._locked(box, tree)
            box.kernel.mount_setattr(tree, "", 0, attr_set, attr_clr & _PLAIN & ~mount_attributes(kept))

    def _locked(self, box: Box, tree: int) -> int:
        """The MS_* flags of the source that stay, because they are locked.  Raises OcirtError when that is unwanted."""
        own = box.kernel.fstatvfs(tree).f_flag
        kept: int = own & _LOCKABLE
        if kept & self.cleared:
            raise OcirtError("step-failed", f"cannot clear locked flags {names('MS_', kept & self.cleared)}")
        atime = own & (MS_NOATIME | MS_NODIRATIME) | (MS_RELATIME if own & _ST_RELATIME else 0)
        atime = atime or MS_STRICTATIME
        wanted = self.flags & (ATIME_FLAGS | MS_NODIRATIME)
        if wanted and wanted != atime:
            raise OcirtError("step-failed", f"cannot change locked atime flags {names('MS_', atime)}")
        return kept


def bind_sysfs(box: Box, target: int, flags: int) -> int:
    """The host's /sys, read-only with all below it, in place of a new sysfs.  Returns the root of the bind.

    flags: the MS_* flags of the mount.
    """
    kernel = box.kernel
    tree: int = kernel.open_tree(AT_FDCWD, "/sys", OPEN_TREE_CLONE | AT_RECURSIVE)
    kernel.mount_setattr(tree, "", AT_RECURSIVE, MOUNT_ATTR_RDONLY | mount_attributes(flags) & _PLAIN, 0)
    kernel.move_mount(tree, "", target, "")
    return tree
