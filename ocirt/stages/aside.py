"""Mounts that the runtime makes for init in a mount namespace aside, by a child that shares its descriptors.

What the child leaves behind are detached mounts in box.fds; its mount namespace, and what it mounted there, go with
it.  User documentation: clone(2), CLONE_FILES; mount_namespaces(7), "Restrictions on mount namespaces".
"""

from __future__ import annotations

import _stat as stat  # the public module is Python: 0.1 ms

from ocirt import system as os
from ocirt.config.mountopts import parse_options
from ocirt.errors import KernelError, OcirtError
from ocirt.kernel.flags import (
    AT_FDCWD,
    AT_RECURSIVE,
    AT_SYMLINK_NOFOLLOW,
    CLONE_FILES,
    CLONE_NEWNS,
    CLONE_NEWUSER,
    MS_BIND,
    MS_PRIVATE,
    MS_REC,
    MS_REMOUNT,
    OPEN_TREE_CLONE,
)
from ocirt.pipeline import Step
from ocirt.stages.binds import close_named
from ocirt.stages.mounts import may_be_on_a_disk
from ocirt.stages.targets import MountStep, clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocirt.box import Box
    from ocirt.config.mountopts import MountOptions
    from ocirt.config.views import Config

MOUNT_POINT = "/proc"  # of the runtime: there is one, else nothing would have come this far
SEPARATOR, BETWEEN = "\0", "\n"
BLOCK = 1 << 16  # bytes per read


def in_a_child(box: Box, work: Callable[[], None]) -> None:
    """Do the work in a child; box.fds as it leaves them are the caller's then.  Raises what the work raises.

    Other than the descriptors nothing that the work does to the process reaches the caller.
    """
    answer = os.memfd_create("mounts", os.MFD_CLOEXEC)  # no pipe: both ends would be everybody's, and it may be full
    try:
        pid, _ = box.kernel.clone3(CLONE_FILES)
        if pid == 0:
            _child(box, work, answer)
        os.waitpid(pid, 0)
        text = _read(answer)
    finally:
        os.close(answer)
    _take(box, text)


def _child(box: Box, work: Callable[[], None], answer: int) -> None:
    """Never returns."""
    try:
        box.kernel.write_fd(answer, report(box, work))
    finally:
        os._exit(0)


def report(box: Box, work: Callable[[], None]) -> bytes:
    """Do the work; what in_a_child() is to know of it."""
    try:
        work()
        words: tuple[str, ...] = ("done",)
    except BaseException as error:
        words = _told(error)
    fds = BETWEEN.join(f"{name}={fd}" for name, fd in box.fds.items())
    return os.fsencode(SEPARATOR.join((fds, *words)))


def _told(error: BaseException) -> tuple[str, ...]:
    if isinstance(error, KernelError):
        return "failed", str(error.errno), error.strerror or "", error.call, error.detail
    if not isinstance(error, OcirtError):
        error = OcirtError("internal", f"{type(error).__name__}: {error}")
    return "error", *error.to_record()


def _read(answer: int) -> str:
    text = b""
    while part := os.pread(answer, BLOCK, len(text)):
        text += part
    return os.fsdecode(text)


def _take(box: Box, answer: str) -> None:
    """Read what report() told.  The descriptors come first: whatever failed, undo must know what is open."""
    fds, word, *fields = answer.split(SEPARATOR) if answer else ("", "")
    if word:
        box.fds = {name: int(fd) for name, _, fd in (one.rpartition("=") for one in fds.split(BETWEEN) if one)}
    if word == "error":
        raise OcirtError.from_record(fields)
    if word == "failed":
        raise KernelError(int(fields[0]), *fields[1:])
    if word != "done":
        raise OcirtError("internal", "the child that prepares mounts died")


