"""What this host cannot do of a valid configuration, for who asks: `ocirt check --host`.

Three questions, in this order: can a plan be made for it; does what the configuration uses work when it is tried
(ocirt/probe); is what the configuration names there.  The host is left as it is.
"""

from __future__ import annotations

import os

from ocirt import log
from ocirt.check import ADVICE, ERROR, Finding, nearest
from ocirt.check.advice import capabilities, has_own_user_namespace
from ocirt.check.examine import try_plan
from ocirt.config import checks_rootless
from ocirt.config.mountopts import parse_options, wants_mapping
from ocirt.doctor.host import subordinate_ranges, user_name
from ocirt.kernel.capabilities import CAPABILITIES
from ocirt.kernel.creds import capget
from ocirt.kernel.flags import MS_BIND, MS_REMOUNT
from ocirt.kernel.processes import rlimit
from ocirt.plan import Options
from ocirt.probe import report
from ocirt.probe.cgroups import PROPERTIES
from ocirt.stages.limits import RESOURCES
from ocirt.stages.mounts import host_source
from ocirt.stages.rootfs import root_path
from ocirt.system import number_if_there, text_if_there

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.config.views import Config, IdMapping
    from ocirt.host import Host
    from ocirt.options import Globals
    from ocirt.probe import Outcome

DOCTOR = "see ocirt doctor and ocirt features --probe"
NO_FILE_SYSTEMS = ("", "bind", "cgroup", "none")  # types that ocirt has a meaning for, whatever the kernel lists


def findings(config: Config, bundle: str, g: Globals) -> list[Finding]:
    """bundle: absolute path.  Raises OSError when /proc is not there."""
    host, outcomes = report.try_all()
    found = list(_plan(config, bundle, host, g))
    found += [
        Finding(ERROR, "host", f"{one.name} does not work here: {one.note}", at, DOCTOR)
        for one in outcomes
        if not one.works
        for at in _used(config, one, g.systemd_cgroup)
        if at not in {error.at for error in found}
    ]
    found += [*_files(config, bundle), *_file_systems(config), *_capabilities(config, host)]
    return [*found, *_host_ids(config, host), *_limits(config)]


def _missing(what: str, at: str, remedy: str) -> Finding:
    return Finding(ERROR, "host", what, at, remedy)


def _plan(config: Config, bundle: str, host: Host, g: Globals) -> Iterator[Finding]:
    rootless = list(checks_rootless.faults(config)) if host.euid != 0 else []
    for error in rootless:
        yield Finding(ERROR, error.code, error.what, error.at, error.remedy)
    if not rootless:
        options = Options("ID", bundle, rootless=host.rootless, cgroup_manager=g.cgroup_manager)
        failed, _ = try_plan(config, host, options)
        if failed is not None:
            yield Finding(ERROR, failed.code, failed.what, failed.at, failed.remedy or DOCTOR)


# -- what was tried ------------------------------------------------------------------------------


def _used(config: Config, outcome: Outcome, systemd: bool) -> list[str]:
    """Pointers to what in the configuration needs the thing that was tried; [] when nothing does."""
    group, _, thing = outcome.name.partition(".")
    linux = config.linux
    if linux is None:
        return []
    if group == "namespace":
        return [f"{one.at}/type" for one in linux.namespaces if one.type == thing and not one.path]
    if group == "seccomp":
        return _seccomp(config, thing)
    if group == "mount":
        return _mounts(config, thing)
    if group == "cgroup":
        if thing in ("hierarchy", "directory", "systemd"):
            return [outcome.at] if linux.resources and (systemd or thing != "systemd") else []
        at = f"{linux.at}/resources/unified" if thing == "unified" else PROPERTIES.get(thing, "")
        return [at] if at and nearest.value_at(config.raw, at) else []
    if group in ("scheduler", "io_priority", "memory_policy"):
        name = {"scheduler": "policy", "io_priority": "class", "memory_policy": "mode"}[group]
        at = f"{outcome.at}/{name}"
        return [at] if nearest.value_at(config.raw, at) == thing else []
    if outcome.name in _SIMPLE:
        return [outcome.at] if nearest.value_at(config.raw, outcome.at) else []
    own_user = has_own_user_namespace(config)
    if outcome.name == "idmap.ranges":
        return [outcome.at] if own_user and any(line.size > 1 for line in linux.uid_mappings) else []
    return [outcome.at] if outcome.name == "mknod" and linux.devices and not own_user else []


