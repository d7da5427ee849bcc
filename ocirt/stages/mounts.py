"""The mounts of config.json, in its order: file systems here, binds in binds.py, cgroups in cgroup_mounts.py.

User documentation: mount(2), mount_setattr(2); config.md, "Mounts".
"""

from __future__ import annotations

import _stat as stat  # the public module is Python: 0.1 ms
import errno

from ocirt import log
from ocirt import system as os
from ocirt.config.mountopts import parse_options, wants_mapping
from ocirt.errors import ConfigError, KernelError, OcirtError
from ocirt.kernel.flags import MOUNT_ATTR_RDONLY, MS_BIND, MS_RDONLY, MS_REMOUNT
from ocirt.stages.binds import Bind, OpenSource, bind_sysfs, tree_flags
from ocirt.stages.cgroup_mounts import cgroup_mount
from ocirt.stages.namespaces import has_namespace, new_namespaces
from ocirt.stages.targets import PROC_SUPER_MAGIC, MountStep, check_place, clean, open_mounted, place_in_root
from ocirt.stages.tmpcopyup import mount_with_copy, split_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from ocirt.box import Box
    from ocirt.config.mountopts import MountOptions
    from ocirt.config.views import Config
    from ocirt.config.views import Mount as MountView
    from ocirt.host import Host
    from ocirt.pipeline import Step

DIRECTORY_ONLY = ("proc", "sysfs")
NO_LINKS: Mapping[int, Step] = {}

# Types that are on no disk, to save a look at the source.
_WITHOUT_DISK = frozenset(("none", "tmpfs", "proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2", "overlay"))


def read_only_late(kind: str, destination: str) -> bool:
    """Whether "ro" waits until the end: devices, links and mount points are still to be made in there."""
    return kind == "tmpfs" or clean(destination) == "/dev"


def may_be_on_a_disk(mount: MountView) -> bool:
    """Whether the source may be a block device, which the runtime mounts (aside.py)."""
    return (mount.type or "none") not in _WITHOUT_DISK and (mount.source or "").startswith("/")


class Mount(MountStep):
    """Mount a file system.

    name: key in box.fds, where the runtime may have mounted it, detached.
    flags: MS_*.  data: as mount(2) takes it.  copy_up: fill the new tmpfs with what it covers.
    sysfs_fallback: in a user namespace that does not own the network namespace, or whose /sys has parts covered, a
    new sysfs is not permitted; bind the host's.
    """

    __slots__ = ("copy_up", "data", "flags", "fstype", "name", "sysfs_fallback")

    def __init__(
        self,
        at: str,
        source: str,
        target: str,
        fstype: str,
        options: MountOptions,
        name: str,
        sysfs_fallback: bool = False,
    ) -> None:
        super().__init__(at, source, target, options)
        self.name = name
        self.fstype = fstype
        self.flags = options.flags
        self.data = options.data
        if read_only_late(fstype, target):
            self.flags &= ~MS_RDONLY
            self.attr_set &= ~MOUNT_ATTR_RDONLY
        self.copy_up = "tmpcopyup" in options.extensions
        self.sysfs_fallback = sysfs_fallback

    def describe(self) -> str:
        return f"mount {self.fstype or '(no type)'} on {self.target}{self.words}"

    def attach(self, box: Box) -> None:
        kernel = box.kernel
        target, made = self._open_target(box)
        try:
            check_place(place_in_root(box, target), self.fstype == "proc")
            data = self.data if made else self._inherit_mode(box, target)
            if self.copy_up:
                mounted = mount_with_copy(box, target, self.source, self.flags, data)
            else:
                mounted = self._mount(box, target, data)
        finally:
            kernel.close(target)
        try:
            self.set_attributes(box, mounted)
            self.set_propagation(box, mounted)
        finally:
            kernel.close(mounted)

    def _open_target(self, box: Box) -> tuple[int, bool]:
        """A symbolic link on the way to /proc or /sys lets labels and masks miss their files (CVE-2019-19921)."""
        plain = self.fstype in DIRECTORY_ONLY
        try:
            made: tuple[int, bool] = box.kernel.make_in_root(box.root, self.target, symlinks=not plain)
            return made
        except KernelError as error:
            if plain and error.errno in (errno.ELOOP, errno.ENOTDIR):
                what = f'filesystem "{self.fstype}" must be mounted on ordinary directory'
                raise OcirtError("step-failed", what, call=error.call, errno=error.errno) from None
            raise

    def _inherit_mode(self, box: Box, target: int) -> str:
        """A tmpfs looks like the directory that it covers, unless an option says otherwise."""
        if self.fstype != "tmpfs" or self.data.startswith("mode=") or ",mode=" in self.data:
            return self.data
        mode = f"mode={stat.S_IMODE(box.kernel.fstat(target).st_mode):04o}"
        return f"{mode},{self.data}" if self.data else mode

    def _mount(self, box: Box, target: int, data: str) -> int:
        """mount(2) on the directory by descriptor: it is the current directory then, "." needs no look-up."""
        kernel = box.kernel
        if self.name in box.fds:
            mounted: int = box.fds.pop(self.name)
            kernel.move_mount(mounted, "", target, "")
            return mounted
        kernel.fchdir(target)
        try:
            kernel.mount(self.source, ".", self.fstype, self.flags, data)
        except OSError as error:
            if not self.sysfs_fallback or error.errno != errno.EPERM:
                raise
            return bind_sysfs(box, target, self.flags)
        return open_mounted(box, self.target, target)


