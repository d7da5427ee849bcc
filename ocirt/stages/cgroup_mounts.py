"""Mounts of type cgroup: what a container sees of its own control groups.

v1 and hybrid hosts: a tmpfs with one directory per hierarchy.  v2 hosts: the unified hierarchy.

User documentation: cgroups(7), cgroup_namespaces(7).
"""

from __future__ import annotations

import errno

from ocirt import system as os
from ocirt.config.mountopts import mount_attributes
from ocirt.errors import OcirtError
from ocirt.kernel.flags import (
    AT_FDCWD,
    AT_RECURSIVE,
    MOUNT_ATTR_RDONLY,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_SLAVE,
    OPEN_TREE_CLONE,
)
from ocirt.stages.targets import MountStep, check_place, open_mounted, place_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.box import Box
    from ocirt.config.mountopts import MountOptions
    from ocirt.config.views import Mount as MountView
    from ocirt.host import Host
    from ocirt.pipeline import Step

_CONTAINED = MS_NOSUID | MS_NODEV | MS_NOEXEC


class MountCgroups(MountStep):
    """v1: a tmpfs, in it one mount per hierarchy and a link for each controller that shares one.

    hierarchies: (directory name, controllers joined by commas, the host's directory that shows the
    runtime's own cgroup) each.  own_root: the container has a cgroup namespace, in which a new mount
    shows the container's cgroup as root; without it the container's own directories are bound.
    attributes: MOUNT_ATTR_* of those.
    """

    __slots__ = ("attributes", "data", "flags", "hierarchies", "own_root")

    def __init__(
        self,
        at: str,
        target: str,
        options: MountOptions,
        hierarchies: tuple[tuple[str, str, str], ...],
        own_root: bool,
    ) -> None:
        super().__init__(at, "cgroup", target, options)
        self.flags = options.flags | _CONTAINED
        self.attributes = mount_attributes(self.flags)
        self.data = "mode=755"  # of the tmpfs
        self.hierarchies = hierarchies
        self.own_root = own_root

    def describe(self) -> str:
        how = "mount" if self.own_root else "bind the container's own"
        return f"{how} {len(self.hierarchies)} cgroup hierarchies below {self.target}{self.words}"

    def attach(self, box: Box) -> None:
        kernel = box.kernel
        target = kernel.mkdir_in_root(box.root, self.target)
        try:
            check_place(place_in_root(box, target), False)
            kernel.fchdir(target)
            kernel.mount("tmpfs", ".", "tmpfs", _CONTAINED, self.data)
            tmpfs = open_mounted(box, self.target, target)
        finally:
            kernel.close(target)
        try:
            for name, controllers, directory in self.hierarchies:
                kernel.mkdirat(tmpfs, name, 0o755)
                if self.own_root:
                    self._mount_hierarchy(box, tmpfs, name, controllers)
                else:
                    own = box.manager.paths if box.manager else {}
                    source = own.get(controllers.split(",")[0], directory)
                    bind_directory(box, source, tmpfs, self.attributes, name)
                for controller in controllers.split(","):
                    if "," in controllers and controller != name:
                        kernel.symlinkat(name, tmpfs, controller)
            self._finish(box, tmpfs)
        finally:
            kernel.close(tmpfs)

    def _mount_hierarchy(self, box: Box, tmpfs: int, name: str, controllers: str) -> None:
        kernel = box.kernel
        place = kernel.openat(tmpfs, name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            kernel.fchdir(place)
            kernel.mount("cgroup", ".", "cgroup", self.flags, controllers)
        finally:
            kernel.close(place)

    def _finish(self, box: Box, tmpfs: int) -> None:
        self.set_attributes(box, tmpfs)
        if self.flags & MS_RDONLY:
            box.kernel.mount_setattr(tmpfs, "", 0, MOUNT_ATTR_RDONLY, 0)
        self.set_propagation(box, tmpfs)


class MountCgroup2(MountStep):
    """v2: the unified hierarchy; where a new mount is not permitted, a bind of what the host shows.

    directory: the host's directory to bind.  own_root: the container has a cgroup namespace, in which a new mount
    shows the container's cgroup as root.  Without it the host's mount is bound: a new one from the host's cgroup
    namespace would take nsdelegate and its like from the whole hierarchy (cgroup-v2.rst, Mounting).
    """

    __slots__ = ("data", "directory", "flags", "own_root")

    def __init__(self, at: str, target: str, options: MountOptions, directory: str, own_root: bool) -> None:
        super().__init__(at, "cgroup", target, options)
        self.flags = options.flags
        self.data = options.data
        self.directory = directory
        self.own_root = own_root

    def describe(self) -> str:
        how = "mount cgroup2" if self.own_root else "bind the host's cgroup2"
        return f"{how} on {self.target}{self.words}"

    def attach(self, box: Box) -> None:
        kernel = box.kernel
        target = kernel.mkdir_in_root(box.root, self.target)
        try:
            check_place(place_in_root(box, target), False)
            if not (self.own_root and self._mount(box, target)):
                own = box.manager.paths if box.manager and self.own_root else {}
                bind_directory(box, own.get("", self.directory), target, mount_attributes(self.flags))
            mounted = open_mounted(box, self.target, target)
        finally:
            kernel.close(target)
        try:
            self.set_attributes(box, mounted)
            self.set_propagation(box, mounted)
        finally:
            kernel.close(mounted)

    def _mount(self, box: Box, target: int) -> bool:
        """False when it is not permitted: the user namespace does not own the cgroup namespace."""
        box.kernel.fchdir(target)
        try:
            box.kernel.mount("cgroup", ".", "cgroup2", self.flags, self.data)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EBUSY):
                raise
            return False
        return True


