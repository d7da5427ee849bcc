"""What a valid config.json says and had better not: dangers, and words without effect.

A function per danger; each gets the configuration and yields its findings.  None asks the host.
"""

from __future__ import annotations

import posixpath

from ocirt import log
from ocirt.check import ADVICE, Finding, mend, nearest
from ocirt.config import checks, checks_rootless, shapes
from ocirt.config.mountopts import RECOGNISED, parse_options, wants_mapping
from ocirt.kernel.capabilities import CAPABILITIES
from ocirt.kernel.flags import MS_BIND, MS_RDONLY, MS_REMOUNT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocirt.config.views import Config, Mount, Process

# Namespace of the host -> what these capabilities let a container do there (capabilities(7)).
RULE_OVER = {
    "mount": ("the host's mounts are the container's to change", ("CAP_SYS_ADMIN",)),
    "pid": ("the host's processes are the container's to read, change and end", ("CAP_SYS_PTRACE", "CAP_KILL")),
    "network": ("the host's network is the container's to set up and to listen to", ("CAP_NET_ADMIN", "CAP_NET_RAW")),
    "ipc": ("the host's shared memory is the container's to read and write", ("CAP_IPC_OWNER",)),
    "uts": ("the host's name is the container's to change", ("CAP_SYS_ADMIN",)),
    "cgroup": ("the host's control groups are the container's to mount", ("CAP_SYS_ADMIN",)),
    "user": (
        "the host's kernel is the container's",
        (
            *(
                "CAP_SYS_ADMIN",
                "CAP_SYS_MODULE",
                "CAP_SYS_RAWIO",
                "CAP_SYS_BOOT",
                "CAP_SYS_TIME",
                "CAP_DAC_READ_SEARCH",
            ),
            *("CAP_BPF", "CAP_PERFMON", "CAP_SYSLOG", "CAP_MAC_ADMIN", "CAP_MAC_OVERRIDE"),
        ),
    ),
}
SETS = ("bounding", "permitted", "effective", "inheritable", "ambient")
PROC_PATHS = ("sys", "sysrq-trigger")  # below /proc: what rules the whole kernel when it can be written
SOCKETS = {
    "docker.sock": "docker",
    "podman.sock": "podman",
    "containerd.sock": "containerd",
    "crio.sock": "CRI-O",
    "cri-dockerd.sock": "docker, for Kubernetes",
    "buildkitd.sock": "BuildKit",
}
# Directories with one of them.
WITH_SOCKETS = ("/", "/run", "/run/containerd", "/run/crio", "/run/podman", "/run/docker", "/run/buildkit", "/run/user")
DEPRECATED = {
    "/hooks/prestart": "use createRuntime, which runs at the same moment",
    "/linux/resources/memory/useHierarchy": "leave it out: cgroups are counted hierarchically always",
}


def all_advice(config: Config) -> list[Finding]:
    return [finding for danger in DANGERS for finding in danger(config)]


def _advise(code: str, what: str, at: str, remedy: str) -> Finding:
    return Finding(ADVICE, code, what, at, remedy)


# -- the parts -----------------------------------------------------------------------------------


def has_own_user_namespace(config: Config) -> bool:
    """Then its capabilities rule over nothing of the host's."""
    return any(space.type == "user" and not _is_hosts(space.path) for space in _namespaces(config))


def _namespaces(config: Config) -> tuple[Any, ...]:
    return config.linux.namespaces if config.linux is not None else ()


def _is_hosts(path: str | None) -> bool:
    """Whether a namespace's file is one of the host's init, or of the runtime."""
    return bool(path) and _plain(str(path)).startswith(("/proc/1/ns/", "/proc/self/ns/"))


def capabilities(process: Process) -> dict[str, str]:
    """Each capability that the process or what it executes can have, with the pointer to the first mention."""
    found: dict[str, str] = {}
    if process.capabilities is not None:
        for name in SETS:
            for i, capability in enumerate(process.capabilities.raw.get(name, ())):
                found.setdefault(capability, f"{process.capabilities.at}/{name}/{i}")
    return found


def _is_writable(mount: Mount) -> bool:
    options = parse_options(mount.options)
    return not options.flags & MS_RDONLY and "rro" not in mount.options


def _plain(path: str) -> str:
    """An absolute path without "..", "." and doubled slashes; normpath() leaves two at the beginning."""
    return posixpath.normpath(f"/{path.lstrip('/')}")


def _covers(outer: str, inner: str) -> bool:
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")


def _protected(config: Config, path: str) -> bool:
    """Whether a path in the container is masked or read-only."""
    linux = config.linux
    paths = (*linux.masked_paths, *linux.readonly_paths) if linux is not None else ()
    return any(_covers(_plain(one), path) for one in paths)


def _host_path(mount: Mount) -> str:
    """A bind's source, "" for one in the bundle; /var/run is /run (hier(7), FHS 3.0)."""
    source = mount.source or ""
    path = _plain(source) if source.startswith("/") else ""
    return path.removeprefix("/var") if _covers("/var/run", path) else path


def _is_bind(mount: Mount) -> bool:
    return bool(parse_options(mount.options).flags & MS_BIND)