# Tried for one property, which needs it whatever its value.  Limits and the rest are compared below.
_SIMPLE = (
    *("time.offsets", "hostname", "network_devices", "idmap.own", "pivot_root", "apparmor", "selinux"),
    *("no_new_privileges", "cpu_affinity", "personality", "resctrl"),
)


def _seccomp(config: Config, thing: str) -> list[str]:
    wanted = config.linux.seccomp if config.linux is not None else None
    if wanted is None:
        return []
    if thing == "filter":
        return [wanted.at]
    if thing == "notify":
        return [f"{wanted.at}/listenerPath"] if wanted.listener_path else []
    actions = [f"{call.at}/action" for call in wanted.syscalls if call.action == thing][:1]
    flags = [f"{wanted.at}/flags/{i}" for i, flag in enumerate(wanted.flags) if flag == thing]
    return [f"{wanted.at}/defaultAction"] * (wanted.default_action == thing) + actions + flags


def _mounts(config: Config, thing: str) -> list[str]:
    found = []
    for mount in config.mounts:
        options = parse_options(mount.options)
        bind = bool(options.flags & MS_BIND)
        needed = {
            "bind": bind,
            "propagation": bool(options.propagation),
            "recursive": bool(options.attr_set | options.attr_clr),
            "nosymfollow": "nosymfollow" in mount.options,
            "idmap": wants_mapping(mount),
        }
        if needed.get(thing, mount.type == thing and not bind):
            found.append(mount.at)
    return found


# -- what is named -------------------------------------------------------------------------------


def _files(config: Config, bundle: str) -> Iterator[Finding]:
    """Directories and files of the host; to read them is not tried."""
    root = root_path(config, bundle)
    if not os.path.isdir(root):
        yield _missing(f"{log.quote(root)} is no directory", "/root/path", "make it, or name the root file system's")
    for mount in config.mounts:
        options = parse_options(mount.options)
        if options.flags & MS_BIND and not options.flags & MS_REMOUNT:
            source = host_source(mount, bundle)
            if not os.path.lexists(source):
                yield _missing(
                    f"{log.quote(source)} is not there", f"{mount.at}/source", "make it, or correct the source"
                )
    if config.linux is not None:
        for space in config.linux.namespaces:
            if space.path and not os.path.lexists(space.path):
                what = f"the namespace {log.quote(space.path)} is not there"
                yield _missing(what, f"{space.at}/path", "name the file of a process that runs, or of a bound one")
        listener = config.linux.seccomp.listener_path if config.linux.seccomp is not None else ""
        if listener and not os.path.exists(listener):
            at = "/linux/seccomp/listenerPath"
            yield _missing(f"{log.quote(listener)} is not there", at, "start the seccomp agent first")
    yield from _hooks(config)


def _hooks(config: Config) -> Iterator[Finding]:
    """Those that run in the runtime's namespace; the others' paths are the container's."""
    if config.hooks is None:
        return
    h = config.hooks
    for hook in (*h.prestart, *h.create_runtime, *h.create_container, *h.poststart, *h.poststop):
        if not os.path.isfile(hook.path):
            yield _missing(f"{log.quote(hook.path)} is no file", f"{hook.at}/path", "install it, or correct the path")
        elif not os.access(hook.path, os.X_OK):
            yield _missing(f"{log.quote(hook.path)} cannot be executed", f"{hook.at}/path", f"chmod +x {hook.path}")


