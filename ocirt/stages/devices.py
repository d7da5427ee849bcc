"""/dev: the nodes every container has, those of linux.devices, and the symbolic links.

User documentation: config-linux.md, "Devices" and "Default Devices", "Dev symbolic links"; mknod(2).
"""

from __future__ import annotations

import _stat as stat  # the public module is Python: 0.1 ms
import errno

from ocirt import system as os
from ocirt.config.mountopts import parse_options
from ocirt.errors import KernelError, OcirtError
from ocirt.kernel.flags import AT_FDCWD, OPEN_TREE_CLONE
from ocirt.pipeline import Step
from ocirt.stages.targets import clean
from ocirt.stages.umask import UMASK, SetUmask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.box import Box
    from ocirt.config.views import Config

# path, major, minor
DEFAULT_DEVICES = (
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
)

DEFAULT_MODE = 0o666

LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
)

TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


class MakeDevice(Step):
    """Make one node, with a umask of 0.  mode: type and permissions; uid, gid: of the container's user namespace.

    A node of the same type and number that is there already is kept.  In a user namespace nobody may
    make nodes: the host's is bound instead.
    """

    __slots__ = ("device", "gid", "mode", "path", "uid")

    def __init__(self, at: str, path: str, mode: int, device: int = 0, uid: int = 0, gid: int = 0) -> None:
        self.at = at
        self.path = path
        self.mode = mode
        self.device = device
        self.uid = uid
        self.gid = gid

    def describe(self) -> str:
        number = f" {os.major(self.device)}:{os.minor(self.device)}" if self.device else ""
        return f"make {self.path} ({stat.filemode(self.mode)}{number}, owner {self.uid}:{self.gid})"

    def apply(self, box: Box) -> None:
        directory, _, name = self.path.rpartition("/")
        parent = open_directory(box, directory)
        try:
            self._make(box, parent, name)
        except OSError as error:
            if error.errno == errno.EEXIST:
                self._check_existing(box, parent, name)
            elif error.errno == errno.EPERM and not stat.S_ISFIFO(self.mode):
                self._bind(box, parent, name)
            else:
                raise

    def _make(self, box: Box, parent: int, name: str) -> None:
        kernel = box.kernel
        kernel.mknodat(parent, name, self.mode, self.device)
        if self.uid or self.gid:
            kernel.fchownat(parent, name, self.uid, self.gid)

    def _check_existing(self, box: Box, parent: int, name: str) -> None:
        fd = box.kernel.openat(parent, name, os.O_PATH | os.O_NOFOLLOW)
        try:
            self._check(box, fd)
        finally:
            box.kernel.close(fd)

    def _check(self, box: Box, fd: int) -> None:
        status = box.kernel.fstat(fd)
        if stat.S_IFMT(status.st_mode) != stat.S_IFMT(self.mode) or status.st_rdev != self.device:
            found = f"{stat.filemode(status.st_mode)} {os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
            raise OcirtError("step-failed", f"{self.path} exists and is another file ({found})")

    def _bind(self, box: Box, parent: int, name: str) -> None:
        """Bind the host's node of the same path; its type and number are verified, not its name."""
        kernel = box.kernel
        tree = kernel.open_tree(AT_FDCWD, self.path, OPEN_TREE_CLONE)
        try:
            self._check(box, tree)
            try:
                kernel.mknodat(parent, name, stat.S_IFREG | 0o644)
            except KernelError as error:
                if error.errno != errno.EEXIST:
                    raise
            target = kernel.openat(parent, name, os.O_PATH | os.O_NOFOLLOW)
            try:
                kernel.move_mount(tree, "", target, "")
            finally:
                kernel.close(target)
        finally:
            kernel.close(tree)


class LinkDevices(Step):
    """The symbolic links in /dev; those that exist are kept.  /dev/core only where the host has /proc/kcore."""

    __slots__ = ()

    def __init__(self) -> None:
        self.at = ""

    def describe(self) -> str:
        return "link /dev/fd, stdin, stdout, stderr and core"

    def apply(self, box: Box) -> None:
        kernel = box.kernel
        dev = open_directory(box, "/dev")
        for name, target in LINKS:
            link(box, target, dev, name)
        try:
            kernel.close(kernel.openat(box.proc, "kcore", os.O_PATH))
        except OSError:
            return
        link(box, "/proc/kcore", dev, "core")


class LinkPtmx(Step):
    """/dev/ptmx is the container's own: whatever the image has there goes."""

    __slots__ = ()

    def __init__(self) -> None:
        self.at = ""

    def describe(self) -> str:
        return "link /dev/ptmx to pts/ptmx"

    def apply(self, box: Box) -> None:
        kernel = box.kernel
        dev = open_directory(box, "/dev")
        try:
            kernel.unlinkat(dev, "ptmx")
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
        kernel.symlinkat("pts/ptmx", dev, "ptmx")


def link(box: Box, target: str, directory: int, name: str) -> None:
    try:
        box.kernel.symlinkat(target, directory, name)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise


def open_directory(box: Box, path: str) -> int:
    """A directory of the container, made when missing.  Raises OcirtError for a symbolic link on the way.

    Before the pivot a link in the image may lead anywhere, and things are deleted and made in here
    (CVE-2026-41579).  So it is looked up once, and stays in box.fds until all descriptors are closed.
    """
    key = f"directory{path}"
    try:
        if key not in box.fds:
            box.fds[key] = box.kernel.mkdir_in_root(box.root, path or "/", symlinks=False)
        return box.fds[key]
    except KernelError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        what = f"{path} must be an ordinary directory, not a symbolic link"
        raise OcirtError("step-failed", what, call=error.call, errno=error.errno, detail=error.detail) from None


def devices(config: Config) -> Iterator[Step]:
    """INIT, after the mounts: nothing when /dev is bound from the host, which has it all.

    A device of linux.devices replaces the default one of the same path.
    """
    if any(clean(mount.destination) == "/dev" and parse_options(mount.options).bind for mount in config.mounts):
        return
    own = config.linux.devices if config.linux else ()
    paths = {clean(device.path) for device in own}
    yield SetUmask("", 0)
    for path, major, minor in DEFAULT_DEVICES:
        if path not in paths:
            yield MakeDevice("", path, stat.S_IFCHR | DEFAULT_MODE, os.makedev(major, minor))
    for device in own:
        mode = TYPES[device.type] | (DEFAULT_MODE if device.file_mode is None else device.file_mode & 0o7777)
        number = 0 if device.type == "p" else os.makedev(device.major or 0, device.minor or 0)
        yield MakeDevice(device.at, clean(device.path), mode, number, device.uid or 0, device.gid or 0)
    yield SetUmask("", UMASK)
    yield LinkPtmx()
    yield LinkDevices()
