"""The mount option tmpcopyup: a tmpfs that starts with what the image has at its target.

The tmpfs is filled while it is detached, so nobody sees it half full.

User documentation: tmpfs(5), fsmount(2).
"""

from __future__ import annotations

import _stat as stat  # the public module is Python: 0.1 ms

from ocirt import system as os
from ocirt.config.mountopts import mount_attributes
from ocirt.errors import KernelError
from ocirt.kernel.flags import MS_DIRSYNC, MS_LAZYTIME, MS_MANDLOCK, MS_SYNCHRONOUS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.box import Box

_BLOCK = 1 << 20  # bytes per read

# What mount(2) hands to the file system, by fsconfig(2)'s words; the others of MS_* are the mount's.
_SUPERBLOCK = ((MS_SYNCHRONOUS, "sync"), (MS_DIRSYNC, "dirsync"), (MS_LAZYTIME, "lazytime"), (MS_MANDLOCK, "mand"))


def mount_with_copy(box: Box, target: int, source: str, flags: int, data: str) -> int:
    """Mount a tmpfs on the directory `target` with a copy of its content.  Returns the mount's root."""
    kernel = box.kernel
    tmpfs: int = detached_tmpfs(box, source, flags, data)
    try:
        origin = kernel.reopen(box.proc, target, os.O_RDONLY | os.O_DIRECTORY)
        place = kernel.reopen(box.proc, tmpfs, os.O_RDONLY | os.O_DIRECTORY)
        try:
            status = os.fstat(origin)
            os.fchown(place, status.st_uid, status.st_gid)
            copy_directory(origin, place)
        except OSError as error:
            raise KernelError(error.errno or 0, error.strerror or "", "copy", str(error.filename or "")) from None
        finally:
            kernel.close(origin)
            kernel.close(place)
        kernel.move_mount(tmpfs, "", target, "")
    except OSError:
        kernel.close(tmpfs)
        raise
    return tmpfs


def detached_tmpfs(box: Box, source: str, flags: int, data: str) -> int:
    """A new tmpfs that is mounted nowhere yet.  flags: MS_*; data: tmpfs(5) options, as mount(2) takes them."""
    kernel = box.kernel
    context = kernel.fsopen("tmpfs")
    try:
        kernel.fsconfig_string(context, "source", source)
        for flag, word in _SUPERBLOCK:
            if flags & flag:
                kernel.fsconfig_flag(context, word)
        for option in split_options(data):
            key, equals, value = option.partition("=")
            if equals:
                kernel.fsconfig_string(context, key, value.strip('"'))  # quotes are for the commas of one string
            else:
                kernel.fsconfig_flag(context, key)
        kernel.fsconfig_create(context)
        mount: int = kernel.fsmount(context, mount_attributes(flags))
        return mount
    finally:
        kernel.close(context)


def split_options(data: str) -> list[str]:
    """The options in data.  A comma before a digit belongs to a list, mpol=bind:0,2 (tmpfs(5)), one between quotes
    to a label, context="u:r:t:s0:c1,c2" (mount(8))."""
    options: list[str] = []
    for part in data.split(",") if data else ():
        if options and (part[:1].isdigit() or options[-1].count('"') == 1):
            options[-1] += f",{part}"
        else:
            options.append(part)
    return options


def copy_directory(origin: int, place: int) -> None:
    """Copy the content of one open directory into another: files, directories, links and nodes.

    Owner, mode, times and extended attributes go along.  Nothing is followed.
    """
    for name in os.listdir(origin):
        status = os.stat(name, dir_fd=origin, follow_symlinks=False)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            _copy_subdirectory(origin, place, name)
        elif kind == stat.S_IFREG:
            _copy_file(origin, place, name)
        elif kind == stat.S_IFLNK:
            os.symlink(os.readlink(name, dir_fd=origin), name, dir_fd=place)
        else:
            os.mknod(name, kind | 0o600, status.st_rdev, dir_fd=place)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=place, follow_symlinks=False)
        if kind != stat.S_IFLNK:  # after chown, which takes set-user-ID bits away
            os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=place)
        os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=place, follow_symlinks=False)


def _copy_subdirectory(origin: int, place: int, name: str) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    os.mkdir(name, 0o700, dir_fd=place)
    source = os.open(name, flags, dir_fd=origin)
    try:
        copy = os.open(name, flags, dir_fd=place)
        try:
            _copy_attributes(source, copy)
            copy_directory(source, copy)
        finally:
            os.close(copy)
    finally:
        os.close(source)


def _copy_file(origin: int, place: int, name: str) -> None:
    # O_NONBLOCK: should somebody put a FIFO there meanwhile, we do not wait for its writer.
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=origin)
    try:
        copy = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=place)
        try:
            while block := os.read(source, _BLOCK):
                while block:
                    block = block[os.write(copy, block) :]
            _copy_attributes(source, copy)
        finally:
            os.close(copy)
    finally:
        os.close(source)


def _copy_attributes(source: int, copy: int) -> None:
    """Extended attributes that a tmpfs and our rights allow; others are no reason to fail."""
    try:
        names = os.listxattr(source)
    except OSError:
        return
    for name in names:
        try:
            os.setxattr(copy, name, os.getxattr(source, name))
        except OSError:
            continue