def bind_directory(box: Box, source: str, target: int, attributes: int, name: str = "") -> None:
    """Bind a cgroup directory of the host with the mount's attributes on all below it (CVE-2023-25809).

    name: of a directory in target instead of target itself; of a symbolic link in its place it is the link that
    move_mount(2) would mount on, which it refuses.
    Not as a peer of the host's mount: what is mounted on it later must not show there.
    """
    kernel = box.kernel
    tree = kernel.open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | AT_RECURSIVE)
    try:
        kernel.mount_setattr(tree, "", AT_RECURSIVE, attributes, 0, MS_SLAVE)
        kernel.move_mount(tree, "", target, name)
    finally:
        kernel.close(tree)


def cgroup_mount(mount: MountView, target: str, options: MountOptions, host: Host, own_root: bool) -> Step:
    """The step for a mount of type cgroup or cgroup2.  own_root: there is a cgroup namespace."""
    if host.cgroup == "none":
        raise OcirtError("unsupported", "a cgroup mount: the host has no cgroup hierarchy mounted", at=mount.at)
    if host.cgroup == "v2" and not own_root:
        return MountCgroup2(mount.at, target, options, host.unified_mount, False)
    if host.cgroup == "v2" or mount.type == "cgroup2":
        return MountCgroup2(mount.at, target, options, own_directory(host, "", host.unified_mount), True)
    return MountCgroups(mount.at, target, options, hierarchies(host), own_root)


def hierarchies(host: Host) -> tuple[tuple[str, str, str], ...]:
    """(directory name, controllers, the runtime's own directory) of each v1 hierarchy of the host."""
    by_place: dict[str, list[str]] = {}
    for controller, place in host.cgroup_mounts.items():
        by_place.setdefault(place, []).append(controller)
    return tuple(
        (os.path.basename(place), ",".join(controllers), own_directory(host, controllers[0], place))
        for place, controllers in sorted(by_place.items())
    )


def own_directory(host: Host, controller: str, place: str) -> str:
    """The runtime's own cgroup as a directory; the mount may show a subtree only."""
    own = host.own_cgroups.get(controller, "/")
    return f"{place}/{own.removeprefix(host.cgroup_roots.get(controller, '')).lstrip('/')}".rstrip("/")
