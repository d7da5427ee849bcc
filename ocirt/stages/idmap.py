"""ID-mapped mounts: binds that show other owners than their file system has (mount_setattr(2), MOUNT_ATTR_IDMAP).

The kernel takes a mapping from a user namespace.  For each distinct one of the configuration such a namespace is made
by a process that lives for nothing else.  All of this is the runtime's, before the clone: mapping a mount needs
CAP_SYS_ADMIN in the user namespace of its file system, and that is the host's.

User documentation: mount_setattr(2), "ID-mapped mounts"; config.md, "POSIX-platform Mounts", "Linux mount options".
"""

from __future__ import annotations

import errno

from ocirt import system as os
from ocirt.config.checks_process import MAX_ID
from ocirt.config.mountopts import is_mapping_option, mapping_pointer, parse_options, wants_mapping
from ocirt.errors import ConfigError, OcirtError
from ocirt.kernel.flags import (
    AT_FDCWD,
    AT_RECURSIVE,
    CLONE_NEWUSER,
    MOUNT_ATTR_IDMAP,
    MS_BIND,
    MS_PRIVATE,
    MS_REMOUNT,
    MS_SLAVE,
)
from ocirt.pipeline import Step
from ocirt.stages.binds import CloseDescriptors, OpenSource, close_named, tree_flags
from ocirt.stages.mappings import mapping_text
from ocirt.stages.mounts import host_source, is_of_an_earlier_mount
from ocirt.stages.namespaces import has_namespace, joined_namespaces, new_namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.box import Box
    from ocirt.config.mountopts import MountOptions
    from ocirt.config.views import Config, IdMapping, Linux
    from ocirt.config.views import Mount as MountView

    Maps = tuple[str, str]  # the content of uid_map and of gid_map

JOINED = "namespace/user"  # Box.fds: the user namespace that the container joins (namespaces.OpenNamespace)

# What a copy has towards its source, by linux.rootfsPropagation: as if init had copied it in its own mount namespace.
_PROPAGATION = {"shared": 0, "rshared": 0, "private": MS_PRIVATE, "rprivate": MS_PRIVATE}


class MakeUserNamespace(Step):
    """Host: a user namespace with these maps, as box.fds[name].

    The process that makes it ends at once: until it is reaped the kernel keeps its namespace, and whatever becomes
    of the runtime meanwhile, nothing is left to end.
    """

    __slots__ = ("maps", "name")

    def __init__(self, at: str, name: str, maps: Maps) -> None:
        self.at = at
        self.name = name
        self.maps = maps

    def describe(self) -> str:
        return f"make a user namespace for the maps {self.maps[0].strip()!r} and {self.maps[1].strip()!r}"

    def apply(self, box: Box) -> None:
        kernel = box.kernel
        pid, _ = kernel.clone3(CLONE_NEWUSER)
        if pid == 0:
            os._exit(0)
        try:
            for which, text in zip(("uid_map", "gid_map"), self.maps, strict=True):
                kernel.write_file(box.proc, f"{pid}/{which}", text.encode())
            box.fds[self.name] = kernel.openat(box.proc, f"{pid}/ns/user", os.O_RDONLY)
        finally:
            os.waitpid(pid, 0)

    def undo(self, box: Box) -> None:
        close_named(box, self.name)


class OpenMappedSource(OpenSource):
    """Host: copy the mount of a bind's source and map its owners.

    namespace: key in box.fds of the user namespace with the maps.  mapped: AT_RECURSIVE to map what is mounted below
    as well, or 0.  propagation: MS_*, 0 for a peer of the source.
    """

    __slots__ = ("mapped", "namespace", "propagation")

    def __init__(
        self, at: str, name: str, source: str, how: int, namespace: str, mapped: int, propagation: int
    ) -> None:
        super().__init__(at, name, source, how)
        self.namespace = namespace
        self.mapped = mapped
        self.propagation = propagation

    def describe(self) -> str:
        depth = ", and below it" if self.mapped else ""
        return f"open the bind source {self.source} and map its owners{depth} by {self.namespace}"

    def apply(self, box: Box) -> None:
        kernel = box.kernel
        fd = box.fds[self.name] = kernel.open_tree(AT_FDCWD, self.source, self.how)
        if self.propagation:
            kernel.mount_setattr(fd, "", AT_RECURSIVE, 0, 0, self.propagation)
        try:
            kernel.mount_setattr(fd, "", self.mapped, MOUNT_ATTR_IDMAP, 0, 0, box.fds[self.namespace])
        except OSError as error:
            raise _refusal(self.source, error) from error


def _refusal(source: str, error: OSError) -> OcirtError:
    """What the kernel's refusal means.  The remedies are in remedies.py."""
    reasons = {
        errno.ENOSYS: "this kernel has no id-mapped mounts",
        errno.EINVAL: "its file system, or one mounted below it, cannot be id-mapped",
        errno.EPERM: "it is id-mapped already, its file system belongs to another user namespace, or we lack the right",
    }
    what = f"cannot map the ids of the bind source {source}"
    reason = reasons.get(error.errno or 0)
    code = "unsupported" if error.errno in (errno.ENOSYS, errno.EINVAL) else "step-failed"
    return OcirtError(code, f"{what}: {reason}" if reason else what, call="mount_setattr", errno=error.errno or 0)