# -- dangers -------------------------------------------------------------------------------------


def host_capabilities(config: Config) -> Iterator[Finding]:
    """A namespace of the host is no danger by itself, nor is a capability in a namespace of the container's own."""
    if config.process is None or has_own_user_namespace(config):
        return
    given = capabilities(config.process)
    own = {space.type for space in _namespaces(config) if not _is_hosts(space.path)}
    for kind, (danger, powers) in RULE_OVER.items():
        held = [power for power in powers if power in given]
        if kind not in own and held:
            remedy = f'add {{"type": "{kind}"}} to linux.namespaces, or take out {" and ".join(held)}'
            if kind == "user":
                remedy = f"take out {' and '.join(held)}, or add a user namespace with mappings"
            yield _advise(
                "host-capability", f"{danger}, by {', '.join(held)} in its {kind} namespace", given[held[0]], remedy
            )


def writable_proc(config: Config) -> Iterator[Finding]:
    if has_own_user_namespace(config):
        return  # the files are root's of the host, who is nobody there
    for mount in config.mounts:
        bound = _is_bind(mount) and _covers("/proc", _host_path(mount))
        if not (bound or mount.type == "proc") or not _is_writable(mount):
            continue
        inner = _plain(mount.destination)
        open_paths = [name for name in PROC_PATHS if not _protected(config, f"{inner}/{name}")]
        if bound and _host_path(mount) != "/proc":
            open_paths = [] if _protected(config, inner) else [_host_path(mount).removeprefix("/proc/")]
        if open_paths:
            paths = ", ".join(f"/proc/{name}" for name in open_paths)
            remedy = f"add {' and '.join(f'{inner}/{name}' for name in open_paths)} to linux.readonlyPaths"
            yield _advise("writable-proc", f"the host's {paths} can be written", mount.at, remedy)


def writable_sys(config: Config) -> Iterator[Finding]:
    if has_own_user_namespace(config):
        return
    for mount in config.mounts:
        bound = _is_bind(mount) and _covers("/sys", _host_path(mount)) and not _covers("/sys/fs", _host_path(mount))
        if (bound or mount.type == "sysfs") and _is_writable(mount):
            inner = _plain(mount.destination)
            if not _protected(config, inner):
                yield _advise(
                    "writable-sys", "the host's devices and kernel can be set up", mount.at, 'add "ro" to its options'
                )


def no_seccomp(config: Config) -> Iterator[Finding]:
    if config.process is None:
        return
    seccomp = config.linux.seccomp if config.linux is not None else None
    remedy = "take an engine's profile, or allow only what the program calls: docs/seccomp.md"
    if seccomp is None:
        yield _advise("no-seccomp", "no system call is filtered", "/linux", remedy)
    elif seccomp.default_action in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG") and all(
        call.action in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG") for call in seccomp.syscalls
    ):
        yield _advise("no-seccomp", "the filter lets every system call pass", f"{seccomp.at}/defaultAction", remedy)


def engine_sockets(config: Config) -> Iterator[Finding]:
    """Read-only keeps nobody from connecting (unix(7) asks for write permission on the inode alone)."""
    for mount in config.mounts:
        if not _is_bind(mount):
            continue
        source = _host_path(mount)
        name = source.rpartition("/")[2]
        if name in SOCKETS:
            what = f"the socket of {SOCKETS[name]} is the container's: who can talk to it is root on the host"
        elif source in WITH_SOCKETS or posixpath.dirname(source) == "/run/user":
            what = f"{source} has the sockets of the host's engines in it: who can talk to one is root on the host"
        else:
            continue
        remedy = "leave the mount out, or put a proxy with fewer rights between; read-only does not help"
        yield _advise("engine-socket", what, f"{mount.at}/source", remedy)


def setuid_programs(config: Config) -> Iterator[Finding]:
    process = config.process
    if process is None or process.no_new_privileges or process.user.uid == 0:
        return
    bounding = process.capabilities.bounding if process.capabilities is not None else ()
    if bounding:
        yield _advise(
            "setuid",
            f"a setuid program gives user {process.user.uid} the capabilities of the bounding set",
            f"{process.at}/noNewPrivileges" if process.has("noNewPrivileges") else process.at,
            'set "noNewPrivileges": true',
        )


def shadowed_mounts(config: Config) -> Iterator[Finding]:
    mounts = [(mount, _plain(mount.destination)) for mount in config.mounts]
    for i, (mount, place) in enumerate(mounts):
        for later, over in mounts[i + 1 :]:
            if _covers(over, place) and not parse_options(later.options).flags & MS_REMOUNT:
                what = f"{log.quote(mount.destination)} is hidden by the later mount on {log.quote(later.destination)}"
                remedy = f"put it after {later.at}, or leave it out"
                if over == place:
                    remedy = f"leave one of the two out: the other is {later.at}"
                yield _advise("shadowed-mount", what, f"{mount.at}/destination", remedy)
                break