def _file_systems(config: Config) -> Iterator[Finding]:
    """filesystems(5).  A module may be loaded for one that is not listed yet."""
    known = {line.split("\t")[-1] for line in text_if_there("/proc/filesystems").splitlines()}
    for mount in config.mounts:
        kind = mount.type or ""
        if parse_options(mount.options).flags & (MS_BIND | MS_REMOUNT) or kind in NO_FILE_SYSTEMS or kind in known:
            continue
        near = nearest.nearest(kind, known)
        remedy = f'did you mean "{near}"?' if near else f"modprobe {kind}, if the kernel has it as a module"
        what = f"the kernel does not list the file system {log.quote(kind)}"
        yield Finding(ADVICE, "host", what, f"{mount.at}/type", remedy)


def _capabilities(config: Config, host: Host) -> Iterator[Finding]:
    """Those that the kernel does not have, and those that ocirt itself does not have and so cannot give."""
    if config.process is None:
        return
    last = number_if_there("/proc/sys/kernel/cap_last_cap")
    have = capget()[1]
    for name, at in capabilities(config.process).items():
        if name not in CAPABILITIES:
            continue  # said already
        bit = CAPABILITIES.index(name)
        if last is not None and bit > last:
            what = f"the kernel lacks {name}, which is ignored"
            yield Finding(ADVICE, "host", what, at, "boot a newer kernel, or leave it out")
        elif host.euid == 0 and not have >> bit & 1 and not has_own_user_namespace(config):
            what = f"ocirt itself does not have {name}, and cannot give it"
            yield Finding(ADVICE, "host", what, at, "run ocirt with it, or leave it out")


def _host_ids(config: Config, host: Host) -> Iterator[Finding]:
    """Ids of the host that the caller may not give away: user_namespaces(7), subuid(5)."""
    linux = config.linux
    if linux is None:
        return
    name = user_name(host.euid) if host.euid else "root"
    for kind, own, lines in (("uid", host.euid, linux.uid_mappings), ("gid", host.egid, linux.gid_mappings)):
        if host.euid == 0:
            ranges, where = _mapped_here(kind), f"/proc/self/{kind}_map"
        else:
            ranges = [(own, 1), *subordinate_ranges(kind, name, host.euid)]
            where = f"/etc/sub{kind}"
        for line in lines:
            if not _within(line, ranges):
                what = f"the host's ids {line.host_id} to {line.host_id + line.size - 1} are not {name}'s to give"
                yield _missing(what, f"{line.at}/hostID", f"take a range of {where}")


def _mapped_here(kind: str) -> list[tuple[int, int]]:
    lines = [line.split() for line in text_if_there(f"/proc/self/{kind}_map").splitlines()]
    return [(int(first), int(count)) for first, _, count in lines]


def _within(line: IdMapping, ranges: list[tuple[int, int]]) -> bool:
    """Neighbouring ranges are one."""
    wanted, end = line.host_id, line.host_id + line.size
    for first, count in sorted(ranges):
        if first <= wanted < first + count:
            wanted = first + count
    return wanted >= end


def _limits(config: Config) -> Iterator[Finding]:
    """What only CAP_SYS_RESOURCE may: raise a hard limit, lower oom_score_adj."""
    process = config.process
    if process is None or capget()[0] >> CAPABILITIES.index("CAP_SYS_RESOURCE") & 1:
        return
    for limit in process.rlimits:
        _, ours = rlimit(0, RESOURCES.index(limit.type))
        if limit.hard > ours:
            what = f"the hard limit {limit.hard} is above the {ours} that ocirt runs with"
            yield _missing(what, f"{limit.at}/hard", "lower it, or run ocirt with CAP_SYS_RESOURCE")
    own = number_if_there("/proc/self/oom_score_adj")
    if process.oom_score_adj is not None and own is not None and process.oom_score_adj < own:
        what = f"oom_score_adj {process.oom_score_adj} is below the {own} that ocirt runs with"
        yield _missing(what, f"{process.at}/oomScoreAdj", f"take {own} or more, or run ocirt with CAP_SYS_RESOURCE")
