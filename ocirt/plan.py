"""What a container is made of, in order.  Read this first.

A Plan is data: config + host facts + options in, an ordered list of stages out, and nothing on the
machine has changed yet.  `ocirt plan` and --debug print it, the golden tests in tests/plans compare it.
"""

from __future__ import annotations

from ocirt.config.mountopts import wants_mapping
from ocirt.pipeline import ANSWER, BESIDE, HOST, INIT, JOINER, START, Plan, Stage
from ocirt.process_plan import (
    cgroup_stage,
    console,
    keyring,
    lsm,
    prepare_process,
    process_stages,
    seccomp,
    seccomp_listener,
)
from ocirt.stages.binds import CloseDescriptors
from ocirt.stages.descriptors import close_host_descriptors
from ocirt.stages.devices import devices
from ocirt.stages.directory import make_directory
from ocirt.stages.hostname import hostname
from ocirt.stages.limits import LIMITS, oom_score_adj, rlimits, rlimits_when_asked
from ocirt.stages.masks import masks
from ocirt.stages.mounts import may_be_on_a_disk, mount_sources, mounts, source_names
from ocirt.stages.namespaces import (
    clone_flags,
    enter_namespaces,
    has_namespace,
    join_namespaces,
    needs_joiner,
    new_namespaces,
    open_namespaces,
    prepare,
)
from ocirt.stages.payload import payload
from ocirt.stages.pivot import pivot, root_propagation
from ocirt.stages.rootfs import finish_root, mounts_on_host, prepare_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from ocirt.config.views import Config, Linux, Process
    from ocirt.extensions import Extension
    from ocirt.host import Host
    from ocirt.pipeline import Step
    from ocirt.seccomp.watcher import Watch
    from ocirt.stages.cap_audit import Audit


class Options:
    """What the command line adds to the configuration.

    id: container ID.  bundle: absolute path.
    no_pivot, no_new_keyring: as the options of `create`.  preserve_fds: how many descriptors from 3 on the
    program keeps.  listen_env: LISTEN_FDS and its like, "NAME=value" texts.
    rootless: missing rights over cgroups are borne.
    cgroup_manager: as the global option.  notify: directory on the host for sd_notify(3), or "".
    watch: what watches the container's system calls, or None.  audit: what counts the capabilities that it asks for,
    or None.  executes_at_once: as Plan has it.  extensions: stages of others.
    """

    __slots__ = (
        "id",
        "bundle",
        "no_pivot",
        "no_new_keyring",
        "preserve_fds",
        "listen_env",
        "rootless",
        "cgroup_manager",
        "notify",
        "watch",
        "audit",
        "executes_at_once",
        "extensions",
    )

    def __init__(
        self,
        container_id: str,
        bundle: str,
        *,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        preserve_fds: int = 0,
        listen_env: tuple[str, ...] = (),
        rootless: bool = False,
        cgroup_manager: str = "cgroupfs",
        notify: str = "",
        watch: Watch | None = None,
        audit: Audit | None = None,
        executes_at_once: bool = False,
        extensions: tuple[Extension, ...] = (),
    ) -> None:
        self.id = container_id
        self.bundle = bundle
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring
        self.preserve_fds = preserve_fds
        self.listen_env = listen_env
        self.rootless = rootless
        self.cgroup_manager = cgroup_manager
        self.notify = notify
        self.watch = watch
        self.audit = audit
        self.executes_at_once = executes_at_once
        self.extensions = extensions