class LockFlags(Step):
    """Host: lock what the host's mounts forbid, in the copies for a container in a user namespace.

    Nobody may take ro, nosuid, nodev, noexec and the access time mode back from mounts that came into the mount
    namespace of a less privileged user namespace, nor unmount what came along below them. So the copies are brought
    into such a namespace, and copied there. Without that the container's root, with CAP_SYS_ADMIN over its own
    mounts, could write to what is read-only on the host.

    names: keys in box.fds.
    """

    __slots__ = ("names",)

    def __init__(self, names: tuple[str, ...]) -> None:
        self.at = ""
        self.names = names

    def describe(self) -> str:
        return "lock the flags that the bind sources have on the host"

    def apply(self, box: Box) -> None:
        """Without the right to copy a mount there is none, see OpenSource; init's own copies will be locked."""
        names = [name for name in self.names if name in box.fds]
        if names:
            in_a_child(box, lambda: self._lock(box, names))

    def _lock(self, box: Box, names: list[str]) -> None:
        kernel = box.kernel
        stay_aside(box)
        kernel.mount("tmpfs", MOUNT_POINT, "tmpfs", 0, "mode=700")
        for name in names:
            place = f"{MOUNT_POINT}/{name.replace('/', '-')}"
            if stat.S_ISDIR(kernel.fstat(box.fds[name]).st_mode):
                kernel.mkdirat(AT_FDCWD, place, 0o700)
            else:
                kernel.close(kernel.openat(AT_FDCWD, place, os.O_CREAT | os.O_WRONLY, 0o600))
            kernel.move_mount(box.fds[name], "", AT_FDCWD, place)
            kernel.close(box.fds.pop(name))
        enter_locked(box)
        for name in names:
            place = f"{MOUNT_POINT}/{name.replace('/', '-')}"
            how = OPEN_TREE_CLONE | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW  # src-nofollow: the source may be a link
            box.fds[name] = kernel.open_tree(AT_FDCWD, place, how)


def stay_aside(box: Box) -> None:
    """Take a mount namespace from which nothing reaches the host's."""
    box.kernel.unshare(CLONE_NEWNS)
    box.kernel.mount("", "/", "", MS_PRIVATE | MS_REC)


def enter_locked(box: Box) -> None:
    """Join a copy of the mount namespace that belongs to a user namespace of its own.

    The process that makes both must live until we are in; it ends when nobody holds the pipe any more.
    """
    kernel = box.kernel
    reader, writer = os.pipe()
    pid, _ = kernel.clone3(CLONE_NEWUSER | CLONE_NEWNS)
    if pid == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    try:
        root = kernel.openat(box.proc, f"{pid}/root", os.O_PATH | os.O_DIRECTORY)  # setns(2) forgets a chroot
        namespace = kernel.openat(box.proc, f"{pid}/ns/mnt", os.O_RDONLY)
        kernel.setns(namespace, CLONE_NEWNS)
        kernel.fchdir(root)
        kernel.chroot(".")
        kernel.close(namespace)
        kernel.close(root)
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(pid, 0)


class MountDisk(MountStep):
    """Host: mount a file system that is on a block device, detached, as box.fds[name].

    init is in the container's device cgroup and may not open the device.  Any other source is left to it.
    """

    __slots__ = ("data", "flags", "fstype", "name")

    def __init__(self, at: str, name: str, source: str, target: str, fstype: str, options: MountOptions) -> None:
        super().__init__(at, source, target, options)
        self.name = name
        self.fstype = fstype
        self.flags = options.flags
        self.data = options.data

    def describe(self) -> str:
        return f"mount {self.fstype} from the disk {self.source}, if it is one"

    def attach(self, box: Box) -> None:
        if is_block_device(self.source):
            in_a_child(box, lambda: self._mount(box))

    def _mount(self, box: Box) -> None:
        kernel = box.kernel
        stay_aside(box)
        kernel.mount(self.source, MOUNT_POINT, self.fstype, self.flags, self.data)
        box.fds[self.name] = kernel.open_tree(AT_FDCWD, MOUNT_POINT, OPEN_TREE_CLONE)

    def undo(self, box: Box) -> None:
        close_named(box, self.name)


def is_block_device(path: str) -> bool:
    try:
        return stat.S_ISBLK(os.stat(path).st_mode)
    except OSError:
        return False


def disks(config: Config) -> Iterator[Step]:
    """HOST: the file systems that may be on a block device, as detached mounts box.fds["mount/N"]."""
    for number, mount in enumerate(config.mounts):
        options = parse_options(mount.options)
        if may_be_on_a_disk(mount) and not options.flags & (MS_BIND | MS_REMOUNT):
            source, target, kind = mount.source or "", clean(mount.destination), mount.type or ""
            yield MountDisk(mount.at, f"mount/{number}", source, target, kind, options)
