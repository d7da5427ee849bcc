"""What `restore` does up to the conversation with CRIU: a cgroup, a root file system, and a process that becomes criu.

The processes of the container are criu's work, see process/restore.py.
"""

from __future__ import annotations

from ocirt.config.mountopts import wants_mapping
from ocirt.errors import OcirtError
from ocirt.kernel.flags import CLONE_NEWNS
from ocirt.pipeline import ANSWER, BESIDE, CRIU, HOST, INIT, START, Plan, Stage
from ocirt.plan import hooks, start_unit
from ocirt.stages import criu as stage
from ocirt.stages.namespaces import has_namespace, new_namespaces
from ocirt.stages.rootfs import has_mount_namespace, root_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.config.views import Config
    from ocirt.host import Host
    from ocirt.pipeline import Step
    from ocirt.plan import Options


def make_restore_plan(
    config: Config,
    host: Host,
    options: Options,
    program: str,
    environment: dict[str, str],
    images: str,
    place: str,
    yard: str,
) -> Plan:
    """program: criu's path; environment: its own.  images: their directory.  place: an empty directory that criu
    finds the root in; yard: one for the cgroup hierarchies.

    Raises ConfigError, OcirtError("unsupported").
    """
    require_restorable(config)
    return Plan(
        Stage("namespaces", HOST, stage.namespaces(config)),
        Stage("images", HOST, shown_images(config, images)),
        Stage("cgroup", HOST, cgroup(config, host, options)),
        Stage("cgroup", BESIDE, start_unit(config, host, options)),
        Stage("rootfs", INIT, stage.prepare_root(config, options.bundle, root_path(config, options.bundle), place)),
        Stage("cgroup", INIT, (stage.MountYard(yard, stage.hierarchy_names(host)),)),
        Stage("setup-namespaces", CRIU, network(config), hooks(ANSWER, config, options)),
        Stage("post-restore", CRIU, readonly_root(config)),
        Stage("criu", START, stage.execute(program, environment)),
        clone_flags=CLONE_NEWNS,
        executes_at_once=True,
    )


def require_restorable(config: Config) -> None:
    """Raises OcirtError for what CRIU could save, but not make again as it was.

    The mounts of a container without a mount namespace are the host's; CRIU 4.2 does not know of id-mapped mounts and
    of binds of links, and would bind what it finds by the source's path; devices of the network and groups of resctrl
    are nowhere in the images.  The rules of Landlock cannot be read from a process: it would come back without.
    """
    if not has_mount_namespace(config):
        raise OcirtError(
            "unsupported",
            "a container without a mount namespace cannot be checkpointed",
            at="/linux/namespaces",
            remedy="add a mount namespace to linux.namespaces",
        )
    for mount in config.mounts:
        if wants_mapping(mount):
            raise OcirtError("unsupported", "a container with ID-mapped mounts cannot be checkpointed", at=mount.at)
        for word in ("src-nofollow", "dest-nofollow"):
            if word in mount.options:
                raise OcirtError("unsupported", f"a container with {word} cannot be checkpointed", at=mount.at)
    for name in config.annotations:
        if name.startswith("ocirt.landlock."):
            raise OcirtError(
                "unsupported", "a container with Landlock rules cannot be checkpointed", at=f"/annotations/{name}"
            )
    linux = config.linux
    if linux is not None and (linux.net_devices or linux.intel_rdt):
        name = "netDevices" if linux.net_devices else "intelRdt"
        raise OcirtError("unsupported", f"a container with {name} cannot be checkpointed", at=f"{linux.at}/{name}")


def cgroup(config: Config, host: Host, options: Options) -> Iterator[Step]:
    """As create makes it; criu is moved in when it runs."""
    if options.cgroup_manager == "systemd":
        from ocirt.stages import cgroup_systemd

        yield from cgroup_systemd.create_cgroup(config, host, options.id)
    elif options.cgroup_manager != "disabled":
        from ocirt.stages.cgroup import make_cgroup
        from ocirt.stages.cgroup_v2 import own_cgroup

        yield from make_cgroup(config, host, options.id, options.rootless)
        if host.cgroup == "v2":
            yield from own_cgroup(config, host)


def shown_images(config: Config, images: str) -> Iterator[Step]:
    """What few containers need is imported only for them."""
    if has_namespace(config.linux, "user"):
        from ocirt.stages.criu_images import ShowImages

        yield ShowImages(images)


def network(config: Config) -> Iterator[Step]:
    """When the namespaces are there and nothing else: as init does at create."""
    if "network" in new_namespaces(config.linux):
        yield stage.BringLoopbackUpFor("/linux/namespaces")


def readonly_root(config: Config) -> Iterator[Step]:
    """When everything is there and nothing runs yet."""
    if config.root is not None and config.root.readonly:
        yield stage.MakeRootReadonly("/root/readonly")