def make_plan(config: Config, host: Host, options: Options) -> Plan:
    """What a container is made of, in order.  Raises ConfigError for what a user other than root cannot have."""
    if host.euid != 0:
        check_rootless(config)
    linux, process = config.linux, config.process
    cgroup = cgroup_stage(host, options.cgroup_manager)
    via_joiner = needs_joiner(linux)
    in_userns = has_namespace(linux, "user")
    # Without no_new_privs loading a filter is a privileged act: it must come before the privileges go.
    early_filter = process is None or not process.no_new_privileges
    last = () if early_filter else seccomp(linux, host, options.watch)
    words = {word for mount in config.mounts for word in mount.options}
    links = copied_links(words, config, options.bundle)
    on_links = binds_on_links(words, config, options.bundle)
    sources = tuple(all_sources(config, host, options.bundle, in_userns, links))
    stages = (
        Stage("namespaces", HOST, open_namespaces(linux)),
        Stage("sources", HOST, sources, notify(HOST, options)),
        Stage("network", HOST, network_devices(HOST, linux)),
        Stage("cgroup", HOST, cgroup.create_cgroup(config, host, options.id, options.rootless)),
        Stage("resctrl", HOST, resctrl(HOST, config, host, options)),
        Stage("rootfs", HOST, root_mount(HOST, config, options)),
        Stage("seccomp", HOST, watch(HOST, options)),
        Stage("namespaces", JOINER, enter_namespaces(linux, host) if via_joiner else ()),
        Stage(
            "sources",
            BESIDE,
            (CloseDescriptors(source_names(config), "the runtime's copies of what init mounts"),) if sources else (),
        ),
        Stage("seccomp", BESIDE, watch(BESIDE, options)),
        Stage("capabilities", BESIDE, cap_audit(options)),
        Stage("cgroup", BESIDE, start_unit(config, host, options)),
        Stage("resctrl", BESIDE, resctrl(BESIDE, config, host, options)),
        Stage("namespaces", BESIDE, mappings(linux, host)),
        Stage("limits", BESIDE, oom_score_adj(process)),
        Stage("rootfs", BESIDE, root_mount(BESIDE, config, options)),
        Stage("network", BESIDE, network_devices(BESIDE, linux)),
        Stage("cgroup", INIT, cgroup.join_cgroup(config, host)),
        Stage("namespaces", INIT, () if via_joiner else join_namespaces(linux, host)),
        Stage(
            "prepare",
            INIT,
            prepare(linux),
            keyring(options.id, options.no_new_keyring, in_userns, process),
            network(config),
        ),
        Stage("rootfs", INIT, prepare_root(config, options.bundle, options.no_pivot)),
        Stage(
            "mounts",
            INIT,
            labelled(linux, host, mounts(config, host, options.bundle, links | on_links)),
            notify(INIT, options),
        ),
        Stage("devices", INIT, devices(config)),
        Stage("hooks", INIT, hooks(INIT, config, options)),
        Stage("hooks", ANSWER, hooks(ANSWER, config, options)),
        Stage("pivot_root", INIT, pivot(config, options.no_pivot), make_directory(process)),
        Stage("console", INIT, console(process)),
        Stage("finish", INIT, finish_root(config), hostname(config), lsm(process, host), sysctl(linux)),
        Stage("finish", INIT, labelled(linux, host, masks(linux))),
        Stage("finish", INIT, root_propagation(config)),
        Stage("process", INIT, prepare_process(process, linux)),
        Stage("cgroup", INIT, cgroup.join_cgroup_late(config, host)),
        Stage("close", INIT, close_host_descriptors(options.preserve_fds)),
        Stage("limits", INIT, rlimits(process, in_userns)),
        Stage(LIMITS, ANSWER, rlimits_when_asked(process, in_userns)),
        *process_stages(
            process, linux, host, in_userns or host.userns, early_filter, config.annotations, options.watch
        ),
        Stage("listener", ANSWER, listener(config, options, early_filter)),
        Stage("hooks", START, hooks(START, config, options)),
        Stage(
            "exec", START, payload(process, options.preserve_fds, more_environment(options), last) if process else ()
        ),
    )
    if options.extensions:
        from ocirt.extensions import insert

        stages = insert(stages, options.extensions, config, host, options)
    return Plan(
        *stages,
        clone_flags=clone_flags(linux),
        via_joiner=via_joiner,
        executes_at_once=options.executes_at_once,
        network_ahead=network_ahead(linux, options, via_joiner),
    )


def plan_state(config: Config, options: Options) -> dict[str, Any]:
    """The state that hooks receive, without status and pid (runtime.md, State)."""
    state: dict[str, Any] = {"ociVersion": config.oci_version, "id": options.id, "bundle": options.bundle}
    if config.annotations:
        state["annotations"] = config.annotations
    return state


# What few containers, or none of the small ones, need is imported only for them: 0.1 ms each.


def check_rootless(config: Config) -> None:
    from ocirt.config.checks_rootless import check

    check(config)


def mappings(linux: Linux | None, host: Host) -> Iterator[Step]:
    if linux is not None and "user" in new_namespaces(linux):
        from ocirt.stages import mappings as stage

        yield from stage.mappings(linux, host)


def copied_links(words: set[str], config: Config, bundle: str) -> dict[int, Step]:
    if "copy-symlink" not in words:
        return {}
    from ocirt.stages import copylink

    return copylink.links(config, bundle)


def binds_on_links(words: set[str], config: Config, bundle: str) -> dict[int, Step]:
    if words.isdisjoint(("src-nofollow", "dest-nofollow")):
        return {}
    from ocirt.stages import nofollow

    return nofollow.binds(config, bundle)


