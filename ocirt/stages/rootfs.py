"""The root file system: made a mount of its own, entered by pivot_root, closed to writing at the end.

User documentation: mount_namespaces(7), pivot_root(2); config.md, "Root" and "Rootfs Mount Propagation".
"""

from __future__ import annotations

import _stat as stat  # the public module is Python: 0.1 ms
import errno

from ocirt import system as os
from ocirt.config.mountopts import parse_options
from ocirt.errors import ConfigError, KernelError, OcirtError
from ocirt.kernel.flags import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
    OPEN_TREE_CLONE,
    names,
)
from ocirt.pipeline import Step
from ocirt.stages.mounts import read_only_late
from ocirt.stages.namespaces import has_namespace
from ocirt.stages.targets import clean
from ocirt.stages.umask import UMASK, SetUmask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.box import Box
    from ocirt.config.views import Config

PROPAGATION = {
    "": MS_SLAVE | MS_REC,
    "private": MS_PRIVATE,
    "rprivate": MS_PRIVATE | MS_REC,
    "slave": MS_SLAVE,
    "rslave": MS_SLAVE | MS_REC,
    "shared": MS_SHARED,
    "rshared": MS_SHARED | MS_REC,
    "unbindable": MS_UNBINDABLE,
    "runbindable": MS_UNBINDABLE | MS_REC,
}

NULL_DEVICE = os.makedev(1, 3)

# With which no mount is left that is shared, and hands on what is mounted on it.
UNSHARED = (MS_SLAVE | MS_REC, MS_PRIVATE | MS_REC)


class SetPropagation(Step):
    """The propagation of "/": of the host's mounts before the pivot, of the container's root after it."""

    __slots__ = ("flags",)

    def __init__(self, at: str, flags: int) -> None:
        self.at = at
        self.flags = flags

    def describe(self) -> str:
        return f"set the propagation of / to {names('MS_', self.flags)}"

    def apply(self, box: Box) -> None:
        box.kernel.mount("", "/", "", self.flags)


class OpenRoot(Step):
    """Open the root file system where nothing will be mounted in it."""

    __slots__ = ("path",)

    def __init__(self, at: str, path: str) -> None:
        self.at = at
        self.path = path

    def describe(self) -> str:
        return f"open the root file system {self.path}"

    def apply(self, box: Box) -> None:
        box.root = open_root(box, self.path)


class BindRoot(OpenRoot):
    """Make the root file system a private mount, as pivot_root demands, below one that is not shared.

    unshared: nothing is, since "/" with all below it was made slave or private.
    """

    __slots__ = ("unshared",)

    def __init__(self, at: str, path: str, unshared: bool) -> None:
        super().__init__(at, path)
        self.unshared = unshared

    def describe(self) -> str:
        return f"bind the root file system {self.path} onto itself"

    def apply(self, box: Box) -> None:
        kernel = box.kernel
        directory = open_root(box, self.path)
        try:
            if not self.unshared:
                # The path without symbolic links: its parents are searched for the mount that it is on.
                make_parent_private(box, kernel.path_of(box.proc, directory))
            box.root = kernel.open_tree(directory, "", OPEN_TREE_CLONE | AT_RECURSIVE | AT_EMPTY_PATH)
            if self.unshared:
                kernel.mount_setattr(box.root, "", 0, 0, 0, MS_PRIVATE)
            kernel.move_mount(box.root, "", directory, "")
        finally:
            kernel.close(directory)


def open_root(box: Box, path: str) -> int:
    """The root directory as an O_PATH descriptor.  Raises OcirtError."""
    try:
        fd: int = box.kernel.openat(AT_FDCWD, path, os.O_PATH | os.O_DIRECTORY)
        return fd
    except KernelError as error:
        what = f'invalid rootfs "{path}"'
        raise OcirtError("step-failed", what, call=error.call, errno=error.errno or 0, detail=error.detail) from None


def make_parent_private(box: Box, path: str) -> None:
    """pivot_root refuses a root whose parent mount is shared; EINVAL says that path is no mount point."""
    while True:
        try:
            box.kernel.mount("", path, "", MS_PRIVATE)
            return
        except OSError as error:
            if error.errno != errno.EINVAL or path == "/":
                raise
        path = path.rpartition("/")[0] or "/"


