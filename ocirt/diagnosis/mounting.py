"""Why a mount failed: which end is not there or of the wrong type, which file system, which option.

Sources are the host's, named by who wrote the bundle; targets lie in the image, and are looked at by descriptor in the
mount namespace of init.  To learn which option a file system refuses it is asked once more, by fsopen(2) and
fsconfig(2), which mount nothing.
"""

from __future__ import annotations

import _stat as stat
import errno

from ocirt import system as os
from ocirt.diagnosis.places import Walk, close_walk, kind_of, missing, mount_of, shown, walk
from ocirt.kernel import files as kernel
from ocirt.kernel import mounts
from ocirt.stages.binds import Bind, OpenSource
from ocirt.stages.idmap import OpenMappedSource
from ocirt.stages.mounts import Mount
from ocirt.stages.rootfs import OpenRoot
from ocirt.stages.targets import MountStep
from ocirt.stages.tmpcopyup import split_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.errors import OcirtError
    from ocirt.pipeline import Step

MESSAGE = 4096  # bytes of what a file system says
OVERLAY_DIRECTORIES = ("lowerdir", "upperdir", "workdir")
WORDS_NOT_TYPES = ("bind", "rbind")
NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def cause(error: OcirtError, step: Step | None, proc: int, pid: int, root_path: str) -> str:
    """Cause and remedy in one sentence, "" when not known.  Raises OSError.

    pid: of init, 0 when it was not born; root_path: the root file system as a path of the host, "" when not known.
    """
    if isinstance(step, OpenRoot) and error.errno in NOT_THERE:
        return _host_path(step.path, "correct root.path, which is relative to the bundle")
    if isinstance(step, OpenMappedSource) and error.errno == errno.EINVAL:
        return _not_mappable(step.source, proc)
    if isinstance(step, (OpenSource, Bind)) and error.call == "open_tree" and error.errno in NOT_THERE:
        return _host_path(step.source, "make it on the host, or correct the mount's source")
    if isinstance(step, Mount) and error.call == "mount":
        text = _refused(step, error.errno)
        if text:
            return text
    if isinstance(step, MountStep) and error.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
        return _target(step, proc, pid, root_path)
    return ""


def _refused(step: Mount, number: int) -> str:
    """mount(2) itself failed."""
    if number == errno.ENODEV:
        return unknown_type(step.fstype)
    if number == errno.EINVAL:
        return _option(step.fstype, step.data)
    if number == errno.ENOENT:
        return _missing_part(step)
    if number == errno.ENOTBLK:
        return _not_a_disk(step)
    return ""


def _host_path(path: str, remedy: str) -> str:
    """What of a path of the host is not there."""
    found = _walk_host(path)
    try:
        text = missing(found)
        if not text and not found.end and not stat.S_ISDIR(found.status.st_mode):
            text = f"{shown(path)} is {kind_of(found.status.st_mode)}"
        return f"{text}: {remedy}" if text else ""
    finally:
        close_walk(found)


def _walk_host(path: str) -> Walk:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return walk(root, path)
    finally:
        os.close(root)


def unknown_type(fstype: str) -> str:
    """ENODEV: the kernel has no such file system, or has it in a module that is not loaded."""
    if fstype in WORDS_NOT_TYPES:
        return f'{fstype} is no file system: put "bind" or "rbind" among the mount\'s options'
    import difflib

    known = [line.rpartition("\t")[2] for line in os.read_text("/proc/filesystems").splitlines()]
    meant = difflib.get_close_matches(fstype, known, 1)
    if meant and meant[0] != fstype:
        return f"this kernel does not know the file system {shown(fstype)}: did you mean {meant[0]}?"
    if _has_module(fstype):
        return f"the file system {fstype} is in a module that is not loaded: modprobe {fstype} on the host"
    return f"this kernel does not know the file system {shown(fstype)}: see /proc/filesystems for those it has"