def unmapped_ids(config: Config) -> Iterator[Finding]:
    """Ids that are set for files: who is not in the map cannot own one.  Those of process.user are a rule."""
    linux = config.linux
    if linux is None or not (linux.uid_mappings or linux.gid_mappings):
        return
    for error in checks_rootless.mount_owners(config, linux.uid_mappings, linux.gid_mappings):
        what = "the mount is to belong to an id outside of the container's map; the kernel refuses that"
        yield _advise("unmapped-id", what, error.at, error.remedy)
    for device in linux.devices:
        for name, number, lines in (
            ("uid", device.uid, linux.uid_mappings),
            ("gid", device.gid, linux.gid_mappings),
        ):
            if number is not None and not any(0 <= number - line.container_id < line.size for line in lines):
                what = f"the device is to belong to {name} {number}, which is outside of the container's map"
                remedy = f"map the id in linux.{name}Mappings, or leave {name} out"
                yield _advise("unmapped-id", what, f"{device.at}/{name}", remedy)


def device_rules(config: Config) -> Iterator[Finding]:
    """The last rule for all devices counts.  In a user namespace of its own a container makes no nodes."""
    resources = config.linux.resources if config.linux is not None else None
    if resources is None or has_own_user_namespace(config):
        return
    for_all = [
        rule
        for rule in resources.devices
        if rule.type in (None, "", "a") and rule.major in (None, -1) and rule.minor in (None, -1)
    ]
    if for_all and for_all[-1].allow and "w" in (for_all[-1].access or ""):
        what = "every device of the host may be read and written, its disks too"
        remedy = 'begin with {"allow": false, "access": "rwm"}, and allow the devices that are needed'
        yield _advise("device-rules", what, for_all[-1].at, remedy)


def misspelt_options(config: Config) -> Iterator[Finding]:
    """A word that is in no table goes to the file system; those of a bind are refused already."""
    for mount in config.mounts:
        for i, option in enumerate(mount.options):
            if "=" in option or not option or option in RECOGNISED or wants_mapping(mount):
                continue
            near = nearest.mount_option(option)
            if near:
                what = f"the option {log.quote(option)} is left to the file system {mount.type or ''}".rstrip()
                yield _advise("mount-option", what, f"{mount.at}/options/{i}", mend.did_you_mean(near))


def deprecated(config: Config) -> Iterator[Finding]:
    for pointer, remedy in DEPRECATED.items():
        if nearest.value_at(config.raw, pointer):
            name = pointer.rpartition("/")[2]
            finding = _advise("deprecated", f"{name} is deprecated", pointer, remedy)
            finding.on_name = True
            yield finding


def warnings(config: Config) -> Iterator[Finding]:
    """What create says too, and goes on."""
    for error in checks.relative_destinations(config):
        yield _advise("relative-destination", error.what, f"{error.at}/destination", "begin it with /")
    yield from capabilities_without_effect(config)
    for error in checks.personality_flags(config):
        yield _advise("no-effect", error.what, error.at, "leave them out")


def capabilities_without_effect(config: Config) -> Iterator[Finding]:
    if config.process is None:
        return
    for error in checks.unknown_capabilities(config.process):
        for i, word in enumerate(nearest.value_at(config.raw, error.at)):
            if word not in CAPABILITIES:
                near = nearest.capability(word)
                remedy = mend.did_you_mean(near) if near else "see capabilities(7)"
                what = f"the capability {log.quote(word)} is unknown, and ignored"
                yield _advise("unknown-capability", what, f"{error.at}/{i}", remedy)
    for error in checks.vain_ambient(config.process):
        yield _advise("no-effect", error.what, error.at, "add them to permitted and inheritable, or leave them out")


DANGERS = (
    host_capabilities,
    writable_proc,
    writable_sys,
    no_seccomp,
    engine_sockets,
    setuid_programs,
    shadowed_mounts,
    unmapped_ids,
    device_rules,
    misspelt_options,
    deprecated,
    warnings,
)


def unknown_properties(value: Any, at: str = "", shape: Any = None) -> Iterator[Finding]:
    """Names that the schema does not have where they stand; the specification has them ignored."""
    shape = shape or shapes.KINDS["config"]
    if type(shape) is not tuple:
        return
    if shape[0] == "object" and isinstance(value, dict) and shape[2]:
        for name, member in value.items():
            pointer = f"{at}/{name.replace('~', '~0').replace('/', '~1')}"
            if name in shape[2]:
                yield from unknown_properties(member, pointer, shape[2][name])
            else:
                yield _unknown(name, pointer, [one for one in shape[2] if one not in value])
    elif shape[0] == "map" and isinstance(value, dict):
        for name, member in value.items():
            yield from unknown_properties(member, f"{at}/{name.replace('~', '~0').replace('/', '~1')}", shape[1])
    elif shape[0] == "array" and isinstance(value, list):
        for i, item in enumerate(value):
            yield from unknown_properties(item, f"{at}/{i}", shape[1])


def _unknown(name: str, at: str, candidates: list[str]) -> Finding:
    near = nearest.nearest(name, candidates)
    remedy = mend.did_you_mean(near) if near else "leave it out, or keep such a note in annotations"
    return Finding(ADVICE, "unknown-property", f"{log.quote(name)} is no property here", at, remedy, on_name=True)