class Remount(MountStep):
    """The option "remount" on what is mounted there already."""

    __slots__ = ("data", "flags")

    def __init__(self, at: str, source: str, target: str, options: MountOptions) -> None:
        super().__init__(at, source, target, options)
        self.flags = options.flags
        self.data = options.data

    def describe(self) -> str:
        return f"remount {self.target}{self.words}"

    def attach(self, box: Box) -> None:
        kernel = box.kernel
        target = kernel.open_in_root(box.root, self.target, os.O_PATH | os.O_DIRECTORY)
        try:
            check_place(place_in_root(box, target), kernel.statfs_type(target) == PROC_SUPER_MAGIC)
            kernel.fchdir(target)
            kernel.mount(self.source, ".", "", self.flags, self.data)
            self.set_attributes(box, target)
            self.set_propagation(box, target)
        finally:
            kernel.close(target)


def options_of(mount: MountView) -> MountOptions:
    """The mount's options, checked.  Raises ConfigError."""
    options = parse_options(mount.options)
    if "tmpcopyup" in options.extensions and (mount.type != "tmpfs" or options.flags & (MS_BIND | MS_REMOUNT)):
        raise ConfigError("rule", "tmpcopyup is for a new tmpfs only", f"{mount.at}/options")
    if options.bind:
        ignore_data(options, f"{mount.at}/options")
    return options


def ignore_data(options: MountOptions, at: str) -> None:
    """A bind has its file system's data already; a word that is no key=value may be a flag misspelt.

    Raises ConfigError.
    """
    words = [option for option in split_options(options.data) if "=" not in option]
    if words:
        what = "bind mounts cannot have any filesystem-specific options applied"
        raise ConfigError("rule", f"{what}: {','.join(words)}", at)
    if options.data:
        log.debug(f"{at}: a bind mount ignores {options.data}")
        options.data = ""


def host_source(mount: MountView, bundle: str) -> str:
    """A bind's source as a path of the host: absolute, or relative to the bundle.  Raises ConfigError."""
    if not mount.source:
        raise ConfigError("rule", "a bind mount needs a source", mount.at)
    return mount.source if mount.source.startswith("/") else f"{bundle}/{mount.source}"


def mount_sources(config: Config, bundle: str, links: Container[int] = ()) -> Iterator[Step]:
    """HOST: the sources of binds that init will not be able to reach, as detached mounts box.fds["mount/N"].

    Those of id-mapped mounts are in idmap.py.  links: numbers of mounts that are links to copy, see copylink.py.

    In a user namespace init may lack the right to walk to a source; in a joined mount namespace the
    path may lead elsewhere; in the host's own the bind would be a peer of the source, and hand mounts on to it.
    """
    if has_namespace(config.linux, "user") or "mount" not in new_namespaces(config.linux):
        for number, mount in enumerate(config.mounts):
            options = options_of(mount)
            if number in links or wants_mapping(mount) or is_of_an_earlier_mount(config, number, bundle):
                continue
            if options.bind and not options.flags & MS_REMOUNT:
                yield OpenSource(mount.at, f"mount/{number}", host_source(mount, bundle), tree_flags(options))


def is_of_an_earlier_mount(config: Config, number: int, bundle: str) -> bool:
    """Whether the source of mount `number` is in the container, where an earlier one of the list will be mounted.

    By text alone; a source that a symbolic link leads there is taken as it is before the mounts.
    """
    source = config.mounts[number].source or ""
    source = clean(source if source.startswith("/") else f"{bundle}/{source}")
    root = config.root.path if config.root else ""
    root = clean(root if root.startswith("/") else f"{bundle}/{root}")
    if not source.startswith(f"{root}/"):
        return False
    place = source.removeprefix(root)
    return any(f"{place}/".startswith(f"{clean(earlier.destination)}/") for earlier in config.mounts[:number])


def source_names(config: Config) -> tuple[str, ...]:
    """Where in box.fds the runtime may have put what init mounts.  It closes them when init has its copies: it may
    stay in the foreground, and must not hold the mounts."""
    return tuple(f"mount/{number}" for number in range(len(config.mounts)))


def mounts(config: Config, host: Host, bundle: str, links: Mapping[int, Step] = NO_LINKS) -> Iterator[Step]:
    """INIT, after prepare_root: one step per mount.  Raises ConfigError, OcirtError("unsupported").

    links: what is done in place of mounts, by their number; see copylink.py, nofollow.py.
    """
    in_userns = has_namespace(config.linux, "user") or host.userns
    own_cgroups = has_namespace(config.linux, "cgroup")
    for number, mount in enumerate(config.mounts):
        options = options_of(mount)
        target = clean(mount.destination)
        source = mount.source or "none"
        if number in links:
            yield links[number]
        elif options.flags & MS_REMOUNT:
            yield Remount(mount.at, source, target, options)
        elif options.flags & MS_BIND:
            yield Bind(mount.at, host_source(mount, bundle), target, options, f"mount/{number}")
        elif mount.type in ("cgroup", "cgroup2"):
            yield cgroup_mount(mount, target, options, host, own_cgroups)
        else:
            fallback = mount.type == "sysfs" and in_userns
            yield Mount(mount.at, source, target, mount.type or "", options, f"mount/{number}", fallback)