def mapped_sources(config: Config, bundle: str) -> Iterator[Step]:
    """HOST: the sources of binds with mapped ids, as detached mounts box.fds["mount/N"].  Raises ConfigError."""
    linux = config.linux
    propagation = _PROPAGATION.get((linux and linux.rootfs_propagation) or "", MS_SLAVE)
    if "mount" not in new_namespaces(linux) or has_namespace(linux, "user"):
        propagation = propagation or MS_SLAVE
    made: dict[Maps, str] = {}
    for number, mount in enumerate(config.mounts):
        if not wants_mapping(mount):
            continue
        options = parse_options(mount.options)
        check_mount(mount, options)
        maps = wanted_maps(mount, linux)
        if maps is not None and maps not in made:
            made[maps] = f"idmap/{len(made)}"
            yield MakeUserNamespace(mount.at, made[maps], maps)
        namespace = JOINED if maps is None else made[maps]
        source = host_source(mount, bundle)
        if is_of_an_earlier_mount(config, number, bundle):
            what = "the ids of what an earlier mount brings into the container cannot be mapped"
            raise OcirtError("unsupported", what, at=f"{mount.at}/source", remedy="name its source on the host")
        mapped = AT_RECURSIVE if is_recursive(mount) else 0
        how = tree_flags(options)
        yield OpenMappedSource(mount.at, f"mount/{number}", source, how, namespace, mapped, propagation)
    if made:
        # The mounts hold their maps themselves; init must not inherit the namespaces.
        yield CloseDescriptors(tuple(made.values()), "the user namespaces made for maps")


def check_mount(mount: MountView, options: MountOptions) -> None:
    """Raises ConfigError for what cannot be mapped: a new file system's owners are an option of its own."""
    if options.flags & MS_REMOUNT or not options.flags & MS_BIND:
        raise ConfigError(
            "rule",
            "id-mapped mounts are only supported for bind-mounts",
            mapping_pointer(mount),
            remedy="add bind or rbind to options, or leave idmap, uidMappings and gidMappings out",
        )


def is_recursive(mount: MountView) -> bool:
    """The last word counts; mappings without a word are for the top mount, as idmap is."""
    words = mapping_words(mount)
    return bool(words) and words[-1].startswith("r")


def mapping_words(mount: MountView) -> list[str]:
    """The options that ask for a mapping, as given."""
    return [option for option in mount.options if is_mapping_option(option)]


def wanted_maps(mount: MountView, linux: Linux | None) -> Maps | None:
    """The maps of the mount: its own, those in its option, the container's; None for those of a joined namespace.

    Raises ConfigError.
    """
    at = f"{mount.at}/options"
    custom = [word.partition("=")[2] for word in mapping_words(mount) if "=" in word]
    if mount.uid_mappings and mount.gid_mappings:
        if custom:
            raise ConfigError("rule", "the mount has mappings of its own and others in its options", at)
        return mapping_text(mount.uid_mappings), mapping_text(mount.gid_mappings)
    if custom:
        return parse_maps(custom[-1], linux, at)
    if "user" in joined_namespaces(linux):
        return None
    if linux is not None and "user" in new_namespaces(linux):
        return mapping_text(linux.uid_mappings), mapping_text(linux.gid_mappings)
    raise ConfigError(
        "rule",
        "idmap without uidMappings and gidMappings takes those of the container, which has no user namespace",
        at,
        remedy='give the mount uidMappings and gidMappings, or add {"type": "user"} to linux.namespaces',
    )


def parse_maps(text: str, linux: Linux | None, at: str) -> Maps:
    """crun's "uids=A-B-COUNT#...;gids=...": id A of the file system shows as id B of the host.

    "@" before a range: B is an id of the container.  Raises ConfigError.
    """
    maps = {"uids": "", "gids": ""}
    own = {"uids": linux.uid_mappings if linux else (), "gids": linux.gid_mappings if linux else ()}
    for part in text.split(";"):
        name, _, ranges = part.partition("=")
        if name not in maps or maps[name]:
            raise ConfigError("rule", f"idmap takes uids= and gids= once each, not {part!r}", at)
        maps[name] = "".join(_parse_range(one, own[name], at) for one in ranges.split("#"))
    if not all(maps.values()):
        raise ConfigError("rule", "idmap needs both uids= and gids=", at)
    return maps["uids"], maps["gids"]


def _parse_range(text: str, own: tuple[IdMapping, ...], at: str) -> str:
    """One line of a map.  own: the container's mapping, for ids that are relative to it."""
    numbers = text.removeprefix("@").split("-")
    if len(numbers) != 3 or not all(one.isascii() and one.isdigit() and len(one) <= 10 for one in numbers):
        raise ConfigError("rule", f"{text!r} is not a range FILESYSTEM-HOST-COUNT", at)
    inside, outside, count = map(int, numbers)
    if not 0 < count <= MAX_ID + 1 - max(inside, outside):
        raise ConfigError("rule", f"the range {text!r} is empty or goes past the last id, {MAX_ID}", at)
    if text.startswith("@"):
        outside = _on_host(outside, count, own, text, at)
    return f"{inside} {outside} {count}\n"


def _on_host(first: int, count: int, own: tuple[IdMapping, ...], text: str, at: str) -> int:
    for one in own:
        if one.container_id <= first and first + count <= one.container_id + one.size:
            return one.host_id + first - one.container_id
    raise ConfigError("rule", f"no line of the container's own mapping holds the whole range {text!r}", at)
