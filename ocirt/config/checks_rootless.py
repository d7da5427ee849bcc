"""What a user other than root must not ask for: rules of config.json that hold for them alone."""

from __future__ import annotations

from ocirt.config.mountopts import mapping_pointer, wants_mapping
from ocirt.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.config.views import Config, IdMapping

MANY_DIGITS = 10  # an id has no more; Python refuses to convert thousands


def check(config: Config) -> None:
    """Raise ConfigError for the first thing that needs root."""
    for error in faults(config):
        raise error


def faults(config: Config) -> Iterator[ConfigError]:
    """Each thing that needs root; without a user namespace nothing else counts."""
    linux = config.linux
    namespaces = {namespace.type: namespace for namespace in linux.namespaces} if linux else {}
    if linux is None or "user" not in namespaces:
        yield ConfigError(
            "rule",
            "rootless container requires user namespaces",
            at="/linux/namespaces",
            remedy='add {"type": "user"}, uidMappings and gidMappings, as ocirt spec --rootless does, or run as root',
        )
        return
    yield from mapped_mounts(config)
    if linux.net_devices:
        yield ConfigError(
            "rule",
            "network devices are not supported for rootless containers",
            at="/linux/netDevices",
            remedy="the host's devices are root's to give away: run as root, or leave netDevices out",
        )
    if namespaces["user"].path is None:  # else the maps are not ours to know
        yield from mount_owners(config, linux.uid_mappings, linux.gid_mappings)


def mapped_mounts(config: Config) -> Iterator[ConfigError]:
    """Mapping a mount needs rights over its file system, which belongs to the host (mount_setattr(2))."""
    for mount in config.mounts:
        if wants_mapping(mount):
            yield ConfigError(
                "rule",
                "id-mapped mounts are not supported for rootless containers",
                at=mapping_pointer(mount),
                remedy="leave idmap, uidMappings and gidMappings of the mount out, or run as root",
            )


def mount_owners(
    config: Config, uid_mappings: tuple[IdMapping, ...], gid_mappings: tuple[IdMapping, ...]
) -> Iterator[ConfigError]:
    """The kernel refuses a mount that would belong to nobody of the namespace, and only says "invalid argument"."""
    kinds = (("uid", uid_mappings), ("gid", gid_mappings))
    for mount in config.mounts:
        for option in mount.options:
            for kind, lines in kinds:
                number = option.removeprefix(f"{kind}=")
                if number != option and not _is_mapped(number, lines):
                    yield ConfigError(
                        "rule",
                        f"cannot specify {kind}= mount options for unmapped {kind} in rootless containers",
                        at=f"{mount.at}/options",
                        remedy=f"leave {option} out, or map the id in linux.{kind}Mappings",
                    )


def _is_mapped(number: str, lines: tuple[IdMapping, ...]) -> bool:
    if not (number.isascii() and number.isdigit()) or len(number) > MANY_DIGITS:
        return True  # the file system will say what is wrong with it
    return any(0 <= int(number) - one.container_id < one.size for one in lines)
