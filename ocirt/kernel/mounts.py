"""System calls on mounts: the classic ones and the file-descriptor based ones of Linux 5.2 to 5.12.

Every function raises KernelError with the man-page name of the call and its arguments, flags by name.
"""

from __future__ import annotations

import _struct as struct  # built in; the public module is a file

from ocirt.kernel import ffi, numbers
from ocirt.kernel.flags import (
    AT_EMPTY_PATH,
    FSCONFIG_CMD_CREATE,
    FSCONFIG_SET_FLAG,
    FSCONFIG_SET_STRING,
    FSMOUNT_CLOEXEC,
    FSOPEN_CLOEXEC,
    MOVE_MOUNT_F_EMPTY_PATH,
    MOVE_MOUNT_T_EMPTY_PATH,
    OPEN_TREE_CLOEXEC,
    names,
)

# struct mount_attr of mount_setattr(2): attr_set, attr_clr, propagation, userns_fd.
_MOUNT_ATTR = struct.Struct("=QQQQ")


def mount(source: str, target: str, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2).  An empty data is NULL.

    The target is found by its text: only "/", "." (after fchdir to a verified descriptor) and host
    paths are safe ones.
    """
    ffi.syscall(
        "mount",
        numbers.mount,
        ffi.path(source),
        ffi.path(target),
        ffi.path(fstype),
        flags,
        ffi.path(data) if data else None,
        detail=lambda: f"{source!r} on {target!r}, type {fstype!r}, {names('MS_', flags)}, {data!r}",
    )


def umount2(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    ffi.syscall(
        "umount2", numbers.umount2, ffi.path(target), flags, detail=lambda: f"{target!r}, {names('MNT_', flags)}"
    )


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2).  (".", ".") is valid: the old root is then stacked on the new one."""
    ffi.syscall(
        "pivot_root",
        numbers.pivot_root,
        ffi.path(new_root),
        ffi.path(put_old),
        detail=f"{new_root!r}, old root to {put_old!r}",
    )


def open_tree(dirfd: int, path: str, flags: int) -> int:
    """open_tree(2), close-on-exec.  OPEN_TREE_CLONE: a detached copy of the mount.  Returns an O_PATH descriptor."""
    return ffi.syscall(
        "open_tree",
        numbers.open_tree,
        dirfd,
        ffi.path(path),
        flags | OPEN_TREE_CLOEXEC,
        detail=lambda: f"{path!r}, {flags:#x}",
    )


def move_mount(from_fd: int, from_path: str, to_fd: int, to_path: str, flags: int = 0) -> None:
    """move_mount(2).  An empty path means the descriptor itself, as if the *_EMPTY_PATH flag was given."""
    if not from_path:
        flags |= MOVE_MOUNT_F_EMPTY_PATH
    if not to_path:
        flags |= MOVE_MOUNT_T_EMPTY_PATH
    ffi.syscall(
        "move_mount",
        numbers.move_mount,
        from_fd,
        ffi.path(from_path),
        to_fd,
        ffi.path(to_path),
        flags,
        detail=lambda: f"{from_path!r} to {to_path!r}, {names('MOVE_MOUNT_', flags)}",
    )


def mount_setattr(
    dirfd: int, path: str, flags: int, attr_set: int, attr_clr: int, propagation: int = 0, userns_fd: int = -1
) -> None:
    """mount_setattr(2).  An empty path means dirfd itself.  propagation: one of MS_SHARED, MS_SLAVE, ..., or 0."""
    if not path:
        flags |= AT_EMPTY_PATH
    attr = _MOUNT_ATTR.pack(attr_set, attr_clr, propagation, max(userns_fd, 0))
    ffi.syscall(
        "mount_setattr",
        numbers.mount_setattr,
        dirfd,
        ffi.path(path),
        flags,
        attr,
        len(attr),
        detail=lambda: (
            f"set {names('MOUNT_ATTR_', attr_set)}, clear {names('MOUNT_ATTR_', attr_clr)},"
            f" propagation {names('MS_', propagation)}"
        ),
    )


def fsopen(fstype: str) -> int:
    """fsopen(2), close-on-exec: a context in which a file system is configured."""
    return ffi.syscall("fsopen", numbers.fsopen, ffi.path(fstype), FSOPEN_CLOEXEC, detail=fstype)


def fsconfig_string(fs_fd: int, key: str, value: str) -> None:
    """fsconfig(2), FSCONFIG_SET_STRING: the option key=value."""
    ffi.syscall(
        "fsconfig",
        numbers.fsconfig,
        fs_fd,
        FSCONFIG_SET_STRING,
        ffi.path(key),
        ffi.path(value),
        0,
        detail=f"{key}={value}",
    )


def fsconfig_flag(fs_fd: int, key: str) -> None:
    """fsconfig(2), FSCONFIG_SET_FLAG: the option key, which has no value."""
    ffi.syscall("fsconfig", numbers.fsconfig, fs_fd, FSCONFIG_SET_FLAG, ffi.path(key), None, 0, detail=key)


def fsconfig_create(fs_fd: int) -> None:
    """fsconfig(2), FSCONFIG_CMD_CREATE: make the superblock."""
    ffi.syscall("fsconfig", numbers.fsconfig, fs_fd, FSCONFIG_CMD_CREATE, None, None, 0, detail="create")


def fsmount(fs_fd: int, attributes: int = 0) -> int:
    """fsmount(2), close-on-exec: a detached mount of the configured file system, as an O_PATH descriptor."""
    return ffi.syscall(
        "fsmount",
        numbers.fsmount,
        fs_fd,
        FSMOUNT_CLOEXEC,
        attributes,
        detail=lambda: names("MOUNT_ATTR_", attributes),
    )