class OpenNull(Step):
    """Take the host's /dev/null along, for masking: the container's may be something else (CVE-2025-31133)."""

    __slots__ = ()

    def __init__(self, at: str) -> None:
        self.at = at

    def describe(self) -> str:
        return "take a copy of the mount of the host's /dev/null"

    def apply(self, box: Box) -> None:
        fd = box.kernel.open_tree(AT_FDCWD, "/dev/null", OPEN_TREE_CLONE)
        box.fds["null"] = fd
        box.kernel.mount_setattr(fd, "", 0, 0, 0, MS_PRIVATE)
        if not is_null(box, fd):
            raise OcirtError("unsupported", "the host's /dev/null is not the null device (character device 1:3)")


def is_null(box: Box, fd: int) -> bool:
    status = box.kernel.fstat(fd)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == NULL_DEVICE


class SetReadonly(Step):
    """Make one mount read-only, after everything in it has been made."""

    __slots__ = ("path",)

    def __init__(self, at: str, path: str) -> None:
        self.at = at
        self.path = path

    def describe(self) -> str:
        return f"make {self.path} read-only"

    def apply(self, box: Box) -> None:
        kernel = box.kernel
        if self.path == "/":
            kernel.mount_setattr(box.root, "", 0, MOUNT_ATTR_RDONLY, 0)
            return
        fd = kernel.open_in_root(box.root, self.path, os.O_PATH)
        try:
            kernel.mount_setattr(fd, "", 0, MOUNT_ATTR_RDONLY, 0)
        finally:
            kernel.close(fd)


def has_mount_namespace(config: Config) -> bool:
    return has_namespace(config.linux, "mount")


def mounts_on_host(config: Config) -> bool:
    """Whether mounts of the container are made in the runtime's own mount namespace; see root_mount.py."""
    if config.root is None or has_mount_namespace(config):
        return False
    linux, process = config.linux, config.process
    of_linux = linux and (linux.masked_paths or linux.readonly_paths or linux.rootfs_propagation)
    return bool(config.mounts or config.root.readonly or of_linux or (process and process.terminal))


def root_path(config: Config, bundle: str) -> str:
    """The root directory as an absolute path of the host.  Raises ConfigError."""
    root = config.root
    if root is None:
        raise ConfigError("rule", "root is required", "/root")
    return root.path if root.path.startswith("/") else f"{bundle}/{root.path}"


def propagation(config: Config) -> int:
    """The MS_* flags of linux.rootfsPropagation.  Raises ConfigError."""
    value = (config.linux and config.linux.rootfs_propagation) or ""
    if value not in PROPAGATION:
        raise ConfigError("rule", f"rootfsPropagation={value} is not supported", "/linux/rootfsPropagation")
    return PROPAGATION[value]


def prepare_root(config: Config, bundle: str, no_pivot: bool = False) -> Iterator[Step]:
    """INIT, before the mounts: box.root becomes a descriptor of the root file system, as a mount of its own.

    Without a mount namespace of the container's own it is one already (root_mount.py), unless nothing will be
    mounted.  Raises ConfigError.
    """
    path = root_path(config, bundle)
    flags = propagation(config)
    yield SetUmask("", UMASK)
    if config.linux and config.linux.masked_paths:
        yield OpenNull("/linux/maskedPaths")  # an unbindable mount could not be copied any more
    if not has_mount_namespace(config):
        if not mounts_on_host(config):
            yield OpenRoot("/root/path", path)
        return
    if no_pivot and config.linux and config.linux.rootfs_propagation and flags & MS_PRIVATE:
        what = "rootfsPropagation of [r]private is not safe without pivot_root"
        raise ConfigError("rule", what, "/linux/rootfsPropagation")
    yield SetPropagation("/linux/rootfsPropagation" if flags != PROPAGATION[""] else "", flags)
    yield BindRoot("/root/path", path, flags in UNSHARED)


def finish_root(config: Config) -> Iterator[Step]:
    """INIT, after the pivot: what was to be read-only but had to be written to until now."""
    for mount in config.mounts:
        if not read_only_late(mount.type or "", mount.destination):
            continue
        options = parse_options(mount.options)
        kind = "" if options.bind else mount.type or ""
        read_only = options.flags & MS_RDONLY or options.attr_set & MOUNT_ATTR_RDONLY
        if read_only and read_only_late(kind, mount.destination):
            yield SetReadonly(mount.at, clean(mount.destination))
    if config.root is not None and config.root.readonly:
        yield SetReadonly("/root/readonly", "/")