def all_sources(config: Config, host: Host, bundle: str, in_userns: bool, links: dict[int, Step]) -> Iterator[Step]:
    """HOST: what the runtime opens or mounts for init.  Only root may do it where no user could."""
    opened = tuple(mount_sources(config, bundle, links))
    if any(map(wants_mapping, config.mounts)):
        from ocirt.stages import idmap

        opened += tuple(idmap.mapped_sources(config, bundle))
    yield from opened
    if opened and in_userns and host.euid == 0 and may_mount(config.process):
        from ocirt.stages import aside

        yield aside.LockFlags(source_names(config))
    if not in_userns and any(map(may_be_on_a_disk, config.mounts)):
        from ocirt.stages import aside

        yield from labelled(config.linux, host, aside.disks(config))


def may_mount(process: Process | None) -> bool:
    """Whether what runs in the container may change its mounts; without a process that is not known."""
    if process is None:
        return True
    sets = process.capabilities
    return sets is not None and "CAP_SYS_ADMIN" in (*sets.bounding, *sets.permitted)


def hooks(place: str, config: Config, options: Options) -> Iterator[Step]:
    if config.hooks is not None:
        from ocirt.stages import hooks as stage

        yield from stage.hooks(place, config.hooks, plan_state(config, options))


def listener(config: Config, options: Options, early_filter: bool) -> Iterator[Step]:
    """Where the filter is loaded in `start`, it is `start` that answers (process/agent.py)."""
    if config.process is not None and early_filter:
        yield from seccomp_listener(config.linux, lambda: {**plan_state(config, options), "status": "creating"})


def labelled(linux: Linux | None, host: Host, steps: Iterable[Step]) -> Iterable[Step]:
    if linux is None or not linux.mount_label:
        return steps
    from ocirt.stages import mount_label as stage

    return stage.labelled(steps, linux.mount_label, f"{linux.at}/mountLabel", host)


def start_unit(config: Config, host: Host, options: Options) -> Iterator[Step]:
    if options.cgroup_manager == "systemd":
        from ocirt.stages import cgroup_systemd as stage

        yield from stage.start_unit(config, host, options.id)


def resctrl(place: str, config: Config, host: Host, options: Options) -> Iterator[Step]:
    if config.linux is not None and config.linux.intel_rdt is not None:
        from ocirt.stages import resctrl as stage

        function = stage.make_groups if place == HOST else stage.join_groups
        yield from function(config.linux, host, options.id)


def root_mount(place: str, config: Config, options: Options) -> Iterator[Step]:
    if mounts_on_host(config):
        from ocirt.stages import root_mount as stage

        yield from stage.copy_root(config, options.bundle) if place == HOST else stage.attach_root()


def notify(place: str, options: Options) -> Iterator[Step]:
    if options.notify:
        from ocirt.stages import notify as stage

        yield from stage.notify(place, options.notify)


def watch(place: str, options: Options) -> Iterator[Step]:
    if options.watch is not None:
        from ocirt.stages import watch as stage

        yield from stage.begin(options.watch) if place == HOST else stage.let_go()


def cap_audit(options: Options) -> Iterator[Step]:
    if options.audit is not None:
        from ocirt.stages import cap_audit as stage

        yield from stage.count(options.audit)


def more_environment(options: Options) -> tuple[str, ...]:
    """What the program's environment gets beside the configuration's."""
    if not options.notify:
        return options.listen_env
    from ocirt.stages.notify import VARIABLE

    return (*options.listen_env, VARIABLE)


def network(config: Config) -> Iterator[Step]:
    if "network" in new_namespaces(config.linux):
        from ocirt.stages import network as stage

        yield from stage.network(config)


def network_ahead(linux: Linux | None, options: Options, via_joiner: bool) -> bool:
    """Whether a new network namespace may be made without init: no user namespace is to own it, and nobody looks for it
    while init waits for GO, as stages of others may, too."""
    if linux is None or linux.net_devices or via_joiner or options.extensions:
        return False
    new = new_namespaces(linux)
    return "network" in new and "user" not in new


def network_devices(place: str, linux: Linux | None) -> Iterator[Step]:
    if linux is not None and linux.net_devices:
        from ocirt.stages import network_devices as stage

        yield from stage.find_devices(linux) if place == HOST else stage.move_devices(linux)


def sysctl(linux: Linux | None) -> Iterator[Step]:
    if linux is not None and linux.sysctl:
        from ocirt.stages import sysctl as stage

        yield from stage.sysctl(linux)