def _has_module(name: str) -> bool:
    try:
        modules = os.read_text(f"/lib/modules/{os.uname().release}/modules.dep")
    except OSError:
        return False
    return any(line.partition(":")[0].rpartition("/")[2].partition(".ko")[0] == name for line in modules.splitlines())


def _option(fstype: str, data: str) -> str:
    """The first option that the file system refuses, in its own words."""
    fs = mounts.fsopen(fstype)
    try:
        for option in split_options(data):
            name, equals, value = option.partition("=")
            try:
                if equals:
                    mounts.fsconfig_string(fs, name, value)
                else:
                    mounts.fsconfig_flag(fs, name)
            except OSError:
                said = _said(fs) or f"{fstype}: refused"
                return f"the option {shown(option)} is wrong ({said}): correct or remove it"
    finally:
        os.close(fs)
    return ""


def _said(fs: int) -> str:
    """The last message in a file system context: "e tmpfs: Unknown parameter 'x'"."""
    said = ""
    try:
        while message := os.read(fs, MESSAGE).decode("utf-8", "replace").strip():
            said = message[2:] if message[1:2] == " " else message
    except OSError:  # ENODATA: that was all
        pass
    return said


def _missing_part(step: Mount) -> str:
    """ENOENT: the source, or a directory of an overlay."""
    if step.source.startswith("/"):
        text = _host_path(step.source, "make it on the host, or correct the mount's source")
        if text:
            return text
    for option in split_options(step.data):
        name, _, value = option.partition("=")
        if name in OVERLAY_DIRECTORIES:
            for path in value.split(":") if name == "lowerdir" else [value]:
                if path.startswith("/"):
                    text = _host_path(path, f"make it on the host, or correct the option {name}")
                    if text and not os.path.isdir(path):
                        return text
    return ""


def _not_a_disk(step: Mount) -> str:
    found = _walk_host(step.source) if step.source.startswith("/") else None
    if found is None:
        return f"the file system {step.fstype} is on a disk: the mount's source must be the path of a block device"
    try:
        what = kind_of(found.status.st_mode)
        remedy = f"the file system {step.fstype} is on a disk: name a block device (losetup makes one of an image)"
        return f"{shown(step.source)} is {what}, and {remedy}" if not found.end else ""
    finally:
        close_walk(found)


def _target(step: MountStep, proc: int, pid: int, root_path: str) -> str:
    """The target is of the wrong type, or something on the way to it."""
    if not pid or not root_path:
        return ""
    host = kernel.openat(proc, f"{pid}/root", os.O_PATH | os.O_DIRECTORY)
    try:
        root = walk(host, root_path)
    finally:
        os.close(host)
    try:
        found = walk(root.fd, step.target)
        try:
            text = missing(found)
            kind = kind_of(found.status.st_mode)
        finally:
            close_walk(found)
    finally:
        close_walk(root)
    if text:
        return f"in the root file system {text}: correct the mount's destination, or remove it from the image"
    return f"{shown(step.target)} of the root file system is {kind}, and {_wanted(step)}"


def _wanted(step: MountStep) -> str:
    if isinstance(step, Bind):
        found = _walk_host(step.source)
        try:
            kind = kind_of(found.status.st_mode)
        finally:
            close_walk(found)
        return f"{shown(step.source)} of the host is {kind}: bind files on files and directories on directories"
    return "a file system needs a directory: correct the mount's destination, or remove it from the image"


def _not_mappable(source: str, proc: int) -> str:
    """EINVAL of mount_setattr(2): the file system does not know id-mapped mounts."""
    found = _walk_host(source)
    try:
        kind = mount_of(proc, "self", found.fd)[1]
    finally:
        close_walk(found)
    if found.end or not kind:
        return ""
    return (
        f"{shown(source)} is on {kind}, which cannot be id-mapped on this kernel, or something below it is mounted that"
        " cannot: use a source on ext4, xfs, btrfs or, since Linux 6.3, tmpfs, or idmap in place of ridmap"
    )
