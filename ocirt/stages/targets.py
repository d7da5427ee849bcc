"""Where a mount goes: its target in the root file system, found and checked by descriptor.

Every rule here answers an attack; see docs/security.md.  The path of a target comes from config.json,
what lies on it from an image, and another container may change it while we look.

User documentation: openat2(2), statx(2).
"""

from __future__ import annotations

from ocirt import system as os
from ocirt.errors import KernelError, OcirtError
from ocirt.kernel.flags import AT_RECURSIVE, MS_REC
from ocirt.pipeline import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.box import Box
    from ocirt.config.mountopts import MountOptions

PROC_SUPER_MAGIC = 0x9FA0  # statfs(2)

# What may be mounted below /proc: lxcfs gives containers their own of these.
BELOW_PROC = frozenset(
    (
        "/proc/cpuinfo",
        "/proc/diskstats",
        "/proc/meminfo",
        "/proc/stat",
        "/proc/swaps",
        "/proc/uptime",
        "/proc/loadavg",
        "/proc/slabinfo",
        "/proc/sys/kernel/ns_last_pid",
        "/proc/sys/crypto/fips_enabled",
    )
)


def clean(destination: str) -> str:
    """A destination as an absolute path without "." and ".." parts; a relative one is relative to "/"."""
    return os.path.normpath(f"/{destination.lstrip('/')}")


class MountStep(Step):
    """What every mount has: a source to name in messages, a target, and what is done to it afterwards.

    words: the options as given.  propagation: MS_* flags, one call each.  attr_set, attr_clr:
    MOUNT_ATTR_* for the whole tree.
    """

    __slots__ = ("attr_clr", "attr_set", "propagation", "source", "target", "words")

    def __init__(self, at: str, source: str, target: str, options: MountOptions) -> None:
        self.at = at
        self.source = source
        self.target = target
        self.words = f" ({options.text})" if options.text else ""
        self.propagation = options.propagation
        self.attr_set = options.attr_set
        self.attr_clr = options.attr_clr

    def apply(self, box: Box) -> None:
        """Do the mount.  Whatever fails is reported in the words that engines look for."""
        what = f'error mounting "{self.source}" to rootfs at "{self.target}"'
        try:
            self.attach(box)
        except OcirtError as error:
            error.what = f"{what}: {error.what}"
            raise
        except OSError as error:
            call, detail = (error.call, error.detail) if isinstance(error, KernelError) else ("", "")
            raise OcirtError("step-failed", what, call=call, errno=error.errno or 0, detail=detail) from error

    def attach(self, box: Box) -> None:
        raise NotImplementedError

    def set_propagation(self, box: Box, fd: int) -> None:
        """The propagation of a mount by its root's descriptor."""
        for flags in self.propagation:
            box.kernel.mount_setattr(fd, "", AT_RECURSIVE if flags & MS_REC else 0, 0, 0, flags & ~MS_REC)

    def set_attributes(self, box: Box, fd: int) -> None:
        """The attributes of the whole tree (rro and its like)."""
        if self.attr_set or self.attr_clr:
            box.kernel.mount_setattr(fd, "", AT_RECURSIVE, self.attr_set, self.attr_clr)


def place_in_root(box: Box, fd: int) -> str:
    """The path of fd as the container will see it.  Raises OcirtError when it has left the root.

    The root's own path is looked up once, and again only where it does not fit: a directory of the host that it is in
    was renamed then, or fd is outside.
    """
    root = find_root(box) if box.root_path is None else box.root_path
    path: str = box.kernel.path_of(box.proc, fd)
    if not is_below(path, root):
        root = find_root(box)
        if not is_below(path, root):
            raise OcirtError("step-failed", f"{path} is outside of the root file system: possible breakout")
    return path[len(root) :] or "/"


def find_root(box: Box) -> str:
    """Look up box.root_path."""
    root: str = box.kernel.path_of(box.proc, box.root).rstrip("/")
    box.root_path = root
    return root


def is_below(path: str, root: str) -> bool:
    """Whether path is root or in it.  root: without a trailing slash."""
    return path == root or path.startswith(f"{root}/")


def check_place(place: str, source_is_procfs: bool) -> None:
    """Refuse "/" and what would hide or fake /proc (CVE-2019-16884).  Raises OcirtError."""
    if place == "/":
        raise OcirtError("step-failed", "mountpoint / is on the top of rootfs")
    if place == "/proc":
        if not source_is_procfs:
            raise OcirtError("step-failed", f'"{place}" cannot be mounted because it is not of type proc')
    elif place.startswith("/proc/") and place not in BELOW_PROC:
        raise OcirtError("step-failed", f'"{place}" cannot be mounted because it is inside /proc')


def open_mounted(box: Box, target: str, covered: int) -> int:
    """The root of the mount just made on `covered`, by path.  Raises OcirtError when the path leads elsewhere now.

    Whoever shares a volume with us may exchange the directory between two of our calls (CVE-2021-30465).
    """
    fd: int = box.kernel.open_in_root(box.root, target, os.O_PATH)
    identity, is_root = box.kernel.mount_id(fd)
    if not is_root or identity == box.kernel.mount_id(covered)[0]:
        box.kernel.close(fd)
        raise OcirtError("step-failed", "the target was exchanged while it was mounted on: possible breakout")
    return fd
